//! Commands and requests as they stand in the file, wherever they are part of something: the keys they have in
//! common, what is wrong with them, and the way to the actions that are run. Secrets are shown nowhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::base::action::{BasicAuth, HttpAction};
use crate::base::http::Url;
use crate::base::secret::{REDACTED, Secret};
use crate::base::text::Text;

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpFields {
    /// `http://` or `https://`. It may hold a token, so it is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<HiddenText>,
    /// Instead: a file with the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url_file: Option<PathBuf>,
    /// Such as `GET` or `POST` (default: `POST` with a body, else `GET`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// Headers of the request. Values are not shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, HiddenText>,
    /// Headers whose values are read from files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers_file: BTreeMap<String, PathBuf>,
    /// As whom: sent as the header `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    basic_auth: Option<BasicAuthFields>,
    /// What is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<HiddenText>,
    /// Instead: a file with what is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_file: Option<PathBuf>,
    /// Statuses that are success (default: 200 to 299).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    expect: Vec<u16>,
    /// A unix socket to connect to, whatever host the address names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unix_socket: Option<PathBuf>,
    /// Certificates in PEM that are trusted besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
}

/// A user and a password, each as text or in a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicAuthFields {
    /// The name of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// Instead: a file with the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_file: Option<PathBuf>,
    /// The password. It is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<HiddenText>,
    /// Instead: a file with the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
}

/// Text that is never shown, not even when it is refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct HiddenText(Secret);

impl HiddenText {
    /// Not to be shown.
    pub fn text(&self) -> &str {
        self.0.reveal()
    }
}

impl<'de> Deserialize<'de> for HiddenText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer) {
            Ok(serde_json::Value::String(text)) => Ok(Self(Secret::new(text))),
            _ => Err(de::Error::custom(
                "text is expected here; a number needs quotes (the value is not shown)",
            )),
        }
    }
}

impl HttpFields {
    /// A plain GET.
    pub fn get(url: Option<HiddenText>, expect: &[u16], ca_file: Option<PathBuf>) -> Self {
        Self { url, expect: expect.to_vec(), ca_file, ..Self::default() }
    }

    /// A plain GET, too, as whoever is told.
    pub fn download(
        (url, url_file): (Option<HiddenText>, Option<PathBuf>),
        (headers, headers_file): (BTreeMap<String, HiddenText>, BTreeMap<String, PathBuf>),
        basic_auth: Option<BasicAuthFields>,
        ca_file: Option<PathBuf>,
    ) -> Self {
        Self { url, url_file, headers, headers_file, basic_auth, ca_file, ..Self::default() }
    }

    pub fn fault(&self) -> Result<(), String> {
        match (&self.url, &self.url_file) {
            (Some(HiddenText(url)), None) => {
                shown(url, "url")?;
                url.reveal().parse::<Url>().map_err(|reason| format!("`url`: {reason}"))?;
            }
            (None, Some(file)) => absolute("url_file", Some(file))?,
            (None, None) => return Err("`http` needs a `url`".to_owned()),
            (Some(_), Some(_)) => {
                return Err("`url` and `url_file` are both set; one of them has to go".to_owned());
            }
        }
        if self.body.is_some() && self.body_file.is_some() {
            return Err("`body` and `body_file` are both set; one of them has to go".to_owned());
        }
        if let Some(HiddenText(body)) = &self.body {
            shown(body, "body")?;
        }
        if self
            .method
            .as_ref()
            .is_some_and(|method| method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()))
        {
            return Err("`method` is in capitals, such as POST".to_owned());
        }
        if let Some(status) = self.expect.iter().find(|status| !(100..=599).contains(*status)) {
            return Err(format!("`expect`: {status} is not a status from 100 to 599"));
        }
        absolute("body_file", self.body_file.as_deref())?;
        absolute("unix_socket", self.unix_socket.as_deref())?;
        absolute("ca_file", self.ca_file.as_deref())?;
        if let Some(auth) = &self.basic_auth {
            auth.fault()?;
            let mut names = self.headers.keys().chain(self.headers_file.keys());
            if names.any(|name| name.eq_ignore_ascii_case("authorization")) {
                return Err("`basic_auth` and a header `Authorization` are both set; one of them has to go"
                    .to_owned());
            }
        }
        pairs("headers", &self.headers, &self.headers_file)
    }

    pub fn action(&self) -> HttpAction {
        let body = one(&self.body, &self.body_file);
        let usual = if body.is_some() { "POST" } else { "GET" };
        HttpAction {
            method: self.method.clone().unwrap_or_else(|| usual.to_owned()),
            url: one(&self.url, &self.url_file).unwrap_or(Text::Value(Secret::default())),
            headers: texts(&self.headers, &self.headers_file),
            basic_auth: self.basic_auth.as_ref().map(BasicAuthFields::auth),
            body,
            expect: self.expect.clone(),
            unix_socket: self.unix_socket.clone(),
            ca_file: self.ca_file.clone(),
        }
    }
}

impl BasicAuthFields {
    fn fault(&self) -> Result<(), String> {
        for (name, text, file) in [
            ("user", self.user.is_some(), &self.user_file),
            ("password", self.password.is_some(), &self.password_file),
        ] {
            if text == file.is_some() {
                return Err(format!("`basic_auth` needs either `{name}` or `{name}_file`"));
            }
            absolute(&format!("basic_auth.{name}_file"), file.as_deref())?;
        }
        match &self.password {
            Some(HiddenText(password)) => shown(password, "basic_auth.password"),
            None => Ok(()),
        }
    }

    fn auth(&self) -> BasicAuth {
        let user = self.user.as_ref().map(|user| HiddenText(Secret::new(user)));
        let none = Text::Value(Secret::default());
        BasicAuth {
            user: one(&user, &self.user_file).unwrap_or_else(|| none.clone()),
            password: one(&self.password, &self.password_file).unwrap_or(none),
        }
    }
}

/// Given as text or as a file.
fn one(text: &Option<HiddenText>, file: &Option<PathBuf>) -> Option<Text> {
    let value = text.as_ref().map(|HiddenText(secret)| Text::Value(secret.clone()));
    value.or_else(|| file.clone().map(Text::File))
}

/// Of these keys, whether each is given: all go with a command, which is under the key `kind`, and there is none.
pub fn only_with(kind: &str, given: &[(&str, bool)]) -> Result<(), String> {
    match given.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(format!("`{name}` goes with `{kind}` only")),
        None => Ok(()),
    }
}

/// What is wrong with the keys that go with a command.
pub fn command_fault(
    directory: Option<&Path>,
    env: &BTreeMap<String, HiddenText>,
    env_file: &BTreeMap<String, PathBuf>,
) -> Result<(), String> {
    absolute("directory", directory)?;
    for name in env.keys().chain(env_file.keys()) {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("`{name}` is not the name of a variable"));
        }
    }
    pairs("env", env, env_file)
}

fn pairs(
    key: &str,
    values: &BTreeMap<String, HiddenText>,
    files: &BTreeMap<String, PathBuf>,
) -> Result<(), String> {
    for (name, HiddenText(value)) in values {
        shown(value, &format!("{key}.{name}"))?;
    }
    for (name, file) in files {
        absolute(&format!("{key}_file.{name}"), Some(file))?;
        if values.contains_key(name) {
            return Err(format!(
                "`{key}.{name}` and `{key}_file.{name}` are both set; one of them has to go"
            ));
        }
    }
    Ok(())
}

fn shown(secret: &Secret, key: &str) -> Result<(), String> {
    match secret.reveal() == REDACTED {
        true => Err(format!("`{key}` is what `config show` prints in place of a secret")),
        false => Ok(()),
    }
}

pub fn absolute(key: &str, path: Option<&Path>) -> Result<(), String> {
    match path {
        Some(path) if !path.is_absolute() => {
            Err(format!("`{key}`: {} is not an absolute path", path.display()))
        }
        _ => Ok(()),
    }
}

/// Values and files by name, as an action takes them.
pub fn texts(
    values: &BTreeMap<String, HiddenText>,
    files: &BTreeMap<String, PathBuf>,
) -> Vec<(String, Text)> {
    let values = values.iter().map(|(name, HiddenText(secret))| (name.clone(), Text::Value(secret.clone())));
    let files = files.iter().map(|(name, file)| (name.clone(), Text::File(file.clone())));
    values.chain(files).collect()
}
