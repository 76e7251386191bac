//! Calls and answers as they are on the wire.

use super::*;

/// An answer as Koji writes it: a line for each tag of a struct.
fn response(value: &str) -> String {
    format!(
        "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n{value}</param>\n</params>\n</methodResponse>\n"
    )
}

fn result(value: &str) -> Value {
    read_answer(response(value).as_bytes()).unwrap().unwrap()
}

fn wrong(body: &[u8]) -> String {
    match read_answer(body) {
        Err(AnswerError::Wrong(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keyword_arguments_are_a_struct_behind_the_others() {
    let options =
        BTreeMap::from([("limit".to_owned(), int(1000)), ("order".to_owned(), Value::String("build_id".into()))]);
    let call = Call::new("listBuilds", [])
        .keyword("state", int(1))
        .keyword("completeAfter", Value::Double(1_790_000_000.25))
        .keyword("queryOpts", Value::Struct(options));
    let member = |name: &str, value: &str| format!("<member><name>{name}</name><value>{value}</value></member>");
    let options = member("limit", "<i4>1000</i4>") + &member("order", "<string>build_id</string>");
    let members = member("__starstar", "<boolean>1</boolean>")
        + &member("completeAfter", "<double>1790000000.25</double>")
        + &member("queryOpts", &format!("<struct>{options}</struct>"))
        + &member("state", "<i4>1</i4>");
    assert_eq!(
        call.to_xml().unwrap(),
        format!(
            "<methodCall><methodName>listBuilds</methodName><params><param><value><struct>{members}</struct></value>\
             </param></params></methodCall>"
        )
    );
}

#[test]
fn one_call_runs_several() {
    let calls = [
        Call::new("getBuild", [int(1 << 40)]),
        Call::new("queryRPMSigs", []).keyword("rpm_id", int(7)),
        Call::new("getBuild", [Value::String("a<b&c-1-1".into())]),
    ];
    let call = |method: &str, param: &str| {
        format!(
            "<value><struct><member><name>methodName</name><value><string>{method}</string></value></member><member>\
             <name>params</name><value><array><data><value>{param}</value></data></array></value></member></struct>\
             </value>"
        )
    };
    let keywords = "<struct><member><name>__starstar</name><value><boolean>1</boolean></value></member><member>\
                    <name>rpm_id</name><value><i4>7</i4></value></member></struct>";
    let calls_as_xml = call("getBuild", "<i8>1099511627776</i8>")
        + &call("queryRPMSigs", keywords)
        + &call("getBuild", "<string>a&lt;b&amp;c-1-1</string>");
    assert_eq!(
        Call::multi(&calls).unwrap().to_xml().unwrap(),
        format!(
            "<methodCall><methodName>multiCall</methodName><params><param><value><array><data>{calls_as_xml}</data>\
             </array></value></param></params></methodCall>"
        )
    );
}

#[test]
fn every_type_of_value_is_read() {
    let data = "<value><int>-7</int></value>\n<value><i4>8</i4></value>\n<value><i8>4294967296</i8></value>\n\
                <value><nil/></value>\n<value><boolean>1</boolean></value>\n<value><double>1790000000.123456</double>\
                </value>\n<value><string>a &lt;b&gt; &amp; ü\n</string></value>\n<value><string></string></value>\n\
                <value>bare</value>\n<value><array><data>\n</data></array></value>\n<value><struct>\n\
                </struct></value>\n<value><base64>\naGVs\nbG8=\n</base64></value>\n";
    let found = result(&format!("<value><array><data>\n{data}</data></array></value>\n"));
    let expected = vec![
        Value::Integer(-7),
        Value::Integer(8),
        Value::Long(1 << 32),
        Value::Nil,
        Value::Boolean(true),
        Value::Double(1_790_000_000.123_456),
        Value::String("a <b> & ü\n".into()),
        Value::String(String::new()),
        Value::String("bare".into()),
        Value::Array(Vec::new()),
        Value::Struct(BTreeMap::new()),
        Value::Base64(b"hello".to_vec()),
    ];
    assert_eq!(found, Value::Array(expected));
}

#[test]
fn a_fault_is_told_from_a_result() {
    let fault = |members: &str| {
        format!(
            "<?xml version='1.0'?>\n<methodResponse>\n<fault>\n<value><struct>\n{members}</struct></value>\n</fault>\n\
             </methodResponse>\n"
        )
    };
    let code = "<member>\n<name>faultCode</name>\n<value><int>1000</int></value>\n</member>\n";
    let text =
        "<member>\n<name>faultString</name>\n<value><string>No such build: 'x-1-1'</string></value>\n</member>\n";
    for members in [format!("{code}{text}"), format!("{text}{code}")] {
        let found = read_answer(fault(&members).as_bytes()).unwrap().unwrap_err();
        assert_eq!(found, Fault { code: 1000, text: "No such build: 'x-1-1'".into() });
    }
    assert!(wrong(fault(code).as_bytes()).starts_with("expected a fault with faultCode and faultString, found "));
    // A text may have any characters.
    let text = result("<value><string>&lt;fault&gt;</string></value>\n");
    assert_eq!(text, Value::String("<fault>".into()));
}

#[test]
fn results_of_several_calls_are_told_apart() {
    let fault = BTreeMap::from([
        ("faultCode".to_owned(), Value::Integer(1014)),
        ("faultString".to_owned(), Value::String("offline".into())),
        ("traceback".to_owned(), Value::Array(vec![Value::String("Traceback".into())])),
    ]);
    let one = |value| Value::Array(vec![value]);
    let results = Value::Array(vec![one(Value::Nil), Value::Struct(fault.clone()), one(Value::Struct(fault))]);
    let read = read_results(results.clone(), 3).unwrap();
    assert_eq!(read[0], Ok(Value::Nil));
    assert_eq!(read[1], Err(Fault { code: 1014, text: "offline".into() }));
    assert!(read[1].as_ref().is_err_and(Fault::may_pass));
    assert!(read[2].is_ok(), "a result that is a struct");
    for (results, calls, expected) in [
        (results.clone(), 4, "expected the results of 4 calls, found 3"),
        (results, 2, "expected the results of 2 calls, found 3"),
        (Value::Nil, 1, "expected an array of results, found nil"),
        (one(one(Value::Nil)), 2, "expected the results of 2 calls, found 1"),
        (one(Value::Array(Vec::new())), 1, "expected an array of one result, found one of 0"),
        (one(Value::Integer(1)), 1, "expected a result or a fault, found an int"),
    ] {
        assert_eq!(read_results(results, calls).unwrap_err(), expected);
    }
}

#[test]
fn answers_that_are_none_are_named() {
    let whole = response("<value><array><data>\n<value><int>1</int></value>\n</data></array></value>\n");
    for end in [20, 60, 90, whole.len() - 20, whole.len() - 3] {
        let text = wrong(&whole.as_bytes()[..end]);
        assert!(text.contains("found none in"), "{end}: {text}");
    }
    for (body, expected) in [
        (&b""[..], "expected an answer of XML-RPC, found nothing"),
        (b"  \n", "expected an answer of XML-RPC, found \"  \\n\""),
        (b"{\"error\": 1}", "expected an answer of XML-RPC, found \"{\\\"error\\\": 1}\""),
        (b"<!DOCTYPE html>\n<html></html>", "expected an answer of XML-RPC, found a page of HTML"),
        (b"<html><body>down</body></html>", "expected an answer of XML-RPC, found a page of HTML"),
        (b"\xff\xfe<", "expected an answer of XML-RPC in UTF-8, found"),
        (b"<methodResponse><params/></methodResponse>", "expected an answer of XML-RPC, found"),
        (b"<methodCall><methodName>x</methodName></methodCall>", "expected an answer of XML-RPC, found"),
        (b"<a></a></a>", "expected a tag to end, found </a>"),
        (b"<methodResponse><!-- x --></methodResponse>", "expected a tag of XML-RPC, found \"!-- x --\""),
        (
            b"<!DOCTYPE x [<!ENTITY a \"b\">]><methodResponse></methodResponse>",
            "expected the end of the tag \"!DOCTYPE x [\", found",
        ),
        (b"<methodResponse a='x'></methodResponse>", "expected a tag of XML-RPC, found"),
        (b"<methodResponse a='</x>'></methodResponse>", "expected the end of the tag \"methodResponse a='\", found"),
    ] {
        let found = wrong(body);
        assert!(found.starts_with(expected), "{found}");
    }
    for value in ["<int>x</int>", "<int>99999999999</int>", "<boolean>2</boolean>", "<what>1</what>", "<int>1</i4>"] {
        let found = wrong(response(&format!("<value>{value}</value>\n")).as_bytes());
        assert!(found.starts_with("expected an answer of XML-RPC, found "), "{value}: {found}");
    }
}

#[test]
fn deep_answers_and_those_of_many_values_are_refused() {
    let nested = |depth: usize| {
        let (open, close) = ("<value><array><data>".repeat(depth), "</data></array></value>".repeat(depth));
        response(&format!("{open}<value><nil/></value>{close}\n"))
    };
    assert!(read_answer(nested(30).as_bytes()).is_ok_and(|answer| answer.is_ok()));
    assert_eq!(wrong(nested(1_000_000).as_bytes()), "expected at most 100 tags inside each other, found more");
    let many = response(&format!("<value><array><data>{}</data></array></value>\n", "<value/>".repeat(MAX_VALUES)));
    let found = read_answer(many.as_bytes()).unwrap_err();
    assert_eq!(
        found,
        AnswerError::TooLarge(format!("expected an answer of at most {MAX_VALUES} values, found {}", MAX_VALUES + 1))
    );
}
