//! Taking secrets under management: existing ones keep their values and their tags, missing ones are created without
//! a key, which the first rotation makes. Nothing rotates before the schedule says so.
//!
//! Every part converges when it is repeated: tokens are derived from the secret.

use std::borrow::Cow;
use std::collections::BTreeMap;

use state::credential::{Credential, Fingerprint};
use state::decide::{AWSCURRENT, AWSPENDING, Secret};
use state::hold::{Hold, HoldReason};
use state::ledger::{Change, Note};
use state::name::{CredentialName, Token};
use state::policy::{BadPolicy, Outlook, PREFIX, Policy, Schedule, Timetable};

use super::{KIND, Verdict, waiting};
use crate::aws::secrets::{NewSecret, OWN_KEY, Particulars};
use crate::engine::{Engine, Errand};
use crate::failure::{BadInput, Failure, Fault, Stopped, chain};
use crate::kind::{Case, Facts, Kind, Sight};
use crate::member::{TAG, WHOLE, fits_a_tag};
use crate::patience::patiently;
use crate::secret::SecretValue;

/// The value of a secret that is created here.
const WITHOUT_KEY: &str = "{}";

/// On which terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What `rotator:kind` is to say.
    pub kind: String,
    /// The owner's wishes, without `rotator:` and without the kind. They are added to what the secret's tags say
    /// already, and never replace any of it.
    pub tags: BTreeMap<String, String>,
    /// When they rotate by themselves; at least four hours apart. Of no meaning for a secret that is rotated already.
    pub schedule: Timetable,
    /// The ARN of the key that encrypts a secret that is created here; `None` for AWS's own. An existing one keeps its
    /// own, and is refused if that is not the one that is asked for.
    pub encrypted_by: Option<String>,
    /// The rotation function's ARN.
    pub function_arn: String,
}

/// One secret and what is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The secret.
    pub secret: CredentialName,
    /// Whether it is there already.
    pub exists: bool,
    /// What its value holds, or the records know: the provider's names for the current key. `None`: the first rotation
    /// makes one.
    pub key: Option<Facts>,
    /// The tags that it gets.
    pub tags: BTreeMap<String, String>,
    /// The wishes in force with them, if they can be used.
    pub policy: Option<Policy>,
    /// When it will be rotated, or is: `cron(..)` or `rate(..)`; `None` on demand only.
    pub schedule: Option<String>,
    /// What is ahead of its current key, or of its first one, if it is adopted and then rotates by itself.
    pub outlook: Option<Outlook>,
    /// Whether it can be taken under management.
    pub verdict: Verdict,
}

/// Says what would be done. Changes nothing.
pub async fn plan(
    engine: &Engine,
    names: &[CredentialName],
    terms: &Terms,
    errand: &Errand<'_>,
) -> Result<Vec<Item>, Stopped> {
    engine.kind(&terms.kind).map_err(Stopped::Input)?;
    let mut items: Vec<Item> = Vec::new();
    for name in names {
        if !items.iter().any(|item| item.secret == *name) {
            items.push(patiently(&engine.ports, errand.deadline, async || consider(engine, name, terms).await).await?);
        }
    }
    Ok(items)
}

/// Does what was planned for one secret, if it can still be done. Repeating it is fine, after a crash as well.
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
    patiently(&engine.ports, errand.deadline, async || take(engine, &item.secret, terms, errand, note).await).await
}

async fn take(
    engine: &Engine,
    name: &CredentialName,
    terms: &Terms,
    errand: &Errand<'_>,
    note: Option<&Note>,
) -> Result<(), Failure> {
    let (mut found, terms) = Found::read(engine, name, terms).await?;
    let terms = &*terms;
    // The world may have moved since the plan was made.
    let mut prospect = judge(engine, name, terms, &found).await??;
    if found.secret.is_none() {
        create(engine, name, terms).await?;
        found = Found::look(engine, name, terms).await?;
        prospect = judge(engine, name, terms, &found).await??;
    }
    let Some(secret) = &found.secret else {
        return Err(Failure::NotYet(format!("the secret {name} does not show yet")));
    };
    let missing = found.missing(terms);
    if !missing.is_empty() {
        engine.secrets.tag(&secret.arn, &missing).await?;
    }
    let Prospect { policy, key } = prospect;
    if let (Some(Key { carrier, facts, fingerprint }), None) = (key, &found.records) {
        let empty = found.tried.clone().unwrap_or_else(|| Credential::empty(name.clone(), &secret.arn));
        // Before it is recorded: what is recorded is not looked at again.
        engine.kind(&policy.kind)?.mark(&empty, &facts).await?;
        let change = Change::Adopted { generation: 1, carrier, provider: facts, policy, fingerprint };
        let commit = empty.apply(change, &engine.stamp(errand, note.cloned()));
        engine.store(commit.expect("the first generation of a credential without any")).await?;
    }
    if !secret.rotation_enabled {
        let token = Token::derived(&format!("schedule secret {}", secret.arn));
        let schedule = terms.schedule.of(name).expression;
        engine.secrets.schedule(&secret.arn, &token, &terms.function_arn, schedule.as_deref()).await?;
    }
    Ok(())
}

async fn create(engine: &Engine, name: &CredentialName, terms: &Terms) -> Result<(), Failure> {
    let new = NewSecret {
        name: name.as_str(),
        token: &Token::derived(&format!("adopt secret {name}")),
        description: &format!("{}, rotated by rotator", terms.kind),
        document: &SecretValue::new(WITHOUT_KEY),
        encrypted_by: terms.encrypted_by.as_deref(),
        tags: &asked(terms, None),
    };
    match engine.secrets.create(&new).await {
        Ok(_) => Ok(()),
        // Somebody was faster: what is there now is looked at next.
        Err(failed) if failed.fault == Fault::Conflict => Ok(()),
        Err(failed) => Err(failed.into()),
    }
}

async fn consider(engine: &Engine, name: &CredentialName, terms: &Terms) -> Result<Item, Failure> {
    let (found, terms) = Found::read(engine, name, terms).await?;
    let terms = &*terms;
    let judged = judge(engine, name, terms, &found).await?;
    let recorded = found.records.as_ref().and_then(Credential::current).map(|version| version.provider.clone());
    let missing = found.missing(terms);
    let (policy, key, verdict) = match judged {
        Err(Refused { why, remedy }) => (None, recorded, Verdict::Refused { why, remedy }),
        Ok(Prospect { policy, key }) => {
            let is_recorded = found.records.is_some() || key.is_none();
            let is_done = found.rotates() && missing.is_empty() && is_recorded;
            let verdict = if is_done { Verdict::Managed } else { Verdict::Adopt };
            (Some(policy), recorded.or(key.map(|key| key.facts)), verdict)
        }
    };
    let schedule = found.schedule(name, terms);
    let now = engine.ports.clock.now();
    let outlook = match (&verdict, &policy) {
        (Verdict::Adopt, Some(policy)) => policy.outlook(&schedule, now).ok().flatten(),
        (Verdict::Adopt | Verdict::Managed | Verdict::Refused { .. }, _) => None,
    };
    Ok(Item {
        secret: name.clone(),
        exists: found.secret.is_some(),
        key,
        tags: missing,
        policy,
        outlook,
        schedule: schedule.expression.or(schedule.after_days.map(|days| format!("rate({days} days)"))),
        verdict,
    })
}

/// What there is under a name.
struct Found {
    secret: Option<Secret>,
    /// The key that encrypts it, where it is to be a certain one and is not.
    encrypted_otherwise: Option<String>,
    /// All tags of the secret.
    tags: BTreeMap<String, String>,
    records: Option<Credential>,
    /// The head of a credential without a version, to which the first commit must be made.
    tried: Option<Credential>,
}

impl Found {
    /// What there is, and the terms with the member that holds the key, where nobody named it and it can be told.
    async fn read<'t>(
        engine: &Engine,
        name: &CredentialName,
        terms: &'t Terms,
    ) -> Result<(Self, Cow<'t, Terms>), Failure> {
        let found = Self::look(engine, name, terms).await?;
        let Some(place) = member(engine, name, terms, &found).await? else { return Ok((found, Cow::Borrowed(terms))) };
        let mut terms = terms.clone();
        terms.tags.insert(TAG.to_owned(), place);
        Ok((Self::look(engine, name, &terms).await?, Cow::Owned(terms)))
    }

    async fn look(engine: &Engine, name: &CredentialName, terms: &Terms) -> Result<Self, Failure> {
        // A try to rotate it may have left a hold, and nothing else.
        let (records, tried) = match engine.records.load(name).await? {
            Some(found) if found.versions.is_empty() => (None, Some(found)),
            found => (found, None),
        };
        let read = |tags: &BTreeMap<String, String>| {
            // What stands there is never replaced.
            engine.wishes(&asked(terms, Some(tags)).into_iter().chain(tags.clone()).collect())
        };
        let (secret, particulars) = match engine.secrets.describe(name.as_str(), read).await {
            Ok((secret, particulars)) => (Some(secret), particulars),
            Err(Failure::Input(BadInput::NoSecret(_))) => (None, Particulars::default()),
            Err(failure) => return Err(failure),
        };
        let asked_for = terms.encrypted_by.as_deref().filter(|_| secret.is_some());
        let differs = asked_for.is_some_and(|key| !particulars.is_encrypted_by(Some(key)));
        let Particulars { encrypted_by, tags, .. } = particulars;
        let encrypted_otherwise = differs.then(|| encrypted_by.unwrap_or_else(|| OWN_KEY.to_owned()));
        Ok(Self { secret, encrypted_otherwise, tags, records, tried })
    }

    fn rotates(&self) -> bool {
        self.secret.as_ref().is_some_and(|secret| secret.rotation_enabled)
    }

    /// The schedule in force, or the one that will be.
    fn schedule(&self, name: &CredentialName, terms: &Terms) -> Schedule {
        match &self.secret {
            Some(secret) if secret.rotation_enabled => secret.schedule.clone(),
            Some(_) | None => terms.schedule.of(name),
        }
    }

    fn missing(&self, terms: &Terms) -> BTreeMap<String, String> {
        let present = self.secret.as_ref().map(|_| &self.tags);
        asked(terms, present).into_iter().filter(|(tag, _)| !self.tags.contains_key(tag)).collect()
    }

    fn wishes(&self, engine: &Engine, terms: &Terms) -> Result<Policy, BadPolicy> {
        match &self.secret {
            Some(secret) => secret.wishes.clone(),
            None => engine.wishes(&asked(terms, None)),
        }
    }
}

/// The tags that are asked for, of a secret with those tags; `None`: there is no secret yet.
fn asked(terms: &Terms, present: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let kind = ("kind".to_owned(), terms.kind.clone());
    let wishes = terms.tags.iter().map(|(tag, value)| (tag.clone(), value.clone())).chain([kind]);
    let mut asked: BTreeMap<String, String> = wishes.map(|(tag, value)| (format!("{PREFIX}{tag}"), value)).collect();
    if let Some(present) = present.filter(|_| terms.kind == KIND) {
        let all = asked.iter().chain(present).map(|(tag, value)| (tag.clone(), value.clone())).collect();
        asked.extend(waiting(&all));
    }
    asked
}

/// The member that holds the key of a secret whose tags don't say it: the only one with a key that the provider knows.
async fn member(
    engine: &Engine,
    name: &CredentialName,
    terms: &Terms,
    found: &Found,
) -> Result<Option<String>, Failure> {
    let (Some(secret), None) = (&found.secret, &found.records) else { return Ok(None) };
    let (Ok(policy), Some(carrier)) = (&secret.wishes, secret.holder(AWSCURRENT)) else { return Ok(None) };
    let kind = engine.kind(&policy.kind)?;
    if kind.places().is_none() || policy.wishes.contains_key(TAG) || mismatch(name, terms, found).is_some() {
        return Ok(None);
    }
    let Some(document) = engine.secrets.value(&secret.arn, carrier).await? else { return Ok(None) };
    if matches!(kind.key(&document, policy), Ok(Some(_))) {
        return Ok(None);
    }
    let places = match document.members() {
        Some(_) => document.suspects(kind.members()),
        None => vec![WHOLE.to_owned()],
    };
    let mut known = Vec::new();
    for place in places.into_iter().filter(|place| fits_a_tag(place)) {
        let mut policy = policy.clone();
        policy.wishes.insert(TAG.to_owned(), place.clone());
        let sight = Sight { name, carrier, policy: &policy, current: None, known: None, is_ordered: false };
        match kind.recognise(&document, &sight).await {
            // What holds it is said of it later.
            Ok(Some(_)) | Err(Failure::Held(_)) => known.push(place),
            Ok(None) | Err(Failure::Input(_)) => {}
            Err(failure @ (Failure::Call(_) | Failure::NotYet(_))) => return Err(failure),
        }
    }
    Ok(known.pop().filter(|_| known.is_empty()))
}

/// What a secret would be under management.
struct Prospect {
    policy: Policy,
    /// The key in its value, if it is not recorded yet.
    key: Option<Key>,
}

/// A key that is in use already.
struct Key {
    carrier: Token,
    facts: Facts,
    fingerprint: Option<Fingerprint>,
}

struct Refused {
    why: String,
    remedy: String,
}

impl Refused {
    fn new(why: impl Into<String>, remedy: &str) -> Self {
        Self { why: why.into(), remedy: remedy.to_owned() }
    }
}

impl From<Refused> for Failure {
    fn from(Refused { why, remedy }: Refused) -> Self {
        BadInput::Argument { what: "the secret", rule: format!("{why}: {remedy}") }.into()
    }
}

impl From<BadPolicy> for Refused {
    fn from(bad: BadPolicy) -> Self {
        Self::new(chain(&bad), "correct --tag, --schedule or the secret's own tags; nothing was changed")
    }
}

/// Whether it can be taken under management. A failure that a person can do away with is a refusal.
async fn judge(
    engine: &Engine,
    name: &CredentialName,
    terms: &Terms,
    found: &Found,
) -> Result<Result<Prospect, Refused>, Failure> {
    if let Some(refused) = mismatch(name, terms, found) {
        return Ok(Err(refused));
    }
    let policy = match found.wishes(engine, terms) {
        Ok(policy) => policy,
        Err(bad) => return Ok(Err(bad.into())),
    };
    let empty = Credential::empty(name.clone(), found.secret.as_ref().map_or("", |secret| &secret.arn));
    let credential = found.records.as_ref().unwrap_or(&empty);
    if let Err(bad) = policy.check_name(credential) {
        return Ok(Err(Refused::new(chain(&bad), "name another secret; nothing was changed")));
    }
    if let Err(bad) = policy.check_schedule(&found.schedule(name, terms), engine.ports.clock.now()) {
        return Ok(Err(bad.into()));
    }
    let kind = engine.kind(&policy.kind)?;
    let judged = async {
        let key = unrecorded_key(engine, name, kind, found, &policy).await?;
        let recorded = credential.current().map(|version| &version.provider);
        let case = Case {
            credential,
            version: None,
            incumbent: recorded.or(key.as_ref().map(|key| &key.facts)),
            policy: &policy,
            now: engine.ports.clock.now(),
        };
        kind.check(&case).await?;
        let owner = match &key {
            Some(key) => kind.owner(&key.facts).await?,
            None => None,
        };
        Ok((key, owner))
    };
    let key = match judged.await {
        Ok((key, None)) => key,
        Ok((key, Some(owner))) => {
            let id = key.and_then(|key| key.facts.get("id").cloned()).unwrap_or_default();
            let why = format!("{owner} owns its key: its next run would undo a rotation");
            return Ok(Err(Refused::new(why, &owner.way_out(&id))));
        }
        Err(Failure::Held(hold)) => return Ok(Err(held(&hold))),
        Err(Failure::Input(bad)) => {
            return Ok(Err(Refused::new(chain(&bad), "correct that, then run the same command again")));
        }
        Err(failure @ (Failure::Call(_) | Failure::NotYet(_))) => return Err(failure),
    };
    Ok(Ok(Prospect { policy, key }))
}

fn held(hold: &Hold) -> Refused {
    // The general remedy is about credentials that have records.
    let is_foreign = hold.reason == HoldReason::ForeignValue;
    let remedy = "correct the secret's value, then run the same command again";
    let remedy = if is_foreign { remedy } else { hold.reason.remedy() };
    Refused::new(hold.to_string(), remedy)
}

/// What of the secret itself, its records and its labels forbids it.
fn mismatch(name: &CredentialName, terms: &Terms, found: &Found) -> Option<Refused> {
    let asked = asked(terms, found.secret.as_ref().map(|_| &found.tags));
    let other = asked.iter().find_map(|(tag, value)| {
        let present = found.tags.get(tag).filter(|present| present.trim() != value.trim())?;
        Some((tag, value, present))
    });
    let recorded = found.records.as_ref().map(|records| &records.head);
    if let Some((tag, value, present)) = other {
        let why = format!("its tag {tag} says {present:?} already, not {value:?}");
        let is_kind = tag.strip_prefix(PREFIX) == Some("kind");
        let yours = "leave the wish out, or change the tag on the secret yourself";
        let theirs = "name another secret: a credential keeps its kind";
        return Some(Refused::new(why, if is_kind { theirs } else { yours }));
    }
    if let Some(head) = recorded.filter(|head| !head.kind.is_empty() && head.kind != terms.kind) {
        let bad = BadPolicy::KindChanged { found: terms.kind.clone(), recorded: head.kind.clone() };
        return Some(Refused::new(chain(&bad), "name another secret"));
    }
    let Some(secret) = &found.secret else {
        let head = recorded?;
        let why = format!("{name} was a credential already, whose secret {} is gone", head.arn);
        return Some(Refused::new(why, "name another secret"));
    };
    if let Some(head) = recorded.filter(|head| head.arn != secret.arn) {
        let why = format!("the records of {name} are about another secret, {}", head.arn);
        return Some(Refused::new(why, HoldReason::SecretReplaced.remedy()));
    }
    if secret.deleted {
        return Some(Refused::new(
            "it is deleted, or will be",
            "restore it with RestoreSecret, or name another secret",
        ));
    }
    if let Some(key) = &found.encrypted_otherwise {
        let why = format!("it is encrypted by {key}, not by the key that is asked for");
        let remedy = "leave --encryption-key out, or give it that key yourself: `aws secretsmanager update-secret \
                      --secret-id NAME --kms-key-id ARN`";
        return Some(Refused::new(why, remedy));
    }
    let is_ours = found.tags.contains_key(&format!("{PREFIX}kind"));
    if secret.rotation_enabled && !is_ours {
        let remedy = "see whose function rotates it; CancelRotateSecret ends that, then it can be taken";
        return Some(Refused::new("somebody else rotates it", remedy));
    }
    match (secret.holder(AWSCURRENT), secret.holder(AWSPENDING)) {
        (None, _) => Some(Refused::new("it has no value", "put the value {} into it: the first rotation makes a key")),
        (Some(current), Some(pending)) if recorded.is_none() && !is_ours && current != pending => {
            let remedy = "let it end, or take AWSPENDING off its version with UpdateSecretVersionStage";
            Some(Refused::new("a rotation of somebody else's is pending", remedy))
        }
        (Some(_), _) => None,
    }
}

/// The key in a secret's value that no record knows.
async fn unrecorded_key(
    engine: &Engine,
    name: &CredentialName,
    kind: &dyn Kind,
    found: &Found,
    policy: &Policy,
) -> Result<Option<Key>, Failure> {
    let (Some(secret), None) = (&found.secret, &found.records) else { return Ok(None) };
    let Some(carrier) = secret.holder(AWSCURRENT) else { return Ok(None) };
    let document = engine.secrets.value(&secret.arn, carrier).await?;
    let Some(document) = document else {
        return Err(Failure::NotYet(format!("the value of {} can't be read yet", secret.arn)));
    };
    if kind.key(&document, policy)?.is_none() {
        kind.see_free(&document)?;
        return Ok(None);
    }
    let sight = Sight { name, carrier, policy, current: None, known: None, is_ordered: false };
    let fingerprint = engine.fingerprint(kind, &document, policy).await?;
    let Some(facts) = engine.recognise(kind, &document, &sight, fingerprint.as_ref()).await? else {
        return Err(Hold::new(HoldReason::KeyVanished, "the key in its value is not among the provider's keys").into());
    };
    Ok(Some(Key { carrier: carrier.clone(), facts, fingerprint }))
}
