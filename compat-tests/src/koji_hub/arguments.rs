//! Arguments of a method, positional or by keyword.

use dxr::Value;

use super::state::Map;
use super::wire::HubFault;

/// The arguments of a call by the names of the method's parameters. Those that are missing or nil are `None`.
pub(super) struct Arguments {
    method: String,
    values: Map,
}

impl Arguments {
    /// Names the arguments. A struct with a member `__starstar` at their end has keyword arguments.
    pub(super) fn read(method: &str, parameters: &[&str], mut params: Vec<Value>) -> Result<Self, HubFault> {
        let mut values = Map::new();
        if let Some(Value::Struct(keywords)) = params.last()
            && keywords.get("__starstar") == Some(&Value::Boolean(true))
            && let Some(Value::Struct(keywords)) = params.pop()
        {
            values = keywords;
            values.remove("__starstar");
        }
        if let Some(unknown) = values.keys().find(|name| !parameters.contains(&name.as_str())) {
            return Err(HubFault::parameter(format!("{method}() got an unexpected keyword argument '{unknown}'")));
        }
        if params.len() > parameters.len() {
            return Err(HubFault::parameter(format!("{method}() takes at most {} arguments", parameters.len())));
        }
        for (name, value) in parameters.iter().zip(params) {
            if values.insert((*name).to_owned(), value).is_some() {
                return Err(HubFault::parameter(format!("{method}() got multiple values for argument '{name}'")));
            }
        }
        values.retain(|_, value| *value != Value::Nil);
        Ok(Self { method: method.to_owned(), values })
    }

    fn wrong(&self, name: &str, expected: &str) -> HubFault {
        let found = self.values.get(name);
        HubFault::parameter(format!("{}: Invalid type for {name}: expected {expected}, found {found:?}", self.method))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Fails if one of the arguments is given: the test server does not know what it does.
    pub(super) fn refuse(&self, names: &[&str]) -> Result<(), HubFault> {
        match names.iter().find(|name| self.values.contains_key(**name)) {
            Some(name) => Err(HubFault::parameter(format!("{}: {name} is not implemented here", self.method))),
            None => Ok(()),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, HubFault> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "a string")),
        }
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, HubFault> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Value::Integer(value)) => Ok(Some(i64::from(*value))),
            Some(Value::Long(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong(name, "an int")),
        }
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, HubFault> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Value::Boolean(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong(name, "a boolean")),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, HubFault> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text.clone()])),
            Some(Value::Array(values)) => {
                let text = |value: &Value| if let Value::String(text) = value { Some(text.clone()) } else { None };
                values.iter().map(text).collect::<Option<_>>().ok_or_else(|| self.wrong(name, "strings")).map(Some)
            }
            Some(_) => Err(self.wrong(name, "an array")),
        }
    }

    /// Query options, with members by their names.
    pub(super) fn options(&self, name: &str) -> Result<Arguments, HubFault> {
        let values = match self.values.get(name) {
            None => Map::new(),
            Some(Value::Struct(options)) => options.clone(),
            Some(_) => return Err(self.wrong(name, "a struct")),
        };
        let mut values = values;
        values.retain(|_, value| *value != Value::Nil);
        Ok(Self { method: self.method.clone(), values })
    }
}
