-- The tables of darkserver, for MySQL and MariaDB:
--     mysql -u user -p -D database < createtable.sql
-- or, the same: darkserver-import migrate
-- Made by `cargo run -p sql --example createtable`: change the migrations, not this file.

set names utf8mb4 collate utf8mb4_bin;

-- A server that cannot compress a table makes a plain one. MySQL reads this as a comment: it wants a right for it.
/*M! set session innodb_strict_mode = off */;

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
    id int not null auto_increment primary key,
    format varchar(8) not null comment 'rpm, deb, tar, file, legacy',
    identity binary(32) not null,
    identity_kind tinyint not null comment '0 SHA-256 of the main header, 1 SHA-256 of the file',
    name varchar(255) not null,
    epoch bigint null,
    version varchar(255) not null,
    `release` varchar(255) not null,
    arch varchar(64) not null,
    source varchar(255) null comment 'file name of the source package; NAME- is NAME-VERSION-RELEASE.src.rpm',
    distro varchar(255) not null,
    koji_instance varchar(64) null,
    koji_build bigint null,
    built_at bigint null comment 'times are seconds since 1970',
    state tinyint not null comment '0 complete, 1 open: may hold build-ids that are not in artifacts',
    indexed_at bigint not null,
    nvra_crc int unsigned not null comment 'crc32(concat(name, ''-'', version, ''-'', release, ''.'', arch))',
    source_crc int unsigned null comment 'crc32 of the whole file name of the source package',
    unique key packages_identity (identity(16)),
    key packages_nvra (nvra_crc),
    key packages_source (source_crc)
) engine = InnoDB row_format = compressed key_block_size = 8 default character set utf8mb4 collate utf8mb4_bin;

-- Which files have a build-id. What else is known of them is in members.
create table if not exists artifacts (
    build_id binary(4) not null comment 'its first four bytes: left(build_id, 4); members has all',
    package_id int not null,
    ordinal mediumint not null comment 'number of the file in the header, from 0',
    primary key (build_id, package_id, ordinal)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

create table if not exists members (
    package_id int not null,
    part int not null comment 'ordinal >> 7',
    list mediumblob not null comment 'uncompress(list) has, for each artifact: ORDINAL KIND BUILD_ID PATH and a NUL; docs/architecture.md',
    primary key (package_id, part)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

create table if not exists stores (
    id int not null auto_increment primary key,
    name varchar(255) not null,
    tier varchar(8) not null comment 'local, mirror, koji, archive, retrace',
    base_url varchar(2048) null,
    root varchar(4096) null,
    priority int not null,
    unique key stores_name (name)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

create table if not exists locations (
    package_id int not null,
    store_id int not null,
    path_hash binary(8) not null comment 'the first bytes of the SHA-256 of the whole path',
    path varchar(4096) not null comment 'below the base_url or root of the store; FOLDER/ is FOLDER/NVRA.rpm',
    size bigint not null,
    mtime_ns bigint null comment 'nanoseconds since 1970',
    header_start int null,
    header_end int null,
    checksum varbinary(64) null,
    checksum_kind varchar(8) null,
    signing_key varchar(16) null,
    first_seen bigint not null,
    last_seen bigint not null,
    gone_at bigint null,
    primary key (package_id, store_id, path_hash),
    key locations_path (store_id, path_hash)
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
values (1, 'schema', true, x'53b40ab85fb2fc8d4c2734421263c486967b2868265d29ebe5e10af5147d32f76402623daade4ec69d7bf177136eb818', 0)
on duplicate key update version = version;

-- Version 2

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
values (2, 'changes', true, x'bb5d4565fbcf681820a701fb22ed86201a49441182d2ff364c80814ab4f063edbf843ed2aa947e4340a3886f360e45c4', 0)
on duplicate key update version = version;

-- Version 3

-- Which packages have files with a build-id whose names begin so: answers questions about paths. One row has all such packages of one
-- transaction. Too many do no harm, what they promise is looked up in members.
create table if not exists file_names (
    name binary(4) not null comment 'the first four bytes of the last part of the path, without a lib before them, filled up with zeros',
    package_id int not null comment 'the first of the packages',
    batch int unsigned not null comment 'random, for each transaction',
    more varbinary(1280) not null comment 'the other packages, in ascending order: differences, in groups of seven bits, LEB128',
    primary key (name, package_id, batch)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

-- Up to which package file_names was filled; all: every writer fills it; off: nobody does.
insert ignore into cursors (name, value, updated_at)
select 'file_names', case when exists (select * from packages) then '0' else 'all' end, unix_timestamp();

insert into _sqlx_migrations (version, description, success, checksum, execution_time)
values (3, 'file names', true, x'2b5cd81432a2287c0bd48a287a735ace0ad8d67a67d569f3a532fdee0d1feddba2b3c1661cf5886edcd472f88ef9c184', 0)
on duplicate key update version = version;

-- The tables of the original darkserver, as views

set @darkserver_tables = (select count(*) from information_schema.tables
    where table_schema = database() and table_name = 'dark_gnubuildid' and table_type <> 'VIEW');
set @darkserver_statement = if(@darkserver_tables > 0,
    'select ''table dark_gnubuildid exists and is left alone: it looks like an old darkserver''''s; rename it and run `darkserver-import migrate` to have a view of that name'' as message',
    'create or replace sql security invoker view dark_gnubuildid as
select
    f.package_id * 4294967296 + f.ordinal as id,
    substring_index(f.path, ''/'', -1) as elfname,
    case when f.path like ''/%/%'' then left(f.path, char_length(f.path) - char_length(substring_index(f.path, ''/'', -1)) - 1)
        else ''/'' end as installpath,
    f.build_id as buildid,
    concat(p.name, ''-'', p.version, ''-'', p.`release`, ''.'', p.arch) as rpm_name,
    p.distro as distro
from (
    select g.package_id, g.ordinal, substring_index(g.entry, '' '', 1) as build_id, substr(g.entry, locate('' '', g.entry) + 1) as path
    from (
        -- A file may have several build-ids: the entry is the one whose build-id begins as the row says.
        select e.package_id, e.ordinal, substring_index(substr(e.entries, case locate(e.begins, e.entries)
            when 0 then char_length(e.ordinal) + 4 else locate(e.begins, e.entries) end + 1), char(0 using utf8mb4), 1) as entry
        from (
            select d.package_id, d.ordinal, d.begins, substr(d.list, locate(concat(char(0 using utf8mb4), d.ordinal, '' ''), d.list) + 1) as entries
            from (
                select a.package_id, a.ordinal, concat('' '', lower(hex(a.build_id))) as begins,
                    concat(char(0 using utf8mb4), convert(uncompress(m.list) using utf8mb4)) as list
                from artifacts a
                join members m on m.package_id = a.package_id and m.part = a.ordinal >> 7) d) e) g) f
join packages p on p.id = f.package_id');
prepare darkserver_statement from @darkserver_statement;
execute darkserver_statement;
deallocate prepare darkserver_statement;

set @darkserver_tables = (select count(*) from information_schema.tables
    where table_schema = database() and table_name = 'buildid_gnubuildid' and table_type <> 'VIEW');
set @darkserver_statement = if(@darkserver_tables > 0,
    'select ''table buildid_gnubuildid exists and is left alone: it looks like an old darkserver''''s; rename it and run `darkserver-import migrate` to have a view of that name'' as message',
    'create or replace sql security invoker view buildid_gnubuildid as
select
    f.package_id * 4294967296 + f.ordinal as id,
    substring_index(f.path, ''/'', -1) as elfname,
    case when f.path like ''/%/%'' then left(f.path, char_length(f.path) - char_length(substring_index(f.path, ''/'', -1)) - 1)
        else ''/'' end as instpath,
    f.build_id as build_id,
    concat(p.name, ''-'', p.version, ''-'', p.`release`, ''.'', p.arch) as rpm_name,
    p.distro as distro,
    coalesce(p.koji_build, 0) as kojibuildid,
    coalesce(p.koji_instance, '''') as koji_type,
    coalesce((
        select concat(s.base_url, ''/'', l.path, case when l.path = '''' or l.path like ''%/''
            then concat(p.name, ''-'', p.version, ''-'', p.`release`, ''.'', p.arch, ''.rpm'') else '''' end)
        from locations l
        join stores s on s.id = l.store_id
        where l.package_id = f.package_id and l.gone_at is null and s.base_url is not null
        order by field(s.tier, ''local'', ''mirror'', ''koji'', ''archive'', ''retrace''), s.priority, s.name, l.path
        limit 1), '''') as rpm_url
from (
    select g.package_id, g.ordinal, substring_index(g.entry, '' '', 1) as build_id, substr(g.entry, locate('' '', g.entry) + 1) as path
    from (
        -- A file may have several build-ids: the entry is the one whose build-id begins as the row says.
        select e.package_id, e.ordinal, substring_index(substr(e.entries, case locate(e.begins, e.entries)
            when 0 then char_length(e.ordinal) + 4 else locate(e.begins, e.entries) end + 1), char(0 using utf8mb4), 1) as entry
        from (
            select d.package_id, d.ordinal, d.begins, substr(d.list, locate(concat(char(0 using utf8mb4), d.ordinal, '' ''), d.list) + 1) as entries
            from (
                select a.package_id, a.ordinal, concat('' '', lower(hex(a.build_id))) as begins,
                    concat(char(0 using utf8mb4), convert(uncompress(m.list) using utf8mb4)) as list
                from artifacts a
                join members m on m.package_id = a.package_id and m.part = a.ordinal >> 7) d) e) g) f
join packages p on p.id = f.package_id');
prepare darkserver_statement from @darkserver_statement;
execute darkserver_statement;
deallocate prepare darkserver_statement;
