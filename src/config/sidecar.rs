//! How the sidecar shows itself and how it ends, as it stands in the file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::secret::Secret;
use crate::base::units::Span;
use crate::config::notify::{self, NotifyConfig};
use crate::sidecar::notify::Target;

/// What runs beside the app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SidecarConfig {
    /// Where health, metrics and status are shown, as `address:port`; empty for nowhere. `0.0.0.0:9188` is for
    /// others than this pod.
    pub listen: String,
    /// What `POST /jobs/<name>/run` has to bring as its bearer token. Without one there are no such requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Instead: a file with the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// How long an end in order may take: a little less than the platform allows.
    pub grace: Span,
    /// Whether a last backup is made at the end. It needs an app that has ended before, and enough `grace`.
    pub backup_on_shutdown: bool,
    /// How old the last backup may become before `/readyz` says no. Default: two instants of its schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_backup_age: Option<Span>,
    /// Who is told how runs ended.
    pub notify: Vec<NotifyConfig>,
    /// The address of a service that watches over jobs, in the way of healthchecks: it is pinged after each backup,
    /// and tells somebody when that stays away. It may hold a token, so it is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_url: Option<Secret>,
    /// Instead: a file with the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_url_file: Option<PathBuf>,
}

impl Default for SidecarConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9188".to_owned(),
            token: None,
            token_file: None,
            grace: Span(Duration::from_secs(25)),
            backup_on_shutdown: false,
            max_backup_age: None,
            notify: Vec::new(),
            ping_url: None,
            ping_url_file: None,
        }
    }
}

impl SidecarConfig {
    /// `None`: nowhere.
    pub fn address(&self) -> Result<Option<SocketAddr>, String> {
        match self.listen.as_str() {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| format!("`{text}` is not an address and a port such as 127.0.0.1:9188")),
        }
    }

    pub fn targets(&self) -> Vec<Target> {
        let mut targets = notify::targets(&self.notify);
        targets.extend(notify::ping_target(self.ping_url.as_ref(), self.ping_url_file.as_deref()));
        targets
    }

    /// Keys below `sidecar`, and what is wrong with them. `jobs` are the names of all there are.
    pub fn faults(&self, jobs: &[&str]) -> Vec<(String, String)> {
        let mut found = notify::ping_faults(self.ping_url.as_ref(), self.ping_url_file.as_deref());
        for (number, one) in self.notify.iter().enumerate() {
            let faults = notify::faults(one, jobs).into_iter();
            found.extend(faults.map(|(key, message)| match key.as_str() {
                "" => (format!("notify[{number}]"), message),
                key => (format!("notify[{number}].{key}"), message),
            }));
        }
        if let Err(message) = self.address() {
            found.push(("listen".to_owned(), message));
        }
        if self.token.is_some() && self.token_file.is_some() {
            found.push(("token".to_owned(), "`token_file` is set as well; one of them has to go".to_owned()));
        }
        if self.token.as_ref().is_some_and(|token| token.reveal().is_empty()) {
            found.push(("token".to_owned(), "it is empty".to_owned()));
        }
        if self.grace.0.is_zero() {
            found.push(("grace".to_owned(), "no end in order takes no time at all".to_owned()));
        }
        if self.max_backup_age.is_some_and(|age| age.0.is_zero()) {
            found.push(("max_backup_age".to_owned(), "no backup is that young".to_owned()));
        }
        found
    }
}
