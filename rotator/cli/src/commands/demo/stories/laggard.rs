//! A client goes on with an old key.

use chrono::TimeDelta;
use state::credential::Version;
use state::evidence::Ground;
use state::hold::HoldReason;
use state::ledger::Change;
use state::lifecycle::State;

use super::super::clients::{Clients, LAGGARD};
use super::super::crowd::Refusal;
use super::super::{PROPAGATION, start};
use super::{Scene, when};
use crate::output::{counted, span};
use crate::sample::API;
use crate::trouble::Trouble;

/// The log group of the API's access log.
const LOG: &str = "/apis/partners";
/// For how long a key must be unused before it is refused.
const IDLE: TimeDelta = TimeDelta::hours(3);
const WISHES: [(&str, &str); 7] = [
    ("overlap", "P1D"),
    ("soak", "PT12H"),
    ("consumer-cache", "PT6H"),
    ("idle-before-suspend", "PT3H"),
    ("look-every", "PT1H"),
    ("brownouts", "PT20M"),
    ("access-log", LOG),
];

pub async fn play(scene: &mut Scene<'_, '_>) -> Result<(), Trouble> {
    let name = scene.open(&["acme-shop"], &WISHES).await?.remove(0);
    scene.stage.embedded.aws.log_access(API, LOG);
    let (clients, word) = Clients::with_a_laggard(&name);
    scene.stage.follow(clients);
    scene.tell("clients", "one prompt, one late; one, the laggard, never reads its key again until it is told to;")?;
    scene.tell("", "and one that nobody knows of: a nightly batch job, which reads it when it is refused")?;

    scene.stage.until(start() + TimeDelta::hours(1)).await?;
    scene.stage.act(&format!("rotator rotate {name}"))?;
    scene.rotate(&name).await?;
    let old = scene.version(&name, 1).await?;
    let over = old.suspend_at.unwrap_or_else(start);

    scene.stage.act("Its overlap, with a brownout: refused for a moment, to flush out who still uses it")?;
    scene.stage.until(over - TimeDelta::minutes(30)).await?;
    let used = scene.stage.crowd.versions(&name);
    let uses_old = |habit: &str| used.get(habit).is_some_and(|version| is_of(&old, version));
    scene.claim(!uses_old("batch"), "the brownout flushed the batch job out: it reads the new key");
    scene.claim(uses_old("laggard"), "the laggard took no notice");

    scene.stage.act("The overlap is over, and the old key is still used")?;
    scene.stage.until(over + TimeDelta::hours(2)).await?;
    let waiting = scene.version(&name, 1).await?;
    let held = waiting.held.as_ref().map(|held| held.hold.reason);
    let is_kept = waiting.state == State::Deactivated && held == Some(HoldReason::StillInUse);
    scene.claim(
        is_kept && scene.is_enabled(&waiting),
        "two hours after its overlap the old key is held as StillInUse, and accepted",
    );
    let history = scene.history(&name).await?;
    let is_look = |change: &Change| matches!(change, Change::Witnessed { generation: 1, .. });
    let look = history.iter().rev().find(|told| is_look(&told.event.change));
    let callers = look.and_then(|told| told.note.as_ref()).map_or("", |note| note.who.as_str()).to_owned();
    let mut said: Vec<String> = waiting.held.iter().map(|held| held.hold.to_string()).collect();
    said.extend(callers.lines().map(|caller| format!("  {caller}")));
    scene.says("show", &said)?;
    let is_named = LAGGARD.iter().all(|part| callers.contains(part)) && callers.contains("/ping");
    scene.claim(is_named, "the laggard is named: address, program and route");

    scene.stage.act("Whoever runs the laggard is told, and reads the new key")?;
    word.give();
    let put_right = scene.stage.now();
    let latest = put_right + TimeDelta::hours(24);
    let is_refused = |version: &Version| version.state == State::Suspended && version.refused.is_some();
    scene.until(&name, latest, |credential| credential.versions.get(&1).is_some_and(is_refused)).await?;
    let history = scene.history(&name).await?;
    let suspending = when(&history, |change| matches!(change, Change::Suspending { generation: 1, .. }));
    let is_unused = suspending.is_some_and(|event| {
        let unused = Change::Suspending { generation: 1, ground: Some(Ground::Unused) };
        event.change == unused && event.at - put_right >= IDLE
    });
    scene.claim(is_unused, "then it was unused for three hours, and only then it was suspended");
    let exposed = scene.version(&name, 1).await?.refused.and_then(|refused| refused.after);
    if let Some(after) = exposed {
        let said = format!("generation 1: refused {} after the order", span(after.delta()));
        scene.says("show", &[said])?;
    }
    let clock = exposed.map_or_else(|| "nobody saw it".to_owned(), |after| span(after.delta()));
    scene.claim(exposed.is_some(), format!("a request with it was refused after that: exposure clock {clock}"));
    scene.pass(TimeDelta::hours(1)).await?;

    let history = scene.history(&name).await?;
    let began = when(&history, |change| matches!(change, Change::BrowningOut { .. })).map(|event| event.at);
    let ended = when(&history, |change| matches!(change, Change::BrownedOut { .. }));
    let refused = scene.tally(&name).refused.clone();
    let in_brownout = |refusal: &Refusal| {
        let until = ended.map(|event| event.at + TimeDelta::from_std(PROPAGATION).unwrap_or_default());
        is_of(&old, &refusal.version)
            && began.is_some_and(|at| at <= refusal.at)
            && until.is_some_and(|at| refusal.at <= at)
    };
    scene.claim(
        !refused.is_empty() && refused.iter().all(in_brownout),
        format!("{} refused, all of them with the old key and in the brownout", counted(refused.len(), "call")),
    );
    let told =
        if let Some(Change::BrownedOut { refused, .. }) = ended.map(|event| &event.change) { *refused } else { None };
    scene.claim(
        told.is_some_and(|told| told >= refused.len() as u64),
        format!("the history has them: {} refused in the brownout", told.unwrap_or_default()),
    );
    Ok(())
}

/// Whether a version of the secret holds that key.
fn is_of(version: &Version, carrier: &str) -> bool {
    version.carriers.iter().any(|token| token.as_str() == carrier)
}
