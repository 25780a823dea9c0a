//! The secret itself: its wishes, its schedule, its labels, its holds.

use aws_sdk_secretsmanager::types::RotationRulesType;
use chrono::TimeDelta;
use local_aws::Method;
use rotator::doctor::{Area, Verdict};
use state::decide::{AWSCURRENT, AWSPENDING};

use super::{assert_line, doctor, is_healthy, rotated, says};
use crate::harness::{ACME, Stage, Terms, document};

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
        ("max-age", "P10D", Area::Schedule, Broken, "longer than rotator:max-age = P10D", "cron(0 "),
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

/// Nobody can read it, so nobody can rotate it either: that is broken, and no matter of who looks.
#[tokio::test(start_paused = true)]
async fn a_value_whose_key_of_kms_is_disabled() {
    let (stage, arn) = rotated().await;
    let made = stage.kms().create_key().send().await.expect("made").key_metadata.expect("a key");
    stage.secrets_manager().update_secret().secret_id(&arn).kms_key_id(&made.key_id).send().await.expect("under it");
    stage.kms().disable_key().key_id(&made.key_id).send().await.expect("disabled");
    says(&stage, Area::Provider, Verdict::Broken, "DecryptionFailure", "every rotation would meet it").await;
}

#[tokio::test(start_paused = true)]
async fn schedules_of_other_forms() {
    use Verdict::{Ok, Warning};
    let (stage, arn) = rotated().await;
    let rules = RotationRulesType::builder().automatically_after_days(30).build();
    let client = stage.secrets_manager();
    client.rotate_secret().secret_id(&arn).rotate_immediately(false).rotation_rules(rules).send().await.expect("set");
    stage.aws.settle().await;
    let said = "every 30 days counts from the last rotation";
    says(&stage, Area::Schedule, Warning, said, "a cron() says when: aws secretsmanager rotate-secret").await;

    let rules = RotationRulesType::builder().schedule_expression("cron(0 8 1 * ? *)").build();
    client.rotate_secret().secret_id(&arn).rotate_immediately(false).rotation_rules(rules).send().await.expect("set");
    stage.aws.settle().await;
    let view = doctor(&stage, Some(ACME)).await;
    let schedule = view.checks.iter().find(|check| check.area == Area::Schedule).expect("a line");
    assert_eq!((schedule.verdict, schedule.what.contains("leaves time for lead and overlap")), (Ok, true), "{view:#?}");

    // Of a person alone.
    let by_hand = stage.secret("partner/manual", "{}", &Terms { schedule: None, ..Terms::webhook() }).await;
    let function = stage.settings.function_arn.clone().expect("registered");
    let rotate = client.rotate_secret().secret_id(&by_hand).rotation_lambda_arn(function);
    rotate.rotate_immediately(false).send().await.expect("set");
    stage.aws.settle().await;
    let view = doctor(&stage, Some("partner/manual")).await;
    let fix = "aws secretsmanager rotate-secret --secret-id partner/manual --no-rotate-immediately --rotation-rules";
    assert_line(&view, Area::Schedule, Warning, "it rotates on demand only", fix);
}

#[tokio::test(start_paused = true)]
async fn values_and_tags_that_no_kind_can_use() {
    use Verdict::Broken;
    let (mut stage, arn) = rotated().await;
    stage.retag(&arn, "probe", "ping").await;
    let fix = "aws secretsmanager tag-resource --secret-id NAME --tags Key=rotator:probe,Value=VALUE";
    says(&stage, Area::Provider, Broken, "rotator:probe = \"ping\" is not usable", fix).await;
    stage.retag(&arn, "probe", "a1b2c3/prod/ping").await;
    is_healthy(&stage).await;
    stage.put(&arn, "not JSON").await;
    let said = "the secret's value is not a JSON object";
    says(&stage, Area::Provider, Broken, said, "`rotator repair NAME` says which version holds the right one").await;

    stage.secret("partner/tokens", "{}", &Terms::kms()).await;
    stage.settings.jwks_url = None;
    let view = doctor(&stage, Some("partner/tokens")).await;
    let said = "a signing key without a place to publish it is not usable: set ROTATOR_JWKS_URL";
    assert_line(&view, Area::Provider, Broken, said, "correct the setting that is named");
}

#[tokio::test(start_paused = true)]
async fn versions_that_are_held() {
    use Verdict::{Broken, Warning};
    let (stage, arn) = rotated().await;
    // What is going out keeps no rotation from its end.
    assert!(stage.aws.set_replica(&arn, "eu-central-1", "InProgress"));
    stage.pass(TimeDelta::hours(25)).await;
    says(&stage, Area::Holds, Warning, "generation 1 is held since", "under ReplicaBehind").await;
    assert!(stage.aws.set_replica(&arn, "eu-central-1", "InSync"));
    stage.pass(TimeDelta::hours(25)).await;
    is_healthy(&stage).await;

    stage.deploy(&["beta"], vec![Method::protected("/ping")]);
    stage.rotate(&arn).await;
    says(&stage, Area::Holds, Broken, "generation 3 is held since", "under ProbeBlocked").await;
    // Nobody is at work on it any more.
    stage.wait(TimeDelta::hours(1)).await;
    let said = "generation 3, which does not go on: it blocks the next rotation";
    says(&stage, Area::Labels, Broken, said, "if it stays for more than a minute: `rotator repair partner/acme`").await;
}
