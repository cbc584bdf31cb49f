//! A budget of bytes that threads share: who takes waits until there is room, in the order of asking. Must not
//! know what the bytes are for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub struct Budget {
    total: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: u64,
    /// The number of the next who asks, and of the one whose turn it is.
    next: u64,
    turn: u64,
    closed: bool,
}

/// Bytes that were taken. They are given back when this is dropped.
#[derive(Debug)]
pub struct Taken<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    pub fn new(total: u64) -> Self {
        Self { total, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits for room. Those who ask later wait behind, so that a large one is not starved by small ones; one
    /// larger than the whole budget waits until nothing else is taken. `None`: the budget was closed.
    pub fn take(&self, bytes: u64) -> Option<Taken<'_>> {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        let mut state = self
            .changed
            .wait_while(state, |state| {
                let fits = state.taken == 0 || state.taken.saturating_add(bytes) <= self.total;
                !state.closed && (state.turn != number || !fits)
            })
            .unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        state.turn += 1;
        state.taken = state.taken.saturating_add(bytes);
        drop(state);
        self.changed.notify_all();
        Some(Taken { budget: self, bytes })
    }

    /// Nothing is given out any more, and whoever waits is told.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.taken = state.taken.saturating_sub(self.bytes);
        drop(state);
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    /// Until `count` have asked: each of them either waits by then or has what it wanted.
    fn asked(budget: &Budget, count: u64) {
        while budget.lock().next < count {
            thread::yield_now();
        }
    }

    #[test]
    fn what_fits_is_given_at_once() {
        let budget = Budget::new(10);
        let first = budget.take(4).unwrap();
        let second = budget.take(6).unwrap();
        assert_eq!(budget.lock().taken, 10);
        drop((first, second));
        assert_eq!(budget.lock().taken, 0);
        assert_eq!(budget.take(1_000).unwrap().bytes, 1_000, "larger than all there is, but alone");
    }

    #[test]
    fn a_large_one_is_not_starved_by_small_ones_behind_it() {
        let budget = Budget::new(10);
        let held = budget.take(5).unwrap();
        let (told, order) = channel();
        thread::scope(|scope| {
            for (number, bytes) in [(0, 8), (1, 1)] {
                let (budget, told) = (&budget, told.clone());
                scope.spawn(move || {
                    let taken = budget.take(bytes).unwrap();
                    told.send((number, budget.lock().taken)).unwrap();
                    drop(taken);
                });
                asked(budget, 2 + number);
            }
            assert!(order.try_recv().is_err(), "the small one would fit, but it is not its turn");
            drop(held);
        });
        drop(told);
        let order: Vec<_> = order.iter().map(|(number, _)| number).collect();
        assert_eq!(order.len(), 2);
    }

    #[test]
    fn never_more_than_there_is() {
        let budget = Budget::new(7);
        thread::scope(|scope| {
            for number in 0..8u64 {
                let budget = &budget;
                scope.spawn(move || {
                    for round in 0..200 {
                        let taken = budget.take((number + round) % 7 + 1).unwrap();
                        assert!(budget.lock().taken <= 7);
                        drop(taken);
                    }
                });
            }
        });
        assert_eq!(budget.lock().taken, 0);
    }

    #[test]
    fn closing_wakes_all_who_wait() {
        let budget = Budget::new(1);
        let held = budget.take(1);
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| budget.take(1).is_none())).collect();
            asked(&budget, 4);
            budget.close();
            assert!(waiting.into_iter().all(|thread| thread.join().unwrap()));
        });
        drop(held);
        assert!(budget.take(0).is_none());
    }
}
