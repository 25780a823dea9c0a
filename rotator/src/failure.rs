//! What goes wrong, and what we do then.

use std::time::Duration;

use state::decide::Refusal;
use state::hold::{Hold, HoldReason};

/// What happened. It says nothing of what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Somebody was faster, or it is there already.
    Conflict,
    /// We may not.
    Denied,
    /// AWS does not accept our credentials or our signature, whatever we ask for.
    Unauthenticated,
    /// It is not there.
    NotFound,
    /// The request is wrong and will stay wrong.
    Rejected,
    /// Too much at once; the wait that the service asked for, if it did.
    Throttled(Option<Duration>),
    /// No answer, or none that tells: it may have happened.
    Unknown,
}

/// What we do. Exhaustive, so that a new fault breaks the build until somebody decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Load the records again and decide again.
    Reload,
    /// The same after a wait, and not blindly: every action looks first.
    Wait(Option<Duration>),
    /// Stop with a named reason.
    Hold,
    /// Stop: only a change of code or input helps.
    Fail,
}

impl Fault {
    /// What we do about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Conflict => Disposition::Reload,
            Self::Denied => Disposition::Hold,
            Self::NotFound | Self::Rejected | Self::Unauthenticated => Disposition::Fail,
            Self::Throttled(after) => Disposition::Wait(*after),
            Self::Unknown => Disposition::Wait(None),
        }
    }
}

/// A call to AWS that did not go well.
#[derive(Debug, thiserror::Error)]
#[error("{action} on {resource} {}", match fault {
    Fault::Conflict => "met a conflict",
    Fault::Denied => "is not allowed",
    Fault::Unauthenticated => "was asked for with credentials that AWS does not accept",
    Fault::NotFound => "found nothing",
    Fault::Rejected => "was refused",
    Fault::Throttled(_) => "was throttled",
    Fault::Unknown => "got no clear answer",
})]
pub struct CallFailed {
    /// The IAM action, for instance `secretsmanager:PutSecretValue`.
    pub action: &'static str,
    /// What it was about; never a value.
    pub resource: String,
    /// What happened.
    pub fault: Fault,
    /// What AWS said, where that can't hold a secret.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Why an action did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// AWS.
    #[error(transparent)]
    Call(#[from] CallFailed),
    /// A reason with a name.
    #[error(transparent)]
    Held(#[from] Hold),
    /// It will be true in a while; try again.
    #[error("not yet: {0}")]
    NotYet(String),
    /// The input can't be used; nothing was changed.
    #[error(transparent)]
    Input(#[from] BadInput),
}

impl Failure {
    /// The failure as a hold, if it is one: by itself or by its disposition.
    pub fn as_hold(&self) -> Option<Hold> {
        match self {
            Self::Held(hold) => Some(hold.clone()),
            Self::Call(call) if call.fault.disposition() == Disposition::Hold => {
                Some(Hold::new(HoldReason::Denied, chain(call)))
            }
            Self::Call(_) | Self::NotYet(_) | Self::Input(_) => None,
        }
    }
}

/// Input that can't be used. Each says which field and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadInput {
    /// An event that no known caller sends.
    #[error("the event is malformed at {field}: {rule}")]
    Event {
        /// Which member.
        field: &'static str,
        /// What it should be.
        rule: String,
    },
    /// What a person asked for.
    #[error("{what} is not usable: {rule}")]
    Argument {
        /// Which part of it.
        what: &'static str,
        /// Why, and what to write instead.
        rule: String,
    },
    /// A secret's value that this kind can't use.
    #[error("the secret's value {0}")]
    Value(&'static str),
    /// A tag of the kind's own.
    #[error("rotator:{tag} = {found:?} is not usable: {rule}")]
    Tag {
        /// Without its prefix.
        tag: &'static str,
        /// As written, or the part that is wrong.
        found: String,
        /// What to write.
        rule: &'static str,
    },
    /// The records' table is not there.
    #[error(
        "the table {0} does not exist: deploy the stack, or set ROTATOR_TABLE to its name (`rotator local` makes its own)"
    )]
    NoTable(String),
    /// The secret is not there.
    #[error("there is no secret {0}: it was deleted, or never created in this account and Region")]
    NoSecret(String),
}

/// Why a run stopped before its goal.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// A named reason; recorded, and resumed by the next try.
    #[error("held")]
    Held(#[source] Hold),
    /// The request makes no sense; nothing was changed.
    #[error("refused")]
    Refused(#[source] state::decide::Refusal),
    /// The input can't be used; nothing was changed.
    #[error("refused")]
    Input(#[source] BadInput),
    /// The function's time is nearly over; the next try goes on from here.
    #[error("out of time")]
    OutOfTime(#[source] Option<Box<Failure>>),
    /// AWS refused for good.
    #[error("failed")]
    Failed(#[source] Failure),
    /// A defect of ours: the records do not allow what was decided.
    #[error("the records do not allow this")]
    Illegal(#[from] state::credential::Illegal),
}

impl Stopped {
    /// The end of a try as a hold, if the next try would end like it: only a person can change that.
    pub fn as_rejection(&self) -> Option<Hold> {
        let is_for_good = match self {
            Self::Refused(Refusal::Policy(_)) => true,
            Self::Input(BadInput::Value(_) | BadInput::Tag { .. } | BadInput::Argument { .. }) => true,
            // With fresh credentials the next try may go on.
            Self::Failed(Failure::Call(call)) => {
                call.fault.disposition() == Disposition::Fail && call.fault != Fault::Unauthenticated
            }
            Self::Refused(_)
            | Self::Input(BadInput::Event { .. } | BadInput::NoTable(_) | BadInput::NoSecret(_))
            | Self::Failed(_)
            | Self::Held(_)
            | Self::OutOfTime(_)
            | Self::Illegal(_) => false,
        };
        let causes = std::iter::successors(std::error::Error::source(self), |error| error.source()).next().map(chain);
        causes.filter(|_| is_for_good).map(|detail| Hold::new(HoldReason::Rejected, detail))
    }

    /// The error type towards Secrets Manager and in metrics: `Held.<Reason>`, `Refused`, `OutOfTime`, `Failed`.
    pub fn kind(&self) -> String {
        match self {
            Self::Held(hold) => format!("Held.{}", hold.reason),
            Self::Refused(_) | Self::Input(_) => "Refused".into(),
            Self::OutOfTime(_) => "OutOfTime".into(),
            Self::Failed(_) | Self::Illegal(_) => "Failed".into(),
        }
    }
}

/// An error with everything that caused it, as one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !line.ends_with(&said) {
            line.push_str(": ");
            line.push_str(&said);
        }
        next = cause.source();
    }
    line
}
