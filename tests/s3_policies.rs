//! The policies of `deploy/iam`, given to users of a real server: each suffices for its purpose and for no other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use serde_json::{Value, json};
use support::s3::Server;
use support::{Lab, Layout, few_entries};
use volkeep::store::{Key, StoreError};

/// Whatever else a key may do, these would let it destroy what versions and locks keep.
const NEVER: [&str; 5] = [
    "s3:*",
    "s3:DeleteObjectVersion",
    "s3:PutBucketVersioning",
    "s3:BypassGovernanceRetention",
    "s3:PutBucketPolicy",
];

#[test]
fn policies_name_single_actions_below_one_prefix() {
    for name in ["backup", "restore", "prune"] {
        let policy = policy(name);
        assert_eq!(policy["Version"], "2012-10-17", "{name}");
        for statement in policy["Statement"].as_array().unwrap() {
            assert_eq!(statement["Effect"], "Allow", "{name}");
            for action in statement["Action"].as_array().unwrap() {
                let action = action.as_str().unwrap();
                assert!(action.starts_with("s3:") && !NEVER.contains(&action), "{name}: {action}");
            }
            let on_bucket = statement["Resource"] == json!(["arn:aws:s3:::BUCKET"]);
            assert_eq!(on_bucket, statement.get("Condition").is_some(), "{name}: {statement}");
            assert!(on_bucket || statement["Resource"][0].as_str().unwrap().contains("/PREFIX/"), "{name}");
        }
    }
    assert!(!policy("backup").to_string().contains("Delete"));
    assert!(!policy("restore").to_string().contains("Delete"));
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_backup_key_adds_and_reads_and_deletes_nothing() {
    let mut lab = lab_open_to(&["backup"]);
    act_as(&mut lab, "backup");
    lab.ok(&["repository", "init"]);
    few_entries(&lab.volume());
    lab.adopt();
    lab.ok(&["backup"]);
    std::fs::write(lab.volume().join("new"), "new").unwrap();
    lab.ok(&["backup"]);
    lab.ok(&["check", "--verify"]);
    lab.keep_reference();
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();

    let (_, bucket, prefix) = lab.bucket();
    let store = Server::real_as("backup").store(bucket, prefix);
    let key = Key::new("repository.json").unwrap();
    let refused = store.delete(&key);
    assert!(matches!(refused, Err(StoreError::Denied { .. })), "{refused:?}");
    let refused = store.delete_many(std::slice::from_ref(&key));
    assert!(matches!(refused, Err(StoreError::Denied { .. })), "{refused:?}");
    assert!(store.size(&key).is_ok(), "it is still there");
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_restore_key_restores_and_adds_nothing() {
    let mut lab = lab_open_to(&["restore"]);
    few_entries(&lab.volume());
    lab.first_backup();
    lab.wipe();
    act_as(&mut lab, "restore");
    lab.ok(&["init"]);
    lab.assert_back();
    lab.ok(&["snapshots"]);
    std::fs::write(lab.volume().join("new"), "new").unwrap();
    lab.exits(14, &["backup"]).says(&["denies access", "s3:PutObject"]);
    assert_eq!(lab.snapshots().len(), 1);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_restore_key_without_the_lease_still_restores() {
    let mut policy = policy("restore");
    policy["Statement"].as_array_mut().unwrap().retain(|statement| statement["Sid"] != "TakeTheLease");
    let mut lab = Lab::in_bucket(Layout::Subdirectory, Server::real(), Server::real().new_bucket());
    allow(&lab, vec![(policy, "restore")]);
    few_entries(&lab.volume());
    lab.first_backup();
    lab.wipe();
    act_as(&mut lab, "restore");
    lab.ok(&["init"]).says(&["not cut off"]);
    lab.assert_back();
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_prune_key_deletes_below_its_prefix_only() {
    let lab = lab_open_to(&["prune"]);
    let (owner, bucket, prefix) = lab.bucket();
    let key = Key::new("packs/aa/one").unwrap();
    let other = owner.store(bucket, "other");
    for store in [owner.store(bucket, prefix), other] {
        store.put(&key, &"x".into()).unwrap();
    }
    let pruner = Server::real_as("prune");
    let store = pruner.store(bucket, prefix);
    store.delete(&key).unwrap();
    assert_eq!(store.tidy(volkeep::base::timestamp::Timestamp::default()).unwrap(), 0);
    let refused = pruner.store(bucket, "other").delete(&key);
    assert!(matches!(refused, Err(StoreError::Denied { .. })), "{refused:?}");
    let refused = pruner.store(bucket, "other").list("", &mut |_| Ok(()));
    assert!(matches!(refused, Err(StoreError::Denied { .. })), "{refused:?}");
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_prune_key_prunes_and_a_backup_key_does_not() {
    let mut lab = lab_open_to(&["prune", "backup"]);
    few_entries(&lab.volume());
    lab.first_backup();
    for round in 0..2 {
        std::fs::write(lab.volume().join("new"), format!("round {round}")).unwrap();
        lab.ok(&["backup"]);
    }
    lab.set("VOLKEEP_RETENTION", "last=1");
    lab.set("VOLKEEP_PRUNE_GRACE", "0s");
    act_as(&mut lab, "backup");
    lab.exits(14, &["prune"]).says(&["denies access"]);
    assert_eq!(lab.snapshots().len(), 3);
    act_as(&mut lab, "prune");
    lab.ok(&["prune"]).says(&["2 snapshots forgotten"]);
    lab.ok(&["prune"]).says(&["deleted"]);
    assert!(lab.objects("tombstones").is_empty());
    // A key that deletes nothing goes on beside it.
    act_as(&mut lab, "backup");
    lab.ok(&["backup"]);
    lab.ok(&["check", "--verify"]);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn somebody_else_is_denied_and_told_what_is_missing() {
    let mut lab = lab_open_to(&["backup"]);
    few_entries(&lab.volume());
    lab.first_backup();
    act_as(&mut lab, "nobody");
    lab.exits(14, &["backup"]).says(&["s3:ListBucket", "deploy/iam"]);
    lab.wipe();
    lab.exits(14, &["init"]).says(&["s3:ListBucket"]);
    // A wrong secret is another thing than a missing permission.
    lab.set("AWS_SECRET_ACCESS_KEY", "wrong");
    let told = lab.exits(14, &["init"]);
    assert!(told.stderr.contains("SignatureDoesNotMatch"), "{told}");
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn what_a_backup_key_replaces_in_a_versioned_bucket_is_still_there() {
    let server = Server::real();
    let bucket = server.new_versioned_bucket();
    let mut lab = Lab::in_bucket(Layout::Subdirectory, server, bucket);
    allow(&lab, vec![(policy("backup"), "backup")]);
    act_as(&mut lab, "backup");
    few_entries(&lab.volume());
    lab.first_backup();
    let (_, bucket, prefix) = lab.bucket();
    let (owner, thief) = (Server::real(), Server::real_as("backup"));
    let store = thief.store(bucket, prefix);
    let key = Key::new("repository.json").unwrap();
    store.put(&key, &"nonsense".into()).unwrap();
    lab.exits(12, &["snapshots"]);

    let name = format!("{prefix}/{key}");
    let found = owner.ask(|client| client.list_object_versions().bucket(bucket).prefix(&name).send());
    assert!(found.versions().len() > 1, "the good one is kept as an older version");
    // The owner takes away what was put over it, which the thief's key may not.
    let latest = found.versions().iter().find(|version| version.is_latest() == Some(true)).unwrap();
    let version = latest.version_id().unwrap();
    owner.ask(|client| client.delete_object().bucket(bucket).key(&name).version_id(version).send());
    lab.ok(&["check", "--verify"]);
}

/// A lab in a bucket whose policy lets these users do what their file says, below the lab's prefix.
fn lab_open_to(users: &[&'static str]) -> Lab {
    let lab = Lab::in_bucket(Layout::Subdirectory, Server::real(), Server::real().new_bucket());
    allow(&lab, users.iter().map(|user| (policy(user), *user)).collect());
    lab
}

/// As a policy of the bucket, which every server knows: there it names whom it is for.
fn allow(lab: &Lab, policies: Vec<(Value, &str)>) {
    let (server, bucket, prefix) = lab.bucket();
    let mut statements = Vec::new();
    for (policy, user) in policies {
        let text = policy["Statement"].to_string().replace("BUCKET", bucket).replace("PREFIX", prefix);
        let Value::Array(mut own) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        for statement in &mut own {
            statement["Principal"] = json!({ "AWS": [format!("arn:aws:iam:::user/{user}")] });
        }
        statements.extend(own);
    }
    let policy = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    server.ask(|client| client.put_bucket_policy().bucket(bucket).policy(policy).send());
}

fn act_as(lab: &mut Lab, user: &str) {
    let server = Server::real_as(user);
    lab.set("AWS_ACCESS_KEY_ID", server.access_key_id);
    lab.set("AWS_SECRET_ACCESS_KEY", server.secret_access_key);
}

fn policy(name: &str) -> Value {
    let path = format!("{}/deploy/iam/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
