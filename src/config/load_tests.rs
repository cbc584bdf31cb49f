use super::*;
use crate::config::show;

/// A configuration file in a directory of its own.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn with_file(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.yaml"), text).unwrap();
        Self { dir }
    }

    fn load<const N: usize>(
        &self,
        flags: Flags,
        variables: [(&str, &str); N],
    ) -> Result<Loaded, ConfigErrors> {
        let file = self.dir.path().join("config.yaml");
        load_with_default(&flags, &Environment::from(variables), Needs::BOTH, &file)
    }

    fn errors(&self) -> Vec<String> {
        let prefix = format!("{}/", self.dir.path().display());
        let errors = self.load(Flags::default(), []).unwrap_err();
        errors.0.iter().map(|error| error.to_string().replace(&prefix, "")).collect()
    }
}

const MINIMAL: &str = "volume: {path: /data}\nrepositories: [{url: 'file:///b'}]\n";

#[test]
fn the_environment_alone_is_a_complete_configuration() {
    let variables =
        Environment::from([("VOLKEEP_VOLUME", "/data/"), ("VOLKEEP_REPOSITORY", "file:///backups/x")]);
    let absent = tempfile::tempdir().unwrap().path().join("none.yaml");
    let loaded = load_with_default(&Flags::default(), &variables, Needs::BOTH, &absent).unwrap();
    assert_eq!(loaded.config.volume.path, Path::new("/data"));
    assert_eq!(loaded.config.volume.state_dir, Path::new("/data/.volkeep"));
    assert_eq!(loaded.config.repositories.len(), 1);
    assert_eq!(loaded.config.limits.memory.0, 64 << 20);
    assert_eq!((loaded.file, loaded.warnings), (None, Vec::new()));
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let scene = Scene::with_file(
        "volume: {path: /file, identity: file}\nrepositories: [{url: 'file:///file', level: 3}, {url: 'file:///two'}]\nlog: {format: json}\n",
    );
    let flags = Flags { volume: Some("/flag".into()), ..Flags::default() };
    let loaded = scene
        .load(
            flags,
            [("VOLKEEP_VOLUME", "/env"), ("VOLKEEP_IDENTITY", "env"), ("VOLKEEP_REPOSITORY", "file:///env")],
        )
        .unwrap();
    let config = &loaded.config;
    assert_eq!(config.volume.path, Path::new("/flag"));
    assert_eq!(config.volume.identity, "env");
    assert_eq!(config.repositories.len(), 1, "one address replaces the whole list");
    assert_eq!(
        (config.repositories[0].url.to_string().as_str(), config.repositories[0].level),
        ("file:///env", 1)
    );
    assert_eq!(config.log.format, LogFormat::Json);

    let origin = |key: &str| show::lines(&loaded).into_iter().find(|line| line.key == key).unwrap().origin;
    assert_eq!(origin("volume.path"), Origin::Flag("--volume".into()));
    assert_eq!(origin("volume.identity"), Origin::Variable("VOLKEEP_IDENTITY".into()));
    assert!(matches!(origin("log.format"), Origin::File { line: Some(3), .. }));
    assert_eq!(origin("limits.memory"), Origin::Default);
    assert_eq!(origin("repositories[0].url"), Origin::Variable("VOLKEEP_REPOSITORY".into()));
    assert_eq!(origin("repositories[0].level"), Origin::Variable("VOLKEEP_REPOSITORY".into()));
}

#[test]
fn everything_wrong_is_reported_at_once_with_key_line_and_nearest_name() {
    let scene = Scene::with_file(
        "volume:\n  pth: /data\n  identity: 'a b'\n  lock_wait: soon\nrepositories:\n  - url: ftp://host/x\n    compression: lz4\nlimits: {connections: 0, memory: 1MiB}\ninit:\n  checks:\n    - {exists: a, sqlite: b}\n",
    );
    assert_eq!(
        scene.errors(),
        [
            "unknown key `volume.pth` (config.yaml line 2); did you mean `path`?",
            "`init.checks[0]` (config.yaml line 10): a check is exactly one of exists, not_empty, command, sqlite, postgres, git, http, checksum_file, manifest",
            "`repositories[0].compression` (config.yaml line 7): unknown variant `lz4`, expected one of `zstd`, `gzip`, `none`",
            "`repositories[0].url` (config.yaml line 6): `ftp://host/x`: `ftp` is not supported; addresses begin with file://, s3://, git+ssh://, git+https:// or git+file://",
            "`volume.lock_wait` (config.yaml line 4): `soon` is not a duration such as 90s, 10m or 1h30m",
            "`volume.path` is not set; set it by --volume, VOLKEEP_VOLUME or the configuration file",
            "`volume.identity` (config.yaml line 3): 1 to 64 letters, digits, `.`, `_` or `-` are expected",
            "`limits.memory` (config.yaml line 8): 1MiB is less than 16MiB",
            "`limits.connections` (config.yaml line 8): 0 is not a number from 1 to 256",
        ]
    );
}

#[test]
fn a_value_of_the_wrong_kind_names_its_key() {
    let scene = Scene::with_file(&format!("{MINIMAL}init: 5\nbackup: {{max_shrink: -1, allow_empty: 7}}\n"));
    assert_eq!(
        scene.errors(),
        [
            "`backup.allow_empty` (config.yaml line 4): invalid type: integer `7`, expected a boolean",
            "`backup.max_shrink` (config.yaml line 4): `-1` is not allowed here",
            "`init` (config.yaml line 3): keys and values are expected here",
        ]
    );
}

#[test]
fn the_directories_must_not_get_into_each_others_way() {
    for (volume, repository, part) in [
        ("{path: data}", "file:///b", "not an absolute path"),
        ("{path: /}", "file:///b", "root of the file system"),
        ("{path: /a/../b}", "file:///b", "`..`"),
        ("{path: /data, state_dir: /data}", "file:///b", "volume.path or hold it"),
        ("{path: /v/data, state_dir: /v}", "file:///b", "volume.path or hold it"),
        ("{path: /data, state_dir: /data/app/state}", "file:///b", "directly below"),
        ("{path: /data, exclude: ['a{b']}", "file:///b", "`volume.exclude[0]`"),
        ("{path: /data}", "file:///data/backups", "on the volume /data itself"),
        ("{path: /srv/data}", "file:///srv", "lies in it"),
    ] {
        let scene = Scene::with_file(&format!("volume: {volume}\nrepositories: [{{url: '{repository}'}}]\n"));
        let errors = scene.errors();
        assert!(errors.len() == 1 && errors[0].contains(part), "{volume}: {errors:?}");
    }
    for volume in ["{path: /v/data, state_dir: /v/.volkeep}", "{path: /data, state_dir: /data/.keep}"] {
        let scene = Scene::with_file(&format!("volume: {volume}\nrepositories: [{{url: 'file:///b'}}]\n"));
        scene.load(Flags::default(), []).unwrap();
    }
}

#[test]
fn keys_without_a_value_are_as_good_as_absent() {
    let scene = Scene::with_file(&format!("{MINIMAL}init:\nbackup:\n  max_shrink:\n"));
    let loaded = scene.load(Flags::default(), []).unwrap();
    assert_eq!(loaded.config.backup, Config::default().backup);
}

#[test]
fn a_file_that_is_named_must_exist() {
    let flags = Flags { config: Some("/no/such/file.yaml".into()), ..Flags::default() };
    let error = load(&flags, &Environment::default(), Needs::NOTHING).unwrap_err();
    assert_eq!(error.to_string(), "there is no file /no/such/file.yaml (named by --config)");
    let variables = Environment::from([("VOLKEEP_CONFIG", "/no/such/file.yaml")]);
    let error = load(&Flags::default(), &variables, Needs::NOTHING).unwrap_err();
    assert!(error.to_string().ends_with("(named by VOLKEEP_CONFIG)"), "{error}");
}

#[test]
fn what_a_command_does_not_need_may_be_absent() {
    let scene = Scene::with_file("log: {level: debug}\n");
    let file = scene.dir.path().join("config.yaml");
    let load = |needs| load_with_default(&Flags::default(), &Environment::default(), needs, &file);
    assert!(load(Needs::NOTHING).is_ok());
    assert_eq!(load(Needs::VOLUME).unwrap_err().0.len(), 1);
    assert_eq!(load(Needs::REPOSITORY).unwrap_err().0.len(), 1);
    assert_eq!(load(Needs::BOTH).unwrap_err().0.len(), 2);
}

#[test]
fn a_repository_variable_without_its_address_is_refused() {
    let error =
        Scene::with_file(MINIMAL).load(Flags::default(), [("VOLKEEP_REPOSITORY_LEVEL", "3")]).unwrap_err();
    assert!(error.to_string().contains("VOLKEEP_REPOSITORY, which is not set"), "{error}");
}

#[test]
fn what_is_shown_reads_back_the_same() {
    let scene = Scene::with_file(&format!(
        "{MINIMAL}init:\n  checks:\n    - {{command: [true, '-x'], timeout: 5s}}\n    - {{manifest: true, level: full}}\n"
    ).replace("[true,", "['true',"));
    let loaded = scene.load(Flags::default(), []).unwrap();
    let again = Scene::with_file(&show::to_yaml(&loaded.config).unwrap());
    assert_eq!(again.load(Flags::default(), []).unwrap().config, loaded.config);
}

#[cfg(feature = "s3")]
mod s3 {
    use super::*;
    use crate::base::secret::SecretSource;
    use crate::repository::Location;
    use crate::store::s3::{S3Credentials, S3Encryption, S3Options};

    fn section(url: &str, s3: &str) -> Scene {
        Scene::with_file(&format!("volume: {{path: /data}}\nrepositories:\n- url: '{url}'\n  s3: {{{s3}}}\n"))
    }

    fn options(loaded: &Loaded) -> S3Options {
        match loaded.config.repository_options().remove(0).location {
            Location::S3(options) => *options,
            other => panic!("{other:?}"),
        }
    }

    fn described(source: &SecretSource) -> String {
        match source {
            SecretSource::Value(secret) => secret.reveal().to_owned(),
            SecretSource::File(path) => format!("in {}", path.display()),
        }
    }

    #[test]
    fn address_and_section_become_the_options_of_the_store() {
        let scene = section(
            "s3://bucket/a/b?endpoint=http://host:9000&region=r&path_style=false",
            "access_key_id: id, secret_access_key_file: /secret, ca_file: /ca, storage_class: STANDARD_IA, \
             encryption: kms, kms_key: k",
        );
        let options = options(&scene.load(Flags::default(), []).unwrap());
        assert_eq!((options.bucket.as_str(), options.prefix.as_str()), ("bucket", "a/b"));
        assert_eq!(options.endpoint.as_deref(), Some("http://host:9000"));
        assert_eq!((options.region.as_deref(), options.path_style), (Some("r"), Some(false)));
        assert_eq!(options.ca_file.as_deref(), Some(Path::new("/ca")));
        assert_eq!(options.storage_class.as_deref(), Some("STANDARD_IA"));
        assert_eq!(options.encryption, S3Encryption::Kms(Some("k".into())));
        let S3Credentials::Keys { access_key_id, secret_access_key, session_token: None } =
            options.credentials
        else {
            panic!("{:?}", options.credentials)
        };
        assert_eq!(
            (described(&access_key_id), described(&secret_access_key)),
            ("id".into(), "in /secret".into())
        );
    }

    #[test]
    fn who_we_are_is_said_in_one_way_or_left_to_the_environment() {
        let credentials =
            |url, s3| options(&section(url, s3).load(Flags::default(), []).unwrap()).credentials;
        assert!(matches!(credentials("s3://bucket", "encryption: s3"), S3Credentials::Chain));
        assert!(matches!(credentials("s3://bucket", "anonymous: true"), S3Credentials::Anonymous));
        for (url, s3) in [("s3://bucket", "profile: p"), ("s3://bucket?profile=p", "")] {
            let credentials = credentials(url, s3);
            assert!(matches!(&credentials, S3Credentials::Profile(name) if name == "p"), "{credentials:?}");
        }
    }

    #[test]
    fn variables_describe_a_whole_bucket() {
        let loaded = Scene::with_file("").load(
            Flags { volume: Some("/data".into()), ..Flags::default() },
            [
                ("VOLKEEP_REPOSITORY", "s3://bucket/x"),
                ("VOLKEEP_REPOSITORY_S3_ACCESS_KEY_ID", "id"),
                ("VOLKEEP_REPOSITORY_S3_SECRET_ACCESS_KEY", "hunter2"),
                ("VOLKEEP_REPOSITORY_S3_SESSION_TOKEN_FILE", "/token"),
                ("VOLKEEP_REPOSITORY_S3_ENCRYPTION", "s3"),
            ],
        );
        let loaded = loaded.unwrap();
        let options = options(&loaded);
        let S3Credentials::Keys { session_token: Some(token), .. } = &options.credentials else {
            panic!("{:?}", options.credentials)
        };
        assert_eq!(described(token), "in /token");
        assert_eq!(options.encryption, S3Encryption::S3);
        let origin = loaded.origins.of("repositories[0].s3.session_token_file");
        assert_eq!(origin, Origin::Variable("VOLKEEP_REPOSITORY_S3_SESSION_TOKEN_FILE".into()));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let keys = "access_key_id: a, secret_access_key: b";
        for (url, s3, error) in [
            ("file:///b", "profile: p", "s3.profile` (config.yaml line 4): it is for s3:// addresses"),
            ("file:///b", "encryption: s3", "s3.encryption` (config.yaml line 4): it is for s3:// addresses"),
            ("s3://bucket", "access_key_id: a", "its secret_access_key is missing"),
            ("s3://bucket", "secret_access_key_file: /a", "its access_key_id is missing"),
            ("s3://bucket", "session_token: a", "its access_key_id is missing"),
            ("s3://bucket", &format!("{keys}, access_key_id_file: /x"), "are both set"),
            ("s3://bucket", &format!("{keys}, profile: p"), "keys are given as well"),
            ("s3://bucket?profile=p", keys, "keys are given as well"),
            ("s3://bucket?profile=p", "profile: q", "the address names a profile as well"),
            ("s3://bucket", &format!("{keys}, anonymous: true"), "one of them has to go"),
            ("s3://bucket", "ca_file: ca.pem", "not an absolute path"),
            ("s3://bucket", "access_key_id_file: a, secret_access_key: b", "not an absolute path"),
            ("s3://bucket", "storage_class: 'A B'", "not a storage class"),
            ("s3://bucket", "storage_class: DEEP_ARCHIVE", "thawed"),
            ("s3://bucket", "kms_key: k", "`encryption: kms`"),
            ("s3://bucket", "encryption: aes", "unknown variant"),
            ("s3://bucket", "access_key_id: a, secret_access_key: '***'", "in place of a secret"),
            ("s3://bucket", "access_key_id: ' ', secret_access_key: b", "it is empty"),
            ("s3://bucket", "endpoint: http://x", "unknown key `repositories[0].s3.endpoint`"),
        ] {
            let errors = section(url, s3).errors();
            assert!(errors.len() == 1 && errors[0].contains(error), "{url} {s3}: {errors:?}");
        }
    }

    #[test]
    fn one_place_by_two_ways_is_one_repository() {
        let scene = Scene::with_file(
            "volume: {path: /data}\nrepositories: [{url: 's3://bucket/x'}, {url: 's3://bucket/x/?region=r'}]\n",
        );
        assert!(scene.errors()[0].contains("named twice"), "{:?}", scene.errors());
    }

    #[test]
    fn secrets_are_shown_nowhere() {
        let keys = "access_key_id: hunter1, secret_access_key: hunter2, session_token: hunter3";
        let loaded = section("s3://bucket", keys).load(Flags::default(), []).unwrap();
        let yaml = show::to_yaml(&loaded.config).unwrap();
        let shown =
            format!("{yaml}{:?}{loaded:?}{:?}", show::lines(&loaded), loaded.config.repository_options());
        assert!(!shown.contains("hunter"), "{shown}");
        assert_eq!(yaml.matches("***").count(), 3, "{yaml}");

        for s3 in [
            "access_key_id: 40112233, secret_access_key: 40112233",
            "secret_access_key: {key: '40112233'}",
            "secret_access_key: ['40112233']",
            "access_key_id: '40112233 4', secret_access_key: '4011 2233'",
        ] {
            let errors = section("s3://bucket", s3).errors();
            assert!(!errors.is_empty() && !errors.concat().contains("4011"), "{s3}: {errors:?}");
        }
    }
}

#[cfg(feature = "git")]
#[path = "load_git_tests.rs"]
mod git;

mod files {
    use super::*;
    #[cfg(all(feature = "git", feature = "s3"))]
    use std::collections::BTreeSet;

    fn load_file(name: &str) -> Loaded {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        let flags = Flags { config: Some(path), ..Flags::default() };
        load(&flags, &Environment::default(), Needs::BOTH).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    #[test]
    fn the_minimal_file_leaves_everything_else_at_its_default() {
        let config = load_file("minimal.yaml").config;
        let mut rest = config;
        rest.volume = Config::default().volume;
        rest.repositories.clear();
        assert_eq!(rest, Config::default());
    }

    #[cfg(all(feature = "git", feature = "s3"))]
    #[test]
    fn the_full_file_names_every_key() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/full.yaml");
        let (_, document) = file::read(&path).unwrap().unwrap();
        let plain = |key: &String| {
            let mut text = key.clone();
            while let (Some(start), Some(end)) = (text.find('['), text.find(']')) {
                text.replace_range(start..=end, "");
            }
            // One job is like another.
            match text.strip_prefix("jobs.").and_then(|rest| rest.split_once('.')) {
                Some((_, rest)) => format!("jobs.*.{rest}"),
                None => text,
            }
        };
        let named: BTreeSet<String> = document.lines.keys().map(plain).collect();
        // What is that of a repository, of a hook's request or of the sidecar's notices is named there.
        let elsewhere = |key: &String| {
            let (fetch, notify) = ("init.steps.fetch.", "init.steps.notify.");
            ["basic_auth.", "s3.", "ssh.", "https."]
                .iter()
                .any(|part| key.starts_with(&format!("{fetch}{part}")))
                || ["webhook.", "slack.", "mail."]
                    .iter()
                    .any(|part| key.starts_with(&format!("{notify}{part}")))
        };
        let missing: Vec<String> = all_keys(&schema::json_schema(), "")
            .into_iter()
            .filter(|key| !named.contains(key) && !elsewhere(key))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
        load_file("full.yaml");
    }

    #[cfg(all(feature = "git", feature = "s3"))]
    #[test]
    fn the_full_file_shows_the_defaults() {
        let config = load_file("full.yaml").config;
        let default = Config::default();
        assert_eq!((config.backup, config.limits, config.log), (default.backup, default.limits, default.log));
        assert_eq!(config.volume.quarantine, default.volume.quarantine);
        assert_eq!(config.volume.fixed_chunks, default.volume.fixed_chunks);
        assert_eq!(config.init.timeout, default.init.timeout);
        assert_eq!(config.init.repair.timeout, default.init.repair.timeout);
    }

    #[cfg(all(feature = "git", feature = "s3"))]
    fn all_keys(schema: &Value, at: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let key = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            // One job is like another, and its request, as that of a step, like that of a hook: shown once.
            if at == "jobs" || key == "jobs.*.http" || key == "init.steps.http" {
                found.push(key);
                continue;
            }
            found.extend(all_keys(property, &key));
            let others = property.get("additionalProperties").unwrap_or(&Value::Null);
            found.extend(all_keys(others, &format!("{key}.*")));
            // One hook is like another: its keys are shown once.
            if !at.ends_with("hooks") || key == "init.hooks.before" {
                found.extend(all_keys(property.get("items").unwrap_or(&Value::Null), &key));
            }
            found.push(key);
        }
        found
    }
}
