//! Members with false paths, types and counts. Nothing is written under a member's name: names only select the file of
//! the header.

use std::fs;

use crate::builders::{Listed, Made, elf, file, newc, symlink};
use crate::limits;
use crate::support::ImportFixture;

/// The artifacts' paths of a package, whether it is open, and standard error.
async fn import(files: &[Listed], archive: Vec<u8>) -> (Vec<String>, bool, String) {
    let fixture = ImportFixture::new();
    fs::write(fixture.packages().join("members.rpm"), Made::new("members", files, archive).bytes()).unwrap();
    let output = limits::import(&fixture, &["--payload", "always"]);
    let index = fixture.index().await;
    let records = index.records_by_nvra("members-1.0-1.x86_64").await.unwrap().records;
    let packages = index.packages_by_nvra("members-1.0-1.x86_64").await.unwrap().read;
    let mut directory: Vec<_> =
        fs::read_dir(fixture.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    directory.retain(|name| !name.to_string_lossy().starts_with("index.db"));
    assert_eq!(directory, ["packages"]);
    let open = packages.first().is_some_and(|package| package.open);
    (records.into_iter().map(|record| record.artifact.path).collect(), open, output.stderr)
}

async fn refused(files: &[Listed], archive: Vec<u8>, wrong: &str) {
    let (paths, open, stderr) = import(files, archive).await;
    assert!(stderr.contains(wrong), "expected {wrong}, found {stderr}");
    assert!(paths.is_empty() && open, "{wrong}: {paths:?}");
}

#[tokio::test]
async fn names_that_the_header_does_not_list_are_refused() {
    let elf = elf([1; 20]);
    let files = [file("/usr/bin/a", elf.len())];
    for name in ["../../etc/passwd", "./usr/bin/../bin/a", "/etc/passwd", "usr/bin/a/", "", "/", "..", "./usr/bin/a\n"]
    {
        refused(&files, newc(&[(name, &elf)]), &format!("expected a member that the header lists, found {name:?}"))
            .await;
    }
}

#[tokio::test]
async fn names_with_parent_components_in_header_and_archive_are_plain_names() {
    let elf = elf([2; 20]);
    for (listed, name) in [
        ("/../../etc/a", "./../../etc/a"),
        ("/usr/bin/../../a", "usr/bin/../../a"),
        ("etc/a", "/etc/a"),
        ("//etc/a", "./etc/a"),
    ] {
        let (paths, open, stderr) = import(&[file(listed, elf.len())], newc(&[(name, &elf)])).await;
        assert_eq!((paths.len(), open, &*stderr), (1, false, ""), "{listed}");
        assert!(
            paths[0].starts_with('/') && paths[0].trim_start_matches('/') == listed.trim_start_matches('/'),
            "{paths:?}"
        );
    }
}

#[tokio::test]
async fn links_that_point_out_are_not_followed() {
    let elf = elf([3; 20]);
    for target in ["../../../../../../etc/passwd", "/proc/self/mem", "a", "", &"../".repeat(2_000)] {
        let files = [symlink("/usr/bin/link", target), file("/usr/bin/a", elf.len())];
        let archive = newc(&[("./usr/bin/link", target.as_bytes()), ("./usr/bin/a", &elf)]);
        let (paths, open, stderr) = import(&files, archive).await;
        assert_eq!((paths, open, &*stderr), (vec!["/usr/bin/a".to_owned()], false, ""), "{target}");
    }
    // A build-id link to a file that is not there names nothing.
    let id = "0303030303030303030303030303030303030303";
    let link = symlink(&format!("/usr/lib/.build-id/{}/{}", &id[..2], &id[2..]), "../../../../../../../etc/passwd");
    let (paths, open, stderr) = import(std::slice::from_ref(&link), newc(&[])).await;
    assert_eq!((paths, open, &*stderr), (Vec::new(), false, ""));
}

#[tokio::test]
async fn hard_links_without_contents_are_refused() {
    let elf = elf([4; 20]);
    let link = |path: &str| Listed { inode: 7, ..file(path, elf.len()) };
    let files = [link("/usr/bin/a"), link("/usr/bin/b")];
    let (mut paths, open, stderr) = import(&files, newc(&[("./usr/bin/a", b""), ("./usr/bin/b", &elf)])).await;
    paths.sort();
    assert_eq!((paths, open, &*stderr), (vec!["/usr/bin/a".to_owned(), "/usr/bin/b".to_owned()], false, ""));
    refused(&files, newc(&[("./usr/bin/a", b""), ("./usr/bin/b", b"")]), "expected the contents of /usr/bin/a, found")
        .await;
    refused(&files, newc(&[("./usr/bin/a", b"")]), "expected the contents of /usr/bin/a, found").await;
}

#[tokio::test]
async fn members_of_another_size_twice_or_missing_are_refused() {
    let elf = elf([5; 20]);
    let bytes = elf.len();
    let files = [file("/usr/bin/a", bytes), file("/usr/bin/b", bytes)];
    let longer = [&elf[..], b"more"].concat();
    let missing_trailer = {
        let mut archive = newc(&[("./usr/bin/a", &elf)]);
        archive.truncate(archive.len() - 124);
        archive
    };
    for (archive, wrong) in [
        (newc(&[("./usr/bin/a", &longer)]), format!("expected {bytes} bytes of /usr/bin/a, found {}", bytes + 4)),
        (newc(&[("./usr/bin/a", &elf[..9])]), format!("expected {bytes} bytes of /usr/bin/a, found 9")),
        (newc(&[("./usr/bin/a", b"")]), format!("expected {bytes} bytes of /usr/bin/a, found 0")),
        (
            newc(&[("./usr/bin/a", &elf), ("usr/bin/a", &elf)]),
            "expected /usr/bin/a once in the archive, found it twice".into(),
        ),
        (newc(&[("./usr/bin/a", &elf)]), "expected the contents of /usr/bin/b, found an archive without them".into()),
        (missing_trailer, "expected a trailer at the archive's end, found the payload's end after 1 members".into()),
        (newc(&[]), "expected the contents of /usr/bin/a, found an archive without them".into()),
        (Vec::new(), "expected a trailer at the archive's end, found the payload's end after 0 members".into()),
    ] {
        refused(&files, archive, &wrong).await;
    }
}

#[tokio::test]
async fn files_of_one_name_in_the_header_are_refused() {
    let elf = elf([6; 20]);
    let files = [file("/usr/bin/a", elf.len()), file("/usr/bin/a", elf.len())];
    for members in [&[("./usr/bin/a", &elf[..])][..], &[("./usr/bin/a", &elf[..]), ("./usr/bin/a", &elf[..])]] {
        let (_, open, stderr) = import(&files, newc(members)).await;
        assert!(open && stderr.contains("expected") && stderr.contains("found"), "{stderr}");
    }
}
