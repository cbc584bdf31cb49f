//! What the environment says besides variables of ours, as other programs understand it. It is no part of what can be
//! written down, so it is never shown.

use std::path::PathBuf;

use crate::base::environment::Environment;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    pub home: Option<PathBuf>,
    /// The socket of an ssh agent.
    pub agent: Option<PathBuf>,
    /// Where programs keep what they can do without.
    pub cache: Option<PathBuf>,
}

impl Surroundings {
    pub fn of(environment: &Environment) -> Self {
        let path = |name| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = path("HOME");
        Self {
            agent: path("SSH_AUTH_SOCK"),
            cache: path("XDG_CACHE_HOME").or_else(|| Some(home.as_ref()?.join(".cache"))),
            home,
        }
    }
}
