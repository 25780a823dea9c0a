//! The one type of a secret value.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use state::credential::Commitment;
use uuid::Uuid;
use zeroize::Zeroizing;

/// A value that must never be seen: not printed, not stored, not cloned by accident, zeroed when dropped.
pub struct SecretValue(Zeroizing<String>);

/// What a value was drawn for: what is committed to for the one is nothing for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A key that is made ahead of its use, or what its provider is asked for.
    Mint,
    /// The value under a rotation's token.
    Draft,
}

impl SecretValue {
    /// Takes a value out of sight.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The value itself. Every use of it is a place to review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a text has a part of it: eight bytes in a row, or all of a shorter one.
    pub fn is_quoted_in(&self, text: &str) -> bool {
        let (value, text) = (self.0.as_bytes(), text.as_bytes());
        let part = value.len().min(8);
        part > 0 && value.windows(part).any(|part| text.windows(part.len()).any(|other| other == part))
    }

    /// Its members, if it is the text of a JSON object. What is wrong with it otherwise is not said: a parser's message
    /// would quote it.
    pub fn members(&self) -> Option<Map<String, Value>> {
        match serde_json::from_str(&self.0) {
            Ok(Value::Object(members)) => Some(members),
            Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) | Err(_) => None,
        }
    }

    /// The names of the members that are that very key.
    pub fn members_with(&self, key: &Self) -> Vec<String> {
        let members = self.members().unwrap_or_default().into_iter();
        members.filter(|(_, value)| value.as_str() == Some(key.expose())).map(|(name, _)| name).collect()
    }

    /// The names of the members that may be a key, among all but those names; none if the value is no JSON object. A word of
    /// sixteen characters or more that is no URL may be one, and so may anything in PEM.
    pub fn suspects(&self, known: &[&str]) -> Vec<String> {
        let unknown =
            self.members().unwrap_or_default().into_iter().filter(|(name, _)| !known.contains(&name.as_str()));
        unknown.filter(|(_, value)| may_be_a_key(value)).map(|(name, _)| name).collect()
    }

    /// Fixes the value without telling it, under an id that was drawn with it, for one purpose.
    pub fn commitment(&self, id: Uuid, purpose: Purpose) -> Commitment {
        let key = hmac::Key::new(hmac::HMAC_SHA256, id.as_bytes());
        let mut signing = hmac::Context::with_key(&key);
        signing.update(match purpose {
            Purpose::Mint => b"mint ",
            Purpose::Draft => b"draft ",
        });
        signing.update(self.0.as_bytes());
        Commitment(STANDARD.encode(signing.sign()))
    }

    /// Whether both are the same, in time that does not depend on where they differ.
    pub fn same_as(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), other.0.as_bytes());
        ours.len() == theirs.len() && ours.iter().zip(theirs).fold(0, |all, (a, b)| all | (a ^ b)) == 0
    }
}

fn may_be_a_key(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            let is_word = text.chars().count() >= 16 && !text.contains(char::is_whitespace);
            is_word && !text.contains("://") || text.contains("-----BEGIN")
        }
        Value::Array(all) => all.iter().any(may_be_a_key),
        Value::Object(members) => members.values().any(may_be_a_key),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Some(SecretValue::new("marked-value"))), "Some(SecretValue(..))");
    }

    #[test]
    fn a_part_of_a_value_is_seen_in_a_text() {
        let value = SecretValue::new("abcdefghijklmnop");
        for text in ["Value 'abcdefghijklmnop' is too long", "..ijklmnop", "abcdefgh"] {
            assert!(value.is_quoted_in(text), "{text}");
        }
        assert!(!value.is_quoted_in("API Key name exceeds maximum size: abcdefg"));
        assert!(SecretValue::new("abc").is_quoted_in("(abc)") && !SecretValue::new("").is_quoted_in("x"));
    }

    #[test]
    fn a_commitment_is_to_one_value_of_one_version() {
        use Purpose::{Draft, Mint};
        let (value, id) = (SecretValue::new("abc"), Uuid::from_u128(7));
        assert_eq!(value.commitment(id, Draft), SecretValue::new("abc").commitment(id, Draft));
        assert_ne!(value.commitment(id, Draft), SecretValue::new("abd").commitment(id, Draft));
        assert_ne!(value.commitment(id, Draft), value.commitment(id, Mint));
        assert_ne!(value.commitment(id, Draft), value.commitment(Uuid::from_u128(8), Draft));
    }

    #[test]
    fn what_may_be_a_key_is_seen_under_any_name() {
        let suspects = |text: &str| SecretValue::new(text).suspects(&["endpoint"]);
        for free in ["{}", r#"{"owner":"the stack that made it"}"#, r#"{"endpoint":"abcdefghijklmnopqrst"}"#] {
            assert!(suspects(free).is_empty(), "{free}");
        }
        assert!(suspects(r#"{"base":"https://x.example/a/b","n":12345678901234567890,"e":""}"#).is_empty());
        assert_eq!(suspects(r#"{"api_key":"abcdefghij0123456789"}"#), ["api_key"]);
        assert_eq!(suspects(r#"{"secret":"correct-horse-battery-staple"}"#), ["secret"]);
        assert_eq!(suspects(r#"{"a":{"pem":["-----BEGIN KEY----- x"]},"b":"abcdefghij0123456789"}"#), ["a", "b"]);
    }

    #[test]
    fn equality_is_of_the_whole_value() {
        assert!(SecretValue::new("abc").same_as(&SecretValue::new("abc")));
        assert!(!SecretValue::new("abc").same_as(&SecretValue::new("abd")));
        assert!(!SecretValue::new("abc").same_as(&SecretValue::new("ab")));
    }
}
