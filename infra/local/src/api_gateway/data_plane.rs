//! The data plane: REST APIs whose methods ask for an API key, or hand requests to a function.

use chrono::{DateTime, Utc};
use http::HeaderName;
use http::header::LOCATION;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ApiGateway;
use super::access_log::Access;
use super::proxy::{self, Target};
use super::usage_plans::Exhausted;
use crate::core::{Context, Request, Response};
use crate::transport::percent_decoded;

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
    /// The resource's path within the stage, for instance `/ping`. One that ends in a greedy path
    /// variable, for instance `/jwks/{proxy+}`, stands for every path that goes on from there.
    pub path: String,
    /// Whether it asks for an API key of the stage's usage plans.
    pub api_key_required: bool,
    /// Where it redirects those whom it lets in (302), instead of answering 200.
    pub redirect_to: Option<String>,
    /// The name of the function that answers those whom it lets in, by Lambda proxy integration.
    pub function: Option<String>,
}

impl Method {
    /// A `GET` that asks for an API key.
    pub fn protected(path: impl Into<String>) -> Self {
        Self { api_key_required: true, ..Self::open(path) }
    }

    /// A `GET` that answers anybody.
    pub fn open(path: impl Into<String>) -> Self {
        Self { verb: "GET".into(), path: path.into(), api_key_required: false, redirect_to: None, function: None }
    }

    /// A `GET` that answers anybody with what that function makes of the request.
    ///
    /// The function gets API Gateway's event for REST APIs (payload format 1.0), whose `path` and
    /// `pathParameters` are percent-encoded as they came, and answers `statusCode`, `headers`,
    /// `multiValueHeaders`, `body` and `isBase64Encoded`. If it fails or answers anything else, the
    /// client gets API Gateway's 502. The API has no binary media types: a Base64 body reaches the
    /// client as it is.
    pub fn function(path: impl Into<String>, function: impl Into<String>) -> Self {
        Self { function: Some(function.into()), ..Self::open(path) }
    }

    /// Whether it is for that verb, and how its path fits that of a request: within the stage,
    /// percent-encoded, without the slash at the beginning.
    fn fit<'r>(&self, verb: &str, resource: &'r str) -> Option<Fit<'r>> {
        if self.verb != "ANY" && self.verb != verb {
            return None;
        }
        let template = self.path.trim_start_matches('/');
        let greedy = template.strip_suffix("+}").and_then(|template| template.rsplit_once('{'));
        let Some((before, variable)) = greedy else {
            return (percent_decoded(resource, false) == template).then_some(Fit::Exact);
        };
        let start = match before.matches('/').count() {
            0 => 0,
            slashes => resource.match_indices('/').nth(slashes - 1)?.0 + 1,
        };
        let (head, rest) = resource.split_at(start);
        let fits = percent_decoded(head, false) == before && !rest.is_empty();
        fits.then(|| Fit::Greedy { variable: variable.to_owned(), rest })
    }
}

/// A REST API.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Api {
    pub(super) name: String,
    pub(super) stages: Vec<String>,
    methods: Vec<Method>,
    pub(super) created: DateTime<Utc>,
    /// The log group that its stages write their access logs to.
    #[serde(default)]
    pub(super) access_log: Option<String>,
    /// Whether something before it turns every request away.
    #[serde(default)]
    blocked: bool,
    /// The status of its gateway response `INVALID_API_KEY`, if its owner set one.
    #[serde(default)]
    invalid_key_status: Option<u16>,
}

/// How a method's path fits a request's. Of all that fit, the exact one is taken, otherwise the one
/// that leaves least to its variable.
enum Fit<'r> {
    Exact,
    Greedy { variable: String, rest: &'r str },
}

/// What becomes of a request.
pub(crate) enum Admitted {
    /// It is answered.
    Answer(Response),
    /// This function has to be asked: its answer to this event goes through
    /// [`proxy::response`].
    Function { name: String, event: Value },
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
        self.apis.insert(
            id.clone(),
            Api { name, stages, methods, created: cx.now, access_log: None, blocked: false, invalid_key_status: None },
        );
        id
    }

    /// False if there is no such API.
    pub(crate) fn block(&mut self, api: &str, blocked: bool) -> bool {
        self.apis.get_mut(api).map(|api| api.blocked = blocked).is_some()
    }

    /// False if there is no such API.
    pub(crate) fn put_invalid_key_status(&mut self, api: &str, status: u16) -> bool {
        self.apis.get_mut(api).map(|api| api.invalid_key_status = Some(status)).is_some()
    }

    /// One data-plane request, whose path begins with the stage; and what its stage's access log is
    /// to tell of it.
    pub(crate) fn invoke(&mut self, cx: &mut Context<'_>, api: &str, request: &Request) -> (Admitted, Option<Access>) {
        let (method, target) = match self.find_method(api, request) {
            Ok(found) => found,
            Err(refusal) => return (Admitted::Answer(refusal.response(None)), self.access(cx, api, request, None)),
        };
        let access = self.access(cx, api, request, Some(&method));
        if let Err(refusal) = self.let_in(cx, &method, &target, request) {
            let status = self.apis.get(api).and_then(|api| api.invalid_key_status);
            return (Admitted::Answer(refusal.response(status)), access);
        }
        if let Some(name) = method.function {
            return (Admitted::Function { name, event: proxy::event(cx, &target, request) }, access);
        }
        if let Some(location) = method.redirect_to {
            let mut response = Response::json(302, &json!({}));
            response.headers.push((LOCATION, location));
            return (Admitted::Answer(response), access);
        }
        (Admitted::Answer(Response::json(200, &json!({ "ok": true, "path": request.path }))), access)
    }

    fn find_method<'r>(&self, api_id: &'r str, request: &'r Request) -> Result<(Method, Target<'r>), Refusal> {
        let (stage, resource) = stage_and_resource(request);
        let api = self.apis.get(api_id).filter(|api| !api.blocked && api.stages.iter().any(|name| name == stage));
        let methods = api.ok_or(Refusal::Forbidden)?.methods.iter();
        let (method, fit) = methods
            .filter_map(|method| Some((method, method.fit(request.method.as_str(), resource)?)))
            .min_by_key(|(_, fit)| match fit {
                Fit::Exact => 0,
                Fit::Greedy { rest, .. } => rest.len(),
            })
            .ok_or(Refusal::MissingAuthenticationToken)?;
        let variable = match fit {
            Fit::Exact => None,
            Fit::Greedy { variable, rest } => Some((variable, rest)),
        };
        Ok((method.clone(), Target { api: api_id, stage, resource, template: method.path.clone(), variable }))
    }

    /// Whether the method lets the request in, which counts against its key's plan.
    fn let_in(
        &mut self,
        cx: &Context<'_>,
        method: &Method,
        target: &Target<'_>,
        request: &Request,
    ) -> Result<(), Refusal> {
        if !method.api_key_required {
            return Ok(());
        }
        let (id, admission) = self
            .edge
            .find(key_of(request).ok_or(Refusal::Forbidden)?, cx.now)
            .filter(|(_, admission)| admission.enabled)
            .ok_or(Refusal::Forbidden)?;
        let opening = admission
            .plans
            .iter()
            .find(|plan| self.plans.get(*plan).is_some_and(|plan| plan.opens(target.api, target.stage)))
            .ok_or(Refusal::Forbidden)?;
        let plan = self.plans.get_mut(opening).ok_or(Refusal::Forbidden)?;
        plan.admit(cx, id).map_err(|exhausted| match exhausted {
            Exhausted::Throttled => Refusal::TooManyRequests,
            Exhausted::Quota => Refusal::LimitExceeded,
        })
    }
}

/// The stage that a request's path begins with, and the rest, percent-encoded.
pub(super) fn stage_and_resource(request: &Request) -> (&str, &str) {
    let path = request.raw_path.strip_prefix('/').unwrap_or(&request.raw_path);
    path.split_once('/').unwrap_or((path, ""))
}

/// The API key that a request carries.
pub(super) fn key_of(request: &Request) -> Option<&str> {
    request.headers.get("x-api-key").and_then(|value| value.to_str().ok())
}

impl Refusal {
    /// `invalid_key`: the status that the API's owner gave to its answer to a key that is not let in.
    fn response(self, invalid_key: Option<u16>) -> Response {
        let (status, error_type, message) = match self {
            Self::Forbidden => (invalid_key.unwrap_or(403), "ForbiddenException", "Forbidden"),
            Self::MissingAuthenticationToken => {
                (403, "MissingAuthenticationTokenException", "Missing Authentication Token")
            }
            Self::TooManyRequests => (429, "TooManyRequestsException", "Too Many Requests"),
            Self::LimitExceeded => (429, "LimitExceededException", "Limit Exceeded"),
        };
        let mut response = Response::json(status, &json!({ "message": message }));
        response.headers.push((HeaderName::from_static("x-amzn-errortype"), error_type.to_owned()));
        response
    }
}
