//! KMS, line by line: keys, signatures, MACs, states, policies, grants, aliases and tags.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kms::Client;
use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{
    KeyLastUsageTrackingOperation, KeySpec, KeyState, KeyUsageType, MacAlgorithmSpec, MessageType,
    SigningAlgorithmSpec, Tag,
};
use local_aws::{KmsKeyView, LocalAws, ManualClock};

use super::transport::opened;
use super::{Aws, Embedded, refused, sdk_config, world};

mod access;

const DAY: Duration = Duration::from_secs(86_400);

struct World {
    aws: Aws,
    clock: Embedded<Arc<ManualClock>>,
}

fn kms() -> (World, Client) {
    let (aws, clock) = world();
    let client = Client::new(&sdk_config(&aws));
    (World { aws, clock }, client)
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html>.
#[tokio::test]
async fn create_key_takes_5_a_second_and_each_operation_has_a_rate_of_its_own() {
    let (world, client) = kms();
    world.aws.settings(|settings| settings.control_plane_limits = true);
    let mut id = String::new();
    for _ in 0..5 {
        id = key(&client, KeySpec::EccNistP256).await;
    }
    assert_eq!(refusal(client.create_key().send().await), "ThrottlingException");
    client.disable_key().key_id(&id).send().await.expect("another rate");
    world.clock.advance(Duration::from_millis(200));
    key(&client, KeySpec::EccNistP256).await;
    assert_eq!(refusal(client.create_key().send().await), "ThrottlingException");
}

/// A new key. Answers its id.
async fn key(client: &Client, spec: KeySpec) -> String {
    let authenticates = matches!(spec, KeySpec::Hmac256 | KeySpec::Hmac384 | KeySpec::Hmac512);
    let usage = if authenticates { KeyUsageType::GenerateVerifyMac } else { KeyUsageType::SignVerify };
    let created = client.create_key().key_spec(spec).key_usage(usage).send().await.expect("a key is created");
    created.key_metadata().expect("a new key has metadata").key_id().to_owned()
}

async fn sign(client: &Client, key: &str, algorithm: SigningAlgorithmSpec, message: &[u8]) -> Blob {
    let signed = client.sign().key_id(key).signing_algorithm(algorithm).message(Blob::new(message));
    let signed = signed.message_type(MessageType::Raw).send().await.expect("a message is signed");
    signed.signature().expect("a signature").clone()
}

async fn state(client: &Client, key: &str) -> KeyState {
    let described = client.describe_key().key_id(key).send().await.expect("a key is described");
    described.key_metadata().and_then(|key| key.key_state()).expect("a key has a state").clone()
}

/// The exception of a call that must fail.
fn refusal<T: Debug, E: ProvideErrorMetadata + Debug>(answer: Result<T, E>) -> String {
    refused(answer).0
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().tag_key(key).tag_value(value).build().expect("a tag with key and value")
}

// Keys

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html>.
#[tokio::test]
async fn create_key_answers_the_metadata_that_describe_key_tells() {
    let (world, client) = kms();
    let create = client.create_key().key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify);
    let created = create.description("signs tokens").tags(tag("owner", "me")).send().await.unwrap();
    let created = created.key_metadata().unwrap();
    let described = client.describe_key().key_id(created.key_id()).send().await.unwrap();
    let described = described.key_metadata().unwrap();
    assert_eq!(created, described);
    assert_eq!(described.arn().unwrap(), format!("arn:aws:kms:eu-west-1:123456789012:key/{}", described.key_id()));
    assert_eq!(described.description(), Some("signs tokens"));
    assert_eq!(described.key_spec(), Some(&KeySpec::EccNistP256));
    assert_eq!(described.key_usage(), Some(&KeyUsageType::SignVerify));
    assert_eq!(described.signing_algorithms(), [SigningAlgorithmSpec::EcdsaSha256]);
    assert_eq!(described.key_state(), Some(&KeyState::Enabled));
    assert!(described.enabled());
    assert_eq!(described.creation_date().unwrap().secs(), world.aws.now().timestamp());
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/developerguide/asymmetric-key-specs.html>.
#[tokio::test]
async fn by_default_a_key_encrypts_which_only_other_services_let_it_do() {
    let (_, client) = kms();
    let key = client.create_key().send().await.unwrap().key_metadata.unwrap();
    assert_eq!(
        (key.key_spec(), key.key_usage()),
        (Some(&KeySpec::SymmetricDefault), Some(&KeyUsageType::EncryptDecrypt))
    );
    assert!(key.signing_algorithms().is_empty() && key.mac_algorithms().is_empty());
    let id = key.key_id();
    let encrypt = client.encrypt().key_id(id).plaintext(Blob::new("x")).send().await;
    assert_eq!(refusal(encrypt), "UnknownOperationException");
    let sign = client.sign().key_id(id).message(Blob::new("x")).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
    assert_eq!(refusal(sign.send().await), "InvalidKeyUsageException");
    assert_eq!(refusal(client.get_public_key().key_id(id).send().await), "UnsupportedOperationException");
}

/// Source: LocalStack: TestKMS::test_hmac_create_key_invalid_operations, 2023-04-13.
#[tokio::test]
async fn a_key_usage_that_does_not_fit_the_key_spec_is_refused() {
    let (_, client) = kms();
    for (spec, usage) in [
        (KeySpec::Hmac256, Some(KeyUsageType::SignVerify)),
        (KeySpec::EccNistP256, Some(KeyUsageType::GenerateVerifyMac)),
        (KeySpec::EccNistP256, None),
    ] {
        let create = client.create_key().key_spec(spec).set_key_usage(usage);
        assert_eq!(refusal(create.send().await), "ValidationException");
    }
}

/// Source: LocalStack: TestKMS::test_create_key, 2025-11-10.
/// Source: LocalStack: TestKMS::test_hmac_create_key, 2025-11-10.
#[tokio::test]
async fn a_symmetric_key_tells_its_material_and_no_other_does() {
    let (_, client) = kms();
    let created = client.create_key().send().await.unwrap().key_metadata.unwrap();
    let described = client.describe_key().key_id(created.key_id()).send().await.unwrap().key_metadata.unwrap();
    assert_eq!(described.current_key_material_id().map(str::len), Some(64));
    assert_eq!(described, created);
    for spec in [KeySpec::Hmac256, KeySpec::EccNistP256] {
        let key = key(&client, spec).await;
        let described = client.describe_key().key_id(key).send().await.unwrap().key_metadata.unwrap();
        assert_eq!(described.current_key_material_id(), None);
    }
}

/// Source: LocalStack: TestKMS::test_get_key_invalid_uuid, 2024-04-11.
#[tokio::test]
async fn what_can_not_be_a_key_s_id_is_invalid_and_not_found() {
    let (_, client) = kms();
    for name in ["fake-key-id", "134f2428cec14b25a1ae9048164dba47", "mrk-fake-key-id"] {
        let (code, message) = refused(client.describe_key().key_id(name).send().await);
        assert_eq!((code.as_str(), message), ("NotFoundException", format!("Invalid keyId '{name}'")));
    }
    let absent = "134f2428-cec1-4b25-a1ae-9048164dba47";
    let (code, message) = refused(client.describe_key().key_id(absent).send().await);
    assert_eq!(code, "NotFoundException");
    assert!(message.starts_with("Key 'arn:aws:kms:") && message.ends_with("' does not exist"), "{message}");
}

/// Assumed: CreateKey takes no token that could say that it is the same call.
#[tokio::test]
async fn create_key_twice_makes_two_keys() {
    let (world, client) = kms();
    world.aws.must_be_empty();
    assert_ne!(key(&client, KeySpec::Hmac256).await, key(&client, KeySpec::Hmac256).await);
    assert_eq!(client.list_keys().send().await.unwrap().keys().len(), 2);
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_ListKeys.html>.
#[tokio::test]
async fn list_keys_pages_by_marker() {
    let (world, client) = kms();
    world.aws.must_be_empty();
    for _ in 0..3 {
        key(&client, KeySpec::Hmac256).await;
    }
    let first = client.list_keys().limit(2).send().await.unwrap();
    assert_eq!((first.keys().len(), first.truncated()), (2, true));
    let rest = client.list_keys().marker(first.next_marker().unwrap()).send().await.unwrap();
    assert_eq!((rest.keys().len(), rest.truncated()), (1, false));
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_DescribeKey.html>.
#[tokio::test]
async fn a_key_is_found_by_id_arn_alias_and_alias_arn() {
    let (_, client) = kms();
    let id = key(&client, KeySpec::Hmac256).await;
    client.create_alias().alias_name("alias/mac").target_key_id(&id).send().await.unwrap();
    let here = "arn:aws:kms:eu-west-1:123456789012";
    for name in [id.clone(), format!("{here}:key/{id}"), "alias/mac".into(), format!("{here}:alias/mac")] {
        let found = client.describe_key().key_id(&name).send().await.unwrap();
        assert_eq!(found.key_metadata().unwrap().key_id(), id, "{name}");
    }
    for name in ["nosuch".into(), "alias/nosuch".into(), format!("arn:aws:kms:us-east-1:123456789012:key/{id}")] {
        assert_eq!(refusal(client.describe_key().key_id(name).send().await), "NotFoundException");
    }
}

/// Embedded: a switch.
#[tokio::test]
async fn list_keys_lists_a_new_key_late_and_calls_by_its_id_see_it_at_once() {
    let (world, client) = kms();
    world.aws.settings(|settings| settings.kms_lag = Duration::from_secs(60));
    let key = key(&client, KeySpec::EccNistP256).await;
    let listed = || async { client.list_keys().send().await.unwrap().keys().len() };

    client.list_resource_tags().key_id(&key).send().await.unwrap();
    sign(&client, &key, SigningAlgorithmSpec::EcdsaSha256, b"hello").await;
    world.clock.advance(Duration::from_secs(59));
    assert_eq!(listed().await, 0);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(listed().await, 1);
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/developerguide/hmac-create-key.html>.
#[tokio::test]
async fn a_key_spec_that_the_region_lacks_is_an_unsupported_operation() {
    let (world, client) = kms();
    world.aws.settings(|settings| settings.kms_specs_missing = vec!["ECC_NIST_EDWARDS25519".into()]);
    let create = |spec| client.create_key().key_spec(spec).key_usage(KeyUsageType::SignVerify).send();
    assert_eq!(refusal(create(KeySpec::EccNistEdwards25519).await), "UnsupportedOperationException");
    create(KeySpec::EccNistP256).await.unwrap();
}

/// Embedded: a look inside.
#[tokio::test]
async fn a_key_can_be_inspected_without_a_call_and_is_gone_once_deleted() {
    let (world, client) = kms();
    let create = client.create_key().key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify);
    let created = create.description("signs tokens").tags(tag("owner", "me")).send().await.unwrap();
    let id = created.key_metadata().unwrap().key_id().to_owned();
    for _ in 0..2 {
        sign(&client, &id, SigningAlgorithmSpec::EcdsaSha256, b"hello").await;
    }
    client.schedule_key_deletion().key_id(&id).pending_window_in_days(7).send().await.unwrap();
    world.aws.clear_requests();

    let expected = KmsKeyView {
        arn: format!("arn:aws:kms:eu-west-1:123456789012:key/{id}"),
        id,
        spec: "ECC_NIST_P256".into(),
        state: "PendingDeletion".into(),
        tags: [("owner".to_owned(), "me".to_owned())].into(),
        description: "signs tokens".into(),
        policy: None,
        grants: Vec::new(),
        uses: 2,
    };
    assert_eq!(world.aws.inspect_kms_keys(), [expected]);
    world.clock.advance(DAY * 7);
    assert_eq!(world.aws.inspect_kms_keys(), []);
    assert_eq!(world.aws.requests(), []);
}

// Signatures

/// Source: LocalStack: TestKMS::test_sign_verify, 2024-04-11.
#[tokio::test]
async fn every_modelled_algorithm_signs_and_verifies_and_a_wrong_signature_raises() {
    use SigningAlgorithmSpec as A;
    let (_, client) = kms();
    for (spec, algorithms) in [
        (KeySpec::EccNistP256, vec![A::EcdsaSha256]),
        (KeySpec::EccNistP384, vec![A::EcdsaSha384]),
        (KeySpec::EccNistEdwards25519, vec![A::Ed25519Sha512]),
        (
            KeySpec::Rsa2048,
            vec![
                A::RsassaPkcs1V15Sha256,
                A::RsassaPkcs1V15Sha384,
                A::RsassaPkcs1V15Sha512,
                A::RsassaPssSha256,
                A::RsassaPssSha384,
                A::RsassaPssSha512,
            ],
        ),
    ] {
        let key = key(&client, spec).await;
        for algorithm in algorithms {
            let signed = sign(&client, &key, algorithm.clone(), b"hello").await;
            let verify = |message: &[u8]| {
                let verify = client.verify().key_id(&key).signing_algorithm(algorithm.clone());
                verify.message(Blob::new(message)).signature(signed.clone()).send()
            };
            assert!(verify(b"hello").await.unwrap().signature_valid(), "{algorithm}");
            assert_eq!(refusal(verify(b"hallo").await), "KMSInvalidSignatureException", "{algorithm}");
        }
    }
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html>.
#[tokio::test]
async fn ecdsa_signatures_are_der_and_ed25519_signatures_64_bytes() {
    let (_, client) = kms();
    let p256 = key(&client, KeySpec::EccNistP256).await;
    let der = sign(&client, &p256, SigningAlgorithmSpec::EcdsaSha256, b"hello").await.into_inner();
    assert_eq!((der[0], usize::from(der[1])), (0x30, der.len() - 2), "a SEQUENCE");
    let ed25519 = key(&client, KeySpec::EccNistEdwards25519).await;
    let raw = sign(&client, &ed25519, SigningAlgorithmSpec::Ed25519Sha512, b"hello").await;
    assert_eq!(raw.into_inner().len(), 64);
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html>.
#[tokio::test]
async fn a_digest_is_signed_as_the_message_it_is_of() {
    let (_, client) = kms();
    // SHA-256 of "hello".
    let digest = [
        0x2c, 0xf2, 0x4d, 0xba, 0x5f, 0xb0, 0xa3, 0x0e, 0x26, 0xe8, 0x3b, 0x2a, 0xc5, 0xb9, 0xe2, 0x9e, 0x1b, 0x16,
        0x1e, 0x5c, 0x1f, 0xa7, 0x42, 0x5e, 0x73, 0x04, 0x33, 0x62, 0x93, 0x8b, 0x98, 0x24,
    ];
    for (spec, algorithm) in [
        (KeySpec::EccNistP256, SigningAlgorithmSpec::EcdsaSha256),
        (KeySpec::Rsa2048, SigningAlgorithmSpec::RsassaPssSha256),
    ] {
        let key = key(&client, spec).await;
        let sign = client.sign().key_id(&key).signing_algorithm(algorithm.clone());
        let sign = sign.message_type(MessageType::Digest).message(Blob::new(digest));
        let signed = sign.send().await.unwrap();
        let verify = client.verify().key_id(&key).signing_algorithm(algorithm.clone());
        let verify = verify.message(Blob::new("hello")).signature(signed.signature().unwrap().clone());
        assert!(verify.send().await.unwrap().signature_valid());
        let short = client.sign().key_id(&key).signing_algorithm(algorithm);
        let short = short.message_type(MessageType::Digest).message(Blob::new(&digest[1..]));
        assert_eq!(refusal(short.send().await), "ValidationException");
    }
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html>.
#[tokio::test]
async fn ed25519_takes_raw_messages_only() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::EccNistEdwards25519).await;
    let sign = client.sign().key_id(key).signing_algorithm(SigningAlgorithmSpec::Ed25519Sha512);
    let sign = sign.message_type(MessageType::Digest).message(Blob::new([0; 64]));
    assert_eq!(refusal(sign.send().await), "ValidationException");
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html>.
#[tokio::test]
async fn a_raw_message_has_at_most_4096_bytes() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    let sign = |length| {
        let sign = client.sign().key_id(&key).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
        sign.message(Blob::new(vec![0; length])).send()
    };
    sign(4096).await.unwrap();
    assert_eq!(refusal(sign(4097).await), "ValidationException");
}

/// Source: LocalStack: TestKMS::test_error_messaging_for_invalid_keys, 2024-04-11.
/// Source: LocalStack: TestKMS::test_invalid_generate_mac, 2024-04-11.
#[tokio::test]
async fn an_invalid_key_usage_says_what_the_key_is_for() {
    let (_, client) = kms();
    let mac = key(&client, KeySpec::Hmac256).await;
    let sign = client.sign().key_id(&mac).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
    let (_, message) = refused(sign.message(Blob::new("x")).send().await);
    assert!(message.ends_with(" key usage is GENERATE_VERIFY_MAC which is not valid for Sign."), "{message}");
    let generate = client.generate_mac().key_id(&mac).mac_algorithm(MacAlgorithmSpec::HmacSha512);
    let (_, message) = refused(generate.message(Blob::new("x")).send().await);
    assert_eq!(message, "Algorithm HMAC_SHA_512 is incompatible with key spec HMAC_256.");
}

/// Source: LocalStack: TestKMS::test_invalid_generate_mac, 2024-04-11.
#[tokio::test]
async fn an_algorithm_that_does_not_fit_the_key_is_an_invalid_key_usage() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    let sign = client.sign().key_id(&key).signing_algorithm(SigningAlgorithmSpec::EcdsaSha384);
    assert_eq!(refusal(sign.message(Blob::new("x")).send().await), "InvalidKeyUsageException");
    let mac = client.generate_mac().key_id(&key).mac_algorithm(MacAlgorithmSpec::HmacSha256);
    assert_eq!(refusal(mac.message(Blob::new("x")).send().await), "InvalidKeyUsageException");
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_GetPublicKey.html>.
#[tokio::test]
async fn get_public_key_answers_a_subject_public_key_info() {
    let (_, client) = kms();
    for (spec, length) in [(KeySpec::EccNistP256, 91), (KeySpec::EccNistEdwards25519, 44), (KeySpec::Rsa2048, 294)] {
        let key = key(&client, spec).await;
        let public = client.get_public_key().key_id(key).send().await.unwrap();
        let der = public.public_key().unwrap().as_ref();
        assert_eq!((der[0], der.len()), (0x30, length));
    }
    let mac = key(&client, KeySpec::Hmac256).await;
    assert_eq!(refusal(client.get_public_key().key_id(mac).send().await), "UnsupportedOperationException");
}

// MACs

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_VerifyMac.html>.
#[tokio::test]
async fn generate_mac_is_deterministic_and_verify_mac_raises_when_it_is_wrong() {
    let (_, client) = kms();
    for (spec, algorithm, length) in [
        (KeySpec::Hmac256, MacAlgorithmSpec::HmacSha256, 32),
        (KeySpec::Hmac384, MacAlgorithmSpec::HmacSha384, 48),
        (KeySpec::Hmac512, MacAlgorithmSpec::HmacSha512, 64),
    ] {
        let key = key(&client, spec).await;
        let generate = || {
            let generate = client.generate_mac().key_id(&key).mac_algorithm(algorithm.clone());
            generate.message(Blob::new("hello")).send()
        };
        let mac = generate().await.unwrap().mac().unwrap().clone();
        assert_eq!(mac.as_ref().len(), length);
        assert_eq!(generate().await.unwrap().mac(), Some(&mac));
        let verify = |message: &str| {
            let verify = client.verify_mac().key_id(&key).mac_algorithm(algorithm.clone()).mac(mac.clone());
            verify.message(Blob::new(message)).send()
        };
        assert!(verify("hello").await.unwrap().mac_valid());
        assert_eq!(refusal(verify("hallo").await), "KMSInvalidMacException");
    }
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateMac.html>.
#[tokio::test]
async fn a_message_to_authenticate_has_at_most_4096_bytes() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::Hmac256).await;
    let generate = |length| {
        let generate = client.generate_mac().key_id(&key).mac_algorithm(MacAlgorithmSpec::HmacSha256);
        generate.message(Blob::new(vec![0; length])).send()
    };
    generate(4096).await.unwrap();
    assert_eq!(refusal(generate(4097).await), "ValidationException");
}

// States

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html>.
#[tokio::test]
async fn a_disabled_key_neither_signs_nor_verifies_nor_tells_its_public_key() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    let signed = sign(&client, &key, SigningAlgorithmSpec::EcdsaSha256, b"hello").await;
    client.disable_key().key_id(&key).send().await.unwrap();
    assert_eq!(state(&client, &key).await, KeyState::Disabled);
    let sign = client.sign().key_id(&key).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
    assert_eq!(refusal(sign.message(Blob::new("x")).send().await), "DisabledException");
    let verify = client.verify().key_id(&key).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
    let verify = verify.message(Blob::new("hello")).signature(signed);
    assert_eq!(refusal(verify.clone().send().await), "DisabledException");
    assert_eq!(refusal(client.get_public_key().key_id(&key).send().await), "DisabledException");
    client.enable_key().key_id(&key).send().await.unwrap();
    assert!(verify.send().await.unwrap().signature_valid());
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html>.
#[tokio::test]
async fn a_disabled_key_computes_no_mac() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::Hmac256).await;
    client.disable_key().key_id(&key).send().await.unwrap();
    let mac = client.generate_mac().key_id(&key).mac_algorithm(MacAlgorithmSpec::HmacSha256);
    assert_eq!(refusal(mac.message(Blob::new("x")).send().await), "DisabledException");
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_ScheduleKeyDeletion.html>.
#[tokio::test]
async fn deletion_waits_7_to_30_days_and_then_the_key_and_its_aliases_are_gone() {
    let (world, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    client.create_alias().alias_name("alias/signer").target_key_id(&key).send().await.unwrap();
    for days in [6, 31] {
        let schedule = client.schedule_key_deletion().key_id(&key).pending_window_in_days(days);
        assert_eq!(refusal(schedule.send().await), "ValidationException");
    }
    let scheduled = client.schedule_key_deletion().key_id(&key).pending_window_in_days(7).send().await.unwrap();
    assert_eq!(scheduled.key_state(), Some(&KeyState::PendingDeletion));
    assert_eq!(scheduled.deletion_date().unwrap().secs(), (world.aws.now() + DAY * 7).timestamp());
    world.clock.advance(DAY * 7 - Duration::from_secs(1));
    assert_eq!(state(&client, &key).await, KeyState::PendingDeletion);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(refusal(client.describe_key().key_id(&key).send().await), "NotFoundException");
    let sign = client.sign().key_id(&key).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
    assert_eq!(refusal(sign.message(Blob::new("x")).send().await), "NotFoundException");
    assert!(client.list_aliases().send().await.unwrap().aliases().is_empty());
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_ScheduleKeyDeletion.html>.
#[tokio::test]
async fn deletion_waits_30_days_unless_told_otherwise() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::Hmac256).await;
    let scheduled = client.schedule_key_deletion().key_id(key).send().await.unwrap();
    assert_eq!(scheduled.pending_window_in_days(), Some(30));
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_CancelKeyDeletion.html>.
#[tokio::test]
async fn a_key_that_is_pending_deletion_takes_no_call_but_its_rescue() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    client.schedule_key_deletion().key_id(&key).send().await.unwrap();
    let sign = client.sign().key_id(&key).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
    assert_eq!(refusal(sign.message(Blob::new("x")).send().await), "KMSInvalidStateException");
    for refused in [
        refusal(client.enable_key().key_id(&key).send().await),
        refusal(client.disable_key().key_id(&key).send().await),
        refusal(client.schedule_key_deletion().key_id(&key).send().await),
        refusal(client.create_alias().alias_name("alias/x").target_key_id(&key).send().await),
        refusal(client.tag_resource().key_id(&key).tags(tag("a", "b")).send().await),
    ] {
        assert_eq!(refused, "KMSInvalidStateException");
    }
    client.cancel_key_deletion().key_id(&key).send().await.unwrap();
    assert_eq!(state(&client, &key).await, KeyState::Disabled, "a rescued key is disabled");
    assert_eq!(refusal(client.cancel_key_deletion().key_id(&key).send().await), "KMSInvalidStateException");
}

// Aliases

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/developerguide/alias-using.html>.
#[tokio::test]
async fn an_alias_moves_and_what_was_signed_before_no_longer_verifies_through_it() {
    let (_, client) = kms();
    let (old, new) = (key(&client, KeySpec::EccNistP256).await, key(&client, KeySpec::EccNistP256).await);
    client.create_alias().alias_name("alias/signer").target_key_id(&old).send().await.unwrap();
    let signed = sign(&client, "alias/signer", SigningAlgorithmSpec::EcdsaSha256, b"hello").await;
    client.update_alias().alias_name("alias/signer").target_key_id(&new).send().await.unwrap();
    let verify = |key: &str| {
        let verify = client.verify().key_id(key).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
        verify.message(Blob::new("hello")).signature(signed.clone()).send()
    };
    assert_eq!(refusal(verify("alias/signer").await), "KMSInvalidSignatureException");
    assert!(verify(&old).await.unwrap().signature_valid());
    let of_key = client.list_aliases().key_id(&new).send().await.unwrap();
    assert_eq!(of_key.aliases()[0].alias_name(), Some("alias/signer"));
    assert_eq!(of_key.aliases()[0].target_key_id(), Some(&*new));
    client.delete_alias().alias_name("alias/signer").send().await.unwrap();
    assert_eq!(refusal(verify("alias/signer").await), "NotFoundException");
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateAlias.html>.
#[tokio::test]
async fn an_alias_is_created_once_by_a_valid_name() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::Hmac256).await;
    let create = |name: &str| client.create_alias().alias_name(name).target_key_id(&key).send();
    create("alias/mac").await.unwrap();
    assert_eq!(refusal(create("alias/mac").await), "AlreadyExistsException");
    for name in ["alias/", "alias/aws/mac", "alias/a b"] {
        assert_eq!(refusal(create(name).await), "InvalidAliasNameException", "{name}");
    }
}

/// Source: LocalStack: TestKMS::test_create_alias, 2024-04-11.
#[tokio::test]
async fn an_alias_begins_with_alias() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::Hmac256).await;
    let (code, message) = refused(client.create_alias().alias_name("mac").target_key_id(&key).send().await);
    assert_eq!(code, "ValidationException");
    assert!(message.starts_with("Alias must start with the prefix \"alias/\"."), "{message}");
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_UpdateAlias.html>.
#[tokio::test]
async fn an_alias_moves_only_between_keys_of_one_type_and_must_exist() {
    let (_, client) = kms();
    let (mac, signer) = (key(&client, KeySpec::Hmac256).await, key(&client, KeySpec::EccNistP256).await);
    client.create_alias().alias_name("alias/mac").target_key_id(&mac).send().await.unwrap();
    let moved = client.update_alias().alias_name("alias/mac").target_key_id(&signer).send().await;
    assert_eq!(refusal(moved), "ValidationException");
    let unknown = client.update_alias().alias_name("alias/nosuch").target_key_id(&mac).send().await;
    assert_eq!(refusal(unknown), "NotFoundException");
}

// Tags, last use

/// Source: LocalStack: TestKMS::test_untag_key_partially, 2025-01-10.
#[tokio::test]
async fn tags_are_written_read_and_removed() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::Hmac256).await;
    client.tag_resource().key_id(&key).tags(tag("one", "1")).tags(tag("two", "2")).send().await.unwrap();
    client.untag_resource().key_id(&key).tag_keys("one").send().await.unwrap();
    let tags = client.list_resource_tags().key_id(&key).send().await.unwrap();
    assert_eq!(tags.tags(), [tag("two", "2")]);
}

/// Source: LocalStack: TestKMS::test_create_key_with_invalid_tag_key, 2025-01-22.
/// Source: LocalStack: TestKMS::test_tag_existing_key_with_invalid_tag_key, 2025-01-21.
/// Source: LocalStack: TestKMS::test_tag_key_with_duplicate_tag_keys_raises_error, 2025-01-17.
/// Source: LocalStack: TestKMS::test_create_key_with_too_many_tags_raises_error, 2025-01-21.
/// Source: LocalStack: TestKMS::test_key_with_long_tag_value_raises_error, 2025-01-21.
#[tokio::test]
async fn tags_are_at_most_50_each_once_and_none_begins_with_aws() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::Hmac256).await;
    let many: Vec<Tag> = (0..51).map(|number| tag(&format!("key{number}"), "value")).collect();
    let (long_key, long_value) = ("k".repeat(129), "v".repeat(257));
    for (tags, code, said) in [
        (vec![tag("aws:key1", "v")], "TagException", "Tags beginning with aws: are reserved"),
        (vec![tag("AWS:key1", "v")], "TagException", "Tags beginning with aws: are reserved"),
        (vec![tag("tag1", "1"), tag("tag1", "2")], "TagException", "Duplicate tag keys"),
        (many.clone(), "TagException", "Too many tags"),
        (vec![tag(&long_key, "v")], "ValidationException", "at 'tags.1.member.tagKey' failed to satisfy constraint"),
        (
            vec![tag("k", &long_value)],
            "ValidationException",
            "at 'tags.1.member.tagValue' failed to satisfy constraint",
        ),
    ] {
        let create = client.create_key().set_tags(Some(tags.clone())).send().await;
        let write = client.tag_resource().key_id(&key).set_tags(Some(tags)).send().await;
        for (refused, message) in [refused(create), refused(write)] {
            assert_eq!(refused, code, "{message}");
            assert!(message.contains(said), "{message}");
        }
    }
    client.tag_resource().key_id(&key).set_tags(Some(many[..50].to_vec())).send().await.unwrap();
    client.tag_resource().key_id(&key).tags(tag("key0", "again")).send().await.unwrap();
    let one_more = client.tag_resource().key_id(&key).tags(many[50].clone()).send().await;
    assert_eq!(refusal(one_more), "TagException");
}

/// Embedded: a switch.
#[tokio::test]
async fn the_last_use_of_a_key_is_told_an_hour_late() {
    let (world, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    let last = || async {
        let told = client.get_key_last_usage().key_id(&key).send().await.unwrap();
        told.key_last_usage().unwrap().clone()
    };
    let at = world.aws.now().timestamp();
    sign(&client, &key, SigningAlgorithmSpec::EcdsaSha256, b"hello").await;
    world.clock.advance(Duration::from_secs(3599));
    assert_eq!(last().await.timestamp(), None);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(last().await.timestamp().unwrap().secs(), at);
    assert_eq!(last().await.operation(), Some(&KeyLastUsageTrackingOperation::Sign));
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyLastUsage.html>.
#[tokio::test]
async fn a_key_that_was_never_used_has_an_empty_last_use_since_its_creation() {
    let (world, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    world.clock.advance(DAY);
    // Neither a refused signature nor a look at the key is a use.
    let refused = client.sign().key_id(&key).signing_algorithm(SigningAlgorithmSpec::EcdsaSha384);
    assert_eq!(refusal(refused.message(Blob::new("x")).send().await), "InvalidKeyUsageException");
    client.get_public_key().key_id(&key).send().await.unwrap();
    world.clock.advance(DAY);

    let told = client.get_key_last_usage().key_id(&key).send().await.unwrap();

    let last = told.key_last_usage().expect("present, and empty");
    assert_eq!((last.timestamp(), last.operation(), last.cloud_trail_event_id()), (None, None, None));
    assert_eq!(told.key_id(), Some(&*key));
    assert_eq!(told.tracking_start_date(), told.key_creation_date());
    client.create_alias().alias_name("alias/signer").target_key_id(&key).send().await.unwrap();
    let by_alias = client.get_key_last_usage().key_id("alias/signer").send().await;
    assert_eq!(refusal(by_alias), "NotFoundException", "alias names are not supported");
}

/// Embedded: a switch.
#[tokio::test]
async fn the_last_use_stays_told_once_the_key_is_disabled_and_the_lag_is_a_switch() {
    let (world, client) = kms();
    world.aws.settings(|settings| settings.kms_usage_lag = Duration::from_secs(60));
    let key = key(&client, KeySpec::Hmac256).await;
    let mac = client.generate_mac().key_id(&key).mac_algorithm(MacAlgorithmSpec::HmacSha256);
    mac.message(Blob::new("x")).send().await.unwrap();
    client.disable_key().key_id(&key).send().await.unwrap();
    world.clock.advance(Duration::from_secs(60));

    let told = client.get_key_last_usage().key_id(&key).send().await.unwrap();

    let last = told.key_last_usage().unwrap();
    assert_eq!(last.operation(), Some(&KeyLastUsageTrackingOperation::GenerateMac));
    assert!(last.cloud_trail_event_id().is_some() && last.kms_request_id().is_some());
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyLastUsage.html>.
#[tokio::test]
async fn nothing_is_told_of_uses_before_tracking_began() {
    let (world, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    sign(&client, &key, SigningAlgorithmSpec::EcdsaSha256, b"hello").await;
    world.clock.advance(DAY);
    let from = world.aws.now();
    world.aws.settings(|settings| settings.kms_usage_tracked_from = Some(from));

    let told = client.get_key_last_usage().key_id(&key).send().await.unwrap();

    assert_eq!(told.key_last_usage().unwrap().timestamp(), None);
    assert_eq!(told.tracking_start_date().unwrap().secs(), from.timestamp());
    assert!(told.key_creation_date() < told.tracking_start_date(), "so this is no evidence of anything");
}

/// Embedded: its state directory.
#[tokio::test]
async fn keys_sign_and_authenticate_the_same_after_a_restart() {
    let dir = std::env::temp_dir().join(format!("local-aws-kms-{}", std::process::id()));
    let open = || {
        let aws = LocalAws::builder().state_dir(opened(&dir)).build().unwrap();
        Client::new(&sdk_config(&aws))
    };
    let before = open();
    let signer = key(&before, KeySpec::EccNistP256).await;
    let signed = sign(&before, &signer, SigningAlgorithmSpec::EcdsaSha256, b"hello").await;
    drop(before);
    let after = open();
    let verify = after.verify().key_id(signer).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
    let verified = verify.message(Blob::new("hello")).signature(signed).send().await;
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(verified.unwrap().signature_valid());
}

/// Embedded: what it does not model.
#[tokio::test]
async fn operations_and_parameters_that_are_not_modelled_are_refused() {
    let (_, client) = kms();
    assert_eq!(refusal(client.generate_random().number_of_bytes(8).send().await), "UnknownOperationException");
    let key = key(&client, KeySpec::EccNistP256).await;
    let granted = client.sign().key_id(key).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
    let granted = granted.message(Blob::new("x")).grant_tokens("token").send().await.unwrap_err();
    assert_eq!(granted.code(), Some("ValidationException"));
    assert!(granted.message().unwrap().contains("GrantTokens"));
}
