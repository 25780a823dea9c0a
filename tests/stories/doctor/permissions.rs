//! What the functions and the person may do.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use local_aws::{Decision, Simulated};
use rotator::adoption::Selection;
use rotator::doctor::permissions::{Function, Need, Scope, Subject, always, for_credential};
use rotator::doctor::{Area, Check, Verdict};
use rotator_cli::commands::doctor::{DoctorView, Names, examine};

use super::super::adoption::take;
use super::{ACCOUNT, assert_line, broken, doctor, hurt, is_healthy, rotated, says, watched_person};
use crate::harness::faults::{Fault, When};
use crate::harness::{ACME, Stage, Terms, say};

#[tokio::test(start_paused = true)]
async fn each_permission_that_is_missing_is_named() {
    let (stage, arn) = rotated().await;
    stage.retag(&arn, "access-log", "/apis/partners").await;
    let access_log = Some("/apis/partners".into());
    let (encrypted_by, kind) = (None, "api-gateway-key".into());
    let subject = Subject { secret: arn, encrypted_by, kind, keys: Vec::new(), access_log };
    for function in Function::ALL {
        let mut needs = always(function, &scope(&stage));
        needs.extend(for_credential(function, &scope(&stage), &subject));
        for Need { action, resource, of_secret: _ } in needs {
            stage.aws.settings(|settings| settings.denied_actions = [action.to_owned()].into());
            let said = format!("{} may not {action} on {resource}", function.word());
            let on = if resource == "*" { String::new() } else { format!(" on {resource}") };
            let said = said.trim_end_matches(" on *");
            let fix = format!("allow {action}{on} in a policy of the role {}", function.word());
            says(&stage, Area::Permissions, Verdict::Broken, said, &fix).await;
        }
    }
    stage.aws.settings(|settings| settings.denied_actions = ["lambda:InvokeFunction".to_owned()].into());
    let fix = "allow lambda:InvokeFunction on arn:aws:lambda:eu-west-1:123456789012:function:rotation to whoever";
    says(&stage, Area::Permissions, Verdict::Broken, "RotateSecret is refused to them", fix).await;
    stage.aws.settings(|settings| settings.denied_actions.clear());
    is_healthy(&stage).await;

    stage.aws.settings(|settings| settings.may_simulate = false);
    for said in ["what rotation may do could not be simulated", "what retirement may do for api-gateway-key"] {
        says(&stage, Area::Permissions, Verdict::Warning, said, "grant you iam:SimulatePrincipalPolicy").await;
    }
    is_healthy(&stage).await;
}

fn rule(action: &str, decision: Decision, condition: &[&str]) -> Simulated {
    let condition = condition.iter().map(ToString::to_string).collect();
    Simulated { principal: None, action: action.into(), decision, condition }
}

fn permissions(view: &DoctorView) -> Vec<&Check> {
    view.checks.iter().filter(|check| check.area == Area::Permissions).collect()
}

#[tokio::test(start_paused = true)]
async fn what_denies_is_told_apart_from_what_does_not_allow_and_from_what_depends() {
    use Decision::{ExplicitDeny, ImplicitDeny};
    use Verdict::{Broken, Warning};
    let (stage, arn) = rotated().await;
    stage.retag(&arn, "access-log", "/apis/partners").await;
    let put = "secretsmanager:PutSecretValue";
    let table = "arn:aws:dynamodb:eu-west-1:123456789012:table/rotator";
    let cases = [
        (
            rule("dynamodb:PutItem", ExplicitDeny, &[]),
            Broken,
            format!("rotation may not dynamodb:PutItem on {table}: a statement denies it"),
            "take the Deny out of the policies of the role rotation",
        ),
        (
            rule(put, ImplicitDeny, &["aws:SourceVpc", "aws:SourceVpce"]),
            Warning,
            format!("whether rotation may {put} on {arn} depends on aws:SourceVpc, aws:SourceVpce"),
            "see that the condition in the policy of the role rotation is met when rotation runs",
        ),
        // "Unless it comes from our addresses": what has no address is denied.
        (
            rule(put, ExplicitDeny, &["aws:SourceIp"]),
            Warning,
            format!("whether retirement may {put} on {arn} depends on aws:SourceIp"),
            "see that the condition in the policy of the role retirement is met when retirement runs",
        ),
        // An action that knows no resource.
        (
            rule("logs:GetQueryResults", ImplicitDeny, &["aws:SourceVpc"]),
            Warning,
            "whether retirement may logs:GetQueryResults depends on aws:SourceVpc".to_owned(),
            "see that the condition in the policy of the role retirement",
        ),
    ];
    for (rule, verdict, said, fix) in cases {
        stage.aws.settings(|settings| settings.simulated = vec![rule.clone()]);
        says(&stage, Area::Permissions, verdict, &said, fix).await;
        let view = doctor(&stage, Some(ACME)).await;
        assert!(verdict == Broken || broken(&view).is_empty(), "{said}: what depends is not broken");
    }

    // What a condition may ask for and is known here is told to IAM.
    let known =
        ["aws:RequestedRegion", "aws:ResourceTag/rotator:credential", "secretsmanager:ResourceTag/rotator:kind"];
    let region = rule("dynamodb:Query", ExplicitDeny, &["aws:RequestedRegion"]);
    stage.aws.settings(|settings| settings.simulated = vec![rule(put, ImplicitDeny, &known), region]);
    let view = doctor(&stage, Some(ACME)).await;
    assert!(permissions(&view).iter().all(|check| check.verdict == Verdict::Ok), "{view:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_role_with_a_path_is_asked_about_by_its_whole_name() {
    const ROLE: &str = "arn:aws:iam::123456789012:role/service/rotation";
    const OPERATOR: &str = "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/operator";
    let all_asked = |view: &DoctorView| {
        assert!(permissions(view).iter().all(|check| check.verdict == Verdict::Ok), "{view:#?}");
        let begin = permissions(view).into_iter().find(|check| check.what.starts_with("you may begin rotations"));
        assert_eq!(begin.map(|check| check.what.as_str()), Some("you may begin rotations: lambda:InvokeFunction"));
    };
    let of = |principal: &str, action| {
        let rule = rule(action, Decision::ImplicitDeny, &[]);
        vec![Simulated { principal: Some(principal.into()), ..rule }]
    };
    let (stage, arn) = rotated().await;
    assert!(stage.aws.configure_function("rotation", |shape| shape.role = Some(ROLE.into())));
    all_asked(&doctor(&stage, Some(ACME)).await);
    let put = "secretsmanager:PutSecretValue";
    stage.aws.settings(|settings| settings.simulated = of(ROLE, put));
    let view = doctor(&stage, Some(ACME)).await;
    let fix = format!("allow {put} on {arn} in a policy of the role rotation (");
    assert_line(&view, Area::Permissions, Verdict::Broken, &format!("rotation may not {put} on {arn}"), &fix);
    assert_eq!(broken(&view).len(), 1, "retirement runs as another role: {view:#?}");

    // A session does not tell its role's path.
    for role in [OPERATOR, "arn:aws:iam::123456789012:role/operator"] {
        stage.aws.settings(|settings| {
            settings.caller = Some("arn:aws:sts::123456789012:assumed-role/operator/ada".into());
            settings.roles = [role.to_owned()].into();
            settings.simulated.clear();
        });
        all_asked(&doctor(&stage, Some(ACME)).await);
        stage.aws.settings(|settings| settings.simulated = of(role, "lambda:InvokeFunction"));
        let said = "arn:aws:sts::123456789012:assumed-role/operator/ada may not lambda:InvokeFunction on";
        says(&stage, Area::Permissions, Verdict::Broken, said, "to whoever calls RotateSecret").await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_key_that_encrypts_the_secret() {
    use Verdict::{Broken, Warning};
    let (stage, arn) = rotated().await;
    let kms = stage.kms();
    let made = kms.create_key().send().await.expect("a key").key_metadata.expect("told");
    let (id, key) = (made.key_id, made.arn.expect("an ARN"));
    kms.create_alias().alias_name("alias/secrets").target_key_id(&id).send().await.expect("named");
    let alias = "arn:aws:kms:eu-west-1:123456789012:alias/secrets";
    for name in [&id, &key, "alias/secrets", alias] {
        let update = stage.secrets_manager().update_secret().secret_id(&arn).kms_key_id(name);
        update.send().await.expect("encrypted by it");
        is_healthy(&stage).await;
        for action in ["kms:Decrypt", "kms:GenerateDataKey"] {
            for function in ["rotation", "retirement"] {
                stage.aws.settings(|settings| settings.denied_actions = [action.to_owned()].into());
                let said = format!("{function} may not {action} on {key}");
                let fix = format!("allow {action} on {key} in a policy of the role {function}");
                says(&stage, Area::Permissions, Broken, &said, &fix).await;
            }
        }
        stage.aws.settings(|settings| settings.denied_actions.clear());
    }
    // As AWS's own examples limit such a key.
    let limited = ["kms:ViaService", "kms:EncryptionContext:SecretARN"];
    stage.aws.settings(|settings| settings.simulated = vec![rule("kms:Decrypt", Decision::ImplicitDeny, &limited)]);
    let view = doctor(&stage, Some(ACME)).await;
    assert!(permissions(&view).iter().all(|check| check.verdict == Verdict::Ok), "{view:#?}");

    stage.faults.deny("TrentService:DescribeKey");
    let view = hurt(&stage).await;
    let said = format!("which key {alias} is could not be looked at");
    assert_line(&view, Area::Permissions, Warning, &said, "let an administrator grant you that");
    assert_eq!(broken(&view), Vec::<&Check>::new());
    stage.faults.allow("TrentService:DescribeKey");

    kms.delete_alias().alias_name("alias/secrets").send().await.expect("deleted");
    let said = format!("{alias} is to encrypt the secret, and there is no such key");
    let fix = "aws secretsmanager update-secret --secret-id partner/acme --kms-key-id KEY";
    says(&stage, Area::Secret, Broken, &said, fix).await;
    assert!(stage.secrets_manager().put_secret_value().secret_id(&arn).secret_string("{}").send().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_may_not_simulate_tries_without_running_it() {
    use Verdict::{Broken, Ok, Warning};
    const TRIED: &str = "you may begin rotations: lambda:InvokeFunction (tried without running it)";
    let (stage, _) = rotated().await;
    let tried = |view: &DoctorView| permissions(view).iter().any(|check| check.verdict == Ok && check.what == TRIED);
    // IAM can't tell, either.
    let depends = rule("lambda:InvokeFunction", Decision::ImplicitDeny, &["aws:SourceVpc"]);
    stage.aws.settings(|settings| settings.simulated = vec![depends]);
    assert!(tried(&doctor(&stage, Some(ACME)).await));

    stage.aws.settings(|settings| (settings.may_simulate, settings.simulated) = (false, Vec::new()));
    assert!(tried(&doctor(&stage, Some(ACME)).await));
    stage.aws.settings(|settings| settings.denied_actions = ["lambda:InvokeFunction".to_owned()].into());
    let said = "arn:aws:iam::123456789012:user/local may not lambda:InvokeFunction on \
                arn:aws:lambda:eu-west-1:123456789012:function:rotation: RotateSecret is refused to them";
    let fix = "allow lambda:InvokeFunction on arn:aws:lambda:eu-west-1:123456789012:function:rotation to whoever";
    says(&stage, Area::Permissions, Broken, said, fix).await;
    stage.aws.settings(|settings| settings.denied_actions.clear());

    stage.faults.disarm();
    assert!(tried(&hurt(&stage).await));
    let dry_run = stage.faults.calls().iter().position(|call| call.ends_with("/invocations")).expect("it is tried");
    stage.faults.arm(When::Once(dry_run), Fault::Throttled);
    let view = hurt(&stage).await;
    let said = "whether you may lambda:InvokeFunction could not be simulated: ";
    assert_line(&view, Area::Permissions, Warning, said, "grant you iam:SimulatePrincipalPolicy");
    assert_eq!(broken(&view), Vec::<&Check>::new());
}

/// How often a look at everything makes each call, with so many API keys whose secrets share an encryption key.
async fn calls_of_a_look(many: usize) -> BTreeMap<String, usize> {
    let stage = Stage::new().await;
    for number in 0..many {
        stage.key(&format!("customer-{number:02}")).await;
    }
    let kms = stage.kms();
    let key = stage.encryption_key().await;
    kms.create_alias().alias_name("alias/secrets").target_key_id(&key).send().await.expect("named");
    for item in take(&stage, &Selection::All).await {
        stage.encrypt(item.secret.as_str(), "alias/secrets").await;
    }
    stage.faults.disarm();
    let view = examine(&watched_person(&stage), None, &Names::default(), &mut |_| {}).await.expect("examined");
    assert_eq!(broken(&view), Vec::<&Check>::new());
    let mut calls = BTreeMap::new();
    for call in stage.faults.calls() {
        *calls.entry(call).or_default() += 1;
    }
    say(&format!("{many} credentials: {} calls, {calls:#?}", calls.values().sum::<usize>()));
    calls
}

/// Fifty are asked about at once; of more than twenty API keys the plans are listed.
#[tokio::test(start_paused = true)]
async fn what_many_credentials_share_is_asked_once() {
    let (few, many, more) = (calls_of_a_look(5).await, calls_of_a_look(25).await, calls_of_a_look(55).await);
    let of = |calls: &BTreeMap<String, usize>, what: &str| {
        calls.iter().filter(|(call, _)| call.starts_with(what)).map(|(_, count)| count).sum::<usize>()
    };
    // The harness takes IAM's calls, of which none has a path, for one of API Gateway's.
    let iam = |calls| of(calls, "apigateway:POST /");
    assert_eq!((iam(&many), iam(&more)), (iam(&few), iam(&few) + 2), "one more batch for each of two roles");
    for what in ["TrentService:DescribeKey", "apigateway:GET", "sts:", "secretsmanager:ListSecrets"] {
        assert_eq!(of(&many, what), of(&more, what), "{what}");
    }
    assert_eq!(of(&many, "TrentService:DescribeKey"), 1);
    assert_eq!(of(&more, "secretsmanager:DescribeSecret"), 55);
}

/// Where a policy asks for what is a credential's own, each is asked about by itself.
#[tokio::test(start_paused = true)]
async fn a_policy_that_tells_credentials_apart_is_asked_about_each() {
    let (stage, arn) = rotated().await;
    let other = stage.credential("partner/globex", &Terms::default()).await.0;
    let put = "secretsmanager:PutSecretValue";
    let known = rule(put, Decision::ImplicitDeny, &["aws:ResourceTag/rotator:credential"]);
    stage.aws.settings(|settings| settings.simulated = vec![known]);
    let view = doctor(&stage, None).await;
    assert_eq!(broken(&view), Vec::<&Check>::new());
    let unknown = rule(put, Decision::ImplicitDeny, &["aws:ResourceTag/rotator:credential", "aws:SourceVpc"]);
    stage.aws.settings(|settings| settings.simulated = vec![unknown]);
    let view = doctor(&stage, None).await;
    for (name, arn) in [(ACME, arn), ("partner/globex", other)] {
        let said = format!("{name}: whether rotation may {put} on {arn} depends on aws:SourceVpc");
        assert_line(&view, Area::Credential, Verdict::Warning, &said, "see that the condition");
    }
}

/// Every call that the functions make is one that doctor asks IAM about.
#[tokio::test(start_paused = true)]
async fn what_doctor_asks_iam_for_is_what_the_functions_call() {
    let watched = Terms::default().with("access-log", "/apis/partners");
    for terms in [Terms::default(), watched, Terms::webhook(), Terms::kms(), Terms::jwt()] {
        let stage = Stage::new().await;
        let kind = terms.tags["rotator:kind"].clone();
        stage.faults.disarm();
        let arn = match kind.as_str() {
            "api-gateway-key" => stage.credential(ACME, &terms).await.0,
            _ => stage.secret(ACME, "{}", &terms).await,
        };
        stage.rotate(&arn).await;
        stage.assert_rotated();
        let mut rotation = stage.faults.calls();
        stage.faults.disarm();
        stage.tick().await;
        stage.pass(TimeDelta::hours(25)).await;
        let mut retirement = stage.faults.calls();
        stage.faults.disarm();
        stage.rotate(&arn).await;
        stage.assert_rotated();
        rotation.extend(stage.faults.calls());
        stage.faults.disarm();
        for _ in 0..4 {
            stage.pass(TimeDelta::hours(25)).await;
        }
        retirement.extend(stage.faults.calls());

        let keys = vec![format!("arn:aws:kms:eu-west-1:{ACCOUNT}:key/x")];
        let access_log = terms.tags.get("rotator:access-log").cloned();
        let subject = Subject { secret: arn, encrypted_by: None, kind: kind.clone(), keys, access_log };
        for (function, calls) in [(Function::Rotation, rotation), (Function::Retirement, retirement)] {
            let mut needs = always(function, &scope(&stage));
            needs.extend(for_credential(function, &scope(&stage), &subject));
            let unasked = calls.iter().filter(|call| !call.starts_with("probe:")).filter(|call| {
                let (action, path) = as_iam(call);
                !needs.iter().any(|need| need.action == action && path.as_ref().is_none_or(|p| fits(&need.resource, p)))
            });
            let unasked: Vec<_> = unasked.collect();
            assert!(unasked.is_empty(), "{kind}: {} calls {unasked:?}", function.word());
        }
    }
}

fn scope(stage: &Stage) -> Scope {
    Scope {
        partition: "aws".into(),
        region: "eu-west-1".into(),
        account: ACCOUNT.into(),
        table: "rotator".into(),
        fingerprint_key: stage.settings.fingerprint_key.clone(),
    }
}

/// A call as IAM names it; of API Gateway's, with the path, because there an action is but a method.
fn as_iam(call: &str) -> (String, Option<String>) {
    let (service, operation) = call.split_once(':').expect("named by the harness");
    if let Some((method, path)) = operation.split_once(' ') {
        return (format!("apigateway:{method}"), Some(path.replace(['{', '}'], "")));
    }
    let service = match service {
        "DynamoDB" => "dynamodb",
        "TrentService" => "kms",
        "Logs" => "logs",
        other => other,
    };
    let operation = if operation == "TransactWriteItems" { "PutItem" } else { operation };
    (format!("{service}:{operation}"), None)
}

/// Whether a path is one of those that a resource with `*` in it names.
fn fits(resource: &str, path: &str) -> bool {
    let pattern = resource.split("::").last().unwrap_or_default();
    let (mut rest, mut parts) = (path, pattern.split('*'));
    let Some(begin) = parts.next().and_then(|first| rest.strip_prefix(first)) else { return false };
    rest = begin;
    for part in parts {
        match (part, rest.find(part)) {
            ("", _) => return true,
            (_, Some(at)) => rest = &rest[at + part.len()..],
            (_, None) => return false,
        }
    }
    rest.is_empty()
}
