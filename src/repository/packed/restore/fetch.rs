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
/// Where memory is tight larger requests are better than more of them: as many bytes are under way, and few
/// frames are longer than a buffer, which costs memory beyond the budget.
const ENOUGH_AT_ONCE: usize = 8;

/// How the memory is used for requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Bytes under way or fetched, and not yet written. The other half is for frames being decoded and for the
    /// manifest.
    pub budget: u64,
    /// Bytes of one request.
    pub longest: u64,
    /// Requests at once.
    pub fetchers: usize,
}

impl Shares {
    /// Many requests are to be under way at once: on a store with latency nothing else is fast.
    pub fn of(memory: u64, connections: usize) -> Self {
        let budget = memory / 2;
        let at_once = connections.clamp(1, ENOUGH_AT_ONCE) as u64;
        let longest = (budget / at_once).clamp(SHORTEST_RANGE, LONGEST_RANGE);
        let buffers = usize::try_from(budget / longest).unwrap_or(usize::MAX);
        Self { budget, longest, fetchers: buffers.min(connections).max(1) }
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
    fn many_requests_are_under_way_within_the_memory() {
        let mib = 1 << 20;
        let of = |memory, connections| {
            let Shares { budget, longest, fetchers } = Shares::of(memory * mib, connections);
            (budget / mib, longest / mib, fetchers)
        };
        assert_eq!(of(64, 16), (32, 4, 8));
        assert_eq!(of(64, 4), (32, 8, 4));
        assert_eq!(of(64, 1), (32, 8, 1));
        assert_eq!(of(256, 16), (128, 8, 16));
        assert_eq!(of(16, 256), (8, 1, 8));
        assert_eq!(of(0, 0), (0, 1, 1));
    }
}
