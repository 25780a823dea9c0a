//! Chance, out of a seed: the same seed throws the same dice for everybody.

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// What is thrown for. Each has dice of its own, so that one more draw of the one changes nothing of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Who lives, and in what surroundings.
    Beginning,
    /// What is done.
    Acts,
}

/// Dice.
#[derive(Clone, Debug)]
pub struct Dice(TestRng);

impl Dice {
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8] = match purpose {
            Purpose::Beginning => 0,
            Purpose::Acts => 1,
        };
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    /// A number below that one. Some are likelier than others, by less than anybody could see.
    pub fn below(&mut self, end: u32) -> u32 {
        let drawn = u64::from(self.0.next_u32()) * u64::from(end);
        u32::try_from(drawn >> 32).expect("below a number of 32 bits")
    }

    /// A number from the one to the other, both included.
    pub fn between(&mut self, first: u32, last: u32) -> u32 {
        first + self.below(last - first + 1)
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        let count = u32::try_from(of.len()).expect("few");
        of[self.below(count) as usize]
    }

    /// One of them, each as likely as its weight says.
    pub fn weighed<T>(&mut self, of: Vec<(u32, T)>) -> T {
        let mut at = self.below(of.iter().map(|(weight, _)| weight).sum());
        let found = of.into_iter().find(|(weight, _)| {
            let is_it = at < *weight;
            at = at.saturating_sub(*weight);
            is_it
        });
        found.expect("some weight is left").1
    }
}
