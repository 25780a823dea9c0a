//! How long to wait after a failure, and when to give up. The only place that knows.

use chrono::TimeDelta;
use state::Time;
use tracing::warn;

use crate::failure::{CallFailed, Disposition, Failure, Fault, Stopped, chain};
use crate::ports::Ports;

/// How long before its caller's deadline a run stops, so that its error still gets out.
const MARGIN: TimeDelta = TimeDelta::seconds(10);
/// Between two looks at something that is not true yet.
const POLL: TimeDelta = TimeDelta::seconds(5);
/// How often something is looked at for whoever waits, for how long each time, and the wait in between.
const GLANCES: u32 = 3;
const GLANCE: TimeDelta = TimeDelta::seconds(2);
const BLINK: TimeDelta = TimeDelta::milliseconds(200);
/// The longest wait after failures in a row.
const LONGEST: TimeDelta = TimeDelta::seconds(20);
/// How long before its caller's deadline a call is not waited for any more.
const LAST: TimeDelta = TimeDelta::seconds(2);
/// For how long a call that is throttled is repeated where it stands.
const IN_PLACE: TimeDelta = TimeDelta::seconds(60);
/// The least wait before that, where AWS names none, and what it may be longer by at the most.
const TURN: TimeDelta = TimeDelta::seconds(1);
const SPREAD: TimeDelta = TimeDelta::seconds(16);
/// The same of whoever goes first.
const SOON: TimeDelta = TimeDelta::milliseconds(250);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub struct Patience {
    failures: u32,
}

impl Patience {
    /// How many failures there were in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Something went well.
    pub fn renew(&mut self) {
        self.failures = 0;
    }

    /// How long to wait before another look; `None`: no look will help.
    pub fn after(&mut self, failure: &Failure) -> Option<TimeDelta> {
        self.failures += 1;
        match failure {
            Failure::NotYet(_) => Some(POLL),
            Failure::Held(_) | Failure::Input(_) => None,
            Failure::Call(call) => match call.fault.disposition() {
                // A conflict that stays is waited out too, or the loop would spin.
                Disposition::Reload if self.failures <= 2 => Some(TimeDelta::zero()),
                Disposition::Reload => Some(self.backoff()),
                Disposition::Wait(asked) => {
                    Some(asked.and_then(|time| TimeDelta::from_std(time).ok()).unwrap_or_else(|| self.backoff()))
                }
                Disposition::Hold | Disposition::Fail => None,
            },
        }
    }

    /// Waits as long as that failure asks for; an error if no wait will help, or the time is over.
    pub async fn pause(&mut self, ports: &Ports, deadline: Time, failure: Failure) -> Result<(), Stopped> {
        let Some(wait) = self.after(&failure) else { return Err(failure.into()) };
        if is_over(ports, deadline - wait) {
            return Err(Stopped::OutOfTime(Some(Box::new(failure))));
        }
        ports.clock.sleep(wait).await;
        Ok(())
    }

    fn backoff(&self) -> TimeDelta {
        TimeDelta::seconds(1 << self.failures.min(5)).min(LONGEST)
    }
}

/// Whether the caller's time is nearly over.
pub fn is_over(ports: &Ports, deadline: Time) -> bool {
    ports.clock.now() + MARGIN >= deadline
}

/// Does something for as long as its caller's time lasts.
///
/// # Errors
///
/// Its own; [`Failure::NotYet`] when the time is over first.
pub async fn in_time<T>(
    ports: &Ports,
    deadline: Time,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let left = (deadline - LAST - ports.clock.now()).max(TimeDelta::zero());
    tokio::select! {
        biased;
        done = work => done,
        () = ports.clock.sleep(left) => Err(Failure::NotYet("its caller's time was over before it was done".into())),
    }
}

/// Makes a call, and makes it again where it stands as long as it is throttled: to begin anew would repeat every call before
/// it, and so make the crowd larger. The waits grow, and each is drawn, so that those who were refused together don't come
/// back together.
///
/// # Errors
///
/// The call's own; that it was throttled, after a minute.
pub async fn in_place<T, A>(ports: &Ports, mut call: impl FnMut() -> A) -> Result<T, CallFailed>
where
    A: Future<Output = Result<T, CallFailed>>,
{
    let begun = ports.clock.now();
    let mut spread = TURN;
    loop {
        let failed = match call().await {
            Err(failed) => failed,
            made => return made,
        };
        let Fault::Throttled(asked) = failed.fault else { return Err(failed) };
        let least = asked.and_then(|asked| TimeDelta::from_std(asked).ok()).unwrap_or(TURN);
        // Whoever goes first makes nobody wait by coming back soon.
        let wait = least + part(ports, if goes_first() { SOON } else { spread });
        if ports.clock.now() + wait > begun + IN_PLACE {
            return Err(failed);
        }
        warn!(reason = chain(&failed), wait_seconds = wait.num_seconds(), "making the call again");
        ports.clock.sleep(wait).await;
        spread = (spread * 2).min(SPREAD);
    }
}

tokio::task_local! {
    /// Whether what is done now goes before everything else.
    static FIRST: bool;
}

/// Does something; if it is urgent, before whoever waits for API Gateway's control plane.
pub async fn going_first<T>(is_urgent: bool, work: impl Future<Output = T>) -> T {
    FIRST.scope(is_urgent, work).await
}

/// Whether what is done now goes before everything else.
pub fn goes_first() -> bool {
    FIRST.try_with(|first| *first).unwrap_or(false)
}

/// Some part of a time.
fn part(ports: &Ports, of: TimeDelta) -> TimeDelta {
    let mut drawn = [0; 2];
    ports.entropy.fill(&mut drawn);
    of * i32::from(u16::from_be_bytes(drawn)) / 65_536
}

/// Looks at something for whoever waits for an answer over HTTP: three times at the most, for two seconds each.
///
/// # Errors
///
/// The last failure, or the first that no other look would change.
pub async fn briefly<T, L>(ports: &Ports, mut look: impl FnMut() -> L) -> Result<T, Failure>
where
    L: Future<Output = Result<T, Failure>>,
{
    let mut patience = Patience::default();
    loop {
        let looked = tokio::select! {
            biased;
            looked = look() => looked,
            () = ports.clock.sleep(GLANCE) => Err(Failure::NotYet("there was no answer in time".into())),
        };
        match looked {
            Ok(seen) => return Ok(seen),
            Err(failure) if patience.after(&failure).is_none() || patience.failures() >= GLANCES => {
                return Err(failure);
            }
            Err(_) => ports.clock.sleep(BLINK).await,
        }
    }
}

/// Tries something that converges until it succeeds, can't succeed, or the time is over.
pub async fn patiently<T, A>(ports: &Ports, deadline: Time, mut attempt: impl FnMut() -> A) -> Result<T, Stopped>
where
    A: Future<Output = Result<T, Failure>>,
{
    let mut patience = Patience::default();
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(failure) => patience.pause(ports, deadline, failure).await?,
        }
    }
}
