//! Where a bench ran, and with which versions.

use std::fs;
use std::process::Command;

use compat_tests::programs::program;

/// Facts by name.
pub(crate) struct Machine {
    pub(crate) facts: serde_json::Map<String, serde_json::Value>,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let after = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let system = release
            .lines()
            .find_map(|line| line.strip_prefix("PRETTY_NAME="))
            .unwrap_or("?")
            .trim_matches('"')
            .to_owned();
        let ours = program("darkserver").display().to_string();
        let facts = [
            ("date", first_line("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
            ("processor", after(&cpu_info, "model name").unwrap_or_default()),
            ("cores", std::thread::available_parallelism().map_or_else(|_| "?".into(), |cores| cores.to_string())),
            ("load at the end", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()),
            ("profile", if cfg!(debug_assertions) { "dev: not optimised" } else { "release" }.to_owned()),
            ("memory", after(&memory, "MemTotal").unwrap_or_default()),
            ("system", system),
            ("kernel", first_line("uname", &["-sr"])),
            ("darkserver", first_line(&ours, &["--version"])),
            ("commit", first_line("git", &["describe", "--always", "--dirty"])),
            ("debuginfod", first_line("debuginfod", &["--version"])),
            ("gdb", first_line("gdb", &["--version"])),
            ("mariadb", first_line("mariadbd", &["--version"])),
            ("rabbitmq", first_line("dpkg-query", &["-W", "-f", "${Version}", "rabbitmq-server"])),
            ("nginx", first_line("nginx", &["-v"])),
            ("dnf", first_line("dnf", &["--version"])),
            ("wrk", first_line("wrk", &["-v"])),
            ("oha", first_line("oha", &["--version"])),
        ];
        Self { facts: facts.into_iter().map(|(name, fact)| (name.to_owned(), fact.into())).collect() }
    }

    pub(crate) fn markdown(&self) -> String {
        let fact =
            |(name, fact): (&String, &serde_json::Value)| format!("- {name}: {}", fact.as_str().unwrap_or_default());
        self.facts.iter().map(fact).collect::<Vec<_>>().join("\n")
    }
}

/// What a program says first, on either output.
fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return "not found".into() };
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned()
}
