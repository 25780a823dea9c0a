//! Back to an earlier version: accepted first, then proved, then read.

use std::time::Duration;

use chrono::TimeDelta;
use local_aws::{Method, Settings};
use rotator::failure::chain;
use rotator_cli::trouble::Outcome;
use state::decide::{AWSCURRENT, Goal};
use state::evidence::Ground;
use state::ledger::{Abandonment, Change};
use state::lifecycle::{Phase, State};
use state::name::CredentialName;

use super::watched;
use crate::harness::faults::{Fault, When};
use crate::harness::people::{PROMPT, Said, Watched};
use crate::harness::signing::Traffic;
use crate::harness::{ACME, OPERATOR, Stage, Terms};

const HOUR: TimeDelta = TimeDelta::hours(1);
const REASON: &str = "the new endpoint is broken";

impl Stage {
    async fn roll_back(&self, to: Option<&str>) -> Said {
        let mut line = vec!["rollback", ACME, "--reason", REASON];
        line.extend(to.iter().flat_map(|to| ["--to", *to]));
        self.command(&line).await
    }

    /// Refused for that reason, and nothing is changed.
    async fn assert_no_way_back(&self, to: Option<&str>, reason: &str) {
        let before = self.world().await;
        let said = self.roll_back(to).await;
        assert_ne!(said.outcome, Outcome::Done, "{said:?}");
        assert!(said.stderr.contains(reason), "{reason:?} is not in {}", said.stderr);
        assert_eq!(self.world().await, before, "{reason}");
    }

    /// The carrier of a generation.
    async fn carrier(&self, generation: u32) -> String {
        self.load(ACME).await.versions[&generation].token().expect("a carrier").as_str().to_owned()
    }

    async fn assert_states(&self, wanted: &[State]) {
        let states: Vec<State> = self.load(ACME).await.versions.values().map(|version| version.state).collect();
        assert_eq!(states, wanted, "{}", self.story(ACME).await);
    }

    /// A rotated credential whose first key is suspended: its ARN, and both values.
    async fn suspended(&self, terms: &Terms) -> (String, String, String) {
        let (arn, _, old) = self.credential(ACME, terms).await;
        self.rotate(&arn).await;
        self.pass(HOUR * 25).await;
        self.assert_states(&[State::Suspended, State::Active]).await;
        let new = self.current_value(&arn).await;
        (arn, old, new)
    }
}

/// Whoever was interrupted repeats the command, and retirement may have been faster.
#[tokio::test(start_paused = true)]
async fn repeated_it_goes_no_further_back() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default().with("max-live", "8")).await;
    for _ in 0..2 {
        stage.rotate(&arn).await;
        stage.assert_rotated();
    }
    for _ in 0..2 {
        let said = stage.roll_back(None).await;
        assert_eq!((said.outcome, stage.load(ACME).await.head.current), (Outcome::Done, Some(2)), "{said:?}");
    }
    assert_eq!(stage.roll_back(Some("1")).await.outcome, Outcome::Done);
    assert_eq!(stage.load(ACME).await.head.current, Some(1));
    // What was good before the next one is what is wanted, and not one that somebody rolled back from.
    stage.rotate(&arn).await;
    stage.assert_rotated();
    assert_eq!(stage.roll_back(None).await.outcome, Outcome::Done);
    assert_eq!(stage.load(ACME).await.head.current, Some(1));
}

#[tokio::test(start_paused = true)]
async fn within_the_overlap_the_old_key_is_current_again_and_the_bad_one_is_deactivated() {
    let stage = Stage::new().await;
    let (arn, _, old) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    let new = stage.current_value(&arn).await;
    stage.pass(HOUR).await;

    let said = stage.command(&["rollback", ACME, "--reason", REASON, "--output", "json"]).await;
    assert_eq!(said.outcome, Outcome::Done, "{said:?}");
    let view = said.json();
    assert_eq!((&view["current"], &view["was"]), (&1.into(), &2.into()));
    assert_eq!(view["stillAccepted"], serde_json::json!([2]));
    stage.assert_sound(ACME, "rolled back").await;
    assert_eq!(stage.current_value(&arn).await, old);
    assert!(stage.gets_through(&new).await, "whoever read it has its overlap");
    stage.assert_states(&[State::Active, State::Deactivated]).await;
    let told = stage.told().await;
    let begun = told.iter().find(|told| matches!(told.event.change, Change::RollingBack { generation: 1, .. }));
    let note = begun.and_then(|told| told.note.clone()).expect("who and why");
    assert!(note.reason == REASON && note.who.contains("arn:aws"), "{note:?}");

    // Again is once.
    let world = stage.world().await;
    for to in [Some("1"), None] {
        assert_eq!(stage.roll_back(to).await.outcome, Outcome::Done);
        assert_eq!(stage.world().await, world);
    }

    // And it goes on as ever.
    stage.pass(HOUR * 25).await;
    stage.assert_sound(ACME, "the bad one's overlap is over").await;
    stage.assert_states(&[State::Active, State::Suspended]).await;
    assert!(!stage.gets_through(&new).await);
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.assert_sound(ACME, "rotated again").await;
    stage.assert_states(&[State::Deactivated, State::Suspended, State::Active]).await;
    stage.pass(HOUR * 25).await;
    stage.pass(HOUR * 25).await;
    stage.assert_states(&[State::Destroyed, State::Destroyed, State::Active]).await;
    stage.assert_sound(ACME, "at the end").await;
}

#[tokio::test(start_paused = true)]
async fn within_the_soak_whoever_reads_the_current_value_gets_through_at_every_moment() {
    let stage = Stage::new().await;
    let (arn, old, new) = stage.suspended(&watched()).await;
    assert!(!stage.gets_through(&old).await);

    let watched = Watched::new(&stage, &arn);
    let said = stage.command_over(watched.connector(), &["rollback", ACME, "--reason", REASON]).await;
    assert_eq!(said.outcome, Outcome::Done, "{said:?}");
    stage.assert_sound(ACME, "rolled back").await;
    let met = watched.met();
    assert!(met.len() > 10 && met.iter().all(|(_, status)| *status == 200), "{met:#?}");
    let at = |operation: &str| met.iter().position(|(call, _)| call == operation).unwrap_or_else(|| panic!("{met:#?}"));
    let (enabled, proved) = (at("apigateway:PATCH /apikeys/{key}"), at("probe:GET /prod/ping"));
    // The last one: AWSPENDING, which the rotation had left on the bad version, was taken off before.
    let moved = met.iter().rposition(|(call, _)| call == "secretsmanager:UpdateSecretVersionStage").expect("moved");
    assert!(enabled < proved && proved < moved, "accepted, then proved, then read: {met:#?}");
    assert_eq!(stage.current_value(&arn).await, old);
    assert!(stage.gets_through(&new).await);
    stage.assert_states(&[State::Active, State::Deactivated]).await;

    // What was recorded of its end is not true any more; the bad one is watched like any other.
    let version = stage.load(ACME).await.versions[&1].clone();
    assert_eq!((version.suspended, version.destroy_at, version.refused, version.ground), (None, None, None, None));
    stage.goes_on(HOUR * 60, HOUR, "to the end of the bad one").await;
    stage.assert_states(&[State::Active, State::Destroyed]).await;
    assert!(stage.gets_through(&old).await);
}

#[tokio::test(start_paused = true)]
async fn the_youngest_version_before_the_current_one_is_meant_unless_another_is_named() {
    for (named, reached) in [(None, 2), (Some("1"), 1)] {
        let stage = Stage::new().await;
        let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
        for _ in 0..2 {
            stage.rotate(&arn).await;
            stage.assert_rotated();
        }
        assert_eq!(stage.roll_back(named).await.outcome, Outcome::Done);
        stage.assert_sound(ACME, "rolled back").await;
        assert_eq!(stage.load(ACME).await.head.current, Some(reached));
        let mut wanted = [State::Deactivated; 3];
        wanted[reached as usize - 1] = State::Active;
        stage.assert_states(&wanted).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_not_come_back_is_refused_with_the_reason() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.assert_no_way_back(Some("7"), "there is no generation 7").await;
    stage.pass(HOUR * 25).await;
    stage.pass(HOUR * 25).await;
    stage.assert_no_way_back(Some("1"), "generation 1 is destroyed").await;
    stage.assert_no_way_back(None, "no version before generation 2 can be brought back").await;

    let stage = Stage::new().await;
    let (arn, ..) = stage.suspended(&Terms::default()).await;
    stage.move_label(&arn, "AWSPREVIOUS", None).await;
    stage.forget_unlabelled_values(&arn).await;
    stage.assert_no_way_back(None, "the value of generation 1 is gone").await;

    // A rotation that does not come to its end, because its new key is refused.
    let stage = Stage::with(Settings { rotation_retries: 0, ..Settings::default() }).await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.deploy(&["prod"], vec![Method::open("/ping")]);
    stage.rotate(&arn).await;
    assert_eq!(stage.failure().error_type, "Held.MethodUnprotected");
    stage.assert_no_way_back(None, "a rotation is under way").await;
}

/// A webhook's value holds the secret before it as well, so that both are signed with.
#[tokio::test(start_paused = true)]
async fn a_value_that_holds_a_compromised_secret_as_well_never_comes_back() {
    let stage = Stage::new().await;
    let arn = stage.secret(ACME, "{}", &Terms::webhook().with("max-live", "8")).await;
    for _ in 0..2 {
        stage.rotate(&arn).await;
        stage.assert_rotated();
    }
    stage.aws.on_label_event("retirement");
    let line = ["rotate", ACME, "--emergency", "--compromised", "1", "--reason", "it was in a log", "--yes"];
    let said = stage.command_as(OPERATOR, &line).await;
    assert_eq!((said.outcome, stage.load(ACME).await.head.current), (Outcome::Done, Some(3)), "{said:?}");
    assert_eq!(stage.load(ACME).await.versions[&2].also, Some(1));
    stage.assert_no_way_back(Some("2"), "holds the compromised key of generation 1").await;
    stage.assert_no_way_back(None, "no version before generation 3 can be brought back").await;
}

#[tokio::test(start_paused = true)]
async fn a_compromised_key_never_comes_back_and_an_emergency_is_not_undone() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    let token = stage.load(ACME).await.next_token("emergency");
    let ordered = Change::Ordered { token: token.clone(), compromised: vec![2] };
    stage.commit(ACME, ordered).await;
    stage.assert_no_way_back(None, "an emergency stands").await;
    let rotating = stage.secrets_manager().rotate_secret().secret_id(&arn).client_request_token(token.as_str());
    rotating.send().await.expect("begun");
    stage.aws.settle().await;
    stage.assert_rotated();
    stage.tick().await;
    assert!(stage.load(ACME).await.head.order.is_none(), "{}", stage.story(ACME).await);
    stage.assert_no_way_back(Some("2"), "generation 2 is compromised").await;
    // The one before it is not.
    assert_eq!(stage.roll_back(None).await.outcome, Outcome::Done);
    assert_eq!(stage.load(ACME).await.head.current, Some(1));
    stage.assert_sound(ACME, "rolled back").await;
}

#[tokio::test(start_paused = true)]
async fn a_signing_key_comes_back_until_verifiers_have_forgotten_it() {
    let terms = Terms::kms().with("overlap", "PT6H");
    let stage = Stage::new().await;
    let arn = stage.signing(&terms).await;
    let mut traffic = Traffic::usual();
    traffic.goes_on(&stage, HOUR, "before").await;
    let key = stage.load(ACME).await.versions[&1].provider["id"].clone();
    stage.rotate(&arn).await;
    traffic.goes_on(&stage, HOUR * 2, "after the rotation").await;
    assert_eq!(stage.kms_state(&key).as_deref(), Some("Disabled"), "it signs nothing any more");
    assert_eq!(stage.roll_back(None).await.outcome, Outcome::Done);
    stage.assert_sound(ACME, "rolled back").await;
    assert_eq!((stage.kms_state(&key).as_deref(), stage.load(ACME).await.head.current), (Some("Enabled"), Some(1)));
    traffic.goes_on(&stage, HOUR * 10, "after the rollback").await;
    assert_eq!(stage.state_of(2).await, State::Suspended);
    stage.assert_no_way_back(Some("2"), "generation 2 is withdrawn from the key set").await;
}

#[tokio::test(start_paused = true)]
async fn a_webhook_secret_comes_back() {
    let stage = Stage::new().await;
    let arn = stage.secret(ACME, "{}", &Terms::webhook()).await;
    stage.rotate(&arn).await;
    let first = stage.document(ACME).await;
    stage.rotate(&arn).await;
    assert_ne!(stage.document(ACME).await, first);
    assert_eq!(stage.roll_back(None).await.outcome, Outcome::Done);
    assert_eq!(stage.document(ACME).await, first);
    stage.assert_sound(ACME, "rolled back").await;
    stage.goes_on(HOUR * 60, HOUR * 5, "afterwards").await;
    stage.assert_states(&[State::Active, State::Destroyed]).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_was_interrupted_is_completed_by_retirement() {
    let stage = Stage::new().await;
    let (arn, old, _) = stage.suspended(&Terms::default()).await;
    // The operator's process ends right after API Gateway was told to accept the key.
    stage.faults.disarm();
    let probe = Stage::new().await;
    probe.suspended(&Terms::default()).await;
    probe.faults.disarm();
    let process = probe.faults.process();
    assert_eq!(
        probe.command_over(process.connector, &["rollback", ACME, "--reason", REASON]).await.outcome,
        Outcome::Done
    );
    let calls = probe.faults.calls();
    let enabling = calls.iter().position(|call| call == "apigateway:PATCH /apikeys/{key}").expect("enabled");

    stage.faults.arm(When::Once(enabling), Fault::KilledAfter);
    let process = stage.faults.process();
    let connector = process.connector.clone();
    tokio::select! {
        biased;
        said = stage.command_over(connector, &["rollback", ACME, "--reason", REASON]) => panic!("it was killed: {said:?}"),
        () = process.killed() => {}
    }
    let version = stage.load(ACME).await.versions[&1].clone();
    assert_eq!((version.state, version.phase), (State::Suspended, Some(Phase::Restoring)));
    stage.assert_sound(ACME, "interrupted").await;
    stage.goes_on(TimeDelta::minutes(35), TimeDelta::minutes(5), "retirement comes by").await;
    assert_eq!(stage.current_value(&arn).await, old, "{}", stage.story(ACME).await);
    stage.assert_states(&[State::Active, State::Deactivated]).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_nothing_proves_expires_and_leaves_everything_as_it_was() {
    for within_the_overlap in [true, false] {
        let stage = Stage::new().await;
        let (arn, id, old) = stage.credential(ACME, &Terms::default().with("soak", "P3D")).await;
        stage.rotate(&arn).await;
        let new = stage.current_value(&arn).await;
        stage.pass(HOUR * if within_the_overlap { 2 } else { 25 }).await;
        // Nobody is let through that route any more: not the old key, and not the new one.
        stage.deploy(&["prod"], vec![Method::protected("/pong")]);
        let said = stage.roll_back(None).await;
        assert_ne!(said.outcome, Outcome::Done, "{said:?}");
        assert_eq!(stage.carrier(2).await, stage.current(&arn).await, "consumers read what they read");
        stage.assert_sound(ACME, "it could not be proved").await;
        stage.goes_on(HOUR * 2, TimeDelta::minutes(10), "nobody comes back for it").await;
        let told = stage.changes().await;
        let expired = |change: &Change| matches!(change, Change::Forsaken { why: Abandonment::Expired, .. });
        assert!(told.iter().any(expired), "{}", stage.story(ACME).await);
        stage.deploy(&["prod", "beta"], vec![Method::protected("/ping")]);
        assert_eq!(stage.current_value(&arn).await, new);
        assert!(stage.gets_through(&new).await);
        assert_eq!(stage.load(ACME).await.head.candidate, None);
        let wanted = if within_the_overlap { State::Deactivated } else { State::Suspended };
        stage.assert_states(&[wanted, State::Active]).await;
        assert_eq!(
            (stage.api_key(&id).enabled, stage.gets_through(&old).await),
            (within_the_overlap, within_the_overlap)
        );
        // And it can be tried again.
        let said = stage.roll_back(None).await;
        assert_eq!(said.outcome, Outcome::Done, "{said:?}");
        stage.assert_sound(ACME, "at last").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_waits_until_the_key_is_accepted_again_everywhere() {
    let stage = Stage::with(Settings { enabling: Some(Duration::from_secs(150)), ..Settings::default() }).await;
    let (arn, old, _) = stage.suspended(&Terms::default()).await;
    let watched = Watched::new(&stage, &arn);
    let said = stage.command_over(watched.connector(), &["rollback", ACME, "--reason", REASON]).await;
    assert_eq!(said.outcome, Outcome::Done, "{said:?}");
    assert_eq!(stage.current_value(&arn).await, old);
    let met = watched.met();
    assert!(met.iter().all(|(_, status)| *status == 200), "{met:#?}");
    assert!(met.iter().filter(|(call, _)| call.starts_with("probe:")).count() > 10, "it asked until it was: {met:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_by_hand_is_taken_note_of() {
    for suspended in [false, true] {
        let stage = Stage::new().await;
        let (arn, id, old) = stage.credential(ACME, &Terms::default()).await;
        stage.rotate(&arn).await;
        stage.pass(HOUR * if suspended { 25 } else { 2 }).await;
        // As the runbook says when the service is down: accept, try, move the label.
        if suspended {
            let on = aws_sdk_apigateway::types::PatchOperation::builder();
            let on = on.op(aws_sdk_apigateway::types::Op::Replace).path("/enabled").value("true").build();
            stage.api_gateway().update_api_key().api_key(&id).patch_operations(on).send().await.expect("enabled");
        }
        assert_eq!(PROMPT.call(&stage, &old).await, 200);
        let carrier = stage.carrier(1).await;
        stage.move_label(&arn, AWSCURRENT, Some(&carrier)).await;
        stage.pass(HOUR).await;
        assert_eq!(PROMPT.call(&stage, &old).await, 200, "nothing is refused or deleted behind that person's back");

        let said = stage.roll_back(Some("1")).await;
        assert_eq!(said.outcome, Outcome::Done, "{said:?}");
        stage.assert_sound(ACME, "taken note of").await;
        stage.assert_states(&[State::Active, State::Deactivated]).await;
        assert_eq!(stage.current_value(&arn).await, old);
        stage.rotate(&arn).await;
        stage.assert_rotated();
        stage.assert_sound(ACME, "rotated again").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_came_back_is_watched_like_any_other_when_it_goes_again() {
    let stage = Stage::new().await;
    let (arn, old, _) = stage.suspended(&watched()).await;
    assert_eq!(stage.roll_back(None).await.outcome, Outcome::Done);
    stage.rotate(&arn).await;
    stage.assert_rotated();
    for _ in 0..30 {
        assert_eq!(PROMPT.call(&stage, &old).await, 200, "{}", stage.story(ACME).await);
        stage.pass(HOUR).await;
        stage.assert_sound(ACME, "somebody goes on with it").await;
    }
    stage.goes_on(HOUR * 9, HOUR, "and then not").await;
    assert_eq!((stage.state_of(1).await, stage.ground(1).await), (State::Suspended, Some(Ground::Unused)));
}

/// Decisions that went round in a circle would fill the history.
#[tokio::test(start_paused = true)]
async fn a_run_that_comes_to_no_end_is_stopped_and_the_next_goes_on() {
    let (stage, arn) = Stage::two_rotated().await;
    let (name, goal) = (CredentialName::parse(ACME).expect("a name"), Goal::RollBack(1));
    let mut engine = stage.engine_over(stage.aws.connector());
    engine.most_commits = 2;
    let before = stage.changes().await.len();
    let stopped = engine.run(&name, Some(&arn), &goal, &stage.errand()).await.expect_err("it needs more of them");
    assert!(chain(&stopped).contains("recorded 2 changes and came to no end"), "{stopped:?}");
    assert_eq!(stage.changes().await.len(), before + 2);
    stage.assert_sound(ACME, "stopped half way").await;
    engine.most_commits = 200;
    engine.run(&name, Some(&arn), &goal, &stage.errand()).await.expect("it goes on");
    assert_eq!(stage.load(ACME).await.head.current, Some(1));
}
