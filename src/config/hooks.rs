//! The hooks as they stand in the file, and the way from there to those that are run. Secrets are shown nowhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::action::CommandAction;
use crate::base::units::Span;
use crate::config::actions::{HiddenText, HttpFields, absolute, command_fault, only_with, texts};
use crate::hook::{Action, Hooks, Kind, SignalAction, SignalName};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// What is done around a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HooksConfig {
    /// Before anything else. If one fails the job does not run, and has failed.
    pub before: Vec<HookSpec>,
    /// Right before the work: what holds the app still.
    pub freeze: Vec<HookSpec>,
    /// Right after the work, whatever came of it: what lets the app go on. All are run, always.
    pub thaw: Vec<HookSpec>,
    /// After success.
    pub after: Vec<HookSpec>,
    /// After a failure.
    pub failed: Vec<HookSpec>,
    /// At the end.
    pub finally: Vec<HookSpec>,
    /// How long the app may be frozen. After this the work is stopped, and the app thawed.
    pub max_frozen: Span,
}

/// What is done around `init` when it has to change the volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InitHooksConfig {
    /// Before the volume is changed. If one fails it is not changed, and `init` has failed.
    pub before: Vec<HookSpec>,
    /// After the volume was changed with success.
    pub after: Vec<HookSpec>,
    /// After a failure.
    pub failed: Vec<HookSpec>,
    /// At the end, when the volume was to be changed or `init` failed.
    pub finally: Vec<HookSpec>,
}

impl Default for HooksConfig {
    fn default() -> Self {
        let none = Vec::new;
        Self {
            before: none(),
            freeze: none(),
            thaw: none(),
            after: none(),
            failed: none(),
            finally: none(),
            max_frozen: Span(Hooks::default().max_frozen),
        }
    }
}

impl HooksConfig {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub fn options(&self) -> Hooks {
        Hooks {
            before: actions(&self.before),
            freeze: actions(&self.freeze),
            thaw: actions(&self.thaw),
            after: actions(&self.after),
            failed: actions(&self.failed),
            finally: actions(&self.finally),
            max_frozen: self.max_frozen.0,
        }
    }

    /// Keys below that of the hooks, and what is wrong with them.
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (name, list) in [
            ("before", &self.before),
            ("freeze", &self.freeze),
            ("thaw", &self.thaw),
            ("after", &self.after),
            ("failed", &self.failed),
            ("finally", &self.finally),
        ] {
            faults_of(name, list, &mut found);
        }
        if !self.freeze.is_empty() && self.thaw.is_empty() {
            found.push(("freeze".to_owned(), "a `thaw` is missing: the app would stay frozen".to_owned()));
        } else if self.freeze.is_empty() && !self.thaw.is_empty() {
            found.push(("thaw".to_owned(), "it goes with a `freeze`, and there is none".to_owned()));
        }
        if self.max_frozen.0.is_zero() {
            found.push(("max_frozen".to_owned(), "a time limit of 0 would never be kept".to_owned()));
        }
        found
    }
}

impl InitHooksConfig {
    pub fn options(&self) -> Hooks {
        Hooks {
            before: actions(&self.before),
            after: actions(&self.after),
            failed: actions(&self.failed),
            finally: actions(&self.finally),
            ..Hooks::default()
        }
    }

    /// As [`HooksConfig::faults`].
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (name, list) in [
            ("before", &self.before),
            ("after", &self.after),
            ("failed", &self.failed),
            ("finally", &self.finally),
        ] {
            faults_of(name, list, &mut found);
        }
        found
    }
}

/// One action: exactly one of `command`, `http` and `signal` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "HookFields", into = "HookFields")]
pub struct HookSpec {
    fields: HookFields,
    signal: Option<SignalName>,
}

/// One action: exactly one of `command`, `http` and `signal` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HookFields {
    /// A program and its arguments; no shell is involved. Exit code 0 is success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    /// Variables for the command, on top of those that say what the job is. Values are not shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, HiddenText>,
    /// Variables for the command whose values are read from files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    env_file: BTreeMap<String, PathBuf>,
    /// The working directory of the command (default: the volume).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    directory: Option<PathBuf>,
    /// As whom the command runs, when volkeep is root: `name`, `name:group` or `uid:gid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// A request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http: Option<HttpFields>,
    /// A signal to a process in sight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signal: Option<SignalFields>,
    /// After this time it is ended, and has failed (default: 1m).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<Span>,
}

/// A signal to a process in sight. At least one of `process` and `pid_file` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignalFields {
    /// Such as `HUP` or `USR1`.
    name: String,
    /// The name of the executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<String>,
    /// A file with the number of the process in its first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pid_file: Option<PathBuf>,
}

impl JsonSchema for HookSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HookSpec".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        HookFields::json_schema(generator)
    }
}

impl From<HookSpec> for HookFields {
    fn from(spec: HookSpec) -> Self {
        spec.fields
    }
}

impl TryFrom<HookFields> for HookSpec {
    type Error = String;

    fn try_from(fields: HookFields) -> Result<Self, String> {
        let kinds = [fields.command.is_some(), fields.http.is_some(), fields.signal.is_some()];
        if kinds.iter().filter(|given| **given).count() != 1 {
            return Err("exactly one of command, http, signal is expected".to_owned());
        }
        match &fields.command {
            Some(argv) if argv.first().is_none_or(String::is_empty) => {
                return Err("`command` is empty".to_owned());
            }
            Some(_) => command_fault(fields.directory.as_deref(), &fields.env, &fields.env_file)?,
            None => {
                let of_command = [
                    ("env", !fields.env.is_empty()),
                    ("env_file", !fields.env_file.is_empty()),
                    ("directory", fields.directory.is_some()),
                    ("user", fields.user.is_some()),
                ];
                only_with("command", &of_command)?;
            }
        }
        if let Some(http) = &fields.http {
            http.fault()?;
        }
        let signal = fields.signal.as_ref().map(|signal| signal.name.parse()).transpose()?;
        if let Some(SignalFields { process, pid_file, .. }) = &fields.signal {
            if process.is_none() && pid_file.is_none() {
                return Err("`signal` needs a `process` or a `pid_file`".to_owned());
            }
            if process.as_ref().is_some_and(|name| name.is_empty() || name.contains('/')) {
                return Err("`process` is the name of an executable, without directories".to_owned());
            }
            absolute("pid_file", pid_file.as_deref())?;
        }
        Ok(Self { fields, signal })
    }
}

fn faults_of(name: &str, list: &[HookSpec], found: &mut Vec<(String, String)>) {
    for (number, hook) in list.iter().enumerate() {
        if hook.fields.timeout.is_some_and(|timeout| timeout.0.is_zero()) {
            let message = "a time limit of 0 would never be kept".to_owned();
            found.push((format!("{name}[{number}].timeout"), message));
        }
    }
}

fn actions(list: &[HookSpec]) -> Vec<Action> {
    list.iter().map(HookSpec::action).collect()
}

impl HookSpec {
    /// What a job of somebody's own does: said by the same keys, beside those of a job.
    pub fn of_job(
        command: Option<Vec<String>>,
        (env, env_file): (BTreeMap<String, HiddenText>, BTreeMap<String, PathBuf>),
        directory: Option<PathBuf>,
        user: Option<String>,
        http: Option<HttpFields>,
        timeout: Span,
    ) -> Result<Self, String> {
        let timeout = Some(timeout);
        HookFields { command, env, env_file, directory, user, http, signal: None, timeout }.try_into()
    }

    pub fn action(&self) -> Action {
        let fields = &self.fields;
        let kind = match (&fields.http, &fields.signal, self.signal) {
            (Some(http), ..) => Kind::Http(Box::new(http.action())),
            (None, Some(SignalFields { process, pid_file, .. }), Some(signal)) => {
                Kind::Signal(SignalAction { signal, process: process.clone(), pid_file: pid_file.clone() })
            }
            _ => Kind::Command(CommandAction {
                argv: fields.command.clone().unwrap_or_default(),
                env: texts(&fields.env, &fields.env_file),
                directory: fields.directory.clone(),
                user: fields.user.clone(),
            }),
        };
        Action { kind, timeout: fields.timeout.map_or(DEFAULT_TIMEOUT, |timeout| timeout.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::text::Text;

    fn parse(text: &str) -> Result<HookSpec, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn each_kind_becomes_its_action() {
        let action = parse("{command: [pg_start, -q], env: {PGUSER: app}, user: postgres, timeout: 5s}");
        let action = action.unwrap().action();
        assert_eq!(action.timeout, Duration::from_secs(5));
        let Kind::Command(command) = action.kind else { panic!("{action:?}") };
        assert_eq!((command.argv.len(), command.user.as_deref()), (2, Some("postgres")));

        let http = "{http: {url: 'http://app/freeze', unix_socket: /run/app.sock, body: '{}', expect: [202],
                     headers_file: {Authorization: /run/secrets/token}}}";
        let action = parse(http).unwrap().action();
        assert_eq!(action.timeout, DEFAULT_TIMEOUT);
        let Kind::Http(http) = action.kind else { panic!("{action:?}") };
        assert_eq!((http.method.as_str(), http.expect.as_slice()), ("POST", &[202][..]));
        assert_eq!(http.headers, [("Authorization".to_owned(), Text::File("/run/secrets/token".into()))]);

        let action = parse("{signal: {name: SIGHUP, process: nginx}}").unwrap().action();
        let Kind::Signal(signal) = action.kind else { panic!("{action:?}") };
        assert_eq!((signal.signal.to_string().as_str(), signal.process.as_deref()), ("HUP", Some("nginx")));
    }

    #[test]
    fn what_makes_no_sense_is_refused_without_showing_secrets() {
        for text in [
            "{}",
            "{command: []}",
            "{command: ['']}",
            "{command: [a], http: {url: 'http://a/'}}",
            "{command: [a], user: x, shell: true}",
            "{signal: {name: HUP, process: a}, user: root}",
            "{http: {url: 'http://a/'}, env: {A: hunter2}}",
            "{command: [a], directory: relative}",
            "{command: [a], env: {A: 12345}}",
            "{command: [a], env: {A: hunter2}, env_file: {A: /a}}",
            "{http: {}}",
            "{http: {url: 'ftp://a/hunter2'}}",
            "{http: {url: '***'}}",
            "{http: {url: 'http://a/hunter2', url_file: /a}}",
            "{http: {url: 'http://a/hunter2', method: post}}",
            "{http: {url: 'http://a/hunter2', expect: [99]}}",
            "{http: {url: 'http://a/hunter2', unix_socket: a.sock}}",
            "{http: {url: 'http://a/', basic_auth: {user: a}}}",
            "{http: {url: 'http://a/', basic_auth: {user: a, password: hunter2, password_file: /a}}}",
            "{http: {url: 'http://a/', basic_auth: {user: a, password: 12345}}}",
            "{http: {url: 'http://a/', basic_auth: {user: a, password_file: relative}}}",
            "{http: {url: 'http://a/', basic_auth: {user: a, password: b}, headers: {authorization: hunter2}}}",
            "{signal: {name: HUP}}",
            "{signal: {name: NOPE, process: a}}",
            "{signal: {name: HUP, process: /usr/bin/a}}",
        ] {
            let value: serde_json::Value = serde_saphyr::from_str(text).unwrap();
            let error = serde_json::from_value::<HookSpec>(value).err();
            let error = error.unwrap_or_else(|| panic!("{text} was taken")).to_string();
            assert!(!error.contains("hunter2") && !error.contains("12345"), "{text}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let hook = parse(
            "{http: {url: 'http://a/token', headers: {X: token}, body: token,
             basic_auth: {user: me, password: token}}}",
        )
        .unwrap();
        let shown = serde_json::to_string(&hook).unwrap() + &format!("{hook:?}");
        assert!(!shown.contains("token"), "{shown}");
        let hook = parse("{command: [a], env: {X: token}}").unwrap();
        assert!(!serde_json::to_string(&hook).unwrap().contains("token"));
    }

    #[test]
    fn a_freeze_needs_a_thaw() {
        let faults = |text: &str| {
            let hooks: HooksConfig = serde_saphyr::from_str(text).unwrap();
            hooks.faults().into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(faults("{freeze: [{command: [a]}]}"), ["freeze"]);
        assert_eq!(faults("{thaw: [{command: [a]}]}"), ["thaw"]);
        assert_eq!(
            faults("{freeze: [{command: [a]}], thaw: [{command: [b]}], max_frozen: 0}"),
            ["max_frozen"]
        );
        assert_eq!(faults("{after: [{command: [a]}, {command: [b], timeout: 0}]}"), ["after[1].timeout"]);
        assert!(faults("{}").is_empty());
    }
}
