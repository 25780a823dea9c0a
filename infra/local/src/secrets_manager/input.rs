//! Requests. A member that is not here is refused, not ignored.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::rotation::Rules;
use super::{invalid_parameter, validation};
use crate::core::ServiceError;

macro_rules! input {
    ($($name:ident { $($(#[$meta:meta])? $field:ident: $type:ty),* $(,)? })*) => {$(
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase", deny_unknown_fields)]
        pub(super) struct $name { $($(#[$meta])? pub(super) $field: $type),* }
    )*};
}

input! {
    CreateSecret {
        name: String,
        client_request_token: Option<String>,
        description: Option<String>,
        secret_string: Option<String>,
        secret_binary: Option<String>,
        kms_key_id: Option<String>,
        tags: Option<Vec<Tag>>,
    }
    PutSecretValue {
        secret_id: String,
        client_request_token: Option<String>,
        secret_string: Option<String>,
        secret_binary: Option<String>,
        version_stages: Option<Vec<String>>,
        rotation_token: Option<String>,
    }
    GetSecretValue {
        secret_id: String,
        version_id: Option<String>,
        version_stage: Option<String>,
    }
    SecretOnly {
        secret_id: String,
    }
    ListSecrets {
        filters: Option<Vec<Filter>>,
        include_planned_deletion: Option<bool>,
        max_results: Option<usize>,
        next_token: Option<String>,
        sort_order: Option<SortOrder>,
    }
    Filter {
        key: String,
        values: Vec<String>,
    }
    ListSecretVersionIds {
        secret_id: String,
        include_deprecated: Option<bool>,
        max_results: Option<usize>,
        next_token: Option<String>,
    }
    UpdateSecretVersionStage {
        secret_id: String,
        version_stage: String,
        move_to_version_id: Option<String>,
        remove_from_version_id: Option<String>,
    }
    RotateSecret {
        secret_id: String,
        client_request_token: Option<String>,
        #[serde(rename = "RotationLambdaARN")]
        rotation_lambda_arn: Option<String>,
        rotation_rules: Option<Rules>,
        rotate_immediately: Option<bool>,
    }
    TagResource {
        secret_id: String,
        tags: Vec<Tag>,
    }
    UntagResource {
        secret_id: String,
        tag_keys: Vec<String>,
    }
    Tag {
        key: String,
        value: Option<String>,
    }
    DeleteSecret {
        secret_id: String,
        recovery_window_in_days: Option<i64>,
        force_delete_without_recovery: Option<bool>,
    }
    UpdateSecret {
        secret_id: String,
        client_request_token: Option<String>,
        description: Option<String>,
        kms_key_id: Option<String>,
        secret_string: Option<String>,
        secret_binary: Option<String>,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SortOrder {
    Asc,
    Desc,
}

/// Reads a request; an unknown or missing member, or one of another type, is refused by its name.
pub(super) fn read<T: DeserializeOwned>(input: &Value) -> Result<T, ServiceError> {
    let input = if input.is_null() { json!({}) } else { input.clone() };
    serde_json::from_value(input).map_err(|error| {
        let message = error.to_string();
        match message.strip_prefix("unknown field ") {
            Some(rest) => validation(format!(
                "unknown parameter {}",
                rest.replace("expected one of", "the embedded AWS models only")
            )),
            None => validation(message),
        }
    })
}

/// A version's id as its creator chose it. The SDKs and the command line always send one; a request without it is
/// refused before the secret is looked up, by `refuse` because the operations differ in the exception.
pub(super) fn client_request_token(
    token: Option<String>,
    refuse: fn(&'static str) -> ServiceError,
) -> Result<String, ServiceError> {
    let missing = "You must provide a ClientRequestToken value. We recommend a UUID-type value.";
    let token = token.ok_or_else(|| refuse(missing))?;
    if !(32..=64).contains(&token.len()) {
        return Err(invalid_parameter("ClientRequestToken must be 32-64 characters long."));
    }
    Ok(token)
}
