//! Every call of every scenario, hurt in every way, once and again and again; then AWS goes on as AWS does. All must
//! end with the work done, every invariant true, no orphan and no outage.
//!
//! A scenario is prepared once: each run goes on from that moment, in an AWS of its own. What follows once a fault was
//! met and what it hurt is over depends on what has come of it alone. So each different outcome of a scenario is
//! followed to its end once, as in [`actors`](crate::actors).
//!
//! `CRASH_MATRIX=kms cargo test -p tests --test all crash_matrix` runs only the scenarios with that word in their name.

mod scenarios;
mod watch;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use rotator::ports::Clock;

use crate::harness::faults::{Fault, When};
use crate::harness::moments::Moment;
use crate::harness::outcome::Followed;
use crate::harness::strangers::Made;
use crate::harness::{ACME, Stage, Terms, say};

pub use scenarios::told_late;
use scenarios::{Often, Run, Scenario};
pub use watch::{Watch, go_on, retire};

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    ApiKey,
    Webhook,
    Kms,
    Jwt,
}

impl Of {
    pub fn terms(self) -> Terms {
        match self {
            Self::ApiKey => Terms::default(),
            Self::Webhook => Terms::webhook(),
            Self::Kms => Terms::kms(),
            Self::Jwt => Terms::jwt(),
        }
    }

    pub fn publishes(self) -> bool {
        match self {
            Self::ApiKey | Self::Webhook => false,
            Self::Kms | Self::Jwt => true,
        }
    }

    /// A credential that has its first key, and a standby if it has standbys. Its ARN.
    async fn credential(self, stage: &Stage, terms: &Terms) -> String {
        match self {
            Self::ApiKey => stage.credential(ACME, terms).await.0,
            Self::Webhook => {
                let arn = stage.secret(ACME, "{}", terms).await;
                stage.rotate(&arn).await;
                arn
            }
            Self::Kms | Self::Jwt => stage.signing(terms).await,
        }
    }
}

/// A call of a scenario that is hurt: how often, which of its calls, in which way.
type Hurt = (Often, usize, Fault);

/// A scenario at the moment from which its calls are hurt, and what its runs have come to so far.
struct Prepared {
    scenario: Arc<Scenario>,
    moment: Moment,
    watch: Watch,
    arn: String,
    strangers: Vec<Made>,
    followed: Followed,
}

impl Prepared {
    async fn new(scenario: Scenario) -> Self {
        let stage = Stage::with(scenario.retry.settings()).await;
        let mut watch = Watch::new(scenario.of);
        watch.is_emergency = scenario.is_emergency;
        let what = format!("{}, before it", scenario.name);
        let scenario = Arc::new(scenario);
        let (arn, strangers) = (String::new(), Vec::new());
        let mut run = Run { scenario: scenario.clone(), stage, watch, arn, strangers, what };
        (scenario.prepare)(&mut run).await;
        // API Gateway takes as much at once again as before it was set up.
        Clock::sleep(&run.stage.clock, TimeDelta::seconds(10)).await;
        let Run { stage, watch, arn, strangers, .. } = run;
        Self { scenario, moment: stage.moment(), watch, arn, strangers, followed: Followed::default() }
    }

    /// One run; the calls that the scenario itself made.
    async fn run(&self, hurt: Option<Hurt>) -> Vec<String> {
        let scenario = self.scenario.clone();
        let what = named(&scenario, hurt);
        let (stage, watch) = (self.moment.stage(), self.watch.clone());
        match hurt {
            Some((Often::Once, at, fault)) => stage.faults.arm(When::Once(at), fault),
            Some((Often::Again, at, fault)) => stage.faults.arm(When::FromThenOn(at), fault),
            None => stage.faults.disarm(),
        }
        let (arn, strangers) = (self.arn.clone(), self.strangers.clone());
        let mut run = Run { scenario: scenario.clone(), stage, watch, arn, strangers, what };
        (scenario.act)(&mut run).await;
        let calls = run.stage.faults.calls();
        run.stage.aws.settle().await;
        run.stage.assert_sound(ACME, &run.what).await;
        run.watch.see(&run.stage, &run.what).await;
        // A fault that waits for a call of what follows makes it another thing to follow.
        let is_met = hurt.is_none() || run.stage.faults.met() > 0;
        if is_met && !self.followed.is_new(&run.stage, &run.watch).await {
            return calls;
        }
        go_on(&run.stage, ACME, scenario.rotations, &mut run.watch, &run.what).await;
        if hurt.is_some() {
            assert!(run.stage.faults.met() > 0, "{}: the fault was never met", run.what);
        }
        (scenario.done)(&mut run).await;
        retire(&run.stage, &mut run.watch, &run.what).await;
        calls
    }
}

fn named(scenario: &Scenario, hurt: Option<Hurt>) -> String {
    match hurt {
        Some((often, at, fault)) => format!("{}: call {at}, {often:?} {fault:?}", scenario.name),
        None => format!("{}, unhurt", scenario.name),
    }
}

/// In a runtime of its own, whose time is paused.
fn alone<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    // Boxed: an unoptimised build has more of it than a thread has stack.
    runtime.expect("a runtime").block_on(Box::pin(work))
}

#[test]
fn crash_matrix() {
    let only = std::env::var("CRASH_MATRIX").unwrap_or_default().to_lowercase();
    let chosen: Vec<Scenario> =
        scenarios::all().into_iter().filter(|one| one.name.to_lowercase().contains(&only)).collect();
    let prepared: Vec<Prepared> = chosen.into_iter().map(|scenario| alone(Prepared::new(scenario))).collect();
    let mut runs = Vec::new();
    for one in &prepared {
        let calls = alone(one.run(None));
        for (at, operation) in calls.iter().enumerate() {
            let hurts: BTreeSet<(Often, Fault)> =
                one.scenario.hurts.iter().map(|(often, fault)| (*often, fault.distinct_for(operation))).collect();
            runs.extend(hurts.into_iter().map(|(often, fault)| (one, (often, at, fault))));
        }
        say(&format!("crash matrix: {}: {} calls", one.scenario.name, calls.len()));
    }
    let (next, bad) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((one, hurt)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let run = AssertUnwindSafe(|| alone(one.run(Some(*hurt))));
                    if std::panic::catch_unwind(run).is_err() {
                        bad.lock().expect("not poisoned").push(named(&one.scenario, Some(*hurt)));
                    }
                }
            });
        }
    });
    let bad = bad.into_inner().expect("not poisoned");
    let followed: usize = prepared.iter().map(|one| one.followed.count()).sum();
    say(&format!("crash matrix: {} of {}, followed {followed} outcomes", runs.len() - bad.len(), runs.len()));
    assert!(bad.is_empty(), "{} runs ended badly, among them {:#?}", bad.len(), &bad[..bad.len().min(20)]);
}
