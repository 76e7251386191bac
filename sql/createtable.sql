-- The tables of darkserver, for MySQL and MariaDB:
--     mysql -u user -p -D database < createtable.sql
-- or, the same: darkserver-import migrate
-- Made by `cargo run -p sql --example createtable`: change the migrations, not this file.

set names utf8mb4 collate utf8mb4_bin;

create table if not exists _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);

-- Version 1

-- Every statement can be repeated: on MySQL a migration that broke off is simply run again.
-- Hashes and build-ids are lowercase hex, times are seconds since 1970. Prefix lengths of keys are written out: InnoDB's limit for a
-- key is 3,072 bytes, 4 a character; MySQL refuses a longer one, MariaDB cuts it silently.

create table if not exists packages (
    id int not null auto_increment primary key,
    format varchar(8) not null comment 'rpm, deb, arch, tar, file',
    identity char(64) character set ascii collate ascii_bin null comment 'SHA-256 of the main header, or of the file; null until one was read',
    identity_kind varchar(8) null comment 'header, file',
    name varchar(255) not null,
    epoch bigint null,
    version varchar(255) not null,
    `release` varchar(255) not null,
    arch varchar(64) not null,
    nvra varchar(832) not null comment 'NAME-VERSION-RELEASE.ARCH',
    source_rpm varchar(255) null comment 'file name of the source package',
    distro varchar(255) not null,
    koji_instance varchar(64) null,
    koji_build bigint null,
    koji_volume varchar(64) null,
    built_at bigint null,
    state varchar(8) not null comment 'claimed, legacy: no header read yet; open: may hold build-ids that are not in artifacts; complete',
    deleted_at bigint null comment 'when its build was deleted; where it can be had is stated by locations',
    indexed_at bigint not null,
    unique key packages_identity (identity),
    key packages_nvra (nvra(255)),
    key packages_source_rpm (source_rpm(255), arch(64)),
    key packages_name (name(255), arch(64))
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

-- Files with a build-id. Build-ids are not unique, and a file can have several.
create table if not exists artifacts (
    package_id int not null,
    ordinal mediumint not null comment 'number of the file in the package, from 0',
    build_id varchar(128) character set ascii collate ascii_bin not null,
    kind enum('executable', 'debuginfo', 'both', 'unknown') character set ascii collate ascii_bin not null,
    has_dwarf tinyint null comment 'null where nothing states it',
    dir varchar(4096) not null comment '/usr/bin',
    file_name varchar(255) not null,
    size bigint null comment 'size, mtime and sha256: null for RPMs, whose headers have them',
    mtime bigint null,
    sha256 char(64) character set ascii collate ascii_bin null,
    primary key (package_id, ordinal, build_id),
    key artifacts_build_id (build_id),
    key artifacts_file_name (file_name(255))
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

-- Build-ids that repository metadata or an old database names for packages whose header was not read yet.
create table if not exists claims (
    build_id varchar(128) character set ascii collate ascii_bin not null,
    package_id int not null,
    kind enum('executable', 'debuginfo', 'both', 'unknown') character set ascii collate ascii_bin not null,
    link_path varchar(4096) null comment 'path of the link or file that names it',
    primary key (build_id, package_id),
    key claims_package (package_id)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

-- Directories in which a package has include files; of a file right in /usr/include the file.
create table if not exists includes (
    dir varchar(700) not null,
    package_id int not null,
    primary key (dir, package_id),
    key includes_package (package_id)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

-- Places that hold archives.
create table if not exists stores (
    id int not null auto_increment primary key,
    name varchar(255) not null,
    tier varchar(8) not null comment 'local, mirror, koji, archive, retrace',
    base_url varchar(2048) null,
    root varchar(4096) null,
    priority int not null comment 'lower is asked first',
    pattern varchar(2048) null comment 'path of a package below base_url, by rule',
    distros varchar(2048) null comment 'globs of distributions that the pattern holds for',
    absent_statuses varchar(255) null comment 'HTTP statuses that prove absence',
    redirect_hosts varchar(2048) null comment 'hosts that redirects may lead to',
    allow_private tinyint not null default 0 comment 'whether hosts that were not written out may have private addresses',
    unique key stores_name (name(255))
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

-- Listings of packages below a path of one store.
create table if not exists repositories (
    id int not null auto_increment primary key,
    name varchar(255) not null,
    store_id int not null,
    path varchar(4096) not null comment 'below the base_url or root of the store',
    url varchar(2048) null comment 'of its metadata: repomd.xml, a metalink or a mirrorlist',
    distro varchar(255) null,
    revision varchar(255) null,
    verified tinyint not null default 0 comment 'whether the last metadata were verified',
    refreshed_at bigint null,
    unique key repositories_name (name(255)),
    key repositories_store (store_id)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

create table if not exists memberships (
    package_id int not null,
    repository_id int not null,
    first_seen bigint not null,
    last_seen bigint not null,
    primary key (package_id, repository_id),
    key memberships_repository (repository_id)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

-- Where packages are and were.
create table if not exists locations (
    store_id int not null,
    path_hash char(16) character set ascii collate ascii_bin not null comment 'the first digits of the SHA-256 of path',
    package_id int not null,
    path varchar(4096) not null comment 'below the base_url or root of the store',
    size bigint not null comment 'bytes',
    mtime_ns bigint null comment 'nanoseconds since 1970',
    header_start int null,
    header_end int null,
    checksum varchar(128) character set ascii collate ascii_bin null comment 'of the archive',
    checksum_kind varchar(8) null,
    signing_key varchar(16) null,
    first_seen bigint not null,
    last_seen bigint not null,
    gone_at bigint null,
    checked_at bigint null,
    check_result varchar(255) null,
    primary key (store_id, path_hash, package_id),
    key locations_package (package_id),
    key locations_checksum (checksum)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

-- Work that waits to be done.
create table if not exists jobs (
    id bigint not null auto_increment primary key,
    kind varchar(32) not null,
    `key` varchar(255) not null comment 'the same work is there once',
    payload mediumtext not null,
    attempts int not null default 0,
    next_try_at bigint not null,
    claimed_by varchar(255) null,
    claimed_until bigint null,
    last_error text null,
    unique key jobs_key (`key`(255)),
    key jobs_next_try (next_try_at)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

-- Messages that can never be processed.
create table if not exists poison (
    id bigint not null auto_increment primary key,
    source varchar(64) not null comment 'the queue or hook that it came from',
    payload mediumtext not null,
    reason text not null,
    received_at bigint not null
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

-- What only one process may do at a time.
create table if not exists leases (
    name varchar(255) not null primary key,
    holder varchar(255) not null,
    until bigint not null
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

-- How far each feeder has come.
create table if not exists cursors (
    name varchar(255) not null primary key,
    value text not null,
    updated_at bigint not null
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

create table if not exists writers (
    writer varchar(255) not null primary key,
    sequence bigint not null comment 'counted up in every inserting transaction'
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

-- What the last transactions of each writer brought. A transaction leaves one row; its writer prunes the old ones.
create table if not exists changes (
    writer varchar(255) not null,
    sequence bigint not null comment 'of the writer, in this transaction',
    mark bigint not null comment 'random: tells a transaction from one of another index that has the same number',
    total bigint not null comment 'bytes of build_ids, of this writer and up to this row',
    build_ids mediumblob null comment '8 bytes for each build-id, its hash; null if there were too many',
    primary key (writer, sequence)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

insert into _sqlx_migrations (version, description, success, checksum, execution_time)
values (1, 'schema', true, x'f4ac52c535201acbde8f888dce95596a3371a8c379ddb2b4a0566a1dd8c9b47809fbbe8ce44c3d09e9fe87844d15b682', 0)
on duplicate key update version = version;

-- The tables of the original darkserver, as views

set @darkserver_tables = (select count(*) from information_schema.tables
    where table_schema = database() and table_name = 'dark_gnubuildid' and table_type <> 'VIEW');
set @darkserver_statement = if(@darkserver_tables > 0,
    'select ''table dark_gnubuildid exists and is left alone: it looks like an old darkserver''''s; rename it and run `darkserver-import migrate` to have a view of that name'' as message',
    'create or replace sql security invoker view dark_gnubuildid as
select
    a.package_id * 4294967296 + a.ordinal as id,
    a.file_name as elfname,
    case when a.dir = '''' then ''/'' else a.dir end as installpath,
    a.build_id as buildid,
    p.nvra as rpm_name,
    p.distro as distro
from artifacts a
join packages p on p.id = a.package_id');
prepare darkserver_statement from @darkserver_statement;
execute darkserver_statement;
deallocate prepare darkserver_statement;

set @darkserver_tables = (select count(*) from information_schema.tables
    where table_schema = database() and table_name = 'buildid_gnubuildid' and table_type <> 'VIEW');
set @darkserver_statement = if(@darkserver_tables > 0,
    'select ''table buildid_gnubuildid exists and is left alone: it looks like an old darkserver''''s; rename it and run `darkserver-import migrate` to have a view of that name'' as message',
    'create or replace sql security invoker view buildid_gnubuildid as
select
    a.package_id * 4294967296 + a.ordinal as id,
    a.file_name as elfname,
    case when a.dir = '''' then ''/'' else a.dir end as instpath,
    a.build_id as build_id,
    p.nvra as rpm_name,
    p.distro as distro,
    coalesce(p.koji_build, 0) as kojibuildid,
    coalesce(p.koji_instance, '''') as koji_type,
    coalesce(concat(s.base_url, ''/'', l.path), '''') as rpm_url
from artifacts a
join packages p on p.id = a.package_id
-- The best place that it can be had from. As a subquery in the select list it would keep MySQL from using a key.
left join (locations l join stores s on s.id = l.store_id and s.base_url is not null)
    on l.package_id = a.package_id and l.gone_at is null and not exists (
        select 1
        from locations m
        join stores t on t.id = m.store_id
        where m.package_id = l.package_id and m.gone_at is null and t.base_url is not null
            and (field(t.tier, ''local'', ''mirror'', ''koji'', ''archive'', ''retrace''), t.priority, t.name, m.path)
                < (field(s.tier, ''local'', ''mirror'', ''koji'', ''archive'', ''retrace''), s.priority, s.name, l.path))');
prepare darkserver_statement from @darkserver_statement;
execute darkserver_statement;
deallocate prepare darkserver_statement;
