//! As whom a command runs: names and numbers, looked up in `/etc/passwd` and `/etc/group` and nowhere else. Knows
//! nothing of directory services.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use thiserror::Error;

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// Who a user is to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Of a user that is in `/etc/passwd`.
    pub name: Option<String>,
    pub home: Option<PathBuf>,
}

/// All but `Unreadable` is for a person to mend.
#[derive(Debug, Error)]
pub enum UserError {
    #[error("`{0}` is not a user such as postgres, postgres:postgres or 70:70")]
    Form(String),
    #[error("there is no user `{0}` in {USERS}")]
    NoUser(String),
    #[error("there is no group `{0}` in {GROUPS}")]
    NoGroup(String),
    #[error("user {0} is not in {USERS}, so its group has to be named as well, as in `{0}:{0}`")]
    GroupUnknown(u32),
    #[error("only root can become user {wanted}, and this is user {present}")]
    NotRoot { wanted: u32, present: u32 },
    #[error("cannot read {path}: {source}")]
    Unreadable { path: &'static str, source: io::Error },
}

/// Makes `command` run as `user`: with that user's group and no other, and `HOME`, `USER` and `LOGNAME` to match. What
/// is set on the command later wins. Nothing has to be done, and nothing is, if we are that user already.
pub(super) fn apply(command: &mut Command, user: &str) -> Result<(), UserError> {
    let identity = find(user)?;
    let present = rustix::process::geteuid();
    if present.as_raw() == identity.uid && rustix::process::getegid().as_raw() == identity.gid {
        return Ok(());
    }
    if !present.is_root() {
        return Err(UserError::NotRoot { wanted: identity.uid, present: present.as_raw() });
    }
    // The standard library drops all supplementary groups when root becomes somebody by `uid`, before it does.
    command.gid(identity.gid).uid(identity.uid);
    command.env("HOME", identity.home.as_deref().unwrap_or(Path::new("/")));
    if let Some(name) = &identity.name {
        command.env("USER", name).env("LOGNAME", name);
    }
    Ok(())
}

/// `name`, `name:group`, or numbers for either. Without a group it is the user's own.
pub fn find(text: &str) -> Result<Identity, UserError> {
    let read = |path: &'static str| {
        std::fs::read(path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|source| UserError::Unreadable { path, source })
    };
    find_in(text, &|| read(USERS), &|| read(GROUPS))
}

type Lines<'a> = &'a dyn Fn() -> Result<String, UserError>;

fn find_in(text: &str, users: Lines<'_>, groups: Lines<'_>) -> Result<Identity, UserError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    if user.is_empty() || group.is_some_and(|group| group.is_empty() || group.contains(':')) {
        return Err(UserError::Form(text.to_owned()));
    }
    let gid = match group.map(|group| (group, group.parse::<u32>())) {
        None => None,
        Some((_, Ok(gid))) => Some(gid),
        Some((name, Err(_))) => {
            Some(group_in(&groups()?, name).ok_or_else(|| UserError::NoGroup(name.to_owned()))?)
        }
    };
    let number = user.parse::<u32>().ok();
    let known = match (users(), number, gid) {
        (Ok(lines), ..) => user_in(&lines, user, number),
        // An image may have no such file, and numbers need none.
        (Err(_), Some(_), Some(_)) => None,
        (Err(error), ..) => return Err(error),
    };
    match (known, number) {
        (Some(known), _) => Ok(Identity { gid: gid.unwrap_or(known.gid), ..known }),
        (None, Some(uid)) => {
            let gid = gid.ok_or(UserError::GroupUnknown(uid))?;
            Ok(Identity { uid, gid, name: None, home: None })
        }
        (None, None) => Err(UserError::NoUser(user.to_owned())),
    }
}

/// name:password:uid:gid:comment:home:shell
fn user_in(lines: &str, name: &str, number: Option<u32>) -> Option<Identity> {
    lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()?;
        let uid: u32 = fields.nth(1)?.parse().ok()?;
        let gid: u32 = fields.next()?.parse().ok()?;
        let home = fields.nth(1).filter(|home| !home.is_empty()).map(PathBuf::from);
        (found == name || number == Some(uid)).then(|| Identity {
            uid,
            gid,
            name: Some(found.to_owned()),
            home,
        })
    })
}

/// name:password:gid:members
fn group_in(lines: &str, name: &str) -> Option<u32> {
    lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::process::{CommandSpec, ProcessError, run};
    use std::time::Duration;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# odd\npostgres:x:70:71::/var/lib/pg:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nbackup:x:34:postgres\n";

    fn find(text: &str) -> Result<(u32, u32), String> {
        find_in(text, &|| Ok(PASSWD.to_owned()), &|| Ok(GROUP.to_owned()))
            .map(|found| (found.uid, found.gid))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(find("postgres"), Ok((70, 71)));
        assert_eq!(find("postgres:backup"), Ok((70, 34)));
        assert_eq!(find("70"), Ok((70, 71)));
        assert_eq!(find("1000:2000"), Ok((1000, 2000)));
        assert_eq!(find("0:backup"), Ok((0, 34)));
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (text, part) in [
            ("nobody", "no user `nobody`"),
            ("postgres:staff", "no group `staff`"),
            ("1000", "`1000:1000`"),
            ("", "is not a user"),
            ("a:", "is not a user"),
            ("1:2:3", "is not a user"),
        ] {
            let error = find(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_command_runs_as_the_user_without_other_groups() {
        let spec = CommandSpec {
            argv: ["sh", "-c", "id -u; id -G; echo $HOME"].map(str::to_owned).to_vec(),
            user: Some("65534:65533".to_owned()),
            timeout: Duration::from_secs(60),
            ..CommandSpec::default()
        };
        match run(&spec) {
            Ok(finished) => {
                assert!(finished.output.starts_with("65534\n65533\n/"), "{}", finished.output);
            }
            Err(error) => {
                assert!(!rustix::process::geteuid().is_root(), "{error}");
                assert!(matches!(error, ProcessError::User { .. }), "{error}");
            }
        }
    }
}
