//! How the functions are set up.

use std::sync::Arc;

use local_aws::{FunctionPolicy, FunctionShape};
use rotator::doctor::permissions::Function;
use rotator::doctor::{Area, Verdict};
use rotator_cli::commands::doctor::{Names, examine};
use state::name::CredentialName;

use super::{assert_line, is_healthy, person, rotated, says};
use crate::harness::ACME;

#[tokio::test(start_paused = true)]
async fn how_the_functions_are_set_up() {
    use Verdict::{Broken, Warning};
    type Change = fn(&mut FunctionShape);
    let (stage, _) = rotated().await;
    let cases: [(&str, Change, Verdict, &str, &str); 9] = [
        ("rotation", |shape| shape.timeout = 30, Broken, "rotation is stopped after 30 s", "--timeout 300"),
        ("rotation", |shape| shape.timeout = 120, Warning, "rotation is stopped after 120 s", "--timeout 300"),
        ("retirement", |shape| shape.timeout = 3, Broken, "retirement is stopped after 3 s", "--timeout 300"),
        ("rotation", |shape| shape.state = "Failed".into(), Broken, "can't be invoked", "StateReason"),
        (
            "rotation",
            |shape| shape.reserved_concurrency = Some(9),
            Broken,
            "a reserved concurrency of 9",
            "aws lambda delete-function-concurrency --function-name arn:aws:lambda",
        ),
        (
            "rotation",
            |shape| shape.policy = FunctionPolicy::None,
            Broken,
            "Secrets Manager may not invoke rotation",
            "--principal secretsmanager.amazonaws.com --source-account 123456789012",
        ),
        (
            "rotation",
            |shape| {
                shape.policy = FunctionPolicy::Json(
                    r#"{"Statement": [{"Sid": "theirs", "Effect": "Allow", "Action": "lambda:InvokeFunction",
                        "Principal": {"Service": "secretsmanager.amazonaws.com"}}]}"#
                        .into(),
                );
            },
            Warning,
            "for any account: the permission has no aws:SourceAccount",
            "remove-permission --function-name arn:aws:lambda:eu-west-1:123456789012:function:rotation --statement-id theirs",
        ),
        (
            "rotation",
            |shape| drop(shape.environment.insert("ROTATOR_TABLE".into(), "theirs".into())),
            Broken,
            "rotation works with ROTATOR_TABLE = theirs, and you with rotator",
            "export ROTATOR_TABLE=theirs",
        ),
        (
            "rotation",
            |shape| shape.subnets = vec!["subnet-1".into()],
            Warning,
            "rotation runs in a VPC",
            "rotate-secret --secret-id partner/acme --no-rotate-immediately",
        ),
    ];
    for (function, change, verdict, said, fix) in cases {
        assert!(stage.aws.configure_function(function, change));
        says(&stage, Area::Function, verdict, said, fix).await;
        assert!(stage.aws.configure_function(function, |shape| *shape = FunctionShape::default()));
    }
    is_healthy(&stage).await;

    for function in Function::ALL {
        let mut names = Names::default();
        match function {
            Function::Rotation => names.rotation = Some("nobody".into()),
            Function::Retirement => names.retirement = "nobody".into(),
            Function::Jwks => names.jwks = "nobody".into(),
        }
        let view = examine(&person(&stage), None, &names, &mut |_| {}).await.expect("examined");
        let fix = format!("--{}-function NAME", function.word());
        assert_line(&view, Area::Function, Broken, "there is no function nobody", &fix);
    }
    let abroad = "arn:aws:lambda:us-east-1:123456789012:function:rotation".to_owned();
    let names = Names { rotation: Some(abroad), ..Names::default() };
    let view = examine(&person(&stage), None, &names, &mut |_| {}).await.expect("examined");
    let said = "rotation is in Region us-east-1, and you look at eu-west-1";
    assert_line(&view, Area::Function, Broken, said, "export AWS_REGION=us-east-1");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_another_function_rotates() {
    let (mut stage, arn) = rotated().await;
    let other = stage.aws.register("other", Arc::new(local_aws_function()));
    let names = Names { rotation: Some("other".into()), ..Names::default() };
    let name = CredentialName::parse(ACME).expect("a name");
    let view = examine(&person(&stage), Some(&name), &names, &mut |_| {}).await.expect("examined");
    assert_line(&view, Area::Function, Verdict::Warning, "which is not the function that was looked at", &other);
    // Nobody says which: the secret itself does.
    stage.settings.function_arn = Some(other);
    is_healthy(&stage).await;
    assert!(stage.arn_of(ACME).await == arn);
}

/// One that is never called.
fn local_aws_function() -> impl local_aws::Function {
    #[derive(Debug)]
    struct Never;
    #[async_trait::async_trait]
    impl local_aws::Function for Never {
        async fn invoke(&self, _: serde_json::Value) -> Result<serde_json::Value, local_aws::FunctionError> {
            unreachable!("nobody calls it")
        }
    }
    Never
}

#[tokio::test(start_paused = true)]
async fn whoever_looks_looks_at_what_the_functions_work_with() {
    let (mut stage, _) = rotated().await;
    let jwks = stage.settings.jwks_url.clone().expect("the stage has one");
    for (setting, ours) in [
        ("ROTATOR_FINGERPRINT_KEY", stage.settings.fingerprint_key.clone().expect("the stage has one")),
        ("ROTATOR_JWKS_URL", jwks.clone()),
        ("ROTATOR_KEY_PREFIX", stage.settings.key_prefix.clone()),
    ] {
        for function in ["rotation", "retirement"] {
            assert!(stage.aws.configure_function(function, |shape| {
                shape.environment.insert(setting.into(), "theirs".into());
            }));
            let said = format!("{function} works with {setting} = theirs, and you with {ours}");
            says(&stage, Area::Function, Verdict::Broken, &said, &format!("export {setting}=theirs")).await;
            assert!(stage.aws.configure_function(function, |shape| shape.environment.clear()));
        }
    }
    is_healthy(&stage).await;
    stage.settings.jwks_url = None;
    assert!(stage.aws.configure_function("rotation", |shape| {
        shape.environment.insert("ROTATOR_JWKS_URL".into(), format!("{jwks}/"));
    }));
    let said = format!("rotation works with ROTATOR_JWKS_URL = {jwks}, and you with nothing");
    says(&stage, Area::Function, Verdict::Broken, &said, "export ROTATOR_JWKS_URL=").await;
}
