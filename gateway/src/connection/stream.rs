//! The bytes of one connection, and the clock that ends it.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::Protocol;
use actix_web::rt::net::TcpStream;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::state::Connection;

/// How an HTTP/2 connection begins (RFC 9113, section 3.4), as far as it must be read to tell it from HTTP/1.
const HTTP2: &[u8] = b"PRI * HTTP/2";
/// How many bytes the service gets before it has to look at them.
const AT_ONCE: usize = 32 << 10;
/// How long a client may go on sending what nobody reads, after it was answered.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// What the HTTP service reads from and writes to.
pub(super) struct Stream {
    connection: Connection,
    /// The first bytes, read to know the protocol and not given to the service yet.
    opening: Vec<u8>,
    /// Bytes given since the service last had to wait.
    given: usize,
    timer: Pin<Box<Sleep>>,
}

impl Stream {
    pub(super) fn new(connection: Connection) -> Self {
        let timer = Box::pin(sleep_until(connection.deadline().map_or_else(Instant::now, |(deadline, _)| deadline)));
        Self { connection, opening: Vec::new(), given: 0, timer }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Reads until it is clear which HTTP the client speaks. Only then the service and its buffers are needed.
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
                return Ok(Protocol::Http2);
            }
        }
    }

    /// Bytes from the socket, or waits for them as long as the connection may go on.
    fn poll_receive(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.connection.ended()?;
        if !self.connection.withholds() {
            let tcp = self.connection.tcp();
            while let Poll::Ready(is_ready) = tcp.poll_read_ready(context) {
                is_ready?;
                let before = buffer.filled().len();
                match receive(tcp, buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(()) => {
                        let came = &buffer.filled()[before..];
                        self.connection.received(came);
                        self.given += came.len();
                        return Poll::Ready(self.connection.ended());
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        }
        self.given = 0;
        self.connection.wakes(context.waker());
        self.poll_clock(context)
    }

    /// Waits until the connection may not go on any more. The timer is set late rather than often: it may ring for a deadline that
    /// was moved since, and is set anew then.
    fn poll_clock(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        /// How often to look after a connection that has no deadline now.
        const LOOK: Duration = Duration::from_secs(1);
        loop {
            let now = Instant::now();
            let deadline = match self.connection.deadline() {
                Some((deadline, why)) if deadline <= now => {
                    self.connection.give_up(why);
                    return Poll::Ready(self.connection.ended());
                }
                Some((deadline, _)) => deadline,
                None => now + LOOK,
            };
            if self.timer.is_elapsed() || self.timer.deadline() > deadline {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(context));
        }
    }

    fn poll_send(&self, context: &mut Context<'_>, send: impl Fn() -> io::Result<usize>) -> Poll<io::Result<usize>> {
        loop {
            let is_ready = self.connection.tcp().poll_write_ready(context);
            self.connection.wrote(is_ready.is_pending());
            ready!(is_ready)?;
            match send() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
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
        self.poll_send(context, || self.connection.tcp().try_write(bytes))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_send(context, || self.connection.tcp().try_write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is kept here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        finish(&self.connection);
        Poll::Ready(Ok(()))
    }
}

/// What the socket has. Fewer bytes than there was room for are all: the socket is not ready any more then, and need not be asked in vain
/// before it is waited for (epoll(7), as Tokio does it for streams of its own).
fn receive(tcp: &TcpStream, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
    let mut all = None;
    let result = tcp.try_io(Interest::READABLE, || {
        // As long as most heads; the buffer itself may have a room of which every byte would have to be written first.
        let mut bytes = [0; 4096];
        let room = buffer.remaining().min(bytes.len());
        let (came, _) = recv(tcp, &mut bytes[..room], RecvFlags::empty())?;
        buffer.put_slice(&bytes[..came]);
        if came == 0 || came == room {
            return Ok(());
        }
        all = Some(());
        Err(io::ErrorKind::WouldBlock.into())
    });
    all.map_or(result, Ok)
}

/// Says that nothing more will be written. A connection that is gone already needs no goodbye.
fn finish(connection: &Connection) {
    if let Err(error) = shutdown(connection.tcp(), Shutdown::Write) {
        tracing::debug!(%error, "a connection could not be shut down");
    }
}

/// Closes a connection whose client may still be sending: Linux resets a connection that is closed with unread bytes, and a reset
/// would take the answer with it (RFC 9112, section 9.6).
pub(super) async fn linger(connection: &Connection) {
    finish(connection);
    let mut ignored = [0; 4096];
    let rest = async {
        loop {
            connection.tcp().readable().await?;
            match connection.tcp().try_read(&mut ignored) {
                Ok(0) => return io::Result::Ok(()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    };
    // Whichever comes first: the client's end, its reset, or the time.
    let _ = timeout(LINGER, rest).await;
}
