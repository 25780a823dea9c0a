//! What a person is shown and asked before something is refused or brought back.

use chrono::TimeDelta;
use rotator_cli::trouble::Outcome;
use state::lifecycle::State;

use super::watched;
use crate::harness::{ACME, Stage};

const EMERGENCY: [&str; 5] = ["rotate", ACME, "--emergency", "--reason", "it leaked"];
const ROLLBACK: [&str; 4] = ["rollback", ACME, "--reason", "it is refused"];
const RETIRE: [&str; 6] = ["retire", ACME, "--generation", "1", "--reason", "they were told"];

/// A rotated credential whose old key is in its overlap.
async fn rotated() -> Stage {
    let stage = Stage::new().await;
    let (arn, ..) = stage.credential(ACME, &watched()).await;
    stage.rotate(&arn).await;
    stage.pass(TimeDelta::hours(1)).await;
    stage
}

#[tokio::test(start_paused = true)]
async fn a_plan_shows_every_version_and_changes_nothing() {
    let stage = rotated().await;
    let before = stage.world().await;
    let cases: [(&[&str], &[&str]); 3] = [
        (&EMERGENCY, &["generation 2 (active", "generation 1 (deactivated", "nothing brings it back"]),
        (&ROLLBACK, &["generation 1 (deactivated", "generation 2 (active", "accepted for P1D more"]),
        (&RETIRE, &["generation 1 (deactivated", "whoever still uses it", "rotator rollback partner/acme --to 1"]),
    ];
    for (line, told) in cases {
        let said = stage.command(&[line, &["--plan"]].concat()).await;
        assert_eq!(said.outcome, Outcome::Done, "{said:?}");
        for words in told {
            assert!(said.stdout.contains(words), "{words:?} is not in {}", said.stdout);
        }
        assert!(said.stdout.lines().all(|line| line.chars().count() <= 80), "{}", said.stdout);
        let json = stage.command(&[line, &["--plan", "--output", "json"]].concat()).await.json();
        assert_eq!(json["name"], ACME);
        assert!(json["versions"].as_array().is_some_and(|versions| !versions.is_empty()), "{json}");
        assert_eq!(stage.world().await, before);
    }
}

#[tokio::test(start_paused = true)]
async fn at_a_terminal_nothing_is_changed_without_a_yes() {
    let stage = rotated().await;
    let before = stage.world().await;
    for line in [&EMERGENCY[..], &ROLLBACK, &RETIRE] {
        let said = stage.command_answered("\n", line).await;
        assert_eq!(said.outcome, Outcome::Failed, "{said:?}");
        assert!(said.stdout.ends_with("Do it? [y/N] nothing was changed\n"), "{}", said.stdout);
        assert_eq!(stage.world().await, before);
    }
    assert_eq!(stage.command_answered("y\n", &ROLLBACK).await.outcome, Outcome::Done);
    assert_eq!(stage.load(ACME).await.head.current, Some(1));
    // Whoever repeats it is asked nothing: it is done.
    let said = stage.command_answered("", &ROLLBACK).await;
    assert_eq!(said.outcome, Outcome::Done);
    assert!(!said.stdout.contains("[y/N]"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_script_is_neither_asked_nor_refused() {
    let stage = rotated().await;
    let said = stage.command(&RETIRE).await;
    assert_eq!(said.outcome, Outcome::Done);
    assert!(!said.stdout.contains("[y/N]") && said.stdout.contains("generation 1 (deactivated"), "{}", said.stdout);
    assert!(stage.load(ACME).await.versions[&1].waived);
    // A program gets one document.
    assert_eq!(stage.command(&[&ROLLBACK[..], &["--output", "json"]].concat()).await.json()["current"], 1);
    stage.assert_sound(ACME, "rolled back").await;
    assert_eq!(stage.state_of(2).await, State::Deactivated);
}

#[tokio::test(start_paused = true)]
async fn what_would_be_refused_is_refused_before_anybody_is_asked() {
    let stage = rotated().await;
    let before = stage.world().await;
    let unknown = [&EMERGENCY[..], &["--compromised", "9"]].concat();
    for (line, why) in [(unknown, "no generation 9"), ([&ROLLBACK[..], &["--to", "9"]].concat(), "no generation 9")] {
        let said = stage.command_answered("y\n", &line).await;
        assert_eq!(said.outcome, Outcome::Failed, "{said:?}");
        assert!(said.stderr.contains(why) && said.stdout.is_empty(), "{said:?}");
        assert_eq!(stage.world().await, before);
    }
}

/// The commands that put things right have the same plan and the same question.
#[tokio::test(start_paused = true)]
async fn what_puts_right_or_takes_over_asks_too() {
    let stage = rotated().await;
    let (id, _) = stage.key("globex").await;
    let before = stage.world().await;
    let adopt = ["adopt", "--id", &id, "--secret-prefix", "partner/", "--reason", "they pay now"];
    for answer in [None, Some("n\n")] {
        let said = match answer {
            None => stage.command(&adopt).await,
            Some(answer) => stage.command_answered(answer, &adopt).await,
        };
        assert_eq!(said.outcome, if answer.is_some() { Outcome::Failed } else { Outcome::Done }, "{said:?}");
        assert_eq!((said.stdout.contains("[y/N]"), stage.world().await), (answer.is_some(), before.clone()));
    }
    assert_eq!(stage.command_answered("y\n", &adopt).await.outcome, Outcome::Done);
    let name = state::name::CredentialName::parse("partner/globex").expect("a name");
    let history = stage.engine_unhurt().records.history(&name).await.expect("readable");
    assert_eq!(history[0].note.as_ref().map(|note| note.reason.as_str()), Some("they pay now"));
    // Nothing to be put right is nothing to be asked.
    for line in [&["reconcile", ACME][..], &["repair", ACME, "--reason", "to be sure"]] {
        let said = stage.command_answered("", line).await;
        assert_eq!((said.outcome, said.stdout.contains("[y/N]")), (Outcome::Done, false), "{said:?}");
    }
}
