//! One secret: its versions, its labels, and the rules by which labels move.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::rotation::Rotation;
use super::{invalid_parameter, invalid_request, limit_exceeded, resource_exists};
use crate::core::ServiceError;

pub(super) const AWSCURRENT: &str = "AWSCURRENT";
pub(super) const AWSPENDING: &str = "AWSPENDING";
pub(super) const AWSPREVIOUS: &str = "AWSPREVIOUS";

/// Labels of one secret, over all its versions.
const MAX_LABELS: usize = 20;
/// Versions of one secret.
const MAX_VERSIONS: usize = 100;
/// Bytes of one value.
const MAX_VALUE: usize = 65_536;
/// Younger versions are never pruned, labelled or not.
const PRUNED_AFTER: TimeDelta = TimeDelta::hours(24);

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Secret {
    pub(super) arn: String,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) kms_key_id: Option<String>,
    /// `None` until it is tagged for the first time, which its description tells from "no more tags".
    pub(super) tags: Option<BTreeMap<String, String>>,
    pub(super) versions: BTreeMap<String, Version>,
    /// Label to version id: a label is on one version at a time by construction.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) rotation: Rotation,
    pub(super) created: DateTime<Utc>,
    pub(super) changed: DateTime<Utc>,
    pub(super) accessed: Option<DateTime<Utc>>,
    pub(super) deletion: Option<Deletion>,
    /// Region to status.
    pub(super) replicas: BTreeMap<String, String>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Version {
    /// `None`: the empty placeholder that a rotation starts with.
    pub(super) value: Option<SecretValue>,
    pub(super) created: DateTime<Utc>,
    pub(super) accessed: Option<DateTime<Utc>>,
}

/// A version's value. Deliberately without `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SecretValue {
    Text(String),
    /// Base64, as on the wire.
    Binary(String),
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Deletion {
    pub(super) requested: DateTime<Utc>,
    pub(super) due: DateTime<Utc>,
}

impl SecretValue {
    /// The one value of a request that may carry a string or a blob.
    pub(super) fn read(text: Option<String>, binary: Option<String>) -> Result<Option<Self>, ServiceError> {
        let (value, length) = match (text, binary) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(invalid_parameter(
                    "You can't specify both a binary secret value and a string secret value in the same secret.",
                ));
            }
            (Some(text), None) => {
                let length = text.len();
                (Self::Text(text), length)
            }
            (None, Some(binary)) => {
                let length =
                    STANDARD.decode(&binary).map_err(|_| invalid_parameter("SecretBinary is not base64."))?.len();
                (Self::Binary(binary), length)
            }
        };
        if length == 0 || length > MAX_VALUE {
            return Err(invalid_parameter("A secret value is 1 to 65536 bytes long."));
        }
        Ok(Some(value))
    }
}

impl Secret {
    /// Whether that is its name or its ARN, with or without the six characters at its end.
    pub(super) fn is_called(&self, id: &str) -> bool {
        let suffix_length = "-XXXXXX".len();
        self.name == id || self.arn == id || self.arn.get(..self.arn.len() - suffix_length) == Some(id)
    }

    pub(super) fn holder(&self, label: &str) -> Option<&str> {
        self.labels.get(label).map(String::as_str)
    }

    pub(super) fn holds(&self, version: &str, label: &str) -> bool {
        self.holder(label) == Some(version)
    }

    pub(super) fn stages_of(&self, version: &str) -> Vec<&str> {
        self.labels.iter().filter(|(_, holder)| *holder == version).map(|(label, _)| label.as_str()).collect()
    }

    /// The version that blocks the next rotation, if one does: it has `AWSPENDING` and is not the
    /// current one.
    pub(super) fn stuck_version(&self) -> Option<&str> {
        self.holder(AWSPENDING).filter(|pending| self.holder(AWSCURRENT) != Some(pending))
    }

    /// Takes the label from whoever has it. `AWSCURRENT` leaves `AWSPREVIOUS` behind. True if the
    /// label was not there already.
    pub(super) fn attach(&mut self, label: &str, version: &str) -> bool {
        let before = self.labels.insert(label.to_owned(), version.to_owned());
        let moved = before.as_deref() != Some(version);
        if label == AWSCURRENT
            && moved
            && let Some(before) = before
        {
            self.labels.insert(AWSPREVIOUS.to_owned(), before);
        }
        moved
    }

    /// A version of its own for a value, labelled. Answers the labels that moved: none if the same
    /// version was put before with the same value.
    pub(super) fn put(
        &mut self,
        now: DateTime<Utc>,
        id: &str,
        value: SecretValue,
        stages: Option<Vec<String>>,
    ) -> Result<Vec<String>, ServiceError> {
        match self.versions.get(id).map(|version| &version.value) {
            Some(Some(before)) if *before == value => return Ok(Vec::new()),
            Some(Some(_)) => {
                return Err(resource_exists(format!(
                    "You can't use ClientRequestToken {id} because that value is already in use for a version of secret {}.",
                    self.arn
                )));
            }
            Some(None) | None => {}
        }
        let mut stages = stages.unwrap_or_else(|| vec![AWSCURRENT.to_owned()]);
        if self.versions.is_empty() && !stages.iter().any(|stage| stage == AWSCURRENT) {
            stages.push(AWSCURRENT.to_owned());
        }
        self.check_labels(&stages)?;
        self.make_room(now, id)?;

        self.versions.entry(id.to_owned()).or_insert_with(|| Version::empty(now)).value = Some(value);
        self.changed = now;
        let moved: Vec<String> = stages.into_iter().filter(|stage| self.attach(stage, id)).collect();
        if moved.iter().any(|label| label == AWSCURRENT) {
            self.abandon_pending(id);
        }
        Ok(moved)
    }

    /// Takes `AWSPENDING` off its holder, unless that is the version that became current.
    pub(super) fn abandon_pending(&mut self, current: &str) {
        if self.holder(AWSPENDING).is_some_and(|pending| pending != current) {
            self.labels.remove(AWSPENDING);
        }
    }

    /// An empty version with `AWSPENDING`, as a rotation begins.
    pub(super) fn put_placeholder(&mut self, now: DateTime<Utc>, id: &str) -> Result<(), ServiceError> {
        self.make_room(now, id)?;
        self.versions.entry(id.to_owned()).or_insert_with(|| Version::empty(now));
        self.attach(AWSPENDING, id);
        Ok(())
    }

    /// Removes a version and the labels on it.
    pub(super) fn forget_version(&mut self, id: &str) {
        self.labels.retain(|_, holder| holder != id);
        self.versions.remove(id);
    }

    pub(super) fn check_not_deleted(&self) -> Result<(), ServiceError> {
        match &self.deletion {
            None => Ok(()),
            Some(_) => Err(invalid_request(
                "You can't perform this operation on the secret because it was marked for deletion.",
            )),
        }
    }

    /// Whether these labels may be put on a version, next to the ones that the secret has.
    pub(super) fn check_labels(&self, labels: &[String]) -> Result<(), ServiceError> {
        if labels.is_empty() || labels.iter().any(|label| !(1..=256).contains(&label.len())) {
            return Err(invalid_parameter("Staging labels are 1 to 256 characters long."));
        }
        let new = labels.iter().filter(|label| !self.labels.contains_key(*label)).count();
        if self.labels.len() + new > MAX_LABELS {
            return Err(limit_exceeded("A secret has at most 20 staging labels."));
        }
        Ok(())
    }

    /// Secrets Manager removes unlabelled versions only where there would be too many, and none
    /// that is younger than a day.
    fn make_room(&mut self, now: DateTime<Utc>, id: &str) -> Result<(), ServiceError> {
        while self.versions.len() >= MAX_VERSIONS && !self.versions.contains_key(id) {
            let oldest = self
                .versions
                .iter()
                .filter(|(id, version)| self.stages_of(id).is_empty() && now - version.created > PRUNED_AFTER)
                .min_by_key(|(_, version)| version.created)
                .map(|(id, _)| id.clone());
            let Some(oldest) = oldest else {
                return Err(limit_exceeded("A secret has at most 100 versions."));
            };
            self.versions.remove(&oldest);
        }
        Ok(())
    }
}

impl Version {
    pub(super) fn empty(now: DateTime<Utc>) -> Self {
        Self { value: None, created: now, accessed: None }
    }
}
