//! Every kind of stuck rotation: what repair says of it, what it does, what it leaves alone, and that `RotateSecret`
//! works afterwards.

use chrono::TimeDelta;
use local_aws::Method;
use rotator::engine::Errand;
use rotator::mend::{Mended, look, mend};
use state::decide::{AWSCURRENT, AWSPENDING};
use state::drift::{Finding, Remedy, Scope};
use state::ledger::{Change, Note};
use state::lifecycle::{Phase, State};
use state::name::CredentialName;

use super::{others, words};
use crate::harness::faults::{Fault, When};
use crate::harness::{ACME, Stage, Terms, document};

fn name() -> CredentialName {
    CredentialName::parse(ACME).expect("a name")
}

/// What is found, which is what a plan shows: nothing at all changes.
async fn planned(stage: &Stage) -> Vec<Finding> {
    let before = stage.world().await;
    let found = look(&stage.engine_unhurt(), &name(), Scope::Rotation, None, &stage.errand()).await.expect("examined");
    assert_eq!(stage.world().await, before, "a plan changes nothing");
    found.findings
}

async fn repaired(stage: &Stage) -> Mended {
    let engine = stage.engine_unhurt();
    let note = Note { salt: "00".into(), who: "ada".into(), reason: "stuck".into() };
    let found = look(&engine, &name(), Scope::Rotation, None, &stage.errand()).await.expect("examined");
    let errand = Errand { note: Some(&note), ..stage.errand() };
    let mut told = Vec::new();
    let mut tell = |finding: &Finding| told.push(finding.word());
    let mended = mend(&engine, found, Scope::Rotation, &mut 10, &errand, &mut tell).await.expect("repaired");
    assert!(mended.stopped.is_none(), "{:?}", mended.stopped);
    assert_eq!(told, words(&mended.cured));
    mended
}

/// One cause: it is named, repaired, and what it blocked goes on; everything else is as it was.
async fn story(stage: &Stage, arn: &str, expected: &[&str]) -> Mended {
    let before = others(stage.world().await);
    assert_eq!(words(&planned(stage).await), expected);
    let mended = repaired(stage).await;
    assert_eq!(words(&mended.cured), expected);
    assert_eq!(words(&mended.left.findings), [""; 0]);
    assert_eq!(others(stage.world().await), before, "nothing else was touched");
    stage.assert_sound(ACME, "repaired").await;
    goes_on(stage, arn).await;
    mended
}

async fn goes_on(stage: &Stage, arn: &str) {
    let value = stage.current_value(arn).await;
    assert!(stage.gets_through(&value).await);
    stage.rotate(arn).await;
    stage.assert_rotated();
    let credential = stage.load(ACME).await;
    assert!(credential.head.candidate.is_none() && credential.head.held.is_none());
    assert_ne!(stage.current_value(arn).await, value);
    assert!(stage.gets_through(&stage.current_value(arn).await).await);
    for _ in 0..3 {
        stage.pass(TimeDelta::hours(25)).await;
    }
    stage.assert_sound(ACME, "after another rotation").await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_found_where_nothing_is_wrong() {
    let (stage, _) = Stage::two_rotated().await;
    assert_eq!(planned(&stage).await, []);
    let before = stage.world().await;
    assert_eq!(repaired(&stage).await.cured, []);
    assert_eq!(stage.world().await, before);
}

#[tokio::test(start_paused = true)]
async fn the_function_never_did_anything() {
    let (stage, arn) = Stage::two_rotated().await;
    stage.rotate_without(&arn, "DynamoDB:Query").await;
    let (token, begun) = (stage.pending(&arn).await, stage.clock.now());
    story(&stage, &arn, &["PendingEmpty"]).await;
    assert!(stage.clock.now() - begun >= TimeDelta::minutes(15), "its function had its time");
    assert!(stage.story(ACME).await.contains(&token), "it is told which version it was");
}

#[tokio::test(start_paused = true)]
async fn the_function_never_did_anything_for_a_credential_without_records() {
    let stage = Stage::new().await;
    let arn = stage.secret(ACME, "{}", &Terms::default().with("usage-plans", &stage.plan)).await;
    stage.rotate_without(&arn, "DynamoDB:Query").await;
    assert_eq!(words(&planned(&stage).await), ["PendingEmpty"]);
    assert_eq!(words(&repaired(&stage).await.cured), ["PendingEmpty"]);
    assert_eq!(stage.recorded(ACME).await, None, "there is no history to tell it in");
    stage.rotate(&arn).await;
    stage.assert_rotated();
}

#[tokio::test(start_paused = true)]
async fn somebody_put_a_value_under_the_pending_label() {
    for same in [false, true] {
        let (stage, arn) = Stage::two_rotated().await;
        let value = if same { document(&stage.current_value(&arn).await) } else { document("somebodys-own-key-1234") };
        let put = stage.secrets_manager().put_secret_value().secret_id(&arn).secret_string(value);
        put.version_stages(AWSPENDING).send().await.expect("put");
        story(&stage, &arn, &["PendingForeign"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_pending_label_is_on_a_version_whose_rotation_is_over() {
    for (days, state) in [(0, State::Deactivated), (1, State::Suspended), (2, State::Destroyed)] {
        let (stage, arn) = Stage::two_rotated().await;
        let first = stage.load(ACME).await.versions[&1].carriers[0].clone();
        for _ in 0..days {
            stage.pass(TimeDelta::hours(25)).await;
        }
        assert_eq!(stage.load(ACME).await.versions[&1].state, state);
        // What was pending before is current now.
        stage.move_label(&arn, AWSPENDING, Some(first.as_str())).await;
        story(&stage, &arn, &["PendingStale"]).await;
    }
}

/// A rotation that stops half way, and what of it is live by then.
async fn half_done(denied: &str, phase: Phase, made: bool) {
    let (stage, arn) = Stage::two_rotated().await;
    let value = stage.current_value(&arn).await;
    stage.rotate_without(&arn, denied).await;
    let candidate = stage.load(ACME).await.versions[&3].clone();
    assert_eq!(candidate.phase, Some(phase), "{denied}");
    let until = candidate.open_until.expect("an intent");
    let live = |stage: &Stage| stage.aws.inspect_api_keys().iter().filter(|key| key.enabled).count();
    assert_eq!(live(&stage), if made { 5 } else { 4 });

    assert_eq!(words(&planned(&stage).await), ["HalfDone"]);
    let before = others(stage.world().await);
    let mended = repaired(&stage).await;
    assert_eq!(words(&mended.cured), ["HalfDone"]);
    assert_eq!(others(stage.world().await), before, "nothing else was touched");
    assert_eq!(live(&stage), 4, "its key is refused now, and not only later");
    assert_eq!(stage.load(ACME).await.versions[&3].state, State::Suspended);
    assert_eq!(stage.holder(&arn, AWSPENDING).await, None);
    assert_eq!(stage.current_value(&arn).await, value, "consumers noticed nothing");
    stage.assert_sound(ACME, "repaired").await;

    let told = stage.engine_unhurt().records.history(&name()).await.expect("readable");
    let given_up = told.iter().find(|told| matches!(told.event.change, Change::Abandoned { .. })).expect("told");
    assert!(given_up.event.at >= until, "its writer had its time");
    assert_eq!(given_up.note.as_ref().map(|note| note.reason.as_str()), Some("stuck"), "and who did it is told");
    goes_on(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn half_done_while_drafting() {
    half_done("secretsmanager:PutSecretValue", Phase::Drafting, false).await;
}

#[tokio::test(start_paused = true)]
async fn half_done_while_admitting() {
    half_done("apigateway:POST /apikeys", Phase::Admitting, false).await;
    half_done("apigateway:POST /usageplans/{plan}/keys", Phase::Admitting, true).await;
}

#[tokio::test(start_paused = true)]
async fn half_done_while_promoting() {
    half_done("secretsmanager:UpdateSecretVersionStage", Phase::Promoting, true).await;
}

#[tokio::test(start_paused = true)]
async fn half_done_while_proving() {
    let (stage, arn) = Stage::two_rotated().await;
    stage.deploy(&["beta"], vec![Method::protected("/ping")]);
    stage.rotate(&arn).await;
    assert_eq!(stage.load(ACME).await.versions[&3].phase, Some(Phase::Proving));
    stage.deploy(&["prod", "beta"], vec![Method::protected("/ping")]);
    story(&stage, &arn, &["HalfDone"]).await;
}

/// The function was stopped after it had made the key, and before it could say so.
#[tokio::test(start_paused = true)]
async fn a_function_that_timed_out() {
    let (stage, arn) = Stage::two_rotated().await;
    stage.faults.disarm();
    stage.rotate(&arn).await;
    let made = stage.faults.calls().iter().position(|call| call == "apigateway:POST /apikeys").expect("made");
    stage.faults.arm(When::FromThenOn(made), Fault::NoAnswerApplied);
    stage.rotate(&arn).await;
    stage.faults.disarm();
    let candidate = stage.load(ACME).await.versions[&4].clone();
    assert_eq!((candidate.phase, candidate.provider.get("id")), (Some(Phase::Admitting), None));
    let enabled = || stage.aws.inspect_api_keys().into_iter().filter(|key| key.enabled).count();
    let before = enabled();
    assert_eq!(words(&repaired(&stage).await.cured), ["HalfDone"]);
    assert_eq!(enabled(), before - 1, "found by the name that was recorded before it was made");
    assert!(stage.load(ACME).await.versions[&4].provider.contains_key("id"));
    stage.assert_sound(ACME, "repaired").await;
    goes_on(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn the_label_moved_and_nobody_told() {
    let (stage, arn) = Stage::two_rotated().await;
    stage.rotate_without(&arn, "secretsmanager:UpdateSecretVersionStage").await;
    let token = stage.pending(&arn).await;
    stage.move_label(&arn, AWSCURRENT, Some(&token)).await;
    story(&stage, &arn, &["PromotionUntold"]).await;
    assert_eq!(stage.load(ACME).await.versions[&2].state, State::Destroyed);
}

#[tokio::test(start_paused = true)]
async fn somebody_took_the_pending_label_away() {
    let (stage, arn) = Stage::two_rotated().await;
    stage.rotate_without(&arn, "apigateway:POST /usageplans/{plan}/keys").await;
    stage.move_label(&arn, AWSPENDING, None).await;
    story(&stage, &arn, &["PendingLost"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_same_key_was_put_again() {
    let (stage, arn) = Stage::two_rotated().await;
    let value = stage.current_value(&arn).await;
    let carrier = stage.put(&arn, &document(&value)).await;
    // Secrets Manager has taken the label off that its rotation left on the version before: nothing is blocked.
    assert_eq!(stage.holder(&arn, AWSPENDING).await, None);
    story(&stage, &arn, &["NewCarrier"]).await;
    let carriers = &stage.load(ACME).await.versions[&2].carriers;
    assert_eq!(carriers.last().map(|carrier| carrier.to_string()), Some(carrier), "bound to the same generation");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_nobody_knows_is_left_to_a_person() {
    let (stage, arn) = Stage::two_rotated().await;
    let good = stage.current(&arn).await;
    let carrier = stage.put(&arn, &document("somebodys-own-key-1234")).await;
    let found = planned(&stage).await;
    assert_eq!(words(&found), ["ForeignValue"]);
    let Remedy::Person(remedy) = found[0].remedy(Some(&stage.load(ACME).await)) else { panic!("a person's matter") };
    let command = format!(
        "aws secretsmanager update-secret-version-stage --secret-id {ACME} --version-stage AWSCURRENT \
         --remove-from-version-id {carrier} --move-to-version-id {good}"
    );
    assert!(remedy.contains(&command), "{remedy}");
    let before = stage.world().await;
    let mended = repaired(&stage).await;
    assert_eq!((mended.cured.len(), words(&mended.left.findings)), (0, vec!["ForeignValue"]));
    assert_eq!(stage.world().await, before, "nothing was touched");
    // What the command does.
    stage.move_label(&arn, AWSCURRENT, Some(&good)).await;
    assert_eq!(planned(&stage).await, []);
    goes_on(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn labels_that_were_moved_by_hand_are_moved_back() {
    let (stage, arn) = Stage::two_rotated().await;
    let good = stage.current(&arn).await;
    let first = stage.load(ACME).await.versions[&1].carriers[0].clone();
    stage.move_label(&arn, AWSCURRENT, Some(first.as_str())).await;
    let found = planned(&stage).await;
    let remedy = found[0].remedy(Some(&stage.load(ACME).await));
    assert!(remedy.text().contains(&format!("rotator rollback {ACME} --to 1")), "{}", remedy.text());
    assert_eq!(words(&repaired(&stage).await.cured), ["LabelMoved"]);
    assert_eq!(stage.current(&arn).await, good);
    // From nowhere at all, and from a candidate that nothing has proved.
    stage.rotate_without(&arn, "apigateway:POST /usageplans/{plan}/keys").await;
    let pending = stage.pending(&arn).await;
    stage.move_label(&arn, AWSCURRENT, Some(&pending)).await;
    let mended = repaired(&stage).await;
    assert_eq!(words(&mended.cured), ["LabelMoved", "HalfDone"]);
    assert_eq!(stage.current(&arn).await, good);
    stage.assert_sound(ACME, "moved back").await;
    goes_on(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn a_first_key_that_was_made_current_before_it_was_proved_goes_back() {
    let stage = Stage::new().await;
    let arn = stage.secret(ACME, "{}", &Terms::default().with("usage-plans", &stage.plan).with("max-live", "8")).await;
    let (placeholder, attach) = (stage.current(&arn).await, "apigateway:POST /usageplans/{plan}/keys");
    // Its rotation goes on.
    stage.rotate_without(&arn, attach).await;
    let pending = stage.pending(&arn).await;
    stage.move_label(&arn, AWSCURRENT, Some(&pending)).await;
    assert_eq!(words(&repaired(&stage).await.cured), ["LabelMoved", "HalfDone"]);
    assert_eq!(stage.current(&arn).await, placeholder);
    // Its rotation has lost its own label as well.
    stage.rotate_without(&arn, attach).await;
    let pending = stage.pending(&arn).await;
    stage.move_label(&arn, AWSCURRENT, Some(&pending)).await;
    stage.move_label(&arn, AWSPENDING, None).await;
    stage.pass(TimeDelta::hours(1)).await;
    assert_eq!(words(&planned(&stage).await), ["LabelMoved"]);
    repaired(&stage).await;
    stage.pass(TimeDelta::hours(1)).await;
    repaired(&stage).await;
    assert_eq!((planned(&stage).await, stage.current(&arn).await), (Vec::new(), placeholder));
    // The version that was current before is gone. A person does what is said.
    stage.rotate_without(&arn, attach).await;
    let pending = stage.pending(&arn).await;
    stage.move_label(&arn, AWSCURRENT, Some(&pending)).await;
    stage.move_label(&arn, "AWSPREVIOUS", None).await;
    let found = planned(&stage).await;
    let remedy = found[0].remedy(Some(&stage.load(ACME).await));
    let said = format!("aws secretsmanager put-secret-value --secret-id {ACME} --secret-string '{{}}'");
    assert!(matches!(&remedy, Remedy::Person(text) if text.contains(&said)), "{remedy:?}");
    stage.put(&arn, "{}").await;
    repaired(&stage).await;
    goes_on_from_nothing(&stage, &arn).await;
}

async fn goes_on_from_nothing(stage: &Stage, arn: &str) {
    stage.rotate(arn).await;
    stage.assert_rotated();
    assert!(stage.gets_through(&stage.current_value(arn).await).await);
    goes_on(stage, arn).await;
}

#[tokio::test(start_paused = true)]
async fn a_value_that_a_stack_wrote_over_comes_back() {
    let (stage, arn) = Stage::two_rotated().await;
    let (good, value) = (stage.current(&arn).await, stage.current_value(&arn).await);
    stage.put(&arn, "{}").await;
    assert_eq!(words(&repaired(&stage).await.cured), ["ValueWiped"]);
    assert_eq!((stage.current(&arn).await, stage.current_value(&arn).await), (good, value));
    stage.put(&arn, "{}").await;
    story(&stage, &arn, &["ValueWiped"]).await;
}
