//! What must never be false. One function each, run after every step of every test.

use std::collections::BTreeMap;

use crate::Time;
use crate::credential::{Credential, Version};
use crate::decide::{AWSCURRENT, AWSPENDING, Secret};
use crate::evidence::Ground;
use crate::ledger::{Change, Event, verify};
use crate::lifecycle::{Phase, State};
use crate::policy::Otherwise;

/// What the outside looks like at this moment.
#[derive(Clone, Debug)]
pub struct Outside {
    /// The secret and its labels.
    pub secret: Secret,
    /// The provider's keys that carry our tags for this credential or that its records name: id to enabled.
    pub keys: BTreeMap<String, bool>,
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("I{number}: {what}")]
pub struct Violation {
    /// Which of the eight that can be checked here (I8 is about what is printed and stored).
    pub number: u8,
    /// How.
    pub what: String,
}

/// Checks every invariant and lists what is broken.
pub fn check(credential: &Credential, history: &[Event], outside: &Outside) -> Vec<Violation> {
    let mut found = Vec::new();
    let checks: [(u8, Check); 9] = [
        (1, accepted_once_accepted_now),
        (2, at_most_one_active),
        (3, active_is_proved_or_marked),
        (4, suspended_after_its_overlap),
        (5, destroyed_after_its_soak),
        (6, history_chains),
        (7, keys_are_recorded),
        (9, no_verifier_meets_a_stranger),
        (10, records_are_stated),
    ];
    for (number, check) in checks {
        check(credential, history, outside, &mut |what| found.push(Violation { number, what }));
    }
    found
}

type Check = fn(&Credential, &[Event], &Outside, &mut dyn FnMut(String));

/// I1: a credential that ever had an accepted version has one now.
pub fn accepted_once_accepted_now(
    credential: &Credential,
    _: &[Event],
    outside: &Outside,
    broken: &mut dyn FnMut(String),
) {
    if credential.versions.values().any(|version| version.activated.is_some()) {
        // Nobody reads a secret that is gone for good.
        let Some(current) = credential.current() else {
            return if credential.head.closed.is_none() {
                broken("no version is current".into())
            };
        };
        if current.provider.get("id").and_then(|id| outside.keys.get(id)) == Some(&false) {
            broken(format!("the key of generation {}, which is active, is refused", current.generation));
        }
    }
}

/// I2: at most one version is `Active`.
pub fn at_most_one_active(credential: &Credential, _: &[Event], _: &Outside, broken: &mut dyn FnMut(String)) {
    let active: Vec<u32> =
        credential.versions.values().filter(|v| v.state == State::Active).map(|v| v.generation).collect();
    if active.len() > 1 || active.first().copied() != credential.head.current {
        broken(format!("generations {active:?} are active, {:?} is current", credential.head.current));
    }
}

/// I3: nothing becomes `Active` before its test passed, or is marked unproven for good.
pub fn active_is_proved_or_marked(
    credential: &Credential,
    history: &[Event],
    _: &Outside,
    broken: &mut dyn FnMut(String),
) {
    for version in credential.versions.values().filter(|version| version.activated.is_some()) {
        let generation = version.generation;
        let its: Vec<&Change> =
            history.iter().map(|e| &e.change).filter(|change| change.generation() == Some(generation)).collect();
        let is_promotion = |change: &Change| matches!(change, Change::Promoted { .. });
        // What counts is what was shown since the last time that it began to come in, or back.
        let begins = |change: &Change| matches!(change, Change::Drafting { .. } | Change::RollingBack { .. });
        for (n, _) in its.iter().enumerate().filter(|(_, change)| is_promotion(change)) {
            let since = its[..n].iter().rposition(|change| begins(change) || is_promotion(change)).unwrap_or(0);
            if !its[since..n].iter().any(|change| matches!(change, Change::Proved { .. })) {
                broken(format!("generation {generation} became active before it was proved"));
            }
        }
        let adopted = its.iter().any(|change| matches!(change, Change::Adopted { .. }));
        if !adopted && !its.iter().any(|change| is_promotion(change)) {
            broken(format!("generation {generation} became active and nobody recorded how"));
        }
    }
}

/// I4: nothing is suspended before its overlap ended and its gate opened, except by a recorded emergency, a recorded
/// brownout, whose end was committed before it began, or a recorded ceiling.
pub fn suspended_after_its_overlap(
    credential: &Credential,
    history: &[Event],
    outside: &Outside,
    broken: &mut dyn FnMut(String),
) {
    for version in credential.versions.values() {
        let generation = version.generation;
        let refused = version.provider.get("id").and_then(|id| outside.keys.get(id)) == Some(&false);
        if refused && version.state == State::Deactivated && !may_be_refused(version, history) {
            broken(format!("the key of generation {generation} is refused, but nobody recorded that it would be"));
        }
        let (Some(deactivated), None) = (version.deactivated, version.compromised) else { continue };
        if version.suspended.is_some_and(|suspended| suspended < deactivated + version.policy.overlap.delta()) {
            broken(format!("generation {generation} was suspended before its overlap was over"));
        }
        if let (Some(disabled), Some(signs_for)) = (version.disabled, version.policy.signs_for())
            && disabled < deactivated + signs_for.delta()
        {
            broken(format!("generation {generation} was disabled while signers might still read it"));
        }
        if let (true, Some(disabled), Some(suspended), Some(trusted)) =
            (version.is_gated(), version.disabled, version.suspended, version.policy.trusts_for())
            && suspended < disabled + trusted.delta()
        {
            broken(format!("generation {generation} was withdrawn while verifiers might still meet what it signed"));
        }
        if is_going(version) && version.is_gated() && !has_ground(version, deactivated, history) {
            broken(format!("generation {generation} is going, and not because of {:?}", version.ground));
        }
    }
}

/// Whether somebody wrote down that a deactivated version's key would be refused.
fn may_be_refused(version: &Version, history: &[Event]) -> bool {
    // One that was disabled is refused until it is back, and a compromised one for good.
    let already = version.disabled.is_some() || version.compromised.is_some();
    already
        || match version.phase {
            Some(Phase::Disabling | Phase::Suspending) => true,
            Some(Phase::BrowningOut) => {
                let began = |event: &Event| {
                    matches!(event.change, Change::BrowningOut { generation, until }
                        if generation == version.generation && version.brownout_until == Some(until) && event.at < until)
                };
                history.iter().any(began)
            }
            Some(
                Phase::Minting
                | Phase::Publishing
                | Phase::Drafting
                | Phase::Admitting
                | Phase::Proving
                | Phase::Promoting
                | Phase::Restoring
                | Phase::Destroying,
            )
            | None => false,
        }
}

/// Whether a version's key is refused or disabled, or may be.
fn is_going(version: &Version) -> bool {
    matches!(version.state, State::Suspended | State::Destroyed)
        || matches!(version.phase, Some(Phase::Suspending | Phase::Disabling))
        || version.disabled.is_some()
}

/// Whether what is recorded of a version bears the ground on which it goes.
fn has_ground(version: &Version, deactivated: Time, history: &[Event]) -> bool {
    let Some((watch, ground)) = version.policy.watch.as_ref().zip(version.ground) else { return false };
    let since = |event: &&Event| event.change.generation() == Some(version.generation) && event.at >= deactivated;
    match ground {
        Ground::Unused => version.usage.as_ref().is_some_and(|usage| {
            let idle = usage.seen_until - usage.last_used.unwrap_or(deactivated);
            usage.told && !usage.silent && idle >= version.policy.idle_before_suspend.delta()
        }),
        Ground::NoEvidence => {
            watch.no_evidence == Otherwise::Suspend && version.usage.as_ref().is_some_and(|usage| !usage.told)
        }
        Ground::Ceiling => {
            let ceiling = deactivated + version.policy.accepted_for().delta() + watch.ceiling.delta();
            let mut decided = history
                .iter()
                .filter(since)
                .filter(|event| matches!(event.change, Change::Suspending { .. } | Change::Disabling { .. }));
            watch.at_ceiling == Otherwise::Suspend && decided.all(|event| event.at >= ceiling)
        }
        Ground::Waived => {
            version.waived && history.iter().filter(since).any(|event| matches!(event.change, Change::Waived { .. }))
        }
        Ground::Compromised => version.compromised.is_some(),
        Ground::Ungated => false,
    }
}

/// I5: nothing is destroyed that did not soak, and nothing that Secrets Manager hands out is suspended or destroyed.
pub fn destroyed_after_its_soak(
    credential: &Credential,
    _: &[Event],
    outside: &Outside,
    broken: &mut dyn FnMut(String),
) {
    for version in credential.versions.values() {
        let generation = version.generation;
        if let Some(destroyed) = version.destroyed
            && version.suspended.is_none_or(|suspended| destroyed < suspended + version.policy.soak.delta())
        {
            broken(format!("generation {generation} was destroyed before its soak was over"));
        }
        // What a rollback brings back may have been given the label by hand.
        let gone = matches!(version.state, State::Suspended | State::Destroyed) && !version.is_coming_back();
        for label in [AWSCURRENT, AWSPENDING] {
            if gone && version.carriers.iter().any(|carrier| outside.secret.has(carrier, label)) {
                broken(format!("generation {generation} is {} and holds {label}", version.state));
            }
        }
    }
}

/// I6: revisions and the ledger's sequence only rise, and every hash chains.
pub fn history_chains(credential: &Credential, history: &[Event], _: &Outside, broken: &mut dyn FnMut(String)) {
    if let Err(error) = verify(&credential.head.name, history, &credential.head.ledger) {
        broken(error.to_string());
    }
    // A look that told nothing new has a revision and no event.
    if credential.head.revision < credential.head.ledger.seq {
        broken(format!("revision {} after {} events", credential.head.revision, credential.head.ledger.seq));
    }
    if history.windows(2).any(|pair| pair[1].at < pair[0].at) {
        broken("time runs backwards in the history".into());
    }
}

/// I7: every live key that we created is in a record or an open intent, and no record's live key is missing.
pub fn keys_are_recorded(credential: &Credential, _: &[Event], outside: &Outside, broken: &mut dyn FnMut(String)) {
    for id in outside.keys.keys() {
        let recorded =
            credential.versions.values().any(|v| v.provider.get("id") == Some(id) && v.state != State::Destroyed);
        // Or the provider will be searched for what a lost answer may have left.
        let intended = credential.versions.values().any(|v| {
            v.sweep_at.is_some()
                || !v.provider.contains_key("id")
                    && v.state != State::Destroyed
                    && (v.activated.is_some() || v.phase.is_some())
        });
        if !recorded && !intended {
            broken(format!("the key {id} is in no record and no open intent"));
        }
    }
    for version in credential.versions.values() {
        let Some(id) = version.provider.get("id") else { continue };
        let may_be_gone = version.state == State::Destroyed || version.phase == Some(Phase::Destroying);
        if !may_be_gone && !outside.keys.contains_key(id) {
            broken(format!(
                "the key {id} of generation {}, which is {}, is missing",
                version.generation, version.state
            ));
        }
    }
}

/// I10: what is recorded is what the history states.
pub fn records_are_stated(credential: &Credential, history: &[Event], _: &Outside, broken: &mut dyn FnMut(String)) {
    let head = &credential.head;
    // A chain that does not hold is told as I6.
    let Ok(stated) = Credential::stated(&head.name, &head.arn, None, history, &head.ledger) else { return };
    for (generation, differ) in credential.differs_from(&stated) {
        broken(format!("of {generation:?}, {} is not what the history states", differ.join(", ")));
    }
}

/// I9: what signs was published for its lead before, except the first key and what a recorded emergency chose.
pub fn no_verifier_meets_a_stranger(
    credential: &Credential,
    history: &[Event],
    _: &Outside,
    broken: &mut dyn FnMut(String),
) {
    for version in credential.versions.values() {
        let (Some(publication), Some(activated)) = (&version.policy.publication, version.activated) else { continue };
        let generation = version.generation;
        let Some(published) = version.published else {
            broken(format!("generation {generation} signs and was never published"));
            continue;
        };
        // When it became current first: what comes back is no stranger.
        let is_its = |change: &Change| matches!(change, Change::Promoted { generation: g } if *g == generation);
        let first = history.iter().position(|event| is_its(&event.change));
        let activated = first.map_or(activated, |n| history[n].at);
        let mut before = history[..first.unwrap_or(0)].iter().rev().map(|event| &event.change);
        let is_first = !before.clone().any(|c| matches!(c, Change::Promoted { .. } | Change::Adopted { .. }));
        // The order that it fulfilled, if any: the last one before it, unless a key that no stranger has came between.
        let fulfils = |change: &Change| {
            matches!(change, Change::Promoted { generation: other }
                if credential.versions.get(other).is_some_and(|other| other.compromised.is_none()))
        };
        let forced = before
            .find(|change| matches!(change, Change::Ordered { .. }) || fulfils(change))
            .is_some_and(|change| matches!(change, Change::Ordered { .. }));
        if !is_first && !forced && activated < published + publication.lead.delta() {
            broken(format!("generation {generation} became active before verifiers could know it"));
        }
    }
}
