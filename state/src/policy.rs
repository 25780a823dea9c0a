//! The owner's wishes, read from the secret's tags and checked against one another.

mod bad;
mod schedule;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::credential::Credential;
use crate::period::Period;

pub use bad::BadPolicy;
pub use schedule::{Outlook, Schedule, Timetable};

/// The prefix of every tag that is a wish.
pub const PREFIX: &str = "rotator:";

/// The wishes that every kind knows, without their prefix.
pub const COMMON_TAGS: [&str; 8] =
    ["kind", "overlap", "soak", "consumer-cache", "idle-before-suspend", "max-age", "max-live", "if-deleted"];

/// The wishes that every kind knows whose keys verifiers fetch, without their prefix.
pub const PUBLISHING_TAGS: [&str; 5] = ["standbys", "publish-lead", "token-life", "verifier-cache", "slack"];

/// The wishes that every kind knows whose keys leave traces of their use, without their prefix.
pub const WATCHED_TAGS: [&str; 6] = ["ceiling", "at-ceiling", "no-evidence", "look-every", "brownouts", "access-log"];

/// How many keys one key set may hold: ALB's JWT check takes no more.
pub const MOST_PUBLISHED: usize = 10;

/// A kind of credential, as far as its wishes go.
#[derive(Clone, Copy, Debug)]
pub struct KindWishes<'a> {
    /// What `rotator:kind` says.
    pub name: &'a str,
    /// The tags that it alone knows, without their prefix.
    pub tags: &'a [&'a str],
    /// Whether verifiers fetch its keys, and so must know each before it signs.
    pub publishes: bool,
    /// Whether the provider can keep a key from signing while what it signed is still accepted.
    pub disables: bool,
    /// What the provider tells of a key's use.
    pub traces: Traces,
}

/// What a provider tells of the use of a kind's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traces {
    /// Nothing: the overlap alone says when nobody uses a key any more.
    None,
    /// Whether a key is still used.
    Use,
    /// The same, and how much: all live keys of a customer share one allowance.
    UseAndAllowance,
}

/// The wishes in force for one version: frozen into its record when it is created, so that a later edit never
/// re-ages a live key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The credential's kind.
    pub kind: String,
    /// How long a deactivated version is still accepted. At least as long as a consumer may cache the old value.
    pub overlap: Period,
    /// How long a suspended version can still be brought back. Must outlast the time in which somebody notices.
    pub soak: Period,
    /// How long a consumer may go on with a value it has read. AWS's caching libraries: one hour.
    pub consumer_cache: Period,
    /// How long a key must not have been used before it is suspended. Must fit into the overlap. Zero: nobody looks.
    pub idle_before_suspend: Period,
    /// How old a key may get before it is refused, the overlap included.
    pub max_age: Period,
    /// How many versions that are not destroyed a credential may have.
    pub max_live: u32,
    /// What verifiers need; `None` for kinds whose keys nobody fetches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<Publication>,
    /// What has to be seen before a key is refused; `None` for kinds whose keys leave no traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
    /// What becomes of its keys once its secret is deleted for good.
    #[serde(default, skip_serializing_if = "Otherwise::is_hold")]
    pub if_deleted: Otherwise,
    /// The wishes of the kind, without their prefix, as written.
    pub wishes: BTreeMap<String, String>,
}

/// How the keys of a signing credential are made known. Each period says what it must outlast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// How many keys are published ahead of the one that signs: one, or two.
    pub standbys: u32,
    /// How long a key is published before it signs. Must outlast the verifiers' cache.
    pub lead: Period,
    /// How long a token lives at the most. Must outlast nothing; the overlap must outlast it.
    pub token_life: Period,
    /// How long a verifier may go on with a key set that it fetched. API Gateway's JWT authorizer: two hours.
    pub verifier_cache: Period,
    /// What is added for clocks that differ and for messages on their way.
    pub slack: Period,
    /// Whether the provider can keep a key from signing. Where it can't, its overlap ends with its withdrawal alone. Older
    /// records don't say so, and their versions go on as they began.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub disables: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_yes(said: &bool) -> bool {
    *said
}

/// How a deactivated key is watched, and what is done when that tells too much or too little.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watch {
    /// How long after its overlap a key that is still used waits for its last user.
    pub ceiling: Period,
    /// What becomes of it then.
    pub at_ceiling: Otherwise,
    /// What becomes of a key of whose use nothing is told, once its overlap is over.
    pub no_evidence: Otherwise,
    /// How often its use is looked at, at first; later less often. What two live keys of one customer may spend together
    /// beyond the allowance is what they can spend in this time, and in the time that the figures take to be told.
    pub look_every: Period,
    /// Whether all live keys share one allowance.
    pub settles: bool,
    /// For how long the key is refused during its overlap, one moment after the other, to flush out who still uses it.
    pub brownouts: Vec<Period>,
    /// The log group of the API's access log, if the owner keeps one: then a laggard has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<String>,
}

/// What to do where the rule has no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    /// Wait for a person, or for evidence.
    #[default]
    Hold,
    /// Go on as if nobody used the key.
    Suspend,
}

impl fmt::Display for Otherwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hold => "hold",
            Self::Suspend => "suspend",
        })
    }
}

impl Otherwise {
    fn is_hold(&self) -> bool {
        *self == Self::Hold
    }
}

impl Publication {
    /// How long an HTTP cache may keep the key set without asking again: five minutes, or half of what verifiers take
    /// anyhow. Never longer than the lead, which outlasts the verifiers' cache.
    pub fn max_age(&self) -> Period {
        Period::seconds(300).min(Period::seconds(self.verifier_cache.as_seconds() / 2))
    }

    /// For how long an HTTP cache may go on with it when there is no answer: the rest of the verifiers' cache, so that
    /// no cache outlasts what the owner declared.
    pub fn stale_if_error(&self) -> Period {
        Period::seconds(self.verifier_cache.as_seconds() - self.max_age().as_seconds())
    }
}

impl Policy {
    /// Reads the wishes from a secret's tags and checks them against one another. Tags of others are ignored.
    ///
    /// `kinds` lists every kind.
    pub fn from_tags(tags: &BTreeMap<String, String>, kinds: &[KindWishes<'_>]) -> Result<Self, BadPolicy> {
        let ours: BTreeMap<&str, &str> =
            tags.iter().filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.trim()))).collect();
        let kind = *ours.get("kind").ok_or(BadPolicy::NoKind)?;
        let Some(known) = kinds.iter().find(|known| known.name == kind) else {
            let known = kinds.iter().map(|known| known.name).collect::<Vec<_>>().join(", ");
            return Err(BadPolicy::UnknownKind { found: kind.to_owned(), known });
        };
        let own = known.tags;
        let publishing: &[&str] = if known.publishes { &PUBLISHING_TAGS } else { &[] };
        let watched: &[&str] = if known.traces == Traces::None { &[] } else { &WATCHED_TAGS };
        let all: Vec<&str> = COMMON_TAGS.iter().chain(publishing).chain(watched).chain(own).copied().collect();
        if let Some(found) = ours.keys().find(|tag| !all.contains(tag)) {
            let nearest = all
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, found), *known))
                .min()
                .filter(|(distance, known)| *distance <= known.len() / 2)
                .map(|(_, known)| known.to_owned());
            return Err(BadPolicy::UnknownTag { found: (*found).to_owned(), nearest });
        }
        let period = |tag: &'static str, default: Period| match ours.get(tag) {
            Some(raw) => Period::parse(raw).map_err(|source| BadPolicy::Duration { tag, source }),
            None => Ok(default),
        };
        let number = |tag: &'static str, from: u32, to: u32, default: u32| match ours.get(tag) {
            Some(raw) => raw.parse().ok().filter(|n| (from..=to).contains(n)).ok_or_else(|| BadPolicy::Number {
                tag,
                found: (*raw).to_owned(),
                from,
                to,
            }),
            None => Ok(default),
        };
        let word = |tag: &'static str, default: Otherwise| match ours.get(tag).copied() {
            None => Ok(default),
            Some("hold") => Ok(Otherwise::Hold),
            Some("suspend") => Ok(Otherwise::Suspend),
            Some(found) => Err(BadPolicy::Word { tag, found: found.to_owned() }),
        };
        let consumer_cache = period("consumer-cache", Period::hours(1))?;
        let publication = if known.publishes {
            let verifier_cache = period("verifier-cache", Period::hours(2))?;
            Some(Publication {
                standbys: number("standbys", 1, 2, 1)?,
                // A default must never contradict what the owner chose, here and below.
                lead: period("publish-lead", Period::days(1).max(verifier_cache))?,
                token_life: period("token-life", Period::hours(1))?,
                verifier_cache,
                slack: period("slack", Period::seconds(900))?,
                disables: known.disables,
            })
        } else {
            None
        };
        let needed = publication.as_ref().map(|publication| needed(consumer_cache, publication));
        let overlap = period("overlap", needed.unwrap_or(Period::days(7)))?;
        let watch = if known.traces != Traces::None {
            Some(Watch {
                ceiling: period("ceiling", Period::days(30))?,
                at_ceiling: word("at-ceiling", Otherwise::Suspend)?,
                no_evidence: word("no-evidence", Otherwise::Hold)?,
                look_every: period("look-every", Period::hours(1))?,
                settles: known.traces == Traces::UseAndAllowance,
                brownouts: brownouts(ours.get("brownouts").copied().unwrap_or_default())?,
                access_log: ours.get("access-log").map(|raw| log_group(raw)).transpose()?,
            })
        } else {
            None
        };
        let policy = Self {
            kind: kind.to_owned(),
            overlap,
            soak: period("soak", Period::days(7))?,
            consumer_cache,
            // Whoever reads the new value within the overlap's first half leaves the old one idle for the second. How long
            // a signing key is used can be reckoned: seeing it idle is only to confirm that.
            idle_before_suspend: period(
                "idle-before-suspend",
                publication
                    .as_ref()
                    .map_or(Period::days(2), |publication| publication.slack)
                    .min(Period::seconds(overlap.as_seconds() / 2)),
            )?,
            max_age: period("max-age", Period::days(366).max(overlap))?,
            max_live: number("max-live", 2, 16, 4)?,
            publication,
            watch,
            if_deleted: word("if-deleted", Otherwise::Hold)?,
            wishes: ours
                .iter()
                .filter(|(tag, _)| own.contains(tag))
                .map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned()))
                .collect(),
        };
        policy.check()?;
        Ok(policy)
    }

    /// Sees that the key set of a credential without a key would be fetched by the URL that its name makes. One that has
    /// a key has verifiers already, who fetch it as they do.
    pub fn check_name(&self, credential: &Credential) -> Result<(), BadPolicy> {
        let name = &credential.head.name;
        match name.as_url_path() {
            Err(why) if self.publication.is_some() && credential.current().is_none() => {
                Err(BadPolicy::Name { name: name.clone(), why })
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn check(&self) -> Result<(), BadPolicy> {
        if self.soak == Period::seconds(0) {
            return Err(BadPolicy::NoSoak);
        }
        let pairs = [
            (
                "overlap",
                self.overlap,
                "consumer-cache",
                self.consumer_cache,
                "a consumer would go on with a key that is already refused",
            ),
            (
                "overlap",
                self.overlap,
                "idle-before-suspend",
                self.idle_before_suspend,
                "the key could never be idle for long enough",
            ),
            ("max-age", self.max_age, "overlap", self.overlap, "every key would be too old before its overlap is over"),
        ];
        for (short, is, long, than, why) in pairs {
            if is < than {
                return Err(BadPolicy::TooShort { short, is, long, than, why });
            }
        }
        if let Some(watch) = &self.watch {
            let looks = Period::seconds(300);
            if watch.look_every < looks {
                return Err(BadPolicy::TooShort {
                    short: "look-every",
                    is: watch.look_every,
                    long: "look-every's least",
                    than: looks,
                    why: "the account's calls to the provider are shared with everybody",
                });
            }
            let sum: u64 = watch.brownouts.iter().map(|brownout| brownout.as_seconds()).sum();
            // They end while the key is accepted, and begin when nobody's cache holds it any more.
            let room = self.accepted_for().as_seconds().saturating_sub(self.consumer_cache.as_seconds()) / 2;
            if sum > room {
                let found = watch.brownouts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                return Err(BadPolicy::Brownouts { found });
            }
        }
        let Some(publication) = &self.publication else { return Ok(()) };
        if publication.lead < publication.verifier_cache {
            return Err(BadPolicy::TooShort {
                short: "publish-lead",
                is: publication.lead,
                long: "verifier-cache",
                than: publication.verifier_cache,
                why: "a verifier would meet a key that it has not fetched yet",
            });
        }
        let needed = needed(self.consumer_cache, publication);
        if self.overlap < needed {
            let terms = terms(self.consumer_cache, publication);
            let listed: Vec<String> = terms.iter().map(|(tag, period)| format!("rotator:{tag} = {period}")).collect();
            let binding = terms.iter().rev().max_by_key(|(_, period)| *period).map_or("overlap", |(tag, _)| *tag);
            let terms = listed.join(" + ");
            return Err(BadPolicy::OverlapTooShort { overlap: self.overlap, needed, terms, binding });
        }
        Ok(())
    }

    /// How long after another version became current a signing key still signs: nobody who read it goes on with it for
    /// longer. Then its provider disables it, if it can. `None` for kinds whose keys nobody fetches: they are refused at once, at the end of the overlap.
    pub fn signs_for(&self) -> Option<Period> {
        let publication = self.publication.as_ref()?;
        Some(Period::seconds(self.consumer_cache.as_seconds() + publication.slack.as_seconds()))
    }

    /// Whether its provider disables a signing key before it is withdrawn.
    pub fn is_disabled(&self) -> bool {
        self.publication.as_ref().is_some_and(|publication| publication.disables)
    }

    /// How long after another version became current a key can still be used: until its overlap is over, or until it
    /// signs nothing any more.
    pub fn accepted_for(&self) -> Period {
        self.signs_for().unwrap_or(self.overlap)
    }

    /// Whether the owner wants evidence that nobody uses a key before it is refused.
    pub fn is_gated(&self) -> bool {
        self.watch.is_some() && !self.idle_before_suspend.delta().is_zero()
    }

    /// How long a signing key must stay published after it signed last.
    pub fn trusts_for(&self) -> Option<Period> {
        let publication = self.publication.as_ref()?;
        let [_, (_, token_life), (_, verifier_cache), (_, slack)] = terms(self.consumer_cache, publication);
        Some(Period::seconds(token_life.as_seconds() + verifier_cache.as_seconds() + slack.as_seconds()))
    }
}

/// What an old signing key must outlast: a signer may go on for as long as it caches its secret, what it signs last
/// lives for a token's life, and a verifier may go on with its key set for as long as it caches that.
fn terms(consumer_cache: Period, publication: &Publication) -> [(&'static str, Period); 4] {
    [
        ("consumer-cache", consumer_cache),
        ("token-life", publication.token_life),
        ("verifier-cache", publication.verifier_cache),
        ("slack", publication.slack),
    ]
}

fn needed(consumer_cache: Period, publication: &Publication) -> Period {
    Period::seconds(terms(consumer_cache, publication).iter().map(|(_, period)| period.as_seconds()).sum())
}

fn brownouts(raw: &str) -> Result<Vec<Period>, BadPolicy> {
    let bad = || BadPolicy::Brownouts { found: raw.to_owned() };
    let read: Vec<Period> =
        raw.split_whitespace().map(|word| Period::parse(word).map_err(|_| bad())).collect::<Result<_, _>>()?;
    let long_enough = read.iter().all(|brownout| *brownout >= Period::seconds(60));
    let grow = read.windows(2).all(|pair| pair[0] <= pair[1]);
    if long_enough && grow { Ok(read) } else { Err(bad()) }
}

fn log_group(raw: &str) -> Result<String, BadPolicy> {
    // What CloudWatch Logs takes for a name.
    let is_name = |c: char| c.is_ascii_alphanumeric() || "/_.-#".contains(c);
    if !raw.is_empty() && raw.chars().all(is_name) {
        Ok(raw.to_owned())
    } else {
        Err(BadPolicy::LogGroup(raw.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Time;
    use crate::name::CredentialName;
    use crate::period::BadPeriod;

    const KINDS: &[KindWishes<'_>] = &[
        KindWishes {
            name: "api-gateway-key",
            tags: &["usage-plans", "probe"],
            publishes: false,
            disables: false,
            traces: Traces::UseAndAllowance,
        },
        KindWishes {
            name: "kms-signing-key",
            tags: &["algorithm"],
            publishes: true,
            disables: true,
            traces: Traces::Use,
        },
    ];

    fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut tags: BTreeMap<String, String> =
            pairs.iter().map(|(k, v)| (format!("rotator:{k}"), (*v).to_owned())).collect();
        tags.entry("rotator:kind".into()).or_insert("api-gateway-key".into());
        tags.insert("team".into(), "somebody else's".into());
        tags
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        Policy::from_tags(&tags(pairs), KINDS).unwrap_err().to_string()
    }

    fn at() -> Time {
        Time::from_timestamp(1_800_000_000, 0).unwrap()
    }

    #[test]
    fn defaults_agree_with_one_another() {
        let policy = Policy::from_tags(&tags(&[]), KINDS).unwrap();
        assert_eq!((policy.overlap, policy.soak, policy.max_live), (Period::days(7), Period::days(7), 4));
        assert!(Policy::from_tags(&tags(&[("overlap", "PT2H")]), KINDS).is_ok(), "a short overlap needs no other tag");
    }

    #[test]
    fn contradictions_name_both_tags_and_the_remedy() {
        let said = refusal(&[("overlap", "PT30M")]);
        assert!(said.contains("rotator:overlap = PT30M is shorter than rotator:consumer-cache = PT1H"), "{said}");
        assert!(refusal(&[("soak", "PT0S")]).contains("rotator:soak"));
        assert!(refusal(&[("max-age", "P1D")]).contains("rotator:max-age = P1D is shorter than rotator:overlap = P7D"));
        assert!(refusal(&[("max-live", "1")]).contains("from 2 to 16"));
        assert!(refusal(&[("overlap", "P1D"), ("idle-before-suspend", "P2D")]).contains("idle-before-suspend"));
    }

    #[test]
    fn an_unknown_tag_is_refused_with_the_nearest_known_name() {
        assert!(refusal(&[("ovrelap", "P7D")]).contains("did you mean rotator:overlap?"));
        assert!(refusal(&[("usage-plan", "p1")]).contains("did you mean rotator:usage-plans?"));
        let said = refusal(&[("zzzzzzzzzzzzzzz", "1")]);
        assert!(said.contains("rotator:zzzzzzzzzzzzzzz is not a known tag: correct"), "{said}");
    }

    #[test]
    fn an_unknown_kind_is_refused_with_the_known_ones() {
        assert!(refusal(&[("kind", "api-key")]).contains("api-gateway-key"));
        assert_eq!(Policy::from_tags(&BTreeMap::new(), KINDS), Err(BadPolicy::NoKind));
    }

    #[test]
    fn what_is_done_when_the_evidence_says_too_much_or_too_little_is_the_owners_wish() {
        let watch = |pairs: &[(&str, &str)]| Policy::from_tags(&tags(pairs), KINDS).unwrap().watch.unwrap();
        let usual = watch(&[]);
        assert_eq!(
            (usual.ceiling, usual.at_ceiling, usual.no_evidence),
            (Period::days(30), Otherwise::Suspend, Otherwise::Hold)
        );
        assert_eq!(watch(&[("brownouts", "PT1M PT5M")]).brownouts, [Period::seconds(60), Period::seconds(300)]);
        assert!(refusal(&[("at-ceiling", "delete")]).contains("write hold or suspend"));
        assert!(refusal(&[("access-log", "a b")]).contains("CloudWatch log group"));
        assert!(refusal(&[("look-every", "PT10S")]).contains("rotator:look-every = PT10S is shorter"));
        for bad in ["PT5M PT1M", "PT10S", "soon", "P6D"] {
            assert!(refusal(&[("brownouts", bad)]).contains("rotator:brownouts"), "{bad}");
        }
    }

    fn signing(pairs: &[(&str, &str)]) -> Result<Policy, BadPolicy> {
        let pairs: Vec<_> = pairs.iter().copied().chain([("kind", "kms-signing-key")]).collect();
        Policy::from_tags(&tags(&pairs), KINDS)
    }

    #[test]
    fn what_verifiers_need_decides_how_long_an_old_key_is_published() {
        let policy = signing(&[]).unwrap();
        assert_eq!(policy.overlap, Period::seconds(4 * 3_600 + 900), "signers, tokens, verifiers, slack");
        assert_eq!(policy.signs_for(), Some(Period::seconds(3_600 + 900)));
        assert_eq!(signing(&[("verifier-cache", "P2D")]).unwrap().publication.unwrap().lead, Period::days(2));
        let said = signing(&[("overlap", "PT4H"), ("token-life", "PT3H")]).unwrap_err().to_string();
        assert!(said.contains("the longest of them is rotator:token-life"), "{said}");
        let said = signing(&[("publish-lead", "PT1H")]).unwrap_err().to_string();
        assert!(said.contains("rotator:publish-lead = PT1H is shorter than rotator:verifier-cache = PT2H"), "{said}");
        assert!(signing(&[("standbys", "3")]).unwrap_err().to_string().contains("from 1 to 2"));
        assert!(refusal(&[("standbys", "1")]).contains("not a known tag"), "nobody fetches API keys");
    }

    #[test]
    fn no_http_cache_outlasts_what_the_owner_declared() {
        for cache in ["PT1M", "PT5M", "PT2H", "P3D"] {
            let publication = signing(&[("verifier-cache", cache)]).unwrap().publication.unwrap();
            let (fresh, stale) = (publication.max_age().as_seconds(), publication.stale_if_error().as_seconds());
            assert_eq!(fresh + stale, publication.verifier_cache.as_seconds(), "{cache}");
            assert!(fresh <= 300 && fresh <= publication.lead.as_seconds(), "{cache}");
        }
    }

    #[test]
    fn a_schedule_faster_than_the_lead_or_with_too_many_keys_is_refused() {
        let every = |expression: &str| Schedule { expression: Some(expression.into()), after_days: None };
        let check = |pairs: &[(&str, &str)], schedule| signing(pairs).unwrap().check_schedule(&every(schedule), at());
        assert_eq!(check(&[], "rate(30 days)"), Ok(()));
        assert!(matches!(check(&[], "rate(1 day)"), Err(BadPolicy::FasterThanLead { standbys: 1, .. })));
        assert_eq!(check(&[("standbys", "2"), ("soak", "PT1H"), ("max-live", "5")], "rate(1 day)"), Ok(()));
        let crowd = [("overlap", "P30D"), ("max-live", "16")];
        assert!(matches!(check(&crowd, "rate(2 days)"), Err(BadPolicy::PublishesTooMany { published: 17, .. })));
    }

    #[test]
    fn what_is_ahead_of_todays_key_can_be_told() {
        let day = |days: i64| Time::from_timestamp(1_800_000_000, 0).unwrap() + chrono::TimeDelta::days(days);
        let monthly = Schedule { expression: Some("rate(30 days)".into()), after_days: None };
        let outlook = |pairs: &[(&str, &str)]| {
            let policy = Policy::from_tags(&tags(pairs), KINDS).unwrap();
            policy.outlook(&monthly, at()).unwrap().map(|ahead| (ahead.rotates, ahead.refused_from, ahead.refused_by))
        };
        let first = day(30).date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
        let later = |days| first + chrono::TimeDelta::days(days);
        assert_eq!(outlook(&[]), Some((first, later(7), Some(later(37)))));
        assert_eq!(outlook(&[("at-ceiling", "hold")]), Some((first, later(7), None)));
        assert_eq!(outlook(&[("idle-before-suspend", "PT0S")]), Some((first, later(7), Some(later(7)))));
        let cron = Schedule { expression: Some("cron(0 8 1 * ? *)".into()), after_days: None };
        assert_eq!(cron.first(at()).unwrap().unwrap().to_rfc3339(), "2027-02-01T08:00:00+00:00");
        let policy = Policy::from_tags(&tags(&[]), KINDS).unwrap();
        assert_eq!(policy.outlook(&Schedule::default(), at()), Ok(None));
    }

    #[test]
    fn months_in_a_tag_are_refused() {
        let error = Policy::from_tags(&tags(&[("overlap", "P1M")]), KINDS).unwrap_err();
        assert!(matches!(error, BadPolicy::Duration { tag: "overlap", source: BadPeriod::NotFixed(_) }));
    }

    #[test]
    fn a_schedule_that_piles_versions_up_is_refused() {
        let policy = Policy::from_tags(&tags(&[]), KINDS).unwrap();
        let every = |expression: &str| Schedule { expression: Some(expression.into()), after_days: None };
        assert!(policy.check_schedule(&every("rate(30 days)"), at()).is_ok());
        assert!(policy.check_schedule(&every("cron(0 8 1 * ? *)"), at()).is_ok());
        assert!(matches!(policy.check_schedule(&every("rate(1 day)"), at()), Err(BadPolicy::PilesUp { live: 15, .. })));
        assert!(matches!(
            policy.check_schedule(&every("cron(0 8 ? * MON-FRI *)"), at()),
            Err(BadPolicy::PilesUp { .. })
        ));
        assert!(matches!(policy.check_schedule(&every("rate(400 days)"), at()), Err(BadPolicy::TooOld { .. })));
        assert!(matches!(policy.check_schedule(&every("every day"), at()), Err(BadPolicy::Schedule(_))));
    }

    #[test]
    fn a_thousand_names_have_moments_of_their_own() {
        let of = |name: &str| Timetable::Spread.of(&CredentialName::parse(name).unwrap());
        let moments: BTreeSet<_> =
            (0..1_000).filter_map(|number| of(&format!("partner/{number}")).expression).collect();
        assert!(moments.len() > 400, "{} of 672", moments.len());
        for moment in moments {
            let schedule = Schedule { expression: Some(moment.clone()), after_days: None };
            let (least, most) = schedule.gaps("2026-03-02T10:30:00Z".parse().unwrap()).unwrap().unwrap();
            assert!(least >= Period::days(28) && most <= Period::days(31), "{moment}");
        }
        // Whoever adopts again must come to the same.
        assert_eq!(of("partner/acme").expression.as_deref(), Some("cron(0 15 4 * ? *)"));
    }
}
