//! Debian packages and tar archives of several xz blocks, as `dpkg-deb` and `xz -T0` write them: members are extracted
//! without the blocks before them.

use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::compiled::{Tree, succeed};
use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::files::FileServer;
use compat_tests::rpmbuild;
use tempfile::tempdir;

use crate::xz_blocks::{LIES, Members, archive_bytes, expect_entered, expect_read_from_the_start, honours_ranges};

const MIB: usize = 1 << 20;

/// Makes a tree of twelve MiB that do not compress, followed by two programs. Returns request path and bytes of these.
fn tree() -> (Tree, Members) {
    let tree = Tree::with_files(&[]);
    for (number, noise) in rpmbuild::noise(12 * MIB).chunks(MIB).enumerate() {
        std::fs::write(tree.make(&format!("/usr/lib/data/{number:02}")), noise).unwrap();
    }
    let programs = [1, 2].map(|number| {
        let id = format!("{}{number:04x}", &rpmbuild::build_id()[..36]);
        let bytes = rpmbuild::program(200_000, &id);
        std::fs::write(tree.make(&format!("/usr/lib/program{number}")), &bytes).unwrap();
        (format!("/buildid/{id}/executable"), bytes)
    });
    (tree, programs)
}

/// Writes an archive of a tree to a directory.
type Pack = fn(&Tree, &Path);

fn deb(tree: &Tree, into: &Path, compressor: &str) {
    tree.deb(into, ("blocks", "1.0-1", "deb"), "", compressor);
}

/// Writes a tar archive, compressed by `xz` with these options.
fn tar(tree: &Tree, into: &Path, options: &[&str]) -> PathBuf {
    let tar = tree.tar(into, "blocks-1.0.tar", "tar", &["--sort=name"]);
    succeed(Command::new("xz").arg("-0").args(options).arg(&tar), "xz-utils (Debian) or xz (Fedora)");
    into.join("blocks-1.0.tar.xz")
}

/// Imports the directory. With a URL, gateways read its archives from that URL alone.
fn index_of(directory: &Path, url: Option<&str>) -> Sqlite {
    let index = Sqlite::empty();
    let directory = directory.to_str().unwrap();
    let store: Vec<&str> = url.iter().flat_map(|url| ["--store", "store", "--url", url]).collect();
    import_ok(&index.url(), &[&["dir", directory, "--formats", "deb,tar"], &store[..]].concat());
    if let Some(url) = url {
        import_ok(&index.url(), &["store", "add", "store", "--tier", "mirror", "--url", url]);
    }
    index
}

#[test]
fn debs_and_tars_of_several_xz_blocks_are_entered_at_the_right_one() {
    let packs: [(&str, Pack); 3] = [
        // Level 0 writes blocks of one MiB.
        ("deb of dpkg-deb", |tree, into| deb(tree, into, "xz -z0")),
        ("tar", |tree, into| drop(tar(tree, into, &["--block-size=1MiB"]))),
        ("tar of several threads", |tree, into| drop(tar(tree, into, &["-T4"]))),
    ];
    for (name, pack) in packs {
        let (directory, (tree, members)) = (tempdir().unwrap(), tree());
        pack(&tree, directory.path());
        let store = honours_ranges(directory.path(), 0, |part| part);
        for url in [None, Some(&*store.url())] {
            let index = index_of(directory.path(), url);
            expect_entered(name, &RunningGateway::start(&index.url()), &members);
        }
    }
}

#[test]
fn sources_in_a_tar_are_entered_once_its_files_are_listed() {
    let (directory, (tree, [(path, _), _])) = (tempdir().unwrap(), tree());
    tar(&tree, directory.path(), &["--block-size=1MiB"]);
    let index = index_of(directory.path(), None);
    let gateway = RunningGateway::start(&index.url());
    let source = |number: u32| path.replace("/executable", &format!("/source/usr/lib/data/{number:02}"));
    let noise = rpmbuild::noise(12 * MIB);
    let mut read = 0.0;
    for number in [11, 10] {
        let before = archive_bytes(&gateway);
        let answer = gateway.get(&source(number));
        assert!(answer.body == noise[number as usize * MIB..][..MIB], "{number}: {} with other bytes", answer.status);
        read = archive_bytes(&gateway) - before;
    }
    assert!(read < 4e6, "expected to read little of 12 MiB for the second file, found {read} bytes");
}

#[test]
fn debs_of_one_block_and_stores_without_ranges_are_read_from_the_start() {
    let packs: [(&str, Pack, bool); 5] = [
        ("deb without compression", |tree, into| deb(tree, into, "none"), false),
        (
            "tar without compression",
            |tree, into| drop(tree.tar(into, "blocks-1.0.tar", "tar", &["--sort=name"])),
            false,
        ),
        ("deb of one block", |tree, into| deb(tree, into, "xz -z6"), false),
        ("deb over HTTP", |tree, into| deb(tree, into, "xz -z0"), true),
        ("tar over HTTP", |tree, into| drop(tar(tree, into, &["--block-size=1MiB"])), true),
    ];
    for (name, pack, is_remote) in packs {
        let (directory, (tree, members)) = (tempdir().unwrap(), tree());
        pack(&tree, directory.path());
        let store = FileServer::start(directory.path());
        let index = index_of(directory.path(), is_remote.then(|| store.url()).as_deref());
        expect_read_from_the_start(name, &RunningGateway::start(&index.url()), &members);
    }
}

#[test]
fn wrong_parts_of_a_deb_and_wrong_offsets_change_nothing() {
    let (directory, (tree, members)) = (tempdir().unwrap(), tree());
    deb(&tree, directory.path(), "xz -z0");
    let sound: fn(Vec<u8>) -> Vec<u8> = |part| part;
    for (number, lie) in LIES.into_iter().chain([sound]).enumerate() {
        let store = honours_ranges(directory.path(), 0, lie);
        let index = index_of(directory.path(), Some(&store.url()));
        if number == LIES.len() {
            let script = "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1], isolation_level=None); \
                          connection.execute('update artifacts set tar_offset = tar_offset - 512 * ordinal')";
            succeed(Command::new("python3").args(["-c", script]).arg(index.path()), "python3");
        }
        expect_read_from_the_start(&number.to_string(), &RunningGateway::start(&index.url()), &members);
    }
}
