//! Secrets by which a receiver of webhooks knows their sender: HMAC, in the form of Standard Webhooks, or as a JSON Web
//! Key for HS256, HS384 or HS512.
//!
//! Sender and receiver read the same value. During the overlap it names two secrets, `signing` and `alsoSigning`: the
//! sender signs with both, and the receiver accepts either, so it does not matter who reads the new value first.
//! Nothing has to be done anywhere else.

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::SecondsFormat;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value, json};
use state::Time;
use state::credential::{Proof, Version};
use state::decide::Drafted;
use state::policy::Policy;
use zeroize::Zeroizing;

use crate::failure::{BadInput, Failure};
use crate::jose::{compact, signing_input, verify};
use crate::kind::{Case, Facts, Kind, Sight};
use crate::member::{self, Places};
use crate::ports::Ports;
use crate::secret::SecretValue;

/// What a secret in the form of Standard Webhooks begins with.
const PREFIX: &str = "whsec_";
/// How long such a secret is, in bytes, by the specification of Standard Webhooks.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
const DEFAULT_LENGTH: usize = 32;

/// Where a value holds the secret to sign with. The one before stands beside it, so the value is an object.
const PLACES: Places = Places { usual: "signing", taken: &["provider", "alsoSigning", "until"] };

/// Webhook secrets.
#[derive(Debug)]
pub struct WebhookSecret {
    ports: Ports,
}

impl WebhookSecret {
    /// Secrets are drawn from the ports' randomness.
    pub fn new(ports: Ports) -> Self {
        Self { ports }
    }

    fn draw(&self, form: Form, length: usize, kid: &str) -> Signing {
        let mut key = Zeroizing::new(vec![0; length]);
        self.ports.entropy.fill(&mut key);
        Signing { form, kid: kid.to_owned(), key }
    }
}

#[async_trait]
impl Kind for WebhookSecret {
    fn name(&self) -> &'static str {
        "webhook-secret"
    }

    fn tags(&self) -> &'static [&'static str] {
        &["bytes", "algorithm", member::TAG]
    }

    fn places(&self) -> Option<Places> {
        Some(PLACES)
    }

    fn members(&self) -> &'static [&'static str] {
        PLACES.taken
    }

    fn key(&self, document: &SecretValue, policy: &Policy) -> Result<Option<SecretValue>, BadInput> {
        let name = PLACES.named(policy)?;
        Ok(parse(document)?.get(&name).map_or(Ok(None), Signing::read)?.map(|signing| signing.key()))
    }

    /// A secret that no record knows is called by the version of the secret that brought it: nobody else has a name
    /// for it.
    async fn recognise(&self, document: &SecretValue, sight: &Sight<'_>) -> Result<Option<Facts>, Failure> {
        let Some(key) = self.key(document, sight.policy)? else { return Ok(None) };
        if let (Some(current), Some(known)) = (sight.current, sight.known)
            && self.key(known, &current.policy)?.is_some_and(|known| known.same_as(&key))
        {
            return Ok(Some(current.provider.clone()));
        }
        let id = ("id".to_owned(), sight.carrier.to_string());
        Ok(Some(std::iter::once(id).chain(form(document, sight.policy)?).collect()))
    }

    async fn check(&self, case: &Case<'_>) -> Result<(), Failure> {
        PLACES.named(case.policy)?;
        Ok(wishes(case).map(drop)?)
    }

    async fn draft(&self, case: &Case<'_>, incumbent: Option<&SecretValue>) -> Result<SecretValue, Failure> {
        let (form, length) = wishes(case)?;
        let mut document = incumbent.map(parse).transpose()?.unwrap_or_default();
        document.entry("provider").or_insert_with(|| "webhook".into());
        document.remove("alsoSigning");
        document.remove("until");
        let usable = Signing::of(&document, case.replaced_form()).is_ok_and(|signing| signing.is_some());
        let before = document.remove(&PLACES.named(case.replaced_form())?);
        // A secret that strangers know proves nothing of who sent.
        if let (Some(before), Some(replaced)) = (before.filter(|_| usable), trusted(case)) {
            document.insert("alsoSigning".into(), before);
            // A value can't be changed, so this is said now. The old secret is refused its own overlap after promotion,
            // which is later: never before what is said here.
            let until = case.now + replaced.policy.overlap.delta();
            document.insert("until".into(), until.to_rfc3339_opts(SecondsFormat::Secs, true).into());
        }
        let drawn = self.draw(form, length, &case.version().id.to_string());
        document.insert(PLACES.named(case.policy)?, drawn.to_value());
        Ok(SecretValue::new(Value::Object(document).to_string()))
    }

    fn christen(&self, case: &Case<'_>, document: &SecretValue) -> Result<Drafted, Failure> {
        let version = case.version();
        let id = version.token().map(|token| ("id".to_owned(), token.to_string()));
        let also = version.replaces.as_ref().and_then(|replaces| replaces.generation);
        Ok(Drafted {
            provider: id.into_iter().chain(form(document, case.form())?).collect(),
            also: also.filter(|_| parse(document).is_ok_and(|document| document.contains_key("alsoSigning"))),
            ..Drafted::default()
        })
    }

    /// Whoever reads the value accepts it.
    async fn admit(&self, _case: &Case<'_>, _document: &SecretValue) -> Result<(Facts, Facts), Failure> {
        Ok((Facts::new(), Facts::new()))
    }

    /// Signs a message as a sender does who has read this very value, and verifies it as receivers do who have read
    /// it, or only the one before; by another library than the one that signed. A made-up secret must not do.
    async fn prove(&self, case: &Case<'_>, document: &SecretValue) -> Result<Proof, Failure> {
        let document = parse(document)?;
        let signing = Signing::of(&document, case.form())?;
        let signing = signing.ok_or(BadInput::Value("has no secret to sign with"))?;
        let also = document.get("alsoSigning").map(Signing::read).transpose()?.flatten();
        let id =
            format!("msg_{}", case.version.and_then(Version::token).map_or_else(String::new, |token| token.short()));
        let body = json!({ "test": id }).to_string();
        let message = Message { id: &id, sent: case.now, body: &body };
        let secrets: Vec<&Signing> = [Some(&signing), also.as_ref()].into_iter().flatten().collect();
        let signatures = sign(&secrets, &message);
        for secret in &secrets {
            if !accepts(secret, &message, &signatures) {
                return Err(BadInput::Value("has a secret whose signature a receiver refuses").into());
            }
        }
        let made_up = self.draw(signing.form, signing.key.len(), &signing.kid);
        if accepts(&made_up, &message, &signatures) {
            return Err(BadInput::Value("is accepted by a receiver who has a made-up secret").into());
        }
        let mut proven = vec![signing.form.word().to_owned()];
        proven.extend(also.map(|also| format!("{} by alsoSigning", also.form.word())));
        Ok(Proof { proven, unproven: Vec::new() })
    }

    /// Nothing is in the way where nothing is sent.
    async fn is_blocked(&self, _case: &Case<'_>, _incumbent: &SecretValue) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn confirm(&self, _case: &Case<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// Receivers stop by themselves: the value that they read names it no longer, or says until when.
    async fn suspend(&self, _: &Case<'_>, _: Option<&SecretValue>) -> Result<Facts, Failure> {
        Ok(Facts::new())
    }

    fn remains(&self) -> Option<String> {
        Some("Secrets Manager keeps its value until a hundred newer ones are there".into())
    }

    /// Secrets Manager can't destroy one version of a secret: the old value stays until a hundred newer ones are there.
    async fn destroy(&self, _case: &Case<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// By receivers who go by the current value: it does not name the secret, or the time is over for which it does.
    /// No receiver can be asked.
    async fn is_refused(
        &self,
        case: &Case<'_>,
        _: Option<&SecretValue>,
        _: Option<&SecretValue>,
    ) -> Result<Option<bool>, Failure> {
        let version = case.version();
        let Some(current) = case.credential.current() else { return Ok(None) };
        if current.generation == version.generation {
            return Ok(Some(false));
        }
        // What the value says was reckoned from its draft, before the promotion that this is reckoned from.
        let overlap = version.deactivated.map(|from| from + version.policy.overlap.delta());
        let is_named = current.also == Some(version.generation) && overlap.is_some_and(|until| case.now < until);
        Ok(Some(!is_named))
    }
}

/// The version that is replaced, if its secret is still worth something.
fn trusted<'c>(case: &Case<'c>) -> Option<&'c Version> {
    let replaced = case.version?.replaces.as_ref()?.generation?;
    case.credential.versions.get(&replaced).filter(|version| version.compromised.is_none())
}

/// How a message is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    StandardWebhooks,
    Hs256,
    Hs384,
    Hs512,
}

impl Form {
    const JWKS: [Self; 3] = [Self::Hs256, Self::Hs384, Self::Hs512];

    fn word(self) -> &'static str {
        match self {
            Self::StandardWebhooks => "standard-webhooks v1",
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::JWKS.into_iter().find(|form| form.word() == word)
    }

    /// The least length of a key, in bytes: for a JWK that of the hash, RFC 7518 (3.2).
    fn shortest(self) -> usize {
        match self {
            Self::StandardWebhooks => *LENGTHS.start(),
            Self::Hs256 => 32,
            Self::Hs384 => 48,
            Self::Hs512 => 64,
        }
    }

    fn hash(self) -> hmac::Algorithm {
        match self {
            Self::StandardWebhooks | Self::Hs256 => hmac::HMAC_SHA256,
            Self::Hs384 => hmac::HMAC_SHA384,
            Self::Hs512 => hmac::HMAC_SHA512,
        }
    }
}

/// A secret with the form in which it signs.
struct Signing {
    form: Form,
    /// A JWK's name; of no meaning otherwise.
    kid: String,
    key: Zeroizing<Vec<u8>>,
}

impl Signing {
    /// The secret to sign with in a document, if there is one already.
    fn of(document: &Map<String, Value>, policy: &Policy) -> Result<Option<Self>, BadInput> {
        document.get(&PLACES.named(policy)?).map_or(Ok(None), Self::read)
    }

    fn read(value: &Value) -> Result<Option<Self>, BadInput> {
        match value {
            Value::Null => Ok(None),
            Value::String(text) if text.is_empty() => Ok(None),
            Value::Object(members) if members.is_empty() => Ok(None),
            Value::String(text) => {
                let key = text.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok()).map(Zeroizing::new);
                let key = key.filter(|key| LENGTHS.contains(&key.len()));
                let bad = "has a secret that is not whsec_ and base64 of 24 to 64 bytes, as Standard Webhooks wants it";
                Ok(Some(Self {
                    form: Form::StandardWebhooks,
                    kid: String::new(),
                    key: key.ok_or(BadInput::Value(bad))?,
                }))
            }
            Value::Object(members) => Self::read_jwk(members).map(Some),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                Err(BadInput::Value("has a secret that is neither a text, whsec_..., nor a JWK"))
            }
        }
    }

    fn read_jwk(members: &Map<String, Value>) -> Result<Self, BadInput> {
        let of = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
        if of("kty") != "oct" {
            return Err(BadInput::Value("has a JWK that is no shared secret: its kty must be \"oct\""));
        }
        let form = Form::parse(of("alg"));
        let form = form.ok_or(BadInput::Value("has a JWK whose alg is none of HS256, HS384, HS512"))?;
        if of("kid").is_empty() {
            return Err(BadInput::Value("has a JWK without a kid, by which receivers tell secrets apart"));
        }
        let key = URL_SAFE_NO_PAD.decode(of("k")).map(Zeroizing::new);
        let key = key.map_err(|_| BadInput::Value("has a JWK whose k is not in base64url"))?;
        if key.len() < form.shortest() {
            return Err(BadInput::Value("has a JWK whose k is shorter than the hash of its alg: RFC 7518 forbids it"));
        }
        Ok(Self { form, kid: of("kid").to_owned(), key })
    }

    fn to_value(&self) -> Value {
        let key = self.key();
        match self.form {
            Form::StandardWebhooks => key.expose().into(),
            Form::Hs256 | Form::Hs384 | Form::Hs512 => {
                json!({ "kty": "oct", "kid": self.kid, "alg": self.form.word(), "use": "sig", "k": key.expose() })
            }
        }
    }

    /// The text that is worth stealing.
    fn key(&self) -> SecretValue {
        SecretValue::new(match self.form {
            Form::StandardWebhooks => format!("{PREFIX}{}", STANDARD.encode(&self.key)),
            Form::Hs256 | Form::Hs384 | Form::Hs512 => URL_SAFE_NO_PAD.encode(&self.key),
        })
    }

    fn hmac(&self, input: &str) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.form.hash(), &self.key), input.as_bytes())
    }
}

/// A webhook.
struct Message<'a> {
    id: &'a str,
    sent: Time,
    body: &'a str,
}

impl Message<'_> {
    /// What is signed by the specification of Standard Webhooks.
    fn content(&self) -> String {
        format!("{}.{}.{}", self.id, self.sent.timestamp(), self.body)
    }
}

/// What a sender adds to a message, as one line: for Standard Webhooks the header `webhook-signature`.
fn sign(secrets: &[&Signing], message: &Message<'_>) -> String {
    let signatures = secrets.iter().map(|secret| match secret.form {
        Form::StandardWebhooks => format!("v1,{}", STANDARD.encode(secret.hmac(&message.content()))),
        Form::Hs256 | Form::Hs384 | Form::Hs512 => {
            let input = signing_input(secret.form.word(), &secret.kid, &json!(message.body));
            let signature = secret.hmac(&input);
            compact(&input, signature.as_ref())
        }
    });
    signatures.collect::<Vec<_>>().join(" ")
}

/// Whether a receiver who has that secret accepts one of the signatures. RustCrypto verifies.
fn accepts(secret: &Signing, message: &Message<'_>, signatures: &str) -> bool {
    match secret.form {
        Form::StandardWebhooks => {
            let (key, content) = (DecodingKey::from_secret(&secret.key), message.content());
            signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,")).any(|signature| {
                let Ok(signature) = STANDARD.decode(signature) else { return false };
                let signature = URL_SAFE_NO_PAD.encode(signature);
                jsonwebtoken::crypto::verify(&signature, content.as_bytes(), &key, Algorithm::HS256).unwrap_or(false)
            })
        }
        Form::Hs256 | Form::Hs384 | Form::Hs512 => {
            let Ok(keys) = serde_json::from_value::<JwkSet>(json!({ "keys": [secret.to_value()] })) else {
                return false;
            };
            signatures.split(' ').any(|token| verify(token, &keys).is_ok_and(|payload| payload == message.body))
        }
    }
}

fn wishes(case: &Case<'_>) -> Result<(Form, usize), BadInput> {
    let wish = |tag: &str| case.policy.wishes.get(tag);
    let form = match wish("algorithm") {
        None => {
            let before = case.incumbent.and_then(|facts| facts.get("alg"));
            before.and_then(|word| Form::parse(word)).unwrap_or(Form::StandardWebhooks)
        }
        Some(found) => Form::parse(found).ok_or_else(|| BadInput::Tag {
            tag: "algorithm",
            found: found.clone(),
            rule: "write HS256, HS384 or HS512 for a JWK, or remove it for the form of Standard Webhooks",
        })?,
    };
    let default = form.shortest().max(DEFAULT_LENGTH);
    let Some(found) = wish("bytes") else { return Ok((form, default)) };
    let bad = |rule| BadInput::Tag { tag: "bytes", found: found.clone(), rule };
    let length = found.parse().ok().filter(|length| LENGTHS.contains(length));
    let length = length.ok_or_else(|| bad("write a whole number from 24 to 64"))?;
    if length < form.shortest() {
        return Err(bad(
            "a JWK's secret may not be shorter than its hash: at least 32 for HS256, 48 for HS384, 64 for HS512",
        ));
    }
    Ok((form, length))
}

/// The algorithm of a JWK, so that its successor is one, too; nothing of the form of Standard Webhooks.
fn form(document: &SecretValue, policy: &Policy) -> Result<Option<(String, String)>, BadInput> {
    let signing = Signing::of(&parse(document)?, policy)?;
    let form = signing.map(|signing| signing.form).filter(|form| *form != Form::StandardWebhooks);
    Ok(form.map(|form| ("alg".to_owned(), form.word().to_owned())))
}

fn parse(document: &SecretValue) -> Result<Map<String, Value>, BadInput> {
    document.members().ok_or(BadInput::Value("is not a JSON object: write for instance {\"signing\": \"...\"}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use chrono::{DateTime, TimeDelta};
    use state::credential::{Credential, Replaces, Stamp};
    use state::ledger::{Actor, Change};
    use state::name::{CredentialName, Token};

    use super::*;
    use crate::ports::Entropy;

    /// The example of the Standard Webhooks specification.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[derive(Debug)]
    struct Counting(std::sync::atomic::AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill_with(|| self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
    }

    fn kind() -> WebhookSecret {
        WebhookSecret::new(Ports { entropy: Arc::new(Counting(0.into())), ..Ports::real() })
    }

    fn now() -> Time {
        DateTime::from_timestamp(1_614_265_330, 0).unwrap()
    }

    fn token(digit: char) -> Token {
        Token::parse(&digit.to_string().repeat(36)).unwrap()
    }

    fn policy(wishes: &[(&str, &str)]) -> Policy {
        let kind = kind();
        let known = kind.known();
        let kind = ("rotator:kind".to_owned(), kind.name().to_owned());
        let tags = wishes.iter().map(|(tag, value)| (format!("rotator:{tag}"), (*value).to_owned()));
        Policy::from_tags(&tags.chain([kind]).collect(), &[known]).unwrap()
    }

    /// One version adopted, and another drafting, by other wishes.
    fn rotating(before: &Policy, wishes: &Policy) -> Credential {
        let stamp = Stamp { at: now(), until: now(), actor: Actor::Rotation, note: None };
        let adopted = Change::Adopted {
            generation: 1,
            carrier: token('1'),
            provider: BTreeMap::from([("id".into(), token('1').to_string())]),
            policy: before.clone(),
            fingerprint: None,
        };
        let drafting = Change::Drafting {
            generation: 2,
            token: token('2'),
            policy: wishes.clone(),
            replaces: Replaces { generation: Some(1), carrier: Some(token('1')) },
            drawn: None,
            trigger: None,
        };
        let empty = Credential::empty(CredentialName::parse("hooks/acme").unwrap(), "arn:1");
        empty.apply(adopted, &stamp).unwrap().credential.apply(drafting, &stamp).unwrap().credential
    }

    fn case(credential: &Credential) -> Case<'_> {
        let version = &credential.versions[&2];
        let incumbent = Some(&credential.versions[&1].provider);
        Case { credential, version: Some(version), incumbent, policy: &version.policy, now: now() }
    }

    fn read(document: &SecretValue) -> Value {
        serde_json::from_str(document.expose()).unwrap()
    }

    fn document(signing: Value) -> SecretValue {
        SecretValue::new(json!({ "provider": "webhook", "signing": signing, "team": "billing" }).to_string())
    }

    #[test]
    fn the_specifications_example_is_signed_and_verified() {
        let secret = Signing::read(&SECRET.into()).unwrap().unwrap();
        let message = Message { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", sent: now(), body: "{\"test\": 2432232314}" };
        assert_eq!(sign(&[&secret], &message), SIGNATURE);
        assert!(accepts(&secret, &message, SIGNATURE));
        assert!(accepts(&secret, &message, &format!("v1,AAAA {SIGNATURE} v1a,xyz")));
        assert!(!accepts(&secret, &Message { body: "{}", ..message }, SIGNATURE));
    }

    #[tokio::test]
    async fn a_draft_names_both_secrets_and_until_when() {
        let before = policy(&[("overlap", "P2D")]);
        let credential = rotating(&before, &policy(&[("overlap", "P7D")]));
        let (kind, case) = (kind(), case(&credential));
        let old = json!({
            "provider": "acme", "team": "billing", "signing": SECRET, "alsoSigning": "whsec_older", "until": "long ago",
        });
        let drafted = kind.draft(&case, Some(&SecretValue::new(old.to_string()))).await.unwrap();
        let document = read(&drafted);
        assert_eq!((&document["provider"], &document["team"]), (&json!("acme"), &json!("billing")));
        assert_eq!(document["alsoSigning"], SECRET);
        // The overlap of the one that goes, which is what it is suspended by.
        assert_eq!(document["until"], "2021-02-27T15:02:10Z");
        let signing = Signing::read(&document["signing"]).unwrap().unwrap();
        assert_eq!((signing.form, signing.key.len()), (Form::StandardWebhooks, 32));
        let said = kind.christen(&case, &drafted).unwrap();
        assert_eq!((said.provider["id"].as_str(), said.also), (token('2').as_str(), Some(1)));
        let proof = kind.prove(&case, &drafted).await.unwrap();
        assert_eq!(proof.proven, ["standard-webhooks v1", "standard-webhooks v1 by alsoSigning"]);
    }

    #[tokio::test]
    async fn a_compromised_or_unusable_secret_is_never_signed_with_again() {
        let wishes = policy(&[]);
        let mut credential = rotating(&wishes, &wishes);
        let kind = kind();
        for unusable in [json!(""), json!("whsec_!"), json!({ "kty": "EC" })] {
            let drafted = kind.draft(&case(&credential), Some(&document(unusable))).await.unwrap();
            assert!(read(&drafted).get("alsoSigning").is_none());
            assert_eq!(kind.christen(&case(&credential), &drafted).unwrap().also, None);
        }
        credential.versions.get_mut(&1).unwrap().compromised = Some(now());
        let drafted = read(&kind.draft(&case(&credential), Some(&document(SECRET.into()))).await.unwrap());
        assert!(drafted.get("alsoSigning").is_none() && drafted.get("until").is_none());
        assert_eq!(drafted["team"], "billing");
    }

    #[tokio::test]
    async fn a_jwk_of_each_hash_is_drawn_proved_and_follows_the_other_form() {
        for (word, length) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
            let credential = rotating(&policy(&[]), &policy(&[("algorithm", word)]));
            let (kind, case) = (kind(), case(&credential));
            let drafted = kind.draft(&case, Some(&document(SECRET.into()))).await.unwrap();
            let signing = &read(&drafted)["signing"];
            assert_eq!((&signing["alg"], &signing["kty"]), (&json!(word), &json!("oct")));
            assert_eq!(signing["kid"], case.version().id.to_string());
            assert_eq!(URL_SAFE_NO_PAD.decode(signing["k"].as_str().unwrap()).unwrap().len(), length);
            assert_eq!(kind.key(&drafted, case.policy).unwrap().unwrap().expose(), signing["k"].as_str().unwrap());
            let proof = kind.prove(&case, &drafted).await.unwrap();
            assert_eq!(proof.proven, [word, "standard-webhooks v1 by alsoSigning"]);
        }
    }

    #[tokio::test]
    async fn the_same_secret_in_another_version_is_the_same_and_another_one_is_called_by_its_carrier() {
        let wishes = policy(&[]);
        let credential = rotating(&wishes, &wishes);
        let (kind, known) = (kind(), document(SECRET.into()));
        let (current, carrier, name) = (Some(&credential.versions[&1]), token('9'), &credential.head.name);
        let sight = Sight { name, carrier: &carrier, policy: &wishes, current, known: Some(&known), is_ordered: false };
        let same = SecretValue::new(json!({ "signing": SECRET, "note": "by hand" }).to_string());
        assert_eq!(kind.recognise(&same, &sight).await.unwrap().unwrap()["id"], token('1').as_str());
        let other = document("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into());
        assert_eq!(kind.recognise(&other, &sight).await.unwrap().unwrap()["id"], token('9').as_str());
        let alone = Sight { current: None, known: None, ..sight };
        assert_eq!(kind.recognise(&same, &alone).await.unwrap().unwrap()["id"], token('9').as_str());
        assert!(kind.recognise(&document("".into()), &alone).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_secret_is_refused_once_the_current_value_names_it_no_longer_or_its_time_is_over() {
        let wishes = policy(&[("overlap", "P2D")]);
        let mut credential = rotating(&wishes, &wishes);
        let old = |credential: &Credential, days: i64| {
            let (credential, now) = (credential.clone(), now() + TimeDelta::days(days));
            async move {
                let policy = &credential.versions[&1].policy;
                let version = Some(&credential.versions[&1]);
                let case = Case { credential: &credential, version, incumbent: None, policy, now };
                kind().is_refused(&case, None, None).await.unwrap()
            }
        };
        assert_eq!(old(&credential, 9).await, Some(false), "it is current");
        credential.head.current = Some(2);
        credential.versions.get_mut(&1).unwrap().deactivated = Some(now());
        assert_eq!(old(&credential, 0).await, Some(true), "nothing names it");
        credential.versions.get_mut(&2).unwrap().also = Some(1);
        assert_eq!(old(&credential, 1).await, Some(false));
        assert_eq!(old(&credential, 2).await, Some(true));
    }

    #[test]
    fn a_wish_that_means_nothing_is_refused_by_name() {
        for (pairs, tag, remedy) in [
            (vec![("bytes", "23")], "rotator:bytes", "from 24 to 64"),
            (vec![("bytes", "65")], "rotator:bytes", "from 24 to 64"),
            (vec![("bytes", "many")], "rotator:bytes", "from 24 to 64"),
            (vec![("algorithm", "HS384"), ("bytes", "32")], "rotator:bytes", "48 for HS384"),
            (vec![("algorithm", "ES256")], "rotator:algorithm", "HS256, HS384 or HS512"),
            (vec![("algorithm", "standard-webhooks v1")], "rotator:algorithm", "remove it"),
        ] {
            let credential = rotating(&policy(&[]), &policy(&pairs));
            let said = wishes(&case(&credential)).unwrap_err().to_string();
            assert!(said.contains(tag) && said.contains(remedy), "{said}");
        }
        let credential = rotating(&policy(&[]), &policy(&[("algorithm", "HS256"), ("bytes", "64")]));
        assert_eq!(wishes(&case(&credential)), Ok((Form::Hs256, 64)));
    }

    #[test]
    fn an_unfit_value_is_refused_without_being_quoted() {
        let short = STANDARD.encode([7; 23]);
        for (bad, named) in [
            ("marked".to_owned(), "JSON"),
            ("[\"marked\"]".to_owned(), "object"),
            (json!({ "signing": ["marked"] }).to_string(), "whsec_"),
            (json!({ "signing": "marked" }).to_string(), "whsec_"),
            (json!({ "signing": format!("whsec_{short}") }).to_string(), "24 to 64"),
            (json!({ "signing": { "kty": "marked" } }).to_string(), "oct"),
            (json!({ "signing": { "kty": "oct", "alg": "marked" } }).to_string(), "HS256"),
            (json!({ "signing": { "kty": "oct", "alg": "HS256", "k": "marked" } }).to_string(), "kid"),
            (
                json!({ "signing": { "kty": "oct", "alg": "HS256", "kid": "a", "k": "marked!" } }).to_string(),
                "base64url",
            ),
            (json!({ "signing": { "kty": "oct", "alg": "HS256", "kid": "a", "k": "AAAA" } }).to_string(), "RFC 7518"),
        ] {
            let said = kind().key(&SecretValue::new(bad.as_str()), &policy(&[])).unwrap_err().to_string();
            assert!(said.contains(named) && !said.contains("marked") && !said.contains(&short), "{said}");
        }
        for empty in ["{}", r#"{"signing":""}"#, r#"{"signing":null}"#, r#"{"signing":{}}"#] {
            assert!(kind().key(&SecretValue::new(empty), &policy(&[])).unwrap().is_none());
        }
    }
}
