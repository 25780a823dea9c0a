//! Webhook secrets: sender and receiver read the same value, in whichever order.

use chrono::TimeDelta;
use local_aws::{RetryToken, Settings};
use rotator::rotate::Compromised;
use serde_json::Value;
use state::ledger::{Abandonment, Change, Note};
use state::lifecycle::State;
use state::name::CredentialName;

use super::emergency::{declare, ticking};
use crate::harness::webhooks::{Post, Reader};
use crate::harness::{ACME, Stage, Terms};

/// A webhook secret with its first key.
async fn minted(terms: &Terms) -> (Stage, String) {
    let stage = Stage::new().await;
    let arn = stage.secret(ACME, r#"{"owner": "the stack"}"#, terms).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.assert_sound(ACME, "minted").await;
    (stage, arn)
}

#[tokio::test(start_paused = true)]
async fn no_receiver_refuses_a_message_whoever_reads_the_new_value_first() {
    let (stage, arn) = minted(&Terms::webhook()).await;
    let first = stage.document(ACME).await;
    assert_eq!(first["owner"], "the stack");
    assert_eq!((first.get("alsoSigning"), first.get("until")), (None, None));
    let text = first["signing"].as_str().expect("text").strip_prefix("whsec_").expect("as Standard Webhooks wants it");
    assert_eq!(aws_smithy_types::base64::decode(text).expect("base64").len(), 32);
    let mut post = Post::usual();
    post.goes_on(&stage, TimeDelta::hours(2), "before").await;

    let drafted = stage.clock.now();
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let second = stage.document(ACME).await;
    assert_eq!(second["alsoSigning"], first["signing"]);
    assert_ne!(second["signing"], first["signing"]);
    let until: chrono::DateTime<chrono::Utc> = second["until"].as_str().expect("text").parse().expect("RFC 3339");
    assert!((until - drafted - TimeDelta::days(1)).abs() < TimeDelta::minutes(1), "{until}");
    let suspend_at = stage.load(ACME).await.versions[&1].suspend_at.expect("planned");
    assert!(suspend_at >= until, "never refused before what the value says: {suspend_at} {until}");
    post.goes_on(&stage, TimeDelta::hours(26), "during and after").await;

    // Only the new one is left, whoever still has the old one.
    let mut late = Reader::caching(TimeDelta::days(30));
    late.send(&stage).await;
    assert_eq!(stage.load(ACME).await.versions[&1].state, State::Suspended);
    stage.rotate(&arn).await;
    stage.assert_rotated();
    assert_eq!(stage.document(ACME).await["alsoSigning"], second["signing"], "never the one before last");
    post.goes_on(&stage, TimeDelta::hours(2), "again").await;
    stage.pass(TimeDelta::hours(25)).await;
    let stale = late.send(&stage).await;
    assert!(!Reader::prompt().receive(&stage, &stale).await, "refused after its overlap");
}

#[tokio::test(start_paused = true)]
async fn as_long_as_the_owner_wants_and_as_a_jwk_for_each_hash() {
    for (tag, value, length) in [
        ("bytes", "24", 24),
        ("bytes", "64", 64),
        ("algorithm", "HS256", 32),
        ("algorithm", "HS384", 48),
        ("algorithm", "HS512", 64),
    ] {
        let (stage, arn) = minted(&Terms::webhook().with(tag, value)).await;
        let mut post = Post::usual();
        post.goes_on(&stage, TimeDelta::hours(1), value).await;
        let first = stage.document(ACME).await["signing"].clone();
        stage.rotate(&arn).await;
        stage.assert_rotated();
        post.goes_on(&stage, TimeDelta::hours(2), value).await;
        let document = stage.document(ACME).await;
        assert_eq!(document["alsoSigning"], first);
        let signing = &document["signing"];
        let text = if tag == "bytes" {
            signing.as_str().expect("text").trim_start_matches("whsec_").to_owned()
        } else {
            assert_eq!((&signing["kty"], &signing["alg"]), (&Value::from("oct"), &Value::from(value)));
            assert_ne!(signing["kid"], first["kid"], "told apart by name");
            signing["k"].as_str().expect("k").to_owned()
        };
        assert_eq!(text.trim_end_matches('=').len(), (length * 8_usize).div_ceil(6), "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_compromised_secret_is_good_for_nothing_at_once() {
    let (stage, arn) = minted(&Terms::webhook()).await;
    stage.rotate(&arn).await;
    stage.aws.on_label_event("retirement");
    ticking(&stage);
    let mut thief = Reader::caching(TimeDelta::days(1));
    thief.send(&stage).await;
    let (rotated, _) = declare(&stage, Compromised::All).await;
    assert_eq!((rotated.generation, rotated.compromised), (3, vec![1, 2]));
    let document = stage.document(ACME).await;
    assert_eq!((document.get("alsoSigning"), document.get("until")), (None, None));
    stage.assert_sound(ACME, "over").await;

    let forged = thief.send(&stage).await;
    let (mut sender, mut receiver) = (Reader::prompt(), Reader::caching(TimeDelta::hours(1)));
    assert!(!receiver.receive(&stage, &forged).await);
    let good = sender.send(&stage).await;
    assert!(receiver.receive(&stage, &good).await && Reader::prompt().receive(&stage, &good).await);
    stage.rotate(&arn).await;
    stage.assert_rotated();
    assert_eq!(stage.document(ACME).await["alsoSigning"], document["signing"], "a good one is kept as ever");
}

#[tokio::test(start_paused = true)]
async fn a_value_drafted_with_a_secret_that_is_then_compromised_is_abandoned_and_drafted_anew() {
    for retry_token in [RetryToken::Same, RetryToken::New] {
        let stage = Stage::with(Settings { retry_token, ..Settings::default() }).await;
        let arn = stage.secret(ACME, "{}", &Terms::webhook()).await;
        stage.rotate(&arn).await;
        let first = stage.document(ACME).await;
        stage.faults.deny("secretsmanager:UpdateSecretVersionStage");
        stage.rotate(&arn).await;
        assert_eq!(stage.failure().error_type, "Held.Denied");
        assert_eq!(stage.load(ACME).await.versions[&2].also, Some(1), "a value can't be changed");

        // Somebody orders an emergency while that rotation is on its way.
        let (engine, errand) = (stage.engine_unhurt(), stage.errand());
        let credential = stage.load(ACME).await;
        let order = Change::Ordered { token: credential.next_token("emergency"), compromised: vec![1] };
        let note = Note { salt: "00".into(), who: "somebody".into(), reason: "a test".into() };
        engine.commit(&credential, order, &engine.stamp(&errand, Some(note))).await.expect("ordered");
        stage.faults.allow("secretsmanager:UpdateSecretVersionStage");
        for _ in 0..3 {
            stage.wait(TimeDelta::minutes(5)).await;
            stage.aws.settle().await;
            stage.assert_sound(ACME, "meanwhile").await;
        }
        let name = CredentialName::parse(ACME).expect("a name");
        let told = engine.records.history(&name).await.expect("readable");
        let why = if retry_token == RetryToken::Same { Abandonment::Tainted } else { Abandonment::OtherToken };
        let abandoned = Change::Abandoned { generation: 2, why };
        assert!(told.iter().any(|told| told.event.change == abandoned), "{}", stage.story(ACME).await);
        if retry_token == RetryToken::Same {
            let failure = stage.failure();
            assert!(failure.error_message.contains("was abandoned") && failure.error_type == "Refused", "{failure:?}");
            // Retirement takes the label off, so that nothing blocks the next one.
            stage.tick().await;
            stage.rotate(&arn).await;
        }
        stage.assert_rotated();
        let document = stage.document(ACME).await;
        assert_eq!(document.get("alsoSigning"), None);
        assert_ne!(document["signing"], first["signing"]);
        stage.tick().await;
        let credential = stage.load(ACME).await;
        assert!(credential.head.order.is_none() && credential.versions[&2].activated.is_none());
        assert_eq!(credential.versions[&1].state, State::Suspended);
        stage.assert_sound(ACME, "over").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_there_already_is_adopted_by_its_first_rotation() {
    let stage = Stage::new().await;
    let value = r#"{"signing": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "partner": "acme"}"#;
    let arn = stage.secret(ACME, value, &Terms::webhook()).await;
    let mut post = Post::usual();
    post.goes_on(&stage, TimeDelta::hours(1), "before").await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    let document = stage.document(ACME).await;
    assert_eq!((&document["partner"], &document["alsoSigning"]), (&"acme".into(), &parsed(value)["signing"]));
    post.goes_on(&stage, TimeDelta::hours(26), "after").await;
    assert_eq!(stage.load(ACME).await.versions[&1].state, State::Suspended);
}

#[tokio::test(start_paused = true)]
async fn a_jwk_that_is_adopted_is_followed_by_a_jwk() {
    let stage = Stage::new().await;
    let value = r#"{"signing": {"kty": "oct", "alg": "HS256", "kid": "old-1", "k": "enp6enp6enp6enp6enp6enp6enp6enp6enp6enp6eno"}}"#;
    let arn = stage.secret(ACME, value, &Terms::webhook().without("algorithm")).await;
    for _ in 0..2 {
        stage.rotate(&arn).await;
        stage.assert_rotated();
        let document = stage.document(ACME).await;
        assert_eq!((&document["signing"]["alg"], &document["signing"]["kty"]), (&"HS256".into(), &"oct".into()));
        assert!(document["alsoSigning"].is_object());
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}
