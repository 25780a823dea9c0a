//! Faults by number: the n-th call of a scenario is hurt, in one of seven ways.

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use tokio::sync::watch;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// Which calls are hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// That call alone.
    Once(usize),
    /// That call, and every later call that is the same operation.
    FromThenOn(usize),
}

#[derive(Debug, Default)]
struct Plan {
    armed: Option<(When, Fault)>,
    calls: Vec<String>,
    /// The operation that is hurt again and again.
    hurting: Option<String>,
    met: usize,
}

/// Counts calls and hurts the one that it is told to.
#[derive(Clone, Debug)]
pub struct Faults {
    inner: SharedHttpConnector,
    plan: Arc<Mutex<Plan>>,
    kill: Arc<watch::Sender<u64>>,
}

impl Faults {
    pub fn new(inner: SharedHttpConnector) -> Self {
        Self { inner, plan: Arc::default(), kill: Arc::new(watch::Sender::new(0)) }
    }

    pub fn connector(&self) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }

    /// From now on, calls are counted anew and that one is hurt.
    pub fn arm(&self, when: When, fault: Fault) {
        *self.plan.lock().expect("not poisoned") = Plan { armed: Some((when, fault)), ..Plan::default() };
    }

    /// From now on, calls are counted anew and none is hurt.
    pub fn disarm(&self) {
        *self.plan.lock().expect("not poisoned") = Plan::default();
    }

    /// Stops hurting; the count goes on.
    pub fn heal(&self) {
        let mut plan = self.plan.lock().expect("not poisoned");
        (plan.armed, plan.hurting) = (None, None);
    }

    /// The operations that were called, in order.
    pub fn calls(&self) -> Vec<String> {
        self.plan.lock().expect("not poisoned").calls.clone()
    }

    /// How often a call was really hurt.
    pub fn met(&self) -> usize {
        self.plan.lock().expect("not poisoned").met
    }

    /// Returns when the process that waits for it is killed.
    pub async fn killed(&self) {
        let mut kills = self.kill.subscribe();
        kills.mark_unchanged();
        if kills.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn next(&self, operation: String) -> Option<Fault> {
        let mut plan = self.plan.lock().expect("not poisoned");
        let number = plan.calls.len();
        plan.calls.push(operation.clone());
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
        hit.then_some(fault)
    }
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
    let path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let shape = match path.as_slice() {
        ["apikeys", _] => "/apikeys/{key}".into(),
        ["usageplans", _] => "/usageplans/{plan}".into(),
        ["usageplans", _, "keys"] => "/usageplans/{plan}/keys".into(),
        ["usageplans", _, "usage"] => "/usageplans/{plan}/usage".into(),
        ["usageplans", _, "keys", _, "usage"] => "/usageplans/{plan}/keys/{key}/usage".into(),
        other => format!("/{}", other.join("/")),
    };
    format!("apigateway:{} {shape}", request.method())
}

impl HttpConnector for Faults {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let operation = operation(&request);
        let probe = operation.starts_with("probe:");
        let fault = self.next(operation);
        let (inner, kill) = (self.inner.clone(), self.kill.clone());
        HttpConnectorFuture::new(async move {
            match fault {
                None => inner.call(request).await,
                Some(Fault::Throttled) => {
                    Ok(refusal(429, if probe { "TooManyRequestsException" } else { "ThrottlingException" }))
                }
                Some(Fault::ServerError) => Ok(refusal(500, "InternalServiceError")),
                Some(Fault::RefusedConnection) => Err(ConnectorError::io("connection refused".into())),
                Some(Fault::NoAnswerApplied) => {
                    let _ = inner.call(request).await;
                    std::future::pending().await
                }
                Some(Fault::NoAnswerNotApplied) => std::future::pending().await,
                Some(Fault::KilledBefore) => {
                    kill.send_modify(|kills| *kills += 1);
                    std::future::pending().await
                }
                Some(Fault::KilledAfter) => {
                    let _ = inner.call(request).await;
                    kill.send_modify(|kills| *kills += 1);
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
