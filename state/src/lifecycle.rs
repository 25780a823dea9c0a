//! The life of one key version.
//!
//! ```text
//!  a key that verifiers must know before it signs
//!    Minting ─Minted─► Publishing ─Published─► PreActivation, the standby
//!                                                │ Drafting     ▲ Returned
//!  any other key                                 ▼              │
//!    begun ────────────► PreActivation/Drafting ─► Admitting ─► Proving ─► Promoting ─Promoted─► Active ◄────────┐
//!                                       │     Drafted     Admitted    Proved                       │ Superseded  │
//!                                       └──── Abandoned (a standby too) ──┐                        ▼             │
//!                                                                         │   Disabling ◄──── Deactivated ──┐    │
//!                                                                         │        └─Disabled────►  │  ▲    │    │
//!                                                                         │  BrowningOut ◄──────────┤  │    │    │
//!                                                                         │        └─Restored───────┼──┘    │    │
//!                                                                         │                         │ Suspending │
//!                                                            PreActivation/Suspending   Deactivated/Suspending   │
//!                                                                         │ Suspended               │ Suspended  │
//!                                                                         └──────► Suspended ◄──────┘       │    │
//!                                                                                  │      │ Restoring       │    │
//!                                                                       Destroying │      ▼                 ▼    │
//!                                                                                  │   Restoring ─Restored─► Proving
//!                                                                                  ▼   (rollback)    Proved │    │
//!                                                                       Suspended/Destroying                ▼    │
//!                                                                                  │ Destroyed       Promoting ──┘
//!                                                                                  ▼                    Promoted
//!                                                                              Destroyed
//! ```
//!
//! A rollback brings a deactivated or suspended version back by the last phases of a rotation; `Forsaken` ends one that
//! will not come to its end: what was deactivated is so again, what was suspended is suspended again.
//!
//! A standby is `PreActivation` without a phase: published, and used by nobody. A deactivated signing key is disabled
//! first, which stops signing and rejects nobody, and stays `Deactivated` until its last token has died.
//!
//! The states are those of NIST SP 800-57 part 1. NIST suspends only active keys; a deactivated API key is still
//! accepted, so we also suspend deactivated ones. A version can be marked compromised in any state.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a version is in its life. In lifecycle order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Being made: accepted perhaps, used by nobody.
    PreActivation,
    /// What consumers read as `AWSCURRENT`.
    Active,
    /// Still accepted, for those who have not read the new one yet.
    Deactivated,
    /// Refused, but can be brought back.
    Suspended,
    /// Gone for good.
    Destroyed,
}

impl State {
    /// All of them, in lifecycle order.
    pub const ALL: [Self; 5] = [Self::PreActivation, Self::Active, Self::Deactivated, Self::Suspended, Self::Destroyed];

    /// Whether requests with this version's key get through.
    pub fn is_accepted(self) -> bool {
        match self {
            Self::Active | Self::Deactivated => true,
            Self::PreActivation | Self::Suspended | Self::Destroyed => false,
        }
    }

    /// The word used everywhere: records, metrics, command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::PreActivation => "pre-activation",
            Self::Active => "active",
            Self::Deactivated => "deactivated",
            Self::Suspended => "suspended",
            Self::Destroyed => "destroyed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What may be under way inside a state: the intent that was written before the act. A present participle, because
/// after a crash it may already have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The provider may have made the key.
    Minting,
    /// Verifiers may already see the key.
    Publishing,
    /// The value may have been put under the token.
    Drafting,
    /// The provider may already know the key.
    Admitting,
    /// Requests with the key may have been sent.
    Proving,
    /// The label may have moved.
    Promoting,
    /// The key may be accepted again: a rollback.
    Restoring,
    /// The key may be refused for a moment, to flush out who still uses it.
    BrowningOut,
    /// The key may already sign nothing any more.
    Disabling,
    /// The key may already be refused.
    Suspending,
    /// The key may already be gone.
    Destroying,
}

impl Phase {
    /// All of them, in lifecycle order.
    pub const ALL: [Self; 11] = [
        Self::Minting,
        Self::Publishing,
        Self::Drafting,
        Self::Admitting,
        Self::Proving,
        Self::Promoting,
        Self::Restoring,
        Self::BrowningOut,
        Self::Disabling,
        Self::Suspending,
        Self::Destroying,
    ];

    /// The word used everywhere.
    pub fn word(self) -> &'static str {
        match self {
            Self::Minting => "minting",
            Self::Publishing => "publishing",
            Self::Drafting => "drafting",
            Self::Admitting => "admitting",
            Self::Proving => "proving",
            Self::Promoting => "promoting",
            Self::Restoring => "restoring",
            Self::BrowningOut => "browning-out",
            Self::Disabling => "disabling",
            Self::Suspending => "suspending",
            Self::Destroying => "destroying",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// State and phase together: where exactly a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub State, pub Option<Phase>);

impl Place {
    /// Every place that can be reached, in lifecycle order.
    pub const ALL: [Self; 20] = [
        Self(State::PreActivation, Some(Phase::Minting)),
        Self(State::PreActivation, Some(Phase::Publishing)),
        Self(State::PreActivation, None),
        Self(State::PreActivation, Some(Phase::Drafting)),
        Self(State::PreActivation, Some(Phase::Admitting)),
        Self(State::PreActivation, Some(Phase::Proving)),
        Self(State::PreActivation, Some(Phase::Promoting)),
        Self(State::PreActivation, Some(Phase::Suspending)),
        Self(State::Active, None),
        Self(State::Deactivated, None),
        Self(State::Deactivated, Some(Phase::BrowningOut)),
        Self(State::Deactivated, Some(Phase::Restoring)),
        Self(State::Deactivated, Some(Phase::Proving)),
        Self(State::Deactivated, Some(Phase::Promoting)),
        Self(State::Deactivated, Some(Phase::Disabling)),
        Self(State::Deactivated, Some(Phase::Suspending)),
        Self(State::Suspended, None),
        Self(State::Suspended, Some(Phase::Restoring)),
        Self(State::Suspended, Some(Phase::Destroying)),
        Self(State::Destroyed, None),
    ];
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(phase) => f.pad(&format!("{}/{phase}", self.0)),
            None => f.pad(self.0.word()),
        }
    }
}

/// What can happen to one version. In lifecycle order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transition {
    /// The provider has made the key.
    Minted,
    /// Verifiers can know the key.
    Published,
    /// A rotation chose the standby: its value may be put under the rotation's token.
    Drafting,
    /// The rotation that chose it will never finish: it is a standby again.
    Returned,
    /// The value is under its token.
    Drafted,
    /// The provider accepts the key, wherever it must.
    Admitted,
    /// A real request got through and a wrong one did not.
    Proved,
    /// The label moved: consumers read it from now on.
    Promoted,
    /// Another version became current.
    Superseded,
    /// The rotation that made it will never finish.
    Abandoned,
    /// About to be brought back: a rollback chose it.
    Restoring,
    /// The provider accepts it again, as the records say that it should.
    Restored,
    /// The rollback that chose it will never finish.
    Forsaken,
    /// About to be refused for a moment.
    BrowningOut,
    /// About to sign nothing any more.
    Disabling,
    /// It signs nothing any more; what it signed is still accepted.
    Disabled,
    /// About to be refused.
    Suspending,
    /// Refused.
    Suspended,
    /// About to be deleted.
    Destroying,
    /// Deleted.
    Destroyed,
    /// It was given up before anybody saw its key, and the key turned up.
    Recovered,
}

impl Transition {
    /// All of them, in lifecycle order.
    pub const ALL: [Self; 21] = [
        Self::Minted,
        Self::Published,
        Self::Drafting,
        Self::Returned,
        Self::Drafted,
        Self::Admitted,
        Self::Proved,
        Self::Promoted,
        Self::Superseded,
        Self::Abandoned,
        Self::Restoring,
        Self::Restored,
        Self::Forsaken,
        Self::BrowningOut,
        Self::Disabling,
        Self::Disabled,
        Self::Suspending,
        Self::Suspended,
        Self::Destroying,
        Self::Destroyed,
        Self::Recovered,
    ];
}

/// The transition table. `None` means: this can't happen to a version that is there.
pub fn next(from: Place, transition: Transition) -> Option<Place> {
    use Phase::{
        Admitting, BrowningOut, Destroying, Disabling, Drafting, Minting, Promoting, Proving, Publishing, Restoring,
        Suspending,
    };
    use State::{Active, Deactivated, Destroyed, PreActivation, Suspended};
    let Place(state, phase) = from;
    let to = match transition {
        Transition::Minted if (state, phase) == (PreActivation, Some(Minting)) => {
            Place(PreActivation, Some(Publishing))
        }
        Transition::Published if (state, phase) == (PreActivation, Some(Publishing)) => Place(PreActivation, None),
        Transition::Drafting if (state, phase) == (PreActivation, None) => Place(PreActivation, Some(Drafting)),
        Transition::Returned
            if state == PreActivation && matches!(phase, Some(Drafting | Admitting | Proving | Promoting)) =>
        {
            Place(PreActivation, None)
        }
        Transition::Drafted if (state, phase) == (PreActivation, Some(Drafting)) => {
            Place(PreActivation, Some(Admitting))
        }
        Transition::Admitted if (state, phase) == (PreActivation, Some(Admitting)) => {
            Place(PreActivation, Some(Proving))
        }
        Transition::Proved if matches!(state, PreActivation | Deactivated) && phase == Some(Proving) => {
            Place(state, Some(Promoting))
        }
        Transition::Promoted if matches!(state, PreActivation | Deactivated) && phase == Some(Promoting) => {
            Place(Active, None)
        }
        Transition::Superseded if (state, phase) == (Active, None) => Place(Deactivated, None),
        Transition::Abandoned if state == PreActivation && phase != Some(Suspending) => {
            Place(PreActivation, Some(Suspending))
        }
        Transition::Restoring if matches!(state, Deactivated | Suspended) && phase.is_none() => {
            Place(state, Some(Restoring))
        }
        Transition::Restored if matches!(state, Deactivated | Suspended) && phase == Some(Restoring) => {
            Place(Deactivated, Some(Proving))
        }
        Transition::Restored if (state, phase) == (Deactivated, Some(BrowningOut)) => Place(Deactivated, None),
        // What should be accepted, and was not.
        Transition::Restored if matches!(state, PreActivation | Active | Deactivated) && phase.is_none() => from,
        Transition::Forsaken if (state, phase) == (Suspended, Some(Restoring)) => Place(Deactivated, Some(Suspending)),
        Transition::Forsaken if state == Deactivated && matches!(phase, Some(Restoring | Proving | Promoting)) => {
            Place(Deactivated, None)
        }
        Transition::BrowningOut if (state, phase) == (Deactivated, None) => Place(Deactivated, Some(BrowningOut)),
        Transition::Disabling if (state, phase) == (Deactivated, None) => Place(Deactivated, Some(Disabling)),
        Transition::Disabled if (state, phase) == (Deactivated, Some(Disabling)) => Place(Deactivated, None),
        Transition::Suspending if (state, phase) == (Deactivated, None) => Place(Deactivated, Some(Suspending)),
        Transition::Suspended if phase == Some(Suspending) => Place(Suspended, None),
        Transition::Destroying if (state, phase) == (Suspended, None) => Place(Suspended, Some(Destroying)),
        Transition::Destroyed if (state, phase) == (Suspended, Some(Destroying)) => Place(Destroyed, None),
        Transition::Recovered if matches!(state, Suspended | Destroyed) => Place(PreActivation, Some(Suspending)),
        Transition::Minted
        | Transition::Published
        | Transition::Drafting
        | Transition::Returned
        | Transition::Drafted
        | Transition::Admitted
        | Transition::Proved
        | Transition::Promoted
        | Transition::Superseded
        | Transition::Abandoned
        | Transition::Restoring
        | Transition::Restored
        | Transition::Forsaken
        | Transition::BrowningOut
        | Transition::Disabling
        | Transition::Disabled
        | Transition::Suspending
        | Transition::Suspended
        | Transition::Destroying
        | Transition::Destroyed
        | Transition::Recovered => return None,
    };
    Some(to)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn the_transition_table() {
        let mut table = String::new();
        for place in Place::ALL {
            for transition in Transition::ALL {
                if let Some(to) = next(place, transition) {
                    writeln!(table, "{place:<26} {:<12} {to}", format!("{transition:?}")).unwrap();
                }
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn every_transition_leads_to_a_known_place() {
        for place in Place::ALL {
            for transition in Transition::ALL {
                if let Some(to) = next(place, transition) {
                    assert!(Place::ALL.contains(&to), "{place} -{transition:?}-> {to}");
                }
            }
        }
    }
}
