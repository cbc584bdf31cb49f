//! Commits and trees as bytes. Reading takes what others wrote, and refuses what could lead out of a tree.

use std::cmp::Ordering;

use crate::repository::git::oid::Oid;

/// As git writes them in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Tree,
    File,
    Executable,
    Symlink,
    /// A commit of another repository: nothing of it is here.
    Submodule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    pub mode: Mode,
    pub name: Vec<u8>,
    pub oid: Oid,
}

/// What is needed of a commit. `message` is everything behind the headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub tree: Oid,
    pub parents: Vec<Oid>,
    /// Name and address, as `Ann <ann@example.org>`.
    pub author: String,
    /// Of the committer, in seconds since 1970.
    pub seconds: i64,
    pub message: String,
}

impl Mode {
    fn text(self) -> &'static str {
        match self {
            Self::Tree => "40000",
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
            Self::Submodule => "160000",
        }
    }

    /// Git wrote other permissions once.
    fn parse(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"40000" | b"040000" => Self::Tree,
            b"100755" => Self::Executable,
            b"120000" => Self::Symlink,
            b"160000" => Self::Submodule,
            other if other.starts_with(b"100") && other.len() == 6 => Self::File,
            _ => return None,
        })
    }
}

/// Sorts the entries as git wants them: directories as if a slash followed.
pub fn encode_tree(entries: &mut [TreeEntry]) -> Vec<u8> {
    entries.sort_unstable_by(order);
    let mut bytes = Vec::with_capacity(entries.iter().map(|entry| entry.name.len() + 28).sum());
    for entry in entries.iter() {
        bytes.extend(entry.mode.text().as_bytes());
        bytes.push(b' ');
        bytes.extend(&entry.name);
        bytes.push(0);
        bytes.extend(entry.oid.0);
    }
    bytes
}

fn order(a: &TreeEntry, b: &TreeEntry) -> Ordering {
    let key = |entry: &TreeEntry| (entry.mode == Mode::Tree).then_some(b'/');
    let (left, right) = (a.name.iter().copied().chain(key(a)), b.name.iter().copied().chain(key(b)));
    left.cmp(right)
}

/// `Err` says what is wrong. Names are those in the tree, none of which holds a slash.
pub fn decode_tree(mut bytes: &[u8]) -> Result<Vec<TreeEntry>, &'static str> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or("it ends in a mode")?;
        let (mode, rest) = bytes.split_at(space);
        let mode = Mode::parse(mode).ok_or("it has an impossible mode")?;
        let rest = rest.get(1..).unwrap_or_default();
        let zero = rest.iter().position(|byte| *byte == 0).ok_or("it ends in a name")?;
        let (name, rest) = rest.split_at(zero);
        if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
            return Err("it has an impossible name");
        }
        let (oid, rest) = rest.get(1..).and_then(|rest| rest.split_at_checked(20)).ok_or("it is cut off")?;
        entries.push(TreeEntry { mode, name: name.to_vec(), oid: Oid::from_bytes(oid).unwrap_or_default() });
        bytes = rest;
    }
    Ok(entries)
}

impl Commit {
    /// Author and committer are the same.
    pub fn encode(&self) -> Vec<u8> {
        let Self { tree, parents, author, seconds, message } = self;
        let mut text = format!("tree {tree}\n");
        for parent in parents {
            text.push_str(&format!("parent {parent}\n"));
        }
        // Git knows no time before 1970.
        let seconds = (*seconds).max(0);
        text.push_str(&format!(
            "author {author} {seconds} +0000\ncommitter {author} {seconds} +0000\n\n{message}"
        ));
        text.into_bytes()
    }

    /// `None`: not the bytes of a commit. Text that is no UTF-8 is taken as well as can be.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
        let (head, message) = bytes.split_at(end);
        let mut commit = Self {
            tree: Oid::ZERO,
            parents: Vec::new(),
            author: String::new(),
            seconds: 0,
            message: String::from_utf8_lossy(message.get(2..).unwrap_or_default()).into_owned(),
        };
        for line in String::from_utf8_lossy(head).lines() {
            // Further lines of a header, such as a signature, begin with a space.
            let Some((name, value)) = line.split_once(' ').filter(|(name, _)| !name.is_empty()) else {
                continue;
            };
            match name {
                "tree" => commit.tree = value.parse().ok()?,
                "parent" => commit.parents.push(value.parse().ok()?),
                "author" => commit.author = signature(value).0.to_owned(),
                "committer" => commit.seconds = signature(value).1,
                _ => {}
            }
        }
        (!commit.tree.is_zero()).then_some(commit)
    }
}

/// `Ann <ann@example.org> 1700000000 +0100`
fn signature(text: &str) -> (&str, i64) {
    let Some(end) = text.rfind('>') else { return (text, 0) };
    let (who, when) = text.split_at(end + 1);
    (who, when.split_whitespace().next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0))
}

/// A name as it may stand in a commit: git takes some characters for its own.
pub fn plain_name(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !c.is_control() && !matches!(c, '<' | '>')).collect();
    match kept.trim() {
        "" => "unknown".to_owned(),
        kept => kept.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::repository::git::oid::Kind;

    fn entry(mode: Mode, name: &str) -> TreeEntry {
        TreeEntry { mode, name: name.into(), oid: Oid::of(Kind::Blob, name.as_bytes()) }
    }

    #[test]
    fn trees_are_sorted_as_git_wants_them_and_read_back() {
        let mut entries = vec![
            entry(Mode::Tree, "a"),
            entry(Mode::File, "a.b"),
            entry(Mode::File, "a0"),
            entry(Mode::Symlink, "Z"),
            entry(Mode::Executable, "b"),
        ];
        let bytes = encode_tree(&mut entries);
        let names: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(&entry.name)).collect();
        assert_eq!(names, ["Z", "a.b", "a", "a0", "b"]);
        assert_eq!(decode_tree(&bytes).unwrap(), entries);
        for end in 1..bytes.len() {
            // Cut between two entries it is a tree as well.
            assert!(
                decode_tree(&bytes[..end]).is_ok_and(|some| some.len() < 5)
                    || decode_tree(&bytes[..end]).is_err()
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_stumble(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_tree(&bytes);
            let _ = Commit::decode(&bytes);
        }

        #[test]
        fn nothing_that_is_changed_makes_a_reader_stumble(at in 0usize..200, byte in any::<u8>()) {
            let mut tree = encode_tree(&mut [entry(Mode::Tree, "a"), entry(Mode::File, "b")]);
            let mut commit = Commit {
                tree: Oid::of(Kind::Tree, b""),
                parents: vec![Oid::of(Kind::Tree, b"")],
                author: "A <a@b>".into(),
                seconds: 7,
                message: "T\n\nVolkeep-Lease: 5\n".into(),
            }
            .encode();
            for bytes in [&mut tree, &mut commit] {
                let length = bytes.len();
                bytes[at % length] = byte;
            }
            let _ = decode_tree(&tree);
            let _ = Commit::decode(&commit).map(|commit| crate::repository::git::message::said(&commit));
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", ".", "..", "a/b", "/etc"] {
            let bytes = encode_tree(&mut [entry(Mode::File, name)]);
            assert!(decode_tree(&bytes).is_err(), "{name}");
        }
    }

    #[test]
    fn commits_of_others_are_read() {
        let tree = Oid::of(Kind::Tree, b"");
        let text = format!(
            "tree {tree}\nparent {tree}\nauthor A <a@b> 5 +0100\ncommitter C D <c@d> 7 -0800\ngpgsig x\n parent y\n\nT\n\nB\n"
        );
        let commit = Commit::decode(text.as_bytes()).unwrap();
        assert_eq!((commit.author.as_str(), commit.seconds), ("A <a@b>", 7));
        assert_eq!((commit.parents.as_slice(), commit.message.as_str()), (&[tree][..], "T\n\nB\n"));
        assert_eq!(Commit::decode(&commit.encode()), Some(commit));
        assert_eq!(Commit::decode(b"tree x\n\n"), None);
        assert_eq!(Commit::decode(b""), None);
    }
}
