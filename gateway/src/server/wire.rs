//! The bytes of one connection as they are on the socket, and the clock that ends it.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::socket::Socket;
use super::state::Connection;

/// A connection's socket. Reading from it waits as long as the connection may go on.
pub(super) struct Wire {
    connection: Connection,
    timer: Pin<Box<Sleep>>,
}

impl Wire {
    pub(super) fn new(connection: Connection) -> Self {
        let timer = Box::pin(sleep_until(connection.deadline().map_or_else(Instant::now, |(deadline, _)| deadline)));
        Self { connection, timer }
    }

    /// Waits for somebody else to say something about the connection, or for its deadline.
    pub(super) fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.ending().wakes(context.waker());
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
                    self.connection.ending().give_up(why);
                    return Poll::Ready(self.connection.ending().check());
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

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        send: impl Fn(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let is_ready = self.connection.socket().poll_write_ready(context);
            self.connection.wrote(is_ready.is_pending());
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

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.connection.ending().check()?;
        let socket = this.connection.socket();
        while let Poll::Ready(is_ready) = socket.poll_read_ready(context) {
            is_ready?;
            match receive(socket, buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
        this.poll_wait(context)
    }
}

impl AsyncWrite for Wire {
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
        // Nothing is kept here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.socket().finish();
        Poll::Ready(Ok(()))
    }
}

/// What the socket has. Fewer bytes than there was room for are all: the socket is not ready any more then, and need not be asked in vain
/// before it is waited for (epoll(7), as Tokio does it for streams of its own).
fn receive(socket: &Socket, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
    let mut all = None;
    let result = socket.try_reading(|| {
        // As long as most heads; the buffer itself may have a room of which every byte would have to be written first.
        let mut bytes = [MaybeUninit::uninit(); 4096];
        let room = buffer.remaining().min(bytes.len());
        let ((came, _), _) = recv(socket, &mut bytes[..room], RecvFlags::empty())?;
        buffer.put_slice(came);
        if came.is_empty() || came.len() == room {
            return Ok(());
        }
        all = Some(());
        Err(io::ErrorKind::WouldBlock.into())
    });
    all.map_or(result, Ok)
}
