//! A new key is no good.

use chrono::TimeDelta;
use rotator::aws::records::Told;
use state::credential::Version;
use state::decide::{AWSCURRENT, Goal};
use state::ledger::{Change, Note};
use state::lifecycle::State;
use state::name::CredentialName;

use super::super::clients::Clients;
use super::super::{errand, start};
use super::{Scene, on_behalf};
use crate::trouble::Trouble;

/// What the sample's keys begin with, and no new one.
const OLD_FORM: &str = "sample";
const WISHES: [(&str, &str); 4] =
    [("overlap", "PT12H"), ("soak", "P1D"), ("consumer-cache", "PT6H"), ("idle-before-suspend", "PT3H")];

pub async fn play(scene: &mut Scene<'_, '_>) -> Result<(), Trouble> {
    let name = scene.open(&["acme-shop"], &WISHES).await?.remove(0);
    let (clients, word) = Clients::with_a_strict_one(&name, OLD_FORM);
    scene.stage.follow(clients);
    scene.tell(
        "clients",
        &format!("one prompt, one late; one, strict, takes no key that does not begin with {OLD_FORM}"),
    )?;

    scene.stage.until(start() + TimeDelta::hours(1)).await?;
    scene.stage.act(&format!("rotator rotate {name}"))?;
    scene.rotate(&name).await?;
    scene.pass(TimeDelta::hours(1)).await?;
    roll_back(scene, &name, "acme's till takes no key that begins with krt1: they need a week").await?;
    claim_back(scene, &name, State::Deactivated, 2).await?;
    let strict = scene.stage.crowd.versions(&name).remove("strict");
    let old = scene.version(&name, 1).await?;
    let is_old = strict.is_some_and(|held| old.carriers.iter().any(|carrier| carrier.as_str() == held));
    scene.claim(is_old, "the strict client was never without a key that it can use");

    scene.stage.until(start() + TimeDelta::hours(15)).await?;
    scene.stage.act(&format!("The client is mended, and rotator rotate {name} is tried again"))?;
    word.give();
    scene.pass(TimeDelta::hours(1)).await?;
    scene.rotate(&name).await?;
    let latest = scene.stage.now() + TimeDelta::hours(48);
    let is_refused = |version: &Version| version.state == State::Suspended && version.refused.is_some();
    let gone = scene.until(&name, latest, |credential| credential.versions.get(&1).is_some_and(is_refused)).await?;
    let old = scene.version(&name, 1).await?;
    let is_seen = old.refused.as_ref().is_some_and(|refused| refused.after.is_some());
    scene.claim(
        gone && is_seen && !scene.is_enabled(&old),
        "after its overlap the old key was suspended, and seen refused",
    );
    scene.pass(TimeDelta::hours(6)).await?;
    roll_back(scene, &name, "acme's month-end run, which nobody had tried, does not take it either").await?;
    claim_back(scene, &name, State::Suspended, 3).await?;
    scene.pass(TimeDelta::hours(7)).await?;
    let current = scene.load(&name).await?.current().and_then(|version| version.token().cloned());
    let used = scene.stage.crowd.versions(&name);
    let all_back = used.values().all(|held| current.as_ref().is_some_and(|token| token.as_str() == held));
    scene.claim(all_back, "everybody has read the old key again");
    let refused = scene.tally(&name).refused.len();
    scene.claim(refused == 0, format!("nobody was refused at any time: {refused} calls"));
    Ok(())
}

/// `rotator rollback --to 1`, told with what it does at AWS.
async fn roll_back(scene: &mut Scene<'_, '_>, name: &CredentialName, reason: &str) -> Result<(), Trouble> {
    scene.stage.act(&format!("rotator rollback {name} --to 1"))?;
    scene.tell("reason", reason)?;
    let embedded = scene.stage.embedded;
    let engine = embedded.engine();
    let note: Note = engine.note("the demo", reason);
    let errand = on_behalf(errand(engine), &note);
    embedded.aws.clear_requests();
    let done = scene.stage.beside(engine.run(name, None, &Goal::RollBack(1), &errand)).await?;
    done.map_err(Trouble::stopped(format!("could not roll {name} back")))?;
    let history = scene.history(name).await?;
    for Told { event, .. } in &history[begun(&history)..] {
        scene.tell("rollback", &format!("generation 1: {} ({})", event.change.word(), event.at.format("%H:%M:%S")))?;
    }
    Ok(())
}

/// That the way back was the right one: accepted, proved, and only then read; then the bad one deactivated.
async fn claim_back(scene: &mut Scene<'_, '_>, name: &CredentialName, from: State, bad: u32) -> Result<(), Trouble> {
    let credential = scene.load(name).await?;
    let history = scene.history(name).await?;
    let ours = &history[begun(&history)..];
    let words: Vec<&str> = ours.iter().map(|told| told.event.change.word()).collect();
    let in_order = words.starts_with(&["rolling-back", "restored", "proved", "promoted"]);
    let was = if from == State::Suspended { "suspended" } else { "in its overlap" };
    scene.claim(in_order, format!("generation 1, {was}: accepted first, then proved, then current"));
    let calls = scene.stage.embedded.aws.requests();
    // The first label that moves is AWSPENDING, which the rotation had left where AWSCURRENT is.
    let moved = calls.iter().rposition(|call| call.operation == "UpdateSecretVersionStage");
    let enabled = calls.iter().position(|call| call.operation == "UpdateApiKey");
    if from == State::Suspended {
        let is_before = enabled.is_some() && moved.is_some() && enabled < moved;
        scene.claim(is_before, "AWS was asked in that order: its key was enabled first, the label moved last");
    }
    let secret = scene.stage.embedded.engine().describe(name.as_str()).await;
    let secret = secret.map_err(|failure| super::unread(name, &failure))?;
    let (old, bad) = (scene.version(name, 1).await?, scene.version(name, bad).await?);
    let is_read = secret.holder(AWSCURRENT) == old.token() && credential.head.current == Some(1);
    scene.claim(
        is_read && scene.is_enabled(&old) && bad.state == State::Deactivated && scene.is_enabled(&bad),
        format!("consumers read generation 1; generation {} is deactivated, and still accepted", bad.generation),
    );
    let note = ours.first().and_then(|told| told.note.as_ref());
    scene.claim(note.is_some_and(|note| note.who == "the demo"), "the history says who wanted it, and why");
    Ok(())
}

/// Where in the history the last rollback begins.
fn begun(history: &[Told]) -> usize {
    history.iter().rposition(|told| matches!(told.event.change, Change::RollingBack { .. })).unwrap_or_default()
}
