//! The bytes of one connection as HTTP has them: what is on the wire, or what TLS makes of it.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::Protocol;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::ending::Ended;
use super::http2;
use super::state::Connection;
use super::wire::Wire;
use crate::http::error;

/// How an HTTP/2 connection begins (RFC 9113, section 3.4), as far as it must be read to tell it from HTTP/1.
const HTTP2: &[u8] = b"PRI * HTTP/2";
/// How many bytes the service gets before it has to look at them.
const AT_ONCE: usize = 32 << 10;
/// How long a client may go on sending what nobody reads, after it was answered.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// What the HTTP service reads from and writes to.
pub(super) struct Stream {
    connection: Connection,
    bytes: Bytes,
    /// The first bytes, read to know the protocol and not given to the service yet.
    opening: Vec<u8>,
    /// Bytes given since the service last had to wait.
    given: usize,
    /// On HTTP/2, nothing was written yet.
    is_first: bool,
    /// Bytes in the place of those that the service wrote first, as far as they are not on the wire.
    first: Vec<u8>,
}

/// Where they come from.
enum Bytes {
    Plain(Wire),
    Tls(Box<TlsStream<Wire>>),
}

impl Stream {
    /// The stream of a connection, through TLS if there is an acceptor: then the handshake is done first, within the time that the head
    /// of a request has.
    pub(super) async fn open(connection: &Connection, tls: Option<&TlsAcceptor>) -> io::Result<Self> {
        let wire = Wire::new(connection.clone());
        let bytes = match tls {
            None => Bytes::Plain(wire),
            Some(tls) => Bytes::Tls(Box::new(tls.accept(wire).await?)),
        };
        let (opening, first) = (Vec::new(), Vec::new());
        Ok(Self { connection: connection.clone(), bytes, opening, given: 0, is_first: false, first })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Reads until it is clear which HTTP the client speaks. Only then the service and its buffers are needed. Through TLS it is what was
    /// agreed by ALPN; a client that agreed on nothing may speak either.
    pub(super) async fn protocol(&mut self) -> io::Result<Protocol> {
        loop {
            let mut bytes = [0; HTTP2.len()];
            let wanted = HTTP2.len() - self.opening.len();
            let mut buffer = ReadBuf::new(&mut bytes[..wanted]);
            poll_fn(|context| self.poll_receive(context, &mut buffer)).await?;
            let came = buffer.filled();
            match (came, self.opening.is_empty()) {
                ([], true) => return Err(io::ErrorKind::UnexpectedEof.into()),
                ([], false) => return Ok(Protocol::Http1),
                (came, _) => self.opening.extend_from_slice(came),
            }
            if !HTTP2.starts_with(&self.opening) {
                return Ok(Protocol::Http1);
            }
            if self.opening == HTTP2 {
                self.connection.speaks_http2();
                self.is_first = true;
                return Ok(Protocol::Http2);
            }
        }
    }

    /// Bytes from the client, or waits for them as long as the connection may go on.
    fn poll_receive(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.connection.ending().check()?;
        let before = buffer.filled().len();
        let received = match &mut self.bytes {
            Bytes::Plain(wire) if self.connection.withholds() => wire.poll_wait(context),
            Bytes::Tls(tls) if self.connection.withholds() => tls.get_mut().0.poll_wait(context),
            Bytes::Plain(wire) => Pin::new(wire).poll_read(context, buffer),
            Bytes::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        };
        if received.is_pending() {
            self.given = 0;
            return Poll::Pending;
        }
        ready!(received)?;
        let came = &buffer.filled()[before..];
        self.connection.received(came);
        self.given += came.len();
        if self.connection.ending().why() == Some(Ended::Line) && !self.connection.ending().is_blocked() {
            // The service was not given enough to answer it. What does not fit now is not waited for.
            let _ = self.bytes.poll(|bytes| bytes.poll_write(context, error::LONG_LINE.as_bytes()));
        }
        Poll::Ready(self.connection.ending().check())
    }

    /// Takes the first frame of HTTP/2, to write it with the limits: how much of `bytes` that was, or nothing.
    fn take_first(&mut self, bytes: &[u8]) -> Option<usize> {
        let (first, length) = std::mem::take(&mut self.is_first).then(|| http2::with_limits(bytes)).flatten()?;
        self.first = first;
        Some(length)
    }

    /// Writes what was taken.
    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.first.is_empty() {
            let count = ready!(self.bytes.poll(|stream| stream.poll_write(context, &self.first)))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.first.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl Bytes {
    fn poll<T>(&mut self, act: impl FnOnce(Pin<&mut dyn AsyncWrite>) -> Poll<T>) -> Poll<T> {
        match self {
            Self::Plain(wire) => {
                let wire = Pin::new(wire);
                act(wire)
            }
            Self::Tls(tls) => {
                let tls = Pin::new(tls);
                act(tls)
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.opening.is_empty() {
            let count = this.opening.len().min(buffer.remaining());
            buffer.put_slice(&this.opening[..count]);
            this.opening.drain(..count);
            return Poll::Ready(Ok(()));
        }
        if this.given >= AT_ONCE {
            this.given = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.poll_receive(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_first(context))?;
        match this.take_first(bytes) {
            Some(count) => Poll::Ready(Ok(count)),
            None => this.bytes.poll(|stream| stream.poll_write(context, bytes)),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_first(context))?;
        match parts.first().and_then(|part| this.take_first(part)) {
            Some(count) => Poll::Ready(Ok(count)),
            None => this.bytes.poll(|stream| stream.poll_write_vectored(context, parts)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_first(context))?;
        this.bytes.poll(|stream| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_first(context))?;
        this.bytes.poll(|stream| stream.poll_shutdown(context))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.part();
    }
}

/// Closes a connection whose client may still be sending: Linux resets a connection that is closed with unread bytes, and a reset
/// would take the answer with it (RFC 9112, section 9.6).
pub(super) async fn linger(connection: &Connection) {
    let socket = connection.socket();
    socket.finish();
    let mut ignored = [0; 4096];
    let rest = async {
        loop {
            socket.readable().await?;
            match socket.try_read(&mut ignored) {
                Ok(0) => return io::Result::Ok(()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    };
    // Whichever comes first: the client's end, its reset, or the time.
    let _ = timeout(LINGER, rest).await;
}
