//! What began a rotation, as far as it can be seen.
//!
//! Secrets Manager does not say why it calls the function. What is known is who asked through this service, by the token
//! that their request was bound to, and whether the schedule had a window open. Nothing is concluded from less.

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::credential::Credential;
use crate::decide::Secret;
use crate::name::Token;

/// What began a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Trigger {
    /// An emergency that a person declared.
    Emergency,
    /// A person, through this service.
    Request,
    /// Nobody through this service; it was due by the secret's schedule.
    Schedule {
        /// When the window opened that is open now.
        since: Time,
    },
    /// Nobody through this service, and the schedule had no window open: somebody called `RotateSecret`.
    Elsewhere,
}

/// What began the rotation with that token, which is about to get its version.
pub fn trigger(token: &Token, credential: &Credential, secret: &Secret, now: Time) -> Trigger {
    if credential.head.order.as_ref().is_some_and(|order| order.token == *token) {
        return Trigger::Emergency;
    }
    if credential.head.request.as_ref() == Some(token) {
        return Trigger::Request;
    }
    // Of a secret that was never rotated, Secrets Manager counts from when its schedule was configured, and tells nobody.
    let configured = [secret.created, credential.current().and_then(|version| version.activated)];
    let counted_from: Vec<Time> = match secret.last_rotated {
        Some(last) => vec![last],
        None => configured.into_iter().flatten().collect(),
    };
    let since = secret.schedule.open_since(&counted_from, now);
    match since.filter(|since| secret.last_rotated.is_none_or(|last| last < *since)) {
        Some(since) => Trigger::Schedule { since },
        None => Trigger::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::credential::Stamp;
    use crate::ledger::{Actor, Change};
    use crate::name::CredentialName;
    use crate::policy::{BadPolicy, Schedule};

    fn at(raw: &str) -> Time {
        raw.parse().expect("a moment")
    }

    fn secret(schedule: Option<&str>, last_rotated: Option<&str>) -> Secret {
        Secret {
            arn: "arn:1".into(),
            deleted: false,
            gone: false,
            rotation_enabled: true,
            labels: BTreeMap::new(),
            wishes: Err(BadPolicy::NoKind),
            schedule: Schedule { expression: schedule.map(str::to_owned), after_days: None },
            created: Some(at("2026-01-10T09:30:00Z")),
            last_rotated: last_rotated.map(at),
            replicas_behind: Vec::new(),
        }
    }

    fn credential() -> Credential {
        Credential::empty(CredentialName::parse("partner/acme").expect("a name"), "arn:1")
    }

    fn token(purpose: &str) -> Token {
        Token::derived(purpose)
    }

    #[test]
    fn who_asked_through_this_service_is_told_by_the_token() {
        let now = at("2026-03-01T08:10:00Z");
        let stamp = Stamp { at: now, until: now, actor: Actor::Operator, note: None };
        let due = secret(Some("cron(0 8 1 * ? *)"), None);
        let asked = credential().apply(Change::Requested { token: token("asked") }, &stamp).expect("legal").credential;
        assert_eq!(trigger(&token("asked"), &asked, &due, now), Trigger::Request);
        let since = at("2026-03-01T08:00:00Z");
        assert_eq!(trigger(&token("other"), &asked, &due, now), Trigger::Schedule { since });
        let ordered = Change::Ordered { token: token("ordered"), compromised: Vec::new() };
        let ordered = asked.apply(ordered, &stamp).expect("legal").credential;
        assert_eq!(trigger(&token("ordered"), &ordered, &due, now), Trigger::Emergency);
    }

    #[test]
    fn a_window_that_is_open_and_was_not_used_yet_is_a_reason() {
        let monthly = Some("cron(0 8 1 * ? *)");
        let cases = [
            // Before it opens, in it, on the next day.
            (monthly, None, "2026-03-01T07:59:59Z", None),
            (monthly, None, "2026-03-01T08:00:00Z", Some("2026-03-01T08:00:00Z")),
            (monthly, Some("2026-02-01T08:00:40Z"), "2026-03-01T23:59:59Z", Some("2026-03-01T08:00:00Z")),
            (monthly, Some("2026-02-01T08:00:40Z"), "2026-03-02T00:00:00Z", None),
            // Once more in the same window: that is somebody.
            (monthly, Some("2026-03-01T08:00:40Z"), "2026-03-01T15:00:00Z", None),
            // A rate counts from the last rotation, or else from when the secret was made; its window is a day, or an hour.
            (Some("rate(30 days)"), Some("2026-02-01T08:00:40Z"), "2026-03-03T00:00:01Z", Some("2026-03-03T00:00:00Z")),
            (Some("rate(30 days)"), Some("2026-02-01T08:00:40Z"), "2026-03-02T23:59:00Z", None),
            (Some("rate(30 days)"), None, "2026-02-09T12:00:00Z", Some("2026-02-09T00:00:00Z")),
            (Some("rate(6 hours)"), Some("2026-02-01T08:10:00Z"), "2026-02-01T14:59:00Z", Some("2026-02-01T14:00:00Z")),
            (Some("rate(6 hours)"), Some("2026-02-01T08:10:00Z"), "2026-02-01T15:00:00Z", None),
            // After a window that was missed.
            (Some("rate(30 days)"), Some("2026-02-01T08:00:40Z"), "2026-04-02T08:00:00Z", Some("2026-04-02T00:00:00Z")),
            (None, Some("2026-02-01T08:00:40Z"), "2026-03-01T08:00:00Z", None),
        ];
        for (schedule, last, now, since) in cases {
            let expected = since.map_or(Trigger::Elsewhere, |since| Trigger::Schedule { since: at(since) });
            let found = trigger(&token("any"), &credential(), &secret(schedule, last), at(now));
            assert_eq!(found, expected, "{schedule:?} {last:?} {now}");
        }
    }
}
