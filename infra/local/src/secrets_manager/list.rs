//! What is there: descriptions and listings.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::input::{self, SortOrder};
use super::secret::Secret;
use super::{SecretsManager, invalid_parameter, validation};
use crate::core::ServiceError;

const MAX_PAGE: usize = 100;

impl SecretsManager {
    pub(super) fn describe_secret(&mut self, input: input::SecretOnly) -> Result<Value, ServiceError> {
        let secret = self.find(&input.secret_id)?;
        let mut answer = description(secret);
        answer.put("VersionIdsToStages", versions_to_stages(secret));
        if !secret.replicas.is_empty() {
            let status = |(region, status)| json!({"Region": region, "Status": status});
            answer.put("ReplicationStatus", Vec::from_iter(secret.replicas.iter().map(status)));
            answer.put("PrimaryRegion", secret.arn.split(':').nth(3));
        }
        Ok(answer.into())
    }

    pub(super) fn list_secrets(&mut self, input: input::ListSecrets) -> Result<Value, ServiceError> {
        let filters = input.filters.unwrap_or_default();
        for filter in &filters {
            if !["name", "tag-key", "tag-value", "description"].contains(&filter.key.as_str()) {
                return Err(validation(format!(
                    "unknown filter {}: the embedded AWS models only name, tag-key, tag-value, description",
                    filter.key
                )));
            }
        }
        let deleted_too = input.include_planned_deletion.unwrap_or(false);
        let mut found: Vec<&Secret> = self
            .secrets
            .values()
            .filter(|secret| deleted_too || secret.deletion.is_none())
            .filter(|secret| filters.iter().all(|filter| matches(secret, filter)))
            .collect();
        // Newest first by default; the name decides between equals, so that pages are stable.
        found.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.name.cmp(&b.name)));
        if input.sort_order.unwrap_or(SortOrder::Desc) == SortOrder::Desc {
            found.reverse();
        }
        let (page, next) = page(&found, |secret| &secret.name, input.max_results, input.next_token.as_deref())?;
        let entry = |secret: &&Secret| {
            let mut entry = description(secret);
            entry.put("SecretVersionsToStages", versions_to_stages(secret));
            Value::from(entry)
        };
        let mut answer = Fields::default();
        answer.put("SecretList", Vec::from_iter(page.iter().map(entry)));
        answer.put("NextToken", next);
        Ok(answer.into())
    }

    pub(super) fn list_secret_version_ids(
        &mut self,
        input: input::ListSecretVersionIds,
    ) -> Result<Value, ServiceError> {
        let secret = self.find(&input.secret_id)?;
        let deprecated_too = input.include_deprecated.unwrap_or(false);
        let ids: Vec<&String> =
            secret.versions.keys().filter(|id| deprecated_too || !secret.stages_of(id).is_empty()).collect();
        let (page, next) = page(&ids, |id| id, input.max_results, input.next_token.as_deref())?;
        let entry = |id: &&String| {
            let version = &secret.versions[*id];
            let mut entry = Fields::default();
            entry.put("VersionId", id);
            let stages = secret.stages_of(id);
            entry.put("VersionStages", (!stages.is_empty()).then_some(stages));
            entry.put("CreatedDate", timestamp(version.created));
            entry.put("LastAccessedDate", version.accessed.and_then(day));
            Value::from(entry)
        };
        let mut answer = Fields::default();
        answer.put("ARN", &secret.arn);
        answer.put("Name", &secret.name);
        answer.put("Versions", Vec::from_iter(page.iter().map(entry)));
        answer.put("NextToken", next);
        Ok(answer.into())
    }
}

/// Seconds since the epoch, as JSON protocols write time.
pub(super) fn timestamp(at: DateTime<Utc>) -> Value {
    let seconds = at.timestamp_millis() as f64 / 1000.0;
    json!(seconds)
}

/// Reads are recorded by the day.
fn day(at: DateTime<Utc>) -> Option<Value> {
    at.duration_trunc(TimeDelta::days(1)).ok().map(timestamp)
}

/// An answer's members; absent ones are left out, not null.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, name: &str, value: impl Serialize) {
        let value = json!(value);
        if !value.is_null() {
            self.0.insert(name.to_owned(), value);
        }
    }
}

impl From<Fields> for Value {
    fn from(fields: Fields) -> Self {
        Self::Object(fields.0)
    }
}

/// What `DescribeSecret` and `ListSecrets` both tell.
fn description(secret: &Secret) -> Fields {
    let tag = |(key, value)| json!({"Key": key, "Value": value});
    let rotation = &secret.rotation;
    let mut fields = Fields::default();
    fields.put("ARN", &secret.arn);
    fields.put("Name", &secret.name);
    fields.put("Description", &secret.description);
    fields.put("KmsKeyId", &secret.kms_key_id);
    fields.put("Tags", secret.tags.as_ref().map(|tags| Vec::from_iter(tags.iter().map(tag))));
    fields.put("RotationEnabled", (rotation.enabled || rotation.function.is_some()).then_some(rotation.enabled));
    fields.put("RotationLambdaARN", &rotation.function);
    fields.put("RotationRules", &rotation.rules);
    fields.put("LastRotatedDate", rotation.last.map(timestamp));
    fields.put("NextRotationDate", rotation.next_by().map(timestamp));
    fields.put("CreatedDate", timestamp(secret.created));
    fields.put("LastChangedDate", timestamp(secret.changed));
    fields.put("LastAccessedDate", secret.accessed.and_then(day));
    fields.put("DeletedDate", secret.deletion.as_ref().map(|deletion| timestamp(deletion.requested)));
    fields
}

/// Labelled versions only: one without a label counts as deprecated. Nothing if there is none.
fn versions_to_stages(secret: &Secret) -> Option<Map<String, Value>> {
    let labelled = |id: &String| {
        let stages = secret.stages_of(id);
        (!stages.is_empty()).then(|| (id.clone(), json!(stages)))
    };
    let stages: Map<String, Value> = secret.versions.keys().filter_map(labelled).collect();
    (!stages.is_empty()).then_some(stages)
}

/// Any of a filter's values; a value that begins with `!` excludes. Names and tags match by their beginning, letter
/// case counts. A description matches if each word of the value begins one of its words, in whatever letter case.
fn matches(secret: &Secret, filter: &input::Filter) -> bool {
    let tags = || secret.tags.iter().flatten();
    let one = |value: &str| match filter.key.as_str() {
        "name" => secret.name.starts_with(value),
        "tag-key" => tags().any(|(key, _)| key.starts_with(value)),
        "tag-value" => tags().any(|(_, tag)| tag.starts_with(value)),
        _ => {
            let description = secret.description.as_deref().unwrap_or_default().to_lowercase();
            let begins_one = |word: &str| description.split_whitespace().any(|told| told.starts_with(word));
            value.to_lowercase().split_whitespace().all(begins_one)
        }
    };
    filter.values.iter().any(|value| match value.strip_prefix('!') {
        Some(excluded) => !one(excluded),
        None => one(value),
    })
}

/// The page after the one that ended with the token's item, and the next page's token.
fn page<'a, T>(
    items: &'a [T],
    key: impl Fn(&T) -> &String,
    max: Option<usize>,
    token: Option<&str>,
) -> Result<(&'a [T], Option<String>), ServiceError> {
    let max = max.unwrap_or(MAX_PAGE);
    if !(1..=MAX_PAGE).contains(&max) {
        return Err(invalid_parameter("MaxResults is 1 to 100."));
    }
    let start = match token {
        None => 0,
        Some(token) => {
            let last = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
            let place = items.iter().position(|item| key(item).as_bytes() == last);
            place.ok_or_else(|| {
                ServiceError::new(400, "InvalidNextTokenException", "The NextToken value is not valid.")
            })? + 1
        }
    };
    let rest = &items[start..];
    let page = &rest[..max.min(rest.len())];
    let next = (page.len() < rest.len()).then(|| page.last().map(|item| URL_SAFE_NO_PAD.encode(key(item))));
    Ok((page, next.flatten()))
}
