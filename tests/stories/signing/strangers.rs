//! Strangers of the same account who make a thing before the service does, under the name or tag that it will have.

use aws_sdk_kms::types::{KeySpec, KeyUsageType, Tag};
use chrono::TimeDelta;
use local_aws::Settings;
use rotator::jose::{Algorithm, PrivateJwk};
use rotator::kind::Case;
use rotator::kind::{CREDENTIAL_TAG, VERSION_TAG};
use serde_json::{Value, json};
use state::credential::Version;
use state::hold::HoldReason;
use state::name::{CredentialName, Token};

use super::key_of;
use crate::harness::signing::Traffic;
use crate::harness::{ACME, Stage, Terms};

/// The secret in which that version's key will rest, with a key of a stranger's.
async fn take_its_place(stage: &Stage, id: &str) -> String {
    let theirs = PrivateJwk::generate(Algorithm::EdDsa, 0).expect("a key");
    let token = Token::derived(&format!("standby {id}"));
    let made = stage.secrets_manager().create_secret().name(format!("rotator-standby/{ACME}/{id}"));
    let made = made.client_request_token(token.as_str()).secret_string(theirs.to_json().expose());
    made.send().await.expect("made");
    theirs.public().kid().to_owned()
}

async fn standby(stage: &Stage) -> Version {
    stage.load(ACME).await.versions[&2].clone()
}

async fn first_of(terms: &Terms) -> Stage {
    let stage = Stage::with(Settings::default()).await;
    let arn = stage.secret(ACME, "{}", terms).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage
}

#[tokio::test(start_paused = true)]
async fn nobody_can_derive_the_name_of_a_standbys_secret() {
    let stage = first_of(&Terms::jwt()).await;
    let arn = stage.arn_of(ACME).await;
    let derived = CredentialName::parse(ACME).expect("a name").version_id(&arn, 2);
    let theirs = take_its_place(&stage, &derived.to_string()).await;
    stage.tick().await;
    let kids = stage.key_set(ACME).await.kids();
    assert!(kids.len() == 2 && !kids.contains(&theirs), "nobody is in the way of the standby: {kids:?}");
    assert_ne!(standby(&stage).await.id, derived);
}

#[tokio::test(start_paused = true)]
async fn a_standbys_secret_that_a_reader_of_the_records_made_first_is_not_published() {
    let stage = first_of(&Terms::jwt()).await;
    stage.faults.deny("secretsmanager:CreateSecret");
    stage.tick().await;
    stage.faults.allow("secretsmanager:CreateSecret");
    let id = standby(&stage).await.id.to_string();
    let theirs = take_its_place(&stage, &id).await;
    for _ in 0..4 {
        stage.pass(TimeDelta::minutes(20)).await;
    }
    assert!(!stage.key_set(ACME).await.kids().contains(&theirs));
    let held = standby(&stage).await.held.expect("held").hold;
    assert_eq!(held.reason, HoldReason::KeyNotOurs, "{held:?}");
    assert!(held.detail.contains(&id), "{held:?}");
    // Whoever finds out whose it is takes it away.
    let gone = stage.secrets_manager().delete_secret().secret_id(format!("rotator-standby/{ACME}/{id}"));
    gone.force_delete_without_recovery(true).send().await.expect("deleted");
    for _ in 0..4 {
        stage.pass(TimeDelta::minutes(20)).await;
    }
    let kids = stage.key_set(ACME).await.kids();
    assert!(kids.len() == 2 && !kids.contains(&theirs), "{kids:?}");
    stage.assert_sound(ACME, "made at last").await;
    stage.pass(TimeDelta::hours(25)).await;
    stage.rotate(&stage.arn_of(ACME).await).await;
    stage.assert_rotated();
    Traffic::usual().goes_on(&stage, TimeDelta::hours(1), "after").await;
}

#[tokio::test(start_paused = true)]
async fn a_standbys_secret_with_another_value_is_not_deleted() {
    let stage = first_of(&Terms::jwt()).await;
    stage.faults.deny("secretsmanager:CreateSecret");
    stage.tick().await;
    let version = standby(&stage).await;
    take_its_place(&stage, &version.id.to_string()).await;
    let (engine, credential) = (stage.engine_unhurt(), stage.load(ACME).await);
    let policy = &version.policy;
    let case =
        Case { credential: &credential, version: Some(&version), incumbent: None, policy, now: stage.clock.now() };
    let kind = engine.kind("jwt-signing-key").expect("a kind");
    kind.suspend(&case, None).await.expect("there is nothing of ours");
    kind.destroy(&case).await.expect("there is nothing of ours");
    let name = format!("rotator-standby/{ACME}/{}", version.id);
    assert!(stage.secrets_manager().describe_secret().secret_id(name).send().await.is_ok(), "it is not ours to delete");
}

#[tokio::test(start_paused = true)]
async fn a_role_of_an_account_that_nobody_named_does_not_sign() {
    let stage = Stage::new().await;
    let stranger = "arn:aws:iam::999999999999:role/issuer";
    let arn = stage.secret(ACME, "{}", &Terms::kms().with("signers", stranger)).await;
    stage.rotate(&arn).await;
    let failure = stage.failure();
    assert_eq!(failure.error_type, "Held.Rejected", "{}", failure.error_message);
    for said in [stranger, "ROTATOR_SIGNER_ACCOUNTS"] {
        assert!(failure.error_message.contains(said), "{}", failure.error_message);
    }
    assert!(super::signing_keys(&stage).is_empty(), "no key is made");
    stage.retag(&arn, "signers", "arn:aws:iam::123456789012:role/issuer").await;
    stage.again(&arn).await;
    stage.assert_rotated();
}

/// The value of one credential in another's secret: each would retire the other's key.
#[tokio::test(start_paused = true)]
async fn a_signing_key_of_one_credential_is_not_taken_by_another() {
    let stage = first_of(&Terms::kms()).await;
    let (value, key) = (stage.document(ACME).await.to_string(), key_of(&stage, 1).await);
    let twin = stage.secret("partner/twin", &value, &Terms::kms()).await;
    // By its fingerprint, and where the key for that can't be used, by its tag.
    for said in [format!("under management already, as {ACME}"), format!("{CREDENTIAL_TAG} = {ACME}")] {
        let before = stage.kms_key(&key);
        stage.again(&twin).await;
        let failure = stage.failure();
        assert_eq!(failure.error_type, "Held.KeyShared", "{}", failure.error_message);
        let held = stage.load("partner/twin").await.head.held.expect("held").hold;
        assert!(held.reason == HoldReason::KeyShared && held.detail.contains(ACME), "{held:?}");
        assert!(held.detail.contains(&said), "{held:?}");
        let doctor = stage.command(&["doctor", "partner/twin"]).await.stdout;
        assert!(doctor.contains("KeyShared"), "{doctor}");
        let other = stage.secret("partner/other", &value, &Terms { schedule: None, ..Terms::kms() }).await;
        let adopted = stage.command(&["adopt", "--kind", "kms-signing-key", "partner/other"]).await.stdout;
        assert!(adopted.contains("KeyShared") && adopted.contains("to adopt 0"), "{adopted}");
        let client = stage.secrets_manager();
        client.delete_secret().secret_id(&other).force_delete_without_recovery(true).send().await.expect("deleted");
        assert_eq!(format!("{:?}", stage.kms_key(&key)), format!("{before:?}"), "it is left alone");
        let fingerprints = stage.settings.fingerprint_key.clone().expect("the stage has one");
        stage.kms().disable_key().key_id(&fingerprints).send().await.expect("disabled");
    }
    stage.put(&twin, r#"{"provider": "kms"}"#).await;
    stage.again(&twin).await;
    stage.assert_rotated();
    let own = &stage.load("partner/twin").await.versions[&1].provider["id"];
    assert_ne!(own, &key, "it has a key of its own");
}

/// A key of a stranger's with the tags that a version's key will have. Its ARN.
pub async fn same_tags(stage: &Stage, id: &str, policy: Option<String>) -> String {
    let tag = |key: &str, value: &str| Tag::builder().tag_key(key).tag_value(value).build().expect("a tag");
    let made = stage.kms().create_key().key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify);
    let made = made.tags(tag(CREDENTIAL_TAG, ACME)).tags(tag(VERSION_TAG, id)).set_policy(policy);
    made.send().await.expect("made").key_metadata.and_then(|key| key.arn).expect("an ARN")
}

#[tokio::test(start_paused = true)]
async fn a_kms_key_with_our_tag_and_another_policy_is_not_taken_for_the_one_that_was_made() {
    let stage = first_of(&Terms::kms()).await;
    stage.faults.deny("TrentService:CreateKey");
    stage.tick().await;
    stage.faults.allow("TrentService:CreateKey");
    let id = standby(&stage).await.id.to_string();
    let policy = stage.kms_key(&key_of(&stage, 1).await).policy.expect("a policy");
    let mut widened: Value = serde_json::from_str(&policy).expect("JSON");
    widened["Statement"].as_array_mut().expect("statements").push(json!({"Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:user/mallory"}, "Action": "kms:Sign", "Resource": "*"}));
    let theirs = same_tags(&stage, &id, Some(widened.to_string())).await;
    for _ in 0..4 {
        stage.pass(TimeDelta::minutes(20)).await;
    }
    let version = standby(&stage).await;
    assert_eq!(version.provider.get("id"), None, "it is not ours");
    let held = version.held.expect("held").hold;
    assert!(held.reason == HoldReason::KeyNotOurs && held.detail.contains(&theirs), "{held:?}");
    // Somebody schedules its deletion, once it is known whose it is.
    stage.kms().untag_resource().key_id(&theirs).tag_keys(VERSION_TAG).send().await.expect("untagged");
    for _ in 0..4 {
        stage.pass(TimeDelta::minutes(20)).await;
    }
    assert_ne!(key_of(&stage, 2).await, theirs);
    stage.assert_sound(ACME, "made at last").await;
}

/// Most accounts have some whose policies let nobody else look at them.
#[tokio::test(start_paused = true)]
async fn a_kms_key_that_only_its_owner_sees_is_in_nobodys_way() {
    let stage = first_of(&Terms::kms()).await;
    stage.faults.deny("TrentService:CreateKey");
    stage.tick().await;
    stage.faults.allow("TrentService:CreateKey");
    let id = standby(&stage).await.id.to_string();
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:user/mallory"}, "Action": "kms:*", "Resource": "*"}]});
    let theirs = same_tags(&stage, &id, Some(policy.to_string())).await;
    for _ in 0..4 {
        stage.pass(TimeDelta::minutes(20)).await;
    }
    assert_ne!(key_of(&stage, 2).await, theirs, "{}", stage.story(ACME).await);
    assert_eq!(stage.kms_key(&theirs).state, "Enabled");
}
