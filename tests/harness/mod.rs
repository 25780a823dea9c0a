//! A stage on which the real functions play against the embedded AWS, in paused time.

pub mod chance;
pub mod faults;
pub mod functions;
pub mod mishaps;
pub mod moments;
pub mod outcome;
pub mod people;
pub mod signing;
pub mod strangers;
pub mod tally;
pub mod template;
pub mod turns;
pub mod webhooks;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_apigateway::types::{ApiStage, QuotaPeriodType, QuotaSettings};
use aws_sdk_secretsmanager::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_secretsmanager::types::{RotationRulesType, Tag};
use aws_smithy_runtime_api::client::http::{SharedHttpConnector, http_client_fn};
use chrono::{DateTime, TimeDelta, Utc};
use local_aws::{Function, LocalAws, Settings};
use rotator::aws::plain;
use rotator::aws::probe::{Probe, Recognition};
use rotator::config::Config;
use rotator::engine::{Engine, Errand};
use rotator::functions::Pace;
use rotator::ports::{Clock, Ports, Wire};
use rotator::secret::SecretValue;
use serde_json::{Value, json};
use state::credential::Credential;
use state::decide::Secret;
use state::invariants::{Outside, Violation, check};
use state::ledger::{Actor, Change};
use state::lifecycle::State;
use state::name::CredentialName;
use tokio::time::Instant;

use chance::Chance;
use faults::{Faults, Process};
use functions::Idle;
pub use functions::{FUNCTION_TIMEOUT, Host, Which};
use strangers::DESCRIPTION;

/// The one API of the stage.
pub const API: &str = "a1b2c3";
/// The API behind which key sets are served.
pub const KEY_SETS: &str = "keysets1";
/// A credential's name where one is enough.
pub const ACME: &str = "partner/acme";

/// Tokio's paused time as everybody's clock: it jumps when nothing else is to be done.
#[derive(Clone, Copy, Debug)]
pub struct PausedClock {
    base: DateTime<Utc>,
    start: Instant,
}

impl PausedClock {
    /// A clock that shows that moment now.
    fn showing(base: DateTime<Utc>) -> Self {
        Self { base, start: Instant::now() }
    }

    /// The clock of a machine that is so far ahead of this one; or behind it, if that is less than nothing.
    pub fn ahead(self, by: TimeDelta) -> Self {
        Self { base: self.base + by, ..self }
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.base + TimeDelta::from_std(self.start.elapsed()).expect("tests don't run for ages")
    }
}

#[async_trait]
impl local_aws::Clock for PausedClock {
    fn now(&self) -> DateTime<Utc> {
        Self::now(self)
    }

    #[expect(clippy::disallowed_methods, reason = "paused: nobody waits")]
    async fn sleep_until(&self, at: DateTime<Utc>) {
        tokio::time::sleep((at - Self::now(self)).to_std().unwrap_or_default()).await;
    }
}

#[async_trait]
impl Clock for PausedClock {
    fn now(&self) -> DateTime<Utc> {
        Self::now(self)
    }

    #[expect(clippy::disallowed_methods, reason = "paused: nobody waits")]
    async fn sleep(&self, time: TimeDelta) {
        tokio::time::sleep(time.to_std().unwrap_or_default()).await;
    }
}

/// One account with one API, two plans, and a secret for each key that a test asks for.
pub struct Stage {
    pub aws: LocalAws,
    pub clock: PausedClock,
    /// What the service draws at random.
    pub chance: Chance,
    pub faults: Faults,
    pub settings: Config,
    pub plan: String,
    /// For looking at things: never hurt, never counted.
    pub observer: Observer,
    /// Processes of the functions that wait for their next call.
    idle: Idle,
}

/// Somebody who may do everything, and whose clients are made once.
pub struct Observer {
    pub config: SdkConfig,
    api_gateway: aws_sdk_apigateway::Client,
    secrets_manager: aws_sdk_secretsmanager::Client,
    kms: aws_sdk_kms::Client,
    dynamodb: aws_sdk_dynamodb::Client,
    engine: Mutex<Option<Arc<Engine>>>,
}

impl Observer {
    fn new(connector: SharedHttpConnector) -> Self {
        // Without the SDK's own retries: they wait for as long as they please.
        let config = sdk_config(connector).into_builder().retry_config(RetryConfig::disabled()).build();
        Self {
            api_gateway: aws_sdk_apigateway::Client::new(&config),
            secrets_manager: aws_sdk_secretsmanager::Client::new(&config),
            kms: aws_sdk_kms::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            engine: Mutex::default(),
            config,
        }
    }
}

/// What a credential is to be.
#[derive(Clone, Debug)]
pub struct Terms {
    pub tags: BTreeMap<String, String>,
    pub schedule: Option<String>,
}

impl Default for Terms {
    fn default() -> Self {
        let tags = [
            ("rotator:kind", "api-gateway-key".to_owned()),
            ("rotator:probe", format!("{API}/prod/ping")),
            ("rotator:overlap", "P1D".to_owned()),
            ("rotator:soak", "P1D".to_owned()),
            // Nobody's use holds a retirement, unless a test says so.
            ("rotator:idle-before-suspend", "PT0S".to_owned()),
        ];
        Self {
            tags: tags.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            schedule: Some("rate(30 days)".into()),
        }
    }
}

impl Terms {
    /// What a credential of another kind is to be, with everything else by default.
    pub fn of(kind: &str) -> Self {
        let tags = [("rotator:kind", kind), ("rotator:soak", "P1D"), ("rotator:idle-before-suspend", "PT0S")];
        Self {
            tags: tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            schedule: Some("rate(30 days)".into()),
        }
    }

    /// A webhook secret that is accepted for a day after the next one is there.
    pub fn webhook() -> Self {
        Self::of("webhook-secret").with("overlap", "P1D")
    }

    /// A signing key in KMS: by default ES256, published for a day before it signs and, after the next one does, for
    /// four hours and a quarter.
    pub fn kms() -> Self {
        Self::of("kms-signing-key")
    }

    /// A signing key in Secrets Manager, of the other curve.
    pub fn jwt() -> Self {
        Self::of("jwt-signing-key").with("algorithm", "EdDSA")
    }

    pub fn with(mut self, tag: &str, value: &str) -> Self {
        self.tags.insert(format!("rotator:{tag}"), value.to_owned());
        self
    }

    pub fn without(mut self, tag: &str) -> Self {
        self.tags.remove(&format!("rotator:{tag}"));
        self
    }
}

impl Stage {
    /// A stage with nothing but the API, its plan and the records' table.
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let stage = moments::empty().await.stage();
        stage.aws.settings(|those| *those = settings);
        stage
    }

    /// A stage on which the service draws what follows from a number. But for key material, which the library that makes
    /// it draws for itself.
    pub async fn drawn(settings: Settings, chance: Chance) -> Self {
        let stage = moments::empty().await.stage_with(chance);
        stage.aws.settings(|those| *those = settings);
        stage
    }

    pub async fn plan(&self, name: &str, stages: &[&str], quota: Option<i32>) -> String {
        let plan =
            self.api_gateway().create_usage_plan().name(name).set_quota(
                quota.map(|limit| QuotaSettings::builder().limit(limit).period(QuotaPeriodType::Month).build()),
            );
        let stages = stages.iter().map(|stage| ApiStage::builder().api_id(API).stage(*stage).build()).collect();
        plan.set_api_stages(Some(stages))
            .tags("rotator:allow", "partner/")
            .send()
            .await
            .expect("a plan")
            .id
            .expect("an id")
    }

    /// An API key in the stage's plan: its id and value.
    pub async fn key(&self, name: &str) -> (String, String) {
        let client = self.api_gateway();
        let made =
            client.create_api_key().name(name).enabled(true).description("for tests").customer_id("c-1").send().await;
        let made = made.expect("a key");
        let (id, value) = (made.id.expect("an id"), made.value.expect("a value"));
        client
            .create_usage_plan_key()
            .usage_plan_id(&self.plan)
            .key_id(&id)
            .key_type("API_KEY")
            .send()
            .await
            .expect("attached");
        (id, value)
    }

    /// A secret with those tags and that value, its rotation configured but not begun. Returns its ARN.
    pub async fn secret(&self, name: &str, value: &str, terms: &Terms) -> String {
        let client = self.secrets_manager();
        let tags = terms.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        let made =
            client.create_secret().name(name).secret_string(value).set_tags(Some(tags)).send().await.expect("a secret");
        let arn = made.arn.expect("an ARN");
        if let Some(schedule) = &terms.schedule {
            client
                .rotate_secret()
                .secret_id(&arn)
                .rotation_lambda_arn(self.settings.function_arn.clone().expect("registered"))
                .rotation_rules(RotationRulesType::builder().schedule_expression(schedule).build())
                .rotate_immediately(false)
                .send()
                .await
                .expect("configured");
            self.aws.settle().await;
        }
        arn
    }

    /// The ARN of a new KMS key that encrypts.
    pub async fn encryption_key(&self) -> String {
        let made = self.kms().create_key().send().await.expect("made");
        made.key_metadata.and_then(|key| key.arn).expect("an ARN")
    }

    /// Puts a secret under a key of its owner's.
    pub async fn encrypt(&self, secret: &str, key: &str) {
        let updated = self.secrets_manager().update_secret().secret_id(secret).kms_key_id(key);
        updated.send().await.expect("under it");
    }

    /// By which name a secret tells the key that encrypts it; `None`: AWS's own.
    pub async fn encrypted_by(&self, secret: &str) -> Option<String> {
        self.secrets_manager().describe_secret().secret_id(secret).send().await.expect("described").kms_key_id
    }

    /// A key in the plan and a secret that holds it: its ARN, the key's id, the key's value.
    pub async fn credential(&self, name: &str, terms: &Terms) -> (String, String, String) {
        let (id, value) = self.key(name.rsplit('/').next().unwrap_or(name)).await;
        let arn = self.secret(name, &document(&value), terms).await;
        (arn, id, value)
    }

    pub fn api_gateway(&self) -> aws_sdk_apigateway::Client {
        self.observer.api_gateway.clone()
    }

    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        self.observer.secrets_manager.clone()
    }

    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        self.observer.dynamodb.clone()
    }

    pub fn kms(&self) -> aws_sdk_kms::Client {
        self.observer.kms.clone()
    }

    /// A new process's engine, over its own way to AWS.
    pub fn engine(&self, process: &Process) -> Engine {
        self.engine_over(process.connector.clone())
    }

    /// An engine over any way to AWS, of somebody who may do everything.
    pub fn engine_over(&self, connector: SharedHttpConnector) -> Engine {
        engine_of("AKIDLOCAL", Pace::Full, &self.settings, self.ports(connector.clone()), connector)
    }

    /// What is not AWS, with that way to it.
    pub fn ports(&self, connector: SharedHttpConnector) -> Ports {
        ports(self.clock, &self.chance, connector)
    }

    /// For looking: its calls are not counted, and never hurt.
    pub fn engine_unhurt(&self) -> Arc<Engine> {
        let mut made = self.observer.engine.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            // A test may change the settings.
            Some(engine) if engine.config == self.settings => engine.clone(),
            _ => made.insert(Arc::new(self.engine_over(self.aws.set_up_connector()))).clone(),
        }
    }

    /// `RotateSecret`, and everything that follows from it at once.
    pub async fn rotate(&self, arn: &str) {
        self.secrets_manager().rotate_secret().secret_id(arn).send().await.expect("begun");
        self.aws.settle().await;
    }

    /// Lets time pass, with retirement's tick at its end.
    pub async fn pass(&self, time: TimeDelta) {
        Clock::sleep(&self.clock, time).await;
        self.tick().await;
    }

    /// Retirement, once, as the schedule would.
    pub async fn tick(&self) {
        // What it failed with is in the records; what it left undone, the next tick does.
        let event = json!({"detail-type": "Scheduled Event", "source": "aws.events"});
        let _ = Host::new(self, Which::Retirement).invoke(event).await;
    }

    /// Retirement of one credential, as the event of its label's move would have it: the look into the index, at whatever
    /// is due, is left out.
    pub async fn tend(&self, name: &str) {
        let event = json!({"detail-type": "Secret Label Updated", "detail": {"name": name}});
        let _ = Host::new(self, Which::Retirement).invoke(event).await;
    }

    /// Others use up what API Gateway's control plane takes at once.
    pub async fn exhaust(&self) {
        let config = sdk_config(self.aws.connector()).into_builder().retry_config(RetryConfig::disabled()).build();
        let others = aws_sdk_apigateway::Client::new(&config);
        while others.get_usage_plans().send().await.is_ok() {}
    }

    /// Commits a change, whatever it is.
    pub async fn commit(&self, name: &str, change: Change) {
        let engine = self.engine_unhurt();
        let stamp = engine.stamp(&self.errand(), None);
        engine.commit(&self.load(name).await, change, &stamp).await.expect("committed");
    }

    pub async fn load(&self, name: &str) -> Credential {
        self.recorded(name).await.expect("recorded")
    }

    pub async fn recorded(&self, name: &str) -> Option<Credential> {
        let name = CredentialName::parse(name).expect("a name");
        self.engine_unhurt().records.load(&name).await.expect("readable")
    }

    /// What a consumer that reads the secret now would send.
    pub async fn current_value(&self, arn: &str) -> String {
        let read = self.secrets_manager().get_secret_value().secret_id(arn).send().await.expect("readable");
        let document: Value = serde_json::from_str(read.secret_string().expect("text")).expect("JSON");
        document["apiKey"].as_str().expect("a key").to_owned()
    }

    /// Whether a request with that value gets through now.
    pub async fn gets_through(&self, value: &str) -> bool {
        let probe = Probe::parse(&format!("{API}/prod/ping")).expect("a probe");
        self.engine_unhurt().prober.send(&probe, &SecretValue::new(value)).await == Recognition::Recognised
    }

    /// Every broken invariant of a credential, as of now.
    pub async fn violations(&self, name: &str) -> Vec<Violation> {
        let engine = self.engine_unhurt();
        let name = CredentialName::parse(name).expect("a name");
        let Some(credential) = engine.records.load(&name).await.expect("readable") else { return Vec::new() };
        let history: Vec<_> =
            engine.records.history(&name).await.expect("readable").into_iter().map(|told| told.event).collect();
        let secret = match engine.describe(name.as_str()).await {
            Ok(secret) => secret,
            Err(_) => return Vec::new(),
        };
        check(&credential, &history, &self.outside(&credential, secret))
    }

    /// What the invariants are held against: a secret as it was just read, and the keys as they are now.
    pub fn outside(&self, credential: &Credential, secret: Secret) -> Outside {
        let name = &credential.head.name;
        let recorded: Vec<&String> =
            credential.versions.values().filter_map(|version| version.provider.get("id")).collect();
        // A customer's key that is about to be recorded has the first of these tags alone.
        let ours = |id: &String, tags: &BTreeMap<String, String>| {
            let is_its = tags.get("rotator:credential").is_some_and(|credential| credential == name.as_str());
            recorded.contains(&id) || is_its && tags.contains_key("rotator:version")
        };
        let api_keys = self.aws.inspect_api_keys().into_iter().filter(|key| ours(&key.id, &key.tags));
        let api_keys = api_keys.filter(|key| key.description.as_deref() != Some(DESCRIPTION));
        // One that waits for its deletion is as good as deleted.
        let kms_keys = self.aws.inspect_kms_keys().into_iter().filter(|key| key.state != "PendingDeletion");
        let kms_keys = kms_keys.filter(|key| ours(&key.arn, &key.tags) && key.description != DESCRIPTION);
        // These have no key at a provider: what is recorded is all there is.
        let kinds = ["webhook-secret", "jwt-signing-key"];
        let live = credential.versions.values().filter(|version| version.state != State::Destroyed);
        let held = live.filter(|version| kinds.contains(&version.policy.kind.as_str()));
        let keys = api_keys
            .map(|key| (key.id, key.enabled))
            .chain(kms_keys.map(|key| (key.arn, key.state == "Enabled")))
            .chain(held.filter_map(|version| Some((version.provider.get("id")?.clone(), true))))
            .collect();
        Outside { secret, keys }
    }

    pub async fn assert_sound(&self, name: &str, when: &str) {
        let violations = self.violations(name).await;
        assert!(violations.is_empty(), "{when}: {violations:?}\n{}", self.story(name).await);
    }

    /// The history of a credential, for a failed test.
    pub async fn story(&self, name: &str) -> String {
        let name = CredentialName::parse(name).expect("a name");
        let told = self.engine_unhurt().records.history(&name).await.unwrap_or_default();
        told.iter().map(|told| format!("{} {:?}\n", told.event.at.format("%d %H:%M:%S"), told.event.change)).collect()
    }

    /// A person at the command line, with an hour's patience.
    pub fn errand(&self) -> Errand<'static> {
        Errand {
            actor: Actor::Operator,
            deadline: self.clock.now() + TimeDelta::hours(1),
            rotation_token: None,
            note: None,
        }
    }
}

/// What a consumer reads.
pub fn document(value: &str) -> String {
    json!({"provider": "api-gateway", "apiKey": value, "endpoint": format!("https://{API}.execute-api.eu-west-1.amazonaws.com/prod")})
        .to_string()
}

/// Past libtest's capture: figures are to be seen whenever the tests are run.
pub fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("standard output");
}

/// With which access key an operator signs on a stage.
pub const OPERATOR: &str = "AKIDOPERATOR";

/// Of somebody who may do everything.
pub fn sdk_config(connector: SharedHttpConnector) -> SdkConfig {
    sdk_config_of("AKIDLOCAL", connector)
}

pub fn sdk_config_of(access_key: &str, connector: SharedHttpConnector) -> SdkConfig {
    let credentials = Credentials::new(access_key, "secret", None, None, "tests");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(aws_smithy_async::rt::sleep::TokioSleep::new()))
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .build()
}

fn ports(clock: PausedClock, chance: &Chance, connector: SharedHttpConnector) -> Ports {
    let wire = Wire::new(move || connector.clone());
    Ports { clock: Arc::new(clock), entropy: Arc::new(chance.clone()), wire }
}

fn engine_of(access_key: &str, pace: Pace, settings: &Config, ports: Ports, connector: SharedHttpConnector) -> Engine {
    let config = plain(sdk_config_of(access_key, connector));
    match pace {
        Pace::Full => Engine::new(&config, settings.clone(), ports),
        Pace::Share => Engine::paced(&config, settings.clone(), ports),
    }
}
