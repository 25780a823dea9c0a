//! `rotator reconcile`

use rotator::engine::Errand;
use rotator::mend::{Examined, Overview, look_at_all, mend, overview};
use serde::Serialize;
use state::Time;
use state::drift::{Finding, Scope};
use state::name::CredentialName;

use super::consent::{Consent, Plan, Unasked};
use super::findings::{CredentialView, FindingView, NO_REASON};
use super::rotate::reason;
use crate::context::Context;
use crate::output::{Look, Out, Progress, View, counted};
use crate::trouble::{Outcome, Trouble};

/// Compare the records with everything else: labels, API keys and their plans, KMS keys, key sets
///
/// Without names, looks at every credential and at every key of the account; keys that nobody rotates are told too.
/// Shows what is wrong and what would be done; at a terminal it asks whether to do it, and --yes does it without a
/// question. Otherwise nothing is changed. Nothing is destroyed that no record and no intent covers.
///
/// Exits with 3 if something is left.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look at these credentials only: their secrets' names
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    consent: Consent,
    /// Put at most so many findings right
    #[arg(long, value_name = "N", default_value_t = 10)]
    max_changes: usize,
    /// Say why, for the history
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    let names = args.names.iter().map(|name| CredentialName::parse(name)).collect::<Result<Vec<_>, _>>()?;
    let (engine, errand) = (&context.engine, context.errand());
    out.wait_for("comparing the records with everything else");
    let mut looking = |done, of| out.progress(Progress::Done { what: "credentials compared", done, of });
    let found = if names.is_empty() {
        overview(&context.paced(), &errand, &mut looking)
            .await
            .map_err(Trouble::stopped("could not look at everything"))?
    } else {
        let (examined, failed) = look_at_all(engine, &names, None, &errand, &mut looking).await;
        Overview { examined, unowned: Vec::new(), failed }
    };
    let unexamined = |name: &CredentialName| Trouble::stopped(format!("could not examine {name}"));
    let failed: Vec<_> = found.failed.into_iter().map(|(name, why)| (unexamined(&name)(why), name)).collect();
    let plan = ReconcileView::planned(&found.examined, &failed, &found.unowned, context.now());
    if let Some(outcome) = args.consent.ends(&plan, out)? {
        return Ok(outcome);
    }
    let note = context.note(args.reason.as_deref().unwrap_or(NO_REASON)).await?;
    let mut view = ReconcileView { applied: true, credentials: Vec::new(), ..plan };
    let mut most = args.max_changes;
    for one in found.examined.into_iter().filter(|one| !one.findings.is_empty()) {
        let (name, before) = (one.name.clone(), one.credential.clone());
        let errand = Errand { note: Some(&note), ..context.errand() };
        let mut tell = |finding: &Finding| out.wait_for(&format!("{name}: {}: {finding}", finding.word()));
        let mended = mend(engine, one, Scope::All, &mut most, &errand, &mut tell).await;
        view.credentials.push(match mended {
            Ok(mended) => CredentialView::mended(mended, &before, context.now()),
            Err(stopped) => CredentialView::failed(name.as_str(), &unexamined(&name)(stopped)),
        });
    }
    view.credentials.extend(failed.iter().map(|(why, name)| CredentialView::failed(name.as_str(), why)));
    out.show(&view)?;
    Ok(view.outcome())
}

/// What `rotator reconcile` prints.
///
/// ```json
/// {"applied": false, "lookedAt": 12, "credentials": [{"name": "partner/acme", "findings": [{"finding": "PlanLost",
///   "about": "key k2, plan p1", "what": "...", "by": "service", "remedy": "...", "notBefore": null, "cured": false}],
///   "error": null}], "keys": []}
/// ```
///
/// `applied` is `false` for a plan. `credentials` are those of which there is something to say; `keys` are findings
/// about keys that belong to no credential.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReconcileView {
    applied: bool,
    looked_at: usize,
    credentials: Vec<CredentialView>,
    keys: Vec<FindingView>,
}

impl ReconcileView {
    /// Of a plan.
    fn planned(examined: &[Examined], failed: &[(Trouble, CredentialName)], unowned: &[Finding], now: Time) -> Self {
        let found = examined.iter().filter(|one| !one.findings.is_empty());
        let found = found.map(|one| CredentialView::planned(one, now));
        let failed = failed.iter().map(|(why, name)| CredentialView::failed(name.as_str(), why));
        Self {
            applied: false,
            looked_at: examined.len(),
            credentials: found.chain(failed).collect(),
            keys: unowned.iter().map(|finding| FindingView::new(finding, None, now, false)).collect(),
        }
    }

    /// How many findings `--yes` would put right.
    fn ours(&self) -> usize {
        self.credentials.iter().flat_map(|one| &one.findings).filter(|finding| finding.is_ours()).count()
    }

    fn left(&self) -> usize {
        self.credentials.iter().map(CredentialView::left).sum::<usize>() + self.keys.len()
    }
}

impl Plan for ReconcileView {
    const UNASKED: Unasked = Unasked::IsShown;

    fn changes(&self) -> bool {
        self.ours() > 0
    }

    fn outcome(&self) -> Outcome {
        let worst = self.credentials.iter().map(CredentialView::outcome).max_by_key(|outcome| match outcome {
            Outcome::Done => 0,
            Outcome::Attention => 1,
            Outcome::BadUsage | Outcome::Failed | Outcome::Interrupted => 2,
        });
        worst.filter(|worst| *worst != Outcome::Done).unwrap_or(Outcome::attention_if(!self.keys.is_empty()))
    }
}

impl View for ReconcileView {
    fn page(&self, _: &Look) -> String {
        let mut page = String::new();
        self.credentials.iter().for_each(|one| one.paragraph(&mut page));
        if !self.keys.is_empty() {
            page.push_str("keys of no credential\n");
            self.keys.iter().for_each(|finding| finding.paragraph(&mut page));
        }
        let looked_at = counted(self.looked_at, "credential");
        let left = self.left();
        let ours = self.ours();
        let cured: usize = self.credentials.iter().map(CredentialView::cured).sum();
        if self.looked_at == 0 && self.credentials.is_empty() && self.keys.is_empty() {
            page.push_str("no credentials under management yet, so nothing was compared: `rotator adopt` takes them\n");
            return page;
        }
        page.push_str(&match (self.applied, cured + left) {
            (_, 0) => format!("looked at {looked_at}; everything is as the records say\n"),
            (true, _) if ours > 0 => {
                format!(
                    "looked at {looked_at}; put right {cured}, left {left}: run the same command again for the rest\n"
                )
            }
            (true, _) => format!("looked at {looked_at}; put right {cured}, left {left}\n"),
            (false, _) if ours > 0 => {
                format!("looked at {looked_at}; found {left}; nothing was changed: --yes puts {ours} right\n")
            }
            (false, _) => format!("looked at {looked_at}; found {left}; nothing was changed\n"),
        });
        page
    }
}

#[cfg(test)]
mod tests {
    use rotator::failure::Stopped;
    use rotator::mend::Mended;
    use state::drift::Owner;

    use super::*;
    use crate::specimens;

    fn examined() -> Examined {
        let credential = specimens::rotated();
        let findings = vec![
            Finding::PlanLost { generation: 2, id: "k2".into(), plan: "p1".into() },
            Finding::PlanAdded { generation: 2, id: "k2".into(), plan: "p9".into() },
            Finding::Stranger { id: "k7".into(), claims: "partner/acme".into() },
        ];
        Examined {
            name: credential.head.name.clone(),
            credential,
            findings,
            concerns: state::concern::Concerns::default(),
        }
    }

    fn view(applied: bool) -> ReconcileView {
        let now = specimens::at(90_000);
        let unowned = [
            Finding::Unmanaged { id: "k8".into(), name: "\u{1b}[31mshop".into(), owner: None },
            Finding::Unmanaged {
                id: "k9".into(),
                name: "stacked".into(),
                owner: Some(Owner::CloudFormation("shop".into())),
            },
        ];
        let credential = if applied {
            let mut left = examined();
            let cured = left.findings.drain(..1).collect();
            let mended = Mended { name: left.name.clone(), cured, left, stopped: Some(Stopped::OutOfTime(None)) };
            CredentialView::mended(mended, &specimens::rotated(), now)
        } else {
            CredentialView::planned(&examined(), now)
        };
        let keys = unowned.iter().map(|finding| FindingView::new(finding, None, now, false)).collect();
        ReconcileView { applied, looked_at: 12, credentials: vec![credential], keys }
    }

    #[test]
    fn the_json() {
        insta::assert_snapshot!("planned", crate::output::json(&view(false)));
        insta::assert_snapshot!("applied", crate::output::json(&view(true)));
    }

    #[test]
    fn the_page() {
        insta::assert_snapshot!("page_planned", view(false).page(&Look::PLAIN));
        insta::assert_snapshot!("page_applied", view(true).page(&Look::PLAIN));
        let nothing = ReconcileView { looked_at: 1, ..ReconcileView::default() };
        assert_eq!(nothing.page(&Look::PLAIN), "looked at 1 credential; everything is as the records say\n");
        let of_none = ReconcileView::default().page(&Look::PLAIN);
        assert!(of_none.starts_with("no credentials under management yet, so nothing was compared"), "{of_none}");
        assert_eq!(view(false).outcome(), Outcome::Attention);
        assert_eq!((view(true).outcome(), nothing.outcome()), (Outcome::Failed, Outcome::Done));
    }
}
