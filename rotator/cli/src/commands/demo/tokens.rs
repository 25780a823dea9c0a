//! Simulated signers and verifiers of JSON Web Tokens. Tokens are signed by KMS or by aws-lc and verified by
//! `jsonwebtoken` over RustCrypto: no library checks its own work.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use chrono::TimeDelta;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{DecodingKey, Validation};
use rotator::jose::{Algorithm, PrivateJwk, compact, raw_signature, signing_input};
use rotator::key_sets::DISCOVERY;
use serde_json::{Value, json};
use state::Time;
use state::name::CredentialName;

use super::crowd::{Held, Net, Reader, Tally, Users};
use super::stage::line;

/// Those who sign with one signing key, and those who trust it. Every token is shown to every verifier at once, and
/// again whenever somebody works until its life is over.
pub struct Tokens {
    name: CredentialName,
    signers: Vec<Reader>,
    verifiers: Vec<Verifier>,
    live: Vec<Token>,
    tally: Tally,
}

/// How long a token lives: the credential's `rotator:token-life`.
const TOKEN_LIFE: TimeDelta = TimeDelta::hours(1);
/// What verifiers allow for clocks that differ: `jsonwebtoken`'s default.
const LEEWAY: TimeDelta = TimeDelta::seconds(60);

struct Token {
    text: String,
    kid: String,
    expires: Time,
    /// The Secrets Manager version that its signer had read.
    version: String,
    /// The key that it was verified with, and whether it is that key's. A signature is what it is: it is computed once,
    /// while each verifier decides each time whether it trusts the key.
    checked: Option<(Jwk, bool)>,
}

/// Whoever fetches the key set and verifies tokens with it.
struct Verifier {
    habit: &'static str,
    /// Where the key set is.
    issuer: String,
    cache: Cache,
    /// Whether it fetches the key set anew when it meets an unknown `kid`.
    refetches: bool,
    held: Option<Fetched>,
    /// The keys whose tokens it was seen to reject.
    told: BTreeSet<String>,
}

/// For how long a verifier goes on with a key set.
#[derive(Clone, Copy)]
enum Cache {
    /// Whatever the answer says: the credential's `rotator:verifier-cache`.
    Fixed(TimeDelta),
    /// As `Cache-Control` says, and then asks whether it is still the same.
    Http,
}

struct Fetched {
    keys: JwkSet,
    etag: Option<String>,
    until: Time,
}

impl Tokens {
    /// Signers with that credential and verifiers who find its keys there.
    pub fn of(name: &CredentialName, issuer: &str) -> Box<Self> {
        let verifier = |habit, cache, refetches| {
            let told = BTreeSet::new();
            Verifier { habit, issuer: issuer.to_owned(), cache, refetches, held: None, told }
        };
        let two_hours = Cache::Fixed(TimeDelta::hours(2));
        Box::new(Self {
            name: name.clone(),
            signers: vec![Reader::prompt(), Reader::caching("caching", TimeDelta::hours(1))],
            verifiers: vec![
                // As API Gateway's JWT authorizer does.
                verifier("authorizer", two_hours, false),
                verifier("http-cache", Cache::Http, false),
                verifier("refetching", two_hours, true),
            ],
            live: Vec::new(),
            tally: Tally::default(),
        })
    }
}

#[async_trait]
impl Users for Tokens {
    fn name(&self) -> &CredentialName {
        &self.name
    }

    async fn work(&mut self, net: &Net, now: Time) -> Vec<String> {
        let Self { name, signers, verifiers, live, tally } = self;
        let mut lines = Vec::new();
        for signer in signers {
            let mut signed = sign(net, signer.current(net, name, now).await, now).await;
            if signed.is_none() {
                signer.read(net, name, "AWSCURRENT", now).await;
                signed = sign(net, signer.held.as_ref(), now).await;
                let then = if signed.is_some() { "signs" } else { "still refused" };
                let how = format!("signer {}: KMS refused, reads anew, {then}", signer.habit);
                lines.push(line("sign", name, &how));
            }
            match signed {
                Some(token) => live.push(token),
                None => {
                    tally.count(false, signer.held.as_ref().map(|held| held.version.as_str()), now);
                }
            }
        }
        live.retain(|token| now <= token.expires + LEEWAY);
        for verifier in verifiers {
            for token in live.iter_mut() {
                let accepted = verifier.accepts(net, token, now).await;
                if !tally.count(accepted, Some(&token.version), now) && verifier.told.insert(token.kid.clone()) {
                    let how = format!("verifier {}: rejects kid {}", verifier.habit, short(&token.kid));
                    lines.push(line("verify", name, &how));
                }
            }
        }
        lines
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }
}

/// A token; `None` if there is no key to sign with, or KMS refuses.
async fn sign(net: &Net, held: Option<&Held>, now: Time) -> Option<Token> {
    let held = held?;
    let kid = held.text("/signer/kid").to_owned();
    let algorithm = ["/signer/algorithm", "/signer/alg"].into_iter().find_map(|at| Algorithm::parse(held.text(at)))?;
    let expires = now + TOKEN_LIFE;
    let claims = json!({ "iss": held.text("/jwksUri"), "sub": "somebody", "exp": expires.timestamp() });
    let input = signing_input(algorithm, &kid, &claims);
    let key = held.text("/signer/keyArn");
    let signature = if key.is_empty() {
        PrivateJwk::read(held.document.get("signer")?).ok()?.sign(input.as_bytes()).ok()?
    } else {
        let asked = net.kms.sign().key_id(key).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
        let asked = asked.message_type(MessageType::Raw).message(Blob::new(input.as_bytes()));
        raw_signature(algorithm, asked.send().await.ok()?.signature()?.as_ref()).ok()?
    };
    let version = held.version.clone();
    Some(Token { text: compact(&input, &signature), kid, expires, version, checked: None })
}

impl Verifier {
    async fn accepts(&mut self, net: &Net, token: &mut Token, now: Time) -> bool {
        if self.held.as_ref().is_none_or(|held| held.until <= now) {
            self.fetch(net, now).await;
        }
        let is_known = |held: &Fetched| held.keys.find(&token.kid).is_some();
        if self.refetches && !self.held.as_ref().is_some_and(is_known) {
            self.fetch(net, now).await;
        }
        let Some(key) = self.held.as_ref().and_then(|held| held.keys.find(&token.kid)) else { return false };
        if token.checked.as_ref().is_none_or(|(known, _)| known != key) {
            token.checked = Some((key.clone(), verifies(key, &token.text)));
        }
        token.checked.as_ref().is_some_and(|(_, verified)| *verified)
    }

    /// Without an answer it goes on with what it has.
    async fn fetch(&mut self, net: &Net, now: Time) {
        let jwks_uri = match self.cache {
            // As OpenID clients find it.
            Cache::Fixed(_) => {
                let Some(found) = net.get(&format!("{}/{DISCOVERY}", self.issuer), &[]).await else { return };
                let document: Value = serde_json::from_slice(&found.body).unwrap_or_default();
                document["jwks_uri"].as_str().unwrap_or_default().to_owned()
            }
            Cache::Http => self.issuer.clone(),
        };
        let known = self.held.as_ref().and_then(|held| held.etag.clone());
        let condition = known.as_deref().map(|etag| ("if-none-match", etag));
        let Some(answer) = net.get(&jwks_uri, condition.as_slice()).await else { return };
        let until = now
            + match self.cache {
                Cache::Fixed(time) => time,
                Cache::Http => max_age(answer.headers.get("cache-control").map_or("", String::as_str)),
            };
        match (answer.status, &mut self.held) {
            (304, Some(held)) => held.until = until,
            (200, _) => {
                let Ok(keys) = serde_json::from_slice(&answer.body) else { return };
                let etag = answer.headers.get("etag").cloned();
                self.held = Some(Fetched { keys, etag, until });
            }
            (_, _) => {}
        }
    }
}

/// What `Cache-Control` says; nothing if it says nothing.
fn max_age(header: &str) -> TimeDelta {
    let said = header.split(',').find_map(|part| part.trim().strip_prefix("max-age="));
    TimeDelta::seconds(said.and_then(|seconds| seconds.parse().ok()).unwrap_or_default())
}

/// Whether that key signed the token, by the one algorithm that the key is for. Whether it has expired is asked of
/// another clock than this machine's.
fn verifies(key: &Jwk, token: &str) -> bool {
    let Some(algorithm) = key.common.key_algorithm.and_then(|named| named.to_string().parse().ok()) else {
        return false;
    };
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    let Ok(key) = DecodingKey::from_jwk(key) else { return false };
    jsonwebtoken::decode::<Value>(token, &key, &validation).is_ok()
}

/// The beginning of a key's name: enough to tell it from others.
pub fn short(kid: &str) -> &str {
    kid.get(..8).unwrap_or(kid)
}
