//! What retirement costs: next to nothing when nothing is due, and never more than its share.

use std::time::Duration;

use chrono::TimeDelta;
use local_aws::Settings;
use rotator::aws::plain;
use rotator::config::Config;
use rotator::engine::Engine;
use serde_json::json;
use state::lifecycle::State;

use crate::harness::faults::{Fault, When};
use crate::harness::{ACME, Stage, Terms, Which, sdk_config};

#[tokio::test(start_paused = true)]
async fn an_idle_tick_is_one_query_for_each_bucket() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    // The first one sees what is left to both keys.
    stage.tick().await;
    stage.faults.disarm();
    stage.tick().await;
    assert_eq!(stage.faults.calls(), ["DynamoDB:Query"; 8]);
}

/// One busy moment of the table costs no tick.
#[tokio::test(start_paused = true)]
async fn a_look_at_the_index_that_is_throttled_is_repeated() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.wait(TimeDelta::hours(25)).await;
    for bucket in 0..8 {
        stage.faults.arm(When::Once(bucket), Fault::Throttled);
        let ticked = stage.call(Which::Retirement, json!({"detail-type": "Scheduled Event"})).await;
        assert!(ticked.is_ok() && stage.faults.met() == 1, "bucket {bucket}: {ticked:?}");
    }
    assert_eq!(stage.state_of(1).await, State::Suspended);
}

#[tokio::test(start_paused = true)]
async fn retirement_takes_no_more_than_its_share_of_the_control_plane() {
    let stage = Stage::new().await;
    let ports = stage.ports(stage.aws.connector());
    let settings = Config { control_plane_share: 20, ..stage.settings.clone() };
    // Two ticks at once: the share is the account's.
    let ticks = [settings.clone(), settings]
        .map(|settings| Engine::paced(&plain(sdk_config(stage.aws.connector())), settings, ports.clone()));
    let begun = stage.clock.now();
    let [one, other] = ticks.each_ref().map(|engine| async {
        for _ in 0..4 {
            engine.api_keys.get("none").await.expect("answered");
        }
    });
    tokio::join!(one, other);
    // 20 % of 10 a second is one in half a second. The second before had two, and one is there at once.
    let took = stage.clock.now() - begun;
    assert!((TimeDelta::milliseconds(2_499)..TimeDelta::milliseconds(2_600)).contains(&took), "{took}");
}

/// The table refuses turns: each process keeps to the share by itself.
#[tokio::test(start_paused = true)]
async fn retirement_keeps_its_pace_without_turns() {
    let stage = Stage::new().await;
    stage.faults.deny("DynamoDB:UpdateItem");
    let process = stage.faults.process();
    let (config, ports) = (plain(sdk_config(process.connector.clone())), stage.ports(process.connector.clone()));
    let engine = Engine::paced(&config, Config { control_plane_share: 20, ..stage.settings.clone() }, ports);
    let begun = stage.clock.now();
    for _ in 0..7 {
        engine.api_keys.get("none").await.expect("answered");
    }
    assert_eq!(stage.clock.now() - begun, TimeDelta::seconds(3));
}

#[tokio::test(start_paused = true)]
async fn an_index_that_is_behind_is_only_a_hint() {
    let behind = Settings { stale_index: Duration::from_secs(3_600), ..Settings::default() };
    let stage = Stage::with(behind).await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.pass(TimeDelta::hours(25)).await;
    let suspended = stage.load(ACME).await;
    assert_eq!(suspended.versions[&1].state, State::Suspended);

    // The index still says that it is due to be suspended; the record says that it is done.
    stage.faults.disarm();
    stage.tick().await;
    assert!(stage.faults.calls().len() > 8, "the index had told of it");
    assert_eq!(stage.load(ACME).await, suspended);
    stage.assert_sound(ACME, "after a stale hint").await;
}

/// Whether its refusal can't be seen, or its value not be read.
#[tokio::test(start_paused = true)]
async fn one_version_that_cannot_go_on_holds_up_no_other() {
    for hurt in ["probe:GET /prod/ping", "secretsmanager:GetSecretValue"] {
        let (stage, arn) = Stage::two_rotated().await;
        stage.pass(TimeDelta::hours(12)).await;
        stage.rotate(&arn).await;
        stage.assert_rotated();
        stage.faults.deny(hurt);
        stage.pass(TimeDelta::hours(13)).await;
        let first = stage.load(ACME).await.versions[&1].clone();
        assert_eq!((first.state, &first.refused), (State::Suspended, &None), "{hurt}");
        stage.pass(TimeDelta::hours(12)).await;
        let credential = stage.load(ACME).await;
        assert_eq!(credential.versions[&1].refused, None, "{hurt}: not seen to this day");
        assert_eq!(credential.versions[&2].state, State::Suspended, "{hurt}: {}", stage.story(ACME).await);
        stage.faults.allow(hurt);
        for _ in 0..2 {
            stage.pass(TimeDelta::hours(25)).await;
        }
        let credential = stage.load(ACME).await;
        assert!(credential.versions.range(..3).all(|(_, version)| version.state == State::Destroyed), "{hurt}");
        stage.assert_sound(ACME, hurt).await;
    }
}

/// Fifty at a time: who waits for a refusal, and who is the last, keeps nobody.
#[tokio::test(start_paused = true)]
async fn a_tick_looks_at_many_at_once_and_leaves_the_rest_to_the_next() {
    let stage = Stage::with(Settings { propagation: Duration::from_secs(40), ..Settings::default() }).await;
    let mut arns = Vec::new();
    for number in 0..30 {
        arns.push(stage.credential(&format!("partner/{number:02}"), &Terms::default()).await.0);
    }
    for arn in &arns {
        stage.rotate(arn).await;
    }
    stage.wait(TimeDelta::hours(25)).await;
    let begun = stage.clock.now();
    let (mut ticks, mut left) = (0, usize::MAX);
    while left > 0 {
        ticks += 1;
        let event = json!({"detail-type": "Scheduled Event"});
        let said = stage.call(Which::Retirement, event).await.expect("what it does not reach is no failure");
        left = 0;
        for number in 0..30 {
            let first = &stage.load(&format!("partner/{number:02}")).await.versions[&1];
            left += usize::from(first.state != State::Suspended || first.refused.is_none());
        }
        assert!(ticks < 10, "{said}");
    }
    let took = stage.clock.now() - begun;
    // One after the other they would take 40 seconds each.
    assert!(took < TimeDelta::minutes(8), "{took}");
}
