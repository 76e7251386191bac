//! The page of `show` for people.

use std::fmt::{self, Display, Formatter};

use super::{Known, Membership, ShownBuild, ShownPackage, ShownPlace, ShownTag};
use crate::koji::paths::DEFAULT_VOLUME;
use crate::report::output::printable;
use crate::report::time::{day, utc};

/// Maximum number of files that are shown of one package. A kernel has thousands.
const MAX_FILES: usize = 20;

impl Display for Known {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(build_id) = &self.build_id {
            writeln!(f, "build-id {build_id}")?;
        }
        for (at, package) in self.packages.iter().enumerate() {
            if at > 0 || self.build_id.is_some() {
                writeln!(f)?;
            }
            package.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for ShownPackage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { nvra, source_rpm, distro, state, deleted_at, .. } = self;
        writeln!(f, "{}", printable(nvra))?;
        line(f, "source", source_rpm.as_deref().unwrap_or("unknown"))?;
        line(f, "distro", if distro.is_empty() { "unknown" } else { distro })?;
        line(f, "state", explain_state(state))?;
        match (&self.build, deleted_at) {
            (Some(build), _) => build.fmt(f)?,
            (None, Some(deleted_at)) => line(f, "build", &format!("deleted on {}", utc(*deleted_at)))?,
            (None, None) => {}
        }
        for file in self.files.iter().take(MAX_FILES) {
            let claimed = if file.claimed { ", claimed" } else { "" };
            let path = file.path.as_deref().unwrap_or("unknown path");
            line(f, "file", &format!("{path} ({}{claimed}) {}", file.kind, file.build_id))?;
        }
        if let Some(more @ 1..) = self.files.len().checked_sub(MAX_FILES) {
            line(f, "", &format!("and {more} more files, which --json lists"))?;
        }
        for membership in &self.memberships {
            line(f, "life", &self.life(membership))?;
        }
        if self.places.is_empty() {
            line(f, "place", "none is known")?;
        }
        for place in &self.places {
            line(f, "place", &format!("{} ({}): {}", place.store, place.tier, place.address))?;
            line(f, "", &place.history())?;
        }
        if !self.places.is_empty()
            && let Some(since) = self.gone_since()
        {
            line(f, "gone", &format!("from all known places since {}", utc(since)))?;
        }
        Ok(())
    }
}

impl Display for ShownBuild {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { instance, id, nvr, draft, volume, .. } = self;
        let draft = if *draft { ", a draft" } else { "" };
        let volume = if volume == DEFAULT_VOLUME { String::new() } else { format!(", on volume {volume}") };
        line(f, "build", &format!("{nvr}, number {id} of {instance}{draft}{volume}"))?;
        if let Some(end) = self.end() {
            line(f, "", &end)?;
        }
        for tag in &self.tags {
            line(f, "tag", &tag.to_string())?;
        }
        Ok(())
    }
}

impl ShownBuild {
    /// When it was deleted, as exactly as it is known. `None` while it exists.
    fn end(&self) -> Option<String> {
        let deleted_at = utc(self.deleted_at?);
        Some(match self.deleted_after {
            None => format!("deleted on {deleted_at}"),
            Some(0) => format!("deleted before {deleted_at}"),
            Some(after) => format!("deleted between {} and {deleted_at}", utc(after)),
        })
    }
}

impl Display for ShownTag {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { tag, tagged_at, untagged_at, current } = self;
        match (tagged_at, untagged_at) {
            (Some(from), _) if *current => write!(f, "{tag} since {}", day(*from)),
            (Some(from), Some(to)) => write!(f, "{tag} from {} to {}", day(*from), day(*to)),
            (None, Some(to)) => write!(f, "{tag} until {}", day(*to)),
            (_, None) => f.write_str(tag),
        }
    }
}

impl ShownPackage {
    /// A sentence about one membership, with the first successor in that repository.
    fn life(&self, membership: &Membership) -> String {
        let Membership { repository, first_seen, ended_at, .. } = membership;
        let mut sentence = match ended_at {
            Some(ended_at) => format!("was in {repository} from {} to {}", day(*first_seen), day(*ended_at)),
            None => format!("is in {repository} since {}", day(*first_seen)),
        };
        if let Some(successor) = self.successors.iter().find(|successor| successor.repository == *repository) {
            sentence.push_str(", obsoleted by ");
            sentence.push_str(&successor.nvra);
        }
        sentence
    }

    /// When the last of its places was found gone, in seconds since 1970. `None` if one is present, or none ever was.
    fn gone_since(&self) -> Option<i64> {
        let seen = self.places.iter().filter(|place| !place.is_absent());
        let gone: Option<Vec<i64>> = seen.map(|place| place.gone_at).collect();
        gone.and_then(|gone| gone.into_iter().max())
    }
}

impl ShownPlace {
    /// True if it was looked for in vain, and was never seen.
    fn is_absent(&self) -> bool {
        self.gone_at.is_some() && self.first_seen.is_none()
    }

    /// When it was seen, looked at and gone.
    fn history(&self) -> String {
        let mut facts = Vec::new();
        if let (Some(gone_at), false) = (self.gone_at, self.is_absent()) {
            facts.push(format!("gone since {}", utc(gone_at)));
        }
        if self.derived {
            facts.push("follows from the store's pattern".to_owned());
        }
        if let (Some(first), Some(last)) = (self.first_seen, self.last_seen) {
            let (first, last) = (day(first), day(last));
            let seen = if first == last { format!("seen on {first}") } else { format!("seen from {first} to {last}") };
            facts.push(seen);
        }
        facts.push(match (self.checked_at, self.check_result.as_deref()) {
            (Some(at), Some("gone")) if self.is_absent() => format!("not there when looked on {}", day(at)),
            (Some(at), result) => format!("checked {}: {}", utc(at), result.unwrap_or("unknown")),
            (None, _) => "never checked".to_owned(),
        });
        if let Some(size) = self.size {
            facts.push(format!("{size} bytes"));
        }
        if let Some(key) = &self.signing_key {
            facts.push(format!("signed by {key} (not verified)"));
        }
        facts.join("; ")
    }
}

/// Writes one line of a package, without control characters.
fn line(f: &mut Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    writeln!(f, "{}", format!("  {label:<8}{}", printable(text)).trim_end())
}

fn explain_state(state: &str) -> &str {
    match state {
        "claimed" => "claimed: known from repository metadata, its header was not read yet",
        "legacy" => "legacy: known from the original's database, its header was not read yet",
        "open" => "open: its payload can have more build-ids",
        "complete" => "complete: all its build-ids are known",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KnownFile, Successor};
    use super::*;

    #[test]
    fn the_page_tells_the_life_of_a_package_and_its_places() {
        let place = |store: &str, gone_at| ShownPlace {
            store: store.into(),
            tier: "mirror",
            url: Some(format!("https://{store}.example.org/bash.rpm")),
            derived: false,
            size: Some(10),
            checksum: None,
            signing_key: Some("6d9f90a6".into()),
            first_seen: Some(1_777_890_600),
            last_seen: Some(1_777_890_600),
            checked_at: Some(1_777_890_600),
            check_result: Some("gone".into()),
            gone_at,
            address: format!("https://{store}.example.org/bash.rpm"),
        };
        let mut package = ShownPackage {
            nvra: "bash-5.2-6.fc44.x86_64".into(),
            source_rpm: None,
            distro: "fc44".into(),
            state: "complete",
            deleted_at: None,
            build: None,
            files: vec![KnownFile {
                path: Some("/usr/bin/bash\u{1b}[31m".into()),
                kind: "executable",
                claimed: true,
                build_id: "ab".into(),
            }],
            places: vec![place("m", Some(1_777_890_600))],
            memberships: vec![Membership {
                repository: "f44-updates".into(),
                first_seen: 1_777_890_600,
                last_seen: 1_777_890_600,
                ended_at: Some(1_780_309_800),
            }],
            successors: vec![Successor {
                nvra: "bash-5.2-7.fc44.x86_64".into(),
                repository: "f44-updates".into(),
                first_seen: 1_780_309_800,
            }],
        };
        let page = package.to_string();
        for expected in [
            "  life    was in f44-updates from 2026-05-04 to 2026-06-01, obsoleted by bash-5.2-7.fc44.x86_64\n",
            "  file    /usr/bin/bash\\u{1b}[31m (executable, claimed) ab\n",
            "  place   m (mirror): https://m.example.org/bash.rpm\n",
            "; seen on 2026-05-04; checked 2026-05-04T10:30:00Z: gone",
            "  gone    from all known places since 2026-05-04T10:30:00Z\n",
        ] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        package.places.push(place("other", None));
        assert!(!package.to_string().contains("  gone  "));
        // Looked for in vain, and never seen.
        let absent = ShownPlace {
            derived: true,
            first_seen: None,
            last_seen: None,
            size: None,
            signing_key: None,
            ..place("koji", Some(1_780_309_800))
        };
        package.places = vec![absent];
        let page = package.to_string();
        assert!(page.contains("  follows from the store's pattern; not there when looked on 2026-05-04\n"), "{page}");
        assert!(!page.contains("gone"), "{page}");
        package.places.push(ShownPlace { last_seen: Some(1_780_309_800), ..place("m", Some(1_780_309_800)) });
        let page = package.to_string();
        assert!(page.contains("; seen from 2026-05-04 to 2026-06-01; "), "{page}");
        assert!(page.contains("  gone    from all known places since 2026-06-01"), "{page}");
    }
    #[test]
    fn a_build_is_shown_with_its_tags_and_its_end() {
        let mut build = ShownBuild {
            instance: "primary".into(),
            id: 7,
            nvr: "bash-5.2-6.fc44".into(),
            state: "complete",
            draft: false,
            volume: "DEFAULT".into(),
            completed_at: None,
            imported_at: None,
            checked_at: 0,
            deleted_at: None,
            deleted_after: None,
            tags: Vec::new(),
        };
        assert_eq!(build.to_string(), "  build   bash-5.2-6.fc44, number 7 of primary\n");
        (build.draft, build.volume) = (true, "archive".into());
        let tag =
            |tag: &str, tagged_at, untagged_at, current| ShownTag { tag: tag.into(), tagged_at, untagged_at, current };
        let (may, june) = (Some(1_777_890_600), Some(1_780_309_800));
        build.tags = vec![
            tag("f44", may, None, true),
            tag("f44-testing", may, june, false),
            tag("f44-pending", None, june, false),
            tag("f44-updates", june, may, true),
        ];
        build.deleted_at = june;
        let mut expected = "  build   bash-5.2-6.fc44, number 7 of primary, a draft, on volume archive\n          \
                            deleted on 2026-06-01T10:30:00Z\n  tag     f44 since 2026-05-04\n  tag     f44-testing \
                            from 2026-05-04 to 2026-06-01\n  tag     f44-pending until 2026-06-01\n  tag     \
                            f44-updates since 2026-06-01\n"
            .to_owned();
        assert_eq!(build.to_string(), expected);
        build.deleted_after = may;
        expected = expected.replace("deleted on", "deleted between 2026-05-04T10:30:00Z and");
        assert_eq!(build.to_string(), expected);
        build.deleted_after = Some(0);
        assert!(build.to_string().contains("  deleted before 2026-06-01T10:30:00Z\n"), "{build}");
    }
}
