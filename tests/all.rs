//! Everything that is tested through the real SDK against the embedded AWS, in one binary.

mod conformance;
mod crash_matrix;
mod harness;
mod stories;
