//! Calls and answers as XML, in Koji's dialect of XML-RPC.
//!
//! Keyword arguments are a struct behind the other arguments, with a member `__starstar`. `multiCall` runs several
//! calls: its result has an array of one element for each that succeeded, and a struct for each that failed.

use std::collections::BTreeMap;

use dxr::multicall::into_multicall_params;
use dxr::{MethodCall, MethodResponse, Value};

use super::fault::Fault;
use super::members::{Members, integer, kind};

/// Maximum depth of tags in an answer: those of Koji have about 20.
const MAX_DEPTH: usize = 100;
/// Maximum number of values in an answer: a value takes about 100 bytes of memory.
const MAX_VALUES: usize = 2_000_000;
/// Maximum number of characters of an answer in a message.
const MAX_SHOWN: usize = 100;

/// A call of a method.
#[derive(Clone, Debug)]
pub(super) struct Call {
    method: &'static str,
    arguments: Vec<Value>,
    keywords: BTreeMap<String, Value>,
}

/// Why an answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AnswerError {
    /// It is too large to be read: fewer calls at once may help.
    TooLarge(String),
    /// It is no answer of XML-RPC.
    Wrong(String),
}

impl Call {
    /// Returns a call with these positional arguments.
    pub(super) fn new(method: &'static str, arguments: impl Into<Vec<Value>>) -> Self {
        Self { method, arguments: arguments.into(), keywords: BTreeMap::new() }
    }

    /// Returns the same with another keyword argument.
    pub(super) fn keyword(mut self, name: &str, value: Value) -> Self {
        self.keywords.insert(name.to_owned(), value);
        self
    }

    /// Returns one call that runs all of these.
    ///
    /// # Errors
    /// One of them cannot be written as XML.
    pub(super) fn multi(calls: &[Self]) -> Result<Self, String> {
        let calls = calls.iter().map(|call| (call.method.to_owned(), call.params())).collect();
        let calls = into_multicall_params::<Vec<Value>>(calls).map_err(|error| error.to_string())?;
        Ok(Self::new("multiCall", [calls]))
    }

    /// The arguments as they are sent.
    fn params(&self) -> Vec<Value> {
        let mut params = self.arguments.clone();
        if !self.keywords.is_empty() {
            let mut keywords = self.keywords.clone();
            keywords.insert("__starstar".to_owned(), Value::Boolean(true));
            params.push(Value::Struct(keywords));
        }
        params
    }

    /// Returns the body of the request.
    ///
    /// # Errors
    /// A value cannot be written as XML.
    pub(super) fn to_xml(&self) -> Result<String, String> {
        let call = MethodCall { name: self.method.into(), params: self.params() };
        call.to_xml().map_err(|error| error.to_string())
    }
}

/// Returns an integer of the smallest type that has it: hubs do not need to know `i8` for small ones.
pub(super) fn int(value: i64) -> Value {
    i32::try_from(value).map_or(Value::Long(value), Value::Integer)
}

/// Reads the body of an answer: the result, or the fault that the hub states.
///
/// # Errors
/// It is no answer of XML-RPC, or too large.
pub(super) fn read_answer(body: &[u8]) -> Result<Result<Value, Fault>, AnswerError> {
    let wrong = |expected: &str| AnswerError::Wrong(format!("expected {expected}, found {}", shown(body)));
    if http_client::begins_page(body) {
        return Err(AnswerError::Wrong("expected an answer of XML-RPC, found a page of HTML".to_owned()));
    }
    let text = str::from_utf8(body).map_err(|_| wrong("an answer of XML-RPC in UTF-8"))?;
    check_structure(text)?;
    // In values `<` is escaped: this is the tag.
    if let Some((_, rest)) = text.split_once("<fault>") {
        let value = rest.split_once("</fault>").and_then(|(value, _)| Value::from_xml(value.trim()).ok());
        let fault = value.as_ref().and_then(read_fault);
        return fault.map(Err).ok_or_else(|| wrong("a fault with faultCode and faultString"));
    }
    match MethodResponse::from_xml(text) {
        Ok(response) => Ok(Ok(response.value)),
        Err(_) => Err(wrong("an answer of XML-RPC")),
    }
}

/// Reads the result of [`Call::multi`]: the result or fault of each of `calls` calls, in the same order.
///
/// # Errors
/// It has not one element for each.
pub(super) fn read_results(result: Value, calls: usize) -> Result<Vec<Result<Value, Fault>>, String> {
    let results = match result {
        Value::Array(results) => results,
        other => return Err(format!("expected an array of results, found {}", kind(&other))),
    };
    if results.len() != calls {
        return Err(format!("expected the results of {calls} calls, found {}", results.len()));
    }
    results.into_iter().map(read_result).collect()
}

fn read_result(result: Value) -> Result<Result<Value, Fault>, String> {
    match result {
        Value::Array(mut values) if values.len() == 1 => {
            Ok(values.pop().ok_or_else(|| Fault::wrong_result("expected a result, found none")))
        }
        Value::Array(values) => Err(format!("expected an array of one result, found one of {}", values.len())),
        fault => {
            let found = kind(&fault);
            let fault = read_fault(&fault);
            fault.map(Err).ok_or_else(|| format!("expected a result or a fault, found {found}"))
        }
    }
}

fn read_fault(value: &Value) -> Option<Fault> {
    let Value::Struct(members) = value else { return None };
    let code = members.get("faultCode").and_then(integer)?;
    let text = Members::new("fault", members).text("faultString").ok()?;
    Some(Fault::new(code, &text))
}

/// Checks what the reader of XML does not limit: the depth of tags, on which its recursion depends, and the number of
/// values. Answers are tags without attributes and text, and nothing else of XML, but for its declaration.
fn check_structure(text: &str) -> Result<(), AnswerError> {
    let wrong = |text: String| Err(AnswerError::Wrong(text));
    let mut pieces = text.split('<');
    let before = pieces.next().unwrap_or_default();
    if !before.trim_start_matches('\u{feff}').trim().is_empty() || text.trim().is_empty() {
        return wrong(format!("expected an answer of XML-RPC, found {}", shown(text.as_bytes())));
    }
    let (mut depth, mut values) = (0_usize, 0_usize);
    for (number, piece) in pieces.enumerate() {
        let Some((tag, _)) = piece.split_once('>') else {
            let piece: String = piece.chars().take(MAX_SHOWN).collect();
            return wrong(format!("expected the end of the tag {piece:?}, found none in {} bytes", text.len()));
        };
        if number == 0 && tag.starts_with("?xml ") {
            continue;
        }
        let (name, change) = match tag.strip_prefix('/') {
            Some(name) => (name, -1),
            None => tag.strip_suffix('/').map_or((tag, 1), |name| (name, 0)),
        };
        if name.trim_end().is_empty() || !name.trim_end().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') {
            let tag: String = tag.chars().take(MAX_SHOWN).collect();
            return wrong(format!("expected a tag of XML-RPC, found {tag:?}"));
        }
        values += usize::from(change >= 0 && name.trim_end() == "value");
        depth = match depth.checked_add_signed(change) {
            Some(depth) if depth <= MAX_DEPTH => depth,
            Some(_) => return wrong(format!("expected at most {MAX_DEPTH} tags inside each other, found more")),
            None => return wrong(format!("expected a tag to end, found </{name}>")),
        };
    }
    if depth > 0 {
        return wrong(format!("expected </methodResponse>, found none in {} bytes", text.len()));
    }
    if values > MAX_VALUES {
        let text = format!("expected an answer of at most {MAX_VALUES} values, found {values}");
        return Err(AnswerError::TooLarge(text));
    }
    Ok(())
}

/// The start of an answer, for messages.
fn shown(body: &[u8]) -> String {
    if body.is_empty() {
        return "nothing".to_owned();
    }
    let start = String::from_utf8_lossy(body.get(..4 * MAX_SHOWN).unwrap_or(body));
    let start: String = start.chars().take(MAX_SHOWN).collect();
    format!("{start:?}")
}

#[cfg(test)]
mod tests;
