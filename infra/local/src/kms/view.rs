//! What tests and demonstrations may see of KMS without making a call.

use std::collections::BTreeMap;

use serde_json::json;

use super::access::Grant;
use super::{Key, Kms, key_arn};
use crate::core::Context;

/// A KMS key as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsKeyView {
    /// KMS's id of it.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// Its key spec by AWS's name, for instance `ECC_NIST_P256`.
    pub spec: String,
    /// `Enabled`, `Disabled` or `PendingDeletion`.
    pub state: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its description; empty if it was given none.
    pub description: String,
    /// Its policy as it was given. `None`: AWS's default one.
    pub policy: Option<String>,
    /// The grants on it, in the order of their ids.
    pub grants: Vec<KmsGrantView>,
    /// How many calls of `Sign` it answered.
    pub uses: u64,
}

/// A grant on a KMS key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsGrantView {
    /// KMS's id of it.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The ARN of the principal that it permits something.
    pub grantee: String,
    /// What it permits, by AWS's names, in order.
    pub operations: Vec<String>,
}

impl Kms {
    /// Every key that is not deleted, in the order of ids.
    pub(crate) fn views(&mut self, cx: &Context<'_>) -> Vec<KmsKeyView> {
        self.delete_what_is_due(cx.now);
        self.keys.values().map(|key| view(cx, key)).collect()
    }
}

fn view(cx: &Context<'_>, key: &Key) -> KmsKeyView {
    let grant = |(id, Grant { terms, .. }): (&String, &Grant)| KmsGrantView {
        id: id.clone(),
        name: terms.name.clone(),
        grantee: terms.grantee.clone(),
        operations: terms.operations.iter().cloned().collect(),
    };
    KmsKeyView {
        id: key.id.clone(),
        arn: key_arn(cx, &key.id),
        spec: json!(key.spec).as_str().unwrap_or_default().to_owned(),
        state: key.state.name().to_owned(),
        tags: key.tags.clone(),
        description: key.description.clone(),
        policy: key.policy.clone(),
        grants: key.grants.iter().map(grant).collect(),
        uses: key.signed,
    }
}
