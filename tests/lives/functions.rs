//! The functions of a life, as Lambda runs them: on machines whose clocks differ, and in processes that it may keep for
//! the next call.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use local_aws::{Function, FunctionError};
use rotator::aws::plain;
use rotator::config::Config;
use rotator::engine::Engine;
use rotator::functions::{Handle, Invocation, jwks::Jwks, retirement::Retirement, rotation::Rotation};
use rotator::ports::{Ports, Wire};
use serde_json::Value;

use crate::harness::chance::Chance;
use crate::harness::faults::{Faults, Process};
use crate::harness::signing::assert_public;
use crate::harness::{FUNCTION_TIMEOUT, PausedClock, Stage, Which, sdk_config_of};

use super::trace::Trace;

/// What the processes of the functions are called.
pub const ROTATION: &str = "rotation";
pub const RETIREMENT: &str = "retirement";

/// One function.
pub struct Lambda {
    which: Which,
    settings: Config,
    clock: PausedClock,
    chance: Chance,
    faults: Faults,
    trace: Arc<Trace>,
    /// Processes that wait for another call; `None`: each call gets a fresh one.
    kept: Option<Mutex<Vec<Kept>>>,
}

/// A process with everything that it has made ready.
#[derive(Clone)]
struct Kept {
    process: Process,
    engine: Arc<Engine>,
}

impl Lambda {
    pub fn new(stage: &Stage, which: Which, clock: PausedClock, is_kept: bool, trace: Arc<Trace>) -> Self {
        let (settings, chance, faults) = (stage.settings.clone(), stage.chance.clone(), stage.faults.clone());
        Self { which, settings, clock, chance, faults, trace, kept: is_kept.then(Mutex::default) }
    }

    fn begun(&self) -> Kept {
        let waiting = self.kept.as_ref().and_then(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner).pop());
        waiting.unwrap_or_else(|| match self.which {
            Which::Rotation => self.process(ROTATION),
            Which::Retirement => self.process(RETIREMENT),
            // What goes wrong in it is, to whoever fetches, an answer that goes wrong: that is hurt, not this.
            Which::Jwks => {
                let engine = Arc::new(self.engine(self.faults.inner()));
                Kept { process: self.faults.process(), engine }
            }
        })
    }

    fn process(&self, who: &'static str) -> Kept {
        let process = self.faults.process_of(who);
        let engine = Arc::new(self.engine(process.connector.clone()));
        Kept { process, engine }
    }

    fn engine(&self, connector: SharedHttpConnector) -> Engine {
        let config = plain(sdk_config_of(self.which.access_key(), connector.clone()));
        let wire = Wire::new(move || connector.clone());
        let ports = Ports { clock: Arc::new(self.clock), entropy: Arc::new(self.chance.clone()), wire };
        match self.which {
            Which::Rotation | Which::Jwks => Engine::new(&config, self.settings.clone(), ports),
            // As it is deployed: it leaves most of the control plane to others.
            Which::Retirement => Engine::paced(&config, self.settings.clone(), ports),
        }
    }

    /// What a trace says of a call.
    fn about(&self, payload: &Value) -> String {
        let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        match self.which {
            Which::Rotation => {
                let name = text("/SecretId").rsplit(':').next().unwrap_or_default();
                format!("{ROTATION}: {} of {}", text("/Step"), name.rsplit_once('-').map_or(name, |(name, _)| name))
            }
            Which::Retirement => format!("{RETIREMENT}: {} {}", text("/detail-type"), text("/detail/name")),
            Which::Jwks => String::new(),
        }
    }
}

#[async_trait]
impl Function for Lambda {
    async fn invoke(&self, payload: Value) -> Result<Value, FunctionError> {
        let kept = self.begun();
        let engine = kept.engine.clone();
        let function: Box<dyn Handle> = match self.which {
            Which::Rotation => Box::new(Rotation::new(engine)),
            Which::Retirement => Box::new(Retirement::new(engine)),
            Which::Jwks => Box::new(Jwks::new(engine)),
        };
        let about = self.about(&payload);
        let deadline = self.clock.now() + FUNCTION_TIMEOUT;
        let met = self.faults.met();
        let ended =
            |kind: &str| Err(FunctionError { error_type: kind.into(), error_message: "the process ended".into() });
        let (done, is_over) = tokio::select! {
            biased;
            done = function.handle(Invocation { payload, request_id: "test".into(), deadline }) => {
                let failed = |failed: rotator::functions::FunctionFailed| {
                    FunctionError { error_type: failed.error_type, error_message: failed.message }
                };
                (done.map_err(failed), false)
            }
            () = kept.process.killed() => (ended("Runtime.ExitError"), true),
            () = local_aws::Clock::sleep_until(&self.clock, deadline) => (ended("Sandbox.Timedout"), true),
        };
        if let (Some(waiting), false) = (&self.kept, is_over) {
            waiting.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        }
        if self.which == Which::Jwks {
            assert_public(done.as_ref().unwrap_or(&Value::Null));
            return done;
        }
        let said = done.as_ref().err().map_or("done", |failed| failed.error_type.as_str());
        self.trace.say(&format!("  {about}: {said}"));
        // Retirement leaves a credential that it can't help to its next tick, and does not fail for it.
        if done.is_err() || self.faults.met() > met {
            self.faults.a_process_failed();
        }
        done
    }
}
