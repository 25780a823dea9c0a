//! An old key is refused for short moments while that can still be undone, to flush out whom nobody knows of.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use local_aws::Settings;
use state::evidence::Ground;
use state::ledger::Change;
use state::lifecycle::{Phase, State};

use super::{ACCESS_LOG, watched};
use crate::harness::faults::{Fault, When};
use crate::harness::people::LAGGARD;
use crate::harness::{ACME, API, Stage, Terms};

const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// Two of them in a day's overlap.
fn terms() -> Terms {
    watched().with("brownouts", "PT5M PT10M")
}

impl Stage {
    /// When a generation's next brownout is to begin.
    async fn next_brownout(&self, generation: u32) -> DateTime<Utc> {
        let credential = self.load(ACME).await;
        let next = credential.versions[&generation].next_brownout(credential.slowest_refusal());
        next.expect("there is another").0
    }

    /// To a minute before the next one.
    async fn until_just_before(&self, generation: u32) {
        let at = self.next_brownout(generation).await;
        while self.clock.now() + TimeDelta::minutes(31) < at {
            self.pass(TimeDelta::minutes(30)).await;
        }
        self.pass(at - self.clock.now() - MINUTE).await;
    }

    async fn phase_of(&self, generation: u32) -> Option<Phase> {
        self.load(ACME).await.versions[&generation].phase
    }
}

#[tokio::test(start_paused = true)]
async fn a_brownout_flushes_out_a_client_that_nobody_knew_of() {
    let stage = Stage::new().await;
    stage.aws.log_access(API, ACCESS_LOG);
    let (arn, id, old) = stage.credential(ACME, &terms().with("access-log", ACCESS_LOG)).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.tick().await;

    // It calls every minute, and reads the secret again only when it is refused.
    let (mut key, mut refused) = (old.clone(), 0);
    stage.until_just_before(1).await;
    let deactivated = stage.load(ACME).await.versions[&1].deactivated.expect("deactivated");
    assert!(stage.clock.now() > deactivated + TimeDelta::hours(1), "while nobody's cache can hold it any more");
    for minute in 0..30 {
        if LAGGARD.call(&stage, &key).await == 403 {
            refused += 1;
            assert!(!stage.api_key(&id).enabled);
            // Somebody looks into it for a few minutes.
            if refused == 3 {
                key = stage.current_value(&arn).await;
            }
        }
        stage.pass(MINUTE).await;
        stage.assert_sound(ACME, &format!("minute {minute}")).await;
    }
    assert_eq!(refused, 3, "{}", stage.story(ACME).await);
    assert!(stage.api_key(&id).enabled && stage.gets_through(&old).await, "it is back");
    let told = stage.changes().await;
    let counted = told.iter().find_map(|change| {
        let Change::BrownedOut { refused, ours, .. } = change else { return None };
        Some((*refused, *ours))
    });
    assert_eq!(counted, Some((Some(3), 3)), "the calls that were refused, and our own that were not");
    let history = stage.command(&["history", ACME]).await.stdout;
    assert!(history.contains("browning-out") && history.contains("browned-out"), "{history}");

    // The second one finds nobody, and our own requests hold nothing.
    stage.until_just_before(1).await;
    stage.goes_on(TimeDelta::minutes(25), MINUTE, "the second").await;
    assert_eq!(stage.load(ACME).await.versions[&1].brownouts, 2);
    stage.goes_on(TimeDelta::hours(9), TimeDelta::minutes(30), "to the end of the overlap").await;
    assert_eq!(
        (stage.state_of(1).await, stage.ground(1).await),
        (State::Suspended, Some(Ground::Unused)),
        "{}",
        stage.story(ACME).await
    );
    assert_eq!(LAGGARD.call(&stage, &key).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_back_at_the_end_of_its_brownout_whoever_dies_in_it() {
    // The calls of a tick that begins one.
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &terms()).await;
    stage.rotate(&arn).await;
    stage.until_just_before(1).await;
    stage.faults.disarm();
    stage.pass(MINUTE).await;
    let calls = stage.faults.calls();
    let disabling = calls.iter().position(|call| call == "apigateway:PATCH /apikeys/{key}").expect("it was disabled");
    // Its end was committed, the history states the key, and it is the one that was recorded, and nobody else's.
    let before = [
        "DynamoDB:TransactWriteItems",
        "DynamoDB:Query",
        "apigateway:GET /apikeys/{key}",
        "TrentService:GenerateMac",
        "DynamoDB:Query",
    ];
    let committing = disabling - before.len();
    assert_eq!(calls[committing..disabling], before);

    for (at, fault) in [
        (committing, Fault::KilledAfter),
        (disabling, Fault::KilledBefore),
        (disabling, Fault::KilledAfter),
        (disabling, Fault::NoAnswerApplied),
    ] {
        let stage = Stage::new().await;
        let (arn, id, old) = stage.credential(ACME, &terms()).await;
        stage.rotate(&arn).await;
        stage.until_just_before(1).await;
        stage.faults.arm(When::Once(at), fault);
        stage.pass(MINUTE).await;
        assert!(stage.faults.met() > 0);
        assert_eq!(stage.phase_of(1).await, Some(Phase::BrowningOut), "{fault:?} at {at}");
        let applied = matches!(fault, Fault::NoAnswerApplied) || at == disabling && fault == Fault::KilledAfter;
        assert_eq!(stage.api_key(&id).enabled, !applied, "{fault:?} at {at}");
        let until = stage.load(ACME).await.versions[&1].brownout_until.expect("committed");
        while stage.clock.now() + MINUTE < until {
            stage.pass(MINUTE).await;
            stage.assert_sound(ACME, "in it").await;
            assert_eq!(stage.api_key(&id).enabled, !applied, "whoever did not begin it leaves it alone");
        }
        stage.pass(until - stage.clock.now()).await;
        stage.assert_sound(ACME, "at its end").await;
        assert_eq!(stage.phase_of(1).await, None, "{fault:?} at {at}\n{}", stage.story(ACME).await);
        assert!(stage.api_key(&id).enabled && stage.gets_through(&old).await, "{fault:?} at {at}: it is back");
    }
}

#[tokio::test(start_paused = true)]
async fn a_brownout_lasts_longer_than_a_refusal_takes() {
    let stage = Stage::with(Settings { disabling: Some(Duration::from_secs(7 * 60)), ..Settings::default() }).await;
    // The first key's end shows how long a refusal takes.
    let (arn, ..) = stage.credential(ACME, &watched()).await;
    stage.rotate(&arn).await;
    stage.pass(TimeDelta::hours(25)).await;
    stage.goes_on(TimeDelta::minutes(12), MINUTE, "the exposure clock").await;
    let slowest = stage.load(ACME).await.slowest_refusal();
    assert!((TimeDelta::minutes(7)..TimeDelta::minutes(9)).contains(&slowest), "{slowest}");

    // By the wishes that the key itself was made with.
    stage.retag(&arn, "brownouts", "PT5M").await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let third = stage.current_value(&arn).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.until_just_before(3).await;
    let mut refused = 0;
    for _ in 0..30 {
        stage.pass(MINUTE).await;
        stage.assert_sound(ACME, "the brownout").await;
        refused += u32::from(LAGGARD.call(&stage, &third).await == 403);
    }
    assert!(refused >= 4, "declared as five minutes, refused in {refused}\n{}", stage.story(ACME).await);
    assert_eq!(stage.phase_of(3).await, None);
    assert!(stage.gets_through(&third).await);
}

#[tokio::test(start_paused = true)]
async fn a_brownout_that_nobody_began_in_its_time_does_not_eat_into_the_end() {
    let stage = Stage::new().await;
    let (arn, id, _) = stage.credential(ACME, &terms()).await;
    stage.rotate(&arn).await;
    stage.tick().await;
    // Nobody ticks for most of the overlap: two minutes are left.
    stage.wait(TimeDelta::hours(24) - TimeDelta::minutes(2)).await;
    stage.tick().await;
    assert!(stage.api_key(&id).enabled, "there is no time for one");
    stage.goes_on(TimeDelta::minutes(20), MINUTE, "the end").await;
    let told = stage.changes().await;
    assert!(!told.iter().any(|change| matches!(change, Change::BrowningOut { .. })), "{}", stage.story(ACME).await);
    assert_eq!(stage.state_of(1).await, State::Suspended);
}

#[tokio::test(start_paused = true)]
async fn a_brownout_ends_although_the_secret_is_deleted_meanwhile() {
    let stage = Stage::new().await;
    let (arn, id, old) = stage.credential(ACME, &terms()).await;
    stage.rotate(&arn).await;
    stage.tick().await;
    stage.until_just_before(1).await;
    stage.pass(MINUTE).await;
    assert_eq!((stage.phase_of(1).await, stage.api_key(&id).enabled), (Some(Phase::BrowningOut), false));
    let deleted = stage.secrets_manager().delete_secret().secret_id(&arn).recovery_window_in_days(7);
    deleted.send().await.expect("scheduled");
    stage.pass(TimeDelta::minutes(11)).await;
    assert_eq!((stage.phase_of(1).await, stage.gets_through(&old).await), (None, true));
}
