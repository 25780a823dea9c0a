//! What the data plane knows of keys, which is what the control plane knew a while ago.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A key as the data plane admits it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admission<'e> {
    pub(super) enabled: bool,
    /// Ids of the usage plans that it is in.
    pub(super) plans: &'e BTreeSet<String>,
}

/// Every key's admissions, each with the time from which it holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Edge {
    keys: BTreeMap<String, Known>,
    /// Ids by value. More than one while a deleted key's value, used again, is still on its way.
    ids: BTreeMap<String, Vec<String>>,
}

/// What is known of one key. Its two halves travel on their own: they may be delayed differently.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    value: String,
    /// `None` once the key is deleted.
    enabled: Timeline<Option<bool>>,
    plans: Timeline<BTreeSet<String>>,
}

/// Changes in the order in which they were made, each with the time from which it holds. One that
/// was made later wins, even if it arrives first.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Timeline<T>(Vec<(DateTime<Utc>, T)>);

impl<T: PartialEq> Timeline<T> {
    fn at(&self, now: DateTime<Utc>) -> Option<&T> {
        self.0.iter().rev().find(|(from, _)| *from <= now).map(|(_, value)| value)
    }

    /// Forgets what was over before `now`. What already is, or is on its way, stays as it is.
    fn push(&mut self, value: T, now: DateTime<Utc>, from: DateTime<Utc>) {
        if self.0.last().is_none_or(|(_, last)| *last != value) {
            self.0.push((from, value));
        }
        if let Some(current) = self.0.iter().rposition(|(from, _)| *from <= now) {
            self.0.drain(..current);
        }
    }
}

impl Edge {
    /// From `from` on, the key is enabled or disabled, or gone (`None`).
    pub(super) fn publish_state(
        &mut self,
        id: &str,
        value: &str,
        enabled: Option<bool>,
        now: DateTime<Utc>,
        from: DateTime<Utc>,
    ) {
        let known = self.known(id, value);
        known.enabled.push(enabled, now, from);
        if matches!(known.enabled.0.as_slice(), [(from, None)] if *from <= now) {
            self.forget(id);
        }
    }

    /// From `from` on, the key is in those plans.
    pub(super) fn publish_plans(
        &mut self,
        id: &str,
        value: &str,
        plans: BTreeSet<String>,
        now: DateTime<Utc>,
        from: DateTime<Utc>,
    ) {
        self.known(id, value).plans.push(plans, now, from);
    }

    /// Whether anything was ever published of the key.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    /// The key with that value, as it is admitted now.
    pub(super) fn find(&self, value: &str, now: DateTime<Utc>) -> Option<(&str, Admission<'_>)> {
        let admitted = |id: &String| {
            let (id, known) = self.keys.get_key_value(id)?;
            let enabled = (*known.enabled.at(now)?)?;
            Some((id.as_str(), Admission { enabled, plans: known.plans.at(now).unwrap_or(const { &BTreeSet::new() }) }))
        };
        self.ids.get(value)?.iter().filter_map(admitted).next_back()
    }

    fn known(&mut self, id: &str, value: &str) -> &mut Known {
        self.keys.entry(id.to_owned()).or_insert_with(|| {
            self.ids.entry(value.to_owned()).or_default().push(id.to_owned());
            Known { value: value.to_owned(), enabled: Timeline(Vec::new()), plans: Timeline(Vec::new()) }
        })
    }

    fn forget(&mut self, id: &str) {
        let Some(known) = self.keys.remove(id) else { return };
        if let Some(ids) = self.ids.get_mut(&known.value) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.ids.remove(&known.value);
            }
        }
    }
}
