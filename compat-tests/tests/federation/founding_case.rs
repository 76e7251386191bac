//! What the federation is for: GDB on a program with 30 shared libraries that nobody knows, while one of three
//! upstreams hangs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use compat_tests::compiled::succeed;
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::process::run;
use compat_tests::scale;
use compat_tests::upstreams::{Fault, Upstream};
use tempfile::TempDir;

const LIBRARIES: usize = 30;
const BUDGET: Duration = Duration::from_secs(1);

/// A program that crashes, with its libraries.
struct Linked {
    directory: TempDir,
}

impl Linked {
    fn compile() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let numbers: Vec<String> = (0..LIBRARIES).map(|number| number.to_string()).collect();
        for number in &numbers {
            let text = format!("int from_{number}(int start) {{ return start + {number}; }}\n");
            fs::write(directory.path().join(format!("from_{number}.c")), text).unwrap();
        }
        let script = "for source in from_*.c; do name=${source%.c}; \
                      cc -shared -fPIC -O0 -s -Wl,--build-id=sha1 -o lib$name.so $source || exit 1; done";
        succeed(Command::new("sh").args(["-c", script]).current_dir(directory.path()), "gcc");
        let declared: String = numbers.iter().map(|number| format!("int from_{number}(int);\n")).collect();
        let called: String = numbers.iter().map(|number| format!("    sum = from_{number}(sum);\n")).collect();
        let text = format!(
            "#include <stdlib.h>\n{declared}int main(void) {{\n    int sum = 0;\n{called}\
             \x20   if (sum)\n        abort();\n    return sum;\n}}\n"
        );
        fs::write(directory.path().join("main.c"), text).unwrap();
        let mut command = Command::new("cc");
        command.args(["-s", "-Wl,--build-id=sha1", "-o", "main", "main.c", "-L."]).current_dir(directory.path());
        command.args(numbers.iter().map(|number| format!("-lfrom_{number}")));
        succeed(command.arg(format!("-Wl,-rpath,{}", directory.path().display())), "gcc");
        Self { directory }
    }

    fn program(&self) -> PathBuf {
        self.directory.path().join("main")
    }

    /// How long GDB needs from its start to the stack, with an empty cache.
    fn debug(&self, urls: &str, timeout: &str) -> Duration {
        let client = DebuginfodClient::new(urls);
        let mut gdb = Command::new("gdb");
        client.environment(&mut gdb);
        gdb.env("DEBUGINFOD_TIMEOUT", timeout);
        gdb.args(["-nx", "-batch", "-iex", "set debuginfod enabled on", "-ex", "run", "-ex", "bt"]);
        let started = Instant::now();
        let output = run(gdb.arg(self.program()), "gdb");
        let took = started.elapsed();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("SIGABRT") && said.contains("#1 "), "expected a stack, found {said}");
        took
    }
}

fn gateway(index: &Sqlite, upstreams: &[Upstream]) -> RunningGateway {
    let mut text = format!("[request]\nbudget = \"{}ms\"\n", BUDGET.as_millis());
    for (number, upstream) in upstreams.iter().enumerate() {
        text.push_str(&format!("[[upstream]]\nname = \"u{number}\"\nurl = \"{}\"\n", upstream.url()));
    }
    RunningGateway::start_with(&index.url(), &text, &[])
}

#[test]
fn one_of_three_upstreams_that_hangs_costs_gdb_one_budget_and_then_nothing() {
    let (linked, index) = (Linked::compile(), Sqlite::with_packages(&[]));
    let healthy = [(); 3].map(|()| Upstream::start(Fault::None));
    let control = linked.debug(&gateway(&index, &healthy).url(), "20");
    let asked = healthy[0].requests().len();
    assert!(asked > LIBRARIES, "expected that GDB asks for each library, found {asked} requests");

    let upstreams = [Fault::None, Fault::Hangs, Fault::None].map(Upstream::start);
    let gateway = gateway(&index, &upstreams);
    let first = linked.debug(&gateway.url(), "20");
    let waited = upstreams[1].requests().len();
    let second = linked.debug(&gateway.url(), "20");
    let waited_again = upstreams[1].requests().len() - waited;
    eprintln!(
        "GDB with {LIBRARIES} unknown libraries: {control:?} with three healthy upstreams, {first:?} while one hangs"
    );
    eprintln!("at the second run {second:?}; {waited} and {waited_again} requests reached the one that hangs");
    assert!(first < control + BUDGET * 3, "expected about one budget more than {control:?}, found {first:?}");
    assert!(second < control + BUDGET, "expected about {control:?}, found {second:?}");
    assert!(waited <= 3, "expected that few requests wait, found {waited}");
    assert_eq!(waited_again, 0, "expected that no request waits in the second run");

    if scale(false, true) {
        let urls: Vec<&str> = upstreams.iter().map(Upstream::url).collect();
        let alone = linked.debug(&urls.join(" "), "2");
        eprintln!("GDB asking the three itself with DEBUGINFOD_TIMEOUT=2: {alone:?}");
    }
}
