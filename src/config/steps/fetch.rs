//! Something that a step fetches, as it stands in the file: the address says by which means, and what else is said has to
//! go with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DEFAULT_MODE, StepContext, mode, place};
use crate::base::units::ByteSize;
use crate::config::actions::{BasicAuthFields, HiddenText, HttpFields};
use crate::config::git::{self, HttpsConfig, SshConfig};
use crate::config::model::RepositoryConfig;
use crate::config::repository_url::RepositoryUrl;
use crate::config::s3::{self, S3Config};
use crate::snapshot::RelativePath;
use crate::step::{Fetch, FileSource, Form, HttpSource, Source};

/// What may come if nothing is said.
const USUAL_LARGEST: ByteSize = ByteSize(1 << 30);
const SHA256_DIGITS: usize = 64;

/// A file, or what is in an archive, from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FetchFields {
    /// `https://` or `http://`, `s3://bucket/key`, `git+ssh://`, `git+https://` or `git+file://` (with `path`), or
    /// `file:///absolute/path`. It may hold a token, so it is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<HiddenText>,
    /// Instead: a file with an address that begins with `https://` or `http://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url_file: Option<PathBuf>,
    /// With `https://`: headers of the request. Values are not shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, HiddenText>,
    /// With `https://`: headers whose values are read from files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers_file: BTreeMap<String, PathBuf>,
    /// With `https://`: as whom, sent as the header `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    basic_auth: Option<BasicAuthFields>,
    /// With `https://`: certificates in PEM that are trusted besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    /// With `s3://`: as whom, as for a repository.
    #[serde(default, skip_serializing_if = "S3Config::is_default")]
    s3: S3Config,
    /// With `git+ssh://`: as whom, as for a repository.
    #[serde(default, skip_serializing_if = "SshConfig::is_default")]
    ssh: SshConfig,
    /// With `git+https://`: as whom, as for a repository.
    #[serde(default, skip_serializing_if = "HttpsConfig::is_default")]
    https: HttpsConfig,
    /// In git: the branch (default: main).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    /// In git: the file in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The file, relative to the volume; with `unpack` the directory.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    to: String,
    /// Whether it is an archive (`.tar`, `.tar.gz` or `.tar.zst`) whose content is wanted (default: false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unpack: Option<bool>,
    /// With `unpack`: the directory in the archive that is taken (default: all of it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// The SHA-256 of what comes, in hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// How much may come, and may be unpacked (default: 1GiB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_size: Option<ByteSize>,
    /// The mode of the file in octal digits, in quotes (default: "0644").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// The owner, which needs root: `name`, `name:group` or `uid:gid` (default: as volkeep runs, or as the archive says).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// What to do when nobody answers and something is there already (default: fail).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_unreachable: Option<OnUnreachable>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnUnreachable {
    /// The app does not start.
    Fail,
    /// What is there will do.
    Keep,
}

/// The same in the form that is used.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parsed {
    from: From,
    pub(super) to: RelativePath,
    form: Shape,
    sha256: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum From {
    Http,
    File(PathBuf),
    /// With the path in a repository of git.
    Elsewhere(Box<RepositoryConfig>, Option<RelativePath>),
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    File(u32),
    Tree(RelativePath),
}

impl FetchFields {
    pub(super) fn parse(&self) -> Result<Parsed, String> {
        let to = place("fetch", &self.to)?;
        let unpack = self.unpack == Some(true);
        if !unpack && self.from.is_some() {
            return Err("`from` goes with `unpack: true` only".to_owned());
        }
        if unpack && self.mode.is_some() {
            return Err("`mode` is for a file; what is unpacked has the modes of its archive".to_owned());
        }
        let form = match unpack {
            true => {
                let from = self.from.clone().unwrap_or_default();
                let from = from.trim_start_matches("./").trim_end_matches('/').to_owned();
                Shape::Tree(match from.as_str() {
                    "" | "." => RelativePath::root(),
                    _ => RelativePath::new(from.into_bytes()).map_err(|error| format!("`from`: {error}"))?,
                })
            }
            false => Shape::File(mode(self.mode.as_deref())?.unwrap_or(DEFAULT_MODE)),
        };
        let sha256 = self.sha256.as_ref().map(|text| text.trim().to_ascii_lowercase());
        if let Some(text) = &sha256
            && (text.len() != SHA256_DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(format!("`sha256`: {SHA256_DIGITS} hex digits are expected"));
        }
        Ok(Parsed { from: self.from()?, to, form, sha256 })
    }

    fn from(&self) -> Result<From, String> {
        let url = match (&self.url, &self.url_file) {
            (Some(url), None) => url.text(),
            (None, Some(_)) => "https://",
            (None, None) => return Err("`fetch` needs a `url`".to_owned()),
            (Some(_), Some(_)) => {
                return Err("`url` and `url_file` are both set; one of them has to go".to_owned());
            }
        };
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let of_web = [
            ("headers", !self.headers.is_empty()),
            ("headers_file", !self.headers_file.is_empty()),
            ("basic_auth", self.basic_auth.is_some()),
            ("ca_file", self.ca_file.is_some()),
        ];
        let of_git = [("branch", self.branch.is_some()), ("path", self.path.is_some())];
        let of_others = [
            ("s3", !self.s3.is_default()),
            ("ssh", !self.ssh.is_default()),
            ("https", !self.https.is_default()),
        ];
        let none_of = |keys: &[(&str, bool)]| match keys.iter().find(|(_, given)| *given) {
            Some((key, _)) => {
                Err(format!("`{key}` does not go with an address that begins with {scheme}://"))
            }
            None => Ok(()),
        };
        match scheme {
            "http" | "https" => {
                none_of(&of_git)?;
                none_of(&of_others)?;
                self.request().fault()?;
                return Ok(From::Http);
            }
            "file" => {
                none_of(&of_others)?;
                none_of(&of_git)?;
            }
            _ if scheme.starts_with("git+") => {}
            _ => none_of(&of_git)?,
        }
        none_of(&of_web)?;
        let url = RepositoryUrl::from_str(url).map_err(|reason| match scheme {
            "" => "`url`: it is no address such as https://example.org/file".to_owned(),
            _ => format!("`url`: {reason}"),
        })?;
        if let Some(path) = url.plain_directory() {
            return Ok(From::File(path.to_owned()));
        }
        let repository = RepositoryConfig {
            url,
            s3: self.s3.clone(),
            ssh: self.ssh.clone(),
            https: self.https.clone(),
            branch: self.branch.clone(),
            ..RepositoryConfig::default()
        };
        let of_s3 = s3::faults(&repository.s3, &repository.url);
        let of_s3 = of_s3.into_iter().map(|(key, message)| (format!("s3.{key}"), message));
        if let Some((key, message)) = of_s3.chain(git::faults::of(&repository)).next() {
            return Err(format!("`{key}`: {message}"));
        }
        let path = match (&self.path, repository.url.is_s3()) {
            (None, true) if !repository.url.names_object() => {
                return Err("`url`: it names a bucket and no object in it".to_owned());
            }
            (None, true) => None,
            (None, false) => return Err("an address of git needs a `path`, the file in it".to_owned()),
            (Some(path), _) => Some(place("path", path).map_err(|error| error.replace("`to`", "`path`"))?),
        };
        Ok(From::Elsewhere(Box::new(repository), path))
    }

    fn request(&self) -> HttpFields {
        HttpFields::download(
            (self.url.clone(), self.url_file.clone()),
            (self.headers.clone(), self.headers_file.clone()),
            self.basic_auth.clone(),
            self.ca_file.clone(),
        )
    }

    pub(super) fn fetch(&self, parsed: &Parsed, context: &StepContext<'_>) -> Fetch {
        let source: Arc<dyn Source> = match &parsed.from {
            From::Http => Arc::new(HttpSource { request: self.request().action() }),
            From::File(path) => Arc::new(FileSource { path: path.clone() }),
            From::Elsewhere(repository, path) => (context.source)(repository, path.as_ref()),
        };
        Fetch {
            source,
            to: parsed.to.clone(),
            form: match &parsed.form {
                Shape::File(mode) => Form::File { mode: *mode },
                Shape::Tree(from) => Form::Tree { from: from.clone() },
            },
            sha256: parsed.sha256.clone(),
            largest: self.max_size.unwrap_or(USUAL_LARGEST).0,
            owner: self.owner.clone(),
            keep: self.on_unreachable == Some(OnUnreachable::Keep),
        }
    }
}
