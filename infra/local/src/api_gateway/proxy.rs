//! Lambda proxy integration: a request as an event, and a function's answer as a response.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HOST, MAX_FORWARDS, PROXY_AUTHENTICATE, SERVER, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT, VIA, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access_log::source_ip;
use crate::core::{Context, Request, Response};
use crate::functions::FunctionError;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// What API Gateway keeps from a function, by the table in its important notes.
const KEPT_FROM_FUNCTIONS: [HeaderName; 10] =
    [CONNECTION, CONTENT_MD5, EXPECT, MAX_FORWARDS, PROXY_AUTHENTICATE, SERVER, TE, TRAILER, UPGRADE, WWW_AUTHENTICATE];
/// What it keeps from clients; the length is that of the body whatever a function says.
const KEPT_FROM_CLIENTS: [HeaderName; 9] =
    [CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA];
/// What reaches clients only as `x-amzn-remapped-..`.
const REMAPPED: [HeaderName; 8] =
    [AUTHORIZATION, CONNECTION, CONTENT_MD5, DATE, MAX_FORWARDS, SERVER, USER_AGENT, WWW_AUTHENTICATE];

/// Where a request was let in.
pub(super) struct Target<'r> {
    /// The API's id.
    pub(super) api: &'r str,
    pub(super) stage: &'r str,
    /// The path within the stage, without the slash at the beginning, percent-encoded.
    pub(super) resource: &'r str,
    /// The resource's path as the method names it.
    pub(super) template: String,
    /// A greedy path variable's name, and what it stands for, percent-encoded.
    pub(super) variable: Option<(String, &'r str)>,
}

/// A function's answer. Other members make it malformed, and so does having none at all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Answer {
    status_code: Option<Status>,
    headers: Option<BTreeMap<String, Value>>,
    multi_value_headers: Option<BTreeMap<String, Vec<Value>>>,
    body: Option<String>,
    /// Of effect only for an API with binary media types, which is not modelled.
    #[serde(rename = "isBase64Encoded")]
    _is_base64_encoded: Option<bool>,
}

/// A number, or its digits.
#[derive(Deserialize)]
#[serde(untagged)]
enum Status {
    Number(u16),
    Digits(String),
}

/// The event for a REST API's function, payload format 1.0. Of what has several values, the members
/// for a single one tell the last.
pub(super) fn event(cx: &mut Context<'_>, target: &Target<'_>, request: &Request) -> Value {
    let domain = format!("{}.execute-api.{}.amazonaws.com", target.api, cx.region);
    let mut headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in &request.headers {
        if !KEPT_FROM_FUNCTIONS.contains(name) {
            headers.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
    }
    headers.insert(HOST.as_str(), vec![domain.clone()]);
    let user_agent = headers.get(USER_AGENT.as_str()).and_then(|values| values.last().cloned());
    let mut query: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in &request.query {
        query.entry(name).or_default().push(value.clone());
    }
    let path_parameters = target.variable.as_ref().map(|(name, value)| json!({ name: value.trim_end_matches('/') }));
    let body = (!request.body.is_empty()).then(|| String::from_utf8_lossy(&request.body));

    json!({
        "resource": target.template,
        "path": format!("/{}", target.resource),
        "httpMethod": request.method.as_str(),
        "headers": single(&headers),
        "multiValueHeaders": headers,
        "queryStringParameters": single(&query),
        "multiValueQueryStringParameters": (!query.is_empty()).then_some(&query),
        "pathParameters": path_parameters,
        "stageVariables": null,
        "requestContext": {
            "accountId": cx.account,
            "apiId": target.api,
            "domainName": domain,
            "domainPrefix": target.api,
            "httpMethod": request.method.as_str(),
            "identity": { "sourceIp": source_ip(request), "userAgent": user_agent },
            "path": format!("/{}/{}", target.stage, target.resource),
            "protocol": "HTTP/1.1",
            "requestId": cx.uuid().to_string(),
            "requestTime": cx.now.format("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "requestTimeEpoch": cx.now.timestamp_millis(),
            "resourcePath": target.template,
            "stage": target.stage,
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

/// What a client gets of what the function made of the event.
pub(crate) fn response(function: &str, answer: Result<Value, FunctionError>) -> Response {
    match answer.map(|answer| read(&answer)) {
        Ok(Some(response)) => response,
        Ok(None) => {
            tracing::warn!(%function, "malformed Lambda proxy response");
            bad_gateway()
        }
        Err(error) => {
            tracing::warn!(%function, %error, "a method's function failed");
            bad_gateway()
        }
    }
}

/// `None` if it is malformed.
fn read(answer: &Value) -> Option<Response> {
    if answer.as_object()?.is_empty() {
        return None;
    }
    let Answer { status_code, headers, multi_value_headers, body, .. } = Answer::deserialize(answer).ok()?;
    let status = match status_code {
        None => http::StatusCode::OK,
        Some(Status::Number(number)) => http::StatusCode::from_u16(number).ok()?,
        Some(Status::Digits(digits)) => digits.parse().ok()?,
    };

    let mut merged = Vec::new();
    for (name, values) in multi_value_headers.into_iter().flatten() {
        for value in values {
            merged.push(header(&name, &value)?);
        }
    }
    for (name, value) in headers.into_iter().flatten() {
        let pair = header(&name, &value)?;
        if !merged.contains(&pair) {
            merged.push(pair);
        }
    }
    merged.retain(|(name, _)| !KEPT_FROM_CLIENTS.contains(name));
    for (name, _) in &mut merged {
        if REMAPPED.contains(name) {
            *name = HeaderName::try_from(format!("x-amzn-remapped-{name}")).ok()?;
        }
    }
    let empty = status == http::StatusCode::NOT_MODIFIED || status == http::StatusCode::NO_CONTENT;
    let body = body.filter(|_| !empty).unwrap_or_default();
    Some(Response { status: status.as_u16(), headers: merged, body: Bytes::from(body) })
}

fn header(name: &str, value: &Value) -> Option<(HeaderName, String)> {
    let value = match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    HeaderValue::from_str(&value).ok()?;
    Some((HeaderName::try_from(name).ok()?, value))
}

fn bad_gateway() -> Response {
    let mut response = Response::json(502, &json!({ "message": "Internal server error" }));
    let error_type = HeaderName::from_static("x-amzn-errortype");
    response.headers.push((error_type, "InternalServerErrorException".to_owned()));
    response
}

/// The last value of each; null where there is nothing.
fn single(values: &BTreeMap<&str, Vec<String>>) -> Value {
    let last: BTreeMap<_, _> = values.iter().filter_map(|(name, values)| Some((name, values.last()?))).collect();
    if last.is_empty() { Value::Null } else { json!(last) }
}
