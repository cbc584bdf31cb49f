//! Which paths a walk leaves out, by rules as in `.gitignore`: the last rule that matches wins, `!` takes a
//! path in again, a leading `/` ties a rule to the root.

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use thiserror::Error;

use crate::snapshot::RelativePath;

#[derive(Clone, Debug, Default)]
pub struct Excludes {
    /// `None`: nothing is excluded, and asking costs nothing.
    rules: Option<Gitignore>,
}

#[derive(Debug, Error)]
pub enum ExcludeError {
    #[error("the exclude rule `{rule}` is not a valid glob: {reason}")]
    Glob { rule: String, reason: String },
    #[error("the exclude rules together are too large: {0}")]
    TooLarge(String),
}

impl Excludes {
    pub fn none() -> Self {
        Self::default()
    }

    pub fn new<S: AsRef<str>>(rules: &[S]) -> Result<Self, ExcludeError> {
        if rules.is_empty() {
            return Ok(Self::none());
        }
        let mut builder = GitignoreBuilder::new("");
        for rule in rules {
            let rule = rule.as_ref();
            builder
                .add_line(None, rule)
                .map_err(|error| ExcludeError::Glob { rule: rule.to_owned(), reason: error.to_string() })?;
        }
        let rules = builder.build().map_err(|error| ExcludeError::TooLarge(error.to_string()))?;
        Ok(Self { rules: (!rules.is_empty()).then_some(rules) })
    }

    /// What lies below an excluded directory is never asked for: the walk does not go there.
    pub fn excludes(&self, path: &RelativePath, is_directory: bool) -> bool {
        match &self.rules {
            Some(rules) => !path.is_root() && rules.matched(path.as_path(), is_directory).is_ignore(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_those_of_gitignore() {
        let excludes = Excludes::new(&["/cache/**", "*.tmp", "!keep.tmp", "logs/"]).unwrap();
        let excluded =
            |text: &str, directory: bool| excludes.excludes(&RelativePath::new(text).unwrap(), directory);
        assert!(excluded("cache/x", false) && excluded("a/b.tmp", false) && excluded("a/logs", true));
        assert!(!excluded("cache", true) && !excluded("a/cache/x", false));
        assert!(!excluded("a/keep.tmp", false) && !excluded("a/logs", false) && !excluded("", true));
    }

    #[test]
    fn a_bad_rule_is_named() {
        let error = Excludes::new(&["*.tmp", "a{b"]).unwrap_err();
        assert!(error.to_string().contains("`a{b`"), "{error}");
        assert!(!Excludes::none().excludes(&RelativePath::new("a").unwrap(), false));
    }

    #[test]
    fn names_that_are_not_text_match_too() {
        let excludes = Excludes::new(&["*.tmp"]).unwrap();
        assert!(excludes.excludes(&RelativePath::new(&b"a/\xff.tmp"[..]).unwrap(), false));
    }
}
