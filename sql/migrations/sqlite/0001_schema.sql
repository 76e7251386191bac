create table packages (
    id integer primary key,
    format text not null, -- rpm, deb, tar, file, legacy
    identity blob not null,
    identity_kind integer not null, -- 0 SHA-256 of the main header, 1 SHA-256 of the file
    name text not null,
    epoch integer null,
    version text not null,
    `release` text not null,
    arch text not null,
    source text null, -- file name of the source package; NAME- is NAME-VERSION-RELEASE.src.rpm
    distro text not null,
    koji_instance text null,
    koji_build integer null,
    built_at integer null, -- times are seconds since 1970
    state integer not null, -- 0 complete, 1 open: may hold build-ids that are not in artifacts
    indexed_at integer not null,
    nvra_crc integer not null, -- CRC-32 of NAME-VERSION-RELEASE.ARCH
    source_crc integer null -- CRC-32 of the whole file name of the source package
);
create unique index packages_identity on packages (identity);
create index packages_nvra on packages (nvra_crc);
create index packages_source on packages (source_crc);

-- Which files have a build-id. What else is known of them is in members.
create table artifacts (
    build_id blob not null, -- its first four bytes; members has all
    package_id integer not null,
    ordinal integer not null, -- number of the file in the header, from 0
    primary key (build_id, package_id, ordinal)
) without rowid;

create table members (
    package_id integer not null,
    part integer not null, -- ordinal >> 7
    list blob not null, -- compressed; for each artifact: ORDINAL KIND BUILD_ID PATH and a NUL; docs/architecture.md
    primary key (package_id, part)
) without rowid;

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
    package_id integer not null,
    store_id integer not null,
    path_hash blob not null, -- the first eight bytes of the SHA-256 of the whole path
    path text not null, -- below the base_url or root of the store; FOLDER/ is FOLDER/NVRA.rpm
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
    primary key (package_id, store_id, path_hash)
) without rowid;
create index locations_path on locations (store_id, path_hash);

create table cursors (
    name text not null primary key,
    value text not null,
    updated_at integer not null
) without rowid;

create table writers (
    writer text not null primary key,
    sequence integer not null -- counted up in every inserting transaction
) without rowid;
