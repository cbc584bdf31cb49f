//! What to do about a git repository that is not there, out of reach, closed to us, or that does not take what is
//! pushed. Goes by the way to it, which its location begins with; must not know how git is spoken.

use crate::config::repository_url::GitWay;
use crate::repository::HostKeyTrouble;
use crate::store::{Container, Denial, Obstacle};

/// `None`: it is no git repository.
pub fn way(location: &str) -> Option<GitWay> {
    let ways =
        [("git+ssh://", GitWay::Ssh), ("git+https://", GitWay::Https), ("git+file://", GitWay::Directory)];
    ways.into_iter().find(|(scheme, _)| location.starts_with(scheme)).map(|(_, way)| way)
}

/// There is no git repository at all. `None` where it is a directory, which we could make.
pub fn no_repository(way: GitWay) -> Option<&'static str> {
    match way {
        GitWay::Directory => None,
        GitWay::Ssh => Some(
            "is the address right, and may this key see the repository? Hosts say of a hidden one that it is not \
             there. If it is yet to be made, make an empty one at the host, then run `volkeep repository init`",
        ),
        GitWay::Https => Some(
            "is the address right, and may this token see the repository? Hosts say of a hidden one that it is not \
             there. If it is yet to be made, make an empty one at the host, then run `volkeep repository init`",
        ),
    }
}

/// There is one, and it holds nothing of ours.
pub fn nothing_of_ours(container: Container) -> Option<&'static str> {
    match container {
        Container::EmptyGitRepository => Some(
            "nothing was ever pushed there. If the address is right and this is the first boot, `volkeep repository \
             init` makes the first commit, or init.create_repository allows it",
        ),
        Container::GitRepository => Some(
            "is `branch` right? If it is and this is the first boot, `volkeep repository init` begins that branch, \
             or init.create_repository allows it",
        ),
        Container::GitBranch => Some(
            "the commits on that branch are not volkeep's: is the address right, or does `branch` have to name another \
             one? `volkeep repository init` goes on from what is there",
        ),
        Container::Directory | Container::Bucket => None,
    }
}

pub fn unreachable(way: GitWay, obstacle: Obstacle) -> &'static str {
    match (obstacle, way) {
        (_, GitWay::Directory) => "is the repository's file system mounted?",
        (Obstacle::Name, _) => "the host's name leads nowhere; is it spelt right, and does DNS work here?",
        (Obstacle::Refused, _) => {
            "nobody listens there; are host and port of the address right, and is the server up?"
        }
        (Obstacle::Certificate, GitWay::Https) => {
            "the host's certificate is not trusted, or it does not speak TLS; https.ca_file names the certificate of \
             an authority of your own"
        }
        (Obstacle::Certificate, GitWay::Ssh) => {
            "what listens there is no ssh server that this program can trust; are host and port of the address right?"
        }
        (Obstacle::Silence, GitWay::Ssh) => {
            "no answer in time; does a firewall or a network policy stand between? Some hosts serve ssh at port 443 \
             as well"
        }
        (Obstacle::Silence, GitWay::Https) => {
            "no answer in time; does a firewall or a network policy stand between?"
        }
        (Obstacle::Network | Obstacle::Container, _) => "is there a way from here to the git server?",
    }
}

pub fn denied(way: GitWay, denial: Denial) -> Option<&'static str> {
    match way {
        GitWay::Directory => None,
        GitWay::Ssh => Some(match denial {
            Denial::NoCredentials => {
                "no key was found; set ssh.key_file, put a key to ~/.ssh/id_ed25519, or let ssh.agent ask the agent \
                 of SSH_AUTH_SOCK"
            }
            Denial::Permission(_) => {
                "the key is known and may not do this; it needs the right to write to the repository, which deploy \
                 keys have only where that was said, and the branch must not be protected from it"
            }
            _ => {
                "the server does not take this key; is its public half, as `ssh-keygen -y -f FILE` prints it, known \
                 there, and is the user in the address right? Look at ssh.key_file and ssh.passphrase_file"
            }
        }),
        GitWay::Https => Some(match denial {
            Denial::NoCredentials => {
                "the server wants to know who asks; set https.token_file, and https.user where it wants a name"
            }
            Denial::Permission(_) => {
                "the token is known and may not do this; it needs the right to write to the content of the \
                 repository, and the branch must not be protected from it"
            }
            _ => {
                "the token is wrong, has expired, or belongs to another user; look at https.user and \
                 https.token_file"
            }
        }),
    }
}

pub const FAILING: &str = "the git server answers and fails; its operator or status page may know why. limits.retry \
                           says for how long it is asked again";

pub const STRANGE: &str = "is the address right, is git installed on that host, and does no proxy or login page answer in \
                           its place?";

pub const REJECTED: &str = "is the branch protected from us, or does somebody else write to it? It should be volkeep's alone; if what others \
     put there may stay, init.on_stale `keep` tells the next backup to go on from it";

pub const TOO_LARGE: &str = "leave them out by volume.exclude, or raise `largest_file` if the host takes larger ones; 0 is without a limit";

/// `host` as the known hosts write it: with its port in `[host]:port`, if that is not the usual one.
pub fn host_key(host: &str, trouble: HostKeyTrouble) -> String {
    let scan = match host.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        Some((host, port)) => format!("ssh-keyscan -p {port} {host}"),
        None => format!("ssh-keyscan {host}"),
    };
    let what_to_do = match trouble {
        HostKeyTrouble::Unknown => UNKNOWN_HOST,
        HostKeyTrouble::Changed => CHANGED_HOST,
        HostKeyTrouble::Revoked => return REVOKED_HOST.to_owned(),
    };
    format!("{what_to_do} (`{scan}` prints the keys, `{scan} | ssh-keygen -lf -` their fingerprints)")
}

const UNKNOWN_HOST: &str = "if the fingerprint is the one that the operator of the host has published, add its key to the file of \
     ssh.known_hosts_file, or to ~/.ssh/known_hosts";
const CHANGED_HOST: &str = "somebody may stand between, or the machine is a new one: ask the operator of the host, by another way than this. \
     If the fingerprint is right, replace the old lines in the file of ssh.known_hosts_file, or in ~/.ssh/known_hosts";
const REVOKED_HOST: &str = "this key must not be used any more; ask the operator of the host which one is right, by another way than this";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_key_has_a_way_out_that_names_the_host() {
        let unknown = host_key("host", HostKeyTrouble::Unknown);
        assert!(
            unknown.contains("`ssh-keyscan host`") && unknown.contains("ssh.known_hosts_file"),
            "{unknown}"
        );
        let changed = host_key("[host]:2222", HostKeyTrouble::Changed);
        assert!(changed.contains("`ssh-keyscan -p 2222 host | ssh-keygen -lf -`"), "{changed}");
        assert!(changed.contains("somebody may stand between"), "{changed}");
        assert!(host_key("host", HostKeyTrouble::Revoked).contains("must not be used"));
    }

    #[test]
    fn the_way_is_told_by_the_location() {
        assert_eq!(way("git+ssh://git@host/w.git?branch=a@b"), Some(GitWay::Ssh));
        assert_eq!(way("git+https://host/100%/w.git"), Some(GitWay::Https));
        assert_eq!(way("git+file:///w.git"), Some(GitWay::Directory));
        assert_eq!((way("/backups/wiki"), way("s3://bucket")), (None, None));
    }
}
