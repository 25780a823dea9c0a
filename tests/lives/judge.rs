//! What must hold after every step: every invariant of every credential, and that consumers get through.
//!
//! What a person at the console broke may stand until it is repaired or reconciled, and nothing else: it is what was
//! seen directly after that person's act.

use std::collections::BTreeSet;

use rotator::aws::probe::{Probe, Recognition};
use rotator::secret::SecretValue;
use serde_json::Value;
use state::credential::{Credential, Version};
use state::decide::AWSCURRENT;
use state::invariants::{Outside, Violation, check};
use state::lifecycle::State;

use crate::harness::API;
use crate::harness::signing::{Signer, Verifier};
use crate::harness::webhooks::Reader;

use super::acts::Seen;
use super::beginning::Kind;
use super::life::{Life, Living};

/// What a life must not come to.
#[derive(Debug)]
pub struct Broken {
    /// Of which credential.
    pub of: usize,
    pub what: String,
}

/// What a person at the console broke, and nobody has put right yet.
#[derive(Clone, Debug, Default)]
pub struct Excuse {
    /// Broken invariants.
    facts: BTreeSet<String>,
    /// Versions on their way whose key is disabled: that breaks none as long as they are not active.
    off: BTreeSet<u32>,
    /// Consumers don't get through.
    outage: bool,
    /// Somebody was at the console, and nobody has looked since.
    pub is_touched: bool,
}

/// How a credential is now.
struct Looked {
    seen: Seen,
    facts: BTreeSet<String>,
    outage: bool,
}

impl Life {
    /// Every credential as it is now, if nothing is wrong that has no excuse.
    pub async fn judged(&mut self) -> Result<Vec<Seen>, Broken> {
        let mut all = Vec::new();
        for of in 0..self.credentials.len() {
            let Looked { mut seen, facts, outage } = self.look(of).await;
            let excuse = &mut self.credentials[of].excuse;
            excuse.off.retain(|generation| seen.keys.contains(&(*generation, false)));
            excuse.facts.extend(excuse.off.iter().copied().map(refused));
            let new: Vec<String> = facts.difference(&excuse.facts).cloned().collect();
            let is_excused = excuse.outage || excuse.is_touched && reads_compromised(&seen);
            let is_new = outage && !is_excused;
            // What is right again is excused no longer.
            excuse.facts.retain(|fact| facts.contains(fact));
            excuse.outage &= outage;
            let standing: Vec<&str> =
                excuse.facts.iter().map(String::as_str).chain(excuse.outage.then_some("an outage")).collect();
            seen.is_broken = excuse.is_touched || !standing.is_empty();
            let note = if standing.is_empty() { String::new() } else { format!("; broken by hand: {standing:?}") };
            self.say_how_it_is(of, &seen, &note);
            if !new.is_empty() {
                return Err(Broken { of, what: format!("{}: broken invariants: {new:?}", self.name(of)) });
            }
            if is_new {
                return Err(Broken { of, what: format!("{}: consumers don't get through", self.name(of)) });
            }
            all.push(seen);
        }
        Ok(all)
    }

    /// A person has just done something at the console: what is wrong now is excused.
    pub async fn excuse(&mut self, of: usize) {
        let Looked { facts, outage, seen } = self.look(of).await;
        self.credentials[of].excuse = Excuse { facts, off: seen.off().collect(), outage, is_touched: true };
    }

    /// Somebody has put everything right, says the service: what is wrong from now on has no excuse. Some keys it leaves
    /// alone, and does not speak of: that of a suspended version, which is gone and is not made again only to be deleted;
    /// that of a compromised one, which an emergency is to replace; and that of a version with which something is under
    /// way, which whoever is at work on it meets.
    pub async fn end_excuse(&mut self, of: usize) {
        let credential = self.observer.records.load(&self.credentials[of].name).await.expect("readable");
        let stays = |version: &Version, fact: &String| {
            let (missing, refused) = (missing(version.generation), refused(version.generation));
            let is_left_alone = version.compromised.is_some() || version.phase.is_some();
            let is_suspended = version.state == State::Suspended && *fact == missing;
            is_suspended || is_left_alone && [missing, refused].contains(fact)
        };
        let versions = || credential.iter().flat_map(|credential| credential.versions.values());
        let is_compromised = |credential: &Credential| credential.current().is_some_and(|it| it.compromised.is_some());
        let excuse = &mut self.credentials[of].excuse;
        excuse.facts.retain(|fact| versions().any(|version| stays(version, fact)));
        excuse.off.retain(|generation| versions().any(|version| stays(version, &refused(*generation))));
        excuse.outage &= credential.as_ref().is_some_and(is_compromised);
        excuse.is_touched = false;
    }

    async fn look(&mut self, of: usize) -> Looked {
        let name = &self.credentials[of].name.clone();
        let records = &self.observer.records;
        let credential = records.load(name).await.expect("readable");
        let secret = self.observer.describe(name.as_str()).await.expect("there is a secret");
        let (mut facts, mut keys) = (BTreeSet::new(), Vec::new());
        if let Some(credential) = &credential {
            let outside = self.stage.outside(credential, secret.clone());
            let key = |version: &Version| Some((version.generation, *outside.keys.get(version.provider.get("id")?)?));
            keys = credential.versions.values().filter_map(key).collect();
            facts = self.facts(of, credential, &outside).await;
        }
        // Consumers read a key from the moment on at which it has the label, whether its records tell so already or not.
        let labelled = secret.holder(AWSCURRENT);
        let has_key = credential.as_ref().is_some_and(|credential| {
            credential.head.current.is_some() || labelled.is_some_and(|token| credential.by_carrier(token).is_some())
        });
        let mut outage = has_key && !self.gets_through(of).await;
        // What no probe shows becomes current before everybody has heard of it, and is marked unproven for that.
        if outage && !self.credentials[of].is_probed {
            self.sleep(self.let_in_after()).await;
            outage = !self.gets_through(of).await;
        }
        let kind = self.credentials[of].kind;
        Looked { seen: Seen { kind, credential, secret, keys, is_broken: false }, facts, outage }
    }

    async fn facts(&mut self, of: usize, credential: &Credential, outside: &Outside) -> BTreeSet<String> {
        let name = &credential.head.name;
        // Read only when there is more of it: that the end fits is what the chain is for.
        if self.credentials[of].history.last().map(|event| event.seq) != Some(credential.head.ledger.seq) {
            let entries = self.observer.records.history(name).await.expect("readable");
            self.credentials[of].history = entries.into_iter().map(|entry| entry.event).collect();
        }
        let violations = check(credential, &self.credentials[of].history, outside);
        violations.iter().map(|violation| fact(credential, violation)).collect()
    }

    /// Whether somebody who reads the secret now, and has never read it before, gets through with what it holds.
    async fn gets_through(&self, of: usize) -> bool {
        let Living { name, kind, .. } = &self.credentials[of];
        let read = self.stage.secrets_manager().get_secret_value().secret_id(name.as_str()).send().await;
        let Ok(read) = read else { return false };
        let value: Value = serde_json::from_str(read.secret_string().unwrap_or_default()).unwrap_or_default();
        match kind {
            Kind::ApiKey => {
                let Some(key) = value["apiKey"].as_str() else { return false };
                let probe = Probe::parse(&format!("{API}/prod/ping")).expect("a probe");
                // Consumers come another way than the service.
                self.stage.aws.block(API, false);
                let met = self.observer.prober.send(&probe, &SecretValue::new(key)).await;
                self.stage.aws.block(API, self.is_blocked);
                met == Recognition::Recognised
            }
            Kind::Webhook => {
                if value["signing"].is_null() {
                    return false;
                }
                let message = Reader::of(name.as_str()).send(&self.stage).await;
                Reader::of(name.as_str()).accepts(&self.stage, &message).await
            }
            Kind::Kms | Kind::Jwt => {
                if !value["signer"]["kid"].is_string() {
                    return false;
                }
                let mut signer = Signer::holding(self.stage.clock.now(), value);
                match signer.sign(&self.stage, name.as_str()).await {
                    Ok(token) => Verifier::authorizer().accepts(&self.stage, name.as_str(), &token).await,
                    Err(_) => false,
                }
            }
        }
    }
}

/// What is broken, whatever became of the version since: a key that somebody disabled is refused while its version is
/// active, and still is when that is deactivated.
fn fact(credential: &Credential, violation: &Violation) -> String {
    let said = violation.to_string();
    for version in credential.versions.values() {
        let g = version.generation;
        let of_its_key = [
            format!("I1: the key of generation {g}, which is active, is refused"),
            format!("I4: the key of generation {g} is refused, but nobody recorded that it would be"),
        ];
        if of_its_key.contains(&said) {
            return refused(g);
        }
        if said.ends_with(&format!("of generation {g}, which is {}, is missing", version.state)) {
            return missing(g);
        }
    }
    said
}

/// Whether somebody moved `AWSCURRENT` to a key that a stranger has: an emergency lets nobody in with it for much longer.
fn reads_compromised(seen: &Seen) -> bool {
    let read = seen.labelled(AWSCURRENT).filter(|read| Some(*read) != seen.current());
    let version = read.and_then(|read| seen.credential.as_ref()?.versions.get(&read));
    version.is_some_and(|version| version.compromised.is_some())
}

fn refused(generation: u32) -> String {
    format!("the key of generation {generation} is refused")
}

fn missing(generation: u32) -> String {
    format!("the key of generation {generation} is missing")
}
