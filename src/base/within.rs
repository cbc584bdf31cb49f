//! Asks something that may hang, for a limited time. Knows nothing of what is asked.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The answer of `work`, or `None` when it takes longer than `limit`. Then its thread is left behind and ends with
/// the process: a file system or server that hangs must not hold up whoever can go on without the answer.
pub fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || drop(sender.send(work())));
    receiver.recv_timeout(limit).ok()
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
}
