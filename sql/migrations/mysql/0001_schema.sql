-- Every statement can be repeated, because MySQL cannot roll back an interrupted migration: it is applied again.
-- Hashes and build-ids are lowercase hex, times are seconds since 1970.
-- Keys have explicit prefix lengths: InnoDB limits a key to 3,072 bytes, at 4 bytes per character. MySQL refuses a
-- longer key; MariaDB truncates it silently.

-- The oldest program that can read each version of the schema. A migration writes its row first, so that older
-- programs know whether they can read the result.
create table if not exists schema_readers (
    version bigint not null primary key comment 'version of the schema',
    oldest_reader bigint not null comment 'schema version of the oldest program that can read this version'
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin
    comment = 'oldest program that can read each version of the schema';
insert into schema_readers (version, oldest_reader) values (1, 1) on duplicate key update oldest_reader = 1;

-- Packages. A claimed package is known from repository metadata alone, a legacy one from the original's database alone.
-- The artifacts of an open package may be incomplete; another import can complete it.
create table if not exists packages (
    id int not null auto_increment primary key,
    format varchar(8) not null comment 'rpm, deb, arch, tar, cpio, zip, file',
    identity char(64) character set ascii collate ascii_bin null
        comment 'SHA-256 in hex of the main header or the file; null until one was read',
    identity_kind varchar(8) null comment 'what identity is the digest of: header, file',
    name varchar(255) not null,
    epoch bigint null,
    version varchar(255) not null,
    `release` varchar(255) not null,
    arch varchar(64) not null,
    nvra varchar(832) not null comment 'NAME-VERSION-RELEASE.ARCH',
    source_rpm varchar(255) null comment 'file name of the source package',
    distro varchar(255) not null comment 'distribution, like fc40, or the value of --distro; empty if unknown',
    koji_instance varchar(64) null comment 'name of the Koji that built it',
    koji_build bigint null comment 'id of its build there',
    koji_volume varchar(64) null,
    built_at bigint null,
    state varchar(8) not null comment 'claimed, legacy: header not read yet; open: artifacts may be missing; complete',
    deleted_at bigint null comment 'when its build was deleted; locations state where the package still is',
    indexed_at bigint not null comment 'when it was imported or became complete',
    unique key packages_identity (identity),
    key packages_nvra (nvra(255)),
    key packages_source_rpm (source_rpm(255), arch(64)),
    key packages_name (name(255), arch(64)),
    key packages_koji (koji_instance, koji_build)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin
    comment = 'packages; identity is null while no header was read';

-- Files with a build-id. Build-ids are not unique, and a file can have several.
create table if not exists artifacts (
    package_id int not null,
    ordinal mediumint not null comment 'number of the file in the package, from 0',
    build_id varchar(128) character set ascii collate ascii_bin not null,
    kind enum('executable', 'debuginfo', 'both', 'unknown') character set ascii collate ascii_bin not null
        comment 'both: a program with its DWARF; unknown: nothing states it',
    has_dwarf tinyint null comment '1 with DWARF, 0 without, null if unknown',
    dir varchar(4096) not null comment 'directory without a slash at the end: /usr/bin',
    file_name varchar(255) not null,
    size bigint null comment 'bytes; size, mtime and sha256 are null for RPMs, whose headers have them',
    mtime bigint null,
    sha256 char(64) character set ascii collate ascii_bin null,
    tar_offset bigint null
        comment 'offset of the member''s headers in the unpacked tar archive, bytes; null for other formats',
    primary key (package_id, ordinal, build_id),
    key artifacts_build_id (build_id),
    key artifacts_file_name (file_name(255))
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin comment = 'files with a build-id inside packages';

-- Compressed kernel modules of RPMs whose headers do not state the modules' build-ids. Once a debug package of the same
-- source_rpm and arch states it, the module is in artifacts, too.
create table if not exists modules (
    package_id int not null,
    ordinal mediumint not null comment 'as in artifacts',
    dir varchar(4096) not null,
    file_name varchar(255) not null,
    primary key (package_id, ordinal)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin comment = 'compressed kernel modules of RPMs';

-- Build-ids that repository metadata or the original's database state for packages whose header was not read yet.
create table if not exists claims (
    build_id varchar(128) character set ascii collate ascii_bin not null,
    package_id int not null,
    kind enum('executable', 'debuginfo', 'both', 'unknown') character set ascii collate ascii_bin not null
        comment 'the kind that the source states',
    link_path varchar(4096) null comment 'path of the link or file with this build-id',
    primary key (build_id, package_id),
    key claims_package (package_id)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin
    comment = 'build-ids claimed for packages whose header was not read yet';

-- Directories in which packages have include files. For a file directly in /usr/include, dir is the file's path.
create table if not exists includes (
    dir varchar(700) not null,
    package_id int not null,
    primary key (dir, package_id),
    key includes_package (package_id)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin
    comment = 'directories in which packages have include files';

-- Stores: places that hold archives.
create table if not exists stores (
    id int not null auto_increment primary key,
    name varchar(255) not null,
    tier varchar(8) not null comment 'local, mirror, koji, archive, retrace',
    base_url varchar(2048) null,
    root varchar(4096) null,
    priority int not null comment 'within a tier, stores with a lower number are asked first',
    pattern varchar(2048) null
        comment 'template of a package''s path below base_url, like packages/{name}/{version}/{nvra}.rpm',
    distros varchar(2048) null comment 'globs of the distributions that pattern is valid for, like fc*,el9*',
    absent_statuses varchar(255) null comment 'HTTP statuses that prove absence, like 404,410; null means 403,404,410',
    redirect_hosts varchar(2048) null comment 'hosts that redirects may lead to, like a.example,b.example; * for all',
    allow_private tinyint not null default 0 comment '1 if hosts allowed by * may have private addresses',
    unique key stores_name (name(255))
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin comment = 'places that hold archives';

-- Repositories: listings of packages below a path of one store.
create table if not exists repositories (
    id int not null auto_increment primary key,
    name varchar(255) not null,
    store_id int not null,
    path varchar(4096) not null
        comment 'relative to the base_url or root of the store, without slashes at the ends; may be empty',
    url varchar(2048) null
        comment 'base URL, metalink or mirrorlist of its metadata; null: path below the base_url of the store',
    format varchar(8) not null comment 'rpm, deb, arch',
    distro varchar(255) null comment 'distribution of its packages, if given by the operator',
    revision varchar(255) null comment 'of the metadata that was imported last',
    metadata_checksum char(64) character set ascii collate ascii_bin null
        comment 'SHA-256 in hex of the metadata that was imported completely; null if none was',
    verified varchar(16) not null default 'no' comment 'metalink, signature, no: how that metadata was verified',
    package_count bigint null comment 'packages that it lists',
    refreshed_at bigint null comment 'last complete listing, or when it was found unchanged',
    attempted_at bigint null,
    error varchar(2048) null comment 'why the last attempt failed; null if it did not',
    refused_count bigint not null default 0 comment 'packages of the last complete listing that were not imported',
    refused varchar(2048) null comment 'the first of them with reasons; null if there are none',
    unique key repositories_name (name(255)),
    key repositories_store (store_id)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin
    comment = 'listings of packages below a path of a store';

-- Packages that repositories list. While one is listed, it was last seen at refreshed_at of the repository.
create table if not exists memberships (
    package_id int not null,
    repository_id int not null,
    first_seen bigint not null,
    last_seen bigint not null,
    ended_at bigint null comment 'since when it is not listed; null while it is',
    primary key (package_id, repository_id),
    key memberships_repository (repository_id)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin comment = 'packages that repositories list';

-- Present and past locations of packages.
create table if not exists locations (
    store_id int not null,
    path_hash char(16) character set ascii collate ascii_bin not null
        comment 'first 16 hex digits of the SHA-256 of path',
    package_id int not null,
    path varchar(4096) not null comment 'relative to the base_url or root of the store',
    size bigint null comment 'bytes; null if unknown',
    mtime_ns bigint null comment 'nanoseconds since 1970',
    header_start int null comment 'offset of the main header in the archive, bytes',
    header_end int null comment 'offset of its end',
    checksum varchar(128) character set ascii collate ascii_bin null comment 'checksum of the archive, hex',
    checksum_kind varchar(8) null comment 'md5, sha1, sha224, sha256, sha384, sha512',
    signing_key varchar(16) null,
    first_seen bigint null comment 'null if the archive was never seen',
    last_seen bigint null,
    gone_at bigint null comment 'since when the archive is gone; null while it is present',
    checked_at bigint null comment 'when it was looked for last; null if never',
    check_result varchar(255) null comment 'of that check: present, gone, or failed: REASON',
    derived tinyint not null default 0 comment '1 if a check wrote it after the pattern of the store',
    primary key (store_id, path_hash, package_id),
    key locations_package (package_id),
    key locations_checksum (checksum),
    key locations_checked (store_id, checked_at)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin comment = 'present and past locations of packages';

-- Builds of Koji, as the hub described them when it was asked last.
create table if not exists builds (
    instance varchar(64) not null comment 'name of the Koji',
    build bigint not null comment 'id of the build there',
    nvr varchar(767) not null comment 'NAME-VERSION-RELEASE',
    name varchar(255) not null,
    version varchar(255) not null,
    `release` varchar(255) not null,
    epoch bigint null,
    state varchar(8) not null comment 'building, complete, deleted, failed, canceled',
    volume varchar(64) not null comment 'where its files are: DEFAULT, or a directory of the topurl''s vol/',
    draft tinyint not null comment '1 for a draft build, which was not promoted',
    completed_at bigint null,
    imported_at bigint null comment 'since when all its packages that are wanted are in the index',
    checked_at bigint not null comment 'when the hub was asked last',
    deleted_at bigint null comment 'when it was deleted, or when that was noticed',
    deleted_after bigint null comment 'the last time before deleted_at when it existed; null if deleted_at is exact',
    primary key (instance, build),
    key builds_nvr (nvr(255)),
    key builds_state (instance, state, checked_at, imported_at)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin comment = 'builds of Koji';

-- Tags that builds of Koji have or had. A build has a tag unless it was untagged after it was tagged.
create table if not exists build_tags (
    instance varchar(64) not null,
    build bigint not null,
    tag varchar(255) not null,
    tagged_at bigint null comment 'when it was tagged last; null if that is unknown',
    untagged_at bigint null comment 'when it was untagged last; null if it was not',
    primary key (instance, build, tag)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin comment = 'tags of builds of Koji';

-- Work that is to be done. Who does it claims the row until a time, and removes it at the end.
create table if not exists jobs (
    id bigint not null auto_increment primary key,
    kind varchar(32) not null,
    `key` varchar(255) not null comment 'identifies the work: at most one row for the same work',
    payload mediumtext not null,
    requests int not null default 1 comment 'how often it was requested; more during the work: it is done again',
    queued_at bigint not null comment 'when the waiting work was requested first',
    attempts int not null default 0 comment 'tries that failed since the last request',
    next_try_at bigint not null,
    again_at bigint null comment 'the latest time that a request asked for: it is done then, also if it was done before',
    claimed_by varchar(255) null,
    claimed_until bigint null,
    last_error text null,
    unique key jobs_key (`key`(255)),
    key jobs_next_try (next_try_at)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin comment = 'work that is to be done';

-- Messages and jobs that cannot be processed.
create table if not exists poison (
    id bigint not null auto_increment primary key,
    source varchar(64) not null comment 'queue or hook from which it came, or job and its kind',
    payload mediumtext not null,
    reason text not null,
    received_at bigint not null comment 'when it came last',
    digest char(32) character set ascii collate ascii_bin not null
        comment 'hash of source and whole payload: what comes again is the same row',
    unique key poison_digest (digest),
    key poison_received (received_at)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin comment = 'messages and jobs that cannot be processed';

-- Work that only one process may do at a time. Transactions lock the rows claims and modules.
create table if not exists leases (
    name varchar(255) not null primary key,
    holder varchar(255) not null,
    until bigint not null
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin
    comment = 'work that only one process may do at a time';

insert ignore into leases (name, holder, until) values ('claims', '', 0), ('modules', '', 0);

-- The position of each feeder in its source, and of checks in a store's derived places.
create table if not exists cursors (
    name varchar(255) not null primary key,
    value text not null,
    updated_at bigint not null
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin comment = 'position of each feeder in its source';

-- A transaction counter for each importer.
create table if not exists writers (
    writer varchar(255) not null primary key,
    sequence bigint not null comment 'incremented by every inserting transaction'
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin comment = 'a transaction counter for each importer';

-- Build-ids that the last transactions of each writer inserted. Each transaction inserts a row and deletes old ones.
create table if not exists changes (
    writer varchar(255) not null,
    sequence bigint not null comment 'value of writers.sequence in this transaction',
    mark bigint not null comment 'random; differs between transactions of different indexes with the same sequence',
    total bigint not null comment 'sum of the bytes of build_ids of this writer up to this row',
    build_ids mediumblob null
        comment 'hashes of the build-ids, 8 bytes each, little-endian; null if there were too many',
    primary key (writer, sequence)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin
    comment = 'build-ids that the last transactions of each importer inserted';
