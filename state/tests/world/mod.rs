//! A secret, a key service and a clock for one credential, of signing keys or of API keys: what [`decide`] asks is
//! answered, what it decides is done, and after every commit every invariant is checked.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{NaiveDate, TimeDelta};
use state::Time;
use state::credential::{Credential, Drawn, Proof, Settlements, Stamp, Version};
use state::decide::{
    AWSCURRENT, AWSPENDING, Action, CurrentValue, Decision, Drafted, Goal, Observed, Question, Secret, Step,
    StrayValue, decide,
};
use state::drift::Inventory;
use state::evidence::{KeyUse, Owed, PlanUse, QuotaPeriod, Sighting, Told};
use state::hold::{Hold, HoldReason};
use state::invariants::{Outside, Violation, check};
use state::ledger::{Actor, Change, Event};
use state::lifecycle::State;
use state::name::{CredentialName, Token};
use state::policy::{KindWishes, Policy, Schedule, Traces};
use uuid::Uuid;

use crate::judge;

/// Every kind there is, here.
pub const KINDS: [KindWishes<'static>; 3] = [
    KindWishes {
        name: "api-gateway-key",
        tags: &[],
        publishes: false,
        disables: false,
        traces: Traces::UseAndAllowance,
    },
    KindWishes { name: "kms-signing-key", tags: &["algorithm"], publishes: true, disables: true, traces: Traces::Use },
    KindWishes { name: "jwt-signing-key", tags: &[], publishes: true, disables: false, traces: Traces::Use },
];

const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:issuer/acme-Ab12Cd";
/// How long after a request the provider tells of it.
pub const LAG: TimeDelta = TimeDelta::hours(1);
pub const MINUTE: TimeDelta = TimeDelta::minutes(1);
pub const HOUR: TimeDelta = TimeDelta::hours(1);
pub const DAY: TimeDelta = TimeDelta::days(1);
/// The defaults of an API key.
pub const OVERLAP: TimeDelta = TimeDelta::days(7);
pub const SOAK: TimeDelta = TimeDelta::days(7);
/// How many requests a probe sends.
pub const PROBES: u64 = 3;
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
    /// Requests that got through, our own among them.
    pub uses: BTreeMap<u32, Vec<Time>>,
    /// Requests that did not.
    pub turned_away: BTreeMap<u32, Vec<Time>>,
    /// What a customer may use on a day, where a plan says so.
    pub quota: Option<i64>,
    /// What each key had left on a day, from when on, where that was not the whole quota.
    pub left: BTreeMap<(u32, NaiveDate), Vec<(Time, i64)>>,
    /// How long a refusal takes to be seen.
    pub slow: TimeDelta,
    /// What the provider does not do now.
    pub refuses: BTreeSet<Trouble>,
    /// Versions of the secret whose value is gone.
    pub gone: BTreeSet<Token>,
}

/// What a provider may refuse to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// It tells nothing of any use.
    Silent,
    /// It lets nobody look.
    Denied,
    /// No request with a key that is to be proved gets through.
    Unprovable,
    /// It does not let a key be accepted again.
    Unrestorable,
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
                gone: false,
                rotation_enabled: true,
                labels: BTreeMap::from([(token(PLACEHOLDER), BTreeSet::from([AWSCURRENT.to_owned()]))]),
                wishes: Ok(policy(wishes)),
                schedule: Schedule::default(),
                created: None,
                last_rotated: None,
                replicas_behind: Vec::new(),
            },
            keys: BTreeMap::new(),
            done: Vec::new(),
            lost: None,
            dies_after: None,
            uses: BTreeMap::new(),
            turned_away: BTreeMap::new(),
            quota: None,
            left: BTreeMap::new(),
            slow: TimeDelta::seconds(20),
            refuses: BTreeSet::new(),
            gone: BTreeSet::new(),
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

    /// A person wants that generation back.
    pub fn roll_back(&mut self, to: u32) -> Option<Decision> {
        self.run(&Goal::RollBack(to))
    }

    /// The secret is deleted, and its recovery window is over.
    pub fn delete(&mut self) {
        (self.secret.deleted, self.secret.gone) = (true, true);
        self.secret.labels.clear();
    }

    /// The daily look at secrets that are gone.
    pub fn close(&mut self) -> Option<Decision> {
        self.run(&Goal::Close)
    }

    /// Somebody sends a request with that generation's key. Whether it got through.
    pub fn ask(&mut self, generation: u32) -> bool {
        let left = self.left(generation, self.now);
        let gets_through = self.is_enabled(generation) && left.is_none_or(|left| left > 0);
        let heard = if gets_through { &mut self.uses } else { &mut self.turned_away };
        heard.entry(generation).or_default().push(self.now);
        if let Some(left) = left.filter(|_| gets_through) {
            self.leave(generation, left - 1);
        }
        gets_through
    }

    /// Whether the provider accepts that generation's key.
    pub fn is_enabled(&self, generation: u32) -> bool {
        let id = self.credential.versions.get(&generation).and_then(|version| version.provider.get("id"));
        id.and_then(|id| self.keys.get(id)).is_some_and(|key| key.enabled)
    }

    /// What that generation's key had left today at that time, where there is a quota.
    fn left(&self, generation: u32, at: Time) -> Option<i64> {
        let quota = self.quota?;
        let today = self.left.get(&(generation, self.now.date_naive())).into_iter().flatten();
        Some(today.take_while(|(since, _)| *since <= at).last().map_or(quota, |(_, left)| *left))
    }

    fn leave(&mut self, generation: u32, left: i64) {
        self.left.entry((generation, self.now.date_naive())).or_default().push((self.now, left));
    }

    /// A person declares those generations compromised.
    pub fn order(&mut self, compromised: &[u32]) {
        let token = self.credential.next_token("emergency");
        self.commit(Change::Ordered { token, compromised: compromised.to_vec() });
    }

    /// What was performed since the last time. What is drawn touches nothing.
    pub fn acts(&mut self) -> Vec<Action> {
        let mut done = std::mem::take(&mut self.done);
        done.retain(|action| !matches!(action, Action::Draw(_)));
        done
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
        self.history.extend(commit.event);
        judge::records(&self.credential, self.now);
        let broken = self.broken();
        assert!(broken.is_empty(), "{broken:?} after {:?}", self.history.last().map(|event| &event.change));
    }

    /// Every invariant that does not hold.
    pub fn broken(&self) -> Vec<Violation> {
        let keys = self.keys.iter().map(|(id, key)| (id.clone(), key.enabled)).collect();
        check(&self.credential, &self.history, &Outside { secret: self.secret.clone(), keys })
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
            let is_denied = self.refuses.contains(&Trouble::Denied);
            let denied = if let Decision::Perform(Action::Witness(generation)) = &decision {
                is_denied.then(|| Decision::Hold(Some(*generation), Hold::new(HoldReason::Denied, "apigateway:GET")))
            } else {
                None
            };
            let decision = denied.unwrap_or(decision);
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
                    observed.ours.extend(change.generation().filter(|_| change.opens_intent()));
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
                Decision::Done => {
                    if *goal == Goal::Retire {
                        self.nothing_waits_for_nobody();
                    }
                    return held.or(Some(Decision::Done));
                }
                Decision::WaitUntil(_) | Decision::Refuse(_) => return Some(decision),
            }
        }
        panic!("{goal:?} comes to no end: {:?}", &self.done[self.done.len().saturating_sub(9)..]);
    }

    /// What is due after a run that found nothing more to do would be due for ever.
    fn nothing_waits_for_nobody(&self) {
        for version in self.credential.versions.values().filter(|v| v.due().is_some_and(|at| at <= self.now)) {
            // A standby that is being made has its own time; and a brownout that nobody began in time has none any more.
            let is_replaced = version.state == State::Active && self.credential.being_made().is_some();
            let is_late = version.next_brownout(TimeDelta::zero()).is_some_and(|(begin, _)| begin <= self.now);
            assert!(is_replaced || is_late, "{} is due and nobody does anything: {version:?}", version.place());
        }
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
        let Some(publication) = &version.policy.publication else { return };
        let known = version.published.expect("published") + publication.lead.delta();
        // What was current before is no stranger.
        let may = known <= self.now || judge::hurries(&self.credential) || version.activated.is_some();
        assert!(may, "promoted before verifiers can know it");
    }

    fn look(&self, question: &Question, observed: &mut Observed) {
        match question {
            Question::Secret => observed.secret = Some(self.secret.clone()),
            Question::Current(_) => observed.current = Some(CurrentValue::WithoutKey),
            Question::Readable(token) => observed.readable = Some(!self.gone.contains(token)),
            Question::Stray(_) => observed.stray = Some(StrayValue::Preflight),
            Question::Inventory { .. } => observed.inventory = Some(Inventory::default()),
        }
    }

    /// False: there was no answer.
    fn perform(&mut self, action: Action, observed: &mut Observed) -> bool {
        let nothing = BTreeMap::new();
        match action {
            Action::Check(..) => observed.checked = true,
            Action::Draw(intent) => {
                let known = intent.generation().and_then(|generation| self.credential.versions.get(&generation));
                let fresh = Uuid::from_u128(self.history.len() as u128);
                let id = known.map_or(fresh, |version| version.id);
                observed.drawn = Some(Drawn { id, commitment: None });
            }
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
            Action::Admit(generation) => observed.admitted = Some((self.admit(generation), nothing)),
            Action::Prove(_) if self.refuses.contains(&Trouble::Unprovable) => return false,
            Action::Prove(generation) => {
                self.probe(generation);
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
            Action::MoveBack { to, .. } => {
                self.unlabel(AWSCURRENT);
                self.secret.labels.entry(to).or_default().insert(AWSCURRENT.to_owned());
                observed.moved_back = true;
            }
            Action::Witness(generation) => observed.sighting = Some((generation, self.sighting(generation))),
            Action::Settle(_, owed) => observed.settled = Some(self.settle(&owed)),
            Action::Restore(_) | Action::Relight(_) if self.refuses.contains(&Trouble::Unrestorable) => return false,
            Action::Restore(generation) => {
                let made = self.restore(generation);
                observed.restored = Some((generation, made));
            }
            Action::Relight(generation) => {
                self.restore(generation);
                let ours = self.probe(generation);
                let began = self.version(generation).brownout_began.expect("a brownout");
                let refused = self.turned_away.get(&generation).into_iter().flatten().filter(|at| **at >= began);
                let refused = u64::try_from(refused.count()).expect("few");
                observed.relit = Some((generation, Some(refused), ours));
            }
            Action::Expose(generation) => observed.refused = Some((generation, Ok(self.now + self.slow))),
            Action::Disable(generation) => {
                self.enable(generation, false);
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
                // A candidate's process may have died before it wrote down what it had made.
                let made = self
                    .keys
                    .get(&format!("k{generation}"))
                    .filter(|_| !self.version(generation).provider.contains_key("id"));
                let found = made.map_or(nothing, |_| fact("id", &format!("k{generation}")));
                for id in found.values() {
                    self.keys.get_mut(id).expect("found").enabled = false;
                }
                self.enable(generation, false);
                observed.suspended = Some((generation, found));
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

    /// API keys are made where signing keys were before.
    fn admit(&mut self, generation: u32) -> BTreeMap<String, String> {
        let version = self.version(generation);
        if version.policy.publication.is_some() {
            return BTreeMap::new();
        }
        let incumbent = version.replaces.as_ref().and_then(|replaces| replaces.generation);
        let id = format!("k{generation}");
        let shown = self.now;
        if self.keys.insert(id.clone(), Key { generation, enabled: true, shown }).is_none()
            && let Some(left) = incumbent.and_then(|incumbent| self.left(incumbent, self.now))
        {
            self.leave(generation, left);
        }
        fact("id", &id)
    }

    /// Enabled again; made again if it vanished.
    fn restore(&mut self, generation: u32) -> BTreeMap<String, String> {
        if self.version(generation).provider.contains_key("id") {
            self.enable(generation, true);
            return BTreeMap::new();
        }
        let id = format!("k{generation}-again");
        self.keys.insert(id.clone(), Key { generation, enabled: true, shown: self.now });
        fact("id", &id)
    }

    /// Our own requests, which are counted like any other. How many.
    fn probe(&mut self, generation: u32) -> u64 {
        if self.version(generation).policy.publication.is_some() {
            return 0;
        }
        let now = self.now;
        self.uses.entry(generation).or_default().extend((0..PROBES).map(|_| now));
        PROBES
    }

    /// What the provider tells, as late as it does.
    fn sighting(&self, generation: u32) -> Sighting {
        let seen_until = self.now - LAG;
        let seen = |generation: u32| {
            self.uses
                .get(&generation)
                .into_iter()
                .flatten()
                .copied()
                .filter(|at| *at <= seen_until)
                .collect::<Vec<Time>>()
        };
        let its = seen(generation);
        let is_signing = self.version(generation).policy.publication.is_some();
        let told = match its.iter().max().copied() {
            _ if self.refuses.contains(&Trouble::Silent) => Told::Nothing,
            last if is_signing => Told::Last(last),
            last => Told::Count(its.len().try_into().expect("few"), last),
        };
        let mut plans = BTreeMap::new();
        if self.quota.is_some() && told != Told::Nothing {
            let mut plan = PlanUse { period: QuotaPeriod::Day, keys: BTreeMap::new(), untold: Vec::new() };
            let today = self.now.date_naive();
            let is_live = |version: &&Version| {
                matches!(version.state, State::Active | State::Deactivated) && version.compromised.is_none()
            };
            for version in self.credential.versions.values().filter(is_live) {
                let (generation, id) = (version.generation, &version.provider["id"]);
                let seen = seen(generation);
                if seen.is_empty() {
                    plan.untold.push(id.clone());
                    continue;
                }
                let used = seen.iter().filter(|at| at.date_naive() == today).count();
                let used = i64::try_from(used).expect("few");
                let left = self.left(generation, seen_until).expect("a quota");
                plan.keys.insert(id.clone(), KeyUse { used, left });
            }
            plans.insert("p1".to_owned(), plan);
        }
        let callers = Vec::new();
        Sighting { source: "a test".to_owned(), seen_until, told, plans, callers }
    }

    fn settle(&mut self, owed: &Owed) -> Settlements {
        let mut settled = Settlements::new();
        for (plan, (settlement, keys)) in owed {
            for id in keys {
                let generation = self.keys[id].generation;
                self.leave(generation, settlement.remaining);
            }
            // It is read again, and told as late as anything.
            settled.insert(plan.clone(), settlement.clone());
        }
        settled
    }

    pub fn enable(&mut self, generation: u32, enabled: bool) {
        let its = self.version(generation).provider.get("id").cloned();
        if let Some(key) = its.and_then(|id| self.keys.get_mut(&id)) {
            key.enabled = enabled;
        }
    }

    pub fn unlabel(&mut self, label: &str) {
        for labels in self.secret.labels.values_mut() {
            labels.remove(label);
        }
        self.secret.labels.retain(|_, labels| !labels.is_empty());
    }
}

/// The wishes of the owner, of a signing key unless they say otherwise, with as many live versions as there may be.
pub fn policy(wishes: &[(&str, &str)]) -> Policy {
    let usual = [("kind", "kms-signing-key"), ("max-live", "16"), ("idle-before-suspend", "PT0S")];
    let tags = usual.iter().chain(wishes).map(|(tag, value)| (format!("rotator:{tag}"), (*value).to_owned()));
    Policy::from_tags(&tags.collect(), &KINDS).expect("consistent")
}

pub fn token(n: u32) -> Token {
    Token::parse(&format!("{n:08}-0000-4000-8000-000000000000")).expect("a token")
}

fn fact(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

pub fn api(wishes: &[(&str, &str)]) -> World {
    let usual = [("kind", "api-gateway-key"), ("idle-before-suspend", "P2D")];
    World::new(&usual.iter().chain(wishes).copied().collect::<Vec<_>>())
}

/// Two API keys: the first was used until a day ago, and is deactivated just now.
pub fn rotated(wishes: &[(&str, &str)]) -> World {
    rotate_once(api(wishes))
}

/// The same, where nothing is told of any use.
pub fn silently_rotated(wishes: &[(&str, &str)]) -> World {
    let mut world = api(wishes);
    world.refuses.insert(Trouble::Silent);
    rotate_once(world)
}

fn rotate_once(mut world: World) -> World {
    done(world.rotate(1));
    assert!(world.ask(1));
    world.later(DAY);
    done(world.rotate(2));
    done(world.retire());
    world.acts();
    world
}

/// Lets that time go by; in every step somebody does something, and retirement comes by.
pub fn pass(world: &mut World, time: TimeDelta, step: TimeDelta, mut somebody: impl FnMut(&mut World)) {
    let end = world.now + time;
    while world.now + step <= end {
        world.later(step);
        somebody(world);
        world.retire();
    }
}

pub fn done(decision: Option<Decision>) {
    assert_eq!(decision, Some(Decision::Done));
}

pub fn held_by(world: &World, generation: u32) -> Hold {
    world.version(generation).held.as_ref().expect("it is held").hold.clone()
}

/// The first key's only brownout has just begun; whoever began it may die after so many decisions.
pub fn browned_out(dies_after: Option<usize>) -> World {
    let mut world = rotated(&[("brownouts", "PT5M")]);
    let (begin, _) = world.version(1).next_brownout(MINUTE * 5).expect("a brownout");
    let left = begin - MINUTE - world.now;
    pass(&mut world, left, MINUTE, |_| {});
    // No look is due at that moment.
    assert!(world.version(1).look_at().is_some_and(|at| at > begin));
    world.later(MINUTE);
    world.dies_after = dies_after;
    assert_eq!(world.retire(), dies_after.map_or(Some(Decision::Done), |_| None));
    world
}
