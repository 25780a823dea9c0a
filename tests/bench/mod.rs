//! Benchmarks in virtual time. They print figures; docs/numbers.md keeps them.

mod herd;
mod scale;
