//! Compressed kernel modules: in RPMs, whose debug files have their build-ids, and in Debian packages, tar archives
//! and plain trees, which are read whole. They are served decompressed.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and says where")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::compiled::{Tree, build_id, succeed};
use compat_tests::darkserver::{RunningGateway, Sqlite, import, import_ok};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::headers::{FileClassFormat, class};
use compat_tests::http::{self, Response};
use compat_tests::mariadb::MariaDb;
use compat_tests::rpmbuild;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

const VERSION: &str = "6.5.6-300.fc39.x86_64";
const MODULES: &str = "kernel-modules-1.0-1.x86_64";
const DEBUGINFO: &str = "kernel-debuginfo-1.0-1.x86_64";

/// A kernel module: a relocatable file with a build-id, split from its DWARF and compressed.
struct Module {
    name: &'static str,
    /// `xz`, `zst` or `gz`.
    ending: &'static str,
    build_id: String,
    /// Without its DWARF.
    stripped: Vec<u8>,
    debug: Vec<u8>,
    compressed: Vec<u8>,
}

impl Module {
    fn compile(name: &'static str, ending: &'static str) -> Self {
        let directory = tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let text = format!("int twice_{name}(int number) {{\n    return 2 * number;\n}}\n");
        fs::write(path("x.c"), text).unwrap();
        let options = ["-g", "-O1", "-r", "-nostdlib", "-Wl,--build-id=sha1", "-o", "x.ko", "x.c"];
        succeed(Command::new("cc").args(options).current_dir(directory.path()), "gcc");
        succeed(Command::new("objcopy").arg("--only-keep-debug").args([path("x.ko"), path("x.ko.debug")]), "binutils");
        succeed(Command::new("objcopy").arg("--strip-debug").arg(path("x.ko")), "binutils");
        let stripped = fs::read(path("x.ko")).unwrap();
        let compressed = compress(&path("x.ko"), ending);
        Self {
            name,
            ending,
            build_id: build_id(&path("x.ko")),
            stripped,
            debug: fs::read(path("x.ko.debug")).unwrap(),
            compressed,
        }
    }

    /// One of each compression.
    fn all() -> [Self; 3] {
        [Self::compile("alpha", "xz"), Self::compile("beta", "zst"), Self::compile("gamma", "gz")]
    }

    fn path(&self) -> String {
        format!("/lib/modules/{VERSION}/kernel/fs/{}.ko.{}", self.name, self.ending)
    }

    fn debug_path(&self) -> String {
        format!("/usr/lib/debug/lib/modules/{VERSION}/kernel/fs/{}.ko.debug", self.name)
    }

    fn ask(&self, gateway: &RunningGateway, word: &str) -> Response {
        gateway.get(&format!("/buildid/{}/{word}", self.build_id))
    }

    /// Expects that clients get the ELF file, whole, a part of it and its sections, as the member at `path`.
    #[track_caller]
    fn expect_executable(&self, gateway: &RunningGateway, path: &str) {
        let (answer, size) = (self.ask(gateway, "executable"), self.stripped.len().to_string());
        assert_eq!(answer.status, 200, "{}: {}", self.name, answer.text());
        assert!(answer.body == self.stripped, "{}: other bytes", self.name);
        let said = ["x-debuginfod-file", "x-debuginfod-size", "content-length"].map(|name| answer.header(name));
        assert_eq!(said, [Some(path), Some(&*size), Some(&*size)]);
        let named = answer.header("content-disposition").unwrap_or_default();
        assert!(named.contains(&format!("\"{}.ko\"", self.name)), "{named}");
        let place = format!("/buildid/{}/executable", self.build_id);
        let part = http::request(gateway.port, "GET", &place, &[("Range", "bytes=1-3")]).unwrap();
        assert_eq!((part.status, &*part.body), (206, &b"ELF"[..]));
        let etag = answer.header("etag").unwrap();
        let same = http::request(gateway.port, "GET", &place, &[("If-None-Match", etag)]).unwrap();
        assert_eq!(same.status, 304, "{etag}");
        let text = self.ask(gateway, "section/.text");
        assert!(text.status == 200 && !text.body.is_empty(), "{}", text.status);
        assert!(self.stripped.windows(text.body.len()).any(|window| window == text.body), "{}: other bytes", self.name);
        let client = DebuginfodClient::new(&gateway.url());
        assert!(client.found(&["executable", &self.build_id]) == self.stripped, "{}: other bytes", self.name);
        assert!(client.found(&["section", &self.build_id, ".text"]) == text.body, "{}: other bytes", self.name);
    }
}

/// The bytes of a file, compressed.
fn compress(file: &Path, ending: &str) -> Vec<u8> {
    let arguments: &[&str] = match ending {
        "xz" => &["xz", "-kf", "--check=crc32", "--lzma2=dict=1MiB"],
        "zst" => &["zstd", "-kfq", "-19"],
        _ => &["gzip", "-kfn"],
    };
    succeed(Command::new(arguments[0]).args(&arguments[1..]).arg(file), "xz-utils, zstd and gzip");
    fs::read(format!("{}.{ending}", file.display())).unwrap()
}

/// Makes the packages of a kernel that has these modules: modules and debuginfo.
fn kernel(into: &TempDir, modules: &[Module]) -> [PathBuf; 2] {
    kernel_with(into, modules, None)
}

/// The same with a program beside the modules.
fn kernel_with(into: &TempDir, modules: &[Module], program: Option<&[u8]>) -> [PathBuf; 2] {
    let installed = modules.iter().map(|module| (module.path(), &*module.compressed));
    let installed: Vec<_> = installed.chain(program.map(|bytes| ("/usr/bin/tool".to_owned(), bytes))).collect();
    let debug: Vec<_> = modules.iter().map(|module| (module.debug_path(), &*module.debug)).collect();
    let links: Vec<_> = modules
        .iter()
        .map(|module| {
            let target = format!("../../{}", module.debug_path().strip_prefix("/usr/lib/debug/").unwrap());
            (rpmbuild::link(&module.build_id, "debug/"), target)
        })
        .collect();
    let installed: Vec<(&str, &[u8])> = installed.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect();
    let linked = links.iter().map(|(path, target)| (path.as_str(), target.as_bytes()));
    let debug: Vec<(&str, &[u8])> = debug.iter().map(|(path, bytes)| (path.as_str(), *bytes)).chain(linked).collect();
    rpmbuild::build_with(
        "w3.zstdio",
        into.path(),
        "kernel",
        "1.0",
        "1",
        &[("kernel-modules", &installed), ("kernel-debuginfo", &debug)],
    );
    [MODULES, DEBUGINFO].map(|nvra| into.path().join(format!("{nvra}.rpm")))
}

fn import_rpm(database: &str, rpm: &Path, options: &[&str]) -> Value {
    let arguments = [&["rpm", rpm.to_str().unwrap(), "--json"], options].concat();
    serde_json::from_slice(&import_ok(database, &arguments).stdout).unwrap()
}

/// Package and path of the rows of `/buildids/ID`, sorted.
fn rows(gateway: &RunningGateway, build_id: &str) -> Vec<(String, String)> {
    let rows: Value = serde_json::from_slice(&gateway.get(&format!("/buildids/{build_id}")).body).unwrap();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let mut rows: Vec<_> = rows.as_array().unwrap().iter().map(|row| (text(row, "rpm"), text(row, "elf"))).collect();
    rows.sort();
    rows
}

/// A gateway for the archives of a directory, and what the import printed.
fn served(directory: &TempDir, formats: &str) -> (Sqlite, RunningGateway, Value) {
    let index = Sqlite::empty();
    let arguments = ["dir", directory.path().to_str().unwrap(), "--formats", formats, "--json"];
    let summary = serde_json::from_slice(&import_ok(&index.url(), &arguments).stdout).unwrap();
    let gateway = RunningGateway::start(&index.url());
    (index, gateway, summary)
}

#[test]
fn modules_of_rpms_are_served_whichever_package_came_first() {
    let (directory, modules) = (tempdir().unwrap(), Module::all());
    let rpms = kernel(&directory, &modules);
    let text = class(&rpms[0], &modules[0].path());
    assert!(text.starts_with("ELF ") && text.contains("(XZ compressed data"), "{text}");
    let server = MariaDb::shared();
    for order in [[0, 1], [1, 0]] {
        let sqlite = Sqlite::empty();
        let name = format!("modules{}", order[0]);
        server.create_database(&name);
        let databases = [sqlite.url(), server.url(&name)];
        import_ok(&databases[1], &["migrate"]);
        for database in databases {
            for at in order {
                let summary = import_rpm(&database, &rpms[at], &[]);
                assert_eq!((&summary["imported"], &summary["payloads_read"]), (&1.into(), &0.into()), "{summary}");
            }
            let gateway = RunningGateway::start(&database);
            for module in &modules {
                module.expect_executable(&gateway, &module.path());
                let debug = module.ask(&gateway, "debuginfo");
                assert!(debug.status == 200 && debug.body == module.debug, "{}", module.name);
                let expected = [(DEBUGINFO.to_owned(), module.debug_path()), (MODULES.to_owned(), module.path())];
                assert_eq!(rows(&gateway, &module.build_id), expected);
                let package = gateway.get(&format!("/rpm2buildids/{MODULES}")).text();
                assert!(package.contains(&module.build_id), "{package}");
                let files = gateway.get(&format!("/metadata?key=file&value={}", module.path())).text();
                assert!(files.contains(&module.build_id) && files.contains("executable"), "{files}");
            }
            // A gateway that answered while there was one package learns of the other: nothing else changes.
            for rpm in &rpms {
                import_rpm(&database, rpm, &[]);
            }
            assert_eq!(rows(&gateway, &modules[0].build_id).len(), 2);
        }
    }
}

#[test]
fn a_module_is_found_by_a_gateway_that_runs_when_its_package_comes() {
    let (directory, modules) = (tempdir().unwrap(), [Module::compile("late", "zst")]);
    let [installed, debuginfo] = kernel(&directory, &modules);
    let index = Sqlite::empty();
    import_rpm(&index.url(), &debuginfo, &[]);
    let gateway = RunningGateway::start(&index.url());
    import_rpm(&index.url(), &installed, &[]);
    compat_tests::wait_until("the module", || modules[0].ask(&gateway, "executable").status == 200);
    modules[0].expect_executable(&gateway, &modules[0].path());
}

#[test]
fn a_module_that_a_link_names_has_one_row_and_is_decompressed() {
    let (directory, module) = (tempdir().unwrap(), Module::compile("linked", "xz"));
    let (path, debug_path) = (module.path(), module.debug_path());
    let (link, target) = (rpmbuild::link(&module.build_id, ""), format!("../../../..{path}"));
    let installed: [(&str, &[u8]); 2] = [(&path, &module.compressed), (&link, target.as_bytes())];
    let debug: [(&str, &[u8]); 1] = [(&debug_path, &module.debug)];
    rpmbuild::build(
        directory.path(),
        "kernel",
        "1.0",
        "1",
        &[("kernel-modules", &installed), ("kernel-debuginfo", &debug)],
    );
    let index = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&index.url());
    module.expect_executable(&gateway, &path);
    assert_eq!(rows(&gateway, &module.build_id), [(DEBUGINFO.to_owned(), debug_path), (MODULES.to_owned(), path)]);
}

#[test]
fn a_debug_file_of_another_build_has_no_executable() {
    let (directory, [mut module, other, third]) = (tempdir().unwrap(), Module::all());
    module.compressed = other.compressed;
    let modules = [module, third];
    kernel(&directory, &modules);
    let index = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&index.url());
    for word in ["executable", "section/.text"] {
        let answer = modules[0].ask(&gateway, word);
        assert_eq!(answer.status, 404, "{word}: {:?}", answer.header("x-debuginfod-file"));
    }
    assert!(modules[0].ask(&gateway, "debuginfo").body == modules[0].debug);
    modules[1].expect_executable(&gateway, &modules[1].path());
}

#[test]
fn a_payload_that_is_read_anyway_tells_the_build_ids_of_its_modules() {
    for (form, options) in [(None, &["--payload", "always"][..]), (Some(FileClassFormat::None), &[])] {
        let (directory, modules) = (tempdir().unwrap(), Module::all());
        let program = rpmbuild::program(100, &rpmbuild::build_id());
        let [installed, debuginfo] = kernel_with(&directory, &modules, Some(&program));
        if let Some(form) = form {
            form.apply(&installed);
        }
        let index = Sqlite::empty();
        let summary = import_rpm(&index.url(), &installed, options);
        assert_eq!((&summary["artifacts"], &summary["payloads_read"]), (&4.into(), &1.into()), "{form:?}: {summary}");
        import_rpm(&index.url(), &debuginfo, &[]);
        let gateway = RunningGateway::start(&index.url());
        for module in &modules {
            assert_eq!(rows(&gateway, &module.build_id).len(), 2, "{form:?}");
            module.expect_executable(&gateway, &module.path());
        }
    }
}

#[test]
fn modules_of_debs_tars_arch_packages_and_trees_are_served_decompressed() {
    let modules = Module::all();
    let tree = Tree::with_files(&[]);
    for module in &modules {
        fs::write(tree.make(&format!("/usr{}", module.path())), &module.compressed).unwrap();
    }
    // Neither hides the others.
    fs::write(tree.make("/usr/lib/modules/broken.ko.xz"), &modules[0].compressed[..100]).unwrap();
    fs::write(tree.make("/usr/lib/modules/text.ko.gz"), "no module, whatever its name").unwrap();
    for format in ["deb", "tar", "arch", "elf"] {
        let directory = tempdir().unwrap();
        match format {
            "deb" => drop(tree.deb(directory.path(), ("linux-modules", "1.0-1", "deb"), "Source: linux\n", "zstd")),
            "tar" => drop(tree.tar(directory.path(), "modules.tar.xz", "tar", &[])),
            "arch" => drop(tree.arch(directory.path(), ("linux", "linux", "1.0-1"), "tar.zst")),
            _ => succeed(Command::new("cp").arg("-a").arg(tree.path().join("usr")).arg(directory.path()), "coreutils"),
        }
        let (_index, gateway, summary) = served(&directory, format);
        assert_eq!(summary["artifacts"], 3, "{format}: {summary}");
        for module in &modules {
            let root = if format == "elf" {
                fs::canonicalize(directory.path()).unwrap().display().to_string()
            } else {
                String::new()
            };
            module.expect_executable(&gateway, &format!("{root}/usr{}", module.path()));
            assert_eq!(module.ask(&gateway, "debuginfo").status, 404, "{format}");
        }
    }
}

#[test]
fn a_module_that_would_fill_the_disk_is_refused() {
    let mut module = Module::compile("bomb", "xz");
    let directory = tempdir().unwrap();
    let file = directory.path().join("bomb.ko");
    let mut bytes = module.stripped.clone();
    bytes.resize(80 << 20, 0);
    fs::write(&file, bytes).unwrap();
    module.compressed = compress(&file, "xz");
    assert!(module.compressed.len() < 100_000, "{}", module.compressed.len());
    let (debs, tree) = (tempdir().unwrap(), Tree::with_files(&[]));
    fs::write(tree.make(&module.path()), &module.compressed).unwrap();
    tree.deb(debs.path(), ("linux-modules", "1.0-1", "deb"), "", "xz");
    let index = Sqlite::empty();
    let output = import(&index.url(), &["dir", debs.path().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("a kernel module of at most 67108864 bytes"), "{said}");
    // A header does not tell how large it would become.
    let rpms = tempdir().unwrap();
    let modules = [module, Module::compile("small", "gz")];
    kernel(&rpms, &modules);
    let index = Sqlite::with_packages(&[rpms.path()]);
    let gateway = RunningGateway::start(&index.url());
    for word in ["executable", "section/.text"] {
        assert_eq!(modules[0].ask(&gateway, word).status, 404, "{word}");
    }
    modules[1].expect_executable(&gateway, &modules[1].path());
}
