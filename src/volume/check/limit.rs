//! The time that a check may take, and reading within it. Knows nothing of what is read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Verdict;
use crate::base::within::within;

const PIECE: usize = 256 << 10;
/// For a check that notices by itself that its time is over, so that what it has found until then counts.
const SLACK: Duration = Duration::from_millis(500);
/// Findings of one check that are named.
const NAMED: usize = 10;

#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    started: Instant,
    span: Duration,
}

/// What `work` says, or that it could not tell in time. A file system that hangs holds up nobody: the thread is left
/// behind.
pub(super) fn limited(span: Duration, work: impl FnOnce(&Limit) -> Verdict + Send + 'static) -> Verdict {
    let limit = Limit { started: Instant::now(), span };
    within(span.saturating_add(SLACK), move || work(&limit))
        .unwrap_or_else(|| Verdict::Unknown(limit.exceeded().to_string()))
}

impl Limit {
    pub(super) fn is_over(&self) -> bool {
        self.started.elapsed() >= self.span
    }

    pub(super) fn check(&self) -> io::Result<()> {
        if self.is_over() { Err(self.exceeded()) } else { Ok(()) }
    }

    fn exceeded(&self) -> io::Error {
        let message = format!("it was not done within {} s", self.span.as_secs_f32());
        io::Error::new(io::ErrorKind::TimedOut, message)
    }

    /// Hands on up to `most` bytes, piece by piece; how many there were.
    pub(super) fn stream(
        &self,
        source: &mut dyn Read,
        most: u64,
        take: &mut dyn FnMut(&[u8]),
    ) -> io::Result<u64> {
        let mut piece = vec![0; PIECE];
        let mut done = 0;
        while done < most {
            self.check()?;
            let room = usize::try_from(most - done).unwrap_or(PIECE).min(PIECE);
            let count = match source.read(piece.get_mut(..room).unwrap_or_default()) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            take(piece.get(..count).unwrap_or_default());
            done += count as u64;
        }
        Ok(done)
    }
}

/// Opening a pipe would wait for ever, so what is no file is not opened.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other(format!("{} is not a file", path.display())));
    }
    File::open(path)
}

/// The first bytes of a file, at most `most`.
pub(super) fn read_start(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a check has come upon so far. Damage outweighs what does not fit, and that what cannot be told.
#[derive(Debug, Default)]
pub(super) struct Tally {
    damage: Vec<String>,
    unknown: Vec<String>,
    unfit: Option<String>,
}

impl Tally {
    pub(super) fn damaged(&mut self, message: impl Into<String>) {
        self.damage.push(message.into());
    }

    pub(super) fn unknown(&mut self, reason: impl Into<String>) {
        // There may be one for each of a million files.
        if self.unknown.len() <= NAMED {
            self.unknown.push(reason.into());
        }
    }

    pub(super) fn unfit(&mut self, message: String) {
        self.unfit = Some(message);
    }

    pub(super) fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Good => {}
            Verdict::Damaged(message) => self.damaged(message),
            Verdict::Unknown(reason) => self.unknown(reason),
            Verdict::Unfit(message) => self.unfit(message),
        }
    }

    /// More would say nothing more.
    pub(super) fn is_full(&self) -> bool {
        self.damage.len() >= NAMED
    }

    pub(super) fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }

    pub(super) fn verdict(self) -> Verdict {
        match (self.damage.is_empty(), self.unfit, self.unknown.is_empty()) {
            (false, ..) => Verdict::Damaged(in_one(&self.damage)),
            (true, Some(message), _) => Verdict::Unfit(message),
            (true, None, false) => Verdict::Unknown(in_one(&self.unknown)),
            (true, None, true) => Verdict::Good,
        }
    }
}

fn in_one(messages: &[String]) -> String {
    let named: Vec<&str> = messages.iter().take(NAMED).map(String::as_str).collect();
    let more = if messages.len() > NAMED { ", and more" } else { "" };
    named.join("; ") + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_not_waited_for() {
        let (_never, forever) = std::sync::mpsc::channel::<()>();
        let verdict = limited(Duration::ZERO, move |_| {
            let _ = forever.recv();
            Verdict::Good
        });
        assert!(matches!(verdict, Verdict::Unknown(reason) if reason.contains("not done within")));
        let limit = Limit { started: Instant::now(), span: Duration::ZERO };
        let read = limit.stream(&mut [0u8; 10].as_slice(), 10, &mut |_| ());
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn damage_outweighs_all_else() {
        let mut tally = Tally::default();
        assert!(matches!(Tally::default().verdict(), Verdict::Good));
        tally.unknown("u");
        tally.unfit("f".to_owned());
        tally.damaged("d");
        assert!(matches!(tally.verdict(), Verdict::Damaged(text) if text == "d"));
        let mut tally = Tally::default();
        (0..30).for_each(|number| tally.unknown(number.to_string()));
        assert!(
            matches!(tally.verdict(), Verdict::Unknown(text) if text.starts_with("0; 1;") && text.ends_with("and more"))
        );
    }
}
