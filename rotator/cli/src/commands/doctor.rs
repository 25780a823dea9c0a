//! `rotator doctor`

mod account;
mod allowed;
mod functions;
mod owned;

use futures::{StreamExt, stream};
use rotator::aws::secrets::Particulars;
use rotator::doctor::permissions::{Scope, Subject};
use rotator::doctor::{Area, Check, Report, Verdict, asked, credential, herd, refused, retirement};
use serde::Serialize;
use state::Time;
use state::credential::Version;
use state::lifecycle::State;
use state::name::CredentialName;

use crate::aws::iam::Simulator;
use crate::aws::kms::Keys;
use crate::aws::lambda::Functions;
use crate::context::Context;
use crate::output::{Look, Out, View, counted, harmless};
use crate::trouble::{Outcome, Trouble};
use functions::Fleet;

/// How many credentials are looked at at once: API Gateway's control plane takes ten calls a second from everybody.
const AT_ONCE: usize = 4;

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
    let view = examine(context, name.as_ref(), &args.names, &mut |what| out.wait_for(what)).await?;
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
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<DoctorView, Trouble> {
    let doctor = Doctor::new(context, names).await?;
    let mut report = Report::default();
    report.add(doctor.identity());
    progress("looking at the table");
    let table = doctor.table().await;
    report.extend(table.checks);
    progress("looking at the functions");
    let fleet = doctor.fleet(name, &mut report).await;
    progress("asking IAM what the functions may do");
    report.extend(doctor.allowed_always(&fleet).await);
    progress("counting API keys");
    report.add(doctor.quota().await);
    report.extend(doctor.fingerprints().await);
    if !table.holds_records {
        // Whatever else there is to say begins with a record: one line says it all.
        return Ok(DoctorView::new(name, &report, context.now()));
    }
    progress("looking for what is overdue");
    report.add(retirement(&context.engine).await);
    match name {
        Some(name) => {
            progress(&format!("looking at {name}"));
            let checks = doctor.credential(name, &fleet).await.ok_or_else(|| Trouble::NoCredential(name.clone()))?;
            report.extend(checks);
        }
        None => {
            report.add(herd(&context.engine).await);
            doctor.all(&fleet, &mut report, progress).await;
        }
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
        Ok(Self { context, names, lambda, iam, who, scope })
    }

    /// Everything of one credential; `None` when there is neither a secret nor a record.
    async fn credential(&self, name: &CredentialName, fleet: &Fleet) -> Option<Vec<Check>> {
        let examined = credential(&self.context.engine, name, fleet.is_elsewhere()).await;
        let mut checks = examined.checks;
        let is_gone = |check: &Check| check.area == Area::Secret && check.verdict == Verdict::Broken;
        if examined.records.is_none() && examined.secret.is_none() && checks.iter().any(is_gone) {
            return None;
        }
        let Some(secret) = examined.secret else { return Some(checks) };
        let engine = &self.context.engine;
        let particulars = match asked(engine, async || Ok(engine.secrets.particulars(&secret.arn).await?)).await {
            Ok(particulars) => particulars,
            Err(stopped) => {
                checks.push(refused(Area::Secret, "who rotates the secret", &stopped));
                return Some(checks);
            }
        };
        let records = examined.records.as_ref();
        let kind = secret.wishes.as_ref().ok().map(|policy| policy.kind.clone());
        let kind = kind.or_else(|| records.map(|records| records.head.kind.clone())).unwrap_or_default();
        let live = records.iter().flat_map(|records| records.versions.values());
        let live = live.filter(|version| version.state != State::Destroyed);
        let keys = live.filter_map(|version| version.provider.get("id")).filter(|id| id.starts_with("arn:"));
        let encrypted_by = match self.encrypted_by(name, &particulars).await {
            Ok(key) => key,
            Err(check) => {
                checks.push(check);
                None
            }
        };
        let subject = Subject {
            secret: secret.arn.clone(),
            encrypted_by,
            kind: kind.clone(),
            keys: keys.cloned().collect(),
            access_log: secret.wishes.as_ref().ok().and_then(|policy| policy.watch.as_ref()?.access_log.clone()),
        };
        checks.extend(fleet.rotates(name, &particulars));
        checks.extend(self.allowed_for(fleet, name, &subject).await);
        let current = records.and_then(|records| records.current());
        let wishes = secret.wishes.as_ref().ok().or_else(|| current.map(|version| &version.policy));
        let signers = self.signers(fleet, wishes);
        checks.extend(self.owned(&particulars, &kind, current, &signers).await);
        Some(checks)
    }

    /// The key that encrypts a secret, as IAM names it, which does not follow aliases. `None`: AWS's own.
    async fn encrypted_by(&self, name: &CredentialName, particulars: &Particulars) -> Result<Option<String>, Check> {
        let Some(key) = &particulars.encrypted_by else { return Ok(None) };
        if !key.contains("alias/") {
            let Scope { partition, region, account, .. } = &self.scope;
            let of_id = || format!("arn:{partition}:kms:{region}:{account}:key/{key}");
            return Ok(Some(if key.starts_with("arn:") { key.clone() } else { of_id() }));
        }
        let keys = Keys::new(self.context.aws());
        match asked(&self.context.engine, async || Ok(keys.arn(key).await?)).await {
            Ok(Some(arn)) => Ok(Some(arn)),
            Ok(None) => {
                let what = format!("{key} is to encrypt the secret, and there is no such key: no new value can be put");
                let fix = format!("aws secretsmanager update-secret --secret-id {name} --kms-key-id KEY");
                Err(Check::broken(Area::Secret, what, fix))
            }
            Err(stopped) => Err(refused(Area::Permissions, &format!("which key {key} is"), &stopped)),
        }
    }

    /// One line for each credential.
    async fn all(&self, fleet: &Fleet, report: &mut Report, progress: &mut (dyn FnMut(&str) + Send)) {
        let engine = &self.context.engine;
        let names = match asked(engine, async || Ok(engine.secrets.managed("").await?)).await {
            Ok(names) => names,
            Err(stopped) => return report.add(refused(Area::Credential, "the list of secrets", &stopped)),
        };
        let names: Vec<_> = names.iter().filter_map(|name| CredentialName::parse(name).ok()).collect();
        if names.is_empty() {
            report.add(Check::ok(Area::Credential, "no credentials under management yet: `rotator adopt` takes them"));
        }
        let mut looked = stream::iter(&names)
            .map(async |name| (name, self.credential(name, fleet).await))
            .buffered(AT_ONCE)
            .enumerate();
        while let Some((number, (name, checks))) = looked.next().await {
            progress(&format!("looking at the credentials: {} of {}", number + 1, names.len()));
            // The list lags: it may be gone by now.
            report.extend(checks.map(|checks| folded(name, checks)));
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
