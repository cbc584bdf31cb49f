//! What every repository must do, driven through the snapshot seam: the packed format over each kind of store
//! and with each codec.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod repository_support;

use std::sync::Arc;
use std::time::Duration;

use volkeep::base::cancel::Cancel;
use volkeep::base::progress::Progress;
use volkeep::repository::packed::codec::Codec;
use volkeep::repository::{Amount, Presence, PruneRequest, RepositoryError};
use volkeep::snapshot::retention::{Policy, Rules};
use volkeep::store::faulty::{Failure, Fault, Operation, Rule};
use volkeep::store::{Key, ObjectStore};

use repository_support::suite::*;
use repository_support::{Home, Lab, mixed_tree, noise, picture, workers};

macro_rules! everywhere {
    (with_each_codec: $($each:ident),*; with_one: $($one:ident),*;) => {
        mod in_a_directory {
            everywhere! { @all Directory [] $($each)* $($one)* }
        }
        mod in_memory {
            everywhere! { @all Memory [] $($each)* }
        }
        mod in_a_bucket {
            everywhere! { @all Bucket [#[ignore = "needs an S3 server: tests/run"]] $($each)* $($one)* }
        }
    };
    (@all $home:ident $attributes:tt $($test:ident)*) => {
        $(everywhere! { @one $home $attributes $test })*
    };
    (@one $home:ident [$($attribute:tt)*] $test:ident) => {
        #[test]
        $($attribute)*
        fn $test() {
            super::$test(super::Home::$home);
        }
    };
}

everywhere! {
    with_each_codec:
        a_tree_comes_back_as_it_was,
        an_unchanged_tree_is_not_read_again,
        changes_are_found_and_old_snapshots_stay_as_they_were,
        exports_read_what_restores_write;
    with_one:
        without_its_cache_a_backup_reads_but_stores_nothing_twice,
        renamed_and_copied_content_is_not_stored_again,
        after_a_restore_the_first_backup_reads_nothing,
        an_interrupted_restore_is_resumed,
        a_part_is_restored_with_the_way_to_it,
        a_dry_run_stores_nothing,
        an_interrupted_backup_is_resumed_from_its_packs,
        a_failed_upload_fails_the_backup_and_hides_nothing,
        a_writer_that_was_cut_off_commits_nothing,
        a_guard_that_refuses_leaves_the_repository_as_it_was,
        content_of_a_pack_that_was_cut_is_stored_again,
        a_prune_takes_what_nothing_needs_and_nothing_else,
        another_identity_is_refused,
        damage_to_any_object_is_noticed;
}

fn a_prune_takes_what_nothing_needs_and_nothing_else(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    let mut pictures = Vec::new();
    for round in 0..4u64 {
        lab.write("shared", noise(400_000, 1));
        lab.write("own", noise(300_000, round + 10));
        lab.write(&format!("small/{round}"), "small");
        let id = lab.backup().snapshot.unwrap().id;
        pictures.push((id, picture(&lab.data())));
    }
    let prune = |last, dry_run| {
        let policy = Policy { rules: Rules { last, ..Rules::default() }, ..Policy::default() };
        let request = PruneRequest {
            policy: &policy,
            grace: Duration::ZERO,
            writer: &lab.writer,
            cache: &lab.dir.path().join("cache"),
            dry_run,
            workers: &workers(),
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        };
        lab.repository.prune(&request).unwrap()
    };
    let before = lab.objects();
    let plan = prune(2, true);
    assert_eq!(lab.objects(), before, "a plan changes nothing");
    assert_eq!(plan.forgotten, [pictures[0].0.clone(), pictures[1].0.clone()]);
    assert_eq!(prune(0, false).forgotten, [], "no rule, nothing forgotten");
    let report = prune(2, false);
    assert_eq!((report.forgotten, report.snapshots), (plan.forgotten, plan.snapshots));
    let deleted = prune(2, false).deleted;
    assert!(deleted.packs > 0 && deleted.bytes > 300_000, "{deleted:?}");
    assert_eq!(prune(2, false).deleted, Amount::default(), "all at once");
    assert_eq!(lab.check(100), Vec::<String>::new());
    for (number, (id, picture_then)) in pictures.iter().enumerate().skip(2) {
        assert_eq!(&picture(&lab.restored(id, &format!("restored-{number}"))), picture_then);
    }
    assert!(matches!(lab.repository.summary(&pictures[0].0), Err(RepositoryError::NoSnapshot { .. })));
    // Nothing of it is in the way of what comes next. What lay in packs that were mostly dead is stored anew, once.
    assert_eq!(lab.backup().problems, Vec::<String>::new());
    assert_eq!(lab.backup().files_read, 0);
    assert_eq!(lab.check(100), Vec::<String>::new());
}

fn an_interrupted_backup_is_resumed_from_its_packs(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    // The packs arrive, the commit does not.
    lab.store().inject(Rule::new(Operation::PutIfAbsent, "snapshots/*", Fault::Fail(Failure::Unreachable)));
    assert!(matches!(lab.try_backup(), Err(RepositoryError::Store(_))));
    assert_eq!(lab.repository.probe().unwrap(), Presence::Empty);
    let report = lab.backup();
    assert_eq!(report.added_bytes, 0, "everything was there already");
    assert_eq!(picture(&lab.restored(&lab.newest(), "target")), picture(&lab.data()));
    assert_eq!(lab.check(100), Vec::<String>::new());
}

fn a_failed_upload_fails_the_backup_and_hides_nothing(home: Home) {
    for pattern in ["packs/*", "segments/*"] {
        let lab = Lab::created(Codec::Zstd, home);
        mixed_tree(&lab);
        lab.store().inject(Rule::new(Operation::Put, pattern, Fault::Fail(Failure::Denied)));
        assert!(matches!(lab.try_backup(), Err(RepositoryError::Store(_))), "{pattern}");
        assert_eq!(lab.repository.probe().unwrap(), Presence::Empty);
        lab.backup();
        assert_eq!(picture(&lab.restored(&lab.newest(), "target")), picture(&lab.data()));
    }
}

fn content_of_a_pack_that_was_cut_is_stored_again(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    lab.backup();
    for pack in lab.objects().into_iter().filter(|info| info.key.as_str().starts_with("packs/")) {
        let mut bytes = lab.store().get(&pack.key).unwrap();
        bytes.truncate(bytes.len() / 2);
        lab.store().put(&pack.key, &bytes.into()).unwrap();
    }
    let report = lab.backup();
    assert!(report.added_bytes > 1 << 20 && report.files_read > 10, "{report:?}");
    assert_eq!(picture(&lab.restored(&lab.newest(), "target")), picture(&lab.data()));
}

/// Every object of a repository, each damaged in three ways: restores fail with damage, or were not concerned.
fn damage_to_any_object_is_noticed(home: Home) {
    let mut lab = Lab::created(Codec::Zstd, home);
    for number in 0..20 {
        lab.write(&format!("{number}"), noise(4000, number));
    }
    lab.write("large", noise(2 << 20, 7));
    lab.backup();
    let id = lab.newest();
    let store = Arc::clone(lab.store());
    let objects: Vec<Key> = lab
        .objects()
        .into_iter()
        .map(|info| info.key)
        .filter(|key| !key.as_str().starts_with("leases/"))
        .collect();
    assert!(objects.len() >= 4, "{objects:?}");
    for (number, key) in objects.iter().enumerate() {
        let object = key.as_str();
        let whole = store.get(key).unwrap();
        for (way, damaged) in [
            ("cut", Some(whole[..whole.len() / 2].to_vec())),
            ("emptied", Some(Vec::new())),
            ("flipped", {
                let mut flipped = whole.clone();
                flipped[whole.len() / 3] ^= 0x20;
                Some(flipped)
            }),
            ("removed", None),
        ] {
            match damaged {
                Some(bytes) => store.put(key, &bytes.into()).unwrap(),
                None => store.delete(key).unwrap(),
            }
            lab.reopen();
            let error = lab.try_restore(&id, &format!("t{number}{way}"), &[]).unwrap_err();
            let expected = match error {
                RepositoryError::Absent { .. } => object == "repository.json" && way == "removed",
                RepositoryError::NoSnapshot { .. } => object.starts_with("snapshots") && way == "removed",
                RepositoryError::Damaged { .. } => true,
                _ => false,
            };
            assert!(expected, "{object:?} {way}: {error}");
            if object.starts_with("packs") || object.starts_with("segments") {
                let findings = lab.check(100);
                assert!(findings.iter().any(|f| f.contains(object) || f.contains("packs")), "{findings:?}");
            }
            store.put(key, &whole.clone().into()).unwrap();
        }
    }
    assert_eq!(picture(&lab.restored(&id, "whole")), picture(&lab.data()));
}
