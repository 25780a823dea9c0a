//! The contract with AWS, line by line, as the embedded AWS models it: every test's name says its
//! line, and every call goes through the real SDK client.
//!
//! The last line of a test's comment says what it stands on, in one of three forms: `Source: WHOSE: WHAT[, DATE].` for a
//! recording of live AWS or a page of AWS's, `Assumed: WHY.` where nothing public states it, `Embedded: WHAT.` for what
//! only the embedded AWS has. `sources.py` counts them. `against.py` asks another AWS the same ([`aws`]).

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use chrono::{DateTime, Utc};
use local_aws::{Function, FunctionError, LocalAws, ManualClock};
use serde_json::{Value, json};

pub use aws::{Aws, Embedded, sdk_config};

mod api_gateway;
mod authorization;
mod aws;
mod dynamodb;
mod iam;
mod kms;
mod lambda;
mod logs;
mod secrets_manager;
mod transport;

/// A fresh AWS, always the same one, whose clock stands still; or the one behind `CONFORMANCE_ENDPOINT`.
pub fn world() -> (Aws, Embedded<Arc<ManualClock>>) {
    if aws::is_elsewhere() {
        return (Aws::elsewhere(), Embedded::absent("the embedded AWS's clock"));
    }
    let clock = Arc::new(ManualClock::new(at("2026-03-02T10:30:00Z")));
    let aws = LocalAws::builder().clock(clock.clone()).seed(1).build().expect("no state directory to fail on");
    // What is tested is not the rate, but where a test says so and turns it on.
    aws.settings(|settings| settings.control_plane_limits = false);
    (aws.into(), clock.into())
}

/// The exception that a call was refused with: its code and its message.
pub fn refused<T: Debug, E: ProvideErrorMetadata + Debug>(answer: Result<T, E>) -> (String, String) {
    let error = answer.expect_err("the call is refused");
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    (text(error.code()), text(error.message()))
}

/// A moment, as RFC 3339 writes it.
pub fn at(moment: &str) -> DateTime<Utc> {
    moment.parse().expect("a test's own moment parses")
}

/// A function that does what a test says and remembers what it was asked.
pub struct Scripted<F> {
    script: F,
    calls: Mutex<Vec<Value>>,
}

impl<F> Scripted<F> {
    /// A function that answers with what `script` makes of the payload.
    pub fn new(script: F) -> Arc<Self> {
        Arc::new(Self { script, calls: Mutex::new(Vec::new()) })
    }

    /// The payloads so far, oldest first.
    pub fn calls(&self) -> Vec<Value> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The rotation steps so far.
    pub fn steps(&self) -> Vec<String> {
        self.calls().iter().map(|event| event["Step"].as_str().unwrap_or("?").to_owned()).collect()
    }
}

#[async_trait]
impl<F, Fut> Function for Scripted<F>
where
    F: Fn(Value) -> Fut + Send + Sync,
    Fut: Future<Output = Result<(), FunctionError>> + Send,
{
    async fn invoke(&self, payload: Value) -> Result<Value, FunctionError> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(payload.clone());
        (self.script)(payload).await.map(|()| json!(null))
    }
}

/// What a script fails with.
pub fn failure() -> FunctionError {
    FunctionError { error_type: "Scripted".into(), error_message: "as the test says".into() }
}
