//! Mount points where there should be none. Needs root and a mount namespace; skips itself without.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod volume_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use volkeep::volume::{State, VolumeError};
use volume_support::{Bench, DAY, Way, new_picture};

/// Mounting needs root and a mount namespace of our own: the test runs itself again inside one.
#[test]
fn mount_points_are_refused_before_anything_moves() {
    const INSIDE: &str = "VOLKEEP_TEST_IN_OWN_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return mounts_are_refused();
    }
    let may_mount = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
    assert!(
        may_mount.is_ok_and(|status| status.success()),
        "this test needs root and a mount namespace of its own"
    );
    let ended = Command::new("unshare")
        .args(["-m", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "mount_points_are_refused_before_anything_moves", "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(ended.unwrap().success());
}

fn mounts_are_refused() {
    // Something mounted at the top of a mount point.
    let bench = Bench::staged(Way::Entries);
    let inside = bench.data().join("mounted");
    let place = MountedOver::new(&inside, &["-t", "tmpfs", "tmpfs"]);
    let before = bench.live();
    let error = bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap_err();
    assert!(matches!(&error, VolumeError::MountInside { path } if *path == inside), "{error}");
    assert_eq!((bench.live(), bench.marker().phase.name()), (before, "staged"));
    drop(place);
    bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap();

    // A data directory that is a mount of its own, though of the same file system.
    let bench = Bench::staged(Way::Exchange);
    let data = bench.data().to_str().unwrap().to_owned();
    let place = MountedOver::new(bench.data(), &["--bind", &data]);
    for error in [bench.volume.prepare(), bench.volume.commit(&mut bench.marker(), &bench.clock).map(drop)] {
        assert!(matches!(error.unwrap_err(), VolumeError::OwnMount { .. }));
    }
    assert_eq!(bench.marker().phase.name(), "staged");
    drop(place);

    // A state directory in another mount of the same file system.
    let state_dir = bench.volume.state_dir().to_str().unwrap().to_owned();
    let place = MountedOver::new(bench.volume.state_dir(), &["--bind", &state_dir]);
    assert!(matches!(bench.volume.prepare().unwrap_err(), VolumeError::OtherFileSystem { .. }));
    drop(place);

    // A mount deep in a quarantined tree: its data is not ours to delete.
    bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap();
    let deep = bench.volume.quarantined().unwrap()[0].path.join("data/base/1/mounted");
    let place = MountedOver::new(&deep, &["-t", "tmpfs", "tmpfs"]);
    fs::write(deep.join("somebody's"), "").unwrap();
    bench.clock.advance(100 * DAY);
    assert!(bench.volume.sweep(&bench.clock).is_err());
    assert!(bench.volume.sweep(&bench.clock).is_err());
    let found = Command::new("find").arg(bench.volume.state_dir()).args(["-name", "somebody's"]).output();
    let found = String::from_utf8(found.unwrap().stdout).unwrap();
    // By the name it has now, so that the scratch directory can go.
    drop(MountedOver(Path::new(found.trim_end()).parent().unwrap().to_owned()));
    drop(place);
    assert_eq!((bench.live(), bench.state()), (new_picture(), State::Dirty));

    // A file system that can only be read.
    let bench = Bench::new(Way::Entries);
    let _place = MountedOver::new(bench.data(), &["-t", "tmpfs", "-o", "ro", "tmpfs"]);
    assert_eq!(bench.state(), State::Empty);
    assert!(matches!(bench.volume.prepare().unwrap_err(), VolumeError::ReadOnly { .. }));
}

/// Unmounted on drop.
struct MountedOver(PathBuf);

impl MountedOver {
    fn new(at: &Path, what: &[&str]) -> Self {
        fs::create_dir_all(at).unwrap();
        assert!(Command::new("mount").args(what).arg(at).status().unwrap().success());
        Self(at.to_owned())
    }
}

impl Drop for MountedOver {
    fn drop(&mut self) {
        // Lazily and by whatever name it has now; the namespace ends with us anyway.
        let _ = Command::new("umount").arg("-l").arg(&self.0).stderr(Stdio::null()).status();
    }
}
