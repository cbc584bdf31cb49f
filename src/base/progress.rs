//! Counters that work raises and somebody else shows. Knows no terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    entries: AtomicU64,
    total_entries: AtomicU64,
    bytes: AtomicU64,
    total_bytes: AtomicU64,
}

/// Totals are 0 while they are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub entries: u64,
    pub total_entries: u64,
    pub bytes: u64,
    pub total_bytes: u64,
}

impl Progress {
    pub fn expect(&self, entries: u64, bytes: u64) {
        self.0.total_entries.store(entries, Ordering::Relaxed);
        self.0.total_bytes.store(bytes, Ordering::Relaxed);
    }

    pub fn add(&self, entries: u64, bytes: u64) {
        self.0.entries.fetch_add(entries, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn shown(&self) -> Shown {
        Shown {
            entries: self.0.entries.load(Ordering::Relaxed),
            total_entries: self.0.total_entries.load(Ordering::Relaxed),
            bytes: self.0.bytes.load(Ordering::Relaxed),
            total_bytes: self.0.total_bytes.load(Ordering::Relaxed),
        }
    }
}
