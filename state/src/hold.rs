//! Reasons to stop, each with a name that is the log field, the metric, the command line's word and the runbook's
//! heading.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Time;

/// The engine will not go on until the world or a person changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HoldReason {
    /// The secret behind this name is not the one that the records are about: deleted and created anew.
    SecretReplaced,
    /// The secret is deleted, or will be.
    SecretDeleted,
    /// The current value has no key any more: somebody wrote over it.
    ValueWiped,
    /// The current value has a key that this service does not know.
    ForeignValue,
    /// `AWSCURRENT` or `AWSPENDING` is not where the records say.
    LabelMoved,
    /// Rotation was switched off while a version was coming in.
    RotationCancelled,
    /// Another version would be one more than `rotator:max-live` allows.
    TooManyLive,
    /// Verifiers may not know the next key yet: it has not been published for as long as `rotator:publish-lead` says.
    StandbyTooYoung,
    /// Another key would be one more than the ten that verifiers take.
    JwksFull,
    /// The key service has no such keys in this Region.
    AlgorithmUnsupported,
    /// Somebody disabled the key.
    KeyDisabled,
    /// Somebody scheduled the key's deletion.
    KeyPendingDeletion,
    /// A declared signer may not sign with the candidate's key.
    SignerDenied,
    /// The key is gone at the provider, and nobody here deleted it.
    KeyVanished,
    /// A key with the drafted value exists, but is not the one that we were about to make.
    KeyNotOurs,
    /// Another credential manages the key: the retirement of the one would be the outage of the other.
    KeyShared,
    /// The plans of the incumbent and the declared ones want the same stage.
    PlanConflict,
    /// A declared plan does not exist.
    PlanMissing,
    /// A declared plan's `rotator:allow` does not match this credential.
    PlanNotAllowed,
    /// A plan that the candidate must be in has lost it again.
    PlanLost,
    /// A probe names an API or stage that is in none of the candidate's plans.
    ProbeForeign,
    /// The method of the probe lets a made-up key through: the test proves nothing.
    MethodUnprotected,
    /// Even the incumbent's key is refused from here: the network, or a policy, is in the way.
    ProbeBlocked,
    /// No request proves the new key, for longer than a provider may take to hear of it.
    Unproven,
    /// Its overlap is over, but somebody still uses the key.
    StillInUse,
    /// Its overlap is over, but nothing tells whether anybody still uses the key.
    NoEvidence,
    /// The provider was told to refuse the key, but requests with it still get through.
    StillAccepted,
    /// What is recorded is not what the history states: somebody wrote into the table.
    RecordDiffers,
    /// A replica of the secret has not received the new value.
    ReplicaBehind,
    /// AWS says that we may not.
    Denied,
    /// Tags or a value that can't be used, or a request that AWS refuses: the next try would end like the last.
    Rejected,
}

impl HoldReason {
    /// All of them.
    pub const ALL: [Self; 31] = [
        Self::SecretReplaced,
        Self::SecretDeleted,
        Self::ValueWiped,
        Self::ForeignValue,
        Self::LabelMoved,
        Self::RotationCancelled,
        Self::TooManyLive,
        Self::StandbyTooYoung,
        Self::JwksFull,
        Self::AlgorithmUnsupported,
        Self::KeyDisabled,
        Self::KeyPendingDeletion,
        Self::SignerDenied,
        Self::KeyVanished,
        Self::KeyNotOurs,
        Self::KeyShared,
        Self::PlanConflict,
        Self::PlanMissing,
        Self::PlanNotAllowed,
        Self::PlanLost,
        Self::ProbeForeign,
        Self::MethodUnprotected,
        Self::ProbeBlocked,
        Self::Unproven,
        Self::StillInUse,
        Self::NoEvidence,
        Self::StillAccepted,
        Self::RecordDiffers,
        Self::ReplicaBehind,
        Self::Denied,
        Self::Rejected,
    ];

    /// What a person does first. The runbook has the rest under the same name.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::SecretReplaced => {
                "restore the old secret; or adopt the new one under another name, after taking the tag rotator:credential off \
                 its key"
            }
            Self::SecretDeleted => "restore the secret; or declare rotator:if-deleted = suspend before it is deleted",
            Self::ValueWiped => "move AWSCURRENT back to the version that holds the key",
            Self::ForeignValue => "move AWSCURRENT back to the version that holds the known key",
            Self::LabelMoved => "compare the labels with `rotator show`, then move them back or start a new rotation",
            Self::RotationCancelled => {
                "switch rotation on again with RotateSecret, or take AWSPENDING off the version: its key is then retired"
            }
            Self::TooManyLive => "wait for the retirement of an older version, or raise rotator:max-live",
            Self::StandbyTooYoung => {
                "wait until the lead is over: the rotation goes on then; if the old key leaked, declare an emergency"
            }
            Self::JwksFull => "wait until an older key is withdrawn, or shorten rotator:overlap",
            Self::AlgorithmUnsupported => "choose a rotator:algorithm that KMS has in this Region",
            Self::KeyDisabled => {
                "find out who disabled the key and why; enable it again if that was a mistake; if it is not to be trusted, \
                 declare its generation compromised: another takes its place"
            }
            Self::KeyPendingDeletion => {
                "cancel the deletion and enable the key; if it is not to be trusted, declare its generation compromised"
            }
            Self::SignerDenied => "let the key's policy or a grant allow kms:Sign to the signer that is named",
            Self::KeyVanished => {
                "find out who deleted the key; the runbook tells for each kind how a new one takes its place"
            }
            Self::KeyShared => {
                "let both users read one secret, or give this one a key of its own; if the other credential is gone, take \
                 the tag rotator:credential off the key"
            }
            Self::KeyNotOurs => "start a new rotation: it draws a new value",
            Self::PlanConflict => "declare one plan for the stage in rotator:usage-plans",
            Self::PlanMissing => "correct rotator:usage-plans",
            Self::PlanNotAllowed => {
                "let the plan's owner set its tag rotator:allow to a pattern that matches the credential"
            }
            Self::PlanLost => "attach the key again with `rotator reconcile`, or declare another plan for the stage",
            Self::ProbeForeign => "correct rotator:probe: its API and stage must be in a plan of the key",
            Self::MethodUnprotected => "set apiKeyRequired on the probe's method, or probe another one",
            Self::ProbeBlocked => "let the function reach the API: VPC endpoint, WAF, resource policy",
            Self::Unproven => {
                "send the probe's request with the new key yourself and see what answers: the rotation goes on once it gets \
                 through"
            }
            Self::StillInUse => {
                "find who still uses it (`rotator show` names them where the API keeps an access log), or let it go with `rotator retire`"
            }
            Self::NoEvidence => {
                "find out by other means whether it is used, and let it go with `rotator retire`; for the next, declare rotator:access-log"
            }
            Self::StillAccepted => "see whether somebody enabled the key again: `rotator reconcile` shows it",
            Self::RecordDiffers => {
                "find out who wrote into the table; restore the record from a backup; until then nothing is done with the key"
            }
            Self::ReplicaBehind => "look at the secret's replication status; retirement goes on by itself",
            Self::Denied => "let an administrator allow what the detail says; AWS's words tell what stands in the way",
            Self::Rejected => "correct what the detail says; `rotator doctor` looks at everything at once",
        }
    }

    /// Its name, as in the code.
    pub fn word(self) -> &'static str {
        match self {
            Self::SecretReplaced => "SecretReplaced",
            Self::SecretDeleted => "SecretDeleted",
            Self::ValueWiped => "ValueWiped",
            Self::ForeignValue => "ForeignValue",
            Self::LabelMoved => "LabelMoved",
            Self::RotationCancelled => "RotationCancelled",
            Self::TooManyLive => "TooManyLive",
            Self::StandbyTooYoung => "StandbyTooYoung",
            Self::JwksFull => "JwksFull",
            Self::AlgorithmUnsupported => "AlgorithmUnsupported",
            Self::KeyDisabled => "KeyDisabled",
            Self::KeyPendingDeletion => "KeyPendingDeletion",
            Self::SignerDenied => "SignerDenied",
            Self::KeyVanished => "KeyVanished",
            Self::KeyNotOurs => "KeyNotOurs",
            Self::KeyShared => "KeyShared",
            Self::PlanConflict => "PlanConflict",
            Self::PlanMissing => "PlanMissing",
            Self::PlanNotAllowed => "PlanNotAllowed",
            Self::PlanLost => "PlanLost",
            Self::ProbeForeign => "ProbeForeign",
            Self::MethodUnprotected => "MethodUnprotected",
            Self::ProbeBlocked => "ProbeBlocked",
            Self::Unproven => "Unproven",
            Self::StillInUse => "StillInUse",
            Self::NoEvidence => "NoEvidence",
            Self::StillAccepted => "StillAccepted",
            Self::RecordDiffers => "RecordDiffers",
            Self::ReplicaBehind => "ReplicaBehind",
            Self::Denied => "Denied",
            Self::Rejected => "Rejected",
        }
    }
}

impl HoldReason {
    /// Whether it is the use of a deactivated key that holds: then evidence ends it, at the next look.
    pub fn is_use(self) -> bool {
        matches!(self, Self::StillInUse | Self::NoEvidence)
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A reason with what it is about. The text carries names, never values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Hold {
    /// Which of the named reasons.
    pub reason: HoldReason,
    /// What exactly, for a person.
    pub detail: String,
}

impl Hold {
    /// A hold about something.
    pub fn new(reason: HoldReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// A hold as recorded: since when, and when it is worth another look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What holds.
    #[serde(flatten)]
    pub hold: Hold,
    /// When it was first met.
    pub since: Time,
    /// When retirement looks again, if nobody does before.
    pub look_again: Time,
}
