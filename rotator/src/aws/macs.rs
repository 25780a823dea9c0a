//! Fingerprints: a keyed hash of a value, by which a leaked one is found and which tells nothing without the key.

use aws_config::SdkConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::MacAlgorithmSpec;
use state::credential::Fingerprint;

use super::{Answer, failed};
use crate::failure::CallFailed;
use crate::secret::SecretValue;

/// KMS, holding the fingerprint key.
#[derive(Debug)]
pub struct Macs {
    client: Client,
    key: Option<String>,
}

impl Macs {
    /// With the ARN of an HMAC key, or none: then nothing is fingerprinted.
    pub fn new(config: &SdkConfig, key: Option<String>) -> Self {
        Self { client: Client::new(config), key }
    }

    /// The fingerprint of a value, if there is a key for fingerprints.
    pub async fn fingerprint(&self, value: &SecretValue) -> Result<Option<Fingerprint>, CallFailed> {
        let Some(key) = &self.key else { return Ok(None) };
        let (mac, key) = self.made(key, value).await?;
        Ok(Some(Fingerprint::Made { mac, key }))
    }

    /// The MAC of a value by the key that made an earlier one.
    pub async fn mac(&self, key: &str, value: &SecretValue) -> Result<String, CallFailed> {
        Ok(self.made(key, value).await?.0)
    }

    /// HMAC-SHA-256 of the value, made inside KMS, and the ARN of the key. Values are at most 128 characters, KMS takes
    /// 4,096 bytes.
    async fn made(&self, key: &str, value: &SecretValue) -> Result<(String, String), CallFailed> {
        let made = self
            .client
            .generate_mac()
            .key_id(key)
            .mac_algorithm(MacAlgorithmSpec::HmacSha256)
            .message(Blob::new(value.expose().as_bytes()))
            .send()
            .await
            .map_err(|error| failed("kms:GenerateMac", key, Answer::Veiled, error))?;
        let mac = made.mac().map(Blob::as_ref).unwrap_or_default();
        Ok((aws_smithy_types::base64::encode(mac), made.key_id().unwrap_or(key).to_owned()))
    }
}
