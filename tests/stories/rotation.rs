//! A key rotates, its predecessor retires.

use chrono::TimeDelta;
use state::lifecycle::State;

use crate::harness::{ACME, Stage, Terms};

#[tokio::test(start_paused = true)]
async fn a_key_rotates_through_the_four_steps_and_its_predecessor_retires() {
    let stage = Stage::new().await;
    let (arn, old_id, old) = stage.credential(ACME, &Terms::default()).await;
    stage.faults.disarm();

    stage.rotate(&arn).await;
    assert!(stage.aws.rotations().iter().all(|outcome| outcome.error.is_none()), "{:?}", stage.aws.rotations());
    stage.assert_sound(ACME, "after the rotation").await;
    let new = stage.current_value(&arn).await;
    assert_ne!(new, old);
    assert!(rotator::kinds::api_gateway_key::is_ours("krt1", &new));
    assert!(stage.gets_through(&new).await && stage.gets_through(&old).await, "both are accepted during the overlap");
    println!("{}", stage.faults.calls().join("\n"));

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
