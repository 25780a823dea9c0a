//! Turns at API Gateway's control plane, for processes that know nothing of one another.
//!
//! A process that is alone asks nobody. One whose call was throttled has met others, and takes a turn for each call from
//! then on. The table has one item for each line: the moment at which its next turn is. Who takes a turn moves that
//! moment on by the time between two turns, in one write, and waits for its own. So a line goes at its rate, in the order
//! in which its callers came, however many they are. A process that dies with its turn leaves a gap of one call.
//!
//! A turn is a courtesy, not a lock. Without one, because the table refuses or a clock is off, the process goes at the
//! line's pace by itself, and a call that is throttled is made again.

use std::sync::{Mutex, PoisonError};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use chrono::TimeDelta;
use state::Time;
use tracing::warn;

use super::{Answer, failed};
use crate::failure::{CallFailed, Fault, chain};
use crate::patience::goes_first;
use crate::ports::Ports;

/// The partition of all lines.
pub const PARTITION: &str = "TURN";
/// The line in which everybody waits: nine of API Gateway's ten calls a second. The tenth, and its burst of forty, are
/// left to emergencies, which wait in no line.
const EVERYBODY: Line = Line { name: "everybody", gap: TimeDelta::milliseconds(111) };
/// The line of those that leave most of the rate to others.
const SHARE: &str = "share";
/// For how long a process that was throttled reckons with others.
const CROWDED: TimeDelta = TimeDelta::seconds(60);
/// A turn that is further away is not waited for: a clock is off, or more than a thousand processes wait.
const FARTHEST: TimeDelta = TimeDelta::minutes(2);
/// For how long a line saves the turns that nobody takes.
const SAVED: TimeDelta = TimeDelta::seconds(1);
/// How often a turn is asked for while others take turns at the same moment.
const TRIES: u32 = 6;

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    /// Its item's sort key.
    name: &'static str,
    /// The time between two turns.
    gap: TimeDelta,
}

/// The turns of one process.
#[derive(Debug)]
pub struct Turns {
    client: Client,
    table: String,
    ports: Ports,
    /// The line in which this process waits for each call, whether it met others or not.
    share: Option<Line>,
    /// Until when this process reckons with others.
    crowded: Mutex<Option<Time>>,
    /// When its next call is due where no line can be had.
    alone: Mutex<Option<Time>>,
}

impl Turns {
    /// Of a process that makes its calls at once as long as it meets nobody.
    pub fn new(config: &SdkConfig, table: &str, ports: Ports) -> Self {
        let (share, crowded, alone) = (None, Mutex::default(), Mutex::default());
        Self { client: Client::new(config), table: table.to_owned(), ports, share, crowded, alone }
    }

    /// Of a process that is content with so many percent of the account's ten calls a second, together with all others
    /// that are.
    pub fn sharing(config: &SdkConfig, table: &str, ports: Ports, percent: u32) -> Self {
        let gap = TimeDelta::milliseconds(10_000 / i64::from(percent.clamp(1, 100)));
        Self { share: Some(Line { name: SHARE, gap }), ..Self::new(config, table, ports) }
    }

    /// Waits until the next call is this process's to make.
    pub async fn wait(&self) {
        if goes_first() {
            return;
        }
        if let Some(share) = self.share {
            self.wait_in(share).await;
        }
        let now = self.ports.clock.now();
        let crowded = *self.crowded.lock().unwrap_or_else(PoisonError::into_inner);
        if crowded.is_some_and(|until| until > now) {
            self.wait_in(EVERYBODY).await;
        }
    }

    /// A call was throttled: there are others.
    pub fn met_others(&self) {
        let until = self.ports.clock.now() + CROWDED;
        *self.crowded.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    async fn wait_in(&self, line: Line) {
        let now = self.ports.clock.now();
        let turn = match self.take(line, now).await {
            Ok(turn) if turn <= now + FARTHEST => turn,
            Ok(turn) => {
                warn!(line = line.name, %turn, "too far away: this process goes at the line's pace by itself");
                self.alone(line, now)
            }
            Err(failed) => {
                warn!(
                    line = line.name,
                    reason = chain(&failed),
                    "no turn: this process goes at the line's pace by itself"
                );
                self.alone(line, now)
            }
        };
        if turn > now {
            self.ports.clock.sleep(turn - now).await;
        }
    }

    /// The next turn of a line in which nobody else is.
    fn alone(&self, line: Line, now: Time) -> Time {
        let mut next = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + line.gap);
        turn
    }

    /// Takes the next turn of a line: now, or later, or of the second that is over.
    async fn take(&self, line: Line, now: Time) -> Result<Time, CallFailed> {
        let number = |at: i64| AttributeValue::N(at.to_string());
        let (since, gap) = ((now - SAVED).timestamp_millis(), line.gap.num_milliseconds());
        let (mut is_idle, mut tries) = (false, 0);
        loop {
            tries += 1;
            let asked = self
                .client
                .update_item()
                .table_name(&self.table)
                .key("pk", AttributeValue::S(PARTITION.into()))
                .key("sk", AttributeValue::S(line.name.into()))
                .expression_attribute_names("#next", "next")
                .expression_attribute_values(":since", number(since))
                .return_values(ReturnValue::UpdatedNew);
            let asked = if is_idle {
                asked
                    .update_expression("SET #next = :after")
                    .condition_expression("attribute_not_exists(#next) OR #next < :since")
                    .expression_attribute_values(":after", number(since + gap))
            } else {
                asked
                    .update_expression("SET #next = #next + :gap")
                    .condition_expression("#next >= :since")
                    .expression_attribute_values(":gap", number(gap))
            };
            match asked.send().await {
                Ok(taken) => {
                    let next = taken.attributes.unwrap_or_default();
                    let next = next.get("next").and_then(|next| next.as_n().ok()?.parse::<i64>().ok());
                    return Ok(next.and_then(|next| Time::from_timestamp_millis(next - gap)).unwrap_or_default());
                }
                Err(error) => {
                    let failed = failed("dynamodb:UpdateItem", &self.table, Answer::Open, error);
                    if failed.fault != Fault::Conflict || tries >= TRIES {
                        return Err(failed);
                    }
                    // Nobody has taken a turn lately; or, meanwhile, somebody has.
                    is_idle = !is_idle;
                }
            }
        }
    }
}
