//! Where a value holds its key: the tag `rotator:member`, read here alone.
//!
//! A value keeps the form in which it was written. So it is read by the wishes of the version that it belongs to, and a tag
//! that is changed moves the key with the next rotation.

use state::policy::Policy;

use crate::failure::BadInput;

/// What a tag's value holds at the most, in characters.
pub const LONGEST_TAG: usize = 256;
/// The tag, without its prefix.
pub const TAG: &str = "member";
/// What it says of a value that is the key itself.
pub const WHOLE: &str = ".";

/// Where a value holds its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// Under that name, in a JSON object.
    Named(String),
    /// The value is the key.
    Whole,
}

/// Where a kind's values may hold their key.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// The member that does where no tag names another.
    pub usual: &'static str,
    /// The members in which the kind keeps something else.
    pub taken: &'static [&'static str],
}

impl Places {
    /// The place by those wishes.
    pub fn of(&self, policy: &Policy) -> Result<Member, BadInput> {
        let Some(found) = policy.wishes.get(TAG) else { return Ok(Member::Named(self.usual.to_owned())) };
        let bad = |rule| Err(BadInput::Tag { tag: TAG, found: found.clone(), rule });
        match found.as_str() {
            "" => bad("write the name of the member that holds the key, or remove it for the usual one"),
            WHOLE => Ok(Member::Whole),
            name if name.chars().count() > LONGEST_TAG => bad("a tag holds 256 characters: rename the member"),
            name if self.taken.contains(&name) => bad("the service keeps something else there: name another member"),
            name => Ok(Member::Named(name.to_owned())),
        }
    }

    /// The same for a kind whose values hold more than one key during an overlap, so that none can be the key itself.
    pub fn named(&self, policy: &Policy) -> Result<String, BadInput> {
        match self.of(policy)? {
            Member::Named(name) => Ok(name),
            Member::Whole => {
                let rule =
                    "the value names two secrets during an overlap, so it is a JSON object: write a member's name";
                Err(BadInput::Tag { tag: TAG, found: WHOLE.to_owned(), rule })
            }
        }
    }
}

/// Whether a member's name can be written into a tag: letters, digits, spaces and a few signs, says the AWS documentation;
/// and a tag is read without the spaces around it.
pub fn fits_a_tag(name: &str) -> bool {
    let is_allowed = |c: char| c.is_alphanumeric() || " +-=._:/@".contains(c);
    !name.is_empty() && name == name.trim() && name.chars().count() <= LONGEST_TAG && name.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use state::policy::{KindWishes, Traces};

    use super::*;

    const PLACES: Places = Places { usual: "apiKey", taken: &["endpoint"] };

    fn policy(member: Option<&str>) -> Policy {
        let kinds = [KindWishes { name: "x", tags: &[TAG], publishes: false, disables: false, traces: Traces::None }];
        let kind = ("rotator:kind".to_owned(), "x".to_owned());
        let member = member.map(|name| (format!("rotator:{TAG}"), name.to_owned()));
        Policy::from_tags(&BTreeMap::from_iter(member.into_iter().chain([kind])), &kinds).unwrap()
    }

    #[test]
    fn the_tag_names_the_place() {
        let named = |name: &str| Ok(Member::Named(name.to_owned()));
        assert_eq!(PLACES.of(&policy(None)), named("apiKey"));
        for name in ["api_key", "x-api-key", "API key", "apiKey"] {
            assert_eq!(PLACES.of(&policy(Some(name))), named(name));
        }
        assert_eq!(PLACES.of(&policy(Some(WHOLE))), Ok(Member::Whole));
    }

    #[test]
    fn a_tag_that_can_not_be_followed_is_refused_with_what_to_write() {
        let long = "m".repeat(LONGEST_TAG + 1);
        for (found, rule) in [
            ("", "write the name of the member"),
            (" ", "write the name of the member"),
            (long.as_str(), "256 characters"),
            ("endpoint", "name another member"),
            (".", "two secrets"),
        ] {
            let said = PLACES.named(&policy(Some(found))).unwrap_err().to_string();
            assert!(said.contains("rotator:member") && said.contains(rule), "{found:?}: {said}");
        }
    }

    #[test]
    fn what_a_tag_can_not_hold_can_not_be_named() {
        for name in ["api_key", "x-api-key", "Schl\u{fc}ssel", "a b"] {
            assert!(fits_a_tag(name), "{name}");
        }
        for name in ["", " key", "key ", "key#1", "(key)", &"m".repeat(LONGEST_TAG + 1)] {
            assert!(!fits_a_tag(name), "{name}");
        }
    }
}
