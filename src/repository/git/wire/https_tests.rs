//! Addresses and credentials; what servers do is in `tests/git_wire.rs`.

use super::*;
use crate::base::secret::Secret;
use crate::repository::git::options::Place;

fn https(user: Option<&str>, token: Option<&str>) -> Https {
    let source = |text: &str| SecretSource::Value(Secret::new(text.to_owned()));
    let options = HttpsOptions {
        host: "::1".to_owned(),
        port: 8443,
        path: "/my repositories/wiki.git".to_owned(),
        user: user.map(source),
        token: token.map(source),
        ca_file: None,
    };
    let whole = GitOptions::new(Place::Https(Box::new(options.clone())), "/nowhere".into());
    Https::new(&whole, &options)
}

#[test]
fn a_request_names_service_and_path() {
    let setup =
        https(None, None).setup("GET", "info/refs?service=x", "advertisement", Service::Fetch).unwrap();
    assert_eq!(setup.request.place(), "https://[::1]:8443");
    assert_eq!(encoded("/my repositories/a%b?c#.git"), "/my%20repositories/a%25b%3Fc%23.git");
    assert_eq!(setup.expected, "application/x-git-upload-pack-advertisement");
    assert!(!setup.has_credentials);
}

#[test]
fn credentials_are_sent_and_never_shown() {
    for (user, token, expected) in [
        (None, Some(" secret\n"), "git:secret"),
        (Some("me\n"), Some("secret"), "me:secret"),
        (Some("secret"), None, "secret:"),
    ] {
        let https = https(user, token);
        let header = https.credentials().unwrap().unwrap();
        assert_eq!(header, format!("Basic {}", BASE64.encode(expected.as_bytes())));
        let setup = https.setup("POST", "git-upload-pack", "result", Service::Fetch).unwrap();
        let shown = format!("{https:?} {:?}", setup.request);
        assert!(!shown.contains("secret") && !shown.contains(&BASE64.encode(b"git:secret")), "{shown}");
    }
    assert_eq!(https(None, Some("\n")).credentials().unwrap(), None);
}

#[test]
fn an_address_is_shown_without_secrets() {
    for (address, expected) in [
        (
            "https://me:secret@new.example.org/wiki.git/info/refs?ticket=secret",
            "https://new.example.org/wiki.git",
        ),
        ("/elsewhere/wiki.git/info/refs?service=git-upload-pack", "/elsewhere/wiki.git"),
        ("https://new.example.org", "https://new.example.org"),
    ] {
        assert_eq!(without_secrets(address), expected);
    }
}
