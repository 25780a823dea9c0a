//! What is told of an API key's use: by its usage plans, and by the API's access log where the owner keeps one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{Days, NaiveDate, NaiveTime, TimeDelta};
use state::Time;
use state::credential::{Settlements, Version};
use state::evidence::{KeyUse, Owed, PlanUse, Sighting, Told};
use state::lifecycle::State;
use state::period::Period;
use tracing::warn;

use crate::aws::access_logs::AccessLogs;
use crate::aws::api_keys::{ApiKeys, Plan, Use};
use crate::failure::{Failure, Fault, chain};
use crate::kind::Case;

/// For how long one read of a plan serves every credential in it.
const FRESH: TimeDelta = TimeDelta::minutes(1);
/// How far back the days before a key was deactivated are looked at: its customers' habits, not its whole life.
const HABITS: Days = Days::new(7);

/// Looks at the use of API keys.
#[derive(Debug)]
pub struct Witness {
    keys: Arc<ApiKeys>,
    logs: AccessLogs,
    lag: Period,
    /// By plan.
    read: Mutex<BTreeMap<String, Read>>,
}

/// When a plan was read, from which day on, and what was told.
type Read = (Time, NaiveDate, Arc<Use>);

impl Witness {
    /// `lag` is the setting `ROTATOR_USAGE_LAG`.
    pub fn new(keys: Arc<ApiKeys>, logs: AccessLogs, lag: Period) -> Self {
        Self { keys, logs, lag, read: Mutex::default() }
    }

    /// What is told of a version's key, and of all live keys in its plans.
    pub async fn look(&self, case: &Case<'_>) -> Result<Sighting, Failure> {
        let version = case.version();
        let Some(key) = id(version) else { return Ok(self.nothing(case)) };
        let live: Vec<&Version> = case.credential.versions.values().filter(|version| is_live(version)).collect();
        let today = case.now.date_naive();
        let since = habits(version).min(today);
        let (mut plans, mut days) = (BTreeMap::new(), BTreeMap::<NaiveDate, i64>::new());
        let mut all_told = true;
        let attached = self.keys.plans_of(key).await?;
        for plan in &attached {
            let period = plan.quota.map(|(_, period)| period);
            let from = period.map_or(since, |period| since.min(period.since(today)));
            let told = self.told(&plan.id, from, case.now).await?;
            match self.of_key(&told, plan, key, (since, today)).await? {
                Some(figures) => {
                    for (day, figures) in figures {
                        *days.entry(day).or_default() += figures.used;
                    }
                }
                None => all_told = false,
            }
            // Where nobody can say in which period a request was, nothing is shared out: what is left could only be too
            // little.
            let Some(period) = period.filter(|_| !plan.is_offset) else { continue };
            let mut shared = PlanUse { period, keys: BTreeMap::new(), untold: Vec::new() };
            for other in live.iter().filter(|other| is_in(other, plan)).filter_map(|other| id(other)) {
                // Where keys are told by their values, which nobody here has, each is asked for by its id.
                let asked = match told.contains_key("") {
                    true => self.of_key(&told, plan, other, (from, today)).await?,
                    false => None,
                };
                let figures = asked.as_ref().or(told.get(other)).filter(|figures| !figures.is_empty());
                let Some((_, last)) = figures.and_then(BTreeMap::last_key_value) else {
                    shared.untold.push(other.to_owned());
                    continue;
                };
                let used = figures.into_iter().flat_map(|days| days.range(period.since(today)..));
                let used = used.map(|(_, figures)| figures.used).sum();
                shared.keys.insert(other.to_owned(), KeyUse { used, left: last.left });
            }
            plans.insert(plan.id.clone(), shared);
        }
        let sum: i64 = days.values().sum();
        let last_day = days.iter().filter(|(_, used)| **used > 0).map(|(day, _)| *day).next_back();
        let sighting = Sighting {
            source: "GetUsage".into(),
            seen_until: case.now - self.lag.delta(),
            told: if all_told && !attached.is_empty() {
                let end = last_day.map(|day| (day + Days::new(1)).and_time(NaiveTime::MIN).and_utc());
                Told::Count(u64::try_from(sum).unwrap_or(0), end.map(|end| end.min(case.now)))
            } else {
                Told::Nothing
            },
            plans,
            callers: Vec::new(),
        };
        self.with_log(case, key, sighting).await
    }

    /// Gives every key what is left to all of them, and reads it again.
    pub async fn settle(&self, case: &Case<'_>, owed: &Owed) -> Result<Settlements, Failure> {
        let mut settled = Settlements::new();
        for (plan, (settlement, keys)) in owed {
            let mut settlement = settlement.clone();
            settlement.shown = true;
            for key in keys {
                match self.keys.set_remaining(plan, key, settlement.remaining).await {
                    Ok(()) => {}
                    // It is not in the plan any more, so there is nothing to take from it.
                    Err(failed) if failed.fault == Fault::NotFound => continue,
                    Err(failed) => return Err(failed.into()),
                }
                let shown = self.keys.remaining(plan, key, case.now).await?;
                settlement.shown &= shown == Some(settlement.remaining);
            }
            settled.insert(plan.clone(), settlement);
        }
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(settled)
    }

    /// How many requests with a version's key were refused in that time, if there is an access log.
    pub async fn refusals(&self, case: &Case<'_>, since: Time, until: Time) -> Result<Option<u64>, Failure> {
        match (log_group(case), id(case.version())) {
            (Some(group), Some(key)) => Ok(Some(self.logs.refusals(group, key, since, until).await?)),
            (_, _) => Ok(None),
        }
    }

    /// One read of a plan serves every credential in it.
    async fn told(&self, plan: &str, from: NaiveDate, now: Time) -> Result<Arc<Use>, Failure> {
        {
            let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, since, told)) = read.get(plan)
                && *since <= from
                && now - *at < FRESH
            {
                return Ok(told.clone());
            }
        }
        let told = Arc::new(self.keys.usage(plan, None, (from, now.date_naive())).await?);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.insert(plan.to_owned(), (now, from, told.clone()));
        Ok(told)
    }

    /// What is told of one key: a plan that tells of other keys alone, and nothing of this one even when asked for it,
    /// was not used with it; a plan that tells nothing at all says nothing.
    async fn of_key(
        &self,
        told: &Use,
        plan: &Plan,
        key: &str,
        days: (NaiveDate, NaiveDate),
    ) -> Result<Option<BTreeMap<NaiveDate, KeyUse>>, Failure> {
        let only = |figures: &BTreeMap<NaiveDate, KeyUse>| figures.range(days.0..).map(|(d, f)| (*d, *f)).collect();
        if let Some(figures) = told.get(key) {
            return Ok(Some(only(figures)));
        }
        if told.is_empty() {
            return Ok(None);
        }
        let asked = self.keys.usage(&plan.id, Some(key), days).await?;
        Ok(Some(asked.get(key).map(only).unwrap_or_default()))
    }

    /// The access log tells of keys of whose use no plan tells, and names whoever goes on beyond the overlap.
    async fn with_log(&self, case: &Case<'_>, key: &str, mut sighting: Sighting) -> Result<Sighting, Failure> {
        let Some(group) = log_group(case) else { return Ok(sighting) };
        let version = case.version();
        let since = version.deactivated.unwrap_or(version.created);
        if sighting.told == Told::Nothing
            && let Some((calls, last)) = self.logs.use_of(group, key, since, case.now).await?
        {
            sighting.source = format!("the access log {group}");
            sighting.told = Told::Count(calls, last);
        }
        if version.refuse_at().is_some_and(|at| at <= case.now) {
            // Names help a person; the gate goes by the figures.
            match self.logs.callers(group, key, since, case.now).await {
                Ok(callers) => {
                    let last = |at: Option<Time>| at.map_or("?".into(), |at| at.format("%F %H:%M UTC").to_string());
                    sighting.callers = callers
                        .into_iter()
                        .map(|caller| {
                            let plural = if caller.calls == 1 { "" } else { "s" };
                            format!("{} ({} request{plural}, last {})", caller.what, caller.calls, last(caller.last))
                        })
                        .collect();
                }
                Err(failure) => warn!(group, reason = chain(&failure), "the access log does not tell who uses a key"),
            }
        }
        Ok(sighting)
    }

    fn nothing(&self, case: &Case<'_>) -> Sighting {
        Sighting {
            source: "GetUsage".into(),
            seen_until: case.now - self.lag.delta(),
            told: Told::Nothing,
            plans: BTreeMap::new(),
            callers: Vec::new(),
        }
    }
}

/// The first day of the counted window: fixed for a version, so that the count only rises.
fn habits(version: &Version) -> NaiveDate {
    let begun = version.activated.unwrap_or(version.created).date_naive();
    version.deactivated.map_or(begun, |at| begun.max(at.date_naive() - HABITS))
}

fn is_live(version: &Version) -> bool {
    match version.state {
        State::Active => true,
        State::Deactivated => version.compromised.is_none(),
        State::PreActivation | State::Suspended | State::Destroyed => false,
    }
}

fn is_in(version: &Version, plan: &Plan) -> bool {
    // Of a key that was adopted before plans were recorded: it is looked at itself, and then it is in the plan.
    version.provider.get("plans").is_none_or(|plans| plans.split_whitespace().any(|id| id == plan.id))
}

fn id(version: &Version) -> Option<&str> {
    version.provider.get("id").map(String::as_str)
}

fn log_group<'c>(case: &Case<'c>) -> Option<&'c str> {
    case.policy.watch.as_ref()?.access_log.as_deref()
}
