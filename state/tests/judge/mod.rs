//! What no decision and no record may ever break, checked at every decision of every test that decides.

use chrono::TimeDelta;
use state::Time;
use state::credential::{Credential, LOOK_UP_LAG, Stamp};
use state::decide::{Action, Decision, Observed};
use state::ledger::{Actor, Change};
use state::lifecycle::{Phase, State};

/// What must hold of a decision, from the records and the observations that it was made of.
pub fn decision(credential: &Credential, observed: &Observed, decision: &Decision, now: Time) {
    match decision {
        Decision::Commit(change) => {
            let stamp = Stamp { at: now, until: now + TimeDelta::minutes(5), actor: Actor::Rotation, note: None };
            credential.apply(change.clone(), &stamp).expect("a decided change is a legal one");
            commit(credential, observed, change, now);
        }
        Decision::Perform(action) => perform(credential, observed, action, now),
        Decision::Look(_) | Decision::WaitUntil(_) | Decision::Hold(..) | Decision::Refuse(_) | Decision::Done => {}
    }
}

/// What must hold of records at any moment.
pub fn records(credential: &Credential, now: Time) {
    let mut waiting = Vec::new();
    for (generation, version) in &credential.versions {
        let is_published = version.is_published(now);
        match version.state {
            State::PreActivation => match version.phase {
                Some(Phase::Minting | Phase::Publishing) | None => waiting.push(*generation),
                Some(Phase::Drafting | Phase::Admitting | Phase::Proving | Phase::Promoting) => {
                    assert_eq!(credential.head.candidate, Some(*generation), "who is coming in is the candidate");
                }
                Some(Phase::Suspending) => assert!(!is_published, "generation {generation} is published, but given up"),
                Some(Phase::Disabling | Phase::Destroying) => panic!("generation {generation} is {}", version.place()),
            },
            State::Active => {
                let publishes = version.policy.publication.is_some();
                assert_eq!(is_published, publishes, "generation {generation} signs: its verifiers must know it");
            }
            State::Deactivated => {
                let until = version.suspend_at.filter(|_| version.published.is_some());
                assert!(until.is_none_or(|at| is_published || at <= now), "generation {generation} is missed");
                let at_most = until.filter(|_| version.compromised.is_some()).map(|at| at + TimeDelta::minutes(5));
                assert!(at_most.is_none_or(|at| !is_published || now < at), "generation {generation} is still trusted");
            }
            State::Suspended | State::Destroyed => assert!(!is_published, "generation {generation} is published"),
        }
    }
    let mut standbys = credential.head.standbys.clone();
    standbys.sort_unstable();
    assert_eq!(standbys, waiting, "standbys are what waits, and what is being made to wait");
    assert!(credential.head.candidate.is_none_or(|candidate| !standbys.contains(&candidate)), "one or the other");
}

fn commit(credential: &Credential, observed: &Observed, change: &Change, now: Time) {
    match change {
        Change::Drafting { generation, policy, .. } => {
            let Some(publication) = &policy.publication else { return };
            let published = credential.versions[generation].published.expect("nothing unpublished comes in");
            let known = published + publication.lead.delta();
            assert!(known <= now || hurries(credential), "no verifier meets a stranger but in an emergency");
        }
        Change::Drafted { generation, .. } => untainted(credential, observed, *generation),
        Change::Disabling { generation } => {
            let at = credential.versions[generation].disable_at;
            assert!(at.is_some_and(|at| at <= now), "its signers may still have it");
        }
        Change::Suspending { generation } => {
            let at = credential.versions[generation].suspend_at;
            assert!(at.is_some_and(|at| at <= now), "generation {generation} is refused before its time");
        }
        Change::Returned { generation, .. } => {
            let version = &credential.versions[generation];
            assert!(version.published.is_some() && version.compromised.is_none(), "not fit to be chosen again");
        }
        Change::Adopted { .. }
        | Change::Ordered { .. }
        | Change::Minting { .. }
        | Change::Minted { .. }
        | Change::Published { .. }
        | Change::Admitted { .. }
        | Change::Proved { .. }
        | Change::Promoted { .. }
        | Change::Abandoned { .. }
        | Change::Disabled { .. }
        | Change::Suspended { .. }
        | Change::Destroying { .. }
        | Change::Destroyed { .. }
        | Change::Swept { .. }
        | Change::Carried { .. }
        | Change::Held { .. } => {}
    }
}

fn perform(credential: &Credential, observed: &Observed, action: &Action, now: Time) {
    match action {
        Action::Mint(generation) => {
            let version = &credential.versions[generation];
            assert_eq!(version.phase, Some(Phase::Minting), "the intent comes first");
            assert!(observed.ours.contains(generation), "a creation is not repeated on somebody else's intent");
        }
        Action::Find(generation) => {
            let until = credential.versions[generation].open_until.expect("an open intent");
            assert!(until + LOOK_UP_LAG <= now, "what a look-up shows proves nothing yet");
        }
        Action::Promote(generation) => {
            assert!(credential.versions[generation].proof.is_some(), "I3: nothing becomes active before it is proved");
            untainted(credential, observed, *generation);
        }
        Action::Disable(generation) => {
            assert_eq!(credential.versions[generation].phase, Some(Phase::Disabling), "the intent comes first");
        }
        Action::Suspend(generation) => {
            assert_eq!(credential.versions[generation].phase, Some(Phase::Suspending), "the intent comes first");
        }
        Action::Destroy(generation) => {
            assert_eq!(credential.versions[generation].phase, Some(Phase::Destroying), "the intent comes first");
        }
        Action::Sweep(generation) => {
            let at = credential.versions[generation].sweep_at;
            assert!(at.is_some_and(|at| at <= now), "a key that was just made may not be shown yet");
        }
        Action::Check(..)
        | Action::Equip(_)
        | Action::Draft(_)
        | Action::Admit(_)
        | Action::Prove(_)
        | Action::Confirm(_)
        | Action::Preflight
        | Action::Unpend(_) => {}
    }
}

/// Nobody knows the credential yet, or a stranger knows its key and no new one is current.
pub fn hurries(credential: &Credential) -> bool {
    credential.current().is_none() || credential.head.order.as_ref().is_some_and(|order| !order.promoted)
}

fn untainted(credential: &Credential, observed: &Observed, generation: u32) {
    // Where the label has moved already, the records follow it.
    assert!(observed.moved || !credential.is_tainted(&credential.versions[&generation]), "a stranger has its key");
}
