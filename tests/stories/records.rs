//! Somebody writes into the table.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_kms::types::{KeySpec, KeyUsageType, Tag};
use chrono::TimeDelta;
use rotator::doctor::{Area, Verdict};
use serde_json::{Value, json};
use state::credential::Replaces;
use state::drift::{Finding, Scope};
use state::hold::HoldReason;
use state::ledger::{Abandonment, Change};
use state::lifecycle::State;
use state::name::{CredentialName, Token};

use crate::harness::mishaps::{CREDENTIAL_TAG, GLOBEX};
use crate::harness::{ACME, Stage, Terms};

/// Changes one item of a credential's, or makes another of it.
async fn write(stage: &Stage, from: &str, to: &str, change: impl FnOnce(&mut Value)) {
    let table = &stage.settings.table;
    let key = |sk: &str| AttributeValue::S(sk.to_owned());
    let (client, pk) = (stage.dynamodb(), AttributeValue::S(format!("CRED#{ACME}")));
    let found = client.get_item().table_name(table).key("pk", pk).key("sk", key(from)).send().await;
    let mut item = found.expect("readable").item.expect("it is there");
    let mut doc: Value = serde_json::from_str(item["doc"].as_s().expect("text")).expect("JSON");
    change(&mut doc);
    item.insert("sk".into(), key(to));
    item.insert("doc".into(), AttributeValue::S(doc.to_string()));
    client.put_item().table_name(table).set_item(Some(item)).send().await.expect("written");
}

async fn found(stage: &Stage) -> Vec<(Option<u32>, String)> {
    let name = CredentialName::parse(ACME).expect("a name");
    let seen = rotator::mend::look(&stage.engine_unhurt(), &name, Scope::All, None, &stage.errand()).await;
    let findings = seen.expect("examined").findings.into_iter();
    findings
        .filter_map(|finding| {
            let Finding::RecordDiffers { generation, what } = finding else { return None };
            Some((generation, what))
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_record_that_no_history_states_publishes_no_key() {
    for terms in [Terms::kms(), Terms::jwt()] {
        let stage = Stage::new().await;
        stage.signing(&terms).await;
        let before = stage.key_set(ACME).await.kids();
        assert_eq!(found(&stage).await, []);
        write(&stage, "VER#000001", "VER#000009", |version| {
            version["generation"] = 9.into();
            let mut jwk: Value =
                serde_json::from_str(version["provider"]["jwk"].as_str().expect("a key")).expect("JSON");
            jwk["kid"] = "a-strangers".into();
            version["provider"]["jwk"] = jwk.to_string().into();
            version["provider"]["kid"] = "a-strangers".into();
        })
        .await;
        assert_eq!(stage.key_set(ACME).await.kids(), before, "a stranger's tokens verify nowhere");
        let said = found(&stage).await;
        assert!(matches!(said.as_slice(), [(Some(9), _)]), "a comparison tells of it: {said:?}");
        super::doctor::says(&stage, Area::Table, Verdict::Broken, "of generation 9", "who wrote into the table").await;
        // One that is stated, with another key in it.
        write(&stage, "VER#000001", "VER#000001", |version| version["provider"]["kid"] = "other".into()).await;
        assert_eq!(stage.key_set(ACME).await.kids(), before);
        assert_eq!(found(&stage).await[0], (Some(1), "provider".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_names_another_key_refuses_and_deletes_no_key() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let (victim, value) = stage.key("somebody-elses").await;
    write(&stage, "VER#000001", "VER#000001", |version| version["provider"]["id"] = victim.clone().into()).await;
    for _ in 0..4 {
        stage.pass(TimeDelta::hours(25)).await;
    }
    assert!(stage.api_key(&victim).enabled && stage.gets_through(&value).await);
    let held = stage.load(ACME).await.versions[&1].held.clone().expect("held");
    assert_eq!(held.hold.reason, HoldReason::RecordDiffers);
    assert!(held.hold.detail.contains("provider"), "{}", held.hold.detail);
    assert_eq!(found(&stage).await, [(Some(1), "provider".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_made_due_is_not_deleted_before_its_time() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    write(&stage, "VER#000001", "VER#000001", |version| {
        version["state"] = json!("suspended");
        version["suspended"] = version["deactivated"].clone();
        version["refused"] = json!({"at": version["deactivated"], "after": null});
        version["destroyAt"] = version["deactivated"].clone();
    })
    .await;
    stage.pass(TimeDelta::minutes(1)).await;
    let key = stage.load(ACME).await.versions[&1].provider["id"].clone();
    assert!(stage.api_key(&key).enabled, "it has its overlap");
    assert!(!found(&stage).await.is_empty());
    let version = &stage.load(ACME).await.versions[&1];
    assert_ne!(version.state, State::Destroyed);
}

/// Somebody commits what they like: a chain that fits, with a rollback that never was.
async fn forge(stage: &Stage, generation: u32, id: &str) {
    let replaces = Replaces { generation: stage.load(ACME).await.head.current, carrier: None };
    let provider = BTreeMap::from([("id".to_owned(), id.to_owned())]);
    for change in [
        Change::RollingBack { generation, replaces },
        Change::Restored { generation, provider },
        Change::Forsaken { generation, why: Abandonment::Expired },
    ] {
        stage.commit(ACME, change).await;
    }
}

/// Longer than overlap and soak, with retirement each day.
async fn days(stage: &Stage) {
    for _ in 0..4 {
        stage.pass(TimeDelta::hours(25)).await;
    }
}

/// Its first version is held, because the key is not the recorded one.
async fn assert_differs(stage: &Stage, what: &str) {
    let held = stage.load(ACME).await.versions[&1].held.clone().expect("held").hold;
    assert_eq!(held.reason, HoldReason::RecordDiffers);
    assert!(held.detail.contains(what), "{what:?} is not in {}", held.detail);
}

/// A signing key in KMS that was rotated once.
async fn rotated_signer() -> Stage {
    let stage = Stage::new().await;
    let arn = stage.signing(&Terms::kms()).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage
}

#[tokio::test(start_paused = true)]
async fn a_forged_history_refuses_and_deletes_no_other_key() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let (victim, value) = stage.key("somebody-elses").await;
    forge(&stage, 1, &victim).await;
    assert_eq!(found(&stage).await, [], "the record is what the history states");
    days(&stage).await;
    assert!(stage.gets_through(&value).await, "nobody refuses a key that is not the recorded one");
    assert!(stage.api_key(&victim).enabled);
    assert_differs(&stage, "fingerprint differs").await;
    assert_differs(&stage, &victim).await;
}

/// Somebody else's key of KMS, whose history says that it is ours, and how it is afterwards.
async fn forged_signer(disabled: bool) -> (Stage, String, String) {
    let stage = rotated_signer().await;
    let made = stage.kms().create_key().key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify);
    let victim = made.send().await.expect("made").key_metadata.and_then(|key| key.arn).expect("an ARN");
    if disabled {
        stage.kms().disable_key().key_id(&victim).send().await.expect("disabled");
    }
    forge(&stage, 1, &victim).await;
    days(&stage).await;
    let state = stage.kms_key(&victim).state;
    (stage, victim, state)
}

#[tokio::test(start_paused = true)]
async fn a_forged_history_disables_no_other_key_of_kms() {
    let (stage, victim, state) = forged_signer(false).await;
    assert_eq!(state, "Enabled");
    assert_differs(&stage, "public key differs").await;
    assert_differs(&stage, &victim).await;
}

/// KMS shows no public key of a key that is disabled already: then its tag must name the credential.
#[tokio::test(start_paused = true)]
async fn a_forged_history_deletes_no_disabled_key_of_kms() {
    let (stage, _, state) = forged_signer(true).await;
    assert_eq!(state, "Disabled");
    assert_differs(&stage, "tag rotator:credential differs").await;
}

#[tokio::test(start_paused = true)]
async fn a_disabled_key_of_kms_that_lost_its_tag_is_deleted_once_it_has_it_again() {
    let stage = rotated_signer().await;
    let key = stage.load(ACME).await.versions[&1].provider["id"].clone();
    stage.kms().untag_resource().key_id(&key).tag_keys(CREDENTIAL_TAG).send().await.expect("untagged");
    days(&stage).await;
    assert_eq!(stage.kms_key(&key).state, "Disabled");
    assert_differs(&stage, "tag rotator:credential differs").await;
    let tag = Tag::builder().tag_key(CREDENTIAL_TAG).tag_value(ACME).build().expect("a tag");
    stage.kms().tag_resource().key_id(&key).tags(tag).send().await.expect("tagged");
    days(&stage).await;
    assert_eq!(stage.kms_key(&key).state, "PendingDeletion", "{}", stage.story(ACME).await);
}

/// Its fingerprint can be copied from the other's record.
#[tokio::test(start_paused = true)]
async fn a_forged_history_refuses_no_key_of_another_credential() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let (other, victim, value) = stage.credential(GLOBEX, &Terms::default()).await;
    stage.rotate(&other).await;
    let theirs = stage.load(GLOBEX).await.versions[&1].clone();
    let replaces = Replaces { generation: stage.load(ACME).await.head.current, carrier: None };
    let token = Token::parse("99999999-0000-4000-8000-000000000000").expect("a token");
    for change in [
        Change::Drafting { generation: 3, token, policy: theirs.policy.clone(), replaces, drawn: None, trigger: None },
        Change::Drafted { generation: 3, provider: theirs.provider, fingerprint: theirs.fingerprint, also: None },
        Change::Abandoned { generation: 3, why: Abandonment::LostPending },
    ] {
        stage.commit(ACME, change).await;
    }
    stage.pass(TimeDelta::hours(1)).await;
    assert!(stage.api_key(&victim).enabled && stage.gets_through(&value).await);
    let held = stage.load(ACME).await.versions[&3].held.clone().expect("held").hold;
    assert_eq!(held.reason, HoldReason::KeyShared, "{}", held.detail);
    assert!(held.detail.contains(GLOBEX), "{}", held.detail);
}
