//! Who is let in.

use super::*;

/// That a key of another stage is refused is in the guide: a plan opens its own stages.
///
/// Source: LocalStack: TestUsagePlans::test_api_key_required_for_methods, 2023-07-27.
#[tokio::test]
async fn a_protected_method_lets_in_an_enabled_key_of_a_plan_of_its_stage_and_nobody_else() {
    let gateway = gateway();
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    gateway.key("in no plan", OTHER).await;
    gateway.attach(&key, &plan).await;
    assert_eq!(gateway.get("/prod/ping", Some(VALUE)).await.0, 200);
    for (path, key, why) in [
        ("/prod/ping", None, "without a key"),
        ("/prod/ping", Some("madeup0123456789012345"), "unknown"),
        ("/prod/ping", Some(OTHER), "in no plan"),
        ("/test/ping", Some(VALUE), "in a plan of another stage"),
    ] {
        let (status, error, body) = gateway.get(path, key).await;
        assert_eq!((status, error.as_deref()), FORBIDDEN, "{why}");
        assert_eq!(body["message"], "Forbidden", "{why}");
    }
}

/// Of a detached and of a deleted key it is assumed.
///
/// Source: LocalStack: TestUsagePlans::test_api_key_required_for_methods, 2023-07-27.
#[tokio::test]
async fn a_disabled_a_detached_and_a_deleted_key_are_forbidden() {
    let gateway = gateway();
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    gateway.attach(&key, &plan).await;
    gateway.enable(&key, false).await;
    assert_eq!(gateway.ping(VALUE).await, 403);
    gateway.enable(&key, true).await;
    assert_eq!(gateway.ping(VALUE).await, 200);
    gateway.client.delete_usage_plan_key().usage_plan_id(&plan).key_id(&key).send().await.unwrap();
    assert_eq!(gateway.ping(VALUE).await, 403);
    gateway.attach(&key, &plan).await;
    assert_eq!(gateway.ping(VALUE).await, 200);
    gateway.client.delete_api_key().api_key(&key).send().await.unwrap();
    assert_eq!(gateway.ping(VALUE).await, 403);
}

/// Assumed: a method that requires no key has no use for one.
#[tokio::test]
async fn a_method_that_asks_for_no_key_answers_anybody() {
    let gateway = gateway();
    assert_eq!(gateway.get("/prod/health", None).await.0, 200);
    assert_eq!(gateway.get("/prod/health", Some("madeup0123456789012345")).await.0, 200);
}

/// Of the unknown stage it is assumed.
///
/// Source: LocalStack: TestApigatewayRouting::test_routing_not_found, 2024-07-23.
#[tokio::test]
async fn an_unknown_method_is_a_missing_authentication_token_and_an_unknown_stage_is_forbidden() {
    let gateway = gateway();
    let (status, error, body) = gateway.get("/prod/nosuch", Some(VALUE)).await;
    assert_eq!((status, error.as_deref()), (403, Some("MissingAuthenticationTokenException")));
    assert_eq!(body["message"], "Missing Authentication Token");
    let (status, error, _) = gateway.get("/nosuch/ping", Some(VALUE)).await;
    assert_eq!((status, error.as_deref()), FORBIDDEN);
}

/// Embedded: its APIs are set up without AWS's operations.
#[tokio::test]
async fn a_method_may_redirect_whom_it_lets_in() {
    let gateway = gateway();
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    gateway.attach(&key, &plan).await;
    assert_eq!(gateway.get("/prod/moved", Some(VALUE)).await.0, 302);
    assert_eq!(gateway.get("/prod/moved", None).await.0, 403);
}

/// Embedded: a switch.
#[tokio::test]
async fn a_change_reaches_the_data_plane_after_the_propagation_delay() {
    let gateway = gateway();
    gateway.aws.settings(|settings| settings.propagation = Duration::from_secs(60));
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    gateway.clock.advance(Duration::from_secs(30));
    gateway.attach(&key, &plan).await;
    gateway.clock.advance(Duration::from_secs(59));
    assert_eq!(gateway.ping(VALUE).await, 403, "created, but not attached yet");
    gateway.clock.advance(Duration::from_secs(1));
    assert_eq!(gateway.ping(VALUE).await, 200);

    gateway.enable(&key, false).await;
    gateway.clock.advance(Duration::from_secs(59));
    assert_eq!(gateway.ping(VALUE).await, 200, "disabled, but let in for a while");
    gateway.clock.advance(Duration::from_secs(1));
    assert_eq!(gateway.ping(VALUE).await, 403);

    gateway.enable(&key, true).await;
    gateway.client.delete_api_key().api_key(&key).send().await.unwrap();
    gateway.clock.advance(Duration::from_secs(60));
    assert_eq!(gateway.ping(VALUE).await, 403);
}

/// Embedded: a switch.
#[tokio::test]
async fn disabling_enabling_and_deleting_may_take_longer_or_shorter_than_attaching() {
    let gateway = gateway();
    gateway.aws.settings(|settings| {
        settings.propagation = Duration::from_secs(30);
        settings.disabling = Some(Duration::from_secs(90));
        settings.enabling = Some(Duration::from_secs(5));
    });
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    gateway.attach(&key, &plan).await;
    gateway.clock.advance(Duration::from_secs(29));
    assert_eq!(gateway.ping(VALUE).await, 403, "a key that was created enabled is attached, not enabled");
    gateway.clock.advance(Duration::from_secs(1));
    assert_eq!(gateway.ping(VALUE).await, 200);

    for enabled in [false, true] {
        let (takes, before, after) = if enabled { (5, 403, 200) } else { (90, 200, 403) };
        gateway.enable(&key, enabled).await;
        gateway.clock.advance(Duration::from_secs(takes - 1));
        assert_eq!(gateway.ping(VALUE).await, before, "enabled={enabled} is on its way");
        gateway.clock.advance(Duration::from_secs(1));
        assert_eq!(gateway.ping(VALUE).await, after, "enabled={enabled} has arrived");
    }

    gateway.client.delete_api_key().api_key(&key).send().await.unwrap();
    gateway.clock.advance(Duration::from_secs(89));
    assert_eq!(gateway.ping(VALUE).await, 200);
    gateway.clock.advance(Duration::from_secs(1));
    assert_eq!(gateway.ping(VALUE).await, 403);
}

/// Embedded: a switch.
#[tokio::test]
async fn of_changes_on_their_way_the_last_one_wins_even_if_it_arrives_first() {
    let gateway = gateway();
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    gateway.attach(&key, &plan).await;
    gateway.aws.settings(|settings| settings.disabling = Some(Duration::from_secs(60)));

    for enabling in [0, 10] {
        gateway.aws.settings(|settings| settings.enabling = Some(Duration::from_secs(enabling)));
        gateway.enable(&key, false).await;
        gateway.clock.advance(Duration::from_secs(30));
        gateway.enable(&key, true).await;
        gateway.clock.advance(Duration::from_secs(31));
        assert_eq!(gateway.ping(VALUE).await, 200, "the earlier order has no effect when it arrives");
    }

    gateway.enable(&key, false).await;
    gateway.clock.advance(Duration::from_secs(30));
    gateway.enable(&key, false).await;
    gateway.clock.advance(Duration::from_secs(30));
    assert_eq!(gateway.ping(VALUE).await, 403, "the same order again delays nothing");
}

/// Embedded: a switch.
#[tokio::test]
async fn a_change_of_plans_does_not_carry_a_change_of_state_along() {
    let gateway = gateway();
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    gateway.attach(&key, &plan).await;
    gateway.aws.settings(|settings| settings.disabling = Some(Duration::from_secs(60)));

    gateway.enable(&key, false).await;
    gateway.attach(&key, &gateway.plan_with("test", None, None).await).await;
    assert_eq!(gateway.get("/test/ping", Some(VALUE)).await.0, 200, "attached at once");
    gateway.clock.advance(Duration::from_secs(60));
    assert_eq!(gateway.ping(VALUE).await, 403);
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-api-usage-plans.html>.
#[tokio::test]
async fn a_plan_throttles_each_key_by_its_own_bucket() {
    let gateway = gateway();
    let throttle = ThrottleSettings::builder().burst_limit(2).rate_limit(1.0).build();
    let plan = gateway.plan_with("prod", None, Some(throttle)).await;
    for value in [VALUE, OTHER] {
        gateway.attach(&gateway.key("acme", value).await, &plan).await;
    }
    assert_eq!((gateway.ping(VALUE).await, gateway.ping(VALUE).await), (200, 200));
    let (status, error, body) = gateway.get("/prod/ping", Some(VALUE)).await;
    assert_eq!((status, error.as_deref()), (429, Some("TooManyRequestsException")));
    assert_eq!(body["message"], "Too Many Requests");
    assert_eq!(gateway.ping(OTHER).await, 200);
    gateway.clock.advance(Duration::from_secs(1));
    assert_eq!((gateway.ping(VALUE).await, gateway.ping(VALUE).await), (200, 429));
}
