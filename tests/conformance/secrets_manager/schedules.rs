//! When rotations happen by themselves.

use aws_sdk_secretsmanager::types::RotationRulesType;
use local_aws::FunctionError;
use serde_json::Value;

use super::super::{Scripted, at, failure, refused, world};
use super::{SECOND, THIRD, client, create};

const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:f";

fn every_days(days: i64) -> RotationRulesType {
    RotationRulesType::builder().automatically_after_days(days).build()
}

fn expression(expression: &str) -> RotationRulesType {
    RotationRulesType::builder().schedule_expression(expression).build()
}

async fn fails(_: Value) -> Result<(), FunctionError> {
    Err(failure())
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_schedule.html>.
#[tokio::test]
async fn schedules_are_at_least_four_hours_apart_in_hours_utc_or_days() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    aws.register("f", Scripted::new(fails));
    let rotate = |rules| {
        let rotate = client.rotate_secret().secret_id("s").client_request_token(SECOND);
        rotate.rotation_lambda_arn(FUNCTION).rotation_rules(rules).rotate_immediately(false)
    };

    for wrong in [
        "rate(3 hours)",
        "rate(10 minutes)",
        "cron(0 */2 * * ? *)",
        "cron(30 8 * * ? *)",
        "cron(0 8 * * * *)",
        "cron(0 8 * *)",
        "every day",
    ] {
        assert_eq!(refused(rotate(expression(wrong)).send().await).0, "InvalidParameterException", "{wrong}");
    }
    let both = RotationRulesType::builder().automatically_after_days(1).schedule_expression("rate(1 days)").build();
    assert_eq!(refused(rotate(both).send().await).0, "InvalidParameterException");
    assert_eq!(refused(rotate(every_days(1001)).send().await).0, "InvalidParameterException");

    for right in ["rate(4 hours)", "rate(10 days)", "cron(0 /8 * * ? *)", "cron(0 16 ? * SUN#1 *)", "cron(0 8 1 * ? *)"]
    {
        rotate(expression(right)).send().await.expect(right);
        aws.settle().await;
    }
}

/// AWS rotates at any time in the window; here it is at its beginning.
///
/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_schedule.html>.
#[tokio::test]
async fn a_schedule_fires_when_its_window_opens_and_again_after_that() {
    let (aws, clock) = world();
    let client = client(&aws);
    create(&client, "s").await;
    let function = Scripted::new(fails);
    aws.register("f", function.clone());
    aws.settings(|settings| settings.rotation_retries = 0);
    let rotate = client.rotate_secret().secret_id("s").client_request_token(SECOND).rotation_lambda_arn(FUNCTION);
    let rotate = rotate.rotation_rules(expression("cron(0 16 * * ? *)")).rotate_immediately(false);
    rotate.send().await.expect("configured");
    aws.settle().await;
    assert_eq!(function.steps(), ["testSecret"]);

    assert_eq!(aws.next_due(), Some(at("2026-03-02T16:00:00Z")));
    clock.set(at("2026-03-02T15:59:59Z"));
    assert_eq!(aws.tick().await, 0);
    clock.set(at("2026-03-02T16:00:00Z"));
    aws.settle().await;

    assert_eq!(function.steps(), ["testSecret", "createSecret"]);
    assert_eq!(aws.next_due(), Some(at("2026-03-03T16:00:00Z")));
    let stuck = function.calls()[1]["ClientRequestToken"].clone();
    clock.set(at("2026-03-03T16:00:00Z"));
    aws.settle().await;
    assert_eq!(function.calls()[2]["ClientRequestToken"], stuck, "while stuck, the old rotation is reattempted");
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_schedule.html>.
#[tokio::test]
async fn automatically_after_days_opens_with_the_day_and_is_told_with_its_end() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    aws.register("f", Scripted::new(fails));
    let rotate = client.rotate_secret().secret_id("s").client_request_token(SECOND).rotation_lambda_arn(FUNCTION);
    rotate.rotation_rules(every_days(30)).rotate_immediately(false).send().await.expect("configured");
    aws.settle().await;

    assert_eq!(aws.next_due(), Some(at("2026-04-01T00:00:00Z")));
    let described = client.describe_secret().secret_id("s").send().await.expect("described");
    assert_eq!(described.next_rotation_date().map(|date| date.secs()), Some(at("2026-04-02T00:00:00Z").timestamp()));
    let rules = described.rotation_rules().expect("rules");
    assert_eq!(rules.automatically_after_days(), Some(30));
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotationRulesType.html>.
#[tokio::test]
async fn a_hand_made_put_secret_value_counts_as_a_rotation_for_the_schedule() {
    let (aws, clock) = world();
    let client = client(&aws);
    create(&client, "s").await;
    aws.register("f", Scripted::new(fails));
    let rotate = client.rotate_secret().secret_id("s").client_request_token(SECOND).rotation_lambda_arn(FUNCTION);
    rotate.rotation_rules(every_days(30)).rotate_immediately(false).send().await.expect("configured");
    aws.settle().await;

    clock.set(at("2026-03-12T09:00:00Z"));
    let put = client.put_secret_value().secret_id("s").client_request_token(THIRD).secret_string("by hand");
    put.send().await.expect("put");

    assert_eq!(aws.next_due(), Some(at("2026-04-11T00:00:00Z")));
}
