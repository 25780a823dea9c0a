//! `rotator doctor`: what is as it must be has no broken line, and everything that can be broken is found and mended by
//! what its line says.

use std::sync::Arc;

use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use chrono::TimeDelta;
use local_aws::{FunctionPolicy, FunctionShape, Method};
use rotator::aws::plain;
use rotator::doctor::permissions::{Function, Need, Scope, Subject, always, for_credential};
use rotator::doctor::{Area, Check, Verdict};
use rotator::ports::{OsEntropy, Ports, Wire};
use rotator_cli::commands::doctor::{DoctorView, Names, examine};
use rotator_cli::context::Context;
use state::decide::{AWSCURRENT, AWSPENDING};
use state::name::CredentialName;

use crate::harness::{ACME, Stage, Terms, document};

const ACCOUNT: &str = "123456789012";

/// Whoever asks: where they look may be changed.
fn person(stage: &Stage) -> Context {
    let connector = stage.aws.connector();
    let wire = Wire::new(move || connector.clone());
    let ports = Ports { clock: Arc::new(stage.clock), entropy: Arc::new(OsEntropy), wire };
    Context::new(plain(stage.observer.clone()), stage.settings.clone(), ports)
}

/// `rotator doctor`, of one credential or of all.
async fn doctor(stage: &Stage, name: Option<&str>) -> DoctorView {
    let name = name.map(|name| CredentialName::parse(name).expect("a name"));
    // A signature is a use of its key, and KMS remembers the last one.
    let but_uses = |mut world: super::World| {
        world.kms_keys = stage.aws.inspect_kms_keys().into_iter().map(|key| (key.arn, key.state)).collect();
        world
    };
    let before = but_uses(stage.world().await);
    let view = examine(&person(stage), name.as_ref(), &Names::default(), &mut |_| {}).await.expect("examined");
    assert_eq!(but_uses(stage.world().await), before, "looking changes nothing");
    view
}

fn broken(view: &DoctorView) -> Vec<&Check> {
    view.checks.iter().filter(|check| check.verdict == Verdict::Broken).collect()
}

/// A line says so, and how to mend it.
fn assert_line(view: &DoctorView, area: Area, verdict: Verdict, said: &str, fix: &str) {
    let line = view.checks.iter().find(|check| {
        check.area == area
            && check.verdict == verdict
            && check.what.contains(said)
            && check.fix.as_ref().is_some_and(|told| told.contains(fix))
    });
    assert!(line.is_some(), "no line {area:?} {verdict:?} with {said:?} and {fix:?} in {:#?}", view.checks);
}

/// The same of the usual credential.
async fn says(stage: &Stage, area: Area, verdict: Verdict, said: &str, fix: &str) {
    assert_line(&doctor(stage, Some(ACME)).await, area, verdict, said, fix);
}

async fn is_healthy(stage: &Stage) {
    let view = doctor(stage, Some(ACME)).await;
    assert_eq!(broken(&view), Vec::<&Check>::new());
}

/// A credential that has rotated once.
async fn rotated() -> (Stage, String) {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    (stage, arn)
}

#[tokio::test(start_paused = true)]
async fn of_what_is_healthy_nothing_is_broken() {
    let stage = Stage::new().await;
    stage.credential(ACME, &Terms::default()).await;
    for (name, terms) in [("a/webhook", Terms::webhook()), ("a/kms", Terms::kms()), ("a/jwt", Terms::jwt())] {
        stage.secret(name, "{}", &terms).await;
    }
    let names = [ACME, "a/webhook", "a/kms", "a/jwt"];
    for when in ["before the first rotation", "rotated", "a day later"] {
        for name in names {
            let view = doctor(&stage, Some(name)).await;
            assert_eq!(broken(&view), Vec::<&Check>::new(), "{name} {when}");
            assert!(view.checks.iter().all(|check| check.fix.is_some() == (check.verdict != Verdict::Ok)));
            assert!(view.checks.is_sorted_by_key(|check| check.area));
        }
        let all = doctor(&stage, None).await;
        assert_eq!(broken(&all), Vec::<&Check>::new(), "{when}");
        let lines = all.checks.iter().filter(|check| check.area == Area::Credential);
        assert_eq!(lines.count(), names.len(), "a line for each");
        if when == "before the first rotation" {
            for name in names {
                stage.rotate(name).await;
                stage.assert_rotated();
            }
            stage.tick().await;
        } else {
            stage.pass(TimeDelta::hours(25)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_of_that_name_is_no_line_but_an_error() {
    let stage = Stage::new().await;
    let name = CredentialName::parse("no/such").expect("a name");
    let error = examine(&person(&stage), Some(&name), &Names::default(), &mut |_| {}).await.expect_err("nobody");
    assert!(error.to_string().contains("there is no credential no/such"), "{error}");
}

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
async fn each_permission_that_is_missing_is_named() {
    let (stage, arn) = rotated().await;
    stage.retag(&arn, "access-log", "/apis/partners").await;
    let access_log = Some("/apis/partners".into());
    let (encrypted_by, kind) = (None, "api-gateway-key".into());
    let subject = Subject { secret: arn, encrypted_by, kind, keys: Vec::new(), access_log };
    for function in Function::ALL {
        let mut needs = always(function, &scope(&stage));
        needs.extend(for_credential(function, &scope(&stage), &subject));
        for Need { action, resource } in needs {
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

#[tokio::test(start_paused = true)]
async fn the_table() {
    use Area::Table;
    use Verdict::Broken;
    let (mut stage, _) = rotated().await;
    stage.settings.table = "nowhere".into();
    says(&stage, Table, Broken, "the table nowhere does not exist", "export ROTATOR_TABLE=").await;

    table(&stage, "theirs", ["id", "at"]).await;
    stage.settings.table = "theirs".into();
    says(&stage, Table, Broken, "has the keys id, at, not pk and sk", "ROTATOR_TABLE").await;

    table(&stage, "bare", ["pk", "sk"]).await;
    stage.settings.table = "bare".into();
    for index in ["due", "fingerprint", "timeline"] {
        let said = format!("the table bare has no index {index}");
        let fix = "aws dynamodb update-table --table-name bare --attribute-definitions AttributeName=".to_owned();
        let fix = if index == "fingerprint" { format!("{fix}fingerprint") } else { fix };
        says(&stage, Table, Broken, &said, &fix).await;
    }
}

async fn table(stage: &Stage, name: &str, keys: [&str; 2]) {
    let client = aws_sdk_dynamodb::Client::new(&stage.observer);
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    let attribute = |name: &&str| {
        AttributeDefinition::builder().attribute_name(*name).attribute_type(ScalarAttributeType::S).build()
    };
    let attributes = keys.iter().map(attribute).collect::<Result<Vec<_>, _>>().expect("set");
    client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(attributes))
        .key_schema(key(keys[0], KeyType::Hash).expect("set"))
        .key_schema(key(keys[1], KeyType::Range).expect("set"))
        .send()
        .await
        .expect("made");
}

#[tokio::test(start_paused = true)]
async fn retirement_that_does_not_run() {
    let (stage, _) = rotated().await;
    // The old version is looked after as soon as there is a new one.
    stage.wait(TimeDelta::minutes(14)).await;
    is_healthy(&stage).await;
    stage.wait(TimeDelta::minutes(2)).await;
    let said = "retirement does not run: generation 1 of partner/acme is due since";
    says(&stage, Area::Retirement, Verdict::Broken, said, "Scheduled Event").await;
    stage.tick().await;
    is_healthy(&stage).await;
}

#[tokio::test(start_paused = true)]
async fn headroom() {
    let (stage, _) = rotated().await;
    let client = stage.api_gateway();
    let mut file = String::from("name,key\n");
    for number in 0..9_898 {
        file.push_str(&format!("k{number},x{number:029}\n"));
    }
    let import = client.import_api_keys().format(aws_sdk_apigateway::types::ApiKeysFormat::Csv);
    import.body(aws_sdk_apigateway::primitives::Blob::new(file)).send().await.expect("imported");
    says(&stage, Area::Quota, Verdict::Broken, "9900 of the 10000 API keys", "delete keys that nobody uses").await;
}

#[tokio::test(start_paused = true)]
async fn the_secret() {
    use Verdict::{Broken, Warning};
    let (stage, arn) = rotated().await;
    let client = stage.secrets_manager();
    assert!(stage.aws.set_replica(&arn, "eu-central-1", "InProgress"));
    says(&stage, Area::Secret, Warning, "the replicas in eu-central-1", "ReplicationStatus").await;
    assert!(stage.aws.set_replica(&arn, "eu-central-1", "InSync"));

    client.cancel_rotate_secret().secret_id(&arn).send().await.expect("cancelled");
    says(&stage, Area::Secret, Broken, "rotation is not enabled", "--rotation-lambda-arn").await;

    client.delete_secret().secret_id(&arn).recovery_window_in_days(7).send().await.expect("scheduled");
    says(&stage, Area::Secret, Broken, "is deleted, or will be", "restore-secret --secret-id partner/acme").await;

    client.delete_secret().secret_id(&arn).force_delete_without_recovery(true).send().await.expect("deleted");
    says(&stage, Area::Secret, Broken, "there is no secret partner/acme", "under SecretDeleted").await;

    stage.secret(ACME, "{}", &Terms::default()).await;
    says(&stage, Area::Secret, Broken, "SecretReplaced: partner/acme is", "under SecretReplaced").await;
}

#[tokio::test(start_paused = true)]
async fn wishes_and_schedules() {
    use Verdict::{Broken, Warning};
    let (stage, arn) = rotated().await;
    let cases = [
        ("overlap", "PT30M", Area::Wishes, Broken, "is shorter than rotator:consumer-cache = PT1H", "Key=rotator:TAG"),
        ("ovrelap", "P1D", Area::Wishes, Broken, "did you mean rotator:overlap?", "Key=rotator:TAG"),
        ("kind", "webhook-secret", Area::Wishes, Broken, "is not a known tag", "Key=rotator:TAG"),
        ("max-age", "P10D", Area::Schedule, Broken, "longer than rotator:max-age = P10D", "cron(0 8 1 * ? *)"),
    ];
    for (tag, value, area, verdict, said, fix) in cases {
        let before = stage.tag(&arn, tag).await;
        stage.retag(&arn, tag, value).await;
        says(&stage, area, verdict, said, fix).await;
        match before {
            Some(before) => stage.retag(&arn, tag, &before).await,
            None => stage.untag(&arn, tag).await,
        }
    }
    is_healthy(&stage).await;

    stage.retag(&arn, "consumer-cache", "PT1M").await;
    stage.retag(&arn, "idle-before-suspend", "PT1M").await;
    stage.retag(&arn, "overlap", "PT30M").await;
    let said = "for which AWS's caching libraries keep a value";
    says(&stage, Area::Wishes, Warning, said, "Key=rotator:overlap,Value=PT1H").await;
    says(&stage, Area::Schedule, Warning, "rate(30 days) counts from the last rotation", "a cron() says when").await;

    // Of another kind than before.
    let other = stage.secret("partner/other", "{}", &Terms::webhook()).await;
    stage.rotate(&other).await;
    stage.retag(&other, "kind", "jwt-signing-key").await;
    let view = doctor(&stage, Some("partner/other")).await;
    assert_line(&view, Area::Wishes, Broken, "this credential is of kind webhook-secret", "Key=rotator:TAG");
}

#[tokio::test(start_paused = true)]
async fn labels() {
    use Verdict::{Broken, Warning};
    let (stage, arn) = rotated().await;
    let repair = "rotator repair partner/acme";
    let good = stage.current(&arn).await;
    let first = stage.load(ACME).await.versions[&1].carriers[0].clone();
    stage.move_label(&arn, AWSCURRENT, Some(first.as_str())).await;
    let said = "AWSCURRENT is on generation 1, the records say generation 2";
    says(&stage, Area::Labels, Broken, said, repair).await;
    stage.move_label(&arn, AWSCURRENT, Some(&good)).await;

    let value = stage.current_value(&arn).await;
    stage.put(&arn, &document(&value)).await;
    says(&stage, Area::Labels, Warning, "which somebody put by hand", repair).await;
    stage.put(&arn, "{}").await;
    says(&stage, Area::Provider, Broken, "ValueWiped", repair).await;
    stage.move_label(&arn, AWSCURRENT, Some(&good)).await;
    is_healthy(&stage).await;

    let put = stage.secrets_manager().put_secret_value().secret_id(&arn).secret_string("{}");
    put.version_stages(AWSPENDING).send().await.expect("put");
    says(&stage, Area::Labels, Broken, "it blocks the next rotation", repair).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_without_a_value() {
    let stage = Stage::new().await;
    let tag = aws_sdk_secretsmanager::types::Tag::builder().key("rotator:kind").value("webhook-secret").build();
    stage.secrets_manager().create_secret().name(ACME).tags(tag).send().await.expect("made");
    says(&stage, Area::Labels, Verdict::Broken, "no version of the secret is AWSCURRENT", "put-secret-value").await;
}

#[tokio::test(start_paused = true)]
async fn holds_plans_and_keys() {
    use Verdict::Broken;
    let (stage, arn) = rotated().await;
    stage.retag(&arn, "usage-plans", "nosuch").await;
    says(&stage, Area::Provider, Broken, "PlanMissing: there is no usage plan nosuch", "under PlanMissing").await;
    stage.rotate(&arn).await;
    let said = "the credential is held since";
    says(&stage, Area::Holds, Broken, said, "under PlanMissing").await;
    stage.untag(&arn, "usage-plans").await;
    stage.again(&arn).await;
    is_healthy(&stage).await;

    stage.retag(&arn, "probe", "zzzz/prod/ping").await;
    says(&stage, Area::Provider, Broken, "ProbeForeign", "under ProbeForeign").await;
    stage.retag(&arn, "probe", "a1b2c3/prod/ping").await;

    let current = stage.load(ACME).await.head.current.expect("current");
    let id = stage.load(ACME).await.versions[&current].provider["id"].clone();
    stage.detach(&id, &stage.plan).await;
    says(&stage, Area::Provider, Broken, "ProbeForeign", "under ProbeForeign").await;
    stage.attach(&id, &stage.plan).await;

    assert!(stage.aws.own_by_stack(&id, "shop", "Key"));
    says(&stage, Area::Ownership, Broken, "the CloudFormation stack shop owns the API key", "Retain").await;
    assert!(stage.aws.own_by_stack(&stage.plan, "plans", "Bronze"));
    says(&stage, Area::Ownership, Verdict::Warning, "the CloudFormation stack plans owns the usage plan", "Retain")
        .await;
    assert!(stage.aws.own_by_stack(&arn, "secrets", "Acme"));
    let said = "the CloudFormation stack secrets owns the secret";
    says(&stage, Area::Ownership, Verdict::Warning, said, "SecretString be a constant").await;

    let engine = stage.engine_unhurt();
    engine.api_keys.set_enabled(&id, false).await.expect("disabled");
    let fix = format!("aws apigateway update-api-key --api-key {id}");
    says(&stage, Area::Provider, Broken, "that consumers read is disabled", &fix).await;
    says(&stage, Area::Probe, Broken, "the present key does not get through", "under ProbeBlocked").await;
    engine.api_keys.delete(&id).await.expect("deleted");
    says(&stage, Area::Provider, Broken, "KeyVanished", "under KeyVanished").await;
}

#[tokio::test(start_paused = true)]
async fn probes() {
    use Verdict::{Broken, Warning};
    let (stage, arn) = rotated().await;
    stage.deploy(&["prod", "beta"], vec![Method::open("/ping")]);
    says(&stage, Area::Probe, Broken, "MethodUnprotected", "under MethodUnprotected").await;
    stage.deploy(&["beta"], vec![Method::protected("/ping")]);
    says(&stage, Area::Probe, Broken, "the present key does not get through from here", "private DNS").await;
    // What this machine can't reach, the function may.
    assert!(stage.aws.configure_function("rotation", |shape| shape.subnets = vec!["subnet-1".into()]));
    says(&stage, Area::Probe, Warning, "does not get through from here", "let the function try").await;
    is_healthy(&stage).await;
    stage.deploy(&["prod", "beta"], vec![Method::protected("/ping")]);
    stage.retag(&arn, "probe", "none").await;
    says(&stage, Area::Probe, Warning, "no probe tries a new key in a1b2c3/prod", "Key=rotator:probe").await;
}

#[tokio::test(start_paused = true)]
async fn signing_keys() {
    use Verdict::{Broken, Warning};
    const ROLE: &str = "arn:aws:iam::123456789012:role/issuer";
    let mut stage = Stage::new().await;
    let arn = stage.secret(ACME, "{}", &Terms::kms()).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    says(&stage, Area::Provider, Warning, "no standby is published yet", "under StandbyTooYoung").await;
    stage.tick().await;
    is_healthy(&stage).await;

    let versions = stage.load(ACME).await.versions;
    let (signer, standby) = (versions[&1].provider["id"].clone(), versions[&2].provider["id"].clone());
    stage.kms().disable_key().key_id(&standby).send().await.expect("disabled");
    says(&stage, Area::Provider, Broken, &format!("KeyDisabled: the KMS key {standby}"), "under KeyDisabled").await;
    stage.kms().enable_key().key_id(&standby).send().await.expect("enabled");

    stage.retag(&arn, "signers", ROLE).await;
    let said = format!("nor a grant lets {ROLE} sign");
    says(&stage, Area::Probe, Broken, &said, "under SignerDenied").await;
    stage.untag(&arn, "signers").await;

    assert!(stage.aws.own_by_stack(&signer, "keys", "Signer"));
    says(&stage, Area::Ownership, Broken, "the CloudFormation stack keys owns the KMS key", "Retain").await;

    stage.settings.jwks_url = Some("https://nobody00.execute-api.eu-west-1.amazonaws.com/v1/jwks".into());
    says(&stage, Area::Probe, Broken, "the present key does not get through", "ROTATOR_JWKS_URL").await;
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
