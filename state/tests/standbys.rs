//! One signing credential through everything that may happen to it, told in the order in which it happens.

use chrono::TimeDelta;
use proptest::prelude::*;
use state::credential::{Credential, LOOK_UP_LAG};
use state::decide::{AWSCURRENT, Action, Decision, Refusal};
use state::hold::{Hold, HoldReason};
use state::ledger::{Abandonment, Change};
use state::lifecycle::{Phase, Place, State};
use state::policy::BadPolicy;

mod judge;
#[expect(dead_code, reason = "the other tests of whole lives use the rest")]
mod world;

use world::{DAY, Lost, World, pass, token};

/// Longer than the usual lead, which is a day.
const LEAD: TimeDelta = TimeDelta::hours(25);
/// The defaults: a signer's cache and slack; and with a token's life and a verifier's cache, the overlap.
const SIGNS_FOR: TimeDelta = TimeDelta::minutes(75);
const OVERLAP: TimeDelta = TimeDelta::minutes(255);

#[test]
fn the_first_key_is_made_on_the_path_of_its_rotation() {
    let mut world = World::new(&[]);
    done(world.rotate(1));
    let acts = world.acts();
    assert!(matches!(acts[0], Action::Check(_, None)), "nothing is made for wishes that can't be met");
    assert_eq!(acts[1..3], [Action::Mint(1), Action::Equip(1)]);
    assert!(matches!(acts[3], Action::Check(_, Some(1))));
    let path = [Action::Draft(1), Action::Admit(1), Action::Prove(1), Action::Confirm(1), Action::Promote(1)];
    assert_eq!(acts[4..], path);
    assert_eq!((world.credential.head.current, world.published()), (Some(1), vec![1]));
    assert_eq!(world.version(1).strange_until(), None, "no verifier has a key set without it");
}

#[test]
fn retirement_makes_the_next_standby() {
    let world = &mut first_two(&[]);
    assert_eq!(world.acts(), [Action::Mint(2), Action::Equip(2)]);
    assert_eq!(world.version(2).place(), Place(State::PreActivation, None));
    assert_eq!((world.published(), world.version(2).carriers.len()), (vec![1, 2], 0));
    assert_eq!((world.version(1).due(), world.version(2).due()), (None, None), "nothing is left to do");
    done(world.retire());
    assert_eq!(world.acts(), []);
}

#[test]
fn a_rotation_promotes_the_standby_and_makes_no_key() {
    let world = &mut first_two(&[]);
    world.later(LEAD);
    world.acts();
    done(world.rotate(2));
    assert!(!world.acts().iter().any(|act| matches!(act, Action::Mint(_))));
    assert_eq!((world.credential.head.current, world.credential.head.standbys.len()), (Some(2), 0));
    assert_eq!(world.version(2).strange_until(), None, "every verifier knows it");
    done(world.retire());
    assert_eq!(world.published(), [1, 2, 3]);
}

#[test]
fn a_standby_that_is_too_young_is_not_hurried() {
    let world = &mut first_two(&[]);
    world.later(TimeDelta::hours(23));
    let hold = held(world.rotate(2));
    assert_eq!(hold.reason, HoldReason::StandbyTooYoung);
    for moment in ["published at 2026-03-02 10:00 UTC", "over at 2026-03-03 10:00 UTC"] {
        assert!(hold.detail.contains(moment), "{}", hold.detail);
    }
    assert_eq!(world.credential.head.current, Some(1));
    world.later(TimeDelta::hours(1));
    done(world.rotate(2));
    assert_eq!(world.credential.head.current, Some(2));
}

#[test]
fn without_a_standby_a_rotation_waits_for_retirement() {
    let mut world = World::new(&[]);
    done(world.rotate(1));
    world.acts();
    world.later(LEAD);
    assert_eq!(held(world.rotate(2)).reason, HoldReason::StandbyTooYoung);
    assert_eq!(world.acts(), [], "a scheduled rotation makes no key");
    done(world.retire());
    assert_eq!(held(world.rotate(2)).reason, HoldReason::StandbyTooYoung, "it was made just now");
}

#[test]
fn of_two_standbys_the_one_that_verifiers_know_for_longer_is_chosen() {
    let world = &mut first_two(&[("standbys", "2")]);
    assert_eq!(world.credential.head.standbys, [2, 3]);
    assert_eq!(world.published(), [1, 2, 3]);
    world.later(LEAD);
    done(world.rotate(2));
    assert_eq!((world.credential.head.current, &world.credential.head.standbys), (Some(2), &vec![3]));
    done(world.retire());
    done(world.rotate(3));
    assert_eq!(world.credential.head.current, Some(3), "the fourth is too young, the third is not");
}

#[test]
fn an_emergency_needs_no_wait_when_the_standby_is_known() {
    let world = &mut first_two(&[]);
    world.later(LEAD);
    world.order(&[1]);
    done(world.rotate(2));
    assert_eq!((world.credential.head.current, world.version(2).strange_until()), (Some(2), None));
}

#[test]
fn an_emergency_with_a_young_standby_goes_ahead_and_says_what_it_costs() {
    let world = &mut first_two(&[]);
    world.later(TimeDelta::minutes(30));
    world.order(&[1]);
    done(world.rotate(2));
    let version = world.version(2);
    let known = version.published.expect("published") + TimeDelta::hours(2);
    assert_eq!(version.strange_until(), Some(known), "verifiers that fetched just before may refuse until then");
}

#[test]
fn an_emergency_without_a_standby_makes_a_key() {
    let mut world = World::new(&[]);
    done(world.rotate(1));
    world.acts();
    world.later(TimeDelta::minutes(1));
    world.order(&[1]);
    world.later(TimeDelta::minutes(1));
    done(world.rotate(2));
    assert_eq!(world.acts()[1..3], [Action::Mint(2), Action::Equip(2)]);
    assert_eq!(world.credential.head.current, Some(2));
    done(world.retire());
    assert_eq!((world.version(1).state, &world.credential.head.order), (State::Suspended, &None), "it is over");
}

#[test]
fn an_emergency_that_has_its_new_key_hurries_nobody_any_more() {
    let world = &mut first_two(&[]);
    world.later(LEAD);
    world.order(&[1]);
    done(world.rotate(2));
    // The old key can't be disabled, so the order still stands.
    world.commit(Change::Held { generation: Some(1), hold: Hold::new(HoldReason::Denied, "kms:DisableKey") });
    done(world.retire());
    assert!(world.credential.head.order.is_some());
    assert_eq!(world.credential.head.standbys, [3]);
    world.later(TimeDelta::minutes(1));
    assert_eq!(held(world.rotate(3)).reason, HoldReason::StandbyTooYoung);
}

#[test]
fn a_creation_without_an_answer_is_looked_for_and_not_repeated() {
    let mut world = World::new(&[]);
    done(world.rotate(1));
    world.acts();
    world.lost = Some(Lost::Made(TimeDelta::zero()));
    assert_eq!(world.retire(), None, "the process died waiting");
    assert_eq!(world.acts(), [Action::Mint(2)]);
    done(world.retire());
    assert_eq!(world.acts(), [], "its intent is its writer's, and then a look-up proves nothing for a while");
    let trusted = world.now + TimeDelta::minutes(5) + LOOK_UP_LAG;
    assert_eq!(world.version(2).due(), Some(trusted));
    world.order(&[1]);
    assert_eq!(world.rotate(2), Some(Decision::WaitUntil(trusted)), "an emergency that needs it waits as well");
    world.later(trusted - world.now);
    done(world.retire());
    assert_eq!(world.acts(), [Action::Find(2), Action::Equip(2)]);
    assert!(matches!(world.history.iter().rev().nth(1).map(|e| &e.change), Some(Change::Minted { found: true, .. })));
    assert_eq!((world.keys.len(), world.published()), (2, vec![1, 2]));
    world.later(TimeDelta::hours(12));
    done(world.retire());
    assert!(world.acts().contains(&Action::Sweep(2)), "there might have been a second one");
    assert!(world.told(2).contains(&"swept") && world.version(2).sweep_at.is_none());
}

#[test]
fn a_creation_that_did_not_happen_is_begun_anew_and_what_shows_late_is_swept() {
    let mut world = World::new(&[]);
    done(world.rotate(1));
    world.acts();
    world.lost = Some(Lost::Made(TimeDelta::hours(1)));
    assert_eq!(world.retire(), None);
    world.later(TimeDelta::minutes(10));
    done(world.retire());
    assert_eq!(world.acts(), [Action::Mint(2), Action::Find(2), Action::Mint(2), Action::Equip(2)]);
    assert_eq!(world.told(2), ["minting", "minting", "minted", "published"]);
    assert_eq!(world.keys.len(), 3, "one of them is nobody's");
    world.later(TimeDelta::hours(12));
    done(world.retire());
    assert_eq!(world.acts(), [Action::Sweep(2)]);
    assert_eq!(world.keys.len(), 2);
    assert!(world.keys.contains_key(&world.version(2).provider["id"]), "its own key stays");
}

#[test]
fn a_rotation_that_comes_back_with_another_token_chooses_the_same_key() {
    let world = &mut first_two(&[]);
    world.later(LEAD);
    world.dies_after = Some(4);
    assert_eq!(world.rotate(2), None);
    assert_eq!(world.version(2).phase, Some(Phase::Drafting));
    world.acts();
    done(world.rotate(3));
    assert_eq!(world.told(2)[3..6], ["drafting", "returned", "drafting"]);
    assert_eq!((world.credential.head.current, world.credential.versions.len()), (Some(2), 2), "no key was burned");
    assert_eq!(world.version(2).carriers, [token(2), token(3)]);
}

#[test]
fn a_candidate_that_lost_its_label_is_a_standby_again() {
    let world = &mut first_two(&[]);
    world.later(LEAD);
    world.dies_after = Some(4);
    assert_eq!(world.rotate(2), None);
    world.secret.labels.remove(&token(2));
    world.later(TimeDelta::minutes(6));
    done(world.retire());
    assert_eq!((world.credential.head.candidate, &world.credential.head.standbys), (None, &vec![2]));
    assert_eq!(world.version(2).place(), Place(State::PreActivation, None));
}

#[test]
fn a_compromised_standby_is_abandoned_and_never_chosen() {
    let world = &mut first_two(&[]);
    world.later(LEAD);
    world.order(&[2]);
    world.acts();
    done(world.rotate(2));
    assert_eq!(world.credential.head.current, Some(3), "made on the path of the emergency");
    done(world.retire());
    assert!(abandoned(world, 2, Abandonment::Compromised));
    assert_eq!((world.version(2).state, world.version(2).activated), (State::Suspended, None));
    assert!(!world.published().contains(&2));
}

#[test]
fn a_key_that_is_compromised_while_it_is_made_is_abandoned_as_well() {
    let mut world = World::new(&[]);
    done(world.rotate(1));
    world.dies_after = Some(5);
    assert_eq!(world.retire(), None);
    assert_eq!(world.version(2).phase, Some(Phase::Publishing));
    world.order(&[2]);
    world.later(TimeDelta::minutes(6));
    done(world.retire());
    done(world.retire());
    assert!(abandoned(&world, 2, Abandonment::Compromised), "{:?}", world.told(2));
    assert!(!world.published().contains(&2), "{:?}", world.published());
}

#[test]
fn a_compromised_candidate_is_abandoned_and_another_takes_its_place() {
    let world = &mut first_two(&[]);
    world.later(LEAD);
    world.dies_after = Some(4);
    assert_eq!(world.rotate(2), None);
    world.order(&[2]);
    assert_eq!(world.rotate(2), Some(Decision::Refuse(Refusal::Abandoned(token(2)))));
    done(world.rotate(3));
    assert_eq!((world.credential.head.current, world.version(2).activated), (Some(3), None));
    assert!(!world.told(2).contains(&"returned"));
}

#[test]
fn a_standby_beyond_the_owners_wish_is_abandoned() {
    let world = &mut first_two(&[]);
    let policy = world.version(1).policy.clone();
    for change in [
        Change::Minting { generation: 3, policy, drawn: None },
        Change::Minted { generation: 3, provider: [("id".to_owned(), "key-3".to_owned())].into(), found: false },
        Change::Published { generation: 3, provider: [].into() },
    ] {
        world.keys.entry("key-3".into()).or_insert(world::Key { generation: 3, enabled: true, shown: world.now });
        world.commit(change);
    }
    world.later(LEAD);
    done(world.retire());
    assert!(abandoned(world, 3, Abandonment::Surplus));
    assert_eq!(world.credential.head.standbys, [2], "the one that verifiers know for longer stays");
}

#[test]
fn one_standby_instead_of_two_is_reached_by_the_next_rotation() {
    let world = &mut first_two(&[("standbys", "2")]);
    world.later(LEAD);
    world.secret.wishes = Ok(world::policy(&[]));
    done(world.retire());
    assert_eq!(world.credential.head.standbys, [2, 3], "later wishes wait for the next rotation");
    done(world.rotate(2));
    done(world.retire());
    assert_eq!((world.credential.head.current, &world.credential.head.standbys), (Some(2), &vec![3]));
    assert_eq!(world.version(2).standby_due, None);
}

#[test]
fn the_old_key_stops_signing_then_is_withdrawn_then_destroyed_each_at_its_time() {
    let world = &mut first_two(&[]);
    world.later(LEAD);
    done(world.rotate(2));
    done(world.retire());
    let superseded = world.now;
    world.acts();
    let due = [
        (SIGNS_FOR, Action::Disable(1), State::Deactivated),
        (OVERLAP, Action::Suspend(1), State::Suspended),
        (OVERLAP + TimeDelta::days(7), Action::Destroy(1), State::Destroyed),
    ];
    for (after, act, state) in due {
        world.later(superseded + after - TimeDelta::seconds(1) - world.now);
        done(world.retire());
        assert_eq!(world.acts(), [], "not before its time");
        world.later(TimeDelta::seconds(1));
        done(world.retire());
        let seen = matches!(act, Action::Suspend(_)).then_some(Action::Expose(1));
        assert_eq!(world.acts(), std::iter::once(act).chain(seen).collect::<Vec<_>>());
        assert_eq!(world.version(1).state, state);
        assert_eq!(world.published().contains(&1), state == State::Deactivated);
    }
    assert_eq!(
        world.told(1)[world.told(1).len() - 7..],
        ["disabling", "disabled", "suspending", "suspended", "refused", "destroying", "destroyed"]
    );
}

#[test]
fn an_old_key_leaves_the_key_set_when_it_was_seen_that_nobody_signs_with_it() {
    let world = &mut first_two(&[]);
    world.later(LEAD);
    done(world.rotate(2));
    world.later(OVERLAP - TimeDelta::seconds(1));
    assert_eq!(world.published(), [1, 2]);
    world.later(TimeDelta::hours(1));
    assert_eq!(world.published(), [1, 2], "nobody has looked yet");
    // Somebody moved the label back to it: its signers are consumers again.
    world.unlabel(AWSCURRENT);
    let first = world.version(1).token().expect("a carrier").clone();
    world.secret.labels.entry(first).or_default().insert(AWSCURRENT.to_owned());
    world.retire();
    assert_eq!(world.published()[..2], [1, 2]);
    world.unlabel(AWSCURRENT);
    let second = world.version(2).token().expect("a carrier").clone();
    world.secret.labels.entry(second).or_default().insert(AWSCURRENT.to_owned());
    world.later(TimeDelta::hours(1));
    done(world.retire());
    assert!(!world.published().contains(&1), "{:?}", world.told(1));
}

#[test]
fn a_compromised_key_is_disabled_first_and_withdrawn_at_once() {
    let world = &mut first_two(&[]);
    world.later(LEAD);
    world.order(&[1]);
    done(world.rotate(2));
    world.acts();
    assert_eq!(world.published(), [1, 2], "its signers see an error before its verifiers do");
    done(world.retire());
    assert_eq!(world.acts()[0], Action::Suspend(1));
    assert_eq!((world.version(1).state, world.credential.head.order.is_none()), (State::Suspended, true));
    assert!(!world.published().contains(&1));
}

#[test]
fn nobody_waits_long_for_a_compromised_key_to_be_disabled() {
    let world = &mut first_two(&[]);
    world.later(LEAD);
    world.order(&[1]);
    done(world.rotate(2));
    world.later(TimeDelta::minutes(5) - TimeDelta::seconds(1));
    assert_eq!(world.published(), [1, 2]);
    world.later(TimeDelta::seconds(1));
    assert_eq!(world.published(), [2]);
}

#[test]
fn a_key_whose_retirement_is_held_stays_published_unless_it_is_compromised() {
    let world = &mut first_two(&[]);
    world.later(LEAD);
    done(world.rotate(2));
    world.later(OVERLAP - TimeDelta::minutes(1));
    done(world.retire());
    world.commit(Change::Held { generation: Some(1), hold: Hold::new(HoldReason::LabelMoved, "AWSCURRENT") });
    world.later(TimeDelta::minutes(5));
    assert!(world.published().contains(&1), "it may be in use");
    world.order(&[1]);
    world.commit(Change::Held { generation: Some(1), hold: Hold::new(HoldReason::Denied, "kms:DisableKey") });
    world.later(TimeDelta::minutes(5));
    assert!(!world.published().contains(&1), "nobody waits long for what strangers have");
}

#[test]
fn the_last_moment_at_which_a_cache_may_trust_an_old_key_is_known() {
    let world = &mut first_two(&[]);
    assert_eq!(world.version(1).trusted_until(), None, "nobody is to withdraw it");
    world.later(LEAD);
    done(world.rotate(2));
    let cache = TimeDelta::hours(2);
    assert_eq!(world.version(1).trusted_until(), Some(world.now + OVERLAP + cache));
    world.later(TimeDelta::minutes(30));
    world.order(&[1]);
    done(world.retire());
    assert_eq!(world.version(1).state, State::Suspended, "its signers are not waited for");
    assert_eq!(world.version(1).trusted_until(), Some(world.now + cache), "withdrawn just now");
}

#[test]
fn no_more_keys_are_published_than_verifiers_take() {
    let world = &mut first_two(&[("overlap", "P60D")]);
    for n in 2..10 {
        world.later(LEAD);
        done(world.rotate(n));
        if n < 9 {
            done(world.retire());
        }
    }
    done(world.retire());
    assert_eq!(world.published().len(), 10);
    world.later(LEAD);
    done(world.rotate(10));
    let hold = held(world.retire());
    assert_eq!((hold.reason, world.published().len()), (HoldReason::JwksFull, 10));
    world.later(TimeDelta::days(60));
    done(world.retire());
    assert_eq!(world.credential.head.standbys.len(), 1, "there is room again");
}

#[test]
fn a_credential_keeps_its_kind() {
    let world = &mut first_two(&[]);
    world.later(LEAD);
    world.secret.wishes = Ok(world::policy(&[("kind", "jwt-signing-key")]));
    let Some(Decision::Refuse(Refusal::Policy(BadPolicy::KindChanged { found, recorded }))) = world.rotate(2) else {
        panic!("a kind that changed was taken");
    };
    assert_eq!((found.as_str(), recorded.as_str()), ("jwt-signing-key", "kms-signing-key"));
}

/// A current key, and what retirement makes ahead of the next rotation.
fn first_two(wishes: &[(&str, &str)]) -> World {
    let mut world = World::new(wishes);
    done(world.rotate(1));
    world.acts();
    done(world.retire());
    world
}

fn done(decision: Option<Decision>) {
    assert_eq!(decision, Some(Decision::Done));
}

fn held(decision: Option<Decision>) -> Hold {
    match decision {
        Some(Decision::Hold(_, hold)) => hold,
        other => panic!("{other:?}"),
    }
}

fn abandoned(world: &World, generation: u32, why: Abandonment) -> bool {
    world.history.iter().any(|event| event.change == Change::Abandoned { generation, why })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        rng_seed: prop::test_runner::RngSeed::Fixed(11),
        ..ProptestConfig::default()
    })]

    /// The world checks everything that it can after everything that happens in it.
    #[test]
    fn whatever_happens_and_whoever_dies_no_verifier_meets_a_stranger_and_no_key_is_lost(
        two in any::<bool>(),
        dice in prop::collection::vec((0..10_u8, any::<u8>(), 1..100_000_u32), 1..40),
    ) {
        let mut world = World::new(if two { &[("standbys", "2")] } else { &[] });
        let mut rotations = 0;
        for (kind, whose, variety) in dice {
            match kind {
                0 | 1 => {
                    rotations += 1;
                    world.rotate(rotations);
                }
                // Secrets Manager tries the same one again, or somebody an older one.
                2 if rotations > 0 => {
                    let n = rotations - u32::from(whose) / 64 % rotations;
                    let state = world.credential.by_carrier(&token(n)).map(|version| version.state);
                    // Nobody can be kept from giving a label to what is refused.
                    if state.is_none_or(|state| state <= State::Active) {
                        world.rotate(n);
                    }
                }
                3 => world.dies_after = Some(usize::from(whose % 12)),
                4 => world.lost = Some(if whose < 99 { Lost::Unmade } else { Lost::Made(seconds(u32::from(whose) * 9)) }),
                5 if world.credential.head.revision > 0 => {
                    let known: Vec<u32> = world.credential.versions.keys().copied().collect();
                    world.order(&[known[usize::from(whose) % known.len()]]);
                }
                6 | 7 => world.later(seconds(variety)),
                _ => drop(world.retire()),
            }
        }
        // In the end nothing is left over that nobody knows.
        for _ in 0..60 {
            world.later(TimeDelta::hours(7));
            world.retire();
        }
        for (id, key) in &world.keys {
            let version = world.version(key.generation);
            prop_assert_eq!(version.provider.get("id"), Some(id), "{:?}", world.told(key.generation));
            let is_trusted = version.is_published(world.now) && version.state != State::Active;
            prop_assert!(!is_trusted || version.compromised.is_none(), "published: {}", version.place());
        }
    }
}

fn seconds(count: u32) -> TimeDelta {
    TimeDelta::seconds(i64::from(count))
}

/// A key set is what the history states from the floor on.
#[test]
fn a_key_set_costs_after_many_rotations_what_it_costs_after_few() {
    let mut world = World::new(&[]);
    let mut weighs = |rotations: std::ops::RangeInclusive<u32>| {
        for n in rotations {
            done(world.rotate(n));
            pass(&mut world, DAY * 20, DAY, |_| {});
        }
        let floor = world.credential.head.floor.expect("somebody has a key");
        let events = &world.history[usize::try_from(floor.seq).expect("small") - 1..];
        let head = &world.credential.head;
        let stated = Credential::stated(&head.name, &head.arn, Some(floor), events, &head.ledger).expect("it holds");
        let keys =
            |credential: &Credential| credential.published(world.now).map(|it| it.generation).collect::<Vec<_>>();
        assert_eq!(keys(&stated), keys(&world.credential));
        (events.len(), stated.versions.len())
    };
    let few = weighs(1..=10);
    assert_eq!(weighs(11..=50), few);
}
