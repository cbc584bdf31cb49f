//! Stores some chunks of a large file anew which did not change, because their packs are to be emptied: only these
//! chunks are read, and each is believed only if it is what the parent has.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use crate::base::hash::Hash;
use crate::repository::RepositoryError;
use crate::repository::packed::backup::job::Outcome;
use crate::repository::packed::backup::links::Content;
use crate::repository::packed::backup::movable;
use crate::repository::packed::backup::pipeline::{Pipeline, Trouble, UnderWay};
use crate::repository::packed::backup::stream::Stream;
use crate::repository::packed::frame::Piece;
use crate::repository::packed::manifest::Slot;
use crate::repository::scan::is_same;
use crate::snapshot::{Entry, Kind};
use crate::tree::holes::data_between;
use crate::tree::{Found, Stat};

enum Seen {
    /// All that was read is what it was.
    Same,
    /// Some of it is not, although size and times are the same.
    Differs,
    /// The file changed since the walk came by.
    Changed,
}

impl Pipeline<'_, '_> {
    /// `kept` is what the parent has of the file at `found`.
    pub fn elsewhere(
        &mut self,
        slot: Slot,
        found: &Found,
        kept: Content,
        fixed: bool,
    ) -> Result<(), RepositoryError> {
        let file = self.begin_large();
        let seen = match self.read_chunks(file, found, &kept) {
            Ok(seen) => seen,
            Err(Trouble::Ours(error)) => return Err(error),
            Err(Trouble::File(error)) => {
                self.under_way.push_back(UnderWay::Discard { file });
                let outcome = match error.kind() {
                    ErrorKind::NotFound => Outcome::Vanished,
                    _ => Outcome::Failed(error.to_string()),
                };
                return self.stays(slot, found, kept, &outcome);
            }
        };
        match seen {
            Seen::Changed => {
                self.under_way.push_back(UnderWay::Discard { file });
                let stream = self.shared.rhythm.of_changed(kept.entry.mtime, found.stat.mtime);
                return self.large(slot, found, fixed, stream);
            }
            Seen::Differs => self.tell_of(found, &Outcome::Differs),
            Seen::Same => {}
        }
        self.under_way.push_back(UnderWay::End { file, slot, read: Box::new((kept.entry, kept.stat)) });
        self.make_room(0)
    }

    fn read_chunks(&mut self, file: u64, found: &Found, kept: &Content) -> Result<Seen, Trouble> {
        let open: File = self.reader.open(&found.path).map_err(Trouble::tree)?;
        let before = Stat::of(&open).map_err(Trouble::errno)?;
        if before.inode != kept.stat.inode || !is_same(&before, &found.stat) {
            return Ok(Seen::Changed);
        }
        self.shared.files_read.fetch_add(1, Ordering::Relaxed);
        let mut seen = Seen::Same;
        for (piece, offset) in kept.pieces.iter().zip(places(&kept.entry, &kept.pieces)) {
            let moves = self.shared.emptied.contains(&piece.frame.pack)
                && movable::may_move(false, &piece.frame, piece.skip, piece.length);
            let Some(offset) = offset.filter(|_| moves) else {
                self.under_way.push_back(UnderWay::Piece { file, piece: *piece });
                continue;
            };
            if self.shared.cancel.is_cancelled() {
                return Err(Trouble::Ours(RepositoryError::Cancelled));
            }
            let mut data = vec![0; piece.length as usize];
            match open.read_exact_at(&mut data, offset) {
                // It became shorter just now.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Seen::Changed),
                other => other?,
            }
            self.shared.bytes_read.fetch_add(data.len() as u64, Ordering::Relaxed);
            if Hash::of(&data) == piece.frame.hash {
                self.submit_chunk(file, data, Stream::Moved).map_err(Trouble::Ours)?;
            } else {
                seen = Seen::Differs;
                self.under_way.push_back(UnderWay::Piece { file, piece: *piece });
            }
        }
        let after = Stat::of(&open).map_err(Trouble::errno)?;
        Ok(if is_same(&before, &after) { seen } else { Seen::Changed })
    }
}

/// Where in the file each piece begins. `None` from the first one on that reaches over a hole, as only manifests by
/// others have them.
fn places(entry: &Entry, pieces: &[Piece]) -> Vec<Option<u64>> {
    let Kind::File { size, holes, .. } = &entry.kind else { return vec![None; pieces.len()] };
    let mut runs = data_between(holes, *size).into_iter();
    let (mut at, mut left) = (0, 0);
    let mut regular = true;
    let place = pieces.iter().map(|piece| {
        if left == 0 {
            (at, left) = runs.next().unwrap_or_default();
        }
        let length = u64::from(piece.length);
        regular &= length <= left;
        if !regular {
            return None;
        }
        let begins = at;
        at += length;
        left -= length;
        Some(begins)
    });
    place.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::timestamp::Timestamp;
    use crate::repository::packed::frame::{Frame, PackId};
    use crate::snapshot::{Hole, RelativePath};

    #[test]
    fn pieces_lie_between_the_holes() {
        let of = |size, holes: &[(u64, u64)], lengths: &[u32]| {
            let holes =
                holes.iter().map(|(offset, length)| Hole { offset: *offset, length: *length }).collect();
            let entry = Entry {
                path: RelativePath::new("a").unwrap(),
                kind: Kind::File { size, hash: Hash::of(b""), holes, extents: Vec::new() },
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: Timestamp::default(),
                attributes: Vec::new(),
                hard_link: None,
            };
            let pack = PackId::random().unwrap();
            let whole = |plain: &u32| {
                Frame { pack, offset: 0, stored: 1, plain: *plain, hash: Hash::of(b"") }.whole()
            };
            let pieces: Vec<Piece> = lengths.iter().map(whole).collect();
            places(&entry, &pieces)
        };
        assert_eq!(of(30, &[], &[10, 20]), [Some(0), Some(10)]);
        assert_eq!(of(50, &[(0, 10), (20, 10)], &[10, 5, 15]), [Some(10), Some(30), Some(35)]);
        assert_eq!(of(50, &[(20, 10)], &[10, 15, 15]), [Some(0), None, None]);
        assert_eq!(of(5, &[], &[10]), [None]);
        assert_eq!(of(0, &[], &[1]), [None]);
    }
}
