//! Which part of a snapshot is meant: all of it, or the named paths with what is below them and the
//! directories that lead to them.

use crate::snapshot::path::RelativePath;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Empty: everything.
    paths: Vec<RelativePath>,
}

impl Selector {
    pub fn everything() -> Self {
        Self::default()
    }

    pub fn paths(paths: Vec<RelativePath>) -> Self {
        if paths.iter().any(RelativePath::is_root) { Self::everything() } else { Self { paths } }
    }

    pub fn is_everything(&self) -> bool {
        self.paths.is_empty()
    }

    pub fn named(&self) -> &[RelativePath] {
        &self.paths
    }

    /// Whether the entry at `path` is asked for.
    pub fn takes(&self, path: &RelativePath) -> bool {
        self.is_everything() || self.paths.iter().any(|wanted| path.starts_with(wanted))
    }

    /// Whether `path` is a directory on the way to something asked for.
    pub fn leads(&self, path: &RelativePath) -> bool {
        self.paths.iter().any(|wanted| wanted.starts_with(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_takes_what_is_below_and_is_led_to() {
        let path = |text: &str| RelativePath::new(text).unwrap();
        let selector = Selector::paths(vec![path("a/b")]);
        assert!(selector.takes(&path("a/b")) && selector.takes(&path("a/b/c")));
        assert!(!selector.takes(&path("a/bc")) && !selector.takes(&path("a")));
        assert!(selector.leads(&path("a")) && selector.leads(&RelativePath::root()));
        assert!(Selector::everything().takes(&path("x")));
        assert!(Selector::paths(vec![RelativePath::root()]).is_everything());
    }
}
