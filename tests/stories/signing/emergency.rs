//! A stranger knows a signing key, or may have used it.

use chrono::TimeDelta;
use rotator::rotate::{Compromised, Milestone};
use state::lifecycle::State;

use super::{key_of, kid, signing_keys, states};
use crate::harness::signing::{LEAD, Rejection, Signer, TWO_HOURS, Traffic};
use crate::harness::{ACME, Stage, Terms};
use crate::stories::emergency::{declare, ticking, words};

fn strange(told: &[Milestone]) -> Option<chrono::DateTime<chrono::Utc>> {
    told.iter().find_map(|milestone| if let Milestone::Strange { until, .. } = milestone { Some(*until) } else { None })
}

#[tokio::test(start_paused = true)]
async fn the_standby_takes_over_at_once_and_no_verifier_refuses_what_it_signs() {
    for terms in [Terms::kms(), Terms::jwt()] {
        let stage = Stage::new().await;
        stage.signing(&terms).await;
        stage.aws.on_label_event("retirement");
        ticking(&stage);
        let mut traffic = Traffic::usual();
        traffic.goes_on(&stage, TimeDelta::hours(1), "before").await;
        let (old, old_kid) = (key_of(&stage, 1).await, kid(&stage).await);
        let declared = stage.clock.now();
        let (rotated, told) = declare(&stage, Compromised::All).await;

        assert!(stage.clock.now() - declared < TimeDelta::seconds(30), "nothing was waited for");
        assert_eq!((rotated.generation, &rotated.compromised), (2, &vec![1]));
        let said = words(&told);
        let said: Vec<_> = said.iter().filter(|word| **word != "reached").copied().collect();
        assert_eq!(said, ["ordered", "begun", "promoted", "suspended", "refused", "trusted"]);
        let withdrawn = stage.load(ACME).await.versions[&1].suspended.expect("withdrawn");
        assert!(told.contains(&Milestone::Trusted { generation: 1, until: withdrawn + TWO_HOURS }));
        assert!(!stage.key_set(ACME).await.kids().contains(&old_kid), "withdrawn at once");
        if terms.tags["rotator:kind"] == "kms-signing-key" {
            assert_eq!(stage.kms_state(&old).as_deref(), Some("Disabled"));
        }

        // Its live tokens are refused by and by, which is the purpose; those of the new key never.
        traffic.signers = vec![Signer::prompt()];
        let end = stage.clock.now() + TWO_HOURS;
        let mut of_the_old = Vec::new();
        while stage.clock.now() < end {
            of_the_old.extend(traffic.round(&stage).await);
            assert!(of_the_old.iter().all(|rejection| rejection.kid == old_kid), "{of_the_old:?}");
            stage.pass(TimeDelta::minutes(5)).await;
        }
        assert!(of_the_old.iter().any(|rejection| rejection.verifier == "HTTP cache"));
        traffic.goes_on(&stage, TimeDelta::hours(2), "after").await;
        stage.pass(LEAD).await;
        stage.assert_sound(ACME, "at the end").await;
        assert_eq!(states(&stage).await, [State::Destroyed, State::Active, State::PreActivation]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_may_trust_the_withdrawn_key_until_the_moment_that_is_told_and_not_after() {
    let stage = Stage::new().await;
    stage.signing(&Terms::jwt().with("token-life", "PT6H")).await;
    stage.aws.on_label_event("retirement");
    // A thief goes on signing with what they have.
    let mut thief = Signer::caching(TimeDelta::days(30));
    thief.sign(&stage, ACME).await.expect("a token");
    let mut traffic = Traffic { signers: Vec::new(), ..Traffic::usual() };
    traffic.live = vec![thief.sign(&stage, ACME).await.expect("a token")];
    assert_eq!(traffic.show(&stage).await, [], "every cache has it, as late as can be");
    let (_, told) = declare(&stage, Compromised::All).await;
    let until = told
        .iter()
        .find_map(|milestone| if let Milestone::Trusted { until, .. } = milestone { Some(*until) } else { None });
    let until = until.expect("told");
    stage.wait(until - stage.clock.now() - TimeDelta::minutes(1)).await;
    traffic.live = vec![thief.sign(&stage, ACME).await.expect("a token")];
    let names: Vec<_> = traffic.show(&stage).await.into_iter().map(|rejection| rejection.verifier).collect();
    assert_eq!(names, ["HTTP cache"], "the others trust it to the last minute");
    stage.wait(until - stage.clock.now()).await;
    traffic.live = vec![thief.sign(&stage, ACME).await.expect("a token")];
    assert_eq!(traffic.show(&stage).await.len(), 3, "and nobody afterwards");
}

#[tokio::test(start_paused = true)]
async fn the_compromised_key_is_disabled_first_but_nobody_waits_long_for_that() {
    let stage = Stage::new().await;
    stage.signing(&Terms::kms()).await;
    let (old, old_kid) = (key_of(&stage, 1).await, kid(&stage).await);
    stage.aws.on_label_event("retirement");
    stage.faults.deny("TrentService:DisableKey");
    let (done, _) = crate::stories::emergency::declare_until(&stage, Compromised::All, |_| false).await;
    let stopped = done.expect("not killed").expect_err("it can't be disabled");
    assert_eq!(stopped.kind(), "Held.Denied");
    assert_eq!(stage.kms_state(&old).as_deref(), Some("Enabled"));
    assert!(stage.key_set(ACME).await.kids().contains(&old_kid), "its signers would meet verifiers before an error");
    stage.wait(TimeDelta::minutes(6)).await;
    assert!(!stage.key_set(ACME).await.kids().contains(&old_kid), "withdrawn, whatever becomes of that");

    stage.faults.allow("TrentService:DisableKey");
    stage.pass(TimeDelta::minutes(15)).await;
    assert_eq!(stage.kms_state(&old).as_deref(), Some("Disabled"));
    assert_eq!(states(&stage).await[0], State::Suspended);
    assert!(stage.load(ACME).await.head.order.is_none());
    stage.assert_sound(ACME, "at the end").await;
}

#[tokio::test(start_paused = true)]
async fn a_second_emergency_goes_ahead_with_a_young_standby_and_says_until_when() {
    for terms in [Terms::kms(), Terms::jwt()] {
        let stage = Stage::new().await;
        stage.signing(&terms.with("max-live", "8")).await;
        stage.aws.on_label_event("retirement");
        ticking(&stage);
        let mut traffic = Traffic::usual();
        assert_eq!(traffic.round(&stage).await, []);
        let (_, told) = declare(&stage, Compromised::All).await;
        assert_eq!(strange(&told), None);
        stage.pass(TimeDelta::minutes(10)).await;

        let (rotated, told) = declare(&stage, Compromised::All).await;
        assert_eq!((rotated.generation, &rotated.compromised), (3, &vec![2]));
        let until = strange(&told).expect("it says what it costs");
        let published = stage.load(ACME).await.versions[&3].published.expect("published");
        assert_eq!(until, published + TWO_HOURS);
        stage.assert_sound(ACME, "after the second").await;

        let new = kid(&stage).await;
        traffic.signers = vec![Signer::prompt()];
        traffic.live.clear();
        let rejected = traffic.round(&stage).await;
        assert_eq!(rejected, [Rejection { verifier: "authorizer", kid: new }], "who fetches again knows it");
        stage.wait(until - stage.clock.now()).await;
        assert_eq!(traffic.round(&stage).await, [], "and by then everybody does");
        traffic.goes_on(&stage, TimeDelta::hours(3), "after").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_waits_for_its_standby_is_taken_over() {
    let stage = Stage::new().await;
    let arn = stage.signing(&Terms::kms()).await;
    stage.rotate(&arn).await;
    stage.pass(TimeDelta::hours(1)).await;
    stage.rotate(&arn).await;
    assert_eq!(stage.failure().error_type, "Held.StandbyTooYoung");
    let waiting = stage.pending(&arn).await;
    stage.aws.on_label_event("retirement");
    let declared = stage.clock.now();
    let (rotated, told) = declare(&stage, Compromised::All).await;

    assert_eq!((rotated.generation, rotated.token.as_str()), (3, waiting.as_str()), "the very same rotation");
    let took = stage.clock.now() - declared;
    assert!(took < TimeDelta::minutes(2), "Secrets Manager's own minute, and no lead: {took}");
    assert!(strange(&told).is_some());
    assert!(!words(&told).contains(&"fenced"));
    stage.assert_sound(ACME, "over").await;
    stage.pass(TimeDelta::hours(3)).await;
    Traffic::usual().goes_on(&stage, TimeDelta::hours(1), "after").await;
}

#[tokio::test(start_paused = true)]
async fn without_a_standby_it_makes_one_on_its_own_path() {
    for terms in [Terms::kms(), Terms::jwt()] {
        let stage = Stage::new().await;
        let arn = stage.secret(ACME, "{}", &terms).await;
        stage.rotate(&arn).await;
        stage.aws.on_label_event("retirement");
        assert_eq!(states(&stage).await, [State::Active], "retirement has not come by yet");

        let (rotated, told) = declare(&stage, Compromised::All).await;
        assert_eq!((rotated.generation, &rotated.compromised), (2, &vec![1]));
        assert!(strange(&told).is_some());
        stage.assert_sound(ACME, "over").await;
        stage.pass(TimeDelta::hours(3)).await;
        Traffic::usual().goes_on(&stage, TimeDelta::hours(1), "after").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_a_stranger_knows_never_signs() {
    let stage = Stage::new().await;
    stage.signing(&Terms::kms()).await;
    let known = key_of(&stage, 2).await;
    stage.aws.on_label_event("retirement");
    ticking(&stage);
    let (rotated, _) = declare(&stage, Compromised::Generations(vec![2])).await;

    assert_eq!((rotated.generation, rotated.compromised), (3, vec![2]), "another one was made in its place");
    assert_eq!(stage.kms_state(&known).as_deref(), Some("Disabled"));
    let credential = stage.load(ACME).await;
    assert_eq!((credential.versions[&2].activated, credential.versions[&2].state), (None, State::Suspended));
    stage.assert_sound(ACME, "over").await;
    stage.pass(LEAD).await;
    stage.pass(LEAD).await;
    assert_eq!(signing_keys(&stage).len(), 2, "the one that signs, and a standby");
    stage.assert_sound(ACME, "at the end").await;
}
