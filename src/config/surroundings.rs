//! What the environment says besides variables of ours, as other programs understand it. It is no part of what can be
//! written down, so it is never shown.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::environment::Environment;
use crate::base::secret::Secret;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    pub home: Option<PathBuf>,
    /// The socket of an ssh agent.
    pub agent: Option<PathBuf>,
    /// Where programs keep what they can do without.
    pub cache: Option<PathBuf>,
    /// The variables that steps name, as far as they are set.
    pub variables: BTreeMap<String, Secret>,
}

impl Surroundings {
    pub fn remember<'a>(&mut self, environment: &Environment, names: impl Iterator<Item = &'a str>) {
        let set = names.filter_map(|name| Some((name.to_owned(), Secret::new(environment.get(name)?))));
        self.variables.extend(set);
    }

    pub fn of(environment: &Environment) -> Self {
        let path = |name| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = path("HOME");
        Self {
            agent: path("SSH_AUTH_SOCK"),
            cache: path("XDG_CACHE_HOME").or_else(|| Some(home.as_ref()?.join(".cache"))),
            home,
            variables: BTreeMap::new(),
        }
    }
}
