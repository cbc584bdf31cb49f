//! What a command says: split into lines that are safe to print, with the last of it kept. Memory is bounded,
//! whatever the command does. Knows nothing of processes.

use std::io::{ErrorKind, Read};

/// How much of the end is kept for messages.
const TAIL_KEPT: usize = 64 * 1024;
/// A longer line is cut; the rest of it is dropped.
const LONGEST_LINE: usize = 8 * 1024;
/// So that a command that never stops talking does not keep its caller from looking at the clock.
const READS_IN_A_ROW: u32 = 64;

#[derive(Debug, Default)]
pub(super) struct Output {
    line: Vec<u8>,
    /// The line was longer than is kept.
    cut: bool,
    tail: Vec<u8>,
}

impl Output {
    /// Takes what is there now out of a pipe that does not block. Whether it has ended.
    pub(super) fn read(&mut self, pipe: &mut impl Read, each_line: &mut dyn FnMut(&str)) -> bool {
        let mut buffer = [0u8; 8192];
        for _ in 0..READS_IN_A_ROW {
            match pipe.read(&mut buffer) {
                Ok(0) => return true,
                Ok(count) => self.take(buffer.get(..count).unwrap_or_default(), each_line),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
        }
        false
    }

    /// The last line, if it did not end.
    pub(super) fn finish(&mut self, each_line: &mut dyn FnMut(&str)) {
        if !self.line.is_empty() {
            self.hand_on(each_line);
        }
    }

    pub(super) fn into_tail(mut self) -> String {
        self.shorten_tail();
        String::from_utf8_lossy(&self.tail).trim_end().to_owned()
    }

    fn take(&mut self, bytes: &[u8], each_line: &mut dyn FnMut(&str)) {
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * TAIL_KEPT {
            self.shorten_tail();
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n");
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            let more = text.unwrap_or(part);
            self.cut |= more.len() > room;
            self.line.extend(more.iter().take(room));
            if text.is_some() {
                self.hand_on(each_line);
            }
        }
    }

    fn hand_on(&mut self, each_line: &mut dyn FnMut(&str)) {
        let mut text = printable(&std::mem::take(&mut self.line));
        if std::mem::take(&mut self.cut) {
            text.push('…');
        }
        each_line(&text);
    }

    fn shorten_tail(&mut self) {
        let over = self.tail.len().saturating_sub(TAIL_KEPT);
        self.tail.drain(..over);
    }
}

/// A terminal that shows a log must not be told what to do by what is in it.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches('\r');
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> (Vec<String>, String) {
        let mut output = Output::default();
        let mut found = Vec::new();
        for piece in pieces {
            output.take(piece, &mut |line| found.push(line.to_owned()));
        }
        output.finish(&mut |line| found.push(line.to_owned()));
        (found, output.into_tail())
    }

    #[test]
    fn lines_are_put_together_again() {
        let (found, tail) = lines(&[b"one\ntw", b"o\r\n", b"\nfour"]);
        assert_eq!(found, ["one", "two", "", "four"]);
        assert_eq!(tail, "one\ntwo\r\n\nfour");
    }

    #[test]
    fn what_cannot_be_printed_is_made_printable() {
        let (found, _) = lines(&[b"caf\xe9\t\x1b[31mred\n"]);
        assert_eq!(found, ["caf\u{fffd}\t\u{fffd}[31mred"]);
    }

    #[test]
    fn memory_is_bounded() {
        let (found, tail) = lines(&[&[b'x'; 3 * TAIL_KEPT], b"\nlast"]);
        assert_eq!(found.iter().map(|line| line.chars().count()).collect::<Vec<_>>(), [LONGEST_LINE + 1, 4]);
        assert!(found[0].ends_with('…'));
        assert!(tail.len() == TAIL_KEPT && tail.ends_with("x\nlast"));
    }
}
