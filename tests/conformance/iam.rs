//! IAM's simulator, which evaluates nothing here.

use std::collections::BTreeSet;

use aws_sdk_iam::Client;
use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, EvaluationResult, PolicyEvaluationDecisionType};
use local_aws::{Decision, Simulated};

use super::{Aws, Scripted, refused, sdk_config};

const ROLE: &str = "arn:aws:iam::123456789012:role/rotation";
const GET: &str = "secretsmanager:GetSecretValue";
const PUT: &str = "secretsmanager:PutSecretValue";
const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a&b-AbCdEf";

/// An AWS with that one role.
fn world() -> (Aws, Client) {
    let (aws, _) = super::world();
    aws.settings(|settings| settings.roles = [ROLE.to_owned()].into());
    let client = Client::new(&sdk_config(&aws));
    (aws, client)
}

/// What two actions on two resources are answered, page after page.
async fn simulated(client: &Client, page: Option<i32>) -> Vec<EvaluationResult> {
    let mut told = Vec::new();
    let mut marker = None;
    loop {
        let simulate = client.simulate_principal_policy().policy_source_arn(ROLE).action_names(GET).action_names(PUT);
        let simulate = simulate.resource_arns(SECRET).resource_arns("*").set_max_items(page).set_marker(marker);
        let answer = simulate.send().await.expect("simulated");
        told.extend(answer.evaluation_results().to_vec());
        assert_eq!(answer.is_truncated(), answer.marker().is_some());
        marker = answer.marker().map(str::to_owned);
        if marker.is_none() {
            return told;
        }
    }
}

/// Source: AWS: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_EvaluationResult.html>.
#[tokio::test]
async fn every_action_is_allowed_on_every_resource_unless_a_switch_denies_it() {
    let (aws, client) = world();
    let all = simulated(&client, None).await;
    let actions: Vec<_> = all.iter().map(EvaluationResult::eval_action_name).collect();
    assert_eq!(actions, [GET, PUT], "one result for each action");
    for result in &all {
        assert_eq!(result.eval_decision(), &PolicyEvaluationDecisionType::Allowed);
        let resources: Vec<_> = result.resource_specific_results().iter().map(|one| one.eval_resource_name()).collect();
        assert_eq!(resources, [SECRET]);
    }

    aws.settings(|settings| settings.denied_actions = [PUT.to_owned()].into());
    for result in simulated(&client, None).await {
        let denied = *result.eval_decision() == PolicyEvaluationDecisionType::ImplicitDeny;
        assert_eq!(denied, result.eval_action_name() == PUT, "{result:?}");
        let beside = result.resource_specific_results()[0].eval_resource_decision();
        assert_eq!(beside, result.eval_decision());
    }
}

/// Source: AWS: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>.
#[tokio::test]
async fn results_are_told_by_pages() {
    let (aws, client) = world();
    assert_eq!(simulated(&client, Some(1)).await, simulated(&client, None).await);
    assert_eq!(aws.requests().len(), 3);
}

/// Source: AWS: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_EvaluationResult.html>.
#[tokio::test]
async fn a_context_key_that_nobody_gave_is_told_beside_a_resource_that_was_named() {
    let (aws, client) = world();
    let condition: BTreeSet<String> = ["aws:SourceVpc".to_owned()].into();
    let rule =
        Simulated { principal: Some(ROLE.into()), action: GET.into(), decision: Decision::ExplicitDeny, condition };
    aws.settings(|settings| settings.simulated = vec![rule]);
    let simulate = |resource: &str| {
        client.simulate_principal_policy().policy_source_arn(ROLE).action_names(GET).resource_arns(resource)
    };
    let missing = ["aws:SourceVpc".to_owned()];
    let named = simulate(SECRET).send().await.expect("simulated").evaluation_results.expect("one").remove(0);
    assert_eq!(named.eval_decision(), &PolicyEvaluationDecisionType::ExplicitDeny);
    assert!(named.missing_context_values().is_empty());
    assert_eq!(named.resource_specific_results()[0].missing_context_values(), missing);
    let all = simulate("*").send().await.expect("simulated").evaluation_results.expect("one").remove(0);
    assert_eq!((all.missing_context_values(), all.resource_specific_results()), (&missing[..], &[][..]));

    let given = ContextEntry::builder().context_key_name("AWS:sourcevpc").context_key_values("vpc-1");
    let given = simulate(SECRET).context_entries(given.context_key_type(ContextKeyTypeEnum::String).build());
    let given = given.send().await.expect("simulated").evaluation_results.expect("one").remove(0);
    assert_eq!(given.eval_decision(), &PolicyEvaluationDecisionType::Allowed);
    assert!(given.resource_specific_results()[0].missing_context_values().is_empty());
}

/// Embedded: a switch.
#[tokio::test]
async fn by_a_switch_the_caller_may_not_simulate() {
    let (aws, client) = world();
    aws.settings(|settings| settings.may_simulate = false);
    let simulate = client.simulate_principal_policy().policy_source_arn(ROLE).action_names(GET);
    let (code, message) = refused(simulate.send().await);
    assert_eq!(code, "AccessDenied");
    assert!(message.contains("iam:SimulatePrincipalPolicy"), "{message}");
}

/// Source: AWS: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>.
#[tokio::test]
async fn a_session_is_no_principal_and_another_operation_is_refused_by_name() {
    let (_, client) = world();
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

/// Source: AWS: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRole.html>.
#[tokio::test]
async fn a_role_is_found_by_its_name_and_simulated_by_its_whole_arn() {
    const WITH_PATH: &str = "arn:aws:iam::123456789012:role/service/retirement";
    let (aws, client) = world();
    aws.register("retirement", Scripted::new(|_| async { Ok(()) }));
    assert!(aws.configure_function("retirement", |shape| shape.role = Some(WITH_PATH.into())));
    for (name, arn, path) in [("rotation", ROLE, "/"), ("retirement", WITH_PATH, "/service/")] {
        let role = client.get_role().role_name(name).send().await.expect("told").role.expect("a role");
        assert_eq!((role.arn(), role.path(), role.role_name()), (arn, path, name));
    }
    assert_eq!(refused(client.get_role().role_name("jwks").send().await).0, "NoSuchEntity");

    let simulate = |arn: &str| client.simulate_principal_policy().policy_source_arn(arn).action_names(GET).send();
    assert!(simulate(WITH_PATH).await.is_ok());
    assert!(simulate("arn:aws:iam::123456789012:user/local").await.is_ok(), "the caller");
    for nobody in ["role/retirement", "role/service/rotation", "role/jwks", "user/nobody", "group/all"] {
        let arn = format!("arn:aws:iam::123456789012:{nobody}");
        assert_eq!(refused(simulate(&arn).await).0, "NoSuchEntity", "{nobody}");
    }
}
