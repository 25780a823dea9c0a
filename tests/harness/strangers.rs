//! Somebody of the same account who reads the records, and makes what an intent names before the service does.

use aws_config::SdkConfig;
use aws_sdk_kms::types::{KeySpec, KeyUsageType, Tag};
use rotator::jose::{Algorithm, PrivateJwk};
use rotator::kind::{CREDENTIAL_TAG, VERSION_TAG};
use state::credential::{Credential, Version};
use state::lifecycle::Phase;
use state::name::Token;

use super::Stage;

/// What a stranger's key is described as, so that a test can tell it from the service's own.
pub const DESCRIPTION: &str = "a stranger's";

/// What a stranger made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// An API key, by its id.
    ApiKey(String),
    /// A KMS key, by its ARN.
    KmsKey(String),
    /// The secret of that name.
    Secret(String),
}

/// Whoever may create, and nothing else.
pub struct Stranger {
    api_gateway: aws_sdk_apigateway::Client,
    secrets_manager: aws_sdk_secretsmanager::Client,
    kms: aws_sdk_kms::Client,
}

impl Stranger {
    pub fn new(config: &SdkConfig) -> Self {
        Self {
            api_gateway: aws_sdk_apigateway::Client::new(config),
            secrets_manager: aws_sdk_secretsmanager::Client::new(config),
            kms: aws_sdk_kms::Client::new(config),
        }
    }

    /// Everything that the open intents of a credential name, under those names, with what is the stranger's own.
    pub async fn acts_first(&self, credential: &Credential) -> Vec<Made> {
        let mut made = Vec::new();
        for version in credential.versions.values() {
            made.extend(self.makes(credential, version).await);
        }
        made
    }

    async fn makes(&self, credential: &Credential, version: &Version) -> Option<Made> {
        let (name, id) = (credential.head.name.as_str(), version.id.to_string());
        match (version.policy.kind.as_str(), version.phase) {
            ("jwt-signing-key", Some(Phase::Minting)) => {
                let theirs = PrivateJwk::generate(Algorithm::EdDsa, 0).expect("a key");
                let (secret, token) = (standby(name, &id), Token::derived(&format!("standby {id}")));
                let made = self.secrets_manager.create_secret().name(&secret).client_request_token(token.as_str());
                let made = made.secret_string(theirs.to_json().expose()).send().await;
                made.is_ok().then_some(Made::Secret(secret))
            }
            ("kms-signing-key", Some(Phase::Minting)) => {
                let tag = |key: &str, value: &str| Tag::builder().tag_key(key).tag_value(value).build().expect("a tag");
                let made = self.kms.create_key().key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify);
                let made = made.description(DESCRIPTION);
                let made = made.tags(tag(CREDENTIAL_TAG, name)).tags(tag(VERSION_TAG, &id)).send().await;
                made.ok()?.key_metadata?.arn.map(Made::KmsKey)
            }
            ("api-gateway-key", Some(Phase::Admitting)) => {
                let made = self.api_gateway.create_api_key().name(version.provider.get("name")?).enabled(true);
                let made = made
                    .description(DESCRIPTION)
                    .value(format!("strangers-{id}"))
                    .tags(CREDENTIAL_TAG, name)
                    .tags(VERSION_TAG, &id);
                made.send().await.ok()?.id.map(Made::ApiKey)
            }
            _ => None,
        }
    }
}

/// The secret in which a version's key rests until it is chosen.
pub fn standby(name: &str, id: &str) -> String {
    format!("rotator-standby/{name}/{id}")
}

impl Stage {
    /// Somebody who may do what they please with what is theirs.
    pub fn stranger(&self) -> Stranger {
        Stranger::new(&self.observer.config)
    }

    /// What the service did to it, if it did anything: whatever carries its names is a stranger's all the same.
    pub async fn done_to(&self, made: &Made) -> Option<String> {
        let wrong = match made {
            Made::ApiKey(id) => match self.aws.inspect_api_keys().into_iter().find(|key| key.id == *id) {
                None => Some("is gone"),
                Some(key) if !key.enabled => Some("is disabled"),
                Some(key) if !key.plans.is_empty() => Some("is in a usage plan"),
                Some(_) => None,
            },
            Made::KmsKey(arn) => match self.aws.inspect_kms_keys().into_iter().find(|key| key.arn == *arn) {
                None => Some("is gone"),
                Some(key) => (key.state != "Enabled").then_some("is not enabled any more"),
            },
            Made::Secret(name) => match self.secrets_manager().describe_secret().secret_id(name).send().await {
                Ok(secret) => secret.deleted_date.map(|_| "is deleted"),
                Err(_) => Some("is gone"),
            },
        };
        wrong.map(|wrong| format!("a stranger's {made:?} {wrong}"))
    }

    /// A person finds out whose they are, and takes them away.
    pub async fn take_away(&self, made: &[Made]) {
        for made in made {
            match made {
                Made::ApiKey(id) => self.delete_key(id).await,
                Made::KmsKey(arn) => {
                    self.kms().untag_resource().key_id(arn).tag_keys(VERSION_TAG).send().await.expect("untagged");
                    let gone = self.kms().schedule_key_deletion().key_id(arn).pending_window_in_days(7);
                    gone.send().await.expect("scheduled");
                }
                Made::Secret(name) => {
                    let gone = self.secrets_manager().delete_secret().secret_id(name);
                    gone.force_delete_without_recovery(true).send().await.expect("deleted");
                }
            }
        }
    }
}
