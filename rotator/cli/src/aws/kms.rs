//! KMS: which key a name stands for.

use aws_config::SdkConfig;
use aws_sdk_kms::Client;
use rotator::aws::{Answer, failed};
use rotator::failure::{CallFailed, Fault};

/// KMS's keys and aliases.
#[derive(Clone, Debug)]
pub struct Keys {
    client: Client,
}

impl Keys {
    /// With the ordinary configuration.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// The ARN of the key that an id, an ARN or an alias stands for; `None` when there is none.
    pub async fn arn(&self, name: &str) -> Result<Option<String>, CallFailed> {
        match self.client.describe_key().key_id(name).send().await {
            Ok(found) => Ok(found.key_metadata.and_then(|key| key.arn)),
            Err(error) => {
                let failed = failed("kms:DescribeKey", name, Answer::Open, error);
                if failed.fault == Fault::NotFound { Ok(None) } else { Err(failed) }
            }
        }
    }
}
