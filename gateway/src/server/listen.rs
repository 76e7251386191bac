//! Addresses to listen on, and listening sockets: bound here or inherited from the system manager.

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::iter;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use listenfd::ListenFd;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use tokio::net::TcpSocket;

/// Maximum number of connections that wait to be accepted.
const BACKLOG: u32 = 4096;
/// The name of the system manager's sockets for TLS (`FileDescriptorName=`, systemd.socket(5)).
const TLS_NAME: &str = "tls";

/// The forms of an address to listen on, for errors.
const FORMS: &str = "ADDRESS:PORT, NAME:PORT, *:PORT, one of them behind `tls:`, or unix:/PATH";

/// Maximum length of a name (RFC 1035, section 3.1).
const MAX_NAME_BYTES: usize = 253;

/// An address to listen on: `ADDRESS:PORT`, `NAME:PORT` or `*:PORT`, with or without `tls:` before it, or `unix:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { endpoint: Endpoint, is_tls: bool },
    Unix(PathBuf),
}

/// A port with one address or several ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Address(SocketAddr),
    /// All addresses of the name when the gateway starts.
    Name(String, u16),
    /// Every address of this machine, IPv4 and IPv6.
    Any(u16),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp { endpoint: Endpoint::Address(address), is_tls: false }
    }
}

impl Endpoint {
    /// Parses an endpoint; `None` if `text` is not one.
    fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        // Numbers alone are a malformed address: resolvers take 127.1 for 127.0.0.1.
        let has_letter = host.bytes().any(|byte| byte.is_ascii_alphabetic());
        match host {
            "*" => Some(Self::Any(port)),
            name => {
                (has_letter && is_name(name) && name.len() <= MAX_NAME_BYTES).then(|| Self::Name(name.to_owned(), port))
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Any(port) => write!(f, "*:{port}"),
        }
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
        let endpoint = Endpoint::parse(address).with_context(|| format!("expected {FORMS}, found `{text}`"))?;
        Ok(Self::Tcp { endpoint, is_tls })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { endpoint, is_tls: false } => endpoint.fmt(f),
            Self::Tcp { endpoint, is_tls: true } => write!(f, "tls:{endpoint}"),
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
    /// Listens on `address`: on all addresses of a name. A socket file gets the permissions `unix_mode`; one without a
    /// listener is replaced.
    ///
    /// # Errors
    /// If the address is in use or not this machine's; if a name has no address; if the path is that of another file.
    pub(crate) fn bind(address: &Address, unix_mode: u32) -> Result<Vec<Self>> {
        match address {
            Address::Tcp { endpoint, is_tls } => {
                let listeners = match endpoint {
                    Endpoint::Address(address) => bind_tcp(*address).map(|listener| vec![listener]).map_err(Into::into),
                    Endpoint::Name(name, port) => bind_name(name, *port),
                    Endpoint::Any(port) => bind_any(*port).map(|listener| vec![listener]).map_err(Into::into),
                };
                let with_tls = |listener| Self::Tcp { listener, is_tls: *is_tls };
                listeners.map(|listeners| listeners.into_iter().map(with_tls).collect())
            }
            Address::Unix(path) => bind_unix(path, unix_mode).map(|listener| vec![Self::Unix(listener)]),
        }
        .with_context(|| format!("listen on {address}"))
    }

    /// The sockets that the system manager opened for this process (sd_listen_fds(3)); those named `tls` are for TLS.
    /// No other thread may run yet: the variables are removed from the environment, so that no child process uses them.
    ///
    /// # Errors
    /// If one of them is not a listening stream socket.
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
                format!(
                    "socket {number} of LISTEN_FDS: expected a listening stream socket (TLS: of TCP), \
                     found another file"
                )
            })
        };
        (0..count).zip(names).map(take).collect()
    }

    /// True if the socket accepts connections.
    fn is_listening(&self) -> bool {
        let listens = match self {
            Self::Tcp { listener, .. } => sockopt::socket_acceptconn(listener),
            Self::Unix(listener) => sockopt::socket_acceptconn(listener),
        };
        listens.unwrap_or(false)
    }

    /// True if its connections use TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { is_tls: true, .. })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { listener, is_tls } => match listener.local_addr() {
                Ok(address) => Address::Tcp { endpoint: Endpoint::Address(address), is_tls: *is_tls }.fmt(f),
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
    bind_socket(&socket, address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Listens on every address of this machine: on IPv6 with IPv4 inside, or on IPv4 alone where there is no IPv6.
fn bind_any(port: u16) -> io::Result<TcpListener> {
    match TcpSocket::new_v6().and_then(|socket| {
        sockopt::set_ipv6_v6only(&socket, false)?;
        bind_socket(&socket, (Ipv6Addr::UNSPECIFIED, port).into())?;
        socket.listen(BACKLOG)?.into_std()
    }) {
        Err(error) if is_missing(&error) => bind_tcp((Ipv4Addr::UNSPECIFIED, port).into()),
        bound => bound,
    }
}

/// Listens on all addresses of a name, except those of a protocol that this machine does not have.
fn bind_name(name: &str, port: u16) -> Result<Vec<TcpListener>> {
    let resolved = (name, port).to_socket_addrs();
    let mut addresses: Vec<SocketAddr> =
        resolved.with_context(|| format!("expected a name with an address, found `{name}`"))?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    let (mut listeners, mut missing) = (Vec::new(), None);
    for address in addresses {
        match bind_tcp(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_missing(&error) => {
                tracing::debug!(%address, %error, "not listened on");
                missing = Some((address, error));
            }
            Err(error) => return Err(error).with_context(|| address.to_string()),
        }
    }
    match missing {
        _ if !listeners.is_empty() => Ok(listeners),
        Some((address, error)) => Err(error).with_context(|| address.to_string()),
        None => bail!("expected a name with an address, found none of `{name}`"),
    }
}

/// True if the address, or all of its protocol, is not this machine's.
fn is_missing(error: &io::Error) -> bool {
    let missing = [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT, Errno::NETUNREACH];
    missing.iter().any(|missing| error.raw_os_error() == Some(missing.raw_os_error()))
}

fn bind_socket(socket: &TcpSocket, address: SocketAddr) -> io::Result<()> {
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

fn bind_unix(path: &Path, mode: u32) -> Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
        Ok(found) if !found.file_type().is_socket() => {
            bail!("expected a socket or no file, found another file")
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            bail!("expected a socket without a listener, found one in use")
        }
        // A process that ended left it behind.
        Ok(_) => fs::remove_file(path)?,
    }
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // On Linux the file gets the mode of the socket, less the umask, when it is bound: it never has more permissions.
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
    fn addresses_are_parsed_as_they_are_displayed() {
        for text in [
            "127.0.0.1:8002",
            "[::1]:80",
            "[fe80::1%2]:80",
            "tls:0.0.0.0:8443",
            "localhost:8002",
            "tls:debuginfod.example.org:443",
            "*:8002",
            "tls:*:443",
            "unix:/run/darkserver/gateway.sock",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in [
            "localhost",
            "localhost:",
            "localhost:65536",
            ":8002",
            "127.0.0.1",
            "127.1:80",
            "::1:80",
            "*",
            "a/b:80",
            "unix:gateway.sock",
            "tls:unix:/run/x",
            "https:0.0.0.0:1",
            "",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.starts_with("expected") && error.contains("found `"), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn a_name_is_all_its_addresses_and_a_star_all_of_the_machine() {
        let bind = |text: &str| Listener::bind(&text.parse().unwrap(), 0).map_err(|error| format!("{error:#}"));
        let shown = |listeners: Vec<Listener>| listeners.iter().map(ToString::to_string).collect::<Vec<_>>();
        let local = shown(bind("tls:localhost:0").unwrap());
        assert!(
            local.iter().any(|address| address.starts_with("tls:127.0.0.1:") || address.starts_with("tls:[::1]:")),
            "{local:?}"
        );
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = port.local_addr().unwrap().port();
        let error = bind(&format!("localhost:{taken}")).err().unwrap();
        assert!(
            error.starts_with(&format!("listen on localhost:{taken}: 127.0.0.1:{taken}: Address already in use")),
            "{error}"
        );
        let error = bind("nowhere.invalid:80").err().unwrap();
        assert!(
            error.starts_with(
                "listen on nowhere.invalid:80: expected a name with an address, found `nowhere.invalid`: "
            ),
            "{error}"
        );
        let any = bind("*:0").unwrap();
        let [Listener::Tcp { listener, .. }] = any.as_slice() else {
            panic!("expected one socket, found {}", any.len())
        };
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            std::net::TcpStream::connect(("::1", port)).unwrap();
        }
    }

    #[test]
    fn a_socket_file_is_replaced_only_without_a_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.sock");
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
