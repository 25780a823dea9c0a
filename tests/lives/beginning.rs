//! Who lives, and where: drawn once for each life.

use std::fmt;
use std::time::Duration;

use chrono::TimeDelta;
use local_aws::{LabelEvent, PreflightValue, RetryToken, Settings};

use crate::harness::{ACME, API, Terms};

use super::dice::{Dice, Purpose};

/// A life before it begins.
#[derive(Clone, Debug)]
pub struct Beginning {
    pub credentials: Vec<Wanted>,
    pub ways: Settings,
    pub clocks: Clocks,
    /// Whether Lambda keeps processes for the next call.
    pub keeps: bool,
    pub acts: u32,
}

/// A credential that its owner wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub name: &'static str,
    pub kind: Kind,
    pub terms: Terms,
    /// A key of its owner's, to begin with; otherwise the first rotation makes one.
    pub has_key: bool,
}

/// What a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ApiKey,
    Webhook,
    Kms,
    Jwt,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::ApiKey, Self::Webhook, Self::Kms, Self::Jwt];
}

/// How far each machine's clock is ahead of AWS's, or behind it.
///
/// A person's machine is promised to be less than five seconds off: the command line sets its clock by AWS's answers
/// (`TOLERANCE` in `rotator/cli/src/clock.rs`). Lambda keeps its own machines' clocks right, and nothing here promises
/// what would become of one that is wrong; so they get no more than that either.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    pub rotation: TimeDelta,
    pub retirement: TimeDelta,
    pub jwks: TimeDelta,
    pub person: TimeDelta,
}

impl fmt::Display for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rotation, retirement, jwks, person } = self;
        write!(f, "clocks ahead by: rotation {rotation}, retirement {retirement}, jwks {jwks}, person {person}")
    }
}

/// Less than the five seconds.
const FURTHEST_OFF: u32 = 4_500;

const NAMES: [&str; 3] = [ACME, "partner/globex", "partner/initech"];

/// How often a secret rotates by itself. Longer than the end of a life takes after its last rotation.
const SCHEDULE: &str = "rate(10 days)";

impl Beginning {
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed, Purpose::Beginning);
        let count = dice.weighed(vec![(6, 1), (3, 2), (1, 3)]);
        let credentials = NAMES.into_iter().take(count).map(|name| Wanted::draw(&mut dice, name)).collect();
        let mut clock = || {
            let off = i64::from(dice.between(0, 2 * FURTHEST_OFF)) - i64::from(FURTHEST_OFF);
            if dice.chance(50) { TimeDelta::zero() } else { TimeDelta::milliseconds(off) }
        };
        let clocks = Clocks { rotation: clock(), retirement: clock(), jwks: clock(), person: clock() };
        Self { credentials, ways: ways(&mut dice), clocks, keeps: dice.chance(70), acts: dice.between(6, 12) }
    }
}

impl Wanted {
    fn draw(dice: &mut Dice, name: &'static str) -> Self {
        let kind = dice.one(&Kind::ALL);
        let soak = dice.one(&["P1D", "PT12H"]);
        let most = dice.one(&["5", "8"]);
        let terms = match kind {
            Kind::ApiKey => {
                let probe = if dice.chance(90) { format!("{API}/prod/ping") } else { "none".into() };
                let terms = Terms::default().with("probe", &probe).with("overlap", dice.one(&["P1D", "PT6H"]));
                watched(dice, terms, "PT2H")
            }
            Kind::Webhook => {
                let terms = Terms::webhook().with("overlap", dice.one(&["P1D", "PT6H"]));
                if dice.chance(25) { terms.with("algorithm", "HS256") } else { terms }
            }
            Kind::Kms => {
                let terms = Terms::kms().with("algorithm", dice.one(&["ES256", "EdDSA"]));
                let terms = published(dice, terms);
                watched(dice, terms, "PT15M")
            }
            Kind::Jwt => {
                let terms = Terms::jwt().with("algorithm", dice.one(&["ES256", "EdDSA"]));
                published(dice, terms)
            }
        };
        let terms = Terms { schedule: Some(SCHEDULE.into()), ..terms.with("soak", soak).with("max-live", most) };
        Self { name, kind, terms, has_key: kind == Kind::ApiKey && dice.chance(60) }
    }
}

/// Whether somebody looks at its use before it is refused, and whether it is refused for a moment before.
fn watched(dice: &mut Dice, terms: Terms, idle: &str) -> Terms {
    let terms = if dice.chance(40) { terms.with("idle-before-suspend", idle) } else { terms };
    if dice.chance(45) { terms.with("brownouts", "PT5M") } else { terms }
}

/// How many standbys, and how long they are published before they sign.
fn published(dice: &mut Dice, terms: Terms) -> Terms {
    let terms = if dice.chance(50) { terms.with("publish-lead", "PT2H") } else { terms };
    if dice.chance(25) { terms.with("standbys", "2") } else { terms }
}

/// How AWS behaves where it is free to behave in several ways: every switch where the service must be right on both
/// sides, and no further than it promises to be. Not among them: what only doctor asks (`simulated`, `denied_actions`,
/// `may_simulate`, `caller`, `roles`), what only an access log has (`log_lag`, `log_query_polls`), and what would have
/// no keys at all (`kms_specs_missing`).
pub fn ways(dice: &mut Dice) -> Settings {
    let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
    let maybe = |dice: &mut Dice, percent: u32, most: u32| {
        if dice.chance(percent) { seconds(dice.between(1, most)) } else { Duration::ZERO }
    };
    let turned = |dice: &mut Dice, most: u32| dice.chance(25).then(|| seconds(dice.between(1, most)));
    let late = seconds(dice.between(1, 1_200));
    Settings {
        rotation_retries: dice.between(0, 3),
        retry_token: dice.one(&[RetryToken::Same, RetryToken::New]),
        retry_delay: seconds(dice.between(10, 300)),
        preflight_value: dice.one(&[PreflightValue::Current, PreflightValue::Empty]),
        label_event: dice.one(&[
            LabelEvent::OnTime,
            LabelEvent::Late(late),
            LabelEvent::Twice,
            LabelEvent::Early,
            LabelEvent::Never,
        ]),
        // A function waits for it, and has five minutes.
        propagation: maybe(dice, 30, 60),
        // Half an hour, and a person is told (`HEARD_OF` in `rotator/src/engine/run.rs`).
        disabling: turned(dice, 900),
        enabling: turned(dice, 150),
        // `ROTATOR_USAGE_LAG`: an hour.
        usage_lag: maybe(dice, 30, 3_600),
        usage_without_quota: dice.chance(50),
        usage_by_value: dice.chance(30),
        control_plane_limits: dice.chance(50),
        stale_index: maybe(dice, 20, 120),
        // `LOOK_UP_LAG` in `state/src/credential.rs`: five minutes.
        kms_lag: maybe(dice, 40, 290),
        // `YOUTH` in the same file: five minutes.
        kms_unseen: ["GetPublicKey", "DescribeKey", "GetKeyPolicy"]
            .map(|operation| (operation.to_owned(), maybe(dice, 20, 60)))
            .into(),
        kms_tag_lag: maybe(dice, 20, 290),
        ..Settings::default()
    }
}
