//! What restore fetchers do: ask the store for ranges, many at once, and hand what comes to the writers. Knows
//! nothing of what is in a range.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use crate::base::budget::Taken;
use crate::repository::packed::restore::plan::Range;
use crate::repository::packed::restore::write::{Job, Prepared, Shared};

/// One request, except where one frame is longer.
const LONGEST_RANGE: u64 = 8 << 20;
const SHORTEST_RANGE: u64 = 1 << 20;

/// How the memory is used for requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Bytes under way or fetched, and not yet written. The other half is for frames being decoded and for the
    /// manifest.
    pub budget: u64,
    /// Bytes of one request.
    pub longest: u64,
}

impl Shares {
    /// All connections are to be busy at once: on a store with latency nothing else is fast.
    pub fn of(memory: u64, connections: usize) -> Self {
        let budget = memory / 2;
        let longest = (budget / connections.max(1) as u64).clamp(SHORTEST_RANGE, LONGEST_RANGE);
        Self { budget, longest }
    }
}

/// The bytes of ranges, used again and again: fetched by one thread and freed by another, each thread's part of
/// the heap would keep room for the most it ever held.
#[derive(Debug)]
pub struct Buffers {
    /// Bytes each.
    length: usize,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    pub fn new(length: u64) -> Self {
        Self { length: usize::try_from(length).unwrap_or(usize::MAX), spare: Mutex::default() }
    }

    pub fn take(&self) -> Vec<u8> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(self.length))
    }

    /// One that had to grow for a long frame is let go.
    pub fn put_back(&self, buffer: Vec<u8>) {
        if buffer.capacity() <= self.length {
            self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}

/// A range to be fetched, with room for it in the budget.
#[derive(Debug)]
pub struct Wanted<'b> {
    pub prepared: Arc<Prepared>,
    pub range: Range,
    pub room: Taken<'b>,
}

pub fn fetch<'b>(shared: &Shared<'_>, ranges: &Receiver<Wanted<'b>>, jobs: &Sender<Job<'b>>) {
    for Wanted { prepared, range, room } in ranges {
        if shared.is_over() {
            shared.leave_out();
            continue;
        }
        let mut bytes = shared.buffers.take();
        match shared.objects.fetch_into(range.pack, range.offset, range.length, &mut bytes) {
            Ok(()) => {
                shared.fetched_bytes.fetch_add(range.length, Ordering::Relaxed);
                // No writer is left only if one panicked.
                drop(jobs.send(Job::Range(prepared, range, bytes, room)));
            }
            Err(error) => shared.fail(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_connections_are_busy_within_the_memory() {
        let mib = 1 << 20;
        assert_eq!(Shares::of(64 * mib, 16), Shares { budget: 32 * mib, longest: 2 * mib });
        assert_eq!(Shares::of(64 * mib, 1), Shares { budget: 32 * mib, longest: 8 * mib });
        assert_eq!(Shares::of(16 * mib, 256), Shares { budget: 8 * mib, longest: mib });
        assert_eq!(Shares::of(0, 0), Shares { budget: 0, longest: mib });
    }
}
