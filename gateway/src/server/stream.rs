//! The byte stream of a connection, plain or through TLS, that the HTTP service reads and writes.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_http::Protocol;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::close_reason::CloseReason;
use super::connection::Connection;
use super::http2;
use super::timed_socket::TimedSocket;
use crate::http::error;

/// The beginning of the preface of HTTP/2 (RFC 9113, section 3.4) that tells it from HTTP/1.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2";

/// The stream that the HTTP service reads and writes.
pub(super) struct Stream {
    connection: Connection,
    transport: Transport,
    /// The first bytes, which were read to detect the protocol and not by the HTTP service yet.
    opening: Vec<u8>,
    /// True on HTTP/2 before the first write.
    is_first: bool,
    /// The unsent rest of the first HTTP/2 frame, with our limits.
    first: Vec<u8>,
}

/// The transport of a stream.
enum Transport {
    Plain(TimedSocket),
    Tls(Box<TlsStream<TimedSocket>>),
}

impl Stream {
    /// Opens the stream of a connection. With an acceptor the TLS handshake is done first, within the timeout of the
    /// first head.
    pub(super) async fn open(connection: &Connection, tls: Option<&TlsAcceptor>) -> io::Result<Self> {
        let socket = TimedSocket::new(connection.clone());
        let transport = match tls {
            None => Transport::Plain(socket),
            Some(tls) => Transport::Tls(Box::new(tls.accept(socket).await?)),
        };
        let (opening, first) = (Vec::new(), Vec::new());
        Ok(Self { connection: connection.clone(), transport, opening, is_first: false, first })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Reads until the protocol is known: the HTTP service allocates its buffers only then. Clients of TLS send the
    /// preface of the protocol that ALPN selected.
    pub(super) async fn detect_protocol(&mut self) -> io::Result<Protocol> {
        loop {
            let mut bytes = [0; HTTP2_PREFACE.len()];
            let missing = HTTP2_PREFACE.len() - self.opening.len();
            let mut buffer = ReadBuf::new(&mut bytes[..missing]);
            poll_fn(|context| self.poll_read_transport(context, &mut buffer)).await?;
            let read = buffer.filled();
            match (read, self.opening.is_empty()) {
                ([], true) => return Err(io::ErrorKind::UnexpectedEof.into()),
                ([], false) => return Ok(Protocol::Http1),
                (read, _) => self.opening.extend_from_slice(read),
            }
            if !HTTP2_PREFACE.starts_with(&self.opening) {
                return Ok(Protocol::Http1);
            }
            if self.opening == HTTP2_PREFACE {
                self.connection.set_http2();
                self.is_first = true;
                return Ok(Protocol::Http2);
            }
        }
    }

    /// Reads bytes of the client, or waits for them until the deadline of the connection.
    fn poll_read_transport(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.connection.closing().check()?;
        let before = buffer.filled().len();
        let result = match &mut self.transport {
            Transport::Plain(socket) if self.connection.pause_reading() => socket.poll_wait(context),
            Transport::Tls(tls) if self.connection.pause_reading() => tls.get_mut().0.poll_wait(context),
            Transport::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Transport::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        };
        ready!(result)?;
        let read = &buffer.filled()[before..];
        self.connection.record_read(read);
        if self.connection.closing().reason() == Some(CloseReason::LongRequestLine)
            && !self.connection.closing().is_blocked()
        {
            // The HTTP service has not read enough to answer. What does not fit into the socket now is dropped.
            let _ = self.transport.poll(|bytes| bytes.poll_write(context, error::LONG_LINE.as_bytes()));
        }
        Poll::Ready(self.connection.closing().check())
    }

    /// Replaces the first HTTP/2 frame by one with our limits. Returns its length in `bytes`; `None` for later frames.
    fn take_first(&mut self, bytes: &[u8]) -> Option<usize> {
        let (first, length) = std::mem::take(&mut self.is_first).then(|| http2::with_limits(bytes)).flatten()?;
        self.first = first;
        Some(length)
    }

    /// Writes the rest of the first frame.
    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.first.is_empty() {
            let count = ready!(self.transport.poll(|stream| stream.poll_write(context, &self.first)))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.first.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl Transport {
    fn poll<T>(&mut self, act: impl FnOnce(Pin<&mut dyn AsyncWrite>) -> Poll<T>) -> Poll<T> {
        match self {
            Self::Plain(socket) => {
                let socket = Pin::new(socket);
                act(socket)
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
        this.poll_read_transport(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_first(context))?;
        match this.take_first(bytes) {
            Some(count) => Poll::Ready(Ok(count)),
            None => this.transport.poll(|stream| stream.poll_write(context, bytes)),
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
            None => this.transport.poll(|stream| stream.poll_write_vectored(context, parts)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_first(context))?;
        this.transport.poll(|stream| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_first(context))?;
        this.transport.poll(|stream| stream.poll_shutdown(context))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.disconnect();
    }
}
