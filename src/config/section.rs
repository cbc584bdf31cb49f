//! What the sections of a repository have in common: secrets as text or in a file, and what is wrong with them. Must
//! not know single sections.

use std::path::Path;

use serde::Serialize;

#[cfg(any(feature = "git", feature = "s3"))]
use crate::base::secret::SecretSource;
use crate::base::secret::{REDACTED, Secret};

/// A secret as it stands in the configuration, and the file it is in.
#[derive(Clone, Copy)]
pub(super) struct Given<'a>(pub Option<&'a Secret>, pub Option<&'a Path>);

impl<'a> Given<'a> {
    pub(super) fn is_there(self) -> bool {
        self.0.is_some() || self.1.is_some()
    }

    pub(super) fn text(self) -> Option<&'a str> {
        self.0.map(Secret::reveal)
    }

    #[cfg(any(feature = "git", feature = "s3"))]
    pub(super) fn source(self) -> Option<SecretSource> {
        let file = || self.1.map(|path| SecretSource::File(path.to_owned()));
        self.0.map(|secret| SecretSource::Value(secret.clone())).or_else(file)
    }

    /// Why it cannot be what the keys `name` and `name_file` mean, whatever that is.
    pub(super) fn fault(self, name: &str) -> Option<String> {
        if self.0.is_some() && self.1.is_some() {
            Some(format!("`{name}` and `{name}_file` are both set; one of them has to go"))
        } else if self.text().is_some_and(|text| text.trim().is_empty()) {
            Some("it is empty".to_owned())
        } else if self.text() == Some(REDACTED) {
            Some("it is what `config show` prints in place of a secret".to_owned())
        } else {
            None
        }
    }
}

pub(super) fn no_absolute_path(path: Option<&Path>) -> Option<String> {
    let path = path.filter(|path| !path.is_absolute())?;
    Some(format!("{} is not an absolute path", path.display()))
}

/// The first key of a section that is set. The section itself may come from several places, so it is named by it.
pub(super) fn first_key<T: Serialize + Default>(section: &T) -> Option<String> {
    let (value, default) = (serde_json::to_value(section).ok()?, serde_json::to_value(T::default()).ok()?);
    let own = value.as_object()?.iter().find(|(name, value)| default.get(name) != Some(value))?;
    Some(own.0.clone())
}
