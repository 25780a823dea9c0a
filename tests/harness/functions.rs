//! Lambda: processes that take calls one at a time, are stopped at their timeout, and can be killed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::TimeDelta;
use local_aws::{Function, FunctionError};
use rotator::config::Config;
use rotator::engine::Engine;
use rotator::functions::{
    FunctionFailed, Handle, Invocation, Pace, jwks::Jwks, retirement::Retirement, rotation::Rotation,
};
use serde_json::Value;

use super::chance::Chance;
use super::faults::{Faults, Process};
use super::{PausedClock, Stage, engine_of, ports, signing};

/// How long a function may run: the stack's own setting.
pub const FUNCTION_TIMEOUT: TimeDelta = TimeDelta::minutes(5);

/// A function of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    Rotation,
    Retirement,
    Jwks,
}

impl Which {
    /// What its processes are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rotation => "rotation",
            Self::Retirement => "retirement",
            Self::Jwks => "jwks",
        }
    }
}

/// One function, under the role that the stack gives it.
pub struct Host {
    pub which: Which,
    /// Of the machine that it runs on.
    pub clock: PausedClock,
    /// At which speed it calls API Gateway's control plane.
    pub pace: Pace,
    /// Where its processes wait for their next call; `None`: each call gets a new one.
    pub idle: Option<Idle>,
    settings: Config,
    chance: Chance,
    faults: Faults,
}

/// Processes that wait for their next call. As on Lambda, one that came to its end by itself takes another call; one
/// that was killed or timed out does not.
#[derive(Clone, Default)]
pub struct Idle(Arc<Mutex<Vec<Sandbox>>>);

/// A process with what it keeps between two calls.
struct Sandbox {
    which: Which,
    settings: Config,
    process: Process,
    engine: Arc<Engine>,
}

impl Idle {
    /// Takes one that was started as that function with those settings.
    fn take(&self, which: Which, settings: &Config) -> Option<Sandbox> {
        let mut idle = self.lock();
        let found = idle.iter().position(|one| one.which == which && one.settings == *settings)?;
        Some(idle.swap_remove(found))
    }

    fn give_back(&self, sandbox: Sandbox) {
        self.lock().push(sandbox);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sandbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    pub fn new(stage: &Stage, which: Which) -> Self {
        Self {
            which,
            clock: stage.clock,
            pace: Pace::Full,
            idle: Some(stage.idle.clone()),
            settings: stage.settings.clone(),
            chance: stage.chance.clone(),
            faults: stage.faults.clone(),
        }
    }

    fn sandbox(&self) -> Sandbox {
        let waiting = self.idle.as_ref().and_then(|idle| idle.take(self.which, &self.settings));
        waiting.unwrap_or_else(|| {
            // What goes wrong in the function `jwks` is, to whoever fetches, an answer that goes wrong: that is hurt,
            // not this.
            let process = match self.which {
                Which::Rotation | Which::Retirement => self.faults.process_of(self.which.name()),
                Which::Jwks => self.faults.unhurt_process(),
            };
            let connector = process.connector.clone();
            let ports = ports(self.clock, &self.chance, connector.clone());
            let engine = engine_of(self.which.access_key(), self.pace, &self.settings, ports, connector);
            Sandbox { which: self.which, settings: self.settings.clone(), process, engine: Arc::new(engine) }
        })
    }
}

#[async_trait]
impl Function for Host {
    async fn invoke(&self, payload: Value) -> Result<Value, FunctionError> {
        let sandbox = self.sandbox();
        let engine = sandbox.engine.clone();
        let function: Box<dyn Handle> = match self.which {
            Which::Rotation => Box::new(Rotation::new(engine)),
            Which::Retirement => Box::new(Retirement::new(engine)),
            Which::Jwks => Box::new(Jwks::new(engine)),
        };
        let deadline = self.clock.now() + FUNCTION_TIMEOUT;
        let met = self.faults.met();
        let ended =
            |kind: &str| Err(FunctionError { error_type: kind.into(), error_message: "the process ended".into() });
        let (done, is_alive) = tokio::select! {
            biased;
            done = function.handle(Invocation { payload, request_id: "test".into(), deadline }) => {
                (done.map_err(as_lambda_says), true)
            }
            () = sandbox.process.killed() => (ended("Runtime.ExitError"), false),
            () = local_aws::Clock::sleep_until(&self.clock, deadline) => (ended("Sandbox.Timedout"), false),
        };
        if let (Some(idle), true) = (&self.idle, is_alive) {
            idle.give_back(sandbox);
        }
        if let Which::Jwks = self.which {
            let answer = done?;
            signing::assert_public(&answer);
            return Ok(answer);
        }
        // Retirement leaves a credential that it can't help to its next tick, and does not fail for it.
        if done.is_err() || self.faults.met() > met {
            self.faults.a_process_failed();
        }
        done
    }
}

fn as_lambda_says(failed: FunctionFailed) -> FunctionError {
    FunctionError { error_type: failed.error_type, error_message: failed.message }
}
