//! Whether a command may do what its plan says: one way for every command that has a plan.

use std::io;

use crate::output::{Out, View};
use crate::trouble::Outcome;

/// How a person says what is to become of a plan.
///
/// At a terminal each command shows its plan and asks. Where nobody can be asked, [`Plan::UNASKED`] decides.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Consent {
    /// Show what would be done, and change nothing
    #[arg(long, conflicts_with = "yes")]
    pub plan: bool,
    /// Do it without a question
    #[arg(long)]
    pub yes: bool,
}

/// What a command would do.
pub trait Plan: View {
    /// What becomes of it where nobody can be asked.
    const UNASKED: Unasked;

    /// Whether there is anything to be done: if not, nobody is asked.
    fn changes(&self) -> bool;

    /// How a command ends that only shows it.
    fn outcome(&self) -> Outcome;
}

/// What becomes of a plan where nobody can be asked: without a terminal, or with `--output json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// It is done. Whoever wrote the command into a script meant it, and an emergency waits for nobody.
    IsDone,
    /// It is shown, and nothing is changed.
    IsShown,
}

impl Consent {
    /// Shows the plan, asks, and says how the command ends if it ends here; `None`: it goes on.
    pub fn ends<P: Plan>(self, plan: &P, out: &mut Out<'_>) -> io::Result<Option<Outcome>> {
        if out.can_ask() && plan.changes() && !self.plan && !self.yes {
            out.show(plan)?;
            if out.ask("Do it?")? {
                return Ok(None);
            }
            out.tell("nothing was changed")?;
            return Ok(Some(Outcome::Failed));
        }
        match (self.plan, self.yes, P::UNASKED) {
            (true, _, _) | (false, false, Unasked::IsShown) => {
                out.show(plan)?;
                Ok(Some(plan.outcome()))
            }
            (false, _, Unasked::IsDone) => {
                if plan.changes() {
                    out.tell(plan.page(&out.look).trim_end())?;
                }
                Ok(None)
            }
            // Its result tells all that the plan would.
            (false, true, Unasked::IsShown) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;
    use crate::output::{Format, Look};

    #[derive(Serialize)]
    struct Cautious;

    #[derive(Serialize)]
    struct Urgent;

    impl View for Cautious {
        fn page(&self, _: &Look) -> String {
            "the plan\n".into()
        }
    }

    impl View for Urgent {
        fn page(&self, _: &Look) -> String {
            "the plan\n".into()
        }
    }

    impl Plan for Cautious {
        const UNASKED: Unasked = Unasked::IsShown;

        fn changes(&self) -> bool {
            true
        }

        fn outcome(&self) -> Outcome {
            Outcome::Attention
        }
    }

    impl Plan for Urgent {
        const UNASKED: Unasked = Unasked::IsDone;

        fn changes(&self) -> bool {
            true
        }

        fn outcome(&self) -> Outcome {
            Outcome::Done
        }
    }

    const SILENT: Consent = Consent { plan: false, yes: false };
    const YES: Consent = Consent { plan: false, yes: true };
    const ONLY: Consent = Consent { plan: true, yes: false };

    /// How the command ends, and what it printed. `answer`: of a person; `None` in a script.
    fn ends(consent: Consent, plan: &impl Plan, format: Format, answer: Option<&str>) -> (Option<Outcome>, String) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut answers = answer.unwrap_or_default().as_bytes();
        let out = Out::plain(format, &mut stdout, &mut stderr);
        let mut out = if answer.is_some() { out.answered(&mut answers) } else { out };
        let ended = consent.ends(plan, &mut out).unwrap();
        (ended, String::from_utf8(stdout).unwrap())
    }

    #[test]
    fn a_person_is_asked_and_only_a_yes_is_one() {
        for yes in ["y\n", "Yes\n"] {
            assert_eq!(ends(SILENT, &Urgent, Format::Table, Some(yes)), (None, "the plan\nDo it? [y/N] ".into()));
            assert_eq!(ends(SILENT, &Cautious, Format::Table, Some(yes)), (None, "the plan\nDo it? [y/N] ".into()));
        }
        for no in ["", "\n", "n\n", "yessir\n"] {
            let said = "the plan\nDo it? [y/N] nothing was changed\n".to_owned();
            assert_eq!(ends(SILENT, &Urgent, Format::Table, Some(no)), (Some(Outcome::Failed), said));
        }
    }

    #[test]
    fn a_script_is_not_asked() {
        let plan = || "the plan\n".to_owned();
        assert_eq!(ends(SILENT, &Urgent, Format::Table, None), (None, plan()));
        assert_eq!(ends(SILENT, &Cautious, Format::Table, None), (Some(Outcome::Attention), plan()));
        // A program reads one document, and that is the result.
        assert_eq!(ends(SILENT, &Urgent, Format::Json, Some("")), (None, String::new()));
    }

    #[test]
    fn yes_asks_nothing_and_plan_does_nothing() {
        let plan = || "the plan\n".to_owned();
        assert_eq!(ends(YES, &Urgent, Format::Table, Some("")), (None, plan()));
        assert_eq!(ends(YES, &Cautious, Format::Table, Some("")), (None, String::new()));
        for answer in [None, Some("y\n")] {
            assert_eq!(ends(ONLY, &Urgent, Format::Table, answer), (Some(Outcome::Done), plan()));
            assert_eq!(ends(ONLY, &Cautious, Format::Table, answer), (Some(Outcome::Attention), plan()));
        }
        assert_eq!(ends(ONLY, &Urgent, Format::Json, None), (Some(Outcome::Done), "null\n".into()));
    }
}
