//! Repositories in git, from a file or from variables to the options of the repository.

use super::*;
use crate::base::secret::SecretSource;
use crate::repository::Location;
use crate::repository::git::{self, GitOptions, HttpsOptions, Place, SshOptions};

const SSH: &str = "git+ssh://git@host/wiki.git";
const HTTPS: &str = "git+https://host/wiki.git";
const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter1\n-----END OPENSSH PRIVATE KEY-----\n";

/// A file with one repository, whose keys beside the address are `keys`.
fn beside(url: &str, keys: &str) -> Scene {
    let comma = if keys.is_empty() { "" } else { ", " };
    Scene::with_file(&format!(
        "volume: {{path: /data}}\nrepositories:\n- {{url: '{url}'{comma}\n  {keys}}}\n"
    ))
}

fn options(loaded: &Loaded) -> GitOptions {
    match loaded.config.repository_options().remove(0).location {
        Location::Git(options) => *options,
        other => panic!("{other:?}"),
    }
}

fn loaded(url: &str, keys: &str) -> GitOptions {
    options(&beside(url, keys).load(Flags::default(), []).unwrap())
}

fn ssh(options: GitOptions) -> SshOptions {
    match options.place {
        Place::Ssh(ssh) => *ssh,
        other => panic!("{other:?}"),
    }
}

fn https(options: GitOptions) -> HttpsOptions {
    match options.place {
        Place::Https(https) => *https,
        other => panic!("{other:?}"),
    }
}

fn described(source: Option<&SecretSource>) -> String {
    match source {
        Some(SecretSource::Value(secret)) => secret.reveal().to_owned(),
        Some(SecretSource::File(path)) => format!("in {}", path.display()),
        None => "none".to_owned(),
    }
}

/// As they stand in an address.
fn in_base64(key: &str) -> String {
    data_encoding::BASE64.encode(key.as_bytes())
}

#[test]
fn address_and_keys_become_the_options_of_the_repository() {
    let options = loaded(
        "git+ssh://bob@host:2222/srv/wiki.git",
        "branch: backups, largest_file: 2GiB, ssh: {key_file: /key, passphrase_file: /pass, known_hosts_file: /known}",
    );
    assert_eq!((options.branch.as_str(), options.largest_file), ("backups", 2 << 30));
    assert_eq!(options.cache, Path::new("/data/.volkeep/cache/git"));
    assert_eq!(options.location(), "git+ssh://bob@host:2222/srv/wiki.git?branch=backups");
    let ssh = ssh(options);
    assert_eq!((ssh.user.as_str(), ssh.host.as_str(), ssh.port), ("bob", "host", 2222));
    assert_eq!(ssh.path, "/srv/wiki.git");
    assert_eq!(described(ssh.key.as_ref()), "in /key");
    assert_eq!(described(ssh.passphrase.as_ref()), "in /pass");
    assert_eq!(ssh.known_hosts, [Path::new("/known")]);
    assert_eq!(ssh.agent, None);

    let options = loaded(
        "git+https://host/me/wiki.git?branch=x",
        "branch: x, largest_file: 0, https: {user: bob, token_file: /token, ca_file: /ca}",
    );
    assert_eq!((options.branch.as_str(), options.largest_file), ("x", 0));
    let https = https(options);
    assert_eq!((https.host.as_str(), https.port, https.path.as_str()), ("host", 443, "/me/wiki.git"));
    assert_eq!(described(https.user.as_ref()), "bob");
    assert_eq!(described(https.token.as_ref()), "in /token");
    assert_eq!(https.ca_file.as_deref(), Some(Path::new("/ca")));

    let options = loaded("git+file:///srv/wiki.git", "");
    assert!(matches!(&options.place, Place::Directory(path) if path == Path::new("/srv/wiki.git")));
    assert_eq!((options.branch.as_str(), options.largest_file), ("main", git::options::USUAL_LARGEST_FILE));
}

#[test]
fn what_is_in_the_address_opens_the_door() {
    let ssh = ssh(loaded(&format!("git+ssh://git~{}@host/~/w.git", in_base64(KEY)), ""));
    assert_eq!((described(ssh.key.as_ref()).as_str(), ssh.path.as_str()), (KEY, "w.git"));
    let https = https(loaded("git+https://bob:hunter2@host/w.git", ""));
    assert_eq!(described(https.user.as_ref()), "bob");
    assert_eq!(described(https.token.as_ref()), "hunter2");
}

#[test]
fn times_follow_the_limits() {
    let scene = |limits: &str| {
        let text =
            format!("volume: {{path: /data}}\nrepositories: [{{url: '{SSH}'}}]\nlimits: {{{limits}}}\n");
        options(&Scene::with_file(&text).load(Flags::default(), []).unwrap())
    };
    let seconds = |limits: &str| {
        let options = scene(limits);
        (options.retry_deadline.as_secs(), options.stall_timeout.as_secs())
    };
    assert_eq!(seconds("retry: 10m"), (600, 60));
    assert_eq!(seconds("retry: 20s"), (20, 20));
    assert_eq!(seconds("retry: 1s"), (1, 5));
    assert_eq!(seconds("retry: 0"), (0, 60));
}

#[test]
fn what_is_not_said_is_looked_for_where_ssh_does() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(".ssh").join(name);
    let scene = |keys: &str| {
        let variables = [("HOME", home.path().to_str().unwrap()), ("SSH_AUTH_SOCK", "/run/agent")];
        ssh(options(&beside(SSH, keys).load(Flags::default(), variables).unwrap()))
    };
    assert_eq!(described(scene("").key.as_ref()), "none");
    assert_eq!(scene("").known_hosts, [at("known_hosts"), "/etc/ssh/ssh_known_hosts".into()]);
    std::fs::create_dir(home.path().join(".ssh")).unwrap();
    for name in ["id_rsa", "id_ecdsa", "id_ed25519"] {
        std::fs::write(at(name), "").unwrap();
        let ssh = scene("");
        assert_eq!(described(ssh.key.as_ref()), format!("in {}", at(name).display()));
        assert_eq!(ssh.agent, None, "an agent is asked where that is said");
    }
    let ssh = scene("ssh: {agent: true}");
    assert_eq!(
        (described(ssh.key.as_ref()).as_str(), ssh.agent.as_deref()),
        ("none", Some(Path::new("/run/agent")))
    );
    assert_eq!(described(scene("ssh: {key_file: /key}").key.as_ref()), "in /key");

    let ssh = self::ssh(loaded(SSH, ""));
    assert_eq!((described(ssh.key.as_ref()).as_str(), ssh.known_hosts.len()), ("none", 1));
}

#[test]
fn without_a_volume_the_cache_is_with_those_of_the_user() {
    let cache = |variables: [(&str, &str); 2]| {
        let file = Scene::with_file(&format!("repositories: [{{url: '{SSH}'}}]\n"));
        let path = file.dir.path().join("config.yaml");
        let loaded =
            load_with_default(&Flags::default(), &Environment::from(variables), Needs::REPOSITORY, &path);
        options(&loaded.unwrap()).cache
    };
    assert_eq!(cache([("HOME", "/home/bob"), ("XDG_CACHE_HOME", "/c")]), Path::new("/c/volkeep/git"));
    assert_eq!(
        cache([("HOME", "/home/bob"), ("XDG_CACHE_HOME", "")]),
        Path::new("/home/bob/.cache/volkeep/git")
    );
    assert!(cache([("HOME", ""), ("XDG_CACHE_HOME", "c")]).is_absolute());
}

#[test]
fn variables_describe_a_whole_repository() {
    let load = |variables: &[(&str, &str)]| {
        let mut all = vec![("VOLKEEP_VOLUME", "/data")];
        all.extend(variables);
        let all: [(&str, &str); 8] = all.try_into().unwrap();
        Scene::with_file("").load(Flags::default(), all).unwrap()
    };
    let over_ssh = load(&[
        ("VOLKEEP_REPOSITORY", SSH),
        ("VOLKEEP_REPOSITORY_BRANCH", "backups"),
        ("VOLKEEP_REPOSITORY_LARGEST_FILE", "50MiB"),
        ("VOLKEEP_REPOSITORY_SSH_KEY_FILE", "/key"),
        ("VOLKEEP_REPOSITORY_SSH_PASSPHRASE", "hunter2"),
        ("VOLKEEP_REPOSITORY_SSH_KNOWN_HOSTS_FILE", "/known"),
        ("VOLKEEP_REPOSITORY_SSH_AGENT", "no"),
    ]);
    assert!(over_ssh.warnings.is_empty(), "{:?}", over_ssh.warnings);
    let origin = over_ssh.origins.of("repositories[0].ssh.key_file");
    assert_eq!(origin, Origin::Variable("VOLKEEP_REPOSITORY_SSH_KEY_FILE".into()));
    let options = options(&over_ssh);
    assert_eq!((options.branch.as_str(), options.largest_file), ("backups", 50 << 20));
    let ssh = ssh(options);
    assert_eq!(described(ssh.key.as_ref()), "in /key");
    assert_eq!(described(ssh.passphrase.as_ref()), "hunter2");
    assert_eq!(ssh.known_hosts, [Path::new("/known")]);

    let over_https = load(&[
        ("VOLKEEP_REPOSITORY", HTTPS),
        ("VOLKEEP_REPOSITORY_HTTPS_USER", "bob"),
        ("VOLKEEP_REPOSITORY_HTTPS_TOKEN_FILE", "/token"),
        ("VOLKEEP_REPOSITORY_HTTPS_CA_FILE", "/ca"),
        ("VOLKEEP_REPOSITORY_SSH_KEY", ""),
        ("VOLKEEP_LOG_LEVEL", "info"),
        ("VOLKEEP_LOG_FORMAT", "text"),
    ]);
    let https = https(self::options(&over_https));
    assert_eq!(described(https.token.as_ref()), "in /token");
}

#[test]
fn a_whole_key_fits_into_a_variable() {
    let variables =
        [("VOLKEEP_VOLUME", "/data"), ("VOLKEEP_REPOSITORY", SSH), ("VOLKEEP_REPOSITORY_SSH_KEY", KEY)];
    let loaded = Scene::with_file("").load(Flags::default(), variables).unwrap();
    assert_eq!(described(ssh(options(&loaded)).key.as_ref()), KEY);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let in_address = format!("git+ssh://git~{}@host/w.git", in_base64(KEY));
    for (url, keys, error) in [
        ("file:///b", "branch: x", "branch` (config.yaml line 4): it is for repositories in git"),
        (
            "s3://bucket",
            "largest_file: 1GiB",
            "largest_file` (config.yaml line 4): it is for repositories in git",
        ),
        (
            "file:///b",
            "ssh: {key_file: /k}",
            "ssh.key_file` (config.yaml line 4): it is for git+ssh:// addresses",
        ),
        (HTTPS, "ssh: {agent: true}", "ssh.agent` (config.yaml line 4): it is for git+ssh:// addresses"),
        (SSH, "https: {token: x}", "https.token` (config.yaml line 4): it is for git+https:// addresses"),
        ("git+file:///b", "https: {ca_file: /x}", "it is for git+https:// addresses"),
        (SSH, "s3: {profile: p}", "it is for s3:// addresses"),
        (SSH, "compression: gzip", "compression` (config.yaml line 4): it is not for repositories in git"),
        (SSH, "level: 3", "which compresses by itself"),
        (SSH, "branch: a..b", "`a..b` cannot name a branch: `..`"),
        (SSH, "branch: ''", "cannot name a branch: it is empty"),
        ("git+ssh://git@host/w?branch=a", "branch: b", "the address names another branch"),
        (SSH, "largest_file: many", "is not a size"),
        (SSH, "ssh: {key: hunter1}", "`-----BEGIN`"),
        (SSH, "ssh: {key: '***'}", "in place of a secret"),
        (SSH, "ssh: {key: ' '}", "ssh.key` (config.yaml line 4): it is empty"),
        (SSH, "ssh: {key: '-----BEGIN X', key_file: /x}", "`key` and `key_file` are both set"),
        (
            SSH,
            "ssh: {passphrase: hunter1, passphrase_file: /x}",
            "`passphrase` and `passphrase_file` are both set",
        ),
        (SSH, "ssh: {key_file: /k, agent: true}", "ssh.agent` (config.yaml line 4): a key is given as well"),
        (SSH, "ssh: {passphrase_file: /k, agent: true}", "the agent needs none"),
        (SSH, "ssh: {key_file: k}", "k is not an absolute path"),
        (SSH, "ssh: {passphrase_file: p}", "p is not an absolute path"),
        (SSH, "ssh: {known_hosts_file: ~/known}", "~/known is not an absolute path"),
        (SSH, "ssh: {known_hosts: x}", "unknown key `repositories[0].ssh.known_hosts`"),
        (SSH, "git: {branch: x}", "unknown key `repositories[0].git`"),
        (&in_address, "ssh: {key_file: /k}", "the address holds a key as well"),
        (&in_address, "ssh: {agent: true}", "a key is given as well"),
        (HTTPS, "https: {token: hunter1, token_file: /x}", "`token` and `token_file` are both set"),
        (HTTPS, "https: {user: 'hunter1:hunter1'}", "belongs into `token`"),
        (HTTPS, "https: {token: \"hunter1\\n\"}", "control character"),
        (HTTPS, "https: {token: ''}", "https.token` (config.yaml line 4): it is empty"),
        (HTTPS, "https: {user: '***'}", "in place of a secret"),
        (HTTPS, "https: {ca_file: ca.pem}", "not an absolute path"),
        ("git+https://me:hunter1@host/w", "https: {user_file: /u}", "the address holds a user as well"),
        ("git+https://me:hunter1@host/w", "https: {token_file: /t}", "the address holds a token as well"),
        ("git+file:///data/w.git", "", "on the volume /data itself"),
        ("git+file:///data/../w.git", "", "below `/`"),
    ] {
        let errors = beside(url, keys).errors();
        assert!(errors.len() == 1 && errors[0].contains(error), "{url} {keys}: {errors:?}");
        assert!(!errors[0].contains("hunter"), "{errors:?}");
    }
}

#[test]
fn one_branch_by_two_ways_is_one_repository() {
    let scene = |other: &str| {
        Scene::with_file(&format!("volume: {{path: /data}}\nrepositories: [{{url: '{SSH}'}}, {{{other}}}]\n"))
    };
    for other in [
        "url: 'git+ssh://bob@HOST/wiki.git?branch=main'",
        "url: 'git+ssh://git@host/wiki.git/', branch: main",
    ] {
        assert!(scene(other).errors()[0].contains("named twice"), "{other}");
    }
    let two = scene(&format!("url: '{SSH}', branch: other")).load(Flags::default(), []).unwrap();
    let at = |url: &str| match two.config.repository_at(&url.parse().unwrap()).location {
        Location::Git(options) => options.location(),
        other => panic!("{other:?}"),
    };
    assert_eq!(at(SSH), SSH);
    assert_eq!(at("git+ssh://host/wiki.git?branch=other"), "git+ssh://git@host/wiki.git?branch=other");
}

#[test]
fn what_is_shown_reads_back_the_same() {
    for (url, keys) in [
        (
            SSH,
            "branch: x, largest_file: 1GiB, ssh: {key_file: /k, passphrase_file: /p, known_hosts_file: /h}",
        ),
        ("git+ssh://git@host/~/w.git?branch=a", "ssh: {agent: true}"),
        (HTTPS, "https: {user_file: /u, token_file: /t, ca_file: /c}"),
        ("git+file:///srv/w.git", "largest_file: 0"),
    ] {
        let loaded = beside(url, keys).load(Flags::default(), []).unwrap();
        let yaml = show::to_yaml(&loaded.config).unwrap();
        assert_eq!(
            Scene::with_file(&yaml).load(Flags::default(), []).unwrap().config,
            loaded.config,
            "{yaml}"
        );
    }
    let yaml = show::to_yaml(&beside(SSH, "").load(Flags::default(), []).unwrap().config).unwrap();
    for key in ["branch", "largest_file", "ssh", "https", "s3", "surroundings"] {
        assert!(!yaml.contains(&format!("  {key}:")), "{key} is not worth showing: {yaml}");
    }
}

#[test]
fn secrets_are_shown_nowhere() {
    let key = KEY.replace('\n', "\\n");
    let in_address = format!("git+ssh://git~{}@host/w.git", in_base64(KEY));
    for (url, keys, count) in [
        (SSH, format!("ssh: {{key: \"{key}\", passphrase: hunter2}}"), 2),
        (HTTPS, "https: {user: hunter1, token: hunter2}".to_owned(), 2),
        ("git+https://hunter1:hunter2@host/w.git", String::new(), 1),
        (&in_address, String::new(), 1),
    ] {
        let loaded = beside(url, &keys).load(Flags::default(), []).unwrap();
        let yaml = show::to_yaml(&loaded.config).unwrap();
        let options = loaded.config.repository_options();
        let opened = crate::repository::open(&options[0], &clock());
        let shown =
            format!("{yaml}{:?}{loaded:?}{options:?}{opened:?}{}", show::lines(&loaded), opened.location());
        assert!(!shown.contains("hunter") && !shown.contains(&in_base64(KEY)[..30]), "{shown}");
        assert_eq!(yaml.matches("***").count(), count, "{yaml}");
        // What was shown is no configuration: nobody is to believe that it has the secrets.
        assert!(Scene::with_file(&yaml).load(Flags::default(), []).is_err(), "{yaml}");
    }
    for keys in [
        "ssh: {key: 40112233}",
        "ssh: {passphrase: {a: '40112233'}}",
        "ssh: {key: ['40112233']}",
        "ssh: {key: '40112233'}",
        "https: {token: 40112233}",
        "https: {user: '4011:2233', token: \"4011\\u0007\"}",
    ] {
        let url = if keys.starts_with("ssh") { SSH } else { HTTPS };
        let errors = beside(url, keys).errors();
        assert!(!errors.is_empty() && !errors.concat().contains("4011"), "{keys}: {errors:?}");
    }
}

#[test]
fn copies_do_not_lead_into_git() {
    let scene = Scene::with_file(&format!(
        "volume: {{path: /data}}\nrepositories: [{{url: 'file:///b'}}, {{url: '{SSH}'}}]\n"
    ));
    let options = scene.load(Flags::default(), []).unwrap().config.repository_options();
    for (from, to) in [(0, 1), (1, 0), (1, 1)] {
        let error = crate::repository::route(&options[from], &options[to], &clock()).unwrap_err();
        assert!(error.to_string().contains("git+ssh://git@host/wiki.git is in git"), "{error}");
    }
}

fn clock() -> std::sync::Arc<dyn crate::base::clock::Clock> {
    std::sync::Arc::new(crate::base::clock::SystemClock::default())
}
