//! The Lambda functions: what AWS calls, what it is told.

pub mod jwks;
pub mod retirement;
pub mod rotation;
pub mod telemetry;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::Value;
use state::Time;
use tracing::{Instrument, error, info_span};

use crate::aws::load_config;
use crate::config::Config;
use crate::engine::Engine;
use crate::failure::{Stopped, chain};
use crate::ports::Ports;

/// One call of a function.
pub struct Invocation {
    /// The event, as AWS sends it.
    pub payload: Value,
    /// Lambda's request id, for the log.
    pub request_id: String,
    /// When Lambda stops the function.
    pub deadline: Time,
}

/// Without the payload: Secrets Manager's holds a `RotationToken`.
impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation")
            .field("request_id", &self.request_id)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// What AWS is told when a call did not go well. It reaches Secrets Manager's own log, so it names and never quotes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error_type}: {message}")]
pub struct FunctionFailed {
    /// `Held.<Reason>`, `Refused`, `OutOfTime` or `Failed`.
    pub error_type: String,
    /// What happened, to what, why, and what to do next.
    pub message: String,
}

impl FunctionFailed {
    fn new(about: &str, stopped: &Stopped) -> Self {
        let next = match stopped {
            Stopped::Held(hold) => format!("; to go on: {}; see {} in the runbook", hold.reason.remedy(), hold.reason),
            Stopped::OutOfTime(_) => "; the next try goes on from here".into(),
            Stopped::Refused(_) | Stopped::Input(_) | Stopped::Failed(_) | Stopped::Illegal(_) => String::new(),
        };
        Self { error_type: stopped.kind(), message: format!("{about}: {}{next}", chain(stopped)) }
    }
}

impl From<FunctionFailed> for Diagnostic {
    fn from(failed: FunctionFailed) -> Self {
        Self { error_type: failed.error_type, error_message: failed.message }
    }
}

/// A function: it takes calls one at a time.
#[async_trait]
pub trait Handle: Send + Sync {
    /// One call.
    async fn handle(&self, invocation: Invocation) -> Result<Value, FunctionFailed>;
}

/// At which speed a function calls API Gateway's control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it can: somebody waits for it.
    Full,
    /// Its share: others need the control plane too.
    Share,
}

/// Runs a function under Lambda until Lambda stops it.
pub async fn serve(
    name: &'static str,
    pace: Pace,
    make: fn(Engine) -> Box<dyn Handle>,
) -> Result<(), lambda_runtime::Error> {
    let telemetry = telemetry::start(name)?;
    let ports = Ports::real();
    let settings = Config::from_env()?;
    let config = load_config(&ports.wire).await;
    let engine = match pace {
        Pace::Full => Engine::new(&config, settings, ports),
        Pace::Share => Engine::paced(&config, settings, ports),
    };
    let function: Arc<dyn Handle> = make(engine).into();
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let function = function.clone();
        let LambdaEvent { payload, context } = event;
        let deadline =
            Time::from_timestamp_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX)).unwrap_or_default();
        let span = info_span!("invocation", function = name, request_id = context.request_id);
        async move {
            let done = function.handle(Invocation { payload, request_id: context.request_id, deadline }).await;
            if let Err(failed) = &done {
                error!(error_type = failed.error_type, "{}", failed.message);
            }
            telemetry.flush();
            done
        }
        .instrument(span)
    }))
    .await
}

/// How long a function has when nobody says: Lambda's own longest.
pub const LONGEST: TimeDelta = TimeDelta::minutes(15);
