//! `rotator list`

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use state::Time;
use state::credential::{Credential, Version};
use state::name::CredentialName;

use crate::context::Context;
use crate::output::{Look, Out, View, dash, listed, moment, span, table};
use crate::trouble::{Outcome, Trouble};

/// How many credentials are read at once.
const AT_ONCE: usize = 16;

/// List every credential under management
///
/// Shows every secret with a tag rotator:kind, and every credential that anything is recorded of, its secret deleted or
/// not. A secret that was created in the last five minutes may be missing.
///
/// Exits with 3 if any of them is held or has an emergency open.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show only names that begin with this
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub prefix: String,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    out.wait_for("reading the records");
    let names =
        context.read("could not list the secrets", async || Ok(context.engine.secrets.managed().await?)).await?;
    let tagged = names.iter().map(|name| CredentialName::parse(name)).collect::<Result<Vec<_>, _>>()?;
    // A secret that is deleted is in no list, and its keys may live.
    let recorded = context.read("could not read the table", async || context.engine.records.names().await).await?;
    let names: BTreeSet<CredentialName> = tagged.into_iter().chain(recorded.into_keys()).collect();
    let names = names.into_iter().filter(|name| name.as_str().starts_with(&args.prefix));
    let credentials = stream::iter(names.collect::<Vec<_>>())
        .map(|name| read(context, name))
        .buffered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    let view = ListView::new(&credentials, context.now());
    out.show(&view)?;
    Ok(Outcome::attention_if(view.credentials.iter().any(|row| !row.held.is_empty() || row.emergency)))
}

async fn read(context: &Context, name: CredentialName) -> Result<Listed, Trouble> {
    let records = context.records(&name).await?;
    let recorded = records.as_ref().map(|credential| credential.head.kind.clone()).filter(|kind| !kind.is_empty());
    let kind = match recorded {
        Some(kind) => Some(kind),
        // The list lags: it may be gone by now.
        None => context.secret(name.as_str()).await?.and_then(|secret| Some(secret.wishes.ok()?.kind)),
    };
    Ok(Listed { name, kind, records })
}

/// A secret with a tag `rotator:kind`.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: CredentialName,
    /// Its kind, as recorded or else as wished; `None` when its wishes can't be used.
    pub kind: Option<String>,
    /// Its records, if it has any yet.
    pub records: Option<Credential>,
}

/// What `rotator list` prints.
///
/// ```json
/// {"asOf": "2026-11-21T12:00:00Z", "credentials": [{
///   "name": "partner/acme", "kind": "api-gateway-key", "state": "active", "generation": 2,
///   "since": "2026-11-01T08:00:04Z", "versions": 2, "rotating": false, "rollingBack": false, "held": ["StillInUse"],
///   "waiting": [{"generation": 1, "reason": "StillInUse", "since": "2026-11-08T08:00:30Z",
///                "lastUsed": "2026-11-08T07:00:00Z", "ceiling": "2026-12-08T08:00:04Z"}],
///   "emergency": false, "closed": false}]}
/// ```
///
/// `state`, `generation` and `since` (when it became current) are those of the version that consumers read, and
/// `null` before the first rotation; `versions` counts those that are not destroyed; `rotating`: a candidate is
/// coming in; `rollingBack`: an earlier version is being brought back; `held` names every hold; `waiting`: versions that
/// wait for their last user or for evidence, since when, and when they are no longer waited for; `emergency`: an emergency
/// is open; `closed`: its secret is gone for good.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListView {
    as_of: Time,
    credentials: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: CredentialName,
    kind: Option<String>,
    state: Option<&'static str>,
    generation: Option<u32>,
    since: Option<Time>,
    versions: usize,
    rotating: bool,
    rolling_back: bool,
    held: Vec<&'static str>,
    waiting: Vec<Waiting>,
    emergency: bool,
    closed: bool,
}

/// A version that is kept by its use.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    generation: u32,
    reason: &'static str,
    since: Time,
    last_used: Option<Time>,
    ceiling: Option<Time>,
}

impl ListView {
    /// Of secrets with their records.
    pub fn new(credentials: &[Listed], as_of: Time) -> Self {
        Self { as_of, credentials: credentials.iter().map(row).collect() }
    }
}

fn row(Listed { name, kind, records }: &Listed) -> Row {
    let records = records.as_ref();
    let current = records.and_then(Credential::current);
    let holds = records.iter().flat_map(|credential| {
        let versions = credential.versions.values().filter_map(|version| version.held.as_ref());
        credential.head.held.iter().chain(versions).map(|held| held.hold.reason.word())
    });
    let mut held: Vec<_> = holds.collect();
    held.sort_unstable();
    held.dedup();
    let versions = records.iter().flat_map(|credential| credential.versions.values());
    let is_back = |credential: &Credential| credential.candidate().is_some_and(Version::is_coming_back);
    let rolling_back = records.is_some_and(is_back);
    Row {
        name: name.clone(),
        kind: kind.clone(),
        state: current.map(|version| version.state.word()),
        generation: current.map(|version| version.generation),
        since: current.and_then(|version| version.activated),
        versions: records.map_or(0, Credential::live),
        rotating: !rolling_back && records.is_some_and(|credential| credential.head.candidate.is_some()),
        rolling_back,
        held,
        waiting: versions.filter_map(waiting).collect(),
        emergency: records.is_some_and(|credential| credential.head.order.is_some()),
        closed: records.is_some_and(|credential| credential.head.closed.is_some()),
    }
}

fn waiting(version: &Version) -> Option<Waiting> {
    let held = version.held.as_ref().filter(|held| held.hold.reason.is_use())?;
    Some(Waiting {
        generation: version.generation,
        reason: held.hold.reason.word(),
        since: held.since,
        last_used: version.usage.as_ref().and_then(|usage| usage.last_used),
        ceiling: version.ceiling(),
    })
}

impl Row {
    fn state(&self) -> String {
        let state = self.state.unwrap_or(if self.closed { "closed" } else { "unrecorded" });
        match (self.rotating, self.rolling_back) {
            (true, _) => format!("{state}, rotating"),
            (false, true) => format!("{state}, rolling back"),
            (false, false) => state.to_owned(),
        }
    }

    /// What a person should look at. What waits for its last user says since when.
    fn attention(&self) -> String {
        let since = |reason: &str| {
            let since =
                self.waiting.iter().filter(|waiting| waiting.reason == reason).map(|waiting| waiting.since).min();
            since.map_or(String::new(), |since| format!(" since {}", moment(since)))
        };
        let held = self.held.iter().map(|reason| format!("held: {reason}{}", since(reason)));
        listed(held.chain(self.emergency.then(|| "emergency open".to_owned())))
    }
}

impl View for ListView {
    fn page(&self, look: &Look) -> String {
        if self.credentials.is_empty() {
            return "no credentials under management: `rotator adopt --all` shows which API keys could be, `rotator adopt \
                    --kind` takes secrets\n"
                .into();
        }
        table(
            look,
            ["NAME", "KIND", "STATE", "GENERATION", "AGE", "VERSIONS", "ATTENTION"],
            self.credentials.iter().map(|row| {
                [
                    row.name.to_string(),
                    row.kind.clone().unwrap_or_else(dash),
                    row.state(),
                    row.generation.map_or_else(dash, |generation| generation.to_string()),
                    row.since.map_or_else(dash, |since| span(self.as_of - since)),
                    row.versions.to_string(),
                    row.attention(),
                ]
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimens;

    fn view() -> ListView {
        let unminted = CredentialName::parse("partner/unminted").unwrap();
        let (waiting, coming_back) = (specimens::waiting().0, specimens::coming_back().0);
        let credentials = [specimens::signing(), specimens::rotated(), specimens::held(), waiting, coming_back];
        let credentials = credentials.map(|credential| {
            let (name, kind) = (credential.head.name.clone(), credential.head.kind.clone());
            Listed { name, kind: Some(kind), records: Some(credential) }
        });
        let mut all = credentials.to_vec();
        all.push(Listed { name: unminted, kind: Some("webhook-secret".into()), records: None });
        ListView::new(&all, specimens::at(90_000))
    }

    #[test]
    fn the_json() {
        insta::assert_snapshot!(crate::output::json(&view()));
    }

    #[test]
    fn the_page() {
        insta::assert_snapshot!(view().page(&Look::PLAIN));
    }
}
