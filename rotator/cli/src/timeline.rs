//! A credential's history as a picture: a line for each version, a column for each slice of time.
//!
//! ```text
//! partner/acme
//!       3 Jan 12:00                                  6 Jan 12:00
//!   v1  ██████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒░░░░░░░░░░░░░░░░░░░×
//!   v2            ·█████████████████████████████████████████████
//! ```

use std::collections::BTreeMap;

use chrono::TimeDelta;
use state::Time;
use state::ledger::{Change, Event};
use state::lifecycle::State;

use crate::output::harmless;

/// What the signs mean, as one line.
pub fn legend(colour: bool) -> String {
    let signs = State::ALL.map(|state| format!("{} {}", painted(Cell::In(state), 1, colour), state.word()));
    format!("{}   {} declared compromised", signs.join("   "), painted(Cell::Compromised, 1, colour))
}

/// Draws a history up to `until`, at most `width` columns wide (but never less than 40), with a line break at its end.
///
/// A column shows the state at its end; a version's first column shows where it began and a destroyed version's first
/// column its end, so that what takes seconds is seen beside what takes days. A column with a brownout in it is drawn
/// as suspended.
pub fn draw(name: &str, history: &[Event], until: Time, width: usize, colour: bool) -> String {
    let Some(first) = history.first() else { return format!("{}\n", harmless(name)) };
    let lives = lives(history);
    let label = lives.keys().map(|generation| generation.to_string().len()).max().unwrap_or(1) + 5;
    let columns = width.max(40) - label;
    let axis = Axis { from: first.at, slice: slice(first.at, until, columns), columns };

    let mut page = heading(name, label, columns, first.at, until);
    for (generation, life) in &lives {
        let cells: Vec<Cell> = (0..columns).map(|column| life.cell(&axis, column)).collect();
        let cells: String = cells.chunk_by(|a, b| a == b).map(|run| painted(run[0], run.len(), colour)).collect();
        let line = format!("  v{generation:<width$}{cells}", width = label - 3);
        page.push_str(line.trim_end());
        page.push('\n');
    }
    page
}

/// The states that each version went through, oldest first. The order of versions is theirs.
pub fn states(history: &[Event]) -> BTreeMap<u32, Vec<State>> {
    lives(history).into_iter().map(|(g, life)| (g, life.steps.into_iter().map(|(_, state)| state).collect())).collect()
}

/// One version's life.
#[derive(Debug, Default)]
struct Life {
    /// Since when it was in which state, oldest first.
    steps: Vec<(Time, State)>,
    compromised: Option<Time>,
    /// When it was refused for a moment, and until when.
    brownouts: Vec<(Time, Time)>,
}

/// Where time stands on the picture.
struct Axis {
    from: Time,
    slice: TimeDelta,
    columns: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    Nothing,
    In(State),
    Compromised,
}

impl Life {
    fn cell(&self, axis: &Axis, column: usize) -> Cell {
        let inside = |at: Time| axis.column(at) == column;
        if self.compromised.is_some_and(inside) {
            return Cell::Compromised;
        }
        if self.brownouts.iter().any(|(from, until)| (axis.column(*from)..=axis.column(*until)).contains(&column)) {
            return Cell::In(State::Suspended);
        }
        let mut reached = self.steps.iter().filter(|(at, _)| axis.column(*at) <= column);
        match (reached.next_back(), self.steps.first()) {
            (None, _) | (_, None) => Cell::Nothing,
            (Some((at, State::Destroyed)), _) if !inside(*at) => Cell::Nothing,
            (Some(_), Some((begun, State::PreActivation))) if inside(*begun) => Cell::In(State::PreActivation),
            (Some((_, state)), _) => Cell::In(*state),
        }
    }
}

impl Axis {
    fn column(&self, at: Time) -> usize {
        let column = (at - self.from).num_milliseconds() / self.slice.num_milliseconds();
        usize::try_from(column).unwrap_or(0).min(self.columns - 1)
    }
}

fn slice(from: Time, until: Time, columns: usize) -> TimeDelta {
    let columns = i64::try_from(columns).unwrap_or(i64::MAX);
    TimeDelta::milliseconds(((until - from).num_milliseconds() / columns + 1).max(1))
}

fn lives(history: &[Event]) -> BTreeMap<u32, Life> {
    let mut lives: BTreeMap<u32, Life> = BTreeMap::new();
    for event in history {
        let mut enters = |generation: u32, state: State| {
            lives.entry(generation).or_default().steps.push((event.at, state));
        };
        match &event.change {
            Change::Adopted { generation, .. } => enters(*generation, State::Active),
            // A standby that a rotation chose was there before.
            Change::Minting { generation, .. } | Change::Drafting { generation, .. } => {
                if !lives.contains_key(generation) {
                    lives.entry(*generation).or_default().steps.push((event.at, State::PreActivation));
                }
            }
            Change::Recovered { generation, .. } => enters(*generation, State::PreActivation),
            Change::Suspended { generation, .. } => enters(*generation, State::Suspended),
            Change::Destroyed { generation } => enters(*generation, State::Destroyed),
            Change::Promoted { generation } => {
                enters(*generation, State::Active);
                let others = lives.iter_mut().filter(|(other, _)| *other != generation);
                for (_, life) in others {
                    if life.steps.last().is_some_and(|(_, state)| *state == State::Active) {
                        life.steps.push((event.at, State::Deactivated));
                    }
                }
            }
            Change::Ordered { compromised, .. } => {
                for generation in compromised {
                    lives.entry(*generation).or_default().compromised.get_or_insert(event.at);
                }
            }
            // What a rollback brings back is accepted before it is current.
            Change::Restored { generation, .. } => {
                let life = lives.entry(*generation).or_default();
                if life.steps.last().is_some_and(|(_, state)| *state == State::Suspended) {
                    life.steps.push((event.at, State::Deactivated));
                }
            }
            Change::Closed { generation } => enters(*generation, State::Deactivated),
            Change::BrowningOut { generation, until } => {
                lives.entry(*generation).or_default().brownouts.push((event.at, *until));
            }
            Change::BrownedOut { generation, .. } => {
                if let Some((_, until)) = lives.entry(*generation).or_default().brownouts.last_mut() {
                    *until = event.at;
                }
            }
            Change::Requested { .. }
            | Change::Witnessed { .. }
            | Change::Waived { .. }
            | Change::RollingBack { .. }
            | Change::Claimed { .. }
            | Change::Vanished { .. }
            | Change::Forsaken { .. }
            | Change::Refused { .. }
            | Change::Minted { .. }
            | Change::Published { .. }
            | Change::Drafted { .. }
            | Change::Admitted { .. }
            | Change::Proved { .. }
            | Change::Abandoned { .. }
            | Change::Returned { .. }
            | Change::Disabling { .. }
            | Change::Disabled { .. }
            | Change::Swept { .. }
            | Change::Mended { .. }
            | Change::Suspending { .. }
            | Change::Destroying { .. }
            | Change::Carried { .. }
            | Change::Held { .. } => {}
        }
    }
    lives
}

/// The name, and where the picture begins and ends; on a line of their own where the name is too long for one.
fn heading(name: &str, label: usize, columns: usize, from: Time, until: Time) -> String {
    let name = harmless(name);
    let day = |at: Time| at.format("%-d %b %H:%M").to_string();
    let (from, until) = (day(from), day(until));
    let between = columns.saturating_sub(from.len() + until.len());
    format!("{name}\n{:label$}{from}{:between$}{until}\n", "", "")
}

/// The same sign several times, in its colour.
fn painted(cell: Cell, times: usize, colour: bool) -> String {
    let (sign, code) = match cell {
        Cell::Nothing => return " ".repeat(times),
        Cell::In(State::PreActivation) => ("·", "36"),
        Cell::In(State::Active) => ("█", "32"),
        Cell::In(State::Deactivated) => ("▒", "33"),
        Cell::In(State::Suspended) => ("░", "90"),
        Cell::In(State::Destroyed) => ("×", "90"),
        Cell::Compromised => ("!", "31"),
    };
    let signs = sign.repeat(times);
    if colour { format!("\u{1b}[{code}m{signs}\u{1b}[0m") } else { signs }
}

#[cfg(test)]
mod tests {
    use state::ledger::Actor;
    use state::name::{CredentialName, Token};
    use state::policy::{KindWishes, Policy, Traces};

    use super::*;

    #[test]
    fn a_rotation_and_an_emergency_are_drawn_to_scale() {
        let history = story();
        let drawn = draw("partner/acme", &history, at(72), 62, false);
        assert_eq!(format!("\n{drawn}"), EXPECTED, "{drawn}");
        assert!(drawn.lines().all(|line| line.chars().count() <= 62), "{drawn}");
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let coloured = draw("a", &story(), at(72), 80, true);
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, code)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = code.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        assert_eq!(plain, draw("a", &story(), at(72), 80, false));
    }

    #[test]
    fn what_is_drawn_is_what_is_listed() {
        use State::{Active, Deactivated, Destroyed, PreActivation, Suspended};
        let states = states(&story());
        assert_eq!(states[&1], [Active, Deactivated, Suspended, Destroyed]);
        assert_eq!(states[&2], [PreActivation, Active, Deactivated, Suspended]);
        assert_eq!(states[&3], [PreActivation, Active]);
    }

    #[test]
    fn a_standby_that_a_rotation_chose_is_no_newcomer() {
        let (_, told) = crate::specimens::signing_told();
        let history: Vec<Event> = told.into_iter().map(|told| told.event).collect();
        let states = states(&history);
        assert_eq!(states[&2], [State::PreActivation, State::Active]);
        assert_eq!(states[&3], [State::PreActivation]);
    }

    #[test]
    fn a_brownout_is_a_column_and_a_rollback_makes_a_version_active_again() {
        use State::{Active, Deactivated, Suspended};
        let (_, told) = crate::specimens::coming_back();
        let mut history: Vec<Event> = told.into_iter().map(|told| told.event).collect();
        let last = history.last().unwrap().clone();
        let restored = Change::Restored { generation: 1, provider: BTreeMap::new() };
        for change in [restored, Change::Promoted { generation: 1 }] {
            history.push(Event { change, ..last.clone() });
        }
        assert_eq!(states(&history)[&1], [Active, Deactivated, Suspended, Deactivated, Active]);
        assert_eq!(states(&history)[&2].last(), Some(&Deactivated));
        let drawn = draw("partner/acme", &history, last.at + TimeDelta::days(2), 62, false);
        assert_eq!(format!("\n{drawn}"), BACK, "{drawn}");
    }

    #[test]
    fn nothing_and_a_narrow_terminal_are_drawn_too() {
        assert_eq!(draw("a\u{1b}[2J", &[], at(0), 80, false), "a\\u{1b}[2J\n");
        assert!(draw("a", &story(), at(0), 1, false).lines().all(|line| line.chars().count() <= 40));
    }

    const EXPECTED: &str = "
partner/acme
      3 Jan 12:00                                  6 Jan 12:00
  v1  ██████████▒▒▒▒▒▒▒▒▒▒!░░░░░░░░░░░░░░░░░×
  v2            ·█████████!░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
  v3                      ·███████████████████████████████████
";

    const BACK: &str = "
partner/acme
      18 Nov 11:06                                29 Nov 12:06
  v1  ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒░▒▒▒▒▒▒▒▒▒░▒▒▒▒▒▒▒▒▒▒▒▒▒▒░░░░░███████████
  v2  ·████████████████████████████████████████████▒▒▒▒▒▒▒▒▒▒▒
";

    fn at(hours: i64) -> Time {
        "2026-01-03T12:00:00Z".parse::<Time>().unwrap() + TimeDelta::hours(hours)
    }

    fn story() -> Vec<Event> {
        let tags = [("rotator:kind".to_owned(), "k".to_owned())].into();
        let policy = Policy::from_tags(
            &tags,
            &[KindWishes { name: "k", tags: &[], publishes: false, disables: false, traces: Traces::None }],
        )
        .unwrap();
        let token = Token::parse(&"t".repeat(32)).unwrap();
        let drafting = |generation| Change::Drafting {
            generation,
            token: token.clone(),
            policy: policy.clone(),
            replaces: state::credential::Replaces { generation: Some(generation - 1), carrier: None },
            drawn: None,
            trigger: None,
        };
        let adopted = Change::Adopted {
            generation: 1,
            carrier: token.clone(),
            provider: BTreeMap::new(),
            policy: policy.clone(),
            fingerprint: None,
        };
        let suspended = |generation| Change::Suspended { generation, provider: BTreeMap::new() };
        let ordered = Change::Ordered { token: token.clone(), compromised: vec![1, 2] };
        let changes = [
            (0, adopted),
            (14, drafting(2)),
            (14, Change::Promoted { generation: 2 }),
            (26, ordered),
            (26, drafting(3)),
            (26, Change::Promoted { generation: 3 }),
            (27, suspended(1)),
            (27, suspended(2)),
            (50, Change::Destroyed { generation: 1 }),
        ];
        changes
            .into_iter()
            .map(|(hours, change)| Event {
                schema: 1,
                credential: CredentialName::parse("partner/acme").unwrap(),
                seq: 1,
                at: at(hours),
                actor: Actor::Rotation,
                change,
                note: None,
                previous: String::new(),
                hash: String::new(),
            })
            .collect()
    }
}
