//! The rack of a Cassandra node: a file of configuration that an init container makes from a template, beside an app that
//! is up, because all containers were started again at once. The script that `volkeep` replaces copied the template, and
//! put the rack in some seconds later; the app read what lay there between. One judge looks at both.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod steps_support;
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;

use steps_support::{steps, with_steps};
use support::crash::{fraction, seconds};
use support::life::{finish, start};
use support::sidecar::Fifo;
use support::{Lab, Layout, Random, few_entries, run_until};

const ROUNDS: u64 = 1_000;
/// Of these each app is asked for in each stage of a round.
const READS: u64 = 5;
const SEED: u64 = 0x7261_636b;

/// A file as long as those of real systems, with the rack at the beginning and at the end.
fn pattern() -> String {
    let comment = "# Read by the snitch when the node starts, and again whenever it is told to.\n".repeat(40);
    format!("dc=dc1\nrack=@RACK@\n{comment}prefer_local=true\n# end of rack @RACK@\n")
}

/// An app beside `init`, as a process of its own, that reads all the time.
struct App {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

#[derive(Debug, Deserialize)]
struct Judgement {
    reads: u64,
    half: u64,
    /// The rack that was read last.
    last: u64,
    /// How many different ones were read.
    seen: u64,
    example: String,
}

impl App {
    fn reading(file: &Path, pattern: &Path) -> Self {
        let mut command = Command::new("python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/steps_support/reader.py"));
        let piped = command.args([file, pattern]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, orders, answers: BufReader::new(answers) }
    }

    fn restart(&mut self) {
        self.orders.write_all(b"restart\n").unwrap();
    }

    /// After some more reads.
    #[track_caller]
    fn judgement(&mut self) -> Judgement {
        writeln!(self.orders, "reads {READS}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the app is gone ({error}): {line}"))
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes before the file is right takes its time: it waits here until the test lets it go on.
struct Slow {
    begun: Fifo,
    go: Fifo,
}

impl Slow {
    fn of(lab: &Lab) -> Self {
        Self { begun: lab.fifo("begun"), go: lab.fifo("go") }
    }
}

/// All containers are started again, and the app reads before, while and after the other one makes its file.
fn round(app: &mut App, slow: &Slow, init: &mut Command) -> (Judgement, Judgement) {
    app.restart();
    let init = start(init);
    slow.begun.await_line();
    let meanwhile = app.judgement();
    slow.go.go();
    finish(init).expect_code(0);
    (meanwhile, app.judgement())
}

#[test]
fn the_script_shows_a_half_done_file_at_every_start() {
    const SCRIPT: &str =
        "cp \"$1\" \"$2\"; echo > \"$3/begun\"; read go < \"$3/go\"; sed -i \"s/@RACK@/$4/\" \"$2\"";
    let lab = Lab::new(Layout::Subdirectory);
    let (file, template) = (lab.volume().join("rack"), lab.path("pattern"));
    fs::write(&template, pattern()).unwrap();
    fs::write(&file, pattern().replace("@RACK@", "0")).unwrap();
    let slow = Slow::of(&lab);
    let mut app = App::reading(&file, &template);
    assert_eq!(app.judgement().half, 0, "nothing has happened yet");
    let (mut before, mut half_done) = (0, 0);
    let rounds = 10;
    for rack in 1..=rounds {
        let mut script = Command::new("sh");
        script.args(["-euc", SCRIPT, "init"]).arg(&template).arg(&file).arg(lab.path(""));
        let (meanwhile, after) = round(&mut app, &slow, script.arg(rack.to_string()));
        half_done += u64::from(meanwhile.half > before);
        assert_eq!(after.last, rack, "it is right in the end: {after:?}");
        before = after.half;
    }
    let all = app.judgement();
    println!("the script: half done in {half_done} of {rounds} starts, {} of {} reads", all.half, all.reads);
    assert_eq!(half_done, rounds);
    assert!(all.example.contains("rack @RACK@"), "{all:?}");
}

#[test]
fn no_half_done_file_in_a_thousand_starts() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries).with_jobs("", "");
    let (file, known) = (lab.volume().join("conf/rack"), lab.path("pattern"));
    fs::write(&known, pattern()).unwrap();
    fs::write(lab.path("template"), pattern().replace("@RACK@", "{{ rack }}")).unwrap();
    let slow = Slow::of(&lab);
    let render = "{render: {template: $LAB/template, to: conf/rack, values_env: {rack: RACK}}}";
    let slow_step = "{run: [sh, -c, 'echo > $LAB/begun; read go < $LAB/go']}";
    let (quick, long) = (format!("[{render}]"), format!("[{slow_step}, {render}]"));
    let mut lab = with_steps(lab, &quick).with("RACK", "0");
    lab.ok(&["init"]);

    let whole = seconds(|| run_until(60.0, &lab.command(&["init"])).expect_code(0));
    let mut random = Random(SEED);
    println!("seed {SEED:#x}, {whole:.3} s a start");
    let mut sidecar = lab.sidecar();
    let mut app = App::reading(&file, &known);
    let (mut rack, mut deaths) = (0, 0);
    for number in 1..=ROUNDS {
        let changes = number % 3 == 0;
        let before = Identity::of(&file);
        rack += u64::from(changes);
        lab.set("RACK", rack.to_string());
        if number % 50 == 0 {
            sidecar.kill();
            sidecar = lab.spawn_sidecar();
        }
        let after = match number % 5 {
            // It dies at any instant, and is started again.
            1 => {
                app.restart();
                steps(&mut lab, &quick);
                let instant = whole * 1.2 * fraction(&mut random);
                deaths += u64::from(run_until(instant, &lab.command(&["init"])).was_killed());
                let between = app.judgement();
                assert_eq!(between.half, 0, "round {number}, killed after {instant:.4} s: {between:?}");
                lab.ok(&["init"]);
                app.judgement()
            }
            _ => {
                steps(&mut lab, &long);
                let (meanwhile, after) = round(&mut app, &slow, &mut lab.command(&["init"]));
                assert_eq!(
                    meanwhile.last,
                    rack - u64::from(changes),
                    "round {number}: the old one, {meanwhile:?}"
                );
                after
            }
        };
        assert_eq!((after.half, after.last), (0, rack), "round {number}: {after:?}");
        assert_eq!(Identity::of(&file) != before, changes, "round {number}: the same file, or another one");
    }
    let all = app.judgement();
    println!("{} reads of {} racks, {deaths} deaths in {} rounds", all.reads, all.seen, ROUNDS / 5);
    assert_eq!((all.half, all.seen), (0, rack + 1), "{all:?}");
    assert!(all.reads > ROUNDS * READS && deaths > ROUNDS / 50, "{} reads, {deaths} deaths", all.reads);
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "something was left beside it");
    sidecar.await_status("working", |status| status["stage"] == "working");
    sidecar.end_well();
}

/// Nothing can set all of these back.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(file: &Path) -> Self {
        let meta = fs::metadata(file).unwrap();
        Self {
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// What a container has of a file that is mounted by `subPath`, and of a directory, when `change` makes another file.
fn mounted(lab: &Lab, change: &str) -> Vec<String> {
    let script = "mkdir \"$LAB/all\"; touch \"$LAB/one\"
        mount --bind \"$VOLUME/conf/rack\" \"$LAB/one\"; mount --bind \"$VOLUME/conf\" \"$LAB/all\"
        look() { cat \"$LAB/one\"; cat \"$LAB/all/rack\"; }
        look
        { CHANGE; } >&2
        look
        umount \"$LAB/one\"; mount --bind \"$VOLUME/conf/rack\" \"$LAB/one\"
        look
        umount \"$LAB/one\" \"$LAB/all\"; rm \"$LAB/one\"; rmdir \"$LAB/all\"";
    let outcome = lab.inside_mounts(&script.replace("CHANGE", change), &["init"]).expect_code(0);
    outcome.stdout.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_file_that_is_mounted_alone_stays_the_old_one_and_a_directory_has_the_new_one() {
    let lab = Lab::new(Layout::Subdirectory);
    lab.ok(&["repository", "init"]);
    let yaml = "[{render: {text: \"{{ rack }}\\n\", to: conf/rack, values_env: {rack: RACK}}}]";
    let mut lab = with_steps(lab, yaml).with("RACK", "r1");
    lab.ok(&["init"]);
    lab.set("RACK", "r2");
    // The mounted file, and the one in the mounted directory: before, after, and when the container was started again.
    assert_eq!(mounted(&lab, "\"$@\""), ["r1", "r1", "r1", "r2", "r2", "r2"]);
    // Nothing changes where nothing is to be changed.
    assert_eq!(mounted(&lab, "\"$@\""), ["r2"; 6]);
    // It is so with whatever replaces a file.
    assert_eq!(mounted(&lab, "sed -i s/r2/r3/ \"$VOLUME/conf/rack\""), ["r2", "r2", "r2", "r3", "r3", "r3"]);
    // What writes into the old file is seen at once, and could be seen half done.
    assert_eq!(mounted(&lab, "echo r4 > \"$VOLUME/conf/rack\""), ["r3", "r3", "r4", "r4", "r4", "r4"]);
}
