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

/// Source: serverless: <https://github.com/serverless/serverless/issues/2831>, 2016-11-30.
#[tokio::test]
async fn a_usage_plan_for_a_stage_that_does_not_exist_is_refused() {
    let gateway = gateway();
    let open = ApiStage::builder().api_id("nosuchapi").stage("demo").build();
    let plan = gateway.client.create_usage_plan().name("gold").api_stages(open).send().await;
    assert_eq!(refused(plan), ("NotFoundException".into(), "API Stage not found: nosuchapi:demo".into()));
}

/// Quota and throttle come one member at a time, and the answer has tags although nobody asked for them.
///
/// Source: LocalStack: TestUsagePlans::test_usage_plan_crud, 2024-03-20.
#[tokio::test]
async fn update_usage_plan_sets_a_quota_and_a_throttle_where_there_was_none() {
    let gateway = gateway();
    let plan = id(gateway.client.create_usage_plan().name("gold").send().await.unwrap().id());
    let update = gateway.client.update_usage_plan().usage_plan_id(&plan);
    let update = update.patch_operations(replace("/throttle/burstLimit", 100));
    let update = update.patch_operations(replace("/throttle/rateLimit", 200));
    let update = update.patch_operations(replace("/quota/period", "MONTH"));
    let updated = update.patch_operations(replace("/quota/limit", 5000)).send().await.unwrap();
    let (quota, throttle) = (updated.quota().unwrap(), updated.throttle().unwrap());
    assert_eq!((quota.limit(), quota.offset(), quota.period()), (5000, 0, Some(&QuotaPeriodType::Month)));
    assert_eq!((throttle.burst_limit(), throttle.rate_limit()), (100, 200.0));
    assert_eq!(updated.tags(), Some(&std::collections::HashMap::new()));
    let got = gateway.client.get_usage_plan().usage_plan_id(&plan).send().await.unwrap();
    assert_eq!((got.quota(), got.throttle()), (updated.quota(), updated.throttle()));
}

/// Source: LocalStack: TestUsagePlans::test_usage_plan_crud, 2024-03-20.
#[tokio::test]
async fn update_usage_plan_of_an_unknown_plan_or_to_remove_a_stage_that_it_has_not_is_refused_in_aws_s_words() {
    let gateway = gateway();
    let plan = id(gateway.client.create_usage_plan().name("gold").send().await.unwrap().id());
    let unknown = gateway.client.update_usage_plan().usage_plan_id("nosuch").patch_operations(replace("/name", "x"));
    assert_eq!(refused(unknown.send().await), ("NotFoundException".into(), "Invalid Usage Plan ID specified".into()));
    let remove = async |value: Option<&str>| {
        let patch = PatchOperation::builder().op(Op::Remove).path("/apiStages").set_value(value.map(str::to_owned));
        refused(gateway.client.update_usage_plan().usage_plan_id(&plan).patch_operations(patch.build()).send().await)
    };
    for no_stage in [None, Some("fakevalue")] {
        assert_eq!(remove(no_stage).await, ("BadRequestException".into(), "Invalid API Stage specified".into()));
    }
    let said = format!("Invalid API Stage {{api: nosuchapi, stage: dev}} specified for usageplan {plan}");
    assert_eq!(remove(Some("nosuchapi:dev")).await, ("NotFoundException".into(), said));
}

/// Source: boto3: <https://github.com/boto/boto3/issues/825>, 2016-09-28.
#[tokio::test]
async fn update_usage_plan_adds_no_stage_that_does_not_exist() {
    let gateway = gateway();
    let plan = id(gateway.client.create_usage_plan().name("gold").send().await.unwrap().id());
    let add = PatchOperation::builder().op(Op::Add).path("/apiStages").value("nosuchapi:dev").build();
    let added = gateway.client.update_usage_plan().usage_plan_id(&plan).patch_operations(add).send().await;
    assert_eq!(refused(added), ("NotFoundException".into(), "API Stage not found: nosuchapi:dev".into()));
}

/// Source: moto: <https://github.com/getmoto/moto/issues/7360>, 2024-02-18.
#[tokio::test]
async fn update_usage_plan_adds_and_removes_stages_and_renames() {
    let gateway = gateway();
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    gateway.attach(&key, &plan).await;
    let patch = |op, stage: &str| {
        PatchOperation::builder().op(op).path("/apiStages").value(format!("{}:{stage}", *gateway.api)).build()
    };
    let update = || gateway.client.update_usage_plan().usage_plan_id(&plan);
    let moved = update().patch_operations(patch(Op::Add, "test")).patch_operations(patch(Op::Remove, "prod"));
    let moved = moved.patch_operations(replace("/name", "silver")).patch_operations(replace("/description", "second"));
    let moved = moved.send().await.unwrap();
    assert_eq!((moved.name(), moved.description()), (Some("silver"), Some("second")));
    let stages: Vec<_> = moved.api_stages().iter().map(|open| open.stage()).collect();
    assert_eq!(stages, [Some("test")]);
    assert_eq!(gateway.get("/prod/ping", Some(VALUE)).await.0, 403);
    assert_eq!(gateway.get("/test/ping", Some(VALUE)).await.0, 200);
    update().patch_operations(patch(Op::Remove, "test")).send().await.unwrap();
    gateway.client.delete_usage_plan().usage_plan_id(&plan).send().await.unwrap();
}

/// Assumed: CreateUsagePlanKey refuses the same from the other side, in these words.
#[tokio::test]
async fn update_usage_plan_adds_no_stage_that_another_plan_opens_to_one_of_its_keys() {
    let gateway = gateway();
    let (prod, test) = (gateway.plan().await, gateway.plan_with("test", None, None).await);
    let key = gateway.key("acme", VALUE).await;
    gateway.attach(&key, &prod).await;
    gateway.attach(&key, &test).await;
    let add = PatchOperation::builder().op(Op::Add).path("/apiStages").value(format!("{}:prod", *gateway.api)).build();
    let added = gateway.client.update_usage_plan().usage_plan_id(&test).patch_operations(add).send().await;
    assert_eq!(refused(added).0, "ConflictException");
}

/// What AWS removes is recorded; of the other operations only UpdateApiKey's and UpdateUsage's words are.
///
/// Source: boto3: <https://github.com/boto/boto3/issues/2629>, 2020-10-09.
#[tokio::test]
async fn update_usage_plan_refuses_other_paths_and_operations_and_then_changes_nothing() {
    let gateway = gateway();
    let plan = gateway.plan().await;
    let update = |patch| {
        let update = gateway.client.update_usage_plan().usage_plan_id(&plan).patch_operations(replace("/name", "x"));
        update.patch_operations(patch).send()
    };
    let (_, said) = refused(update(PatchOperation::builder().op(Op::Remove).path("/apiStages/a1:dev").build()).await);
    assert_eq!(
        said,
        "Invalid patch path  '/apiStages/a1:dev' specified for op 'remove'. Must be one of: [/apiStages, /quota, \
         /throttle, /productCode, /apiStages/<apidId:stageName>/throttle/<resourcePath>/<httpMethod>, \
         /apiStages/<apidId:stageName>/throttle]"
    );
    let (code, said) = refused(update(replace("/productCode", "p")).await);
    assert_eq!(code, "BadRequestException");
    assert!(
        said.starts_with("Invalid patch path  '/productCode' specified for op 'replace'. Must be one of: ["),
        "{said}"
    );
    let (_, said) = refused(update(PatchOperation::builder().op(Op::Copy).path("/name").build()).await);
    assert_eq!(said, "Invalid patch path  '/name' specified for op 'copy'. Must be one of: []");
    for (path, value) in
        [("/quota/period", "YEAR"), ("/quota/limit", "many"), ("/quota/limit", "1"), ("/throttle/rateLimit", "1")]
    {
        assert_eq!(refused(update(replace(path, value)).await).0, "BadRequestException", "{path} {value}");
    }
    let got = gateway.client.get_usage_plan().usage_plan_id(&plan).send().await.unwrap();
    assert_eq!((got.name(), got.quota(), got.throttle()), (Some("gold"), None, None));
}

/// Assumed: AWS says nothing of what was used before; a limit that is raised must let the next call through.
#[tokio::test]
async fn another_quota_and_another_throttle_hold_from_then_on_for_what_was_used_before() {
    let gateway = gateway();
    let plan = gateway.plan_with("prod", quota(2, 0, QuotaPeriodType::Day), None).await;
    let key = gateway.key("acme", VALUE).await;
    gateway.attach(&key, &plan).await;
    assert_eq!((gateway.ping(VALUE).await, gateway.ping(VALUE).await, gateway.ping(VALUE).await), (200, 200, 429));
    let update = || gateway.client.update_usage_plan().usage_plan_id(&plan);
    update().patch_operations(replace("/quota/limit", 3)).send().await.unwrap();
    assert_eq!(gateway.usage(&plan, &key).await, Some(vec![2, 1]));
    assert_eq!((gateway.ping(VALUE).await, gateway.ping(VALUE).await), (200, 429));
    let throttled = update().patch_operations(replace("/throttle/rateLimit", 1));
    let throttled = throttled.patch_operations(replace("/throttle/burstLimit", 1));
    throttled.patch_operations(replace("/quota/limit", 100)).send().await.unwrap();
    let (status, error, _) = gateway.get("/prod/ping", Some(VALUE)).await;
    assert_eq!((status, error), (200, None));
    let (status, error, _) = gateway.get("/prod/ping", Some(VALUE)).await;
    assert_eq!((status, error.as_deref()), (429, Some("TooManyRequestsException")));
    let remove = |path| PatchOperation::builder().op(Op::Remove).path(path).build();
    let free = update().patch_operations(remove("/throttle")).patch_operations(remove("/quota")).send().await.unwrap();
    assert_eq!((free.throttle(), free.quota()), (None, None));
    assert_eq!(gateway.ping(VALUE).await, 200);
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

/// Source: aws-sdk-js: <https://github.com/aws/aws-sdk-js/issues/3841>, 2021-07-19.
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

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_CreateUsagePlanKey.html>.
#[tokio::test]
async fn attaching_a_key_twice_is_a_conflict() {
    let gateway = gateway();
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    gateway.attach(&key, &plan).await;
    let again = gateway.client.create_usage_plan_key().usage_plan_id(&plan).key_id(&key).key_type("API_KEY");
    assert!(again.send().await.unwrap_err().into_service_error().is_conflict_exception());
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-api-usage-plans.html>.
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

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_CreateUsagePlanKey.html>.
#[tokio::test]
async fn attaching_an_unknown_key_or_to_an_unknown_plan_is_not_found() {
    let gateway = gateway();
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    for (plan, key) in [(plan.as_str(), "nosuchkey"), ("nosuch", key.as_str())] {
        let attach = gateway.client.create_usage_plan_key().usage_plan_id(plan).key_id(key).key_type("API_KEY");
        assert!(attach.send().await.unwrap_err().into_service_error().is_not_found_exception());
    }
}

/// Source: LocalStack: TestApigatewayApiKeysCrud::test_get_usage_plan_api_keys, 2025-09-26.
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

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_GetUsagePlanKeys.html>.
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
