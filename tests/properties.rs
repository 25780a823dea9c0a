//! Arbitrary policies, times and faults, and an arbitrary person at work: the invariants hold after every step, nobody
//! who goes by the rules for consumers meets an outage, and in the end exactly the current key is left.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use rotator::ports::Clock;
use rotator::rotate::{Compromised, emergency};
use state::ledger::Note;
use state::lifecycle::State;
use state::name::CredentialName;

use crate::harness::faults::{Fault, When};
use crate::harness::{ACME, API, Stage, Terms};

const CASES: u32 = 40;
/// Longer than any overlap and any soak here.
const LONG: TimeDelta = TimeDelta::hours(100);

/// The owner's wishes, in hours. Not all of them go together.
#[derive(Clone, Copy, Debug)]
struct Wishes {
    overlap: u32,
    soak: u32,
    consumer_cache: u32,
    max_live: u32,
    probe: bool,
}

/// What somebody does.
#[derive(Clone, Debug)]
enum Deed {
    Rotate,
    Wait {
        minutes: u32,
    },
    Tick,
    /// The value that is current is put again by hand: a new carrier of the same key.
    PutAgain,
    Retag(Wishes),
    Emergency,
}

/// A deed, and what goes wrong meanwhile.
type Step = (Deed, Option<(usize, Fault, bool)>);

fn wishes() -> impl Strategy<Value = Wishes> {
    (2..=48_u32, 1..=48_u32, 1..=24_u32, 2..=5_u32, prop::bool::weighted(0.8)).prop_map(
        |(overlap, soak, consumer_cache, max_live, probe)| Wishes { overlap, soak, consumer_cache, max_live, probe },
    )
}

/// Wishes that go together.
fn good_wishes() -> impl Strategy<Value = Wishes> {
    wishes().prop_map(|wishes| Wishes { consumer_cache: wishes.consumer_cache.min(wishes.overlap), ..wishes })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let deed = prop_oneof![
        4 => Just(Deed::Rotate),
        4 => (1..3_600_u32).prop_map(|minutes| Deed::Wait { minutes }),
        2 => Just(Deed::Tick),
        1 => Just(Deed::PutAgain),
        1 => wishes().prop_map(Deed::Retag),
        1 => Just(Deed::Emergency),
    ];
    let fault = prop::option::weighted(0.4, (0..40_usize, prop::sample::select(Fault::ALL.to_vec()), any::<bool>()));
    prop::collection::vec((deed, fault), 1..10)
}

#[test]
fn whatever_happens_the_invariants_hold_and_nobody_meets_an_outage() {
    // The same cases for everybody: a failure can be looked into.
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        max_shrink_iters: 40,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&(good_wishes(), steps()), |(wishes, steps)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(live(wishes, &steps));
        Ok(())
    });
    outcome.unwrap_or_else(|failed| panic!("{failed}"));
}

/// Consumers that go on with what they have read for as long as they may.
#[derive(Debug, Default)]
struct Consumers {
    /// Values, each with when it was last read, and for how long it may be used from then on.
    read: Vec<(String, DateTime<Utc>, TimeDelta)>,
}

impl Consumers {
    async fn check(&mut self, stage: &Stage, what: &str) {
        let now = stage.clock.now();
        for (value, read, cache) in &self.read {
            if now <= *read + *cache {
                assert!(stage.gets_through(value).await, "{what}: an outage\n{}", stage.story(ACME).await);
            }
        }
        let value = stage.current_value(ACME).await;
        assert!(stage.gets_through(&value).await, "{what}: an outage of the current key\n{}", stage.story(ACME).await);
        let credential = stage.recorded(ACME).await;
        let policy = credential.as_ref().and_then(|credential| credential.current()).map(|version| &version.policy);
        let cache = policy.map_or(TimeDelta::zero(), |policy| policy.consumer_cache.delta());
        self.read.retain(|(known, ..)| *known != value);
        self.read.push((value, now, cache));
    }
}

async fn live(wishes: Wishes, steps: &[Step]) {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &Terms { tags: tags(wishes), ..Terms::default() }).await;
    let mut consumers = Consumers::default();
    for (n, (deed, fault)) in steps.iter().enumerate() {
        let what = format!("{wishes:?}, after step {n} of {steps:#?}");
        match fault {
            Some((call, fault, false)) => stage.faults.arm(When::Once(*call), *fault),
            Some((call, fault, true)) => stage.faults.arm(When::FromThenOn(*call), *fault),
            None => stage.faults.disarm(),
        }
        match deed {
            Deed::Rotate => {
                // Refused while another one is pending: that one is tried again.
                let _ = stage.secrets_manager().rotate_secret().secret_id(&arn).send().await;
            }
            Deed::Wait { minutes } => Clock::sleep(&stage.clock, TimeDelta::minutes(i64::from(*minutes))).await,
            Deed::Tick => stage.tick().await,
            Deed::PutAgain => put_again(&stage, &arn).await,
            Deed::Retag(wishes) => retag(&stage, &arn, *wishes).await,
            Deed::Emergency => {
                declare(&stage).await;
                // Whoever still has an old key is refused on purpose.
                consumers.read.clear();
            }
        }
        stage.aws.settle().await;
        stage.assert_sound(ACME, &what).await;
        consumers.check(&stage, &what).await;
    }
    stage.faults.disarm();
    let what = format!("{wishes:?}, after {steps:#?}, at the end");
    retag(&stage, &arn, Wishes { overlap: 24, soak: 24, consumer_cache: 1, max_live: 5, probe: true }).await;
    for _ in 0..4 {
        stage.pass(LONG).await;
        stage.aws.settle().await;
        stage.tick().await;
        stage.assert_sound(ACME, &what).await;
        consumers.check(&stage, &what).await;
    }
    // Whatever was done: the next rotation goes through.
    let before = stage.recorded(ACME).await.and_then(|credential| credential.head.current);
    for _ in 0..3 {
        let _ = stage.secrets_manager().rotate_secret().secret_id(&arn).send().await;
        for _ in 0..4 {
            stage.aws.settle().await;
            stage.pass(TimeDelta::minutes(6)).await;
        }
    }
    stage.assert_sound(ACME, &what).await;
    let after = stage.recorded(ACME).await.and_then(|credential| credential.head.current);
    assert!(after > before, "{what}: no rotation goes through\n{}", stage.story(ACME).await);
    for _ in 0..3 {
        stage.pass(LONG).await;
        stage.aws.settle().await;
        stage.assert_sound(ACME, &what).await;
    }
    let credential = stage.load(ACME).await;
    let left: Vec<State> =
        credential.versions.values().map(|version| version.state).filter(|state| *state != State::Destroyed).collect();
    assert_eq!(left, [State::Active], "{what}\n{}", stage.story(ACME).await);
    assert_eq!(stage.aws.inspect_api_keys().len(), 1, "{what}: an orphan\n{}", stage.story(ACME).await);
    consumers.check(&stage, &what).await;
}

fn tags(wishes: Wishes) -> std::collections::BTreeMap<String, String> {
    let Wishes { overlap, soak, consumer_cache, max_live, probe } = wishes;
    Terms::default()
        .with("overlap", &format!("PT{overlap}H"))
        .with("soak", &format!("PT{soak}H"))
        .with("consumer-cache", &format!("PT{consumer_cache}H"))
        .with("max-live", &max_live.to_string())
        .with("probe", &if probe { format!("{API}/prod/ping") } else { "none".into() })
        .tags
}

async fn retag(stage: &Stage, arn: &str, wishes: Wishes) {
    let tag =
        |(key, value): (&String, &String)| aws_sdk_secretsmanager::types::Tag::builder().key(key).value(value).build();
    let tags = tags(wishes).iter().map(tag).collect();
    stage.secrets_manager().tag_resource().secret_id(arn).set_tags(Some(tags)).send().await.expect("tagged");
}

async fn put_again(stage: &Stage, arn: &str) {
    let client = stage.secrets_manager();
    let read = client.get_secret_value().secret_id(arn).send().await.expect("readable");
    let value = read.secret_string().expect("text");
    client.put_secret_value().secret_id(arn).secret_string(value).send().await.expect("put");
}

async fn declare(stage: &Stage) {
    let name = CredentialName::parse(ACME).expect("a name");
    let note = Note { salt: "00".into(), who: "somebody".into(), reason: "a test".into() };
    let process = stage.faults.process();
    let engine = stage.engine(&process);
    let errand = stage.errand();
    let mut tell = |_| {};
    let world = async {
        loop {
            stage.aws.settle().await;
            stage.tick().await;
            Clock::sleep(&stage.clock, TimeDelta::seconds(20)).await;
        }
    };
    // How it ended is told to the person, who may repeat it; what it left must be sound.
    tokio::select! {
        biased;
        _ = emergency(&engine, &name, &Compromised::All, &note, &errand, &mut tell) => {}
        () = process.killed() => {}
        () = world => unreachable!("it never ends"),
    }
}
