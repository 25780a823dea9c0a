//! `rotator history`

use std::collections::BTreeMap;

use rotator::aws::records::Told;
use serde::Serialize;
use state::Time;
use state::ledger::{Abandonment, Actor, Broken, Change, Event, Link, verify};
use state::name::CredentialName;

use crate::context::Context;
use crate::output::{Look, Out, View, counted, dash, harmless, listed, moment, short_id, table};
use crate::trouble::{Outcome, Trouble};

/// How often a history is read that grows meanwhile.
const TRIES: u32 = 3;

/// Show everything that ever happened to a credential, and verify it
///
/// Follows the chain: every event carries the hash of the one before, so a change that was made afterwards shows.
///
/// Exits with 3 if the chain is broken.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The credential: its secret's name
    pub name: String,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    let name = CredentialName::parse(&args.name)?;
    out.wait_for("reading the history");
    let view = read(context, &name).await?;
    out.show(&view)?;
    match view.broken {
        Some(broken) => Err(Trouble::Broken { name, source: broken }),
        None => Ok(Outcome::Done),
    }
}

/// Reads the events and then the head, so that a commit in between only makes the head longer: then once more.
async fn read(context: &Context, name: &CredentialName) -> Result<HistoryView, Trouble> {
    let about = || format!("could not read the history of {name}");
    let mut tries = 0;
    loop {
        tries += 1;
        let told = context.engine.records.history(name).await.map_err(Trouble::failure(about()))?;
        let records = context.engine.records.load(name).await.map_err(Trouble::failure(about()))?;
        let Some(records) = records else { return Err(Trouble::NoCredential(name.clone())) };
        let view = HistoryView::new(name, told, &records.head.ledger);
        match &view.broken {
            Some(Broken::End { expected, found, .. }) if found < expected && tries < TRIES => {}
            Some(_) | None => return Ok(view),
        }
    }
}

/// What `rotator history` prints.
///
/// ```json
/// {"name": "partner/acme", "verified": true, "problem": null, "events": [{
///   "seq": 1, "at": "2026-11-21T12:00:00Z", "actor": "operator", "what": "adopted", "generation": 1,
///   "change": {"what": "adopted", "generation": 1}, "who": "arn:aws:...", "reason": "...", "note": "kept",
///   "hash": "SHA-256"}]}
/// ```
///
/// `verified`: every event follows from the one before, up to the end that the credential's head names; `problem`
/// says where it does not. `change` is the event's own content, as it is stored and hashed. `who` and `reason` stand beside the chain; `note` is
/// `none` when there never were any, `kept`, `erased`, or `changed` when they are not what was written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryView {
    name: CredentialName,
    verified: bool,
    problem: Option<String>,
    events: Vec<EventView>,
    #[serde(skip)]
    broken: Option<Broken>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EventView {
    seq: u64,
    at: Time,
    actor: Actor,
    what: &'static str,
    generation: Option<u32>,
    change: Change,
    who: Option<String>,
    reason: Option<String>,
    note: NoteState,
    hash: String,
    #[serde(skip)]
    detail: String,
}

/// What became of the note beside an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum NoteState {
    None,
    Kept,
    Erased,
    Changed,
}

impl HistoryView {
    /// Of events as they are stored, against the end of the chain as the head names it.
    pub fn new(name: &CredentialName, told: Vec<Told>, head: &Link) -> Self {
        let events: Vec<Event> = told.iter().map(|told| told.event.clone()).collect();
        let views: Vec<EventView> = told.into_iter().map(EventView::from).collect();
        let changed = views.iter().find(|event| event.note == NoteState::Changed);
        let broken = verify(name, &events, head)
            .err()
            .or_else(|| changed.map(|event| Broken::Hash { credential: name.clone(), seq: event.seq }));
        let problem = broken.as_ref().map(Broken::to_string);
        Self { name: name.clone(), verified: broken.is_none(), problem, events: views, broken }
    }
}

impl From<Told> for EventView {
    fn from(Told { event, note }: Told) -> Self {
        let state = match (&event.note, &note) {
            (None, None) => NoteState::None,
            (Some(_), None) => NoteState::Erased,
            (Some(hash), Some(note)) if *hash == note.hash() => NoteState::Kept,
            (Some(_) | None, Some(_)) => NoteState::Changed,
        };
        let (who, reason) = note.map(|note| (note.who, note.reason)).unzip();
        Self {
            seq: event.seq,
            at: event.at,
            actor: event.actor,
            what: event.change.word(),
            generation: event.change.generation(),
            detail: detail(&event.change),
            change: event.change,
            who,
            reason: reason.filter(|reason| !reason.is_empty()),
            note: state,
            hash: event.hash,
        }
    }
}

/// What a person wants to know of a change beyond its word.
fn detail(change: &Change) -> String {
    match change {
        Change::Adopted { provider, .. } => key(provider),
        Change::Ordered { compromised, .. } => format!("compromised: {}", listed(compromised)),
        Change::Minting { .. } => "a key to be published ahead of its use".into(),
        Change::Minted { provider, found: true, .. } => {
            format!("{}, found: the answer to its creation was lost", key(provider))
        }
        Change::Published { provider, .. } => kid(provider),
        Change::Drafting { replaces, token, .. } => match replaces.generation {
            Some(generation) => format!("replaces {generation}, token {}", token.short()),
            None => format!("the first key, token {}", token.short()),
        },
        Change::Drafted { also: Some(also), .. } => format!("its value also holds the key of generation {also}"),
        Change::Drafted { also: None, .. } => dash(),
        Change::Admitted { provider, evidence, .. } => {
            let carried = evidence.iter().map(|(name, value)| format!("{name}: {value}"));
            listed(provider.get("id").map(|_| key(provider)).into_iter().chain(carried))
        }
        Change::Proved { proof, .. } if proof.proven.is_empty() => "unproven".into(),
        Change::Proved { proof, .. } if proof.unproven.is_empty() => listed(&proof.proven),
        Change::Proved { proof, .. } => format!("{}; unproven: {}", listed(&proof.proven), listed(&proof.unproven)),
        Change::Abandoned { why, .. } => ending(*why).into(),
        Change::Returned { why, .. } => format!("a standby again: {}", ending(*why)),
        Change::Disabled { .. } => "it signs nothing any more".into(),
        Change::Swept { found, .. } if found.is_empty() => "no further key was found".into(),
        Change::Swept { found, .. } => {
            let found: Vec<&str> = found.iter().map(|id| short_id(id)).collect();
            format!("{} left behind by lost answers: {}", counted(found.len(), "key"), listed(found))
        }
        Change::Carried { carrier, .. } => format!("the same key under {}", carrier.short()),
        Change::Held { hold, .. } => hold.to_string(),
        Change::Minted { provider, found: false, .. } | Change::Suspended { provider, .. } => key(provider),
        Change::Promoted { .. }
        | Change::Disabling { .. }
        | Change::Suspending { .. }
        | Change::Destroying { .. }
        | Change::Destroyed { .. } => dash(),
    }
}

/// What ended a rotation before its time.
fn ending(why: Abandonment) -> &'static str {
    match why {
        Abandonment::OtherToken => "Secrets Manager came back with another token",
        Abandonment::LostPending => "its token lost AWSPENDING",
        Abandonment::Fenced => "fenced off for an emergency",
        Abandonment::Tainted => "its value holds a compromised key as well",
        Abandonment::Compromised => "its key was declared compromised before it was used",
        Abandonment::Surplus => "there are more standbys than rotator:standbys asks for",
    }
}

fn key(provider: &BTreeMap<String, String>) -> String {
    provider.get("id").map_or_else(dash, |id| format!("key {}", short_id(id)))
}

fn kid(provider: &BTreeMap<String, String>) -> String {
    provider.get("kid").map_or_else(dash, |kid| format!("kid {kid}"))
}

impl View for HistoryView {
    fn page(&self, look: &Look) -> String {
        let mut page = table(
            look,
            ["SEQ", "AT", "ACTOR", "WHAT", "GENERATION", "DETAIL", "WHO", "REASON"],
            self.events.iter().map(|event| {
                let missing = match event.note {
                    NoteState::None | NoteState::Kept => dash(),
                    NoteState::Erased => "(erased)".into(),
                    NoteState::Changed => "(changed afterwards)".into(),
                };
                [
                    event.seq.to_string(),
                    moment(event.at),
                    event.actor.to_string(),
                    event.what.to_owned(),
                    event.generation.map_or_else(dash, |generation| generation.to_string()),
                    event.detail.clone(),
                    event.who.clone().unwrap_or_else(|| missing.clone()),
                    event.reason.clone().unwrap_or(missing),
                ]
            }),
        );
        page.push_str(&match &self.problem {
            None => format!("\nchain verified: {} events\n", self.events.len()),
            Some(problem) => format!("\nCHAIN BROKEN: {}\n", harmless(problem)),
        });
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimens;

    fn view() -> HistoryView {
        let (credential, told) = specimens::told();
        HistoryView::new(&credential.head.name, told, &credential.head.ledger)
    }

    #[test]
    fn the_json() {
        insta::assert_snapshot!(crate::output::json(&view()));
    }

    #[test]
    fn the_page() {
        insta::assert_snapshot!(view().page(&Look::PLAIN));
    }

    #[test]
    fn of_signing_keys_it_tells_what_was_made_ahead_and_what_was_found() {
        let (credential, told) = specimens::signing_told();
        let view = HistoryView::new(&credential.head.name, told, &credential.head.ledger);
        insta::assert_snapshot!("page_signing", view.page(&Look::PLAIN));
    }

    #[test]
    fn an_erased_note_breaks_nothing_and_a_changed_one_does() {
        let (credential, mut told) = specimens::told();
        let noted = told.iter().position(|told| told.note.is_some()).unwrap();
        told[noted].note.as_mut().unwrap().reason = "something else".into();
        let changed = HistoryView::new(&credential.head.name, told.clone(), &credential.head.ledger);
        assert!(!changed.verified && changed.problem.is_some());
        told[noted].note = None;
        let erased = HistoryView::new(&credential.head.name, told, &credential.head.ledger);
        assert!(erased.verified);
        assert_eq!(erased.events[noted].note, NoteState::Erased);
    }

    #[test]
    fn a_missing_event_is_found() {
        let (credential, mut told) = specimens::told();
        told.remove(1);
        let view = HistoryView::new(&credential.head.name, told, &credential.head.ledger);
        assert!(matches!(view.broken, Some(Broken::Sequence { expected: 2, .. })));
        assert!(view.page(&Look::PLAIN).contains("CHAIN BROKEN"));
    }
}
