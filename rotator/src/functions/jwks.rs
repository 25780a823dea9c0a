//! The function behind the public route `GET /v1/jwks/NAME`: the key set of a signing credential, and beside it the
//! OpenID discovery document that API Gateway's JWT authorizer asks for.
//!
//! It reads the records and nothing else: its role needs `dynamodb:Query` on the table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use state::Time;
use state::credential::Credential;
use state::name::CredentialName;
use tracing::{error, warn};

use super::{FunctionFailed, Handle, Invocation};
use crate::engine::Engine;
use crate::failure::{Failure, Stopped, chain};
use crate::key_sets::{DISCOVERY, MOST_BYTES, discovery, locate, max_age, render};
use crate::patience::briefly;

/// How many credentials' records are kept for when the table can't be read.
const MOST_KEPT: usize = 100;
/// The resource below which names are.
const ROUTE: &str = "/jwks/";

/// The function `jwks`.
#[derive(Clone, Debug)]
pub struct Jwks {
    engine: Arc<Engine>,
    /// The records that were read last, and when.
    last: Arc<Mutex<BTreeMap<CredentialName, (Time, Credential)>>>,
}

impl Jwks {
    /// With an engine, of which it uses the records.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine, last: Arc::default() }
    }
}

/// What is asked for: the part of a proxy event, of either payload format, that matters here.
struct Request {
    method: String,
    /// Below the route, not decoded.
    below: String,
    /// Scheme, host and path up to the route's end.
    base: String,
    if_none_match: Option<String>,
}

#[async_trait]
impl Handle for Jwks {
    /// An event of API Gateway's Lambda proxy integration, format 1.0 or 2.0. It never fails: what goes wrong is told
    /// over HTTP, and a verifier goes on with what it has for as long as `stale-if-error` says.
    async fn handle(&self, invocation: Invocation) -> Result<Value, FunctionFailed> {
        let Some(request) = Request::parse(&invocation.payload) else {
            return Ok(answer(404, "no-store", &json!({ "message": "a key set is at /v1/jwks/NAME" })));
        };
        Ok(match self.answer(&request).await {
            Ok(answer) => answer,
            Err(failure) => {
                error!(reason = chain(&Stopped::from(failure)), "no key set");
                answer(503, "no-store", &json!({ "message": "the key set can't be read now" }))
            }
        })
    }
}

impl Jwks {
    /// The records now; if they can't be read, those that were read last, for as long as whoever asked then may keep what
    /// they were told.
    async fn records(&self, name: &CredentialName) -> Result<Option<Credential>, Failure> {
        let ports = &self.engine.ports;
        let read = briefly(ports, || self.engine.records.stated(name)).await;
        let now = ports.clock.now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(Some(credential)) => {
                if last.len() >= MOST_KEPT {
                    last.clear();
                }
                last.insert(name.clone(), (now, credential.clone()));
                Ok(Some(credential))
            }
            Ok(None) => Ok(None),
            Err(failure) => {
                let known = last
                    .get(name)
                    .filter(|(at, credential)| max_age(credential).is_some_and(|most| now < *at + most.delta()));
                let Some((at, credential)) = known else { return Err(failure) };
                warn!(credential = %name, read_at = %at, reason = chain(&failure), "answering from what was read last");
                Ok(Some(credential.clone()))
            }
        }
    }

    async fn answer(&self, request: &Request) -> Result<Value, Failure> {
        if request.method != "GET" && request.method != "HEAD" {
            return Ok(answer(405, "no-store", &json!({ "message": "a key set is read with GET" })));
        }
        let is_discovery = request.below.ends_with(DISCOVERY);
        let name = request.below.strip_suffix(DISCOVERY).unwrap_or(&request.below).trim_end_matches('/');
        let decoded = percent_decode_str(name).decode_utf8_lossy();
        let unknown = || answer(404, "no-store", &json!({ "message": "there is no key set of that name" }));
        let Ok(name) = CredentialName::parse(&decoded) else { return Ok(unknown()) };
        let credential = self.records(&name).await?;
        let Some(keys) = credential.and_then(|credential| render(&credential, self.engine.ports.clock.now())) else {
            return Ok(unknown());
        };
        if keys.body.len() > MOST_BYTES {
            return Err(Failure::NotYet(format!("the key set of {name} is longer than verifiers take")));
        }
        if is_discovery {
            // The URL that the owner configured; without one, the one that was asked.
            let base = self.engine.config.jwks_url.as_deref().unwrap_or(&request.base);
            return Ok(answer(200, &keys.cache_control, &discovery(&locate(base, &name), &keys)));
        }
        let headers = json!({
            "content-type": "application/jwk-set+json",
            "cache-control": keys.cache_control,
            "etag": keys.etag,
            "access-control-allow-origin": "*",
        });
        Ok(if request.if_none_match.as_deref().is_some_and(|known| matches(known, &keys.etag)) {
            json!({ "statusCode": 304, "headers": headers, "body": "", "isBase64Encoded": false })
        } else {
            json!({ "statusCode": 200, "headers": headers, "body": keys.body, "isBase64Encoded": false })
        })
    }
}

impl Request {
    fn parse(event: &Value) -> Option<Self> {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let path = text("/rawPath").or_else(|| text("/requestContext/path")).or_else(|| text("/path"))?;
        let (before, below) = path.split_once(ROUTE)?;
        let header = |wanted: &str| {
            let headers = event.get("headers")?.as_object()?;
            headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).and_then(|(_, value)| value.as_str())
        };
        let method = text("/requestContext/http/method").or_else(|| text("/httpMethod"))?;
        let host = text("/requestContext/domainName").or_else(|| header("host")).unwrap_or_default();
        Some(Self {
            method: method.to_owned(),
            below: below.to_owned(),
            base: format!("https://{host}{before}{}", ROUTE.trim_end_matches('/')),
            if_none_match: header("if-none-match").map(str::to_owned),
        })
    }
}

/// RFC 9110, 13.1.2: a list, compared weakly.
fn matches(if_none_match: &str, etag: &str) -> bool {
    if_none_match.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == etag)
}

fn answer(status: u16, cache_control: &str, body: &Value) -> Value {
    let headers = json!({
        "content-type": "application/json",
        "cache-control": cache_control,
        "access-control-allow-origin": "*",
    });
    json!({ "statusCode": status, "headers": headers, "body": body.to_string(), "isBase64Encoded": false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_payload_formats_are_read() {
        let first = json!({
            "httpMethod": "GET", "path": "/jwks/orders/issuer", "headers": {"If-None-Match": "\"a\""},
            "requestContext": {"path": "/v1/jwks/orders/issuer", "domainName": "a1.execute-api.eu-west-1.amazonaws.com"},
        });
        let second = json!({
            "rawPath": "/v1/jwks/orders/issuer", "headers": {"if-none-match": "\"a\""},
            "requestContext": {"http": {"method": "GET"}, "domainName": "a1.execute-api.eu-west-1.amazonaws.com"},
        });
        for event in [first, second] {
            let request = Request::parse(&event).unwrap();
            assert_eq!((request.method.as_str(), request.below.as_str()), ("GET", "orders/issuer"));
            assert_eq!(request.base, "https://a1.execute-api.eu-west-1.amazonaws.com/v1/jwks");
            assert_eq!(request.if_none_match.as_deref(), Some("\"a\""));
        }
        for bad in [json!(null), json!({"path": "/other"}), json!({"path": "/jwks/x"})] {
            assert!(Request::parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_validator_matches_weakly_and_in_a_list() {
        for (known, yes) in [("\"a\"", true), ("W/\"a\"", true), ("\"b\", \"a\"", true), ("*", true), ("\"b\"", false)]
        {
            assert_eq!(matches(known, "\"a\""), yes, "{known}");
        }
    }
}
