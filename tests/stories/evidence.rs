//! An old key goes only when nobody uses it: what is seen of that, and what is done when it says too much or too little.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;
use local_aws::Settings;
use rotator_cli::trouble::Outcome;
use state::evidence::Ground;
use state::hold::HoldReason;
use state::ledger::Change;
use state::lifecycle::State;

use super::{ACCESS_LOG, watched};
use crate::harness::people::{LAGGARD, PROMPT};
use crate::harness::signing::{Signer, Traffic};
use crate::harness::tally::Tally;
use crate::harness::{ACME, API, KEY_SETS, Stage, Terms};

const HOUR: TimeDelta = TimeDelta::hours(1);

/// A key that was rotated; whoever is prompt uses the new one, the laggard the old one, every hour. The old value.
async fn rotated(stage: &Stage, terms: &Terms) -> String {
    let (arn, _, old) = stage.credential(ACME, terms).await;
    assert_eq!(LAGGARD.call(stage, &old).await, 200);
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.tick().await;
    old
}

impl Stage {
    /// The laggard uses that key every hour.
    async fn lags(&self, key: &str, hours: u32) {
        for _ in 0..hours {
            assert_eq!(LAGGARD.call(self, key).await, 200, "{}", self.story(ACME).await);
            self.pass(HOUR).await;
            self.assert_sound(ACME, "while somebody lags").await;
        }
    }

    /// A credential in another plan than the usual one.
    async fn in_plan(&self, plan: &str, terms: &Terms) -> String {
        let (arn, id, old) = self.credential(ACME, terms).await;
        self.detach(&id, &self.plan).await;
        self.attach(&id, plan).await;
        assert_eq!(LAGGARD.call(self, &old).await, 200);
        self.rotate(&arn).await;
        self.assert_rotated();
        self.tick().await;
        old
    }
}

#[tokio::test(start_paused = true)]
async fn a_laggard_holds_a_retirement_is_named_and_lets_it_go() {
    let stage = Stage::new().await;
    assert!(stage.aws.log_access(API, ACCESS_LOG));
    let old = rotated(&stage, &watched().with("access-log", ACCESS_LOG)).await;
    let tally = Tally::default();
    {
        let _counted = metrics::set_default_local_recorder(&tally);
        stage.lags(&old, 30).await;
    }
    assert!(tally.of("Holds reason=StillInUse") > 0, "{tally:?}");
    assert_eq!((stage.state_of(1).await, stage.held(1).await), (State::Deactivated, Some(HoldReason::StillInUse)));

    // How much, and when last; to whoever looks.
    let shown = stage.command(&["show", ACME]).await;
    assert_eq!(shown.outcome, Outcome::Attention);
    for said in ["StillInUse", "generation 1 is used for ", "rotator retire", "says GetUsage"] {
        assert!(shown.stdout.contains(said), "{said} is not in {}", shown.stdout);
    }
    assert!(stage.command(&["list"]).await.stdout.contains("StillInUse"));
    let used = stage.load(ACME).await.versions[&1].usage.clone().expect("looked at");
    assert!((28..=30).contains(&used.since_deactivated().expect("counted")), "{used:?}");

    // Who, beside the chain and not in it.
    let told = stage.told().await;
    let witnessed = told.iter().rev().find(|told| matches!(told.event.change, Change::Witnessed { .. }));
    let named = witnessed.and_then(|told| told.note.clone()).expect("the laggard is named").who;
    for said in [LAGGARD.address, LAGGARD.agent, "GET /prod/ping", " requests, last 2026-03-03 "] {
        assert!(named.contains(said), "{said} is not in {named}");
    }
    let events: Vec<_> = told.iter().map(|told| &told.event).collect();
    assert!(!format!("{events:?}").contains(LAGGARD.address), "personal data can be erased");
    let history = ["history", ACME];
    assert!(stage.command(&history).await.stdout.contains(LAGGARD.agent));
    erase_notes(&stage).await;
    stage.assert_sound(ACME, "the notes are erased").await;
    let after = stage.command(&history).await;
    assert_eq!(after.outcome, Outcome::Done);
    assert!(!after.stdout.contains(LAGGARD.agent) && !after.stdout.contains(LAGGARD.address), "{}", after.stdout);

    // The last request was an hour ago. Six hours idle, one for the figures, and a look before and after, each of them
    // an hour and a quarter after the other by now.
    let often = TimeDelta::minutes(10);
    stage.goes_on(HOUR * 5, often, "the laggard has switched").await;
    assert_eq!(stage.state_of(1).await, State::Deactivated, "not idle for long enough");
    stage.goes_on(HOUR * 5, often, "idle").await;
    assert_eq!(
        (stage.state_of(1).await, stage.ground(1).await),
        (State::Suspended, Some(Ground::Unused)),
        "{}",
        stage.story(ACME).await
    );
    assert_eq!(LAGGARD.call(&stage, &old).await, 403);
}

/// As somebody erases who was asked to forget a person.
async fn erase_notes(stage: &Stage) {
    let client = stage.dynamodb();
    let items = client.scan().table_name(&stage.settings.table).send().await.expect("scanned").items.expect("items");
    for mut item in items.into_iter().filter(|item| item.contains_key("note")) {
        let key = ["pk", "sk"].map(|name| (name, item.remove(name).expect("a key")));
        let [(pk, partition), (sk, sort)] = key;
        let update = client.update_item().table_name(&stage.settings.table).key(pk, partition).key(sk, sort);
        update.update_expression("REMOVE note").send().await.expect("erased");
    }
    let left = client.scan().table_name(&stage.settings.table).send().await.expect("scanned");
    assert!(left.items().iter().all(|item| !matches!(item.get("note"), Some(AttributeValue::S(_)))));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_nobody_uses_goes_at_the_end_of_its_overlap() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &watched()).await;
    stage.rotate(&arn).await;
    stage.goes_on(TimeDelta::hours(23), HOUR, "in the overlap").await;
    assert_eq!(stage.state_of(1).await, State::Deactivated);
    stage.goes_on(HOUR * 2, HOUR, "after it").await;
    assert_eq!((stage.state_of(1).await, stage.ground(1).await), (State::Suspended, Some(Ground::Unused)));
    assert!(!stage.changes().await.iter().any(|change| matches!(change, Change::Held { .. })));
}

/// It is looked at again and again, and its history does not grow with that.
#[tokio::test(start_paused = true)]
async fn looks_that_show_the_same_are_counted_and_not_told_again() {
    let stage = Stage::new().await;
    rotated(&stage, &watched().with("overlap", "P3D")).await;
    stage.goes_on(TimeDelta::days(2), HOUR, "nobody uses it").await;
    let told = stage.changes().await.into_iter().filter(|change| matches!(change, Change::Witnessed { .. })).count();
    let looks = stage.load(ACME).await.versions[&1].looks;
    assert!(told <= 3 && looks > 20, "{told} of {looks} looks stand in the history");
}

#[tokio::test(start_paused = true)]
async fn the_ceiling_ends_the_waiting_unless_a_person_is_to() {
    for (policy, ends) in [("suspend", true), ("hold", false)] {
        let stage = Stage::new().await;
        let old = rotated(&stage, &watched().with("ceiling", "P1D").with("at-ceiling", policy)).await;
        stage.lags(&old, 47).await;
        assert_eq!(stage.held(1).await, Some(HoldReason::StillInUse), "{policy}");
        stage.pass(HOUR * 2).await;
        stage.assert_sound(ACME, "at the ceiling").await;
        if ends {
            assert_eq!((stage.state_of(1).await, stage.ground(1).await), (State::Suspended, Some(Ground::Ceiling)));
            continue;
        }
        stage.lags(&old, 48).await;
        assert_eq!((stage.state_of(1).await, stage.held(1).await), (State::Deactivated, Some(HoldReason::StillInUse)));
        let line = ["retire", ACME, "--generation", "1", "--reason", "they were told in May"];
        let done = stage.command(&line).await;
        assert_eq!(done.outcome, Outcome::Done, "{done:?}");
        assert_eq!(LAGGARD.call(&stage, &old).await, 200, "retirement does it, at its next tick");
        stage.pass(TimeDelta::minutes(1)).await;
        stage.assert_sound(ACME, "let go").await;
        assert_eq!((stage.state_of(1).await, stage.ground(1).await), (State::Suspended, Some(Ground::Waived)));
        assert_eq!(LAGGARD.call(&stage, &old).await, 403);
        let told = stage.told().await;
        let waived =
            told.iter().find(|told| matches!(told.event.change, Change::Waived { .. })).expect("in the history");
        assert_eq!(waived.note.as_ref().map(|note| note.reason.as_str()), Some("they were told in May"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_no_evidence_waits_for_a_person_or_goes_as_its_owner_said() {
    for (policy, ground) in [("hold", None), ("suspend", Some(Ground::NoEvidence))] {
        let stage = Stage::new().await;
        let free = stage.plan("free", &["prod"], None).await;
        let old = stage.in_plan(&free, &watched().with("no-evidence", policy)).await;
        stage.lags(&old, 24).await;
        stage.goes_on(HOUR * 24, HOUR, "no evidence").await;
        assert_eq!(stage.ground(1).await, ground, "{policy}\n{}", stage.story(ACME).await);
        if ground.is_some() {
            assert!(!stage.state_of(1).await.is_accepted());
            continue;
        }
        assert_eq!((stage.state_of(1).await, stage.held(1).await), (State::Deactivated, Some(HoldReason::NoEvidence)));
        let held = stage.changes().await.into_iter().filter(|change| matches!(change, Change::Held { .. })).count();
        assert!(held <= 12, "a hold that lasts does not fill the ledger: {held}\n{}", stage.story(ACME).await);
        let done = stage.command(&["retire", ACME, "--generation", "1", "--reason", "nobody uses it"]).await;
        assert_eq!(done.outcome, Outcome::Done, "{done:?}");
        stage.pass(TimeDelta::minutes(1)).await;
        assert_eq!((stage.state_of(1).await, stage.ground(1).await), (State::Suspended, Some(Ground::Waived)));
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_plan_tells_nothing_the_access_log_does() {
    let stage = Stage::new().await;
    stage.aws.log_access(API, ACCESS_LOG);
    stage.aws.settings(|settings| settings.log_query_polls = 2);
    let free = stage.plan("free", &["prod"], None).await;
    let old = stage.in_plan(&free, &watched().with("access-log", ACCESS_LOG)).await;
    stage.lags(&old, 26).await;
    assert_eq!(stage.held(1).await, Some(HoldReason::StillInUse), "{}", stage.story(ACME).await);
    let shown = stage.command(&["show", ACME]).await.stdout;
    assert!(shown.contains("says the access log /apis/partners"), "{shown}");
    stage.goes_on(HOUR * 9, HOUR, "idle").await;
    assert_eq!((stage.state_of(1).await, stage.ground(1).await), (State::Suspended, Some(Ground::Unused)));
}

/// Not there, or another API's: whoever uses the key is not to be found in it.
#[tokio::test(start_paused = true)]
async fn an_access_log_that_tells_of_no_key_is_no_evidence() {
    let stage = Stage::new().await;
    let free = stage.plan("free", &["prod"], None).await;
    let old = stage.in_plan(&free, &watched().with("access-log", "/apis/nobody")).await;
    stage.lags(&old, 30).await;
    assert_eq!((stage.state_of(1).await, stage.held(1).await), (State::Deactivated, Some(HoldReason::NoEvidence)));
    stage.aws.log_access(KEY_SETS, "/apis/nobody");
    stage.goes_on(HOUR * 12, HOUR, "another API's").await;
    assert_eq!((stage.state_of(1).await, stage.held(1).await), (State::Deactivated, Some(HoldReason::NoEvidence)));
}

#[tokio::test(start_paused = true)]
async fn one_plan_that_tells_nothing_is_no_evidence_whatever_the_other_tells() {
    let stage = Stage::new().await;
    let silver = stage.plan("silver", &["beta"], None).await;
    let (arn, id, _) = stage.credential(ACME, &watched()).await;
    stage.attach(&id, &silver).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.goes_on(HOUR * 30, HOUR, "two plans").await;
    assert_eq!((stage.state_of(1).await, stage.held(1).await), (State::Deactivated, Some(HoldReason::NoEvidence)));
}

#[tokio::test(start_paused = true)]
async fn figures_that_are_told_by_value_are_evidence_too() {
    let stage =
        Stage::with(Settings { usage_by_value: true, usage_lag: Duration::from_secs(1800), ..Settings::default() })
            .await;
    let old = rotated(&stage, &watched()).await;
    stage.lags(&old, 26).await;
    assert_eq!(stage.held(1).await, Some(HoldReason::StillInUse), "{}", stage.story(ACME).await);
    stage.goes_on(HOUR * 10, HOUR, "idle").await;
    assert_eq!(stage.ground(1).await, Some(Ground::Unused));
}

#[tokio::test(start_paused = true)]
async fn a_signer_that_goes_on_holds_the_disabling_and_the_withdrawal_shifts() {
    let stage = Stage::new().await;
    let terms = Terms::kms().without("idle-before-suspend").with("overlap", "PT6H");
    let arn = stage.signing(&terms).await;
    let key = stage.load(ACME).await.versions[&1].provider["id"].clone();
    // One that never reads the secret again.
    let mut stuck = Signer::caching(TimeDelta::days(9));
    let mut traffic = Traffic::usual();
    traffic.live.push(stuck.sign(&stage, ACME).await.expect("signed"));
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let deactivated = stage.clock.now();
    // To the end of its overlap, and beyond.
    while stage.clock.now() < deactivated + HOUR * 8 {
        traffic.live.push(stuck.sign(&stage, ACME).await.expect("it still signs"));
        traffic.goes_on(&stage, TimeDelta::minutes(10), "a signer goes on").await;
    }
    assert_eq!((stage.state_of(1).await, stage.held(1).await), (State::Deactivated, Some(HoldReason::StillInUse)));
    let disabled = async || stage.load(ACME).await.versions[&1].disabled;
    assert_eq!(disabled().await, None);

    // A quarter of an hour idle, an hour for KMS to tell it, an hour for the look.
    traffic.goes_on(&stage, TimeDelta::minutes(140), "the signer has read the secret").await;
    let disabled = disabled().await.unwrap_or_else(|| panic!("not disabled"));
    assert_eq!(stage.kms_state(&key).as_deref(), Some("Disabled"));
    let version = stage.load(ACME).await.versions[&1].clone();
    assert_eq!((version.ground, version.state), (Some(Ground::Unused), State::Deactivated));
    let trusts = version.policy.trusts_for().expect("a signing key").delta();
    assert_eq!(version.suspend_at, Some(disabled + trusts), "what it signed last can be verified to its end");
    traffic.goes_on(&stage, trusts + HOUR, "to the withdrawal").await;
    assert_eq!(stage.state_of(1).await, State::Suspended);
    assert!(traffic.shown > 300, "{}", traffic.shown);
}

#[tokio::test(start_paused = true)]
async fn the_exposure_clock_tells_how_long_a_refusal_took() {
    let stage = Stage::with(Settings { disabling: Some(Duration::from_secs(90)), ..Settings::default() }).await;
    let (arn, _, old) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.pass(HOUR * 24).await;
    assert_eq!(PROMPT.call(&stage, &old).await, 200, "API Gateway has not heard of it everywhere");
    stage.goes_on(TimeDelta::minutes(5), TimeDelta::minutes(1), "until it is refused").await;
    let refused = stage.load(ACME).await.versions[&1].refused.clone().expect("seen");
    let after = refused.after.expect("proved").delta();
    assert!((TimeDelta::seconds(90)..TimeDelta::seconds(160)).contains(&after), "{after}");
    let told = stage.changes().await;
    assert!(
        told.iter().any(|change| matches!(change, Change::Refused { generation: 1, after: Some(_), unproved: None }))
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_nobody_can_show_is_called_not_proved() {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
    stage.rotate(&arn).await;
    stage.wait(HOUR * 25).await;
    stage.move_label(&arn, "AWSPREVIOUS", None).await;
    stage.forget_unlabelled_values(&arn).await;
    stage.pass(TimeDelta::minutes(1)).await;
    stage.assert_sound(ACME, "its value is gone").await;
    assert_eq!(stage.state_of(1).await, State::Suspended);
    let told = stage.changes().await;
    let unproved = told.iter().find_map(|change| {
        let Change::Refused { after: None, unproved, .. } = change else { return None };
        unproved.clone()
    });
    assert_eq!(unproved.as_deref(), Some("its value is gone from Secrets Manager"));
    assert!(stage.command(&["history", ACME]).await.stdout.contains("not proved"));
    stage.goes_on(HOUR * 25, HOUR, "it soaks, and goes").await;
    assert_eq!(stage.state_of(1).await, State::Destroyed);
}
