//! A stranger knows a key.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use local_aws::{LabelEvent, Settings};
use rotator::failure::Stopped;
use rotator::rotate::{Compromised, Milestone, Rotated, emergency, on_demand};
use rotator_cli::trouble::Outcome;
use serde_json::json;
use state::concern::Concerns;
use state::credential::Fingerprint;
use state::lifecycle::{Phase, State};
use state::name::CredentialName;
use state::policy::Schedule;

use crate::harness::faults::{Fault, Hurt, Onlooker, When};

use crate::harness::{ACME, API, FUNCTION_TIMEOUT, Host, Stage, Terms, Which, document};

fn settings() -> Settings {
    Settings::default()
}

/// A credential whose secret has rotated as often as `rotations` says, and all its values, oldest first.
async fn prepared(settings: Settings, terms: &Terms, rotations: usize) -> (Stage, String, Vec<String>) {
    let stage = Stage::with(settings).await;
    let (arn, _, value) = stage.credential(ACME, terms).await;
    let mut values = vec![value];
    for _ in 0..rotations {
        stage.rotate(&arn).await;
        stage.assert_rotated();
        values.push(stage.current_value(&arn).await);
    }
    (stage, arn, values)
}

pub(super) fn ticking(stage: &Stage) {
    stage.aws.every(Duration::from_secs(60), "retirement", json!({"detail-type": "Scheduled Event"}));
}

/// The command, while AWS does what AWS does. Ends early when `until` says so of a milestone, as if it were killed.
pub(super) async fn declare_until(
    stage: &Stage,
    compromised: Compromised,
    until: impl Fn(&Milestone) -> bool + Send + Sync,
) -> (Option<Result<Rotated, Stopped>>, Vec<Milestone>) {
    let process = stage.faults.process();
    let engine = stage.engine(&process);
    let (name, errand) = (CredentialName::parse(ACME).expect("a name"), stage.errand());
    let note = state::ledger::Note { salt: "00".into(), who: "somebody".into(), reason: "a test".into() };
    let mut told = Vec::new();
    let mut tell = |milestone: Milestone| {
        if until(&milestone) {
            // The very next call is not made any more.
            stage.faults.arm(When::Once(0), Fault::KilledBefore);
        }
        told.push(milestone);
    };
    let done = tokio::select! {
        biased;
        () = process.killed() => None,
        done = emergency(&engine, &name, &compromised, &note, &errand, &mut tell) => Some(done),
        () = stage.aws.run() => unreachable!("it never ends"),
    };
    (done, told)
}

pub(super) async fn declare(stage: &Stage, compromised: Compromised) -> (Rotated, Vec<Milestone>) {
    let (done, told) = declare_until(stage, compromised, |_| false).await;
    match done.expect("not killed") {
        Ok(rotated) => (rotated, told),
        Err(stopped) => {
            panic!("{}\n{told:#?}\n{}", rotator::failure::chain(&stopped), stage.story(ACME).await)
        }
    }
}

/// The kinds of milestones, each once in a row.
pub(super) fn words(told: &[Milestone]) -> Vec<&'static str> {
    let mut words: Vec<_> = told
        .iter()
        .map(|milestone| match milestone {
            Milestone::Holding { .. } => "holding",
            Milestone::Pending { .. } => "pending",
            Milestone::Fenced { .. } => "fenced",
            Milestone::Ordered { .. } => "ordered",
            Milestone::Begun { .. } => "begun",
            Milestone::Reached { .. } => "reached",
            Milestone::Promoted { .. } => "promoted",
            Milestone::Strange { .. } => "strange",
            Milestone::Suspended { .. } => "suspended",
            Milestone::Refused { .. } => "refused",
            Milestone::Trusted { .. } => "trusted",
            Milestone::Unseen { .. } => "unseen",
        })
        .collect();
    words.dedup();
    words
}

async fn assert_only(stage: &Stage, values: &[String], accepted: &[usize], when: &str) {
    for (number, value) in values.iter().enumerate() {
        let through = stage.gets_through(value).await;
        assert_eq!(through, accepted.contains(&number), "{when}: value {number}\n{}", stage.story(ACME).await);
    }
    stage.assert_sound(ACME, when).await;
}

/// After every overlap and soak, only the current key is left.
async fn assert_nothing_is_lost(stage: &Stage, arn: &str) {
    for _ in 0..3 {
        stage.pass(TimeDelta::hours(25)).await;
        stage.tick().await;
    }
    let [key] = stage.aws.inspect_api_keys().try_into().expect("one key is left");
    assert_eq!(key.value, stage.current_value(arn).await);
    assert!(stage.gets_through(&key.value).await);
    stage.assert_sound(ACME, "at the end").await;
}

/// Break glass: the leaked key was disabled and another put under `AWSCURRENT`, all by hand; the service takes note.
#[tokio::test(start_paused = true)]
async fn an_emergency_replaces_a_key_that_somebody_made_by_hand() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    stage.pass(TimeDelta::hours(25)).await;
    stage.aws.on_label_event("retirement");
    stage.set_enabled(&stage.id_of(2).await, false).await;
    let (by_hand, value) = stage.key("acme-by-hand").await;
    stage.put(&arn, &document(&value)).await;
    assert!(stage.gets_through(&stage.current_value(&arn).await).await);

    let (rotated, _) = declare(&stage, Compromised::Generations(vec![2])).await;
    assert_eq!(rotated.generation, 3);
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[2], "replaced").await;
    assert!(stage.api_key(&by_hand).enabled, "whoever made it deletes it, once nobody uses it");
    stage.api_gateway().delete_api_key().api_key(&by_hand).send().await.expect("deleted");
    assert_nothing_is_lost(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn the_key_that_a_stranger_knows_is_refused_as_soon_as_there_is_a_new_one() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    stage.pass(TimeDelta::hours(25)).await;
    stage.aws.on_label_event("retirement");
    let declared = stage.clock.now();
    let (rotated, told) = declare(&stage, Compromised::All).await;

    assert_eq!((rotated.generation, &rotated.compromised), (3, &vec![2]));
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[2], "over").await;
    let said = words(&told);
    assert_eq!(
        said.iter().filter(|word| **word != "reached").copied().collect::<Vec<_>>(),
        ["ordered", "begun", "promoted", "suspended", "refused"]
    );
    let token = rotated.token.clone();
    assert!(told.contains(&Milestone::Ordered { token: token.clone(), compromised: vec![2] }), "bound to its token");
    assert!(told.contains(&Milestone::Begun { token: token.clone() }));
    let times: Vec<_> = told
        .iter()
        .filter_map(|milestone| match milestone {
            Milestone::Promoted { generation: 3, at }
            | Milestone::Suspended { generation: 2, at }
            | Milestone::Refused { generation: 2, at } => Some(*at),
            Milestone::Holding { .. }
            | Milestone::Pending { .. }
            | Milestone::Fenced { .. }
            | Milestone::Ordered { .. }
            | Milestone::Begun { .. }
            | Milestone::Reached { .. }
            | Milestone::Promoted { .. }
            | Milestone::Strange { .. }
            | Milestone::Suspended { .. }
            | Milestone::Refused { .. }
            | Milestone::Trusted { .. }
            | Milestone::Unseen { .. } => None,
        })
        .collect();
    assert_eq!(times.len(), 3);
    assert!(times.is_sorted() && times[2] - declared < TimeDelta::seconds(30), "{times:?}");
    let credential = stage.load(ACME).await;
    assert!(credential.head.order.is_none(), "the order is fulfilled");
    assert_eq!(credential.versions[&3].carriers, [token]);
    assert!(credential.versions[&2].compromised.is_some());
    let name = CredentialName::parse(ACME).expect("a name");
    let history = stage.engine_unhurt().records.history(&name).await.expect("readable");
    assert!(history.iter().any(|told| told.note.as_ref().is_some_and(|note| note.reason == "a test")));
    assert_nothing_is_lost(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn whenever_the_label_event_comes_the_key_is_refused_within_two_minutes() {
    let late = LabelEvent::Late(Duration::from_secs(600));
    for label_event in [LabelEvent::OnTime, late, LabelEvent::Twice, LabelEvent::Early, LabelEvent::Never] {
        let (stage, arn, mut values) = prepared(Settings { label_event, ..settings() }, &Terms::default(), 1).await;
        stage.aws.on_label_event("retirement");
        ticking(&stage);
        let declared = stage.clock.now();
        let (rotated, _) = declare(&stage, Compromised::All).await;
        assert!(stage.clock.now() - declared < TimeDelta::minutes(2), "{label_event:?}");
        assert_eq!(rotated.compromised, [1, 2], "every accepted one but the new");
        values.push(stage.current_value(&arn).await);
        assert_only(&stage, &values, &[2], &format!("{label_event:?}")).await;
        assert_nothing_is_lost(&stage, &arn).await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_versions_that_are_named_are_compromised() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    stage.aws.on_label_event("retirement");
    ticking(&stage);
    let (rotated, told) = declare(&stage, Compromised::Generations(vec![1])).await;
    values.push(stage.current_value(&arn).await);
    assert_eq!(rotated.compromised, [1]);
    assert!(words(&told).contains(&"refused"));
    assert_only(&stage, &values, &[1, 2], "the second one has its overlap").await;
    assert_nothing_is_lost(&stage, &arn).await;

    let before = stage.world().await;
    let (done, _) = declare_until(&stage, Compromised::Generations(vec![9]), |_| false).await;
    let said = rotator::failure::chain(&done.expect("not killed").expect_err("there is none"));
    assert!(said.contains("--compromised") && said.contains("rotator show partner/acme"), "{said}");
    assert_eq!(stage.world().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_pending_rotation_that_is_healthy_is_carried_to_its_end_first() {
    let propagation = Duration::from_secs(45);
    let (stage, arn, mut values) = prepared(Settings { propagation, ..settings() }, &Terms::default(), 1).await;
    stage.aws.on_label_event("retirement");
    ticking(&stage);
    stage.secrets_manager().rotate_secret().secret_id(&arn).send().await.expect("begun");
    let (rotated, told) = declare(&stage, Compromised::All).await;

    let said = words(&told);
    assert_eq!(said[..3], ["pending", "ordered", "begun"], "{said:?}");
    assert_eq!((rotated.generation, rotated.compromised), (4, vec![1, 2, 3]));
    let credential = stage.load(ACME).await;
    assert!(credential.versions[&3].activated.is_some(), "it was current for a moment");
    values.push(stage.current_value(&arn).await);
    stage.wait(TimeDelta::minutes(1)).await;
    assert_only(&stage, &values, &[2], "over").await;
    assert_nothing_is_lost(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn a_pending_rotation_that_is_held_is_fenced_off_after_its_functions_time() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    // It is held by something that is about its own key alone.
    stage.faults.deny("secretsmanager:UpdateSecretVersionStage");
    stage.rotate(&arn).await;
    let stuck = stage.load(ACME).await.versions[&3].clone();
    stage.detach(&stuck.provider["id"], &stage.plan).await;
    stage.faults.allow("secretsmanager:UpdateSecretVersionStage");
    stage.aws.on_label_event("retirement");
    ticking(&stage);
    let declared = stage.clock.now();
    let (rotated, told) = declare(&stage, Compromised::All).await;

    let said = words(&told);
    assert_eq!(said[..4], ["pending", "fenced", "ordered", "begun"], "{said:?}");
    assert!(told.contains(&Milestone::Fenced { token: stuck.carriers[0].clone() }));
    let times = stage.engine_unhurt().records.history(&CredentialName::parse(ACME).expect("a name")).await;
    let fenced = times.expect("readable").into_iter().find(|told| told.event.change.word() == "abandoned");
    let fenced = fenced.expect("told").event.at;
    assert!(fenced >= stuck.open_until.expect("open") && fenced - declared <= FUNCTION_TIMEOUT, "{fenced}");
    assert_eq!((rotated.generation, rotated.compromised), (4, vec![1, 2]));
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[2], "over").await;
    assert_nothing_is_lost(&stage, &arn).await;
    assert_eq!(stage.load(ACME).await.versions[&3].state, State::Destroyed, "abandoned, and retired like any other");
}

#[tokio::test(start_paused = true)]
async fn a_pending_rotation_whose_process_is_dead_is_fenced_off_after_its_functions_time() {
    let (stage, arn, mut values) = prepared(Settings { rotation_retries: 0, ..settings() }, &Terms::default(), 1).await;
    stage.faults.arm(When::FromThenOn(calls_before_the_key().await), Fault::KilledBefore);
    stage.rotate(&arn).await;
    let stuck = stage.load(ACME).await.versions[&3].clone();
    assert_eq!((stuck.phase, stage.failure().error_type.as_str()), (Some(Phase::Admitting), "Runtime.ExitError"));
    stage.aws.on_label_event("retirement");
    let declared = stage.clock.now();
    // Secrets Manager tries it once more for the command, and the process dies again.
    let (rotated, told) = declare(&stage, Compromised::All).await;

    assert_eq!(stage.faults.met(), 2);
    let said = words(&told);
    assert_eq!(said[..4], ["pending", "fenced", "ordered", "begun"], "{said:?}");
    let took = stage.clock.now() - declared;
    assert!(took >= FUNCTION_TIMEOUT && took < FUNCTION_TIMEOUT + TimeDelta::minutes(1), "{took}");
    assert_eq!((rotated.generation, rotated.compromised), (4, vec![1, 2]));
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[2], "over").await;
    assert_nothing_is_lost(&stage, &arn).await;
}

/// How many calls the second rotation of a credential makes before it creates its key.
async fn calls_before_the_key() -> usize {
    let (stage, arn, _) = prepared(settings(), &Terms::default(), 1).await;
    stage.faults.disarm();
    stage.rotate(&arn).await;
    stage.faults.calls().iter().position(|call| call == "apigateway:POST /apikeys").expect("it creates one")
}

#[tokio::test(start_paused = true)]
async fn two_emergencies_in_a_row_lose_nobody() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    stage.aws.on_label_event("retirement");
    ticking(&stage);
    for generation in 3..=4 {
        let (rotated, _) = declare(&stage, Compromised::All).await;
        assert_eq!(rotated.generation, generation);
        values.push(stage.current_value(&arn).await);
        let last = values.len() - 1;
        assert_only(&stage, &values, &[last], "after each").await;
    }
    assert_nothing_is_lost(&stage, &arn).await;
    let states: Vec<_> = stage.load(ACME).await.versions.values().map(|version| version.state).collect();
    assert_eq!(states, [State::Destroyed, State::Destroyed, State::Destroyed, State::Active]);
}

#[tokio::test(start_paused = true)]
async fn an_order_survives_the_crash_of_its_command() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    stage.aws.on_label_event("retirement");
    ticking(&stage);
    let is_ordered = |milestone: &Milestone| matches!(milestone, Milestone::Ordered { .. });
    let (done, _) = declare_until(&stage, Compromised::Generations(vec![2]), is_ordered).await;
    assert!(done.is_none(), "killed before it could begin anything");
    let order = stage.load(ACME).await.head.order.expect("it stands");
    assert_eq!((&order.compromised, order.promoted), (&vec![2], false));
    assert!(stage.gets_through(&values[1]).await, "nothing is refused before there is a new key");

    // Whoever declares it again finds it, whatever they say.
    let (rotated, _) = declare(&stage, Compromised::All).await;
    assert_eq!((&rotated.token, &rotated.compromised), (&order.token, &vec![2]));
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[0, 2], "over").await;
    assert_nothing_is_lost(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn an_order_that_nobody_comes_back_for_is_fulfilled_by_the_next_rotation() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    let is_ordered = |milestone: &Milestone| matches!(milestone, Milestone::Ordered { .. });
    declare_until(&stage, Compromised::All, is_ordered).await;
    stage.pass(TimeDelta::hours(3)).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.tick().await;
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[2], "the next scheduled rotation").await;
    assert!(stage.load(ACME).await.head.order.is_none());
    assert_nothing_is_lost(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn an_emergency_whose_rotation_has_begun_goes_on_without_its_command() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    stage.aws.on_label_event("retirement");
    let begun = |milestone: &Milestone| matches!(milestone, Milestone::Begun { .. });
    let (done, _) = declare_until(&stage, Compromised::All, begun).await;
    assert!(done.is_none());
    stage.aws.settle().await;
    values.push(stage.current_value(&arn).await);
    // With the command this AWS stopped running, and a retirement with it. The next one completes what that was at.
    stage.pass(FUNCTION_TIMEOUT + TimeDelta::minutes(1)).await;
    assert_only(&stage, &values, &[2], "nobody looked").await;
    // Declared again, it is another emergency: the key that is current now.
    let (rotated, _) = declare(&stage, Compromised::All).await;
    assert_eq!((rotated.generation, rotated.compromised), (4, vec![3]));
    assert_nothing_is_lost(&stage, &arn).await;
}

/// Repair would bring the compromised key back and says so; the emergency must not wait for that.
#[tokio::test(start_paused = true)]
async fn a_value_without_a_key_does_not_hold_the_emergency_over_the_key_before_it() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    stage.aws.on_label_event("retirement");
    stage.put(&arn, r#"{"owner": "the stack"}"#).await;
    let (rotated, _) = declare(&stage, Compromised::All).await;
    assert_eq!((rotated.generation, rotated.compromised), (3, vec![1, 2]));
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[2], "over").await;
    assert_nothing_is_lost(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn a_label_on_an_older_version_does_not_hold_the_emergency_over_both() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    let first = stage.load(ACME).await.versions[&1].carriers[0].clone();
    stage.move_label(&arn, "AWSCURRENT", Some(first.as_str())).await;
    stage.aws.on_label_event("retirement");
    let (rotated, _) = declare(&stage, Compromised::All).await;
    assert_eq!((rotated.generation, rotated.compromised), (3, vec![1, 2]));
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[2], "over").await;
    assert_nothing_is_lost(&stage, &arn).await;
}

#[tokio::test(start_paused = true)]
async fn a_label_on_a_key_that_nothing_proved_does_not_hold_the_emergency_over_the_one_before() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default().with("max-live", "8"), 1).await;
    stage.rotate_without(&arn, "apigateway:POST /usageplans/{plan}/keys").await;
    let pending = stage.pending(&arn).await;
    stage.move_label(&arn, "AWSCURRENT", Some(&pending)).await;
    stage.move_label(&arn, "AWSPENDING", None).await;
    stage.aws.on_label_event("retirement");
    let (rotated, _) = declare(&stage, Compromised::All).await;
    assert_eq!((rotated.generation, rotated.compromised), (4, vec![1, 2]));
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[2], "over").await;
    assert_nothing_is_lost(&stage, &arn).await;
}

/// Whoever hears of a leak may delete the key first, or disable it, or take it out of its plans.
#[tokio::test(start_paused = true)]
async fn a_key_that_was_deleted_disabled_or_detached_by_hand_does_not_hold_its_own_emergency() {
    for by_hand in ["deleted", "disabled", "detached"] {
        let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
        let id = stage.load(ACME).await.versions[&2].provider["id"].clone();
        match by_hand {
            "deleted" => stage.delete_key(&id).await,
            "disabled" => stage.set_enabled(&id, false).await,
            _ => stage.detach(&id, &stage.plan).await,
        }
        stage.aws.on_label_event("retirement");
        let (rotated, _) = declare(&stage, Compromised::All).await;
        assert_eq!((rotated.generation, rotated.compromised), (3, vec![1, 2]), "{by_hand}");
        values.push(stage.current_value(&arn).await);
        for (number, value) in values.iter().enumerate() {
            assert_eq!(stage.gets_through(value).await, number == 2, "{by_hand}: value {number}");
        }
        let new = stage.load(ACME).await.versions[&3].provider["id"].clone();
        assert_eq!(stage.api_key(&new).plans, std::slice::from_ref(&stage.plan), "{by_hand}: in the recorded plan");
    }
}

#[tokio::test(start_paused = true)]
async fn an_emergency_switches_rotation_on_again() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    stage.secrets_manager().cancel_rotate_secret().secret_id(&arn).send().await.expect("cancelled");
    stage.aws.on_label_event("retirement");
    let (rotated, _) = declare(&stage, Compromised::All).await;
    assert_eq!((rotated.generation, rotated.compromised), (3, vec![1, 2]));
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[2], "over").await;
}

#[tokio::test(start_paused = true)]
async fn an_order_whose_token_secrets_manager_will_not_take_again_gets_another_token() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    stage.aws.on_label_event("retirement");
    let is_ordered = |milestone: &Milestone| matches!(milestone, Milestone::Ordered { .. });
    declare_until(&stage, Compromised::All, is_ordered).await;
    let ordered = stage.load(ACME).await.head.order.expect("it stands").token;
    let begun = stage.secrets_manager().rotate_secret().secret_id(&arn).client_request_token(ordered.as_str());
    begun.send().await.expect("begun");
    // Before its function runs, somebody takes the label off the empty version. DescribeSecret does not show a version
    // without a label, and RotateSecret refuses its token.
    stage.move_label(&arn, "AWSPENDING", None).await;
    stage.aws.settle().await;
    let (rotated, told) = declare(&stage, Compromised::All).await;
    assert_eq!((rotated.generation, rotated.compromised), (3, vec![1, 2]), "{told:?}");
    assert_ne!(rotated.token, ordered);
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[2], "by the other token").await;
    assert_nothing_is_lost(&stage, &arn).await;
}

/// A WAF rule, private DNS and a resource policy refuse in API Gateway's own words.
#[tokio::test(start_paused = true)]
async fn a_firewall_says_nothing_about_the_old_key() {
    let (stage, _, values) = prepared(settings(), &Terms::default(), 1).await;
    let promoted = |milestone: &Milestone| matches!(milestone, Milestone::Promoted { .. });
    declare_until(&stage, Compromised::All, promoted).await;
    assert!(stage.aws.block(API, true));
    for _ in 0..5 {
        stage.pass(TimeDelta::minutes(10)).await;
        let credential = stage.load(ACME).await;
        let [first, second] = [1, 2].map(|generation| &credential.versions[&generation]);
        assert!(first.suspended.is_some() && second.suspended.is_some(), "{}", stage.story(ACME).await);
        assert_eq!((&first.refused, &second.refused), (&None, &None), "nobody can tell");
    }
    assert!(stage.aws.block(API, false));
    stage.pass(TimeDelta::hours(2)).await;
    let credential = stage.load(ACME).await;
    for generation in [1, 2] {
        let refused = credential.versions[&generation].refused.clone().expect("seen at last");
        assert!(refused.after.is_some(), "{refused:?}");
    }
    for value in &values {
        assert!(!stage.gets_through(value).await);
    }
}

/// Its owner may give the answer to a key that is not let in another status.
#[tokio::test(start_paused = true)]
async fn a_gateway_response_of_ones_own_is_a_refusal_as_well() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    assert!(stage.aws.put_invalid_key_status(API, 456));
    stage.rotate(&arn).await;
    stage.assert_rotated();
    values.push(stage.current_value(&arn).await);
    stage.aws.on_label_event("retirement");
    let (rotated, told) = declare(&stage, Compromised::All).await;
    assert_eq!((rotated.generation, words(&told).pop()), (4, Some("refused")));
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[3], "over").await;
}

#[tokio::test(start_paused = true)]
async fn without_a_probe_nobody_claims_to_have_seen_the_refusal() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default().with("probe", "none"), 1).await;
    stage.aws.on_label_event("retirement");
    let (_, told) = declare(&stage, Compromised::Generations(vec![2])).await;
    let said = words(&told);
    assert_eq!(said[said.len() - 2..], ["suspended", "unseen"], "{said:?}");
    assert!(told.contains(&Milestone::Unseen { generation: 2 }));
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[0, 2], "refused all the same").await;
}

#[tokio::test(start_paused = true)]
async fn a_value_put_by_hand_keeps_nobody_from_an_emergency_or_a_rotation() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    stage.aws.on_label_event("retirement");
    ticking(&stage);
    // The label that the last rotation left behind now blocks Secrets Manager.
    stage.put(&arn, &document(&values[1]).replace("api-gateway", "by hand")).await;
    let (rotated, _) = declare(&stage, Compromised::All).await;
    assert_eq!((rotated.generation, rotated.compromised), (3, vec![1, 2]));
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[2], "over").await;

    stage.put(&arn, &document(&values[2]).replace("api-gateway", "by hand")).await;
    let process = stage.faults.process();
    let (engine, errand) = (stage.engine(&process), stage.errand());
    let name = CredentialName::parse(ACME).expect("a name");
    let mut tell = |_| {};
    let rotated = tokio::select! {
        biased;
        rotated = on_demand(&engine, &name, &errand, &mut tell) => rotated.expect("rotated"),
        () = stage.aws.run() => unreachable!("it never ends"),
    };
    assert_eq!(rotated.generation, 4);
    assert_ne!(stage.current_value(&arn).await, values[2]);
    assert_nothing_is_lost(&stage, &arn).await;
}

/// It serves searches for leaked values, and nothing else.
#[tokio::test(start_paused = true)]
async fn a_disabled_key_for_fingerprints_holds_up_neither_a_rotation_nor_an_emergency() {
    let (stage, arn, mut values) = prepared(settings(), &Terms::default(), 1).await;
    let key = stage.settings.fingerprint_key.clone().expect("the stage has one");
    stage.kms().disable_key().key_id(&key).send().await.expect("disabled");
    stage.rotate(&arn).await;
    stage.assert_rotated();
    values.push(stage.current_value(&arn).await);
    stage.aws.on_label_event("retirement");
    let (rotated, _) = declare(&stage, Compromised::All).await;
    assert_eq!((rotated.generation, rotated.compromised), (4, vec![1, 2, 3]));
    values.push(stage.current_value(&arn).await);
    assert_only(&stage, &values, &[3], "over").await;

    let credential = stage.load(ACME).await;
    for generation in [3, 4] {
        let made = &credential.versions[&generation].fingerprint;
        let said = matches!(made, Some(Fingerprint::Missing { missing }) if missing.contains("kms:GenerateMac"));
        assert!(said, "{made:?}");
    }
    assert!(Concerns::of(&credential, &Schedule::default(), stage.clock.now()).without_fingerprint);
    let told = stage.command(&["history", ACME]).await;
    assert!(told.stdout.contains("no fingerprint: kms:GenerateMac"), "{}", told.stdout);
    assert_nothing_is_lost(&stage, &arn).await;
}

/// Who it was is good to know. Nobody waits for that whose key has leaked, and nobody else is turned away at once.
#[tokio::test(start_paused = true)]
async fn neither_a_rotation_nor_an_emergency_fails_for_want_of_a_name() {
    let (stage, ..) = prepared(settings(), &Terms::default(), 1).await;
    stage.aws.on_label_event("retirement");
    ticking(&stage);
    let command = async |line: &[&str]| {
        let process = stage.faults.process();
        tokio::select! {
            biased;
            said = stage.command_over(process.connector.clone(), line) => said,
            () = stage.aws.run() => unreachable!("it never ends"),
        }
    };
    stage.faults.arm(When::Once(0), Fault::Throttled);
    let said = command(&["rotate", ACME]).await;
    assert_eq!((said.outcome, stage.faults.met()), (Outcome::Done, 1), "one throttled call: {said:?}");
    assert_eq!(stage.faults.calls()[0], "sts:GetCallerIdentity");

    stage.faults.disarm();
    stage.faults.deny("sts:GetCallerIdentity");
    let said = command(&["rotate", ACME, "--emergency", "--reason", "it leaked"]).await;
    assert_eq!(said.outcome, Outcome::Done, "no answer at all: {said:?}");
    assert!(stage.command(&["history", ACME]).await.stdout.contains("the holder of access key"));
}

/// Whichever of its calls AWS has no time for.
#[tokio::test(start_paused = true)]
async fn one_call_that_is_throttled_ends_no_emergency() {
    let mut call = 0;
    loop {
        let (stage, ..) = prepared(settings(), &Terms::default(), 1).await;
        stage.aws.on_label_event("retirement");
        ticking(&stage);
        stage.faults.arm(When::Once(call), Fault::Throttled);
        let process = stage.faults.process();
        let line = ["rotate", ACME, "--emergency", "--reason", "it leaked"];
        let said = tokio::select! {
            biased;
            said = stage.command_over(process.connector.clone(), &line) => said,
            () = stage.aws.run() => unreachable!("it never ends"),
        };
        assert_eq!(said.outcome, Outcome::Done, "call {call}: {said:?}");
        if stage.faults.met() == 0 || call == 16 {
            break;
        }
        call += 1;
    }
    assert!(call > 8, "it makes more calls than {call}");
}

/// Who made each call, in order.
#[derive(Debug, Default)]
struct Callers(Mutex<Vec<&'static str>>);

#[async_trait]
impl Onlooker for Callers {
    async fn see(&self, who: &'static str, _: &str, _: Option<Hurt>) {
        self.0.lock().expect("not poisoned").push(who);
    }
}

/// Whoever comes next need not wait until the time of the one that died is over: what is compromised never comes back.
#[tokio::test(start_paused = true)]
async fn wherever_retirement_dies_a_leaked_key_is_dead_within_two_minutes() {
    let emergency = async |terms: &Terms, hurt: Option<(usize, Fault)>| {
        let mut stage = Stage::with(settings()).await;
        let callers = Arc::new(Callers::default());
        stage.faults = stage.faults.clone().shown_to(callers.clone());
        for which in [Which::Rotation, Which::Retirement] {
            stage.aws.register(which.name(), Arc::new(Host::new(&stage, which)));
        }
        let (arn, _, value) = stage.credential(ACME, terms).await;
        stage.rotate(&arn).await;
        stage.assert_rotated();
        callers.0.lock().expect("not poisoned").clear();
        stage.faults.disarm();
        stage.aws.on_label_event("retirement");
        ticking(&stage);
        if let Some((at, fault)) = hurt {
            stage.faults.arm(When::Once(at), fault);
        }
        let declared = stage.clock.now();
        let (rotated, _) = declare(&stage, Compromised::All).await;
        assert_eq!(rotated.compromised, [1, 2]);
        assert!(!stage.gets_through(&value).await);
        let is_its = |(at, who): (usize, &&'static str)| (*who == "retirement").then_some(at);
        let its: Vec<usize> = callers.0.lock().expect("not poisoned").iter().enumerate().filter_map(is_its).collect();
        (stage.clock.now() - declared, its)
    };
    let terms = Terms::default();
    let (_, its) = emergency(&terms, None).await;
    assert!(its.len() > 8, "{its:?}");
    for at in its {
        for fault in [Fault::KilledBefore, Fault::KilledAfter, Fault::NoAnswerNotApplied] {
            let (took, _) = emergency(&terms, Some((at, fault))).await;
            assert!(took <= TimeDelta::minutes(2), "{took} with {fault:?} at call {at}");
        }
    }
}

/// Whoever took the leaked key out of its plan, before anything else, is not told that the way to the API is blocked.
#[tokio::test(start_paused = true)]
async fn a_leaked_key_that_no_plan_lets_in_is_no_control_for_its_successor() {
    let stage = Stage::new().await;
    let (arn, key, _) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let leaked = stage.id_of(2).await;
    assert_ne!(leaked, key);
    stage.detach(&leaked, &stage.plan).await;
    stage.aws.settings(|settings| settings.propagation = Duration::from_secs(40));
    let is_over = |milestone: &Milestone| matches!(milestone, Milestone::Promoted { .. });
    let (_, told) = declare_until(&stage, Compromised::All, is_over).await;
    let held: Vec<&Milestone> = told.iter().filter(|told| matches!(told, Milestone::Holding { .. })).collect();
    assert!(held.is_empty(), "{held:?}");
    assert_eq!(stage.load(ACME).await.head.current, Some(3));
    assert!(stage.gets_through(&stage.current_value(&arn).await).await);
}
