//! From the names in an archive, which anybody may have written, to paths that stay below the target.

use crate::archive::ArchiveError;
use crate::base::bytes_text::BytesText;
use crate::snapshot::{PathError, RelativePath};

/// `./a//b/` is `a/b`, `.` and `./` the root; what is absolute or goes up is refused.
pub(super) fn checked(name: &[u8]) -> Result<RelativePath, ArchiveError> {
    let refused = |source| ArchiveError::Unsafe { member: BytesText::from(name), source };
    if name.first() == Some(&b'/') {
        return Err(refused(PathError::Absolute(BytesText::from(name))));
    }
    if name.is_empty() {
        return Err(refused(PathError::Component(BytesText::from(name))));
    }
    let mut clean = Vec::with_capacity(name.len());
    for component in name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend_from_slice(component);
    }
    RelativePath::new(clean).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_never_lead_out() {
        for (name, path) in [("./a//b/", "a/b"), (".", ""), ("./", ""), ("a/./b", "a/b"), ("./-x", "-x")] {
            assert_eq!(checked(name.as_bytes()).unwrap().as_bytes(), path.as_bytes());
        }
        for name in ["", "/", "/etc/passwd", "..", "a/../b", "./../a", "a/..", "a\0b"] {
            let error = checked(name.as_bytes()).unwrap_err();
            assert!(matches!(error, ArchiveError::Unsafe { .. }), "{name:?}");
        }
    }
}
