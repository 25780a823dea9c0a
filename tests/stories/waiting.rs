//! What a person is told who waits for a rotation, and when.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::stream::{self, StreamExt};
use local_aws::Settings;
use rotator::aws::plain;
use rotator::aws::turns::Turns;
use rotator::failure::Stopped;
use rotator::rotate::{Milestone, Rotated, on_demand};
use serde_json::Value;
use state::Time;
use state::credential::Credential;
use state::hold::HoldReason;
use state::name::CredentialName;

use crate::harness::faults::{Fault, When};
use crate::harness::{ACME, OPERATOR, Stage, Terms, document, sdk_config};

/// `rotator rotate`, while AWS does what AWS does. With how long it took.
async fn rotates(stage: &Stage) -> (Result<Rotated, Stopped>, Vec<Milestone>, TimeDelta) {
    let (engine, begun) = (stage.engine_unhurt(), stage.clock.now());
    let (name, errand) = (CredentialName::parse(ACME).expect("a name"), stage.errand());
    let mut told = Vec::new();
    let mut tell = |milestone: Milestone| told.push(milestone);
    let done = tokio::select! {
        biased;
        done = on_demand(&engine, &name, &errand, &mut tell) => done,
        () = stage.aws.run() => unreachable!("it never ends"),
    };
    (done, told, stage.clock.now() - begun)
}

/// The hold that ended the command within a minute.
async fn held(stage: &Stage) -> (HoldReason, String) {
    let (done, told, took) = rotates(stage).await;
    assert!(took < TimeDelta::minutes(1), "{took}: {told:?}");
    match done {
        Err(Stopped::Held(hold)) => (hold.reason, hold.detail),
        other => panic!("{other:?} after {told:?}"),
    }
}

async fn declared(stage: &Stage, value: &str, terms: &Terms) -> String {
    let arn = stage.secret(ACME, value, &Terms { schedule: None, ..terms.clone() }).await;
    let configure = stage.secrets_manager().rotate_secret().secret_id(&arn).rotate_immediately(false);
    let function = stage.settings.function_arn.clone().expect("registered");
    configure.rotation_lambda_arn(function).send().await.expect("configured");
    stage.aws.settle().await;
    arn
}

async fn recorded(stage: &Stage) -> Option<Credential> {
    let name = CredentialName::parse(ACME).expect("a name");
    stage.engine_unhurt().records.load(&name).await.expect("readable")
}

#[tokio::test(start_paused = true)]
async fn what_would_hold_the_first_rotation_is_found_before_it_begins() {
    for (tag, value, reason) in
        [("usage-plans", "gold", HoldReason::PlanMissing), ("probe", "abcdef1234/prod/ping", HoldReason::ProbeForeign)]
    {
        let stage = Stage::new().await;
        let terms = Terms::default().with("usage-plans", &stage.plan).with(tag, value);
        let arn = declared(&stage, "{}", &terms).await;
        assert_eq!(held(&stage).await.0, reason);
        assert_eq!(stage.holder(&arn, "AWSPENDING").await, None, "nothing was begun");
        let said = recorded(&stage).await.expect("recorded").head.held.map(|held| held.hold.reason);
        assert_eq!(said, Some(reason), "a list shows it");
    }
}

/// What only the function meets stands on the head of a credential that has nothing else yet.
#[tokio::test(start_paused = true)]
async fn a_first_rotation_that_aws_refuses_each_time_says_so_within_a_minute() {
    let stage = Stage::new().await;
    let (_, key) = stage.key("acme").await;
    let long = "x".repeat(65_400);
    let value = format!(r#"{{"apiKey": "{key}", "note": "{long}"}}"#);
    let arn = declared(&stage, &value, &Terms::default()).await;
    let (reason, detail) = held(&stage).await;
    assert!(reason == HoldReason::Rejected && detail.contains("PutSecretValue"), "{reason}: {detail}");
    assert!(detail.contains("65536 bytes"), "AWS's own reason is told: {detail}");
    let said = recorded(&stage).await.expect("recorded").versions[&2].held.clone().map(|held| held.hold.reason);
    assert_eq!(said, Some(HoldReason::Rejected));
    // Its owner makes room, gives the try up, and it goes.
    let pending = stage.pending(&arn).await;
    stage.move_label(&arn, "AWSPENDING", None).await;
    assert_ne!(stage.current(&arn).await, pending);
    stage.put(&arn, &document(&key)).await;
    let (done, told, _) = rotates(&stage).await;
    assert!(done.is_ok(), "{done:?} {told:?}");
    stage.assert_sound(ACME, "at last").await;
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_can_not_be_used_is_told_by_the_records_as_well() {
    let stage = Stage::new().await;
    let (_, key) = stage.key("acme").await;
    let arn = declared(&stage, &document(&key), &Terms::default().with("overlap", "a week")).await;
    stage.rotate(&arn).await;
    let hold = recorded(&stage).await.expect("recorded").head.held.expect("held").hold;
    assert!(hold.reason == HoldReason::Rejected && hold.detail.contains("rotator:overlap"), "{hold:?}");
    stage.retag(&arn, "overlap", "P1D").await;
    stage.again(&arn).await;
    stage.assert_rotated();
    assert_eq!(recorded(&stage).await.expect("recorded").head.held, None);
    stage.assert_sound(ACME, "rotated").await;
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_is_held_ends_the_command_within_a_minute() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate_without(&arn, "apigateway:POST /apikeys").await;
    stage.faults.deny("apigateway:POST /apikeys");
    assert_eq!(held(&stage).await.0, HoldReason::Denied);
    // Secrets Manager may take longer than that to try again: then nothing moves.
    assert_eq!(held(&stage).await.0, HoldReason::Denied);
    stage.faults.allow("apigateway:POST /apikeys");
}

/// The stage takes a minute to hear of the new key. Whoever waits for that was told before that the key is being proved.
#[tokio::test(start_paused = true)]
async fn a_long_wait_is_told_by_what_it_is_for() {
    let stage = Stage::with(Settings { propagation: Duration::from_secs(60), ..Settings::default() }).await;
    stage.credential(ACME, &Terms::default()).await;
    let said = stage.command_as(OPERATOR, &["rotate", ACME, "--output", "json"]).await.json();
    let milestones = said["milestones"].as_array().expect("a list");
    let at =
        |milestone: &Value| -> Time { milestone["toldAt"].as_str().and_then(|at| at.parse().ok()).expect("a time") };
    let long = milestones.windows(2).filter(|two| at(&two[1]) - at(&two[0]) > TimeDelta::seconds(10));
    let before: Vec<_> = long.map(|two| two[0]["place"].as_str().unwrap_or_default()).collect();
    assert!(matches!(before.as_slice(), [place] if place.ends_with("proving")), "{milestones:#?}");
}

#[tokio::test(start_paused = true)]
async fn one_version_too_many_is_found_before_the_rotation_begins() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default().with("max-live", "2")).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let before = stage.world().await;
    assert_eq!(held(&stage).await.0, HoldReason::TooManyLive);
    assert_eq!(stage.world().await, before, "no AWSPENDING is left");
}

/// A secret that holds a key in use under another name is no place for a first key.
#[tokio::test(start_paused = true)]
async fn a_value_whose_key_is_not_understood_gets_no_second_one() {
    for (terms, value, member) in [
        (Terms::default(), r#"{"api_key": "abcdefghij0123456789", "base_url": "https://x.example"}"#, "api_key"),
        (Terms::default(), r#"{"x-api-key": "abcdefghij0123456789"}"#, "x-api-key"),
        (Terms::webhook(), r#"{"secret": "correct-horse-battery-staple"}"#, "secret"),
        (
            Terms::jwt(),
            r#"{"privateKey": "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----"}"#,
            "privateKey",
        ),
    ] {
        let stage = Stage::new().await;
        let arn = declared(&stage, value, &terms).await;
        let (reason, detail) = held(&stage).await;
        assert!(reason == HoldReason::Rejected && detail.contains(member), "{reason}: {detail}");
        assert!(!detail.contains("abcdefghij") && !detail.contains("horse") && !detail.contains("MC4CAQ"), "{detail}");
        assert_eq!(stage.holder(&arn, "AWSPENDING").await, None, "nothing was begun");
        // Secrets Manager's own schedule does not ask the command.
        stage.rotate(&arn).await;
        assert_eq!(stage.failure().error_type, "Held.Rejected");
        let read = stage.secrets_manager().get_secret_value().secret_id(&arn).send().await.expect("readable");
        assert_eq!(read.secret_string(), Some(value));
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_key_that_would_open_nothing_is_not_made() {
    let stage = Stage::new().await;
    let arn = declared(&stage, "{}", &Terms::default().with("probe", "none")).await;
    assert_eq!(held(&stage).await.0, HoldReason::PlanMissing);
    stage.rotate(&arn).await;
    assert_eq!(stage.failure().error_type, "Held.PlanMissing");
    assert!(stage.aws.inspect_api_keys().is_empty());
}

/// One command, one rotation, whatever ends between two looks.
#[tokio::test(start_paused = true)]
async fn a_rotation_that_ends_between_two_looks_is_the_one_that_was_asked_for() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    // By its schedule, and its function was not called yet.
    stage.secrets_manager().rotate_secret().secret_id(&arn).send().await.expect("begun");
    let (done, told, _) = rotates(&stage).await;
    assert_eq!(done.expect("rotated").generation, 2, "{told:?}");
    assert_eq!(stage.load(ACME).await.versions.len(), 2, "{told:?}");
}

/// Somebody has edited the value by hand, and it can't be read any more.
#[tokio::test(start_paused = true)]
async fn a_value_that_can_not_be_read_is_told_before_a_rotation_begins() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    let put = stage.secrets_manager().put_secret_value().secret_id(&arn).secret_string(r#"{"apiKey": "#);
    put.send().await.expect("put");
    let current = stage.current(&arn).await;
    let (done, told, took) = rotates(&stage).await;
    let Err(Stopped::Held(hold)) = done else { panic!("{done:?} after {told:?}") };
    assert!(hold.reason == HoldReason::Rejected && hold.detail.contains("is not a JSON object"), "{hold:?}");
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(stage.load(ACME).await.head.held.expect("a list shows it").hold, hold);
    assert!(took < TimeDelta::seconds(10), "{took}");
    assert!(stage.holder(&arn, "AWSPENDING").await.is_none_or(|pending| pending == current), "nothing was begun");
}

/// To begin the step anew would repeat every call before it, which is what lets a crowd of rotations stop itself.
#[tokio::test(start_paused = true)]
async fn a_throttled_call_to_api_gateway_is_repeated_where_it_stands() {
    let rotation = async |throttled: usize| {
        let (stage, arn) = Stage::two_rotated().await;
        // Whoever met others then has forgotten them.
        stage.wait(TimeDelta::minutes(5)).await;
        stage.faults.arm(When::Once(throttled), Fault::Throttled);
        stage.rotate(&arn).await;
        stage.assert_rotated();
        let calls = stage.faults.calls();
        // A turn for each call that comes after.
        let (turns, calls): (Vec<_>, Vec<_>) = calls.into_iter().partition(|call| call == "DynamoDB:UpdateItem");
        assert_eq!(turns.is_empty(), throttled == usize::MAX, "nobody who is alone takes a turn");
        calls
    };
    let base = rotation(usize::MAX).await;
    let control: Vec<usize> = (0..base.len()).filter(|at| base[*at].starts_with("apigateway:")).collect();
    assert!(control.len() > 8, "{base:?}");
    for at in control {
        let mut calls = rotation(at).await;
        assert_eq!(calls.remove(at), base[at]);
        assert_eq!(calls, base, "call {at}, {}", base[at]);
    }
}

/// How long a rotation takes while others use up what the control plane takes at once.
async fn among_others(stage: &Stage, arn: &str) -> TimeDelta {
    stage.exhaust().await;
    let begun = stage.clock.now();
    stage.rotate(arn).await;
    stage.assert_rotated();
    stage.clock.now() - begun
}

#[tokio::test(start_paused = true)]
async fn whoever_gets_no_turn_goes_on_without() {
    let (stage, arn) = Stage::two_rotated().await;
    let with_turns = among_others(&stage, &arn).await;
    assert!(with_turns < TimeDelta::seconds(10), "{with_turns}");
    stage.wait(TimeDelta::hours(1)).await;
    stage.faults.deny("DynamoDB:UpdateItem");
    let without = among_others(&stage, &arn).await;
    assert!(without < TimeDelta::seconds(30), "{without}");
    stage.assert_sound(ACME, "without a turn").await;
}

/// It takes a turn, and dies or lives on: nobody else waits for its clock.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_off_keeps_nobody_waiting() {
    for (ahead, longest) in [(TimeDelta::hours(1), 30), (TimeDelta::minutes(1), 90), (-TimeDelta::hours(1), 30)] {
        let (stage, arn) = Stage::two_rotated().await;
        stage.exhaust().await;
        let process = stage.faults.process();
        let mut ports = stage.ports(process.connector.clone());
        ports.clock = Arc::new(stage.clock.ahead(ahead));
        let turns = Turns::new(&plain(sdk_config(process.connector.clone())), &stage.settings.table, ports);
        turns.met_others();
        turns.wait().await;
        let took = among_others(&stage, &arn).await;
        assert!(took < TimeDelta::seconds(longest), "{ahead}: {took}");
    }
}

/// Those who were first are first, at the rate of the line.
#[tokio::test(start_paused = true)]
async fn turns_come_in_the_order_in_which_they_were_taken() {
    let stage = Stage::new().await;
    let begun = stage.clock.now();
    let waited = stream::iter(0..20)
        .map(|_| async {
            let connector = stage.aws.connector();
            let ports = stage.ports(connector.clone());
            let turns = Turns::new(&plain(sdk_config(connector)), &stage.settings.table, ports);
            turns.wait().await;
            assert_eq!(stage.clock.now(), begun, "alone, nobody waits");
            turns.met_others();
            turns.wait().await;
            (stage.clock.now() - begun).num_milliseconds()
        })
        .buffer_unordered(20);
    let waited: Vec<i64> = waited.collect().await;
    // What nobody took in the second before is there at once.
    assert_eq!(waited, (0..20).map(|place| (place * 111 - 1_000).max(0)).collect::<Vec<_>>());
}
