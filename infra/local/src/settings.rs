//! The switches: where AWS leaves room, or does not say, each side of it can be tried.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// How this AWS behaves where the real one is free to behave in several ways.
///
/// The defaults are what AWS's documentation says or implies, without delays but for the one that it
/// gives a figure of ([`Settings::kms_usage_lag`]).
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
    /// Whether the first `RotateSecret` of a secret must say when it rotates. AWS's model lets `RotationRules` be missing,
    /// and no document says what happens then.
    pub rotation_rules_required: bool,
    /// What the throw-away pending version of `RotateImmediately=false` holds.
    pub preflight_value: PreflightValue,
    /// Whether moving `AWSCURRENT` with `UpdateSecretVersionStage` to a version that is not pending takes `AWSPENDING`
    /// off its holder, as a value that is put by hand does. AWS does not say.
    pub moving_current_abandons: bool,
    /// When the "Secret Label Updated" event reaches the functions that listen.
    pub label_event: LabelEvent,
    /// After this long, a key that was created, attached, detached, enabled, disabled or deleted is
    /// so on the data plane too. AWS says "a few minutes" of attaching and nothing of the others.
    pub propagation: Duration,
    /// The same for a key that is disabled or deleted, where it differs: from the order until the
    /// first refusal. AWS says nothing of it. Of several changes on their way the last one that was
    /// made wins, even if it arrives first.
    pub disabling: Option<Duration>,
    /// The same for a key that is enabled again.
    pub enabling: Option<Duration>,
    /// How far `GetUsage` is behind the data plane, and how long after `UpdateUsage` its figure
    /// holds there.
    pub usage_lag: Duration,
    /// Whether `GetUsage` tells anything of a plan that has no quota. AWS does not say.
    pub usage_without_quota: bool,
    /// Whether `GetUsage` and `UpdateUsage` name keys by value, as some of AWS's documents have it,
    /// and not by id.
    pub usage_by_value: bool,
    /// Whether the control planes of API Gateway, KMS and Secrets Manager throttle, at the rates that AWS documents.
    pub control_plane_limits: bool,
    /// Reads of a DynamoDB index see the table as it was this long ago.
    pub stale_index: Duration,
    /// For this long after `CreateKey`, KMS's `ListKeys` does not list the key. AWS calls its API
    /// eventually consistent; calls that name the key see it at once here.
    pub kms_lag: Duration,
    /// For how long after `CreateKey` an operation, by its name, for instance `GetPublicKey`, answers
    /// `NotFoundException` for the key. AWS's CloudFormation provider waits for 15 s after it has made
    /// a key; users report up to a minute, and each operation by itself.
    pub kms_unseen: BTreeMap<String, Duration>,
    /// For this long after `CreateKey`, the key's tags count in no condition of a policy. AWS's
    /// documentation of tags in authorization: up to five minutes.
    pub kms_tag_lag: Duration,
    /// Key specs that the Region lacks, by AWS's names, for instance `ECC_NIST_EDWARDS25519`:
    /// `CreateKey` refuses them with `UnsupportedOperationException`.
    pub kms_specs_missing: Vec<String>,
    /// How far `GetKeyLastUsage` is behind. AWS's documentation: up to about an hour, which is the
    /// default.
    pub kms_usage_lag: Duration,
    /// Since when KMS tracks the use of keys, where that is not for ever: nothing is told of uses
    /// before, and `TrackingStartDate` of an older key is this.
    pub kms_usage_tracked_from: Option<DateTime<Utc>>,
    /// How long after a request its access log line is found by queries.
    pub log_lag: Duration,
    /// How often `GetQueryResults` answers `Running` before it answers `Complete`.
    pub log_query_polls: u32,
    /// What `SimulatePrincipalPolicy` answers `implicitDeny` for, instead of `allowed`: actions by
    /// their names, for instance `secretsmanager:GetSecretValue`. Only simulated: the call itself is
    /// answered all the same, but for Lambda's dry run, which is a question of the same kind.
    pub denied_actions: BTreeSet<String>,
    /// The same in particular: what one principal is answered, by an explicit deny, or depending on
    /// the context. Before `denied_actions`; the first one that fits is the answer.
    pub simulated: Vec<Simulated>,
    /// Whether the caller may call `SimulatePrincipalPolicy`.
    pub may_simulate: bool,
    /// Who calls, as an ARN: an IAM user, or the session of a role
    /// (`arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`). `None`: the user `local` of the account.
    pub caller: Option<String>,
    /// The roles that there are, by ARN with their paths, besides those that functions run as.
    pub roles: BTreeSet<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rotation_retries: 3,
            retry_token: RetryToken::Same,
            retry_delay: Duration::from_secs(60),
            rotation_rules_required: false,
            preflight_value: PreflightValue::Current,
            moving_current_abandons: false,
            label_event: LabelEvent::OnTime,
            propagation: Duration::ZERO,
            disabling: None,
            enabling: None,
            usage_lag: Duration::ZERO,
            usage_without_quota: false,
            usage_by_value: false,
            control_plane_limits: true,
            stale_index: Duration::ZERO,
            kms_lag: Duration::ZERO,
            kms_unseen: BTreeMap::new(),
            kms_tag_lag: Duration::ZERO,
            kms_specs_missing: Vec::new(),
            kms_usage_lag: Duration::from_secs(3600),
            kms_usage_tracked_from: None,
            log_lag: Duration::ZERO,
            log_query_polls: 0,
            denied_actions: BTreeSet::new(),
            simulated: Vec::new(),
            may_simulate: true,
            caller: None,
            roles: BTreeSet::new(),
        }
    }
}

/// What `SimulatePrincipalPolicy` answers about an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulated {
    /// The ARN of the user or role whose policies say so. `None`: everybody's.
    pub principal: Option<String>,
    /// The action by its name.
    pub action: String,
    /// The answer. With a `condition`: the one as long as the context lacks something of it; the
    /// action is allowed once the caller gives it all, whatever the values.
    pub decision: Decision,
    /// The context keys that the policies ask for, for instance `aws:SourceVpc`.
    pub condition: BTreeSet<String>,
}

/// Why an action is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// No statement allows it.
    ImplicitDeny,
    /// A statement denies it.
    ExplicitDeny,
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
