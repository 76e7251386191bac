//! Plain files that move, are copied, disappear and come back: they are known by the paths that they have now.

use std::fs;
use std::path::{Path, PathBuf};

use compat_tests::compiled::Program;
use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::mariadb::MariaDb;
use tempfile::{TempDir, tempdir};

use crate::{expect_file, path, told};

/// A tree with a program that is no RPM's, and an index of it.
struct Tree {
    _directory: TempDir,
    root: PathBuf,
    program: Program,
    database: String,
}

impl Tree {
    fn on(database: &str) -> Self {
        let (directory, program) = (tempdir().unwrap(), Program::compile("prog", "/s/prog"));
        let root = directory.path().canonicalize().unwrap();
        for inner in ["a", "b"] {
            fs::create_dir(root.join(inner)).unwrap();
        }
        import_ok(database, &["migrate"]);
        Self { _directory: directory, root, program, database: database.to_owned() }
    }

    fn add(&self, file: &str) {
        fs::copy(self.program.whole(), self.root.join(file)).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.root.join(file)).unwrap();
    }

    fn import(&self) {
        import_ok(&self.database, &["dir", self.root.to_str().unwrap(), "--formats", "elf"]);
    }

    /// Expects that a gateway knows the program by these paths and by no other, and serves it under one of them.
    #[track_caller]
    fn expect_paths(&self, files: &[&str]) {
        let gateway = RunningGateway::start(&self.database);
        let all = ["a/prog", "b/copy", "b/link"];
        for file in all {
            let found = told(&gateway, "file", self.root.join(file).to_str().unwrap());
            assert_eq!(found, types(&self.root, if files.contains(&file) { vec![file] } else { vec![] }), "{file}");
        }
        let now = types(&self.root, files.to_vec());
        let pattern = format!("{}/*/*", self.root.display());
        assert_eq!(told(&gateway, "glob", &pattern), now, "{pattern}");
        let by_id = told(&gateway, "buildid", &self.program.build_id);
        assert!(
            by_id.keys().all(|file| now.contains_key(file)),
            "by build-id: expected some of {now:?}, found {by_id:?}"
        );
        for word in ["executable", "debuginfo"] {
            let asked = path(&self.program.build_id, word);
            let answer = gateway.get(&asked);
            if files.is_empty() {
                assert_eq!(answer.status, 404, "{word}");
                continue;
            }
            assert!(
                answer.status == 200 && answer.body == fs::read(self.program.whole()).unwrap(),
                "{word}: {}",
                answer.status
            );
            let named =
                Path::new(answer.header("x-debuginfod-file").unwrap()).strip_prefix(&self.root).unwrap().to_owned();
            assert!(
                files.iter().any(|file| *file == named.to_str().unwrap()),
                "{word}: expected {files:?}, found {named:?}"
            );
        }
    }
}

/// What `/metadata` tells of these files: an unstripped program is both, and that is certain once it was read.
fn types(root: &Path, files: Vec<&str>) -> std::collections::BTreeMap<(String, String), bool> {
    let path = |file: &str| root.join(file).to_str().unwrap().to_owned();
    let entries =
        files.into_iter().flat_map(|file| ["debuginfo", "executable"].map(|kind| (path(file), kind.to_owned())));
    entries.map(|entry| (entry, true)).collect()
}

fn moves_and_comes_back(tree: &Tree) {
    tree.add("a/prog");
    tree.import();
    tree.expect_paths(&["a/prog"]);
    tree.add("b/copy");
    tree.remove("a/prog");
    tree.import();
    tree.expect_paths(&["b/copy"]);
    tree.add("a/prog");
    tree.remove("b/copy");
    tree.import();
    tree.expect_paths(&["a/prog"]);
}

#[test]
fn a_file_that_moved_is_known_by_its_new_path_alone() {
    moves_and_comes_back(&Tree::on(&Sqlite::empty().url()));
}

#[test]
fn a_file_that_moved_is_known_by_its_new_path_alone_on_mariadb() {
    let mariadb = MariaDb::shared();
    mariadb.create_database("moved");
    moves_and_comes_back(&Tree::on(&mariadb.url("moved")));
}

#[test]
fn a_renamed_file_keeps_its_time_and_not_its_path() {
    let index = Sqlite::empty();
    let tree = Tree::on(&index.url());
    tree.add("a/prog");
    tree.import();
    fs::rename(tree.root.join("a/prog"), tree.root.join("b/copy")).unwrap();
    tree.import();
    tree.expect_paths(&["b/copy"]);
    let gateway = RunningGateway::start(&index.url());
    let member = tree.root.join("b/copy");
    for word in ["executable", "debuginfo"] {
        expect_file(&gateway, &tree.program.build_id, word, &tree.program.whole(), member.to_str().unwrap());
    }
}

#[test]
fn copies_and_hard_links_are_known_by_their_own_paths() {
    let index = Sqlite::empty();
    let tree = Tree::on(&index.url());
    // Imported at once, and one by one.
    tree.add("a/prog");
    tree.add("b/copy");
    tree.import();
    tree.expect_paths(&["a/prog", "b/copy"]);
    fs::hard_link(tree.root.join("a/prog"), tree.root.join("b/link")).unwrap();
    tree.import();
    tree.expect_paths(&["a/prog", "b/copy", "b/link"]);
    tree.remove("a/prog");
    tree.import();
    tree.expect_paths(&["b/copy", "b/link"]);
    tree.remove("b/copy");
    tree.import();
    tree.expect_paths(&["b/link"]);
}

#[test]
fn a_copy_that_came_later_is_known_and_forgotten_again() {
    let index = Sqlite::empty();
    let tree = Tree::on(&index.url());
    tree.add("a/prog");
    tree.import();
    tree.add("b/copy");
    tree.import();
    tree.expect_paths(&["a/prog", "b/copy"]);
    tree.remove("b/copy");
    tree.import();
    tree.expect_paths(&["a/prog"]);
}

#[test]
fn a_file_that_was_gone_is_known_again() {
    let index = Sqlite::empty();
    let tree = Tree::on(&index.url());
    tree.add("a/prog");
    tree.import();
    tree.remove("a/prog");
    tree.import();
    tree.expect_paths(&[]);
    for file in ["a/prog", "b/copy"] {
        tree.add(file);
        tree.import();
        tree.expect_paths(&[file]);
        tree.remove(file);
        tree.import();
        tree.expect_paths(&[]);
    }
}
