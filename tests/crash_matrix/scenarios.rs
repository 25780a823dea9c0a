//! The scenarios: each a value that says how it is prepared, what is hurt, and what must have come of it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{Datelike, TimeDelta};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use local_aws::{RetryToken, Settings};
use rotator::adoption::{self, Selection};
use rotator::engine::Engine;
use rotator::failure::Stopped;
use rotator::mend::look;
use rotator::ports::Clock;
use rotator::rotate::{Compromised, emergency};
use rotator_cli::trouble::Outcome;
use state::credential::Version;
use state::drift::Scope;
use state::ledger::Note;
use state::name::CredentialName;
use state::policy::Timetable;

use super::Of;
use super::watch::Watch;
use crate::harness::faults::Fault;
use crate::harness::strangers::Made;
use crate::harness::{ACME, API, Stage, Terms};

/// What is hurt, of whose credential.
pub struct Scenario {
    /// A kind and what happens to its credential. `CRASH_MATRIX` chooses by it.
    pub name: String,
    pub of: Of,
    /// How Secrets Manager goes on after a failed step.
    pub retry: Retry,
    /// What the credential is to be.
    pub terms: Terms,
    /// How each call is hurt.
    pub hurts: Vec<(Often, Fault)>,
    /// Up to the moment from which calls are hurt. It is made once: every run goes on from there.
    pub prepare: Act,
    /// What is hurt.
    pub act: Act,
    /// Brings it to its end, where that takes more than AWS and the clock, and sees what came of it.
    pub done: Act,
    /// Rotations that are over when AWS and the clock have gone on: the current generation comes after them.
    pub rotations: u32,
    /// Whether what a stranger knew is refused at once.
    pub is_emergency: bool,
}

/// One part of a scenario.
pub type Act = fn(&mut Run) -> LocalBoxFuture<'_, ()>;

/// A scenario being played.
pub struct Run {
    pub scenario: Arc<Scenario>,
    pub stage: Stage,
    pub watch: Watch,
    /// The credential's secret, where there is one.
    pub arn: String,
    /// What a stranger made.
    pub strangers: Vec<Made>,
    /// Names this run in the message of a test that fails.
    pub what: String,
}

/// How Secrets Manager goes on after a failed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    SameToken,
    NewToken,
    /// Only retirement's ticks go on.
    Never,
}

/// How the calls of a run are hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Often {
    Once,
    /// Every later call of the same operation, too, until two processes have given up.
    Again,
}

impl Retry {
    pub fn settings(self) -> Settings {
        let (rotation_retries, retry_token) = match self {
            Self::SameToken => (3, RetryToken::Same),
            Self::NewToken => (3, RetryToken::New),
            Self::Never => (0, RetryToken::Same),
        };
        Settings { rotation_retries, retry_token, ..Settings::default() }
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    use Of::{ApiKey, Jwt, Kms, Webhook};
    vec![
        rotation(ApiKey, Retry::SameToken),
        rotation(ApiKey, Retry::NewToken),
        rotation(ApiKey, Retry::Never),
        crowd(),
        adoption(),
        api_key_emergency(ApiKey),
        retirement(ApiKey),
        gate(),
        settlement(),
        brownout(),
        rollback_in_overlap(ApiKey),
        rollback_in_soak(ApiKey),
        repair(ApiKey),
        reconcile(ApiKey),
        rotation(Webhook, Retry::SameToken),
        api_key_emergency(Webhook),
        retirement(Webhook),
        rotation(Kms, Retry::SameToken),
        rotation(Kms, Retry::NewToken),
        first_key(Kms),
        standby(Kms),
        late_standby(),
        signing_emergency(Kms),
        signing_retirement(Kms),
        rollback_in_overlap(Kms),
        repair(Kms),
        reconcile(Kms),
        rotation(Jwt, Retry::SameToken),
        rotation(Jwt, Retry::NewToken),
        first_key(Jwt),
        standby(Jwt),
        signing_emergency(Jwt),
        signing_retirement(Jwt),
        firewall(),
        stranger(ApiKey),
        stranger(Kms),
        stranger(Jwt),
    ]
}

/// What most scenarios share.
fn scenario(of: Of, part: &str, prepare: Act, act: Act) -> Scenario {
    Scenario {
        name: format!("{of:?} {part}"),
        of,
        retry: Retry::SameToken,
        terms: of.terms(),
        hurts: if of == Of::ApiKey { in_every_way() } else { in_most_ways() },
        prepare,
        act,
        done: nothing,
        rotations: 0,
        is_emergency: false,
    }
}

/// The engine's own patience is the same for every kind: API keys show it with every fault, again and again.
fn in_every_way() -> Vec<(Often, Fault)> {
    [Often::Once, Often::Again].into_iter().flat_map(|often| Fault::ALL.map(|fault| (often, fault))).collect()
}

/// Elsewhere what is left behind by a call without an answer is of interest.
fn in_most_ways() -> Vec<(Often, Fault)> {
    let once = Fault::ALL.map(|fault| (Often::Once, fault));
    let again = [Fault::NoAnswerApplied, Fault::KilledAfter].map(|fault| (Often::Again, fault));
    once.into_iter().chain(again).collect()
}

fn rotation(of: Of, retry: Retry) -> Scenario {
    let usual = scenario(of, &format!("rotation, {retry:?}"), with_credential, rotate);
    // Only a process that ends is retried with another token.
    let kills = || [Fault::KilledBefore, Fault::KilledAfter].into_iter();
    let hurts = match (of, retry) {
        (Of::Webhook | Of::Kms | Of::Jwt, Retry::NewToken) => {
            kills().flat_map(|fault| [(Often::Once, fault), (Often::Again, fault)]).collect()
        }
        (Of::ApiKey, _) | (_, Retry::SameToken | Retry::Never) => usual.hurts,
    };
    Scenario { retry, hurts, rotations: 1, ..usual }
}

/// The same while others use up what API Gateway's control plane takes: it takes turns.
fn crowd() -> Scenario {
    let usual = scenario(Of::ApiKey, "rotation among others", with_credential, rotate_among_others);
    let faults = [Fault::ServerError, Fault::NoAnswerApplied, Fault::KilledBefore, Fault::KilledAfter];
    Scenario { hurts: faults.map(|fault| (Often::Once, fault)).into(), rotations: 1, ..usual }
}

fn adoption() -> Scenario {
    scenario(Of::ApiKey, "adoption", with_key, adopt)
}

/// A stranger knows the key. A person at the command line declares an emergency; the label's event reaches retirement.
fn api_key_emergency(of: Of) -> Scenario {
    let usual = scenario(of, "emergency", with_emergency, declare_emergency);
    Scenario { rotations: 2, is_emergency: true, ..usual }
}

/// A stranger knows the signing key, and verifiers can't know its standby yet.
fn signing_emergency(of: Of) -> Scenario {
    let usual = scenario(of, "emergency", with_young_standby, declare_emergency);
    // A person who repeats an emergency that has succeeded declares a second one, which needs room for its versions.
    Scenario { terms: of.terms().with("max-live", "8"), rotations: 1, is_emergency: true, ..usual }
}

fn retirement(of: Of) -> Scenario {
    Scenario { rotations: 1, ..scenario(of, "retirement", with_old_key, retire_in_days) }
}

fn signing_retirement(of: Of) -> Scenario {
    Scenario { rotations: 1, ..scenario(of, "retirement", with_old_key, retire_in_hours) }
}

/// The first rotation of a secret without a key.
fn first_key(of: Of) -> Scenario {
    scenario(of, "first key", with_empty_secret, rotate)
}

/// Retirement makes the standby of a key that has none.
fn standby(of: Of) -> Scenario {
    scenario(of, "standby", without_standby, tick)
}

/// The same, while KMS takes a minute until each operation knows a new key, and five until its tags count.
fn late_standby() -> Scenario {
    scenario(Of::Kms, "late standby", without_standby_and_told_late, tick)
}

/// An old key is refused while a firewall refuses everybody, in API Gateway's own words.
fn firewall() -> Scenario {
    let usual = scenario(Of::ApiKey, "firewall", with_old_key, retire_behind_a_firewall);
    Scenario { hurts: in_most_ways(), rotations: 1, ..usual }
}

/// A stranger has read what was about to be made, and has made it first.
fn stranger(of: Of) -> Scenario {
    let prepare = if of.publishes() { standby_of_a_stranger } else { key_of_a_stranger };
    let rotations = u32::from(!of.publishes());
    Scenario { hurts: in_most_ways(), rotations, ..scenario(of, "stranger", prepare, see_the_stranger_off) }
}

/// An old key is still used when its overlap is over, and then it is not.
fn gate() -> Scenario {
    let usual = scenario(Of::ApiKey, "gate", with_key_in_use, wait_four_hours);
    let terms = usual.terms.clone().with("idle-before-suspend", "PT2H");
    Scenario { terms, hurts: in_most_ways(), done: gate_is_over, rotations: 1, ..usual }
}

/// Both keys of a customer are used.
fn settlement() -> Scenario {
    let usual = scenario(Of::ApiKey, "settlement", with_both_used, tick);
    let terms = usual.terms.clone().with("idle-before-suspend", "PT2H");
    Scenario { terms, hurts: in_most_ways(), done: allowance_is_one, rotations: 1, ..usual }
}

/// An old key is refused for five minutes during its overlap, and accepted again.
fn brownout() -> Scenario {
    let usual = scenario(Of::ApiKey, "brownout", with_brownout_due, brown_out);
    let terms = usual.terms.clone().with("idle-before-suspend", "PT2H").with("brownouts", "PT5M");
    Scenario { terms, hurts: in_most_ways(), done: key_is_back, rotations: 1, ..usual }
}

/// A person rolls back to a deactivated version. Calls of that command are hurt; retirement, or the command repeated,
/// brings the rollback to its end.
fn rollback_in_overlap(of: Of) -> Scenario {
    let usual = scenario(of, "rollback in overlap", two_hours_after, roll_back);
    Scenario { hurts: in_most_ways(), done: first_is_current, ..usual }
}

/// The same to a suspended version.
fn rollback_in_soak(of: Of) -> Scenario {
    let usual = scenario(of, "rollback in soak", a_day_after, roll_back);
    Scenario { hurts: in_most_ways(), done: first_is_current, ..usual }
}

/// A rotation stopped half way, and somebody moved labels. A person repairs it.
fn repair(of: Of) -> Scenario {
    let usual = scenario(of, "repair", stuck, mend_labels);
    let terms = of.terms().with("max-live", "8");
    // Secrets Manager has given up.
    let rotations = if of.publishes() { 1 } else { 2 };
    Scenario { retry: Retry::Never, terms, hurts: in_most_ways(), rotations, ..usual }
}

/// Somebody changed keys and plans behind the service's back. A person reconciles them.
fn reconcile(of: Of) -> Scenario {
    let usual = scenario(of, "reconcile", drifted, mend_keys);
    // Six findings, each looked for again: many calls, of which most only look.
    let once = [Fault::NoAnswerApplied, Fault::KilledBefore, Fault::KilledAfter].map(|fault| (Often::Once, fault));
    let hurts = once.into_iter().chain([(Often::Again, Fault::KilledAfter)]).collect();
    let rotations = if of.publishes() { 1 } else { 5 };
    Scenario { retry: Retry::Never, terms: of.terms().with("max-live", "8"), hurts, rotations, ..usual }
}

fn nothing(_: &mut Run) -> LocalBoxFuture<'_, ()> {
    std::future::ready(()).boxed_local()
}

impl Run {
    /// Nobody meets an outage.
    async fn see(&mut self) {
        self.watch.see(&self.stage, &self.what).await;
    }

    async fn assert_sound(&self) {
        self.stage.assert_sound(ACME, &self.what).await;
    }

    async fn fail(&self, why: &str) -> ! {
        panic!("{}: {why}\n{}", self.what, self.stage.story(ACME).await)
    }

    async fn first_version(&self) -> Version {
        self.stage.load(ACME).await.versions[&1].clone()
    }
}

// How they are prepared.

fn with_credential(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        run.arn = run.scenario.of.credential(&run.stage, &run.scenario.terms).await;
        run.see().await;
    }
    .boxed_local()
}

fn with_key(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        run.stage.key("acme").await;
    }
    .boxed_local()
}

fn with_empty_secret(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async { run.arn = run.stage.secret(ACME, "{}", &run.scenario.terms).await }.boxed_local()
}

fn with_emergency(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        run.arn = run.scenario.of.credential(&run.stage, &run.scenario.terms).await;
        run.stage.rotate(&run.arn).await;
        run.stage.aws.on_label_event("retirement");
    }
    .boxed_local()
}

fn with_young_standby(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        without_standby(run).await;
        run.stage.tick().await;
        run.stage.aws.on_label_event("retirement");
    }
    .boxed_local()
}

fn without_standby_and_told_late(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async move {
        without_standby(run).await;
        told_late(&run.stage);
    }
    .boxed_local()
}

/// From now on KMS takes a minute until each operation knows a new key, and five until its tags count.
pub fn told_late(stage: &Stage) {
    let late = Duration::from_secs(60);
    stage.aws.settings(|settings| {
        settings.kms_unseen = ["GetPublicKey", "DescribeKey", "GetKeyPolicy"].map(|it| (it.to_owned(), late)).into();
        settings.kms_tag_lag = late * 5;
    });
}

fn standby_of_a_stranger(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async move {
        without_standby(run).await;
        let making = if run.scenario.of == Of::Kms { "TrentService:CreateKey" } else { "secretsmanager:CreateSecret" };
        run.stage.faults.deny(making);
        run.stage.tick().await;
        run.stage.faults.allow(making);
        act_first(run).await;
    }
    .boxed_local()
}

fn key_of_a_stranger(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async move {
        with_credential(run).await;
        run.stage.rotate_without(&run.arn, "apigateway:POST /apikeys").await;
        act_first(run).await;
    }
    .boxed_local()
}

async fn act_first(run: &mut Run) {
    let credential = run.stage.load(ACME).await;
    run.strangers = run.stage.stranger().acts_first(&credential).await;
    assert_eq!(run.strangers.len(), 1, "{}: {}", run.what, run.stage.story(ACME).await);
}

fn without_standby(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        with_empty_secret(run).await;
        run.stage.rotate(&run.arn).await;
        run.see().await;
    }
    .boxed_local()
}

fn with_old_key(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        run.arn = run.scenario.of.credential(&run.stage, &run.scenario.terms).await;
        run.stage.rotate(&run.arn).await;
        run.stage.tick().await;
        run.see().await;
    }
    .boxed_local()
}

/// Somebody uses the old key to the end of its overlap.
fn with_key_in_use(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        let old = with_two_keys(run).await;
        let at = run.first_version().await.refuse_at();
        use_at(run, at, &old).await;
    }
    .boxed_local()
}

/// Somebody uses the old key until its brownout.
fn with_brownout_due(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        let old = with_two_keys(run).await;
        let credential = run.stage.load(ACME).await;
        let at = credential.versions[&1].next_brownout(credential.slowest_refusal()).map(|(at, _)| at);
        use_at(run, at, &old).await;
    }
    .boxed_local()
}

/// A customer uses both keys.
fn with_both_used(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        let old = with_two_keys(run).await;
        let new = run.stage.current_value(&run.arn).await;
        for (key, requests) in [(&old, 20), (&new, 30)] {
            for _ in 0..requests {
                assert!(run.stage.gets_through(key).await);
            }
        }
        Clock::sleep(&run.stage.clock, TimeDelta::hours(1)).await;
    }
    .boxed_local()
}

/// An API key that rotated once: its old value.
async fn with_two_keys(run: &mut Run) -> String {
    let (arn, _, old) = run.stage.credential(ACME, &run.scenario.terms).await;
    run.stage.rotate(&arn).await;
    run.stage.tick().await;
    run.arn = arn;
    old
}

async fn use_at(run: &Run, at: Option<state::Time>, key: &str) {
    Clock::sleep(&run.stage.clock, at.expect("a deadline") - run.stage.clock.now()).await;
    assert!(run.stage.gets_through(key).await);
}

fn two_hours_after(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    rotated_before(run, TimeDelta::hours(2)).boxed_local()
}

fn a_day_after(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    rotated_before(run, TimeDelta::hours(25)).boxed_local()
}

async fn rotated_before(run: &mut Run, time: TimeDelta) {
    with_credential(run).await;
    run.stage.rotate(&run.arn).await;
    run.stage.pass(time).await;
    run.see().await;
}

fn stuck(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        run.stage.stuck(&run.scenario.terms, run.scenario.of.publishes()).await;
        run.see().await;
    }
    .boxed_local()
}

fn drifted(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        run.stage.drifted(&run.scenario.terms, run.scenario.of.publishes()).await;
        run.see().await;
    }
    .boxed_local()
}

// What is hurt.

fn rotate(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async { run.stage.rotate(&run.arn).await }.boxed_local()
}

fn rotate_among_others(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        run.stage.exhaust().await;
        run.stage.rotate(&run.arn).await;
    }
    .boxed_local()
}

fn tick(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async { run.stage.tick().await }.boxed_local()
}

fn retire_in_days(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        for _ in 0..2 {
            run.stage.pass(TimeDelta::hours(25)).await;
        }
    }
    .boxed_local()
}

fn retire_behind_a_firewall(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        run.stage.aws.block(API, true);
        for hours in [25, 1] {
            run.stage.pass(TimeDelta::hours(hours)).await;
            let version = run.first_version().await;
            if version.refused.is_some() {
                run.fail("that it is refused was concluded from what the firewall said").await;
            }
        }
        run.stage.aws.block(API, false);
    }
    .boxed_local()
}

fn retire_in_hours(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        for hours in [2, 3] {
            run.stage.pass(TimeDelta::hours(hours)).await;
            run.see().await;
        }
        run.stage.pass(TimeDelta::hours(25)).await;
    }
    .boxed_local()
}

fn wait_four_hours(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        run.stage.tick().await;
        run.stage.pass(TimeDelta::hours(4)).await;
    }
    .boxed_local()
}

fn brown_out(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        run.stage.tick().await;
        run.stage.pass(TimeDelta::minutes(11)).await;
    }
    .boxed_local()
}

fn roll_back(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        command(&run.stage, &ROLLBACK).await;
        run.assert_sound().await;
        run.see().await;
    }
    .boxed_local()
}

/// What was held is looked at again; then a person takes away what is not ours.
fn see_the_stranger_off(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        run.stage.pass(TimeDelta::minutes(20)).await;
        run.assert_sound().await;
        run.see().await;
        for made in run.strangers.clone() {
            if let Some(done) = run.stage.done_to(&made).await {
                run.fail(&done).await;
            }
        }
        run.stage.take_away(&run.strangers).await;
    }
    .boxed_local()
}

fn mend_labels(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    mend(run, &REPAIR).boxed_local()
}

fn mend_keys(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    mend(run, &RECONCILE).boxed_local()
}

const ROLLBACK: [&str; 4] = ["rollback", ACME, "--reason", "a test"];
const REPAIR: [&str; 3] = ["repair", ACME, "--yes"];
const RECONCILE: [&str; 3] = ["reconcile", ACME, "--yes"];

/// Runs a person's command, whose calls are hurt. Whether it came to its end.
async fn command(stage: &Stage, line: &[&str]) -> bool {
    let process = stage.faults.process();
    let connector = process.connector.clone();
    let done = tokio::select! {
        biased;
        said = stage.command_over(connector, line) => said.outcome == Outcome::Done,
        () = process.killed() => false,
        () = Clock::sleep(&stage.clock, TimeDelta::hours(1)) => false,
    };
    if !done {
        stage.faults.a_process_failed();
    }
    done
}

/// A person who repeats a command that failed, and retirement in between: in the end nothing is left to be found.
async fn mend(run: &mut Run, line: &[&str]) {
    let stage = &run.stage;
    // What somebody did breaks what must hold: until it is put right, nothing else may.
    let known = stage.violations(ACME).await;
    let mut is_done = false;
    for _ in 0..4 {
        is_done = command(stage, line).await;
        let mut broken = stage.violations(ACME).await;
        broken.retain(|violation| !known.contains(violation));
        if !broken.is_empty() {
            run.fail(&format!("{broken:?}")).await;
        }
        if is_done {
            break;
        }
        stage.tick().await;
    }
    let name = CredentialName::parse(ACME).expect("a name");
    let left = look(&stage.engine_unhurt(), &name, Scope::All, None, &stage.errand()).await.expect("examined");
    if !is_done || !left.findings.is_empty() {
        run.fail(&format!("{:?}", left.findings)).await;
    }
    run.assert_sound().await;
}

fn adopt(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        let stage = &run.stage;
        let terms = adoption::Terms {
            secret_prefix: "partner/".into(),
            tags: [("probe", format!("{API}/prod/ping")), ("overlap", "P1D".into()), ("soak", "P1D".into())]
                .into_iter()
                .map(|(tag, value)| (tag.to_owned(), value))
                .collect(),
            schedule: Timetable::Together("rate(30 days)".into()),
            encrypted_by: None,
            function_arn: stage.settings.function_arn.clone().expect("registered"),
        };
        let work = async |engine: &Engine| {
            let errand = stage.errand();
            for item in
                adoption::plan(engine, &Selection::Prefix("acme".into()), &terms, &errand, &mut |_, _| {}).await?
            {
                adoption::adopt(engine, &item, &terms, &errand, None).await?;
            }
            Ok(())
        };
        repeated(run, 4, work).await;
    }
    .boxed_local()
}

/// While AWS and retirement go on.
fn declare_emergency(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        let stage = &run.stage;
        let name = CredentialName::parse(ACME).expect("a name");
        let note = Note { salt: "00".into(), who: "somebody".into(), reason: "a test".into() };
        let work = async |engine: &Engine| {
            let errand = stage.errand();
            let retirement = async {
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
            let mut tell = |_| {};
            tokio::select! {
                biased;
                done = emergency(engine, &name, &Compromised::All, &note, &errand, &mut tell) => done.map(drop),
                () = retirement => unreachable!("it never ends"),
                () = aws => unreachable!("it never ends"),
            }
        };
        repeated(run, 6, work).await;
    }
    .boxed_local()
}

/// A person who repeats a command that failed or was killed, and each time a new process.
async fn repeated(run: &Run, times: u32, work: impl AsyncFn(&Engine) -> Result<(), Stopped>) {
    let stage = &run.stage;
    for _ in 0..times {
        let process = stage.faults.process();
        let engine = stage.engine(&process);
        let done = tokio::select! {
            biased;
            done = work(&engine) => done.is_ok(),
            () = process.killed() => false,
        };
        stage.aws.settle().await;
        if done {
            return;
        }
        stage.faults.a_process_failed();
    }
    run.fail("never done").await;
}

// What must have come of it.

fn first_is_current(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        // One that had not begun, or that nobody could finish in its time, is asked for again.
        if run.stage.load(ACME).await.head.current != Some(1) {
            run.stage.faults.disarm();
            command(&run.stage, &ROLLBACK).await;
            run.assert_sound().await;
            run.see().await;
        }
        if run.stage.load(ACME).await.head.current != Some(1) {
            run.fail("the first version is not current").await;
        }
    }
    .boxed_local()
}

fn gate_is_over(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        an_hour_and_a_half(run).await;
        is_enabled(run).await;
    }
    .boxed_local()
}

fn key_is_back(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        an_hour_and_a_half(run).await;
        let is_enabled = is_enabled(run).await;
        let version = run.first_version().await;
        // By at most one process: a fault may have kept it from being begun in its time.
        if version.phase.is_some() || !is_enabled || version.brownouts > 1 {
            run.fail("it is not back").await;
        }
    }
    .boxed_local()
}

fn allowance_is_one(run: &mut Run) -> LocalBoxFuture<'_, ()> {
    async {
        an_hour_and_a_half(run).await;
        is_enabled(run).await;
        let (engine, now) = (run.stage.engine_unhurt(), run.stage.clock.now());
        let month = (now.date_naive().with_day(1).expect("a day"), now.date_naive());
        let told = engine.api_keys.usage(&run.stage.plan, None, month).await.expect("told");
        let used: i64 = told.values().flat_map(|days| days.values()).map(|figures| figures.used).sum();
        if used < 56 {
            run.fail(&format!("{told:?}")).await;
        }
        for version in run.stage.load(ACME).await.versions.values() {
            let left = engine.api_keys.remaining(&run.stage.plan, &version.provider["id"], now).await.expect("told");
            if left != Some(1_000 - used) {
                run.fail(&format!("{left:?} are left, {used} are used")).await;
            }
        }
    }
    .boxed_local()
}

async fn an_hour_and_a_half(run: &mut Run) {
    for _ in 0..6 {
        run.stage.pass(TimeDelta::minutes(16)).await;
        run.assert_sound().await;
    }
}

/// Whether the first version's key is enabled. It must be there.
async fn is_enabled(run: &Run) -> bool {
    let version = run.first_version().await;
    let key = run.stage.aws.inspect_api_keys().into_iter().find(|key| Some(&key.id) == version.provider.get("id"));
    match key {
        Some(key) => key.enabled,
        None => run.fail("it is gone").await,
    }
}
