//! Advertisements as servers send them, and what is none.

use super::super::script::encoded;
use super::*;
use proptest::prelude::*;

const A: &str = "1111111111111111111111111111111111111111";
const B: &str = "2222222222222222222222222222222222222222";
const ZERO: &str = "0000000000000000000000000000000000000000";

fn parsed(lines: &[&str]) -> Result<Option<Advertisement>, RepositoryError> {
    let bytes = encoded(lines);
    let mut source = bytes.as_slice();
    read(&mut Packets::new(&mut source, "there"))
}

#[test]
fn references_and_capabilities_are_read() {
    let head = format!(
        "{A} HEAD\0side-band-64k ofs-delta shallow filter agent=git/2.39 symref=HEAD:refs/heads/main\n"
    );
    let main = format!("{A} refs/heads/main\n");
    let tag = format!("{B} refs/tags/v1\n");
    let peeled = format!("{A} refs/tags/v1^{{}}\n");
    let have = format!("{B} .have\n");
    let shallow = format!("shallow {B}");
    let found = parsed(&[&head, &main, &tag, &peeled, &have, &shallow, ""]).unwrap().unwrap();
    let names: Vec<&str> = found.references.keys().map(String::as_str).collect();
    assert_eq!(names, ["HEAD", "refs/heads/main", "refs/tags/v1"]);
    assert_eq!(found.references["refs/tags/v1"].to_string(), B);
    assert!(
        found.can("filter") && found.can("agent") && !found.can("side-band") && !found.can("push-options")
    );
}

#[test]
fn an_empty_repository_has_capabilities_alone() {
    let line = format!("{ZERO} capabilities^{{}}\0report-status delete-refs object-format=sha1\n");
    let found = parsed(&[&line, ""]).unwrap().unwrap();
    assert!(found.references.is_empty() && found.can("report-status"));
    // A service that has nothing to fetch may say nothing at all.
    assert!(parsed(&[""]).unwrap().unwrap().references.is_empty());
}

#[test]
fn what_the_server_says_instead_is_understood() {
    assert!(parsed(&["ERR Repository not found."]).unwrap().is_none());
    let denied = parsed(&["ERR access denied or repository not exported: /x"]).unwrap_err();
    assert!(denied.to_string().contains("denies access: access denied"), "{denied}");
    assert!(parsed(&[]).unwrap_err().retryable());
    let long = format!("{} refs/heads/main\0object-format=sha256", "1".repeat(64));
    for lines in
        [vec![long.as_str(), ""], vec![&format!("{ZERO} capabilities^{{}}\0object-format=sha256"), ""]]
    {
        let other = parsed(&lines).unwrap_err();
        assert!(other.to_string().contains("SHA256") && !other.retryable(), "{other}");
    }
    assert!(parsed(&["hello", ""]).is_err() && parsed(&["version 2", ""]).is_err());
}

#[test]
fn over_http_the_service_is_named_first() {
    let line = format!("{A} refs/heads/main\0side-band-64k");
    let parsed = |lines: &[&str]| {
        let bytes = encoded(lines);
        let mut source = bytes.as_slice();
        read_over_http(&mut Packets::new(&mut source, "there"), Service::Fetch)
    };
    assert_eq!(parsed(&["# service=git-upload-pack\n", "", &line, ""]).unwrap().unwrap().references.len(), 1);
    assert!(parsed(&[&line, ""]).is_err());
    assert!(parsed(&["# service=git-receive-pack\n", "", &line, ""]).is_err());
    assert!(parsed(&["# service=git-upload-pack\n", &line, ""]).is_err());
    assert!(parsed(&["ERR no such repository"]).unwrap().is_none());
}

proptest! {
    #[test]
    fn nothing_that_comes_is_a_panic(lines in prop::collection::vec("\\PC{0,60}\0?[a-z= ]{0,9}", 0..6)) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let _ = parsed(&lines);
    }
}
