//! Values of a hub's answers. Hubs of different releases state less or more: a member that is not needed can be missing
//! or nil, and integers can have any type.

use std::collections::BTreeMap;

use artifact::Nevra;
use artifact::links::LinkName;
use dxr::Value;
use sql::BuildState;

use super::build::{HubBuild, HubHeader, HubLink, HubRpm};
use super::paths::DEFAULT_VOLUME;

/// The members of a struct. Errors name it, what was expected and what was found.
pub(super) struct Members<'v> {
    name: &'static str,
    members: &'v BTreeMap<String, Value>,
}

impl<'v> Members<'v> {
    pub(super) fn new(name: &'static str, members: &'v BTreeMap<String, Value>) -> Self {
        Self { name, members }
    }

    fn of(name: &'static str, value: &'v Value) -> Result<Self, String> {
        match value {
            Value::Struct(members) => Ok(Self { name, members }),
            other => Err(format!("{name}: expected a struct, found {}", kind(other))),
        }
    }

    /// The value of a member that is there and not nil.
    fn get(&self, member: &str) -> Option<&'v Value> {
        self.members.get(member).filter(|value| **value != Value::Nil)
    }

    fn error(&self, member: &str, expected: &str) -> String {
        let found = self.members.get(member).map_or("none", kind);
        format!("{}: expected {expected} as {member}, found {found}", self.name)
    }

    /// Returns a text.
    ///
    /// # Errors
    /// It is missing, or no text.
    pub(super) fn text(&self, member: &str) -> Result<String, String> {
        self.get(member).and_then(text).ok_or_else(|| self.error(member, "a text"))
    }

    fn optional_text(&self, member: &str) -> Result<Option<String>, String> {
        self.get(member).map(|_| self.text(member)).transpose()
    }

    fn integer(&self, member: &str) -> Result<i64, String> {
        self.get(member).and_then(integer).ok_or_else(|| self.error(member, "an integer"))
    }

    fn optional_integer(&self, member: &str) -> Result<Option<i64>, String> {
        self.get(member).map(|_| self.integer(member)).transpose()
    }

    fn is_true(&self, member: &str) -> Result<bool, String> {
        match self.get(member) {
            None => Ok(false),
            Some(Value::Boolean(value)) => Ok(*value),
            Some(value) => integer(value).map(|value| value != 0).ok_or_else(|| self.error(member, "a boolean")),
        }
    }

    fn optional_number(&self, member: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.get(member) else { return Ok(None) };
        let number = match value {
            Value::Double(number) => Some(*number),
            other => integer(other).map(|number| number as f64),
        };
        number.filter(|number| number.is_finite()).map(Some).ok_or_else(|| self.error(member, "a number"))
    }

    fn texts(&self, member: &str) -> Result<Vec<String>, String> {
        match self.get(member) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => {
                let texts: Option<Vec<String>> = values.iter().map(text).collect();
                texts.ok_or_else(|| format!("{}: expected texts in {member}, found another type", self.name))
            }
            Some(_) => Err(self.error(member, "an array")),
        }
    }
}

/// Returns a text. Binary ones are texts, too, if they are UTF-8.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Base64(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    }
}

/// Returns an integer of any type: an epoch is sometimes a text.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(value) => Some(i64::from(*value)),
        Value::Long(value) => Some(*value),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The type of a value, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "an int",
        Value::Long(_) => "an i8",
        Value::Boolean(_) => "a boolean",
        Value::String(_) => "a string",
        Value::Double(_) => "a double",
        Value::DateTime(_) => "a dateTime",
        Value::Base64(_) => "base64",
        Value::Struct(_) => "a struct",
        Value::Array(_) => "an array",
        Value::Nil => "nil",
        _ => "another type",
    }
}

/// The elements of an array.
///
/// # Errors
/// The value is no array.
pub(super) fn elements<'v>(name: &str, value: &'v Value) -> Result<&'v [Value], String> {
    match value {
        Value::Array(values) => Ok(values),
        other => Err(format!("{name}: expected an array, found {}", kind(other))),
    }
}

/// Reads a build, of `getBuild` or `listBuilds`. `None` is the answer nil: there is none.
///
/// # Errors
/// It is no build, or lacks what is needed.
pub(super) fn read_build(value: &Value) -> Result<Option<HubBuild>, String> {
    if *value == Value::Nil {
        return Ok(None);
    }
    let build = Members::of("build", value)?;
    let id = if build.get("build_id").is_some() { build.integer("build_id") } else { build.integer("id") }?;
    let state = build.integer("state")?;
    Ok(Some(HubBuild {
        id,
        name: if build.get("name").is_some() { build.text("name") } else { build.text("package_name") }?,
        version: build.text("version")?,
        release: build.text("release")?,
        epoch: build.optional_integer("epoch")?,
        state: BuildState::from_code(state)
            .ok_or_else(|| format!("build {id}: expected a state from 0 to 4, found {state}"))?,
        is_draft: build.is_true("draft")?,
        volume: build.optional_text("volume_name")?.unwrap_or_else(|| DEFAULT_VOLUME.to_owned()),
        completion_time: build.optional_number("completion_ts")?,
    }))
}

/// Returns Koji's number of a state.
pub(super) fn state_code(state: BuildState) -> i32 {
    match state {
        BuildState::Building => 0,
        BuildState::Complete => 1,
        BuildState::Deleted => 2,
        BuildState::Failed => 3,
        BuildState::Canceled => 4,
    }
}

/// Reads an RPM of the build `build`, of `listBuildRPMs`.
///
/// # Errors
/// It is no RPM, lacks what is needed, or its name is none of a package.
pub(super) fn read_rpm(build: i64, value: &Value) -> Result<HubRpm, String> {
    let rpm = Members::of("rpm", value)?;
    let id = rpm.integer("id")?;
    let epoch = rpm.optional_integer("epoch")?;
    let epoch = epoch.map(u32::try_from).transpose();
    let epoch = epoch.map_err(|_| format!("rpm {id}: expected an epoch of at most {}, found another one", u32::MAX))?;
    let [name, version, release, arch] = ["name", "version", "release", "arch"].map(|member| rpm.text(member));
    let nevra = Nevra::from_parts(&name?, epoch, &version?, &release?, &arch?);
    let size = rpm.optional_integer("size")?;
    Ok(HubRpm {
        id,
        build: rpm.optional_integer("build_id")?.unwrap_or(build),
        nevra: nevra.map_err(|error| format!("rpm {id}: {error}"))?,
        // No RPM is empty: 0 is the size of one that the hub does not know.
        size: size.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0),
        payload_hash: rpm.optional_text("payloadhash")?.map(|hash| hash.to_ascii_lowercase()),
        is_metadata_only: rpm.is_true("metadata_only")?,
        is_external: rpm.optional_integer("external_repo_id")?.unwrap_or(0) != 0,
    })
}

/// Reads the keys of the signatures of an RPM, of `queryRPMSigs`: lower-case hex, sorted. The hub also has a row for
/// the unsigned header, whose key is empty.
///
/// # Errors
/// They are no signatures.
pub(super) fn read_keys(value: &Value) -> Result<Vec<String>, String> {
    let signatures = elements("signatures", value)?.iter();
    let keys = signatures.map(|signature| Members::of("signature", signature)?.text("sigkey"));
    let mut keys = keys.collect::<Result<Vec<_>, _>>()?;
    keys.retain(|key| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_hexdigit()));
    keys.iter_mut().for_each(|key| key.make_ascii_lowercase());
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// The parts of a header that [`read_header`] needs.
pub(super) const HEADER_TAGS: [&str; 4] = ["FILENAMES", "FILELINKTOS", "SOURCERPM", "BUILDTIME"];

/// Reads a header, of `getRPMHeaders`. `None` is the empty struct: the hub has no file of the RPM.
///
/// # Errors
/// It is no header, or not all parts are there.
pub(super) fn read_header(value: &Value) -> Result<Option<HubHeader>, String> {
    let header = Members::of("header", value)?;
    if header.members.is_empty() {
        return Ok(None);
    }
    // Of a package without files, both are empty; neither is missing.
    if let Some(missing) = HEADER_TAGS.iter().find(|tag| !header.members.contains_key(**tag)) {
        return Err(header.error(missing, "a value"));
    }
    let (paths, targets) = (header.texts("FILENAMES")?, header.texts("FILELINKTOS")?);
    if !targets.is_empty() && paths.len() != targets.len() {
        let (paths, targets) = (paths.len(), targets.len());
        return Err(format!("header: expected {paths} FILELINKTOS, one for each of FILENAMES, found {targets}"));
    }
    let links = paths.into_iter().zip(targets).filter(|(path, target)| {
        // A directory of this name has no target.
        !target.is_empty() && LinkName::parse(path).is_some()
    });
    Ok(Some(HubHeader {
        source_rpm: header.optional_text("SOURCERPM")?.filter(|name| !name.is_empty()),
        built_at: header.optional_integer("BUILDTIME")?,
        links: links.map(|(path, target)| HubLink { path, target }).collect(),
    }))
}

#[cfg(test)]
mod tests;
