//! Sends notices one after another on a thread of its own. Whoever has something to tell never waits: when too
//! many are waiting already, the new one is dropped and counted.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::pause::pause;
use crate::base::timestamp::Timestamp;
use crate::sidecar::notify::decide::{self, REPEAT};
use crate::sidecar::notify::{About, Deliver, Event, Message, Notice, Target};
use crate::sidecar::record::Record;
use crate::sidecar::status::NoticeCounts;

/// Some hours of trouble with every job.
const LONGEST_QUEUE: usize = 64;
/// Before the second, the third and the fourth attempt.
const PAUSES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(30)];

/// Tells the targets. When it is dropped, the thread ends after what it is at.
#[derive(Debug)]
pub struct Notifier {
    targets: RwLock<Arc<[Arc<Target>]>>,
    queue: SyncSender<Envelope>,
    counts: Arc<Counts>,
    clock: Arc<dyn Clock>,
    cancel: Cancel,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

#[derive(Debug)]
struct Envelope {
    target: Arc<Target>,
    message: Message,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Notifier {
    pub fn start(
        targets: Vec<Target>,
        about: About,
        clock: Arc<dyn Clock>,
        deliver: Arc<dyn Deliver>,
    ) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(LONGEST_QUEUE);
        let (ending, ended) = channel::<()>();
        let counts = Arc::new(Counts::default());
        let cancel = Cancel::new();
        let worker = Worker {
            about,
            deliver,
            counts: Arc::clone(&counts),
            clock: Arc::clone(&clock),
            cancel: cancel.clone(),
        };
        thread::Builder::new().name("notices".to_owned()).spawn(move || {
            // Goes when the thread ends, whatever way.
            let _ending = ending;
            worker.run(&waiting);
        })?;
        let targets = RwLock::new(shared(targets));
        Ok(Self { targets, queue, counts, clock, cancel, ended })
    }

    /// For a new configuration. What waits already goes where it was meant to go.
    pub fn retarget(&self, targets: Vec<Target>) {
        *self.targets.write().unwrap_or_else(PoisonError::into_inner) = shared(targets);
    }

    pub fn begun(&self, job: &str) {
        self.tell(&Message::Begun { job: job.to_owned() });
    }

    /// For a record that has counted the run that just ended. What is told is noted in it, so it is to be saved
    /// after this. `success_before`: when the last success before this run began.
    pub fn ended(&self, job: &str, record: &mut Record, success_before: Option<Timestamp>) {
        let Some(run) = record.last.clone() else { return };
        let event = decide::after_run(record, self.clock.now(), REPEAT);
        self.tell(&Message::Ended { job: job.to_owned(), run: run.clone() });
        if let Some(event) = event {
            let notice = Notice { run: Some(run), ..self.notice(event, job, record) };
            self.tell(&Message::Notice(Notice { last_success: success_before, ..notice }));
        }
    }

    /// To be called now and then for each job of which a success is expected. `since`: what counts as long as there
    /// was none. True when it was told now: then the record is to be saved.
    pub fn look(&self, job: &str, record: &mut Record, since: Timestamp, max_age: Duration) -> bool {
        let Some(event) = decide::silent(record, since, max_age, self.clock.now()) else { return false };
        self.tell(&Message::Notice(Notice { max_age: Some(max_age), ..self.notice(event, job, record) }));
        true
    }

    pub fn counts(&self) -> NoticeCounts {
        let Counts { sent, failed, dropped } = &*self.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        NoticeCounts { sent: read(sent), failed: read(failed), dropped: read(dropped) }
    }

    /// Waits until everything is sent, but not longer than this; what is under way then is given up.
    pub fn finish(self, within: Duration) {
        drop(self.queue);
        if self.ended.recv_timeout(within) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("some notices are not sent: there is no time left");
            self.cancel.cancel();
        }
    }

    fn notice(&self, event: Event, job: &str, record: &Record) -> Notice {
        Notice {
            event,
            job: job.to_owned(),
            time: self.clock.now(),
            run: None,
            consecutive_failures: record.consecutive_failures,
            last_success: record.last_success.as_ref().map(|run| run.started),
            max_age: None,
        }
    }

    fn tell(&self, message: &Message) {
        let targets = Arc::clone(&self.targets.read().unwrap_or_else(PoisonError::into_inner));
        for target in targets.iter().filter(|target| target.wants(message)) {
            let envelope = Envelope { target: Arc::clone(target), message: message.clone() };
            if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.queue.try_send(envelope)
            {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(job = message.job(), to = %target.kind, "too many notices wait; one is dropped");
            }
        }
    }
}

fn shared(targets: Vec<Target>) -> Arc<[Arc<Target>]> {
    targets.into_iter().map(Arc::new).collect()
}

struct Worker {
    about: About,
    deliver: Arc<dyn Deliver>,
    counts: Arc<Counts>,
    clock: Arc<dyn Clock>,
    cancel: Cancel,
}

impl Worker {
    fn run(&self, waiting: &Receiver<Envelope>) {
        for envelope in waiting {
            self.send(&envelope);
        }
    }

    fn send(&self, Envelope { target, message }: &Envelope) {
        let mut pauses = PAUSES.iter();
        loop {
            if self.cancel.is_cancelled() {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let Err(trouble) = self.deliver.deliver(target, message, &self.about, &self.cancel) else {
                self.counts.sent.fetch_add(1, Ordering::Relaxed);
                return;
            };
            match pauses.next().filter(|_| trouble.is_retryable()) {
                Some(length) => {
                    tracing::debug!(to = %target.kind, error = %trouble, "a notice is tried again");
                    pause(&*self.clock, &self.cancel, *length);
                }
                None => {
                    self.counts.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(
                        job = message.job(), to = %target.kind, error = %trouble, "a notice was not sent"
                    );
                    return;
                }
            }
        }
    }
}
