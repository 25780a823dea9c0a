//! Everything that is tested through the real SDK against the embedded AWS, in one binary.

mod actors;
mod bench;
mod conformance;
mod crash_matrix;
mod docs;
mod harness;
mod leaks;
mod lives;
mod privilege;
mod properties;
mod stories;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
