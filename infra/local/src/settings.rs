//! The switches: where AWS leaves room, or does not say, each side of it can be tried.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How this AWS behaves where the real one is free to behave in several ways.
///
/// The defaults are what AWS's documentation says or implies, without delays.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How often a failed rotation is tried again, whole, after its first attempt. AWS does not
    /// publish its number; 0 leaves a failed rotation as it is.
    pub rotation_retries: u32,
    /// Which `ClientRequestToken` a retried rotation carries.
    pub retry_token: RetryToken,
    /// How long after a failed attempt the next one is due.
    pub retry_delay: Duration,
    /// What the throw-away pending version of `RotateImmediately=false` holds.
    pub preflight_value: PreflightValue,
    /// When the "Secret Label Updated" event reaches the functions that listen.
    pub label_event: LabelEvent,
    /// After this long, a key that was created, attached, detached, enabled, disabled or deleted is
    /// so on the data plane too. AWS says "a few minutes" of attaching and nothing of the others.
    pub propagation: Duration,
    /// How far `GetUsage` is behind the data plane, and how long after `UpdateUsage` its figure
    /// holds there.
    pub usage_lag: Duration,
    /// Whether API Gateway's control plane throttles: 10 calls a second together with a burst of
    /// 40, `CreateApiKey` and `DeleteApiKey` 5 a second each. Over it, 429 with `Retry-After: 1`.
    pub control_plane_limits: bool,
    /// Reads of a DynamoDB index see the table as it was this long ago.
    pub stale_index: Duration,
    /// For this long after `CreateKey`, KMS's `ListKeys` does not list the key. AWS calls its API
    /// eventually consistent; calls that name the key see it at once here.
    pub kms_lag: Duration,
    /// Key specs that the Region lacks, by AWS's names, for instance `ECC_NIST_EDWARDS25519`:
    /// `CreateKey` refuses them with `UnsupportedOperationException`.
    pub kms_specs_missing: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rotation_retries: 3,
            retry_token: RetryToken::Same,
            retry_delay: Duration::from_secs(60),
            preflight_value: PreflightValue::Current,
            label_event: LabelEvent::OnTime,
            propagation: Duration::ZERO,
            usage_lag: Duration::ZERO,
            control_plane_limits: true,
            stale_index: Duration::ZERO,
            kms_lag: Duration::ZERO,
            kms_specs_missing: Vec::new(),
        }
    }
}

/// The token of a retried rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryToken {
    /// The one of the attempt that failed, which AWS's documentation implies.
    Same,
    /// A fresh one: the pending label moves to a fresh placeholder.
    New,
}

/// The value on the version that only `testSecret` sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PreflightValue {
    /// A copy of the current value.
    Current,
    /// None: the version is an empty placeholder.
    Empty,
}

/// The delivery of "Secret Label Updated", which EventBridge promises at least once and in no
/// particular time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelEvent {
    /// Once, right after the label moved.
    OnTime,
    /// Once, this long after the label moved.
    Late(Duration),
    /// Two times, one after the other.
    Twice,
    /// Before the call that moved the label has been answered.
    Early,
    /// Lost.
    Never,
}
