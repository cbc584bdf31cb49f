//! What is no address of ours: how it would be written, if it is one in the manner of other programs. Nothing that
//! could be a secret is repeated.

use crate::base::secret::REDACTED;

const KINDS: &str = "addresses begin with file://, s3://, git+ssh://, git+https:// or git+file://";

/// For a text without `://`.
pub(super) fn no_scheme(text: &str) -> String {
    if text.starts_with('/') {
        return format!("`{text}` is a path; as an address it is written `file://{text}`");
    }
    if let Some((user, host, path)) = scp_like(text) {
        let place = format!("git+ssh://{user}@{host}");
        return match path.strip_prefix('/') {
            Some(_) => format!("`{text}` is written `{place}{path}` as an address"),
            None => format!(
                "`{text}` is written `{place}/{path}` as an address, or `{place}/~/{path}` where that is meant \
                 from the home directory of {user}"
            ),
        };
    }
    format!("`{}` is not an address such as file:///backups/wiki", redact(text))
}

/// For a scheme that is none of ours; `text` is the whole address.
pub(super) fn unknown_scheme(scheme: &str, text: &str) -> String {
    let shown = redact(text);
    match scheme {
        "ssh" | "https" => format!("`{shown}`: if it is a git repository, it is written `git+{shown}`"),
        "http" | "git+http" | "git" | "git+git" => format!(
            "`{shown}`: without encryption nobody can be sure of what is sent and by whom; git repositories are used \
             by git+ssh:// or git+https://"
        ),
        _ => format!("`{shown}`: `{scheme}` is not supported; {KINDS}"),
    }
}

/// `git@host:path`, as git and scp write it.
fn scp_like(text: &str) -> Option<(&str, &str, &str)> {
    let (user, rest) = text.split_once('@')?;
    let (host, path) = rest.split_once(':')?;
    (is_plain(user) && is_plain(host) && !path.is_empty() && !path.contains('@'))
        .then_some((user, host, path))
}

/// Any address with what stands before its last `@` replaced, but for the name of a user of ssh. Rather too much
/// goes than a part of a secret with a slash in it stays.
pub(super) fn redact(text: &str) -> String {
    let (scheme, rest) = match text.find("://") {
        Some(end) => text.split_at(end + 3),
        None => ("", text),
    };
    let Some((before, host)) = rest.rsplit_once('@') else { return text.to_owned() };
    let end = before.find([':', '~']).unwrap_or(before.len());
    let (user, secret) = before.split_at(end);
    // Over http a token may stand in the place of the user.
    let hidden = scheme.contains("http") || !is_plain(user);
    match (hidden, secret.get(..1)) {
        (true, _) => format!("{scheme}{REDACTED}@{host}"),
        (false, Some(separator)) => format!("{scheme}{user}{separator}{REDACTED}@{host}"),
        (false, None) => text.to_owned(),
    }
}

fn is_plain(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::repository_url::RepositoryUrl;

    #[test]
    fn addresses_of_other_programs_are_translated() {
        for (text, part) in [
            ("git@host:me/wiki.git", "`git+ssh://git@host/me/wiki.git` as an address"),
            ("git@host:me/wiki.git", "`git+ssh://git@host/~/me/wiki.git` where"),
            ("bob@host:/srv/wiki.git", "is written `git+ssh://bob@host/srv/wiki.git` as an address"),
            ("ssh://git@host/wiki.git", "is written `git+ssh://git@host/wiki.git`"),
            ("https://host/wiki.git", "is written `git+https://host/wiki.git`"),
            ("http://host/wiki.git", "git+ssh:// or git+https://"),
            ("git+http://host/wiki.git", "git+ssh:// or git+https://"),
            ("git://host/wiki.git", "git+ssh:// or git+https://"),
            ("ftp://host/wiki.git", "`ftp` is not supported; addresses begin with file://"),
        ] {
            let error = text.parse::<RepositoryUrl>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        for (text, shown) in [
            ("https://me:hun@ter2@host/x", "git+https://***@host/x"),
            ("https://me:hun/ter2@host/x", "git+https://***@host/x"),
            ("https://me:a?ter2@host/x", "git+https://***@host/x"),
            ("https://ghp_ter2@host/x", "git+https://***@host/x"),
            ("ssh://git~ter2/ter2==@host/x", "git+ssh://git~***@host/x"),
            ("ftp://me:ter2@host/x", "ftp://me:***@host/x"),
            ("git~ter2/ter2==@host:me/wiki.git", "`git~***@host:me/wiki.git` is not an address"),
            ("me:ter2@host:me/wiki.git", "`me:***@host:me/wiki.git` is not an address"),
            ("ter2/ter2@host:me/wiki.git", "`***@host:me/wiki.git` is not an address"),
        ] {
            let error = text.parse::<RepositoryUrl>().unwrap_err();
            assert!(error.contains(shown) && !error.contains("ter2"), "{error}");
        }
        assert_eq!(redact("ssh://git@host/x"), "ssh://git@host/x");
    }
}
