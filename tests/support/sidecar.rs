//! A sidecar of the built binary: started beside a volume, looked at through its socket, told to end, killed. A test
//! waits for what the sidecar shows or says, with a deadline.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use volkeep::sidecar::web::socket;

use super::lab::Lab;
use super::process::shell;

/// Nothing that is waited for here takes so long, were it to happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a line of the log is waited for before the sidecar is looked at again.
const LOOK: Duration = Duration::from_millis(50);

pub struct Sidecar {
    child: RefCell<Child>,
    log: Arc<Log>,
    state_dir: PathBuf,
}

/// All that it has said so far.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Lab {
    /// Writes the configuration: of `sidecar` and `jobs` what is given, one key a line. `$LAB` stands for the
    /// directory of the lab. The sidecar is found by its socket only.
    pub fn configure(&self, sidecar: &str, jobs: &str) {
        let listen = if sidecar.contains("listen:") { "" } else { "  listen: ''\n" };
        let text = format!(
            "repositories: [{{url: '{}'}}]\nlog: {{level: info}}\nsidecar:\n{listen}{}jobs:\n{}",
            self.url(),
            indented(sidecar),
            indented(jobs)
        );
        fs::write(self.path("config.yaml"), text.replace("$LAB", self.path("").to_str().unwrap())).unwrap();
    }

    /// Every later run reads this configuration.
    pub fn with_jobs(self, sidecar: &str, jobs: &str) -> Self {
        let lab = self.with_config("");
        lab.configure(sidecar, jobs);
        lab
    }

    /// Where commands meet the test: `read line < …` waits there until the test lets it go on, and a line that a
    /// command writes there is waited for by the test.
    pub fn fifo(&self, name: &str) -> Fifo {
        let path = self.path(name);
        shell("mkfifo \"$1\"", &[path.as_os_str()]);
        // Open at both ends, so that nobody waits for another to open it.
        Fifo { file: fs::File::options().read(true).write(true).open(path).unwrap() }
    }

    /// Words that hooks and commands have written to a file of the lab.
    pub fn words(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// A sidecar that works: the volume is its own.
    #[track_caller]
    pub fn sidecar(&self) -> Sidecar {
        let sidecar = self.spawn_sidecar();
        sidecar.await_status("working", |status| status["stage"] == "working");
        sidecar
    }

    /// One that may be about to work, to stand by or to end.
    #[track_caller]
    pub fn spawn_sidecar(&self) -> Sidecar {
        Sidecar::spawn(&mut self.command(&["sidecar"]), &self.state_dir())
    }
}

pub struct Fifo {
    file: fs::File,
}

impl Fifo {
    /// One who waits there goes on.
    pub fn go(&self) {
        (&self.file).write_all(b"go\n").unwrap();
    }

    /// Somebody has written a line.
    #[track_caller]
    pub fn await_line(&self) {
        let mut file = self.file.try_clone().unwrap();
        let (sender, line) = mpsc::channel();
        thread::spawn(move || {
            let mut byte = [0];
            while file.read_exact(&mut byte).is_ok() && byte != *b"\n" {}
            sender.send(())
        });
        line.recv_timeout(PATIENCE).expect("a line in the FIFO");
    }
}

fn indented(yaml: &str) -> String {
    yaml.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| format!("  {line}\n")).collect()
}

impl Sidecar {
    #[track_caller]
    pub fn spawn(command: &mut Command, state_dir: &Path) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Log::default());
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                kept.lines.lock().unwrap().push(line);
                kept.more.notify_all();
            }
        });
        Self { child: RefCell::new(child), log, state_dir: state_dir.to_owned() }
    }

    pub fn id(&self) -> u32 {
        self.child.borrow().id()
    }

    /// For one whose volume is elsewhere from here.
    pub fn seen_by(mut self, state_dir: &Path) -> Self {
        state_dir.clone_into(&mut self.state_dir);
        self
    }

    /// The whole answer over the network.
    pub fn ask_at(&self, address: SocketAddr, request: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "{request} HTTP/1.1\r\nHost: sidecar\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Head and body of the answer; the error when nobody answers.
    pub fn try_ask(&self, request: &str) -> std::io::Result<(String, String)> {
        let mut stream = socket::connect(&self.state_dir)?;
        write!(stream, "{request} HTTP/1.1\r\nHost: sidecar\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Ok((head.to_owned(), body.to_owned()))
    }

    #[track_caller]
    pub fn ask(&self, request: &str) -> (String, String) {
        self.try_ask(request).unwrap_or_else(|error| panic!("{request}: {error}\n{}", self.said()))
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.ask("GET /status").1).unwrap()
    }

    #[track_caller]
    pub fn job(&self, name: &str) -> Value {
        job(&self.status(), name)
    }

    /// The value of one metric, named with its labels.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.ask("GET /metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    /// Whether it calls itself ready, and why not.
    #[track_caller]
    pub fn readiness(&self) -> (bool, String) {
        let (head, body) = self.ask("GET /readyz");
        (head.starts_with("HTTP/1.1 200"), body)
    }

    #[track_caller]
    pub fn await_status(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        self.await_some(what, || {
            let (_, body) = self.try_ask("GET /status").ok()?;
            serde_json::from_str(&body).ok().filter(&is)
        })
    }

    /// Waits until the record of a job is as it should be, and gives it.
    #[track_caller]
    pub fn await_job(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        job(&self.await_status(&format!("job {name}: {what}"), |status| is(&job(status, name))), name)
    }

    #[track_caller]
    pub fn await_runs(&self, name: &str, runs: u64) -> Value {
        self.await_job(name, &format!("{runs} runs"), |job| job["runs"].as_u64() >= Some(runs))
    }

    /// Waits for a line of the log.
    #[track_caller]
    pub fn await_line(&self, word: &str) -> String {
        self.await_some(&format!("a line with `{word}`"), || self.lines(word).pop())
    }

    /// Lines of the log with this word.
    pub fn lines(&self, word: &str) -> Vec<String> {
        let lines = self.log.lines.lock().unwrap();
        lines.iter().filter(|line| line.contains(word)).cloned().collect()
    }

    pub fn said(&self) -> String {
        self.lines("").join("\n")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(pid(self.id()), signal).unwrap();
    }

    /// Told to end: its exit code.
    #[track_caller]
    pub fn end(&self) -> i32 {
        self.signal(Signal::TERM);
        self.await_end()
    }

    /// Ends in order, with nothing wrong.
    #[track_caller]
    pub fn end_well(&self) {
        let code = self.end();
        assert_eq!(code, 0, "{}", self.said());
    }

    #[track_caller]
    pub fn await_end(&self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.log.count();
            if let Some(code) = self.ended() {
                return code;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.said());
            self.log.wait_for_more(seen);
        }
    }

    pub fn kill(&self) {
        let _ = self.child.borrow_mut().kill();
        let _ = self.child.borrow_mut().wait();
    }

    /// Waits for something to be there.
    #[track_caller]
    pub fn await_some<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.log.count();
            if let Some(found) = look() {
                return found;
            }
            let ended = self.ended();
            assert!(ended.is_none(), "ended with {ended:?} before: {what}\n{}", self.said());
            let last = self.try_ask("GET /status").map(|(_, body)| body);
            assert!(Instant::now() < deadline, "never: {what}; last seen {last:?}\n{}", self.said());
            self.log.wait_for_more(seen);
        }
    }

    /// As shells count: 128 and the signal.
    fn ended(&self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.borrow_mut().try_wait().unwrap()?;
        Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Log {
    fn count(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    /// Comes back with the next line, or after a moment.
    fn wait_for_more(&self, seen: usize) {
        let lines = self.lines.lock().unwrap();
        drop(self.more.wait_timeout_while(lines, LOOK, |lines| lines.len() == seen).unwrap());
    }
}

pub fn job(status: &Value, name: &str) -> Value {
    let jobs = status["jobs"].as_array().cloned().unwrap_or_default();
    jobs.into_iter().find(|job| job["name"] == name).unwrap_or_default()
}

pub fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

/// Whether a process still works: a zombie does not.
pub fn is_alive(id: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(id.trim()).join("stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z")
}
