//! What must hold of every input, however broken: one module for each fuzz target, with one function that panics where
//! it does not hold. libFuzzer calls them (`fuzz_targets/`), and `artifact/tests/corpus.rs` with the inputs that are
//! kept.

pub mod build_id;
pub mod dwarf;
pub mod elf;
pub mod formats;
pub mod header;
// Left to the tests of their own crates, which `artifact` does not know.
#[cfg(not(test))]
pub mod legacy;
#[cfg(not(test))]
pub mod metadata;
pub mod nevra;
pub mod payload;
pub mod source_path;

/// A message that names what was found must not carry all of it: it goes into logs and answers.
pub fn is_short(error: &artifact::Error) {
    const MAX_BYTES: usize = 4096;
    let message = error.to_string();
    assert!(message.len() <= MAX_BYTES, "a message of {} bytes: {:.200}", message.len(), message);
}
