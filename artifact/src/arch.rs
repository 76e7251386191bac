//! The archs of packages and the base arch that rpm builds each with.
//!
//! rpm builds a package for a target arch (`i686`), which becomes the package's arch. The macro `%_arch` is the base
//! arch of that target (`i386`). find-debuginfo names the directory of debug sources by the base arch:
//! `stat-debugsource-2-1.fc40.i686` contains `/usr/src/debug/stat-2-1.fc40.i386/`.

/// Base archs and their target archs, the most common first. Every other arch is its own base.
///
/// The source is `%_arch` in rpm's `platform/*-linux/macros`, which `installplatform` generates: all of `i?86`,
/// `pentium?`, `arm*`, `alpha*` and `sparc*` share one base. `armv4tl`, `armv8hnl` and `armv8hcnl` are in rpmrc only,
/// `x86_64_v*` since rpm 4.19.
const FAMILIES: [(&str, &[&str]); 8] = [
    ("x86_64", &["x86_64", "x86_64_v2", "x86_64_v3", "x86_64_v4", "amd64", "ia32e"]),
    ("i386", &["i686", "i386", "i586", "i486", "athlon", "pentium4", "pentium3", "geode"]),
    (
        "arm",
        &[
            "armv7hl",
            "armv5tel",
            "armv6hl",
            "armv7hnl",
            "armv7l",
            "armv6l",
            "armv8l",
            "armv8hl",
            "armv8hnl",
            "armv8hcnl",
            "armv5tejl",
            "armv5tl",
            "armv4tl",
            "armv4l",
            "armv4b",
            "armv3l",
            "arm",
        ],
    ),
    ("ppc", &["ppc", "ppciseries", "ppcpseries", "ppc64iseries", "ppc64pseries", "ppc32dy4", "ppc8260", "ppc8560"]),
    ("ppc64", &["ppc64", "ppc64p7"]),
    ("sparc", &["sparcv9", "sparcv9v", "sparcv8", "sparc"]),
    ("sparc64", &["sparc64", "sparc64v"]),
    ("alpha", &["alpha", "alphaev5", "alphaev56", "alphapca56", "alphaev6", "alphaev67"]),
];

/// The base arch of `arch`, rpm's `%_arch`: `i386` for `i686`, `x86_64` for `x86_64`.
pub fn base(arch: &str) -> &str {
    FAMILIES.iter().find(|(_, targets)| targets.contains(&arch)).map_or(arch, |(base, _)| base)
}

/// The archs with the same base arch as `arch`: first `arch` itself, then the others, the most common first.
pub fn family(arch: &str) -> Vec<&str> {
    let base = base(arch);
    let targets = FAMILIES.iter().find(|(of, _)| *of == base).map_or(&[][..], |(_, targets)| targets);
    let others = targets.iter().copied().filter(|target| *target != arch);
    std::iter::once(arch).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::*;

    /// Where distributions install rpm's macros.
    const PLATFORMS: &str = "/usr/lib/rpm/platform";

    #[test]
    fn an_arch_precedes_the_others_of_its_family() {
        assert_eq!(family("i386")[..3], ["i386", "i686", "i586"]);
        assert_eq!(family("i686")[..3], ["i686", "i386", "i586"]);
        assert_eq!(family("ppc64p7"), ["ppc64p7", "ppc64"]);
        for alone in ["aarch64", "s390x", "s390", "ppc64le", "noarch", "src", "core2_64", ""] {
            assert_eq!((base(alone), family(alone)), (alone, vec![alone]));
        }
    }

    #[test]
    fn families_have_no_arch_in_common_and_contain_their_base() {
        let mut seen = HashSet::new();
        for (of, targets) in FAMILIES {
            assert!(targets.contains(&of), "{of}");
            for target in targets {
                assert!(seen.insert(*target), "{target}");
                assert_eq!(base(target), of);
                let (ours, all) = (family(target), targets.iter().copied().collect::<HashSet<_>>());
                assert_eq!((ours[0], ours.len()), (*target, all.len()));
                assert_eq!(ours.into_iter().collect::<HashSet<_>>(), all);
            }
        }
    }

    /// Compares with the macros of an installed rpm; without one there is nothing to compare.
    #[test]
    fn base_archs_are_those_of_rpms_platform_macros() {
        let Ok(platforms) = std::fs::read_dir(Path::new(PLATFORMS)) else { return };
        for platform in platforms {
            let platform = platform.unwrap();
            let name = platform.file_name().into_string().unwrap();
            let Some(target) = name.strip_suffix("-linux") else { continue };
            let macros = String::from_utf8_lossy(&std::fs::read(platform.path().join("macros")).unwrap()).into_owned();
            let found = macros.lines().find_map(|line| line.strip_prefix("%_arch")?.strip_prefix([' ', '\t']));
            // An rpm of another distribution may define it elsewhere.
            let Some(found) = found else { continue };
            assert_eq!(base(target), found.trim(), "{target}");
        }
    }
}
