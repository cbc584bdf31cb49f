//! What a step fetches: whole or not at all, only when it has changed, checked, and out of whatever source; and what
//! becomes of a directory that gives way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod steps_support;
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use steps_support::{Downloads, Item, begun, steps, with_steps};
use support::crash::{
    AtLeast, DIRECTORIES, METADATA, REMOVALS, RENAMES, SYNCS, kill_at_each, killed_at, report,
};
use support::git::GitServer;
use support::s3::Server;
use support::{Home, Lab, Layout, is_root, run, shell};

/// The result of the only step, as `init --json` has it.
#[track_caller]
fn result(lab: &Lab) -> String {
    let report = lab.ok(&["init", "--json"]).json();
    report["steps"][0]["result"].as_str().unwrap().to_owned()
}

fn fetched(lab: &Lab) -> String {
    fs::read_to_string(lab.volume().join("got")).unwrap()
}

/// What tells whether somebody has touched it.
fn touched(path: &Path) -> (u64, i64, i64, i64) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.ino(), metadata.ctime(), metadata.ctime_nsec(), metadata.mtime_nsec())
}

fn sha256(content: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("content"), content).unwrap();
    let said = shell("sha256sum < \"$1\"", &[dir.path().join("content").as_os_str()]);
    said.split_whitespace().next().unwrap().to_owned()
}

/// A file of the lab's own: an archive with `name` and what else the script makes.
fn archive(lab: &Lab, name: &str, script: &str) -> Vec<u8> {
    let file = lab.path(name);
    let (tree, compress) = (lab.path("tree"), if name.ends_with("zst") { "--zstd" } else { "-z" });
    shell(
        "rm -rf \"$1\"; mkdir \"$1\"; cd \"$1\"; eval \"$3\"; find . -exec touch -h -d @1700000000 {} +; tar -c $4 -f \"$2\" .",
        &[tree.as_os_str(), file.as_os_str(), script.as_ref(), compress.as_ref()],
    );
    fs::read(file).unwrap()
}

fn quarantined(lab: &Lab) -> Vec<PathBuf> {
    let entries = fs::read_dir(lab.state_dir().join("quarantine")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_file_comes_once_and_again_when_it_has_changed() {
    let server = Downloads::new();
    let lab =
        with_steps(begun(), &format!("[{{fetch: {{url: '{}', to: got}}}}]", server.url("/a?token=hunter2")));
    for (old, new) in [
        (Item::File(b"one".to_vec()), Item::File(b"two".to_vec())),
        (
            Item::Dated(b"one".to_vec(), "Mon, 02 Nov 2026 01:02:03 GMT"),
            Item::Dated(b"two".to_vec(), "Mon, 02 Nov 2026 01:02:04 GMT"),
        ),
        (Item::Plain(b"one".to_vec()), Item::Plain(b"two".to_vec())),
    ] {
        server.put("/a?token=hunter2", old);
        assert_eq!(result(&lab), "done");
        assert_eq!(fetched(&lab), "one");
        let before = touched(&lab.volume().join("got"));
        assert_eq!(result(&lab), "unchanged");
        assert_eq!(touched(&lab.volume().join("got")), before);
        server.put("/a?token=hunter2", new);
        assert_eq!(result(&lab), "done");
        assert_eq!(fetched(&lab), "two");
        assert_ne!(touched(&lab.volume().join("got")).0, before.0);
    }
    assert_eq!(fs::read_dir(lab.volume()).unwrap().count(), 1, "something was left beside");
    // What changes by other hands is set right.
    fs::write(lab.volume().join("got"), "by somebody else").unwrap();
    assert_eq!(result(&lab), "done");
    fs::set_permissions(lab.volume().join("got"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(result(&lab), "done");
    assert_eq!(fs::metadata(lab.volume().join("got")).unwrap().mode() & 0o7777, 0o644);
    // Neither the log nor what is remembered shows the address.
    let outcome = run(lab.command(&["init"]).env("VOLKEEP_LOG_LEVEL", "debug"));
    let told = outcome.stdout + &outcome.stderr;
    assert!(told.contains("DEBUG"), "{told}");
    let remembered = shell("grep -r hunter2 \"$1\" || true", &[lab.path("volume").as_os_str()]);
    assert!(!told.contains("hunter2") && remembered.is_empty(), "{told}\n{remembered}");
}

#[test]
fn what_has_its_checksum_is_asked_for_no_more() {
    let server = Downloads::new();
    server.file("/a", b"content");
    let with_sum =
        |sum: &str| format!("[{{fetch: {{url: '{}', to: got, sha256: {sum}}}}}]", server.url("/a"));
    let mut lab = with_steps(begun(), &with_sum(&sha256(b"content")));
    assert_eq!(result(&lab), "done");
    server.heard();
    server.put("/a", Item::Status(500));
    assert_eq!(result(&lab), "unchanged");
    // Nor where nobody remembers anything: the content speaks for itself.
    fs::remove_dir_all(lab.state_dir().join("cache/fetched")).unwrap();
    let before = touched(&lab.volume().join("got"));
    assert_eq!(result(&lab), "unchanged");
    assert_eq!(server.heard().len(), 0);

    // What comes is something else: nothing is replaced, and the app does not start.
    server.file("/a", b"Content");
    steps(&mut lab, &with_sum(&sha256(b"another")));
    lab.exits(1, &["init"]).says(&[
        "step fetch-1: what came from http://127.0.0.1",
        "SHA-256",
        &sha256(b"another"),
    ]);
    assert_eq!(fetched(&lab), "content");
    assert_eq!(touched(&lab.volume().join("got")), before);
    assert_eq!(fs::read_dir(lab.volume()).unwrap().count(), 1);
}

#[test]
fn what_does_not_come_whole_replaces_nothing() {
    let server = Downloads::new();
    server.file("/a", b"content");
    let yaml = |more: &str| format!("[{{fetch: {{url: '{}', to: got{more}}}}}]", server.url("/a"));
    let mut lab = with_steps(begun(), &yaml(""));
    assert_eq!(result(&lab), "done");
    for (item, words) in [
        (Item::Cut(b"the other content".to_vec()), "did not finish its answer"),
        (Item::Status(404), "answered with status 404: no..."),
        (Item::Status(503), "answered with status 503"),
        (Item::Redirect("/a".to_owned()), "leads elsewhere: more than 5 times"),
        (Item::Redirect("ftp://127.0.0.1/".to_owned()), "leads elsewhere"),
        (Item::File(vec![b'x'; 5000]), "more than 4096 bytes, which is the limit"),
    ] {
        server.put("/a", item);
        steps(&mut lab, &yaml(", max_size: 4KiB"));
        lab.exits(1, &["init"]).says(&["step fetch-1: ", words]);
        assert_eq!(fetched(&lab), "content");
        assert_eq!(fs::read_dir(lab.volume()).unwrap().count(), 1, "{words}");
    }
    // What is there will do, if that was said; but not if nothing is there, and not where the server says no.
    server.put("/a", Item::Status(503));
    steps(&mut lab, &yaml(", on_unreachable: keep"));
    assert_eq!(result(&lab), "kept");
    server.put("/a", Item::Status(404));
    lab.exits(1, &["init"]);
    server.put("/a", Item::Status(503));
    fs::remove_file(lab.volume().join("got")).unwrap();
    lab.exits(1, &["init"]);
    // It is tried again as often as is said.
    server.heard();
    steps(&mut lab, &yaml("}, retries: 2, backoff: 0s, timeout: {").replace(", timeout: {}", ""));
    lab.exits(1, &["init"]).says(&["after 3 attempts"]);
}

#[test]
fn a_redirect_is_followed_and_told_no_secret_of_another_host() {
    let (server, other) = (Downloads::new(), Downloads::new());
    other.file("/b", b"content");
    server.file("/own", b"content");
    server.put("/a", Item::Redirect(other.url("/b")));
    server.put("/near", Item::Redirect("/own".to_owned()));
    let yaml = |path: &str| {
        format!(
            "[{{fetch: {{url: '{}', to: got, basic_auth: {{user: me, password: hunter2}}, headers: {{X-Key: k}}}}}}]",
            server.url(path)
        )
    };
    let mut lab = with_steps(begun(), &yaml("/a"));
    assert_eq!(result(&lab), "done");
    assert_eq!(result(&lab), "unchanged");
    let told =
        |heard: Vec<steps_support::Heard>| heard.into_iter().map(|heard| heard.head).collect::<String>();
    assert!(told(server.heard()).contains("Basic "));
    let there = told(other.heard());
    assert!(there.contains("GET /b") && !there.contains("Basic") && !there.contains("X-Key"), "{there}");
    steps(&mut lab, &yaml("/near"));
    result(&lab);
    let here = told(server.heard());
    assert_eq!(here.matches("Basic ").count(), 2, "{here}");
}

#[test]
fn an_archive_becomes_a_directory_and_what_was_there_is_kept() {
    let server = Downloads::new();
    for name in ["seed.tar.gz", "seed.tar.zst"] {
        let yaml = format!("[{{fetch: {{url: '{}', to: deep/plugins, unpack: true}}}}]", server.url("/seed"));
        let mut lab = with_steps(begun(), &yaml);
        let plugins = lab.volume().join("deep/plugins");
        server.file(
            "/seed",
            &archive(&lab, name, "echo one > a; mkdir b; echo two > b/c; ln -s b/c link; chmod 700 b"),
        );
        assert_eq!(result(&lab), "done");
        assert_eq!(fs::read_to_string(plugins.join("link")).unwrap(), "two\n");
        assert_eq!(fs::metadata(plugins.join("b")).unwrap().mode() & 0o7777, 0o700);
        let before = touched(&plugins);
        assert_eq!(result(&lab), "unchanged");
        // Without anything remembered it comes again, is the same, and is not touched.
        fs::remove_dir_all(lab.state_dir().join("cache/fetched")).unwrap();
        assert_eq!(result(&lab), "unchanged");
        assert_eq!(touched(&plugins), before);
        assert!(quarantined(&lab).is_empty());

        server.file("/seed", &archive(&lab, name, "echo three > a"));
        fs::write(plugins.join("b/of the app"), "precious").unwrap();
        assert_eq!(result(&lab), "done");
        assert_eq!(fs::read_dir(&plugins).unwrap().count(), 1);
        let [kept] = quarantined(&lab).try_into().unwrap();
        assert_eq!(fs::read_to_string(kept.join("data/b/of the app")).unwrap(), "precious");
        let note = fs::read_to_string(kept.join("note.json")).unwrap();
        assert!(note.contains("replaced by a step of init") && note.contains("deep/plugins"), "{note}");

        // A part of it, checked.
        let inner = archive(&lab, name, "mkdir -p app-1.2/lib; echo x > app-1.2/lib/x; echo y > readme");
        server.file("/seed", &inner);
        let sum = sha256(&inner);
        steps(
            &mut lab,
            &yaml.replace("unpack: true", &format!("unpack: true, from: app-1.2, sha256: {sum}")),
        );
        assert_eq!(result(&lab), "done");
        assert!(plugins.join("lib/x").exists() && !plugins.join("readme").exists());
        server.put("/seed", Item::Status(500));
        assert_eq!(result(&lab), "unchanged");
        assert!(
            fs::read_dir(lab.state_dir().join("cache/fetched")).unwrap().all(|entry| {
                entry.unwrap().path().extension().is_some_and(|extension| extension == "json")
            })
        );
    }
}

#[test]
fn an_archive_that_is_no_good_leaves_everything_as_it_was() {
    let server = Downloads::new();
    let yaml =
        |more: &str| format!("[{{fetch: {{url: '{}', to: p, unpack: true{more}}}}}]", server.url("/p"));
    let mut lab = with_steps(begun(), &yaml(""));
    let good = archive(&lab, "good.tar.gz", "echo one > a; head -c 100000 /dev/urandom > b");
    server.file("/p", &good);
    assert_eq!(result(&lab), "done");
    let before = touched(&lab.volume().join("p"));
    let evil = lab.path("evil.tar");
    shell(
        "cd \"$2\"; echo x > x; tar -cPf \"$1\" --transform 's,x,../../x,' x",
        &[evil.as_os_str(), lab.path("home").as_os_str()],
    );
    let bomb = archive(&lab, "bomb.tar.gz", "head -c 30000000 /dev/zero > zeros");
    for (item, more, words) in [
        (Item::File(good[..good.len() / 2].to_vec()), "", "cut off"),
        (Item::Cut(good.clone()), "", "did not finish"),
        (Item::File(b"this is no archive at all".repeat(40)), "", "not a tar archive"),
        (Item::File(fs::read(evil).unwrap()), "", "would lie outside"),
        (Item::File(bomb), ", max_size: 1MiB", "limit"),
        (Item::File(good.clone()), ", from: nothing/here", "no directory nothing/here in the archive"),
    ] {
        server.put("/p", item);
        steps(&mut lab, &yaml(more));
        lab.exits(1, &["init"]).says(&["step fetch-1: ", words]);
        assert_eq!(touched(&lab.volume().join("p")), before, "{words}");
        assert!(quarantined(&lab).is_empty());
        assert!(!lab.path("x").exists() && !lab.path("volume/x").exists(), "{words}");
    }
    // Nothing but a directory gives way to one, and no link leads out.
    server.file("/p", &good);
    fs::write(lab.volume().join("file"), "precious").unwrap();
    symlink("/", lab.volume().join("out")).unwrap();
    for (to, words) in [("file", "is no directory"), ("out/p", "out"), ("out", "is no directory")] {
        steps(&mut lab, &yaml("").replace("to: p", &format!("to: {to}")));
        lab.exits(1, &["init"]).says(&["step fetch-1: ", words]);
    }
    assert_eq!(fs::read_to_string(lab.volume().join("file")).unwrap(), "precious");
}

#[test]
fn what_is_fetched_is_given_to_its_owner() {
    assert!(is_root(), "only root gives files away; run it as root");
    let server = Downloads::new();
    let mut lab = begun();
    server.file("/a", b"content");
    server.file("/p", &archive(&lab, "p.tar.gz", "mkdir d; echo x > d/x; ln -s x d/l"));
    steps(
        &mut lab,
        &format!(
            "[{{fetch: {{url: '{}', to: new/a, mode: '0400', owner: '65534:65533'}}}},
              {{fetch: {{url: '{}', to: p, unpack: true, owner: '65534:65533'}}}}]",
            server.url("/a"),
            server.url("/p")
        ),
    );
    lab.ok(&["init"]);
    for name in ["new", "new/a", "p", "p/d", "p/d/x", "p/d/l"] {
        let metadata = fs::symlink_metadata(lab.volume().join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (65534, 65533), "{name}");
    }
    lab.ok(&["init"]).says(&["step fetch-1: unchanged", "step fetch-2: unchanged"]);
}

#[test]
fn other_data_knows_nothing_of_what_was_fetched() {
    let server = Downloads::new();
    server.file("/a", b"one");
    let mut lab = with_steps(begun(), &format!("[{{fetch: {{url: '{}', to: got}}}}]", server.url("/a")));
    lab.ok(&["init"]);
    lab.ok(&["backup"]);
    server.file("/a", b"two");
    lab.ok(&["init"]);
    // The snapshot has the older one: it is not to be taken for the newer.
    lab.ok(&["restore", "--force"]);
    assert_eq!(fetched(&lab), "one");
    assert_eq!(result(&lab), "done");
    assert_eq!(fetched(&lab), "two");
    lab.set(
        "VOLKEEP_INIT_STEPS",
        format!("[{{fetch: {{url: '{}', to: got}}, when: first_boot}}]", server.url("/a")),
    );
    assert_eq!(result(&lab), "skipped");
}

#[test]
fn a_file_of_this_machine_is_a_source_as_well() {
    let lab = with_steps(begun(), "[{fetch: {url: 'file://$LAB/seed', to: got}}]");
    fs::write(lab.path("seed"), "one").unwrap();
    assert_eq!((result(&lab), result(&lab)), ("done".to_owned(), "unchanged".to_owned()));
    fs::write(lab.path("seed"), "three").unwrap();
    assert_eq!(result(&lab), "done");
    assert_eq!(fetched(&lab), "three");
    fs::remove_file(lab.path("seed")).unwrap();
    lab.exits(1, &["init"]).says(&["step fetch-1: cannot read", "No such file"]);
    shell("mkfifo \"$1\"", &[lab.path("seed").as_os_str()]);
    lab.exits(1, &["init"]).says(&["it is no regular file"]);
}

#[test]
fn a_file_of_a_git_repository_follows_its_branch() {
    let lab = with_steps(
        begun(),
        "[{fetch: {url: 'git+file://$LAB/conf.git', branch: live, path: conf/app.yaml, to: got}}]",
    );
    let commit = |script: &str| {
        shell(
            "cd \"$1\"; test -d work || { git init -q --bare -b live conf.git; git clone -q conf.git work 2>/dev/null; }; cd work; \
             eval \"$2\"; git add -A; git -c user.name=a -c user.email=a@b commit -qm x; git push -q origin HEAD:live",
            &[lab.path("").as_os_str(), script.as_ref()],
        )
    };
    commit("mkdir conf; echo one > conf/app.yaml; echo other > other");
    assert_eq!((result(&lab), result(&lab)), ("done".to_owned(), "unchanged".to_owned()));
    assert_eq!(fetched(&lab), "one\n");
    let before = touched(&lab.volume().join("got"));
    commit("echo more > other");
    assert_eq!(result(&lab), "unchanged");
    assert_eq!(touched(&lab.volume().join("got")), before);
    commit("echo two > conf/app.yaml");
    assert_eq!(result(&lab), "done");
    assert_eq!(fetched(&lab), "two\n");
    commit("printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:0\\nsize 1\\n' > conf/app.yaml");
    lab.exits(1, &["init"]).says(&["a pointer of Git LFS"]);
    commit("git rm -q conf/app.yaml; mkdir -p conf/app.yaml; echo x > conf/app.yaml/x");
    lab.exits(1, &["init"]).says(&["there is no file conf/app.yaml"]);
    assert_eq!(fetched(&lab), "two\n");
}

fn survives(yaml: &str, calls: &str) {
    let server = Downloads::new();
    let mut lab = with_steps(begun(), &yaml.replace("$URL", &server.url("/a")));
    let (one, two) = match yaml.contains("unpack") {
        true => (
            archive(
                &lab,
                "one.tar.gz",
                "mkdir -p app/d; echo one > app/which; echo 1 > app/d/one; echo x > x",
            ),
            archive(
                &lab,
                "two.tar.gz",
                "mkdir -p app/d; echo two > app/which; echo 2 > app/d/two; echo y > y",
            ),
        ),
        false => (b"one\n".to_vec(), b"two\n".to_vec()),
    };
    let which = |lab: &Lab| {
        let file = lab.volume().join(if yaml.contains("unpack") { "got/which" } else { "got" });
        fs::read_to_string(file).unwrap().trim().to_owned()
    };
    let deaths = kill_at_each(1, 1, |step| {
        let context = format!("{calls} {step}");
        server.file("/a", &one);
        lab.ok(&["init"]);
        server.file("/a", &two);
        let killed = killed_at(&lab, &["init"], calls, step).was_killed();
        let found = which(&lab);
        if yaml.contains("unpack") {
            // Never a mixture, and never half of it.
            assert!(lab.volume().join("got/d").join(&found).exists(), "{context}: {found}");
            assert_eq!(fs::read_dir(lab.volume().join("got/d")).unwrap().count(), 1, "{context}");
        }
        assert!(["one", "two"].contains(&found.as_str()), "{context}: {found}");
        lab.ok(&["init"]);
        assert_eq!(which(&lab), "two", "{context}");
        assert_eq!(fs::read_dir(lab.volume()).unwrap().count(), 1, "{context}");
        assert_eq!(lab.state(), "healthy", "{context}");
        lab.set("VOLKEEP_VOLUME_QUARANTINE_KEEP", "0s");
        killed
    });
    report("what is fetched", calls, deaths, &AtLeast(1));
}

#[test]
fn a_file_that_is_fetched_survives_death_at_every_step() {
    for calls in [RENAMES, SYNCS, REMOVALS, METADATA] {
        survives("[{fetch: {url: '$URL', to: got}}]", calls);
    }
}

#[test]
fn a_directory_that_is_fetched_survives_death_at_every_step() {
    for calls in [RENAMES, SYNCS, DIRECTORIES, REMOVALS] {
        survives("[{fetch: {url: '$URL', to: got, unpack: true, from: app}}]", calls);
    }
}

#[test]
fn beside_an_app_what_is_there_already_is_left_alone() {
    let server = Downloads::new();
    let mut lab = Lab::filled(Layout::Subdirectory, support::few_entries).with_jobs("", "");
    server.file("/a", b"content");
    server.file("/p", &archive(&lab, "p.tar.gz", "echo x > x"));
    let hook = steps_support::Server::new(|_, _| 200);
    steps(
        &mut lab,
        &format!(
            "[{{fetch: {{url: '{}', to: got}}}}, {{fetch: {{url: '{}', to: p, unpack: true}}}},
              {{permissions: {{mode: '0750'}}}}, {{notify: {{webhook: {{url: 'http://{}/'}}}}}}]",
            server.url("/a"),
            server.url("/p"),
            hook.address
        ),
    );
    lab.ok(&["init"]);
    let look =
        || shell("find \"$1\" -printf '%p %i %C@ %T@ %m %U %s\\n' | sort", &[lab.volume().as_os_str()]);
    let before = look();
    let sidecar = lab.sidecar();
    lab.ok(&["init"]).says(&[
        "step fetch-1: unchanged",
        "step fetch-2: unchanged",
        "step permissions-3: unchanged",
    ]);
    assert_eq!(look(), before);
    server.file("/a", b"changed");
    lab.ok(&["init"]).says(&["step fetch-1: done"]);
    assert_eq!(fetched(&lab), "changed");
    sidecar.end_well();
    assert_eq!(hook.heard().len(), 3);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn an_object_of_a_bucket_comes_when_it_has_changed() {
    let server = Server::real();
    let bucket = server.shared_bucket();
    let prefix = support::s3::unique("fetch");
    let store = server.store(&bucket, &prefix);
    let key = volkeep::store::Key::new("seed.bin").unwrap();
    let (one, two) = (support::random_bytes(1, 9 << 20), support::random_bytes(2, 5 << 20));
    store.put(&key, &one.clone().into()).unwrap();
    let url = format!("s3://{bucket}/{prefix}/seed.bin?endpoint={}&region=us-east-1", server.endpoint);
    let yaml = format!("[{{fetch: {{url: '{url}', to: got}}}}]");
    let lab = with_steps(begun(), &yaml)
        .with("AWS_ACCESS_KEY_ID", &server.access_key_id)
        .with("AWS_SECRET_ACCESS_KEY", &server.secret_access_key);
    assert_eq!((result(&lab), result(&lab)), ("done".to_owned(), "unchanged".to_owned()));
    assert!(fs::read(lab.volume().join("got")).unwrap() == one);
    store.put(&key, &two.clone().into()).unwrap();
    assert_eq!(result(&lab), "done");
    assert!(fs::read(lab.volume().join("got")).unwrap() == two);
    let denied = lab.with("AWS_SECRET_ACCESS_KEY", "wrong");
    denied.exits(1, &["init"]).says(&["step fetch-1: ", "denies access"]);
    // With keys of its own, apart from those of the repository.
    let mut lab = denied.with("AWS_ACCESS_KEY_ID", "none");
    fs::write(lab.path("id"), &server.access_key_id).unwrap();
    fs::write(lab.path("secret"), &server.secret_access_key).unwrap();
    steps(
        &mut lab,
        &yaml.replace(
            "to: got",
            "to: got, s3: {access_key_id_file: $LAB/id, secret_access_key_file: $LAB/secret}",
        ),
    );
    assert_eq!(result(&lab), "unchanged");
    store.delete(&key).unwrap();
    lab.exits(1, &["init"]).says(&["there is no object seed.bin"]);
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn a_file_comes_over_ssh_and_over_https() {
    let server = GitServer::running();
    let name = server.new_repository();
    let mut lab = begun();
    shell(
        "cd \"$2\"; git clone -q \"$1\" work 2>/dev/null; cd work; echo one > a; git add a; \
         git -c user.name=a -c user.email=a@b commit -qm x; git push -q origin HEAD:main",
        &[server.path(&name).as_os_str(), lab.path("home").as_os_str()],
    );
    for home in [Home::GitSsh, Home::GitHttps] {
        let url = Lab::on_server(home, Layout::Subdirectory, &server, &name).url();
        let files = server.files.display();
        let keys = match home {
            Home::GitSsh => {
                format!("ssh: {{key_file: {files}/ed25519, known_hosts_file: {files}/known_hosts}}")
            }
            _ => format!(
                "https: {{user: writer, token_file: {files}/writer.password, ca_file: {files}/ca.pem}}"
            ),
        };
        steps(&mut lab, &format!("[{{fetch: {{url: '{url}', path: a, to: got, {keys}}}}}]"));
        let _ = fs::remove_file(lab.volume().join("got"));
        assert_eq!((result(&lab), result(&lab)), ("done".to_owned(), "unchanged".to_owned()), "{home:?}");
        assert_eq!(fetched(&lab), "one\n");
    }
}
