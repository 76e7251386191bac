//! What must hold of every dump of an original's database, however broken. `sql/tests/corpus.rs` calls it with the
//! inputs that are kept.

use std::io::{self, Read};
use std::ops::ControlFlow;

use sql::legacy::dump::{DumpSummary, Position, read};
use sql::legacy::{MAX_VALUE_BYTES, OriginalRow, OriginalValue};

/// Passes on one byte at a time: results must not depend on the size of reads.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

type Rows = Vec<(OriginalRow, Position)>;

fn rows(input: impl Read) -> (Rows, DumpSummary, Result<(), String>) {
    let (mut rows, mut summary) = (Vec::new(), DumpSummary::default());
    let result = read(input, &mut summary, |row, at| {
        rows.push((row, at));
        ControlFlow::Continue(())
    });
    (rows, summary, result.map_err(|error| error.to_string()))
}

/// Panics if a property does not hold.
pub fn check(data: &[u8]) {
    let whole = rows(data);
    assert_eq!(whole, rows(Trickle(data)));
    let (all, summary, result) = whole;
    let counted: u64 = summary.tables.iter().map(|(_, rows)| rows).sum();
    assert_eq!(counted, all.len() as u64);
    assert!(summary.bytes <= data.len() as u64);
    assert!(result.is_err() || summary.bytes == data.len() as u64);
    if let Err(message) = &result {
        assert!(message.len() <= 4096 && message.starts_with("line "), "{message:.200}");
    }
    for (row, at) in &all {
        assert!(at.line >= 1 && at.byte < data.len() as u64);
        let values = [&row.elf_name, &row.directory, &row.build_id, &row.rpm_name, &row.distro, &row.rpm_url];
        for value in values {
            assert!(!matches!(value, OriginalValue::Bytes(bytes) if bytes.len() > MAX_VALUE_BYTES));
        }
    }
    let (first, ..) = rows(&data[..data.len() / 2]);
    assert_eq!(first.as_slice(), &all[..first.len().min(all.len())]);
}
