//! What a step may say, what is refused, and what becomes of it.

use serde_json::Value;

use super::*;
use crate::step::{Form, Wait};

fn parse(text: &str) -> Result<StepSpec, String> {
    let value: Value = serde_saphyr::from_str(text).unwrap();
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn step(text: &str) -> Step {
    stepped(text, &BTreeMap::new())
}

fn stepped(text: &str, variables: &BTreeMap<String, Secret>) -> Step {
    let context = StepContext {
        variables,
        volume: Path::new("/data"),
        state_dir: Path::new("/data/.volkeep"),
        source: &|_, path| {
            let path = path.map_or_else(|| "/bucket".into(), |path| path.below(Path::new("/git")));
            Arc::new(crate::step::FileSource { path })
        },
    };
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).step(&context)
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
    let Kind::Render(render) = stepped(text, &variables).kind else { panic!("no render") };
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

    let volume = step("{wait_for: {volume: /db}}");
    let Kind::WaitFor(Wait::Volume { state_dir, .. }) = volume.kind else { panic!("no volume") };
    assert_eq!(state_dir, Path::new("/db/.volkeep"));
    let told = step("{notify: {slack: {url_file: /run/slack}, text: up}}");
    assert!(matches!(told.kind, Kind::Notify(notify) if notify.text.as_deref() == Some("up")));
    let given = step("{permissions: {owner: '70:70', mode: '0700', recursive: true}}");
    let Kind::Permissions(given) = given.kind else { panic!("no permissions") };
    assert_eq!(
        (given.mode, given.leave_out),
        (Some(0o700), vec![b".volkeep".to_vec(), b"lost+found".to_vec()])
    );
}

#[test]
fn what_is_fetched_comes_by_the_means_of_its_address() {
    let fetched = |text: &str| {
        let step = step(text);
        let Kind::Fetch(fetch) = step.kind else { panic!("{text}: no fetch") };
        (fetch, step.timeout)
    };
    let sum = "AB".repeat(32);
    let (file, limit) = fetched(&format!(
        "{{fetch: {{url: 'https://h/token/a.bin', to: a.bin, sha256: {sum}, mode: '0600', max_size: 1KiB}}}}"
    ));
    assert!(matches!(file.form, Form::File { mode: 0o600 }) && !file.keep);
    assert_eq!(
        (file.largest, limit, file.sha256),
        (1024, Duration::from_secs(600), Some(sum.to_lowercase()))
    );
    assert_eq!(file.source.place(), "https://h:443");
    let (tree, _) =
        fetched("{fetch: {url_file: /run/url, to: p, unpack: true, from: ./a/b/, on_unreachable: keep}}");
    assert!(matches!(tree.form, Form::Tree { from } if from.to_string() == "a/b") && tree.keep);
    assert_eq!(fetched("{fetch: {url: 'file:///seed/a', to: a}}").0.source.place(), "/seed/a");
    #[cfg(feature = "s3")]
    {
        let text = "{fetch: {url: 's3://bucket/a/b?region=eu', s3: {anonymous: true}, to: b}}";
        assert_eq!(fetched(text).0.source.place(), "/bucket");
    }
    #[cfg(feature = "git")]
    {
        let text =
            "{fetch: {url: 'git+ssh://git@h/c.git', branch: next, path: conf/a, ssh: {key_file: /k}, to: a}}";
        assert_eq!(fetched(text).0.source.place(), "/git/conf/a");
    }
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
        ("{wait_for: {volume: db}}", "absolute"),
        ("{wait_for: {file: /a, state_dir: /b}}", "`state_dir` goes with `volume`"),
        ("{render: {text: b, to: a, values: {a: c}, values_downward: {a: /c}}}", "set twice"),
        ("{fetch: {to: a}}", "needs a `url`"),
        ("{fetch: {url: 'https://h/hunter2'}}", "needs a `to`"),
        ("{fetch: {url: 'https://h/hunter2', to: .}}", "`to`"),
        ("{fetch: {url: 'https://h/hunter2', url_file: /a, to: a}}", "both set"),
        ("{fetch: {url: hunter2, to: a}}", "no address such as"),
        ("{fetch: {url: 'ftp://h/a', to: a}}", "`url`"),
        ("{fetch: {url: 'https://h/', to: a, from: b}}", "goes with `unpack"),
        ("{fetch: {url: 'https://h/', to: a, unpack: true, mode: '0644'}}", "`mode` is for a file"),
        ("{fetch: {url: 'https://h/', to: a, unpack: true, from: ../b}}", "`from`"),
        ("{fetch: {url: 'https://h/', to: a, sha256: abc}}", "64 hex digits"),
        ("{fetch: {url: 'https://h/', to: a, s3: {anonymous: true}}}", "`s3` does not go with"),
        ("{fetch: {url: 'https://h/', to: a, path: b}}", "`path` does not go with"),
        ("{fetch: {url: 'file:///a', to: a, headers: {A: b}}}", "`headers` does not go with"),
        ("{notify: {}}", "exactly one of webhook, slack, mail"),
        ("{notify: {webhook: {url: 'https://h/hunter2', body: '{{jobb}}'}}}", "`notify.webhook.body`"),
        ("{permissions: {}}", "needs an `owner`"),
        ("{permissions: {mode: '0700', recursive: true}}", "goes with `owner`"),
        ("{permissions: {mode: rwx}}", "octal digits"),
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

#[cfg(feature = "s3")]
#[test]
fn what_is_said_for_a_bucket_is_held_to_its_rules() {
    for (text, says) in [
        ("{fetch: {url: 's3://bucket', to: a}}", "no object in it"),
        ("{fetch: {url: 's3://bucket/a', to: a, path: b}}", "`path` does not go with"),
        ("{fetch: {url: 's3://bucket/a', to: a, basic_auth: {user: a, password: hunter2}}}", "`basic_auth`"),
        ("{fetch: {url: 's3://bucket/a', to: a, s3: {access_key_id: hunter2}}}", "`s3."),
    ] {
        let error = parse(text).err().unwrap_or_else(|| panic!("{text} was taken"));
        assert!(error.contains(says) && !error.contains("hunter2"), "{text}: {error}");
    }
}

#[cfg(feature = "git")]
#[test]
fn what_is_said_for_git_is_held_to_its_rules() {
    for (text, says) in [
        ("{fetch: {url: 'git+https://h/a.git', to: a}}", "needs a `path`"),
        ("{fetch: {url: 'git+https://h/a.git', path: ../b, to: a}}", "`path`"),
        ("{fetch: {url: 'git+https://h/a.git', path: b, to: a, ssh: {agent: true}}}", "`ssh.agent`"),
    ] {
        let error = parse(text).err().unwrap_or_else(|| panic!("{text} was taken"));
        assert!(error.contains(says), "{text}: {error}");
    }
}
