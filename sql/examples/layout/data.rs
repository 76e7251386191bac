//! Made-up packages in the proportions of a distribution: the same for the same number of build-ids.

use sha2::{Digest, Sha256};

/// A package as it would be imported.
pub(crate) struct Package {
    pub(crate) id: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) release: String,
    pub(crate) source_name: String,
    pub(crate) artifacts: Vec<Artifact>,
}

/// A file with a build-id.
#[derive(Clone)]
pub(crate) struct Artifact {
    pub(crate) build_id: [u8; 20],
    pub(crate) debuginfo: bool,
    pub(crate) ordinal: u32,
    pub(crate) path: String,
}

impl Package {
    pub(crate) fn nvra(&self) -> String {
        format!("{}-{}-{}.x86_64", self.name, self.version, self.release)
    }

    pub(crate) fn source_rpm(&self) -> String {
        format!("{}-{}-{}.src.rpm", self.source_name, self.version, self.release)
    }

    /// The folder of the archive below its store.
    pub(crate) fn folder(&self) -> String {
        let kind = if self.name.contains("-debug") { "debug/Packages" } else { "Packages" };
        format!("{kind}/{}/", &self.name[..1])
    }

    pub(crate) fn location(&self) -> String {
        format!("{}{}.rpm", self.folder(), self.nvra())
    }
}

/// Numbers that look random and are the same in every run (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % limit
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[usize::try_from(self.below(list.len() as u64)).unwrap_or_default()]
    }
}

const SYLLABLES: [&str; 40] = [
    "gst", "py", "perl", "rust", "qt", "kf", "net", "gnome", "lib", "xml", "ssl", "core", "tool", "dev", "data", "db", "font",
    "image", "print", "sound", "video", "term", "edit", "parse", "graph", "math", "crypt", "mail", "web", "sys", "fuse", "disk",
    "boot", "usb", "scan", "game", "chem", "geo", "stat", "lang",
];

/// How many files with a build-id a package has: half of them one, a few hundreds, one in 15,000 is a kernel.
fn size(random: &mut Random) -> u64 {
    if random.below(15_000) == 0 {
        return 4_000;
    }
    match random.below(1000) {
        0..480 => 1,
        480..660 => 2,
        660..760 => 3,
        760..880 => 4 + random.below(3),
        880..965 => 7 + random.below(9),
        965..995 => 16 + random.below(45),
        _ => 61 + random.below(140),
    }
}

/// Sources with one to four packages, their -debuginfo packages and a -debugsource package, in a random order.
pub(crate) fn packages(build_ids: usize) -> Vec<Package> {
    let mut random = Random(42);
    let mut packages = Vec::new();
    let mut made = 0;
    while made < build_ids {
        let source = format!(
            "{}{}-{}{}",
            random.one_of(&SYLLABLES),
            random.one_of(&SYLLABLES),
            random.one_of(&SYLLABLES),
            if random.below(4) == 0 { random.below(30).to_string() } else { String::new() }
        );
        let version = format!("{}.{}.{}", random.below(10), random.below(40), random.below(20));
        let release = format!("{}.fc{}", 1 + random.below(9), 36 + random.below(6));
        let mut add = |name: String, artifacts: Vec<Artifact>| {
            let id = u32::try_from(packages.len()).unwrap_or_default();
            let identity = Sha256::digest(format!("{id} {name}-{version}-{release}")).into();
            let (version, release, source_name) = (version.clone(), release.clone(), source.clone());
            packages.push(Package { id, identity, name, version, release, source_name, artifacts });
        };
        for part in &["", "-libs", "-devel", "-tools"][..usize::try_from(1 + random.below(4).min(random.below(4))).unwrap_or(1)] {
            let name = format!("{source}{part}");
            let (mut files, mut debug) = (Vec::new(), Vec::new());
            for number in 0..size(&mut random) {
                let word = format!("{}{}", random.one_of(&SYLLABLES), random.one_of(&SYLLABLES));
                let path = match random.below(10) {
                    0..3 => format!("/usr/bin/{word}{number}"),
                    3..6 => format!("/usr/lib64/lib{word}{number}.so.{version}"),
                    6..8 => format!("/usr/lib64/python3.12/site-packages/{word}/_{word}{number}.cpython-312-x86_64-linux-gnu.so"),
                    _ => format!("/usr/lib64/{source}/plugins/{word}{number}.so"),
                };
                made += 1;
                let mut build_id = [0; 20];
                build_id.copy_from_slice(&Sha256::digest(format!("{made}"))[..20]);
                let ordinal = u32::try_from(number).unwrap_or_default();
                debug.push(Artifact {
                    build_id,
                    debuginfo: true,
                    ordinal: 8 + 4 * ordinal,
                    path: format!("/usr/lib/debug{path}-{version}-{release}.x86_64.debug"),
                });
                files.push(Artifact { build_id, debuginfo: false, ordinal: 3 + 2 * ordinal, path });
            }
            add(format!("{name}-debuginfo"), debug);
            add(name, files);
        }
        add(format!("{source}-debugsource"), Vec::new());
    }
    for at in (1..packages.len()).rev() {
        packages.swap(at, usize::try_from(random.below(at as u64 + 1)).unwrap_or_default());
    }
    for (package, id) in packages.iter_mut().zip(1..) {
        package.id = id;
    }
    packages
}
