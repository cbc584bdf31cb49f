//! The parts of the built program that need no volume: help, usage, configuration, completions, manual.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use assert_cmd::Command;
use serde_json::Value;

const COMMANDS: [&str; 18] = [
    "init",
    "backup",
    "restore",
    "snapshots",
    "ls",
    "diff",
    "check",
    "prune",
    "drill",
    "scrub",
    "status",
    "wait",
    "export",
    "repository",
    "config",
    "demo",
    "completions",
    "man",
];

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn volkeep(words: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("volkeep"));
    let output = command.env_clear().envs(variables.iter().copied()).args(words).output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn every_help_ends_in_the_exit_codes() {
    let mut pages: Vec<Vec<&str>> = COMMANDS.iter().map(|command| vec![*command]).collect();
    pages.extend([vec![], vec!["config", "show"], vec!["repository", "init"], vec!["repository", "copy"]]);
    for mut page in pages {
        page.push("--help");
        let outcome = volkeep(&page, &[]);
        assert_eq!(outcome.code, Some(0), "{page:?}");
        for code in ["0", "1", "2", "3", "10", "11", "12", "13", "14", "15", "16", "78"] {
            let line = format!("\n  {code:<3} ");
            assert!(outcome.stdout.contains(&line), "{page:?} lacks {code}: {}", outcome.stdout);
        }
        assert!(outcome.stdout.trim_end().ends_with("78  configuration not usable"), "{}", outcome.stdout);
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for words in [&["--nonsense"][..], &["backup", "--nonsense"], &[], &["ls"], &["nonsense"]] {
        let outcome = volkeep(words, &[]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{words:?}");
    }
}

#[test]
fn a_bad_configuration_exits_with_78_and_names_every_fault() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, "volume:\n  pth: /data\nlog: {format: xml}\n").unwrap();
    let outcome = volkeep(&["--config", path.to_str().unwrap(), "config", "check"], &[]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(78), ""));
    for part in ["`volume.pth`", "line 2", "did you mean `path`?", "`log.format`", "repositories", "hint:"] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
}

#[test]
fn a_failure_is_json_where_the_log_is() {
    let outcome = volkeep(&["config", "check", "--log-format", "json"], &[]);
    assert_eq!(outcome.code, Some(78));
    let line: Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!((line["level"].as_str(), line["exit"].as_u64()), (Some("ERROR"), Some(78)));
}

#[test]
fn the_environment_alone_is_enough_and_a_mistyped_variable_is_refused() {
    let variables = [
        ("VOLKEEP_VOLUME", "/data"),
        ("VOLKEEP_REPOSITORY", "file:///backups/wiki"),
        ("VOLKEEP_SERVICE_HOST", "10.0.0.1"),
        ("VOLKEEP_COLOUR_OF_THE_SKY", "blue"),
    ];
    let outcome = volkeep(&["config", "check"], &variables);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "ok\n"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("VOLKEEP_COLOUR_OF_THE_SKY means nothing"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("SERVICE_HOST") && !outcome.stderr.contains('\u{1b}'));

    let outcome = volkeep(&["config", "check", "-q"], &variables[..2]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));

    let outcome = volkeep(&["config", "check"], &[variables[0], variables[1], ("VOLKEEP_IDENTTY", "wiki")]);
    assert_eq!(outcome.code, Some(78));
    assert!(outcome.stderr.contains("did you mean VOLKEEP_IDENTITY?"), "{}", outcome.stderr);
}

#[test]
fn what_is_in_effect_is_shown_with_its_origin() {
    let variables = [("VOLKEEP_VOLUME", "/env"), ("VOLKEEP_REPOSITORY", "file:///backups/wiki")];
    let shown = volkeep(&["config", "show"], &variables);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, &shown.stdout).unwrap();
    let again = volkeep(&["config", "show", "--config", path.to_str().unwrap()], &[]);
    assert_eq!((again.code, again.stdout), (Some(0), shown.stdout));

    let origins = volkeep(&["config", "show", "--origin", "--volume", "/flag"], &variables);
    let line = |key: &str| origins.stdout.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("volume.path").ends_with("flag --volume") && line("volume.path").contains("/flag"));
    assert!(line("repositories[0].url").ends_with("variable VOLKEEP_REPOSITORY"));
    assert!(line("limits.memory").ends_with("default"));
}

#[test]
fn the_schema_is_json_and_describes_the_keys() {
    let outcome = volkeep(&["config", "schema"], &[]);
    let schema: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"]["volume"]["properties"]["path"]["description"].is_string());
    assert_eq!(schema["properties"]["init"]["properties"]["timeout"]["default"], "10m");
}

#[test]
fn completions_and_manual_are_there() {
    for shell in ["bash", "zsh", "fish"] {
        let outcome = volkeep(&["completions", shell], &[]);
        assert_eq!(outcome.code, Some(0));
        assert!(outcome.stdout.contains("snapshots"), "{shell}");
    }
    let page = volkeep(&["man"], &[]).stdout;
    assert!(page.contains(".TH volkeep 1") && page.contains("Exit codes"), "{page}");

    let dir = tempfile::tempdir().unwrap();
    let outcome = volkeep(&["man", "--directory", dir.path().join("man").to_str().unwrap()], &[]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for command in COMMANDS {
        assert!(dir.path().join(format!("man/volkeep-{command}.1")).exists(), "{command}");
    }
}

#[test]
fn the_cause_of_a_failed_init_goes_to_the_termination_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("termination-log");
    let outcome = volkeep(&["init"], &[("VOLKEEP_TERMINATION_LOG", path.to_str().unwrap())]);
    assert_ne!(outcome.code, Some(0));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), outcome.stderr);

    std::fs::remove_file(&path).unwrap();
    volkeep(&["config", "check"], &[("VOLKEEP_TERMINATION_LOG", path.to_str().unwrap())]);
    assert!(!path.exists(), "only init writes it");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let script = format!("{} config schema | :", assert_cmd::cargo::cargo_bin!("volkeep").display());
    let mut command = Command::new("bash");
    let output = command.args(["-c", &format!("set -o pipefail; {script}")]).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[cfg(feature = "git")]
#[test]
fn what_an_address_holds_is_never_shown() {
    // No key of anybody: it begins like one, and that is enough for an address.
    let key = "LS0tLS1CRUdJTiBPUEVOU1NIIFBSSVZBVEUgS0VZLS0tLS0KaHVudGVyMgo=";
    let https = "git+https://hunter1:hunter2@host/wiki.git";
    let ssh = format!("git+ssh://git~{key}@host/wiki.git");
    let hidden = |outcome: &Outcome, what: &str| {
        for text in [&outcome.stdout, &outcome.stderr] {
            assert!(!text.contains("hunter") && !text.contains(&key[..20]), "{what}: {text}");
        }
    };
    for (address, shown) in
        [(https, "git+https://***@host/wiki.git"), (ssh.as_str(), "git+ssh://git~***@host/wiki.git")]
    {
        let variables = [("VOLKEEP_VOLUME", "/data"), ("VOLKEEP_REPOSITORY", address)];
        for words in [&["config", "check"][..], &["config", "show"], &["config", "show", "--origin"]] {
            let outcome = volkeep(words, &variables);
            assert_eq!(outcome.code, Some(0), "{words:?}: {}", outcome.stderr);
            assert!(words[1] == "check" || outcome.stdout.contains(shown), "{}", outcome.stdout);
            hidden(&outcome, &format!("{words:?}"));
            let by_flag = [words, &["-vv", "--repository", address]].concat();
            hidden(&volkeep(&by_flag, &variables[..1]), &format!("{by_flag:?}"));
        }
        // Half an address is no reason to repeat it, wherever it is given.
        let broken = format!("{address}?what=ever");
        for words in [&["config", "check"][..], &["repository", "init"], &["status"]] {
            let outcome = volkeep(words, &[variables[0], ("VOLKEEP_REPOSITORY", &broken)]);
            assert_eq!(outcome.code, Some(78), "{words:?}: {}", outcome.stderr);
            assert!(outcome.stderr.contains("no parameter `what`"), "{}", outcome.stderr);
            hidden(&outcome, &format!("{words:?}"));
        }
        for address in [&broken, address.trim_start_matches("git+")] {
            let outcome = volkeep(&["repository", "copy", address, "file:///b"], &[]);
            assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
            assert!(outcome.stderr.contains("invalid value for '<FROM>': "), "{}", outcome.stderr);
            hidden(&outcome, "repository copy");
        }
    }
}
