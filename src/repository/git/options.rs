//! Where a git repository is and on which terms it is used: plain data, whatever the way there.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::secret::SecretSource;

/// What hosts take as one file, such as GitHub: 100 MiB.
pub const USUAL_LARGEST_FILE: u64 = 100 << 20;

#[derive(Clone, Debug)]
pub struct GitOptions {
    pub place: Place,
    /// The branch whose commits are the snapshots, such as `main`.
    pub branch: String,
    /// Where what is known of the repository is kept. May vanish at any time.
    pub cache: PathBuf,
    /// In bytes. A larger file keeps a backup from being pushed; 0 is without a limit.
    pub largest_file: u64,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an answer may take to begin, and a transfer to go on.
    pub stall_timeout: Duration,
    /// How long a failing connection is tried again.
    pub retry_deadline: Duration,
    /// Ends waiting for the other side.
    pub cancel: Cancel,
}

#[derive(Clone, Debug)]
pub enum Place {
    /// A bare repository in a directory of this machine, used without any server.
    Directory(PathBuf),
    Ssh(Box<SshOptions>),
    Https(Box<HttpsOptions>),
}

#[derive(Clone, Debug)]
pub struct SshOptions {
    pub host: String,
    pub port: u16,
    pub user: String,
    /// As the server is told it: absolute with a slash in front, else from its home directory.
    pub path: String,
    /// A private key in one of OpenSSH's formats.
    pub key: Option<SecretSource>,
    pub passphrase: Option<SecretSource>,
    /// The socket of an agent, asked where there is no key.
    pub agent: Option<PathBuf>,
    /// Files in the format of OpenSSH's `known_hosts`; those that are not there are passed over.
    pub known_hosts: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct HttpsOptions {
    pub host: String,
    pub port: u16,
    /// With a slash in front, and no slash at its end.
    pub path: String,
    pub user: Option<SecretSource>,
    /// A token or a password.
    pub token: Option<SecretSource>,
    /// Certificates in PEM that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
}

impl GitOptions {
    pub fn new(place: Place, cache: PathBuf) -> Self {
        Self {
            place,
            branch: "main".to_owned(),
            cache,
            largest_file: USUAL_LARGEST_FILE,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            retry_deadline: Duration::from_secs(120),
            cancel: Cancel::new(),
        }
    }

    /// Names the place in messages and markers, without any secret: `git+ssh://git@host/wiki.git`, with
    /// `?branch=…` unless that is `main`.
    pub fn location(&self) -> String {
        let mut location = self.place.location();
        if self.branch != "main" {
            location.push_str("?branch=");
            location.push_str(&self.branch);
        }
        location
    }

    /// The full name of the branch.
    pub fn reference(&self) -> String {
        format!("refs/heads/{}", self.branch)
    }
}

impl Place {
    pub fn location(&self) -> String {
        let port = |port: u16, usual: u16| if port == usual { String::new() } else { format!(":{port}") };
        let host = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self {
            Self::Directory(path) => format!("git+file://{}", path.display()),
            Self::Ssh(ssh) => {
                // A path from the home directory is written as git does.
                let slash = if ssh.path.starts_with('/') { "" } else { "/~/" };
                let (user, name, path) = (&ssh.user, host(&ssh.host), &ssh.path);
                format!("git+ssh://{user}@{name}{}{slash}{path}", port(ssh.port, 22))
            }
            Self::Https(https) => {
                format!("git+https://{}{}{}", host(&https.host), port(https.port, 443), https.path)
            }
        }
    }
}
