//! What the data plane knows of keys, which is what the control plane knew a while ago.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A key as the data plane admits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Admission {
    pub(super) enabled: bool,
    /// Ids of the usage plans that it is in.
    pub(super) plans: BTreeSet<String>,
}

/// Every key's admissions, each with the time from which it holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Edge {
    keys: BTreeMap<String, Timeline>,
    /// Ids by value. More than one while a deleted key's value, used again, is still on its way.
    ids: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Timeline {
    value: String,
    /// In the order in which they were made; `None` once the key is deleted.
    changes: Vec<(DateTime<Utc>, Option<Admission>)>,
}

impl Timeline {
    fn at(&self, now: DateTime<Utc>) -> Option<&Admission> {
        let (_, admission) = self.changes.iter().rev().find(|(from, _)| *from <= now)?;
        admission.as_ref()
    }

    /// Forgets what was over before `now`.
    fn prune(&mut self, now: DateTime<Utc>) {
        if let Some(current) = self.changes.iter().rposition(|(from, _)| *from <= now) {
            self.changes.drain(..current);
        }
    }

    fn is_gone(&self, now: DateTime<Utc>) -> bool {
        matches!(self.changes.as_slice(), [(from, None)] if *from <= now)
    }
}

impl Edge {
    /// From `from` on, the key is admitted like this, or not at all when it was deleted.
    pub(super) fn publish(
        &mut self,
        id: &str,
        value: &str,
        admission: Option<Admission>,
        now: DateTime<Utc>,
        from: DateTime<Utc>,
    ) {
        let timeline = self.keys.entry(id.to_owned()).or_insert_with(|| {
            self.ids.entry(value.to_owned()).or_default().push(id.to_owned());
            Timeline { value: value.to_owned(), changes: Vec::new() }
        });
        timeline.changes.push((from, admission));
        timeline.prune(now);
        if timeline.is_gone(now) {
            self.forget(id);
        }
    }

    /// The key with that value, as it is admitted now.
    pub(super) fn find(&self, value: &str, now: DateTime<Utc>) -> Option<(&str, &Admission)> {
        self.ids.get(value)?.iter().filter_map(|id| Some((id.as_str(), self.keys.get(id)?.at(now)?))).next_back()
    }

    fn forget(&mut self, id: &str) {
        let Some(timeline) = self.keys.remove(id) else { return };
        if let Some(ids) = self.ids.get_mut(&timeline.value) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.ids.remove(&timeline.value);
            }
        }
    }
}
