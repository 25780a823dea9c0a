//! Keys that sign tokens: published before they sign, disabled before they are withdrawn.

mod emergency;
mod key_sets;
mod lost_answers;
mod schedule;
mod strangers;
mod trouble;

use std::collections::BTreeSet;

use state::lifecycle::State;

use crate::harness::{ACME, Stage};

async fn states(stage: &Stage) -> Vec<State> {
    stage.load(ACME).await.versions.values().map(|version| version.state).collect()
}

/// What consumers are told to sign with.
async fn kid(stage: &Stage) -> String {
    stage.document(ACME).await["signer"]["kid"].as_str().expect("a kid").to_owned()
}

/// The provider's id of a generation's key.
async fn key_of(stage: &Stage, generation: u32) -> String {
    stage.load(ACME).await.versions[&generation].provider["id"].clone()
}

/// The ARNs of all KMS keys for signing that are not about to be deleted.
fn signing_keys(stage: &Stage) -> BTreeSet<String> {
    let keys = stage.aws.inspect_kms_keys().into_iter();
    keys.filter(|key| !key.spec.starts_with("HMAC") && key.state != "PendingDeletion").map(|key| key.arn).collect()
}
