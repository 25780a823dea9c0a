//! The functions of a life: on machines whose clocks differ, and in processes that Lambda may keep for the next call.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use local_aws::{Function, FunctionError};
use rotator::functions::Pace;
use serde_json::Value;

use crate::harness::functions::Idle;
use crate::harness::{Host, Stage, Which};

use super::trace::Trace;

/// A function, of whose calls the trace tells.
pub struct Traced {
    host: Host,
    trace: Arc<Trace>,
}

impl Traced {
    /// `ahead`: how far its machine's clock is ahead of AWS's.
    pub fn new(stage: &Stage, which: Which, ahead: TimeDelta, is_kept: bool, trace: Arc<Trace>) -> Self {
        let pace = match which {
            Which::Rotation | Which::Jwks => Pace::Full,
            // As it is deployed: it leaves most of the control plane to others.
            Which::Retirement => Pace::Share,
        };
        let mut host = Host::new(stage, which);
        host.clock = stage.clock.ahead(ahead);
        host.pace = pace;
        host.idle = is_kept.then(Idle::default);
        Self { host, trace }
    }

    /// What a call is about; `None` where everybody may call, and the trace would tell of nothing else.
    fn about(&self, payload: &Value) -> Option<String> {
        let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let function = self.host.which.name();
        match self.host.which {
            Which::Rotation => {
                let name = text("/SecretId").rsplit(':').next().unwrap_or_default();
                let name = name.rsplit_once('-').map_or(name, |(name, _)| name);
                Some(format!("{function}: {} of {name}", text("/Step")))
            }
            Which::Retirement => Some(format!("{function}: {} {}", text("/detail-type"), text("/detail/name"))),
            Which::Jwks => None,
        }
    }
}

#[async_trait]
impl Function for Traced {
    async fn invoke(&self, payload: Value) -> Result<Value, FunctionError> {
        let about = self.about(&payload);
        let done = self.host.invoke(payload).await;
        if let Some(about) = about {
            let said = done.as_ref().err().map_or("done", |failed| failed.error_type.as_str());
            self.trace.say(&format!("  {about}: {said}"));
        }
        done
    }
}
