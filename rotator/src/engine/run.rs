//! One run towards a goal: the loop, and what each decision means outside.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use state::Time;
use state::credential::{Credential, Drawn, Fingerprint, Version};
use state::decide::{
    Action, CurrentValue, Decision, Drafted, Goal, Observed, Question, Secret, Step, StrayValue, Touch, decide,
};
use state::drift::Finding;
use state::hold::{Hold, HoldReason};
use state::ledger::{Change, Note};
use state::lifecycle::Phase;
use state::name::{CredentialName, Token};
use state::policy::{BadPolicy, Policy};
use tracing::warn;

use crate::doctor::Preflight;
use crate::failure::{BadInput, Disposition, Failure, Fault, Stopped, chain};
use crate::kind::{Case, Facts, Identity, Kind, Sight, tag_value};
use crate::mend::{Breadth, inventory};
use crate::patience::{Patience, going_first, in_time, is_over};
use crate::secret::{Purpose, SecretValue};

use super::{Engine, Errand, tell_hold};

/// Failures in a row after which retirement leaves a credential to its next tick: others wait behind it.
const TRIES: u32 = 4;
/// How long a provider may take until everybody has heard that a key is to be refused, or accepted, before a person is
/// told.
const HEARD_OF: TimeDelta = TimeDelta::minutes(30);

/// On its way.
pub(super) struct Run<'a> {
    pub(super) engine: &'a Engine,
    pub(super) name: &'a CredentialName,
    pub(super) arn: Option<&'a str>,
    pub(super) goal: &'a Goal,
    pub(super) errand: &'a Errand<'a>,
    pub(super) observed: Observed,
    pub(super) patience: Patience,
    /// The version with which it is acting.
    pub(super) at: Option<u32>,
    /// The value that was drawn for the next intent, or for the last one.
    pub(super) drawn: Option<SecretValue>,
    /// How many changes it has recorded.
    pub(super) commits: u32,
}

/// How a turn of the loop ended, when it did not fail.
enum Turn {
    On,
    Over,
}

impl Run<'_> {
    pub(super) async fn finish(&mut self) -> Result<(), Stopped> {
        let mut credential = None;
        let (mut last, mut stuck) = (None, None);
        loop {
            if is_over(&self.engine.ports, self.errand.deadline) {
                return Err(Stopped::OutOfTime(last.map(Box::new)));
            }
            let most = self.engine.most_commits;
            if self.commits >= most {
                let why = format!("one run recorded {most} changes and came to no end: report it, with the history");
                return Err(Stopped::Failed(Failure::NotYet(why)));
            }
            match self.turn(&mut credential).await {
                Ok(Turn::Over) => return stuck.map_or(Ok(()), Err),
                Ok(Turn::On) => {}
                Err(Stopped::Failed(failure)) => {
                    let wait = self.patience.after(&failure);
                    let gives_up = matches!(self.goal, Goal::Retire) && self.patience.failures() > TRIES;
                    let Some(wait) = wait.filter(|_| !gives_up) else {
                        let Some(generation) = self.at.take().filter(|_| matches!(self.goal, Goal::Retire)) else {
                            return Err(Stopped::Failed(failure));
                        };
                        let stopped = Stopped::from(failure);
                        if self.refused_for_good(&mut credential, generation, &stopped).await? {
                            continue;
                        }
                        // Nobody else waits behind it: another version may be one that a stranger has.
                        let observed = std::mem::take(&mut self.observed);
                        let all_stuck = observed.stuck.into_iter().chain([generation]).collect();
                        self.observed = Observed { ours: observed.ours, stuck: all_stuck, ..Observed::default() };
                        (credential, self.patience) = (None, Patience::default());
                        stuck = stuck.or(Some(stopped));
                        continue;
                    };
                    warn!(credential = %self.name, reason = chain(&failure), wait_seconds = wait.num_seconds(), "looking again");
                    // Whatever was known may be wrong by now. But to look at all keys again after each throttle would use up
                    // the very rate that was too high.
                    credential = None;
                    let observed = std::mem::take(&mut self.observed);
                    let Observed { ours, stuck, minted, inventory, .. } = observed;
                    let inventory = inventory.filter(|_| is_throttled(&failure));
                    self.observed = Observed { ours, stuck, minted, inventory, ..Observed::default() };
                    last = Some(failure);
                    if !wait.is_zero() {
                        self.engine.ports.clock.sleep(wait).await;
                    }
                }
                Err(stopped) => return Err(stopped),
            }
        }
    }

    /// Records on a version that AWS refuses what retirement asks for, and would refuse the next try as well. Whether it
    /// does.
    async fn refused_for_good(
        &mut self,
        known: &mut Option<Credential>,
        generation: u32,
        stopped: &Stopped,
    ) -> Result<bool, Stopped> {
        let Some(hold) = stopped.as_rejection() else { return Ok(false) };
        let Some(credential) = self.engine.records.load(self.name).await? else { return Ok(false) };
        let ours = std::mem::take(&mut self.observed);
        self.observed = Observed { ours: ours.ours, stuck: ours.stuck, ..Observed::default() };
        self.patience = Patience::default();
        self.hold(known, credential, Some(generation), hold).await?;
        Ok(true)
    }

    /// Records why a rotation can't go on until a person has changed something.
    pub(super) async fn reject(&mut self, step: Step, token: &Token, stopped: Stopped) -> Stopped {
        // A test of the configuration leaves no trace.
        let Some(hold) = stopped.as_rejection().filter(|_| step != Step::Test) else { return stopped };
        let credential = match (self.engine.records.load(self.name).await, self.arn) {
            (Ok(Some(credential)), _) => credential,
            (Ok(None), Some(arn)) => Credential::empty(self.name.clone(), arn),
            (Ok(None), None) | (Err(_), _) => return stopped,
        };
        let candidate = credential.candidate().filter(|version| version.carriers.contains(token));
        let generation = candidate.map(|version| version.generation);
        match self.hold(&mut None, credential, generation, hold).await {
            Err(held) => held,
            Ok(_) => stopped,
        }
    }

    async fn turn(&mut self, known: &mut Option<Credential>) -> Result<Turn, Stopped> {
        let credential = match known.take() {
            Some(credential) => credential,
            None => match (self.engine.records.load(self.name).await?, self.arn) {
                (Some(credential), _) => credential,
                (None, Some(arn)) => Credential::empty(self.name.clone(), arn),
                (None, None) => return Ok(Turn::Over),
            },
        };
        let decision = decide(self.goal, &credential, &self.observed, self.engine.ports.clock.now());
        self.at = if let Decision::Perform(action) = &decision { about(action) } else { None };
        // Of one that is only about to be begun nothing can be recorded.
        self.at = self.at.filter(|generation| credential.versions.contains_key(generation));
        let is_urgent = credential.head.order.is_some();
        match decision {
            Decision::Done => Ok(Turn::Over),
            Decision::Refuse(refusal) => Err(Stopped::Refused(refusal)),
            Decision::WaitUntil(until) => {
                let until = until.format("%H:%M:%S UTC");
                let why = format!(
                    "what was begun before, by another process or by a call that got no answer, may still be finished, until \
                     {until}"
                );
                Err(Failure::NotYet(why).into())
            }
            Decision::Hold(generation, hold) => self.hold(known, credential, generation, hold).await,
            Decision::Commit(change) => {
                let intent = change.generation().filter(|_| change.opens_intent());
                // A creation that can't be repeated belongs to nobody whose intent may not be the one that stands.
                let unsure = matches!(change, Change::Minting { .. });
                let is_new = intent.filter(|generation| !unsure && self.observed.ours.insert(*generation));
                let is_end = matches!(self.goal, Goal::Mend(_)) && Finding::ends_with(&change);
                let stamp = self.engine.stamp(self.errand, self.note(&change));
                let committed = self.engine.commit(&credential, change, &stamp).await;
                // Somebody else was faster: what stands is theirs.
                if let (Some(generation), Err(Stopped::Failed(Failure::Call(call)))) = (is_new, &committed)
                    && call.fault == Fault::Conflict
                {
                    self.observed.ours.remove(&generation);
                }
                let credential = committed?;
                self.commits += 1;
                if is_end {
                    return Ok(Turn::Over);
                }
                self.observed.ours.extend(intent);
                // Only now: a look that goes well between two failures is no progress.
                self.patience.renew();
                self.observed = std::mem::take(&mut self.observed).after_commit();
                *known = Some(credential);
                Ok(Turn::On)
            }
            Decision::Look(question) => {
                let (engine, deadline) = (self.engine, self.errand.deadline);
                let looked = going_first(is_urgent, Box::pin(self.look(&credential, question)));
                let done = in_time(&engine.ports, deadline, looked).await;
                self.done(known, credential, None, done).await
            }
            Decision::Perform(action) => {
                let generation = self.at;
                let (engine, deadline) = (self.engine, self.errand.deadline);
                let acted = going_first(is_urgent, Box::pin(self.act(&credential, action)));
                let done = in_time(&engine.ports, deadline, acted).await;
                let done = done.map_err(|failure| self.or_not_yet(&credential, failure));
                // The world is another one now, unless nobody did anything.
                self.observed.inventory.take_if(|_| !done.as_ref().is_err_and(is_throttled));
                self.done(known, credential, generation, done).await
            }
        }
    }

    /// Of a key that is minutes old, what is not found or not allowed is so for now.
    fn or_not_yet(&self, credential: &Credential, failure: Failure) -> Failure {
        let version = self.at.and_then(|generation| credential.versions.get(&generation));
        let is_young = version.is_some_and(|version| version.is_young(self.engine.ports.clock.now()));
        let is_for_now = match &failure {
            Failure::Call(call) => matches!(call.fault, Fault::NotFound | Fault::Denied),
            Failure::Held(hold) => hold.reason == HoldReason::KeyVanished,
            Failure::NotYet(_) | Failure::Input(_) => false,
        };
        if is_young && is_for_now {
            Failure::NotYet(format!("{}; but the key is only minutes old", chain(&failure)))
        } else {
            failure
        }
    }

    /// A failure that is a hold is recorded as one.
    async fn done(
        &mut self,
        known: &mut Option<Credential>,
        credential: Credential,
        generation: Option<u32>,
        done: Result<(), Failure>,
    ) -> Result<Turn, Stopped> {
        let Err(failure) = done else {
            *known = Some(credential);
            return Ok(Turn::On);
        };
        match failure.as_hold() {
            Some(hold) => self.hold(known, credential, generation, hold).await,
            None => Err(failure.into()),
        }
    }

    async fn hold(
        &mut self,
        known: &mut Option<Credential>,
        credential: Credential,
        generation: Option<u32>,
        hold: Hold,
    ) -> Result<Turn, Stopped> {
        let recorded = match generation {
            Some(generation) => credential.versions.get(&generation).and_then(|version| version.held.as_ref()),
            None => credential.head.held.as_ref(),
        };
        let now = self.engine.ports.clock.now();
        let retiring = matches!(self.goal, Goal::Retire);
        // Whoever waits for a step learns of its hold from the records; retirement comes by every minute.
        let is_news = !retiring || recorded.is_none_or(|held| held.hold != hold || held.look_again <= now);
        let stuck = generation.filter(|_| retiring && !is_news);
        tell_hold(self.name, generation, &hold);
        // Of a rotation's first try this may be all that is recorded.
        let begins = matches!(self.goal, Goal::Step(step, _) if *step != Step::Test);
        if is_news && (credential.head.revision > 0 || begins) {
            let change = Change::Held { generation, hold: hold.clone() };
            let stamp = self.engine.stamp(self.errand, None);
            if let Some(generation) = generation {
                self.observed.ours.remove(&generation);
            }
            *known = Some(self.engine.commit(&credential, change, &stamp).await?);
            if retiring && generation.is_some() {
                // One version that can't be retired must not keep the others.
                return Ok(Turn::On);
            }
        }
        if let Some(generation) = stuck {
            self.observed.stuck.insert(generation);
            *known = Some(credential);
            return Ok(Turn::On);
        }
        Err(Stopped::Held(hold))
    }

    /// What stands beside the event: who uses a key is personal data, and so is why a person did something.
    fn note(&self, change: &Change) -> Option<Note> {
        if let (Change::Witnessed { generation, .. }, Some((seen, sighting))) = (change, &self.observed.sighting)
            && seen == generation
            && !sighting.callers.is_empty()
        {
            let reason = format!("still uses generation {generation}");
            return Some(self.engine.note(&sighting.callers.join("\n"), &reason));
        }
        self.errand.note.cloned()
    }

    async fn look(&mut self, credential: &Credential, question: Question) -> Result<(), Failure> {
        let engine = self.engine;
        match question {
            Question::Secret => {
                // By name: of a secret that was created anew, only the name is the same.
                let found = engine.describe(self.name.as_str()).await;
                self.observed.secret = Some(found.or_else(|failure| gone(credential, failure))?);
            }
            Question::Current(carrier) => {
                let kind = self.wished_kind(credential)?;
                let arn = &credential.head.arn;
                let current = credential.current();
                let document = engine.secrets.value(arn, &carrier).await?;
                // What somebody put by hand is in the form that consumers read until now.
                let policy = current.map_or(self.wished_policy(credential)?, |version| &version.policy);
                self.observed.current = Some(match &document {
                    Some(document) if kind.key(document, policy)?.is_some() => {
                        let known = match current.and_then(Version::token) {
                            Some(token) => engine.secrets.value(arn, token).await?,
                            None => None,
                        };
                        let is_ordered = credential.head.order.as_ref().is_some_and(|order| !order.promoted);
                        let known = known.as_ref();
                        let sight = Sight { name: self.name, carrier: &carrier, policy, current, known, is_ordered };
                        let fingerprint = self.fingerprint(kind, document, policy).await?;
                        match engine.recognise(kind, document, &sight, fingerprint.as_ref()).await? {
                            None => CurrentValue::Unknown,
                            Some(facts) => {
                                if current.is_none() {
                                    self.mark(kind, credential, &facts).await?;
                                }
                                CurrentValue::Key(facts, fingerprint)
                            }
                        }
                    }
                    Some(document) => {
                        if current.is_none() {
                            kind.see_free(document)?;
                        }
                        CurrentValue::WithoutKey
                    }
                    None => CurrentValue::WithoutKey,
                });
            }
            Question::Readable(token) => {
                self.observed.readable = Some(engine.secrets.value(&credential.head.arn, &token).await?.is_some());
            }
            Question::Stray(token) => {
                let stray = engine.secrets.value(&credential.head.arn, &token).await?;
                let current = self.current_document(credential).await?;
                self.observed.stray = Some(match (stray, current) {
                    (None, _) => StrayValue::Preflight,
                    (Some(stray), Some(current)) if stray.same_as(&current) => StrayValue::Preflight,
                    (Some(_), _) => StrayValue::Other,
                });
            }
            Question::Inventory { keys } => {
                let Some(secret) = &self.observed.secret else { return Ok(()) };
                let breadth = if keys { Breadth::Everything(None) } else { Breadth::Labels };
                self.observed.inventory = Some(inventory(engine, credential, secret, breadth).await?);
            }
        }
        Ok(())
    }

    /// Carries an action out, for as long as the intent stands under which that is done.
    async fn act(&mut self, credential: &Credential, action: Action) -> Result<(), Failure> {
        let (clock, now) = (self.engine.ports.clock.clone(), self.engine.ports.clock.now());
        let version = action.changes().and_then(|generation| credential.versions.get(&generation));
        let Some(until) = version.and_then(|version| version.claimed_until(now)) else {
            return self.perform(credential, action).await;
        };
        tokio::select! {
            biased;
            done = self.perform(credential, action) => done,
            () = clock.sleep(until - now) => {
                Err(Failure::NotYet("the time of its intent was over before it was carried out".into()))
            }
        }
    }

    async fn perform(&mut self, credential: &Credential, action: Action) -> Result<(), Failure> {
        let engine = self.engine;
        let now = engine.ports.clock.now();
        let arn = &credential.head.arn;
        if let Some(touch) = action.touch() {
            engine.records.see_stated(credential, touch.generation()).await?;
            if let Touch::Refuses(generation) = touch {
                self.see_same_key(credential, generation).await?;
            }
        }
        match action {
            Action::Check(replaces, standby) => {
                let policy = self.wished_policy(credential)?;
                let incumbent = replaces.generation.and_then(|generation| credential.versions.get(&generation));
                let incumbent = incumbent.map(|version| &version.provider);
                let standby = standby.map(|generation| version(credential, generation));
                let case = Case { credential, version: standby, incumbent, policy, now };
                let kind = engine.kind(&policy.kind)?;
                kind.check(&case).await?;
                kind.see_incumbent(&case).await?;
                self.observed.checked = true;
            }
            Action::Draw(intent) => {
                let generation = intent.generation().expect("only versions are drawn");
                // What is made anew is made under another id: what an earlier try made can be told from it.
                let known =
                    credential.versions.get(&generation).filter(|version| version.phase != Some(Phase::Minting));
                let id = known.map_or_else(|| engine.ports.id(), |version| version.id);
                // Kinds see the records as they are about to be.
                let named = intent.naming(Drawn { id, commitment: None });
                let after = credential.apply(named, &engine.stamp(self.errand, None));
                let after = after.expect("`decide` names only legal intents").credential;
                let version = version(&after, generation);
                let (kind, case) = self.case(&after, version, now)?;
                let (purpose, value) = match &version.replaces {
                    Some(replaces) => {
                        let before = match &replaces.carrier {
                            Some(carrier) => engine.secrets.value(arn, carrier).await?,
                            None => None,
                        };
                        (Purpose::Draft, Some(kind.draft(&case, before.as_ref()).await?))
                    }
                    None => (Purpose::Mint, kind.draw(&case).await?),
                };
                let commitment = value.as_ref().map(|value| value.commitment(id, purpose));
                self.drawn = value;
                self.observed.drawn = Some(Drawn { id, commitment });
            }
            Action::Mint(generation) => {
                let (kind, case) = self.case(credential, version(credential, generation), now)?;
                let is_its = |drawn: &&SecretValue| case.see_drawn(drawn, Purpose::Mint, "memory").is_ok();
                let made = kind.mint(&case, self.drawn.as_ref().filter(is_its)).await;
                if made.as_ref().is_err_and(may_have_happened) {
                    self.observed.ours.remove(&generation);
                }
                self.observed.minted = Some((generation, made?, false));
            }
            Action::Find(generation) => {
                let (kind, case) = self.case(credential, version(credential, generation), now)?;
                match kind.find(&case).await? {
                    Some(facts) => self.observed.minted = Some((generation, facts, true)),
                    None => self.observed.missing = Some(generation),
                }
            }
            Action::Equip(generation) => {
                let (kind, case) = self.case(credential, version(credential, generation), now)?;
                self.observed.equipped = Some((generation, kind.equip(&case).await?));
            }
            Action::Draft(generation) => {
                let version = version(credential, generation);
                let (kind, case) = self.case(credential, version, now)?;
                let token = token(version)?;
                let found = engine.secrets.value(arn, token).await?;
                let document = match (&found, &self.drawn) {
                    (Some(found), _) => {
                        case.see_drawn(found, Purpose::Draft, &format!("version {token}"))?;
                        found
                    }
                    (None, Some(drawn)) if case.see_drawn(drawn, Purpose::Draft, "memory").is_ok() => {
                        engine.secrets.put_pending(arn, token, drawn, self.errand.rotation_token).await?;
                        drawn
                    }
                    (None, _) => {
                        self.observed.missing = Some(generation);
                        return Ok(());
                    }
                };
                let drafted = kind.christen(&case, document)?;
                let fingerprint = self.fingerprint(kind, document, &version.policy).await?;
                self.observed.drafted = Some(Drafted { fingerprint, ..drafted });
            }
            Action::Admit(generation) => {
                let version = version(credential, generation);
                let (kind, case) = self.case(credential, version, now)?;
                self.observed.admitted = Some(kind.admit(&case, &self.drafted(credential, version).await?).await?);
            }
            Action::Prove(generation) => {
                let version = version(credential, generation);
                let (kind, case) = self.case(credential, version, now)?;
                let document = self.drafted(credential, version).await?;
                self.observed.proof = Some(match kind.prove(&case, &document).await {
                    Ok(proof) => proof,
                    Err(Failure::NotYet(why)) => {
                        // Is it the key, or is nobody let through from here?
                        let blocked = match self.current_document(credential).await? {
                            Some(current) => kind.is_blocked(&case, &current).await?,
                            None => false,
                        };
                        let begun = version.begun.unwrap_or(version.created);
                        let since = version.ordered.filter(|_| version.is_coming_back()).unwrap_or(begun);
                        return Err(if blocked && self.patience.failures() >= TRIES {
                            let detail = format!("{why}; the incumbent's key does not get through from here either");
                            Hold::new(HoldReason::ProbeBlocked, detail).into()
                        } else if since + HEARD_OF <= now {
                            let minutes = (now - since).num_minutes();
                            let detail =
                                format!("for {minutes} minutes no request has proved generation {generation}: {why}");
                            Hold::new(HoldReason::Unproven, detail).into()
                        } else {
                            Failure::NotYet(why)
                        });
                    }
                    Err(failure) => return Err(failure),
                });
            }
            Action::Confirm(generation) => {
                let (kind, case) = self.case(credential, version(credential, generation), now)?;
                kind.confirm(&case).await?;
                self.observed.confirmed = true;
            }
            Action::Promote(generation) => {
                let version = version(credential, generation);
                let from = version.replaces.as_ref().and_then(|replaces| replaces.carrier.as_ref());
                engine.secrets.promote(arn, from, token(version)?).await?;
                self.observed.moved = true;
            }
            Action::Preflight => {
                let policy = self.wished_policy(credential)?;
                let secret = self.observed.secret.as_ref().ok_or_else(|| unread(credential))?;
                let preflight = Preflight::begin(engine, credential, secret, policy).await?;
                preflight.check().await?;
                preflight.prove().await?;
                self.observed.preflighted = true;
            }
            Action::Unpend(token) => {
                engine.secrets.unpend(arn, &token).await?;
                self.observed.secret = None;
                self.observed.unpended = Some(token);
            }
            Action::MoveBack { from, to } => {
                engine.secrets.move_back(arn, from.as_ref(), &to).await?;
                self.observed.secret = None;
                self.observed.moved_back = true;
            }
            Action::Witness(generation) => {
                let (kind, case) = self.case(credential, version(credential, generation), now)?;
                self.observed.sighting = Some((generation, kind.witness(&case).await?));
            }
            Action::Settle(generation, owed) => {
                let (kind, case) = self.case(credential, version(credential, generation), now)?;
                self.observed.settled = Some(kind.settle(&case, &owed).await?);
            }
            Action::Restore(generation) => {
                self.observed.restored = Some((generation, self.restore(credential, generation).await?));
            }
            Action::Relight(generation) => {
                self.restore(credential, generation).await?;
                let version = version(credential, generation);
                let (kind, case) = self.case(credential, version, now)?;
                let document = match self.document(credential, version).await {
                    // Its secret is deleted: that it is back can't be shown, and is no less needed.
                    Err(Failure::Call(call)) if call.fault == Fault::Rejected => None,
                    read => read?,
                };
                let ours = match kind.see_accepted(&case, document.as_ref()).await {
                    // It is enabled, and what was waited for will not be shown: its overlap goes on.
                    Err(Failure::NotYet(reason)) if version.brownout_until.is_some_and(|end| end + HEARD_OF <= now) => {
                        warn!(credential = %self.name, generation, reason, "a brownout's end was not proved");
                        0
                    }
                    seen => seen?,
                };
                let since = version.brownout_began.unwrap_or(now);
                // How many were refused is good to know; that the key is back must not wait for it.
                let refused = match kind.refusals(&case, since, now).await {
                    Ok(refused) => refused,
                    Err(failure) => {
                        warn!(credential = %self.name, generation, reason = chain(&failure), "refused calls were not counted");
                        None
                    }
                };
                self.observed.relit = Some((generation, refused, ours));
            }
            Action::Expose(generation) => {
                let version = version(credential, generation);
                let (kind, case) = self.case(credential, version, now)?;
                let document = self.document(credential, version).await?;
                let control = match case.control() {
                    Some(current) => self.document(credential, current).await?,
                    None => None,
                };
                let seen = match kind.is_refused(&case, document.as_ref(), control.as_ref()).await? {
                    Some(true) => Ok(engine.ports.clock.now()),
                    Some(false) => {
                        let why = format!("requests with generation {generation} still get through");
                        let told = version.suspended.unwrap_or(now);
                        return Err(if now < told + HEARD_OF {
                            Failure::NotYet(why)
                        } else {
                            Hold::new(HoldReason::StillAccepted, why).into()
                        });
                    }
                    None if document.is_none() => Err("its value is gone from Secrets Manager".to_owned()),
                    None => Err("no probe can show it".to_owned()),
                };
                self.observed.refused = Some((generation, seen));
            }
            Action::Disable(generation) => {
                let (kind, case) = self.case(credential, version(credential, generation), now)?;
                kind.disable(&case).await?;
                self.observed.disabled = Some(generation);
            }
            Action::Sweep(generation) => {
                let (kind, case) = self.case(credential, version(credential, generation), now)?;
                self.observed.swept = Some((generation, kind.sweep(&case).await?));
            }
            Action::Suspend(generation) => {
                let version = version(credential, generation);
                let (kind, case) = self.case(credential, version, now)?;
                let document = match version.provider.get("id") {
                    Some(_) => None,
                    None => self.document(credential, version).await?,
                };
                self.observed.suspended = Some((generation, kind.suspend(&case, document.as_ref()).await?));
            }
            Action::Destroy(generation) => {
                let (kind, case) = self.case(credential, version(credential, generation), now)?;
                kind.destroy(&case).await?;
                self.observed.destroyed = Some(generation);
            }
        }
        Ok(())
    }

    /// What does not come after a few tries is not waited for.
    async fn fingerprint(
        &self,
        kind: &dyn Kind,
        document: &SecretValue,
        policy: &Policy,
    ) -> Result<Option<Fingerprint>, Failure> {
        match self.engine.fingerprint(kind, document, policy).await {
            Err(failure) if self.patience.failures() >= TRIES => {
                Ok(Some(Fingerprint::Missing { missing: chain(&failure) }))
            }
            made => made,
        }
    }

    /// Sees that the key that a version's record names is the one that was recorded: whoever writes the table can write a
    /// history, too, but no fingerprint of a value that is not theirs, and no key pair. A key of which nothing is recorded
    /// that its provider shows is told by its id alone.
    async fn see_same_key(&self, credential: &Credential, generation: u32) -> Result<(), Failure> {
        let version = version(credential, generation);
        let (kind, case) = self.case(credential, version, self.engine.ports.clock.now())?;
        let identity = match kind.identity(&case).await {
            // A leaked key waits for nothing that can be done without.
            Err(failure) if version.compromised.is_some() && !self.may_pass(&failure) => {
                warn!(credential = %self.name, generation, reason = chain(&failure), "the key was not compared");
                return Ok(());
            }
            identity => identity?,
        };
        let Some(identity) = identity else { return Ok(()) };
        let what = match identity {
            Identity::Public(jwk) if version.provider.get("jwk").is_some_and(|known| *known != jwk) => "public key",
            Identity::Value(value) if !self.has_fingerprint(&value, version.fingerprint.as_ref()).await? => {
                "fingerprint"
            }
            Identity::Tag(name) if name.as_deref() != Some(&*tag_value(&credential.head.name)) => {
                "tag rotator:credential"
            }
            Identity::Public(_) | Identity::Tag(_) => return Ok(()),
            Identity::Value(_) => {
                // A leaked key is refused, whoever else has it.
                return match version.compromised {
                    Some(_) => Ok(()),
                    None => self.engine.see_unshared(self.name, version.fingerprint.as_ref()).await,
                };
            }
        };
        let id = version.provider.get("id").map_or("", String::as_str);
        let detail =
            format!("the key {id} is not the one that was recorded for generation {generation}: its {what} differs");
        Err(Hold::new(HoldReason::RecordDiffers, detail).into())
    }

    /// Whether a value has that fingerprint; also where nobody can tell: what can't be had is not waited for.
    async fn has_fingerprint(&self, value: &SecretValue, recorded: Option<&Fingerprint>) -> Result<bool, Failure> {
        let Some(Fingerprint::Made { mac, key }) = recorded else { return Ok(true) };
        match self.engine.macs.mac(key, value).await.map_err(Failure::from) {
            Ok(made) => Ok(made == *mac),
            Err(failure) if self.may_pass(&failure) => Err(failure),
            Err(failure) => {
                warn!(credential = %self.name, reason = chain(&failure), "the fingerprint was not compared");
                Ok(true)
            }
        }
    }

    /// Whether the next try may go better, as far as a few tries could tell.
    fn may_pass(&self, failure: &Failure) -> bool {
        match failure {
            Failure::Call(call) => {
                matches!(call.fault.disposition(), Disposition::Wait(_)) && self.patience.failures() < TRIES
            }
            Failure::NotYet(_) => self.patience.failures() < TRIES,
            Failure::Held(_) | Failure::Input(_) => false,
        }
    }

    /// Marks a key that is about to be recorded. What another try may change is an error for a few tries; nothing else
    /// depends on the mark, so nothing waits for it.
    async fn mark(&self, kind: &dyn Kind, credential: &Credential, facts: &Facts) -> Result<(), Failure> {
        let Err(failure) = kind.mark(credential, facts).await else { return Ok(()) };
        if self.may_pass(&failure) {
            return Err(failure);
        }
        warn!(credential = %self.name, reason = chain(&failure), "the key was not marked: another stack can't tell whose it is");
        Ok(())
    }

    async fn restore(&self, credential: &Credential, generation: u32) -> Result<Facts, Failure> {
        let version = version(credential, generation);
        let (kind, case) = self.case(credential, version, self.engine.ports.clock.now())?;
        // Only a key that is to be made again needs its value.
        let document = match version.provider.get("id") {
            Some(_) => None,
            None => self.document(credential, version).await?,
        };
        kind.restore(&case, document.as_ref()).await
    }

    /// A version's value, while a version of the secret holds it.
    async fn document(&self, credential: &Credential, version: &Version) -> Result<Option<SecretValue>, Failure> {
        match version.token() {
            Some(carrier) => self.engine.secrets.value(&credential.head.arn, carrier).await,
            None => Ok(None),
        }
    }

    fn case<'c>(
        &self,
        credential: &'c Credential,
        version: &'c Version,
        now: Time,
    ) -> Result<(&dyn Kind, Case<'c>), Failure> {
        Ok((self.engine.kind(&version.policy.kind)?, Case::of(credential, version, now)))
    }

    fn wished_policy(&self, credential: &Credential) -> Result<&Policy, Failure> {
        let wishes = self.observed.secret.as_ref().map(|secret| &secret.wishes);
        match wishes {
            Some(Ok(policy)) => Ok(policy),
            // `decide` refuses unusable wishes before it asks for anything that needs them.
            Some(Err(_)) | None => Err(unread(credential)),
        }
    }

    fn wished_kind(&self, credential: &Credential) -> Result<&dyn Kind, Failure> {
        Ok(self.engine.kind(&self.wished_policy(credential)?.kind)?)
    }

    async fn current_document(&self, credential: &Credential) -> Result<Option<SecretValue>, Failure> {
        let holder = self.observed.secret.as_ref().and_then(|secret| secret.holder(state::decide::AWSCURRENT));
        match holder {
            Some(carrier) => self.engine.secrets.value(&credential.head.arn, carrier).await,
            None => Ok(None),
        }
    }

    /// The candidate's value: it was put before the records said so.
    async fn drafted(&self, credential: &Credential, version: &Version) -> Result<SecretValue, Failure> {
        let token = token(version)?;
        let document = self.engine.secrets.value(&credential.head.arn, token).await?;
        document.ok_or_else(|| Failure::NotYet(format!("the value of version {token} can't be read yet")))
    }
}

fn version(credential: &Credential, generation: u32) -> &Version {
    credential.versions.get(&generation).expect("`decide` names only versions that it was given")
}

fn unread(credential: &Credential) -> Failure {
    Failure::NotYet(format!("the wishes of {} are not read yet", credential.head.name))
}

/// The token of a candidate's rotation.
fn token(version: &Version) -> Result<&Token, Failure> {
    let none = || Failure::NotYet(format!("generation {} has no rotation of its own", version.generation));
    version.token().ok_or_else(none)
}

fn is_throttled(failure: &Failure) -> bool {
    matches!(failure, Failure::Call(call) if matches!(call.fault, Fault::Throttled(_)))
}

/// Whether a creation may have happened, although it did not go well.
fn may_have_happened(failure: &Failure) -> bool {
    match failure {
        Failure::Call(call) => match call.fault {
            Fault::Unknown => true,
            Fault::Conflict
            | Fault::Denied
            | Fault::Unauthenticated
            | Fault::NotFound
            | Fault::Rejected
            | Fault::Throttled(_) => false,
        },
        Failure::Held(_) | Failure::NotYet(_) | Failure::Input(_) => false,
    }
}

fn about(action: &Action) -> Option<u32> {
    match action {
        Action::Preflight | Action::Unpend(_) | Action::MoveBack { .. } => None,
        Action::Check(_, standby) => *standby,
        Action::Draw(intent) => intent.generation(),
        Action::Mint(generation)
        | Action::Witness(generation)
        | Action::Settle(generation, _)
        | Action::Restore(generation)
        | Action::Relight(generation)
        | Action::Expose(generation)
        | Action::Find(generation)
        | Action::Equip(generation)
        | Action::Disable(generation)
        | Action::Sweep(generation)
        | Action::Draft(generation)
        | Action::Admit(generation)
        | Action::Prove(generation)
        | Action::Confirm(generation)
        | Action::Promote(generation)
        | Action::Suspend(generation)
        | Action::Destroy(generation) => Some(*generation),
    }
}

/// To retirement, a secret that is gone is a deleted one: a hold, not an error.
pub(crate) fn gone(credential: &Credential, failure: Failure) -> Result<Secret, Failure> {
    match failure {
        Failure::Input(BadInput::NoSecret(_)) if credential.head.revision > 0 => Ok(Secret {
            arn: credential.head.arn.clone(),
            deleted: true,
            gone: true,
            rotation_enabled: false,
            labels: BTreeMap::new(),
            wishes: Err(BadPolicy::NoKind),
            schedule: state::policy::Schedule::default(),
            created: None,
            last_rotated: None,
            replicas_behind: Vec::new(),
        }),
        other @ (Failure::Call(_) | Failure::Held(_) | Failure::NotYet(_) | Failure::Input(_)) => Err(other),
    }
}
