//! The token bucket that API Gateway documents for its control plane and for usage plans; here for every rate.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Holds up to `burst` tokens and gains `rate` a second; each request takes one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: DateTime<Utc>,
}

impl TokenBucket {
    pub(crate) fn full(rate: f64, burst: f64, now: DateTime<Utc>) -> Self {
        Self { rate, burst, tokens: burst, at: now }
    }

    /// Whether a token is there to take.
    pub(crate) fn ready(&mut self, now: DateTime<Utc>) -> bool {
        let elapsed = (now - self.at).as_seconds_f64().max(0.0);
        self.tokens = (self.tokens + elapsed * self.rate).min(self.burst);
        self.at = self.at.max(now);
        // A tenth of a second, ten times, adds up to a hair less than a second.
        self.tokens >= 1.0 - 1e-6
    }

    /// Takes the token that `ready` has seen.
    pub(crate) fn take(&mut self) {
        self.tokens = (self.tokens - 1.0).max(0.0);
    }

    /// Takes a token if there is one.
    pub(crate) fn try_take(&mut self, now: DateTime<Utc>) -> bool {
        let ready = self.ready(now);
        if ready {
            self.take();
        }
        ready
    }
}
