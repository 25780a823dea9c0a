//! KMS: keys that sign and keys that authenticate, with states, policies, grants, aliases and tags
//! (JSON 1.1). Keys that encrypt are there for other services, and encrypt nothing for a caller.

mod access;
mod aliases;
mod material;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::view::{KmsGrantView, KmsKeyView};

use self::access::Grant;
use self::aliases::Alias;
use self::material::{KeySpec, KeyUsage, MacAlgorithm, Material, Message, SigningAlgorithm};
use crate::core::{Context, ServiceError};
use crate::jobs::later;

/// The longest message that is signed as it is, or authenticated.
const LONGEST_MESSAGE: usize = 4096;
/// Tags of one key.
const MOST_TAGS: usize = 50;

/// One account's KMS in one Region.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Kms {
    keys: BTreeMap<String, Key>,
    /// By name, `alias/` included.
    aliases: BTreeMap<String, Alias>,
    /// The unique ids of users and roles that are gone, by the ARNs that they had.
    #[serde(default)]
    gone: BTreeMap<String, String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Key {
    id: String,
    spec: KeySpec,
    description: String,
    /// `None`: AWS's default one.
    policy: Option<String>,
    /// By id.
    #[serde(default)]
    grants: BTreeMap<String, Grant>,
    tags: BTreeMap<String, String>,
    created: DateTime<Utc>,
    state: KeyState,
    material: Material,
    /// One a minute at most, and none older than the newest one that may be told.
    uses: VecDeque<Use>,
    /// How many calls of `Sign` it answered.
    #[serde(default)]
    signed: u64,
}

/// What IAM knows of a key when somebody asks for something of it.
pub(crate) struct About {
    pub(crate) arn: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) spec: String,
    pub(crate) usage: String,
    /// `None`: AWS's default one.
    pub(crate) policy: Option<String>,
    /// To whom its grants allow which operations.
    pub(crate) granted: Vec<(String, BTreeSet<String>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum KeyState {
    Enabled,
    Disabled,
    PendingDeletion { at: DateTime<Utc> },
}

#[derive(Clone, Serialize, Deserialize)]
struct Use {
    at: DateTime<Utc>,
    operation: String,
    request: String,
    event: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct CreateKey {
    key_spec: Option<Value>,
    customer_master_key_spec: Option<Value>,
    key_usage: Option<KeyUsage>,
    #[serde(default)]
    description: String,
    policy: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    origin: Option<String>,
    multi_region: Option<bool>,
    /// Taken and of no effect: no policy is enforced here.
    #[serde(rename = "BypassPolicyLockoutSafetyCheck")]
    _bypass: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Tag {
    tag_key: String,
    tag_value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct OfKey {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Page {
    key_id: Option<String>,
    limit: Option<usize>,
    marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Sign {
    key_id: String,
    message: String,
    #[serde(default)]
    message_type: MessageType,
    signing_algorithm: SigningAlgorithm,
    /// `Verify` alone.
    signature: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum MessageType {
    #[default]
    Raw,
    Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Authenticate {
    key_id: String,
    message: String,
    mac_algorithm: MacAlgorithm,
    /// `VerifyMac` alone.
    mac: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct ScheduleKeyDeletion {
    key_id: String,
    pending_window_in_days: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct TagKey {
    key_id: String,
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct UntagKey {
    key_id: String,
    tag_keys: Vec<String>,
}

impl Key {
    fn is_younger(&self, cx: &Context<'_>, lag: Duration) -> bool {
        let lag = TimeDelta::from_std(lag).unwrap_or(TimeDelta::MAX);
        cx.now - self.created < lag
    }
}

impl Kms {
    /// Answers one call.
    pub(crate) fn handle(
        &mut self,
        cx: &mut Context<'_>,
        operation: &str,
        input: &Value,
    ) -> Result<Value, ServiceError> {
        self.delete_what_is_due(cx.now);
        if let Some(name) = input["KeyId"].as_str() {
            self.see(cx, operation, name)?;
        }
        match operation {
            "CreateKey" => self.create_key(cx, parse(input)?),
            "DescribeKey" => self.describe_key(cx, &parse(input)?),
            "ListKeys" => self.list_keys(cx, &parse(input)?),
            "GetKeyPolicy" => self.get_key_policy(cx, &parse(input)?),
            "PutKeyPolicy" => self.put_key_policy(cx, parse(input)?),
            "CreateGrant" => self.create_grant(cx, parse(input)?),
            "ListGrants" => self.list_grants(cx, parse(input)?),
            "RevokeGrant" => self.revoke_grant(cx, &parse(input)?),
            "GetPublicKey" => self.get_public_key(cx, &parse(input)?),
            "Sign" => self.sign(cx, &parse(input)?),
            "Verify" => self.verify(cx, &parse(input)?),
            "GenerateMac" => self.generate_mac(cx, &parse(input)?),
            "VerifyMac" => self.verify_mac(cx, &parse(input)?),
            "EnableKey" => self.set_state(cx, &parse(input)?, KeyState::Enabled),
            "DisableKey" => self.set_state(cx, &parse(input)?, KeyState::Disabled),
            "ScheduleKeyDeletion" => self.schedule_key_deletion(cx, &parse(input)?),
            "CancelKeyDeletion" => self.cancel_key_deletion(cx, &parse(input)?),
            "GetKeyLastUsage" => self.get_key_last_usage(cx, &parse(input)?),
            "CreateAlias" => self.create_alias(cx, parse(input)?),
            "UpdateAlias" => self.update_alias(cx, &parse(input)?),
            "DeleteAlias" => self.delete_alias(cx, &parse(input)?),
            "ListAliases" => self.list_aliases(cx, &parse(input)?),
            "TagResource" => self.tag_resource(cx, parse(input)?),
            "UntagResource" => self.untag_resource(cx, &parse(input)?),
            "ListResourceTags" => self.list_resource_tags(cx, &parse(input)?),
            _ => Err(error("UnknownOperationException", format!("the embedded AWS does not model {operation} of KMS"))),
        }
    }

    fn create_key(&mut self, cx: &mut Context<'_>, input: CreateKey) -> Result<Value, ServiceError> {
        let spec = input.key_spec.or(input.customer_master_key_spec).unwrap_or(json!("SYMMETRIC_DEFAULT"));
        let spec: KeySpec = serde_json::from_value(spec).map_err(|refused| {
            error("UnsupportedOperationException", format!("KeySpec: {refused}; no other is modelled"))
        })?;
        if cx.settings.kms_specs_missing.iter().any(|missing| json!(spec) == json!(missing)) {
            let message = format!("KeySpec {} is not supported in this Region", json!(spec));
            return Err(error("UnsupportedOperationException", message));
        }
        // Only of the default it may be left out.
        let usage = input.key_usage.or((spec == KeySpec::SymmetricDefault).then_some(KeyUsage::EncryptDecrypt));
        if usage.is_none() {
            return Err(invalid(
                "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
            ));
        }
        if usage != Some(spec.usage()) {
            return Err(invalid(format!("KeyUsage must be {} for this KeySpec", json!(spec.usage()))));
        }
        if input.origin.is_some_and(|origin| origin != "AWS_KMS") || input.multi_region == Some(true) {
            return Err(error(
                "UnsupportedOperationException",
                "the embedded AWS models only keys of one Region whose material KMS made",
            ));
        }
        input.policy.as_deref().map_or(Ok(()), |policy| self.check_policy(policy))?;
        let id = cx.uuid().to_string();
        let key = Key {
            id: id.clone(),
            spec,
            description: input.description,
            policy: input.policy,
            grants: BTreeMap::new(),
            tags: checked(input.tags)?,
            created: cx.now,
            state: KeyState::Enabled,
            material: Material::generate(spec, cx)?,
            uses: VecDeque::new(),
            signed: 0,
        };
        let answer = json!({ "KeyMetadata": metadata(cx, &key) });
        self.keys.insert(id, key);
        Ok(answer)
    }

    fn describe_key(&mut self, cx: &Context<'_>, input: &OfKey) -> Result<Value, ServiceError> {
        Ok(json!({ "KeyMetadata": metadata(cx, self.key_or_alias(cx, &input.key_id)?) }))
    }

    /// Eventually consistent: without the newest keys while `Settings::kms_lag` is not over.
    fn list_keys(&mut self, cx: &Context<'_>, input: &Page) -> Result<Value, ServiceError> {
        let lag = TimeDelta::from_std(cx.settings.kms_lag).unwrap_or(TimeDelta::MAX);
        let seen = self.keys.iter().filter(|(_, key)| later(key.created, lag) <= cx.now);
        let keys = seen.map(|(id, _)| (id.as_str(), json!({ "KeyId": id, "KeyArn": key_arn(cx, id) })));
        page("Keys", keys, input, (100, 1000))
    }

    /// Refused while the key is disabled or pending deletion.
    fn get_public_key(&mut self, cx: &Context<'_>, input: &OfKey) -> Result<Value, ServiceError> {
        let key = self.usable(cx, &input.key_id)?;
        if key.spec.usage() != KeyUsage::SignVerify {
            return Err(error("UnsupportedOperationException", "only asymmetric keys have a public key"));
        }
        Ok(json!({
            "KeyId": key_arn(cx, &key.id),
            "PublicKey": STANDARD.encode(key.material.public_key()?),
            "CustomerMasterKeySpec": key.spec,
            "KeySpec": key.spec,
            "KeyUsage": key.spec.usage(),
            "SigningAlgorithms": key.spec.signing_algorithms(),
        }))
    }

    fn sign(&mut self, cx: &mut Context<'_>, input: &Sign) -> Result<Value, ServiceError> {
        if input.signature.is_some() {
            return Err(invalid("unknown parameter Signature of Sign"));
        }
        let key = self.signer(cx, input)?;
        let bytes = blob("message", &input.message)?;
        let signed = key.material.sign(input.signing_algorithm, &message(input, &bytes)?)?;
        let id = key.id.clone();
        self.used(cx, &id, "Sign");
        Ok(json!({
            "KeyId": key_arn(cx, &id),
            "Signature": STANDARD.encode(signed),
            "SigningAlgorithm": input.signing_algorithm,
        }))
    }

    /// Raises where the signature is wrong; never answers `false`.
    fn verify(&mut self, cx: &mut Context<'_>, input: &Sign) -> Result<Value, ServiceError> {
        let key = self.signer(cx, input)?;
        let bytes = blob("message", &input.message)?;
        let signed = blob("signature", input.signature.as_deref().unwrap_or_default())?;
        if !key.material.verify(input.signing_algorithm, &message(input, &bytes)?, &signed)? {
            return Err(error("KMSInvalidSignatureException", "the signature is not valid"));
        }
        let id = key.id.clone();
        self.used(cx, &id, "Verify");
        Ok(json!({
            "KeyId": key_arn(cx, &id),
            "SignatureValid": true,
            "SigningAlgorithm": input.signing_algorithm,
        }))
    }

    fn generate_mac(&mut self, cx: &mut Context<'_>, input: &Authenticate) -> Result<Value, ServiceError> {
        if input.mac.is_some() {
            return Err(invalid("unknown parameter Mac of GenerateMac"));
        }
        let key = self.authenticator(cx, input)?;
        let mac = key.material.mac(input.mac_algorithm, &short(blob("message", &input.message)?)?)?;
        let id = key.id.clone();
        self.used(cx, &id, "GenerateMac");
        Ok(json!({
            "KeyId": key_arn(cx, &id),
            "Mac": STANDARD.encode(mac),
            "MacAlgorithm": input.mac_algorithm,
        }))
    }

    /// Raises where the MAC is wrong; never answers `false`.
    fn verify_mac(&mut self, cx: &mut Context<'_>, input: &Authenticate) -> Result<Value, ServiceError> {
        let key = self.authenticator(cx, input)?;
        let bytes = short(blob("message", &input.message)?)?;
        let mac = blob("mac", input.mac.as_deref().unwrap_or_default())?;
        if !key.material.verify_mac(input.mac_algorithm, &bytes, &mac)? {
            return Err(error("KMSInvalidMacException", "the MAC is not valid"));
        }
        let id = key.id.clone();
        self.used(cx, &id, "VerifyMac");
        Ok(json!({
            "KeyId": key_arn(cx, &id),
            "MacValid": true,
            "MacAlgorithm": input.mac_algorithm,
        }))
    }

    fn set_state(&mut self, cx: &Context<'_>, input: &OfKey, state: KeyState) -> Result<Value, ServiceError> {
        self.lasting(cx, &input.key_id)?.state = state;
        Ok(json!({}))
    }

    /// "Deletion waits 7 to 30 days", 30 unless asked.
    fn schedule_key_deletion(&mut self, cx: &Context<'_>, input: &ScheduleKeyDeletion) -> Result<Value, ServiceError> {
        let days = input.pending_window_in_days.unwrap_or(30);
        if !(7..=30).contains(&days) {
            return Err(invalid("PendingWindowInDays must be 7 to 30"));
        }
        let key = self.lasting(cx, &input.key_id)?;
        let at = cx.now + TimeDelta::days(days);
        key.state = KeyState::PendingDeletion { at };
        Ok(json!({
            "KeyId": key_arn(cx, &key.id),
            "DeletionDate": seconds(at),
            "KeyState": "PendingDeletion",
            "PendingWindowInDays": days,
        }))
    }

    /// The key is disabled afterwards, whatever it was before.
    fn cancel_key_deletion(&mut self, cx: &Context<'_>, input: &OfKey) -> Result<Value, ServiceError> {
        let arn = key_arn(cx, &self.key(cx, &input.key_id)?.id);
        let key = self.key_mut(cx, &input.key_id)?;
        match key.state {
            KeyState::PendingDeletion { .. } => key.state = KeyState::Disabled,
            KeyState::Enabled | KeyState::Disabled => {
                let message = format!("{arn} is not pending deletion.");
                return Err(error("KMSInvalidStateException", message));
            }
        }
        Ok(json!({ "KeyId": arn }))
    }

    /// Tells the last successful use that is older than `Settings::kms_usage_lag`, in every state of
    /// the key; an empty object where there is none.
    fn get_key_last_usage(&mut self, cx: &Context<'_>, input: &OfKey) -> Result<Value, ServiceError> {
        let key = self.key(cx, &input.key_id)?;
        let tracked = cx.settings.kms_usage_tracked_from.map_or(key.created, |from| from.max(key.created));
        let told = key.uses.iter().rev().find(|used| is_told(cx, used) && used.at >= tracked);
        let last = told.map_or(json!({}), |used| {
            json!({
                "Operation": used.operation,
                "Timestamp": seconds(used.at),
                "CloudTrailEventId": used.event,
                "KmsRequestId": used.request,
            })
        });
        Ok(json!({
            "KeyId": key.id,
            "KeyLastUsage": last,
            "TrackingStartDate": seconds(tracked),
            "KeyCreationDate": seconds(key.created),
        }))
    }

    fn tag_resource(&mut self, cx: &Context<'_>, input: TagKey) -> Result<Value, ServiceError> {
        let tags = checked(input.tags)?;
        let key = self.lasting(cx, &input.key_id)?;
        let mut all = key.tags.clone();
        all.extend(tags);
        check_number(&all)?;
        key.tags = all;
        Ok(json!({}))
    }

    fn untag_resource(&mut self, cx: &Context<'_>, input: &UntagKey) -> Result<Value, ServiceError> {
        self.lasting(cx, &input.key_id)?.tags.retain(|name, _| !input.tag_keys.contains(name));
        Ok(json!({}))
    }

    fn list_resource_tags(&mut self, cx: &Context<'_>, input: &Page) -> Result<Value, ServiceError> {
        let key = self.key(cx, input.key_id.as_deref().unwrap_or_default())?;
        let tags = key.tags.iter().map(|(name, value)| (name.as_str(), json!({ "TagKey": name, "TagValue": value })));
        page("Tags", tags, input, (50, 50))
    }

    /// A key whose waiting period is over is gone, and its aliases with it.
    fn delete_what_is_due(&mut self, now: DateTime<Utc>) {
        self.keys.retain(|_, key| !matches!(key.state, KeyState::PendingDeletion { at } if at <= now));
        self.aliases.retain(|_, alias| self.keys.contains_key(&alias.target));
    }

    /// By id or ARN.
    fn key(&self, cx: &Context<'_>, name: &str) -> Result<&Key, ServiceError> {
        if name.starts_with("alias/") || name.contains(":alias/") {
            return Err(error("NotFoundException", format!("Invalid keyId '{name}'")));
        }
        let id = match name.strip_prefix("arn:") {
            Some(_) => name
                .strip_prefix(&key_arn(cx, ""))
                .ok_or_else(|| error("NotFoundException", format!("Invalid arn {name}")))?,
            None => name,
        };
        self.keys.get(id).ok_or_else(|| match uuid::Uuid::try_parse(id) {
            Ok(uuid) if uuid.to_string() == id => no_such_key(cx, id),
            Ok(_) | Err(_) => error("NotFoundException", format!("Invalid keyId '{id}'")),
        })
    }

    /// Whether that operation does not know the key yet.
    fn see(&self, cx: &Context<'_>, operation: &str, name: &str) -> Result<(), ServiceError> {
        let lag = cx.settings.kms_unseen.get(operation).copied().unwrap_or_default();
        match self.key(cx, name) {
            Ok(key) if key.is_younger(cx, lag) => Err(no_such_key(cx, &key.id)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn key_mut(&mut self, cx: &Context<'_>, name: &str) -> Result<&mut Key, ServiceError> {
        let id = self.key(cx, name)?.id.clone();
        self.keys.get_mut(&id).ok_or_else(|| no_such_key(cx, &id))
    }

    /// By id, ARN, alias or alias ARN.
    fn key_or_alias(&self, cx: &Context<'_>, name: &str) -> Result<&Key, ServiceError> {
        let alias = name.strip_prefix(&alias_arn(cx, "")).unwrap_or(name);
        if !alias.starts_with("alias/") {
            return self.key(cx, name);
        }
        let alias = self.aliases.get(alias).ok_or_else(|| no_such_alias(cx, alias))?;
        self.key(cx, &alias.target)
    }

    /// A key, by id, ARN or alias.
    pub(crate) fn about(&self, cx: &Context<'_>, name: &str) -> Option<About> {
        let key = self.key_or_alias(cx, name).ok()?;
        let named = |value: Value| value.as_str().map(str::to_owned).unwrap_or_default();
        Some(About {
            arn: key_arn(cx, &key.id),
            tags: if key.is_younger(cx, cx.settings.kms_tag_lag) { BTreeMap::new() } else { key.tags.clone() },
            spec: named(json!(key.spec)),
            usage: named(json!(key.spec.usage())),
            policy: key.policy.clone(),
            granted: key.granted(),
        })
    }

    /// Whether a value can be encrypted with that key: by id, ARN or alias.
    pub(crate) fn encrypts(&self, cx: &Context<'_>, name: &str) -> bool {
        self.usable(cx, name).is_ok_and(|key| key.spec.usage() == KeyUsage::EncryptDecrypt)
    }

    /// Whether what was encrypted with that key can be decrypted. What is encrypted names its key itself, so that
    /// an alias that is gone does no harm.
    pub(crate) fn decrypts(&self, cx: &Context<'_>, name: &str) -> bool {
        self.encrypts(cx, name) || (name.contains("alias/") && self.key_or_alias(cx, name).is_err())
    }

    /// Puts AWS's own tags on a key. No API call can write them.
    pub(crate) fn own_by_stack(&mut self, cx: &Context<'_>, key: &str, tags: &BTreeMap<String, String>) -> bool {
        self.key_mut(cx, key).map(|key| key.tags.extend(tags.clone())).is_ok()
    }

    /// A key to change, which must not be pending deletion.
    fn lasting(&mut self, cx: &Context<'_>, name: &str) -> Result<&mut Key, ServiceError> {
        let key = self.key_mut(cx, name)?;
        if let KeyState::PendingDeletion { .. } = key.state {
            return Err(pending_deletion(cx, &key.id));
        }
        Ok(key)
    }

    /// A key to use, which must be enabled.
    fn usable(&self, cx: &Context<'_>, name: &str) -> Result<&Key, ServiceError> {
        let key = self.key_or_alias(cx, name)?;
        match key.state {
            KeyState::Enabled => Ok(key),
            KeyState::Disabled => Err(disabled(cx, &key.id)),
            KeyState::PendingDeletion { .. } => Err(pending_deletion(cx, &key.id)),
        }
    }

    fn signer(&self, cx: &Context<'_>, input: &Sign) -> Result<&Key, ServiceError> {
        let key = self.usable(cx, &input.key_id)?;
        if !key.spec.signing_algorithms().contains(&input.signing_algorithm) {
            let operation = if input.signature.is_some() { "Verify" } else { "Sign" };
            return Err(incompatible(cx, key, KeyUsage::SignVerify, &json!(input.signing_algorithm), operation));
        }
        Ok(key)
    }

    fn authenticator(&self, cx: &Context<'_>, input: &Authenticate) -> Result<&Key, ServiceError> {
        let key = self.usable(cx, &input.key_id)?;
        if key.spec.mac_algorithm() != Some(input.mac_algorithm) {
            let operation = if input.mac.is_some() { "VerifyMac" } else { "GenerateMac" };
            return Err(incompatible(cx, key, KeyUsage::GenerateVerifyMac, &json!(input.mac_algorithm), operation));
        }
        Ok(key)
    }

    fn used(&mut self, cx: &mut Context<'_>, id: &str, operation: &str) {
        let used = Use {
            at: cx.now,
            operation: operation.to_owned(),
            request: cx.uuid().to_string(),
            event: cx.uuid().to_string(),
        };
        let Some(key) = self.keys.get_mut(id) else { return };
        key.uses.pop_back_if(|last| last.at.timestamp() / 60 == cx.now.timestamp() / 60);
        key.uses.push_back(used);
        key.signed += u64::from(operation == "Sign");
        while key.uses.get(1).is_some_and(|next| is_told(cx, next)) {
            key.uses.pop_front();
        }
    }
}

impl KeyState {
    fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion { .. } => "PendingDeletion",
        }
    }
}

fn metadata(cx: &Context<'_>, key: &Key) -> Value {
    let mut metadata = json!({
        "AWSAccountId": cx.account,
        "KeyId": key.id,
        "Arn": key_arn(cx, &key.id),
        "CreationDate": seconds(key.created),
        "Enabled": key.state == KeyState::Enabled,
        "Description": key.description,
        "KeyUsage": key.spec.usage(),
        "KeyState": key.state.name(),
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": key.spec,
        "KeySpec": key.spec,
        "MultiRegion": false,
    });
    if let KeyState::PendingDeletion { at } = key.state {
        metadata["DeletionDate"] = seconds(at);
    }
    match key.spec.usage() {
        KeyUsage::EncryptDecrypt => {
            metadata["EncryptionAlgorithms"] = json!([key.spec]);
            metadata["CurrentKeyMaterialId"] = json!(material_id(key));
        }
        KeyUsage::GenerateVerifyMac => metadata["MacAlgorithms"] = json!([key.spec.mac_algorithm()]),
        KeyUsage::SignVerify => metadata["SigningAlgorithms"] = json!(key.spec.signing_algorithms()),
    }
    metadata
}

/// 64 hexadecimal digits, as KMS names the material of a symmetric key, which here never changes.
fn material_id(key: &Key) -> String {
    digest(&SHA256, key.id.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `GetKeyLastUsage` knows of it yet.
fn is_told(cx: &Context<'_>, used: &Use) -> bool {
    let lag = TimeDelta::from_std(cx.settings.kms_usage_lag).unwrap_or(TimeDelta::MAX);
    later(used.at, lag) <= cx.now
}

/// One page of `items`, which come in the order of their names, after the marker.
fn page<'i>(
    member: &str,
    items: impl Iterator<Item = (&'i str, Value)>,
    input: &Page,
    (default, most): (usize, usize),
) -> Result<Value, ServiceError> {
    let limit = input.limit.unwrap_or(default);
    if !(1..=most).contains(&limit) {
        return Err(invalid(format!("Limit must be 1 to {most}")));
    }
    let marker = input.marker.as_deref().unwrap_or_default();
    let mut rest = items.skip_while(|(name, _)| *name <= marker);
    let (names, page): (Vec<&str>, Vec<Value>) = rest.by_ref().take(limit).unzip();
    let truncated = rest.next().is_some();
    let mut answer = json!({ member: page, "Truncated": truncated });
    if let (true, Some(last)) = (truncated, names.last()) {
        answer["NextMarker"] = json!(last);
    }
    Ok(answer)
}

fn parse<T: DeserializeOwned>(input: &Value) -> Result<T, ServiceError> {
    T::deserialize(input).map_err(|refused| invalid(format!("{refused}: the embedded AWS takes only what it models")))
}

fn message<'a>(input: &Sign, bytes: &'a [u8]) -> Result<Message<'a>, ServiceError> {
    if bytes.is_empty() || bytes.len() > LONGEST_MESSAGE {
        return Err(too_long());
    }
    Ok(match input.message_type {
        MessageType::Raw => Message::Raw(bytes),
        MessageType::Digest => Message::Digest(bytes),
    })
}

fn short(bytes: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    if bytes.is_empty() || bytes.len() > LONGEST_MESSAGE { Err(too_long()) } else { Ok(bytes) }
}

fn blob(member: &str, raw: &str) -> Result<Vec<u8>, ServiceError> {
    STANDARD.decode(raw).map_err(|_| error("SerializationException", format!("{member} is not Base64")))
}

/// The tags of a request, none of them twice.
fn checked(tags: Vec<Tag>) -> Result<BTreeMap<String, String>, ServiceError> {
    let given = tags.len();
    for (number, tag) in tags.iter().enumerate() {
        for (member, text, most) in [("tagKey", &tag.tag_key, 128), ("tagValue", &tag.tag_value, 256)] {
            if text.chars().count() > most {
                return Err(invalid(format!(
                    "1 validation error detected: Value '{text}' at 'tags.{}.member.{member}' failed to satisfy \
                     constraint: Member must have length less than or equal to {most}",
                    number + 1
                )));
            }
        }
        if tag.tag_key.is_empty() {
            return Err(invalid("a tag's key has at least one character"));
        }
        if tag.tag_key.to_ascii_lowercase().starts_with("aws:") {
            return Err(error("TagException", "Tags beginning with aws: are reserved"));
        }
    }
    let tags: BTreeMap<_, _> = tags.into_iter().map(|tag| (tag.tag_key, tag.tag_value)).collect();
    if tags.len() < given {
        return Err(error("TagException", "Duplicate tag keys"));
    }
    check_number(&tags)?;
    Ok(tags)
}

fn check_number(tags: &BTreeMap<String, String>) -> Result<(), ServiceError> {
    if tags.len() > MOST_TAGS {
        return Err(error("TagException", "Too many tags"));
    }
    Ok(())
}

fn key_arn(cx: &Context<'_>, id: &str) -> String {
    format!("arn:aws:kms:{}:{}:key/{id}", cx.region, cx.account)
}

/// `name` begins with `alias/`.
fn alias_arn(cx: &Context<'_>, name: &str) -> String {
    format!("arn:aws:kms:{}:{}:{name}", cx.region, cx.account)
}

/// Seconds since 1970, as the protocol wants times.
fn seconds(at: DateTime<Utc>) -> Value {
    json!(at.timestamp())
}

fn error(code: &'static str, message: impl Into<String>) -> ServiceError {
    ServiceError::new(400, code, message)
}

fn invalid(message: impl Into<String>) -> ServiceError {
    error("ValidationException", message)
}

fn too_long() -> ServiceError {
    invalid(format!("the message must have 1 to {LONGEST_MESSAGE} bytes"))
}

fn no_such_key(cx: &Context<'_>, id: &str) -> ServiceError {
    error("NotFoundException", format!("Key '{}' does not exist", key_arn(cx, id)))
}

fn no_such_alias(cx: &Context<'_>, name: &str) -> ServiceError {
    error("NotFoundException", format!("Alias {} is not found.", alias_arn(cx, name)))
}

fn disabled(cx: &Context<'_>, id: &str) -> ServiceError {
    error("DisabledException", format!("{} is disabled.", key_arn(cx, id)))
}

fn pending_deletion(cx: &Context<'_>, id: &str) -> ServiceError {
    error("KMSInvalidStateException", format!("{} is pending deletion.", key_arn(cx, id)))
}

/// A key that is for something else than `wanted`, or that does it otherwise.
fn incompatible(cx: &Context<'_>, key: &Key, wanted: KeyUsage, algorithm: &Value, operation: &str) -> ServiceError {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let usage = key.spec.usage();
    let message = if usage == wanted {
        format!("Algorithm {} is incompatible with key spec {}.", text(algorithm), text(&json!(key.spec)))
    } else {
        let (arn, usage) = (key_arn(cx, &key.id), text(&json!(usage)));
        format!("{arn} key usage is {usage} which is not valid for {operation}.")
    };
    error("InvalidKeyUsageException", message)
}
