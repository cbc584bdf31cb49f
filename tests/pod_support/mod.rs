//! Pods as Kubernetes runs them, from the very manifests, on a container engine: init containers in order, native
//! sidecars, one network a pod, volumes with the group that `fsGroup` gives them, and the order of ending. What a
//! manifest asks for and this does not know is a failure, so that nothing is left out in silence.
//!
//! `engine` runs containers, `objects` reads manifests, `container` makes one out of the other, `pod` is their life.
#![allow(dead_code, reason = "no test file uses all of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

pub mod container;
pub mod engine;
pub mod objects;
pub mod pod;
