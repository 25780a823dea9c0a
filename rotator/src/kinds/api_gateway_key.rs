//! API keys of API Gateway's REST APIs.
//!
//! `CreateApiKey` takes no client token, so a crash after it could leave a live key that nobody knows. It does take a
//! value of our choice and refuses a second key with the same one. So the value comes first: it is drawn and stored
//! under the rotation's token before the key is made, and whoever comes later finds the key by its value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::SecondsFormat;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use state::Time;
use state::credential::{CREATED, Credential, Proof, Settlements, Version};
use state::decide::Drafted;
use state::drift::{Availability, Owner};
use state::evidence::{Owed, Sighting};
use state::hold::{Hold, HoldReason};
use state::name::Token;
use state::policy::{Policy, Traces};
use tracing::warn;

use crate::aws::api_keys::{ApiKey, ApiKeys, NewKey, Plan, SECRET_ID};
use crate::aws::probe::{Probe, Prober, Recognition};
use crate::failure::{BadInput, Failure, Fault};
use crate::kind::{
    Authorship, CREDENTIAL_TAG, Case, Facts, Identity, Kind, ProviderKey, Sight, VERSION_TAG, tag_value,
};
use crate::kinds::usage::Witness;
use crate::member::{self, Member, Places};
use crate::ports::Ports;
use crate::secret::SecretValue;

/// Where a value holds its key.
pub const PLACES: Places = Places { usual: "apiKey", taken: &["provider", "endpoint", "apiKeyId"] };
const NOT_WHOLE: &str = "is a JSON object with members, and rotator:member = . says that it is the key itself: name the \
                         member that holds the key";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM: usize = 40;
const CHECKSUM: usize = 6;
/// How many requests in a row must get through: one could have met the only server that knows the key.
const TRIES: usize = 3;

/// API keys of REST APIs.
#[derive(Debug)]
pub struct ApiGatewayKey {
    keys: Arc<ApiKeys>,
    prober: Prober,
    ports: Ports,
    prefix: String,
    witness: Witness,
}

impl ApiGatewayKey {
    /// `prefix` is the setting `ROTATOR_KEY_PREFIX`.
    pub fn new(keys: Arc<ApiKeys>, prober: Prober, witness: Witness, ports: Ports, prefix: &str) -> Self {
        Self { keys, prober, ports, prefix: prefix.to_owned(), witness }
    }
}

/// Draws a value: the prefix, 40 random characters, and a checksum of 6 over both by which a scanner recognises it
/// offline.
pub fn draw(prefix: &str, ports: &Ports) -> SecretValue {
    let mut value = zeroize::Zeroizing::new(String::from(prefix));
    while value.len() < prefix.len() + RANDOM {
        let mut bytes = zeroize::Zeroizing::new([0; 64]);
        ports.entropy.fill(bytes.as_mut_slice());
        // 248 is the largest multiple of 62 in a byte: beyond it, some characters would be likelier than others.
        let fair = bytes.iter().filter(|byte| **byte < 248).map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
        let missing = prefix.len() + RANDOM - value.len();
        value.extend(fair.take(missing));
    }
    let checksum = checksum(&value);
    value.push_str(&checksum);
    SecretValue::new(value.as_str())
}

/// Whether a string is one of ours: prefix, length, and a checksum that fits.
pub fn is_ours(prefix: &str, raw: &str) -> bool {
    raw.is_ascii()
        && raw.len() == prefix.len() + RANDOM + CHECKSUM
        && raw.starts_with(prefix)
        && checksum(&raw[..raw.len() - CHECKSUM]) == raw[raw.len() - CHECKSUM..]
}

/// The first 48 bits of SHA-256, as a number to the base 62, modulo 62^6.
fn checksum(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut number = digest[..6].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let mut digits = [0; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

fn disabled(id: &str) -> Failure {
    let detail = format!("the incumbent's key {id} is disabled: its successor would get through");
    Hold::new(HoldReason::KeyDisabled, detail).into()
}

fn not_shown(id: &str, plan: &str) -> Failure {
    Failure::NotYet(format!("API Gateway does not show key {id} in plan {plan} yet"))
}

/// A recorded plan that is not among those that are shown.
fn missing<'a>(recorded: &'a str, shown: &[Plan]) -> Option<&'a str> {
    recorded.split_whitespace().find(|id| shown.iter().all(|plan| plan.id != *id))
}

fn gone(id: &str, version: &Version) -> Failure {
    Hold::new(HoldReason::KeyVanished, format!("key {id} of generation {} is gone", version.generation)).into()
}

/// What is recorded of a key that this service did not make.
pub fn found(key: &ApiKey, plans: &[String]) -> Facts {
    let facts = [("id", &key.id), ("base", &key.name), ("name", &key.name), ("plans", &plans.join(" "))];
    let mut facts: Facts = facts.map(|(fact, value)| (fact.to_owned(), value.clone())).into();
    facts.extend(key.created.map(|at| (CREATED.to_owned(), at.to_rfc3339_opts(SecondsFormat::Secs, true))));
    facts
}

/// What to do about a key that no stage takes: an owner's matter, since the plan says for how much it is.
pub fn way_into_a_stage(id: &str) -> String {
    format!(
        "put it into a usage plan that has a stage: aws apigateway create-usage-plan-key --usage-plan-id PLAN --key-type \
         API_KEY --key-id {id}; or give its plan one: aws apigateway update-usage-plan --usage-plan-id PLAN \
         --patch-operations op=add,path=/apiStages,value=API:STAGE"
    )
}

#[async_trait]
impl Kind for ApiGatewayKey {
    fn name(&self) -> &'static str {
        "api-gateway-key"
    }

    fn tags(&self) -> &'static [&'static str] {
        &["usage-plans", "probe", member::TAG]
    }

    fn traces(&self) -> Traces {
        Traces::UseAndAllowance
    }

    fn places(&self) -> Option<Places> {
        Some(PLACES)
    }

    fn members(&self) -> &'static [&'static str] {
        PLACES.taken
    }

    fn key(&self, document: &SecretValue, policy: &Policy) -> Result<Option<SecretValue>, BadInput> {
        let name = match PLACES.of(policy)? {
            Member::Named(name) => name,
            // An object without members is the place for a first key.
            Member::Whole => match document.members() {
                None => return Ok(Some(SecretValue::new(document.expose()))),
                Some(members) if members.is_empty() => return Ok(None),
                Some(_) => return Err(BadInput::Value(NOT_WHOLE)),
            },
        };
        match parse(document)?.get(&name) {
            None => Ok(None),
            Some(Value::String(key)) if key.is_empty() => Ok(None),
            Some(Value::String(key)) => Ok(Some(SecretValue::new(key.as_str()))),
            Some(_) => Err(BadInput::Value("has no string in the member that holds the key")),
        }
    }

    async fn recognise(&self, document: &SecretValue, sight: &Sight<'_>) -> Result<Option<Facts>, Failure> {
        let Some(key) = self.key(document, sight.policy)? else { return Ok(None) };
        let Some(key) = self.keys.find("", &key).await? else { return Ok(None) };
        let ApiKey { id, enabled, tags, .. } = &key;
        if id == SECRET_ID {
            let detail = "the key in the value has an id that may be the key itself: make another one for its owner";
            return Err(Hold::new(HoldReason::Rejected, detail).into());
        }
        sight.see_unclaimed(id, tags)?;
        if !enabled && !sight.is_ordered {
            return Err(disabled(id));
        }
        let plans: Vec<String> = self.keys.plans_of(id).await?.into_iter().map(|plan| plan.id).collect();
        Ok(Some(found(&key, &plans)))
    }

    async fn mark(&self, credential: &Credential, facts: &Facts) -> Result<(), Failure> {
        let Some(id) = facts.get("id") else { return Ok(()) };
        let name = tag_value(&credential.head.name);
        Ok(self.keys.mark(id, &credential.head.arn, CREDENTIAL_TAG, &name).await?)
    }

    async fn owner(&self, facts: &Facts) -> Result<Option<Owner>, Failure> {
        let Some(id) = facts.get("id") else { return Ok(None) };
        Ok(self.keys.get(id).await?.and_then(|key| Owner::of(&key.tags)))
    }

    async fn check(&self, case: &Case<'_>) -> Result<(), Failure> {
        PLACES.of(case.policy)?;
        let wishes = Wishes::read(case)?;
        let plans = self.plans(case, &wishes).await?;
        if case.incumbent.is_none() && plans.is_empty() {
            let detail =
                "no usage plan is declared for the first key, which would open nothing: set rotator:usage-plans";
            return Err(Hold::new(HoldReason::PlanMissing, detail).into());
        }
        wishes.probes_in(&plans).map(drop)
    }

    async fn see_incumbent(&self, case: &Case<'_>) -> Result<(), Failure> {
        let incumbent = case.incumbent.and_then(|incumbent| incumbent.get("id"));
        let Some(id) = incumbent.filter(|_| !case.is_ordered()) else { return Ok(()) };
        match self.keys.get(id).await? {
            Some(key) if !key.enabled => Err(disabled(id)),
            Some(_) | None => Ok(()),
        }
    }

    async fn draft(&self, case: &Case<'_>, incumbent: Option<&SecretValue>) -> Result<SecretValue, Failure> {
        let others = match (incumbent, PLACES.of(case.replaced_form())?) {
            (None, _) | (Some(_), Member::Whole) => Map::new(),
            (Some(incumbent), Member::Named(name)) => {
                let mut others = parse(incumbent)?;
                // Whoever reads the old member would go on with the old key.
                others.remove(&name);
                others
            }
        };
        let endpoint = Wishes::read(case)?.probes.first().map(|probe| self.prober.endpoint(probe));
        Ok(written(case.policy, &draw(&self.prefix, &self.ports), others, endpoint)?)
    }

    fn christen(&self, case: &Case<'_>, _: &SecretValue) -> Result<Drafted, Failure> {
        let version = case.version();
        let base = case
            .incumbent
            .and_then(|incumbent| incumbent.get("base").cloned())
            .unwrap_or_else(|| case.credential.head.name.as_str().to_owned());
        let name = format!("{base}-{}", version.token().map(Token::short).unwrap_or_default());
        Ok(Drafted { provider: BTreeMap::from([("base".into(), base), ("name".into(), name)]), ..Drafted::default() })
    }

    async fn admit(&self, case: &Case<'_>, document: &SecretValue) -> Result<(Facts, Facts), Failure> {
        let value = self.key(document, case.form())?;
        let value = value.ok_or(BadInput::Value("has no key, but its rotation had drafted one"))?;
        let wishes = Wishes::read(case)?;
        let plans = self.plans(case, &wishes).await?;
        let id = self.adopt_or_create(case, &value).await?;
        let mut conflicts = Vec::new();
        for plan in &plans {
            match self.keys.attach(&id, &plan.id).await {
                Err(failed) if failed.fault == Fault::Conflict => conflicts.push(plan),
                other => other?,
            }
        }
        // In it already, or in another plan with the same stage: reading back tells which.
        if !conflicts.is_empty() {
            let shown = self.keys.plans_of(&id).await?;
            if let Some(missing) = conflicts.iter().find(|plan| shown.iter().all(|shown| shown.id != plan.id)) {
                return Err(not_shown(&id, &missing.id));
            }
        }
        let evidence = self.carry_quotas(case, &id, &plans).await?;
        let plans = plans.iter().map(|plan| plan.id.as_str()).collect::<Vec<_>>().join(" ");
        Ok((BTreeMap::from([("id".into(), id), ("plans".into(), plans)]), evidence))
    }

    async fn prove(&self, case: &Case<'_>, document: &SecretValue) -> Result<Proof, Failure> {
        let key = self.key(document, case.form())?.ok_or(BadInput::Value("has no key"))?;
        let wishes = Wishes::read(case)?;
        let id = case.version.map(|version| &version.provider).or(case.incumbent).and_then(|facts| facts.get("id"));
        let plans = match id {
            Some(id) => self.keys.plans_of(id).await?,
            None => self.plans(case, &wishes).await?,
        };
        let recorded = case.version.and_then(|version| version.provider.get("plans")).map_or("", String::as_str);
        let unproven = match (wishes.probes_in(&plans), id) {
            // A probe into a plan that was just attached is no stranger's.
            (Err(_), Some(id)) if let Some(missing) = missing(recorded, &plans) => {
                return Err(not_shown(id, missing));
            }
            (unproven, _) => unproven?,
        };
        for probe in &wishes.probes {
            for _ in 0..TRIES {
                match self.prober.send(probe, &key).await {
                    Recognition::Recognised => {}
                    Recognition::Refused => return Err(Failure::NotYet(format!("{probe} refuses the new key"))),
                    Recognition::Inconclusive(why) => return Err(Failure::NotYet(format!("{probe}: {why}"))),
                }
            }
            match self.prober.send(probe, &draw(&self.prefix, &self.ports)).await {
                Recognition::Refused => {}
                Recognition::Recognised => {
                    return Err(Hold::new(
                        HoldReason::MethodUnprotected,
                        format!("{probe} lets a made-up key through"),
                    )
                    .into());
                }
                Recognition::Inconclusive(why) => {
                    return Err(Failure::NotYet(format!("{probe} with a made-up key: {why}")));
                }
            }
        }
        Ok(Proof { proven: wishes.probes.iter().map(ToString::to_string).collect(), unproven })
    }

    async fn see_accepted(&self, case: &Case<'_>, document: Option<&SecretValue>) -> Result<u64, Failure> {
        match document {
            Some(document) => Ok((self.prove(case, document).await?.proven.len() * TRIES) as u64),
            None => Ok(0),
        }
    }

    async fn is_blocked(&self, case: &Case<'_>, incumbent: &SecretValue) -> Result<bool, Failure> {
        let Some(key) = self.key(incumbent, case.replaced_form())? else { return Ok(false) };
        // A key that somebody disabled or deleted is refused wherever it is sent from: that tells nothing of the way.
        let id = case.incumbent.and_then(|incumbent| incumbent.get("id"));
        let Some(id) = id else { return Ok(false) };
        if !self.keys.get(id).await?.is_some_and(|key| key.enabled) {
            return Ok(false);
        }
        // Nor does a stage that none of its plans opens.
        let opened: BTreeSet<String> = self.keys.plans_of(id).await?.into_iter().flat_map(|plan| plan.stages).collect();
        let mut is_blocked = false;
        for probe in Wishes::read(case)?.probes.iter().filter(|probe| opened.contains(&probe.stage_key())) {
            if self.prober.send(probe, &key).await == Recognition::Recognised {
                return Ok(false);
            }
            is_blocked = true;
        }
        Ok(is_blocked)
    }

    async fn confirm(&self, case: &Case<'_>) -> Result<(), Failure> {
        let version = case.version();
        let Some(id) = version.provider.get("id") else {
            let detail = format!("the key of generation {} is gone and not made again yet", version.generation);
            return Err(Hold::new(HoldReason::KeyVanished, detail).into());
        };
        match self.keys.get(id).await? {
            Some(key) if key.enabled => {}
            Some(_) => {
                let detail =
                    format!("key {id} of generation {} is disabled: consumers would be refused", version.generation);
                return Err(Hold::new(HoldReason::KeyDisabled, detail).into());
            }
            None => return Err(gone(id, version)),
        }
        let attached: BTreeSet<String> = self.keys.plans_of(id).await?.into_iter().map(|plan| plan.id).collect();
        let wanted = version.provider.get("plans").map_or("", String::as_str);
        match wanted.split_whitespace().find(|plan| !attached.contains(*plan)) {
            None => Ok(()),
            Some(lost) => Err(Hold::new(HoldReason::PlanLost, format!("key {id} is no longer in plan {lost}")).into()),
        }
    }

    async fn witness(&self, case: &Case<'_>) -> Result<Sighting, Failure> {
        self.witness.look(case).await
    }

    async fn settle(&self, case: &Case<'_>, owed: &Owed) -> Result<Settlements, Failure> {
        self.witness.settle(case, owed).await
    }

    async fn refusals(&self, case: &Case<'_>, since: Time, until: Time) -> Result<Option<u64>, Failure> {
        self.witness.refusals(case, since, until).await
    }

    async fn restore(&self, case: &Case<'_>, document: Option<&SecretValue>) -> Result<Facts, Failure> {
        let version = case.version();
        let id = match version.provider.get("id") {
            Some(id) => {
                if !self.keys.set_enabled(id, true).await? {
                    return Err(gone(id, version));
                }
                id.clone()
            }
            None => {
                let value = document.map(|document| self.key(document, case.form())).transpose()?.flatten();
                let value = value.ok_or(BadInput::Value("has no key, and its key is to be made again"))?;
                self.adopt_or_create(case, &value).await?
            }
        };
        let recorded = version.provider.get("plans").map_or("", String::as_str);
        let attached = |plans: Vec<Plan>| plans.into_iter().map(|plan| plan.id).collect::<BTreeSet<String>>();
        let before = attached(self.keys.plans_of(&id).await?);
        let mut missing: Vec<&str> = recorded.split_whitespace().filter(|plan| !before.contains(*plan)).collect();
        // Where somebody moved it, it stays.
        let replaced = self.replaced(&missing, &before).await?;
        missing.retain(|plan| !replaced.contains_key(*plan));
        for plan in &missing {
            match self.keys.attach(&id, plan).await {
                Err(failed) if failed.fault == Fault::Conflict => {}
                other => other?,
            }
        }
        if !missing.is_empty() {
            let after = attached(self.keys.plans_of(&id).await?);
            if let Some(plan) = missing.iter().find(|plan| !after.contains(**plan)) {
                return Err(not_shown(&id, plan));
            }
        }
        Ok(BTreeMap::from([("id".into(), id)]))
    }

    async fn identity(&self, case: &Case<'_>) -> Result<Option<Identity>, Failure> {
        match case.version().provider.get("id") {
            Some(id) => Ok(self.keys.value(id).await?.map(Identity::Value)),
            None => Ok(None),
        }
    }

    async fn authorship(&self, _: &Case<'_>, key: &str) -> Result<Authorship, Failure> {
        Ok(self.keys.value(key).await?.map_or(Authorship::Shown(false), Authorship::Value))
    }

    async fn suspend(&self, case: &Case<'_>, document: Option<&SecretValue>) -> Result<Facts, Failure> {
        if let Some(id) = case.version().provider.get("id") {
            // A key that is gone is refused as well.
            self.keys.set_enabled(id, false).await?;
            return Ok(Facts::new());
        }
        let Some(value) = document.map(|document| self.key(document, case.policy)).transpose()?.flatten() else {
            return Ok(Facts::new());
        };
        match self.find_made(case, &value).await? {
            None => Ok(Facts::new()),
            Some(id) => {
                self.keys.set_enabled(&id, false).await?;
                Ok(BTreeMap::from([("id".into(), id)]))
            }
        }
    }

    async fn survey(&self) -> Result<Vec<ProviderKey>, Failure> {
        let mut plans = self.keys.memberships(&self.keys.plans().await?).await?;
        let keys = self.keys.list("").await?.into_iter().map(|key| {
            let plans = plans.remove(&key.id).unwrap_or_default().into_iter();
            shown((plans.map(|plan| plan.id).collect(), key))
        });
        Ok(keys.collect())
    }

    async fn inventory(
        &self,
        credential: &Credential,
        surveyed: Option<Vec<ProviderKey>>,
    ) -> Result<Option<Vec<ProviderKey>>, Failure> {
        let mut keys = match surveyed {
            Some(surveyed) => surveyed,
            None => self.look_for(credential).await?,
        };
        for version in credential.versions.values() {
            let key = keys.iter_mut().find(|key| version.provider.get("id") == Some(&key.id));
            if let Some((ProviderKey { plans: Some(plans), replaced, .. }, noted)) =
                key.zip(version.provider.get("plans"))
            {
                let lost: Vec<&str> = noted.split_whitespace().filter(|plan| !plans.contains(*plan)).collect();
                *replaced = self.replaced(&lost, plans).await?;
            }
        }
        Ok(Some(keys))
    }

    async fn destroy(&self, case: &Case<'_>) -> Result<(), Failure> {
        match case.version().provider.get("id") {
            Some(id) => Ok(self.keys.delete(id).await?),
            None => Ok(()),
        }
    }

    /// One request with the old value, where the owner named a probe, and one with the current value.
    async fn is_refused(
        &self,
        case: &Case<'_>,
        document: Option<&SecretValue>,
        control: Option<&SecretValue>,
    ) -> Result<Option<bool>, Failure> {
        let key = |document: Option<&SecretValue>, form| document.map(|document| self.key(document, form)).transpose();
        let form = case.control().map_or(case.policy, |current| &current.policy);
        let (old, current) = (key(document, case.form())?.flatten(), key(control, form)?.flatten());
        let (Some(old), Some(current)) = (old, current) else { return Ok(None) };
        let Some(probe) = self.shared_probe(case).await? else { return Ok(None) };
        match self.prober.send(&probe, &old).await {
            Recognition::Recognised => return Ok(Some(false)),
            Recognition::Refused => {}
            Recognition::Inconclusive(why) => return Err(Failure::NotYet(format!("{probe}: {why}"))),
        }
        match self.prober.send(&probe, &current).await {
            Recognition::Recognised => Ok(Some(true)),
            Recognition::Refused => Err(Failure::NotYet(format!(
                "{probe} refuses the current key as well, so it is not the key: a firewall, a policy or the network is in \
                 the way"
            ))),
            Recognition::Inconclusive(why) => Err(Failure::NotYet(format!("{probe} with the current key: {why}"))),
        }
    }
}

impl ApiGatewayKey {
    /// A probe of a stage that both a version's key and the current one are for: no stranger is sent a key.
    async fn shared_probe(&self, case: &Case<'_>) -> Result<Option<Probe>, Failure> {
        let (wishes, version) = (Wishes::read(case)?, case.version());
        let (Some(id), Some(current)) = (version.provider.get("id"), case.control()) else { return Ok(None) };
        let stages = |plans: Vec<Plan>| plans.into_iter().flat_map(|plan| plan.stages).collect::<BTreeSet<String>>();
        let old = stages(self.keys.plans_of(id).await?);
        let present = match current.provider.get("id") {
            Some(id) => stages(self.keys.plans_of(id).await?),
            None => BTreeSet::new(),
        };
        let is_shared = |probe: &&Probe| old.contains(&probe.stage_key()) && present.contains(&probe.stage_key());
        Ok(wishes.probes.iter().find(is_shared).cloned())
    }

    /// The recorded ones by id, and those whose names begin as rotated keys' do. A tagged key of another name is found by
    /// a survey alone.
    async fn look_for(&self, credential: &Credential) -> Result<Vec<ProviderKey>, Failure> {
        let mut bases: BTreeSet<&str> = credential
            .versions
            .values()
            .filter_map(|version| version.provider.get("base"))
            .map(String::as_str)
            .collect();
        bases.insert(credential.head.name.as_str());
        let mut keys: BTreeMap<String, ApiKey> = BTreeMap::new();
        for base in bases {
            keys.extend(self.keys.list(base).await?.into_iter().map(|key| (key.id.clone(), key)));
        }
        let recorded: BTreeSet<&String> =
            credential.versions.values().filter_map(|version| version.provider.get("id")).collect();
        let name = tag_value(&credential.head.name);
        keys.retain(|id, key| recorded.contains(id) || key.tags.get(CREDENTIAL_TAG) == Some(&name));
        for id in recorded {
            if !keys.contains_key(id)
                && let Some(key) = self.keys.get(id).await?
            {
                keys.insert(id.clone(), key);
            }
        }
        let mut found = Vec::new();
        for key in keys.into_values() {
            let plans = self.keys.plans_of(&key.id).await?.into_iter().map(|plan| plan.id).collect();
            found.push(shown((plans, key)));
        }
        Ok(found)
    }

    /// Of plans that a key is not in any more, those that it can't be put into: because they are deleted, or because it is
    /// in another with a stage of theirs.
    async fn replaced(
        &self,
        lost: &[&str],
        present: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Option<String>>, Failure> {
        let mut replaced = BTreeMap::new();
        if lost.is_empty() {
            return Ok(replaced);
        }
        let mut others = Vec::new();
        for id in present {
            others.extend(self.keys.plan(id).await?);
        }
        for id in lost {
            match self.keys.plan(id).await? {
                None => _ = replaced.insert((*id).to_owned(), None),
                Some(plan) => {
                    let by = others.iter().find(|other| !other.stages.is_disjoint(&plan.stages));
                    replaced.extend(by.map(|by| ((*id).to_owned(), Some(by.id.clone()))));
                }
            }
        }
        Ok(replaced)
    }

    /// The plans that the next key belongs in: the declared ones, and the incumbent's where none is declared for the stage.
    async fn plans(&self, case: &Case<'_>, wishes: &Wishes) -> Result<Vec<Plan>, Failure> {
        let incumbent = case.incumbent.and_then(|incumbent| incumbent.get("id"));
        let mut inherited = match incumbent {
            Some(id) => self.keys.plans_of(id).await?,
            None => Vec::new(),
        };
        let mut plans: Vec<Plan> = Vec::new();
        for id in &wishes.plans {
            let known = inherited.iter().find(|plan| plan.id == *id).cloned();
            let plan = match known {
                Some(plan) => plan,
                None => {
                    let missing = || Hold::new(HoldReason::PlanMissing, format!("there is no usage plan {id}"));
                    let plan = self.keys.plan(id).await?.ok_or_else(missing)?;
                    let name = case.credential.head.name.as_str();
                    if !plan.tags.get("rotator:allow").is_some_and(|patterns| allows(patterns, name)) {
                        let detail = format!("usage plan {id} has no tag rotator:allow that matches {name}");
                        return Err(Hold::new(HoldReason::PlanNotAllowed, detail).into());
                    }
                    plan
                }
            };
            if let Some(other) = plans.iter().find(|other| !other.stages.is_disjoint(&plan.stages)) {
                let detail = format!("the declared plans {} and {id} are for the same stage", other.id);
                return Err(Hold::new(HoldReason::PlanConflict, detail).into());
            }
            plans.push(plan);
        }
        let declared: BTreeSet<String> = plans.iter().flat_map(|plan| plan.stages.iter().cloned()).collect();
        if let Some(id) = incumbent {
            let is_gone = inherited.is_empty() && self.keys.get(id).await?.is_none();
            if is_gone && wishes.plans.is_empty() && !case.is_ordered() {
                return Err(Hold::new(HoldReason::KeyVanished, format!("the incumbent's key {id} is gone")).into());
            }
            let lost = self.lost(case, &inherited).await?;
            // What the incumbent has lost, its successor must not lose, too. An emergency puts that right on the way.
            let missed = lost.iter().find(|plan| !plan.stages.is_subset(&declared));
            if let Some(plan) = missed.filter(|_| !is_gone && !case.is_ordered()) {
                let detail = format!("the record has the incumbent's key {id} in plan {}, and it is not", plan.id);
                return Err(Hold::new(HoldReason::PlanLost, detail).into());
            }
            inherited.extend(lost);
        }
        for plan in inherited {
            if plans.iter().any(|declared| declared.id == plan.id) {
                continue;
            }
            if plan.stages.is_disjoint(&declared) {
                plans.push(plan);
            } else if !plan.stages.is_subset(&declared) {
                let detail =
                    format!("plan {} of the incumbent shares only some of its stages with a declared plan", plan.id);
                return Err(Hold::new(HoldReason::PlanConflict, detail).into());
            }
        }
        Ok(plans)
    }

    /// The plans that the incumbent's record names, that are still there, and that its key is not in any more; but not where
    /// somebody moved it to another plan of the same stage.
    async fn lost(&self, case: &Case<'_>, present: &[Plan]) -> Result<Vec<Plan>, Failure> {
        let recorded = case.incumbent.and_then(|incumbent| incumbent.get("plans")).map_or("", String::as_str);
        let mut lost = Vec::new();
        for id in recorded.split_whitespace().filter(|id| present.iter().all(|plan| plan.id != **id)) {
            if let Some(plan) = self.keys.plan(id).await?
                && present.iter().all(|other| other.stages.is_disjoint(&plan.stages))
            {
                lost.push(plan);
            }
        }
        Ok(lost)
    }

    async fn adopt_or_create(&self, case: &Case<'_>, value: &SecretValue) -> Result<String, Failure> {
        let version = case.version();
        let mut key = match case.incumbent.and_then(|incumbent| incumbent.get("id")) {
            // Gone, but its plans are declared: the next one is made without its description.
            Some(id) => self.keys.get(id).await?.unwrap_or_default(),
            None => ApiKey::default(),
        };
        key.name = version.provider.get("name").cloned().unwrap_or_default();
        key.enabled = true;
        key.tags.retain(|tag, _| !tag.starts_with("aws:") && !tag.starts_with("rotator:"));
        key.tags.insert(CREDENTIAL_TAG.into(), tag_value(&case.credential.head.name));
        key.tags.insert(VERSION_TAG.into(), version.id.to_string());
        match self.keys.create(&NewKey { value, key: &key }).await {
            Ok(id) => return Ok(id),
            Err(failed) if failed.fault == Fault::Conflict => {}
            Err(failed) => return Err(failed.into()),
        }
        // A key with this value exists: ours from before a crash, or a stranger's.
        if let Some(id) = self.find_made(case, value).await? {
            return Ok(id);
        }
        match self.keys.find("", value).await? {
            Some(other) => {
                let detail = format!("the drafted value belongs to key {} ({:?})", other.id, other.name);
                Err(Hold::new(HoldReason::KeyNotOurs, detail).into())
            }
            None => Err(Failure::NotYet("API Gateway knows a key with this value but does not list it yet".into())),
        }
    }

    /// The id of the key that a lost `CreateApiKey` made for this version. Whoever reads the records can give a key of
    /// their own the name that was recorded before, and our tag, but not the value that was drawn.
    async fn find_made(&self, case: &Case<'_>, value: &SecretValue) -> Result<Option<String>, Failure> {
        let version = case.version();
        let Some(name) = version.provider.get("name") else { return Ok(None) };
        let id = version.id.to_string();
        let named = self.keys.list(name).await?.into_iter();
        for key in named.filter(|key| key.name == *name && key.tags.get(VERSION_TAG) == Some(&id)) {
            if self.keys.value(&key.id).await?.is_some_and(|found| found.same_as(value)) {
                return Ok(Some(key.id));
            }
            warn!(key = key.id, "left alone: it has our name and tag, and another value");
        }
        Ok(None)
    }

    /// A rotation neither refills nor empties what a customer may still use: the new key gets what the incumbent has
    /// left in the period that today is in, whatever its length. Nothing is lowered where the data is missing.
    async fn carry_quotas(&self, case: &Case<'_>, id: &str, plans: &[Plan]) -> Result<Facts, Failure> {
        let mut evidence = Facts::new();
        let Some(incumbent) = case.incumbent.and_then(|incumbent| incumbent.get("id")) else {
            return Ok(evidence);
        };
        for plan in plans {
            let Some((limit, _)) = plan.quota else { continue };
            let left = self.keys.remaining(&plan.id, incumbent, case.now).await?;
            let Some(left) = left.filter(|left| *left < limit) else { continue };
            self.keys.set_remaining(&plan.id, id, left).await?;
            let shown = self.keys.remaining(&plan.id, id, case.now).await?;
            evidence.insert(format!("quota:{}", plan.id), left.to_string());
            if shown != Some(left) {
                evidence.insert(format!("quota-shown:{}", plan.id), shown.map_or("nothing".into(), |n| n.to_string()));
            }
        }
        Ok(evidence)
    }
}

fn shown((plans, key): (BTreeSet<String>, ApiKey)) -> ProviderKey {
    let availability = if key.enabled { Availability::Enabled } else { Availability::Disabled };
    let (plans, replaced) = (Some(plans), BTreeMap::new());
    ProviderKey { id: key.id, name: key.name, availability, plans, replaced, tags: key.tags }
}

/// The wishes that only this kind knows.
struct Wishes {
    plans: Vec<String>,
    probes: Vec<Probe>,
}

impl Wishes {
    fn read(case: &Case<'_>) -> Result<Self, BadInput> {
        let listed = |tag: &str| case.policy.wishes.get(tag).map_or("", String::as_str).split_whitespace();
        let mut plans = Vec::new();
        for plan in listed("usage-plans") {
            if !plan.bytes().all(|b| b.is_ascii_alphanumeric()) {
                let rule = "write the ids of usage plans, separated by spaces";
                return Err(BadInput::Tag { tag: "usage-plans", found: plan.to_owned(), rule });
            }
            if !plans.iter().any(|known| known == plan) {
                plans.push(plan.to_owned());
            }
        }
        let mut probes = Vec::new();
        for probe in listed("probe").filter(|probe| *probe != "none") {
            let bad = |rule| BadInput::Tag { tag: "probe", found: probe.to_owned(), rule };
            probes.push(Probe::parse(probe).map_err(bad)?);
        }
        Ok(Self { plans, probes })
    }

    /// Refuses probes that lead outside these plans: the name space of APIs is one for all accounts, and a new key
    /// could be sent to a stranger. Returns the stages that no probe covers.
    fn probes_in(&self, plans: &[Plan]) -> Result<Vec<String>, Failure> {
        let stages: BTreeSet<&String> = plans.iter().flat_map(|plan| &plan.stages).collect();
        let probed: BTreeSet<String> = self.probes.iter().map(Probe::stage_key).collect();
        if let Some(foreign) = probed.iter().find(|stage| !stages.contains(stage)) {
            let detail = format!("{foreign} is in none of the usage plans of this key");
            return Err(Hold::new(HoldReason::ProbeForeign, detail).into());
        }
        Ok(stages.into_iter().filter(|stage| !probed.contains(*stage)).cloned().collect())
    }
}

/// A value with that key and those other members, as the wishes have it.
pub fn written(
    policy: &Policy,
    key: &SecretValue,
    mut others: Map<String, Value>,
    endpoint: Option<String>,
) -> Result<SecretValue, BadInput> {
    // Known only once the key is made, and a value can't be changed: the old key's id must not stay.
    others.remove("apiKeyId");
    let name = match PLACES.of(policy)? {
        Member::Named(name) => name,
        Member::Whole if others.keys().all(|member| PLACES.taken.contains(&member.as_str())) => {
            return Ok(SecretValue::new(key.expose()));
        }
        Member::Whole => return Err(BadInput::Value(NOT_WHOLE)),
    };
    others.entry("provider").or_insert_with(|| "api-gateway".into());
    if let Some(endpoint) = endpoint {
        others.entry("endpoint").or_insert_with(|| endpoint.into());
    }
    others.insert(name, key.expose().into());
    Ok(SecretValue::new(Value::Object(others).to_string()))
}

fn parse(document: &SecretValue) -> Result<Map<String, Value>, BadInput> {
    document.members().ok_or(BadInput::Value(
        "is not a JSON object: write for instance {\"apiKey\": \"...\"}; for a value that is the key itself, set the tag \
         rotator:member = . before its first rotation",
    ))
}

/// Whether one of the patterns, separated by spaces, matches: a whole name, or the beginning of one up to a `/`; `/`
/// alone matches every name. There is no `*`, because tag values can't have one.
fn allows(patterns: &str, name: &str) -> bool {
    patterns
        .split_whitespace()
        .any(|pattern| pattern == name || pattern == "/" || pattern.ends_with('/') && name.starts_with(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Entropy;

    #[derive(Debug)]
    struct Counting;

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            for (n, byte) in bytes.iter_mut().enumerate() {
                *byte = u8::try_from(n * 7 % 256).unwrap();
            }
        }
    }

    fn drawn() -> String {
        let ports = Ports { entropy: Arc::new(Counting), ..Ports::real() };
        draw("krt1", &ports).expose().to_owned()
    }

    #[test]
    fn a_value_is_recognised_offline_and_a_misspelt_one_is_not() {
        let value = drawn();
        assert_eq!(value.len(), 50);
        assert!(value.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert!(is_ours("krt1", &value));
        let mut misspelt = value.clone().into_bytes();
        misspelt[10] = if misspelt[10] == b'x' { b'y' } else { b'x' };
        assert!(!is_ours("krt1", std::str::from_utf8(&misspelt).unwrap()));
        assert!(!is_ours("krt2", &value));
        assert!(!is_ours("krt1", "krt1"));
    }

    #[test]
    fn a_plan_allows_by_pattern() {
        for (patterns, name, yes) in [
            ("partner/", "partner/acme", true),
            ("partner/", "internal/acme", false),
            ("partner", "partner/acme", false),
            ("/", "anything", true),
            ("a b", "b", true),
            ("a", "ab", false),
            ("", "x", false),
        ] {
            assert_eq!(allows(patterns, name), yes, "{patterns} {name}");
        }
    }

    #[test]
    fn a_value_that_is_no_object_is_refused_without_being_quoted() {
        for bad in ["marked-value", "\"marked-value\"", "[\"marked-value\"]"] {
            let said = parse(&SecretValue::new(bad)).unwrap_err().to_string();
            assert!(!said.contains("marked"), "{said}");
        }
    }
}
