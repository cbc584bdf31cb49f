//! Pods from the manifests of `deploy/kubernetes` on a real container engine: first boot, loss of the node, updates in
//! order and by force, kills, locks between containers, and memory limits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod pod_support;
mod support;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pod_support::engine::{PATIENCE, Site, await_some, docker, docker_ok};
use pod_support::objects::Objects;
use pod_support::pod::{Failed, Pod};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use support::{Outcome, shell};

const PROGRAM: &str = "/usr/local/bin/volkeep";
const SIDECAR: &str = "volkeep-sidecar";

/// A site where the StatefulSet was applied, with a repository: the consent to a first boot, given by a Job.
struct Applied {
    site: Site,
    objects: Objects,
    jobs: Objects,
}

impl Applied {
    fn new(name: &str, directory: &str) -> Self {
        let applied = Self {
            site: Site::new(name),
            objects: Objects::rendered(directory),
            jobs: Objects::rendered("kubernetes/jobs"),
        };
        applied.job("wiki-repository", "nothing").unwrap_or_else(|failed| panic!("{failed:?}"));
        applied
    }

    fn pod(&self, name: &str, claim: &str) -> Pod<'_> {
        Pod::new(&self.site, &self.objects, self.objects.only("StatefulSet"), name, claim)
    }

    /// A pod of one of the Jobs, with the volume of another pod.
    fn job(&self, name: &str, claim: &str) -> Result<String, Failed> {
        let mut objects = self.jobs.clone();
        objects.0.extend(self.objects.0.iter().cloned());
        let job = objects.0.iter().find(|object| object["metadata"]["name"] == name);
        let mut job = job.unwrap_or_else(|| panic!("there is no {name}")).clone();
        // Whoever applies it has to say which: there is no snapshot of this name.
        let arguments =
            job.pointer_mut("/spec/template/spec/containers/0/args").and_then(Value::as_array_mut);
        if let Some(word) = arguments.and_then(|list| list.iter_mut().find(|word| *word == "SNAPSHOT")) {
            *word = "latest".into();
        }
        let pod = Pod::new(&self.site, &objects, &job, &format!("{name}-1"), claim);
        let result = pod.run_job();
        pod.lose();
        result
    }

    fn claim(&self, name: &str) -> PathBuf {
        self.site.path(&format!("claims/{name}"))
    }
}

fn put(pod: &Pod<'_>, name: &str, text: &str) {
    pod.curl(&["--request", "PUT", "--data-binary", text, &page(name)]).expect_code(0);
}

fn page(name: &str) -> String {
    format!("http://localhost:8080/{name}")
}

fn get(pod: &Pod<'_>, name: &str) -> String {
    pod.curl(&[&page(name)]).expect_code(0).stdout
}

fn back_up(pod: &Pod<'_>) -> Outcome {
    pod.exec(SIDECAR, &[PROGRAM, "run", "backup"])
}

fn status(pod: &Pod<'_>) -> Value {
    serde_json::from_str(&pod.curl(&["http://localhost:9188/status"]).expect_code(0).stdout).unwrap()
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn a_lost_node_costs_nothing_that_was_saved() {
    let applied = Applied::new("node", "kubernetes/statefulset");
    let first = applied.pod("wiki-0", "first");
    first.start_well();
    put(&first, "page.txt", "the first page");
    back_up(&first).expect_code(0);
    // As the manifests say it, and the kernel has it: no rights, a root that cannot be written, a process 1 in each.
    let own = first.exec(SIDECAR, &[PROGRAM, "--version"]).expect_code(0);
    assert!(own.stdout.contains(env!("CARGO_PKG_VERSION")), "{own}");
    assert!(first.exec(SIDECAR, &["/bin/sh", "-c", "true"]).code != 0, "there is a shell in the image");
    for container in [SIDECAR, "wiki"] {
        let state = shell(
            "grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|NSpid)' /proc/$(docker inspect -f '{{.State.Pid}}' $1)/status",
            &[first.container(container).as_ref()],
        );
        let line = |name: &str| state.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert_eq!(line("Uid").split_whitespace().nth(1), Some("1000"), "{state}");
        assert_eq!(line("NSpid").split_whitespace().last(), Some("1"), "{state}");
        assert_eq!(line("NoNewPrivs").split_whitespace().last(), Some("1"), "{state}");
        for set in ["CapEff", "CapBnd"] {
            assert!(line(set).ends_with("0000000000000000"), "{state}");
        }
    }
    assert!(first.probe(SIDECAR, "livenessProbe") && first.probe("wiki", "readinessProbe"));
    first.lose();
    fs::remove_dir_all(applied.claim("first")).unwrap();

    let second = applied.pod("wiki-0", "second");
    second.start_well();
    assert_eq!(get(&second, "page.txt"), "the first page");
    assert!(second.log("volkeep-init").contains("restore"), "{}", second.log("volkeep-init"));
    // What came back is the app's, and it goes on writing.
    put(&second, "page.txt", "the second page");
    back_up(&second).expect_code(0);
    assert_eq!(get(&second, "page.txt"), "the second page");
    second.delete();
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn without_a_repository_the_app_does_not_start() {
    let site = Site::new("none");
    let objects = Objects::rendered("kubernetes/statefulset");
    let pod = Pod::new(&site, &objects, objects.only("StatefulSet"), "wiki-0", "data");
    let failed = pod.start().unwrap_err();
    assert_eq!((failed.container.as_str(), failed.code), ("volkeep-init", 10), "{failed:?}");
    assert!(failed.message.contains("repository"), "what is seen in the status of the pod: {failed:?}");
    assert!(!pod.exists("wiki") && !pod.exists(SIDECAR));
    // And again and again, as the kubelet does it.
    assert_eq!(pod.start().unwrap_err().code, 10);
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn locks_hold_between_containers_and_die_with_them() {
    let applied = Applied::new("locks", "kubernetes/statefulset");
    let pod = applied.pod("wiki-0", "data");
    pod.start_well();
    put(&pod, "page.txt", "a page");
    back_up(&pod).expect_code(0);
    put(&pod, "page.txt", "a younger page");

    // In the sidecar's own container, and in one of another pod.
    let refused = pod.exec(SIDECAR, &[PROGRAM, "restore", "--force"]).expect_code(11);
    assert!(refused.stderr.contains("wiki-0"), "it says who: {refused}");
    let failed = applied.job("wiki-restore", "data").unwrap_err();
    assert_eq!(failed.code, 11, "{failed:?}");
    assert!(failed.log.contains("wiki-0"), "{failed:?}");
    assert_eq!(get(&pod, "page.txt"), "a younger page");

    // Killed, it is started again alone, and nothing of it is in the way.
    for _ in 0..3 {
        pod.kill_and_restart(SIDECAR);
        back_up(&pod).expect_code(0);
    }
    pod.lose();
    // With all containers gone there is nobody to ask for a lock.
    let log = applied.job("wiki-restore", "data").unwrap_or_else(|failed| panic!("{failed:?}"));
    assert!(log.contains("restored"), "{log}");
    let again = applied.pod("wiki-0", "data");
    again.start_well();
    assert_eq!(get(&again, "page.txt"), "a younger page");
    again.delete();
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn an_update_in_order_saves_what_was_written_last() {
    let applied = Applied::new("update", "kubernetes/statefulset");
    let old = applied.pod("wiki-0", "data");
    old.start_well();
    put(&old, "page.txt", "written just before the end");
    old.delete();

    // The same volume, and init had nothing to do.
    let new = applied.pod("wiki-0", "data");
    new.start_well();
    assert_eq!(get(&new, "page.txt"), "written just before the end");
    assert!(new.log("volkeep-init").contains("healthy"), "{}", new.log("volkeep-init"));
    new.delete();

    // Another one: the last backup was made after the app had ended.
    let elsewhere = applied.pod("wiki-0", "elsewhere");
    elsewhere.start_well();
    assert_eq!(get(&elsewhere, "page.txt"), "written just before the end");
    elsewhere.delete();
}

/// A pod that is deleted by force has a successor before it has ended.
#[test]
#[ignore = "needs a container engine: tests/run"]
fn a_successor_on_the_same_volume_stands_by_for_the_one_before() {
    let applied = Applied::new("force", "kubernetes/statefulset");
    let old = applied.pod("wiki-old", "data");
    old.start_well();
    put(&old, "page.txt", "a page");
    back_up(&old).expect_code(0);

    let new = applied.pod("wiki-new", "data");
    new.start_well();
    assert_eq!(get(&new, "page.txt"), "a page");
    // It lives, and does not hold the volume.
    assert!(new.probe(SIDECAR, "livenessProbe"));
    assert!(new.curl(&["http://localhost:9188/readyz"]).code != 0);
    put(&new, "page.txt", "a younger page");
    old.delete();
    let done = await_some("the new sidecar to take over", || {
        let asked = back_up(&new);
        (asked.code == 0).then_some(asked)
    });
    assert!(done.stdout.contains("snapshot"), "{done}");
    assert_eq!(get(&new, "page.txt"), "a younger page");
    new.delete();
}

/// A node that is cut off goes on for a while: what it has is old from the moment the successor has restored.
#[test]
#[ignore = "needs a container engine: tests/run"]
fn a_pod_that_was_replaced_elsewhere_writes_nothing_more() {
    let applied = Applied::new("fence", "kubernetes/statefulset");
    let old = applied.pod("wiki-old", "old");
    old.start_well();
    put(&old, "page.txt", "a page");
    back_up(&old).expect_code(0);

    let new = applied.pod("wiki-new", "new");
    new.start_well();
    put(&old, "page.txt", "of the old pod");
    // The lease is gone from the moment of the restore, and then there is a newer snapshot too.
    // That one is there already where the schedule of the new one has had its instant.
    let refused = back_up(&old).says(&["another", "wiki-new"]);
    assert!([11, 16].contains(&refused.code), "{refused}");
    put(&new, "page.txt", "of the new pod");
    back_up(&new).expect_code(0);
    back_up(&old).expect_code(16).says(&["newer snapshot", "wiki-new"]);
    // It is seen from outside, and is no reason to restart anything.
    assert!(old.probe(SIDECAR, "livenessProbe"));
    assert!(old.curl(&["http://localhost:9188/readyz"]).code != 0);
    old.lose();
    new.lose();
    let third = applied.pod("wiki-third", "third");
    third.start_well();
    assert_eq!(get(&third, "page.txt"), "of the new pod");
    third.delete();
}

/// Killed at any stage, a container leaves what the next one finishes.
#[test]
#[ignore = "needs a container engine: tests/run"]
fn an_init_container_that_is_killed_is_finished_by_the_next() {
    let applied = Applied::new("kill", "kubernetes/statefulset");
    let first = applied.pod("wiki-0", "first");
    first.start_well();
    let claim = applied.claim("first");
    shell(
        "head -c 10000000 /dev/urandom > \"$1/data/large\"
         head -c 40000000 /dev/urandom | split -a 4 -b 20000 - \"$1/data/page-\"
         chown -R 1000:1000 \"$1/data\"",
        &[claim.as_os_str()],
    );
    back_up(&first).expect_code(0);
    first.lose();

    let pod = applied.pod("wiki-0", "second");
    let mut init = pod.described("volkeep-init").clone();
    // So slow that there is time to look.
    let slow = json!({"name": "VOLKEEP_LIMITS_DOWNLOAD", "value": "5MiB"});
    init["env"].as_array_mut().unwrap().push(slow);
    let state = applied.claim("second").join(".volkeep");
    let entries = || fs::read_dir(state.join("staging/tree")).map_or(0, Iterator::count);
    let phase = || {
        let text = fs::read_to_string(state.join("marker.json")).unwrap_or_default();
        let marker: Value = serde_json::from_str(&text).unwrap_or_default();
        marker["phase"]["name"].as_str().unwrap_or_default().to_owned()
    };
    let stages: [(&str, &dyn Fn() -> bool); 5] = [
        ("staging is there", &|| state.join("staging").is_dir()),
        ("a few entries", &|| entries() > 10),
        ("500 entries", &|| entries() > 500),
        ("1500 entries", &|| entries() > 1500),
        // Soon over: this one may come too late.
        ("all staged", &|| ["staged", "committing"].contains(&phase().as_str())),
    ];
    let mut killed = Vec::new();
    for (stage, is_there) in stages {
        if kill_when(&pod, &init, is_there) {
            killed.push(format!("{stage}: {}, {} entries", phase(), entries()));
        }
    }
    println!("killed: {killed:#?}");
    assert!(killed.len() >= 3, "most ended before they were killed: {killed:#?}");
    pod.start_well();
    shell("diff -r \"$1/data\" \"$2/data\"", &[claim.as_os_str(), applied.claim("second").as_os_str()]);
    pod.delete();
}

/// Runs the init container, with SIGKILL as soon as `is_there` says so. Gives whether that ended it.
#[track_caller]
fn kill_when(pod: &Pod<'_>, init: &Value, is_there: &dyn Fn() -> bool) -> bool {
    let own = pod.container("volkeep-init");
    pod.launch(init);
    let id = docker_ok(&["inspect", "--format", "{{.State.Pid}}", &own]);
    // There is none of one that has ended already. The engine's own way to kill takes longer than some stages.
    let process = Pid::from_raw(id.parse().unwrap());
    if let Some(process) = process.and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok()) {
        let (alive, limit) = (PathBuf::from(format!("/proc/{id}")), Instant::now() + PATIENCE);
        while !is_there() && alive.exists() {
            assert!(Instant::now() < limit, "it got no further: {}", pod.log("volkeep-init"));
            std::thread::sleep(Duration::from_millis(1));
        }
        // Unless it has ended meanwhile.
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
    docker_ok(&["wait", &own]);
    let end = docker_ok(&["inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", &own]);
    let log = pod.log("volkeep-init");
    assert!(["137 false", "0 false"].contains(&end.as_str()), "it ended with {end}: {log}");
    end == "137 false"
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn where_there_are_no_native_sidecars_the_life_is_the_same() {
    let applied = Applied::new("ordinary", "kubernetes/without-native-sidecars");
    let first = applied.pod("wiki-0", "first");
    first.start_well();
    put(&first, "page.txt", "a page");
    back_up(&first).expect_code(0);
    first.lose();
    let second = applied.pod("wiki-0", "second");
    second.start_well();
    assert_eq!(get(&second, "page.txt"), "a page");
    second.delete();
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn a_cron_job_saves_what_has_no_sidecar() {
    let applied = Applied::new("cron", "kubernetes/statefulset");
    let pod = applied.pod("wiki-0", "data");
    pod.start_well();
    put(&pod, "page.txt", "a page");
    pod.delete();
    let claim = applied.claim("data");
    shell("echo more > \"$1/data/more.txt\"; chown 1000:1000 \"$1/data/more.txt\"", &[claim.as_os_str()]);
    applied.job("wiki-backup", "data").unwrap_or_else(|failed| panic!("{failed:?}"));
    applied.job("wiki-prune", "data").unwrap_or_else(|failed| panic!("{failed:?}"));
    let elsewhere = applied.pod("wiki-0", "elsewhere");
    elsewhere.start_well();
    assert_eq!(get(&elsewhere, "more.txt"), "more\n");
    elsewhere.delete();
}

/// Workloads that were there before, with volkeep added by the component.
#[test]
#[ignore = "needs a container engine: tests/run"]
fn the_component_makes_any_workload_keep_its_volume() {
    let objects = Objects::rendered("kubernetes/component-example");
    for (kind, name) in [("StatefulSet", "notes-server"), ("Deployment", "board-server")] {
        let site = Site::new(name);
        let workload = objects.get(kind, name);
        let first = Pod::new(&site, &objects, workload, "first", "first");
        first.run_instead("volkeep-init", &["repository", "init"]);
        first.start_well();
        let page = page("page.txt");
        first.curl(&["--request", "PUT", "--data-binary", "a page", &page]).expect_code(0);
        back_up(&first).expect_code(0);
        first.lose();
        let second = Pod::new(&site, &objects, workload, "second", "second");
        second.start_well();
        assert_eq!(second.curl(&[&page]).expect_code(0).stdout, "a page", "{name}");
        let listed =
            second.curl(&["--request", "PROPFIND", "--header", "Depth: 1", "http://localhost:8080/"]);
        assert!(!listed.stdout.contains(".volkeep"), "the app serves the state directory: {listed}");
        second.delete();
    }
}

/// `POD_MIB=5120` for as much as somebody might have; less in passing.
#[test]
#[ignore = "needs a container engine: tests/run"]
fn memory_limits_hold_whatever_the_size() {
    let mib: u64 = std::env::var("POD_MIB").map_or(768, |text| text.parse().unwrap());
    let applied = Applied::new("memory", "kubernetes/statefulset");
    let first = applied.pod("wiki-0", "first");
    let limit = |name: &str| first.described(name)["resources"]["limits"]["memory"].clone();
    assert_eq!((limit("volkeep-init"), limit(SIDECAR)), ("128Mi".into(), "64Mi".into()));
    first.start_well();
    let claim = applied.claim("first");
    // A file of half of it, which takes the most memory, and many of all sizes. Nothing of it can be compressed.
    shell(
        "half=$(($2 / 2))
         head -c \"${half}M\" /dev/urandom > \"$1/data/large\"
         mkdir \"$1/data/many\"
         for i in $(seq $((half / 4))); do head -c 3M /dev/urandom > \"$1/data/many/m$i\"; done
         head -c \"$((half / 4))M\" /dev/urandom | split -a 6 -b 40000 - \"$1/data/many/s\"
         chown -R 1000:1000 \"$1/data\"",
        &[claim.as_os_str(), mib.to_string().as_ref()],
    );
    let said = back_up(&first).expect_code(0);
    println!("{mib} MiB backed up: {}", said.stdout);
    println!("sidecar: {}", peak(&first, SIDECAR));
    assert!(!first.was_too_large(SIDECAR) && first.is_running(SIDECAR));
    let used = status(&first);
    assert_eq!(used["jobs"][0]["last"]["outcome"], "done", "{used}");
    first.lose();

    let second = applied.pod("wiki-0", "second");
    second.start_well();
    assert!(!second.was_too_large("volkeep-init"));
    let said = second.log("volkeep-init");
    println!("restored: {}", said.lines().last().unwrap_or_default());
    shell("diff -r \"$1/data\" \"$2/data\"", &[claim.as_os_str(), applied.claim("second").as_os_str()]);
    second.delete();
}

/// What the kernel has counted for the container, and how often its limit was met: pages of files count as well, and
/// are given back. Worth a line, and no more: where it stands differs from machine to machine.
fn peak(pod: &Pod<'_>, name: &str) -> String {
    let id = docker(&["inspect", "--format", "{{.Id}}", &pod.container(name)]).stdout;
    shell(
        "new=/sys/fs/cgroup/docker/$1 old=/sys/fs/cgroup/memory/docker/$1
         if [ -e \"$new/memory.peak\" ]; then
             grep -E '^(anon|file) ' \"$new/memory.stat\"
             echo \"most $(cat \"$new/memory.peak\"), met $(sed -n 's/^max //p' \"$new/memory.events\") times\"
         else
             grep -E '^(total_rss|total_cache) ' \"$old/memory.stat\"
             echo \"most $(cat \"$old/memory.max_usage_in_bytes\"), met $(cat \"$old/memory.failcnt\") times\"
         fi || echo unknown",
        &[id.trim().as_ref()],
    )
}
