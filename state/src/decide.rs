//! What to do next.
//!
//! [`decide`] is asked again after every answer, every act and every commit. It never remembers anything: what it
//! needs is in the records, or in what was observed since the last commit.

use std::collections::{BTreeMap, BTreeSet};

use crate::Time;
use crate::credential::{Credential, Fingerprint, Proof, Replaces, Version};
use crate::hold::{Hold, HoldReason};
use crate::ledger::{Abandonment, Change};
use crate::lifecycle::{Phase, State};
use crate::name::Token;
use crate::policy::{BadPolicy, Policy, Schedule};
use crate::standby::{choose, give_up, make, mint};

/// Secrets Manager's label for what consumers read.
pub const AWSCURRENT: &str = "AWSCURRENT";
/// Secrets Manager's label for what a rotation is making.
pub const AWSPENDING: &str = "AWSPENDING";

/// One of Secrets Manager's four. In order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// `createSecret`
    Create,
    /// `setSecret`
    Set,
    /// `testSecret`
    Test,
    /// `finishSecret`
    Finish,
}

impl Step {
    /// All four, in order.
    pub const ALL: [Self; 4] = [Self::Create, Self::Set, Self::Test, Self::Finish];

    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "createSecret",
            Self::Set => "setSecret",
            Self::Test => "testSecret",
            Self::Finish => "finishSecret",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.word() == raw)
    }
}

/// What an entrance wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Bring the rotation with that token to the end of that step.
    Step(Step, Token),
    /// Do what is due.
    Retire,
}

/// What is known of the outside since the last commit.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The secret, as `DescribeSecret` gives it.
    pub secret: Option<Secret>,
    /// Whose key the value under `AWSCURRENT` holds.
    pub current: Option<CurrentValue>,
    /// What the value under a token that nobody recorded is.
    pub stray: Option<StrayValue>,
    /// The owner's wishes can be met.
    pub checked: bool,
    /// The provider made the key of that generation: its ids, and whether a look-up found it.
    pub minted: Option<(u32, BTreeMap<String, String>, bool)>,
    /// A look-up found no key of that generation.
    pub missing: Option<u32>,
    /// The key of that generation is fit to be published: what verifiers are told, and what was carried over.
    pub equipped: Option<(u32, BTreeMap<String, String>)>,
    /// The value stands under its token.
    pub drafted: Option<Drafted>,
    /// The provider has the key: its ids, and what was carried over.
    pub admitted: Option<(BTreeMap<String, String>, BTreeMap<String, String>)>,
    /// The test went well.
    pub proof: Option<Proof>,
    /// The provider still has everything that was admitted.
    pub confirmed: bool,
    /// `AWSCURRENT` moved to the candidate.
    pub moved: bool,
    /// That generation signs nothing any more.
    pub disabled: Option<u32>,
    /// Keys that lost answers had left behind for that generation.
    pub swept: Option<(u32, Vec<String>)>,
    /// That generation is refused; and what the provider calls it.
    pub suspended: Option<(u32, BTreeMap<String, String>)>,
    /// That generation is gone.
    pub destroyed: Option<u32>,
    /// The configuration was tested.
    pub preflighted: bool,
    /// Generations whose open intent this very run wrote: no need to wait for its deadline.
    pub ours: BTreeSet<u32>,
}

impl Observed {
    /// What stays known after a commit: the labels, unless this run moved one, whose the intents are, and which key was
    /// made, because nobody else may know.
    pub fn after_commit(self) -> Self {
        let secret = if self.moved { None } else { self.secret };
        Self { secret, ours: self.ours, minted: self.minted, ..Self::default() }
    }
}

/// What a value under its token says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drafted {
    /// What the provider calls the key, or will.
    pub provider: BTreeMap<String, String>,
    /// By which a leaked string is found.
    pub fingerprint: Option<Fingerprint>,
    /// The version whose key it holds as well.
    pub also: Option<u32>,
}

/// A secret, without its values.
#[derive(Clone, Debug)]
pub struct Secret {
    /// The full ARN.
    pub arn: String,
    /// Deleted, or scheduled to be.
    pub deleted: bool,
    /// Whether rotation is configured.
    pub rotation_enabled: bool,
    /// Which labels each version has; a version without any may be missing.
    pub labels: BTreeMap<Token, BTreeSet<String>>,
    /// The owner's wishes, or why they can't be used.
    pub wishes: Result<Policy, BadPolicy>,
    /// When it rotates by itself.
    pub schedule: Schedule,
    /// Regions whose replica has not received the current value.
    pub replicas_behind: Vec<String>,
}

impl Secret {
    /// Who holds a label.
    pub fn holder(&self, label: &str) -> Option<&Token> {
        self.labels.iter().find(|(_, labels)| labels.contains(label)).map(|(token, _)| token)
    }

    /// Whether that version has that label.
    pub fn has(&self, token: &Token, label: &str) -> bool {
        self.labels.get(token).is_some_and(|labels| labels.contains(label))
    }
}

/// Whose key a value holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CurrentValue {
    /// There is no key in it.
    WithoutKey,
    /// A key that the provider does not know.
    Unknown,
    /// A key of the provider's: its ids, under `id` the one that tells keys apart.
    Key(BTreeMap<String, String>, Option<Fingerprint>),
}

/// What a value under an unrecorded token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrayValue {
    /// The empty placeholder, or the current value: only the configuration is being tested.
    Preflight,
    /// Something else.
    Other,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Find something out.
    Look(Question),
    /// Act at the provider or at Secrets Manager. Every action converges when repeated.
    Perform(Action),
    /// Write it down.
    Commit(Change),
    /// Ask again until then: an intent is its writer's so long, and what it may still do can't be undone.
    WaitUntil(Time),
    /// Stop until something changes. `None`: no version is concerned yet.
    Hold(Option<u32>, Hold),
    /// The request makes no sense; nothing is changed.
    Refuse(Refusal),
    /// The goal is reached.
    Done,
}

/// What has to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// [`Observed::secret`]
    Secret,
    /// [`Observed::current`], of the value that this carrier holds.
    Current(Token),
    /// [`Observed::stray`], of the value that this token holds.
    Stray(Token),
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// See that the wishes can be met, for a candidate that would replace that: a standby, or a key yet to be drawn.
    Check(Replaces, Option<u32>),
    /// Make a key that is to be published ahead of its use. Not to be repeated when its answer is lost.
    Mint(u32),
    /// Look for the key that a lost answer may have left.
    Find(u32),
    /// Let signers use the key, and learn what verifiers are to be told.
    Equip(u32),
    /// Put a value under the candidate's token, unless one is there.
    Draft(u32),
    /// Let the provider accept the candidate wherever the incumbent is accepted.
    Admit(u32),
    /// Send real requests with the candidate, and one with a made-up key.
    Prove(u32),
    /// See that the provider still has what was admitted.
    Confirm(u32),
    /// Move `AWSCURRENT` from the recorded incumbent to the candidate.
    Promote(u32),
    /// Test the configuration with the current value.
    Preflight,
    /// Take `AWSPENDING` off a version whose rotation is over.
    Unpend(Token),
    /// Let the key sign nothing any more.
    Disable(u32),
    /// Do away with keys that lost answers left behind.
    Sweep(u32),
    /// Let the provider refuse the key.
    Suspend(u32),
    /// Delete the key.
    Destroy(u32),
}

/// Why a request makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Rotation is off.
    #[error("rotation is not enabled for this secret: configure it with RotateSecret, or `rotator adopt`")]
    RotationDisabled,
    /// Secrets Manager does not know the token.
    #[error(
        "the token {0} belongs to no version of this secret: rotate with RotateSecret instead of calling the function"
    )]
    UnknownToken(Token),
    /// Another rotation has taken over.
    #[error("the token {0} does not hold AWSPENDING: its rotation is over or was abandoned; start a new one")]
    NotPending(Token),
    /// We gave that rotation up.
    #[error("the rotation with token {0} was abandoned and its key is being retired: start a new one")]
    Abandoned(Token),
    /// The wishes contradict themselves, or can't be read.
    #[error("the secret's tags can't be used")]
    Policy(#[from] BadPolicy),
}

/// What to do next towards a goal.
pub fn decide(goal: &Goal, credential: &Credential, observed: &Observed, now: Time) -> Decision {
    match goal {
        Goal::Step(step, token) => decide_step(*step, token, credential, observed, now),
        Goal::Retire => decide_retire(credential, observed, now),
    }
}

fn decide_step(step: Step, token: &Token, credential: &Credential, observed: &Observed, now: Time) -> Decision {
    // Finished and recorded: there is nothing left to learn.
    if step == Step::Finish && credential.current().is_some_and(|version| version.carriers.contains(token)) {
        return Decision::Done;
    }
    let Some(secret) = &observed.secret else { return Decision::Look(Question::Secret) };
    if let Some(decision) = wrong_secret(credential, secret) {
        return decision;
    }
    if !secret.rotation_enabled {
        return Decision::Refuse(Refusal::RotationDisabled);
    }
    if !secret.labels.contains_key(token) {
        return Decision::Refuse(Refusal::UnknownToken(token.clone()));
    }
    if let Some(decision) = label_already_moved(credential, secret) {
        return decision;
    }
    let known = credential.by_carrier(token);
    // A rotation that was given up has handed its key back: the token may choose again.
    let is_handed_back =
        |version: &Version| version.is_standby() || version.phase.is_some() && version.token() != Some(token);
    let version = known.filter(|version| version.state != State::PreActivation || !is_handed_back(version));
    if secret.has(token, AWSCURRENT) {
        return Decision::Done;
    }
    if !secret.has(token, AWSPENDING) {
        return Decision::Refuse(Refusal::NotPending(token.clone()));
    }
    if let Some(version) = version {
        return match (version.state, version.phase) {
            (State::PreActivation, Some(Phase::Suspending)) | (State::Suspended | State::Destroyed, _) => {
                Decision::Refuse(Refusal::Abandoned(token.clone()))
            }
            (State::PreActivation, _) => advance(version, credential, secret, observed, step, now),
            // Its rotation left the label behind, and then somebody made another version current by hand.
            (State::Active, _) => match incumbent(credential, secret, observed) {
                Ok(_) => Decision::Perform(Action::Unpend(token.clone())),
                Err(decision) => *decision,
            },
            // It was current once, and somebody wants it to be again.
            (State::Deactivated, _) => hold(
                Some(version.generation),
                HoldReason::LabelMoved,
                format!("AWSPENDING is on version {token}, which is {}", version.state),
            ),
        };
    }
    match step {
        Step::Create => begin(token, credential, secret, observed, now),
        Step::Set | Step::Test | Step::Finish if known.is_some() => Decision::Refuse(Refusal::Abandoned(token.clone())),
        Step::Test => match observed.stray {
            None => Decision::Look(Question::Stray(token.clone())),
            Some(StrayValue::Other) => Decision::Refuse(Refusal::UnknownToken(token.clone())),
            Some(StrayValue::Preflight) => match &secret.wishes {
                Err(bad) => Decision::Refuse(Refusal::Policy(bad.clone())),
                Ok(_) if observed.preflighted => Decision::Done,
                Ok(_) => Decision::Perform(Action::Preflight),
            },
        },
        Step::Set | Step::Finish => Decision::Refuse(Refusal::UnknownToken(token.clone())),
    }
}

/// A candidate that is not there yet.
fn begin(token: &Token, credential: &Credential, secret: &Secret, observed: &Observed, now: Time) -> Decision {
    if let Some(other) = credential.candidate() {
        // Its writer may be about to move the label, and no commit can stop that; the end of its time can.
        if let Some(until) = other.open_until.filter(|until| other.phase == Some(Phase::Promoting) && *until > now) {
            return Decision::WaitUntil(until);
        }
        return Decision::Commit(give_up(credential, other, Abandonment::OtherToken));
    }
    let policy = match &secret.wishes {
        Ok(policy) => policy,
        Err(bad) => return Decision::Refuse(Refusal::Policy(bad.clone())),
    };
    if !credential.head.kind.is_empty() && policy.kind != credential.head.kind {
        let (found, recorded) = (policy.kind.clone(), credential.head.kind.clone());
        return Decision::Refuse(Refusal::Policy(BadPolicy::KindChanged { found, recorded }));
    }
    if let Err(bad) = policy.check_schedule(&secret.schedule, now) {
        return Decision::Refuse(Refusal::Policy(bad));
    }
    let replaces = match incumbent(credential, secret, observed) {
        Ok(replaces) => replaces,
        Err(decision) => return *decision,
    };
    let standby = match policy.publication {
        None => None,
        Some(_) => match choose(credential, policy, &replaces, observed, now) {
            Ok(standby) => Some(standby.generation),
            Err(decision) => return *decision,
        },
    };
    // An emergency is not kept waiting by a number, and a standby is one of them already.
    if standby.is_none()
        && credential.head.order.is_none()
        && let Some(hold) = too_many_live(credential, policy)
    {
        return Decision::Hold(None, hold);
    }
    if !observed.checked {
        return Decision::Perform(Action::Check(replaces, standby));
    }
    Decision::Commit(Change::Drafting {
        generation: standby.unwrap_or_else(|| credential.next_generation()),
        token: token.clone(),
        policy: policy.clone(),
        replaces,
    })
}

fn too_many_live(credential: &Credential, policy: &Policy) -> Option<Hold> {
    let live = credential.live();
    (live + 1 > policy.max_live as usize).then(|| {
        let detail = format!("{live} versions are alive already and rotator:max-live is {}", policy.max_live);
        Hold::new(HoldReason::TooManyLive, detail)
    })
}

/// Who holds `AWSCURRENT`, and that it is who we think.
fn incumbent(credential: &Credential, secret: &Secret, observed: &Observed) -> Result<Replaces, Box<Decision>> {
    let current = credential.current();
    let Some(carrier) = secret.holder(AWSCURRENT) else {
        return match current {
            None => Ok(Replaces { generation: None, carrier: None }),
            Some(version) => Err(Box::new(hold(
                None,
                HoldReason::LabelMoved,
                format!("no version holds AWSCURRENT; generation {} should", version.generation),
            ))),
        };
    };
    if let Some(version) = credential.by_carrier(carrier) {
        if Some(version.generation) == credential.head.current {
            return Ok(Replaces { generation: Some(version.generation), carrier: Some(carrier.clone()) });
        }
        let detail = format!("AWSCURRENT is on generation {}, which is {}", version.generation, version.state);
        return Err(Box::new(hold(None, HoldReason::LabelMoved, detail)));
    }
    Err(Box::new(match (&observed.current, current) {
        (None, _) => Decision::Look(Question::Current(carrier.clone())),
        (Some(CurrentValue::WithoutKey), None) => {
            return Ok(Replaces { generation: None, carrier: Some(carrier.clone()) });
        }
        (Some(CurrentValue::WithoutKey), Some(version)) => hold(
            None,
            HoldReason::ValueWiped,
            format!("version {carrier} is current and has no key; generation {} should be current", version.generation),
        ),
        (Some(CurrentValue::Unknown), None) => hold(
            None,
            HoldReason::KeyVanished,
            format!("the key in version {carrier} is not among the provider's keys"),
        ),
        (Some(CurrentValue::Key(provider, fingerprint)), None) => match &secret.wishes {
            Err(bad) => Decision::Refuse(Refusal::Policy(bad.clone())),
            Ok(policy) => Decision::Commit(Change::Adopted {
                generation: credential.next_generation(),
                carrier: carrier.clone(),
                provider: provider.clone(),
                policy: policy.clone(),
                fingerprint: fingerprint.clone(),
            }),
        },
        (Some(CurrentValue::Key(provider, _)), Some(version)) if provider.get("id") == version.provider.get("id") => {
            Decision::Commit(Change::Carried { generation: version.generation, carrier: carrier.clone() })
        }
        (Some(CurrentValue::Unknown | CurrentValue::Key(..)), Some(version)) => hold(
            None,
            HoldReason::ForeignValue,
            format!("version {carrier} is current and holds another key than generation {}", version.generation),
        ),
    }))
}

/// From wherever the candidate is towards the end of that step.
fn advance(
    version: &Version,
    credential: &Credential,
    secret: &Secret,
    observed: &Observed,
    step: Step,
    now: Time,
) -> Decision {
    let generation = version.generation;
    if credential.is_tainted(version) && !observed.moved {
        // As with another token: whoever is about to move the label can't be stopped.
        let theirs = version.phase == Some(Phase::Promoting) && !observed.ours.contains(&generation);
        if let Some(until) = version.open_until.filter(|until| theirs && *until > now) {
            return Decision::WaitUntil(until);
        }
        return Decision::Commit(Change::Abandoned { generation, why: Abandonment::Tainted });
    }
    match version.phase {
        Some(Phase::Drafting) => match &observed.drafted {
            Some(Drafted { provider, fingerprint, also }) => Decision::Commit(Change::Drafted {
                generation,
                provider: provider.clone(),
                fingerprint: fingerprint.clone(),
                also: *also,
            }),
            None => Decision::Perform(Action::Draft(generation)),
        },
        Some(Phase::Admitting) if step < Step::Set => Decision::Done,
        Some(Phase::Admitting) => match &observed.admitted {
            Some((provider, evidence)) => Decision::Commit(Change::Admitted {
                generation,
                provider: provider.clone(),
                evidence: evidence.clone(),
            }),
            None => Decision::Perform(Action::Admit(generation)),
        },
        Some(Phase::Proving) if step < Step::Test => Decision::Done,
        Some(Phase::Proving) => match &observed.proof {
            Some(proof) => Decision::Commit(Change::Proved { generation, proof: proof.clone() }),
            None => Decision::Perform(Action::Prove(generation)),
        },
        Some(Phase::Promoting) if step < Step::Finish => Decision::Done,
        Some(Phase::Promoting) => {
            if observed.moved {
                return Decision::Commit(Change::Promoted { generation });
            }
            // The recorded holder, not the present one: or the compare-and-swap would compare nothing.
            let recorded = version.replaces.as_ref().and_then(|replaces| replaces.carrier.as_ref());
            if secret.holder(AWSCURRENT) != recorded {
                return match incumbent(credential, secret, observed) {
                    Ok(_) => hold(
                        Some(generation),
                        HoldReason::LabelMoved,
                        "AWSCURRENT moved while the candidate was being made",
                    ),
                    Err(decision) => match *decision {
                        Decision::Hold(None, hold) => Decision::Hold(Some(generation), hold),
                        other @ (Decision::Look(_)
                        | Decision::Perform(_)
                        | Decision::Commit(_)
                        | Decision::WaitUntil(_)
                        | Decision::Hold(Some(_), _)
                        | Decision::Refuse(_)
                        | Decision::Done) => other,
                    },
                };
            }
            if observed.confirmed {
                Decision::Perform(Action::Promote(generation))
            } else {
                Decision::Perform(Action::Confirm(generation))
            }
        }
        // Only reached if the records contradict the lifecycle, which `apply` does not allow.
        Some(Phase::Minting | Phase::Publishing | Phase::Disabling | Phase::Suspending | Phase::Destroying) | None => {
            version.token().map_or(Decision::Done, |token| Decision::Refuse(Refusal::Abandoned(token.clone())))
        }
    }
}

fn decide_retire(credential: &Credential, observed: &Observed, now: Time) -> Decision {
    let is_due = |version: &&Version| {
        version.due().is_some_and(|at| at <= now)
            || observed.ours.contains(&version.generation) && version.phase.is_some()
    };
    let promoting = credential.candidate().filter(|version| version.phase == Some(Phase::Promoting));
    let due: Vec<&Version> = credential.versions.values().filter(is_due).collect();
    if due.is_empty() && promoting.is_none() {
        return Decision::Done;
    }
    let Some(secret) = &observed.secret else { return Decision::Look(Question::Secret) };
    // Nothing is retired on the word of another secret; each version waits under its own hold.
    if let Some(Decision::Hold(None, hold)) = wrong_secret(credential, secret) {
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
                    None => mint(credential, &version.policy, now),
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
            (State::Deactivated, _) if version.suspend_at.is_some_and(|at| at <= now) => {
                return Decision::Commit(Change::Suspending { generation });
            }
            (State::Deactivated, _) => return Decision::Commit(Change::Disabling { generation }),
            (State::Suspended, Some(_)) => {
                return if observed.destroyed == Some(generation) {
                    Decision::Commit(Change::Destroyed { generation })
                } else {
                    Decision::Perform(Action::Destroy(generation))
                };
            }
            (State::Suspended, None) => return Decision::Commit(Change::Destroying { generation }),
            (State::PreActivation, Some(Phase::Disabling | Phase::Destroying)) | (State::Destroyed, _) => {}
        }
    }
    Decision::Done
}

/// Never refuse or delete what Secrets Manager still hands out. Candidates on their way are not being refused.
fn guard(version: &Version, credential: &Credential, secret: &Secret) -> Option<Decision> {
    let retiring = match (version.state, version.phase) {
        (State::PreActivation, phase) => phase == Some(Phase::Suspending),
        (State::Deactivated | State::Suspended, _) => true,
        (State::Active | State::Destroyed, _) => false,
    };
    if !retiring {
        return None;
    }
    let generation = Some(version.generation);
    // A token that a given-up rotation had used for this key may have been used for another since.
    let is_its = |carrier: &&Token| credential.by_carrier(carrier).is_some_and(|v| v.generation == version.generation);
    for carrier in version.carriers.iter().filter(is_its) {
        // Abandoned, and then its writer put the value after all, which moved the label back: no rotation with that
        // token can come to its end any more, and left there the label blocks every other.
        if version.activated.is_none() && secret.has(carrier, AWSPENDING) && !secret.has(carrier, AWSCURRENT) {
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

fn wrong_secret(credential: &Credential, secret: &Secret) -> Option<Decision> {
    if secret.arn != credential.head.arn {
        let detail = format!("the records are about {}, the secret is {}", credential.head.arn, secret.arn);
        return Some(hold(None, HoldReason::SecretReplaced, detail));
    }
    secret.deleted.then(|| hold(None, HoldReason::SecretDeleted, "the secret is deleted or scheduled to be"))
}

/// The label is on the candidate: the commit that tells so was lost.
fn label_already_moved(credential: &Credential, secret: &Secret) -> Option<Decision> {
    let candidate = credential.candidate()?;
    if !candidate.carriers.iter().any(|carrier| secret.has(carrier, AWSCURRENT)) {
        return None;
    }
    let generation = candidate.generation;
    Some(if candidate.phase == Some(Phase::Promoting) {
        Decision::Commit(Change::Promoted { generation })
    } else {
        let detail = format!("AWSCURRENT is on generation {generation}, which nothing has proved yet");
        hold(Some(generation), HoldReason::LabelMoved, detail)
    })
}

fn hold(generation: Option<u32>, reason: HoldReason, detail: impl Into<String>) -> Decision {
    Decision::Hold(generation, Hold::new(reason, detail))
}
