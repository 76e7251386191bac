//! The socket of a connection with the timer of its deadline.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::Connection;
use super::socket::Socket;

/// The socket of a connection. Reads fail once its deadline has passed or its close was requested.
pub(super) struct TimedSocket {
    connection: Connection,
    timer: Pin<Box<Sleep>>,
}

impl TimedSocket {
    pub(super) fn new(connection: Connection) -> Self {
        let timer = Box::pin(sleep_until(connection.deadline().map_or_else(Instant::now, |(deadline, _)| deadline)));
        Self { connection, timer }
    }

    /// Waits for the deadline of the connection, or for [`super::close_reason::Closing::wake`].
    pub(super) fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.closing().register(context.waker());
        self.poll_deadline(context)
    }

    /// Waits for the deadline. Progress moves the deadline without resetting the timer: when the timer expires early,
    /// it is set again.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        /// Time until the next check of a connection without a deadline.
        const CHECK_INTERVAL: Duration = Duration::from_secs(1);
        loop {
            let now = Instant::now();
            let deadline = match self.connection.deadline() {
                Some((deadline, reason)) if deadline <= now => {
                    self.connection.closing().close(reason);
                    return Poll::Ready(self.connection.closing().check());
                }
                Some((deadline, _)) => deadline,
                None => now + CHECK_INTERVAL,
            };
            if self.timer.is_elapsed() || self.timer.deadline() > deadline {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(context));
        }
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        send: impl Fn(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let is_ready = self.connection.socket().poll_write_ready(context);
            self.connection.record_write(is_ready.is_pending());
            match is_ready {
                Poll::Ready(is_ready) => is_ready?,
                Poll::Pending if self.connection.is_unix() => {
                    ready!(self.poll_wait(context))?;
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
            }
            match send(self.connection.socket()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl AsyncRead for TimedSocket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.connection.closing().check()?;
        let socket = this.connection.socket();
        while let Poll::Ready(is_ready) = socket.poll_read_ready(context) {
            is_ready?;
            // The limit of HTTP/2 streams is checked between reads: a longer one would begin too many requests.
            let mut bytes = [0; 4096];
            let room = buffer.remaining().min(bytes.len());
            match socket.try_read(&mut bytes[..room]) {
                Ok(count) => {
                    buffer.put_slice(&bytes[..count]);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        this.poll_wait(context)
    }
}

impl AsyncWrite for TimedSocket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(context, |socket| socket.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(context, |socket| socket.try_write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is buffered here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.socket().shut_down_write();
        Poll::Ready(Ok(()))
    }
}
