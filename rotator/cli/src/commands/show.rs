//! `rotator show`

use std::collections::BTreeMap;

use rotator::failure::{BadInput, Failure, chain};
use serde::Serialize;
use state::Time;
use state::credential::{Credential, Order, Proof, Version};
use state::decide::Secret;
use state::hold::Held;
use state::name::{CredentialName, Token};
use state::policy::Policy;

use crate::context::Context;
use crate::output::{Look, Out, View, dash, harmless, listed, moment, table};
use crate::trouble::{Outcome, Trouble};

/// Show a credential: its labels, its versions, what is due, what holds
///
/// Exits with 3 if it is held, has an emergency open, or its tags can't be used.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The credential: its secret's name
    pub name: String,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    let name = CredentialName::parse(&args.name)?;
    out.wait_for("reading the records");
    let records = context.engine.records.load(&name).await;
    let records = records.map_err(Trouble::failure(format!("could not read the records of {name}")))?;
    // By ARN where one is pinned: another secret may have taken the name.
    let id = records.as_ref().map_or(name.as_str(), |credential| &credential.head.arn);
    let secret = match context.engine.describe(id).await {
        Ok(secret) => Some(secret),
        Err(Failure::Input(BadInput::NoSecret(_))) => None,
        Err(failure) => return Err(Trouble::failure(format!("could not read the labels of {name}"))(failure)),
    };
    if records.is_none() && secret.is_none() {
        return Err(Trouble::NoCredential(name));
    }
    let view = ShowView::new(&name, records.as_ref(), secret.as_ref(), context.now());
    out.show(&view)?;
    Ok(Outcome::attention_if(view.needs_attention()))
}

/// What `rotator show` prints.
///
/// ```json
/// {"asOf": "...", "name": "partner/acme", "arn": "arn:aws:...", "kind": "api-gateway-key", "revision": 9,
///  "current": 2, "candidate": null, "held": null,
///  "emergency": {"token": "...", "at": "...", "compromised": [1], "promoted": true},
///  "secret": {"deleted": false, "rotationEnabled": true, "schedule": "cron(0 8 1 * ? *)", "replicasBehind": [],
///             "labels": {"AWSCURRENT": "TOKEN"}, "wishes": {"overlap": "P7D", "max-live": "4"}, "unusable": null},
///  "versions": [{"generation": 2, "id": "UUID", "state": "active", "phase": null, "carriers": ["TOKEN"],
///    "labels": ["AWSCURRENT"], "provider": {"id": "..."}, "evidence": {}, "created": "...", "activated": "...",
///    "deactivated": null, "suspendAt": null, "suspended": null, "destroyAt": null, "destroyed": null, "due": null,
///    "proof": {"proven": ["api/stage/path"], "unproven": []}, "compromised": null,
///    "held": {"reason": "PlanConflict", "detail": "...", "remedy": "...", "since": "...", "lookAgain": "..."}}]}
/// ```
///
/// `secret` is `null` when the secret is gone; `unusable` says why its tags can't be used, `wishes` is `null` then;
/// `due` is when retirement looks at the version next. The newest version comes first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShowView {
    as_of: Time,
    name: CredentialName,
    arn: Option<String>,
    kind: Option<String>,
    revision: u64,
    current: Option<u32>,
    candidate: Option<u32>,
    held: Option<HeldView>,
    emergency: Option<Order>,
    secret: Option<SecretView>,
    versions: Vec<VersionView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SecretView {
    deleted: bool,
    rotation_enabled: bool,
    schedule: Option<String>,
    replicas_behind: Vec<String>,
    labels: BTreeMap<String, Token>,
    wishes: Option<BTreeMap<String, String>>,
    unusable: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionView {
    generation: u32,
    id: String,
    state: &'static str,
    phase: Option<&'static str>,
    carriers: Vec<Token>,
    labels: Vec<String>,
    provider: BTreeMap<String, String>,
    evidence: BTreeMap<String, String>,
    created: Time,
    activated: Option<Time>,
    deactivated: Option<Time>,
    suspend_at: Option<Time>,
    suspended: Option<Time>,
    destroy_at: Option<Time>,
    destroyed: Option<Time>,
    due: Option<Time>,
    proof: Option<Proof>,
    compromised: Option<Time>,
    held: Option<HeldView>,
}

/// A hold, with what to do about it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HeldView {
    reason: &'static str,
    detail: String,
    remedy: &'static str,
    since: Time,
    look_again: Time,
}

impl ShowView {
    /// Of what is recorded and what the secret says; at least one of them is there.
    pub fn new(name: &CredentialName, records: Option<&Credential>, secret: Option<&Secret>, as_of: Time) -> Self {
        let head = records.map(|credential| &credential.head);
        let versions = records.iter().flat_map(|credential| credential.versions.values().rev());
        Self {
            as_of,
            name: name.clone(),
            arn: head.map(|head| head.arn.clone()).or_else(|| secret.map(|secret| secret.arn.clone())),
            kind: head.map(|head| head.kind.clone()).filter(|kind| !kind.is_empty()).or_else(|| {
                let wishes = secret?.wishes.as_ref().ok()?;
                Some(wishes.kind.clone())
            }),
            revision: head.map_or(0, |head| head.revision),
            current: head.and_then(|head| head.current),
            candidate: head.and_then(|head| head.candidate),
            held: head.and_then(|head| head.held.as_ref()).map(HeldView::from),
            emergency: head.and_then(|head| head.order.clone()),
            secret: secret.map(SecretView::from),
            versions: versions.map(|version| VersionView::new(version, secret)).collect(),
        }
    }

    fn needs_attention(&self) -> bool {
        self.held.is_some()
            || self.emergency.is_some()
            || self.secret.as_ref().is_none_or(|secret| secret.deleted || secret.unusable.is_some())
            || self.versions.iter().any(|version| version.held.is_some())
    }
}

impl From<&Secret> for SecretView {
    fn from(secret: &Secret) -> Self {
        let days = secret.schedule.after_days.map(|days| format!("rate({days} days)"));
        let labels = secret.labels.iter().flat_map(|(token, labels)| labels.iter().map(move |label| (label, token)));
        let wishes = secret.wishes.as_ref();
        Self {
            deleted: secret.deleted,
            rotation_enabled: secret.rotation_enabled,
            schedule: secret.schedule.expression.clone().or(days),
            replicas_behind: secret.replicas_behind.clone(),
            labels: labels.map(|(label, token)| (label.clone(), token.clone())).collect(),
            wishes: wishes.ok().map(as_tags),
            unusable: wishes.err().map(|bad| chain(bad)),
        }
    }
}

/// The wishes in force, under the names of their tags, without `rotator:`.
fn as_tags(policy: &Policy) -> BTreeMap<String, String> {
    let Policy { kind, overlap, soak, consumer_cache, idle_before_suspend, max_age, max_live, wishes } = policy;
    let common = [
        ("kind", kind.clone()),
        ("overlap", overlap.to_string()),
        ("soak", soak.to_string()),
        ("consumer-cache", consumer_cache.to_string()),
        ("idle-before-suspend", idle_before_suspend.to_string()),
        ("max-age", max_age.to_string()),
        ("max-live", max_live.to_string()),
    ];
    let common = common.map(|(tag, value)| (tag.to_owned(), value));
    common.into_iter().chain(wishes.clone()).collect()
}

impl VersionView {
    fn new(version: &Version, secret: Option<&Secret>) -> Self {
        let labels = version.carriers.iter().filter_map(|carrier| secret?.labels.get(carrier)).flatten();
        Self {
            generation: version.generation,
            id: version.id.to_string(),
            state: version.state.word(),
            phase: version.phase.map(|phase| phase.word()),
            carriers: version.carriers.clone(),
            labels: labels.cloned().collect(),
            provider: version.provider.clone(),
            evidence: version.evidence.clone(),
            created: version.created,
            activated: version.activated,
            deactivated: version.deactivated,
            suspend_at: version.suspend_at,
            suspended: version.suspended,
            destroy_at: version.destroy_at,
            destroyed: version.destroyed,
            due: version.due(),
            proof: version.proof.clone(),
            compromised: version.compromised,
            held: version.held.as_ref().map(HeldView::from),
        }
    }

    /// Since when it is in its state.
    fn since(&self) -> Time {
        let latest = [self.destroyed, self.suspended, self.deactivated, self.activated];
        latest.into_iter().flatten().next().unwrap_or(self.created)
    }

    fn proof(&self) -> String {
        match &self.proof {
            None => dash(),
            Some(proof) if proof.proven.is_empty() => "unproven".into(),
            Some(proof) if proof.unproven.is_empty() => format!("proven: {}", listed(&proof.proven)),
            Some(proof) => format!("proven: {}; unproven: {}", listed(&proof.proven), listed(&proof.unproven)),
        }
    }

    fn next(&self) -> String {
        match (self.due, self.phase) {
            (None, _) => dash(),
            (Some(at), Some(_)) => format!("look again {}", moment(at)),
            (Some(at), None) if self.state == "deactivated" => format!("suspend {}", moment(at)),
            (Some(at), None) => format!("destroy {}", moment(at)),
        }
    }
}

impl From<&Held> for HeldView {
    fn from(held: &Held) -> Self {
        Self {
            reason: held.hold.reason.word(),
            detail: held.hold.detail.clone(),
            remedy: held.hold.reason.remedy(),
            since: held.since,
            look_again: held.look_again,
        }
    }
}

impl View for ShowView {
    fn page(&self, look: &Look) -> String {
        let mut facts = vec![
            ["name", self.name.as_str()].map(str::to_owned),
            ["kind".to_owned(), self.kind.clone().unwrap_or_else(dash)],
            ["secret".to_owned(), self.arn.clone().unwrap_or_else(dash)],
        ];
        match &self.secret {
            None => facts.push(["".into(), "the secret is gone".into()]),
            Some(secret) => {
                if secret.deleted {
                    facts.push(["".into(), "the secret is deleted, or will be".into()]);
                }
                let rotates = match (&secret.schedule, secret.rotation_enabled) {
                    (_, false) => "never: rotation is not enabled".into(),
                    (None, true) => "on demand".into(),
                    (Some(schedule), true) => schedule.clone(),
                };
                facts.push(["rotates".into(), rotates]);
                let labels = secret.labels.iter().map(|(label, token)| format!("{label} = {}", token.short()));
                facts.push(["labels".into(), listed(labels)]);
                if !secret.replicas_behind.is_empty() {
                    facts.push(["behind".into(), format!("replicas in {}", listed(&secret.replicas_behind))]);
                }
                if let Some(why) = &secret.unusable {
                    facts.push(["tags".into(), why.clone()]);
                }
            }
        }
        if let Some(order) = &self.emergency {
            let compromised = listed(&order.compromised);
            let done = if order.promoted { "its new key is current" } else { "its new key is not current yet" };
            let said = format!("open since {}, compromised: {compromised}; {done}", moment(order.at));
            facts.push(["emergency".into(), said]);
        }
        let mut page = facts.into_iter().fold(String::new(), |page, [name, fact]| {
            page + format!("{name:<10} {}", harmless(&fact)).trim_end() + "\n"
        });
        if self.versions.is_empty() {
            page.push_str("\nno key yet: the first rotation mints one, `rotator rotate` starts it\n");
        } else {
            page.push('\n');
            page.push_str(&table(
                look,
                ["GENERATION", "STATE", "SINCE", "NEXT", "KEY", "CARRIERS", "LABELS", "PROOF"],
                self.versions.iter().map(|version| {
                    let phase = version.phase.map(|phase| format!("/{phase}")).unwrap_or_default();
                    let compromised = if version.compromised.is_some() { ", compromised" } else { "" };
                    [
                        version.generation.to_string(),
                        format!("{}{phase}{compromised}", version.state),
                        moment(version.since()),
                        version.next(),
                        version.provider.get("id").cloned().unwrap_or_else(dash),
                        listed(version.carriers.iter().map(Token::short)),
                        listed(&version.labels),
                        version.proof(),
                    ]
                }),
            ));
        }
        let of_versions = self.versions.iter().map(|v| (format!("generation {}", v.generation), v.held.as_ref()));
        for (what, held) in std::iter::once(("the credential".to_owned(), self.held.as_ref())).chain(of_versions) {
            let Some(held) = held else { continue };
            page.push_str(&format!(
                "\n{what} is held since {}: {}: {}\n  next: {}; runbook.md has more under {}\n",
                moment(held.since),
                held.reason,
                harmless(&held.detail),
                held.remedy,
                held.reason,
            ));
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimens;

    fn views() -> [ShowView; 2] {
        [specimens::rotated(), specimens::held()].map(|credential| {
            let secret = specimens::secret(&credential);
            ShowView::new(&credential.head.name, Some(&credential), Some(&secret), specimens::at(90_000))
        })
    }

    #[test]
    fn the_json() {
        let [rotated, held] = views();
        insta::assert_snapshot!("rotated", crate::output::json(&rotated));
        insta::assert_snapshot!("held", crate::output::json(&held));
    }

    #[test]
    fn the_page() {
        let [rotated, held] = views();
        insta::assert_snapshot!("page_rotated", rotated.page(&Look::PLAIN));
        insta::assert_snapshot!("page_held", held.page(&Look::PLAIN));
    }

    #[test]
    fn a_hold_and_a_lost_secret_need_attention() {
        let [rotated, held] = views();
        assert!(!rotated.needs_attention() && held.needs_attention());
        let credential = specimens::rotated();
        let lost = ShowView::new(&credential.head.name, Some(&credential), None, specimens::at(90_000));
        assert!(lost.needs_attention());
        assert!(lost.page(&Look::PLAIN).contains("the secret is gone"));
    }
}
