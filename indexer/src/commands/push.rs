//! The command `push`: uploads packages to an indexer that runs `listen`.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use http_client::{ClientPolicy, ESCAPED, TlsFiles, below_escaped, user_agent, without_secrets};
use indicatif::{ProgressBar, ProgressStyle};
use percent_encoding::{AsciiSet, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Serialize;
use tokio::task::spawn_blocking;
use url::{Host, Url};

use crate::cli::{Common, PushArgs};
use crate::fetch::network::PRODUCT;
use crate::report::failure::{self, CommandFailure, Result};
use crate::report::output::{print, print_error, printable};
use crate::service::hooks::digest::Sha256Bytes;
use crate::service::hooks::{file_digest, file_name};
use send::{Failure, Sender, Sent};

mod send;

/// The environment variable with a token.
const TOKEN_VARIABLE: &str = "DARKSERVER_HOOK_TOKEN";
/// Maximum size of a file of a token in bytes.
const MAX_TOKEN_BYTES: u64 = 64 << 10;
/// Maximum time until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum PushResult {
    /// It is in the index, and was not there before.
    Uploaded,
    /// It was there before.
    Unchanged,
    Failed,
    /// It was not tried, because every file would have failed.
    Skipped,
}

/// A file: an element of `--json`.
#[derive(Serialize)]
struct FileReport {
    file: String,
    result: PushResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    nvra: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_ids: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A file that is fit to be uploaded.
struct Package {
    path: PathBuf,
    name: String,
    bytes: u64,
    digest: Sha256Bytes,
}

/// Runs `push`.
pub(crate) async fn run(args: PushArgs, common: &Common) -> Result<ExitCode> {
    let base = base_url(&args.to)?;
    let token = token(args.token_file.as_deref())?;
    if base.scheme() == "http" && !is_loopback(&base) && !common.quiet {
        print_error(&format_args!("darkserver-import: {base}: the token is sent unencrypted: give an https URL"));
    }
    let policy = ClientPolicy {
        headers: HeaderMap::from_iter([(AUTHORIZATION, token)]),
        tls: TlsFiles { ca: args.ca.clone(), ..TlsFiles::default() },
        is_patient: true,
        connect_timeout: Some(CONNECT_TIMEOUT),
        ..ClientPolicy::default()
    };
    let client = http_client::build(&policy, &user_agent(PRODUCT, None))
        .map_err(|error| CommandFailure::Usage(format!("{error:#}")))?;
    let bar = progress_bar(common);
    let sender = Sender { client, bar: bar.clone(), retry_timeout: Duration::from_secs(common.wait) };
    let (mut reports, mut refusal) = (Vec::with_capacity(args.files.len()), None);
    for file in &args.files {
        let report = match &refusal {
            Some(_) => FileReport::new(file, PushResult::Skipped),
            None => match push_file(&sender, &base, &args.store, file).await {
                Ok(sent) => FileReport::sent(file, sent),
                Err(failure) => {
                    let text = failure.to_string();
                    bar.suspend(|| print_error(&printable(&format!("{}: {text}", file.display()))));
                    if matches!(failure, Failure::OfAll(_)) {
                        refusal = Some(text.clone());
                    }
                    FileReport { error: Some(text), ..FileReport::new(file, PushResult::Failed) }
                }
            },
        };
        if !common.quiet && !common.json {
            bar.suspend(|| report.print())?;
        }
        reports.push(report);
    }
    bar.finish_and_clear();
    if common.json {
        print(&serde_json::to_string(&reports).map_err(CommandFailure::local)?)?;
    }
    let is_done = |report: &FileReport| matches!(report.result, PushResult::Uploaded | PushResult::Unchanged);
    Ok(match refusal {
        Some(_) => ExitCode::from(failure::USAGE),
        None if reports.iter().all(is_done) => ExitCode::SUCCESS,
        None => ExitCode::from(failure::FAILED),
    })
}

impl FileReport {
    fn new(file: &Path, result: PushResult) -> Self {
        Self { file: file.display().to_string(), result, nvra: None, build_ids: None, error: None }
    }

    fn sent(file: &Path, sent: Sent) -> Self {
        let result = if sent.is_new { PushResult::Uploaded } else { PushResult::Unchanged };
        Self { nvra: Some(sent.nvra), build_ids: Some(sent.build_ids), ..Self::new(file, result) }
    }

    /// Prints the line of a file that is in the index.
    fn print(&self) -> Result<()> {
        let result = match self.result {
            PushResult::Uploaded => "uploaded",
            PushResult::Unchanged => "is there already",
            PushResult::Failed | PushResult::Skipped => return Ok(()),
        };
        let build_ids = self.build_ids.unwrap_or_default();
        Ok(print(&printable(&format!("{}: {result}, {build_ids} build-ids", self.file)))?)
    }
}

async fn push_file(sender: &Sender, base: &Url, store: &str, file: &Path) -> Result<Sent, Failure> {
    let path = file.to_owned();
    let read = spawn_blocking(move || read_package(path)).await;
    let package = read.unwrap_or_else(|error| Err(error.to_string())).map_err(Failure::OfFile)?;
    const SEGMENT: &AsciiSet = &ESCAPED.add(b'/');
    let (store, name) = (utf8_percent_encode(store, SEGMENT), utf8_percent_encode(&package.name, SEGMENT));
    let url = below_escaped(base, &format!("hooks/upload/{store}/{name}"));
    sender.send(url.map_err(|error| Failure::OfAll(format!("--to: {error}")))?, &package).await
}

/// Reads the size and the digest of a file.
fn read_package(path: PathBuf) -> Result<Package, String> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    file_name::check(&name).map_err(|expected| format!("expected {expected}, found {name:?}"))?;
    let open = || {
        // A pipe must not be waited for.
        let mut file = crate::fetch::open_file::open(&path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("expected a file, found something else"));
        }
        let digest = file_digest(&mut file)?;
        Ok((file.metadata()?.len(), digest))
    };
    let (bytes, digest) = open().map_err(|error: io::Error| error.to_string())?;
    Ok(Package { path, name, bytes, digest })
}

/// Reads `--to`. No message repeats it: it can hold a password.
fn base_url(text: &str) -> Result<Url> {
    let refuse = |found: &str| {
        let expected = "--to: expected an http or https URL, as https://indexer.example.org";
        Err(CommandFailure::Usage(format!("{expected}, found {found}")))
    };
    let Ok(url) = Url::parse(text) else { return refuse("another text") };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("another scheme");
    }
    if url != without_secrets(&url) {
        return refuse("a user, password, query or fragment");
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Returns the value of Authorization, with the token of the file or of the environment. A token on a command line
/// would be seen by every user of the machine.
fn token(file: Option<&Path>) -> Result<HeaderValue> {
    let text = match file {
        Some(path) => {
            let read = File::open(path).and_then(|file| io::read_to_string(file.take(MAX_TOKEN_BYTES)));
            read.map_err(|error| CommandFailure::Usage(format!("--token-file {}: {error}", path.display())))?
        }
        None => std::env::var(TOKEN_VARIABLE).unwrap_or_default(),
    };
    let token = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let Some(token) = token else {
        let expected = format!("expected a token in --token-file or in the variable {TOKEN_VARIABLE}, found none");
        return Err(CommandFailure::Usage(expected));
    };
    let refuse = || CommandFailure::Usage("expected a token of visible ASCII characters, found others".into());
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refuse());
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| refuse())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Returns a bar of the bytes of one file, which is hidden outside of a terminal.
fn progress_bar(common: &Common) -> ProgressBar {
    if common.quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    let template = "{prefix} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_url_of_an_indexer_has_no_secrets() {
        for url in ["https://indexer.example.org", "http://127.0.0.1:8003", "https://h/darkserver/"] {
            assert!(base_url(url).is_ok(), "{url}");
        }
        for url in
            ["", "indexer", "ftp://h", "https://u:secret@h", "https://secret@h", "https://h/?secret", "https://h/#s"]
        {
            let message = base_url(url).unwrap_err().to_string();
            assert!(message.contains("--to: expected") && !message.contains("secret"), "{url}: {message}");
        }
        let is_loopback = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(is_loopback("http://127.0.0.2/") && is_loopback("http://[::1]/") && is_loopback("http://localhost/"));
        assert!(!is_loopback("http://10.0.0.1/") && !is_loopback("http://localhost.example/"));
    }

    #[test]
    fn the_first_line_of_a_file_is_the_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "# of this machine\n\n  one \ntwo\n").unwrap();
        assert_eq!(token(Some(file.path())).unwrap(), "Bearer one");
        for wrong in ["", "# none\n", "ä\n"] {
            fs::write(file.path(), wrong).unwrap();
            let message = token(Some(file.path())).unwrap_err().to_string();
            assert!(message.contains("expected a token") && !message.contains('ä'), "{message}");
        }
        assert!(token(Some(Path::new("/nonexistent/token"))).is_err());
    }
}
