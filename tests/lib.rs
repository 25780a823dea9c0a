//! One test binary: see `all.rs`.
