//! `rotator demo`: the life of API keys in three days that take seconds, on an AWS in this process.

mod clients;
mod report;
mod stage;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use local_aws::{KeyFile, ManualClock};
use rotator::adoption::{Item, Selection, Terms, Verdict, adopt, plan};
use rotator::engine::{Engine, Errand};
use rotator::rotate::{Compromised, emergency, on_demand};
use state::Time;
use state::ledger::{Actor, Note};
use state::name::CredentialName;
use tokio::net::TcpListener;

use self::clients::Crowd;
use self::report::Report;
use self::stage::{Ear, Stage};
use super::local::not_started;
use crate::embedded::{Embedded, Setup};
use crate::output::Out;
use crate::sample;
use crate::trouble::{Outcome, Trouble};

/// Shows rotations from end to end on an AWS in this process: nothing to install, nothing to configure, nothing left
/// behind.
///
/// API keys are imported and adopted; some rotate on schedule, one on demand, one in an emergency; their old keys are
/// retired, while simulated clients call a REST API with them all the time. Exits with 0 only if all of it held.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// API keys to take instead of the sample's 25, in API Gateway's key-file format
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
///
/// If the key file can't be used, or the service stops at something that the demo does not provoke.
pub async fn run(args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    let began = Instant::now();
    let file = sample::read(args.keys.as_deref())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let clock = Arc::new(ManualClock::new(start()));
    let ear = Ear::default();
    let embedded = Setup {
        clock: clock.clone(),
        behaviour: local_aws::Settings { propagation: PROPAGATION, ..Default::default() },
        execute_api: Some(format!("http://{address}/_aws/execute-api/{{api}}")),
        watch: Some(ear.watch()),
        ..Setup::default()
    }
    .start()
    .await
    .map_err(not_started)?;

    let stage = Stage::new(&embedded, &clock, ear.clone(), Crowd::new(&embedded.config), out);
    let report = tokio::select! {
        report = play(stage, &ear, file) => report?,
        // Both end only when they are dropped.
        () = embedded.aws.serve(listener) => unreachable!("the server runs until it is dropped"),
        () = embedded.aws.run() => unreachable!("the AWS runs until it is dropped"),
    };
    let report = report.after(began.elapsed());
    out.show(&report)?;
    Ok(if report.ok() { Outcome::Done } else { Outcome::Failed })
}

/// The story.
async fn play(mut stage: Stage<'_, '_>, ear: &Ear, file: KeyFile) -> Result<Report, Trouble> {
    let embedded = stage.embedded;
    let engine = embedded.engine();

    stage.act("Existing API keys are taken under management")?;
    let loaded = sample::load(&embedded.aws, &embedded.config, file).await?;
    stage.tell(&format!("{} keys in {} usage plans imported from the key file", loaded.keys, loaded.plans))?;
    stage.quiet(true);
    let adopted = stage.beside(adopt_all(embedded)).await??;
    let Cast { scheduled, on_demand: wanted, leaked, managed } = Cast::of(&adopted)?;
    stage.until(stage.now() + TimeDelta::minutes(1)).await?;
    stage.quiet(false);
    let refused = adopted.iter().filter(|(item, _)| item.verdict != Verdict::Adopt).count();
    let but = if refused == 0 { String::new() } else { format!(" ({refused} can't be)") };
    stage.tell(&format!("{} keys adopted{but}; not one value was changed", managed.len()))?;
    let mut rotated = scheduled.clone();
    rotated.extend([wanted.clone()].into_iter().filter(|name| !scheduled.contains(name)));
    rotated.iter().for_each(|name| stage.follow(name));
    let clients = rotated.len() * 3;
    stage.tell(&format!("{clients} clients call over HTTP: one prompt, one late, one with a fallback for each of {} keys", rotated.len()))?;

    let night = start() + TimeDelta::hours(14);
    stage.until(night - TimeDelta::minutes(1)).await?;
    stage.act(&format!("A schedule fires: {} credentials rotate", scheduled.len()))?;
    stage.until(night + TimeDelta::minutes(5)).await?;

    stage.until(start() + TimeDelta::hours(21)).await?;
    stage.act(&format!("Somebody asks: rotator rotate {wanted}"))?;
    let say = ear.clone();
    let mut tell = move |milestone: rotator::rotate::Milestone| say.say(format!("{:<14}{milestone}", "rotate"));
    let errand = errand(engine);
    let done = stage.beside(on_demand(engine, &wanted, &errand, &mut tell)).await?;
    done.map_err(Trouble::stopped(format!("could not rotate {wanted}")))?;

    stage.until(start() + TimeDelta::hours(27)).await?;
    stage.act(&format!("A key leaked: rotator rotate {leaked} --emergency"))?;
    let errand = self::errand(engine);
    let note = note(engine);
    let done = stage.beside(emergency(engine, &leaked, &Compromised::All, &note, &errand, &mut tell)).await?;
    done.map_err(Trouble::stopped(format!("could not rotate {leaked} in an emergency")))?;

    stage.act("Retirement: old keys are refused after their overlap, deleted after their soak")?;
    let all_over = stage.until_all_is_over(start() + TimeDelta::days(6)).await?;
    stage.act("All is over")?;
    Report::of(&stage, &managed, &rotated, &leaked, all_over).await
}

/// Who plays which part.
struct Cast {
    /// Rotate on schedule, at night.
    scheduled: Vec<CredentialName>,
    /// Rotates on demand.
    on_demand: CredentialName,
    /// Rotates on schedule, and again in an emergency.
    leaked: CredentialName,
    /// All that were adopted.
    managed: Vec<CredentialName>,
}

impl Cast {
    /// Only keys that get through somewhere can be seen to work. A small file makes one key play several parts.
    fn of(adopted: &[(Item, Terms)]) -> Result<Self, Trouble> {
        let items = || adopted.iter().map(|(item, _)| item).filter(|item| item.verdict == Verdict::Adopt);
        let usable: Vec<CredentialName> = items().filter(|item| is_usable(item)).map(|item| item.secret.clone()).collect();
        let (Some(first), Some(last)) = (usable.first(), usable.get(SCHEDULED.min(usable.len().saturating_sub(1)))) else {
            return Err(Trouble::Usage {
                what: "no key of the file is enabled and in a usage plan".into(),
                next: "name plans in the column UsagePlanIds: a key without one gets through nowhere".into(),
            });
        };
        Ok(Self {
            scheduled: usable.iter().take(SCHEDULED).cloned().collect(),
            on_demand: last.clone(),
            leaked: first.clone(),
            managed: items().map(|item| item.secret.clone()).collect(),
        })
    }
}

fn is_usable(item: &Item) -> bool {
    item.key.enabled && !item.plans.is_empty()
}

/// Adopts every key that can be: the first few to rotate weekly, at night, the others monthly.
async fn adopt_all(embedded: &Embedded) -> Result<Vec<(Item, Terms)>, Trouble> {
    let engine = embedded.engine();
    let probes = probes(embedded);
    let terms = |schedule: &str| Terms {
        secret_prefix: "partner/".into(),
        tags: BTreeMap::from(WISHES.map(|(tag, value)| (tag.to_owned(), value.to_owned())))
            .into_iter()
            .chain([("probe".to_owned(), probes.clone())])
            .collect(),
        schedule: schedule.to_owned(),
        function_arn: engine.config.function_arn.clone().unwrap_or_default(),
    };
    let (weekly, monthly) = (terms(WEEKLY), terms(MONTHLY));
    let items = plan(engine, &Selection::All, &monthly, &errand(engine)).await;
    let mut items = items.map_err(Trouble::stopped("could not plan the adoption"))?;
    items.sort_by(|a, b| a.secret.cmp(&b.secret));
    let mut left = SCHEDULED;
    let mut adopted = Vec::new();
    for item in items {
        let tonight = left > 0 && item.verdict == Verdict::Adopt && is_usable(&item);
        left -= usize::from(tonight);
        let terms = if tonight { &weekly } else { &monthly };
        let done = adopt(engine, &item, terms, &errand(engine), None).await;
        done.map_err(Trouble::stopped(format!("could not adopt {}", item.secret)))?;
        adopted.push((item, terms.clone()));
    }
    Ok(adopted)
}

/// One for each stage that any plan opens; adoption keeps those that fit a key.
fn probes(embedded: &Embedded) -> String {
    let plans = embedded.aws.inspect_usage_plans();
    let mut stages: Vec<String> = plans.into_iter().flat_map(|plan| plan.stages).map(|(api, stage)| format!("{api}/{stage}/{}", sample::PATH)).collect();
    stages.sort_unstable();
    stages.dedup();
    stages.join(" ")
}

fn errand(engine: &Engine) -> Errand<'static> {
    Errand { actor: Actor::Operator, deadline: engine.ports.clock.now() + TimeDelta::minutes(30), rotation_token: None }
}

fn note(engine: &Engine) -> Note {
    let mut salt = [0; 16];
    engine.ports.entropy.fill(&mut salt);
    let reason = "found in a public repository".to_owned();
    Note { salt: salt.iter().map(|byte| format!("{byte:02x}")).collect(), who: "the demo".into(), reason }
}

/// A Saturday noon: the demo is the same every time.
fn start() -> Time {
    "2026-01-03T12:00:00Z".parse().expect("a time as RFC 3339 writes it")
}

/// Sundays at 02:00.
const WEEKLY: &str = "cron(0 2 ? * SUN *)";
/// The first of each month at 02:00.
const MONTHLY: &str = "cron(0 2 1 * ? *)";
/// How many credentials rotate on schedule.
const SCHEDULED: usize = 4;
/// The wishes of their owners: short periods, to see all of a life in three days.
const WISHES: [(&str, &str); 3] = [("overlap", "P1D"), ("soak", "P1D"), ("consumer-cache", "PT12H")];
/// How long the API takes to hear of a new key: a rotation that did not wait for it would be seen.
const PROPAGATION: Duration = Duration::from_secs(20);
