//! What a hub knows: builds, RPMs and signatures, with the maps that its methods return.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dxr::Value;

use super::{rpm_file, tree};

/// A map of a result.
pub(super) type Map = BTreeMap<String, Value>;

/// Koji's numbers of states.
pub(super) const BUILDING: i32 = 0;
pub(super) const COMPLETE: i32 = 1;
pub(super) const DELETED: i32 = 2;

/// Device, inode, size and time of change: equal ones are one file.
type FileState = (u64, u64, u64, i64, i64);

/// What a hub knows.
pub(super) struct State {
    pub(super) topdir: PathBuf,
    pub(super) builds: BTreeMap<i64, Build>,
    pub(super) rpms: HashMap<i64, Rpm>,
    /// RPMs of builds that are not complete, with their files.
    pub(super) waiting: HashMap<i64, Vec<(Rpm, PathBuf)>>,
    /// Ids of volumes by their position; the first is DEFAULT.
    pub(super) volumes: Vec<String>,
    next_build: i64,
    next_rpm: i64,
    /// Times are unique, as in a database with microseconds.
    last_time: f64,
    /// Parts of headers by file and names.
    headers: HashMap<(FileState, Vec<String>), Vec<Value>>,
}

/// A build.
#[derive(Clone, Debug)]
pub(super) struct Build {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) release: String,
    pub(super) epoch: Option<i64>,
    pub(super) state: i32,
    pub(super) volume: String,
    pub(super) is_draft: bool,
    /// True of an image, which has no RPMs.
    pub(super) is_image: bool,
    /// Seconds since 1970.
    pub(super) created_at: f64,
    pub(super) completed_at: Option<f64>,
    pub(super) promoted_at: Option<f64>,
    pub(super) rpms: Vec<i64>,
}

/// An RPM.
#[derive(Clone, Debug)]
pub(super) struct Rpm {
    pub(super) id: i64,
    pub(super) build: i64,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) release: String,
    pub(super) epoch: Option<i64>,
    pub(super) arch: String,
    pub(super) size: Option<i64>,
    pub(super) payload_hash: String,
    pub(super) built_at: i64,
    pub(super) is_metadata_only: bool,
    /// Id of a repository outside of Koji; 0 of Koji's own RPMs.
    pub(super) external_repo: i64,
    /// Hashes of signature headers by key. The key of the unsigned one is empty.
    pub(super) signatures: BTreeMap<String, String>,
}

impl State {
    pub(super) fn new(topdir: &Path) -> Self {
        Self {
            topdir: topdir.to_owned(),
            builds: BTreeMap::new(),
            rpms: HashMap::new(),
            waiting: HashMap::new(),
            volumes: vec!["DEFAULT".to_owned()],
            // As large as those of Fedora.
            next_build: 2_900_001,
            next_rpm: 45_000_001,
            last_time: 0.0,
            headers: HashMap::new(),
        }
    }

    /// The time now, later than any before.
    pub(super) fn now(&mut self) -> f64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
        let now = (now.as_secs_f64() * 1e6).floor() / 1e6;
        self.last_time = if now > self.last_time { now } else { self.last_time + 1e-6 };
        self.last_time
    }

    pub(super) fn new_build_id(&mut self) -> i64 {
        self.next_build += 1;
        self.next_build - 1
    }

    pub(super) fn new_rpm_id(&mut self) -> i64 {
        self.next_rpm += 1;
        self.next_rpm - 1
    }

    pub(super) fn build(&self, id: i64) -> &Build {
        self.builds.get(&id).unwrap_or_else(|| panic!("expected a build {id}"))
    }

    pub(super) fn build_mut(&mut self, id: i64) -> &mut Build {
        self.builds.get_mut(&id).unwrap_or_else(|| panic!("expected a build {id}"))
    }

    pub(super) fn rpm(&self, id: i64) -> &Rpm {
        self.rpms.get(&id).unwrap_or_else(|| panic!("expected an RPM {id}"))
    }

    fn volume_id(&self, name: &str) -> i64 {
        self.volumes.iter().position(|volume| volume == name).expect("a volume") as i64
    }

    /// The map of a build in `getBuild` and `listBuilds`.
    pub(super) fn build_map(&self, build: &Build) -> Map {
        let time = |at: Option<f64>| at.map_or(Value::Nil, |at| text(&time_text(at)));
        let seconds = |at: Option<f64>| at.map_or(Value::Nil, Value::Double);
        map([
            ("build_id", int(build.id)),
            ("cg_id", Value::Nil),
            ("cg_name", Value::Nil),
            ("completion_time", time(build.completed_at)),
            ("completion_ts", seconds(build.completed_at)),
            ("creation_event_id", int(5_000_000_000 + build.id)),
            ("creation_time", time(Some(build.created_at))),
            ("creation_ts", seconds(Some(build.created_at))),
            ("draft", Value::Boolean(build.is_draft)),
            ("epoch", build.epoch.map_or(Value::Nil, int)),
            ("extra", Value::Struct(map([("source", Value::Struct(Map::new()))]))),
            ("id", int(build.id)),
            ("name", text(&build.name)),
            ("nvr", text(&build.nvr())),
            ("owner_id", int(4)),
            ("owner_name", text("somebody")),
            ("package_id", int(7)),
            ("package_name", text(&build.name)),
            ("promotion_time", time(build.promoted_at)),
            ("promotion_ts", seconds(build.promoted_at)),
            ("promoter_id", Value::Nil),
            ("promoter_name", Value::Nil),
            ("release", text(&build.release)),
            ("source", text(&format!("git+https://src.example.org/rpms/{}.git#0123abcd", build.name))),
            ("start_time", time(Some(build.created_at))),
            ("start_ts", seconds(Some(build.created_at))),
            ("state", Value::Integer(build.state)),
            ("task_id", int(140_000_000 + build.id)),
            ("version", text(&build.version)),
            ("volume_id", int(self.volume_id(&build.volume))),
            ("volume_name", text(&build.volume)),
        ])
    }

    /// The map of an RPM in `listBuildRPMs` and `listRPMs`.
    pub(super) fn rpm_map(&self, rpm: &Rpm) -> Map {
        let is_external = rpm.external_repo != 0;
        map([
            ("arch", text(&rpm.arch)),
            ("build_id", if is_external { Value::Nil } else { int(rpm.build) }),
            ("buildroot_id", int(50_000_001)),
            ("buildtime", int(rpm.built_at)),
            ("draft", Value::Boolean(self.build(rpm.build).is_draft)),
            ("epoch", rpm.epoch.map_or(Value::Nil, int)),
            ("external_repo_id", int(rpm.external_repo)),
            ("external_repo_name", text(if is_external { "elsewhere" } else { "INTERNAL" })),
            ("extra", Value::Nil),
            ("id", int(rpm.id)),
            ("metadata_only", Value::Boolean(rpm.is_metadata_only)),
            ("name", text(&rpm.name)),
            ("nvr", text(&format!("{}-{}-{}", rpm.name, rpm.version, rpm.release))),
            ("payloadhash", text(&rpm.payload_hash)),
            ("release", text(&rpm.release)),
            ("size", rpm.size.map_or(Value::Nil, int)),
            ("version", text(&rpm.version)),
        ])
    }

    /// Parts of the header of an RPM. `None` if the hub has no file of it.
    pub(super) fn header(&mut self, rpm: i64, tags: &[String]) -> Option<Vec<Value>> {
        let rpm = self.rpms.get(&rpm)?;
        let file = self.topdir.join(tree::plain(self.build(rpm.build), rpm));
        let metadata = file.metadata().ok()?;
        let of_file = (metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec());
        Some(self.headers.entry((of_file, tags.to_vec())).or_insert_with(|| rpm_file::header(&file, tags)).clone())
    }
}

impl Build {
    pub(super) fn nvr(&self) -> String {
        format!("{}-{}-{}", self.name, self.version, self.release)
    }

    /// The same build as if it were on the volume DEFAULT.
    pub(super) fn on_default_volume(&self) -> Self {
        Self { volume: "DEFAULT".to_owned(), ..self.clone() }
    }
}

impl Rpm {
    pub(super) fn nvra(&self) -> String {
        format!("{}-{}-{}.{}", self.name, self.version, self.release, self.arch)
    }
}

pub(super) fn map<const N: usize>(members: [(&str, Value); N]) -> Map {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn int(value: i64) -> Value {
    i32::try_from(value).map_or(Value::Long(value), Value::Integer)
}

pub(super) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// A time as the database prints it, in UTC: `2026-05-04 10:20:00.000001`.
pub(super) fn time_text(seconds: f64) -> String {
    let time = Duration::from_micros((seconds * 1e6).round() as u64);
    let (days, second) = (time.as_secs() / 86_400, time.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second, micro) = (second / 3600, second / 60 % 60, second % 60, time.subsec_micros());
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micro:06}")
}

/// Year, month and day of a number of days since 1970.
fn date(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::time_text;

    #[test]
    fn times_are_printed_as_a_database_does() {
        for (seconds, expected) in [
            (0.0, "1970-01-01 00:00:00.000000"),
            (951_782_400.5, "2000-02-29 00:00:00.500000"),
            (1_777_890_000.000_001, "2026-05-04 10:20:00.000001"),
            (1_798_761_599.0, "2026-12-31 23:59:59.000000"),
        ] {
            assert_eq!(time_text(seconds), expected);
        }
    }
}
