//! The roles of the stack: whatever the functions do is allowed, and whatever is allowed is done.
//!
//! Every other test runs the functions under these roles as well, the crash matrix among them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_kms::types::GrantOperation;
use chrono::TimeDelta;
use local_aws::{Asked, ByResource, Function, Role, Settings};
use rotator::ports::Clock;
use serde_json::{Value, json};

use crate::harness::faults::{Fault, When};
use crate::harness::people::LAGGARD;
use crate::harness::template::Person;
use crate::harness::{ACME, API, Host, Stage, Terms, Which, sdk_config_of};

mod people;

const HOUR: TimeDelta = TimeDelta::hours(1);
/// What IAM sees of a key's own tag.
const TAG: &str = "aws:ResourceTag/rotator:credential";
/// Who signs with a credential's keys.
const SIGNER: &str = "arn:aws:iam::123456789012:role/issuer";

/// What each function asked for in whole lives of credentials of every kind.
async fn asked() -> BTreeMap<Which, BTreeSet<Asked>> {
    let mut all: BTreeMap<Which, BTreeSet<Asked>> = BTreeMap::new();
    let watched = Terms::default().with("idle-before-suspend", "PT1H").with("access-log", "/apis/partners");
    let signers = Terms::kms().with("signers", SIGNER).without("idle-before-suspend");
    for terms in [Terms::default(), watched, Terms::webhook(), Terms::kms(), signers.clone(), Terms::jwt()] {
        collect(&mut all, &a_life(&terms).await);
        each_call(&mut all, async |call, fault| interrupted(&terms, call, fault, false).await).await;
    }
    each_call(&mut all, async |call, fault| interrupted(&signers, call, fault, true).await).await;
    for terms in [Terms::kms(), signers] {
        collect(&mut all, &told_late(&terms).await);
    }
    each_call(&mut all, async |call, fault| rolled_back(call, fault).await).await;
    collect(&mut all, &among_others().await);
    all
}

/// What is asked for when a process dies at a call, or hears nothing of it, for each call that there is.
async fn each_call(all: &mut BTreeMap<Which, BTreeSet<Asked>>, hurt: impl AsyncFn(usize, Fault) -> (Stage, bool)) {
    for fault in [Fault::KilledBefore, Fault::NoAnswerApplied] {
        for call in 0.. {
            let (stage, is_over) = hurt(call, fault).await;
            collect(all, &stage);
            if is_over {
                break;
            }
        }
    }
}

fn collect(all: &mut BTreeMap<Which, BTreeSet<Asked>>, stage: &Stage) {
    for call in stage.aws.requests() {
        let Some(which) = Which::ALL.into_iter().find(|which| call.caller.as_deref() == Some(&which.role_arn())) else {
            continue;
        };
        all.entry(which).or_default().extend(call.asked);
    }
}

/// A credential of a stage, whose value is under a key of its owner's: its secret's ARN.
async fn credential(stage: &Stage, terms: &Terms) -> String {
    let arn = match terms.tags["rotator:kind"].as_str() {
        "api-gateway-key" => stage.credential(ACME, terms).await.0,
        _ => stage.secret(ACME, "{}", terms).await,
    };
    stage.encrypt(&arn, &stage.encryption_key().await).await;
    arn
}

/// Two rotations, the old keys' retirement, and the daily comparison, which meets a value that somebody put by hand. Of a
/// signing key somebody changes policy and grants, which the next one follows.
async fn a_life(terms: &Terms) -> Stage {
    let stage = Stage::new().await;
    stage.aws.log_access(API, "/apis/partners");
    let arn = credential(&stage, terms).await;
    for _ in 0..2 {
        stage.rotate(&arn).await;
        if terms.tags["rotator:kind"] == "api-gateway-key" {
            LAGGARD.call(&stage, &stage.current_value(&arn).await).await;
        }
        for hours in [0, 1, 2, 25] {
            stage.pass(HOUR * hours).await;
        }
        if terms.tags.contains_key("rotator:signers") {
            change_policy_and_grants(&stage).await;
        }
    }
    for _ in 0..4 {
        stage.pass(HOUR * 25).await;
    }
    let by_hand = stage.secrets_manager().put_secret_value().secret_id(&arn).secret_string("{}");
    by_hand.version_stages("AWSPENDING").send().await.expect("put");
    stage.forget_heads().await;
    let event = json!({"detail-type": "Scheduled Event", "detail": {"task": "reconcile"}});
    Host::new(&stage, Which::Retirement).invoke(event).await.expect("compared");
    stage
}

/// A life in whose first minutes KMS makes its keys known operation by operation, and their tags count in no condition.
async fn told_late(terms: &Terms) -> Stage {
    let unseen = ["GetPublicKey", "DescribeKey", "GetKeyPolicy", "Sign", "ListGrants"];
    let unseen = unseen.map(|operation| (operation.to_owned(), Duration::from_secs(60)));
    let settings = Settings { kms_unseen: unseen.into(), kms_tag_lag: Duration::from_secs(300), ..Settings::default() };
    let stage = Stage::with(settings).await;
    let arn = credential(&stage, terms).await;
    for hours in [25, 25, 25] {
        stage.rotate(&arn).await;
        for _ in 0..8 {
            stage.pass(TimeDelta::minutes(2)).await;
            stage.aws.settle().await;
        }
        assert_eq!(stage.aws.rotations().pop().and_then(|rotation| rotation.error), None);
        stage.pass(HOUR * hours).await;
    }
    stage
}

/// Another rotation and the old key's retirement, while everybody's calls to API Gateway are throttled at first.
async fn among_others() -> Stage {
    let stage = Stage::new().await;
    let arn = credential(&stage, &Terms::default()).await;
    stage.exhaust().await;
    stage.rotate(&arn).await;
    Clock::sleep(&stage.clock, HOUR * 25).await;
    stage.exhaust().await;
    stage.tick().await;
    stage
}

async fn change_policy_and_grants(stage: &Stage) {
    let kms = stage.kms();
    let key = stage.id_of(stage.load(ACME).await.head.current.expect("a current one")).await;
    let policy = kms.get_key_policy().key_id(&key).send().await.expect("read").policy.expect("a policy");
    let mut policy: Value = serde_json::from_str(&policy).expect("JSON");
    policy["Statement"].as_array_mut().expect("statements").push(json!({"Sid": "Audit", "Effect": "Allow",
        "Principal": {"AWS": SIGNER}, "Action": "kms:DescribeKey", "Resource": "*"}));
    kms.put_key_policy().key_id(&key).policy(policy.to_string()).send().await.expect("put");
    let grant = kms.create_grant().key_id(&key).grantee_principal(SIGNER).operations(GrantOperation::Verify);
    grant.send().await.expect("granted");
}

/// A rotation that is hurt at that call, the credential's first or its second; where its process dies retirement brings
/// it to its end, where an answer is lost another try of its own. Whether there was no such call any more.
async fn interrupted(terms: &Terms, call: usize, fault: Fault, second: bool) -> (Stage, bool) {
    let stage = Stage::new().await;
    let arn = credential(&stage, terms).await;
    if second {
        stage.rotate(&arn).await;
        stage.tick().await;
        stage.pass(HOUR * 25).await;
        change_policy_and_grants(&stage).await;
    }
    stage.faults.arm(When::FromThenOn(call), fault);
    stage.rotate(&arn).await;
    let is_over = stage.faults.met() == 0;
    stage.faults.disarm();
    if fault == Fault::NoAnswerApplied {
        Clock::sleep(&stage.clock, TimeDelta::minutes(10)).await;
        // It may be over already: then this is another one.
        let _ = stage.secrets_manager().rotate_secret().secret_id(&arn).send().await;
        stage.aws.settle().await;
    }
    for _ in 0..3 {
        stage.pass(TimeDelta::minutes(10)).await;
    }
    (stage, is_over)
}

/// A person's rollback to a disabled signing key, hurt at that call; retirement brings it to its end.
async fn rolled_back(call: usize, fault: Fault) -> (Stage, bool) {
    let stage = Stage::new().await;
    let arn = stage.signing(&Terms::kms()).await;
    stage.rotate(&arn).await;
    stage.pass(HOUR * 2).await;
    stage.faults.arm(When::FromThenOn(call), fault);
    let process = stage.faults.process();
    let line = ["rollback", ACME, "--reason", "its tokens are refused"];
    tokio::select! {
        biased;
        _ = stage.command_over(process.connector.clone(), &line) => {}
        () = process.killed() => {}
    }
    let is_over = stage.faults.met() == 0;
    stage.faults.disarm();
    for _ in 0..3 {
        stage.pass(TimeDelta::minutes(31)).await;
    }
    (stage, is_over)
}

/// One thing that a role allows: a statement that names one action on one resource.
struct Grant {
    policy: usize,
    statement: usize,
    action: String,
    resource: String,
}

/// Everything that policies allow, each alone.
fn grants(policies: &[Value]) -> Vec<Grant> {
    let mut found = Vec::new();
    for (policy, document) in policies.iter().enumerate() {
        for (statement, body) in document["Statement"].as_array().expect("statements").iter().enumerate() {
            for action in texts(&body["Action"]) {
                for resource in texts(&body["Resource"]) {
                    let (action, resource) = (action.clone(), resource.clone());
                    found.push(Grant { policy, statement, action, resource });
                }
            }
        }
    }
    found
}

fn texts(value: &Value) -> Vec<String> {
    let one = |value: &Value| value.as_str().expect("text").to_owned();
    value.as_array().map_or_else(|| vec![one(value)], |many| many.iter().map(one).collect())
}

/// The policies with that grant alone, or without it.
fn only(policies: &[Value], grant: &Grant) -> Vec<Value> {
    let mut statement = policies[grant.policy]["Statement"][grant.statement].clone();
    (statement["Action"], statement["Resource"]) = (grant.action.clone().into(), grant.resource.clone().into());
    vec![json!({"Version": "2012-10-17", "Statement": [statement]})]
}

fn without(policies: &[Value], all: &[Grant], grant: &Grant) -> Vec<Value> {
    let others = all.iter().filter(|other| !std::ptr::eq(*other, grant));
    others.flat_map(|other| only(policies, other)).collect()
}

fn role(policies: &[Value]) -> Role {
    Role::new("arn:aws:iam::123456789012:role/tried", policies).expect("policies")
}

/// What is asked and not allowed.
fn refused<'a>(policies: &[Value], asked: &'a BTreeSet<Asked>) -> Vec<&'a Asked> {
    let role = role(policies);
    asked.iter().filter(|asked| !role.allows(asked).expect("evaluated")).collect()
}

/// What is allowed and could be taken away without anybody's noticing.
fn superfluous(policies: &[Value], asked: &BTreeSet<Asked>) -> Vec<String> {
    let all = grants(policies);
    let unmissed = all.iter().filter(|grant| refused(&without(policies, &all, grant), asked).is_empty());
    unmissed.map(|grant| format!("{} on {}", grant.action, grant.resource)).collect()
}

/// Whoever takes an action out of a template, or puts one in, is noticed.
fn assert_noticed(template: &str, policies: impl Fn(&str) -> Vec<Value>, asked: &BTreeSet<Asked>) {
    let as_it_is = policies(template);
    let mut forms = BTreeSet::new();
    let mut taken = 0;
    for mutation in mutations(template) {
        let less = policies(&mutation.less);
        // It is another's.
        if less == as_it_is {
            continue;
        }
        taken += 1;
        assert!(!refused(&less, asked).is_empty(), "nobody misses {}", mutation.action);
        if forms.insert(mutation.form) {
            let more = superfluous(&policies(&mutation.more), asked);
            assert!(
                more.iter().any(|grant| grant.starts_with(UNUSED)),
                "nobody notices what is beside {}",
                mutation.action
            );
        }
    }
    assert!(taken > 0);
}

/// An action that nobody needs.
const UNUSED: &str = "secretsmanager:PutResourcePolicy";

/// A template without one of the actions that it names, and with another beside it.
struct Mutation {
    action: String,
    /// How the template writes that: on a line of its own, among others, or alone.
    form: &'static str,
    less: String,
    more: String,
}

fn mutations(template: &str) -> Vec<Mutation> {
    let services = ["apigateway", "dynamodb", "iam", "kms", "lambda", "logs", "secretsmanager"];
    let mut found = Vec::new();
    let mut begin = 0;
    for line in template.split_inclusive('\n') {
        let code = line.split(" #").next().unwrap_or_default().trim_end();
        for action in code.split([' ', ',', '[', ']']) {
            let is_one = action
                .split_once(':')
                .is_some_and(|(service, name)| services.contains(&service) && !name.contains(':'));
            if !is_one || code.trim_start().starts_with('#') {
                continue;
            }
            let (at, end) = (begin + code.find(action).expect("in its line"), begin + code.len());
            let instead =
                |from: usize, to: usize, with: &str| format!("{}{with}{}", &template[..from], &template[to..]);
            let (form, more) = if code.trim_start().starts_with("- ") {
                let indent = &code[..code.len() - code.trim_start().len()];
                ("on a line", instead(end, end, &format!("\n{indent}- {UNUSED}")))
            } else if code.contains('[') {
                ("among others", instead(at, at, &format!("{UNUSED}, ")))
            } else {
                ("alone", instead(at, at + action.len(), &format!("[{action}, {UNUSED}]")))
            };
            let less = instead(at, at + action.len(), "none:Taken");
            found.push(Mutation { action: action.to_owned(), form, less, more });
        }
        begin += line.len();
    }
    found
}

/// The key for fingerprints of every stage: their randomness is the same.
async fn fingerprint_key() -> String {
    Stage::new().await.settings.fingerprint_key.clone().expect("a key")
}

#[tokio::test(start_paused = true)]
async fn every_call_is_allowed_and_nothing_else_is() {
    let (asked, key) = (asked().await, fingerprint_key().await);
    for which in Which::ALL {
        let asked = &asked[&which];
        // With a prefix, or what is allowed of secrets would be allowed of standbys with them.
        let in_template = |template: &str| which.policies_in(template, &key, "partner/");
        let policies = in_template(&which.template());
        let missing = refused(&policies, asked);
        assert!(missing.is_empty(), "{which:?} may not {missing:#?}");
        // The policy of a key names the role that made it: one of an earlier version does not, or of a role that was made
        // anew since. Then its tags decide.
        let is_new = |asked: &&Asked| asked.by_resource == ByResource::Allows && !asked.context.contains_key(TAG);
        let asked = asked.iter().filter(|asked| !is_new(asked)).cloned();
        let asked: BTreeSet<Asked> = asked.map(|asked| Asked { by_resource: ByResource::Delegates, ..asked }).collect();
        let asked = &asked;
        let (missing, too_many) = (refused(&policies, asked), superfluous(&policies, asked));
        assert!(missing.is_empty(), "{which:?} may not {missing:#?}");
        assert!(too_many.is_empty(), "{which:?} never needs {too_many:#?}");

        assert_noticed(&which.template(), in_template, asked);
    }
}

/// What the roles reach, beside what is theirs.
#[tokio::test(start_paused = true)]
async fn what_is_somebody_elses_is_out_of_reach() {
    let key = fingerprint_key().await;
    let at = |service: &str, resource: &str| format!("arn:aws:{service}:eu-west-1:123456789012:{resource}");
    let ask = |action: &str, resource: &str, context: &[(&str, &str)]| {
        let context = context.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect();
        Asked { action: action.into(), resource: resource.to_owned(), context, ..Asked::default() }
    };
    let secret = at("secretsmanager", "secret:payroll-AbCdEf");
    let others = [
        ask("secretsmanager:GetSecretValue", &secret, &[("aws:ResourceTag/team", "hr")]),
        ask("secretsmanager:PutSecretValue", &secret, &[]),
        ask("secretsmanager:CreateSecret", &at("secretsmanager", "secret:payroll-??????"), &[]),
        ask("secretsmanager:DeleteSecret", &secret, &[("aws:ResourceTag/rotator:kind", "api-gateway-key")]),
        ask("kms:Decrypt", &at("kms", "key/1"), &[]),
        ask("kms:Decrypt", &at("kms", "key/1"), &[("kms:ViaService", "s3.eu-west-1.amazonaws.com")]),
        ask("kms:Sign", &at("kms", "key/1"), &[("aws:ResourceTag/team", "hr")]),
        ask("kms:ScheduleKeyDeletion", &at("kms", "key/1"), &[]),
        // Whoever may tag a new key may tag any: that alone must not open one that encrypts.
        ask(
            "kms:PutKeyPolicy",
            &at("kms", "key/1"),
            &[("aws:ResourceTag/rotator:credential", "x"), ("kms:KeyUsage", "ENCRYPT_DECRYPT")],
        ),
        ask("kms:CreateKey", "*", &[("kms:KeyUsage", "SIGN_VERIFY")]),
        ask("kms:CreateKey", "*", &[("kms:KeyUsage", "ENCRYPT_DECRYPT"), ("aws:RequestTag/rotator:credential", "x")]),
        // A key that nobody could administer.
        ask(
            "kms:CreateKey",
            "*",
            &[
                ("aws:RequestTag/rotator:credential", "x"),
                ("kms:KeyUsage", "SIGN_VERIFY"),
                ("kms:BypassPolicyLockoutSafetyCheck", "true"),
            ],
        ),
        ask(
            "kms:PutKeyPolicy",
            &at("kms", "key/1"),
            &[
                ("aws:ResourceTag/rotator:credential", "x"),
                ("kms:KeyUsage", "SIGN_VERIFY"),
                ("kms:BypassPolicyLockoutSafetyCheck", "true"),
            ],
        ),
        // A function of somebody's own, which would be handed every new key.
        ask(
            "secretsmanager:RotateSecret",
            &secret,
            &[
                ("aws:ResourceTag/rotator:kind", "webhook-secret"),
                ("secretsmanager:RotationLambdaARN", &at("lambda", "function:mine")),
            ],
        ),
        ask("kms:TagResource", &at("kms", "key/1"), &[("aws:RequestTag/team", "hr")]),
        ask("kms:GenerateMac", &at("kms", "key/1"), &[]),
        ask("dynamodb:Query", &at("dynamodb", "table/orders"), &[]),
        ask("dynamodb:DeleteItem", &at("dynamodb", "table/rotator"), &[]),
        ask("dynamodb:UpdateItem", &at("dynamodb", "table/rotator"), &[]),
        ask("dynamodb:UpdateItem", &at("dynamodb", "table/rotator"), &[("dynamodb:LeadingKeys", "CRED#partner/acme")]),
        ask("apigateway:DELETE", "arn:aws:apigateway:eu-west-1::/usageplans/p1", &[]),
        ask("apigateway:PATCH", "arn:aws:apigateway:eu-west-1::/usageplans/p1", &[]),
        ask("apigateway:GET", "arn:aws:apigateway:eu-west-1::/restapis", &[]),
        ask("logs:StartQuery", &at("logs", "log-group:/aws/lambda/payroll:*"), &[]),
        ask("iam:PassRole", &at("iam", "role/admin"), &[]),
    ];
    let roles = Which::ALL.map(|which| which.role(&key));
    for role in roles.into_iter().chain(Person::ALL.map(|person| person.role(&key))) {
        for asked in &others {
            assert!(!role.allows(asked).expect("evaluated"), "{} may {asked:?}", role.arn());
        }
    }
}
