//! The documentation against the program: links lead somewhere, codes and keys are complete, examples are valid,
//! tests that are named exist, and the way to read a repository by hand works.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const VOLKEEP: &str = env!("CARGO_BIN_EXE_volkeep");

#[test]
fn every_relative_link_leads_to_a_file() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let text = without_code(&fs::read_to_string(&page).unwrap());
        for target in links(&text) {
            if target.contains("://") {
                continue;
            }
            seen += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let place = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let found = match fs::read_to_string(&place) {
                Ok(text) => anchor.is_empty() || anchors(&text).iter().any(|known| known == anchor),
                Err(_) => false,
            };
            if !found {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(seen > 10, "only {seen} links were found: does the search still work?");
}

#[test]
fn every_exit_code_is_in_the_readme() {
    let help = stdout(&volkeep(&["--help"]));
    let (_, table) = help.split_once("Exit codes:").unwrap();
    let codes: Vec<(&str, &str)> =
        table.lines().filter_map(|line| line.trim().split_once(' ')).map(|(a, b)| (a, b.trim())).collect();
    assert!(codes.len() >= 12, "{codes:?}");
    let readme = read("README.md");
    for (code, meaning) in codes {
        let row = format!("| {code} | {meaning} |");
        assert!(readme.contains(&row), "README.md lacks `{row}`");
    }
}

#[test]
fn every_command_is_in_the_readme() {
    let help = stdout(&volkeep(&["--help"]));
    let (_, rest) = help.split_once("Commands:").unwrap();
    let (commands, _) = rest.split_once("Options:").unwrap();
    let readme = read("README.md");
    // The name of a command begins its line; a description that is wrapped is indented further.
    for name in commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = name.split_whitespace().next().unwrap();
        assert!(name == "help" || readme.contains(&format!("`volkeep {name}")), "README.md lacks {name}");
    }
}

#[test]
fn every_key_is_explained() {
    let schema: Value = serde_json::from_str(&stdout(&volkeep(&["config", "schema"]))).unwrap();
    let mut keys = Vec::new();
    collect_keys(&schema, "", &mut keys);
    assert!(keys.len() > 30, "{keys:?}");
    let page = read("docs/configuration.md");
    for key in keys {
        assert!(page.contains(&format!("| `{key}` |")), "docs/configuration.md lacks a row for {key}");
    }
}

#[test]
fn the_reference_is_what_the_program_prints() {
    let printed = stdout(&volkeep(&["config", "reference"]));
    assert!(
        read("docs/reference.md") == printed,
        "docs/reference.md is out of date; renew it: cargo run -- config reference > docs/reference.md"
    );
}

#[test]
fn every_yaml_example_is_a_configuration() {
    let scratch = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for page in pages() {
        for block in blocks(&fs::read_to_string(&page).unwrap(), "yaml") {
            // Others show a part of one.
            if !(block.contains("volume:") && block.contains("repositories:")) {
                continue;
            }
            checked += 1;
            let file = scratch.path().join("config.yaml");
            fs::write(&file, &block).unwrap();
            let output = volkeep(&["config", "check", "--config", file.to_str().unwrap()]);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{}: {errors}\n{block}", page.display());
        }
    }
    assert!(checked > 0, "no example was found");
}

#[test]
fn every_hint_that_is_quoted_is_given() {
    let sources = ["failures", "hints", "git_hints", "exit", "check", "prune"]
        .map(|name| read(&format!("src/cli/{name}.rs")))
        .concat();
    // A backslash at the end of a line takes the line break and what the next line begins with out of the text.
    let sources: String = sources.split("\\\n").map(str::trim_start).collect();
    let page = [read("docs/operations.md"), read("docs/refusals.md")].concat();
    let mut quotes: Vec<String> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("> ") {
            if inside && let Some(quote) = quotes.last_mut() {
                quote.push(' ');
                quote.push_str(rest);
            } else {
                quotes.push(rest.to_owned());
            }
        }
        inside = line.starts_with("> ");
    }
    assert!(quotes.len() > 20, "{quotes:#?}");
    for quote in quotes {
        assert!(sources.contains(&quote), "a hint is quoted that nobody gives: {quote}");
    }
}

#[test]
fn every_exit_code_has_a_section_of_its_own() {
    let help = stdout(&volkeep(&["--help"]));
    let (_, table) = help.split_once("Exit codes:").unwrap();
    let page = read("docs/refusals.md");
    // What went well, wholly or in part, and a mistyped command line explain themselves.
    let codes = table.lines().filter_map(|line| line.split_whitespace().next());
    for code in codes.filter(|code| !["0", "2", "3"].contains(code)) {
        assert!(page.contains(&format!("\n## {code}: ")), "docs/refusals.md lacks a section for {code}");
    }
}

#[test]
fn every_alert_has_a_section_of_its_own() {
    let rules = read("deploy/monitoring/alerts.yaml");
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::trim).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    let page = read("docs/alerts.md");
    let sections: Vec<(&str, &str)> = page
        .split("\n## ")
        .skip(1)
        .map(|section| section.split_once('\n').unwrap())
        .filter(|(name, _)| name.starts_with("Volkeep"))
        .collect();
    let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names, alerts,
        "docs/alerts.md has the alerts of deploy/monitoring/alerts.yaml in their order"
    );
    for (name, section) in sections {
        for part in ["- **How urgent**: ", "- **Look at**: ", "- **Do**: "] {
            assert!(section.contains(part), "docs/alerts.md: {name} lacks `{part}`");
        }
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for word in text.split('`').filter(|word| word.starts_with("tests/") && word.contains("::")) {
            let (file, test) = word.split_once("::").unwrap();
            assert!(
                read(file).contains(&format!("fn {test}(")),
                "{}: {file} has no test {test}",
                page.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} tests are named");
}

#[test]
fn every_source_file_that_is_named_exists() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for word in text.split('`').filter(|word| word.starts_with("src/") && word.ends_with(".rs")) {
            assert!(root().join(word).is_file(), "{}: there is no {word}", page.display());
        }
    }
}

#[test]
fn a_snapshot_can_be_recovered_by_hand() {
    for codec in ["zstd", "gzip", "none"] {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("volume/data");
        fs::create_dir_all(&data).unwrap();
        shell(FILL, &data, &[]);
        let settings = [
            ("VOLKEEP_VOLUME", path_text(&data)),
            ("VOLKEEP_STATE_DIR", path_text(&place.path().join("volume/.volkeep"))),
            ("VOLKEEP_REPOSITORY", format!("file://{}", path_text(&place.path().join("repository")))),
            ("VOLKEEP_REPOSITORY_COMPRESSION", codec.to_owned()),
        ];
        for words in [&["repository", "init"][..], &["init"], &["backup"]] {
            let output = Command::new(VOLKEEP)
                .env_clear()
                .envs(settings.iter().map(|(name, value)| (*name, value.as_str())))
                .args(words)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let script = path_text(&root().join("docs/recover.sh"));
        shell("\"$1\" repository recovered", place.path(), &[&script]);
        // Names, types, modes, owners, sizes, links, times, then content.
        let listing = "find . -printf '%p %y %m %U:%G %n %l %T@ ' \\( -type d -printf '\\n' -o -printf '%s\\n' \\) | LC_ALL=C sort; \
                       find . -type f -exec cksum {} + | LC_ALL=C sort";
        let before = shell(listing, &data, &[]);
        let after = shell(listing, &place.path().join("recovered"), &[]);
        assert!(before.lines().count() > 20, "{before}");
        assert_eq!(before, after, "{codec}");
    }
}

/// Small and large files, holes, links, and names that are hard to write down.
const FILL: &str = r#"
    mkdir -p pages empty 'two words' closed
    for i in 1 2 3; do echo "page $i" > "pages/p$i.md"; done
    : > nothing
    printf x > "pages/$(printf 'caf\351.txt')"
    printf y > "$(printf 'line\nfeed')"
    printf z > 'two words/a  b'
    seq 1 400000 > numbers
    head -c 3000000 /dev/urandom > noise
    ln pages/p2.md hard
    ln -s pages/p1.md link
    ln -s 'nowhere  at all' broken
    mkfifo pipe
    truncate -s 1M sparse && printf END >> sparse && truncate -s 3M sparse
    ln sparse sparse-too
    touch -d '1969-12-31 23:59:54.75 UTC' pages/p3.md
    echo s > closed/s && chmod 500 closed && chmod 4750 numbers
"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every page that people read.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in [root().to_owned(), root().join("docs")] {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn volkeep(words: &[&str]) -> Output {
    Command::new(VOLKEEP).env_clear().args(words).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn shell(script: &str, directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script, "bash"])
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Names need not be text, but they look the same on both sides.
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn path_text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

fn without_code(text: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// What headings can be linked by.
fn anchors(text: &str) -> Vec<String> {
    let letter = |character: char| match character {
        ' ' => Some('-'),
        '-' | '_' => Some(character),
        _ if character.is_alphanumeric() => Some(character.to_ascii_lowercase()),
        _ => None,
    };
    without_code(text)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().chars().filter_map(letter).collect())
        .collect()
}

fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}");
    let mut found = Vec::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        if current.is_none() {
            if line.trim_end() == opening {
                current = Some(String::new());
            }
        } else if line.starts_with("```") {
            found.extend(current.take());
        } else if let Some(block) = &mut current {
            block.push_str(line);
            block.push('\n');
        }
    }
    found
}

/// As they are written in the tables: `volume.path`, `repositories[].url`.
/// Their own row says where their keys are explained.
const SAME_AS_ELSEWHERE: [&str; 10] = [
    "init.checks[].http",
    "jobs.*.http",
    "init.steps[].http",
    "init.steps[].fetch.basic_auth",
    "init.steps[].fetch.s3",
    "init.steps[].fetch.ssh",
    "init.steps[].fetch.https",
    "init.steps[].notify.webhook",
    "init.steps[].notify.slack",
    "init.steps[].notify.mail",
];

fn collect_keys(schema: &Value, at: &str, found: &mut Vec<String>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        let items = property.get("items").filter(|items| items.get("properties").is_some());
        if path == "jobs" {
            // One job is like another: explained once.
            found.extend(
                property["properties"].as_object().unwrap().keys().map(|name| format!("jobs.{name}")),
            );
            collect_keys(&property["additionalProperties"], "jobs.*", found);
        } else if property.get("properties").is_some() && !SAME_AS_ELSEWHERE.contains(&path.as_str()) {
            collect_keys(property, &path, found);
        } else if let Some(items) = items.filter(|_| !at.ends_with("hooks") || path == "init.hooks.before") {
            // One hook is like another: its keys are explained once.
            collect_keys(items, &format!("{path}[]"), found);
        } else {
            found.push(path);
        }
    }
}
