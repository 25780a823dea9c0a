//! API keys.

use super::*;

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_CreateApiKey.html>.
#[tokio::test]
async fn create_api_key_takes_a_value_that_the_caller_chose() {
    let gateway = gateway();
    let created = gateway.client.create_api_key().name("acme").description("their key").customer_id("c-1");
    let created = created.value(VALUE).enabled(true).tags("team", "orders").send().await.unwrap();
    assert_eq!(created.value(), Some(VALUE));
    assert_eq!(created.name(), Some("acme"));
    assert_eq!(created.description(), Some("their key"));
    assert_eq!(created.customer_id(), Some("c-1"));
    assert!(created.enabled());
    assert_eq!(created.tags().unwrap()["team"], "orders");
    assert_eq!(created.created_date().unwrap().secs(), gateway.aws.now().timestamp());
}

/// Source: serverless-add-api-key: <https://github.com/rrahul963/serverless-add-api-key/issues/27>, 2020-04-05.
#[tokio::test]
async fn a_second_key_with_the_same_value_is_a_conflict() {
    let gateway = gateway();
    gateway.key("acme", VALUE).await;
    let second = gateway.client.create_api_key().name("other").value(VALUE).send().await;
    let second = second.unwrap_err().into_service_error();
    assert!(second.is_conflict_exception());
    assert_eq!(second.message(), Some("API Key already exists"));
}

/// Source: LocalStack: TestApigatewayApiKeysCrud::test_create_api_key_with_invalid_value, 2025-09-26.
#[tokio::test]
async fn a_value_that_is_too_short_or_too_long_is_refused_and_an_empty_one_is_drawn() {
    let gateway = gateway();
    let create = |value: String| gateway.client.create_api_key().value(value).send();
    for (value, message) in [
        ("a".repeat(19), "API Key value should be at least 20 characters"),
        ("a".repeat(129), "API Key value exceeds maximum size of 128 characters"),
    ] {
        assert_eq!(refused(create(value).await), ("BadRequestException".into(), message.into()));
    }
    let drawn = create(String::new()).await.unwrap();
    assert!(drawn.value().unwrap().len() >= 20);
}

/// Source: LocalStack: TestApigatewayApiKeysCrud::test_create_api_key_with_invalid_name, 2025-09-26.
/// Source: LocalStack: TestApigatewayApiKeysCrud::test_update_api_key_invalid_description_length, 2025-09-26.
#[tokio::test]
async fn a_name_has_at_most_1024_characters_a_description_125_000_and_an_empty_name_is_none() {
    let gateway = gateway();
    let create = || gateway.client.create_api_key();
    let (_, message) = refused(create().name("a".repeat(1025)).send().await);
    assert_eq!(message, "Invalid API Key name, can be at most 1024 characters.");
    assert_eq!(create().name("").send().await.unwrap().name(), None);
    let too_long = "a".repeat(125_001);
    let (_, message) = refused(create().description(&too_long).send().await);
    assert_eq!(message, "Invalid API Key description specified.");
    let key = id(create().send().await.unwrap().id());
    let update = gateway.client.update_api_key().api_key(key).patch_operations(replace("/description", too_long));
    assert_eq!(refused(update.send().await).1, "Invalid API Key description specified.");
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-key-file-format.html>.
#[tokio::test]
async fn a_value_that_is_not_20_to_128_letters_digits_and_hyphens_is_refused() {
    let gateway = gateway();
    for value in ["a".repeat(19), "a".repeat(129), format!("{VALUE}_"), format!("{VALUE} ")] {
        assert_eq!(refusal(gateway.client.create_api_key().value(value).send().await), "BadRequestException");
    }
    for value in ["a".repeat(20), "a".repeat(128), format!("{VALUE}-")] {
        gateway.client.create_api_key().value(value).send().await.unwrap();
    }
}

/// How long the value is that AWS draws is assumed.
///
/// Source: LocalStack: TestApigatewayApiKeysCrud::test_create_api_key_with_invalid_name, 2025-09-26.
#[tokio::test]
async fn a_key_without_a_chosen_value_gets_one_and_without_enabled_is_disabled() {
    let gateway = gateway();
    let created = gateway.client.create_api_key().name("acme").send().await.unwrap();
    assert_eq!(created.value().unwrap().len(), 40);
    assert!(!created.enabled());
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_GetApiKey.html>.
#[tokio::test]
async fn the_value_is_told_only_when_asked_for() {
    let gateway = gateway();
    let key = gateway.key("acme", VALUE).await;
    let get = || gateway.client.get_api_key().api_key(&key);
    assert_eq!(get().send().await.unwrap().value(), None);
    assert_eq!(get().include_value(true).send().await.unwrap().value(), Some(VALUE));
    let list = || gateway.client.get_api_keys();
    assert_eq!(list().send().await.unwrap().items()[0].value(), None);
    assert_eq!(list().include_values(true).send().await.unwrap().items()[0].value(), Some(VALUE));
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_GetApiKey.html>.
#[tokio::test]
async fn an_unknown_key_is_not_found() {
    let gateway = gateway();
    let get = gateway.client.get_api_key().api_key("nosuchkey").send().await;
    assert!(get.unwrap_err().into_service_error().is_not_found_exception());
    let delete = gateway.client.delete_api_key().api_key("nosuchkey").send().await;
    assert!(delete.unwrap_err().into_service_error().is_not_found_exception());
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_GetApiKeys.html>.
#[tokio::test]
async fn get_api_keys_pages_up_to_500() {
    let gateway = gateway();
    gateway.aws.must_be_empty();
    for number in 0..30 {
        gateway.key(&format!("key {number}"), &format!("{VALUE}{number}")).await;
    }
    assert_eq!(gateway.client.get_api_keys().send().await.unwrap().items().len(), 25, "the default");
    let mut seen = std::collections::BTreeSet::new();
    let mut position = None;
    loop {
        let page = gateway.client.get_api_keys().limit(7).set_position(position).send().await.unwrap();
        assert!(page.items().len() <= 7);
        seen.extend(page.items().iter().map(|key| id(key.id())));
        position = page.position().map(str::to_owned);
        if position.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 30);
    assert_eq!(gateway.client.get_api_keys().limit(500).send().await.unwrap().items().len(), 30);
    assert_eq!(refusal(gateway.client.get_api_keys().limit(501).send().await), "BadRequestException");
}

/// Source: LocalStack: TestApigatewayApiKeysCrud::test_get_api_keys, 2024-10-10.
#[tokio::test]
async fn get_api_keys_lists_the_newest_first_and_goes_on_from_an_opaque_position() {
    let gateway = gateway();
    let mut keys = Vec::new();
    for number in 0..5 {
        keys.push(gateway.key(&format!("key {number}"), &format!("{VALUE}{number}")).await);
    }
    keys.reverse();
    let mut listed = Vec::new();
    let mut position = None;
    loop {
        let page =
            gateway.client.get_api_keys().name_query("key ").limit(2).set_position(position).send().await.unwrap();
        listed.extend(page.items().iter().map(|key| id(key.id())));
        position = page.position().map(str::to_owned);
        match &position {
            Some(position) => assert!(!keys.contains(position), "{position}"),
            None => break,
        }
    }
    assert_eq!(listed, keys);
}

/// Source: LocalStack: TestApigatewayApiKeysCrud::test_negative_get_usage_plan_api_keys, 2025-09-26.
#[tokio::test]
async fn a_negative_limit_is_taken() {
    let gateway = gateway();
    gateway.key("zenith-limit", VALUE).await;
    assert_eq!(
        gateway.client.get_api_keys().name_query("zenith-limit").limit(-1).send().await.unwrap().items().len(),
        1
    );
}

/// Source: LocalStack: TestApigatewayApiKeysCrud::test_get_api_keys, 2024-10-10.
#[tokio::test]
async fn get_api_keys_filters_by_the_beginning_of_the_name_and_by_customer() {
    let gateway = gateway();
    gateway.key("zenith-1", VALUE).await;
    gateway.key("other-zenith", OTHER).await;
    let created = gateway.client.create_api_key().name("zenith-2").customer_id("zenith-customer");
    created.value("x".repeat(30)).send().await.unwrap();
    let named = gateway.client.get_api_keys().name_query("zenith").send().await.unwrap();
    assert_eq!(named.items().len(), 2);
    let of_customer = gateway.client.get_api_keys().customer_id("zenith-customer").send().await.unwrap();
    assert_eq!(of_customer.items()[0].name(), Some("zenith-2"));
    assert_eq!(of_customer.items().len(), 1);
    for other in ["Zenith", "enith", "zenith-1-"] {
        assert!(gateway.client.get_api_keys().name_query(other).send().await.unwrap().items().is_empty(), "{other}");
    }
}

/// Source: LocalStack: TestApigatewayApiKeysCrud::test_update_api_key_invalid_enabled_type, 2025-09-26.
#[tokio::test]
async fn whatever_is_not_true_disables_a_key() {
    let gateway = gateway();
    let key = gateway.key("acme", VALUE).await;
    let patch = gateway.client.update_api_key().api_key(&key).patch_operations(replace("/enabled", "not-a-boolean"));
    assert!(!patch.send().await.unwrap().enabled());
    assert!(!gateway.client.get_api_key().api_key(&key).send().await.unwrap().enabled());
}

/// Source: LocalStack: TestApigatewayApiKeysCrud::test_update_api_key_immutable_field, 2025-09-26.
#[tokio::test]
async fn a_patch_of_another_path_is_refused_with_the_paths_that_there_are() {
    let gateway = gateway();
    let key = gateway.key("acme", VALUE).await;
    let patch = gateway.client.update_api_key().api_key(&key).patch_operations(replace("/id", "x"));
    let message = "Invalid patch path  '/id' specified for op 'replace'. Must be one of: \
                   [/description, /enabled, /name, /customerId]";
    assert_eq!(refused(patch.send().await), ("BadRequestException".into(), message.into()));
}

/// Source: LocalStack: TestUsagePlans::test_api_key_required_for_methods, 2023-07-27.
/// Source: LocalStack: TestApigatewayApiKeysCrud::test_get_api_keys, 2024-10-10.
#[tokio::test]
async fn a_key_without_tags_has_an_empty_map_of_them_in_the_answer_of_update_api_key_alone() {
    let gateway = gateway();
    let created = gateway.client.create_api_key().name("acme").send().await.unwrap();
    assert_eq!(created.tags(), None);
    assert_eq!(gateway.client.get_api_keys().send().await.unwrap().items()[0].tags(), None);
    let patch = gateway.client.update_api_key().api_key(id(created.id())).patch_operations(replace("/name", "a"));
    assert_eq!(patch.send().await.unwrap().tags(), Some(&std::collections::HashMap::new()));
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_UpdateApiKey.html>.
#[tokio::test]
async fn update_api_key_changes_name_description_customer_and_enabled() {
    let gateway = gateway();
    let key = gateway.key("acme", VALUE).await;
    let patch = gateway.client.update_api_key().api_key(&key).patch_operations(replace("/name", "acme 2"));
    let patch = patch.patch_operations(replace("/description", "new")).patch_operations(replace("/customerId", "c-2"));
    let patched = patch.patch_operations(replace("/enabled", "false")).send().await.unwrap();
    assert_eq!(patched.name(), Some("acme 2"));
    assert_eq!(patched.description(), Some("new"));
    assert_eq!(patched.customer_id(), Some("c-2"));
    assert!(!patched.enabled());
}

/// That a patch is applied whole is assumed.
///
/// Source: LocalStack: TestApigatewayApiKeysCrud::test_update_api_key_immutable_field, 2025-09-26.
#[tokio::test]
async fn a_keys_value_can_not_be_changed() {
    let gateway = gateway();
    let key = gateway.key("acme", VALUE).await;
    let patch = gateway.client.update_api_key().api_key(&key);
    let patch = patch.patch_operations(replace("/name", "new")).patch_operations(replace("/value", OTHER));
    assert_eq!(refusal(patch.send().await), "BadRequestException");
    let unchanged = gateway.client.get_api_key().api_key(&key).send().await.unwrap();
    assert_eq!(unchanged.name(), Some("acme"), "a patch is applied whole or not at all");
}

/// The words are those of UpdateUsage's refusal to add.
///
/// Source: boto3: <https://github.com/boto/boto3/issues/2504>, 2020-07-09.
#[tokio::test]
async fn only_replace_patches_are_taken() {
    let gateway = gateway();
    let key = gateway.key("acme", VALUE).await;
    let remove = PatchOperation::builder().op(Op::Remove).path("/description").build();
    let patch = gateway.client.update_api_key().api_key(&key).patch_operations(remove);
    let said = "Invalid patch path  '/description' specified for op 'remove'. Must be one of: []";
    assert_eq!(refused(patch.send().await), ("BadRequestException".into(), said.into()));
}

/// Assumed: nothing public says that a value is kept back.
#[tokio::test]
async fn the_value_of_a_deleted_key_is_free_again_and_makes_another_key() {
    let gateway = gateway();
    let first = gateway.key("acme", VALUE).await;
    gateway.client.delete_api_key().api_key(&first).send().await.unwrap();
    let second = gateway.key("acme", VALUE).await;
    assert_ne!(first, second);
}
