//! `rotator rollback`

use serde::Serialize;
use state::decide::{Goal, Refusal};
use state::lifecycle::State;
use state::name::CredentialName;
use state::rollback::target;

use super::rotate::reason;
use crate::context::Context;
use crate::output::{Look, Out, View};
use crate::trouble::{Outcome, Trouble};

/// Bring an earlier version of a credential back, while it can still be had
///
/// The provider accepts the old key again, a request proves it, and then consumers read it; the version that was current
/// is deactivated like any other. The reason stands in the history, with your name.
///
/// What can't come back is refused: a version that is destroyed or compromised, or whose value is gone.
///
/// Interrupting the command stops nothing: run again, it goes on at once; the retirement function brings what was begun
/// to its end half an hour later. Exits with 3 if something holds.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The credential: its secret's name
    name: String,
    /// Bring this version back: its number as `rotator show` has it; by default the youngest before the current one, unless
    /// that was brought back itself
    #[arg(long, value_name = "VERSION")]
    to: Option<u32>,
    /// Say why, for the history
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    let name = CredentialName::parse(&args.name)?;
    let engine = &context.engine;
    out.wait_for("reading the records");
    let read = || async { context.records(&name).await?.ok_or_else(|| Trouble::NoCredential(name.clone())) };
    let before = read().await?;
    let note = context.note(&args.reason).await?;
    let errand = rotator::engine::Errand { note: Some(&note), ..context.errand() };
    let what = format!("could not roll {name} back");
    let to = match args.to {
        Some(to) => to,
        None => target(&before).map_err(|why| {
            Trouble::stopped(what.clone())(rotator::failure::Stopped::Refused(Refusal::Rollback(why)))
        })?,
    };
    out.wait_for(&format!("bringing generation {to} back"));
    engine.run(&name, None, &Goal::RollBack(to), &errand).await.map_err(Trouble::stopped(what))?;
    let after = read().await?;
    let accepted = after.versions.values().filter(|version| version.state == State::Deactivated);
    let view = RollbackView {
        was: before.head.current.filter(|was| *was != to),
        current: after.head.current,
        still_accepted: accepted.map(|version| version.generation).collect(),
        name,
    };
    out.show(&view)?;
    Ok(Outcome::Done)
}

/// What `rotator rollback` prints.
///
/// ```json
/// {"name": "partner/acme", "current": 1, "was": 2, "stillAccepted": [2]}
/// ```
///
/// `was`: the version that was current before, `null` if it was this one already; `stillAccepted`: versions that are
/// deactivated, and accepted until their overlap is over and nobody uses them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RollbackView {
    name: CredentialName,
    current: Option<u32>,
    was: Option<u32>,
    still_accepted: Vec<u32>,
}

impl View for RollbackView {
    fn page(&self, _: &Look) -> String {
        let current = self.current.map_or_else(|| "no version".to_owned(), |current| format!("generation {current}"));
        match self.was {
            Some(was) => format!(
                "{}: {current} is current again; generation {was} is deactivated, and accepted until its overlap is over\n",
                self.name
            ),
            None => format!("{}: {current} is current; --to goes further back\n", self.name),
        }
    }
}
