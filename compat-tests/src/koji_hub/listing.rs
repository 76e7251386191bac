//! `listBuilds`, and options of queries.

use std::cmp::Ordering;

use dxr::Value;

use super::arguments::Arguments;
use super::state::{Build, Map, State, time_text};
use super::wire::HubFault;

/// The parameters of `listBuilds`.
pub(super) const PARAMETERS: [&str; 20] = [
    "packageID",
    "userID",
    "taskID",
    "prefix",
    "state",
    "volumeID",
    "source",
    "createdBefore",
    "createdAfter",
    "completeBefore",
    "completeAfter",
    "type",
    "typeInfo",
    "queryOpts",
    "pattern",
    "cgID",
    "draft",
    "promotedBefore",
    "promotedAfter",
    "promoter",
];

pub(super) fn list_builds(state: &State, arguments: &Arguments) -> Result<Value, HubFault> {
    let not_here = ["packageID", "userID", "taskID", "source", "typeInfo", "pattern", "cgID", "promoter"];
    arguments.refuse(&not_here)?;
    let (wanted, volume) = (arguments.integer("state")?, arguments.integer("volumeID")?);
    let (prefix, draft) = (arguments.text("prefix")?, arguments.boolean("draft")?);
    let is_image = match arguments.text("type")? {
        None => None,
        Some("rpm") => Some(false),
        Some("image") => Some(true),
        Some(other) => return Err(HubFault::generic(format!("unsupported build type: {other}"))),
    };
    let times = [
        ("createdBefore", "createdAfter", (|build: &Build| Some(build.created_at)) as fn(&Build) -> Option<f64>),
        ("completeBefore", "completeAfter", |build| build.completed_at),
        ("promotedBefore", "promotedAfter", |build| build.promoted_at),
    ];
    let mut bounds = Vec::new();
    for (before, after, time) in times {
        bounds.push((time, text_of_time(arguments, before)?, text_of_time(arguments, after)?));
    }
    let is_listed = |build: &&Build| {
        let volume_name = volume.and_then(|id| state.volumes.get(usize::try_from(id).ok()?));
        wanted.is_none_or(|state| i64::from(build.state) == state)
            && volume.is_none_or(|_| volume_name == Some(&build.volume))
            && prefix.is_none_or(|prefix| build.name.to_lowercase().starts_with(&prefix.to_lowercase()))
            && draft.is_none_or(|draft| build.is_draft == draft)
            && is_image.is_none_or(|image| build.is_image == image)
            && bounds.iter().all(|(time, before, after)| {
                // As in a database: a build without the time is in no range.
                let time = time(build).map(time_text);
                let is_before = before.as_ref().is_none_or(|before| time.as_ref().is_some_and(|time| time < before));
                is_before && after.as_ref().is_none_or(|after| time.as_ref().is_some_and(|time| time > after))
            })
    };
    let found: Vec<&Build> = state.builds.values().filter(is_listed).collect();
    match page_of_builds(&found, arguments)? {
        Some(page) => Ok(Value::Array(page.into_iter().map(|build| Value::Struct(state.build_map(build))).collect())),
        None => paged(found.into_iter().map(|build| state.build_map(build)).collect(), arguments),
    }
}

/// The page of `queryOpts` if its order is that of numbers or completion times alone: a map of every build for each
/// page would be slow where there are very many.
fn page_of_builds<'a>(found: &[&'a Build], arguments: &Arguments) -> Result<Option<Vec<&'a Build>>, HubFault> {
    let options = arguments.options("queryOpts")?;
    let Some(order) = options.text("order")? else { return Ok(None) };
    let mut columns = Vec::new();
    for column in order.split(',') {
        let (name, is_descending) = column.strip_prefix('-').map_or((column, false), |name| (name, true));
        let value: fn(&Build) -> f64 = match name {
            "build_id" | "id" => |build| build.id as f64,
            // As in PostgreSQL, nil is after all others.
            "completion_time" | "completion_ts" => |build| build.completed_at.unwrap_or(f64::INFINITY),
            _ => return Ok(None),
        };
        columns.push((value, is_descending));
    }
    if options.boolean("countOnly")?.unwrap_or(false) {
        return Ok(None);
    }
    let mut sorted = found.to_vec();
    sorted.sort_by(|one, other| {
        let by = |(value, is_descending): &(fn(&Build) -> f64, bool)| {
            let order = value(one).total_cmp(&value(other));
            if *is_descending { order.reverse() } else { order }
        };
        columns.iter().map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
    let number =
        |name: &str| options.integer(name).map(|number| number.and_then(|number| usize::try_from(number).ok()));
    let (offset, limit) = (number("offset")?.unwrap_or(0), number("limit")?.unwrap_or(usize::MAX));
    Ok(Some(sorted.into_iter().skip(offset).take(limit).collect()))
}

/// A bound in the format of the results: such texts have the order of times.
fn text_of_time(arguments: &Arguments, name: &str) -> Result<Option<String>, HubFault> {
    Ok(match arguments.get(name) {
        None => None,
        Some(Value::Double(seconds)) => Some(time_text(*seconds)),
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => arguments.integer(name)?.map(|seconds| time_text(seconds as f64)),
    })
}

/// Applies `queryOpts`: countOnly, order, offset, limit.
pub(super) fn paged(mut rows: Vec<Map>, arguments: &Arguments) -> Result<Value, HubFault> {
    let options = arguments.options("queryOpts")?;
    if options.boolean("countOnly")?.unwrap_or(false) {
        return Ok(Value::Integer(i32::try_from(rows.len()).unwrap_or(i32::MAX)));
    }
    if let Some(order) = options.text("order")? {
        let columns: Vec<(&str, bool)> = order
            .split(',')
            .map(|column| column.strip_prefix('-').map_or((column, false), |name| (name, true)))
            .collect();
        if let Some(row) = rows.first()
            && let Some((unknown, _)) = columns.iter().find(|(name, _)| !row.contains_key(*name))
        {
            return Err(HubFault { code: 1, text: format!("<class 'Exception'>: Invalid order: {unknown}") });
        }
        rows.sort_by(|one, other| {
            let by = |(column, is_descending): &(&str, bool)| {
                let order = compare(one.get(*column), other.get(*column));
                if *is_descending { order.reverse() } else { order }
            };
            columns.iter().map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
    }
    let number =
        |name: &str| options.integer(name).map(|number| number.and_then(|number| usize::try_from(number).ok()));
    let (offset, limit) = (number("offset")?.unwrap_or(0), number("limit")?.unwrap_or(usize::MAX));
    Ok(Value::Array(rows.into_iter().skip(offset).take(limit).map(Value::Struct).collect()))
}

/// The order of values of one column. As in PostgreSQL, nil is after all others.
fn compare(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    let number = |value: &Value| match value {
        Value::Integer(value) => Some(f64::from(*value)),
        Value::Long(value) => Some(*value as f64),
        Value::Double(value) => Some(*value),
        Value::Boolean(value) => Some(f64::from(u8::from(*value))),
        _ => None,
    };
    match (one.unwrap_or(&Value::Nil), other.unwrap_or(&Value::Nil)) {
        (Value::Nil, Value::Nil) => Ordering::Equal,
        (Value::Nil, _) => Ordering::Greater,
        (_, Value::Nil) => Ordering::Less,
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (one, other) => number(one).unwrap_or_default().total_cmp(&number(other).unwrap_or_default()),
    }
}
