//! `rotator demo`: the life of keys of each kind in three days that take seconds, on an AWS in this process.

mod clients;
mod crowd;
mod newcomers;
mod report;
mod stage;
mod stories;
mod tokens;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use local_aws::{KeyFile, ManualClock};
use rotator::adoption::{Item, Selection, Terms, Verdict, adopt, plan};
use rotator::engine::{Engine, Errand};
use rotator::rotate::{Compromised, Milestone, emergency, on_demand};
use state::Time;
use state::ledger::{Actor, Note};
use state::name::CredentialName;
use state::policy::Timetable;
use tokio::net::TcpListener;

use self::clients::{CLIENTS, Clients};
use self::crowd::Crowd;
use self::newcomers::NEWCOMERS;
use self::report::Report;
use self::stage::{Ear, Stage, line, published_before};
use self::stories::Story;
use super::local::{access_key, not_started};
use crate::embedded::{Embedded, Setup};
use crate::output::{Out, span};
use crate::sample;
use crate::trouble::{Outcome, Trouble};

/// Watch one key of each kind rotate from end to end, on an AWS in this process
///
/// Needs no AWS account and no network, and leaves nothing behind.
///
/// API keys are imported and adopted; a webhook secret, a signing key in KMS and one in Secrets Manager are made by
/// their first rotation. All kinds rotate on schedule and in an emergency, one API key on demand; old keys are retired.
/// All the time simulated clients call a REST API, senders and receivers exchange webhooks, and signers and verifiers
/// tokens, each with the cache of a real one.
///
/// Exits with 0 only if nothing was refused but what a compromised key had made, and every old key came to its end; with
/// --story, only if everything held that the story claims.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Take the API keys of this CSV file, in API Gateway's key-file format, instead of the sample's 25
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Tell a short story instead, of one API key or a few
    #[arg(long, value_enum, value_name = "STORY", conflicts_with = "keys")]
    story: Option<Story>,
}

/// Runs it.
///
/// # Errors
///
/// If the key file can't be used, or the service stops at something that the demo does not provoke.
pub async fn run(args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    let began = Instant::now();
    if let Some(story) = args.story {
        let ending = on_stage(out, async |stage, ear| story.play(stage, ear).await).await?.after(began.elapsed());
        out.show(&ending)?;
        return Ok(if ending.ok() { Outcome::Done } else { Outcome::Failed });
    }
    let file = sample::read(args.keys.as_deref())?;
    let report = on_stage(out, async |stage, ear| play(stage, ear, file).await).await?.after(began.elapsed());
    out.show(&report)?;
    Ok(if report.ok() { Outcome::Done } else { Outcome::Failed })
}

/// Sets an AWS up in this process, lets something be played on it, and takes it down again.
async fn on_stage<T>(
    out: &mut Out<'_>,
    play: impl AsyncFnOnce(Stage<'_, '_>, &Ear) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
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

    let key = access_key(&*embedded.ports.entropy);
    let stage = {
        let crowd = Crowd::new(&embedded.config, &format!("http://{address}"), &key);
        Stage::new(&embedded, &clock, ear.clone(), crowd, out)
    };
    tokio::select! {
        played = play(stage, &ear) => played,
        // Both end only when they are dropped.
        () = embedded.aws.serve(listener, key) => unreachable!("the server runs until it is dropped"),
        () = embedded.aws.run() => unreachable!("the AWS runs until it is dropped"),
    }
}

/// The story.
async fn play(mut stage: Stage<'_, '_>, ear: &Ear, file: KeyFile) -> Result<Report, Trouble> {
    let embedded = stage.embedded;
    let engine = embedded.engine();

    stage.act("Existing API keys are taken under management")?;
    let loaded = sample::load(&embedded.aws, &embedded.config, file).await?;
    stage.tell(&format!("{} keys in {} usage plans imported from the key file", loaded.keys, loaded.plans))?;
    let before = values(embedded);
    stage.quiet(true);
    let adopted = stage.beside(adopt_all(embedded)).await??;
    let Cast { mut scheduled, on_demand: wanted, leaked, mut managed } = Cast::of(&adopted)?;
    stage.until(stage.now() + TimeDelta::minutes(1)).await?;
    stage.quiet(false);
    let refused = adopted.iter().filter(|(item, _)| item.verdict != Verdict::Adopt).count();
    let but = if refused == 0 { String::new() } else { format!(" ({refused} can't be)") };
    let untouched = values(embedded) == before;
    let values = if untouched { "not one value was changed" } else { "VALUES WERE CHANGED" };
    stage.tell(&format!("{} keys adopted{but}; {values}", managed.len()))?;
    let mut rotated = scheduled.clone();
    rotated.extend([wanted.clone()].into_iter().filter(|name| !scheduled.contains(name)));
    rotated.iter().for_each(|name| stage.follow(Clients::of(name)));
    stage.tell(&format!(
        "{} clients call over HTTP: one prompt, one late, one with a fallback for each of {} keys",
        rotated.len() * CLIENTS,
        rotated.len()
    ))?;

    stage.act("Keys that begin here: their first rotation makes them")?;
    let adopted = managed.len();
    for newcomer in &NEWCOMERS {
        let name = newcomer.begin(&mut stage).await?;
        scheduled.push(name.clone());
        rotated.push(name.clone());
        managed.push(name);
    }
    stage.until(stage.now() + TimeDelta::minutes(1)).await?;

    let night = start() + TimeDelta::hours(14);
    stage.until(night - TimeDelta::seconds(5)).await?;
    stage.act(&format!("A schedule fires: {} credentials rotate", scheduled.len()))?;
    stage.until(night).await?;

    stage.until(start() + TimeDelta::hours(21)).await?;
    stage.act(&format!("Somebody asks: rotator rotate {wanted}"))?;
    let say = ear.clone();
    let mut tell = move |milestone: Milestone| say.milestone(&milestone);
    let errand = errand(engine);
    let done = stage.beside(on_demand(engine, &wanted, &errand, &mut tell)).await?;
    done.map_err(Trouble::stopped(format!("could not rotate {wanted}")))?;

    let mut emergencies = vec![leaked];
    emergencies.extend(NEWCOMERS.iter().map(|newcomer| newcomer.name()));
    stage.until(start() + TimeDelta::hours(27)).await?;
    for name in &emergencies {
        stage.act(&format!("A key leaked: rotator rotate {name} --emergency"))?;
        leak(&mut stage, name, &mut tell).await?;
    }

    stage.act("Retirement: old keys are refused after their overlap, deleted after their soak")?;
    let all_over = stage.until_all_is_over(start() + TimeDelta::days(6)).await?;
    stage.act("All is over")?;
    let mut report = Report::of(&stage, adopted, &managed, &rotated, &emergencies).await?;
    report.expect(all_over, "every old key is destroyed in time");
    report.expect(untouched, "adoption changes no value");
    Ok(report)
}

/// An emergency, and half an hour in which its consequences show.
async fn leak(
    stage: &mut Stage<'_, '_>,
    name: &CredentialName,
    tell: &mut (dyn FnMut(Milestone) + Send),
) -> Result<(), Trouble> {
    let engine = stage.embedded.engine();
    let (errand, note) = (errand(engine), note(engine));
    let done = stage.beside(emergency(engine, name, &Compromised::All, &note, &errand, tell)).await?;
    let done = done.map_err(Trouble::stopped(format!("could not rotate {name} in an emergency")))?;
    let credential = stage.load(name).await?;
    if let Some(ahead) = credential.and_then(|credential| published_before(credential.versions.get(&done.generation)?))
    {
        stage.tell(&line("", name, &format!("no wait: the standby was published {} before", span(ahead))))?;
    }
    stage.until(stage.now() + TimeDelta::minutes(30)).await
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
        let usable: Vec<CredentialName> =
            items().filter(|item| is_usable(item)).map(|item| item.secret.clone()).collect();
        let (Some(first), Some(last)) = (usable.first(), usable.get(SCHEDULED.min(usable.len().saturating_sub(1))))
        else {
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
    let probes = sample::probes(&embedded.aws).join(" ");
    let terms = |schedule: &str| Terms {
        secret_prefix: "partner/".into(),
        tags: BTreeMap::from(WISHES.map(|(tag, value)| (tag.to_owned(), value.to_owned())))
            .into_iter()
            .chain([("probe".to_owned(), probes.clone())])
            .collect(),
        schedule: Timetable::Together(schedule.to_owned()),
        encrypted_by: None,
        function_arn: engine.config.function_arn.clone().unwrap_or_default(),
    };
    let (weekly, monthly) = (terms(WEEKLY), terms(MONTHLY));
    let items = plan(engine, &Selection::All, &monthly, &errand(engine), &mut |_, _| {}).await;
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

/// The values of all keys. They stay here.
fn values(embedded: &Embedded) -> BTreeSet<String> {
    embedded.aws.inspect_api_keys().into_iter().map(|key| key.value).collect()
}

fn errand(engine: &Engine) -> Errand<'static> {
    Errand {
        actor: Actor::Operator,
        deadline: engine.ports.clock.now() + TimeDelta::hours(6),
        rotation_token: None,
        note: None,
    }
}

fn note(engine: &Engine) -> Note {
    engine.note("the demo", "found in a public repository")
}

/// A Saturday noon: the demo is the same every time.
fn start() -> Time {
    "2026-01-03T12:00:00Z".parse().expect("a time as RFC 3339 writes it")
}

/// Sundays at 02:00.
const WEEKLY: &str = "cron(0 2 ? * SUN *)";
/// The first of each month at 02:00.
const MONTHLY: &str = "cron(0 2 1 * ? *)";
/// How many API keys rotate on schedule.
const SCHEDULED: usize = 2;
/// The wishes of their owners: short periods, to see all of a life in three days.
const WISHES: [(&str, &str); 3] = [("overlap", "P1D"), ("soak", "PT12H"), ("consumer-cache", "PT12H")];
/// How long the API takes to hear of a new key: a rotation that did not wait for it would be seen.
const PROPAGATION: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::commands::Cli;

    async fn demo(arguments: &[&str]) -> (Outcome, String) {
        let cli = Cli::parse_from(["rotator", "demo"].iter().chain(arguments));
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let done = {
            let mut out = Out::plain(cli.output, &mut stdout, &mut stderr);
            crate::commands::run(cli.command, &mut out).await
        };
        let shown = String::from_utf8(stdout).unwrap();
        (done.unwrap_or_else(|trouble| panic!("{trouble:?}\n{shown}")), shown)
    }

    #[tokio::test]
    async fn nobody_is_refused_but_with_a_leaked_key_and_everything_comes_to_its_end() {
        let (outcome, shown) = demo(&["--output", "json"]).await;
        let report: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((outcome, &report["ok"]), (Outcome::Done, &true.into()), "{shown}");
        assert_eq!((&report["adopted"], &report["managed"]), (&25.into(), &28.into()), "{shown}");
        let kinds = report["uses"].as_object().unwrap();
        assert_eq!(kinds.len(), 4, "{shown}");
        for of_kind in kinds.values() {
            assert_eq!(of_kind["refused"], 0, "{shown}");
            assert!(of_kind["accepted"].as_u64() > Some(500), "{shown}");
            assert!(of_kind["refusedInEmergency"].as_u64() > Some(0), "{shown}");
        }
        let credentials = report["credentials"].as_array().unwrap();
        let rotations = credentials.iter().map(|one| one["rotations"].as_u64().unwrap());
        assert_eq!(rotations.collect::<Vec<_>>(), [2, 1, 1, 3, 3, 3], "{shown}");
        for signing in &credentials[4..] {
            let emergency = &signing["emergency"];
            assert!(emergency["publishedSecondsBefore"].as_u64() > Some(12 * 3_600), "{shown}");
            assert!(emergency["seconds"].as_u64() < Some(60), "{shown}");
        }
    }
}
