//! Taking existing API keys under management: a secret with the owner's wishes, a record, a schedule. A key's value is
//! never changed, and nothing rotates before its schedule says so.
//!
//! Every part converges when it is repeated: names and tokens are derived from the key's id.
//!
//! Credentials of the other kinds are secrets already, or become ones without a key: [`secrets`].

pub mod secrets;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Map;
use state::credential::Credential;
use state::decide::{AWSCURRENT, Refusal};
use state::drift::Owner;
use state::hold::{Hold, HoldReason};
use state::ledger::{Change, Note};
use state::name::{CredentialName, Token};
use state::policy::{Otherwise, Outlook, PREFIX, Policy, Timetable};
use uuid::Uuid;

use crate::aws::api_keys::{ApiKey, FEW, Plan, SECRET_ID};
use crate::aws::probe::Probe;
use crate::aws::secrets::{NewSecret, OWN_KEY};
use crate::engine::{Engine, Errand};
use crate::failure::{BadInput, Failure, Fault, Stopped};
use crate::kind::{CREDENTIAL_TAG, Case, VERSION_TAG};
use crate::kinds::api_gateway_key::{PLACES, found, written};
use crate::patience::patiently;
use crate::visible::is_visible;

/// The kind of the keys that are adopted one by one.
const KIND: &str = "api-gateway-key";

/// Which keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// Those whose name begins so.
    Prefix(String),
    /// The one with that id.
    Id(String),
}

/// On which terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What the secrets' names begin with, for instance `api-keys/`.
    pub secret_prefix: String,
    /// The owner's wishes, without `rotator:`. The kind is ours to say; probes are kept for the keys that are in a
    /// plan with their stage.
    pub tags: BTreeMap<String, String>,
    /// When they rotate by themselves; at least four hours apart.
    pub schedule: Timetable,
    /// The ARN of the key that encrypts the secrets; `None` for AWS's own.
    pub encrypted_by: Option<String>,
    /// The rotation function's ARN.
    pub function_arn: String,
}

/// One key and what is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: ApiKey,
    /// The secret that will hold it, or does.
    pub secret: CredentialName,
    /// The ids of its plans.
    pub plans: Vec<String>,
    /// The stages of these plans, each as `API/STAGE`. Without any, nobody can use the key.
    pub stages: BTreeSet<String>,
    /// The tags that its secret gets.
    pub tags: BTreeMap<String, String>,
    /// When it will be rotated: `cron(..)` or `rate(..)`; `None` on demand only.
    pub schedule: Option<String>,
    /// What is ahead of it, if it is adopted and then rotates by itself.
    pub outlook: Option<Outlook>,
    /// Whether it can be adopted.
    pub verdict: Verdict,
}

/// What is to become of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It will be taken under management.
    Adopt,
    /// It is already.
    Managed,
    /// It can't be.
    Refused {
        /// Why.
        why: String,
        /// What to do about it.
        remedy: String,
    },
}

/// Says what would be done. Changes nothing. `progress` hears how many keys were looked at, and of how many.
pub async fn plan(
    engine: &Engine,
    selection: &Selection,
    terms: &Terms,
    errand: &Errand<'_>,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Vec<Item>, Stopped> {
    check_terms(engine, terms)?;
    let keys = patiently(&engine.ports, errand.deadline, async || {
        Ok(match selection {
            Selection::All => engine.api_keys.list("").await?,
            Selection::Prefix(prefix) => engine.api_keys.list(prefix).await?,
            Selection::Id(id) => engine.api_keys.get(id).await?.into_iter().collect(),
        })
    })
    .await?;
    // For many keys the plans are listed once: API Gateway's rate is the account's.
    let mut memberships = match keys.len() > FEW {
        true => {
            let plans = patiently(&engine.ports, errand.deadline, async || Ok(engine.api_keys.plans().await?)).await?;
            let members = async || Ok(engine.api_keys.memberships(&plans).await?);
            Some(patiently(&engine.ports, errand.deadline, members).await?)
        }
        false => None,
    };
    let mut taken = BTreeSet::new();
    let (mut items, all) = (Vec::new(), keys.len());
    for key in keys {
        let listed = memberships.as_mut().map(|plans| plans.remove(&key.id).unwrap_or_default());
        let item = patiently(&engine.ports, errand.deadline, async || {
            let plans = match &listed {
                Some(plans) => plans.clone(),
                None => engine.api_keys.plans_of(&key.id).await?,
            };
            consider(engine, &key, plans, terms, &taken).await
        })
        .await?;
        taken.insert(item.secret.clone());
        items.push(item);
        progress(items.len(), all);
    }
    let is_used = |probe: &str| items.iter().any(|item| item.probes().any(|used| used == probe));
    if let Some(unused) = probes(terms).find(|probe| !items.is_empty() && !is_used(probe)) {
        let rule =
            "none of the keys is in a usage plan with that API and stage: their new keys would go into use unproven";
        return Err(Stopped::Input(BadInput::Tag { tag: "probe", found: unused.to_owned(), rule }));
    }
    Ok(items)
}

impl Item {
    /// The probes that will try its new keys. Without any, they go into use unproven.
    pub fn probes(&self) -> impl Iterator<Item = &str> {
        let probes = self.tags.get("rotator:probe").map_or("", String::as_str);
        probes.split_whitespace().filter(|probe| *probe != "none")
    }
}

/// Does what was planned for one key. Repeating it is fine, after a crash as well.
pub async fn adopt(
    engine: &Engine,
    item: &Item,
    terms: &Terms,
    errand: &Errand<'_>,
    note: Option<&Note>,
) -> Result<(), Stopped> {
    if item.verdict != Verdict::Adopt {
        return Ok(());
    }
    patiently(&engine.ports, errand.deadline, async || take(engine, item, terms, errand, note).await).await
}

fn check_terms(engine: &Engine, terms: &Terms) -> Result<Policy, Stopped> {
    let refused = |bad| Stopped::Refused(Refusal::Policy(bad));
    let policy = engine.wishes(&prefixed(&terms.tags)).map_err(refused)?;
    // That of one is as good as that of another.
    let schedule = terms.schedule.of(&CredentialName::parse("any").expect("a name"));
    policy.check_schedule(&schedule, engine.ports.clock.now()).map_err(refused)?;
    PLACES.of(&policy).map_err(Stopped::Input)?;
    for probe in probes(terms) {
        let bad = |rule| Stopped::Input(BadInput::Tag { tag: "probe", found: probe.to_owned(), rule });
        Probe::parse(probe).map_err(bad)?;
    }
    Ok(policy)
}

fn probes(terms: &Terms) -> impl Iterator<Item = &str> {
    terms.tags.get("probe").map_or("", String::as_str).split_whitespace().filter(|probe| *probe != "none")
}

/// The tags of the secret: the kind, what the owner wished, and that a key in use waits for its last user.
fn prefixed(tags: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut tags: BTreeMap<String, String> =
        tags.iter().map(|(tag, value)| (format!("{PREFIX}{tag}"), value.clone())).collect();
    tags.insert(format!("{PREFIX}kind"), KIND.into());
    tags.extend(waiting(&tags));
    tags
}

/// That a key in use waits for its last user. Its consumers were there before its ceiling, and nobody told them of one,
/// unless its owner chose it.
fn waiting(tags: &BTreeMap<String, String>) -> Option<(String, String)> {
    let at_ceiling = format!("{PREFIX}at-ceiling");
    let is_chosen = tags.contains_key(&at_ceiling) || tags.contains_key(&format!("{PREFIX}ceiling"));
    (!is_chosen).then(|| (at_ceiling, Otherwise::Hold.to_string()))
}

async fn consider(
    engine: &Engine,
    key: &ApiKey,
    plans: Vec<Plan>,
    terms: &Terms,
    taken: &BTreeSet<CredentialName>,
) -> Result<Item, Failure> {
    if key.id == SECRET_ID {
        let verdict = Verdict::Refused {
            why: "its id is as long as a value, and may be one: it would be shown and recorded".into(),
            remedy: "make another key for its owner, and delete this one".into(),
        };
        let secret = secret_name(&terms.secret_prefix, &key.name, None);
        let (tags, plans, stages) = (prefixed(&terms.tags), Vec::new(), BTreeSet::new());
        return Ok(Item { key: key.clone(), secret, plans, stages, tags, schedule: None, outlook: None, verdict });
    }
    let claim = claim(engine, key).await?;
    let (secret, managed) = match &claim {
        Some((name, true)) => (name.clone(), true),
        Some((_, false)) | None => place(engine, key, terms, taken).await?,
    };
    let stages: BTreeSet<String> = plans.iter().flat_map(|plan| plan.stages.iter().cloned()).collect();
    let mut wishes = terms.tags.clone();
    let mine: Vec<&str> = probes(terms)
        .filter(|probe| Probe::parse(probe).is_ok_and(|probe| stages.contains(&probe.stage_key())))
        .collect();
    wishes.insert("probe".into(), if mine.is_empty() { "none".into() } else { mine.join(" ") });
    let refused = |why: String, remedy: &str| Verdict::Refused { why, remedy: remedy.to_owned() };
    let tags = prefixed(&wishes);
    let mut policy = engine.wishes(&tags).ok();
    let verdict = if managed {
        // A record stands for work that is done: it rotates by itself.
        match engine.describe(secret.as_str()).await {
            Ok(found) if !found.rotation_enabled && !found.deleted => {
                policy = found.wishes.ok();
                Verdict::Adopt
            }
            Ok(_) => Verdict::Managed,
            Err(Failure::Input(bad @ BadInput::NoSecret(_))) => {
                refused(bad.to_string(), "restore the secret, or let its keys be retired: SecretDeleted in the runbook")
            }
            Err(failure) => return Err(failure),
        }
    } else if let Some((name, _)) = claim {
        refused(
            format!("its tag {CREDENTIAL_TAG} says that it belongs to {name}, whose records do not know it"),
            "find out who tagged it; without its tags rotator:credential and rotator:version it can be adopted",
        )
    } else if let Some(owner) = Owner::of(&key.tags) {
        refused(format!("{owner} owns it: its next run would undo a rotation"), &owner.way_out(&key.id))
    } else if !key.enabled {
        refused("it is disabled: nobody can be using it".into(), "delete it, or enable it and adopt it then")
    } else {
        match unmet(engine, key, &secret, &tags).await? {
            Some(hold) => refused(hold.to_string(), hold.reason.remedy()),
            None => Verdict::Adopt,
        }
    };
    let schedule = terms.schedule.of(&secret);
    let outlook = match &verdict {
        Verdict::Adopt => policy.and_then(|policy| policy.outlook(&schedule, engine.ports.clock.now()).ok().flatten()),
        Verdict::Managed | Verdict::Refused { .. } => None,
    };
    let plans = plans.into_iter().map(|plan| plan.id).collect();
    Ok(Item { key: key.clone(), secret, plans, stages, tags, schedule: schedule.expression, outlook, verdict })
}

/// The credential that the key's own tags name, and whether its records know the key: tags alone prove nothing.
async fn claim(engine: &Engine, key: &ApiKey) -> Result<Option<(CredentialName, bool)>, Failure> {
    let Some(name) = key.tags.get(CREDENTIAL_TAG).and_then(|name| CredentialName::parse(name).ok()) else {
        return Ok(None);
    };
    let recorded = engine.records.load(&name).await?;
    Ok(Some((name, recorded.is_some_and(|credential| holds(&credential, key)))))
}

/// The secret for a key that no rotation made, and whether it is the key's already.
async fn place(
    engine: &Engine,
    key: &ApiKey,
    terms: &Terms,
    taken: &BTreeSet<CredentialName>,
) -> Result<(CredentialName, bool), Failure> {
    let plain = secret_name(&terms.secret_prefix, &key.name, None);
    let unique = secret_name(&terms.secret_prefix, &key.name, Some(&key.id));
    let mut free = plain.clone();
    for name in [plain, unique.clone()] {
        let recorded = engine.records.load(&name).await?;
        if recorded.as_ref().is_some_and(|credential| holds(credential, key)) {
            return Ok((name, true));
        }
        if recorded.is_some() || taken.contains(&name) {
            free.clone_from(&unique);
        }
    }
    Ok((free, false))
}

/// Why the wishes can't be met for this key, if they can't.
async fn unmet(
    engine: &Engine,
    key: &ApiKey,
    secret: &CredentialName,
    tags: &BTreeMap<String, String>,
) -> Result<Option<Hold>, Failure> {
    let policy = engine.wishes(tags).map_err(|bad| BadInput::Argument { what: "a tag", rule: bad.to_string() })?;
    if !policy.wishes.contains_key("usage-plans") {
        return Ok(None);
    }
    let facts = BTreeMap::from([("id".to_owned(), key.id.clone())]);
    let credential = Credential::empty(secret.clone(), "");
    let case = Case {
        credential: &credential,
        version: None,
        incumbent: Some(&facts),
        policy: &policy,
        now: engine.ports.clock.now(),
    };
    match engine.kind(&policy.kind)?.check(&case).await {
        Ok(()) => Ok(None),
        Err(Failure::Held(hold)) => Ok(Some(hold)),
        Err(failure) => Err(failure),
    }
}

/// By its id, or by the version that it was being made for when the records last heard of it.
fn holds(credential: &Credential, key: &ApiKey) -> bool {
    let made_for = key.tags.get(VERSION_TAG).and_then(|tag| Uuid::parse_str(tag).ok());
    credential.versions.values().any(|version| {
        version.provider.get("id") == Some(&key.id) || made_for.is_some_and(|id| version.ids().contains(&id))
    })
}

/// A secret's name from a key's: what Secrets Manager does not allow becomes `-`; the id makes it unique.
fn secret_name(prefix: &str, key: &str, id: Option<&str>) -> CredentialName {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "/_+=.@-".contains(c) { c } else { '-' };
    let mut name: String = prefix.chars().chain(key.chars()).map(allowed).take(480).collect();
    if let Some(id) = id {
        name = format!("{name}-{}", id.chars().map(allowed).take(24).collect::<String>());
    }
    // Six characters after the last hyphen could be taken for the random end of an ARN.
    if name.rsplit_once('-').is_some_and(|(_, end)| end.len() == 6) {
        name.push_str(".key");
    }
    if name.is_empty() {
        name.push_str("api-key");
    }
    CredentialName::parse(&name).expect("made of allowed characters, and neither empty nor too long")
}

async fn take(
    engine: &Engine,
    item: &Item,
    terms: &Terms,
    errand: &Errand<'_>,
    note: Option<&Note>,
) -> Result<(), Failure> {
    let recorded = engine.records.load(&item.secret).await?;
    // A try to rotate it may have left a hold, and nothing else.
    let is_managed = recorded.as_ref().is_some_and(|credential| !credential.versions.is_empty());
    if !is_managed {
        record(engine, item, terms, recorded, errand, note).await?;
    }
    // What is recorded and does not rotate is not under management yet, or not any more. First the mark, by which another
    // stack knows that the key is taken: it has other records.
    let secret = engine.describe(item.secret.as_str()).await?;
    let credential = engine.records.load(&item.secret).await?;
    let credential = credential.unwrap_or_else(|| Credential::empty(item.secret.clone(), &secret.arn));
    if !item.key.tags.contains_key(CREDENTIAL_TAG) {
        engine.kind(KIND)?.mark(&credential, &found(&item.key, &item.plans)).await?;
    }
    if !secret.rotation_enabled {
        let token = credential.next_token("schedule");
        let schedule = terms.schedule.of(&item.secret).expression;
        engine.secrets.schedule(&secret.arn, &token, &terms.function_arn, schedule.as_deref()).await?;
    }
    Ok(())
}

/// The secret, and the first record of it.
async fn record(
    engine: &Engine,
    item: &Item,
    terms: &Terms,
    recorded: Option<Credential>,
    errand: &Errand<'_>,
    note: Option<&Note>,
) -> Result<(), Failure> {
    let vanished = || Hold::new(HoldReason::KeyVanished, format!("key {} was deleted", item.key.id));
    let value = engine.api_keys.value(&item.key.id).await?.ok_or_else(vanished)?;
    let wishes =
        engine.wishes(&item.tags).map_err(|bad| BadInput::Argument { what: "a tag", rule: bad.to_string() })?;
    let endpoint = wishes
        .wishes
        .get("probe")
        .and_then(|probes| probes.split_whitespace().find_map(|probe| Probe::parse(probe).ok()));
    let endpoint = endpoint.map(|probe| engine.prober.endpoint(&probe));
    let document = written(&wishes, &value, Map::new(), endpoint)?;
    let kind = engine.kind(&wishes.kind)?;
    let fingerprint = engine.fingerprint(kind, &document, &wishes).await?;
    engine.see_unshared(&item.secret, fingerprint.as_ref()).await?;
    let carrier = derived(&item.key.id, "adopt");
    let name = item.secret.as_str();
    // A stranger may have named the key: nothing of it may turn text around in somebody's console.
    let shown: String = item.key.name.chars().filter(|c| is_visible(*c)).take(200).collect();
    let description = format!("API key {shown}, rotated by rotator");
    let new = NewSecret {
        name,
        token: &carrier,
        description: &description,
        document: &document,
        encrypted_by: terms.encrypted_by.as_deref(),
        tags: &item.tags,
    };
    match engine.secrets.create(&new).await {
        Ok(_) => {}
        Err(failed) if failed.fault == Fault::Conflict => {}
        Err(failed) => return Err(failed.into()),
    }
    // New, ours from before a crash, or somebody else's: the same name, token and value are no conflict.
    see_ours(engine, &new).await?;
    let secret = engine.describe(name).await?;
    if secret.holder(AWSCURRENT) != Some(&carrier) {
        let rule = format!("the secret {name} exists and holds something else: choose another --secret-prefix");
        return Err(BadInput::Argument { what: "the secret's name", rule }.into());
    }
    let change = Change::Adopted {
        generation: 1,
        carrier,
        provider: found(&item.key, &item.plans),
        policy: wishes,
        fingerprint,
    };
    let credential = recorded.unwrap_or_else(|| Credential::empty(item.secret.clone(), &secret.arn));
    let commit = credential.apply(change, &engine.stamp(errand, note.cloned()));
    engine.store(commit.expect("the first generation of a credential without any")).await?;
    Ok(())
}

/// Sees that a secret that is there already is in everything what this command would have made: its name proves nothing,
/// and consumers and rotations go by all the rest.
async fn see_ours(engine: &Engine, new: &NewSecret<'_>) -> Result<(), Failure> {
    let found = engine.secrets.particulars(new.name).await?;
    let ours = |tags: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        tags.iter()
            .filter(|(tag, _)| tag.starts_with(PREFIX))
            .map(|(tag, value)| (tag.clone(), value.clone()))
            .collect()
    };
    let (asked, present) = (ours(new.tags), ours(&found.tags));
    let tags: BTreeSet<&String> = asked.keys().chain(present.keys()).collect();
    let mut differs: Vec<String> = tags
        .into_iter()
        .filter(|tag| asked.get(*tag) != present.get(*tag))
        .map(|tag| format!("the tag {tag}"))
        .collect();
    let value = engine.secrets.value(new.name, new.token).await?;
    if !value.is_some_and(|value| value.same_as(new.document)) {
        differs.push("the value".into());
    }
    if !found.is_encrypted_by(new.encrypted_by) {
        differs.push(format!("the encryption key {}", found.encrypted_by.as_deref().unwrap_or(OWN_KEY)));
    }
    if differs.is_empty() {
        return Ok(());
    }
    let rule = format!(
        "the secret {} exists, and is not what this would make: {} differ. Find out who made it; if it is left from an \
         earlier try with other terms, repeat those or delete it; otherwise choose another --secret-prefix",
        new.name,
        differs.join(", ")
    );
    Err(BadInput::Argument { what: "the secret's name", rule }.into())
}

fn derived(key: &str, what: &str) -> Token {
    Token::derived(&format!("{what} api key {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secrets_name_is_made_of_allowed_characters_and_never_looks_like_an_arn() {
        let name = |key: &str, id| secret_name("api-keys/", key, id).as_str().to_owned();
        assert_eq!(name("Acme Corp <script>\u{1b}[31m", None), "api-keys/Acme-Corp--script---31m");
        assert_eq!(name("acme", Some("k1a2b3c4d5")), "api-keys/acme-k1a2b3c4d5");
        assert_eq!(name("acme-abcdef", None), "api-keys/acme-abcdef.key");
        assert_eq!(secret_name("", "", None).as_str(), "api-key");
        assert!(name(&"x".repeat(2_000), Some("k1")).len() <= 512);
    }
}
