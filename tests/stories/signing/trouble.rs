//! What stands in the way of a signing key: each has a name, and each says how to go on.

use std::collections::BTreeMap;
use std::str::FromStr;

use aws_sdk_kms::types::{GrantOperation, Tag};
use chrono::TimeDelta;
use jsonwebtoken::DecodingKey;
use local_aws::Settings;
use rotator::adoption::{Verdict, secrets as taking};
use rotator::aws::signing_keys::{Creation, NewSigningKey, SigningKeys};
use rotator::jose::{Algorithm, PrivateJwk, PublicJwk, compact, raw_signature};
use rotator::rotate::Compromised;
use serde_json::{Value, json};
use state::hold::HoldReason;
use state::lifecycle::State;
use state::name::CredentialName;
use state::policy::Timetable;

use super::{key_of, kid, signing_keys, states};
use crate::harness::signing::{LEAD, Traffic};
use crate::harness::{ACME, Stage, Terms};
use crate::stories::emergency::{declare, ticking};

const ROLE: &str = "arn:aws:iam::123456789012:role/issuer";
const OTHER: &str = "arn:aws:iam::123456789012:role/other";

impl Stage {
    fn assert_held(&self, reason: HoldReason, about: &str) {
        let failure = self.failure();
        assert_eq!(failure.error_type, format!("Held.{reason}"), "{}", failure.error_message);
        for said in [about, reason.remedy(), &format!("see {reason} in the runbook")] {
            assert!(failure.error_message.contains(said), "{said:?} is not in {:?}", failure.error_message);
        }
    }

    pub fn kms_key(&self, arn: &str) -> local_aws::KmsKeyView {
        self.aws.inspect_kms_keys().into_iter().find(|key| key.arn == arn).expect("it is there")
    }

    /// The statement of a key's policy with that Sid.
    fn statement(&self, key: &str, sid: &str) -> Option<Value> {
        let policy: Value = serde_json::from_str(self.kms_key(key).policy.as_deref()?).expect("JSON");
        policy["Statement"].as_array()?.iter().find(|statement| statement["Sid"] == sid).cloned()
    }
}

#[tokio::test(start_paused = true)]
async fn policy_grants_and_tags_follow_the_incumbent_and_signers_the_wishes() {
    let stage = Stage::new().await;
    let arn = stage.secret(ACME, "{}", &Terms::kms().with("signers", ROLE)).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let first = key_of(&stage, 1).await;
    let signers = stage.statement(&first, "RotatorSigners").expect("stated");
    assert_eq!((&signers["Principal"]["AWS"], &signers["Effect"]), (&json!([ROLE]), &json!("Allow")));
    assert!(stage.statement(&first, "Enable IAM User Permissions").is_some(), "nobody is locked out");

    // What the owner adds to the key, before its successor is made and afterwards.
    let kms = stage.kms();
    let tag = |key: &str, value: &str| Tag::builder().tag_key(key).tag_value(value).build().expect("a tag");
    let tags = kms.tag_resource().key_id(&first).tags(tag("team", "payments")).tags(tag("rotator:note", "ours"));
    tags.send().await.expect("tagged");
    stage.tick().await;
    stage.pass(LEAD).await;
    let mut policy: Value = serde_json::from_str(&stage.kms_key(&first).policy.expect("a policy")).expect("JSON");
    let audit = json!({"Sid": "Audit", "Effect": "Allow", "Principal": {"AWS": OTHER}, "Action": "kms:DescribeKey", "Resource": "*"});
    policy["Statement"].as_array_mut().expect("statements").push(audit.clone());
    kms.put_key_policy().key_id(&first).policy(policy.to_string()).send().await.expect("put");
    let grant = kms.create_grant().key_id(&first).grantee_principal(OTHER).operations(GrantOperation::Verify);
    grant.send().await.expect("granted");
    stage.retag(&arn, "signers", &format!("{ROLE} {OTHER}")).await;

    stage.rotate(&arn).await;
    stage.assert_rotated();
    let second = key_of(&stage, 2).await;
    assert_eq!(stage.statement(&second, "Audit"), Some(audit));
    assert_eq!(stage.statement(&second, "RotatorSigners").expect("stated")["Principal"]["AWS"], json!([ROLE, OTHER]));
    let key = stage.kms_key(&second);
    assert_eq!((key.grants.len(), key.grants[0].grantee.as_str()), (1, OTHER));
    let version = stage.load(ACME).await.versions[&2].clone();
    let tags: Vec<_> = key.tags.iter().map(|(tag, value)| (tag.as_str(), value.as_str())).collect();
    let made_for = version.id.to_string();
    assert_eq!(tags, [("rotator:credential", ACME), ("rotator:version", &made_for), ("team", "payments")]);
    assert_eq!(version.evidence["grants"], "1");
}

#[tokio::test(start_paused = true)]
async fn a_declared_signer_that_may_not_sign_holds_the_test_until_it_may() {
    let stage = Stage::new().await;
    let arn = stage.signing(&Terms::kms().with("signers", ROLE)).await;
    let (first, before) = (key_of(&stage, 1).await, stage.document(ACME).await);
    let good = stage.kms_key(&first).policy.expect("a policy");
    let mut policy: Value = serde_json::from_str(&good).expect("JSON");
    let deny = json!({"Sid": "Freeze", "Effect": "Deny", "Principal": "*", "Action": "kms:Sign", "Resource": "*"});
    policy["Statement"].as_array_mut().expect("statements").push(deny);
    stage.kms().put_key_policy().key_id(&first).policy(policy.to_string()).send().await.expect("put");

    stage.rotate(&arn).await;
    stage.assert_held(HoldReason::SignerDenied, ROLE);
    assert_eq!(stage.last().step, "testSecret");
    assert_eq!(stage.document(ACME).await, before, "promotion would have been an outage");
    stage.assert_sound(ACME, "held").await;
    // The hold names the key whose policy is to be mended.
    let candidate = key_of(&stage, 2).await;
    assert!(stage.failure().error_message.contains(&candidate));
    stage.kms().put_key_policy().key_id(&candidate).policy(good).send().await.expect("put");
    stage.again(&arn).await;
    stage.assert_rotated();
    Traffic::usual().goes_on(&stage, TimeDelta::hours(1), "after").await;
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_somebody_disabled_or_is_about_to_delete_is_named_and_used_once_it_is_back() {
    let stage = Stage::new().await;
    let arn = stage.signing(&Terms::kms()).await;
    let (kms, standby, before) = (stage.kms(), key_of(&stage, 2).await, stage.document(ACME).await);
    kms.disable_key().key_id(&standby).send().await.expect("disabled");
    stage.rotate(&arn).await;
    stage.assert_held(HoldReason::KeyDisabled, &standby);
    assert_eq!(stage.document(ACME).await, before);
    kms.schedule_key_deletion().key_id(&standby).pending_window_in_days(7).send().await.expect("scheduled");
    stage.again(&arn).await;
    stage.assert_held(HoldReason::KeyPendingDeletion, &standby);
    assert_eq!(stage.document(ACME).await, before);

    kms.cancel_key_deletion().key_id(&standby).send().await.expect("cancelled");
    kms.enable_key().key_id(&standby).send().await.expect("enabled");
    stage.again(&arn).await;
    stage.assert_rotated();
    assert_eq!(key_of(&stage, stage.load(ACME).await.head.current.expect("current")).await, standby);
    stage.assert_sound(ACME, "after").await;
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_somebody_deleted_is_given_up_by_an_emergency_that_names_it() {
    let stage = Stage::new().await;
    let arn = stage.signing(&Terms::kms()).await;
    let (kms, standby, before) = (stage.kms(), key_of(&stage, 2).await, stage.document(ACME).await);
    kms.schedule_key_deletion().key_id(&standby).pending_window_in_days(7).send().await.expect("scheduled");
    stage.pass(TimeDelta::days(8)).await;
    assert_eq!(stage.kms_state(&standby), None);
    stage.rotate(&arn).await;
    stage.assert_held(HoldReason::KeyVanished, &standby);
    assert_eq!(stage.document(ACME).await, before);
    Traffic::usual().round(&stage).await;

    stage.aws.on_label_event("retirement");
    ticking(&stage);
    let (rotated, _) = declare(&stage, Compromised::Generations(vec![2])).await;
    assert_eq!((rotated.generation, rotated.compromised), (3, vec![2]));
    stage.pass(TimeDelta::hours(3)).await;
    let mut traffic = Traffic::usual();
    for _ in 0..6 {
        assert_eq!(traffic.round(&stage).await, []);
        stage.pass(TimeDelta::hours(1)).await;
    }
    stage.pass(LEAD).await;
    assert_eq!(states(&stage).await[..3], [State::Destroyed, State::Destroyed, State::Active]);
    stage.assert_sound(ACME, "at the end").await;
}

#[tokio::test(start_paused = true)]
async fn a_signer_that_somebody_disabled_or_deleted_is_replaced_by_the_next_rotation() {
    for deleted in [false, true] {
        let stage = Stage::new().await;
        let arn = stage.signing(&Terms::kms()).await;
        let (kms, signer) = (stage.kms(), key_of(&stage, 1).await);
        if deleted {
            kms.schedule_key_deletion().key_id(&signer).pending_window_in_days(7).send().await.expect("scheduled");
            stage.wait(TimeDelta::days(8)).await;
        } else {
            kms.disable_key().key_id(&signer).send().await.expect("disabled");
        }
        stage.rotate(&arn).await;
        stage.assert_rotated();
        stage.tick().await;
        Traffic::usual().round(&stage).await;
        for _ in 0..3 {
            stage.pass(LEAD).await;
        }
        assert_eq!(states(&stage).await, [State::Destroyed, State::Active, State::PreActivation], "deleted: {deleted}");
        stage.assert_sound(ACME, "at the end").await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_eleventh_key_is_not_published() {
    let stage = Stage::new().await;
    // A schedule would be refused: it is a person who rotates as often as this.
    let terms = Terms::kms().with("overlap", "P30D").with("publish-lead", "PT2H").with("max-live", "16");
    let arn = stage.secret(ACME, "{}", &Terms { schedule: None, ..terms }).await;
    let configure = stage.secrets_manager().rotate_secret().secret_id(&arn).rotate_immediately(false);
    let function = stage.settings.function_arn.clone().expect("registered");
    configure.rotation_lambda_arn(function).send().await.expect("configured");
    stage.aws.settle().await;
    for _ in 0..9 {
        stage.rotate(&arn).await;
        stage.assert_rotated();
        stage.pass(TimeDelta::hours(3)).await;
        stage.pass(TimeDelta::hours(3)).await;
    }
    assert_eq!(stage.key_set(ACME).await.kids().len(), 10);
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.tick().await;
    let credential = stage.load(ACME).await;
    let held = credential.current().expect("current").held.clone().expect("it says why there is no standby");
    assert_eq!(held.hold.reason, HoldReason::JwksFull);
    assert!(held.hold.detail.contains("10 keys"), "{}", held.hold.detail);
    assert_eq!(stage.key_set(ACME).await.kids().len(), 10);
    Traffic::usual().round(&stage).await;
    stage.rotate(&arn).await;
    assert_eq!(stage.failure().error_type, "Held.StandbyTooYoung");

    // The oldest is withdrawn, and there is room.
    stage.pass(TimeDelta::days(30)).await;
    stage.tick().await;
    assert_eq!(stage.load(ACME).await.standbys().len(), 1);
    stage.pass(TimeDelta::hours(3)).await;
    stage.again(&arn).await;
    stage.assert_rotated();
    stage.assert_sound(ACME, "at the end").await;
}

#[tokio::test(start_paused = true)]
async fn a_region_without_the_key_spec() {
    let kms_specs_missing = vec!["ECC_NIST_EDWARDS25519".to_owned()];
    let stage = Stage::with(Settings { kms_specs_missing, ..Settings::default() }).await;
    let arn = stage.secret(ACME, "{}", &Terms::kms().with("algorithm", "EdDSA")).await;
    stage.rotate(&arn).await;
    stage.assert_held(HoldReason::AlgorithmUnsupported, "EdDSA");
    assert_eq!(signing_keys(&stage).len(), 0);
    assert_eq!(stage.key_set(ACME).await.status, 404);

    stage.retag(&arn, "algorithm", "ES256").await;
    for _ in 0..3 {
        stage.again(&arn).await;
        stage.pass(TimeDelta::minutes(5)).await;
    }
    assert_eq!(stage.load(ACME).await.head.current, Some(1), "{}", stage.story(ACME).await);
    stage.assert_sound(ACME, "made").await;
    assert_eq!(Traffic::usual().round(&stage).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_key_is_never_taken_under_management() {
    let stage = Stage::new().await;
    let made = stage.kms().create_key().key_spec("ECC_NIST_P256".into()).key_usage("SIGN_VERIFY".into()).send().await;
    let foreign = made.expect("a key").key_metadata.and_then(|key| key.arn).expect("an ARN");
    let before = stage.kms_key(&foreign);
    let lent = json!({"signer": {"keyArn": foreign, "kid": "x", "algorithm": "ES256"}}).to_string();
    let arn = stage.secret(ACME, &lent, &Terms::kms()).await;
    stage.rotate(&arn).await;
    stage.assert_held(HoldReason::ForeignValue, &foreign);
    assert_eq!((stage.kms_key(&foreign), signing_keys(&stage).len()), (before.clone(), 1));

    // Emptied, the first rotation makes a key; lent again, it is refused again.
    stage.put(&arn, "{}").await;
    stage.again(&arn).await;
    stage.assert_rotated();
    stage.tick().await;
    stage.pass(LEAD).await;
    let good = stage.current(&arn).await;
    stage.put(&arn, &lent).await;
    // The label that the first rotation left behind makes Secrets Manager try that one again first.
    stage.again(&arn).await;
    stage.again(&arn).await;
    stage.assert_held(HoldReason::ForeignValue, "holds another key than generation 1");
    assert_eq!(stage.kms_key(&foreign), before, "not even a signature was asked of it");
    stage.move_label(&arn, "AWSCURRENT", Some(&good)).await;
    stage.again(&arn).await;
    stage.assert_rotated();
    for _ in 0..3 {
        stage.pass(LEAD).await;
    }
    assert_eq!(stage.kms_key(&foreign), before);
    stage.assert_sound(ACME, "at the end").await;
}

#[tokio::test(start_paused = true)]
async fn wishes_that_contradict_one_another_are_refused_and_nothing_is_changed() {
    for (terms, wishes, said) in [
        (Terms::kms(), &[("algorithm", "HS256")][..], &["rotator:algorithm", "ES256, ES384, EdDSA, RS256, PS256"][..]),
        (Terms::jwt(), &[("algorithm", "none")], &["rotator:algorithm = \"none\"", "ES256, ES384"]),
        (Terms::kms(), &[("rsa-bits", "2048")], &["rotator:rsa-bits", "remove it, or set rotator:algorithm to RS256"]),
        (Terms::jwt(), &[("algorithm", "RS256"), ("rsa-bits", "1024")], &["rotator:rsa-bits", "2048, 3072 or 4096"]),
        (
            Terms::kms(),
            &[("signers", "arn:aws:iam::123456789012:user/ada")],
            &["rotator:signers", "user/ada", "role/NAME"],
        ),
        (Terms::jwt(), &[("signers", ROLE)], &["rotator:signers is not a known tag"]),
        (Terms::webhook(), &[("bytes", "16")], &["rotator:bytes", "24", "64"]),
        (Terms::webhook(), &[("bytes", "65")], &["rotator:bytes", "24", "64"]),
        (Terms::webhook(), &[("algorithm", "HS512"), ("bytes", "32")], &["rotator:bytes", "64"]),
        (Terms::webhook(), &[("algorithm", "ES256")], &["rotator:algorithm", "HS256"]),
        (Terms::webhook(), &[("standbys", "1")], &["rotator:standbys is not a known tag"]),
        (Terms::kms(), &[("standbys", "3")], &["rotator:standbys", "from 1 to 2"]),
        (Terms::kms(), &[("publish-lead", "PT1H")], &["rotator:publish-lead = PT1H", "rotator:verifier-cache = PT2H"]),
        (
            Terms::kms(),
            &[("overlap", "PT4H"), ("token-life", "PT3H")],
            &["rotator:overlap", "longest", "rotator:token-life"],
        ),
        (Terms::kms(), &[("publish-lead", "P40D")], &["rotator:publish-lead = P40D", "rotate less often"]),
    ] {
        let stage = Stage::new().await;
        let terms = wishes.iter().fold(terms, |terms, (tag, value)| terms.with(tag, value));
        let arn = stage.secret(ACME, "{}", &terms).await;
        let before = stage.world().await;
        stage.again(&arn).await;
        let failure = stage.failure();
        assert_eq!(failure.error_type, "Held.Rejected", "{wishes:?}: {}", failure.error_message);
        for said in said {
            assert!(failure.error_message.contains(said), "{said:?} is not in {:?}", failure.error_message);
        }
        assert_eq!(stage.world().await.kms_keys, before.kms_keys, "{wishes:?}");
        assert_eq!(stage.key_set(ACME).await.status, 404);
    }
}

/// Names that Secrets Manager takes, and that are no path of a URL for everybody who fetches one.
#[tokio::test(start_paused = true)]
async fn a_name_that_clients_make_another_url_of_gets_no_key() {
    let stage = Stage::new().await;
    let good = stage.secret("orders/issuer", "{}", &Terms::jwt()).await;
    stage.rotate(&good).await;
    stage.assert_rotated();
    let own = rotator::jose::PrivateJwk::generate(Algorithm::Es256, 2_048).expect("a key").to_value();
    for (name, terms, value) in [
        ("team/../orders/issuer", Terms::jwt(), "{}".to_owned()),
        ("team/./issuer", Terms::kms(), "{}".into()),
        ("orders/", Terms::kms(), "{}".into()),
        ("/orders", Terms::jwt(), "{}".into()),
        ("orders//issuer", Terms::jwt(), json!({ "signer": own }).to_string()),
        ("orders./issuer", Terms::jwt(), "{}".into()),
        ("a/.well-known/openid-configuration", Terms::jwt(), json!({ "signer": own }).to_string()),
    ] {
        let keys = stage.world().await.kms_keys;
        let arn = stage.secret(name, &value, &terms).await;
        assert_eq!(stage.last().error.expect("tested").error_type, "Refused", "{name}: before its first rotation");
        stage.rotate(&arn).await;
        let failure = stage.failure();
        assert_eq!(failure.error_type, "Held.Rejected", "{name}: {}", failure.error_message);
        let said = format!("the secret's name {name} can't be part of the URL of a key set");
        assert!(failure.error_message.contains(&said), "{}", failure.error_message);
        assert!(failure.error_message.contains("make the key in a secret with another name"));
        assert_eq!(stage.load(name).await.versions.len(), 0, "{name}");
        assert_eq!(stage.world().await.kms_keys, keys, "{name}");

        let kind = terms.tags["rotator:kind"].clone();
        let function_arn = stage.settings.function_arn.clone().expect("registered");
        let schedule = Timetable::Together("rate(30 days)".into());
        let terms = taking::Terms { kind, tags: BTreeMap::new(), schedule, encrypted_by: None, function_arn };
        let name = CredentialName::parse(name).expect("a name of a secret");
        let planned = taking::plan(&stage.engine_unhurt(), std::slice::from_ref(&name), &terms, &stage.errand()).await;
        let [item] = planned.expect("planned").try_into().expect("one");
        let Verdict::Refused { why, remedy } = &item.verdict else { panic!("{name}: {:?}", item.verdict) };
        assert!(why.contains(&said) && remedy.contains("another secret"), "{why}: {remedy}");
    }
    // A webhook secret is fetched by nobody.
    let arn = stage.secret("hooks/../acme", "{}", &Terms::webhook()).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
}

/// The proof asks for what a verifier would get, not for what its name says.
#[tokio::test(start_paused = true)]
async fn a_key_set_is_fetched_from_where_a_url_parser_finds_it() {
    let stage = Stage::new().await;
    let arn = stage.secret("orders/issuer", "{}", &Terms::jwt()).await;
    stage.rotate(&arn).await;
    let kid = stage.document("orders/issuer").await["signer"]["kid"].as_str().expect("a kid").to_owned();
    let name = CredentialName::parse("team/../orders/issuer").expect("a name of a secret");
    let fetched = stage.engine_unhurt().key_sets.fetch(&name).await.expect("another's key set");
    assert!(fetched.find(&kid).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_credential_keeps_its_kind() {
    for (from, to) in [
        (Terms::kms(), "jwt-signing-key"),
        (Terms::jwt(), "kms-signing-key"),
        (Terms::jwt(), "webhook-secret"),
        (Terms::webhook(), "kms-signing-key"),
    ] {
        let stage = Stage::new().await;
        let arn = stage.secret(ACME, "{}", &from.clone().without("overlap").without("algorithm")).await;
        stage.rotate(&arn).await;
        stage.tick().await;
        stage.pass(LEAD).await;
        let (before, keys) = (stage.document(ACME).await, stage.world().await.kms_keys);
        stage.retag(&arn, "kind", to).await;
        stage.rotate(&arn).await;
        let failure = stage.failure();
        assert_eq!(failure.error_type, "Held.Rejected", "{}", failure.error_message);
        let said = format!("rotator:kind = {to} but this credential is of kind {}", from.tags["rotator:kind"]);
        assert!(failure.error_message.contains(&said), "{}", failure.error_message);
        assert_eq!((stage.document(ACME).await, stage.world().await.kms_keys), (before, keys));
        stage.assert_sound(ACME, "refused").await;
        stage.retag(&arn, "kind", &from.tags["rotator:kind"]).await;
        stage.again(&arn).await;
        stage.assert_rotated();
    }
}

#[tokio::test(start_paused = true)]
async fn an_owners_private_key_is_adopted_with_its_own_name_and_verifiers_learn_of_it() {
    let stage = Stage::new().await;
    let own = rotator::jose::PrivateJwk::generate(rotator::jose::Algorithm::Es256, 2_048).expect("a key");
    let mut jwk = own.to_value();
    jwk["kid"] = "signer-2024".into();
    let arn = stage.secret(ACME, &json!({"signer": jwk, "team": "orders"}).to_string(), &Terms::jwt()).await;
    // A key that nobody published is held no longer than any other: the first standby is made, and then its lead.
    stage.rotate(&arn).await;
    assert_eq!(stage.failure().error_type, "Held.StandbyTooYoung");
    assert_eq!(stage.key_set(ACME).await.kids(), ["signer-2024"]);
    let mut traffic = Traffic::usual();
    traffic.goes_on(&stage, TimeDelta::hours(25), "adopted").await;
    stage.again(&arn).await;
    stage.assert_rotated();
    assert_ne!(kid(&stage).await, "signer-2024");
    assert_eq!(stage.document(ACME).await["team"], "orders");
    traffic.goes_on(&stage, TimeDelta::hours(6), "rotated").await;
    assert_eq!(states(&stage).await[0], State::Suspended);
}

#[tokio::test(start_paused = true)]
async fn the_algorithm_of_an_adopted_key_is_its_successors_unless_the_owner_says_otherwise() {
    let stage = Stage::new().await;
    let own = PrivateJwk::generate(Algorithm::Rs256, 3_072).expect("a key");
    let terms = Terms::jwt().without("algorithm");
    let arn = stage.secret(ACME, &json!({"signer": own.to_value()}).to_string(), &terms).await;
    stage.rotate(&arn).await;
    stage.tick().await;
    stage.pass(LEAD).await;
    stage.again(&arn).await;
    stage.assert_rotated();
    stage.tick().await;
    let algorithms = async || {
        let set = stage.key_set(ACME).await.json();
        let keys = set["keys"].as_array().expect("keys").iter();
        keys.map(|key| (key["alg"].clone(), key["n"].as_str().map_or(0, str::len))).collect::<Vec<_>>()
    };
    let said = algorithms().await;
    assert!(said.len() > 1 && said.iter().all(|key| *key == ("RS256".into(), 512)), "{said:?}");
    stage.retag(&arn, "algorithm", "ES256").await;
    stage.pass(LEAD).await;
    stage.rotate(&arn).await;
    stage.tick().await;
    assert!(algorithms().await.iter().any(|(algorithm, _)| algorithm == "ES256"));
}

/// KMS signs messages of at most 4,096 bytes: of longer ones the digest, which Ed25519 does not have.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_too_long_for_ed25519_in_kms_is_refused_before_it_is_sent() {
    let stage = Stage::new().await;
    let config = rotator::aws::plain(stage.observer.config.clone());
    let keys = SigningKeys::new(&config, stage.ports(stage.aws.connector()));
    let message = vec![b'x'; 4_097];
    let all = json!({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"});
    let policy = json!({"Version": "2012-10-17", "Statement": [all]}).to_string();
    for algorithm in Algorithm::ALL {
        let tags = BTreeMap::new();
        let new = NewSigningKey { algorithm, rsa_bits: 2_048, policy: &policy, description: "", tags: &tags };
        let Creation::Made(arn) = keys.create(&new).await.expect("answered") else { panic!("no key for {algorithm}") };
        let signed = keys.sign(&arn, algorithm, &message).await;
        if algorithm == Algorithm::EdDsa {
            let refused = signed.expect_err("too long").to_string();
            assert!(refused.contains("4097 bytes") && refused.contains("shorten the token"), "{refused}");
            assert_eq!(stage.kms_key(&arn).uses, 0, "it was not sent");
            continue;
        }
        let signature = raw_signature(algorithm, &signed.expect("signed")).expect("a signature");
        let public =
            PublicJwk::from_spki(&keys.public_key(&arn).await.expect("told"), algorithm).expect("a public key");
        let jwk = serde_json::from_str(&public.to_json()).expect("a JWK");
        let key = DecodingKey::from_jwk(&jwk).expect("a key");
        let words = jsonwebtoken::Algorithm::from_str(algorithm.word()).expect("the same names");
        let verified = jsonwebtoken::crypto::verify(compact("", &signature).trim_matches('.'), &message, &key, words);
        assert!(verified.expect("verifiable"), "{algorithm}");
    }
}
