//! What becomes of a version after it was current: it is watched, refused, shown to be refused, and deleted. And what
//! nobody came back for is brought to its end.

use crate::Time;
use crate::credential::{Credential, Settlements, Version};
use crate::decide::{
    AWSCURRENT, AWSPENDING, Action, Decision, Observed, Question, Secret, Step, advance, hold, label_already_moved,
    too_many_live, wrong_secret,
};
use crate::evidence::{Ground, Usage, owed};
use crate::hold::HoldReason;
use crate::ledger::{Abandonment, Change};
use crate::lifecycle::{Phase, State};
use crate::name::Token;
use crate::period::Period;
use crate::policy::Otherwise;
use crate::rollback::come_back;
use crate::standby::{give_up, make, mint};

/// What is due.
pub(crate) fn decide_retire(credential: &Credential, observed: &Observed, now: Time) -> Decision {
    let is_stuck = |version: &Version| observed.stuck.contains(&version.generation);
    let is_due = |version: &&Version| {
        version.due().is_some_and(|at| at <= now)
            || observed.ours.contains(&version.generation) && version.phase.is_some()
    };
    let promoting = credential.candidate().filter(|version| version.phase == Some(Phase::Promoting));
    let promoting = promoting.filter(|version| !is_stuck(version));
    let mut due: Vec<&Version> = credential.versions.values().filter(is_due).collect();
    due.retain(|version| !is_stuck(version));
    // A key that a stranger has waits for nothing.
    due.sort_by_key(|version| !(version.compromised.is_some() && version.state.is_accepted()));
    if due.is_empty() && promoting.is_none() {
        return Decision::Done;
    }
    // Whatever became of the secret: what was refused for a moment is brought back.
    let is_over =
        |version: &&&Version| version.phase == Some(Phase::BrowningOut) && version.due().is_some_and(|at| at <= now);
    if let Some(decision) = due.iter().find(is_over).and_then(|version| brown_out(version, observed, now)) {
        return decision;
    }
    let Some(secret) = &observed.secret else { return Decision::Look(Question::Secret) };
    // Nothing is retired on the word of another secret; each version waits under its own hold.
    let wrong = wrong_secret(credential, secret).filter(|_| !(secret.gone && credential.head.closed.is_some()));
    if let Some(Decision::Hold(None, hold)) = wrong {
        return due.first().map_or(Decision::Done, |version| Decision::Hold(Some(version.generation), hold));
    }
    let moved = label_already_moved(credential, secret);
    if let Some(commit @ Decision::Commit(_)) = moved {
        return commit;
    }
    for version in due {
        let generation = version.generation;
        if let Some(decision) = guard(version, credential, secret) {
            return decision;
        }
        if let Some(hold) = moved.clone().filter(|_| credential.head.candidate == Some(generation)) {
            return hold;
        }
        // Not while its key may still be found.
        if version.phase != Some(Phase::Minting) && version.sweep_at.is_some_and(|at| at <= now) {
            return match &observed.swept {
                Some((done, found)) if *done == generation => {
                    Decision::Commit(Change::Swept { generation, found: found.clone() })
                }
                Some(_) | None => Decision::Perform(Action::Sweep(generation)),
            };
        }
        match (version.state, version.phase) {
            // Not to be trusted, whatever keeps it from being published.
            (State::PreActivation, Some(Phase::Publishing)) if version.compromised.is_some() => {
                return Decision::Commit(Change::Abandoned { generation, why: Abandonment::Compromised });
            }
            (State::PreActivation, Some(Phase::Minting | Phase::Publishing)) => {
                let policy = credential.current().map_or(&version.policy, |current| &current.policy);
                return make(version, policy, observed, now);
            }
            (State::PreActivation, None) => {
                let why = match version.compromised {
                    Some(_) => Abandonment::Compromised,
                    None => Abandonment::Surplus,
                };
                return Decision::Commit(Change::Abandoned { generation, why });
            }
            (State::Active, _) => {
                // The standby that is missing may be one that nobody came back for: it has its own time.
                if credential.being_made().is_some() {
                    continue;
                }
                // By the wishes that were checked when it was begun: later edits take effect at the next rotation.
                return match too_many_live(credential, &version.policy) {
                    Some(hold) => Decision::Hold(Some(generation), hold),
                    None => mint(credential, &version.policy, observed, now),
                };
            }
            (State::PreActivation, Some(Phase::Drafting | Phase::Admitting | Phase::Proving | Phase::Promoting)) => {
                if version.token().is_some_and(|token| secret.has(token, AWSPENDING)) {
                    if !secret.rotation_enabled {
                        // Somebody did not want it: it must not become current by itself.
                        let detail = format!("rotation was switched off while generation {generation} was coming in");
                        return hold(Some(generation), HoldReason::RotationCancelled, detail);
                    }
                    return advance(version, credential, secret, observed, Step::Finish, now);
                }
                return Decision::Commit(give_up(credential, version, Abandonment::LostPending));
            }
            (State::PreActivation | State::Deactivated, Some(Phase::Suspending)) => {
                return match &observed.suspended {
                    Some((done, provider)) if *done == generation => {
                        Decision::Commit(Change::Suspended { generation, provider: provider.clone() })
                    }
                    Some(_) | None => Decision::Perform(Action::Suspend(generation)),
                };
            }
            (State::Deactivated, Some(Phase::Disabling)) => {
                return if observed.disabled == Some(generation) {
                    Decision::Commit(Change::Disabled { generation })
                } else {
                    Decision::Perform(Action::Disable(generation))
                };
            }
            (State::Deactivated | State::Suspended, Some(Phase::Restoring))
            | (State::Deactivated, Some(Phase::Proving | Phase::Promoting)) => {
                return come_back(version, credential, secret, observed, now);
            }
            (State::Deactivated, Some(Phase::BrowningOut)) => {
                if let Some(decision) = brown_out(version, observed, now) {
                    return decision;
                }
            }
            (State::Deactivated, _) => {
                if let Some(decision) = watch(version, credential, observed, now) {
                    return decision;
                }
            }
            (State::Suspended, Some(_)) => {
                return if observed.destroyed == Some(generation) {
                    Decision::Commit(Change::Destroyed { generation })
                } else {
                    Decision::Perform(Action::Destroy(generation))
                };
            }
            // What the whole soak did not show will not be shown.
            (State::Suspended, None) if version.refused.is_none() && version.destroy_at.is_some_and(|at| at <= now) => {
                let seen = Err("no refusal was seen while it soaked".to_owned());
                return Decision::Commit(refused(version, &seen));
            }
            (State::Suspended, None) if version.refused.is_none() => {
                return match &observed.refused {
                    Some((done, seen)) if *done == generation => Decision::Commit(refused(version, seen)),
                    Some(_) | None => Decision::Perform(Action::Expose(generation)),
                };
            }
            (State::Suspended, None) => return Decision::Commit(Change::Destroying { generation }),
            (
                State::PreActivation,
                Some(Phase::Restoring | Phase::BrowningOut | Phase::Disabling | Phase::Destroying),
            )
            | (State::Destroyed, _) => {}
        }
    }
    Decision::Done
}

/// A deactivated version waits for the end of its overlap, and for its last user.
fn watch(version: &Version, credential: &Credential, observed: &Observed, now: Time) -> Option<Decision> {
    let generation = version.generation;
    let is_over = |at: Option<Time>| at.is_some_and(|at| at <= now);
    let refuse = is_over(version.disable_at.filter(|_| version.disabled.is_none())) || is_over(version.suspend_at);
    // Where no look can change it, none is waited for: it might never succeed.
    let is_decided =
        refuse && (version.is_past_ceiling(now) || version.gate(now).is_ok_and(|ground| ground != Ground::Unused));
    if !is_decided && is_over(version.look_at()) {
        let sighting = match &observed.sighting {
            Some((done, sighting)) if *done == generation => sighting,
            Some(_) | None => return Some(Decision::Perform(Action::Witness(generation))),
        };
        let settled = match &observed.settled {
            Some(settled) => settled.clone(),
            None => {
                let owed = owed(&credential.settled(), &sighting.plans, now - sighting.seen_until, now);
                if !owed.is_empty() {
                    return Some(Decision::Perform(Action::Settle(generation, owed)));
                }
                Settlements::new()
            }
        };
        let usage = Usage::after(version.usage.as_ref(), sighting, version.ours, now);
        return Some(Decision::Commit(Change::Witnessed { generation, usage, settled }));
    }
    if refuse {
        return Some(match version.gate(now) {
            Err(hold) => Decision::Hold(Some(generation), hold),
            // What it signed last must be accepted for a while, however late it is disabled.
            Ok(ground)
                if version.disable_at.is_some() && version.disabled.is_none() && ground != Ground::Compromised =>
            {
                Decision::Commit(Change::Disabling { generation, ground: Some(ground) })
            }
            Ok(ground) => Decision::Commit(Change::Suspending { generation, ground: Some(ground) }),
        });
    }
    // One after the other: whoever is turned away is to know by which key.
    if credential.versions.values().any(|other| other.phase == Some(Phase::BrowningOut)) {
        return None;
    }
    let (begin, lasts) = version.next_brownout(credential.slowest_refusal())?;
    // One that nobody began in its time might not be over in its time.
    let fits = begin <= now && version.refuse_at().is_some_and(|at| now + lasts <= at);
    fits.then(|| Decision::Commit(Change::BrowningOut { generation, until: now + lasts }))
}

/// The run that wrote the intent refuses the key, and to nobody else it is due before its end; whoever comes then brings
/// it back.
fn brown_out(version: &Version, observed: &Observed, now: Time) -> Option<Decision> {
    let generation = version.generation;
    // A compromised key stays refused.
    if version.compromised.is_some() {
        return Some(Decision::Commit(Change::BrownedOut { generation, refused: None, ours: 0 }));
    }
    if version.brownout_until.is_none_or(|until| until <= now) {
        return Some(match &observed.relit {
            Some((done, refused, ours)) if *done == generation => {
                Decision::Commit(Change::BrownedOut { generation, refused: *refused, ours: *ours })
            }
            Some(_) | None => Decision::Perform(Action::Relight(generation)),
        });
    }
    // What was done with another key is written down first: there is one answer, and it would be lost.
    let is_told = observed.suspended.is_some();
    (!is_told).then_some(Decision::Perform(Action::Suspend(generation)))
}

fn refused(version: &Version, seen: &Result<Time, String>) -> Change {
    let generation = version.generation;
    match seen {
        Ok(at) => {
            let since = version.ordered.or(version.suspended).unwrap_or(*at);
            let after = Period::seconds((*at - since).num_seconds().max(0).unsigned_abs());
            Change::Refused { generation, after: Some(after), unproved: None }
        }
        Err(why) => Change::Refused { generation, after: None, unproved: Some(why.clone()) },
    }
}

/// Nobody reads the keys of a secret that can't be restored any more.
pub(crate) fn decide_close(credential: &Credential, observed: &Observed) -> Decision {
    let Some(current) = credential.current() else { return Decision::Done };
    let Some(secret) = &observed.secret else { return Decision::Look(Question::Secret) };
    let Some(wrong) = wrong_secret(credential, secret) else { return Decision::Done };
    if !secret.gone || current.policy.if_deleted == Otherwise::Hold {
        return wrong;
    }
    Decision::Commit(match credential.candidate() {
        Some(candidate) => give_up(credential, candidate, Abandonment::LostPending),
        None => Change::Closed { generation: current.generation },
    })
}

/// Never refuse or delete what Secrets Manager still hands out. Candidates on their way are not being refused.
fn guard(version: &Version, credential: &Credential, secret: &Secret) -> Option<Decision> {
    let retiring = match (version.state, version.phase) {
        (State::PreActivation, phase) => phase == Some(Phase::Suspending),
        // What comes back may carry the label again; what is refused for a moment is to be brought back.
        (State::Deactivated | State::Suspended, phase) => {
            !version.is_coming_back() && phase != Some(Phase::BrowningOut)
        }
        (State::Active | State::Destroyed, _) => false,
    };
    if !retiring {
        return None;
    }
    let generation = Some(version.generation);
    // A token that a given-up rotation had used for this key may have been used for another since.
    // Its own rotation is over: it was abandoned, or it came to its end and then somebody rolled it back.
    let rolled_back = credential.current().is_some_and(|current| {
        let replaced = current.replaces.as_ref().and_then(|replaces| replaces.generation);
        current.generation < version.generation && replaced == Some(version.generation)
    });
    let is_left_over = version.activated.is_none() || rolled_back;
    let is_its = |carrier: &&Token| credential.by_carrier(carrier).is_some_and(|v| v.generation == version.generation);
    for carrier in version.carriers.iter().filter(is_its) {
        // Abandoned, and then its writer put the value after all, which moved the label back: no rotation with that
        // token can come to its end any more, and left there the label blocks every other.
        if is_left_over && secret.has(carrier, AWSPENDING) && !secret.has(carrier, AWSCURRENT) {
            return Some(Decision::Perform(Action::Unpend(carrier.clone())));
        }
        for label in [AWSCURRENT, AWSPENDING] {
            if secret.has(carrier, label) {
                return Some(hold(
                    generation,
                    HoldReason::LabelMoved,
                    format!("{label} is on version {carrier}, which is {}", version.state),
                ));
            }
        }
    }
    if version.state == State::Deactivated && version.compromised.is_none() && !secret.replicas_behind.is_empty() {
        let detail = format!("the replica in {} has not received the new value", secret.replicas_behind.join(", "));
        return Some(hold(generation, HoldReason::ReplicaBehind, detail));
    }
    None
}
