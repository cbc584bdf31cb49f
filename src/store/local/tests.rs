//! What only a directory has: temporary files, modes, file systems with fewer abilities.

use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;

use super::write::{Placed, link_new, rename_locked, rename_new};
use bytes::Bytes;

use super::*;
use crate::base::fs::{TEMPORARY_PREFIX, write_synced};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn store() -> (tempfile::TempDir, LocalStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::new(dir.path().join("backup"));
    store.create().unwrap();
    (dir, store)
}

fn listed(store: &LocalStore, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    store
        .list(prefix, &mut |info| {
            keys.push(info.key.to_string());
            Ok(())
        })
        .unwrap();
    keys
}

#[test]
fn temporary_and_foreign_files_are_not_shown_and_old_ones_are_swept() {
    let (dir, store) = store();
    store.put(&key("packs/ab/x"), &Bytes::from_static(b"x")).unwrap();
    let root = dir.path().join("backup");
    for name in [".tmp-y.123", "packs/.tmp-y.123", "packs/ab/.tmp-x.123", "packs/with space"] {
        std::fs::write(root.join(name), b"part").unwrap();
    }
    std::fs::create_dir(root.join("lost+found")).unwrap();
    std::fs::write(root.join("lost+found/#12"), b"").unwrap();
    assert_eq!(listed(&store, ""), ["packs/ab/x"]);
    let now = Timestamp::from(std::time::SystemTime::now());
    assert_eq!(store.sweep(now).unwrap(), 0, "they may be in use");
    assert_eq!(store.sweep(now.plus(std::time::Duration::from_secs(25 * 3600))).unwrap(), 3);
    assert!(root.join("packs/with space").exists());
    assert_eq!(store.get(&key("packs/ab/x")).unwrap(), b"x");
}

#[test]
fn a_directory_that_is_gone_is_not_an_empty_store() {
    let (dir, store) = store();
    store.put(&key("packs/a"), &Bytes::from_static(b"x")).unwrap();
    std::fs::remove_dir_all(dir.path().join("backup")).unwrap();
    assert_eq!(store.presence().unwrap(), Presence::Absent);
    assert!(matches!(store.get(&key("packs/a")), Err(StoreError::Unreachable { .. })));
    assert!(matches!(
        store.put(&key("packs/a"), &Bytes::from_static(b"x")),
        Err(StoreError::Unreachable { .. })
    ));
    assert!(!dir.path().join("backup").exists(), "a mount point must not be filled from below");
}

#[test]
fn directories_removed_meanwhile_are_made_again() {
    let (dir, store) = store();
    store.put(&key("packs/ab/x"), &Bytes::from_static(b"x")).unwrap();
    std::fs::remove_dir_all(dir.path().join("backup/packs")).unwrap();
    store.put(&key("packs/ab/y"), &Bytes::from_static(b"y")).unwrap();
    assert_eq!(listed(&store, "packs"), ["packs/ab/y"]);
}

#[test]
fn a_file_where_the_root_should_be_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let store = LocalStore::new(dir.path().join("file"));
    assert!(matches!(store.presence(), Err(StoreError::Io { .. })));
    assert!(matches!(store.create(), Err(StoreError::Io { .. })));
    assert!(matches!(store.get(&key("a")), Err(StoreError::Io { .. })));
}

#[test]
fn others_may_not_read_and_a_directory_is_no_object() {
    let (dir, store) = store();
    store.put(&key("packs/a"), &Bytes::from_static(b"x")).unwrap();
    let mode = |name: &str| {
        std::fs::metadata(dir.path().join("backup").join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("packs/a") & 0o137, mode("packs") & 0o027), (0, 0));
    assert!(matches!(store.get(&key("packs")), Err(StoreError::NotFound { .. })));
    assert!(matches!(store.size(&key("packs")), Err(StoreError::NotFound { .. })));
    assert!(matches!(store.get(&key("packs/a/b")), Err(StoreError::NotFound { .. })));
    store.delete(&key("packs")).unwrap();
    assert_eq!(store.get(&key("packs/a")).unwrap(), b"x");
}

#[test]
fn linked_directories_are_listed_and_loops_end() {
    let (dir, store) = store();
    let elsewhere = dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("a"), b"x").unwrap();
    std::os::unix::fs::symlink(&elsewhere, dir.path().join("backup/packs")).unwrap();
    assert_eq!(listed(&store, ""), ["packs/a"]);
    std::os::unix::fs::symlink(&elsewhere, elsewhere.join("loop")).unwrap();
    assert!(store.list("", &mut |_| Ok(())).is_err());
}

/// Each way of creating but never replacing, since a file system may lack any of them.
#[test]
fn every_way_to_create_has_one_winner() {
    type Way = fn(&Path, &Path, &Path) -> Option<Placed>;
    let ways: [Way; 3] = [
        |_, temporary, path| rename_new(temporary, path).unwrap(),
        |_, temporary, path| link_new(temporary, path).unwrap(),
        |root, temporary, path| Some(rename_locked(root, temporary, path).unwrap()),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lease");
        let start = Barrier::new(8);
        let winners: Vec<u8> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8u8)
                .map(|racer| {
                    let (root, path, start) = (dir.path(), &path, &start);
                    scope.spawn(move || {
                        let temporary = root.join(format!("{TEMPORARY_PREFIX}{racer}"));
                        write_synced(&temporary, &[racer], 0o640).unwrap();
                        start.wait();
                        let placed =
                            way(root, &temporary, path).expect("ext4, xfs and tmpfs offer every way");
                        (placed != Placed::Lost).then_some(racer)
                    })
                })
                .collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1, "way {number}");
        assert_eq!(std::fs::read(&path).unwrap(), winners, "way {number}");
    }
}

#[test]
fn an_object_created_leaves_no_temporary_file() {
    let (dir, store) = store();
    assert_eq!(store.put_if_absent(&key("a"), &Bytes::from_static(b"x")).unwrap(), Put::Created);
    assert_eq!(store.put_if_absent(&key("a"), &Bytes::from_static(b"y")).unwrap(), Put::Exists);
    assert_eq!(std::fs::read_dir(dir.path().join("backup")).unwrap().count(), 1);
}
