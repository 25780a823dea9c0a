//! Quotas and what is left of them.

use super::*;

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-api-usage-plans.html>.
#[tokio::test]
async fn a_quota_counts_per_key_id_so_a_new_key_starts_full() {
    let gateway = gateway();
    let plan = gateway.plan_with("prod", quota(2, 0, QuotaPeriodType::Day), None).await;
    for value in [VALUE, OTHER] {
        gateway.attach(&gateway.key("acme", value).await, &plan).await;
    }
    assert_eq!((gateway.ping(VALUE).await, gateway.ping(VALUE).await), (200, 200));
    let (status, error, body) = gateway.get("/prod/ping", Some(VALUE)).await;
    assert_eq!((status, error.as_deref()), (429, Some("LimitExceededException")));
    assert_eq!(body["message"], "Limit Exceeded");
    assert_eq!(gateway.ping(OTHER).await, 200);
}

/// Assumed: AWS names the periods and not the moment at which one begins.
#[tokio::test]
async fn a_quota_begins_anew_each_day_week_or_month() {
    for (period, before, after) in [
        (QuotaPeriodType::Day, "2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z"),
        (QuotaPeriodType::Week, "2026-12-06T23:59:59Z", "2026-12-07T00:00:00Z"),
        (QuotaPeriodType::Month, "2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z"),
    ] {
        let gateway = gateway();
        gateway.clock.set(at(before));
        let plan = gateway.plan_with("prod", quota(1, 0, period.clone()), None).await;
        gateway.attach(&gateway.key("acme", VALUE).await, &plan).await;
        assert_eq!((gateway.ping(VALUE).await, gateway.ping(VALUE).await), (200, 429), "{period}");
        gateway.clock.set(at(after));
        assert_eq!((gateway.ping(VALUE).await, gateway.ping(VALUE).await), (200, 429), "{period}");
    }
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_GetUsage.html>.
#[tokio::test]
async fn get_usage_tells_used_and_remaining_per_day_by_key_id() {
    let gateway = gateway();
    gateway.clock.set(at("2026-11-29T12:00:00Z"));
    let plan = gateway.plan_with("prod", quota(10, 0, QuotaPeriodType::Month), None).await;
    let key = gateway.key("acme", VALUE).await;
    gateway.attach(&key, &plan).await;
    assert_eq!(gateway.usage(&plan, &key).await, None, "no usage, no figures");
    for _ in 0..3 {
        assert_eq!(gateway.ping(VALUE).await, 200);
    }
    gateway.clock.set(at("2026-11-30T12:00:00Z"));
    assert_eq!(gateway.ping(VALUE).await, 200);
    gateway.clock.set(at("2026-12-01T12:00:00Z"));
    let days = gateway.usage_of(&plan, &key, "2026-11-28", "2026-12-01").await.unwrap();
    assert_eq!(days, [vec![0, 10], vec![3, 7], vec![1, 6], vec![0, 10]]);
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_QuotaSettings.html>.
#[tokio::test]
async fn the_offset_is_subtracted_in_the_plans_first_period_only() {
    let gateway = gateway();
    gateway.clock.set(at("2026-11-30T12:00:00Z"));
    let plan = gateway.plan_with("prod", quota(10, 4, QuotaPeriodType::Month), None).await;
    let key = gateway.key("acme", VALUE).await;
    gateway.attach(&key, &plan).await;
    gateway.ping(VALUE).await;
    assert_eq!(gateway.usage(&plan, &key).await, Some(vec![1, 5]));
    gateway.clock.set(at("2026-12-01T12:00:00Z"));
    gateway.ping(VALUE).await;
    assert_eq!(gateway.usage(&plan, &key).await, Some(vec![1, 9]));
    let day = gateway.client.create_usage_plan().name("p").set_quota(quota(10, 1, QuotaPeriodType::Day));
    assert_eq!(refusal(day.send().await), "BadRequestException");
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_UpdateUsage.html>.
#[tokio::test]
async fn update_usage_replaces_what_remains_up_or_down_within_the_period() {
    let gateway = gateway();
    let plan = gateway.plan_with("prod", quota(2, 0, QuotaPeriodType::Day), None).await;
    let key = gateway.key("acme", VALUE).await;
    gateway.attach(&key, &plan).await;
    gateway.set_remaining(&plan, &key, 1).await;
    assert_eq!((gateway.ping(VALUE).await, gateway.ping(VALUE).await), (200, 429));
    gateway.set_remaining(&plan, &key, 5).await;
    assert_eq!(gateway.ping(VALUE).await, 200);
    assert_eq!(gateway.usage(&plan, &key).await, Some(vec![2, 4]));
    gateway.clock.advance(Duration::from_secs(86_400));
    gateway.ping(VALUE).await;
    assert_eq!(gateway.usage(&plan, &key).await, Some(vec![1, 1]), "a new day, a full quota");
}

/// Of a plan without a quota it is assumed.
///
/// Source: boto3: <https://github.com/boto/boto3/issues/2504>, 2020-07-09.
#[tokio::test]
async fn update_usage_refuses_other_paths_and_plans_without_a_quota() {
    let gateway = gateway();
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    gateway.attach(&key, &plan).await;
    let update =
        |path| gateway.client.update_usage().usage_plan_id(&plan).key_id(&key).patch_operations(replace(path, 1));
    assert_eq!(refusal(update("/remaining").send().await), "BadRequestException");
    assert_eq!(refusal(update("/used").send().await), "BadRequestException");
}

/// Embedded: a switch.
#[tokio::test]
async fn usage_lags_behind_the_data_plane_in_both_directions() {
    let gateway = gateway();
    gateway.aws.settings(|settings| settings.usage_lag = Duration::from_secs(60));
    let plan = gateway.plan_with("prod", quota(10, 0, QuotaPeriodType::Month), None).await;
    let key = gateway.key("acme", VALUE).await;
    gateway.attach(&key, &plan).await;
    gateway.ping(VALUE).await;
    gateway.clock.advance(Duration::from_secs(59));
    assert_eq!(gateway.usage(&plan, &key).await, None);
    gateway.clock.advance(Duration::from_secs(1));
    assert_eq!(gateway.usage(&plan, &key).await, Some(vec![1, 9]));

    gateway.set_remaining(&plan, &key, 0).await;
    gateway.clock.advance(Duration::from_secs(59));
    assert_eq!(gateway.ping(VALUE).await, 200, "the figure is still on its way");
    gateway.clock.advance(Duration::from_secs(1));
    assert_eq!(gateway.ping(VALUE).await, 429);
    gateway.clock.advance(Duration::from_secs(60));
    assert_eq!(gateway.usage(&plan, &key).await, Some(vec![2, 0]));
}

/// Assumed: AWS counts by plan and key, and says nothing of leaving the plan in between.
#[tokio::test]
async fn detaching_and_attaching_does_not_refill_a_quota() {
    let gateway = gateway();
    let plan = gateway.plan_with("prod", quota(1, 0, QuotaPeriodType::Day), None).await;
    let key = gateway.key("acme", VALUE).await;
    gateway.attach(&key, &plan).await;
    assert_eq!(gateway.ping(VALUE).await, 200);
    gateway.client.delete_usage_plan_key().usage_plan_id(&plan).key_id(&key).send().await.unwrap();
    gateway.attach(&key, &plan).await;
    assert_eq!(gateway.ping(VALUE).await, 429);
}

/// That an unused key is left out is assumed: AWS's own example has a day of zeros.
///
/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_GetUsage.html>.
#[tokio::test]
async fn without_a_key_id_the_used_keys_of_the_plan_are_told_by_pages() {
    let gateway = gateway();
    let plan = gateway.plan_with("prod", quota(10, 0, QuotaPeriodType::Day), None).await;
    let mut used = Vec::new();
    for number in 0..4 {
        let value = format!("{VALUE}{number}");
        let key = gateway.key("acme", &value).await;
        gateway.attach(&key, &plan).await;
        // The last one is never used: that it is absent is not a figure.
        if number < 3 {
            assert_eq!(gateway.ping(&value).await, 200);
            used.push(key);
        }
    }
    let today = gateway.aws.now().date_naive().to_string();
    let usage = || gateway.client.get_usage().usage_plan_id(&plan).start_date(&today).end_date(&today).limit(2);

    let first = usage().send().await.unwrap();
    let rest = usage().position(first.position().expect("there is more")).send().await.unwrap();

    assert_eq!((first.items().unwrap().len(), rest.items().unwrap().len()), (2, 1));
    assert_eq!(rest.position(), None);
    let mut told: Vec<_> = first.items().unwrap().keys().chain(rest.items().unwrap().keys()).cloned().collect();
    told.sort();
    used.sort();
    assert_eq!(told, used);
}

/// Embedded: a switch.
#[tokio::test]
async fn a_plan_without_a_quota_tells_nothing_unless_a_switch_says_so() {
    let gateway = gateway();
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    gateway.attach(&key, &plan).await;
    assert_eq!(gateway.ping(VALUE).await, 200);
    assert_eq!(gateway.usage(&plan, &key).await, None, "an empty map, which is not zero");
    gateway.aws.settings(|settings| settings.usage_without_quota = true);
    assert_eq!(gateway.usage(&plan, &key).await, Some(vec![1, 0]));
}

/// Embedded: a switch.
#[tokio::test]
async fn by_a_switch_usage_is_told_by_value() {
    let gateway = gateway();
    gateway.aws.settings(|settings| settings.usage_by_value = true);
    let plan = gateway.plan_with("prod", quota(10, 0, QuotaPeriodType::Day), None).await;
    let key = gateway.key("acme", VALUE).await;
    gateway.attach(&key, &plan).await;
    assert_eq!(gateway.ping(VALUE).await, 200);
    let today = gateway.aws.now().date_naive().to_string();

    let usage = gateway.client.get_usage().usage_plan_id(&plan).key_id(&key).start_date(&today).end_date(&today);
    let told = usage.send().await.unwrap();

    assert_eq!(told.items().unwrap()[VALUE], [vec![1, 9]]);
    let update = gateway.client.update_usage().usage_plan_id(&plan).key_id(&key);
    let update = update.patch_operations(replace("/remaining", 3)).send().await.unwrap();
    assert_eq!(update.items().unwrap()[VALUE], [vec![1, 3]]);
}
