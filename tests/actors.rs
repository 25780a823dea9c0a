//! Two actors on one credential: every schedule with at most two preemptions, at every call. Then AWS goes on as AWS
//! does; all must end with the work done, every invariant true, no orphan and no outage.
//!
//! Each different outcome of a meeting is followed to its end once ([`outcome`](crate::harness::outcome)).
//!
//! `TWO_ACTORS=Retirements cargo test -p tests --test all two_actors` runs only the meetings with that in their name.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_secretsmanager::types::RotationRulesType;
use chrono::TimeDelta;
use rotator::engine::{Engine, Errand};
use rotator::functions::{Handle, Invocation, retirement::Retirement, rotation::Rotation};
use rotator::mend::{look, mend};
use rotator::ports::Clock;
use rotator::rotate::{Compromised, emergency};
use serde_json::{Value, json};
use state::decide::{AWSCURRENT, Goal, Step};
use state::drift::{Finding, LONGEST_RUN, Scope};
use state::ledger::{Change, Note};
use state::name::CredentialName;

use crate::crash_matrix::{Of, Watch, go_on, retire, told_late};
use crate::harness::outcome::Followed;
use crate::harness::strangers::{Made, Stranger};
use crate::harness::turns::{Schedule, Side, Turns};
use crate::harness::{ACME, API, Stage, Terms, say, sdk_config};

/// How long a process lives here. Whoever is stopped in the middle for longer is gone.
const PROCESS: TimeDelta = TimeDelta::seconds(30);
/// From this call on, an emergency only looks whether the rotation has come to its end.
const WAITING: usize = 12;

const EARLIER: &str = "00000000-0000-4000-8000-000000000000";
const FIRST: &str = "11111111-0000-4000-8000-000000000000";
const SECOND: &str = "22222222-0000-4000-8000-000000000000";

/// Who meets whom.
#[derive(Clone, Copy, Debug)]
enum Meeting {
    /// AWS calls a step again while its first process still runs.
    SameToken(Step),
    /// AWS comes back with another token while a step of the first one still runs.
    OtherToken(Step),
    /// A step, and the retirement of the version before last.
    Retirement(Step),
    /// A step that comes late, and retirement, which completes what nobody came back for.
    Completion(Step),
    /// The beginning of a rotation and of an emergency.
    EmergencyAtTheBeginning,
    /// The last step of a rotation, and an emergency.
    EmergencyAtTheEnd,
    /// Two retirements, and a signing key without a standby. Whoever makes one can't tell KMS so twice.
    TwoRetirements,
    /// An emergency's first step and retirement, and no standby.
    NoStandby,
    /// Two retirements at the end of an overlap, of a key that nobody uses any more and whose allowance is shared.
    Gate,
    /// Two retirements at the beginning of a brownout, and at its end.
    Brownout(Edge),
    /// A step of a rotation, and a rollback.
    RollbackAndRotation(Step),
    /// A rollback, and the retirement of the version that it brings back.
    RollbackAndRetirement,
    /// A step that comes late, and the repair of what it left behind.
    RepairAndRotation(Step),
    /// A repair, and retirement, which cleans up too.
    RepairAndRetirement,
    TwoRepairs,
    /// A step of a rotation, and the cure of the keys before it.
    ReconcileAndRotation(Step),
    /// The end of two versions, and the cure of what somebody did to their keys.
    ReconcileAndRetirement,
    TwoReconciles,
    /// Two retirements and a signing key without a standby, while KMS makes a new key known operation by operation and its
    /// tags later still.
    ToldLate,
    /// Two retirements refuse a key behind a firewall that refuses everybody, in API Gateway's own words.
    Firewall,
    /// The making of a key, and a stranger who reads the records and makes what the intent names.
    Stranger(Of),
}

/// One of a brownout's two.
#[derive(Clone, Copy, Debug)]
enum Edge {
    Beginning,
    End,
}

/// What a meeting is like, whatever happens in it.
struct Nature {
    of: Of,
    terms: Terms,
    /// Who may be first: two that do the same need no second order.
    orders: &'static [Side],
    /// After how many calls the second actor only waits.
    cap: usize,
    /// Whether somebody puts something right.
    mends: bool,
    /// Rotations that may be over when the meeting is: the next one comes after them.
    rotations: u32,
}

impl Meeting {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for step in Step::ALL {
            all.extend([Self::SameToken(step), Self::OtherToken(step), Self::Retirement(step)]);
        }
        all.extend([Self::Completion(Step::Set), Self::Completion(Step::Finish)]);
        all.extend([Self::EmergencyAtTheBeginning, Self::EmergencyAtTheEnd, Self::TwoRetirements, Self::NoStandby]);
        all.extend([Self::Gate, Self::Brownout(Edge::Beginning), Self::Brownout(Edge::End)]);
        all.extend([Self::RollbackAndRotation(Step::Create), Self::RollbackAndRotation(Step::Finish)]);
        all.push(Self::RollbackAndRetirement);
        all.extend([Step::Create, Step::Set, Step::Finish].map(Self::RepairAndRotation));
        all.extend([Self::RepairAndRetirement, Self::TwoRepairs]);
        all.push(Self::ReconcileAndRotation(Step::Finish));
        all.extend([Self::ReconcileAndRetirement, Self::TwoReconciles]);
        all.extend([Self::ToldLate, Self::Firewall]);
        all.extend([Of::ApiKey, Of::Kms, Of::Jwt].map(Self::Stranger));
        all
    }

    fn nature(self) -> Nature {
        // Probes change nothing that anybody else sees: where they are not what it is about, there are none.
        let silent = || Terms::default().with("probe", "none");
        let idle = || silent().with("idle-before-suspend", "PT2H");
        let keys = |terms, rotations| Nature {
            of: Of::ApiKey,
            terms,
            orders: &[Side::A, Side::B],
            cap: usize::MAX,
            mends: false,
            rotations,
        };
        let signing = |rotations| Nature { of: Of::Kms, ..keys(Terms::kms(), rotations) };
        let mending = |rotations| Nature { mends: true, ..keys(silent().with("max-live", "8"), rotations) };
        let alike = |nature| Nature { orders: &[Side::A], ..nature };
        match self {
            Self::SameToken(Step::Test) => alike(keys(Terms::default(), 1)),
            Self::SameToken(_) => alike(keys(silent(), 1)),
            Self::OtherToken(_) | Self::Completion(_) => keys(silent(), 1),
            Self::Retirement(_) | Self::RollbackAndRotation(_) => keys(silent(), 2),
            // Which of the two is current is whoever was faster's to say.
            Self::RollbackAndRetirement => keys(silent(), 0),
            Self::EmergencyAtTheBeginning | Self::EmergencyAtTheEnd => {
                Nature { cap: WAITING, ..keys(Terms::default(), 2) }
            }
            Self::TwoRetirements | Self::ToldLate => alike(signing(0)),
            Self::Firewall => alike(keys(Terms::default().with("idle-before-suspend", "PT2H"), 1)),
            Self::NoStandby => signing(1),
            Self::Gate => alike(keys(idle(), 1)),
            Self::Brownout(_) => alike(keys(idle().with("brownouts", "PT5M"), 1)),
            Self::RepairAndRotation(_)
            | Self::RepairAndRetirement
            | Self::ReconcileAndRotation(_)
            | Self::ReconcileAndRetirement => mending(2),
            Self::TwoRepairs => alike(mending(2)),
            Self::TwoReconciles => alike(mending(1)),
            Self::Stranger(of) => match of {
                Of::ApiKey | Of::Webhook => keys(silent(), 1),
                Of::Kms | Of::Jwt => Nature { of, terms: of.terms(), ..signing(0) },
            },
        }
    }
}

#[test]
fn two_actors() {
    let only = std::env::var("TWO_ACTORS").unwrap_or_default();
    let meetings: Vec<(Meeting, Side)> = Meeting::all()
        .into_iter()
        .filter(|meeting| format!("{meeting:?}").contains(&only))
        .flat_map(|meeting| meeting.nature().orders.iter().map(move |side| (meeting, *side)))
        .collect();
    let (next, runs, outcomes, bad) =
        (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((meeting, first)) = meetings.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let followed = Followed::default();
                    let made = every_schedule(*meeting, *first, &followed, &bad);
                    runs.fetch_add(made, Ordering::Relaxed);
                    outcomes.fetch_add(followed.count(), Ordering::Relaxed);
                    say(&format!("two actors: {meeting:?}, {first:?} first: {made} schedules"));
                }
            });
        }
    });
    let (runs, bad) = (runs.into_inner(), bad.into_inner().expect("not poisoned"));
    say(&format!("two actors: {} of {runs}, followed {} outcomes", runs - bad.len(), outcomes.into_inner()));
    assert!(bad.is_empty(), "{} schedules ended badly, among them {:#?}", bad.len(), &bad[..bad.len().min(20)]);
}

/// How many schedules there are: as many as the actors make calls, which only trying tells.
fn every_schedule(meeting: Meeting, first: Side, followed: &Followed, bad: &Mutex<Vec<String>>) -> usize {
    let mut runs = 0;
    let cap = |side| if side == Side::B { meeting.nature().cap } else { usize::MAX };
    for calls in 0..=cap(first) {
        let mut first_was_stopped = false;
        for others_calls in 0..=cap(first.other()) {
            let schedule = Schedule { first, calls, others_calls };
            runs += 1;
            let one = AssertUnwindSafe(|| alone(meeting, schedule, followed));
            let Ok(stopped) = std::panic::catch_unwind(one) else {
                bad.lock().expect("not poisoned").push(format!("{meeting:?} {schedule:?}"));
                return runs;
            };
            first_was_stopped |= stopped.contains(&first);
            if stopped != [first, first.other()] {
                break;
            }
        }
        if !first_was_stopped {
            break;
        }
    }
    runs
}

fn alone(meeting: Meeting, schedule: Schedule, followed: &Followed) -> Vec<Side> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    // Boxed: an unoptimised build has more of it than a thread has stack.
    runtime.expect("a runtime").block_on(Box::pin(meet(meeting, schedule, followed)))
}

/// One schedule, and whatever follows from it. Who was stopped in the middle.
async fn meet(meeting: Meeting, schedule: Schedule, followed: &Followed) -> Vec<Side> {
    let what = format!("{meeting:?} {schedule:?}");
    let stage = Stage::new().await;
    // Nothing is called before a test says so: rotation is configured when the first one is begun.
    let nature = meeting.nature();
    let terms = Terms { schedule: None, ..nature.terms };
    let arn = match nature.of {
        Of::ApiKey => stage.credential(ACME, &terms).await.0,
        Of::Webhook | Of::Kms | Of::Jwt => stage.secret(ACME, "{}", &terms).await,
    };
    let mut watch = Watch::new(nature.of);
    // What somebody did behind the service's back breaks what must hold: until it is put right, nothing else may.
    let mut known = Vec::new();
    let mut strangers = Vec::new();
    let turns = match meeting {
        Meeting::SameToken(at) => {
            begin(&stage, &arn, FIRST).await;
            before(&stage, &arn, at).await;
            let turns = Turns::new(&stage, schedule);
            let once = step(&stage, &turns, Side::A, &arn, at, FIRST);
            let again = step(&stage, &turns, Side::B, &arn, at, FIRST);
            tokio::join!(once, again);
            turns
        }
        Meeting::OtherToken(at) => {
            begin(&stage, &arn, FIRST).await;
            before(&stage, &arn, at).await;
            let turns = Turns::new(&stage, schedule);
            let old = step(&stage, &turns, Side::A, &arn, at, FIRST);
            // The label moves to a fresh placeholder when AWS comes back, not before.
            let new = turns.act(Side::B, async {
                turns.wait_for(Side::B).await;
                repend(&stage, &arn, SECOND).await;
                unfinished_step(&stage, &turns, Side::B, &arn, Step::Create, SECOND).await;
            });
            tokio::join!(old, new);
            turns
        }
        Meeting::Retirement(at) => {
            rotated(&stage, &arn).await;
            begin(&stage, &arn, FIRST).await;
            Clock::sleep(&stage.clock, TimeDelta::hours(25)).await;
            before(&stage, &arn, at).await;
            let turns = Turns::new(&stage, schedule);
            let rotating = step(&stage, &turns, Side::A, &arn, at, FIRST);
            let retiring = turns.act(Side::B, retirement(&stage, &turns, Side::B));
            tokio::join!(rotating, retiring);
            turns
        }
        Meeting::Completion(at) => {
            begin(&stage, &arn, FIRST).await;
            before(&stage, &arn, at).await;
            Clock::sleep(&stage.clock, PROCESS).await;
            let turns = Turns::new(&stage, schedule);
            let late = step(&stage, &turns, Side::A, &arn, at, FIRST);
            let completing = turns.act(Side::B, retirement(&stage, &turns, Side::B));
            tokio::join!(late, completing);
            turns
        }
        Meeting::EmergencyAtTheBeginning | Meeting::EmergencyAtTheEnd => {
            // Something to compromise is on record.
            rotated(&stage, &arn).await;
            stage.aws.on_label_event("retirement");
            let at_the_end = matches!(meeting, Meeting::EmergencyAtTheEnd);
            if at_the_end {
                begin(&stage, &arn, FIRST).await;
                before(&stage, &arn, Step::Finish).await;
            }
            let turns = Turns::new(&stage, schedule);
            let rotating = turns.act(Side::A, async {
                if at_the_end {
                    unfinished_step(&stage, &turns, Side::A, &arn, Step::Finish, FIRST).await;
                } else if turns.engine(&stage, Side::A).secrets.rotate(&arn, Some(&token(FIRST))).await.is_ok() {
                    unfinished_step(&stage, &turns, Side::A, &arn, Step::Create, FIRST).await;
                }
            });
            let declaring = async {
                let declared = turns.act(Side::B, declare(&turns.engine(&stage, Side::B), &stage)).await;
                // A person who repeats a command that failed.
                declared
                    || declare(&stage.engine_unhurt(), &stage).await
                    || declare(&stage.engine_unhurt(), &stage).await
            };
            let world = async {
                loop {
                    if turns.has_ended(Side::A) {
                        stage.aws.settle().await;
                    }
                    Clock::sleep(&stage.clock, TimeDelta::seconds(5)).await;
                }
            };
            let declared = tokio::select! {
                biased;
                ((), declared) = async { tokio::join!(rotating, declaring) } => declared,
                () = world => unreachable!("it never ends"),
            };
            assert!(declared, "{what}: the emergency was never done\n{}", stage.story(ACME).await);
            let credential = stage.load(ACME).await;
            let versions = &credential.versions;
            assert!(credential.head.order.is_none(), "{what}: the order still stands\n{}", stage.story(ACME).await);
            assert!(versions[&2].compromised.is_some() && !versions[&2].state.is_accepted(), "{what}");
            turns
        }
        Meeting::TwoRetirements => {
            rotated(&stage, &arn).await;
            two_retirements(&stage, schedule).await
        }
        Meeting::Gate => {
            to_the_gate(&stage, &arn).await;
            two_retirements(&stage, schedule).await
        }
        Meeting::Firewall => {
            to_the_gate(&stage, &arn).await;
            stage.aws.block(API, true);
            let turns = two_retirements(&stage, schedule).await;
            let refused = stage.load(ACME).await.versions[&1].refused.clone();
            assert_eq!(refused, None, "{what}: nothing can be seen");
            stage.aws.block(API, false);
            turns
        }
        Meeting::ToldLate => {
            rotated(&stage, &arn).await;
            told_late(&stage);
            two_retirements(&stage, schedule).await
        }
        Meeting::Brownout(edge) => {
            rotated(&stage, &arn).await;
            stage.tick().await;
            let credential = stage.load(ACME).await;
            let (at, lasts) =
                credential.versions[&1].next_brownout(credential.slowest_refusal()).expect("there is one");
            Clock::sleep(&stage.clock, at - stage.clock.now()).await;
            if let Edge::End = edge {
                stage.tick().await;
                Clock::sleep(&stage.clock, lasts).await;
            }
            two_retirements(&stage, schedule).await
        }
        Meeting::RollbackAndRotation(at) => {
            rotated(&stage, &arn).await;
            begin(&stage, &arn, FIRST).await;
            before(&stage, &arn, at).await;
            let turns = Turns::new(&stage, schedule);
            let rotating = step(&stage, &turns, Side::A, &arn, at, FIRST);
            let back = turns.act(Side::B, rollback(&stage, &turns));
            tokio::join!(rotating, back);
            turns
        }
        Meeting::RollbackAndRetirement => {
            rotated(&stage, &arn).await;
            Clock::sleep(&stage.clock, TimeDelta::hours(25)).await;
            let turns = Turns::new(&stage, schedule);
            let retiring = turns.act(Side::A, retirement(&stage, &turns, Side::A));
            let back = turns.act(Side::B, rollback(&stage, &turns));
            tokio::join!(retiring, back);
            turns
        }
        Meeting::RepairAndRotation(at) => {
            left_at(&stage, &arn, at).await;
            let found = seen(&stage, Scope::Rotation).await;
            let turns = Turns::new(&stage, schedule);
            let late = step(&stage, &turns, Side::A, &arn, at, FIRST);
            let repairing = turns.act(Side::B, mending(&stage, &turns, Side::B, &found));
            tokio::join!(late, repairing);
            turns
        }
        Meeting::RepairAndRetirement => {
            left_at(&stage, &arn, Step::Set).await;
            let found = seen(&stage, Scope::Rotation).await;
            let turns = Turns::new(&stage, schedule);
            let retiring = turns.act(Side::A, retirement(&stage, &turns, Side::A));
            let repairing = turns.act(Side::B, mending(&stage, &turns, Side::B, &found));
            tokio::join!(retiring, repairing);
            turns
        }
        Meeting::TwoRepairs => {
            left_at(&stage, &arn, Step::Set).await;
            let first = stage.load(ACME).await.versions[&1].carriers[0].clone();
            stage.move_label(&arn, AWSCURRENT, Some(first.as_str())).await;
            two_cures(&stage, schedule, Scope::Rotation).await
        }
        Meeting::ReconcileAndRotation(at) => {
            rotated(&stage, &arn).await;
            begin(&stage, &arn, FIRST).await;
            before(&stage, &arn, at).await;
            stage.detach(&stage.id_of(1).await, &stage.plan).await;
            let gold = stage.plan("gold", &["beta"], None).await;
            stage.attach(&stage.id_of(2).await, &gold).await;
            known = stage.violations(ACME).await;
            let found = seen(&stage, Scope::All).await;
            let turns = Turns::new(&stage, schedule);
            let rotating = step(&stage, &turns, Side::A, &arn, at, FIRST);
            let reconciling = turns.act(Side::B, mending(&stage, &turns, Side::B, &found));
            tokio::join!(rotating, reconciling);
            turns
        }
        Meeting::ReconcileAndRetirement => {
            rotated(&stage, &arn).await;
            Clock::sleep(&stage.clock, TimeDelta::hours(25)).await;
            stage.tick().await;
            begin(&stage, &arn, SECOND).await;
            stage.aws.settle().await;
            Clock::sleep(&stage.clock, TimeDelta::hours(25)).await;
            stage.set_enabled(&stage.id_of(1).await, true).await;
            stage.detach(&stage.id_of(2).await, &stage.plan).await;
            known = stage.violations(ACME).await;
            let found = seen(&stage, Scope::All).await;
            let turns = Turns::new(&stage, schedule);
            let retiring = turns.act(Side::A, retirement(&stage, &turns, Side::A));
            let reconciling = turns.act(Side::B, mending(&stage, &turns, Side::B, &found));
            tokio::join!(retiring, reconciling);
            turns
        }
        Meeting::TwoReconciles => {
            rotated(&stage, &arn).await;
            stage.delete_key(&stage.id_of(1).await).await;
            known = stage.violations(ACME).await;
            two_cures(&stage, schedule, Scope::All).await
        }
        Meeting::Stranger(Of::ApiKey | Of::Webhook) => {
            begin(&stage, &arn, FIRST).await;
            before(&stage, &arn, Step::Set).await;
            let turns = Turns::new(&stage, schedule);
            let rotating = step(&stage, &turns, Side::A, &arn, Step::Set, FIRST);
            ((), strangers) = tokio::join!(rotating, stranger(&stage, &turns));
            turns
        }
        Meeting::Stranger(Of::Kms | Of::Jwt) => {
            rotated(&stage, &arn).await;
            let turns = Turns::new(&stage, schedule);
            let retiring = turns.act(Side::A, retirement(&stage, &turns, Side::A));
            ((), strangers) = tokio::join!(retiring, stranger(&stage, &turns));
            turns
        }
        Meeting::NoStandby => {
            rotated(&stage, &arn).await;
            stage.commit(ACME, Change::Ordered { token: token(FIRST), compromised: vec![1] }).await;
            watch.is_emergency = true;
            begin(&stage, &arn, FIRST).await;
            let turns = Turns::new(&stage, schedule);
            let rotating = step(&stage, &turns, Side::A, &arn, Step::Create, FIRST);
            let retiring = turns.act(Side::B, retirement(&stage, &turns, Side::B));
            tokio::join!(rotating, retiring);
            turns
        }
    };
    let mut broken = stage.violations(ACME).await;
    broken.retain(|violation| !known.contains(violation));
    assert!(broken.is_empty(), "{what}: {broken:?}\n{}", stage.story(ACME).await);
    if let Meeting::RollbackAndRotation(_) | Meeting::RollbackAndRetirement = meeting {
        watch.see(&stage, &what).await;
    }
    if !followed.is_new(&stage, &watch).await {
        return turns.stopped();
    }
    if !strangers.is_empty() {
        for _ in 0..4 {
            stage.pass(TimeDelta::minutes(20)).await;
            watch.see(&stage, &what).await;
        }
        for made in &strangers {
            let done = stage.done_to(made).await;
            assert_eq!(done, None, "{what}\n{}", stage.story(ACME).await);
        }
        stage.take_away(&strangers).await;
    }
    if nature.mends {
        // Whoever was refused because of the other comes back.
        let (engine, errand) = (stage.engine_unhurt(), stage.errand());
        let found = look(&engine, &name(), Scope::All, None, &errand).await.expect("examined");
        let mended = mend(&engine, found, Scope::All, &mut 10, &errand, &mut |_| {}).await.expect("examined");
        let left = mended.left.findings;
        assert!(left.is_empty(), "{what}: {left:?}\n{}", stage.story(ACME).await);
        stage.assert_sound(ACME, &what).await;
    }
    go_on(&stage, ACME, nature.rotations, &mut watch, &what).await;
    retire(&stage, &mut watch, &what).await;
    turns.stopped()
}

fn token(raw: &str) -> state::name::Token {
    state::name::Token::parse(raw).expect("a token")
}

/// `RotateSecret`, but nothing that follows from it yet.
async fn begin(stage: &Stage, arn: &str, token: &str) {
    let client = stage.secrets_manager();
    let function = stage.settings.function_arn.clone().expect("registered");
    let rules = RotationRulesType::builder().schedule_expression("rate(30 days)").build();
    let begun = client.rotate_secret().secret_id(arn).client_request_token(token);
    begun.rotation_lambda_arn(function).rotation_rules(rules).send().await.expect("begun");
}

/// A rotation that nobody disturbs.
async fn rotated(stage: &Stage, arn: &str) {
    begin(stage, arn, EARLIER).await;
    stage.aws.settle().await;
}

/// A retry with a new token: `AWSPENDING` moves to its placeholder.
async fn repend(stage: &Stage, arn: &str, token: &str) {
    let client = stage.secrets_manager();
    let moved = client.update_secret_version_stage().secret_id(arn).version_stage("AWSPENDING");
    moved.remove_from_version_id(FIRST).send().await.expect("taken off");
    begin(stage, arn, token).await;
}

/// The steps before that one, undisturbed.
async fn before(stage: &Stage, arn: &str, step: Step) {
    for earlier in Step::ALL.into_iter().filter(|earlier| *earlier < step) {
        let function = Rotation::new(stage.engine_unhurt());
        let done = function.handle(invocation(stage, event(arn, earlier, FIRST))).await;
        done.expect("an undisturbed step");
    }
}

fn event(arn: &str, step: Step, token: &str) -> Value {
    json!({"Step": step.word(), "SecretId": arn, "ClientRequestToken": token})
}

fn invocation(stage: &Stage, payload: Value) -> Invocation {
    Invocation { payload, request_id: "test".into(), deadline: stage.clock.now() + PROCESS }
}

async fn step(stage: &Stage, turns: &Turns, side: Side, arn: &str, step: Step, token: &str) {
    turns.act(side, unfinished_step(stage, turns, side, arn, step, token)).await;
}

async fn unfinished_step(stage: &Stage, turns: &Turns, side: Side, arn: &str, step: Step, token: &str) {
    let function = Rotation::new(Arc::new(turns.engine(stage, side)));
    process(stage, &function, event(arn, step, token)).await;
}

async fn retirement(stage: &Stage, turns: &Turns, side: Side) {
    let function = Retirement::new(Arc::new(turns.engine(stage, side)));
    // By the label's event: a tick's look at the index disturbs nobody.
    let event = json!({"detail-type": "Secret Label Updated", "detail": {"name": ACME}});
    process(stage, &function, event).await;
}

/// Somebody who reads the records and acts first, if they say what there is to be made.
async fn stranger(stage: &Stage, turns: &Turns) -> Vec<Made> {
    let engine = turns.engine(stage, Side::B);
    let acting = async {
        let credential = engine.records.load(&name()).await.expect("readable").expect("recorded");
        Stranger::new(&sdk_config(turns.connector(Side::B))).acts_first(&credential).await
    };
    turns.act(Side::B, acting).await
}

/// Both keys of a customer are used, and then the old one's overlap is over.
async fn to_the_gate(stage: &Stage, arn: &str) {
    let old = stage.current_value(arn).await;
    rotated(stage, arn).await;
    let new = stage.current_value(arn).await;
    Clock::sleep(&stage.clock, TimeDelta::hours(1)).await;
    for key in [&old, &new] {
        assert!(stage.gets_through(key).await);
    }
    stage.tick().await;
    Clock::sleep(&stage.clock, TimeDelta::hours(24)).await;
}

async fn two_retirements(stage: &Stage, schedule: Schedule) -> Turns {
    let turns = Turns::new(stage, schedule);
    let one = turns.act(Side::A, retirement(stage, &turns, Side::A));
    let other = turns.act(Side::B, retirement(stage, &turns, Side::B));
    tokio::join!(one, other);
    turns
}

/// To the first version, by a person who does not come back.
async fn rollback(stage: &Stage, turns: &Turns) {
    let engine = turns.engine(stage, Side::B);
    let (name, errand) = (name(), Errand { deadline: stage.clock.now() + PROCESS, ..stage.errand() });
    tokio::select! {
        biased;
        _ = engine.run(&name, None, &Goal::RollBack(1), &errand) => {}
        () = Clock::sleep(&stage.clock, PROCESS) => {}
    }
}

/// A rotation that stopped at that step, long ago, after another one.
async fn left_at(stage: &Stage, arn: &str, at: Step) {
    rotated(stage, arn).await;
    begin(stage, arn, FIRST).await;
    before(stage, arn, at).await;
    Clock::sleep(&stage.clock, LONGEST_RUN).await;
}

/// What somebody who looks now is shown.
async fn seen(stage: &Stage, scope: Scope) -> Vec<Finding> {
    let found = look(&stage.engine_unhurt(), &name(), scope, None, &stage.errand()).await.expect("examined");
    assert!(!found.findings.is_empty());
    found.findings
}

/// Somebody who puts right what was found, and does not come back.
async fn mending(stage: &Stage, turns: &Turns, side: Side, found: &[Finding]) {
    let engine = turns.engine(stage, side);
    let (name, errand) = (name(), Errand { deadline: stage.clock.now() + PROCESS, ..stage.errand() });
    let work = async {
        for finding in found {
            // What could not be done is seen by the next look.
            let _ = engine.run(&name, None, &Goal::Mend(finding.clone()), &errand).await;
        }
    };
    tokio::select! {
        biased;
        () = work => {}
        () = Clock::sleep(&stage.clock, PROCESS) => {}
    }
}

async fn two_cures(stage: &Stage, schedule: Schedule, scope: Scope) -> Turns {
    let found = seen(stage, scope).await;
    let turns = Turns::new(stage, schedule);
    let one = turns.act(Side::A, mending(stage, &turns, Side::A, &found));
    let other = turns.act(Side::B, mending(stage, &turns, Side::B, &found));
    tokio::join!(one, other);
    turns
}

fn name() -> CredentialName {
    CredentialName::parse(ACME).expect("a name")
}

/// A process: gone when its time is over. How it ended is its caller's to know; here, what it left counts.
async fn process(stage: &Stage, function: &dyn Handle, payload: Value) {
    tokio::select! {
        biased;
        _ = function.handle(invocation(stage, payload)) => {}
        () = Clock::sleep(&stage.clock, PROCESS) => {}
    }
}

async fn declare(engine: &Engine, stage: &Stage) -> bool {
    let note = Note { salt: "00".into(), who: "somebody".into(), reason: "a test".into() };
    let (compromised, errand) = (Compromised::Generations(vec![2]), stage.errand());
    emergency(engine, &name(), &compromised, &note, &errand, &mut |_| {}).await.is_ok()
}
