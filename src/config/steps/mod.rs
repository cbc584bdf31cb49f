//! The steps of `init` as they stand in the file, and the way from there to those that are done. Secrets are shown
//! nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::action::CommandAction;
use crate::base::secret::Secret;
use crate::base::units::Span;
use crate::config::actions::{HiddenText, HttpFields, absolute, command_fault, only_with, texts};
use crate::snapshot::RelativePath;
use crate::step::{Kind, Render, Source, Step, Variable, Wait, When};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_BACKOFF: Duration = Duration::from_secs(1);
const DEFAULT_MODE: u32 = 0o644;
const LONGEST_NAME: usize = 64;
const MOST_RETRIES: u32 = 100;

/// One step: exactly one of `wait_for`, `render`, `run` and `http` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StepFields", into = "StepFields")]
pub struct StepSpec {
    fields: StepFields,
    what: What,
}

/// The kind, in the form that is used.
#[derive(Clone, Debug, PartialEq)]
enum What {
    WaitFor(Target),
    Render { to: RelativePath, mode: u32 },
    Run,
    Http,
}

#[derive(Clone, Debug, PartialEq)]
enum Target {
    Http,
    Tcp { host: String, port: u16 },
    Dns(String),
    File(PathBuf),
}

/// One step: exactly one of `wait_for`, `render`, `run` and `http` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StepFields {
    /// How messages call it; with `once` it is needed, and is the key of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Wait until something is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wait_for: Option<WaitFields>,
    /// A file on the volume, made of a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    render: Option<RenderFields>,
    /// A program and its arguments; no shell is involved. Exit code 0 is success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<Vec<String>>,
    /// A request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http: Option<HttpStepFields>,
    /// With `run`: variables for the command. Values are not shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, HiddenText>,
    /// With `run`: variables whose values are read from files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    env_file: BTreeMap<String, PathBuf>,
    /// With `run`: the working directory (default: the volume).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    directory: Option<PathBuf>,
    /// With `run`: as whom, when volkeep is root: `name`, `name:group` or `uid:gid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// When it has its turn (default: always).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    when: Option<When>,
    /// Whether it is done once for the data on the volume and a `version`, and recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    once: Option<bool>,
    /// With `once`: a step with a higher version than the recorded one is done again (default: 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// How long one attempt may take (default: 1m).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<Span>,
    /// How often it is tried again (default: 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retries: Option<u32>,
    /// The pause before the second attempt; it doubles each time (default: 1s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backoff: Option<Span>,
}

/// Exactly one of `http`, `tcp`, `dns` and `file` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WaitFields {
    /// An address that answers. It may hold a token, so it is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http: Option<HiddenText>,
    /// With `http`: the statuses to wait for (default: 200 to 299).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    expect: Vec<u16>,
    /// With `http`: certificates in PEM that are trusted besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    /// A `host:port` that accepts connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tcp: Option<String>,
    /// A name that leads to an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dns: Option<String>,
    /// Something that is there, as an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

/// A file on the volume, made of a template. Exactly one of `template` and `text` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RenderFields {
    /// The absolute path of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    template: Option<PathBuf>,
    /// Instead: the template itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The file, relative to the volume.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    to: String,
    /// Its mode in octal digits, in quotes (default: "0644").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// Its owner, which needs root: `name`, `name:group` or `uid:gid` (default: as volkeep runs).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// Values by the names that the template has for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    values: BTreeMap<String, Value>,
    /// Values that are in variables of the environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    values_env: BTreeMap<String, String>,
    /// Values that are in files; one line feed at the end is no part of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    values_file: BTreeMap<String, PathBuf>,
}

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
struct HttpStepFields {
    #[serde(flatten)]
    request: HttpFields,
    /// Statuses that mean that it was done before: success, and told as such.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    already: Vec<u16>,
}

impl JsonSchema for StepSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StepSpec".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        StepFields::json_schema(generator)
    }
}

impl From<StepSpec> for StepFields {
    fn from(spec: StepSpec) -> Self {
        spec.fields
    }
}

impl TryFrom<StepFields> for StepSpec {
    type Error = String;

    fn try_from(fields: StepFields) -> Result<Self, String> {
        let what = match (&fields.wait_for, &fields.render, &fields.run, &fields.http) {
            (Some(wait), None, None, None) => What::WaitFor(wait.target()?),
            (None, Some(render), None, None) => render.what()?,
            (None, None, Some(argv), None) => {
                if argv.first().is_none_or(String::is_empty) {
                    return Err("`run` is empty".to_owned());
                }
                command_fault(fields.directory.as_deref(), &fields.env, &fields.env_file)?;
                What::Run
            }
            (None, None, None, Some(http)) => {
                http.request.fault()?;
                statuses("already", &http.already)?;
                What::Http
            }
            _ => return Err("exactly one of wait_for, render, run, http is expected".to_owned()),
        };
        if what != What::Run {
            let of_run = [
                ("env", !fields.env.is_empty()),
                ("env_file", !fields.env_file.is_empty()),
                ("directory", fields.directory.is_some()),
                ("user", fields.user.is_some()),
            ];
            only_with("run", &of_run)?;
        }
        fields.once_fault(&what)?;
        Ok(Self { fields, what })
    }
}

impl StepFields {
    fn once_fault(&self, what: &What) -> Result<(), String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let once = self.once == Some(true);
        match &self.name {
            Some(name) if !(1..=LONGEST_NAME).contains(&name.len()) || !name.bytes().all(fits) => {
                Err(format!("`name`: 1 to {LONGEST_NAME} letters, digits, `.`, `_` or `-` are expected"))
            }
            None if once => {
                Err("with `once` a `name` is needed: under it is recorded that it was done".to_owned())
            }
            _ if once && matches!(what, What::WaitFor(_)) => {
                Err("`once` makes no sense with `wait_for`".to_owned())
            }
            _ if !once && self.version.is_some() => Err("`version` goes with `once: true`".to_owned()),
            _ if !once && self.when == Some(When::Upgraded) => {
                Err("`when: upgraded` goes with `once: true`: nothing else is recorded".to_owned())
            }
            _ if self.version == Some(0) => Err("`version` counts from 1".to_owned()),
            _ => Ok(()),
        }
    }
}

impl WaitFields {
    fn target(&self) -> Result<Target, String> {
        if self.http.is_none() && (!self.expect.is_empty() || self.ca_file.is_some()) {
            return Err("`expect` and `ca_file` go with `http` only".to_owned());
        }
        match (&self.http, &self.tcp, &self.dns, &self.file) {
            (Some(_), None, None, None) => self.request().fault().map(|()| Target::Http),
            (None, Some(tcp), None, None) => {
                let place = tcp.rsplit_once(':').and_then(|(host, port)| {
                    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                    Some((host.to_owned(), port.parse::<u16>().ok().filter(|port| *port > 0)?))
                });
                match place {
                    Some((host, port)) if !host.is_empty() => Ok(Target::Tcp { host, port }),
                    _ => Err(format!("`tcp`: `{tcp}` is not a host:port such as db:5432")),
                }
            }
            (None, None, Some(host), None) if host.is_empty() || host.contains(['/', ':']) => {
                Err(format!("`dns`: `{host}` is not the name of a host"))
            }
            (None, None, Some(host), None) => Ok(Target::Dns(host.clone())),
            (None, None, None, Some(path)) => {
                absolute("file", Some(path)).map(|()| Target::File(path.clone()))
            }
            _ => Err("`wait_for`: exactly one of http, tcp, dns, file is expected".to_owned()),
        }
    }

    fn request(&self) -> HttpFields {
        HttpFields::get(self.http.clone(), &self.expect, self.ca_file.clone())
    }
}

impl RenderFields {
    fn what(&self) -> Result<What, String> {
        match (&self.template, &self.text) {
            (Some(path), None) => absolute("template", Some(path))?,
            (None, Some(_)) => {}
            _ => return Err("`render` needs either `template` or `text`".to_owned()),
        }
        let to = RelativePath::new(self.to.clone().into_bytes()).map_err(|error| format!("`to`: {error}"))?;
        if to.is_root() {
            return Err("`render` needs a `to`, the file below the volume".to_owned());
        }
        let mode = match &self.mode {
            None => DEFAULT_MODE,
            Some(text) => u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777 && (3..=5).contains(&text.len()))
                .ok_or_else(|| format!("`mode`: `{text}` is not a mode in octal digits such as \"0644\""))?,
        };
        let mut seen = BTreeSet::new();
        for name in self.values.keys().chain(self.values_env.keys()).chain(self.values_file.keys()) {
            if !is_name(name) {
                return Err(format!("`{name}` is not a name that a template can use"));
            }
            if !seen.insert(name) {
                return Err(format!("the value `{name}` is set twice; one of them has to go"));
            }
        }
        for (name, path) in &self.values_file {
            absolute(&format!("values_file.{name}"), Some(path))?;
        }
        if let Some((name, _)) = self.values_env.iter().find(|(_, variable)| variable.is_empty()) {
            return Err(format!("`values_env.{name}` names no variable"));
        }
        Ok(What::Render { to, mode })
    }
}

fn is_name(name: &str) -> bool {
    let first = name.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn statuses(key: &str, given: &[u16]) -> Result<(), String> {
    match given.iter().find(|status| !(100..=599).contains(*status)) {
        Some(status) => Err(format!("`{key}`: {status} is not a status from 100 to 599")),
        None => Ok(()),
    }
}

impl StepSpec {
    /// `variables` are those of the environment that steps name.
    pub fn step(&self, variables: &BTreeMap<String, Secret>) -> Step {
        let fields = &self.fields;
        Step {
            name: fields.name.clone(),
            kind: self.kind(variables),
            timeout: fields.timeout.map_or(DEFAULT_TIMEOUT, |span| span.0),
            retries: fields.retries.unwrap_or(0),
            backoff: fields.backoff.map_or(DEFAULT_BACKOFF, |span| span.0),
            when: fields.when.unwrap_or_default(),
            once: fields.once.unwrap_or(false),
            version: fields.version.unwrap_or(1),
        }
    }

    fn kind(&self, variables: &BTreeMap<String, Secret>) -> Kind {
        let fields = &self.fields;
        match (&self.what, &fields.wait_for, &fields.render, &fields.http) {
            (What::WaitFor(target), Some(wait), ..) => Kind::WaitFor(match target {
                Target::Http => Wait::Http(Box::new(wait.request().action())),
                Target::Tcp { host, port } => Wait::Tcp { host: host.clone(), port: *port },
                Target::Dns(host) => Wait::Dns(host.clone()),
                Target::File(path) => Wait::File(path.clone()),
            }),
            (What::Render { to, mode }, _, Some(render), _) => Kind::Render(Render {
                source: match (&render.template, &render.text) {
                    (Some(path), _) => Source::File(path.clone()),
                    (None, text) => Source::Text(text.clone().unwrap_or_default()),
                },
                to: to.clone(),
                mode: *mode,
                owner: render.owner.clone(),
                values: render.values.clone(),
                values_env: render
                    .values_env
                    .iter()
                    .map(|(value, name)| {
                        let variable = Variable { name: name.clone(), value: variables.get(name).cloned() };
                        (value.clone(), variable)
                    })
                    .collect(),
                values_file: render.values_file.clone(),
            }),
            (What::Http, _, _, Some(http)) => {
                Kind::Http { request: Box::new(http.request.action()), already: http.already.clone() }
            }
            _ => Kind::Run(CommandAction {
                argv: fields.run.clone().unwrap_or_default(),
                env: texts(&fields.env, &fields.env_file),
                directory: fields.directory.clone(),
                user: fields.user.clone(),
            }),
        }
    }

    /// The variables of the environment that are values.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.fields.render.iter().flat_map(|render| render.values_env.values().map(String::as_str))
    }
}

/// Keys below that of the steps, and what is wrong with them.
pub fn faults(steps: &[StepSpec], volume: &Path, state_dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut names = BTreeSet::new();
    for (number, step) in steps.iter().enumerate() {
        let mut refuse = |key: &str, message: &str| {
            found.push((format!("[{number}].{key}"), message.to_owned()));
        };
        let fields = &step.fields;
        if fields.timeout.is_some_and(|timeout| timeout.0.is_zero()) {
            refuse("timeout", "a time limit of 0 would never be kept");
        }
        if fields.retries.is_some_and(|retries| retries > MOST_RETRIES) {
            refuse("retries", &format!("more than {MOST_RETRIES}"));
        }
        if let Some(name) = &fields.name
            && !names.insert(name)
        {
            refuse("name", &format!("another step is called `{name}` as well"));
        }
        if let What::Render { to, .. } = &step.what
            && !volume.as_os_str().is_empty()
            && to.below(volume).starts_with(state_dir)
        {
            refuse("render.to", "it lies in the state directory");
        }
    }
    found
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
