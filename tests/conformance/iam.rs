//! IAM's simulator, which evaluates nothing here.

use aws_sdk_iam::Client;
use aws_sdk_iam::types::PolicyEvaluationDecisionType;
use local_aws::LocalAws;

use super::{refused, sdk_config, world};

const ROLE: &str = "arn:aws:iam::123456789012:role/rotation";
const GET: &str = "secretsmanager:GetSecretValue";
const PUT: &str = "secretsmanager:PutSecretValue";
const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a&b-AbCdEf";

/// The decisions as (action, resource, decision), page after page.
async fn simulated(aws: &LocalAws, page: Option<i32>) -> Vec<(String, String, PolicyEvaluationDecisionType)> {
    let client = Client::new(&sdk_config(aws));
    let mut told = Vec::new();
    let mut marker = None;
    loop {
        let simulate = client.simulate_principal_policy().policy_source_arn(ROLE).action_names(GET).action_names(PUT);
        let simulate = simulate.resource_arns(SECRET).resource_arns("*").set_max_items(page).set_marker(marker);
        let answer = simulate.send().await.expect("simulated");
        for result in answer.evaluation_results() {
            let resource = result.eval_resource_name().unwrap_or_default().to_owned();
            told.push((result.eval_action_name().to_owned(), resource, result.eval_decision().clone()));
        }
        assert_eq!(answer.is_truncated(), answer.marker().is_some());
        marker = answer.marker().map(str::to_owned);
        if marker.is_none() {
            return told;
        }
    }
}

#[tokio::test]
async fn every_action_is_allowed_on_every_resource_unless_a_switch_denies_it() {
    let (aws, _) = world();
    let all = simulated(&aws, None).await;
    let pairs: Vec<_> = all.iter().map(|(action, resource, _)| (action.as_str(), resource.as_str())).collect();
    assert_eq!(pairs, [(GET, SECRET), (GET, "*"), (PUT, SECRET), (PUT, "*")]);
    assert!(all.iter().all(|(.., decision)| *decision == PolicyEvaluationDecisionType::Allowed), "{all:?}");

    aws.settings(|settings| settings.denied_actions = [PUT.to_owned()].into());
    for (action, resource, decision) in simulated(&aws, None).await {
        let denied = decision == PolicyEvaluationDecisionType::ImplicitDeny;
        assert_eq!(denied, action == PUT, "{action} on {resource}");
    }
}

#[tokio::test]
async fn results_are_told_by_pages() {
    let (aws, _) = world();
    assert_eq!(simulated(&aws, Some(3)).await, simulated(&aws, None).await);
    assert_eq!(aws.requests().len(), 3);
}

#[tokio::test]
async fn by_a_switch_the_caller_may_not_simulate() {
    let (aws, _) = world();
    aws.settings(|settings| settings.may_simulate = false);
    let client = Client::new(&sdk_config(&aws));
    let simulate = client.simulate_principal_policy().policy_source_arn(ROLE).action_names(GET);
    let (code, message) = refused(simulate.send().await);
    assert_eq!(code, "AccessDenied");
    assert!(message.contains("iam:SimulatePrincipalPolicy"), "{message}");
}

#[tokio::test]
async fn a_session_is_no_principal_and_another_operation_is_refused_by_name() {
    let (aws, _) = world();
    let client = Client::new(&sdk_config(&aws));
    let simulate = |arn: &str| client.simulate_principal_policy().policy_source_arn(arn).action_names(GET).send();
    let session = "arn:aws:sts::123456789012:assumed-role/rotation/session";
    assert_eq!(refused(simulate(session).await).0, "InvalidInput");
    assert_eq!(refused(simulate("arn:aws:iam::210987654321:role/rotation").await).0, "NoSuchEntity");
    let bounded = client.simulate_principal_policy().policy_source_arn(ROLE).action_names(GET);
    let (code, message) = refused(bounded.policy_input_list("{}").send().await);
    assert_eq!(code, "InvalidInput");
    assert!(message.contains("PolicyInputList"), "{message}");
    assert_eq!(refused(client.list_roles().send().await).0, "InvalidAction");
}
