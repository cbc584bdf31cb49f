//! What the message of a commit says to volkeep: a title and some words for people, then lines such as
//! `Volkeep-Volume: …`. Commits of people have none of them.

use crate::base::timestamp::Timestamp;
use crate::repository::Epoch;
use crate::repository::git::object::Commit;
use crate::repository::git::oid::Oid;
use crate::snapshot::{SnapshotId, Summary};

const PREFIX: &str = "Volkeep-";
/// Of the year 9999, which is the last that is written with four digits.
const LAST_SECOND: i64 = 253_402_300_799;
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

/// What says of a commit that somebody has changed since is not believed: its data is not what volkeep committed.
pub fn said(commit: &Commit) -> Said {
    let message = &commit.message;
    if !is_in_place(commit) {
        return Said::Plain;
    }
    if let Some(epoch) = number(message, "Lease") {
        let of = match field(message, "Snapshot") {
            None => None,
            Some(_) => match lease_of(message) {
                Some(of) => Some(Box::new(of)),
                // There is data, and it would be fatal to say that there is none.
                None => return Said::Plain,
            },
        };
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

/// Whether the commit has the tree and the parent that its message names: amended, rebased or picked again it has not.
fn is_in_place(commit: &Commit) -> bool {
    let named = |name| field(&commit.message, name).and_then(|oid| oid.parse::<Oid>().ok());
    named("Tree") == Some(commit.tree) && named("On").unwrap_or_default() == parent_of(&commit.parents)
}

/// Zero for the first commit of all.
fn parent_of(parents: &[Oid]) -> Oid {
    parents.first().copied().unwrap_or_default()
}

fn lease_of(message: &str) -> Option<LeaseOf> {
    Some(LeaseOf {
        commit: field(message, "Commit")?.parse().ok()?,
        summary: summary(message),
        id: SnapshotId(field(message, "Snapshot")?.to_owned()),
        time: field(message, "Time").and_then(Timestamp::parse_rfc3339)?,
    })
}

/// The name of a commit that was made without volkeep.
pub fn plain_id(oid: Oid, commit: &Commit) -> SnapshotId {
    // Kept when history is rewritten.
    if let Some(id) = field(&commit.message, "Name") {
        return SnapshotId(id.to_owned());
    }
    SnapshotId(format!("{}-{}", plain_time(commit).to_compact(), oid.to_hex().get(..16).unwrap_or_default()))
}

/// As far as it can be written.
fn plain_time(commit: &Commit) -> Timestamp {
    Timestamp::new(commit.seconds.clamp(0, LAST_SECOND), 0)
}

/// Of a commit that was made without volkeep; what has to be counted is zero. `epoch` is that of whoever wrote last.
pub fn plain_summary(oid: Oid, commit: &Commit, epoch: Epoch, parent: Option<SnapshotId>) -> Summary {
    Summary {
        id: plain_id(oid, commit),
        time: plain_time(commit),
        volume_id: String::new(),
        epoch,
        identity: identity(commit).unwrap_or_default().to_owned(),
        host: commit.author.clone(),
        parent,
        copied_from: None,
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

/// The message with the names of the tree that it speaks of and of the commit that it follows, whatever it named before.
pub fn in_place(message: &str, tree: Oid, parents: &[Oid]) -> String {
    let names = ["Tree: ", "On: "];
    let named = |line: &&str| {
        line.strip_prefix(PREFIX).is_some_and(|line| names.iter().any(|name| line.starts_with(name)))
    };
    let mut text: String =
        message.lines().filter(|line| !named(line)).map(|line| format!("{line}\n")).collect();
    text.push_str(&lines(&[("Tree", tree.to_hex()), ("On", parent_of(parents).to_hex())]));
    text
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
        let message = in_place(&message, tree, &[]);
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
        let plain = Commit { message: "Mend a word\n".into(), ..commit(String::new()) };
        let id = plain_id(Oid([7; 20]), &plain);
        assert_eq!(id.0, "19700101T000005.000Z-0707070707070707");
        let anew = Commit { message: named(&plain, &id), ..plain.clone() };
        assert_eq!(plain_id(Oid([8; 20]), &anew), id);
        assert_eq!(said(&anew), Said::Plain);
        assert_eq!(named(&anew, &id), anew.message);
    }

    #[test]
    fn a_commit_with_another_tree_is_a_plain_one() {
        let amended = Commit { tree: Oid([3; 20]), ..commit(for_snapshot(&example())) };
        assert_eq!(said(&amended), Said::Plain);
        let picked = Commit { parents: vec![Oid([4; 20])], ..commit(for_snapshot(&example())) };
        assert_eq!(said(&picked), Said::Plain);
        let anew = in_place(&picked.message, picked.tree, &picked.parents);
        assert!(matches!(said(&Commit { message: anew, ..picked }), Said::Snapshot(_)));
        // Nor is a lease believed that names a snapshot nobody can read.
        let (id, commit_of) = (example().id, Oid([7; 20]));
        let of = LeaseOf { commit: commit_of, summary: None, id, time: example().time };
        let message =
            for_lease(1, "wiki", "w", "x", Some(&of)).replace("Volkeep-Time: 1970", "Volkeep-Time: +19700");
        assert_eq!(said(&commit(message)), Said::Plain);
    }

    #[test]
    fn times_of_any_commit_can_be_read_back() {
        for seconds in [-5, 0, i64::MAX] {
            let summary = plain_summary(Oid([7; 20]), &Commit { seconds, ..commit(String::new()) }, 1, None);
            assert_eq!(Timestamp::parse_rfc3339(&summary.time.to_rfc3339()), Some(summary.time));
            assert_eq!(summary.id.time(), Some(summary.time));
        }
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
