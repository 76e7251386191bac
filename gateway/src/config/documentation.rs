//! Keeps docs/configuration.md true: every key, flag and variable is documented, and defaults are the real ones.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use clap::CommandFactory;
use serde::de::{DeserializeOwned, Deserializer, Error, Visitor, value};
use serde::forward_to_deserialize_any;

use super::file::ConfigFile;
use super::tables::TlsSettings;
use super::*;
use crate::cli::{Arguments, Cli};

const DOCUMENT: &str = include_str!("../../../docs/configuration.md");
const PUBLIC_SERVERS: &str = include_str!("../../../docs/upstreams.toml");

/// Keys without a default that could be written into the file.
const WITHOUT_DEFAULT: [&str; 13] = [
    "cache_dir",
    "connections.max_count",
    "federation.contact",
    "federation.instance",
    "listen",
    "public_url",
    "tls.certificate",
    "tls.key",
    "upstream.deadline",
    "upstream.late_absent_ttl",
    "upstream.name",
    "upstream.tls",
    "upstream.url",
];
/// An upstream with defaults alone.
const UPSTREAM: &str = "[[upstream]]\nname = \"a\"\nurl = \"http://h\"\n";

/// Deserializer that records the field names of a struct, and fails.
struct Recorder<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Recorder<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
        Err(value::Error::custom("expected a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, value::Error> {
        self.0.extend(fields);
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields<T: DeserializeOwned>() -> Vec<&'static str> {
    let mut fields = Vec::new();
    assert!(T::deserialize(Recorder(&mut fields)).is_err());
    fields
}

/// All keys of the file, those of tables as `table.key`.
fn keys() -> BTreeSet<String> {
    let tables = [
        ("tls", fields::<TlsSettings>()),
        ("cors", fields::<CorsSettings>()),
        ("connections", fields::<ConnectionSettings>()),
        ("request", fields::<RequestSettings>()),
        ("extraction", fields::<ExtractionSettings>()),
        ("prefetch", fields::<PrefetchSettings>()),
        ("claims", fields::<ClaimsSettings>()),
        ("index", fields::<IndexSettings>()),
        ("federation", fields::<FederationSettings>()),
        ("relay", fields::<RelaySettings>()),
        ("upstream", fields::<UpstreamSettings>()),
        ("metadata", fields::<MetadataSettings>()),
    ];
    let mut keys: BTreeSet<String> = fields::<ConfigFile>().into_iter().map(str::to_owned).collect();
    for (table, fields) in tables {
        assert!(keys.remove(table), "{table} is no table of the file");
        keys.extend(fields.into_iter().map(|field| format!("{table}.{field}")));
    }
    keys
}

/// The documented keys, each with its section and its paragraph.
fn paragraphs() -> Vec<(&'static str, &'static str, &'static str)> {
    let mut section = "";
    let mut found = Vec::new();
    for block in DOCUMENT.split("\n\n") {
        if let Some(title) = block.strip_prefix("## ") {
            section = title;
        }
        if let Some((key, paragraph)) = block.strip_prefix("**`").and_then(|rest| rest.split_once("`**"))
            && key.chars().all(|character| character.is_ascii_lowercase() || matches!(character, '_' | '.'))
        {
            found.push((section, key, paragraph));
        }
    }
    found
}

/// The value behind `Default` in a paragraph.
fn default(paragraph: &str) -> Option<&str> {
    let words = paragraph.split_once("Default")?.1.trim_start().strip_prefix('`')?;
    words.split_once('`').map(|(value, _)| value)
}

/// The configuration of a file with this text.
fn load(directory: &Path, text: &str) -> Config {
    let path = directory.join("gateway.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(Arguments { config: Some(path), ..Arguments::default() }).unwrap()
}

#[test]
fn every_key_is_documented_in_its_section() {
    let documented = paragraphs();
    assert_eq!(documented.iter().map(|(_, key, _)| (*key).to_owned()).collect::<BTreeSet<_>>(), keys());
    assert_eq!(documented.len(), keys().len(), "each key once");
    for (section, key, _) in documented {
        let expected = match key.split_once('.') {
            None => "Top level".to_owned(),
            Some(("upstream", _)) => "[[upstream]]".to_owned(),
            Some((table, _)) => format!("[{table}]"),
        };
        assert_eq!(section, expected, "{key}");
    }
}

#[test]
fn documented_defaults_are_the_real_ones() {
    let directory = tempfile::tempdir().unwrap();
    let (mut text, mut table) = (String::new(), "");
    let mut without = Vec::new();
    for (_, key, paragraph) in paragraphs() {
        let Some(value) = default(paragraph) else {
            without.push(key);
            continue;
        };
        let (own, name) = key.split_once('.').unwrap_or(("", key));
        if own != table {
            text.push_str(&if own == "upstream" { UPSTREAM.to_owned() } else { format!("[{own}]\n") });
            table = own;
        }
        let is_number = (name.starts_with("max_") || name == "priority") && value.parse::<u64>().is_ok();
        let is_bare = value.starts_with(['[', '{']) || matches!(value, "true" | "false") || is_number;
        writeln!(text, "{name} = {}", if is_bare { value.to_owned() } else { format!("\"{value}\"") }).unwrap();
    }
    without.sort_unstable();
    assert_eq!(without, WITHOUT_DEFAULT);
    assert_eq!(
        format!("{:#?}", load(directory.path(), &text)),
        format!("{:#?}", load(directory.path(), UPSTREAM)),
        "{text}"
    );
}

#[test]
fn every_flag_and_variable_is_documented() {
    for argument in Cli::command().get_arguments() {
        let (Some(flag), Some(variable)) = (argument.get_long(), argument.get_env()) else { continue };
        for name in [format!("`--{flag}`"), format!("`{}`", variable.display())] {
            assert!(DOCUMENT.contains(&name), "{name} is missing");
        }
    }
}

#[test]
fn the_file_of_public_servers_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let config = load(directory.path(), PUBLIC_SERVERS);
    let server = |name: &str| config.upstreams.iter().find(|upstream| upstream.name == name).unwrap();
    assert!(config.upstreams.len() > 10 && server("fedora").enabled && !server("ubuntu").enabled);
    assert!(server("opensuse").late_absent_ttl.is_some() && !server("debian").serves.contains(&Service::Source));
    assert_eq!(server("objects").absent_statuses, [403, 404]);
    // What is commented out is also valid.
    let all: Vec<&str> = PUBLIC_SERVERS.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect();
    let all = all.join("\n").replace("COMPANY_DEBUGINFOD_TOKEN", "PATH");
    assert!(load(directory.path(), &all).upstreams.len() > config.upstreams.len());
}

#[test]
fn the_example_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let example = DOCUMENT.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    let config = load(directory.path(), example);
    // The sockets of systemd alone: an address in the file would be in addition to them.
    assert!(config.listen.is_none(), "{:?}", config.listen);
    assert!(config.trusts([10, 0, 0, 1].into()) && !config.trusts([10, 0, 0, 2].into()));
    assert_eq!((config.cache_size, config.extraction.max_concurrent), (ByteSize::gib(200), 32));
    assert_eq!(config.upstreams[0].name, "fedora");
}
