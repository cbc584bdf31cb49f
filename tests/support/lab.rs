//! A volume, a repository and a clean environment to run volkeep in.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use volkeep::store::{LocalStore, ObjectStore};

use super::git::GitServer;
use super::process::{Outcome, run, shell, wrap};
use super::s3::{Server, unique};
use super::{compare, trees};

/// `nobody` everywhere.
pub const PLAIN_USER: &str = "65534";

/// Where the state directory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Beside the data, so that a restore goes live by one exchange of names.
    Subdirectory,
    /// In the data directory, which can not be renamed, so entries are moved one by one.
    MountPoint,
}

/// Where the repository lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Beside the volume.
    Directory,
    /// In a bucket of the real server.
    Bucket,
    /// A bare git repository beside the volume.
    GitDirectory,
    /// On the real git server, reached over ssh.
    GitSsh,
    /// The same over https.
    GitHttps,
}

/// A repository in a bucket, and the way there.
#[derive(Clone, Debug)]
struct Place {
    server: Server,
    bucket: String,
    prefix: String,
    /// Of a proxy, where the program is not to go straight.
    detour: Option<String>,
}

pub struct Lab {
    pub layout: Layout,
    root: TempDir,
    place: Option<Place>,
    /// A git repository: its address, and where it is on this machine.
    git: Option<(String, PathBuf)>,
    /// Comes on top of the clean environment of every run.
    environment: Vec<(OsString, OsString)>,
    config: Option<PathBuf>,
}

impl Lab {
    /// An empty volume, and no repository yet.
    pub fn new(layout: Layout) -> Self {
        Self::at(layout, None, None)
    }

    #[track_caller]
    pub fn new_in(home: Home, layout: Layout) -> Self {
        match home {
            Home::Directory => Self::new(layout),
            Home::Bucket => {
                let server = Server::real();
                let bucket = server.shared_bucket();
                Self::in_bucket(layout, server, bucket)
            }
            Home::GitDirectory => Self::at(layout, None, Some((String::new(), PathBuf::new()))),
            Home::GitSsh | Home::GitHttps => {
                let server = GitServer::running();
                Self::on_server(home, layout, &server, &server.new_repository())
            }
        }
    }

    /// The repository is to be below a prefix of its own in this bucket.
    pub fn in_bucket(layout: Layout, server: Server, bucket: String) -> Self {
        Self::at(layout, Some(Place { server, bucket, prefix: unique("lab"), detour: None }), None)
    }

    /// The repository is to be this one of the server.
    pub fn on_server(home: Home, layout: Layout, server: &GitServer, name: &str) -> Self {
        let file = |name: &str| server.files.join(name).display().to_string();
        let path = server.path(name);
        let (address, variables) = match home {
            Home::GitSsh => (
                format!("git+ssh://{}@127.0.0.1:{}{}", server.user, server.ssh_port, path.display()),
                vec![("SSH_KEY_FILE", file("ed25519")), ("SSH_KNOWN_HOSTS_FILE", file("known_hosts"))],
            ),
            _ => (
                format!("git+https://127.0.0.1:{}/{name}", server.https_port),
                vec![
                    ("HTTPS_USER", "writer".to_owned()),
                    ("HTTPS_TOKEN_FILE", file("writer.password")),
                    ("HTTPS_CA_FILE", file("ca.pem")),
                ],
            ),
        };
        let lab = Self::at(layout, None, Some((address, path)));
        variables
            .into_iter()
            .fold(lab, |lab, (name, value)| lab.with(&format!("VOLKEEP_REPOSITORY_{name}"), value))
    }

    /// The same repository as that of another lab, with its keys.
    pub fn sharing(mut self, other: &Self) -> Self {
        self.place.clone_from(&other.place);
        self.git = other.git.as_ref().map(|_| (other.url(), other.repository()));
        for (name, value) in &other.environment {
            if matches!(name.to_str(), Some("AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY"))
                || name.to_string_lossy().starts_with("VOLKEEP_REPOSITORY")
            {
                self.unset(&name.to_string_lossy());
                self.environment.push((name.clone(), value.clone()));
            }
        }
        self
    }

    fn at(layout: Layout, place: Option<Place>, git: Option<(String, PathBuf)>) -> Self {
        let root = tempfile::Builder::new().prefix("volkeep-lab-").tempdir().unwrap();
        let lab = Self { layout, root, place, git, environment: Vec::new(), config: None };
        for directory in [lab.volume(), lab.path("home")] {
            fs::create_dir_all(directory).unwrap();
        }
        let set = [
            ("VOLKEEP_VOLUME", lab.volume().into_os_string()),
            ("VOLKEEP_STATE_DIR", lab.state_dir().into_os_string()),
            ("VOLKEEP_IDENTITY", "laboratory".into()),
            ("VOLKEEP_REPOSITORY", lab.url().into()),
            // What fails here fails for good: no test waits minutes for a better day.
            ("VOLKEEP_INIT_TIMEOUT", "5s".into()),
            ("VOLKEEP_LIMITS_RETRY", "1s".into()),
        ];
        let mut lab = set.into_iter().fold(lab, |lab, (name, value)| lab.with(name, value));
        if let Some(Place { server, .. }) = lab.place.clone() {
            lab.set("AWS_ACCESS_KEY_ID", server.access_key_id);
            lab.set("AWS_SECRET_ACCESS_KEY", server.secret_access_key);
        }
        lab
    }

    /// A volume with the given content, taken over by volkeep and backed up once. The content as it then is lies
    /// in `reference` as well.
    #[track_caller]
    pub fn filled(layout: Layout, fill: impl Fn(&Path)) -> Self {
        Self::filled_in(Home::Directory, layout, fill)
    }

    #[track_caller]
    pub fn filled_in(home: Home, layout: Layout, fill: impl Fn(&Path)) -> Self {
        let lab = Self::new_in(home, layout);
        fill(&lab.volume());
        lab.first_backup();
        lab
    }

    #[track_caller]
    pub fn first_backup(&self) {
        self.ok(&["repository", "init"]);
        self.adopt();
        self.ok(&["backup"]);
        self.keep_reference();
    }

    /// `init` takes over what is on the volume, as somebody does who moves to volkeep with data at hand.
    #[track_caller]
    pub fn adopt(&self) {
        run(self.command(&["init"]).env("VOLKEEP_INIT_ON_FOREIGN", "adopt")).expect_code(0);
    }

    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.set(name, value);
        self
    }

    pub fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.unset(name);
        self.environment.push((name.into(), value.as_ref().to_owned()));
    }

    pub fn unset(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// Writes a configuration file and names it in every later run. The repository is the file's to name.
    pub fn with_config(mut self, yaml: &str) -> Self {
        let path = self.path("config.yaml");
        fs::write(&path, yaml).unwrap();
        self.config = Some(path);
        self.unset("VOLKEEP_REPOSITORY");
        self
    }

    /// A place of the lab's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn volume(&self) -> PathBuf {
        match self.layout {
            Layout::Subdirectory => self.path("volume/data"),
            Layout::MountPoint => self.path("volume"),
        }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.path("volume/.volkeep")
    }

    /// The directory of a repository that is in none of the buckets.
    pub fn repository(&self) -> PathBuf {
        assert!(self.place.is_none(), "this lab's repository is in a bucket");
        match &self.git {
            Some((address, path)) if !address.is_empty() => path.clone(),
            _ => self.path("repository"),
        }
    }

    pub fn reference(&self) -> PathBuf {
        self.path("reference")
    }

    pub fn url(&self) -> String {
        match (&self.git, &self.place) {
            (Some((address, _)), _) if address.is_empty() => {
                format!("git+file://{}", self.repository().display())
            }
            (Some((address, _)), _) => address.clone(),
            (None, None) => format!("file://{}", self.repository().display()),
            (None, Some(Place { server, bucket, prefix, detour })) => {
                let endpoint = detour.as_ref().unwrap_or(&server.endpoint);
                format!("s3://{bucket}/{prefix}?endpoint={endpoint}&region=us-east-1")
            }
        }
    }

    /// From now on the program goes to the bucket by another address; the tests themselves go straight.
    pub fn by_way_of(&mut self, endpoint: String) {
        self.place.as_mut().expect("a repository in a bucket").detour = Some(endpoint);
        let url = self.url();
        self.set("VOLKEEP_REPOSITORY", url);
    }

    /// The bytes of the repository, wherever it is.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        match &self.place {
            None => Arc::new(LocalStore::new(self.repository())),
            Some(Place { server, bucket, prefix, .. }) => server.store(bucket, prefix),
        }
    }

    /// Server, bucket and prefix of a repository that is in a bucket.
    pub fn bucket(&self) -> (&Server, &str, &str) {
        let Place { server, bucket, prefix, .. } = self.place.as_ref().expect("a repository in a bucket");
        (server, bucket, prefix)
    }

    /// volkeep with this lab's environment and nothing of the tester's.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_volkeep"));
        command.args(arguments).current_dir(self.root.path()).env_clear();
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path("home")).env("LC_ALL", "C.UTF-8");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Outcome {
        run(&mut self.command(arguments))
    }

    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> Outcome {
        self.exits(0, arguments)
    }

    #[track_caller]
    pub fn exits(&self, code: i32, arguments: &[&str]) -> Outcome {
        self.run(arguments).expect_code(code)
    }

    /// Runs volkeep under a shell script in a mount namespace of its own, where mounts vanish with the script. The
    /// script gets the volume as `$VOLUME`, the state directory as `$STATE`, the lab as `$LAB` and runs `"$@"`.
    pub fn inside_mounts(&self, script: &str, arguments: &[&str]) -> Outcome {
        assert!(is_root(), "this test mounts file systems; run it as root");
        let inner = self.command(arguments);
        let mut outer = Command::new("unshare");
        outer.args(["-m", "--propagation", "private", "bash", "-euo", "pipefail", "-c", script, "inside"]);
        wrap(&mut outer, &inner);
        outer.env("VOLUME", self.volume()).env("STATE", self.state_dir()).env("LAB", self.root.path());
        run(&mut outer)
    }

    /// Gives the whole lab to a user without rights, and a command that runs as that user.
    pub fn command_of_plain_user(&self, arguments: &[&str]) -> Command {
        assert!(is_root(), "this test runs volkeep as another user; run it as root");
        // Where the build lies, that user may have no way in.
        let program = self.path("home/volkeep");
        fs::copy(env!("CARGO_BIN_EXE_volkeep"), &program).unwrap();
        shell("chown -R -h \"$2\" \"$1\"", &[self.root.path().as_os_str(), PLAIN_USER.as_ref()]);
        let inner = self.command(arguments);
        let mut outer = Command::new("setpriv");
        outer.args(["--reuid", PLAIN_USER, "--regid", PLAIN_USER, "--clear-groups"]);
        let mut own = Command::new(&program);
        own.args(inner.get_args()).current_dir(self.root.path());
        own.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        wrap(&mut outer, &own);
        outer
    }

    #[track_caller]
    pub fn state(&self) -> String {
        let outcome = self.run(&["status", "--json"]);
        outcome.json()["state"].as_str().unwrap_or_else(|| panic!("no state by {outcome}")).to_owned()
    }

    /// Ids of all snapshots, oldest first.
    #[track_caller]
    pub fn snapshots(&self) -> Vec<String> {
        let outcome = self.ok(&["snapshots", "--json"]);
        let Value::Array(items) = outcome.json() else { panic!("no array by {outcome}") };
        let mut found: Vec<String> = items
            .iter()
            .map(|item| {
                let id = item["id"].as_str();
                id.unwrap_or_else(|| panic!("a snapshot without `id` by {outcome}")).to_owned()
            })
            .collect();
        // Names sort as the times do. Times as text do not: a whole second is written without a fraction.
        found.sort();
        found
    }

    /// A backup, and its report.
    #[track_caller]
    pub fn backup(&self) -> Value {
        report(&self.ok(&["backup", "--json"]))
    }

    /// Remembers the volume's content as it is now.
    pub fn keep_reference(&self) {
        remove_all(&self.reference());
        compare::copy(&self.volume(), &self.reference());
    }

    /// The disk is gone, a new one is there: no data, no state.
    pub fn wipe(&self) {
        remove_all(&self.path("volume"));
        fs::create_dir_all(self.volume()).unwrap();
    }

    /// The live volume holds exactly what the reference holds.
    #[track_caller]
    pub fn assert_back(&self) {
        compare::same(&self.reference(), &self.volume());
    }

    /// Names and sizes of all objects of one kind, such as `packs`; all objects for an empty one.
    pub fn objects(&self, kind: &str) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let mut add = |info: volkeep::store::ObjectInfo| {
            found.push((info.key.to_string(), info.size));
            Ok(())
        };
        self.store().list(kind, &mut add).unwrap();
        found
    }

    /// Files of one kind in the repository, such as `packs`, in the order of their names.
    pub fn stored(&self, kind: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.repository().join(kind)];
        while let Some(directory) = open.pop() {
            for entry in
                fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
            {
                let path = entry.unwrap().path();
                if path.is_dir() { open.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }

    /// Everything in the state directory, with times: what a run that changes nothing leaves alone. The lock file is
    /// left out: whoever has the lock writes his name into it.
    pub fn state_listing(&self) -> String {
        shell(
            "cd \"$1\" && find . ! -name lock -printf '%p %y %m %s %T@ %C@ %i\\n' | sort",
            &[self.state_dir().as_os_str()],
        )
    }
}

/// The report of a backup to one repository, whether it is printed alone or as the only one of a list.
#[track_caller]
pub fn report(outcome: &Outcome) -> Value {
    match outcome.json() {
        Value::Array(mut reports) if reports.len() == 1 => reports.remove(0),
        report => report,
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Not root: a directory of mode 0000 would keep the temporary directory from going.
        let _ = Command::new("chmod").args(["-R", "u+rwX"]).arg(self.root.path()).output();
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn remove_all(path: &Path) {
    if fs::symlink_metadata(path).is_ok() {
        shell("rm -rf -- \"$1\"", &[path.as_os_str()]);
    }
}

/// The small tree of the crash tests.
impl Lab {
    #[track_caller]
    pub fn with_few_entries(home: Home, layout: Layout) -> Self {
        Self::filled_in(home, layout, trees::few_entries)
    }
}
