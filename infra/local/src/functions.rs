//! Functions, as Lambda would run them: in this process, or behind Lambda's Invoke API.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::lambda::FunctionShape;
use crate::secrets_manager::Invocable;

/// A Lambda function.
#[async_trait]
pub trait Function: Send + Sync {
    /// One synchronous invocation.
    ///
    /// # Errors
    ///
    /// What the function's handler failed with.
    async fn invoke(&self, payload: Value) -> Result<Value, FunctionError>;
}

/// What a failed invocation answers with: Lambda's `errorType` and `errorMessage`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error_type}: {error_message}")]
pub struct FunctionError {
    /// The kind of failure, for instance a Rust type's or a Python exception's name.
    pub error_type: String,
    /// For people.
    pub error_message: String,
}

impl FunctionError {
    fn unreachable(message: impl std::fmt::Display) -> Self {
        Self { error_type: "Lambda.Unreachable".into(), error_message: message.to_string() }
    }
}

/// Where functions are found.
#[derive(Clone, Default)]
pub(crate) struct Functions {
    registered: BTreeMap<String, Arc<dyn Function>>,
    /// Of those that were set up otherwise than by default.
    shapes: BTreeMap<String, FunctionShape>,
    endpoint: Option<http::Uri>,
}

impl Functions {
    /// How they are set up, without the functions themselves.
    pub(crate) fn unregistered(&self) -> Self {
        Self { registered: BTreeMap::new(), shapes: self.shapes.clone(), endpoint: self.endpoint.clone() }
    }

    pub(crate) fn register(&mut self, name: String, function: Arc<dyn Function>) {
        self.registered.insert(name, function);
    }

    pub(crate) fn forward_to(&mut self, endpoint: http::Uri) {
        self.endpoint = Some(endpoint);
    }

    pub(crate) fn configure(&mut self, name: &str, shape: FunctionShape) {
        self.shapes.insert(name.to_owned(), shape);
    }

    /// How a function is set up, if there is one of that name. Behind an endpoint there may be any.
    pub(crate) fn shape(&self, name: &str) -> Option<FunctionShape> {
        let there = self.endpoint.is_some() || self.registered.contains_key(name);
        self.shapes.get(name).cloned().or_else(|| there.then(FunctionShape::default))
    }

    /// The ARN of the role that a function runs as.
    pub(crate) fn role_of(account: &str, name: &str, shape: &FunctionShape) -> String {
        shape.role.clone().unwrap_or_else(|| format!("arn:aws:iam::{account}:role/{name}"))
    }

    /// The ARN of the role of that name, if a function runs as it.
    pub(crate) fn role(&self, account: &str, role: &str) -> Option<String> {
        let is_named = |arn: &String| arn.rsplit('/').next() == Some(role);
        let configured = self.shapes.iter().map(|(name, shape)| Self::role_of(account, name, shape)).find(is_named);
        // By default a function's role has its name.
        let own = || self.shape(role).map(|shape| Self::role_of(account, role, &shape)).filter(is_named);
        configured.or_else(own)
    }

    /// The functions that Secrets Manager may be given.
    pub(crate) fn invocable(&self) -> Invocable {
        match self.endpoint {
            Some(_) => Invocable::Any,
            None => Invocable::These(self.registered.keys().cloned().collect()),
        }
    }

    /// Behind the endpoint if there is one, otherwise here. `function` is a name or an ARN.
    pub(crate) async fn invoke(&self, function: &str, payload: Value) -> Result<Value, FunctionError> {
        let name = function_name(function);
        if let Some(endpoint) = &self.endpoint {
            return invoke_over_http(endpoint, name, &payload).await;
        }
        match self.registered.get(name) {
            Some(function) => function.invoke(payload).await,
            None => Err(FunctionError {
                error_type: "ResourceNotFoundException".into(),
                error_message: format!("Function not found: {function}"),
            }),
        }
    }
}

/// The name in an ARN (`arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER]`), or the name.
pub(crate) fn function_name(function: &str) -> &str {
    function.split_once(":function:").map_or(function, |(_, rest)| rest.split_once(':').map_or(rest, |(name, _)| name))
}

/// `POST /2015-03-31/functions/NAME/invocations`. A function's failure is a 200 with
/// `X-Amz-Function-Error` at Lambda, and a 500 with the same body at `cargo lambda watch`.
async fn invoke_over_http(endpoint: &http::Uri, name: &str, payload: &Value) -> Result<Value, FunctionError> {
    let authority =
        endpoint.authority().ok_or_else(|| FunctionError::unreachable(format!("{endpoint} has no host")))?;
    let address = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await.map_err(FunctionError::unreachable)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(FunctionError::unreachable)?;

    let path = endpoint.path().trim_end_matches('/');
    let request = Request::post(format!("{path}/2015-03-31/functions/{name}/invocations"))
        .header(header::HOST, authority.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-amz-invocation-type", "RequestResponse")
        .body(Full::new(Bytes::from(payload.to_string())))
        .map_err(FunctionError::unreachable)?;

    let mut exchange = pin!(async {
        let response = sender.send_request(request).await.map_err(FunctionError::unreachable)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(FunctionError::unreachable)?.to_bytes();
        Ok::<_, FunctionError>((head, body))
    });
    // Somebody has to drive the connection. Once it is closed, what it brought is still to be read.
    let (head, body) = tokio::select! {
        done = &mut exchange => done?,
        _ = connection => exchange.await?,
    };

    let answer: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if head.status.is_success() && !head.headers.contains_key("x-amz-function-error") {
        return Ok(answer);
    }
    let text = |key: &str| answer[key].as_str().map(str::to_owned);
    Err(FunctionError {
        error_type: text("errorType").unwrap_or_else(|| format!("Lambda.Http{}", head.status.as_u16())),
        error_message: text("errorMessage").unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned()),
    })
}
