//! Manifests as they come out of kustomize and Helm, and what has to hold between their parts.

pub mod configured;
pub mod objects;
pub mod pods;
pub mod render;
pub mod rules;

/// The version that every image of ours has to have.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
