//! `rotator adopt`

mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use rotator::adoption::{Item, Selection, Terms, Verdict, adopt, plan};
use rotator::failure::{BadInput, Stopped, chain};
use rotator::kinds::api_gateway_key::way_into_a_stage;
use rotator::member::TAG;
use serde::Serialize;
use state::Time;
use state::name::CredentialName;
use state::policy::{Outlook, PREFIX, Timetable};

use super::consent::{Consent, Plan, Unasked};
use super::rotate::reason;
use crate::context::Context;
use crate::output::{Look, Out, Progress, View, counted, harmless, listed, moment, paragraph, table};
use crate::trouble::{ErrorBody, Outcome, Trouble};

/// Take API keys, signing keys and webhook secrets under management
///
/// For API keys (--all, --prefix or --id): creates a secret for each key, with tags that say how it is to be rotated,
/// and a schedule. No key's value changes before its first rotation. A key that is still used after its overlap waits for its
/// last user (rotator:at-ceiling = hold), unless --tag says at-ceiling or ceiling.
///
/// For secrets (--kind with their names): an existing secret keeps its value and its tags, a missing one is created without
/// a key, which its first rotation makes. The key of an API or a webhook may stand under any name: --member says which, or it
/// is found where only one member holds a key that is known.
///
/// Shows the plan; at a terminal it asks whether to do it, and --yes does it without a question. Otherwise nothing is
/// changed. Doing it twice is harmless.
///
/// Exits with 3 if anything is refused.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Take these secrets: their names
    #[arg(
        value_name = "NAME",
        requires = "kind",
        conflicts_with_all = ["all", "prefix", "id"],
        required_if_eq_any = secrets::KINDS.map(|kind| ("kind", kind)),
    )]
    names: Vec<String>,
    /// Begin the secrets' names with this; the rest is the API key's name
    #[arg(long, value_name = "PREFIX", default_value = "api-keys/", conflicts_with = "kind")]
    secret_prefix: String,
    /// Tag the secrets with this wish, for instance overlap=P3D; README.md lists the tags; may be repeated
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = wish)]
    tags: Vec<(String, String)>,
    /// Rotate each credential once a month, on a day and at an hour of its own (spread); all at these times: cron(..) or
    /// rate(..), in UTC, at least four hours apart; or only when somebody asks (none)
    #[arg(long, value_name = "spread|EXPRESSION|none", default_value = "spread", value_parser = timetable)]
    schedule: Timetable,
    /// Encrypt the secrets that are created with this KMS key of yours, an ARN [default: AWS's own for Secrets Manager]
    #[arg(long, value_name = "ARN", value_parser = encryption_key)]
    encryption_key: Option<String>,
    /// Try new API keys here before they are used: API/STAGE/PATH, a GET that needs an API key; may be repeated
    #[arg(long = "probe", value_name = "PROBE", conflicts_with = "kind")]
    probes: Vec<String>,
    /// Read the key of these secrets from this member of their values, or from the whole value: a dot
    #[arg(long, value_name = "MEMBER", requires = "kind", conflicts_with_all = ["all", "prefix", "id"])]
    member: Option<String>,
    /// Say why, for the history
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Take every API key of this account and Region
    #[arg(long)]
    all: bool,
    /// Take the API keys whose name begins with this
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Take the API key with this id
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Take the secrets that are named, for keys of this kind
    #[arg(long, value_name = "KIND", value_parser = secrets::KINDS)]
    kind: Option<String>,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    let tags = wishes(&args)?;
    let function_arn = context.engine.config.function_arn.clone().ok_or_else(|| Trouble::Usage {
        what: "nobody said which function rotates".into(),
        next: "set ROTATOR_FUNCTION_ARN to the ARN of the function `rotation`: the stack has it as an output".into(),
    })?;
    let Args { which, names, secret_prefix, schedule, encryption_key: encrypted_by, reason, consent, .. } = args;
    let reason = reason.unwrap_or_default();
    let selection = match (which.kind, which.prefix, which.id) {
        (Some(kind), _, _) => {
            let names = names.iter().map(|name| CredentialName::parse(name)).collect::<Result<Vec<_>, _>>()?;
            let terms = rotator::adoption::secrets::Terms { kind, tags, schedule, encrypted_by, function_arn };
            return secrets::run(context, &names, &terms, consent, &reason, out).await;
        }
        (None, Some(prefix), _) => Selection::Prefix(prefix),
        (None, None, Some(id)) => Selection::Id(id),
        (None, None, None) => Selection::All,
    };
    let terms = Terms { secret_prefix, tags, schedule, encrypted_by, function_arn };
    out.wait_for("reading API keys and usage plans");
    let mut looking = |done, of| out.progress(Progress::Done { what: "keys looked at", done, of });
    let items = plan(&context.engine, &selection, &terms, &context.errand(), &mut looking).await;
    let items = items.map_err(unplanned)?;
    if let (Selection::Id(id), true) = (&selection, items.is_empty()) {
        return Err(Trouble::Other {
            what: format!("there is no API key {} in this account and Region", harmless(id)),
            next: "`aws apigateway get-api-keys` lists them with their ids".into(),
            source: None,
        });
    }
    let mut view = AdoptView::planned(&items, &terms.schedule);
    if let Some(outcome) = consent.ends(&view, out)? {
        return Ok(outcome);
    }
    let note = context.note(&reason).await?;
    let todo: Vec<_> = items.iter().enumerate().filter(|(_, item)| item.verdict == Verdict::Adopt).collect();
    for (done, (place, item)) in todo.iter().enumerate() {
        out.progress(Progress::Done { what: "keys adopted", done, of: todo.len() });
        let done = adopt(&context.engine, item, &terms, &context.errand(), Some(&note)).await;
        let over = matches!(done, Err(Stopped::OutOfTime(_)));
        view.finish(*place, done.map_err(Trouble::stopped(format!("could not adopt {}", item.key.id))));
        if over {
            break;
        }
    }
    view.applied = true;
    out.show(&view)?;
    Ok(view.outcome())
}

/// What is said of keys without a schedule.
const ON_DEMAND: &str = "no schedule: no key is replaced before somebody runs `rotator rotate`\n";

/// What is ahead of a key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OutlookView {
    first_rotation: Time,
    refused_from: Time,
    refused_by: Option<Time>,
}

impl From<Outlook> for OutlookView {
    fn from(Outlook { rotates, refused_from, refused_by }: Outlook) -> Self {
        Self { first_rotation: rotates, refused_from, refused_by }
    }
}

impl OutlookView {
    /// When it rotates first, and when today's key is refused.
    fn page(&self, whose: &str, one: &str) -> String {
        paragraph(0, &format!("first rotation: {}", moment(self.first_rotation)))
            + &paragraph(0, &self.refusal(whose, one))
    }

    fn refusal(&self, whose: &str, one: &str) -> String {
        let from = moment(self.refused_from);
        let end = match self.refused_by {
            None => format!(
                "from {from} on, once nobody uses them; while somebody does, {one} waits for a person's word \
                 (rotator:at-ceiling=hold)"
            ),
            Some(by) if by == self.refused_from => format!("at {from}, whoever uses them"),
            Some(by) => format!("from {from} on, once nobody uses them, and at the latest at {}", moment(by)),
        };
        format!("{whose} will be refused {end}")
    }
}

/// The same of many keys. They are adopted on the same terms, and differ only in when they rotate.
fn ahead_of_all(outlooks: &[&OutlookView]) -> Option<String> {
    let first = outlooks.iter().min_by_key(|outlook| outlook.first_rotation)?;
    let last = outlooks.iter().max_by_key(|outlook| outlook.first_rotation)?;
    if first.first_rotation == last.first_rotation {
        return Some(first.page("today's keys", "a key"));
    }
    let (from, to) = (moment(first.first_rotation), moment(last.first_rotation));
    let each = format!("first rotations: from {from} to {to}, each key on a day and at an hour of its own");
    Some(paragraph(0, &each) + &paragraph(0, &format!("of the first, {}", first.refusal("today's key", "it"))))
}

/// The wishes on the command line, without `rotator:`.
fn wishes(args: &Args) -> Result<BTreeMap<String, String>, Trouble> {
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    let probe = (!args.probes.is_empty()).then(|| ("probe".to_owned(), args.probes.join(" ")));
    let member = args.member.clone().map(|member| (TAG.to_owned(), member));
    for (name, value) in args.tags.iter().cloned().chain(probe).chain(member) {
        if let Some(before) = tags.insert(name.clone(), value) {
            return Err(Trouble::Usage {
                what: format!("{name} is given twice"),
                next: format!("give it once: its first value was {before:?}"),
            });
        }
    }
    Ok(tags)
}

/// Terms that can't be met were written on the command line.
fn unplanned(stopped: Stopped) -> Trouble {
    match stopped {
        Stopped::Refused(_) | Stopped::Input(BadInput::Tag { .. }) => Trouble::Usage {
            what: format!("could not plan the adoption: {}", chain(&stopped)),
            next: "correct --tag, --probe or --schedule; nothing was changed".into(),
        },
        Stopped::Held(_) | Stopped::Input(_) | Stopped::OutOfTime(_) | Stopped::Failed(_) | Stopped::Illegal(_) => {
            Trouble::stopped("could not plan the adoption")(stopped)
        }
    }
}

fn timetable(raw: &str) -> Result<Timetable, Infallible> {
    Ok(match raw {
        "spread" => Timetable::Spread,
        "none" => Timetable::OnDemand,
        together => Timetable::Together(together.to_owned()),
    })
}

/// An alias may move, and a secret that is there is compared with what is asked for: so only an ARN.
fn encryption_key(raw: &str) -> Result<String, String> {
    match raw.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", _, "kms", _, _, key] if key.strip_prefix("key/").is_some_and(|id| !id.is_empty()) => Ok(raw.to_owned()),
        _ => Err("write the key's ARN, as in arn:aws:kms:eu-west-1:111122223333:key/1234abcd-...".into()),
    }
}

fn wish(raw: &str) -> Result<(String, String), String> {
    let (name, value) = raw.split_once('=').ok_or("write NAME=VALUE, for instance overlap=P3D")?;
    let name = name.trim();
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    match name {
        "" => Err("the name before = is missing".into()),
        "kind" => Err("keys are of the kind api-gateway-key; of secrets, --kind says it".into()),
        name => Ok((name.to_owned(), value.trim().to_owned())),
    }
}

/// What `rotator adopt` prints for API keys.
///
/// ```json
/// {"applied": false, "adopted": 0, "schedule": "spread", "keys": [{
///   "id": "k1a2b3", "name": "acme", "secret": "api-keys/acme", "plans": ["p1x2y3"], "stages": ["a1b2c3/prod"],
///   "tags": {"rotator:kind": "api-gateway-key"}, "schedule": "cron(0 17 12 * ? *)",
///   "outlook": {"firstRotation": "...", "refusedFrom": "...", "refusedBy": null},
///   "verdict": "adopt", "why": null, "remedy": null, "adopted": false, "error": null}]}
/// ```
///
/// `applied` is `false` for a plan. `schedule` is `spread`, the one that all keys have, or null if nothing is to rotate by
/// itself; a key's is its own. `outlook`: when the key is replaced
/// first, from when on it is refused if nobody uses it, and when at the latest: null, if never while it is used; the whole is
/// null without a schedule, and where nothing is adopted. `stages` are those of its plans: without any, nobody can use
/// the key. `verdict` is `adopt`, `managed` (it is already) or `refused`, then
/// with `why` and `remedy`. `error` has `kind`, `message` and `next`, as errors on standard error have.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdoptView {
    applied: bool,
    adopted: usize,
    schedule: Option<String>,
    keys: Vec<KeyView>,
    #[serde(skip)]
    failed: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyView {
    id: String,
    name: String,
    secret: CredentialName,
    plans: Vec<String>,
    stages: BTreeSet<String>,
    tags: BTreeMap<String, String>,
    schedule: Option<String>,
    outlook: Option<OutlookView>,
    verdict: &'static str,
    why: Option<String>,
    remedy: Option<String>,
    adopted: bool,
    error: Option<ErrorBody>,
}

impl AdoptView {
    /// What would be done.
    pub fn planned(items: &[Item], timetable: &Timetable) -> Self {
        let schedule = match timetable {
            Timetable::OnDemand => None,
            Timetable::Together(expression) => Some(expression.clone()),
            Timetable::Spread => Some("spread".into()),
        };
        let keys = items.iter().map(KeyView::planned).collect();
        Self { applied: false, adopted: 0, schedule, keys, failed: false }
    }

    fn finish(&mut self, place: usize, done: Result<(), Trouble>) {
        match done {
            Ok(()) => {
                self.adopted += 1;
                self.keys[place].adopted = true;
            }
            Err(trouble) => {
                self.failed |= trouble.outcome() != Outcome::Attention;
                self.keys[place].error = Some((&trouble).into());
            }
        }
    }
}

impl Plan for AdoptView {
    const UNASKED: Unasked = Unasked::IsShown;

    fn changes(&self) -> bool {
        self.keys.iter().any(|key| key.word() == "adopt")
    }

    fn outcome(&self) -> Outcome {
        let refused = self.keys.iter().any(|key| key.verdict == "refused" || key.error.is_some());
        if self.failed { Outcome::Failed } else { Outcome::attention_if(refused) }
    }
}

impl KeyView {
    fn planned(item: &Item) -> Self {
        let (verdict, why, remedy) = match &item.verdict {
            Verdict::Adopt => ("adopt", None, None),
            Verdict::Managed => ("managed", None, None),
            Verdict::Refused { why, remedy } => ("refused", Some(why.clone()), Some(remedy.clone())),
        };
        Self {
            id: item.key.id.clone(),
            name: item.key.name.clone(),
            secret: item.secret.clone(),
            plans: item.plans.clone(),
            stages: item.stages.clone(),
            tags: item.tags.clone(),
            schedule: item.schedule.clone(),
            outlook: item.outlook.map(OutlookView::from),
            verdict,
            why,
            remedy,
            adopted: false,
            error: None,
        }
    }

    /// Whether it is, or is to be, under management, and nobody can use it.
    fn is_nowhere(&self) -> bool {
        self.stages.is_empty() && ["adopt", "adopted", "managed"].contains(&self.word())
    }

    fn word(&self) -> &'static str {
        match (self.adopted, &self.error) {
            (true, _) => "adopted",
            (false, Some(_)) => "failed",
            (false, None) => self.verdict,
        }
    }
}

impl View for AdoptView {
    fn page(&self, look: &Look) -> String {
        if self.keys.is_empty() {
            return "no API key has such a name: `aws apigateway get-api-keys` lists them all\n".into();
        }
        let mut page = table(
            look,
            ["KEY", "ID", "PLANS", "SECRET", "PROBE", "RESULT"],
            self.keys.iter().map(|key| {
                [
                    key.name.clone(),
                    key.id.clone(),
                    listed(&key.plans),
                    key.secret.to_string(),
                    key.tags.get("rotator:probe").cloned().unwrap_or_default(),
                    key.word().to_owned(),
                ]
            }),
        );
        page.push('\n');
        for key in &self.keys {
            let trouble = key.error.as_ref().map(|error| (&error.message, error.next.as_ref()));
            let refusal = key.why.as_ref().map(|why| (why, key.remedy.as_ref()));
            let nowhere = ("warning: it is in no stage, so nobody can use it".to_owned(), way_into_a_stage(&key.id));
            let warning = key.is_nowhere().then_some((&nowhere.0, Some(&nowhere.1)));
            if let Some((why, next)) = trouble.or(refusal).or(warning) {
                page.push_str(&harmless(&format!("{} ({}): {why}", key.name, key.id)));
                page.push('\n');
                if let Some(next) = next {
                    page.push_str(&format!("  next: {}\n", harmless(next)));
                }
            }
        }
        let count = |word| self.keys.iter().filter(|key| key.word() == word).count();
        let (refused, managed) = (count("refused"), count("managed"));
        let is_unproven = |key: &&KeyView| {
            ["adopt", "adopted"].contains(&key.word())
                && !key.is_nowhere()
                && key.tags.get("rotator:probe").is_some_and(|probe| probe == "none")
        };
        let ahead = self.keys.iter().filter(|key| ["adopt", "adopted"].contains(&key.word()));
        let outlooks: Vec<&OutlookView> = ahead.clone().filter_map(|key| key.outlook.as_ref()).collect();
        match (ahead_of_all(&outlooks), &self.schedule) {
            (Some(page_of_all), _) => page.push_str(&page_of_all),
            (None, None) if ahead.count() > 0 => page.push_str(ON_DEMAND),
            (None, _) => {}
        }
        let unproven = self.keys.iter().filter(is_unproven).count();
        if unproven > 0 {
            let keys = counted(unproven, "key");
            page.push_str(&format!("{keys} without a probe: the new keys will go into use unproven\n"));
        }
        page.push_str(&if self.applied {
            let (failed, left) = (count("failed"), count("adopt"));
            let left = if left > 0 { format!(", {left} not begun: run the same command again") } else { String::new() };
            format!("adopted {}, already managed {managed}, refused {refused}, failed {failed}{left}\n", self.adopted)
        } else {
            let next = if count("adopt") > 0 { ": --yes does it" } else { "" };
            format!(
                "to adopt {}, already managed {managed}, refused {refused}; nothing was changed{next}\n",
                count("adopt")
            )
        });
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Cli;
    use clap::Parser;
    use rotator::aws::api_keys::ApiKey;
    use state::hold::{Hold, HoldReason};

    use crate::specimens::at;

    fn items() -> Vec<Item> {
        let refused =
            Verdict::Refused { why: "the CloudFormation stack shop owns it".into(), remedy: "retain it first".into() };
        [
            ("acme", "k1", Verdict::Adopt),
            ("\u{1b}[31mglobex\u{202e}", "k2", Verdict::Adopt),
            ("initech", "k3", Verdict::Managed),
            ("shop", "k4", refused),
        ]
        .map(|(name, id, verdict)| Item {
            key: ApiKey { id: id.into(), name: name.into(), enabled: true, ..ApiKey::default() },
            secret: CredentialName::parse(&format!("api-keys/{id}")).unwrap(),
            plans: vec!["p1x2y3".into()],
            stages: ["a1b2c3/prod".to_owned()].into(),
            tags: [("kind", "api-gateway-key"), ("probe", "a1b2c3/prod/ping")]
                .map(|(name, value)| (format!("rotator:{name}"), value.to_owned()))
                .into(),
            schedule: Some("cron(0 8 1 * ? *)".into()),
            outlook: (verdict == Verdict::Adopt).then(|| Outlook {
                rotates: at(0),
                refused_from: at(604_800),
                refused_by: None,
            }),
            verdict,
        })
        .to_vec()
    }

    fn schedule() -> &'static Timetable {
        &Timetable::Spread
    }

    #[test]
    fn what_is_ahead_of_a_key_is_said_as_it_is() {
        let said = |refused_by| {
            OutlookView { first_rotation: at(0), refused_from: at(604_800), refused_by }.page("today's keys", "a key")
        };
        assert!(said(None).contains("waits for a person's word"));
        assert!(said(Some(at(604_800))).contains("whoever uses them"));
        assert!(said(Some(at(3_196_800))).contains("at the latest at"));
        let unscheduled: Vec<Item> = items().into_iter().map(|item| Item { outlook: None, ..item }).collect();
        let page = AdoptView::planned(&unscheduled, &Timetable::OnDemand).page(&Look::PLAIN);
        assert!(page.contains("no schedule: no key is replaced before"), "{page}");
    }

    fn applied() -> AdoptView {
        let mut view = AdoptView::planned(&items(), schedule());
        view.applied = true;
        view.finish(0, Ok(()));
        let hold = Hold::new(HoldReason::Denied, "the role lacks secretsmanager:CreateSecret on api-keys/k2");
        view.finish(1, Err(Trouble::stopped("could not adopt k2")(Stopped::Held(hold))));
        view
    }

    #[test]
    fn the_json() {
        insta::assert_snapshot!("planned", crate::output::json(&AdoptView::planned(&items(), schedule())));
        insta::assert_snapshot!("applied", crate::output::json(&applied()));
    }

    #[test]
    fn the_page() {
        insta::assert_snapshot!("page_planned", AdoptView::planned(&items(), schedule()).page(&Look::PLAIN));
        insta::assert_snapshot!("page_applied", applied().page(&Look::PLAIN));
    }

    #[test]
    fn a_key_that_works_nowhere_is_said_to() {
        let mut items = items();
        items[0].stages.clear();
        let page = AdoptView::planned(&items, schedule()).page(&Look::PLAIN);
        assert!(
            page.contains("acme (k1): warning: it is in no stage, so nobody can use it\n  next: put it into"),
            "{page}"
        );
        assert_eq!(page.matches("in no stage").count(), 1, "{page}");
    }

    #[test]
    fn a_script_sees_refusals_and_failures() {
        assert_eq!(AdoptView::planned(&items()[..3], schedule()).outcome(), Outcome::Done);
        assert_eq!(AdoptView::planned(&items(), schedule()).outcome(), Outcome::Attention);
        let mut failed = applied();
        let why = Stopped::OutOfTime(None);
        failed.finish(1, Err(Trouble::stopped("could not adopt k2")(why)));
        assert_eq!(failed.outcome(), Outcome::Failed);
    }

    #[test]
    fn keys_and_secrets_are_not_named_in_one_breath() {
        for bad in [
            &["--all", "orders/issuer"][..],
            &["--kind", "kms-signing-key"],
            &["--all", "--member", "api_key"],
            &["--kind", "webhook-secret", "x", "--probe", "a/b/c"],
            &["--kind", "webhook-secret", "x", "--secret-prefix", "y"],
            &["orders/issuer"],
            &[],
        ] {
            let error = Cli::try_parse_from(["rotator", "adopt"].iter().chain(bad)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad:?}: {error}");
        }
    }

    #[test]
    fn wishes_are_read_with_and_without_their_prefix() {
        assert_eq!(wish("overlap=P3D"), Ok(("overlap".into(), "P3D".into())));
        assert_eq!(wish("rotator:overlap = P3D"), Ok(("overlap".into(), "P3D".into())));
        assert!(wish("overlap").is_err() && wish("=P3D").is_err() && wish("kind=x").is_err());
    }
}
