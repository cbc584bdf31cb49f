//! Hooks around `init`, by the built binary: their order, their time limits, what they are told, and what reaches
//! the log.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::{Lab, Layout, Outcome, few_entries, is_root, run, shell};

/// A volume that was lost, so that `init` has to restore it, with hooks as YAML of their lists.
fn lost(hooks: &[(&str, String)]) -> Lab {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    lab.wipe();
    with_hooks(lab, hooks)
}

fn with_hooks(mut lab: Lab, hooks: &[(&str, String)]) -> Lab {
    for (list, yaml) in hooks {
        let name = format!("VOLKEEP_INIT_HOOKS_{}", list.to_uppercase());
        lab.set(&name, yaml.replace("$LAB", lab.path("").to_str().unwrap()));
    }
    lab
}

/// Writes the name of the list into a file of the lab, and what else is said.
fn notes(list: &str, more: &str) -> (String, String) {
    let script = format!("echo {list}{more} >> $LAB/order; echo {list} says hello; echo and >&2");
    (list.to_owned(), format!("[{{command: [sh, -c, '{script}']}}]"))
}

fn in_all(more: &str) -> Vec<(String, String)> {
    ["before", "after", "failed", "finally"].map(|list| notes(list, more)).to_vec()
}

fn borrowed(hooks: &[(String, String)]) -> Vec<(&str, String)> {
    hooks.iter().map(|(list, yaml)| (list.as_str(), yaml.clone())).collect()
}

fn order(lab: &Lab) -> String {
    let text = fs::read_to_string(lab.path("order")).unwrap_or_default();
    text.lines().collect::<Vec<_>>().join(" ")
}

#[test]
fn hooks_run_around_a_restore_and_not_at_a_healthy_start() {
    let lab = lost(&borrowed(&in_all(":$VOLKEEP_JOB:$VOLKEEP_RESULT:$VOLKEEP_SNAPSHOT:$PWD")));
    let snapshot = lab.snapshots().remove(0);
    let volume = lab.volume().display().to_string();
    let outcome = lab.ok(&["init"]);
    lab.assert_back();
    let expected = format!(
        "before:init:::{volume} after:init:succeeded:{snapshot}:{volume} \
         finally:init:succeeded:{snapshot}:{volume}"
    );
    assert_eq!(order(&lab), expected);
    // Each line of both streams is in the log, with the names of job and hook.
    for part in ["before says hello", "and", "job=\"init\"", "hook=\"before[0]\"", "hook=\"finally[0]\""] {
        assert!(outcome.stderr.contains(part), "no `{part}` by {outcome}");
    }
    lab.ok(&["init"]);
    lab.ok(&["init", "--dry-run"]);
    assert_eq!(order(&lab), expected, "a healthy volume ran hooks");
}

#[test]
fn a_before_that_fails_leaves_the_volume_alone() {
    let mut hooks = in_all(":$VOLKEEP_RESULT");
    hooks[0].1 = "[{command: [sh, -c, 'echo the disk is busy; exit 7']}]".to_owned();
    hooks[2].1 = "[{command: [sh, -c, 'echo \"$VOLKEEP_ERROR\" > $LAB/error; exit 1']}]".to_owned();
    let lab = lost(&borrowed(&hooks));
    lab.exits(1, &["init"]).says(&["hook before[0]: `sh` ended with exit code 7: the disk is busy"]);
    assert_eq!(fs::read_dir(lab.volume()).unwrap().count(), 0);
    assert_eq!(order(&lab), "finally:failed");
    let error = fs::read_to_string(lab.path("error")).unwrap();
    assert!(error.starts_with("hook before[0]: `sh` ended with exit code 7"), "{error}");
    lab.exits(1, &["init"]);
    lab.unset_hooks().ok(&["init"]);
}

#[test]
fn an_init_that_fails_by_itself_is_told_to_failed_and_finally() {
    let lab = with_hooks(Lab::new(Layout::Subdirectory), &borrowed(&in_all(":$VOLKEEP_RESULT")));
    lab.exits(10, &["init"]);
    assert_eq!(order(&lab), "failed:failed finally:failed");
    lab.exits(10, &["init", "--dry-run"]);
    assert_eq!(order(&lab), "failed:failed finally:failed", "a dry run ran hooks");
}

#[test]
fn a_hook_that_hangs_is_ended_with_its_children() {
    let hang = "[{command: [sh, -c, 'sleep 600 & echo $! > $LAB/child; wait'], timeout: 300ms}]";
    let lab = lost(&[("before", hang.to_owned())]);
    let started = Instant::now();
    lab.exits(1, &["init"]).says(&["hook before[0]", "did not end within 0.3 s"]);
    assert!(started.elapsed() < Duration::from_secs(60));
    let child = fs::read_to_string(lab.path("child")).unwrap();
    let stat = fs::read_to_string(Path::new("/proc").join(child.trim()).join("stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z"), "it still runs: {stat}");
}

#[test]
fn a_request_reaches_its_server_and_shows_no_secret() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = serving(move || listener.accept().unwrap().0, "202 Accepted", "fine");
    let hook = format!(
        "[{{http: {{url: 'http://{address}/secret-path?token=secret', body: '{{\"text\": \"secret\"}}', \
         headers_file: {{Authorization: $LAB/token}}, expect: [202]}}}}]"
    );
    let lab = lost(&[("before", hook)]);
    fs::write(lab.path("token"), "Bearer secret\n").unwrap();
    let outcome = lab.ok(&["-vv", "init"]);
    assert!(!outcome.stderr.contains("secret"), "{outcome}");
    let heard = server.join().unwrap().to_lowercase();
    assert!(heard.starts_with("post /secret-path?token=secret http/1.1\r\n"), "{heard}");
    for part in ["authorization: bearer secret\r\n", "volkeep-job: init\r\n", "{\"text\": \"secret\"}"] {
        assert!(heard.contains(part), "{heard}");
    }
    // Nobody is there any more.
    let lab = again(lab);
    let outcome = lab.exits(1, &["init"]).says(&["hook before[0]", &format!("http://{address}")]);
    assert!(!outcome.stderr.contains("secret"), "{outcome}");
    let shown = lab.ok(&["config", "show"]);
    assert!(!shown.stdout.contains("secret"), "{shown}");
}

#[test]
fn a_request_over_a_unix_socket_is_judged_by_its_status() {
    let hook = "[{http: {url: 'http://app/freeze', method: PUT, unix_socket: $LAB/app.sock}, timeout: 60s}]";
    let lab = lost(&[("before", hook.to_owned())]);
    let listener = UnixListener::bind(lab.path("app.sock")).unwrap();
    let other = listener.try_clone().unwrap();
    let server = serving(move || other.accept().unwrap().0, "503 Busy", "come back later");
    lab.exits(1, &["init"]).says(&["answered with status 503: come back later", "app.sock"]);
    assert!(server.join().unwrap().starts_with("PUT /freeze HTTP/1.1\r\nhost: app\r\n"));
    let server = serving(move || listener.accept().unwrap().0, "204 No Content", "");
    lab.ok(&["init"]);
    server.join().unwrap();
    lab.assert_back();
}

#[test]
fn a_signal_needs_somebody_to_go_to() {
    let lab = lost(&[("before", "[{signal: {name: HUP, process: no-such-app}}]".to_owned())]);
    lab.exits(1, &["init"]).says(&["no process `no-such-app` is in sight", "PID namespace"]);
}

#[test]
fn a_command_runs_as_another_user() {
    assert!(is_root(), "this test runs a hook as another user; run it as root");
    let hook =
        "[{command: [sh, -c, 'echo I am $(id -u) of $(id -G), at home in $HOME'], user: '65534:65533'}]";
    lost(&[("before", hook.to_owned())]).ok(&["init"]).says(&["I am 65534 of 65533, at home in /"]);

    let lab = lost(&[("before", "[{command: ['true'], user: no-such-user}]".to_owned())]);
    lab.exits(1, &["init"]).says(&["there is no user `no-such-user` in /etc/passwd"]);
    let lab = lost(&[("before", "[{command: ['true'], user: root}]".to_owned())]);
    run(&mut lab.command_of_plain_user(&["init"]))
        .expect_code(1)
        .says(&["only root can become user 0, and this is user 65534"]);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_key() {
    let refused = |list: &str, yaml: &str| -> Outcome {
        with_hooks(Lab::new(Layout::Subdirectory), &[(list, yaml.to_owned())]).exits(78, &["init"])
    };
    refused("before", "[{command: [a]}, {http: {url: 'ftp://secret'}}]")
        .says(&["init.hooks.before[1]", "neither http:// nor https://"]);
    refused("finally", "[{command: [a], timeout: 0}]").says(&["init.hooks.finally[0].timeout"]);
    refused("after", "[{comand: [a]}]").says(&["init.hooks.after[0].comand", "did you mean `command`"]);
    // There is nothing to freeze before the app has started.
    let mut lab = Lab::new(Layout::Subdirectory);
    let config = format!(
        "volume: {{path: {}}}\nrepositories: [{{url: '{}'}}]\ninit: {{hooks: {{freeze: [{{command: [a]}}]}}}}\n",
        lab.volume().display(),
        lab.url()
    );
    lab = lab.with_config(&config);
    lab.exits(78, &["init"]).says(&["unknown key `init.hooks.freeze`"]);
}

#[test]
fn what_a_killed_sidecar_left_frozen_is_thawed_by_the_next() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let (reached, hold) = (lab.path("reached"), lab.path("hold"));
    shell("mkfifo \"$1\" \"$2\"", &[reached.as_os_str(), hold.as_os_str()]);
    let mut sidecar = lab.command(&["sidecar"]);
    sidecar.env("VOLKEEP_SIDECAR_LISTEN", "127.0.0.1:0").env("VOLKEEP_LOG_LEVEL", "info");
    let list =
        |script: &str| format!("[{{command: [sh, -c, '{script}'], directory: {}}}]", lab.path("").display());
    let mut first = lab.command(&["sidecar"]);
    first
        .env("VOLKEEP_SIDECAR_LISTEN", "127.0.0.1:0")
        .env("VOLKEEP_SCHEDULE", "@every 1s")
        .env("VOLKEEP_JOBS_BACKUP_HOOKS_FREEZE", list("echo freeze >> order; echo > reached; cat hold"))
        .env("VOLKEEP_JOBS_BACKUP_HOOKS_THAW", list("echo thaw >> order"));
    let mut first = first.stderr(Stdio::null()).spawn().unwrap();
    // Comes back in the middle of the freeze.
    fs::read(&reached).unwrap();
    assert!(lab.state_dir().join("frozen/backup.json").is_file());
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(order(&lab), "freeze");
    // In a container the command would have died with process 1.
    fs::write(&hold, "").unwrap();

    // By now the configuration knows of no thaw.
    let mut second = sidecar.stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(second.stderr.take().unwrap()).lines();
    let told = lines.map_while(Result::ok).any(|line| line.contains("thawed what"));
    assert!(told, "the second sidecar ended without a word of a thaw");
    assert_eq!(order(&lab), "freeze thaw");
    assert!(!lab.state_dir().join("frozen/backup.json").exists());
    second.kill().unwrap();
    second.wait().unwrap();
}

/// Answers one request, and gives back what it was.
fn serving<S: Read + Write>(
    accept: impl FnOnce() -> S + Send + 'static,
    status: &'static str,
    said: &'static str,
) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut stream = accept();
        let mut heard = Vec::new();
        let mut buffer = [0u8; 4096];
        while !is_whole(&heard) {
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                count => heard.extend_from_slice(&buffer[..count]),
            }
        }
        let length =
            if said.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", said.len()) };
        stream.write_all(format!("HTTP/1.1 {status}\r\n{length}\r\n{said}").as_bytes()).unwrap();
        String::from_utf8_lossy(&heard).into_owned()
    })
}

fn is_whole(heard: &[u8]) -> bool {
    let text = String::from_utf8_lossy(heard);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// The same lab, its volume lost once more.
fn again(lab: Lab) -> Lab {
    lab.wipe();
    lab
}

trait WithoutHooks {
    fn unset_hooks(self) -> Self;
}

impl WithoutHooks for Lab {
    fn unset_hooks(mut self) -> Self {
        for list in ["BEFORE", "AFTER", "FAILED", "FINALLY"] {
            self.unset(&format!("VOLKEEP_INIT_HOOKS_{list}"));
        }
        self
    }
}
