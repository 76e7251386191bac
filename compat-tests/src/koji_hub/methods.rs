//! The methods of the hub.

use dxr::Value;

use super::arguments::Arguments;
use super::listing;
use super::rpm_file;
use super::server::Shared;
use super::state::{Build, Map, State, int, map, text};
use super::wire::HubFault;

/// Names and parameters of the methods.
const METHODS: [(&str, &[&str]); 10] = [
    ("getAPIVersion", &[]),
    ("getBuild", &["buildInfo", "strict"]),
    ("getKojiVersion", &[]),
    ("getRPMHeaders", &["rpmID", "taskID", "filepath", "headers", "strict"]),
    ("listBuildRPMs", &["build"]),
    ("listBuilds", &listing::PARAMETERS),
    (
        "listRPMs",
        &["buildID", "buildrootID", "imageID", "componentBuildrootID", "hostID", "arches", "queryOpts", "draft"],
    ),
    ("multiCall", &["calls"]),
    ("queryRPMSigs", &["rpm_id", "sigkey", "queryOpts"]),
    ("system.listMethods", &[]),
];

/// Calls a method.
pub(super) fn call(shared: &Shared, method: &str, params: Vec<Value>) -> Result<Value, HubFault> {
    *shared.calls.lock().unwrap().entry(method.to_owned()).or_default() += 1;
    let Some((_, parameters)) = METHODS.iter().find(|(name, _)| *name == method) else {
        return Err(HubFault::generic(format!("Invalid method: {method}")));
    };
    let arguments = Arguments::read(method, parameters, params)?;
    if method == "multiCall" {
        return multi_call(shared, &arguments);
    }
    let state = &mut *shared.state.lock().unwrap();
    match method {
        "getAPIVersion" => Ok(Value::Integer(1)),
        "getKojiVersion" => Ok(text(super::server::KOJI_VERSION)),
        "system.listMethods" => Ok(Value::Array(METHODS.iter().map(|(name, _)| text(name)).collect())),
        "getBuild" => {
            let strict = arguments.boolean("strict")?.unwrap_or(false);
            let found = find_build(state, arguments.get("buildInfo"))?;
            match found {
                Some(build) => Ok(Value::Struct(state.build_map(build))),
                None if strict => Err(no_build(arguments.get("buildInfo"))),
                None => Ok(Value::Nil),
            }
        }
        "listBuilds" => listing::list_builds(state, &arguments),
        "listBuildRPMs" => {
            let build = find_build(state, arguments.get("build"))?;
            let build = build.ok_or_else(|| no_build(arguments.get("build")))?;
            Ok(Value::Array(rpm_maps(state, build).map(Value::Struct).collect()))
        }
        "listRPMs" => list_rpms(state, &arguments),
        "queryRPMSigs" => query_signatures(state, &arguments),
        _ => headers(state, &arguments),
    }
}

/// Runs calls one after another. One that fails does not stop the others.
fn multi_call(shared: &Shared, arguments: &Arguments) -> Result<Value, HubFault> {
    let Some(Value::Array(calls)) = arguments.get("calls") else {
        return Err(HubFault::parameter("multiCall: expected an array of calls"));
    };
    let one = |one: &Value| {
        let Value::Struct(members) = one else { return Err(HubFault::parameter("expected a struct as a call")) };
        match (members.get("methodName"), members.get("params")) {
            (Some(Value::String(method)), Some(Value::Array(params))) => call(shared, method, params.clone()),
            _ => Err(HubFault::parameter("expected methodName and params in a call")),
        }
    };
    let results = calls.iter().map(|value| match one(value) {
        Ok(value) => Value::Array(vec![value]),
        Err(fault) => Value::Struct(map([
            ("faultCode", Value::Integer(fault.code)),
            ("faultString", text(&fault.text)),
            ("traceback", Value::Array(vec![text("Traceback (most recent call last):\n")])),
        ])),
    });
    Ok(Value::Array(results.collect()))
}

fn no_build(asked: Option<&Value>) -> HubFault {
    let asked = match asked {
        Some(Value::String(nvr)) => format!("'{nvr}'"),
        Some(Value::Integer(id)) => id.to_string(),
        Some(Value::Long(id)) => id.to_string(),
        other => format!("{other:?}"),
    };
    HubFault::generic(format!("No such build: {asked}"))
}

/// Finds a build by its id, its NVR, or a map of name, version and release.
fn find_build<'s>(state: &'s State, asked: Option<&Value>) -> Result<Option<&'s Build>, HubFault> {
    let by_nvr = |nvr: &str| state.builds.values().find(|build| build.nvr() == nvr);
    match asked {
        Some(Value::Integer(id)) => Ok(state.builds.get(&i64::from(*id))),
        Some(Value::Long(id)) => Ok(state.builds.get(id)),
        Some(Value::String(nvr)) => Ok(by_nvr(nvr)),
        Some(Value::Struct(members)) => {
            let part = |name: &str| match members.get(name) {
                Some(Value::String(part)) => Ok(part.as_str()),
                _ => Err(HubFault::generic(format!("did not provide {name} of a build"))),
            };
            if let Some(id) = members.get("id") {
                return find_build(state, Some(id));
            }
            Ok(by_nvr(&format!("{}-{}-{}", part("name")?, part("version")?, part("release")?)))
        }
        _ => Err(HubFault::parameter("Invalid type for buildInfo")),
    }
}

fn rpm_maps<'s>(state: &'s State, build: &'s Build) -> impl Iterator<Item = Map> + 's {
    build.rpms.iter().map(|rpm| state.rpm_map(state.rpm(*rpm)))
}

fn list_rpms(state: &State, arguments: &Arguments) -> Result<Value, HubFault> {
    arguments.refuse(&["buildrootID", "imageID", "componentBuildrootID", "hostID"])?;
    let Some(id) = arguments.integer("buildID")? else {
        return Err(HubFault::parameter("listRPMs: expected a buildID"));
    };
    let (arches, draft) = (arguments.texts("arches")?, arguments.boolean("draft")?);
    let maps = state.builds.get(&id).into_iter().flat_map(|build| rpm_maps(state, build));
    let maps = maps.filter(|rpm| {
        let has_arch =
            arches.as_ref().is_none_or(|arches| arches.iter().any(|arch| rpm.get("arch") == Some(&text(arch))));
        has_arch && draft.is_none_or(|draft| rpm.get("draft") == Some(&Value::Boolean(draft)))
    });
    listing::paged(maps.collect(), arguments)
}

fn query_signatures(state: &State, arguments: &Arguments) -> Result<Value, HubFault> {
    let (id, key) = (arguments.integer("rpm_id")?, arguments.text("sigkey")?);
    let rpms = state.rpms.values().filter(|rpm| id.is_none_or(|id| rpm.id == id));
    let rows = rpms.flat_map(|rpm| rpm.signatures.iter().map(move |(key, hash)| (rpm.id, key, hash)));
    let rows = rows.filter(|(_, found, _)| key.is_none_or(|key| *found == key));
    let maps = rows.map(|(id, key, hash)| map([("rpm_id", int(id)), ("sigkey", text(key)), ("sighash", text(hash))]));
    listing::paged(maps.collect(), arguments)
}

fn headers(state: &mut State, arguments: &Arguments) -> Result<Value, HubFault> {
    arguments.refuse(&["taskID", "filepath"])?;
    let (tags, strict) =
        (arguments.texts("headers")?.unwrap_or_default(), arguments.boolean("strict")?.unwrap_or(false));
    let id = match arguments.get("rpmID") {
        Some(Value::String(nvra)) => state.rpms.values().find(|rpm| rpm.nvra() == *nvra).map(|rpm| rpm.id),
        _ => arguments.integer("rpmID")?,
    };
    if let Some(unknown) = tags.iter().find(|tag| !rpm_file::is_known(&tag.to_uppercase())) {
        return Err(HubFault::generic(format!("No such rpm header field: {unknown}")));
    }
    let upper: Vec<String> = tags.iter().map(|tag| tag.to_uppercase()).collect();
    match id.and_then(|id| state.header(id, &upper)) {
        Some(values) => Ok(Value::Struct(tags.into_iter().zip(values).collect())),
        None if strict => Err(HubFault::generic("Missing rpm file")),
        None => Ok(Value::Struct(Map::new())),
    }
}
