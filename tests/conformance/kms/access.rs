//! Key policies and grants.

use aws_sdk_kms::operation::create_grant::CreateGrantOutput;
use aws_sdk_kms::operation::create_grant::builders::CreateGrantFluentBuilder;
use aws_sdk_kms::types::{GrantConstraints, GrantOperation};
use serde_json::{Value, json};

use super::*;

const SIGNER: &str = "arn:aws:iam::123456789012:role/signer";
const OTHER: &str = "arn:aws:iam::123456789012:role/other";

fn policy(principal: &str) -> String {
    let statement = json!({ "Effect": "Allow", "Principal": { "AWS": principal }, "Action": "kms:*", "Resource": "*" });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

async fn policy_of(client: &Client, key: &str) -> String {
    let told = client.get_key_policy().key_id(key).send().await.expect("a policy is told");
    assert_eq!(told.policy_name(), Some("default"));
    told.policy().expect("every key has a policy").to_owned()
}

/// A grant to sign, yet to be sent.
fn grant(client: &Client, key: &str, grantee: &str) -> CreateGrantFluentBuilder {
    client.create_grant().key_id(key).grantee_principal(grantee).operations(GrantOperation::Sign)
}

fn grant_id(granted: CreateGrantOutput) -> String {
    granted.grant_id.expect("a grant has an id")
}

async fn grants(client: &Client, key: &str) -> Vec<String> {
    let listed = client.list_grants().key_id(key).send().await.expect("grants are listed");
    listed.grants().iter().map(|grant| grant.grant_id().expect("an id").to_owned()).collect()
}

/// A key of each state that isn't enabled.
async fn resting_keys(client: &Client) -> [String; 2] {
    let keys = [key(client, KeySpec::EccNistP256).await, key(client, KeySpec::EccNistP256).await];
    for key in &keys {
        grant(client, key, SIGNER).send().await.expect("granted");
    }
    client.disable_key().key_id(&keys[0]).send().await.expect("disabled");
    client.schedule_key_deletion().key_id(&keys[1]).send().await.expect("scheduled");
    keys
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html>.
#[tokio::test]
async fn a_key_created_without_a_policy_has_the_default_one_that_lets_the_account_do_all() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    let policy: Value = serde_json::from_str(&policy_of(&client, &key).await).unwrap();
    let statement = &policy["Statement"][0];
    assert_eq!(statement["Principal"]["AWS"], "arn:aws:iam::123456789012:root");
    assert_eq!((&statement["Effect"], &statement["Action"]), (&json!("Allow"), &json!("kms:*")));
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyPolicy.html>.
#[tokio::test]
async fn a_policy_is_told_as_it_was_created_or_put() {
    let (world, client) = kms();
    let create = client.create_key().key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify);
    let created = create.policy(policy(SIGNER)).send().await.unwrap();
    let key = created.key_metadata().unwrap().key_id();
    assert_eq!(policy_of(&client, key).await, policy(SIGNER));
    client.put_key_policy().key_id(key).policy(policy(OTHER)).send().await.unwrap();
    assert_eq!(policy_of(&client, key).await, policy(OTHER));
    assert_eq!(world.aws.inspect_kms_keys()[0].policy, Some(policy(OTHER)));
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html>.
#[tokio::test]
async fn a_malformed_policy_is_refused_where_it_is_created_and_where_it_is_put() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    let no_principal = json!({ "Statement": [{ "Effect": "Allow", "Action": "kms:*", "Resource": "*" }] });
    let no_effect = json!({ "Statement": { "Principal": "*", "Action": "kms:*", "Resource": "*" } });
    for wrong in ["not JSON", "[]", "{}", &no_principal.to_string(), &no_effect.to_string()] {
        let put = client.put_key_policy().key_id(&key).policy(wrong).send().await;
        assert_eq!(refusal(put), "MalformedPolicyDocumentException", "{wrong}");
        let create = client.create_key().key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify);
        let create = create.policy(wrong).send().await;
        assert_eq!(refusal(create), "MalformedPolicyDocumentException", "{wrong}");
    }
    let too_long = format!("{}{}", policy(SIGNER), " ".repeat(32_768));
    let put = client.put_key_policy().key_id(&key).policy(too_long).send().await;
    assert_eq!(refusal(put), "LimitExceededException");
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html>.
#[tokio::test]
async fn default_is_the_only_policy_name() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    client.get_key_policy().key_id(&key).policy_name("default").send().await.unwrap();
    let get = client.get_key_policy().key_id(&key).policy_name("other").send().await;
    assert_eq!(refusal(get), "NotFoundException");
    let put = client.put_key_policy().key_id(&key).policy_name("other").policy(policy(SIGNER)).send().await;
    assert_eq!(refusal(put), "NotFoundException");
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html>.
#[tokio::test]
async fn policies_are_read_and_put_in_every_state_of_a_key() {
    let (_, client) = kms();
    for key in resting_keys(&client).await {
        client.put_key_policy().key_id(&key).policy(policy(SIGNER)).send().await.unwrap();
        assert_eq!(policy_of(&client, &key).await, policy(SIGNER));
    }
    assert_eq!(refusal(client.get_key_policy().key_id("nosuch").send().await), "NotFoundException");
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_ListGrants.html>.
#[tokio::test]
async fn a_grant_is_listed_as_it_was_created() {
    let (world, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    let constraints = GrantConstraints::builder().source_arn("arn:aws:lambda:eu-west-1:123456789012:function:f");
    let granted = grant(&client, &key, SIGNER).operations(GrantOperation::GetPublicKey).retiring_principal(OTHER);
    let granted = granted.name("signers").constraints(constraints.clone().build()).send().await.unwrap();
    assert!(granted.grant_token().is_some_and(|token| !token.is_empty()));

    let listed = client.list_grants().key_id(&key).send().await.unwrap();
    let [entry] = listed.grants() else { panic!("one grant, not {listed:?}") };
    assert_eq!(entry.grant_id(), granted.grant_id());
    assert_eq!(entry.key_id(), Some(&*format!("arn:aws:kms:eu-west-1:123456789012:key/{key}")));
    assert_eq!((entry.grantee_principal(), entry.retiring_principal()), (Some(SIGNER), Some(OTHER)));
    assert_eq!(entry.operations(), [GrantOperation::GetPublicKey, GrantOperation::Sign]);
    assert_eq!((entry.name(), entry.constraints()), (Some("signers"), Some(&constraints.build())));
    assert_eq!(entry.issuing_account(), Some("arn:aws:iam::123456789012:root"));
    assert_eq!(entry.creation_date().unwrap().secs(), world.aws.now().timestamp());
    let views = world.aws.inspect_kms_keys();
    let view = &views[0].grants[0];
    assert_eq!((Some(&*view.id), &*view.grantee), (granted.grant_id(), SIGNER));
    assert_eq!(
        (view.name.as_deref(), &*view.operations),
        (Some("signers"), &["GetPublicKey".into(), "Sign".into()][..])
    );
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateGrant.html>.
#[tokio::test]
async fn the_same_grant_under_the_same_name_is_the_first_one_with_another_token() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    let named = grant(&client, &key, SIGNER).name("signers");
    let (first, again) = (named.clone().send().await.unwrap(), named.clone().send().await.unwrap());
    assert_eq!(first.grant_id(), again.grant_id());
    assert_ne!(first.grant_token(), again.grant_token());
    assert_eq!(grants(&client, &key).await.len(), 1);

    let other = named.operations(GrantOperation::Verify).send().await.unwrap();
    assert_ne!(first.grant_id(), other.grant_id(), "the name is the same, the grant is not");
    let unnamed = || async { grant_id(grant(&client, &key, SIGNER).send().await.unwrap()) };
    assert_ne!(unnamed().await, unnamed().await, "without a name every call makes one");
    assert_eq!(grants(&client, &key).await.len(), 4);
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_ListGrants.html>.
#[tokio::test]
async fn list_grants_filters_by_id_and_grantee_and_pages_by_marker() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    let signer = grant_id(grant(&client, &key, SIGNER).send().await.unwrap());
    for _ in 0..2 {
        grant(&client, &key, OTHER).send().await.unwrap();
    }
    let list = || client.list_grants().key_id(&key);
    for found in [list().grant_id(&signer), list().grantee_principal(SIGNER)] {
        let found = found.send().await.unwrap();
        assert_eq!(found.grants().len(), 1);
        assert_eq!(found.grants()[0].grant_id(), Some(&*signer));
    }
    let first = list().limit(2).send().await.unwrap();
    assert_eq!((first.grants().len(), first.truncated()), (2, true));
    let rest = list().marker(first.next_marker().unwrap()).send().await.unwrap();
    assert_eq!((rest.grants().len(), rest.truncated()), (1, false));
    for limit in [0, 101] {
        assert_eq!(refusal(list().limit(limit).send().await), "ValidationException");
    }
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_RevokeGrant.html>.
#[tokio::test]
async fn a_revoked_grant_is_gone() {
    let (_, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    let id = grant_id(grant(&client, &key, SIGNER).send().await.unwrap());
    let revoke = || client.revoke_grant().key_id(&key).grant_id(&id).send();
    revoke().await.unwrap();
    assert!(grants(&client, &key).await.is_empty());
    assert_eq!(refusal(revoke().await), "NotFoundException");
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html>.
#[tokio::test]
async fn grants_are_made_only_on_an_enabled_key_and_listed_and_revoked_in_every_state() {
    let (_, client) = kms();
    for (key, why) in resting_keys(&client).await.iter().zip(["DisabledException", "KMSInvalidStateException"]) {
        assert_eq!(refusal(grant(&client, key, OTHER).send().await), why);
        let ids = grants(&client, key).await;
        assert_eq!(ids.len(), 1);
        client.revoke_grant().key_id(key).grant_id(&ids[0]).send().await.unwrap();
    }
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateGrant.html>.
#[tokio::test]
async fn a_grant_permits_only_what_its_key_can_do_to_a_principal_by_its_arn() {
    let (_, client) = kms();
    let (signer, mac) = (key(&client, KeySpec::EccNistP256).await, key(&client, KeySpec::Hmac256).await);
    let data_keys = grant(&client, &signer, SIGNER).operations(GrantOperation::GenerateDataKey);
    let context = GrantConstraints::builder().encryption_context_equals("a", "b").build();
    for refused in [
        data_keys.send().await,
        grant(&client, &mac, SIGNER).send().await,
        grant(&client, &signer, SIGNER).constraints(context).send().await,
        grant(&client, &signer, SIGNER).name("a b").send().await,
    ] {
        assert_eq!(refusal(refused), "ValidationException");
    }
    for grantee in ["signer", "arn:aws:iam::123:role/signer", "arn:aws:s3:::bucket"] {
        assert_eq!(refusal(grant(&client, &signer, grantee).send().await), "InvalidArnException", "{grantee}");
    }
    assert_eq!(refusal(grant(&client, "nosuch", SIGNER).send().await), "NotFoundException");
}

/// Embedded: its state directory.
#[tokio::test]
async fn policies_and_grants_survive_a_restart() {
    let dir = std::env::temp_dir().join(format!("local-aws-kms-access-{}", std::process::id()));
    let open = || {
        let aws = LocalAws::builder().state_dir(opened(&dir)).build().unwrap();
        Client::new(&sdk_config(&aws))
    };
    let before = open();
    let key = key(&before, KeySpec::EccNistP256).await;
    before.put_key_policy().key_id(&key).policy(policy(SIGNER)).send().await.unwrap();
    let id = grant_id(grant(&before, &key, SIGNER).send().await.unwrap());
    drop(before);
    let after = open();
    let (policy_after, grants_after) = (policy_of(&after, &key).await, grants(&after, &key).await);
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!((policy_after, grants_after), (policy(SIGNER), vec![id]));
}

/// Assumed: IAM's guide says so of principals in policies; of KMS's grants nothing is written.
#[tokio::test]
async fn who_is_gone_is_shown_by_an_id_and_named_nowhere_any_more() {
    let (world, client) = kms();
    let key = key(&client, KeySpec::EccNistP256).await;
    client.put_key_policy().key_id(&key).policy(policy(SIGNER)).send().await.unwrap();
    grant(&client, &key, SIGNER).retiring_principal(OTHER).send().await.unwrap();

    let id = world.aws.forget_principal(SIGNER);
    assert!(id.starts_with("AROA") && id.len() == 21, "{id}");
    let listed = client.list_grants().key_id(&key).send().await.unwrap();
    assert_eq!(listed.grants()[0].grantee_principal(), Some(&*id));
    assert_eq!(listed.grants()[0].retiring_principal(), Some(OTHER));
    assert_eq!(policy_of(&client, &key).await, policy(&id));
    for gone in [SIGNER, &id] {
        assert_eq!(refusal(grant(&client, &key, gone).send().await), "InvalidArnException", "{gone}");
        let put = client.put_key_policy().key_id(&key).policy(policy(gone)).send().await;
        assert_eq!(refusal(put), "MalformedPolicyDocumentException", "{gone}");
    }
    client.put_key_policy().key_id(&key).policy(policy(OTHER)).send().await.unwrap();
    client.revoke_grant().key_id(&key).grant_id(listed.grants()[0].grant_id().unwrap()).send().await.unwrap();
}
