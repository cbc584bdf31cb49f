//! The steps of `init`, by the built binary: their order, what each kind does, once and versions, retries and time
//! limits, what is told of them and what is not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod steps_support;
mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use steps_support::{Server, begun, order, steps, with_steps};
use support::life::{finish, start};
use support::{Lab, Layout, few_entries, is_root, run};

/// A step that leaves a word in `order`.
fn note(word: &str, more: &str) -> String {
    format!("{{run: [sh, -c, 'echo {word} >> $LAB/order']{more}}}")
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

/// Names and results, as `init --json` has them.
fn results(lab: &Lab) -> Vec<(String, String)> {
    let report = lab.ok(&["init", "--json"]).json();
    let of = |step: &serde_json::Value, key: &str| step[key].as_str().unwrap().to_owned();
    report["steps"].as_array().unwrap().iter().map(|step| (of(step, "name"), of(step, "result"))).collect()
}

#[test]
fn steps_are_done_in_order_and_the_first_that_fails_is_the_last() {
    let yaml = list(&[
        note("one", ", name: first"),
        "{name: two, render: {text: 'x', to: two}}".to_owned(),
        note("three:$VOLKEEP_JOB:$VOLKEEP_STEP:$PWD", ""),
    ]);
    let lab = with_steps(begun(), &yaml);
    lab.ok(&["init"]).says(&[
        "the volume is healthy: nothing to do",
        "step first (run): done",
        "step two (render): done",
        "step run-3: done",
    ]);
    let volume = lab.volume().display().to_string();
    let expected = format!("one three:init:run-3:{volume}");
    assert_eq!(order(&lab), expected);
    let found = results(&lab);
    let expected = [("first", "done"), ("two", "unchanged"), ("run-3", "done")]
        .map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(found, expected);

    fs::remove_file(lab.path("order")).unwrap();
    let broken = "{name: broken, run: [sh, -c, 'echo no database here; exit 7']}".to_owned();
    let lab = with_steps(lab, &list(&[note("one", ""), broken, note("three", "")]));
    lab.exits(1, &["init"]).says(&[
        "step broken: `sh` ended with exit code 7: no database here",
        "what it said is in the log, with the step's name",
    ]);
    assert_eq!(order(&lab), "one");
    assert_eq!(lab.state(), "healthy");
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let yaml = list(&[
        note("one", ", when: empty"),
        note("two", ", when: restored"),
        note("three", ", name: schema, once: true, when: upgraded, version: 3"),
        "{wait_for: {tcp: '127.0.0.1:1'}}".to_owned(),
        "{render: {text: 'x', to: file}}".to_owned(),
    ]);
    let lab =
        with_steps(Lab::new(Layout::Subdirectory).with("VOLKEEP_INIT_CREATE_REPOSITORY", "true"), &yaml);
    lab.ok(&["init", "--dry-run"]).says(&[
        "step run-1: would be done",
        "step run-2: left out (only when restored)",
        "step schema (run): would be recorded as done",
        "step wait_for-4: would be done",
        "step render-5: would be done",
    ]);
    assert_eq!(order(&lab), "");
    assert_eq!(fs::read_dir(lab.volume()).unwrap().count(), 0);
}

#[test]
fn a_file_is_rendered_from_values_variables_and_files() {
    let mut lab = begun();
    fs::write(
        lab.path("template"),
        "dc={{ dc }}\nrack={{ rack }}\n{% if zone %}\nzone={{ zone }}\n{% endif %}\n# {{ port }} <&>\n",
    )
    .unwrap();
    fs::write(lab.path("zone"), "z1\n").unwrap();
    lab.set("RACK", "r<1>");
    let yaml =
        "[{name: rack, render: {template: $LAB/template, to: conf/cassandra-rackdc.properties, mode: '0640',
                 values: {dc: dc1, port: 9042}, values_env: {rack: RACK}, values_file: {zone: $LAB/zone}}}]";
    let mut lab = with_steps(lab, yaml);
    let file = lab.volume().join("conf/cassandra-rackdc.properties");
    lab.ok(&["init"]).says(&["step rack (render): done"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "dc=dc1\nrack=r<1>\nzone=z1\n# 9042 <&>\n");
    let before = fs::metadata(&file).unwrap();
    assert_eq!(before.mode() & 0o7777, 0o640);

    // What is right is left alone: same inode, same times.
    lab.ok(&["init"]).says(&["step rack (render): unchanged"]);
    let after = fs::metadata(&file).unwrap();
    let seen = |meta: &fs::Metadata| (meta.ino(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
    assert_eq!(seen(&before), seen(&after));

    // A value that changes makes another file; the old one is still there for whoever holds it.
    lab.set("RACK", "r2");
    lab.ok(&["init"]).says(&["step rack (render): done"]);
    assert!(fs::read_to_string(&file).unwrap().contains("rack=r2\n"));
    assert_ne!(fs::metadata(&file).unwrap().ino(), before.ino());
    assert_eq!(fs::read_dir(lab.volume().join("conf")).unwrap().count(), 1);

    lab.unset("RACK");
    lab.exits(78, &["init"]).says(&[
        "step rack: the value rack is to come from the variable RACK, which is not set",
        "set it where volkeep runs",
    ]);
    lab.set("RACK", "r2");
    fs::write(lab.path("template"), "a\n{{ dc }} {{ nobody }}\n").unwrap();
    lab.exits(78, &["init"]).says(&["line 2: undefined value", "names without a value: nobody"]);
    fs::remove_file(lab.path("template")).unwrap();
    lab.exits(1, &["init"]).says(&["step rack: cannot read", "No such file"]);
    assert!(fs::read_to_string(&file).unwrap().contains("rack=r2\n"), "a failure changed the file");
}

#[test]
fn a_file_is_given_to_its_owner() {
    assert!(is_root(), "this test gives files away; run it as root");
    let lab =
        with_steps(begun(), "[{render: {text: x, to: deep/er/file, mode: '0600', owner: '65534:65533'}}]");
    lab.ok(&["init"]);
    for name in ["deep", "deep/er", "deep/er/file"] {
        let meta = fs::metadata(lab.volume().join(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (65534, 65533), "{name}");
    }
    lab.ok(&["init"]).says(&["unchanged"]);
    let lab = with_steps(lab, "[{render: {text: x, to: file, owner: no-such-user}}]");
    lab.exits(78, &["init"]).says(&["there is no user `no-such-user`"]);
    let lab = with_steps(lab, "[{render: {text: x, to: file, owner: root}}]");
    run(&mut lab.command_of_plain_user(&["init"]))
        .expect_code(78)
        .says(&["only root can become user 0", "only root gives files away"]);
}

#[test]
fn nothing_is_rendered_out_of_the_volume_or_over_anything_but_a_file() {
    let lab = begun();
    fs::write(lab.path("secret"), "s").unwrap();
    std::os::unix::fs::symlink(lab.path(""), lab.volume().join("out")).unwrap();
    std::os::unix::fs::symlink("../../secret", lab.volume().join("link")).unwrap();
    let lab = with_steps(lab, "[{render: {text: x, to: out/secret}}]");
    lab.exits(1, &["init"]).says(&["a symbolic link is in the way"]);
    let lab = with_steps(lab, "[{render: {text: x, to: link}}]");
    lab.exits(1, &["init"]).says(&["is there and is no regular file", "move it out of the way"]);
    assert_eq!(fs::read_to_string(lab.path("secret")).unwrap(), "s");
    for to in ["../volume/x", "/etc/x", ".", "''"] {
        let lab = with_steps(Lab::new(Layout::Subdirectory), &format!("[{{render: {{text: x, to: {to}}}}}]"));
        lab.exits(78, &["init"]).says(&["init.steps[0]"]);
    }
    let lab = with_steps(Lab::new(Layout::MountPoint), "[{render: {text: x, to: .volkeep/marker.json}}]");
    lab.exits(78, &["init"]).says(&["init.steps[0].render.to", "state directory"]);
}

#[test]
fn an_app_that_reads_all_the_time_never_sees_half_a_file() {
    let mut lab = begun();
    let text = "[{render: {text: '{% for _ in range(3000) %}{{ rack }} {{ rack }}\n\n{% endfor %}end', to: conf/rack, values_env: {rack: RACK}}}]";
    steps(&mut lab, text);
    lab.set("RACK", "0");
    lab.ok(&["init"]);
    let file = lab.volume().join("conf/rack");
    let over = AtomicBool::new(false);
    let (reads, seen) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut reads, mut seen) = (0u64, std::collections::BTreeSet::new());
            while !over.load(Ordering::Acquire) {
                let text = fs::read_to_string(&file).unwrap();
                let rack = text.split(' ').next().unwrap_or_default().to_owned();
                let lines = text.lines().filter(|line| *line == format!("{rack} {rack}")).count();
                assert!(lines == 3000 && text.ends_with("end"), "half a file: {} bytes", text.len());
                (reads, _) = (reads + 1, seen.insert(rack));
            }
            (reads, seen)
        });
        for round in 0..200 {
            // Every other run has nothing to change.
            lab.set("RACK", (round / 2).to_string());
            lab.ok(&["init"]);
        }
        over.store(true, Ordering::Release);
        reader.join().unwrap()
    });
    assert!(reads > 200 && seen.len() > 20, "only {reads} reads of {} files prove little", seen.len());
}

#[test]
fn a_user_and_a_database_are_made_once_and_a_wrong_password_is_a_failure() {
    // As CouchDB answers: 201 made, 412 there already, 401 who are you.
    let server = Server::new(|heard, before| match heard.first_line.as_str() {
        "GET /_up HTTP/1.1" if before < 2 => 404,
        "GET /_up HTTP/1.1" => 200,
        // admin:s3cret-one
        _ if !heard.head.contains("Basic YWRtaW46czNjcmV0LW9uZQ==") => 401,
        "PUT /wiki HTTP/1.1" => 412,
        _ => 201,
    });
    let lab = begun();
    fs::write(lab.path("user"), "admin\n").unwrap();
    fs::write(lab.path("password"), "wrong-s3cret\n").unwrap();
    fs::write(lab.path("body"), "{\"name\": \"wiki\"}").unwrap();
    let auth = "basic_auth: {user_file: $LAB/user, password_file: $LAB/password}";
    let yaml = format!(
        "[{{wait_for: {{http: 'http://{0}/_up', expect: [200]}}, timeout: 1m}},
          {{name: user, once: true, retries: 3, backoff: 10ms, http: {{url: 'http://{0}/_users/wiki', method: PUT,
            body_file: $LAB/body, {auth}}}}},
          {{name: database, once: true, http: {{url: 'http://{0}/wiki', method: PUT, {auth}, already: [412]}}}}]",
        server.address
    );
    let lab = with_steps(lab, &yaml);
    let outcome = lab.exits(1, &["init", "-vv"]).says(&[
        "step user:",
        "answered with status 401",
        "look at the user, the password",
    ]);
    // A wrong password is not tried again and again.
    let put = |server: &Server| server.first_lines().iter().filter(|line| line.starts_with("PUT")).count();
    assert_eq!(put(&server), 1);
    let told = format!("{outcome}{}", lab.ok(&["config", "show"]));
    assert!(!told.contains("s3cret"), "{told}");

    fs::write(lab.path("password"), "s3cret-one\n").unwrap();
    let outcome = lab.ok(&["init", "-vv"]);
    assert!(!format!("{outcome}").contains("s3cret"), "{outcome}");
    let outcome =
        outcome.says(&["step user (http): done", "step database (http): was done before (status 412)"]);
    drop(outcome);
    assert_eq!(put(&server), 3);
    assert!(server.heard().iter().any(|heard| heard.body == "{\"name\": \"wiki\"}"));
    lab.ok(&["init"]).says(&["step user (http): left out (version 1 is done)"]);
    assert_eq!(put(&server), 3);
}

#[test]
fn a_status_that_is_not_expected_is_tried_again_and_then_a_failure() {
    let server = Server::new(|_, before| if before < 2 { 503 } else { 204 });
    let yaml = format!("[{{http: {{url: 'http://{}/'}}, retries: 2, backoff: 10ms}}]", server.address);
    let lab = with_steps(begun(), &yaml);
    let report = lab.ok(&["init", "--json"]).json();
    assert_eq!((&report["steps"][0]["attempts"], &report["steps"][0]["result"]), (&3.into(), &"done".into()));
    let server = Server::new(|_, _| 500);
    let yaml = format!("[{{http: {{url: 'http://{}/secret'}}, retries: 2, backoff: 10ms}}]", server.address);
    let lab = with_steps(lab, &yaml);
    let outcome = lab.exits(1, &["init"]).says(&["answered with status 500", "(after 3 attempts)"]);
    assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains("secret"), "{outcome}");
    assert_eq!(server.heard().len(), 3);
}

#[test]
fn what_comes_late_is_waited_for() {
    // The port is ours, and nobody answers there yet.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let lab = begun();
    let yaml = format!(
        "[{{wait_for: {{file: $LAB/there}}, timeout: 1m}}, {{wait_for: {{tcp: '{address}'}}, timeout: 1m}},
          {{wait_for: {{dns: localhost}}}}, {{wait_for: {{http: 'http://{address}/', expect: [401]}}, timeout: 1m}}]"
    );
    let lab = with_steps(lab, &yaml);
    let mut init = lab.command(&["init"]);
    let mut running = start(&mut init);
    // It says that it waits; then comes what it waits for.
    let mut said = std::io::BufReader::new(running.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("waiting") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "it did not wait");
    }
    fs::write(lab.path("there"), "").unwrap();
    let server = Server::on(listener, |_, _| 401);
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    finish(running).expect_code(0).says(&["step wait_for-4: done"]);
    assert!(!server.heard().is_empty());
}

#[test]
fn what_never_comes_is_given_up_in_time() {
    // Longer than any name can be, so that nobody is asked for it.
    let no_name = format!("dns: {}y", "x".repeat(64));
    for (target, says) in [
        ("tcp: '127.0.0.1:1'", "127.0.0.1:1 was not there within 0.3 s: cannot connect"),
        (no_name.as_str(), "y was not there within 0.3 s"),
        ("file: /nowhere/at/all", "/nowhere/at/all was not there within 0.3 s: no such file"),
        ("http: 'http://127.0.0.1:1/token'", "http://127.0.0.1:1 was not there within 0.3 s"),
    ] {
        let lab = with_steps(begun(), &format!("[{{name: db, wait_for: {{{target}}}, timeout: 300ms}}]"));
        let started = Instant::now();
        let outcome = lab.exits(1, &["init"]).says(&["step db: ", says, "how long it is waited for"]);
        assert!(started.elapsed() < Duration::from_secs(60));
        assert!(!outcome.stderr.contains("token"), "{outcome}");
    }
}

#[test]
fn a_step_that_fails_is_told_to_the_hooks() {
    let failed = "[{command: [sh, -c, 'echo \"$VOLKEEP_ERROR\" > $LAB/error']}]";
    let lab = with_steps(begun(), "[{name: broken, run: ['false']}]");
    let failed = failed.replace("$LAB", lab.path("").to_str().unwrap());
    let lab = lab.with("VOLKEEP_INIT_HOOKS_FAILED", failed);
    lab.exits(1, &["init"]);
    let error = fs::read_to_string(lab.path("error")).unwrap();
    assert_eq!(error, "step broken: `false` ended with exit code 1\n");
}

#[test]
fn a_command_that_hangs_is_ended() {
    let lab = with_steps(begun(), "[{name: slow, run: [sleep, '600'], timeout: 200ms}]");
    let started = Instant::now();
    lab.exits(1, &["init"]).says(&["step slow: `sleep` did not end within 0.2 s", "one attempt may take"]);
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_command_is_tried_again_and_runs_as_told() {
    let script = "echo try >> $LAB/order; test $(wc -l < $LAB/order) -ge 3 && echo $A-$B";
    let yaml = format!(
        "[{{run: [sh, -c, '{script}'], retries: 5, backoff: 10ms, env: {{A: one}}, env_file: {{B: $LAB/b}}, directory: /}}]"
    );
    let lab = with_steps(begun(), &yaml);
    fs::write(lab.path("b"), "two\n").unwrap();
    lab.ok(&["init"]).says(&["one-two", "trying again"]);
    assert_eq!(order(&lab), "try try try");
}

#[test]
fn once_is_once_for_each_version() {
    let at = |version: u32| {
        list(&[note(&format!("v{version}"), &format!(", name: schema, once: true, version: {version}"))])
    };
    let mut lab = with_steps(begun(), &at(1));
    lab.ok(&["init"]);
    lab.ok(&["init"]).says(&["left out (version 1 is done)"]);
    steps(&mut lab, &at(2));
    lab.ok(&["init"]);
    lab.ok(&["init"]);
    assert_eq!(order(&lab), "v1 v2");
    // The configuration went back, the data did not.
    steps(&mut lab, &at(1));
    lab.ok(&["init"])
        .says(&["a later version was done on this data", "left out (the later version 2 is done)"]);
    assert_eq!(order(&lab), "v1 v2");

    // What failed is not recorded.
    steps(&mut lab, "[{name: other, once: true, run: ['false']}]");
    lab.exits(1, &["init"]);
    steps(&mut lab, &list(&[note("other", ", name: other, once: true")]));
    lab.ok(&["init"]);
    assert_eq!(order(&lab), "v1 v2 other");
}

#[test]
fn data_that_was_brought_back_knows_of_no_step() {
    let at = |version: u32| {
        list(&[note(&format!("v{version}"), &format!(", name: schema, once: true, version: {version}"))])
    };
    let mut lab = with_steps(begun(), &at(1));
    lab.ok(&["init"]);
    fs::write(lab.volume().join("data"), "old").unwrap();
    lab.ok(&["backup"]);
    let old = lab.snapshots().remove(0);
    steps(&mut lab, &at(2));
    lab.ok(&["init"]);
    fs::write(lab.volume().join("data"), "new, migrated").unwrap();
    lab.ok(&["backup"]);
    assert_eq!(order(&lab), "v1 v2");
    // By hand, an older state: the migration is needed again.
    lab.ok(&["restore", "--force", &old]);
    lab.ok(&["init"]);
    assert_eq!(order(&lab), "v1 v2 v2");
    lab.ok(&["init"]);
    assert_eq!(order(&lab), "v1 v2 v2");
    // On another volume the record of this one counts for nothing.
    let mut other = Lab::new(Layout::MountPoint).sharing(&lab);
    steps(&mut other, &at(2));
    other.ok(&["init"]);
    assert_eq!(order(&other), "v2");
    // Neither on a new disk.
    lab.wipe();
    lab.ok(&["init"]);
    assert_eq!(order(&lab), "v1 v2 v2 v2");
}

#[test]
fn each_when_has_its_starts() {
    let all = |lab: Lab| {
        let whens = ["always", "empty", "restored", "first_boot"];
        let mut items: Vec<String> =
            whens.iter().map(|when| note(when, &format!(", when: {when}"))).collect();
        items.push(note("upgraded", ", name: schema, once: true, version: 3, when: upgraded"));
        with_steps(lab, &list(&items))
    };
    let next = |lab: &Lab| {
        let _ = fs::remove_file(lab.path("order"));
        lab.ok(&["init"]);
        order(lab)
    };
    // Begun empty.
    let lab = Lab::new(Layout::Subdirectory);
    lab.ok(&["repository", "init"]);
    let mut lab = all(lab);
    assert_eq!(next(&lab), "always empty first_boot");
    assert_eq!(next(&lab), "always");
    // Nothing was old then, so there was nothing to upgrade; now there is.
    let raised = lab.ok(&["init", "--json"]).json();
    assert_eq!(raised["steps"][4]["note"], "version 3 is done");
    steps(&mut lab, &list(&[note("upgraded", ", name: schema, once: true, version: 4, when: upgraded")]));
    assert_eq!(next(&lab), "upgraded");
    assert_eq!(next(&lab), "");
    // Brought back.
    let mut lab = all(lab);
    fs::write(lab.volume().join("data"), "x").unwrap();
    lab.ok(&["backup"]);
    lab.wipe();
    assert_eq!(next(&lab), "always restored upgraded");
    assert_eq!(next(&lab), "always");
    // A start that failed has not been: what is new stays new.
    lab.wipe();
    lab.set("VOLKEEP_INIT_STEPS", "[{run: ['false']}]");
    lab.exits(1, &["init"]);
    let lab = all(lab);
    assert_eq!(next(&lab), "always restored upgraded");
    // A restore by hand is one as well.
    lab.ok(&["restore", "--force"]);
    assert_eq!(next(&lab), "always restored upgraded");
    assert_eq!(next(&lab), "always");

    // Adopted.
    let lab = Lab::new(Layout::Subdirectory);
    lab.ok(&["repository", "init"]);
    few_entries(&lab.volume());
    let lab = all(lab);
    assert_eq!(next(&lab), "always first_boot upgraded");
    assert_eq!(next(&lab), "always");

    // From an archive.
    let archive = lab.path("first.tar");
    lab.ok(&["backup"]);
    lab.ok(&["export", "latest", archive.to_str().unwrap()]);
    let lab = Lab::new(Layout::Subdirectory).with("VOLKEEP_INIT_ARCHIVE", &archive);
    let lab = all(lab.with("VOLKEEP_INIT_CREATE_REPOSITORY", "true"));
    assert_eq!(next(&lab), "always first_boot upgraded");
    assert_eq!(next(&lab), "always");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_key() {
    let refused = |yaml: &str| with_steps(Lab::new(Layout::Subdirectory), yaml).exits(78, &["init"]);
    refused("[{run: [a]}, {rum: [a]}]").says(&["init.steps[1].rum", "did you mean `run`"]);
    refused("[{render: {text: a, to: b, value: {}}}]")
        .says(&["init.steps[0].render.value", "did you mean `values`"]);
    refused("[{wait_for: {htp: a}}]").says(&["init.steps[0].wait_for.htp", "did you mean `http`"]);
    refused("[{http: {url: 'http://a/', allready: [1]}}]")
        .says(&["init.steps[0].http.allready", "did you mean `already`"]);
    refused("[{run: [a], http: {url: 'http://a/'}}]").says(&["init.steps[0]", "exactly one of"]);
    refused("[{run: [a], once: true}]").says(&["init.steps[0]", "a `name` is needed"]);
    refused("[{run: [a], name: a}, {run: [b], name: a}]").says(&["init.steps[1].name", "another step"]);
    refused("[{run: [a], timeout: 0}]").says(&["init.steps[0].timeout"]);
    refused("[{http: {url: 'http://a/', basic_auth: {user: a}}}]")
        .says(&["either `password` or `password_file`"]);
}

#[test]
fn the_root_of_the_volume_is_given_to_its_app() {
    assert!(is_root(), "only root gives files away; run it as root");
    for layout in [Layout::Subdirectory, Layout::MountPoint] {
        let mut lab = Lab::new(layout);
        lab.ok(&["repository", "init"]);
        lab.ok(&["init"]);
        few_entries(&lab.volume());
        let volume = lab.volume();
        let who = |name: &str| {
            let metadata = fs::symlink_metadata(volume.join(name)).unwrap();
            (metadata.uid(), metadata.gid())
        };
        let state = fs::metadata(lab.state_dir()).unwrap();
        let some = fs::read_dir(lab.volume()).unwrap().map(|entry| entry.unwrap().file_name());
        let some = some.map(|name| name.into_string().unwrap()).find(|name| name != ".volkeep").unwrap();
        let before = who(&some);

        lab.set("VOLKEEP_INIT_STEPS", "[{permissions: {owner: '65534:65533', mode: '0700'}}]");
        lab.ok(&["init"]).says(&["step permissions-1: done"]);
        assert_eq!(who(""), (65534, 65533));
        assert_eq!(fs::metadata(lab.volume()).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(who(&some), before);
        lab.ok(&["init"]).says(&["step permissions-1: unchanged"]);

        lab.set("VOLKEEP_INIT_STEPS", "[{permissions: {owner: '65534:65533', recursive: true}}]");
        lab.ok(&["init"]).says(&["step permissions-1: done"]);
        assert_eq!(who(&some), (65534, 65533));
        // What is ours stays ours.
        let now = fs::metadata(lab.state_dir()).unwrap();
        assert_eq!((state.uid(), state.gid()), (now.uid(), now.gid()));
        lab.ok(&["init"]).says(&["step permissions-1: unchanged"]);
    }
}

#[test]
fn whoever_may_not_give_it_away_is_told_so() {
    let lab = with_steps(begun(), "[{permissions: {owner: '65533:65533'}}]");
    run(&mut lab.command_of_plain_user(&["init"]))
        .expect_code(78)
        .says(&["step permissions-1: ", "only root can become user 65533"]);
}

#[test]
fn people_are_told_and_a_start_does_not_depend_on_it() {
    let hook = Server::new(|heard, _| if heard.first_line.contains("/broken") { 500 } else { 200 });
    let address = &hook.address;
    let lab = with_steps(
        begun(),
        &format!(
            "[{{notify: {{slack: {{url: 'http://{address}/slack'}}}}}},
              {{name: broken, notify: {{webhook: {{url: 'http://{address}/broken'}}}}, retries: 1, backoff: 0s, once: true}},
              {{notify: {{webhook: {{url: 'http://{address}/own', headers_file: {{Authorization: $LAB/token}},
                body: '{{\"say\": \"{{{{text}}}} {{{{event}}}} {{{{step}}}}\"}}'}}, text: 'we are up'}}}}]"
        ),
    );
    fs::write(lab.path("token"), "Bearer hunter2\n").unwrap();
    lab.ok(&["init"]).says(&[
        "step notify-1: done",
        "step broken (notify): failed, which stops nothing",
        "answered with the status 500",
        "step notify-3: done",
    ]);
    let heard = hook.heard();
    let told = |path: &str| heard.iter().find(|heard| heard.first_line.contains(path)).unwrap();
    assert!(told("/slack").body.contains("laboratory: starting"), "{heard:?}");
    assert_eq!(heard.iter().filter(|heard| heard.first_line.contains("/broken")).count(), 2);
    assert_eq!(told("/own").body, "{\"say\": \"we are up start notify-3\"}");
    assert!(told("/own").head.contains("Bearer hunter2"));
    // Who was not told once is told at the next start.
    lab.ok(&["init"]).says(&["step broken (notify): failed"]);
}

#[test]
fn people_hear_what_kind_of_start_it_is() {
    let hook = Server::new(|_, _| 200);
    let yaml = format!("[{{notify: {{webhook: {{url: 'http://{}/'}}}}}}]", hook.address);
    let lab = with_steps(Lab::new(Layout::Subdirectory), &yaml);
    lab.ok(&["repository", "init"]);
    lab.ok(&["init"]);
    few_entries(&lab.volume());
    lab.ok(&["backup"]);
    lab.wipe();
    lab.ok(&["init"]);
    lab.ok(&["init"]);
    let told: Vec<(String, bool)> = hook
        .heard()
        .iter()
        .map(|heard| serde_json::from_str::<serde_json::Value>(&heard.body).unwrap())
        .map(|told| (told["title"].as_str().unwrap().to_owned(), told["snapshot"].is_string()))
        .collect();
    let expected = [
        ("laboratory: starting for the first time, with an empty volume", false),
        ("laboratory: starting with data that was restored", true),
        ("laboratory: starting", false),
    ];
    assert_eq!(told, expected.map(|(title, snapshot)| (title.to_owned(), snapshot)));
}

#[test]
fn the_volume_of_another_app_is_waited_for() {
    let other = Lab::new(Layout::MountPoint);
    other.ok(&["repository", "init"]);
    let lab = with_steps(
        begun(),
        &format!("[{{wait_for: {{volume: {}}}, timeout: 60s}}]", other.volume().display()),
    );
    let mut impatient = lab.command(&["init"]);
    impatient.env(
        "VOLKEEP_INIT_STEPS",
        format!("[{{wait_for: {{volume: {}}}, timeout: 300ms}}]", other.volume().display()),
    );
    run(&mut impatient).expect_code(1).says(&[
        "the volume",
        "was not there within 0.3 s",
        "nothing has made it ready",
    ]);
    let waiting = start(&mut lab.command(&["init"]));
    other.ok(&["init"]);
    finish(waiting).expect_code(0).says(&["step wait_for-1: done"]);
}
