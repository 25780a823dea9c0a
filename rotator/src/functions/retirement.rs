//! The function that runs every minute and whenever a label moves: refuses keys whose overlap is over, deletes those
//! whose soak is over, and completes what somebody began and did not come back for.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use state::decide::Goal;
use state::ledger::Actor;
use state::name::CredentialName;
use tracing::{error, info};

use super::{FunctionFailed, Handle, Invocation, LONGEST};
use crate::aws::records::DUE_BUCKETS;
use crate::engine::{Engine, Errand};
use crate::failure::{BadInput, Stopped, chain};

/// How many credentials of one bucket a tick looks at: the next tick takes the rest.
const PAGE: i32 = 100;

/// The retirement function.
#[derive(Clone, Debug)]
pub struct Retirement {
    engine: Arc<Engine>,
}

impl Retirement {
    /// With an engine, paced to its share of API Gateway's control plane.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl Handle for Retirement {
    /// One tick, or one moved label. Answers with how many credentials it looked at and how many of them failed.
    async fn handle(&self, invocation: Invocation) -> Result<Value, FunctionFailed> {
        let refused = |bad| FunctionFailed::new("the retirement event", &Stopped::Input(bad));
        let errand = Errand {
            actor: Actor::Retirement,
            deadline: invocation.deadline.min(self.engine.ports.clock.now() + LONGEST),
            rotation_token: None,
        };
        let event = &invocation.payload;
        let names = match event.get("detail-type").and_then(Value::as_str) {
            Some("Scheduled Event") => {
                self.due().await.map_err(|stopped| FunctionFailed::new("looking for what is due", &stopped))?
            }
            Some("Secret Label Updated") => {
                vec![moved(event).map_err(refused)?]
            }
            Some(_) | None => {
                let rule = "one of \"Scheduled Event\" and \"Secret Label Updated\" is expected".to_owned();
                return Err(refused(BadInput::Event { field: "detail-type", rule }));
            }
        };
        let looked_at = names.len();
        let mut failed = Vec::new();
        for name in names {
            match self.engine.run(&name, None, &Goal::Retire, &errand).await {
                Ok(()) => {}
                // Recorded, counted and shown; not a failure of the function.
                Err(Stopped::Held(hold)) => info!(credential = %name, hold = %hold.reason, "held"),
                Err(stopped) => {
                    error!(credential = %name, reason = chain(&stopped), "not retired");
                    metrics::counter!("RetirementFailures").increment(1);
                    failed.push(FunctionFailed::new(&format!("the retirement of {name}"), &stopped));
                }
            }
        }
        metrics::counter!("Ticks").increment(1);
        info!(looked_at, failed = failed.len(), "tick over");
        match failed.into_iter().next() {
            None => Ok(json!({"lookedAt": looked_at})),
            Some(first) => Err(first),
        }
    }
}

impl Retirement {
    async fn due(&self) -> Result<Vec<CredentialName>, Stopped> {
        let now = self.engine.ports.clock.now();
        let mut names = Vec::new();
        for bucket in 0..DUE_BUCKETS {
            for name in self.engine.records.due(bucket, now, PAGE).await? {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }
}

fn moved(event: &Value) -> Result<CredentialName, BadInput> {
    let bad = |field: &'static str, rule: String| BadInput::Event { field, rule };
    let name = event.pointer("/detail/name").and_then(Value::as_str);
    let name = name.ok_or_else(|| bad("detail.name", "the name of the secret is expected".into()))?;
    CredentialName::parse(name).map_err(|error| bad("detail.name", error.to_string()))
}
