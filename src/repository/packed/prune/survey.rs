//! All packs and segments that are there, with size and age, by listing. The only table here that grows with the
//! repository: about 50 bytes a pack or segment.

use std::collections::HashMap;

use crate::base::hash::Hash;
use crate::base::timestamp::Timestamp;
use crate::repository::RepositoryError;
use crate::repository::packed::frame::{Frame, PackId};
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;

#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// In bytes.
    pub size: u64,
    /// Whole seconds, by the clock of the store.
    modified: i64,
}

impl Stored {
    pub fn modified(&self) -> Timestamp {
        Timestamp::new(self.modified, 0)
    }
}

#[derive(Debug, Default)]
pub struct Survey {
    pub packs: HashMap<PackId, Stored>,
    pub segments: HashMap<Hash, Stored>,
}

impl Survey {
    pub fn list(objects: &Objects) -> Result<Self, RepositoryError> {
        let mut survey = Self::default();
        objects.store.list(keys::PACKS, &mut |object| {
            let stored = Stored { size: object.size, modified: object.modified.seconds };
            survey.packs.extend(PackId::parse(object.key.name()).map(|id| (id, stored)));
            Ok(())
        })?;
        objects.store.list(keys::SEGMENTS, &mut |object| {
            let stored = Stored { size: object.size, modified: object.modified.seconds };
            survey.segments.extend(Hash::from_hex(object.key.name()).map(|id| (id, stored)));
            Ok(())
        })?;
        Ok(survey)
    }

    pub fn holds(&self, frame: &Frame) -> bool {
        self.packs.get(&frame.pack).is_some_and(|pack| frame.end() <= pack.size)
    }
}
