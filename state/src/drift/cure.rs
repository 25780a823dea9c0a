//! From a finding to its cure, one decision at a time.
//!
//! The finding is looked for again before anything is done: the world may have changed since a person saw it. What an
//! intent of ours began is finished without looking twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::Time;
use crate::credential::{Credential, Version};
use crate::decide::{AWSCURRENT, AWSPENDING, Action, Decision, Observed, Question, Secret, hold, wrong_secret};
use crate::hold::HoldReason;
use crate::ledger::{Abandonment, Change};
use crate::lifecycle::{Phase, State};
use crate::name::Token;
use crate::standby::give_up;

use super::{Finding, Inventory, Remedy, examine};

impl Finding {
    /// Whether that change, once committed, is the end of its cure.
    pub fn ends_with(change: &Change) -> bool {
        // Given up, a version's key is still to be suspended, or its label to be taken away; gone, to be made again. And
        // who claims it has not done anything yet.
        !matches!(
            change,
            Change::Abandoned { .. }
                | Change::Returned { .. }
                | Change::Recovered { .. }
                | Change::Vanished { .. }
                | Change::Claimed { .. }
        )
    }
}

/// The next decision towards a finding's cure; `Done` when it is cured, or was never there.
pub(crate) fn decide_mend(finding: &Finding, credential: &Credential, observed: &Observed, now: Time) -> Decision {
    // Somebody copied the tag: that makes it nobody's to delete.
    if let (Finding::Orphan { generation, id }, Some((done, swept))) = (finding, &observed.swept)
        && done == generation
        && swept.is_empty()
    {
        let detail = format!("key {id} carries the tag of generation {generation}, and is not what was asked for");
        return hold(Some(*generation), HoldReason::KeyNotOurs, detail);
    }
    // What was done at Secrets Manager or at the provider is told before anything else is looked at.
    if let Some(change) = told(finding, observed) {
        // A credential of which nothing is recorded yet has no history to tell it in.
        return if credential.head.revision > 0 { Decision::Commit(change) } else { Decision::Done };
    }
    let Some(secret) = &observed.secret else { return Decision::Look(Question::Secret) };
    if let Some(decision) = wrong_secret(credential, secret) {
        return decision;
    }
    if let Some(decision) = go_on(finding, credential, secret, observed, now) {
        return decision;
    }
    let Some(inventory) = &observed.inventory else {
        return Decision::Look(Question::Inventory { keys: finding.needs_keys() });
    };
    let found = examine(credential, secret, inventory, now);
    let Some(finding) = found.iter().find(|found| found.is_same_as(finding)) else { return Decision::Done };
    if let Some(until) = finding.waits_until(now) {
        return Decision::WaitUntil(until);
    }
    match finding.remedy(Some(credential)) {
        Remedy::Service(_) => begin(finding, credential, observed, inventory),
        Remedy::Person(_) => Decision::Done,
    }
}

/// The first step of a finding that was seen just now.
fn begin(finding: &Finding, credential: &Credential, observed: &Observed, inventory: &Inventory) -> Decision {
    match finding {
        Finding::PromotionUntold { generation } => Decision::Commit(Change::Promoted { generation: *generation }),
        Finding::NewCarrier { generation, carrier } => {
            Decision::Commit(Change::Carried { generation: *generation, carrier: carrier.clone() })
        }
        Finding::ValueWiped { carrier, back_to, .. } => {
            Decision::Perform(Action::MoveBack { from: Some(carrier.clone()), to: back_to.clone() })
        }
        Finding::LabelMoved { carrier, back_to: Some(to), .. } => match credential.by_carrier(to) {
            // Consumers read a key that works, perhaps: they are not to be given one that does not.
            Some(version) if !observed.confirmed => Decision::Perform(Action::Confirm(version.generation)),
            Some(_) | None => Decision::Perform(Action::MoveBack { from: carrier.clone(), to: to.clone() }),
        },
        Finding::LabelMoved { back_to: None, .. } => Decision::Done,
        Finding::PendingEmpty { token, .. }
        | Finding::PendingForeign { token, .. }
        | Finding::PendingStale { token, .. } => Decision::Perform(Action::Unpend(token.clone())),
        Finding::HalfDone { generation, .. } => abandon(credential, *generation, Abandonment::Repaired),
        Finding::PendingLost { generation, .. } => abandon(credential, *generation, Abandonment::LostPending),
        Finding::KeyVanished { generation, id: Some(_) } => {
            Decision::Commit(Change::Vanished { generation: *generation })
        }
        Finding::KeyVanished { generation, id: None } | Finding::PlanLost { generation, .. } => {
            Decision::Perform(Action::Restore(*generation))
        }
        Finding::KeyEnabled { generation, .. } => Decision::Perform(Action::Suspend(*generation)),
        Finding::PlanAdded { generation, id, .. } => {
            let keys = inventory.keys.iter().flatten().filter(|key| key.id == *id);
            let present = keys.filter_map(|key| key.plans.as_ref()).flatten().map(String::as_str);
            let plans: BTreeSet<&str> = noted(credential, *generation).into_iter().chain(present).collect();
            Decision::Commit(record(finding, *generation, plans))
        }
        Finding::PlanReplaced { generation, plan, by, .. } => {
            let mut plans = noted(credential, *generation);
            plans.remove(plan.as_str());
            plans.extend(by.as_deref());
            Decision::Commit(record(finding, *generation, plans))
        }
        Finding::Orphan { generation, id } => match credential.versions.get(generation) {
            Some(version) if version.policy.publication.is_some() => Decision::Perform(Action::Sweep(*generation)),
            Some(_) | None => {
                let provider = [("id".to_owned(), id.clone())].into();
                Decision::Commit(Change::Recovered { generation: *generation, provider })
            }
        },
        // Its version is given up already: `go_on` knows the way.
        Finding::CleanUpOpen { .. }
        | Finding::SecretReplaced { .. }
        | Finding::SecretDeleted { .. }
        | Finding::RecordDiffers { .. }
        | Finding::RotationOff
        | Finding::ForeignValue { .. }
        | Finding::KeyPendingDeletion { .. }
        | Finding::KeyDisabled { .. }
        | Finding::Stranger { .. }
        | Finding::StackOwned { .. }
        | Finding::KidMissing { .. }
        | Finding::KidExtra { .. }
        | Finding::KeySetUnreachable { .. }
        | Finding::Unmanaged { .. } => Decision::Done,
    }
}

/// The usage plans that a version's record names.
fn noted(credential: &Credential, generation: u32) -> BTreeSet<&str> {
    let noted = credential.versions.get(&generation).and_then(|version| version.provider.get("plans"));
    noted.map(|noted| noted.split_whitespace().collect()).unwrap_or_default()
}

fn record(finding: &Finding, generation: u32, plans: BTreeSet<&str>) -> Change {
    let plans = plans.into_iter().collect::<Vec<_>>().join(" ");
    mended(finding, Some(generation), [("plans".to_owned(), plans)].into())
}

fn mended(finding: &Finding, generation: Option<u32>, provider: BTreeMap<String, String>) -> Change {
    Change::Mended { finding: finding.word().into(), subject: finding.subject(), generation, provider }
}

fn abandon(credential: &Credential, generation: u32, why: Abandonment) -> Decision {
    let version = credential.versions.get(&generation);
    version.map_or(Decision::Done, |version| Decision::Commit(give_up(credential, version, why)))
}

/// The commit that tells of the act that was just done.
fn told(finding: &Finding, observed: &Observed) -> Option<Change> {
    let mended = |generation| Some(mended(finding, generation, BTreeMap::new()));
    match finding {
        Finding::ValueWiped { .. } | Finding::LabelMoved { .. } if observed.moved_back => mended(None),
        Finding::PendingEmpty { token, .. }
        | Finding::PendingForeign { token, .. }
        | Finding::PendingStale { token, .. }
        | Finding::HalfDone { token, .. }
            if observed.unpended.as_ref() == Some(token) && observed.suspended.is_none() =>
        {
            mended(None)
        }
        Finding::KeyEnabled { generation, .. } if observed.suspended.is_some() => mended(Some(*generation)),
        Finding::KeyVanished { .. } | Finding::PlanLost { .. } => {
            let (generation, provider) = observed.restored.clone()?;
            Some(Change::Restored { generation, provider })
        }
        Finding::Orphan { .. } => {
            let (generation, found) = observed.swept.clone()?;
            Some(Change::Swept { generation, found })
        }
        Finding::ValueWiped { .. }
        | Finding::LabelMoved { .. }
        | Finding::PendingEmpty { .. }
        | Finding::PendingForeign { .. }
        | Finding::PendingStale { .. }
        | Finding::HalfDone { .. }
        | Finding::KeyEnabled { .. }
        | Finding::SecretReplaced { .. }
        | Finding::SecretDeleted { .. }
        | Finding::RecordDiffers { .. }
        | Finding::RotationOff
        | Finding::PromotionUntold { .. }
        | Finding::NewCarrier { .. }
        | Finding::ForeignValue { .. }
        | Finding::PendingLost { .. }
        | Finding::CleanUpOpen { .. }
        | Finding::KeyPendingDeletion { .. }
        | Finding::KeyDisabled { .. }
        | Finding::PlanReplaced { .. }
        | Finding::PlanAdded { .. }
        | Finding::Stranger { .. }
        | Finding::StackOwned { .. }
        | Finding::KidMissing { .. }
        | Finding::KidExtra { .. }
        | Finding::KeySetUnreachable { .. }
        | Finding::Unmanaged { .. } => None,
    }
}

/// What an open intent says is to be done: a version that was given up is refused at the provider, then its label is
/// taken away, then that is told. A standby that was handed back only loses the label.
fn go_on(
    finding: &Finding,
    credential: &Credential,
    secret: &Secret,
    observed: &Observed,
    now: Time,
) -> Option<Decision> {
    let (Finding::PendingStale { generation, .. }
    | Finding::HalfDone { generation, .. }
    | Finding::PendingLost { generation, .. }
    | Finding::CleanUpOpen { generation }
    | Finding::Orphan { generation, .. }) = finding
    else {
        return None;
    };
    let generation = *generation;
    let version = credential.versions.get(&generation)?;
    if version.state == State::PreActivation && version.phase.is_none() {
        let token = version.carriers.iter().find(|carrier| blocks(secret, carrier))?;
        return Some(Decision::Perform(Action::Unpend(token.clone())));
    }
    if version.state != State::PreActivation || version.phase != Some(Phase::Suspending) {
        return None;
    }
    // What Secrets Manager hands out is never refused: that is another finding, and comes first.
    if version.carriers.iter().any(|carrier| secret.has(carrier, AWSCURRENT)) {
        return Some(Decision::Done);
    }
    if let Some(until) = still_theirs(version, observed, now) {
        return Some(Decision::WaitUntil(until));
    }
    let Some((_, provider)) = observed.suspended.as_ref().filter(|(done, _)| *done == generation) else {
        return Some(Decision::Perform(Action::Suspend(generation)));
    };
    if let Some(token) = version.carriers.iter().find(|carrier| blocks(secret, carrier)) {
        return Some(Decision::Perform(Action::Unpend(token.clone())));
    }
    Some(Decision::Commit(Change::Suspended { generation, provider: provider.clone() }))
}

fn still_theirs(version: &Version, observed: &Observed, now: Time) -> Option<Time> {
    version.open_until.filter(|until| *until > now && !observed.ours.contains(&version.generation))
}

fn blocks(secret: &Secret, token: &Token) -> bool {
    secret.has(token, AWSPENDING) && !secret.has(token, AWSCURRENT)
}
