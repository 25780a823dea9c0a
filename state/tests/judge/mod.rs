//! What no decision and no record may ever break, checked at every decision of every test that decides.

use chrono::TimeDelta;
use state::Time;
use state::credential::{Credential, LOOK_UP_LAG, Stamp, Version};
use state::decide::{Action, Decision, Observed};
use state::evidence::{Ground, Owed};
use state::ledger::{Actor, Change};
use state::lifecycle::{Phase, State};
use state::policy::Otherwise;
use state::rollback::can_come_back;

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
                Some(Phase::Restoring | Phase::BrowningOut | Phase::Disabling | Phase::Destroying) => {
                    panic!("generation {generation} is {}", version.place())
                }
            },
            State::Active => {
                let publishes = version.policy.publication.is_some();
                assert_eq!(is_published, publishes, "generation {generation} signs: its verifiers must know it");
            }
            State::Deactivated => {
                let until = version.suspend_at.filter(|_| version.published.is_some());
                assert!(until.is_none_or(|at| is_published || at <= now), "generation {generation} is missed");
                if version.is_coming_back() {
                    assert_eq!(credential.head.candidate, Some(*generation), "who is coming back is the candidate");
                }
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
    if let Change::Drafting { drawn, .. } | Change::Minting { drawn, .. } = change {
        assert!(drawn.is_some(), "nothing is made under a name that somebody else can derive");
    }
    match change {
        Change::Drafting { generation, policy, .. } => {
            let Some(publication) = &policy.publication else { return };
            let published = credential.versions[generation].published.expect("nothing unpublished comes in");
            let known = published + publication.lead.delta();
            assert!(known <= now || hurries(credential), "no verifier meets a stranger but in an emergency");
        }
        Change::Drafted { generation, .. } => untainted(credential, observed, *generation),
        Change::Witnessed { generation, usage, .. } => {
            let version = &credential.versions[generation];
            assert_eq!((version.state, version.phase), (State::Deactivated, None), "nobody else is looked at");
            let Some(before) = &version.usage else { return };
            assert!(before.last_used <= usage.last_used && before.told <= usage.told, "what was told stays true");
            assert!(version.compromised.is_none(), "nobody waits for evidence");
        }
        Change::Disabling { generation, ground } => {
            let version = &credential.versions[generation];
            assert!(version.disable_at.is_some_and(|at| at <= now), "its signers may still have it");
            has_ground(version, *ground, now);
        }
        Change::Suspending { generation, ground } => {
            let version = &credential.versions[generation];
            assert!(
                version.suspend_at.is_some_and(|at| at <= now),
                "generation {generation} is refused before its time"
            );
            let may_sign = version.disable_at.is_some() && version.disabled.is_none();
            assert!(!may_sign || version.compromised.is_some(), "what it signed last would be rejected");
            has_ground(version, *ground, now);
        }
        Change::BrowningOut { generation, until } => {
            let version = &credential.versions[generation];
            assert!(version.refuse_at().is_some_and(|at| *until <= at), "it is over before the overlap is");
            assert!(version.compromised.is_none(), "a compromised key is not brought back");
            assert!(version.disabled.is_none(), "its end would let it sign again");
            let watch = version.policy.watch.as_ref().expect("somebody looks");
            let wished = watch.brownouts[version.brownouts as usize].delta();
            let lasts = *until - now;
            assert_eq!(lasts, wished + credential.slowest_refusal(), "or it would be over before anybody noticed");
            let cached = version.deactivated.expect("deactivated") + version.policy.consumer_cache.delta();
            assert!(cached <= now, "whoever reads the new value soon is not to be met");
        }
        Change::BrownedOut { generation, refused, ours } => {
            let version = &credential.versions[generation];
            let is_back = observed.relit == Some((*generation, *refused, *ours));
            assert!(is_back || version.compromised.is_some(), "it must be seen to be back");
            assert!(version.compromised.is_some() || version.brownout_until.is_some_and(|at| at <= now), "not yet");
        }
        Change::RollingBack { generation, replaces } => {
            let version = &credential.versions[generation];
            assert_eq!(can_come_back(credential, version), Ok(()));
            assert!(version.published.is_none() || version.is_published(now), "verifiers would meet a stranger");
            assert!(credential.head.order.is_none(), "an emergency ends with a new version");
            assert_eq!(replaces.generation, credential.head.current);
            assert_eq!(observed.readable, Some(true), "its consumers could not read it");
        }
        Change::Forsaken { generation, .. } => {
            let version = &credential.versions[generation];
            assert!(version.is_coming_back() && credential.head.candidate == Some(*generation));
            let theirs = version.phase == Some(Phase::Promoting) && !observed.ours.contains(generation);
            assert!(!theirs || version.open_until.is_none_or(|until| until <= now), "the label may just be moving");
            assert!(!observed.moved, "the label moved");
        }
        Change::Closed { generation } => {
            let secret = observed.secret.as_ref().expect("nothing is closed without a look");
            assert!(secret.gone, "somebody may restore it");
            assert_eq!(credential.versions[generation].policy.if_deleted, Otherwise::Suspend);
        }
        Change::Refused { generation, .. } => {
            assert_eq!(credential.versions[generation].state, State::Suspended, "nobody was told to refuse it");
        }
        Change::Destroying { generation } => {
            let version = &credential.versions[generation];
            assert!(version.destroy_at.is_some_and(|at| at <= now), "it did not soak");
            assert!(version.refused.is_some(), "what became of the proof is not recorded");
        }
        Change::Returned { generation, .. } => {
            let version = &credential.versions[generation];
            assert!(version.published.is_some() && version.compromised.is_none(), "not fit to be chosen again");
        }
        Change::Adopted { .. }
        | Change::Ordered { .. }
        | Change::Requested { .. }
        | Change::Minting { .. }
        | Change::Minted { .. }
        | Change::Published { .. }
        | Change::Admitted { .. }
        | Change::Proved { .. }
        | Change::Promoted { .. }
        | Change::Abandoned { .. }
        | Change::Waived { .. }
        | Change::Claimed { .. }
        | Change::Vanished { .. }
        | Change::Restored { .. }
        | Change::Disabled { .. }
        | Change::Suspended { .. }
        | Change::Destroyed { .. }
        | Change::Swept { .. }
        | Change::Recovered { .. }
        | Change::Mended { .. }
        | Change::Carried { .. }
        | Change::Held { .. } => {}
    }
}

fn perform(credential: &Credential, observed: &Observed, action: &Action, now: Time) {
    if let Some(generation) = action.changes() {
        let version = &credential.versions[&generation];
        assert!(version.open_until.is_some_and(|until| until > now), "no intent stands for {action:?}");
        assert!(version.phase.is_some() || observed.ours.contains(&generation), "somebody else is putting it right");
    }
    match action {
        Action::Draw(intent) => {
            assert!(matches!(**intent, Change::Drafting { .. } | Change::Minting { .. }), "only what is made is drawn");
        }
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
            let version = &credential.versions[generation];
            let browns_out = version.phase == Some(Phase::BrowningOut);
            assert!(browns_out || version.phase == Some(Phase::Suspending), "the intent comes first");
            let is_fresh =
                observed.ours.contains(generation) && version.brownout_until.is_some_and(|until| now < until);
            assert!(!browns_out || is_fresh, "whoever would bring it back may have been there already");
        }
        Action::Destroy(generation) => {
            assert_eq!(credential.versions[generation].phase, Some(Phase::Destroying), "the intent comes first");
        }
        Action::Sweep(generation) => {
            let at = credential.versions[generation].sweep_at;
            assert!(at.is_some_and(|at| at <= now), "a key that was just made may not be shown yet");
        }
        Action::Restore(generation) => {
            let version = &credential.versions[generation];
            assert!(version.is_coming_back(), "nobody wants it back");
            assert!(version.compromised.is_none(), "a stranger would be let in again");
            assert_eq!(version.phase, Some(Phase::Restoring), "the intent comes first");
        }
        Action::Relight(generation) => {
            let version = &credential.versions[generation];
            assert!(version.compromised.is_none(), "a stranger would be let in again");
            assert_eq!(version.phase, Some(Phase::BrowningOut), "the intent comes first");
            assert!(version.brownout_until.is_some_and(|until| until <= now), "its end is recorded");
        }
        Action::Witness(generation) => {
            let version = &credential.versions[generation];
            assert_eq!((version.state, version.phase), (State::Deactivated, None), "nobody else is looked at");
        }
        Action::Settle(_, owed) => settles(credential, observed, owed),
        Action::Expose(generation) => {
            assert_eq!(credential.versions[generation].state, State::Suspended, "its requests would be counted");
        }
        Action::Check(..)
        | Action::Equip(_)
        | Action::Draft(_)
        | Action::Admit(_)
        | Action::Prove(_)
        | Action::Confirm(_)
        | Action::Preflight
        | Action::Unpend(_)
        | Action::MoveBack { .. } => {}
    }
}

/// A key goes because of what is recorded, and of nothing else.
fn has_ground(version: &Version, ground: Option<Ground>, now: Time) {
    assert!(!version.is_coming_back(), "somebody wants it back");
    assert_eq!(version.gate(now).ok(), ground, "the gate of generation {}", version.generation);
    assert!(ground.is_some(), "its gate is shut");
}

/// Nothing is raised: no key gets more than it was told to have left, or than was left when it was settled last.
fn settles(credential: &Credential, observed: &Observed, owed: &Owed) {
    let (_, sighting) = observed.sighting.as_ref().expect("nothing is settled without a look");
    let settled = credential.settled();
    for (plan, (settlement, keys)) in owed {
        let told = &sighting.plans[plan];
        let last = settled.get(plan).filter(|last| last.since == settlement.since);
        let used: i64 = settlement.used.values().sum();
        assert_eq!(settlement.remaining, (settlement.allowance - used).max(0));
        for (id, key) in &told.keys {
            assert!(settlement.used[id] >= key.used, "what {id} used is taken off");
        }
        for (id, used) in last.into_iter().flat_map(|last| &last.used) {
            assert!(settlement.used[id] >= *used, "what was told once stays true");
        }
        for id in keys {
            let at_most = match told.keys.get(id) {
                Some(key) => key.left,
                None => last.map_or(settlement.allowance, |last| last.remaining),
            };
            assert!(
                settlement.remaining < at_most,
                "{plan}: {id} had {at_most} left, and gets {}",
                settlement.remaining
            );
        }
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
