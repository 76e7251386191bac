//! The program under limits of the system.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::support::{ImportFixture, RunOutput, run_output};

/// Address space of one run with two readers: 64 MiB, in which an honest run over all fixture packages fits, and 128
/// MiB for each reader, which is what a decoder may use for one payload (`artifact::payload::decompress`).
const ADDRESS_SPACE: u64 = (64 + 2 * 128) << 20;
/// The largest file that a run may write, the index and temporary copies of ELF files: less than any bomb.
const FILE_BYTES: u64 = 96 << 20;

/// Runs `dir` over all packages of a fixture. The system ends a run that allocates or writes too much: the program is
/// not asked how much it used.
pub(crate) fn import(fixture: &ImportFixture, args: &[&str]) -> RunOutput {
    let inner = fixture.command(&["dir", fixture.packages().to_str().unwrap(), "--json", "--quiet", "--jobs", "2"]);
    let mut command = Command::new("prlimit");
    command.arg(format!("--as={ADDRESS_SPACE}")).arg(format!("--fsize={FILE_BYTES}")).arg("--core=0").arg("--");
    command.arg(inner.get_program()).args(inner.get_args()).args(args);
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // glibc reserves 64 MiB of address space for each thread's arena, used or not: no measure of anything.
    command.env("MALLOC_ARENA_MAX", "1");
    let output = command.output().expect("prlimit (util-linux)");
    assert_eq!(output.status.signal(), None, "{}", String::from_utf8_lossy(&output.stderr));
    let output = run_output(&output);
    assert!(matches!(output.code, Some(0 | 1)), "{output:?}");
    assert!(output.json.is_object() && !output.stderr.contains("panicked"), "{output:?}");
    output
}
