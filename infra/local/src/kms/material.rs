//! The key material and what is done with it: real signatures and MACs, over aws-lc.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::core::{Context, ServiceError};

/// The kinds of key that are modelled, by AWS's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum KeySpec {
    #[serde(rename = "SYMMETRIC_DEFAULT")]
    SymmetricDefault,
    #[serde(rename = "HMAC_256")]
    Hmac256,
    #[serde(rename = "HMAC_384")]
    Hmac384,
    #[serde(rename = "HMAC_512")]
    Hmac512,
    #[serde(rename = "ECC_NIST_P256")]
    P256,
    #[serde(rename = "ECC_NIST_P384")]
    P384,
    #[serde(rename = "ECC_NIST_EDWARDS25519")]
    Edwards25519,
    #[serde(rename = "RSA_2048")]
    Rsa2048,
    #[serde(rename = "RSA_3072")]
    Rsa3072,
    #[serde(rename = "RSA_4096")]
    Rsa4096,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum KeyUsage {
    EncryptDecrypt,
    SignVerify,
    GenerateVerifyMac,
}

impl KeySpec {
    pub(super) fn usage(self) -> KeyUsage {
        match self {
            Self::SymmetricDefault => KeyUsage::EncryptDecrypt,
            Self::Hmac256 | Self::Hmac384 | Self::Hmac512 => KeyUsage::GenerateVerifyMac,
            Self::P256 | Self::P384 | Self::Edwards25519 | Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => {
                KeyUsage::SignVerify
            }
        }
    }

    pub(super) fn mac_algorithm(self) -> Option<MacAlgorithm> {
        match self {
            Self::Hmac256 => Some(MacAlgorithm::Sha256),
            Self::Hmac384 => Some(MacAlgorithm::Sha384),
            Self::Hmac512 => Some(MacAlgorithm::Sha512),
            Self::SymmetricDefault => None,
            Self::P256 | Self::P384 | Self::Edwards25519 | Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => None,
        }
    }

    pub(super) fn signing_algorithms(self) -> &'static [SigningAlgorithm] {
        use SigningAlgorithm as S;
        match self {
            Self::SymmetricDefault | Self::Hmac256 | Self::Hmac384 | Self::Hmac512 => &[],
            Self::P256 => &[S::EcdsaSha256],
            Self::P384 => &[S::EcdsaSha384],
            Self::Edwards25519 => &[S::Ed25519Sha512],
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => {
                &[S::Pkcs1Sha256, S::Pkcs1Sha384, S::Pkcs1Sha512, S::PssSha256, S::PssSha384, S::PssSha512]
            }
        }
    }
}

/// How a message is signed, by AWS's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SigningAlgorithm {
    #[serde(rename = "ECDSA_SHA_256")]
    EcdsaSha256,
    #[serde(rename = "ECDSA_SHA_384")]
    EcdsaSha384,
    #[serde(rename = "ED25519_SHA_512")]
    Ed25519Sha512,
    #[serde(rename = "RSASSA_PKCS1_V1_5_SHA_256")]
    Pkcs1Sha256,
    #[serde(rename = "RSASSA_PKCS1_V1_5_SHA_384")]
    Pkcs1Sha384,
    #[serde(rename = "RSASSA_PKCS1_V1_5_SHA_512")]
    Pkcs1Sha512,
    #[serde(rename = "RSASSA_PSS_SHA_256")]
    PssSha256,
    #[serde(rename = "RSASSA_PSS_SHA_384")]
    PssSha384,
    #[serde(rename = "RSASSA_PSS_SHA_512")]
    PssSha512,
}

impl SigningAlgorithm {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::EcdsaSha256 | Self::Pkcs1Sha256 | Self::PssSha256 => &digest::SHA256,
            Self::EcdsaSha384 | Self::Pkcs1Sha384 | Self::PssSha384 => &digest::SHA384,
            Self::Ed25519Sha512 | Self::Pkcs1Sha512 | Self::PssSha512 => &digest::SHA512,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::EcdsaSha256 => &signature::ECDSA_P256_SHA256_ASN1,
            Self::EcdsaSha384 => &signature::ECDSA_P384_SHA384_ASN1,
            Self::Ed25519Sha512 => &signature::ED25519,
            Self::Pkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Pkcs1Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Pkcs1Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::PssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::PssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::PssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
        }
    }

    fn rsa_encoding(self) -> Option<&'static dyn RsaEncoding> {
        match self {
            Self::EcdsaSha256 | Self::EcdsaSha384 | Self::Ed25519Sha512 => None,
            Self::Pkcs1Sha256 => Some(&signature::RSA_PKCS1_SHA256),
            Self::Pkcs1Sha384 => Some(&signature::RSA_PKCS1_SHA384),
            Self::Pkcs1Sha512 => Some(&signature::RSA_PKCS1_SHA512),
            Self::PssSha256 => Some(&signature::RSA_PSS_SHA256),
            Self::PssSha384 => Some(&signature::RSA_PSS_SHA384),
            Self::PssSha512 => Some(&signature::RSA_PSS_SHA512),
        }
    }
}

/// How a MAC is computed, by AWS's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum MacAlgorithm {
    #[serde(rename = "HMAC_SHA_256")]
    Sha256,
    #[serde(rename = "HMAC_SHA_384")]
    Sha384,
    #[serde(rename = "HMAC_SHA_512")]
    Sha512,
}

impl MacAlgorithm {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

/// What is signed.
pub(super) enum Message<'a> {
    /// The message itself.
    Raw(&'a [u8]),
    /// Its digest, by the signing algorithm's hash function.
    Digest(&'a [u8]),
}

/// A key: PKCS #8 for a pair, the bytes themselves for a MAC, in Base64. Never in a `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Material {
    spec: KeySpec,
    secret: String,
}

/// A key pair, parsed.
enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Material {
    /// MAC keys and Ed25519 keys come from the world's entropy; ECDSA and RSA keys are always the
    /// operating system's, since aws-lc takes no other.
    pub(super) fn generate(spec: KeySpec, cx: &mut Context<'_>) -> Result<Self, ServiceError> {
        let mut drawn = |length: usize| {
            let mut bytes = vec![0; length];
            (cx.entropy)(&mut bytes);
            bytes
        };
        let ecdsa = |algorithm| -> Result<Vec<u8>, Unspecified> {
            Ok(EcdsaKeyPair::generate(algorithm)?.to_pkcs8v1()?.as_ref().to_vec())
        };
        let rsa = |size| -> Result<Vec<u8>, Unspecified> {
            let der: Pkcs8V1Der<'_> = RsaKeyPair::generate(size)?.as_der()?;
            Ok(der.as_ref().to_vec())
        };
        let secret = match spec {
            KeySpec::SymmetricDefault | KeySpec::Hmac256 => Ok(drawn(32)),
            KeySpec::Hmac384 => Ok(drawn(48)),
            KeySpec::Hmac512 => Ok(drawn(64)),
            KeySpec::P256 => ecdsa(p256()),
            KeySpec::P384 => ecdsa(p384()),
            KeySpec::Edwards25519 => Ed25519KeyPair::from_seed_unchecked(&drawn(32))
                .map_err(|KeyRejected { .. }| Unspecified)
                .and_then(|pair| Ok(pair.to_pkcs8v1()?.as_ref().to_vec())),
            KeySpec::Rsa2048 => rsa(KeySize::Rsa2048),
            KeySpec::Rsa3072 => rsa(KeySize::Rsa3072),
            KeySpec::Rsa4096 => rsa(KeySize::Rsa4096),
        };
        let secret = secret.map_err(|_| internal("no key could be generated"))?;
        Ok(Self { spec, secret: STANDARD.encode(secret) })
    }

    /// The public key as a DER-encoded X.509 `SubjectPublicKeyInfo`.
    pub(super) fn public_key(&self) -> Result<Vec<u8>, ServiceError> {
        let der: Result<PublicKeyX509Der<'_>, Unspecified> = match self.pair()? {
            Pair::Ecdsa(pair) => pair.public_key().as_der(),
            Pair::Ed25519(pair) => pair.public_key().as_der(),
            Pair::Rsa(pair) => pair.public_key().as_der(),
        };
        Ok(der.map_err(|_| unusable())?.as_ref().to_vec())
    }

    /// A signature: DER for ECDSA, as long as the modulus for RSA, 64 bytes for Ed25519.
    pub(super) fn sign(&self, algorithm: SigningAlgorithm, message: &Message<'_>) -> Result<Vec<u8>, ServiceError> {
        match self.pair()? {
            Pair::Ed25519(pair) => Ok(pair.sign(raw(message)?).as_ref().to_vec()),
            Pair::Ecdsa(pair) => {
                let signed = pair.sign_digest(&digest_of(algorithm, message)?);
                Ok(signed.map_err(|_| unusable())?.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let mut signed = vec![0; pair.public_modulus_len()];
                let encoding = algorithm.rsa_encoding().ok_or_else(unusable)?;
                pair.sign_digest(encoding, &digest_of(algorithm, message)?, &mut signed).map_err(|_| unusable())?;
                Ok(signed)
            }
        }
    }

    /// Whether that signature is this key's, of this message.
    pub(super) fn verify(
        &self,
        algorithm: SigningAlgorithm,
        message: &Message<'_>,
        signed: &[u8],
    ) -> Result<bool, ServiceError> {
        let public = match self.pair()? {
            Pair::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
        };
        let public = UnparsedPublicKey::new(algorithm.verification(), public);
        let verified = match algorithm {
            SigningAlgorithm::Ed25519Sha512 => public.verify(raw(message)?, signed),
            SigningAlgorithm::EcdsaSha256
            | SigningAlgorithm::EcdsaSha384
            | SigningAlgorithm::Pkcs1Sha256
            | SigningAlgorithm::Pkcs1Sha384
            | SigningAlgorithm::Pkcs1Sha512
            | SigningAlgorithm::PssSha256
            | SigningAlgorithm::PssSha384
            | SigningAlgorithm::PssSha512 => public.verify_digest(&digest_of(algorithm, message)?, signed),
        };
        Ok(verified.is_ok())
    }

    pub(super) fn mac(&self, algorithm: MacAlgorithm, message: &[u8]) -> Result<Vec<u8>, ServiceError> {
        let key = hmac::Key::new(algorithm.hmac(), &self.secret()?);
        Ok(hmac::sign(&key, message).as_ref().to_vec())
    }

    pub(super) fn verify_mac(&self, algorithm: MacAlgorithm, message: &[u8], mac: &[u8]) -> Result<bool, ServiceError> {
        let key = hmac::Key::new(algorithm.hmac(), &self.secret()?);
        Ok(hmac::verify(&key, message, mac).is_ok())
    }

    fn secret(&self) -> Result<Vec<u8>, ServiceError> {
        STANDARD.decode(&self.secret).map_err(|_| unusable())
    }

    fn pair(&self) -> Result<Pair, ServiceError> {
        let pkcs8 = self.secret()?;
        match self.spec {
            KeySpec::P256 => EcdsaKeyPair::from_pkcs8(p256(), &pkcs8).map(Pair::Ecdsa),
            KeySpec::P384 => EcdsaKeyPair::from_pkcs8(p384(), &pkcs8).map(Pair::Ecdsa),
            KeySpec::Edwards25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).map(Pair::Ed25519),
            KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => RsaKeyPair::from_pkcs8(&pkcs8).map(Pair::Rsa),
            KeySpec::SymmetricDefault | KeySpec::Hmac256 | KeySpec::Hmac384 | KeySpec::Hmac512 => {
                return Err(unusable());
            }
        }
        .map_err(|_| unusable())
    }
}

fn p256() -> &'static EcdsaSigningAlgorithm {
    &signature::ECDSA_P256_SHA256_ASN1_SIGNING
}

fn p384() -> &'static EcdsaSigningAlgorithm {
    &signature::ECDSA_P384_SHA384_ASN1_SIGNING
}

fn raw<'a>(message: &Message<'a>) -> Result<&'a [u8], ServiceError> {
    match message {
        Message::Raw(bytes) => Ok(bytes),
        Message::Digest(_) => {
            Err(ServiceError::new(400, "ValidationException", "ED25519_SHA_512 requires the message type RAW"))
        }
    }
}

fn digest_of(algorithm: SigningAlgorithm, message: &Message<'_>) -> Result<Digest, ServiceError> {
    match message {
        Message::Raw(bytes) => Ok(digest::digest(algorithm.digest(), bytes)),
        Message::Digest(bytes) => Digest::import_less_safe(bytes, algorithm.digest())
            .map_err(|_| ServiceError::new(400, "ValidationException", "Digest is invalid length for the algorithm")),
    }
}

/// Material that a state file spoiled.
fn unusable() -> ServiceError {
    internal("this key's material can't be used")
}

fn internal(message: &str) -> ServiceError {
    ServiceError::new(500, "KMSInternalException", message)
}
