//! Repair and reconcile: one examination, one way to put right what it finds.
//!
//! What is wrong, and what puts it right, is said by [`state::drift`]. Here the outside is looked at, findings are put
//! right through the engine, one at a time, and every cure is preceded by another look. For many credentials the
//! provider's keys are surveyed once, and each credential's part is taken from there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use state::concern::Concerns;
use state::credential::{Credential, Fingerprint, Version};
use state::decide::{AWSCURRENT, AWSPENDING, Goal, Secret};
use state::drift::{Finding, FoundKey, Holds, Inventory, Owner, Remedy, Scope, Served, Stray, examine, orphaned};
use state::hold::{Hold, HoldReason};
use state::lifecycle::State;
use state::name::{CredentialName, Token};
use state::policy::Policy;
use tracing::warn;

use uuid::Uuid;

use crate::engine::{Engine, Errand, gone};
use crate::failure::{BadInput, Disposition, Failure, Stopped, chain};
use crate::kind::{Authorship, CREDENTIAL_TAG, Case, Kind, ProviderKey, VERSION_TAG, tag_value};
use crate::patience::Patience;

/// How many credentials are looked at at the same time: most of the time is spent waiting for answers.
const ABREAST: usize = 8;

/// The provider's keys of this account as they were at one moment, by the name of the kind that they could be of.
#[derive(Debug, Default)]
pub struct Survey(BTreeMap<&'static str, Surveyed>);

/// The keys of one kind, to be found by a record's id and by the name in a tag: each of ten thousand credentials asks.
#[derive(Debug, Default)]
struct Surveyed {
    keys: Vec<ProviderKey>,
    by_id: HashMap<String, usize>,
    by_claim: HashMap<String, Vec<usize>>,
}

impl Surveyed {
    fn new(keys: Vec<ProviderKey>) -> Self {
        let (mut by_id, mut by_claim) = (HashMap::new(), HashMap::<String, Vec<usize>>::new());
        for (place, key) in keys.iter().enumerate() {
            by_id.insert(key.id.clone(), place);
            if let Some(claim) = key.tags.get(CREDENTIAL_TAG) {
                by_claim.entry(claim.clone()).or_default().push(place);
            }
        }
        Self { keys, by_id, by_claim }
    }

    /// Those that a credential's records name, and those whose tags name the credential.
    fn of(&self, credential: &Credential) -> Vec<ProviderKey> {
        let recorded = credential.versions.values().filter_map(|version| version.provider.get("id"));
        let recorded = recorded.filter_map(|id| self.by_id.get(id));
        let claimed = self.by_claim.get(&tag_value(&credential.head.name)).into_iter().flatten();
        let places: BTreeSet<usize> = recorded.chain(claimed).copied().collect();
        places.into_iter().map(|place| self.keys[place].clone()).collect()
    }
}

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Breadth<'s> {
    /// The labels and the values that have them.
    Labels,
    /// The provider's keys and the key set too; the keys out of a survey, if there was one.
    Everything(Option<&'s Survey>),
}

/// What was found of one credential.
#[derive(Debug)]
pub struct Examined {
    /// The credential.
    pub name: CredentialName,
    /// Its records, as they were then.
    pub credential: Credential,
    /// What is not as they say, in the order in which it is to be dealt with.
    pub findings: Vec<Finding>,
    /// What somebody should hear of although nothing failed.
    pub concerns: Concerns,
}

/// What was done about one credential.
#[derive(Debug)]
pub struct Mended {
    /// The credential.
    pub name: CredentialName,
    /// What was put right.
    pub cured: Vec<Finding>,
    /// What is still not right, as seen at the end.
    pub left: Examined,
    /// Why it could not go on, if it could not.
    pub stopped: Option<Stopped>,
}

/// Looks at all the provider's keys, paging, within whatever pace the engine has. Of a kind that no credential has, only
/// keys that could be adopted are looked at, and nobody needs the right to see even those.
pub async fn survey(engine: &Engine, used: &BTreeSet<String>, errand: &Errand<'_>) -> Result<Survey, Stopped> {
    let mut found = BTreeMap::new();
    for kind in engine.kinds() {
        let is_used = used.contains(kind.name());
        // Whose key verifiers trust has always been made here.
        if !is_used && kind.publishes() {
            continue;
        }
        let is_denied = |failure: &Failure| failure.as_hold().is_some_and(|hold| hold.reason == HoldReason::Denied);
        let mut patience = Patience::default();
        loop {
            match kind.survey().await {
                Ok(keys) => {
                    found.insert(kind.name(), Surveyed::new(keys));
                    break;
                }
                Err(failure) if !is_used && is_denied(&failure) => break,
                Err(failure) => patience.pause(&engine.ports, errand.deadline, failure).await?,
            }
        }
    }
    Ok(Survey(found))
}

/// Every credential that anything is recorded of, and its kind.
pub async fn everybody(engine: &Engine, errand: &Errand<'_>) -> Result<BTreeMap<CredentialName, String>, Stopped> {
    let mut patience = Patience::default();
    loop {
        match engine.records.heads("").await {
            Ok(heads) => return Ok(heads.into_iter().map(|(name, head)| (name, head.kind)).collect()),
            Err(failure) => patience.pause(&engine.ports, errand.deadline, failure).await?,
        }
    }
}

/// Compares one credential's records with everything else. Changes nothing.
pub async fn look(
    engine: &Engine,
    name: &CredentialName,
    scope: Scope,
    survey: Option<&Survey>,
    errand: &Errand<'_>,
) -> Result<Examined, Stopped> {
    let mut patience = Patience::default();
    loop {
        match look_once(engine, name, scope, survey).await {
            Ok(examined) => return Ok(examined),
            Err(failure) => patience.pause(&engine.ports, errand.deadline, failure).await?,
        }
    }
}

async fn look_once(
    engine: &Engine,
    name: &CredentialName,
    scope: Scope,
    survey: Option<&Survey>,
) -> Result<Examined, Failure> {
    let breadth = match scope {
        Scope::Rotation => Breadth::Labels,
        Scope::All => Breadth::Everything(survey),
    };
    let recorded = engine.records.load(name).await?;
    let described = engine.describe(name.as_str()).await;
    let (credential, secret) = match recorded {
        Some(credential) => {
            let secret = described.or_else(|failure| gone(&credential, failure))?;
            (credential, secret)
        }
        None => {
            let secret = described?;
            (Credential::empty(name.clone(), &secret.arn), secret)
        }
    };
    let inventory = inventory(engine, &credential, &secret, breadth).await?;
    let now = engine.ports.clock.now();
    // Among many, what has no key any more is history alone: whoever looks at one credential reads that too.
    let differences = engine.records.differences(&credential, survey.is_none()).await?;
    let mut findings: Vec<Finding> = differences.into_iter().map(unstated).collect();
    findings.extend(examine(&credential, &secret, &inventory, now));
    findings.retain(|finding| finding.is_of(scope));
    if scope == Scope::All {
        // A rotation that somebody is at work on is none of drift's; repair waits for it.
        findings.retain(|finding| finding.waits_until(now).is_none());
    }
    let concerns = Concerns::of(&credential, &secret.schedule, now);
    Ok(Examined { name: name.clone(), credential, findings, concerns })
}

fn unstated((generation, what): (Option<u32>, String)) -> Finding {
    Finding::RecordDiffers { generation, what }
}

/// The same for many. Those that can't be looked at are told with the reason. `progress` hears how many were looked at, and
/// of how many.
pub async fn look_at_all(
    engine: &Engine,
    names: &[CredentialName],
    survey: Option<&Survey>,
    errand: &Errand<'_>,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> (Vec<Examined>, Vec<(CredentialName, Stopped)>) {
    let mut looks: Vec<BoxFuture<'_, Result<Examined, Stopped>>> = Vec::with_capacity(names.len());
    for name in names {
        looks.push(Box::pin(look(engine, name, Scope::All, survey, errand)));
    }
    let (mut examined, mut failed) = (Vec::new(), Vec::new());
    let mut looked = stream::iter(looks).buffered(ABREAST).zip(stream::iter(names)).boxed();
    while let Some((looked, name)) = looked.next().await {
        match looked {
            Ok(found) => examined.push(found),
            Err(stopped) => failed.push((name.clone(), stopped)),
        }
        progress(examined.len() + failed.len(), names.len());
    }
    (examined, failed)
}

/// Everything there is, by one survey: every credential and every key that could be one's. Changes nothing.
#[derive(Debug)]
pub struct Overview {
    /// Every credential that could be looked at.
    pub examined: Vec<Examined>,
    /// Keys that belong to no credential; none if some credential could not be looked at, because they may be its.
    pub unowned: Vec<Finding>,
    /// The others, with the reason.
    pub failed: Vec<(CredentialName, Stopped)>,
}

/// Compares everything with everything. `progress` hears of it as of [`look_at_all`].
pub async fn overview(
    engine: &Engine,
    errand: &Errand<'_>,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Overview, Stopped> {
    let used = everybody(engine, errand).await?.into_values().collect();
    let survey = survey(engine, &used, errand).await?;
    // After the keys: what was adopted meanwhile is recorded by now.
    let names: Vec<CredentialName> = everybody(engine, errand).await?.into_keys().collect();
    let (mut examined, mut failed) = look_at_all(engine, &names, Some(&survey), errand, progress).await;
    // The survey is minutes old, the records are not: whatever differs is looked at once more, by itself. What can't be is
    // told with the reason, and keeps nothing else from being told.
    let differ: Vec<CredentialName> =
        examined.extract_if(.., |one| !one.findings.is_empty()).map(|one| one.name).collect();
    let (again, unseen) = look_at_all(engine, &differ, None, errand, progress).await;
    examined.extend(again);
    examined.sort_by(|a, b| a.name.cmp(&b.name));
    failed.extend(unseen);
    let unowned = if failed.is_empty() { unowned(&survey, &examined) } else { Vec::new() };
    Ok(Overview { examined, unowned, failed })
}

/// Keys of a survey that belong to no credential: nobody rotates them, or their tags name a credential without records.
/// `examined` must be every credential that anything is recorded of.
pub fn unowned(survey: &Survey, examined: &[Examined]) -> Vec<Finding> {
    let names: BTreeSet<String> = examined.iter().map(|one| tag_value(&one.name)).collect();
    let versions = examined.iter().flat_map(|one| one.credential.versions.values());
    let recorded: BTreeSet<&String> = versions.filter_map(|version| version.provider.get("id")).collect();
    let keys = survey.0.values().flat_map(|surveyed| &surveyed.keys).filter(|key| !recorded.contains(&key.id));
    keys.filter_map(|key| match key.tags.get(CREDENTIAL_TAG) {
        Some(claims) if names.contains(claims) => None,
        Some(claims) => Some(Finding::Stranger { id: key.id.clone(), claims: claims.clone() }),
        None => Some(Finding::Unmanaged { id: key.id.clone(), name: key.name.clone(), owner: Owner::of(&key.tags) }),
    })
    .collect()
}

/// Puts right what this service can, finding by finding, at most as many as `most` says, which is counted down. Looks
/// again before each; what others are at work on is waited for.
pub async fn mend(
    engine: &Engine,
    examined: Examined,
    scope: Scope,
    most: &mut usize,
    errand: &Errand<'_>,
    tell: &mut (dyn FnMut(&Finding) + Send),
) -> Result<Mended, Stopped> {
    let name = examined.name.clone();
    let (mut left, mut tried, mut stopped): (Examined, Vec<Finding>, _) = (examined, Vec::new(), None);
    // What holds one finding, the cure of another may end: it is tried once more then.
    let mut held: Vec<(Finding, Hold)> = Vec::new();
    let mut is_last = false;
    while *most > 0 && stopped.is_none() {
        let is_next = |finding: &&Finding| {
            let is_ours = matches!(finding.remedy(Some(&left.credential)), Remedy::Service(_));
            is_ours && !tried.iter().any(|tried| tried.is_same_as(finding))
        };
        let Some(next) = left.findings.iter().find(is_next).cloned() else {
            if is_last || held.is_empty() || held.len() == tried.len() {
                break;
            }
            is_last = true;
            tried.retain(|tried| !held.iter().any(|(held, _)| held.is_same_as(tried)));
            held.clear();
            continue;
        };
        *most -= 1;
        tell(&next);
        let arn = left.credential.head.arn.clone();
        let done = engine.run(&name, Some(&arn), &Goal::Mend(next.clone()), errand).await;
        match done {
            Ok(()) => {}
            Err(Stopped::Held(hold)) => held.push((next.clone(), hold)),
            Err(other) => stopped = Some(other),
        }
        match look(engine, &name, scope, None, errand).await {
            Ok(found) => left = found,
            // What was done is done, and is told.
            Err(failed) => {
                left.findings.retain(|finding| stopped.is_some() || !finding.is_same_as(&next));
                stopped = stopped.or(Some(failed));
            }
        }
        tried.push(next);
    }
    let is_left = |finding: &Finding| left.findings.iter().any(|left| left.is_same_as(finding));
    held.retain(|(finding, _)| is_left(finding));
    tried.retain(|finding| !is_left(finding));
    let stopped = stopped.or(held.into_iter().next().map(|(_, hold)| Stopped::Held(hold)));
    Ok(Mended { name, cured: tried, left, stopped })
}

/// What the outside shows of one credential besides the labels.
pub(crate) async fn inventory(
    engine: &Engine,
    credential: &Credential,
    secret: &Secret,
    breadth: Breadth<'_>,
) -> Result<Inventory, Failure> {
    let wished = secret.wishes.as_ref().ok().map(|policy| policy.kind.as_str());
    let kind = Some(credential.head.kind.as_str()).filter(|kind| !kind.is_empty()).or(wished);
    let kind = kind.map(|kind| engine.kind(kind)).transpose()?;
    // As a rotation would read what somebody put by hand.
    let form = credential.current().map(|version| &version.policy).or(secret.wishes.as_ref().ok());
    let mut found = Inventory::default();
    if secret.deleted || secret.arn != credential.head.arn {
        return Ok(found);
    }
    for label in [AWSCURRENT, AWSPENDING] {
        let Some(token) = secret.holder(label).filter(|token| credential.by_carrier(token).is_none()) else { continue };
        if !found.strays.contains_key(token) {
            let holds = holds(engine, credential, kind.zip(form), token).await?;
            let since = match label {
                AWSPENDING => engine.secrets.created(&credential.head.arn, token).await?,
                _ => None,
            };
            found.strays.insert(token.clone(), Stray { holds, since });
        }
    }
    let (Breadth::Everything(survey), Some(kind)) = (breadth, kind) else { return Ok(found) };
    let surveyed = survey.and_then(|survey| survey.0.get(kind.name())).map(|surveyed| surveyed.of(credential));
    let keys = kind.inventory(credential, surveyed).await?;
    found.keys = keys.map(|keys| keys.into_iter().filter_map(|key| its(credential, key)).collect());
    for key in found.keys.iter_mut().flatten() {
        if let Some(version) = orphaned(credential, key)
            && !is_made_for(engine, kind, credential, version, &key.id).await?
        {
            key.generation = None;
        }
    }
    let now = engine.ports.clock.now();
    if kind.publishes() && credential.published(now).next().is_some() {
        found.served = Some(match engine.key_sets.fetch(&credential.head.name).await {
            Ok(keys) => Served::Kids(keys.keys.into_iter().filter_map(|key| key.common.key_id).collect()),
            Err(failure) => Served::Nothing(chain(&Stopped::from(failure))),
        });
    }
    Ok(found)
}

/// Whether a key was made for a version, and not only tagged as if. Where nobody can tell, it was not.
async fn is_made_for(
    engine: &Engine,
    kind: &dyn Kind,
    credential: &Credential,
    version: &Version,
    key: &str,
) -> Result<bool, Failure> {
    let shown = async {
        match kind.authorship(&Case::of(credential, version, engine.ports.clock.now()), key).await? {
            Authorship::Shown(is_made) => Ok(is_made),
            Authorship::Value(value) => match &version.fingerprint {
                Some(Fingerprint::Made { mac, key }) => Ok(engine.macs.mac(key, &value).await? == *mac),
                Some(Fingerprint::Missing { .. }) | None => Ok(false),
            },
        }
    };
    match shown.await {
        Err(Failure::Call(call)) if !matches!(call.fault.disposition(), Disposition::Wait(_)) => {
            warn!(credential = %credential.head.name, key, reason = chain(&call), "nobody can tell for whom it was made");
            Ok(false)
        }
        told => told,
    }
}

/// What an unrecorded version of the secret holds, compared by value with what the recorded ones hold.
async fn holds(
    engine: &Engine,
    credential: &Credential,
    read: Option<(&dyn Kind, &Policy)>,
    token: &Token,
) -> Result<Holds, Failure> {
    let arn = &credential.head.arn;
    let document = match engine.secrets.value(arn, token).await {
        Ok(Some(document)) => document,
        Ok(None) => return Ok(Holds::Nothing),
        // Binary: not ours.
        Err(Failure::Input(_)) => return Ok(Holds::Foreign),
        Err(failure) => return Err(failure),
    };
    let Some((kind, form)) = read else { return Ok(Holds::Foreign) };
    let key = match kind.key(&document, form) {
        Ok(Some(key)) => key,
        Ok(None) => return Ok(Holds::NoKey),
        Err(BadInput::Value(_)) => return Ok(Holds::Foreign),
        Err(input) => return Err(input.into()),
    };
    let known = credential.versions.values().rev().filter(|version| version.state != State::Destroyed);
    for version in known {
        let Some(carrier) = version.token() else { continue };
        let Some(document) = engine.secrets.value(arn, carrier).await? else { continue };
        if kind.key(&document, &version.policy).ok().flatten().is_some_and(|known| known.same_as(&key)) {
            return Ok(Holds::KeyOf(version.generation));
        }
    }
    Ok(Holds::Foreign)
}

/// A key as a finding needs it, if it is this credential's by its records or by its tags.
fn its(credential: &Credential, key: ProviderKey) -> Option<FoundKey> {
    let is_recorded = credential.versions.values().any(|version| version.provider.get("id") == Some(&key.id));
    let is_claimed = key.tags.get(CREDENTIAL_TAG) == Some(&tag_value(&credential.head.name));
    if !is_recorded && !is_claimed {
        return None;
    }
    let made_for = key.tags.get(VERSION_TAG).and_then(|tag| Uuid::parse_str(tag).ok());
    let is_for = |version: &&Version| made_for.is_some_and(|id| version.ids().contains(&id));
    let generation = credential.versions.values().find(is_for).map(|version| version.generation);
    let owner = Owner::of(&key.tags);
    let ProviderKey { id, name, availability, plans, replaced, .. } = key;
    Some(FoundKey { id, name, generation, availability, plans, replaced, owner })
}
