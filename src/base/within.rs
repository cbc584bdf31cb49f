//! Asks something that may hang, for a limited time. Knows nothing of what is asked.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The answer of `work`, or `None` when it takes longer than `limit`. Then its thread is left behind and ends with
/// the process: a file system or server that hangs must not hold up whoever can go on without the answer.
pub fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || drop(sender.send(work())));
    receiver.recv_timeout(limit).ok()
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
    fn one_that_hangs_holds_up_no_other() {
        let (_never, forever) = mpsc::channel::<()>();
        let hangs: Box<dyn FnOnce() -> bool + Send> = Box::new(move || forever.recv().is_ok());
        let answers = each_within(Duration::from_millis(200), [hangs, Box::new(|| true)]);
        assert_eq!(answers, [None, Some(true)]);
        let quick = [|| 1, || 2];
        assert_eq!(each_within(Duration::from_secs(60), quick), [Some(1), Some(2)]);
    }
}
