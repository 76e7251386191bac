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
    coalesce(concat(s.base_url, '/', l.path), '') as rpm_url
from artifacts a
join packages p on p.id = a.package_id
-- The best place that it can be had from. As a subquery in the select list it would keep MySQL from using a key.
left join (locations l join stores s on s.id = l.store_id and s.base_url is not null)
    on l.package_id = a.package_id and l.gone_at is null and not exists (
        select 1
        from locations m
        join stores t on t.id = m.store_id
        where m.package_id = l.package_id and m.gone_at is null and t.base_url is not null
            and (field(t.tier, 'local', 'mirror', 'koji', 'archive', 'retrace'), t.priority, t.name, m.path)
                < (field(s.tier, 'local', 'mirror', 'koji', 'archive', 'retrace'), s.priority, s.name, l.path))
