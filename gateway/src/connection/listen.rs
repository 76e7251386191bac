//! Where to listen: addresses as the configuration has them, sockets as the system manager hands them over.

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::iter;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use listenfd::ListenFd;
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use tokio::net::TcpSocket;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4096;
/// The name that a socket of the system manager has for TLS (`FileDescriptorName=`, systemd.socket(5)).
const TLS_NAME: &str = "tls";

/// An address to listen on: `ADDRESS:PORT`, `tls:ADDRESS:PORT` or `unix:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { address: SocketAddr, is_tls: bool },
    Unix(PathBuf),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp { address, is_tls: false }
    }
}

impl FromStr for Address {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                bail!("expected an absolute path behind `unix:`, found `{path}`");
            }
            return Ok(Self::Unix(path.into()));
        }
        let (address, is_tls) = text.strip_prefix("tls:").map_or((text, false), |address| (address, true));
        let address =
            address.parse().map_err(|_| anyhow!("expected ADDRESS:PORT, tls:ADDRESS:PORT or unix:/PATH, found `{text}`"))?;
        Ok(Self::Tcp { address, is_tls })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, is_tls: false } => address.fmt(f),
            Self::Tcp { address, is_tls: true } => write!(f, "tls:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listening socket.
pub(crate) enum Listener {
    Tcp { listener: TcpListener, is_tls: bool },
    Unix(UnixListener),
}

impl Listener {
    /// Listens on `address`. A socket file gets the permissions `unix_mode`; one that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// If the address is in use or not this machine's; if there is a file in a socket's place.
    pub(crate) fn bind(address: &Address, unix_mode: u32) -> Result<Self> {
        match address {
            Address::Tcp { address, is_tls } => {
                bind_tcp(*address).map(|listener| Self::Tcp { listener, is_tls: *is_tls }).map_err(Into::into)
            }
            Address::Unix(path) => bind_unix(path, unix_mode).map(Self::Unix),
        }
        .with_context(|| format!("listen on {address}"))
    }

    /// The sockets that the system manager opened for this process (sd_listen_fds(3)); those named `tls` are for TLS. Nobody else may run
    /// yet: the environment is changed so that no child takes them for its own.
    ///
    /// # Errors
    /// If one of them is no stream socket that listens.
    pub(crate) fn inherited() -> Result<Vec<Self>> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').map(Some).chain(iter::repeat(None));
        let mut sockets = ListenFd::from_env();
        let count = sockets.len();
        let take = |(number, name)| {
            let is_tls = name == Some(TLS_NAME);
            let listener = match sockets.take_tcp_listener(number) {
                Ok(Some(listener)) => Some(Self::Tcp { listener, is_tls }),
                _ => sockets.take_unix_listener(number).ok().flatten().filter(|_| !is_tls).map(Self::Unix),
            };
            listener.filter(Self::is_listening).with_context(|| {
                format!("socket {number} of LISTEN_FDS: expected a listening stream socket (TLS: of TCP), found another file")
            })
        };
        (0..count).zip(names).map(take).collect()
    }

    /// Only listening sockets can be accepted from.
    fn is_listening(&self) -> bool {
        let listens = match self {
            Self::Tcp { listener, .. } => sockopt::socket_acceptconn(listener),
            Self::Unix(listener) => sockopt::socket_acceptconn(listener),
        };
        listens.unwrap_or(false)
    }

    /// Is TLS spoken there?
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { is_tls: true, .. })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { listener, is_tls } => match listener.local_addr() {
                Ok(address) => Address::Tcp { address, is_tls: *is_tls }.fmt(f),
                Err(error) => error.fmt(f),
            },
            Self::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname()).unwrap_or(Path::new("(no path)"));
                Address::Unix(path.to_owned()).fmt(f)
            }
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

fn bind_unix(path: &Path, mode: u32) -> Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
        Ok(found) if !found.file_type().is_socket() => {
            bail!("expected a socket or nothing, found another file: it is left alone")
        }
        Ok(_) if UnixStream::connect(path).is_ok() => bail!("expected a socket that nobody listens on, found one in use"),
        // Left behind by a process that is gone.
        Ok(_) => fs::remove_file(path)?,
    }
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // On Linux the file gets the mode that the socket has when it is bound, less the umask: at no time it is open to more than it should.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
    rustix::net::bind(&socket, &address)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    rustix::net::listen(&socket, i32::try_from(BACKLOG)?)?;
    Ok(UnixListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        for text in ["127.0.0.1:8002", "[::1]:80", "tls:0.0.0.0:8443", "unix:/run/darkserver/gateway.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["localhost:80", "127.0.0.1", "unix:gateway.sock", "tls:unix:/run/x", "https:0.0.0.0:1", ""] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.starts_with("expected") && error.contains("found `"), "{text}: {error}");
        }
    }

    #[test]
    fn a_socket_file_is_replaced_only_if_it_is_one_and_nobody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        let address = Address::Unix(path.clone());
        let mode = || fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
        let first = Listener::bind(&address, 0o600).unwrap();
        assert_eq!(mode(), 0o600);
        let error = format!("{:#}", Listener::bind(&address, 0o600).err().unwrap());
        assert!(error.contains("gateway.sock") && error.contains("in use"), "{error}");
        drop(first);
        let second = Listener::bind(&address, 0o666).unwrap();
        assert_eq!(mode(), 0o666);
        drop(second);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        let error = format!("{:#}", Listener::bind(&address, 0o600).err().unwrap());
        assert!(error.contains("another file"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
