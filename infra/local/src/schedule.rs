//! Rotation schedules: `rate()`, `cron()` and `AutomaticallyAfterDays`.
//!
//! Secrets Manager's rules: UTC, minute 0, at least four hours apart, and a rotation fires anywhere
//! inside the window; here it fires when the window opens.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// The shortest time between two scheduled rotations, in hours.
const SHORTEST_HOURS: i64 = 4;
/// How many gaps of a cron expression are measured before it is believed.
const GAPS_CHECKED: usize = 64;

/// When a secret rotates.
#[derive(Clone, Debug)]
pub(crate) enum Schedule {
    /// `AutomaticallyAfterDays` and `rate(N days)`: the window opens with that day.
    EveryDays(i64),
    /// `rate(N hours)`: the window opens with that hour.
    EveryHours(i64),
    /// `cron(0 HOURS DAY MONTH WEEKDAY YEAR)`.
    Cron(Box<Cron>),
}

impl Schedule {
    /// Reads a `ScheduleExpression`. `Err` is a message for people.
    pub(crate) fn parse(expression: &str, now: DateTime<Utc>) -> Result<Self, String> {
        if let Some(rate) = inside(expression, "rate(") {
            return parse_rate(rate);
        }
        if let Some(cron) = inside(expression, "cron(") {
            return parse_cron(cron, now);
        }
        Err("The schedule expression is neither rate() nor cron().".into())
    }

    /// When the first window after `last` opens. `None` if none ever does.
    pub(crate) fn next_after(&self, last: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::EveryDays(days) => truncated(last + TimeDelta::days(*days), TimeDelta::days(1)),
            Self::EveryHours(hours) => truncated(last + TimeDelta::hours(*hours), TimeDelta::hours(1)),
            Self::Cron(cron) => cron.find_next_occurrence(&last, false).ok(),
        }
    }

    /// How long a window stays open where the rules do not say: an hour for a schedule in hours,
    /// otherwise until the day is over.
    pub(crate) fn window(&self, opens: DateTime<Utc>) -> TimeDelta {
        match self {
            Self::EveryHours(_) => TimeDelta::hours(1),
            Self::EveryDays(_) | Self::Cron(_) => truncated(opens, TimeDelta::days(1))
                .map_or(TimeDelta::hours(1), |midnight| midnight + TimeDelta::days(1) - opens),
        }
    }
}

/// A window's `Duration`, for instance `3h`. `Err` is a message for people.
pub(crate) fn parse_window(duration: &str) -> Result<TimeDelta, String> {
    duration
        .strip_suffix('h')
        .and_then(|hours| hours.parse().ok())
        .filter(|hours| (1..=24).contains(hours))
        .map(TimeDelta::hours)
        .ok_or_else(|| "Duration is a number of hours from 1h to 24h.".into())
}

fn inside<'a>(expression: &'a str, opening: &str) -> Option<&'a str> {
    expression.strip_prefix(opening)?.strip_suffix(')')
}

fn parse_rate(rate: &str) -> Result<Schedule, String> {
    let (count, unit) = rate.split_once(' ').ok_or("rate() takes a number and a unit.")?;
    let count: i64 = count.parse().map_err(|_| "rate() takes a whole number.")?;
    match unit {
        "hour" | "hours" if (SHORTEST_HOURS..=999 * 24).contains(&count) => Ok(Schedule::EveryHours(count)),
        "hour" | "hours" => Err("Rotations are at least 4 hours and at most 999 days apart.".into()),
        "day" | "days" if (1..=999).contains(&count) => Ok(Schedule::EveryDays(count)),
        "day" | "days" => Err("rate() in days takes 1 to 999.".into()),
        _ => Err("rate() takes hours or days.".into()),
    }
}

/// AWS's six fields, in its dialect: minute 0, `?` in one of the two day fields, weekdays from 1
/// (Sunday), `/N` for `*/N`.
fn parse_cron(cron: &str, now: DateTime<Utc>) -> Result<Schedule, String> {
    let fields: Vec<String> = cron
        .split_whitespace()
        .map(|field| if field.starts_with('/') { format!("*{field}") } else { field.to_owned() })
        .collect();
    let [minute, _, day, _, weekday, _] = fields.as_slice() else {
        return Err("cron() takes six fields.".into());
    };
    if minute != "0" {
        return Err("A rotation schedule's minute is 0.".into());
    }
    if (day == "?") == (weekday == "?") {
        return Err("One of cron()'s day-of-month and day-of-week is ?, the other is not.".into());
    }
    let parsed = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .alternative_weekdays(true)
        .dom_and_dow(true)
        .build()
        .parse(&format!("0 {}", fields.join(" ")))
        .map_err(|error| format!("Not a cron() expression: {error}"))?;
    let fires: Vec<_> = parsed.iter_after(now).take(GAPS_CHECKED).collect();
    if fires.is_empty() {
        return Err("The schedule never fires.".into());
    }
    if fires.windows(2).any(|pair| pair[1] - pair[0] < TimeDelta::hours(SHORTEST_HOURS)) {
        return Err("Rotations are at least 4 hours apart.".into());
    }
    Ok(Schedule::Cron(Box::new(parsed)))
}

fn truncated(at: DateTime<Utc>, to: TimeDelta) -> Option<DateTime<Utc>> {
    at.duration_trunc(to).ok()
}
