//! API keys.

use super::*;

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

#[tokio::test]
async fn a_second_key_with_the_same_value_is_a_conflict() {
    let gateway = gateway();
    gateway.key("acme", VALUE).await;
    let second = gateway.client.create_api_key().name("other").value(VALUE).send().await;
    let second = second.unwrap_err().into_service_error();
    assert!(second.is_conflict_exception());
    assert_eq!(second.message(), Some("API Key already exists"));
}

#[tokio::test]
async fn a_value_that_is_not_20_to_128_letters_and_digits_is_refused() {
    let gateway = gateway();
    for value in ["a".repeat(19), "a".repeat(129), format!("{VALUE}-"), format!("{VALUE} ")] {
        assert_eq!(refusal(gateway.client.create_api_key().value(value).send().await), "BadRequestException");
    }
    for value in ["a".repeat(20), "a".repeat(128)] {
        gateway.client.create_api_key().value(value).send().await.unwrap();
    }
}

#[tokio::test]
async fn a_key_without_a_chosen_value_gets_one_and_without_enabled_is_disabled() {
    let gateway = gateway();
    let created = gateway.client.create_api_key().name("acme").send().await.unwrap();
    assert_eq!(created.value().unwrap().len(), 40);
    assert!(!created.enabled());
}

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

#[tokio::test]
async fn an_unknown_key_is_not_found() {
    let gateway = gateway();
    let get = gateway.client.get_api_key().api_key("nosuchkey").send().await;
    assert!(get.unwrap_err().into_service_error().is_not_found_exception());
    let delete = gateway.client.delete_api_key().api_key("nosuchkey").send().await;
    assert!(delete.unwrap_err().into_service_error().is_not_found_exception());
}

#[tokio::test]
async fn get_api_keys_pages_up_to_500() {
    let gateway = gateway();
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

#[tokio::test]
async fn get_api_keys_filters_by_the_beginning_of_the_name_and_by_customer() {
    let gateway = gateway();
    gateway.key("acme-1", VALUE).await;
    gateway.key("other-acme", OTHER).await;
    let created = gateway.client.create_api_key().name("acme-2").customer_id("c-1");
    created.value("x".repeat(30)).send().await.unwrap();
    let named = gateway.client.get_api_keys().name_query("acme").send().await.unwrap();
    assert_eq!(named.items().len(), 2);
    let of_customer = gateway.client.get_api_keys().customer_id("c-1").send().await.unwrap();
    assert_eq!(of_customer.items()[0].name(), Some("acme-2"));
    assert_eq!(of_customer.items().len(), 1);
}

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

#[tokio::test]
async fn only_replace_patches_are_taken() {
    let gateway = gateway();
    let key = gateway.key("acme", VALUE).await;
    let remove = PatchOperation::builder().op(Op::Remove).path("/description").build();
    let patch = gateway.client.update_api_key().api_key(&key).patch_operations(remove);
    assert_eq!(refusal(patch.send().await), "BadRequestException");
}

#[tokio::test]
async fn the_value_of_a_deleted_key_is_free_again_and_makes_another_key() {
    let gateway = gateway();
    let first = gateway.key("acme", VALUE).await;
    gateway.client.delete_api_key().api_key(&first).send().await.unwrap();
    let second = gateway.key("acme", VALUE).await;
    assert_ne!(first, second);
}
