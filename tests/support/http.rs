//! As much of HTTP/1.1 as it takes to know where a message begins and ends.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::proxy::Pass;

/// The first line and the fields of a message, with the empty line that ends them.
pub struct Head {
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Length(u64),
    Chunked,
    UntilTheEnd,
}

impl Head {
    pub fn method(&self) -> &str {
        self.text.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.text.split(' ').nth(1).unwrap_or_default()
    }

    pub fn status(&self) -> u16 {
        self.target().parse().unwrap_or(0)
    }

    pub fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    pub fn has(&self, name: &str, value: &str) -> bool {
        self.field(name).is_some_and(|found| found.to_ascii_lowercase().contains(value))
    }

    pub fn body(&self) -> Body {
        if self.has("transfer-encoding", "chunked") {
            return Body::Chunked;
        }
        Body::Length(self.field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0))
    }

    pub fn body_of_answer_to(&self, method: &str) -> Body {
        if method == "HEAD" || matches!(self.status(), 204 | 304) {
            return Body::Length(0);
        }
        match self.body() {
            Body::Length(_) if self.field("content-length").is_none() => Body::UntilTheEnd,
            body => body,
        }
    }

    /// Announces this length, whatever was announced before.
    pub fn set_length(&mut self, length: u64) {
        let other = |line: &&str| {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            !matches!(name.as_str(), "content-length" | "transfer-encoding")
        };
        let lines = self.text.trim_end().split("\r\n").filter(other).map(|line| format!("{line}\r\n"));
        self.text = lines.collect::<String>() + &format!("Content-Length: {length}\r\n\r\n");
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.text
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

/// One side of a connection, with what was read too early.
pub struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Reader {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// `None` when the other side has ended the connection between two messages.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let text: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return match String::from_utf8(text) {
                    Ok(text) => Ok(Some(Head { text })),
                    Err(_) => Err(io::ErrorKind::InvalidData.into()),
                };
            }
            if !self.fill()? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    pub fn answer_head(&mut self) -> io::Result<Head> {
        self.head()?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Hands on one body, framing included. `pass` sees the content; of a chunked one, the framing too.
    pub fn copy(&mut self, body: Body, to: &mut dyn Write, pass: &mut Pass<'_>) -> io::Result<()> {
        match body {
            Body::Length(length) => self.copy_length(length, to, pass),
            Body::Chunked => loop {
                let line = self.line()?;
                let size = chunk_size(&line)?;
                to.write_all(&line)?;
                if size > 0 {
                    self.copy_length(size + 2, to, pass)?;
                    continue;
                }
                loop {
                    let line = self.line()?;
                    to.write_all(&line)?;
                    if line == b"\r\n" {
                        return Ok(());
                    }
                }
            },
            Body::UntilTheEnd => {
                while !self.buffer.is_empty() || self.fill()? {
                    pass.hand(&std::mem::take(&mut self.buffer), to)?;
                }
                Ok(())
            }
        }
    }

    /// The content of one body, without the framing.
    pub fn content(&mut self, body: Body) -> io::Result<Vec<u8>> {
        let mut raw = Vec::new();
        self.copy(body, &mut raw, &mut Pass::default())?;
        if body != Body::Chunked {
            return Ok(raw);
        }
        let mut content = Vec::new();
        let mut rest = raw.as_slice();
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n').ok_or(io::ErrorKind::InvalidData)?;
            let size = chunk_size(&rest[..end])? as usize;
            if size == 0 {
                return Ok(content);
            }
            content.extend_from_slice(&rest[end + 1..end + 1 + size]);
            rest = &rest[end + 1 + size + 2..];
        }
    }

    fn copy_length(&mut self, mut left: u64, to: &mut dyn Write, pass: &mut Pass<'_>) -> io::Result<()> {
        while left > 0 {
            if self.buffer.is_empty() && !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let length = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let piece: Vec<u8> = self.buffer.drain(..length).collect();
            pass.hand(&piece, to)?;
            left -= length as u64;
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                return Ok(self.buffer.drain(..=end).collect());
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Whether anything came.
    fn fill(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 64 << 10];
        let length = self.stream.read(&mut bytes)?;
        self.buffer.extend_from_slice(&bytes[..length]);
        Ok(length > 0)
    }
}

/// From the line before a chunk.
fn chunk_size(line: &[u8]) -> io::Result<u64> {
    let text = String::from_utf8_lossy(line);
    let digits = text.split([';', '\r']).next().unwrap_or_default().trim();
    u64::from_str_radix(digits, 16).map_err(|_| io::ErrorKind::InvalidData.into())
}
