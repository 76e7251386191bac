//! The two kinds of socket that a client can be at the other end of.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use actix_web::rt::net::{TcpStream, UnixStream};
use rustix::net::{Shutdown, connect_unspec, shutdown, sockopt};
use tokio::io::Interest;

/// How long a client may leave a response unread.
const UNREAD_MILLISECONDS: u32 = 90_000;

/// A connected socket.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(tcp: TcpStream) -> Self {
        Self::Tcp(tcp)
    }
}

impl From<UnixStream> for Socket {
    fn from(unix: UnixStream) -> Self {
        Self::Unix(unix)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
        }
    }
}

impl Socket {
    /// Sets what a connection needs. Head and body of a response are written one after the other: without TCP_NODELAY a small body would
    /// wait 40 ms for the client's acknowledgement of the head (Nagle's algorithm, tcp(7)).
    pub(super) fn prepare(&self) {
        let Self::Tcp(tcp) = self else { return };
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was not set");
        }
        // A client that takes nothing any more must not hold its response for ever (tcp(7), TCP_USER_TIMEOUT).
        if let Err(error) = sockopt::set_tcp_user_timeout(tcp, UNREAD_MILLISECONDS) {
            tracing::debug!(%error, "TCP_USER_TIMEOUT was not set");
        }
    }

    /// Where it comes from: an IP address, or `unix`; `-` where the client is gone already.
    pub(super) fn peer(&self) -> String {
        match self {
            Self::Tcp(tcp) => {
                tcp.peer_addr().map_or_else(|_| "-".to_owned(), |peer| peer.ip().to_canonical().to_string())
            }
            Self::Unix(_) => "unix".to_owned(),
        }
    }

    /// Ends it so that the client takes nothing that came for an answer. Disconnecting a connected TCP socket (connect to AF_UNSPEC,
    /// connect(2)) makes Linux send RST at once. A unix socket has nothing of that kind: it just ends, in both directions.
    pub(super) fn reset(&self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => connect_unspec(tcp)?,
            Self::Unix(unix) => shutdown(unix, Shutdown::Both)?,
        }
        Ok(())
    }

    pub(super) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_read_ready(context),
            Self::Unix(unix) => unix.poll_read_ready(context),
        }
    }

    pub(super) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_write_ready(context),
            Self::Unix(unix) => unix.poll_write_ready(context),
        }
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.readable().await,
            Self::Unix(unix) => unix.readable().await,
        }
    }

    pub(super) fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.try_read(bytes),
            Self::Unix(unix) => unix.try_read(bytes),
        }
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.try_write(bytes),
            Self::Unix(unix) => unix.try_write(bytes),
        }
    }

    pub(super) fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.try_write_vectored(parts),
            Self::Unix(unix) => unix.try_write_vectored(parts),
        }
    }

    /// Does `read`; where it says that there is nothing, the socket is not asked again before it is ready.
    pub(super) fn try_reading(&self, read: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.try_io(Interest::READABLE, read),
            Self::Unix(unix) => unix.try_io(Interest::READABLE, read),
        }
    }

    /// Says that nothing more will be written. A connection that is gone already needs no goodbye.
    pub(super) fn finish(&self) {
        if let Err(error) = shutdown(self, Shutdown::Write) {
            tracing::debug!(%error, "a connection could not be shut down");
        }
    }
}
