//! Running what is due: rotation attempts, events, timers.

use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};

use crate::functions::FunctionError;
use crate::jobs::Work;
use crate::secrets_manager::{Attempt, Ended};
use crate::{LocalAws, RotationOutcome};

impl LocalAws {
    /// Runs everything that is due now, one after the other, earliest first; what that sets going
    /// is left for the next tick. Answers how many things were run.
    pub async fn tick(&self) -> usize {
        let due = self.start_due();
        let count = due.len();
        for job in due {
            job.run().await;
        }
        count
    }

    /// Ticks until nothing is due now.
    pub async fn settle(&self) {
        while self.tick().await > 0 {}
    }

    /// When something is due next: now or earlier if a tick would run it.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        let stored = &self.lock().stored;
        let scheduled = stored.services.secrets_manager.next_scheduled();
        [stored.queue.next_due(), scheduled].into_iter().flatten().min()
    }

    /// Runs what is due when it is due, side by side, until dropped. A job that is dropped with it
    /// is due again.
    pub async fn run(&self) {
        let mut running = FuturesUnordered::new();
        loop {
            running.extend(self.start_due().into_iter().map(Running::run));
            let due = async {
                match self.next_due() {
                    Some(at) => self.0.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // In this order, and not in one drawn at random: what a test sees once, it sees each time.
            tokio::select! {
                biased;
                Some(()) = running.next(), if !running.is_empty() => {}
                () = due => {}
                () = self.0.woken.notified() => {}
            }
        }
    }

    /// Runs one job that can't wait for a tick.
    pub(crate) async fn run_early(&self, id: u64) {
        let started = self.lock().stored.queue.start(id);
        if started {
            Running { aws: self.clone(), id }.run().await;
        }
    }

    fn start_due(&self) -> Vec<Running> {
        let now = self.now();
        let scheduled = self.next_due().is_some_and(|at| at <= now);
        if scheduled {
            self.act_unsaved(|services, cx| services.secrets_manager.fire_schedules(cx));
        }
        let ids = self.lock().stored.queue.start_due(now);
        ids.into_iter().map(|id| Running { aws: self.clone(), id }).collect()
    }

    async fn rotate(&self, arn: &str, token: &str) {
        let (attempt, _) = self.act(|services, cx| services.secrets_manager.begin_attempt(cx, arn, token));
        let Some(attempt) = attempt else { return };
        let (step, ended, error) = self.run_steps(&attempt).await;
        self.act(|services, cx| services.secrets_manager.end_attempt(cx, &attempt, &ended));
        let at = self.now();
        self.lock().outcomes.push(RotationOutcome {
            secret: attempt.arn,
            token: attempt.token,
            attempt: attempt.number,
            step: step.to_owned(),
            error,
            at,
        });
    }

    async fn run_steps(&self, attempt: &Attempt) -> (&'static str, Ended, Option<FunctionError>) {
        let mut last = "";
        for step in attempt.steps {
            let open = self.lock().stored.services.secrets_manager.is_open(&attempt.arn, &attempt.token);
            if !open {
                let error = FunctionError {
                    error_type: "RotationAbandoned".into(),
                    error_message: "The secret's labels were changed during its rotation.".into(),
                };
                return (last, Ended::Abandoned, Some(error));
            }
            last = step;
            let event = json!({
                "Step": step,
                "SecretId": attempt.arn,
                "ClientRequestToken": attempt.token,
                "RotationToken": attempt.rotation_token,
            });
            let done = match self.invoke(&attempt.function, event).await {
                Ok(_) => self.lock().stored.services.secrets_manager.check_step(attempt, step),
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                return (last, Ended::Failed, Some(error));
            }
        }
        (last, Ended::Succeeded, None)
    }

    /// One invocation, with the world let go: functions call back in.
    pub(crate) async fn invoke(&self, function: &str, payload: Value) -> Result<Value, FunctionError> {
        let functions = self.lock().functions.clone();
        functions.invoke(function, payload).await
    }
}

/// A job that was taken from the queue. Dropped before it is done, it is due again.
struct Running {
    aws: LocalAws,
    id: u64,
}

impl Running {
    async fn run(self) {
        let work = self.aws.lock().stored.queue.work(self.id);
        match work {
            Some(Work::Rotate { arn, token }) => self.aws.rotate(&arn, &token).await,
            Some(Work::Deliver { function, payload }) => {
                if let Err(error) = self.aws.invoke(&function, payload).await {
                    tracing::warn!(%function, %error, "an event's function failed");
                }
            }
            None => {}
        }
        let mut world = self.aws.lock();
        world.stored.queue.finish(self.id);
        self.aws.save(&world);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.aws.lock().stored.queue.release(self.id);
    }
}
