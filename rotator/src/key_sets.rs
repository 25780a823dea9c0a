//! Key sets: what verifiers fetch, rendered from the records, and fetched as a verifier would.
//!
//! A key set is never stored as a body. It follows from the records whenever it is read, so that a retired key
//! disappears at its deadline even if no job runs.

use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::byte_stream::ByteStream;
use chrono::TimeDelta;
use jsonwebtoken::jwk::JwkSet;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use state::Time;
use state::credential::{Credential, Proof, Version};
use state::lifecycle::State;
use state::name::CredentialName;
use state::period::Period;
use url::Url;

use crate::failure::{BadInput, Failure};
use crate::jose::{Algorithm, PrivateJwk, PublicJwk, compact, signing_input, verify};
use crate::kind::Case;
use crate::ports::Ports;

/// What ALB's JWT check takes at the most.
pub const MOST_BYTES: usize = 150_000;
/// Where the OpenID discovery document is, below an issuer.
pub const DISCOVERY: &str = ".well-known/openid-configuration";

/// All but what RFC 3986 leaves as it is, and the slashes of a name.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A key set as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    /// The JSON Web Key Set, RFC 7517.
    pub body: String,
    /// A strong validator, with its quotes.
    pub etag: String,
    /// The value of `Cache-Control`.
    pub cache_control: String,
    /// The algorithms of its keys, without doubles.
    pub algorithms: Vec<&'static str>,
}

/// How long a key set of that credential may be kept; `None` when nobody is to fetch its keys.
pub fn max_age(credential: &Credential) -> Option<Period> {
    let version = credential.current().or_else(|| credential.versions.values().next_back())?;
    Some(version.policy.publication.as_ref()?.max_age())
}

/// A credential's key set now; `None` when nobody is to fetch its keys, or it has none.
pub fn render(credential: &Credential, now: Time) -> Option<KeySet> {
    let mut published: Vec<&Version> = credential.published(now).collect();
    // Before its first key is current, a credential is what its candidate says.
    let publication = credential.current().or(published.first().copied())?.policy.publication.as_ref()?;
    // The signer first: some verifiers take the first key that fits.
    published.sort_by_key(|version| (version.state != State::Active, version.generation));
    let keys: Vec<PublicJwk> = published.into_iter().filter_map(public_key).collect();
    let mut algorithms: Vec<&'static str> = keys.iter().map(|key| key.algorithm().word()).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    let body = json!({ "keys": keys }).to_string();
    let digest =
        Sha256::digest(body.as_bytes()).iter().take(16).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    Some(KeySet {
        etag: format!("\"{digest}\""),
        cache_control: format!(
            "public, max-age={}, stale-if-error={}",
            publication.max_age().as_seconds(),
            publication.stale_if_error().as_seconds()
        ),
        algorithms,
        body,
    })
}

/// The public key of a version, as it is recorded.
fn public_key(version: &Version) -> Option<PublicJwk> {
    PublicJwk::parse(version.provider.get("jwk")?).ok()
}

/// Where key sets are fetched.
#[derive(Clone, Debug)]
pub struct KeySets {
    ports: Ports,
    base: Option<String>,
}

impl KeySets {
    /// `base` is the setting `ROTATOR_JWKS_URL`.
    pub fn new(ports: Ports, base: Option<&str>) -> Self {
        Self { ports, base: base.map(str::to_owned) }
    }

    /// The URL of a credential's key set, which is its issuer as well: the discovery document is below it.
    pub fn location(&self, name: &CredentialName) -> Result<String, BadInput> {
        let base = self.base.as_deref().ok_or_else(|| BadInput::Argument {
            what: "a signing key without a place to publish it",
            rule: "set ROTATOR_JWKS_URL to the URL below which the function jwks answers".into(),
        })?;
        Ok(locate(base, name))
    }

    /// The key set as a verifier gets it that has none yet: what a URL parser makes of the URL is what is asked for.
    pub async fn fetch(&self, name: &CredentialName) -> Result<JwkSet, Failure> {
        let url = self.location(name)?;
        let parsed = Url::parse(&url).ok();
        let mut request = parsed
            .and_then(|parsed| HttpRequest::get(String::from(parsed)).ok())
            .ok_or_else(|| BadInput::Argument { what: "ROTATOR_JWKS_URL", rule: format!("{url} is not a URL") })?;
        request.headers_mut().insert("user-agent", "rotator");
        request.headers_mut().insert("accept", "application/jwk-set+json, application/json");
        request.headers_mut().insert("cache-control", "no-cache");
        request.headers_mut().insert("connection", "close");
        let connection = self.ports.wire.fresh();
        let not_yet = |why: &str| Failure::NotYet(format!("{url}: {why}"));
        let answered = async {
            let answer = connection.call(request).await.map_err(|_| not_yet("no connection"))?;
            let status = answer.status().as_u16();
            if status != 200 {
                return Err(not_yet(&format!("the answer was {status}")));
            }
            let body =
                ByteStream::new(answer.into_body()).collect().await.map_err(|_| not_yet("the answer broke off"))?;
            serde_json::from_slice(&body.into_bytes()).map_err(|_| not_yet("the answer is no key set"))
        };
        tokio::select! {
            biased;
            answer = answered => answer,
            () = self.ports.clock.sleep(TimeDelta::seconds(10)) => Err(not_yet("no answer within 10 s")),
        }
    }

    /// Whether the key set has a key no longer. Another key set, or an empty one, says nothing: the current key must be in it.
    pub async fn is_withdrawn(&self, case: &Case<'_>, kid: &str) -> Result<bool, Failure> {
        let name = &case.credential.head.name;
        let keys = self.fetch(name).await?;
        let control = case.control().and_then(|current| current.provider.get("kid"));
        match control.filter(|control| keys.find(control).is_none()) {
            Some(control) => {
                let url = self.location(name)?;
                Err(Failure::NotYet(format!("{url} does not have the current key {control} either")))
            }
            None => Ok(keys.find(kid).is_none()),
        }
    }

    /// Whether the key set can be had at all from here.
    pub async fn is_reachable(&self, name: &CredentialName) -> bool {
        self.fetch(name).await.is_ok()
    }

    /// Signs a challenge as a signer does and verifies it as a verifier does, against the key set as published; then
    /// sees that a made-up key of the same name is refused. What verifies shares no code with what signs.
    pub async fn prove(
        &self,
        name: &CredentialName,
        kid: &str,
        algorithm: Algorithm,
        sign: impl AsyncFnOnce(&[u8]) -> Result<Vec<u8>, Failure>,
    ) -> Result<Proof, Failure> {
        let keys = self.fetch(name).await?;
        let url = self.location(name)?;
        if keys.find(kid).is_none() {
            return Err(Failure::NotYet(format!("{url} does not show {kid} yet")));
        }
        let mut nonce = [0; 16];
        self.ports.entropy.fill(&mut nonce);
        let challenge = json!({ "iss": url, "nonce": nonce });
        let input = signing_input(algorithm, kid, &challenge);
        let told = |token: String| verify(&token, &keys);
        let signed = compact(&input, &sign(input.as_bytes()).await?);
        if told(signed).map_err(|why| Failure::NotYet(format!("{url} does not verify a signature by {kid}: {why}")))?
            != challenge
        {
            return Err(Failure::NotYet(format!("{url} verifies something else than {kid} signed")));
        }
        let made_up = PrivateJwk::generate(algorithm, 2_048)?;
        if told(compact(&input, &made_up.sign(input.as_bytes())?)).is_ok() {
            return Err(Failure::NotYet(format!(
                "{url} verifies a signature by a made-up key: the test proves nothing"
            )));
        }
        Ok(Proof { proven: vec![url], unproven: Vec::new() })
    }
}

/// The URL of a credential's key set below that base.
pub fn locate(base: &str, name: &CredentialName) -> String {
    format!("{}/{}", base.trim_end_matches('/'), utf8_percent_encode(name.as_str(), ESCAPED))
}

/// The OpenID discovery document of an issuer whose key set is at its own URL: what API Gateway's JWT authorizer
/// reads.
pub fn discovery(issuer: &str, keys: &KeySet) -> Value {
    json!({
        "issuer": issuer,
        "jwks_uri": issuer,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": keys.algorithms,
    })
}
