//! Owner and mode of the volume's root, as they stand in the file.

use std::os::unix::ffi::OsStrExt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StepContext, mode};
use crate::step::Permissions;

/// What a file system puts at its own root.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// `owner`, `mode` or both are given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PermissionsFields {
    /// Who owns the volume's root, which needs root: `name`, `name:group` or `uid:gid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// The mode of the volume's root in octal digits, in quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// Whether everything in the volume gets the owner as well (default: false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recursive: Option<bool>,
}

impl PermissionsFields {
    pub(super) fn parse(&self) -> Result<Option<u32>, String> {
        let recursive = self.recursive == Some(true);
        match (&self.owner, &self.mode) {
            (None, None) => Err("`permissions` needs an `owner`, a `mode` or both".to_owned()),
            (None, Some(_)) if recursive => {
                Err("`recursive` goes with `owner`: a mode is the root's alone".to_owned())
            }
            (_, text) => mode(text.as_deref()),
        }
    }

    pub(super) fn permissions(&self, mode: Option<u32>, context: &StepContext<'_>) -> Permissions {
        let ours = context.state_dir.strip_prefix(context.volume).ok();
        let ours = ours.and_then(|path| path.components().next()).map(|name| name.as_os_str().as_bytes());
        Permissions {
            owner: self.owner.clone(),
            mode,
            recursive: self.recursive == Some(true),
            leave_out: ours.into_iter().chain([LOST_AND_FOUND]).map(<[u8]>::to_vec).collect(),
        }
    }
}
