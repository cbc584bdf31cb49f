//! Keys as `ssh-keygen` and `openssl` write them, made for these tests and worth nothing elsewhere.

use super::*;
use crate::base::secret::Secret;
use crate::store::StoreError;

const ED25519: &str = include_str!("fixtures/ed25519.key");
const SEALED: &str = include_str!("fixtures/sealed.key");
const SEALED_PEM: &str = include_str!("fixtures/sealed.pem");
const PASSPHRASE: &str = "right words";

#[test]
fn keys_in_all_usual_formats_are_read() {
    for (text, kind) in [
        (ED25519, "ssh-ed25519"),
        (include_str!("fixtures/ed25519.pem"), "ssh-ed25519"),
        (include_str!("fixtures/ecdsa.key"), "ecdsa-sha2-nistp256"),
        (include_str!("fixtures/ecdsa.pem"), "ecdsa-sha2-nistp256"),
        (include_str!("fixtures/rsa.pem"), "ssh-rsa"),
    ] {
        let indented: String = text.lines().map(|line| format!("  {line}\r\n")).collect();
        for text in [text, text.trim_end(), &text.replace('\n', "\r\n"), &indented] {
            let key = decode(text, None).unwrap_or_else(|reason| panic!("{kind} {reason}"));
            assert_eq!(key.algorithm().as_str(), kind);
            // A passphrase that is not needed does no harm.
            assert!(decode(text, Some(PASSPHRASE)).is_ok(), "{kind}");
        }
    }
    for (text, kind) in [(SEALED, "ssh-ed25519"), (SEALED_PEM, "ssh-rsa")] {
        assert_eq!(decode(text, Some(PASSPHRASE)).unwrap().algorithm().as_str(), kind);
        assert_eq!(decode(text, None).unwrap_err(), "needs a passphrase");
        assert_eq!(decode(text, Some("wrong")).unwrap_err(), "does not open with the passphrase");
    }
    assert_eq!(decode("ssh-ed25519 AAAA me", None).unwrap_err(), "is the public half");
    for text in ["", "words", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"]
    {
        assert!(decode(text, None).is_err(), "{text}");
    }
}

fn options(key: Option<SecretSource>, passphrase: Option<SecretSource>) -> SshOptions {
    SshOptions {
        host: "git.example.org".to_owned(),
        port: 22,
        user: "git".to_owned(),
        path: "/wiki.git".to_owned(),
        key,
        passphrase,
        agent: None,
        known_hosts: Vec::new(),
    }
}

fn denied(options: &SshOptions) -> (Denial, String) {
    match identity(options, "there").err().unwrap() {
        RepositoryError::Store(StoreError::Denied { denial, reason, .. }) => (denial, reason),
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_wrong_with_a_key_names_its_place_and_shows_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        SecretSource::File(path)
    };
    let missing = || SecretSource::File(dir.path().join("missing"));
    let value = |text: &str| SecretSource::Value(Secret::new(text.to_owned()));

    assert!(identity(&options(Some(value(ED25519)), None), "there").is_ok());
    // The line break at the end of a file belongs to no passphrase.
    let sealed = || Some(file("sealed", SEALED));
    assert!(identity(&options(sealed(), Some(file("words", "right words\n"))), "there").is_ok());

    let (denial, reason) = denied(&options(None, None));
    assert!(
        denial == Denial::NoCredentials && reason.contains("neither an ssh key nor an agent"),
        "{reason}"
    );
    let (denial, reason) = denied(&options(Some(missing()), None));
    assert!(denial == Denial::NoCredentials && reason.contains("/missing cannot be read"), "{reason}");
    let (denial, reason) = denied(&options(sealed(), Some(missing())));
    assert!(denial == Denial::NoCredentials && reason.contains("the passphrase in"), "{reason}");
    let (denial, reason) = denied(&options(sealed(), Some(value("wrong secret"))));
    assert!(denial == Denial::Credentials && reason.contains("/sealed does not open"), "{reason}");
    assert!(!reason.contains("secret"), "{reason}");
    let (_, reason) = denied(&options(Some(value("a secret of another kind")), None));
    assert!(reason.contains("of the configuration") && !reason.contains("secret"), "{reason}");
}

#[test]
fn an_agent_is_asked_where_there_is_no_key() {
    let agent = Some(PathBuf::from("/run/agent"));
    let without = SshOptions { agent: agent.clone(), ..options(None, None) };
    assert!(matches!(identity(&without, "there"), Ok(Identity::Agent(_))));
    let with = SshOptions { agent, ..options(Some(SecretSource::Value(Secret::new(ED25519))), None) };
    assert!(matches!(identity(&with, "there"), Ok(Identity::Key(_))));
}
