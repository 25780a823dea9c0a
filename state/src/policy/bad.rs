//! What may be wrong with wishes.

use crate::name::CredentialName;
use crate::period::{BadPeriod, Period};

use super::MOST_PUBLISHED;

/// Why wishes were refused. Each names the tag and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    /// No kind at all.
    #[error("the secret has no tag rotator:kind: tag it, or take the key under management with `rotator adopt`")]
    NoKind,
    /// A kind that nobody implements.
    #[error("rotator:kind = {found:?} is not a known kind: write one of {known}")]
    UnknownKind {
        /// As written.
        found: String,
        /// What there is.
        known: String,
    },
    /// A tag of ours that means nothing.
    #[error("rotator:{found} is not a known tag{}: correct or remove it", nearest.as_ref().map(|near| format!(", did you mean rotator:{near}?")).unwrap_or_default())]
    UnknownTag {
        /// As written.
        found: String,
        /// The nearest known one, if any is near.
        nearest: Option<String>,
    },
    /// Not a duration.
    #[error("rotator:{tag} is not usable")]
    Duration {
        /// The tag.
        tag: &'static str,
        /// Why.
        source: BadPeriod,
    },
    /// Not a number in range.
    #[error("rotator:{tag} = {found:?} is not usable: write a whole number from {from} to {to}")]
    Number {
        /// The tag.
        tag: &'static str,
        /// As written.
        found: String,
        /// The least allowed.
        from: u32,
        /// The most allowed.
        to: u32,
    },
    /// A period is too short.
    #[error(
        "rotator:{short} = {is} is shorter than rotator:{long} = {than}: {why}; raise the first or lower the second"
    )]
    TooShort {
        /// The tag that is too short.
        short: &'static str,
        /// Its value.
        is: Period,
        /// What it must outlast.
        long: &'static str,
        /// That one's value.
        than: Period,
        /// What would go wrong.
        why: &'static str,
    },
    /// The overlap ends while something may still need the old key.
    #[error(
        "rotator:overlap = {overlap} is shorter than the {needed} for which verifiers need an old key: {terms}; \
         the longest of them is rotator:{binding}: raise the overlap or lower that"
    )]
    OverlapTooShort {
        /// As written.
        overlap: Period,
        /// The least.
        needed: Period,
        /// What it is the sum of.
        terms: String,
        /// The tag of the longest one.
        binding: &'static str,
    },
    /// A schedule that leaves a standby no time.
    #[error(
        "a rotation every {every} with rotator:standbys = {standbys} publishes a key for {ahead} before it signs, less than \
         rotator:publish-lead = {lead} and an hour for making it: rotate less often, lower the lead, or keep two standbys"
    )]
    FasterThanLead {
        /// The shortest time between two rotations.
        every: Period,
        /// How many standbys there are.
        standbys: u32,
        /// How long that publishes a key ahead.
        ahead: Period,
        /// The owner's lead.
        lead: Period,
    },
    /// A schedule that publishes more keys than verifiers take.
    #[error(
        "a rotation every {every} with rotator:overlap = {overlap} and rotator:standbys = {standbys} publishes {published} \
         keys at once, more than the {MOST_PUBLISHED} that verifiers take: rotate less often or shorten the overlap"
    )]
    PublishesTooMany {
        /// The shortest time between two rotations.
        every: Period,
        /// The overlap.
        overlap: Period,
        /// How many standbys there are.
        standbys: u32,
        /// How many keys there would be.
        published: u64,
    },
    /// Another kind than the one that the records are about.
    #[error(
        "rotator:kind = {found} but this credential is of kind {recorded}: a credential keeps its kind; use another secret"
    )]
    KindChanged {
        /// As written.
        found: String,
        /// As recorded.
        recorded: String,
    },
    /// A name that is no path of a URL, for a key set that verifiers would fetch below it.
    #[error(
        "the secret's name {name} can't be part of the URL of a key set: {why}; verifiers would fetch another one: make \
         the key in a secret with another name"
    )]
    Name {
        /// The credential's.
        name: CredentialName,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not one of the words.
    #[error("rotator:{tag} = {found:?} is not usable: write hold or suspend")]
    Word {
        /// The tag.
        tag: &'static str,
        /// As written.
        found: String,
    },
    /// Not the name of a log group.
    #[error(
        "rotator:access-log = {0:?} is not usable: write the name of a CloudWatch log group, for instance /apis/partners"
    )]
    LogGroup(String),
    /// Brownouts that don't grow, or leave the key too little of its overlap.
    #[error(
        "rotator:brownouts = {found:?} is not usable: write durations of at least a minute that grow, separated by spaces, \
         together no longer than half of what the overlap leaves after the consumers' cache"
    )]
    Brownouts {
        /// As written.
        found: String,
    },
    /// No soak.
    #[error("rotator:soak = PT0S leaves no time in which a suspended key can be brought back: write for instance P7D")]
    NoSoak,
    /// A schedule that piles versions up.
    #[error(
        "a rotation every {every} with rotator:overlap = {overlap} and rotator:soak = {soak} keeps {live} versions alive, \
         more than rotator:max-live = {max}: rotate less often, shorten the overlap or the soak, or raise rotator:max-live"
    )]
    PilesUp {
        /// The shortest time between two rotations.
        every: Period,
        /// The overlap.
        overlap: Period,
        /// The soak.
        soak: Period,
        /// How many would be alive.
        live: u64,
        /// How many may be.
        max: u32,
    },
    /// A schedule that lets keys grow older than the owner wants.
    #[error(
        "a rotation every {every} with rotator:overlap = {overlap} lets a key live for {sum}, longer than rotator:max-age = {max}: rotate more often"
    )]
    TooOld {
        /// The longest time between two rotations.
        every: Period,
        /// The overlap.
        overlap: Period,
        /// Their sum.
        sum: Period,
        /// The owner's limit.
        max: Period,
    },
    /// A schedule that can't be read.
    #[error("the rotation schedule {0:?} can't be read: write cron(0 H D M W Y) or rate(N hours|days)")]
    Schedule(String),
}
