//! Tags of API keys and usage plans, by ARN.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::ApiGateway;
use super::api_keys::no_such_key;
use super::call::{Call, MOST_TAGS, bad_request, check_tags, empty, not_found, too_many_tags};
use crate::core::{Context, Response, ServiceError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TagResource {
    tags: BTreeMap<String, String>,
}

impl ApiGateway {
    /// Puts the tags of AWS's own on a key that CloudFormation puts on the keys it creates. No API
    /// call can write them.
    pub(crate) fn own_by_stack(
        &mut self,
        cx: &mut Context<'_>,
        key: &str,
        stack: &str,
        logical_id: &str,
    ) -> Result<(), ServiceError> {
        let unique = cx.uuid();
        let stack_id = format!("arn:aws:cloudformation:{}:{}:stack/{stack}/{unique}", cx.region, cx.account);
        let key = self.keys.get_mut(key).ok_or_else(no_such_key)?;
        key.tags.extend([
            ("aws:cloudformation:stack-name".to_owned(), stack.to_owned()),
            ("aws:cloudformation:stack-id".to_owned(), stack_id),
            ("aws:cloudformation:logical-id".to_owned(), logical_id.to_owned()),
        ]);
        Ok(())
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
