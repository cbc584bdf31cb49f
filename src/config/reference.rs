//! The reference of the configuration as a page in Markdown, made from the JSON schema alone. Must not know single
//! keys.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::config::environment;
use crate::config::schema::{self, Key};

const WIDTH: usize = 118;

const INTRODUCTION: &str = "\
# Reference of the configuration

Every key, in the order of the alphabet. This page is what `volkeep config reference` prints; how keys play together
is explained in [configuration](configuration.md).

Behind each key stand what it takes, its default, and the variable that sets it. Each variable with `_FILE` behind its
name names a file that holds the value. A key without a default is not set, unless its text says otherwise. Where the
keys are those of another mapping, the variables are too, with the other name in them. Times are written `90s`, `10m`,
`1h30m` or `7d`, sizes `64MiB` or as a number of bytes, percentages `50%`.
";

/// The whole page.
pub fn markdown(schema: &Value) -> String {
    let mut page = Page {
        text: INTRODUCTION.to_owned(),
        variables: environment::settable_keys(schema),
        seen: Vec::new(),
    };
    for (name, property) in properties(schema).into_iter().flatten() {
        page.section(2, name, property);
    }
    page.text
}

struct Page {
    text: String,
    /// The keys that have a variable.
    variables: Vec<Key>,
    /// Keys of mappings that were explained, with the path at which they were.
    seen: Vec<(Map<String, Value>, String)>,
}

impl Page {
    /// A mapping, or a list of mappings, with all that is in it.
    fn section(&mut self, level: usize, path: &str, property: &Value) {
        let (inner, below) = inside(property, path);
        let _ = write!(self.text, "\n{} {path}\n\n", "#".repeat(level));
        let mut words = description(property).to_owned();
        if let Some(variable) = self.variable(path) {
            let form = if schema::has_type(property, "array") { "a list, as YAML" } else { "the short form" };
            let _ = write!(words, " Variable: `{variable}`, {form}.");
        }
        let keys = properties(inner).cloned().unwrap_or_default();
        if let Some((_, other)) = self.seen.iter().find(|(known, _)| *known == keys) {
            let _ = write!(words, " Its keys are those of [`{other}`](#{}).", anchor(other));
            self.paragraph("", words.trim());
            return;
        }
        // Of lists, what one item is.
        let of_item = description(inner);
        if of_item != description(property) && !of_item.is_empty() {
            let _ = write!(words, " {of_item}");
        }
        self.paragraph("", words.trim());
        self.seen.push((keys.clone(), path.to_owned()));
        let (mappings, leaves): (Vec<_>, Vec<_>) = keys.iter().partition(|(_, value)| is_mapping(value));
        if !leaves.is_empty() {
            self.text.push('\n');
        }
        for (name, leaf) in leaves {
            self.leaf(&format!("{below}.{name}"), leaf, required(inner, name));
        }
        for (name, mapping) in mappings {
            self.section(3, &format!("{below}.{name}"), mapping);
        }
        if let Some(others) = inner.get("additionalProperties").filter(|others| others.is_object()) {
            self.section(3, &format!("{below}.*"), others);
        }
    }

    fn leaf(&mut self, path: &str, leaf: &Value, required: bool) {
        let mut facts = vec![kind(leaf)];
        match leaf.get("default") {
            _ if required => facts.push("has to be given".to_owned()),
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) if items.is_empty() => facts.push("default none".to_owned()),
            Some(value) => facts.push(format!("default {}", shown(value))),
        }
        // A mapping is more than a variable holds.
        if let Some(variable) = self.variable(path).filter(|_| !schema::has_type(leaf, "object")) {
            facts.push(format!("`{variable}`"));
        }
        let mut words = format!("- **`{path}`** ({}): {}", facts.join("; "), description(leaf));
        for (value, meaning) in choices(leaf) {
            if let Some(meaning) = meaning {
                let _ = write!(words, " `{value}`: {meaning}");
            }
        }
        self.paragraph("  ", &words);
    }

    fn variable(&self, path: &str) -> Option<String> {
        // Variables describe one repository.
        let key = match path.strip_prefix("repositories[].") {
            Some(rest) => format!("{}.{rest}", environment::REPOSITORY),
            None => path.to_owned(),
        };
        self.variables.iter().any(|known| known.path == key).then(|| environment::variable_for(&key))
    }

    /// Broken into lines, those after the first indented.
    fn paragraph(&mut self, indent: &str, words: &str) {
        let mut line = String::new();
        for word in words.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.text.push_str(line.trim_end());
                self.text.push('\n');
                line = format!("{indent}{word}");
            } else {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
        }
        self.text.push_str(&line);
        self.text.push('\n');
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

/// The mapping in `property`, and how paths below it begin.
fn inside<'a>(property: &'a Value, path: &str) -> (&'a Value, String) {
    match property.get("items") {
        Some(items) if properties(items).is_some() => (items, format!("{path}[]")),
        _ => (property, path.to_owned()),
    }
}

fn is_mapping(property: &Value) -> bool {
    properties(inside(property, "").0).is_some()
}

fn required(mapping: &Value, name: &str) -> bool {
    let names = mapping.get("required").and_then(Value::as_array);
    names.is_some_and(|names| names.iter().any(|known| known == name))
}

fn description(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// What a key takes, in words.
fn kind(leaf: &Value) -> String {
    let names: Vec<String> = choices(leaf).into_iter().map(|(name, _)| format!("`{name}`")).collect();
    if !names.is_empty() {
        return names.join(", ");
    }
    if let Some(title) = leaf.get("title").and_then(Value::as_str) {
        return title.to_owned();
    }
    let has = |name: &str| schema::has_type(leaf, name);
    if schema::is_secret(leaf) {
        "text, never shown".to_owned()
    } else if has("boolean") {
        "`true` or `false`".to_owned()
    } else if has("array") {
        let items = leaf.get("items").unwrap_or(&Value::Null);
        let plural = if choices(items).is_empty() { "s" } else { "" };
        format!("list of {}{plural}", kind(items))
    } else if has("object") {
        "mapping of names to texts".to_owned()
    } else if has("integer") {
        "number".to_owned()
    } else {
        "text".to_owned()
    }
}

/// The values of which one has to be chosen, each with what it means if that is said.
fn choices(leaf: &Value) -> Vec<(&str, Option<&str>)> {
    let list = |name: &str| leaf.get(name).and_then(Value::as_array).into_iter().flatten();
    // One that may be missing is behind `anyOf`, beside null.
    let either = list("anyOf").flat_map(choices);
    let plain = list("enum").filter_map(Value::as_str).map(|name| (name, None));
    let told = list("oneOf").filter_map(|one| {
        Some((one.get("const")?.as_str()?, one.get("description").and_then(Value::as_str)))
    });
    either.chain(plain).chain(told).collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) => format!("`{text}`"),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => format!("`{other}`"),
    }
}

/// What a heading is linked by.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter(|sign| sign.is_alphanumeric() || matches!(sign, '-' | '_'))
        .collect::<String>()
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> String {
        markdown(&schema::json_schema())
    }

    #[test]
    fn a_key_has_its_kind_default_and_variable() {
        let page = page();
        for line in [
            "- **`init.stale_timeout`** (time; default `3s`; `VOLKEEP_INIT_STALE_TIMEOUT`): ",
            "- **`limits.memory`** (size; default `64MiB`; `VOLKEEP_LIMITS_MEMORY`): ",
            "- **`backup.max_shrink`** (percentage; default `50%`; `VOLKEEP_BACKUP_MAX_SHRINK`): ",
            "- **`jobs.backup.schedule`** (text; `VOLKEEP_SCHEDULE`): ",
            "- **`repositories[].url`** (address; has to be given; `VOLKEEP_REPOSITORY`): ",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        assert!(page.contains("`VOLKEEP_RETENTION`"), "the short form has one too: {page}");
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
    }

    #[test]
    fn what_is_the_same_is_said_once() {
        let page = page();
        // Requests of hooks and jobs, and those of checks and of steps, which know more.
        assert_eq!(page.matches(".unix_socket`**").count(), 3, "{page}");
        assert!(page.contains("\n### jobs.*\n"), "{page}");
        assert!(page.contains("are those of [`jobs.backup`](#jobsbackup)."), "{page}");
    }
}
