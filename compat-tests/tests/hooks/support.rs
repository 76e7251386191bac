//! An indexer with a store for uploads.

use std::path::{Path, PathBuf};
use std::process::Output;

use compat_tests::darkserver::{Sqlite, import_command, import_ok};
use compat_tests::fixtures;
use compat_tests::http::{self, Response};
use compat_tests::indexer::RunningIndexer;
use compat_tests::process::run;
use sql::{Access, Index};
use tempfile::TempDir;

/// A token that the indexer knows.
pub(crate) const TOKEN: &str = "a-token-of-a-test-0123456789";
/// The family of packages.
pub(crate) const FAMILY: &str = "fedora-separate";
/// A package with build-ids.
pub(crate) const NAME: &str = "bidtest-debuginfo-1.2~rc1-4.fc99.x86_64.rpm";
/// A family that has other packages with the same names.
pub(crate) const OTHER_FAMILY: &str = "fedora-compat";

/// An indexer on an index of its own.
pub(crate) struct Bench {
    pub(crate) sqlite: Sqlite,
    pub(crate) directory: TempDir,
    pub(crate) indexer: RunningIndexer,
}

/// Starts an indexer with these further keys of `[hooks]`, and further tables.
pub(crate) fn start(hooks: &str) -> Bench {
    start_through(&[], hooks)
}

/// As [`start`], by a command that ends in `exec "$@"`. `{root}` in it stands for the directory of uploads.
pub(crate) fn start_through(through: &[&str], hooks: &str) -> Bench {
    let (sqlite, directory) = (Sqlite::empty(), tempfile::tempdir().unwrap());
    let root = directory.path().join("root");
    std::fs::create_dir(&root).unwrap();
    import_ok(&sqlite.url(), &["migrate"]);
    import_ok(&sqlite.url(), &["store", "add", "uploads", "--tier", "local", "--path", text(&root)]);
    let configuration = configuration(directory.path(), hooks);
    let through: Vec<String> = through.iter().map(|word| word.replace("{root}", text(&root))).collect();
    let through: Vec<&str> = through.iter().map(String::as_str).collect();
    let indexer = RunningIndexer::start_through(&through, &[("DARKSERVER_DATABASE", &sqlite.url())], &configuration);
    Bench { sqlite, directory, indexer }
}

/// The configuration of an indexer that takes uploads, and its file of tokens in `directory`.
pub(crate) fn configuration(directory: &Path, hooks: &str) -> String {
    let tokens = directory.join("tokens");
    std::fs::write(&tokens, format!("# tokens\nanother-token\n{TOKEN}\n")).unwrap();
    let uploads = "upload_stores = ['uploads', 'nowhere']\nmin_free = 0";
    format!("[hooks]\ntoken_file = '{}'\n{uploads}\n{hooks}\n", tokens.display())
}

impl Bench {
    /// The directory of uploads.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// The names in the directory of uploads, hidden ones included, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        names(&self.root())
    }

    /// A PUT request with a valid token.
    pub(crate) fn put(&self, name: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        put(self.indexer.port, name, headers, body)
    }

    /// A POST request with a valid token.
    pub(crate) fn post(&self, hook: &str, body: &str) -> Response {
        let headers = [("Content-Type", "application/json"), ("Authorization", &authorization())];
        http::request_with(self.indexer.port, "POST", &format!("/hooks/{hook}"), &headers, body.as_bytes()).unwrap()
    }

    /// Runs `push` with a valid token.
    pub(crate) fn push(&self, arguments: &[&str]) -> Output {
        push_to(&self.indexer.url(), arguments)
    }

    /// The names of the packages in the index, each as often as it is there.
    pub(crate) fn packages(&self) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let index = Index::open(&self.sqlite.url().parse().unwrap(), Access::ReadOnly).unwrap();
            let packages = index.sample(None, 1000).await.unwrap();
            let mut names: Vec<String> = packages.iter().map(|package| package.package.nevra.nvra()).collect();
            names.sort_unstable();
            names
        })
    }
}

/// The value of Authorization with a valid token.
pub(crate) fn authorization() -> String {
    format!("Bearer {TOKEN}")
}

/// A PUT request with a valid token to an indexer.
pub(crate) fn put(port: u16, name: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let authorization = authorization();
    let headers = [headers, &[("Authorization", authorization.as_str())]].concat();
    let path = format!("/hooks/upload/uploads/{name}");
    http::request_with(port, "PUT", &path, &headers, body).unwrap_or_else(|error| panic!("PUT {path}: {error}"))
}

/// Runs `push` with a valid token, in an environment without a database.
pub(crate) fn push_to(url: &str, arguments: &[&str]) -> Output {
    let mut command = import_command("sqlite:/nonexistent/no.db", &["push", "--to", url]);
    run(command.args(arguments).env("DARKSERVER_HOOK_TOKEN", TOKEN), "the workspace")
}

/// The names in a directory, hidden ones included, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// The bytes of a package.
pub(crate) fn package(family: &str, name: &str) -> Vec<u8> {
    std::fs::read(fixtures::rpm(&format!("{family}/{name}"))).unwrap()
}

/// The bytes of a package with zeros behind it, which rpm ignores: `bytes` bytes.
pub(crate) fn large_package(bytes: usize) -> Vec<u8> {
    let mut package = package(FAMILY, NAME);
    package.resize(bytes, 0);
    package
}

/// A build-id of [`NAME`].
pub(crate) fn build_id() -> String {
    let rows = fixtures::truth(FAMILY);
    rows.into_iter().find(|row| row.rpm.ends_with(NAME)).unwrap().build_id
}

/// The JSON of a response.
pub(crate) fn json(response: &Response) -> serde_json::Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error}: {:?}", response.text()))
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
