//! What happened in a life, line by line; and which faults met versions where.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rotator::engine::Engine;
use state::credential::{Credential, Version};
use state::lifecycle::{Place, State};
use state::name::CredentialName;

use crate::harness::faults::{Fault, Hurt, Onlooker};
use crate::harness::{PausedClock, Which};

/// In bytes. A life's trace is some hundred kilobytes; somebody goes round in circles whose is that much longer.
const LONGEST: usize = 20_000_000;

/// Every act, every call of a function or a command, and what the records say after each step.
///
/// Nothing stands in it that is drawn outside the seed: no token that the SDK made up, no name of a key that follows
/// from its material.
#[derive(Debug)]
pub struct Trace {
    clock: PausedClock,
    /// Whether each line is printed when it is said: a life that hangs never comes to print them.
    aloud: bool,
    lines: Mutex<String>,
}

impl Trace {
    pub fn new(clock: PausedClock) -> Self {
        Self { clock, aloud: std::env::var_os("SEED").is_some(), lines: Mutex::default() }
    }

    /// One line, with the time before it.
    pub fn say(&self, line: &str) {
        let at = self.clock.now().format("%m-%d %H:%M:%S%.3f");
        let mut lines = lock(&self.lines);
        if self.aloud {
            // Past libtest's capture.
            std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{at}  {line}\n")).expect("standard output");
        }
        writeln!(lines, "{at}  {line}").expect("text takes any text");
        if lines.len() > LONGEST {
            let end: Vec<&str> = lines.lines().rev().take(80).collect();
            let end: Vec<&str> = end.into_iter().rev().collect();
            panic!("it comes to no end:\n{}", end.join("\n"));
        }
    }

    pub fn text(&self) -> String {
        lock(&self.lines).clone()
    }
}

/// How often each fault met a version at each place; `None`: nothing was recorded yet.
pub type Met = BTreeMap<(Option<Place>, Fault), usize>;

/// Looks on, and writes down what it sees.
#[derive(Debug)]
pub struct Recorder {
    pub trace: Arc<Trace>,
    /// Of the credentials that live.
    names: Vec<CredentialName>,
    engine: Arc<Engine>,
    met: Mutex<Met>,
}

impl Recorder {
    pub fn new(trace: Arc<Trace>, engine: Arc<Engine>, names: Vec<CredentialName>) -> Self {
        Self { trace, names, engine, met: Mutex::default() }
    }

    pub fn met(&self) -> Met {
        lock(&self.met).clone()
    }

    /// Where that version is which a call is about. A call does not say it, but the records do: what was recorded last
    /// is what somebody is at work on.
    async fn place(&self, who: &str) -> Option<Place> {
        let mut last: Option<Credential> = None;
        for name in &self.names {
            let Ok(Some(credential)) = self.engine.records.load(name).await else { continue };
            if last.as_ref().is_none_or(|last| last.head.ledger.at < credential.head.ledger.at) {
                last = Some(credential);
            }
        }
        let credential = last?;
        let versions = credential.versions.values();
        let open = versions.clone().filter(|version| version.phase.is_some()).max_by_key(|version| version.open_until);
        // Retirement also looks at what has no intent: at a key's use, or at its refusal.
        let now = self.trace.clock.now();
        let is_due = |version: &&Version| version.due().is_some_and(|at| at <= now);
        let due =
            versions.filter(is_due).min_by_key(|version| version.due()).filter(|_| who == Which::Retirement.name());
        open.or(due).or(credential.candidate()).or(credential.current()).map(Version::place)
    }
}

#[async_trait]
impl Onlooker for Recorder {
    async fn see(&self, who: &'static str, operation: &str, hurt: Option<Hurt>) {
        match hurt {
            None => self.trace.say(&format!("    {who}: {operation}")),
            Some(Hurt::Denied) => self.trace.say(&format!("    {who}: {operation}, denied")),
            Some(Hurt::By(fault)) => {
                let place = self.place(who).await;
                let at = place.map_or_else(|| NOTHING.to_owned(), |place| place.to_string());
                self.trace.say(&format!("    {who}: {operation}, hurt by {fault:?}, at {at}"));
                *lock(&self.met).entry((place, fault)).or_default() += 1;
            }
        }
    }
}

const NOTHING: &str = "nothing recorded";

/// A row for each place, a column for each fault; then the places that no fault met.
pub fn table(met: &Met) -> String {
    let mut table = format!("{:<28}", "faults met");
    let width = |fault: Fault| format!("{fault:?}").len() + 2;
    for fault in Fault::ALL {
        write!(table, "{:>1$}", format!("{fault:?}"), width(fault)).expect("text takes any text");
    }
    table.push('\n');
    let mut unmet = Vec::new();
    for place in std::iter::once(None).chain(Place::ALL.map(Some)) {
        let name = place.map_or_else(|| NOTHING.to_owned(), |place| place.to_string());
        let counts = Fault::ALL.map(|fault| (fault, met.get(&(place, fault)).copied().unwrap_or_default()));
        if counts.iter().all(|(_, count)| *count == 0) {
            unmet.push(name);
            continue;
        }
        write!(table, "{name:<28}").expect("text takes any text");
        for (fault, count) in counts {
            write!(table, "{count:>0$}", width(fault)).expect("text takes any text");
        }
        table.push('\n');
    }
    let unmet = if unmet.is_empty() { "none".to_owned() } else { unmet.join(", ") };
    table + &format!("no fault met: {unmet}\n")
}

/// Where a version is, as a line of a trace has it: with why it does not go on.
pub fn shown(version: &Version) -> String {
    let held = version.held.as_ref().map_or(String::new(), |held| format!(" held {}", held.hold.reason));
    let compromised = if version.compromised.is_some() { " compromised" } else { "" };
    format!("{} {}{compromised}{held}", version.generation, version.place())
}

/// Whether a version is over and done with: nothing more will be said of it.
pub fn is_over(version: &Version) -> bool {
    match version.state {
        State::Destroyed => version.sweep_at.is_none(),
        State::PreActivation | State::Active | State::Deactivated | State::Suspended => false,
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
