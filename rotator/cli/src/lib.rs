//! The command line of the rotation service, its demo, and the embedded AWS that they run on.

pub mod embedded;
