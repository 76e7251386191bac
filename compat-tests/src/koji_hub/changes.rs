//! What happens in a Koji: builds, signatures, moves and deletions, each with what Koji does to the files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::state::{BUILDING, Build, COMPLETE, DELETED, Rpm, State};
use super::{KojiHub, rpm_file, tree};
use crate::process::run;
use crate::repository::SigningKey;

impl KojiHub {
    /// Adds a complete build of these RPMs. Its name, version and release are those of their source package. Returns
    /// its id.
    pub fn add_build(&self, files: &[PathBuf]) -> i64 {
        let build = self.begin_build(files);
        self.complete(build);
        build
    }

    /// Adds a build of these RPMs that is not complete yet: the hub has neither its RPMs nor their files.
    pub fn begin_build(&self, files: &[PathBuf]) -> i64 {
        let facts = rpm_file::read(&files.iter().map(PathBuf::as_path).collect::<Vec<_>>());
        let (name, version, release) = facts.first().expect("an RPM").source.clone();
        for other in &facts {
            assert_eq!(other.source, (name.clone(), version.clone(), release.clone()), "RPMs of one build");
        }
        let state = &mut *self.state();
        let id = state.add(&name, &version, &release, facts.iter().find_map(|facts| facts.epoch));
        for (facts, file) in facts.into_iter().zip(files) {
            let size = fs::metadata(file).expect("an RPM").len();
            let rpm = state.new_rpm_id();
            let hash = hex(&Sha256::digest(facts.payload_hash.as_bytes()))[..32].to_owned();
            let of_file = Rpm {
                id: rpm,
                build: id,
                name: facts.name,
                version: facts.version,
                release: facts.release,
                epoch: facts.epoch,
                arch: facts.arch,
                size: Some(size as i64),
                payload_hash: facts.payload_hash,
                built_at: facts.built_at,
                is_metadata_only: false,
                external_repo: 0,
                signatures: BTreeMap::from([(String::new(), hash)]),
            };
            state.waiting.entry(id).or_default().push((of_file, file.clone()));
        }
        id
    }

    /// Completes a build: its RPMs and files are there from then on.
    pub fn complete(&self, build: i64) {
        let state = &mut *self.state();
        let now = state.now();
        for (rpm, file) in state.waiting.remove(&build).unwrap_or_default() {
            let path = self.file(&tree::plain(state.build(build), &rpm));
            fs::create_dir_all(path.parent().expect("a directory")).expect("make directories");
            fs::copy(&file, &path).expect("copy an RPM");
            state.build_mut(build).rpms.push(rpm.id);
            state.rpms.insert(rpm.id, rpm);
        }
        let build = state.build_mut(build);
        (build.state, build.completed_at) = (COMPLETE, Some(now));
    }

    /// Sets the state of a build, and nothing else: 3 is FAILED, 4 CANCELED.
    pub fn set_state(&self, build: i64, code: i32) {
        self.state().build_mut(build).state = code;
    }

    /// Sets when a build completed, in seconds since 1970.
    pub fn set_completion_time(&self, build: i64, seconds: f64) {
        self.state().build_mut(build).completed_at = Some(seconds);
    }

    /// Adds a complete build of an image, which has no RPMs.
    pub fn add_image_build(&self, name: &str, version: &str, release: &str) -> i64 {
        let state = &mut *self.state();
        let id = state.add(name, version, release, None);
        let now = state.now();
        let build = state.build_mut(id);
        (build.is_image, build.state, build.completed_at) = (true, COMPLETE, Some(now));
        id
    }

    /// Adds a complete draft build of these RPMs.
    pub fn add_draft(&self, files: &[PathBuf]) -> i64 {
        let id = self.begin_build(files);
        {
            let mut state = self.state();
            let build = state.build_mut(id);
            (build.release, build.is_draft) = (format!("{},draft_{id}", build.release), true);
        }
        self.complete(id);
        id
    }

    /// Adds an RPM to a build of which the hub has the description and no file. Returns its id.
    pub fn add_metadata_only(&self, build: i64, name: &str, arch: &str) -> i64 {
        self.add_without_file(build, name, arch, true, 0)
    }

    /// Adds an RPM to the list of a build that is one of a repository outside of Koji. Returns its id.
    pub fn add_external(&self, build: i64, name: &str, arch: &str) -> i64 {
        self.add_without_file(build, name, arch, false, 3)
    }

    fn add_without_file(&self, build: i64, name: &str, arch: &str, is_metadata_only: bool, external_repo: i64) -> i64 {
        let state = &mut *self.state();
        let id = state.new_rpm_id();
        let of = state.build_mut(build);
        of.rpms.push(id);
        let rpm = Rpm {
            id,
            build,
            name: name.to_owned(),
            version: of.version.clone(),
            release: of.release.clone(),
            epoch: of.epoch,
            arch: arch.to_owned(),
            size: Some(0),
            payload_hash: String::new(),
            built_at: of.created_at as i64,
            is_metadata_only,
            external_repo,
            signatures: BTreeMap::new(),
        };
        state.rpms.insert(id, rpm);
        id
    }

    /// Adds the source package of a complete build, made by the real rpmbuild. Returns its id.
    pub fn add_source_package(&self, build: i64) -> i64 {
        let (name, version, release) = {
            let state = self.state();
            let build = state.build(build);
            (build.name.clone(), build.version.clone(), build.release.clone())
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = source_package(directory.path(), &name, &version, &release);
        let other = self.begin_build(&[file]);
        let state = &mut *self.state();
        let (mut rpm, file) = state.waiting.remove(&other).and_then(|mut waiting| waiting.pop()).expect("an RPM");
        state.builds.remove(&other);
        rpm.build = build;
        let path = self.file(&tree::plain(state.build(build), &rpm));
        fs::create_dir_all(path.parent().expect("a directory")).expect("make directories");
        fs::copy(file, path).expect("copy an RPM");
        let id = rpm.id;
        state.build_mut(build).rpms.push(id);
        state.rpms.insert(id, rpm);
        id
    }

    /// Deletes a build as koji-gc does: the hub keeps its record and those of its RPMs, without signatures and files.
    pub fn delete(&self, build: i64) {
        let state = &mut *self.state();
        remove_directory(&self.file(&tree::directory(state.build(build))));
        let on_default = self.file(&tree::directory(&state.build(build).on_default_volume()));
        if on_default.is_symlink() {
            remove_link(&on_default);
        }
        let rpms = state.build(build).rpms.clone();
        for rpm in rpms {
            if let Some(rpm) = state.rpms.get_mut(&rpm) {
                rpm.signatures.clear();
            }
        }
        state.build_mut(build).state = DELETED;
    }

    /// Signs the RPMs of a build, and writes signed copies and signature headers. Returns the name of their directory:
    /// the last eight hex digits of the key's id.
    pub fn sign(&self, build: i64, key: &SigningKey) -> String {
        let id = key.id();
        let short = id[id.len() - 8..].to_owned();
        let state = &mut *self.state();
        for rpm in state.build(build).rpms.clone() {
            let (of, rpm) = (state.build(build), state.rpm(rpm));
            let (plain, signed) = (self.file(&tree::plain(of, rpm)), self.file(&tree::signed(of, rpm, &short)));
            if !plain.is_file() {
                continue;
            }
            let signature = self.file(&tree::signature(of, rpm, &short));
            for path in [&signed, &signature] {
                fs::create_dir_all(path.parent().expect("a directory")).expect("make directories");
            }
            fs::copy(&plain, &signed).expect("copy an RPM");
            key.sign_rpm(&signed);
            let header = signature_header(&fs::read(&signed).expect("a signed RPM"));
            let hash = hex(&Sha256::digest(&header))[..32].to_owned();
            fs::write(signature, header).expect("write a signature header");
            let rpm = rpm.id;
            state.rpms.get_mut(&rpm).expect("an RPM").signatures.insert(short.clone(), hash);
        }
        short
    }

    /// Removes the signed copies of a build, as `prune-signed-copies` does: the hub still lists the signatures.
    pub fn prune_signed(&self, build: i64, key: &str) {
        let directory = tree::signed_directory(self.state().build(build), key);
        fs::remove_dir_all(self.file(&directory)).expect("signed copies");
    }

    /// Moves a build to another volume. Koji leaves a link to it on the volume DEFAULT.
    pub fn move_volume(&self, build: i64, volume: &str) {
        let state = &mut *self.state();
        if !state.volumes.iter().any(|known| known == volume) {
            state.volumes.push(volume.to_owned());
        }
        let from = self.file(&tree::directory(state.build(build)));
        state.build_mut(build).volume = volume.to_owned();
        let to = tree::directory(state.build(build));
        let on_default = self.file(&tree::directory(&state.build(build).on_default_volume()));
        if on_default.is_symlink() {
            remove_link(&on_default);
        }
        rename(&from, &self.file(&to));
        if volume != "DEFAULT" {
            // Of a build that was moved from one volume to another, the directory may not exist.
            fs::create_dir_all(on_default.parent().expect("a directory")).expect("make directories");
            // From packages/NAME/VERSION/ to the directory of volumes.
            symlink(Path::new("../../..").join(to), on_default).expect("make a link");
        }
    }

    /// Promotes a draft build: its release loses `,draft_ID`, and its files move.
    pub fn promote(&self, build: i64) {
        let state = &mut *self.state();
        let from = self.file(&tree::directory(state.build(build)));
        let now = state.now();
        let of = state.build_mut(build);
        let release = of.release.split(",draft_").next().unwrap_or_default().to_owned();
        (of.release, of.is_draft, of.promoted_at) = (release, false, Some(now));
        rename(&from, &self.file(&tree::directory(state.build(build))));
    }
}

impl State {
    /// Adds a build without RPMs that is being built.
    pub(super) fn add(&mut self, name: &str, version: &str, release: &str, epoch: Option<i64>) -> i64 {
        let (id, created_at) = (self.new_build_id(), self.now());
        let build = Build {
            id,
            name: name.to_owned(),
            version: version.to_owned(),
            release: release.to_owned(),
            epoch,
            state: BUILDING,
            volume: "DEFAULT".to_owned(),
            is_draft: false,
            is_image: false,
            created_at,
            completed_at: None,
            promoted_at: None,
            rpms: Vec::new(),
        };
        self.builds.insert(id, build);
        id
    }
}

/// Makes `NAME-VERSION-RELEASE.src.rpm` in a directory.
fn source_package(into: &Path, name: &str, version: &str, release: &str) -> PathBuf {
    let spec = into.join("package.spec");
    let text = format!(
        "Name: {name}\nVersion: {version}\nRelease: {release}\nSummary: made for a test\nLicense: none\n\
         %description\nMade for a test.\n%files\n"
    );
    fs::write(&spec, text).expect("write a spec");
    let mut command = Command::new("rpmbuild");
    command.args(["-bs", "--quiet"]).env("HOME", into).arg(&spec);
    for name in ["_topdir", "_srcrpmdir"] {
        command.args(["--define", &format!("{name} {}", into.display())]);
    }
    let output = run(&mut command, "rpm (Debian) or rpm-build (Fedora)");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    into.join(format!("{name}-{version}-{release}.src.rpm"))
}

/// The signature header of an RPM with its padding, as Koji caches it.
fn signature_header(rpm: &[u8]) -> Vec<u8> {
    let number = |at: usize| u32::from_be_bytes(rpm[at..at + 4].try_into().expect("four bytes")) as usize;
    let end = 96 + 16 + 16 * number(96 + 8) + number(96 + 12);
    rpm[96..end.next_multiple_of(8)].to_owned()
}

fn remove_link(link: &Path) {
    fs::remove_file(link).expect("remove a link");
}

fn rename(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a directory")).expect("make directories");
    fs::rename(from, to).expect("move a build");
}

fn remove_directory(directory: &Path) {
    fs::remove_dir_all(directory).expect("the files of a build");
    // Koji leaves directories of the name and version that have other builds.
    for parent in directory.ancestors().skip(1).take(2) {
        if fs::remove_dir(parent).is_err() {
            return;
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
