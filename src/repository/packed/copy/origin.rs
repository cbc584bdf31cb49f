//! Which snapshots the target has, by where they were first made. A copy keeps its original's time, so only
//! snapshots of the same instant have to be read to know.

use std::collections::HashMap;

use crate::repository::packed::document::{self, Document};
use crate::repository::packed::objects::Objects;
use crate::repository::{Chosen, RepositoryError};
use crate::snapshot::{CopiedFrom, SnapshotId};

#[derive(Debug)]
pub struct Present<'a> {
    objects: &'a Objects,
    repository: &'a str,
    /// Sorted.
    names: Vec<SnapshotId>,
    /// `None` for those that cannot be read, and so do not count.
    origins: HashMap<SnapshotId, Option<CopiedFrom>>,
}

impl<'a> Present<'a> {
    pub fn list(objects: &'a Objects, repository: &'a str) -> Result<Self, RepositoryError> {
        let names = document::names(objects)?;
        Ok(Self { objects, repository, names, origins: HashMap::new() })
    }

    /// Somebody else may have committed meanwhile.
    pub fn list_again(&mut self) -> Result<(), RepositoryError> {
        self.names = document::names(self.objects)?;
        Ok(())
    }

    pub fn newest(&self) -> Option<&SnapshotId> {
        self.names.last()
    }

    /// The name that the snapshot has in the target.
    pub fn find(&mut self, origin: &CopiedFrom) -> Result<Option<SnapshotId>, RepositoryError> {
        let time = time_of(&origin.snapshot);
        let from = self.names.partition_point(|name| time_of(name) < time);
        let same_time = self.names.iter().skip(from).take_while(|name| time_of(name) == time);
        for name in same_time {
            let known = match self.origins.get(name) {
                Some(known) => known,
                None => {
                    let read = origin_of(self.objects, self.repository, name)?;
                    self.origins.entry(name.clone()).or_insert(read)
                }
            };
            if known.as_ref() == Some(origin) {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    /// A snapshot of the target; `None` where it is damaged or gone.
    pub fn read(&self, name: &SnapshotId) -> Result<Option<Document>, RepositoryError> {
        readable(document::read(self.objects, self.repository, name))
    }
}

fn origin_of(
    objects: &Objects,
    repository: &str,
    name: &SnapshotId,
) -> Result<Option<CopiedFrom>, RepositoryError> {
    let document = readable(document::read(objects, repository, name))?;
    Ok(document.map(|document| document.origin(name)))
}

/// A damaged snapshot of the target is as good as none: copying it again mends it.
fn readable(read: Result<Document, RepositoryError>) -> Result<Option<Document>, RepositoryError> {
    match read {
        Ok(document) => Ok(Some(document)),
        Err(RepositoryError::NoSnapshot { .. }) => Ok(None),
        Err(error) if error.is_damage() => {
            tracing::warn!(%error, "the target cannot use this snapshot");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn time_of(name: &SnapshotId) -> &str {
    name.0.split_once('-').map_or("", |(time, _)| time)
}

/// Pure: those of `names`, which are sorted, in their order.
pub fn choose(names: &[SnapshotId], chosen: &Chosen) -> Vec<SnapshotId> {
    match chosen {
        Chosen::All => names.to_vec(),
        Chosen::Last(count) => names.iter().skip(names.len().saturating_sub(*count)).cloned().collect(),
        Chosen::Named(wanted) => names.iter().filter(|name| wanted.contains(name)).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_chosen_in_the_order_of_time() {
        let names: Vec<SnapshotId> = ["1-a", "2-b", "3-c"].map(|name| SnapshotId(name.into())).to_vec();
        let picked = |chosen: &Chosen| {
            choose(&names, chosen).into_iter().map(|name| name.0).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(picked(&Chosen::All), "1-a 2-b 3-c");
        assert_eq!(picked(&Chosen::Last(2)), "2-b 3-c");
        assert_eq!(picked(&Chosen::Last(9)), "1-a 2-b 3-c");
        assert_eq!(picked(&Chosen::Named(vec![names[2].clone(), names[0].clone()])), "1-a 3-c");
    }
}
