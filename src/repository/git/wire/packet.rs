//! Lines with their length in front, which is what git's protocol is made of, and the bands that share a
//! connection. Knows nothing of what the lines say. Whatever comes is an error at worst.

use std::io::{self, Read};

use super::said::{Said, clean};
use super::trouble;
use crate::repository::RepositoryError;

/// The longest packet there is, with the four bytes of its length.
const LONGEST: usize = 65_520;
const LENGTH: usize = 4;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    Data(&'a [u8]),
    /// Ends a section.
    Flush,
}

/// Reads no byte more than the packet it gives.
pub(super) struct Packets<'a> {
    source: &'a mut dyn Read,
    location: &'a str,
    buffer: Vec<u8>,
}

impl<'a> Packets<'a> {
    pub(super) fn new(source: &'a mut dyn Read, location: &'a str) -> Self {
        Self { source, location, buffer: Vec::new() }
    }

    pub(super) fn location(&self) -> &'a str {
        self.location
    }

    /// `None` when the stream ends between two packets.
    pub(super) fn next(&mut self) -> Result<Option<Packet<'_>>, RepositoryError> {
        let mut length = [0; LENGTH];
        match self.fill(&mut length)? {
            0 => Ok(None),
            LENGTH => self.body(length).map(Some),
            _ => Err(self.cut()),
        }
    }

    fn body(&mut self, length: [u8; LENGTH]) -> Result<Packet<'_>, RepositoryError> {
        let Some(total) = hexadecimal(&length) else { return Err(self.strange(&length)) };
        match total {
            0 => Ok(Packet::Flush),
            LENGTH..=LONGEST => {
                let mut buffer = std::mem::take(&mut self.buffer);
                buffer.resize(total - LENGTH, 0);
                let whole = self.fill(&mut buffer)? == buffer.len();
                self.buffer = buffer;
                if whole { Ok(Packet::Data(&self.buffer)) } else { Err(self.cut()) }
            }
            _ => Err(trouble::protocol(self.location, format!("a packet of {total} bytes came"))),
        }
    }

    /// As much as there is.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, RepositoryError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(trouble::temporary(self.location, error.to_string())),
            }
        }
        Ok(filled)
    }

    fn cut(&self) -> RepositoryError {
        trouble::temporary(self.location, "the answer ended in the middle")
    }

    /// Says how it begins: a login message, or the page of a web server.
    fn strange(&mut self, begin: &[u8]) -> RepositoryError {
        let mut heard = begin.to_vec();
        let mut more = [0; 160];
        let count = self.source.read(&mut more).unwrap_or(0);
        heard.extend(more.iter().take(count));
        let line: Vec<u8> = heard.into_iter().take_while(|byte| *byte != b'\n').collect();
        trouble::protocol(self.location, format!("this is no git protocol: `{}`", clean(&line)))
    }
}

fn hexadecimal(digits: &[u8; LENGTH]) -> Option<usize> {
    digits.iter().try_fold(0, |sum, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(sum * 16 + usize::try_from(value).ok()?)
    })
}

/// Without the end of the line, which is optional.
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// Appends a line. Longer ones than there are packets are an error, which a strange name of a reference may cause.
pub(super) fn line(to: &mut Vec<u8>, content: &str, location: &str) -> Result<(), RepositoryError> {
    let total = content.len() + LENGTH;
    if total > LONGEST {
        return Err(trouble::protocol(location, "a line of the request would be too long"));
    }
    to.extend_from_slice(format!("{total:04x}{content}").as_bytes());
    Ok(())
}

pub(super) fn flush(to: &mut Vec<u8>) {
    to.extend_from_slice(b"0000");
}

/// The bands of a connection: data, what the server says beside it, and how it gives up.
#[derive(Debug, Default)]
pub(super) struct Bands {
    pub(super) said: Said,
}

impl Bands {
    /// The data in a packet, empty when there is none in it.
    pub(super) fn sort<'a>(&mut self, packet: &'a [u8], location: &str) -> Result<&'a [u8], RepositoryError> {
        match packet.split_first() {
            Some((1, data)) => Ok(data),
            Some((2, words)) => {
                self.said.hear(words);
                Ok(&[])
            }
            Some((3, words)) => {
                self.said.hear(words);
                Err(trouble::refused(location, &self.said.text()))
            }
            None => Ok(&[]),
            // An error may come outside of all bands.
            Some(_) => match packet.strip_prefix(b"ERR ") {
                Some(words) => Err(trouble::refused(location, &clean(words))),
                None => Err(trouble::protocol(location, format!("a packet in no band: `{}`", clean(packet)))),
            },
        }
    }
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
