//! Every act, performed.

use std::cell::Cell;

use chrono::TimeDelta;
use local_aws::Settings;
use rotator::aws::probe::Probe;
use rotator::secret::SecretValue;
use rotator_cli::trouble::Outcome;
use serde_json::{Value, json};
use state::credential::Version;
use state::decide::{AWSCURRENT, AWSPENDING};

use crate::harness::{API, OPERATOR};

use super::acts::{Act, Deed, Line, minutes};
use super::beginning::Kind;
use super::life::Life;

/// What the processes of people are called.
const PERSON: &str = "person";

/// In which time whatever was throttled by API Gateway's control plane is taken again.
const A_MOMENT: TimeDelta = TimeDelta::seconds(5);

/// Retirement comes by every minute while somebody waits at the command line.
const VISITS: TimeDelta = TimeDelta::minutes(1);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Said(Outcome),
    Killed,
    /// The person did not wait for its end.
    GivenUp,
}

impl Life {
    pub async fn perform(&mut self, act: &Act) {
        match act {
            Act::Rotate { of } => self.rotate(*of).await,
            Act::Wait { minutes: total, visits } => {
                for _ in 0..*visits {
                    self.pass(minutes(*total) / i32::try_from(*visits).expect("few")).await;
                    self.visit().await;
                }
            }
            Act::UntilDue => self.until_due().await,
            Act::Command { of, line, minutes: patience } => {
                let ended = self.command(*of, line, minutes(*patience)).await;
                self.trace.say(&format!("  {PERSON}: {ended:?}"));
                // What was put right must be heard of before anybody can tell.
                self.sleep(self.let_in_after()).await;
                if ended == Ended::Said(Outcome::Done) && line.puts_everything_right() {
                    self.end_excuse(*of).await;
                }
            }
            Act::Console { of, deed } => {
                self.sleep(A_MOMENT).await;
                self.at_the_console(*of, *deed).await;
                // Directly afterwards, as soon as everybody has heard of it.
                self.sleep(self.heard_of()).await;
                self.excuse(*of).await;
                self.stage.aws.settle().await;
            }
            Act::Late { of, generation, requests } => self.goes_on_with(*of, *generation, *requests).await,
            Act::Deny { operation } => {
                self.denied.insert(operation);
                self.stage.faults.deny(operation);
            }
            Act::Allow => {
                for operation in std::mem::take(&mut self.denied) {
                    self.stage.faults.allow(operation);
                }
            }
            Act::Firewall { up } => self.firewall(*up),
            Act::Change { ways } => self.change(ways),
        }
    }

    /// `RotateSecret`, and everything that follows from it at once. Refused while another rotation is pending: that one
    /// is tried again.
    pub async fn rotate(&mut self, of: usize) {
        let (arn, token) = (self.credentials[of].arn.clone(), self.token());
        let begun =
            self.stage.secrets_manager().rotate_secret().secret_id(arn).client_request_token(token).send().await;
        self.trace.say(&format!("  RotateSecret: {}", if begun.is_ok() { "begun" } else { "refused" }));
        self.stage.aws.settle().await;
    }

    /// A person's command, while AWS and retirement go on. What they are in the middle of when it ends, they end.
    pub async fn command(&self, of: usize, line: &Line, patience: TimeDelta) -> Ended {
        let words = words(self.name(of), line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let process = self.stage.faults.process_of(PERSON);
        let connector = process.connector.clone();
        let is_over = Cell::new(false);
        let command = async {
            let ended = tokio::select! {
                biased;
                said = self.stage.command_by(self.person, OPERATOR, connector, &words) => {
                    for line in said.stdout.lines().chain(said.stderr.lines()).filter(|_| said.outcome == Outcome::Failed) {
                        self.trace.say(&format!("      {PERSON} reads: {line}"));
                    }
                    Ended::Said(said.outcome)
                }
                () = process.killed() => Ended::Killed,
                () = self.sleep(patience) => Ended::GivenUp,
            };
            is_over.set(true);
            ended
        };
        let step = TimeDelta::milliseconds(500);
        let aws = async {
            while !is_over.get() {
                self.stage.aws.settle().await;
                self.sleep(step).await;
            }
        };
        let retirement = async {
            let mut waited = TimeDelta::zero();
            while !is_over.get() {
                self.sleep(step).await;
                waited += step;
                if waited >= VISITS {
                    waited = TimeDelta::zero();
                    self.visit().await;
                }
            }
        };
        let (ended, (), ()) = tokio::join!(Box::pin(command), Box::pin(aws), Box::pin(retirement));
        if ended != Ended::Said(Outcome::Done) {
            self.stage.faults.a_process_failed();
        }
        ended
    }

    pub fn firewall(&mut self, up: bool) {
        self.is_blocked = up;
        assert!(self.stage.aws.block(API, up), "there is an API");
    }

    fn change(&mut self, ways: &Settings) {
        self.ways = ways.clone();
        self.stage.aws.settings(|settings| *settings = ways.clone());
    }

    /// Until the earliest moment after now for which the records have something to do; ten days at the most.
    async fn until_due(&self) {
        let now = self.stage.clock.now();
        let mut due = None;
        for own in &self.credentials {
            let credential = self.observer.records.load(&own.name).await.expect("readable");
            let versions = credential.iter().flat_map(|credential| credential.versions.values());
            due = versions.filter_map(Version::due).filter(|at| *at > now).chain(due).min();
        }
        // By a clock that may be behind.
        let time = due.map_or(TimeDelta::zero(), |at| at - now).min(TimeDelta::days(10)) + A_MOMENT;
        self.pass(time).await;
        self.visit().await;
    }

    /// A client calls with the key of a generation, while a version of the secret holds that.
    async fn goes_on_with(&self, of: usize, generation: u32, requests: u32) {
        let Some(key) = self.key_of(of, generation).await else { return };
        let probe = Probe::parse(&format!("{API}/prod/ping")).expect("a probe");
        for _ in 0..requests {
            let met = self.observer.prober.send(&probe, &SecretValue::new(key.as_str())).await;
            self.trace.say(&format!("  client: {met:?}"));
        }
    }

    async fn key_of(&self, of: usize, generation: u32) -> Option<String> {
        let version = self.version(of, generation).await?;
        let read = self.stage.secrets_manager().get_secret_value().secret_id(&self.credentials[of].arn);
        let read = read.version_id(version.token()?.as_str()).send().await.ok()?;
        let value: Value = serde_json::from_str(read.secret_string()?).ok()?;
        Some(value["apiKey"].as_str()?.to_owned())
    }

    async fn version(&self, of: usize, generation: u32) -> Option<Version> {
        let credential = self.observer.records.load(&self.credentials[of].name).await.expect("readable")?;
        credential.versions.get(&generation).cloned()
    }

    /// How long it takes until a key that is let in again is let in everywhere.
    pub fn let_in_after(&self) -> TimeDelta {
        let longest = self.ways.enabling.unwrap_or_default().max(self.ways.propagation);
        TimeDelta::from_std(longest).expect("minutes") + TimeDelta::seconds(1)
    }

    /// How long it takes until everybody has heard of any change that was just made.
    fn heard_of(&self) -> TimeDelta {
        let refused = TimeDelta::from_std(self.ways.disabling.unwrap_or_default()).expect("minutes");
        self.let_in_after().max(refused + TimeDelta::seconds(1))
    }

    pub async fn at_the_console(&mut self, of: usize, deed: Deed) {
        let (arn, kind) = (self.credentials[of].arn.clone(), self.credentials[of].kind);
        match deed {
            Deed::DisableKey(generation) => self.turn(of, generation, kind, false).await,
            Deed::EnableKey(generation) => self.turn(of, generation, kind, true).await,
            Deed::DeleteKey(generation) => {
                let Some(id) = self.id(of, generation).await else { return };
                self.stage.delete_key(&id).await;
            }
            Deed::TakeOutOfPlan(generation) => _ = self.take_out(of, generation).await,
            Deed::PutIntoPlan(generation) => {
                let Some(id) = self.id(of, generation).await else { return };
                if !self.plans_of(&id).contains(&self.plans.gold) {
                    self.stage.attach(&id, &self.plans.gold).await;
                }
            }
            Deed::MoveToPlan(generation) => {
                let Some(from) = self.take_out(of, generation).await else { return };
                let Some(id) = self.id(of, generation).await else { return };
                let to = if from == self.plans.silver { &self.plans.bronze } else { &self.plans.silver };
                self.stage.attach(&id, to).await;
            }
            Deed::MoveCurrent(generation) => self.move_label(of, AWSCURRENT, generation).await,
            Deed::MovePending(generation) => self.move_label(of, AWSPENDING, generation).await,
            Deed::TakePendingOff => self.stage.move_label(&arn, AWSPENDING, None).await,
            Deed::PutSameKey => {
                let mut value = self.stage.document(self.credentials[of].name.as_str()).await;
                value["note"] = json!(format!("by hand {}", self.stage.clock.now().timestamp()));
                self.put(&arn, &value.to_string()).await;
            }
            Deed::WipeValue => self.put(&arn, r#"{"owner": "the stack"}"#).await,
            Deed::ActFirst => {
                let Some(credential) = self.credential(of).await else { return };
                let made = self.stage.stranger().acts_first(&credential).await;
                self.strangers.extend(made);
            }
        }
    }

    async fn put(&mut self, arn: &str, value: &str) {
        let token = self.token();
        let put = self.stage.secrets_manager().put_secret_value().secret_id(arn).client_request_token(token);
        put.secret_string(value).send().await.expect("put");
    }

    async fn id(&self, of: usize, generation: u32) -> Option<String> {
        self.version(of, generation).await?.provider.get("id").cloned()
    }

    async fn turn(&self, of: usize, generation: u32, kind: Kind, enabled: bool) {
        let Some(id) = self.id(of, generation).await else { return };
        match (kind, enabled) {
            (Kind::ApiKey, _) => self.stage.set_enabled(&id, enabled).await,
            (Kind::Kms, true) => _ = self.stage.kms().enable_key().key_id(id).send().await.expect("enabled"),
            (Kind::Kms, false) => _ = self.stage.kms().disable_key().key_id(id).send().await.expect("disabled"),
            // Nobody could: there is no key at a provider.
            (Kind::Webhook | Kind::Jwt, _) => {}
        }
    }

    fn plans_of(&self, id: &str) -> Vec<String> {
        let keys = self.stage.aws.inspect_api_keys();
        keys.into_iter().find(|key| key.id == id).map_or_else(Vec::new, |key| key.plans)
    }

    /// Out of the plan of the stage that consumers call. Which one that was.
    async fn take_out(&self, of: usize, generation: u32) -> Option<String> {
        let id = self.id(of, generation).await?;
        let of_the_stage = [&self.plans.bronze, &self.plans.silver];
        let from = self.plans_of(&id).into_iter().find(|plan| of_the_stage.contains(&plan))?;
        self.stage.detach(&id, &from).await;
        Some(from)
    }

    async fn move_label(&self, of: usize, label: &str, generation: u32) {
        let Some(version) = self.version(of, generation).await else { return };
        let Some(carrier) = version.token() else { return };
        self.stage.move_label(&self.credentials[of].arn, label, Some(carrier.as_str())).await;
    }
}

/// A command line.
fn words(name: &str, line: &Line) -> Vec<String> {
    let reason = ["--reason".to_owned(), "a test".to_owned()];
    let emergency = |compromised: String| {
        let words = ["rotate", name, "--emergency", "--compromised"].map(str::to_owned);
        words.into_iter().chain([compromised]).chain(reason.clone()).collect()
    };
    let plain = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match line {
        Line::Rotate => plain(&["rotate", name]),
        Line::Emergency => emergency("all".into()),
        Line::EmergencyOf(generation) => emergency(generation.to_string()),
        Line::EmergencyOfNone => emergency("none".into()),
        Line::RollBack => plain(&["rollback", name, "--reason", "a test"]),
        Line::RollBackTo(to) => plain(&["rollback", name, "--reason", "a test", "--to", &to.to_string()]),
        Line::Retire(generation) => {
            plain(&["retire", name, "--reason", "a test", "--generation", &generation.to_string()])
        }
        Line::Repair => plain(&["repair", name, "--yes"]),
        Line::Reconcile => plain(&["reconcile", name, "--yes"]),
        Line::ReconcileAll => plain(&["reconcile", "--yes"]),
    }
}
