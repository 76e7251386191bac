create or replace sql security invoker view dark_gnubuildid as
select
    f.package_id * 4294967296 + f.ordinal as id,
    substring_index(f.path, '/', -1) as elfname,
    case when f.path like '/%/%' then left(f.path, char_length(f.path) - char_length(substring_index(f.path, '/', -1)) - 1)
        else '/' end as installpath,
    f.build_id as buildid,
    concat(p.name, '-', p.version, '-', p.`release`, '.', p.arch) as rpm_name,
    p.distro as distro
from (
    select g.package_id, g.ordinal, substring_index(g.entry, ' ', 1) as build_id, substr(g.entry, locate(' ', g.entry) + 1) as path
    from (
        -- A file may have several build-ids: the entry is the one whose build-id begins as the row says.
        select e.package_id, e.ordinal, substring_index(substr(e.entries, case locate(e.begins, e.entries)
            when 0 then char_length(e.ordinal) + 4 else locate(e.begins, e.entries) end + 1), char(0 using utf8mb4), 1) as entry
        from (
            select d.package_id, d.ordinal, d.begins, substr(d.list, locate(concat(char(0 using utf8mb4), d.ordinal, ' '), d.list) + 1) as entries
            from (
                select a.package_id, a.ordinal, concat(' ', lower(hex(a.build_id))) as begins,
                    concat(char(0 using utf8mb4), convert(uncompress(m.list) using utf8mb4)) as list
                from artifacts a
                join members m on m.package_id = a.package_id and m.part = a.ordinal >> 7) d) e) g) f
join packages p on p.id = f.package_id
