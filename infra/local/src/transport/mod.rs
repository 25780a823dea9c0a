//! From HTTP to a service and back: the same for a call in this process and one over a port.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use serde_json::{Value, json};

use crate::api_gateway::{Admitted, proxy_response};
use crate::authorization::{Asked, PolicyError, Scene, asked, denied};
use crate::core::{Request, Response, ServiceError};
use crate::world::Services;
use crate::{CallRecord, LocalAws, iam, lambda, query, secrets_manager, sts};

mod connector;
mod door;
mod server;

pub use door::AccessKey;

pub(crate) use connector::LocalConnector;
use connector::SetUp;

use door::Stranger;

const DYNAMODB: &str = "DynamoDB_20120810.";
const KMS: &str = "TrentService.";
const LOGS: &str = "Logs_20140328.";
const SECRETS_MANAGER: &str = "secretsmanager.";
/// `/_aws/execute-api/API/STAGE/..`: a data plane that needs no host name of its own.
const EXECUTE_API_PATH: &str = "/_aws/execute-api/";
const EXECUTE_API_HOST: &str = ".execute-api.";

/// Who a request is for.
pub(crate) enum Route {
    DynamoDb(String),
    Kms(String),
    Logs(String),
    SecretsManager(String),
    Iam(Vec<(String, String)>),
    Sts(Vec<(String, String)>),
    Lambda,
    ApiGateway,
    /// The API's id; the request's path begins with the stage.
    ExecuteApi(String),
    Unknown,
}

/// What was recorded of a call, its answer, and the jobs that have to run before anybody hears of it.
type Answered = (CallRecord, Response, Vec<u64>);

impl LocalAws {
    /// Any request to any service, of whoever is no stranger.
    async fn answer(&self, request: http::Request<Bytes>, stranger: Option<Stranger>) -> http::Response<Bytes> {
        let (parts, body) = request.into_parts();
        let host = host_of(&parts.uri, &parts.headers);
        let mut request = Request {
            method: parts.method,
            path: percent_decoded(parts.uri.path(), false),
            raw_path: parts.uri.path().to_owned(),
            query: form(parts.uri.query().unwrap_or_default()),
            headers: parts.headers,
            body,
            is_set_up: parts.extensions.get::<SetUp>().is_some(),
        };
        let route = route(&host, &mut request);
        let (caller, asked, denied) = self.authorized(&route, &request);
        let stranger = stranger.map(|stranger| {
            let error = ServiceError::new(403, stranger.code, stranger.message);
            route.refused(error, stranger.query_code, &request)
        });
        let (mut call, mut response, early) = match stranger.or_else(|| self.wrong_region(&route, &request)).or(denied)
        {
            Some(refused) => refused,
            None => self.dispatch(route, &request).await,
        };
        (call.caller, call.asked) = (caller, asked);
        let number = {
            let mut world = self.lock();
            world.record(call);
            world.answered += 1;
            world.answered
        };
        // "Early" means that nobody has heard yet that the label moved.
        for job in early {
            self.run_early(job).await;
        }
        let request_id = uuid::Uuid::from_u128(u128::from(number)).to_string();
        response.headers.push((HeaderName::from_static("x-amzn-requestid"), request_id));
        // This AWS's own clock, as AWS tells its own: clients correct theirs by it.
        response.headers.push((DATE, self.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string()));
        to_http(response)
    }

    async fn dispatch(&self, route: Route, request: &Request) -> Answered {
        match route {
            Route::DynamoDb(operation) => {
                let stale = self.lock().settings.stale_index;
                let now = self.now();
                let response = self.dynamodb().handle(&self.0.place, now, stale, &operation, &request.body);
                let response = typed(response, "application/x-amz-json-1.0");
                (CallRecord::new("dynamodb", operation, &response), response, Vec::new())
            }
            Route::Kms(operation) => {
                let (answer, early) = self.act(|services, cx| {
                    cx.take("kms", &operation, request)?;
                    services.kms.handle(cx, &operation, &parsed(&request.body)?)
                });
                let response = json_protocol(answer);
                (CallRecord::new("kms", operation, &response), response, early)
            }
            Route::Logs(operation) => {
                let (answer, early) =
                    self.act_unsaved(|services, cx| services.logs.handle(cx, &operation, &parsed(&request.body)?));
                let response = json_protocol(answer);
                (CallRecord::new("logs", operation, &response), response, early)
            }
            Route::SecretsManager(operation) => {
                let (answer, early) = self.act(|services, cx| {
                    let Services { secrets_manager, kms, .. } = services;
                    cx.take("secretsmanager", &operation, request)?;
                    secrets_manager.handle(cx, kms, &operation, &parsed(&request.body)?)
                });
                let response = json_protocol_with(answer, secrets_manager::message_member);
                (CallRecord::new("secretsmanager", operation, &response), response, early)
            }
            Route::Iam(form) => {
                let functions = self.lock().functions.clone();
                let ((operation, response), early) = self.act(|_, cx| iam::handle(cx, &functions, &form));
                (CallRecord::new("iam", operation, &response), response, early)
            }
            Route::Lambda => {
                let functions = self.lock().functions.clone();
                let ((operation, answer), early) = self.act_unsaved(|_, cx| lambda::handle(cx, &functions, request));
                let response = answer.unwrap_or_else(|error| rest_error(&error));
                let response = typed(response, "application/json");
                (CallRecord::new("lambda", operation, &response), response, early)
            }
            Route::Sts(form) => {
                let ((operation, response), early) = self.act(|_, cx| sts::handle(cx, request, &form));
                (CallRecord::new("sts", operation, &response), response, early)
            }
            Route::ApiGateway => {
                let ((operation, answer), early) = self.act(|services, cx| services.api_gateway.handle(cx, request));
                let response = answer.unwrap_or_else(|error| rest_error(&error));
                let response = typed(response, "application/json");
                (CallRecord::new("apigateway", operation, &response), response, early)
            }
            Route::ExecuteApi(api) => {
                let ((admitted, access), early) =
                    self.act_unsaved(|services, cx| services.api_gateway.invoke(cx, &api, request));
                let response = match admitted {
                    Admitted::Answer(response) => response,
                    Admitted::Function { name, event } => proxy_response(&name, self.invoke(&name, event).await),
                };
                let response = typed(response, "application/json");
                if let Some(access) = access {
                    let line = access.line(request, response.status);
                    self.act_unsaved(|services, cx| services.logs.put(cx.now, &access.group, line));
                }
                let operation = format!("{} {}", request.method, request.path);
                (CallRecord::new("execute-api", operation, &response), response, early)
            }
            Route::Unknown => {
                let operation = format!("{} {}", request.method, request.path);
                let error = ServiceError::new(
                    404,
                    "UnknownOperationException",
                    format!("the embedded AWS does not model {operation}"),
                );
                let response = typed(rest_error(&error), "application/json");
                (CallRecord::new("unknown", operation, &response), response, Vec::new())
            }
        }
    }

    /// Whose request it is, if this AWS knows them; what it asks for; and the answer, if that is not allowed.
    fn authorized(&self, route: &Route, request: &Request) -> (Option<String>, Vec<Asked>, Option<Answered>) {
        let key = credential_scope(&request.headers, 0);
        let role = key.and_then(|key| self.lock().callers.role(&key));
        let Some(role) = role else { return (None, Vec::new(), None) };
        let (asked, _) = self.act_unsaved(|services, cx| asked(&Scene { services, cx, role: &role }, route, request));
        let senseless = |error: PolicyError| ServiceError::new(400, "MalformedPolicyDocument", error.to_string());
        let refused = match &asked {
            Ok(asked) => asked.iter().find_map(|asked| match role.allows(asked) {
                Ok(true) => None,
                Ok(false) => Some(denied(&role, asked)),
                Err(error) => Some(senseless(error)),
            }),
            Err(error) => Some(senseless(error.clone())),
        };
        let answer = refused.map(|error| route.refused(error, "AccessDenied", request));
        (Some(role.arn().to_owned()), asked.unwrap_or_default(), answer)
    }

    /// This AWS is one Region. A client of another one would see nothing of what is here: it had
    /// better hear why.
    fn wrong_region(&self, route: &Route, request: &Request) -> Option<Answered> {
        // IAM is global, signed for us-east-1; some clients sign for STS as for its one global endpoint.
        if matches!(route, Route::Iam(_) | Route::Sts(_)) {
            return None;
        }
        let signed_for = credential_scope(&request.headers, 2)?;
        if signed_for == self.region() {
            return None;
        }
        let error = ServiceError::new(
            400,
            "UnrecognizedClientException",
            format!("the embedded AWS is in {}, and this was signed for {signed_for}", self.region()),
        );
        let response = json_protocol(Err(error));
        let operation = format!("{} {}", request.method, request.path);
        Some((CallRecord::new("unknown", operation, &response), response, Vec::new()))
    }
}

impl Route {
    /// A refusal in the protocol of whoever it was for. The query protocol has codes of its own.
    fn refused(&self, error: ServiceError, query_code: &'static str, request: &Request) -> Answered {
        let in_json = |error: ServiceError| json_protocol(Err(ServiceError { status: 400, ..error }));
        let in_rest = |error: ServiceError| typed(rest_error(&error), "application/json");
        let in_query = |namespace, form, error: ServiceError| {
            let refused = Err(ServiceError::new(403, query_code, error.message));
            query::response(namespace, query::action(form), uuid::Uuid::nil(), refused)
        };
        let (service, response) = match self {
            Self::DynamoDb(_) => ("dynamodb", in_json(error)),
            Self::Kms(_) => ("kms", in_json(error)),
            Self::Logs(_) => ("logs", in_json(error)),
            Self::SecretsManager(_) => ("secretsmanager", in_json(error)),
            Self::Iam(form) => ("iam", in_query(iam::NAMESPACE, form, error)),
            Self::Sts(form) => ("sts", in_query(sts::NAMESPACE, form, error)),
            Self::Lambda => ("lambda", in_rest(error)),
            Self::ApiGateway => ("apigateway", in_rest(error)),
            Self::ExecuteApi(_) | Self::Unknown => ("unknown", in_rest(error)),
        };
        (CallRecord::new(service, format!("{} {}", request.method, request.path), &response), response, Vec::new())
    }
}

fn route(host: &str, request: &mut Request) -> Route {
    if let Some(api) = api_of(host, &request.path).map(str::to_owned) {
        if request.path.starts_with(EXECUTE_API_PATH) {
            request.path = after_api(&request.path);
            request.raw_path = after_api(&request.raw_path);
        }
        return Route::ExecuteApi(api);
    }
    if let Some(target) = text(&request.headers, "x-amz-target") {
        let after = |prefix| target.strip_prefix(prefix).map(str::to_owned);
        return after(DYNAMODB)
            .map(Route::DynamoDb)
            .or_else(|| after(KMS).map(Route::Kms))
            .or_else(|| after(LOGS).map(Route::Logs))
            .or_else(|| after(SECRETS_MANAGER).map(Route::SecretsManager))
            .unwrap_or(Route::Unknown);
    }
    match credential_scope(&request.headers, 3).as_deref() {
        Some("iam") => Route::Iam(form(&String::from_utf8_lossy(&request.body))),
        Some("lambda") => Route::Lambda,
        Some("sts") => Route::Sts(form(&String::from_utf8_lossy(&request.body))),
        Some("apigateway") => Route::ApiGateway,
        Some(_) | None => Route::Unknown,
    }
}

/// The API whose data plane is asked, by its host name or by its path (percent-decoded).
fn api_of<'r>(host: &'r str, path: &'r str) -> Option<&'r str> {
    let by_host = host.split_once(EXECUTE_API_HOST).map(|(api, _)| api);
    by_host.or_else(|| path.strip_prefix(EXECUTE_API_PATH)?.split('/').next())
}

/// What is left of `/_aws/execute-api/API/..` after the API.
fn after_api(path: &str) -> String {
    let rest = path.strip_prefix(EXECUTE_API_PATH).unwrap_or_default();
    format!("/{}", rest.split_once('/').map_or("", |(_, path)| path))
}

/// A member of a signed request's `Authorization`: `Credential`, `SignedHeaders` or `Signature`.
fn signed<'a>(headers: &'a HeaderMap, member: &str) -> Option<&'a str> {
    let members = text(headers, AUTHORIZATION.as_str())?.split([',', ' ']);
    members.filter_map(|said| said.split_once('=')).find(|(name, _)| *name == member).map(|(_, value)| value)
}

/// A part of `Credential=AKID/DATE/REGION/SERVICE/aws4_request`.
fn credential_scope(headers: &HeaderMap, part: usize) -> Option<String> {
    signed(headers, "Credential")?.split('/').nth(part).map(str::to_owned)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Without the port.
fn host_of(uri: &Uri, headers: &HeaderMap) -> String {
    let host = uri.host().or_else(|| text(headers, HOST.as_str())).unwrap_or_default();
    without_port(host).to_ascii_lowercase()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // What is left of an IPv6 address without a port ends with its bracket.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

fn parsed(body: &Bytes) -> Result<Value, ServiceError> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(body).map_err(|error| ServiceError::new(400, "SerializationException", error.to_string()))
}

fn json_protocol(answer: Result<Value, ServiceError>) -> Response {
    json_protocol_with(answer, |_| "message")
}

/// The same where the service names an error's message by the error's code.
fn json_protocol_with(answer: Result<Value, ServiceError>, message_member: fn(&str) -> &'static str) -> Response {
    let response = match answer {
        Ok(body) => Response::json(200, &body),
        Err(error) => {
            let body = json!({"__type": error.code, message_member(error.code): error.message});
            with_error_headers(Response::json(error.status, &body), &error)
        }
    };
    typed(response, "application/x-amz-json-1.1")
}

fn rest_error(error: &ServiceError) -> Response {
    with_error_headers(Response::json(error.status, &json!({"message": error.message})), error)
}

fn with_error_headers(mut response: Response, error: &ServiceError) -> Response {
    response.headers.push((HeaderName::from_static("x-amzn-errortype"), error.code.to_owned()));
    if let Some(seconds) = error.retry_after {
        response.headers.push((RETRY_AFTER, seconds.to_string()));
    }
    response
}

/// With that content type, unless the service gave one.
fn typed(mut response: Response, content_type: &str) -> Response {
    if response.headers.iter().all(|(name, _)| name != CONTENT_TYPE) {
        response.headers.push((CONTENT_TYPE, content_type.to_owned()));
    }
    response
}

fn to_http(response: Response) -> http::Response<Bytes> {
    let mut answer = http::Response::new(response.body);
    *answer.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in response.headers {
        // A value that HTTP can't carry would be a service's own text: leave it out.
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}

/// `application/x-www-form-urlencoded`, of a query or a body.
fn form(encoded: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decoded(key, true), percent_decoded(value, true))
    };
    encoded.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// With what is not an escape left as it is.
pub(crate) fn percent_decoded(encoded: &str, plus_is_space: bool) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = (first == b'%').then(|| tail.get(..2)).flatten();
        let byte =
            escape.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        rest = if byte.is_some() { &tail[2..] } else { tail };
        bytes.push(match byte {
            Some(byte) => byte,
            None if first == b'+' && plus_is_space => b' ',
            None => first,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
