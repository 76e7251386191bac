-- Hashes and build-ids are lowercase hex, times are seconds since 1970.

-- The oldest program that can read each version of the schema. A migration writes its row first, so that older
-- programs know whether they can read the result.
create table schema_readers (
    version integer not null primary key, -- version of the schema
    oldest_reader integer not null -- schema version of the oldest program that can read this version
);
insert into schema_readers (version, oldest_reader) values (1, 1);

-- Packages. A claimed package is known from repository metadata alone, a legacy one from the original's database alone.
-- The artifacts of an open package may be incomplete; another import can complete it.
create table packages (
    id integer primary key,
    format text not null, -- rpm, deb, arch, tar, cpio, zip, file
    identity text null, -- SHA-256 in hex of the main header or the file; null until one was read
    identity_kind text null, -- what identity is the digest of: header, file
    name text not null,
    epoch integer null,
    version text not null,
    `release` text not null,
    arch text not null,
    nvra text not null, -- NAME-VERSION-RELEASE.ARCH
    source_rpm text null, -- file name of the source package
    distro text not null, -- distribution, like fc40, or the value of --distro; empty if unknown
    koji_instance text null, -- name of the Koji that built it
    koji_build integer null, -- id of its build there
    koji_volume text null,
    built_at integer null,
    state text not null, -- claimed, legacy: header not read yet; open: artifacts may be missing; complete
    deleted_at integer null, -- when its build was deleted; locations state where the package still is
    indexed_at integer not null -- when it was imported or became complete
);
create unique index packages_identity on packages (identity);
create index packages_nvra on packages (nvra);
create index packages_source_rpm on packages (source_rpm, arch);
create index packages_name on packages (name, arch);
create index packages_koji on packages (koji_instance, koji_build);

-- Files with a build-id. Build-ids are not unique, and a file can have several.
create table artifacts (
    package_id integer not null,
    ordinal integer not null, -- number of the file in the package, from 0
    build_id text not null,
    kind text not null, -- executable, debuginfo, both (a program with its DWARF), unknown (nothing states it)
    has_dwarf integer null, -- 1 with DWARF, 0 without, null if unknown
    dir text not null, -- directory without a slash at the end: /usr/bin
    file_name text not null,
    size integer null, -- bytes; size, mtime and sha256 are null for RPMs, whose headers have them
    mtime integer null,
    sha256 text null,
    -- offset of the member's headers in the unpacked tar archive, bytes; null for other formats
    tar_offset integer null,
    primary key (package_id, ordinal, build_id)
) without rowid;
create index artifacts_build_id on artifacts (build_id);
create index artifacts_file_name on artifacts (file_name);

-- Compressed kernel modules of RPMs whose headers do not state the modules' build-ids. Once a debug package of the same
-- source_rpm and arch states it, the module is in artifacts, too.
create table modules (
    package_id integer not null,
    ordinal integer not null, -- as in artifacts
    dir text not null,
    file_name text not null,
    primary key (package_id, ordinal)
) without rowid;

-- Build-ids that repository metadata or the original's database state for packages whose header was not read yet.
create table claims (
    build_id text not null,
    package_id integer not null,
    kind text not null, -- executable, debuginfo, both, unknown: the kind that the source states
    link_path text null, -- path of the link or file with this build-id
    primary key (build_id, package_id)
) without rowid;
create index claims_package on claims (package_id);

-- Directories in which packages have include files. For a file directly in /usr/include, dir is the file's path.
create table includes (
    dir text not null,
    package_id integer not null,
    primary key (dir, package_id)
) without rowid;
create index includes_package on includes (package_id);

-- Stores: places that hold archives.
create table stores (
    id integer primary key,
    name text not null,
    tier text not null, -- local, mirror, koji, archive, retrace
    base_url text null,
    root text null,
    priority integer not null, -- within a tier, stores with a lower number are asked first
    pattern text null, -- template of a package's path below base_url, like packages/{name}/{version}/{nvra}.rpm
    distros text null, -- globs of the distributions that pattern is valid for, like fc*,el9*
    absent_statuses text null, -- HTTP statuses that prove absence, like 404,410; null means 403,404,410
    redirect_hosts text null, -- hosts that redirects may lead to, like a.example,b.example; * for all
    allow_private integer not null default 0 -- 1 if hosts allowed by * may have private addresses
);
create unique index stores_name on stores (name);

-- Repositories: listings of packages below a path of one store.
create table repositories (
    id integer primary key,
    name text not null,
    store_id integer not null,
    path text not null, -- relative to the base_url or root of the store, without slashes at the ends; may be empty
    url text null, -- base URL, metalink or mirrorlist of its metadata; null: path below the base_url of the store
    format text not null, -- rpm, deb, arch
    distro text null, -- distribution of its packages, if given by the operator
    revision text null, -- of the metadata that was imported last
    metadata_checksum text null, -- SHA-256 in hex of the metadata that was imported completely; null if none was
    verified text not null default 'no', -- metalink, signature, no: how that metadata was verified
    package_count integer null, -- packages that it lists
    refreshed_at integer null, -- last complete listing, or when it was found unchanged
    attempted_at integer null,
    error text null, -- why the last attempt failed; null if it did not
    refused_count integer not null default 0, -- packages of the last complete listing that were not imported
    refused text null -- the first of them with reasons; null if there are none
);
create unique index repositories_name on repositories (name);
create index repositories_store on repositories (store_id);

-- Packages that repositories list. While one is listed, it was last seen at refreshed_at of the repository.
create table memberships (
    package_id integer not null,
    repository_id integer not null,
    first_seen integer not null,
    last_seen integer not null,
    ended_at integer null, -- since when it is not listed; null while it is
    primary key (package_id, repository_id)
) without rowid;
create index memberships_repository on memberships (repository_id);

-- Present and past locations of packages.
create table locations (
    store_id integer not null,
    path_hash text not null, -- first 16 hex digits of the SHA-256 of path
    package_id integer not null,
    path text not null, -- relative to the base_url or root of the store
    size integer null, -- bytes; null if unknown
    mtime_ns integer null, -- nanoseconds since 1970
    header_start integer null, -- offset of the main header in the archive, bytes
    header_end integer null, -- offset of its end
    checksum text null, -- checksum of the archive, hex
    checksum_kind text null, -- md5, sha1, sha224, sha256, sha384, sha512
    signing_key text null,
    first_seen integer null, -- null if the archive was never seen
    last_seen integer null,
    gone_at integer null, -- since when the archive is gone; null while it is present
    checked_at integer null, -- when it was looked for last; null if never
    check_result text null, -- of that check: present, gone, or failed: REASON
    derived integer not null default 0, -- 1 if a check wrote it after the pattern of the store
    primary key (store_id, path_hash, package_id)
) without rowid;
create index locations_package on locations (package_id);
create index locations_checksum on locations (checksum);
create index locations_checked on locations (store_id, checked_at);

-- Builds of Koji, as the hub described them when it was asked last.
create table builds (
    instance text not null, -- name of the Koji
    build integer not null, -- id of the build there
    nvr text not null, -- NAME-VERSION-RELEASE
    name text not null,
    version text not null,
    `release` text not null,
    epoch integer null,
    state text not null, -- building, complete, deleted, failed, canceled
    volume text not null, -- where its files are: DEFAULT, or a directory of the topurl's vol/
    draft integer not null, -- 1 for a draft build, which was not promoted
    completed_at integer null,
    imported_at integer null, -- since when all its packages that are wanted are in the index
    checked_at integer not null, -- when the hub was asked last
    deleted_at integer null, -- when it was deleted, or when that was noticed
    deleted_after integer null, -- the last time before deleted_at when it existed; null if deleted_at is exact
    primary key (instance, build)
) without rowid;
create index builds_nvr on builds (nvr);
create index builds_state on builds (instance, state, checked_at, imported_at);

-- Tags that builds of Koji have or had. A build has a tag unless it was untagged after it was tagged.
create table build_tags (
    instance text not null,
    build integer not null,
    tag text not null,
    tagged_at integer null, -- when it was tagged last; null if that is unknown
    untagged_at integer null, -- when it was untagged last; null if it was not
    primary key (instance, build, tag)
) without rowid;

-- Work that is to be done. Who does it claims the row until a time, and removes it at the end.
create table jobs (
    id integer primary key autoincrement, -- never used again
    kind text not null,
    `key` text not null, -- identifies the work: at most one row for the same work
    payload text not null,
    requests integer not null default 1, -- how often it was requested; more during the work: it is done again
    queued_at integer not null, -- when the waiting work was requested first
    attempts integer not null default 0, -- tries that failed since the last request
    next_try_at integer not null,
    again_at integer null, -- the latest time that a request asked for: it is done then, also if it was done before
    claimed_by text null,
    claimed_until integer null,
    last_error text null
);
create unique index jobs_key on jobs (`key`);
create index jobs_next_try on jobs (next_try_at);

-- Messages and jobs that cannot be processed.
create table poison (
    id integer primary key,
    source text not null, -- queue or hook from which it came, or job and its kind
    payload text not null,
    reason text not null,
    received_at integer not null, -- when it came last
    digest text not null -- hash of source and whole payload: what comes again is the same row
);
create unique index poison_digest on poison (digest);
create index poison_received on poison (received_at);

-- Work that only one process may do at a time.
create table leases (
    name text not null primary key,
    holder text not null,
    until integer not null
) without rowid;

-- The position of each feeder in its source, and of checks in a store's derived places.
create table cursors (
    name text not null primary key,
    value text not null,
    updated_at integer not null
) without rowid;

-- A transaction counter for each importer.
create table writers (
    writer text not null primary key,
    sequence integer not null -- incremented by every inserting transaction
) without rowid;

-- Build-ids that the last transactions of each writer inserted. Each transaction inserts a row and deletes old ones.
create table changes (
    writer text not null,
    sequence integer not null, -- value of writers.sequence in this transaction
    mark integer not null, -- random; differs between transactions of different indexes with the same sequence
    total integer not null, -- sum of the bytes of build_ids of this writer up to this row
    build_ids blob null, -- hashes of the build-ids, 8 bytes each, little-endian; null if there were too many
    primary key (writer, sequence)
);
