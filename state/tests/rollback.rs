//! The way back to an earlier version: whoever dies on it, and where there is none.

use chrono::TimeDelta;
use state::decide::{AWSCURRENT, AWSPENDING, Action, Decision, Refusal};
use state::evidence::Ground;
use state::ledger::{Abandonment, Change};
use state::lifecycle::{Phase, Place, State};
use state::rollback::{LASTS, NoWayBack, target};

mod judge;
#[expect(dead_code, reason = "the other tests of whole lives use the rest")]
mod world;

use world::{DAY, HOUR, MINUTE, OVERLAP, SOAK, Trouble, World, api, browned_out, done, pass, rotated, token};

#[test]
fn a_rollback_comes_to_its_end_whoever_dies() {
    for suspended in [false, true] {
        let mut deaths = 0;
        loop {
            let world = &mut rotated(&[]);
            if suspended {
                pass(world, OVERLAP + HOUR, HOUR, |_| {});
                assert_eq!(world.version(1).state, State::Suspended);
            }
            world.dies_after = Some(deaths);
            let answer = world.roll_back(1);
            if world.dies_after.take().is_some() {
                done(answer);
                break;
            }
            assert_eq!(answer, None);
            let begun = world.told(1).contains(&"rolling-back");
            world.later(TimeDelta::minutes(6));
            done(world.retire());
            if !begun {
                assert_eq!(world.credential.head.current, Some(2));
                done(world.roll_back(1));
            }
            is_back(world);
            deaths += 1;
        }
        assert!(deaths > 8, "{deaths}");
    }
}

#[test]
fn the_provider_and_the_labels_never_disagree_in_a_rollback() {
    let world = &mut rotated(&[]);
    pass(world, OVERLAP + HOUR, HOUR, |_| {});
    world.acts();
    done(world.roll_back(1));
    let acts = [Action::Restore(1), Action::Prove(1), Action::Unpend(token(2)), Action::Confirm(1), Action::Promote(1)];
    assert_eq!(world.acts(), acts, "accept before use; and no label is left that would block the next rotation");
    is_back(world);
    let until = world.version(2).suspend_at;
    assert_eq!(until, Some(world.now + OVERLAP), "the bad one is deactivated like any other");
    assert_eq!(world.version(1).usage, None, "nothing that followed its deactivation is true any more");
    done(world.roll_back(2));
    assert_eq!(world.credential.head.current, Some(2), "and forth again");
    done(world.roll_back(2));
}

#[test]
fn a_key_that_vanished_is_made_again_with_its_value() {
    let world = &mut rotated(&[]);
    world.keys.remove("k1");
    world.commit(Change::Vanished { generation: 1 });
    done(world.roll_back(1));
    assert_eq!(world.version(1).provider["id"], "k1-again");
    assert!(world.ask(1) && world.credential.head.current == Some(1));
}

#[test]
fn whoever_is_putting_the_key_right_is_waited_for() {
    let world = &mut rotated(&[]);
    world.commit(Change::Claimed { generation: 1 });
    let until = world.version(1).open_until.expect("claimed");
    assert_eq!(world.roll_back(1), Some(Decision::WaitUntil(until)));
    world.later(until - world.now);
    done(world.roll_back(1));
    is_back(world);
}

#[test]
fn a_label_that_somebody_moved_back_by_hand_is_followed() {
    let world = &mut rotated(&[]);
    let labels = world.secret.labels.get_mut(&token(2)).expect("the holder");
    assert!(labels.remove(AWSCURRENT) && labels.contains(AWSPENDING));
    world.secret.labels.insert(token(1), [AWSCURRENT.to_owned()].into());
    done(world.roll_back(1));
    is_back(world);
    let acts = world.acts();
    assert!(!acts.contains(&Action::Promote(1)));
    assert!(acts.contains(&Action::Unpend(token(2))), "it would block every other rotation");
    done(world.rotate(3));
}

#[test]
fn a_rollback_that_nothing_proves_expires_and_everything_is_as_it_was() {
    let world = &mut rotated(&[]);
    world.refuses.insert(Trouble::Unprovable);
    assert_eq!(world.roll_back(1), None);
    pass(world, HOUR, TimeDelta::minutes(6), |_| {});
    assert_eq!((world.version(1).place(), world.credential.head.candidate), (Place(State::Deactivated, None), None));
    assert!(forsaken(world, Abandonment::Expired) && world.ask(1));
    assert_eq!(world.credential.head.current, Some(2));
    pass(world, OVERLAP, HOUR, |_| {});
    assert_eq!(world.version(1).state, State::Suspended, "and its life goes on");
}

#[test]
fn a_rollback_whose_label_may_just_be_moving_is_not_given_up() {
    let world = &mut rotated(&[]);
    world.refuses.insert(Trouble::Unprovable);
    let ordered = world.now;
    assert_eq!(world.roll_back(1), None);
    pass(world, TimeDelta::minutes(54), TimeDelta::minutes(6), |_| {});
    world.later(MINUTE * 5);
    world.refuses.clear();
    let mut lives = 0;
    while world.version(1).phase != Some(Phase::Promoting) {
        lives += 1;
        world.dies_after = Some(lives);
        world.roll_back(1);
    }
    world.dies_after = None;
    world.later(MINUTE * 2);
    assert!(world.now > ordered + LASTS, "its time is over, its last writer's is not");
    done(world.roll_back(1));
    is_back(world);
}

#[test]
fn what_a_failed_rollback_brought_back_is_refused_again_and_seen_to_be() {
    for trouble in [Trouble::Unprovable, Trouble::Unrestorable] {
        let world = &mut rotated(&[]);
        pass(world, OVERLAP + HOUR, HOUR, |_| {});
        assert!(world.version(1).refused.is_some());
        world.refuses.insert(trouble);
        assert_eq!(world.roll_back(1), None);
        world.acts();
        // Whoever finds it lit uses it.
        pass(world, HOUR + TimeDelta::minutes(12), TimeDelta::minutes(6), |world| _ = world.ask(1));
        assert!(
            forsaken(world, Abandonment::Expired) && world.acts().ends_with(&[Action::Suspend(1), Action::Expose(1)])
        );
        assert_eq!((world.version(1).state, world.ask(1)), (State::Suspended, false), "{trouble:?}");
        assert_eq!(world.version(1).ground, Some(Ground::Unused), "on the ground that was decided");
        let refused = world.version(1).refused.as_ref().and_then(|refused| refused.after);
        assert_eq!(refused.map(|after| after.as_seconds()), Some(20), "the clock began anew");
        pass(world, SOAK, HOUR, |_| {});
        assert_eq!(world.version(1).state, State::Destroyed);
    }
}

#[test]
fn a_rotation_that_begins_forsakes_a_rollback() {
    let world = &mut rotated(&[]);
    world.dies_after = Some(5);
    assert_eq!(world.roll_back(1), None);
    assert!(world.version(1).is_coming_back());
    done(world.rotate(3));
    assert!(forsaken(world, Abandonment::OtherToken));
    assert_eq!((world.credential.head.current, world.version(1).state), (Some(3), State::Deactivated));
}

#[test]
fn an_emergency_forsakes_the_rollback_to_a_compromised_key() {
    for suspended in [false, true] {
        for dies_after in 3..8 {
            let world = &mut rotated(&[]);
            if suspended {
                pass(world, OVERLAP + HOUR, HOUR, |_| {});
            }
            world.dies_after = Some(dies_after);
            assert_eq!(world.roll_back(1), None);
            world.order(&[1]);
            pass(world, TimeDelta::minutes(12), MINUTE, |_| {});
            assert!(forsaken(world, Abandonment::Tainted), "{:?}", world.told(1));
            assert_eq!((world.version(1).state, world.ask(1)), (State::Suspended, false));
            assert_eq!(world.credential.head.current, Some(2));
        }
    }
}

#[test]
fn every_impossible_way_back_is_refused_with_its_reason() {
    let refused = |decision: Option<Decision>| match decision {
        Some(Decision::Refuse(Refusal::Rollback(why))) => why,
        other => panic!("{other:?}"),
    };
    let world = &mut api(&[]);
    assert_eq!(target(&world.credential), Err(NoWayBack::NothingCurrent));
    assert_eq!(refused(world.roll_back(1)), NoWayBack::NothingCurrent);
    done(world.rotate(1));
    assert_eq!(target(&world.credential), Err(NoWayBack::NothingBefore(1)));

    let world = &mut rotated(&[("brownouts", "PT5M")]);
    assert_eq!(target(&world.credential), Ok(1));
    assert_eq!(refused(world.roll_back(7)), NoWayBack::Unknown(7));
    world.gone.insert(token(1));
    assert_eq!(refused(world.roll_back(1)), NoWayBack::ValueGone(1));
    world.secret.labels.values_mut().for_each(|labels| _ = labels.remove(AWSPENDING));
    world.secret.labels.entry(token(3)).or_default().insert(AWSPENDING.to_owned());
    assert_eq!(refused(world.roll_back(1)), NoWayBack::RotationPending(token(3).short().to_owned()));

    let world = &mut browned_out(None);
    assert_eq!(refused(world.roll_back(1)), NoWayBack::Busy(1, Place(State::Deactivated, Some(Phase::BrowningOut))));

    // A rotation that its process left, and that another took over.
    let world = &mut rotated(&[]);
    world.dies_after = Some(4);
    world.rotate(3);
    assert_eq!(world.credential.head.candidate, Some(3));
    assert_eq!(refused(world.roll_back(1)), NoWayBack::RotationPending(token(3).short().to_owned()));
    world.dies_after = None;
    done(world.rotate(4));
    done(world.retire());
    assert_eq!(refused(world.roll_back(3)), NoWayBack::NeverCurrent(3));
    world.dies_after = Some(3);
    assert_eq!(world.roll_back(2), None);
    assert_eq!(refused(world.roll_back(1)), NoWayBack::OtherRollback(2));
    assert_eq!(target(&world.credential), Ok(2), "the one that is under way");

    let world = &mut rotated(&[]);
    world.order(&[2]);
    assert_eq!(refused(world.roll_back(1)), NoWayBack::EmergencyStands);
    done(world.rotate(3));
    done(world.retire());
    assert_eq!(refused(world.roll_back(2)), NoWayBack::Compromised(2));
    pass(world, OVERLAP + SOAK + HOUR, HOUR, |_| {});
    assert_eq!(refused(world.roll_back(1)), NoWayBack::Destroyed(1));

    let world = &mut World::new(&[]);
    done(world.rotate(1));
    done(world.retire());
    world.later(TimeDelta::hours(25));
    done(world.rotate(2));
    world.later(TimeDelta::hours(5));
    pass(world, HOUR, MINUTE, |_| {});
    assert_eq!(world.version(1).state, State::Suspended);
    assert_eq!(refused(world.roll_back(1)), NoWayBack::Withdrawn(1));
}

#[test]
fn a_signing_key_comes_back_before_verifiers_forget_it() {
    let world = &mut World::new(&[("idle-before-suspend", "PT15M")]);
    done(world.rotate(1));
    done(world.retire());
    world.later(TimeDelta::hours(25));
    done(world.rotate(2));
    pass(world, TimeDelta::hours(3), MINUTE, |_| {});
    assert!(world.version(1).disabled.is_some());
    done(world.roll_back(1));
    assert_eq!((world.credential.head.current, world.is_enabled(1), world.version(1).disabled), (Some(1), true, None));
    assert!(world.published().contains(&1));
    pass(world, DAY, MINUTE, |world| assert!(world.is_enabled(1)));
    assert_eq!(world.version(2).state, State::Suspended);
}

fn forsaken(world: &World, why: Abandonment) -> bool {
    world.history.iter().any(|event| event.change == Change::Forsaken { generation: 1, why })
}

fn is_back(world: &mut World) {
    assert_eq!((world.credential.head.current, world.credential.head.candidate), (Some(1), None));
    assert!(world.ask(1) && world.ask(2));
    assert_eq!(world.version(2).place(), Place(State::Deactivated, None));
}
