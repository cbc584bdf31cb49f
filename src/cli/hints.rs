//! What to do about a repository that is not there, out of reach or closed to us. Names the bucket and its endpoint
//! where there is one; must not know how a store finds out.

use crate::config::repository_url::RepositoryUrl;
use crate::repository::{Absent, Missing};
use crate::store::{Container, Denial, Obstacle, StoreError};

pub fn absent(absent: &Absent) -> String {
    let text = match absent.missing {
        Missing::Container(Container::Bucket) => no_bucket(),
        Missing::Container(Container::Directory) => {
            "is the backup disk mounted? If the address is right and this is the first boot, `volkeep repository \
             init` makes the directory and the repository, or init.create_repository allows it"
        }
        Missing::Container(
            Container::GitRepository | Container::EmptyGitRepository | Container::GitBranch,
        ) => "is the address right, and may this key see it? Make the empty repository at the git host first",
        Missing::Repository(_) => {
            "if the address is right and this is the first boot, make the repository by `volkeep repository init` \
             or allow it by init.create_repository"
        }
    };
    about(&absent.location, text)
}

pub fn store(error: &StoreError) -> Option<String> {
    Some(match error {
        StoreError::Unreachable { location, obstacle, .. } => match bucket(location) {
            Some(_) => about(location, unreachable_bucket(*obstacle)),
            None => "is the repository's file system mounted?".to_owned(),
        },
        StoreError::Denied { location, denial, .. } => match bucket(location) {
            Some(_) => about(location, &closed_bucket(*denial)),
            None => OWN_DIRECTORY.to_owned(),
        },
        StoreError::ReadOnly { .. } => OWN_DIRECTORY.to_owned(),
        StoreError::Temporary { location, .. } if bucket(location).is_some() => {
            "the store answers and fails; its operator or status page may know why. limits.retry says for how long \
             it is asked again"
                .to_owned()
        }
        StoreError::Io { location, .. } if bucket(location).is_some() => about(
            location,
            "the request is not taken as it is; does the store know s3.storage_class, s3.encryption and \
             s3.kms_key, is the endpoint one of S3 and no web page, and is no proxy in between?",
        ),
        StoreError::Full { .. } => "make room in the repository".to_owned(),
        _ => return None,
    })
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
fn bucket(location: &str) -> Option<String> {
    match location.parse() {
        #[cfg(feature = "s3")]
        Ok(RepositoryUrl::S3(address)) => Some(match &address.endpoint {
            Some(endpoint) => format!("bucket `{}` at {endpoint}", address.bucket),
            None => format!("bucket `{}` at Amazon's endpoint or that of the environment", address.bucket),
        }),
        _ => None,
    }
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
}
