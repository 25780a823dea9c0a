//! Back to an earlier version: the provider accepts it again, a request proves it, consumers read it; then the bad one
//! is deactivated like any other. The law holds in this direction too.

use chrono::TimeDelta;

use crate::Time;
use crate::credential::{Credential, Replaces, Version};
use crate::decide::{AWSCURRENT, AWSPENDING, Action, Decision, Observed, Question, Refusal, Secret, advance};
use crate::hold::{Hold, HoldReason};
use crate::ledger::Change;
use crate::lifecycle::State;
use crate::name::Token;

/// After that time a rollback that has not come to its end never will: nobody who ordered it waits any more.
pub const LASTS: TimeDelta = TimeDelta::hours(1);

/// Why there is no way back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWayBack {
    /// Nothing was ever current.
    #[error("this credential has no current version yet")]
    NothingCurrent,
    /// No earlier version can be had.
    #[error("no version before generation {0} can be brought back: name another with --to, or rotate to get a new one")]
    NothingBefore(u32),
    /// There is no such version.
    #[error("there is no generation {0}: `rotator show` lists them")]
    Unknown(u32),
    /// It was given up before it became current.
    #[error("generation {0} never was current: nothing has proved it; rotate to get a new one")]
    NeverCurrent(u32),
    /// Its key is gone.
    #[error("generation {0} is destroyed: its key is gone; rotate to get a new one")]
    Destroyed(u32),
    /// Something is being done with it.
    #[error("generation {0} is {1}: try again once that is over")]
    Busy(u32, crate::lifecycle::Place),
    /// A stranger knows its key.
    #[error("generation {0} is compromised: whoever has its key would be let in again; rotate to get a new one")]
    Compromised(u32),
    /// Its value holds another key as well, which a stranger knows.
    #[error(
        "the value of generation {0} holds the compromised key of generation {1} as well: whoever has that would be let in \
         again; rotate to get a new one"
    )]
    Tainted(u32, u32),
    /// Verifiers have forgotten it.
    #[error(
        "generation {0} is withdrawn from the key set: verifiers would meet a stranger; rotate, which takes the standby"
    )]
    Withdrawn(u32),
    /// No version of the secret holds its value.
    #[error("the value of generation {0} is gone from Secrets Manager; rotate to get a new one")]
    ValueGone(u32),
    /// A rotation is under way.
    #[error("a rotation is under way ({0}): let it end, or end it with `rotator repair`, and then roll back")]
    RotationPending(String),
    /// Another rollback is under way.
    #[error("generation {0} is being brought back already")]
    OtherRollback(u32),
    /// An emergency is under way.
    #[error("an emergency stands: it ends with a new version, and nothing goes back before")]
    EmergencyStands,
}

/// The version that a rollback brings back when nobody names one: the one that the current replaced, or else the
/// youngest before it; the current itself, if it is there by a rollback.
pub fn target(credential: &Credential) -> Result<u32, NoWayBack> {
    if let Some(version) = credential.candidate().filter(|version| version.is_coming_back()) {
        return Ok(version.generation);
    }
    let current = credential.current().ok_or(NoWayBack::NothingCurrent)?;
    let replaced = current.replaces.as_ref().and_then(|replaces| replaces.generation);
    let current = current.generation;
    // It was brought back already: whoever repeats the command does not want to go further.
    if replaced.is_some_and(|replaced| replaced > current) {
        return Ok(current);
    }
    // Between the two may be one that somebody rolled back from.
    let before = replaced.into_iter().chain((0..current).rev()).filter_map(|one| credential.versions.get(&one));
    let can_be_had = |version: &&Version| can_come_back(credential, version).is_ok();
    before.filter(can_be_had).map(|version| version.generation).next().ok_or(NoWayBack::NothingBefore(current))
}

/// Whether a version can be brought back, as far as the records tell.
pub fn can_come_back(credential: &Credential, version: &Version) -> Result<(), NoWayBack> {
    let generation = version.generation;
    if version.state == State::Destroyed {
        return Err(NoWayBack::Destroyed(generation));
    }
    if version.compromised.is_some() {
        return Err(NoWayBack::Compromised(generation));
    }
    if let Some(also) = version.also.filter(|_| credential.is_tainted(version)) {
        return Err(NoWayBack::Tainted(generation, also));
    }
    if version.activated.is_none() {
        return Err(NoWayBack::NeverCurrent(generation));
    }
    if version.published.is_some() && version.state == State::Suspended {
        return Err(NoWayBack::Withdrawn(generation));
    }
    if version.phase.is_some() && !version.is_coming_back() {
        return Err(NoWayBack::Busy(generation, version.place()));
    }
    Ok(())
}

/// Towards that version being current.
pub(crate) fn decide_rollback(
    to: u32,
    credential: &Credential,
    secret: &Secret,
    observed: &Observed,
    now: Time,
) -> Decision {
    let refuse = |why: NoWayBack| Decision::Refuse(Refusal::Rollback(why));
    if let Some(candidate) = credential.candidate() {
        if !candidate.is_coming_back() {
            let pending = candidate.token().map_or(String::new(), |token| token.short().to_owned());
            return refuse(NoWayBack::RotationPending(pending));
        }
        if candidate.generation != to {
            return refuse(NoWayBack::OtherRollback(candidate.generation));
        }
        return come_back(candidate, credential, secret, observed, now);
    }
    let Some(current) = credential.current() else { return refuse(NoWayBack::NothingCurrent) };
    if current.generation == to {
        return Decision::Done;
    }
    if credential.head.order.is_some() {
        return refuse(NoWayBack::EmergencyStands);
    }
    let Some(version) = credential.versions.get(&to) else { return refuse(NoWayBack::Unknown(to)) };
    if let Err(why) = can_come_back(credential, version) {
        return refuse(why);
    }
    // At its deadline it left the key set, even if nobody has recorded so.
    if version.published.is_some() && !version.is_published(now) {
        return refuse(NoWayBack::Withdrawn(to));
    }
    let pending = secret.holder(AWSPENDING);
    // A rotation that came to its end leaves the label where `AWSCURRENT` is.
    let is_over = |token: &Token| credential.by_carrier(token).is_some_and(|version| version.activated.is_some());
    if let Some(token) = pending.filter(|token| !secret.has(token, AWSCURRENT) && !is_over(token)) {
        return refuse(NoWayBack::RotationPending(token.short().to_owned()));
    }
    let carrier = secret.holder(AWSCURRENT);
    // Or on the one that is wanted: somebody was faster by hand, and this takes note.
    let is_known = |version: &Version| [current.generation, to].contains(&version.generation);
    if !carrier.is_some_and(|carrier| credential.by_carrier(carrier).is_some_and(is_known)) {
        let detail = format!("AWSCURRENT is neither on generation {} nor on generation {to}", current.generation);
        return Decision::Hold(None, Hold::new(HoldReason::LabelMoved, detail));
    }
    let alone = pending.filter(|token| !secret.has(token, AWSCURRENT)).map(|token| Action::Unpend(token.clone()));
    match (version.token(), observed.readable) {
        (None, _) | (_, Some(false)) => refuse(NoWayBack::ValueGone(to)),
        (Some(token), None) => Decision::Look(Question::Readable(token.clone())),
        // Alone, the label of a rotation that is over blocks every other one already.
        (Some(_), Some(true)) if alone.is_some() => alone.map_or(Decision::Done, Decision::Perform),
        (Some(_), Some(true)) if version.claimed_until(now).is_some() => {
            version.claimed_until(now).map_or(Decision::Done, Decision::WaitUntil)
        }
        (Some(_), Some(true)) => Decision::Commit(Change::RollingBack {
            generation: to,
            replaces: Replaces { generation: Some(current.generation), carrier: carrier.cloned() },
        }),
    }
}

/// From wherever a version is on its way back to its being current; by whoever comes.
pub(crate) fn come_back(
    version: &Version,
    credential: &Credential,
    secret: &Secret,
    observed: &Observed,
    now: Time,
) -> Decision {
    let theirs = version.phase == Some(crate::lifecycle::Phase::Promoting)
        && !observed.ours.contains(&version.generation)
        && version.open_until.is_some_and(|until| until > now);
    let expired = version.ordered.is_some_and(|ordered| ordered + LASTS <= now) && !observed.moved;
    if expired && !theirs {
        let why = crate::ledger::Abandonment::Expired;
        return Decision::Commit(Change::Forsaken { generation: version.generation, why });
    }
    advance(version, credential, secret, observed, crate::decide::Step::Finish, now)
}
