//! Names of branches, by the rules of git: what it would refuse is refused before anything is sent.

/// Where nothing else is said.
pub const DEFAULT_BRANCH: &str = "main";

/// Why `name` cannot name a branch. `None`: it can.
pub fn no_branch(name: &str) -> Option<&'static str> {
    let odd = |byte: u8| byte.is_ascii_control() || b" ~^:?*[\\".contains(&byte);
    let empty = |component: &str| component.is_empty();
    if name.is_empty() {
        Some("it is empty")
    } else if name.split('/').any(empty) {
        Some("it begins or ends with a slash, or has two in a row")
    } else if name.starts_with('-') {
        Some("it begins with a dash")
    } else if name == "@" || name == "HEAD" {
        Some("that name has a meaning of its own")
    } else if name.contains("..") || name.contains("@{") {
        Some("`..` and `@{` have a meaning of their own")
    } else if name.bytes().any(odd) {
        Some("spaces, control characters and ~ ^ : ? * [ \\ have no place in it")
    } else if name.split('/').any(|component| component.starts_with('.')) {
        Some("a part of it begins with a dot")
    } else if name.ends_with('.') || name.split('/').any(|component| component.ends_with(".lock")) {
        Some("it ends with a dot, or a part of it with `.lock`")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_git_takes() {
        // As `git check-ref-format --branch` says.
        for name in
            ["main", "a", "backups/wiki", "v1.2", "a@b", "ä", "x.lock.y", "a{b}", "refs/heads/x", "#1"]
        {
            assert_eq!(no_branch(name), None, "{name}");
        }
        for name in [
            "", "/a", "a/", "a//b", "-a", "@", "HEAD", "a..b", "a@{b", "a b", "a\tb", "a\u{7f}", "a~b", "a^",
            "a:b", "a?", "a*", "[a", "a\\b", ".a", "a/.b", "a.", "a.lock", "a.lock/b",
        ] {
            assert!(no_branch(name).is_some(), "{name}");
        }
    }
}
