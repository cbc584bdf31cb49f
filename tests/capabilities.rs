//! What volkeep can do as root without the capabilities that containers are usually deprived of: the table in
//! `deploy/kubernetes/README.md`. Needs root, which can take them away from its children.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use support::{Outcome, is_root, run, shell};

/// All that is needed for everything in [`TREE`], in the order of the table.
const ALL: [&str; 8] =
    ["dac_read_search", "chown", "fowner", "dac_override", "fsetid", "mknod", "setfcap", "sys_admin"];

/// Files of two owners, with something for each capability.
const TREE: &str = r#"
mkdir -p "$1/private" && cd "$1"
echo secret >private/own && chmod 600 private/own
echo group >private/group
cp /bin/true raw
mknod device c 1 3
setfattr -n trusted.note -v 1 private/own
chown -R 1234:4321 .
chmod 700 private && chmod 2755 private/group
setcap cap_net_raw+ep raw
"#;

#[test]
fn a_backup_needs_no_more_than_to_read() {
    let lab = Volumes::new();
    lab.volkeep("source", &[], &["backup"]).expect_code(3).says(&["private", "permission denied"]);
    lab.volkeep("source", &["dac_read_search"], &["backup"]).expect_code(0);
}

#[test]
fn a_restore_brings_back_what_it_has_capabilities_for() {
    let lab = Volumes::new();
    lab.volkeep("source", &ALL, &["backup"]).expect_code(0);
    lab.volkeep("whole", &ALL, &["restore"]).expect_code(0);
    for (without, says) in [
        ("chown", "raw: owner not restored"),
        ("fsetid", "private/group: mode not restored"),
        ("mknod", "device: device not restored"),
        ("setfcap", "raw: attribute not restored: security.capability"),
        ("sys_admin", "private/own: attribute not restored: trusted.note"),
    ] {
        let left: Vec<&str> = ALL.into_iter().filter(|one| *one != without).collect();
        lab.volkeep(without, &left, &["restore"]).expect_code(3).says(&[says]);
    }
    // The owner is set first; from then on it is somebody else's file.
    let left = ["chown", "dac_override", "fsetid", "mknod", "setfcap", "sys_admin"];
    lab.volkeep("fowner", &left, &["restore"])
        .expect_code(3)
        .says(&["mode not restored", "time not restored"]);
    let left = ["chown", "fowner", "fsetid", "mknod", "setfcap", "sys_admin"];
    lab.volkeep("dac_override", &left, &["restore"]).expect_code(1).says(&["permission denied"]);
    // Nobody's files are touched without any: they come back as our own.
    lab.volkeep("none", &[], &["restore"]).expect_code(3).says(&["private/own: owner not restored"]);
}

struct Volumes(tempfile::TempDir);

impl Volumes {
    fn new() -> Self {
        assert!(is_root(), "this test takes capabilities away from its children; run it as root");
        let lab = Self(tempfile::tempdir().unwrap());
        shell(TREE, &[lab.path("source/data").as_ref()]);
        lab
    }

    fn path(&self, below: &str) -> impl AsRef<OsStr> + AsRef<Path> + use<> {
        self.0.path().join(below)
    }

    /// Runs it as root with these capabilities and no others.
    fn volkeep(&self, volume: &str, capabilities: &[&str], words: &[&str]) -> Outcome {
        let named: String = capabilities.iter().map(|one| format!(",+{one}")).collect();
        let volume: &Path = &self.0.path().join(volume);
        std::fs::create_dir_all(volume).unwrap();
        run(Command::new("setpriv")
            .args([format!("--bounding-set=-all{named}"), format!("--inh-caps=-all{named}")])
            .arg("--no-new-privs")
            .arg(env!("CARGO_BIN_EXE_volkeep"))
            .args(words)
            .env("VOLKEEP_VOLUME", volume.join("data"))
            .env("VOLKEEP_STATE_DIR", volume.join(".volkeep"))
            .env("VOLKEEP_REPOSITORY", format!("file://{}", self.0.path().join("repository").display()))
            .env("VOLKEEP_INIT_CREATE_REPOSITORY", "true"))
    }
}
