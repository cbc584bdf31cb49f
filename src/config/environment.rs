//! Environment variables as settings: every key of the schema has one, and any may come from a file by
//! `…_FILE`; where the schema itself has a key for that file, the variable sets that. Must not know single keys but
//! those with short names.

use std::path::PathBuf;

use serde_json::Value;

use crate::base::environment::Environment;
use crate::config::error::ConfigError;
use crate::config::file;
use crate::config::origin::Origin;
use crate::config::schema::{self, Form, Key};

pub const PREFIX: &str = "VOLKEEP_";
pub const CONFIG_VARIABLE: &str = "VOLKEEP_CONFIG";
pub const TERMINATION_LOG_VARIABLE: &str = "VOLKEEP_TERMINATION_LOG";

/// Stands in front of the keys of the one repository that variables and flags can describe.
pub const REPOSITORY: &str = "repository";

/// The first of several is the one that is spoken of. `RUNAT` is what other sidecars call it.
const SHORT: [(&str, &str); 8] = [
    ("VOLKEEP_VOLUME", "volume.path"),
    ("VOLKEEP_STATE_DIR", "volume.state_dir"),
    ("VOLKEEP_IDENTITY", "volume.identity"),
    ("VOLKEEP_REPOSITORY", "repository.url"),
    ("VOLKEEP_SCHEDULE", "jobs.backup.schedule"),
    ("RUNAT", "jobs.backup.schedule"),
    ("VOLKEEP_PING_URL", "sidecar.ping_url"),
    ("VOLKEEP_PING_URL_FILE", "sidecar.ping_url_file"),
];

/// A key that a variable sets. `name` is the variable, with `_FILE` if it was that.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub key: String,
    pub name: String,
    pub value: Value,
}

#[derive(Debug, Default)]
pub struct Variables {
    pub settings: Vec<Setting>,
    pub errors: Vec<ConfigError>,
    pub warnings: Vec<String>,
}

/// An empty variable counts as not set: that is what templates and compose files leave behind.
pub fn read(environment: &Environment, schema: &Value) -> Variables {
    let keys = settable_keys(schema);
    let mut found = Variables::default();
    for key in &keys {
        match given(environment, key, &keys).and_then(|set| set.map(|set| convert(key, set)).transpose()) {
            Ok(setting) => found.settings.extend(setting),
            Err(error) => found.errors.push(error),
        }
    }
    sort_out_unknown(environment, &keys, &mut found);
    found
}

/// The variable that sets `key`; the short one where there is one.
pub fn variable_for(key: &str) -> String {
    let short = SHORT.iter().find(|(_, short)| *short == key).map(|(name, _)| (*name).to_owned());
    short.unwrap_or_else(|| format!("{PREFIX}{}", key.replace('.', "_").to_uppercase()))
}

/// The keys that have a variable; those of the one repository below [`REPOSITORY`].
pub fn settable_keys(schema: &Value) -> Vec<Key> {
    // What may be a text or a mapping has a variable for the text as well; it comes first, so that those for single
    // keys add to it.
    let mut keys = schema::short_forms(schema);
    keys.extend(schema::keys(schema));
    let one = schema::keys(schema::items(schema, "repositories"));
    keys.extend(one.into_iter().map(|key| Key { path: format!("{REPOSITORY}.{}", key.path), ..key }));
    keys
}

/// A variable that can set a key.
struct Name {
    text: String,
    /// It names a file with the value.
    of_file: bool,
}

fn names(key: &Key, all: &[Key]) -> Vec<Name> {
    let long = format!("{PREFIX}{}", key.path.replace('.', "_").to_uppercase());
    let short = SHORT.iter().filter(|(_, short)| *short == key.path).map(|(name, _)| (*name).to_owned());
    let plain: Vec<String> = short.chain([long]).collect();
    let exists = |path: &str| all.iter().any(|other| other.path == path);
    // `secret` with a twin `secret_file`: the variable SECRET_FILE is that of the twin, which is read when it is
    // needed; and nobody means the file SECRET_FILE_FILE.
    let twin = exists(&format!("{}_file", key.path)) || key.path.strip_suffix("_file").is_some_and(exists);
    plain
        .into_iter()
        .flat_map(|text| {
            let ours = text.starts_with(PREFIX);
            let file = (ours && !twin).then(|| Name { text: format!("{text}_FILE"), of_file: true });
            [Some(Name { text, of_file: false }), file]
        })
        .flatten()
        .collect()
}

struct Given {
    name: String,
    text: String,
}

fn given(environment: &Environment, key: &Key, all: &[Key]) -> Result<Option<Given>, ConfigError> {
    let names = names(key, all);
    let mut set = names
        .iter()
        .filter_map(|name| Some((name, environment.get(&name.text)?)))
        .filter(|(_, text)| !text.is_empty());
    let Some((Name { text: name, of_file }, text)) = set.next() else { return Ok(None) };
    if let Some((second, _)) = set.next() {
        return Err(ConfigError::SetTwice { first: name.clone(), second: second.text.clone() });
    }
    let text =
        match of_file {
            false => text.to_owned(),
            true => {
                let path = PathBuf::from(text);
                let mut content = std::fs::read_to_string(&path)
                    .map_err(|source| ConfigError::VariableFile { name: name.clone(), path, source })?;
                // Editors and `echo` end a file with a new line that is no part of the value.
                if content.ends_with('\n') {
                    content.pop();
                    if content.ends_with('\r') {
                        content.pop();
                    }
                }
                content
            }
        };
    Ok(Some(Given { name: name.clone(), text }))
}

fn convert(key: &Key, given: Given) -> Result<Setting, ConfigError> {
    let Given { name, text } = given;
    let refuse = |message: String| ConfigError::Value {
        key: key.path.clone(),
        origin: Origin::Variable(name.clone()),
        message,
    };
    let value = match key.form {
        Form::Text => Value::from(text),
        Form::Bool => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Value::from(true),
            "false" | "no" | "off" | "0" => Value::from(false),
            _ => return Err(refuse(format!("`{text}` is neither true nor false"))),
        },
        Form::Integer => match text.trim().parse::<i64>() {
            Ok(number) => Value::from(number),
            Err(_) => return Err(refuse(format!("`{text}` is not a whole number"))),
        },
        Form::TextList => {
            text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect()
        }
        Form::Structure => {
            // The reader wants a mapping at the top.
            let wrapped = format!("value:\n{}", indent(&text));
            let mut document =
                file::parse(&wrapped).map_err(|message| refuse(format!("not YAML: {message}")))?;
            document.values.remove("value").unwrap_or_default()
        }
    };
    Ok(Setting { key: key.path.clone(), name, value })
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// A name close to one of ours is a typing error, and refused: `VOLKEEP_INIT_ON_STALE` misspelt must not quietly
/// mean the default. A name that resembles nothing may be somebody else's, and is only mentioned.
fn sort_out_unknown(environment: &Environment, keys: &[Key], found: &mut Variables) {
    let mut known: Vec<String> = keys.iter().flat_map(|key| names(key, keys)).map(|name| name.text).collect();
    known.extend([CONFIG_VARIABLE.to_owned(), TERMINATION_LOG_VARIABLE.to_owned()]);
    let unknown = environment
        .iter()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with(PREFIX) && !known.iter().any(|other| other == name))
        .filter(|name| !is_service_link(name));
    for name in unknown {
        match schema::nearest(name, known.iter().map(String::as_str)) {
            Some(nearest) => {
                found.errors.push(ConfigError::UnknownVariable { name: name.to_owned(), nearest });
            }
            None => found.warnings.push(format!("the variable {name} means nothing")),
        }
    }
}

/// Kubernetes puts `VOLKEEP_SERVICE_HOST`, `VOLKEEP_PORT_80_TCP_ADDR` and the like into every container when
/// there is a service called volkeep.
fn is_service_link(name: &str) -> bool {
    let numbered = |(_, rest): (&str, &str)| rest.starts_with(|first: char| first.is_ascii_digit());
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.split_once("_PORT_").is_some_and(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings<const N: usize>(variables: [(&str, &str); N]) -> Variables {
        read(&Environment::from(variables), &schema::json_schema())
    }

    fn value_of<'a>(variables: &'a Variables, key: &str) -> &'a Value {
        let setting = variables.settings.iter().find(|setting| setting.key == key);
        setting.map_or(&Value::Null, |setting| &setting.value)
    }

    #[test]
    fn values_take_the_form_of_their_key() {
        let read = settings([
            ("VOLKEEP_VOLUME", "/data"),
            ("VOLKEEP_REPOSITORY", "file:///b"),
            ("VOLKEEP_REPOSITORY_LEVEL", "3"),
            ("VOLKEEP_INIT_CREATE_REPOSITORY", "TRUE"),
            ("VOLKEEP_VOLUME_QUARANTINE_KEEP", "2d"),
            ("VOLKEEP_VOLUME_EXCLUDE", "/cache/**, *.tmp\n*.log"),
            ("VOLKEEP_INIT_CHECKS", "[{exists: a.db}]"),
            ("VOLKEEP_LOG_LEVEL", ""),
        ]);
        assert!(read.errors.is_empty() && read.warnings.is_empty(), "{read:?}");
        assert_eq!(value_of(&read, "volume.path"), "/data");
        assert_eq!(value_of(&read, "repository.url"), "file:///b");
        assert_eq!(value_of(&read, "repository.level"), 3);
        assert_eq!(value_of(&read, "init.create_repository"), true);
        assert_eq!(value_of(&read, "volume.quarantine.keep"), "2d");
        assert_eq!(value_of(&read, "volume.exclude"), &json!(["/cache/**", "*.tmp", "*.log"]));
        assert_eq!(value_of(&read, "init.checks"), &json!([{"exists": "a.db"}]));
        assert_eq!(read.settings.len(), 7);
    }

    #[test]
    fn a_file_gives_a_value_without_its_last_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("url");
        std::fs::write(&path, "file:///b\n").unwrap();
        let read = settings([("VOLKEEP_REPOSITORY_FILE", path.to_str().unwrap())]);
        assert_eq!(value_of(&read, "repository.url"), "file:///b");

        let read = settings([("VOLKEEP_REPOSITORY_FILE", "/no/such/file")]);
        assert!(matches!(read.errors.as_slice(), [ConfigError::VariableFile { .. }]), "{read:?}");
    }

    #[test]
    fn a_key_with_a_twin_for_its_file_takes_the_path_as_it_is() {
        let read = settings([
            ("VOLKEEP_REPOSITORY", "s3://bucket/x"),
            ("VOLKEEP_REPOSITORY_S3_ACCESS_KEY_ID", "AKIA"),
            ("VOLKEEP_REPOSITORY_S3_SECRET_ACCESS_KEY_FILE", "/no/such/file"),
            ("VOLKEEP_REPOSITORY_S3_CA_FILE", "/ca.pem"),
            ("VOLKEEP_REPOSITORY_S3_ANONYMOUS", "no"),
        ]);
        assert!(read.errors.is_empty() && read.warnings.is_empty(), "{read:?}");
        assert_eq!(value_of(&read, "repository.s3.access_key_id"), "AKIA");
        assert_eq!(value_of(&read, "repository.s3.secret_access_key_file"), "/no/such/file");
        assert_eq!(value_of(&read, "repository.s3.ca_file"), "/ca.pem");
        assert_eq!(value_of(&read, "repository.s3.anonymous"), false);

        let read = settings([("VOLKEEP_REPOSITORY_S3_SECRET_ACCESS_KEY_FILE_FILE", "/x")]);
        assert!(read.settings.is_empty() && read.errors.len() == 1, "{read:?}");
    }

    #[test]
    fn two_variables_for_one_key_are_refused() {
        for second in ["VOLKEEP_VOLUME_FILE", "VOLKEEP_VOLUME_PATH"] {
            let read = settings([("VOLKEEP_VOLUME", "/a"), (second, "/b")]);
            let [error] = read.errors.as_slice() else { panic!("{read:?}") };
            assert!(error.to_string().contains(second), "{error}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_form_names_its_variable() {
        let read =
            settings([("VOLKEEP_LIMITS_CONNECTIONS", "many"), ("VOLKEEP_BACKUP_ALLOW_EMPTY", "maybe")]);
        let errors: Vec<String> = read.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "`backup.allow_empty` (variable VOLKEEP_BACKUP_ALLOW_EMPTY): `maybe` is neither true nor false",
                "`limits.connections` (variable VOLKEEP_LIMITS_CONNECTIONS): `many` is not a whole number",
            ]
        );
    }

    #[test]
    fn a_mistyped_variable_is_refused_and_a_strange_one_mentioned() {
        let read = settings([
            ("VOLKEEP_VOLUMME", "/data"),
            ("VOLKEEP_COLOUR_OF_THE_SKY", "blue"),
            ("VOLKEEP_SERVICE_HOST", "10.0.0.1"),
            ("VOLKEEP_SERVICE_PORT_HTTP", "80"),
            ("VOLKEEP_PORT", "tcp://10.0.0.1:80"),
            ("VOLKEEP_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("VOLKEEP_METRICS_SERVICE_PORT", "80"),
            ("VOLKEEP_CONFIG", "/x"),
            ("OTHER", "x"),
        ]);
        let errors: Vec<String> = read.errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, ["the variable VOLKEEP_VOLUMME means nothing; did you mean VOLKEEP_VOLUME?"]);
        assert_eq!(read.warnings, ["the variable VOLKEEP_COLOUR_OF_THE_SKY means nothing"]);
    }
}
