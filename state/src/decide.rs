//! What to do next.
//!
//! [`decide`] is asked again after every answer, every act and every commit. It never remembers anything: what it
//! needs is in the records, or in what was observed since the last commit.

use std::collections::{BTreeMap, BTreeSet};

use crate::Time;
use crate::credential::{Credential, Drawn, Fingerprint, Order, Proof, Replaces, Settlements, Version};
use crate::drift::{Finding, Inventory, decide_mend};
use crate::evidence::{Owed, Sighting};
use crate::hold::{Hold, HoldReason};
use crate::ledger::{Abandonment, Change};
use crate::lifecycle::{Phase, State};
use crate::name::Token;
use crate::policy::{BadPolicy, Policy, Schedule};
use crate::retire::{decide_close, decide_retire};
use crate::rollback::{NoWayBack, decide_rollback};
use crate::standby::{choose, give_up};
use crate::trigger::trigger;

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
    /// Put a finding right, if it still stands.
    Mend(Finding),
    /// Bring that generation back.
    RollBack(u32),
    /// Let the keys of a secret that is gone for good be retired, if its owner said so.
    Close,
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
    /// What the next intent may name.
    pub drawn: Option<Drawn>,
    /// The provider made the key of that generation: its ids, and whether a look-up found it.
    pub minted: Option<(u32, BTreeMap<String, String>, bool)>,
    /// A look-up found nothing that had been made for that generation.
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
    /// The value of a version that is to come back can be read.
    pub readable: Option<bool>,
    /// What was told of that generation's use.
    pub sighting: Option<(u32, Sighting)>,
    /// What was left to all live keys is written, and read again.
    pub settled: Option<Settlements>,
    /// The provider accepts that generation again; its ids.
    pub restored: Option<(u32, BTreeMap<String, String>)>,
    /// The provider was seen to accept that generation again after a brownout: how many requests were refused in it, and
    /// how many of our own were not.
    pub relit: Option<(u32, Option<u64>, u64)>,
    /// Whether a request with that generation's key was refused, and when; or why nobody can tell.
    pub refused: Option<(u32, Result<Time, String>)>,
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
    /// What the outside shows besides the labels.
    pub inventory: Option<Inventory>,
    /// `AWSCURRENT` was moved back to where the records have it.
    pub moved_back: bool,
    /// `AWSPENDING` was taken off that version.
    pub unpended: Option<Token>,
    /// Generations with which this run can't go on: others wait behind them.
    pub stuck: BTreeSet<u32>,
    /// Generations whose open intent this very run wrote: no need to wait for its deadline.
    pub ours: BTreeSet<u32>,
}

impl Observed {
    /// What stays known after a commit: the labels, unless this run moved one or looked at a key's use, which may take
    /// minutes; whose the intents are; and which key was made, because nobody else may know.
    pub fn after_commit(self) -> Self {
        let secret = if self.moved || self.sighting.is_some() { None } else { self.secret };
        Self { secret, ours: self.ours, stuck: self.stuck, minted: self.minted, ..Self::default() }
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
    /// Deleted for good: nobody can restore it.
    pub gone: bool,
    /// Whether rotation is configured.
    pub rotation_enabled: bool,
    /// Which labels each version has; a version without any may be missing.
    pub labels: BTreeMap<Token, BTreeSet<String>>,
    /// The owner's wishes, or why they can't be used.
    pub wishes: Result<Policy, BadPolicy>,
    /// When it rotates by itself.
    pub schedule: Schedule,
    /// When it was made.
    pub created: Option<Time>,
    /// When it was rotated last, or what counts as that; `None` if it never was.
    pub last_rotated: Option<Time>,
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
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and whoever gets it takes the change out of it")]
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
    /// [`Observed::inventory`].
    Inventory {
        /// With the provider's keys and the key set.
        keys: bool,
    },
    /// [`Observed::readable`], of the value that this carrier holds.
    Readable(Token),
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// See that the wishes can be met, for a candidate that would replace that: a standby, or a key yet to be drawn.
    Check(Replaces, Option<u32>),
    /// Draw what that intent needs, before it is written: an id, and a value where it is ours to choose. In memory only.
    Draw(Box<Change>),
    /// Make a key that is to be published ahead of its use. Not to be repeated when its answer is lost.
    Mint(u32),
    /// Look for the key that a lost answer may have left.
    Find(u32),
    /// Let signers use the key, and learn what verifiers are to be told.
    Equip(u32),
    /// Put the value that was drawn under the candidate's token, or see that it is there.
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
    /// Move `AWSCURRENT` back to where the records have it, from exactly there.
    MoveBack {
        /// Its holder now, if any.
        from: Option<Token>,
        /// The recorded current version's carrier.
        to: Token,
    },
    /// Look at the use of the key, and at what all live keys used of the allowances that they share.
    Witness(u32),
    /// Give every live key what is left to all of them, and read it again.
    Settle(u32, Owed),
    /// Let the provider accept the key as the records say: enabled, in its plans, made again if it vanished.
    Restore(u32),
    /// The same at the end of a brownout: with a request that shows it, and the number of those that were refused.
    Relight(u32),
    /// Send a request with the key that the provider was told to refuse.
    Expose(u32),
    /// Let the key sign nothing any more.
    Disable(u32),
    /// Do away with keys that lost answers left behind.
    Sweep(u32),
    /// Let the provider refuse the key.
    Suspend(u32),
    /// Delete the key.
    Destroy(u32),
}

impl Action {
    /// The version whose key or label it changes outside: it needs an intent that stands, and it ends with that.
    pub fn changes(&self) -> Option<u32> {
        if let Self::Draft(generation)
        | Self::Admit(generation)
        | Self::Promote(generation)
        | Self::Restore(generation)
        | Self::Relight(generation)
        | Self::Disable(generation)
        | Self::Suspend(generation)
        | Self::Destroy(generation) = self
        {
            Some(*generation)
        } else {
            None
        }
    }

    /// What it does to a version's key at its provider that nobody may have done to another key.
    pub fn touch(&self) -> Option<Touch> {
        match self {
            Self::Disable(generation) | Self::Suspend(generation) | Self::Destroy(generation) => {
                Some(Touch::Refuses(*generation))
            }
            Self::Restore(generation) | Self::Relight(generation) => Some(Touch::Allows(*generation)),
            Self::Sweep(generation) => Some(Touch::Sweeps(*generation)),
            Self::Check(..)
            | Self::Draw(_)
            | Self::Mint(_)
            | Self::Find(_)
            | Self::Equip(_)
            | Self::Draft(_)
            | Self::Admit(_)
            | Self::Prove(_)
            | Self::Confirm(_)
            | Self::Promote(_)
            | Self::Preflight
            | Self::Unpend(_)
            | Self::MoveBack { .. }
            | Self::Witness(_)
            | Self::Settle(..)
            | Self::Expose(_) => None,
        }
    }
}

/// What an action does to the key of a generation: what one record alone says of it is no reason for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// It refuses or deletes the key that the record names.
    Refuses(u32),
    /// It lets that key be accepted again.
    Allows(u32),
    /// It deletes keys that no record names yet.
    Sweeps(u32),
}

impl Touch {
    /// Of which version.
    pub fn generation(self) -> u32 {
        match self {
            Self::Refuses(generation) | Self::Allows(generation) | Self::Sweeps(generation) => generation,
        }
    }
}

/// Why a request makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Rotation is off.
    #[error(
        "rotation is switched off for this secret: `aws secretsmanager rotate-secret --no-rotate-immediately --secret-id` \
         and its name switches it on again; if it never was on, `rotator adopt`, or --rotation-lambda-arn and a schedule"
    )]
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
    /// There is no way back.
    #[error("there is no way back")]
    Rollback(#[source] NoWayBack),
    /// The wishes contradict themselves, or can't be read.
    #[error("the secret's tags can't be used")]
    Policy(#[from] BadPolicy),
}

/// What to do next towards a goal.
pub fn decide(goal: &Goal, credential: &Credential, observed: &Observed, now: Time) -> Decision {
    let next = pursue(goal, credential, observed, now);
    let Decision::Perform(action) = &next else { return next };
    let Some(version) = action.changes().and_then(|generation| credential.versions.get(&generation)) else {
        return next;
    };
    // Whoever acted longer than its intent stands would act on what others may have decided since.
    match version.claimed_until(now) {
        None => Decision::Commit(Change::Claimed { generation: version.generation }),
        Some(until) if version.phase.is_none() && !observed.ours.contains(&version.generation) => {
            Decision::WaitUntil(until)
        }
        Some(_) => next,
    }
}

fn pursue(goal: &Goal, credential: &Credential, observed: &Observed, now: Time) -> Decision {
    match goal {
        Goal::Step(step, token) => decide_step(*step, token, credential, observed, now),
        Goal::Retire => decide_retire(credential, observed, now),
        Goal::Mend(finding) => decide_mend(finding, credential, observed, now),
        Goal::RollBack(to) => {
            let Some(secret) = &observed.secret else { return Decision::Look(Question::Secret) };
            let wrong = wrong_secret(credential, secret).or_else(|| label_already_moved(credential, secret));
            wrong.unwrap_or_else(|| decide_rollback(*to, credential, secret, observed, now))
        }
        Goal::Close => decide_close(credential, observed),
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
            // Its rotation left the label behind, and then somebody moved AWSCURRENT away and back.
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
        Step::Test => match (&secret.wishes, observed.stray) {
            // First of all: without the tag of a kind the function's role may not read the value either.
            (Err(bad), _) => Decision::Refuse(Refusal::Policy(bad.clone())),
            (Ok(_), None) => Decision::Look(Question::Stray(token.clone())),
            (Ok(_), Some(StrayValue::Other)) => Decision::Refuse(Refusal::UnknownToken(token.clone())),
            (Ok(_), Some(StrayValue::Preflight)) if observed.preflighted => Decision::Done,
            (Ok(policy), Some(StrayValue::Preflight)) => match policy.check_name(credential) {
                Err(bad) => Decision::Refuse(Refusal::Policy(bad)),
                Ok(()) => Decision::Perform(Action::Preflight),
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
    if let Err(bad) = policy.check_name(credential).and_then(|()| policy.check_schedule(&secret.schedule, now)) {
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
    let generation = standby.unwrap_or_else(|| credential.next_generation());
    let trigger = Some(trigger(token, credential, secret, now));
    let (token, policy) = (token.clone(), policy.clone());
    intend(Change::Drafting { generation, token, policy, replaces, drawn: None, trigger }, observed)
}

/// Writes an intent to make something, once it is drawn what that will be.
pub(crate) fn intend(intent: Change, observed: &Observed) -> Decision {
    match &observed.drawn {
        Some(drawn) => Decision::Commit(intent.naming(drawn.clone())),
        None => Decision::Perform(Action::Draw(Box::new(intent))),
    }
}

/// Why another version would be one too many, if it would.
pub fn too_many_live(credential: &Credential, policy: &Policy) -> Option<Hold> {
    let live = credential.live();
    (live + 1 > policy.max_live as usize).then(|| {
        let detail = format!("{live} versions are alive already and rotator:max-live is {}", policy.max_live);
        Hold::new(HoldReason::TooManyLive, detail)
    })
}

/// Who holds `AWSCURRENT`, and that it is who we think.
fn incumbent(credential: &Credential, secret: &Secret, observed: &Observed) -> Result<Replaces, Box<Decision>> {
    let current = credential.current();
    // An emergency replaces whatever consumers read instead of a key that a stranger has: nobody should bring that back
    // only to have it replaced.
    let order = credential.head.order.as_ref();
    let is_compromised = |version: &Version| order.is_some_and(|order| order.compromised.contains(&version.generation));
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
        if let Some(current) = current.filter(|current| is_compromised(current)) {
            return Ok(Replaces { generation: Some(current.generation), carrier: Some(carrier.clone()) });
        }
        let detail = format!("AWSCURRENT is on generation {}, which is {}", version.generation, version.state);
        return Err(Box::new(hold(None, HoldReason::LabelMoved, detail)));
    }
    Err(Box::new(match (&observed.current, current) {
        (None, _) => Decision::Look(Question::Current(carrier.clone())),
        (Some(CurrentValue::WithoutKey), None) => {
            return Ok(Replaces { generation: None, carrier: Some(carrier.clone()) });
        }
        (Some(CurrentValue::WithoutKey), Some(version)) if is_compromised(version) => {
            return Ok(Replaces { generation: Some(version.generation), carrier: Some(carrier.clone()) });
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
        // An emergency replaces whatever consumers read: a key that somebody made by hand when nothing else worked.
        (Some(CurrentValue::Unknown | CurrentValue::Key(..)), Some(version)) if credential.head.order.is_some() => {
            return Ok(Replaces { generation: Some(version.generation), carrier: Some(carrier.clone()) });
        }
        (Some(CurrentValue::Unknown | CurrentValue::Key(..)), Some(version)) => hold(
            None,
            HoldReason::ForeignValue,
            format!("version {carrier} is current and holds another key than generation {}", version.generation),
        ),
    }))
}

/// From wherever the candidate is towards the end of that step.
pub(crate) fn advance(
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
        let why = Abandonment::Tainted;
        return Decision::Commit(if version.is_coming_back() {
            Change::Forsaken { generation, why }
        } else {
            Change::Abandoned { generation, why }
        });
    }
    match version.phase {
        Some(Phase::Restoring) => match &observed.restored {
            Some((done, provider)) if *done == generation => {
                Decision::Commit(Change::Restored { generation, provider: provider.clone() })
            }
            Some(_) | None => Decision::Perform(Action::Restore(generation)),
        },
        Some(Phase::Drafting) => match &observed.drafted {
            Some(Drafted { provider, fingerprint, also }) => Decision::Commit(Change::Drafted {
                generation,
                provider: provider.clone(),
                fingerprint: fingerprint.clone(),
                also: *also,
            }),
            // What was drawn for it is lost with whoever drew it.
            None if observed.missing == Some(generation) => {
                let (token, replaces) = (version.token().cloned(), version.replaces.clone());
                let Some((token, replaces)) = token.zip(replaces) else { return Decision::Done };
                let policy = version.policy.clone();
                intend(Change::Drafting { generation, token, policy, replaces, drawn: None, trigger: None }, observed)
            }
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
            // What came in last may still carry the label of its own rotation, and would block every other one with it.
            if let Some(left) = recorded.filter(|left| version.is_coming_back() && secret.has(left, AWSPENDING)) {
                return Decision::Perform(Action::Unpend(left.clone()));
            }
            if observed.confirmed {
                Decision::Perform(Action::Promote(generation))
            } else {
                Decision::Perform(Action::Confirm(generation))
            }
        }
        // Only reached if the records contradict the lifecycle, which `apply` does not allow.
        Some(
            Phase::Minting
            | Phase::Publishing
            | Phase::BrowningOut
            | Phase::Disabling
            | Phase::Suspending
            | Phase::Destroying,
        )
        | None => version.token().map_or(Decision::Done, |token| Decision::Refuse(Refusal::Abandoned(token.clone()))),
    }
}

pub(crate) fn wrong_secret(credential: &Credential, secret: &Secret) -> Option<Decision> {
    if secret.arn != credential.head.arn {
        let detail = format!("the records are about {}, the secret is {}", credential.head.arn, secret.arn);
        return Some(hold(None, HoldReason::SecretReplaced, detail));
    }
    secret.deleted.then(|| hold(None, HoldReason::SecretDeleted, "the secret is deleted or scheduled to be"))
}

/// The label is on the candidate: the commit that tells so was lost.
pub(crate) fn label_already_moved(credential: &Credential, secret: &Secret) -> Option<Decision> {
    let candidate = credential.candidate()?;
    // A version of the secret that an earlier rotation had chosen for the same key may be empty.
    let is_its = |carrier: &&Token| candidate.is_coming_back() || candidate.token() == Some(*carrier);
    if !candidate.carriers.iter().filter(is_its).any(|carrier| secret.has(carrier, AWSCURRENT)) {
        return None;
    }
    let generation = candidate.generation;
    // An emergency replaces whatever consumers read: that nobody has proved it is no reason to wait.
    let order = credential.head.order.as_ref().filter(|order| !order.promoted);
    let is_replaced =
        |order: &Order| credential.head.current.is_some_and(|current| order.compromised.contains(&current));
    if candidate.phase != Some(Phase::Promoting) && order.is_some_and(is_replaced) {
        return None;
    }
    // Whoever rolls back by hand moves the label first; the rest follows.
    if candidate.is_coming_back() && candidate.phase != Some(Phase::Promoting) {
        return None;
    }
    Some(if candidate.phase == Some(Phase::Promoting) {
        Decision::Commit(Change::Promoted { generation })
    } else {
        let detail = format!("AWSCURRENT is on generation {generation}, which nothing has proved yet");
        hold(Some(generation), HoldReason::LabelMoved, detail)
    })
}

pub(crate) fn hold(generation: Option<u32>, reason: HoldReason, detail: impl Into<String>) -> Decision {
    Decision::Hold(generation, Hold::new(reason, detail))
}
