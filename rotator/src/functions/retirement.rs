//! The function that runs every minute and whenever a label moves: refuses keys whose overlap is over, deletes those
//! whose soak is over, and completes what somebody began and did not come back for.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use state::concern::Concerns;
use state::decide::Goal;
use state::drift::{Finding, Remedy};
use state::ledger::Actor;
use state::name::CredentialName;
use tracing::{error, info, warn};

use super::{FunctionFailed, Handle, Invocation, LONGEST};
use crate::aws::records::DUE_BUCKETS;
use crate::engine::{Engine, Errand};
use crate::failure::{BadInput, Failure, Fault, Stopped, chain};
use crate::mend::overview;
use crate::patience::patiently;

/// How many credentials of one bucket a tick looks at: the next tick takes the rest.
const PAGE: i32 = 100;
/// After how many credentials the log is told how far a look at all of them has come.
const TOLD_EVERY: usize = 250;
/// How many credentials are retired at the same time. The share of API Gateway's rate is kept by the turns; most of the time
/// is spent waiting for them, or until a key is refused.
const ABREAST: usize = 50;

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
    /// One tick, one moved label, or once a day `{"detail-type": "Scheduled Event", "detail": {"task": "reconcile"}}`,
    /// which a schedule sends as its constant input. Answers with how many credentials it looked at and how many it left to
    /// the next tick; if it was to reconcile, how much it found; that is told and changes nothing.
    async fn handle(&self, invocation: Invocation) -> Result<Value, FunctionFailed> {
        let refused = |bad| FunctionFailed::new("the retirement event", &Stopped::Input(bad));
        let errand = Errand {
            actor: Actor::Retirement,
            deadline: invocation.deadline.min(self.engine.ports.clock.now() + LONGEST),
            rotation_token: None,
            note: None,
        };
        let event = &invocation.payload;
        if let Some(task) = event.pointer("/detail/task") {
            if task != "reconcile" {
                let rule = "\"reconcile\" is the only task; without one, what is due is done".to_owned();
                return Err(refused(BadInput::Event { field: "detail.task", rule }));
            }
            return self.reconcile(&errand).await;
        }
        let names = match event.get("detail-type").and_then(Value::as_str) {
            Some("Scheduled Event") => {
                self.due(&errand).await.map_err(|stopped| FunctionFailed::new("looking for what is due", &stopped))?
            }
            Some("Secret Label Updated") => {
                vec![moved(event).map_err(refused)?]
            }
            Some(_) | None => {
                let rule = "one of \"Scheduled Event\" and \"Secret Label Updated\" is expected".to_owned();
                return Err(refused(BadInput::Event { field: "detail-type", rule }));
            }
        };
        let due = names.len();
        // A key whose refusal is waited for keeps no other waiting.
        let mut ends = stream::iter(names).map(|name| self.retire(name, &errand)).buffer_unordered(ABREAST);
        let (mut not_reached, mut failed) = (0_usize, Vec::new());
        while let Some(end) = ends.next().await {
            match end {
                End::Looked => {}
                End::NotReached => not_reached += 1,
                End::Failed(failure) => failed.push(failure),
            }
        }
        let looked_at = due - not_reached;
        metrics::counter!("Ticks").increment(1);
        info!(looked_at, not_reached, failed = failed.len(), "tick over");
        match failed.into_iter().next() {
            None => Ok(json!({"lookedAt": looked_at, "notReached": not_reached})),
            Some(first) => Err(first),
        }
    }
}

/// What a tick came to with one credential.
enum End {
    Looked,
    /// The tick's time was over first: the next tick takes it.
    NotReached,
    Failed(FunctionFailed),
}

impl Retirement {
    async fn retire(&self, name: CredentialName, errand: &Errand<'_>) -> End {
        match self.engine.run(&name, None, &Goal::Retire, errand).await {
            Ok(()) => End::Looked,
            // Recorded, counted and shown; not a failure of the function.
            Err(Stopped::Held(hold)) => {
                info!(credential = %name, hold = %hold.reason, "held");
                End::Looked
            }
            // A key that not everybody has heard of yet: the next tick looks again.
            Err(Stopped::Failed(Failure::NotYet(why))) => {
                info!(credential = %name, why, "not yet");
                End::Looked
            }
            Err(stopped) if is_only_late(&stopped) => {
                info!(credential = %name, reason = chain(&stopped), "not reached");
                metrics::counter!("NotReached").increment(1);
                End::NotReached
            }
            Err(stopped) => {
                error!(credential = %name, reason = chain(&stopped), "not retired");
                metrics::counter!("RetirementFailures").increment(1);
                let failure = FunctionFailed::new(&format!("the retirement of {name}"), &stopped);
                End::Failed(FunctionFailed { is_logged: true, ..failure })
            }
        }
    }

    /// Tells where outside and records disagree: in the log, and as the metric `Findings`. A person puts it right with
    /// `rotator reconcile`. Only where the owner has decided before is anything done: about the keys of a deleted secret.
    async fn reconcile(&self, errand: &Errand<'_>) -> Result<Value, FunctionFailed> {
        let (ports, records) = (&self.engine.ports, &self.engine.records);
        if let Err(stopped) = patiently(ports, errand.deadline, || records.index_heads()).await {
            warn!(reason = chain(&stopped), "what an earlier version recorded is not in the index of heads yet");
        }
        let mut progress = |done: usize, of| {
            if done.is_multiple_of(TOLD_EVERY) {
                info!(looked_at = done, of, "looking");
            }
        };
        let found = overview(&self.engine, errand, &mut progress).await;
        let found = found.map_err(|stopped| FunctionFailed::new("the look at everything", &stopped))?;
        let mut findings = 0_usize;
        for one in &found.examined {
            for finding in &one.findings {
                if matches!(finding, Finding::SecretDeleted { .. }) {
                    self.close(&one.name, errand).await;
                }
                tell(Some(&one.name), finding, &finding.remedy(Some(&one.credential)));
                findings += 1;
            }
        }
        for finding in &found.unowned {
            tell(None, finding, &finding.remedy(None));
            findings += 1;
        }
        for (name, stopped) in &found.failed {
            error!(credential = %name, reason = chain(stopped), "not looked at");
            metrics::counter!("RetirementFailures").increment(1);
        }
        metrics::counter!("Reconciliations").increment(1);
        for one in &found.examined {
            warn_of(&one.name, &one.concerns);
        }
        let many = |which: fn(&Concerns) -> bool| {
            let many = found.examined.iter().filter(|one| which(&one.concerns)).count();
            f64::from(u32::try_from(many).unwrap_or(u32::MAX))
        };
        // Histograms, because each figure is to be told once: a gauge is told again with everything that follows.
        metrics::histogram!("OldHolds").record(many(|concerns| concerns.old_hold));
        metrics::histogram!("NearMaxAge").record(many(|concerns| concerns.near_max_age));
        metrics::histogram!("Overdue").record(many(|concerns| concerns.overdue));
        metrics::histogram!("WithoutFingerprint").record(many(|concerns| concerns.without_fingerprint));
        info!(looked_at = found.examined.len(), findings, failed = found.failed.len(), "everything was looked at");
        match found.failed.first() {
            None => Ok(json!({"lookedAt": found.examined.len(), "findings": findings})),
            Some((name, stopped)) => {
                let failure = FunctionFailed::new(&format!("the look at {name}"), stopped);
                Err(FunctionFailed { is_logged: true, ..failure })
            }
        }
    }

    /// The keys of a secret that is gone for good are retired, if its owner said so before; else that is a hold.
    async fn close(&self, name: &CredentialName, errand: &Errand<'_>) {
        match self.engine.run(name, None, &Goal::Close, errand).await {
            Ok(()) => info!(credential = %name, "closed"),
            Err(stopped) => info!(credential = %name, reason = chain(&stopped), "not closed"),
        }
    }

    async fn due(&self, errand: &Errand<'_>) -> Result<Vec<CredentialName>, Stopped> {
        let (records, ports, now) = (&self.engine.records, &self.engine.ports, self.engine.ports.clock.now());
        let mut names = Vec::new();
        for bucket in 0..DUE_BUCKETS {
            for name in patiently(ports, errand.deadline, || records.due(bucket, now, PAGE)).await? {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }
}

/// Whether nothing is wrong but that there was too much to do.
fn is_only_late(stopped: &Stopped) -> bool {
    let Stopped::OutOfTime(cause) = stopped else { return false };
    cause.as_ref().is_none_or(|cause| match &**cause {
        Failure::NotYet(_) => true,
        Failure::Call(call) => matches!(call.fault, Fault::Throttled(_)),
        Failure::Held(_) | Failure::Input(_) => false,
    })
}

/// Which credentials an alarm is about stands in the log.
fn warn_of(name: &CredentialName, concerns: &Concerns) {
    let Concerns { old_hold, near_max_age, overdue, without_fingerprint } = *concerns;
    if *concerns != Concerns::default() {
        warn!(credential = %name, old_hold, near_max_age, overdue, without_fingerprint, "somebody should look at it");
    }
}

fn tell(credential: Option<&CredentialName>, finding: &Finding, remedy: &Remedy) {
    metrics::counter!("Findings", "finding" => finding.word()).increment(1);
    let credential = credential.map(tracing::field::display);
    warn!(credential, finding = finding.word(), what = %finding, remedy = remedy.text(), "found");
}

fn moved(event: &Value) -> Result<CredentialName, BadInput> {
    let bad = |field: &'static str, rule: String| BadInput::Event { field, rule };
    let name = event.pointer("/detail/name").and_then(Value::as_str);
    let name = name.ok_or_else(|| bad("detail.name", "the name of the secret is expected".into()))?;
    CredentialName::parse(name).map_err(|error| bad("detail.name", error.to_string()))
}
