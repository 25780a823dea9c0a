//! Many credentials on one schedule, with the rate that API Gateway gives an account.
//!
//! `cargo test -p tests --test all bench::herd -- --ignored --nocapture` prints the whole table.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_sdk_apigateway::types::{Op, PatchOperation};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use chrono::TimeDelta;
use futures::stream::{self, StreamExt};
use local_aws::{Function, FunctionError};
use rotator::functions::Pace;
use rotator::ports::Clock;
use rotator_cli::trouble::Outcome;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::harness::faults::{Faults, operation};
use crate::harness::functions::Idle;
use crate::harness::people::Said;
use crate::harness::{ACME, Host, OPERATOR, PausedClock, Stage, Terms, Which, say, sdk_config};

/// How long a call to AWS takes.
const LATENCY: TimeDelta = TimeDelta::milliseconds(20);
/// API Gateway's control plane: calls a second, and calls at once.
const RATE: f64 = 10.0;
const BURST: f64 = 40.0;
/// Of `CreateApiKey` and `DeleteApiKey` each.
const CREATIONS: f64 = 5.0;

/// A way to AWS on which each call takes a while, and calls to API Gateway are counted.
#[derive(Clone, Debug)]
struct Road {
    inner: SharedHttpConnector,
    clock: PausedClock,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    taken: AtomicUsize,
    throttled: AtomicUsize,
    by_operation: Mutex<BTreeMap<String, usize>>,
}

impl HttpConnector for Road {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let road = self.clone();
        HttpConnectorFuture::new(async move {
            Clock::sleep(&road.clock, LATENCY).await;
            let operation = operation(&request);
            let answer = road.inner.call(request).await;
            if operation.starts_with("apigateway:") {
                let is_throttled = answer.as_ref().is_ok_and(|answer| answer.status().as_u16() == 429);
                let count = if is_throttled { &road.seen.throttled } else { &road.seen.taken };
                count.fetch_add(1, Ordering::Relaxed);
                if !is_throttled {
                    let mut by = road.seen.by_operation.lock().unwrap_or_else(PoisonError::into_inner);
                    *by.entry(operation).or_default() += 1;
                }
            }
            answer
        })
    }
}

/// Lambda with room for so many processes: whoever finds none free waits for one.
struct Instances {
    free: Semaphore,
    host: Host,
}

#[async_trait]
impl Function for Instances {
    async fn invoke(&self, payload: Value) -> Result<Value, FunctionError> {
        let _one = self.free.acquire().await.expect("never closed");
        self.host.invoke(payload).await
    }
}

/// What else goes on while they rotate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    /// Somebody orders an emergency when that part of the credentials has rotated, in percent.
    Emergency(usize),
    /// The same, and so many clients of others read usage plans as fast as they are let.
    Readers(usize),
}

/// How it went.
#[derive(Debug)]
struct Went {
    rotated: usize,
    took: TimeDelta,
    floor: TimeDelta,
    calls: usize,
    throttled: usize,
    /// Attempts that ended without their rotation, by the error that they ended with.
    failed: BTreeMap<String, usize>,
    /// How long the emergency took.
    emergency: Option<TimeDelta>,
}

impl Went {
    fn over_the_floor(&self) -> f64 {
        self.took.as_seconds_f64() / self.floor.as_seconds_f64()
    }
}

/// The shortest time in which an account lets so many calls through, some of them creations.
fn floor(calls: usize, creations: usize) -> TimeDelta {
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let (calls, creations) = (calls as f64, creations as f64);
    let seconds = ((calls - BURST) / RATE).max((creations - CREATIONS) / CREATIONS).max(0.0);
    #[expect(clippy::cast_possible_truncation, reason = "minutes")]
    TimeDelta::milliseconds((seconds * 1_000.0) as i64)
}

async fn herd(secrets: usize, instances: usize, beside: Beside) -> Went {
    let mut stage = Stage::new().await;
    stage.plan = stage.plan("without a quota", &["beta"], None).await;
    let terms = Terms::default().with("probe", "a1b2c3/beta/ping");
    let mut arns = Vec::new();
    for number in 0..secrets {
        arns.push(stage.credential(&format!("partner/{number:04}"), &terms).await.0);
    }
    let leaked = stage.credential(ACME, &terms).await.0;
    stage.rotate(&leaked).await;
    rotated_together(stage, &arns, &leaked, instances, beside).await
}

/// The same of credentials that have no key at API Gateway, and have had their first one long enough.
async fn herd_of(terms: &Terms, secrets: usize, instances: usize) -> Went {
    let stage = Stage::new().await;
    let mut arns = Vec::new();
    for number in 0..secrets {
        let arn = stage.secret(&format!("partner/{number:04}"), "{}", terms).await;
        stage.rotate(&arn).await;
        arns.push(arn);
    }
    // Retirement's ticks make the standbys, and then everybody has heard of them.
    for _ in 0..10 {
        stage.pass(TimeDelta::minutes(1)).await;
    }
    stage.pass(TimeDelta::days(2)).await;
    rotated_together(stage, &arns, "", instances, Beside::Nothing).await
}

async fn rotated_together(mut stage: Stage, arns: &[String], leaked: &str, instances: usize, beside: Beside) -> Went {
    let secrets = arns.len();
    let road = Road { inner: stage.aws.connector(), clock: stage.clock, seen: Arc::default() };
    stage.faults = Faults::new(SharedHttpConnector::new(road.clone()));
    let mut host = Host::new(&stage, Which::Rotation);
    // Those that the set-up left have another way to AWS.
    host.idle = Some(Idle::default());
    stage.aws.register("rotation", Arc::new(Instances { free: Semaphore::new(instances), host }));
    let mut retirement = Host::new(&stage, Which::Retirement);
    (retirement.pace, retirement.idle) = (Pace::Share, Some(Idle::default()));
    stage.aws.register("retirement", Arc::new(retirement));
    stage.aws.settings(|settings| settings.control_plane_limits = true);
    let (begun, before) = (stage.clock.now(), stage.aws.rotations().len());

    for arn in arns {
        stage.secrets_manager().rotate_secret().secret_id(arn).send().await.expect("begun");
    }
    let rotated = || {
        let outcomes = stage.aws.rotations().split_off(before);
        outcomes.into_iter().filter(|one| one.error.is_none() && one.secret != leaked).count()
    };
    let all = async {
        while rotated() < secrets && stage.clock.now() < begun + TimeDelta::hours(2) {
            Clock::sleep(&stage.clock, TimeDelta::milliseconds(100)).await;
        }
        stage.clock.now() - begun
    };
    let emergency = async {
        let part = match beside {
            Beside::Nothing => return None,
            Beside::Emergency(percent) => percent,
            Beside::Readers(_) => 0,
        };
        while rotated() * 100 < secrets * part {
            Clock::sleep(&stage.clock, TimeDelta::milliseconds(100)).await;
        }
        Some(emergency(&stage, &road).await)
    };
    let readers = match beside {
        Beside::Readers(count) => count,
        Beside::Nothing | Beside::Emergency(_) => 0,
    };
    let others = stream::iter(0..readers).for_each_concurrent(None, |_| reader(&stage));
    let others = async {
        others.await;
        std::future::pending::<()>().await;
    };
    let (took, emergency) = tokio::select! {
        biased;
        done = async { tokio::join!(all, emergency) } => done,
        () = stage.aws.run() => unreachable!("it never ends"),
        () = others => unreachable!("they never end"),
    };
    let mut failed = BTreeMap::new();
    for one in stage.aws.rotations().split_off(before) {
        if let Some(error) = one.error {
            *failed.entry(format!("{} at {}", error.error_type, one.step)).or_default() += 1;
        }
    }
    stage.aws.settings(|settings| settings.control_plane_limits = false);
    for number in [0, secrets.saturating_sub(1)] {
        stage.assert_sound(&format!("partner/{number:04}"), "after the herd").await;
    }
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    let calls = count(&road.seen.taken);
    let by = road.seen.by_operation.lock().unwrap_or_else(PoisonError::into_inner);
    let creations = by.get("apigateway:POST /apikeys").copied().unwrap_or_default();
    Went {
        rotated: rotated(),
        took,
        floor: floor(calls, creations),
        calls,
        throttled: count(&road.seen.throttled),
        failed,
        emergency,
    }
}

/// Somebody at the command line declares one, and waits until the key is dead.
async fn emergency(stage: &Stage, road: &Road) -> TimeDelta {
    let began = stage.clock.now();
    let line = ["rotate", ACME, "--emergency", "--reason", "it leaked", "--yes"];
    let connector = SharedHttpConnector::new(road.clone());
    let retirement = async {
        loop {
            Clock::sleep(&stage.clock, TimeDelta::minutes(1)).await;
            stage.tick().await;
        }
    };
    let Said { outcome, stderr, .. } = tokio::select! {
        biased;
        said = stage.command_by(stage.clock, OPERATOR, connector, &line) => said,
        () = retirement => unreachable!("it never ends"),
    };
    assert_eq!(outcome, Outcome::Done, "{stderr}");
    stage.clock.now() - began
}

/// A client of somebody else's, that reads usage plans as fast as it is let.
async fn reader(stage: &Stage) {
    let config = sdk_config(stage.aws.connector()).into_builder().retry_config(RetryConfig::disabled()).build();
    let client = aws_sdk_apigateway::Client::new(&config);
    loop {
        Clock::sleep(&stage.clock, LATENCY).await;
        let read = client.get_usage_plans().send().await;
        if read.is_err() {
            Clock::sleep(&stage.clock, TimeDelta::milliseconds(500)).await;
        }
    }
}

/// One after the other, as a script would: create, attach, put, disable the old one; what is throttled, once more after a
/// second. It looks at nothing and proves nothing. How long it takes, and its calls to API Gateway.
async fn naive(secrets: usize) -> (TimeDelta, usize) {
    let mut stage = Stage::new().await;
    stage.plan = stage.plan("without a quota", &["beta"], None).await;
    let mut olds = Vec::new();
    for number in 0..secrets {
        let name = format!("partner/{number:04}");
        let (arn, old, _) = stage.credential(&name, &Terms { schedule: None, ..Terms::default() }).await;
        olds.push((arn, old));
    }
    let road = Road { inner: stage.aws.connector(), clock: stage.clock, seen: Arc::default() };
    let config = sdk_config(SharedHttpConnector::new(road.clone()));
    let config = config.into_builder().retry_config(RetryConfig::disabled()).build();
    let (gateway, manager) = (aws_sdk_apigateway::Client::new(&config), aws_sdk_secretsmanager::Client::new(&config));
    let begun = stage.clock.now();
    for (arn, old) in &olds {
        let made = again(&stage, async || gateway.create_api_key().name("new").enabled(true).send().await).await;
        let (id, value) = (made.id.expect("an id"), made.value.expect("a value"));
        let plan = &stage.plan;
        let attach = || gateway.create_usage_plan_key().usage_plan_id(plan).key_id(&id).key_type("API_KEY");
        again(&stage, async || attach().send().await).await;
        again(&stage, async || manager.put_secret_value().secret_id(arn).secret_string(&value).send().await).await;
        let off = || PatchOperation::builder().op(Op::Replace).path("/enabled").value("false").build();
        again(&stage, async || gateway.update_api_key().api_key(old).patch_operations(off()).send().await).await;
    }
    (stage.clock.now() - begun, road.seen.taken.load(Ordering::Relaxed))
}

async fn again<T, E>(stage: &Stage, call: impl AsyncFn() -> Result<T, E>) -> T {
    loop {
        match call().await {
            Ok(done) => return done,
            Err(_) => Clock::sleep(&stage.clock, TimeDelta::seconds(1)).await,
        }
    }
}

fn row(secrets: usize, instances: usize, went: &Went) -> String {
    let emergency = went.emergency.map_or("-".into(), |took| format!("{} s", took.num_seconds()));
    format!(
        "| {secrets} | {instances} | {} | {} s | {} s | {:.2} | {} | {} | {emergency} | {:?} |",
        went.rotated,
        went.took.num_seconds(),
        went.floor.num_seconds(),
        went.over_the_floor(),
        went.calls,
        went.throttled,
        went.failed,
    )
}

#[tokio::test(start_paused = true)]
async fn a_hundred_on_one_schedule_take_turns() {
    for instances in [2, 100] {
        let went = herd(100, instances, Beside::Nothing).await;
        assert!(went.rotated == 100 && went.failed.is_empty(), "{went:?}");
        assert!(went.over_the_floor() < 1.25 && went.throttled < 300, "{went:?}");
    }
}

/// KMS makes five keys a second.
#[tokio::test(start_paused = true)]
async fn kinds_without_a_key_at_api_gateway_rotate_together_as_well() {
    for terms in [Terms::webhook(), Terms::kms(), Terms::jwt()] {
        let went = herd_of(&terms, 60, 60).await;
        assert!(went.rotated == 60 && went.failed.is_empty(), "{terms:?}: {went:?}");
        assert!(went.took < TimeDelta::seconds(60), "{terms:?}: {went:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_emergency_waits_for_nobody() {
    let alone = herd(0, 100, Beside::Emergency(0)).await.emergency.expect("ended");
    for (secrets, beside) in [(100, Beside::Emergency(0)), (100, Beside::Emergency(50)), (0, Beside::Readers(4))] {
        let among_others = herd(secrets, 100, beside).await.emergency.expect("ended");
        assert!(among_others <= alone + TimeDelta::seconds(10), "{beside:?}: {among_others}, alone {alone}");
    }
}

#[tokio::test(start_paused = true)]
#[ignore = "a benchmark: it takes minutes"]
async fn table() {
    say("| Secrets | Instances | Rotated | After | Floor | Times the floor | Calls | Throttled | Emergency | Failed |");
    say("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|");
    for secrets in [100, 1_000] {
        let (took, calls) = naive(secrets).await;
        let floor = floor(calls, secrets);
        let times = took.as_seconds_f64() / floor.as_seconds_f64();
        let (took, floor) = (took.num_seconds(), floor.num_seconds());
        say(&format!("| {secrets} | a script | {secrets} | {took} s | {floor} s | {times:.2} | {calls} | | - | |"));
        for instances in [1, 2, 10, 100] {
            let went = herd(secrets, instances, Beside::Nothing).await;
            say(&row(secrets, instances, &went));
        }
    }
    let beside =
        [(0, Beside::Emergency(0)), (100, Beside::Emergency(0)), (100, Beside::Emergency(50)), (0, Beside::Readers(4))];
    for (secrets, beside) in beside {
        let went = herd(secrets, 100, beside).await;
        say(&format!("{beside:?}\n{}", row(secrets, 100, &went)));
    }
}
