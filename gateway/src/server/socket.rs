//! A connected socket: TCP or Unix.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::rt::net::{TcpStream, UnixStream};
use rustix::net::{Shutdown, connect_unspec, shutdown, sockopt};
use tokio::time::timeout;

/// Maximum time for a client to read a response, milliseconds.
const WRITE_TIMEOUT_MILLISECONDS: u32 = 90_000;

/// How long a client may go on sending unread bytes after its answer.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// Sets the options of a connection. Head and body of a response are written one after the other: without
    /// TCP_NODELAY a small body would wait 40 ms for the client's acknowledgement of the head (Nagle's algorithm,
    /// tcp(7)).
    pub(super) fn set_options(&self) {
        let Self::Tcp(tcp) = self else { return };
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was not set");
        }
        // A client that stops reading must not hold its response forever (tcp(7), TCP_USER_TIMEOUT).
        if let Err(error) = sockopt::set_tcp_user_timeout(tcp, WRITE_TIMEOUT_MILLISECONDS) {
            tracing::debug!(%error, "TCP_USER_TIMEOUT was not set");
        }
    }

    /// The peer: an IP address, or `unix`; `-` if the client has disconnected.
    pub(super) fn peer(&self) -> String {
        match self {
            Self::Tcp(tcp) => {
                tcp.peer_addr().map_or_else(|_| "-".to_owned(), |peer| peer.ip().to_canonical().to_string())
            }
            Self::Unix(_) => "unix".to_owned(),
        }
    }

    /// Resets the connection, so that the client takes no received bytes for an answer. Disconnecting a connected TCP
    /// socket (connect to AF_UNSPEC, connect(2)) makes Linux send RST at once. A Unix socket has no reset: it is shut
    /// down in both directions.
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

    /// Ends the sending direction. An error is only logged: the client may have disconnected.
    pub(super) fn shut_down_write(&self) {
        if let Err(error) = shutdown(self, Shutdown::Write) {
            tracing::debug!(%error, "the connection was not shut down");
        }
    }

    /// Ends the sending direction, and reads what the client still sends. Linux resets a connection that is closed with
    /// unread bytes, and a reset would discard the answer at the client (RFC 9112, section 9.6).
    pub(super) async fn linger(&self) {
        self.shut_down_write();
        let mut ignored = [0; 4096];
        let rest = async {
            loop {
                self.readable().await?;
                match self.try_read(&mut ignored) {
                    Ok(0) => return io::Result::Ok(()),
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
        };
        // The end, a reset or the timeout.
        let _ = timeout(LINGER_TIMEOUT, rest).await;
    }
}
