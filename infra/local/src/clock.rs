//! Time, injected: real, fast, or standing still.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::time::Instant;

/// Time, as everything here and every simulated client sees it.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment.
    fn now(&self) -> DateTime<Utc>;

    /// Returns once `now()` has reached `at`; at once if it has already.
    async fn sleep_until(&self, at: DateTime<Utc>);
}

/// Real time, or a multiple of it.
#[derive(Clone, Debug)]
pub struct ScaledClock {
    start: DateTime<Utc>,
    origin: Instant,
    speed: f64,
}

impl ScaledClock {
    /// A clock that shows the system's time now and then runs `speed` times as fast (1.0 is real
    /// time).
    ///
    /// # Panics
    ///
    /// If `speed` is not a positive number.
    #[expect(clippy::disallowed_methods, reason = "the one place where the system's clock enters this AWS")]
    pub fn new(speed: f64) -> Self {
        Self::starting_at(Utc::now(), speed)
    }

    /// A clock that shows `start` now and then runs `speed` times as fast.
    ///
    /// # Panics
    ///
    /// If `speed` is not a positive number.
    pub fn starting_at(start: DateTime<Utc>, speed: f64) -> Self {
        assert!(speed.is_finite() && speed > 0.0, "a clock's speed is a positive number");
        Self { start, origin: Instant::now(), speed }
    }
}

#[async_trait]
impl Clock for ScaledClock {
    fn now(&self) -> DateTime<Utc> {
        let elapsed = self.origin.elapsed().mul_f64(self.speed);
        TimeDelta::from_std(elapsed)
            .ok()
            .and_then(|elapsed| self.start.checked_add_signed(elapsed))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that waiting goes through")]
    async fn sleep_until(&self, at: DateTime<Utc>) {
        loop {
            let Ok(ahead) = (at - self.now()).to_std() else { return };
            if ahead.is_zero() {
                return;
            }
            // Rounded up to what tokio's timer can tell apart: a shorter sleep would spin.
            let real = ahead.div_f64(self.speed).max(Duration::from_millis(1));
            tokio::time::sleep(real).await;
        }
    }
}

/// Stands still until told. Whoever sleeps wakes when their time has come.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<DateTime<Utc>>,
}

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: DateTime<Utc>) -> Self {
        Self { now: watch::Sender::new(start) }
    }

    /// Moves on by that much.
    pub fn advance(&self, by: Duration) {
        let by = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
        self.now.send_modify(|now| {
            *now = now.checked_add_signed(by).unwrap_or(DateTime::<Utc>::MAX_UTC);
        });
    }

    /// Shows `at` from here on. Time never runs backwards: an earlier moment changes nothing.
    pub fn set(&self, at: DateTime<Utc>) {
        self.now.send_modify(|now| *now = at.max(*now));
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *self.now.borrow()
    }

    async fn sleep_until(&self, at: DateTime<Utc>) {
        let mut now = self.now.subscribe();
        // The sender is `self`, so it outlives this wait.
        let _ = now.wait_for(|now| *now >= at).await;
    }
}
