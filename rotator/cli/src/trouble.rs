//! What goes wrong at the command line, with what to do next, and the exit codes.

use std::io;
use std::process::ExitCode;

use rotator::config::BadConfig;
use rotator::failure::{BadInput, Failure, Fault, Stopped, chain};
use serde::Serialize;
use state::ledger::Broken;
use state::name::{BadName, CredentialName};

use crate::output::{Look, View, harmless};

/// How a command ended, as a script sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 0: done.
    Done,
    /// 1: failed.
    Failed,
    /// 2: the command makes no sense as it was written.
    BadUsage,
    /// 3: held, or something needs a person's attention.
    Attention,
    /// 130: a person pressed Ctrl-C.
    Interrupted,
}

impl Outcome {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::BadUsage => 2,
            Self::Attention => 3,
            Self::Interrupted => 130,
        }
    }

    /// [`Outcome::Attention`] if there is a reason for it.
    pub fn attention_if(needed: bool) -> Self {
        if needed { Self::Attention } else { Self::Done }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        outcome.code().into()
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The engine stopped.
    #[error("{about}")]
    Stopped {
        /// What was tried, for instance `could not list the credentials`.
        about: String,
        /// Why.
        source: Stopped,
    },
    /// A setting in the environment.
    #[error("the configuration can't be used")]
    Config(#[from] BadConfig),
    /// No Region anywhere.
    #[error("no AWS Region is configured")]
    NoRegion,
    /// No credentials anywhere.
    #[error("no AWS credentials were found: {0}")]
    NoCredentials(String),
    /// AWS does not say who we are.
    #[error("AWS did not say who you are, and the history must name you")]
    Nobody(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A name that can't be one.
    #[error("the name can't be used")]
    Name(#[from] BadName),
    /// An argument that makes no sense; the text says what to write instead.
    #[error("{what}")]
    Usage {
        /// What is wrong.
        what: String,
        /// What to write instead.
        next: String,
    },
    /// Nothing of that name.
    #[error("there is no credential {0} in this account and Region")]
    NoCredential(CredentialName),
    /// The history is not the one that was written.
    #[error("the history of {name} is broken")]
    Broken {
        /// Whose.
        name: CredentialName,
        /// Where.
        source: Broken,
    },
    /// A person pressed Ctrl-C.
    #[error("interrupted{}", at.as_ref().map(|at| format!(": {at}")).unwrap_or_default())]
    Interrupted {
        /// What the command was at, if it had begun.
        at: Option<String>,
        /// The command that goes on.
        again: String,
    },
    /// Printing did not work.
    #[error("could not print")]
    Print(#[from] io::Error),
    /// Anything else, told by whoever met it.
    #[error("{what}")]
    Other {
        /// What could not be done.
        what: String,
        /// What to do next.
        next: String,
        /// Why, if somebody knows.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl Trouble {
    /// The engine stopped while doing that.
    pub fn stopped(about: impl Into<String>) -> impl FnOnce(Stopped) -> Self {
        let about = about.into();
        move |source| Self::Stopped { about, source }
    }

    /// A call failed while doing that.
    pub fn failure<F: Into<Failure>>(about: impl Into<String>) -> impl FnOnce(F) -> Self {
        let about = about.into();
        move |failure| Self::Stopped { about, source: Stopped::from(failure.into()) }
    }

    /// One word for programs: `Held.<Reason>`, `Refused`, `OutOfTime`, `Failed`, `Usage`, `Configuration`, `NotFound`,
    /// `BrokenHistory` or `Interrupted`.
    pub fn kind(&self) -> String {
        match self {
            Self::Stopped { source, .. } => source.kind(),
            Self::Config(_) | Self::NoRegion | Self::NoCredentials(_) => "Configuration".into(),
            Self::Name(_) | Self::Usage { .. } => "Usage".into(),
            Self::NoCredential(_) => "NotFound".into(),
            Self::Broken { .. } => "BrokenHistory".into(),
            Self::Interrupted { .. } => "Interrupted".into(),
            Self::Nobody(_) | Self::Print(_) | Self::Other { .. } => "Failed".into(),
        }
    }

    /// The exit code.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Stopped { source: Stopped::Held(_), .. } | Self::Broken { .. } => Outcome::Attention,
            Self::Config(_) | Self::Name(_) | Self::Usage { .. } => Outcome::BadUsage,
            Self::Interrupted { .. } => Outcome::Interrupted,
            Self::Stopped {
                source:
                    Stopped::Refused(_)
                    | Stopped::Input(_)
                    | Stopped::OutOfTime(_)
                    | Stopped::Failed(_)
                    | Stopped::Illegal(_),
                ..
            }
            | Self::NoRegion
            | Self::NoCredentials(_)
            | Self::Nobody(_)
            | Self::NoCredential(_)
            | Self::Print(_)
            | Self::Other { .. } => Outcome::Failed,
        }
    }

    /// What to do next; `None` when the message itself says it.
    pub fn next(&self) -> Option<String> {
        match self {
            Self::Stopped { source, .. } => next_after(source),
            Self::Config(_) => Some("correct the variable, or unset it: README.md lists every setting".into()),
            Self::NoRegion => Some("set AWS_REGION, or `region` in your AWS profile".into()),
            Self::NoCredentials(_) => Some(
                "sign in (`aws sso login`), name a profile in AWS_PROFILE, or set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY; `rotator local` prints what its own AWS needs"
                    .into(),
            ),
            Self::Nobody(_) => {
                Some("see that `aws sts get-caller-identity` works, then run the same command again".into())
            }
            Self::Name(_) => None,
            Self::Usage { next, .. } | Self::Other { next, .. } => Some(next.clone()),
            Self::NoCredential(_) => Some(WHAT_THERE_IS.into()),
            Self::Broken { .. } => Some(
                "keep the table as it is, restore a copy from a backup of the time before, and compare: see the runbook"
                    .into(),
            ),
            Self::Interrupted { again, .. } => Some(format!("what is done stays done; to go on: {again}")),
            Self::Print(_) => None,
        }
    }
}

/// For whoever named something that is not there.
const WHAT_THERE_IS: &str =
    "`rotator list` shows every credential here, `rotator adopt` takes keys and secrets under management";

fn next_after(stopped: &Stopped) -> Option<String> {
    match stopped {
        Stopped::Held(hold) => Some(format!(
            "{}; runbook.md has more under {}. Then run the same command again",
            hold.reason.remedy(),
            hold.reason
        )),
        Stopped::OutOfTime(_) => Some("run the same command again: it goes on where this one stopped".into()),
        Stopped::Failed(Failure::Call(call)) => Some(match call.fault {
            Fault::Unknown => "see that the Region, the credentials and AWS_ENDPOINT_URL are right, then run the same \
                               command again: nothing is done twice"
                .into(),
            Fault::Throttled(_) => "others use up the account's rate: run the same command again in a minute".into(),
            Fault::Conflict => "somebody else is working on it: run the same command again".into(),
            Fault::NotFound => "see that account and Region are the right ones".into(),
            Fault::Denied => "let an administrator allow it; AWS's words above tell what stands in the way".into(),
            Fault::Unauthenticated => {
                "sign in again, see that this machine's clock is right, then run the same command again".into()
            }
            Fault::Rejected => "correct what AWS says above, then run the same command again".into(),
        }),
        Stopped::Failed(Failure::NotYet(_)) => Some("run the same command again in a minute".into()),
        Stopped::Illegal(_) => Some("this is a defect: report it with `rotator history NAME --output json`".into()),
        Stopped::Input(BadInput::NoSecret(_)) | Stopped::Failed(Failure::Input(BadInput::NoSecret(_))) => {
            Some(WHAT_THERE_IS.into())
        }
        // Their messages name the remedy themselves.
        Stopped::Refused(_) | Stopped::Input(_) | Stopped::Failed(Failure::Held(_) | Failure::Input(_)) => None,
    }
}

/// An error as it is printed on standard error.
///
/// ```json
/// {"error": {"kind": "Held.PlanConflict", "message": "...", "next": "..."}}
/// ```
///
/// `kind` is one of the words of [`Trouble::kind`]; `message` names what was tried and everything that caused the
/// failure; `next` says what to do and is `null` when the message does.
#[derive(Debug, Serialize)]
pub struct ErrorView {
    error: ErrorBody,
}

/// What there is to say of an error.
#[derive(Debug, Serialize)]
pub struct ErrorBody {
    /// One of the words of [`Trouble::kind`].
    pub kind: String,
    /// What was tried, and everything that caused the failure.
    pub message: String,
    /// What to do next.
    pub next: Option<String>,
}

impl From<&Trouble> for ErrorBody {
    fn from(trouble: &Trouble) -> Self {
        Self { kind: trouble.kind(), message: chain(trouble), next: trouble.next() }
    }
}

impl From<&Trouble> for ErrorView {
    fn from(trouble: &Trouble) -> Self {
        Self { error: trouble.into() }
    }
}

impl View for ErrorView {
    fn page(&self, look: &Look) -> String {
        let ErrorBody { message, next, .. } = &self.error;
        let label = if look.colour { "\u{1b}[31merror:\u{1b}[0m" } else { "error:" };
        let next = next.as_ref().map(|next| format!(" next: {}\n", harmless(next))).unwrap_or_default();
        format!("{label} {}\n{next}", harmless(message))
    }
}

#[cfg(test)]
mod tests {
    use state::hold::{Hold, HoldReason};

    use super::*;

    fn view(stopped: Stopped) -> ErrorView {
        ErrorView::from(&Trouble::stopped("could not rotate partner/acme")(stopped))
    }

    fn held() -> ErrorView {
        view(Stopped::Held(Hold::new(HoldReason::PlanMissing, "plan \u{1b}[2Jp9 does not exist")))
    }

    #[test]
    fn the_json() {
        insta::assert_snapshot!(crate::output::json(&held()));
    }

    #[test]
    fn the_page() {
        insta::assert_snapshot!(held().page(&Look::PLAIN));
    }

    #[test]
    fn a_script_can_tell_what_happened() {
        let name = CredentialName::parse("partner/acme").unwrap();
        let usage = || Trouble::from(CredentialName::parse("a b").unwrap_err());
        let hold = Hold::new(HoldReason::Denied, "x");
        let all = [
            (Trouble::stopped("x")(Stopped::Held(hold)), "Held.Denied", 3),
            (Trouble::stopped("x")(Stopped::OutOfTime(None)), "OutOfTime", 1),
            (Trouble::NoCredential(name), "NotFound", 1),
            (Trouble::NoRegion, "Configuration", 1),
            (usage(), "Usage", 2),
        ];
        for (trouble, kind, code) in all {
            assert_eq!((trouble.kind().as_str(), trouble.outcome().code()), (kind, code));
        }
    }

    #[test]
    fn whoever_misspelt_a_name_is_told_where_the_names_are() {
        let misspelt = || BadInput::NoSecret("partner/amce".into());
        for stopped in [Stopped::Input(misspelt()), Stopped::Failed(Failure::Input(misspelt()))] {
            let next = Trouble::stopped("could not rotate partner/amce")(stopped).next();
            assert!(next.is_some_and(|next| next.contains("`rotator list`")));
        }
    }
}
