//! Packages made for one test by `rpmbuild`, where the committed ones are too small or too correct.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::fixtures;
use crate::process::run;

/// A package with one ELF file.
pub struct Made {
    /// The RPM.
    pub rpm: PathBuf,
    /// The build-id of its link.
    pub build_id: String,
    /// `/usr/bin/NAME`
    pub member: String,
    /// The bytes of the ELF file.
    pub bytes: Vec<u8>,
}

/// The build-id of every file made here: its ELF note is that of a committed one.
pub fn build_id() -> String {
    fixtures::truth("payloads").into_iter().find(|row| row.path == "/usr/bin/payload-none").expect("a row").build_id
}

/// Makes `NAME-1.0-1.x86_64.rpm` in `into`: a stripped program, so that its kind is certain, with its own build-id and
/// a section of `filler_bytes` bytes that do not compress.
pub fn large(into: &Path, name: &str, filler_bytes: usize) -> Made {
    make(into, name, filler_bytes, &build_id())
}

/// The same with a build-id of its own, in the file and in the link: that of the others but for its last two bytes.
pub fn numbered(into: &Path, name: &str, filler_bytes: usize, number: u16) -> Made {
    let build_id = format!("{}{number:04x}", &build_id()[..36]);
    make_with_note(into, name, filler_bytes, &build_id, &build_id)
}

/// As [`large`], with a build-id link that names `build_id`, which the note in the file need not have.
pub fn make(into: &Path, name: &str, filler_bytes: usize, build_id: &str) -> Made {
    make_with_note(into, name, filler_bytes, build_id, &self::build_id())
}

fn make_with_note(into: &Path, name: &str, filler_bytes: usize, build_id: &str, note: &str) -> Made {
    of_bytes(into, name, &program(filler_bytes, note), build_id)
}

/// Makes `NAME-1.0-1.x86_64.rpm` in `into`, with these bytes as `/usr/bin/NAME` and a build-id link to it.
pub fn of_bytes(into: &Path, name: &str, bytes: &[u8], build_id: &str) -> Made {
    of_bytes_with("w1.gzdio", into, name, bytes, build_id)
}

/// The same with a payload compressed as by rpm's macro `_binary_payload`.
pub fn of_bytes_with(payload: &str, into: &Path, name: &str, bytes: &[u8], build_id: &str) -> Made {
    let member = format!("/usr/bin/{name}");
    let link = link(build_id, "");
    let files = [(member.as_str(), bytes), (&link, &*format!("../../../..{member}").into_bytes())];
    build_with(payload, into, name, "1.0", "1", &[(name, &files)]);
    let rpm = into.join(format!("{name}-1.0-1.x86_64.rpm"));
    Made { rpm, build_id: build_id.to_owned(), member, bytes: bytes.to_owned() }
}

/// Where the build-id link of a program is, or with `debug/` the one of its debuginfo.
pub fn link(build_id: &str, debug: &str) -> String {
    let (first, rest) = build_id.split_at(2);
    format!("/usr/lib/{debug}.build-id/{first}/{rest}{}", if debug.is_empty() { "" } else { ".debug" })
}

/// A package: its name, and path and contents of its files. A path below `.build-id` becomes a symbolic link with the
/// contents as its target.
pub type PackageFiles<'p> = (&'p str, &'p [(&'p str, &'p [u8])]);

/// Makes packages for x86_64 in `into`, all of one source package `name`.
pub fn build(into: &Path, name: &str, version: &str, release: &str, packages: &[PackageFiles<'_>]) {
    build_with("w1.gzdio", into, name, version, release, packages);
}

/// The same with a payload compressed as by rpm's macro `_binary_payload`.
pub fn build_with(payload: &str, into: &Path, name: &str, version: &str, release: &str, packages: &[PackageFiles<'_>]) {
    build_at(None, payload, into, name, version, release, packages);
}

/// The same, built at this second since 1970.
pub fn build_at(
    second: Option<u32>,
    payload: &str,
    into: &Path,
    name: &str,
    version: &str,
    release: &str,
    packages: &[PackageFiles<'_>],
) {
    build_on(("x86_64", second, payload), into, name, version, release, packages);
}

/// Makes packages for another arch in `into`, all of one source package `name`.
pub fn build_for(arch: &str, into: &Path, name: &str, version: &str, release: &str, packages: &[PackageFiles<'_>]) {
    build_on((arch, None, "w1.gzdio"), into, name, version, release, packages);
}

fn build_on(
    (arch, second, payload): (&str, Option<u32>, &str),
    into: &Path,
    name: &str,
    version: &str,
    release: &str,
    packages: &[PackageFiles<'_>],
) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().join("tree");
    let mut spec = format!(
        "Name: {name}\nVersion: {version}\nRelease: {release}\nSummary: made for a test\n\
         License: none\nAutoReqProv: no\n\
         %global debug_package %{{nil}}\n%global __os_install_post %{{nil}}\n%global _build_id_links none\n\
         %global _binary_payload {payload}\n%description\nMade for a test.\n%install\n\
         mkdir -p %{{buildroot}}\ncp -a {}/. %{{buildroot}}\n",
        root.display()
    );
    for (package, files) in packages {
        let option = if *package == name { String::new() } else { format!(" -n {package}") };
        if *package != name {
            spec += &format!(
                "%package{option}\nSummary: made for a test\nAutoReqProv: no\n%description{option}\nMade for a test.\n"
            );
        }
        spec += &format!("%files{option}\n");
        for (path, contents) in *files {
            let file = root.join(path.trim_start_matches('/'));
            std::fs::create_dir_all(file.parent().expect("a directory")).expect("make directories");
            if path.contains("/.build-id/") {
                let target = std::str::from_utf8(contents).expect("a link's target");
                std::os::unix::fs::symlink(target, &file).expect("make a link");
            } else {
                std::fs::write(&file, contents).expect("write a file");
                let mode = if contents.starts_with(b"\x7fELF") { 0o755 } else { 0o644 };
                std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode))
                    .expect("set a mode");
            }
            // Escapes macros, patterns and blanks.
            spec += &format!("\"{}\"\n", path.replace('%', "%%"));
        }
    }
    let file = directory.path().join("package.spec");
    std::fs::write(&file, spec).expect("write a spec");
    let define = |name: &str, value: &Path| format!("{name} {}", value.display());
    let mut command = Command::new("rpmbuild");
    command.args(["-bb", "--quiet", "--target", arch]).env("HOME", directory.path());
    command.args(["--define", &define("_topdir", directory.path()), "--define", &define("_rpmdir", into)]);
    command.args(["--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"]).arg(&file);
    if let Some(second) = second {
        command.args(["--define", "use_source_date_epoch_as_buildtime 1"]).env("SOURCE_DATE_EPOCH", second.to_string());
    }
    let output = run(&mut command, "rpm (Debian) or rpm-build (Fedora)");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An ELF file as [`numbered`] packages it.
pub fn program(filler_bytes: usize, build_id: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::read(elf(&directory, filler_bytes, build_id)).expect("the ELF file")
}

fn elf(directory: &TempDir, filler_bytes: usize, note: &str) -> PathBuf {
    let (elf, filler) = (directory.path().join("elf"), directory.path().join("filler"));
    let small = fixtures::package("payloads", "payload-none-1.0-1.fc99.x86_64");
    let mut bytes = fixtures::member(&small, "/usr/bin/payload-none");
    let (old, new) = (from_hex(&build_id()), from_hex(note));
    let at = bytes.windows(old.len()).position(|window| window == old).expect("a build-id note");
    bytes[at..at + new.len()].copy_from_slice(&new);
    std::fs::write(&elf, bytes).expect("write an ELF file");
    std::fs::write(&filler, noise(filler_bytes)).expect("write a filler");
    let mut command = Command::new("objcopy");
    command.arg("--strip-all").arg("--add-section").arg(format!(".filler={}", filler.display())).arg(&elf);
    let output = run(&mut command, "binutils");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    elf
}

fn from_hex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Bytes that no compressor makes smaller, the same every time (xorshift, Marsaglia 2003).
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}
