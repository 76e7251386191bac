//! Programs compiled for a test, whole and split as distributions split them, and archives of them made by `dpkg-deb`,
//! `tar` and `bsdtar`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::run;

/// A program with one source file.
pub struct Program {
    directory: TempDir,
    /// Its name, and that of its source file without `.c`.
    pub name: String,
    /// The build-id in its note.
    pub build_id: String,
}

impl Program {
    /// Compiles a unique program whose DWARF names `SOURCES/NAME.c`.
    pub fn compile(name: &str, sources: &str) -> Self {
        Self::compile_and_split(name, sources, &[])
    }

    /// Compiles a shared library. It names no interpreter, so libmagic has one text for the library and its debug file.
    pub fn compile_library(name: &str, sources: &str) -> Self {
        Self::compile_and_split(name, sources, &["-shared", "-fPIC"])
    }

    fn compile_and_split(name: &str, sources: &str, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("build")).expect("a directory");
        let program = Self::compile_with(directory, name, "build", Some(sources), options);
        program.split();
        program
    }

    /// Compiles a program in `FOLDER/in_directory` of a build tree, where its sources stay.
    pub fn compile_in(directory: TempDir, name: &str, in_directory: &str, sources: Option<&str>) -> Self {
        Self::compile_with(directory, name, in_directory, sources, &[])
    }

    fn compile_with(
        directory: TempDir,
        name: &str,
        in_directory: &str,
        sources: Option<&str>,
        options: &[&str],
    ) -> Self {
        let build = directory.path().join(in_directory);
        let text = format!(
            "#include <stdlib.h>\n\
             int twice_{0}(int number) {{\n    if (number < 0)\n        abort();\n    return 2 * number;\n}}\n\
             int main(int count, char **words) {{\n    (void)words;\n    \
             return twice_{0}(count) == 2 ? twice_{0}(-1) : 0;\n}}\n",
            name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
        );
        fs::write(build.join(format!("{name}.c")), text).expect("write a source file");
        let mut command = Command::new("cc");
        command
            .args(["-g", "-O0", "-Wl,--build-id=sha1", "-o", name, &format!("{name}.c")])
            .args(options)
            .current_dir(&build);
        if let Some(sources) = sources {
            command.arg(format!("-ffile-prefix-map={}={sources}", build.display()));
        }
        succeed(&mut command, "gcc");
        let build_id = build_id(&build.join(name));
        Self { directory, name: name.to_owned(), build_id }
    }

    /// Makes the stripped program and the `.debug` file beside the whole one.
    fn split(&self) {
        let (whole, stripped, debug) = (self.whole(), self.stripped(), self.debug());
        succeed(Command::new("objcopy").arg("--only-keep-debug").arg(&whole).arg(&debug), "binutils");
        succeed(Command::new("objcopy").arg("--strip-all").arg(&whole).arg(&stripped), "binutils");
    }

    /// The program as it was linked.
    pub fn whole(&self) -> PathBuf {
        self.directory.path().join("build").join(&self.name)
    }

    /// Without its symbols and DWARF.
    pub fn stripped(&self) -> PathBuf {
        self.directory.path().join("build").join(format!("{}.stripped", self.name))
    }

    /// Its symbols and DWARF.
    pub fn debug(&self) -> PathBuf {
        self.directory.path().join("build").join(format!("{}.debug", self.name))
    }

    /// Its source file.
    pub fn source(&self) -> PathBuf {
        self.directory.path().join("build").join(format!("{}.c", self.name))
    }

    /// `/usr/lib/debug/.build-id/XX/REST.debug`
    pub fn debug_path(&self) -> String {
        let (first, rest) = self.build_id.split_at(2);
        format!("/usr/lib/debug/.build-id/{first}/{rest}.debug")
    }
}

/// The build-id of an ELF file, as `eu-readelf` sees it.
pub fn build_id(elf: &Path) -> String {
    let output = run(Command::new("eu-readelf").arg("-n").arg(elf), "elfutils");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let id = text.lines().find_map(|line| line.trim().strip_prefix("Build ID: "));
    id.unwrap_or_else(|| panic!("{}: expected a build-id, found {text}", elf.display())).to_owned()
}

/// A directory to make an archive of.
pub struct Tree {
    directory: TempDir,
}

impl Tree {
    /// Makes a tree of copies: the path of each in the tree, and the file to copy.
    pub fn with_files(files: &[(&str, &Path)]) -> Self {
        let tree = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        for (path, file) in files {
            fs::copy(file, tree.make(path)).expect("copy a file");
        }
        tree
    }

    /// The path of a file in the tree; makes its directory.
    pub fn make(&self, path: &str) -> PathBuf {
        let path = self.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a directory")).expect("make a directory");
        path
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Makes `NAME_VERSION_amd64.SUFFIX` of it by `dpkg-deb`, with further lines of `control`, compressed by `gzip`,
    /// `xz`, `zstd` or `none`; options of `dpkg-deb` may follow it.
    pub fn deb(
        &self,
        into: &Path,
        (name, version, suffix): (&str, &str, &str),
        lines: &str,
        compressor: &str,
    ) -> PathBuf {
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: a test <test@example.org>\n{lines}\
             Description: made for a test\n"
        );
        fs::write(self.make("DEBIAN/control"), control).expect("write control");
        let without_epoch = version.split(':').next_back().unwrap_or(version);
        let deb = into.join(format!("{name}_{without_epoch}_amd64.{suffix}"));
        let mut command = Command::new("dpkg-deb");
        command.arg("--root-owner-group").args(format!("-Z{compressor}").split(' '));
        command.arg("--build").arg(self.path()).arg(&deb);
        succeed(&mut command, "dpkg");
        fs::remove_dir_all(self.path().join("DEBIAN")).expect("remove a directory");
        deb
    }

    /// Makes a package of Arch Linux of it, as makepkg does: `.PKGINFO` first, no `./` before the names.
    pub fn arch(&self, into: &Path, (name, base, version): (&str, &str, &str), suffix: &str) -> PathBuf {
        let info = format!(
            "# Generated by a test\npkgname = {name}\npkgbase = {base}\npkgver = {version}\npkgdesc = made for a test\n\
             builddate = 1700000000\nsize = 1\narch = x86_64\n"
        );
        fs::write(self.make(".PKGINFO"), info).expect("write .PKGINFO");
        let package = into.join(format!("{name}-{version}-x86_64.pkg.{suffix}"));
        let names: Vec<String> = ["usr"].map(str::to_owned).into();
        succeed(
            Command::new("bsdtar").arg("-caf").arg(&package).arg("-C").arg(self.path()).arg(".PKGINFO").args(names),
            "libarchive-tools (Debian) or bsdtar (Fedora)",
        );
        fs::remove_file(self.path().join(".PKGINFO")).expect("remove a file");
        package
    }

    /// Makes a tar archive of it by `program` with these options; its compression is told by `name`.
    pub fn tar(&self, into: &Path, name: &str, program: &str, options: &[&str]) -> PathBuf {
        let archive = into.join(name);
        succeed(
            Command::new(program).args(options).arg("-caf").arg(&archive).arg("-C").arg(self.path()).arg("."),
            "tar, libarchive-tools (Debian) or bsdtar (Fedora)",
        );
        archive
    }
}

/// Runs a program that must succeed.
pub fn succeed(command: &mut Command, package: &str) {
    let output = run(command, package);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
