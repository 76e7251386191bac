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
