//! Everything that is behind the one lock: the services, what is due, and what was seen.

use std::collections::VecDeque;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::api_gateway::ApiGateway;
use crate::authorization::Callers;
use crate::core::Context;
use crate::events::{self, LabelMoved};
use crate::functions::Functions;
use crate::jobs::{Queue, Work, later};
use crate::kms::Kms;
use crate::logs::Logs;
use crate::rates::Rates;
use crate::secrets_manager::{Effect, SecretsManager};
use crate::settings::{LabelEvent, Settings};
use crate::{CallRecord, RotationOutcome};

/// Older calls are forgotten.
const CALLS_KEPT: usize = 100_000;

pub(crate) struct World {
    pub(crate) stored: Stored,
    pub(crate) settings: Settings,
    pub(crate) functions: Functions,
    pub(crate) callers: Callers,
    /// Functions that the "Secret Label Updated" rule invokes.
    pub(crate) listeners: Vec<String>,
    pub(crate) calls: VecDeque<CallRecord>,
    pub(crate) outcomes: Vec<RotationOutcome>,
    /// Of the control planes. A restart begins with all of them unused.
    pub(crate) rates: Rates,
    /// Numbers the answers.
    pub(crate) answered: u64,
}

/// What survives a restart.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) services: Services,
    pub(crate) queue: Queue,
    pub(crate) entropy: Entropy,
}

/// The services whose state is ours. (DynamoDB's is dynoxide's.)
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Services {
    pub(crate) secrets_manager: SecretsManager,
    pub(crate) api_gateway: ApiGateway,
    pub(crate) kms: Kms,
    #[serde(default)]
    pub(crate) logs: Logs,
}

/// Where this AWS is.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) region: String,
    pub(crate) account: String,
}

impl World {
    pub(crate) fn new(stored: Stored, settings: Settings) -> Self {
        Self {
            stored,
            settings,
            functions: Functions::default(),
            callers: Callers::default(),
            listeners: Vec::new(),
            calls: VecDeque::new(),
            outcomes: Vec::new(),
            rates: Rates::default(),
            answered: 0,
        }
    }

    /// A copy without the registered functions, which call back into one AWS, and without the calls so far.
    pub(crate) fn copy(&self) -> Self {
        let mut stored = self.stored.clone();
        stored.queue.release_all();
        Self {
            stored,
            settings: self.settings.clone(),
            functions: self.functions.unregistered(),
            callers: self.callers.clone(),
            listeners: self.listeners.clone(),
            calls: VecDeque::new(),
            outcomes: self.outcomes.clone(),
            rates: self.rates.clone(),
            answered: self.answered,
        }
    }

    /// Lets the services do something, then puts into the queue what it set going. Answers the jobs
    /// that have to be run before anybody hears of the call as well.
    pub(crate) fn act<T>(
        &mut self,
        place: &Place,
        now: DateTime<Utc>,
        act: impl FnOnce(&mut Services, &mut Context<'_>) -> T,
    ) -> (T, Vec<u64>) {
        let Stored { services, queue, entropy } = &mut self.stored;
        let mut fill = |bytes: &mut [u8]| entropy.fill(bytes);
        let mut cx = Context {
            now,
            region: &place.region,
            account: &place.account,
            settings: &self.settings,
            rates: &mut self.rates,
            entropy: &mut fill,
        };
        let done = act(services, &mut cx);

        let mut early = Vec::new();
        for effect in services.secrets_manager.take_effects() {
            match effect {
                Effect::Rotate { arn, token, due } => {
                    queue.push(due, Work::Rotate { arn, token });
                }
                Effect::LabelMoved(moved) => {
                    early.extend(deliver(&mut cx, queue, &self.listeners, &moved));
                }
            }
        }
        (done, early)
    }

    pub(crate) fn record(&mut self, call: CallRecord) {
        if self.calls.len() == CALLS_KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }
}

/// Queues the event for everybody who listens, by the switch. Answers the early ones.
fn deliver(cx: &mut Context<'_>, queue: &mut Queue, listeners: &[String], moved: &LabelMoved) -> Vec<u64> {
    let event = events::secret_label_updated(cx, moved);
    let mut early = Vec::new();
    for function in listeners {
        let work = Work::Deliver { function: function.clone(), payload: event.clone() };
        match cx.settings.label_event {
            LabelEvent::Never => {}
            LabelEvent::OnTime => {
                queue.push(cx.now, work);
            }
            LabelEvent::Late(by) => {
                let by = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
                queue.push(later(cx.now, by), work);
            }
            LabelEvent::Twice => {
                queue.push(cx.now, work.clone());
                queue.push(cx.now, work);
            }
            LabelEvent::Early => early.push(queue.push(cx.now, work)),
        }
    }
    early
}

/// Where ids and random values come from.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Entropy {
    seed: Option<u64>,
    drawn: u64,
}

impl Entropy {
    /// The same values in the same order for the same seed.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { seed: Some(seed), drawn: 0 }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        let Some(seed) = self.seed else {
            aws_lc_rs::rand::fill(bytes).expect("the operating system's random source answers");
            return;
        };
        for block in bytes.chunks_mut(32) {
            let input = [seed.to_be_bytes(), self.drawn.to_be_bytes()].concat();
            self.drawn += 1;
            block.copy_from_slice(&digest(&SHA256, &input).as_ref()[..block.len()]);
        }
    }
}
