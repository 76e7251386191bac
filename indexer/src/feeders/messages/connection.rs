//! A connection to a broker. It is made anew after every failure: what lapin restores by itself is not used, because a
//! queue can be gone or belong to somebody else by then.

use std::fmt;
use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream, OwnedIdentity, OwnedTLSConfig};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use tokio::time::timeout;

use super::{QueueSettings, TlsFiles};

/// Maximum time until TCP and TLS stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time of one step of the protocol. The handshake is one.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum time of an orderly end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// What the broker shows of this client.
const APP: &str = concat!("darkserver-import ", env!("CARGO_PKG_VERSION"));
const APP_URL: &str = "https://darkserver.fedoraproject.org/";
/// The code of an orderly end.
const REPLY_SUCCESS: u16 = 200;

/// What is wrong with a broker: what was expected, and what was found.
#[derive(Debug)]
pub(crate) struct BrokerError(pub(crate) String);

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs one step of the protocol. `expected` is what it is for.
///
/// # Errors
/// What was expected and what was found, also after [`STEP_TIMEOUT`].
pub(super) async fn step<T>(
    expected: impl fmt::Display,
    work: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    match timeout(STEP_TIMEOUT, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(BrokerError(format!("expected {expected}, found {}", describe(&error)))),
        Err(_) => {
            let seconds = STEP_TIMEOUT.as_secs();
            Err(BrokerError(format!("expected {expected} within {seconds} s, found no answer")))
        }
    }
}

/// Returns what a broker or the network said, in the broker's words where it has some.
pub(super) fn describe(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::IOError(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            format!("no listener there: {error}")
        }
        ErrorKind::IOError(error) if error.kind() == io::ErrorKind::UnexpectedEof => "the end of the connection".into(),
        ErrorKind::ParsingError(error) => format!("an answer that is not AMQP 0.9.1: {error}"),
        ErrorKind::ProtocolError(error) => format!("the refusal {:?}", error.get_message().as_str()),
        ErrorKind::IOError(error) => error.to_string(),
        ErrorKind::MissingHeartbeatError => "no heartbeat of the broker".into(),
        ErrorKind::InvalidConnectionState(_) | ErrorKind::InvalidChannelState(..) => "a closed connection".into(),
        _ => error.to_string(),
    }
}

/// A connection with one channel. Dropping it ends the socket, whatever the broker does.
pub(super) struct BrokerConnection {
    connection: Connection,
    pub(super) channel: Channel,
    _socket: SocketGuard,
}

impl BrokerConnection {
    /// Connects to the broker of a queue.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub(super) async fn open(settings: &QueueSettings) -> Result<Self, BrokerError> {
        let tls = read_certificates(&settings.tls)?;
        let contact = settings.contact.clone().unwrap_or_default();
        let contact = contact.strip_prefix("mailto:").unwrap_or(&contact);
        let properties = ConnectionProperties::default()
            .with_connection_name(APP.into())
            .with_client_property("app".into(), APP.into())
            .with_client_property("app_url".into(), APP_URL.into())
            .with_client_property("app_contacts_email".into(), contact.into());
        let socket = SocketGuard::default();
        let shared = Arc::clone(&socket.0);
        let runtime = lapin::runtime::default_runtime().map_err(|error| BrokerError(error.to_string()))?;
        let runtime_of_socket = runtime.clone();
        let connect = async move |uri: AMQPUri, _| {
            let connecting = AMQPUriTcpExt::connect_with_config_async(&uri, tls.as_ref(), &runtime_of_socket);
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection within 10 s");
            let stream = timeout(CONNECT_TIMEOUT, connecting).await.map_err(late)??;
            let fd = match &stream {
                AsyncTcpStream::Plain(stream) => stream.get_ref().as_fd().try_clone_to_owned()?,
                AsyncTcpStream::Rustls(stream) => stream.get_ref().0.get_ref().as_fd().try_clone_to_owned()?,
                // No other one is built in.
                _ => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
            };
            shared.lock().unwrap_or_else(PoisonError::into_inner).keep(fd)?;
            Ok(stream)
        };
        let connection = step(
            "a connection that accepts the user and the virtual host",
            Connection::connector(settings.uri.clone(), runtime, connect, properties),
        )
        .await?;
        let channel = step("a channel", connection.create_channel()).await?;
        Ok(Self { connection, channel, _socket: socket })
    }

    /// Ends the connection in order, so that what was sent arrives.
    pub(super) async fn close(self) {
        // A broker that does not answer is left.
        let _ = timeout(CLOSE_TIMEOUT, self.connection.close(REPLY_SUCCESS, "stopping".into())).await;
    }
}

/// Ends the socket of a connection when it is dropped. A thread of lapin reads from the socket until then, even if the
/// broker never answers.
#[derive(Default)]
struct SocketGuard(Arc<Mutex<Socket>>);

#[derive(Default)]
struct Socket {
    fd: Option<OwnedFd>,
    is_over: bool,
}

impl Socket {
    /// # Errors
    /// If nobody waits for the connection any more.
    fn keep(&mut self, fd: OwnedFd) -> io::Result<()> {
        if self.is_over {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.fd = Some(fd);
        Ok(())
    }
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        socket.is_over = true;
        if let Some(fd) = socket.fd.take() {
            // It fails if the broker has ended the connection.
            let _ = std::net::TcpStream::from(fd).shutdown(Shutdown::Both);
        }
    }
}

/// Reads the files at each connection: certificates are renewed.
fn read_certificates(files: &TlsFiles) -> Result<OwnedTLSConfig, BrokerError> {
    let read = |key: &str, path: &Path| {
        let found = |found: &dyn fmt::Display| {
            BrokerError(format!("{key}: expected a file in PEM at {}, found {found}", path.display()))
        };
        let text = fs::read_to_string(path).map_err(|error| found(&error))?;
        if text.contains("-----BEGIN ") { Ok(text) } else { Err(found(&"another file")) }
    };
    Ok(OwnedTLSConfig {
        cert_chain: files.ca.as_deref().map(|path| read("ca_file", path)).transpose()?,
        identity: match &files.identity {
            None => None,
            Some((certificate, key)) => Some(OwnedIdentity::PKCS8 {
                pem: read("cert_file", certificate)?.into_bytes(),
                key: read("key_file", key)?.into_bytes(),
            }),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_wrong_certificate_is_named() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        let missing = Path::new("/nonexistent/x.pem").to_owned();
        for (files, expected) in [
            (TlsFiles { ca: Some(missing.clone()), identity: None }, "ca_file: expected a file in PEM at /nonexistent"),
            (TlsFiles { ca: None, identity: Some((missing.clone(), missing)) }, "cert_file: expected a file in PEM"),
            (TlsFiles { ca: Some(empty.path().to_owned()), identity: None }, "found another file"),
        ] {
            let error = read_certificates(&files).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
