//! The command line of the rotation service, its demo, and the embedded AWS that they run on.

pub mod aws;
pub mod clock;
pub mod commands;
pub mod context;
pub mod embedded;
pub mod interrupt;
pub mod output;
pub mod sample;
#[cfg(test)]
mod specimens;
pub mod timeline;
pub mod trouble;
