//! Somebody who writes to a database through its shell: one transaction a line goes in, its number comes out when it
//! is committed. Keeps when each was sent and answered.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::now;

#[derive(Debug)]
pub struct Session {
    log: PathBuf,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    transaction: String,
    /// The number of the transaction before the first of this session.
    before: u64,
    /// Instants, in nanoseconds since 1970, of one transaction after another.
    sent: Vec<u64>,
    answered: Vec<u64>,
    longest: Duration,
}

impl Session {
    /// What the shell says on stderr goes to the end of a file.
    pub fn open(command: &mut Command, transaction: String, before: u64, log: PathBuf) -> Self {
        let errors = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sent, answered, longest) = (Vec::new(), Vec::new(), Duration::ZERO);
        Self { log, child, input, output, transaction, before, sent, answered, longest }
    }

    /// One transaction, until it is committed.
    #[track_caller]
    pub fn step(&mut self) {
        let begun = Instant::now();
        self.send_many(1);
        self.receive();
        self.longest = self.longest.max(begun.elapsed());
    }

    /// Without waiting for answers.
    #[track_caller]
    pub fn send_many(&mut self, count: usize) {
        for _ in 0..count {
            // Before it is sent: whatever is copied earlier does not have it.
            self.sent.push(now());
            self.input.write_all(self.transaction.as_bytes()).unwrap();
        }
    }

    #[track_caller]
    pub fn receive(&mut self) {
        if !self.receive_if_any() {
            let said = std::fs::read_to_string(&self.log).unwrap();
            panic!("the database ended, after transaction {}:\n{said}", self.last_answered());
        }
    }

    /// After the death of the database.
    #[track_caller]
    pub fn receive_what_is_left(&mut self) {
        while self.receive_if_any() {}
        let _ = self.child.wait();
    }

    #[track_caller]
    fn receive_if_any(&mut self) -> bool {
        let mut line = String::new();
        if self.output.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            return false;
        }
        // It may have been committed long before, so an instant later than that is on the safe side.
        self.answered.push(now());
        assert_eq!(line.trim().parse(), Ok(self.last_answered()), "out of order");
        true
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn last_answered(&self) -> u64 {
        self.before + self.answered.len() as u64
    }

    /// The last that was known to be committed at this instant.
    pub fn answered_before(&self, instant: u64) -> u64 {
        self.before + self.answered.partition_point(|answered| *answered < instant) as u64
    }

    /// The last that could be committed at this instant.
    pub fn sent_before(&self, instant: u64) -> u64 {
        self.before + self.sent.partition_point(|sent| *sent < instant) as u64
    }

    /// How long a transaction took at most.
    pub fn longest(&self) -> Duration {
        self.longest
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.kill();
    }
}
