//! A user and a database that are made in CouchDB before the app starts: by a server with CouchDB's interface that wants a
//! password, behind a proxy that knows what `init` has asked for. Judged by what the server has afterwards.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod steps_support;
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde_json::Value;

use steps_support::{begun, steps};
use support::crash::{AtLeast, RENAMES, SYNCS, kill_at_each, killed_at, report};
use support::life::{finish, start};
use support::proxy::{Proxy, Rule, Trouble};
use support::s3::unique;
use support::{Lab, Outcome, run};

/// As long as it takes a slow machine to start its database.
const AWAY: Duration = Duration::from_secs(30);

/// A server that `tests/servers/couchdb` has started.
#[derive(Clone)]
struct Couch {
    endpoint: String,
    user: String,
    password: String,
}

impl Couch {
    #[track_caller]
    fn running() -> Self {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| {
                panic!("{name} is not set: this test needs a server for CouchDB, which tests/run starts; docs/working.md says how to do so by hand")
            })
        };
        Self {
            endpoint: variable("VOLKEEP_TEST_COUCHDB"),
            user: variable("VOLKEEP_TEST_COUCHDB_USER"),
            password: variable("VOLKEEP_TEST_COUCHDB_PASSWORD"),
        }
    }

    /// Status and body of what the server answers straight.
    fn get(&self, path: &str, user: &str, password: &str) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "-w", "\n%{http_code}", "--user", &format!("{user}:{password}")]);
        let said = run(curl.arg(format!("{}{path}", self.endpoint))).expect_code(0).stdout;
        let (body, status) = said.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }

    fn as_admin(&self, path: &str) -> (u16, Value) {
        self.get(path, &self.user, &self.password)
    }
}

/// An app called `name` that wants a user and a database of that name.
struct App {
    couch: Couch,
    name: String,
    password: String,
}

impl App {
    fn new(couch: &Couch) -> Self {
        Self { couch: couch.clone(), name: unique("wiki"), password: unique("secret-of-the-app") }
    }

    fn user_path(&self) -> String {
        format!("/_users/org.couchdb.user:{}", self.name)
    }

    fn database_path(&self) -> String {
        format!("/{}", self.name)
    }

    /// What is asked for in this order, after CouchDB is up. `more` is for each request.
    fn steps(&self, endpoint: &str, first: &str, more: &str) -> String {
        let auth = "basic_auth: {user_file: $LAB/admin, password_file: $LAB/password}";
        let put = format!("method: PUT, headers: {{Content-Type: application/json}}, {auth}");
        let (user, database) = (self.user_path(), self.database_path());
        format!(
            "[{{wait_for: {{http: '{endpoint}/_up', expect: [200]}}, timeout: 2m}}{first},
              {{name: user, {more} http: {{url: '{endpoint}{user}', {put}, body_file: $LAB/user, already: [409]}}}},
              {{name: database, {more} http: {{url: '{endpoint}{database}', {put}, already: [412]}}}},
              {{name: members, {more} http: {{url: '{endpoint}{database}/_security', {put}, body_file: $LAB/members}}}}]"
        )
    }

    /// A volume with the steps, and the secrets in files.
    fn lab(&self, endpoint: &str, first: &str, more: &str) -> Lab {
        let mut lab = begun();
        self.tell(&mut lab, endpoint, first, more);
        lab
    }

    fn tell(&self, lab: &mut Lab, endpoint: &str, first: &str, more: &str) {
        let Self { couch, name, password } = self;
        let user = format!(r#"{{"name": "{name}", "password": "{password}", "roles": [], "type": "user"}}"#);
        let members =
            format!(r#"{{"admins": {{"names": []}}, "members": {{"names": ["{name}"], "roles": []}}}}"#);
        for (file, text) in
            [("admin", &couch.user), ("password", &couch.password), ("user", &user), ("members", &members)]
        {
            fs::write(lab.path(file), format!("{text}\n")).unwrap();
        }
        steps(lab, &self.steps(endpoint, first, more));
    }

    /// The first revision of the user, who can log in; the database, and who may use it.
    #[track_caller]
    fn assert_made(&self, context: &str) -> String {
        let (status, user) = self.couch.as_admin(&self.user_path());
        let revision = user["_rev"].as_str().unwrap_or_default().to_owned();
        assert!(status == 200 && revision.starts_with("1-"), "{context}: {status} {user}");
        assert_eq!(self.couch.as_admin(&self.database_path()).0, 200, "{context}");
        let (_, members) = self.couch.as_admin(&format!("{}/_security", self.database_path()));
        assert_eq!(members["members"]["names"][0], self.name.as_str(), "{context}: {members}");
        let (_, session) = self.couch.get("/_session", &self.name, &self.password);
        assert_eq!(session["userCtx"]["name"], self.name.as_str(), "{context}: {session}");
        revision
    }

    #[track_caller]
    fn assert_not_made(&self) {
        for path in [self.user_path(), self.database_path()] {
            assert_eq!(self.couch.as_admin(&path).0, 404, "{path}");
        }
    }

    /// What went through the proxy to change something, in order.
    fn changes(&self, proxy: &Proxy) -> Vec<String> {
        let all = proxy.seen().into_iter().filter(|seen| seen.method != "GET");
        all.map(|seen| format!("{} {}", seen.method, seen.target)).collect()
    }

    fn all_changes(&self) -> [String; 3] {
        let database = self.database_path();
        [self.user_path(), database.clone(), format!("{database}/_security")]
            .map(|path| format!("PUT {path}"))
    }
}

const ONCE: &str = "once: true,";

/// Results of the steps, without that of waiting.
fn results(outcome: &Outcome) -> Vec<String> {
    let report = outcome.json();
    let steps = report["steps"].as_array().unwrap().iter().filter(|step| step["kind"] == "http");
    steps.map(|step| step["result"].as_str().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "needs a server for CouchDB: tests/run"]
fn user_and_database_are_made_in_order_and_once() {
    let couch = Couch::running();
    let (app, proxy) = (App::new(&couch), Proxy::to(&couch.endpoint));
    let mut lab = app.lab(&proxy.endpoint(), "", ONCE);
    app.assert_not_made();
    let first = lab.ok(&["init", "--json", "-vv"]);
    assert_eq!(results(&first), ["done"; 3]);
    assert_eq!(app.changes(&proxy), app.all_changes());
    let revision = app.assert_made("first start");

    proxy.forget_seen();
    let second = lab.ok(&["init", "--json", "-vv"]);
    assert_eq!(results(&second), ["skipped"; 3]);
    assert_eq!(app.changes(&proxy), [""; 0]);

    // Asked for at every start: the server says that it is there, and nothing becomes another.
    app.tell(&mut lab, &proxy.endpoint(), "", "");
    let third = lab.ok(&["init", "--json", "-vv"]);
    assert_eq!(results(&third), ["already", "already", "done"]);
    let notes: Vec<_> =
        third.json()["steps"].as_array().unwrap().iter().map(|step| step["note"].clone()).collect();
    assert_eq!(notes[1..3], ["status 409", "status 412"]);
    assert_eq!(app.changes(&proxy), app.all_changes());
    assert_eq!(app.assert_made("third start"), revision);

    let told = format!("{first}{second}{third}{}{}", lab.ok(&["init", "-vv"]), lab.ok(&["config", "show"]));
    for secret in [&couch.password, &app.password] {
        assert!(!told.contains(secret), "a secret was told: {told}");
    }
}

#[test]
#[ignore = "needs a server for CouchDB: tests/run"]
fn a_wrong_password_is_one_attempt_and_a_failure() {
    let couch = Couch::running();
    let (app, proxy) = (App::new(&couch), Proxy::to(&couch.endpoint));
    let mut lab = app.lab(&proxy.endpoint(), "", "once: true, retries: 5, backoff: 10ms,");
    fs::write(lab.path("password"), "wrong-s3cret\n").unwrap();
    let outcome =
        lab.exits(1, &["init", "-vv"]).says(&["step user: ", "status 401", "look at the user, the password"]);
    assert!(!format!("{outcome}").contains("s3cret"), "{outcome}");
    assert_eq!(app.changes(&proxy), app.all_changes()[..1], "the account is not hammered");
    app.assert_not_made();
    // Nor is the database made where the user was made before.
    fs::write(lab.path("password"), &couch.password).unwrap();
    lab.ok(&["init"]);
    app.assert_made("the right password");
    let other = App::new(&couch);
    other.tell(&mut lab, &proxy.endpoint(), "", "once: true, version: 2, retries: 5, backoff: 10ms,");
    fs::write(lab.path("user"), "no document").unwrap();
    lab.exits(1, &["init"]).says(&["step user: "]);
    other.assert_not_made();
}

#[test]
#[ignore = "needs a server for CouchDB: tests/run"]
fn a_server_that_is_away_for_half_a_minute_is_waited_for() {
    let couch = Couch::running();
    let (app, proxy) = (App::new(&couch), Proxy::to(&couch.endpoint));
    let lab = app.lab(&proxy.endpoint(), "", ONCE);
    proxy.close();
    let mut init = start(&mut lab.command(&["init"]));
    await_word(&mut init, "waiting");
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(finish(init)));
    match ended.recv_timeout(AWAY) {
        Err(RecvTimeoutError::Timeout) => {}
        outcome => panic!("it did not wait: {outcome:?}"),
    }
    app.assert_not_made();
    proxy.open();
    ended.recv_timeout(Duration::from_secs(120)).unwrap().expect_code(0).says(&["step user (http): done"]);
    app.assert_made("once it was there");
    assert_eq!(app.changes(&proxy), app.all_changes());
}

/// It has said a line with this word. The rest of what it says is read and left.
fn await_word(child: &mut Child, word: &str) {
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it did not say: {word}");
    }
    std::thread::spawn(move || said.read_to_string(&mut String::new()));
}

#[test]
#[ignore = "needs a server for CouchDB: tests/run"]
fn an_answer_that_is_lost_is_asked_for_again() {
    let couch = Couch::running();
    let (app, proxy) = (App::new(&couch), Proxy::to(&couch.endpoint));
    let lab = app.lab(&proxy.endpoint(), "", "once: true, retries: 3, backoff: 10ms,");
    proxy.add(Rule::on("PUT", app.user_path(), Trouble::LoseAnswer).once());
    let outcome = lab.ok(&["init", "--json"]);
    assert_eq!(results(&outcome), ["already", "done", "done"], "{outcome}");
    app.assert_made("a lost answer");
}

#[test]
#[ignore = "needs a server for CouchDB: tests/run"]
fn killed_before_success_is_recorded_it_asks_again_and_hears_that_it_is_there() {
    let couch = Couch::running();
    let mut heard = std::collections::BTreeSet::new();
    for calls in [RENAMES, SYNCS] {
        let mut lab = begun();
        let deaths = kill_at_each(1, 1, |number| {
            lab.wipe();
            let (app, proxy) = (App::new(&couch), Proxy::to(&couch.endpoint));
            app.tell(&mut lab, &proxy.endpoint(), "", ONCE);
            let killed = killed_at(&lab, &["init"], calls, number);
            let context = format!("killed at {calls} {number}");
            assert!(killed.was_killed() || killed.code == 0, "{context}: {killed}");
            let again = lab.run(&["init", "--json"]);
            assert!(again.code == 0, "{context}, then {again}");
            heard.extend(results(&again).iter().zip(["user", "database"]).map(|(a, b)| format!("{b} {a}")));
            let revision = app.assert_made(&context);
            proxy.forget_seen();
            assert_eq!(results(&lab.ok(&["init", "--json"])), ["skipped"; 3], "{context}");
            assert_eq!(app.changes(&proxy), [""; 0], "{context}");
            assert_eq!(app.assert_made(&context), revision, "{context}");
            killed.was_killed()
        });
        report("user and database", calls, deaths, &AtLeast(3));
    }
    for expected in
        ["user done", "user already", "user skipped", "database done", "database already", "database skipped"]
    {
        assert!(heard.contains(expected), "no death was at such an instant: {expected}; {heard:?}");
    }
}

/// Each pod stands before its requests until both do.
fn started_together(labs: [&Lab; 2], shared: &Lab) -> [Outcome; 2] {
    let (begun, go) = (shared.fifo("begun"), shared.fifo("go"));
    let running = labs.map(|lab| start(&mut lab.command(&["init", "--json"])));
    for _ in 0..2 {
        begun.await_line();
    }
    for _ in 0..2 {
        go.go();
    }
    let outcomes = running.map(|child| finish(child).expect_code(0));
    for fifo in ["begun", "go"] {
        fs::remove_file(shared.path(fifo)).unwrap();
    }
    outcomes
}

fn gate(shared: &Lab) -> String {
    let path = shared.path("").display().to_string();
    format!(", {{run: [sh, -c, 'echo > {path}/begun; read go < {path}/go']}}")
}

#[test]
#[ignore = "needs a server for CouchDB: tests/run"]
fn of_two_pods_on_one_volume_one_asks() {
    let couch = Couch::running();
    let mut lab = begun();
    for number in 0..5 {
        lab.wipe();
        let (app, proxy) = (App::new(&couch), Proxy::to(&couch.endpoint));
        app.tell(&mut lab, &proxy.endpoint(), "", ONCE);
        let running = [0, 1].map(|_| start(&mut lab.command(&["init", "--json"])));
        let mut all = running.map(|child| results(&finish(child).expect_code(0)));
        all.sort();
        assert_eq!(all, [["done"; 3], ["skipped"; 3]], "round {number}");
        assert_eq!(app.changes(&proxy), app.all_changes(), "round {number}");
        app.assert_made("two pods");
    }
}

#[test]
#[ignore = "needs a server for CouchDB: tests/run"]
fn of_two_pods_with_volumes_of_their_own_one_makes_the_user_and_the_other_hears_of_it() {
    let couch = Couch::running();
    let shared = Lab::new(support::Layout::Subdirectory);
    for number in 0..5 {
        let app = App::new(&couch);
        // The server of the tests has revisions of `_security`, and refuses one of two who change it at once.
        let more = "once: true, retries: 10, backoff: 10ms,";
        let labs = [0, 1].map(|_| app.lab(&couch.endpoint, &gate(&shared), more));
        let outcomes = started_together([&labs[0], &labs[1]], &shared);
        let mut users = outcomes.each_ref().map(|outcome| results(outcome).remove(0));
        users.sort();
        assert_eq!(users, ["already", "done"], "round {number}");
        // Of a database that server says to both that it was they who made it, where CouchDB would not.
        app.assert_made("two volumes");
    }
}
