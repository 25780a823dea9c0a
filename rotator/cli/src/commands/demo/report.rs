//! What the demo came to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rotator::engine::Engine;
use rotator::failure::{Failure, chain};
use rotator::kinds::api_gateway_key::CREDENTIAL_TAG;
use serde::Serialize;
use state::Time;
use state::credential::Credential;
use state::invariants::{Outside, check};
use state::ledger::{Change, Event};
use state::lifecycle::State;
use state::name::CredentialName;

use super::stage::Stage;
use crate::embedded::Embedded;
use crate::output::{Look, View, harmless};
use crate::timeline;
use crate::trouble::Trouble;

/// As JSON:
///
/// ```json
/// {
///   "ok": true,
///   "problems": [],
///   "seconds": 4.2,
///   "adopted": 25,
///   "clientCalls": 3120, "refusedCalls": 0, "refusedInEmergency": 14,
///   "events": 210,
///   "credentials": [
///     {
///       "name": "partner/acme", "kind": "api-gateway-key", "rotations": 1,
///       "clientCalls": 624, "refusedCalls": 0, "refusedInEmergency": 0,
///       "versions": [
///         {"generation": 1, "states": ["active", "deactivated", "suspended", "destroyed"], "compromised": false},
///         {"generation": 2, "states": ["pre-activation", "active"], "compromised": false}
///       ]
///     }
///   ]
/// }
/// ```
///
/// `refusedCalls` counts every call that was not answered with 200, except those with a key that an emergency had
/// declared compromised: these are `refusedInEmergency`. `problems` is empty exactly if `ok`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    ok: bool,
    problems: Vec<String>,
    seconds: f64,
    adopted: usize,
    client_calls: u64,
    refused_calls: u64,
    refused_in_emergency: u64,
    events: usize,
    credentials: Vec<CredentialReport>,
    #[serde(skip)]
    until: Time,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CredentialReport {
    name: CredentialName,
    kind: String,
    rotations: usize,
    client_calls: u64,
    refused_calls: u64,
    refused_in_emergency: u64,
    versions: Vec<VersionReport>,
    #[serde(skip)]
    history: Vec<Event>,
}

#[derive(Debug, Serialize)]
struct VersionReport {
    generation: u32,
    states: Vec<State>,
    compromised: bool,
}

impl Report {
    /// Looks at everything that was adopted, and tells of everything that was rotated.
    pub async fn of(
        stage: &Stage<'_, '_>,
        managed: &[CredentialName],
        rotated: &[CredentialName],
        leaked: &CredentialName,
    ) -> Result<Self, Trouble> {
        let mut report = Self {
            ok: false,
            problems: Vec::new(),
            seconds: 0.0,
            adopted: managed.len(),
            client_calls: 0,
            refused_calls: 0,
            refused_in_emergency: 0,
            events: 0,
            credentials: Vec::new(),
            until: stage.now(),
        };
        for name in managed {
            let (credential, history) = report.inspect(stage.embedded, name).await?;
            if rotated.contains(name) {
                let told = CredentialReport::of(stage, &credential, history);
                let wanted = if name == leaked { 1 } else { 0 } + 1;
                if told.rotations < wanted {
                    report.problems.push(format!("{name} rotated {} times instead of {wanted}", told.rotations));
                }
                report.client_calls += told.client_calls;
                report.refused_calls += told.refused_calls;
                report.refused_in_emergency += told.refused_in_emergency;
                report.credentials.push(told);
            }
        }
        if report.refused_calls > 0 {
            report.problems.push(format!("{} client calls were refused outside the emergency", report.refused_calls));
        }
        report.ok = report.problems.is_empty();
        Ok(report)
    }

    /// One more thing that should have held.
    pub fn expect(&mut self, held: bool, what: &str) {
        if !held {
            self.problems.push(what.to_owned());
            self.ok = false;
        }
    }

    /// Whether all of it held.
    pub fn ok(&self) -> bool {
        self.ok
    }

    /// The same, with how long it took.
    pub fn after(self, elapsed: Duration) -> Self {
        Self { seconds: (elapsed.as_secs_f64() * 10.0).round() / 10.0, ..self }
    }

    async fn inspect(
        &mut self,
        embedded: &Embedded,
        name: &CredentialName,
    ) -> Result<(Credential, Vec<Event>), Trouble> {
        let unread = |failure: Failure| Trouble::Other {
            what: format!("could not read the records of {name}: {}", chain(&failure)),
            next: "this is a defect of the demo: report it".into(),
            source: None,
        };
        let engine: &Engine = embedded.engine();
        let told = engine.records.history(name).await.map_err(unread)?;
        let secret = engine.describe(name.as_str()).await.map_err(unread)?;
        let recorded = engine.records.load(name).await.map_err(unread)?;
        let credential = recorded.unwrap_or_else(|| Credential::empty(name.clone(), &secret.arn));
        let history: Vec<Event> = told.into_iter().map(|told| told.event).collect();
        let named: BTreeSet<&String> =
            credential.versions.values().filter_map(|version| version.provider.get("id")).collect();
        let keys: BTreeMap<String, bool> = embedded
            .aws
            .inspect_api_keys()
            .into_iter()
            .filter(|key| {
                named.contains(&key.id) || key.tags.get(CREDENTIAL_TAG).is_some_and(|tag| tag == name.as_str())
            })
            .map(|key| (key.id, key.enabled))
            .collect();
        let gone = credential.versions.values().filter(|version| version.state == State::Destroyed);
        for id in gone.filter_map(|version| version.provider.get("id")).filter(|id| keys.contains_key(*id)) {
            self.problems.push(format!("{name}: the key {id} counts as destroyed, but API Gateway has it"));
        }
        let violations = check(&credential, &history, &Outside { secret, keys });
        self.problems.extend(violations.into_iter().map(|violation| format!("{name}: {violation}")));
        self.events += history.len();
        Ok((credential, history))
    }
}

impl CredentialReport {
    fn of(stage: &Stage<'_, '_>, credential: &Credential, history: Vec<Event>) -> Self {
        let name = &credential.head.name;
        let tally = stage.crowd.tally(name);
        let leaked: BTreeSet<&str> = credential
            .versions
            .values()
            .filter(|version| version.compromised.is_some())
            .flat_map(|version| version.carriers.iter().map(|carrier| carrier.as_str()))
            .collect();
        let in_emergency: u64 =
            tally.refused.iter().filter(|(version, _)| leaked.contains(version.as_str())).map(|(_, count)| count).sum();
        let states = timeline::states(&history);
        let versions = credential.versions.values().map(|version| VersionReport {
            generation: version.generation,
            states: states.get(&version.generation).cloned().unwrap_or_default(),
            compromised: version.compromised.is_some(),
        });
        Self {
            name: name.clone(),
            kind: credential.head.kind.clone(),
            rotations: history.iter().filter(|event| matches!(event.change, Change::Promoted { .. })).count(),
            client_calls: tally.calls,
            refused_calls: tally.refused.values().sum::<u64>() - in_emergency,
            refused_in_emergency: in_emergency,
            versions: versions.collect(),
            history,
        }
    }
}

impl View for Report {
    fn page(&self, look: &Look) -> String {
        let width = look.width.map_or(100, usize::from).min(140);
        let mut page = String::from("\n");
        for credential in &self.credentials {
            let name = credential.name.as_str();
            page.push_str(&timeline::draw(name, &credential.history, self.until, width, look.colour));
            page.push('\n');
        }
        page.push_str(&format!("{}\n\n", timeline::legend(look.colour)));
        let rotations: usize = self.credentials.iter().map(|credential| credential.rotations).sum();
        let figures = [
            format!(
                "{} credentials under management, {rotations} rotations; {} events in {} chains{}",
                self.adopted,
                self.events,
                self.adopted,
                if self.ok { ", all verified" } else { "" }
            ),
            format!(
                "{} client calls, {} refused; {} more with a leaked key, until its clients had read the new one",
                self.client_calls, self.refused_calls, self.refused_in_emergency
            ),
            format!("{} s for {} days", self.seconds, (self.until - super::start()).num_days() + 1),
        ];
        figures.iter().for_each(|line| page.push_str(&format!("{line}\n")));
        for problem in &self.problems {
            page.push_str(&format!("NOT HELD: {}\n", harmless(problem)));
        }
        page.push_str("\nNext: `rotator local` keeps such an AWS running for aws, boto3 and rotator itself;\n");
        page.push_str("README.md has the tour and the deployment, runbook.md what to do when something holds.\n");
        page
    }
}
