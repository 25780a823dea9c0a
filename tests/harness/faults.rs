//! Faults by number: the n-th call of a scenario is hurt, in one of seven ways. And permissions that are missing.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use rotator::aws::access_logs::AccessLogs;
use rotator::aws::plain;
use rotator::aws::signing_keys::SigningKeys;
use rotator::failure::Failure;
use rotator::secret::SecretValue;
use state::name::CredentialName;
use tokio::sync::watch;

use super::{ACME, Stage, sdk_config};

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Throttled,
    ServerError,
    RefusedConnection,
    NoAnswerApplied,
    NoAnswerNotApplied,
    KilledBefore,
    KilledAfter,
}

impl Fault {
    pub const ALL: [Self; 7] = [
        Self::Throttled,
        Self::ServerError,
        Self::RefusedConnection,
        Self::NoAnswerApplied,
        Self::NoAnswerNotApplied,
        Self::KilledBefore,
        Self::KilledAfter,
    ];

    /// The fault that comes to the same for that operation. The SDK's adapters take a refused connection for what they
    /// take a server error for. Where a call changes nothing, nobody can tell whether it was carried out before its answer
    /// was lost or its process ended.
    pub fn distinct_for(self, operation: &str) -> Self {
        let (service, does) = operation.split_once(':').expect("a service and an operation");
        // These two are not called through the adapters.
        let is_adapted = service != "probe" && service != "sts";
        let only_reads = ["Get", "List", "Describe", "Query", "Scan", "BatchGet", "GET "];
        let only_reads = service != "probe" && only_reads.iter().any(|word| does.starts_with(word));
        match self {
            Self::RefusedConnection if is_adapted => Self::ServerError,
            Self::NoAnswerNotApplied if only_reads => Self::NoAnswerApplied,
            Self::KilledBefore if only_reads => Self::KilledAfter,
            Self::Throttled
            | Self::ServerError
            | Self::RefusedConnection
            | Self::NoAnswerApplied
            | Self::NoAnswerNotApplied
            | Self::KilledBefore
            | Self::KilledAfter => self,
        }
    }
}

/// Which calls are hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// That call alone.
    Once(usize),
    /// That call and every later one of the same operation, until two processes have given up.
    FromThenOn(usize),
}

#[derive(Debug, Default)]
struct Plan {
    armed: Option<(When, Fault)>,
    calls: Vec<String>,
    /// The operation that is hurt again and again.
    hurting: Option<String>,
    met: usize,
    /// Processes that ended badly since.
    failed: usize,
    /// Operations that AWS does not allow.
    denied: BTreeSet<String>,
}

/// Somebody who is shown every call of every process before anything becomes of it.
#[async_trait]
pub trait Onlooker: Send + Sync + fmt::Debug {
    /// `who`: what the process was called when it was begun.
    async fn see(&self, who: &'static str, operation: &str, hurt: Option<Hurt>);
}

/// Counts calls and hurts the one that it is told to, in whichever process it is made.
#[derive(Clone, Debug)]
pub struct Faults {
    inner: SharedHttpConnector,
    plan: Arc<Mutex<Plan>>,
    onlooker: Option<Arc<dyn Onlooker>>,
}

/// A process: all its calls go through its connector, and it can be killed.
#[derive(Debug)]
pub struct Process {
    pub connector: SharedHttpConnector,
    kill: watch::Receiver<bool>,
}

impl Process {
    /// Returns when the process is killed.
    pub async fn killed(&self) {
        if self.kill.clone().wait_for(|killed| *killed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Faults {
    pub fn new(inner: SharedHttpConnector) -> Self {
        Self { inner, plan: Arc::default(), onlooker: None }
    }

    /// The same, with somebody who looks on.
    pub fn shown_to(self, onlooker: Arc<dyn Onlooker>) -> Self {
        Self { onlooker: Some(onlooker), ..self }
    }

    pub fn process(&self) -> Process {
        self.process_of("somebody")
    }

    /// A process with a name, for whoever looks on.
    pub fn process_of(&self, who: &'static str) -> Process {
        let (sender, kill) = watch::channel(false);
        let line = Line { faults: self.clone(), who, kill: Arc::new(sender) };
        Process { connector: SharedHttpConnector::new(line), kill }
    }

    /// A process whose calls are neither counted nor hurt.
    pub fn unhurt_process(&self) -> Process {
        let (sender, kill) = watch::channel(false);
        // Never killed: nobody has the other end any more.
        drop(sender);
        Process { connector: self.inner.clone(), kill }
    }

    /// From now on, calls are counted anew and that one is hurt.
    pub fn arm(&self, when: When, fault: Fault) {
        *self.plan() = Plan { armed: Some((when, fault)), ..Plan::default() };
    }

    /// From now on, calls are counted anew and none is hurt.
    pub fn disarm(&self) {
        *self.plan() = Plan::default();
    }

    /// From now on AWS answers `AccessDeniedException` to that operation, named as in [`Faults::calls`].
    pub fn deny(&self, operation: &str) {
        self.plan().denied.insert(operation.to_owned());
    }

    /// From now on that operation is allowed again.
    pub fn allow(&self, operation: &str) {
        self.plan().denied.remove(operation);
    }

    /// A process ended badly. What hurts again and again hurts two processes, then it stops.
    pub fn a_process_failed(&self) {
        let mut plan = self.plan();
        if plan.met > 0 {
            plan.failed += 1;
            if plan.failed >= 2 {
                (plan.armed, plan.hurting) = (None, None);
            }
        }
    }

    /// The operations that were called, in order.
    pub fn calls(&self) -> Vec<String> {
        self.plan().calls.clone()
    }

    /// How often a call was really hurt.
    pub fn met(&self) -> usize {
        self.plan().met
    }

    /// What is still to be hurt: the operation that is hurt again and again, how, and how many processes gave up so far.
    pub fn left(&self) -> Option<(String, Fault, usize)> {
        let plan = self.plan();
        let (_, fault) = plan.armed?;
        Some((plan.hurting.clone()?, fault, plan.failed))
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, operation: String) -> Option<Hurt> {
        let mut plan = self.plan();
        let number = plan.calls.len();
        plan.calls.push(operation.clone());
        if plan.denied.contains(&operation) {
            return Some(Hurt::Denied);
        }
        let (when, fault) = plan.armed?;
        let hit = match when {
            When::Once(at) => at == number,
            When::FromThenOn(at) if at == number => {
                plan.hurting = Some(operation);
                true
            }
            When::FromThenOn(_) => plan.hurting.as_ref() == Some(&operation),
        };
        if hit {
            plan.met += 1;
        }
        hit.then_some(Hurt::By(fault))
    }
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hurt {
    By(Fault),
    Denied,
}

/// One process's way to AWS.
#[derive(Clone, Debug)]
struct Line {
    faults: Faults,
    who: &'static str,
    kill: Arc<watch::Sender<bool>>,
}

/// What a request asks for, well enough to tell operations apart.
pub fn operation(request: &HttpRequest) -> String {
    if let Some(target) = request.headers().get("x-amz-target") {
        let (service, operation) = target.split_once('.').unwrap_or(("?", target));
        let service = service.split('_').next().unwrap_or(service);
        return format!("{service}:{operation}");
    }
    let uri: http::Uri = request.uri().parse().expect("a URI");
    let host = uri.host().unwrap_or_default();
    if host.contains("execute-api") {
        return format!("probe:{} {}", request.method(), uri.path());
    }
    if host.starts_with("sts.") {
        return "sts:GetCallerIdentity".into();
    }
    let path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let shape = match path.as_slice() {
        ["apikeys", _] => "/apikeys/{key}".into(),
        ["tags", arn] => {
            let end = arn.rfind("%2F").map_or(arn.len(), |at| at + "%2F".len());
            format!("/tags/{}{{key}}", &arn[..end])
        }
        ["usageplans", _] => "/usageplans/{plan}".into(),
        ["usageplans", _, "keys"] => "/usageplans/{plan}/keys".into(),
        ["usageplans", _, "usage"] => "/usageplans/{plan}/usage".into(),
        ["usageplans", _, "keys", _, "usage"] => "/usageplans/{plan}/keys/{key}/usage".into(),
        other => format!("/{}", other.join("/")),
    };
    format!("apigateway:{} {shape}", request.method())
}

impl HttpConnector for Line {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let operation = operation(&request);
        let probe = operation.starts_with("probe:");
        let fault = self.faults.next(operation.clone());
        let (inner, kill) = (self.faults.inner.clone(), self.kill.clone());
        let (onlooker, who) = (self.faults.onlooker.clone(), self.who);
        HttpConnectorFuture::new(async move {
            if let Some(onlooker) = onlooker {
                onlooker.see(who, &operation, fault).await;
            }
            match fault {
                None => inner.call(request).await,
                Some(Hurt::Denied) => Ok(refusal(403, "AccessDeniedException")),
                Some(Hurt::By(Fault::Throttled)) => {
                    Ok(refusal(429, if probe { "TooManyRequestsException" } else { "ThrottlingException" }))
                }
                Some(Hurt::By(Fault::ServerError)) => Ok(refusal(500, "InternalServiceError")),
                Some(Hurt::By(Fault::RefusedConnection)) => Err(ConnectorError::io("connection refused".into())),
                Some(Hurt::By(Fault::NoAnswerApplied)) => {
                    let _ = inner.call(request).await;
                    std::future::pending().await
                }
                Some(Hurt::By(Fault::NoAnswerNotApplied)) => std::future::pending().await,
                Some(Hurt::By(Fault::KilledBefore)) => {
                    kill.send_replace(true);
                    std::future::pending().await
                }
                Some(Hurt::By(Fault::KilledAfter)) => {
                    let _ = inner.call(request).await;
                    kill.send_replace(true);
                    std::future::pending().await
                }
            }
        })
    }
}

fn refusal(status: u16, code: &str) -> HttpResponse {
    let body = format!(r#"{{"__type":"{code}","message":"as the test says"}}"#);
    let mut response = HttpResponse::new(status.try_into().expect("a status"), SdkBody::from(body));
    response.headers_mut().insert("x-amzn-errortype", code.to_owned());
    response.headers_mut().insert("content-type", "application/json");
    response
}

/// What each of the SDK's adapters makes of a call that is hurt so.
async fn taken_for(hurt: Fault) -> Vec<(&'static str, rotator::failure::Fault)> {
    let stage = Stage::new().await;
    let process = stage.faults.process();
    let engine = stage.engine(&process);
    let (config, ports) = (plain(sdk_config(process.connector.clone())), stage.ports(process.connector.clone()));
    let (signing, logs) = (SigningKeys::new(&config, ports.clone()), AccessLogs::new(&config, ports));
    let name = CredentialName::parse(ACME).expect("a name");
    // What is throttled once is repeated where it stands.
    let (arm, now) = (|| stage.faults.arm(When::FromThenOn(0), hurt), stage.clock.now());
    let fault = |failure: Failure| match failure {
        Failure::Call(call) => call.fault,
        other @ (Failure::Held(_) | Failure::NotYet(_) | Failure::Input(_)) => panic!("no call: {other}"),
    };
    let mut taken = Vec::new();
    arm();
    taken.push(("DynamoDB", fault(engine.records.load(&name).await.expect_err("hurt"))));
    arm();
    taken.push(("Secrets Manager", fault(engine.describe(ACME).await.expect_err("hurt"))));
    arm();
    taken.push(("API Gateway", engine.api_keys.get("none").await.expect_err("hurt").fault));
    arm();
    taken.push(("KMS, MACs", engine.macs.fingerprint(&SecretValue::new("a")).await.expect_err("hurt").fault));
    arm();
    taken.push(("KMS, signing keys", signing.availability("none").await.expect_err("hurt").fault));
    arm();
    taken.push(("Logs", fault(logs.use_of("none", "none", now, now).await.expect_err("hurt"))));
    taken
}

#[tokio::test(start_paused = true)]
async fn nobody_can_tell_a_refused_connection_from_a_server_error() {
    let refused = taken_for(Fault::RefusedConnection).await;
    assert_eq!(refused, taken_for(Fault::ServerError).await);
    assert!(refused.iter().all(|(_, fault)| *fault == rotator::failure::Fault::Unknown), "{refused:?}");
    // Another fault can be told apart: this test can fail.
    assert_ne!(refused, taken_for(Fault::Throttled).await);
}
