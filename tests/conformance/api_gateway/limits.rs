//! The control plane's limits, its memory, and what it does not model.

use aws_sdk_apigateway::operation::get_api_keys::GetApiKeysError;

use super::super::transport::opened;
use super::*;

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html>.
#[tokio::test]
async fn the_control_plane_takes_40_calls_at_once_and_10_a_second_after_that() {
    let gateway = gateway();
    gateway.aws.settings(|settings| settings.control_plane_limits = true);
    for _ in 0..40 {
        gateway.client.get_api_keys().send().await.unwrap();
    }
    let throttled = gateway.client.get_api_keys().send().await.unwrap_err().into_service_error();
    assert_eq!(throttled.code(), Some("TooManyRequestsException"));
    let GetApiKeysError::TooManyRequestsException(throttled) = throttled else { panic!("{throttled:?}") };
    assert_eq!(throttled.retry_after_seconds(), Some("1"));
    gateway.clock.advance(Duration::from_secs(1));
    for _ in 0..10 {
        gateway.client.get_api_keys().send().await.unwrap();
    }
    assert_eq!(refusal(gateway.client.get_api_keys().send().await), "TooManyRequestsException");
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html>.
#[tokio::test]
async fn create_api_key_and_delete_api_key_take_5_a_second_each() {
    let gateway = gateway();
    gateway.aws.settings(|settings| settings.control_plane_limits = true);
    let mut keys = Vec::new();
    for number in 0..5 {
        keys.push(gateway.key("acme", &format!("{VALUE}{number}")).await);
    }
    let sixth = gateway.client.create_api_key().value(OTHER).send().await;
    assert_eq!(refusal(sixth), "TooManyRequestsException");
    gateway.clock.advance(Duration::from_millis(200));
    keys.push(gateway.key("acme", OTHER).await);
    for key in &keys[..5] {
        gateway.client.delete_api_key().api_key(key).send().await.unwrap();
    }
    let sixth = gateway.client.delete_api_key().api_key(&keys[5]).send().await;
    assert_eq!(refusal(sixth), "TooManyRequestsException");
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html>.
#[tokio::test]
async fn update_usage_plan_takes_one_call_in_20_seconds() {
    let gateway = gateway();
    let plan = gateway.plan().await;
    gateway.aws.settings(|settings| settings.control_plane_limits = true);
    let update = || gateway.client.update_usage_plan().usage_plan_id(&plan).patch_operations(replace("/name", "x"));
    update().send().await.unwrap();
    gateway.clock.advance(Duration::from_secs(19));
    assert_eq!(refusal(update().send().await), "TooManyRequestsException");
    gateway.clock.advance(Duration::from_secs(1));
    update().send().await.unwrap();
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html>.
#[tokio::test]
async fn an_account_has_room_for_10_000_keys() {
    let gateway = gateway();
    gateway.aws.must_be_empty();
    let rows: String = (0..10_000).map(|number| format!("k{number},{VALUE}{number}\n")).collect();
    gateway.import(&format!("name,key\n{rows}"), true).await.unwrap();
    let one_more = gateway.client.create_api_key().value(OTHER).send().await;
    assert_eq!(refusal(one_more), "LimitExceededException");
}

/// Embedded: its state directory.
#[tokio::test]
async fn keys_plans_and_usage_are_the_same_after_a_restart() {
    let dir = std::env::temp_dir().join(format!("local-aws-api-gateway-{}", std::process::id()));
    let open = |api: &str| {
        let clock = Arc::new(ManualClock::new(at("2026-03-02T10:30:00Z")));
        let aws = LocalAws::builder().clock(clock.clone()).state_dir(opened(&dir)).build().unwrap();
        let client = Client::new(&sdk_config(&aws));
        Gateway { aws: aws.into(), clock: clock.into(), client, api: api.to_owned().into() }
    };
    let before = open("orders");
    let methods = vec![Method::protected("/ping")];
    before.aws.create_rest_api(RestApi {
        id: Some("orders".into()),
        name: "o".into(),
        stages: vec!["prod".into()],
        methods,
    });
    let plan = before.plan_with("prod", quota(2, 0, QuotaPeriodType::Day), None).await;
    let key = before.key("acme", VALUE).await;
    assert_eq!(before.ping(VALUE).await, 403);
    before.attach(&key, &plan).await;
    assert_eq!(before.ping(VALUE).await, 200);
    // Calls of the data plane alone are not saved each time.
    before.enable(&key, true).await;

    let keys = before.aws.inspect_api_keys();
    drop(before);
    let after = open("orders");
    assert_eq!(after.aws.inspect_api_keys(), keys);
    assert_eq!(after.usage(&plan, &key).await, Some(vec![1, 1]));
    assert_eq!((after.ping(VALUE).await, after.ping(VALUE).await), (200, 429));
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Embedded: what it does not model.
#[tokio::test]
async fn operations_and_parameters_that_are_not_modelled_are_refused() {
    let gateway = gateway();
    let created = gateway.client.create_deployment().rest_api_id(&*gateway.api).send().await;
    assert_eq!(refusal(created), "UnknownOperationException");
    let stage = aws_sdk_apigateway::types::StageKey::builder().rest_api_id(&*gateway.api).stage_name("prod").build();
    let staged = gateway.client.create_api_key().stage_keys(stage).send().await.unwrap_err();
    assert_eq!(staged.code(), Some("ValidationException"));
    assert!(staged.message().unwrap().contains("stageKeys"));
    let tags = gateway.client.get_tags().resource_arn("arn:aws:apigateway:eu-west-1::/apikeys/x").limit(1);
    assert_eq!(refusal(tags.send().await), "ValidationException");
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_GetStages.html>.
#[tokio::test]
async fn rest_apis_and_their_stages_are_listed() {
    let gateway = gateway();
    let apis = gateway.client.get_rest_apis().send().await.unwrap();
    assert_eq!((apis.items()[0].id(), apis.items()[0].name()), (Some(gateway.api.as_str()), Some("orders")));
    let stages = gateway.client.get_stages().rest_api_id(&*gateway.api).send().await.unwrap();
    let names: Vec<_> = stages.item().iter().map(|stage| stage.stage_name()).collect();
    assert_eq!(names, [Some("prod"), Some("test")]);
}
