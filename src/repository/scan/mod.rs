//! What backups of every kind ask of a volume: whether a file held still, whether it changed, what could not be read.
//! Knows nothing of how anything is stored.

mod problems;
mod settle;
mod stat_row;

pub use problems::Problems;
pub use settle::settle;
pub use stat_row::StatRow;

use crate::tree::Stat;

/// Whether nothing was written between two looks, as far as times can tell.
pub fn is_same(before: &Stat, after: &Stat) -> bool {
    before.size == after.size && before.mtime == after.mtime && before.ctime == after.ctime
}
