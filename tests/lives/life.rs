//! A life: it begins, goes on step by step, and comes to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use chrono::TimeDelta;
use futures::FutureExt;
use local_aws::{Function, Settings};
use rotator::engine::Engine;
use rotator::ports::Clock;
use serde_json::json;
use state::decide::{AWSCURRENT, AWSPENDING};
use state::ledger::Event;
use state::name::{CredentialName, Token};

use crate::harness::chance::Chance;
use crate::harness::faults::When;
use crate::harness::strangers::Made;
use crate::harness::{PausedClock, Stage, Which};

use super::acts::{Seen, Step, draw};
use super::beginning::{Beginning, Kind};
use super::dice::{Dice, Purpose};
use super::functions::Traced;
use super::judge::{Broken, Excuse};
use super::trace::{Met, Recorder, Trace, is_over, shown};

/// What became of a life.
#[derive(Debug)]
pub struct Lived {
    pub trace: String,
    pub met: Met,
    /// What went wrong, with the history of the credential that it is about.
    pub bad: Option<String>,
}

/// A life that goes on.
pub struct Life {
    pub stage: Stage,
    /// For looking at things: never hurt, never in the trace. Made once, because an engine costs.
    pub observer: Arc<Engine>,
    pub credentials: Vec<Living>,
    pub plans: Plans,
    /// How AWS behaves now.
    pub ways: Settings,
    /// The clock of a person's machine.
    pub person: PausedClock,
    pub denied: BTreeSet<&'static str>,
    /// Whether a firewall refuses every request to the API, from wherever the service is.
    pub is_blocked: bool,
    pub trace: Arc<Trace>,
    retirement: Arc<Traced>,
    seed: u64,
    /// How many tokens people have made up.
    tokens: u32,
    /// What strangers made under the service's names.
    pub strangers: Vec<Made>,
}

/// A credential that lives.
pub struct Living {
    pub name: CredentialName,
    pub arn: String,
    pub kind: Kind,
    /// Whether anything shows that its key gets through before it is current.
    pub is_probed: bool,
    pub excuse: Excuse,
    /// Everything that happened to it, as far as it was read.
    pub history: Vec<Event>,
    /// How many emergencies were declared at the end.
    pub declared: u32,
}

/// The usage plans of the API: what a person may move keys between.
pub struct Plans {
    /// Of the stage that consumers call: where keys belong, and another.
    pub bronze: String,
    pub silver: String,
    /// Of another stage.
    pub gold: String,
}

/// The whole life of that number.
pub async fn live(seed: u64) -> Lived {
    let beginning = Beginning::draw(seed);
    let (mut life, recorder) = Life::begin(seed, &beginning).await;
    let whole = AssertUnwindSafe(Box::pin(life.through(seed, beginning.acts))).catch_unwind().await;
    let bad = match whole {
        Ok(Ok(())) => None,
        Ok(Err(Broken { of, what })) => Some(format!("{what}\n{}", life.history(of).await)),
        Err(panic) => {
            let mut bad = said(panic.as_ref());
            for of in 0..life.credentials.len() {
                bad += &format!("\n{}", life.history(of).await);
            }
            Some(bad)
        }
    };
    Lived { trace: life.trace.text(), met: recorder.met(), bad }
}

impl Life {
    async fn begin(seed: u64, beginning: &Beginning) -> (Self, Arc<Recorder>) {
        let Beginning { credentials: wanted, ways, clocks, keeps, .. } = beginning;
        let mut stage = Stage::drawn(ways.clone(), Chance::seeded(seed)).await;
        let observer = stage.engine_unhurt();
        let trace = Arc::new(Trace::new(stage.clock));
        let names = wanted.iter().map(|wanted| CredentialName::parse(wanted.name).expect("a name")).collect();
        let recorder = Arc::new(Recorder::new(trace.clone(), stage.engine_unhurt(), names));
        stage.faults = stage.faults.clone().shown_to(recorder.clone());

        let function = |which, ahead, kept| Arc::new(Traced::new(&stage, which, ahead, kept, trace.clone()));
        let retirement = function(Which::Retirement, clocks.retirement, *keeps);
        stage.aws.register("rotation", function(Which::Rotation, clocks.rotation, *keeps));
        stage.aws.register("retirement", retirement.clone());
        stage.aws.register("jwks", function(Which::Jwks, clocks.jwks, true));
        stage.aws.on_label_event("retirement");

        let plans = Plans {
            bronze: stage.plan.clone(),
            silver: stage.plan("silver", &["prod"], Some(1_000)).await,
            gold: stage.plan("gold", &["beta"], Some(1_000)).await,
        };
        let mut credentials = Vec::new();
        for wanted in wanted {
            trace.say(&format!("there is {} of kind {:?}, {:?}", wanted.name, wanted.kind, wanted.terms));
            let arn = match (wanted.kind, wanted.has_key) {
                (Kind::ApiKey, true) => stage.credential(wanted.name, &wanted.terms).await.0,
                (Kind::ApiKey, false) => {
                    let terms = wanted.terms.clone().with("usage-plans", &stage.plan);
                    stage.secret(wanted.name, "{}", &terms).await
                }
                (Kind::Webhook | Kind::Kms | Kind::Jwt, _) => stage.secret(wanted.name, "{}", &wanted.terms).await,
            };
            let name = CredentialName::parse(wanted.name).expect("a name");
            let is_probed = wanted.terms.tags.get("rotator:probe").is_none_or(|probe| probe != "none");
            credentials.push(Living {
                name,
                arn,
                kind: wanted.kind,
                is_probed,
                excuse: Excuse::default(),
                history: Vec::new(),
                declared: 0,
            });
        }
        trace.say(&format!("{ways:?}"));
        trace.say(&format!("{clocks}; processes are kept: {keeps}"));
        let person = stage.clock.ahead(clocks.person);
        let life = Self {
            stage,
            observer,
            credentials,
            plans,
            ways: ways.clone(),
            person,
            denied: BTreeSet::new(),
            is_blocked: false,
            trace,
            retirement,
            seed,
            tokens: 0,
            strangers: Vec::new(),
        };
        (life, recorder)
    }

    async fn through(&mut self, seed: u64, acts: u32) -> Result<(), Broken> {
        let mut dice = Dice::new(seed, Purpose::Acts);
        let mut seen = self.judged().await?;
        for number in 1..=acts {
            let step = draw(&mut dice, &seen, !self.denied.is_empty(), self.is_blocked, self.stage.clock.now());
            self.trace.say(&format!("{number}. {step:?}"));
            self.arm(&step);
            self.perform(&step.act).await;
            seen = self.judged().await?;
        }
        self.end().await
    }

    /// What was denied stays denied; what was to be hurt stays so until something else is.
    fn arm(&self, step: &Step) {
        let Some(hurt) = step.hurt else { return };
        let when = if hurt.again { When::FromThenOn(hurt.call) } else { When::Once(hurt.call) };
        self.stage.faults.arm(when, hurt.fault);
        self.denied.iter().for_each(|operation| self.stage.faults.deny(operation));
    }

    /// Retirement, as its schedule calls it.
    pub async fn visit(&self) {
        // What it failed with is in the records; what it left undone, the next visit does.
        let _ = self.retirement.invoke(json!({"detail-type": "Scheduled Event", "source": "aws.events"})).await;
    }

    /// Time passes, and AWS does what is due on the way.
    pub async fn pass(&self, time: TimeDelta) {
        let end = self.stage.clock.now() + time;
        loop {
            self.stage.aws.settle().await;
            let Some(due) = self.stage.aws.next_due().filter(|due| *due <= end) else { break };
            self.sleep(due - self.stage.clock.now()).await;
        }
        self.sleep(end - self.stage.clock.now()).await;
    }

    pub async fn sleep(&self, time: TimeDelta) {
        Clock::sleep(&self.stage.clock, time.max(TimeDelta::zero())).await;
    }

    /// A token that a person makes up: the SDK would draw one that nobody can draw again.
    pub fn token(&mut self) -> String {
        self.tokens += 1;
        Token::derived(&format!("life {} token {}", self.seed, self.tokens)).as_str().to_owned()
    }

    pub fn name(&self, of: usize) -> &str {
        self.credentials[of].name.as_str()
    }

    /// One line for each credential, of what stands now.
    pub fn say_how_it_is(&self, of: usize, seen: &Seen, note: &str) {
        let versions = seen.credential.iter().flat_map(|credential| credential.versions.values());
        let versions: Vec<String> = versions.filter(|version| !is_over(version)).map(shown).collect();
        let head = seen.credential.as_ref().map(|credential| &credential.head);
        let order = if head.is_some_and(|head| head.order.is_some()) { ", an order stands" } else { "" };
        let held = head
            .and_then(|head| head.held.as_ref())
            .map_or(String::new(), |held| format!(", held {}", held.hold.reason));
        let keys: BTreeMap<u32, &str> =
            seen.keys.iter().map(|(generation, enabled)| (*generation, if *enabled { "on" } else { "off" })).collect();
        let label = |label: &str| match (seen.secret.holder(label), seen.labelled(label)) {
            (None, _) => "nowhere".to_owned(),
            (Some(_), None) => "on no record's".to_owned(),
            (Some(_), Some(generation)) => format!("on {generation}"),
        };
        self.trace.say(&format!(
            "  = {} after {} events: {}{order}{held}; current {}, pending {}; keys {keys:?}{note}",
            self.name(of),
            head.map_or(0, |head| head.ledger.seq),
            versions.join(", "),
            label(AWSCURRENT),
            label(AWSPENDING),
        ));
    }

    async fn history(&self, of: usize) -> String {
        let name = self.name(of);
        format!("the history of {name}:\n{}", self.stage.story(name).await)
    }
}

/// What a panic says.
pub fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked and does not say why").to_owned()
}
