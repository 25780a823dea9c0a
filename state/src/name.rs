//! Names that are parsed once, at the edge.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a name was refused. The text says which characters or lengths are allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {shown:?} is not valid: {rule}")]
pub struct BadName {
    what: &'static str,
    shown: String,
    rule: &'static str,
}

impl BadName {
    /// A refusal that shows the offending text, escaped and cut.
    pub fn new(what: &'static str, raw: &str, rule: &'static str) -> Self {
        Self { what, shown: raw.chars().take(64).collect(), rule }
    }
}

/// A credential's name: its secret's name in Secrets Manager.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CredentialName(String);

impl CredentialName {
    /// Accepts what Secrets Manager accepts: 1 to 512 characters of `A-Za-z0-9/_+=.@-`.
    pub fn parse(raw: &str) -> Result<Self, BadName> {
        let fits =
            (1..=512).contains(&raw.len()) && raw.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+=.@-".contains(&b));
        if fits {
            Ok(Self(raw.to_owned()))
        } else {
            Err(BadName::new("the secret name", raw, "1 to 512 characters of A-Z a-z 0-9 / _ + = . @ -"))
        }
    }

    /// The name in a secret's full ARN, without the six random characters at its end.
    pub fn from_arn(arn: &str) -> Result<Self, BadName> {
        let rule = "a full secret ARN, arn:PARTITION:secretsmanager:REGION:ACCOUNT:secret:NAME-XXXXXX";
        let parts: Vec<&str> = arn.splitn(7, ':').collect();
        let [first, _, service, _, _, resource, name] = parts.as_slice() else {
            return Err(BadName::new("the secret ARN", arn, rule));
        };
        if *first != "arn" || *service != "secretsmanager" || *resource != "secret" {
            return Err(BadName::new("the secret ARN", arn, rule));
        }
        match name.rsplit_once('-') {
            Some((name, suffix)) if suffix.len() == 6 => Self::parse(name),
            Some(_) | None => Err(BadName::new("the secret ARN", arn, rule)),
        }
    }

    /// The name as Secrets Manager writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Sees that the name is a path of a URL that every client and server leaves as it is, so that a key set below it is
    /// this credential's and no other's. RFC 3986, 5.2.4 and 6.2.2 take dot segments out; web servers fold slashes; old
    /// .NET clients leave out the dots at a segment's end; and RFC 8615 keeps `.well-known` for what is about its parent.
    ///
    /// # Errors
    /// With what is wrong, for the middle of a sentence.
    pub fn as_url_path(&self) -> Result<&str, &'static str> {
        let segments = || self.0.split('/');
        if segments().any(str::is_empty) {
            return Err("it begins or ends with a slash or has two in a row, and servers fold those");
        }
        if segments().any(|segment| segment.ends_with('.')) {
            return Err("a part of it ends in a dot, and clients take such parts out of a URL or change them");
        }
        if segments().any(|segment| segment == ".well-known") {
            return Err("a part of it is .well-known, where the discovery document of another credential is");
        }
        Ok(&self.0)
    }

    /// The id of one generation of this credential: derived, so that it is the same whoever computes it.
    pub fn version_id(&self, arn: &str, generation: u32) -> Uuid {
        let credential = Uuid::new_v5(&Uuid::NAMESPACE_URL, arn.as_bytes());
        Uuid::new_v5(&credential, format!("generation {generation}").as_bytes())
    }
}

impl TryFrom<String> for CredentialName {
    type Error = BadName;
    fn try_from(raw: String) -> Result<Self, BadName> {
        Self::parse(&raw)
    }
}

impl From<CredentialName> for String {
    fn from(name: CredentialName) -> Self {
        name.0
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A `ClientRequestToken`, which is also the id of the Secrets Manager version that it makes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(String);

impl Token {
    /// Accepts what Secrets Manager accepts: 32 to 64 characters; ours are alphanumeric and `-`.
    pub fn parse(raw: &str) -> Result<Self, BadName> {
        let fits =
            (32..=64).contains(&raw.len()) && raw.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if fits {
            Ok(Self(raw.to_owned()))
        } else {
            Err(BadName::new("the ClientRequestToken", raw, "32 to 64 characters of A-Z a-z 0-9 - _"))
        }
    }

    /// A token that follows from a name: a UUIDv5, the same whoever computes it.
    pub fn derived(name: &str) -> Self {
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string())
    }

    /// The token as Secrets Manager writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight alphanumeric characters: enough to tell the versions of one credential apart.
    pub fn short(&self) -> String {
        self.0.chars().filter(char::is_ascii_alphanumeric).take(8).collect()
    }
}

impl TryFrom<String> for Token {
    type Error = BadName;
    fn try_from(raw: String) -> Result<Self, BadName> {
        Self::parse(&raw)
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_secrets_manager_allows_and_nothing_else() {
        assert!(CredentialName::parse("partner/acme_1+=.@-").is_ok());
        for bad in ["", "a b", "a\u{1b}[31m", "<b>", &"x".repeat(513)] {
            assert!(CredentialName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_arn_gives_the_name_without_its_random_end() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:partner/acme-key-Ab12Cd";
        assert_eq!(CredentialName::from_arn(arn).unwrap().as_str(), "partner/acme-key");
        for bad in ["partner/acme", "arn:aws:s3:::bucket", "arn:aws:secretsmanager:eu-west-1:1:secret:x"] {
            assert!(CredentialName::from_arn(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_of_a_url_is_what_nobody_changes_on_its_way() {
        let is_path = |name: &str| CredentialName::parse(name).unwrap().as_url_path().is_ok();
        for good in ["issuer", "a/b/c", "x+y=z", "who@example.com", "dots..and--dashes__", "a/.well", ".hidden/key"] {
            assert!(is_path(good), "{good}");
        }
        for bad in [
            "/a",
            "a/",
            "a//b",
            "/",
            ".",
            "..",
            "a/..",
            "./a",
            "team/../orders/issuer",
            "a/./b",
            "a/.../b",
            "a./b",
            "a.",
            ".well-known/a",
            "a/.well-known/openid-configuration",
            "a/.well-known",
        ] {
            assert!(!is_path(bad), "{bad}");
        }
    }

    #[test]
    fn a_version_id_is_derived() {
        let name = CredentialName::parse("a").unwrap();
        assert_eq!(name.version_id("arn:1", 1), name.version_id("arn:1", 1));
        assert_ne!(name.version_id("arn:1", 1), name.version_id("arn:1", 2));
        assert_ne!(name.version_id("arn:1", 1), name.version_id("arn:2", 1));
    }
}
