//! A YAML file as plain values and the line of every key. Must not know which keys there are.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use crate::config::error::ConfigError;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Always an object. A key without a value is as good as absent.
    pub values: Map<String, Value>,
    /// By full key, such as `repositories[0].url`; counted from 1.
    pub lines: BTreeMap<String, u64>,
}

/// The text and what it says. `Ok(None)` when there is no such file.
pub fn read(path: &Path) -> Result<Option<(String, Document)>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => match parse(&text) {
            Ok(document) => Ok(Some((text, document))),
            Err(message) => Err(ConfigError::Syntax { path: path.to_owned(), message }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::FileUnreadable { path: path.to_owned(), source }),
    }
}

/// An empty text is an empty document.
pub fn parse(text: &str) -> Result<Document, String> {
    let tree: Option<Node> = serde_saphyr::from_str(text).map_err(|error| in_plain_words(&error))?;
    let mut document = Document::default();
    match tree {
        None | Some(Node::Scalar(Value::Null)) => {}
        Some(Node::Map(keys)) => document.values = flatten_map(keys, "", &mut document.lines),
        Some(_) => return Err("sections such as `volume:` are expected at the top".to_owned()),
    }
    Ok(document)
}

/// One line, without the text around the fault: there may be a secret in it.
fn in_plain_words(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    let text = text.split(", set DuplicateKeyPolicy").next().unwrap_or(text);
    match text.contains("alias") {
        true => format!("{text}; text that begins with `*` needs quotes"),
        false => text.to_owned(),
    }
}

#[derive(Debug)]
enum Node {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(String, u64, Node)>),
}

fn flatten(node: Node, at: &str, lines: &mut BTreeMap<String, u64>) -> Value {
    match node {
        Node::Scalar(value) => value,
        Node::List(items) => items
            .into_iter()
            .enumerate()
            .map(|(number, item)| flatten(item, &format!("{at}[{number}]"), lines))
            .collect(),
        Node::Map(keys) => Value::Object(flatten_map(keys, at, lines)),
    }
}

fn flatten_map(
    keys: Vec<(String, u64, Node)>,
    at: &str,
    lines: &mut BTreeMap<String, u64>,
) -> Map<String, Value> {
    let mut map = Map::new();
    for (key, line, node) in keys {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        if line > 0 {
            lines.insert(path.clone(), line);
        }
        let value = flatten(node, &path, lines);
        map.insert(key, value);
    }
    map
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Scalar(Value::from(value)))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Scalar(Value::from(value)))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Scalar(Value::from(value)))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
                let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
                Ok(Node::Scalar(Value::Number(number)))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Scalar(Value::from(value)))
            }

            fn visit_unit<E: Error>(self) -> Result<Node, E> {
                Ok(Node::Scalar(Value::Null))
            }

            fn visit_none<E: Error>(self) -> Result<Node, E> {
                Ok(Node::Scalar(Value::Null))
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
                Node::deserialize(deserializer)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, node)) = map.next_entry::<Spanned<String>, Node>()? {
                    keys.push((key.value, key.referenced.line(), node));
                }
                Ok(Node::Map(keys))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_lines_are_read() {
        let document =
            parse("volume:\n  path: /data\n  n: 3\nrepositories:\n- url: x\n  ok: true\n").unwrap();
        let expected = serde_json::json!({"volume": {"path": "/data", "n": 3}, "repositories": [{"url": "x", "ok": true}]});
        assert_eq!(Value::Object(document.values), expected);
        assert_eq!(document.lines.get("volume.n"), Some(&3));
        assert_eq!(document.lines.get("repositories[0].ok"), Some(&6));
    }

    #[test]
    fn an_empty_file_is_an_empty_document() {
        for text in ["", "\n", "# nothing\n", "---\n"] {
            assert_eq!(parse(text), Ok(Document::default()), "{text:?}");
        }
    }

    #[test]
    fn a_fault_is_told_in_one_line_without_the_text_around_it() {
        for (text, part) in
            [("exclude: [*.tmp]\npassword: hunter2\n", "needs quotes"), ("a: 1\na: hunter2\n", "duplicate")]
        {
            let message = parse(text).unwrap_err();
            assert!(message.contains(part) && !message.contains("hunter2"), "{message}");
            assert_eq!(message.lines().count(), 1);
        }
    }

    #[test]
    fn what_is_no_mapping_or_no_yaml_is_refused() {
        for text in ["- a\n", "just text", "a: [1", "a: 1\na: 2\n", "exclude: [*.tmp]\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
