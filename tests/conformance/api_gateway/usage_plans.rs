//! Usage plans and the keys in them.

use super::*;

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_CreateUsagePlan.html>.
#[tokio::test]
async fn a_usage_plan_keeps_its_stages_quota_throttle_and_tags() {
    let gateway = gateway();
    let open = ApiStage::builder().api_id(&*gateway.api).stage("prod").build();
    let throttle = ThrottleSettings::builder().burst_limit(20).rate_limit(10.5).build();
    let plan = gateway.client.create_usage_plan().name("gold").description("the best").api_stages(open);
    let plan = plan.set_quota(quota(1000, 2, QuotaPeriodType::Week)).throttle(throttle);
    let plan = plan.tags("rotator:allow", "acme-x").send().await.unwrap();
    let got = gateway.client.get_usage_plan().usage_plan_id(id(plan.id())).send().await.unwrap();
    assert_eq!((got.name(), got.description()), (Some("gold"), Some("the best")));
    assert_eq!((got.api_stages()[0].api_id(), got.api_stages()[0].stage()), (Some(gateway.api.as_str()), Some("prod")));
    let quota = got.quota().unwrap();
    assert_eq!((quota.limit(), quota.offset(), quota.period()), (1000, 2, Some(&QuotaPeriodType::Week)));
    let throttle = got.throttle().unwrap();
    assert_eq!((throttle.burst_limit(), throttle.rate_limit()), (20, 10.5));
    assert_eq!(got.tags().unwrap()["rotator:allow"], "acme-x");
}

#[tokio::test]
async fn a_usage_plan_for_a_stage_that_does_not_exist_is_refused() {
    let gateway = gateway();
    let open = ApiStage::builder().api_id(&*gateway.api).stage("nosuch").build();
    let plan = gateway.client.create_usage_plan().name("gold").api_stages(open).send().await;
    assert!(plan.unwrap_err().into_service_error().is_not_found_exception());
}

/// Source: LocalStack: TestUsagePlans::test_usage_plan_crud, 2024-03-20.
#[tokio::test]
async fn an_unknown_plan_is_not_found_and_a_plan_without_tags_has_an_empty_map_of_them_when_it_is_asked_for() {
    let gateway = gateway();
    let unknown = gateway.client.get_usage_plan().usage_plan_id("nosuch").send().await;
    assert_eq!(refused(unknown), ("NotFoundException".into(), "Invalid Usage Plan ID specified".into()));
    let created = gateway.client.create_usage_plan().name("gold").send().await.unwrap();
    assert_eq!(created.tags(), None);
    let plans = gateway.client.get_usage_plans().limit(500).send().await.unwrap();
    let listed = plans.items().iter().find(|plan| plan.id() == created.id()).expect("listed");
    assert_eq!(listed.tags(), None);
    let got = gateway.client.get_usage_plan().usage_plan_id(id(created.id())).send().await.unwrap();
    assert_eq!(got.tags(), Some(&std::collections::HashMap::new()));
}

/// Source: LocalStack: TestApigatewayApiKeysCrud::test_get_usage_plan_api_keys, 2025-09-26.
#[tokio::test]
async fn get_usage_plan_keys_lists_the_newest_first_and_none_of_an_unknown_plan() {
    let gateway = gateway();
    let plan = id(gateway.client.create_usage_plan().name("gold").send().await.unwrap().id());
    let mut keys = Vec::new();
    for number in 0..4 {
        let key = gateway.key(&format!("key {number}"), &format!("{VALUE}{number}")).await;
        gateway.attach(&key, &plan).await;
        keys.push(key);
    }
    keys.reverse();
    let of = |plan: &str| gateway.client.get_usage_plan_keys().usage_plan_id(plan).send();
    let listed: Vec<_> = of(&plan).await.unwrap().items().iter().map(|key| id(key.id())).collect();
    assert_eq!(listed, keys);
    assert!(of("nosuch").await.unwrap().items().is_empty());
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_GetUsagePlans.html>.
#[tokio::test]
async fn get_usage_plans_pages_and_filters_by_key() {
    let gateway = gateway();
    let (gold, test) = (gateway.plan().await, gateway.plan_with("test", None, None).await);
    let key = gateway.key("acme", VALUE).await;
    gateway.attach(&key, &gold).await;
    let of_key = gateway.client.get_usage_plans().key_id(&key).send().await.unwrap();
    assert_eq!(of_key.items().iter().map(|plan| id(plan.id())).collect::<Vec<_>>(), std::slice::from_ref(&gold));
    let first = gateway.client.get_usage_plans().limit(1).send().await.unwrap();
    let rest = gateway.client.get_usage_plans().position(first.position().unwrap()).send().await.unwrap();
    let mut all = [id(first.items()[0].id()), id(rest.items()[0].id())];
    let mut expected = [gold, test];
    all.sort();
    expected.sort();
    assert_eq!(all, expected);
    assert_eq!(rest.position(), None);
}

#[tokio::test]
async fn a_usage_plan_with_stages_can_not_be_deleted() {
    let gateway = gateway();
    let plan = gateway.plan().await;
    let deleted = gateway.client.delete_usage_plan().usage_plan_id(plan).send().await;
    assert_eq!(refusal(deleted), "BadRequestException");
    let empty = gateway.client.create_usage_plan().name("empty").send().await.unwrap();
    let key = gateway.key("acme", VALUE).await;
    gateway.attach(&key, empty.id().unwrap()).await;
    gateway.client.delete_usage_plan().usage_plan_id(id(empty.id())).send().await.unwrap();
    assert!(gateway.aws.inspect_api_keys()[0].plans.is_empty());
}

#[tokio::test]
async fn attaching_a_key_twice_is_a_conflict() {
    let gateway = gateway();
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    gateway.attach(&key, &plan).await;
    let again = gateway.client.create_usage_plan_key().usage_plan_id(&plan).key_id(&key).key_type("API_KEY");
    assert!(again.send().await.unwrap_err().into_service_error().is_conflict_exception());
}

#[tokio::test]
async fn a_key_can_be_in_only_one_plan_of_a_stage() {
    let gateway = gateway();
    let key = gateway.key("acme", VALUE).await;
    gateway.attach(&key, &gateway.plan().await).await;
    gateway.attach(&key, &gateway.plan_with("test", None, None).await).await;
    let clash = gateway.client.create_usage_plan_key().usage_plan_id(gateway.plan().await).key_id(&key);
    let clash = clash.key_type("API_KEY").send().await.unwrap_err().into_service_error();
    assert!(clash.is_conflict_exception());
    assert!(clash.message().unwrap().contains(&format!("{}:prod", *gateway.api)));
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html>.
#[tokio::test]
async fn a_key_can_be_in_ten_plans_at_most() {
    let gateway = gateway();
    let key = gateway.key("acme", VALUE).await;
    for _ in 0..10 {
        let plan = gateway.client.create_usage_plan().name("p").send().await.unwrap();
        gateway.attach(&key, plan.id().unwrap()).await;
    }
    let plan = gateway.client.create_usage_plan().name("p").send().await.unwrap();
    let eleventh = gateway.client.create_usage_plan_key().usage_plan_id(id(plan.id())).key_id(&key);
    assert_eq!(refusal(eleventh.key_type("API_KEY").send().await), "LimitExceededException");
}

#[tokio::test]
async fn attaching_an_unknown_key_or_to_an_unknown_plan_is_not_found() {
    let gateway = gateway();
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    for (plan, key) in [(plan.as_str(), "nosuchkey"), ("nosuch", key.as_str())] {
        let attach = gateway.client.create_usage_plan_key().usage_plan_id(plan).key_id(key).key_type("API_KEY");
        assert!(attach.send().await.unwrap_err().into_service_error().is_not_found_exception());
    }
}

#[tokio::test]
async fn the_keys_of_a_plan_are_listed_found_and_detached() {
    let gateway = gateway();
    let plan = gateway.plan().await;
    let (first, second) = (gateway.key("acme", VALUE).await, gateway.key("other", OTHER).await);
    gateway.attach(&first, &plan).await;
    gateway.attach(&second, &plan).await;
    let list = || gateway.client.get_usage_plan_keys().usage_plan_id(&plan);
    assert_eq!(list().send().await.unwrap().items().len(), 2);
    let named = list().name_query("acm").send().await.unwrap();
    assert_eq!(named.items()[0].id(), Some(&*first));
    assert_eq!(named.items().len(), 1);
    let get = || gateway.client.get_usage_plan_key().usage_plan_id(&plan).key_id(&first);
    assert_eq!(get().send().await.unwrap().name(), Some("acme"));
    gateway.client.delete_usage_plan_key().usage_plan_id(&plan).key_id(&first).send().await.unwrap();
    assert!(get().send().await.unwrap_err().into_service_error().is_not_found_exception());
    assert_eq!(list().send().await.unwrap().items().len(), 1);
}

#[tokio::test]
async fn the_keys_of_a_plan_are_listed_by_pages() {
    let gateway = gateway();
    let plan = gateway.plan().await;
    for value in [VALUE, OTHER] {
        gateway.attach(&gateway.key("acme", value).await, &plan).await;
    }
    let list = || gateway.client.get_usage_plan_keys().usage_plan_id(&plan).limit(1);
    let first = list().send().await.unwrap();
    let rest = list().position(first.position().expect("there is more")).send().await.unwrap();
    assert_eq!((first.items().len(), rest.items().len(), rest.position()), (1, 1, None));
    assert_ne!(first.items()[0].id(), rest.items()[0].id());
}
