//! What a history states. Records count only as far as it does: whoever can write one item can't make it say so.

use std::collections::BTreeSet;

use crate::ledger::{Broken, Change, Event, Link, verify_from};
use crate::name::CredentialName;

use super::{Credential, Floor, Illegal, Stamp, Version};

/// Why a history states nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unstated {
    /// Its chain does not hold.
    #[error("the history is broken")]
    Broken(#[from] Broken),
    /// It tells of something that can't have happened.
    #[error("the history tells of what can't have happened")]
    Illegal(#[from] Illegal),
}

impl Credential {
    /// The records as a chain of events states them, up to its end in a head; from its first event, or from the one that
    /// begins the version at the floor. The secret's ARN and until when an intent is its writer's stand in no event.
    pub fn stated(
        name: &CredentialName,
        arn: &str,
        floor: Option<Floor>,
        events: &[Event],
        end: &Link,
    ) -> Result<Self, Unstated> {
        verify_from(name, floor.map_or(1, |floor| floor.seq), events, end)?;
        let first = floor.map_or(1, |floor| floor.generation);
        let mut stated = Self::empty(name.clone(), arn);
        stated.head.floor = floor;
        for event in events {
            let stamp = Stamp { at: event.at, until: event.at, actor: event.actor, note: None };
            stated.head.ledger.seq = event.seq - 1;
            if let Some(change) = from_on(&event.change, first) {
                stated.undergo(&change, &stamp)?;
            } else if matches!(event.change, Change::Promoted { .. } | Change::Closed { .. }) {
                // A version from before the floor was brought back: what was current then is so no longer.
                stated.displace(&stamp)?;
            }
        }
        stated.head.ledger = end.clone();
        Ok(stated)
    }

    /// In what these records differ from stated ones, per generation; `None` for the head. Whether somebody may still be
    /// at work, and what the last look saw, is no fact of a key.
    pub fn differs_from(&self, stated: &Self) -> Vec<(Option<u32>, Vec<&'static str>)> {
        let first = stated.versions.keys().next().copied().unwrap_or(1);
        let mut found = Vec::new();
        let (ours, theirs) = (&self.head, &stated.head);
        let head = differing([
            ("current", ours.current == theirs.current),
            ("candidate", ours.candidate == theirs.candidate),
            ("order", ours.order == theirs.order),
            ("closed", ours.closed == theirs.closed),
        ]);
        found.extend((!head.is_empty()).then_some((None, head)));
        let generations = self.versions.range(first..).map(|(generation, _)| generation);
        let generations: BTreeSet<u32> = generations.chain(stated.versions.keys()).copied().collect();
        for generation in generations {
            let differ = match (self.versions.get(&generation), stated.versions.get(&generation)) {
                (Some(recorded), Some(stated)) => recorded.differs_from(stated),
                (Some(_), None) => vec!["the whole version, of which the history says nothing"],
                (None, _) => vec!["the whole version, which is missing"],
            };
            found.extend((!differ.is_empty()).then_some((Some(generation), differ)));
        }
        found
    }
}

impl Version {
    /// Which facts of a key differ from what is stated.
    pub fn differs_from(&self, stated: &Self) -> Vec<&'static str> {
        differing([
            ("id", self.id == stated.id),
            ("drawn", self.drawn == stated.drawn),
            ("carriers", self.carriers == stated.carriers),
            ("state", self.state == stated.state),
            ("phase", self.phase == stated.phase),
            ("provider", self.provider == stated.provider),
            ("policy", self.policy == stated.policy),
            ("proof", self.proof == stated.proof),
            ("fingerprint", self.fingerprint == stated.fingerprint),
            ("also", self.also == stated.also),
            ("compromised", self.compromised == stated.compromised),
            ("published", self.published == stated.published),
            ("activated", self.activated == stated.activated),
            ("deactivated", self.deactivated == stated.deactivated),
            ("disabled", self.disabled == stated.disabled),
            ("waived", self.waived == stated.waived),
            ("ground", self.ground == stated.ground),
            // Of a standby it follows from how many its owner wanted then, which may be before the floor.
            ("suspendAt", self.activated.is_none() || self.suspend_at == stated.suspend_at),
            ("suspended", self.suspended == stated.suspended),
            ("destroyAt", self.destroy_at == stated.destroy_at),
            ("destroyed", self.destroyed == stated.destroyed),
        ])
    }
}

fn differing<const N: usize>(facts: [(&'static str, bool); N]) -> Vec<&'static str> {
    facts.into_iter().filter_map(|(fact, is_same)| (!is_same).then_some(fact)).collect()
}

/// A change as far as it is about versions from that one on.
fn from_on(change: &Change, first: u32) -> Option<Change> {
    if let Change::Ordered { token, compromised } = change {
        let compromised = compromised.iter().copied().filter(|generation| *generation >= first).collect();
        return Some(Change::Ordered { token: token.clone(), compromised });
    }
    change.generation().is_none_or(|generation| generation >= first).then(|| change.clone())
}
