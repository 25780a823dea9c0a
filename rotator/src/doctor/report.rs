//! Lines, each with how it is and what mends it.

use serde::Serialize;

use crate::failure::{CallFailed, chain};

/// What a line is about, in the order in which a person would set things right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// Who asks, and where.
    Identity,
    /// The table of the records.
    Table,
    /// The functions' own settings.
    Function,
    /// What the functions' roles and the person may do.
    Permissions,
    /// Whether retirement runs.
    Retirement,
    /// What the account has left.
    Quota,
    /// Whether leaked values can be found.
    Fingerprints,
    /// The secret itself.
    Secret,
    /// The owner's wishes.
    Wishes,
    /// When it rotates by itself.
    Schedule,
    /// Where `AWSCURRENT` and `AWSPENDING` are.
    Labels,
    /// What the engine waits for.
    Holds,
    /// Keys and plans.
    Provider,
    /// Whether real requests prove a key.
    Probe,
    /// Who else writes.
    Ownership,
    /// One credential, with all its lines in one.
    Credential,
}

impl Area {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Table => "table",
            Self::Function => "function",
            Self::Permissions => "permissions",
            Self::Retirement => "retirement",
            Self::Quota => "quota",
            Self::Fingerprints => "fingerprints",
            Self::Secret => "secret",
            Self::Wishes => "wishes",
            Self::Schedule => "schedule",
            Self::Labels => "labels",
            Self::Holds => "holds",
            Self::Provider => "provider",
            Self::Probe => "probe",
            Self::Ownership => "ownership",
            Self::Credential => "credential",
        }
    }
}

/// How it is. The worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must be.
    Ok,
    /// A rotation works, but not as well as it could; or nobody could look.
    Warning,
    /// A rotation, or what follows it, can't work.
    Broken,
}

impl Verdict {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Broken => "broken",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is about.
    pub area: Area,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub what: String,
    /// A command to type, or the setting to change; `None` for what is as it must be.
    pub fix: Option<String>,
}

impl Check {
    /// It is as it must be.
    pub fn ok(area: Area, what: impl Into<String>) -> Self {
        Self { area, verdict: Verdict::Ok, what: what.into(), fix: None }
    }

    /// It works, but.
    pub fn warning(area: Area, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { area, verdict: Verdict::Warning, what: what.into(), fix: Some(fix.into()) }
    }

    /// It can't work.
    pub fn broken(area: Area, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { area, verdict: Verdict::Broken, what: what.into(), fix: Some(fix.into()) }
    }

    /// Nobody could look, though they may: it says nothing of whether it works.
    pub fn unseen(area: Area, about: &str, failed: &CallFailed) -> Self {
        let fix = "run the same command again in a minute; if it stays, see that Region and endpoint are right";
        Self::warning(area, format!("{about} could not be looked at: {}", chain(failed)), fix)
    }
}

/// Everything that was looked at, in the order in which a person would set it right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    checks: Vec<Check>,
}

impl Report {
    /// Another line; of one area, the one that was looked at first stands first.
    pub fn add(&mut self, check: Check) {
        let place = self.checks.partition_point(|other| other.area <= check.area);
        self.checks.insert(place, check);
    }

    /// The lines.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The worst verdict; of nothing, `Ok`.
    pub fn verdict(&self) -> Verdict {
        self.checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok)
    }

    /// How many lines have that verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }
}

impl Extend<Check> for Report {
    fn extend<T: IntoIterator<Item = Check>>(&mut self, checks: T) {
        checks.into_iter().for_each(|check| self.add(check));
    }
}
