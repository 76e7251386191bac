//! Reads the headers of all archives below a directory as an import does, in as many threads, and writes them nowhere:
//! how fast an import without a database would be. Prints `{"packages": N, "artifacts": N, "header_bytes": N}`.

#![expect(clippy::print_stdout, reason = "the answer")]

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;

use anyhow::{Context, Result};
use artifact::artifacts;
use artifact::header::{self, Outline};
use clap::Parser;
use walkdir::WalkDir;

/// Reads headers and does nothing with them.
#[derive(Parser)]
struct Cli {
    directory: PathBuf,
    #[arg(long, default_value_t = thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
}

/// As many as an import hands to a reader at once.
const HANDFUL: usize = 16;

fn main() -> Result<()> {
    let cli = Cli::parse();
    let [packages, found, bytes] = [const { AtomicU64::new(0) }; 3];
    let (sender, receiver) = mpsc::sync_channel::<Vec<PathBuf>>(32);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| -> Result<()> {
        let mut readers = Vec::new();
        for _ in 0..cli.jobs {
            readers.push(scope.spawn(|| -> Result<()> {
                let mut buffer = Vec::new();
                loop {
                    let next = receiver.lock().map_err(|_| anyhow::anyhow!("another reader panicked"))?.recv();
                    let Ok(handful) = next else { return Ok(()) };
                    for path in handful {
                        let mut file = Counting { file: File::open(&path)?, bytes: 0 };
                        let outline = header::read_ahead(&mut file, &mut buffer)
                            .and_then(Outline::from_bytes)
                            .with_context(|| path.display().to_string())?;
                        found.fetch_add(artifacts::from_outline(&outline).artifacts.len() as u64, Ordering::Relaxed);
                        packages.fetch_add(1, Ordering::Relaxed);
                        bytes.fetch_add(file.bytes, Ordering::Relaxed);
                    }
                }
            }));
        }
        let mut handful = Vec::new();
        for entry in WalkDir::new(&cli.directory) {
            let entry = entry?;
            if entry.file_type().is_file() && entry.path().extension().is_some_and(|ending| ending == "rpm") {
                handful.push(entry.into_path());
                if handful.len() == HANDFUL {
                    sender.send(std::mem::take(&mut handful))?;
                }
            }
        }
        sender.send(handful)?;
        drop(sender);
        for reader in readers {
            reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
        }
        Ok(())
    })?;
    let figure = |number: &AtomicU64| number.load(Ordering::Relaxed);
    println!(
        r#"{{"packages": {}, "artifacts": {}, "header_bytes": {}}}"#,
        figure(&packages),
        figure(&found),
        figure(&bytes)
    );
    Ok(())
}

struct Counting {
    file: File,
    bytes: u64,
}

impl Read for Counting {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        self.bytes += read as u64;
        Ok(read)
    }
}
