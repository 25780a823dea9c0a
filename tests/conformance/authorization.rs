//! Who may do what, by the service authorization reference: actions, resources and condition keys of every service here.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_apigateway::Client as ApiGateway;
use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_kms::Client as Kms;
use aws_sdk_kms::types::{KeySpec, KeyUsageType, Tag as KmsTag};
use aws_sdk_secretsmanager::Client as SecretsManager;
use aws_sdk_secretsmanager::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_secretsmanager::types::Tag;
use local_aws::{Asked, LocalAws, Role};
use serde_json::{Value, json};

use super::{Scripted, refused, sdk_config, world};

const ROLE: &str = "arn:aws:iam::123456789012:role/tried";
const KEY: &str = "AKIDTRIED";

/// A client's configuration of that role, which may do what the statements say.
fn of_role(aws: &LocalAws, statements: &[Value]) -> SdkConfig {
    let policy = json!({"Version": "2012-10-17", "Statement": statements});
    aws.assume(KEY, Role::new(ROLE, &[policy]).expect("a policy"));
    let credentials = SharedCredentialsProvider::new(Credentials::new(KEY, "secret", None, None, "tests"));
    sdk_config(aws).into_builder().credentials_provider(credentials).build()
}

fn allow(action: &str, resource: &str) -> Value {
    json!({"Effect": "Allow", "Action": action, "Resource": resource})
}

/// What the last call asked for: actions, each with its resource.
fn last_asked(aws: &LocalAws) -> Vec<(String, String)> {
    let call = aws.requests().pop().expect("a call");
    assert_eq!(call.caller.as_deref(), Some(ROLE));
    call.asked.into_iter().map(|Asked { action, resource, .. }| (action, resource)).collect()
}

fn last_context(aws: &LocalAws) -> BTreeMap<String, Vec<String>> {
    aws.requests().pop().expect("a call").asked.remove(0).context
}

/// Embedded: its callers are known by their access keys.
#[tokio::test]
async fn whoever_has_no_role_here_may_do_everything() {
    let (aws, _) = world();
    of_role(&aws, &[allow("kms:ListKeys", "*")]);
    SecretsManager::new(&sdk_config(&aws)).list_secrets().send().await.expect("listed");
    let call = aws.requests().pop().expect("a call");
    assert_eq!((call.caller, call.asked), (None, Vec::new()));
}

/// Source: AWS: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>.
#[tokio::test]
async fn what_no_policy_allows_is_denied_by_every_service_and_changes_nothing() {
    let (aws, _) = world();
    let config = of_role(&aws, &[allow("sqs:SendMessage", "*")]);
    let named = |(code, message): (String, String), action: &str| {
        assert_eq!(code, "AccessDeniedException", "{message}");
        assert!(message.contains(&format!("{ROLE} is not authorized to perform: {action} on resource: ")), "{message}");
    };
    named(refused(SecretsManager::new(&config).list_secrets().send().await), "secretsmanager:ListSecrets");
    named(refused(Kms::new(&config).list_keys().send().await), "kms:ListKeys");
    named(refused(DynamoDb::new(&config).scan().table_name("t").send().await), "dynamodb:Scan");
    named(refused(ApiGateway::new(&config).create_api_key().name("k").send().await), "apigateway:POST");
    let logs = aws_sdk_cloudwatchlogs::Client::new(&config);
    let asked = logs.start_query().log_group_name("g").start_time(0).end_time(1).query_string("limit 1").send().await;
    named(refused(asked), "logs:StartQuery");
    assert!(aws.inspect_api_keys().is_empty());
}

/// Source: AWS: <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecretsmanager.html>.
#[tokio::test]
async fn a_secret_is_known_by_its_arn_its_tags_and_the_stage_that_is_read() {
    let (aws, _) = world();
    let owner = SecretsManager::new(&sdk_config(&aws));
    let tag = Tag::builder().key("team").value("billing").build();
    let arn = owner.create_secret().name("a/b").secret_string("{}").tags(tag).send().await.expect("made").arn;
    let arn = arn.expect("an ARN");
    let mut statement = allow("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:*:*:secret:a/*");
    statement["Condition"] = json!({"StringEquals": {"aws:ResourceTag/team": "billing"},
        "ForAnyValue:StringEquals": {"secretsmanager:VersionStage": ["AWSCURRENT", "AWSPREVIOUS"]}});
    let client = SecretsManager::new(&of_role(&aws, &[statement]));

    client.get_secret_value().secret_id("a/b").send().await.expect("by its name");
    assert_eq!(last_asked(&aws), [("secretsmanager:GetSecretValue".to_owned(), arn.clone())]);
    assert_eq!(last_context(&aws)["secretsmanager:VersionStage"], ["AWSCURRENT"], "which is what is read without one");
    client.get_secret_value().secret_id(&arn).version_stage("AWSCURRENT").send().await.expect("by its ARN");
    let pending = client.get_secret_value().secret_id(&arn).version_stage("AWSPENDING").send().await;
    assert_eq!(refused(pending).0, "AccessDeniedException");
    let put = client.put_secret_value().secret_id(&arn).secret_string("x").send().await;
    assert_eq!(refused(put).0, "AccessDeniedException");

    owner.untag_resource().secret_id(&arn).tag_keys("team").send().await.expect("untagged");
    assert_eq!(refused(client.get_secret_value().secret_id(&arn).send().await).0, "AccessDeniedException");
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>.
#[tokio::test]
async fn a_secret_that_is_made_with_tags_needs_the_right_to_tag_it() {
    let (aws, _) = world();
    let client = SecretsManager::new(&of_role(
        &aws,
        &[allow("secretsmanager:CreateSecret", "arn:aws:secretsmanager:*:*:secret:a/*")],
    ));
    let made = || client.create_secret().name("a/b").secret_string("{}");
    let tagged = made().tags(Tag::builder().key("team").value("x").build()).send().await;
    assert!(refused(tagged).1.contains("secretsmanager:TagResource"));
    made().send().await.expect("without tags");
    assert_eq!(refused(client.create_secret().name("b/b").send().await).0, "AccessDeniedException");
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>.
#[tokio::test]
async fn a_value_under_an_owners_key_needs_that_key_through_secrets_manager() {
    let (aws, _) = world();
    let key = Kms::new(&sdk_config(&aws)).create_key().send().await.expect("made").key_metadata.and_then(|key| key.arn);
    let key = key.expect("an ARN");
    let owner = SecretsManager::new(&sdk_config(&aws));
    owner.create_secret().name("a").secret_string("{}").kms_key_id(&key).send().await.expect("made");
    let reads = allow("secretsmanager:*", "*");
    let client = SecretsManager::new(&of_role(&aws, std::slice::from_ref(&reads)));
    assert!(refused(client.get_secret_value().secret_id("a").send().await).1.contains("kms:Decrypt"));
    assert!(
        refused(client.put_secret_value().secret_id("a").secret_string("x").send().await)
            .1
            .contains("kms:GenerateDataKey")
    );

    let mut decrypts = json!({"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": key});
    decrypts["Condition"] = json!({"StringEquals": {"kms:ViaService": "secretsmanager.eu-west-1.amazonaws.com"},
        "StringLike": {"kms:EncryptionContext:SecretARN": "arn:aws:secretsmanager:*:*:secret:a-*"}});
    let client = SecretsManager::new(&of_role(&aws, &[reads, decrypts]));
    client.get_secret_value().secret_id("a").send().await.expect("read");
    client.put_secret_value().secret_id("a").secret_string("x").send().await.expect("put");
}

/// Both when a secret is made with a key and when it is given another: "In these validation requests, the value of the
/// SecretARN is the actual ARN of the secret".
/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html>.
#[tokio::test]
async fn whoever_gives_a_secret_a_key_must_be_allowed_to_use_it_for_that_secret() {
    let (aws, _) = world();
    let key = Kms::new(&sdk_config(&aws)).create_key().send().await.expect("made").key_metadata.and_then(|key| key.arn);
    let key = key.expect("an ARN");
    let secrets = allow("secretsmanager:*", "*");
    let uses = |actions: &[&str], secret: &str| {
        let mut uses = json!({"Effect": "Allow", "Action": actions, "Resource": key});
        uses["Condition"] = json!({"StringEquals": {"kms:ViaService": "secretsmanager.eu-west-1.amazonaws.com"},
            "StringLike": {"kms:EncryptionContext:SecretARN": format!("arn:aws:secretsmanager:*:*:secret:{secret}")}});
        SecretsManager::new(&of_role(&aws, &[secrets.clone(), uses]))
    };
    let both = ["kms:Decrypt", "kms:GenerateDataKey"];
    let owner = SecretsManager::new(&sdk_config(&aws));
    owner.create_secret().name("b/b").secret_string("{}").send().await.expect("made");
    for (actions, secret, missing) in [
        (&both[..], "c/*", "kms:GenerateDataKey"),
        (&both[..1], "*", "kms:GenerateDataKey"),
        (&both[1..], "*", "kms:Decrypt"),
    ] {
        let client = uses(actions, secret);
        let made = client.create_secret().name("a/b").secret_string("{}").kms_key_id(&key).send().await;
        assert!(refused(made).1.contains(missing), "{actions:?} {secret}");
        let given = client.update_secret().secret_id("b/b").kms_key_id(&key).send().await;
        assert!(refused(given).1.contains(missing), "{actions:?} {secret}");
    }
    uses(&both, "a/*").create_secret().name("a/b").secret_string("{}").kms_key_id(&key).send().await.expect("made");
    uses(&both, "b/*").update_secret().secret_id("b/b").kms_key_id(&key).send().await.expect("given");
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html>.
#[tokio::test]
async fn whoever_rotates_must_be_allowed_to_invoke_the_function() {
    let (aws, _) = world();
    let function = aws.register("f", Scripted::new(|_: Value| async { Ok(()) }));
    SecretsManager::new(&sdk_config(&aws)).create_secret().name("a").secret_string("{}").send().await.expect("made");
    let rotates = allow("secretsmanager:RotateSecret", "*");
    let begin = |config: SdkConfig| {
        let rules = aws_sdk_secretsmanager::types::RotationRulesType::builder().automatically_after_days(30).build();
        let begun = SecretsManager::new(&config).rotate_secret().secret_id("a").rotation_rules(rules);
        begun.rotation_lambda_arn(&function).send()
    };
    let told = refused(begin(of_role(&aws, std::slice::from_ref(&rotates))).await).1;
    assert!(told.contains("lambda:InvokeFunction on resource: ") && told.contains(&function), "{told}");
    begin(of_role(&aws, &[rotates, allow("lambda:InvokeFunction", &function)])).await.expect("begun");
}

/// Source: AWS: <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecretsmanager.html>.
#[tokio::test]
async fn a_condition_knows_with_which_function_a_secret_is_rotated_if_the_request_names_one() {
    let (aws, _) = world();
    let function = aws.register("f", Scripted::new(|_: Value| async { Ok(()) }));
    let other = aws.register("g", Scripted::new(|_: Value| async { Ok(()) }));
    SecretsManager::new(&sdk_config(&aws)).create_secret().name("a").secret_string("{}").send().await.expect("made");
    let mut rotates = allow("secretsmanager:RotateSecret", "*");
    rotates["Condition"] = json!({"ArnEqualsIfExists": {"secretsmanager:RotationLambdaARN": function}});
    let client = SecretsManager::new(&of_role(&aws, &[rotates.clone(), allow("lambda:InvokeFunction", "*")]));
    let rules = aws_sdk_secretsmanager::types::RotationRulesType::builder().automatically_after_days(30).build();
    let begin = |arn: &str| client.rotate_secret().secret_id("a").rotation_lambda_arn(arn);

    let told = refused(begin(&other).rotation_rules(rules.clone()).send().await).1;
    assert!(told.contains("secretsmanager:RotateSecret"), "{told}");
    begin(&function).rotation_rules(rules.clone()).send().await.expect("begun");
    assert_eq!(last_context(&aws)["secretsmanager:ModifyRotationRules"], ["true"]);
    aws.settle().await;
    let _ = client.rotate_secret().secret_id("a").send().await;
    let context = last_context(&aws);
    assert!(!context.contains_key("secretsmanager:RotationLambdaARN"), "it is the request's, not the secret's");
    assert_eq!(context["secretsmanager:RotateImmediately"], ["true"]);

    rotates["Condition"] = json!({"Bool": {"secretsmanager:ModifyRotationRules": "false"}});
    let client = SecretsManager::new(&of_role(&aws, &[rotates, allow("lambda:InvokeFunction", "*")]));
    let told = refused(client.rotate_secret().secret_id("a").rotation_rules(rules).send().await).1;
    assert!(told.contains("secretsmanager:RotateSecret"), "{told}");
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html>.
#[tokio::test]
async fn a_condition_knows_whether_the_check_for_lockouts_is_bypassed_and_that_it_is_not_by_default() {
    let (aws, _) = world();
    let mut policies = json!({"Effect": "Allow", "Action": ["kms:CreateKey", "kms:PutKeyPolicy"], "Resource": "*"});
    policies["Condition"] = json!({"Bool": {"kms:BypassPolicyLockoutSafetyCheck": "false"}});
    let client = Kms::new(&of_role(&aws, &[policies, allow("kms:GetKeyPolicy", "*")]));
    let bypassed = client.create_key().bypass_policy_lockout_safety_check(true).send().await;
    assert_eq!(refused(bypassed).0, "AccessDeniedException");
    let key = client.create_key().send().await.expect("made").key_metadata.and_then(|key| key.arn).expect("an ARN");
    let policy = client.get_key_policy().key_id(&key).send().await.expect("read").policy.expect("a policy");
    let put = || client.put_key_policy().key_id(&key).policy(&policy);
    assert_eq!(refused(put().bypass_policy_lockout_safety_check(true).send().await).0, "AccessDeniedException");
    put().send().await.expect("put");
}

/// Source: AWS: <https://docs.aws.amazon.com/kms/latest/developerguide/customer-managed-policies.html>.
#[tokio::test]
async fn a_key_of_kms_is_known_by_its_arn_and_its_tags_and_a_new_one_by_what_is_asked_for() {
    let (aws, _) = world();
    let mut makes = allow("kms:CreateKey", "*");
    makes["Condition"] = json!({"StringEquals": {"kms:KeyUsage": "SIGN_VERIFY", "aws:RequestTag/team": "billing"}});
    let mut uses = allow("kms:GetPublicKey", "arn:aws:kms:*:*:key/*");
    uses["Condition"] = json!({"StringEquals": {"aws:ResourceTag/team": "billing"}});
    let client = Kms::new(&of_role(&aws, &[makes.clone(), uses.clone()]));
    let tag = |value: &str| KmsTag::builder().tag_key("team").tag_value(value).build().expect("a tag");
    let make = |client: &Kms, value: &str| {
        let made = client.create_key().key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify);
        made.tags(tag(value)).send()
    };
    assert!(refused(make(&client, "billing").await).1.contains("kms:TagResource"));
    let client = Kms::new(&of_role(&aws, &[makes, uses, allow("kms:TagResource", "*")]));
    assert_eq!(refused(make(&client, "hr").await).0, "AccessDeniedException");
    let key = make(&client, "billing").await.expect("made").key_metadata.and_then(|key| key.arn).expect("an ARN");
    client.get_public_key().key_id(&key).send().await.expect("read");
    assert_eq!(last_asked(&aws), [("kms:GetPublicKey".to_owned(), key)]);
    let others = make(&Kms::new(&sdk_config(&aws)), "hr").await.expect("made").key_metadata.expect("a key");
    assert_eq!(refused(client.get_public_key().key_id(others.key_id()).send().await).0, "AccessDeniedException");
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-tagging-iam-policy.html>.
#[tokio::test]
async fn api_gateways_actions_are_methods_on_paths_and_tags_need_put() {
    let (aws, _) = world();
    let at = |path: &str| format!("arn:aws:apigateway:eu-west-1::{path}");
    let client = ApiGateway::new(&of_role(&aws, &[allow("apigateway:POST", &at("/apikeys"))]));
    client.create_api_key().name("k").send().await.expect("made");
    assert_eq!(last_asked(&aws), [("apigateway:POST".to_owned(), at("/apikeys"))]);
    let tagged = client.create_api_key().name("k").tags("team", "x").send().await;
    let tags = at("/tags/arn%3Aaws%3Aapigateway%3Aeu-west-1%3A%3A%2Fapikeys%2F*");
    assert!(refused(tagged).1.contains(&format!("apigateway:PUT on resource: {tags} ")));
    let key = aws.inspect_api_keys()[0].id.clone();
    assert_eq!(refused(client.get_api_key().api_key(&key).send().await).0, "AccessDeniedException");
    let client = ApiGateway::new(&of_role(&aws, &[allow("apigateway:GET", &at("/apikeys/*"))]));
    client.get_api_key().api_key(&key).include_value(true).send().await.expect("nothing limits that to the rest of it");
}

/// Source: AWS: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html>.
#[tokio::test]
async fn a_table_its_indexes_and_what_a_transaction_does_are_asked_for_each_by_itself() {
    let (aws, _) = world();
    let at = |resource: &str| format!("arn:aws:dynamodb:eu-west-1:123456789012:table/{resource}");
    let client = DynamoDb::new(&of_role(&aws, &[allow("dynamodb:Query", &at("t"))]));
    let query = |client: &DynamoDb| {
        let x = aws_sdk_dynamodb::types::AttributeValue::S("x".into());
        client.query().table_name("t").key_condition_expression("pk = :x").expression_attribute_values(":x", x)
    };
    assert_ne!(refused(query(&client).send().await).0, "AccessDeniedException", "allowed, and not there");
    assert_eq!(last_asked(&aws), [("dynamodb:Query".to_owned(), at("t"))]);
    assert_eq!(refused(query(&client).index_name("due").send().await).0, "AccessDeniedException");
    assert_eq!(last_asked(&aws), [("dynamodb:Query".to_owned(), at("t/index/due"))]);
    let item = [("pk".to_owned(), aws_sdk_dynamodb::types::AttributeValue::S("a".into()))].into();
    let put = aws_sdk_dynamodb::types::Put::builder().table_name("t").set_item(Some(item)).build().expect("an item");
    let put = aws_sdk_dynamodb::types::TransactWriteItem::builder().put(put).build();
    let written = client.transact_write_items().transact_items(put).send().await;
    assert_eq!(refused(written).0, "AccessDeniedException");
    assert_eq!(last_asked(&aws), [("dynamodb:PutItem".to_owned(), at("t"))]);
}
