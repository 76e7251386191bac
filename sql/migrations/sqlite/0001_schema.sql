create table packages (
    id integer primary key,
    format text not null, -- rpm, deb, tar, file, legacy
    identity blob not null,
    identity_kind text not null, -- header: SHA-256 of the main header; file: of the file
    name text not null,
    epoch integer null,
    version text not null,
    `release` text not null,
    arch text not null,
    nvra text not null, -- name-version-release.arch
    source_rpm text null,
    distro text not null,
    koji_instance text null,
    koji_build integer null,
    built_at integer null, -- times are seconds since 1970
    state text not null, -- open: may hold build-ids that are not in artifacts; complete
    indexed_at integer not null
);
create unique index packages_identity on packages (identity, identity_kind);
create index packages_nvra on packages (nvra);
create index packages_source on packages (source_rpm, arch);

create table artifacts (
    build_id blob not null,
    kind integer not null, -- 0 executable, 1 debuginfo
    package_id integer not null,
    ordinal integer not null, -- number of the file in the header, from 0
    dwarf integer null, -- 1 has DWARF, 0 has none, null unknown
    path text not null,
    primary key (build_id, kind, package_id, ordinal)
) without rowid;
create index artifacts_package on artifacts (package_id);

create table stores (
    id integer primary key,
    name text not null,
    tier text not null, -- local, mirror, koji, archive, retrace
    base_url text null,
    root text null,
    priority integer not null
);
create unique index stores_name on stores (name);

create table locations (
    store_id integer not null,
    path_hash blob not null, -- SHA-256 of the path
    package_id integer not null,
    path text not null, -- below the base_url or root of the store
    size integer not null,
    mtime_ns integer null, -- nanoseconds since 1970
    header_start integer null,
    header_end integer null,
    checksum blob null,
    checksum_kind text null,
    signing_key text null,
    first_seen integer not null,
    last_seen integer not null,
    gone_at integer null,
    primary key (store_id, path_hash, package_id)
) without rowid;
create index locations_package on locations (package_id);

create table cursors (
    name text not null primary key,
    value text not null,
    updated_at integer not null
) without rowid;

create table writers (
    writer text not null primary key,
    sequence integer not null -- counted up in every inserting transaction
) without rowid;
