//! Prometheus' text format.

use std::collections::BTreeMap;

/// One family of metrics, as a scraper sees it.
#[derive(Default)]
pub struct Family {
    /// Its type.
    pub kind: String,
    /// Its HELP text.
    pub help: String,
    /// By name and labels as written.
    pub samples: BTreeMap<String, f64>,
}

/// Reads Prometheus' text format as strictly as its own checker.
///
/// # Panics
/// If the text is malformed.
pub fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (what, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
            let family = families.entry(name.to_owned()).or_default();
            let field = match what {
                "TYPE" => &mut family.kind,
                "HELP" => &mut family.help,
                other => panic!("expected TYPE or HELP, found {other}"),
            };
            assert!(field.is_empty() && !rest.is_empty(), "{line}: given twice, or empty");
            rest.clone_into(field);
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("expected a sample, found {line:?}"));
        let name = sample.split('{').next().unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
        let of_histogram = ["_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
        let family = of_histogram
            .chain([name])
            .find(|family| families.contains_key(*family))
            .unwrap_or_else(|| panic!("{line}: expected TYPE and HELP before it"))
            .to_owned();
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("expected a number, found {line:?}"));
        let before = families.get_mut(&family).unwrap().samples.insert(sample.to_owned(), value);
        assert!(before.is_none(), "{sample}: twice");
    }
    families
}

/// Checks the names and values of a family of a program, whose metrics begin with `prefix`.
///
/// # Panics
/// If they do not follow Prometheus' conventions.
pub fn check(prefix: &str, name: &str, family: &Family) {
    assert!(!family.kind.is_empty() && !family.help.is_empty(), "{name}: expected TYPE and HELP");
    assert!(name.starts_with(prefix), "{name}");
    match family.kind.as_str() {
        "counter" => {
            assert!(name.ends_with("_total") || name == format!("{prefix}build_info"), "{name}");
            assert!(family.samples.values().all(|value| *value >= 0.0), "{name}");
        }
        "gauge" => {}
        "histogram" => {
            assert!(name.ends_with("_seconds") || name.ends_with("_per_miss"), "{name}");
            let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            for (sample, value) in
                family.samples.iter().filter(|(sample, _)| sample.starts_with(&format!("{name}_bucket")))
            {
                let (before, bound) = sample.split_once("le=\"").unwrap();
                let (bound, after) = bound.split_once('"').unwrap();
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
                let labels =
                    format!("{before}{after}").replace("_bucket", "_count").replace(",}", "}").replace("{}", "");
                buckets.entry(labels).or_default().push((bound, *value));
            }
            assert!(!buckets.is_empty(), "{name}: expected buckets");
            for (labels, mut buckets) in buckets {
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(
                    buckets.len() > 5 && buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1),
                    "{labels}: {buckets:?}"
                );
                let count = family.samples.get(&labels).unwrap_or_else(|| panic!("{labels}: expected a count"));
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{labels}");
                assert!(family.samples.contains_key(&labels.replace("_count", "_sum")), "{labels}: expected a sum");
            }
        }
        other => panic!("{name}: expected counter, gauge or histogram, found {other}"),
    }
}
