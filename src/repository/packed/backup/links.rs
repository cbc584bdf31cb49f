//! Hard links: the members of a group are found one by one along the walk, and only one of them is read. Keeps
//! the groups whose members were not all seen yet.

use std::collections::HashMap;

use crate::repository::packed::frame::Piece;
use crate::repository::packed::manifest::Slot;
use crate::repository::scan::StatRow;
use crate::snapshot::{Entry, RelativePath};
use crate::tree::{Found, Stat};

#[derive(Debug, Default)]
pub struct Links {
    groups: HashMap<(u64, u64), Group>,
    /// Which group a slot's content is for.
    readers: HashMap<Slot, (u64, u64)>,
}

#[derive(Debug)]
struct Group {
    first: RelativePath,
    /// Members not seen yet, by the link count; links outside the volume are never seen.
    left: u32,
    content: Option<Content>,
    waiting: Vec<(Slot, Found)>,
}

/// The first member's entry and where its content lies.
#[derive(Clone, Debug)]
pub struct Content {
    pub entry: Entry,
    pub pieces: Vec<Piece>,
    pub stat: StatRow,
}

/// What to do with a file that has several links.
#[derive(Debug)]
pub enum Member {
    /// The first one seen: treat it like any file and tell what became of it.
    First,
    Later {
        first: RelativePath,
        /// `None` while the first one is still being read: call [`Links::wait`].
        content: Option<Box<Content>>,
    },
}

impl Links {
    pub fn see(&mut self, stat: &Stat, path: &RelativePath) -> Member {
        let inode = stat.identity();
        let Some(group) = self.groups.get_mut(&inode) else {
            let group =
                Group { first: path.clone(), left: stat.links - 1, content: None, waiting: Vec::new() };
            self.groups.insert(inode, group);
            return Member::First;
        };
        group.left = group.left.saturating_sub(1);
        let member =
            Member::Later { first: group.first.clone(), content: group.content.clone().map(Box::new) };
        if group.left == 0 && group.content.is_some() {
            self.groups.remove(&inode);
        }
        member
    }

    /// The first member is being read into `slot`.
    pub fn reads(&mut self, stat: &Stat, slot: Slot) {
        self.readers.insert(slot, stat.identity());
    }

    pub fn wait(&mut self, slot: Slot, found: Found) {
        if let Some(group) = self.groups.get_mut(&found.stat.identity()) {
            group.waiting.push((slot, found));
        }
    }

    /// The content of the first member is known without reading.
    pub fn know(&mut self, stat: &Stat, content: Content) {
        if let Some(group) = self.groups.get_mut(&stat.identity()) {
            group.content = Some(content);
        }
    }

    /// The file of `slot` was read, or could not be. What was read may be another file than the group's: its
    /// name was given to a new one meanwhile.
    pub fn settle(&mut self, slot: Slot, content: Option<&Content>) -> Settled {
        let Some(inode) = self.readers.remove(&slot) else { return Settled::Alone };
        let Some(group) = self.groups.get_mut(&inode) else { return Settled::Alone };
        let mut waiting = std::mem::take(&mut group.waiting);
        match content.filter(|content| content.stat.inode == inode.1) {
            Some(content) => {
                let first = group.first.clone();
                if group.left == 0 {
                    self.groups.remove(&inode);
                } else {
                    group.content = Some(content.clone());
                }
                Settled::Linked { first, waiting }
            }
            None if waiting.is_empty() => {
                // The next member will be tried as a first one.
                self.groups.remove(&inode);
                Settled::Alone
            }
            None => {
                let (slot, found) = waiting.remove(0);
                group.first.clone_from(&found.path);
                group.waiting = waiting;
                self.readers.insert(slot, inode);
                Settled::Next { slot, found: Box::new(found) }
            }
        }
    }
}

/// What follows for the members that waited.
#[derive(Debug)]
pub enum Settled {
    Alone,
    Linked {
        first: RelativePath,
        waiting: Vec<(Slot, Found)>,
    },
    /// This one takes the first one's place and has to be read.
    Next {
        slot: Slot,
        found: Box<Found>,
    },
}

/// The entry of a later member.
pub fn linked(content: &Content, path: RelativePath, first: RelativePath) -> Entry {
    Entry { path, hard_link: Some(first), ..content.entry.clone() }
}
