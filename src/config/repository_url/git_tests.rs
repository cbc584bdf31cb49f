use super::*;
use crate::config::repository_url::RepositoryUrl;

/// No key of anybody, but it looks like one.
const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2>>>???\n-----END OPENSSH PRIVATE KEY-----\n";

fn parsed(text: &str) -> GitAddress {
    match text.parse().unwrap() {
        RepositoryUrl::Git(address) => *address,
        other => panic!("{other:?}"),
    }
}

fn refused(text: &str) -> String {
    text.parse::<RepositoryUrl>().unwrap_err()
}

#[test]
fn addresses_read_back_as_written() {
    for text in [
        "git+ssh://git@host/wiki.git",
        "git+ssh://bob.b-1@host:2222/srv/a b/wiki.git?branch=backups/wiki",
        "git+ssh://git@[::1]:2222/wiki",
        "git+ssh://bob@host/~/wiki.git",
        "git+ssh://git@host/a%40b%25c",
        "git+https://host/me/wiki.git",
        "git+https://host:8443/me/wiki x%25?branch=v1",
        "git+file:///srv/wiki.git",
        "git+file:///srv/a b.git?branch=x%25%40",
    ] {
        assert_eq!(text.parse::<RepositoryUrl>().unwrap().to_string(), text);
    }
    for (text, shown) in [
        ("git+ssh://HOST:22/wiki.git/", "git+ssh://git@host/wiki.git"),
        ("git+https://Host:443/wiki.git/?branch=main", "git+https://host/wiki.git?branch=main"),
        ("git+file://localhost/srv//wiki.git/", "git+file:///srv/wiki.git"),
    ] {
        assert_eq!(text.parse::<RepositoryUrl>().unwrap().to_string(), shown);
    }
}

#[test]
fn each_part_is_found() {
    let address = parsed("git+ssh://bob@[fe80::1]:2222/srv/w%20x.git?branch=backups%2Fwiki");
    let expected = GitPlace::Ssh {
        user: "bob".into(),
        host: "fe80::1".into(),
        port: 2222,
        path: "/srv/w x.git".into(),
        key: None,
    };
    assert_eq!((address.place, address.branch.as_deref()), (expected, Some("backups/wiki")));

    let GitPlace::Ssh { user, port, path, .. } = parsed("git+ssh://host/~/a/b.git").place else { panic!() };
    assert_eq!((user.as_str(), port, path.as_str()), ("git", 22, "a/b.git"));

    let GitPlace::Https { host, port, path, user, token } =
        parsed("git+https://a%40b:c%2Fd@host/w%20x.git").place
    else {
        panic!()
    };
    assert_eq!((host.as_str(), port, path.as_str()), ("host", 443, "/w x.git"));
    assert_eq!(user.unwrap().reveal(), "a@b");
    assert_eq!(token.unwrap().reveal(), "c/d");

    let GitPlace::Https { user, token, .. } = parsed("git+https://:secret@host/w.git").place else {
        panic!()
    };
    assert_eq!((user, token.unwrap().reveal()), (None, "secret"));
}

#[test]
fn a_key_may_be_a_part_of_the_address() {
    let plain = BASE64.encode(KEY.as_bytes());
    assert!(plain.contains(['/', '+', '=']), "{plain}");
    for key in [
        plain.clone(),
        plain.trim_end_matches('=').to_owned(),
        BASE64URL.encode(KEY.as_bytes()),
        BASE64URL_NOPAD.encode(KEY.as_bytes()),
        plain.replace('/', "%2F").replace('+', "%2B"),
    ] {
        let address = parsed(&format!("git+ssh://bob~{key}@host:2222/wiki.git?branch=x"));
        let GitPlace::Ssh { user, host, port, path, key } = &address.place else { panic!("{address:?}") };
        assert_eq!((user.as_str(), host.as_str(), *port, path.as_str()), ("bob", "host", 2222, "/wiki.git"));
        assert_eq!(key.as_ref().map(Secret::reveal), Some(KEY));
        assert_eq!(address.to_string(), "git+ssh://bob~***@host:2222/wiki.git?branch=x");
        assert!(
            !format!("{address:?}").contains("hunter2") && !format!("{address:?}").contains(&plain[..20])
        );
    }
    let GitPlace::Ssh { user, .. } = parsed(&format!("git+ssh://~{plain}@host/w")).place else { panic!() };
    assert_eq!(user, "git");
}

#[test]
fn secrets_are_never_shown() {
    let address = "git+https://hunter1:hunter2@host/w.git".parse::<RepositoryUrl>().unwrap();
    let shown = format!("{address} {address:?} {}", serde_json::to_string(&address).unwrap());
    assert!(!shown.contains("hunter") && address.to_string() == "git+https://***@host/w.git", "{shown}");

    for text in [
        "git+https://me:a/hunter2@host/x",
        "git+https://me:12/hunter2@host/x",
        "git+https://me:a?hunter2@host/x",
        "git+https://me:12/x?hunter2=@host/x",
        "git+https://me:a#hunter2@host/x",
        "git+https://me:a:hunter2/host/x",
        "git+https://me:hunter2%zz@host/x",
        "git+https://me:hunter2@/x",
        "git+https://me:hunter2@host:x/x",
        "git+https://me:hunter2@host",
        "git+https://me:hunter2@host/x?branch=a..b",
        "git+https://me:hunter2@host/x?what",
        "git+ssh://me:hunter2@host/x",
        "git+ssh://me:hunter2/x@host/x",
        "git+ssh://hunter2!@host/x",
        "git+ssh://me~hunter2@host/x",
        "git+ssh://me~hunter2/hunter2==@host/x",
        "git+ssh://me~hunter2/x",
        "git+file://me:hunter2@host/x",
    ] {
        let error = refused(text);
        assert!(!error.contains("hunter"), "{text}: {error}");
    }
    let error = refused(&format!("git+ssh://me!~{}@host/x", BASE64.encode(KEY.as_bytes())));
    assert!(error.contains("names a user by other characters"), "{error}");
}

#[test]
fn what_cannot_be_is_explained() {
    let host = "has no host's name or address";
    for (text, part) in [
        ("git+ssh://", host),
        ("git+ssh:///wiki.git", host),
        ("git+ssh://git@/wiki.git", host),
        ("git+ssh://git@ho st/wiki.git", host),
        ("git+ssh://git@[::zz]/wiki.git", host),
        ("git+ssh://git@host:/wiki.git", "than a port"),
        ("git+ssh://git@host:0/wiki.git", "than a port"),
        ("git+ssh://git@host:me/wiki.git", "than a port"),
        ("git+ssh://git@host", "has no path"),
        ("git+ssh://git@host/", "has no path"),
        ("git+ssh://git@host/~", "has no path"),
        ("git+ssh://git@host/~/", "has no path"),
        ("git+ssh://git@host?branch=x", "has no path"),
        ("git+ssh://git@host/~bob/wiki.git", "said by the user before the host"),
        ("git+ssh://git@host/a//b", "empty parts"),
        ("git+ssh://git@host/../b", "empty parts"),
        ("git+ssh://git@host/a%zz", "hex digits"),
        ("git+ssh://git@host/a%0Ab", "control character"),
        ("git+ssh://git@host/a#b", "written %23"),
        ("git+ssh://git@host/a@b", "written %40"),
        ("git+ssh://git:x@host/a", "ssh.key_file"),
        ("git+ssh://git~***@host/a", "as `config show` prints it"),
        ("git+ssh://git~abcd@host/a", "base64 -w0"),
        ("git+ssh://git~abcd/host/a", "no `@` after it"),
        ("git+https://***@host/a", "as `config show` prints it"),
        ("git+https://a:***@host/a", "as `config show` prints it"),
        ("git+https://host/a%2", "hex digits"),
        ("git+https://host/a%0Ab", "control character"),
        ("git+https://host/a%2F/b", "empty parts"),
        ("git+https://host", "has no path"),
        ("git+file://host/wiki", "three slashes"),
        ("git+file:///", "below `/`"),
        ("git+file:///a/../b", "below `/`"),
        ("git+file:///a#b", "parameters"),
        ("git+ssh://git@host/a?brnch=x", "did you mean `branch`?"),
        ("git+ssh://git@host/a?depth=1", "no parameter `depth`"),
        ("git+ssh://git@host/a?branch", "it is empty"),
        ("git+ssh://git@host/a?branch=", "it is empty"),
        ("git+ssh://git@host/a?branch=-x", "begins with a dash"),
        ("git+file:///a?branch=a..b", "`a..b`, which cannot be"),
        ("git+file:///a?branch=a%0Ab", "`a\\nb`, which cannot be"),
        ("git+https://host/a?branch=a&branch=b", "names its branch twice"),
    ] {
        let error = refused(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn the_same_place_by_another_way_is_the_same_place() {
    let url = |text: &str| text.parse::<RepositoryUrl>().unwrap();
    let same = |one: &str, other: &str| url(one).is_same_place(&url(other));
    assert!(same("git+ssh://git@host/a", "git+ssh://bob@HOST:22/a/?branch=main"));
    assert!(same("git+https://me:x@host/a", "git+https://host/a"));
    assert!(!same("git+ssh://git@host/~/a", "git+ssh://bob@host/~/a"));
    assert!(!same("git+ssh://git@host/a", "git+ssh://git@host/~/a"));
    assert!(!same("git+ssh://git@host/a", "git+ssh://git@host/a?branch=b"));
    assert!(!same("git+ssh://git@host/a", "git+ssh://git@host:2222/a"));
    assert!(!same("git+ssh://git@host/a", "git+https://host/a"));
    assert!(!same("git+file:///a", "file:///a"));
    assert!(url("git+file:///a").on_branch(Some("b")).is_same_place(&url("git+file:///a?branch=b")));
}
