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
