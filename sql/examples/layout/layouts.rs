//! The layouts that are compared: tables, what goes into them, and how a build-id is found.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha2::{Digest, Sha256};

use crate::data::{Artifact, Package};

/// A table. `indexes` are (name, unique, columns for SQLite, columns for MySQL).
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static str,
    pub(crate) key: &'static str,
    pub(crate) indexes: &'static [(&'static str, bool, &'static str, &'static str)],
}

/// Rows of one INSERT: the key they are sorted by, and the values.
pub(crate) type Rows = Vec<(Vec<u8>, String)>;

/// One way to hold a part of the index: the artifacts, or packages and locations.
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    pub(crate) tables: &'static [Table],
    /// Rows for each table.
    pub(crate) rows: fn(&Package) -> Vec<Rows>,
    /// The query for a build-id (`{}`: its hexadecimal), empty for packages.
    pub(crate) query: &'static str,
    /// Appended to CREATE TABLE on MySQL.
    pub(crate) options: &'static str,
}

const PLAIN: &[Table] = &[Table {
    name: "artifacts",
    columns: "build_id varbinary(64) not null, kind tinyint not null, package_id bigint not null, ordinal bigint not null, \
        dwarf tinyint, path varchar(4096) not null",
    key: "build_id, kind, package_id, ordinal",
    indexes: &[("artifacts_package", false, "package_id", "package_id")],
}];
const PLAIN_QUERY: &str = "select build_id, kind, package_id, ordinal, dwarf, path from artifacts where build_id = x'{}'";

pub(crate) const ARTIFACTS: &[Layout] = &[
    Layout { name: "plain", tables: PLAIN, rows: plain, query: PLAIN_QUERY, options: "" },
    Layout {
        name: "plain, ROW_FORMAT=COMPRESSED",
        tables: PLAIN,
        rows: plain,
        query: PLAIN_QUERY,
        options: "row_format=compressed key_block_size=8",
    },
    Layout {
        name: "plain, 4-byte integers",
        tables: &[Table {
            name: "artifacts",
            columns: "build_id varbinary(64) not null, kind tinyint not null, package_id int not null, ordinal int not null, \
                dwarf tinyint, path varchar(4096) not null",
            key: "build_id, kind, package_id, ordinal",
            indexes: &[("artifacts_package", false, "package_id", "package_id")],
        }],
        rows: plain,
        query: PLAIN_QUERY,
        options: "",
    },
    Layout {
        name: "clustered by package",
        tables: &[Table {
            name: "artifacts",
            columns: "package_id int not null, ordinal int not null, kind tinyint not null, build_id varbinary(64) not null, \
                dwarf tinyint, path varchar(4096) not null",
            key: "package_id, ordinal, kind",
            indexes: &[("artifacts_build_id", false, "build_id", "build_id")],
        }],
        rows: by_package,
        query: PLAIN_QUERY,
        options: "",
    },
    Layout {
        name: "narrow + paths per package",
        tables: &[
            Table {
                name: "artifacts",
                columns: "build_id varbinary(64) not null, kind tinyint not null, package_id int not null, ordinal int not null, dwarf tinyint",
                key: "build_id, kind, package_id, ordinal",
                indexes: &[("artifacts_package", false, "package_id", "package_id")],
            },
            MEMBERS,
        ],
        rows: narrow_paths,
        query: NARROW_QUERY,
        options: "",
    },
    Layout {
        name: "narrow + members per package",
        tables: &[
            Table {
                name: "artifacts",
                columns: "build_id varbinary(64) not null, package_id int not null, ordinal int not null",
                key: "build_id, package_id, ordinal",
                indexes: &[],
            },
            MEMBERS,
        ],
        rows: narrow_members,
        query: NARROW_QUERY,
        options: "",
    },
    Layout {
        name: "8 bytes of the build-id + members",
        tables: &[
            Table {
                name: "artifacts",
                columns: "build_id binary(8) not null, package_id int not null, ordinal int not null",
                key: "build_id, package_id, ordinal",
                indexes: &[],
            },
            MEMBERS,
        ],
        rows: short_members,
        query: "select a.build_id, a.package_id, a.ordinal, m.list from artifacts a join members m \
            on m.package_id = a.package_id and m.part = a.ordinal >> 8 where a.build_id = substr(x'{}', 1, 8)",
        options: "",
    },
];

const MEMBERS: Table = Table {
    name: "members",
    columns: "package_id int not null, part int not null, list mediumblob not null",
    key: "package_id, part",
    indexes: &[],
};
const NARROW_QUERY: &str = "select a.build_id, a.package_id, a.ordinal, m.list from artifacts a join members m \
    on m.package_id = a.package_id and m.part = a.ordinal >> 8 where a.build_id = x'{}'";

pub(crate) const PACKAGES: &[Layout] = &[
    Layout {
        name: "today",
        tables: &[
            Table {
                name: "packages",
                columns: "id bigint not null, format varchar(8) not null, identity varbinary(32) not null, identity_kind varchar(8) not null, \
                    name varchar(255) not null, epoch bigint null, version varchar(255) not null, `release` varchar(255) not null, \
                    arch varchar(64) not null, nvra varchar(700) not null, source_rpm varchar(255) null, distro varchar(255) not null, \
                    koji_instance varchar(64) null, koji_build bigint null, built_at bigint null, state varchar(8) not null, \
                    indexed_at bigint not null",
                key: "id",
                indexes: &[
                    ("packages_identity", true, "identity, identity_kind", "identity, identity_kind"),
                    ("packages_nvra", false, "nvra", "nvra"),
                    ("packages_source", false, "source_rpm, arch", "source_rpm, arch"),
                ],
            },
            Table {
                name: "locations",
                columns: LOCATION_COLUMNS,
                key: "store_id, path_hash, package_id",
                indexes: &[("locations_package", false, "package_id", "package_id")],
            },
        ],
        rows: packages_today,
        query: "",
        options: "",
    },
    Layout {
        name: "thrift",
        tables: &[
            PACKAGES_THRIFT,
            Table {
                name: "locations",
                columns: THRIFTY_LOCATION,
                key: "package_id, store_id, path_hash",
                indexes: &[("locations_path", false, "store_id, path_hash", "store_id, path_hash")],
            },
        ],
        rows: packages_thrift,
        query: "",
        options: "",
    },
    Layout {
        name: "thrift, folder alone for NVRA.rpm",
        tables: &[
            PACKAGES_THRIFT,
            Table {
                name: "locations",
                columns: THRIFTY_LOCATION,
                key: "package_id, store_id, path_hash",
                indexes: &[("locations_path", false, "store_id, path_hash", "store_id, path_hash")],
            },
        ],
        rows: packages_folder,
        query: "",
        options: "",
    },
];

const PACKAGES_THRIFT: Table = Table {
    name: "packages",
    columns: "id int not null, format tinyint not null, identity binary(32) not null, identity_kind tinyint not null, \
        name varchar(255) not null, epoch bigint null, version varchar(255) not null, `release` varchar(255) not null, \
        arch varchar(64) not null, source_rpm varchar(255) null, distro varchar(255) not null, koji_instance varchar(64) null, \
        koji_build bigint null, built_at bigint null, state tinyint not null, indexed_at bigint not null",
    key: "id",
    indexes: &[
        ("packages_identity", true, "identity", "identity(16)"),
        ("packages_name", false, "name, version", "name(32), version(16)"),
        ("packages_source", false, "source_rpm", "source_rpm(32)"),
    ],
};
const LOCATION_COLUMNS: &str = "store_id bigint not null, path_hash varbinary(32) not null, package_id bigint not null, path varchar(4096) not null, \
    size bigint not null, mtime_ns bigint null, header_start bigint null, header_end bigint null, checksum varbinary(64) null, \
    checksum_kind varchar(8) null, signing_key varchar(16) null, first_seen bigint not null, last_seen bigint not null, gone_at bigint null";
const THRIFTY_LOCATION: &str = "package_id int not null, store_id int not null, path_hash binary(16) not null, path varchar(4096) not null, \
    size bigint not null, mtime_ns bigint null, header_start int null, header_end int null, checksum varbinary(64) null, \
    checksum_kind varchar(8) null, signing_key varbinary(8) null, first_seen bigint not null, last_seen bigint not null, gone_at bigint null";

fn key(artifact: &Artifact) -> Vec<u8> {
    [artifact.build_id.as_slice(), &[u8::from(artifact.debuginfo)]].concat()
}

fn plain(package: &Package) -> Vec<Rows> {
    let row = |a: &Artifact| {
        (
            key(a),
            format!(
                "(x'{}', {}, {}, {}, null, '{}')",
                faster_hex::hex_string(&a.build_id),
                u8::from(a.debuginfo),
                package.id,
                a.ordinal,
                a.path
            ),
        )
    };
    vec![package.artifacts.iter().map(row).collect()]
}

fn by_package(package: &Package) -> Vec<Rows> {
    let row = |a: &Artifact| {
        let key = [package.id.to_be_bytes(), a.ordinal.to_be_bytes()].concat();
        (
            key,
            format!(
                "({}, {}, {}, x'{}', null, '{}')",
                package.id,
                a.ordinal,
                u8::from(a.debuginfo),
                faster_hex::hex_string(&a.build_id),
                a.path
            ),
        )
    };
    vec![package.artifacts.iter().map(row).collect()]
}

fn narrow_paths(package: &Package) -> Vec<Rows> {
    let row = |a: &Artifact| {
        (
            key(a),
            format!(
                "(x'{}', {}, {}, {}, null)",
                faster_hex::hex_string(&a.build_id),
                u8::from(a.debuginfo),
                package.id,
                a.ordinal
            ),
        )
    };
    vec![package.artifacts.iter().map(row).collect(), lists(package, |a| format!("{} {}\0", a.ordinal, a.path))]
}

fn narrow_members(package: &Package) -> Vec<Rows> {
    let row = |a: &Artifact| (key(a), format!("(x'{}', {}, {})", faster_hex::hex_string(&a.build_id), package.id, a.ordinal));
    vec![package.artifacts.iter().map(row).collect(), lists(package, entry)]
}

fn short_members(package: &Package) -> Vec<Rows> {
    let row =
        |a: &Artifact| (key(a), format!("(x'{}', {}, {})", faster_hex::hex_string(&a.build_id[..8]), package.id, a.ordinal));
    vec![package.artifacts.iter().map(row).collect(), lists(package, entry)]
}

fn entry(a: &Artifact) -> String {
    format!("{} {} {} {}\0", a.ordinal, if a.debuginfo { 'd' } else { 'x' }, faster_hex::hex_string(&a.build_id), a.path)
}

/// One list for each 256 files of the package, compressed as MySQL's UNCOMPRESS reads it.
fn lists(package: &Package, entry: impl Fn(&Artifact) -> String) -> Rows {
    let mut rows = Vec::new();
    for part in package.artifacts.chunk_by(|a, b| a.ordinal >> 8 == b.ordinal >> 8) {
        let text: String = part.iter().map(&entry).collect();
        let mut encoder =
            ZlibEncoder::new(u32::try_from(text.len()).unwrap_or_default().to_le_bytes().to_vec(), Compression::new(6));
        // Writing to a Vec cannot fail.
        let _ = encoder.write_all(text.as_bytes());
        let list = encoder.finish().unwrap_or_default();
        let number = part[0].ordinal >> 8;
        let key = [package.id.to_be_bytes(), number.to_be_bytes()].concat();
        rows.push((key, format!("({}, {number}, x'{}')", package.id, faster_hex::hex_string(&list))));
    }
    rows
}

fn packages_today(p: &Package) -> Vec<Rows> {
    let row = format!(
        "({}, 'rpm', x'{}', 'header', '{}', null, '{}', '{}', 'x86_64', '{}', '{}', 'fc40', null, null, 1700000000, 'complete', 1700000001)",
        p.id,
        faster_hex::hex_string(&p.identity),
        p.name,
        p.version,
        p.release,
        p.nvra(),
        p.source_rpm()
    );
    let hash = Sha256::digest(p.location());
    let place = format!(
        "(1, x'{}', {}, '{}', {}, 1700000000123456789, 4504, {}, null, null, 'a15b79cc', 1700000001, 1700000001, null)",
        faster_hex::hex_string(&hash),
        p.id,
        p.location(),
        100_000 + p.id,
        14_000 + p.id
    );
    vec![vec![(p.id.to_be_bytes().into(), row)], vec![(hash.to_vec(), place)]]
}

fn packages_thrift(p: &Package) -> Vec<Rows> {
    thrifty(p, &p.location())
}

fn packages_folder(p: &Package) -> Vec<Rows> {
    thrifty(p, &p.folder())
}

fn thrifty(p: &Package, path: &str) -> Vec<Rows> {
    let mut row = String::new();
    let _ = write!(
        row,
        "({}, 0, x'{}', 0, '{}', null, '{}', '{}', 'x86_64', '{}', 'fc40', null, null, 1700000000, 0, 1700000001)",
        p.id,
        faster_hex::hex_string(&p.identity),
        p.name,
        p.version,
        p.release,
        p.source_rpm()
    );
    let place = format!(
        "({}, 1, x'{}', '{path}', {}, 1700000000123456789, 4504, {}, null, null, x'a15b79cc', 1700000001, 1700000001, null)",
        p.id,
        faster_hex::hex_string(&Sha256::digest(p.location())[..16]),
        100_000 + p.id,
        14_000 + p.id
    );
    vec![vec![(p.id.to_be_bytes().into(), row)], vec![(p.id.to_be_bytes().into(), place)]]
}
