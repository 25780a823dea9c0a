//! How a function is set up, as Lambda tells it.

use aws_sdk_lambda::Client;
use aws_sdk_lambda::types::{InvocationType, State};
use local_aws::FunctionPolicy;
use serde_json::{Value, json};

use super::{Aws, Scripted, refused, sdk_config, world};

/// An AWS with the function `rotation`. Answers its ARN, too.
fn function() -> (Aws, Client, String) {
    let (aws, _) = world();
    let arn = aws.register("rotation", Scripted::new(|_| async { Ok(()) }));
    let client = Client::new(&sdk_config(&aws));
    (aws, client, arn)
}

/// Embedded: how it sets functions up.
#[tokio::test]
async fn a_registered_function_is_set_up_for_rotation() {
    let (_, client, arn) = function();
    for name in ["rotation", &arn] {
        let told = client.get_function_configuration().function_name(name).send().await.expect("told");
        assert_eq!(told.function_arn(), Some(&*arn));
        assert_eq!((told.timeout(), told.memory_size(), told.state()), (Some(300), Some(256), Some(&State::Active)));
        assert_eq!(told.role(), Some("arn:aws:iam::123456789012:role/rotation"));
        assert!(told.vpc_config().is_none_or(|vpc| vpc.subnet_ids().is_empty()));

        let policy = client.get_policy().function_name(name).send().await.expect("told");
        let policy: Value = serde_json::from_str(policy.policy().expect("a policy")).expect("JSON");
        let statement = &policy["Statement"][0];
        assert_eq!(statement["Principal"], json!({ "Service": "secretsmanager.amazonaws.com" }));
        assert_eq!(statement["Condition"]["StringEquals"]["aws:SourceAccount"], "123456789012");
        assert_eq!((&statement["Action"], &statement["Resource"]), (&json!("lambda:InvokeFunction"), &json!(arn)));

        let concurrency = client.get_function_concurrency().function_name(name).send().await.expect("told");
        assert_eq!(concurrency.reserved_concurrent_executions(), None);
    }
}

/// Source: AWS: <https://docs.aws.amazon.com/lambda/latest/api/API_GetPolicy.html>.
#[tokio::test]
async fn a_function_is_told_as_it_was_configured() {
    let (aws, client, _) = function();
    assert!(aws.configure_function("rotation", |shape| {
        shape.timeout = 30;
        shape.environment.insert("ROTATOR_TABLE".into(), "rotator".into());
        shape.subnets.push("subnet-1".into());
        shape.security_groups.push("sg-1".into());
        shape.policy = FunctionPolicy::None;
    }));
    assert!(aws.configure_function("rotation", |shape| shape.reserved_concurrency = Some(2)));
    assert!(!aws.configure_function("nosuch", |_| ()));

    let told = client.get_function_configuration().function_name("rotation").send().await.expect("told");
    assert_eq!(told.timeout(), Some(30));
    let variables = told.environment().and_then(|environment| environment.variables()).expect("variables");
    assert_eq!(variables["ROTATOR_TABLE"], "rotator");
    let vpc = told.vpc_config().expect("a VPC");
    assert_eq!((vpc.subnet_ids(), vpc.security_group_ids()), (&["subnet-1".into()][..], &["sg-1".into()][..]));
    let concurrency = client.get_function_concurrency().function_name("rotation").send().await.expect("told");
    assert_eq!(concurrency.reserved_concurrent_executions(), Some(2));
    let policy = client.get_policy().function_name("rotation").send().await;
    assert_eq!(refused(policy).0, "ResourceNotFoundException");
}

/// Source: LocalStack: TestLambdaFunction::test_ops_on_nonexisting_fn, 2025-11-25.
#[tokio::test]
async fn a_function_that_is_not_there_is_not_found_and_what_is_not_modelled_is_refused() {
    let (_, client, arn) = function();
    for name in ["nosuch", &arn.replace("eu-west-1", "us-east-1")] {
        let told = client.get_function_configuration().function_name(name).send().await;
        assert_eq!(refused(told).0, "ResourceNotFoundException", "{name}");
    }
    let (code, message) = refused(client.get_policy().function_name("rotation").qualifier("live").send().await);
    assert_eq!(code, "InvalidParameterValueException");
    assert!(message.contains("Qualifier"), "{message}");
    assert_eq!(refused(client.list_functions().send().await).0, "UnknownOperationException");
}

/// Source: AWS: <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>.
#[tokio::test]
async fn a_dry_run_runs_nothing_and_tells_who_may_not() {
    let (aws, client, arn) = function();
    let invoke = |kind: InvocationType| client.invoke().function_name(&arn).invocation_type(kind).send();
    assert_eq!(invoke(InvocationType::DryRun).await.expect("permitted").status_code(), 204);
    let missing = client.invoke().function_name("nosuch").invocation_type(InvocationType::DryRun).send().await;
    assert_eq!(refused(missing).0, "ResourceNotFoundException");
    assert_eq!(refused(invoke(InvocationType::RequestResponse).await).0, "InvalidParameterValueException");

    aws.settings(|settings| settings.denied_actions = ["lambda:InvokeFunction".to_owned()].into());
    let (code, message) = refused(invoke(InvocationType::DryRun).await);
    assert_eq!(code, "AccessDeniedException");
    assert!(message.contains("lambda:InvokeFunction") && message.contains(&arn), "{message}");
}
