//! The function that Secrets Manager calls for each of the four steps.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use serde_json::{Value, json};
use state::decide::{Goal, Step};
use state::ledger::Actor;
use state::name::{CredentialName, Token};
use tracing::{Instrument, info, info_span};

use super::{FunctionFailed, Handle, Invocation, LONGEST};
use crate::engine::{Engine, Errand};
use crate::failure::{BadInput, Stopped};
use crate::secret::SecretValue;

/// The rotation function.
#[derive(Clone, Debug)]
pub struct Rotation {
    engine: Arc<Engine>,
}

/// What Secrets Manager sends. `RotationToken` is sensitive: it stands for the role that asked for the rotation.
struct Request {
    step: Step,
    arn: String,
    name: CredentialName,
    token: Token,
    rotation_token: Option<SecretValue>,
}

impl Rotation {
    /// With an engine.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl Handle for Rotation {
    /// One step. The answer is an empty object; Secrets Manager looks only at whether it failed.
    async fn handle(&self, invocation: Invocation) -> Result<Value, FunctionFailed> {
        let request = Request::parse(&invocation.payload)
            .map_err(|bad| FunctionFailed::new("the rotation event", &Stopped::Input(bad)))?;
        let Request { step, arn, name, token, rotation_token } = request;
        let span = info_span!("step", credential = %name, step = step.word(), token = token.short());
        async {
            let begun = self.engine.ports.clock.now();
            // A caller that names no deadline gives Lambda's own.
            let deadline = invocation.deadline.min(begun + LONGEST);
            let errand =
                Errand { actor: Actor::Rotation, deadline, rotation_token: rotation_token.as_ref(), note: None };
            let goal = Goal::Step(step, token.clone());
            let done = self.engine.run(&name, Some(&arn), &goal, &errand).await;
            let took: TimeDelta = self.engine.ports.clock.now() - begun;
            let outcome = done.as_ref().map_or_else(Stopped::kind, |()| "Done".to_owned());
            info!(outcome, milliseconds = took.num_milliseconds(), "step over");
            metrics::counter!("Steps", "step" => step.word(), "outcome" => outcome).increment(1);
            done.map(|()| json!({}))
                .map_err(|stopped| FunctionFailed::new(&format!("{} of {name}", step.word()), &stopped))
        }
        .instrument(span)
        .await
    }
}

impl Request {
    fn parse(event: &Value) -> Result<Self, BadInput> {
        let bad = |field: &'static str, rule: String| BadInput::Event { field, rule };
        let text = |field: &'static str| match event.get(field) {
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) | None => Err(bad(
                field,
                "Secrets Manager sends a string here; rotate with RotateSecret instead of calling the function".into(),
            )),
        };
        let step = text("Step")?;
        let step = Step::parse(step).ok_or_else(|| {
            let known = Step::ALL.map(Step::word).join(", ");
            bad("Step", format!("{:?} is not one of {known}", step.chars().take(32).collect::<String>()))
        })?;
        let arn = text("SecretId")?;
        Ok(Self {
            step,
            name: CredentialName::from_arn(arn).map_err(|error| bad("SecretId", error.to_string()))?,
            arn: arn.to_owned(),
            token: Token::parse(text("ClientRequestToken")?)
                .map_err(|error| bad("ClientRequestToken", error.to_string()))?,
            rotation_token: match event.get("RotationToken") {
                Some(Value::String(token)) => Some(SecretValue::new(token.as_str())),
                Some(Value::Null) | None => None,
                Some(_) => return Err(bad("RotationToken", "Secrets Manager sends a string here".into())),
            },
        })
    }
}
