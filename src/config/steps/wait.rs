//! What a step can wait for, as it stands in the file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::actions::{HiddenText, HttpFields, absolute};
use crate::step::Wait;

/// Where a volume has its state directory if nothing is said.
const USUAL_STATE_DIR: &str = ".volkeep";

/// Exactly one of `http`, `tcp`, `dns`, `file` and `volume` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitFields {
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
    /// The path of another app's volume, whose marker says that it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volume: Option<PathBuf>,
    /// With `volume`: its state directory (default: `.volkeep` in it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    Http,
    Tcp { host: String, port: u16 },
    Dns(String),
    File(PathBuf),
    Volume { path: PathBuf, state_dir: PathBuf },
}

impl WaitFields {
    pub(super) fn target(&self) -> Result<Target, String> {
        if self.http.is_none() && (!self.expect.is_empty() || self.ca_file.is_some()) {
            return Err("`expect` and `ca_file` go with `http` only".to_owned());
        }
        if self.volume.is_none() && self.state_dir.is_some() {
            return Err("`state_dir` goes with `volume` only".to_owned());
        }
        match (&self.http, &self.tcp, &self.dns, &self.file, &self.volume) {
            (Some(_), None, None, None, None) => self.request().fault().map(|()| Target::Http),
            (None, Some(tcp), None, None, None) => {
                let place = tcp.rsplit_once(':').and_then(|(host, port)| {
                    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                    Some((host.to_owned(), port.parse::<u16>().ok().filter(|port| *port > 0)?))
                });
                match place {
                    Some((host, port)) if !host.is_empty() => Ok(Target::Tcp { host, port }),
                    _ => Err(format!("`tcp`: `{tcp}` is not a host:port such as db:5432")),
                }
            }
            (None, None, Some(host), None, None) if host.is_empty() || host.contains(['/', ':']) => {
                Err(format!("`dns`: `{host}` is not the name of a host"))
            }
            (None, None, Some(host), None, None) => Ok(Target::Dns(host.clone())),
            (None, None, None, Some(path), None) => {
                absolute("file", Some(path)).map(|()| Target::File(path.clone()))
            }
            (None, None, None, None, Some(path)) => {
                absolute("volume", Some(path))?;
                absolute("state_dir", self.state_dir.as_deref())?;
                let state_dir = self.state_dir.clone().unwrap_or_else(|| path.join(USUAL_STATE_DIR));
                Ok(Target::Volume { path: path.clone(), state_dir })
            }
            _ => Err("`wait_for`: exactly one of http, tcp, dns, file, volume is expected".to_owned()),
        }
    }

    pub(super) fn wait(&self, target: &Target) -> Wait {
        match target {
            Target::Http => Wait::Http(Box::new(self.request().action())),
            Target::Tcp { host, port } => Wait::Tcp { host: host.clone(), port: *port },
            Target::Dns(host) => Wait::Dns(host.clone()),
            Target::File(path) => Wait::File(path.clone()),
            Target::Volume { path, state_dir } => {
                Wait::Volume { path: path.clone(), state_dir: state_dir.clone() }
            }
        }
    }

    fn request(&self) -> HttpFields {
        HttpFields::get(self.http.clone(), &self.expect, self.ca_file.clone())
    }
}
