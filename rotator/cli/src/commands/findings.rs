//! What is not as the records say, as `rotator repair` and `rotator reconcile` print it.

use rotator::mend::{Examined, Mended};
use serde::Serialize;
use state::Time;
use state::credential::Credential;
use state::drift::{Finding, Remedy};

use crate::output::{harmless, moment};
use crate::trouble::{ErrorBody, Outcome, Trouble};

/// A finding.
///
/// ```json
/// {"finding": "HalfDone", "about": "generation 3", "what": "...", "by": "service", "remedy": "...",
///  "notBefore": "...", "cured": false}
/// ```
///
/// `finding` is its name, and a heading in the runbook. `by` is `service` if `--yes` puts it right, `person` if nothing
/// here may. `notBefore` is until when somebody may still be at work on it, else `null`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingView {
    finding: &'static str,
    about: String,
    what: String,
    by: &'static str,
    remedy: String,
    not_before: Option<Time>,
    cured: bool,
}

impl FindingView {
    /// Of a finding of that credential, or of none.
    pub fn new(finding: &Finding, credential: Option<&Credential>, now: Time, cured: bool) -> Self {
        let remedy = finding.remedy(credential);
        Self {
            finding: finding.word(),
            about: finding.subject(),
            what: finding.to_string(),
            by: match remedy {
                Remedy::Service(_) => "service",
                Remedy::Person(_) => "person",
            },
            remedy: remedy.text().to_owned(),
            not_before: finding.waits_until(now),
            cured,
        }
    }

    /// Whether `--yes` would put it right.
    pub fn is_ours(&self) -> bool {
        self.by == "service" && !self.cured
    }

    /// Its part of a page.
    pub fn paragraph(&self, page: &mut String) {
        page.push_str(&format!("  {}: {}\n", self.finding, harmless(&self.what)));
        let mut line = |label: &str, text: &str| page.push_str(&format!("    {label}: {}\n", harmless(text)));
        match (self.cured, self.by) {
            (true, _) => line("done", &self.remedy),
            (false, "service") => line("--yes", &self.remedy),
            (false, _) => line("by hand", &self.remedy),
        }
        if let Some(at) = self.not_before.filter(|_| !self.cured) {
            line("not before", &format!("{}; its writer may still be at work", moment(at)));
        }
    }
}

/// The findings of one credential.
///
/// ```json
/// {"name": "partner/acme", "findings": [], "error": null}
/// ```
///
/// `error` has `kind`, `message` and `next`, as errors on standard error have.
#[derive(Debug, Serialize)]
pub struct CredentialView {
    /// The credential's name.
    pub name: String,
    /// What is not right, and what was not.
    pub findings: Vec<FindingView>,
    /// Why it could not be looked at, or not be put right.
    pub error: Option<ErrorBody>,
    /// With what that would end a command.
    #[serde(skip)]
    outcome: Outcome,
}

impl CredentialView {
    /// Of a plan.
    pub fn planned(examined: &Examined, now: Time) -> Self {
        let view = |finding| FindingView::new(finding, Some(&examined.credential), now, false);
        Self {
            name: examined.name.to_string(),
            findings: examined.findings.iter().map(view).collect(),
            error: None,
            outcome: Outcome::Done,
        }
    }

    /// Of what was done and what is left. Each cured finding's remedy is told as it was before.
    pub fn mended(mended: Mended, before: &Credential, now: Time) -> Self {
        let Mended { name, cured, left, stopped } = mended;
        let done = cured.iter().map(|finding| FindingView::new(finding, Some(before), now, true));
        let left_view = |finding| FindingView::new(finding, Some(&left.credential), now, false);
        let findings = done.chain(left.findings.iter().map(left_view)).collect();
        let trouble = stopped.map(Trouble::stopped(format!("could not put {name} right")));
        let outcome = trouble.as_ref().map_or(Outcome::Done, Trouble::outcome);
        Self { name: name.to_string(), findings, error: trouble.as_ref().map(ErrorBody::from), outcome }
    }

    /// Of one that could not be looked at, or not to the end.
    pub fn failed(name: &str, trouble: &Trouble) -> Self {
        Self { name: name.to_owned(), findings: Vec::new(), error: Some(trouble.into()), outcome: trouble.outcome() }
    }

    /// How a command about it ends: what is held, or left, is a person's.
    pub fn outcome(&self) -> Outcome {
        match self.outcome {
            Outcome::Done => Outcome::attention_if(self.left() > 0),
            other @ (Outcome::Attention | Outcome::BadUsage | Outcome::Failed | Outcome::Interrupted) => other,
        }
    }

    /// How many findings were put right.
    pub fn cured(&self) -> usize {
        self.findings.iter().filter(|finding| finding.cured).count()
    }

    /// How many are left.
    pub fn left(&self) -> usize {
        self.findings.len() - self.cured()
    }

    /// Its part of a page; nothing if there is nothing to say.
    pub fn paragraph(&self, page: &mut String) {
        if self.findings.is_empty() && self.error.is_none() {
            return;
        }
        page.push_str(&format!("{}\n", harmless(&self.name)));
        self.findings.iter().for_each(|finding| finding.paragraph(page));
        if let Some(error) = &self.error {
            page.push_str(&format!("  failed: {}\n", harmless(&error.message)));
            if let Some(next) = &error.next {
                page.push_str(&format!("    next: {}\n", harmless(next)));
            }
        }
    }
}

/// What stands in the history when a person says nothing.
pub const NO_REASON: &str = "";
