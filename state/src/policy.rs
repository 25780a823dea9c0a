//! The owner's wishes, read from the secret's tags and checked against one another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::period::{BadPeriod, Period};

/// The prefix of every tag that is a wish.
pub const PREFIX: &str = "rotator:";

/// The wishes that every kind knows, without their prefix.
pub const COMMON_TAGS: [&str; 7] =
    ["kind", "overlap", "soak", "consumer-cache", "idle-before-suspend", "max-age", "max-live"];

/// The wishes in force for one version: frozen into its record when it is created, so that a later edit never
/// re-ages a live key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The credential's kind.
    pub kind: String,
    /// How long a deactivated version is still accepted. At least as long as a consumer may cache the old value.
    pub overlap: Period,
    /// How long a suspended version can still be brought back. Must outlast the time in which somebody notices.
    pub soak: Period,
    /// How long a consumer may go on with a value it has read. AWS's caching libraries: one hour.
    pub consumer_cache: Period,
    /// How long a key must not have been used before it is suspended. Must fit into the overlap.
    pub idle_before_suspend: Period,
    /// How old a key may get before it is refused, the overlap included.
    pub max_age: Period,
    /// How many versions that are not destroyed a credential may have.
    pub max_live: u32,
    /// The wishes of the kind, without their prefix, as written.
    pub wishes: BTreeMap<String, String>,
}

/// Why wishes were refused. Each names the tag and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    /// No kind at all.
    #[error("the secret has no tag rotator:kind: tag it, or take the key under management with `rotator adopt`")]
    NoKind,
    /// A kind that nobody implements.
    #[error("rotator:kind = {found:?} is not a known kind: write one of {known}")]
    UnknownKind {
        /// As written.
        found: String,
        /// What there is.
        known: String,
    },
    /// A tag of ours that means nothing.
    #[error("rotator:{found} is not a known tag{}: correct or remove it", nearest.as_ref().map(|near| format!(", did you mean rotator:{near}?")).unwrap_or_default())]
    UnknownTag {
        /// As written.
        found: String,
        /// The nearest known one, if any is near.
        nearest: Option<String>,
    },
    /// Not a duration.
    #[error("rotator:{tag} is not usable")]
    Duration {
        /// The tag.
        tag: &'static str,
        /// Why.
        source: BadPeriod,
    },
    /// Not a number in range.
    #[error("rotator:{tag} = {found:?} is not usable: write a whole number from {from} to {to}")]
    Number {
        /// The tag.
        tag: &'static str,
        /// As written.
        found: String,
        /// The least allowed.
        from: u32,
        /// The most allowed.
        to: u32,
    },
    /// A period is too short.
    #[error(
        "rotator:{short} = {is} is shorter than rotator:{long} = {than}: {why}; raise the first or lower the second"
    )]
    TooShort {
        /// The tag that is too short.
        short: &'static str,
        /// Its value.
        is: Period,
        /// What it must outlast.
        long: &'static str,
        /// That one's value.
        than: Period,
        /// What would go wrong.
        why: &'static str,
    },
    /// No soak.
    #[error("rotator:soak = PT0S leaves no time in which a suspended key can be brought back: write for instance P7D")]
    NoSoak,
    /// A schedule that piles versions up.
    #[error(
        "a rotation every {every} with rotator:overlap = {overlap} and rotator:soak = {soak} keeps {live} versions alive, \
         more than rotator:max-live = {max}: rotate less often, shorten the overlap or the soak, or raise rotator:max-live"
    )]
    PilesUp {
        /// The shortest time between two rotations.
        every: Period,
        /// The overlap.
        overlap: Period,
        /// The soak.
        soak: Period,
        /// How many would be alive.
        live: u64,
        /// How many may be.
        max: u32,
    },
    /// A schedule that lets keys grow older than the owner wants.
    #[error(
        "a rotation every {every} with rotator:overlap = {overlap} lets a key live for {sum}, longer than rotator:max-age = {max}: rotate more often"
    )]
    TooOld {
        /// The longest time between two rotations.
        every: Period,
        /// The overlap.
        overlap: Period,
        /// Their sum.
        sum: Period,
        /// The owner's limit.
        max: Period,
    },
    /// A schedule that can't be read.
    #[error("the rotation schedule {0:?} can't be read: write cron(0 H D M W Y) or rate(N hours|days)")]
    Schedule(String),
}

impl Policy {
    /// Reads the wishes from a secret's tags and checks them against one another. Tags of others are ignored.
    ///
    /// `kinds` lists every kind with the tags that it alone knows.
    pub fn from_tags(tags: &BTreeMap<String, String>, kinds: &[(&str, &[&str])]) -> Result<Self, BadPolicy> {
        let ours: BTreeMap<&str, &str> =
            tags.iter().filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.trim()))).collect();
        let kind = *ours.get("kind").ok_or(BadPolicy::NoKind)?;
        let Some((_, own)) = kinds.iter().find(|(name, _)| *name == kind) else {
            let known = kinds.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            return Err(BadPolicy::UnknownKind { found: kind.to_owned(), known });
        };
        if let Some(found) = ours.keys().find(|tag| !COMMON_TAGS.contains(tag) && !own.contains(tag)) {
            let nearest = COMMON_TAGS
                .iter()
                .chain(*own)
                .map(|known| (strsim::damerau_levenshtein(known, found), *known))
                .min()
                .filter(|(distance, known)| *distance <= known.len() / 2)
                .map(|(_, known)| known.to_owned());
            return Err(BadPolicy::UnknownTag { found: (*found).to_owned(), nearest });
        }
        let period = |tag: &'static str, default: Period| match ours.get(tag) {
            Some(raw) => Period::parse(raw).map_err(|source| BadPolicy::Duration { tag, source }),
            None => Ok(default),
        };
        let max_live = match ours.get("max-live") {
            Some(raw) => raw.parse().ok().filter(|n| (2..=16).contains(n)).ok_or_else(|| BadPolicy::Number {
                tag: "max-live",
                found: (*raw).to_owned(),
                from: 2,
                to: 16,
            })?,
            None => 4,
        };
        let overlap = period("overlap", Period::days(7))?;
        let policy = Self {
            kind: kind.to_owned(),
            overlap,
            soak: period("soak", Period::days(7))?,
            consumer_cache: period("consumer-cache", Period::hours(1))?,
            // A default must never contradict a short overlap that the owner chose.
            idle_before_suspend: period("idle-before-suspend", Period::days(2).min(overlap))?,
            max_age: period("max-age", Period::days(366).max(overlap))?,
            max_live,
            wishes: ours
                .iter()
                .filter(|(tag, _)| own.contains(tag))
                .map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned()))
                .collect(),
        };
        policy.check()?;
        Ok(policy)
    }

    fn check(&self) -> Result<(), BadPolicy> {
        if self.soak == Period::seconds(0) {
            return Err(BadPolicy::NoSoak);
        }
        let pairs = [
            (
                "overlap",
                self.overlap,
                "consumer-cache",
                self.consumer_cache,
                "a consumer would go on with a key that is already refused",
            ),
            (
                "overlap",
                self.overlap,
                "idle-before-suspend",
                self.idle_before_suspend,
                "the key could never be idle for long enough",
            ),
            ("max-age", self.max_age, "overlap", self.overlap, "every key would be too old before its overlap is over"),
        ];
        for (short, is, long, than, why) in pairs {
            if is < than {
                return Err(BadPolicy::TooShort { short, is, long, than, why });
            }
        }
        Ok(())
    }

    /// Checks the wishes against the secret's rotation schedule, as `DescribeSecret` gives it.
    pub fn check_schedule(&self, schedule: &Schedule, now: Time) -> Result<(), BadPolicy> {
        let Some((least, most)) = schedule.gaps(now)? else { return Ok(()) };
        let lives = self.overlap.as_seconds() + self.soak.as_seconds();
        let live = 1 + lives.div_ceil(least.as_seconds().max(1));
        if live > u64::from(self.max_live) {
            return Err(BadPolicy::PilesUp {
                every: least,
                overlap: self.overlap,
                soak: self.soak,
                live,
                max: self.max_live,
            });
        }
        let sum = Period::seconds(most.as_seconds() + self.overlap.as_seconds());
        if sum > self.max_age {
            return Err(BadPolicy::TooOld { every: most, overlap: self.overlap, sum, max: self.max_age });
        }
        Ok(())
    }
}

/// When Secrets Manager rotates by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// `cron(..)` or `rate(..)`, in UTC.
    pub expression: Option<String>,
    /// The older form: days between two rotations.
    pub after_days: Option<u32>,
}

impl Schedule {
    /// The shortest and the longest time between two rotations; `None` without a schedule.
    ///
    /// A cron expression is followed for its next hundred firings after `now`.
    pub fn gaps(&self, now: Time) -> Result<Option<(Period, Period)>, BadPolicy> {
        let Some(expression) = &self.expression else {
            return Ok(self.after_days.map(|days| (Period::days(days.into()), Period::days(days.into()))));
        };
        let bad = || BadPolicy::Schedule(expression.chars().take(64).collect());
        let inside = |name: &str| expression.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        if let Some(rate) = inside("rate") {
            let (count, unit) = rate.trim().split_once(' ').ok_or_else(bad)?;
            let count: u64 = count.parse().map_err(|_| bad())?;
            let every = match unit.trim() {
                "hour" | "hours" => Period::hours(count),
                "day" | "days" => Period::days(count),
                _ => return Err(bad()),
            };
            return Ok(Some((every, every)));
        }
        let fields = inside("cron").ok_or_else(bad)?;
        let cron = croner::parser::CronParser::builder()
            .seconds(croner::parser::Seconds::Required)
            .year(croner::parser::Year::Required)
            .alternative_weekdays(true)
            .build()
            .parse(&format!("0 {fields}"))
            .map_err(|_| bad())?;
        let mut last: Option<Time> = None;
        let mut gaps: Option<(i64, i64)> = None;
        for at in cron.iter_after(now).take(100) {
            if let Some(before) = last {
                let gap = (at - before).num_seconds();
                gaps = Some(gaps.map_or((gap, gap), |(least, most)| (least.min(gap), most.max(gap))));
            }
            last = Some(at);
        }
        let as_period = |seconds: i64| Period::seconds(seconds.unsigned_abs());
        Ok(gaps.map(|(least, most)| (as_period(least), as_period(most))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: &[(&str, &[&str])] = &[("api-gateway-key", &["usage-plans", "probe"])];

    fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut tags: BTreeMap<String, String> =
            pairs.iter().map(|(k, v)| (format!("rotator:{k}"), (*v).to_owned())).collect();
        tags.entry("rotator:kind".into()).or_insert("api-gateway-key".into());
        tags.insert("team".into(), "somebody else's".into());
        tags
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        Policy::from_tags(&tags(pairs), KINDS).unwrap_err().to_string()
    }

    fn at() -> Time {
        Time::from_timestamp(1_800_000_000, 0).unwrap()
    }

    #[test]
    fn defaults_agree_with_one_another() {
        let policy = Policy::from_tags(&tags(&[]), KINDS).unwrap();
        assert_eq!((policy.overlap, policy.soak, policy.max_live), (Period::days(7), Period::days(7), 4));
        assert!(Policy::from_tags(&tags(&[("overlap", "PT2H")]), KINDS).is_ok(), "a short overlap needs no other tag");
    }

    #[test]
    fn contradictions_name_both_tags_and_the_remedy() {
        let said = refusal(&[("overlap", "PT30M")]);
        assert!(said.contains("rotator:overlap = PT30M is shorter than rotator:consumer-cache = PT1H"), "{said}");
        assert!(refusal(&[("soak", "PT0S")]).contains("rotator:soak"));
        assert!(refusal(&[("max-age", "P1D")]).contains("rotator:max-age = P1D is shorter than rotator:overlap = P7D"));
        assert!(refusal(&[("max-live", "1")]).contains("from 2 to 16"));
        assert!(refusal(&[("overlap", "P1D"), ("idle-before-suspend", "P2D")]).contains("idle-before-suspend"));
    }

    #[test]
    fn an_unknown_tag_is_refused_with_the_nearest_known_name() {
        assert!(refusal(&[("ovrelap", "P7D")]).contains("did you mean rotator:overlap?"));
        assert!(refusal(&[("usage-plan", "p1")]).contains("did you mean rotator:usage-plans?"));
        let said = refusal(&[("zzzzzzzzzzzzzzz", "1")]);
        assert!(said.contains("rotator:zzzzzzzzzzzzzzz is not a known tag: correct"), "{said}");
    }

    #[test]
    fn an_unknown_kind_is_refused_with_the_known_ones() {
        assert!(refusal(&[("kind", "api-key")]).contains("api-gateway-key"));
        assert_eq!(Policy::from_tags(&BTreeMap::new(), KINDS), Err(BadPolicy::NoKind));
    }

    #[test]
    fn months_in_a_tag_are_refused() {
        let error = Policy::from_tags(&tags(&[("overlap", "P1M")]), KINDS).unwrap_err();
        assert!(matches!(error, BadPolicy::Duration { tag: "overlap", source: BadPeriod::NotFixed(_) }));
    }

    #[test]
    fn a_schedule_that_piles_versions_up_is_refused() {
        let policy = Policy::from_tags(&tags(&[]), KINDS).unwrap();
        let every = |expression: &str| Schedule { expression: Some(expression.into()), after_days: None };
        assert!(policy.check_schedule(&every("rate(30 days)"), at()).is_ok());
        assert!(policy.check_schedule(&every("cron(0 8 1 * ? *)"), at()).is_ok());
        assert!(matches!(policy.check_schedule(&every("rate(1 day)"), at()), Err(BadPolicy::PilesUp { live: 15, .. })));
        assert!(matches!(
            policy.check_schedule(&every("cron(0 8 ? * MON-FRI *)"), at()),
            Err(BadPolicy::PilesUp { .. })
        ));
        assert!(matches!(policy.check_schedule(&every("rate(400 days)"), at()), Err(BadPolicy::TooOld { .. })));
        assert!(matches!(policy.check_schedule(&every("every day"), at()), Err(BadPolicy::Schedule(_))));
    }
}
