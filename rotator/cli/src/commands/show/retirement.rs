//! What `rotator show` tells of a version on its way out: what is seen of its use and what it waits for, what two live
//! keys may spend together, its brownouts, and whether anybody saw that its key is refused.

use rotator::aws::records::Told;
use serde::Serialize;
use state::Time;
use state::credential::{Credential, Settlements, Version};
use state::evidence::Ground;
use state::hold::HoldReason;
use state::ledger::Change;
use state::lifecycle::State;
use state::period::Period;
use state::policy::Otherwise;

use crate::output::{counted, moment, span};

/// How wide the first column is, as in the facts at the page's beginning.
const WHAT: usize = 10;

/// What a deactivated version waits for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RetirementView {
    gate: GateView,
    usage: Option<UsageView>,
    settled: Settlements,
    overspend: Option<OverspendView>,
    brownouts: Option<BrownoutsView>,
}

/// Whether it may be refused once its overlap is over.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GateView {
    open: bool,
    ground: Option<Ground>,
    reason: Option<HoldReason>,
    idle_before_suspend: Period,
    ceiling: Option<Time>,
    at_ceiling: Option<Otherwise>,
    /// Whether only the gate keeps it.
    #[serde(skip)]
    keeps: bool,
}

/// What is known of a deactivated version's use.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::commands) struct UsageView {
    source: String,
    told: bool,
    requests: Option<u64>,
    last_used: Option<Time>,
    looked: Time,
    seen_until: Time,
    next_look: Option<Time>,
    callers: Vec<String>,
    callers_erased: bool,
    /// Whether an access log could name them.
    #[serde(skip)]
    has_log: bool,
}

/// What two live keys may spend together beyond the allowance: what they can spend in both of these times.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OverspendView {
    between_looks: Period,
    usage_lag: Period,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BrownoutsView {
    done: u32,
    of: usize,
    until: Option<Time>,
    next: Option<NextBrownout>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct NextBrownout {
    at: Time,
    lasts: Period,
}

/// What was seen of a refusal that was ordered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExposureView {
    ordered: Time,
    after: Option<Period>,
    /// Whether it is over: seen, or given up.
    over: bool,
    unproved: Option<String>,
}

/// Whether the history has something to tell that the records don't: who still uses a key, or why a refusal is not
/// proved.
pub(super) fn needs_history(credential: &Credential) -> bool {
    credential.versions.values().any(|version| {
        let in_use = version.held.as_ref().is_some_and(|held| held.hold.reason.is_use());
        let unproved = version.refused.as_ref().is_some_and(|refused| refused.after.is_none());
        in_use || version.state == State::Suspended && unproved
    })
}

impl RetirementView {
    /// Of a deactivated version; nothing of any other.
    pub(super) fn of(version: &Version, credential: &Credential, lag: Period, as_of: Time) -> Option<Self> {
        if version.state != State::Deactivated {
            return None;
        }
        let watch = version.policy.watch.as_ref();
        let gate = version.gate(as_of);
        let has_quota = |version: &Version| version.evidence.keys().any(|fact| fact.starts_with("quota:"));
        let shares = !version.settled.is_empty() || credential.versions.values().any(has_quota);
        let overspend = watch.filter(|watch| watch.settles && shares && version.compromised.is_none()).map(|watch| {
            let looks = version.usage.as_ref().zip(version.look_at()).map(|(usage, next)| next - usage.looked);
            OverspendView { between_looks: looks.map_or(watch.look_every, period), usage_lag: lag }
        });
        let brownouts = watch.filter(|watch| !watch.brownouts.is_empty()).map(|watch| BrownoutsView {
            done: version.brownouts - u32::from(version.brownout_until.is_some()).min(version.brownouts),
            of: watch.brownouts.len(),
            until: version.brownout_until,
            next: version
                .next_brownout(credential.slowest_refusal())
                .map(|(at, lasts)| NextBrownout { at, lasts: period(lasts) }),
        });
        let is_watched = watch.is_some() && !version.policy.idle_before_suspend.delta().is_zero();
        Some(Self {
            gate: GateView {
                open: gate.is_ok(),
                ground: gate.as_ref().ok().copied(),
                reason: gate.as_ref().err().map(|hold| hold.reason),
                idle_before_suspend: version.policy.idle_before_suspend,
                ceiling: version.ceiling().filter(|_| is_watched),
                at_ceiling: watch.filter(|_| is_watched).map(|watch| watch.at_ceiling),
                keeps: gate.is_err() && version.refuse_at().is_some_and(|at| at <= as_of),
            },
            usage: UsageView::of(version),
            settled: version.settled.clone(),
            overspend,
            brownouts,
        })
    }

    /// Adds who uses the key.
    pub(super) fn name_callers(&mut self, generation: u32, history: &[Told]) {
        if let Some(usage) = &mut self.usage {
            usage.name_callers(generation, history);
        }
    }

    /// What the page tells, as facts.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        if let Some(usage) = &self.usage {
            facts.push(("use", usage.page()));
            facts.push(("looked", usage.looked()));
        }
        facts.extend(self.gate.page().map(|said| (if self.gate.keeps { "waits" } else { "gate" }, said)));
        if let Some(usage) = self.usage.as_ref().filter(|_| self.gate.keeps) {
            facts.extend(usage.users());
        }
        for (plan, settled) in &self.settled {
            let used: i64 = settled.used.values().sum();
            let shown =
                if settled.shown { "" } else { "; API Gateway did not show that figure when it was read again" };
            let (left, allowance, since) = (settled.remaining, settled.allowance, settled.since);
            facts.push((
                "allowance",
                format!("plan {plan}, since {since}: {left} of {allowance} left to all live keys, {used} used{shown}"),
            ));
        }
        if let Some(OverspendView { between_looks, usage_lag }) = self.overspend {
            facts.push((
                "overspend",
                format!(
                    "of a quota at most what all live keys can spend in {between_looks} between two looks and in \
                     {usage_lag} until it is told, and until what is left is set"
                ),
            ));
        }
        facts.extend(self.brownouts.as_ref().map(|brownouts| ("brownouts", brownouts.page())));
        facts
    }
}

impl GateView {
    /// Nothing where nobody looks and nothing else is to be said.
    fn page(&self) -> Option<String> {
        if let Some(ground) = self.ground {
            return (ground != Ground::Ungated).then(|| format!("open: {ground}"));
        }
        let idle = self.idle_before_suspend;
        let ceiling = match (self.ceiling, self.at_ceiling) {
            (Some(at), Some(Otherwise::Suspend)) => format!("; ceiling {}, suspended then all the same", moment(at)),
            (Some(at), Some(Otherwise::Hold)) => format!("; ceiling {}, held for a person even then", moment(at)),
            (_, _) => String::new(),
        };
        Some(match (self.keeps, self.reason == Some(HoldReason::NoEvidence)) {
            (true, true) => format!("for evidence: nothing tells whether the key is unused for {idle}{ceiling}"),
            (true, false) => format!("for its last user: until the key is unused for {idle}{ceiling}"),
            (false, _) => format!("shut: opens once the key is unused for {idle}{ceiling}"),
        })
    }
}

impl UsageView {
    /// Of a version whose use was looked at.
    pub(in crate::commands) fn of(version: &Version) -> Option<Self> {
        let usage = version.usage.as_ref()?;
        Some(Self {
            source: usage.source.clone(),
            told: usage.told,
            requests: usage.since_deactivated(),
            last_used: usage.last_used,
            looked: usage.looked,
            seen_until: usage.seen_until,
            next_look: version.look_at(),
            callers: Vec::new(),
            callers_erased: false,
            has_log: version.policy.watch.as_ref().is_some_and(|watch| watch.access_log.is_some()),
        })
    }

    /// Adds who uses the key, as the newest look at it tells.
    pub(in crate::commands) fn name_callers(&mut self, generation: u32, history: &[Told]) {
        let is_look = |told: &&Told| matches!(told.event.change, Change::Witnessed { generation: seen, .. } if seen == generation);
        let Some(look) = history.iter().rev().find(is_look) else { return };
        self.callers = look.note.iter().flat_map(|note| note.who.lines()).map(str::to_owned).collect();
        self.callers_erased = look.event.note.is_some() && look.note.is_none();
    }

    /// Whether an access log could name who uses it.
    pub(in crate::commands) fn has_log(&self) -> bool {
        self.has_log
    }

    /// How much it is used, when last, and who says so.
    pub(in crate::commands) fn page(&self) -> String {
        let seen = match (self.told, self.requests, self.last_used) {
            (false, _, _) => "nothing is told of it".to_owned(),
            (true, Some(requests), last) => {
                let last =
                    last.filter(|_| requests > 0).map_or(String::new(), |at| format!(", last by {}", moment(at)));
                format!("{}{last}", counted(usize::try_from(requests).unwrap_or(usize::MAX), "request"))
            }
            (true, None, Some(at)) => format!("last {}", moment(at)),
            (true, None, None) => "never".to_owned(),
        };
        format!("{seen}, says {}", self.source)
    }

    fn looked(&self) -> String {
        let next = self.next_look.map_or(String::new(), |at| format!("; next {}", moment(at)));
        format!("{}: what came after {} may not be told yet{next}", moment(self.looked), moment(self.seen_until))
    }

    /// Who uses it, a fact for each.
    pub(in crate::commands) fn users(&self) -> Vec<(&'static str, String)> {
        let nobody = match (self.callers_erased, self.has_log) {
            (true, _) => "their names were erased",
            (false, true) => "the access log names nobody yet",
            (false, false) => "no access log names them: the tag rotator:access-log says where one is",
        };
        match self.callers.split_first() {
            None => vec![("users", nobody.to_owned())],
            Some((first, others)) => {
                let others = others.iter().map(|caller| ("", caller.clone()));
                std::iter::once(("users", first.clone())).chain(others).collect()
            }
        }
    }
}

impl BrownoutsView {
    fn page(&self) -> String {
        let next = match (self.until, self.next) {
            (Some(until), _) => format!("one is on: refused until {}", moment(until)),
            (None, Some(next)) => format!("the next {} for {}", moment(next.at), next.lasts),
            (None, None) => "none is to come".to_owned(),
        };
        format!("{} of {} over; {next}", self.done, self.of)
    }
}

impl ExposureView {
    /// Of a version whose refusal was ordered.
    pub(super) fn of(version: &Version) -> Option<Self> {
        let ordered = version.ordered.or(version.suspended).filter(|_| !version.is_coming_back());
        let is_out = matches!(version.state, State::Suspended | State::Destroyed);
        Some(Self {
            ordered: ordered.filter(|_| is_out)?,
            after: version.refused.as_ref().and_then(|refused| refused.after),
            over: version.refused.is_some(),
            unproved: None,
        })
    }

    /// Adds why it is not proved.
    pub(super) fn explain(&mut self, generation: u32, history: &[Told]) {
        if self.over && self.after.is_none() {
            let is_it =
                |told: &&Told| matches!(told.event.change, Change::Refused { generation: g, .. } if g == generation);
            let told = history.iter().rev().find(is_it).map(|told| &told.event.change);
            if let Some(Change::Refused { unproved, .. }) = told {
                self.unproved.clone_from(unproved);
            }
        }
    }

    /// The exposure clock, as a person reads it. Of a version that is gone, only what was seen.
    pub(super) fn page(&self, is_gone: bool) -> Option<String> {
        match (self.after, self.over) {
            (Some(after), _) => Some(format!("refused {} after the order", span(after.delta()))),
            (None, _) if is_gone => None,
            (None, true) => Some(format!(
                "not proved that it is refused: {}",
                self.unproved.as_deref().unwrap_or("the history tells why")
            )),
            (None, false) => Some(format!("ordered refused at {}; no refusal was seen yet", moment(self.ordered))),
        }
    }
}

/// Facts below one another, under a heading.
pub(super) fn paragraph(heading: &str, facts: &[(&'static str, String)]) -> String {
    facts.iter().fold(format!("\n{heading}\n"), |page, (what, fact)| {
        page + format!("  {what:<WHAT$} {}", crate::output::harmless(fact)).trim_end() + "\n"
    })
}

fn period(time: chrono::TimeDelta) -> Period {
    Period::seconds(time.num_seconds().max(0).unsigned_abs())
}
