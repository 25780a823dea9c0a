//! Keys that stay where their users always had them: under another name, or as the whole value. `rotator:member` says where.

use chrono::TimeDelta;
use rotator::rotate::Compromised;
use rotator_cli::trouble::Outcome;
use serde_json::{Value, json};
use state::hold::HoldReason;
use state::lifecycle::State;

use super::emergency::{declare, ticking};
use crate::harness::faults::{Fault, When};
use crate::harness::{ACME, Stage, Terms};

/// What the tag says, and a value with `KEY` where the key is.
const SHAPES: [(&str, &str); 3] = [
    ("api_key", r#"{"api_key":"KEY","base_url":"https://x.example","retries":3}"#),
    ("x-api-key", r#"{"x-api-key":"KEY"}"#),
    (".", "KEY"),
];
const WEBHOOK: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A key in use, in a value of that shape, and its secret, which its owner declared.
async fn declared(member: &str, value: &str) -> (Stage, String, String) {
    let stage = Stage::new().await;
    let (_, key) = stage.key("acme").await;
    let terms = Terms::default().with("member", member).with("max-live", "8");
    let arn = stage.secret(ACME, &value.replace("KEY", &key), &terms).await;
    (stage, arn, key)
}

/// What lets an operator read the value, and nothing else.
fn bare(kind: &str) -> Terms {
    Terms { tags: [("rotator:kind".to_owned(), kind.to_owned())].into(), schedule: None }
}

async fn text(stage: &Stage) -> String {
    let read = stage.secrets_manager().get_secret_value().secret_id(ACME).send().await.expect("readable");
    read.secret_string().expect("text").to_owned()
}

/// The key that a consumer finds there.
async fn key(stage: &Stage, member: &str) -> String {
    match (member, text(stage).await) {
        (".", text) => text,
        (name, text) => serde_json::from_str::<Value>(&text).expect("JSON")[name].as_str().expect("a key").to_owned(),
    }
}

/// One more rotation. The new key.
async fn rotated(stage: &Stage, arn: &str, member: &str) -> String {
    stage.rotate(arn).await;
    stage.assert_rotated();
    stage.assert_sound(ACME, member).await;
    key(stage, member).await
}

async fn command(stage: &Stage, line: &[&str]) -> String {
    let said = stage.command(line).await;
    assert_eq!(said.outcome, Outcome::Done, "{line:?}: {said:?}");
    said.stdout
}

#[tokio::test(start_paused = true)]
async fn a_key_is_replaced_where_it_stands_and_the_other_members_are_kept() {
    for (member, value) in SHAPES {
        let (stage, arn, old) = declared(member, value).await;
        let doctor = stage.command(&["doctor", ACME]).await.stdout;
        assert!(doctor.contains("nothing broken"), "{doctor}");
        let new = rotated(&stage, &arn, member).await;
        assert_ne!(new, old);
        assert!(stage.gets_through(&new).await && stage.gets_through(&old).await, "{member}: both in the overlap");
        let after = text(&stage).await.replace(&new, "KEY");
        if member == "." {
            assert_eq!(after, value);
        } else {
            let mut after: Value = serde_json::from_str(&after).expect("JSON");
            let ours = after.as_object_mut().expect("an object");
            assert_eq!(ours.remove("provider"), Some("api-gateway".into()));
            assert!(ours.remove("endpoint").is_some());
            assert_eq!(after, serde_json::from_str::<Value>(value).expect("JSON"));
        }
        assert!(stage.load(ACME).await.versions[&1].fingerprint.is_some());
        // The old key's refusal is seen with the old value.
        stage.pass(TimeDelta::hours(25)).await;
        assert_eq!(stage.state_of(1).await, State::Suspended);
        assert!(!stage.gets_through(&old).await && stage.gets_through(&new).await, "{member}");
        assert!(
            stage.story(ACME).await.contains("Refused { generation: 1, after: Some"),
            "{}",
            stage.story(ACME).await
        );
        assert_ne!(rotated(&stage, &arn, member).await, new);
        let found = command(&stage, &["reconcile", ACME]).await;
        assert!(found.contains("everything is as the records say"), "{found}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_key_is_made_where_the_tag_says() {
    for (member, _) in SHAPES {
        let stage = Stage::new().await;
        let terms = Terms::default().with("member", member).with("usage-plans", &stage.plan);
        let arn = stage.secret(ACME, "{}", &terms).await;
        let first = rotated(&stage, &arn, member).await;
        assert!(stage.gets_through(&first).await, "{member}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_an_emergency_and_another_look_find_it_there() {
    for (member, value) in SHAPES {
        let (stage, arn, old) = declared(member, value).await;
        let new = rotated(&stage, &arn, member).await;
        stage.pass(TimeDelta::hours(25)).await;
        assert_eq!(stage.state_of(1).await, State::Suspended);
        command(&stage, &["rollback", ACME, "--reason", "the new one does not work", "--yes"]).await;
        assert_eq!(key(&stage, member).await, old);
        assert!(stage.gets_through(&old).await && stage.gets_through(&new).await, "{member}");
        stage.assert_sound(ACME, "rolled back").await;

        stage.aws.on_label_event("retirement");
        ticking(&stage);
        let (done, _) = declare(&stage, Compromised::All).await;
        assert_eq!(done.compromised, [1, 2], "{member}");
        let safe = key(&stage, member).await;
        assert!(stage.gets_through(&safe).await && !stage.gets_through(&old).await && !stage.gets_through(&new).await);
        stage.assert_sound(ACME, "over").await;

        // Somebody deletes the key: it is made again, with the value that stands there.
        let id = stage.load(ACME).await.versions[&3].provider["id"].clone();
        stage.delete_key(&id).await;
        command(&stage, &["reconcile", ACME, "--yes"]).await;
        assert!(stage.gets_through(&safe).await, "{member}");
        // A stack writes over the value.
        stage.put(&arn, "{}").await;
        command(&stage, &["repair", ACME, "--yes"]).await;
        assert_eq!(key(&stage, member).await, safe);
        assert_ne!(rotated(&stage, &arn, member).await, safe);
    }
}

/// The same key put by hand in the same form is another carrier of it; a value is read by the wishes that it was written by.
#[tokio::test(start_paused = true)]
async fn a_tag_that_is_changed_moves_the_key_with_the_next_rotation() {
    let (stage, arn, first) = declared("api_key", SHAPES[0].1).await;
    let second = rotated(&stage, &arn, "api_key").await;
    stage.put(&arn, &json!({"api_key": second, "note": "by hand"}).to_string()).await;
    stage.retag(&arn, "member", "key").await;
    let third = rotated(&stage, &arn, "key").await;
    let document: Value = serde_json::from_str(&text(&stage).await).expect("JSON");
    assert_eq!((document.get("api_key"), &document["note"]), (None, &"by hand".into()));
    assert!(stage.load(ACME).await.versions[&2].carriers.len() == 2, "carried");
    command(&stage, &["rollback", ACME, "--reason", "back", "--yes"]).await;
    assert_eq!(key(&stage, "api_key").await, second);
    // A plain string would lose what stands beside the key.
    stage.retag(&arn, "member", ".").await;
    stage.rotate(&arn).await;
    let failure = stage.failure();
    assert_eq!(failure.error_type, "Held.Rejected");
    assert!(failure.error_message.contains("name the member that holds the key"), "{}", failure.error_message);
    for value in [&first, &second, &third] {
        assert!(!failure.error_message.contains(value.as_str()));
    }
    stage.untag(&arn, "member").await;
    stage.again(&arn).await;
    stage.assert_rotated();
    assert_ne!(key(&stage, "apiKey").await, second);
    stage.assert_sound(ACME, "where it is by default").await;
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_can_not_be_followed_holds_with_what_to_write() {
    for (terms, value, said) in [
        (Terms::default().with("member", "endpoint"), r#"{"api_key":"KEY"}"#, "name another member"),
        (Terms::default().with("member", "."), r#"{"api_key":"KEY"}"#, "name the member that holds the key"),
        (Terms::default().with("member", "apiKey"), r#"{"api_key":"KEY"}"#, "name it with the tag rotator:member"),
        (Terms::default(), "KEY", "rotator:member = ."),
        (Terms::webhook().with("member", "."), WEBHOOK, "write a member's name"),
        (Terms::webhook().with("member", "until"), "{}", "name another member"),
        (Terms::kms().with("member", "signer"), "{}", "rotator:member is not a known tag"),
        (Terms::jwt().with("member", "."), "{}", "rotator:member is not a known tag"),
    ] {
        let stage = Stage::new().await;
        let (_, key) = stage.key("acme").await;
        let arn = stage.secret(ACME, &value.replace("KEY", &key), &terms).await;
        stage.rotate(&arn).await;
        let failure = stage.failure();
        assert_eq!(failure.error_type, "Held.Rejected", "{said}: {}", failure.error_message);
        assert!(failure.error_message.contains(said), "{said}: {}", failure.error_message);
        assert!(!failure.error_message.contains(&key) && !failure.error_message.contains(WEBHOOK));
        assert_eq!(text(&stage).await, value.replace("KEY", &key), "nothing was changed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_webhook_secret_under_another_name_has_the_one_before_beside_it() {
    let stage = Stage::new().await;
    let value = json!({"secret": WEBHOOK, "team": "billing"}).to_string();
    let terms = Terms::webhook().with("member", "secret").with("max-live", "8");
    let arn = stage.secret(ACME, &value, &terms).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let second = stage.document(ACME).await;
    assert_eq!((&second["alsoSigning"], &second["team"]), (&WEBHOOK.into(), &"billing".into()));
    assert!(second["until"].is_string() && second.get("signing").is_none() && second["secret"] != *WEBHOOK);
    stage.assert_sound(ACME, "rotated").await;

    command(&stage, &["rollback", ACME, "--reason", "the receiver lags", "--yes"]).await;
    assert_eq!(text(&stage).await, value);
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.aws.on_label_event("retirement");
    ticking(&stage);
    declare(&stage, Compromised::All).await;
    let safe = stage.document(ACME).await;
    assert_eq!((safe.get("alsoSigning"), &safe["team"]), (None, &"billing".into()));
    stage.put(&arn, "{}").await;
    command(&stage, &["repair", ACME, "--yes"]).await;
    assert_eq!(stage.document(ACME).await, safe);
    // Back to where it is by default.
    stage.untag(&arn, "member").await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let last = stage.document(ACME).await;
    assert_eq!((&last["alsoSigning"], last.get("secret")), (&safe["secret"], None));
    assert!(last["signing"].is_string());
    stage.assert_sound(ACME, "over").await;
}

/// Wherever the function dies in the first rotation of a plain string, the next one goes on.
#[tokio::test(start_paused = true)]
async fn a_rotation_of_a_plain_string_that_dies_anywhere_is_completed() {
    for at in 0.. {
        let (stage, arn, old) = declared(".", "KEY").await;
        stage.faults.arm(When::Once(at), Fault::KilledAfter);
        stage.rotate(&arn).await;
        let is_met = stage.faults.met() > 0;
        for _ in 0..6 {
            stage.pass(TimeDelta::minutes(10)).await;
            stage.aws.settle().await;
            stage.assert_sound(ACME, "meanwhile").await;
        }
        if stage.recorded(ACME).await.is_none_or(|credential| credential.head.current != Some(2)) {
            stage.rotate(&arn).await;
        }
        let new = key(&stage, ".").await;
        assert!(new != old && stage.gets_through(&new).await && stage.gets_through(&old).await, "killed after {at}");
        stage.assert_sound(ACME, "completed").await;
        assert_eq!(stage.load(ACME).await.head.candidate, None, "killed after {at}");
        if !is_met {
            assert!(at > 20, "only {at} calls");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn adoption_finds_the_member_shows_it_and_writes_the_tag() {
    for (member, value) in SHAPES {
        let stage = Stage::new().await;
        let (id, old) = stage.key("acme").await;
        stage.secret(ACME, &value.replace("KEY", &old), &bare("api-gateway-key")).await;
        let line = ["adopt", "--kind", "api-gateway-key", ACME, "--tag", "probe=a1b2c3/prod/ping"];
        let before = stage.world().await;
        let plan = command(&stage, &line).await;
        assert!(plan.contains(&format!("member={member}")) && plan.contains(&id), "{plan}");
        assert_eq!(stage.world().await, before, "a plan changes nothing");
        command(&stage, &[&line[..], &["--yes"]].concat()).await;
        stage.aws.settle().await;
        assert_eq!(stage.tag(ACME, "member").await.as_deref(), Some(member));
        assert_eq!(stage.tag(ACME, "at-ceiling").await.as_deref(), Some("hold"), "its users are there already");
        assert_eq!(stage.api_key(&id).tags["rotator:credential"], ACME);
        assert_eq!(text(&stage).await, value.replace("KEY", &old), "an existing value is kept");
        let again = command(&stage, &line).await;
        assert!(again.contains("already managed 1"), "{again}");
        assert_ne!(rotated(&stage, ACME, member).await, old);
    }
}

#[tokio::test(start_paused = true)]
async fn adoption_asks_where_it_can_not_tell() {
    let stage = Stage::new().await;
    let ((_, one), (_, two)) = (stage.key("acme").await, stage.key("globex").await);
    stage.secret(ACME, &json!({"blue": one, "green": two}).to_string(), &bare("api-gateway-key")).await;
    let hook = bare("webhook-secret");
    stage.secret("hooks/git", &json!({"secret": WEBHOOK}).to_string(), &hook).await;
    stage.secret("hooks/own", r#"{"secret":"correct-horse-battery-staple"}"#, &hook).await;
    let api = ["adopt", "--kind", "api-gateway-key", ACME];
    let plan = stage.command(&api).await;
    assert_eq!(plan.outcome, Outcome::Attention, "{plan:?}");
    assert!(plan.stdout.contains("rotator:member") && plan.stdout.contains("to adopt 0"), "{}", plan.stdout);
    assert!(!plan.stdout.contains(&one) && !plan.stdout.contains(&two));
    let named = command(&stage, &[&api[..], &["--member", "green"]].concat()).await;
    assert!(named.contains("member=green") && named.contains("to adopt 1"), "{named}");

    let hooks = command(&stage, &["adopt", "--kind", "webhook-secret", "hooks/git", "--yes"]).await;
    assert!(hooks.contains("member=secret"), "{hooks}");
    let plan = stage.command(&["adopt", "--kind", "webhook-secret", "hooks/own"]).await;
    assert!(plan.outcome == Outcome::Attention && plan.stdout.contains("\"secret\""), "{}", plan.stdout);
    let kms = stage.command(&["adopt", "--kind", "kms-signing-key", "orders/issuer", "--member", "signer"]).await;
    assert!(kms.stdout.contains("rotator:member is not a known tag"), "{}", kms.stdout);
}

/// One that a stack owns would come back with the stack's next run.
#[tokio::test(start_paused = true)]
async fn a_key_in_a_secret_that_a_stack_owns_or_that_is_shared_is_not_adopted() {
    let (stage, arn, _) = declared("api_key", SHAPES[0].1).await;
    rotated(&stage, &arn, "api_key").await;
    stage.secret("partner/twin", &text(&stage).await, &bare("api-gateway-key")).await;
    let twin = stage.command(&["adopt", "--kind", "api-gateway-key", "partner/twin"]).await;
    assert!(twin.stdout.contains(HoldReason::KeyShared.word()) && twin.stdout.contains(ACME), "{twin:?}");
    let (id, value) = stage.key("owned").await;
    assert!(stage.aws.own_by_stack(&id, "shop", "PartnerKey"));
    stage.secret("partner/owned", &json!({"apiKey": value}).to_string(), &bare("api-gateway-key")).await;
    let owned = stage.command(&["adopt", "--kind", "api-gateway-key", "partner/owned"]).await.stdout;
    assert!(owned.contains("the CloudFormation stack shop owns its key"), "{owned}");
}

/// Whoever reads the other member goes on with a key that will be refused.
#[tokio::test(start_paused = true)]
async fn a_second_member_with_the_key_is_told() {
    let (stage, ..) = declared("api_key", r#"{"api_key":"KEY","old-name":"KEY","base_url":"https://x.example"}"#).await;
    let doctor = stage.command(&["doctor", ACME]).await.stdout;
    assert!(doctor.contains("no rotation changes that: old-name"), "{doctor}");
    assert!(doctor.contains("nothing broken"), "{doctor}");
}
