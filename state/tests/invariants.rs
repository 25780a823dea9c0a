//! Every invariant is one that can be broken: of a life that is as it must be, one thing is changed, and it is told.

use chrono::TimeDelta;
use state::decide::AWSCURRENT;
use state::evidence::Ground;
use state::ledger::Change;
use state::lifecycle::State;

mod judge;
#[expect(dead_code, reason = "the tests of whole lives use the rest")]
mod world;

use world::{DAY, HOUR, OVERLAP, SOAK, World, browned_out, done, pass, rotated, token};

/// The numbers of what is broken once that is done to a world, but for I10: no history states it.
fn broken(mut world: World, tamper: impl FnOnce(&mut World)) -> Vec<u8> {
    assert_eq!(world.broken(), []);
    tamper(&mut world);
    let mut numbers = all_broken(&world);
    numbers.retain(|number| *number != 10);
    numbers
}

fn all_broken(world: &World) -> Vec<u8> {
    let mut numbers: Vec<u8> = world.broken().iter().map(|violation| violation.number).collect();
    numbers.dedup();
    numbers
}

fn version(world: &mut World, generation: u32) -> &mut state::credential::Version {
    world.credential.versions.get_mut(&generation).expect("it is there")
}

/// Two keys, of which the first is refused.
fn suspended() -> World {
    let mut world = rotated(&[]);
    pass(&mut world, OVERLAP + HOUR, HOUR, |_| {});
    assert_eq!(world.version(1).state, State::Suspended);
    world
}

#[test]
fn what_consumers_read_is_accepted_and_there_is_one_of_it() {
    assert_eq!(broken(rotated(&[]), |world| world.enable(2, false)), [1]);
    assert_eq!(broken(rotated(&[]), |world| world.credential.head.current = None), [1, 2]);
    assert_eq!(broken(rotated(&[]), |world| version(world, 1).state = State::Active), [2]);
}

#[test]
fn nothing_is_current_before_it_was_proved_this_time() {
    let mut world = rotated(&[]);
    done(world.roll_back(1));
    let forget = |world: &mut World| {
        let last = world.history.iter().rposition(|event| matches!(event.change, Change::Proved { generation: 1, .. }));
        world.history.remove(last.expect("it was proved again"));
    };
    assert_eq!(broken(world, forget), [3, 6], "that it was proved once, long ago, is not enough");
    let forget = |world: &mut World| world.history.retain(|event| !matches!(event.change, Change::Promoted { .. }));
    assert_eq!(broken(rotated(&[]), forget), [3, 6]);
}

#[test]
fn nothing_is_refused_before_its_time_or_without_a_ground_or_untold() {
    assert_eq!(broken(rotated(&[]), |world| world.enable(1, false)), [4], "nobody wrote that it would be");
    let early = |world: &mut World| version(world, 1).suspended = version(world, 1).deactivated.map(|at| at + DAY);
    assert_eq!(broken(suspended(), early), [4]);
    for ground in [None, Some(Ground::Waived), Some(Ground::Ceiling), Some(Ground::NoEvidence)] {
        assert_eq!(broken(suspended(), |world| version(world, 1).ground = ground), [4], "{ground:?}");
    }
    let used = |world: &mut World| {
        let usage = version(world, 1).usage.as_mut().expect("it was looked at");
        usage.last_used = Some(usage.seen_until - HOUR);
    };
    assert_eq!(broken(suspended(), used), [4], "it was used an hour before");
    let longer = |world: &mut World| {
        let until = version(world, 1).brownout_until.as_mut().expect("it is browned out");
        *until += TimeDelta::minutes(1);
    };
    assert_eq!(broken(browned_out(None), longer), [4], "another end than the one that was written first");
}

#[test]
fn nothing_is_destroyed_before_its_soak_or_while_it_is_handed_out() {
    let mut world = suspended();
    pass(&mut world, SOAK, HOUR, |_| {});
    let early = |world: &mut World| version(world, 1).destroyed = version(world, 1).suspended.map(|at| at + DAY);
    assert_eq!(broken(world, early), [5]);
    let label = |world: &mut World| {
        world.secret.labels.entry(token(1)).or_default().insert(AWSCURRENT.to_owned());
    };
    assert_eq!(broken(suspended(), label), [5]);
}

#[test]
fn history_is_whole_and_every_key_is_in_a_record() {
    assert_eq!(broken(rotated(&[]), |world| world.history.swap(1, 2)), [6]);
    assert_eq!(broken(rotated(&[]), |world| world.credential.head.revision = 1), [6]);
    assert_eq!(broken(rotated(&[]), |world| _ = version(world, 1).provider.insert("id".into(), "k9".into())), [7]);
    assert_eq!(broken(rotated(&[]), |world| _ = world.keys.pop_first()), [7]);
}

#[test]
fn no_verifier_meets_a_key_that_was_not_published_for_its_lead() {
    let mut world = World::new(&[]);
    for n in 1..=2 {
        done(world.rotate(n));
        done(world.retire());
        world.later(TimeDelta::hours(25));
    }
    let late = |world: &mut World| version(world, 2).published = version(world, 2).activated;
    assert_eq!(broken(world, late), [9]);
}

#[test]
fn a_record_that_no_history_states_is_told() {
    let mut world = rotated(&[]);
    assert!(all_broken(&world).is_empty());
    version(&mut world, 1).policy.kind = "webhook-secret".into();
    assert_eq!(all_broken(&world), [10]);
    let mut world = rotated(&[]);
    let stranger = world.version(1).clone();
    world.credential.versions.insert(3, state::credential::Version { generation: 3, ..stranger });
    assert!(all_broken(&world).contains(&10));
    let mut world = rotated(&[]);
    world.credential.head.closed = Some(world.now);
    assert_eq!(all_broken(&world), [10]);
}
