//! Answers of Koji's methods, as they are on the wire, and others.

use super::super::xmlrpc::read_answer;
use super::*;

/// A struct as Koji writes it.
fn structure(members: &[(&str, &str)]) -> String {
    let member =
        |(name, value): &(&str, &str)| format!("<member>\n<name>{name}</name>\n<value>{value}</value>\n</member>\n");
    format!("<value><struct>\n{}</struct></value>\n", members.iter().map(member).collect::<String>())
}

fn value(xml: &str) -> Value {
    let answer = format!(
        "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n{xml}</param>\n</params>\n</methodResponse>\n"
    );
    read_answer(answer.as_bytes()).unwrap().unwrap()
}

/// Members of a build, of `getBuild`.
const BUILD: [(&str, &str); 24] = [
    ("build_id", "<int>2900001</int>"),
    ("cg_id", "<nil/>"),
    ("cg_name", "<nil/>"),
    ("completion_time", "<string>2026-05-04 10:20:00.000001</string>"),
    ("completion_ts", "<double>1777890000.000001</double>"),
    ("creation_event_id", "<i8>5000000001</i8>"),
    ("creation_time", "<string>2026-05-04 10:11:12.131415</string>"),
    ("creation_ts", "<double>1777889472.131415</double>"),
    ("draft", "<boolean>0</boolean>"),
    ("epoch", "<nil/>"),
    ("extra", "<struct>\n<member>\n<name>source</name>\n<value><struct>\n</struct></value>\n</member>\n</struct>"),
    ("id", "<int>2900001</int>"),
    ("name", "<string>hello</string>"),
    ("nvr", "<string>hello-2.12.1-5.fc44</string>"),
    ("owner_id", "<int>4</int>"),
    ("owner_name", "<string>somebody</string>"),
    ("package_name", "<string>hello</string>"),
    ("release", "<string>5.fc44</string>"),
    ("source", "<string>git+https://src.fedoraproject.org/rpms/hello.git#0123abcd</string>"),
    ("state", "<int>1</int>"),
    ("task_id", "<int>140000001</int>"),
    ("version", "<string>2.12.1</string>"),
    ("volume_id", "<int>0</int>"),
    ("volume_name", "<string>DEFAULT</string>"),
];

/// Members of an RPM, of `listBuildRPMs`.
const RPM: [(&str, &str); 18] = [
    ("arch", "<string>x86_64</string>"),
    ("build_id", "<int>2900001</int>"),
    ("buildroot_id", "<int>50000001</int>"),
    ("buildtime", "<int>1777890000</int>"),
    ("draft", "<boolean>0</boolean>"),
    ("epoch", "<nil/>"),
    ("external_repo_id", "<int>0</int>"),
    ("external_repo_name", "<string>INTERNAL</string>"),
    ("extra", "<nil/>"),
    ("id", "<int>45000001</int>"),
    ("metadata_only", "<boolean>0</boolean>"),
    ("name", "<string>hello-debuginfo</string>"),
    ("nvr", "<string>hello-debuginfo-2.12.1-5.fc44</string>"),
    ("payloadhash", "<string>0123456789ABCDEF0123456789abcdef</string>"),
    ("release", "<string>5.fc44</string>"),
    ("size", "<i8>4294967296</i8>"),
    ("version", "<string>2.12.1</string>"),
    ("rpm_id", "<int>45000001</int>"),
];

/// The members with another value of one of them, or without it.
fn with<'v>(members: &[(&'v str, &'v str)], name: &'v str, value: Option<&'v str>) -> Value {
    let mut members: Vec<_> = members.iter().copied().filter(|(found, _)| *found != name).collect();
    members.extend(value.map(|value| (name, value)));
    self::value(&structure(&members))
}

#[test]
fn a_build_is_read() {
    let build = read_build(&value(&structure(&BUILD))).unwrap().unwrap();
    let expected = HubBuild {
        id: 2_900_001,
        name: "hello".into(),
        version: "2.12.1".into(),
        release: "5.fc44".into(),
        epoch: None,
        state: BuildState::Complete,
        is_draft: false,
        volume: "DEFAULT".into(),
        completion_time: Some(1_777_890_000.000_001),
    };
    assert_eq!((build.nvr(), build), ("hello-2.12.1-5.fc44".into(), expected));
    assert_eq!(read_build(&value("<value><nil/></value>\n")), Ok(None));
}

#[test]
fn members_of_a_build_that_are_not_needed_can_be_missing_or_of_another_type() {
    let read = |name, value| read_build(&with(&BUILD, name, value)).unwrap().unwrap();
    let whole = read("extra", None);
    for missing in ["build_id", "id", "name", "package_name", "draft", "epoch", "volume_name"] {
        assert_eq!(read(missing, None), whole, "{missing}");
    }
    for (name, value) in
        [("draft", "<int>0</int>"), ("draft", "<nil/>"), ("volume_name", "<nil/>"), ("state", "<i8>1</i8>")]
    {
        assert_eq!(read(name, Some(value)), whole, "{name} {value}");
    }
    for (value, epoch) in [("<int>1</int>", 1), ("<i8>1</i8>", 1), ("<string>1</string>", 1)] {
        assert_eq!(read("epoch", Some(value)).epoch, Some(epoch), "{value}");
    }
    assert_eq!(read("completion_ts", Some("<nil/>")).completion_time, None);
    assert_eq!(read("completion_ts", Some("<int>17</int>")).completion_time, Some(17.0));
    let draft = read("draft", Some("<boolean>1</boolean>"));
    assert!(draft.is_draft);
    for (value, state, code) in [
        ("<int>0</int>", BuildState::Building, 0),
        ("<int>2</int>", BuildState::Deleted, 2),
        ("<int>3</int>", BuildState::Failed, 3),
        ("<int>4</int>", BuildState::Canceled, 4),
    ] {
        let found = read("state", Some(value)).state;
        assert_eq!((found, state_code(found)), (state, code));
    }
}

#[test]
fn members_of_a_build_that_are_needed_have_to_be_there() {
    for (name, value, expected) in [
        ("version", None, "build: expected a text as version, found none"),
        ("release", Some("<nil/>"), "build: expected a text as release, found nil"),
        ("name", Some("<int>1</int>"), "build: expected a text as name, found an int"),
        ("state", None, "build: expected an integer as state, found none"),
        ("state", Some("<int>9</int>"), "build 2900001: expected a state from 0 to 4, found 9"),
        ("build_id", Some("<string>x</string>"), "build: expected an integer as build_id, found a string"),
        ("completion_ts", Some("<string>x</string>"), "build: expected a number as completion_ts, found a string"),
        ("draft", Some("<string>x</string>"), "build: expected a boolean as draft, found a string"),
    ] {
        assert_eq!(read_build(&with(&BUILD, name, value)).unwrap_err(), expected);
    }
    assert_eq!(read_build(&Value::Array(Vec::new())).unwrap_err(), "build: expected a struct, found an array");
}

#[test]
fn an_rpm_is_read() {
    let expected = HubRpm {
        id: 45_000_001,
        build: 2_900_001,
        nevra: "hello-debuginfo-2.12.1-5.fc44.x86_64".parse().unwrap(),
        size: Some(1 << 32),
        payload_hash: Some("0123456789abcdef0123456789abcdef".into()),
        is_metadata_only: false,
        is_external: false,
    };
    assert_eq!(read_rpm(7, &value(&structure(&RPM))).unwrap(), expected);
    let read = |name, value| read_rpm(7, &with(&RPM, name, value)).unwrap();
    assert_eq!(read("build_id", None).build, 7);
    assert!(read("external_repo_id", Some("<int>3</int>")).is_external);
    assert!(read("metadata_only", Some("<boolean>1</boolean>")).is_metadata_only);
    for missing in ["external_repo_id", "metadata_only"] {
        assert_eq!(read(missing, None), expected, "{missing}");
    }
    assert_eq!(read("size", Some("<nil/>")).size, None);
    assert_eq!(read("payloadhash", Some("<nil/>")).payload_hash, None);
    assert_eq!(read("epoch", Some("<int>2</int>")).nevra.epoch, Some(2));
    for (name, value, expected) in [
        ("id", None, "rpm: expected an integer as id, found none"),
        ("arch", Some("<string>../x</string>"), "rpm 45000001: "),
        ("name", Some("<string>a/b</string>"), "rpm 45000001: "),
        ("epoch", Some("<int>-1</int>"), "rpm 45000001: expected an epoch of at most 4294967295, found another one"),
    ] {
        let found = read_rpm(7, &with(&RPM, name, value)).unwrap_err();
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn keys_of_signatures_are_hex_in_lower_case() {
    let signature =
        |key: &str| structure(&[("rpm_id", "<int>1</int>"), ("sigkey", key), ("sighash", "<string>x</string>")]);
    let array = |values: &str| value(&format!("<value><array><data>\n{values}</data></array></value>\n"));
    let keys = ["<string>6D9F90A6</string>", "<string></string>", "<string>34ec9cba</string>", "<string>../x</string>"];
    let values: String = keys.into_iter().map(signature).collect();
    assert_eq!(read_keys(&array(&values)).unwrap(), ["34ec9cba", "6d9f90a6"]);
    assert_eq!(read_keys(&array("")).unwrap(), [""; 0]);
    assert_eq!(read_keys(&Value::Nil).unwrap_err(), "signatures: expected an array, found nil");
    let found = read_keys(&array(&signature("<nil/>"))).unwrap_err();
    assert_eq!(found, "signature: expected a text as sigkey, found nil");
}

#[test]
fn links_of_a_header_are_those_of_build_ids() {
    let array = |texts: &[&str]| {
        let texts: String = texts.iter().map(|text| format!("<value><string>{text}</string></value>\n")).collect();
        format!("<array><data>\n{texts}</data></array>")
    };
    let id = "/usr/lib/.build-id/ab/cdef0123456789abcdef0123456789abcdef01";
    let paths = array(&["/usr/bin/hello", "/usr/lib/.build-id", "/usr/lib/.build-id/ab", id, "/usr/share/x"]);
    let targets = array(&["", "", "", "../../../../usr/bin/hello", "y"]);
    let header = |paths: &str, targets: &str| {
        value(&structure(&[
            ("BUILDTIME", "<int>1777890000</int>"),
            ("FILELINKTOS", targets),
            ("FILENAMES", paths),
            ("SOURCERPM", "<string>hello-2.12.1-5.fc44.src.rpm</string>"),
        ]))
    };
    let read = read_header(&header(&paths, &targets)).unwrap().unwrap();
    let expected = HubHeader {
        source_rpm: Some("hello-2.12.1-5.fc44.src.rpm".into()),
        built_at: Some(1_777_890_000),
        links: vec![HubLink { path: id.into(), target: "../../../../usr/bin/hello".into() }],
    };
    assert_eq!(read, expected);
    assert_eq!(read_header(&value("<value><struct>\n</struct></value>\n")), Ok(None), "no file");
    let empty = read_header(&header(&array(&[]), &array(&[]))).unwrap().unwrap();
    assert_eq!(empty.links, []);
    assert_eq!(read_header(&header(&array(&["/a"]), &array(&[]))).unwrap().unwrap().links, [], "no link at all");
    let found = read_header(&header(&paths, &array(&["", "x"]))).unwrap_err();
    assert_eq!(found, "header: expected 5 FILELINKTOS, one for each of FILENAMES, found 2");
    let found = read_header(&value(&structure(&[("SOURCERPM", "<nil/>")]))).unwrap_err();
    assert_eq!(found, "header: expected a value as FILENAMES, found none");
    let found = read_header(&header("<string>/a</string>", "<string></string>")).unwrap_err();
    assert_eq!(found, "header: expected an array as FILENAMES, found a string");
}
