//! The tables `[check]`, `[[store]]` and `[[repository]]` of the configuration file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sql::Tier;
use url::Url;

use crate::cli::{OrNone, Payload, RepositoryFormat, StoreArgs};
use crate::report::failure::{CommandFailure, Result};

/// Default of `check.budget`.
const BUDGET: Duration = Duration::from_secs(600);
/// Maximum length of `contact` in bytes.
const MAX_CONTACT_BYTES: usize = 200;

/// `[check]`: the check of places at the end of `repo --all`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CheckTable {
    /// Maximum time of the check. Zero: nothing is checked.
    #[serde(deserialize_with = "duration")]
    pub(crate) budget: Duration,
}

impl StoreTable {
    /// Returns the same options as `store add` has.
    ///
    /// # Errors
    /// [`CommandFailure::Usage`] states the store, the key, what was expected and what was found.
    pub(crate) fn into_args(self) -> Result<StoreArgs> {
        let name = &self.name;
        let refuse = |error: sql::Error| CommandFailure::Usage(format!("[[store]] {name}: {error}"));
        self.tier.parse::<Tier>().map_err(refuse)?;
        Ok(StoreArgs {
            absent_statuses: parse(self.absent_statuses.as_deref()).map_err(refuse)?,
            redirect_hosts: parse(self.redirect_hosts.as_deref()).map_err(refuse)?,
            pattern: parse(self.pattern.as_deref()).map_err(refuse)?,
            distros: parse(self.distros.as_deref()).map_err(refuse)?,
            name: self.name,
            tier: Some(self.tier),
            url: self.url,
            path: self.path.map(PathBuf::into_os_string),
            priority: Some(self.priority),
            allow_private: Some(self.allow_private),
        })
    }
}

fn parse<T: FromStr<Err = sql::Error>>(text: Option<&str>) -> sql::Result<Option<OrNone<T>>> {
    text.map(str::parse).transpose()
}

impl Default for CheckTable {
    fn default() -> Self {
        Self { budget: BUDGET }
    }
}

/// A `[[store]]`: the options of `store add`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreTable {
    pub(crate) name: String,
    pub(crate) tier: String,
    pub(crate) url: Option<String>,
    pub(crate) path: Option<PathBuf>,
    #[serde(default)]
    pub(crate) priority: i32,
    /// Statuses separated by commas.
    #[serde(default, deserialize_with = "words")]
    pub(crate) absent_statuses: Option<String>,
    /// Hosts separated by commas.
    #[serde(default, deserialize_with = "words")]
    pub(crate) redirect_hosts: Option<String>,
    #[serde(default)]
    pub(crate) allow_private: bool,
    pub(crate) pattern: Option<String>,
    /// Globs separated by commas.
    #[serde(default, deserialize_with = "words")]
    pub(crate) distros: Option<String>,
}

/// A `[[repository]]`: the options of `repo`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RepositoryTable {
    pub(crate) name: String,
    pub(crate) store: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) format: Option<RepositoryFormat>,
    pub(crate) distro: Option<String>,
    #[serde(default)]
    pub(crate) keys: Vec<PathBuf>,
    #[serde(default)]
    pub(crate) metadata_only: bool,
    pub(crate) payload: Option<Payload>,
}

/// Reads a duration in humantime's notation: `10m`.
pub(super) fn duration<'de, D: Deserializer<'de>>(value: D) -> std::result::Result<Duration, D::Error> {
    let text = String::deserialize(value)?;
    read_duration(&text).map_err(Error::custom)
}

/// Reads a duration in humantime's notation: `10m`.
///
/// # Errors
/// What was expected and what was found.
pub(crate) fn read_duration(text: &str) -> std::result::Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("expected a duration like 10m or 1h 30m, found {text:?}"))
}

/// Reads how the operator can be reached: an address or URL. It becomes a comment in the header
/// User-Agent, which cannot contain parentheses, backslashes and blanks.
pub(super) fn contact<'de, D: Deserializer<'de>>(value: D) -> std::result::Result<Option<String>, D::Error> {
    let text = String::deserialize(value)?;
    let is_contact = !text.contains("://") || Url::parse(&text).is_ok_and(|url| url.password().is_none());
    let is_word = text.chars().all(|c| c.is_ascii_graphic() && !"()\\".contains(c));
    if text.is_empty() || !is_contact || !is_word || text.len() > MAX_CONTACT_BYTES {
        return Err(Error::custom(
            "contact: expected an address like mailto:admin@example.org or https://example.org/bot, found another text",
        ));
    }
    Ok(Some(text))
}

/// Reads a list of texts or numbers, or one text with commas; returns it with commas.
pub(super) fn words<'de, D: Deserializer<'de>>(value: D) -> std::result::Result<Option<String>, D::Error> {
    value.deserialize_any(Words).map(Some)
}

struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list like [\"a\", \"b\"] or [403, 404]")
    }

    fn visit_str<E: Error>(self, text: &str) -> std::result::Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<String, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = list.next_element::<Word>()? {
            words.push(match word {
                Word::Text(text) => text,
                Word::Number(number) => number.to_string(),
            });
        }
        Ok(words.join(","))
    }
}

/// An element of [`Words`].
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text or a number")]
enum Word {
    Text(String),
    Number(u64),
}
