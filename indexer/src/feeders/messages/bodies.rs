//! The bodies of messages. Only the keys that are needed are read; publishers add others.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sql::{BuildState, TagChange};

use crate::jobs::BuildName;

/// Maximum size of a body in bytes. A kernel's with all its tasks has less than 1 MiB.
pub(crate) const MAX_BODY_BYTES: usize = 16 << 20;
/// Maximum number of builds in one body. The largest updates of Bodhi have some hundred.
const MAX_BUILDS: usize = 5_000;
/// Maximum length of a tag in bytes, which is that of its column.
const MAX_TAG_BYTES: usize = 255;
/// Maximum length of a NAME-VERSION-RELEASE in bytes: the key of a job has also the name of an instance.
const MAX_NVR_BYTES: usize = 170;
/// Maximum length of a quoted text in bytes.
const MAX_QUOTED_BYTES: usize = 200;

/// The bodies that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// A build has another state or volume.
    BuildState,
    /// A package was signed.
    Sign,
    /// A build has one more tag.
    Tag,
    /// A build has one tag less.
    Untag,
    /// A draft build was promoted.
    Promote,
    /// The builds of an update were released.
    UpdateComplete,
    /// The builds of an update are ready for tests.
    UpdateTesting,
}

/// The topics, without the prefix of a bus.
pub(crate) const TOPICS: [(&str, Topic); 8] = [
    ("buildsys.build.state.change", Topic::BuildState),
    ("buildsys.build.promote", Topic::Promote),
    ("buildsys.rpm.sign", Topic::Sign),
    ("buildsys.tag", Topic::Tag),
    ("buildsys.untag", Topic::Untag),
    ("bodhi.update.complete.stable", Topic::UpdateComplete),
    ("bodhi.update.complete.testing", Topic::UpdateComplete),
    ("bodhi.update.status.testing.koji-build-group.build.complete", Topic::UpdateTesting),
];

/// What a body states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The instance of Koji. `None` if the body names none.
    pub(crate) instance: Option<String>,
    /// What happened there.
    pub(crate) events: Vec<Event>,
}

/// What happened to a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Something has changed.
    Changed(BuildName),
    /// One of its packages was signed; messages of its other packages follow.
    Signed(BuildName),
    /// It was deleted.
    Deleted(BuildName),
    /// A tag was added or removed.
    Tagged { build: i64, tag: String, change: TagChange },
}

/// Why a body leads to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is sound, and nothing follows from it.
    Ignored(&'static str),
    /// It is not what its topic promises: what was expected, and what was found.
    Poison(String),
}

/// Returns what a body of a topic states.
///
/// # Errors
/// [`Refusal`] if nothing follows from it.
pub(crate) fn read(topic: Topic, body: &[u8]) -> Result<Statement, Refusal> {
    match topic {
        Topic::BuildState => parse::<BuildStateChange>("a change of a build's state", body)?.into_statement(),
        Topic::Sign => parse::<Sign>("a signed package", body)?.into_statement(),
        Topic::Tag => parse::<Tagging>("a tagged build", body)?.into_statement(TagChange::Tagged),
        Topic::Untag => parse::<Tagging>("an untagged build", body)?.into_statement(TagChange::Untagged),
        Topic::Promote => parse::<Promote>("a promoted build", body)?.into_statement(),
        Topic::UpdateComplete => parse::<UpdateComplete>("a complete update", body)?.into_statement(),
        Topic::UpdateTesting => parse::<UpdateTesting>("an update that is ready for tests", body)?.into_statement(),
    }
}

/// Returns what the payload of the original's queue `darkserver_importer` states:
/// `{"build_id": 614503, "instance": "primary", "release": "fc23"}`.
///
/// # Errors
/// [`Refusal::Poison`] if it is another text.
pub(crate) fn read_original(body: &[u8]) -> Result<Statement, Refusal> {
    let payload: OriginalPayload = parse("{\"build_id\": NUMBER, \"instance\": NAME}", body)?;
    let build = id(payload.build_id)?;
    Ok(Statement { instance: Some(payload.instance), events: vec![Event::Changed(build)] })
}

fn parse<T: DeserializeOwned>(expected: &str, body: &[u8]) -> Result<T, Refusal> {
    if body.len() > MAX_BODY_BYTES {
        let found = format!("expected a body of at most {} MiB, found {} bytes", MAX_BODY_BYTES >> 20, body.len());
        return Err(Refusal::Poison(found));
    }
    let refuse = |error: serde_json::Error| {
        Refusal::Poison(format!("expected {expected} in JSON, found another body: {}", quoted(&error.to_string())))
    };
    serde_json::from_slice(body).map_err(refuse)
}

/// Returns the start of a foreign text, without control characters.
fn quoted(text: &str) -> String {
    let start = text.get(..text.floor_char_boundary(MAX_QUOTED_BYTES)).unwrap_or_default();
    let end = if start.len() < text.len() { "..." } else { "" };
    start.chars().map(|c| if c.is_control() { ' ' } else { c }).chain(end.chars()).collect()
}

fn id(id: i64) -> Result<BuildName, Refusal> {
    if id <= 0 {
        return Err(Refusal::Poison(format!("expected the id of a build, a number from 1, found {id}")));
    }
    Ok(BuildName::Id(id))
}

/// Returns the build of a NAME-VERSION-RELEASE.
fn nvr(nvr: String) -> Result<BuildName, Refusal> {
    let is_word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_graphic() && c != '/');
    let mut parts = nvr.rsplitn(3, '-');
    let is_nvr = nvr.len() <= MAX_NVR_BYTES
        && parts.next().is_some_and(is_word)
        && parts.next().is_some_and(is_word)
        && parts.next().is_some_and(is_word);
    if is_nvr {
        return Ok(BuildName::Nvr(nvr));
    }
    Err(Refusal::Poison(format!(
        "expected a build's NAME-VERSION-RELEASE of at most {MAX_NVR_BYTES} bytes, found {:?}",
        quoted(&nvr)
    )))
}

fn missing(expected: &str) -> Refusal {
    Refusal::Poison(format!("expected {expected}, found none"))
}

/// `BuildStateChangeV1`. A body that its schema refuses arrives as one without a schema.
#[derive(Deserialize)]
struct BuildStateChange {
    instance: Option<String>,
    attribute: Option<String>,
    new: Option<i64>,
    build_id: Option<i64>,
    name: Option<String>,
    version: Option<String>,
    release: Option<String>,
}

impl BuildStateChange {
    fn into_statement(self) -> Result<Statement, Refusal> {
        let name = match (self.build_id, self.name, self.version, self.release) {
            (Some(build), ..) => id(build)?,
            (None, Some(name), Some(version), Some(release)) => nvr(format!("{name}-{version}-{release}"))?,
            _ => return Err(missing("build_id, or name, version and release")),
        };
        let event = match self.attribute.as_deref() {
            // The number of another volume follows.
            Some("volume_id") => Event::Changed(name),
            None | Some("state") => match BuildState::from_code(self.new.ok_or_else(|| missing("a state in `new`"))?) {
                Some(BuildState::Complete) => Event::Changed(name),
                Some(BuildState::Deleted) => Event::Deleted(name),
                Some(BuildState::Building) => return Err(Refusal::Ignored("the build is not complete yet")),
                Some(BuildState::Failed | BuildState::Canceled) => {
                    return Err(Refusal::Ignored("the build failed or was canceled"));
                }
                None => return Err(Refusal::Ignored("the build has a state without a meaning here")),
            },
            Some(_) => return Err(Refusal::Ignored("another attribute of the build has changed")),
        };
        Ok(Statement { instance: self.instance, events: vec![event] })
    }
}

/// `SignV1`, which requires no key.
#[derive(Deserialize)]
struct Sign {
    instance: Option<String>,
    sigkey: Option<String>,
    rpm: Option<SignedRpm>,
    build: Option<BuildInfo>,
}

#[derive(Deserialize)]
struct SignedRpm {
    build_id: Option<i64>,
}

/// A build as Koji describes it.
#[derive(Deserialize)]
struct BuildInfo {
    id: Option<i64>,
    build_id: Option<i64>,
}

impl BuildInfo {
    fn any_id(&self) -> Option<i64> {
        self.id.or(self.build_id)
    }
}

impl Sign {
    fn into_statement(self) -> Result<Statement, Refusal> {
        // At the import of a package, Koji tells that its key is empty.
        if self.sigkey.is_none_or(|key| key.is_empty()) {
            return Err(Refusal::Ignored("the package was not signed"));
        }
        let build = self.build.and_then(|build| build.any_id()).or(self.rpm.and_then(|rpm| rpm.build_id));
        let build = build.ok_or(Refusal::Ignored("it names no build"))?;
        Ok(Statement { instance: self.instance, events: vec![Event::Signed(id(build)?)] })
    }
}

/// `TagV1` and `UntagV1`, which require no key.
#[derive(Deserialize)]
struct Tagging {
    instance: Option<String>,
    build_id: Option<i64>,
    tag: Option<String>,
}

impl Tagging {
    fn into_statement(self, change: TagChange) -> Result<Statement, Refusal> {
        let (Some(build), Some(tag)) = (self.build_id, self.tag) else {
            return Err(Refusal::Ignored("it names no build or no tag"));
        };
        id(build)?;
        if tag.is_empty() || tag.len() > MAX_TAG_BYTES || tag.chars().any(char::is_control) {
            let expected = format!("expected a tag of 1 to {MAX_TAG_BYTES} bytes");
            return Err(Refusal::Poison(format!("{expected}, found {:?}", quoted(&tag))));
        }
        Ok(Statement { instance: self.instance, events: vec![Event::Tagged { build, tag, change }] })
    }
}

/// The body of `build.promote`, which has no schema. Koji's publisher names only the instance.
#[derive(Deserialize)]
struct Promote {
    instance: Option<String>,
    build_id: Option<i64>,
    build: Option<BuildInfo>,
}

impl Promote {
    fn into_statement(self) -> Result<Statement, Refusal> {
        let build = self.build_id.or(self.build.and_then(|build| build.any_id()));
        let build = build.ok_or(Refusal::Ignored("it names no build: the sweep finds promotions"))?;
        Ok(Statement { instance: self.instance, events: vec![Event::Changed(id(build)?)] })
    }
}

/// `bodhi.update.complete.stable.v1` and `.testing.v1`.
#[derive(Deserialize)]
struct UpdateComplete {
    update: Update,
}

#[derive(Deserialize)]
struct Update {
    builds: Vec<BuildOfUpdate>,
}

/// `bodhi.update.status.testing.v3`.
#[derive(Deserialize)]
struct UpdateTesting {
    artifact: Artifact,
}

#[derive(Deserialize)]
struct Artifact {
    builds: Vec<BuildOfUpdate>,
}

#[derive(Deserialize)]
struct BuildOfUpdate {
    nvr: Option<String>,
    /// Only in [`UpdateTesting`].
    id: Option<i64>,
}

impl UpdateComplete {
    fn into_statement(self) -> Result<Statement, Refusal> {
        builds_of_update(self.update.builds)
    }
}

impl UpdateTesting {
    fn into_statement(self) -> Result<Statement, Refusal> {
        builds_of_update(self.artifact.builds)
    }
}

fn builds_of_update(builds: Vec<BuildOfUpdate>) -> Result<Statement, Refusal> {
    if builds.len() > MAX_BUILDS {
        return Err(Refusal::Poison(format!("expected at most {MAX_BUILDS} builds, found {}", builds.len())));
    }
    if builds.is_empty() {
        return Err(Refusal::Ignored("it names no build"));
    }
    let name = |build: BuildOfUpdate| match (build.id, build.nvr) {
        (Some(build), _) => id(build),
        (None, Some(name)) => nvr(name),
        (None, None) => Err(missing("the nvr of each build")),
    };
    let events = builds.into_iter().map(|build| name(build).map(Event::Changed)).collect::<Result<_, _>>()?;
    Ok(Statement { instance: None, events })
}

/// The payload of the original's queue.
#[derive(Deserialize)]
struct OriginalPayload {
    build_id: i64,
    instance: String,
}
