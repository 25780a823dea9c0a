//! What every service here shares: a request, an answer, an error, and the world around a call.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::HeaderName;
use serde_json::Value;

use crate::rates::Rates;
use crate::settings::Settings;

/// A request as a service sees it, after the transport is gone.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: http::Method,
    /// Percent-decoded, without the query.
    pub(crate) path: String,
    /// The same as it came.
    pub(crate) raw_path: String,
    /// Percent-decoded, in order.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
    /// Of whoever sets a scene: it uses up no rate.
    pub(crate) is_set_up: bool,
}

impl Request {
    /// The first query parameter of that name.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A service's answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Bytes,
}

impl Response {
    /// A JSON answer; the content type is the protocol's to add.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::from(body.to_string()) }
    }
}

/// An answer that AWS would give as an exception.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct ServiceError {
    pub(crate) status: u16,
    /// AWS's name of it, for instance `ResourceNotFoundException`.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Seconds, for a 429.
    pub(crate) retry_after: Option<u64>,
}

impl ServiceError {
    /// A client's error (most are 400 in the JSON protocols; REST has a status of its own).
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }
}

/// The world around one call: when, where, by whose settings.
pub(crate) struct Context<'a> {
    pub(crate) now: DateTime<Utc>,
    pub(crate) region: &'a str,
    pub(crate) account: &'a str,
    pub(crate) settings: &'a Settings,
    pub(crate) rates: &'a mut Rates,
    /// Deterministic when seeded, the OS's otherwise. Fills the slice.
    pub(crate) entropy: &'a mut dyn FnMut(&mut [u8]),
}

impl Context<'_> {
    /// Counts this call against its service's rates. Does nothing where rates are off, or for a test that sets a scene.
    ///
    /// # Errors
    ///
    /// What the service answers to one call too many.
    pub(crate) fn take(&mut self, service: &str, operation: &str, request: &Request) -> Result<(), ServiceError> {
        let is_exempt = request.is_set_up || !self.settings.control_plane_limits;
        if is_exempt { Ok(()) } else { self.rates.take(service, operation, self.now) }
    }

    /// A lower-case alphanumeric id of that length, as API Gateway's are.
    pub(crate) fn short_id(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012345";
        let mut bytes = vec![0; length];
        (self.entropy)(&mut bytes);
        bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
    }

    /// The ARN of whoever calls.
    pub(crate) fn caller(&self) -> String {
        let local = || format!("arn:aws:iam::{}:user/local", self.account);
        self.settings.caller.clone().unwrap_or_else(local)
    }

    /// A random version-4 UUID from this world's entropy.
    pub(crate) fn uuid(&mut self) -> uuid::Uuid {
        let mut bytes = [0; 16];
        (self.entropy)(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}
