//! `rotator rotate`

use rotator::engine::Errand;
use rotator::failure::Stopped;
use rotator::rotate::{Compromised, Milestone, Rotated, emergency, on_demand};
use serde::Serialize;
use state::Time;
use state::credential::Credential;
use state::name::{CredentialName, Token};

use super::consent::Consent;
use super::plan::PlanView;
use crate::context::Context;
use crate::output::{Look, Out, View, harmless, listed, moment};
use crate::trouble::{Outcome, Trouble};

/// Rotate a credential now and follow the rotation to its end
///
/// Resumes a rotation that is pending, or begins one. The old key is accepted until its overlap is over, and then refused
/// once nobody uses it, or once its ceiling is over.
///
/// With --emergency, the compromised versions are refused as soon as a new one is current, whoever still uses them. At a
/// terminal it shows what becomes of each version, and asks; --yes skips the question. In a script, without a terminal or
/// with --output json, it asks nothing and goes on.
///
/// Your name stands in the history, with the reason if you say one. Interrupting the command stops nothing: run it again to go on
/// following. Exits with 3 if something holds.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The credential: its secret's name
    name: String,
    /// Refuse the old key as soon as there is a new one, because a stranger knows it
    #[arg(long, requires = "reason")]
    emergency: bool,
    /// Say why, for the history
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
    /// Refuse these versions: their numbers as `rotator show` has them, separated by commas; all; or none, if a key is lost
    #[arg(long, requires = "emergency", value_name = "VERSION|all|none", default_value = "all", value_parser = compromised)]
    compromised: Compromised,
    #[command(flatten)]
    consent: Consent,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    let name = CredentialName::parse(&args.name)?;
    let engine = &context.engine;
    let kind = if args.emergency { Kind::Emergency } else { Kind::OnDemand };
    let about = match kind {
        Kind::OnDemand => format!("could not rotate {name}"),
        Kind::Emergency => format!("the emergency rotation of {name} is not over"),
    };
    // An ordinary rotation refuses nobody: it is planned for whoever wants to see that.
    if args.emergency || args.consent.plan {
        let plan = plan(context, &name, args.emergency.then_some(&args.compromised), out).await?;
        if let Some(outcome) = args.consent.ends(&plan, out)? {
            return Ok(outcome);
        }
    }
    // The arguments see to it that an emergency has a reason.
    let reason = args.reason.unwrap_or_default();
    let note = match kind {
        Kind::Emergency => context.urgent_note(&reason).await,
        Kind::OnDemand => context.note(&reason).await?,
    };
    let errand = Errand { note: Some(&note), ..context.errand() };
    let clock = engine.ports.clock.clone();
    let (mut told, mut printed) = (Vec::new(), Ok(()));
    out.wait_for("looking for holds");
    let mut tell = |milestone: Milestone| {
        let at = clock.now();
        let line = harmless(&milestone.to_string());
        if let Err(error) = out.tell(&format!("{}  {line}", moment(at))) {
            printed = Err(error);
        }
        out.wait_for(&line);
        told.push(MilestoneView { told_at: at, milestone });
    };
    let done = match kind {
        Kind::Emergency => emergency(engine, &name, &args.compromised, &note, &errand, &mut tell).await,
        Kind::OnDemand => on_demand(engine, &name, &errand, &mut tell).await,
    };
    printed?;
    out.show(&RotateView::new(&name, kind, told, done.as_ref().ok()))?;
    done.map(|_| Outcome::Done).map_err(Trouble::stopped(about))
}

/// What would become of each version; of an emergency, `compromised`.
async fn plan(
    context: &Context,
    name: &CredentialName,
    compromised: Option<&Compromised>,
    out: &mut Out<'_>,
) -> Result<PlanView, Trouble> {
    let engine = &context.engine;
    out.wait_for("reading the records");
    let credential = context.records(name).await?.unwrap_or_else(|| Credential::empty(name.clone(), ""));
    let plan = PlanView::rotation(&credential, compromised, context.now());
    let mut plan = plan.map_err(|bad| Trouble::stopped(format!("could not rotate {name}"))(Stopped::Input(bad)))?;
    plan.add_callers(engine).await;
    Ok(plan)
}

pub(crate) fn reason(raw: &str) -> Result<String, String> {
    let reason = raw.trim();
    match reason.chars().count() {
        0 => Err("say why: whoever reads the history needs it".into()),
        1..=1_000 => Ok(reason.to_owned()),
        _ => Err("say it in at most 1,000 characters".into()),
    }
}

fn compromised(raw: &str) -> Result<Compromised, String> {
    if raw == "all" {
        return Ok(Compromised::All);
    }
    // Lost, not leaked: nobody else has it, and what it signed stays good.
    if raw == "none" {
        return Ok(Compromised::Generations(Vec::new()));
    }
    let generations = raw.split(',').map(|part| part.trim().parse().ok().filter(|generation| *generation > 0));
    let generations: Option<Vec<u32>> = generations.collect();
    generations
        .map(Compromised::Generations)
        .ok_or_else(|| "write all, none, or numbers of versions such as 2 or 1,2".into())
}

/// What `rotator rotate` prints.
///
/// ```json
/// {"name": "partner/acme", "kind": "emergency", "done": true, "generation": 3, "unproven": false, "token": "...",
///  "compromised": [2], "milestones": [{"toldAt": "...", "milestone": "promoted", "generation": 3, "at": "..."},
///    {"toldAt": "...", "milestone": "trusted", "generation": 2, "until": "..."}]}
/// ```
///
/// `kind` is `on-demand` or `emergency`. `unproven`: it became current without a request that proved its key. With
/// `done: false`, `generation`, `unproven` and `token` are `null`, and standard error says why. `milestones` is what happened, in order, with what belongs to it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RotateView {
    name: CredentialName,
    kind: Kind,
    done: bool,
    generation: Option<u32>,
    unproven: Option<bool>,
    token: Option<Token>,
    compromised: Vec<u32>,
    milestones: Vec<MilestoneView>,
}

/// Which kind of rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing is wrong: the old version is accepted for its overlap.
    OnDemand,
    /// The old version is refused at once.
    Emergency,
}

/// Something that happened, and when the person heard of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MilestoneView {
    told_at: Time,
    #[serde(flatten)]
    milestone: Milestone,
}

impl RotateView {
    /// Of what was told on the way, and what it came to, if it did.
    pub fn new(name: &CredentialName, kind: Kind, milestones: Vec<MilestoneView>, rotated: Option<&Rotated>) -> Self {
        Self {
            name: name.clone(),
            kind,
            done: rotated.is_some(),
            generation: rotated.map(|rotated| rotated.generation),
            unproven: rotated.map(|rotated| rotated.unproven),
            token: rotated.map(|rotated| rotated.token.clone()),
            compromised: rotated.map(|rotated| rotated.compromised.clone()).unwrap_or_default(),
            milestones,
        }
    }
}

impl View for RotateView {
    /// Only the end: the milestones were told when they happened.
    fn page(&self, _: &Look) -> String {
        let Some(generation) = self.generation else { return String::new() };
        let old = match self.kind {
            Kind::OnDemand if generation == 1 => "it is the first one".into(),
            Kind::OnDemand => "the old key is accepted until its overlap is over".into(),
            Kind::Emergency if self.compromised.is_empty() => {
                "no version was declared compromised, so none is refused before its overlap is over".into()
            }
            Kind::Emergency => format!("compromised versions suspended: {}", listed(&self.compromised)),
        };
        let name = &self.name;
        let unproven = if self.unproven == Some(true) { ", unproven: no request tried its key" } else { "" };
        format!("{name}: generation {generation} is current{unproven}\n  {old}\n  next: rotator show {name}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimens;

    fn view() -> RotateView {
        let name = CredentialName::parse("partner/acme").unwrap();
        let token = Token::parse("00000003-0000-4000-8000-000000000000").unwrap();
        let milestones = [
            Milestone::Ordered { token: token.clone(), compromised: vec![2] },
            Milestone::Begun { token: token.clone() },
            Milestone::Reached { generation: 3, place: "pre-activation/proving".into() },
            Milestone::Promoted { generation: 3, at: specimens::at(4) },
            Milestone::Strange { generation: 3, published: specimens::at(3_000), until: specimens::at(7_000) },
            Milestone::Suspended { generation: 2, at: specimens::at(5) },
            Milestone::Refused { generation: 2, at: specimens::at(6) },
            Milestone::Trusted { generation: 2, until: specimens::at(7_205) },
        ];
        let told = (1..).zip(milestones).map(|(n, milestone)| MilestoneView { told_at: specimens::at(n), milestone });
        let rotated = Rotated { credential: name.clone(), generation: 3, token, compromised: vec![2], unproven: false };
        RotateView::new(&name, Kind::Emergency, told.collect(), Some(&rotated))
    }

    #[test]
    fn a_key_that_nothing_tried_is_called_so() {
        let view = RotateView { kind: Kind::OnDemand, unproven: Some(true), ..view() };
        assert!(view.page(&Look::PLAIN).contains("generation 3 is current, unproven: no request tried its key\n"));
    }

    #[test]
    fn the_json() {
        insta::assert_snapshot!(crate::output::json(&view()));
    }

    #[test]
    fn the_page() {
        insta::assert_snapshot!(view().page(&Look::PLAIN));
    }

    #[test]
    fn an_emergency_without_a_compromised_version_suspends_none() {
        let page = RotateView { compromised: Vec::new(), ..view() }.page(&Look::PLAIN);
        assert!(page.contains("no version was declared compromised") && !page.contains("suspended"), "{page}");
    }

    #[test]
    fn versions_are_read_as_show_writes_them() {
        assert_eq!(compromised("all"), Ok(Compromised::All));
        assert_eq!(compromised("none"), Ok(Compromised::Generations(Vec::new())));
        assert_eq!(compromised("1, 2"), Ok(Compromised::Generations(vec![1, 2])));
        assert!(["", "0", "1,", "some", "-1"].iter().all(|raw| compromised(raw).is_err()));
    }

    #[test]
    fn a_reason_says_something() {
        assert!(reason("  ").is_err() && reason(&"x".repeat(1_001)).is_err());
        assert_eq!(reason(" leaked in a log "), Ok("leaked in a log".into()));
    }
}
