//! Where the outside and the records disagree, and what puts it right.
//!
//! [`examine`] compares five sources: the records, Secrets Manager's labels, the provider's keys and what they are let
//! into, and the published key set. It yields [`Finding`]s in the order in which they are to be dealt with. Each is
//! either put right by the engine, one finding a run, or told to a person with the exact way on. Nothing is ever
//! destroyed that no record and no intent covers.

mod cure;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use serde::Serialize;

use crate::Time;
use crate::credential::{Credential, Version};
use crate::decide::{AWSCURRENT, AWSPENDING, Secret};
use crate::hold::HoldReason;
use crate::lifecycle::{Phase, State};
use crate::name::Token;

pub(crate) use cure::decide_mend;
pub use told::Remedy;

/// How long whoever was given a pending version may still be at work on it: Lambda lets no function run for longer.
pub const LONGEST_RUN: TimeDelta = TimeDelta::minutes(15);

/// How much is examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What keeps a rotation from beginning or ending: the labels, and versions that a rotation left behind.
    Rotation,
    /// Everything.
    All,
}

/// What the outside shows of a credential, besides the secret's labels.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// What the versions hold that have `AWSCURRENT` or `AWSPENDING` and that no record knows.
    pub strays: BTreeMap<Token, Stray>,
    /// The provider's keys that the records name or that carry our tags for this credential; `None` when nobody
    /// looked, or when there is no provider.
    pub keys: Option<Vec<FoundKey>>,
    /// What verifiers are served; `None` when nobody looked, or when nobody is to fetch anything.
    pub served: Option<Served>,
}

/// A version of the secret that no record knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// What it holds.
    pub holds: Holds,
    /// Since when it is there, where that is told.
    pub since: Option<Time>,
}

/// What an unrecorded value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Holds {
    /// There is no value: the placeholder with which a rotation begins.
    Nothing,
    /// A value without a key.
    NoKey,
    /// The key of that generation.
    KeyOf(u32),
    /// Something else.
    Foreign,
}

/// A provider's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundKey {
    /// The provider's id.
    pub id: String,
    /// The provider's name for people; somebody else may have written it.
    pub name: String,
    /// The generation of this credential that its tags name. Of a key that would be an orphan of it ([`orphaned`]), only
    /// if it proves to have been made for it: anybody can write a tag.
    pub generation: Option<u32>,
    /// Whether it can be used.
    pub availability: Availability,
    /// The ids of the usage plans that it is in, where there are such.
    pub plans: Option<BTreeSet<String>>,
    /// Of the plans that its record names and that it is not in: those that it can't be put into again. With the plan that
    /// has its place, if one does: a key is in one plan of each stage.
    pub replaced: BTreeMap<String, Option<String>>,
    /// What says that it owns the key, besides this service.
    pub owner: Option<Owner>,
}

/// Whether a key can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It can.
    Enabled,
    /// Not now, but it can be enabled again.
    Disabled,
    /// It will be deleted.
    PendingDeletion,
}

/// A tool that makes things what its files say they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Owner {
    /// A stack of AWS CloudFormation, or of CDK, which is the same: its name.
    CloudFormation(String),
    /// Terraform or OpenTofu, as somebody tagged it: they leave no tag of their own.
    Terraform,
}

impl Owner {
    /// Read from a key's tags.
    pub fn of(tags: &BTreeMap<String, String>) -> Option<Self> {
        if let Some(stack) = tags.get("aws:cloudformation:stack-name") {
            return Some(Self::CloudFormation(stack.clone()));
        }
        let is_named = |text: &str| {
            let text = text.to_ascii_lowercase();
            text.contains("terraform") || text.contains("opentofu")
        };
        tags.iter().any(|(tag, value)| is_named(tag) || is_named(value)).then_some(Self::Terraform)
    }
}

/// What verifiers are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// The names of the keys in the key set.
    Kids(BTreeSet<String>),
    /// Nothing, and why.
    Nothing(String),
}

/// Something that is not as the records say. In the order in which they are dealt with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all_fields = "camelCase")]
pub enum Finding {
    /// The secret behind the name is another one.
    SecretReplaced {
        /// Its ARN.
        found: String,
    },
    /// The secret is deleted, or will be, and its keys live.
    SecretDeleted {
        /// Generations whose keys are not destroyed.
        live: Vec<u32>,
    },
    /// What is recorded is not what the history states: somebody wrote into the table.
    RecordDiffers {
        /// Which version; `None`: what there is once.
        generation: Option<u32>,
        /// Which facts, or what is wrong with the history.
        what: String,
    },
    /// Its rotation is switched off: it does not rotate by itself, and no rotation can be begun.
    RotationOff,
    /// Consumers read a proved candidate, and the records don't say so.
    PromotionUntold {
        /// Which version.
        generation: u32,
    },
    /// Somebody put the current key into the secret again.
    NewCarrier {
        /// Which version's key it is.
        generation: u32,
        /// The version of the secret.
        carrier: Token,
    },
    /// `AWSCURRENT` is on a value without a key.
    ValueWiped {
        /// The version that should be current.
        generation: u32,
        /// The version of the secret that has no key.
        carrier: Token,
        /// The one that has.
        back_to: Token,
    },
    /// `AWSCURRENT` is on a key that no record knows.
    ForeignValue {
        /// The version that should be current.
        generation: u32,
        /// The version of the secret that holds the other key.
        carrier: Token,
        /// The one that holds the recorded key.
        back_to: Token,
    },
    /// `AWSCURRENT` is on another version than the records say, or on none.
    LabelMoved {
        /// The version that should be current. None of a credential whose first key is not proved yet.
        generation: Option<u32>,
        /// The version whose key consumers read instead.
        instead: Option<u32>,
        /// Who has the label.
        carrier: Option<Token>,
        /// Who should. None if that version of the secret is gone.
        back_to: Option<Token>,
    },
    /// `AWSPENDING` is on a version without a value: its function never ran, or ended before it did anything.
    PendingEmpty {
        /// The version of the secret.
        token: Token,
        /// Since when it is there.
        since: Option<Time>,
    },
    /// `AWSPENDING` is on a value that this service did not make.
    PendingForeign {
        /// The version of the secret.
        token: Token,
        /// What it holds.
        holds: Holds,
        /// Since when it is there.
        since: Option<Time>,
    },
    /// `AWSPENDING` is on a version whose rotation is over.
    PendingStale {
        /// Whose key it holds.
        generation: u32,
        /// The version of the secret.
        token: Token,
        /// Where that generation is in its life.
        place: String,
    },
    /// A rotation stopped half way, with `AWSPENDING` still on its version.
    HalfDone {
        /// What it was making.
        generation: u32,
        /// The version of the secret.
        token: Token,
        /// Where it stopped.
        phase: Phase,
        /// Until when its writer may still be at work.
        until: Option<Time>,
    },
    /// A rotation stopped half way, and somebody took `AWSPENDING` off its version.
    PendingLost {
        /// What it was making.
        generation: u32,
        /// Until when its writer may still be at work.
        until: Option<Time>,
    },
    /// A version was given up, and its key may still be accepted.
    CleanUpOpen {
        /// Which version.
        generation: u32,
    },
    /// The key of a live version is gone at the provider, and nobody here deleted it.
    KeyVanished {
        /// Which version.
        generation: u32,
        /// The provider's id; `None` when that is recorded already, and it is to be made again.
        id: Option<String>,
    },
    /// The key of a live version will be deleted, and nobody here asked for it.
    KeyPendingDeletion {
        /// Which version.
        generation: u32,
        /// The provider's id.
        id: String,
    },
    /// The key of a live version is disabled, and not by this service.
    KeyDisabled {
        /// Which version.
        generation: u32,
        /// The provider's id.
        id: String,
    },
    /// The key of a suspended or destroyed version can be used, and not by this service's doing.
    KeyEnabled {
        /// Which version.
        generation: u32,
        /// The provider's id.
        id: String,
        /// Where that version is in its life.
        state: State,
    },
    /// A key is no longer in a usage plan that it was put into.
    PlanLost {
        /// Which version.
        generation: u32,
        /// The provider's id of the key.
        id: String,
        /// The plan's id.
        plan: String,
    },
    /// Somebody moved a key to another usage plan of the same stage, or deleted the plan.
    PlanReplaced {
        /// Which version.
        generation: u32,
        /// The provider's id of the key.
        id: String,
        /// The recorded plan's id.
        plan: String,
        /// The id of the plan that it is in instead.
        by: Option<String>,
    },
    /// Somebody put a key into a usage plan that the records don't know of.
    PlanAdded {
        /// Which version.
        generation: u32,
        /// The provider's id of the key.
        id: String,
        /// The plan's id.
        plan: String,
    },
    /// A key was made for a version of ours, and no record has its id.
    Orphan {
        /// The version that it was made for.
        generation: u32,
        /// The provider's id.
        id: String,
    },
    /// A key carries our tags, and no record and no intent knows it.
    Stranger {
        /// The provider's id.
        id: String,
        /// The credential that its tags name.
        claims: String,
    },
    /// CloudFormation or Terraform owns a key that this service rotates.
    StackOwned {
        /// Which version.
        generation: u32,
        /// The provider's id.
        id: String,
        /// Who else owns it.
        owner: Owner,
    },
    /// A key that verifiers need is not in the key set.
    KidMissing {
        /// Which version.
        generation: u32,
        /// The key's name in the key set.
        kid: String,
    },
    /// The key set has a key that is not to be trusted.
    KidExtra {
        /// The key's name in the key set.
        kid: String,
        /// The version that it was, if it was one.
        generation: Option<u32>,
    },
    /// The key set can't be fetched.
    KeySetUnreachable {
        /// Why.
        why: String,
    },
    /// A key that nobody rotates. It belongs to no credential.
    Unmanaged {
        /// The provider's id.
        id: String,
        /// The provider's name for people; somebody else may have written it.
        name: String,
        /// Who owns it, if a tool does.
        owner: Option<Owner>,
    },
}

impl Finding {
    /// The version of the secret that is to be current again.
    fn back_to(&self) -> Option<&Token> {
        if let Self::ValueWiped { back_to, .. } | Self::ForeignValue { back_to, .. } = self {
            Some(back_to)
        } else if let Self::LabelMoved { back_to, .. } = self {
            back_to.as_ref()
        } else {
            None
        }
    }
}

/// Compares the outside with the records.
pub fn examine(credential: &Credential, secret: &Secret, inventory: &Inventory, now: Time) -> Vec<Finding> {
    if secret.arn != credential.head.arn {
        return vec![Finding::SecretReplaced { found: secret.arn.clone() }];
    }
    if secret.deleted {
        // By its owner's wish its keys are being retired already.
        if credential.head.closed.is_some() {
            return Vec::new();
        }
        let live = credential.versions.values().filter(|version| version.state != State::Destroyed);
        let live: Vec<u32> = live.map(|version| version.generation).collect();
        return if live.is_empty() { Vec::new() } else { vec![Finding::SecretDeleted { live }] };
    }
    let mut found = Vec::new();
    if !secret.rotation_enabled && !credential.versions.is_empty() {
        found.push(Finding::RotationOff);
    }
    found.extend(current(credential, secret, inventory));
    // The label of a rotation that is over stays on its version and blocks nothing, as long as that one is current.
    let comes_back = found.last().and_then(Finding::back_to).cloned();
    let pending = pending(credential, secret, inventory);
    found.extend(pending.filter(|_| comes_back.is_none() || comes_back.as_ref() != secret.holder(AWSPENDING)));
    found.extend(left_behind(credential, secret, now));
    if let Some(keys) = &inventory.keys {
        credential.versions.values().for_each(|version| recorded(version, secret, keys, &mut found));
        keys.iter().for_each(|key| found.extend(unrecorded(credential, key)));
    }
    if let Some(served) = &inventory.served {
        key_set(credential, served, now, &mut found);
    }
    found
}

/// Where `AWSCURRENT` is.
fn current(credential: &Credential, secret: &Secret, inventory: &Inventory) -> Option<Finding> {
    let holder = secret.holder(AWSCURRENT);
    let known = holder.and_then(|carrier| credential.by_carrier(carrier));
    if let Some(version) = known
        && Some(version.generation) == credential.head.candidate
        && version.phase == Some(Phase::Promoting)
    {
        return Some(Finding::PromotionUntold { generation: version.generation });
    }
    let Some(version) = credential.current() else {
        // What no record knows, the first rotation looks at.
        let unproved = known?;
        let replaced = unproved.replaces.as_ref().and_then(|replaces| replaces.carrier.clone());
        return Some(Finding::LabelMoved {
            generation: None,
            instead: Some(unproved.generation),
            carrier: holder.cloned(),
            back_to: replaced.filter(|carrier| secret.labels.contains_key(carrier)),
        });
    };
    let generation = version.generation;
    if known.is_some_and(|known| known.generation == generation) {
        return None;
    }
    let still_there = version.carriers.iter().rev().find(|carrier| secret.labels.contains_key(carrier));
    let back_to = still_there.or(version.token())?.clone();
    let moved = |instead| Finding::LabelMoved {
        generation: Some(generation),
        instead,
        carrier: holder.cloned(),
        back_to: Some(back_to.clone()),
    };
    if known.is_some() || holder.is_none() {
        return Some(moved(known.map(|known| known.generation)));
    }
    let carrier = holder?.clone();
    Some(match inventory.strays.get(&carrier)?.holds {
        Holds::KeyOf(same) if same == generation => Finding::NewCarrier { generation, carrier },
        Holds::KeyOf(other) => moved(Some(other)),
        Holds::Nothing | Holds::NoKey => Finding::ValueWiped { generation, carrier, back_to },
        Holds::Foreign => Finding::ForeignValue { generation, carrier, back_to },
    })
}

/// What blocks every later `RotateSecret`: `AWSPENDING` on a version that is not the current one.
fn pending(credential: &Credential, secret: &Secret, inventory: &Inventory) -> Option<Finding> {
    let token = secret.holder(AWSPENDING).filter(|token| !secret.has(token, AWSCURRENT))?.clone();
    let Some(version) = credential.by_carrier(&token) else {
        let Stray { holds, since } = inventory.strays.get(&token)?.clone();
        return Some(match holds {
            Holds::Nothing => Finding::PendingEmpty { token, since },
            Holds::NoKey | Holds::KeyOf(_) | Holds::Foreign => Finding::PendingForeign { token, holds, since },
        });
    };
    let generation = version.generation;
    Some(match version.phase.filter(|_| is_coming_in(credential, version) && version.token() == Some(&token)) {
        Some(phase) => Finding::HalfDone { generation, token, phase, until: version.open_until },
        None => Finding::PendingStale { generation, token, place: version.place().to_string() },
    })
}

/// What rotations left behind, without a label to show for it.
fn left_behind(credential: &Credential, secret: &Secret, now: Time) -> Vec<Finding> {
    let is_labelled = |version: &Version| {
        let labels = [AWSCURRENT, AWSPENDING];
        version.carriers.iter().any(|carrier| labels.iter().any(|label| secret.has(carrier, label)))
    };
    let unlabelled = credential.versions.values().filter(|version| !is_labelled(version));
    unlabelled
        .filter_map(|version| {
            let generation = version.generation;
            if is_coming_in(credential, version) {
                return Some(Finding::PendingLost { generation, until: version.open_until });
            }
            let given_up = version.state == State::PreActivation && version.phase == Some(Phase::Suspending);
            let is_open = version.open_until.is_none_or(|until| until <= now);
            (given_up && is_open).then_some(Finding::CleanUpOpen { generation })
        })
        .collect()
}

/// A recorded version's key.
fn recorded(version: &Version, secret: &Secret, keys: &[FoundKey], found: &mut Vec<Finding>) {
    let generation = version.generation;
    let Some(id) = version.provider.get("id").cloned() else {
        if is_to_be_accepted(version) {
            found.push(Finding::KeyVanished { generation, id: None });
        }
        return;
    };
    let key = keys.iter().find(|key| key.id == id);
    // A standby that is not published yet waits for its key to be usable: a person's matter like any other.
    if version.phase == Some(Phase::Publishing) && version.held.is_some() && version.compromised.is_none() {
        match key.map(|key| key.availability) {
            Some(Availability::Disabled) => found.push(Finding::KeyDisabled { generation, id }),
            Some(Availability::PendingDeletion) => found.push(Finding::KeyPendingDeletion { generation, id }),
            Some(Availability::Enabled) | None => {}
        }
        return;
    }
    if !is_to_be_accepted(version) {
        // What a rollback brings back is accepted before it is current, and so is what somebody brought back by hand: then
        // the label is what is to be decided about.
        let is_read = version.carriers.iter().any(|carrier| secret.has(carrier, AWSCURRENT));
        let is_over = matches!(version.state, State::Suspended | State::Destroyed);
        if is_over
            && version.phase.is_none()
            && !is_read
            && key.is_some_and(|key| key.availability == Availability::Enabled)
        {
            found.push(Finding::KeyEnabled { generation, id, state: version.state });
        }
        return;
    }
    let Some(key) = key else { return found.push(Finding::KeyVanished { generation, id: Some(id) }) };
    match key.availability {
        Availability::Enabled => {}
        // A signing key that signs nothing any more is as it should be.
        Availability::Disabled if version.disabled.is_some() => {}
        Availability::Disabled => found.push(Finding::KeyDisabled { generation, id: id.clone() }),
        Availability::PendingDeletion => found.push(Finding::KeyPendingDeletion { generation, id: id.clone() }),
    }
    // Of a key that was adopted before plans were recorded, there is nothing to compare with.
    if let (Some(present), Some(noted)) = (&key.plans, version.provider.get("plans")) {
        let noted: BTreeSet<String> = noted.split_whitespace().map(str::to_owned).collect();
        for plan in noted.difference(present).cloned() {
            let id = id.clone();
            found.push(match key.replaced.get(&plan).cloned() {
                Some(by) => Finding::PlanReplaced { generation, id, plan, by },
                None => Finding::PlanLost { generation, id, plan },
            });
        }
        let is_told = |plan: &&String| !key.replaced.values().flatten().any(|by| by == *plan);
        let added = present.difference(&noted).filter(is_told);
        found.extend(added.map(|plan| Finding::PlanAdded { generation, id: id.clone(), plan: plan.clone() }));
    }
    if let Some(owner) = &key.owner {
        found.push(Finding::StackOwned { generation, id, owner: owner.clone() });
    }
}

/// The version whose orphan a key is by its tags, which still have to be proved.
pub fn orphaned<'c>(credential: &'c Credential, key: &FoundKey) -> Option<&'c Version> {
    let Finding::Orphan { generation, .. } = unrecorded(credential, key)? else { return None };
    credential.versions.get(&generation)
}

/// A key with our tags that no record names.
fn unrecorded(credential: &Credential, key: &FoundKey) -> Option<Finding> {
    let is_known = credential.versions.values().any(|version| version.provider.get("id") == Some(&key.id));
    if is_known || key.availability == Availability::PendingDeletion {
        return None;
    }
    let id = key.id.clone();
    let stranger = Finding::Stranger { id: id.clone(), claims: credential.head.name.to_string() };
    let Some(version) = key.generation.and_then(|generation| credential.versions.get(&generation)) else {
        return Some(stranger);
    };
    let generation = version.generation;
    let publishes = version.policy.publication.is_some();
    match (version.state, version.phase) {
        // Its rotation, or whoever cleans up after it, looks for it by itself.
        (State::PreActivation, Some(_)) if !version.provider.contains_key("id") => None,
        // So does whoever makes it again.
        _ if is_to_be_accepted(version) && !version.provider.contains_key("id") => None,
        _ if version.sweep_at.is_some() => None,
        // A lost answer to its creation left it behind.
        _ if publishes => Some(Finding::Orphan { generation, id }),
        // It was made after all, when whoever cleaned up did not see it yet.
        (State::Suspended | State::Destroyed, _) if !version.provider.contains_key("id") => {
            Some(Finding::Orphan { generation, id })
        }
        (State::PreActivation | State::Active | State::Deactivated | State::Suspended | State::Destroyed, _) => {
            Some(stranger)
        }
    }
}

fn key_set(credential: &Credential, served: &Served, now: Time, found: &mut Vec<Finding>) {
    let kid = |version: &Version| version.provider.get("kid").cloned();
    let kids = match served {
        Served::Nothing(why) => return found.push(Finding::KeySetUnreachable { why: why.clone() }),
        Served::Kids(kids) => kids,
    };
    for version in credential.published(now) {
        if let Some(kid) = kid(version).filter(|kid| !kids.contains(kid)) {
            found.push(Finding::KidMissing { generation: version.generation, kid });
        }
    }
    let wanted: BTreeSet<String> = credential.published(now).filter_map(kid).collect();
    for extra in kids.difference(&wanted) {
        let was = credential.versions.values().find(|version| version.provider.get("kid") == Some(extra));
        found.push(Finding::KidExtra { kid: extra.clone(), generation: was.map(|version| version.generation) });
    }
}

/// Whether a rotation is making it. A rollback's candidate has been there before, and needs no `AWSPENDING`.
fn is_coming_in(credential: &Credential, version: &Version) -> bool {
    version.state == State::PreActivation && credential.head.candidate == Some(version.generation)
}

/// Whether its key is to get through now, with nothing under way that would change it. A brownout whose key is gone does
/// not end by itself.
fn is_to_be_accepted(version: &Version) -> bool {
    let is_gone = version.held.as_ref().is_some_and(|held| held.hold.reason == HoldReason::KeyVanished)
        || !version.provider.contains_key("id");
    let is_idle = version.phase.is_none() || version.phase == Some(Phase::BrowningOut) && is_gone;
    let is_live = match version.state {
        State::PreActivation | State::Active | State::Deactivated => true,
        State::Suspended | State::Destroyed => false,
    };
    is_live && is_idle && version.compromised.is_none()
}

#[cfg(test)]
mod tests;
