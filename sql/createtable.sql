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

create table if not exists packages (
    id bigint not null auto_increment primary key,
    format varchar(8) not null comment 'rpm, deb, tar, file, legacy',
    identity varbinary(32) not null,
    identity_kind varchar(8) not null comment 'header: SHA-256 of the main header; file: of the file',
    name varchar(255) not null,
    epoch bigint null,
    version varchar(255) not null,
    `release` varchar(255) not null,
    arch varchar(64) not null,
    nvra varchar(700) not null comment 'name-version-release.arch',
    source_rpm varchar(255) null,
    distro varchar(255) not null,
    koji_instance varchar(64) null,
    koji_build bigint null,
    built_at bigint null comment 'times are seconds since 1970',
    state varchar(8) not null comment 'open: may hold build-ids that are not in artifacts; complete',
    indexed_at bigint not null,
    unique key packages_identity (identity, identity_kind),
    key packages_nvra (nvra),
    key packages_source (source_rpm, arch)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

create table if not exists artifacts (
    build_id varbinary(64) not null,
    kind tinyint not null comment '0 executable, 1 debuginfo',
    package_id bigint not null,
    ordinal bigint not null comment 'number of the file in the header, from 0',
    dwarf tinyint null comment '1 has DWARF, 0 has none, null unknown',
    path varchar(4096) not null,
    primary key (build_id, kind, package_id, ordinal),
    key artifacts_package (package_id)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

create table if not exists stores (
    id bigint not null auto_increment primary key,
    name varchar(255) not null,
    tier varchar(8) not null comment 'local, mirror, koji, archive, retrace',
    base_url varchar(2048) null,
    root varchar(4096) null,
    priority int not null,
    unique key stores_name (name)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

create table if not exists locations (
    store_id bigint not null,
    path_hash varbinary(32) not null comment 'SHA-256 of the path',
    package_id bigint not null,
    path varchar(4096) not null comment 'below the base_url or root of the store',
    size bigint not null,
    mtime_ns bigint null comment 'nanoseconds since 1970',
    header_start bigint null,
    header_end bigint null,
    checksum varbinary(64) null,
    checksum_kind varchar(8) null,
    signing_key varchar(16) null,
    first_seen bigint not null,
    last_seen bigint not null,
    gone_at bigint null,
    primary key (store_id, path_hash, package_id),
    key locations_package (package_id)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

create table if not exists cursors (
    name varchar(255) not null primary key,
    value text not null,
    updated_at bigint not null
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

create table if not exists writers (
    writer varchar(255) not null primary key,
    sequence bigint not null comment 'counted up in every inserting transaction'
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

insert into _sqlx_migrations (version, description, success, checksum, execution_time)
values (1, 'schema', true, x'0626dd631026251916073620a9ea1277253fe4524e855a094abd791bba219078f3c6b9be869e8b5033f22c178bdc07ae', 0)
on duplicate key update version = version;

-- The tables of the original darkserver, as views

set @darkserver_tables = (select count(*) from information_schema.tables
    where table_schema = database() and table_name = 'dark_gnubuildid' and table_type <> 'VIEW');
set @darkserver_statement = if(@darkserver_tables > 0,
    'select ''table dark_gnubuildid exists and is left alone: it looks like an old darkserver''''s; rename it and run `darkserver-import migrate` to have a view of that name'' as message',
    'create or replace sql security invoker view dark_gnubuildid as
select
    a.package_id * 4294967296 + a.ordinal as id,
    substring_index(a.path, ''/'', -1) as elfname,
    case when a.path like ''/%/%'' then left(a.path, char_length(a.path) - char_length(substring_index(a.path, ''/'', -1)) - 1)
        else ''/'' end as installpath,
    lower(hex(a.build_id)) as buildid,
    p.nvra as rpm_name,
    p.distro as distro
from artifacts a
join packages p on p.id = a.package_id
where a.kind = 0 or not exists (
    select 1 from artifacts e
    where e.build_id = a.build_id and e.kind = 0 and e.package_id = a.package_id and e.ordinal = a.ordinal)');
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
    substring_index(a.path, ''/'', -1) as elfname,
    case when a.path like ''/%/%'' then left(a.path, char_length(a.path) - char_length(substring_index(a.path, ''/'', -1)) - 1)
        else ''/'' end as instpath,
    lower(hex(a.build_id)) as build_id,
    p.nvra as rpm_name,
    p.distro as distro,
    coalesce(p.koji_build, 0) as kojibuildid,
    coalesce(p.koji_instance, '''') as koji_type,
    coalesce((
        select concat(s.base_url, ''/'', l.path)
        from locations l
        join stores s on s.id = l.store_id
        where l.package_id = a.package_id and l.gone_at is null and s.base_url is not null
        order by field(s.tier, ''local'', ''mirror'', ''koji'', ''archive'', ''retrace''), s.priority, s.name, l.path
        limit 1), '''') as rpm_url
from artifacts a
join packages p on p.id = a.package_id
where a.kind = 0 or not exists (
    select 1 from artifacts e
    where e.build_id = a.build_id and e.kind = 0 and e.package_id = a.package_id and e.ordinal = a.ordinal)');
prepare darkserver_statement from @darkserver_statement;
execute darkserver_statement;
deallocate prepare darkserver_statement;
