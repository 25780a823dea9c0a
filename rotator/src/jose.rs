//! JSON Web Keys and signatures, as far as signing keys need them: RFC 7515 (JWS), 7517 (JWK), 7518 (algorithms), 7638
//! (thumbprints), 8037 (Ed25519).
//!
//! Keys are made and used by aws-lc; what they sign is verified by `jsonwebtoken` over RustCrypto. So no library checks
//! its own work, and neither do we. No clock is read here: a signature is all that is verified.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::encoding::{AsBigEndian, AsDer};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPairComponents, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm};
use pkcs8::ObjectIdentifier;
use pkcs8::spki::SubjectPublicKeyInfoRef;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::failure::{BadInput, Failure};
use crate::secret::SecretValue;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

const RSA_BITS: &str = "write 2048, 3072 or 4096";

/// How a token is signed: the `alg` of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Es256, Self::Es384, Self::EdDsa, Self::Rs256, Self::Ps256];

    /// Its name in RFC 7518 and 8037.
    pub fn word(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }

    /// Reads that name.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.word() == raw)
    }

    /// Whether its keys are RSA keys.
    pub fn is_rsa(self) -> bool {
        self.fits() == Fits::Rsa
    }

    fn fits(self) -> Fits {
        match self {
            Self::Es256 => Fits::Ec(&CURVES[0]),
            Self::Es384 => Fits::Ec(&CURVES[1]),
            Self::EdDsa => Fits::Ed25519,
            Self::Rs256 | Self::Ps256 => Fits::Rsa,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What keys an algorithm takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fits {
    Ec(&'static Curve),
    Ed25519,
    Rsa,
}

#[derive(Debug, PartialEq, Eq)]
struct Curve {
    /// As `crv` says it.
    name: &'static str,
    oid: ObjectIdentifier,
    /// The length of a coordinate, and of the private key, in bytes.
    length: usize,
    /// What it is used with.
    algorithm: Algorithm,
}

static CURVES: [Curve; 2] = [
    Curve { name: "P-256", oid: P256, length: 32, algorithm: Algorithm::Es256 },
    Curve { name: "P-384", oid: P384, length: 48, algorithm: Algorithm::Es384 },
];

impl Curve {
    fn signing(&self) -> &'static EcdsaSigningAlgorithm {
        // Fixed: raw r||s, as RFC 7518 (3.4) wants it.
        if self.algorithm == Algorithm::Es256 {
            &ECDSA_P256_SHA256_FIXED_SIGNING
        } else {
            &ECDSA_P384_SHA384_FIXED_SIGNING
        }
    }
}

const RSA_LENGTHS: [u32; 3] = [2_048, 3_072, 4_096];

/// The wishes `rotator:algorithm` and `rotator:rsa-bits`: which keys a signing credential has. Without the first they are
/// as the incumbent's, or ES256 if there is none; without the second an RSA key has as many bits as the incumbent's, or
/// 2,048.
pub fn wished(
    wishes: &BTreeMap<String, String>,
    incumbent: Option<&BTreeMap<String, String>>,
) -> Result<(Algorithm, u32), BadInput> {
    let before = incumbent.and_then(|facts| PublicJwk::parse(facts.get("jwk")?).ok());
    let algorithm = match wishes.get("algorithm") {
        None => before.as_ref().map_or(Algorithm::Es256, PublicJwk::algorithm),
        Some(found) => Algorithm::parse(found).ok_or_else(|| BadInput::Tag {
            tag: "algorithm",
            found: found.clone(),
            rule: "write one of ES256, ES384, EdDSA, RS256, PS256",
        })?,
    };
    let Some(found) = wishes.get("rsa-bits") else {
        let bits = before.and_then(|before| before.rsa_bits()).filter(|_| algorithm.is_rsa());
        return Ok((algorithm, bits.unwrap_or(2_048)));
    };
    let bad = |rule| BadInput::Tag { tag: "rsa-bits", found: found.clone(), rule };
    if !algorithm.is_rsa() {
        return Err(bad("remove it, or set rotator:algorithm to RS256 or PS256"));
    }
    let bits = found.parse().ok().filter(|bits| RSA_LENGTHS.contains(bits));
    Ok((algorithm, bits.ok_or_else(|| bad(RSA_BITS))?))
}

/// Why a public key can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Not of the form in which it should be.
    #[error("the public key can't be read")]
    Unreadable,
    /// Of another type or curve.
    #[error("the public key does not fit {0}")]
    Misfit(Algorithm),
    /// An RSA key that nobody should use (RFC 7518, 3.3), or that verifiers do not take.
    #[error("the RSA key has {0} bits: 2048 to 4096 are needed")]
    RsaBits(usize),
}

impl From<BadKey> for Failure {
    fn from(bad: BadKey) -> Self {
        BadInput::Argument { what: "the key", rule: bad.to_string() }.into()
    }
}

/// A public key with its name and the one algorithm that it is for. It has no member that could be private.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Members", try_from = "Members")]
pub struct PublicJwk {
    kid: String,
    algorithm: Algorithm,
    material: Material,
}

/// In base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Ec { curve: &'static Curve, x: String, y: String },
    Ed25519 { x: String },
    Rsa { n: String, e: String },
}

/// All that may stand in a public key of ours.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    kty: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    kid: String,
    alg: String,
    #[serde(rename = "use")]
    purpose: String,
}

impl PublicJwk {
    /// Reads the DER in which KMS and others give a public key, `SubjectPublicKeyInfo` of RFC 5280. Its `kid` is its
    /// thumbprint.
    pub fn from_spki(der: &[u8], algorithm: Algorithm) -> Result<Self, BadKey> {
        let spki = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| BadKey::Unreadable)?;
        let key = spki.subject_public_key.as_bytes().ok_or(BadKey::Unreadable)?;
        let (oid, misfit) = (spki.algorithm.oid, BadKey::Misfit(algorithm));
        let material = match algorithm.fits() {
            Fits::Ec(curve) => {
                if oid != EC || spki.algorithm.parameters_oid() != Ok(curve.oid) {
                    return Err(misfit);
                }
                point(curve, key).ok_or(BadKey::Unreadable)?
            }
            Fits::Ed25519 if oid != ED25519 => return Err(misfit),
            Fits::Ed25519 if key.len() != 32 => return Err(BadKey::Unreadable),
            Fits::Ed25519 => Material::Ed25519 { x: encode(key) },
            Fits::Rsa if oid != RSA => return Err(misfit),
            Fits::Rsa => {
                let key = pkcs1::RsaPublicKey::try_from(key).map_err(|_| BadKey::Unreadable)?;
                Material::Rsa { n: encode(key.modulus.as_bytes()), e: encode(key.public_exponent.as_bytes()) }
            }
        };
        Self::new(algorithm, material, None)
    }

    /// How long an RSA key is, if it is as long as ours may be.
    fn rsa_bits(&self) -> Option<u32> {
        let Material::Rsa { n, .. } = &self.material else { return None };
        let bits = u32::try_from(decode(n)?.len()).ok()? * 8;
        RSA_LENGTHS.contains(&bits).then_some(bits)
    }

    /// Reads the JSON that [`PublicJwk::to_json`] writes. A member that is not known to be public is refused.
    pub fn parse(json: &str) -> Result<Self, BadKey> {
        serde_json::from_str(json).map_err(|_| BadKey::Unreadable)
    }

    /// As one line of JSON.
    pub fn to_json(&self) -> String {
        json!(self).to_string()
    }

    /// Its name, by which a token says who signed it.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What it is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The SHA-256 thumbprint of RFC 7638: the same for everybody who has this key, whatever they call it.
    pub fn thumbprint(&self) -> String {
        self.material.thumbprint()
    }

    fn new(algorithm: Algorithm, material: Material, kid: Option<String>) -> Result<Self, BadKey> {
        material.check(algorithm)?;
        let kid = kid.unwrap_or_else(|| material.thumbprint());
        Ok(Self { kid, algorithm, material })
    }
}

impl Material {
    fn check(&self, algorithm: Algorithm) -> Result<(), BadKey> {
        let length = |raw: &str| decode(raw).map(|bytes| bytes.len()).ok_or(BadKey::Unreadable);
        match (algorithm.fits(), self) {
            (Fits::Ec(fit), Self::Ec { curve, x, y }) if fit == *curve => {
                let lengths = (length(x)?, length(y)?);
                if lengths == (curve.length, curve.length) { Ok(()) } else { Err(BadKey::Unreadable) }
            }
            (Fits::Ed25519, Self::Ed25519 { x }) => {
                if length(x)? == 32 {
                    Ok(())
                } else {
                    Err(BadKey::Unreadable)
                }
            }
            (Fits::Rsa, Self::Rsa { n, e }) => {
                if length(e)? == 0 {
                    return Err(BadKey::Unreadable);
                }
                let modulus = decode(n).ok_or(BadKey::Unreadable)?;
                let first = *modulus.first().ok_or(BadKey::Unreadable)?;
                let bits = modulus.len() * 8 - first.leading_zeros() as usize;
                // RustCrypto, and so many a verifier, takes no longer ones.
                if (2_048..=4_096).contains(&bits) { Ok(()) } else { Err(BadKey::RsaBits(bits)) }
            }
            (Fits::Ec(_) | Fits::Ed25519 | Fits::Rsa, _) => Err(BadKey::Misfit(algorithm)),
        }
    }

    /// The members that RFC 7638 (3.2) hashes, which are the required ones. Sorted, as it wants them.
    fn required(&self) -> BTreeMap<&'static str, &str> {
        match self {
            Self::Ec { curve, x, y } => BTreeMap::from([("kty", "EC"), ("crv", curve.name), ("x", x), ("y", y)]),
            Self::Ed25519 { x } => BTreeMap::from([("kty", "OKP"), ("crv", "Ed25519"), ("x", x)]),
            Self::Rsa { n, e } => BTreeMap::from([("kty", "RSA"), ("n", n), ("e", e)]),
        }
    }

    fn thumbprint(&self) -> String {
        encode(&Sha256::digest(json!(self.required()).to_string()))
    }
}

impl From<PublicJwk> for Members {
    fn from(key: PublicJwk) -> Self {
        let mut members = key.material.required();
        let mut take = |name| members.remove(name).map(str::to_owned);
        Self {
            kty: take("kty").unwrap_or_default(),
            crv: take("crv"),
            x: take("x"),
            y: take("y"),
            n: take("n"),
            e: take("e"),
            alg: key.algorithm.word().into(),
            purpose: "sig".into(),
            kid: key.kid,
        }
    }
}

impl TryFrom<Members> for PublicJwk {
    type Error = BadKey;

    fn try_from(members: Members) -> Result<Self, BadKey> {
        let algorithm = Algorithm::parse(&members.alg).filter(|_| members.purpose == "sig");
        let algorithm = algorithm.ok_or(BadKey::Unreadable)?;
        let crv = members.crv.as_deref();
        let material = match (members.kty.as_str(), members.x, members.y, members.n, members.e) {
            ("EC", Some(x), Some(y), None, None) => Material::Ec { curve: curve(crv).ok_or(BadKey::Unreadable)?, x, y },
            ("OKP", Some(x), None, None, None) if crv == Some("Ed25519") => Material::Ed25519 { x },
            ("RSA", None, None, Some(n), Some(e)) if crv.is_none() => Material::Rsa { n, e },
            _ => return Err(BadKey::Unreadable),
        };
        Self::new(algorithm, material, Some(members.kid))
    }
}

/// A private key, with its public one. It shows itself to nobody.
pub struct PrivateJwk {
    public: PublicJwk,
    /// The private members, by name; `d` first.
    secrets: Vec<(&'static str, SecretValue)>,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl fmt::Debug for PrivateJwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateJwk({})", self.public.kid)
    }
}

/// The private members of an RSA key, RFC 7518 (6.3.2).
const RSA_SECRETS: [&str; 6] = ["d", "p", "q", "dp", "dq", "qi"];

impl PrivateJwk {
    /// Makes a key. Its `kid` is its thumbprint.
    ///
    /// Randomness is aws-lc's own, from the operating system: it takes none from its caller, and its health checks
    /// are worth more here than a key that can be foretold in a test. `rsa_bits` is for RSA alone: 2048, 3072 or 4096.
    pub fn generate(algorithm: Algorithm, rsa_bits: u32) -> Result<Self, Failure> {
        let failed = |_| Failure::NotYet(format!("no key for {algorithm} could be made: the system has no randomness"));
        match algorithm.fits() {
            Fits::Ec(curve) => {
                let pair = EcdsaKeyPair::generate(curve.signing()).map_err(failed)?;
                let d = pair.private_key().as_be_bytes().map_err(failed)?;
                let material = point(curve, pair.public_key().as_ref()).ok_or(MADE_UNFIT)?;
                Self::made(algorithm, material, vec![("d", secret(d.as_ref()))], Pair::Ec(pair))
            }
            Fits::Ed25519 => {
                let pair = Ed25519KeyPair::generate().map_err(failed)?;
                let seed = pair.seed().map_err(failed)?.as_be_bytes().map_err(failed)?;
                let material = Material::Ed25519 { x: encode(pair.public_key().as_ref()) };
                Self::made(algorithm, material, vec![("d", secret(seed.as_ref()))], Pair::Ed25519(pair))
            }
            Fits::Rsa => {
                let size = match rsa_bits {
                    2_048 => KeySize::Rsa2048,
                    3_072 => KeySize::Rsa3072,
                    4_096 => KeySize::Rsa4096,
                    other => {
                        return Err(BadInput::Tag { tag: "rsa-bits", found: other.to_string(), rule: RSA_BITS }.into());
                    }
                };
                let pair = RsaKeyPair::generate(size).map_err(failed)?;
                let der = pair.as_der().map_err(failed)?;
                let info = pkcs8::PrivateKeyInfo::try_from(der.as_ref()).map_err(|_| MADE_UNFIT)?;
                let key = pkcs1::RsaPrivateKey::try_from(info.private_key).map_err(|_| MADE_UNFIT)?;
                let material =
                    Material::Rsa { n: encode(key.modulus.as_bytes()), e: encode(key.public_exponent.as_bytes()) };
                let members =
                    [key.private_exponent, key.prime1, key.prime2, key.exponent1, key.exponent2, key.coefficient];
                let secrets = RSA_SECRETS.into_iter().zip(members.map(|member| secret(member.as_bytes()))).collect();
                Self::made(algorithm, material, secrets, Pair::Rsa(Box::new(pair)))
            }
        }
    }

    /// Reads the JSON text of a private key.
    pub fn parse(json: &SecretValue) -> Result<Self, BadInput> {
        // The parser's own message would quote the value.
        let value = serde_json::from_str(json.expose()).map_err(|_| NO_JWK)?;
        Self::read(&value)
    }

    /// Reads a private key. Its public members must belong to its private ones. A `kid` of the owner's stays; without
    /// one it is the thumbprint. Members that this service has no use for are left out.
    ///
    /// What is wrong with it is said without quoting any of it.
    pub fn read(jwk: &Value) -> Result<Self, BadInput> {
        let members = jwk.as_object().ok_or(NO_JWK)?;
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) if (1..=256).contains(&kid.len()) => Some(kid.clone()),
            Some(_) => return Err(BadInput::Value("has a JWK whose kid is not a text of 1 to 256 bytes")),
        };
        if members.get("use").is_some_and(|purpose| purpose != "sig") {
            return Err(BadInput::Value("has a JWK that is not for signatures: its use must be \"sig\""));
        }
        let named =
            match members.get("alg") {
                None => None,
                Some(word) => Some(word.as_str().and_then(Algorithm::parse).ok_or(BadInput::Value(
                    "has a JWK with an alg that is none of ES256, ES384, EdDSA, RS256, PS256",
                ))?),
            };
        let of = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
        let bytes = |name: &str| decode(of(name)).filter(|bytes| !bytes.is_empty());
        let (algorithm, material, names, pair) = match (of("kty"), of("crv")) {
            ("EC", crv) => {
                let curve =
                    curve(Some(crv)).ok_or(BadInput::Value("has an EC JWK whose crv is neither P-256 nor P-384"))?;
                let bad = BadInput::Value("has an EC JWK whose x, y and d are not one key in base64url of full length");
                let coordinate = |name| bytes(name).filter(|bytes| bytes.len() == curve.length).ok_or(bad.clone());
                let (x, y, d) = (coordinate("x")?, coordinate("y")?, coordinate("d")?);
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing(), &d, &point);
                let material = Material::Ec { curve, x: encode(&x), y: encode(&y) };
                (curve.algorithm, material, &RSA_SECRETS[..1], Pair::Ec(pair.map_err(|_| bad)?))
            }
            ("OKP", "Ed25519") => {
                let bad = BadInput::Value("has an OKP JWK whose x and d are not one key in base64url of 32 bytes each");
                let half = |name| bytes(name).filter(|bytes| bytes.len() == 32).ok_or(bad.clone());
                let (x, d) = (half("x")?, half("d")?);
                let pair = Ed25519KeyPair::from_seed_and_public_key(&d, &x).map_err(|_| bad)?;
                (Algorithm::EdDsa, Material::Ed25519 { x: encode(&x) }, &RSA_SECRETS[..1], Pair::Ed25519(pair))
            }
            ("OKP", _) => return Err(BadInput::Value("has an OKP JWK whose crv is not Ed25519")),
            ("RSA", _) => {
                if members.contains_key("oth") {
                    return Err(BadInput::Value("has an RSA JWK with more than two primes: use one with two"));
                }
                let missing = BadInput::Value("has an RSA JWK without all of n, e, d, p, q, dp, dq, qi in base64url");
                let member = |name| bytes(name).ok_or(missing.clone());
                let [d, p, q, dp, dq, qi] = RSA_SECRETS.map(member);
                let (n, e) = (member("n")?, member("e")?);
                let material = Material::Rsa { n: encode(&n), e: encode(&e) };
                let size =
                    "has an RSA JWK of less than 2048 or more than 4096 bits: use one of 2048, 3072 or 4096 bits";
                material.check(Algorithm::Rs256).map_err(|_| BadInput::Value(size))?;
                let public_key = RsaPublicKeyComponents { n: n.as_slice(), e: e.as_slice() };
                let (d, p, q, dp, dq, qi) = (d?, p?, q?, dp?, dq?, qi?);
                let pair = RsaKeyPair::from_components(&KeyPairComponents {
                    public_key,
                    d: d.as_slice(),
                    p: p.as_slice(),
                    q: q.as_slice(),
                    dP: dp.as_slice(),
                    dQ: dq.as_slice(),
                    qInv: qi.as_slice(),
                });
                let bad = BadInput::Value("has an RSA JWK whose n, e, d, p, q, dp, dq, qi are not one key");
                let algorithm = named.ok_or(BadInput::Value("has an RSA JWK without an alg: write RS256 or PS256"))?;
                (algorithm, material, &RSA_SECRETS[..], Pair::Rsa(Box::new(pair.map_err(|_| bad)?)))
            }
            _ => return Err(BadInput::Value("has a JWK whose kty is none of EC, OKP, RSA")),
        };
        let misfit = BadInput::Value(
            "has a JWK whose alg does not fit its key: ES256 takes P-256, ES384 P-384, EdDSA Ed25519, RS256 and PS256 RSA",
        );
        let algorithm = named.unwrap_or(algorithm);
        let public = PublicJwk::new(algorithm, material, kid).map_err(|_| misfit)?;
        let secrets = names.iter().map(|name| (*name, SecretValue::new(of(name)))).collect();
        Ok(Self { public, secrets, pair })
    }

    /// As JSON text, with everything that a signer needs.
    pub fn to_json(&self) -> SecretValue {
        SecretValue::new(self.to_value().to_string())
    }

    /// As a member of a document that is about to become a [`SecretValue`].
    pub fn to_value(&self) -> Value {
        let mut members = json!(self.public);
        for (name, secret) in &self.secrets {
            members[*name] = secret.expose().into();
        }
        members
    }

    /// The member that all else could be computed from.
    pub fn secret(&self) -> &SecretValue {
        &self.secrets[0].1
    }

    /// Its public key.
    pub fn public(&self) -> &PublicJwk {
        &self.public
    }

    /// A signature as it stands in a token, by any library that signs for consumers: raw r||s for ECDSA.
    pub fn sign(&self, input: &[u8]) -> Result<Vec<u8>, Failure> {
        let failed =
            |_| Failure::NotYet(format!("key {} could not sign: the system has no randomness", self.public.kid));
        match &self.pair {
            Pair::Ec(pair) => Ok(pair.sign(&SystemRandom::new(), input).map_err(failed)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(input).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let padding: &'static dyn RsaEncoding =
                    if self.public.algorithm == Algorithm::Ps256 { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &SystemRandom::new(), input, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }

    fn made(
        algorithm: Algorithm,
        material: Material,
        secrets: Vec<(&'static str, SecretValue)>,
        pair: Pair,
    ) -> Result<Self, Failure> {
        let public = PublicJwk::new(algorithm, material, None).map_err(|_| MADE_UNFIT)?;
        Ok(Self { public, secrets, pair })
    }
}

const NO_JWK: BadInput =
    BadInput::Value("has no private JWK where one should be: write an object with kty, d and so on");
const MADE_UNFIT: BadInput =
    BadInput::Value("was to have a key that the system made of another form than RFC 7518 says");

/// A signature as it stands in a token, of one as KMS gives it: raw r||s of DER for ECDSA, all others as they are.
pub fn raw_signature(algorithm: Algorithm, signature: &[u8]) -> Result<Vec<u8>, BadInput> {
    let bad = |_| BadInput::Argument { what: "the signature", rule: format!("it is none of {algorithm} in DER") };
    match algorithm {
        Algorithm::Es256 => Ok(p256::ecdsa::Signature::from_der(signature).map_err(bad)?.to_bytes().to_vec()),
        Algorithm::Es384 => Ok(p384::ecdsa::Signature::from_der(signature).map_err(bad)?.to_bytes().to_vec()),
        Algorithm::EdDsa | Algorithm::Rs256 | Algorithm::Ps256 => Ok(signature.to_vec()),
    }
}

/// What is signed: header and payload of a compact JWS, RFC 7515 (5.1).
pub fn signing_input(alg: impl fmt::Display, kid: &str, payload: &Value) -> String {
    let header = json!({ "alg": alg.to_string(), "kid": kid, "typ": "JWT" });
    format!("{}.{}", encode(header.to_string().as_bytes()), encode(payload.to_string().as_bytes()))
}

/// A compact JWS of what was signed and the signature.
pub fn compact(input: &str, signature: &[u8]) -> String {
    format!("{input}.{}", encode(signature))
}

/// Why a token was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// No compact JWS of an algorithm that is known.
    #[error("it is no token that can be read")]
    Malformed,
    /// It does not say who signed it.
    #[error("it names no key")]
    NoKid,
    /// The key set has no such key.
    #[error("the key set has no key {0:?}")]
    UnknownKid(String),
    /// The key is for another algorithm, or for none in particular.
    #[error("the key is not for the algorithm that it names")]
    OtherAlgorithm,
    /// The key itself is unfit.
    #[error("the key can't be used")]
    UnusableKey,
    /// Somebody else signed it, or something else.
    #[error("the signature is wrong")]
    WrongSignature,
}

/// Verifies a token as a verifier does: the key by its name, its algorithm, then the signature, by RustCrypto. Returns
/// what was signed. Its times are not looked at.
pub fn verify(jws: &str, keys: &JwkSet) -> Result<Value, Unverified> {
    let header = jsonwebtoken::decode_header(jws).map_err(|_| Unverified::Malformed)?;
    let kid = header.kid.ok_or(Unverified::NoKid)?;
    let key = keys.find(&kid).ok_or(Unverified::UnknownKid(kid))?;
    if key.common.key_algorithm != Some(KeyAlgorithm::from(header.alg)) {
        return Err(Unverified::OtherAlgorithm);
    }
    serde_json::from_slice(&signed_by(key, jws)?).map_err(|_| Unverified::Malformed)
}

/// The payload, if that key signed it by the algorithm that the header names.
fn signed_by(key: &Jwk, jws: &str) -> Result<Zeroizing<Vec<u8>>, Unverified> {
    let header = jsonwebtoken::decode_header(jws).map_err(|_| Unverified::Malformed)?;
    let (input, signature) = jws.rsplit_once('.').ok_or(Unverified::Malformed)?;
    let (_, payload) = input.split_once('.').ok_or(Unverified::Malformed)?;
    let key = DecodingKey::from_jwk(key).map_err(|_| Unverified::UnusableKey)?;
    match jsonwebtoken::crypto::verify(signature, input.as_bytes(), &key, header.alg) {
        Ok(true) => decode(payload).ok_or(Unverified::Malformed),
        Ok(false) => Err(Unverified::WrongSignature),
        Err(_) => Err(Unverified::UnusableKey),
    }
}

fn curve(name: Option<&str>) -> Option<&'static Curve> {
    CURVES.iter().find(|curve| Some(curve.name) == name)
}

/// An uncompressed point, SEC 1 (2.3.3).
fn point(curve: &'static Curve, bytes: &[u8]) -> Option<Material> {
    let (first, rest) = bytes.split_first()?;
    let (x, y) = rest.split_at_checked(curve.length)?;
    (*first == 4 && y.len() == curve.length).then(|| Material::Ec { curve, x: encode(x), y: encode(y) })
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn secret(bytes: &[u8]) -> SecretValue {
    SecretValue::new(encode(bytes))
}

fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    URL_SAFE_NO_PAD.decode(text).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod known_answers;
