//! A secret, a key service and a clock for one signing credential: what [`decide`] asks is answered, what it decides is
//! done, and after every commit every invariant is checked.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use state::Time;
use state::credential::{Credential, Proof, Stamp, Version};
use state::decide::{
    AWSCURRENT, AWSPENDING, Action, CurrentValue, Decision, Drafted, Goal, Observed, Question, Secret, Step,
    StrayValue, decide,
};
use state::hold::Hold;
use state::invariants::{Outside, check};
use state::ledger::{Actor, Change, Event};
use state::name::{CredentialName, Token};
use state::policy::{KindWishes, Policy, Schedule};

use crate::judge;

/// Every kind there is, here.
pub const KINDS: [KindWishes<'static>; 2] = [
    KindWishes { name: "kms-signing-key", tags: &["algorithm"], publishes: true },
    KindWishes { name: "jwt-signing-key", tags: &[], publishes: true },
];

const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:issuer/acme-Ab12Cd";
/// The version that the stack made: a constant without a key.
const PLACEHOLDER: u32 = 0;

/// All there is.
pub struct World {
    pub credential: Credential,
    pub history: Vec<Event>,
    pub now: Time,
    pub secret: Secret,
    pub keys: BTreeMap<String, Key>,
    /// What was performed, in order.
    pub done: Vec<Action>,
    /// What happens to the next creation of a key instead of an answer.
    pub lost: Option<Lost>,
    /// The process dies after so many decisions.
    pub dies_after: Option<usize>,
}

/// A key at the provider.
pub struct Key {
    pub generation: u32,
    pub enabled: bool,
    /// Since when a look-up shows it.
    pub shown: Time,
}

/// A creation that got no answer.
#[derive(Clone, Copy, Debug)]
pub enum Lost {
    /// It did not happen.
    Unmade,
    /// It did; a look-up shows the key after that time.
    Made(TimeDelta),
}

impl World {
    /// A secret that a stack declared with those wishes; its first rotation is yet to come.
    pub fn new(wishes: &[(&str, &str)]) -> Self {
        let name = CredentialName::parse("issuer/acme").expect("a name");
        Self {
            credential: Credential::empty(name, ARN),
            history: Vec::new(),
            now: "2026-03-02T10:00:00Z".parse().expect("a moment"),
            secret: Secret {
                arn: ARN.to_owned(),
                deleted: false,
                rotation_enabled: true,
                labels: BTreeMap::from([(token(PLACEHOLDER), BTreeSet::from([AWSCURRENT.to_owned()]))]),
                wishes: Ok(policy(wishes)),
                schedule: Schedule::default(),
                replicas_behind: Vec::new(),
            },
            keys: BTreeMap::new(),
            done: Vec::new(),
            lost: None,
            dies_after: None,
        }
    }

    pub fn later(&mut self, by: TimeDelta) {
        self.now += by;
        judge::records(&self.credential, self.now);
    }

    /// All four steps, as Secrets Manager calls them. The decision that ended the last of them; `None` if its process
    /// died or its answer was lost.
    pub fn rotate(&mut self, n: u32) -> Option<Decision> {
        if !self.secret.has(&token(n), AWSCURRENT) && !self.secret.has(&token(n), AWSPENDING) {
            self.unlabel(AWSPENDING);
            self.secret.labels.entry(token(n)).or_default().insert(AWSPENDING.to_owned());
        }
        for step in Step::ALL {
            match self.run(&Goal::Step(step, token(n))) {
                Some(Decision::Done) => {}
                other => return other,
            }
        }
        Some(Decision::Done)
    }

    /// One run of the retirement function. The first hold that it met, or what it ended with.
    pub fn retire(&mut self) -> Option<Decision> {
        self.run(&Goal::Retire)
    }

    /// A person declares those generations compromised.
    pub fn order(&mut self, compromised: &[u32]) {
        let token = self.credential.next_token("emergency");
        self.commit(Change::Ordered { token, compromised: compromised.to_vec() });
    }

    /// What was performed since the last time.
    pub fn acts(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.done)
    }

    pub fn version(&self, generation: u32) -> &Version {
        &self.credential.versions[&generation]
    }

    /// The generations in the key set.
    pub fn published(&self) -> Vec<u32> {
        self.credential.published(self.now).map(|version| version.generation).collect()
    }

    /// Everything that the history tells of that generation.
    pub fn told(&self, generation: u32) -> Vec<&'static str> {
        let its = self.history.iter().filter(|event| event.change.generation() == Some(generation));
        its.map(|event| event.change.word()).collect()
    }

    pub fn commit(&mut self, change: Change) {
        let until = self.now + TimeDelta::minutes(5);
        let stamp = Stamp { at: self.now, until, actor: Actor::Rotation, note: None };
        let commit = self.credential.apply(change, &stamp).expect("a legal change");
        self.credential = commit.credential;
        self.history.push(commit.event);
        judge::records(&self.credential, self.now);
        let keys = self.keys.iter().map(|(id, key)| (id.clone(), key.enabled)).collect();
        let broken = check(&self.credential, &self.history, &Outside { secret: self.secret.clone(), keys });
        assert!(broken.is_empty(), "{broken:?} after {:?}", self.history.last().map(|event| &event.change));
    }

    fn run(&mut self, goal: &Goal) -> Option<Decision> {
        let mut observed = Observed::default();
        let mut held = None;
        for turn in 0..100 {
            if self.dies_after == Some(turn) {
                self.dies_after = None;
                return None;
            }
            let decision = decide(goal, &self.credential, &observed, self.now);
            judge::decision(&self.credential, &observed, &decision, self.now);
            match decision {
                Decision::Look(question) => self.look(&question, &mut observed),
                Decision::Perform(action) => {
                    self.young_only_in_a_hurry(&action);
                    self.done.push(action.clone());
                    if !self.perform(action, &mut observed) {
                        return None;
                    }
                }
                Decision::Commit(change) => {
                    observed.ours.extend(change.generation().filter(|_| opens_intent(&change)));
                    self.commit(change);
                    observed = observed.after_commit();
                }
                Decision::Hold(generation, hold) => {
                    let is_news = self.note(generation, &hold);
                    let stopped = Decision::Hold(generation, hold);
                    let Some(generation) = generation.filter(|_| *goal == Goal::Retire && is_news) else {
                        return Some(stopped);
                    };
                    held = held.or(Some(stopped));
                    observed.ours.remove(&generation);
                    observed = observed.after_commit();
                }
                Decision::Done => return held.or(Some(Decision::Done)),
                Decision::WaitUntil(_) | Decision::Refuse(_) => return Some(decision),
            }
        }
        panic!("{goal:?} comes to no end: {:?}", self.done);
    }

    /// Records a hold, unless it stands there.
    fn note(&mut self, generation: Option<u32>, hold: &Hold) -> bool {
        let recorded = generation.map_or(&self.credential.head.held, |generation| &self.version(generation).held);
        let is_news = recorded.as_ref().is_none_or(|held| held.hold != *hold || held.look_again <= self.now);
        if is_news {
            self.commit(Change::Held { generation, hold: hold.clone() });
        }
        is_news
    }

    fn young_only_in_a_hurry(&self, action: &Action) {
        let Action::Promote(generation) = action else { return };
        let version = self.version(*generation);
        let publication = version.policy.publication.as_ref().expect("a signing key");
        let known = version.published.expect("published") + publication.lead.delta();
        assert!(known <= self.now || judge::hurries(&self.credential), "promoted before verifiers can know it");
    }

    fn look(&self, question: &Question, observed: &mut Observed) {
        match question {
            Question::Secret => observed.secret = Some(self.secret.clone()),
            Question::Current(_) => observed.current = Some(CurrentValue::WithoutKey),
            Question::Stray(_) => observed.stray = Some(StrayValue::Preflight),
        }
    }

    /// False: there was no answer.
    fn perform(&mut self, action: Action, observed: &mut Observed) -> bool {
        let nothing = BTreeMap::new();
        match action {
            Action::Check(..) => observed.checked = true,
            Action::Mint(generation) => {
                let id = format!("key-{generation}-{}", self.history.len());
                let lost = self.lost.take();
                let shown = match lost {
                    Some(Lost::Unmade) => return false,
                    Some(Lost::Made(after)) => self.now + after,
                    None => self.now,
                };
                self.keys.insert(id.clone(), Key { generation, enabled: true, shown });
                if lost.is_some() {
                    return false;
                }
                observed.minted = Some((generation, fact("id", &id), false));
            }
            Action::Find(generation) => {
                let mut shown =
                    self.keys.iter().filter(|(_, key)| key.generation == generation && key.shown <= self.now);
                match shown.next() {
                    Some((id, _)) => observed.minted = Some((generation, fact("id", id), true)),
                    None => observed.missing = Some(generation),
                }
            }
            Action::Equip(generation) => {
                observed.equipped = Some((generation, fact("kid", &format!("kid-{generation}"))));
            }
            Action::Draft(_) => observed.drafted = Some(Drafted::default()),
            Action::Admit(_) => observed.admitted = Some((nothing.clone(), nothing)),
            Action::Prove(_) => {
                observed.proof = Some(Proof { proven: vec!["a challenge".into()], unproven: Vec::new() });
            }
            Action::Confirm(_) => observed.confirmed = true,
            Action::Promote(generation) => {
                self.unlabel(AWSCURRENT);
                let token = self.version(generation).token().expect("a candidate's token").clone();
                self.secret.labels.entry(token).or_default().insert(AWSCURRENT.to_owned());
                observed.moved = true;
            }
            Action::Preflight => observed.preflighted = true,
            Action::Unpend(token) => {
                self.secret.labels.entry(token).or_default().remove(AWSPENDING);
                observed.secret = None;
            }
            Action::Disable(generation) => {
                self.enable_none(generation);
                observed.disabled = Some(generation);
            }
            Action::Sweep(generation) => {
                let its = self.version(generation).provider.get("id").cloned();
                let now = self.now;
                let is_left = |id: &String, key: &Key| {
                    key.generation == generation && key.shown <= now && Some(id) != its.as_ref()
                };
                let found: Vec<String> =
                    self.keys.iter().filter(|(id, key)| is_left(id, key)).map(|(id, _)| id.clone()).collect();
                self.keys.retain(|id, _| !found.contains(id));
                observed.swept = Some((generation, found));
            }
            Action::Suspend(generation) => {
                self.enable_none(generation);
                observed.suspended = Some((generation, nothing));
            }
            Action::Destroy(generation) => {
                if let Some(id) = self.version(generation).provider.get("id").cloned() {
                    self.keys.remove(&id);
                }
                observed.destroyed = Some(generation);
            }
        }
        true
    }

    fn enable_none(&mut self, generation: u32) {
        let its = self.version(generation).provider.get("id").cloned();
        if let Some(key) = its.and_then(|id| self.keys.get_mut(&id)) {
            key.enabled = false;
        }
    }

    fn unlabel(&mut self, label: &str) {
        for labels in self.secret.labels.values_mut() {
            labels.remove(label);
        }
        self.secret.labels.retain(|_, labels| !labels.is_empty());
    }
}

fn opens_intent(change: &Change) -> bool {
    matches!(
        change,
        Change::Minting { .. }
            | Change::Minted { .. }
            | Change::Drafting { .. }
            | Change::Drafted { .. }
            | Change::Admitted { .. }
            | Change::Proved { .. }
            | Change::Disabling { .. }
            | Change::Suspending { .. }
            | Change::Destroying { .. }
    )
}

/// The wishes of the owner of a signing key, with as many live versions as there may be.
pub fn policy(wishes: &[(&str, &str)]) -> Policy {
    let usual = [("kind", "kms-signing-key"), ("max-live", "16")];
    let tags = usual.iter().chain(wishes).map(|(tag, value)| (format!("rotator:{tag}"), (*value).to_owned()));
    Policy::from_tags(&tags.collect(), &KINDS).expect("consistent")
}

pub fn token(n: u32) -> Token {
    Token::parse(&format!("{n:08}-0000-4000-8000-000000000000")).expect("a token")
}

fn fact(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}
