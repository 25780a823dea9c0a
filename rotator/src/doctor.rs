//! What must be true before a rotation can work, one line for each thing that was looked at.
//!
//! What is asked here needs no more than the rotation function's own role. [`Preflight`] is what `testSecret` runs when
//! only the configuration is tested; [`credential`] puts beside it what the records, the labels and the tags tell. What
//! only an operator may ask is asked by the command line. Nothing here changes anything, but a probe is a real request:
//! three of them count against the quota of the key that is in use.

pub mod permissions;
mod report;

use chrono::TimeDelta;
use state::Time;
use state::credential::{Credential, Proof, Version};
use state::decide::{AWSCURRENT, AWSPENDING, Secret};
use state::hold::{Held, Hold, HoldReason};
use state::name::{CredentialName, Token};
use state::period::Period;
use state::policy::{BadPolicy, Policy, Timetable};
use state::standby::too_young;

pub use report::{Area, Check, Report, Verdict};

use crate::aws::records::DUE_BUCKETS;
use crate::aws::secrets::{Particulars, Roster};
use crate::engine::Engine;
use crate::failure::{BadInput, Failure, Fault, Stopped, chain};
use crate::kind::{Case, Facts, Kind, Sight};
use crate::kinds::api_gateway_key::way_into_a_stage;
use crate::member::Member;
use crate::patience::patiently;
use crate::secret::SecretValue;

/// How long a question that gets no clear answer is asked again.
const PATIENCE: TimeDelta = TimeDelta::seconds(30);
/// How late retirement may be: it runs every minute, and one run may take as long as a function may.
const LATE: TimeDelta = TimeDelta::minutes(15);
/// How many overdue credentials of each bucket are looked at: one is enough to know.
const SAMPLE: i32 = 10;
/// How long AWS's caching libraries keep a value when nobody tells them otherwise, says the AWS documentation.
const USUAL_CACHE: Period = Period::hours(1);

/// A configuration that is tested: whether the owner's wishes can be met for the next key, and whether the present one
/// gets through where a made-up one does not. It leaves no trace.
#[derive(Debug)]
pub struct Preflight<'a> {
    credential: &'a Credential,
    policy: &'a Policy,
    kind: &'a dyn Kind,
    now: Time,
    document: Option<SecretValue>,
    has_key: bool,
    /// Where its key stands in the value once more, for names of members that the service does not rotate.
    copies: Vec<String>,
    facts: Option<Facts>,
}

impl<'a> Preflight<'a> {
    /// Reads the present value, and whose key is in it.
    pub async fn begin(
        engine: &'a Engine,
        credential: &'a Credential,
        secret: &Secret,
        policy: &'a Policy,
    ) -> Result<Self, Failure> {
        let kind = engine.kind(&policy.kind)?;
        let holder = secret.holder(AWSCURRENT);
        let document = match holder {
            Some(carrier) => engine.secrets.value(&credential.head.arn, carrier).await?,
            None => None,
        };
        let form = credential.current().map_or(policy, |version| &version.policy);
        let key = document.as_ref().map(|document| kind.key(document, form)).transpose()?.flatten();
        let place = kind.places().map(|places| places.of(form)).transpose()?;
        let mut copies = match document.as_ref().zip(key.as_ref()) {
            Some((document, key)) if place.is_some() => document.members_with(key),
            Some(_) | None => Vec::new(),
        };
        copies.retain(|name| place != Some(Member::Named(name.clone())));
        let has_key = key.is_some();
        let facts = match (credential.current(), &document, holder) {
            (Some(version), _, _) => Some(version.provider.clone()),
            (None, Some(document), Some(carrier)) if has_key => {
                let name = &credential.head.name;
                let sight = Sight { name, carrier, policy, current: None, known: None, is_ordered: false };
                let fingerprint = engine.fingerprint(kind, document, policy).await?;
                engine.recognise(kind, document, &sight, fingerprint.as_ref()).await?
            }
            (None, _, _) => None,
        };
        Ok(Self { credential, policy, kind, now: engine.ports.clock.now(), document, has_key, copies, facts })
    }

    /// Whether the wishes can be met.
    pub async fn check(&self) -> Result<(), Failure> {
        self.kind.check(&self.case(None)).await
    }

    /// Sends real requests with the present key, and one with a made-up one. `None`: there is no key in the value yet,
    /// or nobody could know it.
    pub async fn prove(&self) -> Result<Option<Proof>, Failure> {
        // A key that nothing is recorded of yet is in no key set.
        let can_be_seen = self.credential.current().is_some() || !self.kind.publishes();
        match &self.document {
            Some(document) if self.has_key && can_be_seen => {
                self.kind.prove(&self.case(None), document).await.map(Some)
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Whether a key that waits for its rotation can be used.
    async fn check_standby(&self, standby: &Version) -> Result<(), Failure> {
        self.kind.check(&self.case(Some(standby))).await
    }

    fn case<'c>(&'c self, version: Option<&'c Version>) -> Case<'c> {
        let (incumbent, policy) = (self.facts.as_ref(), self.policy);
        Case { credential: self.credential, version, incumbent, policy, now: self.now }
    }
}

/// What there is to say of a credential, and what it was said of.
#[derive(Debug)]
pub struct Examined {
    /// The lines.
    pub checks: Vec<Check>,
    /// What is recorded, if anything is.
    pub records: Option<Credential>,
    /// The secret, if it is there.
    pub secret: Option<(Secret, Particulars)>,
}

/// Looks at everything of one credential that the rotation function's own role may see.
///
/// `elsewhere`: the function has a network of its own, so that a request that does not get through from here proves
/// nothing about it.
pub async fn credential(engine: &Engine, name: &CredentialName, elsewhere: bool) -> Examined {
    let mut examined = Examined { checks: Vec::new(), records: None, secret: None };
    let checks = &mut examined.checks;
    match asked(engine, async || engine.records.load(name).await).await {
        Ok(records) => examined.records = records,
        Err(stopped) => {
            checks.push(refused(Area::Table, &format!("the records of {name}"), &stopped));
            return examined;
        }
    }
    match asked(engine, async || engine.describe_all(name.as_str()).await).await {
        Ok(secret) => examined.secret = Some(secret),
        Err(stopped) => {
            checks.push(refused(Area::Secret, &format!("the secret {name}"), &stopped));
            return examined;
        }
    }
    let Some((secret, _)) = &examined.secret else { return examined };
    let empty = Credential::empty(name.clone(), &secret.arn);
    let subject = Subject { engine, now: engine.ports.clock.now(), name, secret };
    let records = examined.records.as_ref().unwrap_or(&empty);
    checks.push(match records.head.revision {
        0 => Check::ok(Area::Table, "nothing is recorded yet: the first rotation does"),
        revision => Check::ok(Area::Table, format!("its records can be read, revision {revision}")),
    });
    match asked(engine, async || engine.records.differences(records, true).await).await {
        Ok(differ) => checks.extend(differ.into_iter().map(|(generation, what)| {
            let whose = generation.map_or(String::new(), |generation| format!(" of generation {generation}"));
            let what = format!("what is recorded{whose} is not what the history states: {what}");
            Check::broken(Area::Table, what, HoldReason::RecordDiffers.remedy())
        })),
        Err(stopped) => checks.push(refused(Area::Table, &format!("the history of {name}"), &stopped)),
    }
    checks.push(subject.is_there(records));
    checks.extend(subject.rotates());
    checks.extend(subject.labels(records));
    checks.extend(holds(records));
    checks.extend(subject.late(records));
    match &secret.wishes {
        Err(bad) => checks.push(subject.unusable(bad)),
        Ok(policy) if !records.head.kind.is_empty() && records.head.kind != policy.kind => {
            let (found, recorded) = (policy.kind.clone(), records.head.kind.clone());
            checks.push(subject.unusable(&BadPolicy::KindChanged { found, recorded }));
        }
        Ok(policy) => {
            checks.push(subject.wishes(policy));
            checks.extend(subject.place(records, policy));
            checks.extend(subject.schedule(policy));
            checks.extend(subject.preflight(records, policy, elsewhere).await);
        }
    }
    examined
}

/// Whether retirement runs: what is due is done within minutes.
pub async fn retirement(engine: &Engine) -> Check {
    let late = engine.ports.clock.now() - LATE;
    let found = asked(engine, async || {
        for bucket in 0..DUE_BUCKETS {
            for name in engine.records.due(bucket, late, SAMPLE).await? {
                // The index is a hint, the records decide.
                let records = engine.records.load(&name).await?;
                if let Some((version, due)) = records.as_ref().and_then(|records| overdue(records, late)) {
                    return Ok(Some((name, version, due)));
                }
            }
        }
        Ok(None)
    });
    match found.await {
        Ok(None) => Check::ok(Area::Retirement, "nothing is overdue"),
        Ok(Some((name, generation, due))) => {
            let what = format!("retirement does not run: generation {generation} of {name} is due since {}", at(due));
            Check::broken(Area::Retirement, what, RUN_RETIREMENT)
        }
        Err(stopped) => refused(Area::Retirement, "what is due", &stopped),
    }
}

/// Whether many API keys rotate at one moment.
pub fn herd(roster: &Roster) -> Check {
    match roster.together.iter().max_by_key(|(_, count)| **count) {
        Some((schedule, &count)) if count > HERD => {
            let minutes = (count * CALLS_OF_A_ROTATION / 9).div_ceil(60);
            let what = format!(
                "{count} API keys rotate at one moment, {schedule}: API Gateway takes ten calls a second, so the last \
                 of them has to wait for about {minutes} minutes"
            );
            Check::warning(Area::Schedule, what, MOMENT_OF_ITS_OWN)
        }
        Some(_) | None => Check::ok(Area::Schedule, "no more than a hundred API keys rotate at one moment"),
    }
}

/// More API keys than that on one schedule are told.
const HERD: usize = 100;
/// Calls to API Gateway's control plane: docs/calls.md counts them.
const CALLS_OF_A_ROTATION: usize = 10;
const MOMENT_OF_ITS_OWN: &str = "give each a day and an hour of its own, as `rotator adopt` does: aws secretsmanager \
     rotate-secret --secret-id NAME --no-rotate-immediately --rotation-rules \
     '{\"ScheduleExpression\": \"cron(0 HOUR DAY * ? *)\"}'";

/// What to do when retirement does not run.
const RUN_RETIREMENT: &str = "let EventBridge send {\"detail-type\": \"Scheduled Event\"} to the function retirement every minute; runbook.md has \
     more under Retirement does not run";

/// The version whose day is over for longest, if one's is.
fn overdue(records: &Credential, late: Time) -> Option<(u32, Time)> {
    let due = records.versions.values().filter_map(|version| Some((version.generation, version.due()?)));
    due.filter(|(_, due)| *due <= late).min_by_key(|(_, due)| *due)
}

/// Asks again while there is no clear answer, for half a minute.
pub async fn asked<T, A>(engine: &Engine, question: impl FnMut() -> A) -> Result<T, Stopped>
where
    A: Future<Output = Result<T, Failure>>,
{
    patiently(&engine.ports, engine.ports.clock.now() + PATIENCE, question).await
}

/// What it means that something could not be found out, or is not as it should be. `about` is the subject of the line.
pub fn refused(area: Area, about: &str, stopped: &Stopped) -> Check {
    let unsettled =
        || Check::broken(area, format!("{about}: {}", chain(stopped)), "run the same command again in a minute");
    match stopped {
        // Whoever asks lacks a permission; the function may have it.
        Stopped::Held(hold) if hold.reason == HoldReason::Denied => Check::warning(
            area,
            format!("{about} could not be looked at: {}", hold.detail),
            "let an administrator grant you that, or let the function look: `aws secretsmanager rotate-secret --secret-id \
             NAME --no-rotate-immediately` tests the configuration with its role, and its log tells",
        ),
        Stopped::Held(hold) => Check::broken(area, hold.to_string(), remedy(hold)),
        Stopped::Input(bad) => Check::broken(area, bad.to_string(), correction(bad)),
        Stopped::OutOfTime(Some(failure)) => match failure.as_ref() {
            Failure::Call(failed) => Check::unseen(area, about, failed),
            Failure::NotYet(_) | Failure::Held(_) | Failure::Input(_) => unsettled(),
        },
        // The function meets the same refusal, whatever its role may.
        Stopped::Failed(Failure::Call(failed)) if failed.fault == Fault::Rejected => {
            let what = format!("{about}: {}", chain(failed));
            Check::broken(area, what, "correct what AWS says here: every rotation would meet it")
        }
        Stopped::Failed(Failure::Call(failed)) => Check::unseen(area, about, failed),
        Stopped::OutOfTime(None) | Stopped::Failed(_) | Stopped::Refused(_) | Stopped::Illegal(_) => unsettled(),
    }
}

fn correction(bad: &BadInput) -> String {
    match bad {
        BadInput::NoTable(_) => {
            "export ROTATOR_TABLE=NAME, the table of the stack's outputs, or deploy the stack".into()
        }
        BadInput::NoSecret(name) => format!(
            "aws secretsmanager restore-secret --secret-id {name}; if it is gone for good, runbook.md has more under SecretDeleted"
        ),
        BadInput::Tag { tag, .. } => {
            format!("aws secretsmanager tag-resource --secret-id NAME --tags Key=rotator:{tag},Value=VALUE")
        }
        BadInput::Value(_) => "`rotator repair NAME` says which version holds the right one; by hand, move AWSCURRENT \
                               back to it"
            .into(),
        BadInput::Argument { .. } | BadInput::Event { .. } => "correct the setting that is named".into(),
    }
}

fn remedy(hold: &Hold) -> String {
    format!("{}; runbook.md has more under {}", hold.reason.remedy(), hold.reason)
}

fn at(time: Time) -> String {
    time.format("%F %H:%M UTC").to_string()
}

/// Holds in the records: of what is coming in, and of what is going out.
fn holds(records: &Credential) -> Vec<Check> {
    let told = |who: &str, held: &Held| format!("{who} is held since {}: {}", at(held.since), held.hold);
    let head = records.head.held.as_ref();
    let head = head.map(|held| Check::broken(Area::Holds, told("the credential", held), remedy(&held.hold)));
    let versions = records.versions.values().filter_map(|version| {
        let held = version.held.as_ref()?;
        let what = told(&format!("generation {}", version.generation), held);
        // What can't be retired keeps no rotation from its end; what can't come in does.
        let is_coming = records.head.candidate == Some(version.generation) || version.is_standby();
        let line = if is_coming { Check::broken } else { Check::warning };
        Some(line(Area::Holds, what, remedy(&held.hold)))
    });
    head.into_iter().chain(versions).collect()
}

/// A secret, with where it is looked at.
struct Subject<'a> {
    engine: &'a Engine,
    now: Time,
    name: &'a CredentialName,
    secret: &'a Secret,
}

impl Subject<'_> {
    fn is_there(&self, records: &Credential) -> Check {
        let (name, arn) = (self.name, &self.secret.arn);
        if *arn != records.head.arn {
            let hold = Hold::new(HoldReason::SecretReplaced, format!("{name} is {arn} now, not {}", records.head.arn));
            return Check::broken(Area::Secret, hold.to_string(), remedy(&hold));
        }
        if self.secret.deleted {
            let fix = format!("aws secretsmanager restore-secret --secret-id {name}");
            return Check::broken(Area::Secret, "the secret is deleted, or will be", fix);
        }
        match self.secret.replicas_behind.as_slice() {
            [] => Check::ok(Area::Secret, arn),
            behind => {
                let what = format!("the replicas in {} have not received the current value", behind.join(", "));
                let fix = format!(
                    "aws secretsmanager describe-secret --secret-id {name} --query ReplicationStatus says why; \
                     a rotation starts no overlap before they have it"
                );
                Check::warning(Area::Secret, what, fix)
            }
        }
    }

    fn rotates(&self) -> Option<Check> {
        let name = self.name;
        (!self.secret.rotation_enabled && !self.secret.deleted).then(|| {
            let fix = format!(
                "aws secretsmanager rotate-secret --secret-id {name} --no-rotate-immediately --rotation-lambda-arn \
                 FUNCTION_ARN --rotation-rules '{{\"ScheduleExpression\": \"cron(0 8 1 * ? *)\"}}'"
            );
            Check::broken(Area::Secret, "rotation is not enabled: nobody rotates it", fix)
        })
    }

    fn unusable(&self, bad: &BadPolicy) -> Check {
        let fix = format!(
            "correct the tag that is named: aws secretsmanager tag-resource --secret-id {} --tags Key=rotator:TAG,Value=VALUE",
            self.name
        );
        Check::broken(Area::Wishes, chain(bad), fix)
    }

    /// That the overlap outlasts the declared cache was checked when the wishes were read.
    fn wishes(&self, policy: &Policy) -> Check {
        let Policy { overlap, consumer_cache, .. } = policy;
        if *overlap < USUAL_CACHE {
            let what = format!(
                "rotator:overlap = {overlap} is shorter than the {USUAL_CACHE} for which AWS's caching libraries keep a value"
            );
            let fix = format!(
                "let every consumer cache for at most {consumer_cache}, as rotator:consumer-cache says, or: \
                 aws secretsmanager tag-resource --secret-id {} --tags Key=rotator:overlap,Value={USUAL_CACHE}",
                self.name
            );
            return Check::warning(Area::Wishes, what, fix);
        }
        let what = format!("{}; the overlap {overlap} outlasts the consumers' cache {consumer_cache}", policy.kind);
        Check::ok(Area::Wishes, what)
    }

    /// Whether its key set is where verifiers look for it.
    fn place(&self, records: &Credential, policy: &Policy) -> Option<Check> {
        let why = policy.publication.as_ref().and(self.name.as_url_path().err())?;
        let fix = format!(
            "make the key in a secret with another name (`rotator adopt --kind {} NAME`), and let verifiers fetch that key \
             set",
            policy.kind
        );
        Some(match policy.check_name(records) {
            Err(bad) => Check::broken(Area::Wishes, chain(&bad), fix),
            Ok(()) => {
                let what = format!("its key set has a URL of which some verifiers make another: of the name, {why}");
                Check::warning(Area::Wishes, what, fix)
            }
        })
    }

    fn schedule(&self, policy: &Policy) -> Option<Check> {
        let (name, schedule) = (self.name, &self.secret.schedule);
        let own = Timetable::Spread.of(name).expression.unwrap_or_default();
        let set = format!(
            "aws secretsmanager rotate-secret --secret-id {name} --no-rotate-immediately --rotation-rules \
             '{{\"ScheduleExpression\": \"{own}\"}}'"
        );
        if let Err(bad) = policy.check_schedule(schedule, self.now) {
            return Some(Check::broken(Area::Schedule, chain(&bad), set));
        }
        if !self.secret.rotation_enabled {
            return None;
        }
        Some(match (&schedule.expression, schedule.after_days) {
            (Some(expression), _) if expression.starts_with("cron(") => {
                Check::ok(Area::Schedule, format!("{expression} leaves time for lead and overlap"))
            }
            (None, None) => Check::warning(Area::Schedule, "it rotates on demand only", set),
            (expression, days) => {
                let rate = expression.clone().unwrap_or_else(|| format!("every {} days", days.unwrap_or_default()));
                let what = format!("{rate} counts from the last rotation: after a change, the old one may still fire");
                Check::warning(Area::Schedule, what, format!("a cron() says when: {set}"))
            }
        })
    }

    fn labels(&self, records: &Credential) -> Vec<Check> {
        let repair = format!("`rotator repair {}` says what it is, and how to go on", self.name);
        let Some(holder) = self.secret.holder(AWSCURRENT) else {
            let fix = format!("aws secretsmanager put-secret-value --secret-id {} --secret-string '{{}}'", self.name);
            return vec![Check::broken(Area::Labels, "no version of the secret is AWSCURRENT", fix)];
        };
        let current = match (records.current(), records.by_carrier(holder)) {
            (None, _) => Check::ok(Area::Labels, "AWSCURRENT is on a version that no rotation made"),
            (Some(current), Some(holds)) if holds.generation == current.generation => {
                Check::ok(Area::Labels, format!("AWSCURRENT is on generation {}, as recorded", current.generation))
            }
            (Some(current), Some(holds)) => {
                let (is, recorded) = (holds.generation, current.generation);
                let what = format!("AWSCURRENT is on generation {is}, the records say generation {recorded}");
                Check::broken(Area::Labels, what, &repair)
            }
            (Some(_), None) => {
                let what = format!("AWSCURRENT is on version {}, which somebody put by hand", holder.short());
                Check::warning(Area::Labels, what, &repair)
            }
        };
        let pending = self.secret.holder(AWSPENDING).filter(|pending| *pending != holder);
        let pending = pending.map(|pending| self.pending(records, pending, &repair));
        std::iter::once(current).chain(pending).collect()
    }

    /// `AWSPENDING` on another version than `AWSCURRENT`'s blocks every later rotation.
    fn pending(&self, records: &Credential, pending: &Token, repair: &str) -> Check {
        let short = pending.short();
        let version = records.by_carrier(pending);
        let until = version.and_then(|version| version.open_until).filter(|until| *until > self.now);
        if let Some(until) = until {
            return Check::ok(
                Area::Labels,
                format!("a rotation is under way ({short}), until {} at the most", at(until)),
            );
        }
        let whose = match version {
            Some(version) => format!("generation {}, which does not go on", version.generation),
            None => "which no record knows".into(),
        };
        let what = format!("AWSPENDING is on version {short}, {whose}: it blocks the next rotation");
        Check::broken(Area::Labels, what, format!("if it stays for more than a minute: {repair}"))
    }

    fn late(&self, records: &Credential) -> Option<Check> {
        let (generation, due) = overdue(records, self.now - LATE)?;
        let what = format!("retirement does not run: generation {generation} is due since {}", at(due));
        Some(Check::broken(Area::Retirement, what, RUN_RETIREMENT))
    }

    async fn preflight(&self, records: &Credential, policy: &Policy, elsewhere: bool) -> Vec<Check> {
        let about = "the present value";
        let begun = asked(self.engine, async || Preflight::begin(self.engine, records, self.secret, policy).await);
        let preflight = match begun.await {
            Ok(preflight) => preflight,
            Err(stopped) => return vec![refused(Area::Provider, about, &stopped)],
        };
        if records.current().is_some() && !preflight.has_key {
            let hold = Hold::new(HoldReason::ValueWiped, "the current value has no key any more");
            let fix = format!("`rotator repair {}`, or by hand: {}", self.name, remedy(&hold));
            return vec![Check::broken(Area::Provider, hold.to_string(), fix)];
        }
        let mut checks = Vec::new();
        match asked(self.engine, async || preflight.check().await).await {
            Ok(()) => checks.push(Check::ok(Area::Provider, "what the tags ask for can be had")),
            Err(stopped) => {
                // A probe that leads elsewhere must not be sent.
                checks.push(refused(Area::Provider, "what the tags ask for", &stopped));
                return checks;
            }
        }
        if !preflight.copies.is_empty() {
            let names: Vec<String> = preflight.copies.iter().map(|name| name.escape_default().to_string()).collect();
            let what =
                format!("the value has the key a second time, and no rotation changes that: {}", names.join(", "));
            let fix = "let consumers read the member that is rotated, and take the others out of the value";
            checks.push(Check::warning(Area::Secret, what, fix));
        }
        checks.extend(self.standbys(records, policy, &preflight).await);
        checks.push(self.proof(policy, &preflight, elsewhere).await);
        checks
    }

    async fn standbys(&self, records: &Credential, policy: &Policy, preflight: &Preflight<'_>) -> Vec<Check> {
        let mut checks = Vec::new();
        for standby in records.standbys() {
            let about = format!("the standby, generation {},", standby.generation);
            if let Err(stopped) = asked(self.engine, async || preflight.check_standby(standby).await).await {
                checks.push(refused(Area::Provider, &about, &stopped));
            }
        }
        match too_young(records, policy, self.now) {
            Some(hold) if records.standbys().is_empty() => {
                let what = format!("{}: {}", hold.reason, hold.detail);
                checks.push(Check::warning(Area::Provider, what, remedy(&hold)));
            }
            // Time alone sets it right, and the schedule was checked against the lead.
            Some(hold) => checks.push(Check::ok(Area::Provider, hold.detail)),
            None => {}
        }
        checks
    }

    async fn proof(&self, policy: &Policy, preflight: &Preflight<'_>, elsewhere: bool) -> Check {
        let name = self.name;
        match asked(self.engine, async || preflight.prove().await).await {
            Ok(None) => Check::ok(Area::Probe, "there is no key to try yet: the first rotation makes one"),
            Ok(Some(Proof { proven, unproven })) if proven.is_empty() && unproven.is_empty() => {
                let id = preflight.facts.as_ref().and_then(|facts| facts.get("id")).map_or("KEY", String::as_str);
                Check::warning(
                    Area::Probe,
                    "the present key is in no stage, so nobody can use it",
                    way_into_a_stage(id),
                )
            }
            Ok(Some(proof)) if proof.unproven.is_empty() => {
                Check::ok(Area::Probe, format!("the present key gets through: {}", proof.proven.join(", ")))
            }
            Ok(Some(proof)) => {
                let what =
                    format!("no probe tries a new key in {}: it is used there unproven", proof.unproven.join(", "));
                let fix = format!(
                    "name a GET that needs an API key in each: aws secretsmanager tag-resource --secret-id {name} \
                     --tags Key=rotator:probe,Value=API/STAGE/PATH"
                );
                Check::warning(Area::Probe, what, fix)
            }
            Err(Stopped::OutOfTime(Some(failure))) if matches!(*failure, Failure::NotYet(_)) => {
                let what = format!("the present key does not get through from here: {}", chain(&failure));
                if elsewhere {
                    let fix = format!(
                        "let the function try: aws secretsmanager rotate-secret --secret-id {name} --no-rotate-immediately, \
                         then read its log"
                    );
                    return Check::warning(Area::Probe, what, fix);
                }
                let fix = if policy.publication.is_some() {
                    "see that ROTATOR_JWKS_URL answers with the key set (`rotator jwks` shows what it should be)"
                } else {
                    "see that the key is enabled and in a plan with that stage, and that the method is deployed; an \
                     execute-api endpoint with private DNS in a VPC makes public APIs answer 403: runbook.md has more \
                     under ProbeBlocked"
                };
                Check::broken(Area::Probe, what, fix)
            }
            Err(stopped) => refused(Area::Probe, "the probe", &stopped),
        }
    }
}
