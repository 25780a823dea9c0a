//! How much of a plan's quota a key has used, as the data plane counts it and as `GetUsage` tells it
//! a while later.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

/// A usage plan's quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Quota {
    /// Requests a period.
    pub(super) limit: u32,
    /// "The number of requests subtracted from the given limit in the initial time period."
    #[serde(default)]
    pub(super) offset: u32,
    pub(super) period: Period,
}

/// The period after which a quota begins anew. Always at midnight UTC; a week begins on Monday,
/// a month on its first day (AWS's documentation names neither).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Period {
    Day,
    Week,
    Month,
}

impl Period {
    fn start(self, date: NaiveDate) -> NaiveDate {
        match self {
            Self::Day => date,
            Self::Week => date - Days::new(u64::from(date.weekday().num_days_from_monday())),
            Self::Month => date - Days::new(u64::from(date.day0())),
        }
    }
}

impl Quota {
    /// What a key has left at the start of the period of `date`, in a plan that began on `began`.
    fn allowance(&self, date: NaiveDate, began: NaiveDate) -> i64 {
        let first = self.period.start(date) == self.period.start(began);
        i64::from(self.limit) - if first { i64::from(self.offset) } else { 0 }
    }
}

/// One day of one key: what it used that day, and what was left of its period when the day ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Day {
    pub(super) used: i64,
    pub(super) remaining: i64,
}

type History = BTreeMap<NaiveDate, Day>;

/// One key's usage in one plan.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct KeyUsage {
    /// As the data plane counts.
    counted: History,
    /// As `GetUsage` tells.
    told: History,
    /// What `UpdateUsage` set and the data plane does not know yet.
    grants: VecDeque<(DateTime<Utc>, NaiveDate, i64)>,
    /// What the data plane counted and `GetUsage` does not tell yet.
    reports: VecDeque<(DateTime<Utc>, NaiveDate, Day)>,
}

/// What usage is measured against.
#[derive(Clone, Copy)]
pub(super) struct Measure<'a> {
    pub(super) quota: Option<&'a Quota>,
    /// The day on which the plan was made.
    pub(super) began: NaiveDate,
    /// How long figures travel, in either direction.
    pub(super) lag: Duration,
}

impl KeyUsage {
    /// Counts one request, unless the quota is used up.
    pub(super) fn admit(&mut self, measure: Measure<'_>, now: DateTime<Utc>) -> bool {
        self.advance(measure, now);
        let today = now.date_naive();
        let remaining = left(&self.counted, measure, today);
        if measure.quota.is_some() && remaining <= 0 {
            return false;
        }
        let used = self.counted.get(&today).map_or(0, |day| day.used) + 1;
        let left = if measure.quota.is_some() { remaining - 1 } else { 0 };
        self.count(today, Day { used, remaining: left }, now + measure.lag);
        self.advance(measure, now);
        true
    }

    /// Sets what is left of the current period.
    pub(super) fn grant(&mut self, remaining: i64, measure: Measure<'_>, now: DateTime<Utc>) {
        self.grants.push_back((now + measure.lag, now.date_naive(), remaining));
        self.advance(measure, now);
    }

    /// The quota is another one now: left is its allowance, without what was used in its present period.
    pub(super) fn measure_anew(&mut self, measure: Measure<'_>, now: DateTime<Utc>) {
        let Some(quota) = measure.quota else { return };
        self.advance(measure, now);
        let today = now.date_naive();
        let days = self.counted.range(quota.period.start(today)..=today);
        let used: i64 = days.map(|(_, day)| day.used).sum();
        if used > 0 {
            let remaining = quota.allowance(today, measure.began) - used;
            let used = self.counted.get(&today).map_or(0, |day| day.used);
            self.count(today, Day { used, remaining }, now + measure.lag);
        }
    }

    /// What is told of each day from `start` to `end`, or nothing if there is nothing to tell.
    pub(super) fn tell(
        &mut self,
        (start, end): (NaiveDate, NaiveDate),
        measure: Measure<'_>,
        now: DateTime<Utc>,
    ) -> Option<Vec<Day>> {
        self.advance(measure, now);
        self.told.range(..=end).next()?;
        let days = start.iter_days().take_while(|date| *date <= end).map(|date| Day {
            used: self.told.get(&date).map_or(0, |day| day.used),
            remaining: left(&self.told, measure, date),
        });
        Some(days.collect())
    }

    /// Lets everything arrive that is due.
    fn advance(&mut self, measure: Measure<'_>, now: DateTime<Utc>) {
        while let Some((due, date, remaining)) = self.grants.pop_front_if(|(due, ..)| *due <= now) {
            let used = self.counted.get(&date).map_or(0, |day| day.used);
            self.count(date, Day { used, remaining }, due + measure.lag);
        }
        while let Some((_, date, day)) = self.reports.pop_front_if(|(due, ..)| *due <= now) {
            self.told.insert(date, day);
        }
    }

    fn count(&mut self, date: NaiveDate, day: Day, told_at: DateTime<Utc>) {
        self.counted.insert(date, day);
        self.reports.push_back((told_at, date, day));
    }
}

/// What is left at the end of that day: the last figure of its period, or the whole allowance.
fn left(days: &History, measure: Measure<'_>, date: NaiveDate) -> i64 {
    let Some(quota) = measure.quota else { return 0 };
    days.range(quota.period.start(date)..=date)
        .next_back()
        .map_or_else(|| quota.allowance(date, measure.began), |(_, day)| day.remaining)
}
