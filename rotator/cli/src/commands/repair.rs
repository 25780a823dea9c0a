//! `rotator repair`

use rotator::engine::Errand;
use rotator::mend::{look, mend};
use serde::Serialize;
use state::drift::{Finding, Scope};
use state::name::CredentialName;

use super::consent::{Consent, Plan, Unasked};
use super::findings::{CredentialView, FindingView, NO_REASON};
use super::rotate::reason;
use crate::context::Context;
use crate::output::{Look, Out, View, harmless, moment};
use crate::trouble::{Outcome, Trouble};

/// Free a stuck rotation: find out why RotateSecret is refused or does not come to its end
///
/// Looks at the labels AWSCURRENT and AWSPENDING, at the versions that hold them, and at what a rotation left behind.
/// Shows what is wrong and what would be done; at a terminal it asks whether to do it, and --yes does it without a
/// question: first outside, then the label. Otherwise nothing is changed. A function that may still be at work is waited
/// for, at most 15 minutes.
///
/// What consumers read is never changed but to what the records have. Exits with 3 if something is left.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The credential: its secret's name
    name: String,
    #[command(flatten)]
    consent: Consent,
    /// Say why, for the history
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    let name = CredentialName::parse(&args.name)?;
    let engine = &context.engine;
    let what = format!("could not examine {name}");
    out.wait_for("comparing the labels with the records");
    let found = look(engine, &name, Scope::Rotation, None, &context.errand()).await;
    let found = found.map_err(Trouble::stopped(what.clone()))?;
    let plan = RepairView::new(CredentialView::planned(&found, context.now()), false);
    if let Some(outcome) = args.consent.ends(&plan, out)? {
        return Ok(outcome);
    }
    let note = context.note(args.reason.as_deref().unwrap_or(NO_REASON)).await?;
    let errand = Errand { note: Some(&note), ..context.errand() };
    let before = found.credential.clone();
    let mut tell = |finding: &Finding| match finding.waits_until(context.now()) {
        Some(until) => out.wait_for(&format!("{}: waiting for its writer until {}", finding.word(), moment(until))),
        None => out.wait_for(&format!("{}: {finding}", finding.word())),
    };
    let mut all = usize::MAX;
    let mended = mend(engine, found, Scope::Rotation, &mut all, &errand, &mut tell).await;
    let mended = CredentialView::mended(mended.map_err(Trouble::stopped(what))?, &before, context.now());
    let view = RepairView::new(mended, true);
    out.show(&view)?;
    Ok(view.outcome())
}

/// What `rotator repair` prints.
///
/// ```json
/// {"applied": false, "name": "partner/acme", "findings": [{"finding": "HalfDone", "about": "generation 3",
///   "what": "...", "by": "service", "remedy": "...", "notBefore": null, "cured": false}],
///  "error": null, "next": "rotator repair partner/acme --yes"}
/// ```
///
/// `applied` is `false` for a plan. `next` is the command with which to go on, `null` where a person must do something
/// else first.
#[derive(Debug, Serialize)]
pub struct RepairView {
    applied: bool,
    #[serde(flatten)]
    credential: CredentialView,
    next: Option<String>,
}

impl RepairView {
    /// Of a plan, or of what was done.
    pub fn new(credential: CredentialView, applied: bool) -> Self {
        let name = &credential.name;
        let is_ours = credential.findings.iter().any(FindingView::is_ours);
        let next = match (credential.left(), is_ours && !applied) {
            _ if credential.error.is_some() => None,
            (0, _) if credential.findings.is_empty() => None,
            (0, _) => Some(format!("rotator rotate {name}")),
            (_, true) => Some(format!("rotator repair {name} --yes")),
            (_, false) => None,
        };
        Self { applied, credential, next }
    }
}

impl Plan for RepairView {
    const UNASKED: Unasked = Unasked::IsShown;

    fn changes(&self) -> bool {
        self.credential.findings.iter().any(FindingView::is_ours)
    }

    fn outcome(&self) -> Outcome {
        self.credential.outcome()
    }
}

impl View for RepairView {
    fn page(&self, _: &Look) -> String {
        let mut page = String::new();
        self.credential.paragraph(&mut page);
        let name = harmless(&self.credential.name);
        page.push_str(&match (self.credential.cured(), self.credential.left()) {
            (0, 0) if self.credential.error.is_none() => format!("{name}: nothing is stuck\n"),
            (0, left) if !self.applied => format!("found {left}; nothing was changed\n"),
            (cured, left) => format!("put right {cured}, left {left}\n"),
        });
        if let Some(next) = &self.next {
            page.push_str(&format!("  to go on: {}\n", harmless(next)));
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use rotator::mend::{Examined, Mended};
    use state::drift::Holds;
    use state::lifecycle::Phase;
    use state::name::Token;

    use super::*;
    use crate::specimens;

    fn examined() -> Examined {
        let credential = specimens::held();
        let token = |n: u32| Token::parse(&format!("{n:08}-0000-4000-8000-000000000000")).unwrap();
        let findings = vec![
            Finding::ForeignValue { generation: 2, carrier: token(9), back_to: token(2) },
            Finding::HalfDone {
                generation: 3,
                token: token(3),
                phase: Phase::Admitting,
                until: Some(specimens::at(80_300)),
            },
            Finding::PendingForeign { token: token(8), holds: Holds::KeyOf(2), since: None },
        ];
        Examined {
            name: credential.head.name.clone(),
            credential,
            findings,
            concerns: state::concern::Concerns::default(),
        }
    }

    fn planned() -> RepairView {
        RepairView::new(CredentialView::planned(&examined(), specimens::at(80_000)), false)
    }

    fn applied() -> RepairView {
        let mut left = examined();
        let cured = left.findings.split_off(1);
        let mended = Mended { name: left.name.clone(), cured, left, stopped: None };
        RepairView::new(CredentialView::mended(mended, &specimens::held(), specimens::at(80_400)), true)
    }

    #[test]
    fn the_json() {
        insta::assert_snapshot!("planned", crate::output::json(&planned()));
        insta::assert_snapshot!("applied", crate::output::json(&applied()));
    }

    #[test]
    fn the_page() {
        insta::assert_snapshot!("page_planned", planned().page(&Look::PLAIN));
        insta::assert_snapshot!("page_applied", applied().page(&Look::PLAIN));
        let nothing = Examined { findings: Vec::new(), ..examined() };
        let nothing = RepairView::new(CredentialView::planned(&nothing, specimens::at(80_000)), false);
        insta::assert_snapshot!("page_nothing", nothing.page(&Look::PLAIN));
        assert_eq!((planned().outcome(), nothing.outcome()), (Outcome::Attention, Outcome::Done));
    }
}
