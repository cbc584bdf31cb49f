//! The images that the Dockerfile makes, as somebody finds them who has just built them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod pod_support;
mod support;

use pod_support::engine::{docker, docker_ok};
use serde_json::Value;
use support::shell;

const RUNTIME: &str = concat!("volkeep:", env!("CARGO_PKG_VERSION"));
const TOOLBOX: &str = concat!("volkeep:", env!("CARGO_PKG_VERSION"), "-toolbox");

/// As the manifests run it: no rights, no network, nothing to write to but `/tmp`.
const CONFINED: [&str; 9] = [
    "run",
    "--rm",
    "--network=none",
    "--read-only",
    "--tmpfs=/tmp:mode=1777",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=128m",
    "--memory-swap=128m",
];

fn inspect(image: &str) -> Value {
    let all: Value = serde_json::from_str(&docker_ok(&["image", "inspect", image])).unwrap();
    all[0].clone()
}

/// Names, modes and times of everything in an image.
fn listing(image: &str) -> String {
    shell(
        "id=$(docker create \"$1\"); trap 'docker rm \"$id\" > /dev/null' EXIT; \
         docker export \"$id\" | TZ=UTC tar -tv --full-time",
        &[image.as_ref()],
    )
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn the_small_image_is_small_and_holds_one_program() {
    let image = inspect(RUNTIME);
    let size = image["Size"].as_u64().unwrap();
    println!("{size} bytes, {:.1} MiB", size as f64 / f64::from(1 << 20));
    assert!(size < 25 << 20, "{size} bytes");
    let files = listing(RUNTIME);
    // Empty ones are what the engine mounts over.
    let is_program = |line: &&str| line.starts_with("-rwx") && line.split_whitespace().nth(2) != Some("0");
    let programs: Vec<&str> = files.lines().filter(is_program).collect();
    assert_eq!(programs.len(), 1, "{programs:?}");
    assert!(programs[0].ends_with("usr/local/bin/volkeep"), "{programs:?}");
    for file in ["etc/ssl/certs/ca-certificates.crt", "usr/share/zoneinfo/Europe/Berlin"] {
        assert!(files.lines().any(|line| line.ends_with(file)), "no {file}");
    }
    // Whenever it is built, the files are of one time; what the engine adds to a container has its own.
    let ours: Vec<&str> = files.lines().filter(|line| line.contains(" usr/")).collect();
    assert!(ours.len() > 300, "{files}");
    for line in ours {
        assert!(line.contains("1970-01-01 00:00:00"), "{line}");
    }
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn both_images_say_what_they_are_and_are_nobody_in_particular() {
    for image in [RUNTIME, TOOLBOX] {
        let config = inspect(image)["Config"].clone();
        assert_eq!(config["User"], "65532:65532", "{image}");
        assert_eq!(config["Entrypoint"], serde_json::json!(["/usr/local/bin/volkeep"]), "{image}");
        let check = serde_json::json!(["CMD", "/usr/local/bin/volkeep", "health"]);
        assert_eq!(config["Healthcheck"]["Test"], check, "{image}");
        let labels = &config["Labels"];
        assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"), "{image}");
        for label in ["title", "description", "licenses"] {
            assert!(labels[format!("org.opencontainers.image.{label}")].is_string(), "{image}: {label}");
        }
        let mut arguments = CONFINED.to_vec();
        arguments.extend([image, "--version"]);
        assert_eq!(docker_ok(&arguments), concat!("volkeep ", env!("CARGO_PKG_VERSION")), "{image}");
    }
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn a_whole_life_fits_into_the_small_image_without_any_rights() {
    let mut arguments = CONFINED.to_vec();
    arguments.extend([RUNTIME, "demo"]);
    let said = docker(&arguments).expect_code(0);
    assert!(said.stdout.contains("byte for byte"), "{said}");
}

#[test]
#[ignore = "needs a container engine: tests/run"]
fn the_toolbox_has_what_hooks_call() {
    let script = "for tool in bash sqlite3 psql mariadb redis-cli git ssh curl jq zstd flock \
                  sqlite-hold postgres-copy recover.sh; do \
                  command -v $tool > /dev/null || echo \"$tool is missing\"; done; id -u";
    let mut arguments = CONFINED.to_vec();
    arguments.extend(["--entrypoint=bash", TOOLBOX, "-c", script]);
    assert_eq!(docker_ok(&arguments), "65532");
    let one = |image: &str| {
        shell(
            "id=$(docker create \"$1\"); trap 'docker rm \"$id\" > /dev/null' EXIT; \
             docker cp \"$id:/usr/local/bin/volkeep\" - | tar -xO | sha256sum",
            &[image.as_ref()],
        )
    };
    assert_eq!(one(RUNTIME), one(TOOLBOX), "the same program in both");
}
