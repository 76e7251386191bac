//! Writes packages for measurements at scale: each has a lead, a signature header, a main header with classes and
//! build-id links, and a payload that is valid and empty. The same arguments give the same bytes.
//!
//! A name has ten packages: five releases of NAME and of NAME-debuginfo, with equal build-ids. They are written to
//! DIRECTORY/na/NAME/. A [`repository`] has one release of each name.

mod header;
mod package;
mod repodata;
mod repository;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use package::{GeneratedPackage, PackageNumber};

/// The number of releases of a package and of its -debuginfo.
const RELEASES: u64 = 5;
const PACKAGES_PER_NAME: u64 = RELEASES * 2;

/// Writes generated packages of build-ids.
#[derive(Parser)]
struct Arguments {
    /// The directory to write to; created if it does not exist
    directory: PathBuf,
    /// The number of packages
    #[arg(long, default_value_t = 100_000)]
    packages: u64,
    /// The number of packages to skip first, to write further packages of the same series
    #[arg(long, default_value_t = 0, value_name = "PACKAGES")]
    after: u64,
    /// The seed of the build-ids
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write a repository with metadata instead, and two others that list the first quarter and half of its packages
    #[arg(long, conflicts_with = "after")]
    repository: bool,
    /// How many times the usual number of build-ids a package has, which is 5.3 on average
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    times: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.repository {
        return repository::write(&arguments);
    }
    let start = Instant::now();
    let names = arguments.packages.div_ceil(PACKAGES_PER_NAME);
    let before = arguments.after / PACKAGES_PER_NAME;
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let artifacts: u64 = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..threads)
            .map(|thread| {
                let arguments = &arguments;
                scope.spawn(move || {
                    (thread..names)
                        .step_by(threads as usize)
                        .map(|name| write_name(arguments, before, name))
                        .sum::<Result<u64>>()
                })
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?)
            .sum::<Result<u64>>()
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let rate = arguments.packages as f64 / seconds;
    eprintln!("{} packages, {artifacts} ELF files, {seconds:.1} s, {rate:.0} packages/s", arguments.packages);
    Ok(())
}

/// Writes the packages of one name, which has the number `before + index`. Returns the number of their ELF files.
fn write_name(arguments: &Arguments, before: u64, index: u64) -> Result<u64> {
    let number = before + index;
    let name = name(number);
    let dir = arguments.directory.join(&name[..2]).join(&name);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let mut artifacts = 0;
    for index in 0..PACKAGES_PER_NAME.min(arguments.packages - index * PACKAGES_PER_NAME) {
        let (release, is_debuginfo) = (index / 2 + 1, index % 2 == 1);
        let (seed, times) = (arguments.seed, arguments.times);
        let package =
            GeneratedPackage::new(PackageNumber { seed, name: number, release, times, is_debuginfo }, name.clone());
        artifacts += package.programs.len() as u64;
        let file = dir.join(package.file_name());
        fs::write(&file, package.write().bytes).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(artifacts)
}

/// Returns a different name for every number: `libkarivo`, `python3-mesutaba`.
fn name(number: u64) -> String {
    const KINDS: [&str; 8] = ["lib", "python3-", "", "perl-", "rust-", "golang-", "kf6-", "ghc-"];
    const ONSETS: [&str; 16] = ["b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "x", "z"];
    const VOWELS: [&str; 4] = ["a", "e", "i", "o"];
    let mut name = KINDS[(number % 8) as usize].to_owned();
    // Knuth's multiplicative hash, a bijection, so that the names are not in the order of the numbers.
    let mut rest = (number as u32).wrapping_mul(2_654_435_761);
    for _ in 0..5 {
        name += ONSETS[(rest % 16) as usize];
        name += VOWELS[(rest / 16 % 4) as usize];
        rest /= 64;
    }
    // Five syllables use 30 of 32 bits. The suffix uses the last two.
    name + ["", "n", "r", "s"][(rest % 4) as usize]
}
