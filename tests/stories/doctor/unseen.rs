//! What the person may not see, or nobody can: a line says so, and blames nothing on the service.

use std::collections::BTreeSet;

use rotator::doctor::{Area, Check, Verdict};
use rotator_cli::commands::doctor::{DoctorView, Names, examine};

use super::{assert_line, broken, hurt, is_healthy, rotated, watched_person};
use crate::harness::faults::{Fault, When};
use crate::harness::{ACME, Stage, Terms};

/// The calls of a whole look, but for who asks, without whom there is none, and the probes, which are no question to AWS.
async fn calls(stage: &Stage) -> Vec<(usize, String)> {
    stage.faults.disarm();
    hurt(stage).await;
    let calls = stage.faults.calls().into_iter().enumerate();
    calls.filter(|(_, call)| !call.starts_with("probe:") && !call.starts_with("sts:")).collect()
}

fn warned(view: &DoctorView, fix: &str) -> bool {
    let warnings = view.checks.iter().filter(|check| check.verdict == Verdict::Warning);
    warnings.into_iter().any(|check| check.fix.as_ref().is_some_and(|told| told.contains(fix)))
}

async fn signing() -> Stage {
    let stage = Stage::new().await;
    let arn = stage.secret(ACME, "{}", &Terms::kms()).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.tick().await;
    is_healthy(&stage).await;
    stage
}

#[tokio::test(start_paused = true)]
async fn what_the_person_may_not_see_is_not_broken() {
    for stage in [rotated().await.0, signing().await] {
        let all: BTreeSet<_> = calls(&stage).await.into_iter().map(|(_, call)| call).collect();
        for call in all {
            stage.faults.disarm();
            stage.faults.deny(&call);
            let view = hurt(&stage).await;
            assert_eq!(broken(&view), Vec::<&Check>::new(), "{call}");
            assert!(warned(&view, "let an administrator grant you"), "{call}: {view:#?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_gets_no_answer_is_not_broken() {
    for stage in [rotated().await.0, signing().await] {
        for nth in 0.. {
            // Waiting for an answer takes its time, and what is due is done meanwhile.
            stage.faults.disarm();
            stage.tick().await;
            let Some((number, call)) = calls(&stage).await.into_iter().nth(nth) else { break };
            stage.faults.arm(When::FromThenOn(number), Fault::ServerError);
            let view = hurt(&stage).await;
            assert!(stage.faults.met() > 0, "{number}, {call}");
            assert_eq!(broken(&view), Vec::<&Check>::new(), "{number}, {call}");
            let fixes = ["run the same command again in a minute", "iam:SimulatePrincipalPolicy"];
            let told = fixes.iter().any(|fix| warned(&view, fix));
            assert!(told, "{number}, {call}: {view:#?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_says_what_it_could_not_see() {
    use Area::{Credential, Function, Provider, Quota, Retirement, Secret, Table};
    let functions =
        "apigateway:GET /2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Arotation";
    let rotation = "arn:aws:lambda:eu-west-1:123456789012:function:rotation";
    let cases = [
        ("DynamoDB:DescribeTable", Table, "the table rotator could not be looked at".to_owned()),
        ("DynamoDB:Query", Table, "the records of partner/acme could not be looked at".to_owned()),
        ("DynamoDB:Query", Retirement, "what is due could not be looked at".to_owned()),
        ("secretsmanager:DescribeSecret", Secret, "the secret partner/acme could not be looked at".to_owned()),
        ("secretsmanager:GetSecretValue", Provider, "the present value could not be looked at".to_owned()),
        ("apigateway:GET /usageplans", Provider, "what the tags ask for could not be looked at".to_owned()),
        ("apigateway:GET /apikeys/{key}", Provider, "the API key ".to_owned()),
        ("apigateway:GET /apikeys", Quota, "the number of API keys could not be looked at".to_owned()),
        (&format!("{functions}/configuration"), Function, format!("the function {rotation} could not be looked at")),
        (&format!("{functions}/policy"), Function, "who may invoke rotation could not be looked at".to_owned()),
    ];
    let (stage, _) = rotated().await;
    for (call, area, said) in cases {
        stage.faults.disarm();
        stage.faults.deny(call);
        assert_line(&hurt(&stage).await, area, Verdict::Warning, &said, "let an administrator grant you that");
    }
    stage.faults.disarm();
    stage.faults.deny("secretsmanager:ListSecrets");
    let view = examine(&watched_person(&stage), None, &Names::default(), &mut |_| {}).await.expect("examined");
    let said = "the list of secrets could not be looked at";
    assert_line(&view, Credential, Verdict::Warning, said, "let an administrator grant you that");
}
