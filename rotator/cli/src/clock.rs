//! AWS's clock instead of this machine's: deadlines in the records are in AWS's time, and an operator's laptop may be
//! minutes off. So may an embedded AWS whose clock runs faster.

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use chrono::{DateTime, TimeDelta};
use rotator::ports::{Clock, OsEntropy, Ports, SystemClock, Wire, tls_connector};
use state::Time;

/// `Date` headers are whole seconds, and an answer takes its time: less than this is no difference.
const TOLERANCE: TimeDelta = TimeDelta::seconds(5);

/// This machine's clock, set by the first answer from AWS.
#[derive(Clone, Debug, Default)]
pub struct AwsClock {
    ahead: Arc<OnceLock<TimeDelta>>,
}

impl AwsClock {
    /// The real world, with this clock in it.
    pub fn ports() -> Ports {
        let clock = Self::default();
        let watch = clock.clone();
        let wire =
            Wire::new(move || SharedHttpConnector::new(Watched { inner: tls_connector(), clock: watch.clone() }));
        Ports { clock: Arc::new(clock), entropy: Arc::new(OsEntropy), wire }
    }

    fn set_by(&self, date: &str) {
        let Ok(date) = DateTime::parse_from_rfc2822(date) else { return };
        let ahead = date.to_utc() - SystemClock.now();
        let ahead = if ahead.abs() < TOLERANCE { TimeDelta::zero() } else { ahead };
        // The first answer counts: a clock that jumped would make every wait uncertain.
        self.ahead.get_or_init(|| ahead);
    }
}

#[async_trait]
impl Clock for AwsClock {
    fn now(&self) -> Time {
        SystemClock.now() + self.ahead.get().copied().unwrap_or_default()
    }

    async fn sleep(&self, time: TimeDelta) {
        SystemClock.sleep(time).await;
    }
}

/// A connector that shows the clock each answer's date.
struct Watched {
    inner: SharedHttpConnector,
    clock: AwsClock,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched(..)")
    }
}

impl HttpConnector for Watched {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (answer, clock) = (self.inner.call(request), self.clock.clone());
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            if let Some(date) = answer.headers().get("date") {
                clock.set_by(date);
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_sets_the_clock_and_the_second_does_not() {
        let clock = AwsClock::default();
        clock.set_by("not a date");
        clock.set_by("Fri, 01 Jan 2100 00:00:00 GMT");
        clock.set_by("Wed, 01 Jan 2200 00:00:00 GMT");
        assert_eq!(clock.now().format("%Y-%m-%d").to_string(), "2100-01-01");
    }

    #[test]
    fn a_few_seconds_are_no_difference() {
        let clock = AwsClock::default();
        let date = SystemClock.now() + TimeDelta::seconds(3);
        clock.set_by(&date.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
        assert_eq!(clock.ahead.get(), Some(&TimeDelta::zero()));
    }
}
