//! A conversation for tests: what the server will say is known before, and what it hears is kept.

use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::{Body, Conversation, packet};
use crate::repository::RepositoryError;

pub(super) struct Script {
    answer: Vec<u8>,
    heard: Sender<Vec<u8>>,
}

pub(super) struct Heard(Receiver<Vec<u8>>);

impl Script {
    pub(super) fn answering(answer: &[u8]) -> (Box<dyn Conversation>, Heard) {
        let (heard, hears) = channel();
        (Box::new(Self { answer: answer.to_vec(), heard }), Heard(hears))
    }
}

impl Heard {
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.try_iter().flatten().collect()
    }
}

impl Conversation for Script {
    fn location(&self) -> &str {
        "git+ssh://there/wiki.git"
    }

    fn exchange(
        self: Box<Self>,
        body: Body,
        answer: &mut dyn FnMut(&mut dyn Read) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let mut sent = body.head;
        if let Some(mut file) = body.file {
            std::io::Seek::rewind(&mut file).unwrap();
            file.read_to_end(&mut sent).unwrap();
        }
        // A test may not want to know.
        let _ = self.heard.send(sent);
        answer(&mut self.answer.as_slice())
    }
}

/// Lines as packets; an empty one stands for the end of a section.
pub(super) fn encoded(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        match *line {
            "" => packet::flush(&mut bytes),
            line => packet::line(&mut bytes, line, "there").unwrap(),
        }
    }
    bytes
}
