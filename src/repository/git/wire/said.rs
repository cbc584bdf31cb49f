//! What a server says for people to read: taken line by line, without control characters, and only the last of it
//! kept. Knows nothing of what it means.

use std::collections::VecDeque;

/// Enough for the reason that a hook or a host gives.
const LINES: usize = 12;
/// Of a line, in characters.
const LONGEST: usize = 300;

#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    lines: VecDeque<String>,
    begun: Vec<u8>,
    /// The line was ended in a way that lets it be overwritten.
    returned: bool,
}

impl Said {
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            // Progress is overwritten by what comes next, unless that is the end of the line.
            if std::mem::take(&mut self.returned) && byte != b'\n' {
                self.begun.clear();
            }
            match byte {
                b'\r' => self.returned = true,
                b'\n' => self.end_line(),
                // Four bytes a character at most; more of a line is not shown.
                _ if self.begun.len() < 4 * LONGEST => self.begun.push(byte),
                _ => {}
            }
        }
    }

    /// All that is kept, in one line; empty when nothing was said.
    pub(super) fn text(&self) -> String {
        let mut whole = self.clone();
        whole.end_line();
        Vec::from(whole.lines).join("; ")
    }

    fn end_line(&mut self) {
        let line = clean(&self.begun);
        self.begun.clear();
        if line.is_empty() {
            return;
        }
        tracing::debug!(line, "the git server says");
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// Fit for a message: without control characters, and not too long.
pub(super) fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text
        .chars()
        .map(|sign| if sign == '\t' { ' ' } else { sign })
        .filter(|sign| !sign.is_control())
        .take(LONGEST)
        .collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_without_what_controls_a_terminal() {
        let mut said = Said::default();
        said.hear(b"Counting: 10%\rCounting: 100%\rdone\nerror: \x1b[31mno\x07 room\x1b[0m");
        assert_eq!(said.text(), "done; error: [31mno room[0m");
        said.hear(b" at all\r");
        said.hear(b"\n\r\n");
        assert_eq!(said.text(), "done; error: [31mno room[0m at all");
        for number in 0..100 {
            said.hear(format!("{number}\n").as_bytes());
        }
        assert!(said.text().starts_with("88; 89") && said.text().ends_with("; 99"), "{}", said.text());
        said.hear(&vec![b'x'; 1 << 20]);
        assert!(said.text().len() < 400);
    }
}
