//! One story for each hold: where it arises, what it says, what it leaves alone, and that it is over when its cause is.

use aws_sdk_apigateway::primitives::Blob;
use aws_sdk_apigateway::types::ApiKeysFormat;
use chrono::TimeDelta;
use local_aws::{FunctionError, Method};
use state::decide::{AWSCURRENT, AWSPENDING};
use state::hold::{Held, HoldReason};
use state::lifecycle::State;

use crate::harness::{ACME, API, Stage, Terms, document};

/// The error names the hold, what it is about, and the way on.
fn assert_names(error: &FunctionError, reason: HoldReason, about: &str) {
    assert_eq!(error.error_type, format!("Held.{}", reason.word()), "{}", error.error_message);
    for said in [about, reason.remedy(), &format!("see {reason} in the runbook"), ACME] {
        assert!(error.error_message.contains(said), "{said:?} is not in {:?}", error.error_message);
    }
}

/// The records tell it too, for whoever was not there.
async fn recorded(stage: &Stage, generation: Option<u32>) -> Held {
    let credential = stage.load(ACME).await;
    let held = match generation {
        Some(generation) => credential.versions[&generation].held.clone(),
        None => credential.head.held.clone(),
    };
    held.expect("recorded")
}

async fn assert_published(stage: &Stage, arn: &str, value: &str) {
    assert_eq!(stage.current_value(arn).await, value, "consumers read what they read before");
    assert!(stage.gets_through(value).await, "and it gets through");
    stage.assert_sound(ACME, "while it is held").await;
}

/// A credential that has rotated once.
async fn rotated(stage: &Stage, terms: &Terms) -> (String, String) {
    let (arn, ..) = stage.credential(ACME, terms).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let value = stage.current_value(&arn).await;
    (arn, value)
}

/// The cause is gone: the rotation comes to its end.
async fn goes_on(stage: &Stage, arn: &str) {
    let before = stage.load(ACME).await.head.current;
    stage.again(arn).await;
    stage.assert_rotated();
    let credential = stage.load(ACME).await;
    assert!(credential.head.current > before && credential.head.candidate.is_none());
    assert_eq!(credential.head.held, None);
    assert!(stage.gets_through(&stage.current_value(arn).await).await);
}

#[tokio::test(start_paused = true)]
async fn secret_replaced() {
    let stage = Stage::new().await;
    let (_, value) = rotated(&stage, &Terms::default()).await;
    let client = stage.secrets_manager();
    client.delete_secret().secret_id(ACME).force_delete_without_recovery(true).send().await.expect("deleted");
    let before = stage.world().await;
    let arn = stage.secret(ACME, &document(&value), &Terms { schedule: None, ..Terms::default() }).await;

    let function = stage.settings.function_arn.clone().expect("registered");
    client.rotate_secret().secret_id(&arn).rotation_lambda_arn(function).send().await.expect("begun");
    stage.aws.settle().await;
    assert_names(&stage.failure(), HoldReason::SecretReplaced, &arn);
    assert_eq!(recorded(&stage, None).await.hold.reason, HoldReason::SecretReplaced);
    assert_eq!(stage.world().await.keys, before.keys);
    // Retirement does not trust the new secret's labels either.
    stage.pass(TimeDelta::hours(25)).await;
    assert_eq!(recorded(&stage, Some(1)).await.hold.reason, HoldReason::SecretReplaced);
    assert_eq!(stage.world().await.keys, before.keys);

    // The way on: the key under a name of its own. Its tag names the one whose secret is gone.
    let key = stage.load(ACME).await.versions[&2].provider["id"].clone();
    let tagged =
        stage.api_gateway().untag_resource().resource_arn(format!("arn:aws:apigateway:eu-west-1::/apikeys/{key}"));
    tagged.tag_keys("rotator:credential").send().await.expect("untagged");
    let other = stage.secret("partner/acme-anew", &document(&value), &Terms::default()).await;
    stage.rotate(&other).await;
    stage.assert_rotated();
    stage.assert_sound("partner/acme-anew", "under another name").await;
}

#[tokio::test(start_paused = true)]
async fn secret_deleted() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    let client = stage.secrets_manager();
    client.delete_secret().secret_id(&arn).recovery_window_in_days(7).send().await.expect("scheduled");

    let token = stage.load(ACME).await.versions[&1].carriers[0].clone();
    let error = stage.step("createSecret", &arn, token.as_str()).await.expect_err("held");
    assert_names(&error, HoldReason::SecretDeleted, "the secret is deleted or scheduled to be");
    stage.pass(TimeDelta::hours(25)).await;
    assert_eq!(recorded(&stage, Some(1)).await.hold.reason, HoldReason::SecretDeleted);
    assert_eq!(stage.load(ACME).await.versions[&1].state, State::Deactivated, "nothing is retired on its word");
    assert!(stage.aws.inspect_api_keys().iter().all(|key| key.enabled));

    client.restore_secret().secret_id(&arn).send().await.expect("restored");
    stage.pass(TimeDelta::minutes(16)).await;
    assert_eq!(stage.load(ACME).await.versions[&1].state, State::Suspended, "retirement goes on by itself");
    let function = stage.settings.function_arn.clone().expect("registered");
    client.rotate_secret().secret_id(&arn).rotation_lambda_arn(function).send().await.expect("enabled again");
    stage.aws.settle().await;
    stage.assert_rotated();
    assert_ne!(stage.current_value(&arn).await, value);
    stage.assert_sound(ACME, "restored").await;
}

#[tokio::test(start_paused = true)]
async fn rotation_cancelled() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    let client = stage.secrets_manager();
    stage.faults.arm(crate::harness::faults::When::Once(20), crate::harness::faults::Fault::KilledBefore);
    let begun = client.rotate_secret().secret_id(&arn).send().await.expect("begun").version_id.expect("a token");
    stage.aws.tick().await;
    assert_eq!(stage.faults.met(), 1, "its process is dead in the middle");
    client.cancel_rotate_secret().secret_id(&arn).send().await.expect("cancelled");

    // Retirement completes what nobody comes back for, but not what somebody did not want.
    stage.pass(TimeDelta::minutes(6)).await;
    let held = recorded(&stage, Some(3)).await;
    assert_eq!(held.hold.reason, HoldReason::RotationCancelled);
    assert_published(&stage, &arn, &value).await;

    // Given up: the label goes, and with it the key.
    let unpend = client.update_secret_version_stage().secret_id(&arn).version_stage(AWSPENDING);
    unpend.remove_from_version_id(begun).send().await.expect("taken off");
    stage.pass(TimeDelta::minutes(16)).await;
    stage.pass(TimeDelta::minutes(6)).await;
    assert_eq!(stage.load(ACME).await.versions[&3].state, State::Suspended);
    assert_published(&stage, &arn, &value).await;
}

#[tokio::test(start_paused = true)]
async fn value_wiped() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    let good = stage.current(&arn).await;
    let wiped = stage.put(&arn, r#"{"owner": "the stack"}"#).await;
    let before = stage.world().await;

    stage.again(&arn).await;
    assert_names(&stage.failure(), HoldReason::ValueWiped, &wiped);
    assert_eq!(recorded(&stage, None).await.hold.reason, HoldReason::ValueWiped);
    assert_eq!(stage.world().await.keys, before.keys, "no key is minted over it");

    stage.move_label(&arn, AWSCURRENT, Some(&good)).await;
    assert_published(&stage, &arn, &value).await;
    goes_on(&stage, &arn).await;
    stage.assert_sound(ACME, "moved back").await;
}

#[tokio::test(start_paused = true)]
async fn foreign_value() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    let good = stage.current(&arn).await;
    let (_, other) = stage.key("globex").await;
    for foreign in [other.as_str(), "aKeyThatNobodyHasEverHeardOf"] {
        let version = stage.put(&arn, &document(foreign)).await;
        let keys = stage.world().await.keys;
        stage.again(&arn).await;
        assert_names(&stage.failure(), HoldReason::ForeignValue, &version);
        assert_eq!(recorded(&stage, None).await.hold.reason, HoldReason::ForeignValue);
        assert_eq!(stage.world().await.keys, keys);
        stage.move_label(&arn, AWSCURRENT, Some(&good)).await;
    }
    assert_published(&stage, &arn, &value).await;
    goes_on(&stage, &arn).await;
    assert!(stage.gets_through(&other).await, "the other credential's key is none of ours");
}

#[tokio::test(start_paused = true)]
async fn label_moved() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    let good = stage.current(&arn).await;
    let first = stage.load(ACME).await.versions[&1].carriers[0].clone();
    // Somebody rolls back by hand: consumers read the first key again.
    stage.move_label(&arn, AWSCURRENT, Some(first.as_str())).await;
    let keys = stage.world().await.keys;

    stage.again(&arn).await;
    assert_names(&stage.failure(), HoldReason::LabelMoved, "AWSCURRENT is on generation 1, which is deactivated");
    stage.pass(TimeDelta::hours(25)).await;
    let held = recorded(&stage, Some(1)).await;
    assert_eq!(held.hold.reason, HoldReason::LabelMoved);
    assert!(held.hold.detail.contains(first.as_str()), "{}", held.hold.detail);
    assert_eq!(stage.world().await.keys, keys, "what Secrets Manager hands out is never refused");
    stage.assert_sound(ACME, "past the overlap").await;

    stage.move_label(&arn, AWSCURRENT, Some(&good)).await;
    assert_published(&stage, &arn, &value).await;
    goes_on(&stage, &arn).await;
    stage.pass(TimeDelta::minutes(16)).await;
    assert_eq!(stage.load(ACME).await.versions[&1].state, State::Suspended);
    stage.assert_sound(ACME, "moved back").await;
}

/// Between the proof and the promotion somebody chose a version by hand: the rotation does not choose another over it.
#[tokio::test(start_paused = true)]
async fn label_moved_while_the_candidate_was_made() {
    let stage = Stage::new().await;
    let (arn, _) = rotated(&stage, &Terms::default()).await;
    let good = stage.current(&arn).await;
    let first = stage.load(ACME).await.versions[&1].carriers[0].clone();
    stage.faults.deny("secretsmanager:UpdateSecretVersionStage");
    stage.rotate(&arn).await;
    assert_eq!(stage.failure().error_type, "Held.Denied");
    stage.faults.allow("secretsmanager:UpdateSecretVersionStage");
    stage.move_label(&arn, AWSCURRENT, Some(first.as_str())).await;
    stage.wait(TimeDelta::minutes(6)).await;
    stage.again(&arn).await;
    assert_eq!(stage.current(&arn).await, first.as_str(), "consumers read what somebody chose");
    assert_names(&stage.failure(), HoldReason::LabelMoved, "AWSCURRENT is on generation 1, which is deactivated");
    stage.move_label(&arn, AWSCURRENT, Some(&good)).await;
    goes_on(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn too_many_live() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default().with("max-live", "2")).await;
    let keys = stage.world().await.keys;

    stage.rotate(&arn).await;
    assert_names(&stage.failure(), HoldReason::TooManyLive, "2 versions are alive already and rotator:max-live is 2");
    assert_eq!(recorded(&stage, None).await.hold.reason, HoldReason::TooManyLive);
    assert_eq!(stage.world().await.keys, keys);
    assert_published(&stage, &arn, &value).await;

    for _ in 0..2 {
        stage.pass(TimeDelta::hours(25)).await;
    }
    goes_on(&stage, &arn).await;
    stage.assert_sound(ACME, "after the retirement").await;
}

#[tokio::test(start_paused = true)]
async fn key_vanished() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    let id = stage.load(ACME).await.versions[&2].provider["id"].clone();
    stage.api_gateway().delete_api_key().api_key(&id).send().await.expect("deleted behind our back");
    let keys = stage.world().await.keys;

    stage.rotate(&arn).await;
    assert_names(&stage.failure(), HoldReason::KeyVanished, &id);
    assert_eq!(recorded(&stage, None).await.hold.reason, HoldReason::KeyVanished);
    assert_eq!(stage.world().await.keys, keys);
    assert_eq!(stage.current_value(&arn).await, value);

    stage.retag(&arn, "usage-plans", &stage.plan).await;
    goes_on(&stage, &arn).await;
    for _ in 0..2 {
        stage.pass(TimeDelta::hours(25)).await;
    }
    stage.assert_sound(ACME, "when what vanished is retired").await;
}

#[tokio::test(start_paused = true)]
async fn key_not_ours() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    stage.faults.deny("apigateway:POST /apikeys");
    stage.rotate(&arn).await;
    // Somebody reads the pending version and makes a key of it.
    let read = stage.secrets_manager().get_secret_value().secret_id(&arn).version_stage(AWSPENDING).send().await;
    let drafted: serde_json::Value =
        serde_json::from_str(read.expect("readable").secret_string().expect("text")).expect("JSON");
    let drafted = drafted["apiKey"].as_str().expect("drafted");
    let made = stage.api_gateway().create_api_key().name("stranger").value(drafted).enabled(true).send().await;
    let stranger = made.expect("made").id.expect("an id");
    stage.faults.allow("apigateway:POST /apikeys");

    stage.again(&arn).await;
    assert_names(&stage.failure(), HoldReason::KeyNotOurs, &stranger);
    assert!(!stage.failure().error_message.contains(drafted), "named, never quoted");
    assert_eq!(recorded(&stage, Some(3)).await.hold.reason, HoldReason::KeyNotOurs);
    assert_published(&stage, &arn, &value).await;

    // The way on is a new rotation: the label is taken off the pending version.
    stage.move_label(&arn, AWSPENDING, None).await;
    goes_on(&stage, &arn).await;
    for _ in 0..3 {
        stage.pass(TimeDelta::hours(25)).await;
    }
    let credential = stage.load(ACME).await;
    assert_eq!((credential.head.current, credential.versions[&3].state), (Some(4), State::Destroyed));
    assert!(stage.api_key(&stranger).enabled, "what is not ours is left alone");
    stage.assert_sound(ACME, "at the end").await;
}

/// Who may write a version's value may read what it is to be, and be faster.
#[tokio::test(start_paused = true)]
async fn key_not_ours_because_somebody_else_put_the_value() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    stage.rotate_without(&arn, "secretsmanager:PutSecretValue").await;
    let (pending, keys) = (stage.pending(&arn).await, stage.world().await.keys);
    let theirs = document("krt1StrangersKeyStrangersKeyStrangersKey1234");
    let put = stage.secrets_manager().put_secret_value().secret_id(&arn).client_request_token(&pending);
    put.version_stages(AWSPENDING).secret_string(theirs).send().await.expect("put");

    stage.again(&arn).await;
    assert_names(&stage.failure(), HoldReason::KeyNotOurs, &pending);
    assert_eq!(stage.world().await.keys, keys, "no key is made of it");
    assert_published(&stage, &arn, &value).await;
    stage.move_label(&arn, AWSPENDING, None).await;
    goes_on(&stage, &arn).await;
    stage.assert_sound(ACME, "by a value of our own").await;
}

/// A customer whose key was disabled on purpose stays cut off.
#[tokio::test(start_paused = true)]
async fn key_disabled() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    let id = stage.load(ACME).await.versions[&2].provider["id"].clone();
    stage.set_enabled(&id, false).await;
    let keys = stage.world().await.keys;
    stage.rotate(&arn).await;
    assert_names(&stage.failure(), HoldReason::KeyDisabled, &id);
    assert_eq!((stage.world().await.keys, stage.current_value(&arn).await), (keys, value));
    stage.set_enabled(&id, true).await;
    goes_on(&stage, &arn).await;

    // Of a secret that was declared by its tags, the first rotation finds it.
    let made =
        stage.api_gateway().create_api_key().name("cut-off").value("cutOffOnPurposeCutOffOnPurpose").enabled(false);
    let id = made.send().await.expect("made").id.expect("an id");
    let terms = Terms::default().with("usage-plans", &stage.plan);
    let arn = stage.secret("partner/cut-off", &document("cutOffOnPurposeCutOffOnPurpose"), &terms).await;
    let keys = stage.world().await.keys;
    stage.rotate(&arn).await;
    let failure = stage.failure();
    assert_eq!(failure.error_type, "Held.KeyDisabled", "{}", failure.error_message);
    assert!(failure.error_message.contains(&id));
    assert_eq!(stage.world().await.keys, keys);
}

/// What the incumbent has lost, by a stack's update for instance, its successor does not lose for good.
#[tokio::test(start_paused = true)]
async fn plan_lost_by_the_incumbent() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    let id = stage.load(ACME).await.versions[&2].provider["id"].clone();
    stage.detach(&id, &stage.plan).await;
    stage.rotate(&arn).await;
    assert_names(&stage.failure(), HoldReason::PlanLost, &stage.plan);
    assert!(stage.failure().error_message.contains(&id));
    assert_eq!(stage.current_value(&arn).await, value);
    stage.attach(&id, &stage.plan).await;
    goes_on(&stage, &arn).await;
    stage.assert_sound(ACME, "attached again").await;
}

/// A hold over the owner's wishes: met before anything is begun, over when the tags are right.
async fn over_wishes(stage: &Stage, reason: HoldReason, tag: (&str, &str), about: &str, right: &str) {
    let (arn, value) = rotated(stage, &Terms::default()).await;
    stage.retag(&arn, tag.0, tag.1).await;
    let keys = stage.world().await.keys;
    stage.faults.disarm();

    stage.rotate(&arn).await;
    assert_names(&stage.failure(), reason, about);
    assert_eq!(stage.last().step, "createSecret", "before anything is begun");
    assert_eq!(recorded(stage, None).await.hold.reason, reason);
    assert_eq!(stage.world().await.keys, keys);
    assert!(stage.faults.calls().iter().all(|call| !call.starts_with("probe")), "and nothing is sent");
    assert_published(stage, &arn, &value).await;

    stage.retag(&arn, tag.0, right).await;
    goes_on(stage, &arn).await;
    stage.assert_sound(ACME, "corrected").await;
}

#[tokio::test(start_paused = true)]
async fn plan_conflict() {
    let stage = Stage::new().await;
    let silver = stage.plan("silver", &["prod"], None).await;
    let both = format!("{} {silver}", stage.plan);
    over_wishes(&stage, HoldReason::PlanConflict, ("usage-plans", &both), &silver, &silver).await;
    let id = stage.load(ACME).await.versions[&3].provider["id"].clone();
    assert_eq!(stage.api_key(&id).plans, [silver]);
}

#[tokio::test(start_paused = true)]
async fn plan_missing() {
    let stage = Stage::new().await;
    let right = stage.plan.clone();
    over_wishes(&stage, HoldReason::PlanMissing, ("usage-plans", "n0such"), "n0such", &right).await;
}

#[tokio::test(start_paused = true)]
async fn plan_not_allowed() {
    let stage = Stage::new().await;
    let plan = stage.api_gateway().create_usage_plan().name("internal").tags("rotator:allow", "internal/").send().await;
    let plan = plan.expect("a plan").id.expect("an id");
    let right = stage.plan.clone();
    over_wishes(&stage, HoldReason::PlanNotAllowed, ("usage-plans", &plan), &plan, &right).await;

    // Or the plan's owner allows it.
    let arn = stage.arn_of(ACME).await;
    stage.retag(&arn, "usage-plans", &plan).await;
    stage.rotate(&arn).await;
    assert_names(&stage.failure(), HoldReason::PlanNotAllowed, "rotator:allow");
    let plan_arn = format!("arn:aws:apigateway:eu-west-1::/usageplans/{plan}");
    let allow = stage.api_gateway().tag_resource().resource_arn(plan_arn).tags("rotator:allow", "internal/ partner/");
    allow.send().await.expect("tagged");
    goes_on(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn plan_lost() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    stage.faults.deny("secretsmanager:UpdateSecretVersionStage");
    stage.rotate(&arn).await;
    let id = stage.load(ACME).await.versions[&3].provider["id"].clone();
    stage.detach(&id, &stage.plan).await;
    stage.faults.allow("secretsmanager:UpdateSecretVersionStage");

    stage.again(&arn).await;
    assert_names(&stage.failure(), HoldReason::PlanLost, &stage.plan);
    assert!(stage.failure().error_message.contains(&id));
    assert_eq!(recorded(&stage, Some(3)).await.hold.reason, HoldReason::PlanLost);
    assert_published(&stage, &arn, &value).await;

    stage.attach(&id, &stage.plan).await;
    goes_on(&stage, &arn).await;
    stage.assert_sound(ACME, "attached again").await;
}

#[tokio::test(start_paused = true)]
async fn probe_foreign() {
    let stage = Stage::new().await;
    let right = format!("{}/prod/ping", crate::harness::API);
    over_wishes(&stage, HoldReason::ProbeForeign, ("probe", "zzz999/prod/ping"), "zzz999/prod", &right).await;
}

#[tokio::test(start_paused = true)]
async fn method_unprotected() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    stage.deploy(&["prod", "beta"], vec![Method::open("/ping")]);

    stage.rotate(&arn).await;
    assert_names(&stage.failure(), HoldReason::MethodUnprotected, "a1b2c3/prod/ping lets a made-up key through");
    assert_eq!(stage.last().step, "testSecret");
    assert_eq!(recorded(&stage, Some(3)).await.hold.reason, HoldReason::MethodUnprotected);
    assert_published(&stage, &arn, &value).await;

    stage.deploy(&["prod", "beta"], vec![Method::protected("/ping")]);
    goes_on(&stage, &arn).await;
    stage.assert_sound(ACME, "protected").await;
}

#[tokio::test(start_paused = true)]
async fn probe_blocked() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    stage.deploy(&["beta"], vec![Method::protected("/ping")]);
    assert!(!stage.gets_through(&value).await, "nobody is let through from here");

    stage.rotate(&arn).await;
    assert_names(&stage.failure(), HoldReason::ProbeBlocked, "a1b2c3/prod/ping refuses the new key");
    assert_eq!(recorded(&stage, Some(3)).await.hold.reason, HoldReason::ProbeBlocked);
    assert_eq!(stage.current_value(&arn).await, value);
    stage.assert_sound(ACME, "while it is held").await;

    stage.deploy(&["prod", "beta"], vec![Method::protected("/ping")]);
    goes_on(&stage, &arn).await;
    stage.assert_sound(ACME, "let through").await;
}

/// What answers in no way that is known proves nothing, and that is not waited for without an end.
#[tokio::test(start_paused = true)]
async fn unproven() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    assert!(stage.aws.put_invalid_key_status(API, 503));
    stage.rotate(&arn).await;
    for _ in 0..4 {
        stage.wait(TimeDelta::minutes(10)).await;
        stage.aws.settle().await;
    }
    assert_names(&stage.failure(), HoldReason::Unproven, "a1b2c3/prod/ping with a made-up key: the answer was 503");
    assert_eq!(recorded(&stage, Some(3)).await.hold.reason, HoldReason::Unproven);
    assert_published(&stage, &arn, &value).await;

    assert!(stage.aws.put_invalid_key_status(API, 403));
    goes_on(&stage, &arn).await;
    stage.assert_sound(ACME, "proved").await;
}

#[tokio::test(start_paused = true)]
async fn replica_behind() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    assert!(stage.aws.set_replica(&arn, "eu-central-1", "InProgress"));
    let keys = stage.world().await.keys;
    stage.pass(TimeDelta::hours(25)).await;
    let held = recorded(&stage, Some(1)).await;
    assert_eq!(held.hold.reason, HoldReason::ReplicaBehind);
    assert!(held.hold.detail.contains("eu-central-1"), "{}", held.hold.detail);
    assert_eq!(stage.world().await.keys, keys, "its readers still have the old key");
    assert_published(&stage, &arn, &value).await;

    assert!(stage.aws.set_replica(&arn, "eu-central-1", "InSync"));
    stage.pass(TimeDelta::hours(23)).await;
    assert_eq!(stage.load(ACME).await.versions[&1].state, State::Deactivated, "its overlap begins anew");
    stage.pass(TimeDelta::hours(2)).await;
    assert_eq!(stage.load(ACME).await.versions[&1].state, State::Suspended, "{}", stage.story(ACME).await);
    assert_eq!(stage.load(ACME).await.versions[&1].held, None);
    goes_on(&stage, &arn).await;
    stage.assert_sound(ACME, "in sync").await;
}

/// What AWS calls it, and on what, for each operation of a rotation.
const PERMISSIONS: [(&str, &str, &str); 14] = [
    ("secretsmanager:DescribeSecret", "secretsmanager:DescribeSecret", ACME),
    ("secretsmanager:GetSecretValue", "secretsmanager:GetSecretValue", ":secret:partner/acme-"),
    ("secretsmanager:PutSecretValue", "secretsmanager:PutSecretValue", ":secret:partner/acme-"),
    ("secretsmanager:UpdateSecretVersionStage", "secretsmanager:UpdateSecretVersionStage", ":secret:partner/acme-"),
    ("DynamoDB:Query", "dynamodb:Query", "rotator"),
    ("DynamoDB:TransactWriteItems", "dynamodb:TransactWriteItems", "rotator"),
    ("apigateway:GET /apikeys/{key}", "apigateway:GET", "/apikeys/"),
    ("apigateway:GET /usageplans", "apigateway:GET", "/usageplans"),
    ("apigateway:GET /usageplans/{plan}", "apigateway:GET", "/usageplans/"),
    ("apigateway:GET /usageplans/{plan}/usage", "apigateway:GET", "/usage"),
    ("apigateway:POST /apikeys", "apigateway:POST", "/apikeys"),
    ("apigateway:POST /usageplans/{plan}/keys", "apigateway:POST", "/keys"),
    ("apigateway:PATCH /usageplans/{plan}/keys/{key}/usage", "apigateway:PATCH", "/usage"),
    ("apigateway:GET /apikeys", "apigateway:GET", "/apikeys"),
];

#[tokio::test(start_paused = true)]
async fn denied() {
    for (operation, action, resource) in PERMISSIONS {
        let stage = Stage::new().await;
        let gold = stage.plan("gold", &["beta"], None).await;
        let (arn, _, value) = stage.credential(ACME, &Terms::default()).await;
        stage.retag(&arn, "usage-plans", &gold).await;
        stage.faults.disarm();
        stage.faults.deny(operation);
        stage.rotate(&arn).await;
        assert!(stage.faults.calls().iter().any(|call| call == operation), "{operation} is not needed any more");
        let failure = stage.failure();
        let about = format!("{action} on ");
        assert_names(&failure, HoldReason::Denied, &about);
        assert!(failure.error_message.contains("is not allowed: AccessDeniedException"), "{}", failure.error_message);
        let on = failure.error_message.split(&about).nth(1).expect("said");
        assert!(on.split(';').next().is_some_and(|on| on.contains(resource)), "{operation}: {on}");
        assert_published(&stage, &arn, &value).await;

        stage.faults.allow(operation);
        stage.again(&arn).await;
        stage.assert_rotated();
        assert_ne!(stage.current_value(&arn).await, value);
        stage.assert_sound(ACME, operation).await;
    }
}

#[tokio::test(start_paused = true)]
async fn denied_to_retirement() {
    for operation in ["apigateway:PATCH /apikeys/{key}", "apigateway:DELETE /apikeys/{key}"] {
        let stage = Stage::new().await;
        rotated(&stage, &Terms::default()).await;
        stage.faults.deny(operation);
        for _ in 0..2 {
            stage.pass(TimeDelta::hours(25)).await;
        }
        let held = recorded(&stage, Some(1)).await;
        assert_eq!(held.hold.reason, HoldReason::Denied);
        assert!(held.hold.detail.contains("/apikeys/"), "{}", held.hold.detail);
        stage.assert_sound(ACME, operation).await;
        stage.faults.allow(operation);
        for _ in 0..2 {
            stage.pass(TimeDelta::hours(25)).await;
        }
        assert_eq!(stage.load(ACME).await.versions[&1].state, State::Destroyed, "{operation}");
        stage.assert_sound(ACME, operation).await;
    }
}

/// What AWS refuses and will refuse again is held, whoever asked for it.
#[tokio::test(start_paused = true)]
async fn rejected_to_retirement() {
    let stage = Stage::new().await;
    let arn = stage.secret(ACME, "{}", &Terms::jwt()).await;
    let made = stage.kms().create_key().send().await.expect("made").key_metadata.expect("a key");
    stage.secrets_manager().update_secret().secret_id(&arn).kms_key_id(&made.key_id).send().await.expect("under it");
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.kms().disable_key().key_id(&made.key_id).send().await.expect("disabled");
    stage.tick().await;
    let held = recorded(&stage, Some(2)).await;
    assert_eq!(held.hold.reason, HoldReason::Rejected);
    assert!(held.hold.detail.contains("secretsmanager:CreateSecret"), "{}", held.hold.detail);
    let list = stage.command(&["list"]).await.stdout;
    assert!(list.contains("Rejected"), "{list}");
    stage.kms().enable_key().key_id(&made.key_id).send().await.expect("enabled");
    for _ in 0..4 {
        stage.pass(TimeDelta::minutes(20)).await;
    }
    assert_eq!(stage.key_set(ACME).await.kids().len(), 2, "{}", stage.story(ACME).await);
    stage.assert_sound(ACME, "made at last").await;
}

/// Its quota is no rate: no wait helps, and somebody must hear of it.
#[tokio::test(start_paused = true)]
async fn an_account_that_is_full_of_api_keys() {
    let stage = Stage::new().await;
    let (arn, value) = rotated(&stage, &Terms::default()).await;
    let rows: String = (0..9_998).map(|number| format!("k{number},aValueOfTwentyLetters{number}\n")).collect();
    let file = Blob::new(format!("name,key\n{rows}"));
    stage.api_gateway().import_api_keys().format(ApiKeysFormat::Csv).body(file).send().await.expect("imported");
    stage.rotate(&arn).await;
    assert_names(&stage.failure(), HoldReason::Rejected, "LimitExceededException");
    assert_eq!(recorded(&stage, Some(3)).await.hold.reason, HoldReason::Rejected);
    assert_published(&stage, &arn, &value).await;
    // Somebody makes room.
    let others = stage.aws.inspect_api_keys();
    let one = others.iter().find(|key| key.name.as_deref() == Some("k7")).expect("imported");
    stage.delete_key(&one.id).await;
    goes_on(&stage, &arn).await;
}
