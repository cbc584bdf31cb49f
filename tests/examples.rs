//! What is shipped for Docker Compose, on a real engine: each example from nothing to an app that has its data back after
//! the volume was deleted, by the script that people run; and the way of `deploy/compose` through first start, loss,
//! restore by hand and killed containers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod examples_support;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Instant;

use examples_support::{Project, compose_files, configurations, engine, model, root, tell};
use serde_json::Value;
use support::run;

#[test]
fn every_configuration_is_accepted() {
    let files = configurations();
    assert!(files.len() >= 8, "{files:?}");
    for file in files {
        run(Command::new(env!("CARGO_BIN_EXE_volkeep"))
            .args(["--config", file.to_str().unwrap(), "config", "check"])
            .env_clear()
            // In deploy/compose the address is one of the environment.
            .env("VOLKEEP_REPOSITORY", "file:///repository"))
        .expect_code(0);
    }
}

#[test]
fn every_example_is_in_the_table() {
    let table = fs::read_to_string(root().join("deploy/examples/README.md")).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(root().join("deploy/examples")).unwrap() {
        let directory = entry.unwrap().path();
        if !directory.is_dir() {
            continue;
        }
        seen += 1;
        let name = directory.file_name().unwrap().to_str().unwrap();
        assert!(table.contains(&format!("[`{name}`]({name}/README.md)")), "{name} is not in the table");
        for file in ["README.md", "compose.yaml", "demo", "config"] {
            assert!(directory.join(file).exists(), "{name} has no {file}");
        }
    }
    assert_eq!(seen, 7);
}

/// Of every service of volkeep's: what keeps it small and without rights. And no app has volkeep's keys.
#[test]
#[ignore = "needs a container engine: tests/run"]
fn every_compose_file_is_valid_and_keeps_volkeep_in_its_bounds() {
    engine();
    let own = format!("volkeep:{}", env!("CARGO_PKG_VERSION"));
    let (mut inits, mut sidecars) = (0, 0);
    for files in compose_files() {
        let name = files[0].display().to_string();
        let model = model(&files);
        let services = model["services"].as_object().unwrap();
        let secrets = |service: &Value| -> Vec<String> {
            let list = service["secrets"].as_array();
            list.into_iter().flatten().map(|one| one["source"].as_str().unwrap().to_owned()).collect()
        };
        let mut keys: Vec<String> = Vec::new();
        for (title, service) in services {
            let image = service["image"].as_str().unwrap();
            if !image.starts_with("volkeep:") || service["profiles"].is_array() {
                continue;
            }
            assert!(image == own || image == format!("{own}-toolbox"), "{name}, {title}: {image}");
            assert_eq!(service["read_only"], true, "{name}, {title}");
            assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}, {title}");
            assert!(service["cap_add"].is_null(), "{name}, {title}");
            assert_eq!(
                service["security_opt"],
                serde_json::json!(["no-new-privileges:true"]),
                "{name}, {title}"
            );
            let user = service["user"].as_str().unwrap();
            assert!(!user.starts_with('0'), "{name}, {title} runs as {user}");
            let memory: u64 = service["mem_limit"].as_str().unwrap().parse().unwrap();
            let command = service["command"].as_array().unwrap().last().unwrap();
            match command.as_str().unwrap() {
                "init" => {
                    inits += 1;
                    assert_eq!(memory, 128 << 20, "{name}, {title}");
                    assert!(service["restart"].is_null(), "{name}, {title} would run again and again");
                }
                "sidecar" => {
                    sidecars += 1;
                    assert_eq!(memory, 64 << 20, "{name}, {title}");
                    assert_eq!(service["restart"], "unless-stopped", "{name}, {title}");
                    assert_eq!(service["stop_grace_period"], "30s", "{name}, {title}");
                    let check = service["healthcheck"]["test"].as_array().unwrap();
                    assert_eq!(check.last().unwrap(), "health", "{name}, {title}");
                }
                other => panic!("{name}, {title} does {other}"),
            }
            keys.extend(secrets(service));
        }
        // What stands for a server of the user's has the keys to it, and CouchDB's first password is for both.
        for (title, service) in services {
            let image = service["image"].as_str().unwrap();
            if image.starts_with("volkeep:")
                || ["s3", "git", "couchdb", "downloads", "hooks"].contains(&title.as_str())
            {
                continue;
            }
            for secret in secrets(service) {
                assert!(!keys.contains(&secret), "{name}: {title} has {secret}, which is volkeep's");
            }
        }
    }
    assert!(inits >= 8 && sidecars >= 7, "{inits} and {sidecars}");
}

/// Runs the script of an example as people do. Everything it must have said is in `proofs`.
fn demo(name: &str, proofs: &[&str]) {
    engine();
    let began = Instant::now();
    let script = root().join("deploy/examples").join(name).join("demo");
    // Alone each takes less than a minute; here several share two cores.
    let outcome = run(Command::new("timeout").args(["--kill-after=60", "480"]).arg(script)).expect_code(0);
    tell(&format!("{name} took {:.0} s", began.elapsed().as_secs_f64()));
    let end = outcome.stdout.trim_end().lines().last().unwrap_or_default();
    assert!(end.starts_with("== done"), "{outcome}");
    outcome.says(proofs);
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn webdav_git() {
    demo(
        "webdav-git",
        &[
            "the backup ended with code 1, and the branch is where it was",
            "job backup   last failed",
            "the same as before: names, times and contents",
            "is not among the known hosts",
        ],
    );
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn postgres_s3() {
    demo("postgres-s3", &["20000|200010000|", "the same as before: rows"]);
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn sqlite_app_s3() {
    demo("sqlite-app-s3", &["the same as before: all notes up to the instant of the backup"]);
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn cassandra_rack() {
    demo(
        "cassandra-rack",
        &[
            "the same as before: the file is not even touched: inode and time",
            "the node stands in rack-c",
            "the same as before: the node's data",
        ],
    );
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn couchdb_bootstrap() {
    demo(
        "couchdb-bootstrap",
        &[
            "answered with status 401",
            "the app was not started",
            "the same as before: what CouchDB knows of the user",
            "the same as before: pages and user",
        ],
    );
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn prepared_app() {
    demo(
        "prepared-app",
        &[
            "waiting what=\"downloads:8080\"",
            "has the SHA-256",
            "the app was not started",
            "neither the app nor the volume nor a log has them",
            "the same as before: both files are not even touched",
            "the same as before: notes, words and greeting",
            "told: prepared-app: starting with data that was restored",
        ],
    );
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn blue_green() {
    demo(
        "blue-green",
        &[
            "blue's backup ended with code 11",
            "has taken over",
            "the same as before: pages on green",
            "blue's init ended with code 16",
        ],
    );
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn the_app_waits_for_consent_and_survives_the_loss_of_its_volume() {
    let project = Project::new("deploy/compose");
    // Nobody has said that an empty repository is right.
    project.compose(&["up", "--detach"]).says(&["init", "exit 10"]);
    assert_eq!(project.exit_code("init"), 10);
    assert_eq!(project.running(), Vec::<String>::new());
    project.compose(&["run", "--rm", "-T", "init", "repository", "init"]).expect_code(0);
    project.up();
    project.put("home", "welcome");
    project.backup();
    // What the platform sees of the sidecar.
    project.wait_until("the sidecar is healthy", || project.health("sidecar") == "healthy");

    project.compose(&["rm", "--stop", "--force", "app", "sidecar", "init", "owner"]).expect_code(0);
    project.docker(&["volume", "rm", &project.volume("wiki")]).expect_code(0);
    project.up();
    assert_eq!(project.get("home"), "welcome");

    // The other way round: the repository cannot be had, and there is no volume. No app on nothing.
    project.compose(&["rm", "--stop", "--force", "app", "sidecar", "init", "owner"]).expect_code(0);
    project.docker(&["volume", "rm", &project.volume("wiki")]).expect_code(0);
    let lost = project.compose_with("REPOSITORY", "file:///elsewhere", &["up", "--detach"]);
    assert_ne!(lost.code, 0, "{lost}");
    assert_eq!(project.running(), Vec::<String>::new());
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn locks_hold_across_containers_and_end_with_them() {
    let project = Project::new("deploy/compose");
    project.compose(&["run", "--rm", "-T", "init", "repository", "init"]).expect_code(0);
    project.up();
    project.put("home", "first");
    project.backup();
    let first = project.newest();
    project.put("home", "second");
    project.backup();

    // In another container, beside the sidecar.
    let restore = ["run", "--rm", "-T", "init", "restore", "--force", &first];
    project.compose(&restore).expect_code(11).says(&["in use by `sidecar`"]);
    assert_eq!(project.get("home"), "second");
    // In the same one.
    let inside = ["exec", "-T", "sidecar", "volkeep", "restore", "--force", &first];
    project.compose(&inside).expect_code(11).says(&["in use by `sidecar`"]);

    // A sidecar that is killed in its container leaves no lock.
    project.compose(&["stop", "app"]).expect_code(0);
    project.compose(&["kill", "--signal", "KILL", "sidecar"]).expect_code(0);
    project.wait_until("the sidecar is gone", || project.running().is_empty());
    project.compose(&restore).expect_code(0);
    project.up();
    assert_eq!(project.get("home"), "first");
    project
        .compose(&["run", "--rm", "-T", "init", "status"])
        .expect_code(0)
        .says(&["sidecar      `sidecar` in"]);
}

/// The daemon starts what it started before, and asks nobody in which order: see deploy/compose/README.md.
#[test]
#[ignore = "needs a container engine: tests/run"]
fn an_app_that_waits_by_itself_never_starts_on_an_empty_volume() {
    let project = Project::new("deploy/compose");
    let name = format!("{}-waiting", project.name());
    let volume = project.volume("wiki");
    project.compose(&["run", "--rm", "-T", "init", "repository", "init"]).expect_code(0);
    project.compose(&["run", "--rm", "-T", "init"]).expect_code(0);
    let mount = format!("{volume}:/volume");
    let waiting = |limit: &str| {
        project.docker(&[
            "run",
            "--rm",
            "--name",
            &name,
            "--network",
            "none",
            "--user",
            "1000:1000",
            "--volume",
            &mount,
            "--env",
            "VOLKEEP_VOLUME=/volume/data",
            "--env",
            "VOLKEEP_STATE_DIR=/volume/.volkeep",
            "--env",
            "VOLKEEP_IDENTITY=wiki",
            "--entrypoint",
            "sh",
            &format!("volkeep:{}-toolbox", env!("CARGO_PKG_VERSION")),
            "-c",
            &format!("volkeep wait --timeout {limit} && echo the app runs"),
        ])
    };
    waiting("60s").expect_code(0).says(&["the app runs"]);
    project.compose(&["rm", "--stop", "--force", "init", "owner"]).expect_code(0);
    project.docker(&["volume", "rm", &volume]).expect_code(0);
    let lost = waiting("1s");
    // It was made by that run, so Compose does not count it as its own.
    project.docker(&["volume", "rm", &volume]).expect_code(0);
    let lost = lost
        .expect_code(1)
        .says(&["preparing the volume (it is empty, and nothing has made it ready) was not done within 1 s"]);
    assert!(!lost.stdout.contains("the app runs"), "{lost}");
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn snapshots_can_go_to_a_bucket_by_two_lines_in_env() {
    engine();
    let example = fs::read_to_string(root().join("deploy/compose/.env.example")).unwrap();
    for line in ["#COMPOSE_FILE=compose.yaml:compose.s3.yaml", "#REPOSITORY=s3://"] {
        assert!(example.lines().any(|one| one.starts_with(line)), "no {line} in .env.example");
    }
    let files = [root().join("deploy/compose/compose.yaml"), root().join("deploy/compose/compose.s3.yaml")];
    let both = model(&files);
    for service in ["init", "sidecar"] {
        let service = &both["services"][service];
        assert_eq!(service["secrets"].as_array().unwrap().len(), 2);
        let environment = &service["environment"];
        assert_eq!(environment["VOLKEEP_REPOSITORY_S3_ACCESS_KEY_ID_FILE"], "/run/secrets/s3_id");
        // What the first file says still counts.
        assert!(environment["VOLKEEP_REPOSITORY"].is_string());
        assert!(!service["volumes"].as_array().unwrap().is_empty());
    }
    assert!(both["services"]["app"]["secrets"].is_null());

    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (id, secret, bucket) =
        (dir.path().join("s3_id"), dir.path().join("s3_secret"), dir.path().join("bucket.yaml"));
    fs::write(&id, "AKVOLKEEPTEST").unwrap();
    fs::write(&secret, "a-secret-of-the-tests").unwrap();
    fs::write(&bucket, BUCKET).unwrap();
    // The user of the containers is another one.
    for file in [id, secret] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let project = Project::new("deploy/compose")
        .with("COMPOSE_FILE", &format!("compose.yaml:compose.s3.yaml:{}", bucket.display()))
        .with("REPOSITORY", "s3://backups/wiki?endpoint=http://s3:9000&region=us-east-1")
        .with("SECRETS", dir.path().to_str().unwrap());
    project.compose(&["up", "--detach", "s3"]).expect_code(0);
    project.compose(&["run", "--rm", "-T", "init", "repository", "init"]).expect_code(0);
    project.up();
    project.put("home", "welcome");
    project.backup();
    // With the volume that snapshots went to before: what comes back was in the bucket.
    project.compose(&["rm", "--stop", "--force", "app", "sidecar", "init", "owner"]).expect_code(0);
    for volume in ["wiki", "repository"] {
        project.docker(&["volume", "rm", &project.volume(volume)]).expect_code(0);
    }
    project.up();
    assert_eq!(project.get("home"), "welcome");
}

/// What stands for somebody's bucket.
const BUCKET: &str = r#"
services:
  s3:
    image: rclone/rclone:1.75
    command: [serve, s3, /bucket, --addr, ":9000", --config, /dev/null, --auth-key, "AKVOLKEEPTEST,a-secret-of-the-tests"]
    tmpfs: [/bucket]
"#;

/// The shortest thing that works, word for word, with an app put in.
#[test]
#[ignore = "needs a container engine: tests/run"]
fn the_least_that_the_readme_shows_brings_the_data_back() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let blocks: Vec<&str> =
        readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let least = blocks.iter().find(|block| block.contains("service_completed_successfully")).unwrap();
    assert_eq!(least.matches("image: your-app").count(), 1);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let app = "image: python:3.13-slim-trixie\n    init: true\n    command: [sleep, infinity]";
    fs::write(dir.path().join("compose.yaml"), least.replace("image: your-app", app)).unwrap();

    let project = Project::new(dir.path().to_str().unwrap());
    project.compose(&["run", "--rm", "-T", "init", "repository", "init"]).expect_code(0);
    project.up();
    project.compose(&["exec", "-T", "app", "sh", "-c", "echo welcome > /data/home"]).expect_code(0);
    project.backup();
    project.compose(&["rm", "--stop", "--force", "app", "sidecar", "init"]).expect_code(0);
    project.docker(&["volume", "rm", &project.volume("data")]).expect_code(0);
    project.up();
    let back = project.compose(&["exec", "-T", "app", "cat", "/data/home"]).expect_code(0);
    assert_eq!(back.stdout, "welcome\n");
}

/// They say no order, so they are only read here.
#[test]
#[ignore = "needs a container engine: tests/run"]
fn the_stack_for_swarm_can_be_read() {
    engine();
    let stack = model(&[root().join("deploy/swarm/stack.yaml")]);
    let services = stack["services"].as_object().unwrap();
    assert_eq!(services.keys().collect::<Vec<_>>(), ["app", "init", "sidecar"]);
    for (name, service) in services {
        assert!(service["depends_on"].is_null(), "{name}: Swarm knows no depends_on");
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["deploy"]["placement"]["constraints"][0], "node.labels.wiki == true", "{name}");
    }
}
