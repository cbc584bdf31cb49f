//! Addresses of directories of this machine: `file:///backups/wiki`.

use std::path::{Component, Path, PathBuf};

use crate::config::repository_url::percent;

/// `text` is the address, `rest` what follows `file://`.
pub(super) fn parse(text: &str, rest: &str) -> Result<PathBuf, String> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(format!("`{text}` names a host; a directory of this machine has three slashes"));
    }
    if path.contains(['?', '#']) {
        return Err(format!("`{text}` has parameters, which file:// has none of (`?` is written %3F)"));
    }
    let path = percent::decode(path).ok_or_else(|| format!("`{text}` has a `%` without two hex digits"))?;
    let path: PathBuf = Path::new(&path).components().collect();
    let odd = |part: Component<'_>| matches!(part, Component::ParentDir);
    if path.components().any(odd) || path.parent().is_none() || path.as_os_str().len() > 4096 {
        return Err(format!("`{text}` is not the path of a directory below `/`"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use crate::config::repository_url::RepositoryUrl;

    #[test]
    fn addresses_read_back_as_written() {
        for text in ["file:///backups/wiki", "file:///a b/100%25", "file:///q%3F"] {
            assert_eq!(text.parse::<RepositoryUrl>().unwrap().to_string(), text);
        }
        let plain = RepositoryUrl::File("/backups/wiki".into());
        assert_eq!("file://localhost/backups//wiki/".parse(), Ok(plain));
    }

    #[test]
    fn what_is_no_directory_is_explained() {
        for (text, part) in [
            ("file://host/x", "three slashes"),
            ("file:///", "below `/`"),
            ("file:///a/../b", "below `/`"),
            ("file:///a%zz", "hex digits"),
        ] {
            let error = text.parse::<RepositoryUrl>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
