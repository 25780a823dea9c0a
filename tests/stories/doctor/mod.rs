//! `rotator doctor`: what is as it must be has no broken line, and everything that can be broken is found and mended by
//! what its line says.

mod account;
mod functions;
mod permissions;
mod provider;
mod secret;
mod unseen;

use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use chrono::TimeDelta;
use rotator::aws::plain;
use rotator::doctor::{Area, Check, Verdict};
use rotator_cli::commands::doctor::{DoctorView, Names, examine};
use rotator_cli::context::Context;
use state::name::CredentialName;

use crate::harness::{ACME, Stage, Terms, sdk_config};

const ACCOUNT: &str = "123456789012";

/// Whoever asks: where they look may be changed.
fn person(stage: &Stage) -> Context {
    whoever(stage, stage.observer.config.clone(), stage.aws.connector())
}

/// The same, whose calls are counted and can be hurt.
fn watched_person(stage: &Stage) -> Context {
    let connector = stage.faults.process().connector;
    whoever(stage, sdk_config(connector.clone()), connector)
}

fn whoever(stage: &Stage, aws: SdkConfig, connector: SharedHttpConnector) -> Context {
    Context::new(plain(aws), stage.settings.clone(), stage.ports(connector))
}

/// `rotator doctor` of the usual credential, as somebody whose calls can be hurt.
async fn hurt(stage: &Stage) -> DoctorView {
    let name = CredentialName::parse(ACME).expect("a name");
    examine(&watched_person(stage), Some(&name), &Names::default(), &mut |_| {}).await.expect("examined")
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
pub(super) async fn says(stage: &Stage, area: Area, verdict: Verdict, said: &str, fix: &str) {
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
