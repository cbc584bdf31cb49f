//! Clusters that Debian's PostgreSQL made.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;
use volkeep::base::clock::{Clock, SystemClock};
use volkeep::volume::Holder;

use super::checks_support::{FULL, QUICK, check, comes_back, cut, expect, flip, verdict, volume};
use super::support::{Lab, Layout, copy, remove_all, run, shell};

/// One cluster with some rows, shut down, and its copy from when it was killed: made once for all tests that run at the
/// same time, and gone with the last of them.
struct Clusters {
    _root: TempDir,
    clean: PathBuf,
    killed: PathBuf,
}

fn clusters() -> Arc<Clusters> {
    static MADE: Mutex<Weak<Clusters>> = Mutex::new(Weak::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.upgrade().unwrap_or_else(|| {
        let root = tempfile::Builder::new().prefix("volkeep-clusters-").tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let (clean, killed) = (root.path().join("clean"), root.path().join("killed"));
        let script = "set -e
            \"$1\"/initdb --auth=trust --data-checksums --wal-segsize=1 --no-sync -D \"$2\" >/dev/null
            \"$1\"/pg_ctl start --silent --wait --timeout 120 -D \"$2\" -l \"$2\".log \\
                -o \"-c listen_addresses= -c fsync=off -c unix_socket_directories=$4\" >/dev/null
            \"$1\"/psql -XAtq -h \"$4\" -d postgres -c 'CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 20000) n' \\
                -c 'VACUUM t' -c 'CHECKPOINT' -c 'INSERT INTO t VALUES (0, 0)' -c \"SELECT pg_relation_filepath('t')\" > \"$4\"/t
            \"$1\"/pg_ctl stop --silent --mode immediate -D \"$2\" >/dev/null
            cp -a \"$2\" \"$3\"
            \"$1\"/pg_ctl start --silent --wait --timeout 120 -D \"$2\" -l \"$2\".log \\
                -o \"-c listen_addresses= -c fsync=off -c unix_socket_directories=$4\" >/dev/null
            \"$1\"/pg_ctl stop --silent --mode fast -D \"$2\" >/dev/null";
        let mut command = as_user(Path::new("bash"));
        command.args(["-c", script, "make"]).args([&bin(), &clean, &killed]).arg(root.path());
        run(&mut command).expect_code(0);
        let clusters = Arc::new(Clusters { _root: root, clean, killed });
        *made = Arc::downgrade(&clusters);
        clusters
    })
}

/// The newest version that is installed.
fn bin() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is missing; tests/run installs it")
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin"))))
        .collect();
    found.sort();
    found.pop().expect("PostgreSQL is missing; tests/run installs it").1
}

fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]).arg(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C.UTF-8");
    command.current_dir("/");
    command
}

/// The file with the rows, relative to the cluster.
fn table() -> String {
    fs::read_to_string(clusters().clean.parent().unwrap().join("t")).unwrap().trim().to_owned()
}

fn major() -> u32 {
    fs::read_to_string(clusters().clean.join("PG_VERSION")).unwrap().trim().parse().unwrap()
}

/// A volume with a cluster below `main`, backed up.
fn lab(cluster: &Path) -> Lab {
    let mut lab = Lab::filled(Layout::Subdirectory, |volume| copy(cluster, &volume.join("main")));
    check(&mut lab, "{postgres: main}");
    lab
}

fn main(lab: &Lab) -> PathBuf {
    lab.volume().join("main")
}

/// Whether PostgreSQL's own program finds the checksums of all pages right.
fn pages_are_right(lab: &Lab) -> bool {
    shell("chmod 755 \"$1\" && chown -R postgres \"$1\"/volume/data/main", &[lab.path("").as_os_str()]);
    run(as_user(&bin().join("pg_checksums")).arg("--check").arg("-D").arg(main(lab))).code == 0
}

#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn good_clusters_are_left_alone() {
    let made = clusters();
    for cluster in [&made.clean, &made.killed] {
        let mut lab = lab(cluster);
        for level in [QUICK, FULL] {
            expect(&lab, level, "good", "");
        }
        check(&mut lab, &format!("{{postgres: main, version: {}}}", major()));
        expect(&lab, FULL, "good", "");
    }
    let mut slow = lab(&made.clean);
    check(&mut slow, "{postgres: main, timeout: 1ms}");
    expect(&slow, FULL, "unknown", "not done within");
    assert!(pages_are_right(&lab(&made.clean)));
    // The volume itself.
    let mut lab = Lab::filled(Layout::MountPoint, |volume| {
        copy(&made.clean, &volume.join("t"));
        shell("mv \"$1\"/t/* \"$1\" && rmdir \"$1\"/t", &[volume.as_os_str()]);
    });
    check(&mut lab, "{postgres: .}");
    expect(&lab, FULL, "good", "");
    lab.ok(&["backup"]);
}

#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn what_a_server_cannot_start_on_is_damage_at_a_quick_look() {
    let made = clusters();
    let lab = lab(&made.clean);
    let control = main(&lab).join("global/pg_control");
    let whole = fs::read(&control).unwrap();
    for (broken, part) in [
        (whole[..4096].to_vec(), "4096 bytes"),
        (vec![0; 8192], "wrong checksum"),
        ([&whole[..100], &[whole[100] ^ 1], &whole[101..]].concat(), "wrong checksum"),
    ] {
        fs::write(&control, broken).unwrap();
        expect(&lab, QUICK, "damaged", part);
        let mut theirs = as_user(&bin().join("pg_controldata"));
        shell("chmod 755 \"$1\" && chown -R postgres \"$1\"/volume/data/main", &[lab.path("").as_os_str()]);
        let said = run(theirs.arg("-D").arg(main(&lab)));
        assert!(
            said.code != 0
                || format!("{}{}", said.stdout, said.stderr).contains("WARNING")
                || part == "4096 bytes",
            "{said}"
        );
    }
    fs::remove_file(&control).unwrap();
    expect(&lab, QUICK, "damaged", "global/pg_control is missing");
    fs::write(&control, &whole).unwrap();
    expect(&lab, QUICK, "good", "");
    // Directories without a file in them are what a bad backup loses.
    for name in ["pg_notify", "pg_twophase", "pg_logical/snapshots", "pg_commit_ts"] {
        fs::remove_dir(main(&lab).join(name)).unwrap();
        expect(&lab, QUICK, "damaged", &format!("{name} is missing"));
        fs::create_dir(main(&lab).join(name)).unwrap();
    }
    let other = if major() == 12 { "13" } else { "12" };
    fs::write(main(&lab).join("PG_VERSION"), other).unwrap();
    expect(&lab, QUICK, "damaged", "another version");
    fs::write(main(&lab).join("PG_VERSION"), "\0\0\0").unwrap();
    comes_back(&lab, "PG_VERSION does not hold a version");
    remove_all(&main(&lab));
    comes_back(&lab, "restoring");
}

#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn a_page_with_a_flipped_bit_is_damage_at_a_full_look() {
    let made = clusters();
    let lab = lab(&made.clean);
    let table = main(&lab).join(table());
    assert!(fs::metadata(&table).unwrap().len() > 20 * 8192);
    flip(&table, 17 * 8192 + 4321);
    expect(&lab, QUICK, "good", "");
    expect(&lab, FULL, "damaged", "page 17 of base/");
    assert!(!pages_are_right(&lab));
    flip(&table, 17 * 8192 + 4321);
    expect(&lab, FULL, "good", "");
    // A server makes its maps anew.
    flip(&table.with_file_name(format!("{}_vm", table.file_name().unwrap().to_str().unwrap())), 100);
    expect(&lab, FULL, "unknown", "_vm");
    // In a cluster that was killed the log would put it right.
    let killed = self::lab(&made.killed);
    flip(&main(&killed).join(self::table()), 17 * 8192 + 4321);
    expect(&killed, FULL, "good", "");
}

#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn a_cluster_without_its_log_is_damaged_unless_the_log_comes_from_elsewhere() {
    let made = clusters();
    for cluster in [&made.clean, &made.killed] {
        let lab = lab(cluster);
        let controldata =
            run(as_user(&bin().join("pg_controldata")).arg("-D").arg(cluster)).expect_code(0).stdout;
        let needed =
            controldata.lines().find_map(|line| line.strip_prefix("Latest checkpoint's REDO WAL file:"));
        let needed = main(&lab).join("pg_wal").join(needed.unwrap().trim());
        let whole = fs::read(&needed).unwrap();
        cut(&needed, 10);
        expect(&lab, FULL, "damaged", "cut off");
        fs::write(&needed, vec![0; whole.len()]).unwrap();
        expect(&lab, FULL, "damaged", "does not hold the log");
        fs::remove_file(&needed).unwrap();
        expect(&lab, QUICK, "good", "");
        expect(&lab, FULL, "damaged", "pg_wal has no file");
        for name in ["recovery.signal", "standby.signal", "backup_label"] {
            fs::write(main(&lab).join(name), "").unwrap();
            expect(&lab, FULL, "good", "");
            fs::remove_file(main(&lab).join(name)).unwrap();
        }
        fs::remove_dir_all(main(&lab).join("pg_wal")).unwrap();
        expect(&lab, QUICK, "damaged", "pg_wal is missing");
    }
}

#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn another_version_than_the_configured_one_stops_the_app_and_touches_nothing() {
    let made = clusters();
    let mut lab = lab(&made.clean);
    let repair = lab.path("repaired");
    lab.set("VOLKEEP_INIT_REPAIR_COMMAND", format!("touch,{}", repair.display()));
    check(&mut lab, &format!("{{postgres: main, version: {}}}", major() + 1));
    for level in [QUICK, FULL] {
        expect(
            &lab,
            level,
            "unfit",
            &format!("of PostgreSQL {}, and `version` says {}", major(), major() + 1),
        );
    }
    let refused = lab.exits(16, &["init"]);
    assert!(refused.stderr.contains("stays as it is"), "{refused}");
    lab.assert_back();
    assert!(!repair.exists());
    let status = lab.ok(&["status", "--json"]).json();
    assert_eq!(status["state"], "healthy");
    assert_eq!(status["unfit"][0]["check"], "postgres main");
    // The app beside a sidecar runs already.
    let volume = volume(&lab);
    let clock = SystemClock::default();
    let who = Holder { mode: "sidecar".into(), pod: "p".into(), host: "h".into(), since: clock.now() };
    let sidecar = volume.hold_sidecar_lock(&who, &clock).unwrap();
    let passed = lab.ok(&["init", "--json"]);
    assert_eq!(passed.json()["action"], "nothing");
    assert!(passed.stderr.contains("not what is configured"), "{passed}");
    drop(sidecar);
    // A backup is what an upgrade starts with.
    let stored = lab.ok(&["backup"]);
    assert!(stored.stderr.contains("not what is configured"), "{stored}");
    // What is brought back is as little what is configured, and is not brought back again and again.
    lab.wipe();
    lab.exits(16, &["init"]);
    lab.assert_back();
    assert_eq!(lab.state(), "healthy");
    lab.exits(16, &["init"]);
    assert!(
        !lab.state_dir().join("quarantine").exists()
            || fs::read_dir(lab.state_dir().join("quarantine")).unwrap().next().is_none()
    );
    // Damage goes before.
    fs::remove_dir(main(&lab).join("pg_notify")).unwrap();
    assert_eq!(verdict(&lab, QUICK).0, "damaged");
}

#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn a_server_at_work_is_no_damage() {
    let made = clusters();
    let lab = lab(&made.clean);
    shell(
        "chmod 755 \"$1\" \"$1\"/volume && chown -R postgres \"$1\"/volume/data && mkdir -m 777 \"$1\"/run",
        &[lab.path("").as_os_str()],
    );
    let socket = lab.path("run");
    let mut server = as_user(&bin().join("postgres"));
    server.arg("-D").arg(main(&lab)).args(["-c", "listen_addresses=", "-c", "fsync=off", "-c"]);
    let mut server = server.arg(format!("unix_socket_directories={}", socket.display())).spawn().unwrap();
    let ask = |sql: &str| {
        let mut psql = as_user(&bin().join("psql"));
        run(psql.args(["-XAtq", "-d", "postgres", "-h"]).arg(&socket).args(["-c", sql]))
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while ask("SELECT 1").code != 0 {
        assert!(std::time::Instant::now() < deadline, "the server does not start");
    }
    let told: Vec<_> = (0..15)
        .map(|number| {
            ask("UPDATE t SET n = n + 1; CHECKPOINT").expect_code(0);
            verdict(&lab, if number % 2 == 0 { QUICK } else { FULL })
        })
        .collect();
    run(Command::new("kill").args(["-INT", &server.id().to_string()])).expect_code(0);
    assert!(server.wait().unwrap().success());
    assert!(told.iter().all(|(word, _)| word == "good"), "{told:?}");
    expect(&lab, FULL, "good", "");
    assert!(pages_are_right(&lab));
}

#[test]
fn a_check_of_postgresql_that_is_configured_wrong_is_named() {
    let mut lab = Lab::new(Layout::Subdirectory);
    for (yaml, part) in [
        ("{postgres: /srv/data}", "absolute"),
        ("{postgres: main, version: 170004}", "`version`"),
        ("{exists: main, version: 17}", "`version` goes with `postgres` only"),
    ] {
        check(&mut lab, yaml);
        let refused = lab.exits(78, &["init"]);
        assert!(refused.stderr.contains("init.checks") && refused.stderr.contains(part), "{refused}");
    }
}
