//! A key rotates, its predecessor retires.

use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use local_aws::{LabelEvent, Method, PreflightValue, RestApi, RetryToken, Settings};
use rotator::aws::probe::{Probe, Prober, Recognition};
use rotator::kinds::api_gateway_key::is_ours;
use rotator::ports::{Clock, Ports};
use rotator::secret::SecretValue;
use rotator_cli::trouble::Outcome;
use serde_json::{Value, json};
use state::decide::{AWSCURRENT, AWSPENDING};
use state::ledger::Change;
use state::lifecycle::State;
use state::name::CredentialName;
use tokio::net::TcpListener;

use super::World;
use crate::harness::faults::{Fault, When};
use crate::harness::{ACME, API, FUNCTION_TIMEOUT, OPERATOR, Stage, Terms, document};

fn settings() -> Settings {
    Settings::default()
}

fn states(credential: &state::credential::Credential) -> Vec<State> {
    credential.versions.values().map(|version| version.state).collect()
}

#[tokio::test(start_paused = true)]
async fn a_key_rotates_through_the_four_steps_and_its_predecessor_retires() {
    let stage = Stage::new().await;
    let (arn, old_id, old) = stage.credential(ACME, &Terms::default()).await;

    stage.rotate(&arn).await;
    assert!(stage.aws.rotations().iter().all(|outcome| outcome.error.is_none()), "{:?}", stage.aws.rotations());
    stage.assert_sound(ACME, "after the rotation").await;
    let new = stage.current_value(&arn).await;
    assert_ne!(new, old);
    assert!(is_ours("krt1", &new));
    assert!(stage.gets_through(&new).await && stage.gets_through(&old).await, "both are accepted during the overlap");

    stage.pass(TimeDelta::hours(23)).await;
    assert!(stage.gets_through(&old).await, "accepted to the end of its overlap");
    stage.pass(TimeDelta::hours(2)).await;
    assert!(!stage.gets_through(&old).await, "refused after its overlap");
    stage.assert_sound(ACME, "after the overlap").await;
    assert_eq!(stage.load(ACME).await.versions[&1].state, State::Suspended);

    stage.pass(TimeDelta::hours(25)).await;
    assert_eq!(stage.load(ACME).await.versions[&1].state, State::Destroyed);
    assert!(stage.aws.inspect_api_keys().iter().all(|key| key.id != old_id), "deleted after its soak");
    assert!(stage.gets_through(&new).await);
    stage.assert_sound(ACME, "at the end").await;
}

#[tokio::test(start_paused = true)]
async fn the_first_rotation_of_an_unminted_secret_mints_the_first_key_in_its_declared_plan() {
    let stage = Stage::new().await;
    let terms = Terms::default().with("usage-plans", &stage.plan);
    let arn = stage.secret(ACME, r#"{"owner": "the stack"}"#, &terms).await;
    assert!(stage.aws.inspect_api_keys().is_empty(), "configuring mints nothing");

    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.assert_sound(ACME, "minted").await;
    let [key] = stage.aws.inspect_api_keys().try_into().expect("one key");
    assert_eq!((key.plans, key.enabled), (vec![stage.plan.clone()], true));
    assert!(key.name.expect("a name").starts_with("partner/acme-"));
    assert!(is_ours("krt1", &key.value) && stage.current_value(&arn).await == key.value);
    assert!(stage.gets_through(&key.value).await);
    let read = stage.secrets_manager().get_secret_value().secret_id(&arn).send().await.expect("readable");
    let value: serde_json::Value = serde_json::from_str(read.secret_string().expect("text")).expect("JSON");
    assert_eq!((&value["owner"], &value["provider"]), (&json!("the stack"), &json!("api-gateway")));
    assert_eq!(value["endpoint"], format!("https://{API}.execute-api.eu-west-1.amazonaws.com/prod"));
    assert_eq!(states(&stage.load(ACME).await), [State::Active]);
}

#[tokio::test(start_paused = true)]
async fn every_plan_of_the_incumbent_is_kept_and_the_declared_ones_are_added() {
    let stage = Stage::new().await;
    stage.deploy(&["prod", "beta", "gamma"], vec![Method::protected("/ping")]);
    let silver = stage.plan("silver", &["beta"], None).await;
    let gold = stage.plan("gold", &["gamma"], None).await;
    let (arn, id, _) = stage.credential(ACME, &Terms::default()).await;
    stage.attach(&id, &silver).await;
    stage.retag(&arn, "usage-plans", &gold).await;

    stage.rotate(&arn).await;
    stage.assert_rotated();
    let facts = stage.load(ACME).await.versions[&2].provider.clone();
    let mut wanted = [stage.plan.clone(), silver.clone(), gold.clone()];
    wanted.sort_unstable();
    assert_eq!(stage.api_key(&facts["id"]).plans, wanted);
    assert_eq!(stage.api_key(&id).plans.len(), 2, "the old key is as it was");
    let proof = stage.load(ACME).await.versions[&2].proof.clone().expect("proved");
    assert_eq!(proof.proven, [format!("{API}/prod/ping")]);
    assert_eq!(proof.unproven, [format!("{API}/beta"), format!("{API}/gamma")], "said, not kept quiet");

    // A declared plan for a stage takes the place of the incumbent's plan for the same stage.
    let platinum = stage.plan("platinum", &["prod"], None).await;
    stage.retag(&arn, "usage-plans", &format!("{gold} {platinum}")).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let facts = stage.load(ACME).await.versions[&3].provider.clone();
    let mut wanted = [platinum, silver, gold];
    wanted.sort_unstable();
    assert_eq!(stage.api_key(&facts["id"]).plans, wanted);
}

#[tokio::test(start_paused = true)]
async fn what_the_customer_has_stays_and_what_is_ours_or_aws_own_does_not() {
    let stage = Stage::new().await;
    let (arn, id, _) = stage.credential(ACME, &Terms::default()).await;
    let key_arn = format!("arn:aws:apigateway:eu-west-1::/apikeys/{id}");
    let tag = stage.api_gateway().tag_resource().resource_arn(&key_arn);
    tag.tags("team", "payments").tags("rotator:note", "of another tool").send().await.expect("tagged");
    assert!(stage.aws.own_by_stack(&id, "shop", "Key"));

    let mut names = Vec::new();
    for generation in 2..=3 {
        stage.rotate(&arn).await;
        stage.assert_rotated();
        let version = stage.load(ACME).await.versions[&generation].clone();
        let key = stage.api_key(&version.provider["id"]);
        assert_eq!((key.description.as_deref(), key.customer_id.as_deref()), (Some("for tests"), Some("c-1")));
        assert_eq!(key.name, Some(format!("acme-{}", version.carriers[0].short())), "the base name never grows");
        let tags: Vec<_> = key.tags.iter().map(|(tag, value)| (tag.as_str(), value.as_str())).collect();
        let made_for = version.id.to_string();
        assert_eq!(tags, [("rotator:credential", ACME), ("rotator:version", &made_for), ("team", "payments")]);
        names.push(key.name);
    }
    assert_ne!(names[0], names[1]);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_neither_refills_nor_empties_what_a_customer_may_still_use() {
    let stage = Stage::new().await;
    let (arn, id, old) = stage.credential(ACME, &Terms::default()).await;
    for _ in 0..200 {
        assert!(stage.gets_through(&old).await);
    }
    let left = stage.left(&stage.plan, &id).await.expect("used");
    assert!(left < 801, "{left}");

    stage.rotate(&arn).await;
    stage.assert_rotated();
    let version = stage.load(ACME).await.versions[&2].clone();
    assert_eq!(version.evidence[&format!("quota:{}", stage.plan)], left.to_string());
    let probes = 3;
    assert_eq!(stage.left(&stage.plan, &version.provider["id"]).await, Some(left - probes));
    assert_eq!(stage.left(&stage.plan, &id).await, Some(left), "nothing was taken from the old key");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_over_its_quota_rotates_and_stays_over_it() {
    let stage = Stage::new().await;
    let (arn, id, old) = stage.credential(ACME, &Terms::default()).await;
    let engine = stage.engine_unhurt();
    engine.api_keys.set_remaining(&stage.plan, &id, 0).await.expect("set");
    assert!(stage.gets_through(&old).await, "over its quota, but known: 429 and not 403");

    stage.rotate(&arn).await;
    stage.assert_rotated();
    let id = stage.load(ACME).await.versions[&2].provider["id"].clone();
    assert_eq!(stage.left(&stage.plan, &id).await, Some(0));
}

#[tokio::test(start_paused = true)]
async fn missing_usage_data_lowers_nothing() {
    let stage = Stage::new().await;
    let (arn, id, _) = stage.credential(ACME, &Terms::default().with("probe", "none")).await;
    assert_eq!(stage.left(&stage.plan, &id).await, None, "nobody has used it");

    stage.rotate(&arn).await;
    stage.assert_rotated();
    let version = stage.load(ACME).await.versions[&2].clone();
    assert!(version.evidence.is_empty(), "{:?}", version.evidence);
    assert!(version.is_unproven());
    let new = stage.current_value(&arn).await;
    assert!(stage.gets_through(&new).await);
    assert_eq!(stage.left(&stage.plan, &version.provider["id"]).await, Some(999), "a whole quota but that request");
}

#[tokio::test(start_paused = true)]
async fn a_value_put_by_hand_with_the_same_key_is_a_new_carrier_and_its_rotation_goes_on() {
    let stage = Stage::new().await;
    let (arn, _, _) = stage.credential(ACME, &Terms::default().with("max-live", "8")).await;
    stage.rotate(&arn).await;
    let key = stage.current_value(&arn).await;

    // Between two rotations: Secrets Manager takes off the label that the first rotation left on its version.
    let by_hand = stage.put(&arn, &json!({"apiKey": key, "note": "written by hand"}).to_string()).await;
    assert_eq!(stage.holder(&arn, AWSPENDING).await, None);
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let credential = stage.load(ACME).await;
    assert!(credential.versions[&2].carriers.iter().any(|carrier| carrier.as_str() == by_hand));
    assert_eq!(states(&credential), [State::Deactivated, State::Deactivated, State::Active]);
    stage.assert_sound(ACME, "carried").await;

    // In the middle of one: Secrets Manager abandons it, and the next one makes another key.
    stage.faults.deny("secretsmanager:UpdateSecretVersionStage");
    stage.rotate(&arn).await;
    assert_eq!(stage.failure().error_type, "Held.Denied");
    let key = stage.current_value(&arn).await;
    let by_hand = stage.put(&arn, &json!({"apiKey": key, "note": "again"}).to_string()).await;
    assert_eq!(stage.holder(&arn, AWSPENDING).await, None);
    stage.faults.allow("secretsmanager:UpdateSecretVersionStage");
    // Whoever began to move the label has the time of its function for it.
    Clock::sleep(&stage.clock, FUNCTION_TIMEOUT).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let credential = stage.load(ACME).await;
    assert!(credential.versions[&3].carriers.iter().any(|carrier| carrier.as_str() == by_hand));
    assert_eq!(credential.head.current, Some(5));
    assert!(credential.versions[&4].activated.is_none(), "nobody ever had it");
    stage.assert_sound(ACME, "abandoned in the middle").await;
    assert!(stage.gets_through(&stage.current_value(&arn).await).await);
}

/// AWS does not say whether a label that is moved by hand takes `AWSPENDING` off, as a value put by hand does: the next
/// rotation begins either way.
#[tokio::test(start_paused = true)]
async fn awscurrent_moved_by_hand_to_another_version_with_the_same_key_is_a_new_carrier() {
    for abandons in [false, true] {
        let stage = Stage::new().await;
        stage.aws.settings(|settings| settings.moving_current_abandons = abandons);
        let (arn, _, _) = stage.credential(ACME, &Terms::default()).await;
        stage.rotate(&arn).await;
        let value = json!({"apiKey": stage.current_value(&arn).await, "note": "written by hand"}).to_string();
        let put = stage.secrets_manager().put_secret_value().secret_id(&arn).secret_string(value);
        let by_hand = put.version_stages("BLUE").send().await.expect("put").version_id.expect("an id");
        stage.move_label(&arn, AWSCURRENT, Some(&by_hand)).await;

        if !abandons {
            // The label that the first rotation left on its version makes Secrets Manager try that one again first.
            stage.again(&arn).await;
            let failure = stage.failure();
            assert!(failure.error_message.contains("does not hold AWSPENDING: its rotation is over"), "{failure:?}");
        }
        assert_eq!(stage.holder(&arn, AWSPENDING).await, None);
        stage.rotate(&arn).await;
        stage.assert_rotated();
        let credential = stage.load(ACME).await;
        assert!(credential.versions[&2].carriers.iter().any(|carrier| carrier.as_str() == by_hand));
        assert_eq!(states(&credential), [State::Deactivated, State::Deactivated, State::Active]);
        stage.assert_sound(ACME, "carried").await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_rotations_within_one_overlap_leave_the_version_before_last_accepted() {
    let stage = Stage::new().await;
    let (arn, _, first) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    let second = stage.current_value(&arn).await;
    stage.pass(TimeDelta::hours(10)).await;
    stage.rotate(&arn).await;
    let third = stage.current_value(&arn).await;
    for key in [&first, &second, &third] {
        assert!(stage.gets_through(key).await);
    }
    stage.pass(TimeDelta::hours(15)).await;
    assert!(!stage.gets_through(&first).await, "its overlap is over");
    assert!(stage.gets_through(&second).await && stage.gets_through(&third).await, "theirs is not");
    stage.assert_sound(ACME, "after the first overlap").await;
    stage.pass(TimeDelta::hours(10)).await;
    assert!(!stage.gets_through(&second).await && stage.gets_through(&third).await);
    for _ in 0..2 {
        stage.pass(TimeDelta::hours(25)).await;
    }
    assert_eq!(states(&stage.load(ACME).await), [State::Destroyed, State::Destroyed, State::Active]);
    stage.assert_sound(ACME, "at the end").await;
}

#[tokio::test(start_paused = true)]
async fn a_schedule_fires_by_itself() {
    let stage = Stage::new().await;
    let (arn, _, old) = stage.credential(ACME, &Terms::default()).await;
    let described = stage.secrets_manager().describe_secret().secret_id(&arn).send().await.expect("described");
    let next = described.next_rotation_date().expect("scheduled").secs();
    let next = DateTime::<Utc>::from_timestamp(next, 0).expect("a moment");

    stage.pass(TimeDelta::days(28)).await;
    stage.aws.settle().await;
    assert!(stage.recorded(ACME).await.is_none(), "nothing before its time");
    stage.wait(next - stage.clock.now()).await;
    stage.aws.settle().await;
    stage.assert_rotated();
    assert_ne!(stage.current_value(&arn).await, old);
    stage.assert_sound(ACME, "fired").await;
}

/// What began the rotations of a credential, oldest first.
async fn began(stage: &Stage) -> Vec<Value> {
    let history = stage.command(&["history", ACME, "--output", "json"]).await.json();
    let events = history["events"].as_array().expect("events").iter();
    events.filter(|event| event["what"] == "drafting").map(|event| event["began"].clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_history_says_what_began_each_rotation() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default().with("max-live", "8")).await;
    let described = stage.secrets_manager().describe_secret().secret_id(&arn).send().await.expect("described");
    let ends = described.next_rotation_date().expect("scheduled").secs();
    let opened = DateTime::<Utc>::from_timestamp(ends, 0).expect("a moment") - TimeDelta::days(1);

    stage.wait(opened + TimeDelta::hours(3) - stage.clock.now()).await;
    stage.aws.settle().await;
    stage.assert_rotated();
    // In the console, or by whatever program.
    stage.wait(TimeDelta::hours(1)).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    for line in [
        &["rotate", ACME][..],
        &["rotate", ACME, "--reason", "the yearly drill"],
        &["rotate", ACME, "--emergency", "--reason", "found in a log"],
    ] {
        stage.wait(TimeDelta::hours(1)).await;
        let said = stage.command_as(OPERATOR, line).await;
        assert_eq!(said.outcome, Outcome::Done, "{said:?}");
    }
    let [schedule, console, rotate, why, emergency]: [Value; 5] =
        began(&stage).await.try_into().unwrap_or_else(|began| panic!("{began:#?}"));
    let since = opened.to_rfc3339_opts(SecondsFormat::Secs, true);
    assert_eq!(schedule, json!({"by": "schedule", "since": since, "who": null, "reason": null}));
    assert_eq!(console, json!({"by": "elsewhere", "who": null, "reason": null}));
    let who = rotate["who"].as_str().expect("who asked").to_owned();
    assert!(who.starts_with("arn:aws:"), "{who}");
    assert_eq!(rotate, json!({"by": "request", "who": who, "reason": null}));
    assert_eq!(why, json!({"by": "request", "who": who, "reason": "the yearly drill"}));
    assert_eq!(emergency, json!({"by": "emergency", "who": who, "reason": "found in a log"}));

    let page = stage.command(&["history", ACME]).await.stdout;
    for said in [
        "on schedule: due since 2026-".to_owned(),
        "not through rotator, and not due by the schedule: CloudTrail names who called RotateSecret".into(),
        format!("ordered by {who}"),
        format!("ordered by {who}: the yearly drill"),
        format!("an emergency, declared by {who}: found in a log"),
    ] {
        assert!(page.contains(&said), "{said:?} is not in {page}");
    }
    stage.assert_sound(ACME, "at the end").await;
}

/// Of a secret that holds a key already, nobody is told that it has none.
#[tokio::test(start_paused = true)]
async fn a_secret_that_was_never_rotated_is_shown_as_what_it_is() {
    let stage = Stage::new().await;
    stage.credential(ACME, &Terms::default()).await;
    let shown = stage.command(&["show", ACME]).await.stdout;
    assert!(shown.contains("its first rotation takes over the key in its value"), "{shown}");
    assert!(!shown.contains("no key"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn testing_the_configuration_leaves_no_trace() {
    for preflight_value in [PreflightValue::Current, PreflightValue::Empty] {
        let stage = Stage::with(Settings { preflight_value, ..settings() }).await;
        for (name, value) in [(ACME, document(&stage.key("acme").await.1)), ("partner/unminted", "{}".to_owned())] {
            let terms = Terms { schedule: None, ..Terms::default().with("usage-plans", &stage.plan) };
            let arn = stage.secret(name, &value, &terms).await;
            let before = stage.world().await;
            let configure = stage.secrets_manager().rotate_secret().secret_id(&arn).rotate_immediately(false);
            let function = stage.settings.function_arn.clone().expect("registered");
            configure.rotation_lambda_arn(function).send().await.expect("configured");
            assert!(stage.holder(&arn, AWSPENDING).await.is_some(), "something is being tested");
            stage.aws.settle().await;

            assert_eq!((stage.last().step.as_str(), stage.last().error), ("testSecret", None), "{preflight_value:?}");
            let after = stage.world().await;
            assert_ne!(after.schedules, before.schedules);
            assert_eq!(World { schedules: before.schedules.clone(), ..after }, before);

            stage.rotate(&arn).await;
            stage.assert_rotated();
            stage.assert_sound(name, "rotated afterwards").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_label_event_may_come_late_twice_early_or_never() {
    let late = LabelEvent::Late(Duration::from_secs(3_600));
    for label_event in [LabelEvent::OnTime, late, LabelEvent::Twice, LabelEvent::Early, LabelEvent::Never] {
        let stage = Stage::with(Settings { label_event, ..settings() }).await;
        stage.aws.on_label_event("retirement");
        let (arn, _, old) = stage.credential(ACME, &Terms::default()).await;
        stage.rotate(&arn).await;
        stage.assert_rotated();
        for hours in [1, 1, 23, 25] {
            assert!(stage.gets_through(&stage.current_value(&arn).await).await);
            stage.wait(TimeDelta::hours(hours)).await;
            stage.aws.settle().await;
            stage.tick().await;
            stage.assert_sound(ACME, &format!("{label_event:?}")).await;
        }
        assert!(!stage.gets_through(&old).await);
        assert_eq!(states(&stage.load(ACME).await), [State::Destroyed, State::Active], "{label_event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_manager_may_come_back_with_the_same_token_with_a_new_one_or_never() {
    for (rotation_retries, retry_token) in [(3, RetryToken::Same), (3, RetryToken::New), (0, RetryToken::Same)] {
        let stage = Stage::with(Settings { rotation_retries, retry_token, ..settings() }).await;
        let (arn, _, old) = stage.credential(ACME, &Terms::default()).await;
        stage.faults.arm(When::Once(14), Fault::KilledAfter);
        stage.rotate(&arn).await;
        assert_eq!((stage.faults.met(), stage.failure().error_type.as_str()), (1, "Runtime.ExitError"));
        assert_eq!(stage.current_value(&arn).await, old, "nothing is published half-made");
        for _ in 0..3 {
            stage.pass(TimeDelta::minutes(6)).await;
            stage.aws.settle().await;
        }
        let credential = stage.load(ACME).await;
        let expected = match (rotation_retries, retry_token) {
            (_, RetryToken::New) => 3,
            (_, RetryToken::Same) => 2,
        };
        assert_eq!(credential.head.current, Some(expected), "{}", stage.story(ACME).await);
        stage.assert_sound(ACME, &format!("{retry_token:?}")).await;
        for _ in 0..3 {
            stage.pass(TimeDelta::hours(25)).await;
        }
        assert_eq!(stage.aws.inspect_api_keys().len(), 1, "an orphan: {}", stage.story(ACME).await);
        stage.assert_sound(ACME, "at the end").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_retirement_that_nobody_woke_for_days_catches_up_in_order() {
    let stage = Stage::new().await;
    let (arn, old_id, old) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.wait(TimeDelta::days(9)).await;
    assert!(stage.gets_through(&old).await, "nobody came");

    stage.tick().await;
    assert!(!stage.gets_through(&old).await);
    assert!(!stage.api_key(&old_id).enabled, "refused, and it can still be brought back");
    stage.assert_sound(ACME, "suspended").await;
    stage.pass(TimeDelta::hours(23)).await;
    assert!(!stage.api_key(&old_id).enabled, "its soak is counted from when it was really refused");
    stage.pass(TimeDelta::hours(2)).await;
    assert_eq!(states(&stage.load(ACME).await), [State::Destroyed, State::Active]);
    stage.assert_sound(ACME, "destroyed").await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_promoted_before_the_stage_has_heard_of_the_key() {
    let propagation = Duration::from_secs(30);
    let stage = Stage::with(Settings { propagation, ..settings() }).await;
    let (arn, _, old) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    assert_eq!(stage.last().attempt, 1, "it waits within its function");

    let name = CredentialName::parse(ACME).expect("a name");
    let history = stage.engine_unhurt().records.history(&name).await.expect("readable");
    let at = |wanted: fn(&Change) -> bool| {
        history.iter().find(|told| wanted(&told.event.change)).expect("it happened").event.at
    };
    let admitted = at(|change| matches!(change, Change::Admitted { .. }));
    let proved = at(|change| matches!(change, Change::Proved { .. }));
    let promoted = at(|change| matches!(change, Change::Promoted { .. }));
    assert!((proved - admitted).num_seconds() >= 29, "{admitted} {proved}");
    assert!(promoted >= proved);
    assert!(stage.gets_through(&stage.current_value(&arn).await).await && stage.gets_through(&old).await);
    stage.assert_sound(ACME, "promoted").await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_takes_the_same_wire_as_the_sdk_and_follows_no_redirect() {
    let stage = Stage::new().await;
    let thief = stage.aws.create_rest_api(RestApi {
        id: Some("thief0".into()),
        name: "a stranger's".into(),
        stages: vec!["prod".into()],
        methods: vec![Method::open("/steal")],
    });
    let (arn, _, old) = stage.credential(ACME, &Terms::default()).await;
    let location = format!("https://{thief}.execute-api.eu-west-1.amazonaws.com/prod/steal");
    let redirecting = Method { redirect_to: Some(location), ..Method::protected("/ping") };
    stage.deploy(&["prod", "beta"], vec![redirecting]);
    stage.aws.clear_requests();
    stage.faults.disarm();

    stage.rotate(&arn).await;
    let failure = stage.failure();
    assert!(failure.error_message.contains("the answer was 302"), "{failure:?}");
    assert_eq!(stage.current_value(&arn).await, old);
    let requests = stage.aws.requests();
    assert!(requests.iter().any(|call| call.operation == "GET /prod/ping" && call.status == 302));
    assert!(requests.iter().all(|call| call.operation != "GET /prod/steal"), "the key was carried on");
    // The faults see it, so it went through the connector that they stand in front of.
    assert!(stage.faults.calls().contains(&"probe:GET /prod/ping".to_owned()));

    stage.deploy(&["prod", "beta"], vec![Method::protected("/ping")]);
    stage.again(&arn).await;
    stage.assert_rotated();
}

#[tokio::test]
async fn the_wire_of_the_deployed_functions_follows_no_redirect_either() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let asked = Mutex::new(Vec::new());
    let serve = async {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 4_096];
            let length = loop {
                stream.readable().await.expect("a request");
                // Readiness may be a false alarm.
                if let Ok(length) = stream.try_read(&mut request) {
                    break length;
                }
            };
            let line = String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned();
            asked.lock().expect("not poisoned").push(line);
            let answer = format!(
                "HTTP/1.1 302 Found\r\nlocation: http://{address}/stolen\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            stream.writable().await.expect("open");
            stream.try_write(answer.as_bytes()).expect("it is short");
        }
    };
    let prober = Prober::new(Ports::real(), &format!("http://{address}/{{api}}"), "eu-west-1");
    let (probe, key) = (Probe::parse("a1b2c3/prod/ping").expect("a probe"), SecretValue::new("not-to-be-carried-on"));
    let answer = tokio::select! {
        biased;
        answer = prober.send(&probe, &key) => answer,
        () = serve => unreachable!("it never ends"),
    };
    assert_eq!(answer, Recognition::Inconclusive("the answer was 302".into()));
    assert_eq!(*asked.lock().expect("not poisoned"), ["GET /a1b2c3/prod/ping HTTP/1.1"]);
}
