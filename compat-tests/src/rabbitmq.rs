//! A real RabbitMQ server for tests, in a directory of its own, on loopback alone.
//!
//! The server's own script is started: that of distributions wants to be root or `rabbitmq`. Nodes find each other by
//! a daemon of Erlang, `epmd`, which usually outlives them; each server here has one of its own.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::process::free_port;

/// Maximum time until a server answers. It needs 5 s of one processor.
const START_WITHIN: Duration = Duration::from_secs(90);
/// Maximum time until a server that was told to end has ended.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// A RabbitMQ server with its own data, node name and ports. Dropping it ends its processes and removes its data.
#[derive(Debug)]
pub struct RabbitMq {
    server: Option<Child>,
    epmd: Option<Child>,
    port: u16,
    tls_port: Option<u16>,
    /// The port of `epmd`; the next one is that of the node.
    epmd_port: u16,
    directory: TempDir,
}

/// A virtual host of a server, with all rights for the user `darkserver`.
#[derive(Clone, Debug)]
pub struct VirtualHost {
    server: Arc<RabbitMq>,
    /// Its name.
    pub name: String,
}

/// The user of every virtual host.
pub const USER: &str = "darkserver";
/// Has special characters, which URLs escape.
const PASSWORD: &str = "p@ss/w%rd";
const ESCAPED_PASSWORD: &str = "p%40ss%2Fw%25rd";

impl RabbitMq {
    /// Starts an empty server and waits until it answers.
    ///
    /// # Panics
    /// If RabbitMQ is not installed or does not start: a test that cannot run has failed.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// The same with a listener for TLS. Clients need a certificate of the authority; the common name in it is the
    /// name of their user (SASL EXTERNAL).
    ///
    /// # Panics
    /// As [`RabbitMq::start`].
    pub fn start_with_tls(certificates: &Certificates) -> Self {
        Self::start_with(Some(certificates))
    }

    fn start_with(certificates: Option<&Certificates>) -> Self {
        let directory = tempfile::tempdir().expect("a directory for RabbitMQ");
        let mut started = Self { server: None, epmd: None, port: 0, tls_port: None, epmd_port: 0, directory };
        // Another process may take a port between its choice and the server's start.
        for _ in 0..5 {
            (started.port, started.epmd_port) = (free_port(), free_port());
            started.tls_port = certificates.map(|_| started.port + 1);
            started.configure(certificates);
            if started.launch() {
                started.add_user();
                return started;
            }
        }
        panic!("rabbitmq-server did not start:\n{}", started.log());
    }

    /// Makes the user of every virtual host. The server accepts connections a moment before it takes commands.
    fn add_user(&self) {
        let deadline = Instant::now() + START_WITHIN;
        while !self.controlling(&["add_user", USER, PASSWORD]).output().is_ok_and(|output| output.status.success()) {
            assert!(Instant::now() < deadline, "rabbitmqctl add_user: refused for {START_WITHIN:?}\n{}", self.log());
        }
    }

    /// The server that the tests of one process share. It ends when the last of them drops it.
    ///
    /// # Panics
    /// As [`RabbitMq::start`].
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<RabbitMq>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// The port for connections without TLS, on 127.0.0.1. It stays the same over [`RabbitMq::restart`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a virtual host for `darkserver`, whose name begins with `/`.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn virtual_host(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("/test{}", NEXT.fetch_add(1, Ordering::Relaxed));
        // One call of rabbitmqctl takes 0.6 s.
        let add = format!(
            "rabbit_vhost:add(<<\"{name}\">>, <<\"test\">>), \
             rabbit_auth_backend_internal:set_permissions(<<\"{USER}\">>, <<\"{name}\">>, <<\".*\">>, <<\".*\">>, \
             <<\".*\">>, <<\"test\">>)."
        );
        self.control(&["eval", &add]);
        name
    }

    /// The URL of a virtual host for the user `darkserver`.
    pub fn url(&self, virtual_host: &str) -> String {
        format!("amqp://{USER}:{ESCAPED_PASSWORD}@127.0.0.1:{}/{}", self.port, virtual_host.replace('/', "%2F"))
    }

    /// The URL of a virtual host over TLS, without a password: the client's certificate names the user.
    ///
    /// # Panics
    /// If the server has no listener for TLS.
    pub fn tls_url(&self, virtual_host: &str) -> String {
        let port = self.tls_port.expect("a server with TLS");
        format!("amqps://fedora:@localhost:{port}/{}", virtual_host.replace('/', "%2F"))
    }

    /// Lets `user` do what matches the expressions in a virtual host; the user is made if there is none.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn allow(&self, user: &str, virtual_host: &str, [configure, write, read]: [&str; 3]) {
        // It fails if there is such a user.
        let _ = self.controlling(&["add_user", user, PASSWORD]).output();
        self.control(&["set_permissions", "-p", virtual_host, user, configure, write, read]);
    }

    /// Runs the real `rabbitmqctl`. Returns its output.
    ///
    /// # Panics
    /// If it fails.
    pub fn control(&self, arguments: &[&str]) -> String {
        let output = self.controlling(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("rabbitmqctl: {error}"));
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {}\n{out}{err}", output.status);
        out
    }

    fn controlling(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("rabbitmqctl");
        command.arg("--quiet").args(arguments).stdin(Stdio::null());
        command
    }

    /// The number of messages that are ready in a queue, and of those that wait for an acknowledgement. `None` if there
    /// is no such queue.
    ///
    /// # Panics
    /// If the server does not answer.
    pub fn messages(&self, virtual_host: &str, queue: &str) -> Option<(u64, u64)> {
        let list = ["list_queues", "-p", virtual_host, "--no-table-headers", "name", "messages_ready"];
        let text = self.control(&[&list[..], &["messages_unacknowledged"]].concat());
        text.lines().find_map(|line| {
            let mut words = line.split('\t');
            let found = words.next()? == queue;
            let mut number = || words.next().and_then(|word| word.trim().parse().ok());
            found.then(|| (number().expect("a number"), number().expect("a number")))
        })
    }

    /// The names of the queues of a virtual host.
    ///
    /// # Panics
    /// If the server does not answer.
    pub fn queues(&self, virtual_host: &str) -> Vec<String> {
        let text = self.control(&["list_queues", "-p", virtual_host, "--no-table-headers", "name"]);
        text.lines().map(|line| line.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    }

    /// Tells the server to end and waits for it: persistent messages stay in durable queues.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        // The server ends in order.
        signal_group(&server, Signal::TERM);
        let deadline = Instant::now() + STOP_WITHIN;
        while matches!(server.try_wait(), Ok(None)) || self.answers() {
            if Instant::now() > deadline {
                self.server = Some(server);
                self.kill();
                panic!("rabbitmq-server did not end within {STOP_WITHIN:?}:\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the server by SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            signal_group(&server, Signal::KILL);
            let _ = server.wait();
        }
    }

    /// Starts the server again, on the same port with the same data; ends it first if it runs.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.stop();
        // A connection of another process may have its port for a moment.
        let started = (0..5).any(|tries| {
            thread::sleep(Duration::from_secs(tries));
            self.launch()
        });
        assert!(started, "rabbitmq-server did not start again:\n{}", self.log());
    }

    /// Stops the server by SIGSTOP: connections stay open, new ones are accepted, and neither get an answer.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&self) {
        signal_group(self.server.as_ref().expect("a running server"), Signal::STOP);
    }

    /// Continues a paused server.
    ///
    /// # Panics
    /// If it does not run.
    pub fn resume(&self) {
        signal_group(self.server.as_ref().expect("a running server"), Signal::CONT);
    }

    fn configure(&self, certificates: Option<&Certificates>) {
        let write = |name: &str, text: &str| {
            fs::write(self.directory.path().join(name), text).expect("write a configuration of RabbitMQ");
        };
        let mut text = format!("listeners.tcp.1 = 127.0.0.1:{}\nlog.file.level = info\n", self.port);
        // Its free disk space is not what is tested.
        text.push_str("disk_free_limit.absolute = 1MB\nvm_memory_high_watermark.absolute = 1GB\n");
        if let (Some(certificates), Some(port)) = (certificates, self.tls_port) {
            let [ca, certificate, key] = [certificates.authority(), certificates.certificate(), certificates.key()];
            text.push_str(&format!(
                "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\n\
                 ssl_options.keyfile = {}\nssl_options.verify = verify_peer\n\
                 ssl_options.fail_if_no_peer_cert = true\nauth_mechanisms.1 = EXTERNAL\nauth_mechanisms.2 = PLAIN\n\
                 ssl_cert_login_from = common_name\n",
                ca.display(),
                certificate.display(),
                key.display()
            ));
        }
        write("rabbitmq.conf", &text);
        let plugins = if certificates.is_some() { "[rabbitmq_auth_mechanism_ssl]." } else { "[]." };
        write("enabled_plugins", plugins);
        // Without it, the configuration of the machine is read.
        write("rabbitmq-env.conf", "");
    }

    /// A script of the server, in the environment of this node.
    fn command(&self, script: &str) -> Command {
        let directory = self.directory.path();
        let mut command = Command::new(scripts().join(script));
        for (name, _) in std::env::vars_os() {
            let is_setting = |name: &str| ["RABBITMQ_", "ERL_", "NOTIFY_SOCKET"].iter().any(|of| name.starts_with(of));
            if name.to_str().is_some_and(is_setting) {
                command.env_remove(name);
            }
        }
        command
            // The cookie, by which clients and node know each other, is in the home directory.
            .env("HOME", directory)
            .env("RABBITMQ_NODENAME", format!("darkserver{}@localhost", self.port))
            .env("RABBITMQ_MNESIA_BASE", directory.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", directory.join("log"))
            .env("RABBITMQ_CONFIG_FILE", directory.join("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", directory.join("rabbitmq-env.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", directory.join("enabled_plugins"))
            .env("RABBITMQ_PID_FILE", directory.join("pid"))
            .env("RABBITMQ_DIST_PORT", (self.epmd_port + 1).to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false")
            .env("RABBITMQ_CTL_ERL_ARGS", "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}")
            // Any free port: a call of rabbitmqctl is a node, too.
            .env("RABBITMQ_CTL_DIST_PORT_MIN", "0")
            .env("RABBITMQ_CTL_DIST_PORT_MAX", "0")
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // The script becomes the server instead of waiting for it.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env("ERL_CRASH_DUMP", "/dev/null")
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Starts the server and waits until it answers. `false` if it ended instead.
    fn launch(&mut self) -> bool {
        let log = |name: &str| {
            let log = fs::File::options().create(true).append(true).open(self.directory.path().join(name));
            log.expect("a log of RabbitMQ")
        };
        if self.epmd.is_none() {
            let mut epmd = Command::new("epmd");
            epmd.args(["-address", "127.0.0.1", "-port", &self.epmd_port.to_string()]);
            epmd.stdin(Stdio::null()).stdout(log("epmd")).stderr(log("epmd"));
            let epmd = epmd.spawn().unwrap_or_else(|error| panic!("epmd, of Erlang: {error}"));
            self.epmd = Some(epmd);
        }
        let mut server = self.command("rabbitmq-server");
        server.stdin(Stdio::null()).stdout(log("stdout")).stderr(log("stderr")).process_group(0);
        let server = server.spawn().unwrap_or_else(|error| panic!("rabbitmq-server: {error}"));
        self.server = Some(server);
        let deadline = Instant::now() + START_WITHIN;
        while Instant::now() < deadline {
            if self.answers() {
                return true;
            }
            if self.server.as_mut().is_some_and(|server| !matches!(server.try_wait(), Ok(None))) {
                self.kill();
                self.end_epmd();
                return false;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("rabbitmq-server does not answer after {START_WITHIN:?}:\n{}", self.log());
    }

    /// True if it accepts connections: it does so once it can serve them.
    fn answers(&self) -> bool {
        std::net::TcpStream::connect(("127.0.0.1", self.tls_port.unwrap_or(self.port))).is_ok()
    }

    fn end_epmd(&mut self) {
        if let Some(mut epmd) = self.epmd.take() {
            let _ = epmd.kill();
            let _ = epmd.wait();
        }
    }

    /// Its logs so far.
    pub fn log(&self) -> String {
        let log = format!("log/darkserver{}@localhost.log", self.port);
        ["stdout", "stderr", &log]
            .map(|name| fs::read_to_string(self.directory.path().join(name)).unwrap_or_default())
            .concat()
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
        self.end_epmd();
        if thread::panicking() {
            eprintln!("--- rabbitmq-server ---\n{}", self.log());
        }
    }
}

impl VirtualHost {
    /// A virtual host of the server that the tests of one process share.
    ///
    /// # Panics
    /// As [`RabbitMq::start`].
    pub fn new() -> Self {
        let server = RabbitMq::shared();
        let name = server.virtual_host();
        Self { server, name }
    }

    /// Its server.
    pub fn server(&self) -> &RabbitMq {
        &self.server
    }

    /// Its URL for the user `darkserver`.
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }
}

impl Default for VirtualHost {
    fn default() -> Self {
        Self::new()
    }
}

/// The directory of the server's own scripts, whatever its version.
fn scripts() -> PathBuf {
    let roots = ["/usr/lib/rabbitmq/lib", "/usr/lib64/rabbitmq/lib"].map(Path::new);
    let servers = roots.iter().flat_map(|root| fs::read_dir(root).into_iter().flatten().flatten());
    let mut found: Vec<PathBuf> =
        servers.map(|entry| entry.path().join("sbin")).filter(|sbin| sbin.join("rabbitmq-server").is_file()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| {
        panic!("expected rabbitmq-server, found none: install RabbitMQ (Debian and Fedora: rabbitmq-server)")
    })
}

/// Sends a signal to the server and what it has started: the child leads a process group.
fn signal_group(child: &Child, signal: Signal) {
    // Processes that have ended by themselves are no error.
    let _ = kill_process_group(Pid::from_child(child), signal);
}
