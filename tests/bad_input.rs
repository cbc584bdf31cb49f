//! Damage of every kind: to what the repository stores, to the marker, to the disk under the volume. Each ends in a
//! clear error with its exit code, leaves the data that was there alone, and the next run can go on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]
#![allow(clippy::print_stdout, reason = "how much was covered is worth knowing")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Lab, Layout, Outcome, copy, differences, few_entries, made_tree, remove_all, run, same, wrap};

const FAILED: i32 = 1;
const NOTHING_THERE: i32 = 10;
const DAMAGED: i32 = 12;
const REFUSED: i32 = 16;
const CONFIGURATION: i32 = 78;

const BOTH: [Layout; 2] = [Layout::Subdirectory, Layout::MountPoint];

#[test]
fn a_damaged_pack_is_named_and_nothing_goes_live() {
    damage_to("packs", &[Damage::Cut, Damage::Emptied, Damage::Gone, Damage::Flipped(500), Damage::Swapped]);
}

#[test]
fn a_damaged_segment_is_named_and_nothing_goes_live() {
    damage_to(
        "segments",
        &[Damage::Cut, Damage::Emptied, Damage::Gone, Damage::Flipped(500), Damage::Swapped],
    );
}

#[test]
fn a_damaged_snapshot_is_named_and_nothing_goes_live() {
    damage_to("snapshots", &[Damage::Cut, Damage::Emptied, Damage::Flipped(500), Damage::Flipped(100)]);
}

#[test]
fn the_description_of_the_repository_may_be_damaged_too() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let file = lab.repository().join("repository.json");
    for damage in [Damage::Cut, Damage::Emptied, Damage::Flipped(300)] {
        lab.wipe();
        let whole = damage.inflict(&file, None);
        lab.exits(DAMAGED, &["init"]).says(&["repository.json"]);
        assert_no_data(&lab);
        fs::write(&file, whole).unwrap();
        lab.ok(&["init"]);
        lab.assert_back();
    }
}

/// In thousandths of the file's length where that matters.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// Half of it is left.
    Cut,
    Emptied,
    Gone,
    /// One bit is another.
    Flipped(usize),
    /// The content of another object of the same kind, whole in itself.
    Swapped,
}

impl Damage {
    /// Gives back what was there.
    fn inflict(self, file: &Path, other: Option<&Path>) -> Vec<u8> {
        let whole = fs::read(file).unwrap();
        let mut bytes = whole.clone();
        match self {
            Self::Cut => bytes.truncate(whole.len() / 2),
            Self::Emptied => bytes.clear(),
            Self::Flipped(at) => bytes[whole.len() * at / 1000] ^= 0x10,
            Self::Swapped => bytes = fs::read(other.expect("there is another object")).unwrap(),
            Self::Gone => {
                fs::remove_file(file).unwrap();
                return whole;
            }
        }
        replace(file, &bytes);
        whole
    }
}

/// Objects are written once and may be read-only; root does not notice, others do.
fn replace(file: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(file);
    fs::write(file, bytes).unwrap();
}

/// Two backups, so that there is another object of each kind; the damage hits one that the newest snapshot needs.
fn damage_to(kind: &str, damages: &[Damage]) {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let before = lab.stored(kind);
    lab.ok(&["check", "--verify"]);
    few_entries(&lab.volume().join("second"));
    fs::write(lab.volume().join("more"), support::random_bytes(77, 900_000)).unwrap();
    lab.ok(&["backup"]);
    lab.keep_reference();
    let file = lab.stored(kind).into_iter().find(|file| !before.contains(file)).expect("a new object");
    let name = file.file_stem().unwrap().to_string_lossy().into_owned();
    for damage in damages {
        let context = format!("{damage:?} {}", file.display());
        // With the data in place, a forced restore fails and leaves it there.
        let whole = damage.inflict(&file, before.first().map(PathBuf::as_path));
        // What the volume itself remembers of a segment would do as well.
        let _ = fs::remove_dir_all(lab.state_dir().join("cache"));
        let live = lab.run(&["restore", "latest", "--force"]);
        assert!(live.code == DAMAGED, "{context}: {live}");
        lab.assert_back();

        // Structure alone cannot show a bit that flipped; reading the data must.
        let check = lab.run(&["check", "--verify"]);
        assert!(check.code == DAMAGED && named(&check, &name), "{context}: not named by {check}");

        // With the data gone, nothing half comes back.
        lab.wipe();
        let init = lab.run(&["init"]);
        assert!(init.code == DAMAGED && named(&init, &name), "{context}: not named by {init}");
        assert_no_data(&lab);
        assert_ne!(lab.state(), "healthy", "{context}");

        // The object is mended: the next run goes on.
        replace(&file, &whole);
        lab.ok(&["init"]);
        lab.assert_back();
        assert_eq!(lab.state(), "healthy", "{context}");
        lab.ok(&["check", "--verify"]);
    }
}

/// Names are long, and messages may cut them. A snapshot's begins with its time, which says little.
fn named(outcome: &Outcome, name: &str) -> bool {
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    let id = name.rsplit('-').next().unwrap();
    said.contains(&id[..id.len().min(8)])
}

#[track_caller]
fn assert_no_data(lab: &Lab) {
    let found: Vec<_> = fs::read_dir(lab.volume())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != ".volkeep")
        .collect();
    assert!(found.is_empty(), "half a restore went live: {found:?}");
}

/// What `zstd -dc` makes of it; `None` if it refuses.
fn decoded(file: &Path) -> Option<Vec<u8>> {
    let output = Command::new("zstd").arg("-dcq").arg(file).output().unwrap();
    output.status.success().then_some(output.stdout)
}

#[test]
fn any_flipped_bit_is_noticed_or_harmless() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    for kind in ["packs", "segments", "snapshots"] {
        for file in lab.stored(kind) {
            for at in [0, 3, 100, 250, 750, 990, 999] {
                lab.wipe();
                let whole = Damage::Flipped(at).inflict(&file, None);
                let outcome = lab.run(&["init"]);
                // What a restore does not need to read may be damaged without its notice, but never what it needs.
                match outcome.code {
                    0 => lab.assert_back(),
                    DAMAGED => assert_no_data(&lab),
                    _ => panic!("{}, bit at {at}‰: {outcome}", file.display()),
                }
                let check = lab.run(&["check", "--verify"]);
                // A bit that says how much memory a decoder should have ready changes nothing of what is stored, and
                // then the plain tool reads the same.
                let harmless = kind == "segments" && check.code == 0 && {
                    let damaged = decoded(&file);
                    replace(&file, &whole);
                    outcome.code == 0 && damaged.is_some() && damaged == decoded(&file)
                };
                assert!(
                    check.code == DAMAGED || harmless,
                    "{}, bit at {at}‰: unnoticed by {check}",
                    file.display()
                );
                replace(&file, &whole);
            }
        }
    }
}

#[test]
fn without_its_newest_snapshot_a_repository_still_has_the_others() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let first = lab.stored("snapshots");
    fs::write(lab.volume().join("second"), b"second").unwrap();
    lab.ok(&["backup"]);
    let second = lab.stored("snapshots").into_iter().find(|file| !first.contains(file)).unwrap();
    fs::remove_file(second).unwrap();
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
}

#[test]
fn a_repository_that_is_gone_stops_an_empty_volume_and_no_other() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let away = lab.path("away");
    fs::rename(lab.repository(), &away).unwrap();
    lab.ok(&["init"]);
    lab.assert_back();
    lab.wipe();
    lab.exits(NOTHING_THERE, &["init"]);
    assert_no_data(&lab);
    fs::rename(&away, lab.repository()).unwrap();
    lab.ok(&["init"]);
    lab.assert_back();
}

#[test]
fn a_marker_that_cannot_be_trusted_is_for_a_person_to_judge() {
    for layout in BOTH {
        let lab = Lab::filled(layout, few_entries);
        let marker = lab.state_dir().join("marker.json");
        let whole = fs::read(&marker).unwrap();
        let newer = String::from_utf8(whole.clone()).unwrap();
        let spoiled: [(&str, Vec<u8>); 5] = [
            ("empty", Vec::new()),
            ("half", whole[..whole.len() / 2].to_vec()),
            ("zeros", vec![0; whole.len()]),
            ("not JSON", b"ready\n".to_vec()),
            ("flipped", newer.replace("laboratory", "laboratorx").into_bytes()),
        ];
        for (what, bytes) in spoiled {
            assert_ne!(bytes, whole, "{what}");
            fs::write(&marker, &bytes).unwrap();
            let outcome = lab.run(&["init"]).says(&["marker.json"]);
            assert!(outcome.code == REFUSED, "{layout:?}, {what}: {outcome}");
            assert_eq!(fs::read(&marker).unwrap(), bytes, "{what}: the marker was written");
            lab.assert_back();
            assert_ne!(lab.run(&["backup"]).code, 0, "{what}: backed up a volume nobody knows");
        }
        fs::write(&marker, &whole).unwrap();
        lab.ok(&["init"]);
        lab.assert_back();
    }
}

#[test]
fn a_marker_of_a_newer_version_is_left_alone() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let marker = lab.state_dir().join("marker.json");
    let whole = fs::read(&marker).unwrap();
    let newer =
        volkeep::base::sealed::seal(&serde_json::json!({ "phase": { "name": "resting" } }), 99).unwrap();
    fs::write(&marker, &newer).unwrap();
    lab.exits(REFUSED, &["init"]).says(&["newer", "99"]);
    assert_eq!(fs::read(&marker).unwrap(), newer);
    lab.assert_back();
    fs::write(&marker, whole).unwrap();
    lab.ok(&["init"]);
}

#[test]
fn a_repository_of_a_newer_version_is_left_alone() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let file = lab.repository().join("repository.json");
    let newer = volkeep::base::sealed::seal(&serde_json::json!({ "id": "0" }), 99).unwrap();
    replace(&file, &newer);
    lab.ok(&["init"]);
    lab.exits(DAMAGED, &["backup"]);
    lab.wipe();
    lab.exits(DAMAGED, &["init"]).says(&["newer"]);
    assert_no_data(&lab);
    assert_eq!(fs::read(&file).unwrap(), newer);
}

#[test]
fn a_full_disk_ends_a_restore_and_more_room_finishes_it() {
    for layout in BOTH {
        too_small_a_disk(layout, "size=1m,nr_inodes=100000", &["space", "room", "full", "free"]);
    }
}

#[test]
fn a_disk_without_inodes_ends_a_restore_and_more_of_them_finish_it() {
    for layout in BOTH {
        too_small_a_disk(layout, "size=64m,nr_inodes=60", &["inode", "space"]);
    }
}

/// The volume is a disk of its own with the given bounds; the message has to hold one of the words.
fn too_small_a_disk(layout: Layout, bounds: &str, words: &[&str]) {
    let lab = Lab::filled(layout, |root| made_tree(root, 2000, 11));
    remove_all(&lab.path("volume"));
    fs::create_dir(lab.path("volume")).unwrap();
    let lab = lab.with("BOUNDS", bounds);
    let outcome = lab
        .inside_mounts(
            r#"mount -t tmpfs -o "$BOUNDS" none "$LAB/volume"; mkdir -p "$VOLUME"
               code=0; "$@" >"$LAB/first" 2>&1 || code=$?; echo "$code" >"$LAB/code"
               ls -A "$VOLUME" | grep -vx .volkeep >"$LAB/live" || true
               mount -o remount,size=256m,nr_inodes=100000 "$LAB/volume"
               "$@"
               # Not by rsync: it leaves a directory's time alone that is off by less than a second.
               mkdir "$LAB/out"; cp -a "$VOLUME/." "$LAB/out/"; rm -rf "$LAB/out/.volkeep"
               touch -r "$VOLUME" "$LAB/out""#,
            &["init"],
        )
        .expect_code(0);
    let first = fs::read_to_string(lab.path("first")).unwrap();
    let code: i32 = fs::read_to_string(lab.path("code")).unwrap().trim().parse().unwrap();
    assert!([FAILED, REFUSED].contains(&code), "{layout:?}: exit code {code}: {first}\n{outcome}");
    assert!(words.iter().any(|word| first.to_lowercase().contains(word)), "{layout:?}: {first}");
    assert_eq!(fs::read_to_string(lab.path("live")).unwrap(), "", "{layout:?}: half a restore went live");
    same(&lab.reference(), &lab.path("out"));
}

#[test]
fn a_read_only_volume_is_named_as_such() {
    let mount =
        r#"mount --bind "$LAB/volume" "$LAB/volume"; mount -o remount,ro,bind "$LAB/volume"; exec "$@""#;
    for layout in BOTH {
        let lab = Lab::filled(layout, few_entries);
        let outcome = lab.inside_mounts(mount, &["restore", "--force"]).says(&["read-only"]);
        assert!([FAILED, 14, REFUSED].contains(&outcome.code), "{outcome}");
        lab.assert_back();
        lab.wipe();
        let outcome = lab.inside_mounts(mount, &["init"]).says(&["read-only"]);
        assert!([FAILED, 14, REFUSED].contains(&outcome.code), "{outcome}");
        assert_no_data(&lab);
        lab.ok(&["init"]);
        lab.assert_back();
    }
}

#[test]
fn a_state_directory_on_another_file_system_is_refused() {
    let mut lab = Lab::filled(Layout::Subdirectory, few_entries);
    lab.wipe();
    fs::create_dir(lab.path("other")).unwrap();
    lab.set("VOLKEEP_STATE_DIR", lab.path("other/state"));
    let mount = r#"mount -t tmpfs none "$LAB/other"; mkdir "$LAB/other/state"; exec "$@""#;
    let outcome = lab.inside_mounts(mount, &["init"]).says(&["file system"]);
    assert!([FAILED, REFUSED, CONFIGURATION].contains(&outcome.code), "{outcome}");
    assert_no_data(&lab);
    lab.set("VOLKEEP_STATE_DIR", lab.state_dir());
    lab.ok(&["init"]);
    lab.assert_back();
}

#[test]
fn a_symlink_in_the_way_leads_nowhere() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let (target, outside) = (lab.path("target"), lab.path("outside"));
    fs::create_dir_all(&target).unwrap();
    fs::create_dir_all(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, target.join("one")).unwrap();
    // Refused or replaced, but never followed.
    let outcome = lab.run(&["restore", "latest", "--target", target.to_str().unwrap(), "--force"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "wrote through a symlink: {outcome}");
    assert_eq!(lab.state(), "healthy");
    lab.assert_back();
}

#[test]
fn wrong_configuration_is_told_with_the_nearest_name() {
    let lab = Lab::new(Layout::Subdirectory);
    let url = lab.url();
    let lab = lab.with_config(&format!("volume: {{ indentity: x }}\nrepositories: [{{ url: \"{url}\" }}]\n"));
    lab.exits(CONFIGURATION, &["init"]).says(&["indentity", "identity"]);
    let lab = Lab::new(Layout::Subdirectory).with("VOLKEEP_INIT_CREATE_REPOSITRY", "true");
    lab.exits(CONFIGURATION, &["init"]).says(&["VOLKEEP_INIT_CREATE_REPOSITORY"]);
}

/// What the disk can answer in the middle of a restore, call by call.
const FAULTS: [(&str, &str); 7] = [
    ("/^(write|writev|pwrite64|pwritev|pwritev2|copy_file_range)$", "ENOSPC"),
    ("/^(fsync|fdatasync|syncfs)$", "EIO"),
    ("/^rename", "ENOSPC"),
    ("/^mkdir", "ENOSPC"),
    ("/^(symlink|symlinkat|link|linkat|mknod|mknodat)$", "ENOSPC"),
    ("/^(ftruncate|fallocate)$", "ENOSPC"),
    ("/^(read|pread64|preadv|preadv2)$", "EIO"),
];

#[test]
fn a_disk_that_fails_in_the_middle_of_a_restore_in_a_subdirectory() {
    failing_disk(Layout::Subdirectory);
}

#[test]
fn a_disk_that_fails_in_the_middle_of_a_restore_in_a_mount_point() {
    failing_disk(Layout::MountPoint);
}

/// From the n-th call of a kind on, each fails; then the disk is mended. Every third n, up to the end of the run.
fn failing_disk(layout: Layout) {
    let lab = Lab::filled(layout, few_entries);
    for (calls, error) in FAULTS {
        let mut failures = 0;
        for step in (1..400).step_by(3) {
            lab.wipe();
            let outcome = failing_from(&lab, calls, error, step);
            let context = format!("{layout:?}, {error} from step {step} of {calls}");
            assert!(!crashed(&outcome), "{context}: {outcome}");
            let undisturbed = outcome.code == 0;
            if undisturbed {
                let differences = differences(&lab.reference(), &lab.volume());
                assert!(differences.is_empty(), "{context}: called done, and it is not:\n{differences}");
            } else {
                failures += 1;
                let state = lab.state();
                let whole = || differences(&lab.reference(), &lab.volume()).is_empty();
                assert!(state != "healthy" || whole(), "{context}: a mixture is called healthy");
            }
            let again = lab.run(&["init"]);
            assert!(again.code == 0, "{context}, then {again}");
            lab.assert_back();
            if undisturbed {
                break;
            }
        }
        println!("{layout:?}: {failures} failures by {error} at {calls}");
    }
}

fn failing_from(lab: &Lab, calls: &str, error: &str, step: usize) -> Outcome {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={calls}"));
    strace.arg("-e").arg(format!("inject={calls}:error={error}:when={step}+"));
    run(wrap(&mut strace, &lab.command(&["init"])))
}

/// A panic, or death by a signal of its own.
fn crashed(outcome: &Outcome) -> bool {
    outcome.code == 101 || outcome.code >= 128 || outcome.stderr.contains("panicked")
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_kept() {
    let lab = Lab::new(Layout::Subdirectory);
    few_entries(&lab.volume());
    lab.ok(&["repository", "init"]);
    lab.adopt();
    let secret = lab.volume().join("one/secret");
    fs::write(&secret, b"for root alone").unwrap();
    let mut command = lab.command_of_plain_user(&["backup"]);
    support::shell("chown 0:0 \"$1\"; chmod 0600 \"$1\"", &[secret.as_os_str()]);
    run(&mut command).expect_code(3).says(&["one/secret"]);

    // The rest is there, and the snapshot says what is not.
    let target = lab.path("target");
    lab.ok(&["restore", "latest", "--target", target.to_str().unwrap()]);
    assert!(!target.join("one/secret").exists());
    let expected = lab.path("expected");
    copy(&lab.volume(), &expected);
    assert_eq!(fs::read(target.join("large")).unwrap(), fs::read(expected.join("large")).unwrap());
    let snapshots = lab.ok(&["snapshots", "--json"]);
    assert!(snapshots.stdout.contains("secret"), "the snapshot does not say what it lacks: {snapshots}");
}
