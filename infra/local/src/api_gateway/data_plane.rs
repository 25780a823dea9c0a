//! The data plane: REST APIs whose methods ask for an API key.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ApiGateway;
use super::usage_plans::Exhausted;
use crate::core::{Context, Request, Response};

/// A REST API to set up: `create_rest_api` answers its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestApi {
    /// The id to give it, `[a-z0-9]+`; drawn when there is none.
    pub id: Option<String>,
    /// A name for people.
    pub name: String,
    /// The names of its stages; every stage has every method.
    pub stages: Vec<String>,
    /// What it answers.
    pub methods: Vec<Method>,
}

/// A method of a REST API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// The HTTP method, for instance `GET`, or `ANY`.
    pub verb: String,
    /// The resource's path within the stage, for instance `/ping`.
    pub path: String,
    /// Whether it asks for an API key of the stage's usage plans.
    pub api_key_required: bool,
    /// Where it redirects those whom it lets in (302), instead of answering 200.
    pub redirect_to: Option<String>,
}

impl Method {
    /// A `GET` that asks for an API key.
    pub fn protected(path: impl Into<String>) -> Self {
        Self { api_key_required: true, ..Self::open(path) }
    }

    /// A `GET` that answers anybody.
    pub fn open(path: impl Into<String>) -> Self {
        Self { verb: "GET".into(), path: path.into(), api_key_required: false, redirect_to: None }
    }
}

/// A REST API.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Api {
    pub(super) name: String,
    pub(super) stages: Vec<String>,
    methods: Vec<Method>,
    pub(super) created: DateTime<Utc>,
}

/// Why the data plane turns a request away, as its `x-amzn-errortype` tells.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    /// No such stage; or the key is missing, unknown, disabled, or in no plan of the stage.
    Forbidden,
    /// No such method.
    MissingAuthenticationToken,
    /// The plan's rate.
    TooManyRequests,
    /// The plan's quota.
    LimitExceeded,
}

impl ApiGateway {
    /// Sets up a REST API, with all its stages deployed, and answers its id.
    pub(crate) fn create_rest_api(&mut self, cx: &mut Context<'_>, api: RestApi) -> String {
        let RestApi { id, name, stages, methods } = api;
        let id = id.unwrap_or_else(|| cx.short_id(10));
        self.apis.insert(id.clone(), Api { name, stages, methods, created: cx.now });
        id
    }

    /// Answers one data-plane request, whose path begins with the stage.
    pub(crate) fn invoke(&mut self, cx: &mut Context<'_>, api: &str, request: &Request) -> Response {
        match self.admit(cx, api, request) {
            Ok(Some(location)) => {
                let mut response = Response::json(302, &json!({}));
                response.headers.push(("location", location));
                response
            }
            Ok(None) => Response::json(200, &json!({ "ok": true, "path": request.path })),
            Err(refusal) => refusal.response(),
        }
    }

    /// Where an admitted request is redirected to, if it is.
    fn admit(&mut self, cx: &Context<'_>, api_id: &str, request: &Request) -> Result<Option<String>, Refusal> {
        let path = request.path.strip_prefix('/').unwrap_or(&request.path);
        let (stage, resource) = path.split_once('/').unwrap_or((path, ""));
        let api = self.apis.get(api_id).filter(|api| api.stages.iter().any(|name| name == stage));
        let method = api
            .ok_or(Refusal::Forbidden)?
            .methods
            .iter()
            .find(|method| {
                let verb = method.verb == "ANY" || method.verb == request.method.as_str();
                verb && method.path.trim_start_matches('/') == resource
            })
            .ok_or(Refusal::MissingAuthenticationToken)?;

        if method.api_key_required {
            let value = request.headers.get("x-api-key").and_then(|value| value.to_str().ok());
            let (id, admission) = value
                .and_then(|value| self.edge.find(value, cx.now))
                .filter(|(_, admission)| admission.enabled)
                .ok_or(Refusal::Forbidden)?;
            let opening = admission
                .plans
                .iter()
                .find(|plan| self.plans.get(*plan).is_some_and(|plan| plan.opens(api_id, stage)))
                .ok_or(Refusal::Forbidden)?;
            let plan = self.plans.get_mut(opening).ok_or(Refusal::Forbidden)?;
            plan.admit(cx, id).map_err(|exhausted| match exhausted {
                Exhausted::Throttled => Refusal::TooManyRequests,
                Exhausted::Quota => Refusal::LimitExceeded,
            })?;
        }
        Ok(method.redirect_to.clone())
    }
}

impl Refusal {
    fn response(self) -> Response {
        let (status, error_type, message) = match self {
            Self::Forbidden => (403, "ForbiddenException", "Forbidden"),
            Self::MissingAuthenticationToken => {
                (403, "MissingAuthenticationTokenException", "Missing Authentication Token")
            }
            Self::TooManyRequests => (429, "TooManyRequestsException", "Too Many Requests"),
            Self::LimitExceeded => (429, "LimitExceededException", "Limit Exceeded"),
        };
        let mut response = Response::json(status, &json!({ "message": message }));
        response.headers.push(("x-amzn-errortype", error_type.to_owned()));
        response
    }
}
