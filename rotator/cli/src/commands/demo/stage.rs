//! What drives the demo: one clock, moved by hand; between two moves everybody does what is due.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use chrono::TimeDelta;
use local_aws::{FunctionError, ManualClock};
use rotator::failure::{Failure, chain};
use rotator::rotate::Milestone;
use serde::Serialize;
use serde_json::Value;
use state::Time;
use state::credential::{Credential, Version};
use state::lifecycle::State;
use state::name::CredentialName;

use super::crowd::{Crowd, Users};
use super::tokens::short;
use crate::embedded::{Embedded, JWKS, ROTATION, Watch};
use crate::output::{Out, harmless, span};
use crate::trouble::Trouble;

/// How far the clock moves while nothing is under way.
const BIG: TimeDelta = TimeDelta::minutes(30);
/// The same while a key is refused for a moment.
const MIDDLE: TimeDelta = TimeDelta::minutes(2);
/// The same while a function or a command works: less than anything that it waits for.
pub const SMALL: TimeDelta = TimeDelta::seconds(5);

/// Hears of every invocation; shared with the embedded AWS.
#[derive(Clone, Default)]
pub struct Ear(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    running: usize,
    /// Whether a function may have changed something since the last look.
    news: bool,
    lines: Vec<String>,
    quiet: bool,
}

/// The stage with everybody on it.
pub struct Stage<'a, 'o> {
    /// The AWS with the service.
    pub embedded: &'a Embedded,
    /// Who uses the keys.
    pub crowd: Crowd,
    /// Where it is told.
    pub out: &'a mut Out<'o>,
    clock: &'a ManualClock,
    ear: Ear,
    /// The versions that are watched, as they were last told.
    known: BTreeMap<CredentialName, BTreeMap<u32, Known>>,
    told: Vec<Line>,
}

/// Something that was told, for a program, which is told everything at the end.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    at: Time,
    line: String,
}

/// A version as it was last told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    /// Whether nothing more happens to it until the next rotation.
    rests: bool,
    /// Whether its key is refused for a moment only.
    blinks: bool,
    /// What is told of it; nothing of a candidate, whose steps are told one by one.
    said: Option<String>,
}

impl Ear {
    /// What the embedded AWS is given.
    pub fn watch(&self) -> Watch {
        let ear = self.clone();
        Arc::new(move |function, payload, done| ear.hear(function, payload, done))
    }

    /// Keeps a line for the next time that somebody listens.
    pub fn say(&self, line: String) {
        self.lock().lines.push(line);
    }

    /// The same of what a command would say to whoever runs it; a long line is broken where it pauses.
    pub fn milestone(&self, milestone: &Milestone) {
        let told = milestone.to_string();
        let parts: Vec<&str> = if told.len() > 72 { told.split("; ").collect() } else { vec![&told] };
        parts.into_iter().for_each(|part| self.say(format!("{:<WHAT$}{part}", "rotate")));
    }

    fn hear(&self, function: &str, payload: &Value, done: Option<&Result<Value, FunctionError>>) {
        // What verifiers fetch changes nothing.
        if function == JWKS {
            return;
        }
        let mut heard = self.lock();
        let Some(done) = done else {
            heard.running += 1;
            return;
        };
        heard.running = heard.running.saturating_sub(1);
        let looked_at = done.as_ref().ok().and_then(|answer| answer["lookedAt"].as_u64());
        heard.news |= looked_at != Some(0);
        let outcome = match done {
            Ok(_) if function != ROTATION || heard.quiet => return,
            Ok(_) => "done".to_owned(),
            Err(error) => error.to_string(),
        };
        let what = payload["Step"].as_str().unwrap_or(function);
        let whom = payload["SecretId"].as_str().and_then(|arn| CredentialName::from_arn(arn).ok());
        heard.lines.push(match whom {
            Some(name) => line(what, &name, &outcome),
            None => format!("{what:<WHAT$}{outcome}"),
        });
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a, 'o> Stage<'a, 'o> {
    /// An empty stage.
    pub fn new(embedded: &'a Embedded, clock: &'a ManualClock, ear: Ear, crowd: Crowd, out: &'a mut Out<'o>) -> Self {
        Self { embedded, crowd, out, clock, ear, known: BTreeMap::new(), told: Vec::new() }
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.embedded.aws.now()
    }

    /// What is recorded of a credential.
    pub async fn load(&self, name: &CredentialName) -> Result<Option<Credential>, Trouble> {
        self.embedded.engine().records.load(name).await.map_err(|failure| unread(name, &failure))
    }

    /// Begins to tell of a credential's versions, and lets somebody use it.
    pub fn follow(&mut self, users: Box<dyn Users>) {
        self.known.insert(users.name().clone(), BTreeMap::new());
        self.crowd.join(users);
        self.ear.lock().news = true;
    }

    /// Whether steps that went well are passed over.
    pub fn quiet(&self, quiet: bool) {
        self.ear.lock().quiet = quiet;
    }

    /// What was told so far.
    pub fn told(&self) -> &[Line] {
        &self.told
    }

    /// A heading.
    pub fn act(&mut self, title: &str) -> Result<(), Trouble> {
        let title = harmless(title);
        self.told.push(Line { at: self.now(), line: title.clone() });
        let day = self.now().format("%a %-d %b %Y");
        let title = if self.out.look.colour { format!("\u{1b}[1m{title}\u{1b}[0m") } else { title };
        Ok(self.out.tell(&format!("\n{title}  ({day})"))?)
    }

    /// A line with the time.
    pub fn tell(&mut self, line: &str) -> Result<(), Trouble> {
        self.told.push(Line { at: self.now(), line: line.to_owned() });
        let at = self.now().format("%a %H:%M:%S");
        Ok(self.out.tell(&format!("{at}  {}", harmless(line)))?)
    }

    /// Lets somebody work while time passes, in small steps.
    pub async fn beside<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Trouble> {
        let mut work = pin!(work);
        loop {
            if let Poll::Ready(done) = futures::poll!(&mut work) {
                self.ear.lock().news = true;
                self.look().await?;
                return Ok(done);
            }
            self.step(SMALL).await?;
        }
    }

    /// Lets time pass until then, and as long after it as a function works.
    pub async fn until(&mut self, at: Time) -> Result<(), Trouble> {
        loop {
            let ahead = at - self.now();
            if self.ear.lock().running > 0 {
                self.step(SMALL).await?;
            } else if ahead > TimeDelta::zero() {
                let blinks = self.known.values().flat_map(BTreeMap::values).any(|version| version.blinks);
                self.step(ahead.min(if blinks { MIDDLE } else { BIG })).await?;
            } else {
                return Ok(());
            }
        }
    }

    /// Lets time pass until every version that is watched is current, a standby or destroyed; false if that is not so
    /// by `at`.
    pub async fn until_all_is_over(&mut self, at: Time) -> Result<bool, Trouble> {
        loop {
            if self.known.values().all(|versions| versions.values().all(|version| version.rests)) {
                return Ok(true);
            }
            if self.now() >= at {
                return Ok(false);
            }
            self.until(self.now() + BIG).await?;
        }
    }

    /// Moves the clock; then the AWS does what is due, everybody works once, and what happened is told.
    async fn step(&mut self, by: TimeDelta) -> Result<(), Trouble> {
        self.clock.advance(by.to_std().unwrap_or_default());
        // Nothing in this process waits for anything but the clock: a few turns, and all that is due is done.
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        let told = self.crowd.work(self.now()).await;
        told.into_iter().for_each(|line| self.ear.say(line));
        self.look().await
    }

    async fn look(&mut self) -> Result<(), Trouble> {
        let (lines, news) = {
            let mut heard = self.ear.lock();
            (std::mem::take(&mut heard.lines), std::mem::take(&mut heard.news))
        };
        for line in lines {
            self.tell(&line)?;
        }
        if news {
            self.tell_changes().await?;
        }
        Ok(())
    }

    async fn tell_changes(&mut self) -> Result<(), Trouble> {
        let names: Vec<CredentialName> = self.known.keys().cloned().collect();
        for name in names {
            let Some(credential) = self.load(&name).await? else { continue };
            let now: BTreeMap<u32, Known> =
                credential.versions.values().map(|version| (version.generation, Known::of(version))).collect();
            let before = self.known.insert(name.clone(), now.clone()).unwrap_or_default();
            // Where a first key was there before, it is where the story begins.
            let is_told = !before.is_empty() || credential.versions.values().all(|version| version.published.is_some());
            let changed: Vec<String> = now
                .into_iter()
                .filter(|(generation, known)| is_told && before.get(generation) != Some(known))
                .filter_map(|(generation, known)| Some(format!("v{generation} {}", known.said?)))
                .collect();
            let joined = changed.join(", ");
            let lines = if joined.len() > ROOM { changed } else { vec![joined] };
            for how in lines.iter().filter(|how| !how.is_empty()) {
                self.tell(&line("", &name, how))?;
            }
        }
        Ok(())
    }
}

impl Known {
    fn of(version: &Version) -> Self {
        let publishes = version.policy.publication.is_some();
        let of_kms = version.policy.kind == "kms-signing-key";
        let is_ready = version.is_standby() && version.published.is_some();
        let word = version.state.word();
        let said = match version.state {
            State::PreActivation if is_ready => {
                let kid = version.provider.get("kid").map_or("", String::as_str);
                Some(format!("published ahead (kid {})", short(kid)))
            }
            State::PreActivation => None,
            State::Active => Some(match published_before(version) {
                Some(time) => format!("{word} (published {} before)", span(time)),
                None => word.to_owned(),
            }),
            State::Deactivated if version.disabled.is_none() => Some(deactivated(version)),
            State::Deactivated if of_kms => Some("disabled in KMS (still published)".to_owned()),
            State::Deactivated => Some("signs nothing any more (still published)".to_owned()),
            State::Suspended if publishes => Some(format!("{word} (withdrawn)")),
            State::Destroyed if of_kms => Some(format!("{word} (deletion scheduled)")),
            State::Suspended | State::Destroyed => Some(word.to_owned()),
        };
        let rests = matches!(version.state, State::Active | State::Destroyed) || is_ready;
        Self { rests, blinks: version.brownout_until.is_some(), said }
    }
}

/// What is told of a version that is still accepted, or is to be again.
fn deactivated(version: &Version) -> String {
    let word = version.state.word();
    let held = version.held.as_ref().filter(|held| held.hold.reason.is_use());
    match (version.brownout_until, held) {
        (Some(until), _) => format!("{word}, a brownout until {}", until.format("%H:%M")),
        (None, Some(held)) => format!("{word}, held as {}", held.hold.reason),
        (None, None) => word.to_owned(),
    }
}

/// What is to be said when records can't be read.
pub fn unread(name: &CredentialName, failure: &Failure) -> Trouble {
    Trouble::Other {
        what: format!("could not read the records of {name}: {}", chain(failure)),
        next: "this is a defect of the demo: report it".into(),
        source: None,
    }
}

/// How long a key was published before it signed; `None` for one that never waited, or that nobody fetches.
pub fn published_before(version: &Version) -> Option<TimeDelta> {
    let published = version.published.filter(|_| version.policy.publication.is_some())?;
    version.activated.map(|activated| activated - published).filter(|time| *time > TimeDelta::minutes(1))
}

/// What happened, to whom, and how it went.
pub fn line(what: &str, whom: &CredentialName, how: &str) -> String {
    format!("{what:<WHAT$}{:<24}  {how}", whom.as_str())
}

/// How wide the first column is.
pub const WHAT: usize = 14;
/// How much fits beside what and whom into a terminal of 100 columns.
const ROOM: usize = 46;
/// How often the others get a turn after the clock moved.
const TURNS: usize = 8;
