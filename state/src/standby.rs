//! Keys that are made ahead of their use: published as standbys one generation before they sign.

use crate::Time;
use crate::credential::{Credential, LOOK_UP_LAG, Replaces, Version};
use crate::decide::{Action, Decision, Observed, intend};
use crate::hold::{Hold, HoldReason};
use crate::ledger::{Abandonment, Change};
use crate::lifecycle::Phase;
use crate::policy::{MOST_PUBLISHED, Policy};

/// The standby that a rotation promotes: the one that was published first, if it was for long enough.
///
/// The first key of a credential and an emergency do not wait: no verifier knows the credential yet, or a stranger
/// knows its key. Only they make a key on a rotation's own path, if none is there.
pub(crate) fn choose<'c>(
    credential: &'c Credential,
    policy: &Policy,
    replaces: &Replaces,
    observed: &Observed,
    now: Time,
) -> Result<&'c Version, Box<Decision>> {
    if let Some(hold) = too_young(credential, policy, now) {
        return Err(Box::new(Decision::Hold(None, hold)));
    }
    if let Some(standby) = credential.standbys().into_iter().next() {
        return Ok(standby);
    }
    Err(Box::new(match credential.being_made() {
        Some(version) => make(version, policy, observed, now),
        None if !observed.checked => Decision::Perform(Action::Check(replaces.clone(), None)),
        None => mint(credential, policy, observed, now),
    }))
}

/// Why a rotation by these wishes would be held for want of a standby, if it would be now.
pub fn too_young(credential: &Credential, policy: &Policy, now: Time) -> Option<Hold> {
    let publication = policy.publication.as_ref()?;
    let is_ordered = credential.head.order.as_ref().is_some_and(|order| !order.promoted);
    if credential.current().is_none() || is_ordered {
        return None;
    }
    let standbys = credential.standbys();
    let Some(standby) = standbys.first() else {
        let detail = "no standby is published yet: the retirement function makes one within minutes";
        return Some(Hold::new(HoldReason::StandbyTooYoung, detail));
    };
    let published = standby.published.unwrap_or(standby.created);
    let known = published + publication.lead.delta();
    (known > now).then(|| {
        let time = |at: Time| at.format("%F %H:%M UTC");
        let detail = format!(
            "generation {} was published at {} and rotator:publish-lead is over at {}",
            standby.generation,
            time(published),
            time(known),
        );
        Hold::new(HoldReason::StandbyTooYoung, detail)
    })
}

/// A key that is to be published ahead of its use, if there is room for it.
pub(crate) fn mint(credential: &Credential, policy: &Policy, observed: &Observed, now: Time) -> Decision {
    let published = credential.published(now).count();
    if published + 1 > MOST_PUBLISHED {
        let detail = format!("{published} keys are published, and verifiers take no more than {MOST_PUBLISHED}");
        return Decision::Hold(credential.head.current, Hold::new(HoldReason::JwksFull, detail));
    }
    let (generation, policy) = (credential.next_generation(), policy.clone());
    intend(Change::Minting { generation, policy, drawn: None }, observed)
}

/// From an intent to make a key to a published one.
pub(crate) fn make(version: &Version, policy: &Policy, observed: &Observed, now: Time) -> Decision {
    let generation = version.generation;
    if version.phase == Some(Phase::Publishing) {
        return match &observed.equipped {
            Some((done, provider)) if *done == generation => {
                Decision::Commit(Change::Published { generation, provider: provider.clone() })
            }
            Some(_) | None => Decision::Perform(Action::Equip(generation)),
        };
    }
    match &observed.minted {
        Some((done, provider, found)) if *done == generation => {
            return Decision::Commit(Change::Minted { generation, provider: provider.clone(), found: *found });
        }
        Some(_) | None => {}
    }
    // Nobody but the run that wrote this intent, and not after it lost an answer: a creation is not repeated blindly.
    if observed.ours.contains(&generation) {
        return Decision::Perform(Action::Mint(generation));
    }
    let trusted = version.open_until.unwrap_or(version.created) + LOOK_UP_LAG;
    if trusted > now {
        return Decision::WaitUntil(trusted);
    }
    if observed.missing == Some(generation) {
        return intend(Change::Minting { generation, policy: policy.clone(), drawn: None }, observed);
    }
    Decision::Perform(Action::Find(generation))
}

/// What becomes of a candidate whose rotation will never finish: a key that was published ahead of its use is a
/// standby again, unless it is compromised.
pub fn give_up(credential: &Credential, version: &Version, why: Abandonment) -> Change {
    let generation = version.generation;
    if version.is_coming_back() {
        Change::Forsaken { generation, why }
    } else if version.published.is_some() && !credential.is_tainted(version) {
        Change::Returned { generation, why }
    } else {
        Change::Abandoned { generation, why }
    }
}
