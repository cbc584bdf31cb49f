//! Lists of checksums that coreutils wrote.

use std::fs;

use super::checks_support::{FULL, QUICK, check, comes_back, expect};
use super::support::{Lab, Layout, shell};

fn lab() -> Lab {
    let mut lab = Lab::filled(Layout::Subdirectory, |volume| {
        fs::create_dir_all(volume.join("site/sub")).unwrap();
        fs::write(volume.join("site/page"), "one").unwrap();
        fs::write(volume.join("site/sub/a b"), vec![7; 3 << 20]).unwrap();
        fs::write(volume.join("site/odd\nname\\"), "odd").unwrap();
        shell(
            "cd \"$1\"/site
            sha256sum -- page sub/* odd* > SHA256SUMS
            sha512sum --binary page sub/* > SHA512SUMS
            sha1sum page ./sub/../page > SHA1SUMS
            sha256sum --tag page sub/* odd* > TAGGED",
            &[volume.as_os_str()],
        );
    });
    check(&mut lab, "{checksum_file: site/SHA256SUMS}");
    lab
}

#[test]
fn lists_of_all_kinds_are_read() {
    let mut lab = lab();
    for name in ["SHA256SUMS", "SHA512SUMS", "SHA1SUMS", "TAGGED"] {
        check(&mut lab, &format!("{{checksum_file: site/{name}}}"));
        for level in [QUICK, FULL] {
            expect(&lab, level, "good", "");
        }
        fs::write(lab.volume().join("site/page"), "two").unwrap();
        expect(&lab, QUICK, "good", "");
        expect(&lab, FULL, "damaged", "page has another content than is listed");
        fs::write(lab.volume().join("site/page"), "one").unwrap();
    }
    let hash = blake3::hash(b"one").to_hex();
    fs::write(lab.volume().join("site/B3SUMS"), format!("{hash}  page\n")).unwrap();
    check(&mut lab, "{checksum_file: site/B3SUMS, algorithm: blake3}");
    expect(&lab, FULL, "good", "");
}

#[test]
fn what_is_missing_or_changed_comes_back() {
    let lab = lab();
    for name in ["site/odd\nname\\", "site/sub/a b", "site/SHA256SUMS"] {
        fs::remove_file(lab.volume().join(name)).unwrap();
        expect(&lab, QUICK, "damaged", "is missing");
    }
    comes_back(&lab, "is missing");
    fs::write(lab.volume().join("site/sub/a b"), vec![8; 3 << 20]).unwrap();
    expect(&lab, FULL, "damaged", "sub/a b has another content");
}

#[test]
fn what_cannot_be_read_is_a_warning() {
    let mut lab = lab();
    let list = lab.volume().join("site/SHA256SUMS");
    let good = fs::read_to_string(&list).unwrap();
    let hex = "ab".repeat(32);
    for (text, part) in [
        (format!("{good}nonsense\n"), "line 4 cannot be read"),
        (good.replace('\n', "\r\n"), "line 1 cannot be read"),
        ("# nothing\n".to_owned(), "it lists no file"),
        (String::new(), "it lists no file"),
        (format!("{hex}  ../../outside\n"), "leads out of the volume"),
        (format!("{hex}  /etc/passwd\n"), "leads out of the volume"),
        (format!("{hex}  sub\n"), "is not a file"),
        ("x".repeat(100_000), "line 1 is longer"),
    ] {
        fs::write(&list, text).unwrap();
        expect(&lab, FULL, "unknown", part);
    }
    std::os::unix::fs::symlink("/nowhere/at/all", lab.volume().join("site/out")).unwrap();
    fs::write(&list, format!("{hex}  out/page\n")).unwrap();
    expect(&lab, FULL, "unknown", "out/page");
    // One line that cannot be read hides no damage.
    fs::write(&list, format!("nonsense\n{hex}  page\n")).unwrap();
    expect(&lab, FULL, "damaged", "page has another content");
    for (yaml, part) in [
        ("{checksum_file: site/SHA256SUMS, algorithm: md5}", "md5"),
        ("{checksum_file: ../x}", "`..`"),
        ("{exists: a, algorithm: sha1}", "`algorithm` goes with `checksum_file` only"),
    ] {
        check(&mut lab, yaml);
        let refused = lab.exits(78, &["init"]);
        assert!(refused.stderr.contains("init.checks") && refused.stderr.contains(part), "{part}: {refused}");
    }
}
