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
