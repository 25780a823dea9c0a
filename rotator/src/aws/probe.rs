//! Real requests with a key: how a new one is proved and an old one seen dead.
//!
//! Sent over the same kind of connection as the SDK's own calls, each on a new one. Redirects are not followed: a key
//! must not be carried to where somebody else points.

use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use chrono::TimeDelta;

use crate::ports::Ports;
use crate::secret::SecretValue;

/// By which an owner knows our requests in an access log.
pub const AGENT: &str = "rotator-probe";

/// Where a probe goes: an API, a stage and a path of it. Parsed once, so that no host can hide in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    /// `[a-z0-9]+`
    pub api: String,
    /// `[A-Za-z0-9_-]+`
    pub stage: String,
    /// Without a leading slash; no empty, `.` or `..` segments.
    pub path: String,
}

impl Probe {
    /// Reads `api/stage/path`. The path may have several segments and may be missing.
    pub fn parse(raw: &str) -> Result<Self, &'static str> {
        let mut parts = raw.split('/');
        let (api, stage) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let segments: Vec<&str> = parts.collect();
        if api.is_empty() || !api.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            return Err(
                "write API/STAGE/PATH, with the API's id first: lower-case letters and digits, never a host name",
            );
        }
        if stage.is_empty() || !stage.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)) {
            return Err("write API/STAGE/PATH, with the stage's name second");
        }
        let plain = |segment: &&str| {
            !segment.is_empty()
                && *segment != "."
                && *segment != ".."
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.=+:@".contains(&b))
        };
        if !segments.iter().all(plain) {
            return Err(
                "the path may have letters, digits and _ - . = + : @ in its segments, none of them empty, . or ..",
            );
        }
        Ok(Self { api: api.to_owned(), stage: stage.to_owned(), path: segments.join("/") })
    }

    /// Where it is in a plan's list of stages.
    pub fn stage_key(&self) -> String {
        format!("{}/{}", self.api, self.stage)
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.api, self.stage, self.path)
    }
}

/// What a request with a key showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// The key got through, or is over its quota: API Gateway knows it.
    Recognised,
    /// API Gateway's own `ForbiddenException`: it does not know the key there.
    Refused,
    /// Something else answered, or nobody did: it tells nothing about the key.
    Inconclusive(String),
}

/// Sends probes.
#[derive(Clone, Debug)]
pub struct Prober {
    ports: Ports,
    /// With `{api}` in it, the Region filled in.
    endpoint: String,
}

impl Prober {
    /// `template` is the setting `ROTATOR_EXECUTE_API`.
    pub fn new(ports: Ports, template: &str, region: &str) -> Self {
        Self { ports, endpoint: template.replace("{region}", region) }
    }

    /// The URL of a stage, as a consumer would be told.
    pub fn endpoint(&self, probe: &Probe) -> String {
        format!("{}/{}", self.endpoint.replace("{api}", &probe.api), probe.stage)
    }

    /// One GET with that key, on a new connection.
    pub async fn send(&self, probe: &Probe, key: &SecretValue) -> Recognition {
        let url = format!("{}/{}", self.endpoint(probe), probe.path);
        let Ok(mut request) = HttpRequest::get(&url) else {
            return Recognition::Inconclusive(format!("{url} is not a URL"));
        };
        request.headers_mut().insert("x-api-key", key.expose().to_owned());
        // Whoever looks into the access log for who uses a key can tell us from others.
        request.headers_mut().insert("user-agent", AGENT);
        request.headers_mut().insert("connection", "close");
        let connection = self.ports.wire.fresh();
        let answer = tokio::select! {
            biased;
            answer = connection.call(request) => answer,
            () = self.ports.clock.sleep(TimeDelta::seconds(10)) => {
                return Recognition::Inconclusive("no answer within 10 s".into());
            }
        };
        match answer {
            Err(error) => {
                Recognition::Inconclusive(if error.is_timeout() { "no answer in time" } else { "no connection" }.into())
            }
            Ok(answer) => {
                let error = answer.headers().get("x-amzn-errortype").unwrap_or_default();
                recognise(answer.status().as_u16(), error.split(':').next().unwrap_or_default())
            }
        }
    }
}

fn recognise(status: u16, error: &str) -> Recognition {
    match (status, error) {
        (200..=299, _) | (429, "LimitExceededException") => Recognition::Recognised,
        // An API may give its INVALID_API_KEY response another status; AWS's own example of a gateway response has 456.
        (400..=499, "ForbiddenException") => Recognition::Refused,
        // The key got through to a back end that has an opinion of its own.
        (400 | 401 | 404 | 405 | 409 | 410 | 415 | 422, "") => Recognition::Recognised,
        (_, error) if error.ends_with("Exception") => {
            Recognition::Inconclusive(format!("the answer was {status} {error}"))
        }
        // Whatever a back end says may quote the key.
        (_, _) => Recognition::Inconclusive(format!("the answer was {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_an_api_a_stage_and_a_plain_path() {
        let probe = Probe::parse("a1b2c3/prod/v1/ping").unwrap();
        assert_eq!((probe.api.as_str(), probe.stage.as_str(), probe.path.as_str()), ("a1b2c3", "prod", "v1/ping"));
        assert_eq!(Probe::parse("a1/prod").unwrap().path, "");
    }

    #[test]
    fn a_host_or_a_way_out_of_the_stage_is_refused() {
        for bad in [
            "",
            "a1",
            "a1/",
            "a1/prod/",
            "a1/prod/../x",
            "a1/prod/./x",
            "a1/prod//x",
            "evil.example/prod/x",
            "A1/prod/x",
            "https://a1/prod/x",
            "a1/prod/x?y",
            "a1/prod/x#y",
            "a1/prod/%2e%2e",
            "a1/pr od/x",
            "a1@evil/prod/x",
            "a1/prod/a\nb",
        ] {
            assert!(Probe::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_api_gateways_own_refusal_counts_as_one() {
        assert_eq!(recognise(403, "ForbiddenException"), Recognition::Refused);
        assert_eq!(recognise(456, "ForbiddenException"), Recognition::Refused);
        for (status, error) in [(403, ""), (403, "MissingAuthenticationTokenException"), (403, "AccessDeniedException")]
        {
            assert!(matches!(recognise(status, error), Recognition::Inconclusive(_)), "{status} {error}");
        }
        assert_eq!(recognise(429, "LimitExceededException"), Recognition::Recognised);
        assert!(matches!(recognise(429, "TooManyRequestsException"), Recognition::Inconclusive(_)));
        assert!(matches!(recognise(302, ""), Recognition::Inconclusive(_)));
        assert!(matches!(recognise(500, ""), Recognition::Inconclusive(_)));
    }
}
