create or replace sql security invoker view dark_gnubuildid as
select
    a.package_id * 4294967296 + a.ordinal as id,
    a.file_name as elfname,
    case when a.dir = '' then '/' else a.dir end as installpath,
    a.build_id as buildid,
    p.nvra as rpm_name,
    p.distro as distro
from artifacts a
join packages p on p.id = a.package_id
