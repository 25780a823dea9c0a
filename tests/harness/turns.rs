//! Two actors that take turns: which of them may call AWS is said call by call.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use rotator::engine::Engine;
use tokio::sync::Notify;

use super::Stage;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    A,
    B,
}

impl Side {
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// A schedule with at most two preemptions: the first actor makes so many calls, then the second so many, then the
/// first goes to its end, then the second to its own. An actor that ends earlier makes way earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub first: Side,
    pub calls: usize,
    pub others_calls: usize,
}

/// Lets the actors call as the schedule says.
#[derive(Clone)]
pub struct Turns {
    inner: SharedHttpConnector,
    table: Arc<Mutex<Table>>,
    changed: Arc<Notify>,
}

struct Table {
    /// Who goes on for how many calls more.
    segments: VecDeque<(Side, usize)>,
    ended: Vec<Side>,
    /// Who was stopped in the middle.
    stopped: Vec<Side>,
}

impl Turns {
    pub fn new(stage: &Stage, schedule: Schedule) -> Self {
        let (first, second) = (schedule.first, schedule.first.other());
        let segments =
            [(first, schedule.calls), (second, schedule.others_calls), (first, usize::MAX), (second, usize::MAX)];
        let table = Table { segments: segments.into(), ended: Vec::new(), stopped: Vec::new() };
        Self { inner: stage.aws.connector(), table: Arc::new(Mutex::new(table)), changed: Arc::default() }
    }

    /// An actor's engine: all its calls wait for its turn.
    pub fn engine(&self, stage: &Stage, side: Side) -> Engine {
        stage.engine_over(self.connector(side))
    }

    /// An actor's way to AWS.
    pub fn connector(&self, side: Side) -> SharedHttpConnector {
        SharedHttpConnector::new(Seat { turns: self.clone(), side })
    }

    /// Lets an actor act to its end.
    pub async fn act<T>(&self, side: Side, actor: impl Future<Output = T>) -> T {
        let done = actor.await;
        self.table().ended.push(side);
        self.changed.notify_waiters();
        done
    }

    /// Waits for an actor's first call, without making it.
    pub async fn wait_for(&self, side: Side) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.table().is_next(side) {
                return;
            }
            changed.await;
        }
    }

    pub fn has_ended(&self, side: Side) -> bool {
        self.table().ended.contains(&side)
    }

    /// Who was stopped in the middle: whoever was not came to its end before its share of calls was made.
    pub fn stopped(&self) -> Vec<Side> {
        self.table().stopped.clone()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(&self, side: Side) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let (mine, moved) = self.table().turn(side);
            if moved {
                self.changed.notify_waiters();
            }
            if mine {
                return;
            }
            changed.await;
        }
    }
}

impl Table {
    fn is_next(&self, side: Side) -> bool {
        let next = self.segments.iter().find(|(whose, _)| !self.ended.contains(whose));
        next.is_none_or(|(whose, _)| *whose == side)
    }

    /// Whether that actor may make a call now; and whether the schedule moved on.
    fn turn(&mut self, side: Side) -> (bool, bool) {
        let mut moved = false;
        while let Some((whose, left)) = self.segments.front_mut() {
            if *whose == side && *left > 0 {
                *left -= 1;
                return (true, moved);
            }
            if *whose == side {
                self.stopped.push(side);
            } else if !self.ended.contains(whose) {
                return (false, moved);
            }
            self.segments.pop_front();
            moved = true;
        }
        (true, moved)
    }
}

/// One actor's way to AWS.
struct Seat {
    turns: Turns,
    side: Side,
}

impl HttpConnector for Seat {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (turns, side) = (self.turns.clone(), self.side);
        HttpConnectorFuture::new(async move {
            turns.turn(side).await;
            turns.inner.call(request).await
        })
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seat({:?})", self.side)
    }
}
