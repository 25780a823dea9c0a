//! Those who sign tokens and those who verify them, each with the cache of a real one. What they verify with is
//! `jsonwebtoken`.

use std::collections::BTreeMap;

use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::byte_stream::ByteStream;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use rotator::jose::{Algorithm, PrivateJwk, compact, raw_signature, signing_input};
use rotator::key_sets::locate;
use serde_json::{Value, json};
use state::name::CredentialName;

use super::{ACME, Stage, Terms};

/// How long a token lives.
pub const TOKEN_LIFE: TimeDelta = TimeDelta::hours(1);
/// How long API Gateway's JWT authorizer goes on with a key set.
pub const TWO_HOURS: TimeDelta = TimeDelta::hours(2);
/// What an HTTP cache makes of `max-age`.
const MAX_AGE: TimeDelta = TimeDelta::minutes(5);
/// Longer than a standby must be published, by default.
pub const LEAD: TimeDelta = TimeDelta::hours(25);

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// The names of the keys in a key set, in their order.
    pub fn kids(&self) -> Vec<String> {
        let keys = self.json()["keys"].as_array().expect("a key set").clone();
        keys.iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
    }
}

impl Stage {
    pub async fn get(&self, url: &str, headers: &[(&'static str, &str)]) -> Answer {
        let mut request = HttpRequest::get(url).expect("a URL");
        for (name, value) in headers {
            request.headers_mut().insert(*name, (*value).to_owned());
        }
        let answer = self.aws.connector().call(request).await.expect("answered");
        let status = answer.status().as_u16();
        let headers = answer.headers().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let body = ByteStream::new(answer.into_body()).collect().await.expect("a body").into_bytes();
        Answer { status, headers, body: String::from_utf8(body.to_vec()).expect("text") }
    }

    /// Where a credential's key set is.
    pub fn key_set_url(&self, name: &str) -> String {
        let base = self.settings.jwks_url.as_deref().expect("set");
        locate(base, &CredentialName::parse(name).expect("a name"))
    }

    /// The key set, as somebody gets it who has none yet.
    pub async fn key_set(&self, name: &str) -> Answer {
        self.get(&self.key_set_url(name), &[]).await
    }

    /// The value that consumers read now.
    pub async fn document(&self, name: &str) -> Value {
        let read = self.secrets_manager().get_secret_value().secret_id(name).send().await.expect("readable");
        serde_json::from_str(read.secret_string().expect("text")).expect("JSON")
    }

    /// The state of a KMS key; `None` when it is deleted.
    pub fn kms_state(&self, arn: &str) -> Option<String> {
        self.aws.inspect_kms_keys().into_iter().find(|key| key.arn == arn).map(|key| key.state)
    }

    /// A signing credential with its first key, whose standby every verifier can know by now. Its ARN.
    pub async fn signing(&self, terms: &Terms) -> String {
        let arn = self.secret(ACME, "{}", terms).await;
        self.rotate(&arn).await;
        self.tick().await;
        self.pass(LEAD).await;
        arn
    }
}

/// A token, and by what its signer called its key.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    pub kid: String,
    pub expires: DateTime<Utc>,
}

/// Whoever reads the secret and signs with what it names.
#[derive(Clone, Debug, Default)]
pub struct Signer {
    cache: TimeDelta,
    held: Option<(DateTime<Utc>, Value)>,
}

impl Signer {
    /// One that reads the secret each time.
    pub fn prompt() -> Self {
        Self::default()
    }

    /// One that goes on with what it read.
    pub fn caching(cache: TimeDelta) -> Self {
        Self { cache, held: None }
    }

    /// One that has read that value just now, and does not read again for an hour.
    pub fn holding(now: DateTime<Utc>, value: Value) -> Self {
        Self { cache: TimeDelta::hours(1), held: Some((now, value)) }
    }

    /// A token; or why the key refuses to sign.
    pub async fn sign(&mut self, stage: &Stage, name: &str) -> Result<Token, String> {
        let now = stage.clock.now();
        if self.held.as_ref().is_none_or(|(read, _)| *read + self.cache <= now) {
            self.held = Some((now, stage.document(name).await));
        }
        let signer = &self.held.as_ref().expect("just read").1["signer"];
        let text = |member: &str| signer[member].as_str().unwrap_or_default();
        let kid = text("kid").to_owned();
        let algorithm = [text("algorithm"), text("alg")].into_iter().find_map(Algorithm::parse).expect("an algorithm");
        let expires = now + TOKEN_LIFE;
        let input = signing_input(algorithm, &kid, &json!({ "sub": "somebody", "exp": expires.timestamp() }));
        let signature = if signer.get("keyArn").is_some() {
            by_kms(stage, text("keyArn"), algorithm, input.as_bytes()).await?
        } else {
            PrivateJwk::read(signer).expect("a private key").sign(input.as_bytes()).expect("signed")
        };
        Ok(Token { text: compact(&input, &signature), kid, expires })
    }
}

async fn by_kms(stage: &Stage, key: &str, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, String> {
    let spec = match algorithm {
        Algorithm::Es256 => SigningAlgorithmSpec::EcdsaSha256,
        Algorithm::Es384 => SigningAlgorithmSpec::EcdsaSha384,
        Algorithm::EdDsa => SigningAlgorithmSpec::Ed25519Sha512,
        Algorithm::Rs256 => SigningAlgorithmSpec::RsassaPkcs1V15Sha256,
        Algorithm::Ps256 => SigningAlgorithmSpec::RsassaPssSha256,
    };
    let signed = stage.kms().sign().key_id(key).message(Blob::new(message)).message_type(MessageType::Raw);
    let signed =
        signed.signing_algorithm(spec).send().await.map_err(|error| format!("{:?}", error.as_service_error()))?;
    let signature = signed.signature.expect("a signature").into_inner();
    Ok(raw_signature(algorithm, &signature).expect("as KMS signs"))
}

/// Whoever fetches the key set and verifies tokens against it.
#[derive(Clone, Debug)]
pub struct Verifier {
    pub name: &'static str,
    cache: TimeDelta,
    /// Whether it fetches the key set anew when it meets an unknown `kid`.
    refetches: bool,
    held: Option<(DateTime<Utc>, JwkSet)>,
}

impl Verifier {
    /// As API Gateway's JWT authorizer is.
    pub fn authorizer() -> Self {
        Self { name: "authorizer", cache: TWO_HOURS, refetches: false, held: None }
    }

    /// One that keeps to `Cache-Control`.
    pub fn http_cache() -> Self {
        Self { name: "HTTP cache", cache: MAX_AGE, refetches: false, held: None }
    }

    /// As most libraries are.
    pub fn refetching() -> Self {
        Self { name: "refetching", cache: TWO_HOURS, refetches: true, held: None }
    }

    pub async fn accepts(&mut self, stage: &Stage, name: &str, token: &Token) -> bool {
        let now = stage.clock.now();
        if token.expires <= now {
            return false;
        }
        if self.held.as_ref().is_none_or(|(fetched, _)| *fetched + self.cache <= now) {
            self.fetch(stage, name).await;
        }
        if self.refetches && self.held.as_ref().is_none_or(|(_, keys)| keys.find(&token.kid).is_none()) {
            self.fetch(stage, name).await;
        }
        self.held.as_ref().is_some_and(|(_, keys)| verifies(keys, &token.text))
    }

    async fn fetch(&mut self, stage: &Stage, name: &str) {
        let answer = stage.key_set(name).await;
        if answer.status == 200 {
            self.held = Some((stage.clock.now(), serde_json::from_str(&answer.body).expect("a key set")));
        }
    }
}

/// As a verifier does: the key by its name, the algorithm that it is for, the signature. Its time was looked at before.
fn verifies(keys: &JwkSet, token: &str) -> bool {
    let header = jsonwebtoken::decode_header(token).expect("a token");
    let Some(key) = header.kid.as_deref().and_then(|kid| keys.find(kid)) else { return false };
    let stated = key.common.key_algorithm.map(|algorithm| algorithm.to_string());
    assert_eq!(stated.as_deref(), Some(format!("{:?}", header.alg)).as_deref(), "the key says what it is for");
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.set_required_spec_claims::<&str>(&[]);
    let key = DecodingKey::from_jwk(key).expect("a key");
    jsonwebtoken::decode::<Value>(token, &key, &validation).is_ok()
}

/// Signers and verifiers at work: every token is shown to every verifier for as long as it lives.
#[derive(Clone, Debug)]
pub struct Traffic {
    pub signers: Vec<Signer>,
    pub verifiers: Vec<Verifier>,
    pub live: Vec<Token>,
    pub shown: usize,
}

/// A token that a verifier did not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub verifier: &'static str,
    pub kid: String,
}

impl Traffic {
    /// One signer that reads the secret each time and one that caches it for an hour; one verifier of each sort.
    pub fn usual() -> Self {
        Self {
            signers: vec![Signer::prompt(), Signer::caching(TimeDelta::hours(1))],
            verifiers: vec![Verifier::authorizer(), Verifier::http_cache(), Verifier::refetching()],
            live: Vec::new(),
            shown: 0,
        }
    }

    /// Every signer signs once, every verifier is shown every token that lives.
    pub async fn round(&mut self, stage: &Stage) -> Vec<Rejection> {
        for signer in &mut self.signers {
            match signer.sign(stage, ACME).await {
                Ok(token) => self.live.push(token),
                Err(refused) => panic!("a signer can't sign: {refused}\n{}", stage.story(ACME).await),
            }
        }
        self.show(stage).await
    }

    /// Every verifier is shown every token that lives.
    pub async fn show(&mut self, stage: &Stage) -> Vec<Rejection> {
        self.live.retain(|token| token.expires > stage.clock.now());
        let mut rejected = Vec::new();
        for verifier in &mut self.verifiers {
            for token in &self.live {
                self.shown += 1;
                if !verifier.accepts(stage, ACME, token).await {
                    rejected.push(Rejection { verifier: verifier.name, kid: token.kid.clone() });
                }
            }
        }
        rejected
    }

    /// Goes on for a while, with retirement's ticks, and expects that no token is rejected.
    pub async fn goes_on(&mut self, stage: &Stage, time: TimeDelta, when: &str) {
        let end = stage.clock.now() + time;
        loop {
            let rejected = self.round(stage).await;
            let story = || stage.story(ACME);
            assert!(rejected.is_empty(), "{when}, at {}: {rejected:?}\n{}", stage.clock.now(), story().await);
            stage.assert_sound(ACME, when).await;
            if stage.clock.now() >= end {
                return;
            }
            stage.pass(TimeDelta::minutes(10)).await;
        }
    }
}

/// Nothing that a verifier is served holds a private member, however deep.
pub fn assert_public(answer: &Value) {
    let Some(body) = answer["body"].as_str().filter(|body| !body.is_empty()) else { return };
    walk(&serde_json::from_str(body).expect("JSON"), body);
}

fn walk(value: &Value, body: &str) {
    const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                assert!(!PRIVATE.contains(&name.as_str()), "{name} was served: {body}");
                walk(member, body);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, body)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
