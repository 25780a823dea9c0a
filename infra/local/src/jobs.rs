//! What is due later: rotation attempts, events, timers.
//!
//! A job stays in the queue until it is done. Where whoever runs it goes away in the middle, it is
//! run again, as AWS's at-least-once delivery would.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The jobs, and who is running which.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Queue {
    next: u64,
    jobs: BTreeMap<u64, Job>,
    #[serde(skip)]
    running: BTreeSet<u64>,
    #[serde(skip)]
    timers: Vec<Timer>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Job {
    due: DateTime<Utc>,
    work: Work,
    /// The timer that put it here: it puts no second one while this one waits or runs.
    #[serde(skip)]
    timer: Option<usize>,
}

/// What a job does.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Work {
    /// One attempt of a rotation.
    Rotate { arn: String, token: String },
    /// One delivery of an event to a function.
    Deliver { function: String, payload: Value },
}

/// An EventBridge schedule at a fixed rate.
#[derive(Clone)]
struct Timer {
    period: TimeDelta,
    next: DateTime<Utc>,
    function: String,
    payload: Value,
}

impl Queue {
    pub(crate) fn push(&mut self, due: DateTime<Utc>, work: Work) -> u64 {
        self.insert(Job { due, work, timer: None })
    }

    /// A function that is invoked every `period` from one period after now.
    pub(crate) fn add_timer(&mut self, now: DateTime<Utc>, period: Duration, function: String, payload: Value) {
        let period = TimeDelta::from_std(period).unwrap_or(TimeDelta::MAX).max(TimeDelta::seconds(1));
        self.timers.push(Timer { period, next: later(now, period), function, payload });
    }

    /// Marks the jobs that are due as running and answers them, earliest first.
    pub(crate) fn start_due(&mut self, now: DateTime<Utc>) -> Vec<u64> {
        self.fire_timers(now);
        let mut due: Vec<_> = self
            .jobs
            .iter()
            .filter(|(id, job)| job.due <= now && !self.running.contains(id))
            .map(|(id, job)| (job.due, *id))
            .collect();
        due.sort_unstable();
        let due: Vec<u64> = due.into_iter().map(|(_, id)| id).collect();
        self.running.extend(&due);
        due
    }

    /// Marks one job as running, unless it is gone or runs already.
    pub(crate) fn start(&mut self, id: u64) -> bool {
        self.jobs.contains_key(&id) && self.running.insert(id)
    }

    /// What is due when, in the order in which it was put here.
    pub(crate) fn waiting(&self) -> Vec<(DateTime<Utc>, &Work)> {
        self.jobs.values().map(|job| (job.due, &job.work)).collect()
    }

    /// Whatever ran does not run any more, and is due again.
    pub(crate) fn release_all(&mut self) {
        self.running.clear();
    }

    pub(crate) fn work(&self, id: u64) -> Option<Work> {
        self.jobs.get(&id).map(|job| job.work.clone())
    }

    pub(crate) fn finish(&mut self, id: u64) {
        self.jobs.remove(&id);
    }

    /// No longer running. If it was not finished, it is due again.
    pub(crate) fn release(&mut self, id: u64) {
        self.running.remove(&id);
    }

    /// The earliest moment at which a job that does not run yet is due.
    pub(crate) fn next_due(&self) -> Option<DateTime<Utc>> {
        let waiting = self.jobs.iter().filter(|(id, _)| !self.running.contains(id));
        waiting.map(|(_, job)| job.due).chain(self.timers.iter().map(|timer| timer.next)).min()
    }

    fn fire_timers(&mut self, now: DateTime<Utc>) {
        let mut fired = Vec::new();
        for (number, timer) in self.timers.iter_mut().enumerate() {
            if timer.next > now {
                continue;
            }
            let due = timer.next;
            while timer.next <= now {
                timer.next = later(timer.next, timer.period);
            }
            if self.jobs.values().all(|job| job.timer != Some(number)) {
                let (function, payload) = (timer.function.clone(), timer.payload.clone());
                let work = Work::Deliver { function, payload };
                fired.push(Job { due, work, timer: Some(number) });
            }
        }
        for job in fired {
            self.insert(job);
        }
    }

    fn insert(&mut self, job: Job) -> u64 {
        let id = self.next;
        self.next += 1;
        self.jobs.insert(id, job);
        id
    }
}

/// `at` moved on, at most to the end of time.
pub(crate) fn later(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(by).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
