//! The Lambda functions: what AWS calls, what it is told.

pub mod jwks;
pub mod retirement;
pub mod rotation;
pub mod telemetry;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use chrono::TimeDelta;
use futures::FutureExt;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use state::Time;
use tracing::{Instrument, error, info_span};

use crate::aws::load_config;
use crate::config::Config;
use crate::engine::Engine;
use crate::failure::{Stopped, chain};
use crate::ports::Ports;
use telemetry::Telemetry;

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
    /// `Held.<Reason>`, `Refused`, `OutOfTime` or `Failed`; of a function that does not start, `Configuration` as well.
    pub error_type: String,
    /// What happened, to what, why, and what to do next.
    pub message: String,
    /// Whether the log has it already, with the credential that it is about.
    pub is_logged: bool,
}

impl FunctionFailed {
    fn of(error_type: &str, message: String) -> Self {
        Self { error_type: error_type.to_owned(), message, is_logged: false }
    }

    fn new(about: &str, stopped: &Stopped) -> Self {
        let next = match stopped {
            Stopped::Held(hold) => format!("; to go on: {}; see {} in the runbook", hold.reason.remedy(), hold.reason),
            Stopped::OutOfTime(_) => "; the next try goes on from here".into(),
            Stopped::Refused(_) | Stopped::Input(_) | Stopped::Failed(_) | Stopped::Illegal(_) => String::new(),
        };
        Self::of(&stopped.kind(), format!("{about}: {}{next}", chain(stopped)))
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

/// An event as Lambda hands it over; `None` if it can't be read. The runtime library would answer that in its own words.
struct Event(Option<Value>);

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(event: D) -> Result<Self, D::Error> {
        Ok(Self(Value::deserialize(event).ok()))
    }
}

/// Runs a function under Lambda until Lambda stops it. What goes wrong is told once in the log, and to Lambda in the same
/// words.
pub async fn serve(name: &'static str, pace: Pace, make: fn(Engine) -> Box<dyn Handle>) -> ExitCode {
    let ports = Ports::real();
    let done = match start(name, pace, make, &ports).await {
        Ok((function, telemetry)) => answer_all(name, function, telemetry).await,
        Err(failed) => {
            report_start(&failed, &ports).await;
            Err(failed)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            error!(error_type = failed.error_type, "{}", failed.message);
            ExitCode::FAILURE
        }
    }
}

async fn start(
    name: &str,
    pace: Pace,
    make: fn(Engine) -> Box<dyn Handle>,
    ports: &Ports,
) -> Result<(Arc<dyn Handle>, Telemetry), FunctionFailed> {
    let failed =
        |kind: &str, why: String| FunctionFailed::of(kind, format!("the function {name} does not start: {why}"));
    let telemetry = telemetry::start(name).map_err(|error| failed("Failed", error.to_string()))?;
    let settings = Config::from_env().map_err(|bad| {
        failed("Configuration", format!("{bad}; correct the function's environment: README.md lists every setting"))
    })?;
    let config = load_config(&ports.wire).await;
    let engine = match pace {
        Pace::Full => Engine::new(&config, settings, ports.clone()),
        Pace::Share => Engine::paced(&config, settings, ports.clone()),
    };
    Ok((make(engine).into(), telemetry))
}

/// Tells Lambda why the function does not start, so that whoever invokes it is told, says the AWS documentation of the
/// Runtime API.
async fn report_start(failed: &FunctionFailed, ports: &Ports) {
    let Ok(api) = std::env::var("AWS_LAMBDA_RUNTIME_API") else { return };
    // Lambda says host and port; who imitates it may say a URL, which the runtime library takes as well.
    let base = if api.contains("://") { api } else { format!("http://{api}") };
    let told = json!({ "errorType": failed.error_type, "errorMessage": failed.message, "stackTrace": [] });
    let mut request = HttpRequest::new(SdkBody::from(told.to_string()));
    if request.set_method("POST").is_err() || request.set_uri(format!("{base}/2018-06-01/runtime/init/error")).is_err()
    {
        return;
    }
    request.headers_mut().insert("content-type", "application/vnd.aws.lambda.error+json");
    request.headers_mut().insert("lambda-runtime-function-error-type", "Runtime.InitError");
    // If nobody listens, the log still tells.
    drop(ports.wire.fresh().call(request).await);
}

async fn answer_all(name: &'static str, function: Arc<dyn Handle>, telemetry: Telemetry) -> Result<(), FunctionFailed> {
    let run = lambda_runtime::run(service_fn(move |event: LambdaEvent<Event>| {
        let function = function.clone();
        let LambdaEvent { payload, context } = event;
        let deadline =
            Time::from_timestamp_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX)).unwrap_or_default();
        let span = info_span!("invocation", function = name, request_id = context.request_id);
        async move {
            let done = answer(function.as_ref(), payload, context.request_id, deadline).await;
            telemetry.flush();
            done
        }
        .instrument(span)
    }));
    run.await.map_err(|error| {
        let message = format!("the function {name} can't go on, because Lambda's Runtime API does not answer: {error}");
        FunctionFailed::of("Failed", message)
    })
}

/// One call. A defect is an answer as well, and its place is in the log already.
async fn answer(
    function: &dyn Handle,
    event: Event,
    request_id: String,
    deadline: Time,
) -> Result<Value, FunctionFailed> {
    let handled = async {
        let Some(payload) = event.0 else {
            let message = "the event can't be read: it is not JSON, or it is nested too deeply";
            return Err(FunctionFailed::of("Refused", message.into()));
        };
        function.handle(Invocation { payload, request_id, deadline }).await
    };
    let Ok(done) = AssertUnwindSafe(handled).catch_unwind().await else {
        let message = "this is a defect of the function: its log says where it panicked; report that";
        return Err(FunctionFailed { is_logged: true, ..FunctionFailed::of("Failed", message.into()) });
    };
    if let Err(failed) = &done
        && !failed.is_logged
    {
        error!(error_type = failed.error_type, "{}", failed.message);
    }
    done
}

/// How long a function has when nobody says: Lambda's own longest.
pub const LONGEST: TimeDelta = TimeDelta::minutes(15);

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with what it was asked, or panics.
    struct Echo;

    #[async_trait]
    impl Handle for Echo {
        async fn handle(&self, invocation: Invocation) -> Result<Value, FunctionFailed> {
            assert_ne!(invocation.payload, "panic", "with a secret in it");
            Ok(invocation.payload)
        }
    }

    async fn told(event: &str) -> Result<Value, FunctionFailed> {
        // The runtime library reads an event like this.
        let event = Event::deserialize(&mut serde_json::Deserializer::from_str(event)).expect("never fails");
        answer(&Echo, event, "request".into(), Time::default()).await
    }

    #[tokio::test]
    async fn what_can_not_be_read_and_what_panics_is_answered_in_our_own_words() {
        assert_eq!(told("{\"a\": 1}").await, Ok(json!({"a": 1})));
        let deep = "[".repeat(200) + &"]".repeat(200);
        for event in ["", "{", "nul", "\"\\ud800\"", "{\"a\": 1e999}", &deep] {
            let failed = told(event).await.expect_err("unreadable");
            assert_eq!(failed.error_type, "Refused", "{event:?}");
            assert!(failed.message.starts_with("the event can't be read"), "{event:?}: {failed}");
        }
        let failed = told("\"panic\"").await.expect_err("a defect");
        assert_eq!(failed.error_type, "Failed");
        assert!(failed.message.contains("defect") && !failed.message.contains("secret"), "{failed}");
    }
}
