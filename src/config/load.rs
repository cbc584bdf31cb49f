//! Puts file, environment and flags together and reports everything that is wrong in one go. Precedence: flag,
//! environment, file, default.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::base::environment::Environment;
use crate::base::secret::Secret;
use crate::config::environment::{self, CONFIG_VARIABLE, REPOSITORY};
use crate::config::error::{ConfigError, ConfigErrors};
use crate::config::file::{self, Document};
use crate::config::finding::{self, Needs};
use crate::config::model::{Config, LogFormat, LogLevel};
use crate::config::origin::{Origin, Origins};
use crate::config::steps::StepSpec;
use crate::config::surroundings::Surroundings;
use crate::config::{retention, schema, values};

/// The section that may be a text.
const RETENTION: &str = "retention";

pub const DEFAULT_FILE: &str = "/etc/volkeep/config.yaml";

/// What the command line sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub volume: Option<String>,
    /// Takes the place of all repositories of the file. An address may hold a key or a token.
    pub repository: Option<Secret>,
    pub log_format: Option<LogFormat>,
    pub log_level: Option<LogLevel>,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub origins: Origins,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// Its text, for a child that is to have the same. There may be secrets in it.
    pub text: Secret,
    /// To be logged once the log is set up as the configuration says.
    pub warnings: Vec<String>,
}

pub fn load(flags: &Flags, environment: &Environment, needs: Needs) -> Result<Loaded, ConfigErrors> {
    load_with_default(flags, environment, needs, Path::new(DEFAULT_FILE))
}

fn load_with_default(
    flags: &Flags,
    environment: &Environment,
    needs: Needs,
    default_file: &Path,
) -> Result<Loaded, ConfigErrors> {
    let schema = schema::json_schema();
    let mut draft = Draft::default();
    let file = draft.take_file(flags, environment, default_file)?;
    let variables = environment::read(environment, &schema);
    draft.errors.extend(variables.errors);
    for setting in variables.settings {
        draft.set(&setting.key, setting.value, Origin::Variable(setting.name));
    }
    draft.take_flags(flags);
    draft.take_repository();
    draft.refuse_unknown_keys(&schema);
    let mut config = Config { surroundings: Surroundings::of(environment), ..draft.config(&schema, needs) };
    config.surroundings.remember(environment, config.init.steps.iter().flat_map(StepSpec::variables));
    match draft.errors.is_empty() {
        true => Ok(Loaded {
            config,
            origins: draft.origins,
            file,
            text: Secret::new(draft.text),
            warnings: variables.warnings,
        }),
        false => Err(ConfigErrors(draft.errors)),
    }
}

#[derive(Default)]
struct Draft {
    text: String,
    values: Map<String, Value>,
    origins: Origins,
    errors: Vec<ConfigError>,
    /// The repository that variables and flags describe, with the origin of each of its keys.
    repository: Map<String, Value>,
    repository_origins: Vec<(String, Origin)>,
}

impl Draft {
    fn take_file(
        &mut self,
        flags: &Flags,
        environment: &Environment,
        default_file: &Path,
    ) -> Result<Option<PathBuf>, ConfigErrors> {
        let variable = environment.get(CONFIG_VARIABLE).filter(|path| !path.is_empty());
        let (path, named_by) = match (&flags.config, variable) {
            (Some(path), _) => (path.clone(), Some("named by --config")),
            (None, Some(path)) => (PathBuf::from(path), Some("named by VOLKEEP_CONFIG")),
            (None, None) => (default_file.to_owned(), None),
        };
        let Some((text, Document { values, lines })) = file::read(&path)? else {
            return match named_by {
                Some(named_by) => {
                    Err(ConfigError::FileMissing { path, named_by: named_by.to_owned() }.into())
                }
                None => Ok(None),
            };
        };
        (self.text, self.values) = (text, values);
        for (key, line) in lines {
            self.origins.set(&key, Origin::File { path: path.clone(), line: Some(line) });
        }
        if let Some(Value::String(short)) = self.values.get(RETENTION).cloned() {
            self.values.remove(RETENTION);
            self.take_retention(&short, self.origins.of(RETENTION));
        }
        Ok(Some(path))
    }

    fn take_flags(&mut self, flags: &Flags) {
        let flag = |name: &str| Origin::Flag(name.to_owned());
        if let Some(path) = &flags.volume {
            self.set("volume.path", Value::from(path.as_str()), flag("--volume"));
        }
        if let Some(url) = &flags.repository {
            self.set("repository.url", Value::from(url.reveal()), flag("--repository"));
        }
        if let Some(format) = flags.log_format {
            self.set("log.format", serde_json::to_value(format).unwrap_or_default(), flag("--log-format"));
        }
        if let Some(level) = flags.log_level {
            self.set("log.level", serde_json::to_value(level).unwrap_or_default(), flag("-q or -v"));
        }
    }

    fn take_retention(&mut self, short: &str, origin: Origin) {
        match retention::from_short(short) {
            Ok(rules) => {
                for (name, value) in rules {
                    let key = format!("{RETENTION}.{name}");
                    values::insert(&mut self.values, &key, value);
                    self.origins.set(&key, origin.clone());
                }
            }
            Err(message) => {
                self.errors.push(ConfigError::Value { key: RETENTION.to_owned(), origin, message });
            }
        }
    }

    fn set(&mut self, key: &str, value: Value, origin: Origin) {
        if let (RETENTION, Value::String(short)) = (key, &value) {
            return self.take_retention(short, origin);
        }
        match key.strip_prefix(REPOSITORY).and_then(|rest| rest.strip_prefix('.')) {
            Some(name) => {
                values::insert(&mut self.repository, name, value);
                self.repository_origins.push((name.to_owned(), origin));
            }
            None => {
                values::insert(&mut self.values, key, value);
                self.origins.set(key, origin);
            }
        }
    }

    /// One address by flag or variable takes the place of the whole list; its other keys need that address.
    fn take_repository(&mut self) {
        if self.repository.contains_key("url") {
            let one = Value::Object(std::mem::take(&mut self.repository));
            self.values.insert("repositories".to_owned(), Value::Array(vec![one]));
            let url = self.repository_origins.iter().rfind(|(name, _)| name == "url");
            self.origins.set("repositories", url.map_or(Origin::Default, |(_, origin)| origin.clone()));
            for (name, origin) in &self.repository_origins {
                self.origins.set(&format!("repositories[0].{name}"), origin.clone());
            }
        } else if let Some((name, origin)) = self.repository_origins.first() {
            self.errors.push(ConfigError::Value {
                key: format!("{REPOSITORY}.{name}"),
                origin: origin.clone(),
                message: "it describes the repository of VOLKEEP_REPOSITORY, which is not set".to_owned(),
            });
        }
    }

    fn refuse_unknown_keys(&mut self, schema: &Value) {
        let all = Value::Object(self.values.clone());
        for unknown in schema::unknown_keys(&all, schema) {
            let origin = self.origins.of(&unknown.path);
            let nearest = unknown.nearest;
            values::remove(&mut self.values, &unknown.path);
            self.errors.push(ConfigError::UnknownKey { key: unknown.path, origin, nearest });
        }
    }

    /// What can be read is checked as well, so that one run names every fault. Without errors it is complete.
    fn config(&mut self, schema: &Value, needs: Needs) -> Config {
        for key in values::drop_nulls(&mut self.values) {
            self.origins.forget(&key);
        }
        let faults = values::faults(&self.values, schema);
        let mut refused: Vec<String> = Vec::new();
        for fault in faults {
            let origin = self.origins.of(&fault.key);
            values::remove(&mut self.values, &fault.key);
            refused.push(fault.key.clone());
            self.errors.push(ConfigError::Value { key: fault.key, origin, message: fault.message });
        }
        let mut config = match serde_json::from_value::<Config>(Value::Object(self.values.clone())) {
            Ok(config) => config,
            Err(error) => {
                // Each value is fine alone, so this is the last resort for what only shows together.
                self.errors.push(ConfigError::Value {
                    key: "configuration".to_owned(),
                    origin: Origin::Default,
                    message: error.to_string(),
                });
                return Config::default();
            }
        };
        finding::complete(&mut config);
        for finding in finding::findings(&config, needs) {
            // A key that could not be read holds its default now: whatever that leads to is no news.
            let known = |key: &String| finding.key == *key || key.starts_with(&format!("{}[", finding.key));
            if !refused.iter().any(known) {
                let origin = self.origins.of(&finding.key);
                self.errors.push(finding.into_error(origin));
            }
        }
        config
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
