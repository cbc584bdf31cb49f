//! How addresses of git repositories are read. Strict, because a secret that is not written as it should be would
//! otherwise become a part of the path, and paths are shown.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};

use crate::base::secret::{REDACTED, Secret};
use crate::config::repository_url::branch::no_branch;
use crate::config::repository_url::git::{GitAddress, GitPlace, HTTPS_PORT, SSH_PORT};
use crate::config::repository_url::{file, host, other, percent};
use crate::config::schema;

/// Who asks without a name is the user that hosts of git have for it.
const USUAL_USER: &str = "git";
const PARAMETERS: [&str; 1] = ["branch"];

/// `scheme` is the one of the three, `rest` what follows it and `://`.
pub(super) fn parse(scheme: &str, rest: &str) -> Result<GitAddress, String> {
    let refuse = |why: String| format!("the {scheme}:// address {why}");
    match scheme {
        "git+ssh" => ssh(rest).map_err(refuse),
        "git+https" => https(rest).map_err(refuse),
        _ => {
            let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
            let directory = file::parse(&other::redact(&format!("{scheme}://{path}")), path)?;
            Ok(GitAddress {
                place: GitPlace::Directory(directory),
                branch: branch(parameters).map_err(refuse)?,
            })
        }
    }
}

fn ssh(rest: &str) -> Result<GitAddress, String> {
    // A key in base64 may have slashes in it, so it is looked for first.
    let (user, key, rest) = match rest.find(['~', '@', ':', '/', '?', '#']) {
        Some(end) if rest.get(end..=end) == Some("~") => {
            let (user, rest) = rest.split_at(end);
            let Some((key, rest)) = rest.split_at(1).1.split_once('@') else {
                return Err(
                    "has a `~` before its host and no `@` after it; a key stands between the two".to_owned()
                );
            };
            (Some(user), Some(private_key(key)?), rest)
        }
        _ => (None, None, rest),
    };
    let parts = split(rest)?;
    let user = match (user, parts.before) {
        (Some(user), None) => user,
        (None, Some(user)) if user.contains(':') => {
            return Err("has a password (it is left out here), and git is not used by passwords over ssh; use a key, \
                        as in ssh.key_file"
                .to_owned());
        }
        (None, user) => user.unwrap_or_default(),
        (Some(_), Some(_)) => return Err("has an `@` more than it needs".to_owned()),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !user.bytes().all(plain) {
        return Err(
            "names a user by other characters than letters, digits, `.`, `_` and `-` (it is left out here)"
                .to_owned(),
        );
    }
    let path = clean(parts.path)?;
    let path = match path.strip_prefix("/~/") {
        Some(path) => path.to_owned(),
        None if path.starts_with("/~") => {
            return Err(format!(
                "has the path `{path}`; from a home directory it begins with `/~/`, and whose it is \
                                is said by the user before the host"
            ));
        }
        None => path,
    };
    Ok(GitAddress {
        place: GitPlace::Ssh {
            user: if user.is_empty() { USUAL_USER } else { user }.to_owned(),
            host: parts.host,
            port: parts.port.unwrap_or(SSH_PORT),
            path,
            key,
        },
        branch: branch(parts.parameters)?,
    })
}

/// The error says nothing of what it found.
fn private_key(text: &str) -> Result<Secret, String> {
    if text == REDACTED {
        return Err(format!("has `{REDACTED}` in the place of its key, as `config show` prints it"));
    }
    let text = percent::decode(text).unwrap_or_default();
    let alphabets = [BASE64, BASE64URL, BASE64_NOPAD, BASE64URL_NOPAD];
    let bytes = alphabets.iter().find_map(|alphabet| alphabet.decode(text.as_bytes()).ok());
    let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    match key.filter(|key| key.trim_start().starts_with("-----BEGIN ")) {
        Some(key) => Ok(Secret::new(key)),
        None => Err(
            "has something else than the base64 of a private key between `~` and `@` (it is left out here); \
                     `base64 -w0 FILE` makes it, and ssh.key_file takes the file itself"
                .to_owned(),
        ),
    }
}

fn https(rest: &str) -> Result<GitAddress, String> {
    let parts = split(rest)?;
    let (user, token) = match parts.before {
        None => (None, None),
        Some(before) => {
            let (user, token) = before.split_once(':').unwrap_or((before, ""));
            (credential(user)?, credential(token)?)
        }
    };
    Ok(GitAddress {
        place: GitPlace::Https {
            host: parts.host,
            port: parts.port.unwrap_or(HTTPS_PORT),
            path: clean(parts.path)?,
            user,
            token,
        },
        branch: branch(parts.parameters)?,
    })
}

fn credential(text: &str) -> Result<Option<Secret>, String> {
    let plain = percent::decode(text).filter(|text| !text.chars().any(char::is_control));
    match plain {
        Some(text) if text.is_empty() => Ok(None),
        Some(text) if text == REDACTED => {
            Err(format!("has `{REDACTED}` before its host, as `config show` prints it in place of a secret"))
        }
        Some(text) => Ok(Some(Secret::new(text))),
        None => Err("has a `%` without two hex digits before its host".to_owned()),
    }
}

struct Parts<'a> {
    /// What is in front of the `@`.
    before: Option<&'a str>,
    host: String,
    port: Option<u16>,
    path: &'a str,
    parameters: &'a str,
}

/// Shows nothing of what it refuses: where a secret is not written as it should be, its parts are anywhere.
fn split(text: &str) -> Result<Parts<'_>, String> {
    let (authority, rest) = text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()));
    if rest.contains('@') {
        return Err(
            "has an `@` behind its host, which is written %40; and before the host, in a password, `/` is \
                    written %2F, `?` %3F, `#` %23 and `@` %40"
                .to_owned(),
        );
    }
    let (before, place) = match authority.rsplit_once('@') {
        Some((before, place)) => (Some(before), place),
        None => (None, authority),
    };
    let (name, port) = host::split_port(place);
    if !host::is_host(name) {
        return Err("has no host's name or address".to_owned());
    }
    let port = match port {
        Some(port) => {
            Some(host::port(port).ok_or("has something else than a port behind the `:` of its host")?)
        }
        None => None,
    };
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    if path.contains('#') || parameters.contains('#') {
        return Err("has a `#`, which is written %23".to_owned());
    }
    let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    Ok(Parts { before, host: name, port, path, parameters })
}

/// Decoded, and without its last slash. There is one way to write a path, because markers name the repository by it.
fn clean(path: &str) -> Result<String, String> {
    let path = percent::decode(path).ok_or("has a `%` without two hex digits in its path")?;
    let path = path.strip_suffix('/').unwrap_or(&path);
    let Some(inside) = path.strip_prefix('/').filter(|inside| !inside.is_empty() && *inside != "~") else {
        return Err("has no path, such as /wiki.git, behind its host".to_owned());
    };
    if path.chars().any(char::is_control) {
        return Err("has a control character in its path".to_owned());
    }
    match inside.split('/').any(|part| matches!(part, "" | "." | "..")) {
        true => Err(format!("has the path `{path}`; empty parts, `.` and `..` have no place in it")),
        false => Ok(path.to_owned()),
    }
}

fn branch(parameters: &str) -> Result<Option<String>, String> {
    let mut found: Option<String> = None;
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !PARAMETERS.contains(&name) {
            return Err(match schema::nearest(name, PARAMETERS.into_iter()) {
                Some(nearest) => format!("has no parameter `{name}`; did you mean `{nearest}`?"),
                None => format!(
                    "has no parameter `{name}`; it has `branch`, and everything else is a key beside it"
                ),
            });
        }
        let value = percent::decode(value).ok_or("has a `%` without two hex digits in its branch")?;
        if let Some(why) = no_branch(&value) {
            return Err(format!("names the branch `{}`, which cannot be: {why}", value.escape_debug()));
        }
        if found.replace(value).is_some() {
            return Err("names its branch twice".to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
#[path = "git_tests.rs"]
mod tests;
