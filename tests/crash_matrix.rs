//! Every call of every scenario, hurt in every way, once and again and again; then AWS goes on as AWS does. All must
//! end with the work done, every invariant true, no orphan and no outage.
//!
//! `CRASH_MATRIX=kms cargo test -p tests --test all crash_matrix` runs only the scenarios with that word in their name.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{Datelike, TimeDelta};
use local_aws::{RetryToken, Settings};
use rotator::adoption::{self, Selection};
use rotator::failure::Stopped;
use rotator::mend::look;
use rotator::ports::Clock;
use rotator::rotate::{Compromised, emergency};
use rotator_cli::trouble::Outcome;
use state::drift::Scope;
use state::ledger::Note;
use state::lifecycle::State;
use state::name::CredentialName;

use crate::harness::faults::{Fault, When};
use crate::harness::signing::{Signer, Traffic, Verifier};
use crate::harness::webhooks::{Post, Reader};
use crate::harness::{ACME, API, Stage, Terms};

/// How Secrets Manager goes on after a failed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Whose keys are being hurt, and in what.
#[derive(Clone, Copy, Debug)]
struct Scenario(Of, Part);

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    ApiKey,
    Webhook,
    Kms,
    Jwt,
}

/// What is being hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Rotation(Retry),
    Adoption,
    /// Of a signing key: with a standby that verifiers can't know yet.
    Emergency,
    Retirement,
    /// The first rotation of a secret without a key.
    FirstKey,
    /// Made by retirement.
    Standby,
    /// An old key is still used when its overlap is over, and then it is not.
    Gate,
    /// Both keys of a customer are used.
    Settlement,
    /// From its beginning to its end.
    Brownout,
    /// A rollback to a deactivated version. The command is hurt; whoever comes later brings it to its end.
    RollbackInOverlap,
    /// A rollback to a suspended version.
    RollbackInSoak,
    /// Of a rotation that stopped half way while somebody moved labels.
    Repair,
    /// Of keys and plans that somebody changed behind the service's back.
    Reconcile,
}

impl Part {
    /// What its credential is to be, of the usual terms.
    fn terms(self, terms: Terms) -> Terms {
        match self {
            Self::Gate | Self::Settlement => terms.with("idle-before-suspend", "PT2H"),
            Self::Brownout => terms.with("idle-before-suspend", "PT2H").with("brownouts", "PT5M"),
            Self::Repair | Self::Reconcile => terms.with("max-live", "8"),
            Self::Rotation(_)
            | Self::Adoption
            | Self::Emergency
            | Self::Retirement
            | Self::FirstKey
            | Self::Standby
            | Self::RollbackInOverlap
            | Self::RollbackInSoak => terms,
        }
    }
}

impl Of {
    fn terms(self) -> Terms {
        match self {
            Self::ApiKey => Terms::default(),
            Self::Webhook => Terms::webhook(),
            Self::Kms => Terms::kms(),
            Self::Jwt => Terms::jwt(),
        }
    }

    fn publishes(self) -> bool {
        match self {
            Self::ApiKey | Self::Webhook => false,
            Self::Kms | Self::Jwt => true,
        }
    }

    /// A credential that has its first key, and a standby if it has standbys. Its ARN.
    async fn credential(self, stage: &Stage) -> String {
        match self {
            Self::ApiKey => stage.credential(ACME, &self.terms()).await.0,
            Self::Webhook => {
                let arn = stage.secret(ACME, "{}", &self.terms()).await;
                stage.rotate(&arn).await;
                arn
            }
            Self::Kms | Self::Jwt => stage.signing(&self.terms()).await,
        }
    }
}

impl Scenario {
    /// How a call of that operation is hurt, each way once that makes a difference.
    fn hurts_of(self, operation: &str) -> BTreeSet<(Often, Fault)> {
        self.hurts().into_iter().map(|(often, fault)| (often, fault.distinct_for(operation))).collect()
    }

    /// How each of its calls is hurt. The engine's own patience is the same for every kind: API keys show it with every
    /// fault, again and again; of the others, what is left behind by a call without an answer is of interest.
    fn hurts(self) -> Vec<(Often, Fault)> {
        let all = |often| Fault::ALL.map(|fault| (often, fault)).to_vec();
        match self {
            Self(
                Of::ApiKey,
                Part::Rotation(_)
                | Part::Adoption
                | Part::Emergency
                | Part::Retirement
                | Part::FirstKey
                | Part::Standby,
            ) => [all(Often::Once), all(Often::Again)].concat(),
            // Six findings, each looked for again: many calls, of which most only look.
            Self(_, Part::Reconcile) => {
                let once = [Fault::NoAnswerApplied, Fault::KilledBefore, Fault::KilledAfter];
                let again = [(Often::Again, Fault::KilledAfter)];
                once.into_iter().map(|fault| (Often::Once, fault)).chain(again).collect()
            }
            // Only a process that ends is retried with another token.
            Self(_, Part::Rotation(Retry::NewToken)) => [Fault::KilledBefore, Fault::KilledAfter]
                .into_iter()
                .flat_map(|fault| [(Often::Once, fault), (Often::Again, fault)])
                .collect(),
            Self(_, _) => {
                let again = [Fault::NoAnswerApplied, Fault::KilledAfter].map(|fault| (Often::Again, fault));
                [all(Often::Once), again.to_vec()].concat()
            }
        }
    }
}

/// How the calls of a run are hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Often {
    Once,
    Again,
}

/// Longer than any healthy run takes in paused time.
const DEADLINE: TimeDelta = TimeDelta::hours(6);

/// One run; the calls that the scenario itself made.
async fn run(scenario: Scenario, hurt: Option<(Often, usize, Fault)>) -> Vec<String> {
    let what = format!("{scenario:?} {hurt:?}");
    let Scenario(of, part) = scenario;
    let retry = match part {
        Part::Rotation(retry) => retry,
        // Secrets Manager has given up.
        Part::Repair | Part::Reconcile => Retry::Never,
        Part::Adoption
        | Part::Emergency
        | Part::Retirement
        | Part::FirstKey
        | Part::Standby
        | Part::Gate
        | Part::Settlement
        | Part::Brownout
        | Part::RollbackInOverlap
        | Part::RollbackInSoak => Retry::SameToken,
    };
    let stage = Stage::with(retry.settings()).await;
    let arm = || match hurt {
        Some((Often::Once, at, fault)) => stage.faults.arm(When::Once(at), fault),
        Some((Often::Again, at, fault)) => stage.faults.arm(When::FromThenOn(at), fault),
        None => stage.faults.disarm(),
    };
    let mut watch = Watch::new(of);
    let rotations = match part {
        Part::Rotation(_) => {
            let arn = of.credential(&stage).await;
            watch.see(&stage, &what).await;
            arm();
            stage.rotate(&arn).await;
            1
        }
        Part::Adoption => {
            stage.key("acme").await;
            arm();
            adopt(&stage, &what).await;
            0
        }
        Part::Emergency => {
            watch.is_emergency = true;
            if of.publishes() {
                // Whoever repeats an emergency that has already succeeded gets another.
                let arn = stage.secret(ACME, "{}", &of.terms().with("max-live", "8")).await;
                stage.rotate(&arn).await;
                stage.tick().await;
            } else {
                let arn = of.credential(&stage).await;
                stage.rotate(&arn).await;
            }
            stage.aws.on_label_event("retirement");
            arm();
            declare_emergency(&stage, &what).await;
            if of.publishes() { 1 } else { 2 }
        }
        Part::Retirement => {
            let arn = of.credential(&stage).await;
            stage.rotate(&arn).await;
            stage.tick().await;
            watch.see(&stage, &what).await;
            arm();
            if of.publishes() {
                for hours in [2, 3] {
                    stage.pass(TimeDelta::hours(hours)).await;
                    watch.see(&stage, &what).await;
                }
            } else {
                stage.pass(TimeDelta::hours(25)).await;
            }
            stage.pass(TimeDelta::hours(25)).await;
            1
        }
        Part::FirstKey => {
            let arn = stage.secret(ACME, "{}", &of.terms()).await;
            arm();
            stage.rotate(&arn).await;
            0
        }
        Part::Standby => {
            let arn = stage.secret(ACME, "{}", &of.terms()).await;
            stage.rotate(&arn).await;
            watch.see(&stage, &what).await;
            arm();
            stage.tick().await;
            0
        }
        Part::Gate | Part::Settlement | Part::Brownout => {
            let (arn, _, old) = stage.credential(ACME, &part.terms(of.terms())).await;
            stage.rotate(&arn).await;
            stage.tick().await;
            if matches!(part, Part::Settlement) {
                spend(&stage, &arn, &old).await;
            } else {
                until_it_is_due(&stage, part, &old).await;
            }
            arm();
            stage.tick().await;
            if !matches!(part, Part::Settlement) {
                stage.pass(if matches!(part, Part::Gate) { TimeDelta::hours(4) } else { TimeDelta::minutes(11) }).await;
            }
            1
        }
        Part::RollbackInOverlap | Part::RollbackInSoak => {
            let arn = of.credential(&stage).await;
            watch.see(&stage, &what).await;
            stage.rotate(&arn).await;
            let hours = if matches!(part, Part::RollbackInSoak) { 25 } else { 2 };
            stage.pass(TimeDelta::hours(hours)).await;
            watch.see(&stage, &what).await;
            arm();
            command(&stage, &ROLLBACK).await;
            stage.assert_sound(ACME, &what).await;
            watch.see(&stage, &what).await;
            0
        }
        Part::Repair | Part::Reconcile => {
            let (line, rotations) = if matches!(part, Part::Repair) {
                (REPAIR, stage.stuck(&part.terms(of.terms()), of.publishes()).await)
            } else {
                (RECONCILE, stage.drifted(&part.terms(of.terms()), of.publishes()).await)
            };
            watch.see(&stage, &what).await;
            arm();
            mend(&stage, &line, &what).await;
            rotations
        }
    };
    let calls = stage.faults.calls();
    go_on(&stage, ACME, rotations, &mut watch, &what).await;
    if hurt.is_some() {
        assert!(stage.faults.met() > 0, "{what}: the fault was never met");
    }
    see_done(&stage, part, &mut watch, &what).await;
    retire(&stage, &mut watch, &what).await;
    calls
}

/// Those who depend on a credential, cold and with warm caches.
pub struct Watch {
    of: Of,
    /// What a stranger knew is refused at once, and what takes its place may be new to those who cache.
    pub is_emergency: bool,
    tokens: Traffic,
    messages: Post,
}

impl Watch {
    pub fn new(of: Of) -> Self {
        let mut tokens = Traffic::usual();
        tokens.verifiers = vec![Verifier::authorizer()];
        Self { of, is_emergency: false, tokens, messages: Post::usual() }
    }

    /// Nobody meets an outage.
    pub async fn see(&mut self, stage: &Stage, what: &str) {
        let document = stage.document(ACME).await;
        let is_made = ["apiKey", "signing", "signer"].iter().any(|member| document.get(member).is_some());
        if !is_made {
            return;
        }
        let well = match (self.of, self.is_emergency) {
            (Of::ApiKey, _) => stage.gets_through(document["apiKey"].as_str().expect("a key")).await,
            (Of::Webhook, false) => self.messages.round(stage).await.is_empty(),
            (Of::Webhook, true) => Reader::prompt().receive(stage, &Reader::prompt().send(stage).await).await,
            (Of::Kms | Of::Jwt, false) => {
                let warm = self.tokens.round(stage).await;
                // The oldest are those that a withdrawal would meet first; many are only slow.
                self.tokens.live.truncate(4);
                let mut cold = Traffic { verifiers: vec![Verifier::authorizer()], ..self.tokens.clone() };
                warm.is_empty() && cold.show(stage).await.is_empty()
            }
            (Of::Kms | Of::Jwt, true) => match Signer::prompt().sign(stage, ACME).await {
                Ok(token) => Verifier::authorizer().accepts(stage, ACME, &token).await,
                // The compromised key, until there is another.
                Err(_) => stage.load(ACME).await.head.order.is_some(),
            },
        };
        assert!(well, "{what}: an outage\n{}", stage.story(ACME).await);
    }
}

/// AWS and the clock go on until nothing is under way any more.
pub async fn go_on(stage: &Stage, name: &str, rotations: u32, watch: &mut Watch, what: &str) {
    let begun = stage.clock.now();
    loop {
        stage.aws.settle().await;
        stage.assert_sound(name, what).await;
        watch.see(stage, what).await;
        let credential = stage.recorded(name).await;
        let open = credential.as_ref().is_some_and(|c| c.head.candidate.is_some() || c.head.order.is_some());
        let rotated = credential.as_ref().and_then(|c| c.head.current).is_some_and(|current| current > rotations);
        let standby = !watch.of.publishes() || credential.is_some_and(|c| !c.standbys().is_empty());
        if rotated && standby && !open {
            return;
        }
        if !open && !rotated {
            // It ended before it was begun: the next scheduled rotation comes along, and AWS reattempts the pending one.
            let _ = stage.secrets_manager().rotate_secret().secret_id(name).send().await;
        }
        assert!(stage.clock.now() < begun + DEADLINE, "{what}: no end\n{}", stage.story(name).await);
        stage.pass(TimeDelta::minutes(6)).await;
    }
}

/// After every overlap, soak and sweep, exactly the current key is left, and its standby.
pub async fn retire(stage: &Stage, watch: &mut Watch, what: &str) {
    for _ in 0..3 {
        stage.pass(TimeDelta::hours(25)).await;
        stage.tick().await;
        stage.assert_sound(ACME, what).await;
    }
    // By now every cache is another one.
    watch.is_emergency = false;
    watch.see(stage, what).await;
    let credential = stage.load(ACME).await;
    let story = stage.story(ACME).await;
    let left: Vec<_> = credential.versions.values().filter(|version| version.state != State::Destroyed).collect();
    let mut states: Vec<State> = left.iter().map(|version| version.state).collect();
    states.sort_unstable();
    let standby = [State::PreActivation].into_iter().filter(|_| watch.of.publishes());
    assert_eq!(states, standby.chain([State::Active]).collect::<Vec<_>>(), "{what}\n{story}");
    assert!(left.iter().all(|version| version.sweep_at.is_none()), "{what}: not swept\n{story}");
    let known = |fact: &str| -> BTreeSet<String> {
        left.iter().filter_map(|version| version.provider.get(fact).cloned()).collect()
    };
    let api_keys = stage.aws.inspect_api_keys().into_iter().map(|key| key.id);
    let kms_keys = stage.aws.inspect_kms_keys().into_iter().filter(|key| key.state != "PendingDeletion");
    let kms_keys = kms_keys.filter(|key| !key.spec.starts_with("HMAC")).map(|key| key.arn);
    let found: BTreeSet<String> = match watch.of {
        Of::ApiKey => api_keys.collect(),
        Of::Kms => kms_keys.collect(),
        Of::Webhook | Of::Jwt => known("id"),
    };
    assert_eq!(found, known("id"), "{what}: an orphan\n{story}");
    let listed = stage.secrets_manager().list_secrets().send().await.expect("listed");
    let names = listed.secret_list().iter().filter_map(|secret| secret.name().map(str::to_owned));
    let resting: BTreeSet<String> = names.filter(|name| name.starts_with("rotator-standby/")).collect();
    assert_eq!(resting, known("standby"), "{what}: a private key that rests where nobody knows it\n{story}");
}

/// Somebody uses the old key to the end of its overlap, or until its brownout.
async fn until_it_is_due(stage: &Stage, part: Part, old: &str) {
    let credential = stage.load(ACME).await;
    let version = &credential.versions[&1];
    let brownout = version.next_brownout(credential.slowest_refusal()).map(|(at, _)| at);
    let at = if matches!(part, Part::Brownout) { brownout } else { version.refuse_at() }.expect("a deadline");
    Clock::sleep(&stage.clock, at - stage.clock.now()).await;
    assert!(stage.gets_through(old).await);
}

/// A customer uses both keys.
async fn spend(stage: &Stage, arn: &str, old: &str) {
    let new = stage.current_value(arn).await;
    for (key, requests) in [(old, 20), (new.as_str(), 30)] {
        for _ in 0..requests {
            assert!(stage.gets_through(key).await);
        }
    }
    Clock::sleep(&stage.clock, TimeDelta::hours(1)).await;
}

const ROLLBACK: [&str; 4] = ["rollback", ACME, "--reason", "a test"];
const REPAIR: [&str; 3] = ["repair", ACME, "--yes"];
const RECONCILE: [&str; 3] = ["reconcile", ACME, "--yes"];

/// A person whose command is hurt; whether it came to its end. What it had begun is whoever comes later's.
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
async fn mend(stage: &Stage, line: &[&str], what: &str) {
    // What somebody did breaks what must hold: until it is put right, nothing else may.
    let known = stage.violations(ACME).await;
    let mut is_done = false;
    for _ in 0..4 {
        is_done = command(stage, line).await;
        let mut broken = stage.violations(ACME).await;
        broken.retain(|violation| !known.contains(violation));
        assert!(broken.is_empty(), "{what}: {broken:?}\n{}", stage.story(ACME).await);
        if is_done {
            break;
        }
        stage.tick().await;
    }
    let name = CredentialName::parse(ACME).expect("a name");
    let left = look(&stage.engine_unhurt(), &name, Scope::All, None, &stage.errand()).await.expect("examined");
    assert!(is_done && left.findings.is_empty(), "{what}: {:?}\n{}", left.findings, stage.story(ACME).await);
    stage.assert_sound(ACME, what).await;
}

/// What a part was about has come to its end.
async fn see_done(stage: &Stage, part: Part, watch: &mut Watch, what: &str) {
    match part {
        Part::Gate | Part::Settlement | Part::Brownout => {
            for _ in 0..6 {
                stage.pass(TimeDelta::minutes(16)).await;
                stage.assert_sound(ACME, what).await;
            }
        }
        Part::RollbackInOverlap | Part::RollbackInSoak => {
            // One that had not begun, or that nobody could finish in its time, is asked for again.
            if stage.load(ACME).await.head.current != Some(1) {
                stage.faults.disarm();
                command(stage, &ROLLBACK).await;
                stage.assert_sound(ACME, what).await;
                watch.see(stage, what).await;
            }
            assert_eq!(stage.load(ACME).await.head.current, Some(1), "{what}\n{}", stage.story(ACME).await);
            return;
        }
        Part::Rotation(_)
        | Part::Adoption
        | Part::Emergency
        | Part::Retirement
        | Part::FirstKey
        | Part::Standby
        | Part::Repair
        | Part::Reconcile => return,
    }
    let version = stage.load(ACME).await.versions[&1].clone();
    let story = stage.story(ACME).await;
    let key = stage.aws.inspect_api_keys().into_iter().find(|key| Some(&key.id) == version.provider.get("id"));
    let key = key.unwrap_or_else(|| panic!("{what}: it is gone\n{story}"));
    if matches!(part, Part::Brownout) {
        assert!(version.phase.is_none() && key.enabled, "{what}: it is not back\n{story}");
        // By at most one process: a fault may have kept it from being begun in its time.
        assert!(version.brownouts <= 1, "{what}\n{story}");
    }
    if matches!(part, Part::Settlement) {
        let (engine, now) = (stage.engine_unhurt(), stage.clock.now());
        let month = (now.date_naive().with_day(1).expect("a day"), now.date_naive());
        let told = engine.api_keys.usage(&stage.plan, None, month).await.expect("told");
        let used: i64 = told.values().flat_map(|days| days.values()).map(|figures| figures.used).sum();
        assert!(used >= 56, "{what}: {told:?}");
        for version in stage.load(ACME).await.versions.values() {
            let left = engine.api_keys.remaining(&stage.plan, &version.provider["id"], now).await;
            assert_eq!(left.expect("told"), Some(1_000 - used), "{what}\n{story}");
        }
    }
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

const SCENARIOS: [Scenario; 31] = [
    Scenario(Of::ApiKey, Part::Rotation(Retry::SameToken)),
    Scenario(Of::ApiKey, Part::Rotation(Retry::NewToken)),
    Scenario(Of::ApiKey, Part::Rotation(Retry::Never)),
    Scenario(Of::ApiKey, Part::Adoption),
    Scenario(Of::ApiKey, Part::Emergency),
    Scenario(Of::ApiKey, Part::Retirement),
    Scenario(Of::ApiKey, Part::Gate),
    Scenario(Of::ApiKey, Part::Settlement),
    Scenario(Of::ApiKey, Part::Brownout),
    Scenario(Of::ApiKey, Part::RollbackInOverlap),
    Scenario(Of::ApiKey, Part::RollbackInSoak),
    Scenario(Of::ApiKey, Part::Repair),
    Scenario(Of::ApiKey, Part::Reconcile),
    Scenario(Of::Webhook, Part::Rotation(Retry::SameToken)),
    Scenario(Of::Webhook, Part::Emergency),
    Scenario(Of::Webhook, Part::Retirement),
    Scenario(Of::Kms, Part::Rotation(Retry::SameToken)),
    Scenario(Of::Kms, Part::Rotation(Retry::NewToken)),
    Scenario(Of::Kms, Part::FirstKey),
    Scenario(Of::Kms, Part::Standby),
    Scenario(Of::Kms, Part::Emergency),
    Scenario(Of::Kms, Part::Retirement),
    Scenario(Of::Kms, Part::RollbackInOverlap),
    Scenario(Of::Kms, Part::Repair),
    Scenario(Of::Kms, Part::Reconcile),
    Scenario(Of::Jwt, Part::Rotation(Retry::SameToken)),
    Scenario(Of::Jwt, Part::Rotation(Retry::NewToken)),
    Scenario(Of::Jwt, Part::FirstKey),
    Scenario(Of::Jwt, Part::Standby),
    Scenario(Of::Jwt, Part::Emergency),
    Scenario(Of::Jwt, Part::Retirement),
];

fn alone(scenario: Scenario, hurt: Option<(Often, usize, Fault)>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    // Boxed: an unoptimised build has more of it than a thread has stack.
    runtime.expect("a runtime").block_on(Box::pin(run(scenario, hurt)))
}

#[test]
fn crash_matrix() {
    let mut runs = Vec::new();
    // Past libtest's capture: the count is to be seen whenever the tests are run.
    let mut out = std::io::stdout();
    let only = std::env::var("CRASH_MATRIX").unwrap_or_default().to_lowercase();
    for scenario in SCENARIOS.into_iter().filter(|one| format!("{one:?}").to_lowercase().contains(&only)) {
        let calls = alone(scenario, None);
        for (at, operation) in calls.iter().enumerate() {
            let hurts = scenario.hurts_of(operation).into_iter();
            runs.extend(hurts.map(|(often, fault)| (scenario, (often, at, fault))));
        }
        writeln!(out, "crash matrix: {scenario:?}: {} calls", calls.len()).expect("standard output");
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
