//! Every call of every scenario, hurt in every way, once and again and again; then AWS goes on as AWS does. All must
//! end with the work done, every invariant true, no orphan and no outage.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::TimeDelta;
use local_aws::{RetryToken, Settings};
use rotator::adoption::{self, Selection};
use rotator::failure::Stopped;
use rotator::ports::Clock;
use rotator::rotate::{Compromised, emergency};
use state::ledger::Note;
use state::lifecycle::State;
use state::name::CredentialName;

use crate::harness::faults::{Fault, When};
use crate::harness::{ACME, API, Stage, Terms};

/// How Secrets Manager goes on after a failed step.
#[derive(Clone, Copy, Debug)]
enum Retry {
    SameToken,
    NewToken,
    /// Only retirement's ticks go on.
    Never,
}

impl Retry {
    fn settings(self) -> Settings {
        let (rotation_retries, retry_token) = match self {
            Self::SameToken => (3, RetryToken::Same),
            Self::NewToken => (3, RetryToken::New),
            Self::Never => (0, RetryToken::Same),
        };
        Settings { rotation_retries, retry_token, control_plane_limits: false, ..Settings::default() }
    }
}

/// What is being hurt.
#[derive(Clone, Copy, Debug)]
enum Scenario {
    Rotation(Retry),
    Adoption,
    Emergency,
    Retirement,
}

/// How the calls of a run are hurt.
#[derive(Clone, Copy, Debug)]
enum Often {
    Once,
    Again,
}

/// Longer than any healthy run takes in paused time.
const DEADLINE: TimeDelta = TimeDelta::hours(6);

/// One run; the number of calls that the scenario itself made.
async fn run(scenario: Scenario, hurt: Option<(Often, usize, Fault)>) -> usize {
    let what = format!("{scenario:?} {hurt:?}");
    let retry = match scenario {
        Scenario::Rotation(retry) => retry,
        Scenario::Adoption | Scenario::Emergency | Scenario::Retirement => Retry::SameToken,
    };
    let stage = Stage::with(retry.settings()).await;
    let arm = || match hurt {
        Some((Often::Once, at, fault)) => stage.faults.arm(When::Once(at), fault),
        Some((Often::Again, at, fault)) => stage.faults.arm(When::FromThenOn(at), fault),
        None => stage.faults.disarm(),
    };
    let name = match scenario {
        Scenario::Rotation(_) => {
            let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
            arm();
            stage.rotate(&arn).await;
            ACME
        }
        Scenario::Adoption => {
            stage.key("acme").await;
            arm();
            adopt(&stage, &what).await;
            ACME
        }
        Scenario::Emergency => {
            let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
            stage.rotate(&arn).await;
            stage.aws.on_label_event("retirement");
            arm();
            declare_emergency(&stage, &what).await;
            ACME
        }
        Scenario::Retirement => {
            let (arn, ..) = stage.credential(ACME, &Terms::default()).await;
            stage.rotate(&arn).await;
            arm();
            stage.pass(TimeDelta::hours(25)).await;
            stage.pass(TimeDelta::hours(25)).await;
            ACME
        }
    };
    let calls = stage.faults.calls().len();
    let rotations = match scenario {
        Scenario::Adoption => 0,
        Scenario::Rotation(_) | Scenario::Retirement => 1,
        Scenario::Emergency => 2,
    };
    go_on(&stage, name, rotations, &what).await;
    if hurt.is_some() {
        assert!(stage.faults.met() > 0, "{what}: the fault was never met");
    }
    retire(&stage, name, &what).await;
    calls
}

/// AWS and the clock go on until nothing is under way any more.
pub async fn go_on(stage: &Stage, name: &str, rotations: u32, what: &str) {
    let begun = stage.clock.now();
    loop {
        stage.aws.settle().await;
        stage.assert_sound(name, what).await;
        let value = stage.current_value(name).await;
        assert!(stage.gets_through(&value).await, "{what}: an outage\n{}", stage.story(name).await);
        let credential = stage.recorded(name).await;
        let open = credential.as_ref().is_some_and(|c| c.head.candidate.is_some() || c.head.order.is_some());
        if credential.as_ref().and_then(|c| c.head.current).is_some_and(|current| current > rotations) && !open {
            return;
        }
        if !open {
            // It ended before it was begun: the next scheduled rotation comes along, and AWS reattempts the pending one.
            let _ = stage.secrets_manager().rotate_secret().secret_id(name).send().await;
        }
        assert!(stage.clock.now() < begun + DEADLINE, "{what}: no end\n{}", stage.story(name).await);
        stage.pass(TimeDelta::minutes(6)).await;
    }
}

/// After every overlap and soak, exactly the current key is left.
async fn retire(stage: &Stage, name: &str, what: &str) {
    for _ in 0..3 {
        stage.pass(TimeDelta::hours(25)).await;
        stage.tick().await;
        stage.assert_sound(name, what).await;
    }
    let credential = stage.load(name).await;
    let left: Vec<State> =
        credential.versions.values().map(|version| version.state).filter(|state| *state != State::Destroyed).collect();
    assert_eq!(left, [State::Active], "{what}\n{}", stage.story(name).await);
    assert_eq!(stage.aws.inspect_api_keys().len(), 1, "{what}: an orphan\n{}", stage.story(name).await);
    let value = stage.current_value(name).await;
    assert!(stage.gets_through(&value).await, "{what}: an outage at the end");
}

/// A person who repeats a command that failed.
async fn adopt(stage: &Stage, what: &str) {
    let terms = adoption::Terms {
        secret_prefix: "partner/".into(),
        tags: [("probe", format!("{API}/prod/ping")), ("overlap", "P1D".into()), ("soak", "P1D".into())]
            .into_iter()
            .map(|(tag, value)| (tag.to_owned(), value))
            .collect(),
        schedule: "rate(30 days)".into(),
        function_arn: stage.settings.function_arn.clone().expect("registered"),
    };
    for _ in 0..4 {
        let process = stage.faults.process();
        let engine = stage.engine(&process);
        let errand = stage.errand();
        let work = async {
            for item in adoption::plan(&engine, &Selection::Prefix("acme".into()), &terms, &errand).await? {
                adoption::adopt(&engine, &item, &terms, &errand, None).await?;
            }
            Ok::<_, Stopped>(())
        };
        let done = tokio::select! { biased; done = work => done.is_ok(), () = process.killed() => false };
        stage.aws.settle().await;
        if done {
            return;
        }
        stage.faults.a_process_failed();
    }
    panic!("{what}: never adopted");
}

async fn declare_emergency(stage: &Stage, what: &str) {
    let name = CredentialName::parse(ACME).expect("a name");
    let note = Note { salt: "00".into(), who: "somebody".into(), reason: "a test".into() };
    for _ in 0..6 {
        let process = stage.faults.process();
        let engine = stage.engine(&process);
        let errand = stage.errand();
        let mut tell = |_| {};
        let work = emergency(&engine, &name, &Compromised::All, &note, &errand, &mut tell);
        let world = async {
            loop {
                stage.aws.settle().await;
                Clock::sleep(&stage.clock, TimeDelta::minutes(1)).await;
                stage.tick().await;
            }
        };
        let aws = async {
            loop {
                stage.aws.settle().await;
                Clock::sleep(&stage.clock, TimeDelta::milliseconds(500)).await;
            }
        };
        let done = tokio::select! {
            biased;
            done = work => done.is_ok(),
            () = process.killed() => false,
            () = world => unreachable!("it never ends"),
            () = aws => unreachable!("it never ends"),
        };
        if done {
            return;
        }
        stage.faults.a_process_failed();
    }
    panic!("{what}: never done\n{}", stage.story(ACME).await);
}

const SCENARIOS: [Scenario; 6] = [
    Scenario::Rotation(Retry::SameToken),
    Scenario::Rotation(Retry::NewToken),
    Scenario::Rotation(Retry::Never),
    Scenario::Adoption,
    Scenario::Emergency,
    Scenario::Retirement,
];

fn alone(scenario: Scenario, hurt: Option<(Often, usize, Fault)>) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(run(scenario, hurt))
}

#[test]
fn crash_matrix() {
    let mut runs = Vec::new();
    // Past libtest's capture: the count is to be seen whenever the tests are run.
    let mut out = std::io::stdout();
    for scenario in SCENARIOS {
        let calls = alone(scenario, None);
        for at in 0..calls {
            for fault in Fault::ALL {
                runs.extend([Often::Once, Often::Again].map(|often| (scenario, (often, at, fault))));
            }
        }
        writeln!(out, "crash matrix: {scenario:?}: {calls} calls").expect("standard output");
    }
    let (next, good, bad) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((scenario, hurt)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match std::panic::catch_unwind(|| alone(*scenario, Some(*hurt))) {
                        Ok(_) => _ = good.fetch_add(1, Ordering::Relaxed),
                        Err(_) => bad.lock().expect("not poisoned").push(format!("{scenario:?} {hurt:?}")),
                    }
                }
            });
        }
    });
    writeln!(out, "crash matrix: {} of {}", good.into_inner(), runs.len()).expect("standard output");
    let bad = bad.into_inner().expect("not poisoned");
    assert!(bad.is_empty(), "{} runs ended badly, among them {:#?}", bad.len(), &bad[..bad.len().min(20)]);
}
