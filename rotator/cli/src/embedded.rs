//! This service on an AWS in the same process: the same engine and handlers, the same SDK, one clock, no network.
//!
//! `rotator local`, `rotator demo` and the tests all stand on it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use chrono::{DateTime, TimeDelta, Utc};
use local_aws::{FunctionError, LocalAws, Method, RestApi, StateDir};
use rotator::aws::plain;
use rotator::config::Config;
use rotator::engine::Engine;
use rotator::failure::Failure;
use rotator::functions::{Handle, Invocation, jwks::Jwks, retirement::Retirement, rotation::Rotation};
use rotator::ports::{Clock, Entropy, OsEntropy, Ports, Wire};
use serde_json::{Value, json};

/// The Region of the embedded AWS.
pub const REGION: &str = "eu-west-1";
/// The name of the rotation function.
pub const ROTATION: &str = "rotation";
/// The name of the retirement function.
pub const RETIREMENT: &str = "retirement";
/// The name of the function that serves key sets.
pub const JWKS: &str = "jwks";
/// The API in front of it: its stage `v1` has the resource `/jwks/{proxy+}`.
pub const JWKS_API: &str = "keysets1";
/// How long the functions have, as the stack sets it.
pub const FUNCTION_TIMEOUT: TimeDelta = TimeDelta::minutes(5);

/// The alias under which the key for fingerprints is found again.
const FINGERPRINT_ALIAS: &str = "alias/rotator-fingerprint";

/// Something between the SDK and the embedded AWS, for instance a fault.
pub type Wrap = Arc<dyn Fn(SharedHttpConnector) -> SharedHttpConnector + Send + Sync>;

/// Told before an invocation of a function in this process (`None`), and after it. Takes the function's name and payload.
pub type Watch = Arc<dyn Fn(&str, &Value, Option<&Result<Value, FunctionError>>) + Send + Sync>;

/// What may differ from one embedded AWS to another. Everything has a default.
pub struct Setup {
    /// The one clock of everybody. Real time by default.
    pub clock: Arc<dyn local_aws::Clock>,
    /// The operating system's by default.
    pub entropy: Arc<dyn Entropy>,
    /// How this AWS behaves where AWS leaves room.
    pub behaviour: local_aws::Settings,
    /// Where AWS's own ids and random values come from; the operating system's random source by default.
    pub seed: Option<u64>,
    /// Where state is kept; it is gone with the process by default.
    pub state: Option<Arc<StateDir>>,
    /// Where an API answers, with `{api}` in it; by default as on AWS, which works in this process only.
    pub execute_api: Option<String>,
    /// What stands between the engine and this AWS.
    pub wrap: Option<Wrap>,
    /// Lambda's Invoke API, if the functions run elsewhere.
    pub lambda_endpoint: Option<http::Uri>,
    /// Who is told of invocations.
    pub watch: Option<Watch>,
}

/// An embedded AWS with this service deployed: the table, the fingerprint key, both functions, the schedule and the
/// rule that call retirement.
///
/// Nothing happens by itself: drive it with [`LocalAws::run`] or [`LocalAws::tick`]. The functions are gone with this
/// value.
#[derive(Debug)]
pub struct Embedded {
    /// The AWS.
    pub aws: LocalAws,
    /// For any client of the SDK.
    pub config: SdkConfig,
    /// Where things are.
    pub settings: Config,
    /// The clock, the random source and the way to this AWS.
    pub ports: Ports,
    engine: Arc<Engine>,
    /// The functions know their engines weakly, or nothing of it all would ever be freed.
    retirement: Arc<Engine>,
    watch: Told,
}

/// Who is told of invocations.
struct Told(Option<Watch>);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told(..)")
    }
}

/// Why the embedded AWS could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It could not be built.
    #[error("could not set up the embedded AWS")]
    Build(#[from] local_aws::BuildError),
    /// It has no key for fingerprints.
    #[error("could not make the fingerprint key in the embedded AWS")]
    Key(#[source] Box<aws_sdk_kms::Error>),
    /// It has no table.
    #[error("could not make the table in the embedded AWS")]
    Table(#[source] Failure),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            clock: Arc::new(local_aws::ScaledClock::new(1.0)),
            entropy: Arc::new(OsEntropy),
            behaviour: local_aws::Settings::default(),
            seed: None,
            state: None,
            execute_api: None,
            wrap: None,
            lambda_endpoint: None,
            watch: None,
        }
    }
}

impl Setup {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// If the state directory can't be used, or the table or the key can't be made.
    pub async fn start(self) -> Result<Embedded, StartError> {
        let mut builder = LocalAws::builder().clock(self.clock.clone()).region(REGION).settings(self.behaviour);
        if let Some(seed) = self.seed {
            builder = builder.seed(seed);
        }
        if let Some(dir) = self.state {
            builder = builder.state_dir(dir);
        }
        let aws = builder.build()?;
        let wire = {
            let (connector, wrap) = (aws.connector(), self.wrap);
            Wire::new(move || wrap.as_ref().map_or_else(|| connector.clone(), |wrap| wrap(connector.clone())))
        };
        let config = sdk_config(&wire);
        let ports = Ports { clock: Arc::new(OneClock(self.clock)), entropy: self.entropy, wire };

        // The deployment is no part of what a fault is to hurt.
        let direct = config.to_builder().http_client(aws.http_client()).build();
        let execute_api = self.execute_api.unwrap_or_else(|| Config::default().execute_api);
        let settings = Config {
            fingerprint_key: Some(fingerprint_key(&direct).await.map_err(|e| StartError::Key(Box::new(e)))?),
            jwks_url: Some(format!(
                "{}/v1/jwks",
                execute_api.replace("{api}", JWKS_API).replace("{region}", aws.region())
            )),
            execute_api,
            function_arn: Some(format!("arn:aws:lambda:{}:{}:function:{ROTATION}", aws.region(), aws.account())),
            ..Config::default()
        };
        Engine::new(&direct, settings.clone(), ports.clone())
            .records
            .create_table()
            .await
            .map_err(StartError::Table)?;

        let engine = Arc::new(Engine::new(&config, settings.clone(), ports.clone()));
        let retirement = Arc::new(Engine::paced(&config, settings.clone(), ports.clone()));
        let embedded = Embedded { aws, config, settings, ports, engine, retirement, watch: Told(self.watch) };
        embedded.deploy();
        let aws = &embedded.aws;
        if let Some(endpoint) = self.lambda_endpoint {
            aws.lambda_endpoint(endpoint);
        }
        aws.create_rest_api(RestApi {
            id: Some(JWKS_API.into()),
            name: "key sets".into(),
            stages: vec!["v1".into()],
            methods: vec![Method::function("/jwks/{proxy+}", JWKS)],
        });
        aws.every(Duration::from_secs(60), RETIREMENT, json!({ "detail-type": "Scheduled Event" }));
        let daily = json!({ "detail-type": "Scheduled Event", "detail": { "task": "reconcile" } });
        aws.every(Duration::from_secs(24 * 60 * 60), RETIREMENT, daily);
        aws.on_label_event(RETIREMENT);
        Ok(embedded)
    }
}

impl Embedded {
    /// Starts one with every default.
    ///
    /// # Errors
    ///
    /// As [`Setup::start`].
    pub async fn start() -> Result<Self, StartError> {
        Setup::default().start().await
    }

    /// Deploys the functions; once more, if something else was registered under their names.
    pub fn deploy(&self) {
        let builtins: [(&'static str, &Arc<Engine>, Make); 3] = [
            (ROTATION, &self.engine, |engine| Box::new(Rotation::new(engine))),
            (RETIREMENT, &self.retirement, |engine| Box::new(Retirement::new(engine))),
            (JWKS, &self.engine, |engine| Box::new(Jwks::new(engine))),
        ];
        for (name, engine, make) in builtins {
            let (engine, watch) = (Arc::downgrade(engine), self.watch.0.clone());
            self.aws.register(name, Arc::new(Builtin { name, engine, make, watch, invocations: AtomicU64::new(0) }));
        }
    }

    /// The engine that the rotation function uses.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Another engine on the same AWS, as another process would have it.
    pub fn new_engine(&self) -> Engine {
        Engine::new(&self.config, self.settings.clone(), self.ports.clone())
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("clock", &self.clock).field("behaviour", &self.behaviour).finish_non_exhaustive()
    }
}

/// The SDK's configuration, from nothing but this: what the machine is configured for is another AWS. Nobody checks what
/// is signed with in this process; over a port, an [`AccessKey`](local_aws::AccessKey) is.
fn sdk_config(wire: &Wire) -> SdkConfig {
    let credentials = Credentials::new("local", "local", None, None, "embedded");
    plain(
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(wire.http_client())
            .build(),
    )
}

async fn fingerprint_key(config: &SdkConfig) -> Result<String, aws_sdk_kms::Error> {
    let kms = aws_sdk_kms::Client::new(config);
    match kms.describe_key().key_id(FINGERPRINT_ALIAS).send().await {
        Ok(found) => return Ok(found.key_metadata.and_then(|key| key.arn).unwrap_or_default()),
        Err(error) if error.as_service_error().is_some_and(|e| e.is_not_found_exception()) => {}
        Err(error) => return Err(error.into()),
    }
    let made = kms.create_key().key_spec(KeySpec::Hmac256).key_usage(KeyUsageType::GenerateVerifyMac).send().await?;
    let arn = made.key_metadata.and_then(|key| key.arn).unwrap_or_default();
    kms.create_alias().alias_name(FINGERPRINT_ALIAS).target_key_id(&arn).send().await?;
    Ok(arn)
}

/// The embedded AWS's clock, as the engine wants one.
#[derive(Debug)]
struct OneClock(Arc<dyn local_aws::Clock>);

#[async_trait]
impl Clock for OneClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }

    async fn sleep(&self, time: TimeDelta) {
        let until = self.0.now().checked_add_signed(time).unwrap_or(DateTime::<Utc>::MAX_UTC);
        self.0.sleep_until(until).await;
    }
}

type Make = fn(Arc<Engine>) -> Box<dyn Handle>;

/// One of our functions, in this process. Each invocation gets a handler of its own.
struct Builtin {
    name: &'static str,
    engine: Weak<Engine>,
    make: Make,
    watch: Option<Watch>,
    invocations: AtomicU64,
}

impl Builtin {
    fn tell(&self, payload: &Value, done: Option<&Result<Value, FunctionError>>) {
        if let Some(watch) = &self.watch {
            watch(self.name, payload, done);
        }
    }
}

#[async_trait]
impl local_aws::Function for Builtin {
    async fn invoke(&self, payload: Value) -> Result<Value, FunctionError> {
        let Some(engine) = self.engine.upgrade() else {
            return Err(FunctionError {
                error_type: "ResourceNotFoundException".into(),
                error_message: "the embedded AWS that this function belongs to is gone".into(),
            });
        };
        let number = self.invocations.fetch_add(1, Ordering::Relaxed) + 1;
        let deadline = engine.ports.clock.now() + FUNCTION_TIMEOUT;
        self.tell(&payload, None);
        let invocation = Invocation { payload: payload.clone(), request_id: format!("embedded-{number}"), deadline };
        let done = (self.make)(engine).handle(invocation).await;
        let done =
            done.map_err(|failed| FunctionError { error_type: failed.error_type, error_message: failed.message });
        self.tell(&payload, Some(&done));
        done
    }
}
