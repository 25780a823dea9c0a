//! `rotator history`

use std::collections::BTreeMap;

use rotator::aws::records::Told;
use serde::Serialize;
use state::Time;
use state::credential::{Credential, Fingerprint, Settlements, Version};
use state::evidence::{Settlement, Usage};
use state::ledger::{Abandonment, Actor, Broken, Change, Link, Note, verify};
use state::name::{CredentialName, Token};
use state::trigger::Trigger;

use crate::context::Context;
use crate::output::{Look, Out, View, counted, dash, harmless, listed, moment, short_id, span, table};
use crate::trouble::{Outcome, Trouble};

/// From how many columns on a terminal has room for every cell.
const WIDE: u16 = 150;
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
        let told = context.read(about(), async || context.engine.records.history(name).await).await?;
        let Some(records) = context.records(name).await? else { return Err(Trouble::NoCredential(name.clone())) };
        let view = HistoryView::new(name, told, &records.head.ledger, &remains(context, &records));
        match &view.broken {
            Some(Broken::End { expected, found, .. }) if found < expected && tries < TRIES => {}
            Some(_) | None => return Ok(view),
        }
    }
}

/// What is left of a destroyed version's key, by its generation.
fn remains(context: &Context, records: &Credential) -> BTreeMap<u32, String> {
    let of = |version: &Version| context.engine.kind(&version.policy.kind).ok()?.remains();
    records.versions.values().filter_map(|version| Some((version.generation, of(version)?))).collect()
}

/// What `rotator history` prints.
///
/// ```json
/// {"name": "partner/acme", "verified": true, "problem": null, "events": [{
///   "seq": 1, "at": "2026-11-21T12:00:00Z", "actor": "operator", "what": "adopted", "generation": 1,
///   "change": {"what": "adopted", "generation": 1}, "remains": null, "began": null, "who": "arn:aws:...",
///   "reason": "...", "note": "kept", "hash": "SHA-256"}]}
/// ```
///
/// `remains`, of a `destroyed` event: what is left of the key, in words; `null` where nothing is.
///
/// `began`, of the event that begins a rotation: `{"by": "request", "who": "arn:aws:...", "reason": "..."}`. `by` is
/// `emergency`, `request` (`rotator rotate`), `schedule`, with `since`: when the window opened that was open then; or
/// `elsewhere`: nobody asked through this service, no window of the schedule was open, and CloudTrail names who called
/// `RotateSecret`. `null` in histories of schema 5 and before.
///
/// `verified`: every event follows from the one before, up to the end that the credential's head names; `problem`
/// says where it does not. `change` is the event's own content, as it is stored and hashed. `who` and `reason` stand
/// beside the chain; `note` is `none` when there never were any, `kept`, `erased`, or `changed` when they are not what was
/// written. `who` of a `witnessed` event is those who use the key, a line for each.
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
    remains: Option<String>,
    began: Option<BeganView>,
    who: Option<String>,
    reason: Option<String>,
    note: NoteState,
    hash: String,
    #[serde(skip)]
    detail: String,
}

/// What began a rotation, and of one that a person asked for, who and why.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BeganView {
    #[serde(flatten)]
    trigger: Trigger,
    who: Option<String>,
    reason: Option<String>,
}

impl BeganView {
    fn of(change: &Change, asked: &BTreeMap<Token, Note>) -> Option<Self> {
        let Change::Drafting { token, trigger: Some(trigger), .. } = change else { return None };
        let note = match trigger {
            Trigger::Emergency | Trigger::Request => asked.get(token).cloned(),
            Trigger::Schedule { .. } | Trigger::Elsewhere => None,
        };
        let (who, reason) = note.map(|note| (note.who, note.reason)).unzip();
        Some(Self { trigger: *trigger, who, reason: reason.filter(|reason| !reason.is_empty()) })
    }

    fn told(&self) -> String {
        let who = self.who.as_deref().unwrap_or("somebody whose name was erased");
        let why = self.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        match self.trigger {
            Trigger::Emergency => format!("an emergency, declared by {who}{why}"),
            Trigger::Request => format!("ordered by {who}{why}"),
            Trigger::Schedule { since } => format!("on schedule: due since {}", moment(since)),
            Trigger::Elsewhere => {
                "not through rotator, and not due by the schedule: CloudTrail names who called RotateSecret".into()
            }
        }
    }
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
    /// Of events as they are stored, against the end of the chain as the head names it; and what is left of a version that
    /// is destroyed, by its generation.
    pub fn new(name: &CredentialName, told: Vec<Told>, head: &Link, remains: &BTreeMap<u32, String>) -> Self {
        let broken = verify(name, told.iter().map(|told| &told.event), head).err();
        let asked: BTreeMap<Token, Note> = told.iter().filter_map(asks).collect();
        let views: Vec<EventView> = told.into_iter().map(|told| EventView::new(told, &asked, remains)).collect();
        let changed = views.iter().find(|event| event.note == NoteState::Changed);
        let broken = broken.or_else(|| changed.map(|event| Broken::Hash { credential: name.clone(), seq: event.seq }));
        let problem = broken.as_ref().map(Broken::to_string);
        Self { name: name.clone(), verified: broken.is_none(), problem, events: views, broken }
    }
}

/// The token of a rotation that a person asked for, and who that was, unless it is erased.
fn asks(Told { event, note }: &Told) -> Option<(Token, Note)> {
    let (Change::Ordered { token, .. } | Change::Requested { token }) = &event.change else { return None };
    Some((token.clone(), note.clone()?))
}

impl EventView {
    fn new(Told { event, note }: Told, asked: &BTreeMap<Token, Note>, remains: &BTreeMap<u32, String>) -> Self {
        let state = match (&event.note, &note) {
            (None, None) => NoteState::None,
            (Some(_), None) => NoteState::Erased,
            (Some(hash), Some(note)) if *hash == note.hash() => NoteState::Kept,
            (Some(_) | None, Some(_)) => NoteState::Changed,
        };
        let (who, reason) = note.map(|note| (note.who, note.reason)).unzip();
        let began = BeganView::of(&event.change, asked);
        let told = began.as_ref().map(BeganView::told);
        let destroyed = matches!(event.change, Change::Destroyed { .. });
        let generation = event.change.generation().filter(|_| destroyed);
        let remains = generation.and_then(|generation| remains.get(&generation).cloned());
        let said = remains.clone().unwrap_or_else(|| detail(&event.change));
        Self {
            seq: event.seq,
            at: event.at,
            actor: event.actor,
            what: event.change.word(),
            generation: event.change.generation(),
            detail: std::iter::once(said).chain(told).collect::<Vec<_>>().join("; "),
            change: event.change,
            remains,
            began,
            who,
            reason: reason.filter(|reason| !reason.is_empty()),
            note: state,
            hash: event.hash,
        }
    }
}

impl EventView {
    fn cells(&self) -> [String; 8] {
        let missing = match self.note {
            NoteState::None | NoteState::Kept => dash(),
            NoteState::Erased => "(erased)".into(),
            NoteState::Changed => "(changed afterwards)".into(),
        };
        [
            self.seq.to_string(),
            moment(self.at),
            self.actor.to_string(),
            self.what.to_owned(),
            self.generation.map_or_else(dash, |generation| generation.to_string()),
            self.detail.clone(),
            self.who().unwrap_or_else(|| missing.clone()),
            self.reason.clone().unwrap_or(missing),
        ]
    }

    /// Who used a key: a line for each, which no cell has room for.
    fn callers(&self) -> impl Iterator<Item = &str> {
        let is_look = matches!(self.change, Change::Witnessed { .. });
        self.who.iter().filter(move |_| is_look).flat_map(|who| who.lines())
    }

    fn who(&self) -> Option<String> {
        match self.callers().count() {
            0 => self.who.clone(),
            callers => Some(counted(callers, "caller")),
        }
    }
}

impl HistoryView {
    /// Of each generation, the newest look that tells who uses it; the others are in the JSON.
    fn newest_callers(&self) -> impl Iterator<Item = &EventView> {
        let named = self.events.iter().filter(|event| event.callers().next().is_some());
        let newest: BTreeMap<Option<u32>, &EventView> = named.map(|event| (event.generation, event)).collect();
        newest.into_values()
    }
}

/// What a person wants to know of a change beyond its word.
fn detail(change: &Change) -> String {
    match change {
        Change::Adopted { provider, .. } => key(provider),
        Change::Ordered { compromised, .. } => format!("compromised: {}", listed(compromised)),
        Change::Requested { token } => format!("a rotation, token {}", token.short()),
        Change::Minting { .. } => "a key to be published ahead of its use".into(),
        Change::Minted { provider, found: true, .. } => {
            format!("{}, found: the answer to its creation was lost", key(provider))
        }
        Change::Published { provider, .. } => kid(provider),
        Change::Drafting { replaces, token, .. } => match replaces.generation {
            Some(generation) => format!("replaces {generation}, token {}", token.short()),
            None => format!("the first key, token {}", token.short()),
        },
        Change::Drafted { also, fingerprint, .. } => {
            let also = also.map(|also| format!("its value also holds the key of generation {also}"));
            let missing = match fingerprint {
                Some(Fingerprint::Missing { missing }) => Some(format!("no fingerprint: {missing}")),
                Some(Fingerprint::Made { .. }) | None => None,
            };
            listed(also.into_iter().chain(missing))
        }
        Change::Admitted { provider, evidence, .. } => {
            let carried = evidence.iter().map(|(name, value)| format!("{name}: {value}"));
            listed(provider.get("id").map(|_| key(provider)).into_iter().chain(carried))
        }
        Change::Proved { proof, .. } if proof.proven.is_empty() => "unproven".into(),
        Change::Proved { proof, .. } if proof.unproven.is_empty() => listed(&proof.proven),
        Change::Proved { proof, .. } => format!("{}; unproven: {}", listed(&proof.proven), listed(&proof.unproven)),
        Change::Abandoned { why, .. } => ending(*why).into(),
        Change::Returned { why, .. } => format!("a standby again: {}", ending(*why)),
        Change::Witnessed { usage, settled, .. } => witnessed(usage, settled),
        Change::BrowningOut { until, .. } => format!("refused until {}", moment(*until)),
        Change::BrownedOut { refused: Some(refused), .. } => {
            let verb = if *refused == 1 { "was" } else { "were" };
            format!("accepted again; {} {verb} refused", requests(*refused))
        }
        Change::BrownedOut { refused: None, .. } => {
            "accepted again; no log tells how many requests were refused".into()
        }
        Change::Waived { .. } => "whoever still uses it".into(),
        Change::RollingBack { replaces, .. } => match replaces.generation {
            Some(generation) => format!("instead of {generation}"),
            None => dash(),
        },
        Change::Claimed { .. } => "goes on where it was left, or puts its key right".into(),
        Change::Vanished { .. } => "the provider has no such key any more".into(),
        Change::Restored { provider, .. } => key(provider),
        Change::Forsaken { why, .. } => format!("not brought back: {}", ending(*why)),
        Change::Closed { .. } => "its secret is gone for good".into(),
        Change::Refused { after: Some(after), .. } => format!("{} after the order", span(after.delta())),
        Change::Refused { unproved, .. } => format!("not proved: {}", unproved.as_deref().unwrap_or("nobody looked")),
        Change::Disabling { ground: Some(ground), .. } | Change::Suspending { ground: Some(ground), .. } => {
            ground.to_string()
        }
        Change::Disabled { .. } => "it signs nothing any more".into(),
        Change::Swept { found, .. } if found.is_empty() => "no further key was found".into(),
        Change::Swept { found, .. } => {
            let found: Vec<&str> = found.iter().map(|id| short_id(id)).collect();
            format!("{} left behind by lost answers: {}", counted(found.len(), "key"), listed(found))
        }
        Change::Recovered { provider, .. } => format!("{} turned up after it was given up", key(provider)),
        Change::Mended { finding, subject, .. } => format!("{finding}: {subject}"),
        Change::Carried { carrier, .. } => format!("the same key under {}", carrier.short()),
        Change::Held { hold, .. } => hold.to_string(),
        Change::Minted { provider, found: false, .. } | Change::Suspended { provider, .. } => key(provider),
        Change::Promoted { .. }
        | Change::Disabling { ground: None, .. }
        | Change::Suspending { ground: None, .. }
        | Change::Destroying { .. }
        | Change::Destroyed { .. } => dash(),
    }
}

fn requests(count: u64) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), "request")
}

/// What a look at a key's use showed, and what was settled by it.
fn witnessed(usage: &Usage, settled: &Settlements) -> String {
    let seen = match (usage.told, usage.since_deactivated(), usage.last_used) {
        (false, _, _) => "nothing is told of its use".into(),
        (true, Some(count), Some(at)) => {
            format!("{} since it was deactivated, last by {}", requests(count), moment(at))
        }
        (true, Some(count), None) => format!("{} since it was deactivated", requests(count)),
        (true, None, Some(at)) => format!("last used {}", moment(at)),
        (true, None, None) => "never used".into(),
    };
    let settled = settled.iter().map(|(plan, settlement)| {
        let Settlement { allowance, remaining, .. } = settlement;
        format!("plan {plan}: {remaining} of {allowance} left to all live keys")
    });
    std::iter::once(seen).chain(settled).collect::<Vec<_>>().join("; ")
}

/// What ended a rotation before its time.
fn ending(why: Abandonment) -> &'static str {
    match why {
        Abandonment::OtherToken => "Secrets Manager came back with another token",
        Abandonment::LostPending => "its token lost AWSPENDING",
        Abandonment::Fenced => "fenced off for an emergency",
        Abandonment::Repaired => "given up by a repair",
        Abandonment::Tainted => "its value holds a compromised key as well",
        Abandonment::Compromised => "its key was declared compromised before it was used",
        Abandonment::Expired => "it did not come to its end in its time",
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
        let mut page = match look.width {
            // Who and why have no room of their own there.
            Some(width) if width < WIDE => table(
                look,
                ["SEQ", "AT", "ACTOR", "WHAT", "DETAIL"],
                self.events.iter().map(|event| {
                    let [seq, at, actor, what, generation, detail, who, reason] = event.cells();
                    let said = [detail, who, reason];
                    let said: Vec<String> = said.into_iter().filter(|cell| *cell != dash()).collect();
                    let what = if event.generation.is_some() { format!("{what} {generation}") } else { what };
                    [seq, at, actor, what, if said.is_empty() { dash() } else { said.join("; ") }]
                }),
            ),
            Some(_) | None => table(
                look,
                ["SEQ", "AT", "ACTOR", "WHAT", "GENERATION", "DETAIL", "WHO", "REASON"],
                self.events.iter().map(EventView::cells),
            ),
        };
        for event in self.newest_callers() {
            let callers = event.callers().map(|caller| format!("  {}\n", harmless(caller)));
            let (generation, seq) = (event.generation.unwrap_or_default(), event.seq);
            page.push_str(&format!(
                "\nwho used generation {generation}, as event {seq} tells:\n{}",
                callers.collect::<String>()
            ));
        }
        page.push_str(&match &self.problem {
            None if self.events.is_empty() => "\nnothing is recorded yet\n".into(),
            None => format!("\nchain verified: {}\n", counted(self.events.len(), "event")),
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
        HistoryView::new(&credential.head.name, told, &credential.head.ledger, &BTreeMap::new())
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
        let view = HistoryView::new(&credential.head.name, told, &credential.head.ledger, &BTreeMap::new());
        insta::assert_snapshot!("page_signing", view.page(&Look::PLAIN));
    }

    #[test]
    fn who_uses_a_key_stands_below_the_table() {
        let (credential, told) = specimens::let_go();
        let view = HistoryView::new(&credential.head.name, told, &credential.head.ledger, &BTreeMap::new());
        assert!(view.verified);
        insta::assert_snapshot!("page_let_go", view.page(&Look::PLAIN));
        for width in [80, 120] {
            let page = view.page(&Look { colour: false, width: Some(width) });
            insta::assert_snapshot!(format!("page_let_go_{width}"), page);
        }
    }

    #[test]
    fn what_is_left_of_a_destroyed_key_is_told() {
        let (credential, mut told) = specimens::told();
        told[0].event.change = Change::Destroyed { generation: 1 };
        let remains = BTreeMap::from([(1, "its value".to_owned())]);
        let view = HistoryView::new(&credential.head.name, told, &credential.head.ledger, &remains);
        assert_eq!(view.events[0].remains.as_deref(), Some("its value"));
        assert_eq!(view.events[0].detail, "its value");
        assert!(view.events[1..].iter().all(|event| event.remains.is_none() && event.detail != "its value"));
    }

    #[test]
    fn an_erased_note_breaks_nothing_and_a_changed_one_does() {
        let (credential, mut told) = specimens::told();
        let noted = told.iter().position(|told| told.note.is_some()).unwrap();
        told[noted].note.as_mut().unwrap().reason = "something else".into();
        let changed = HistoryView::new(&credential.head.name, told.clone(), &credential.head.ledger, &BTreeMap::new());
        assert!(!changed.verified && changed.problem.is_some());
        told[noted].note = None;
        let erased = HistoryView::new(&credential.head.name, told, &credential.head.ledger, &BTreeMap::new());
        assert!(erased.verified);
        assert_eq!(erased.events[noted].note, NoteState::Erased);
    }

    #[test]
    fn a_missing_event_is_found() {
        let (credential, mut told) = specimens::told();
        told.remove(1);
        let view = HistoryView::new(&credential.head.name, told, &credential.head.ledger, &BTreeMap::new());
        assert!(matches!(view.broken, Some(Broken::Sequence { expected: 2, .. })));
        assert!(view.page(&Look::PLAIN).contains("CHAIN BROKEN"));
    }
}
