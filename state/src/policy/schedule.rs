//! How often it rotates, and whether the wishes can keep up.

use chrono::{DurationRound, TimeDelta};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Time;
use crate::name::CredentialName;
use crate::period::Period;

use super::{BadPolicy, MOST_PUBLISHED, Otherwise, Policy};

/// How long retirement may take to make the next standby. It runs every minute; this is for a bad day.
const MINTING: Period = Period::hours(1);

/// When Secrets Manager rotates by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// `cron(..)` or `rate(..)`, in UTC.
    pub expression: Option<String>,
    /// The older form: days between two rotations.
    pub after_days: Option<u32>,
}

/// When credentials that are taken under management will rotate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timetable {
    /// Only when somebody asks.
    OnDemand,
    /// All of them at the same times: `cron(..)` or `rate(..)`.
    Together(String),
    /// Each once a month, on a day and at an hour of its own, which follow from its name. Where many rotate at one moment,
    /// all wait for API Gateway's ten calls a second.
    Spread,
}

impl Timetable {
    /// One credential's schedule.
    pub fn of(&self, name: &CredentialName) -> Schedule {
        let expression = match self {
            Self::OnDemand => None,
            Self::Together(expression) => Some(expression.clone()),
            Self::Spread => {
                let drawn = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_str().as_bytes()).as_u128();
                // Every month has 28 days.
                let (day, hour) = (drawn % 28 + 1, drawn / 28 % 24);
                Some(format!("cron(0 {hour} {day} * ? *)"))
            }
        };
        Schedule { expression, after_days: None }
    }
}

/// A schedule that could be read.
enum Rhythm {
    /// As long after the rotation before.
    Every(Period),
    /// At these times.
    At(Box<croner::Cron>),
}

impl Schedule {
    /// The shortest and the longest time between two rotations; `None` without a schedule.
    ///
    /// A cron expression is followed for its next hundred firings after `now`.
    pub fn gaps(&self, now: Time) -> Result<Option<(Period, Period)>, BadPolicy> {
        let cron = match self.rhythm()? {
            None => return Ok(None),
            Some(Rhythm::Every(every)) => return Ok(Some((every, every))),
            Some(Rhythm::At(cron)) => cron,
        };
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

    /// When the window of the first rotation opens, if the schedule is configured now; `None` without a schedule. The window
    /// of a rate in days opens with its day, UTC.
    pub fn first(&self, now: Time) -> Result<Option<Time>, BadPolicy> {
        Ok(match self.rhythm()? {
            None => None,
            Some(Rhythm::At(cron)) => cron.iter_after(now).next(),
            Some(Rhythm::Every(every)) => {
                let at = now + every.delta();
                let days = every.as_seconds() % 86_400 == 0;
                at.duration_trunc(if days { TimeDelta::days(1) } else { TimeDelta::hours(1) }).ok()
            }
        })
    }

    /// When the window opened in which Secrets Manager rotates now; `None` while none is open, and of a schedule that can't
    /// be read. A rate counts from one of these moments. A window ends with its day, UTC; that of a rate in hours after an
    /// hour (Secrets Manager API Reference, `RotationRulesType`).
    pub fn open_since(&self, counted_from: &[Time], now: Time) -> Option<Time> {
        let day = TimeDelta::days(1);
        match self.rhythm().ok()?? {
            Rhythm::At(cron) => {
                let before_today = now.duration_trunc(day).ok()? - TimeDelta::seconds(1);
                cron.iter_after(before_today).take_while(|at| *at <= now).last()
            }
            Rhythm::Every(every) => {
                let unit = if every.as_seconds() % 86_400 == 0 { day } else { TimeDelta::hours(1) };
                let opened = now.duration_trunc(unit).ok()?;
                let every = i64::try_from(every.as_seconds()).ok().filter(|every| *every > 0)?;
                let is_due = |from: &Time| {
                    let passed = from.duration_trunc(unit).map_or(0, |from| (opened - from).num_seconds());
                    passed > 0 && passed % every == 0
                };
                counted_from.iter().any(is_due).then_some(opened)
            }
        }
    }

    fn rhythm(&self) -> Result<Option<Rhythm>, BadPolicy> {
        let Some(expression) = &self.expression else {
            return Ok(self.after_days.map(|days| Rhythm::Every(Period::days(days.into()))));
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
            return Ok(Some(Rhythm::Every(every)));
        }
        let fields = inside("cron").ok_or_else(bad)?;
        let cron = croner::parser::CronParser::builder()
            .seconds(croner::parser::Seconds::Required)
            .year(croner::parser::Year::Required)
            .alternative_weekdays(true)
            .build()
            .parse(&format!("0 {fields}"))
            .map_err(|_| bad())?;
        Ok(Some(Rhythm::At(Box::new(cron))))
    }
}

/// What is ahead of the key that is current when rotation is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// When it is replaced.
    pub rotates: Time,
    /// From when on it is refused, or signs nothing any more, if nobody uses it.
    pub refused_from: Time,
    /// When it is so at the latest; `None`: never while it is used, but by a person's word.
    pub refused_by: Option<Time>,
}

impl Policy {
    /// What is ahead of today's key; `None` if nothing rotates it by itself.
    pub fn outlook(&self, schedule: &Schedule, now: Time) -> Result<Option<Outlook>, BadPolicy> {
        let Some(rotates) = schedule.first(now)? else { return Ok(None) };
        let refused_from = rotates + self.accepted_for().delta();
        let refused_by = match self.watch.as_ref().filter(|_| self.is_gated()) {
            None => Some(refused_from),
            Some(watch) => match watch.at_ceiling {
                Otherwise::Suspend => Some(refused_from + watch.ceiling.delta()),
                Otherwise::Hold => None,
            },
        };
        Ok(Some(Outlook { rotates, refused_from, refused_by }))
    }

    /// Checks the wishes against the secret's rotation schedule, as `DescribeSecret` gives it.
    pub fn check_schedule(&self, schedule: &Schedule, now: Time) -> Result<(), BadPolicy> {
        let Some((least, most)) = schedule.gaps(now)? else { return Ok(()) };
        let every = least.as_seconds().max(1);
        let standbys = self.publication.as_ref().map_or(0, |publication| publication.standbys);
        if let Some(publication) = &self.publication {
            let ahead = Period::seconds(every * u64::from(standbys));
            if ahead.as_seconds() < publication.lead.as_seconds() + MINTING.as_seconds() {
                return Err(BadPolicy::FasterThanLead { every: least, standbys, ahead, lead: publication.lead });
            }
            let published = 1 + u64::from(standbys) + self.overlap.as_seconds().div_ceil(every);
            if published > MOST_PUBLISHED as u64 {
                return Err(BadPolicy::PublishesTooMany { every: least, overlap: self.overlap, standbys, published });
            }
        }
        let lives = self.overlap.as_seconds() + self.soak.as_seconds();
        let live = 1 + u64::from(standbys) + lives.div_ceil(every);
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
