//! From a template and values to the content of a file. Strict: a name without a value is an error. No message shows
//! a value, which may be a secret.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value;

use super::error::Trouble;
use super::owner::owner_of;
use crate::base::cancel::Cancel;
use crate::base::secret::Secret;
use crate::base::text::Text;
use crate::base::within::within_unless;
use crate::snapshot::RelativePath;

/// More instructions than any configuration file needs, and few enough to end within seconds.
const MOST_INSTRUCTIONS: u64 = 10_000_000;

/// A file that is made of a template.
#[derive(Clone, Debug)]
pub struct Render {
    pub template: Template,
    /// Below the volume.
    pub to: RelativePath,
    pub mode: u32,
    /// As `base::process::user` understands it; `None`: as we are.
    pub owner: Option<String>,
    pub values: BTreeMap<String, Value>,
    pub values_env: BTreeMap<String, Variable>,
    pub values_file: BTreeMap<String, PathBuf>,
    /// Mappings, each in a file of the form in which Kubernetes tells a pod its labels.
    pub values_downward: BTreeMap<String, PathBuf>,
}

#[derive(Clone, Debug)]
pub enum Template {
    File(PathBuf),
    Text(String),
}

/// A variable of the environment, and what it holds.
#[derive(Clone, Debug)]
pub struct Variable {
    pub name: String,
    pub value: Option<Secret>,
}

impl Render {
    /// What the file is to hold. Reads template and values, which a file system that hangs must not hold up for ever.
    pub(super) fn content(&self, limit: Duration, cancel: &Cancel) -> Result<String, Trouble> {
        let owned = self.clone();
        match within_unless(limit, cancel, move || owned.rendered()) {
            Some(rendered) => rendered,
            None if cancel.is_cancelled() => Err(Trouble::Stopped),
            None => Err(Trouble::Slow { limit }),
        }
    }

    fn rendered(&self) -> Result<String, Trouble> {
        let template = match &self.template {
            Template::Text(text) => text.clone(),
            Template::File(path) => std::fs::read_to_string(path)
                .map_err(|source| Trouble::Unreadable { path: path.clone(), source })?,
        };
        let mut values = self.values.clone();
        for (name, variable) in &self.values_env {
            let value = variable.value.as_ref().ok_or_else(|| Trouble::NoVariable {
                value: name.clone(),
                variable: variable.name.clone(),
            })?;
            values.insert(name.clone(), Value::from(value.reveal()));
        }
        for (name, path) in &self.values_file {
            let text = Text::File(path.clone());
            let text =
                text.read().map_err(|(_, source)| Trouble::Unreadable { path: path.clone(), source })?;
            values.insert(name.clone(), Value::from(text));
        }
        for (name, path) in &self.values_downward {
            let text = std::fs::read_to_string(path)
                .map_err(|source| Trouble::Unreadable { path: path.clone(), source })?;
            let mapping =
                downward(&text).map_err(|line| Trouble::NotDownward { path: path.clone(), line })?;
            values.insert(name.clone(), mapping);
        }
        fill_in(&template, &values)
            .map_err(|reason| Trouble::Template { template: self.template.name(), reason })
    }

    /// Who is to own the file, if somebody is named.
    pub(super) fn owner(&self) -> Result<Option<(u32, u32)>, Trouble> {
        owner_of(self.owner.as_deref())
    }
}

impl Template {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text(_) => "`text`".to_owned(),
        }
    }
}

/// Lines such as `app="wiki"`, the value quoted as Go does; otherwise the number of the first line that is not.
fn downward(text: &str) -> Result<Value, usize> {
    let mut mapping = serde_json::Map::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let (key, value) = line.split_once('=').ok_or(number + 1)?;
        mapping.insert(key.to_owned(), Value::from(unquoted(value).ok_or(number + 1)?));
    }
    Ok(Value::Object(mapping))
}

/// Go escapes as JSON does but for bytes that JSON cannot name.
fn unquoted(value: &str) -> Option<String> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    let (mut bytes, mut rest) = (Vec::with_capacity(inner.len()), inner.chars());
    let number = |rest: &mut std::str::Chars<'_>, digits: usize| {
        let text: String = rest.by_ref().take(digits).collect();
        u32::from_str_radix(&text, 16).ok().filter(|_| text.len() == digits)
    };
    while let Some(character) = rest.next() {
        let mut plain = |character: char| {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        };
        match character {
            '"' => return None,
            '\\' => match rest.next()? {
                escaped @ ('"' | '\\' | '\'') => plain(escaped),
                'n' => plain('\n'),
                'r' => plain('\r'),
                't' => plain('\t'),
                'a' => plain('\u{7}'),
                'b' => plain('\u{8}'),
                'f' => plain('\u{c}'),
                'v' => plain('\u{b}'),
                'x' => bytes.push(u8::try_from(number(&mut rest, 2)?).ok()?),
                'u' => plain(char::from_u32(number(&mut rest, 4)?)?),
                'U' => plain(char::from_u32(number(&mut rest, 8)?)?),
                _ => return None,
            },
            other => plain(other),
        }
    }
    String::from_utf8(bytes).ok()
}

fn fill_in(template: &str, values: &BTreeMap<String, Value>) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // What is rendered is no web page, whatever its name ends in.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // Text stays as it is; a line that only holds a statement leaves none.
    let syntax =
        SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| error.kind().to_string())?);
    environment.set_fuel(Some(MOST_INSTRUCTIONS));
    let in_words = |error: &minijinja::Error| {
        // Of what happened with values only the kind is told: the rest may show one.
        let text = match error.kind() {
            ErrorKind::SyntaxError
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownTest => match error.detail() {
                Some(detail) => format!("{}: {detail}", error.kind()),
                None => error.kind().to_string(),
            },
            kind => kind.to_string(),
        };
        match error.line() {
            Some(line) => format!("line {line}: {text}"),
            None => text,
        }
    };
    let template = environment.template_from_named_str("template", template).map_err(|e| in_words(&e))?;
    template.render(Serde(values)).map_err(|error| {
        let mut missing: Vec<String> = template
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !values.contains_key(name))
            .filter(|_| matches!(error.kind(), ErrorKind::UndefinedError | ErrorKind::UnknownFunction))
            .collect();
        missing.sort();
        match missing.is_empty() {
            true => in_words(&error),
            false => format!("{}; names without a value: {}", in_words(&error), missing.join(", ")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(json: Value) -> BTreeMap<String, Value> {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn values_take_the_place_of_their_names_and_nothing_else_changes() {
        let text = "dc={{ dc }}\nrack={{rack}}\n# <b> & \"quotes\" stay\n\n";
        let filled = fill_in(text, &values(json!({"dc": "dc1", "rack": "<r&1>"}))).unwrap();
        assert_eq!(filled, "dc=dc1\nrack=<r&1>\n# <b> & \"quotes\" stay\n\n");
        let text =
            "{% for seed in seeds %}{{ seed }}{% if not loop.last %},{% endif %}{% endfor %}:{{ port }}";
        let filled = fill_in(text, &values(json!({"seeds": ["a", "b"], "port": 9042}))).unwrap();
        assert_eq!(filled, "a,b:9042");
        let text = "a:\n  {% for seed in seeds %}\n  - {{ seed }}\n  {% endfor %}\nz\n";
        let filled = fill_in(text, &values(json!({"seeds": ["a", "b"]}))).unwrap();
        assert_eq!(filled, "a:\n  - a\n  - b\nz\n");
    }

    #[test]
    fn a_name_without_a_value_is_an_error_that_names_it() {
        let error = fill_in("a\n{{ rack }}{{ dc }}", &values(json!({"dc": "x"}))).unwrap_err();
        assert!(error.contains("line 2: undefined value") && error.contains("rack"), "{error}");
        assert!(fill_in("{{ dc }}{{ zone | default('z') }}", &values(json!({"dc": "x"}))).is_ok());
        assert!(fill_in("{% if rack %}{% endif %}", &BTreeMap::new()).is_err());
    }

    #[test]
    fn errors_show_no_value() {
        let values = values(json!({"password": "hunter2"}));
        for template in
            ["{{ password | int }}", "{{ password() }}", "{{ password.a.b }}", "{{ password + 1 }}"]
        {
            let error = fill_in(template, &values).unwrap_err();
            assert!(!error.contains("hunter2"), "{template}: {error}");
        }
        assert!(fill_in("{{ dc", &values).unwrap_err().contains("syntax error"));
    }

    #[test]
    fn a_template_without_an_end_is_stopped() {
        let text = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a * b }}{% endfor %}{% endfor %}";
        assert!(fill_in(text, &BTreeMap::new()).is_err());
    }

    #[test]
    fn what_a_pod_is_told_about_itself_is_a_mapping() {
        let text = "app.kubernetes.io/name=\"wiki\"\nnote=\"a=\\\"b\\\"\\nc \\u00e4 \\x41 ä\"\nempty=\"\"\n";
        let labels = downward(text).unwrap();
        assert_eq!(
            labels,
            json!({"app.kubernetes.io/name": "wiki", "note": "a=\"b\"\nc ä A ä", "empty": ""})
        );
        let values = values(json!({"labels": labels}));
        assert_eq!(fill_in("{{ labels['app.kubernetes.io/name'] }}", &values).unwrap(), "wiki");
        for (text, line) in
            [("a=\"b\"\nc\n", 2), ("a=b", 1), ("a=\"b", 1), ("a=\"\\x4\"", 1), ("a=\"b\"c\"", 1)]
        {
            assert_eq!(downward(text), Err(line), "{text}");
        }
    }

    #[test]
    fn sources_of_values_are_told_apart_in_errors() {
        let render = Render {
            template: Template::Text("{{ rack }}".to_owned()),
            to: RelativePath::new("a").unwrap(),
            mode: 0o644,
            owner: None,
            values: BTreeMap::new(),
            values_env: BTreeMap::from([(
                "rack".to_owned(),
                Variable { name: "RACK".to_owned(), value: None },
            )]),
            values_file: BTreeMap::new(),
            values_downward: BTreeMap::new(),
        };
        let error = render.rendered().unwrap_err();
        assert_eq!(error.to_string(), "the value rack is to come from the variable RACK, which is not set");
        let from_file = Render {
            values_env: BTreeMap::new(),
            values_file: BTreeMap::from([("rack".to_owned(), PathBuf::from("/nowhere/rack"))]),
            ..render
        };
        assert!(from_file.rendered().unwrap_err().to_string().contains("cannot read /nowhere/rack"));
    }
}
