//! What the message of a commit says to volkeep: a title and some words for people, then lines such as
//! `Volkeep-Volume: …`. Commits of people have none of them.

use crate::base::timestamp::Timestamp;
use crate::repository::Epoch;
use crate::repository::git::object::Commit;
use crate::repository::git::oid::Oid;
use crate::snapshot::{CopiedFrom, SnapshotId, Summary};

const PREFIX: &str = "Volkeep-";
/// Stands in `copied_from` of a snapshot that somebody committed without volkeep: such a one has no lease to go by.
pub const BY_HAND: &str = "by hand";

/// What a commit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Says that an empty branch is no mistake.
    Root,
    Snapshot(Box<Summary>),
    /// The data of the commit before it, under a new lease.
    Lease {
        epoch: Epoch,
        writer: String,
        host: String,
        of: Option<Box<LeaseOf>>,
    },
    /// By a person or another program: data without anything said of it.
    Plain,
}

/// The snapshot that is the newest under a lease, repeated there so that one commit tells all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseOf {
    pub commit: Oid,
    /// `None`: a plain commit, whose content nobody counted.
    pub summary: Option<Summary>,
    pub id: SnapshotId,
    pub time: Timestamp,
}

/// The value of a line.
pub fn field<'m>(message: &'m str, name: &str) -> Option<&'m str> {
    message.lines().rev().find_map(|line| {
        let (key, value) = line.strip_prefix(PREFIX)?.split_once(": ")?;
        (key == name).then(|| value.trim())
    })
}

pub fn identity(commit: &Commit) -> Option<&str> {
    field(&commit.message, "Identity")
}

pub fn said(commit: &Commit) -> Said {
    let message = &commit.message;
    if let Some(epoch) = number(message, "Lease") {
        let of = field(message, "Commit").and_then(|oid| oid.parse().ok()).and_then(|commit| {
            let id = SnapshotId(field(message, "Snapshot")?.to_owned());
            let time = field(message, "Time").and_then(Timestamp::parse_rfc3339)?;
            Some(Box::new(LeaseOf { commit, summary: summary(message), id, time }))
        });
        let text = |name| field(message, name).unwrap_or_default().to_owned();
        return Said::Lease { epoch, writer: text("Writer"), host: text("Host"), of };
    }
    if let Some(summary) = summary(message) {
        return Said::Snapshot(Box::new(summary));
    }
    match field(message, "Repository") {
        Some("new") => Said::Root,
        _ => Said::Plain,
    }
}

/// The name of a commit that was made without volkeep.
pub fn plain_id(oid: Oid, commit: &Commit) -> SnapshotId {
    // Kept when history is rewritten.
    if let Some(id) = field(&commit.message, "Name") {
        return SnapshotId(id.to_owned());
    }
    let time = Timestamp::new(commit.seconds, 0).to_compact();
    SnapshotId(format!("{time}-{}", oid.to_hex().get(..16).unwrap_or_default()))
}

/// Of a commit that was made without volkeep; what has to be counted is zero.
pub fn plain_summary(oid: Oid, commit: &Commit, parent: Option<SnapshotId>) -> Summary {
    let id = plain_id(oid, commit);
    Summary {
        time: Timestamp::new(commit.seconds, 0),
        volume_id: String::new(),
        epoch: 0,
        identity: identity(commit).unwrap_or_default().to_owned(),
        host: commit.author.clone(),
        parent,
        copied_from: Some(CopiedFrom { repository: BY_HAND.to_owned(), snapshot: id.clone() }),
        id,
        entries: 0,
        files: 0,
        bytes: 0,
        data_bytes: 0,
        added_bytes: 0,
        stored_bytes: 0,
        problems: Vec::new(),
        problem_count: 0,
    }
}

fn number(message: &str, name: &str) -> Option<u64> {
    field(message, name)?.parse().ok()
}

fn summary(message: &str) -> Option<Summary> {
    let count = |name| number(message, name);
    let text = |name| field(message, name).map(str::to_owned);
    Some(Summary {
        id: SnapshotId(text("Snapshot")?),
        time: field(message, "Time").and_then(Timestamp::parse_rfc3339)?,
        volume_id: text("Volume")?,
        epoch: count("Epoch")?,
        identity: text("Identity")?,
        host: text("Host-Of").or_else(|| text("Host")).unwrap_or_default(),
        parent: text("Parent").map(SnapshotId),
        copied_from: None,
        entries: count("Entries")?,
        files: count("Files")?,
        bytes: count("Bytes")?,
        data_bytes: count("Data-Bytes")?,
        added_bytes: count("Added-Bytes").unwrap_or(0),
        stored_bytes: count("Stored-Bytes").unwrap_or(0),
        problems: message
            .lines()
            .filter_map(|line| line.strip_prefix(PREFIX)?.strip_prefix("Problem: ").map(str::to_owned))
            .collect(),
        problem_count: count("Problems").unwrap_or(0),
    })
}

pub fn for_root(identity: &str) -> String {
    format!(
        "volkeep: a repository for {identity}\n\n{}",
        lines(&[("Repository", "new".to_owned()), ("Identity", identity.to_owned())])
    )
}

/// On top of commits that others made: their data stays, and is the first snapshot.
pub fn for_adoption(identity: &str) -> String {
    format!(
        "volkeep: a repository for {identity}, with what is here\n\n{}",
        lines(&[("Repository", "adopted".to_owned()), ("Identity", identity.to_owned())])
    )
}

pub fn for_snapshot(summary: &Summary) -> String {
    let Summary { files, bytes, identity, .. } = summary;
    let title = format!("volkeep: {identity}, {files} files with {bytes} bytes");
    format!("{title}\n\n{}{}", summary_lines(summary), lines(&[("Host", summary.host.clone())]))
}

pub fn for_lease(epoch: Epoch, identity: &str, writer: &str, host: &str, of: Option<&LeaseOf>) -> String {
    let mut message = format!("volkeep: {host} takes over\n\nThe data is that of the commit before.\n\n");
    if let Some(of) = of {
        match &of.summary {
            Some(summary) => {
                message.push_str(&summary_lines(summary));
                message.push_str(&lines(&[("Host-Of", summary.host.clone())]));
            }
            None => message.push_str(&lines(&[
                ("Snapshot", of.id.to_string()),
                ("Time", of.time.to_rfc3339()),
                ("Identity", identity.to_owned()),
            ])),
        }
        message.push_str(&lines(&[("Commit", of.commit.to_hex())]));
    } else {
        message.push_str(&lines(&[("Identity", identity.to_owned())]));
    }
    message.push_str(&lines(&[
        ("Lease", epoch.to_string()),
        ("Writer", writer.to_owned()),
        ("Host", host.to_owned()),
    ]));
    message
}

/// The message of a plain commit that is written anew: it keeps its name.
pub fn named(commit: &Commit, id: &SnapshotId) -> String {
    if field(&commit.message, "Name").is_some() {
        return commit.message.clone();
    }
    format!("{}\n\n{}", commit.message.trim_end(), lines(&[("Name", id.to_string())]))
}

fn summary_lines(summary: &Summary) -> String {
    let mut fields = vec![
        ("Snapshot", summary.id.to_string()),
        ("Time", summary.time.to_rfc3339()),
        ("Identity", summary.identity.clone()),
        ("Volume", summary.volume_id.clone()),
        ("Epoch", summary.epoch.to_string()),
        ("Entries", summary.entries.to_string()),
        ("Files", summary.files.to_string()),
        ("Bytes", summary.bytes.to_string()),
        ("Data-Bytes", summary.data_bytes.to_string()),
        ("Added-Bytes", summary.added_bytes.to_string()),
        ("Stored-Bytes", summary.stored_bytes.to_string()),
    ];
    fields.extend(summary.parent.as_ref().map(|parent| ("Parent", parent.to_string())));
    if summary.problem_count > 0 {
        fields.push(("Problems", summary.problem_count.to_string()));
    }
    fields.extend(summary.problems.iter().map(|problem| ("Problem", problem.clone())));
    lines(&fields)
}

fn lines(fields: &[(&str, String)]) -> String {
    let line = |(name, value): &(&str, String)| {
        let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{PREFIX}{name}: {value}\n")
    };
    fields.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(message: String) -> Commit {
        let tree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904".parse().unwrap();
        Commit { tree, parents: Vec::new(), author: "A <a@b>".into(), seconds: 5, message }
    }

    fn example() -> Summary {
        Summary {
            id: SnapshotId("19700101T000010.000Z-aa11".into()),
            time: Timestamp::new(10, 5_000_000),
            volume_id: "v".into(),
            epoch: 3,
            identity: "wiki".into(),
            host: "h".into(),
            parent: Some(SnapshotId("p".into())),
            copied_from: None,
            entries: 4,
            files: 2,
            bytes: 9,
            data_bytes: 8,
            added_bytes: 7,
            stored_bytes: 6,
            problems: vec!["a: vanished".into(), "b: vanished".into()],
            problem_count: 5,
        }
    }

    #[test]
    fn what_is_said_is_understood() {
        let said_of = |message: String| said(&commit(message));
        assert_eq!(said_of(for_root("wiki")), Said::Root);
        assert_eq!(said_of(for_adoption("wiki")), Said::Plain);
        assert_eq!(said_of("Mend a word\n".into()), Said::Plain);
        assert_eq!(said_of(for_snapshot(&example())), Said::Snapshot(Box::new(example())));
        let oid = Oid([7; 20]);
        let (id, time) = (example().id, example().time);
        for summary in [Some(example()), None] {
            let of = LeaseOf { commit: oid, summary, id: id.clone(), time };
            let lease = Said::Lease {
                epoch: 9,
                writer: "w".into(),
                host: "x".into(),
                of: Some(Box::new(of.clone())),
            };
            assert_eq!(said_of(for_lease(9, "wiki", "w", "x", Some(&of))), lease);
        }
        let bare = for_lease(1, "wiki", "w", "x", None);
        assert_eq!(identity(&commit(bare.clone())), Some("wiki"));
        assert!(matches!(said_of(bare), Said::Lease { of: None, .. }));
    }

    #[test]
    fn a_plain_commit_keeps_its_name_when_it_is_written_anew() {
        let plain = commit("Mend a word\n".into());
        let id = plain_id(Oid([7; 20]), &plain);
        assert_eq!(id.0, "19700101T000005.000Z-0707070707070707");
        let anew = commit(named(&plain, &id));
        assert_eq!(plain_id(Oid([8; 20]), &anew), id);
        assert_eq!(said(&anew), Said::Plain);
        assert_eq!(named(&anew, &id), anew.message);
    }

    #[test]
    fn no_line_can_be_smuggled_in() {
        let summary = Summary { host: "x\nVolkeep-Epoch: 99".into(), ..example() };
        match said(&commit(for_snapshot(&summary))) {
            Said::Snapshot(read) => assert_eq!(read.epoch, 3),
            other => panic!("{other:?}"),
        }
    }
}
