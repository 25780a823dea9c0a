//! Tags of API keys and usage plans, by ARN.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::ApiGateway;
use super::call::{Call, MOST_TAGS, bad_request, check_tags, empty, not_found, too_many_tags};
use crate::core::{Context, Response, ServiceError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TagResource {
    tags: BTreeMap<String, String>,
}

impl ApiGateway {
    /// Puts AWS's own tags on a key or a usage plan. No API call can write them.
    pub(crate) fn own_by_stack(&mut self, id: &str, tags: &BTreeMap<String, String>) -> bool {
        let key = self.keys.get_mut(id).map(|key| &mut key.tags);
        let owned = key.or_else(|| self.plans.get_mut(id).map(|plan| &mut plan.tags));
        owned.map(|own| own.extend(tags.clone())).is_some()
    }

    pub(super) fn get_tags(&mut self, cx: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        let tags = self.tags_of(cx, call.path[1])?;
        Ok(Response::json(200, &json!({ "tags": tags })))
    }

    pub(super) fn tag_resource(&mut self, cx: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        let TagResource { tags: written } = call.body()?;
        check_tags(&written)?;
        let tags = self.tags_of(cx, call.path[1])?;
        let mut all = tags.clone();
        all.extend(written);
        if all.len() > MOST_TAGS {
            return Err(too_many_tags());
        }
        *tags = all;
        Ok(empty(204))
    }

    pub(super) fn untag_resource(&mut self, cx: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        let names: Vec<&String> = call.request.query.iter().map(|(_, name)| name).collect();
        if names.iter().any(|name| is_reserved(name)) {
            return Err(bad_request("aws: tags cannot be removed"));
        }
        let tags = self.tags_of(cx, call.path[1])?;
        tags.retain(|key, _| !names.contains(&key));
        Ok(empty(204))
    }

    /// `arn:aws:apigateway:REGION::/apikeys/ID` or `../usageplans/ID`.
    fn tags_of(&mut self, cx: &Context<'_>, arn: &str) -> Result<&mut BTreeMap<String, String>, ServiceError> {
        let invalid = || bad_request(format!("Invalid ARN {arn}"));
        let resource = arn.strip_prefix(&format!("arn:aws:apigateway:{}::/", cx.region)).ok_or_else(invalid)?;
        match resource.split_once('/') {
            Some(("apikeys", id)) => self.keys.get_mut(id).map(|key| &mut key.tags),
            Some(("usageplans", id)) => self.plans.get_mut(id).map(|plan| &mut plan.tags),
            Some(_) | None => return Err(invalid()),
        }
        .ok_or_else(|| not_found(format!("Invalid resource identifier specified: {arn}")))
    }
}

fn is_reserved(key: &str) -> bool {
    key.to_ascii_lowercase().starts_with("aws:")
}
