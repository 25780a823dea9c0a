//! ISO 8601 durations without months and years, which have no fixed length.

use std::fmt;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

/// A length of time, in whole seconds, never negative. Written as ISO 8601: `P7D`, `PT1H`, `P1DT12H`, `P2W`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(u64);

/// Why a duration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPeriod {
    /// Months and years have no fixed length.
    #[error("{0:?} has months or years, which have no fixed length: write days, for instance P90D")]
    NotFixed(String),
    /// Not an ISO 8601 duration.
    #[error("{0:?} is not an ISO 8601 duration: write for instance P7D, PT1H or P1DT12H")]
    Malformed(String),
    /// Longer than any key should live.
    #[error("{0:?} is longer than ten years")]
    TooLong(String),
}

impl Period {
    const LIMIT: u64 = 3653 * 86_400;

    /// Whole days.
    pub const fn days(days: u64) -> Self {
        Self(days * 86_400)
    }

    /// Whole hours.
    pub const fn hours(hours: u64) -> Self {
        Self(hours * 3_600)
    }

    /// Whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// The length in seconds.
    pub const fn as_seconds(self) -> u64 {
        self.0
    }

    /// For adding to a time.
    pub fn delta(self) -> TimeDelta {
        TimeDelta::seconds(i64::try_from(self.0.min(Self::LIMIT)).unwrap_or(i64::MAX / 1_000))
    }

    /// Reads an ISO 8601 duration.
    ///
    /// ```
    /// # use state::period::Period;
    /// assert_eq!(Period::parse("P1DT12H").unwrap(), Period::hours(36));
    /// assert!(Period::parse("P1M").is_err());
    /// ```
    pub fn parse(raw: &str) -> Result<Self, BadPeriod> {
        let shown = || raw.chars().take(32).collect::<String>();
        let malformed = || BadPeriod::Malformed(shown());
        let rest = raw.strip_prefix('P').ok_or_else(malformed)?;
        let (date, time) = match rest.split_once('T') {
            Some((_, "")) => return Err(malformed()),
            Some((date, time)) => (date, time),
            None => (rest, ""),
        };
        if rest.is_empty() {
            return Err(malformed());
        }
        if date.contains(['M', 'Y']) {
            return Err(BadPeriod::NotFixed(shown()));
        }
        let mut seconds = 0_u64;
        for (part, units) in
            [(date, &[('W', 604_800), ('D', 86_400)][..]), (time, &[('H', 3_600), ('M', 60), ('S', 1)][..])]
        {
            let mut left = units;
            let mut digits = String::new();
            for c in part.chars() {
                if c.is_ascii_digit() {
                    digits.push(c);
                    continue;
                }
                let at = left.iter().position(|(unit, _)| *unit == c).ok_or_else(malformed)?;
                let count: u64 = digits.parse().map_err(|_| malformed())?;
                seconds = count
                    .checked_mul(left[at].1)
                    .and_then(|more| seconds.checked_add(more))
                    .ok_or_else(|| BadPeriod::TooLong(shown()))?;
                left = &left[at + 1..];
                digits.clear();
            }
            if !digits.is_empty() {
                return Err(malformed());
            }
        }
        if seconds > Self::LIMIT { Err(BadPeriod::TooLong(shown())) } else { Ok(Self(seconds)) }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.0 / 86_400, self.0 % 86_400);
        if self.0 == 0 {
            return f.write_str("PT0S");
        }
        f.write_str("P")?;
        if days > 0 {
            write!(f, "{days}D")?;
        }
        if rest > 0 {
            f.write_str("T")?;
            for (size, unit) in [(3_600, 'H'), (60, 'M'), (1, 'S')] {
                let count = if unit == 'H' { rest / size } else { rest / size % 60 };
                if count > 0 {
                    write!(f, "{count}{unit}")?;
                }
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Period {
    type Error = BadPeriod;
    fn try_from(raw: String) -> Result<Self, BadPeriod> {
        Self::parse(&raw)
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back() {
        for raw in ["PT0S", "P7D", "PT1H", "P1DT12H", "PT90S", "P2W", "PT1M30S"] {
            let period = Period::parse(raw).unwrap();
            assert_eq!(Period::parse(&period.to_string()).unwrap(), period, "{raw}");
        }
        assert_eq!(Period::parse("PT90S").unwrap().to_string(), "PT1M30S");
    }

    #[test]
    fn months_and_years_are_refused_by_name() {
        assert!(matches!(Period::parse("P1M"), Err(BadPeriod::NotFixed(_))));
        assert!(matches!(Period::parse("P1Y"), Err(BadPeriod::NotFixed(_))));
        assert_eq!(Period::parse("PT1M").unwrap(), Period::seconds(60));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in
            ["", "P", "PT", "7D", "P7", "P-1D", "P1D2W", "PT1H1H", "P1.5D", "p7d", "P99999999999999999999D", "P9999W"]
        {
            assert!(Period::parse(bad).is_err(), "{bad}");
        }
    }
}
