//! A repository of generated packages, and two that list the first quarter and the first half of them.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::package::{GeneratedPackage, PackageNumber};
use crate::repodata::{PackageElements, RepodataWriter};
use crate::{Arguments, name};

/// The repositories, and the part of the packages that each lists.
const PARTS: [(&str, u64); 3] = [("1-4", 4), ("1-2", 2), ("1", 1)];
/// The number of names that are written at once: their elements are in memory.
const AT_ONCE: u64 = 256;

/// Writes DIRECTORY/1, with `Packages` and `repodata`, and DIRECTORY/1-2 and DIRECTORY/1-4 with the same packages.
pub(crate) fn write(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let packages = arguments.directory.join("1/Packages");
    fs::create_dir_all(&packages).with_context(|| format!("create {}", packages.display()))?;
    let mut writers = Vec::new();
    for (part, every) in PARTS {
        // A name has two packages.
        writers.push(RepodataWriter::new(&arguments.directory.join(part), arguments.packages / every / 2 * 2)?);
        if every > 1 {
            let link = arguments.directory.join(part).join("Packages");
            std::os::unix::fs::symlink("../1/Packages", &link).with_context(|| format!("link {}", link.display()))?;
        }
    }
    let names = arguments.packages / 2;
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    for first in (0..names).step_by(AT_ONCE as usize) {
        let after = names.min(first + AT_ONCE);
        let share = AT_ONCE.div_ceil(threads);
        let elements = std::thread::scope(|scope| {
            let parts: Vec<_> = (0..threads)
                .map(|thread| {
                    let from = after.min(first + thread * share);
                    let to = after.min(from + share);
                    let packages = &packages;
                    scope.spawn(move || {
                        (from..to)
                            .flat_map(|number| write_name(arguments, packages, number))
                            .collect::<Result<Vec<_>>>()
                    })
                })
                .collect();
            parts
                .into_iter()
                .map(|part| part.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?)
                .collect::<Result<Vec<_>>>()
        })?;
        for (index, package) in (first * 2..).zip(elements.iter().flatten()) {
            for writer in writers.iter_mut().filter(|writer| index < writer.packages()) {
                writer.add(package)?;
            }
        }
    }
    for writer in writers {
        writer.finish()?;
    }
    eprintln!("{} packages, {:.1} s", names * 2, start.elapsed().as_secs_f64());
    Ok(())
}

/// Writes both packages of the name with this number.
fn write_name(arguments: &Arguments, packages: &Path, number: u64) -> [Result<PackageElements>; 2] {
    [false, true].map(|is_debuginfo| {
        let name = name(number);
        // Repositories have one directory for each first character.
        let directory = packages.join(&name[..1]);
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let number =
            PackageNumber { seed: arguments.seed, name: number, release: 1, times: arguments.times, is_debuginfo };
        let package = GeneratedPackage::new(number, name);
        let file = directory.join(package.file_name());
        let path = format!("Packages/{}/{}", &package.file_name()[..1], package.file_name());
        let package = package.write();
        fs::write(&file, &package.bytes).with_context(|| format!("write {}", file.display()))?;
        Ok(PackageElements::new(&package, &path))
    })
}
