//! The checks of the volume as they stand in the file: the volume's own type.

pub use crate::volume::check::CheckSpec;
