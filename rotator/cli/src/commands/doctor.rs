//! `rotator doctor`

mod account;
mod allowed;
mod functions;
mod owned;

use std::collections::BTreeMap;

use account::Provider;
use allowed::Answers;
use futures::{StreamExt, stream};
use rotator::aws::api_keys::{FEW, Listing};
use rotator::aws::secrets::Particulars;
use rotator::doctor::permissions::{Scope, Subject};
use rotator::doctor::{Area, Check, Report, Verdict, asked, credential, herd, refused, retirement};
use serde::Serialize;
use state::Time;
use state::credential::Version;
use state::lifecycle::State;
use state::name::CredentialName;
use tokio::sync::Mutex;

use crate::aws::iam::Simulator;
use crate::aws::kms::Keys;
use crate::aws::lambda::Functions;
use crate::context::Context;
use crate::output::{Look, Out, Progress, View, counted, harmless};
use crate::trouble::{Outcome, Trouble};
use functions::Fleet;

/// How many credentials are looked at at once: API Gateway's control plane takes ten calls a second from everybody.
const AT_ONCE: usize = 4;
/// Of how many credentials IAM is asked at once.
const BATCH: usize = 50;

/// Look at everything that must be true before a rotation can work
///
/// A line for each thing that was looked at: ok, warning or broken, with a command or a setting that mends it, in the order
/// in which to mend them. Changes nothing. Without a name: what all credentials share, then a line for each of them.
///
/// Permissions are asked of IAM's policy simulator, if you may (iam:SimulatePrincipalPolicy). A probe is a real request:
/// three of them count against the quota of the key that is in use.
///
/// Exits with 3 if anything is broken; a warning alone is no reason.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The credential: its secret's name
    pub name: Option<String>,
    #[command(flatten)]
    names: Names,
}

/// What the functions are called.
#[derive(Clone, Debug, clap::Args)]
pub struct Names {
    /// The function `rotation`: its name or ARN [default: the secret's own, or ROTATOR_FUNCTION_ARN, or rotation]
    #[arg(long = "rotation-function", value_name = "FUNCTION")]
    pub rotation: Option<String>,
    /// The function `retirement`: its name or ARN
    #[arg(long = "retirement-function", value_name = "FUNCTION", default_value = "retirement")]
    pub retirement: String,
    /// The function `jwks`: its name or ARN
    #[arg(long = "jwks-function", value_name = "FUNCTION", default_value = "jwks")]
    pub jwks: String,
}

impl Default for Names {
    fn default() -> Self {
        Self { rotation: None, retirement: "retirement".into(), jwks: "jwks".into() }
    }
}

/// Runs the command.
pub async fn run(context: &Context, args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    let name = args.name.as_deref().map(CredentialName::parse).transpose()?;
    let view = examine(context, name.as_ref(), &args.names, &mut |progress| out.progress(progress)).await?;
    out.show(&view)?;
    Ok(Outcome::attention_if(view.verdict == Verdict::Broken))
}

/// Looks at everything, and says of each thing how it is. `progress` is told what is being looked at.
///
/// # Errors
///
/// If nobody says who the person is, or there is neither a secret nor a record of that name. What else can't be looked
/// at is a line of its own.
pub async fn examine(
    context: &Context,
    name: Option<&CredentialName>,
    names: &Names,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<DoctorView, Trouble> {
    let doctor = Doctor::new(context, names).await?;
    let mut report = Report::default();
    report.add(doctor.identity());
    progress(Progress::At("looking at the table"));
    let table = doctor.table().await;
    report.extend(table.checks);
    progress(Progress::At("looking at the functions"));
    let fleet = doctor.fleet(name, &mut report).await;
    progress(Progress::At("asking IAM what the functions may do"));
    let mut answers = Answers::default();
    report.extend(doctor.allowed_always(&fleet, &mut answers).await);
    progress(Progress::At("counting API keys and usage plans"));
    let mut provider = doctor.provider().await;
    report.extend(provider.checks.drain(..));
    report.extend(doctor.fingerprints().await);
    if !table.holds_records {
        // Whatever else there is to say begins with a record: one line says it all.
        return Ok(DoctorView::new(name, &report, context.now()));
    }
    progress(Progress::At("looking for what is overdue"));
    report.add(retirement(&context.engine).await);
    match name {
        Some(name) => {
            progress(Progress::At(&format!("looking at {name}")));
            let looked = doctor.look(name, &fleet).await.ok_or_else(|| Trouble::NoCredential(name.clone()))?;
            let looked = doctor.complete(vec![looked], &fleet, &mut answers).await;
            report.extend(looked.into_iter().flat_map(|looked| looked.checks));
        }
        None => doctor.all(&fleet, provider, &mut answers, &mut report, progress).await,
    }
    Ok(DoctorView::new(name, &report, context.now()))
}

/// Whoever looks, with what it looks through.
struct Doctor<'a> {
    context: &'a Context,
    names: &'a Names,
    lambda: Functions,
    iam: Simulator,
    /// The person's ARN.
    who: String,
    scope: Scope,
    /// The keys behind aliases that were asked for, as IAM names them.
    aliases: Mutex<BTreeMap<String, Result<Option<String>, Check>>>,
}

/// A credential that was looked at.
struct Looked {
    name: CredentialName,
    checks: Vec<Check>,
    /// What permissions are about, if it has a secret.
    subject: Option<Subject>,
}

impl<'a> Doctor<'a> {
    async fn new(context: &'a Context, names: &'a Names) -> Result<Self, Trouble> {
        let who = context.who().await?;
        let part = |n: usize| who.split(':').nth(n).unwrap_or_default().to_owned();
        let config = &context.engine.config;
        let scope = Scope {
            partition: part(1),
            account: part(4),
            region: context.aws().region().map(ToString::to_string).unwrap_or_default(),
            table: config.table.clone(),
            fingerprint_key: config.fingerprint_key.clone(),
        };
        let (lambda, iam) = (Functions::new(context.aws()), Simulator::new(context.aws()));
        Ok(Self { context, names, lambda, iam, who, scope, aliases: Mutex::default() })
    }

    /// Everything of one credential but what IAM allows; `None` when there is neither a secret nor a record.
    async fn look(&self, name: &CredentialName, fleet: &Fleet) -> Option<Looked> {
        let examined = credential(&self.context.engine, name, fleet.is_elsewhere()).await;
        let mut checks = examined.checks;
        let is_gone = |check: &Check| check.area == Area::Secret && check.verdict == Verdict::Broken;
        if examined.records.is_none() && examined.secret.is_none() && checks.iter().any(is_gone) {
            return None;
        }
        let name = name.clone();
        let Some((secret, particulars)) = examined.secret else { return Some(Looked { name, checks, subject: None }) };
        let records = examined.records.as_ref();
        let kind = secret.wishes.as_ref().ok().map(|policy| policy.kind.clone());
        let kind = kind.or_else(|| records.map(|records| records.head.kind.clone())).unwrap_or_default();
        let live = records.iter().flat_map(|records| records.versions.values());
        let live = live.filter(|version| version.state != State::Destroyed);
        let keys = live.filter_map(|version| version.provider.get("id")).filter(|id| id.starts_with("arn:"));
        let encrypted_by = match self.encrypted_by(&name, &particulars).await {
            Ok(key) => key,
            Err(check) => {
                checks.push(check);
                None
            }
        };
        checks.extend(fleet.rotates(&name, &particulars));
        let current = records.and_then(|records| records.current());
        let wishes = secret.wishes.as_ref().ok().or_else(|| current.map(|version| &version.policy));
        let signers = self.signers(fleet, wishes);
        checks.extend(self.owned(&particulars, &kind, current, &signers).await);
        let subject = Subject {
            secret: secret.arn.clone(),
            encrypted_by,
            kind,
            keys: keys.cloned().collect(),
            access_log: secret.wishes.as_ref().ok().and_then(|policy| policy.watch.as_ref()?.access_log.clone()),
        };
        Some(Looked { name, checks, subject: Some(subject) })
    }

    /// The same of some credentials, with what IAM allows.
    async fn complete(&self, mut looked: Vec<Looked>, fleet: &Fleet, answers: &mut Answers) -> Vec<Looked> {
        let subjects = looked.iter().filter_map(|one| Some((&one.name, one.subject.as_ref()?)));
        let allowed = self.allowed_for(fleet, subjects, answers).await;
        let asked = looked.iter_mut().filter(|one| one.subject.is_some());
        asked.zip(allowed).for_each(|(one, checks)| one.checks.extend(checks));
        looked
    }

    /// The key that encrypts a secret, as IAM names it, which does not follow aliases. `None`: AWS's own.
    async fn encrypted_by(&self, name: &CredentialName, particulars: &Particulars) -> Result<Option<String>, Check> {
        let Some(key) = &particulars.encrypted_by else { return Ok(None) };
        if !key.contains("alias/") {
            let Scope { partition, region, account, .. } = &self.scope;
            let of_id = || format!("arn:{partition}:kms:{region}:{account}:key/{key}");
            return Ok(Some(if key.starts_with("arn:") { key.clone() } else { of_id() }));
        }
        // Many secrets share a key: whoever comes second waits for the answer to the first.
        let mut aliases = self.aliases.lock().await;
        let found = match aliases.get(key) {
            Some(known) => known.clone(),
            None => {
                let keys = Keys::new(self.context.aws());
                let found = asked(&self.context.engine, async || Ok(keys.arn(key).await?)).await;
                let found =
                    found.map_err(|stopped| refused(Area::Permissions, &format!("which key {key} is"), &stopped));
                aliases.entry(key.clone()).or_insert(found).clone()
            }
        };
        found?.map(Some).ok_or_else(|| {
            let what = format!("{key} is to encrypt the secret, and there is no such key: no new value can be put");
            let fix = format!("aws secretsmanager update-secret --secret-id {name} --kms-key-id KEY");
            Check::broken(Area::Secret, what, fix)
        })
    }

    /// One line for each credential.
    async fn all(
        &self,
        fleet: &Fleet,
        provider: Provider,
        answers: &mut Answers,
        report: &mut Report,
        progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) {
        let engine = &self.context.engine;
        let roster = match asked(engine, async || Ok(engine.secrets.roster("").await?)).await {
            Ok(roster) => roster,
            Err(stopped) => return report.add(refused(Area::Credential, "the list of secrets", &stopped)),
        };
        report.add(herd(&roster));
        if roster.api_keys > FEW {
            progress(Progress::At("reading which keys are in which usage plans"));
            self.remember(provider).await;
        }
        let names: Vec<_> = roster.names.iter().filter_map(|name| CredentialName::parse(name).ok()).collect();
        if names.is_empty() {
            report.add(Check::ok(Area::Credential, "no credentials under management yet: `rotator adopt` takes them"));
        }
        let looks = stream::iter(&names).map(|name| self.look(name, fleet)).buffered(AT_ONCE).enumerate();
        let mut looks = looks.inspect(|(number, _)| {
            progress(Progress::Done { what: "credentials looked at", done: number + 1, of: names.len() });
        });
        let mut batches = looks.by_ref().map(|(_, looked)| looked).chunks(BATCH);
        while let Some(batch) = batches.next().await {
            // The list lags: some may be gone by now.
            let batch = batch.into_iter().flatten().collect();
            let batch = self.complete(batch, fleet, answers).await;
            report.extend(batch.into_iter().map(|Looked { name, checks, .. }| folded(&name, checks)));
        }
    }

    /// Lets API Gateway tell of all keys and plans at once what each credential would be asked for. If it does not, each
    /// is asked for by itself, and its lines say what could not be seen.
    async fn remember(&self, Provider { keys, plans, .. }: Provider) {
        let (engine, api_keys) = (&self.context.engine, &self.context.engine.api_keys);
        let Some(plans) = plans else { return };
        if let Ok(members) = asked(engine, async || Ok(api_keys.memberships(&plans).await?)).await {
            let keys = keys.into_iter().map(|key| (key.id.clone(), key)).collect();
            let plans = plans.into_iter().map(|plan| (plan.id.clone(), plan)).collect();
            api_keys.remember(Listing { keys, plans, members });
        }
    }
}

/// All lines of a credential in one: the first of the worst, and how many there are.
fn folded(name: &CredentialName, checks: Vec<Check>) -> Check {
    let mut report = Report::default();
    report.extend(checks);
    let verdict = report.verdict();
    let worst = report.checks().iter().find(|check| check.verdict == verdict && check.fix.is_some());
    let Some(Check { what, fix: Some(fix), .. }) = worst else {
        return Check::ok(Area::Credential, format!("{name}: {} ok", report.count(Verdict::Ok)));
    };
    let others = report.count(Verdict::Broken) + report.count(Verdict::Warning) - 1;
    let fix = match others {
        0 => fix.clone(),
        _ => format!("{fix}; `rotator doctor {name}` has {} more", others),
    };
    Check { area: Area::Credential, verdict, what: format!("{name}: {what}"), fix: Some(fix) }
}

/// The id of a version's key at the provider.
fn key_of(version: &Version) -> Option<&str> {
    version.provider.get("id").map(String::as_str)
}

/// What `rotator doctor` prints.
///
/// ```json
/// {"asOf": "2026-11-21T12:00:00Z", "name": "partner/acme", "verdict": "broken", "ok": 17, "warnings": 1, "broken": 1,
///  "checks": [{"area": "function", "verdict": "broken", "what": "...", "fix": "aws lambda ..."}]}
/// ```
///
/// `name` is `null` when everything was looked at; then each credential is one line of the area `credential`. `area` is
/// one of the words of [`Area::word`], `verdict` is `ok`, `warning` or `broken`: on top, the worst of all. `fix` is
/// `null` for what is as it must be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DoctorView {
    as_of: Time,
    name: Option<CredentialName>,
    /// The worst of all.
    pub verdict: Verdict,
    ok: usize,
    warnings: usize,
    broken: usize,
    /// The lines, in the order in which a person would set things right.
    pub checks: Vec<Check>,
}

impl DoctorView {
    /// Of a report; `name`: the credential that was asked for.
    pub fn new(name: Option<&CredentialName>, report: &Report, as_of: Time) -> Self {
        Self {
            as_of,
            name: name.cloned(),
            verdict: report.verdict(),
            ok: report.count(Verdict::Ok),
            warnings: report.count(Verdict::Warning),
            broken: report.count(Verdict::Broken),
            checks: report.checks().to_vec(),
        }
    }
}

impl View for DoctorView {
    fn page(&self, look: &Look) -> String {
        let mut page = String::new();
        for Check { area, verdict, what, fix } in &self.checks {
            page.push_str(&format!("{}  {:<11}  {}\n", marked(*verdict, look), area.word(), harmless(what)));
            if let Some(fix) = fix {
                page.push_str(&format!("         fix: {}\n", harmless(fix)));
            }
        }
        let broken = if self.broken == 0 { "nothing".to_owned() } else { self.broken.to_string() };
        page + &format!("\n{} ok, {}, {broken} broken\n", self.ok, counted(self.warnings, "warning"))
    }
}

fn marked(verdict: Verdict, look: &Look) -> String {
    let word = format!("{:<7}", verdict.word());
    let colour = match verdict {
        Verdict::Ok => 32,
        Verdict::Warning => 33,
        Verdict::Broken => 31,
    };
    if look.colour { format!("\u{1b}[{colour}m{word}\u{1b}[0m") } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimens;

    fn view() -> DoctorView {
        let name = CredentialName::parse("partner/acme").unwrap();
        let mut report = Report::default();
        report.extend([
            Check::warning(Area::Schedule, "rate(30 days) counts from the last rotation", "a cron() says when"),
            Check::broken(
                Area::Function,
                "rotation is stopped after 30 s, too early for a rotation",
                "aws lambda update-function-configuration --function-name rotation --timeout 300",
            ),
            Check::ok(Area::Identity, "arn:aws:iam::111122223333:user/ada in Region eu-west-1"),
            Check::broken(Area::Ownership, "the stack \u{1b}[31mevil owns the key", "give it up"),
        ]);
        DoctorView::new(Some(&name), &report, specimens::at(90_000))
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
    fn a_credential_is_folded_into_its_worst_line() {
        let name = CredentialName::parse("partner/acme").unwrap();
        let fold = |checks: &[Check]| folded(&name, checks.to_vec());
        let ok = Check::ok(Area::Wishes, "fine");
        let warning = Check::warning(Area::Schedule, "hm", "do this");
        let broken = Check::broken(Area::Labels, "oh", "do that");
        assert_eq!(fold(&[ok.clone(), ok.clone()]), Check::ok(Area::Credential, "partner/acme: 2 ok"));
        let alone = fold(&[ok, warning.clone()]);
        assert_eq!(alone, Check::warning(Area::Credential, "partner/acme: hm", "do this"));
        let both = fold(&[warning, broken]);
        let fix = "do that; `rotator doctor partner/acme` has 1 more";
        assert_eq!(both, Check::broken(Area::Credential, "partner/acme: oh", fix));
    }

    #[test]
    fn colour_is_for_terminals() {
        let coloured = view().page(&Look { colour: true, width: None });
        assert!(coloured.starts_with("\u{1b}[32mok"), "{coloured:?}");
        assert!(!view().page(&Look::PLAIN).contains('\u{1b}'));
    }
}
