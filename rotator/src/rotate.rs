//! Rotations that a person starts: on demand, and in an emergency.
//!
//! Secrets Manager and the functions do the work; this only starts it, clears the way for it, and follows it. Every
//! part can be repeated: whoever comes back finds the standing order and the token that it is bound to.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::TimeDelta;
use serde::Serialize;
use state::Time;
use state::credential::{Credential, Order, Version};
use state::decide::{AWSCURRENT, AWSPENDING, Refusal, Secret, too_many_live};
use state::hold::{Held, Hold, HoldReason};
use state::ledger::{Abandonment, Change, Note};
use state::lifecycle::{Phase, State};
use state::name::{CredentialName, Token};
use state::standby::{give_up, too_young};
use tracing::warn;

use crate::engine::{Engine, Errand, tell_hold};
use crate::failure::{BadInput, Failure, Fault, Stopped, chain};
use crate::kind::Case;
use crate::patience::{going_first, patiently};

/// Between two looks at the records.
const LOOK: TimeDelta = TimeDelta::seconds(2);
/// How long a hold may stand while nothing moves, before whoever waits is told.
const STILL: TimeDelta = TimeDelta::seconds(45);
/// How long a pending rotation may show no sign of life before it counts as stuck: longer than its function may run.
const SILENCE: TimeDelta = TimeDelta::minutes(15);

/// Something that a person waits for, told when it happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "milestone", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Milestone {
    /// Something holds already; the rotation may be held by it again.
    Holding {
        /// What.
        hold: Hold,
    },
    /// A rotation was pending: it is carried to its end first.
    Pending {
        /// Its token.
        token: Token,
    },
    /// A pending rotation did not come to its end: it was fenced off and its label taken away.
    Fenced {
        /// Its token.
        token: Token,
    },
    /// The emergency stands in the records.
    Ordered {
        /// The token that its rotation uses.
        token: Token,
        /// The generations that are compromised.
        compromised: Vec<u32>,
    },
    /// Secrets Manager has begun.
    Begun {
        /// The rotation's token.
        token: Token,
    },
    /// The new version is so far.
    Reached {
        /// Which version.
        generation: u32,
        /// Where it is.
        place: String,
    },
    /// Consumers read the new version.
    Promoted {
        /// Which version.
        generation: u32,
        /// When.
        at: Time,
    },
    /// The new version was published only shortly before it became current: what the emergency costs.
    Strange {
        /// Which version.
        generation: u32,
        /// Since when verifiers can know it.
        published: Time,
        /// Until when verifiers may refuse what it signs.
        until: Time,
    },
    /// A compromised version's key was told off at the provider.
    Suspended {
        /// Which version.
        generation: u32,
        /// When.
        at: Time,
    },
    /// A request with a compromised version's key was refused.
    Refused {
        /// Which version.
        generation: u32,
        /// When.
        at: Time,
    },
    /// A compromised version's key is withdrawn, but caches may hold it.
    Trusted {
        /// Which version.
        generation: u32,
        /// The last moment at which a verifier may still trust it.
        until: Time,
    },
    /// Nobody can see whether a compromised version's key is refused: it has no probe, or its value is gone.
    Unseen {
        /// Which version.
        generation: u32,
    },
}

impl fmt::Display for Milestone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |at: &Time| at.format("%H:%M:%S UTC").to_string();
        match self {
            Self::Holding { hold } => write!(f, "held by {hold}; trying again"),
            Self::Pending { token } => {
                write!(f, "a rotation is pending ({}): carrying it to its end first", token.short())
            }
            Self::Fenced { token } => write!(f, "the pending rotation {} was stuck: fenced off", token.short()),
            Self::Ordered { token, compromised } => {
                write!(f, "emergency ordered ({}), compromised: {compromised:?}", token.short())
            }
            Self::Begun { token } => write!(f, "rotation begun ({})", token.short()),
            Self::Reached { generation, place } => write!(f, "generation {generation}: {place}"),
            Self::Promoted { generation, at } => write!(f, "generation {generation} is current since {}", time(at)),
            Self::Strange { generation, published, until } => write!(
                f,
                "generation {generation} was published only at {}: verifiers that don't fetch the key set again on an \
                 unknown kid may refuse its tokens until {}",
                time(published),
                time(until)
            ),
            Self::Trusted { generation, until } => write!(
                f,
                "generation {generation} is withdrawn; a verifier that cached the key set may trust it until {}",
                time(until)
            ),
            Self::Suspended { generation, at } => write!(f, "generation {generation} suspended at {}", time(at)),
            Self::Refused { generation, at } => {
                write!(f, "generation {generation} refused at {}: its key is dead", time(at))
            }
            Self::Unseen { generation } => {
                write!(
                    f,
                    "generation {generation}: no probe can show that its key is refused; look at the API's access log"
                )
            }
        }
    }
}

/// Who is told.
pub type Tell<'a> = &'a mut (dyn FnMut(Milestone) + Send);

/// What a rotation came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotated {
    /// The credential.
    pub credential: CredentialName,
    /// The version that is current now.
    pub generation: u32,
    /// Its token.
    pub token: Token,
    /// Compromised versions, all of them suspended.
    pub compromised: Vec<u32>,
    /// Whether it became current without a request having proved it.
    pub unproven: bool,
}

impl Rotated {
    fn new(name: &CredentialName, version: &Version, token: Token, compromised: Vec<u32>) -> Self {
        let (credential, unproven) = (name.clone(), version.is_unproven());
        Self { credential, generation: version.generation, token, compromised, unproven }
    }
}

/// Which versions a stranger knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compromised {
    /// Every one that is accepted when the emergency is declared.
    All,
    /// These.
    Generations(Vec<u32>),
}

impl Compromised {
    /// The generations that an emergency declared now would refuse: those of the order that stands, if it covers these.
    pub fn of(&self, credential: &Credential) -> Result<Vec<u32>, BadInput> {
        if credential.versions.is_empty() {
            return Err(not_recorded(&credential.head.name));
        }
        match credential.head.order.as_ref().filter(|order| self.is_covered_by(order)) {
            Some(order) => Ok(order.compromised.clone()),
            None => self.named(credential),
        }
    }

    fn named(&self, credential: &Credential) -> Result<Vec<u32>, BadInput> {
        let generations = match self {
            Self::All => return Ok(credential.accepted()),
            Self::Generations(generations) => generations,
        };
        let known = |g: &&u32| credential.versions.get(*g).is_some_and(|version| version.state != State::Destroyed);
        if let Some(unknown) = generations.iter().find(|g| !known(g)) {
            let name = &credential.head.name;
            let rule =
                format!("{name} has no generation {unknown} that is not destroyed: `rotator show {name}` lists them");
            return Err(BadInput::Argument { what: "--compromised", rule });
        }
        Ok(generations.clone())
    }

    /// Whether somebody who repeats a request finds it in that order.
    fn is_covered_by(&self, order: &Order) -> bool {
        match self {
            Self::All => true,
            Self::Generations(generations) => generations.iter().all(|g| order.compromised.contains(g)),
        }
    }
}

/// Rotates once, now, and follows to the end. A rotation that is pending is resumed instead of doubled. A note of the
/// errand stands in the history, before it is begun or resumed.
pub async fn on_demand(
    engine: &Engine,
    name: &CredentialName,
    errand: &Errand<'_>,
    tell: Tell<'_>,
) -> Result<Rotated, Stopped> {
    let (credential, secret) = look(engine, name, errand).await?;
    if let Err(stopped) = usable(&credential, &secret) {
        return Err(recorded(engine, &credential, stopped, errand).await);
    }
    if !secret.rotation_enabled {
        return Err(Stopped::Refused(Refusal::RotationDisabled));
    }
    let secret = tidy(engine, &credential, secret, errand).await?;
    if let Some(hold) = not_now(engine, &credential, &secret) {
        return Err(Stopped::Held(hold));
    }
    if let Err(stopped) = check(engine, &credential, &secret, errand).await {
        return Err(recorded(engine, &credential, stopped, errand).await);
    }
    let held = credential.head.held.iter().chain(credential.candidate().and_then(|version| version.held.as_ref()));
    for held in held {
        tell(Milestone::Holding { hold: held.hold.clone() });
    }
    // Whatever is recorded from here on is news.
    let held = credential.candidate().and_then(|version| version.held.clone()).or_else(|| credential.head.held.clone());
    let mut standing = Standing { first: Some(held), ..Standing::new(STILL) };
    let token = find_or_begin(engine, credential, secret, &mut standing, errand, tell).await?;
    let version = follow(engine, name, &token, &mut standing, errand, tell).await?;
    Ok(Rotated::new(name, &version, token, Vec::new()))
}

/// The token of the rotation that is pending, or of a new one.
async fn find_or_begin(
    engine: &Engine,
    mut credential: Credential,
    mut secret: Secret,
    standing: &mut Standing,
    errand: &Errand<'_>,
    tell: Tell<'_>,
) -> Result<Token, Stopped> {
    let (mut told, mut rejected) = (None::<Token>, false);
    let before = credential.head.current;
    loop {
        // What was pending a moment ago, ours or another's, may be over: that was the rotation.
        if let Some(current) = credential.current().filter(|_| told.is_some() || rejected)
            && credential.head.current != before
            && let Some(token) = current.token()
        {
            return Ok(token.clone());
        }
        if let Some(token) = pending(&secret).cloned() {
            if told.as_ref() != Some(&token) {
                tell(Milestone::Pending { token: token.clone() });
                say_why(engine, &credential.head.name, &token, errand).await?;
                nudge(engine, &credential, errand).await?;
                told = Some(token.clone());
            }
            // Without a record it may be no rotation at all, only a test of the configuration: that passes.
            if credential.by_carrier(&token).is_some() {
                return Ok(token);
            }
            standing.see(credential.head.held.as_ref(), &credential, engine.ports.clock.now())?;
        } else {
            let token = credential.next_token("on demand");
            say_why(engine, &credential.head.name, &token, errand).await?;
            match begin(engine, &credential, &token, errand).await {
                Ok(token) => {
                    tell(Milestone::Begun { token: token.clone() });
                    return Ok(token);
                }
                // Something became pending since it was looked at; if not, it is refused for another reason.
                Err(Stopped::Failed(Failure::Call(call))) if call.fault == Fault::Rejected && !rejected => {
                    rejected = true
                }
                Err(stopped) => return Err(stopped),
            }
        }
        rest(engine, errand, "the pending rotation shows no sign of life; the rotation function's log says why")
            .await?;
        (credential, secret) = look(engine, &credential.head.name, errand).await?;
    }
}

/// Rotates now and lets the compromised versions be refused at once; returns when requests with them are.
pub async fn emergency(
    engine: &Engine,
    name: &CredentialName,
    compromised: &Compromised,
    note: &Note,
    errand: &Errand<'_>,
    tell: Tell<'_>,
) -> Result<Rotated, Stopped> {
    let replaced = async {
        let mut refused = None;
        let (token, compromised) = loop {
            let waiting = clear_the_way(engine, name, note, errand, tell).await?;
            let (token, compromised) =
                order(engine, name, waiting, refused.as_ref(), compromised, note, errand, tell).await?;
            let (credential, secret) = look(engine, name, errand).await?;
            if secret.holder(AWSCURRENT) == Some(&token) {
                break (token, compromised);
            }
            if pending(&secret) == Some(&token) {
                // It waited for what an emergency does not wait for, or for the next try.
                nudge(engine, &credential, errand).await?;
                break (token, compromised);
            }
            match begin(engine, &credential, &token, errand).await {
                Ok(_) => break (token, compromised),
                // Somebody's rotation came between: it goes first. Or the token was used for a version that has lost its
                // label: nobody shows that one, so the order gets another token, once.
                Err(Stopped::Failed(Failure::Call(call))) if call.fault == Fault::Rejected => {
                    // `RotateSecret` switches rotation on again, if a function is configured.
                    if !look(engine, name, errand).await?.1.rotation_enabled {
                        return Err(Stopped::Refused(Refusal::RotationDisabled));
                    }
                    if refused.is_none() && pending(&look(engine, name, errand).await?.1).is_none() {
                        refused = Some(token);
                    }
                    rest(engine, errand, "Secrets Manager does not begin a rotation").await?;
                }
                Err(stopped) => return Err(stopped),
            }
        };
        tell(Milestone::Begun { token: token.clone() });
        // Whatever held the old key's rotation may be over: an emergency waits for the next try.
        let version = follow(engine, name, &token, &mut Standing::new(SILENCE), errand, tell).await?;
        if let Some(until) = version.strange_until().filter(|until| *until > engine.ports.clock.now()) {
            let published = version.published.unwrap_or(version.created);
            tell(Milestone::Strange { generation: version.generation, published, until });
        }
        for generation in &compromised {
            see_dead(engine, name, *generation, errand, tell).await?;
        }
        Ok(Rotated::new(name, &version, token, compromised))
    };
    going_first(true, Box::pin(replaced)).await
}

/// Writes down who asks for the rotation with that token and why, before it is asked for; nothing if nobody said.
async fn say_why(engine: &Engine, name: &CredentialName, token: &Token, errand: &Errand<'_>) -> Result<(), Stopped> {
    let Some(note) = errand.note else { return Ok(()) };
    // The salt tells this note from all others: after an answer that was lost it may be there already.
    let is_doubtful = AtomicBool::new(false);
    patiently(&engine.ports, errand.deadline, async || {
        if is_doubtful.swap(true, Ordering::Relaxed) {
            let history = engine.records.history(name).await?;
            if history.iter().any(|told| told.note.as_ref() == Some(note) && asks_for(&told.event.change, token)) {
                return Ok(());
            }
        }
        let (credential, _) = find(engine, name).await?;
        let commit =
            credential.apply(Change::Requested { token: token.clone() }, &engine.stamp(errand, Some(note.clone())));
        engine.store(commit.expect("a request changes no version")).await.map(drop)
    })
    .await
}

fn asks_for(change: &Change, token: &Token) -> bool {
    matches!(change, Change::Requested { token: asked } if asked == token)
}

async fn look(engine: &Engine, name: &CredentialName, errand: &Errand<'_>) -> Result<(Credential, Secret), Stopped> {
    patiently(&engine.ports, errand.deadline, async || find(engine, name).await).await
}

async fn find(engine: &Engine, name: &CredentialName) -> Result<(Credential, Secret), Failure> {
    let secret = engine.describe(name.as_str()).await?;
    let credential = engine.records.load(name).await?.unwrap_or_else(|| Credential::empty(name.clone(), &secret.arn));
    Ok((credential, secret))
}

fn usable(credential: &Credential, secret: &Secret) -> Result<(), Stopped> {
    if secret.arn != credential.head.arn {
        let detail = format!("the records are about {}, the secret is {}", credential.head.arn, secret.arn);
        return Err(Stopped::Held(Hold::new(HoldReason::SecretReplaced, detail)));
    }
    if secret.deleted {
        return Err(Stopped::Held(Hold::new(HoldReason::SecretDeleted, "the secret is scheduled for deletion")));
    }
    Ok(())
}

/// What holds a rotation only for a time. Nobody has to change anything, so it is not recorded.
fn not_now(engine: &Engine, credential: &Credential, secret: &Secret) -> Option<Hold> {
    let policy = secret.wishes.as_ref().ok()?;
    // What is pending counts already; a standby is one of them, too.
    let is_new = credential.candidate().is_none() && policy.publication.is_none();
    let too_many = too_many_live(credential, policy).filter(|_| is_new);
    too_young(credential, policy, engine.ports.clock.now()).or(too_many)
}

/// Records what stopped the check if a scheduled rotation would stop at it too: then `rotator list` shows it. What the
/// caller alone may not do is no such thing.
async fn recorded(engine: &Engine, credential: &Credential, stopped: Stopped, errand: &Errand<'_>) -> Stopped {
    let hold = if let Stopped::Held(hold) = &stopped { Some(hold.clone()) } else { stopped.as_rejection() };
    let Some(hold) = hold.filter(|hold| hold.reason != HoldReason::Denied) else { return stopped };
    tell_hold(&credential.head.name, None, &hold);
    let change = Change::Held { generation: None, hold: hold.clone() };
    if let Err(failed) = engine.commit(credential, change, &engine.stamp(errand, None)).await {
        warn!(credential = %credential.head.name, reason = chain(&failed), "the hold was not recorded");
    }
    Stopped::Held(hold)
}

/// What would hold the rotation holds it here already, before anything is begun.
async fn check(engine: &Engine, credential: &Credential, secret: &Secret, errand: &Errand<'_>) -> Result<(), Stopped> {
    let now = engine.ports.clock.now();
    let policy = secret.wishes.as_ref().map_err(|bad| Stopped::Refused(Refusal::Policy(bad.clone())))?;
    policy
        .check_name(credential)
        .and_then(|()| policy.check_schedule(&secret.schedule, now))
        .map_err(|bad| Stopped::Refused(Refusal::Policy(bad)))?;
    let kind = engine.kind(&policy.kind).map_err(Stopped::Input)?;
    let incumbent = credential.current().map(|version| &version.provider);
    patiently(&engine.ports, errand.deadline, async || {
        let case = Case { credential, version: None, incumbent, policy, now };
        // A value that the rotation could not read would be refused where nobody sees it.
        let document = match secret.holder(AWSCURRENT) {
            Some(carrier) => match engine.secrets.value(&secret.arn, carrier).await {
                // Whoever may start a rotation need not be allowed to read values.
                Err(Failure::Call(call)) if call.fault == Fault::Denied => None,
                read => read?,
            },
            None => None,
        };
        let form = credential.current().map_or(policy, |version| &version.policy);
        let key = document.as_ref().map(|document| kind.key(document, form)).transpose()?;
        match (incumbent, document, key) {
            (Some(_), _, _) => kind.check(&case).await,
            (None, Some(document), Some(None)) => {
                kind.see_free(&document)?;
                kind.check(&case).await
            }
            // Nobody knows yet in which plans the key is: the rotation finds out.
            (None, _, _) => Ok(()),
        }
    })
    .await
}

fn pending(secret: &Secret) -> Option<&Token> {
    secret.holder(AWSPENDING).filter(|token| !secret.has(token, AWSCURRENT))
}

/// Takes the label off a version whose rotation is over: left there, it blocks the next one once somebody moved
/// `AWSCURRENT` to another version. (A value that is put by hand takes the label off by itself.)
async fn tidy(
    engine: &Engine,
    credential: &Credential,
    secret: Secret,
    errand: &Errand<'_>,
) -> Result<Secret, Stopped> {
    let is_over = |token: &&Token| credential.by_carrier(token).is_some_and(|version| version.state == State::Active);
    let Some(token) = pending(&secret).filter(is_over) else { return Ok(secret) };
    patiently(&engine.ports, errand.deadline, async || Ok(engine.secrets.unpend(&secret.arn, token).await?)).await?;
    let (_, fresh) = look(engine, &credential.head.name, errand).await?;
    Ok(fresh)
}

/// `RotateSecret` with a token of ours.
async fn begin(engine: &Engine, credential: &Credential, token: &Token, errand: &Errand<'_>) -> Result<Token, Stopped> {
    let arn = &credential.head.arn;
    patiently(&engine.ports, errand.deadline, async || match engine.secrets.rotate(arn, Some(token)).await {
        Ok(begun) => Ok(begun.unwrap_or_else(|| token.clone())),
        // No answer: whether it has begun is seen by its version, before it is asked for again.
        Err(failed) if failed.fault == Fault::Unknown && engine.describe(arn).await?.labels.contains_key(token) => {
            Ok(token.clone())
        }
        Err(failed) => Err(failed.into()),
    })
    .await
}

/// `RotateSecret` while a rotation is pending is refused, but makes Secrets Manager try that one again.
async fn nudge(engine: &Engine, credential: &Credential, errand: &Errand<'_>) -> Result<(), Stopped> {
    patiently(&engine.ports, errand.deadline, async || match engine.secrets.rotate(&credential.head.arn, None).await {
        Ok(_) => Ok(()),
        Err(failed) if failed.fault == Fault::Rejected => Ok(()),
        Err(failed) => Err(failed.into()),
    })
    .await
}

/// Looks at the records until the version with that token is current.
async fn follow(
    engine: &Engine,
    name: &CredentialName,
    token: &Token,
    standing: &mut Standing,
    errand: &Errand<'_>,
    tell: Tell<'_>,
) -> Result<Version, Stopped> {
    let mut place = None;
    loop {
        let (credential, secret) = look(engine, name, errand).await?;
        let version = credential.by_carrier(token);
        // Secrets Manager may have come back with another token: whatever it makes is what was asked for.
        let version = version.filter(|version| !is_lost(version)).or_else(|| {
            let newer = credential.candidate().or_else(|| credential.current())?;
            version.is_some_and(|lost| newer.generation > lost.generation).then_some(newer)
        });
        if let Some(version) = version {
            let now = version.place().to_string();
            if version.state.is_accepted() {
                tell(Milestone::Promoted { generation: version.generation, at: version.activated.unwrap_or_default() });
                return Ok(version.clone());
            }
            if place.as_ref() != Some(&now) {
                tell(Milestone::Reached { generation: version.generation, place: now.clone() });
                place = Some(now);
            }
        }
        let held = version.and_then(|version| version.held.as_ref()).or(credential.head.held.as_ref());
        standing.see(held, &credential, engine.ports.clock.now())?;
        if version.is_none() && secret.holder(AWSPENDING) != Some(token) {
            return Err(Stopped::Failed(Failure::NotYet(format!(
                "the rotation {} was given up by Secrets Manager; the rotation function's log says why",
                token.short()
            ))));
        }
        rest(engine, errand, "the rotation function has not finished; its log says why").await?;
    }
}

/// A hold that a person looks at: it counts when it was met again, or when nothing has moved under it for a while.
struct Standing {
    /// How long nothing may move.
    still: TimeDelta,
    /// The hold that was there at the first look.
    first: Option<Option<Held>>,
    /// The last revision that was seen, and since when.
    last: Option<(u64, Time)>,
}

impl Standing {
    fn new(still: TimeDelta) -> Self {
        Self { still, first: None, last: None }
    }

    fn see(&mut self, held: Option<&Held>, credential: &Credential, now: Time) -> Result<(), Stopped> {
        let first = self.first.get_or_insert_with(|| held.cloned());
        let revision = credential.head.revision;
        let (_, since) = *self.last.insert(self.last.filter(|(seen, _)| *seen == revision).unwrap_or((revision, now)));
        match held {
            // A hold from before may be over by now; one that is met again is recorded again.
            Some(held) if first.as_ref() != Some(held) || since + self.still <= now => {
                Err(Stopped::Held(held.hold.clone()))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn is_lost(version: &Version) -> bool {
    match version.state {
        // A standby again, or about to be refused.
        State::PreActivation => matches!(version.phase, None | Some(Phase::Suspending)),
        State::Suspended | State::Destroyed => true,
        State::Active | State::Deactivated => false,
    }
}

async fn rest(engine: &Engine, errand: &Errand<'_>, why: &str) -> Result<(), Stopped> {
    if engine.ports.clock.now() + LOOK >= errand.deadline {
        return Err(Stopped::OutOfTime(Some(Box::new(Failure::NotYet(why.to_owned())))));
    }
    engine.ports.clock.sleep(LOOK).await;
    Ok(())
}

/// Carries a pending rotation to its end; one that is stuck is fenced off after its function's time is over. Returns the
/// token of one that has not begun to make anything, because something holds it: the emergency can take it over.
async fn clear_the_way(
    engine: &Engine,
    name: &CredentialName,
    note: &Note,
    errand: &Errand<'_>,
    tell: Tell<'_>,
) -> Result<Option<Token>, Stopped> {
    let since = engine.ports.clock.now();
    let mut told = None;
    loop {
        let (credential, secret) = look(engine, name, errand).await?;
        usable(&credential, &secret)?;
        let secret = tidy(engine, &credential, secret, errand).await?;
        let now = engine.ports.clock.now();
        let Some(token) = pending(&secret).cloned() else { return Ok(None) };
        if credential.head.order.as_ref().is_some_and(|order| order.token == token) {
            return Ok(None);
        }
        let holds =
            credential.head.held.is_some() || credential.standbys().iter().any(|standby| standby.held.is_some());
        if holds && credential.by_carrier(&token).is_none() {
            return Ok(Some(token));
        }
        if told.as_ref() != Some(&token) {
            tell(Milestone::Pending { token: token.clone() });
            nudge(engine, &credential, errand).await?;
            told = Some(token.clone());
        }
        let stuck = match credential.by_carrier(&token) {
            // Given up before its test passed: nobody can be about to move the label.
            Some(version) if is_lost(version) && version.proof.is_none() => true,
            Some(version) => version.open_until.is_none_or(|until| until <= now),
            None => since + SILENCE <= now,
        };
        if !stuck {
            rest(engine, errand, "a pending rotation has not come to its end").await?;
            continue;
        }
        let candidate = credential.candidate().filter(|version| version.carriers.contains(&token));
        if let Some(version) = candidate {
            let change = give_up(&credential, version, Abandonment::Fenced);
            match engine.commit(&credential, change, &engine.stamp(errand, Some(note.clone()))).await {
                Ok(_) => {}
                // It moved after all, or the records can't be reached.
                Err(Stopped::Failed(_)) => {
                    rest(engine, errand, "the pending rotation could not be fenced off yet").await?;
                    continue;
                }
                Err(stopped) => return Err(stopped),
            }
        }
        let taken = patiently(&engine.ports, errand.deadline, async || {
            let fresh = engine.describe(name.as_str()).await?;
            if pending(&fresh) == Some(&token) {
                engine.secrets.unpend(&credential.head.arn, &token).await?;
            }
            Ok(())
        });
        taken.await?;
        tell(Milestone::Fenced { token });
    }
}

/// Writes the order first, bound to the token that its rotation will use; or finds the one that stands, if
/// Secrets Manager has not refused its token.
#[expect(clippy::too_many_arguments, reason = "what an order is made of")]
async fn order(
    engine: &Engine,
    name: &CredentialName,
    waiting: Option<Token>,
    refused: Option<&Token>,
    wanted: &Compromised,
    note: &Note,
    errand: &Errand<'_>,
    tell: Tell<'_>,
) -> Result<(Token, Vec<u32>), Stopped> {
    let ordered = patiently(&engine.ports, errand.deadline, async || {
        let secret = engine.describe(name.as_str()).await?;
        let credential = engine.records.load(name).await?.filter(|credential| !credential.versions.is_empty());
        let credential = credential.ok_or_else(|| not_recorded(name))?;
        if let Some(order) = &credential.head.order
            && wanted.is_covered_by(order)
            && refused != Some(&order.token)
            && !is_used_up(&order.token, &credential, &secret)
        {
            return Ok((order.token.clone(), order.compromised.clone()));
        }
        let compromised = wanted.named(&credential)?;
        let token = waiting.clone().unwrap_or_else(|| credential.next_token("emergency"));
        let change = Change::Ordered { token: token.clone(), compromised: compromised.clone() };
        let commit = credential.apply(change, &engine.stamp(errand, Some(note.clone())));
        let commit = commit.expect("an order names versions that were just seen");
        engine.store(commit).await?;
        Ok((token, compromised))
    })
    .await?;
    tell(Milestone::Ordered { token: ordered.0.clone(), compromised: ordered.1.clone() });
    Ok(ordered)
}

/// Whether a token can't make a version any more.
fn is_used_up(token: &Token, credential: &Credential, secret: &Secret) -> bool {
    match credential.by_carrier(token) {
        Some(version) => is_lost(version),
        None => secret.labels.contains_key(token) && !secret.has(token, AWSPENDING),
    }
}

fn not_recorded(name: &CredentialName) -> BadInput {
    let rule = format!("nothing is recorded of {name} yet: rotate it once without --emergency, or adopt its key");
    BadInput::Argument { what: "the name", rule }
}

/// Waits until retirement has suspended a version, and then until a request with its key is refused.
async fn see_dead(
    engine: &Engine,
    name: &CredentialName,
    generation: u32,
    errand: &Errand<'_>,
    tell: Tell<'_>,
) -> Result<(), Stopped> {
    let version = loop {
        let (credential, _) = look(engine, name, errand).await?;
        let Some(version) = credential.versions.get(&generation) else { return Ok(()) };
        if let Some(held) = &version.held {
            return Err(Stopped::Held(held.hold.clone()));
        }
        if let Some(at) = version.suspended {
            tell(Milestone::Suspended { generation, at });
            break version.clone();
        }
        rest(engine, errand, "the retirement function has not suspended the old version; its log says why").await?;
    };
    let read = async |version: Option<&Version>| {
        patiently(&engine.ports, errand.deadline, async || match version.and_then(Version::token) {
            Some(carrier) => engine.secrets.value(name.as_str(), carrier).await,
            None => Ok(None),
        })
        .await
    };
    let (credential, _) = look(engine, name, errand).await?;
    let (document, control) = (read(Some(&version)).await?, read(credential.current()).await?);
    let kind = engine.kind(&version.policy.kind).map_err(Stopped::Input)?;
    loop {
        let refused = patiently(&engine.ports, errand.deadline, async || {
            let credential = engine.records.load(name).await?.ok_or_else(|| not_recorded(name))?;
            let now = engine.ports.clock.now();
            let policy = &version.policy;
            let case = Case { credential: &credential, version: Some(&version), incumbent: None, policy, now };
            kind.is_refused(&case, document.as_ref(), control.as_ref()).await
        });
        match refused.await? {
            None => {
                tell(Milestone::Unseen { generation });
                return Ok(());
            }
            Some(true) => break,
            Some(false) => {
                rest(engine, errand, "requests with the old key still get through; not everybody has heard of it yet")
                    .await?;
            }
        }
    }
    tell(Milestone::Refused { generation, at: engine.ports.clock.now() });
    if let Some(until) = version.trusted_until().filter(|until| *until > engine.ports.clock.now()) {
        tell(Milestone::Trusted { generation, until });
    }
    Ok(())
}
