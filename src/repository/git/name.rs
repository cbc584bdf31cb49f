//! Names of files as git can hold them. A tree can hold any name but `.git`; and to some names git and its hosts do
//! something: attributes change content on the way out, a file of submodules is read and judged. Such names are
//! written otherwise, and come back as they were.

// A name is *special* if it is `.git`, `.gitmodules` or `.gitattributes` to any file system git thinks of: whatever
// the case, with the characters in it that HFS+ ignores, with the endings and streams that NTFS ignores, by its short
// name, or behind a backslash; and `.volkeep` is. The test here takes a few names more than git does, never less. A special name is
// stored as `%` and the name, with `%` as `%25` and `\` as `%5C`; so is a name that looks as if it were stored that
// way already. Everything else is stored as it is.

use std::borrow::Cow;

const MARK: u8 = b'%';
/// What volkeep adds at the top of the tree. Data of that name makes way.
pub const OWN: &[u8] = b".volkeep";

/// The name in a git tree.
pub fn encode(name: &[u8]) -> Cow<'_, [u8]> {
    if !is_special(name) && !is_encoded(name) {
        return Cow::Borrowed(name);
    }
    let mut encoded = vec![MARK];
    for byte in name {
        match byte {
            b'%' => encoded.extend(b"%25"),
            b'\\' => encoded.extend(b"%5C"),
            other => encoded.push(*other),
        }
    }
    Cow::Owned(encoded)
}

/// The name in the file system.
pub fn decode(name: &[u8]) -> Cow<'_, [u8]> {
    match unescape(name) {
        Some(plain) if is_special(&plain) || is_encoded(&plain) => Cow::Owned(plain),
        _ => Cow::Borrowed(name),
    }
}

/// Whether `encode` could have made it. Each step takes a mark away, so this ends.
fn is_encoded(name: &[u8]) -> bool {
    unescape(name).is_some_and(|plain| is_special(&plain) || is_encoded(&plain))
}

fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    let mut rest = name.strip_prefix(&[MARK])?;
    let mut plain = Vec::with_capacity(rest.len());
    while let Some((first, behind)) = rest.split_first() {
        rest = match (first, behind) {
            (b'%', [b'2', b'5', behind @ ..]) => {
                plain.push(b'%');
                behind
            }
            (b'%', [b'5', b'C', behind @ ..]) => {
                plain.push(b'\\');
                behind
            }
            (b'%' | b'\\', _) => return None,
            (other, behind) => {
                plain.push(*other);
                behind
            }
        };
    }
    Some(plain)
}

fn is_special(name: &[u8]) -> bool {
    name.split(|byte| *byte == b'\\').any(|part| {
        let part: Vec<u8> = part.iter().filter(|byte| byte.is_ascii()).map(u8::to_ascii_lowercase).collect();
        let part = part.split(|byte| *byte == b':').next().unwrap_or_default();
        let end = part.iter().rposition(|byte| !matches!(byte, b' ' | b'.')).map_or(0, |last| last + 1);
        let part = part.get(..end).unwrap_or_default();
        matches!(part, b".git" | b".gitmodules" | b".gitattributes" | OWN)
            || (part.starts_with(b"gi") && part.contains(&b'~'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_git_treats_specially_is_written_otherwise() {
        for name in [
            &b".git"[..],
            b".GIT",
            b".git.",
            b".git ::$INDEX_ALLOCATION",
            b"git~1",
            b"GIT~1 .",
            b".gitmodules",
            b"GITMOD~1",
            b"gi7eba~1",
            b".gitattributes",
            b".GitAttributes",
            b".volkeep",
            b"x\\.git",
            b".g\xe2\x80\x8cit",
        ] {
            let encoded = encode(name);
            assert_ne!(&*encoded, name);
            assert!(!is_special(&encoded), "{}", String::from_utf8_lossy(&encoded));
            assert_eq!(&*decode(&encoded), name);
        }
        assert_eq!(&*encode(b".git"), b"%.git");
    }

    #[test]
    fn everything_else_is_written_as_it_is() {
        for name in [&b"a"[..], b".gitignore", b".github", b"gitea", b"100%", b"%25", b"a\\b", b"\xff", b"%"]
        {
            assert_eq!(&*encode(name), name);
            assert_eq!(&*decode(name), name);
        }
    }

    proptest! {
        #[test]
        fn names_come_back(parts in prop::collection::vec(prop::sample::select(vec![
            "%", "%25", "%5C", ".git", "git~1", "\\", "2", "5", "C", ":", " ", ".", "é", "x", ".gitmodules",
        ]), 1..8)) {
            let name = parts.concat().into_bytes();
            let encoded = encode(&name);
            prop_assert!(!is_special(&encoded));
            prop_assert_eq!(&*decode(&encoded), &name[..]);
            // No two names are stored under one.
            let decoded = decode(&encoded);
            prop_assert_eq!(&*encode(&decoded), &*encoded);
        }
    }
}
