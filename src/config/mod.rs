//! The configuration: file, environment and flags become one checked `Config`. Only `cli` may import it; every
//! other module owns its own options.

pub mod actions;
pub mod checks;
pub mod drill;
pub mod environment;
pub mod error;
pub mod file;
pub mod finding;
pub mod git;
pub mod hooks;
pub mod jobs;
pub mod load;
pub mod model;
pub mod notify;
pub mod options;
pub mod origin;
pub mod reference;
pub mod repair;
pub mod repository_url;
pub mod retention;
pub mod s3;
pub mod schema;
mod section;
pub mod show;
pub mod sidecar;
pub mod steps;
pub mod surroundings;
mod values;

pub use error::{ConfigError, ConfigErrors};
pub use finding::Needs;
pub use load::{Flags, Loaded, load};
pub use model::Config;
pub use origin::{Origin, Origins};
