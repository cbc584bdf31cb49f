//! Hooks around work, with real commands in a temporary directory: each writes its name into a file, so that the
//! file tells the order.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

use super::*;
use crate::base::action::CommandAction;
use crate::base::cancel::Cancel;
use crate::base::clock::ManualClock;
use crate::base::timestamp::Timestamp;

struct Bench {
    dir: tempfile::TempDir,
    clock: ManualClock,
    cancel: Cancel,
}

impl Bench {
    fn new() -> Self {
        let clock = ManualClock::at(Timestamp::new(1_800_000_000, 0));
        Self { dir: tempfile::tempdir().unwrap(), clock, cancel: Cancel::new() }
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            job: "backup",
            env: vec![("VOLKEEP_VOLUME".to_owned(), "/data".to_owned())],
            directory: Some(self.dir.path().to_owned()),
            state_dir: self.dir.path(),
            clock: &self.clock,
            cancel: self.cancel.clone(),
            abandon: Cancel::new(),
        }
    }

    fn run(&self, hooks: &Hooks, work: impl FnOnce(&Cancel) -> Result<u32, String>) -> Ran<u32, String> {
        around(hooks, &self.surroundings(), work, |made| {
            vec![("VOLKEEP_SNAPSHOT".to_owned(), made.to_string())]
        })
    }

    fn write(&self, word: &str) {
        use std::io::Write;
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        writeln!(file, "{word}").unwrap();
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        text.lines().collect::<Vec<_>>().join(" ")
    }

    fn marker(&self) -> PathBuf {
        self.dir.path().join("frozen/backup.json")
    }
}

fn sh(script: &str) -> Action {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    Action {
        kind: Kind::Command(CommandAction { argv, ..CommandAction::default() }),
        timeout: Duration::from_secs(60),
    }
}

fn says(word: &str) -> Vec<Action> {
    vec![sh(&format!("echo {word} >> log"))]
}

fn all() -> Hooks {
    Hooks {
        before: says("before"),
        freeze: says("freeze"),
        thaw: says("thaw"),
        after: says("after"),
        failed: says("failed:$VOLKEEP_RESULT"),
        finally: says("finally:$VOLKEEP_JOB:$VOLKEEP_RESULT:$VOLKEEP_SNAPSHOT"),
        max_frozen: Duration::from_secs(60),
    }
}

#[test]
fn a_job_that_succeeds_has_its_hooks_in_order() {
    let bench = Bench::new();
    let ran = bench.run(&all(), |_| {
        assert!(bench.marker().is_file());
        let mode = std::os::unix::fs::PermissionsExt::mode(&bench.marker().metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(left_behind(bench.dir.path()).unwrap()[0].job, "backup");
        bench.write("work");
        Ok(7)
    });
    assert!(ran.error.is_none() && ran.problems.is_empty() && !ran.left_frozen, "{ran:?}");
    assert_eq!(ran.done, Some(7));
    assert!(ran.frozen.is_some());
    assert_eq!(bench.log(), "before freeze work thaw after finally:backup:succeeded:7");
    assert!(!bench.marker().exists());
}

#[test]
fn a_job_that_fails_is_thawed() {
    let bench = Bench::new();
    let ran = bench.run(&all(), |_| Err("no space".to_owned()));
    assert!(matches!(&ran.error, Some(Trouble::Work(error)) if error == "no space"));
    assert_eq!(bench.log(), "before freeze thaw failed:failed finally:backup:failed:");
    assert!(!bench.marker().exists());
}

#[test]
fn without_its_before_a_job_does_not_run() {
    let bench = Bench::new();
    let hooks = Hooks { before: vec![sh("echo 'not now'; exit 3")], ..all() };
    let ran = bench.run(&hooks, |_| panic!("it ran"));
    let error = ran.error.unwrap().to_string();
    assert_eq!(error, "hook before[0]: `sh` ended with exit code 3: not now");
    assert_eq!(bench.log(), "failed:failed finally:backup:failed:");
}

#[test]
fn half_a_freeze_is_thawed() {
    let bench = Bench::new();
    let mut hooks = all();
    hooks.freeze.push(sh("exit 1"));
    let ran = bench.run(&hooks, |_| panic!("it ran"));
    assert!(matches!(ran.error, Some(Trouble::Hook(_))));
    assert_eq!(bench.log(), "before freeze thaw failed:failed finally:backup:failed:");
    assert!(!bench.marker().exists());
}

#[test]
fn work_that_panics_is_thawed() {
    let bench = Bench::new();
    let work = std::panic::AssertUnwindSafe(|| bench.run(&all(), |_| panic!("as it should")));
    assert!(std::panic::catch_unwind(work).is_err());
    assert_eq!(bench.log(), "before freeze thaw");
    assert!(!bench.marker().exists());
}

#[test]
fn work_that_takes_too_long_is_stopped_and_not_waited_for() {
    let bench = Bench::new();
    let dir = bench.dir.path().to_owned();
    let mut hooks = Hooks { max_frozen: Duration::from_millis(500), ..all() };
    hooks.thaw.push(sh("mkfifo thawed; echo > thawed"));
    let started = Instant::now();
    let ran = bench.run(&hooks, |cancel| {
        // The work hangs until the app is thawed.
        while !dir.join("thawed").exists() {
            std::thread::yield_now();
        }
        std::fs::read(dir.join("thawed")).unwrap();
        assert!(cancel.is_cancelled());
        Ok(1)
    });
    assert!(matches!(ran.error, Some(Trouble::FrozenTooLong { .. })), "{ran:?}");
    assert_eq!(ran.done, Some(1));
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(bench.log(), "before freeze thaw failed:failed finally:backup:failed:1");
}

#[test]
fn a_freeze_that_hangs_is_ended_before_the_thaw() {
    let bench = Bench::new();
    let hooks = Hooks {
        freeze: vec![sh("echo freezing >> log; sleep 600 & wait; echo never >> log")],
        max_frozen: Duration::from_millis(300),
        ..all()
    };
    let ran = bench.run(&hooks, |_| panic!("it ran"));
    assert!(ran.error.is_some());
    assert_eq!(bench.log(), "before freezing thaw failed:failed finally:backup:failed:");
}

#[test]
fn a_wish_to_stop_reaches_the_work_and_no_thaw() {
    let bench = Bench::new();
    let ran = bench.run(&all(), |cancel| {
        bench.cancel.cancel();
        while !cancel.is_cancelled() {
            std::thread::yield_now();
        }
        Err("stopped".to_owned())
    });
    assert!(matches!(ran.error, Some(Trouble::Work(_))));
    assert_eq!(bench.log(), "before freeze thaw failed:failed finally:backup:failed:");
}

#[test]
fn nothing_is_begun_for_a_job_that_is_to_stop() {
    let bench = Bench::new();
    bench.cancel.cancel();
    let ran = bench.run(&all(), |_| panic!("it ran"));
    assert!(matches!(ran.error, Some(Trouble::Hook(HookError::LeftOut { .. }))));
    let ran = bench.run(&Hooks { before: Vec::new(), ..all() }, |_| panic!("it ran"));
    assert!(ran.frozen.is_none() && ran.error.is_some());
    assert_eq!(bench.log(), ["failed:failed finally:backup:failed:"; 2].join(" "));
}

#[test]
fn a_thaw_is_tried_again_and_then_left_to_the_next_start() {
    let bench = Bench::new();
    let mut hooks = all();
    hooks.thaw = vec![sh("echo try >> log; test -e healed"), sh("echo other >> log")];
    let ran = bench.run(&hooks, |_| Ok(1));
    assert!(matches!(ran.error, Some(Trouble::Frozen(FrozenError::StillFrozen { .. }))), "{ran:?}");
    assert!(ran.left_frozen && bench.marker().is_file());
    assert_eq!(ran.done, Some(1));
    assert_eq!(bench.log(), "before freeze try other try try failed:failed finally:backup:failed:1");

    // Meanwhile the job does not run with another thaw.
    std::fs::remove_file(bench.dir.path().join("log")).unwrap();
    let ran = bench.run(&all(), |_| panic!("it ran"));
    assert!(ran.left_frozen && ran.error.is_some());
    assert_eq!(bench.log(), "before try other try try failed:failed finally:backup:failed:");

    // Whatever the configuration says then, what was written down is run.
    std::fs::write(bench.dir.path().join("healed"), "").unwrap();
    let thawed = thaw_left_behind(bench.dir.path(), &bench.clock);
    assert_eq!(thawed.len(), 1);
    let left = thawed.into_iter().next().unwrap().unwrap();
    assert_eq!((left.job.as_str(), left.since), ("backup", Timestamp::new(1_800_000_000, 0)));
    assert!(!bench.marker().exists());
    assert!(thaw_left_behind(bench.dir.path(), &bench.clock).is_empty());
}

#[test]
fn a_damaged_marker_keeps_no_other_from_being_thawed() {
    let bench = Bench::new();
    let mut hooks = all();
    hooks.thaw = vec![sh("test -e healed && echo healed >> log")];
    bench.run(&hooks, |_| Ok(1));
    std::fs::write(bench.dir.path().join("healed"), "").unwrap();
    let torn = bench.dir.path().join("frozen/a.json");
    std::fs::write(&torn, "{\"job\":").unwrap();
    let thawed = thaw_left_behind(bench.dir.path(), &bench.clock);
    assert!(matches!(thawed[0], Err(FrozenError::Damaged { .. })));
    assert!(thawed[1].is_ok() && torn.exists() && !bench.marker().exists());
}

#[test]
fn an_app_is_not_frozen_where_that_cannot_be_written_down() {
    let bench = Bench::new();
    std::fs::write(bench.dir.path().join("frozen"), "in the way").unwrap();
    let ran = bench.run(&all(), |_| panic!("it ran"));
    assert!(matches!(ran.error, Some(Trouble::Frozen(FrozenError::Io { .. }))), "{ran:?}");
    assert!(!bench.log().contains("freeze "), "{}", bench.log());
    let named = Surroundings { job: "../up", ..bench.surroundings() };
    let ran = around(&all(), &named, |_| Err::<(), _>("it ran"), |()| Vec::new());
    assert!(matches!(ran.error, Some(Trouble::Frozen(FrozenError::Name(_)))));
}

#[test]
fn an_after_that_fails_fails_the_job() {
    let bench = Bench::new();
    let hooks =
        Hooks { after: vec![sh("exit 1")], finally: vec![sh("exit 2"), sh("echo last >> log")], ..all() };
    let ran = bench.run(&hooks, |_| Ok(7));
    assert!(matches!(ran.error, Some(Trouble::Hook(_))));
    assert_eq!(ran.done, Some(7));
    assert_eq!(ran.problems, ["hook finally[0]: `sh` ended with exit code 2"]);
    assert_eq!(bench.log(), "before freeze thaw failed:failed last");
}

#[test]
fn a_hook_that_hangs_is_ended_within_its_limit() {
    let bench = Bench::new();
    let mut hang = sh("sleep 600 & echo $! > child; wait");
    hang.timeout = Duration::from_millis(200);
    let ran = bench.run(&Hooks { before: vec![hang], ..Hooks::default() }, |_| panic!("it ran"));
    assert!(ran.error.unwrap().to_string().contains("did not end within 0.2 s"));
    let child = std::fs::read_to_string(bench.dir.path().join("child")).unwrap();
    // One that was killed may take a moment to be gone.
    let pid = rustix::process::Pid::from_raw(child.trim().parse().unwrap()).unwrap();
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit)), Ok(1), "it still runs");
}

/// Where the test below works, in the process that is to be killed.
const PLACE: &str = "PLACE_TO_FREEZE_IN";

#[test]
fn what_a_killed_run_left_frozen_is_thawed() {
    let bench = Bench::new();
    let fifo = bench.dir.path().join("reached");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "hook::around_tests::freezes_and_waits_to_be_killed"])
        .env(PLACE, bench.dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Comes back as soon as the work runs.
    std::fs::read(&fifo).unwrap();
    assert_eq!(left_behind(bench.dir.path()).unwrap().len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(bench.log(), "before freeze");
    assert!(bench.marker().exists());

    let thawed = thaw_left_behind(bench.dir.path(), &bench.clock);
    assert!(matches!(thawed.as_slice(), [Ok(_)]), "{thawed:?}");
    assert_eq!(bench.log(), "before freeze thaw");
    assert!(!bench.marker().exists());
}

#[test]
#[ignore = "to be killed: what_a_killed_run_left_frozen_is_thawed runs it"]
fn freezes_and_waits_to_be_killed() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let bench = Bench::new();
    let place = Path::new(&place);
    let surroundings =
        Surroundings { directory: Some(place.to_owned()), state_dir: place, ..bench.surroundings() };
    let work = |_: &Cancel| {
        std::fs::write(place.join("reached"), "").unwrap();
        let (_never, forever) = std::sync::mpsc::channel::<()>();
        forever.recv().map_err(|error| error.to_string())
    };
    let hooks = Hooks { max_frozen: Duration::from_secs(3600), ..all() };
    around(&hooks, &surroundings, work, |()| Vec::new());
}
