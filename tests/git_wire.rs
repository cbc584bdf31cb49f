//! The way to git servers, with real ones: OpenSSH, and nginx with git's own backend. Packs are made and read by the
//! command line of git.
#![cfg(feature = "git")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]
#![allow(clippy::print_stdout, reason = "figures are worth knowing")]

mod support;

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use support::git::{Agent, GitServer, Work, git, kinds};
use support::random_bytes;
use support::tunnel::Tunnel;
use volkeep::base::secret::{Secret, SecretSource};
use volkeep::repository::git::oid::Oid;
use volkeep::repository::git::wire::{
    Advertisement, Conversation, Fetch, Filter, Service, Transport, Update, fetch, open, push,
    supports_filter, takes_any_commit,
};
use volkeep::repository::git::{GitOptions, SshOptions};
use volkeep::repository::{HostKeyTrouble, RepositoryError};
use volkeep::store::{Denial, Obstacle, StoreError};

const MAIN: &str = "refs/heads/main";
const PATIENCE: Duration = Duration::from_secs(60);

fn transport(options: &GitOptions) -> Arc<dyn Transport> {
    open(options).unwrap()
}

#[track_caller]
fn connect(options: &GitOptions, service: Service) -> (Advertisement, Box<dyn Conversation>) {
    transport(options).connect(service).unwrap().expect("the repository is there")
}

#[track_caller]
fn refusal(options: &GitOptions, service: Service) -> StoreError {
    match transport(options).connect(service).map(|found| found.is_some()) {
        Err(RepositoryError::Store(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn move_main(options: &GitOptions, old: Oid, new: Oid, pack: Option<File>) -> Result<(), RepositoryError> {
    let (advertisement, conversation) = connect(options, Service::Push);
    push(conversation, &advertisement, &Update { reference: MAIN.to_owned(), old, new }, pack)
}

/// A repository with one commit, sent by ourselves.
fn filled(server: &GitServer, work: &Work) -> (String, Oid) {
    let name = server.new_repository();
    let first = work.commit("first", b"one");
    move_main(&server.ssh(&name), Oid::ZERO, first, Some(work.pack(first, Oid::ZERO))).unwrap();
    (name, first)
}

fn ask(options: &GitOptions, request: &Fetch) -> (Result<Vec<Oid>, RepositoryError>, Advertisement, File) {
    let (advertisement, conversation) = connect(options, Service::Fetch);
    let mut pack = tempfile::tempfile().unwrap();
    let fetched = fetch(conversation, &advertisement, request, &mut pack).map(|fetched| fetched.shallow);
    pack.rewind().unwrap();
    (fetched, advertisement, pack)
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn what_is_pushed_is_there_and_can_be_fetched() {
    let server = GitServer::running();
    for number in 0..2 {
        let name = server.new_repository();
        server.set(&name, "uploadpack.allowFilter", "true");
        server.set(&name, "uploadpack.allowReachableSHA1InWant", "true");
        let options = &server.ways(&name)[number];
        let (empty, _) = connect(options, Service::Fetch);
        assert!(empty.references.is_empty());

        let work = Work::new();
        let first = work.commit("first", b"one");
        move_main(options, Oid::ZERO, first, Some(work.pack(first, Oid::ZERO))).unwrap();
        let second = work.commit("second", b"two");
        move_main(options, first, second, Some(work.pack(second, first))).unwrap();
        git(&server.path(&name), &["fsck", "--strict"]);
        assert_eq!(git(&server.path(&name), &["rev-parse", MAIN]), second.to_string());

        let wanted = |request: Fetch| ask(options, &Fetch { wants: vec![second], ..request });
        let (shallow, advertisement, pack) = wanted(Fetch::default());
        assert_eq!(shallow.unwrap(), []);
        assert_eq!(advertisement.references[MAIN], second);
        assert_eq!(kinds(pack), "blob blob commit commit tree tree");
        assert!(supports_filter(&advertisement) && takes_any_commit(&advertisement));

        let (shallow, _, pack) = wanted(Fetch { depth: Some(1), ..Fetch::default() });
        assert_eq!((shallow.unwrap(), kinds(pack)), (vec![second], "blob blob commit tree".to_owned()));
        let (_, _, pack) = wanted(Fetch { haves: vec![first], ..Fetch::default() });
        assert_eq!(kinds(pack), "blob commit tree");
        // Whoever has one of several, or none that the server knows.
        let unknown = Oid([7; 20]);
        let (_, _, pack) = wanted(Fetch { haves: vec![unknown, first, unknown], ..Fetch::default() });
        assert_eq!(kinds(pack), "blob commit tree");
        let (_, _, pack) = wanted(Fetch { haves: vec![unknown], ..Fetch::default() });
        assert_eq!(kinds(pack), "blob blob commit commit tree tree");
        let (_, _, pack) = wanted(Fetch { filter: Some(Filter::NoBlobs), ..Fetch::default() });
        assert_eq!(kinds(pack), "commit commit tree tree");
        let (_, _, pack) = wanted(Fetch { filter: Some(Filter::NoTrees), ..Fetch::default() });
        assert_eq!(kinds(pack), "commit commit");
        let (older, _, pack) = ask(options, &Fetch { wants: vec![first], ..Fetch::default() });
        older.unwrap();
        assert_eq!(kinds(pack), "blob commit tree");
        let (missing, _, _) = ask(options, &Fetch { wants: vec![unknown], ..Fetch::default() });
        let missing = missing.unwrap_err();
        assert!(missing.to_string().contains("not our ref") && !missing.retryable(), "{missing}");

        // Back to the first commit, all of whose objects are there; then away with it.
        move_main(options, second, first, None).unwrap();
        server.set(&name, "receive.denyDeleteCurrent", "ignore");
        move_main(options, first, Oid::ZERO, None).unwrap();
        assert!(connect(options, Service::Push).0.references.is_empty());
    }
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn a_commit_whose_parents_are_elsewhere_brings_all_that_is_missing() {
    let server = GitServer::running();
    let work = Work::new();
    let (name, first) = filled(&server, &work);
    let second = work.commit("first", b"changed");
    let third = work.commit("first", b"one");
    for (old, new) in [(first, second), (second, third)] {
        move_main(&server.ssh(&name), old, new, Some(work.pack(new, old))).unwrap();
    }
    for options in server.ways(&name) {
        // The content of the third is that of the first, which is not here.
        let request =
            Fetch { wants: vec![third], haves: vec![second], shallow: vec![second], ..Fetch::default() };
        let (_, _, pack) = ask(&options, &request);
        assert_eq!(kinds(pack), "blob commit tree");
    }
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn a_push_is_refused_when_the_reference_is_elsewhere() {
    let server = GitServer::running();
    let work = Work::new();
    let (name, first) = filled(&server, &work);
    server.set(&name, "receive.denyNonFastForwards", "true");
    let second = work.commit("second", b"two");
    git(work.path(), &["checkout", "--quiet", "--orphan", "other"]);
    let other = work.commit("third", b"three");
    let there = || git(&server.path(&name), &["rev-parse", MAIN]);
    for options in server.ways(&name) {
        for old in [Oid::ZERO, second] {
            let rejected = move_main(&options, old, second, Some(work.pack(second, first))).unwrap_err();
            assert!(matches!(rejected, RepositoryError::Rejected { .. }), "{rejected}");
        }
        // Nobody has moved it, and the server does not like where it goes.
        let rejected = move_main(&options, first, other, Some(work.pack(other, Oid::ZERO))).unwrap_err();
        assert!(matches!(rejected, RepositoryError::Rejected { .. }), "{rejected}");
        assert!(rejected.to_string().contains("non-fast-forward"), "{rejected}");
        assert_eq!(there(), first.to_string());

        // Somebody moves it between the look and the push.
        let (advertisement, conversation) = connect(&options, Service::Push);
        move_main(&options, first, second, Some(work.pack(second, first))).unwrap();
        let update = Update { reference: MAIN.to_owned(), old: first, new: other };
        let late = push(conversation, &advertisement, &update, Some(work.pack(other, Oid::ZERO)));
        let late = late.unwrap_err();
        assert!(matches!(late, RepositoryError::Rejected { .. }), "{late}");
        assert_eq!(there(), second.to_string());
        git(&server.path(&name), &["update-ref", MAIN, &first.to_string()]);
    }
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn a_refusal_comes_in_the_words_of_the_server() {
    let server = GitServer::running();
    let work = Work::new();
    let (name, first) = filled(&server, &work);
    let second = work.commit("second", &random_bytes(1, 3 << 20));
    let attempt = |options: &GitOptions| {
        let error = move_main(options, first, second, Some(work.pack(second, first))).unwrap_err();
        assert!(matches!(error, RepositoryError::Rejected { .. }), "{error}");
        assert_eq!(git(&server.path(&name), &["rev-parse", MAIN]), first.to_string());
        error.to_string()
    };
    for options in server.ways(&name) {
        server.hook(
            &name,
            "pre-receive",
            "cat >/dev/null; printf 'error: GH001: too \\033[1mlarge\\n' >&2; exit 1",
        );
        let words = attempt(&options);
        assert!(words.contains("pre-receive hook declined"), "{words}");
        assert!(words.contains("error: GH001: too [1mlarge") && !words.contains('\u{1b}'), "{words}");
        server.hook(&name, "pre-receive", "exit 0");
        // Refused while it is on its way. What is between nginx and git does not bear that.
        if options.location().starts_with("git+https") {
            continue;
        }
        server.set(&name, "receive.maxInputSize", "1000000");
        let words = attempt(&options);
        assert!(words.contains("exceeds maximum allowed size"), "{words}");
        git(&server.path(&name), &["config", "--unset", "receive.maxInputSize"]);
    }
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn all_kinds_of_keys_are_let_in_and_others_are_not() {
    let server = GitServer::running();
    let name = server.new_repository();
    let with = |change: &dyn Fn(&mut SshOptions)| {
        let mut options = server.ssh_with(&name, "ed25519");
        change(&mut options);
        server.by_ssh(options)
    };
    let file = |name: &str| Some(SecretSource::File(server.files.join(name)));
    for key in ["ed25519", "ecdsa", "rsa"] {
        connect(&with(&|options| options.key = file(key)), Service::Fetch);
    }
    let sealed = |options: &mut SshOptions| {
        options.key = file("sealed");
        options.passphrase = file("sealed.passphrase");
    };
    connect(&with(&sealed), Service::Push);
    let text = fs::read_to_string(server.files.join("ed25519")).unwrap().trim_end().replace('\n', "\r\n");
    let value = SecretSource::Value(Secret::new(text));
    connect(&with(&|options| options.key = Some(value.clone())), Service::Fetch);

    let agent = Agent::start(&server.files.join("rsa"));
    let by_agent = |options: &mut SshOptions| {
        options.key = None;
        options.agent = Some(agent.socket.clone());
    };
    connect(&with(&by_agent), Service::Fetch);
    agent.forget_all();
    let empty = refusal(&with(&by_agent), Service::Fetch);
    assert!(matches!(empty, StoreError::Denied { denial: Denial::NoCredentials, .. }), "{empty}");

    let stranger = refusal(&with(&|options| options.key = file("stranger")), Service::Fetch);
    assert!(matches!(stranger, StoreError::Denied { denial: Denial::Credentials, .. }), "{stranger}");
    assert!(stranger.to_string().contains("SHA256:"), "{stranger}");
    let none = refusal(&with(&|options| options.key = None), Service::Fetch);
    assert!(matches!(none, StoreError::Denied { denial: Denial::NoCredentials, .. }), "{none}");
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn a_host_is_believed_by_its_key_alone() {
    let server = GitServer::running();
    let name = server.new_repository();
    let dir = tempfile::tempdir().unwrap();
    let true_line = fs::read_to_string(server.files.join("known_hosts")).unwrap();
    let host_key = true_line.split_once(' ').unwrap().1.trim();
    let stranger = fs::read_to_string(server.files.join("stranger.pub")).unwrap();
    let number = std::cell::Cell::new(0);
    let with = |lines: &str| {
        number.set(number.get() + 1);
        let path = dir.path().join(format!("known_hosts.{}", number.get()));
        fs::write(&path, lines).unwrap();
        server.by_ssh(SshOptions { known_hosts: vec![path], ..server.ssh_with(&name, "ed25519") })
    };
    let port = server.ssh_port;
    for trusted in [
        true_line.clone(),
        format!("127.0.0.* {host_key}"),
        format!("@cert-authority * {stranger}[127.0.0.1]:{port} {stranger}[127.0.0.1]:{port} {host_key}"),
    ] {
        connect(&with(&trusted), Service::Fetch);
    }
    let hashed = with(&true_line);
    let volkeep::repository::git::Place::Ssh(ssh) = &hashed.place else { panic!("by ssh") };
    let status = Command::new("ssh-keygen")
        .args(["-q", "-H", "-f"])
        .arg(&ssh.known_hosts[0])
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    assert!(fs::read_to_string(&ssh.known_hosts[0]).unwrap().starts_with("|1|"));
    connect(&hashed, Service::Fetch);

    let fingerprint = {
        let key = dir.path().join("host.pub");
        fs::write(&key, host_key).unwrap();
        let told = Command::new("ssh-keygen").arg("-lf").arg(&key).output().unwrap();
        String::from_utf8(told.stdout).unwrap().split_whitespace().nth(1).unwrap().to_owned()
    };
    let absent =
        SshOptions { known_hosts: vec![dir.path().join("absent")], ..server.ssh_with(&name, "ed25519") };
    for (options, expected) in [
        (server.by_ssh(absent), HostKeyTrouble::Unknown),
        (with(&format!("other.example.org {host_key}")), HostKeyTrouble::Unknown),
        (with(&format!("[127.0.0.1]:{port} {stranger}")), HostKeyTrouble::Changed),
        (with(&format!("{true_line}@revoked * {host_key}")), HostKeyTrouble::Revoked),
    ] {
        let error = transport(&options).connect(Service::Fetch).map(|found| found.is_some()).unwrap_err();
        let RepositoryError::HostKey { trouble, fingerprint: shown, host } = &error else {
            panic!("{error}")
        };
        assert_eq!(*trouble, expected);
        assert_eq!(*host, format!("[127.0.0.1]:{port}"));
        // A server that nobody knows shows the key it likes best.
        if expected != HostKeyTrouble::Unknown {
            assert_eq!(*shown, fingerprint);
        }
        assert!(shown.starts_with("SHA256:"), "{shown}");
    }
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn a_repository_that_is_not_there_is_absent() {
    let server = GitServer::running();
    for service in [Service::Fetch, Service::Push] {
        for options in server.ways("it's not there!.git") {
            assert!(transport(&options).connect(service).unwrap().is_none(), "{}", options.location());
        }
    }
    // A name that needs care is found all the same, and so is one told from the home directory.
    git(&server.repositories, &["init", "--quiet", "--bare", "it's there!.git"]);
    for options in server.ways("it's there!.git") {
        connect(&options, Service::Push);
    }
    let name = server.new_repository();
    let home = std::env::var("HOME").unwrap();
    let up: String = Path::new(&home).components().skip(1).map(|_| "../").collect();
    let path = format!("{up}{}", server.path(&name).display().to_string().trim_start_matches('/'));
    for path in [format!("~/{path}"), path] {
        connect(&server.by_ssh(SshOptions { path, ..server.ssh_with(&name, "ed25519") }), Service::Fetch);
    }
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn who_may_only_read_may_not_push() {
    let server = GitServer::running();
    let (name, _) = filled(&server, &Work::new());
    for options in
        [server.by_ssh(server.ssh_with(&name, "reader")), server.by_https(server.https_as(&name, "reader"))]
    {
        assert!(connect(&options, Service::Fetch).0.references.contains_key(MAIN));
        let denied = refusal(&options, Service::Push);
        assert!(matches!(denied, StoreError::Denied { denial: Denial::Permission(_), .. }), "{denied}");
    }
    let wrong = Some(SecretSource::Value(Secret::new("not the password")));
    let mut options = server.https_as(&name, "writer");
    options.token = wrong;
    let denied = refusal(&server.by_https(options.clone()), Service::Fetch);
    assert!(matches!(denied, StoreError::Denied { denial: Denial::Credentials, .. }), "{denied}");
    assert!(!denied.to_string().contains("not the password"), "{denied}");
    (options.user, options.token) = (None, None);
    let denied = refusal(&server.by_https(options), Service::Fetch);
    assert!(matches!(denied, StoreError::Denied { denial: Denial::NoCredentials, .. }), "{denied}");
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn what_is_no_git_server_is_told_by_what_it_answers() {
    let server = GitServer::running();
    let at = |path: &str| {
        let mut options = server.https_as("x", "writer");
        options.path = path.to_owned();
        server.by_https(options)
    };
    let moved = refusal(&at("/moved/wiki.git"), Service::Fetch).to_string();
    assert!(moved.contains("moved to https://elsewhere.example.org/moved/wiki.git;"), "{moved}");
    assert!(!moved.contains("secret"), "{moved}");
    let page = refusal(&at("/page/wiki.git"), Service::Fetch);
    assert!(page.to_string().contains("`text/html`, so it is no git server") && !page.retryable(), "{page}");
    let busy = refusal(&at("/busy/wiki.git"), Service::Fetch);
    assert!(busy.to_string().contains("503: come back later") && busy.retryable(), "{busy}");
    assert!(refusal(&at("/limited/wiki.git"), Service::Fetch).retryable());

    // Each is taken for the other.
    let mut ssh = server.ssh_with("x", "ed25519");
    ssh.port = server.https_port;
    let error = refusal(&server.by_ssh(ssh), Service::Fetch);
    assert!(matches!(error, StoreError::Temporary { .. }), "{error}");
    let mut https = server.https_as("x", "writer");
    https.port = server.ssh_port;
    let error = refusal(&server.by_https(https), Service::Fetch);
    assert!(matches!(error, StoreError::Unreachable { obstacle: Obstacle::Certificate, .. }), "{error}");
    // Without our authority nobody vouches for it.
    let mut https = server.https_as("x", "writer");
    https.ca_file = None;
    let error = refusal(&server.by_https(https), Service::Fetch);
    assert!(matches!(error, StoreError::Unreachable { obstacle: Obstacle::Certificate, .. }), "{error}");

    let name = "of-another-format.git";
    git(&server.repositories, &["init", "--quiet", "--bare", "--object-format=sha256", name]);
    for options in server.ways(name) {
        let error = refusal(&options, Service::Push);
        assert!(error.to_string().contains("SHA256") && !error.retryable(), "{error}");
    }
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn a_request_that_is_too_large_is_refused_while_it_is_sent() {
    let server = GitServer::running();
    let work = Work::new();
    let (name, first) = filled(&server, &work);
    let second = work.commit("second", &random_bytes(4, 8 << 20));
    let mut options = server.https_as(&name, "writer");
    options.path = format!("/small/{name}");
    let options = server.by_https(options);
    let error = move_main(&options, first, second, Some(work.pack(second, first))).unwrap_err();
    assert!(matches!(error, RepositoryError::Rejected { .. }), "{error}");
    assert!(error.to_string().contains("413"), "{error}");
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn a_pack_that_nobody_wants_any_more_is_not_waited_for() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let server = GitServer::running();
    let work = Work::new();
    let (name, first) = filled(&server, &work);
    let second = work.commit("second", &random_bytes(5, 32 << 20));
    move_main(&server.ssh(&name), first, second, Some(work.pack(second, first))).unwrap();
    for options in server.ways(&name) {
        let (advertisement, conversation) = connect(&options, Service::Fetch);
        let request = Fetch { wants: vec![second], ..Fetch::default() };
        let full = fetch(conversation, &advertisement, &request, &mut Full).unwrap_err();
        assert!(matches!(full, RepositoryError::Local { .. }), "{full}");
    }
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn silence_is_not_waited_for_and_neither_is_a_wish_to_stop() {
    let server = GitServer::running();
    let dir = tempfile::tempdir().unwrap();
    // Takes connections by its queue, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for options in server.ways_at("x", [port; 2], &dir.path().join("known_hosts")) {
        let impatient = GitOptions { connect_timeout: Duration::from_millis(300), ..options.clone() };
        let error = refusal(&impatient, Service::Fetch);
        assert!(matches!(error, StoreError::Unreachable { obstacle: Obstacle::Silence, .. }), "{error}");

        let patient = GitOptions { connect_timeout: Duration::from_secs(3_600), ..options };
        let cancel = patient.cancel.clone();
        let started = thread::spawn(move || {
            let outcome = transport(&patient).connect(Service::Fetch).map(|found| found.is_some());
            (outcome, Instant::now())
        });
        let (_held, _) = silent.accept().unwrap();
        let (_held, _) = silent.accept().unwrap();
        let asked = Instant::now();
        cancel.cancel();
        let (outcome, ended) = started.join().unwrap();
        assert!(matches!(outcome, Err(RepositoryError::Cancelled)), "{outcome:?}");
        println!("stopped after {:?}", ended.saturating_duration_since(asked));
        assert!(ended.saturating_duration_since(asked) < Duration::from_secs(10));
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for options in server.ways_at("x", [closed; 2], &dir.path().join("known_hosts")) {
        let error = refusal(&options, Service::Fetch);
        assert!(matches!(error, StoreError::Unreachable { obstacle: Obstacle::Refused, .. }), "{error}");
    }
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn a_server_that_stops_in_the_middle_of_a_push_is_left() {
    let server = GitServer::running();
    let work = Work::new();
    let (name, first) = filled(&server, &work);
    let second = work.commit("second", b"two");
    // The hook waits until somebody opens the other end.
    let pipe = server.path(&name).join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    server.hook(&name, "pre-receive", "cat pipe >/dev/null; exit 1");
    // Git would say every few seconds that it is still there.
    server.set(&name, "receive.keepAlive", "0");
    for options in server.ways(&name) {
        // A busy machine has to say what there is in this time.
        let options = GitOptions { stall_timeout: Duration::from_secs(4), ..options };
        let error = move_main(&options, first, second, Some(work.pack(second, first))).unwrap_err();
        assert!(matches!(error, RepositoryError::Store(StoreError::Temporary { .. })), "{error}");
        assert!(error.to_string().contains("may have been done all the same"), "{error}");
        drop(fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap());
    }
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn a_connection_that_is_cut_is_an_error_that_may_pass() {
    let server = GitServer::running();
    let work = Work::new();
    let (name, first) = filled(&server, &work);
    let second = work.commit("second", &random_bytes(2, 4 << 20));
    let dir = tempfile::tempdir().unwrap();
    let tunnels = [Tunnel::to(server.ssh_port), Tunnel::to(server.https_port)];
    let ports = [tunnels[0].port, tunnels[1].port];
    let options = server.ways_at(&name, ports, &dir.path().join("known_hosts"));
    for (tunnel, options) in tunnels.iter().zip(&options) {
        let (advertisement, conversation) = connect(options, Service::Push);
        tunnel.cut_after(1 << 20, u64::MAX);
        let update = Update { reference: MAIN.to_owned(), old: first, new: second };
        let cut = push(conversation, &advertisement, &update, Some(work.pack(second, first))).unwrap_err();
        assert!(matches!(cut, RepositoryError::Store(StoreError::Temporary { .. })), "{cut}");
        assert_eq!(git(&server.path(&name), &["rev-parse", MAIN]), first.to_string());
    }
    move_main(&server.ssh(&name), first, second, Some(work.pack(second, first))).unwrap();
    for (tunnel, options) in tunnels.iter().zip(&options) {
        tunnel.cut_after(u64::MAX, u64::MAX);
        let (advertisement, conversation) = connect(options, Service::Fetch);
        tunnel.cut_after(u64::MAX, 1 << 20);
        let request = Fetch { wants: vec![second], ..Fetch::default() };
        let cut = fetch(conversation, &advertisement, &request, &mut std::io::sink()).unwrap_err();
        assert!(matches!(cut, RepositoryError::Store(StoreError::Temporary { .. })), "{cut}");

        // One that comes back in time was never away.
        tunnel.cut_after(u64::MAX, u64::MAX);
        tunnel.refuse(3);
        let before = tunnel.connections();
        assert!(refusal(options, Service::Fetch).retryable());
        connect(&GitOptions { retry_deadline: PATIENCE, ..options.clone() }, Service::Fetch);
        assert_eq!(tunnel.connections() - before, 4);
    }
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn a_large_pack_needs_little_memory() {
    const ALONE: &str = "VOLKEEP_TEST_GIT_LARGE_PACK_ALONE";
    const SIZE: usize = 60 << 20;
    let server = GitServer::running();
    let Ok(work) = std::env::var(ALONE) else {
        let work = Work::new();
        let large = work.commit("large", &random_bytes(3, SIZE));
        std::io::copy(&mut work.pack(large, Oid::ZERO), &mut File::create(work.path().join("pack")).unwrap())
            .unwrap();
        // A process of its own, so that the others of these tests do not count.
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--include-ignored", "--exact", "a_large_pack_needs_little_memory", "--nocapture"])
            .env(ALONE, work.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        println!("{said}");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    };
    let work = Path::new(&work);
    let large: Oid = git(work, &["rev-parse", "HEAD"]).parse().unwrap();
    for number in 0..2 {
        let name = server.new_repository();
        let options = &server.ways(&name)[number];
        let started = Instant::now();
        move_main(options, Oid::ZERO, large, Some(File::open(work.join("pack")).unwrap())).unwrap();
        let sent = started.elapsed();
        let (outcome, _, pack) = ask(options, &Fetch { wants: vec![large], ..Fetch::default() });
        outcome.unwrap();
        println!("{}: sent in {sent:?}, fetched in {:?}", options.location(), started.elapsed() - sent);
        assert!(pack.metadata().unwrap().len() > SIZE as u64);
        assert_eq!(kinds(pack), "blob commit tree");
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    println!("{peak}");
    let kilobytes: usize = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes << 10 < SIZE / 2, "{peak}");
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn nothing_secret_is_shown() {
    let server = GitServer::running();
    let name = server.new_repository();
    let password = fs::read_to_string(server.files.join("writer.password")).unwrap();
    let mut https = server.https_as(&name, "writer");
    https.token = Some(SecretSource::Value(Secret::new(password.clone())));
    let shown = format!("{:?}", transport(&server.by_https(https)));
    assert!(!shown.contains(password.trim()) && shown.contains("***"), "{shown}");
}
