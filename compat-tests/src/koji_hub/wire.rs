//! Answers as Koji's hub writes them: the format of Python's `xmlrpc.client`, with `nil`, and `i8` for what no `int`
//! has.

use dxr::Value;

/// A fault of Koji.
#[derive(Clone, Debug)]
pub(super) struct HubFault {
    pub(super) code: i32,
    pub(super) text: String,
}

impl HubFault {
    /// `koji.GenericError`
    pub(super) fn generic(text: impl Into<String>) -> Self {
        Self { code: 1000, text: text.into() }
    }

    /// `koji.ParameterError`
    pub(super) fn parameter(text: impl Into<String>) -> Self {
        Self { code: 1019, text: text.into() }
    }

    /// `koji.ServerOffline`
    pub(super) fn offline() -> Self {
        Self { code: 1014, text: "database outage".to_owned() }
    }
}

/// The body of the answer with a result or fault.
pub(super) fn response(result: &Result<Value, HubFault>) -> String {
    let mut xml = String::from("<?xml version='1.0'?>\n<methodResponse>\n");
    match result {
        Ok(value) => {
            xml.push_str("<params>\n<param>\n");
            write(&mut xml, value);
            xml.push_str("</param>\n</params>\n");
        }
        Err(HubFault { code, text }) => {
            xml.push_str("<fault>\n<value><struct>\n");
            write_member(&mut xml, "faultCode", &Value::Integer(*code));
            write_member(&mut xml, "faultString", &Value::String(text.clone()));
            xml.push_str("</struct></value>\n</fault>\n");
        }
    }
    xml.push_str("</methodResponse>\n");
    xml
}

fn write(xml: &mut String, value: &Value) {
    let inside = match value {
        Value::Integer(value) => format!("<int>{value}</int>"),
        Value::Long(value) => format!("<i8>{value}</i8>"),
        Value::Boolean(value) => format!("<boolean>{}</boolean>", u8::from(*value)),
        // Python writes a float with a point, as Rust's Debug does.
        Value::Double(value) => format!("<double>{value:?}</double>"),
        Value::String(text) => format!("<string>{}</string>", escape(text)),
        Value::Nil => "<nil/>".to_owned(),
        Value::Array(values) => {
            xml.push_str("<value><array><data>\n");
            values.iter().for_each(|value| write(xml, value));
            xml.push_str("</data></array></value>\n");
            return;
        }
        Value::Struct(members) => {
            xml.push_str("<value><struct>\n");
            members.iter().for_each(|(name, value)| write_member(xml, name, value));
            xml.push_str("</struct></value>\n");
            return;
        }
        other => panic!("expected a value of a hub, found {other:?}"),
    };
    xml.push_str("<value>");
    xml.push_str(&inside);
    xml.push_str("</value>\n");
}

fn write_member(xml: &mut String, name: &str, value: &Value) {
    xml.push_str("<member>\n<name>");
    xml.push_str(&escape(name));
    xml.push_str("</name>\n");
    write(xml, value);
    xml.push_str("</member>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
