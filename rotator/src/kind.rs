//! What differs between kinds of credentials. A new kind is one file that implements this trait.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;
use state::Time;
use state::credential::Settlements;
use state::credential::{Credential, Proof, Version};
use state::decide::Drafted;
use state::drift::{Availability, Owner};
use state::evidence::{Owed, Sighting, Told};
use state::hold::{Hold, HoldReason};
use state::name::{CredentialName, Token};
use state::policy::{KindWishes, Policy, Traces};

use crate::failure::{BadInput, Failure};
use crate::member::{LONGEST_TAG, Places};
use crate::secret::{Purpose, SecretValue};

/// The tag on a key that says which version it may be. It authorises nothing: only a record does.
pub const VERSION_TAG: &str = "rotator:version";
/// The tag on a key that says which credential it may belong to.
pub const CREDENTIAL_TAG: &str = "rotator:credential";

/// A credential's name as the value of a tag.
pub fn tag_value(name: &CredentialName) -> String {
    name.as_str().chars().take(LONGEST_TAG).collect()
}

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

    /// Whether verifiers fetch its keys: then each is made ahead of its use, and known before it signs.
    fn publishes(&self) -> bool {
        false
    }

    /// What the provider tells of the use of its keys.
    fn traces(&self) -> Traces {
        Traces::None
    }

    /// All that its wishes are read by.
    fn known(&self) -> KindWishes<'_> {
        KindWishes {
            name: self.name(),
            tags: self.tags(),
            publishes: self.publishes(),
            disables: self.disables(),
            traces: self.traces(),
        }
    }

    /// Where its values may hold their key, if that is the owner's to say.
    fn places(&self) -> Option<Places> {
        None
    }

    /// The members of a value that this kind knows, but for the one that holds the key.
    fn members(&self) -> &'static [&'static str];

    /// Sees that a value without a key is one for a first key to be made over: not one whose key this service does not
    /// find, because that is in use and would never be rotated.
    fn see_free(&self, document: &SecretValue) -> Result<(), Failure> {
        let Some(member) = document.suspects(self.members()).into_iter().next() else { return Ok(()) };
        let way = match self.places() {
            Some(_) => "name it with the tag rotator:member",
            None => "move it to where the kind has it",
        };
        let detail = format!(
            "the value has no key where {} has it, and its member {:?} may be one that is in use: {way}, or empty it",
            self.name(),
            member.escape_default().to_string()
        );
        Err(Hold::new(HoldReason::Rejected, detail).into())
    }

    /// The key in a secret's value, which is read by those wishes; `None` when the value has a place for one but no key in
    /// it yet.
    fn key(&self, document: &SecretValue, policy: &Policy) -> Result<Option<SecretValue>, BadInput>;

    /// The provider's names for the key in a value: under `id` the one that tells keys apart, and whatever a
    /// successor needs to know. `None` when the provider does not know it.
    async fn recognise(&self, document: &SecretValue, sight: &Sight<'_>) -> Result<Option<Facts>, Failure>;

    /// Lets others see whose a key is that was recognised and is to be recorded: another stack has other records.
    async fn mark(&self, _credential: &Credential, _facts: &Facts) -> Result<(), Failure> {
        Ok(())
    }

    /// What else claims a key that was recognised, such as a stack: its next run would undo a rotation.
    async fn owner(&self, _facts: &Facts) -> Result<Option<Owner>, Failure> {
        Ok(None)
    }

    /// Sees that the owner's wishes can be met for a version that follows that incumbent: one yet to be drawn, or the
    /// standby that the case names. Changes nothing.
    async fn check(&self, case: &Case<'_>) -> Result<(), Failure>;

    /// Sees that what consumers read may have a successor: nobody wanted it to be refused. Changes nothing.
    async fn see_incumbent(&self, _case: &Case<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// Draws a key that is to be made ahead of its use; or, where the provider draws it, what it will be asked for. Only
    /// kinds that publish their keys are asked to, here and in the next five.
    async fn draw(&self, _case: &Case<'_>) -> Result<Option<SecretValue>, Failure> {
        Ok(None)
    }

    /// Makes the key that was drawn, and returns the provider's ids. Not repeated when its answer is lost.
    async fn mint(&self, _case: &Case<'_>, _drawn: Option<&SecretValue>) -> Result<Facts, Failure> {
        Ok(Facts::new())
    }

    /// The ids of the key that a lost answer to [`Kind::mint`] may have left.
    async fn find(&self, _case: &Case<'_>) -> Result<Option<Facts>, Failure> {
        Ok(None)
    }

    /// Lets signers use the key, and returns what verifiers are told: under `jwk` the public key, under `kid` its name.
    async fn equip(&self, _case: &Case<'_>) -> Result<Facts, Failure> {
        Ok(Facts::new())
    }

    /// Does away with further keys that lost answers left for a version. Returns their ids.
    async fn sweep(&self, _case: &Case<'_>) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }

    /// Whether the provider can keep a key from signing while what it signed is still accepted. Only then it is asked to, and
    /// only then the history says *disabled*.
    fn disables(&self) -> bool {
        false
    }

    /// Makes the key sign nothing any more. What it signed is still accepted.
    async fn disable(&self, _case: &Case<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// Draws a new value, or takes the standby's, as a whole document in the incumbent's form.
    async fn draft(&self, case: &Case<'_>, incumbent: Option<&SecretValue>) -> Result<SecretValue, Failure>;

    /// What a drafted value says of itself: what the provider will call the key, known before it is made, so that a
    /// crash leaves no stranger. Its fingerprint is not its matter.
    fn christen(&self, case: &Case<'_>, document: &SecretValue) -> Result<Drafted, Failure>;

    /// Makes the provider accept the new key wherever the incumbent is accepted. Returns the provider's ids and what
    /// was carried over.
    async fn admit(&self, case: &Case<'_>, document: &SecretValue) -> Result<(Facts, Facts), Failure>;

    /// Sends real requests with the new key, and one with a made-up key, once.
    async fn prove(&self, case: &Case<'_>, document: &SecretValue) -> Result<Proof, Failure>;

    /// Sees that a key that was refused for a moment is accepted again. Returns how many requests that took which the
    /// provider counts as use of the key.
    async fn see_accepted(&self, _case: &Case<'_>, _document: Option<&SecretValue>) -> Result<u64, Failure> {
        Ok(0)
    }

    /// When a proof did not succeed: whether the incumbent, of which it is known, would get through from here.
    async fn is_blocked(&self, case: &Case<'_>, incumbent: &SecretValue) -> Result<bool, Failure>;

    /// Sees that the provider still has what was admitted.
    async fn confirm(&self, case: &Case<'_>) -> Result<(), Failure>;

    /// What is told of the use of a deactivated version's key, and of what all live keys used of the allowances that they
    /// share. Only kinds that leave traces are asked to, here and in the next two.
    async fn witness(&self, case: &Case<'_>) -> Result<Sighting, Failure> {
        Ok(Sighting {
            source: self.name().to_owned(),
            seen_until: case.now,
            told: Told::Nothing,
            plans: BTreeMap::new(),
            callers: Vec::new(),
        })
    }

    /// Gives every live key what is left to all of them, and reads it again.
    async fn settle(&self, _case: &Case<'_>, _owed: &Owed) -> Result<Settlements, Failure> {
        Ok(Settlements::new())
    }

    /// How many requests with a version's key were refused in that time, where a log tells.
    async fn refusals(&self, _case: &Case<'_>, _since: Time, _until: Time) -> Result<Option<u64>, Failure> {
        Ok(None)
    }

    /// Makes the provider accept a version's key as the records say: enabled, in its plans; made again with the value in
    /// that document if the records have no id of it any more. Returns the provider's ids.
    async fn restore(&self, _case: &Case<'_>, _document: Option<&SecretValue>) -> Result<Facts, Failure> {
        Ok(Facts::new())
    }

    /// What tells the key that a version's record names from every other, as its provider shows it by now; `None` where it
    /// shows nothing that could be compared.
    async fn identity(&self, _case: &Case<'_>) -> Result<Option<Identity>, Failure> {
        Ok(None)
    }

    /// Whether a key that carries a version's tags was made for it: by more than what anybody could have written.
    async fn authorship(&self, _case: &Case<'_>, _key: &str) -> Result<Authorship, Failure> {
        Ok(Authorship::Shown(false))
    }

    /// Makes the provider refuse a version's key. Returns ids that were found only now. The document is the version's value,
    /// where no id is recorded and it can be read: by its key alone is a key told from a stranger's.
    async fn suspend(&self, case: &Case<'_>, document: Option<&SecretValue>) -> Result<Facts, Failure>;

    /// Every key of this account that could be of this kind, for a look at all credentials at once. Kinds without a
    /// provider have none.
    async fn survey(&self) -> Result<Vec<ProviderKey>, Failure> {
        Ok(Vec::new())
    }

    /// The keys that the records of one credential name, and those that may carry our tags for it; `None` for kinds
    /// without a provider. `surveyed`: those of them that a survey showed, if there was one.
    async fn inventory(
        &self,
        _credential: &Credential,
        _surveyed: Option<Vec<ProviderKey>>,
    ) -> Result<Option<Vec<ProviderKey>>, Failure> {
        Ok(None)
    }

    /// What is left of a version that is destroyed, where anything is: for whoever reads its history.
    fn remains(&self) -> Option<String> {
        None
    }

    /// Deletes a version's key.
    async fn destroy(&self, case: &Case<'_>) -> Result<(), Failure>;

    /// Whether a suspended version's key is refused by now, as far as it can be seen from outside; `None` when nobody
    /// can see it. The document is the version's value, where it can still be read; the control is the value of the
    /// version that is current. A refusal counts only if the current key gets through at the same moment: firewalls and
    /// networks refuse in the provider's own words.
    async fn is_refused(
        &self,
        case: &Case<'_>,
        document: Option<&SecretValue>,
        control: Option<&SecretValue>,
    ) -> Result<Option<bool>, Failure>;
}

/// What tells a key from every other.
#[derive(Debug)]
pub enum Identity {
    /// The key itself: it has a fingerprint.
    Value(SecretValue),
    /// Its public half, a JWK.
    Public(String),
    /// Its tag `rotator:credential`, where the provider shows nothing of the key itself.
    Tag(Option<String>),
}

/// What shows for whom a key was made.
#[derive(Debug)]
pub enum Authorship {
    /// Its value, if that has the version's fingerprint.
    Value(SecretValue),
    /// Whether it was made as the version's intent asked for.
    Shown(bool),
}

/// A key as its provider shows it, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderKey {
    /// The provider's id.
    pub id: String,
    /// The provider's name for people.
    pub name: String,
    /// Whether it can be used.
    pub availability: Availability,
    /// The ids of the usage plans that it is in, where there are such and somebody looked.
    pub plans: Option<BTreeSet<String>>,
    /// Of the plans that a record names and that it is not in: those that it can't be put into again. With the plan that
    /// has its place, if one does.
    pub replaced: BTreeMap<String, Option<String>>,
    /// All of them, `aws:` ones included.
    pub tags: BTreeMap<String, String>,
}

/// Where a value with an unrecorded carrier was seen.
#[derive(Debug)]
pub struct Sight<'a> {
    /// The credential whose value it is.
    pub name: &'a CredentialName,
    /// The version of the secret that holds it.
    pub carrier: &'a Token,
    /// The wishes by which it is read.
    pub policy: &'a Policy,
    /// The version that is recorded as current, if one is.
    pub current: Option<&'a Version>,
    /// The value of that, if it can still be read.
    pub known: Option<&'a SecretValue>,
    /// Whether an emergency replaces it, whatever it is.
    pub is_ordered: bool,
}

impl Sight<'_> {
    /// Sees that a key that no record of this credential knows is not another's by its own tags.
    pub fn see_unclaimed(&self, key: &str, tags: &BTreeMap<String, String>) -> Result<(), Failure> {
        match tags.get(CREDENTIAL_TAG).filter(|owner| self.current.is_none() && **owner != tag_value(self.name)) {
            None => Ok(()),
            Some(owner) => {
                let detail = format!("key {key} has the tag {CREDENTIAL_TAG} = {}", owner.escape_default());
                Err(Hold::new(HoldReason::KeyShared, detail).into())
            }
        }
    }
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

impl<'a> Case<'a> {
    /// About a version, with its own wishes.
    pub fn of(credential: &'a Credential, version: &'a Version, now: Time) -> Self {
        // A standby follows whatever is current while it is made.
        let incumbent = match &version.replaces {
            Some(replaces) => replaces.generation,
            None => credential.head.current.filter(|current| *current != version.generation),
        };
        let incumbent = incumbent.and_then(|generation| credential.versions.get(&generation));
        let incumbent = incumbent.map(|version| &version.provider);
        Self { credential, version: Some(version), incumbent, policy: &version.policy, now }
    }

    /// The version that consumers read, if it is another one and no stranger has its key: what must get through, whatever
    /// becomes of the version in question.
    pub fn control(&self) -> Option<&Version> {
        let is_other = |current: &&Version| self.version.is_none_or(|version| version.generation != current.generation);
        self.credential.current().filter(is_other).filter(|current| current.compromised.is_none())
    }

    /// Whether an emergency stands, and its new version is not current yet.
    pub fn is_ordered(&self) -> bool {
        self.credential.head.order.as_ref().is_some_and(|order| !order.promoted)
    }

    /// The wishes by which the value of the version in question is read; where none is in question, that of the version
    /// that consumers read.
    pub fn form(&self) -> &Policy {
        let version = self.version.or_else(|| self.credential.current());
        version.map_or(self.policy, |version| &version.policy)
    }

    /// The wishes by which the value is read that the version in question replaces.
    pub fn replaced_form(&self) -> &Policy {
        let replaced = self.version.and_then(|version| version.replaces.as_ref()?.generation);
        let replaced = replaced.and_then(|generation| self.credential.versions.get(&generation));
        replaced.map_or(self.policy, |version| &version.policy)
    }

    /// Sees that a value that was found is one that was drawn for the version.
    pub fn see_drawn(&self, found: &SecretValue, purpose: Purpose, place: &str) -> Result<(), Failure> {
        let version = self.version();
        if version.expects(|id| found.commitment(id, purpose)) {
            return Ok(());
        }
        let detail =
            format!("the value in {place} is not the one that was drawn for generation {}", version.generation);
        Err(Hold::new(HoldReason::KeyNotOurs, detail).into())
    }

    /// The version in question, where there must be one.
    pub fn version(&self) -> &Version {
        self.version.expect("the engine names a version for every action but a check")
    }
}
