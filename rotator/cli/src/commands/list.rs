//! `rotator list`

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use state::Time;
use state::hold::HoldReason;
use state::name::CredentialName;
use state::summary::{Summary, Waiting};

use crate::context::Context;
use crate::output::{Look, Out, Progress, View, dash, listed, moment, span, table};
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
    let (engine, prefix) = (&context.engine, args.prefix.as_str());
    let tagged = context.read("could not list the secrets", async || Ok(engine.secrets.managed(prefix).await?)).await?;
    // A secret that is deleted is in no list, and its keys may live.
    let recorded = context.read("could not read the table", async || engine.records.heads(prefix).await).await?;
    let mut found: BTreeMap<CredentialName, Found> =
        recorded.into_iter().map(|(name, summary)| (name, Found::Recorded(summary))).collect();
    let tagged = tagged.iter().map(|name| CredentialName::parse(name)).collect::<Result<Vec<_>, _>>()?;
    let is_known = |name: &_| matches!(found.get(name), Some(Found::Recorded(summary)) if !summary.kind.is_empty());
    let others = tagged.into_iter().filter(|name| !is_known(name)).collect::<Vec<_>>();
    let (mut done, of) = (0, others.len());
    let mut others = stream::iter(others).map(|name| read(context, name)).buffered(AT_ONCE);
    while let Some((name, one)) = others.try_next().await? {
        found.insert(name, one);
        done += 1;
        out.progress(Progress::Done { what: "credentials read", done, of });
    }
    let view = ListView::new(found, context.now());
    out.show(&view)?;
    Ok(Outcome::attention_if(view.credentials.iter().any(|row| !row.held.is_empty() || row.emergency)))
}

/// Of a secret that the list of records does not have, because it may be a second behind, or whose kind no version has
/// recorded yet.
async fn read(context: &Context, name: CredentialName) -> Result<(CredentialName, Found), Trouble> {
    let recorded = context.records(&name).await?.map(|credential| credential.summary());
    if let Some(summary) = recorded.as_ref().filter(|summary| !summary.kind.is_empty()) {
        return Ok((name, Found::Recorded(summary.clone())));
    }
    // The list of secrets lags as well: it may be gone by now.
    let wished = context.secret(name.as_str()).await?.and_then(|secret| Some(secret.wishes.ok()?.kind));
    let found = match recorded {
        Some(summary) => Found::Recorded(Summary { kind: wished.unwrap_or_default(), ..summary }),
        None => Found::Tagged(wished),
    };
    Ok((name, found))
}

/// What there is under a name.
#[derive(Clone, Debug)]
pub enum Found {
    /// Records.
    Recorded(Summary),
    /// A secret with a tag `rotator:kind`, which was not rotated yet; its kind, unless its wishes can't be used.
    Tagged(Option<String>),
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
    held: Vec<HoldReason>,
    waiting: Vec<Waiting>,
    emergency: bool,
    closed: bool,
}

impl ListView {
    /// Of what was found, in that order.
    pub fn new(found: impl IntoIterator<Item = (CredentialName, Found)>, as_of: Time) -> Self {
        Self { as_of, credentials: found.into_iter().map(row).collect() }
    }
}

fn row((name, found): (CredentialName, Found)) -> Row {
    let (summary, kind) = match found {
        Found::Recorded(summary) => {
            let kind = Some(summary.kind.clone()).filter(|kind| !kind.is_empty());
            (summary, kind)
        }
        Found::Tagged(kind) => (Summary::default(), kind),
    };
    let current = summary.current.as_ref();
    Row {
        name,
        kind,
        state: current.map(|current| current.state.word()),
        generation: current.map(|current| current.generation),
        since: current.and_then(|current| current.since),
        versions: summary.versions,
        rotating: summary.rotating,
        rolling_back: summary.rolling_back,
        held: summary.held,
        waiting: summary.waiting,
        emergency: summary.emergency,
        closed: summary.closed,
    }
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
        let since = |reason: &HoldReason| {
            let since =
                self.waiting.iter().filter(|waiting| waiting.reason == *reason).map(|waiting| waiting.since).min();
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
        let recorded =
            credentials.map(|credential| (credential.head.name.clone(), Found::Recorded(credential.summary())));
        let tagged = Found::Tagged(Some("webhook-secret".into()));
        ListView::new(recorded.into_iter().chain([(unminted, tagged)]), specimens::at(90_000))
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
