create or replace sql security invoker view buildid_gnubuildid as
select
    a.package_id * 4294967296 + a.ordinal as id,
    a.file_name as elfname,
    case when a.dir = '' then '/' else a.dir end as instpath,
    a.build_id as build_id,
    p.nvra as rpm_name,
    p.distro as distro,
    coalesce(p.koji_build, 0) as kojibuildid,
    coalesce(p.koji_instance, '') as koji_type,
    coalesce((
        select concat(s.base_url, '/', l.path)
        from locations l
        join stores s on s.id = l.store_id
        where l.package_id = a.package_id and l.gone_at is null and s.base_url is not null
        order by field(s.tier, 'local', 'mirror', 'koji', 'archive', 'retrace'), s.priority, s.name, l.path
        limit 1), '') as rpm_url
from artifacts a
join packages p on p.id = a.package_id
