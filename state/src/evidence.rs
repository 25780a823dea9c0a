//! What is seen of a deactivated key's use, and what follows from it: whether it may be refused, and how much of an
//! allowance is left that several live keys share.
//!
//! A figure that is missing is not zero. Everything here is computed from figures that only rise, so that looking
//! twice, or applying the same result twice, changes nothing.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{Datelike, Days, NaiveDate, NaiveTime, TimeDelta};
use serde::{Deserialize, Serialize};

use crate::Time;
use crate::credential::Version;
use crate::hold::{Hold, HoldReason};
use crate::policy::Otherwise;

/// What a provider told of a key's use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What told: the name of the call, or the log group.
    pub source: String,
    /// Use before that moment would have been told; what came later may not be yet.
    pub seen_until: Time,
    /// What it told.
    pub told: Told,
    /// What all live keys have used of the allowances that they share, per usage plan.
    pub plans: BTreeMap<String, PlanUse>,
    /// Who uses it, where a log tells. Personal data.
    pub callers: Vec<String>,
}

/// What a provider can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing of this key. That is not zero.
    Nothing,
    /// When it was used last; `None`: never.
    Last(Option<Time>),
    /// How many requests there were, counted from one fixed moment in the key's life, and when at the latest the last
    /// of them was.
    Count(u64, Option<Time>),
}

/// What is known of a deactivated version's use, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// What told.
    pub source: String,
    /// When it was asked last.
    pub looked: Time,
    /// Use before that moment would have been told.
    pub seen_until: Time,
    /// Whether anything was ever told of this key.
    pub told: bool,
    /// Whether nothing was told any more when it was asked last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    /// Requests counted, our own taken off, where they are counted.
    pub used: Option<u64>,
    /// What was counted at the first look: the rest came after it was deactivated.
    pub first: Option<u64>,
    /// When it was used last, at the latest.
    pub last_used: Option<Time>,
}

impl Usage {
    /// What is known after another look. `ours`: requests of our own with this key since it was deactivated.
    pub fn after(before: Option<&Self>, sighting: &Sighting, ours: u64, now: Time) -> Self {
        let is_silent = sighting.told == Told::Nothing;
        let told_before = before.is_some_and(|before| before.told);
        let last_known = before.and_then(|before| before.last_used);
        // Counts of one source can't be compared with those of another.
        let counts = before.filter(|before| is_silent || before.source == sighting.source);
        let known = counts.and_then(|before| before.used);
        // What was told once stays true, whatever a later answer leaves out.
        let (used, last_used) = match sighting.told {
            Told::Nothing => (known, last_known),
            Told::Last(last) => (known, last.max(last_known)),
            Told::Count(counted, last) => {
                // It fell: another plan counts it now, from where nobody knows.
                let fell = known.is_some_and(|known| counted < known);
                let counted = counted.saturating_sub(ours);
                // It did not rise: nobody used it since. It rose, and nothing tells when: it may have been just now.
                let rose = known.is_none_or(|known| counted > known);
                let last = last.or((counted > 0).then_some(now));
                match (fell, rose) {
                    (true, _) => (Some(counted), Some(now)),
                    (false, true) => (known.max(Some(counted)), last.max(last_known)),
                    (false, false) => (known, last_known),
                }
            }
        };
        Self {
            source: before
                .filter(|_| is_silent && told_before)
                .map_or(&sighting.source, |before| &before.source)
                .clone(),
            looked: now,
            // A look at which nothing is told shows nothing.
            seen_until: match before {
                Some(before) if is_silent => before.seen_until,
                Some(_) | None => sighting.seen_until,
            },
            told: !is_silent || told_before,
            silent: is_silent && told_before,
            used,
            first: counts.and_then(|before| before.first).or(used).min(used),
            last_used,
        }
    }

    /// Whether another look told the same: only until when was seen differs.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let (looked, seen_until) = (self.looked, self.seen_until);
        *self == Self { looked, seen_until, ..other.clone() }
    }

    /// Requests since the first look after it was deactivated.
    pub fn since_deactivated(&self) -> Option<u64> {
        Some(self.used?.saturating_sub(self.first.unwrap_or(0)))
    }
}

/// Why a version may be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ground {
    /// Nobody looks: its owner asked for no evidence, or its kind leaves none.
    Ungated,
    /// It was not used for as long as its owner asked.
    Unused,
    /// Nothing is told of its use, and its owner said not to wait for that.
    NoEvidence,
    /// It is still used, and its owner said not to wait any longer.
    Ceiling,
    /// A person let it go.
    Waived,
    /// It is compromised.
    Compromised,
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ungated => "nobody looks at its use",
            Self::Unused => "unused",
            Self::NoEvidence => "nothing is told of its use, and its owner does not wait for that",
            Self::Ceiling => "its ceiling is over",
            Self::Waived => "a person let it go",
            Self::Compromised => "compromised",
        })
    }
}

impl Version {
    /// Why it may be refused once its overlap is over; or what it waits for. Only the ceiling depends on the time.
    pub fn gate(&self, now: Time) -> Result<Ground, Hold> {
        if self.compromised.is_some() {
            return Ok(Ground::Compromised);
        }
        if self.waived {
            return Ok(Ground::Waived);
        }
        // It was refused on that ground, or signs nothing any more: what was seen until then is all there is to see. What
        // a rollback tried in vain does not change it.
        if let Some(ground) = self.ground {
            return Ok(ground);
        }
        let idle = self.policy.idle_before_suspend.delta();
        let Some(watch) = self.policy.watch.as_ref().filter(|_| !idle.is_zero()) else { return Ok(Ground::Ungated) };
        let shut = match &self.usage {
            None => Hold::new(HoldReason::NoEvidence, "its use was not looked at yet"),
            Some(usage) if !usage.told => {
                if watch.no_evidence == Otherwise::Suspend {
                    return Ok(Ground::NoEvidence);
                }
                let detail = format!("{} tells nothing of the use of generation {}", usage.source, self.generation);
                Hold::new(HoldReason::NoEvidence, detail)
            }
            Some(usage) if usage.silent => {
                let until = usage.seen_until.format("%F %H:%M UTC");
                let detail = format!("{} tells of generation {} until {until} only", usage.source, self.generation);
                Hold::new(HoldReason::NoEvidence, detail)
            }
            Some(usage) => {
                if usage.last_used.or(self.deactivated).is_none_or(|since| usage.seen_until - since >= idle) {
                    return Ok(Ground::Unused);
                }
                Hold::new(HoldReason::StillInUse, self.how_much(usage))
            }
        };
        if self.is_past_ceiling(now) { Ok(Ground::Ceiling) } else { Err(shut) }
    }

    /// Whether nobody is waited for any longer.
    pub fn is_past_ceiling(&self, now: Time) -> bool {
        let ends = self.policy.watch.as_ref().is_some_and(|watch| watch.at_ceiling == Otherwise::Suspend);
        ends && self.ceiling().is_some_and(|ceiling| ceiling <= now)
    }

    /// When it is no longer waited for whoever still uses it.
    pub fn ceiling(&self) -> Option<Time> {
        Some(self.refuse_at()? + self.policy.watch.as_ref()?.ceiling.delta())
    }

    /// When it is to stop being of use, if its gate is open: to be disabled, or else to be refused.
    pub fn refuse_at(&self) -> Option<Time> {
        self.disable_at.filter(|_| self.disabled.is_none()).or(self.suspend_at)
    }

    /// When its use is to be looked at next.
    pub fn look_at(&self) -> Option<Time> {
        let watch = self.policy.watch.as_ref()?;
        let wanted = watch.settles || !self.policy.idle_before_suspend.delta().is_zero();
        let over = self.disabled.is_some() || self.compromised.is_some() || self.ground.is_some();
        let deactivated = self.deactivated.filter(|_| wanted && !over)?;
        let Some(usage) = &self.usage else { return Some(deactivated) };
        let next = usage.looked + look_after(watch.look_every.delta(), usage.looked - deactivated);
        // What was seen before its overlap was over does not tell who uses it then.
        Some(self.refuse_at().filter(|at| usage.looked < *at).map_or(next, |at| next.min(at)))
    }

    /// When its next brownout is to begin and how long it lasts: they lie evenly in the time in which nobody should use
    /// it any more. As long as its owner said, and as long as a refusal was seen to take: or it would be over before
    /// anybody noticed. None of a key that signs nothing any more: its end would let it sign again.
    pub fn next_brownout(&self, slowest: TimeDelta) -> Option<(Time, TimeDelta)> {
        let watch = self.policy.watch.as_ref().filter(|_| self.compromised.is_none() && !self.waived)?;
        if self.disabled.is_some() || self.ground.is_some() {
            return None;
        }
        let brownouts = &watch.brownouts;
        let lasts = brownouts.get(self.brownouts as usize)?.delta() + slowest;
        let begin = self.deactivated? + self.policy.consumer_cache.delta();
        let room = (self.refuse_at()? - begin) / i32::try_from(brownouts.len() + 1).ok()?;
        let at = begin + room * i32::try_from(self.brownouts + 1).ok()?;
        (at + lasts <= self.refuse_at()?).then_some((at, lasts))
    }

    fn how_much(&self, usage: &Usage) -> String {
        let last = usage.last_used.map_or(String::new(), |at| format!(", last by {}", at.format("%F %H:%M UTC")));
        let count = usage.since_deactivated().filter(|count| *count > 0);
        let plural = if count == Some(1) { "" } else { "s" };
        let count =
            count.map_or(String::new(), |count| format!(" for {count} request{plural} since it was deactivated"));
        format!("generation {} is used{count}{last}, says {}", self.generation, usage.source)
    }
}

/// Every so often at first, and after a day less and less often, so that a key that waits long does not fill the ledger.
fn look_after(every: TimeDelta, waited: TimeDelta) -> TimeDelta {
    every.max(waited / 24)
}

/// What the live keys of one credential used in one plan, in the period that today is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanUse {
    /// How long a period is.
    pub period: QuotaPeriod,
    /// For each live key of which something is told: what it used since the period began, and what it has left.
    pub keys: BTreeMap<String, KeyUse>,
    /// Live keys of which nothing is told.
    pub untold: Vec<String>,
}

/// One key's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Requests since the period began.
    pub used: i64,
    /// Requests left.
    pub left: i64,
}

/// After which a quota begins anew, at midnight UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuotaPeriod {
    /// Every day.
    Day,
    /// Every week.
    Week,
    /// On the first of every month.
    Month,
}

impl QuotaPeriod {
    /// The first day of the period that a day is in. The AWS documentation contradicts itself on which day a week
    /// begins: a Sunday counts as a period of its own, so that use is counted too little rather than twice.
    pub fn since(self, day: NaiveDate) -> NaiveDate {
        match self {
            Self::Day => day,
            Self::Week => match day.weekday().num_days_from_monday() {
                6 => day,
                days => day - Days::new(u64::from(days)),
            },
            Self::Month => day - Days::new(u64::from(day.day0())),
        }
    }

    /// How far from midnight UTC a period may really begin: users saw none begin there, and AWS's documents don't say. A
    /// day has no room for that doubt, so of a daily quota midnight is believed.
    fn doubt(self) -> TimeDelta {
        match self {
            Self::Day => TimeDelta::zero(),
            Self::Week | Self::Month => TimeDelta::days(1),
        }
    }

    /// When the period that a moment is in may end.
    fn ends(self, at: Time) -> Time {
        let mut day = at.date_naive();
        while self.since(day) != day || day == at.date_naive() {
            day = day + Days::new(1);
        }
        day.and_time(NaiveTime::MIN).and_utc()
    }
}

/// What was left to all live keys together, as last settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settlement {
    /// The first day of the period.
    pub since: NaiveDate,
    /// What the customer may use in the period.
    pub allowance: i64,
    /// What each key used of it, those that are gone included.
    pub used: BTreeMap<String, i64>,
    /// What is left, and was given to every key.
    pub remaining: i64,
    /// Whether the provider showed that figure when it was read again.
    pub shown: bool,
}

/// What has to be written at the provider: for each plan what is left, and to which keys it is to be given.
pub type Owed = BTreeMap<String, (Settlement, Vec<String>)>;

/// What is left to all live keys together: the allowance less what all of them used. `told_after` is how long figures
/// take to be told; so close to a period's end nothing is written, because it might arrive in the next, and so close to
/// its beginning nothing is, because the figures may be the last one's. Nor within a day of where a week or a month may
/// begin.
///
/// A key of which nothing was told in the period counts as unused, so that what is left can only be too much; nothing is
/// ever raised.
pub fn owed(
    settled: &BTreeMap<String, Settlement>,
    plans: &BTreeMap<String, PlanUse>,
    told_after: TimeDelta,
    now: Time,
) -> Owed {
    let mut owed = Owed::new();
    for (plan, told) in plans {
        let live = told.keys.len() + told.untold.len();
        let edge = told_after.max(told.period.doubt());
        if live < 2 || told.keys.is_empty() || told.period.ends(now) - now <= edge {
            continue;
        }
        let since = told.period.since(now.date_naive());
        if told.period.since((now - edge).date_naive()) != since {
            continue;
        }
        let last = settled.get(plan).filter(|last| last.since == since);
        // Before anything is written in a period, every key has the whole allowance, less what it used itself.
        let whole = told.keys.values().map(|key| key.used + key.left).max().unwrap_or(0);
        let allowance = match last {
            // Somebody gave a key more than it was left with: that is a larger allowance.
            Some(last) => last.allowance + told.keys.iter().map(|(id, key)| given(last, id, *key)).max().unwrap_or(0),
            None => whole,
        };
        // What was told once stays true: of a key that is not told of any more, too.
        let mut used = last.map(|last| last.used.clone()).unwrap_or_default();
        for (id, key) in &told.keys {
            let known = used.entry(id.clone()).or_default();
            *known = key.used.max(*known);
        }
        let remaining = (allowance - used.values().sum::<i64>()).max(0);
        let nothing_new = last.is_some_and(|last| last.shown && last.used == used && last.allowance == allowance);
        // Never raised: whatever a key has less than that, somebody took from it on purpose, or is told too late.
        let mut keys: Vec<String> =
            told.keys.iter().filter(|(_, key)| key.left > remaining).map(|(id, _)| id.clone()).collect();
        if remaining < last.map_or(allowance, |last| last.remaining) {
            keys.extend(told.untold.iter().cloned());
        }
        if !nothing_new && !keys.is_empty() {
            owed.insert(plan.clone(), (Settlement { since, allowance, used, remaining, shown: false }, keys));
        }
    }
    owed
}

/// How much more a key has than it was left with. Only where it has more now: the rest of what its figures differ by may
/// be nothing but late.
fn given(last: &Settlement, id: &str, key: KeyUse) -> i64 {
    match last.used.get(id).filter(|_| last.shown && key.left > last.remaining) {
        Some(used) => (key.left + key.used - used - last.remaining).max(0),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Settlements;

    fn at(raw: &str) -> Time {
        format!("{raw}Z").parse().expect("a moment")
    }

    fn told(used: Option<u64>, last_used: Option<&str>, seen_until: &str) -> Sighting {
        Sighting {
            source: "GetUsage".into(),
            seen_until: at(seen_until),
            told: used.map_or(Told::Nothing, |used| Told::Count(used, last_used.map(at))),
            plans: BTreeMap::new(),
            callers: Vec::new(),
        }
    }

    #[test]
    fn what_did_not_rise_was_not_used_and_what_is_not_told_is_not_zero() {
        let first = told(Some(100), Some("2026-03-03T00:00:00"), "2026-03-02T11:00:00");
        let first = Usage::after(None, &first, 0, at("2026-03-02T12:00:00"));
        assert_eq!((first.since_deactivated(), first.last_used), (Some(0), Some(at("2026-03-03T00:00:00"))));
        let same = told(Some(100), Some("2026-03-03T00:00:00"), "2026-03-04T11:00:00");
        let same = Usage::after(Some(&first), &same, 0, at("2026-03-04T12:00:00"));
        assert_eq!(same.last_used, first.last_used);
        let more = told(Some(103), Some("2026-03-05T09:00:00"), "2026-03-05T08:00:00");
        let by_us = Usage::after(Some(&same), &more, 3, at("2026-03-05T09:00:00"));
        assert_eq!(
            (by_us.since_deactivated(), by_us.last_used),
            (Some(0), first.last_used),
            "our own probes don't count"
        );
        let by_others = Usage::after(Some(&same), &more, 1, at("2026-03-05T09:00:00"));
        assert_eq!((by_others.since_deactivated(), by_others.last_used), (Some(2), Some(at("2026-03-05T09:00:00"))));
        let gone =
            Usage::after(Some(&by_others), &told(None, None, "2026-03-09T08:00:00"), 0, at("2026-03-09T09:00:00"));
        assert_eq!((gone.used, gone.seen_until), (Some(102), at("2026-03-05T08:00:00")), "silence shows nothing");
    }

    #[test]
    fn what_comes_from_two_sources_is_not_compared_and_a_use_without_a_moment_was_just_now() {
        let now = at("2026-03-04T12:00:00");
        let first = told(Some(1000), Some("2026-03-01T00:00:00"), "2026-03-02T11:00:00");
        let first = Usage::after(None, &first, 0, at("2026-03-02T12:00:00"));
        let log = Sighting {
            source: "the access log".into(),
            ..told(Some(3), Some("2026-03-04T10:00:00"), "2026-03-04T11:00:00")
        };
        let log = Usage::after(Some(&first), &log, 0, now);
        assert_eq!((log.used, log.last_used), (Some(3), Some(at("2026-03-04T10:00:00"))), "3 is less, and was use");
        let unknown = Usage::after(Some(&first), &told(Some(1001), None, "2026-03-04T11:00:00"), 0, now);
        assert_eq!(unknown.last_used, Some(now));
        let silent = Usage::after(Some(&log), &told(None, None, "2026-03-05T11:00:00"), 0, at("2026-03-05T12:00:00"));
        assert_eq!((silent.source.as_str(), silent.silent), ("the access log", true), "it tells who told it");
        let again = Usage::after(Some(&silent), &told(Some(5), None, "2026-03-06T11:00:00"), 0, now);
        assert!(again.told && !again.silent);
    }

    fn plan(period: QuotaPeriod, keys: &[(&str, i64, i64)], untold: &[&str]) -> BTreeMap<String, PlanUse> {
        let keys =
            keys.iter().map(|(id, used, left)| ((*id).to_owned(), KeyUse { used: *used, left: *left })).collect();
        let untold = untold.iter().map(|id| (*id).to_owned()).collect();
        BTreeMap::from([("p1".to_owned(), PlanUse { period, keys, untold })])
    }

    const HOUR: TimeDelta = TimeDelta::hours(1);

    #[test]
    fn all_live_keys_share_one_allowance() {
        let now = at("2026-03-10T12:00:00");
        // Ten were used before the rotation; then both keys are.
        let told = plan(QuotaPeriod::Month, &[("old", 30, 70), ("new", 20, 70)], &[]);
        let owed = owed(&BTreeMap::new(), &told, HOUR, now);
        let (settlement, keys) = &owed["p1"];
        assert_eq!((settlement.allowance, settlement.remaining), (100, 50));
        assert_eq!(keys, &["new", "old"]);
    }

    #[test]
    fn settling_the_same_figures_again_changes_nothing() {
        let now = at("2026-03-10T12:00:00");
        let first = owed(&BTreeMap::new(), &plan(QuotaPeriod::Day, &[("a", 30, 70), ("b", 20, 70)], &[]), HOUR, now);
        let mut settled = first["p1"].0.clone();
        settled.shown = true;
        let settled = BTreeMap::from([("p1".to_owned(), settled)]);
        // The provider still tells the figures from before.
        assert!(owed(&settled, &plan(QuotaPeriod::Day, &[("a", 30, 50), ("b", 20, 50)], &[]), HOUR, now).is_empty());
        let later = owed(&settled, &plan(QuotaPeriod::Day, &[("a", 31, 49), ("b", 20, 50)], &[]), HOUR, now);
        assert_eq!(later["p1"].0.remaining, 49);
        let given = owed(&settled, &plan(QuotaPeriod::Day, &[("a", 30, 550), ("b", 25, 45)], &[]), HOUR, now);
        let (settlement, keys) = &given["p1"];
        assert_eq!((settlement.allowance, settlement.remaining), (600, 545), "an operator gave more");
        assert_eq!(keys, &["a"], "and nothing is raised");
    }

    #[test]
    fn missing_figures_lower_nothing_and_a_period_is_not_left() {
        let now = at("2026-03-10T12:00:00");
        assert!(owed(&BTreeMap::new(), &plan(QuotaPeriod::Day, &[], &["a", "b"]), HOUR, now).is_empty());
        assert!(owed(&BTreeMap::new(), &plan(QuotaPeriod::Day, &[("a", 0, 100)], &["b"]), HOUR, now).is_empty());
        let one_untold = owed(&BTreeMap::new(), &plan(QuotaPeriod::Day, &[("a", 10, 90)], &["b"]), HOUR, now);
        assert_eq!(one_untold["p1"].1, ["b"], "what is known is settled");
        let late = at("2026-03-10T23:30:00");
        assert!(
            owed(&BTreeMap::new(), &plan(QuotaPeriod::Day, &[("a", 9, 91), ("b", 9, 91)], &[]), HOUR, late).is_empty()
        );
        let month = plan(QuotaPeriod::Month, &[("a", 9, 91), ("b", 9, 91)], &[]);
        assert!(!owed(&BTreeMap::new(), &month, HOUR, late).is_empty(), "the month goes on");
        let settled = owed(&BTreeMap::new(), &month, HOUR, late)["p1"].0.clone();
        let fresh = plan(QuotaPeriod::Month, &[("a", 1, 99), ("b", 1, 99)], &[]);
        for edge in ["2026-03-31T02:00:00", "2026-04-01T02:00:00"] {
            assert!(owed(&BTreeMap::new(), &fresh, HOUR, at(edge)).is_empty(), "{edge}: which month is it?");
        }
        let next = at("2026-04-02T02:00:00");
        let fresh = owed(&BTreeMap::from([("p1".to_owned(), settled)]), &fresh, HOUR, next);
        assert_eq!((fresh["p1"].0.allowance, fresh["p1"].0.remaining), (100, 98));
    }

    #[test]
    fn a_key_that_is_not_told_of_any_more_is_given_nothing_back() {
        let now = at("2026-03-10T12:00:00");
        let settle = |settled: &Settlements, told: &BTreeMap<String, PlanUse>, now| {
            owed(settled, told, HOUR, now).remove("p1").map(|(settlement, keys)| {
                let settlement = Settlement { shown: true, ..settlement };
                ((settlement.allowance, settlement.remaining), keys, Settlements::from([("p1".into(), settlement)]))
            })
        };
        let both = plan(QuotaPeriod::Day, &[("a", 30, 70), ("b", 60, 40)], &[]);
        let (figures, _, settled) = settle(&BTreeMap::new(), &both, now).expect("owed");
        assert_eq!(figures, (100, 10));
        let one = plan(QuotaPeriod::Day, &[("a", 31, 9)], &["b"]);
        let (figures, keys, _) = settle(&settled, &one, now).unwrap_or(((0, 0), Vec::new(), BTreeMap::new()));
        assert_eq!((figures, keys), ((100, 9), vec!["b".to_owned()]), "what it used once, it used");
        // Figures that are late are no gift.
        let late = plan(QuotaPeriod::Day, &[("a", 50, 5), ("b", 75, 2)], &[]);
        assert_eq!(settle(&settled, &late, now).map(|(figures, ..)| figures), Some((100, 0)));
        // What is told just after midnight may be of the day before.
        assert_eq!(settle(&BTreeMap::new(), &both, at("2026-03-11T00:30:00")), None);
        assert!(settle(&BTreeMap::new(), &both, at("2026-03-11T01:30:00")).is_some());
    }

    #[test]
    fn a_week_begins_on_either_day() {
        let day = |raw: &str| raw.parse::<NaiveDate>().expect("a day");
        // A Sunday, and the Monday after it.
        assert_eq!(QuotaPeriod::Week.since(day("2026-03-08")), day("2026-03-08"));
        assert_eq!(QuotaPeriod::Week.since(day("2026-03-09")), day("2026-03-09"));
        assert_eq!(QuotaPeriod::Week.since(day("2026-03-14")), day("2026-03-09"));
        assert_eq!(QuotaPeriod::Month.ends(at("2026-03-31T22:00:00")), at("2026-04-01T00:00:00"));
        assert_eq!(QuotaPeriod::Week.ends(at("2026-03-13T22:00:00")), at("2026-03-15T00:00:00"));
    }
}
