//! What can be done in a life: plain data, drawn from dice and from what is known.

use chrono::{DateTime, TimeDelta, Utc};
use local_aws::Settings;
use state::credential::{Credential, Version};
use state::decide::{AWSCURRENT, AWSPENDING, Secret};
use state::lifecycle::{Phase, State};
use state::rollback::can_come_back;

use crate::harness::faults::Fault;

use super::beginning::{Kind, ways};
use super::dice::Dice;

/// One step of a life: an act, and what goes wrong from then on.
#[derive(Clone, Debug)]
pub struct Step {
    pub act: Act,
    pub hurt: Option<Hurt>,
}

/// What is done. `of`: which credential.
#[derive(Clone, Debug)]
pub enum Act {
    /// Somebody calls `RotateSecret`.
    Rotate { of: usize },
    /// Time passes. Retirement comes by on the way, that often, and at the end.
    Wait { minutes: u32, visits: u32 },
    /// Time passes until something is due that the records have a time for, and retirement comes by.
    UntilDue,
    /// A person at the command line, who follows it for so long.
    Command { of: usize, line: Line, minutes: u32 },
    /// A person at the console, behind the service's back.
    Console { of: usize, deed: Deed },
    /// A client that has not heard of a new key goes on with that generation's.
    Late { of: usize, generation: u32, requests: u32 },
    /// AWS does not allow that operation any more.
    Deny { operation: &'static str },
    /// Everything is allowed again.
    Allow,
    /// Something before the API refuses every request, in API Gateway's own words; or does so no longer.
    Firewall { up: bool },
    /// AWS behaves otherwise from now on, where it is free to.
    Change { ways: Box<Settings> },
}

/// What a person asks of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Rotate,
    /// Every accepted version is compromised.
    Emergency,
    /// That version is compromised.
    EmergencyOf(u32),
    /// None is: a key is lost.
    EmergencyOfNone,
    RollBack,
    RollBackTo(u32),
    Retire(u32),
    Repair,
    Reconcile,
    /// Of everything there is.
    ReconcileAll,
}

/// What a person changes behind the service's back. The number is a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    DisableKey(u32),
    EnableKey(u32),
    DeleteKey(u32),
    /// Out of the plan that lets it into the stage that consumers call.
    TakeOutOfPlan(u32),
    /// Into another plan of another stage.
    PutIntoPlan(u32),
    /// Into another plan of the same stage.
    MoveToPlan(u32),
    MoveCurrent(u32),
    MovePending(u32),
    TakePendingOff,
    /// The current value once more, with a member of the person's own.
    PutSameKey,
    /// A value without a key.
    WipeValue,
    /// Of everything that is about to be made one of a stranger's own, under its name.
    ActFirst,
}

/// What goes wrong, with which call from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hurt {
    pub fault: Fault,
    pub call: usize,
    /// With every later call of the same operation too, until two processes have given up.
    pub again: bool,
}

/// What is known of a credential when the next act is drawn.
#[derive(Clone, Debug)]
pub struct Seen {
    pub kind: Kind,
    pub credential: Option<Credential>,
    pub secret: Secret,
    /// The provider's keys by generation: whether each is enabled.
    pub keys: Vec<(u32, bool)>,
    /// Somebody broke something at the console, and nobody has put it right yet.
    pub is_broken: bool,
}

impl Seen {
    /// Whether a rotation is pending, or looks as if it were.
    pub fn is_pending(&self) -> bool {
        self.secret.holder(AWSPENDING).is_some_and(|token| !self.secret.has(token, AWSCURRENT))
    }

    /// The generation that has a label, where a record knows it.
    pub fn labelled(&self, label: &str) -> Option<u32> {
        let holder = self.secret.holder(label)?;
        self.credential.as_ref()?.by_carrier(holder).map(|version| version.generation)
    }

    /// The versions on their way whose key is disabled.
    pub fn off(&self) -> impl Iterator<Item = u32> {
        let is_on_its_way = |generation: &u32| {
            let version = self.credential.as_ref().and_then(|credential| credential.versions.get(generation));
            version.is_some_and(|version| version.state == State::PreActivation)
        };
        let off = self.keys.iter().filter(|(_, enabled)| !enabled).map(|(generation, _)| *generation);
        off.filter(is_on_its_way)
    }

    pub fn current(&self) -> Option<u32> {
        self.credential.as_ref()?.head.current
    }

    fn versions(&self) -> impl Iterator<Item = &Version> + Clone {
        self.credential.iter().flat_map(|credential| credential.versions.values())
    }
}

/// The next step.
pub fn draw(dice: &mut Dice, seen: &[Seen], is_denied: bool, is_blocked: bool, now: DateTime<Utc>) -> Step {
    let mut possible = vec![(60, wait(dice)), (6, Act::Change { ways: Box::new(ways(dice)) })];
    possible.push(if is_denied { (30, Act::Allow) } else { (8, Act::Deny { operation: dice.one(&DENIABLE) }) });
    possible.push(if is_blocked { (30, Act::Firewall { up: false }) } else { (5, Act::Firewall { up: true }) });
    let due = seen.iter().flat_map(Seen::versions).filter_map(Version::due).any(|at| at > now);
    if due {
        possible.push((50, Act::UntilDue));
    }
    for (of, seen) in seen.iter().enumerate() {
        let whose = Whose { of, seen };
        whose.rotations(dice, &mut possible);
        whose.ways_back(dice, &mut possible);
        whose.cures(dice, &mut possible);
        whose.deeds(dice, &mut possible);
    }
    let act = dice.weighed(possible);
    let is_hurt = dice.chance(55) && act.calls();
    let hurt = is_hurt.then(|| hurt(dice, &act));
    Step { act, hurt }
}

impl Act {
    /// Whether functions or commands are at work in it.
    fn calls(&self) -> bool {
        match self {
            Self::Rotate { .. } | Self::Wait { .. } | Self::UntilDue | Self::Command { .. } => true,
            Self::Console { .. }
            | Self::Late { .. }
            | Self::Deny { .. }
            | Self::Allow
            | Self::Firewall { .. }
            | Self::Change { .. } => false,
        }
    }
}

fn wait(dice: &mut Dice) -> Act {
    let (hour, day) = (60, 24 * 60);
    let (least, most, unit, visits) =
        dice.weighed(vec![(8, (1, 30, 1, 1)), (6, (1, 12, hour, 2)), (4, (1, 3, day, 3)), (1, (4, 11, day, 4))]);
    Act::Wait { minutes: dice.between(least, most) * unit + dice.below(unit.min(hour)), visits }
}

fn hurt(dice: &mut Dice, act: &Act) -> Hurt {
    let span = dice.one(&[8, 24, 60, 110]);
    let begin = match act {
        // Retirement asks eight times what is due before it does anything.
        Act::UntilDue => dice.one(&[0, 8, 8]),
        Act::Rotate { .. }
        | Act::Wait { .. }
        | Act::Command { .. }
        | Act::Console { .. }
        | Act::Late { .. }
        | Act::Deny { .. }
        | Act::Allow
        | Act::Firewall { .. }
        | Act::Change { .. } => 0,
    };
    let call = (begin + dice.below(span)) as usize;
    Hurt { fault: dice.one(&Fault::ALL), call, again: dice.chance(35) }
}

impl Line {
    /// Whether nothing of its credential is wrong any more, if it says that it is done.
    pub fn puts_everything_right(&self) -> bool {
        match self {
            Self::Reconcile => true,
            Self::Rotate
            | Self::Emergency
            | Self::EmergencyOf(_)
            | Self::EmergencyOfNone
            | Self::RollBack
            | Self::RollBackTo(_)
            | Self::Retire(_)
            | Self::Repair
            | Self::ReconcileAll => false,
        }
    }
}

/// What can be done with one credential.
struct Whose<'s> {
    of: usize,
    seen: &'s Seen,
}

type Possible = Vec<(u32, Act)>;

impl Whose<'_> {
    fn command(&self, dice: &mut Dice, line: Line) -> Act {
        // Seldom for as long as a pending rotation may show no sign of life.
        let minutes = dice.weighed(vec![(5, 2), (4, 5), (1, 17)]);
        Act::Command { of: self.of, line, minutes }
    }

    fn rotations(&self, dice: &mut Dice, possible: &mut Possible) {
        let begins = match (self.seen.current(), self.seen.is_pending()) {
            (None, _) => 120,
            (Some(_), false) => 45,
            (Some(_), true) => 15,
        };
        possible.push((begins, Act::Rotate { of: self.of }));
        possible.push((12, self.command(dice, Line::Rotate)));
        let Some(credential) = &self.seen.credential else { return };
        if credential.head.current.is_none() {
            return;
        }
        possible.push((14, self.command(dice, Line::Emergency)));
        possible.push((3, self.command(dice, Line::EmergencyOfNone)));
        let known = credential.versions.values().filter(|version| version.state != State::Destroyed);
        let known: Vec<u32> = known.map(|version| version.generation).collect();
        if !known.is_empty() {
            let line = Line::EmergencyOf(dice.one(&known));
            possible.push((8, self.command(dice, line)));
        }
    }

    fn ways_back(&self, dice: &mut Dice, possible: &mut Possible) {
        let Some(credential) = &self.seen.credential else { return };
        let others = self.seen.versions().filter(|version| Some(version.generation) != self.seen.current());
        let back: Vec<u32> = others
            .clone()
            .filter(|version| can_come_back(credential, version).is_ok())
            .map(|it| it.generation)
            .collect();
        if !back.is_empty() {
            possible.push((15, self.command(dice, Line::RollBack)));
            let line = Line::RollBackTo(dice.one(&back));
            possible.push((15, self.command(dice, line)));
        }
        let waiting = others.filter(|version| version.state == State::Deactivated);
        let waiting: Vec<u32> = waiting.map(|version| version.generation).collect();
        if !waiting.is_empty() {
            let generation = dice.one(&waiting);
            possible.push((6, self.command(dice, Line::Retire(generation))));
            if self.seen.kind == Kind::ApiKey {
                let requests = dice.between(1, 4);
                possible.push((12, Act::Late { of: self.of, generation, requests }));
            }
        }
    }

    fn cures(&self, dice: &mut Dice, possible: &mut Possible) {
        let wanted = self.seen.is_broken || self.seen.is_pending();
        possible.push((if wanted { 35 } else { 5 }, self.command(dice, Line::Repair)));
        possible.push((if self.seen.is_broken { 45 } else { 8 }, self.command(dice, Line::Reconcile)));
        possible.push((4, self.command(dice, Line::ReconcileAll)));
    }

    fn deeds(&self, dice: &mut Dice, possible: &mut Possible) {
        // Seldom twice before anybody has looked.
        let weight = if self.seen.is_broken { 1 } else { 3 };
        let mut push = |weight: u32, deed: Deed| possible.push((weight, Act::Console { of: self.of, deed }));
        let Some(credential) = &self.seen.credential else { return };
        let with_key = |states: &[State], enabled: bool| -> Vec<u32> {
            let is_so = |(generation, is): &&(u32, bool)| {
                let state = credential.versions.get(generation).map(|version| version.state);
                *is == enabled && state.is_some_and(|state| states.contains(&state))
            };
            self.seen.keys.iter().filter(is_so).map(|(generation, _)| *generation).collect()
        };
        let live = with_key(&[State::PreActivation, State::Active, State::Deactivated], true);
        let refused = with_key(&[State::Suspended], false);
        // The others have no key at a provider.
        let (has_keys, has_plans) = match self.seen.kind {
            Kind::ApiKey => (true, true),
            Kind::Kms => (true, false),
            Kind::Webhook | Kind::Jwt => (false, false),
        };
        if has_keys && !live.is_empty() {
            push(4 * weight, Deed::DisableKey(dice.one(&live)));
        }
        if has_keys && !refused.is_empty() {
            push(3 * weight, Deed::EnableKey(dice.one(&refused)));
        }
        if has_plans && !live.is_empty() {
            push(4 * weight, Deed::DeleteKey(dice.one(&live)));
            push(3 * weight, Deed::TakeOutOfPlan(dice.one(&live)));
            push(2 * weight, Deed::PutIntoPlan(dice.one(&live)));
            push(2 * weight, Deed::MoveToPlan(dice.one(&live)));
        }
        let carried = credential.versions.values().filter(|version| !version.carriers.is_empty());
        let carried: Vec<u32> = carried.map(|version| version.generation).collect();
        let without = |label: &str| -> Vec<u32> {
            let holder = self.seen.labelled(label);
            carried.iter().copied().filter(|generation| Some(*generation) != holder).collect()
        };
        let is_named = |version: &Version| matches!(version.phase, Some(Phase::Minting | Phase::Admitting));
        if credential.versions.values().any(is_named) {
            push(15, Deed::ActFirst);
        }
        let (elsewhere, unpending) = (without(AWSCURRENT), without(AWSPENDING));
        if !elsewhere.is_empty() {
            push(4 * weight, Deed::MoveCurrent(dice.one(&elsewhere)));
        }
        if !unpending.is_empty() {
            push(2 * weight, Deed::MovePending(dice.one(&unpending)));
        }
        if self.seen.secret.holder(AWSPENDING).is_some() {
            push(if self.seen.is_pending() { 10 } else { 2 }, Deed::TakePendingOff);
        }
        // Only of a value that is as it should be.
        if self.seen.labelled(AWSCURRENT).is_some() && self.seen.labelled(AWSCURRENT) == self.seen.current() {
            push(3 * weight, Deed::PutSameKey);
            push(3 * weight, Deed::WipeValue);
        }
    }
}

/// Operations that may be denied: of functions and people alike.
const DENIABLE: [&str; 22] = [
    "DynamoDB:Query",
    "DynamoDB:TransactWriteItems",
    "secretsmanager:DescribeSecret",
    "secretsmanager:GetSecretValue",
    "secretsmanager:PutSecretValue",
    "secretsmanager:UpdateSecretVersionStage",
    "secretsmanager:RotateSecret",
    "secretsmanager:CreateSecret",
    "secretsmanager:DeleteSecret",
    "apigateway:GET /apikeys",
    "apigateway:POST /apikeys",
    "apigateway:PATCH /apikeys/{key}",
    "apigateway:DELETE /apikeys/{key}",
    "apigateway:GET /usageplans",
    "apigateway:POST /usageplans/{plan}/keys",
    "TrentService:CreateKey",
    "TrentService:DescribeKey",
    "TrentService:GetPublicKey",
    "TrentService:Sign",
    "TrentService:EnableKey",
    "TrentService:DisableKey",
    "TrentService:ScheduleKeyDeletion",
];

/// How long that is.
pub fn minutes(minutes: u32) -> TimeDelta {
    TimeDelta::minutes(i64::from(minutes))
}
