//! A credential in a few words: what a list of many shows, and what is stored for it beside the head.

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::credential::{Credential, Version};
use crate::hold::HoldReason;
use crate::lifecycle::State;

/// What there is to say of one credential among many. It follows from the records, and decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The credential's kind; empty until the first version is begun.
    pub kind: String,
    /// The version that consumers read, its state, and when it became current.
    pub current: Option<Current>,
    /// How many versions still have a key somewhere.
    pub versions: usize,
    /// Whether a candidate is coming in.
    pub rotating: bool,
    /// Whether an earlier version is being brought back.
    pub rolling_back: bool,
    /// Every hold, each once.
    pub held: Vec<HoldReason>,
    /// Versions that are kept by their use.
    pub waiting: Vec<Waiting>,
    /// Whether an emergency is open.
    pub emergency: bool,
    /// Whether its secret is gone for good.
    pub closed: bool,
}

/// The version that consumers read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// Which one.
    pub generation: u32,
    /// Where it is in its life.
    pub state: State,
    /// When it became current.
    pub since: Option<Time>,
}

/// A version that waits for its last user, or for evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Which one.
    pub generation: u32,
    /// What it waits for.
    pub reason: HoldReason,
    /// Since when.
    pub since: Time,
    /// When it was used last, as far as anybody saw.
    pub last_used: Option<Time>,
    /// When it is no longer waited for.
    pub ceiling: Option<Time>,
}

impl Credential {
    /// What a list shows of it.
    pub fn summary(&self) -> Summary {
        let holds = self.head.held.iter().chain(self.versions.values().filter_map(|version| version.held.as_ref()));
        let mut held: Vec<HoldReason> = holds.map(|held| held.hold.reason).collect();
        held.sort_unstable_by_key(|reason| reason.word());
        held.dedup();
        let rolling_back = self.candidate().is_some_and(Version::is_coming_back);
        Summary {
            kind: self.head.kind.clone(),
            current: self.current().map(|version| Current {
                generation: version.generation,
                state: version.state,
                since: version.activated,
            }),
            versions: self.live(),
            rotating: !rolling_back && self.head.candidate.is_some(),
            rolling_back,
            held,
            waiting: self.versions.values().filter_map(waiting).collect(),
            emergency: self.head.order.is_some(),
            closed: self.head.closed.is_some(),
        }
    }
}

fn waiting(version: &Version) -> Option<Waiting> {
    let held = version.held.as_ref().filter(|held| held.hold.reason.is_use())?;
    Some(Waiting {
        generation: version.generation,
        reason: held.hold.reason,
        since: held.since,
        last_used: version.usage.as_ref().and_then(|usage| usage.last_used),
        ceiling: version.ceiling(),
    })
}
