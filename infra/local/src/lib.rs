//! An AWS in one process: Secrets Manager, API Gateway's keys and their data plane, KMS, DynamoDB
//! and enough of CloudWatch Logs, IAM, STS, Lambda and EventBridge to hold them together.
//!
//! What is modelled:
//!
//! - Secrets Manager: secrets, versions, labels, rotation and its schedules, deletion with and
//!   without a recovery window;
//! - API Gateway: API keys, usage plans, usage, tags; a data plane whose methods ask for an API key,
//!   redirect, or hand requests to a function by Lambda proxy integration ([`Method`]), and whose
//!   stages may write access logs ([`LocalAws::log_access`]);
//! - CloudWatch Logs: Logs Insights queries over those access logs, in as much of the language as
//!   `filter` (`=`, `!=`, `in`, `and`), `fields`, `stats` (`count(*)`, `max`, `min`, `by`), `sort` and
//!   `limit` are;
//! - KMS: keys that sign and keys that authenticate, with real signatures and MACs, their states,
//!   policies, grants (kept and told, not enforced), aliases, tags and their last use, told late;
//! - DynamoDB: tables, items and transactions, over dynoxide;
//! - Lambda: how a function is set up, its resource policy and its reserved concurrency, for looking
//!   at ([`LocalAws::configure_function`]); none of it is enforced; and dry runs;
//! - IAM: `SimulatePrincipalPolicy`, which evaluates no policy and answers what a switch says, and
//!   `GetRole`; STS: `GetCallerIdentity`.
//!
//! It is written once, at the level of operations. In process it is an HTTP client for the SDK
//! ([`LocalAws::http_client`]: no port, no network); over a port ([`LocalAws::serve`]) the same
//! thing, for whoever signs with its [`AccessKey`]. Time is injected ([`Clock`]). Only what is
//! modelled is answered, but that by the AWS documentation: an unknown operation or parameter is
//! refused by name. Where AWS leaves room, a switch ([`Settings`]) chooses.
//!
//! Nothing happens by itself. Whoever hosts this AWS runs what is due: a test step by step
//! ([`LocalAws::tick`]), a program for as long as it lives ([`LocalAws::run`]).
//!
//! ```
//! # async fn example() -> Result<(), local_aws::BuildError> {
//! let aws = local_aws::LocalAws::builder().region("eu-west-1").build()?;
//! let client = aws.http_client(); // for aws_config's `http_client`
//! aws.tick().await;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{SharedHttpClient, SharedHttpConnector, http_client_fn};
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::Notify;

pub use api_gateway::{ApiKeyView, KeyFile, KeyFileProblem, KeyFileRow, Method, RestApi, UsagePlanView};
pub use authorization::{Asked, ByResource, PolicyError, Role};
pub use clock::{Clock, ManualClock, ScaledClock};
pub use functions::{Function, FunctionError};
pub use kms::{KmsGrantView, KmsKeyView};
pub use lambda::{FunctionPolicy, FunctionShape};
pub use persist::{StateDir, StateError};
pub use settings::{Decision, LabelEvent, PreflightValue, RetryToken, Settings, Simulated};
pub use snapshot::Snapshot;
pub use transport::AccessKey;

use crate::core::{Context, Response};
use dynamodb::DynamoDb;
use secrets_manager::Invocable;
use transport::LocalConnector;
use world::{Entropy, Place, Services, Stored, World};

mod api_gateway;
mod authorization;
mod clock;
mod core;
mod dynamodb;
mod events;
mod functions;
mod iam;
mod jobs;
mod kms;
mod lambda;
mod logs;
mod persist;
mod query;
mod rates;
mod run;
mod schedule;
mod secrets_manager;
mod settings;
mod snapshot;
mod sts;
mod token_bucket;
mod transport;
mod world;

/// One AWS: one account in one Region. Clones are the same AWS.
#[derive(Clone)]
pub struct LocalAws(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    place: Place,
    dynamodb: DynamoDb,
    state_dir: Option<Arc<StateDir>>,
    /// Never held while a function runs: functions call back in.
    world: Mutex<World>,
    /// Something became due that `run` may not know of.
    woken: Notify,
}

/// A call that this AWS answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRecord {
    /// `secretsmanager`, `apigateway`, `dynamodb`, `kms`, `logs`, `lambda`, `iam`, `sts`, or
    /// `execute-api` for the data plane; `unknown` for what is not modelled.
    pub service: &'static str,
    /// The operation's name; on the data plane the method and the path, for instance
    /// `GET /prod/ping`.
    pub operation: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The ARN of the role that called, if it is one that was given an access key here.
    pub caller: Option<String>,
    /// What the call asked of IAM; nothing where nobody was asked, because the caller has no role here.
    pub asked: Vec<Asked>,
}

/// How one attempt of a rotation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationOutcome {
    /// The secret's ARN.
    pub secret: String,
    /// The attempt's `ClientRequestToken`.
    pub token: String,
    /// From 1; counts the attempts of one rotation.
    pub attempt: u32,
    /// The last step that was begun, as on the wire.
    pub step: String,
    /// Why the attempt failed. `None` if it succeeded.
    pub error: Option<FunctionError>,
    /// When it ended.
    pub at: DateTime<Utc>,
}

/// Why an AWS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// What is in the state directory can't be read, or was not written by this version.
    #[error("could not go on with the saved state")]
    State(#[from] StateError),
    /// The file with DynamoDB's tables can't be opened.
    #[error("could not open DynamoDB's tables")]
    Tables(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Sets up a [`LocalAws`]. Everything has a default.
pub struct Builder {
    clock: Arc<dyn Clock>,
    place: Place,
    settings: Settings,
    seed: Option<u64>,
    state_dir: Option<Arc<StateDir>>,
}

impl Builder {
    /// Real time by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// `eu-west-1` by default. Requests signed for another Region are refused.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.place.region = region.into();
        self
    }

    /// Twelve digits; `123456789012` by default.
    #[must_use]
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.place.account = account.into();
        self
    }

    /// [`Settings::default`] by default.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Ids and random values follow from this number, instead of the operating system's random
    /// source. For tests.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Keeps all state in this directory; otherwise it is gone with the last clone. Functions, rules and
    /// timers are not state: register them again.
    #[must_use]
    pub fn state_dir(mut self, dir: Arc<StateDir>) -> Self {
        self.state_dir = Some(dir);
        self
    }

    /// The AWS.
    ///
    /// # Errors
    ///
    /// If the state directory can't be used.
    pub fn build(self) -> Result<LocalAws, BuildError> {
        let mut stored = Stored::default();
        let mut tables = None;
        if let Some(dir) = &self.state_dir {
            stored = dir.load()?.unwrap_or_default();
            tables = Some(dir.tables()?);
        }
        if let Some(seed) = self.seed
            && self.state_dir.is_none()
        {
            stored.entropy = Entropy::seeded(seed);
        }
        let dynamodb = DynamoDb::open(tables.as_deref()).map_err(|error| BuildError::Tables(Box::new(error)))?;
        Ok(LocalAws(Arc::new(Inner {
            clock: self.clock,
            place: self.place,
            dynamodb,
            state_dir: self.state_dir,
            world: Mutex::new(World::new(stored, self.settings)),
            woken: Notify::new(),
        })))
    }
}

impl LocalAws {
    /// An AWS yet to be set up.
    pub fn builder() -> Builder {
        Builder {
            clock: Arc::new(ScaledClock::new(1.0)),
            place: Place { region: "eu-west-1".into(), account: "123456789012".into() },
            settings: Settings::default(),
            seed: None,
            state_dir: None,
        }
    }

    /// Hands every request to this AWS, whatever host it names: no port, no network.
    pub fn connector(&self) -> SharedHttpConnector {
        SharedHttpConnector::new(LocalConnector { aws: self.clone(), is_set_up: false })
    }

    /// The same, for whoever sets a scene: what goes through it uses up none of the account's rates. It exists in this
    /// process alone: no request over a port is exempt.
    pub fn set_up_connector(&self) -> SharedHttpConnector {
        SharedHttpConnector::new(LocalConnector { aws: self.clone(), is_set_up: true })
    }

    /// The same, as an SDK configuration takes it.
    pub fn http_client(&self) -> SharedHttpClient {
        let connector = self.connector();
        http_client_fn(move |_, _| connector.clone())
    }

    /// The moment that this AWS's clock shows.
    pub fn now(&self) -> DateTime<Utc> {
        self.0.clock.now()
    }

    /// Its Region.
    pub fn region(&self) -> &str {
        &self.0.place.region
    }

    /// Its account.
    pub fn account(&self) -> &str {
        &self.0.place.account
    }

    /// Changes switches while it runs.
    pub fn settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock().settings);
    }

    /// Makes a function known under that name. Answers its ARN.
    pub fn register(&self, name: &str, function: Arc<dyn Function>) -> String {
        let mut world = self.lock();
        world.functions.register(name.to_owned(), function);
        let invocable = world.functions.invocable();
        world.stored.services.secrets_manager.permit(invocable);
        format!("arn:aws:lambda:{}:{}:function:{name}", self.region(), self.account())
    }

    /// Sets a function up. What `change` leaves alone stays as it is. False, and nothing is changed, if
    /// there is no such function.
    pub fn configure_function(&self, name: &str, change: impl FnOnce(&mut FunctionShape)) -> bool {
        let mut world = self.lock();
        let Some(mut shape) = world.functions.shape(name) else { return false };
        change(&mut shape);
        world.functions.configure(name, shape);
        true
    }

    /// From now on whoever signs with that access key is that role, and may do what its policies allow and
    /// nothing else. Whoever signs with any other may do everything.
    pub fn assume(&self, access_key: &str, role: Role) {
        self.lock().callers.add(access_key.to_owned(), role);
    }

    /// Invokes all functions through Lambda's Invoke API at that URL (`http` only), instead of the
    /// registered ones.
    pub fn lambda_endpoint(&self, url: http::Uri) {
        let mut world = self.lock();
        world.functions.forward_to(url);
        world.stored.services.secrets_manager.permit(Invocable::Any);
    }

    /// An EventBridge rule: Secrets Manager's "Secret Label Updated" event goes to that function.
    pub fn on_label_event(&self, function: &str) {
        self.lock().listeners.push(function.to_owned());
    }

    /// An EventBridge schedule: from one `period` after now on, that function is invoked with that
    /// payload every `period` (at least a second). While one invocation runs, the next is skipped.
    pub fn every(&self, period: Duration, function: &str, payload: Value) {
        let now = self.now();
        self.lock().stored.queue.add_timer(now, period, function.to_owned(), payload);
        self.0.woken.notify_one();
    }

    /// A deployed REST API, without which the data plane answers nothing. Answers its id.
    pub fn create_rest_api(&self, api: RestApi) -> String {
        self.act(|services, cx| services.api_gateway.create_rest_api(cx, api)).0
    }

    /// Whether something before that API turns every request away, whatever its key: a WAF rule, private DNS, a resource
    /// policy. AWS answers then what it answers to a key that is not let in (403 `ForbiddenException`, as recordings of
    /// live AWS have it). False if there is no such API.
    pub fn block(&self, api: &str, blocked: bool) -> bool {
        self.act(|services, _| services.api_gateway.block(api, blocked)).0
    }

    /// Gives an API's gateway response `INVALID_API_KEY` another status than 403, as its owner may: AWS's own example has
    /// 456. False if there is no such API.
    pub fn put_invalid_key_status(&self, api: &str, status: u16) -> bool {
        self.act(|services, _| services.api_gateway.put_invalid_key_status(api, status)).0
    }

    /// From now on all stages of that API write access logs to that log group of CloudWatch Logs, which
    /// is created if it is not there. False if there is no such API.
    ///
    /// Each request that reaches a stage is one JSON object, in the format of an owner who wants to
    /// know who still uses a key: `requestTime`, `apiKeyId`, `ip`, `userAgent`, `httpMethod`, `path`
    /// and `status`, all of them text, `-` where there is nothing to tell. `apiKeyId` is told of
    /// methods that ask for a key, of a disabled key and of one that is in no plan, too, which AWS's
    /// documentation does not say; never the key's value. `ip` is the first address of the request's
    /// `x-forwarded-for`, since nothing else here could tell one caller from another.
    pub fn log_access(&self, api: &str, group: &str) -> bool {
        let log = |services: &mut Services, _: &mut Context<'_>| {
            let found = services.api_gateway.log_access(api, group).is_ok();
            if found {
                services.logs.create_group(group);
            }
            found
        };
        self.act(log).0
    }

    /// Puts the tags of AWS's own on a resource that CloudFormation puts on what it creates: on an API
    /// key or a usage plan by id, a secret by name or ARN, a KMS key by ARN. False if there is none.
    pub fn own_by_stack(&self, resource: &str, stack: &str, logical_id: &str) -> bool {
        let own = |services: &mut Services, cx: &mut Context<'_>| {
            let unique = cx.uuid();
            let stack_id = format!("arn:aws:cloudformation:{}:{}:stack/{stack}/{unique}", cx.region, cx.account);
            let tags = [("stack-name", stack), ("stack-id", &stack_id), ("logical-id", logical_id)];
            let tags = tags.map(|(tag, value)| (format!("aws:cloudformation:{tag}"), value.to_owned())).into();
            services.api_gateway.own_by_stack(resource, &tags)
                || services.kms.own_by_stack(cx, resource, &tags)
                || services.secrets_manager.own_by_stack(resource, &tags)
        };
        self.act(own).0
    }

    /// Sets the status of a secret's replica in another Region (`InSync`, `InProgress`, `Failed`).
    /// False if there is no such secret.
    pub fn set_replica(&self, secret: &str, region: &str, status: &str) -> bool {
        self.act(|services, _| services.secrets_manager.set_replica(secret, region, status)).0
    }

    /// Sets the status of a table of DynamoDB (`CREATING`, `UPDATING`, `DELETING`, `ACTIVE`), as a change
    /// that takes its time would. What is not there yet or any more answers no reads and writes. False if
    /// there is no such table or status.
    pub fn set_table_status(&self, table: &str, status: &str) -> bool {
        self.dynamodb().set_status(table, None, status)
    }

    /// The same of a table's global secondary index, as somebody who adds or removes one would.
    pub fn set_index_status(&self, table: &str, index: &str, status: &str) -> bool {
        self.dynamodb().set_status(table, Some(index), status)
    }

    /// A user or role is deleted. KMS, which knows principals by their unique ids, shows that id in place
    /// of the ARN from then on, and takes neither where a principal must be. Answers the id.
    pub fn forget_principal(&self, arn: &str) -> String {
        self.act(|services, cx| services.kms.forget_principal(cx, arn)).0
    }

    /// How rotation attempts ended, oldest first.
    pub fn rotations(&self) -> Vec<RotationOutcome> {
        self.lock().outcomes.clone()
    }

    /// The calls that were answered, oldest first: the last 100,000 at most.
    pub fn requests(&self) -> Vec<CallRecord> {
        self.lock().calls.iter().cloned().collect()
    }

    /// Forgets the calls so far.
    pub fn clear_requests(&self) {
        self.lock().calls.clear();
    }

    /// Every API key as it is, values included. No call is recorded: this is for checking
    /// invariants, not for clients.
    pub fn inspect_api_keys(&self) -> Vec<ApiKeyView> {
        self.lock().stored.services.api_gateway.keys()
    }

    /// Every usage plan as it is. No call is recorded.
    pub fn inspect_usage_plans(&self) -> Vec<UsagePlanView> {
        self.lock().stored.services.api_gateway.plans()
    }

    /// Every KMS key that is not deleted, as it is now. No call is recorded.
    pub fn inspect_kms_keys(&self) -> Vec<KmsKeyView> {
        self.act_unsaved(|services, cx| services.kms.views(cx)).0
    }

    /// Everything that this AWS stores but DynamoDB's tables, values and private keys included, and what is due. No call
    /// is recorded: this is for comparing two states, not for clients. The form is that of the state file and may change.
    pub fn inspect_state(&self) -> Value {
        let stored = &self.lock().stored;
        serde_json::json!({ "services": stored.services, "due": stored.queue.waiting() })
    }

    fn dynamodb(&self) -> &DynamoDb {
        &self.0.dynamodb
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the services do something and saves what came of it. Answers the early jobs, too.
    fn act<T>(&self, act: impl FnOnce(&mut Services, &mut Context<'_>) -> T) -> (T, Vec<u64>) {
        let mut world = self.lock();
        let done = world.act(&self.0.place, self.now(), act);
        self.save(&world);
        drop(world);
        self.0.woken.notify_one();
        done
    }

    /// The same for what is too frequent to be saved each time, and small to lose: usage counts.
    fn act_unsaved<T>(&self, act: impl FnOnce(&mut Services, &mut Context<'_>) -> T) -> (T, Vec<u64>) {
        self.lock().act(&self.0.place, self.now(), act)
    }

    fn save(&self, world: &World) {
        if let Some(dir) = &self.0.state_dir
            && let Err(error) = dir.save(&world.stored)
        {
            tracing::error!(%error, "the state could not be saved");
        }
    }
}

impl fmt::Debug for LocalAws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalAws({}, {})", self.account(), self.region())
    }
}

impl CallRecord {
    fn new(service: &'static str, operation: impl Into<String>, response: &Response) -> Self {
        Self { service, operation: operation.into(), status: response.status, caller: None, asked: Vec::new() }
    }
}
