//! What to do about a repository that is not there, out of reach or closed to us. Names the bucket and its endpoint
//! where there is one, and leaves git to its own hints; must not know how a store finds out.

use crate::cli::git_hints;
use crate::config::repository_url::GitWay;
#[cfg(feature = "s3")]
use crate::config::repository_url::RepositoryUrl;
use crate::repository::{Absent, Missing};
use crate::store::{Container, Denial, Obstacle, StoreError};

pub fn absent(absent: &Absent) -> String {
    let way = git_hints::way(&absent.location);
    let text = match absent.missing {
        Missing::Container(Container::Bucket) => no_bucket(),
        Missing::Container(_) => way.and_then(git_hints::no_repository).unwrap_or(
            "is the backup disk mounted? If the address is right and this is the first boot, `volkeep repository \
             init` makes the directory and the repository, or init.create_repository allows it",
        ),
        Missing::Repository(container) => git_hints::nothing_of_ours(container).unwrap_or(
            "if the address is right and this is the first boot, make the repository by `volkeep repository init` \
             or allow it by init.create_repository",
        ),
    };
    about(&absent.location, text)
}

pub fn store(error: &StoreError) -> Option<String> {
    let location = match error {
        StoreError::Unreachable { location, .. }
        | StoreError::Denied { location, .. }
        | StoreError::Temporary { location, .. }
        | StoreError::Io { location, .. } => location,
        StoreError::ReadOnly { .. } => return Some(OWN_DIRECTORY.to_owned()),
        StoreError::Full { .. } => return Some("make room in the repository".to_owned()),
        _ => return None,
    };
    match git_hints::way(location) {
        Some(way) => of_git(way, error).map(str::to_owned),
        None => of_packed(location, error),
    }
}

fn of_git(way: GitWay, error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::Unreachable { obstacle, .. } => Some(git_hints::unreachable(way, *obstacle)),
        StoreError::Denied { denial, .. } => git_hints::denied(way, *denial).or(Some(OWN_DIRECTORY)),
        StoreError::Temporary { .. } if way != GitWay::Directory => Some(git_hints::FAILING),
        StoreError::Io { .. } if way != GitWay::Directory => Some(git_hints::STRANGE),
        _ => None,
    }
}

fn of_packed(location: &str, error: &StoreError) -> Option<String> {
    let is_bucket = bucket(location).is_some();
    match error {
        StoreError::Unreachable { obstacle, .. } => Some(match is_bucket {
            true => about(location, unreachable_bucket(*obstacle)),
            false => "is the repository's file system mounted?".to_owned(),
        }),
        StoreError::Denied { denial, .. } => Some(match is_bucket {
            true => about(location, &closed_bucket(*denial)),
            false => OWN_DIRECTORY.to_owned(),
        }),
        StoreError::Temporary { .. } if is_bucket => Some(
            "the store answers and fails; its operator or status page may know why. limits.retry says for how long \
             it is asked again"
                .to_owned(),
        ),
        StoreError::Io { .. } if is_bucket => Some(about(
            location,
            "the request is not taken as it is; does the store know s3.storage_class, s3.encryption and \
             s3.kms_key, is the endpoint one of S3 and no web page, and is no proxy in between?",
        )),
        _ => None,
    }
}

const OWN_DIRECTORY: &str = "check the permissions of the repository's directory for this user";

fn no_bucket() -> &'static str {
    "are the bucket's name, the endpoint and the region right? If the bucket is yet to be made, `volkeep \
     repository init` makes it"
}

fn unreachable_bucket(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Container => no_bucket(),
        Obstacle::Name => "the endpoint's name leads nowhere; is it spelt right, and does DNS work here?",
        Obstacle::Refused => {
            "nobody listens there; are host and port of the endpoint right, and is the store up?"
        }
        Obstacle::Certificate => {
            "the endpoint's certificate is not trusted, or it does not speak TLS; s3.ca_file names the certificate \
             of an authority of your own, and an endpoint without TLS begins with http://"
        }
        Obstacle::Silence => {
            "no answer in time; does a firewall or a network policy stand between? HTTPS_PROXY names a proxy, \
             NO_PROXY what is reached without it"
        }
        Obstacle::Network => {
            "is there a way from here to the endpoint? HTTPS_PROXY names a proxy, NO_PROXY what is reached without it"
        }
    }
}

fn closed_bucket(denial: Denial) -> String {
    let text = match denial {
        Denial::Permission(Some(missing)) => {
            return format!("the permission {missing} is missing; {POLICIES}");
        }
        Denial::Permission(None) => {
            return format!("the key is known and may not do this; {POLICIES}");
        }
        Denial::Credentials => {
            "the key is not known there, its secret is wrong, or it has expired; look at s3.access_key_id and \
             s3.secret_access_key, or at where else the key comes from, and whether it is one of this endpoint"
        }
        Denial::NoCredentials => {
            "no key was found; set s3.access_key_id and s3.secret_access_key_file, or AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY, name a profile that exists, or give the pod or machine a role. s3.anonymous is \
             for buckets open to everybody"
        }
        Denial::Region => {
            "the bucket is in another region than the requests are signed for; name its own in the address, as in \
             ?region=eu-central-1"
        }
        Denial::Clock => "set the clock of this machine; signatures hold for minutes only",
    };
    text.to_owned()
}

const POLICIES: &str =
    "its owner has to allow it; deploy/iam has a policy each for backup, restore and prune";

/// With the bucket in front, if it is one.
fn about(location: &str, text: &str) -> String {
    match bucket(location) {
        Some(bucket) => format!("{bucket}: {text}"),
        None => text.to_owned(),
    }
}

/// Where a store is in S3, its location is an address.
#[cfg(feature = "s3")]
fn bucket(location: &str) -> Option<String> {
    let Ok(RepositoryUrl::S3(address)) = location.parse() else { return None };
    Some(match &address.endpoint {
        Some(endpoint) => format!("bucket `{}` at {endpoint}", address.bucket),
        None => format!("bucket `{}` at Amazon's endpoint or that of the environment", address.bucket),
    })
}

#[cfg(not(feature = "s3"))]
fn bucket(_location: &str) -> Option<String> {
    None
}

#[cfg(all(test, feature = "s3"))]
mod tests {
    use super::*;

    const BUCKET: &str = "s3://wiki/a/b?endpoint=http://127.0.0.1:9000";

    fn unreachable(location: &str, obstacle: Obstacle) -> Option<String> {
        let (location, reason) = (location.to_owned(), String::new());
        store(&StoreError::Unreachable { location, reason, obstacle })
    }

    fn denied(location: &str, denial: Denial) -> Option<String> {
        let (location, reason) = (location.to_owned(), String::new());
        store(&StoreError::Denied { location, reason, denial })
    }

    #[test]
    fn each_obstacle_on_the_way_to_a_bucket_has_its_own_way_out() {
        for (obstacle, part) in [
            (Obstacle::Container, "`volkeep repository init` makes it"),
            (Obstacle::Name, "DNS"),
            (Obstacle::Refused, "host and port"),
            (Obstacle::Certificate, "s3.ca_file"),
            (Obstacle::Silence, "firewall"),
            (Obstacle::Network, "HTTPS_PROXY"),
        ] {
            let hint = unreachable(BUCKET, obstacle).unwrap();
            assert!(hint.starts_with("bucket `wiki` at http://127.0.0.1:9000: "), "{hint}");
            assert!(hint.contains(part), "{hint}");
            let local = unreachable("/backups/wiki", obstacle);
            assert_eq!(local.as_deref(), Some("is the repository's file system mounted?"));
        }
        assert!(
            unreachable("s3://wiki", Obstacle::Name)
                .unwrap()
                .starts_with("bucket `wiki` at Amazon's endpoint")
        );
    }

    #[test]
    fn each_denial_of_a_bucket_has_its_own_way_out() {
        for (denial, part) in [
            (Denial::Permission(Some("s3:ListBucket")), "the permission s3:ListBucket is missing"),
            (Denial::Permission(None), "deploy/iam"),
            (Denial::Credentials, "s3.secret_access_key"),
            (Denial::NoCredentials, "AWS_ACCESS_KEY_ID"),
            (Denial::Region, "?region="),
            (Denial::Clock, "clock"),
        ] {
            let hint = denied(BUCKET, denial).unwrap();
            assert!(hint.starts_with("bucket `wiki` at ") && hint.contains(part), "{hint}");
        }
        assert_eq!(denied("/backups/wiki", Denial::Permission(None)).as_deref(), Some(OWN_DIRECTORY));
    }

    #[test]
    fn a_missing_bucket_is_another_matter_than_a_missing_repository() {
        let hint = |location: &str, missing| absent(&Absent { location: location.to_owned(), missing });
        let no_bucket = hint(BUCKET, Missing::Container(Container::Bucket));
        assert!(no_bucket.contains("`wiki`") && no_bucket.contains("region"), "{no_bucket}");
        let no_repository = hint(BUCKET, Missing::Repository(Container::Bucket));
        assert!(no_repository.contains("first boot") && no_repository.contains("`wiki`"), "{no_repository}");
        let no_directory = hint("/backups/wiki", Missing::Container(Container::Directory));
        assert!(no_directory.starts_with("is the backup disk mounted?"), "{no_directory}");
    }

    #[test]
    fn each_trouble_with_a_git_server_has_its_own_way_out() {
        const SSH: &str = "git+ssh://git@host/wiki.git";
        const HTTPS: &str = "git+https://host/wiki.git?branch=x";
        const DIRECTORY: &str = "git+file:///srv/wiki.git";
        for (location, obstacle, part) in [
            (SSH, Obstacle::Name, "DNS"),
            (HTTPS, Obstacle::Refused, "host and port"),
            (HTTPS, Obstacle::Certificate, "https.ca_file"),
            (SSH, Obstacle::Certificate, "no ssh server"),
            (SSH, Obstacle::Silence, "port 443"),
            (HTTPS, Obstacle::Silence, "firewall"),
            (SSH, Obstacle::Network, "a way from here"),
            (DIRECTORY, Obstacle::Network, "file system mounted"),
        ] {
            let hint = unreachable(location, obstacle).unwrap();
            assert!(hint.contains(part) && !hint.contains("s3."), "{location}: {hint}");
        }
        for (location, denial, part) in [
            (SSH, Denial::Credentials, "ssh.key_file and ssh.passphrase_file"),
            (SSH, Denial::NoCredentials, "SSH_AUTH_SOCK"),
            (SSH, Denial::Permission(None), "deploy keys"),
            (HTTPS, Denial::Credentials, "https.user and https.token_file"),
            (HTTPS, Denial::NoCredentials, "set https.token_file"),
            (HTTPS, Denial::Permission(None), "right to write"),
            (DIRECTORY, Denial::Permission(None), OWN_DIRECTORY),
        ] {
            let hint = denied(location, denial).unwrap();
            assert!(hint.contains(part), "{location}: {hint}");
        }
        let temporary = |location: &str| {
            store(&StoreError::Temporary { location: location.to_owned(), reason: String::new() })
        };
        assert!(temporary(SSH).unwrap().contains("limits.retry") && temporary(DIRECTORY).is_none());
    }

    #[test]
    fn each_way_in_which_a_git_repository_can_be_missing_has_its_own_way_out() {
        let hint = |location: &str, missing| absent(&Absent { location: location.to_owned(), missing });
        let (ssh, https) = ("git+ssh://git@host/wiki.git", "git+https://host/wiki.git");
        for (location, missing, part) in [
            (ssh, Missing::Container(Container::GitRepository), "may this key see"),
            (https, Missing::Container(Container::GitRepository), "may this token see"),
            ("git+file:///w", Missing::Container(Container::GitRepository), "is the backup disk mounted?"),
            (ssh, Missing::Repository(Container::EmptyGitRepository), "makes the first commit"),
            (ssh, Missing::Repository(Container::GitRepository), "is `branch` right?"),
            (ssh, Missing::Repository(Container::GitBranch), "are not volkeep's"),
        ] {
            let hint = hint(location, missing);
            assert!(hint.contains(part), "{location} {missing:?}: {hint}");
        }
    }
}
