//! The records of one credential.

mod apply;
mod stated;

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Time;
use crate::evidence::{Ground, Settlement, Usage};
use crate::hold::Held;
use crate::ledger::Link;
use crate::lifecycle::{Phase, Place, State};
use crate::name::{CredentialName, Token};
use crate::period::Period;
use crate::policy::Policy;

pub use apply::{Commit, Illegal, Stamp};
pub use stated::Unstated;

/// The schema of the stored forms. Raised with every change that an older reader would misread.
pub const SCHEMA: u32 = 7;

/// How long a key may take to be found after it was made: KMS shows a new key's tags within seconds, sometimes minutes.
/// Until then, and until the time of whoever was making it is over, a look-up that finds nothing proves nothing.
pub const LOOK_UP_LAG: TimeDelta = TimeDelta::minutes(5);
/// How long a key may be so young that its provider does not know it everywhere: until then, not found and not allowed are
/// answers for now. KMS's tags take up to five minutes to count in authorization.
pub const YOUTH: TimeDelta = TimeDelta::minutes(5);
/// Among the provider's names for an adopted key: when it was made, by RFC 3339.
pub const CREATED: &str = "created";
/// How long the provider may take to refuse a key everywhere, while nobody has seen how long it takes.
const UNSEEN_REFUSAL: TimeDelta = TimeDelta::minutes(5);
/// The longest time that a refusal is believed to take: what was seen later than that, nobody had looked at before.
const SLOWEST_REFUSAL: TimeDelta = TimeDelta::minutes(30);
/// How long a compromised key stays in the key set at the most, so that it is disabled first.
const DISABLED_FIRST: TimeDelta = TimeDelta::minutes(5);

/// Everything recorded of one credential but its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// What there is once.
    pub head: Head,
    /// What there is per generation.
    pub versions: BTreeMap<u32, Version>,
}

/// What there is once for each credential. Stored as `HEAD`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// The secret's name.
    pub name: CredentialName,
    /// The secret's full ARN, pinned: another ARN under the same name is another secret.
    pub arn: String,
    /// The credential's kind; empty until the first version is begun.
    pub kind: String,
    /// The fence: rises with every commit, and every commit names the one it saw. 0: not stored yet.
    pub revision: u64,
    /// The generation that consumers read.
    pub current: Option<u32>,
    /// The generation coming in.
    pub candidate: Option<u32>,
    /// Generations that are made ahead of their use: published, or about to be. None for kinds whose keys nobody
    /// fetches.
    #[serde(default)]
    pub standbys: Vec<u32>,
    /// The emergency that stands, if any.
    pub order: Option<Order>,
    /// The token of the rotation that a person asked for last, until one gets its version. Says what began it, and decides
    /// nothing. None in schema 5 and before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Token>,
    /// Why nothing goes on, when no version is concerned yet.
    pub held: Option<Held>,
    /// Since when its secret is known to be gone for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Time>,
    /// The end of the ledger's chain.
    pub ledger: Link,
    /// Where the oldest version begins that may still have a key somewhere: what is before it is history alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
}

/// A version, and the event that begins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// Which version.
    pub generation: u32,
    /// The event's number.
    pub seq: u64,
}

/// An emergency: written before anything is done, bound to the token that its rotation will use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// The `ClientRequestToken` that is given to `RotateSecret`.
    pub token: Token,
    /// The generations whose keys are known to somebody they should not be known to.
    pub compromised: Vec<u32>,
    /// When it was given.
    pub at: Time,
    /// Whether its new version is current.
    pub promoted: bool,
}

/// One generation. Stored as `VER#<generation>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// 1 for the first key of a credential.
    pub generation: u32,
    /// The number of the event that began it. None in schema 4 and before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_event: Option<u64>,
    /// Drawn at random, and stated by the event that begins it: names and tags of what is made for it follow from it,
    /// and nobody else can know them before. Derived from the credential and the generation where nothing is made: of
    /// a key that was adopted, and in schema 3 and before.
    pub id: Uuid,
    /// What was drawn for it, once for each try to make it, recorded before that was made. Whatever else is found is
    /// somebody else's. Its id is that of the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drawn: Vec<Drawn>,
    /// The Secrets Manager versions that hold this key; a candidate's last is the token of its rotation. A standby has
    /// none, unless a rotation that chose it was given up.
    pub carriers: Vec<Token>,
    /// Where it is in its life.
    pub state: State,
    /// What may be under way.
    pub phase: Option<Phase>,
    /// Whose intent the phase is: its writer's until then, anybody's afterwards. Without a phase: until when somebody
    /// may be putting its key right.
    pub open_until: Option<Time>,
    /// The version that was current when this one was begun.
    pub replaces: Option<Replaces>,
    /// The provider's names for it: ids, never values.
    pub provider: BTreeMap<String, String>,
    /// What was found and done on the way, for the history.
    pub evidence: BTreeMap<String, String>,
    /// The wishes in force when it was begun.
    pub policy: Policy,
    /// What proved it, once something did.
    pub proof: Option<Proof>,
    /// The keyed hash of its value, by which a leaked string is found.
    pub fingerprint: Option<Fingerprint>,
    /// The version whose key its value holds as well, so that both are used and accepted during the overlap.
    #[serde(default)]
    pub also: Option<u32>,
    /// Since when it is known to be compromised.
    pub compromised: Option<Time>,
    /// Why it does not go on.
    pub held: Option<Held>,
    /// When it was begun, or taken under management.
    pub created: Time,
    /// When the rotation began that brings it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Time>,
    /// When its key was made ahead of its use, or found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Time>,
    /// Since when verifiers can know its key.
    #[serde(default)]
    pub published: Option<Time>,
    /// When it became current.
    pub activated: Option<Time>,
    /// While it is current: since when a standby is missing.
    #[serde(default)]
    pub standby_due: Option<Time>,
    /// When another became current.
    pub deactivated: Option<Time>,
    /// When its key is to sign nothing any more.
    #[serde(default)]
    pub disable_at: Option<Time>,
    /// When that was done.
    #[serde(default)]
    pub disabled: Option<Time>,
    /// What is known of its use since it was deactivated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// How often that was looked at.
    #[serde(default)]
    pub looks: u64,
    /// What was left when all live keys were last settled.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settled: Settlements,
    /// How many requests of our own with its key may have been counted since it was deactivated.
    #[serde(default)]
    pub ours: u64,
    /// How many brownouts it has had.
    #[serde(default)]
    pub brownouts: u32,
    /// When the brownout that it is in began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brownout_began: Option<Time>,
    /// When the brownout that it is in ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brownout_until: Option<Time>,
    /// Whether a person lets it go, whoever still uses it.
    #[serde(default)]
    pub waived: bool,
    /// Why it may be refused, once that was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ground: Option<Ground>,
    /// When it is to be refused.
    pub suspend_at: Option<Time>,
    /// When its refusal was ordered: the exposure clock's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered: Option<Time>,
    /// When the provider was told to refuse it.
    pub suspended: Option<Time>,
    /// What showed that it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    /// When it is to be deleted.
    pub destroy_at: Option<Time>,
    /// When it was deleted.
    pub destroyed: Option<Time>,
    /// When the provider is to be searched for keys that lost answers left behind.
    #[serde(default)]
    pub sweep_at: Option<Time>,
}

/// What a candidate replaces: `AWSCURRENT` is moved from this carrier, and from no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaces {
    /// `None` when the credential had no key before.
    pub generation: Option<u32>,
    /// The holder of `AWSCURRENT` when the rotation began; `None` when nothing held it.
    pub carrier: Option<Token>,
}

/// What was drawn for a version, before the intent that names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// The version's id from then on.
    pub id: Uuid,
    /// To its value, or to what the provider was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Commitment>,
}

/// Fixes a value without telling it: HMAC-SHA-256 of the value, keyed with the id that was drawn with it, as base64. A
/// secret value has more than 128 random bits, so nobody finds it by trying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Commitment(pub String);

/// What a test showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Where a real request got through and a made-up key did not.
    pub proven: Vec<String>,
    /// Where nobody looked, because the owner named no probe.
    pub unproven: Vec<String>,
}

/// What became of the proof that a version's key is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// When it was recorded.
    pub at: Time,
    /// How long it took from the order to the first refusal; `None`: not proved.
    pub after: Option<Period>,
}

/// Per usage plan: what was left to all live keys when they were settled last.
pub type Settlements = BTreeMap<String, Settlement>;

/// A keyed hash of a value, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fingerprint {
    /// It was made.
    Made {
        /// Base64 of the MAC.
        mac: String,
        /// The ARN of the key that made it.
        key: String,
    },
    /// Its key could not be used. Nothing waits for that: only a leaked value can't be found by it.
    Missing {
        /// What AWS said.
        missing: String,
    },
}

impl Fingerprint {
    /// The MAC, if it was made.
    pub fn mac(&self) -> Option<&str> {
        match self {
            Self::Made { mac, .. } => Some(mac),
            Self::Missing { .. } => None,
        }
    }
}

impl Version {
    /// State and phase together.
    pub fn place(&self) -> Place {
        Place(self.state, self.phase)
    }

    /// When retirement must look at it; `None` when time alone changes nothing.
    pub fn due(&self) -> Option<Time> {
        let natural = match (self.state, self.phase) {
            // A standby that is to go; the others wait for a rotation.
            (State::PreActivation, None) => self.suspend_at,
            (State::PreActivation, Some(Phase::Minting)) => self.open_until.map(|until| until + LOOK_UP_LAG),
            (State::Active, _) => self.standby_due,
            (State::Deactivated, None) => {
                let refuse = self.refusal_due();
                // What its use holds, another look ends.
                if self.held.as_ref().is_some_and(|held| held.hold.reason.is_use()) {
                    return refuse.into_iter().chain(self.look_at()).chain(self.sweep_at).min();
                }
                let brownout = self.next_brownout(TimeDelta::zero()).map(|(at, _)| at);
                refuse.into_iter().chain(self.look_at()).chain(brownout).min()
            }
            (State::Deactivated, Some(Phase::BrowningOut)) => self.compromised.or(self.brownout_until),
            _ if self.is_refused_by_anybody() => self.compromised,
            (State::Suspended, None) if self.refused.is_none() => self.suspended,
            (State::Suspended, None) => self.destroy_at,
            (State::PreActivation | State::Deactivated | State::Suspended, Some(_)) => self.open_until,
            (State::Destroyed, _) => None,
        };
        // Whoever is putting its key right has two minutes.
        let claimed = self.open_until.filter(|_| self.phase.is_none());
        let at = natural.into_iter().chain(self.sweep_at).min()?;
        let at = claimed.map_or(at, |until| at.max(until));
        // What its use holds is looked at as often as its use is.
        let held = self.held.as_ref().filter(|held| !held.hold.reason.is_use());
        Some(held.map_or(at, |held| at.max(held.look_again)))
    }

    /// Until when anything may be done with its key under the intent that stands; `None` if none does. A brownout's intent
    /// ends with the brownout.
    pub fn claimed_until(&self, now: Time) -> Option<Time> {
        let brownout = self.brownout_until.filter(|_| self.phase == Some(Phase::BrowningOut));
        let until = self.open_until.filter(|until| *until > now)?;
        Some(brownout.filter(|end| *end > now).map_or(until, |end| until.min(end)))
    }

    /// When it is to be disabled or refused; while its use holds that, when it is no longer waited for.
    fn refusal_due(&self) -> Option<Time> {
        let at = self.disable_at.filter(|_| self.disabled.is_none()).into_iter().chain(self.suspend_at).min()?;
        let held = self.held.as_ref().map(|held| held.hold.reason);
        match self.gate(at) {
            Err(hold) if held == Some(hold.reason) => {
                let watch = self.policy.watch.as_ref()?;
                self.ceiling().filter(|_| watch.at_ceiling == crate::policy::Otherwise::Suspend)
            }
            Ok(_) | Err(_) => Some(at),
        }
    }

    /// Whether everybody may refuse its key at once, whoever's intent stands: it is compromised, and nobody can be about to
    /// let it be accepted again. A rollback that was given up may be: of what it brought back it is known when it was
    /// suspended.
    fn is_refused_by_anybody(&self) -> bool {
        let is_going = matches!(self.phase, Some(Phase::Disabling | Phase::Suspending));
        self.compromised.is_some() && self.state == State::Deactivated && is_going && self.suspended.is_none()
    }

    /// Whether a rollback is bringing it back.
    pub fn is_coming_back(&self) -> bool {
        self.activated.is_some()
            && self.state != State::Active
            && matches!(self.phase, Some(Phase::Restoring | Phase::Proving | Phase::Promoting))
    }

    /// The token of its rotation, while it is a candidate; later the last version that somebody put its key in.
    pub fn token(&self) -> Option<&Token> {
        self.carriers.last()
    }

    /// Whether one of its tries was to make what has that commitment under that id. Until schema 3 none was recorded.
    pub fn expects(&self, commitment: impl Fn(Uuid) -> Commitment) -> bool {
        self.drawn.is_empty() || self.drawn.iter().any(|drawn| drawn.commitment == Some(commitment(drawn.id)))
    }

    /// Its id, and those of earlier tries: what was made for it carries one of them.
    pub fn ids(&self) -> BTreeSet<Uuid> {
        self.drawn.iter().map(|drawn| drawn.id).chain([self.id]).collect()
    }

    /// Whether its owner wants evidence that nobody uses it before it is refused.
    pub fn is_gated(&self) -> bool {
        self.policy.is_gated()
    }

    /// Since when its key may be in somebody's hands: of an adopted one, since its provider made it.
    pub fn in_use_since(&self) -> Option<Time> {
        let made = self.provider.get(CREATED).and_then(|made| made.parse().ok());
        made.filter(|_| self.activated.is_some()).or(self.activated)
    }

    /// Whether its key was made so lately that its provider may not know it everywhere.
    pub fn is_young(&self, now: Time) -> bool {
        self.made.is_some_and(|at| now < at + YOUTH)
    }

    /// Whether it waits, published, for a rotation.
    pub fn is_standby(&self) -> bool {
        self.place() == Place(State::PreActivation, None)
    }

    /// Whether its key is to be in the key set now: until its deadline, and then until somebody has recorded that it may
    /// go. A compromised one goes at its deadline, whether or not anybody has recorded so.
    pub fn is_published(&self, now: Time) -> bool {
        if self.published.is_none() {
            return false;
        }
        match (self.state, self.phase) {
            (State::PreActivation, phase) => phase != Some(Phase::Suspending),
            (State::Active, _) => true,
            (State::Deactivated, _) => {
                if self.compromised.is_some() {
                    // It is disabled first, so that its signers see an error before verifiers do; but nobody waits long
                    // for that.
                    return self.suspend_at.is_none_or(|at| now < at + DISABLED_FIRST);
                }
                // Whoever withdraws it sees first that nobody signs with it: a label may have moved back to it.
                let is_kept = self.phase != Some(Phase::Suspending) || self.held.is_some();
                is_kept || self.suspend_at.is_none_or(|at| now < at)
            }
            (State::Suspended | State::Destroyed, _) => false,
        }
    }

    /// The last moment at which a verifier may still trust it, once it is withdrawn: one that fetched the key set just
    /// before.
    pub fn trusted_until(&self) -> Option<Time> {
        let publication = self.policy.publication.as_ref().filter(|_| self.published.is_some())?;
        let withdrawn = self.suspended.or(self.suspend_at)?;
        Some(withdrawn + publication.verifier_cache.delta())
    }

    /// Until when verifiers that fetched the key set before this key was in it may refuse what it signs; `None` if it
    /// was published for long enough before it became current.
    pub fn strange_until(&self) -> Option<Time> {
        let publication = self.policy.publication.as_ref()?;
        // Nobody has a key set of a credential that had none.
        self.replaces.as_ref()?.generation?;
        let known = self.published? + publication.verifier_cache.delta();
        Some(known).filter(|known| self.activated.is_some_and(|activated| activated < *known))
    }

    /// Whether it became current without a request having proved it.
    pub fn is_unproven(&self) -> bool {
        self.proof.as_ref().is_none_or(|proof| proof.proven.is_empty())
    }
}

impl Credential {
    /// A credential of which nothing is recorded yet.
    pub fn empty(name: CredentialName, arn: &str) -> Self {
        let ledger = Link::genesis(&name);
        Self {
            head: Head {
                schema: SCHEMA,
                name,
                arn: arn.to_owned(),
                kind: String::new(),
                revision: 0,
                current: None,
                candidate: None,
                standbys: Vec::new(),
                order: None,
                request: None,
                held: None,
                closed: None,
                ledger,
                floor: None,
            },
            versions: BTreeMap::new(),
        }
    }

    /// The version that holds that token, as a carrier.
    pub fn by_carrier(&self, token: &Token) -> Option<&Version> {
        // The youngest: a token that a given-up rotation had used for one key may be used for another.
        self.versions.values().rev().find(|version| version.carriers.contains(token))
    }

    /// The version that consumers read.
    pub fn current(&self) -> Option<&Version> {
        self.head.current.and_then(|generation| self.versions.get(&generation))
    }

    /// The version coming in.
    pub fn candidate(&self) -> Option<&Version> {
        self.head.candidate.and_then(|generation| self.versions.get(&generation))
    }

    /// The versions whose keys are to be in the key set now, oldest first.
    pub fn published(&self, now: Time) -> impl Iterator<Item = &Version> {
        self.versions.values().filter(move |version| version.is_published(now))
    }

    /// Published versions that a rotation may choose, the one that was published first at the front.
    pub fn standbys(&self) -> Vec<&Version> {
        let standbys = self.head.standbys.iter().filter_map(|generation| self.versions.get(generation));
        let mut ready: Vec<&Version> =
            standbys.filter(|version| version.is_standby() && version.compromised.is_none()).collect();
        ready.sort_by_key(|version| (version.published, version.generation));
        ready
    }

    /// The standby that is still being made, if one is.
    pub fn being_made(&self) -> Option<&Version> {
        let mut standbys = self.head.standbys.iter().filter_map(|generation| self.versions.get(generation));
        standbys.find(|version| !version.is_standby() && version.compromised.is_none())
    }

    /// Whether a candidate must not become current: its own key, or one that its value holds as well, is compromised.
    pub fn is_tainted(&self, version: &Version) -> bool {
        let also = version.also.and_then(|generation| self.versions.get(&generation));
        version.compromised.is_some() || also.is_some_and(|also| also.compromised.is_some())
    }

    /// The number that the next version gets.
    pub fn next_generation(&self) -> u32 {
        let first = self.head.floor.map_or(1, |floor| floor.generation);
        self.versions.keys().last().map_or(first, |last| last + 1)
    }

    /// How many versions still have a key somewhere.
    pub fn live(&self) -> usize {
        self.versions.values().filter(|version| version.state != State::Destroyed).count()
    }

    /// The generations whose keys get through now.
    pub fn accepted(&self) -> Vec<u32> {
        self.versions.values().filter(|version| version.state.is_accepted()).map(|version| version.generation).collect()
    }

    /// The token of a rotation that a person begins now, for that purpose: derived from the end of the ledger, so that
    /// repeating the request is the same request, and nobody who can't read the ledger knows it before.
    pub fn next_token(&self, purpose: &str) -> Token {
        let name = format!("{purpose} {} {}", self.head.arn, self.head.ledger.hash);
        Token::derived(&name)
    }

    /// Per usage plan: what was left to all live keys when they were settled last.
    pub fn settled(&self) -> Settlements {
        let mut settled = Settlements::new();
        for (plan, one) in self.versions.values().flat_map(|version| &version.settled) {
            let used = |one: &Settlement| (one.since, one.used.values().sum::<i64>());
            if settled.get(plan).is_none_or(|other| used(other) < used(one)) {
                settled.insert(plan.clone(), one.clone());
            }
        }
        settled
    }

    /// The longest time that a refusal of one of its keys was seen to take; five minutes while none was seen. Of a
    /// compromised key it counts from its emergency on, which says nothing of the provider.
    pub fn slowest_refusal(&self) -> TimeDelta {
        let versions = self.versions.values().filter(|version| version.compromised.is_none());
        let seen = versions.filter_map(|version| version.refused.as_ref()?.after);
        seen.max().map_or(UNSEEN_REFUSAL, |after| after.delta().min(SLOWEST_REFUSAL))
    }
}
