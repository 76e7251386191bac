create or replace sql security invoker view dark_gnubuildid as
select
    a.package_id * 4294967296 + a.ordinal as id,
    substring_index(a.path, '/', -1) as elfname,
    case when a.path like '/%/%' then left(a.path, char_length(a.path) - char_length(substring_index(a.path, '/', -1)) - 1)
        else '/' end as installpath,
    lower(hex(a.build_id)) as buildid,
    p.nvra as rpm_name,
    p.distro as distro
from artifacts a
join packages p on p.id = a.package_id
where a.kind = 0 or not exists (
    select 1 from artifacts e
    where e.build_id = a.build_id and e.kind = 0 and e.package_id = a.package_id and e.ordinal = a.ordinal)
