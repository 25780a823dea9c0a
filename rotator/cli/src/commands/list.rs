//! `rotator list`

use futures::{StreamExt, TryStreamExt, stream};
use rotator::failure::{BadInput, Failure};
use serde::Serialize;
use state::Time;
use state::credential::Credential;
use state::name::CredentialName;

use crate::context::Context;
use crate::output::{Look, Out, View, dash, span, table};
use crate::trouble::{Outcome, Trouble};

/// How many credentials are read at once.
const AT_ONCE: usize = 16;

/// List every credential under management
///
/// Shows every secret with a tag rotator:kind. One that was created in the last five minutes may be missing.
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
    let names = context.engine.secrets.managed().await.map_err(Trouble::failure("could not list the secrets"))?;
    let names = names.iter().filter(|name| name.starts_with(&args.prefix)).map(|name| CredentialName::parse(name));
    let credentials = stream::iter(names.collect::<Result<Vec<_>, _>>()?)
        .map(|name| read(context, name))
        .buffered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    let view = ListView::new(&credentials, context.now());
    out.show(&view)?;
    Ok(Outcome::attention_if(view.credentials.iter().any(|row| !row.held.is_empty() || row.emergency)))
}

async fn read(context: &Context, name: CredentialName) -> Result<Listed, Trouble> {
    let records = context.engine.records.load(&name).await;
    let records = records.map_err(Trouble::failure(format!("could not read the records of {name}")))?;
    let recorded = records.as_ref().map(|credential| credential.head.kind.clone()).filter(|kind| !kind.is_empty());
    let kind = match recorded {
        Some(kind) => Some(kind),
        None => match context.engine.describe(name.as_str()).await {
            Ok(secret) => secret.wishes.ok().map(|wishes| wishes.kind),
            // The list lags: it is gone by now.
            Err(Failure::Input(BadInput::NoSecret(_))) => None,
            Err(failure) => return Err(Trouble::failure(format!("could not read the tags of {name}"))(failure)),
        },
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
///   "since": "2026-11-01T08:00:04Z", "versions": 2, "rotating": false, "held": [], "emergency": false}]}
/// ```
///
/// `state`, `generation` and `since` (when it became current) are those of the version that consumers read, and
/// `null` before the first rotation; `versions` counts those that are not destroyed; `rotating`: a candidate is
/// coming in; `held` names every hold; `emergency`: an emergency is open.
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
    held: Vec<&'static str>,
    emergency: bool,
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
    Row {
        name: name.clone(),
        kind: kind.clone(),
        state: current.map(|version| version.state.word()),
        generation: current.map(|version| version.generation),
        since: current.and_then(|version| version.activated),
        versions: records.map_or(0, Credential::live),
        rotating: records.is_some_and(|credential| credential.head.candidate.is_some()),
        held,
        emergency: records.is_some_and(|credential| credential.head.order.is_some()),
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
                let state = row.state.unwrap_or("unminted");
                let emergency = row.emergency.then_some("emergency open".to_owned());
                let held = row.held.iter().map(|reason| format!("held: {reason}"));
                [
                    row.name.to_string(),
                    row.kind.clone().unwrap_or_else(dash),
                    if row.rotating { format!("{state}, rotating") } else { state.to_owned() },
                    row.generation.map_or_else(dash, |generation| generation.to_string()),
                    row.since.map_or_else(dash, |since| span(self.as_of - since)),
                    row.versions.to_string(),
                    crate::output::listed(held.chain(emergency)),
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
        let credentials = [specimens::signing(), specimens::rotated(), specimens::held()].map(|credential| {
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
