//! Bad input: a clear error that names the field and the remedy, and nothing changed.

use aws_sdk_secretsmanager::primitives::Blob;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use local_aws::{KeyFile, Method, Role};
use rotator::adoption::{self, Selection};
use rotator::failure::{Failure, Stopped, chain};
use rotator::rotate::on_demand;
use serde_json::{Value, json};
use state::hold::HoldReason;
use state::name::CredentialName;
use state::policy::Timetable;

use super::adoption::{take, terms};
use crate::harness::{ACME, API, Stage, Terms, Which, document};

const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

fn assert_says(message: &str, all: &[&str]) {
    for said in all {
        assert!(message.contains(said), "{said:?} is not in {message:?}");
    }
}

/// `rotator rotate`, at a shell. All that it leaves is the hold, in the records.
async fn by_command(stage: &Stage) -> String {
    let name = CredentialName::parse(ACME).expect("a name");
    let before = stage.world().await;
    let errand = stage.errand();
    let stopped = on_demand(&stage.engine_unhurt(), &name, &errand, &mut |_| {}).await.expect_err("refused");
    let after = stage.world().await;
    if let Stopped::Held(hold) = &stopped {
        assert_eq!((after.secrets, after.keys, after.kms_keys), (before.secrets, before.keys, before.kms_keys));
        assert_eq!(stage.load(ACME).await.head.held.expect("recorded").hold, *hold);
    } else {
        assert_eq!(after, before, "{}", chain(&stopped));
    }
    chain(&stopped)
}

/// A rotation that Secrets Manager begins: all that it leaves is Secrets Manager's own empty placeholder, and in the
/// records the hold.
async fn by_rotation(stage: &Stage, arn: &str, error_type: &str) -> String {
    stage.secrets_manager().rotate_secret().secret_id(arn).send().await.expect("begun");
    let before = stage.world().await;
    stage.aws.settle().await;
    let failure = stage.failure();
    assert_eq!(failure.error_type, error_type, "{}", failure.error_message);
    let after = stage.world().await;
    assert_eq!((after.secrets, after.keys, after.kms_keys), (before.secrets, before.keys, before.kms_keys));
    let held = stage.load(ACME).await.head.held.expect("recorded").hold;
    assert_eq!(format!("Held.{}", held.reason), error_type);
    assert_says(&failure.error_message, &["createSecret of partner/acme", &held.detail]);
    failure.error_message
}

/// Configuring the rotation, when `testSecret` alone is called.
async fn by_configuring(terms: &Terms, value: Option<&str>, error_type: &str) -> String {
    let stage = Stage::new().await;
    let (_, key) = stage.key("acme").await;
    let arn = stage.secret(ACME, value.unwrap_or(&document(&key)), &Terms { schedule: None, ..terms.clone() }).await;
    let before = stage.world().await;
    let configure = stage.secrets_manager().rotate_secret().secret_id(&arn).rotate_immediately(false);
    let function = stage.settings.function_arn.clone().expect("registered");
    configure.rotation_lambda_arn(function).send().await.expect("configured");
    stage.aws.settle().await;
    let failure = stage.failure();
    assert_eq!(failure.error_type, error_type, "{}", failure.error_message);
    let after = stage.world().await;
    assert_eq!((after.secrets, after.keys, after.items), (before.secrets, before.keys, before.items));
    failure.error_message
}

#[tokio::test(start_paused = true)]
async fn an_event_that_secrets_manager_would_not_send() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    let good = json!({"Step": "createSecret", "SecretId": arn, "ClientRequestToken": NOBODY});
    let with = |field: &str, value: Value| {
        let mut event = good.clone();
        event[field] = value;
        event
    };
    let before = stage.world().await;
    for (event, field, remedy) in [
        (Value::Null, "Step", "rotate with RotateSecret"),
        (json!("createSecret"), "Step", "rotate with RotateSecret"),
        (json!([]), "Step", "rotate with RotateSecret"),
        (json!({}), "Step", "rotate with RotateSecret"),
        (with("Step", json!(1)), "Step", "rotate with RotateSecret"),
        (with("Step", json!("deleteSecret")), "Step", "createSecret, setSecret, testSecret, finishSecret"),
        (with("Step", json!("CreateSecret")), "Step", "createSecret, setSecret, testSecret, finishSecret"),
        (with("SecretId", Value::Null), "SecretId", "rotate with RotateSecret"),
        (with("SecretId", json!(ACME)), "SecretId", "ARN"),
        (with("SecretId", json!("arn:aws:s3:::bucket")), "SecretId", "ARN"),
        (with("ClientRequestToken", json!("short")), "ClientRequestToken", "32 to 64 characters"),
        (with("ClientRequestToken", json!(7)), "ClientRequestToken", "rotate with RotateSecret"),
        (with("RotationToken", json!(7)), "RotationToken", "a string"),
    ] {
        let error = stage.call(Which::Rotation, event.clone()).await.expect_err("refused");
        assert_eq!(error.error_type, "Refused", "{event}");
        assert_says(&error.error_message, &["the rotation event", field, remedy]);
    }
    for (event, field, remedy) in [
        (Value::Null, "detail-type", "Scheduled Event"),
        (json!({"detail-type": "Secret Rotated"}), "detail-type", "Secret Label Updated"),
        (json!({"detail-type": "Secret Label Updated"}), "detail.name", "the name of the secret"),
        (json!({"detail-type": "Secret Label Updated", "detail": {"name": "a b"}}), "detail.name", "characters"),
    ] {
        let error = stage.call(Which::Retirement, event.clone()).await.expect_err("refused");
        assert_eq!(error.error_type, "Refused", "{event}");
        assert_says(&error.error_message, &["the retirement event", field, remedy]);
    }
    assert_eq!(stage.world().await, before);
}

#[tokio::test(start_paused = true)]
async fn wishes_that_contradict_one_another_or_mean_nothing() {
    for (tag, value, said) in [
        ("kind", "api-key", &["rotator:kind", "\"api-key\"", "write one of api-gateway-key"][..]),
        ("ovrelap", "P7D", &["rotator:ovrelap", "did you mean rotator:overlap?", "correct or remove it"]),
        ("usage-plan", "p1", &["rotator:usage-plan ", "did you mean rotator:usage-plans?"]),
        ("overlap", "PT30M", &["rotator:overlap = PT30M", "rotator:consumer-cache = PT1H", "raise the first or lower"]),
        ("soak", "PT0S", &["rotator:soak = PT0S", "write for instance P7D"]),
        ("max-age", "PT12H", &["rotator:max-age = PT12H", "rotator:overlap = P1D", "raise the first or lower"]),
        ("idle-before-suspend", "P2D", &["rotator:overlap = P1D", "rotator:idle-before-suspend = P2D"]),
        ("overlap", "P1M", &["rotator:overlap", "months or years", "write days, for instance P90D"]),
        ("soak", "P1Y", &["rotator:soak", "months or years", "write days, for instance P90D"]),
        ("overlap", "7 days", &["rotator:overlap", "write for instance P7D, PT1H or P1DT12H"]),
        ("overlap", "P99999D", &["rotator:overlap", "ten years"]),
        ("max-live", "many", &["rotator:max-live", "from 2 to 16"]),
        ("max-live", "1", &["rotator:max-live", "from 2 to 16"]),
        ("probe", "a1b2c3/prod/../admin", &["rotator:probe", "a1b2c3/prod/../admin", "none of them empty, . or .."]),
        ("probe", "evil.example.com/prod/ping", &["rotator:probe", "API/STAGE/PATH", "never a host name"]),
        ("probe", "https://a1b2c3/prod/ping", &["rotator:probe", "never a host name"]),
        ("usage-plans", "p1 p-2", &["rotator:usage-plans", "\"p-2\"", "the ids of usage plans, separated by spaces"]),
    ] {
        let stage = Stage::new().await;
        let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
        stage.rotate(&arn).await;
        stage.retag(&arn, tag, value).await;
        assert_says(&by_command(&stage).await, said);
        assert_says(&by_rotation(&stage, &arn, "Held.Rejected").await, said);
        // And nobody need wait for a rotation to hear of it.
        assert_says(&by_configuring(&Terms::default().with(tag, value), None, "Refused").await, said);
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_without_a_kind_and_a_schedule_that_does_not_fit() {
    let message = by_configuring(&Terms::default().without("kind"), None, "Refused").await;
    assert_says(&message, &["rotator:kind", "rotator adopt"]);

    for (schedule, said) in [
        ("rate(1 day)", &["a rotation every P1D", "rotator:max-live = 4", "shorten the overlap or the soak"][..]),
        ("rate(500 days)", &["rotator:max-age", "rotate more often"]),
    ] {
        let stage = Stage::new().await;
        let wide = Terms::default().with("overlap", "P3D").with("soak", "P3D");
        let terms = Terms { schedule: Some(schedule.into()), ..wide };
        let (arn, ..) = stage.credential(ACME, &terms).await;
        assert_says(&by_command(&stage).await, said);
        assert_says(&by_rotation(&stage, &arn, "Held.Rejected").await, said);
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_has_no_place_for_a_key() {
    for (value, said) in [
        ("marked-value, plain", "is not a JSON object: write for instance {\"apiKey\": \"...\"}"),
        ("\"marked-value\"", "is not a JSON object"),
        ("[\"marked-value\"]", "is not a JSON object"),
        (r#"{"apiKey": {"marked": "value"}}"#, "no string in the member that holds the key"),
    ] {
        let stage = Stage::new().await;
        let arn = stage.secret(ACME, "{}", &Terms::default().with("usage-plans", &stage.plan)).await;
        stage.put(&arn, value).await;
        let message = by_rotation(&stage, &arn, "Held.Rejected").await;
        assert_says(&message, &["the secret's value", said]);
        assert!(!message.contains("marked"), "{message}");
        assert!(!by_configuring(&Terms::default(), Some(value), "Refused").await.contains("marked"));
    }
    let stage = Stage::new().await;
    let arn = stage.secret(ACME, "{}", &Terms::default().with("usage-plans", &stage.plan)).await;
    let binary = Blob::new(b"marked-value".as_slice());
    stage.secrets_manager().put_secret_value().secret_id(&arn).secret_binary(binary).send().await.expect("put");
    let message = by_rotation(&stage, &arn, "Held.Rejected").await;
    assert_says(&message, &["the secret's value is binary", "JSON text"]);
    assert!(!message.contains("marked") && !message.contains("bWFya2Vk"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn wishes_that_the_account_can_not_meet() {
    let unprotected = format!("{API}/prod/open");
    let cases = [
        ("usage-plans", "n0such", "PlanMissing", &["n0such", "correct rotator:usage-plans"][..]),
        ("probe", "zzz999/prod/ping", "ProbeForeign", &["zzz999/prod", "correct rotator:probe"]),
        ("probe", "a1b2c3/gamma/ping", "ProbeForeign", &["a1b2c3/gamma", "correct rotator:probe"]),
        ("probe", &unprotected, "MethodUnprotected", &[&unprotected, "set apiKeyRequired on the probe's method"]),
    ];
    for (tag, value, hold, said) in cases {
        let message = by_configuring(&Terms::default().with(tag, value), None, &format!("Held.{hold}")).await;
        assert_says(&message, said);
        if hold == "MethodUnprotected" {
            continue;
        }
        let stage = Stage::new().await;
        let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
        // Once recorded, the hold stands in the history too; until then there is none to stand in.
        stage.retag(&arn, tag, value).await;
        stage.secrets_manager().rotate_secret().secret_id(&arn).send().await.expect("begun");
        let before = stage.world().await;
        stage.aws.settle().await;
        assert_says(&stage.failure().error_message, said);
        let after = stage.world().await;
        // Its key is recorded, and so it is marked.
        let mark = |key: String| key.replace("tags: {}", "tags: {\"rotator:credential\": \"partner/acme\"}");
        let keys = before.keys.into_iter().map(|(id, key)| (id, mark(key))).collect();
        assert_eq!((after.secrets, after.keys), (before.secrets, keys));
        // The command has its own way of saying what comes next.
        assert_says(&by_command_after_pending(&stage, &arn).await, &said[..1]);
    }

    // A plan whose owner did not let this credential in.
    let stage = Stage::new().await;
    let plan = stage.api_gateway().create_usage_plan().name("internal").tags("rotator:allow", "internal/").send().await;
    let plan = plan.expect("a plan").id.expect("an id");
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.retag(&arn, "usage-plans", &plan).await;
    assert_says(&by_command(&stage).await, &[&plan, "rotator:allow", ACME]);
}

/// The label off, so that the command looks before it begins anything.
async fn by_command_after_pending(stage: &Stage, arn: &str) -> String {
    stage.move_label(arn, state::decide::AWSPENDING, None).await;
    by_command(stage).await
}

#[tokio::test(start_paused = true)]
async fn rotation_that_is_not_enabled() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.secrets_manager().cancel_rotate_secret().secret_id(&arn).send().await.expect("cancelled");
    let said = ["rotation is switched off", "aws secretsmanager rotate-secret --no-rotate-immediately"];
    assert_says(&by_command(&stage).await, &said);
    let before = stage.world().await;
    let error = stage.step("createSecret", &arn, NOBODY).await.expect_err("refused");
    assert_eq!(error.error_type, "Refused");
    assert_says(&error.error_message, &said);
    assert_eq!(stage.world().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_unknown_or_not_pending() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    let (old, new) = {
        let credential = stage.load(ACME).await;
        (credential.versions[&1].carriers[0].clone(), credential.versions[&2].carriers[0].clone())
    };
    let before = stage.world().await;
    for step in ["createSecret", "setSecret", "testSecret", "finishSecret"] {
        let error = stage.step(step, &arn, NOBODY).await.expect_err("unknown");
        assert_says(&error.error_message, &[step, NOBODY, "belongs to no version", "rotate with RotateSecret"]);
        let error = stage.step(step, &arn, old.as_str()).await.expect_err("over");
        assert_says(&error.error_message, &[step, old.as_str(), "does not hold AWSPENDING", "start a new one"]);
        // What is done already is a success, as the documentation asks for.
        stage.step(step, &arn, new.as_str()).await.expect("current");
    }
    assert_eq!(stage.world().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_does_not_exist() {
    let mut stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.settings.table = "no-such-table".into();
    // With a stack's own roles it would be a denial: they name the table that there is.
    for which in Which::ALL {
        let policies = Value::from(which.policies("arn:aws:kms:eu-west-1:123456789012:key/none")).to_string();
        let policies: Vec<Value> =
            serde_json::from_str(&policies.replace("table/rotator", "table/no-such-table")).expect("policies");
        stage.aws.assume(which.access_key(), Role::new(which.role_arn(), &policies).expect("policies"));
    }
    let said = ["the table no-such-table does not exist", "deploy the stack", "ROTATOR_TABLE", "rotator local"];
    assert_says(&by_command(&stage).await, &said);
    stage.secrets_manager().rotate_secret().secret_id(&arn).send().await.expect("begun");
    let before = stage.world().await;
    let token = stage.pending(&arn).await;
    let error = stage.step("createSecret", &arn, &token).await.expect_err("no table");
    assert_eq!(error.error_type, "Refused");
    assert_says(&error.error_message, &said);
    let event = json!({"detail-type": "Scheduled Event"});
    assert_says(&stage.call(Which::Retirement, event).await.expect_err("no table").error_message, &said);
    assert_eq!(stage.world().await, before);
}

#[tokio::test(start_paused = true)]
async fn no_permission() {
    for (operation, action, resource) in [
        ("DynamoDB:Query", "dynamodb:Query", "rotator"),
        ("secretsmanager:DescribeSecret", "secretsmanager:DescribeSecret", ACME),
        ("apigateway:GET /usageplans", "apigateway:GET", "/usageplans"),
    ] {
        let stage = Stage::new().await;
        let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
        stage.faults.deny(operation);
        stage.secrets_manager().rotate_secret().secret_id(&arn).send().await.expect("begun");
        let before = stage.world().await;
        stage.aws.settle().await;
        let failure = stage.failure();
        assert_eq!(failure.error_type, "Held.Denied", "{}", failure.error_message);
        let said = format!("{action} on ");
        assert_says(&failure.error_message, &[&said, resource, "is not allowed", "let an administrator allow"]);
        let after = stage.world().await;
        assert_eq!((after.secrets, after.keys), (before.secrets, before.keys), "{operation}");
    }
}

/// Whatever AWS is asked, it answers with that code and that message.
#[derive(Debug)]
struct Answers(&'static str, &'static str);

impl HttpConnector for Answers {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let Self(code, message) = self;
        let body = SdkBody::from(json!({ "message": message }).to_string());
        let mut response = HttpResponse::new(403.try_into().expect("a status"), body);
        response.headers_mut().insert("x-amzn-errortype", *code);
        HttpConnectorFuture::ready(Ok(response))
    }
}

/// API Gateway has one status for what nobody may do, and for whom it does not know.
#[tokio::test(start_paused = true)]
async fn what_aws_says_of_a_refusal_is_told() {
    let by_scp = "User: arn:aws:iam::123456789012:user/ada is not authorized to perform: apigateway:GET on resource: \
                  arn:aws:apigateway:eu-west-1::/apikeys/none with an explicit deny in a service control policy";
    let expired = "The security token included in the request is expired";
    let unsigned = "The request signature we calculated does not match the signature you provided.";
    for (code, message, is_permission) in [
        ("AccessDeniedException", by_scp, true),
        ("ExpiredTokenException", expired, false),
        ("InvalidSignatureException", unsigned, false),
    ] {
        let stage = Stage::new().await;
        let keys = stage.engine_over(SharedHttpConnector::new(Answers(code, message))).api_keys.clone();
        // Also where the answer would hold a value, a denial says why.
        let refused = [keys.get("none").await.map(drop), keys.value("none").await.map(drop)];
        for (asked, refused) in ["get", "value"].into_iter().zip(refused) {
            let failure = Failure::from(refused.expect_err("refused"));
            let hold = failure.as_hold().map(|hold| hold.reason);
            assert_eq!(hold, is_permission.then_some(HoldReason::Denied), "{asked}: {code} is no missing permission");
            let said = chain(&failure);
            assert!(said.contains(code), "{said}");
            assert!(said.contains(message) || asked == "value" && !is_permission, "the reason is told: {said}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_vanished_behind_our_back() {
    let stage = Stage::new().await;
    let (arn, id, _) = stage.credential(ACME, &Terms::default()).await;
    stage.api_gateway().delete_api_key().api_key(&id).send().await.expect("deleted");
    let message = by_rotation(&stage, &arn, "Held.KeyVanished").await;
    assert_says(&message, &["is not among the provider's keys", "find out who deleted the key"]);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_was_deleted_or_created_anew_under_its_name() {
    let stage = Stage::new().await;
    let (arn, _, value) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    let client = stage.secrets_manager();
    client.delete_secret().secret_id(&arn).recovery_window_in_days(7).send().await.expect("scheduled");
    assert_says(&by_command(&stage).await, &["SecretDeleted"]);
    client.delete_secret().secret_id(&arn).force_delete_without_recovery(true).send().await.expect("deleted");
    assert_says(&by_command(&stage).await, &["there is no secret partner/acme", "account and Region"]);
    let keys = stage.world().await.keys;
    let token = stage.load(ACME).await.versions[&2].carriers[0].clone();
    let error = stage.step("setSecret", &arn, token.as_str()).await.expect_err("gone");
    assert_says(&error.error_message, &["SecretDeleted", "restore the secret"]);

    let anew = stage.secret(ACME, &document(&value), &Terms { schedule: None, ..Terms::default() }).await;
    assert_says(&by_command(&stage).await, &["SecretReplaced", &arn, &anew]);
    let error = stage.step("setSecret", &anew, token.as_str()).await.expect_err("another one");
    assert_says(&error.error_message, &["SecretReplaced", &arn, &anew, "under another name"]);
    assert_eq!(stage.world().await.keys, keys, "neither retires or makes a key");
}

#[test]
fn a_key_file_with_mistakes() {
    let good = "aValueOfTwentyLetters1";
    let header = KeyFile::read(b"title,key\nacme,aValueOfTwentyLetters1\n").expect_err("a wrong header");
    assert_eq!(header.to_string(), "line 1, column 1: the header has no column Name: Name and Key must be there");
    let header = KeyFile::read(b"name,key,KEY\n").expect_err("a wrong header");
    assert_eq!(header.to_string(), "line 1, column 3: there are two columns Key");
    let file = format!("name,key\nacme,{good}\nglobex,tooshort\ninitech,{good}\nbad\u{1b}[31m,{good}x\n");
    let file = KeyFile::read(file.as_bytes()).expect("a good header");
    let said: Vec<String> = file.problems.iter().chain(&file.duplicates()).map(ToString::to_string).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert_says(&said[0], &["line 3, column 2", "20 to 128 characters, this one has 8"]);
    assert_says(&said[1], &["line 5, column 1", "none of them control characters"]);
    assert_says(&said[2], &["line 4, column 2", "stands on line 2 already"]);
    assert!(said.iter().all(|said| !said.contains(good) && !said.contains('\u{1b}')), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn control_characters_and_markup_in_a_name() {
    let stage = Stage::new().await;
    let evil = "acme <script>alert(1)</script>\u{1b}[2J\u{202e}gnp";
    let (id, value) = stage.key(evil).await;
    let items = take(&stage, &Selection::Id(id.clone())).await;
    let secret = items[0].secret.as_str();
    assert_eq!(secret, "partner/acme--script-alert-1--/script---2J-gnp");
    let described = stage.secrets_manager().describe_secret().secret_id(secret).send().await.expect("described");
    let description = described.description().expect("for people");
    assert!(!description.contains('\u{1b}') && !description.contains('\u{202e}'), "{description:?}");

    stage.rotate(secret).await;
    stage.assert_rotated();
    stage.assert_sound(secret, "rotated").await;
    let new = stage.load(secret).await.versions[&2].provider["id"].clone();
    assert!(stage.api_key(&new).name.expect("a name").starts_with(evil), "the customer's own name for it stays");
    assert!(stage.gets_through(&value).await);
    // Names that come in from outside are refused or quoted, never repeated raw.
    let error = stage.step("create\u{1b}[2JSecret", &stage.arn_of(secret).await, NOBODY).await.expect_err("refused");
    assert!(!error.error_message.contains('\u{1b}'), "{:?}", error.error_message);
}

#[tokio::test(start_paused = true)]
async fn terms_of_an_adoption_that_can_not_be_met() {
    let stage = Stage::new().await;
    stage.key("acme").await;
    stage.deploy(&["prod", "beta"], vec![Method::protected("/ping")]);
    let before = stage.world().await;
    let with = |tag: &str, value: &str| {
        let mut terms = terms(&stage);
        terms.tags.insert(tag.into(), value.into());
        terms
    };
    let daily = adoption::Terms { schedule: Timetable::Together("rate(1 day)".into()), ..with("overlap", "P5D") };
    let never = adoption::Terms { schedule: Timetable::Together("every day".into()), ..terms(&stage) };
    for (terms, said) in [
        (with("ovrelap", "P7D"), &["rotator:ovrelap", "did you mean rotator:overlap?"][..]),
        (with("overlap", "PT1S"), &["rotator:overlap = PT1S", "rotator:consumer-cache"]),
        (with("probe", "evil.example/prod/x"), &["rotator:probe", "never a host name"]),
        (with("soak", "P1M"), &["rotator:soak", "months or years"]),
        (daily, &["a rotation every P1D", "rotator:max-live"]),
        (never, &["every day", "cron("]),
    ] {
        let errand = stage.errand();
        let planned = adoption::plan(&stage.engine_unhurt(), &Selection::All, &terms, &errand, &mut |_, _| {}).await;
        let stopped = planned.expect_err("refused");
        assert!(matches!(stopped, Stopped::Refused(_) | Stopped::Input(_)), "{stopped:?}");
        assert_says(&chain(&stopped), said);
        assert_eq!(stage.world().await, before);
    }
}
