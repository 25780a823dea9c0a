//! How often an account may call AWS's control planes in a Region, everybody together.
//!
//! Sources: "Amazon API Gateway quotas", "Request quotas" of AWS KMS and "AWS Secrets Manager quotas", all in AWS's
//! documentation. Only API Gateway documents a burst; the others get one of a second here, which AWS does not say.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::core::ServiceError;
use crate::token_bucket::TokenBucket;

/// A rate that some operations share: its name, calls a second, and calls at once.
type Rate = (&'static str, f64, f64);

/// What is left of every rate that was ever used.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Rates(BTreeMap<String, TokenBucket>);

impl Rates {
    /// Takes a call from every rate that the operation counts against, or from none.
    ///
    /// # Errors
    ///
    /// What the service answers to one call too many.
    pub(crate) fn take(&mut self, service: &str, operation: &str, now: DateTime<Utc>) -> Result<(), ServiceError> {
        let (rates, too_many): (Vec<Rate>, _) = match service {
            "apigateway" => (
                api_gateway(operation),
                ServiceError {
                    retry_after: Some(1),
                    ..ServiceError::new(429, "TooManyRequestsException", "Too Many Requests")
                },
            ),
            "kms" => {
                let told = "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.";
                (kms(operation), ServiceError::new(400, "ThrottlingException", told))
            }
            "secretsmanager" => {
                (secrets_manager(operation), ServiceError::new(400, "ThrottlingException", "Rate exceeded"))
            }
            _ => return Ok(()),
        };
        for (name, rate, burst) in &rates {
            let bucket = || TokenBucket::full(*rate, *burst, now);
            if !self.0.entry((*name).to_owned()).or_insert_with(bucket).ready(now) {
                return Err(too_many);
            }
        }
        for (name, ..) in &rates {
            self.0.get_mut(*name).into_iter().for_each(TokenBucket::take);
        }
        Ok(())
    }
}

fn api_gateway(operation: &str) -> Vec<Rate> {
    let own = match operation {
        "CreateApiKey" => Some(("CreateApiKey", 5.0, 5.0)),
        "DeleteApiKey" => Some(("DeleteApiKey", 5.0, 5.0)),
        "UpdateUsagePlan" => Some(("UpdateUsagePlan", 0.05, 1.0)),
        _ => None,
    };
    own.into_iter().chain([("API Gateway", 10.0, 40.0)]).collect()
}

/// KMS allows thousands of cryptographic operations a second. No test reaches that, so they have no rate here.
fn kms(operation: &str) -> Vec<Rate> {
    let rate = match operation {
        "CancelKeyDeletion" => ("CancelKeyDeletion", 5.0),
        "CreateAlias" => ("CreateAlias", 5.0),
        "CreateGrant" => ("CreateGrant", 50.0),
        "CreateKey" => ("CreateKey", 5.0),
        "DeleteAlias" => ("DeleteAlias", 15.0),
        "DisableKey" => ("DisableKey", 5.0),
        "EnableKey" => ("EnableKey", 5.0),
        "GetKeyLastUsage" => ("GetKeyLastUsage", 5.0),
        "ListAliases" => ("ListAliases", 500.0),
        "ListGrants" => ("ListGrants", 100.0),
        "ListKeys" => ("ListKeys", 500.0),
        "PutKeyPolicy" => ("PutKeyPolicy", 15.0),
        "RevokeGrant" => ("RevokeGrant", 30.0),
        "ScheduleKeyDeletion" => ("ScheduleKeyDeletion", 15.0),
        "TagResource" => ("KMS TagResource", 10.0),
        "UntagResource" => ("KMS UntagResource", 5.0),
        "UpdateAlias" => ("UpdateAlias", 5.0),
        _ => return Vec::new(),
    };
    a_second(rate)
}

fn secrets_manager(operation: &str) -> Vec<Rate> {
    let rate = match operation {
        "PutSecretValue" | "UpdateSecret" | "UpdateSecretVersionStage" => ("secrets are updated", 50.0),
        "RotateSecret" => ("RotateSecret", 50.0),
        "CancelRotateSecret" => ("CancelRotateSecret", 50.0),
        "CreateSecret" => ("CreateSecret", 50.0),
        "DeleteSecret" => ("DeleteSecret", 50.0),
        "RestoreSecret" => ("RestoreSecret", 50.0),
        "TagResource" | "UntagResource" => ("secrets are tagged", 50.0),
        "ListSecretVersionIds" => ("ListSecretVersionIds", 50.0),
        "ListSecrets" => ("ListSecrets", 100.0),
        _ => return Vec::new(),
    };
    a_second(rate)
}

fn a_second((name, rate): (&'static str, f64)) -> Vec<Rate> {
    vec![(name, rate, rate)]
}
