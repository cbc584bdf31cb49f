//! What can be wrong with what is said for git beside an address. Looks at values only: keys and files of known hosts
//! may be on another machine.

use crate::config::git::{HttpsConfig, SshConfig, is_usual};
use crate::config::model::RepositoryConfig;
use crate::config::repository_url::branch::no_branch;
use crate::config::repository_url::{GitSays, GitWay};
use crate::config::section::{first_key, no_absolute_path};

type Refuse<'a> = dyn FnMut(&str, &str) + 'a;

/// The key below the repository, and why.
pub fn of(repository: &RepositoryConfig) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if !repository.url.is_given() {
        return found;
    }
    let mut refuse = |key: &str, message: &str| found.push((key.to_owned(), message.to_owned()));
    let says = repository.url.git();
    match says {
        None => misplaced(repository, &mut refuse),
        Some(says) => of_git(repository, says, &mut refuse),
    }
    let way = says.map(|says| says.way);
    for (name, key, own) in [
        ("ssh", first_key(&repository.ssh), GitWay::Ssh),
        ("https", first_key(&repository.https), GitWay::Https),
    ] {
        if let Some(key) = key.filter(|_| way != Some(own)) {
            let message = format!("it is for git+{name}:// addresses, and this repository has another one");
            refuse(&format!("{name}.{key}"), &message);
        }
    }
    found
}

fn misplaced(repository: &RepositoryConfig, refuse: &mut Refuse<'_>) {
    let other = "it is for repositories in git, and this one has another address";
    if repository.branch.is_some() {
        refuse("branch", other);
    }
    if !is_usual(&repository.largest_file) {
        refuse("largest_file", other);
    }
}

fn of_git(repository: &RepositoryConfig, says: GitSays<'_>, refuse: &mut Refuse<'_>) {
    let default = RepositoryConfig::default();
    for (key, differs) in [
        ("compression", repository.compression != default.compression),
        ("level", repository.level != default.level),
    ] {
        if differs {
            refuse(key, "it is not for repositories in git, which compresses by itself");
        }
    }
    if let Some(branch) = &repository.branch {
        if let Some(why) = no_branch(branch) {
            refuse("branch", &format!("`{}` cannot name a branch: {why}", branch.escape_debug()));
        } else if says.branch.is_some_and(|other| other != branch) {
            refuse("branch", "the address names another branch; one of them has to go");
        }
    }
    match says.way {
        GitWay::Ssh => ssh(&repository.ssh, says, refuse),
        GitWay::Https => https(&repository.https, says, refuse),
        GitWay::Directory => {}
    }
}

fn ssh(ssh: &SshConfig, says: GitSays<'_>, refuse: &mut Refuse<'_>) {
    let (key, passphrase) = (ssh.key(), ssh.passphrase());
    if let Some(why) = key.fault("key") {
        refuse("ssh.key", &why);
    } else if key.text().is_some_and(|text| !text.trim_start().starts_with("-----BEGIN ")) {
        refuse(
            "ssh.key",
            "it is no private key as `ssh-keygen` writes it, with `-----BEGIN` in front (not shown)",
        );
    } else if key.is_there() && says.key {
        refuse("ssh.key", "the address holds a key as well; one of them has to go");
    }
    if let Some(why) = passphrase.fault("passphrase") {
        refuse("ssh.passphrase", &why);
    }
    if ssh.agent && (key.is_there() || says.key) {
        refuse("ssh.agent", "a key is given as well; one of them has to go");
    } else if ssh.agent && passphrase.is_there() {
        refuse("ssh.agent", "a passphrase is given as well, and the agent needs none; one of them has to go");
    }
    for (name, path) in [
        ("ssh.key_file", &ssh.key_file),
        ("ssh.passphrase_file", &ssh.passphrase_file),
        ("ssh.known_hosts_file", &ssh.known_hosts_file),
    ] {
        if let Some(why) = no_absolute_path(path.as_deref()) {
            refuse(name, &why);
        }
    }
}

fn https(https: &HttpsConfig, says: GitSays<'_>, refuse: &mut Refuse<'_>) {
    for (name, key, given, in_address) in
        [("user", "https.user", https.user(), says.user), ("token", "https.token", https.token(), says.token)]
    {
        let text = given.text().unwrap_or_default();
        if let Some(why) = given.fault(name) {
            refuse(key, &why);
        } else if text.chars().any(char::is_control) {
            refuse(key, "it holds a control character, such as a line feed (it is not shown)");
        } else if name == "user" && text.contains(':') {
            refuse(key, "it holds a `:`, which users cannot have; what follows it belongs into `token`");
        } else if given.is_there() && in_address {
            refuse(key, &format!("the address holds a {name} as well; one of them has to go"));
        }
    }
    for (name, path) in [
        ("https.user_file", &https.user_file),
        ("https.token_file", &https.token_file),
        ("https.ca_file", &https.ca_file),
    ] {
        if let Some(why) = no_absolute_path(path.as_deref()) {
            refuse(name, &why);
        }
    }
}
