//! The house has floors, and imports run strictly downward. This test reads the sources as text, finds every
//! path that starts at the crate's root, and names each one that runs upward or sideways.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Tenths of a floor, because some live between the first and the second.
const FLOORS: [(&str, u32); 17] = [
    ("main", 60),
    ("cli", 60),
    ("config", 50),
    ("sidecar", 40),
    ("ops", 30),
    ("volume", 20),
    ("repository", 20),
    ("step", 20),
    ("hook", 20),
    ("archive", 17),
    ("store", 15),
    ("tree", 15),
    ("notice", 15),
    ("snapshot", 10),
    ("schedule", 10),
    ("base", 0),
    // The library's root only declares the modules; it may not import any.
    ("lib", 0),
];

/// The one sideways import: `main` is nothing but the process around `cli`.
const ALLOWED_SIDEWAYS: [(&str, &str); 1] = [("main", "cli")];

const LONGEST_FILE: usize = 600;

#[test]
fn imports_run_strictly_downward() {
    let mut broken = Vec::new();
    for source in sources() {
        let from = source.module();
        let Some(from_floor) = floor(&from) else {
            broken.push(format!(
                "{source}: module `{from}` is on no floor; add it to the table in docs/working.md and here"
            ));
            continue;
        };
        for import in imports(&source.text, &source.module_path()) {
            let to = import.module;
            if to == from || ALLOWED_SIDEWAYS.contains(&(from.as_str(), to.as_str())) {
                continue;
            }
            let place = format!("{source}:{}: {from} → {to}", import.line);
            match floor(&to) {
                None => broken.push(format!("{place}: `{to}` is on no floor")),
                Some(to_floor) if to_floor > from_floor => broken.push(format!("{place}: runs upward")),
                Some(to_floor) if to_floor == from_floor => {
                    broken.push(format!("{place}: siblings on one floor do not import each other"));
                }
                Some(_) => {}
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn every_source_file_is_short_and_says_what_it_holds() {
    let mut broken = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > LONGEST_FILE {
            broken.push(format!("{source}: {lines} lines; past {LONGEST_FILE}, split it by responsibility"));
        }
        if !source.text.starts_with("//!") {
            broken.push(format!("{source}: does not open with `//!`"));
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

fn floor(module: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// A source file, its path relative to `src`.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// `store/local.rs` is in `store`; `lib.rs` and `main.rs` stand for themselves.
    fn module(&self) -> String {
        let first = self.path.components().next().expect("a file has a name");
        Path::new(first.as_os_str()).file_stem().unwrap().to_string_lossy().into_owned()
    }

    /// Names of the modules around the file's content, from the crate's root: `store/local.rs` → store, local.
    fn module_path(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.path.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
        if matches!(names.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            names.pop();
        }
        names
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}", self.path.display())
    }
}

/// Every source file that is part of a build without tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(&root).unwrap().to_owned(), text });
            }
        }
    }
    assert!(found.len() > 10, "found hardly any source under {}", root.display());
    let tests_only: Vec<Vec<String>> = found.iter().flat_map(test_files_declared_by).collect();
    found.retain(|source| !tests_only.iter().any(|prefix| source.module_path().starts_with(prefix)));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Modules that `#[cfg(test)] mod name;` brings in from a file of their own, which `#[path = "…"]` may name.
fn test_files_declared_by(source: &Source) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut lines = source.text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line != "#[cfg(test)]" {
            continue;
        }
        let mut file = None;
        let mut item = lines.next().unwrap_or_default();
        while item.starts_with("#[") {
            file = item.strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]")).or(file);
            item = lines.next().unwrap_or_default();
        }
        let declared = item.split_once("mod ").and_then(|(_, rest)| rest.strip_suffix(';'));
        found.extend(match (declared, file) {
            (None, _) => None,
            (Some(_), Some(file)) => {
                Some(Source { path: source.path.with_file_name(file), text: String::new() }.module_path())
            }
            (Some(name), None) => Some([source.module_path(), vec![name.to_owned()]].concat()),
        });
    }
    found
}

#[derive(Debug, PartialEq)]
struct Import {
    line: usize,
    /// The top-level module the path leads to; `*` for everything at once.
    module: String,
}

/// Every path that starts at the crate's root, by `crate::`, by enough `super::`, or by the crate's name.
fn imports(text: &str, module_path: &[String]) -> Vec<Import> {
    let tokens = without_test_items(tokens(text));
    let mut found = Vec::new();
    // How many inline modules are open, by the depth of the brace that opened each.
    let mut inline = Vec::new();
    let mut depth = 0usize;
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => {
                if at >= 2 && tokens[at - 2].text == "mod" {
                    inline.push(depth);
                }
                depth += 1;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                inline.retain(|opened| *opened < depth);
            }
            "crate" | "volkeep" if is(&tokens, at + 1, "::") && !follows_path(&tokens, at) => {
                heads(&tokens, at + 2, &mut found);
            }
            "super" if is(&tokens, at + 1, "::") && !follows_path(&tokens, at) => {
                let mut ups = 0;
                while is(&tokens, at, "super") && is(&tokens, at + 1, "::") {
                    ups += 1;
                    at += 2;
                }
                if ups >= module_path.len() + inline.len() && !module_path.is_empty() {
                    heads(&tokens, at, &mut found);
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// `a::crate` does not exist, but `$crate::x` and `other::volkeep::x` do: only a path's first word counts.
fn follows_path(tokens: &[Token], at: usize) -> bool {
    at > 0 && tokens[at - 1].text == "::" && !(at > 1 && tokens[at - 2].text == "use")
}

/// The first word of each path that can start at `at`: a name, `*`, or a brace of them.
fn heads(tokens: &[Token], at: usize, found: &mut Vec<Import>) {
    let Some(token) = tokens.get(at) else { return };
    if token.text != "{" {
        found.push(Import { line: token.line, module: token.text.clone() });
        return;
    }
    let mut depth = 0;
    let mut expects_head = false;
    for token in &tokens[at..] {
        match token.text.as_str() {
            "{" => {
                expects_head = depth == 0;
                depth += 1;
            }
            "}" => depth -= 1,
            "," => expects_head = depth == 1,
            head if expects_head && depth == 1 => {
                found.push(Import { line: token.line, module: head.to_owned() });
                expects_head = false;
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

fn is(tokens: &[Token], at: usize, text: &str) -> bool {
    tokens.get(at).is_some_and(|token| token.text == text)
}

fn is_test_attribute(tokens: &[Token], at: usize) -> bool {
    ["#", "[", "cfg", "(", "test", ")", "]"]
        .iter()
        .enumerate()
        .all(|(step, text)| is(tokens, at + step, text))
}

/// Drops each item under `#[cfg(test)]`: tests may look wherever they like.
fn without_test_items(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !is_test_attribute(&tokens, at) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += 7;
        let mut depth = 0usize;
        let mut is_use = false;
        while at < tokens.len() {
            let text = tokens[at].text.as_str();
            at += 1;
            match text {
                "use" if depth == 0 => is_use = true,
                "{" | "[" | "(" => depth += 1,
                "}" | "]" | ")" => {
                    depth = depth.saturating_sub(1);
                    // A brace ends a module, a function or a type; after a `use` group the `;` is still to come.
                    if depth == 0 && text == "}" && !is_use {
                        break;
                    }
                }
                ";" if depth == 0 => break,
                _ => {}
            }
        }
    }
    kept
}

#[derive(Clone, Debug)]
struct Token {
    line: usize,
    text: String,
}

/// Words, `::` and single signs; comments, strings, characters and lifetimes are left out.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let rest = &chars[at..];
        let end = at + skipped(rest).unwrap_or(0);
        if end > at {
            line += chars[at..end].iter().filter(|sign| **sign == '\n').count();
            at = end;
            continue;
        }
        let length = match rest {
            [':', ':', ..] => 2,
            [sign, ..] if is_word(*sign) => rest.iter().take_while(|sign| is_word(**sign)).count(),
            _ => 1,
        };
        found.push(Token { line, text: rest[..length].iter().collect() });
        at += length;
    }
    found
}

fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

/// The length of what the start of `rest` holds when that says nothing about imports.
fn skipped(rest: &[char]) -> Option<usize> {
    match rest {
        [sign, ..] if sign.is_whitespace() => Some(1),
        ['/', '/', ..] => Some(rest.iter().take_while(|sign| **sign != '\n').count()),
        ['/', '*', ..] => Some(block_comment(rest)),
        ['"', ..] => Some(string(rest)),
        ['b' | 'c', '"', ..] => Some(1 + string(&rest[1..])),
        ['r', '"' | '#', ..] => raw_string(&rest[1..]).map(|length| 1 + length),
        ['b' | 'c', 'r', '"' | '#', ..] => raw_string(&rest[2..]).map(|length| 2 + length),
        ['b', '\'', ..] => Some(1 + character(&rest[1..])),
        ['\'', ..] => Some(character(rest)),
        // A word that merely starts with r, b or c is no prefix of a string.
        _ => None,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// `rest` starts after the `r`. None for a raw identifier such as `r#type`.
fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest.iter().take_while(|sign| **sign == '#').count();
    if rest.get(hashes) != Some(&'"') {
        return None;
    }
    let mut at = hashes + 1;
    while at < rest.len() {
        if rest[at] == '"' && rest[at + 1..].iter().take_while(|sign| **sign == '#').count() >= hashes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(rest.len())
}

/// A character literal, or a lifetime, which has no closing quote.
fn character(rest: &[char]) -> usize {
    match rest {
        [_, '\\', _, tail @ ..] => {
            3 + tail.iter().take_while(|sign| **sign != '\'').count() + usize::from(!tail.is_empty())
        }
        [_, _, '\'', ..] => 3,
        _ => 1 + rest[1..].iter().take_while(|sign| is_word(**sign)).count(),
    }
}

mod parser {
    use super::*;

    fn found(text: &str, module_path: &[&str]) -> Vec<String> {
        let module_path: Vec<String> = module_path.iter().map(|name| (*name).to_owned()).collect();
        imports(text, &module_path)
            .into_iter()
            .map(|import| format!("{}:{}", import.line, import.module))
            .collect()
    }

    #[test]
    fn plain_and_nested_imports_are_found() {
        let text = "use crate::base::id;\npub(crate) use crate::{\n  volume::{lock, marker},\n  store::*,\n};\nlet x = crate::ops::run();";
        assert_eq!(found(text, &["ops"]), ["1:base", "3:volume", "4:store", "6:ops"]);
    }

    #[test]
    fn a_group_inside_a_group_counts_only_its_head() {
        assert_eq!(found("use crate::{a::{self, b::{c, d}, e}, f};", &["x"]), ["1:a", "1:f"]);
    }

    #[test]
    fn comments_strings_and_characters_hide_nothing_and_import_nothing() {
        let text = r####"
// use crate::one::x;
/* use crate::two; /* nested */ use crate::three; */
let a = "use crate::four; \" crate::five";
let b = r#"crate::six " crate::seven"#;
let c = ['"', '\'', '\\', b'"', '{'];
fn life<'a>(x: &'a str) -> &'a str { crate::eight::y(x) }
let raw = r#type;
let borrowed = crate::nine::z;
"####;
        assert_eq!(found(text, &["x"]), ["7:eight", "9:nine"]);
    }

    #[test]
    fn items_for_tests_are_left_out_and_nothing_after_them() {
        let text = "#[cfg(test)]\nuse crate::{a, b};\n#[cfg(test)]\n#[allow(dead_code)]\nmod tests { use crate::c; fn f() { { } } }\nuse crate::d;\n#[cfg(test)]\nfn g() -> u8 { crate::e::f() }\n#[cfg(test)] mod outside;\nuse crate::h;";
        assert_eq!(found(text, &["x"]), ["6:d", "10:h"]);
    }

    #[test]
    fn files_that_only_tests_have_are_known() {
        let text = "#[cfg(test)]\nmod tests;\n#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod more;\n#[cfg(test)]\nmod inline {\n}\nmod real;";
        let source = Source { path: "store/x.rs".into(), text: text.into() };
        assert_eq!(test_files_declared_by(&source), [vec!["store", "x", "tests"], vec!["store", "x_tests"]]);
    }

    #[test]
    fn super_is_followed_up_to_the_root_and_no_further() {
        assert_eq!(found("use super::volume::lock;", &["store"]), ["1:volume"]);
        assert_eq!(found("use super::local;", &["store", "retry"]), [""; 0]);
        assert_eq!(found("use super::super::ops::{run};", &["store", "retry"]), ["1:ops"]);
        assert_eq!(
            found("mod inner { use super::super::ops; } use super::cli;", &["store"]),
            ["1:ops", "1:cli"]
        );
    }

    #[test]
    fn the_crate_is_also_known_by_its_name() {
        assert_eq!(
            found("use volkeep::cli; fn main() { ::volkeep::cli::run(); other::volkeep::x(); }", &[]),
            ["1:cli"]
        );
    }
}
