//! Asks something that may hang, for a limited time. Knows nothing of what is asked.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::cancel::Cancel;

/// How late a wish to stop may be noticed.
const SLICE: Duration = Duration::from_millis(100);

/// The answer of `work`, or `None` when it takes longer than `limit`. Then its thread is left behind and ends with
/// the process: a file system or server that hangs must not hold up whoever can go on without the answer.
pub fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || drop(sender.send(work())));
    receiver.recv_timeout(limit).ok()
}

/// As `within`, and `None` as well soon after somebody wants to stop.
pub fn within_unless<T: Send + 'static>(
    limit: Duration,
    cancel: &Cancel,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || drop(sender.send(work())));
    let started = Instant::now();
    loop {
        let left = limit.saturating_sub(started.elapsed());
        match receiver.recv_timeout(left.min(SLICE)) {
            Ok(answer) => return Some(answer),
            Err(mpsc::RecvTimeoutError::Timeout) if !left.is_zero() && !cancel.is_cancelled() => {}
            Err(_) => return None,
        }
    }
}

/// As `within`, for several at the same time: one that hangs holds up none of the others. Answers in the order of
/// `works`.
pub fn each_within<T, W>(limit: Duration, works: impl IntoIterator<Item = W>) -> Vec<Option<T>>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    let (sender, receiver) = mpsc::channel();
    let mut answers = Vec::new();
    for (number, work) in works.into_iter().enumerate() {
        answers.push(None);
        let sender = sender.clone();
        thread::spawn(move || drop(sender.send((number, work()))));
    }
    // The last answer closes the channel.
    drop(sender);
    let started = Instant::now();
    while let Ok((number, answer)) = receiver.recv_timeout(limit.saturating_sub(started.elapsed())) {
        if let Some(place) = answers.get_mut(number) {
            *place = Some(answer);
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_time_is_given_and_no_other_is_waited_for() {
        assert_eq!(within(Duration::from_secs(60), || 7), Some(7));
        let (_never, forever) = mpsc::channel::<()>();
        assert_eq!(within(Duration::from_millis(1), move || forever.recv().is_ok()), None);
    }

    #[test]
    fn a_wish_to_stop_ends_the_wait() {
        let cancel = Cancel::new();
        assert_eq!(within_unless(Duration::from_secs(60), &cancel, || 7), Some(7));
        let (_never, forever) = mpsc::channel::<()>();
        assert_eq!(within_unless(Duration::from_millis(1), &cancel, move || forever.recv().is_ok()), None);
        cancel.cancel();
        let (_never, forever) = mpsc::channel::<()>();
        assert_eq!(within_unless(Duration::from_secs(3600), &cancel, move || forever.recv().is_ok()), None);
    }

    #[test]
    fn one_that_hangs_holds_up_no_other() {
        let (_never, forever) = mpsc::channel::<()>();
        let hangs: Box<dyn FnOnce() -> bool + Send> = Box::new(move || forever.recv().is_ok());
        let answers = each_within(Duration::from_millis(200), [hangs, Box::new(|| true)]);
        assert_eq!(answers, [None, Some(true)]);
        let quick = [|| 1, || 2];
        assert_eq!(each_within(Duration::from_secs(60), quick), [Some(1), Some(2)]);
    }
}
