//! Stories that read like the runbook.

mod adoption;
mod bad_input;
mod brownouts;
mod doctor;
mod emergency;
mod evidence;
mod holds;
mod listing;
mod members;
mod plans;
mod reconcile;
mod records;
mod repair;
mod retirement;
mod rollback;
mod rotation;
mod settlement;
mod signing;
mod waiting;
mod webhooks;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use local_aws::{Function, FunctionError, Method, RestApi, RotationOutcome};
use rotator::aws::records::Told;
use rotator::aws::turns::PARTITION;
use rotator::ports::Clock;
use serde_json::Value;
use state::drift::Finding;
use state::evidence::Ground;
use state::hold::HoldReason;
use state::ledger::Change;
use state::lifecycle::State;
use state::name::CredentialName;

use crate::harness::{ACME, API, Host, Stage, Terms, Which};

/// The log group of the API's access log.
const ACCESS_LOG: &str = "/apis/partners";

/// A day of overlap, and then the old key must not have been used for six hours.
fn watched() -> Terms {
    Terms::default().with("idle-before-suspend", "PT6H")
}

fn words(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(Finding::word).collect()
}

/// Everything that a refused request must leave as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct World {
    /// ARN, versions with their labels, tags: by the secret's name.
    secrets: BTreeMap<String, String>,
    /// Whether and when they rotate, by the secret's name.
    schedules: BTreeMap<String, String>,
    /// By id, without their values.
    keys: BTreeMap<String, String>,
    /// By ARN.
    kms_keys: BTreeMap<String, String>,
    /// Every item of the records' table but the turns, which record nothing.
    items: Vec<String>,
}

/// All of it that is not the one credential's.
fn others(world: World) -> World {
    let World { mut secrets, mut schedules, mut keys, mut kms_keys, mut items } = world;
    secrets.retain(|name, _| name != ACME);
    schedules.retain(|name, _| name != ACME);
    keys.retain(|_, key| !key.contains("acme"));
    kms_keys.retain(|_, key| !key.contains(ACME));
    items.retain(|item| !item.contains(ACME));
    World { secrets, schedules, keys, kms_keys, items }
}

impl Stage {
    pub(crate) async fn world(&self) -> World {
        let client = self.secrets_manager();
        let (mut secrets, mut schedules) = (BTreeMap::new(), BTreeMap::new());
        let listed = client.list_secrets().include_planned_deletion(true).send().await.expect("listed");
        for name in listed.secret_list().iter().filter_map(|secret| secret.name()) {
            let found = client.describe_secret().secret_id(name).send().await.expect("described");
            let versions: BTreeMap<_, _> = found.version_ids_to_stages().into_iter().flatten().collect();
            let tags: BTreeMap<_, _> = found.tags().iter().map(|tag| (tag.key(), tag.value())).collect();
            secrets.insert(name.to_owned(), format!("{:?} {versions:?} {tags:?}", found.arn()));
            schedules.insert(name.to_owned(), format!("{:?} {:?}", found.rotation_enabled(), found.rotation_rules()));
        }
        let kms_keys =
            self.aws.inspect_kms_keys().into_iter().map(|key| (key.arn.clone(), format!("{key:?}"))).collect();
        let keys = self.aws.inspect_api_keys().into_iter().map(|key| (key.id.clone(), format!("{key:?}"))).collect();
        let table = self.dynamodb().scan().table_name("rotator").send().await;
        let mut items: Vec<String> = table
            .expect("scanned")
            .items()
            .iter()
            .filter(|item| item["pk"].as_s().is_ok_and(|pk| pk != PARTITION))
            .map(|item| format!("{:?}", item.iter().collect::<BTreeMap<_, _>>()))
            .collect();
        items.sort_unstable();
        World { secrets, schedules, keys, kms_keys, items }
    }

    /// A function, called with whatever a test likes.
    async fn call(&self, which: Which, payload: Value) -> Result<Value, FunctionError> {
        Host::new(self, which).invoke(payload).await
    }

    /// One step, as Secrets Manager would call it.
    async fn step(&self, step: &str, arn: &str, token: &str) -> Result<Value, FunctionError> {
        let event = serde_json::json!({"Step": step, "SecretId": arn, "ClientRequestToken": token});
        self.call(Which::Rotation, event).await
    }

    fn last(&self) -> RotationOutcome {
        self.aws.rotations().pop().expect("a rotation was attempted")
    }

    /// What the last attempt failed with.
    fn failure(&self) -> FunctionError {
        self.last().error.expect("the last attempt failed")
    }

    fn assert_rotated(&self) {
        assert_eq!(self.last().error, None);
        assert_eq!(self.last().step, "finishSecret");
    }

    /// What the runbook says after every remedy: `RotateSecret`. It begins a rotation, or is refused because one is
    /// pending, which is then tried again: at once, or after Secrets Manager's own minute.
    async fn again(&self, arn: &str) {
        let _ = self.secrets_manager().rotate_secret().secret_id(arn).send().await;
        self.aws.settle().await;
        self.wait(TimeDelta::minutes(1)).await;
        self.aws.settle().await;
    }

    /// Everybody's clock, without anybody being woken.
    async fn wait(&self, time: TimeDelta) {
        Clock::sleep(&self.clock, time).await;
    }

    async fn retag(&self, arn: &str, tag: &str, value: &str) {
        let tag = aws_sdk_secretsmanager::types::Tag::builder().key(format!("rotator:{tag}")).value(value).build();
        self.secrets_manager().tag_resource().secret_id(arn).tags(tag).send().await.expect("tagged");
    }

    async fn untag(&self, arn: &str, tag: &str) {
        let untagged = self.secrets_manager().untag_resource().secret_id(arn).tag_keys(format!("rotator:{tag}"));
        untagged.send().await.expect("untagged");
    }

    /// A wish as it stands.
    async fn tag(&self, arn: &str, tag: &str) -> Option<String> {
        let found = self.secrets_manager().describe_secret().secret_id(arn).send().await.expect("described");
        let tags = found.tags.unwrap_or_default();
        tags.into_iter().find(|known| known.key() == Some(&format!("rotator:{tag}"))).and_then(|known| known.value)
    }

    /// Somebody puts a value by hand. The version that holds it.
    async fn put(&self, arn: &str, value: &str) -> String {
        let put = self.secrets_manager().put_secret_value().secret_id(arn).secret_string(value).send().await;
        put.expect("put").version_id.expect("an id")
    }

    /// The key in a version of the secret.
    async fn value_of(&self, arn: &str, version: &str) -> String {
        let read = self.secrets_manager().get_secret_value().secret_id(arn).version_id(version).send().await;
        let document: Value =
            serde_json::from_str(read.expect("readable").secret_string().expect("text")).expect("JSON");
        document["apiKey"].as_str().expect("a key").to_owned()
    }

    async fn arn_of(&self, name: &str) -> String {
        let found = self.secrets_manager().describe_secret().secret_id(name).send().await.expect("described");
        found.arn.expect("an ARN")
    }

    /// Deploys the stage's API anew.
    fn deploy(&self, stages: &[&str], methods: Vec<Method>) {
        self.aws.create_rest_api(RestApi {
            id: Some(API.into()),
            name: "partners".into(),
            stages: stages.iter().map(ToString::to_string).collect(),
            methods,
        });
    }

    /// What is left of a key's quota in a plan, as API Gateway tells it.
    async fn left(&self, plan: &str, key: &str) -> Option<i64> {
        let engine = self.engine_unhurt();
        engine.api_keys.remaining(plan, key, self.clock.now()).await.expect("told")
    }

    /// The history, with what stands beside it.
    async fn told(&self) -> Vec<Told> {
        let name = CredentialName::parse(ACME).expect("a name");
        self.engine_unhurt().records.history(&name).await.expect("readable")
    }

    async fn changes(&self) -> Vec<Change> {
        self.told().await.into_iter().map(|told| told.event.change).collect()
    }

    async fn state_of(&self, generation: u32) -> State {
        self.load(ACME).await.versions[&generation].state
    }

    async fn held(&self, generation: u32) -> Option<HoldReason> {
        self.load(ACME).await.versions[&generation].held.as_ref().map(|held| held.hold.reason)
    }

    /// Why a generation was refused.
    async fn ground(&self, generation: u32) -> Option<Ground> {
        self.load(ACME).await.versions[&generation].ground
    }

    /// Retirement goes on for a while, with a look at everything after each step.
    async fn goes_on(&self, time: TimeDelta, step: TimeDelta, when: &str) {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            self.pass(step.min(end - self.clock.now())).await;
            self.assert_sound(ACME, when).await;
        }
    }

    /// The values that no label holds are gone: Secrets Manager keeps a hundred, and whatever is younger than a day.
    async fn forget_unlabelled_values(&self, arn: &str) {
        for n in 0.. {
            let put = self.secrets_manager().put_secret_value().secret_id(arn).version_stages("NOTES");
            if put.secret_string(format!("{{\"note\": {n}}}")).send().await.is_err() {
                return;
            }
        }
    }
}
