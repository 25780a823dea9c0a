//! Chance that can be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use rotator::ports::Entropy;

/// Values that follow from a number. Clones draw from the same row.
#[derive(Clone, Debug)]
pub struct Chance {
    seed: u64,
    drawn: Arc<AtomicU64>,
}

impl Chance {
    /// From the beginning.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, drawn: Arc::default() }
    }

    /// The same row from where it is now, drawn from by others.
    pub fn fork(&self) -> Self {
        Self { seed: self.seed, drawn: Arc::new(self.drawn.load(Ordering::Relaxed).into()) }
    }
}

impl Entropy for Chance {
    fn fill(&self, bytes: &mut [u8]) {
        for block in bytes.chunks_mut(32) {
            let number = self.drawn.fetch_add(1, Ordering::Relaxed);
            // Not what the embedded AWS draws from the same numbers.
            let input = [&b"service "[..], &self.seed.to_be_bytes(), &number.to_be_bytes()].concat();
            block.copy_from_slice(&digest(&SHA256, &input).as_ref()[..block.len()]);
        }
    }
}
