//! Every way in which the outside can drift from the records: found, put right where that is this service's to do,
//! nothing else touched, and nothing found the second time.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_kms::types::{KeySpec, KeyUsageType, Tag};
use chrono::TimeDelta;
use local_aws::{ApiKeyView, Function, FunctionError};
use rotator::mend::{look_at_all, mend, overview};
use serde_json::{Value, json};
use state::decide::{AWSCURRENT, AWSPENDING};
use state::drift::{Finding, Remedy, Scope};
use state::hold::HoldReason;
use state::ledger::Change;
use state::lifecycle::State;
use state::name::CredentialName;

use super::{others, words};
use crate::harness::mishaps::{CREDENTIAL_TAG, GLOBEX, VERSION_TAG};
use crate::harness::strangers::Made;
use crate::harness::tally::Tally;
use crate::harness::{ACME, Stage, Terms, Which, document};

/// Everything that a look at everything finds, which is what a plan shows: nothing at all changes.
async fn found(stage: &Stage) -> Vec<Finding> {
    let before = stage.world().await;
    let all = overview(&stage.engine_unhurt(), &stage.errand(), &mut |_, _| {}).await.expect("looked at");
    assert_eq!(stage.world().await, before, "a plan changes nothing");
    assert!(all.failed.is_empty(), "{:?}", all.failed);
    let ours = all.examined.into_iter().flat_map(|one| one.findings);
    ours.chain(all.unowned).collect()
}

/// What was put right; and how many more could have been.
async fn reconciled(stage: &Stage, mut most: usize) -> (Vec<Finding>, usize) {
    let (engine, errand) = (stage.engine_unhurt(), stage.errand());
    let mut cured = Vec::new();
    for one in overview(&engine, &errand, &mut |_, _| {}).await.expect("looked at").examined {
        let done = mend(&engine, one, Scope::All, &mut most, &errand, &mut |_| {}).await.expect("reconciled");
        assert!(done.stopped.is_none(), "{:?}", done.stopped);
        cured.extend(done.cured);
    }
    (cured, most)
}

/// It is found, put right, and not found again; everything else is as it was.
async fn story(stage: &Stage, expected: &[&str]) {
    let before = others(stage.world().await);
    assert_eq!(words(&found(stage).await), expected);
    // Looked at by itself, without a survey, the credential shows the same.
    let name = CredentialName::parse(ACME).expect("a name");
    let (alone, _) = look_at_all(&stage.engine_unhurt(), &[name], None, &stage.errand(), &mut |_, _| {}).await;
    assert_eq!(words(&alone[0].findings), expected);
    let (cured, _) = reconciled(stage, 10).await;
    assert_eq!(words(&cured), expected);
    assert_eq!(words(&found(stage).await), [""; 0], "a second run finds nothing");
    let again = stage.world().await;
    assert_eq!(reconciled(stage, 10).await.0, []);
    assert_eq!(stage.world().await, again);
    assert_eq!(others(again), before, "nothing else was touched");
    stage.assert_sound(ACME, "reconciled").await;
    stage.assert_sound(GLOBEX, "reconciled").await;
}

/// It is found, and nothing here touches it. What a person is told.
async fn told(stage: &Stage, expected: &str) -> String {
    let all = found(stage).await;
    assert_eq!(words(&all), [expected]);
    let before = stage.world().await;
    assert_eq!(reconciled(stage, 10).await.0, []);
    assert_eq!(stage.world().await, before, "it is reported, and left alone");
    let credential = stage.recorded(ACME).await;
    match all[0].remedy(credential.as_ref()) {
        Remedy::Person(text) => format!("{}: {text}", all[0]),
        Remedy::Service(text) => panic!("not a person's matter: {text}"),
    }
}

async fn goes_on(stage: &Stage, arn: &str) {
    stage.rotate(arn).await;
    stage.assert_rotated();
    assert!(stage.gets_through(&stage.current_value(arn).await).await);
    stage.assert_sound(ACME, "after another rotation").await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_found_where_nothing_is_wrong() {
    let (stage, arn) = Stage::two_rotated().await;
    assert_eq!(found(&stage).await, []);
    for _ in 0..3 {
        stage.pass(TimeDelta::hours(25)).await;
        assert_eq!(found(&stage).await, []);
    }
    goes_on(&stage, &arn).await;
    assert_eq!(found(&stage).await, []);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_found_of_signing_keys_in_any_part_of_their_life() {
    for terms in [Terms::kms(), Terms::jwt()] {
        let stage = Stage::new().await;
        let arn = stage.signing(&terms).await;
        assert_eq!(found(&stage).await, []);
        stage.rotate(&arn).await;
        stage.assert_rotated();
        for hours in [0, 2, 3, 25, 25] {
            stage.pass(TimeDelta::hours(hours)).await;
            assert_eq!(found(&stage).await, [], "{hours}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_is_under_way_is_no_drift() {
    let (stage, arn) = Stage::two_rotated().await;
    stage.faults.deny("apigateway:POST /usageplans/{plan}/keys");
    stage.rotate(&arn).await;
    assert_eq!(found(&stage).await, []);
    stage.wait(TimeDelta::minutes(6)).await;
    assert_eq!(words(&found(&stage).await), ["HalfDone"], "nobody is at work on it any more");
}

#[tokio::test(start_paused = true)]
async fn a_key_of_a_version_that_was_given_up_is_suspended() {
    let (stage, arn) = Stage::two_rotated().await;
    stage.rotate_without(&arn, "apigateway:POST /usageplans/{plan}/keys").await;
    stage.move_label(&arn, AWSPENDING, None).await;
    // It is held for the denied call, and looked at again after a quarter of an hour. Then it is given up.
    stage.faults.deny("apigateway:PATCH /apikeys/{key}");
    for _ in 0..2 {
        stage.pass(TimeDelta::minutes(20)).await;
    }
    stage.faults.allow("apigateway:PATCH /apikeys/{key}");
    let given_up = stage.load(ACME).await.versions[&3].provider["name"].clone();
    let is_its = |key: &ApiKeyView| key.name.as_deref() == Some(given_up.as_str());
    let id = stage.aws.inspect_api_keys().into_iter().find(is_its).expect("it was made").id;
    assert!(stage.api_key(&id).enabled, "{}", stage.story(ACME).await);
    stage.wait(TimeDelta::minutes(6)).await;
    story(&stage, &["CleanUpOpen"]).await;
    assert!(!stage.api_key(&id).enabled);
    goes_on(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn an_orphan_with_an_intent_is_retired_like_any_other() {
    let (stage, arn) = Stage::two_rotated().await;
    let (generation, id) = stage.rotate_and_leave_an_orphan(&arn).await;
    let given_up = stage.load(ACME).await.versions[&generation].clone();
    assert_eq!((generation, given_up.state, given_up.provider.get("id")), (3, State::Suspended, None));

    story(&stage, &["Orphan"]).await;
    assert!(!stage.api_key(&id).enabled, "refused at once");
    assert_eq!(stage.id_of(3).await, id);
    for _ in 0..2 {
        stage.pass(TimeDelta::hours(25)).await;
    }
    assert_eq!(stage.load(ACME).await.versions[&3].state, State::Destroyed);
    assert!(stage.aws.inspect_api_keys().iter().all(|key| key.id != id), "and gone after its soak");
    goes_on(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn an_orphan_in_kms_is_disabled_and_its_deletion_is_scheduled() {
    let stage = Stage::new().await;
    stage.signing(&Terms::kms()).await;
    let standby = stage.load(ACME).await.versions[&2].clone();
    let arn = stage.leave_an_orphan_in_kms(2).await;
    assert_eq!(words(&found(&stage).await), ["Orphan"]);
    assert_eq!(words(&reconciled(&stage, 10).await.0), ["Orphan"]);
    assert_eq!(stage.kms_state(&arn).as_deref(), Some("PendingDeletion"));
    assert_eq!(stage.kms_state(&standby.provider["id"]).as_deref(), Some("Enabled"), "its own key is left alone");
    assert_eq!(found(&stage).await, []);
    stage.assert_sound(ACME, "swept").await;
    // Somebody copied the tag. That makes it nobody's to delete.
    let policy = stage.kms_key(&standby.provider["id"]).policy.expect("a policy").replace(":root", ":user/mallory");
    let copied = stage.kms().create_key().key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify);
    let tag = |key: &str, value: &str| Tag::builder().tag_key(key).tag_value(value).build().expect("a tag");
    let copied = copied.tags(tag(CREDENTIAL_TAG, ACME)).tags(tag(VERSION_TAG, &standby.id.to_string())).policy(policy);
    let copied = copied.send().await.expect("made").key_metadata.and_then(|key| key.arn).expect("an ARN");
    assert_eq!(words(&found(&stage).await), ["Stranger"]);
    let before = stage.told().await.len();
    assert_eq!(reconciled(&stage, 10).await.0, []);
    assert_eq!(stage.kms_state(&copied).as_deref(), Some("Enabled"));
    assert_eq!(words(&found(&stage).await), ["Stranger"], "it is still told");
    assert_eq!(stage.told().await.len(), before);
}

/// Somebody read the intent of a rotation that was given up, and made a key under its name before anybody looked again.
#[tokio::test(start_paused = true)]
async fn a_strangers_key_with_the_name_and_tags_of_a_version_that_was_given_up_is_only_told() {
    let (stage, arn) = Stage::two_rotated().await;
    stage.rotate_without(&arn, "apigateway:POST /apikeys").await;
    let made = stage.stranger().acts_first(&stage.load(ACME).await).await;
    let [Made::ApiKey(id)] = &made[..] else { panic!("{made:?}") };
    stage.move_label(&arn, AWSPENDING, None).await;
    for _ in 0..2 {
        stage.pass(TimeDelta::minutes(20)).await;
    }
    let given_up = stage.load(ACME).await.versions[&3].clone();
    assert_eq!((given_up.state, given_up.provider.get("id")), (State::Suspended, None));
    assert_eq!(words(&found(&stage).await), ["Stranger"]);
    assert_eq!(reconciled(&stage, 10).await.0, []);
    assert!(stage.api_key(id).enabled);
    let after = stage.load(ACME).await.versions[&3].clone();
    assert_eq!((after.state, after.provider.get("id")), (State::Suspended, None), "no record names it");
}

#[tokio::test(start_paused = true)]
async fn a_key_with_our_tags_and_no_intent_is_only_told() {
    for claims in [ACME, "partner/nobody"] {
        let (stage, _) = Stage::two_rotated().await;
        let made = stage.api_gateway().create_api_key().name("acme-copy").enabled(true).tags(CREDENTIAL_TAG, claims);
        let id = made.tags(VERSION_TAG, "not-a-version").send().await.expect("made").id.expect("an id");
        let said = told(&stage, "Stranger").await;
        assert!(said.contains(&id) && said.contains(claims), "{said}");
        assert!(stage.api_key(&id).enabled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_somebody_deleted_is_made_again_with_the_same_value() {
    let (stage, arn) = Stage::two_rotated().await;
    let (id, value) = (stage.id_of(2).await, stage.current_value(&arn).await);
    stage.delete_key(&id).await;
    assert!(!stage.gets_through(&value).await);
    story(&stage, &["KeyVanished"]).await;
    assert!(stage.gets_through(&value).await, "clients go on with what they have");
    let again = stage.id_of(2).await;
    assert_ne!(again, id);
    assert_eq!(stage.api_key(&again).plans, std::slice::from_ref(&stage.plan));
    goes_on(&stage, &arn).await;
}

/// Consumers read the version before it, and whoever began to make it again did not come to the end.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_recorded_as_gone_is_made_again_before_the_label_moves_back_to_it() {
    let (stage, arn) = Stage::two_rotated().await;
    let (id, value) = (stage.id_of(2).await, stage.current_value(&arn).await);
    let current = stage.current(&arn).await;
    let before = stage.load(ACME).await.versions[&1].token().expect("a carrier").clone();
    stage.delete_key(&id).await;
    stage.move_label(&arn, AWSCURRENT, Some(before.as_str())).await;
    stage.commit(ACME, Change::Vanished { generation: 2 }).await;
    assert_eq!(words(&found(&stage).await), ["LabelMoved", "KeyVanished"]);
    assert_eq!(words(&reconciled(&stage, 10).await.0), ["KeyVanished", "LabelMoved"]);
    assert_eq!(found(&stage).await, []);
    assert!(stage.gets_through(&value).await);
    assert_eq!(stage.current(&arn).await, current);
    goes_on(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn a_signing_key_that_will_be_deleted_is_only_told() {
    let stage = Stage::new().await;
    stage.signing(&Terms::kms()).await;
    let arn = stage.id_of(1).await;
    stage.kms().schedule_key_deletion().key_id(&arn).pending_window_in_days(7).send().await.expect("scheduled");
    let said = told(&stage, "KeyPendingDeletion").await;
    assert!(said.contains(&format!("aws kms cancel-key-deletion --key-id {arn}")), "{said}");
    // What the commands do.
    stage.kms().cancel_key_deletion().key_id(&arn).send().await.expect("cancelled");
    let said = told(&stage, "KeyDisabled").await;
    assert!(said.contains(&format!("aws kms enable-key --key-id {arn}")), "{said}");
    stage.kms().enable_key().key_id(&arn).send().await.expect("enabled");
    assert_eq!(found(&stage).await, []);

    stage.kms().schedule_key_deletion().key_id(&arn).pending_window_in_days(7).send().await.expect("scheduled");
    stage.wait(TimeDelta::days(8)).await;
    let said = told(&stage, "KeyVanished").await;
    assert!(said.contains("--emergency --compromised none"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_somebody_took_a_key_out_of_is_attached_again() {
    // The first key was there before this service was: it keeps its plans too.
    for generation in [1, 2] {
        let (stage, arn) = Stage::two_rotated().await;
        let id = stage.id_of(generation).await;
        let carrier = stage.load(ACME).await.versions[&generation].carriers[0].clone();
        let value = stage.value_of(&arn, carrier.as_str()).await;
        stage.detach(&id, &stage.plan).await;
        assert!(!stage.gets_through(&value).await);
        story(&stage, &["PlanLost"]).await;
        assert!(stage.gets_through(&value).await);
        goes_on(&stage, &arn).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_somebody_put_a_key_into_is_taken_into_the_record() {
    let (stage, arn) = Stage::two_rotated().await;
    let gold = stage.plan("gold", &["beta"], None).await;
    let id = stage.id_of(2).await;
    stage.attach(&id, &gold).await;
    story(&stage, &["PlanAdded"]).await;
    assert!(stage.api_key(&id).plans.contains(&gold), "nothing is ever detached");
    goes_on(&stage, &arn).await;
    let next = stage.id_of(3).await;
    assert!(stage.api_key(&next).plans.contains(&gold), "the next key gets it too");
}

/// A key is in one plan of each stage.
#[tokio::test(start_paused = true)]
async fn a_key_that_somebody_moved_to_another_plan_stays_there() {
    let (stage, arn) = Stage::two_rotated().await;
    let gold = stage.plan("gold", &["prod"], Some(5_000)).await;
    let id = stage.id_of(2).await;
    stage.detach(&id, &stage.plan).await;
    stage.attach(&id, &gold).await;
    story(&stage, &["PlanReplaced"]).await;
    assert_eq!(stage.api_key(&id).plans, std::slice::from_ref(&gold));
    goes_on(&stage, &arn).await;
    assert_eq!(stage.api_key(&stage.id_of(3).await).plans, [gold], "so does the next one");
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_somebody_deleted_leaves_the_record() {
    let stage = Stage::new().await;
    let gold = stage.plan("gold", &[], None).await;
    let (arn, id, _) = stage.credential(ACME, &Terms::default()).await;
    stage.attach(&id, &gold).await;
    stage.rotate(&arn).await;
    stage.api_gateway().delete_usage_plan().usage_plan_id(&gold).send().await.expect("deleted");
    assert_eq!(words(&found(&stage).await), ["PlanReplaced", "PlanReplaced"]);
    assert_eq!(words(&reconciled(&stage, 10).await.0), ["PlanReplaced", "PlanReplaced"]);
    assert_eq!(found(&stage).await, []);
    goes_on(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn a_suspended_key_that_somebody_enabled_is_suspended_again() {
    let (stage, arn) = Stage::two_rotated().await;
    stage.pass(TimeDelta::hours(25)).await;
    assert_eq!(stage.load(ACME).await.versions[&1].state, State::Suspended);
    let id = stage.id_of(1).await;
    stage.set_enabled(&id, true).await;
    story(&stage, &["KeyEnabled"]).await;
    assert!(!stage.api_key(&id).enabled);
    goes_on(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn a_destroyed_key_that_somebody_brought_back_is_only_told() {
    let stage = Stage::new().await;
    let arn = stage.signing(&Terms::kms()).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    for _ in 0..6 {
        stage.pass(TimeDelta::hours(25)).await;
    }
    assert_eq!(stage.load(ACME).await.versions[&1].state, State::Destroyed, "{}", stage.story(ACME).await);
    let key = stage.id_of(1).await;
    assert_eq!(found(&stage).await, []);
    stage.kms().cancel_key_deletion().key_id(&key).send().await.expect("cancelled");
    assert_eq!(found(&stage).await, [], "a disabled key signs nothing");
    stage.kms().enable_key().key_id(&key).send().await.expect("enabled");
    let said = told(&stage, "KeyEnabled").await;
    assert!(said.contains(&key) && said.contains("by hand"), "{said}");
}

/// Break glass: the new key leaked, and somebody brought the old one back by hand, key and label.
#[tokio::test(start_paused = true)]
async fn a_key_that_consumers_read_is_never_refused_by_a_cure() {
    let (stage, arn) = Stage::two_rotated().await;
    stage.pass(TimeDelta::hours(25)).await;
    let (old, carrier) = (stage.id_of(1).await, stage.load(ACME).await.versions[&1].carriers[0].clone());
    stage.commit(ACME, Change::Ordered { token: carrier.clone(), compromised: vec![2] }).await;
    stage.set_enabled(&old, true).await;
    stage.move_label(&arn, AWSCURRENT, Some(carrier.as_str())).await;
    assert_eq!(words(&found(&stage).await), ["LabelMoved"]);
    assert_eq!(reconciled(&stage, 10).await.0, []);
    assert!(stage.gets_through(&stage.current_value(&arn).await).await);
}

/// Where no credential signs, nobody needs the right to see KMS keys.
#[tokio::test(start_paused = true)]
async fn what_no_credential_is_needs_no_right() {
    let (stage, _) = Stage::two_rotated().await;
    stage.faults.disarm();
    let event = json!({"detail-type": "Scheduled Event", "detail": {"task": "reconcile"}});
    assert_eq!(stage.call(Which::Retirement, event.clone()).await, Ok(json!({"lookedAt": 2, "findings": 0})));
    assert!(stage.faults.calls().iter().all(|call| !call.starts_with("TrentService")), "{:?}", stage.faults.calls());

    let stage = Stage::new().await;
    stage.signing(&Terms::kms()).await;
    stage.faults.deny("apigateway:GET /usageplans");
    stage.faults.deny("apigateway:GET /apikeys");
    assert_eq!(stage.call(Which::Retirement, event).await, Ok(json!({"lookedAt": 1, "findings": 0})));
}

#[tokio::test(start_paused = true)]
async fn a_live_key_that_somebody_disabled_is_only_told() {
    let (stage, arn) = Stage::two_rotated().await;
    let ids = [stage.id_of(1).await, stage.id_of(2).await];
    for id in &ids {
        stage.set_enabled(id, false).await;
    }
    assert_eq!(words(&found(&stage).await), ["KeyDisabled", "KeyDisabled"]);
    assert_eq!(reconciled(&stage, 10).await.0, [], "a customer may be cut off on purpose");
    let credential = stage.load(ACME).await;
    for (id, finding) in ids.iter().zip(found(&stage).await) {
        let remedy = finding.remedy(Some(&credential));
        let enable = format!(
            "`aws apigateway update-api-key --api-key {id} --patch-operations op=replace,path=/enabled,value=true`"
        );
        assert!(matches!(&remedy, Remedy::Person(said) if said.contains(&enable)), "{remedy:?}");
        stage.set_enabled(id, true).await;
    }
    assert_eq!(found(&stage).await, []);
    assert!(stage.gets_through(&stage.current_value(&arn).await).await);
    goes_on(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn a_label_that_disagrees_is_moved_back_as_by_a_repair() {
    let (stage, arn) = Stage::two_rotated().await;
    let good = stage.current(&arn).await;
    let first = stage.load(ACME).await.versions[&1].carriers[0].clone();
    stage.move_label(&arn, AWSCURRENT, Some(first.as_str())).await;
    story(&stage, &["LabelMoved"]).await;
    assert_eq!(stage.current(&arn).await, good);
    goes_on(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_deleted_while_its_keys_live_is_only_told() {
    let (stage, arn) = Stage::two_rotated().await;
    let client = stage.secrets_manager();
    client.delete_secret().secret_id(&arn).recovery_window_in_days(7).send().await.expect("scheduled");
    let said = told(&stage, "SecretDeleted").await;
    assert!(said.contains(&format!("aws secretsmanager restore-secret --secret-id {ACME}")), "{said}");
    client.restore_secret().secret_id(&arn).send().await.expect("restored");
    let said = told(&stage, "RotationOff").await;
    let command = format!("aws secretsmanager rotate-secret --secret-id {ACME} --no-rotate-immediately");
    assert!(said.contains(&command), "{said}");
    client.rotate_secret().secret_id(&arn).rotate_immediately(false).send().await.expect("switched on");
    stage.aws.settle().await;
    assert_eq!(found(&stage).await, []);
    client.delete_secret().secret_id(&arn).force_delete_without_recovery(true).send().await.expect("deleted");
    told(&stage, "SecretDeleted").await;
}

#[tokio::test(start_paused = true)]
async fn another_secret_under_a_name_that_is_taken_is_only_told() {
    let (stage, arn) = Stage::two_rotated().await;
    let value = stage.current_value(&arn).await;
    let client = stage.secrets_manager();
    client.delete_secret().secret_id(&arn).force_delete_without_recovery(true).send().await.expect("deleted");
    let anew = stage.secret(ACME, &document(&value), &Terms { schedule: None, ..Terms::default() }).await;
    let said = told(&stage, "SecretReplaced").await;
    assert!(said.contains(&anew), "{said}");
    assert!(stage.gets_through(&value).await, "nothing is retired on the word of another secret");
}

#[tokio::test(start_paused = true)]
async fn the_keys_of_a_secret_that_is_gone_for_good_are_retired_if_its_owner_said_so() {
    for (word, closes) in [("suspend", true), ("hold", false)] {
        let stage = Stage::new().await;
        let (arn, _, value) = stage.credential(ACME, &Terms::default().with("if-deleted", word)).await;
        stage.rotate(&arn).await;
        let client = stage.secrets_manager();
        client.delete_secret().secret_id(&arn).recovery_window_in_days(7).send().await.expect("scheduled");
        let event = json!({"detail-type": "Scheduled Event", "detail": {"task": "reconcile"}});
        stage.call(Which::Retirement, event.clone()).await.expect("looked at");
        let held = stage.load(ACME).await.head.held.map(|held| held.hold.reason);
        assert_eq!(held, Some(HoldReason::SecretDeleted), "it can still be restored");
        stage.pass(TimeDelta::days(8)).await;
        stage.call(Which::Retirement, event).await.expect("looked at");
        let closed = stage.load(ACME).await;
        assert_eq!((closed.head.closed.is_some(), closed.current().is_none()), (closes, closes), "{word}");
        for _ in 0..6 {
            stage.pass(TimeDelta::days(1)).await;
        }
        let after = stage.load(ACME).await;
        let gone = after.versions.values().all(|version| version.state == State::Destroyed);
        assert_eq!(gone, closes, "{word}: {}", stage.story(ACME).await);
        assert_eq!(stage.gets_through(&value).await, !closes, "nobody can read it, but whoever has it may go on");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_nobody_rotates_are_told_with_the_way_to_adopt_them() {
    let (stage, _) = Stage::two_rotated().await;
    let (id, _) = stage.key("wild").await;
    let said = told(&stage, "Unmanaged").await;
    assert!(said.contains(&format!("rotator adopt --id {id}")), "{said}");
    // What a stack owns would be undone by it.
    assert!(stage.aws.own_by_stack(&id, "shop", "PartnerKey"));
    let said = told(&stage, "Unmanaged").await;
    assert!(said.contains("the CloudFormation stack shop owns") && said.contains("DeletionPolicy: Retain"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_rotated_key_that_a_tool_owns_is_told_with_the_snippet() {
    let (stage, arn) = Stage::two_rotated().await;
    let id = stage.id_of(2).await;
    assert!(stage.aws.own_by_stack(&id, "shop", "PartnerKey"));
    let said = told(&stage, "StackOwned").await;
    assert!(said.contains("shop") && said.contains("change-set-type IMPORT"), "{said}");

    goes_on(&stage, &arn).await;
    let key = format!("arn:aws:apigateway:eu-west-1::/apikeys/{}", stage.id_of(3).await);
    stage.api_gateway().tag_resource().resource_arn(key).tags("ManagedBy", "Terraform").send().await.expect("tagged");
    let all = found(&stage).await;
    assert_eq!(words(&all), ["StackOwned", "StackOwned"]);
    let remedy = all[1].remedy(None);
    assert!(remedy.text().contains("ignore_changes"), "{}", remedy.text());
}

/// What answers instead of the function `jwks`.
struct Stale(Value);

#[async_trait]
impl Function for Stale {
    async fn invoke(&self, _: Value) -> Result<Value, FunctionError> {
        Ok(json!({"statusCode": 200, "headers": {}, "body": self.0.to_string(), "isBase64Encoded": false}))
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_set_that_is_not_what_the_records_say_is_only_told() {
    let stage = Stage::new().await;
    stage.signing(&Terms::kms()).await;
    let mut served = stage.key_set(ACME).await.json();
    let kids = stage.key_set(ACME).await.kids();
    let keys = served["keys"].as_array_mut().expect("keys");
    let mut extra = keys.remove(1);
    stage.aws.register("jwks", Arc::new(Stale(served.clone())));
    let said = told(&stage, "KidMissing").await;
    assert!(said.contains(&kids[1]), "{said}");

    served["keys"].as_array_mut().expect("keys").push(extra.clone());
    extra["kid"] = "somebody-elses".into();
    served["keys"].as_array_mut().expect("keys").push(extra);
    stage.aws.register("jwks", Arc::new(Stale(served)));
    assert!(told(&stage, "KidExtra").await.contains("somebody-elses"));
    stage.aws.register("jwks", Arc::new(Stale(json!("no key set"))));
    told(&stage, "KeySetUnreachable").await;
}

/// A cache in front of the key set that never looks again.
#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_that_is_still_served_is_only_told() {
    let stage = Stage::new().await;
    let arn = stage.signing(&Terms::kms()).await;
    let (served, first) =
        (stage.key_set(ACME).await.json(), stage.load(ACME).await.versions[&1].provider["kid"].clone());
    stage.rotate(&arn).await;
    stage.pass(TimeDelta::hours(25)).await;
    assert_eq!(stage.load(ACME).await.versions[&1].state, State::Suspended, "{}", stage.story(ACME).await);
    let mut keys = stage.key_set(ACME).await.json();
    let withdrawn = served["keys"].as_array().expect("keys").iter().find(|key| key["kid"] == first.as_str());
    keys["keys"].as_array_mut().expect("keys").push(withdrawn.expect("it was served").clone());
    stage.aws.register("jwks", Arc::new(Stale(keys)));
    let said = told(&stage, "KidExtra").await;
    assert!(said.contains(&format!("{first} of generation 1")), "{said}");
}

#[tokio::test(start_paused = true)]
async fn no_more_is_changed_than_the_cap_says() {
    let (stage, arn) = Stage::two_rotated().await;
    let gold = stage.plan("gold", &["beta"], None).await;
    let id = stage.id_of(2).await;
    stage.detach(&id, &stage.plan).await;
    stage.attach(&id, &gold).await;
    let first = stage.id_of(1).await;
    stage.detach(&first, &stage.plan).await;
    assert_eq!(words(&found(&stage).await), ["PlanLost", "PlanLost", "PlanAdded"]);
    assert_eq!(reconciled(&stage, 0).await.0, []);
    let (cured, left) = reconciled(&stage, 2).await;
    assert_eq!((words(&cured), left), (vec!["PlanLost", "PlanLost"], 0));
    assert_eq!(words(&found(&stage).await), ["PlanAdded"]);
    assert_eq!(words(&reconciled(&stage, 2).await.0), ["PlanAdded"]);
    assert_eq!(found(&stage).await, []);
    goes_on(&stage, &arn).await;
}

/// What a rotation met stands on the head, where `list` and `doctor` read it, until its cause is put right.
#[tokio::test(start_paused = true)]
async fn a_cure_ends_the_hold_that_its_cause_made() {
    let (stage, arn) = Stage::two_rotated().await;
    let held = async || stage.load(ACME).await.head.held.map(|held| held.hold.reason);

    stage.detach(&stage.id_of(2).await, &stage.plan).await;
    stage.rotate(&arn).await;
    assert_eq!(held().await, Some(HoldReason::PlanLost));
    assert_eq!(words(&reconciled(&stage, 1).await.0), ["PlanLost"]);
    assert_eq!(held().await, None);
    stage.again(&arn).await;
    stage.assert_rotated();

    let id = stage.id_of(3).await;
    stage.api_gateway().delete_api_key().api_key(&id).send().await.expect("deleted");
    stage.rotate(&arn).await;
    assert_eq!(held().await, Some(HoldReason::KeyVanished));
    reconciled(&stage, 10).await;
    assert_eq!(held().await, None);
    stage.again(&arn).await;
    stage.assert_rotated();
    stage.assert_sound(ACME, "after both").await;
}

#[tokio::test(start_paused = true)]
async fn the_retirement_function_tells_once_a_day_and_changes_nothing() {
    let (stage, _) = Stage::two_rotated().await;
    let id = stage.id_of(2).await;
    stage.detach(&id, &stage.plan).await;
    stage.key("wild").await;
    let before = stage.world().await;
    let event = json!({"detail-type": "Scheduled Event", "detail": {"task": "reconcile"}});
    let tally = Tally::default();
    let answer = {
        let _counted = metrics::set_default_local_recorder(&tally);
        stage.call(Which::Retirement, event).await.expect("looked at")
    };
    assert_eq!(answer, json!({"lookedAt": 2, "findings": 2}));
    for word in ["PlanLost", "Unmanaged"] {
        assert_eq!(tally.of(&format!("Findings finding={word}")), 1, "{tally:?}");
    }
    assert_eq!(stage.world().await, before);
    let figures = ["OldHolds", "NearMaxAge", "Overdue", "WithoutFingerprint"];
    assert_eq!(figures.map(|figure| tally.of(figure)), [0; 4]);

    // Nobody rotates for longer than the schedules say: no event tells that, and this does.
    stage.wait(TimeDelta::days(32)).await;
    let event = json!({"detail-type": "Scheduled Event", "detail": {"task": "reconcile"}});
    {
        let _counted = metrics::set_default_local_recorder(&tally);
        stage.call(Which::Retirement, event).await.expect("looked at");
    }
    assert_eq!(tally.of("Overdue"), 2, "{tally:?}");
    let event = json!({"detail-type": "Scheduled Event", "detail": {"task": "other"}});
    let refused = stage.call(Which::Retirement, event).await.expect_err("refused");
    assert!(refused.error_message.contains("\"reconcile\" is the only task"), "{}", refused.error_message);
}
