//! API Gateway: API keys, usage plans and usage (REST, JSON), and the data plane that enforces them.

mod access_log;
mod api_keys;
mod call;
mod data_plane;
mod edge;
mod key_file;
mod proxy;
mod tags;
mod usage;
mod usage_plans;
mod view;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::data_plane::{Method, RestApi};
pub use self::key_file::{KeyFile, KeyFileProblem, KeyFileRow};
pub use self::view::{ApiKeyView, UsagePlanView};

pub(crate) use self::data_plane::Admitted;
pub(crate) use self::proxy::response as proxy_response;

use self::api_keys::ApiKey;
use self::call::{Call, not_found};
use self::data_plane::Api;
use self::edge::Edge;
use self::usage_plans::UsagePlan;
use crate::core::{Context, Request, Response, ServiceError};

/// One account's API Gateway in one Region.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct ApiGateway {
    keys: BTreeMap<String, ApiKey>,
    /// How many keys there ever were.
    #[serde(default)]
    keys_made: u64,
    /// Key ids by value, since a value is unique.
    values: BTreeMap<String, String>,
    plans: BTreeMap<String, UsagePlan>,
    apis: BTreeMap<String, Api>,
    edge: Edge,
}

type Handler = fn(&mut ApiGateway, &mut Context<'_>, &Call<'_>) -> Result<Response, ServiceError>;

/// One modelled operation.
struct Operation {
    name: &'static str,
    /// The query parameters that it takes; any other is refused.
    query: &'static [&'static str],
    run: Handler,
}

impl ApiGateway {
    /// Answers one control-plane call, and says which operation it was.
    pub(crate) fn handle(
        &mut self,
        cx: &mut Context<'_>,
        request: &Request,
    ) -> (&'static str, Result<Response, ServiceError>) {
        let path = match request.path.strip_prefix("/tags/") {
            // A resource's ARN has slashes of its own.
            Some(arn) => vec!["tags", arn],
            None => request.path.trim_matches('/').split('/').collect(),
        };
        let Some(operation) = route(request, &path) else {
            let message = format!("the embedded AWS does not model {} {} of API Gateway", request.method, request.path);
            return ("Unknown", Err(ServiceError::new(400, "UnknownOperationException", message)));
        };
        (operation.name, self.run(cx, &operation, &Call { request, path: &path }))
    }

    /// The tags of the key or the plan that a path names.
    pub(crate) fn tags_at(&self, path: &[&str]) -> BTreeMap<String, String> {
        let tags = match path {
            ["apikeys", id, ..] => self.keys.get(*id).map(|key| &key.tags),
            ["usageplans", id, ..] => self.plans.get(*id).map(|plan| &plan.tags),
            _ => None,
        };
        tags.cloned().unwrap_or_default()
    }

    fn run(&mut self, cx: &mut Context<'_>, operation: &Operation, call: &Call<'_>) -> Result<Response, ServiceError> {
        cx.take("apigateway", operation.name, call.request)?;
        if let Some((unknown, _)) =
            call.request.query.iter().find(|(name, _)| !operation.query.contains(&name.as_str()))
        {
            let message = format!(
                "unknown parameter {unknown}: the embedded AWS models only {:?} of {}",
                operation.query, operation.name
            );
            return Err(ServiceError::new(400, "ValidationException", message));
        }
        (operation.run)(self, cx, call)
    }

    fn get_rest_apis(&mut self, _: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        call.collection(self.apis.iter().map(|(id, api)| {
            let created = api.created.timestamp();
            (id.as_str(), json!({ "id": id, "name": api.name, "createdDate": created }))
        }))
    }

    fn get_stages(&mut self, _: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        let api = self.apis.get(call.path[1]).ok_or_else(|| not_found("Invalid API identifier specified"))?;
        let created = api.created.timestamp();
        let stages: Vec<_> = api
            .stages
            .iter()
            .map(|stage| json!({ "stageName": stage, "createdDate": created, "lastUpdatedDate": created }))
            .collect();
        Ok(Response::json(200, &json!({ "item": stages })))
    }
}

fn route(request: &Request, path: &[&str]) -> Option<Operation> {
    let of = |name: &'static str, query: &'static [&'static str], run: Handler| Some(Operation { name, query, run });
    match (request.method.as_str(), path) {
        ("POST", ["apikeys"]) if request.query("mode").is_some_and(|mode| mode == "import") => {
            of("ImportApiKeys", &["mode", "format", "failonwarnings"], ApiGateway::import_api_keys)
        }
        ("POST", ["apikeys"]) => of("CreateApiKey", &[], ApiGateway::create_api_key),
        ("GET", ["apikeys"]) => {
            of("GetApiKeys", &["position", "limit", "name", "customerId", "includeValues"], ApiGateway::get_api_keys)
        }
        ("GET", ["apikeys", _]) => of("GetApiKey", &["includeValue"], ApiGateway::get_api_key),
        ("PATCH", ["apikeys", _]) => of("UpdateApiKey", &[], ApiGateway::update_api_key),
        ("DELETE", ["apikeys", _]) => of("DeleteApiKey", &[], ApiGateway::delete_api_key),

        ("POST", ["usageplans"]) => of("CreateUsagePlan", &[], ApiGateway::create_usage_plan),
        ("GET", ["usageplans"]) => of("GetUsagePlans", &["position", "limit", "keyId"], ApiGateway::get_usage_plans),
        ("GET", ["usageplans", _]) => of("GetUsagePlan", &[], ApiGateway::get_usage_plan),
        ("PATCH", ["usageplans", _]) => of("UpdateUsagePlan", &[], ApiGateway::update_usage_plan),
        ("DELETE", ["usageplans", _]) => of("DeleteUsagePlan", &[], ApiGateway::delete_usage_plan),

        ("POST", ["usageplans", _, "keys"]) => of("CreateUsagePlanKey", &[], ApiGateway::create_usage_plan_key),
        ("GET", ["usageplans", _, "keys"]) => {
            of("GetUsagePlanKeys", &["position", "limit", "name"], ApiGateway::get_usage_plan_keys)
        }
        ("GET", ["usageplans", _, "keys", _]) => of("GetUsagePlanKey", &[], ApiGateway::get_usage_plan_key),
        ("DELETE", ["usageplans", _, "keys", _]) => of("DeleteUsagePlanKey", &[], ApiGateway::delete_usage_plan_key),

        ("GET", ["usageplans", _, "usage"]) => {
            of("GetUsage", &["keyId", "startDate", "endDate", "position", "limit"], ApiGateway::get_usage)
        }
        ("PATCH", ["usageplans", _, "keys", _, "usage"]) => of("UpdateUsage", &[], ApiGateway::update_usage),

        ("GET", ["tags", _]) => of("GetTags", &[], ApiGateway::get_tags),
        ("PUT", ["tags", _]) => of("TagResource", &[], ApiGateway::tag_resource),
        ("DELETE", ["tags", _]) => of("UntagResource", &["tagKeys"], ApiGateway::untag_resource),

        ("GET", ["restapis"]) => of("GetRestApis", &["position", "limit"], ApiGateway::get_rest_apis),
        ("GET", ["restapis", _, "stages"]) => of("GetStages", &[], ApiGateway::get_stages),
        _ => None,
    }
}
