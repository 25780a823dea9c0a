//! Who is let in over a port: whoever asks by a name of this AWS's own, and, but for the data plane, signs with its key.
//!
//! The port is open to every program of this machine, and through a browser to every page that somebody looks at.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use chrono::NaiveDateTime;
use http::HeaderMap;
use http::header::ORIGIN;

use super::{EXECUTE_API_HOST, credential_scope, signed, text, without_port};

/// What whoever asks over a port signs with. Its `Debug` leaves the secret out.
#[derive(Clone)]
pub struct AccessKey {
    /// The access key id.
    pub id: String,
    /// The secret access key.
    pub secret: String,
}

/// Why AWS turns somebody away before it looks at what is asked, in its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stranger {
    /// In the JSON and REST protocols.
    pub(super) code: &'static str,
    /// In the query protocol.
    pub(super) query_code: &'static str,
    pub(super) message: &'static str,
}

const NOT_SIGNED: Stranger = Stranger {
    code: "MissingAuthenticationTokenException",
    query_code: "MissingAuthenticationToken",
    message: "Missing Authentication Token",
};

const UNKNOWN_KEY: Stranger = Stranger {
    code: "UnrecognizedClientException",
    query_code: "InvalidClientTokenId",
    message: "The security token included in the request is invalid.",
};

const WRONG_SIGNATURE: Stranger = Stranger {
    code: "InvalidSignatureException",
    query_code: "SignatureDoesNotMatch",
    message: "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
              Access Key and signing method. Consult the service documentation for details.",
};

impl AccessKey {
    /// Whether the request is signed with this key, by Signature Version 4 in its `Authorization`.
    ///
    /// When it was signed is not looked at: AWS refuses what is five minutes old, but this AWS's clock may run many times
    /// as fast as that of whoever signs, and nobody can listen on the loopback to repeat what they heard.
    pub(super) fn check(&self, request: &http::request::Parts, body: &Bytes) -> Result<(), Stranger> {
        let headers = &request.headers;
        let signature = signed(headers, "Signature").ok_or(NOT_SIGNED)?;
        if credential_scope(headers, 0).as_deref() != Some(&self.id) {
            return Err(UNKNOWN_KEY);
        }
        let expected = self.signature(request, body).ok_or(WRONG_SIGNATURE)?;
        verify_slices_are_equal(expected.as_bytes(), signature.as_bytes()).map_err(|_| WRONG_SIGNATURE)
    }

    /// The signature that the request would have if this key's owner had signed the same headers for the same moment,
    /// Region and service. `None` if it can't be signed.
    fn signature(&self, request: &http::request::Parts, body: &Bytes) -> Option<String> {
        let headers = &request.headers;
        let date = NaiveDateTime::parse_from_str(text(headers, "x-amz-date")?, "%Y%m%dT%H%M%SZ").ok()?;
        let (region, service) = (credential_scope(headers, 2)?, credential_scope(headers, 3)?);
        let mut settings = SigningSettings::default();
        // What was signed is told by `SignedHeaders`, and nothing else.
        settings.excluded_headers = None;
        let identity = Credentials::new(&self.id, &self.secret, None, None, "door").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&region)
            .name(&service)
            .time(SystemTime::from(date.and_utc()))
            .settings(settings)
            .build()
            .ok()?;
        let mut named = Vec::new();
        for name in signed(headers, "SignedHeaders")?.split(';') {
            for value in headers.get_all(name) {
                named.push((name, value.to_str().ok()?));
            }
        }
        let url = format!("http://localhost{}", request.uri.path_and_query()?);
        let signable = SignableBody::Bytes(body);
        let request = SignableRequest::new(request.method.as_str(), url, named.into_iter(), signable).ok()?;
        Some(sign(request, &params.into()).ok()?.into_parts().1)
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Whether this AWS is meant by that name (without its port): a name or an address of the loopback, or the name of an
/// API, which a client may have resolved to this machine. A page whose own name was made to lead here is not answered.
pub(super) fn is_own_name(host: &str, region: &str) -> bool {
    is_loopback(host)
        || host.split_once(EXECUTE_API_HOST).is_some_and(|(_, rest)| rest == format!("{region}.amazonaws.com"))
}

/// Whether a browser says that the request comes from a page that is not of this machine.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    headers.get_all(ORIGIN).iter().any(|origin| {
        // `null` is the origin of whoever does not say it.
        let host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| without_port(host));
        !host.is_some_and(is_loopback)
    })
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
        || host == "[::1]"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_loopback_and_the_regions_apis_are_its_own_names() {
        for own in [
            "localhost",
            "a.localhost",
            "127.0.0.1",
            "127.8.9.10",
            "[::1]",
            "api1.execute-api.localhost",
            "api1.execute-api.eu-west-1.amazonaws.com",
        ] {
            assert!(is_own_name(own, "eu-west-1"), "{own}");
        }
        for other in [
            "",
            "example.com",
            "127.0.0.1.example.com",
            "localhost.example.com",
            "10.0.0.1",
            "0.0.0.0",
            "api1.execute-api.example.com",
            "api1.execute-api.us-east-1.amazonaws.com",
            "api1.execute-api.eu-west-1.amazonaws.com.example.com",
            "secretsmanager.eu-west-1.amazonaws.com",
        ] {
            assert!(!is_own_name(other, "eu-west-1"), "{other}");
        }
    }

    #[test]
    fn an_origin_is_foreign_unless_it_is_of_this_machine() {
        let of = |origins: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(ORIGIN, HeaderValue::from_static(origin));
            }
            is_foreign(&headers)
        };
        for own in ["http://localhost:3000", "https://localhost", "http://127.0.0.1:80", "http://[::1]:1"] {
            assert!(!of(&[own]), "{own}");
        }
        assert!(!of(&[]), "no browser, or a page's own server");
        for foreign in ["null", "", "http://example.com", "http://localhost.example.com", "localhost"] {
            assert!(of(&[foreign]), "{foreign}");
        }
        assert!(of(&["http://localhost", "http://example.com"]));
    }

    #[test]
    fn the_secret_is_in_no_debug() {
        let key = AccessKey { id: "LOCAL1".into(), secret: "hidden".into() };
        assert_eq!(format!("{key:?}"), r#"AccessKey { id: "LOCAL1", .. }"#);
    }
}
