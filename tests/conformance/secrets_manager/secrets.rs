//! Secrets as a whole: names, tags, listing, deletion.

use std::time::Duration;

use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, Tag};

use super::super::{refused, sdk_config, world};
use super::{FIRST, SECOND, body, client, create, value};

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html>.
#[tokio::test]
async fn a_secret_is_found_by_its_name_its_arn_and_its_arn_without_the_random_end() {
    let (aws, _) = world();
    let client = client(&aws);
    let arn = create(&client, "team/key").await;

    assert!(arn.starts_with("arn:aws:secretsmanager:eu-west-1:123456789012:secret:team/key-"));
    let partial = &arn[..arn.len() - 7];
    for id in ["team/key", arn.as_str(), partial] {
        assert_eq!(value(&client, id, "AWSCURRENT").await.as_deref(), Some("one"), "{id}");
    }
    let (code, message) = refused(client.describe_secret().secret_id("team").send().await);
    assert_eq!(code, "ResourceNotFoundException");
    assert_eq!(message, "Secrets Manager can't find the specified secret.");
}

/// Source: moto: test_create_duplicate_secret_with_same_token (aws_verified).
#[tokio::test]
async fn create_secret_again_is_the_same_only_with_the_same_token_and_value() {
    let (aws, _) = world();
    let client = client(&aws);
    let arn = create(&client, "s").await;

    assert_eq!(create(&client, "s").await, arn);
    let other = client.create_secret().name("s").client_request_token(FIRST).secret_string("other");
    assert_eq!(refused(other.send().await).0, "ResourceExistsException");
    let other = client.create_secret().name("s").client_request_token(SECOND).secret_string("one");
    assert_eq!(refused(other.send().await).0, "ResourceExistsException");
}

/// Source: LocalStack: TestSecretsManager::test_invalid_secret_name, 2024-03-15.
#[tokio::test]
async fn what_can_not_be_a_name_is_refused_by_every_operation() {
    let (aws, _) = world();
    let client = client(&aws);
    for name in ["Inv Name", " Inv Name", " Inv*Name? ", " Inv *?!]Name\\-"] {
        let tags = tag("FirstTag", "SomeValue");
        for (code, message) in [
            refused(client.create_secret().name(name).secret_string("x").send().await),
            refused(client.delete_secret().secret_id(name).force_delete_without_recovery(true).send().await),
            refused(client.describe_secret().secret_id(name).send().await),
            refused(client.get_secret_value().secret_id(name).send().await),
            refused(client.list_secret_version_ids().secret_id(name).include_deprecated(true).send().await),
            refused(client.put_secret_value().secret_id(name).secret_string("x").send().await),
            refused(client.tag_resource().secret_id(name).tags(tags).send().await),
            refused(client.untag_resource().secret_id(name).tag_keys("FirstTag").send().await),
            refused(client.update_secret().secret_id(name).description("new").send().await),
        ] {
            assert_eq!(code, "ValidationException", "{name}");
            assert_eq!(
                message,
                "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
            );
        }
    }
}

/// Source: LocalStack: TestSecretsManager::test_no_client_request_token, 2023-05-12.
/// Source: LocalStack: TestSecretsManager::test_secret_not_found, 2024-03-15.
/// Source: LocalStack: TestSecretsManager::test_invalid_secret_name, 2024-03-15.
#[tokio::test]
async fn an_exception_of_the_model_carries_message_with_a_capital_and_a_validation_exception_a_small_one() {
    let (aws, _) = world();
    let client = client(&aws);
    let absent = body(&client.describe_secret().secret_id("absent").send().await.expect_err("refused"));
    assert_eq!(absent["Message"], "Secrets Manager can't find the specified secret.");
    assert_eq!(absent.get("message"), None);
    let invalid = body(&client.describe_secret().secret_id("a b").send().await.expect_err("refused"));
    assert!(invalid["message"].as_str().is_some_and(|message| message.starts_with("Invalid name.")), "{invalid}");
    assert_eq!(invalid.get("Message"), None);
}

/// Source: LocalStack: TestSecretsManager::test_secret_tags, 2024-04-01.
/// Source: LocalStack: TestSecretsManager::test_create_secret_version_from_empty_secret, 2024-03-15.
#[tokio::test]
async fn what_a_secret_never_had_is_left_out_and_the_last_tag_leaves_an_empty_list() {
    let (aws, _) = world();
    let client = client(&aws);
    client.create_secret().name("s").send().await.expect("created without a value");
    let described = || async { client.describe_secret().secret_id("s").send().await.expect("described") };
    assert_eq!(described().await.tags, None);
    assert_eq!(described().await.version_ids_to_stages, None);

    client.tag_resource().secret_id("s").tags(tag("one", "1")).send().await.expect("tagged");
    assert_eq!(described().await.tags, Some(vec![tag("one", "1")]));
    client.untag_resource().secret_id("s").tag_keys("one").send().await.expect("untagged");
    assert_eq!(described().await.tags, Some(Vec::new()));
}

/// Source: LocalStack: TestSecretsManager::test_update_secret_description, 2024-03-15.
#[tokio::test]
async fn a_value_put_by_hand_is_no_rotation_of_a_secret_that_does_not_rotate() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    client.put_secret_value().secret_id("s").secret_string("two").send().await.expect("put");
    client.update_secret().secret_id("s").secret_string("three").send().await.expect("updated");

    let described = client.describe_secret().secret_id("s").send().await.expect("described");
    assert_eq!((described.last_rotated_date(), described.rotation_enabled()), (None, None));
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>.
#[tokio::test]
async fn names_are_letters_digits_and_a_few_signs() {
    let (aws, _) = world();
    let client = client(&aws);
    client.create_secret().name("Az09/_+=.@-").send().await.expect("all that is allowed");

    for name in ["a b", "a:b", "ä", &"x".repeat(513)] {
        let (code, _) = refused(client.create_secret().name(name).send().await);
        assert_eq!(code, "ValidationException", "{name}");
    }
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_TagResource.html>.
#[tokio::test]
async fn tags_are_at_most_50_with_keys_of_128_and_values_of_256_and_none_begins_with_aws() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    let tagged = |tag: Tag| client.tag_resource().secret_id("s").tags(tag);
    tagged(tag(&"k".repeat(128), &"v".repeat(256))).send().await.expect("the longest tag");

    for wrong in [tag(&"k".repeat(129), "v"), tag("k", &"v".repeat(257)), tag("k", "a,b"), tag("aws:k", "v")] {
        assert_eq!(refused(tagged(wrong).send().await).0, "InvalidParameterException");
    }
    for number in 0..49 {
        tagged(tag(&format!("k{number}"), "v")).send().await.expect("room for 50");
    }
    assert_eq!(refused(tagged(tag("one-more", "v")).send().await).0, "InvalidParameterException");

    client.untag_resource().secret_id("s").tag_keys("k0").send().await.expect("untagged");
    let described = client.describe_secret().secret_id("s").send().await.expect("described");
    assert_eq!(described.tags().len(), 49);
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html>.
#[tokio::test]
async fn list_secrets_filters_by_the_beginning_of_names_and_tags_and_pages() {
    let (aws, _) = world();
    let client = client(&aws);
    for (name, owner) in [("api/a", "red"), ("api/b", "blue"), ("api/c", "red"), ("other", "red")] {
        client.create_secret().name(name).tags(tag("team", owner)).send().await.expect("created");
    }
    let filter = |key, value: &str| Filter::builder().key(key).values(value).build();

    let mut pages = client
        .list_secrets()
        .filters(filter(FilterNameStringType::Name, "api/"))
        .filters(filter(FilterNameStringType::TagValue, "re"))
        .max_results(1)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.expect("a page");
        assert!(page.secret_list().len() <= 1);
        found.extend(page.secret_list.unwrap_or_default().into_iter().filter_map(|entry| entry.name));
    }
    found.sort();
    assert_eq!(found, ["api/a", "api/c"]);

    let without = client.list_secrets().filters(filter(FilterNameStringType::TagKey, "!team")).send().await;
    assert!(without.expect("listed").secret_list().is_empty());
    let unknown = client.list_secrets().filters(filter(FilterNameStringType::OwningService, "x")).send().await;
    assert_eq!(refused(unknown).0, "ValidationException", "an unknown filter is refused, not ignored");
}

/// Source: LocalStack: TestSecretsManager::test_list_secrets_filtering, 2024-04-10.
/// Source: moto: test_with_filter_with_value_with_multiple_words (aws_verified).
/// Source: moto: test_with_duplicate_filter_keys (aws_verified).
#[tokio::test]
async fn list_secrets_filters_names_by_their_beginning_and_descriptions_by_the_beginning_of_every_word() {
    let (aws, _) = world();
    let client = client(&aws);
    for (name, description) in [
        ("testing1/one", "a secret"),
        ("/testing2/two", "an secret"),
        ("testing3/three", "asecret"),
        ("/testing4/four", "thesecret"),
    ] {
        client.create_secret().name(name).description(description).secret_string("x").send().await.expect("created");
    }
    let filter = |key: &str, value: &str| Filter::builder().key(key.into()).values(value).build();
    let listed = async |filters: &[(&str, &str)]| {
        let filters = filters.iter().map(|(key, value)| filter(key, value)).collect();
        let listed = client.list_secrets().set_filters(Some(filters)).send().await.expect("listed");
        let digit = |name: &str| name.chars().find(char::is_ascii_digit);
        let mut found: Vec<char> =
            listed.secret_list().iter().filter_map(|secret| digit(secret.name().unwrap_or_default())).collect();
        found.sort_unstable();
        found.into_iter().collect::<String>()
    };
    for (filters, expected) in [
        (vec![("name", "/")], "24"),
        (vec![("name", "!/")], "13"),
        (vec![("name", "Testing")], ""),
        (vec![("name", "testing1 one")], ""),
        (vec![("description", "a")], "123"),
        (vec![("description", "!a")], "4"),
        (vec![("description", "a secret")], "12"),
        (vec![("description", "s a")], "12"),
        (vec![("description", "ecret")], ""),
        (vec![("description", "a"), ("name", "secret")], ""),
        (vec![("description", "an"), ("description", "secret")], "2"),
        (vec![("description", "!c")], "1234"),
    ] {
        assert_eq!(listed(&filters).await, expected, "{filters:?}");
    }
}

/// Source: LocalStack: TestSecretsManager::test_tag_untag_resource_on_deleted_secret, 2026-01-29.
/// Source: LocalStack: TestSecretsManager::test_secret_restore, 2024-03-20.
#[tokio::test]
async fn a_deleted_secret_refuses_every_use_until_it_is_restored() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    client.delete_secret().secret_id("s").send().await.expect("deleted");

    assert_eq!(refused(client.get_secret_value().secret_id("s").send().await).0, "InvalidRequestException");
    let put = client.put_secret_value().secret_id("s").client_request_token(SECOND).secret_string("two");
    assert_eq!(refused(put.send().await).0, "InvalidRequestException");
    assert_eq!(refused(client.create_secret().name("s").send().await).0, "InvalidRequestException");
    let described = client.describe_secret().secret_id("s").send().await.expect("can still be described");
    assert!(described.deleted_date().is_some());
    assert!(client.list_secrets().send().await.expect("listed").secret_list().is_empty());

    client.restore_secret().secret_id("s").send().await.expect("restored");
    assert_eq!(value(&client, "s", "AWSCURRENT").await.as_deref(), Some("one"));
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html>.
#[tokio::test]
async fn a_deleted_secret_is_gone_after_its_recovery_window_of_7_to_30_days() {
    let (aws, clock) = world();
    let client = client(&aws);
    let arn = create(&client, "s").await;
    let delete = |days| client.delete_secret().secret_id("s").recovery_window_in_days(days);

    assert_eq!(refused(delete(6).send().await).0, "InvalidParameterException");
    assert_eq!(refused(delete(31).send().await).0, "InvalidParameterException");
    delete(7).send().await.expect("deleted");
    clock.advance(Duration::from_secs(7 * 86_400));

    assert_eq!(refused(client.describe_secret().secret_id("s").send().await).0, "ResourceNotFoundException");
    assert_ne!(create(&client, "s").await, arn, "under its name, but another secret");
}

/// Source: LocalStack: TestSecretsManager::test_can_recreate_delete_secret, 2024-03-15.
#[tokio::test]
async fn a_secret_deleted_without_recovery_is_gone_at_once() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    let force = client.delete_secret().secret_id("s").force_delete_without_recovery(true);

    assert_eq!(refused(force.clone().recovery_window_in_days(7).send().await).0, "InvalidParameterException");
    force.clone().send().await.expect("deleted");
    force.send().await.expect("what is not there is deleted, too");

    create(&client, "s").await;
}

/// Source: LocalStack: TestSecretsManager::test_delete_non_existent_secret_returns_as_if_secret_exists, 2024-03-15.
/// Source: LocalStack: TestSecretsManager::test_force_delete_deleted_secret, 2024-10-11.
#[tokio::test]
async fn forcing_the_deletion_of_a_deleted_or_nonexistent_secret_succeeds_by_name_and_by_arn() {
    let (aws, _) = world();
    let client = client(&aws);
    let arn = create(&client, "s").await;
    let force = |id: &str| client.delete_secret().secret_id(id).force_delete_without_recovery(true).send();
    client.delete_secret().secret_id("s").send().await.expect("scheduled");

    assert_eq!(refused(client.delete_secret().secret_id("s").send().await).0, "InvalidRequestException");
    force("s").await.expect("what is scheduled is deleted at once");
    assert_eq!(refused(client.restore_secret().secret_id("s").send().await).0, "ResourceNotFoundException");
    for id in ["s", &arn] {
        let told = force(id).await.expect("nonexistent");
        assert_eq!(told.name(), Some("s"));
        assert!(told.arn().is_some_and(|arn| arn.contains(":secret:s-")), "{told:?}");
        assert!(told.deletion_date().is_some());
        let unforced = client.delete_secret().secret_id(id).send().await;
        assert_eq!(refused(unforced).0, "ResourceNotFoundException");
    }
}

/// Source: LocalStack: TestSecretsManager::test_exp_raised_on_creation_of_secret_scheduled_for_deletion, 2024-03-15.
#[tokio::test]
async fn a_name_is_free_again_only_when_its_secret_is_restored_or_gone() {
    let (aws, clock) = world();
    let client = client(&aws);
    create(&client, "s").await;
    let recreate = || client.create_secret().name("s").client_request_token(SECOND).secret_string("two").send();
    let delete = client.delete_secret().secret_id("s").recovery_window_in_days(30);
    let deleted = delete.send().await.expect("the longest window");
    let due = (aws.now() + Duration::from_secs(30 * 86_400)).timestamp();
    assert_eq!(deleted.deletion_date().map(|at| at.secs()), Some(due));

    clock.advance(Duration::from_secs(30 * 86_400 - 1));
    let (code, message) = refused(recreate().await);
    assert_eq!(code, "InvalidRequestException");
    assert!(message.contains("already scheduled for deletion"), "{message}");
    clock.advance(Duration::from_secs(1));
    assert_eq!(refused(client.restore_secret().secret_id("s").send().await).0, "ResourceNotFoundException");
    recreate().await.expect("its window is over");
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html>.
#[tokio::test]
async fn describe_secret_tells_the_status_of_replicas() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    assert!(aws.set_replica("s", "eu-central-1", "InProgress"));

    let described = client.describe_secret().secret_id("s").send().await.expect("described");

    let replica = &described.replication_status()[0];
    assert_eq!(replica.region(), Some("eu-central-1"));
    assert_eq!(replica.status().map(|status| status.as_str()), Some("InProgress"));
    assert_eq!(described.primary_region(), Some("eu-west-1"));
}

/// Source: LocalStack: TestSecretsManager::test_update_secret_description, 2024-03-15.
#[tokio::test]
async fn update_secret_with_a_value_makes_it_current() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;

    let update = client.update_secret().secret_id("s").description("new").client_request_token(SECOND);
    update.secret_string("two").send().await.expect("updated");

    assert_eq!(value(&client, "s", "AWSCURRENT").await.as_deref(), Some("two"));
    assert_eq!(value(&client, "s", "AWSPREVIOUS").await.as_deref(), Some("one"));
    let described = client.describe_secret().secret_id("s").send().await.expect("described");
    assert_eq!(described.description(), Some("new"));
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html>.
#[tokio::test]
async fn a_secret_is_encrypted_by_a_symmetric_key_that_is_enabled_or_not_at_all() {
    let (aws, _) = world();
    let (client, kms) = (client(&aws), aws_sdk_kms::Client::new(&sdk_config(&aws)));
    let key = kms.create_key().send().await.expect("a key").key_metadata.expect("told").key_id;
    let signs = kms.create_key().key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify);
    let signs = signs.send().await.expect("a key").key_metadata.expect("told").key_id;
    let create = |name: &str, key: &str| client.create_secret().name(name).secret_string("one").kms_key_id(key).send();
    for wrong in [&signs, "nosuch", "alias/nosuch"] {
        assert_eq!(refused(create("wrong", wrong).await).0, "EncryptionFailure", "{wrong}");
    }
    create("mine", &key).await.expect("created");
    create("own", "alias/aws/secretsmanager").await.expect("created");
    let encrypted_by =
        async |name: &str| client.describe_secret().secret_id(name).send().await.expect("described").kms_key_id;
    assert_eq!((encrypted_by("mine").await, encrypted_by("own").await), (Some(key.clone()), None));

    kms.disable_key().key_id(&key).send().await.expect("disabled");
    assert_eq!(refused(client.get_secret_value().secret_id("mine").send().await).0, "DecryptionFailure");
    let put = client.put_secret_value().secret_id("mine").secret_string("two").send().await;
    assert_eq!(refused(put).0, "EncryptionFailure");
    kms.enable_key().key_id(&key).send().await.expect("enabled");
    client.get_secret_value().secret_id("mine").send().await.expect("read");
    // An empty name stands for AWS's own key.
    client.update_secret().secret_id("mine").kms_key_id("").send().await.expect("updated");
    assert_eq!(encrypted_by("mine").await, None);
}
