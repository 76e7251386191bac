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
    select e.package_id, e.ordinal, substring_index(substr(e.entry, 4), ' ', 1) as build_id, substr(e.entry, locate(' ', e.entry, 4) + 1) as path
    from (
        select a.package_id, a.ordinal, substring_index(substring_index(
            concat(char(0 using utf8mb4), convert(uncompress(m.list) using utf8mb4)), concat(char(0 using utf8mb4), a.ordinal, ' '), -1), char(0 using utf8mb4), 1) as entry
        from artifacts a
        join members m on m.package_id = a.package_id and m.part = a.ordinal >> 7) e) f
join packages p on p.id = f.package_id
