//! The laboratory itself: a comparison that finds no difference proves something only if it finds those there are.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Command;

use support::proxy::{Proxy, Rule, Trouble};
use support::{Lab, Layout, copy, differences, is_root, listing, odd_tree, run, run_until, same, shell};

#[test]
fn a_faithful_copy_has_no_difference_and_every_spoiled_one_has() {
    let lab = Lab::new(Layout::Subdirectory);
    let (tree, copied) = (lab.path("tree"), lab.path("copied"));
    odd_tree(&tree);
    copy(&tree, &copied);
    same(&tree, &copied);

    let mut spoilers = vec![
        (
            "content",
            "f='contents/3 MiB random'; m=$(stat -c %Y.%y \"$f\"); touch -r \"$f\" ../t; printf x | dd of=\"$f\" bs=1 seek=9 conv=notrunc status=none; touch -r ../t \"$f\"",
        ),
        ("a nanosecond of a file", "touch -h -d '1950-01-01 00:00:00.000000002 UTC' 'times/file 0'"),
        ("a nanosecond of a directory", "touch -d '1950-01-01 00:00:00.000000002 UTC' 'times/directory 0'"),
        ("a nanosecond of a symlink", "touch -h -d '1950-01-01 00:00:00.000000002 UTC' 'times/link 0'"),
        ("a mode", "chmod 0645 'modes/file 00644'"),
        ("a special bit", "chmod u-s 'modes/file 04755'"),
        ("the mode of the root", "chmod 0750 ."),
        ("the time of the root", "touch -d '2001-01-01' ."),
        (
            "an attribute",
            "setfattr -n user.text -v other attributes/file; touch -r attributes/directory ../t",
        ),
        ("an attribute of the root", "setfattr -x user.of-the-root ."),
        ("an access list", "setfacl -m u:12345:r 'attributes/access list'"),
        ("a default list", "setfacl -m d:u:12345:rwx 'attributes/default list'"),
        (
            "a hole",
            "f='contents/only a hole'; touch -r \"$f\" ../t; dd if=/dev/zero of=\"$f\" bs=1M count=64 conv=notrunc status=none; touch -r ../t \"$f\"",
        ),
        (
            "a hard link",
            "touch -r links/c ../t; cp -p links/c/third links/c/x; mv links/c/x links/c/third; touch -r ../t links/c",
        ),
        ("a link's target", "touch -r links ../t; ln -sfn elsewhere links/dangling; touch -r ../t links"),
        ("a missing file", "touch -r contents ../t; rm 'contents/one byte'; touch -r ../t contents"),
        ("a file too much", "touch -r contents ../t; touch contents/more; touch -r ../t contents"),
        ("a missing empty directory", "rmdir 'empty directory'"),
        ("a kind", "touch -r nodes ../t; rm nodes/socket; touch nodes/socket; touch -r ../t nodes"),
    ];
    if is_root() {
        spoilers.extend([
            ("an owner", "chown 1235 'modes/file 00400'"),
            ("the owner of a symlink", "chown -h 1 'modes/symlink of another'"),
            (
                "a device's number",
                "touch -r nodes ../t; rm nodes/null; mknod nodes/null c 1 5; touch -r ../t nodes",
            ),
        ]);
    }
    for (what, script) in spoilers {
        shell(&format!("cd \"$1\"; {script}"), &[copied.as_os_str()]);
        assert!(!differences(&tree, &copied).is_empty(), "{what} went unnoticed");
        support::remove_all(&copied);
        copy(&tree, &copied);
        same(&tree, &copied);
    }
}

#[test]
fn the_odd_tree_is_as_odd_as_it_says() {
    let lab = Lab::new(Layout::Subdirectory);
    odd_tree(&lab.volume());
    let nodes = listing(&lab.volume());
    let kinds: String = "dlps-".chars().chain(if is_root() { "cb" } else { "" }.chars()).collect();
    for kind in kinds.chars() {
        assert!(nodes.values().any(|node| node.kind == kind), "no node of kind `{kind}`");
    }
    assert!(nodes.keys().any(|path| path.to_str().is_none()), "no name outside UTF-8");
    assert!(nodes.keys().any(|path| path.components().count() > 100), "no deep directory");
    assert!(nodes.values().any(|node| node.modified.0 < 0), "no time before 1970");
    assert!(nodes.values().any(|node| node.links > 2), "no hard links");
    assert_eq!(nodes[std::path::Path::new("")].mode, 0o751);
}

#[test]
fn what_is_killed_is_seen_to_be_killed() {
    let outcome = run_until(0.01, Command::new("sh").args(["-c", "read line </dev/zero; sleep 600"]));
    assert!(outcome.was_killed(), "{outcome}");
    let lab = Lab::new(Layout::Subdirectory);
    let first = run(Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=/^mkdir",
            "-e",
            "inject=/^mkdir:signal=SIGKILL:when=2",
        ])
        .args(["mkdir", "a", "b", "c"])
        .current_dir(lab.path("")));
    assert!(first.was_killed(), "{first}");
    // The call that was to be the second did not happen.
    assert!(lab.path("a").exists() && !lab.path("b").exists());
    assert!(fs::read_dir(lab.volume()).unwrap().next().is_none());
}

#[test]
fn mounts_of_a_test_are_its_own() {
    let lab = Lab::new(Layout::MountPoint);
    let outcome =
        lab.inside_mounts("mount -t tmpfs none \"$VOLUME\"; touch \"$VOLUME/x\"; ls \"$VOLUME\"", &[]);
    assert_eq!(outcome.expect_code(0).stdout, "x\n");
    assert_eq!(fs::read_dir(lab.volume()).unwrap().count(), 0);
}

/// Each time two requests over one connection, of which the first has the trouble.
#[test]
fn the_proxy_makes_the_trouble_it_is_told_to_make() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(&format!("http://{}", server.local_addr().unwrap()));
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || answer_always(stream));
        }
    });
    let get = |path: &str| {
        let url = format!("{}{path}", proxy.endpoint());
        let curl = ["--noproxy", "*", "-s", "--max-time", "10", "-w", " %{http_code}", &url, &url];
        let outcome = run(Command::new("curl").args(curl));
        (outcome.code, outcome.stdout)
    };
    assert_eq!(get("/a"), (0, "abcdef 200abcdef 200".to_owned()));
    assert_eq!((proxy.count("GET", "/a"), proxy.count("PUT", "/a"), proxy.count("", "/b")), (2, 0, 0));
    for (trouble, first) in [
        (Trouble::Answer(503, "SlowDown"), "</Error> 503"),
        (Trouble::Flip(7), "a\"cdef 200"),
        (Trouble::Halve, "abc 200"),
        (Trouble::CutAnswer(2), "ab 200"),
        (Trouble::LoseAnswer, " 000"),
    ] {
        proxy.add(Rule::on("GET", "/a", trouble.clone()).once());
        let (_, printed) = get("/a");
        assert!(printed.contains(first) && printed.ends_with("abcdef 200"), "{trouble:?}: {printed}");
        assert_eq!(get("/b").1, "abcdef 200abcdef 200");
    }
    proxy.close();
    assert_eq!(get("/a"), (7, " 000 000".to_owned()));
    proxy.open();
    assert_eq!(get("/a").0, 0);
}

fn answer_always(stream: std::net::TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut stream = stream;
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef").unwrap();
        }
    }
}
