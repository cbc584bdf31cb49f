//! Plain values under full keys such as `repositories[0].url`: setting, removing, and finding each value that
//! its key cannot take. Must not know single keys.

use serde_json::{Map, Value};

use crate::config::model::Config;
use crate::config::schema;

/// A value that its key cannot take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub key: String,
    pub message: String,
}

/// Sets `key` (without list indexes); what is in the way and no mapping is replaced.
pub fn insert(values: &mut Map<String, Value>, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            values.insert(key.to_owned(), value);
        }
        Some((first, rest)) => {
            let below = values.entry(first).or_insert(Value::Null);
            if !below.is_object() {
                *below = Value::Object(Map::new());
            }
            if let Value::Object(below) = below {
                insert(below, rest, value);
            }
        }
    }
}

/// Removes the value at `key`. For an item of a list the whole list goes, so that indexes never shift.
pub fn remove(values: &mut Map<String, Value>, key: &str) {
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    let (name, index) = first.split_once('[').unwrap_or((first, ""));
    let index: Option<usize> = index.strip_suffix(']').and_then(|index| index.parse().ok());
    if rest.is_empty() {
        values.remove(name);
        return;
    }
    let below = match (values.get_mut(name), index) {
        (Some(Value::Array(items)), Some(index)) => items.get_mut(index),
        (other, _) => other,
    };
    if let Some(Value::Object(below)) = below {
        remove(below, rest);
    }
}

/// `key:` without a value is as good as absent. Returns the keys that went.
pub fn drop_nulls(values: &mut Map<String, Value>) -> Vec<String> {
    let mut gone = Vec::new();
    drop_nulls_below(values, "", &mut gone);
    gone
}

/// Tries every value alone, so that each fault is found and its key is known.
pub fn faults(values: &Map<String, Value>, schema: &Value) -> Vec<Fault> {
    let mut found = Vec::new();
    let root = |value: Value| value;
    for_each_value(&Value::Object(values.clone()), schema, "", &root, &mut found);
    found
}

/// `wrap` makes a whole configuration out of the value at `at`, with nothing else in it.
fn for_each_value(
    value: &Value,
    schema: &Value,
    at: &str,
    wrap: &dyn Fn(Value) -> Value,
    found: &mut Vec<Fault>,
) {
    let mut refuse = |message: String| found.push(Fault { key: at.to_owned(), message });
    match value {
        // What a reader says about a value shows it.
        _ if schema::is_secret(schema) => {
            if !value.is_string() {
                refuse("text is expected here; a number needs quotes (the value is not shown)".to_owned());
            }
        }
        // Where an empty mapping is refused, its keys only make sense together.
        Value::Object(given) if takes(wrap(Value::Object(Map::new()))) => {
            for (name, value) in given {
                let property = schema::property(schema, name).unwrap_or(&Value::Null);
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                let wrap = |value: Value| wrap(Value::Object(Map::from_iter([(name.clone(), value)])));
                for_each_value(value, property, &path, &wrap, found);
            }
        }
        Value::Array(given) if schema::has_type(schema, "array") => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            for (number, value) in given.iter().enumerate() {
                let wrap = |value: Value| wrap(Value::Array(vec![value]));
                for_each_value(value, items, &format!("{at}[{number}]"), &wrap, found);
            }
        }
        _ if schema.get("properties").is_some() && !value.is_object() => {
            refuse("keys and values are expected here".to_owned());
        }
        _ if schema::has_type(schema, "array") => refuse("a list is expected here".to_owned()),
        _ => {
            if let Err(error) = serde_json::from_value::<Config>(wrap(value.clone())) {
                refuse(in_plain_words(&error.to_string(), value));
            }
        }
    }
}

fn takes(whole: Value) -> bool {
    serde_json::from_value::<Config>(whole).is_ok()
}

fn in_plain_words(message: &str, value: &Value) -> String {
    match message.contains("untagged enum") {
        true => format!("`{value}` is not allowed here"),
        false => message.replace("a sequence", "a list").replace("a map", "keys and values"),
    }
}

fn drop_nulls_below(values: &mut Map<String, Value>, at: &str, gone: &mut Vec<String>) {
    let path = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    values.retain(|name, value| {
        if value.is_null() {
            gone.push(path(name));
        }
        !value.is_null()
    });
    for (name, value) in values {
        let at = path(name);
        match value {
            Value::Object(below) => drop_nulls_below(below, &at, gone),
            Value::Array(items) => {
                for (number, item) in items.iter_mut().enumerate() {
                    if let Value::Object(below) = item {
                        drop_nulls_below(below, &format!("{at}[{number}]"), gone);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn after(change: impl FnOnce(&mut Map<String, Value>)) -> Value {
        let Value::Object(mut values) =
            json!({"a": {"b": 1, "c": null}, "l": [{"x": 1, "y": 2}, 3], "n": null})
        else {
            panic!("no object")
        };
        change(&mut values);
        Value::Object(values)
    }

    #[test]
    fn values_are_set_and_removed_by_their_full_key() {
        assert_eq!(after(|values| insert(values, "a.b", json!(2)))["a"]["b"], 2);
        assert_eq!(after(|values| insert(values, "n.m.o", json!(2)))["n"]["m"]["o"], 2);
        assert_eq!(after(|values| remove(values, "a.b"))["a"], json!({"c": null}));
        assert_eq!(after(|values| remove(values, "l[0].x"))["l"], json!([{"y": 2}, 3]));
        assert_eq!(after(|values| remove(values, "l[1]")).get("l"), None);
        assert_eq!(after(|values| remove(values, "no.such[3].key")), after(|_| ()));
    }

    #[test]
    fn keys_without_a_value_go() {
        let mut gone = Vec::new();
        let left = after(|values| gone = drop_nulls(values));
        assert_eq!(left, json!({"a": {"b": 1}, "l": [{"x": 1, "y": 2}, 3]}));
        assert_eq!(gone, ["n", "a.c"]);
    }
}
