//! Keys and plans, probes, and who else writes.

use aws_sdk_kms::types::GrantOperation;
use chrono::TimeDelta;
use local_aws::Method;
use rotator::doctor::{Area, Verdict};
use serde_json::{Value, json};
use state::ledger::Change;

use super::{assert_line, doctor, is_healthy, rotated, says};
use crate::harness::{ACME, Stage, Terms, document};

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
    says(
        &stage,
        Area::Provider,
        Broken,
        &format!("PlanLost: the record has the incumbent's key {id}"),
        "under PlanLost",
    )
    .await;
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
    engine.api_keys.delete(&id).await.expect("deleted");
    let said = format!("KeyVanished: the API key {id} that consumers read is not there");
    says(&stage, Area::Provider, Broken, &said, "under KeyVanished").await;
}

/// Whoever disabled a leaked key did right: nobody is told to enable it.
#[tokio::test(start_paused = true)]
async fn a_leaked_key_that_is_disabled_stays_so() {
    let (stage, _) = rotated().await;
    let credential = stage.load(ACME).await;
    let current = credential.current().expect("current");
    let (compromised, token) = (vec![current.generation], credential.next_token("emergency"));
    stage.commit(ACME, Change::Ordered { token, compromised }).await;
    stage.engine_unhurt().api_keys.set_enabled(&current.provider["id"], false).await.expect("disabled");
    let said = "that consumers read is disabled";
    says(&stage, Area::Provider, Verdict::Broken, said, "its key is compromised: leave it disabled").await;
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
async fn a_key_in_no_stage_gets_through_nowhere() {
    let stage = Stage::new().await;
    let client = stage.api_gateway();
    let value = "aValueOfTwentyLetters1";
    let id = client.create_api_key().name("nowhere").value(value).enabled(true).send().await.expect("a key").id;
    let (id, empty) = (id.expect("an id"), stage.plan("empty", &[], None).await);
    stage.secret(ACME, &document(value), &Terms::default().with("probe", "none")).await;
    let fix = format!("create-usage-plan-key --usage-plan-id PLAN --key-type API_KEY --key-id {id}");
    for plan in [&empty, &stage.plan] {
        says(&stage, Area::Probe, Verdict::Warning, "in no stage, so nobody can use it", &fix).await;
        let view = doctor(&stage, Some(ACME)).await;
        assert!(view.checks.iter().all(|check| !check.what.contains("gets through")), "{:#?}", view.checks);
        stage.attach(&id, plan).await;
    }
    says(&stage, Area::Probe, Verdict::Warning, "no probe tries a new key in a1b2c3/prod", "Key=rotator:probe").await;
}

#[tokio::test(start_paused = true)]
async fn a_key_set_that_verifiers_look_for_elsewhere() {
    let stage = Stage::new().await;
    stage.secret("orders/", "{}", &Terms::jwt()).await;
    let view = doctor(&stage, Some("orders/")).await;
    assert_line(&view, Area::Wishes, Verdict::Broken, "can't be part of the URL of a key set", "with another name");
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

#[tokio::test(start_paused = true)]
async fn who_may_sign_is_told_and_who_may_without_being_declared() {
    use Verdict::{Ok, Warning};
    const DECLARED: &str = "arn:aws:iam::123456789012:role/issuer";
    const GRANTED: &str = "arn:aws:iam::123456789012:role/batch";
    const NAMED: &str = "arn:aws:iam::999999999999:role/stranger";
    let mut stage = Stage::new().await;
    stage.settings.signer_accounts = vec!["444455556666".into()];
    let arn = stage.secret(ACME, "{}", &Terms::kms().with("signers", DECLARED)).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.tick().await;
    let view = doctor(&stage, Some(ACME)).await;
    let told = |said: &str| {
        let told = view.checks.iter().find(|check| check.area == Area::Provider && check.what.contains(said));
        told.unwrap_or_else(|| panic!("{said:?} is not in {:#?}", view.checks)).verdict
    };
    assert_eq!(told(&format!("names who signs: {DECLARED}")), Ok);
    assert_eq!(told("roles of 123456789012, 444455556666"), Ok);
    let undeclared = view.checks.iter().filter(|check| check.what.contains("rotator:signers does not name them"));
    assert_eq!(undeclared.count(), 0, "{:#?}", view.checks);
    let shown = stage.command(&["show", ACME, "--output", "json"]).await.json();
    assert_eq!(
        shown["signers"],
        json!({"declared": [DECLARED], "accounts": ["123456789012", "444455556666"]}),
        "{shown:#}"
    );
    let page = stage.command(&["show", ACME]).await.stdout;
    assert!(page.contains(&format!("signers    {DECLARED}; roles of 123456789012, 444455556666 may be")), "{page}");

    let (kms, key) = (stage.kms(), stage.load(ACME).await.versions[&1].provider["id"].clone());
    let grant = kms.create_grant().key_id(&key).grantee_principal(GRANTED).operations(GrantOperation::Sign);
    grant.send().await.expect("granted");
    let policy = kms.get_key_policy().key_id(&key).send().await.expect("read").policy.expect("a policy");
    let mut policy: Value = serde_json::from_str(&policy).expect("JSON");
    policy["Statement"].as_array_mut().expect("statements").push(json!({"Sid": "ByHand", "Effect": "Allow",
        "Principal": {"AWS": NAMED}, "Action": ["kms:S*"], "Resource": "*"}));
    kms.put_key_policy().key_id(&key).policy(policy.to_string()).send().await.expect("put");
    for (who, by) in [(GRANTED, "the grant "), (NAMED, "the statement ByHand of its policy")] {
        says(&stage, Area::Provider, Warning, by, "name their role in rotator:signers").await;
        let said = format!("lets {who} sign with the key that signs, and rotator:signers does not name them");
        says(&stage, Area::Provider, Warning, &said, "aws kms revoke-grant").await;
    }
    is_healthy(&stage).await;
}

#[tokio::test(start_paused = true)]
async fn a_grant_for_somebody_who_is_gone() {
    const AUDITOR: &str = "arn:aws:iam::123456789012:user/auditor";
    let stage = Stage::new().await;
    let arn = stage.secret(ACME, "{}", &Terms::kms()).await;
    stage.rotate(&arn).await;
    stage.tick().await;
    let signer = stage.load(ACME).await.versions[&1].provider["id"].clone();
    let kms = stage.kms();
    let grant = kms.create_grant().key_id(&signer).grantee_principal(AUDITOR).operations(GrantOperation::Verify);
    let grant = grant.send().await.expect("granted").grant_id.expect("an id");
    is_healthy(&stage).await;

    let id = stage.aws.forget_principal(AUDITOR);
    assert!(id.starts_with("AIDA"), "{id}");
    let said = format!("a grant on the key that signs is for {id}, who is not there any more");
    let fix = format!("aws kms revoke-grant --key-id {signer} --grant-id {grant}");
    says(&stage, Area::Provider, Verdict::Broken, &said, &fix).await;
    // It would have come to this.
    stage.pass(TimeDelta::hours(25)).await;
    stage.rotate(&arn).await;
    assert!(stage.failure().error_message.contains("kms:CreateGrant"), "{}", stage.failure());
    stage.assert_sound(ACME, "refused").await;

    // As the line says.
    kms.revoke_grant().key_id(&signer).grant_id(&grant).send().await.expect("revoked");
    stage.again(&arn).await;
    stage.assert_rotated();
    stage.tick().await;
    is_healthy(&stage).await;
}

#[tokio::test(start_paused = true)]
async fn what_terraform_owns() {
    use Verdict::{Broken, Warning};
    let (stage, arn) = rotated().await;
    let current = stage.load(ACME).await.head.current.expect("current");
    let id = stage.load(ACME).await.versions[&current].provider["id"].clone();
    for path in [format!("apikeys/{id}"), format!("usageplans/{}", stage.plan)] {
        let resource = format!("arn:aws:apigateway:eu-west-1::/{path}");
        let tagged = stage.api_gateway().tag_resource().resource_arn(resource).tags("ManagedBy", "Terraform");
        tagged.send().await.expect("tagged");
    }
    let tag = aws_sdk_secretsmanager::types::Tag::builder().key("managed-by").value("terraform").build();
    stage.secrets_manager().tag_resource().secret_id(&arn).tags(tag).send().await.expect("tagged");
    let said = format!("Terraform owns the API key {id}: its next run would undo a rotation");
    says(&stage, Area::Ownership, Broken, &said, "").await;
    let said = format!("Terraform owns the usage plan {}", stage.plan);
    says(&stage, Area::Ownership, Warning, &said, "prevent_destroy").await;
    says(&stage, Area::Ownership, Warning, "Terraform owns the secret", "ignore_changes = [secret_string]").await;
}
