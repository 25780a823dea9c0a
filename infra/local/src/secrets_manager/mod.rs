//! Secrets Manager: values, labels, rotation, by the AWS documentation.
//!
//! Where the documentation leaves something open, the switch for it is in
//! [`Settings`](crate::Settings). Not modelled: resource policies, replication (a replica's status
//! can be set from Rust), managed external secrets, `GetRandomPassword`, `BatchGetSecretValue`.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::core::{Context, ServiceError};
use crate::events::LabelMoved;
use crate::kms::Kms;
use input::read;
use secret::{AWSCURRENT, AWSPENDING, AWSPREVIOUS, Deletion, Secret, SecretValue};

mod input;
mod list;
mod rotation;
mod secret;

pub(crate) use rotation::{Attempt, Ended};

const MAX_TAGS: usize = 50;

/// All secrets of the account and Region, by name.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct SecretsManager {
    secrets: BTreeMap<String, Secret>,
    /// Set by whoever hosts this: a function that is not here can't be made a secret's.
    #[serde(skip)]
    functions: Invocable,
    #[serde(skip)]
    effects: Vec<Effect>,
}

/// Which functions Secrets Manager is permitted to invoke.
#[derive(Clone)]
pub(crate) enum Invocable {
    /// Those of these names.
    These(BTreeSet<String>),
    /// Whatever is asked for: they are behind an endpoint that can't be listed.
    Any,
}

impl Default for Invocable {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

/// What IAM knows of a secret when somebody asks for something of it.
pub(crate) struct About {
    pub(crate) arn: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) kms_key_id: Option<String>,
    /// The ARN of the function that rotates it.
    pub(crate) function: Option<String>,
}

/// What a call set going outside this service.
#[derive(Clone)]
pub(crate) enum Effect {
    /// A rotation of this secret, to be attempted at `due`.
    Rotate { arn: String, token: String, due: DateTime<Utc> },
    /// A label moved that EventBridge reports.
    LabelMoved(LabelMoved),
}

impl SecretsManager {
    /// One operation of the JSON protocol.
    pub(crate) fn handle(
        &mut self,
        cx: &mut Context<'_>,
        kms: &Kms,
        operation: &str,
        input: &Value,
    ) -> Result<Value, ServiceError> {
        self.purge(cx.now);
        match operation {
            "CreateSecret" => self.create_secret(cx, kms, read(input)?),
            "PutSecretValue" => self.put_secret_value(cx, kms, read(input)?),
            "GetSecretValue" => self.get_secret_value(cx, kms, read(input)?),
            "DescribeSecret" => self.describe_secret(read(input)?),
            "ListSecrets" => self.list_secrets(read(input)?),
            "ListSecretVersionIds" => self.list_secret_version_ids(read(input)?),
            "UpdateSecretVersionStage" => self.update_secret_version_stage(cx, read(input)?),
            "RotateSecret" => self.rotate_secret(cx, read(input)?),
            "CancelRotateSecret" => self.cancel_rotate_secret(read(input)?),
            "TagResource" => self.tag_resource(read(input)?),
            "UntagResource" => self.untag_resource(read(input)?),
            "DeleteSecret" => self.delete_secret(cx, read(input)?),
            "RestoreSecret" => self.restore_secret(read(input)?),
            "UpdateSecret" => self.update_secret(cx, kms, read(input)?),
            unknown => Err(ServiceError::new(
                400,
                "UnknownOperationException",
                format!("the embedded AWS does not model Secrets Manager's {unknown}"),
            )),
        }
    }

    /// What the calls since the last time set going.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// By name or ARN.
    pub(crate) fn about(&self, id: &str) -> Option<About> {
        let secret = self.secrets.values().find(|secret| secret.is_called(id))?;
        Some(About {
            arn: secret.arn.clone(),
            tags: secret.tags.clone().unwrap_or_default(),
            kms_key_id: secret.kms_key_id.clone(),
            function: secret.rotation.function.clone(),
        })
    }

    pub(crate) fn permit(&mut self, functions: Invocable) {
        self.functions = functions;
    }

    /// A replica's status, as replication would set it: `InSync`, `InProgress` or `Failed`.
    pub(crate) fn set_replica(&mut self, secret: &str, region: &str, status: &str) -> bool {
        let found = self.find(secret);
        found.is_ok_and(|secret| {
            secret.replicas.insert(region.to_owned(), status.to_owned());
            true
        })
    }

    /// Puts AWS's own tags on a secret. No API call can write them.
    pub(crate) fn own_by_stack(&mut self, secret: &str, tags: &BTreeMap<String, String>) -> bool {
        self.find(secret).map(|secret| secret.tags.get_or_insert_default().extend(tags.clone())).is_ok()
    }

    fn create_secret(
        &mut self,
        cx: &mut Context<'_>,
        kms: &Kms,
        input: input::CreateSecret,
    ) -> Result<Value, ServiceError> {
        check_name(&input.name)?;
        let value = SecretValue::read(input.secret_string, input.secret_binary)?;
        let tags = input.tags.filter(|tags| !tags.is_empty());
        let tags = tags.map(|tags| merged_tags(BTreeMap::new(), tags)).transpose()?;
        let token = match &value {
            Some(_) => Some(input::client_request_token(input.client_request_token, invalid_request)?),
            None => None,
        };
        if let Some(before) = self.secrets.get(&input.name) {
            return created_before(before, token.as_deref(), value.as_ref());
        }
        let kms_key_id = input.kms_key_id.filter(|key| !is_aws_key(key));
        check_encrypts(cx, kms, kms_key_id.as_deref())?;
        let mut secret = Secret {
            arn: new_arn(cx, &input.name),
            name: input.name.clone(),
            description: input.description,
            kms_key_id,
            tags,
            versions: BTreeMap::new(),
            labels: BTreeMap::new(),
            rotation: rotation::Rotation::default(),
            created: cx.now,
            changed: cx.now,
            accessed: None,
            deletion: None,
            replicas: BTreeMap::new(),
        };
        if let (Some(token), Some(value)) = (&token, value) {
            let moved = secret.put(cx.now, token, value, None)?;
            self.effects.extend(label_effects(&secret, token, moved));
        }
        let answer = identity(&secret, token.as_deref());
        self.secrets.insert(input.name, secret);
        Ok(answer)
    }

    fn put_secret_value(
        &mut self,
        cx: &mut Context<'_>,
        kms: &Kms,
        input: input::PutSecretValue,
    ) -> Result<Value, ServiceError> {
        let token = input::client_request_token(input.client_request_token, invalid_request)?;
        let value = SecretValue::read(input.secret_string, input.secret_binary)?
            .ok_or_else(|| invalid_request("You must provide either SecretString or SecretBinary."))?;
        let secret = self.find(&input.secret_id)?;
        secret.check_not_deleted()?;
        if let Some(given) = input.rotation_token {
            secret.rotation.check_token(&given)?;
        }
        check_encrypts(cx, kms, secret.kms_key_id.as_deref())?;
        let moved = secret.put(cx.now, &token, value, input.version_stages)?;
        secret.after_label_moves(cx.now, &moved);
        let mut answer = identity(secret, Some(&token));
        tell_stages(&mut answer, secret, &token);
        let effects = label_effects(secret, &token, moved);
        self.effects.extend(effects);
        Ok(answer)
    }

    fn update_secret(
        &mut self,
        cx: &mut Context<'_>,
        kms: &Kms,
        input: input::UpdateSecret,
    ) -> Result<Value, ServiceError> {
        let value = SecretValue::read(input.secret_string, input.secret_binary)?;
        let token = match &value {
            Some(_) => Some(input::client_request_token(input.client_request_token, invalid_request)?),
            None => None,
        };
        let secret = self.find(&input.secret_id)?;
        secret.check_not_deleted()?;
        // An empty one stands for AWS's own.
        let kms_key_id = match input.kms_key_id {
            Some(key) => Some(key).filter(|key| !key.is_empty() && !is_aws_key(key)),
            None => secret.kms_key_id.clone(),
        };
        check_encrypts(cx, kms, kms_key_id.as_deref())?;
        let mut put = None;
        if let (Some(token), Some(value)) = (token, value) {
            let moved = secret.put(cx.now, &token, value, None)?;
            secret.after_label_moves(cx.now, &moved);
            put = Some((token, moved));
        }
        secret.description = input.description.or(secret.description.take());
        secret.kms_key_id = kms_key_id;
        secret.changed = cx.now;
        let answer = identity(secret, put.as_ref().map(|(token, _)| token.as_str()));
        if let Some((token, moved)) = put {
            let effects = label_effects(secret, &token, moved);
            self.effects.extend(effects);
        }
        Ok(answer)
    }

    fn get_secret_value(
        &mut self,
        cx: &mut Context<'_>,
        kms: &Kms,
        input: input::GetSecretValue,
    ) -> Result<Value, ServiceError> {
        let secret = self.find(&input.secret_id)?;
        secret.check_not_deleted()?;
        if secret.kms_key_id.as_deref().is_some_and(|key| !kms.decrypts(cx, key)) {
            let message = "Secrets Manager can't decrypt the protected secret text using the provided KMS key.";
            return Err(ServiceError::new(400, "DecryptionFailure", message));
        }
        let (id, missing) = match (input.version_id, input.version_stage) {
            (Some(id), stage) => {
                if let Some(stage) = stage
                    && !secret.holds(&id, &stage)
                {
                    return Err(invalid_request(
                        "You provided a VersionStage that is not associated to the provided VersionId.",
                    ));
                }
                let missing = format!("VersionId: {id}");
                (Some(id), missing)
            }
            (None, stage) => {
                let stage = stage.unwrap_or_else(|| AWSCURRENT.to_owned());
                let missing = format!("staging label: {stage}");
                (secret.holder(&stage).map(str::to_owned), missing)
            }
        };
        let not_found = || not_found(format!("Secrets Manager can't find the specified secret value for {missing}"));
        let id = id.ok_or_else(not_found)?;
        let version = secret.versions.get_mut(&id).ok_or_else(not_found)?;
        let value = version.value.clone().ok_or_else(not_found)?;
        let created = version.created;
        version.accessed = Some(cx.now);
        secret.accessed = Some(cx.now);

        let mut answer = identity(secret, Some(&id));
        tell_stages(&mut answer, secret, &id);
        answer["CreatedDate"] = list::timestamp(created);
        match value {
            SecretValue::Text(text) => answer["SecretString"] = json!(text),
            SecretValue::Binary(binary) => answer["SecretBinary"] = json!(binary),
        }
        Ok(answer)
    }

    /// A compare-and-swap: whoever moves a label names its holder.
    fn update_secret_version_stage(
        &mut self,
        cx: &mut Context<'_>,
        input: input::UpdateSecretVersionStage,
    ) -> Result<Value, ServiceError> {
        let label = input.version_stage;
        let secret = self.find(&input.secret_id)?;
        secret.check_not_deleted()?;
        for id in [&input.move_to_version_id, &input.remove_from_version_id].into_iter().flatten() {
            if !secret.versions.contains_key(id) {
                return Err(not_found(format!(
                    "Secrets Manager can't find the specified secret value for VersionId: {id}"
                )));
            }
        }
        let holder = secret.holder(&label).map(str::to_owned);
        check_remove_from(&label, holder.as_deref(), &input.remove_from_version_id, &input.move_to_version_id)?;

        let moved = match &input.move_to_version_id {
            Some(to) => {
                secret.check_labels(std::slice::from_ref(&label))?;
                let moved = secret.attach(&label, to);
                if moved && label == AWSCURRENT && cx.settings.moving_current_abandons {
                    secret.abandon_pending(to);
                }
                Vec::from_iter(moved.then_some(label))
            }
            None if input.remove_from_version_id.is_none() => {
                return Err(invalid_parameter("You must provide either MoveToVersionId or RemoveFromVersionId."));
            }
            None if label == AWSCURRENT => {
                return Err(invalid_parameter(
                    "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.",
                ));
            }
            None => {
                secret.labels.remove(&label);
                Vec::new()
            }
        };
        secret.changed = cx.now;
        secret.after_label_moves(cx.now, &moved);
        let answer = identity(secret, None);
        let effects = label_effects(secret, input.move_to_version_id.as_deref().unwrap_or_default(), moved);
        self.effects.extend(effects);
        Ok(answer)
    }

    fn tag_resource(&mut self, input: input::TagResource) -> Result<Value, ServiceError> {
        let secret = self.find(&input.secret_id)?;
        secret.check_not_deleted()?;
        secret.tags = Some(merged_tags(secret.tags.clone().unwrap_or_default(), input.tags)?);
        Ok(json!({}))
    }

    fn untag_resource(&mut self, input: input::UntagResource) -> Result<Value, ServiceError> {
        let secret = self.find(&input.secret_id)?;
        secret.check_not_deleted()?;
        if let Some(tags) = &mut secret.tags {
            tags.retain(|key, _| !input.tag_keys.contains(key));
        }
        Ok(json!({}))
    }

    fn delete_secret(&mut self, cx: &mut Context<'_>, input: input::DeleteSecret) -> Result<Value, ServiceError> {
        let force = input.force_delete_without_recovery.unwrap_or(false);
        if force && input.recovery_window_in_days.is_some() {
            return Err(invalid_parameter(
                "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
            ));
        }
        let days = input.recovery_window_in_days.unwrap_or(30);
        if !(7..=30).contains(&days) {
            return Err(invalid_parameter("RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."));
        }
        let due = if force { cx.now } else { cx.now + TimeDelta::days(days) };
        let secret = match self.find(&input.secret_id) {
            Ok(secret) => secret,
            // Forcing the deletion of what is not there succeeds, and answers as if it had been there.
            Err(error) if force && error.code == "ResourceNotFoundException" => {
                return Ok(never_was(cx, &input.secret_id, due));
            }
            Err(error) => return Err(error),
        };
        if !force {
            secret.check_not_deleted()?;
        }
        secret.deletion = Some(Deletion { requested: cx.now, due });
        secret.rotation.stop();
        let mut answer = identity(secret, None);
        answer["DeletionDate"] = list::timestamp(due);
        self.purge(cx.now);
        Ok(answer)
    }

    fn restore_secret(&mut self, input: input::SecretOnly) -> Result<Value, ServiceError> {
        let secret = self.find(&input.secret_id)?;
        secret.deletion = None;
        Ok(identity(secret, None))
    }

    fn purge(&mut self, now: DateTime<Utc>) {
        let gone = |secret: &Secret| secret.deletion.as_ref().is_some_and(|at| at.due <= now);
        self.secrets.retain(|_, secret| !gone(secret));
    }

    /// By name, by ARN, or by ARN without its random end. What can't be a name is refused by every operation.
    fn find(&mut self, id: &str) -> Result<&mut Secret, ServiceError> {
        if !id.starts_with("arn:") {
            check_name(id)?;
        }
        let secret = self.secrets.values_mut().find(|secret| secret.is_called(id));
        secret.ok_or_else(|| not_found("Secrets Manager can't find the specified secret."))
    }
}

/// What the forced deletion of a secret that does not exist answers, by name or by ARN.
fn never_was(cx: &mut Context<'_>, id: &str, due: DateTime<Utc>) -> Value {
    let (arn, name) = match id.strip_prefix("arn:").and_then(|_| id.split(':').nth(6)) {
        Some(name) => {
            let suffix = name.rsplit_once('-').filter(|(_, suffix)| suffix.len() == 6);
            (id.to_owned(), suffix.map_or(name, |(name, _)| name).to_owned())
        }
        None => (new_arn(cx, id), id.to_owned()),
    };
    json!({ "ARN": arn, "Name": name, "DeletionDate": list::timestamp(due) })
}

/// `CreateSecret` again: the same one is answered as before, another one is refused.
fn created_before(before: &Secret, token: Option<&str>, value: Option<&SecretValue>) -> Result<Value, ServiceError> {
    if before.deletion.is_some() {
        return Err(invalid_request(
            "You can't create this secret because a secret with this name is already scheduled for deletion.",
        ));
    }
    if let (Some(token), Some(value)) = (token, value)
        && before.versions.get(token).is_some_and(|version| version.value.as_ref() == Some(value))
    {
        return Ok(identity(before, Some(token)));
    }
    Err(resource_exists(format!("The operation failed because the secret {} already exists.", before.name)))
}

fn check_remove_from(
    label: &str,
    holder: Option<&str>,
    remove_from: &Option<String>,
    move_to: &Option<String>,
) -> Result<(), ServiceError> {
    match (holder, remove_from) {
        (Some(holder), None) if move_to.as_deref() != Some(holder) => Err(invalid_parameter(format!(
            "The parameter RemoveFromVersionId can't be empty. Staging label {label} is currently attached to version {holder}, so you must explicitly reference that version in RemoveFromVersionId."
        ))),
        (Some(holder), Some(from)) if holder != from => Err(invalid_parameter(format!(
            "Staging label {label} is currently attached to version {holder}, so you must explicitly reference that version in RemoveFromVersionId."
        ))),
        (None, Some(from)) => {
            Err(invalid_parameter(format!("Staging label {label} is not attached to version {from}.")))
        }
        (Some(_) | None, None) | (Some(_), Some(_)) => Ok(()),
    }
}

/// Every answer begins with these.
fn identity(secret: &Secret, version: Option<&str>) -> Value {
    let mut answer = json!({ "ARN": secret.arn, "Name": secret.name });
    if let Some(version) = version {
        answer["VersionId"] = json!(version);
    }
    answer
}

/// The labels of a version; of one that has none, no such member.
fn tell_stages(answer: &mut Value, secret: &Secret, version: &str) {
    let stages = secret.stages_of(version);
    if !stages.is_empty() {
        answer["VersionStages"] = json!(stages);
    }
}

/// By any of its names: AWS's own key, which is told by leaving it out.
fn is_aws_key(key: &str) -> bool {
    key.ends_with("alias/aws/secretsmanager")
}

/// "Secrets Manager only supports symmetric encryption KMS keys", says the AWS documentation.
fn check_encrypts(cx: &Context<'_>, kms: &Kms, key: Option<&str>) -> Result<(), ServiceError> {
    if key.is_none_or(|key| kms.encrypts(cx, key)) {
        return Ok(());
    }
    let message = "Secrets Manager can't encrypt the protected secret text using the provided KMS key. Check that the \
                   KMS key is available, enabled, and not in an invalid state.";
    Err(ServiceError::new(400, "EncryptionFailure", message))
}

fn label_effects(secret: &Secret, version: &str, moved: Vec<String>) -> Vec<Effect> {
    moved
        .into_iter()
        .filter(|label| label != AWSPENDING && label != AWSPREVIOUS)
        .map(|label| {
            Effect::LabelMoved(LabelMoved {
                arn: secret.arn.clone(),
                name: secret.name.clone(),
                label,
                version: version.to_owned(),
            })
        })
        .collect()
}

fn merged_tags(
    mut tags: BTreeMap<String, String>,
    new: Vec<input::Tag>,
) -> Result<BTreeMap<String, String>, ServiceError> {
    for tag in new {
        let value = tag.value.unwrap_or_default();
        let allowed = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
        if !(1..=128).contains(&tag.key.chars().count())
            || value.chars().count() > 256
            || !tag.key.chars().all(allowed)
            || !value.chars().all(allowed)
        {
            return Err(invalid_parameter(
                "Tags have keys of 1 to 128 and values of up to 256 characters: letters, digits, space and _ . : / = + - @",
            ));
        }
        if tag.key.to_lowercase().starts_with("aws:") {
            return Err(invalid_parameter("Tag keys that begin with aws: are reserved."));
        }
        tags.insert(tag.key, value);
    }
    if tags.len() > MAX_TAGS {
        return Err(invalid_parameter("A secret has at most 50 tags."));
    }
    Ok(tags)
}

fn check_name(name: &str) -> Result<(), ServiceError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
    if (1..=512).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(validation(
        "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
    ))
}

/// Ends with six characters that tell secrets apart that had one name one after the other.
fn new_arn(cx: &mut Context<'_>, name: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789Az";
    let mut bytes = [0; 6];
    (cx.entropy)(&mut bytes);
    let suffix: String = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect();
    format!("arn:aws:secretsmanager:{}:{}:secret:{name}-{suffix}", cx.region, cx.account)
}

/// The member of an error's body that holds its message: `Message` where AWS's model of the service declares the
/// exception, `message` where it does not.
pub(crate) fn message_member(code: &str) -> &'static str {
    match code {
        "AccessDeniedException" | "SerializationException" | "UnknownOperationException" | "ValidationException" => {
            "message"
        }
        _ => "Message",
    }
}

fn not_found(message: impl Into<String>) -> ServiceError {
    ServiceError::new(400, "ResourceNotFoundException", message)
}

fn resource_exists(message: impl Into<String>) -> ServiceError {
    ServiceError::new(400, "ResourceExistsException", message)
}

fn invalid_parameter(message: impl Into<String>) -> ServiceError {
    ServiceError::new(400, "InvalidParameterException", message)
}

fn invalid_request(message: impl Into<String>) -> ServiceError {
    ServiceError::new(400, "InvalidRequestException", message)
}

fn limit_exceeded(message: impl Into<String>) -> ServiceError {
    ServiceError::new(400, "LimitExceededException", message)
}

fn validation(message: impl Into<String>) -> ServiceError {
    ServiceError::new(400, "ValidationException", message)
}
