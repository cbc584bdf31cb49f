//! A volume with steps, and a server that behaves as a database with users does.
#![allow(dead_code, reason = "no test file uses all of it")]

mod downloads;
pub mod pod;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[allow(unused_imports, reason = "no test file uses all of it")]
pub use downloads::{Downloads, Item};

use super::support::{Lab, Layout};

/// A volume that has begun empty, with its repository.
pub fn begun() -> Lab {
    let lab = Lab::new(Layout::Subdirectory);
    lab.ok(&["repository", "init"]);
    lab.ok(&["init"]);
    lab
}

/// `$LAB` in `yaml` is the lab's own directory.
pub fn steps(lab: &mut Lab, yaml: &str) {
    let yaml = yaml.replace("$LAB", lab.path("").to_str().unwrap());
    lab.set("VOLKEEP_INIT_STEPS", yaml);
}

pub fn with_steps(mut lab: Lab, yaml: &str) -> Lab {
    steps(&mut lab, yaml);
    lab
}

/// What commands have noted in the file `order`, in one line.
pub fn order(lab: &Lab) -> String {
    let text = fs::read_to_string(lab.path("order")).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Heard {
    pub first_line: String,
    pub head: String,
    pub body: String,
}

/// Answers until the test is over.
pub struct Server {
    pub address: String,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Server {
    /// `answer` gets what was asked and how many requests came before, and says the status.
    pub fn new(answer: impl Fn(&Heard, usize) -> u16 + Send + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    pub fn on(listener: TcpListener, answer: impl Fn(&Heard, usize) -> u16 + Send + 'static) -> Self {
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // Whoever only looks whether somebody is there says nothing.
                let mut stream = stream.unwrap();
                let Some(request) = read(&mut stream) else { continue };
                let mut all = told.lock().unwrap();
                let status = answer(&request, all.len());
                all.push(request);
                drop(all);
                let said = format!("{{\"status\": {status}}}\n");
                let length = said.len();
                let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{said}");
                let _ = stream.write_all(text.as_bytes());
            }
        });
        Self { address, heard }
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub fn first_lines(&self) -> Vec<String> {
        self.heard().into_iter().map(|heard| heard.first_line).collect()
    }
}

fn read(stream: &mut TcpStream) -> Option<Heard> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                let first_line = head.lines().next().unwrap_or_default().to_owned();
                return Some(Heard { first_line, head: head.to_owned(), body: body.to_owned() });
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
