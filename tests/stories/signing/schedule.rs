//! Rotations on schedule: no verifier ever meets a stranger.

use chrono::TimeDelta;
use local_aws::{RetryToken, Settings};
use state::hold::HoldReason;
use state::ledger::Change;
use state::lifecycle::State;
use state::name::CredentialName;

use super::{key_of, kid, signing_keys, states};
use crate::harness::signing::{LEAD, Traffic};
use crate::harness::{ACME, Stage, Terms};

#[tokio::test(start_paused = true)]
async fn the_first_rotation_makes_the_first_key_and_retirement_the_standby() {
    for terms in [Terms::kms(), Terms::jwt()] {
        let stage = Stage::new().await;
        let arn = stage.secret(ACME, r#"{"owner": "the stack"}"#, &terms).await;
        assert!(stage.key_set(ACME).await.status == 404, "nothing is published yet");

        stage.rotate(&arn).await;
        stage.assert_rotated();
        stage.assert_sound(ACME, "the first key").await;
        let value = stage.document(ACME).await;
        assert_eq!((&value["owner"], &value["jwksUri"]), (&"the stack".into(), &stage.key_set_url(ACME).into()));
        let signer = kid(&stage).await;
        assert_eq!(stage.key_set(ACME).await.kids(), [signer.as_str()]);
        let mut traffic = Traffic::usual();
        assert_eq!(traffic.round(&stage).await, []);

        stage.tick().await;
        stage.assert_sound(ACME, "the standby").await;
        assert_eq!(states(&stage).await, [State::Active, State::PreActivation]);
        let published = stage.key_set(ACME).await.kids();
        assert_eq!((published.len(), &published[0]), (2, &signer), "the signer first");
        assert_eq!(stage.document(ACME).await, value, "no consumer reads anything new");
        assert_eq!(traffic.round(&stage).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_caches_for_two_hours_rejects_nothing_before_during_or_after() {
    for terms in [Terms::kms(), Terms::jwt()] {
        let stage = Stage::new().await;
        let arn = stage.signing(&terms).await;
        let mut traffic = Traffic::usual();
        traffic.goes_on(&stage, TimeDelta::hours(3), "before").await;
        let old = kid(&stage).await;

        stage.rotate(&arn).await;
        stage.assert_rotated();
        let new = kid(&stage).await;
        assert_ne!(new, old);
        traffic.goes_on(&stage, TimeDelta::hours(6), "after").await;
        assert_eq!(states(&stage).await, [State::Suspended, State::Active, State::PreActivation]);
        let published = stage.key_set(ACME).await.kids();
        assert!(published.len() == 2 && published[0] == new && !published.contains(&old), "{published:?}");
        assert!(traffic.shown > 500, "{}", traffic.shown);

        stage.pass(LEAD).await;
        traffic.goes_on(&stage, TimeDelta::hours(1), "later").await;
        assert_eq!(states(&stage).await, [State::Destroyed, State::Active, State::PreActivation]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_is_too_young_holds_the_rotation_which_goes_on_by_itself() {
    let stage = Stage::new().await;
    let arn = stage.signing(&Terms::kms()).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    stage.tick().await;
    let made = stage.clock.now();
    let before = stage.document(ACME).await;
    stage.pass(TimeDelta::hours(3)).await;

    stage.rotate(&arn).await;
    let failure = stage.failure();
    assert_eq!(failure.error_type, "Held.StandbyTooYoung");
    let time = |at: chrono::DateTime<chrono::Utc>| at.format("%F %H:%M UTC").to_string();
    for said in ["generation 3", &time(made), &time(made + TimeDelta::days(1)), HoldReason::StandbyTooYoung.remedy()] {
        assert!(failure.error_message.contains(said), "{said} is not in {}", failure.error_message);
    }
    assert_eq!(stage.document(ACME).await, before);
    let mut traffic = Traffic::usual();
    traffic.goes_on(&stage, TimeDelta::hours(1), "while it is held").await;

    // Secrets Manager tries the pending rotation again when its next scheduled one is due, or when it is asked to.
    stage.pass(TimeDelta::hours(21)).await;
    stage.again(&arn).await;
    stage.assert_rotated();
    assert_eq!(stage.load(ACME).await.head.current, Some(3));
    traffic.goes_on(&stage, TimeDelta::hours(3), "after").await;
}

#[tokio::test(start_paused = true)]
async fn with_two_standbys_a_second_rotation_need_not_wait() {
    let stage = Stage::new().await;
    let arn = stage.signing(&Terms::kms().with("standbys", "2").with("max-live", "8")).await;
    assert_eq!(states(&stage).await, [State::Active, State::PreActivation, State::PreActivation]);
    let mut traffic = Traffic::usual();
    for generation in 2..=3 {
        stage.rotate(&arn).await;
        stage.assert_rotated();
        assert_eq!(stage.load(ACME).await.head.current, Some(generation), "the oldest one first");
        traffic.goes_on(&stage, TimeDelta::hours(2), "after each").await;
    }
    assert_eq!(stage.load(ACME).await.standbys().len(), 2);

    // One is enough from now on: the younger one is taken back, and nobody has ever seen its signature.
    stage.retag(&arn, "standbys", "1").await;
    stage.pass(LEAD).await;
    stage.rotate(&arn).await;
    stage.assert_rotated();
    traffic.goes_on(&stage, TimeDelta::hours(6), "with one").await;
    assert_eq!(stage.load(ACME).await.standbys().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_old_key_is_disabled_then_withdrawn_then_deleted() {
    let stage = Stage::new().await;
    let arn = stage.signing(&Terms::kms()).await;
    let (old, old_kid) = (key_of(&stage, 1).await, kid(&stage).await);
    stage.rotate(&arn).await;
    let state = || stage.kms_state(&old).expect("not deleted");
    let is_published = async || stage.key_set(ACME).await.kids().contains(&old_kid);

    // A signer may have read the secret just before, and goes on with it for an hour; a quarter is for clocks.
    stage.pass(TimeDelta::minutes(74)).await;
    assert_eq!(state(), "Enabled");
    stage.pass(TimeDelta::minutes(2)).await;
    assert_eq!((state().as_str(), is_published().await), ("Disabled", true), "it signs nothing, its tokens are good");
    assert_eq!(stage.load(ACME).await.versions[&1].state, State::Deactivated);

    // Four hours and a quarter after the other one signed; and nobody ticks any more.
    stage.wait(TimeDelta::minutes(178)).await;
    assert!(is_published().await);
    stage.wait(TimeDelta::minutes(2)).await;
    assert!(is_published().await, "until somebody has seen that nobody signs with it");
    assert_eq!(stage.load(ACME).await.versions[&1].state, State::Deactivated);
    stage.tick().await;
    stage.assert_sound(ACME, "withdrawn").await;
    assert_eq!((states(&stage).await[0], state().as_str()), (State::Suspended, "Disabled"));

    stage.pass(TimeDelta::hours(23)).await;
    assert_eq!(state(), "Disabled", "it can still be brought back");
    stage.pass(TimeDelta::hours(2)).await;
    assert_eq!((states(&stage).await[0], state().as_str()), (State::Destroyed, "PendingDeletion"));
    stage.assert_sound(ACME, "at the end").await;
}

/// Its private half is in the hands of whoever read it: the history states no act that nobody performed.
#[tokio::test(start_paused = true)]
async fn a_key_that_nobody_can_disable_is_withdrawn_and_its_history_does_not_say_disabled() {
    let stage = Stage::new().await;
    let arn = stage.signing(&Terms::jwt()).await;
    let old = kid(&stage).await;
    stage.rotate(&arn).await;
    for _ in 0..8 {
        stage.pass(TimeDelta::minutes(37)).await;
    }
    assert!(!stage.key_set(ACME).await.kids().contains(&old), "{}", stage.story(ACME).await);
    for _ in 0..3 {
        stage.pass(TimeDelta::hours(25)).await;
    }
    assert_eq!(states(&stage).await[0], State::Destroyed);
    let words: Vec<&str> = stage.changes().await.iter().map(Change::word).collect();
    assert!(words.contains(&"suspended"), "{words:?}");
    assert!(!words.contains(&"disabling") && !words.contains(&"disabled"), "{words:?}");
    stage.assert_sound(ACME, "at the end").await;
}

#[tokio::test(start_paused = true)]
async fn a_rotation_retried_with_another_token_burns_no_key() {
    for terms in [Terms::kms(), Terms::jwt()] {
        let settings = Settings { retry_token: RetryToken::New, ..Settings::default() };
        let stage = Stage::with(settings).await;
        let arn = stage.signing(&terms).await;
        let (keys, published) = (signing_keys(&stage), stage.key_set(ACME).await.kids());
        stage.faults.deny("secretsmanager:UpdateSecretVersionStage");
        stage.rotate(&arn).await;
        for _ in 0..3 {
            stage.wait(TimeDelta::minutes(6)).await;
            stage.aws.settle().await;
            stage.assert_sound(ACME, "retried").await;
        }
        let tokens: std::collections::BTreeSet<_> =
            stage.aws.rotations().into_iter().map(|outcome| outcome.token).collect();
        assert!(tokens.len() >= 4, "with another token each time: {tokens:?}");
        stage.faults.allow("secretsmanager:UpdateSecretVersionStage");
        stage.again(&arn).await;
        stage.assert_rotated();
        assert_eq!(stage.load(ACME).await.head.current, Some(2));
        assert_eq!((signing_keys(&stage), stage.load(ACME).await.versions.len()), (keys, 2), "the same key");
        let mut after = stage.key_set(ACME).await.kids();
        after.reverse();
        assert_eq!(after, published, "the other one signs now");
        let name = CredentialName::parse(ACME).expect("a name");
        let told = stage.engine_unhurt().records.history(&name).await.expect("readable");
        assert!(told.iter().any(|told| matches!(told.event.change, Change::Returned { generation: 2, .. })));
        Traffic::usual().goes_on(&stage, TimeDelta::hours(1), "after").await;
    }
}

/// What rests there is what consumers will read: whoever may not decrypt the one may not decrypt the other.
#[tokio::test(start_paused = true)]
async fn a_standby_is_encrypted_as_its_credentials_secret_is() {
    let stage = Stage::new().await;
    let arn = stage.secret(ACME, "{}", &Terms::jwt()).await;
    let rests = async |generation| {
        let name = stage.load(ACME).await.versions[&generation].provider["standby"].clone();
        stage.encrypted_by(&name).await
    };
    stage.rotate(&arn).await;
    stage.assert_rotated();
    assert_eq!(rests(1).await, None, "AWS's own, as the secret");

    // The owner gives the secret a key, and later another one.
    for generation in [2, 3] {
        let key = stage.encryption_key().await;
        stage.encrypt(&arn, &key).await;
        stage.tick().await;
        assert_eq!(rests(generation).await, Some(key));
        stage.pass(LEAD).await;
        stage.rotate(&arn).await;
        stage.assert_rotated();
        stage.assert_sound(ACME, "rotated under the owner's key").await;
    }

    // While that can't be used none is made, and none under another.
    let key = stage.encryption_key().await;
    stage.encrypt(&arn, &key).await;
    stage.kms().disable_key().key_id(&key).send().await.expect("disabled");
    stage.tick().await;
    assert!(!stage.load(ACME).await.versions[&4].provider.contains_key("standby"), "{}", stage.story(ACME).await);
    stage.kms().enable_key().key_id(&key).send().await.expect("enabled");
    stage.pass(TimeDelta::hours(1)).await;
    assert_eq!(rests(4).await, Some(key));
}
