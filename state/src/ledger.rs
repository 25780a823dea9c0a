//! The append-only, hash-chained record of every transition of a credential.
//!
//! An event's hash is SHA-256 over its canonical encoding: JSON without white space, the keys of every object sorted
//! by their bytes, no floating-point numbers. The encoding sorts the keys itself, so that no feature of a JSON
//! library can change a hash.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Time;
use crate::credential::{Drawn, Fingerprint, Head, Proof, Replaces, Stamp};
use crate::evidence::{Ground, Settlement, Usage};
use crate::hold::Hold;
use crate::name::{CredentialName, Token};
use crate::period::Period;
use crate::policy::Policy;
use crate::trigger::Trigger;

/// The schema of an event. Stands in each event, and is hashed with it.
pub const SCHEMA: u32 = 7;

/// The end of a chain: how long it is and the hash of its last event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// 0 before the first event.
    pub seq: u64,
    /// 64 hexadecimal digits.
    pub hash: String,
    /// When the last event happened: the next one is never earlier, whichever machine's clock it comes from.
    pub at: Option<Time>,
}

impl Link {
    /// What the first event of a credential is chained to: the hash of its name, so that no chain fits another name.
    pub fn genesis(name: &CredentialName) -> Self {
        Self { seq: 0, hash: digest(name.as_str().as_bytes()), at: None }
    }
}

/// Who did it. Persons are named in the [`Note`], not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// The rotation function, called by Secrets Manager.
    Rotation,
    /// The retirement function.
    Retirement,
    /// A person at the command line.
    Operator,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rotation => "rotation",
            Self::Retirement => "retirement",
            Self::Operator => "operator",
        })
    }
}

/// What happened. In lifecycle order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Change {
    /// An existing key was taken under management. It keeps its value until its first rotation.
    Adopted {
        /// Which version it became.
        generation: u32,
        /// The holder of `AWSCURRENT`.
        carrier: Token,
        /// The provider's names for it.
        provider: BTreeMap<String, String>,
        /// The wishes in force.
        policy: Policy,
        /// By which a leaked string is found.
        fingerprint: Option<Fingerprint>,
    },
    /// An emergency was declared.
    Ordered {
        /// The token that its rotation will use.
        token: Token,
        /// Generations that are compromised.
        compromised: Vec<u32>,
    },
    /// A person asked for a rotation, or for the end of one that was pending. Changes no version: who asked and why stands
    /// beside it, and the rotation with that token will say that it was asked for.
    Requested {
        /// The token that its rotation will use, or uses.
        token: Token,
    },
    /// A key that is to be published ahead of its use may be made from now on; again, when an earlier try left none.
    Minting {
        /// Which version it is for.
        generation: u32,
        /// The wishes in force.
        policy: Policy,
        /// What its key has to be. None in events of schema 3 and before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drawn: Option<Drawn>,
    },
    /// The key is made.
    Minted {
        /// Which version.
        generation: u32,
        /// The provider's ids.
        provider: BTreeMap<String, String>,
        /// Whether it was found by a look-up, because the answer to its creation was lost.
        found: bool,
    },
    /// Verifiers can know the key from now on.
    Published {
        /// Which version.
        generation: u32,
        /// What they are told, and what was carried over.
        provider: BTreeMap<String, String>,
    },
    /// A rotation began: the value may be put from now on; again, when an earlier try put none.
    Drafting {
        /// Which version it makes, or which standby it chose.
        generation: u32,
        /// Its token.
        token: Token,
        /// The wishes in force.
        policy: Policy,
        /// What it replaces.
        replaces: Replaces,
        /// What its value has to be. None in events of schema 3 and before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drawn: Option<Drawn>,
        /// What began the rotation. None when an earlier try has said so, and in events of schema 5 and before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trigger: Option<Trigger>,
    },
    /// The value stands under its token; the provider may be told from now on.
    Drafted {
        /// Which version.
        generation: u32,
        /// What the provider will call it.
        provider: BTreeMap<String, String>,
        /// By which a leaked string is found.
        fingerprint: Option<Fingerprint>,
        /// The version whose key the value holds as well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        also: Option<u32>,
    },
    /// The provider has it, with everything that the incumbent has.
    Admitted {
        /// Which version.
        generation: u32,
        /// The provider's ids.
        provider: BTreeMap<String, String>,
        /// What was carried over.
        evidence: BTreeMap<String, String>,
    },
    /// A real request got through and a made-up key did not; the label may be moved from now on.
    Proved {
        /// Which version.
        generation: u32,
        /// Where.
        proof: Proof,
    },
    /// Consumers read it; its predecessor's overlap begins.
    Promoted {
        /// Which version.
        generation: u32,
    },
    /// Its rotation will never finish; its key may be suspended from now on.
    Abandoned {
        /// Which version.
        generation: u32,
        /// What ended it.
        why: Abandonment,
    },
    /// The rotation that chose it will never finish: it is a standby again, with the same key.
    Returned {
        /// Which version.
        generation: u32,
        /// What ended the rotation.
        why: Abandonment,
    },
    /// The use of its key was looked at. Who uses it, where a log tells, stands beside the event.
    Witnessed {
        /// Which version.
        generation: u32,
        /// What is known.
        usage: Usage,
        /// Per usage plan: what was left to all live keys together, and was given to each.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        settled: BTreeMap<String, Settlement>,
    },
    /// Its key may be refused for a moment from now on; whoever comes after that time brings it back.
    BrowningOut {
        /// Which version.
        generation: u32,
        /// The end.
        until: Time,
    },
    /// The moment is over: its key is accepted again.
    BrownedOut {
        /// Which version.
        generation: u32,
        /// How many requests were refused meanwhile, where a log tells.
        refused: Option<u64>,
        /// How many requests of our own showed that it is accepted again.
        ours: u64,
    },
    /// A person lets it go, whoever still uses it.
    Waived {
        /// Which version.
        generation: u32,
    },
    /// A rollback began: its key may be accepted again from now on.
    RollingBack {
        /// Which version is brought back.
        generation: u32,
        /// What it replaces.
        replaces: Replaces,
    },
    /// Whoever wrote this goes on with an intent whose writer's time is over, or puts its key right: nobody else touches
    /// it meanwhile.
    Claimed {
        /// Which version.
        generation: u32,
    },
    /// The provider has lost its key: one with the same value may be made from now on.
    Vanished {
        /// Which version.
        generation: u32,
    },
    /// The provider accepts its key again, with everything that was recorded.
    Restored {
        /// Which version.
        generation: u32,
        /// The provider's ids.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        provider: BTreeMap<String, String>,
    },
    /// The rollback that chose it will never finish.
    Forsaken {
        /// Which version.
        generation: u32,
        /// What ended the rollback.
        why: Abandonment,
    },
    /// Its secret is gone for good: nobody reads it any more, and nothing replaces it.
    Closed {
        /// The version that was current.
        generation: u32,
    },
    /// Its key may sign nothing from now on.
    Disabling {
        /// Which version.
        generation: u32,
        /// Why it may be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ground: Option<Ground>,
    },
    /// Its key signs nothing any more; verifiers still accept what it signed.
    Disabled {
        /// Which version.
        generation: u32,
    },
    /// Its key may be refused from now on.
    Suspending {
        /// Which version.
        generation: u32,
        /// Why it may be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ground: Option<Ground>,
    },
    /// Its key is refused; its soak begins.
    Suspended {
        /// Which version.
        generation: u32,
        /// What the provider calls it, where a crash had kept that from the records.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        provider: BTreeMap<String, String>,
    },
    /// A request with its key was refused; or nobody can show that it is.
    Refused {
        /// Which version.
        generation: u32,
        /// How long that took from the order on; `None`: not proved.
        after: Option<Period>,
        /// Why it is not proved.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unproved: Option<String>,
    },
    /// Its key may be deleted from now on.
    Destroying {
        /// Which version.
        generation: u32,
    },
    /// Its key is gone, as far as its kind can see to that.
    Destroyed {
        /// Which version.
        generation: u32,
    },
    /// The provider was searched for keys that lost answers had left behind.
    Swept {
        /// For which version they had been made.
        generation: u32,
        /// Their ids; their deletion is scheduled.
        found: Vec<String>,
    },
    /// A key that was made for it turned up after it was given up; it may be refused from now on.
    Recovered {
        /// Which version.
        generation: u32,
        /// The provider's ids.
        provider: BTreeMap<String, String>,
    },
    /// What did not agree with the records was put right.
    Mended {
        /// Its name.
        finding: String,
        /// What it was about.
        subject: String,
        /// Which version, if it was about one.
        generation: Option<u32>,
        /// What was taken into its record.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        provider: BTreeMap<String, String>,
    },
    /// Somebody put the same key into the secret again: a new carrier, not a new key.
    Carried {
        /// Which version.
        generation: u32,
        /// The new holder of `AWSCURRENT`.
        carrier: Token,
    },
    /// Nothing goes on, for a reason with a name.
    Held {
        /// Which version; `None` when none is concerned yet.
        generation: Option<u32>,
        /// Why.
        hold: Hold,
    },
}

impl Change {
    /// The same intent, naming what was drawn for it.
    #[must_use]
    pub fn naming(mut self, what: Drawn) -> Self {
        if let Self::Minting { drawn, .. } | Self::Drafting { drawn, .. } = &mut self {
            *drawn = Some(what);
        }
        self
    }

    /// The word for it in histories and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Adopted { .. } => "adopted",
            Self::Ordered { .. } => "ordered",
            Self::Requested { .. } => "requested",
            Self::Minting { .. } => "minting",
            Self::Minted { .. } => "minted",
            Self::Published { .. } => "published",
            Self::Drafting { .. } => "drafting",
            Self::Drafted { .. } => "drafted",
            Self::Admitted { .. } => "admitted",
            Self::Proved { .. } => "proved",
            Self::Promoted { .. } => "promoted",
            Self::Abandoned { .. } => "abandoned",
            Self::Returned { .. } => "returned",
            Self::Witnessed { .. } => "witnessed",
            Self::BrowningOut { .. } => "browning-out",
            Self::BrownedOut { .. } => "browned-out",
            Self::Waived { .. } => "waived",
            Self::RollingBack { .. } => "rolling-back",
            Self::Claimed { .. } => "claimed",
            Self::Vanished { .. } => "vanished",
            Self::Restored { .. } => "restored",
            Self::Forsaken { .. } => "forsaken",
            Self::Closed { .. } => "closed",
            Self::Disabling { .. } => "disabling",
            Self::Disabled { .. } => "disabled",
            Self::Suspending { .. } => "suspending",
            Self::Suspended { .. } => "suspended",
            Self::Refused { .. } => "refused",
            Self::Destroying { .. } => "destroying",
            Self::Destroyed { .. } => "destroyed",
            Self::Swept { .. } => "swept",
            Self::Recovered { .. } => "recovered",
            Self::Mended { .. } => "mended",
            Self::Carried { .. } => "carried",
            Self::Held { .. } => "held",
        }
    }

    /// Whether what follows is its writer's to finish.
    pub fn opens_intent(&self) -> bool {
        matches!(
            self,
            Self::Minting { .. }
                | Self::Minted { .. }
                | Self::Drafting { .. }
                | Self::Drafted { .. }
                | Self::Admitted { .. }
                | Self::Proved { .. }
                | Self::RollingBack { .. }
                | Self::Restored { .. }
                | Self::Claimed { .. }
                | Self::BrowningOut { .. }
                | Self::Disabling { .. }
                | Self::Suspending { .. }
                | Self::Recovered { .. }
                | Self::Destroying { .. }
        )
    }

    /// The version that it is about, if it is about one.
    pub fn generation(&self) -> Option<u32> {
        match self {
            Self::Adopted { generation, .. }
            | Self::Minting { generation, .. }
            | Self::Minted { generation, .. }
            | Self::Published { generation, .. }
            | Self::Drafting { generation, .. }
            | Self::Drafted { generation, .. }
            | Self::Admitted { generation, .. }
            | Self::Proved { generation, .. }
            | Self::Promoted { generation }
            | Self::Abandoned { generation, .. }
            | Self::Returned { generation, .. }
            | Self::Witnessed { generation, .. }
            | Self::BrowningOut { generation, .. }
            | Self::BrownedOut { generation, .. }
            | Self::Waived { generation }
            | Self::RollingBack { generation, .. }
            | Self::Claimed { generation }
            | Self::Vanished { generation }
            | Self::Restored { generation, .. }
            | Self::Forsaken { generation, .. }
            | Self::Closed { generation }
            | Self::Disabling { generation, .. }
            | Self::Disabled { generation }
            | Self::Suspending { generation, .. }
            | Self::Suspended { generation, .. }
            | Self::Refused { generation, .. }
            | Self::Destroying { generation }
            | Self::Destroyed { generation }
            | Self::Swept { generation, .. }
            | Self::Recovered { generation, .. }
            | Self::Carried { generation, .. } => Some(*generation),
            Self::Mended { generation, .. } | Self::Held { generation, .. } => *generation,
            Self::Ordered { .. } | Self::Requested { .. } => None,
        }
    }
}

/// What ended a rotation before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Abandonment {
    /// Secrets Manager came back with another token.
    OtherToken,
    /// Its token lost `AWSPENDING`.
    LostPending,
    /// An operator fenced it off, to make way for an emergency.
    Fenced,
    /// A person gave it up: it stopped half way.
    Repaired,
    /// Its value, which can't be changed, holds a key that was declared compromised.
    Tainted,
    /// Its own key was declared compromised before it was used.
    Compromised,
    /// There are more standbys than the owner wants.
    Surplus,
    /// It did not come to its end in its time.
    Expired,
}

/// Personal data and free text. Stands beside the event, which holds only its hash, so that it can be erased without
/// breaking the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Random hexadecimal digits: without them, an erased short text could be guessed from its hash.
    pub salt: String,
    /// The person, as AWS names them.
    pub who: String,
    /// Why, in their words.
    pub reason: String,
}

impl Note {
    /// What the event holds.
    pub fn hash(&self) -> String {
        digest(canonical(&serde_json::json!({"salt": self.salt, "who": self.who, "reason": self.reason})).as_bytes())
    }
}

/// One line of a credential's history. Stored as `EVT#<seq>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// Whose history.
    pub credential: CredentialName,
    /// 1 for the first.
    pub seq: u64,
    /// When.
    pub at: Time,
    /// Who.
    pub actor: Actor,
    /// What.
    #[serde(flatten)]
    pub change: Change,
    /// The hash of what stands beside it.
    pub note: Option<String>,
    /// The hash of the event before.
    pub previous: String,
    /// The hash of this one, over everything above.
    pub hash: String,
}

impl Event {
    pub(crate) fn chained(head: &Head, change: Change, stamp: &Stamp) -> Self {
        let mut event = Self {
            schema: SCHEMA,
            credential: head.name.clone(),
            seq: head.ledger.seq + 1,
            at: stamp.at,
            actor: stamp.actor,
            change,
            note: stamp.note.as_ref().map(Note::hash),
            previous: head.ledger.hash.clone(),
            hash: String::new(),
        };
        event.hash = event.digest();
        event
    }

    fn digest(&self) -> String {
        let mut value =
            serde_json::to_value(self).expect("an event is made of strings, numbers and maps with string keys");
        value.as_object_mut().expect("an event is an object").remove("hash");
        digest(canonical(&value).as_bytes())
    }
}

/// Where a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An event is missing, doubled or out of order.
    #[error("event {expected} of {credential} is missing: found {found}")]
    Sequence {
        /// Whose history.
        credential: CredentialName,
        /// The number that should follow.
        expected: u64,
        /// The number that does.
        found: u64,
    },
    /// An event does not follow from the one before.
    #[error("event {seq} of {credential} does not follow from the one before it")]
    Previous {
        /// Whose history.
        credential: CredentialName,
        /// Which event.
        seq: u64,
    },
    /// An event was changed after it was written.
    #[error("event {seq} of {credential} was changed after it was written")]
    Hash {
        /// Whose history.
        credential: CredentialName,
        /// Which event.
        seq: u64,
    },
    /// The history ends before the head says.
    #[error("the history of {credential} ends at event {found}, but its head says {expected}")]
    End {
        /// Whose history.
        credential: CredentialName,
        /// What the head says.
        expected: u64,
        /// What is there.
        found: u64,
    },
}

/// Follows a chain from its first event to the head.
pub fn verify<'a>(
    name: &CredentialName,
    events: impl IntoIterator<Item = &'a Event>,
    head: &Link,
) -> Result<(), Broken> {
    verify_from(name, 1, events, head)
}

/// Follows a chain from the event of that number to the head.
pub fn verify_from<'a>(
    name: &CredentialName,
    first: u64,
    events: impl IntoIterator<Item = &'a Event>,
    head: &Link,
) -> Result<(), Broken> {
    let credential = || name.clone();
    let mut events = events.into_iter().peekable();
    let before = events.peek().filter(|event| first > 1 && event.seq == first);
    let mut link = match before {
        Some(event) => Link { seq: first - 1, hash: event.previous.clone(), at: None },
        None => Link::genesis(name),
    };
    for event in events {
        if event.seq != link.seq + 1 {
            return Err(Broken::Sequence { credential: credential(), expected: link.seq + 1, found: event.seq });
        }
        if event.previous != link.hash || &event.credential != name {
            return Err(Broken::Previous { credential: credential(), seq: event.seq });
        }
        if event.hash != event.digest() {
            return Err(Broken::Hash { credential: credential(), seq: event.seq });
        }
        link = Link { seq: event.seq, hash: event.hash.clone(), at: Some(event.at) };
    }
    if link == *head {
        Ok(())
    } else {
        Err(Broken::End { credential: credential(), expected: head.seq, found: link.seq })
    }
}

/// JSON without white space, every object's keys sorted by their bytes.
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => out.push_str(&value.to_string()),
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            out.push('{');
            for (n, key) in keys.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(&map[key], out);
            }
            out.push('}');
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        use fmt::Write;
        write!(hex, "{byte:02x}").expect("writing to a String never fails");
        hex
    })
}
