//! What a command works with: the engine over the ordinary AWS configuration, and who the person is.

use std::sync::OnceLock;

use aws_config::SdkConfig;
use aws_sdk_sts::config::ProvideCredentials;
use chrono::TimeDelta;
use rotator::aws::{Answer, failed};
use rotator::config::Config;
use rotator::engine::{Engine, Errand};
use rotator::failure::{BadInput, CallFailed, Failure, chain};
use rotator::patience::patiently;
use rotator::ports::Ports;
use state::Time;
use state::credential::Credential;
use state::decide::Secret;
use state::ledger::{Actor, Note};
use state::name::CredentialName;

use crate::clock::AwsClock;
use crate::trouble::Trouble;

/// How long a command follows what it began: longer than a function may run.
const PATIENCE: TimeDelta = TimeDelta::minutes(30);
/// How long a command tries to read something, of which the last ten seconds are for its error.
const READ: TimeDelta = TimeDelta::seconds(30);
/// Who it was, when nobody says.
const UNKNOWN: &str = "unknown";

/// The engine, and the person at the command line.
#[derive(Debug)]
pub struct Context {
    /// The engine, at API Gateway's full speed: somebody waits for it.
    pub engine: Engine,
    aws: SdkConfig,
    /// The person's ARN, once AWS was asked.
    who: OnceLock<String>,
}

impl Context {
    /// From the environment: `ROTATOR_*` and the ordinary AWS configuration.
    pub async fn load() -> Result<Self, Trouble> {
        let settings = Config::from_env()?;
        let ports = AwsClock::ports();
        let aws = rotator::aws::load_config(&ports.wire).await;
        if aws.region().is_none_or(|region| region.as_ref().is_empty()) {
            return Err(Trouble::NoRegion);
        }
        if let Some(provider) = aws.credentials_provider() {
            let found = provider.provide_credentials().await;
            found.map_err(|error| Trouble::NoCredentials(on_one_line(&chain(&error))))?;
        }
        let context = Self::new(aws, settings, ports);
        // First of all: its answer sets the clock by which everything else goes. Whoever has to know who asks, asks again.
        let _ = context.ask_who().await;
        Ok(context)
    }

    /// Over any AWS.
    pub fn new(aws: SdkConfig, settings: Config, ports: Ports) -> Self {
        Self { engine: Engine::new(&aws, settings, ports), aws, who: OnceLock::new() }
    }

    /// An engine for a look at everything, which leaves most of API Gateway's control plane to others.
    pub fn paced(&self) -> Engine {
        Engine::paced(&self.aws, self.engine.config.clone(), self.engine.ports.clone())
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.engine.ports.clock.now()
    }

    /// An errand that begins now.
    pub fn errand(&self) -> Errand<'static> {
        Errand { actor: Actor::Operator, deadline: self.now() + PATIENCE, rotation_token: None, note: None }
    }

    /// What stands in the history beside what this person does: their ARN, as STS gives it, and why.
    pub async fn note(&self, reason: &str) -> Result<Note, Trouble> {
        Ok(self.engine.note(&self.who().await?, reason))
    }

    /// The same for an emergency, which does not wait for STS: without its answer, the access key tells who it was, and
    /// CloudTrail whose that is.
    pub async fn urgent_note(&self, reason: &str) -> Note {
        let who = match self.ask_who().await {
            Ok(who) => who,
            Err(_) => match self.aws.credentials_provider() {
                Some(provider) => match provider.provide_credentials().await {
                    Ok(found) => format!("the holder of access key {}; STS did not say who", found.access_key_id()),
                    Err(_) => UNKNOWN.into(),
                },
                None => UNKNOWN.into(),
            },
        };
        self.engine.note(&who, reason)
    }

    /// Reads as patiently as the engine does: one throttled call is no answer. `about` says what can't be done without.
    ///
    /// # Errors
    ///
    /// If another try would not help, or none did for twenty seconds.
    pub async fn read<T, A>(&self, about: impl Into<String>, question: impl FnMut() -> A) -> Result<T, Trouble>
    where
        A: Future<Output = Result<T, Failure>>,
    {
        patiently(&self.engine.ports, self.now() + READ, question).await.map_err(Trouble::stopped(about))
    }

    /// The records of a credential, if there are any.
    pub async fn records(&self, name: &CredentialName) -> Result<Option<Credential>, Trouble> {
        self.read(format!("could not read the records of {name}"), async || self.engine.records.load(name).await).await
    }

    /// A secret by its name or ARN, if there is one.
    pub async fn secret(&self, id: &str) -> Result<Option<Secret>, Trouble> {
        self.read(format!("could not read the labels and tags of {id}"), async || {
            match self.engine.describe(id).await {
                Ok(secret) => Ok(Some(secret)),
                Err(Failure::Input(BadInput::NoSecret(_))) => Ok(None),
                Err(failure) => Err(failure),
            }
        })
        .await
    }

    /// The AWS configuration of everything here.
    pub fn aws(&self) -> &SdkConfig {
        &self.aws
    }

    /// The person's ARN, as STS gives it.
    pub async fn who(&self) -> Result<String, Trouble> {
        let asked = patiently(&self.engine.ports, self.now() + READ, async || Ok(self.ask_who().await?)).await;
        asked.map_err(|stopped| Trouble::Nobody(stopped.into()))
    }

    async fn ask_who(&self) -> Result<String, CallFailed> {
        if let Some(who) = self.who.get() {
            return Ok(who.clone());
        }
        let identity = aws_sdk_sts::Client::new(&self.aws).get_caller_identity().send().await;
        let identity = identity.map_err(|error| failed("sts:GetCallerIdentity", "STS", Answer::Open, error))?;
        Ok(self.who.get_or_init(|| identity.arn.unwrap_or_else(|| UNKNOWN.into())).clone())
    }
}

/// The SDK tells of each place where it looked on a line of its own.
fn on_one_line(said: &str) -> String {
    said.lines().map(str::trim).collect::<Vec<_>>().join("; ").replace(":; ", ": ")
}
