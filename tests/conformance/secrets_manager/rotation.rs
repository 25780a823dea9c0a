//! The rotation contract: what Secrets Manager does with a rotation function, and what not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use local_aws::{FunctionError, ManualClock, PreflightValue, RetryToken, Settings};
use serde_json::Value;

use super::super::{Aws, Embedded, Scripted, failure, refused, world};
use super::{FIRST, FOURTH, SECOND, THIRD, client, create, holder, value, without_token};

const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

/// What a right rotation function does, without a provider.
async fn rotate_well(client: Client, event: Value) -> Result<(), FunctionError> {
    let text = |key: &str| event[key].as_str().expect("the event has it").to_owned();
    let (secret, token) = (text("SecretId"), text("ClientRequestToken"));
    match text("Step").as_str() {
        "createSecret" => {
            let put = client.put_secret_value().secret_id(secret).client_request_token(&token);
            let put = put.secret_string(format!("new {token}")).version_stages("AWSPENDING");
            put.rotation_token(text("RotationToken")).send().await.expect("put");
        }
        "finishSecret" => {
            let current = holder(&client, &secret, "AWSCURRENT").await.expect("a current version");
            let moved = client.update_secret_version_stage().secret_id(secret).version_stage("AWSCURRENT");
            moved.move_to_version_id(token).remove_from_version_id(current).send().await.expect("moved");
        }
        _ => {}
    }
    Ok(())
}

/// The same, but it fails at one step.
fn failing_at(
    client: &Client,
    step: &'static str,
) -> impl Fn(Value) -> futures::future::BoxFuture<'static, Result<(), FunctionError>> + Send + Sync + use<> {
    let client = client.clone();
    move |event| {
        let client = client.clone();
        Box::pin(async move {
            if event["Step"] == step {
                return Err(failure());
            }
            rotate_well(client, event).await
        })
    }
}

/// An AWS with a secret "s" and the function "f".
async fn with_function<F, Fut>(
    function: impl FnOnce(&Client) -> F,
) -> (Aws, Embedded<Arc<ManualClock>>, Client, Arc<Scripted<F>>)
where
    F: Fn(Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), FunctionError>> + Send + 'static,
{
    let (aws, clock) = world();
    let client = client(&aws);
    create(&client, "s").await;
    let function = Scripted::new(function(&client));
    aws.register("f", function.clone());
    (aws, clock, client, function)
}

fn well(client: &Client) -> impl Fn(Value) -> futures::future::BoxFuture<'static, Result<(), FunctionError>> + use<> {
    failing_at(client, "none")
}

fn rotate(
    client: &Client,
    token: &str,
) -> aws_sdk_secretsmanager::operation::rotate_secret::builders::RotateSecretFluentBuilder {
    let arn = "arn:aws:lambda:eu-west-1:123456789012:function:f";
    client.rotate_secret().secret_id("s").client_request_token(token).rotation_lambda_arn(arn)
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html>.
#[tokio::test]
async fn a_rotation_invokes_four_steps_with_the_arn_the_token_and_a_rotation_token() {
    let (aws, _, client, function) = with_function(well).await;

    let begun = rotate(&client, SECOND).send().await.expect("begun");
    assert_eq!(begun.version_id(), Some(SECOND));
    assert!(function.calls().is_empty(), "RotateSecret does not wait for the function");
    aws.settle().await;

    assert_eq!(function.steps(), STEPS);
    for event in function.calls() {
        assert_eq!(event["SecretId"].as_str(), begun.arn());
        assert_eq!(event["ClientRequestToken"], SECOND);
        assert!(event["RotationToken"].as_str().is_some_and(|token| !token.is_empty()));
        assert_eq!(event.as_object().map(|event| event.len()), Some(4));
    }
    assert_eq!(value(&client, "s", "AWSCURRENT").await, Some(format!("new {SECOND}")));
    assert_eq!(holder(&client, "s", "AWSPREVIOUS").await.as_deref(), Some(FIRST));
    let described = client.describe_secret().secret_id("s").send().await.expect("described");
    assert_eq!(described.rotation_enabled(), Some(true));
    assert!(described.last_rotated_date().is_some());
}

/// Source: LocalStack: TestSecretsManager::test_no_client_request_token[RotateSecret], 2023-05-12.
#[tokio::test]
async fn rotate_secret_without_a_client_request_token_is_an_invalid_parameter_whether_the_secret_exists_or_not() {
    let (aws, _) = world();
    let client = client(&aws);
    let rotate = client.rotate_secret().secret_id("absent").customize().mutate_request(without_token);
    let (code, message) = refused(rotate.send().await);
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(message, "You must provide a ClientRequestToken value. We recommend a UUID-type value.");
}

/// Source: moto: test_rotate_secret_using_lambda (aws_verified).
#[tokio::test]
async fn before_create_secret_the_pending_version_is_an_empty_placeholder() {
    let (_, _, client, _) = with_function(well).await;

    rotate(&client, SECOND).send().await.expect("begun");

    assert_eq!(holder(&client, "s", "AWSPENDING").await.as_deref(), Some(SECOND));
    let (code, message) = refused(client.get_secret_value().secret_id("s").version_id(SECOND).send().await);
    assert_eq!(code, "ResourceNotFoundException");
    assert_eq!(message, format!("Secrets Manager can't find the specified secret value for VersionId: {SECOND}"));
}

/// Assumed: AWS tries again, and does not say how often, when or with which token; each is a switch.
#[tokio::test]
async fn a_failed_step_ends_the_attempt_and_the_whole_rotation_is_tried_again_with_the_same_token() {
    let (aws, clock, client, function) = with_function(|client| failing_at(client, "testSecret")).await;

    rotate(&client, SECOND).send().await.expect("begun");
    aws.settle().await;
    assert_eq!(function.steps(), STEPS[..3]);
    for _ in 0..10 {
        clock.advance(Duration::from_secs(60));
        aws.settle().await;
    }

    assert_eq!(function.steps(), STEPS[..3].repeat(4), "three retries, each of all steps");
    assert!(function.calls().iter().all(|event| event["ClientRequestToken"] == SECOND));
    let attempts: Vec<_> = aws.rotations().iter().map(|ended| (ended.attempt, ended.step.clone())).collect();
    assert_eq!(attempts, (1..=4).map(|number| (number, "testSecret".to_owned())).collect::<Vec<_>>());
    assert_eq!(holder(&client, "s", "AWSPENDING").await.as_deref(), Some(SECOND), "given up, and left as it is");
}

/// Embedded: a switch.
#[tokio::test]
async fn by_a_switch_a_retry_comes_with_a_new_token_and_the_pending_label_moves_to_a_fresh_placeholder() {
    let (aws, clock, client, function) = with_function(|client| failing_at(client, "setSecret")).await;
    aws.settings(|s: &mut Settings| s.retry_token = RetryToken::New);

    rotate(&client, SECOND).send().await.expect("begun");
    aws.settle().await;
    let retried = holder(&client, "s", "AWSPENDING").await.expect("pending");

    assert_ne!(retried, SECOND);
    let (code, _) = refused(client.get_secret_value().secret_id("s").version_id(&retried).send().await);
    assert_eq!(code, "ResourceNotFoundException");
    let abandoned = client.get_secret_value().secret_id("s").version_id(SECOND).send().await.expect("still there");
    assert!(abandoned.version_stages().is_empty());
    clock.advance(Duration::from_secs(60));
    aws.tick().await;
    assert_eq!(function.calls().last().map(|event| event["ClientRequestToken"].clone()), Some(retried.into()));
}

/// Embedded: a switch.
#[tokio::test]
async fn by_a_switch_a_failed_rotation_is_not_tried_again() {
    let (aws, clock, client, function) = with_function(|client| failing_at(client, "setSecret")).await;
    aws.settings(|s: &mut Settings| s.rotation_retries = 0);

    rotate(&client, SECOND).send().await.expect("begun");
    aws.settle().await;
    clock.advance(Duration::from_secs(86_400));
    aws.settle().await;

    assert_eq!(function.steps(), STEPS[..2]);
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html>.
#[tokio::test]
async fn awspending_on_another_version_than_awscurrents_blocks_rotate_secret_and_is_reattempted() {
    let (aws, _, client, function) = with_function(|client| failing_at(client, "createSecret")).await;
    aws.settings(|s: &mut Settings| s.rotation_retries = 0);
    rotate(&client, SECOND).send().await.expect("begun");
    aws.settle().await;

    let (code, message) = refused(rotate(&client, THIRD).send().await);
    assert_eq!(code, "InvalidRequestException");
    assert_eq!(message, "A previous rotation isn't complete. That rotation will be reattempted.");
    aws.settle().await;

    let tokens: Vec<_> = function.calls().iter().map(|event| event["ClientRequestToken"].clone()).collect();
    assert_eq!(tokens, [SECOND, SECOND], "the old rotation was reattempted, empty as it is");
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot_rotation.html>.
#[tokio::test]
async fn taking_awspending_off_the_stuck_version_lets_the_next_rotation_begin() {
    let (aws, _, client, function) = with_function(|client| failing_at(client, "createSecret")).await;
    aws.settings(|s: &mut Settings| s.rotation_retries = 0);
    rotate(&client, SECOND).send().await.expect("begun");
    aws.settle().await;

    let taken = client.update_secret_version_stage().secret_id("s").version_stage("AWSPENDING");
    taken.remove_from_version_id(SECOND).send().await.expect("taken off");
    rotate(&client, THIRD).send().await.expect("not blocked any more");
    aws.settle().await;

    assert_eq!(function.calls().last().map(|event| event["ClientRequestToken"].clone()), Some(THIRD.into()));
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html>.
#[tokio::test]
async fn awspending_on_the_current_version_blocks_nothing() {
    let (aws, _, client, _) = with_function(well).await;
    rotate(&client, SECOND).send().await.expect("begun");
    aws.settle().await;
    assert_eq!(holder(&client, "s", "AWSPENDING").await, holder(&client, "s", "AWSCURRENT").await);

    rotate(&client, THIRD).send().await.expect("begun");
    aws.settle().await;

    assert_eq!(holder(&client, "s", "AWSCURRENT").await.as_deref(), Some(THIRD));
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html>.
#[tokio::test]
async fn rotate_secret_again_with_its_own_token_is_the_same_rotation() {
    let (aws, _, client, function) = with_function(well).await;
    rotate(&client, SECOND).send().await.expect("begun");
    rotate(&client, SECOND).send().await.expect("the same");
    aws.settle().await;
    rotate(&client, SECOND).send().await.expect("done already");
    aws.settle().await;

    assert_eq!(function.steps(), STEPS);
}

/// Secrets Manager takes `AWSPENDING` off, and the next rotation can begin.
///
/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieve-ct-entries.html>.
#[tokio::test]
async fn a_hand_made_put_secret_value_in_the_middle_abandons_the_rotation() {
    let (aws, clock, client, function) = with_function(|client| {
        let client = client.clone();
        move |event: Value| {
            let client = client.clone();
            async move {
                if event["Step"] == "setSecret" {
                    let put = client.put_secret_value().secret_id("s").client_request_token(THIRD);
                    put.secret_string("by hand").send().await.expect("put");
                }
                rotate_well(client, event).await
            }
        }
    })
    .await;

    rotate(&client, SECOND).send().await.expect("begun");
    aws.settle().await;
    clock.advance(Duration::from_secs(86_400));
    aws.settle().await;

    assert_eq!(function.steps(), STEPS[..2], "no further step and no retry");
    assert_eq!(aws.rotations()[0].error.as_ref().map(|error| error.error_type.as_str()), Some("RotationAbandoned"));
    assert_eq!(value(&client, "s", "AWSCURRENT").await.as_deref(), Some("by hand"));
    assert_eq!(holder(&client, "s", "AWSPENDING").await, None);
    rotate(&client, FOURTH).send().await.expect("nothing blocks it");
}

/// Assumed: AWS does not say at which step it misses the value.
#[tokio::test]
async fn create_secret_that_leaves_the_pending_version_empty_fails_the_attempt() {
    let (aws, _, client, function) = with_function(|_| |_: Value| async { Ok(()) }).await;

    rotate(&client, SECOND).send().await.expect("begun");
    aws.settle().await;

    assert_eq!(function.steps(), ["createSecret"]);
    let error = aws.rotations()[0].error.clone().expect("failed");
    assert!(error.error_message.contains("was not created"), "{error}");
}

/// Source: moto: test_rotate_secret_using_lambda_dont_rotate_immediately (aws_verified).
#[tokio::test]
async fn rotate_immediately_false_runs_test_secret_alone_on_a_throw_away_version_with_the_current_value() {
    let (aws, clock, client, function) = with_function(|client| {
        let client = client.clone();
        move |event: Value| {
            let client = client.clone();
            async move {
                let token = event["ClientRequestToken"].as_str().unwrap_or_default();
                let pending = client.get_secret_value().secret_id("s").version_id(token).send().await;
                assert_eq!(pending.expect("a value").secret_string(), Some("one"));
                assert_eq!(holder(&client, "s", "AWSPENDING").await.as_deref(), Some(token));
                Err(failure())
            }
        }
    })
    .await;

    rotate(&client, SECOND).rotate_immediately(false).send().await.expect("configured");
    aws.settle().await;
    clock.advance(Duration::from_secs(3600));
    aws.settle().await;

    assert_eq!(function.steps(), ["testSecret"]);
    assert_eq!(holder(&client, "s", "AWSPENDING").await, None);
    let versions = client.list_secret_version_ids().secret_id("s").include_deprecated(true).send().await;
    assert_eq!(versions.expect("listed").versions().len(), 1, "it leaves no trace");
    let described = client.describe_secret().secret_id("s").send().await.expect("described");
    assert_eq!((described.rotation_enabled(), described.last_rotated_date()), (Some(true), None));
}

/// Embedded: a switch.
#[tokio::test]
async fn by_a_switch_the_throw_away_version_is_empty() {
    let (aws, _, client, function) = with_function(|_| |_: Value| async { Ok(()) }).await;
    aws.settings(|s: &mut Settings| s.preflight_value = PreflightValue::Empty);

    rotate(&client, SECOND).rotate_immediately(false).send().await.expect("configured");

    let (code, _) = refused(client.get_secret_value().secret_id("s").version_id(SECOND).send().await);
    assert_eq!(code, "ResourceNotFoundException");
    aws.settle().await;
    assert_eq!(function.steps(), ["testSecret"]);
}

/// With which exception is assumed.
///
/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>.
#[tokio::test]
async fn a_rotation_token_that_was_not_handed_out_is_refused() {
    let (_, _, client, _) = with_function(well).await;
    rotate(&client, SECOND).send().await.expect("begun");

    let put = client.put_secret_value().secret_id("s").client_request_token(SECOND).secret_string("x");
    let put = put.version_stages("AWSPENDING").rotation_token("7e1d4a0e-0000-0000-0000-000000000000");

    assert_eq!(refused(put.send().await).0, "InvalidParameterException");
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CancelRotateSecret.html>.
#[tokio::test]
async fn cancel_rotate_secret_stops_the_rotation_and_leaves_the_labels() {
    let (aws, _, client, function) = with_function(well).await;
    rotate(&client, SECOND).send().await.expect("begun");

    client.cancel_rotate_secret().secret_id("s").send().await.expect("cancelled");
    aws.settle().await;

    assert!(function.calls().is_empty());
    assert_eq!(holder(&client, "s", "AWSPENDING").await.as_deref(), Some(SECOND));
    let described = client.describe_secret().secret_id("s").send().await.expect("described");
    assert_eq!(described.rotation_enabled(), Some(false));
}

/// Source: LocalStack: TestSecretsManager::test_rotate_secret_invalid_lambda_arn, 2024-03-15.
/// Source: LocalStack: TestSecretsManager::test_first_rotate_secret_with_missing_lambda_arn, 2025-03-27.
#[tokio::test]
async fn rotate_secret_needs_a_function_that_secrets_manager_may_invoke() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;

    let without = client.rotate_secret().secret_id("s").client_request_token(SECOND);
    assert_eq!(refused(without.send().await).0, "InvalidRequestException");
    assert_eq!(refused(rotate(&client, SECOND).send().await).0, "AccessDeniedException");
}

/// Embedded: its host can stop in the middle.
#[tokio::test]
async fn an_attempt_that_is_cut_off_is_run_again() {
    let (aws, _, client, function) = with_function(|client| {
        let (client, cut) = (client.clone(), AtomicBool::new(true));
        move |event: Value| {
            let (client, cut) = (client.clone(), event["Step"] == "setSecret" && cut.swap(false, Ordering::Relaxed));
            async move {
                if cut {
                    std::future::pending::<()>().await;
                }
                rotate_well(client, event).await
            }
        }
    })
    .await;
    rotate(&client, SECOND).send().await.expect("begun");

    assert!(futures::poll!(Box::pin(aws.tick())).is_pending());
    aws.settle().await;

    assert_eq!(function.steps(), [&STEPS[..2], &STEPS].concat());
    assert_eq!(holder(&client, "s", "AWSCURRENT").await.as_deref(), Some(SECOND));
}
