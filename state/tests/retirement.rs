//! How an old key goes: gates, brownouts, and what becomes of them when somebody dies.

use chrono::TimeDelta;
use proptest::prelude::*;
use state::concern::Concerns;
use state::decide::{Action, Decision};
use state::evidence::Ground;
use state::hold::HoldReason;
use state::ledger::Change;
use state::lifecycle::{Phase, Place, State};
use state::policy::Schedule;

mod judge;
#[expect(dead_code, reason = "the other tests of whole lives use the rest")]
mod world;

use world::{
    DAY, HOUR, LAG, MINUTE, OVERLAP, SOAK, Trouble, World, browned_out, done, held_by, pass, rotated, silently_rotated,
};

const IDLE: TimeDelta = TimeDelta::days(2);

#[test]
fn a_laggard_holds_its_key_and_once_it_stops_the_key_goes() {
    let world = &mut rotated(&[]);
    let superseded = world.now;
    pass(world, OVERLAP, HOUR, |world| assert!(world.ask(1)));
    let held = held_by(world, 1);
    assert_eq!(held.reason, HoldReason::StillInUse);
    assert!(held.detail.contains("requests since it was deactivated, last by 2026-03-10"), "{}", held.detail);
    pass(world, DAY, HOUR, |world| assert!(world.ask(1)));
    let stopped = world.now;
    pass(world, IDLE, HOUR, |_| {});
    assert_eq!(world.version(1).state, State::Deactivated, "it was not idle for long enough");
    pass(world, LAG + TimeDelta::hours(12), HOUR, |_| {});
    assert_eq!((world.version(1).state, world.version(1).ground), (State::Suspended, Some(Ground::Unused)));
    assert!(world.version(1).suspended.expect("suspended") - stopped >= IDLE + LAG - HOUR);
    assert!(!world.ask(1));
    let refused = world.version(1).refused.as_ref().and_then(|refused| refused.after);
    assert_eq!(refused.map(|after| after.as_seconds()), Some(20), "from the order to the first refusal");
    pass(world, SOAK, HOUR, |_| {});
    assert_eq!(world.version(1).state, State::Destroyed);
    assert!(world.version(1).destroyed.expect("destroyed") - superseded > OVERLAP + SOAK);
    let holds = world.told(1).into_iter().filter(|word| *word == "held").count();
    assert_eq!(holds, 1, "what lasts does not fill the ledger");
}

#[test]
fn a_key_that_nobody_uses_goes_when_its_overlap_is_over() {
    let world = &mut rotated(&[]);
    pass(world, OVERLAP - HOUR, HOUR, |_| {});
    assert_eq!(world.version(1).state, State::Deactivated);
    world.acts();
    pass(world, HOUR, HOUR, |_| {});
    assert_eq!(world.acts(), [Action::Witness(1), Action::Suspend(1), Action::Expose(1)], "by a look of that moment");
    assert_eq!(world.version(1).ground, Some(Ground::Unused));
}

#[test]
fn at_the_ceiling_the_policy_decides() {
    let ceiling = TimeDelta::days(3);
    for (word, at_last) in [("suspend", State::Suspended), ("hold", State::Deactivated)] {
        let world = &mut rotated(&[("ceiling", "P3D"), ("at-ceiling", word)]);
        pass(world, OVERLAP + ceiling - HOUR, HOUR, |world| assert!(world.ask(1)));
        assert_eq!(world.version(1).state, State::Deactivated);
        pass(world, HOUR, HOUR, |world| _ = world.ask(1));
        assert_eq!(world.version(1).state, at_last);
        pass(world, TimeDelta::days(6), HOUR, |world| _ = world.ask(1));
        assert_eq!(world.version(1).state, at_last);
        let is_held = world.version(1).held.as_ref().map(|held| held.hold.reason);
        let expected = if at_last == State::Suspended {
            (Some(Ground::Ceiling), None)
        } else {
            (None, Some(HoldReason::StillInUse))
        };
        assert_eq!((world.version(1).ground, is_held), expected);
    }
}

#[test]
fn where_nothing_is_told_the_policy_decides_and_never_silently() {
    let world = &mut silently_rotated(&[("no-evidence", "suspend")]);
    pass(world, OVERLAP, HOUR, |world| assert!(world.ask(1)));
    assert_eq!((world.version(1).state, world.version(1).ground), (State::Suspended, Some(Ground::NoEvidence)));

    let world = &mut silently_rotated(&[("ceiling", "P3D")]);
    pass(world, OVERLAP, HOUR, |_| {});
    assert_eq!(held_by(world, 1).reason, HoldReason::NoEvidence, "an empty answer is not zero");
    pass(world, TimeDelta::days(3), HOUR, |_| {});
    assert_eq!((world.version(1).state, world.version(1).ground), (State::Suspended, Some(Ground::Ceiling)));

    let world = &mut silently_rotated(&[("at-ceiling", "hold")]);
    pass(world, TimeDelta::days(60), HOUR, |_| {});
    assert_eq!(held_by(world, 1).reason, HoldReason::NoEvidence);
    world.refuses.clear();
    pass(world, TimeDelta::days(3), HOUR, |_| {});
    assert_eq!(world.version(1).ground, Some(Ground::Unused), "evidence ends what the want of it held");
}

#[test]
fn what_was_told_before_silence_opens_no_gate() {
    let world = &mut rotated(&[]);
    pass(world, TimeDelta::days(4), HOUR, |_| {});
    world.refuses.insert(Trouble::Silent);
    pass(world, TimeDelta::days(3), HOUR, |world| assert!(world.ask(1)));
    let held = held_by(world, 1);
    assert_eq!(held.reason, HoldReason::NoEvidence);
    assert!(held.detail.contains("tells of generation 1 until"), "{}", held.detail);
    world.refuses.clear();
    pass(world, HOUR * 8, HOUR, |_| {});
    assert_eq!(held_by(world, 1).reason, HoldReason::StillInUse);
}

#[test]
fn looks_become_rarer() {
    let world = &mut rotated(&[("at-ceiling", "hold")]);
    let looks = |world: &mut World| {
        world.acts();
        pass(world, TimeDelta::days(5), HOUR, |world| _ = world.ask(1));
        world.acts().into_iter().filter(|act| *act == Action::Witness(1)).count()
    };
    let first = looks(world);
    pass(world, TimeDelta::days(40), HOUR, |world| _ = world.ask(1));
    let later = looks(world);
    assert!(first > 40 && (2..5).contains(&later), "{first}, then {later} in five days");
}

#[test]
fn a_look_that_fails_is_a_hold_which_ends_with_it() {
    let world = &mut rotated(&[("ceiling", "P3D")]);
    world.refuses.insert(Trouble::Denied);
    pass(world, DAY, HOUR, |_| {});
    assert_eq!(held_by(world, 1).reason, HoldReason::Denied);
    world.refuses.clear();
    pass(world, DAY, HOUR, |_| {});
    assert_eq!(world.version(1).held, None);
    world.refuses.insert(Trouble::Denied);
    pass(world, TimeDelta::days(9), HOUR, |_| {});
    assert_eq!(world.version(1).state, State::Suspended, "what can't be looked at does not keep a key for ever");
}

#[test]
fn a_person_lets_a_laggard_go() {
    let world = &mut rotated(&[]);
    world.commit(Change::Waived { generation: 1 });
    pass(world, OVERLAP - HOUR, HOUR, |world| assert!(world.ask(1)));
    assert_eq!(world.version(1).state, State::Deactivated, "not before its overlap is over");
    pass(world, HOUR, HOUR, |world| _ = world.ask(1));
    assert_eq!((world.version(1).state, world.version(1).ground), (State::Suspended, Some(Ground::Waived)));

    let world = &mut rotated(&[]);
    pass(world, OVERLAP + DAY, HOUR, |world| assert!(world.ask(1)));
    world.refuses.insert(Trouble::Denied);
    pass(world, DAY, HOUR, |world| assert!(world.ask(1)));
    world.commit(Change::Waived { generation: 1 });
    world.retire();
    assert_eq!(world.version(1).state, State::Suspended, "and no look is in the way");
}

#[test]
fn the_last_signer_shifts_the_end_of_an_old_signing_key() {
    // What the default overlap is the sum of: what signs last is good for that long.
    let trusted = TimeDelta::minutes(195);
    let world = &mut World::new(&[("idle-before-suspend", "PT15M")]);
    done(world.rotate(1));
    done(world.retire());
    world.later(TimeDelta::hours(25));
    done(world.rotate(2));
    pass(world, TimeDelta::hours(8), MINUTE, |world| assert!(world.ask(1), "a signer that caches for ever"));
    assert_eq!(held_by(world, 1).reason, HoldReason::StillInUse);
    assert!(world.version(1).suspend_at.expect("a deadline") < world.now && world.published().contains(&1));
    pass(world, TimeDelta::hours(3), MINUTE, |_| {});
    let disabled = world.version(1).disabled.expect("nobody signs with it");
    assert_eq!((world.version(1).ground, world.is_enabled(1)), (Some(Ground::Unused), false));
    let left = disabled + trusted - world.now;
    pass(world, left - MINUTE, MINUTE, |_| {});
    assert!(world.published().contains(&1), "what it signed last is still good");
    pass(world, MINUTE, MINUTE, |_| {});
    assert_eq!((world.version(1).state, world.published().contains(&1)), (State::Suspended, false));
}

#[test]
fn a_retirement_that_comes_late_withdraws_no_key_that_may_have_signed_until_then() {
    let world = &mut World::new(&[("idle-before-suspend", "PT15M")]);
    done(world.rotate(1));
    done(world.retire());
    world.later(TimeDelta::hours(25));
    done(world.rotate(2));
    world.later(TimeDelta::hours(30));
    assert!(world.published().contains(&1), "nobody has seen that it is unused");
    done(world.retire());
    assert_eq!(world.version(1).disabled, Some(world.now));
    assert!(world.published().contains(&1));
    world.later(TimeDelta::minutes(195));
    done(world.retire());
    assert_eq!(world.version(1).state, State::Suspended);
}

#[test]
fn brownouts_begin_and_end_and_tell_who_was_turned_away() {
    let world = &mut rotated(&[("brownouts", "PT5M PT30M")]);
    let room = (OVERLAP - HOUR) / 3;
    let mut refused = Vec::new();
    let superseded = world.now;
    pass(world, OVERLAP, MINUTE, |world| {
        if world.now - superseded < TimeDelta::days(5) && !world.ask(1) {
            assert_eq!(world.version(1).phase, Some(Phase::BrowningOut), "its end is recorded");
            refused.push(world.now - superseded);
        }
    });
    assert_eq!(refused.len(), 45, "five minutes and then thirty, and each time what a refusal takes");
    assert!((refused[0] - (HOUR + room)).abs() <= MINUTE * 2 && (refused[10] - (HOUR + room * 2)).abs() <= MINUTE * 2);
    let counted = world.history.iter().filter_map(|event| {
        let Change::BrownedOut { refused, ours, .. } = &event.change else { return None };
        Some((*refused, *ours))
    });
    assert_eq!(counted.collect::<Vec<_>>(), [(Some(10), 3), (Some(35), 3)]);
    assert_eq!(world.version(1).ours, 6);
    assert_eq!(world.version(1).state, State::Deactivated, "somebody used it until two days ago");
    pass(world, HOUR * 13, HOUR, |_| {});
    assert_eq!(world.version(1).ground, Some(Ground::Unused), "our own probes don't count");
}

#[test]
fn a_brownout_is_longer_than_a_refusal_takes() {
    let world = &mut rotated(&[("brownouts", "PT1M PT2M")]);
    let lasted = |world: &World, generation| {
        let its = world.history.iter().filter_map(|event| {
            let Change::BrowningOut { generation: g, until } = &event.change else { return None };
            (*g == generation).then(|| (*until - event.at).num_minutes())
        });
        its.collect::<Vec<_>>()
    };
    world.slow = TimeDelta::minutes(20);
    pass(world, OVERLAP, MINUTE, |_| {});
    assert_eq!(lasted(world, 1), [6, 7], "five minutes more, as long as nobody has seen one");
    done(world.rotate(3));
    pass(world, OVERLAP, MINUTE, |_| {});
    assert_eq!(lasted(world, 2), [21, 22]);
    // An emergency's clock begins with the emergency.
    world.order(&[3]);
    world.later(HOUR * 9);
    done(world.rotate(4));
    pass(world, HOUR, MINUTE, |_| {});
    assert_eq!(world.version(3).state, State::Suspended);
    assert!(world.version(3).refused.as_ref().and_then(|refused| refused.after).expect("seen").delta() > HOUR * 9);
    assert_eq!(world.credential.slowest_refusal(), TimeDelta::minutes(20));
}

#[test]
fn a_brownout_for_which_it_is_too_late_is_left_out() {
    let world = &mut rotated(&[("brownouts", "PT2H")]);
    world.later(OVERLAP - HOUR);
    done(world.retire());
    assert!(!world.told(1).contains(&"browning-out"));
    world.later(HOUR);
    done(world.retire());
    assert_eq!((world.version(1).state, world.told(1).contains(&"browning-out")), (State::Suspended, false));
}

#[test]
fn no_brownout_lets_a_disabled_key_sign_again() {
    let world = &mut World::new(&[
        ("idle-before-suspend", "PT15M"),
        ("overlap", "P3D"),
        ("slack", "PT1H"),
        ("brownouts", "PT5M PT25M"),
    ]);
    done(world.rotate(1));
    done(world.retire());
    world.later(TimeDelta::hours(25));
    done(world.rotate(2));
    world.later(TimeDelta::minutes(119));
    world.retire();
    world.later(MINUTE * 30);
    world.retire();
    pass(world, TimeDelta::hours(12), MINUTE, |_| {});
    assert!(world.version(1).disabled.is_some(), "{:?}", world.told(1));
    world.acts();
    pass(world, TimeDelta::days(3), MINUTE, |world| assert!(!world.is_enabled(1)));
    assert_eq!(world.version(1).state, State::Suspended);
}

#[test]
fn whoever_dies_in_a_brownout_the_key_comes_back() {
    // After the look; after the intent; after the refusal.
    for (dies_after, is_refused) in [(2, false), (3, true)] {
        let world = &mut browned_out(Some(dies_after));
        assert_eq!((world.version(1).phase, world.ask(1)), (Some(Phase::BrowningOut), !is_refused));
        for _ in 0..9 {
            world.later(MINUTE);
            done(world.retire());
            assert_eq!(world.ask(1), !is_refused, "whoever comes meanwhile leaves it as it is");
        }
        world.later(MINUTE);
        done(world.retire());
        assert_eq!((world.version(1).phase, world.ask(1)), (None, true));
    }
}

#[test]
fn two_keys_are_refused_in_one_run() {
    let world = &mut rotated(&[("brownouts", "PT5M")]);
    world.later(HOUR);
    done(world.rotate(3));
    let (begin, _) = world.version(1).next_brownout(MINUTE * 5).expect("a brownout");
    world.later(begin - world.now);
    world.order(&[2]);
    world.retire();
    assert_eq!((world.ask(1), world.ask(2), world.version(2).state), (false, false, State::Suspended));
}

#[test]
fn brownouts_come_one_after_the_other() {
    let world = &mut rotated(&[("brownouts", "PT5M")]);
    world.later(HOUR);
    done(world.rotate(3));
    world.later(TimeDelta::days(5));
    done(world.retire());
    assert_eq!((world.ask(1), world.ask(2)), (false, true));
    pass(world, TimeDelta::minutes(12), MINUTE, |_| {});
    assert_eq!((world.ask(1), world.ask(2)), (true, false), "the other one's begins when this one's is over");
}

#[test]
fn a_brownout_ends_whatever_became_of_the_secret() {
    let world = &mut browned_out(None);
    assert!(!world.ask(1));
    world.secret.deleted = true;
    pass(world, MINUTE * 11, MINUTE, |_| {});
    assert!(world.ask(1) && world.version(1).phase.is_none());
}

#[test]
fn a_key_that_is_compromised_in_a_brownout_is_never_lit_again() {
    let world = &mut browned_out(None);
    world.order(&[1]);
    pass(world, DAY, MINUTE, |world| assert!(!world.ask(1), "a stranger was let in"));
    assert_eq!((world.version(1).state, world.version(1).ground), (State::Suspended, Some(Ground::Compromised)));
    assert!(!world.acts().contains(&Action::Relight(1)));
}

#[test]
fn live_keys_share_one_allowance_but_for_what_is_not_told_yet() {
    let world = &mut rotated(&[("overlap", "P3D"), ("look-every", "PT30M")]);
    world.quota = Some(240);
    let mut served = std::collections::BTreeMap::new();
    pass(world, TimeDelta::days(2), MINUTE * 5, |world| {
        for generation in [1, 2] {
            *served.entry(world.now.date_naive()).or_insert(0_i64) += i64::from(world.ask(generation));
        }
    });
    // What both use between two looks, which are two hours apart at last, and in the time that figures take to be told.
    let overspent = 2 * 12 * (LAG + HOUR * 2).num_hours();
    for (day, served) in served {
        assert!(served <= 240 + overspent, "{day}: {served}");
        assert!(served >= 240 || day != "2026-03-04".parse().expect("a day"), "{day}: {served}, and nobody is short");
    }
    let settled =
        world.history.iter().any(|e| matches!(&e.change, Change::Witnessed { settled, .. } if !settled.is_empty()));
    assert!(settled, "each settlement is in the history");
}

#[test]
fn the_keys_of_a_secret_that_is_gone_are_retired_if_its_owner_said_so() {
    let world = &mut rotated(&[("if-deleted", "suspend")]);
    world.delete();
    done(world.close());
    assert_eq!((world.credential.head.current, world.version(2).state), (None, State::Deactivated));
    done(world.close());
    pass(world, OVERLAP - HOUR, HOUR, |world| assert!(world.ask(2), "whoever has it still may use it"));
    pass(world, IDLE * 2 + SOAK, HOUR, |_| {});
    assert!(world.credential.versions.values().all(|version| version.state == State::Destroyed));
    assert!(world.keys.is_empty());

    let world = &mut rotated(&[]);
    world.delete();
    let Some(Decision::Hold(None, hold)) = world.close() else { panic!("something was done") };
    assert_eq!((hold.reason, world.credential.head.closed), (HoldReason::SecretDeleted, None));
    pass(world, TimeDelta::days(60), HOUR, |world| assert!(world.ask(1) && world.ask(2)));
    assert_eq!(held_by(world, 1).reason, HoldReason::SecretDeleted);
}

#[test]
fn a_signing_credential_that_is_closed_leaves_nothing_behind() {
    let world = &mut World::new(&[("if-deleted", "suspend")]);
    done(world.rotate(1));
    done(world.retire());
    world.delete();
    done(world.close());
    pass(world, DAY, MINUTE, |_| {});
    assert!(world.published().is_empty());
    pass(world, SOAK, HOUR, |_| {});
    assert!(world.keys.is_empty(), "the standby is gone as well");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 250,
        failure_persistence: None,
        rng_seed: prop::test_runner::RngSeed::Fixed(13),
        ..ProptestConfig::default()
    })]

    /// The world checks everything that it can after everything that happens in it.
    #[test]
    fn whatever_happens_and_whoever_dies_a_key_goes_only_on_its_ground_and_none_stays_for_ever(
        signing in any::<bool>(),
        words in any::<u8>(),
        dice in prop::collection::vec((0..16_u8, any::<u8>(), 1..400_000_u32), 1..50),
    ) {
        let word = |bit: u8| if words & (1 << bit) == 0 { "hold" } else { "suspend" };
        let mut wishes = vec![("at-ceiling", word(0)), ("no-evidence", word(1)), ("ceiling", "P3D")];
        if signing {
            wishes.extend([("idle-before-suspend", "PT15M"), ("slack", "PT1H"), ("overlap", "P1D"), ("brownouts", "PT5M PT10M")]);
        } else {
            wishes.extend([("kind", "api-gateway-key"), ("idle-before-suspend", "PT10H"), ("overlap", "P2D")]);
            wishes.push(("brownouts", "PT10M PT2H"));
        }
        let world = &mut World::new(&wishes);
        world.quota = (words & 4 == 0).then_some(40);
        let mut rotations = 0;
        for (kind, whose, variety) in dice {
            let known: Vec<u32> = world.credential.versions.keys().copied().collect();
            let generation = known.get(usize::from(whose) % known.len().max(1)).copied().unwrap_or(1);
            match kind {
                0 => {
                    rotations += 1;
                    world.rotate(rotations);
                }
                1 | 2 if !known.is_empty() => _ = world.roll_back(generation),
                3 => world.dies_after = Some(usize::from(whose % 9)),
                4 if world.credential.versions.get(&generation).is_some_and(|v| v.state == State::Deactivated) => {
                    world.commit(Change::Waived { generation });
                }
                5 if whose < 60 && !known.is_empty() => world.order(&[generation]),
                6 => {
                    let troubles = [Trouble::Silent, Trouble::Denied, Trouble::Unprovable, Trouble::Unrestorable];
                    world.refuses = troubles.get(usize::from(whose % 8)).copied().into_iter().collect();
                }
                7 | 8 if !known.is_empty() => _ = world.ask(generation),
                9 | 10 => world.later(TimeDelta::seconds((variety % 7000).into())),
                11 => world.later(TimeDelta::seconds(variety.into())),
                _ => _ = world.retire(),
            }
        }
        (world.dies_after, world.refuses) = (None, [].into());
        // Whatever was wrong is not any more, and nobody uses an old key; a person lets go what waits for a person.
        for n in 0..900 {
            world.later(HOUR);
            world.retire();
            if n == 300 && world.credential.head.order.as_ref().is_some_and(|order| !order.promoted) {
                world.rotate(rotations + 1);
            }
        }
        for version in world.credential.versions.values() {
            let place = Place(version.state, version.phase);
            let is_at_rest = [Place(State::Active, None), Place(State::Destroyed, None), Place(State::PreActivation, None)];
            prop_assert!(is_at_rest.contains(&place), "{place}, {:?}: {:?}", version.held, world.told(version.generation));
        }
    }
}

#[test]
fn a_key_that_is_being_put_right_is_not_refused_meanwhile() {
    let world = &mut rotated(&[]);
    pass(world, OVERLAP - HOUR, HOUR, |_| {});
    let seconds = TimeDelta::seconds(30);
    world.later(HOUR - seconds);
    world.commit(Change::Claimed { generation: 1 });
    let until = world.version(1).open_until.expect("claimed");
    assert!(until > world.now + seconds, "longer than the overlap");
    world.later(seconds);
    done(world.retire());
    assert_eq!(world.version(1).place(), Place(State::Deactivated, None));
    world.later(until - world.now);
    done(world.retire());
    assert_eq!(world.version(1).state, State::Suspended);
}

/// Whoever began to put the incumbent's key right does not know of the rotation that ends meanwhile.
#[test]
fn a_rotation_takes_nobodys_claim_away() {
    let world = &mut rotated(&[]);
    world.commit(Change::Claimed { generation: 2 });
    let until = world.version(2).open_until;
    done(world.rotate(3));
    assert_eq!((world.version(2).state, world.version(2).open_until), (State::Deactivated, until));
}

#[test]
fn what_nobody_did_by_its_date_is_told() {
    let world = &mut rotated(&[]);
    let monthly = Schedule { expression: Some("rate(30 days)".into()), after_days: None };
    let told = |world: &World, schedule: &Schedule| Concerns::of(&world.credential, schedule, world.now);
    assert_eq!(told(world, &monthly), Concerns::default());
    pass(world, DAY * 30 + HOUR * 23, HOUR, |_| {});
    assert!(!told(world, &monthly).overdue, "a day late is not late");
    pass(world, HOUR, HOUR, |_| {});
    assert_eq!(told(world, &monthly), Concerns { overdue: true, ..Concerns::default() });
    assert!(!told(world, &Schedule::default()).overdue, "without a schedule, the greatest age decides");
    done(world.rotate(3));
    assert_eq!(told(world, &monthly), Concerns::default());

    let policy = world.version(3).policy.clone();
    let nine_tenths = policy.max_age.delta() * 9 / 10;
    let since = world.now;
    world.now = world.version(2).activated.unwrap() + nine_tenths;
    assert!(told(world, &Schedule::default()).near_max_age, "the old key is accepted still, and is the older one");
    world.now = since;
    pass(world, policy.overlap.delta() + DAY, HOUR, |_| {});
    assert_eq!(world.version(2).state, State::Suspended);
    world.now = since + nine_tenths - HOUR;
    assert!(!told(world, &Schedule::default()).near_max_age);
    world.later(HOUR);
    assert!(told(world, &Schedule::default()).near_max_age);
    world.later(policy.max_age.delta() - policy.overlap.delta() + DAY - nine_tenths);
    assert!(told(world, &Schedule::default()).overdue);
}

#[test]
fn a_hold_that_lasts_is_told() {
    let world = &mut rotated(&[]);
    let never = Schedule::default();
    pass(world, OVERLAP, HOUR, |world| assert!(world.ask(1)));
    assert_eq!(held_by(world, 1).reason, HoldReason::StillInUse);
    assert_eq!(Concerns::of(&world.credential, &never, world.now), Concerns::default());
    pass(world, DAY, HOUR, |world| assert!(world.ask(1)));
    assert_eq!(Concerns::of(&world.credential, &never, world.now), Concerns { old_hold: true, ..Concerns::default() });
}

/// Whoever opened the intent may be dead: nobody waits for the end of its time.
#[test]
fn a_compromised_key_that_somebody_began_to_refuse_is_refused_by_whoever_comes() {
    let world = &mut rotated(&[]);
    world.order(&[1]);
    world.commit(Change::Suspending { generation: 1, ground: Some(Ground::Compromised) });
    assert!(world.version(1).open_until.is_some_and(|until| until > world.now + MINUTE));
    world.later(MINUTE);
    world.retire();
    assert_eq!(world.version(1).state, State::Suspended);
    assert!(!world.ask(1));
}
