//! What a step may say, what is refused, and what becomes of it.

use super::*;

fn parse(text: &str) -> Result<StepSpec, String> {
    let value: Value = serde_saphyr::from_str(text).unwrap();
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn step(text: &str) -> Step {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).step(&BTreeMap::new())
}

#[test]
fn each_kind_becomes_its_step() {
    let wait = step("{wait_for: {http: 'http://couchdb:5984/_up', expect: [200]}, timeout: 2m}");
    assert_eq!((wait.timeout, wait.label(0).as_str()), (Duration::from_secs(120), "wait_for-1"));
    assert!(matches!(wait.kind, Kind::WaitFor(Wait::Http(request)) if request.expect == [200]));
    let wait = step("{wait_for: {tcp: '[::1]:80'}}");
    assert!(matches!(wait.kind, Kind::WaitFor(Wait::Tcp { host, port: 80 }) if host == "::1"));
    assert!(matches!(step("{wait_for: {dns: db}}").kind, Kind::WaitFor(Wait::Dns(_))));
    assert!(matches!(step("{wait_for: {file: /a}}").kind, Kind::WaitFor(Wait::File(_))));

    let variables = BTreeMap::from([("RACK".to_owned(), Secret::new("r1"))]);
    let text = "{name: rack, render: {text: 'a', to: conf/a, values: {port: 1, dc: dc1}, values_env: {rack: RACK, \
                zone: ZONE}, values_file: {token: /run/token}}}";
    let Kind::Render(render) = parse(text).unwrap().step(&variables).kind else { panic!("no render") };
    assert_eq!((render.mode, render.to.to_string().as_str()), (0o644, "conf/a"));
    assert_eq!(render.values_env["rack"].value, Some(Secret::new("r1")));
    assert_eq!(render.values_env["zone"].value, None);

    let run = step("{name: m, run: [migrate, --to, '7'], once: true, version: 7, retries: 3, backoff: 2s}");
    assert_eq!((run.once, run.version, run.retries, run.backoff), (true, 7, 3, Duration::from_secs(2)));
    let http = step(
        "{http: {url: 'http://a/', method: PUT, basic_auth: {user: a, password_file: /p}, already: [412]}}",
    );
    let Kind::Http { request, already } = http.kind else { panic!("no http") };
    assert!(request.basic_auth.is_some() && already == [412] && request.method == "PUT");
}

#[test]
fn what_makes_no_sense_is_refused_without_showing_secrets() {
    for (text, says) in [
        ("{}", "exactly one of"),
        ("{name: a}", "exactly one of"),
        ("{run: [a], http: {url: 'http://a/'}}", "exactly one of"),
        ("{run: []}", "`run` is empty"),
        ("{wait_for: {}}", "exactly one of http, tcp"),
        ("{wait_for: {tcp: 'a:1', dns: a}}", "exactly one of http, tcp"),
        ("{wait_for: {tcp: a}}", "host:port"),
        ("{wait_for: {tcp: ':80'}}", "host:port"),
        ("{wait_for: {tcp: 'a:0'}}", "host:port"),
        ("{wait_for: {dns: 'a:1'}}", "the name of a host"),
        ("{wait_for: {file: relative}}", "absolute"),
        ("{wait_for: {file: /a, expect: [200]}}", "go with `http`"),
        ("{wait_for: {http: 'ftp://hunter2/'}}", "`url`"),
        ("{wait_for: {http: 'http://a/', expect: [9]}}", "not a status"),
        ("{wait_for: {http: 'http://a/'}, once: true, name: a}", "no sense"),
        ("{render: {to: a}}", "either `template` or `text`"),
        ("{render: {to: a, text: b, template: /b}}", "either `template` or `text`"),
        ("{render: {to: a, template: b}}", "absolute"),
        ("{render: {text: b}}", "needs a `to`"),
        ("{render: {text: b, to: ../a}}", "`to`"),
        ("{render: {text: b, to: /a}}", "`to`"),
        ("{render: {text: b, to: a, mode: '999'}}", "`mode`"),
        ("{render: {text: b, to: a, values: {a-b: c}}}", "a-b"),
        ("{render: {text: b, to: a, values: {a: c}, values_env: {a: C}}}", "set twice"),
        ("{render: {text: b, to: a, values_file: {a: c}}}", "absolute"),
        ("{render: {text: b, to: a}, env: {A: hunter2}}", "`env` goes with `run`"),
        ("{run: [a], once: true}", "a `name` is needed"),
        ("{run: [a], name: 'a b'}", "`name`"),
        ("{run: [a], name: a, version: 2}", "goes with `once"),
        ("{run: [a], name: a, once: true, version: 0}", "counts from 1"),
        ("{run: [a], when: upgraded}", "goes with `once"),
        ("{run: [a], when: sometimes}", "sometimes"),
        ("{run: [a], env: {A: 12345}}", "quotes"),
        ("{http: {url: 'http://a/hunter2', already: [9]}}", "not a status"),
        ("{http: {url: 'http://a/', basic_auth: {user: a, password: 12345}}}", "quotes"),
        ("{http: {method: GET}}", "needs a `url`"),
    ] {
        let error = parse(text).err().unwrap_or_else(|| panic!("{text} was taken"));
        assert!(error.contains(says), "{text}: {error}");
        assert!(!error.contains("hunter2") && !error.contains("12345"), "{text}: {error}");
    }
}

#[test]
fn secrets_are_not_shown() {
    for text in [
        "{wait_for: {http: 'http://a/token'}}",
        "{run: [a], env: {X: token}}",
        "{http: {url: 'http://a/token', basic_auth: {user: me, password: token}, body: token}}",
    ] {
        let spec = parse(text).unwrap();
        let shown = serde_json::to_string(&spec).unwrap() + &format!("{spec:?}");
        assert!(!shown.contains("token"), "{shown}");
    }
}

#[test]
fn steps_are_held_against_each_other_and_the_volume() {
    let steps: Vec<StepSpec> = [
        "{run: [a], name: a, timeout: 0}",
        "{run: [a], name: a, retries: 101}",
        "{render: {text: a, to: .volkeep/marker.json}}",
        "{render: {text: a, to: .volkeeper}}",
    ]
    .map(|text| parse(text).unwrap())
    .to_vec();
    let found = faults(&steps, Path::new("/data"), Path::new("/data/.volkeep"));
    let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["[0].timeout", "[1].retries", "[1].name", "[2].render.to"]);
}
