//! One control-plane call as its operation reads it, and the answers that operations give.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::core::{Request, Response, ServiceError};

/// Tags on one resource.
pub(super) const MOST_TAGS: usize = 50;
const DEFAULT_PAGE: usize = 25;
const LARGEST_PAGE: usize = 500;

/// A routed request.
pub(super) struct Call<'a> {
    pub(super) request: &'a Request,
    /// The segments of the path, for instance `["usageplans", "a1b2c3", "keys"]`.
    pub(super) path: &'a [&'a str],
}

/// One operation of a patch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Patch {
    pub(super) op: String,
    pub(super) path: String,
    pub(super) value: Option<String>,
}

impl Patch {
    pub(super) fn value(&self) -> Result<&str, ServiceError> {
        self.value.as_deref().ok_or_else(|| bad_request(format!("no value to {} {} with", self.op, self.path)))
    }

    /// With two blanks, as AWS writes it.
    pub(super) fn wrong_path(&self, allowed: &str) -> ServiceError {
        let Self { op, path, .. } = self;
        bad_request(format!("Invalid patch path  '{path}' specified for op '{op}'. Must be one of: [{allowed}]"))
    }
}

/// A part of a collection.
pub(super) struct Page<K> {
    /// Each by what it is ordered by.
    pub(super) items: Vec<(K, Value)>,
    /// The `position` to go on from, if there is more. Opaque.
    pub(super) next: Option<String>,
}

impl Call<'_> {
    /// The JSON body; a member that is not modelled is refused, not ignored.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, ServiceError> {
        serde_json::from_slice(&self.request.body).map_err(|error| {
            ServiceError::new(
                400,
                "ValidationException",
                format!("{error}: the embedded AWS takes only the members that it models"),
            )
        })
    }

    /// The operations of a patch, in their order.
    pub(super) fn patches(&self) -> Result<Vec<Patch>, ServiceError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        struct Patches {
            patch_operations: Vec<Patch>,
        }
        Ok(self.body::<Patches>()?.patch_operations)
    }

    /// A boolean query parameter, `false` when it is missing.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ServiceError> {
        match self.request.query(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(bad_request(format!("{name} must be true or false, not {other}"))),
        }
    }

    /// One page of `items`, which come in their order: at most `limit` (25 unless asked or where it is negative, never
    /// more than 500), after `position`.
    pub(super) fn page<K: AsRef<str>>(&self, items: impl Iterator<Item = (K, Value)>) -> Result<Page<K>, ServiceError> {
        let limit = match self.request.query("limit") {
            None => DEFAULT_PAGE,
            Some(raw) => match raw.parse::<i64>().map(usize::try_from) {
                Ok(Err(_negative)) => DEFAULT_PAGE,
                Ok(Ok(limit)) if (1..=LARGEST_PAGE).contains(&limit) => limit,
                Ok(Ok(_)) | Err(_) => {
                    return Err(bad_request(format!("limit must be 1 to {LARGEST_PAGE}, not {raw}")));
                }
            },
        };
        let position = URL_SAFE_NO_PAD.decode(self.request.query("position").unwrap_or_default());
        let position = position.map_err(|_| bad_request("position is not one that a page ended with"))?;
        let mut rest = items.skip_while(|(place, _)| place.as_ref().as_bytes() <= position.as_slice());
        let items: Vec<_> = rest.by_ref().take(limit).collect();
        let next = rest.next().and(items.last()).map(|(place, _)| URL_SAFE_NO_PAD.encode(place.as_ref()));
        Ok(Page { items, next })
    }

    /// The same as a collection on the wire: `{"item": [..], "position": ".."}`.
    pub(super) fn collection<K: AsRef<str>>(
        &self,
        items: impl Iterator<Item = (K, Value)>,
    ) -> Result<Response, ServiceError> {
        let Page { items, next } = self.page(items)?;
        let items: Vec<Value> = items.into_iter().map(|(_, item)| item).collect();
        let mut body = json!({ "item": items });
        if let Some(next) = next {
            body["position"] = json!(next);
        }
        Ok(Response::json(200, &body))
    }
}

/// An answer without a body.
pub(super) fn empty(status: u16) -> Response {
    Response { status, headers: Vec::new(), body: Bytes::new() }
}

pub(super) fn bad_request(message: impl Into<String>) -> ServiceError {
    ServiceError::new(400, "BadRequestException", message)
}

pub(super) fn not_found(message: impl Into<String>) -> ServiceError {
    ServiceError::new(404, "NotFoundException", message)
}

pub(super) fn conflict(message: impl Into<String>) -> ServiceError {
    ServiceError::new(409, "ConflictException", message)
}

pub(super) fn limit_exceeded(message: impl Into<String>) -> ServiceError {
    ServiceError::new(429, "LimitExceededException", message)
}

pub(super) fn too_many_tags() -> ServiceError {
    bad_request(format!("a resource can have at most {MOST_TAGS} tags"))
}

/// Checks tags that a caller writes: 50 on a resource, keys of 1 to 128 characters, values of up to
/// 256, and no key that begins with `aws:`, which only AWS itself may write.
pub(super) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ServiceError> {
    let allowed = |c: char| c.is_alphanumeric() || " +-=._:/@".contains(c);
    if tags.len() > MOST_TAGS {
        return Err(too_many_tags());
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 || !key.chars().all(allowed) {
            return Err(bad_request(format!("invalid tag key {key:?}")));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(bad_request(format!("tag key {key:?}: aws: is reserved")));
        }
        if value.chars().count() > 256 || !value.chars().all(allowed) {
            return Err(bad_request(format!("invalid value of tag {key:?}")));
        }
    }
    Ok(())
}
