//! The steps of `init` as they stand in the file, and the way from there to those that are done. Secrets are shown
//! nowhere.

mod fetch;
mod notify;
mod permissions;
mod render;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::action::CommandAction;
use crate::base::secret::Secret;
use crate::base::units::Span;
use crate::config::actions::{HiddenText, HttpFields, command_fault, only_with, texts};
use crate::config::model::RepositoryConfig;
use crate::notice::Channel;
use crate::snapshot::RelativePath;
use crate::step::{Kind, Source, Step, When};
use fetch::FetchFields;
use notify::NotifyFields;
use permissions::PermissionsFields;
use render::RenderFields;
use wait::WaitFields;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// What is fetched may be large.
const DEFAULT_FETCH_TIMEOUT: Duration = Duration::from_secs(600);
const DEFAULT_BACKOFF: Duration = Duration::from_secs(1);
const DEFAULT_MODE: u32 = 0o644;
const LONGEST_NAME: usize = 64;
const MOST_RETRIES: u32 = 100;

/// One step: exactly one of `wait_for`, `fetch`, `render`, `run`, `http`, `notify` and `permissions` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StepFields", into = "StepFields")]
pub struct StepSpec {
    fields: StepFields,
    what: What,
}

/// The kind, in the form that is used.
#[derive(Clone, Debug, PartialEq)]
enum What {
    WaitFor(WaitFields, wait::Target),
    Fetch(Box<(FetchFields, fetch::Parsed)>),
    Render(Box<RenderFields>, RelativePath, u32),
    Run,
    Http(Box<HttpStepFields>),
    Notify(Box<NotifyFields>, Box<Channel>),
    Permissions(PermissionsFields, Option<u32>),
}

/// What a step needs of the rest of the configuration.
#[expect(missing_debug_implementations, reason = "it holds a closure, and secrets")]
pub struct StepContext<'a> {
    /// Those of the environment that steps name.
    pub variables: &'a BTreeMap<String, Secret>,
    pub volume: &'a Path,
    pub state_dir: &'a Path,
    /// What is at an address of S3, or by this name at one of git.
    pub source: &'a SourceOf<'a>,
}

pub type SourceOf<'a> = dyn Fn(&RepositoryConfig, Option<&RelativePath>) -> Arc<dyn Source> + 'a;

/// One step: exactly one of `wait_for`, `fetch`, `render`, `run`, `http`, `notify` and `permissions` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StepFields {
    /// How messages call it; with `once` it is needed, and is the key of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Wait until something is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wait_for: Option<WaitFields>,
    /// A file, or what is in an archive, brought onto the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fetch: Option<FetchFields>,
    /// A file on the volume, made of a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    render: Option<RenderFields>,
    /// A program and its arguments; no shell is involved. Exit code 0 is success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<Vec<String>>,
    /// A request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http: Option<HttpStepFields>,
    /// People, or a service, are told that the app starts. When that fails, it is a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notify: Option<NotifyFields>,
    /// Owner and mode of the volume's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permissions: Option<PermissionsFields>,
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
    /// How long one attempt may take (default: 1m; 10m for `fetch`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<Span>,
    /// How often it is tried again (default: 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retries: Option<u32>,
    /// The pause before the second attempt; it doubles each time (default: 1s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backoff: Option<Span>,
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
        let what = fields.what()?;
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
    fn what(&self) -> Result<What, String> {
        let given = [
            self.wait_for.is_some(),
            self.fetch.is_some(),
            self.render.is_some(),
            self.run.is_some(),
            self.http.is_some(),
            self.notify.is_some(),
            self.permissions.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err("exactly one of wait_for, fetch, render, run, http, notify, permissions is expected"
                .to_owned());
        }
        if let Some(wait) = &self.wait_for {
            return Ok(What::WaitFor(wait.clone(), wait.target()?));
        }
        if let Some(fetch) = &self.fetch {
            return Ok(What::Fetch(Box::new((fetch.clone(), fetch.parse()?))));
        }
        if let Some(render) = &self.render {
            let (to, mode) = render.parse()?;
            return Ok(What::Render(Box::new(render.clone()), to, mode));
        }
        if let Some(http) = &self.http {
            http.request.fault()?;
            statuses("already", &http.already)?;
            return Ok(What::Http(Box::new(http.clone())));
        }
        if let Some(notify) = &self.notify {
            return Ok(What::Notify(Box::new(notify.clone()), Box::new(notify.parse()?)));
        }
        if let Some(permissions) = &self.permissions {
            return Ok(What::Permissions(permissions.clone(), permissions.parse()?));
        }
        if self.run.iter().flatten().next().is_none_or(String::is_empty) {
            return Err("`run` is empty".to_owned());
        }
        command_fault(self.directory.as_deref(), &self.env, &self.env_file)?;
        Ok(What::Run)
    }

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
            _ if once && matches!(what, What::WaitFor(..)) => {
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

fn statuses(key: &str, given: &[u16]) -> Result<(), String> {
    match given.iter().find(|status| !(100..=599).contains(*status)) {
        Some(status) => Err(format!("`{key}`: {status} is not a status from 100 to 599")),
        None => Ok(()),
    }
}

/// Somewhere in the volume.
fn place(kind: &str, text: &str) -> Result<RelativePath, String> {
    let to = RelativePath::new(text.as_bytes()).map_err(|error| format!("`to`: {error}"))?;
    match to.is_root() {
        true => Err(format!("`{kind}` needs a `to`, a place below the volume")),
        false => Ok(to),
    }
}

fn mode(text: Option<&str>) -> Result<Option<u32>, String> {
    let Some(text) = text else { return Ok(None) };
    let mode = u32::from_str_radix(text, 8).ok();
    let fits = mode.filter(|mode| *mode <= 0o7777 && (3..=5).contains(&text.len()));
    match fits {
        Some(mode) => Ok(Some(mode)),
        None => Err(format!("`mode`: `{text}` is not a mode in octal digits such as \"0644\"")),
    }
}

impl StepSpec {
    pub fn step(&self, context: &StepContext<'_>) -> Step {
        let fields = &self.fields;
        let usual = if fields.fetch.is_some() { DEFAULT_FETCH_TIMEOUT } else { DEFAULT_TIMEOUT };
        Step {
            name: fields.name.clone(),
            kind: self.kind(context),
            timeout: fields.timeout.map_or(usual, |span| span.0),
            retries: fields.retries.unwrap_or(0),
            backoff: fields.backoff.map_or(DEFAULT_BACKOFF, |span| span.0),
            when: fields.when.unwrap_or_default(),
            once: fields.once.unwrap_or(false),
            version: fields.version.unwrap_or(1),
        }
    }

    fn kind(&self, context: &StepContext<'_>) -> Kind {
        let fields = &self.fields;
        match &self.what {
            What::WaitFor(wait, target) => Kind::WaitFor(wait.wait(target)),
            What::Fetch(fetch) => Kind::Fetch(fetch.0.fetch(&fetch.1, context)),
            What::Render(render, to, mode) => Kind::Render(render.render(to, *mode, context.variables)),
            What::Http(http) => {
                Kind::Http { request: Box::new(http.request.action()), already: http.already.clone() }
            }
            What::Notify(notify, channel) => Kind::Notify(notify.notify(channel)),
            What::Permissions(permissions, mode) => {
                Kind::Permissions(permissions.permissions(*mode, context))
            }
            What::Run => Kind::Run(CommandAction {
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
        if let What::WaitFor(_, wait::Target::Volume { path, .. }) = &step.what
            && path == volume
        {
            refuse("wait_for.volume", "it is this very volume, which is not ready before its steps are done");
        }
        let to = match &step.what {
            What::Render(_, to, _) => Some(("render.to", to)),
            What::Fetch(fetch) => Some(("fetch.to", &fetch.1.to)),
            _ => None,
        };
        if let Some((key, to)) = to.filter(|_| !volume.as_os_str().is_empty()) {
            let place = to.below(volume);
            if place.starts_with(state_dir) {
                refuse(key, "it lies in the state directory");
            } else if state_dir.starts_with(&place) {
                refuse(key, "the state directory lies in it");
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
