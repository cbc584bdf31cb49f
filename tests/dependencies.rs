//! What comes into the build: every licence allowed, every crate from the one public index, no banned crate, and
//! a reason beside each direct dependency. Reads the same `deny.toml` as cargo-deny does, offline.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[test]
fn every_licence_is_allowed() {
    let allowed = rules().licences;
    let refused: Vec<String> = packages()
        .iter()
        .filter(|package| !satisfied(&package.licence, &allowed))
        .map(|package| format!("{} {}: {}", package.name, package.version, package.licence))
        .collect();
    assert!(refused.is_empty(), "licences outside the allow-list of deny.toml:\n{}", refused.join("\n"));
}

#[test]
fn every_crate_comes_from_the_public_index() {
    for package in packages() {
        let own = package.name == env!("CARGO_PKG_NAME");
        let public =
            package.source.starts_with("registry+https://") && package.source.ends_with("/crates.io-index");
        assert!(own != public, "{} {} comes from `{}`", package.name, package.version, package.source);
    }
}

#[test]
fn no_banned_crate_is_in_the_tree() {
    let banned = rules().banned;
    assert!(banned.len() > 3, "read hardly any ban out of deny.toml: {banned:?}");
    for package in packages() {
        for ban in &banned {
            let hit = ban.name == package.name
                && ban.below.as_ref().is_none_or(|limit| numbers(&package.version) < numbers(limit));
            assert!(!hit, "{} {} is banned: {}", package.name, package.version, ban.reason);
        }
    }
}

#[test]
fn every_direct_dependency_says_what_it_is_for() {
    let manifest = read("Cargo.toml");
    let mut counted = 0;
    let mut in_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
        } else if in_dependencies && line.contains('=') {
            counted += 1;
            let reason = line.rsplit_once(" # ").map_or("", |(_, reason)| reason.trim());
            assert!(reason.len() > 3, "Cargo.toml: no reason beside `{line}`");
        }
    }
    assert!(counted > 10, "found only {counted} dependencies in Cargo.toml");
}

struct Package {
    name: String,
    version: String,
    licence: String,
    /// Empty for the crate itself.
    source: String,
}

/// All packages of the build on this machine's kind, those for tests among them.
fn packages() -> Vec<Package> {
    let metadata = cargo(&[
        "metadata",
        "--format-version=1",
        "--offline",
        "--locked",
        // Without it cargo wants the sources of crates that only other systems use.
        &format!("--filter-platform={}", host()),
    ]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: Vec<Package> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| Package {
            name: text(&package["name"]),
            version: text(&package["version"]),
            licence: text(&package["license"]),
            source: text(&package["source"]),
        })
        .collect();
    assert!(packages.len() > 30, "cargo metadata named only {} packages", packages.len());
    packages
}

fn host() -> String {
    let version = cargo(&["version", "--verbose"]);
    version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo names its host").to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(
        output.status.success(),
        "cargo {}:\n{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

#[derive(Debug, PartialEq)]
struct Ban {
    name: String,
    /// Only versions below this one are banned; None bans them all.
    below: Option<String>,
    reason: String,
}

struct Rules {
    licences: Vec<String>,
    banned: Vec<Ban>,
}

fn rules() -> Rules {
    parse_rules(&read("deny.toml"))
}

/// Reads the two lists of `deny.toml`, one item a line, which is all of TOML that the file uses.
fn parse_rules(text: &str) -> Rules {
    let mut rules = Rules { licences: Vec::new(), banned: Vec::new() };
    let (mut section, mut list) = (String::new(), String::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if list.is_empty() && line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        } else if line == "]" {
            list.clear();
        } else if let Some(name) = line.strip_suffix(" = [") {
            list = format!("{section}.{name}");
        } else if list == "licenses.allow" {
            rules.licences.extend(quoted(line).into_iter().next());
        } else if list == "bans.deny" {
            let words = quoted(line);
            let [spec, reason] = words.as_slice() else {
                panic!("deny.toml: `{line}` is not a ban with a reason")
            };
            let (name, below) = match spec.split_once(":<") {
                Some((name, limit)) => (name, Some(limit.to_owned())),
                None => (spec.as_str(), None),
            };
            rules.banned.push(Ban { name: name.to_owned(), below, reason: reason.clone() });
        }
    }
    assert!(list.is_empty(), "deny.toml: the list {list} does not end");
    rules
}

fn quoted(line: &str) -> Vec<String> {
    line.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn numbers(version: &str) -> Vec<u64> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    core.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Whether an SPDX expression can be met with the allowed licences alone. AND binds closer than OR; `/` is the
/// old way to write OR.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = either(&words, &mut at, allowed);
    met && at == words.len()
}

fn either(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = both(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(words, at, allowed);
    }
    met
}

fn both(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = single(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= single(words, at, allowed);
    }
    met
}

fn single(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = either(words, at, allowed);
        *at += 1;
        return met;
    }
    let mut name = (*word).to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&name)
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for met in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(GPL-3.0 OR MIT) AND Zlib",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        "GPL-3.0 AND MIT OR Zlib",
    ] {
        assert!(satisfied(met, &allowed), "{met}");
    }
    for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "(MIT OR Zlib) AND GPL-3.0", "MIT Zlib"] {
        assert!(!satisfied(refused, &allowed), "{refused}");
    }
}

#[test]
fn the_rules_file_is_read_as_written() {
    let rules = parse_rules(
        "[licenses]\nallow = [\n    \"MIT\",\n]\n# a note\n[bans]\ndeny = [\n  { crate = \"a:<1.2\", reason = \"old\" },\n  { crate = \"b\", reason = \"bad\" },\n]\n",
    );
    assert_eq!(rules.licences, ["MIT"]);
    let below = |limit: Option<&str>| limit.map(str::to_owned);
    assert_eq!(
        rules.banned,
        [
            Ban { name: "a".into(), below: below(Some("1.2")), reason: "old".into() },
            Ban { name: "b".into(), below: below(None), reason: "bad".into() },
        ]
    );
    assert!(numbers("0.4.9") < numbers("0.4.20") && numbers("1.0.0-rc1+7") == [1, 0, 0]);
}
