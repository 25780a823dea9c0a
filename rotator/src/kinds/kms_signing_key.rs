//! Signing keys for JSON Web Tokens that never leave KMS.
//!
//! The secret's value holds no key. It names the one that signs now (`signer`: ARN, `kid`, algorithm) and where
//! verifiers find its public half. `CreateKey` takes no client token, so a key is made under an intent, tagged with the
//! random id of its version, and looked for when an answer is lost. Anybody can copy a tag: what is found counts only if
//! it is the only one, no older than its intent, made by KMS, and with the very policy that was asked for. Keys are signed with by their ARN, never through an
//! alias: an alias that moves makes signer and `kid` disagree.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use state::credential::{Credential, Proof};
use state::decide::Drafted;
use state::drift;
use state::evidence::{Sighting, Told};
use state::hold::{Hold, HoldReason};
use state::ledger::canonical;
use state::period::Period;
use state::policy::{Policy, Traces};
use tracing::warn;
use uuid::Uuid;

use crate::aws::signing_keys::{Availability, Creation, GrantView, NewSigningKey, SigningKeys};
use crate::config::{Config, is_role};
use crate::failure::{BadInput, CallFailed, Failure, Fault};
use crate::jose::{Algorithm, PublicJwk, raw_signature, wished};
use crate::key_sets::KeySets;
use crate::kind::{
    Authorship, CREDENTIAL_TAG, Case, Facts, Identity, Kind, ProviderKey, Sight, VERSION_TAG, tag_value,
};
use crate::secret::{Purpose, SecretValue};

/// The statement of a key policy that is ours to replace.
const SIGNERS: &str = "RotatorSigners";
/// The statement for the functions' own roles.
const SERVICE: &str = "RotatorService";
/// What they do with a key before its tags count, or to one that nobody wants after all.
const SERVES: [&str; 10] = [
    "kms:CreateGrant",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:EnableKey",
    "kms:GetKeyPolicy",
    "kms:GetPublicKey",
    "kms:ListGrants",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "kms:Sign",
];
/// The tag that declares who signs, without its prefix.
pub const SIGNERS_TAG: &str = "signers";
/// What a declared signer may do.
const MAY: [&str; 3] = ["kms:Sign", "kms:GetPublicKey", "kms:DescribeKey"];
/// KMS's own waiting period before a key is gone for good: the longest, in which `CancelKeyDeletion` brings it back.
const WAITING_DAYS: i32 = 30;
/// How far KMS's clock may be behind ours.
const SKEW: TimeDelta = TimeDelta::minutes(1);

/// Signing keys in KMS.
#[derive(Debug)]
pub struct KmsSigningKey {
    keys: SigningKeys,
    key_sets: KeySets,
    usage_lag: Period,
    signer_accounts: Vec<String>,
    key_roles: Vec<String>,
}

impl KmsSigningKey {
    /// With KMS, and the place where the public halves are published.
    pub fn new(keys: SigningKeys, key_sets: KeySets, settings: &Config) -> Self {
        let Config { usage_lag, signer_accounts, key_roles, .. } = settings;
        let (signer_accounts, key_roles) = (signer_accounts.clone(), key_roles.clone());
        Self { keys, key_sets, usage_lag: *usage_lag, signer_accounts, key_roles }
    }

    /// Whoever may write the tag chooses who signs, but only among the accounts that the stack's owner named.
    fn wishes(&self, case: &Case<'_>) -> Result<Wishes, BadInput> {
        let wishes = Wishes::read(case)?;
        let account = |arn: &str| arn.split(':').nth(4).unwrap_or_default().to_owned();
        let own = account(&case.credential.head.arn);
        let is_known = |signer: &&String| {
            let theirs = account(signer);
            own.is_empty() || theirs == own || self.signer_accounts.contains(&theirs)
        };
        match wishes.signers.iter().find(|signer| !is_known(signer)) {
            None => Ok(wishes),
            Some(stranger) => Err(BadInput::Tag {
                tag: SIGNERS_TAG,
                found: stranger.clone(),
                rule: "roles of other accounts must be allowed by ROTATOR_SIGNER_ACCOUNTS (SignerAccounts of the stack)",
            }),
        }
    }
}

#[async_trait]
impl Kind for KmsSigningKey {
    fn name(&self) -> &'static str {
        "kms-signing-key"
    }

    fn traces(&self) -> Traces {
        Traces::Use
    }

    fn tags(&self) -> &'static [&'static str] {
        &["algorithm", "rsa-bits", SIGNERS_TAG]
    }

    fn publishes(&self) -> bool {
        true
    }

    fn disables(&self) -> bool {
        true
    }

    fn members(&self) -> &'static [&'static str] {
        &["provider", "jwksUri"]
    }

    fn key(&self, document: &SecretValue, _policy: &Policy) -> Result<Option<SecretValue>, BadInput> {
        match parse(document)?.get("signer") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(signer)) if signer.is_empty() => Ok(None),
            Some(Value::Object(signer)) => match signer.get("keyArn") {
                Some(Value::String(arn)) if !arn.is_empty() => Ok(Some(SecretValue::new(arn.as_str()))),
                Some(_) | None => Err(BadInput::Value("has a signer without a keyArn")),
            },
            Some(_) => Err(BadInput::Value("has a signer that is not an object")),
        }
    }

    /// Only what is recorded already: whoever can write a value must not be able to lend this service a key, which it
    /// would disable and delete one day.
    async fn recognise(&self, document: &SecretValue, sight: &Sight<'_>) -> Result<Option<Facts>, Failure> {
        let Some(key) = self.key(document, sight.policy)? else { return Ok(None) };
        let known = sight.current.filter(|version| version.provider.get("id").is_some_and(|id| id == key.expose()));
        match (known, sight.current) {
            (Some(version), _) => Ok(Some(version.provider.clone())),
            (None, Some(_)) => Ok(Some(BTreeMap::from([("id".into(), key.expose().to_owned())]))),
            (None, None) => {
                self.see_unclaimed(&key, sight).await?;
                let detail = format!(
                    "the value's signer is {}, a key that no record knows: empty the signer, and the first rotation makes one",
                    key.expose().escape_default()
                );
                Err(Hold::new(HoldReason::ForeignValue, detail).into())
            }
        }
    }

    async fn check(&self, case: &Case<'_>) -> Result<(), Failure> {
        self.wishes(case)?;
        self.key_sets.location(&case.credential.head.name)?;
        match case.version {
            Some(standby) => self.see_usable(&standby.provider).await,
            None => Ok(()),
        }
    }

    /// The policy that the key is made with: KMS draws the rest.
    async fn draw(&self, case: &Case<'_>) -> Result<Option<SecretValue>, Failure> {
        let wanted = self.wanted_policy(case, &self.wishes(case)?).await?;
        let wanted = wanted.unwrap_or_else(|| default_policy(&case.credential.head.arn));
        Ok(Some(SecretValue::new(canonical(&wanted))))
    }

    async fn mint(&self, case: &Case<'_>, drawn: Option<&SecretValue>) -> Result<Facts, Failure> {
        let policy = drawn.ok_or_else(|| Failure::NotYet("no policy is drawn up yet".into()))?;
        let wishes = self.wishes(case)?;
        let version = case.version();
        let incumbent = case.incumbent.and_then(|incumbent| incumbent.get("id"));
        let mut tags = match incumbent {
            Some(key) => self.keys.tags(key).await.map_err(nothing_made)?,
            None => BTreeMap::new(),
        };
        tags.retain(|tag, _| !tag.starts_with("aws:") && !tag.starts_with("rotator:"));
        tags.insert(CREDENTIAL_TAG.into(), tag_value(&case.credential.head.name));
        tags.insert(VERSION_TAG.into(), version.id.to_string());
        let description = format!("signing key of {}, generation {}", case.credential.head.name, version.generation);
        let new = NewSigningKey {
            algorithm: wishes.algorithm,
            rsa_bits: wishes.rsa_bits,
            policy: policy.expose(),
            description: &description,
            tags: &tags,
        };
        match self.keys.create(&new).await? {
            Creation::Made(arn) => Ok(BTreeMap::from([("id".into(), arn)])),
            Creation::Unsupported => {
                let detail = format!("KMS has no keys for {} in this Region", wishes.algorithm.word());
                Err(Hold::new(HoldReason::AlgorithmUnsupported, detail).into())
            }
            Creation::PolicyRefused(why) => Err(policy_refused(&why).into()),
        }
    }

    async fn find(&self, case: &Case<'_>) -> Result<Option<Facts>, Failure> {
        let Tagged { ours, others } = self.tagged(case).await?;
        if let Some(key) = others.first() {
            let detail = format!(
                "the KMS key {key} carries the tag of generation {}, and is not what was asked for",
                case.version().generation
            );
            return Err(Hold::new(HoldReason::KeyNotOurs, detail).into());
        }
        // Of two tries that both made one after all, the sweep finds the other.
        Ok(ours.into_iter().next().map(|key| BTreeMap::from([("id".into(), key)])))
    }

    async fn equip(&self, case: &Case<'_>) -> Result<Facts, Failure> {
        let algorithm = self.wishes(case)?.algorithm;
        let key = id(&case.version().provider);
        let public = match self.keys.public_key(key).await {
            Ok(public) => public,
            Err(failed) if failed.fault == Fault::Rejected || failed.fault == Fault::NotFound => {
                self.see_usable(&case.version().provider).await?;
                return Err(failed.into());
            }
            Err(failed) => return Err(failed.into()),
        };
        let public = PublicJwk::from_spki(&public, algorithm)
            .map_err(|why| Hold::new(HoldReason::KeyNotOurs, format!("the KMS key {key} does not fit: {why}")))?;
        Ok(BTreeMap::from([
            ("kid".into(), public.kid().to_owned()),
            ("alg".into(), algorithm.word().to_owned()),
            ("jwk".into(), public.to_json()),
        ]))
    }

    async fn sweep(&self, case: &Case<'_>) -> Result<Vec<String>, Failure> {
        let Tagged { ours, others } = self.tagged(case).await?;
        for key in &others {
            warn!(key, "left alone: it has our tag, and is not what was asked for");
        }
        for key in &ours {
            self.keys.disable(key).await?;
            self.keys.schedule_deletion(key, WAITING_DAYS).await?;
        }
        Ok(ours)
    }

    async fn disable(&self, case: &Case<'_>) -> Result<(), Failure> {
        Ok(self.keys.disable(id(&case.version().provider)).await?)
    }

    async fn draft(&self, case: &Case<'_>, incumbent: Option<&SecretValue>) -> Result<SecretValue, Failure> {
        let mut document = incumbent.map(parse).transpose()?.unwrap_or_default();
        let fact = |name: &str| case.version().provider.get(name).cloned().unwrap_or_default();
        document.insert("provider".into(), "kms".into());
        document.insert("signer".into(), json!({ "keyArn": fact("id"), "kid": fact("kid"), "algorithm": fact("alg") }));
        document.insert("jwksUri".into(), self.key_sets.location(&case.credential.head.name)?.into());
        Ok(SecretValue::new(Value::Object(document).to_string()))
    }

    fn christen(&self, case: &Case<'_>, document: &SecretValue) -> Result<Drafted, Failure> {
        let (named, version) = (self.key(document, case.form())?, case.version());
        if named.as_ref().map(SecretValue::expose) != version.provider.get("id").map(String::as_str) {
            let detail = format!("the token's value names another key than generation {}", version.generation);
            return Err(Hold::new(HoldReason::KeyNotOurs, detail).into());
        }
        Ok(Drafted::default())
    }

    /// Policy and grants as the incumbent has them by now, and the signers as they are declared by now: the standby was
    /// made a generation ago.
    async fn admit(&self, case: &Case<'_>, _: &SecretValue) -> Result<(Facts, Facts), Failure> {
        let wishes = self.wishes(case)?;
        let key = id(&case.version().provider);
        if let Some(wanted) = self.wanted_policy(case, &wishes).await? {
            let present = self.keys.policy(key).await?.unwrap_or_default();
            let is_same = serde_json::from_str::<Value>(&present).ok().as_ref() == Some(&wanted);
            if !is_same && !self.keys.set_policy(key, &canonical(&wanted)).await? {
                return Err(policy_refused("").into());
            }
        }
        let mut granted = 0_usize;
        if let Some(incumbent) = case.incumbent.and_then(|incumbent| incumbent.get("id")) {
            let present = self.keys.grants(key).await?;
            for grant in self.keys.grants(incumbent).await? {
                if !present.iter().any(|known| known.is_same_as(&grant)) {
                    self.keys.grant(key, &grant).await?;
                }
                granted += 1;
            }
        }
        let evidence =
            if granted > 0 { BTreeMap::from([("grants".into(), granted.to_string())]) } else { Facts::new() };
        Ok((Facts::new(), evidence))
    }

    async fn prove(&self, case: &Case<'_>, document: &SecretValue) -> Result<Proof, Failure> {
        let wishes = self.wishes(case)?;
        let signer = signer(document)?;
        let facts = case.version.map(|version| &version.provider).or(case.incumbent);
        // What a value names is used only if the records know it.
        if facts.and_then(|facts| facts.get("id")) != Some(&signer.key) {
            let detail = format!("the value's signer is {}, which no record knows", signer.key.escape_default());
            return Err(Hold::new(HoldReason::ForeignValue, detail).into());
        }
        self.see_allowed(&signer.key, &wishes.signers).await?;
        let sign = async |input: &[u8]| match self.keys.sign(&signer.key, signer.algorithm, input).await {
            Ok(signed) => raw_signature(signer.algorithm, &signed)
                .map_err(|why| Failure::NotYet(format!("KMS answered with no signature by {}: {why}", signer.key))),
            Err(failure) => {
                if let Failure::Call(CallFailed { fault: Fault::Rejected | Fault::NotFound, .. }) = &failure {
                    self.see_usable(&BTreeMap::from([("id".into(), signer.key.clone())])).await?;
                }
                Err(failure)
            }
        };
        self.key_sets.prove(&case.credential.head.name, &signer.kid, signer.algorithm, sign).await
    }

    async fn is_blocked(&self, case: &Case<'_>, _: &SecretValue) -> Result<bool, Failure> {
        Ok(!self.key_sets.is_reachable(&case.credential.head.name).await)
    }

    async fn confirm(&self, case: &Case<'_>) -> Result<(), Failure> {
        self.see_usable(&case.version().provider).await
    }

    async fn witness(&self, case: &Case<'_>) -> Result<Sighting, Failure> {
        let facts = &case.version().provider;
        let (last_used, tracked) = self.keys.last_use(id(facts)).await?;
        // What was not seen before KMS began to keep track is not known to be unused.
        let from = case.version().deactivated;
        let is_told = last_used.is_some() || tracked.is_some_and(|tracked| from.is_none_or(|from| tracked <= from));
        Ok(Sighting {
            source: "GetKeyLastUsage".into(),
            seen_until: case.now - self.usage_lag.delta(),
            told: if is_told { Told::Last(last_used) } else { Told::Nothing },
            plans: BTreeMap::new(),
            callers: Vec::new(),
        })
    }

    async fn restore(&self, case: &Case<'_>, _: Option<&SecretValue>) -> Result<Facts, Failure> {
        let facts = &case.version().provider;
        self.keys.enable(id(facts)).await?;
        self.see_usable(facts).await?;
        Ok(Facts::new())
    }

    /// KMS shows the public half only of a key that can be used. Before it was disabled, it was compared; but whoever puts
    /// a history can say that it was disabled. What they can't do is to tag somebody else's key.
    async fn identity(&self, case: &Case<'_>) -> Result<Option<Identity>, Failure> {
        let facts = &case.version().provider;
        let algorithm = facts.get("alg").and_then(|word| Algorithm::parse(word));
        let (Some(key), Some(algorithm)) = (facts.get("id"), algorithm) else { return Ok(None) };
        match self.keys.public_key(key).await {
            // What is no key of that algorithm is another one than was recorded.
            Ok(public) => Ok(Some(Identity::Public(
                PublicJwk::from_spki(&public, algorithm).map(|public| public.to_json()).unwrap_or_default(),
            ))),
            Err(failed) => match failed.fault {
                Fault::NotFound => Ok(None),
                Fault::Rejected => match self.keys.tags(key).await {
                    Ok(mut tags) => Ok(Some(Identity::Tag(tags.remove(CREDENTIAL_TAG)))),
                    Err(failed) if failed.fault == Fault::NotFound => Ok(None),
                    Err(failed) => Err(failed.into()),
                },
                Fault::Conflict | Fault::Denied | Fault::Unauthenticated | Fault::Throttled(_) | Fault::Unknown => {
                    Err(failed.into())
                }
            },
        }
    }

    async fn authorship(&self, case: &Case<'_>, key: &str) -> Result<Authorship, Failure> {
        Ok(Authorship::Shown(self.is_as_asked(case, key).await?))
    }

    async fn suspend(&self, case: &Case<'_>, _: Option<&SecretValue>) -> Result<Facts, Failure> {
        let version = case.version();
        if let Some(key) = version.provider.get("id") {
            self.keys.disable(key).await?;
            return Ok(Facts::new());
        }
        match self.find(case).await? {
            None => Ok(Facts::new()),
            Some(found) => {
                self.keys.disable(id(&found)).await?;
                Ok(found)
            }
        }
    }

    async fn survey(&self) -> Result<Vec<ProviderKey>, Failure> {
        let mut found = Vec::new();
        for (arn, tags) in self.keys.with_tag(CREDENTIAL_TAG).await? {
            found.extend(self.shown(arn, tags).await?);
        }
        Ok(found)
    }

    async fn inventory(
        &self,
        credential: &Credential,
        surveyed: Option<Vec<ProviderKey>>,
    ) -> Result<Option<Vec<ProviderKey>>, Failure> {
        let mut keys = match surveyed {
            Some(surveyed) => surveyed,
            None => self.survey().await?,
        };
        // Somebody may have taken the tags off.
        for key in credential.versions.values().filter_map(|version| version.provider.get("id")) {
            if !keys.iter().any(|known| known.id == *key) {
                keys.extend(self.shown(key.clone(), BTreeMap::new()).await?);
            }
        }
        Ok(Some(keys))
    }

    fn remains(&self) -> Option<String> {
        Some(format!("KMS deletes its key after {WAITING_DAYS} days"))
    }

    async fn destroy(&self, case: &Case<'_>) -> Result<(), Failure> {
        match case.version().provider.get("id") {
            Some(key) => Ok(self.keys.schedule_deletion(key, WAITING_DAYS).await?),
            None => Ok(()),
        }
    }

    /// The key signs nothing, and verifiers don't find it any more.
    async fn is_refused(
        &self,
        case: &Case<'_>,
        _: Option<&SecretValue>,
        _: Option<&SecretValue>,
    ) -> Result<Option<bool>, Failure> {
        let facts = &case.version().provider;
        let signs = self.keys.availability(id(facts)).await? == Some(Availability::Enabled);
        let published = match facts.get("kid") {
            Some(kid) => !self.key_sets.is_withdrawn(case, kid).await?,
            None => false,
        };
        Ok(Some(!signs && !published))
    }
}

impl KmsSigningKey {
    /// Of a key that another credential of ours made, the value's owner is told so: by its tag.
    async fn see_unclaimed(&self, key: &SecretValue, sight: &Sight<'_>) -> Result<(), Failure> {
        // Whatever else stands there is told to nobody.
        let arn = key.expose();
        if !arn.starts_with("arn:") {
            return Ok(());
        }
        match self.keys.tags(arn).await {
            Ok(tags) => sight.see_unclaimed(&arn.escape_default().to_string(), &tags),
            Err(failed) => match failed.fault {
                // Of another account, or no key at all.
                Fault::NotFound | Fault::Denied | Fault::Rejected => Ok(()),
                Fault::Conflict | Fault::Unauthenticated | Fault::Throttled(_) | Fault::Unknown => Err(failed.into()),
            },
        }
    }

    /// A key as it is now; `None` when it is gone.
    async fn shown(&self, id: String, tags: BTreeMap<String, String>) -> Result<Option<ProviderKey>, Failure> {
        let availability = match self.keys.availability(&id).await? {
            Some(Availability::Enabled) => drift::Availability::Enabled,
            Some(Availability::Disabled | Availability::Unavailable) => drift::Availability::Disabled,
            Some(Availability::PendingDeletion) => drift::Availability::PendingDeletion,
            None => return Ok(None),
        };
        Ok(Some(ProviderKey { name: String::new(), availability, plans: None, replaced: BTreeMap::new(), tags, id }))
    }

    /// A key that somebody disabled or deleted behind our back is named.
    async fn see_usable(&self, facts: &Facts) -> Result<(), Failure> {
        let key = id(facts);
        let (reason, what) = match self.keys.availability(key).await? {
            Some(Availability::Enabled) => return Ok(()),
            Some(Availability::Unavailable) => {
                return Err(Failure::NotYet(format!("KMS does not say yet that {key} can be used")));
            }
            Some(Availability::Disabled) => (HoldReason::KeyDisabled, "is disabled"),
            Some(Availability::PendingDeletion) => (HoldReason::KeyPendingDeletion, "is scheduled for deletion"),
            None => (HoldReason::KeyVanished, "is gone"),
        };
        Err(Hold::new(reason, format!("the KMS key {key} {what}, and not by this service")).into())
    }

    /// The policy that a key of this credential is to have; `None`: AWS's default is fine.
    async fn wanted_policy(&self, case: &Case<'_>, wishes: &Wishes) -> Result<Option<Value>, CallFailed> {
        let incumbent = match case.incumbent.and_then(|incumbent| incumbent.get("id")) {
            Some(key) => self.keys.policy(key).await?,
            None => None,
        };
        if incumbent.is_none() && wishes.signers.is_empty() && self.key_roles.is_empty() {
            return Ok(None);
        }
        let parsed = incumbent.as_deref().and_then(|policy| serde_json::from_str::<Value>(policy).ok());
        let mut policy = parsed.unwrap_or_else(|| default_policy(&case.credential.head.arn));
        if let Some(Value::Array(statements)) = policy.get_mut("Statement") {
            let mut put = |sid: &str, roles: &[String], statement: Value| {
                if !roles.is_empty() {
                    statements.retain(|statement| statement.get("Sid").and_then(Value::as_str) != Some(sid));
                    statements.push(statement);
                }
            };
            put(
                SERVICE,
                &self.key_roles,
                json!({
                    "Sid": SERVICE,
                    "Effect": "Allow",
                    "Principal": { "AWS": self.key_roles },
                    "Action": SERVES,
                    "Resource": "*",
                    // KMS sees to it that whoever puts a policy may put the next one, unless it is told to look away.
                    "Condition": { "BoolIfExists": { "kms:BypassPolicyLockoutSafetyCheck": "false" } },
                }),
            );
            put(
                SIGNERS,
                &wishes.signers,
                json!({
                    "Sid": SIGNERS,
                    "Effect": "Allow",
                    "Principal": { "AWS": wishes.signers },
                    "Action": MAY,
                    "Resource": "*",
                }),
            );
        }
        Ok(Some(policy))
    }

    /// Whether a key can be what was asked for when a version's was: made since then, with its policy and with no grant.
    async fn is_as_asked(&self, case: &Case<'_>, key: &str) -> Result<bool, Failure> {
        let wishes = self.wishes(case)?;
        let since = case.version().created - SKEW;
        let origin = self.keys.origin(key).await?;
        let policy = self.keys.policy(key).await?.and_then(|policy| serde_json::from_str::<Value>(&policy).ok());
        let is_drawn = policy.is_some_and(|policy| {
            case.see_drawn(&SecretValue::new(canonical(&policy)), Purpose::Mint, "the key's policy").is_ok()
        });
        let fits = origin.is_some_and(|origin| origin.fits(wishes.algorithm, wishes.rsa_bits, since));
        Ok(fits && is_drawn && self.keys.grants(key).await?.is_empty())
    }

    /// The unrecorded keys with the tag of a version: those that can be what was asked for, and all others.
    async fn tagged(&self, case: &Case<'_>) -> Result<Tagged, Failure> {
        let version = case.version();
        let ids: BTreeSet<String> = version.ids().iter().map(Uuid::to_string).collect();
        let (mut ours, mut others) = (BTreeMap::new(), Vec::new());
        for (key, mut tags) in self.keys.with_tag(VERSION_TAG).await? {
            let tag = tags.remove(VERSION_TAG).filter(|tag| ids.contains(tag));
            let Some(tag) = tag.filter(|_| version.provider.get("id") != Some(&key)) else { continue };
            let is_ours = self.is_as_asked(case, &key).await?;
            // A try makes one key. Of two that could be its, nobody knows which.
            match is_ours.then(|| ours.insert(tag, key.clone())) {
                None => others.push(key),
                Some(Some(twin)) => others.extend([key, twin]),
                Some(None) => {}
            }
        }
        ours.retain(|_, key| !others.contains(key));
        Ok(Tagged { ours: ours.into_values().collect(), others })
    }

    /// Every declared signer is named where KMS looks: in the key's policy or in a grant. What IAM policies add can't
    /// be seen from here, and does not count.
    async fn see_allowed(&self, key: &str, signers: &[String]) -> Result<(), Failure> {
        if signers.is_empty() {
            return Ok(());
        }
        let policy = self.keys.policy(key).await?.unwrap_or_default();
        let policy: Value = serde_json::from_str(&policy).unwrap_or_default();
        let grants = self.keys.grants(key).await?;
        let denied = signers.iter().find(|signer| !may_sign(&policy, &grants, signer));
        match denied {
            None => Ok(()),
            Some(signer) => {
                let detail = format!("neither the policy of {key} nor a grant lets {signer} sign");
                Err(Hold::new(HoldReason::SignerDenied, detail).into())
            }
        }
    }
}

/// Keys with the tag of a version that no record names.
struct Tagged {
    /// What was asked for, by everything that KMS tells.
    ours: Vec<String>,
    /// Whatever else has the tag.
    others: Vec<String>,
}

/// The wishes that only this kind knows.
struct Wishes {
    algorithm: Algorithm,
    rsa_bits: u32,
    signers: Vec<String>,
}

impl Wishes {
    fn read(case: &Case<'_>) -> Result<Self, BadInput> {
        let signers = declared_signers(case.policy);
        if let Some(bad) = signers.iter().find(|signer| !is_role(signer)) {
            let rule = "write the ARNs of roles, arn:aws:iam::ACCOUNT:role/NAME, separated by spaces";
            return Err(BadInput::Tag { tag: SIGNERS_TAG, found: bad.clone(), rule });
        }
        let (algorithm, rsa_bits) = wished(&case.policy.wishes, case.incumbent)?;
        Ok(Self { algorithm, rsa_bits, signers })
    }
}

struct Signer {
    key: String,
    kid: String,
    algorithm: Algorithm,
}

fn signer(document: &SecretValue) -> Result<Signer, BadInput> {
    let document = parse(document)?;
    let text = |name: &str| document.get("signer").and_then(|signer| signer.get(name)).and_then(Value::as_str);
    match (text("keyArn"), text("kid"), text("algorithm").and_then(Algorithm::parse)) {
        (Some(key), Some(kid), Some(algorithm)) => Ok(Signer { key: key.to_owned(), kid: kid.to_owned(), algorithm }),
        _ => Err(BadInput::Value("has a signer without keyArn, kid and algorithm")),
    }
}

fn parse(document: &SecretValue) -> Result<Map<String, Value>, BadInput> {
    document.members().ok_or(BadInput::Value("is not a JSON object: write for instance {}"))
}

/// AWS's own default: the account decides by IAM.
fn default_policy(secret: &str) -> Value {
    let part = |n: usize| secret.split(':').nth(n).unwrap_or_default();
    let (partition, account) = (part(1), part(4));
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": { "AWS": format!("arn:{partition}:iam::{account}:root") },
            "Action": "kms:*",
            "Resource": "*",
        }],
    })
}

fn may_sign(policy: &Value, grants: &[GrantView], signer: &str) -> bool {
    let statements = statements(policy);
    let about = |statement: &Value, whom: &[&str], effect: &str| {
        let principals = match &statement["Principal"] {
            Value::Object(principal) => principal.get("AWS").unwrap_or(&Value::Null),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => other,
        };
        statement["Effect"] == effect
            && texts(principals).any(|principal| whom.contains(&principal))
            && texts(&statement["Action"]).any(|action| is_like(action, "kms:Sign"))
    };
    // A condition may make a refusal void; it must not make a permission.
    let denied = statements
        .iter()
        .any(|statement| about(statement, &[signer, "*"], "Deny") && statement.get("Condition").is_none());
    let allowed =
        statements.iter().any(|statement| about(statement, &[signer], "Allow") && statement.get("Condition").is_none());
    !denied && (allowed || grants.iter().any(|grant| grant.grantee() == signer && grant.lets_sign()))
}

/// Who is to sign, as the owner's wishes declare it.
pub fn declared_signers(policy: &Policy) -> Vec<String> {
    let listed = policy.wishes.get(SIGNERS_TAG).map_or("", String::as_str);
    listed.split_whitespace().map(str::to_owned).collect()
}

/// Somebody whom a key lets sign, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaySign {
    /// As the policy or the grant names them: an ARN, a service, `*` for everybody.
    pub who: String,
    /// The statement of the key's policy, or the grant.
    pub by: String,
}

/// Everybody whom a key's own policy, or a grant, lets sign, in the order in which they are named. The account's root is
/// left out: by it the policy leaves to IAM who may, which can't be seen here. What a statement denies is not reckoned, so
/// somebody may be told who may not.
pub fn may_sign_by(policy: &str, grants: &[GrantView], account: &str) -> Vec<MaySign> {
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let mut found = Vec::new();
    for (number, statement) in (1..).zip(statements(&policy)) {
        let acts = |member: &str| texts(&statement[member]).any(|pattern| is_like(pattern, "kms:Sign"));
        let signs = if statement["NotAction"].is_null() { acts("Action") } else { !acts("NotAction") };
        if statement["Effect"] != "Allow" || !signs {
            continue;
        }
        let named = statement["Sid"].as_str().map_or_else(|| format!("number {number}"), str::to_owned);
        let condition = if statement["Condition"].is_null() { "" } else { ", under a condition" };
        let by = format!("the statement {named} of its policy{condition}");
        let not = if statement["Principal"].is_null() { "everybody but " } else { "" };
        let principal = if not.is_empty() { &statement["Principal"] } else { &statement["NotPrincipal"] };
        // Of each kind of principal, or all of one.
        let kinds = principal.as_object().into_iter().flat_map(|kinds| kinds.values());
        let whom: Vec<&str> = kinds.chain([principal]).flat_map(texts).collect();
        let is_own = |who: &str| who == account || who.ends_with(&format!(":iam::{account}:root"));
        let whom = whom.into_iter().filter(|who| !not.is_empty() || !is_own(who));
        found.extend(whom.map(|who| MaySign { who: format!("{not}{who}"), by: by.clone() }));
    }
    let granting = grants.iter().filter(|grant| grant.lets_sign());
    found.extend(
        granting.map(|grant| MaySign { who: grant.grantee().to_owned(), by: format!("the grant {}", grant.id()) }),
    );
    found
}

fn statements(policy: &Value) -> &[Value] {
    let stated = &policy["Statement"];
    stated.as_array().map_or_else(|| std::slice::from_ref(stated), Vec::as_slice)
}

/// A text, or a list of texts.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let listed = value.as_array().into_iter().flatten();
    std::iter::once(value).chain(listed).filter_map(Value::as_str)
}

/// Whether a pattern of IAM's covers an action: `*` stands for anything, `?` for one character, and case does not count.
fn is_like(pattern: &str, action: &str) -> bool {
    fn fits(pattern: &[u8], action: &[u8]) -> bool {
        match (pattern.split_first(), action.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), next) => fits(rest, action) || next.is_some_and(|(_, action)| fits(pattern, action)),
            (Some((b'?', rest)), Some((_, action))) => fits(rest, action),
            (Some((one, rest)), Some((other, action))) => one.eq_ignore_ascii_case(other) && fits(rest, action),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
    let mut pattern = pattern.as_bytes().to_vec();
    pattern.dedup_by(|one, other| (*one, *other) == (b'*', b'*'));
    fits(&pattern, action.as_bytes())
}

fn policy_refused(why: &str) -> Hold {
    let detail = format!(
        "KMS does not take the key's policy: a role in rotator:signers, or in the setting ROTATOR_KEY_ROLES, may not exist; \
         {why}"
    );
    Hold::new(HoldReason::SignerDenied, detail.trim_end_matches([';', ' ']))
}

/// A look before the creation that got no answer: nothing was made, and the look can be repeated.
fn nothing_made(failed: CallFailed) -> Failure {
    match failed.fault {
        Fault::Unknown => Failure::NotYet(crate::failure::chain(&failed)),
        Fault::Conflict
        | Fault::Denied
        | Fault::Unauthenticated
        | Fault::NotFound
        | Fault::Rejected
        | Fault::Throttled(_) => failed.into(),
    }
}

fn id(facts: &Facts) -> &str {
    facts.get("id").map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::123456789012:role/issuer";

    fn policy(effect: &str, principal: &Value, action: &Value, condition: Option<Value>) -> Value {
        let mut statement = json!({ "Effect": effect, "Principal": principal, "Action": action, "Resource": "*" });
        if let Some(condition) = condition {
            statement["Condition"] = condition;
        }
        json!({ "Statement": [statement] })
    }

    #[test]
    fn a_signer_may_sign_if_the_policy_names_it_and_nothing_denies_it() {
        let named = json!({ "AWS": [ROLE, "arn:aws:iam::123456789012:role/other"] });
        assert!(may_sign(&policy("Allow", &named, &json!(["kms:Sign"]), None), &[], ROLE));
        assert!(may_sign(&policy("Allow", &json!({ "AWS": ROLE }), &json!("kms:*"), None), &[], ROLE));
        assert!(!may_sign(&policy("Allow", &named, &json!("kms:Verify"), None), &[], ROLE));
        assert!(!may_sign(&policy("Allow", &named, &json!("kms:Sign"), Some(json!({ "x": {} }))), &[], ROLE));
        assert!(!may_sign(&default_policy("arn:aws:secretsmanager:eu-west-1:123456789012:secret:x-abcdef"), &[], ROLE));
        let mut both = policy("Allow", &named, &json!("kms:Sign"), None);
        let deny = policy("Deny", &json!("*"), &json!("kms:Sign"), None);
        both["Statement"].as_array_mut().unwrap().push(deny["Statement"][0].clone());
        assert!(!may_sign(&both, &[], ROLE));
    }

    #[test]
    fn everybody_whom_a_policy_lets_sign_is_told_but_the_account_itself() {
        let account = "123456789012";
        let told = |policy: &Value| may_sign_by(&policy.to_string(), &[], account);
        let whom = |policy: &Value| told(policy).into_iter().map(|one| one.who).collect::<Vec<_>>();
        assert_eq!(told(&default_policy("arn:aws:secretsmanager:eu-west-1:123456789012:secret:x-abcdef")), []);
        for action in ["kms:Sign", "KMS:sign", "kms:*", "*", "kms:S?gn", "k**:Si*"] {
            let policy = policy("Allow", &json!({ "AWS": [ROLE, account] }), &json!([action]), None);
            assert_eq!(whom(&policy), [ROLE], "{action}");
        }
        for action in ["kms:Verify", "kms:Sig", "kms:GetPublicKey", "s3:*"] {
            assert_eq!(told(&policy("Allow", &json!({ "AWS": ROLE }), &json!(action), None)), [], "{action}");
        }
        assert_eq!(told(&policy("Deny", &json!("*"), &json!("kms:*"), None)), []);
        let service = json!({ "AWS": "arn:aws:iam::999999999999:root", "Service": "signer.amazonaws.com" });
        assert_eq!(
            whom(&policy("Allow", &service, &json!("kms:Sign"), None)),
            ["arn:aws:iam::999999999999:root", "signer.amazonaws.com"]
        );
        let [everybody]: [MaySign; 1] =
            told(&policy("Allow", &json!("*"), &json!("kms:Sign"), Some(json!({ "x": {} }))))
                .try_into()
                .unwrap_or_else(|found| panic!("{found:?}"));
        assert_eq!((everybody.who.as_str(), everybody.by.ends_with(", under a condition")), ("*", true));
        let negated = json!({ "Statement": {
            "Effect": "Allow", "NotPrincipal": { "AWS": ROLE }, "NotAction": "kms:Decrypt", "Resource": "*"
        } });
        assert_eq!(whom(&negated), [format!("everybody but {ROLE}")]);
    }
}
