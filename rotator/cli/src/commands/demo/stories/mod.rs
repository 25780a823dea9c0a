//! Short stories of what happens after a rotation, or when something went wrong: each on one key or a few, with the same
//! clients and the same clock as the demo. What a story claims is looked up in the end, not said.

mod drift;
mod ending;
mod laggard;
mod rollback;
mod stuck;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use clap::ValueEnum;
use rotator::adoption::{Selection, Terms, adopt, plan};
use rotator::aws::records::Told;
use rotator::engine::Errand;
use rotator::rotate::{Milestone, on_demand};
use serde::Serialize;
use state::Time;
use state::credential::{Credential, Version};
use state::drift::{Finding, Remedy};
use state::ledger::{Change, Event};
use state::name::CredentialName;
use state::policy::Timetable;

use super::crowd::Tally;
use super::stage::{Ear, SMALL, Stage, WHAT, unread};
use super::{MONTHLY, errand};
use crate::output::{counted, listed};
use crate::sample;
use crate::trouble::Trouble;
use ending::Claim;
pub use ending::Ending;

/// A short story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Story {
    /// A client goes on with an old key: a brownout flushes another one out, this one is waited for, and named
    Laggard,
    /// A new key is no good: back to the old one, once within its overlap and once when it is suspended already
    Rollback,
    /// A function timed out and RotateSecret is refused: repair says why, and frees it
    Stuck,
    /// Somebody changed keys by hand: reconcile finds all of it, and puts right what it may
    Drift,
}

impl Story {
    /// Tells it.
    pub async fn play(self, stage: Stage<'_, '_>, ear: &Ear) -> Result<Ending, Trouble> {
        let mut scene = Scene { stage, ear, names: Vec::new(), claims: Vec::new() };
        match self {
            Self::Laggard => laggard::play(&mut scene).await?,
            Self::Rollback => rollback::play(&mut scene).await?,
            Self::Stuck => stuck::play(&mut scene).await?,
            Self::Drift => drift::play(&mut scene).await?,
        }
        Ending::of(self, scene).await
    }
}

/// A stage with few credentials, and what is claimed of them.
struct Scene<'a, 'o> {
    stage: Stage<'a, 'o>,
    ear: &'a Ear,
    names: Vec<CredentialName>,
    claims: Vec<Claim>,
}

impl Scene<'_, '_> {
    /// Takes these keys of the sample under management, on those terms.
    async fn open(&mut self, keys: &[&str], wishes: &[(&str, &str)]) -> Result<Vec<CredentialName>, Trouble> {
        let embedded = self.stage.embedded;
        let engine = embedded.engine();
        self.stage.act(&format!("{} taken under management", counted(keys.len(), "key")))?;
        let mut file = sample::read(None)?;
        file.rows.retain(|row| keys.contains(&row.name.as_str()));
        sample::load(&embedded.aws, &embedded.config, file).await?;
        let mut tags: BTreeMap<String, String> =
            wishes.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect();
        tags.insert("probe".into(), sample::probes(&embedded.aws).join(" "));
        let terms = Terms {
            secret_prefix: "partner/".into(),
            tags,
            schedule: Timetable::Together(MONTHLY.into()),
            encrypted_by: None,
            function_arn: engine.config.function_arn.clone().unwrap_or_default(),
        };
        self.stage.quiet(true);
        let work = async {
            let items = plan(engine, &Selection::All, &terms, &errand(engine), &mut |_, _| {}).await;
            let items = items.map_err(Trouble::stopped("could not plan the adoption"))?;
            for item in &items {
                let done = adopt(engine, item, &terms, &errand(engine), None).await;
                done.map_err(Trouble::stopped(format!("could not adopt {}", item.secret)))?;
            }
            Ok::<_, Trouble>(items.into_iter().map(|item| item.secret).collect::<Vec<_>>())
        };
        let mut names = self.stage.beside(work).await??;
        names.sort();
        self.pass(TimeDelta::minutes(1)).await?;
        self.stage.quiet(false);
        let wishes: Vec<String> = wishes.iter().map(|(tag, value)| format!("{tag} {value}")).collect();
        self.tell("adopted", &listed(&names))?;
        self.tell("wishes", &wishes.join(", "))?;
        self.names.clone_from(&names);
        Ok(names)
    }

    /// A line of what somebody does or sees; a long one is broken.
    fn tell(&mut self, mut who: &str, what: &str) -> Result<(), Trouble> {
        let indent: String = what.chars().take_while(|c| *c == ' ').collect();
        let mut line = indent.clone();
        for word in what.split_whitespace() {
            if line.len() + word.len() > ROOM && line.len() > indent.len() {
                self.stage.tell(&format!("{who:<WHAT$}{line}"))?;
                (who, line) = ("", format!("{indent}  "));
            }
            let space = if line.ends_with(' ') || line.is_empty() { "" } else { " " };
            line = line + space + word;
        }
        self.stage.tell(&format!("{who:<WHAT$}{line}"))
    }

    /// The same of what a command says.
    fn says(&mut self, command: &str, lines: &[String]) -> Result<(), Trouble> {
        let commands = std::iter::once(command).chain(std::iter::repeat(""));
        lines.iter().zip(commands).try_for_each(|(line, command)| self.tell(command, line))
    }

    /// What repair and reconcile say: what is wrong, and what puts it right.
    fn findings(&mut self, findings: &[Finding], credential: Option<&Credential>) -> Result<(), Trouble> {
        for finding in findings {
            self.tell("found", &format!("{}: {finding}", finding.word()))?;
            let (who, remedy) = match finding.remedy(credential) {
                Remedy::Service(remedy) => ("--yes", remedy),
                Remedy::Person(remedy) => ("a person", remedy),
            };
            self.tell("", &format!("{who}: {remedy}"))?;
        }
        Ok(())
    }

    async fn pass(&mut self, time: TimeDelta) -> Result<(), Trouble> {
        let at = self.stage.now() + time;
        self.stage.until(at).await
    }

    /// Lets time pass until something is so, or until then; whether it is so.
    async fn until(
        &mut self,
        name: &CredentialName,
        latest: Time,
        is_so: impl Fn(&Credential) -> bool,
    ) -> Result<bool, Trouble> {
        loop {
            if is_so(&self.load(name).await?) {
                return Ok(true);
            }
            if self.stage.now() >= latest {
                return Ok(false);
            }
            self.pass(STRIDE).await?;
        }
    }

    /// `rotator rotate`
    async fn rotate(&mut self, name: &CredentialName) -> Result<(), Trouble> {
        let engine = self.stage.embedded.engine();
        let (say, errand) = (self.ear.clone(), errand(engine));
        let mut tell = move |milestone: Milestone| say.milestone(&milestone);
        let done = self.stage.beside(on_demand(engine, name, &errand, &mut tell)).await?;
        done.map_err(Trouble::stopped(format!("could not rotate {name}")))?;
        self.pass(SMALL).await
    }

    async fn load(&self, name: &CredentialName) -> Result<Credential, Trouble> {
        self.stage.load(name).await?.ok_or_else(|| Trouble::NoCredential(name.clone()))
    }

    async fn version(&self, name: &CredentialName, generation: u32) -> Result<Version, Trouble> {
        let version = self.load(name).await?.versions.remove(&generation);
        version.ok_or_else(|| Trouble::NoCredential(name.clone()))
    }

    async fn history(&self, name: &CredentialName) -> Result<Vec<Told>, Trouble> {
        let history = self.stage.embedded.engine().records.history(name).await;
        history.map_err(|failure| unread(name, &failure))
    }

    fn tally(&self, name: &CredentialName) -> Tally {
        self.stage.crowd.tally(name)
    }

    /// Whether the provider lets a version's key in.
    fn is_enabled(&self, version: &Version) -> bool {
        let keys = self.stage.embedded.aws.inspect_api_keys();
        keys.iter().any(|key| Some(&key.id) == version.provider.get("id") && key.enabled)
    }

    /// Something that should have held.
    fn claim(&mut self, held: bool, claim: impl Into<String>) {
        self.claims.push(Claim { claim: claim.into(), held });
    }
}

/// On whose behalf somebody at the command line works.
fn on_behalf<'e>(errand: Errand<'static>, note: &'e state::ledger::Note) -> Errand<'e> {
    Errand { note: Some(note), ..errand }
}

/// When a change happened, and which one of those it was.
fn when(history: &[Told], is_it: impl Fn(&Change) -> bool) -> Option<&Event> {
    history.iter().map(|told| &told.event).find(|event| is_it(&event.change))
}

/// How much fits beside the time and the first column into a terminal of 100 columns.
const ROOM: usize = 70;
/// Between two looks at whether something is so.
const STRIDE: TimeDelta = TimeDelta::minutes(30);

#[cfg(test)]
mod tests {
    use clap::{Parser, ValueEnum};

    use super::*;
    use crate::commands::Cli;
    use crate::output::Out;
    use crate::trouble::Outcome;

    /// As a program reads it; every claim held.
    async fn told(story: Story) -> serde_json::Value {
        let word = story.to_possible_value().unwrap();
        let cli = Cli::parse_from(["rotator", "demo", "--output", "json", "--story", word.get_name()]);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let done = {
            let mut out = Out::plain(cli.output, &mut stdout, &mut stderr);
            crate::commands::run(cli.command, &mut out).await
        };
        let shown = String::from_utf8(stdout).unwrap();
        let outcome = done.unwrap_or_else(|trouble| panic!("{trouble:?}\n{shown}"));
        let ending: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((outcome, &ending["ok"]), (Outcome::Done, &true.into()), "{shown}");
        let claims = ending["claims"].as_array().unwrap();
        assert!(claims.len() > 6 && claims.iter().all(|claim| claim["held"] == true), "{shown}");
        assert!(ending["told"].as_array().unwrap().len() > 10, "{shown}");
        ending
    }

    #[tokio::test]
    async fn a_laggard_is_waited_for_and_named() {
        let ending = told(Story::Laggard).await;
        assert!(ending["calls"]["refused"].as_u64() > Some(0));
    }

    #[tokio::test]
    async fn nobody_is_refused_on_the_way_back() {
        assert_eq!(told(Story::Rollback).await["calls"]["refused"], 0);
    }

    #[tokio::test]
    async fn what_is_stuck_is_freed() {
        assert_eq!(told(Story::Stuck).await["calls"]["refused"], 0);
    }

    #[tokio::test]
    async fn what_was_changed_by_hand_is_found_and_put_right() {
        told(Story::Drift).await;
    }
}
