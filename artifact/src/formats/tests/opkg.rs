//! Packages of opkg.

use super::*;

#[test]
fn packages_of_opkg_are_read_in_both_forms_and_in_any_order() {
    let data = compress(Some("gzip"), &tar(&[("./usr/bin/p", &elf())]));
    let text = b"Package: p\nVersion: 1:1-2\nSource: package/libs/q\nArchitecture: mips_24kc\n";
    let control = compress(Some("gzip"), &tar(&[("./control", text)]));
    let version: (&str, &[u8]) = ("./debian-binary", b"2.0\n");
    let data: (&str, &[u8]) = ("./data.tar.gz", &data);
    let control: (&str, &[u8]) = ("./control.tar.gz", &control);
    for parts in [[version, control, data], [version, data, control]] {
        let in_ar: Vec<(&str, &[u8])> = parts.iter().map(|(name, bytes)| (&name[2..], *bytes)).collect();
        for archive in [compress(Some("gzip"), &tar(&parts)), compress(Some("zstd"), &tar(&parts)), ar(&in_ar)] {
            let found = read_bytes(Format::Deb, &archive).unwrap();
            let package = &found.package;
            assert_eq!((package.nevra.nvra().as_str(), package.nevra.epoch), ("p-1-2.mips_24kc", Some(1)));
            assert_eq!(package.source_rpm.as_deref(), Some("q_1-2.dsc"));
            assert_eq!((found.artifacts.len(), found.artifacts[0].path.as_str()), (1, "/usr/bin/p"));
            extracts(Format::Deb, &archive, &found);
            let catalog =
                Catalog::read(ArchiveBytes::stream(&archive[..]), Format::Deb, archive.len() as u64, package.identity);
            assert!(catalog.unwrap().file("/usr/bin/p").is_some());
        }
    }
    let without = compress(Some("gzip"), &tar(&[version, control]));
    assert!(error(Format::Deb, &without).contains("data.tar in a Debian package"));
    let without = compress(Some("gzip"), &tar(&[version, data]));
    assert!(error(Format::Deb, &without).contains("control in a Debian package"));
}

#[test]
fn a_truncated_package_of_opkg_is_refused() {
    let parts: [(&str, &[u8]); 2] =
        [("control.tar", &tar(&[("control", CONTROL)])), ("data.tar", &tar(&[("p", &elf())]))];
    let whole = compress(Some("gzip"), &tar(&parts));
    for end in 0..whole.len() {
        assert!(read_bytes(Format::Deb, &whole[..end]).is_err(), "{end} of {}", whole.len());
    }
}
