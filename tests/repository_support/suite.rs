//! What every repository must do, whatever it keeps its bytes in.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;

use volkeep::repository::packed::codec::Codec;
use volkeep::repository::{BackupRequest, Presence, RepositoryError, Writer};
use volkeep::snapshot::selector::Selector;
use volkeep::snapshot::{Entry, Kind};

use super::{Home, Lab, mixed_tree, noise, picture};

pub fn a_tree_comes_back_as_it_was(home: Home) {
    Lab::each(home, |lab| {
        mixed_tree(&lab);
        let report = lab.backup();
        assert_eq!(report.problem_count, 0, "{:?}", report.problems);
        let target = lab.restored(&lab.newest(), "target");
        assert_eq!(picture(&target), picture(&lab.data()), "{:?}", lab.codec);
        let inode = |path: &str| fs::metadata(target.join(path)).unwrap().ino();
        assert_eq!((inode("large"), inode("small/1/1")), (inode("linked"), inode("small/2/linked")));
        assert!(fs::metadata(target.join("sparse")).unwrap().blocks() < 1000);
        assert_eq!(lab.check(100), Vec::<String>::new());
    });
}

pub fn an_unchanged_tree_is_not_read_again(home: Home) {
    Lab::each(home, |lab| {
        mixed_tree(&lab);
        lab.backup();
        let again = lab.backup();
        assert_eq!((again.files_read, again.bytes_read, again.added_bytes), (0, 0, 0));
        assert!(again.stored_bytes < 10_000, "{}", again.stored_bytes);
        let target = lab.restored(&lab.newest(), "target");
        assert_eq!(picture(&target), picture(&lab.data()));
    });
}

pub fn changes_are_found_and_old_snapshots_stay_as_they_were(home: Home) {
    Lab::each(home, |lab| {
        mixed_tree(&lab);
        lab.backup();
        let (first, before) = (lab.newest(), picture(&lab.data()));
        lab.write("small/3/3", "changed");
        lab.write("new", "new");
        fs::remove_file(lab.data().join("empty")).unwrap();
        let mut large = noise(9 << 20, 1);
        large.splice(4 << 20..4 << 20, *b"inserted");
        lab.write("large", &large);
        let report = lab.backup();
        assert_eq!(report.problem_count, 0);
        // Git keeps whole files.
        if !lab.is_git() {
            assert!(
                report.added_bytes < 9 << 20,
                "{} bytes: most of the large file is known",
                report.added_bytes
            );
        }
        assert_eq!(picture(&lab.restored(&lab.newest(), "new")), picture(&lab.data()));
        assert_eq!(picture(&lab.restored(&first, "old")), before);
    });
}

pub fn exports_read_what_restores_write(home: Home) {
    Lab::each(home, |lab| {
        mixed_tree(&lab);
        lab.backup();
        let mut seen = Vec::new();
        lab.repository
            .read(&lab.newest(), &Selector::everything(), &mut |entry: &Entry, content| {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes).unwrap();
                if let Kind::File { size, .. } = &entry.kind {
                    assert_eq!(bytes.len() as u64, *size);
                    assert_eq!(bytes, fs::read(entry.path.below(&lab.data())).unwrap());
                }
                seen.push(entry.path.clone());
                Ok(())
            })
            .unwrap();
        let mut listed = Vec::new();
        lab.repository
            .entries(&lab.newest(), &mut |entry| {
                listed.push(entry.path);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(seen, listed);
        assert!(listed.is_sorted() && listed.len() == picture(&lab.data()).len());
    });
}

pub fn without_its_cache_a_backup_reads_but_stores_nothing_twice(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    lab.backup();
    fs::remove_dir_all(lab.dir.path().join("cache")).unwrap();
    let again = lab.backup();
    assert!(again.files_read > 200);
    assert_eq!(again.added_bytes, 0);
    assert!(again.stored_bytes < 10_000, "{}", again.stored_bytes);
}

pub fn renamed_and_copied_content_is_not_stored_again(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    lab.backup();
    fs::rename(lab.data().join("small"), lab.data().join("renamed")).unwrap();
    fs::rename(lab.data().join("text"), lab.data().join("a-text")).unwrap();
    fs::copy(lab.data().join("base.db"), lab.data().join("copy.db")).unwrap();
    let report = lab.backup();
    assert_eq!(report.added_bytes, 0);
    assert_eq!(picture(&lab.restored(&lab.newest(), "target")), picture(&lab.data()));
}

pub fn after_a_restore_the_first_backup_reads_nothing(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    lab.backup();
    fs::remove_dir_all(lab.dir.path().join("cache")).unwrap();
    let target = lab.restored(&lab.newest(), "target");
    let id = lab.newest();
    lab.with_request(&target, false, |request| lab.repository.remember(&id, request)).unwrap();
    let report = lab.with_request(&target, false, |request| lab.repository.backup(request)).unwrap();
    assert_eq!((report.files_read, report.added_bytes), (0, 0));
}

pub fn an_interrupted_restore_is_resumed(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    lab.backup();
    let target = lab.restored(&lab.newest(), "target");
    for (path, length) in [("large", 1000), ("small/3/17", 5), ("sparse", 1 << 20), ("text", 0)] {
        fs::OpenOptions::new().write(true).open(target.join(path)).unwrap().set_len(length).unwrap();
    }
    fs::remove_file(target.join("link")).unwrap();
    fs::remove_file(target.join("small/2/linked")).unwrap();
    fs::write(target.join("base.db"), noise(3 << 20, 99)).unwrap();
    let report = lab.try_restore(&lab.newest(), "target", &[]).unwrap();
    assert!(report.reused_files > 190, "{}", report.reused_files);
    assert_eq!(picture(&target), picture(&lab.data()));
}

pub fn a_part_is_restored_with_the_way_to_it(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    lab.backup();
    lab.try_restore(&lab.newest(), "part", &["small/2", "linked"]).unwrap();
    let part = lab.dir.path().join("part");
    let names: Vec<_> = picture(&part).into_iter().map(|row| row.0).collect();
    assert!(names.contains(&"small/2/2".into()) && names.contains(&"small/2/linked".into()));
    assert!(!names.contains(&"small/1".into()) && !names.contains(&"large".into()));
    assert_eq!(fs::read(part.join("linked")).unwrap(), noise(9 << 20, 1), "a member without its first one");
}

pub fn a_dry_run_stores_nothing(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    let before = lab.content();
    let report = lab.with_request(&lab.data(), true, |request| lab.repository.backup(request)).unwrap();
    assert!(report.snapshot.is_none() && report.added_bytes > 10 << 20);
    assert_eq!(lab.content(), before);
}

pub fn a_writer_that_was_cut_off_commits_nothing(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    lab.write("file", "content");
    let successor = Writer { volume_id: "v2".into(), ..lab.writer.clone() };
    let error = lab
        .with_request(&lab.data(), false, |request| {
            let guard = |_: &_, _: Option<&_>| {
                lab.repository.take_over(&successor).map(|_| ()).map_err(|error| error.to_string())
            };
            lab.repository.backup(&BackupRequest { guard: &guard, walk: request.walk.clone(), ..*request })
        })
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Fenced { .. }), "{error}");
    assert_eq!(lab.repository.probe().unwrap(), Presence::Empty);
}

pub fn a_guard_that_refuses_leaves_the_repository_as_it_was(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    lab.write("file", "content");
    lab.backup();
    let newest = lab.newest();
    fs::remove_file(lab.data().join("file")).unwrap();
    let error = lab
        .with_request(&lab.data(), false, |request| {
            let guard = |totals: &volkeep::repository::Totals, _: Option<&_>| match totals.files {
                0 => Err("empty".to_owned()),
                _ => Ok(()),
            };
            lab.repository.backup(&BackupRequest { guard: &guard, walk: request.walk.clone(), ..*request })
        })
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Refused(_)));
    assert_eq!(lab.newest(), newest);
}

pub fn another_identity_is_refused(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    lab.repository.create("app").unwrap();
    assert!(matches!(lab.repository.create("other"), Err(RepositoryError::Identity { .. })));
}
