//! `rotator rollback`

use rotator::engine::Errand;
use rotator::failure::Stopped;
use serde::Serialize;
use state::credential::Credential;
use state::decide::{Decision, Goal, Observed, Refusal, decide};
use state::lifecycle::State;
use state::name::CredentialName;
use state::rollback::target;

use super::consent::Consent;
use super::plan::PlanView;
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
/// At a terminal it shows what becomes of both versions, and asks; --yes skips the question. In a script, without a
/// terminal or with --output json, it asks nothing and goes on.
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
    #[command(flatten)]
    consent: Consent,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    let name = CredentialName::parse(&args.name)?;
    let engine = &context.engine;
    out.wait_for("reading the records");
    let read = || async { context.records(&name).await?.ok_or_else(|| Trouble::NoCredential(name.clone())) };
    let before = read().await?;
    let what = format!("could not roll {name} back");
    let refused = |why| Trouble::stopped(what.clone())(Stopped::Refused(why));
    let to = match args.to {
        Some(to) => to,
        None => target(&before).map_err(|why| refused(Refusal::Rollback(why)))?,
    };
    if before.head.current != Some(to) {
        if let Some(why) = refusal(context, &before, to).await {
            return Err(refused(why));
        }
        let mut plan = PlanView::rollback(&before, to);
        plan.add_callers(engine).await;
        if let Some(outcome) = args.consent.ends(&plan, out)? {
            return Ok(outcome);
        }
    }
    let note = context.note(&args.reason).await?;
    let errand = Errand { note: Some(&note), ..context.errand() };
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

/// Why the engine would refuse it. What it would be held by, the records are to tell.
async fn refusal(context: &Context, credential: &Credential, to: u32) -> Option<Refusal> {
    let secret = context.engine.describe(&credential.head.arn).await.ok()?;
    let observed = Observed { secret: Some(secret), ..Observed::default() };
    match decide(&Goal::RollBack(to), credential, &observed, context.now()) {
        Decision::Refuse(why) => Some(why),
        Decision::Look(_)
        | Decision::Perform(_)
        | Decision::Commit(_)
        | Decision::WaitUntil(_)
        | Decision::Hold(..)
        | Decision::Done => None,
    }
}

/// What `rotator rollback` prints.
///
/// ```json
/// {"name": "partner/acme", "current": 1, "was": 2, "stillAccepted": [2]}
/// ```
///
/// `was`: the version that was current before, `null` if it was this one already; `stillAccepted`: versions that are
/// deactivated, and accepted until their overlap is over and nobody uses them, or their ceiling is over.
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
