//! Seeds of repository metadata: the samples of the crate's tests, and small documents with what is unusual.

use std::io::Write;

use crate::Seeds;

const SAMPLES: [(&str, &str); 6] = [
    ("repomd", include_str!("../../../repodata/tests/samples/repomd.xml")),
    ("primary", include_str!("../../../repodata/tests/samples/primary.xml")),
    ("filelists", include_str!("../../../repodata/tests/samples/filelists.xml")),
    ("metalink", include_str!("../../../repodata/tests/samples/metalink.xml")),
    ("deb", include_str!("../../../repodata/tests/samples/Packages")),
    ("deb", include_str!("../../../repodata/tests/samples/Release")),
];
const MD5: &str = "900150983cd24fb0d6963f7d28e17f72";
const BOMB: &str = "<!DOCTYPE a [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]>";

pub(crate) fn add_metadata(seeds: &mut Seeds) {
    for (target, sample) in SAMPLES {
        seeds.add(target, sample.as_bytes());
        // Where a part begins: what is shorter is searched faster.
        let half = sample.floor_char_boundary(sample.len() / 2);
        seeds.add(target, &sample.as_bytes()[..half]);
    }
    for (target, root) in
        [("repomd", "repomd"), ("primary", "metadata"), ("filelists", "filelists"), ("metalink", "metalink")]
    {
        for text in [
            String::new(),
            "<html><body>Sign in</body></html>".into(),
            format!("{BOMB}<{root}>&b;</{root}>"),
            format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><!-- c --><{root} packages=\"1\"/>"),
            format!("<{root}>{}{}</{root}>", "<a>".repeat(40), "</a>".repeat(40)),
            format!("<x:{root} a=\"&#233;&lt;\"><![CDATA[<&>]]>&amp;&unknown;</x:{root}>"),
        ] {
            seeds.add(target, text.as_bytes());
        }
    }
    add_repomds(seeds);
    add_listings(seeds);
    add_metalinks(seeds);
    add_debian(seeds);
    add_databases(seeds);
}

fn add_repomds(seeds: &mut Seeds) {
    for data in [
        format!("<data type=\"primary\"><checksum type=\"md5\">{MD5}</checksum><location href=\"a\"/></data>"),
        "<data type=\"primary\"><checksum type=\"crc\">0</checksum><location href=\"a\"/></data>".into(),
        format!(
            "<data type=\"other\"><checksum type=\"MD5\"> {MD5} </checksum>\
             <location xml:base=\"http://h/%\" href=\"b\"/></data>"
        ),
        "<data/><revision>1.5</revision><tags><content>x</content></tags>".into(),
    ] {
        seeds.add("repomd", format!("<repomd>{data}</repomd>").as_bytes());
        let primary = format!(
            "<data type=\"primary\"><checksum type=\"md5\">{MD5}</checksum><location href=\"/p\"/>\
             <size>1</size><open-size>x</open-size><timestamp>1.5</timestamp></data>"
        );
        seeds.add("repomd", format!("<repomd>{primary}{data}</repomd>").as_bytes());
    }
}

fn add_listings(seeds: &mut Seeds) {
    for href in ["a.rpm", "../a.rpm", "http://u:p@h/a%2f.rpm", "x://h/a", "/a//./b", "a%5E+~^?#.rpm"] {
        let package = format!(
            "<package type=\"rpm\"><name>a</name><arch>src</arch><version epoch=\"1\" ver=\"1\" rel=\"1\"/>\
             <checksum type=\"md5\">{MD5}</checksum><time build=\"1\"/><size package=\"1\"/><location href=\"{href}\"/>\
             <format><rpm:sourcerpm/><rpm:header-range start=\"1\" end=\"2\"/><rpm:provides>\
             <rpm:entry name=\"debuginfo(build-id)\" ver=\"0011223344556677\"/>\
             <rpm:entry name=\"debuginfo(build-id)\" ver=\"nilnil\"/></rpm:provides></format></package>"
        );
        seeds.add("primary", format!("<metadata>{package}</metadata>").as_bytes());
        let broken = package.replace("<name>a</name>", "<name>a/b</name>").replace("epoch=\"1\"", "epoch=\"-1\"");
        seeds.add("primary", format!("<metadata>{broken}{package}</metadata>").as_bytes());
        let based = package.replace("href=", "xml:base=\"https://h/x?t=1\" href=");
        seeds.add("primary", format!("<metadata>{based}</metadata>").as_bytes());
    }
    for path in [
        "/usr/lib/.build-id/00/11223344556677",
        "/usr/lib/.build-id/00/11223344556677.12",
        "/usr/lib/debug/.build-id/00/11223344556677.debug",
        "/usr/lib/debug/.build-id/AA/11223344556677.3.debug",
        "/usr/lib/debug/.build-id/00/11223344556677",
        "/usr/lib/.build-id/00/11",
        " /usr/lib/.build-id/00/11223344&#x35;56677\n",
    ] {
        let files = format!("<file>{path}</file><file type=\"dir\">/usr</file>");
        for id in [MD5, "zz", ""] {
            let package = format!("<package pkgid=\"{id}\" name=\"a\">{files}</package>");
            seeds.add("filelists", format!("<filelists packages=\"1\">{package}</filelists>").as_bytes());
        }
    }
}

fn add_metalinks(seeds: &mut Seeds) {
    for url in ["https://h/repodata/repomd.xml", "http://h:1/x?y#z", "rsync://h/", "https://h/$basearch", ""] {
        let file = format!(
            "<file name=\"repomd.xml\"><mm0:timestamp>1</mm0:timestamp><size>1</size><verification>\
             <hash type=\"md5\">{MD5}</hash><hash type=\"sha1\">x</hash></verification><mm0:alternates><mm0:alternate>\
             <size>2</size></mm0:alternate></mm0:alternates><resources><url preference=\"1\">{url}</url>\
             <url preference=\"9\" location=\"DE\">https://i/</url></resources></file>"
        );
        seeds.add("metalink", format!("<metalink><files>{file}</files></metalink>").as_bytes());
        seeds.add("metalink", format!("# a mirrorlist\n{url}\nhttps://h/x?y=1\n").as_bytes());
    }
}

fn add_debian(seeds: &mut Seeds) {
    let package = format!("Package: a\nVersion: 1:1-1\nArchitecture: all\nFilename: ./a.deb\nMD5sum: {MD5}\nSize: 1\n");
    for more in
        ["", "Build-Ids: 0011223344556677 nilnil\n 8899aabbccddeeff\n", "Source: b (2:1)\n", "x\n", "\n\nPackage: c\n"]
    {
        seeds.add("deb", format!("{package}{more}").as_bytes());
        seeds.add("deb", format!("{more}{}\r\n", package.replace('\n', "\r\n")).as_bytes());
    }
    for path in ["Packages", "main/binary-amd64/Packages.xz", "a/Packages.diff/Index"] {
        let release = format!("Suite: x\nAcquire-By-Hash: yes\nMD5Sum:\n {MD5} 1 {path}\n");
        seeds.add("deb", release.as_bytes());
        let signed = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{release}- -x: y\n\
             -----BEGIN PGP SIGNATURE-----\n\niHUE\n-----END PGP SIGNATURE-----\n"
        );
        seeds.add("deb", signed.as_bytes());
        seeds.add("deb", format!("{signed}x\n").as_bytes());
    }
}

fn add_databases(seeds: &mut Seeds) {
    let desc = format!(
        "%FILENAME%\na.pkg.tar.zst\n\n%NAME%\na\n\n%BASE%\nb\n\n%VERSION%\n1:1-1\n\n%ARCH%\nany\n\n%CSIZE%\n1\n\n\
         %MD5SUM%\n{MD5}\n\n%BUILDDATE%\n1\n"
    );
    let files = "%FILES%\nusr/lib/debug/.build-id/00/11223344556677.debug\nusr/lib/x\n";
    let broken = desc.replace("%NAME%", "%OTHER%");
    for members in [
        &[("a-1/desc", desc.as_str()), ("a-1/files", files)][..],
        &[("a-1/files", files), ("a-1/desc", &desc)],
        &[("a/desc", &broken), ("b/desc", &desc)],
        &[("a", "x"), ("a/b/desc", &desc)],
        &[],
    ] {
        let mut tar = Vec::new();
        for (path, text) in members {
            tar.extend(header(path, text.len()));
            tar.extend(text.as_bytes());
            tar.resize(tar.len().next_multiple_of(512), 0);
        }
        tar.extend([0; 1024]);
        seeds.add("arch", &tar);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&tar).expect("memory");
        let gzip = gzip.finish().expect("memory");
        seeds.add("arch", &gzip[..gzip.len() * 3 / 4]);
        seeds.add("arch", &gzip);
        seeds.add("arch", &zstd::encode_all(&*tar, 9).expect("memory"));
    }
}

/// The header of a regular file in a tar archive (ustar).
fn header(path: &str, size: usize) -> [u8; 512] {
    let mut header = [0; 512];
    header[..path.len()].copy_from_slice(path.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].fill(b' ');
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}
