//! How a change changes the records.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use crate::Time;
use crate::hold::{Held, Hold, HoldReason};
use crate::ledger::{Actor, Change, Event, Link, Note};
use crate::lifecycle::{Phase, Place, State, Transition, next};
use crate::name::Token;
use crate::policy::Policy;

use super::{Credential, Drawn, Floor, Order, Refusal, SCHEMA, Version};

/// How long whoever puts a key right has for it. An emergency of the same key may have to wait for that.
const CURE: TimeDelta = TimeDelta::minutes(2);
/// How long after a look-up was trusted the provider is searched once more for what it did not show.
const SWEEP_AFTER: TimeDelta = TimeDelta::hours(12);

/// Who changes something, when, and until when it is theirs to finish.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Now.
    pub at: Time,
    /// The writer's own deadline: an intent is its writer's until then.
    pub until: Time,
    /// Who.
    pub actor: Actor,
    /// Personal data and free text, which stand beside the chain.
    pub note: Option<Note>,
}

/// A change that the records do not allow: a defect of the caller, never the world's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The lifecycle has no such arrow.
    #[error("generation {generation} is {from}: {transition:?} can't happen to it")]
    Transition {
        /// Which version.
        generation: u32,
        /// Where it is.
        from: Place,
        /// What was tried.
        transition: Transition,
    },
    /// There is no such version.
    #[error("there is no generation {0}")]
    NoVersion(u32),
    /// The next generation must follow the last.
    #[error("generation {0} does not follow the last one")]
    OutOfTurn(u32),
    /// A candidate is there already.
    #[error("generation {0} is still coming in")]
    CandidateOpen(u32),
}

/// The result of a change, to be stored as one transaction.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The records afterwards.
    pub credential: Credential,
    /// The revision that must still be the stored one.
    pub expected: u64,
    /// Generations whose records changed.
    pub touched: Vec<u32>,
    /// The event that tells it; none if the history says it already.
    pub event: Option<Event>,
    /// What stands beside the event.
    pub note: Option<Note>,
}

impl Version {
    fn step(&mut self, transition: Transition, stamp: &Stamp) -> Result<(), Illegal> {
        let from = self.place();
        let Place(state, phase) =
            next(from, transition).ok_or(Illegal::Transition { generation: self.generation, from, transition })?;
        (self.state, self.phase) = (state, phase);
        self.open_until = phase.map(|_| stamp.until);
        self.held = None;
        Ok(())
    }

    fn take(&mut self, drawn: Option<&Drawn>) {
        self.id = drawn.map_or(self.id, |drawn| drawn.id);
        self.drawn.extend(drawn.cloned());
    }
}

impl Credential {
    /// Applies a change, or says why it can't be. Nothing is stored.
    pub fn apply(&self, change: Change, stamp: &Stamp) -> Result<Commit, Illegal> {
        let stamp = &Stamp { at: self.head.ledger.at.map_or(stamp.at, |last| last.max(stamp.at)), ..stamp.clone() };
        let mut after = self.clone();
        let touched = after.undergo(&change, stamp)?;
        let event = (!self.knows(&change, stamp.at)).then(|| Event::chained(&self.head, change, stamp));
        after.head.revision += 1;
        after.head.schema = SCHEMA;
        if let Some(event) = &event {
            after.head.ledger = Link { seq: event.seq, hash: event.hash.clone(), at: Some(event.at) };
        }
        let note = stamp.note.clone().filter(|_| event.is_some());
        Ok(Commit { credential: after, expected: self.head.revision, touched, event, note })
    }

    /// Changes the records as a change does. Returns the generations whose records changed.
    pub(super) fn undergo(&mut self, change: &Change, stamp: &Stamp) -> Result<Vec<u32>, Illegal> {
        let mut touched = self.change(change, stamp)?;
        self.settle_standbys(stamp, &mut touched);
        let is_accepted = |g: &u32| self.versions.get(g).is_some_and(|version| version.state.is_accepted());
        if self.head.order.as_ref().is_some_and(|order| order.promoted && !order.compromised.iter().any(is_accepted)) {
            self.head.order = None;
        }
        let oldest = self.versions.values().find(|version| version.state != State::Destroyed);
        if let Some(oldest) = oldest {
            self.head.floor = oldest.first_event.map(|seq| Floor { generation: oldest.generation, seq });
        }
        Ok(touched)
    }

    /// Whether a change tells nothing that the history does not say already: another look at a key of which the same was
    /// seen before, and which decides nothing. That is counted in its record.
    fn knows(&self, change: &Change, now: Time) -> bool {
        let Change::Witnessed { generation, usage, settled } = change else { return false };
        let Some(version) = self.versions.get(generation) else { return false };
        let Some(before) = version.usage.as_ref().filter(|_| settled.is_empty()) else { return false };
        let after = Version { usage: Some(usage.clone()), ..version.clone() };
        let is_held = version.held.as_ref().is_some_and(|held| !held.hold.reason.is_use());
        let gate = |version: &Version| version.gate(now).map_err(|hold| hold.reason);
        before.says_the_same(usage) && gate(version) == gate(&after) && !is_held
    }

    fn version(&mut self, generation: u32) -> Result<&mut Version, Illegal> {
        self.versions.get_mut(&generation).ok_or(Illegal::NoVersion(generation))
    }

    fn change(&mut self, change: &Change, stamp: &Stamp) -> Result<Vec<u32>, Illegal> {
        match change {
            Change::Adopted { generation, carrier, provider, policy, fingerprint } => {
                let mut version = self.begin(*generation, Some(carrier.clone()), policy.clone(), stamp)?;
                version.state = State::Active;
                version.activated = Some(stamp.at);
                version.published = policy.publication.is_some().then_some(stamp.at);
                version.provider.clone_from(provider);
                version.fingerprint.clone_from(fingerprint);
                self.versions.insert(*generation, version);
                self.head.current = Some(*generation);
                self.head.held = None;
                Ok(vec![*generation])
            }
            Change::Ordered { token, compromised } => {
                self.head.order = Some(Order {
                    token: token.clone(),
                    compromised: compromised.clone(),
                    at: stamp.at,
                    promoted: false,
                });
                for generation in compromised {
                    let version = self.version(*generation)?;
                    version.compromised = version.compromised.or(Some(stamp.at));
                    // Nothing waits for those who still hold a key that strangers hold too.
                    let waits = version.is_standby() || version.suspend_at.is_some();
                    version.suspend_at =
                        version.suspend_at.or(Some(stamp.at)).filter(|_| waits).map(|at| at.min(stamp.at));
                    version.held = None;
                }
                // What held a rotation may not hold an emergency. What does is met again.
                self.head.held = None;
                Ok(compromised.clone())
            }
            Change::Requested { token } => {
                // Of one that has its version already it is said what began it.
                self.head.request = Some(token.clone()).filter(|token| self.by_carrier(token).is_none());
                Ok(Vec::new())
            }
            Change::Drafting { generation, token, policy, replaces, drawn, trigger: _ } => {
                if let Some(open) = self.head.candidate {
                    let version = self.version(open)?;
                    if open != *generation || version.phase != Some(Phase::Drafting) || version.token() != Some(token) {
                        return Err(Illegal::CandidateOpen(open));
                    }
                    version.open_until = Some(stamp.until);
                    version.held = None;
                } else if self.head.standbys.contains(generation) {
                    let version = self.version(*generation)?;
                    version.step(Transition::Drafting, stamp)?;
                    version.carriers.push(token.clone());
                    version.policy.clone_from(policy);
                    version.suspend_at = None;
                    self.head.standbys.retain(|standby| standby != generation);
                } else {
                    let mut version = self.begin(*generation, Some(token.clone()), policy.clone(), stamp)?;
                    version.phase = Some(Phase::Drafting);
                    version.open_until = Some(stamp.until);
                    self.versions.insert(*generation, version);
                }
                let is_chosen_again = self.head.candidate == Some(*generation);
                let version = self.version(*generation)?;
                version.begun = version.begun.filter(|_| is_chosen_again).or(Some(stamp.at));
                version.replaces = Some(replaces.clone());
                version.take(drawn.as_ref());
                self.head.candidate = Some(*generation);
                self.head.request = None;
                self.head.held = None;
                Ok(vec![*generation])
            }
            Change::Minting { generation, policy, drawn } => {
                if let Some(version) = self.versions.get_mut(generation) {
                    let place = Place(State::PreActivation, Some(Phase::Minting));
                    if version.place() != place {
                        let from = version.place();
                        return Err(Illegal::Transition {
                            generation: *generation,
                            from,
                            transition: Transition::Minted,
                        });
                    }
                    // The try before may have made a key that no look-up shows yet.
                    version.sweep_at = Some(stamp.at + SWEEP_AFTER);
                    version.open_until = Some(stamp.until);
                    version.policy.clone_from(policy);
                    version.held = None;
                } else {
                    let mut version = self.begin(*generation, None, policy.clone(), stamp)?;
                    version.phase = Some(Phase::Minting);
                    version.open_until = Some(stamp.until);
                    self.versions.insert(*generation, version);
                    self.head.standbys.push(*generation);
                }
                self.version(*generation)?.take(drawn.as_ref());
                let mut touched = vec![*generation];
                if let Some(current) = self.head.current {
                    self.version(current)?.held = None;
                    touched.push(current);
                }
                self.head.held = None;
                Ok(touched)
            }
            Change::Minted { generation, provider, found } => {
                let version = self.version(*generation)?;
                version.step(Transition::Minted, stamp)?;
                version.made = Some(stamp.at);
                version.provider.extend(provider.clone());
                if *found {
                    version.sweep_at = Some(stamp.at + SWEEP_AFTER);
                }
                Ok(vec![*generation])
            }
            Change::Published { generation, provider } => {
                let closed = self.head.closed;
                let version = self.version(*generation)?;
                version.step(Transition::Published, stamp)?;
                version.provider.extend(provider.clone());
                version.published = Some(stamp.at);
                // One that was declared compromised while it was made is to go.
                version.suspend_at = version.compromised.or(closed).and(Some(stamp.at));
                self.head.held = None;
                Ok(vec![*generation])
            }
            Change::Drafted { generation, provider, fingerprint, also } => {
                let version = self.version(*generation)?;
                version.step(Transition::Drafted, stamp)?;
                version.provider.extend(provider.clone());
                version.fingerprint.clone_from(fingerprint);
                version.also = *also;
                Ok(vec![*generation])
            }
            Change::Admitted { generation, provider, evidence } => {
                let version = self.version(*generation)?;
                version.step(Transition::Admitted, stamp)?;
                version.provider.extend(provider.clone());
                version.evidence.extend(evidence.clone());
                Ok(vec![*generation])
            }
            Change::Proved { generation, proof } => {
                let version = self.version(*generation)?;
                version.step(Transition::Proved, stamp)?;
                version.proof = Some(proof.clone());
                Ok(vec![*generation])
            }
            Change::Promoted { generation } => self.promote(*generation, stamp),
            Change::Abandoned { generation, .. } => {
                let version = self.version(*generation)?;
                let open_until = version.open_until;
                version.step(Transition::Abandoned, stamp)?;
                // Whoever wrote the last intent may still be about to act on it.
                version.open_until = open_until.or(Some(stamp.at));
                if !version.provider.contains_key("id") && version.policy.publication.is_some() {
                    version.sweep_at = Some(version.open_until.unwrap_or(stamp.at).max(stamp.at) + SWEEP_AFTER);
                }
                self.head.candidate = self.head.candidate.filter(|candidate| candidate != generation);
                self.head.standbys.retain(|standby| standby != generation);
                Ok(vec![*generation])
            }
            Change::Returned { generation, .. } => {
                let version = self.version(*generation)?;
                version.step(Transition::Returned, stamp)?;
                (version.proof, version.replaces) = (None, None);
                self.head.candidate = self.head.candidate.filter(|candidate| candidate != generation);
                self.head.standbys.push(*generation);
                Ok(vec![*generation])
            }
            Change::Witnessed { generation, usage, settled } => {
                let version = self.version(*generation)?;
                version.usage = Some(usage.clone());
                version.looks += 1;
                version.settled.extend(settled.clone());
                // Whatever else had held the look does so no longer.
                version.held = version.held.take().filter(|held| held.hold.reason.is_use());
                Ok(vec![*generation])
            }
            Change::BrowningOut { generation, until } => {
                let version = self.version(*generation)?;
                version.step(Transition::BrowningOut, stamp)?;
                version.brownouts += 1;
                (version.brownout_began, version.brownout_until) = (Some(stamp.at), Some(*until));
                Ok(vec![*generation])
            }
            Change::BrownedOut { generation, ours, .. } => {
                let version = self.version(*generation)?;
                version.step(Transition::Restored, stamp)?;
                (version.brownout_began, version.brownout_until) = (None, None);
                version.ours += ours;
                Ok(vec![*generation])
            }
            Change::Waived { generation } => {
                let version = self.version(*generation)?;
                version.waived = true;
                version.held = None;
                Ok(vec![*generation])
            }
            Change::RollingBack { generation, replaces } => {
                if let Some(open) = self.head.candidate {
                    return Err(Illegal::CandidateOpen(open));
                }
                let version = self.version(*generation)?;
                version.step(Transition::Restoring, stamp)?;
                version.ordered = Some(stamp.at);
                version.replaces = Some(replaces.clone());
                self.head.candidate = Some(*generation);
                self.head.held = None;
                Ok(vec![*generation])
            }
            Change::Claimed { generation } => {
                let version = self.version(*generation)?;
                let until = if version.phase.is_some() { stamp.until } else { stamp.until.min(stamp.at + CURE) };
                version.open_until = Some(until);
                Ok(vec![*generation])
            }
            Change::Vanished { generation } => {
                let version = self.version(*generation)?;
                version.provider.remove("id");
                version.held = None;
                Ok(vec![*generation])
            }
            Change::Restored { generation, provider } => {
                let version = self.version(*generation)?;
                let is_cure = version.phase.is_none();
                version.step(Transition::Restored, stamp)?;
                version.provider.extend(provider.clone());
                if version.is_coming_back() {
                    (version.suspended, version.refused, version.destroy_at) = (None, None, None);
                    (version.disabled, version.proof) = (None, None);
                }
                if is_cure {
                    // What held the credential is put right, or the next try finds what else does.
                    self.head.held = None;
                }
                Ok(vec![*generation])
            }
            Change::Forsaken { generation, .. } => {
                let version = self.version(*generation)?;
                let open_until = version.open_until;
                version.step(Transition::Forsaken, stamp)?;
                version.ordered = None;
                if version.phase == Some(Phase::Suspending) {
                    // Whoever brought it back may be about to let the provider accept it; then it must be shown again that
                    // it is refused.
                    version.open_until = open_until.or(Some(stamp.at));
                    (version.ordered, version.refused) = (Some(stamp.at), None);
                }
                self.head.candidate = self.head.candidate.filter(|candidate| candidate != generation);
                Ok(vec![*generation])
            }
            Change::Closed { generation } => {
                self.supersede(*generation, stamp)?;
                self.head.current = None;
                self.head.closed = Some(stamp.at);
                self.head.held = None;
                let mut touched = vec![*generation];
                for standby in self.versions.values_mut().filter(|version| version.is_standby()) {
                    standby.suspend_at = Some(stamp.at);
                    touched.push(standby.generation);
                }
                Ok(touched)
            }
            Change::Disabling { generation, ground } => {
                let version = self.version(*generation)?;
                version.step(Transition::Disabling, stamp)?;
                version.ground = *ground;
                Ok(vec![*generation])
            }
            Change::Disabled { generation } => {
                let version = self.version(*generation)?;
                version.step(Transition::Disabled, stamp)?;
                version.disabled = Some(stamp.at);
                // Whoever was waited for may have signed until now.
                if version.is_gated() && version.compromised.is_none() {
                    let trusted = version.policy.trusts_for().map(|time| stamp.at + time.delta());
                    version.suspend_at = version.suspend_at.max(trusted);
                }
                Ok(vec![*generation])
            }
            Change::Swept { generation, .. } => {
                let version = self.version(*generation)?;
                version.sweep_at = None;
                version.held = None;
                Ok(vec![*generation])
            }
            Change::Suspending { generation, ground } => {
                let version = self.version(*generation)?;
                version.step(Transition::Suspending, stamp)?;
                version.ground = *ground;
                version.ordered = version.compromised.or(Some(stamp.at));
                Ok(vec![*generation])
            }
            Change::Suspended { generation, provider } => {
                let version = self.version(*generation)?;
                version.step(Transition::Suspended, stamp)?;
                version.provider.extend(provider.clone());
                version.suspended = Some(stamp.at);
                version.disabled = version.disabled.or(version.published.and(Some(stamp.at)));
                version.destroy_at = Some(stamp.at + version.policy.soak.delta());
                Ok(vec![*generation])
            }
            Change::Refused { generation, after, .. } => {
                let version = self.version(*generation)?;
                version.refused = Some(Refusal { at: stamp.at, after: *after });
                version.held = None;
                Ok(vec![*generation])
            }
            Change::Destroying { generation } => {
                self.version(*generation)?.step(Transition::Destroying, stamp)?;
                Ok(vec![*generation])
            }
            Change::Destroyed { generation } => {
                let version = self.version(*generation)?;
                version.step(Transition::Destroyed, stamp)?;
                version.destroyed = Some(stamp.at);
                Ok(vec![*generation])
            }
            Change::Recovered { generation, provider } => {
                let version = self.version(*generation)?;
                version.step(Transition::Recovered, stamp)?;
                version.provider.extend(provider.clone());
                // It soaks from when it is refused, and not from when nobody saw it.
                (version.suspended, version.refused) = (None, None);
                (version.destroy_at, version.destroyed) = (None, None);
                Ok(vec![*generation])
            }
            Change::Mended { generation, provider, .. } => {
                self.head.held = None;
                let Some(generation) = generation else { return Ok(Vec::new()) };
                let version = self.version(*generation)?;
                version.provider.extend(provider.clone());
                version.held = None;
                version.open_until = version.open_until.filter(|_| version.phase.is_some());
                Ok(vec![*generation])
            }
            Change::Carried { generation, carrier } => {
                let version = self.version(*generation)?;
                version.carriers.push(carrier.clone());
                let mut touched = vec![*generation];
                if let Some(candidate) = self.head.candidate {
                    let version = self.version(candidate)?;
                    if let Some(replaces) = version.replaces.as_mut().filter(|r| r.generation == Some(*generation)) {
                        replaces.carrier = Some(carrier.clone());
                        version.held = None;
                        touched.push(candidate);
                    }
                }
                self.head.held = None;
                Ok(touched)
            }
            Change::Held { generation, hold } => {
                let Some(generation) = generation else {
                    self.head.held = Some(hold_again(self.head.held.as_ref(), hold, stamp));
                    return Ok(Vec::new());
                };
                let version = self.version(*generation)?;
                version.held = Some(hold_again(version.held.as_ref(), hold, stamp));
                // Whoever reads a replica may have seen the new value only now: their overlap begins when it is there.
                if hold.reason == HoldReason::ReplicaBehind {
                    version.suspend_at = version.suspend_at.map(|at| at.max(stamp.at + version.policy.overlap.delta()));
                    let signs_for = version.policy.signs_for().map(|time| stamp.at + time.delta());
                    version.disable_at = version.disable_at.max(signs_for).filter(|_| version.disable_at.is_some());
                }
                Ok(vec![*generation])
            }
        }
    }

    /// The current version is due while a standby is missing; standbys beyond the owner's wish are due to go.
    fn settle_standbys(&mut self, stamp: &Stamp, touched: &mut Vec<u32>) {
        let Some(wanted) = self.current().and_then(|current| Some(current.policy.publication.as_ref()?.standbys))
        else {
            return;
        };
        let good = |generation: &u32| self.versions.get(generation).is_some_and(|v| v.compromised.is_none());
        let mut standbys: Vec<u32> = self.head.standbys.iter().copied().filter(good).collect();
        standbys.sort_unstable();
        // The candidate has left its place, which nobody needs to fill before it is current.
        let is_standby = |candidate: &Version| candidate.state == State::PreActivation;
        let filled = standbys.len() + usize::from(self.candidate().is_some_and(is_standby));
        let missing = filled < wanted as usize;
        if let Some(current) = self.head.current.and_then(|generation| self.versions.get_mut(&generation)) {
            let due = current.standby_due.or(Some(stamp.at)).filter(|_| missing);
            if due != current.standby_due {
                current.standby_due = due;
                touched.push(current.generation);
            }
        }
        for (place, generation) in standbys.into_iter().enumerate() {
            let Some(standby) = self.versions.get_mut(&generation).filter(|standby| standby.is_standby()) else {
                continue;
            };
            let due = standby.suspend_at.or(Some(stamp.at)).filter(|_| place >= wanted as usize);
            if due != standby.suspend_at {
                standby.suspend_at = due;
                touched.push(generation);
            }
        }
        touched.sort_unstable();
        touched.dedup();
    }

    fn begin(
        &mut self,
        generation: u32,
        carrier: Option<Token>,
        policy: Policy,
        stamp: &Stamp,
    ) -> Result<Version, Illegal> {
        self.head.kind.clone_from(&policy.kind);
        if generation != self.next_generation() {
            return Err(Illegal::OutOfTurn(generation));
        }
        Ok(Version {
            schema: SCHEMA,
            generation,
            first_event: Some(self.head.ledger.seq + 1),
            id: self.head.name.version_id(&self.head.arn, generation),
            drawn: Vec::new(),
            carriers: carrier.into_iter().collect(),
            state: State::PreActivation,
            phase: None,
            open_until: None,
            replaces: None,
            provider: BTreeMap::new(),
            evidence: BTreeMap::new(),
            policy,
            proof: None,
            fingerprint: None,
            also: None,
            compromised: None,
            held: None,
            created: stamp.at,
            begun: None,
            made: None,
            published: None,
            activated: None,
            standby_due: None,
            deactivated: None,
            disable_at: None,
            disabled: None,
            usage: None,
            looks: 0,
            settled: BTreeMap::new(),
            ours: 0,
            brownouts: 0,
            brownout_began: None,
            brownout_until: None,
            waived: false,
            ground: None,
            suspend_at: None,
            ordered: None,
            suspended: None,
            refused: None,
            destroy_at: None,
            destroyed: None,
            sweep_at: None,
        })
    }

    fn promote(&mut self, generation: u32, stamp: &Stamp) -> Result<Vec<u32>, Illegal> {
        let version = self.version(generation)?;
        version.step(Transition::Promoted, stamp)?;
        version.activated = Some(stamp.at);
        // Of one that a rollback brought back, nothing that followed its deactivation is true any more.
        (version.deactivated, version.disable_at, version.suspend_at) = (None, None, None);
        (version.usage, version.ground, version.ordered) = (None, None, None);
        (version.looks, version.ours, version.brownouts, version.waived) = (0, 0, 0, false);
        // A key drawn after the order was given is unknown to whoever has the old ones, whatever its token; so is a
        // standby that the order does not name.
        let (begun, published) = (version.created, version.published.is_some() && version.compromised.is_none());
        let mut touched = vec![generation];
        if let Some(incumbent) = self.head.current {
            self.supersede(incumbent, stamp)?;
            touched.push(incumbent);
        }
        self.head.current = Some(generation);
        self.head.candidate = None;
        if let Some(order) = self.head.order.as_mut().filter(|order| published || begun >= order.at) {
            order.promoted = true;
        }
        Ok(touched)
    }

    /// Whatever is current is so no longer, for a version of which nothing else is known.
    pub(super) fn displace(&mut self, stamp: &Stamp) -> Result<(), Illegal> {
        self.head.current.take().map_or(Ok(()), |current| self.supersede(current, stamp))
    }

    /// Its overlap begins.
    fn supersede(&mut self, generation: u32, stamp: &Stamp) -> Result<(), Illegal> {
        let version = self.version(generation)?;
        let claimed = version.open_until;
        version.step(Transition::Superseded, stamp)?;
        // Whoever is putting its key right does not know.
        version.open_until = claimed;
        version.deactivated = Some(stamp.at);
        let overlap = if version.compromised.is_some() { TimeDelta::zero() } else { version.policy.overlap.delta() };
        version.suspend_at = Some(stamp.at + overlap);
        let signs_for = version.policy.signs_for().filter(|_| version.compromised.is_none());
        version.disable_at = signs_for.filter(|_| version.policy.is_disabled()).map(|time| stamp.at + time.delta());
        version.standby_due = None;
        version.held = None;
        Ok(())
    }
}

/// A hold that lasts is looked at less and less often, so that it does not fill the ledger.
fn hold_again(before: Option<&Held>, hold: &Hold, stamp: &Stamp) -> Held {
    let since = before.filter(|held| held.hold.reason == hold.reason).map_or(stamp.at, |held| held.since);
    let wait = (stamp.at - since).clamp(TimeDelta::minutes(15), TimeDelta::days(1));
    Held { hold: hold.clone(), since, look_again: stamp.at + wait }
}
