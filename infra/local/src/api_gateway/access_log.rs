//! Access logs of stages: one line for each request, in the format that an owner would choose.

use std::net::IpAddr;

use http::header::USER_AGENT;
use serde_json::json;

use super::data_plane::{Method, key_of, stage_and_resource};
use super::{ApiGateway, not_found};
use crate::core::{Context, Request, ServiceError};

/// What the log stands for where a variable has no value.
const NOTHING: &str = "-";

/// A request that a stage's access log is to tell of, once its answer is known.
pub(crate) struct Access {
    /// The log group.
    pub(crate) group: String,
    key: Option<String>,
    request_time: String,
}

impl ApiGateway {
    /// All stages of that API write their access logs to that group from now on.
    pub(crate) fn log_access(&mut self, api: &str, group: &str) -> Result<(), ServiceError> {
        let api = self.apis.get_mut(api).ok_or_else(|| not_found("Invalid API identifier specified"))?;
        api.access_log = Some(group.to_owned());
        Ok(())
    }

    /// `None` if no stage's access log has anything to do with the request.
    pub(super) fn access(
        &self,
        cx: &Context<'_>,
        api: &str,
        request: &Request,
        method: Option<&Method>,
    ) -> Option<Access> {
        let api = self.apis.get(api)?;
        let group = api.access_log.clone()?;
        let (stage, _) = stage_and_resource(request);
        api.stages.iter().find(|name| *name == stage)?;
        let asked = method.is_some_and(|method| method.api_key_required);
        let key = key_of(request).filter(|_| asked).and_then(|value| self.edge.find(value, cx.now));
        Some(Access {
            group,
            key: key.map(|(id, _)| id.to_owned()),
            request_time: cx.now.format("%d/%b/%Y:%H:%M:%S +0000").to_string(),
        })
    }
}

impl Access {
    /// The line: `$context.requestTime`, `$context.identity.apiKeyId`, `.sourceIp`, `.userAgent`,
    /// `$context.httpMethod`, `$context.path` and `$context.status`, all of them text.
    pub(crate) fn line(&self, request: &Request, status: u16) -> String {
        let user_agent = request.headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
        json!({
            "requestTime": self.request_time,
            "apiKeyId": self.key.as_deref().unwrap_or(NOTHING),
            "ip": source_ip(request),
            "userAgent": user_agent.as_deref().unwrap_or(NOTHING),
            "httpMethod": request.method.as_str(),
            "path": request.raw_path,
            "status": status.to_string(),
        })
        .to_string()
    }
}

/// Where a request came from. There is no network here that would know: a caller says so itself, by
/// the first address of `x-forwarded-for`.
pub(super) fn source_ip(request: &Request) -> String {
    let forwarded = request.headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
    let first = forwarded.and_then(|chain| chain.split(',').next()).map(str::trim);
    first.filter(|first| first.parse::<IpAddr>().is_ok()).unwrap_or("127.0.0.1").to_owned()
}
