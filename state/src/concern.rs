//! What somebody should hear of although nothing failed. Alarms go by it, and need no event: what never happens sends
//! none.

use chrono::TimeDelta;

use crate::Time;
use crate::credential::{Credential, Fingerprint, Version};
use crate::lifecycle::State;
use crate::policy::Schedule;

/// How long a hold may last, and a rotation be late, before anybody is called: whoever is on call tomorrow is early enough.
pub const GRACE: TimeDelta = TimeDelta::days(1);

/// What is the matter with one credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Concerns {
    /// It is held for more than [`GRACE`].
    pub old_hold: bool,
    /// An accepted key has lived nine tenths of `rotator:max-age`, counted from when it became current; of an adopted key, from
    /// when its provider made it.
    pub near_max_age: bool,
    /// Nothing became current by the date at which its schedule, or else its `rotator:max-age`, wants that, and
    /// [`GRACE`] is over.
    pub overdue: bool,
    /// An accepted key has no fingerprint, although there is a key for fingerprints: if its value leaks, nobody can tell
    /// whose it is.
    pub without_fingerprint: bool,
}

impl Concerns {
    /// By the records and the secret's present schedule.
    pub fn of(credential: &Credential, schedule: &Schedule, now: Time) -> Self {
        let versions = || credential.versions.values();
        let holds = versions().filter_map(|version| version.held.as_ref()).chain(&credential.head.held);
        let is_open = credential.head.closed.is_none();
        Self {
            old_hold: holds.into_iter().any(|held| held.since + GRACE <= now),
            near_max_age: is_open && versions().any(|version| is_nearly_too_old(version, now)),
            overdue: is_open && credential.current().is_some_and(|current| is_overdue(current, schedule, now)),
            without_fingerprint: versions().any(|version| {
                let is_missing = matches!(version.fingerprint, Some(Fingerprint::Missing { .. }));
                is_missing && version.state.is_accepted()
            }),
        }
    }
}

fn is_nearly_too_old(version: &Version, now: Time) -> bool {
    let is_accepted = matches!(version.state, State::Active | State::Deactivated);
    let most = version.policy.max_age.delta();
    is_accepted && version.in_use_since().is_some_and(|since| now - since >= most - most / 10)
}

fn is_overdue(current: &Version, schedule: &Schedule, now: Time) -> bool {
    let Some(since) = current.activated else { return false };
    let Some(used) = current.in_use_since() else { return false };
    // With its overlap it must not become older than this, whatever the schedule says.
    let most = current.policy.max_age.delta() - current.policy.overlap.delta();
    // A schedule that can't be read is doctor's to tell.
    let every = schedule.gaps(since).ok().flatten().map(|(_, longest)| longest.delta());
    now >= (used + most).min(since + every.unwrap_or(most)) + GRACE
}
