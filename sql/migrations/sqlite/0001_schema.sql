-- Hashes and build-ids are lowercase hex, times are seconds since 1970.

-- Which programs can read each version of the schema. A migration writes its row first: programs of the versions before
-- it look there whether they can go on.
create table schema_readers (
    version integer not null primary key, -- of the schema
    oldest_reader integer not null -- schema version of the oldest program that can read it
);
insert into schema_readers (version, oldest_reader) values (1, 1);

create table packages (
    id integer primary key,
    format text not null, -- rpm, deb, arch, tar, cpio, zip, file
    identity text null, -- SHA-256 of the main header, or of the file; null until one was read
    identity_kind text null, -- header, file
    name text not null,
    epoch integer null,
    version text not null,
    `release` text not null,
    arch text not null,
    nvra text not null, -- NAME-VERSION-RELEASE.ARCH
    source_rpm text null, -- file name of the source package
    distro text not null, -- fc40, or what the importer was told; empty if unknown
    koji_instance text null,
    koji_build integer null,
    koji_volume text null,
    built_at integer null,
    state text not null, -- claimed (named by metadata), legacy (named by an old database): no header read yet; open: artifacts may be missing; complete
    deleted_at integer null, -- when its build was deleted; where it can be had is stated by locations
    indexed_at integer not null -- when it was imported, or completed
);
create unique index packages_identity on packages (identity);
create index packages_nvra on packages (nvra);
create index packages_source_rpm on packages (source_rpm, arch);
create index packages_name on packages (name, arch);

-- Files with a build-id. Build-ids are not unique, and a file can have several.
create table artifacts (
    package_id integer not null,
    ordinal integer not null, -- number of the file in the package, from 0
    build_id text not null,
    kind text not null, -- executable, debuginfo, both, unknown; both: a program with its DWARF; unknown: only its contents can say
    has_dwarf integer null, -- 1, 0; null where nothing states it
    dir text not null, -- no slash at its end: /usr/bin
    file_name text not null,
    size integer null, -- size, mtime and sha256: null for RPMs, whose headers have them
    mtime integer null,
    sha256 text null,
    tar_offset integer null, -- where the headers of the member begin in the unpacked tar archive, in bytes; null elsewhere
    primary key (package_id, ordinal, build_id)
) without rowid;
create index artifacts_build_id on artifacts (build_id);
create index artifacts_file_name on artifacts (file_name);

-- Compressed kernel modules of RPMs whose headers name no build-id for them. Debug files of the same source_rpm and
-- arch have it; then the module is in artifacts, too.
create table modules (
    package_id integer not null,
    ordinal integer not null, -- as in artifacts
    dir text not null,
    file_name text not null,
    primary key (package_id, ordinal)
) without rowid;

-- Build-ids that repository metadata or an old database names for packages whose header was not read yet.
create table claims (
    build_id text not null,
    package_id integer not null,
    kind text not null, -- executable, debuginfo, both, unknown; as it is claimed
    link_path text null, -- path of the link or file that names it
    primary key (build_id, package_id)
) without rowid;
create index claims_package on claims (package_id);

-- Directories in which a package has include files; of a file right in /usr/include the file.
create table includes (
    dir text not null,
    package_id integer not null,
    primary key (dir, package_id)
) without rowid;
create index includes_package on includes (package_id);

-- Places that hold archives. Nothing writes pattern, distros, redirect_hosts and allow_private yet.
create table stores (
    id integer primary key,
    name text not null,
    tier text not null, -- local, mirror, koji, archive, retrace
    base_url text null,
    root text null,
    priority integer not null, -- lower is asked first
    pattern text null, -- path of a package below base_url, by rule
    distros text null, -- globs of distributions that the pattern holds for
    absent_statuses text null, -- HTTP statuses that prove absence, like 404,410; null: 403,404,410
    redirect_hosts text null, -- hosts that redirects may lead to
    allow_private integer not null default 0 -- whether hosts that were not written out may have private addresses
);
create unique index stores_name on stores (name);

-- Listings of packages below a path of one store. Nothing writes this yet.
create table repositories (
    id integer primary key,
    name text not null,
    store_id integer not null,
    path text not null, -- below the base_url or root of the store
    url text null, -- of its metadata: repomd.xml, a metalink or a mirrorlist
    distro text null,
    revision text null,
    verified integer not null default 0, -- whether the last metadata were verified
    refreshed_at integer null
);
create unique index repositories_name on repositories (name);
create index repositories_store on repositories (store_id);

-- Which repositories list a package, and when each was seen to.
create table memberships (
    package_id integer not null,
    repository_id integer not null,
    first_seen integer not null,
    last_seen integer not null,
    primary key (package_id, repository_id)
) without rowid;
create index memberships_repository on memberships (repository_id);

-- Where packages are and were.
create table locations (
    store_id integer not null,
    path_hash text not null, -- the first 16 hex digits of the SHA-256 of path
    package_id integer not null,
    path text not null, -- below the base_url or root of the store
    size integer not null, -- bytes
    mtime_ns integer null, -- nanoseconds since 1970
    header_start integer null, -- where the main header begins in the archive, and ends
    header_end integer null,
    checksum text null, -- of the archive
    checksum_kind text null,
    signing_key text null,
    first_seen integer not null,
    last_seen integer not null,
    gone_at integer null, -- since when it is not there; null while it is
    checked_at integer null,
    check_result text null,
    primary key (store_id, path_hash, package_id)
) without rowid;
create index locations_package on locations (package_id);
create index locations_checksum on locations (checksum);

-- Work that waits to be done. Nothing writes this yet.
create table jobs (
    id integer primary key,
    kind text not null,
    `key` text not null, -- the same work is there once
    payload text not null,
    attempts integer not null default 0,
    next_try_at integer not null,
    claimed_by text null,
    claimed_until integer null,
    last_error text null
);
create unique index jobs_key on jobs (`key`);
create index jobs_next_try on jobs (next_try_at);

-- Messages that can never be processed. Nothing writes this yet.
create table poison (
    id integer primary key,
    source text not null, -- the queue or hook that it came from
    payload text not null,
    reason text not null,
    received_at integer not null
);

-- What only one process may do at a time. Nothing uses this yet.
create table leases (
    name text not null primary key,
    holder text not null,
    until integer not null
) without rowid;

-- How far each feeder has come. Nothing writes this yet.
create table cursors (
    name text not null primary key,
    value text not null,
    updated_at integer not null
) without rowid;

-- A counter for each importer.
create table writers (
    writer text not null primary key,
    sequence integer not null -- counted up in every inserting transaction
) without rowid;

-- What the last transactions of each writer brought. A transaction leaves one row; its writer prunes the old ones.
create table changes (
    writer text not null,
    sequence integer not null, -- of the writer, in this transaction
    mark integer not null, -- random: tells a transaction from one of another index that has the same number
    total integer not null, -- bytes of build_ids, of this writer and up to this row
    build_ids blob null, -- 8 bytes for each build-id, its hash; null if there were too many
    primary key (writer, sequence)
);
