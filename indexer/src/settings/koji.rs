//! `[[koji]]`: the Koji instances that are imported.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::{configuration_file, original, read};
use crate::cli::Common;
use crate::feeders::koji::{HeaderSource, KojiInstance};
use crate::report::failure::{CommandFailure, Result};
use crate::report::time::read_time;

/// Default of `reconcile_interval`.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Default of `overlap`: a completion time is that of the beginning of the hub's transaction.
const OVERLAP: Duration = Duration::from_secs(60 * 60);
/// Default of `sweep_interval`.
const SWEEP_INTERVAL: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Default of `skip_archs`: they have no ELF files, and sources are found by their binary packages.
pub(crate) const SKIP_ARCHS: [&str; 2] = ["noarch", "src"];
/// Maximum length of the name of an instance in the index.
const MAX_NAME_BYTES: usize = 64;

/// The value of `headers`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HeadersKey {
    Topurl,
    Hub,
}

/// A `[[koji]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KojiTable {
    name: String,
    hub: String,
    topurl: String,
    store: Option<String>,
    headers: Option<HeadersKey>,
    skip_archs: Option<Vec<String>>,
    /// Globs separated by commas.
    #[serde(default, deserialize_with = "super::tables::words")]
    distros: Option<String>,
    #[serde(default, deserialize_with = "duration")]
    reconcile_interval: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    overlap: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    sweep_interval: Option<Duration>,
    since: Option<String>,
}

fn duration<'de, D: serde::Deserializer<'de>>(value: D) -> std::result::Result<Option<Duration>, D::Error> {
    super::tables::duration(value).map(Some)
}

/// Returns the instances of the configuration file, in its order; without any, those of the original's
/// `koji_info.json`, by name.
///
/// # Errors
/// [`CommandFailure::Usage`] states the file, the instance, the key, what was expected and what was found.
pub(crate) fn koji_instances(common: &Common) -> Result<Vec<KojiInstance>> {
    let (path, must_exist) = configuration_file(common);
    let tables = read(&path, must_exist)?.koji;
    if tables.is_empty() {
        return original::koji_instances(&common.etc);
    }
    let instances: Vec<KojiInstance> =
        tables.into_iter().map(|table| instance(table, &path)).collect::<Result<Vec<KojiInstance>>>()?;
    refuse_equal(&path, "name", instances.iter().map(|instance| instance.name.as_str()))?;
    refuse_equal(&path, "store", instances.iter().map(|instance| instance.store.as_str()))?;
    Ok(instances)
}

fn refuse_equal<'a>(path: &Path, key: &str, mut values: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = HashSet::new();
    match values.find(|value| !seen.insert(*value)) {
        Some(twice) => Err(CommandFailure::Usage(format!(
            "{}: expected different values of `{key}` in [[koji]], found {twice} twice",
            path.display()
        ))),
        None => Ok(()),
    }
}

fn instance(table: KojiTable, path: &Path) -> Result<KojiInstance> {
    let name = table.name.clone();
    let refuse = |text: String| CommandFailure::Usage(format!("{}: [[koji]] {name}: {text}", path.display()));
    let mut instance = KojiInstance::new(&table.name, &table.hub, &table.topurl).map_err(refuse)?;
    if let Some(store) = table.store {
        instance.store = check_store(store).map_err(refuse)?;
    }
    if let Some(headers) = table.headers {
        instance.headers = match headers {
            HeadersKey::Topurl => HeaderSource::Topurl,
            HeadersKey::Hub => HeaderSource::Hub,
        };
    }
    if let Some(skip_archs) = table.skip_archs {
        instance.skip_archs = skip_archs;
    }
    if let Some(distros) = table.distros {
        instance.distros = distros.parse().map_err(|error: sql::Error| refuse(error.to_string()))?;
    }
    for (key, minimum, value, setting) in [
        ("reconcile_interval", 1, table.reconcile_interval, &mut instance.reconcile_interval),
        ("overlap", 0, table.overlap, &mut instance.overlap),
        ("sweep_interval", 1, table.sweep_interval, &mut instance.sweep_interval),
    ] {
        if let Some(value) = value {
            if value < Duration::from_secs(minimum) {
                return Err(refuse(format!("{key}: expected at least {minimum}s, found {value:?}")));
            }
            *setting = value;
        }
    }
    if let Some(since) = table.since {
        instance.since = Some(read_time(&since).map_err(|error| refuse(format!("since: {error}")))?);
    }
    Ok(instance)
}

fn check_store(store: String) -> std::result::Result<String, String> {
    let is_name = !store.is_empty() && store.trim() == store && !store.contains(char::is_control);
    if is_name { Ok(store) } else { Err(format!("store: expected the name of a store, found {store:?}")) }
}

impl KojiInstance {
    /// Returns an instance with the default settings.
    ///
    /// # Errors
    /// The key, what was expected and what was found.
    pub(crate) fn new(name: &str, hub: &str, topurl: &str) -> std::result::Result<Self, String> {
        let is_name = !name.is_empty()
            && name.len() <= MAX_NAME_BYTES
            && name.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != '"');
        if !is_name {
            let expected = format!("expected up to {MAX_NAME_BYTES} letters, digits and marks without a slash");
            return Err(format!("name: {expected}, found {name:?}"));
        }
        Ok(Self {
            name: name.to_owned(),
            hub: read_url(hub, "https://koji.fedoraproject.org/kojihub").map_err(|error| format!("hub: {error}"))?,
            topurl: read_url(topurl, "https://kojipkgs.fedoraproject.org")
                .map_err(|error| format!("topurl: {error}"))?,
            store: format!("koji-{name}"),
            headers: HeaderSource::Topurl,
            skip_archs: SKIP_ARCHS.map(str::to_owned).to_vec(),
            distros: sql::Distros::default(),
            reconcile_interval: RECONCILE_INTERVAL,
            overlap: OVERLAP,
            sweep_interval: SWEEP_INTERVAL,
            since: None,
        })
    }
}

/// Reads an http or https URL without user, query and fragment. Slashes at its end are removed, and doubled ones.
///
/// # Errors
/// What was expected, like `example`, and what was found without secrets.
pub(crate) fn read_url(text: &str, example: &str) -> std::result::Result<Url, String> {
    let refused = |found: &str| format!("expected a URL like {example}, found {found}");
    let mut url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refused("one that is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(refused("one with a user, query or fragment"));
    }
    let parts: Vec<&str> = url.path().split('/').filter(|part| !part.is_empty()).collect();
    let path = parts.join("/");
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_file(text: &str) -> Result<Vec<KojiInstance>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("indexer.toml");
        std::fs::write(&path, text).unwrap();
        koji_instances(&common(directory.path()))
    }

    fn common(etc: &Path) -> Common {
        Common { database: None, config: None, etc: etc.to_owned(), wait: 1, quiet: false, json: false }
    }

    const TABLE: &str =
        "[[koji]]\nname = \"primary\"\nhub = \"https://h.example/kojihub/\"\ntopurl = \"http://p.example//\"\n";

    #[test]
    fn an_instance_has_defaults() {
        let instances = read_file(TABLE).unwrap();
        let [instance] = instances.as_slice() else { panic!("{instances:?}") };
        assert_eq!((instance.name.as_str(), instance.store.as_str()), ("primary", "koji-primary"));
        assert_eq!(instance.hub.as_str(), "https://h.example/kojihub");
        assert_eq!(instance.topurl.as_str(), "http://p.example/");
        assert_eq!(instance.headers, HeaderSource::Topurl);
        assert_eq!(instance.skip_archs, ["noarch", "src"]);
        assert_eq!(instance.reconcile_interval, Duration::from_secs(300));
        assert_eq!(instance.overlap, Duration::from_secs(3600));
        assert_eq!(instance.sweep_interval, Duration::from_secs(604_800));
        assert_eq!(instance.since, None);
    }

    #[test]
    fn every_key_is_read() {
        let keys = "store = \"k\"\nheaders = \"hub\"\nskip_archs = []\ndistros = [\"fc*\", \"el9\"]\n\
                    reconcile_interval = \"10s\"\noverlap = \"0s\"\nsweep_interval = \"1d\"\nsince = \"2026-01-02\"\n";
        let instance = read_file(&format!("{TABLE}{keys}")).unwrap().remove(0);
        assert_eq!((instance.store.as_str(), instance.headers), ("k", HeaderSource::Hub));
        assert_eq!((instance.skip_archs.len(), instance.distros.to_string().as_str()), (0, "fc*,el9"));
        assert_eq!(instance.reconcile_interval, Duration::from_secs(10));
        assert_eq!(instance.overlap, Duration::ZERO);
        assert_eq!(instance.sweep_interval, Duration::from_secs(86_400));
        assert_eq!(instance.since, Some(1_767_312_000));
    }

    #[test]
    fn wrong_values_are_named_with_instance_and_key() {
        for (text, expected) in [
            (TABLE.replace("primary", ""), "name: expected"),
            (TABLE.replace("https://h", "ftp://h"), "primary: hub: expected a URL like"),
            (TABLE.replace("http://p", "http://u:secret@p"), "primary: topurl: expected a URL like"),
            (format!("{TABLE}since = \"yesterday\""), "primary: since: expected a day"),
            (format!("{TABLE}reconcile_interval = \"0s\""), "reconcile_interval: expected at least 1s"),
            (format!("{TABLE}sweep_interval = \"week\""), "expected a duration"),
            (format!("{TABLE}headers = \"mirror\""), "headers"),
            (format!("{TABLE}heders = \"hub\""), "heders"),
            (format!("{TABLE}store = \" \""), "store: expected"),
            (format!("{TABLE}{TABLE}"), "found primary twice"),
            (format!("{TABLE}{}store = \"koji-primary\"", TABLE.replace("primary", "arm")), "found koji-primary twice"),
        ] {
            let message = read_file(&text).unwrap_err().to_string();
            assert!(message.contains(expected), "{expected}: {message}");
            assert!(message.contains("indexer.toml") && !message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn without_a_table_the_original_names_the_instances() {
        let directory = tempfile::tempdir().unwrap();
        assert!(koji_instances(&common(directory.path())).unwrap().is_empty());
        let info = r#"{"primary": {"hub": "https://h.example/kojihub/", "pkgs": "https://p.example//packages"}}"#;
        std::fs::write(directory.path().join("koji_info.json"), info).unwrap();
        assert_eq!(koji_instances(&common(directory.path())).unwrap().len(), 1);
        std::fs::write(directory.path().join("indexer.toml"), TABLE.replace("primary", "own")).unwrap();
        let instances = koji_instances(&common(directory.path())).unwrap();
        assert_eq!(instances.iter().map(|instance| instance.name.as_str()).collect::<Vec<_>>(), ["own"]);
    }
}
