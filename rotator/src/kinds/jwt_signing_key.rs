//! Keys that sign tokens, held in Secrets Manager as private JSON Web Keys: for signers that can't call KMS.
//!
//! Each key is made, and published, one generation before it signs. Until then no consumer may read it, so it rests in
//! a secret of its own, whose name follows from the version's id. `CreateSecret` takes a token, and refuses a second
//! value for the same name: so a key that a lost answer left behind is found, and is never made twice. It counts only if
//! it is the one to which the version committed itself: somebody else may have made that secret first.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Map, Value};
use state::credential::Proof;
use state::decide::Drafted;
use state::hold::{Hold, HoldReason};
use state::name::Token;
use state::policy::Policy;
use tracing::warn;
use uuid::Uuid;

use crate::aws::secrets::{NewSecret, Secrets};
use crate::failure::{BadInput, Failure, Fault};
use crate::jose::{PrivateJwk, wished};
use crate::key_sets::KeySets;
use crate::kind::{CREDENTIAL_TAG, Case, Facts, Kind, Sight, VERSION_TAG, tag_value};
use crate::secret::{Purpose, SecretValue};

/// What the names of the secrets begin with in which standbys rest. Not with the credential's own name: a consumer's
/// policy for `NAME-*` or `NAME/*` must not reach them.
pub const STANDBY_PREFIX: &str = "rotator-standby/";

/// Secrets Manager's limit for a secret's name, in characters.
const LONGEST_NAME: usize = 512;

/// JWT signing keys in Secrets Manager.
#[derive(Debug)]
pub struct JwtSigningKey {
    secrets: Secrets,
    key_sets: KeySets,
}

impl JwtSigningKey {
    /// A key is made from the system's own randomness, by the library that signs with it.
    pub fn new(secrets: Secrets, key_sets: KeySets) -> Self {
        Self { secrets, key_sets }
    }
}

#[async_trait]
impl Kind for JwtSigningKey {
    fn name(&self) -> &'static str {
        "jwt-signing-key"
    }

    fn tags(&self) -> &'static [&'static str] {
        &["algorithm", "rsa-bits"]
    }

    fn publishes(&self) -> bool {
        true
    }

    fn members(&self) -> &'static [&'static str] {
        &["provider", "jwksUri"]
    }

    fn key(&self, document: &SecretValue, _policy: &Policy) -> Result<Option<SecretValue>, BadInput> {
        Ok(signer(document)?.map(|key| SecretValue::new(key.secret().expose())))
    }

    async fn recognise(&self, document: &SecretValue, _sight: &Sight<'_>) -> Result<Option<Facts>, Failure> {
        Ok(signer(document)?.map(|key| {
            let mut facts = published(&key);
            facts.insert("id".into(), key.public().thumbprint());
            facts
        }))
    }

    async fn check(&self, case: &Case<'_>) -> Result<(), Failure> {
        wished(&case.policy.wishes, case.incumbent)?;
        self.key_sets.location(&case.credential.head.name)?;
        Ok(())
    }

    async fn draw(&self, case: &Case<'_>) -> Result<Option<SecretValue>, Failure> {
        let (algorithm, bits) = wished(&case.policy.wishes, case.incumbent)?;
        Ok(Some(PrivateJwk::generate(algorithm, bits)?.to_json()))
    }

    async fn mint(&self, case: &Case<'_>, drawn: Option<&SecretValue>) -> Result<Facts, Failure> {
        let document = drawn.ok_or_else(|| Failure::NotYet("no key is drawn yet".into()))?;
        let key = PrivateJwk::parse(document)?;
        let rest = Rest::of(case, case.version().id);
        let owner = case.credential.head.name.as_str();
        // It will be the credential's value: whoever may not decrypt that may not have it any earlier.
        let encrypted_by = self.secrets.particulars(&case.credential.head.arn).await?.encrypted_by;
        let new = NewSecret {
            name: &rest.name,
            token: &rest.token,
            description: &format!("A key of {owner} that does not sign yet"),
            document,
            encrypted_by: encrypted_by.as_deref(),
            tags: &BTreeMap::from([
                (CREDENTIAL_TAG.into(), tag_value(&case.credential.head.name)),
                (VERSION_TAG.into(), case.version().id.to_string()),
            ]),
        };
        match self.secrets.create(&new).await {
            Ok(_) => Ok(rest.facts(&key)),
            // There from before a crash: the first value wins for good.
            Err(failed) if failed.fault == Fault::Conflict => {
                let unseen = || Failure::NotYet(format!("{} exists but does not show its value yet", rest.name));
                self.find(case).await?.ok_or_else(unseen)
            }
            Err(failed) => Err(failed.into()),
        }
    }

    async fn find(&self, case: &Case<'_>) -> Result<Option<Facts>, Failure> {
        Ok(self.rests(case).await?.map(|(rest, key)| rest.facts(&key)))
    }

    async fn equip(&self, case: &Case<'_>) -> Result<Facts, Failure> {
        Ok(published(&self.standby(case).await?))
    }

    async fn draft(&self, case: &Case<'_>, incumbent: Option<&SecretValue>) -> Result<SecretValue, Failure> {
        let mut document = incumbent.map(parse).transpose()?.unwrap_or_default();
        let location = self.key_sets.location(&case.credential.head.name)?;
        document.entry("provider").or_insert_with(|| "jwt".into());
        document.entry("jwksUri").or_insert_with(|| location.into());
        document.insert("signer".into(), self.standby(case).await?.to_value());
        Ok(SecretValue::new(Value::Object(document).to_string()))
    }

    fn christen(&self, case: &Case<'_>, document: &SecretValue) -> Result<Drafted, Failure> {
        let version = case.version();
        let key = signer(document)?.ok_or(NO_SIGNER)?;
        match version.provider.get("kid") {
            Some(kid) if kid != key.public().kid() => {
                let found = key.public().kid();
                let detail = format!("the value holds key {found}, generation {} is key {kid}", version.generation);
                Err(Hold::new(HoldReason::KeyNotOurs, detail).into())
            }
            Some(_) | None => Ok(Drafted { provider: published(&key), ..Drafted::default() }),
        }
    }

    /// Verifiers have known the key for long: there is nothing to admit.
    async fn admit(&self, _case: &Case<'_>, _document: &SecretValue) -> Result<(Facts, Facts), Failure> {
        Ok((Facts::new(), Facts::new()))
    }

    async fn prove(&self, case: &Case<'_>, document: &SecretValue) -> Result<Proof, Failure> {
        let key = signer(document)?.ok_or(NO_SIGNER)?;
        let (kid, algorithm) = (key.public().kid(), key.public().algorithm());
        self.key_sets.prove(&case.credential.head.name, kid, algorithm, async |input: &[u8]| key.sign(input)).await
    }

    async fn is_blocked(&self, case: &Case<'_>, _incumbent: &SecretValue) -> Result<bool, Failure> {
        Ok(!self.key_sets.is_reachable(&case.credential.head.name).await)
    }

    async fn confirm(&self, _case: &Case<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// Withdrawing the key from the key set is what makes verifiers refuse it, and follows from the record. What is
    /// done here is for a standby: its secret goes, so that nobody can sign with it.
    async fn suspend(&self, case: &Case<'_>, _: Option<&SecretValue>) -> Result<Facts, Failure> {
        self.clear(case).await?;
        Ok(Facts::new())
    }

    fn remains(&self) -> Option<String> {
        Some("Secrets Manager keeps its value until a hundred newer ones are there".into())
    }

    /// Secrets Manager can't destroy one version of a secret: a value that consumers had stays until a hundred newer
    /// ones are there. Nobody trusts its key any more.
    async fn destroy(&self, case: &Case<'_>) -> Result<(), Failure> {
        self.clear(case).await
    }

    async fn is_refused(
        &self,
        case: &Case<'_>,
        _: Option<&SecretValue>,
        _: Option<&SecretValue>,
    ) -> Result<Option<bool>, Failure> {
        let Some(kid) = case.version().provider.get("kid") else { return Ok(None) };
        Ok(Some(self.key_sets.is_withdrawn(case, kid).await?))
    }
}

impl JwtSigningKey {
    /// The key that rests in a secret of the version's own, and where. One that was not drawn for it is a hold.
    async fn rests(&self, case: &Case<'_>) -> Result<Option<(Rest, PrivateJwk)>, Failure> {
        for id in case.version().ids() {
            let rest = Rest::of(case, id);
            if let Some(value) = self.secrets.value(&rest.name, &rest.token).await? {
                case.see_drawn(&value, Purpose::Mint, &rest.name)?;
                return Ok(Some((rest, PrivateJwk::parse(&value)?)));
            }
        }
        Ok(None)
    }

    /// Deletes the secrets in which a version's keys rested; none that somebody else made under their names.
    async fn clear(&self, case: &Case<'_>) -> Result<(), Failure> {
        for id in case.version().ids() {
            let rest = Rest::of(case, id);
            let Some(value) = self.secrets.value(&rest.name, &rest.token).await? else { continue };
            if case.see_drawn(&value, Purpose::Mint, &rest.name).is_ok() {
                self.secrets.delete(&rest.name).await?;
            } else {
                warn!(secret = rest.name, "left alone: another value is in it than the one that was drawn");
            }
        }
        Ok(())
    }

    /// The key of a version that is no consumer's yet: in its own secret, or, where a rotation that chose it was given
    /// up, in the value of that.
    async fn standby(&self, case: &Case<'_>) -> Result<PrivateJwk, Failure> {
        let version = case.version();
        if let Some((_, key)) = self.rests(case).await? {
            return Ok(key);
        }
        for carrier in version.carriers.iter().rev() {
            let Some(document) = self.secrets.value(&case.credential.head.arn, carrier).await? else { continue };
            // A token that a given-up rotation had used for this key may have been used for another since.
            if let Some(key) = signer(&document)?
                && version.provider.get("id") == Some(&key.public().thumbprint())
            {
                return Ok(key);
            }
        }
        let name = Rest::of(case, version.id).name;
        let detail = format!("the secret {name} with the key of generation {} is gone", version.generation);
        Err(Hold::new(HoldReason::KeyVanished, detail).into())
    }
}

/// Where a standby's key rests. Both follow from the version's id, so that a repeated creation is the same creation.
struct Rest {
    name: String,
    token: Token,
}

impl Rest {
    fn of(case: &Case<'_>, id: Uuid) -> Self {
        let id = id.to_string();
        // The id alone tells secrets apart; the name is for people, and may be cut.
        let room = LONGEST_NAME - STANDBY_PREFIX.len() - 1 - id.len();
        let name: String = case.credential.head.name.as_str().chars().take(room).collect();
        Self { name: format!("{STANDBY_PREFIX}{name}/{id}"), token: Token::derived(&format!("standby {id}")) }
    }

    fn facts(&self, key: &PrivateJwk) -> Facts {
        BTreeMap::from([("id".into(), key.public().thumbprint()), ("standby".into(), self.name.clone())])
    }
}

/// What verifiers are told.
fn published(key: &PrivateJwk) -> Facts {
    let public = key.public();
    BTreeMap::from([
        ("kid".into(), public.kid().to_owned()),
        ("alg".into(), public.algorithm().word().to_owned()),
        ("jwk".into(), public.to_json()),
    ])
}

const NO_SIGNER: BadInput = BadInput::Value("has no signer");

/// The private key in a value, if it has one already.
fn signer(document: &SecretValue) -> Result<Option<PrivateJwk>, BadInput> {
    match parse(document)?.get("signer") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(members)) if members.is_empty() => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(jwk) => PrivateJwk::read(jwk).map(Some),
    }
}

fn parse(document: &SecretValue) -> Result<Map<String, Value>, BadInput> {
    document.members().ok_or(BadInput::Value("is not a JSON object: write for instance {\"signer\": {...}}"))
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, SdkConfig};
    use chrono::DateTime;
    use serde_json::json;
    use state::Time;
    use state::credential::{Credential, Stamp};
    use state::ledger::{Actor, Change};
    use state::name::CredentialName;

    use super::*;
    use crate::jose::Algorithm;

    fn kind(base: Option<&str>) -> JwtSigningKey {
        let nowhere = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        JwtSigningKey::new(Secrets::new(&nowhere), KeySets::new(crate::ports::Ports::real(), base))
    }

    fn now() -> Time {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn policy(wishes: &[(&str, &str)]) -> Policy {
        let kind = kind(None);
        let known = kind.known();
        let tags = wishes.iter().map(|(tag, value)| (format!("rotator:{tag}"), (*value).to_owned()));
        let tags = tags.chain([("rotator:kind".to_owned(), kind.name().to_owned())]).collect();
        Policy::from_tags(&tags, &[known]).unwrap()
    }

    fn minting(name: &str, wishes: &[(&str, &str)], provider: Facts) -> Credential {
        let policy = policy(wishes);
        let stamp = Stamp { at: now(), until: now(), actor: Actor::Retirement, note: None };
        let empty = Credential::empty(CredentialName::parse(name).unwrap(), "arn:1");
        let minting = empty.apply(Change::Minting { generation: 1, policy, drawn: None }, &stamp).unwrap().credential;
        let minted = Change::Minted { generation: 1, provider, found: false };
        minting.apply(minted, &stamp).unwrap().credential
    }

    fn case(credential: &Credential) -> Case<'_> {
        let version = &credential.versions[&1];
        Case { credential, version: Some(version), incumbent: None, policy: &version.policy, now: now() }
    }

    fn document(signer: Value) -> SecretValue {
        SecretValue::new(json!({ "provider": "jwt", "signer": signer }).to_string())
    }

    #[tokio::test]
    async fn an_owners_key_keeps_its_name_and_is_told_from_others_by_its_thumbprint() {
        let made = PrivateJwk::generate(Algorithm::EdDsa, 0).unwrap();
        let mut jwk = made.to_value();
        jwk["kid"] = "2026-a".into();
        let (kind, value, policy) = (kind(None), document(jwk), policy(&[]));
        assert!(kind.key(&value, &policy).unwrap().unwrap().same_as(made.secret()));
        let (name, carrier) = (CredentialName::parse("orders/issuer").unwrap(), Token::derived("carrier"));
        let sight =
            Sight { name: &name, carrier: &carrier, policy: &policy, current: None, known: None, is_ordered: false };
        let facts = kind.recognise(&value, &sight).await.unwrap().unwrap();
        assert_eq!(facts["id"], made.public().thumbprint());
        assert_eq!((facts["kid"].as_str(), facts["alg"].as_str()), ("2026-a", "EdDSA"));
        assert!(!facts["jwk"].contains(made.secret().expose()));
    }

    #[test]
    fn a_value_with_a_place_for_a_key_has_none_yet() {
        for empty in ["{}", r#"{"signer":null}"#, r#"{"signer":{}}"#, r#"{"signer":""}"#] {
            assert!(kind(None).key(&SecretValue::new(empty), &policy(&[])).unwrap().is_none(), "{empty}");
        }
    }

    #[test]
    fn an_unfit_value_is_refused_without_being_quoted() {
        for bad in ["marked", "\"marked\"", r#"{"signer":"marked"}"#, r#"{"signer":{"kty":"EC","d":"marked"}}"#] {
            let said = kind(None).key(&SecretValue::new(bad), &policy(&[])).unwrap_err().to_string();
            assert!(!said.contains("marked"), "{said}");
        }
    }

    #[test]
    fn a_standby_rests_where_no_policy_for_its_credential_reaches_and_its_name_fits() {
        for name in ["tokens/acme".to_owned(), "n".repeat(512)] {
            let credential = minting(&name, &[], Facts::new());
            let rest = Rest::of(&case(&credential), credential.versions[&1].id);
            assert!(rest.name.starts_with(STANDBY_PREFIX) && !rest.name.starts_with(&name), "{}", rest.name);
            assert!(rest.name.ends_with(&credential.versions[&1].id.to_string()));
            assert!(CredentialName::parse(&rest.name).is_ok());
            assert_eq!(rest.token, Rest::of(&case(&credential), credential.versions[&1].id).token);
        }
    }

    #[test]
    fn a_value_with_another_key_than_the_standbys_is_not_ours() {
        let made = PrivateJwk::generate(Algorithm::Es256, 0).unwrap();
        let credential = minting("tokens/acme", &[], published(&made));
        let said = kind(None).christen(&case(&credential), &document(made.to_value())).unwrap();
        assert_eq!((&said.provider["kid"], said.also), (&made.public().thumbprint(), None));
        let other = PrivateJwk::generate(Algorithm::Es256, 0).unwrap();
        let failure = kind(None).christen(&case(&credential), &document(other.to_value())).unwrap_err();
        assert_eq!(failure.as_hold().unwrap().reason, HoldReason::KeyNotOurs);
        assert!(kind(None).christen(&case(&credential), &document(json!({}))).is_err());
    }

    #[tokio::test]
    async fn wishes_that_can_not_be_met_are_refused_before_anything_is_made() {
        let place = Some("https://keys.example/v1/jwks");
        for (base, wishes, named) in [
            (place, vec![("algorithm", "HS256")], "rotator:algorithm"),
            (place, vec![("rsa-bits", "3072")], "rotator:rsa-bits"),
            (None, vec![("algorithm", "ES384")], "ROTATOR_JWKS_URL"),
        ] {
            let credential = minting("tokens/acme", &wishes, Facts::new());
            let said = kind(base).check(&case(&credential)).await.unwrap_err().to_string();
            assert!(said.contains(named), "{said}");
        }
        let fine = minting("tokens/acme", &[("algorithm", "PS256"), ("rsa-bits", "3072")], Facts::new());
        assert!(kind(place).check(&case(&fine)).await.is_ok());
    }
}
