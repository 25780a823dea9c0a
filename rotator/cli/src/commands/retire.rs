//! `rotator retire`

use rotator::failure::{BadInput, Stopped};
use serde::Serialize;
use state::credential::{Credential, Version};
use state::ledger::Change;
use state::lifecycle::State;
use state::name::CredentialName;

use super::consent::Consent;
use super::plan::PlanView;
use super::rotate::reason;
use crate::context::Context;
use crate::output::{Look, Out, View, moment};
use crate::trouble::{Outcome, Trouble};

/// Let a deactivated version go, whoever still uses it
///
/// For a version that is held as StillInUse or NoEvidence: its key is refused as soon as its overlap is over. Whoever
/// still uses it is locked out, until they read the current value. A signing key is disabled then, and stays in the key
/// set for as long as what it signed may be shown. The reason stands in the history, with your name.
///
/// At a terminal it shows when the key is refused and who still uses it, and asks; --yes skips the question. In a script,
/// without a terminal or with --output json, it asks nothing and goes on.
///
/// Of a key that leaked, nobody waits for the overlap: `rotator rotate --emergency`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The credential: its secret's name
    name: String,
    /// The version: its number as `rotator show` has it
    #[arg(long, value_name = "VERSION")]
    generation: u32,
    /// Say why, for the history
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    #[command(flatten)]
    consent: Consent,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    let (name, generation) = (CredentialName::parse(&args.name)?, args.generation);
    let engine = &context.engine;
    let failed = || Trouble::stopped(format!("could not let generation {generation} of {name} go"));
    out.wait_for("reading the records");
    let credential = read(context, &name).await?;
    let mut plan =
        PlanView::retirement(&credential, deactivated(&credential, generation).map_err(failed())?, context.now());
    plan.add_callers(engine).await;
    if let Some(outcome) = args.consent.ends(&plan, out)? {
        return Ok(outcome);
    }
    let note = context.note(&args.reason).await?;
    // A person may have thought it over for a while.
    let credential = read(context, &name).await?;
    let version = deactivated(&credential, generation).map_err(failed())?;
    if !version.waived {
        let stamp = engine.stamp(&context.errand(), Some(note));
        engine.commit(&credential, Change::Waived { generation }, &stamp).await.map_err(failed())?;
    }
    let refused_from = version.refuse_at();
    out.show(&RetireView { refused_from, name, generation })?;
    Ok(Outcome::Done)
}

async fn read(context: &Context, name: &CredentialName) -> Result<Credential, Trouble> {
    context.records(name).await?.ok_or_else(|| Trouble::NoCredential(name.clone()))
}

fn deactivated(credential: &Credential, generation: u32) -> Result<&Version, Stopped> {
    let version = credential.versions.get(&generation).filter(|version| version.state == State::Deactivated);
    version.ok_or_else(|| {
        let name = &credential.head.name;
        let rule = format!("only a deactivated version waits for its last user; `rotator show {name}` lists them");
        Stopped::Input(BadInput::Argument { what: "--generation", rule })
    })
}

/// What `rotator retire` prints.
///
/// ```json
/// {"name": "partner/acme", "generation": 1, "refusedFrom": "2026-11-21T12:00:00Z"}
/// ```
///
/// `refusedFrom`: the end of its overlap; retirement refuses its key within a minute of that, or of now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetireView {
    name: CredentialName,
    generation: u32,
    refused_from: Option<state::Time>,
}

impl View for RetireView {
    fn page(&self, _: &Look) -> String {
        let from = self.refused_from.map_or_else(|| "the end of its overlap".to_owned(), moment);
        format!("{}: generation {} is refused from {from} on, whoever still uses it\n", self.name, self.generation)
    }
}
