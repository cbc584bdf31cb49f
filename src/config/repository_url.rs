//! The address of a repository, and how addresses are shown without their passwords.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::base::secret::REDACTED;

/// Where a repository is. The default, an empty path, stands for "not given" and never passes the check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String")]
pub enum RepositoryUrl {
    /// An absolute directory of this machine: `file:///backups/wiki`.
    File(PathBuf),
}

impl RepositoryUrl {
    pub fn is_given(&self) -> bool {
        let Self::File(path) = self;
        !path.as_os_str().is_empty()
    }
}

impl Default for RepositoryUrl {
    fn default() -> Self {
        Self::File(PathBuf::new())
    }
}

impl FromStr for RepositoryUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let shown = redact(text);
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(match text.starts_with('/') {
                true => format!("`{shown}` is a path; as an address it is written `file://{shown}`"),
                false => format!("`{shown}` is not an address such as file:///backups/wiki"),
            });
        };
        if scheme != "file" {
            return Err(format!(
                "`{shown}`: `{scheme}` is not supported; addresses are file:///absolute/path"
            ));
        }
        let path = rest.strip_prefix("localhost").unwrap_or(rest);
        if !path.starts_with('/') {
            return Err(format!("`{shown}` names a host; a directory of this machine has three slashes"));
        }
        if path.contains(['?', '#']) {
            return Err(format!("`{shown}` has parameters, which file:// has none of (`?` is written %3F)"));
        }
        let path = decode(path).ok_or_else(|| format!("`{shown}` has a `%` without two hex digits"))?;
        let path: PathBuf = Path::new(&path).components().collect();
        let odd = |part: Component<'_>| matches!(part, Component::ParentDir);
        if path.components().any(odd) || path.parent().is_none() || path.as_os_str().len() > 4096 {
            return Err(format!("`{shown}` is not the path of a directory below `/`"));
        }
        Ok(Self::File(path))
    }
}

/// Any address with its password replaced; text that is none comes back as it is.
pub fn redact(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    // The last `@` ends the password: one in the password itself may have been left unescaped.
    match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{scheme}://{user}:{REDACTED}@{host}{tail}"),
        None => text.to_owned(),
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(rest.next()?)? * 16 + digit(rest.next()?)?)
                    .ok()
                    .filter(|byte| *byte != 0)?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// As it is written in the configuration. No address holds a secret yet that `Display` would show.
impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::File(path) = self;
        f.write_str("file://")?;
        for character in path.to_string_lossy().chars() {
            match character {
                '%' => f.write_str("%25")?,
                '?' => f.write_str("%3F")?,
                '#' => f.write_str("%23")?,
                other => write!(f, "{other}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for RepositoryUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RepositoryUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_written() {
        for text in ["file:///backups/wiki", "file:///a b/100%25", "file:///q%3F"] {
            assert_eq!(text.parse::<RepositoryUrl>().unwrap().to_string(), text);
        }
        let plain = RepositoryUrl::File("/backups/wiki".into());
        assert_eq!("file://localhost/backups//wiki/".parse(), Ok(plain));
    }

    #[test]
    fn what_is_no_address_is_explained() {
        for (text, part) in [
            ("/backups", "file:///backups"),
            ("s3://bucket/x", "`s3` is not supported"),
            ("file://host/x", "three slashes"),
            ("file:///", "below `/`"),
            ("file:///a/../b", "below `/`"),
            ("file:///a%zz", "hex digits"),
            ("wiki", "not an address"),
        ] {
            let error = text.parse::<RepositoryUrl>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        let error = "https://me:hun@ter2@host/x".parse::<RepositoryUrl>().unwrap_err();
        assert!(error.contains("https://me:***@host/x") && !error.contains("ter2"), "{error}");
        assert_eq!(redact("ssh://git@host/x"), "ssh://git@host/x");
    }
}
