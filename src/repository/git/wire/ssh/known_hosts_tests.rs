//! Lines as OpenSSH writes them, and what they say of hosts.

use super::*;

const ED: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIElTwg7bbW4gn/4x7BwuRLGpAWqvRp1Wd/0XlTKz8IKm";
const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMTxO9ybSMYzN1/4h2SPSUnFq2hexaF9hLuXIJF+SYjF";

fn key(text: &str) -> PublicKey {
    PublicKey::from_openssh(text).unwrap()
}

fn judged(lines: &str, host: &str, port: u16) -> Result<(), HostKeyTrouble> {
    let mut known = KnownHosts::default();
    known.add(lines);
    known.judge(host, port, &key(ED))
}

#[test]
fn a_line_names_its_hosts() {
    let trouble = HostKeyTrouble::Unknown;
    for (hosts, host, port, expected) in [
        ("git.example.org", "git.example.org", 22, Ok(())),
        ("a,git.example.org,b", "Git.Example.ORG", 22, Ok(())),
        ("git.example.org", "git.example.com", 22, Err(trouble)),
        ("[git.example.org]:2222", "git.example.org", 2222, Ok(())),
        ("[git.example.org]:2222", "git.example.org", 22, Err(trouble)),
        ("[git.example.org]:2222", "git.example.org", 2223, Err(trouble)),
        // OpenSSH takes the key of the plain name at any port.
        ("git.example.org", "git.example.org", 2222, Ok(())),
        ("*.example.org", "git.example.org", 22, Ok(())),
        ("*.example.org,!git.example.org", "git.example.org", 22, Err(trouble)),
        ("!git.example.org,*.example.org", "www.example.org", 22, Ok(())),
        ("g?t.*.o*g", "git.example.org", 22, Ok(())),
        ("*.example.org", "example.org", 22, Err(trouble)),
        ("[::1]:2222", "::1", 2222, Ok(())),
        ("*", "anything", 1, Ok(())),
    ] {
        assert_eq!(judged(&format!("{hosts} {ED} a comment"), host, port), expected, "{hosts} {host}:{port}");
    }
}

#[test]
fn hashed_names_are_known() {
    // `ssh-keygen -H` made them of git.example.org and [git.example.org]:2222.
    let plain = "|1|u4e+Mr00oRZEWN0ZGhZuHyMN+jE=|Fp9iLomAFfQXuNiKMJFKUvrCiG0=";
    let port = "|1|UJ10BwgrisAmqETO1jHV4ZZpu2A=|1iPaB+aklY7rwPUs0QvI5Eie0gI=";
    assert_eq!(judged(&format!("{plain} {ED}"), "git.example.org", 22), Ok(()));
    assert_eq!(judged(&format!("{port} {ED}"), "git.example.org", 2222), Ok(()));
    assert_eq!(judged(&format!("{port} {ED}"), "git.example.org", 22), Err(HostKeyTrouble::Unknown));
    assert_eq!(judged(&format!("{plain} {ED}"), "other.example.org", 22), Err(HostKeyTrouble::Unknown));
    let salt = "u4e+Mr00oRZEWN0ZGhZuHyMN+jE=";
    assert_eq!(judged(&format!("|1|{salt} {ED}"), "git.example.org", 22), Err(HostKeyTrouble::Unknown));
}

#[test]
fn codes_of_authentication_are_those_of_the_standard() {
    // The second and sixth cases of RFC 2202.
    let hex = |bytes: Vec<u8>| data_encoding::HEXLOWER.encode(&bytes);
    assert_eq!(
        hex(authenticated(b"Jefe", b"what do ya want for nothing?")),
        "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
    );
    assert_eq!(
        hex(authenticated(&[0xaa; 80], b"Test Using Larger Than Block-Size Key - Hash Key First")),
        "aa4ae5e15272d00e95705637ce8a3b55ed402112"
    );
}

#[test]
fn another_key_and_a_revoked_one_are_told_from_an_unknown_host() {
    let host = "git.example.org";
    assert_eq!(judged("", host, 22), Err(HostKeyTrouble::Unknown));
    assert_eq!(judged(&format!("{host} {OTHER}"), host, 22), Err(HostKeyTrouble::Changed));
    assert_eq!(judged(&format!("{host} {OTHER}\n{host} {ED}"), host, 22), Ok(()));
    let revoked = format!("{host} {ED}\n@revoked * {ED}");
    assert_eq!(judged(&revoked, host, 22), Err(HostKeyTrouble::Revoked));
    assert_eq!(judged(&format!("@revoked * {OTHER}\n{host} {ED}"), host, 22), Ok(()));
    // The plain name does not say that there is no other key at another port.
    assert_eq!(judged(&format!("{host} {OTHER}"), host, 2222), Err(HostKeyTrouble::Unknown));
}

#[test]
fn lines_that_say_nothing_are_passed_over() {
    let lines = format!(
        "\n# git.example.org {ED}\n@cert-authority git.example.org {ED}\ngit.example.org\n\
         git.example.org ssh-strange AAAA\ngit.example.org ssh-ed25519 %%%\r\n\t[git.example.org]:2222\t{ED}\r\n"
    );
    assert_eq!(judged(&lines, "git.example.org", 22), Err(HostKeyTrouble::Unknown));
    assert_eq!(judged(&lines, "git.example.org", 2222), Ok(()));
}

#[test]
fn the_kinds_of_known_keys_are_told() {
    let mut known = KnownHosts::default();
    known.add(&format!("a {ED}\n@revoked a {OTHER}\nb {OTHER}"));
    assert_eq!(known.algorithms("a", 2222), [Algorithm::Ed25519]);
    assert!(known.algorithms("c", 22).is_empty());
}
