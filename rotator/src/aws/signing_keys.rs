//! KMS: asymmetric keys that sign and never leave it.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::{Blob, DateTime};
use aws_sdk_kms::types::{
    GrantConstraints, GrantListEntry, GrantOperation, KeySpec, KeyState, KeyUsageType, MessageType, OriginType,
    SigningAlgorithmSpec, Tag,
};

use sha2::{Digest, Sha256, Sha384};
use state::Time;

use super::{Answer, failed};
use crate::failure::{BadInput, CallFailed, Failure, Fault};
use crate::jose::Algorithm;
use crate::patience::in_place;
use crate::ports::Ports;

/// The longest message that KMS takes, in bytes.
const LONGEST_MESSAGE: usize = 4_096;

/// KMS's signing keys.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    client: Client,
    ports: Ports,
}

/// What a new key is to be.
#[derive(Debug)]
pub struct NewSigningKey<'a> {
    /// What it signs with.
    pub algorithm: Algorithm,
    /// RSA keys: the length of the modulus in bits.
    pub rsa_bits: u32,
    /// The key policy.
    pub policy: &'a str,
    /// For people.
    pub description: &'a str,
    /// Ownership, and what the incumbent has.
    pub tags: &'a BTreeMap<String, String>,
}

/// What `CreateKey` came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// The key's ARN.
    Made(String),
    /// This Region has no keys of that kind.
    Unsupported,
    /// KMS does not take the policy: a principal in it may not exist.
    PolicyRefused(String),
}

/// Whether a key can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It signs.
    Enabled,
    /// It signs nothing, but can be enabled again.
    Disabled,
    /// It signs nothing and will be deleted.
    PendingDeletion,
    /// KMS is still making it, or is not sure.
    Unavailable,
}

/// How a key was made.
#[derive(Clone, Debug)]
pub struct Origin {
    at: Option<Time>,
    spec: Option<KeySpec>,
    is_of_kms: bool,
}

impl Origin {
    /// Whether it may be the answer to a request for such a key that was sent at that time or later: made by KMS, from
    /// nobody's own material.
    pub fn fits(&self, algorithm: Algorithm, rsa_bits: u32, since: Time) -> bool {
        self.is_of_kms && self.spec == Some(spec(algorithm, rsa_bits)) && self.at.is_some_and(|at| at >= since)
    }
}

impl SigningKeys {
    /// With the ordinary configuration.
    pub fn new(config: &SdkConfig, ports: Ports) -> Self {
        Self { client: Client::new(config), ports }
    }

    /// Makes a key. There is no client token: no answer means that one may have been made.
    pub async fn create(&self, new: &NewSigningKey<'_>) -> Result<Creation, CallFailed> {
        in_place(&self.ports, || self.create_once(new)).await
    }

    async fn create_once(&self, new: &NewSigningKey<'_>) -> Result<Creation, CallFailed> {
        let tags = new
            .tags
            .iter()
            .map(|(key, value)| Tag::builder().tag_key(key).tag_value(value).build().expect("key and value are set"));
        let made = self
            .client
            .create_key()
            .key_spec(spec(new.algorithm, new.rsa_bits))
            .key_usage(KeyUsageType::SignVerify)
            .description(new.description)
            .policy(new.policy)
            .set_tags(Some(tags.collect()))
            .send()
            .await;
        match made {
            Ok(made) => Ok(Creation::Made(made.key_metadata.and_then(|key| key.arn).unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(said) if said.is_unsupported_operation_exception() => Ok(Creation::Unsupported),
                Some(said) if said.is_malformed_policy_document_exception() => {
                    Ok(Creation::PolicyRefused(said.meta().message().unwrap_or_default().to_owned()))
                }
                Some(_) | None => Err(failed("kms:CreateKey", "*", Answer::Open, error)),
            },
        }
    }

    /// Whether a key can be used; `None` when it is gone.
    pub async fn availability(&self, key: &str) -> Result<Option<Availability>, CallFailed> {
        match self.client.describe_key().key_id(key).send().await {
            Ok(found) => Ok(Some(match found.key_metadata.and_then(|key| key.key_state) {
                Some(KeyState::Enabled) => Availability::Enabled,
                Some(KeyState::Disabled) => Availability::Disabled,
                Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => Availability::PendingDeletion,
                Some(_) | None => Availability::Unavailable,
            })),
            Err(error) => none_if_gone(failed("kms:DescribeKey", key, Answer::Open, error)),
        }
    }

    /// How a key was made; `None` when there is no such key.
    pub async fn origin(&self, key: &str) -> Result<Option<Origin>, CallFailed> {
        match self.client.describe_key().key_id(key).send().await {
            Ok(found) => Ok(found.key_metadata.map(|key| Origin {
                at: key.creation_date.and_then(|at| Time::from_timestamp(at.secs(), at.subsec_nanos())),
                spec: key.key_spec,
                is_of_kms: key.origin == Some(OriginType::AwsKms) && key.multi_region != Some(true),
            })),
            Err(error) => none_if_gone(failed("kms:DescribeKey", key, Answer::Open, error)),
        }
    }

    /// A key's public half, as DER (`SubjectPublicKeyInfo`). Refused while the key is disabled.
    pub async fn public_key(&self, key: &str) -> Result<Vec<u8>, CallFailed> {
        match self.client.get_public_key().key_id(key).send().await {
            Ok(found) => Ok(found.public_key.map(Blob::into_inner).unwrap_or_default()),
            Err(error) => Err(failed("kms:GetPublicKey", key, Answer::Open, error)),
        }
    }

    /// A signature as KMS gives it: of ECDSA, DER. KMS takes messages of at most 4,096 bytes; of longer ones it takes the
    /// digest, but not for Ed25519, which signs the message itself.
    pub async fn sign(&self, key: &str, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let (kind, message) = match algorithm {
            _ if message.len() <= LONGEST_MESSAGE => (MessageType::Raw, message.to_vec()),
            Algorithm::EdDsa => {
                let rule = format!(
                    "{} bytes are more than the {LONGEST_MESSAGE} that KMS signs with Ed25519: shorten the token, or \
                     set rotator:algorithm to ES256",
                    message.len()
                );
                return Err(BadInput::Argument { what: "the message", rule }.into());
            }
            Algorithm::Es256 | Algorithm::Rs256 | Algorithm::Ps256 => {
                (MessageType::Digest, Sha256::digest(message).to_vec())
            }
            Algorithm::Es384 => (MessageType::Digest, Sha384::digest(message).to_vec()),
        };
        let signed = self
            .client
            .sign()
            .key_id(key)
            .message(Blob::new(message))
            .message_type(kind)
            .signing_algorithm(signing_algorithm(algorithm))
            .send()
            .await;
        match signed {
            Ok(signed) => Ok(signed.signature.map(Blob::into_inner).unwrap_or_default()),
            Err(error) => Err(failed("kms:Sign", key, Answer::Open, error).into()),
        }
    }

    /// A key's policy, as JSON; `None` when the key is gone.
    pub async fn policy(&self, key: &str) -> Result<Option<String>, CallFailed> {
        match self.client.get_key_policy().key_id(key).send().await {
            Ok(found) => Ok(found.policy),
            Err(error) => none_if_gone(failed("kms:GetKeyPolicy", key, Answer::Open, error)),
        }
    }

    /// Replaces a key's policy. `false`: KMS does not take it.
    pub async fn set_policy(&self, key: &str, policy: &str) -> Result<bool, CallFailed> {
        let put = in_place(&self.ports, async || {
            match self.client.put_key_policy().key_id(key).policy(policy).send().await {
                Ok(_) => Ok(true),
                Err(error) => match error.as_service_error() {
                    Some(said) if said.is_malformed_policy_document_exception() => Ok(false),
                    Some(_) | None => Err(failed("kms:PutKeyPolicy", key, Answer::Open, error)),
                },
            }
        });
        put.await
    }

    /// A key's grants; none when it is gone.
    pub async fn grants(&self, key: &str) -> Result<Vec<GrantView>, CallFailed> {
        let (mut grants, mut marker) = (Vec::new(), None);
        loop {
            let page = match self.client.list_grants().key_id(key).set_marker(marker).limit(100).send().await {
                Ok(page) => page,
                Err(error) => {
                    let failed = failed("kms:ListGrants", key, Answer::Open, error);
                    return none_if_gone(failed).map(Option::unwrap_or_default);
                }
            };
            grants.extend(page.grants.unwrap_or_default().into_iter().map(GrantView));
            marker = page.next_marker.filter(|_| page.truncated);
            if marker.is_none() {
                return Ok(grants);
            }
        }
    }

    /// Gives another key the same grant. The same name with the same terms is the same grant.
    pub async fn grant(&self, key: &str, grant: &GrantView) -> Result<(), CallFailed> {
        let GrantView(grant) = grant;
        self.client
            .create_grant()
            .key_id(key)
            .set_grantee_principal(grant.grantee_principal.clone())
            .set_retiring_principal(grant.retiring_principal.clone())
            .set_operations(grant.operations.clone())
            .set_constraints(grant.constraints.clone())
            .name(format!("rotator-{}", grant.grant_id.as_deref().unwrap_or_default()))
            .send()
            .await
            .map(drop)
            .map_err(|error| failed("kms:CreateGrant", key, Answer::Open, error))
    }

    /// A key's tags; none when it is gone.
    pub async fn tags(&self, key: &str) -> Result<BTreeMap<String, String>, CallFailed> {
        let (mut tags, mut marker) = (BTreeMap::new(), None);
        loop {
            let page = match self.client.list_resource_tags().key_id(key).set_marker(marker).send().await {
                Ok(page) => page,
                Err(error) => {
                    let failed = failed("kms:ListResourceTags", key, Answer::Open, error);
                    return none_if_gone(failed).map(Option::unwrap_or_default);
                }
            };
            tags.extend(page.tags.unwrap_or_default().into_iter().map(|tag| (tag.tag_key, tag.tag_value)));
            marker = page.next_marker.filter(|_| page.truncated);
            if marker.is_none() {
                return Ok(tags);
            }
        }
    }

    /// All keys that have that tag, with all their tags, by ARN. KMS can't filter: every key of the account is looked at.
    pub async fn with_tag(&self, tag: &str) -> Result<Vec<(String, BTreeMap<String, String>)>, CallFailed> {
        let (mut found, mut marker) = (Vec::new(), None);
        loop {
            let page = self.client.list_keys().limit(1_000).set_marker(marker).send().await;
            let page = page.map_err(|error| failed("kms:ListKeys", "*", Answer::Open, error))?;
            for key in page.keys.unwrap_or_default() {
                let arn = key.key_arn.unwrap_or_default();
                // Keys of others may be closed to us: those are not ours.
                let tags = match self.tags(&arn).await {
                    Err(failed) if failed.fault == Fault::Denied => continue,
                    tags => tags?,
                };
                if tags.contains_key(tag) {
                    found.push((arn, tags));
                }
            }
            marker = page.next_marker.filter(|_| page.truncated);
            if marker.is_none() {
                found.sort_unstable();
                return Ok(found);
            }
        }
    }

    /// Lets a key sign nothing. One that signs nothing anyhow, or is gone, is left as it is.
    pub async fn disable(&self, key: &str) -> Result<(), CallFailed> {
        match self.availability(key).await? {
            Some(Availability::Disabled | Availability::PendingDeletion) | None => Ok(()),
            Some(Availability::Enabled | Availability::Unavailable) => {
                let disabled = in_place(&self.ports, async || {
                    let disabled = self.client.disable_key().key_id(key).send().await;
                    disabled.map_err(|error| failed("kms:DisableKey", key, Answer::Open, error))
                });
                disabled.await.map(drop)
            }
        }
    }

    /// Lets a disabled key sign again. One whose deletion is scheduled, or that is gone, is left as it is.
    pub async fn enable(&self, key: &str) -> Result<(), CallFailed> {
        match self.availability(key).await? {
            Some(Availability::Enabled | Availability::PendingDeletion) | None => Ok(()),
            Some(Availability::Disabled | Availability::Unavailable) => {
                let enabled = in_place(&self.ports, async || {
                    let enabled = self.client.enable_key().key_id(key).send().await;
                    enabled.map_err(|error| failed("kms:EnableKey", key, Answer::Open, error))
                });
                enabled.await.map(drop)
            }
        }
    }

    /// When a key was used last, and since when KMS keeps track of that. About an hour late, says the AWS documentation.
    pub async fn last_use(&self, key: &str) -> Result<(Option<Time>, Option<Time>), CallFailed> {
        let told = self.client.get_key_last_usage().key_id(key).send().await;
        let told = match told.map_err(|error| failed("kms:GetKeyLastUsage", key, Answer::Open, error)) {
            Ok(told) => told,
            // Of a key that is gone nothing is told.
            Err(failed) if failed.fault == Fault::NotFound => return Ok((None, None)),
            Err(failed) => return Err(failed),
        };
        let time = |at: &DateTime| Time::from_timestamp(at.secs(), at.subsec_nanos());
        let last = told.key_last_usage().and_then(|last| last.timestamp()).and_then(time);
        Ok((last, told.tracking_start_date().and_then(time)))
    }

    /// Schedules a key's deletion, with KMS's own waiting period: 7 to 30 days. One that is scheduled already, or
    /// gone, is left as it is.
    pub async fn schedule_deletion(&self, key: &str, days: i32) -> Result<(), CallFailed> {
        match self.availability(key).await? {
            Some(Availability::PendingDeletion) | None => Ok(()),
            Some(Availability::Enabled | Availability::Disabled | Availability::Unavailable) => {
                let scheduled = in_place(&self.ports, async || {
                    let schedule = self.client.schedule_key_deletion().key_id(key).pending_window_in_days(days);
                    let scheduled = schedule.send().await;
                    scheduled.map_err(|error| failed("kms:ScheduleKeyDeletion", key, Answer::Open, error))
                });
                scheduled.await.map(drop)
            }
        }
    }
}

/// A grant on a key.
#[derive(Clone, Debug)]
pub struct GrantView(GrantListEntry);

impl GrantView {
    /// KMS's id of it.
    pub fn id(&self) -> &str {
        self.0.grant_id().unwrap_or_default()
    }

    /// Who may use the key by it.
    pub fn grantee(&self) -> &str {
        self.0.grantee_principal().unwrap_or_default()
    }

    /// Whether it allows to sign, whatever the encryption context: signing has none.
    pub fn lets_sign(&self) -> bool {
        self.0.operations().contains(&GrantOperation::Sign)
    }

    /// Whether both grant the same to the same.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let terms = |view: &Self| {
            let GrantListEntry { grantee_principal, retiring_principal, operations, constraints, .. } = &view.0;
            let mut operations: Vec<String> =
                operations.iter().flatten().map(|operation| operation.as_str().to_owned()).collect();
            operations.sort_unstable();
            let constraints: Option<GrantConstraints> = constraints.clone();
            (grantee_principal.clone(), retiring_principal.clone(), operations, constraints)
        };
        terms(self) == terms(other)
    }
}

fn none_if_gone<T>(failed: CallFailed) -> Result<Option<T>, CallFailed> {
    if failed.fault == Fault::NotFound { Ok(None) } else { Err(failed) }
}

fn spec(algorithm: Algorithm, rsa_bits: u32) -> KeySpec {
    match (algorithm, rsa_bits) {
        (Algorithm::Es256, _) => KeySpec::EccNistP256,
        (Algorithm::Es384, _) => KeySpec::EccNistP384,
        (Algorithm::EdDsa, _) => KeySpec::EccNistEdwards25519,
        (Algorithm::Rs256 | Algorithm::Ps256, 4_096) => KeySpec::Rsa4096,
        (Algorithm::Rs256 | Algorithm::Ps256, 3_072) => KeySpec::Rsa3072,
        (Algorithm::Rs256 | Algorithm::Ps256, _) => KeySpec::Rsa2048,
    }
}

fn signing_algorithm(algorithm: Algorithm) -> SigningAlgorithmSpec {
    match algorithm {
        Algorithm::Es256 => SigningAlgorithmSpec::EcdsaSha256,
        Algorithm::Es384 => SigningAlgorithmSpec::EcdsaSha384,
        Algorithm::Rs256 => SigningAlgorithmSpec::RsassaPkcs1V15Sha256,
        Algorithm::Ps256 => SigningAlgorithmSpec::RsassaPssSha256,
        Algorithm::EdDsa => SigningAlgorithmSpec::Ed25519Sha512,
    }
}
