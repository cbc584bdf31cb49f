//! Asks a server for commits and what belongs to them, as one pack. One question, one answer: what both sides have
//! is told at once and not searched for. Must not know what the pack holds, nor where it goes.

use std::fmt;
use std::io::{self, Read, Write};

use super::packet::{self, Bands, Packet, Packets, trimmed};
use super::said::clean;
use super::{Advertisement, Body, Conversation, trouble};
use crate::repository::RepositoryError;
use crate::repository::git::oid::Oid;

/// How many ends of history a server may name; each is a commit.
const MOST_SHALLOW: usize = 1 << 20;

#[derive(Clone, Debug, Default)]
pub struct Fetch {
    /// Commits. Those that no reference points to are given by servers that `takes_any_commit`.
    pub wants: Vec<Oid>,
    /// Commits that are here with all that belongs to them and to their ancestors; those the server does not know
    /// are passed over. What is reached from them is left out of the pack.
    pub haves: Vec<Oid>,
    /// Commits that are here without their parents, so that no ancestor of a have is taken to be here.
    pub shallow: Vec<Oid>,
    /// So many commits of history; all of it without. A server that knows no depth sends all.
    pub depth: Option<u32>,
    /// What is left out. A server that knows no filter leaves nothing out.
    pub filter: Option<Filter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Commits and trees.
    NoBlobs,
    /// Commits.
    NoTrees,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Commits that came without their parents, because of the depth.
    pub shallow: Vec<Oid>,
}

pub fn supports_filter(advertisement: &Advertisement) -> bool {
    advertisement.can("filter")
}

/// Whether a commit can be asked for that is not the value of an advertised reference, as long as one leads to it.
pub fn takes_any_commit(advertisement: &Advertisement) -> bool {
    advertisement.can("allow-any-sha1-in-want") || advertisement.can("allow-reachable-sha1-in-want")
}

/// Writes the pack to `sink`. What came before an error is there, too.
pub fn fetch(
    conversation: Box<dyn Conversation>,
    advertisement: &Advertisement,
    request: &Fetch,
    sink: &mut dyn Write,
) -> Result<Fetched, RepositoryError> {
    if request.wants.is_empty() {
        return Ok(Fetched::default());
    }
    let location = conversation.location().to_owned();
    let asked = Asked::of(advertisement, request);
    let head = question(request, &asked, &location)?;
    let mut fetched = Fetched::default();
    conversation.exchange(Body { head, file: None }, &mut |answer: &mut dyn Read| {
        fetched = read(answer, &asked, &location, sink)?;
        Ok(())
    })?;
    Ok(fetched)
}

/// What of a request the server can do.
struct Asked {
    capabilities: Vec<String>,
    bands: bool,
    depth: Option<u32>,
    filter: Option<Filter>,
}

impl Asked {
    fn of(advertisement: &Advertisement, request: &Fetch) -> Self {
        let depth = request.depth.filter(|depth| *depth > 0 && advertisement.can("shallow"));
        let filter = request.filter.filter(|_| supports_filter(advertisement));
        let bands = ["side-band-64k", "side-band"].into_iter().find(|band| advertisement.can(band));
        let mut capabilities: Vec<String> = bands.map(str::to_owned).into_iter().collect();
        for wanted in ["ofs-delta", "no-progress"] {
            if advertisement.can(wanted) {
                capabilities.push(wanted.to_owned());
            }
        }
        if filter.is_some() {
            capabilities.push("filter".to_owned());
        }
        capabilities.extend(agent(advertisement));
        Self { capabilities, bands: bands.is_some(), depth, filter }
    }
}

/// Who asks, for servers that want to know.
pub(super) fn agent(advertisement: &Advertisement) -> Option<String> {
    advertisement.can("agent").then(|| concat!("agent=volkeep/", env!("CARGO_PKG_VERSION")).to_owned())
}

fn question(request: &Fetch, asked: &Asked, location: &str) -> Result<Vec<u8>, RepositoryError> {
    let mut head = Vec::new();
    let mut line = |content: String| packet::line(&mut head, &content, location);
    for (number, want) in request.wants.iter().enumerate() {
        match number {
            0 if !asked.capabilities.is_empty() => {
                line(format!("want {want} {}\n", asked.capabilities.join(" ")))?;
            }
            _ => line(format!("want {want}\n"))?,
        }
    }
    for commit in &request.shallow {
        line(format!("shallow {commit}"))?;
    }
    if let Some(depth) = asked.depth {
        line(format!("deepen {depth}"))?;
    }
    if let Some(filter) = asked.filter {
        line(format!("filter {filter}"))?;
    }
    packet::flush(&mut head);
    for have in &request.haves {
        packet::line(&mut head, &format!("have {have}\n"), location)?;
    }
    packet::line(&mut head, "done\n", location)?;
    Ok(head)
}

fn read(
    answer: &mut dyn Read,
    asked: &Asked,
    location: &str,
    sink: &mut dyn Write,
) -> Result<Fetched, RepositoryError> {
    let mut fetched = Fetched::default();
    let mut packets = Packets::new(answer, location);
    if asked.depth.is_some() {
        fetched.shallow = ends_of_history(&mut packets)?;
    }
    if !asked.bands {
        // The pack follows the one line that answers to `done`.
        match packets.next()? {
            Some(Packet::Data(line)) if is_answer(line) => {}
            Some(Packet::Data(line)) => return Err(instead(line, location)),
            _ => return Err(trouble::temporary(location, "it ended before the pack")),
        }
        return copy(answer, location, sink).map(|()| fetched);
    }
    let mut bands = Bands::default();
    let mut begun = false;
    loop {
        match packets.next()? {
            Some(Packet::Data(line)) if !begun && is_answer(line) => {}
            Some(Packet::Data(line)) => {
                let data = bands.sort(line, location)?;
                begun |= !data.is_empty();
                sink.write_all(data).map_err(kept)?;
            }
            Some(Packet::Flush) if begun => return Ok(fetched),
            Some(Packet::Flush) => return Err(trouble::protocol(location, "it sent no pack")),
            None => return Err(ended(location, &bands.said.text())),
        }
    }
}

fn ended(location: &str, said: &str) -> RepositoryError {
    match said {
        "" => trouble::temporary(location, "it ended before the pack did"),
        said => trouble::temporary(location, format!("it ended before the pack did, and said: {said}")),
    }
}

fn ends_of_history(packets: &mut Packets<'_>) -> Result<Vec<Oid>, RepositoryError> {
    let location = packets.location();
    let mut found = Vec::new();
    loop {
        let line = match packets.next()? {
            Some(Packet::Data(line)) => trimmed(line),
            Some(Packet::Flush) => return Ok(found),
            None => return Err(trouble::temporary(location, "it ended before the pack")),
        };
        let text = String::from_utf8_lossy(line);
        match text.split_once(' ') {
            Some(("shallow", oid)) if found.len() < MOST_SHALLOW => {
                found.push(oid.parse().map_err(|error: String| trouble::protocol(location, error))?);
            }
            Some(("unshallow", _)) => {}
            _ => return Err(instead(line, location)),
        }
    }
}

fn is_answer(line: &[u8]) -> bool {
    line.starts_with(b"NAK") || line.starts_with(b"ACK ")
}

/// What came in place of what was expected.
fn instead(line: &[u8], location: &str) -> RepositoryError {
    match line.strip_prefix(b"ERR ") {
        Some(words) => trouble::refused(location, &clean(words)),
        None => trouble::protocol(location, format!("an unexpected answer: `{}`", clean(line))),
    }
}

/// A pack without bands ends with the answer. Whoever reads the pack finds out whether it is whole.
fn copy(answer: &mut dyn Read, location: &str, sink: &mut dyn Write) -> Result<(), RepositoryError> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match answer.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => sink.write_all(buffer.get(..count).unwrap_or_default()).map_err(kept)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(trouble::temporary(location, error.to_string())),
        }
    }
}

/// The sink's own trouble. One that has an error of this crate to tell wraps it.
fn kept(error: io::Error) -> RepositoryError {
    match error.downcast::<RepositoryError>() {
        Ok(error) => error,
        Err(source) => RepositoryError::local("write", "the pack that was fetched")(source),
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBlobs => "blob:none",
            Self::NoTrees => "tree:0",
        })
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
