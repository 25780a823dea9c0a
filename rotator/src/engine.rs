//! The one engine: load, decide, act, commit; again.
//!
//! It has no policy of its own. What to do is decided by [`state::decide`](mod@state::decide); what a failure means is
//! said by [`Disposition`](crate::failure::Disposition). A dropped run stops everything: nothing here runs behind the
//! caller's back, and whoever comes next goes on from the records.

mod run;

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_config::SdkConfig;
use state::Time;
use state::credential::{Commit, Credential, Fingerprint, Stamp};
use state::decide::{Goal, Observed, Secret};
use state::hold::{Hold, HoldReason};
use state::ledger::{Actor, Change, Note};
use state::name::CredentialName;
use state::policy::{BadPolicy, Policy};
use tracing::{info, warn};

use crate::aws::access_logs::AccessLogs;
use crate::aws::api_keys::ApiKeys;
use crate::aws::macs::Macs;
use crate::aws::probe::Prober;
use crate::aws::records::Records;
use crate::aws::secrets::{Particulars, Secrets};
use crate::aws::signing_keys::SigningKeys;
use crate::aws::turns::Turns;
use crate::config::Config;
use crate::failure::{BadInput, Failure, Fault, Stopped, chain};
use crate::key_sets::KeySets;
use crate::kind::{Facts, Kind, Sight};
use crate::kinds::api_gateway_key::ApiGatewayKey;
use crate::kinds::jwt_signing_key::JwtSigningKey;
use crate::kinds::kms_signing_key::KmsSigningKey;
use crate::kinds::usage::Witness;
use crate::kinds::webhook_secret::WebhookSecret;
use crate::patience::Patience;
use crate::ports::Ports;
use crate::secret::SecretValue;

pub(crate) use run::gone;

/// The engine with everything that it needs.
#[derive(Debug)]
pub struct Engine {
    /// The records.
    pub records: Records,
    /// Secrets Manager.
    pub secrets: Secrets,
    /// Fingerprints.
    pub macs: Macs,
    /// API Gateway's control plane.
    pub api_keys: Arc<ApiKeys>,
    /// Probes.
    pub prober: Prober,
    /// What verifiers fetch.
    pub key_sets: KeySets,
    /// Time, randomness, the wire.
    pub ports: Ports,
    /// Where things are.
    pub config: Config,
    /// How many changes one run records at the most. A run of decisions that go round in a circle would fill the history
    /// until its caller's time is over.
    pub most_commits: u32,
    kinds: Vec<Box<dyn Kind>>,
}

/// On whose behalf a run is made.
#[derive(Debug)]
pub struct Errand<'a> {
    /// Who.
    pub actor: Actor,
    /// When the caller's time is over.
    pub deadline: Time,
    /// Secrets Manager's `RotationToken`, if it sent one.
    pub rotation_token: Option<&'a SecretValue>,
    /// Who asks for it and why, where a person does.
    pub note: Option<&'a Note>,
}

impl Engine {
    /// An engine at API Gateway's full speed.
    pub fn new(config: &SdkConfig, settings: Config, ports: Ports) -> Self {
        let turns = Turns::new(config, &settings.table, ports.clone());
        Self::with(config, settings, ports, turns)
    }

    /// An engine that leaves most of API Gateway's control plane to others.
    pub fn paced(config: &SdkConfig, settings: Config, ports: Ports) -> Self {
        let turns = Turns::sharing(config, &settings.table, ports.clone(), settings.control_plane_share);
        Self::with(config, settings, ports, turns)
    }

    fn with(config: &SdkConfig, settings: Config, ports: Ports, turns: Turns) -> Self {
        let region = config.region().map_or("us-east-1", |region| region.as_ref());
        let api_keys = Arc::new(ApiKeys::new(config, ports.clone(), turns));
        let prober = Prober::new(ports.clone(), &settings.execute_api, region);
        let secrets = Secrets::new(config);
        let key_sets = KeySets::new(ports.clone(), settings.jwks_url.as_deref());
        let witness = Witness::new(api_keys.clone(), AccessLogs::new(config, ports.clone()), settings.usage_lag);
        let prefix = &settings.key_prefix;
        let kinds: Vec<Box<dyn Kind>> = vec![
            Box::new(ApiGatewayKey::new(api_keys.clone(), prober.clone(), witness, ports.clone(), prefix)),
            Box::new(WebhookSecret::new(ports.clone())),
            Box::new(JwtSigningKey::new(secrets.clone(), key_sets.clone())),
            Box::new(KmsSigningKey::new(SigningKeys::new(config, ports.clone()), key_sets.clone(), &settings)),
        ];
        Self {
            records: Records::new(config, &settings.table),
            secrets,
            macs: Macs::new(config, settings.fingerprint_key.clone()),
            api_keys,
            prober,
            key_sets,
            ports,
            config: settings,
            most_commits: 200,
            kinds,
        }
    }

    /// Every kind.
    pub fn kinds(&self) -> impl Iterator<Item = &dyn Kind> {
        self.kinds.iter().map(AsRef::as_ref)
    }

    /// The kind of that name.
    pub fn kind(&self, name: &str) -> Result<&dyn Kind, BadInput> {
        let found = self.kinds.iter().find(|kind| kind.name() == name);
        found.map(AsRef::as_ref).ok_or_else(|| BadInput::Tag {
            tag: "kind",
            found: name.to_owned(),
            rule: "this version of the program does not know it: deploy the version that wrote the records",
        })
    }

    /// Reads the owner's wishes from a secret's tags.
    pub fn wishes(&self, tags: &BTreeMap<String, String>) -> Result<Policy, BadPolicy> {
        let known = self.kinds.iter().map(|kind| kind.known());
        Policy::from_tags(tags, &known.collect::<Vec<_>>())
    }

    /// The secret behind a name or ARN.
    pub async fn describe(&self, id: &str) -> Result<Secret, Failure> {
        Ok(self.secrets.describe(id, |tags| self.wishes(tags)).await?.0)
    }

    /// The same, with what is no business of a rotation.
    pub async fn describe_all(&self, id: &str) -> Result<(Secret, Particulars), Failure> {
        self.secrets.describe(id, |tags| self.wishes(tags)).await
    }

    /// The fingerprint of the key in a document, if there is one. A key for fingerprints that can't be used is no reason
    /// to stop: then it says why there is none. What another try may change is an error.
    pub async fn fingerprint(
        &self,
        kind: &dyn Kind,
        document: &SecretValue,
        policy: &Policy,
    ) -> Result<Option<Fingerprint>, Failure> {
        match kind.key(document, policy)? {
            Some(key) => match self.macs.fingerprint(&key).await {
                Err(failed) if !matches!(failed.fault, Fault::Throttled(_) | Fault::Unknown) => {
                    warn!(reason = chain(&failed), "no fingerprint");
                    Ok(Some(Fingerprint::Missing { missing: chain(&failed) }))
                }
                made => Ok(made?),
            },
            None => Ok(None),
        }
    }

    /// Sees that no other credential has that key: the retirement of the one would be the outage of the other. By its
    /// fingerprint; a key without one is told apart by its tags alone.
    pub async fn see_unshared(&self, name: &CredentialName, fingerprint: Option<&Fingerprint>) -> Result<(), Failure> {
        let Some(mac) = fingerprint.and_then(Fingerprint::mac) else { return Ok(()) };
        for other in self.records.with_fingerprint(mac).await? {
            if other != *name && self.is_at_home(&other).await? {
                let detail = format!("the key in the value is under management already, as {other}");
                return Err(Hold::new(HoldReason::KeyShared, detail).into());
            }
        }
        Ok(())
    }

    /// The provider's names for the key in a value; `None` when the provider does not know it. One that no record of its
    /// credential knows must not be another's.
    pub async fn recognise(
        &self,
        kind: &dyn Kind,
        document: &SecretValue,
        sight: &Sight<'_>,
        fingerprint: Option<&Fingerprint>,
    ) -> Result<Option<Facts>, Failure> {
        if sight.current.is_none() {
            self.see_unshared(sight.name, fingerprint).await?;
        }
        kind.recognise(document, sight).await
    }

    /// Whether a credential's secret is still there: the one that its records are about.
    async fn is_at_home(&self, name: &CredentialName) -> Result<bool, Failure> {
        let Some(records) = self.records.load(name).await? else { return Ok(false) };
        match self.describe(name.as_str()).await {
            Ok(secret) => Ok(secret.arn == records.head.arn),
            Err(Failure::Input(BadInput::NoSecret(_))) => Ok(false),
            // Whoever may not see it does not know.
            Err(Failure::Call(call)) if call.fault == Fault::Denied => Ok(true),
            Err(failure) => Err(failure),
        }
    }

    /// A stamp for a commit made now.
    pub fn stamp(&self, errand: &Errand<'_>, note: Option<Note>) -> Stamp {
        Stamp { at: self.ports.clock.now(), until: errand.deadline, actor: errand.actor, note }
    }

    /// Personal data and free text, to stand beside an event.
    pub fn note(&self, who: &str, reason: &str) -> Note {
        let mut salt = [0; 16];
        self.ports.entropy.fill(&mut salt);
        Note {
            salt: salt.iter().map(|byte| format!("{byte:02x}")).collect(),
            who: who.to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// Applies a change and stores it, or says who was in the way.
    pub async fn commit(&self, credential: &Credential, change: Change, stamp: &Stamp) -> Result<Credential, Stopped> {
        let commit = credential.apply(change, stamp)?;
        self.store(commit).await.map_err(Stopped::from)
    }

    pub(crate) async fn store(&self, commit: Commit) -> Result<Credential, Failure> {
        self.records.commit(&commit).await?;
        if let Some(event) = &commit.event {
            info!(
                credential = %event.credential,
                generation = event.change.generation(),
                what = event.change.word(),
                seq = event.seq,
                "committed"
            );
            metrics::counter!("Transitions", "what" => event.change.word()).increment(1);
        }
        Ok(commit.credential)
    }

    /// Works towards a goal until it is reached, something holds, or the time is over.
    pub async fn run(
        &self,
        name: &CredentialName,
        arn: Option<&str>,
        goal: &Goal,
        errand: &Errand<'_>,
    ) -> Result<(), Stopped> {
        let (observed, patience) = (Observed::default(), Patience::default());
        let mut run =
            run::Run { engine: self, name, arn, goal, errand, observed, patience, at: None, drawn: None, commits: 0 };
        // Boxed: the loop holds the futures of every adapter, and its callers should not.
        let done = Box::pin(run.finish()).await;
        match (done, goal) {
            // Nobody but the function would know.
            (Err(stopped), Goal::Step(step, token)) => Err(Box::pin(run.reject(*step, token, stopped)).await),
            (done, _) => done,
        }
    }
}

/// Counts a hold and tells it, whether or not it is recorded again.
pub(crate) fn tell_hold(name: &CredentialName, generation: Option<u32>, hold: &Hold) {
    let Hold { reason, detail } = hold;
    metrics::counter!("Holds", "reason" => reason.word()).increment(1);
    warn!(credential = %name, generation, hold = %reason, detail, remedy = reason.remedy(), "held");
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        match (failure.as_hold(), failure) {
            (Some(hold), _) => Self::Held(hold),
            (None, Failure::Input(input)) => Self::Input(input),
            (None, failure) => Self::Failed(failure),
        }
    }
}
