//! The effective configuration in text: as YAML that can be read back, or value by value with its origin.

use serde_json::Value;

use crate::config::load::Loaded;
use crate::config::model::Config;
use crate::config::origin::Origin;

/// Keys in the order of the documentation. Addresses carry no passwords.
pub fn to_yaml(config: &Config) -> Result<String, String> {
    serde_saphyr::to_string(config).map_err(|error| error.to_string())
}

/// One value with the full key that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

/// Sorted by key.
pub fn lines(loaded: &Loaded) -> Vec<Line> {
    let mut found = Vec::new();
    let values = serde_json::to_value(&loaded.config).unwrap_or_default();
    collect(&values, "", loaded, &mut found);
    found
}

fn collect(value: &Value, at: &str, loaded: &Loaded, found: &mut Vec<Line>) {
    match value {
        Value::Object(values) => {
            for (name, value) in values {
                let key = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                collect(value, &key, loaded, found);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (number, item) in items.iter().enumerate() {
                collect(item, &format!("{at}[{number}]"), loaded, found);
            }
        }
        other => {
            let value = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
            found.push(Line { key: at.to_owned(), value, origin: loaded.origins.of(at) });
        }
    }
}
