//! What must never be false. One function each, run after every step of every test.

use std::collections::BTreeMap;

use crate::credential::Credential;
use crate::decide::{AWSCURRENT, AWSPENDING, Secret};
use crate::ledger::{Change, Event, verify};
use crate::lifecycle::State;

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
    let checks: [(u8, Check); 8] = [
        (1, accepted_once_accepted_now),
        (2, at_most_one_active),
        (3, active_is_proved_or_marked),
        (4, suspended_after_its_overlap),
        (5, destroyed_after_its_soak),
        (6, history_chains),
        (7, keys_are_recorded),
        (9, no_verifier_meets_a_stranger),
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
        let Some(current) = credential.current() else { return broken("no version is current".into()) };
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
        let adopted =
            history.iter().any(|e| matches!(&e.change, Change::Adopted { generation: g, .. } if *g == generation));
        let proved =
            history.iter().position(|e| matches!(&e.change, Change::Proved { generation: g, .. } if *g == generation));
        let promoted =
            history.iter().position(|e| matches!(&e.change, Change::Promoted { generation: g } if *g == generation));
        if !adopted && (proved.is_none() || proved > promoted) {
            broken(format!("generation {generation} became active before it was proved"));
        }
    }
}

/// I4: nothing is suspended before its overlap ended, except by a recorded emergency.
pub fn suspended_after_its_overlap(
    credential: &Credential,
    _: &[Event],
    outside: &Outside,
    broken: &mut dyn FnMut(String),
) {
    for version in credential.versions.values() {
        let generation = version.generation;
        if let (Some(deactivated), Some(suspended), None) =
            (version.deactivated, version.suspended, version.compromised)
            && suspended < deactivated + version.policy.overlap.delta()
        {
            broken(format!("generation {generation} was suspended before its overlap was over"));
        }
        let refused = version.provider.get("id").and_then(|id| outside.keys.get(id)) == Some(&false);
        if let (Some(deactivated), Some(disabled), None, Some(signs_for)) =
            (version.deactivated, version.disabled, version.compromised, version.policy.signs_for())
            && disabled < deactivated + signs_for.delta()
        {
            broken(format!("generation {generation} was disabled while signers might still read it"));
        }
        let told = version.phase.is_some() || version.disabled.is_some();
        if refused && version.state == State::Deactivated && !told {
            broken(format!("the key of generation {generation} is refused, but nobody recorded that it would be"));
        }
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
        let gone = matches!(version.state, State::Suspended | State::Destroyed);
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
    if credential.head.revision != credential.head.ledger.seq {
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
                || !v.provider.contains_key("id") && v.state == State::PreActivation && v.phase.is_some()
        });
        if !recorded && !intended {
            broken(format!("the key {id} is in no record and no open intent"));
        }
    }
    for version in credential.versions.values() {
        let Some(id) = version.provider.get("id") else { continue };
        let may_be_gone =
            version.state == State::Destroyed || version.phase == Some(crate::lifecycle::Phase::Destroying);
        if !may_be_gone && !outside.keys.contains_key(id) {
            broken(format!(
                "the key {id} of generation {}, which is {}, is missing",
                version.generation, version.state
            ));
        }
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
        let is_first = !credential.versions.values().any(|other| other.activated.is_some_and(|at| at < activated));
        // The order that it fulfilled, if any: the last one before it, unless a key that no stranger has came between.
        let fulfils = |change: &Change| {
            matches!(change, Change::Promoted { generation: other }
                if credential.versions.get(other).is_some_and(|other| other.compromised.is_none()))
        };
        let before = history.iter().rev().map(|event| &event.change);
        let mut before = before
            .skip_while(|change| !matches!(change, Change::Promoted { generation: g } if *g == generation))
            .skip(1);
        let forced = before
            .find(|change| matches!(change, Change::Ordered { .. }) || fulfils(change))
            .is_some_and(|change| matches!(change, Change::Ordered { .. }));
        if !is_first && !forced && activated < published + publication.lead.delta() {
            broken(format!("generation {generation} became active before verifiers could know it"));
        }
    }
}
