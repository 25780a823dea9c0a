//! What the demo came to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::TimeDelta;
use rotator::engine::Engine;
use rotator::failure::Failure;
use rotator::kind::CREDENTIAL_TAG;
use serde::Serialize;
use state::Time;
use state::credential::Credential;
use state::invariants::{Outside, check};
use state::ledger::{Change, Event};
use state::lifecycle::State;
use state::name::CredentialName;

use super::crowd::Refusal;
use super::stage::{Stage, published_before, unread};
use crate::embedded::Embedded;
use crate::output::{Look, View, harmless, span, table};
use crate::timeline;
use crate::trouble::Trouble;

/// As JSON:
///
/// ```json
/// {
///   "ok": true,
///   "problems": [],
///   "seconds": 6.2,
///   "adopted": 25, "managed": 28,
///   "events": 230,
///   "uses": {
///     "api-gateway-key": {"accepted": 1520, "refused": 0, "refusedInEmergency": 10},
///     "kms-signing-key": {"accepted": 4900, "refused": 0, "refusedInEmergency": 60}
///   },
///   "credentials": [
///     {
///       "name": "tokens/customers", "kind": "kms-signing-key", "rotations": 3,
///       "accepted": 4900, "refused": 0, "refusedInEmergency": 60,
///       "emergency": {"seconds": 5, "publishedSecondsBefore": 46805},
///       "versions": [
///         {"generation": 1, "states": ["pre-activation", "active", "deactivated", "suspended", "destroyed"],
///          "compromised": false}
///       ]
///     }
///   ]
/// }
/// ```
///
/// What is counted is an API call, a webhook that a receiver got, or a token that a verifier was shown. `refused` counts
/// every one that was not accepted, except those made with a key after an emergency had declared it compromised: these
/// are `refusedInEmergency`. `emergency` is null where there was none; its `seconds` are from the order to the new key's
/// use, and `publishedSecondsBefore` says for how long that key had been published by then (null where nobody fetches
/// keys). `problems` is empty exactly if `ok`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    ok: bool,
    problems: Vec<String>,
    seconds: f64,
    adopted: usize,
    managed: usize,
    events: usize,
    uses: BTreeMap<String, Uses>,
    credentials: Vec<CredentialReport>,
    #[serde(skip)]
    until: Time,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Uses {
    accepted: u64,
    refused: u64,
    refused_in_emergency: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CredentialReport {
    name: CredentialName,
    kind: String,
    rotations: usize,
    #[serde(flatten)]
    uses: Uses,
    emergency: Option<EmergencyReport>,
    versions: Vec<VersionReport>,
    #[serde(skip)]
    history: Vec<Event>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EmergencyReport {
    seconds: i64,
    published_seconds_before: Option<i64>,
}

#[derive(Debug, Serialize)]
struct VersionReport {
    generation: u32,
    states: Vec<State>,
    compromised: bool,
}

impl Report {
    /// Looks at everything that is managed, and tells of everything that was rotated.
    pub async fn of(
        stage: &Stage<'_, '_>,
        adopted: usize,
        managed: &[CredentialName],
        rotated: &[CredentialName],
        leaked: &[CredentialName],
    ) -> Result<Self, Trouble> {
        let mut report = Self {
            ok: false,
            problems: Vec::new(),
            seconds: 0.0,
            adopted,
            managed: managed.len(),
            events: 0,
            uses: BTreeMap::new(),
            credentials: Vec::new(),
            until: stage.now(),
        };
        for name in managed {
            let (credential, history) = report.inspect(stage.embedded, name).await?;
            // A first key has nobody who knows another.
            let mut later = credential.versions.values().skip(1);
            if later.any(|version| version.strange_until().is_some()) {
                report.problems.push(format!("{name}: a key signed before every verifier could know it"));
            }
            if rotated.contains(name) {
                let told = CredentialReport::of(stage, &credential, history);
                report.judge(&told, leaked.contains(name));
                report.uses.entry(told.kind.clone()).or_default().add(told.uses);
                report.credentials.push(told);
            }
        }
        report.ok = report.problems.is_empty();
        Ok(report)
    }

    fn judge(&mut self, told: &CredentialReport, leaked: bool) {
        let CredentialReport { name, rotations, uses, emergency, .. } = told;
        let first = told.versions.first().is_some_and(|version| version.states.first() == Some(&State::PreActivation));
        let wanted = 1 + usize::from(leaked) + usize::from(first);
        if *rotations < wanted {
            self.problems.push(format!("{name} rotated {rotations} times instead of {wanted}"));
        }
        if uses.accepted == 0 {
            self.problems.push(format!("{name}: nothing was accepted at all"));
        }
        if uses.refused > 0 {
            let refused = uses.refused;
            self.problems.push(format!("{name}: {refused} refused that no compromised key had made"));
        }
        if leaked && emergency.is_none() {
            self.problems.push(format!("{name}: the emergency did not come to its end"));
        }
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
        let unread = |failure: Failure| unread(name, &failure);
        let engine: &Engine = embedded.engine();
        let told = engine.records.history(name).await.map_err(unread)?;
        let secret = engine.describe(name.as_str()).await.map_err(unread)?;
        let recorded = engine.records.load(name).await.map_err(unread)?;
        let credential = recorded.unwrap_or_else(|| Credential::empty(name.clone(), &secret.arn));
        let history: Vec<Event> = told.into_iter().map(|told| told.event).collect();
        let keys = provided(embedded, &credential);
        let gone = credential.versions.values().filter(|version| version.state == State::Destroyed);
        for id in gone.filter_map(|version| version.provider.get("id")).filter(|id| keys.contains_key(*id)) {
            self.problems.push(format!("{name}: the key {id} counts as destroyed, but its provider has it"));
        }
        let violations = check(&credential, &history, &Outside { secret, keys });
        self.problems.extend(violations.into_iter().map(|violation| format!("{name}: {violation}")));
        self.events += history.len();
        Ok((credential, history))
    }
}

/// The provider's keys that are a credential's, and whether they are enabled.
pub fn provided(embedded: &Embedded, credential: &Credential) -> BTreeMap<String, bool> {
    let versions = || credential.versions.values();
    let named: BTreeSet<&String> = versions().filter_map(|version| version.provider.get("id")).collect();
    let is_ours = |id: &String, tags: &BTreeMap<String, String>| {
        named.contains(id) || tags.get(CREDENTIAL_TAG).is_some_and(|tag| tag == credential.head.name.as_str())
    };
    let api_keys = embedded.aws.inspect_api_keys().into_iter().filter(|key| is_ours(&key.id, &key.tags));
    // One that waits for its deletion is as good as deleted.
    let kms_keys = embedded.aws.inspect_kms_keys().into_iter().filter(|key| key.state != "PendingDeletion");
    let kms_keys = kms_keys.filter(|key| is_ours(&key.arn, &key.tags));
    // The others have no provider but the secret: what is recorded is all there is.
    let has_provider = ["api-gateway-key", "kms-signing-key"].contains(&credential.head.kind.as_str());
    let recorded = versions().filter(|version| !has_provider && version.state != State::Destroyed);
    api_keys
        .map(|key| (key.id, key.enabled))
        .chain(kms_keys.map(|key| (key.arn, key.state == "Enabled")))
        .chain(recorded.filter_map(|version| Some((version.provider.get("id")?.clone(), true))))
        .collect()
}

impl Uses {
    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.refused_in_emergency += other.refused_in_emergency;
    }
}

impl CredentialReport {
    fn of(stage: &Stage<'_, '_>, credential: &Credential, history: Vec<Event>) -> Self {
        let name = &credential.head.name;
        let tally = stage.crowd.tally(name);
        let was_compromised = |refusal: &Refusal| {
            let from = credential
                .versions
                .values()
                .filter(|version| version.carriers.iter().any(|carrier| carrier.as_str() == refusal.version));
            from.filter_map(|version| version.compromised).any(|since| since <= refusal.at)
        };
        let (in_emergency, otherwise): (Vec<&Refusal>, Vec<&Refusal>) =
            tally.refused.iter().partition(|refusal| was_compromised(refusal));
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
            uses: Uses {
                accepted: tally.accepted,
                refused: otherwise.len() as u64,
                refused_in_emergency: in_emergency.len() as u64,
            },
            emergency: EmergencyReport::of(credential, &history),
            versions: versions.collect(),
            history,
        }
    }
}

impl EmergencyReport {
    fn of(credential: &Credential, history: &[Event]) -> Option<Self> {
        let mut from_order = history.iter().skip_while(|event| !matches!(event.change, Change::Ordered { .. }));
        let ordered = from_order.next()?.at;
        let promoted = |event: &Event| {
            if let Change::Promoted { generation } = event.change { Some((generation, event.at)) } else { None }
        };
        let (generation, at) = from_order.find_map(promoted)?;
        let published = credential.versions.get(&generation).and_then(published_before);
        let published_seconds_before = published.map(|time| time.num_seconds());
        Some(Self { seconds: (at - ordered).num_seconds(), published_seconds_before })
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
        page.push_str(&format!(
            "{} credentials under management, {rotations} rotations; {} events in {} chains{}\n\n",
            self.managed,
            self.events,
            self.managed,
            if self.ok { ", all verified" } else { "" }
        ));
        let rows = self.uses.iter().map(|(kind, uses)| {
            [kind.clone(), uses.accepted.to_string(), uses.refused.to_string(), uses.refused_in_emergency.to_string()]
        });
        page.push_str(&table(look, ["KIND", "ACCEPTED", "REFUSED", "REFUSED, KEY COMPROMISED"], rows));
        page.push('\n');
        for credential in &self.credentials {
            let Some(emergency) = credential.emergency else { continue };
            let ahead = emergency.published_seconds_before.map_or_else(String::new, |seconds| {
                format!(": its standby was published {} before", span(TimeDelta::seconds(seconds)))
            });
            let name = harmless(credential.name.as_str());
            page.push_str(&format!("emergency of {name}: a new key after {} s{ahead}\n", emergency.seconds));
        }
        page.push_str(&format!("{} s for {} days\n", self.seconds, (self.until - super::start()).num_days() + 1));
        for problem in &self.problems {
            page.push_str(&format!("NOT HELD: {}\n", harmless(problem)));
        }
        page.push_str("\nNext: `rotator local` keeps such an AWS running for aws, boto3 and rotator itself;\n");
        page.push_str("README.md has the tour and the deployment, runbook.md what to do when something\nholds.\n");
        page
    }
}
