use chrono::TimeDelta;

use super::*;
use crate::credential::{Commit, Proof, Replaces, Stamp};
use crate::decide::{Action, Decision, Goal, Observed, Question, decide};
use crate::ledger::{Abandonment, Actor, Change};
use crate::name::CredentialName;
use crate::policy::{KindWishes, Policy, Schedule, Traces};

const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:partner/acme-Ab12Cd";

/// A credential whose generation 2 is current and 1 in its overlap, as the outside has it.
struct World {
    credential: Credential,
    secret: Secret,
    inventory: Inventory,
    now: Time,
}

impl World {
    fn new() -> Self {
        let tags = BTreeMap::from([("rotator:kind".to_owned(), "api-gateway-key".to_owned())]);
        let kinds = [KindWishes {
            name: "api-gateway-key",
            tags: &[],
            publishes: false,
            disables: false,
            traces: Traces::None,
        }];
        let policy = Policy::from_tags(&tags, &kinds).unwrap();
        let adopted = Change::Adopted {
            generation: 1,
            carrier: token(1),
            provider: facts("k1"),
            policy: policy.clone(),
            fingerprint: None,
        };
        let secret = Secret {
            arn: ARN.into(),
            deleted: false,
            gone: false,
            rotation_enabled: true,
            labels: BTreeMap::new(),
            wishes: Ok(policy),
            schedule: Schedule::default(),
            created: None,
            last_rotated: None,
            replicas_behind: Vec::new(),
        };
        let now = "2026-03-02T10:00:00Z".parse().unwrap();
        let credential = Credential::empty(CredentialName::parse("partner/acme").unwrap(), ARN);
        let mut world = Self { credential, secret, inventory: Inventory::default(), now };
        world.commit(adopted);
        for change in world.rotation(2) {
            world.commit(change);
        }
        world.label(AWSCURRENT, 2);
        world.label("AWSPREVIOUS", 1);
        world.inventory.keys = Some(vec![key("k1", 1), key("k2", 2)]);
        world
    }

    fn rotation(&self, generation: u32) -> [Change; 5] {
        let policy = self.secret.wishes.clone().unwrap();
        let before = generation - 1;
        let replaces = Replaces { generation: Some(before), carrier: Some(token(before)) };
        let id = format!("k{generation}");
        [
            Change::Drafting { generation, token: token(generation), policy, replaces, drawn: None, trigger: None },
            Change::Drafted { generation, provider: BTreeMap::new(), fingerprint: None, also: None },
            Change::Admitted { generation, provider: facts(&id), evidence: BTreeMap::new() },
            Change::Proved { generation, proof: Proof { proven: vec!["x".into()], unproven: Vec::new() } },
            Change::Promoted { generation },
        ]
    }

    fn commit(&mut self, change: Change) {
        let stamp = Stamp { at: self.now, until: self.now + TimeDelta::minutes(5), actor: Actor::Operator, note: None };
        let Commit { credential, .. } = self.credential.apply(change, &stamp).unwrap();
        self.credential = credential;
    }

    fn label(&mut self, label: &str, n: u32) {
        self.secret.labels.values_mut().for_each(|labels| {
            labels.remove(label);
        });
        self.secret.labels.entry(token(n)).or_default().insert(label.to_owned());
    }

    fn stray(&mut self, label: &str, n: u32, holds: Holds) {
        self.label(label, n);
        self.inventory.strays.insert(token(n), Stray { holds, since: Some(self.now) });
    }

    fn found(&self) -> Vec<Finding> {
        examine(&self.credential, &self.secret, &self.inventory, self.now)
    }

    fn words(&self) -> Vec<&'static str> {
        self.found().iter().map(Finding::word).collect()
    }

    /// The one finding that there is.
    fn only(&self) -> Finding {
        let found = self.found();
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().unwrap()
    }

    /// What follows, once the key is claimed if it has to be.
    fn next(&mut self, finding: &Finding, done: Observed) -> Decision {
        let mut observed = Observed {
            secret: done.secret.or_else(|| Some(self.secret.clone())),
            inventory: Some(self.inventory.clone()),
            ..done
        };
        loop {
            let next = decide(&Goal::Mend(finding.clone()), &self.credential, &observed, self.now);
            let Decision::Commit(claim @ Change::Claimed { generation }) = next else { return next };
            self.commit(claim);
            observed.ours.insert(generation);
        }
    }

    fn later(&mut self, by: TimeDelta) {
        self.now += by;
    }

    fn key(&mut self, id: &str) -> &mut FoundKey {
        self.inventory.keys.as_mut().unwrap().iter_mut().find(|key| key.id == id).unwrap()
    }
}

fn token(n: u32) -> Token {
    Token::parse(&format!("{n:08}-0000-4000-8000-000000000000")).unwrap()
}

fn facts(id: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("id".to_owned(), id.to_owned()), ("plans".to_owned(), "p1".to_owned())])
}

fn key(id: &str, generation: u32) -> FoundKey {
    FoundKey {
        id: id.into(),
        name: format!("acme-{id}"),
        generation: Some(generation),
        availability: Availability::Enabled,
        plans: Some(BTreeSet::from(["p1".to_owned()])),
        replaced: BTreeMap::new(),
        owner: None,
    }
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let mut world = World::new();
    assert_eq!(world.found(), []);
    let mended = world.next(&Finding::CleanUpOpen { generation: 1 }, Observed::default());
    assert_eq!(mended, Decision::Done, "what is not there is not cured");
}

#[test]
fn a_key_is_put_right_by_one_at_a_time() {
    let mut world = World::new();
    world.key("k2").plans = Some(BTreeSet::new());
    let finding = world.only();
    let mend = |world: &World, ours: BTreeSet<u32>| {
        let (secret, inventory) = (Some(world.secret.clone()), Some(world.inventory.clone()));
        let observed = Observed { secret, inventory, ours, ..Observed::default() };
        decide(&Goal::Mend(finding.clone()), &world.credential, &observed, world.now)
    };
    let claim = Change::Claimed { generation: 2 };
    assert_eq!(mend(&world, BTreeSet::new()), Decision::Commit(claim.clone()));
    world.commit(claim.clone());
    let until = world.credential.versions[&2].open_until.unwrap();
    assert_eq!(mend(&world, BTreeSet::new()), Decision::WaitUntil(until));
    assert_eq!(mend(&world, BTreeSet::from([2])), Decision::Perform(Action::Restore(2)));
    world.later(until - world.now);
    assert_eq!(mend(&world, BTreeSet::from([2])), Decision::Commit(claim), "its time is over: it claims it anew");
}

#[test]
fn every_place_of_the_label_that_consumers_read() {
    let mut world = World::new();
    world.label(AWSCURRENT, 1);
    assert_eq!(world.words(), ["LabelMoved"]);
    let back = Action::MoveBack { from: Some(token(1)), to: token(2) };
    assert_eq!(world.next(&world.only(), Observed::default()), Decision::Perform(Action::Confirm(2)));
    let confirmed = Observed { confirmed: true, ..Observed::default() };
    assert_eq!(world.next(&world.only(), confirmed), Decision::Perform(back));
    for (holds, word) in [
        (Holds::KeyOf(2), "NewCarrier"),
        (Holds::KeyOf(1), "LabelMoved"),
        (Holds::NoKey, "ValueWiped"),
        (Holds::Foreign, "ForeignValue"),
    ] {
        world.stray(AWSCURRENT, 9, holds);
        assert_eq!(world.words(), [word], "{holds:?}");
    }
    assert_eq!(world.next(&world.only(), Observed::default()), Decision::Done, "a foreign value is a person's matter");
    let ordered = Change::Ordered { token: token(7), compromised: vec![2] };
    world.commit(ordered);
    world.stray(AWSCURRENT, 9, Holds::NoKey);
    assert!(matches!(world.only().remedy(Some(&world.credential)), Remedy::Person(_)), "never back to a leaked key");
}

#[test]
fn a_first_key_that_consumers_read_before_it_is_proved() {
    let mut world = World::new();
    let first = Replaces { generation: None, carrier: Some(token(9)) };
    let policy = world.secret.wishes.clone().unwrap();
    world.credential = Credential::empty(CredentialName::parse("partner/acme").unwrap(), ARN);
    world.commit(Change::Drafting {
        generation: 1,
        token: token(1),
        policy,
        replaces: first,
        drawn: None,
        trigger: None,
    });
    world.secret.labels.clear();
    world.inventory.keys = None;
    world.label("AWSPREVIOUS", 9);
    world.label(AWSCURRENT, 1);
    let finding = world.only();
    let back = Action::MoveBack { from: Some(token(1)), to: token(9) };
    assert_eq!(world.next(&finding, Observed::default()), Decision::Perform(back));
    assert!(finding.remedy(Some(&world.credential)).text().contains("before the first rotation"));
    world.label("AWSPREVIOUS", 8);
    world.secret.labels.retain(|_, labels| !labels.is_empty());
    let finding = world.only();
    assert_eq!(world.next(&finding, Observed::default()), Decision::Done, "there is nothing to go back to");
    assert!(finding.remedy(Some(&world.credential)).text().contains("put-secret-value"));
}

#[test]
fn nothing_is_torn_from_under_a_writer() {
    let mut world = World::new();
    world.stray(AWSPENDING, 3, Holds::Nothing);
    let over = world.now + LONGEST_RUN;
    assert_eq!(world.next(&world.only(), Observed::default()), Decision::WaitUntil(over));
    world.later(LONGEST_RUN);
    assert_eq!(world.next(&world.only(), Observed::default()), Decision::Perform(Action::Unpend(token(3))));

    let mut world = World::new();
    for change in world.rotation(3).into_iter().take(3) {
        world.commit(change);
    }
    world.label(AWSPENDING, 3);
    let finding = world.only();
    assert_eq!(finding.word(), "HalfDone");
    assert_eq!(finding.waits_until(world.now), Some(world.now + TimeDelta::minutes(5)));
    assert_eq!(world.next(&finding, Observed::default()), Decision::WaitUntil(world.now + TimeDelta::minutes(5)));
    world.later(TimeDelta::minutes(5));
    let given_up = Change::Abandoned { generation: 3, why: Abandonment::Repaired };
    assert_eq!(world.next(&finding, Observed::default()), Decision::Commit(given_up.clone()));
    // Another rotation took over, and the writer of this one does not know yet.
    let given_up_by_another = Change::Abandoned { generation: 3, why: Abandonment::OtherToken };
    let mut early = World::new();
    for change in early.rotation(3).into_iter().take(3).chain([given_up_by_another]) {
        early.commit(change);
    }
    early.label(AWSPENDING, 3);
    let stale = early.only();
    assert_eq!(early.next(&stale, Observed::default()), Decision::WaitUntil(early.now + TimeDelta::minutes(5)));
    early.later(TimeDelta::minutes(5));
    assert_eq!(early.next(&stale, Observed::default()), Decision::Perform(Action::Suspend(3)));
    early.label(AWSCURRENT, 3);
    assert_eq!(early.next(&stale, Observed::default()), Decision::Done, "what consumers read is not refused");

    // Outside first, then the label, then it is told.
    world.commit(given_up);
    assert_eq!(world.words(), ["PendingStale"]);
    assert_eq!(world.next(&finding, Observed::default()), Decision::Perform(Action::Suspend(3)));
    let suspended =
        || Observed { suspended: Some((3, BTreeMap::new())), ours: BTreeSet::from([3]), ..Observed::default() };
    assert_eq!(world.next(&finding, suspended()), Decision::Perform(Action::Unpend(token(3))));
    world.secret.labels.remove(&token(3));
    let told = Change::Suspended { generation: 3, provider: BTreeMap::new() };
    assert_eq!(world.next(&finding, suspended()), Decision::Commit(told));
}

#[test]
fn a_proved_candidate_that_consumers_read_is_told_and_an_unproved_one_is_not() {
    for (phases, word) in [(4, "PromotionUntold"), (3, "LabelMoved")] {
        let mut world = World::new();
        for change in world.rotation(3).into_iter().take(phases) {
            world.commit(change);
        }
        world.label(AWSPENDING, 3);
        world.label(AWSCURRENT, 3);
        assert_eq!(world.words(), [word]);
    }
}

#[test]
fn keys_that_are_not_as_recorded() {
    let mut world = World::new();
    world.key("k2").availability = Availability::Disabled;
    assert_eq!(world.words(), ["KeyDisabled"]);
    assert_eq!(world.next(&world.only(), Observed::default()), Decision::Done, "its owner may be cut off on purpose");
    world.commit(Change::Ordered { token: token(7), compromised: vec![2] });
    assert_eq!(world.words(), [""; 0], "a compromised key is never brought back");

    let mut world = World::new();
    world.key("k2").plans = Some(BTreeSet::from(["p2".to_owned()]));
    assert_eq!(world.words(), ["PlanLost", "PlanAdded"]);
    let taken = world.next(&world.found()[1], Observed::default());
    assert!(
        matches!(&taken, Decision::Commit(Change::Mended { provider, .. }) if provider["plans"] == "p1 p2"),
        "{taken:?}"
    );

    let mut recorded_after = |by: Option<&str>| {
        world.key("k2").replaced = [("p1".to_owned(), by.map(str::to_owned))].into();
        let next = world.next(&world.found()[0], Observed::default());
        let Decision::Commit(Change::Mended { finding, provider, .. }) = next else { panic!("{next:?}") };
        (world.words(), finding, provider["plans"].clone())
    };
    // A key is in one plan of each stage: it was moved, and nothing more is to be said of the new one.
    assert_eq!(recorded_after(Some("p2")), (vec!["PlanReplaced"], "PlanReplaced".into(), "p2".into()));
    assert_eq!(recorded_after(None), (vec!["PlanReplaced", "PlanAdded"], "PlanReplaced".into(), String::new()));

    let mut world = World::new();
    world.inventory.keys.as_mut().unwrap().retain(|key| key.id != "k2");
    assert_eq!(world.words(), ["KeyVanished"]);
    world.inventory.keys.as_mut().unwrap().push(key("k9", 2));
    assert_eq!(world.words(), ["KeyVanished", "Stranger"], "another key with our tags does not take its place");
}

#[test]
fn a_suspended_key_stays_suspended_and_an_orphan_is_retired_like_any_other() {
    let mut world = World::new();
    let policy = world.secret.wishes.clone().unwrap();
    let replaces = Replaces { generation: Some(2), carrier: Some(token(2)) };
    world.commit(Change::Drafting { generation: 3, token: token(3), policy, replaces, drawn: None, trigger: None });
    world.commit(Change::Abandoned { generation: 3, why: Abandonment::LostPending });
    world.commit(Change::Suspended { generation: 3, provider: BTreeMap::new() });
    assert_eq!(world.words(), [""; 0]);
    world.inventory.keys.as_mut().unwrap().push(key("k3", 3));
    let orphan = world.only();
    let recovered = Change::Recovered { generation: 3, provider: [("id".to_owned(), "k3".to_owned())].into() };
    assert_eq!(world.next(&orphan, Observed::default()), Decision::Commit(recovered.clone()));
    world.commit(recovered);
    let ours = || Observed { ours: BTreeSet::from([3]), ..Observed::default() };
    assert_eq!(world.next(&orphan, ours()), Decision::Perform(Action::Suspend(3)));
    world.commit(Change::Suspended { generation: 3, provider: BTreeMap::new() });
    assert!(world.credential.versions[&3].destroy_at.is_some(), "it soaks");
    assert_eq!(world.words(), ["KeyEnabled"]);
    assert_eq!(world.next(&world.only(), Observed::default()), Decision::Perform(Action::Suspend(3)));
    world.key("k3").availability = Availability::Disabled;
    assert_eq!(world.words(), [""; 0]);
}

#[test]
fn another_secret_is_not_compared_with() {
    let mut world = World::new();
    world.label(AWSCURRENT, 1);
    world.secret.deleted = true;
    assert_eq!(world.words(), ["SecretDeleted"]);
    world.secret.arn.push('x');
    assert_eq!(world.words(), ["SecretReplaced"]);
}

#[test]
fn the_key_set_is_compared_kid_by_kid() {
    let mut world = World::new();
    for version in world.credential.versions.values_mut() {
        version.published = Some(world.now);
        version.provider.insert("kid".into(), format!("kid-{}", version.generation));
    }
    let served = |kids: &[&str]| Some(Served::Kids(kids.iter().map(ToString::to_string).collect()));
    world.inventory.served = served(&["kid-1", "kid-2"]);
    assert_eq!(world.words(), [""; 0]);
    world.inventory.served = served(&["kid-2", "other"]);
    assert_eq!(world.words(), ["KidMissing", "KidExtra"]);
    world.inventory.served = Some(Served::Nothing("no connection".into()));
    assert_eq!(world.words(), ["KeySetUnreachable"]);
}

#[test]
fn a_look_at_the_keys_is_only_taken_for_findings_about_keys() {
    let world = World::new();
    let observed = Observed { secret: Some(world.secret.clone()), ..Observed::default() };
    for (finding, keys) in [
        (Finding::LabelMoved { generation: Some(2), instead: None, carrier: None, back_to: Some(token(2)) }, false),
        (Finding::KeyVanished { generation: 2, id: Some("k2".into()) }, true),
    ] {
        let decision = decide(&Goal::Mend(finding), &world.credential, &observed, world.now);
        assert_eq!(decision, Decision::Look(Question::Inventory { keys }));
    }
}
