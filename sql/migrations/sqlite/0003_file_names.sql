-- Which packages have files with a build-id whose names begin so: answers questions about paths. One row has all such packages of one
-- transaction. Too many do no harm, what they promise is looked up in members.
create table file_names (
    name blob not null, -- the first four bytes of the last part of the path, without a lib before them, filled up with zeros
    package_id integer not null, -- the first of the packages
    batch integer not null, -- random, for each transaction
    more blob not null, -- the other packages, in ascending order: differences, in groups of seven bits, LEB128
    primary key (name, package_id, batch)
) without rowid;

-- Up to which package file_names was filled; all: every writer fills it; off: nobody does.
insert into cursors (name, value, updated_at)
select 'file_names', case when exists (select * from packages) then '0' else 'all' end, cast(strftime('%s', 'now') as integer);
