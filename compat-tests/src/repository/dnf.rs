//! The real dnf, without configuration, cache and packages of this machine.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::process::run;

/// dnf with one repository and directories of its own.
pub struct Dnf {
    directory: TempDir,
}

impl Dnf {
    /// One whose only repository has this base URL.
    pub fn of(base_url: &str) -> Self {
        let dnf = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        for name in ["root", "cache", "log", "repos", "vars", "lib", "downloads"] {
            fs::create_dir(dnf.directory(name)).expect("make a directory");
        }
        let path = |name: &str| dnf.directory(name).display().to_string();
        let configuration = format!(
            "[main]\nreposdir={}\ncachedir={}\nlogdir={}\nvarsdir={}\npersistdir={}\nplugins=0\n\
             module_platform_id=platform:f99\nretries=2\ntimeout=20\n\
             [tested]\nname=tested\nbaseurl={base_url}\nenabled=1\ngpgcheck=0\nskip_if_unavailable=0\n",
            path("repos"),
            path("cache"),
            path("log"),
            path("vars"),
            path("lib"),
        );
        fs::write(dnf.directory("dnf.conf"), configuration).expect("write a configuration");
        dnf
    }

    /// Its exit status and output.
    ///
    /// # Panics
    /// If dnf is not installed.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("dnf");
        command.env("HOME", self.directory.path()).env("LC_ALL", "C.UTF-8").current_dir(self.directory.path());
        command.args(["-q", "-y", "--releasever=99", "-c"]).arg(self.directory("dnf.conf"));
        command.arg("--installroot").arg(self.directory("root"));
        run(command.args(arguments), "dnf")
    }

    /// Name-version-release.arch of the packages that `dnf repoquery -f` names for these paths, sorted.
    ///
    /// # Panics
    /// If it fails.
    pub fn packages_with(&self, paths: &[&str]) -> Vec<String> {
        let format = ["repoquery", "--queryformat", "%{name}-%{version}-%{release}.%{arch}\n", "-f"];
        let output = self.run(&[&format[..], paths].concat());
        assert!(output.status.success(), "dnf {paths:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut names: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Downloads packages without installing them.
    ///
    /// # Panics
    /// If it fails.
    pub fn download(&self, packages: &[&str]) {
        let into = format!("--downloaddir={}", self.directory("downloads").display());
        let output = self.run(&[&["install", "--downloadonly", "--nogpgcheck", &into], packages].concat());
        assert!(output.status.success(), "dnf {packages:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
