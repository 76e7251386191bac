create or replace sql security invoker view buildid_gnubuildid as
select
    a.package_id * 4294967296 + a.ordinal as id,
    substring_index(a.path, '/', -1) as elfname,
    case when a.path like '/%/%' then left(a.path, char_length(a.path) - char_length(substring_index(a.path, '/', -1)) - 1)
        else '/' end as instpath,
    lower(hex(a.build_id)) as build_id,
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
where a.kind = 0 or not exists (
    select 1 from artifacts e
    where e.build_id = a.build_id and e.kind = 0 and e.package_id = a.package_id and e.ordinal = a.ordinal)
