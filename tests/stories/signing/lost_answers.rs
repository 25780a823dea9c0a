//! `CreateKey` takes no client token: what becomes of a key whose maker got no answer.

use std::time::Duration;

use chrono::TimeDelta;
use local_aws::Settings;
use serde_json::{Value, json};
use state::ledger::Change;
use state::name::CredentialName;

use super::strangers::same_tags;
use super::{key_of, signing_keys, states};
use crate::harness::faults::{Fault, When};
use crate::harness::signing::Traffic;
use crate::harness::{ACME, Stage, Terms};

const CREATE: &str = "TrentService:CreateKey";

async fn changes(stage: &Stage) -> Vec<Change> {
    let name = CredentialName::parse(ACME).expect("a name");
    let told = stage.engine_unhurt().records.history(&name).await.expect("readable");
    told.into_iter().map(|told| told.event.change).collect()
}

/// A credential without a standby, and how many calls retirement makes before it makes one.
async fn before_the_standby(settings: &Settings) -> (Stage, usize) {
    let first = async || {
        let stage = Stage::with(settings.clone()).await;
        let arn = stage.secret(ACME, "{}", &Terms::kms()).await;
        stage.rotate(&arn).await;
        stage.assert_rotated();
        stage
    };
    let stage = first().await;
    stage.faults.disarm();
    stage.tick().await;
    let calls = stage.faults.calls();
    (first().await, calls.iter().position(|call| call == CREATE).expect("it makes one"))
}

fn settings(lag: u64) -> Settings {
    Settings { kms_lag: Duration::from_secs(lag), ..Settings::default() }
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_answer_was_lost_is_found_again() {
    let (stage, call) = before_the_standby(&settings(60)).await;
    stage.faults.arm(When::Once(call), Fault::NoAnswerApplied);
    stage.tick().await;
    assert_eq!(signing_keys(&stage).len(), 2, "it is there, and nobody knows it");
    stage.assert_sound(ACME, "while nobody knows").await;
    for _ in 0..3 {
        stage.pass(TimeDelta::minutes(3)).await;
        assert_eq!(signing_keys(&stage).len(), 2, "no second one is made meanwhile");
        stage.assert_sound(ACME, "while somebody may still look").await;
    }
    stage.pass(TimeDelta::minutes(3)).await;
    let found =
        Change::Minted { generation: 2, provider: [("id".into(), key_of(&stage, 2).await)].into(), found: true };
    assert!(changes(&stage).await.contains(&found), "{}", stage.story(ACME).await);
    assert_eq!(stage.key_set(ACME).await.kids().len(), 2);

    stage.pass(TimeDelta::hours(25)).await;
    assert!(changes(&stage).await.contains(&Change::Swept { generation: 2, found: Vec::new() }), "looked once more");
    stage.assert_sound(ACME, "at the end").await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_no_look_up_shows_in_time_is_made_anew_and_swept() {
    let (stage, call) = before_the_standby(&settings(3_600)).await;
    stage.faults.arm(When::Once(call), Fault::NoAnswerApplied);
    for _ in 0..6 {
        stage.pass(TimeDelta::minutes(3)).await;
        stage.assert_sound(ACME, "meanwhile").await;
    }
    let [first, lost, made] = Vec::from_iter(signing_keys(&stage)).try_into().expect("one too many");
    let (current, standby) = (key_of(&stage, 1).await, key_of(&stage, 2).await);
    let stray = [first, lost, made].into_iter().find(|key| *key != current && *key != standby).expect("a stray");
    assert_eq!(stage.kms_state(&stray).as_deref(), Some("Enabled"));

    stage.pass(TimeDelta::hours(25)).await;
    assert_eq!(stage.kms_state(&stray).as_deref(), Some("PendingDeletion"));
    assert_eq!(stage.kms_state(&standby).as_deref(), Some("Enabled"));
    assert!(changes(&stage).await.contains(&Change::Swept { generation: 2, found: vec![stray] }));
    assert_eq!(stage.load(ACME).await.versions[&2].sweep_at, None);
    stage.assert_sound(ACME, "swept").await;
    stage.rotate(&stage.arn_of(ACME).await).await;
    stage.assert_rotated();
    Traffic::usual().goes_on(&stage, TimeDelta::hours(1), "after").await;
}

/// Whoever reads the records knows the tag that the sweep looks for.
#[tokio::test(start_paused = true)]
async fn a_strangers_key_with_the_same_tag_is_not_swept() {
    let (stage, call) = before_the_standby(&settings(60)).await;
    stage.faults.arm(When::Once(call), Fault::NoAnswerApplied);
    for _ in 0..5 {
        stage.pass(TimeDelta::minutes(3)).await;
    }
    let standby = stage.load(ACME).await.versions[&2].clone();
    assert!(standby.provider.contains_key("id") && standby.sweep_at.is_some(), "{}", stage.story(ACME).await);
    let policy = stage.kms_key(&key_of(&stage, 1).await).policy.expect("a policy");
    let mut widened: Value = serde_json::from_str(&policy).expect("JSON");
    widened["Statement"].as_array_mut().expect("statements").push(json!({"Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:user/mallory"}, "Action": "kms:Sign", "Resource": "*"}));
    let theirs = same_tags(&stage, &standby.id.to_string(), Some(widened.to_string())).await;

    stage.pass(TimeDelta::hours(25)).await;
    assert_eq!(stage.kms_state(&theirs).as_deref(), Some("Enabled"), "the key of a stranger");
    assert!(changes(&stage).await.contains(&Change::Swept { generation: 2, found: Vec::new() }), "looked once more");
}

#[tokio::test(start_paused = true)]
async fn the_first_key_too_waits_for_the_look_up_and_is_made_once() {
    let calls = {
        let stage = Stage::with(settings(0)).await;
        let arn = stage.secret(ACME, "{}", &Terms::kms()).await;
        stage.faults.disarm();
        stage.rotate(&arn).await;
        stage.faults.calls().iter().position(|call| call == CREATE).expect("it makes one")
    };
    let stage = Stage::with(settings(60)).await;
    let arn = stage.secret(ACME, "{}", &Terms::kms()).await;
    stage.faults.arm(When::Once(calls), Fault::NoAnswerApplied);
    stage.rotate(&arn).await;
    for _ in 0..4 {
        stage.wait(TimeDelta::minutes(5)).await;
        stage.aws.settle().await;
    }
    stage.assert_rotated();
    assert_eq!((signing_keys(&stage).len(), states(&stage).await.len()), (1, 1));
    assert!(changes(&stage).await.iter().any(|change| matches!(change, Change::Minted { found: true, .. })));
    stage.assert_sound(ACME, "minted").await;
}

/// AWS said no, so that nothing was made and nothing has to be looked for.
#[tokio::test(start_paused = true)]
async fn a_creation_that_was_throttled_left_nothing_to_look_for() {
    let rotate = async |throttled: usize| {
        let stage = Stage::with(settings(0)).await;
        let arn = stage.secret(ACME, "{}", &Terms::kms()).await;
        stage.faults.arm(When::Once(throttled), Fault::Throttled);
        let begun = stage.clock.now();
        stage.rotate(&arn).await;
        assert_eq!(stage.last().error, None, "{}", stage.story(ACME).await);
        assert!(stage.clock.now() - begun < TimeDelta::minutes(1), "nobody waits");
        assert_eq!(signing_keys(&stage).len(), 1);
        stage.faults.calls()
    };
    let call = rotate(usize::MAX).await.iter().position(|call| call == CREATE).expect("it makes one");
    assert_eq!(rotate(call).await.iter().filter(|call| *call == CREATE).count(), 2);
}

/// KMS makes a key known operation by operation, and its tags count in authorization minutes later: its policy lets the
/// functions use it before.
#[tokio::test(start_paused = true)]
async fn a_key_that_kms_does_not_know_everywhere_yet_is_waited_for_without_a_hold() {
    let unseen = [("GetPublicKey", 60), ("DescribeKey", 45), ("GetKeyPolicy", 30), ("Sign", 20), ("ListGrants", 50)];
    let unseen = unseen.map(|(operation, seconds)| (operation.to_owned(), Duration::from_secs(seconds)));
    for tag_lag in [0, 300] {
        let stage = Stage::with(Settings {
            kms_unseen: unseen.clone().into(),
            kms_tag_lag: Duration::from_secs(tag_lag),
            ..settings(0)
        })
        .await;
        let arn = stage.secret(ACME, "{}", &Terms::kms()).await;
        stage.rotate(&arn).await;
        stage.wait(TimeDelta::minutes(2)).await;
        stage.aws.settle().await;
        stage.assert_rotated();
        for _ in 0..4 {
            stage.pass(TimeDelta::minutes(2)).await;
        }
        assert_eq!(stage.key_set(ACME).await.kids().len(), 2, "{}", stage.story(ACME).await);
        let is_held = |change: &Change| matches!(change, Change::Held { .. });
        assert!(!changes(&stage).await.iter().any(is_held), "{tag_lag}: {}", stage.story(ACME).await);
        stage.assert_sound(ACME, "made").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_in_secrets_manager_is_made_once_whatever_becomes_of_the_answer() {
    let stage = Stage::with(settings(0)).await;
    let arn = stage.secret(ACME, "{}", &Terms::jwt()).await;
    stage.rotate(&arn).await;
    stage.faults.disarm();
    let call = {
        let other = Stage::with(settings(0)).await;
        let arn = other.secret(ACME, "{}", &Terms::jwt()).await;
        other.rotate(&arn).await;
        other.faults.disarm();
        other.tick().await;
        other.faults.calls().iter().position(|call| call == "secretsmanager:CreateSecret").expect("it makes one")
    };
    stage.faults.arm(When::Once(call), Fault::NoAnswerApplied);
    for _ in 0..5 {
        stage.pass(TimeDelta::minutes(3)).await;
    }
    assert_eq!(stage.key_set(ACME).await.kids().len(), 2, "{}", stage.story(ACME).await);
    let listed = stage.secrets_manager().list_secrets().send().await.expect("listed");
    let rest: Vec<_> = listed.secret_list().iter().filter_map(|secret| secret.name()).collect();
    assert_eq!(rest.iter().filter(|name| name.starts_with("rotator-standby/")).count(), 2, "{rest:?}");
    stage.assert_sound(ACME, "made").await;
}
