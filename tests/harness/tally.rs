//! What is counted in metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// Every counter and every figure with its labels, while a guard of `metrics::set_default_local_recorder` lives.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<String, Arc<Count>>>);

/// How often something was counted; of a figure, what was told last.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Tally {
    /// What was counted or told of that, written as `Name label=value`; a figure without its fraction.
    pub fn of(&self, what: &str) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(what).map_or(0, |count| count.0.load(Ordering::Relaxed))
    }

    fn count(&self, key: &Key) -> Arc<Count> {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let what = format!("{}{}", key.name(), labels.collect::<String>());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default().clone()
    }
}

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }
    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl HistogramFn for Count {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures here are small whole numbers")]
    fn record(&self, value: f64) {
        self.0.store(value as u64, Ordering::Relaxed);
    }
}

impl Recorder for Tally {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.count(key))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.count(key))
    }
}
