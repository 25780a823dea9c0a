//! What differs between kinds of credentials. A new kind is one file that implements this trait.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use state::Time;
use state::credential::{Credential, Proof, Version};
use state::policy::Policy;

use crate::failure::{BadInput, Failure};
use crate::secret::SecretValue;

/// Facts about a version that are no secrets: the provider's ids, or what was carried over.
pub type Facts = BTreeMap<String, String>;

/// A kind of credential: how its keys are made, accepted, proved, refused and deleted.
///
/// Every method that changes something converges when it is repeated after a crash, and none decides what comes next.
#[async_trait]
pub trait Kind: Send + Sync + fmt::Debug {
    /// What the tag `rotator:kind` says.
    fn name(&self) -> &'static str;

    /// The `rotator:` tags that only this kind knows, without the prefix.
    fn tags(&self) -> &'static [&'static str];

    /// The key in a secret's value; `None` when the value has a place for one but no key in it yet.
    fn key(&self, document: &SecretValue) -> Result<Option<SecretValue>, BadInput>;

    /// The provider's names for a key that exists there: under `id` the one that tells keys apart, and whatever a
    /// successor needs to know. `None` when the provider does not know it.
    async fn recognise(&self, key: &SecretValue) -> Result<Option<Facts>, Failure>;

    /// Sees that the owner's wishes can be met for a version that follows that incumbent. Changes nothing.
    async fn check(&self, case: &Case<'_>) -> Result<(), Failure>;

    /// Draws a new value, as a whole document in the incumbent's form.
    fn draft(&self, case: &Case<'_>, incumbent: Option<&SecretValue>) -> Result<SecretValue, Failure>;

    /// What the provider will call the new key: known before it is made, so that a crash leaves no stranger.
    fn christen(&self, case: &Case<'_>) -> Facts;

    /// Makes the provider accept the new key wherever the incumbent is accepted. Returns the provider's ids and what
    /// was carried over.
    async fn admit(&self, case: &Case<'_>, document: &SecretValue) -> Result<(Facts, Facts), Failure>;

    /// Sends real requests with the new key, and one with a made-up key, once.
    async fn prove(&self, case: &Case<'_>, document: &SecretValue) -> Result<Proof, Failure>;

    /// When a proof did not succeed: whether the incumbent, of which it is known, would get through from here.
    async fn is_blocked(&self, case: &Case<'_>, incumbent: &SecretValue) -> Result<bool, Failure>;

    /// Sees that the provider still has what was admitted.
    async fn confirm(&self, case: &Case<'_>) -> Result<(), Failure>;

    /// Makes the provider refuse a version's key. Returns ids that were found only now.
    async fn suspend(&self, case: &Case<'_>) -> Result<Facts, Failure>;

    /// Deletes a version's key.
    async fn destroy(&self, case: &Case<'_>) -> Result<(), Failure>;
}

/// What a kind is asked about.
#[derive(Debug)]
pub struct Case<'a> {
    /// All versions of the credential.
    pub credential: &'a Credential,
    /// The version in question; `None` while only the wishes are checked.
    pub version: Option<&'a Version>,
    /// The provider's names for the key that it replaces, if the credential had one before.
    pub incumbent: Option<&'a Facts>,
    /// The wishes in force.
    pub policy: &'a Policy,
    /// Now.
    pub now: Time,
}

impl Case<'_> {
    /// The version in question, where there must be one.
    pub fn version(&self) -> &Version {
        self.version.expect("the engine names a version for every action but a check")
    }
}
