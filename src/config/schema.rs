//! The JSON schema of the configuration, and what follows from it: which keys there are, which of them can be
//! environment variables, and which given keys are unknown. Must not know single keys.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::config::model::Config;

/// Draft 2020-12, without references, so that walking it is simple.
pub fn json_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    close(&mut schema);
    schema
}

/// How a key is written in an environment variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    Bool,
    Integer,
    /// Separated by commas or new lines.
    TextList,
    /// A list of mappings, as YAML.
    Structure,
}

/// A key that holds a value and no further keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Such as `volume.quarantine.keep`.
    pub path: String,
    pub form: Form,
}

/// The keys of `schema` that hold values; not those inside lists.
pub fn keys(schema: &Value) -> Vec<Key> {
    let mut found = Vec::new();
    collect_keys(schema, "", &mut found);
    found
}

/// The keys at the top that may be a text in the place of a mapping.
pub fn short_forms(schema: &Value) -> Vec<Key> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let both = properties
        .into_iter()
        .flatten()
        .filter(|(_, property)| property.get("properties").is_some() && has_type(property, "string"));
    both.map(|(name, _)| Key { path: name.clone(), form: Form::Text }).collect()
}

/// The schema of the items of the list at the top-level key `name`.
pub fn items<'a>(schema: &'a Value, name: &str) -> &'a Value {
    schema.get("properties").and_then(|all| all.get(name)?.get("items")).unwrap_or(&Value::Null)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    pub path: String,
    pub nearest: Option<String>,
}

pub fn unknown_keys(value: &Value, schema: &Value) -> Vec<UnknownKey> {
    let mut found = Vec::new();
    collect_unknown(value, schema, "", &mut found);
    found
}

/// What the key `name` of a mapping holds: one that is known, or one of those whose names are free.
pub fn property<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    let known = schema.get("properties").and_then(|all| all.get(name));
    known.or_else(|| schema.get("additionalProperties").filter(|others| others.is_object()))
}

/// The name out of `known` that `word` is probably meant to be.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let bound = (word.len() / 3).max(2);
    known
        .map(|name| (strsim::osa_distance(word, name), name))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.to_owned())
}

/// Marks every mapping as complete, so that editors find mistyped keys too, and undoes the line breaks of the
/// comments that became descriptions.
fn close(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    // Where names are free, what they hold is not.
    let free = match object.get_mut("additionalProperties") {
        Some(others @ Value::Object(_)) => {
            close(others);
            true
        }
        _ => false,
    };
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(close);
        if !free {
            object.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
    }
    if let Some(items) = object.get_mut("items") {
        close(items);
    }
}

fn collect_keys(schema: &Value, at: &str, found: &mut Vec<Key>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        let path = join(at, name);
        match property.get("properties") {
            Some(_) => collect_keys(property, &path, found),
            None => found.push(Key { path, form: form(property) }),
        }
    }
}

fn form(schema: &Value) -> Form {
    if has_type(schema, "boolean") {
        Form::Bool
    } else if has_type(schema, "integer") && !has_type(schema, "string") {
        Form::Integer
    } else if has_type(schema, "array") {
        let items = schema.get("items").unwrap_or(&Value::Null);
        if has_type(items, "string") { Form::TextList } else { Form::Structure }
    } else {
        Form::Text
    }
}

/// `type` is one name or a list of names.
pub fn has_type(schema: &Value, wanted: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(name)) => name == wanted,
        Some(Value::Array(names)) => names.iter().any(|name| name == wanted),
        _ => false,
    }
}

/// A value that no message may show.
pub fn is_secret(schema: &Value) -> bool {
    schema.get("writeOnly") == Some(&Value::Bool(true))
}

fn collect_unknown(value: &Value, schema: &Value, at: &str, found: &mut Vec<UnknownKey>) {
    match value {
        Value::Object(given) => {
            let Some(known) = schema.get("properties").and_then(Value::as_object) else { return };
            for (name, value) in given {
                match property(schema, name) {
                    Some(property) => collect_unknown(value, property, &join(at, name), found),
                    None => found.push(UnknownKey {
                        path: join(at, name),
                        nearest: nearest(name, known.keys().map(String::as_str)),
                    }),
                }
            }
        }
        Value::Array(given) => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            for (number, value) in given.iter().enumerate() {
                collect_unknown(value, items, &format!("{at}[{number}]"), found);
            }
        }
        _ => {}
    }
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_have_the_form_of_their_type() {
        let keys = keys(&json_schema());
        let form = |path: &str| keys.iter().find(|key| key.path == path).map(|key| key.form);
        assert_eq!(form("volume.quarantine.keep"), Some(Form::Text));
        assert_eq!(form("volume.caches"), Some(Form::Text));
        assert_eq!(form("volume.exclude"), Some(Form::TextList));
        assert_eq!(form("init.archive"), Some(Form::Text));
        assert_eq!(form("init.create_repository"), Some(Form::Bool));
        assert_eq!(form("init.checks"), Some(Form::Structure));
        assert_eq!(form("limits.connections"), Some(Form::Integer));
        assert_eq!(form("volume"), None);
    }

    #[test]
    fn unknown_keys_are_found_at_any_depth() {
        let value = json!({
            "volum": {},
            "volume": {"quarantine": {"keeep": "1d"}, "path": "/data"},
            "repositories": [{"url": "x"}, {"levle": 1}],
            "init": {"checks": [{"exists": "a", "levle": "full"}, {"sqlite": "x"}]},
            "log": {"entirely_else": 1},
        });
        let found: Vec<_> = unknown_keys(&value, &json_schema())
            .into_iter()
            .map(|key| (key.path, key.nearest.unwrap_or_default()))
            .collect();
        let expected = [
            ("init.checks[0].levle", "level"),
            ("log.entirely_else", ""),
            ("repositories[1].levle", "level"),
            ("volum", "volume"),
            ("volume.quarantine.keeep", "keep"),
        ];
        assert_eq!(found, expected.map(|(path, nearest)| (path.to_owned(), nearest.to_owned())));
    }

    #[test]
    fn every_key_is_described() {
        fn walk(schema: &Value, at: &str, bare: &mut Vec<String>) {
            for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                if property.get("description").is_none() {
                    bare.push(join(at, name));
                }
                walk(property, &join(at, name), bare);
                walk(property.get("items").unwrap_or(&Value::Null), &join(at, name), bare);
                let others = property.get("additionalProperties").unwrap_or(&Value::Null);
                walk(others, &join(at, &format!("{name}.*")), bare);
            }
        }
        let mut bare = Vec::new();
        walk(&json_schema(), "", &mut bare);
        assert!(bare.is_empty(), "{bare:?}");
    }
}
