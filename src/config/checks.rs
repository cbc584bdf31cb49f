//! The checks of the volume as they stand in the file, and the way from there to those that are run. Secrets are shown
//! nowhere.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::units::Span;
use crate::config::actions::{HttpFields, only_with};
use crate::snapshot::RelativePath;
use crate::volume;
use crate::volume::check::{Algorithm, CheckKind, LevelFilter};

/// Before, the first two numbers were the version; beyond, there is a minor version with it or a typing error.
const MAJORS: std::ops::Range<u32> = 10..100;

/// One check: `{exists: PG_VERSION}`, `{command: [verify, /data], timeout: 30s}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "CheckFields", into = "CheckFields")]
pub struct CheckSpec {
    fields: CheckFields,
    check: volume::CheckSpec,
}

/// A check of the volume. Exactly one of `exists`, `not_empty`, `command`, `sqlite`, `postgres`, `git`, `http`,
/// `checksum_file` and `manifest` is given.
/// Paths are relative to the volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CheckFields {
    /// Something by this name is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exists: Option<String>,
    /// A file with content or a directory with entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_empty: Option<String>,
    /// A program and its arguments; exit code 0 is good. `VOLKEEP_VOLUME` holds the volume's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    /// Exit codes of the command that mean damage (default: 1 to 125).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    corrupt_codes: Option<Vec<i32>>,
    /// An SQLite database: quick, its header and size; full, its integrity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sqlite: Option<String>,
    /// The data directory of a PostgreSQL server, `.` for the volume itself: quick, the control file and what a server
    /// needs to start; full, the log it starts with, and the checksums of pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    postgres: Option<String>,
    /// With `postgres`: the major version of the server, such as 17. Data of another one is left as it is, and `init`
    /// stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    /// A bare git repository, or a directory in which all of them are checked: quick, names and headers; full,
    /// checksums, and that everything is there which the refs lead to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    git: Option<String>,
    /// A request to a program that knows whether the data is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http: Option<HttpCheckFields>,
    /// A list of hashes as `sha256sum` writes it: quick, whether the files are there; full, their content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum_file: Option<String>,
    /// With `checksum_file`: how the hashes were made (default: by their length, SHA-1, SHA-256 or SHA-512).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    algorithm: Option<Algorithm>,
    /// `true`: sizes and hashes against the last snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<bool>,
    /// When it is run (default: both; a command, a request and the manifest: full).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level: Option<LevelFilter>,
    /// After this time the check is given up as undecided (default: 60s; 10m for `sqlite`, `postgres`, `git`,
    /// `checksum_file` and `manifest`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<Span>,
}

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
struct HttpCheckFields {
    #[serde(flatten)]
    request: HttpFields,
    /// Statuses that mean damage. Any other that is not expected, or no answer, cannot tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    corrupt: Vec<u16>,
}

impl CheckSpec {
    /// Of an SQLite database.
    pub fn sqlite(path: &str) -> Result<Self, String> {
        CheckFields { sqlite: Some(path.to_owned()), ..CheckFields::default() }.try_into()
    }

    pub fn check(&self) -> volume::CheckSpec {
        self.check.clone()
    }

    pub fn timeout(&self) -> Option<Span> {
        self.fields.timeout
    }
}

impl JsonSchema for CheckSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CheckSpec".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        CheckFields::json_schema(generator)
    }
}

impl From<CheckSpec> for CheckFields {
    fn from(spec: CheckSpec) -> Self {
        spec.fields
    }
}

impl TryFrom<CheckFields> for CheckSpec {
    type Error = String;

    fn try_from(fields: CheckFields) -> Result<Self, String> {
        let check = volume::CheckSpec {
            kind: fields.kind()?,
            level: fields.level,
            timeout: fields.timeout.map(|span| span.0),
        };
        Ok(Self { fields, check })
    }
}

impl CheckFields {
    fn kind(&self) -> Result<CheckKind, String> {
        if self.command.is_none() {
            only_with("command", &[("corrupt_codes", self.corrupt_codes.is_some())])?;
        }
        if self.postgres.is_none() {
            only_with("postgres", &[("version", self.version.is_some())])?;
        }
        if self.checksum_file.is_none() {
            only_with("checksum_file", &[("algorithm", self.algorithm.is_some())])?;
        }
        let mut kinds = Vec::new();
        kinds.extend(self.exists.as_ref().map(|text| path(text).map(CheckKind::Exists)));
        kinds.extend(self.not_empty.as_ref().map(|text| path(text).map(CheckKind::NotEmpty)));
        kinds.extend(self.sqlite.as_ref().map(|text| path(text).map(CheckKind::Sqlite)));
        kinds.extend(self.postgres.as_ref().map(|text| {
            let path = path_or_volume(text)?;
            match self.version {
                Some(version) if !MAJORS.contains(&version) => {
                    Err(format!("`version`: {version} is not a major version of PostgreSQL such as 17"))
                }
                version => Ok(CheckKind::Postgres { path, version }),
            }
        }));
        kinds.extend(self.command.as_ref().map(|argv| match argv.is_empty() {
            true => Err("`command` is empty".to_owned()),
            false => Ok(CheckKind::Command { argv: argv.clone(), corrupt_codes: self.corrupt_codes.clone() }),
        }));
        kinds.extend(self.git.as_ref().map(|text| match cfg!(feature = "git") {
            true => path_or_volume(text).map(CheckKind::Git),
            false => Err("checks by `git` are not supported by this build".to_owned()),
        }));
        kinds.extend(self.http.as_ref().map(HttpCheckFields::kind));
        kinds.extend(
            self.checksum_file.as_ref().map(|text| {
                path(text).map(|path| CheckKind::ChecksumFile { path, algorithm: self.algorithm })
            }),
        );
        kinds.extend(self.manifest.map(|wanted| match wanted {
            true => Ok(CheckKind::Manifest),
            false => Err("`manifest: false` asks for nothing; leave the check out".to_owned()),
        }));
        let mut kinds = kinds.into_iter();
        match (kinds.next(), kinds.next()) {
            (Some(kind), None) => kind,
            _ => {
                Err("a check is exactly one of exists, not_empty, command, sqlite, postgres, git, http, checksum_file, \
                     manifest"
                    .to_owned())
            }
        }
    }
}

impl HttpCheckFields {
    fn kind(&self) -> Result<CheckKind, String> {
        self.request.fault()?;
        let request = self.request.action();
        if self.corrupt.is_empty() {
            return Err(
                "`http` needs `corrupt`, the statuses that mean damage: without any it would never find some"
                    .to_owned(),
            );
        }
        if let Some(status) = self.corrupt.iter().find(|status| !(100..=599).contains(*status)) {
            return Err(format!("`corrupt`: {status} is not a status from 100 to 599"));
        }
        if let Some(status) = self.corrupt.iter().find(|status| request.expects(**status)) {
            return Err(format!("`corrupt`: {status} is a status that is expected"));
        }
        Ok(CheckKind::Http { request: Box::new(request), corrupt: self.corrupt.clone() })
    }
}

fn path(text: &str) -> Result<RelativePath, String> {
    let path = RelativePath::new(text.as_bytes()).map_err(|error| error.to_string())?;
    if path.is_root() { Err("a check needs a path".to_owned()) } else { Ok(path) }
}

/// `.` is the volume itself.
fn path_or_volume(text: &str) -> Result<RelativePath, String> {
    if text == "." { Ok(RelativePath::root()) } else { path(text) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::volume::Level;

    fn parse(text: &str) -> Result<CheckSpec, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn checks_are_written_in_one_line_each() {
        let spec =
            parse("{command: [pg_verify, -q], corrupt_codes: [2], timeout: 30s, level: both}").unwrap();
        let check = spec.check();
        assert_eq!(check.time_limit(), Duration::from_secs(30));
        assert_eq!(check.name(), "command pg_verify -q");
        assert!(check.is_due(Level::Quick));
        assert_eq!(parse("{manifest: true}").unwrap().check().kind, CheckKind::Manifest);
        let postgres = parse("{postgres: ., version: 17}").unwrap();
        assert_eq!(postgres.check().name(), "postgres .");
        assert_eq!(serde_json::to_string(&postgres).unwrap(), r#"{"postgres":".","version":17}"#);
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<CheckSpec>(&text).unwrap(), spec);
    }

    #[test]
    fn an_address_is_shown_nowhere() {
        let spec = parse("{http: {url: 'https://h/?token=hunter2', headers: {A: hunter2}, corrupt: [409]}}")
            .unwrap();
        let shown = format!("{spec:?} {} {}", serde_json::to_string(&spec).unwrap(), spec.check().name());
        assert!(shown.contains("[409]") && !shown.contains("hunter2"), "{shown}");
        assert!(!spec.check().is_due(Level::Quick));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "{}",
            "{exists: a, sqlite: b}",
            "{exists: /etc/passwd}",
            "{exists: a/../../b}",
            "{exists: \"\"}",
            "{command: []}",
            "{manifest: false}",
            "{exists: a, corrupt_codes: [1]}",
            "{exist: a}",
            "{postgres: /data}",
            "{postgres: ..}",
            "{postgres: data, version: 9}",
            "{postgres: data, version: 170004}",
            "{postgres: data, version: 17.4}",
            "{exists: a, version: 17}",
            "{http: {url: http://h/}}",
            "{http: {url: http://h/, corrupt: [204]}}",
            "{http: {url: http://h/, corrupt: [999]}}",
            "{http: {url: http://h/, corrupt: [409], expect: [409]}}",
            "{http: {corrupt: [409]}}",
            "{checksum_file: a, algorithm: md5}",
            "{checksum_file: .}",
            "{sqlite: a, algorithm: sha256}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
