//! What a person is shown and asked before something is refused or brought back.

use chrono::TimeDelta;
use rotator_cli::trouble::Outcome;
use state::ledger::Change;
use state::lifecycle::State;

use super::watched;
use crate::harness::faults::{Fault, When};
use crate::harness::{ACME, OPERATOR, Stage};

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

/// Why a key was replaced is asked long after it was, of ordinary rotations too.
#[tokio::test(start_paused = true)]
async fn an_ordinary_rotation_has_its_reason_in_the_history() {
    let stage = Stage::new().await;
    stage.credential(ACME, &watched()).await;
    let said = stage.command_as(OPERATOR, &["rotate", ACME, "--reason", "acme's contract was renewed"]).await;
    assert_eq!(said.outcome, Outcome::Done, "{said:?}");
    let told = stage.told().await;
    let requested = told.iter().find(|told| matches!(told.event.change, Change::Requested { .. })).expect("told");
    let note = requested.note.clone().expect("who and why");
    assert!(note.reason == "acme's contract was renewed" && note.who.contains("arn:aws"), "{note:?}");
    let Change::Requested { token } = &requested.event.change else { unreachable!("it was found as one") };
    assert_eq!(stage.load(ACME).await.versions[&2].token(), Some(token), "bound to its rotation");
    assert!(stage.command(&["history", ACME]).await.stdout.contains("acme's contract was renewed"));
    stage.assert_sound(ACME, "rotated for a reason").await;
    // Nobody has to say why. Who asked is told all the same.
    assert_eq!(stage.command_as(OPERATOR, &["rotate", ACME]).await.outcome, Outcome::Done);
    let told = stage.told().await;
    let requested = told.iter().rfind(|told| told.event.change.word() == "requested").expect("told");
    let note = requested.note.clone().expect("who");
    assert!(note.reason.is_empty() && note.who.contains("arn:aws"), "{note:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reason_whose_answer_was_lost_is_written_once() {
    const LINE: [&str; 4] = ["rotate", ACME, "--reason", "the yearly rotation"];
    let begun = async || {
        let stage = Stage::new().await;
        stage.credential(ACME, &watched()).await;
        stage.faults.disarm();
        stage
    };
    let rotates = async |stage: &Stage| {
        let process = stage.faults.process();
        tokio::select! {
            biased;
            said = stage.command_over(process.connector.clone(), &LINE) => assert_eq!(said.outcome, Outcome::Done, "{said:?}"),
            () = stage.aws.run() => unreachable!("it never ends"),
        }
    };
    let probe = begun().await;
    rotates(&probe).await;
    let calls = probe.faults.calls();
    let written = calls.iter().position(|call| call == "DynamoDB:TransactWriteItems").expect("it is written first");
    for fault in [Fault::NoAnswerApplied, Fault::NoAnswerNotApplied] {
        let stage = begun().await;
        stage.faults.arm(When::Once(written), fault);
        rotates(&stage).await;
        let requests = stage.told().await.iter().filter(|told| told.event.change.word() == "requested").count();
        assert_eq!(requests, 1, "{fault:?}: {}", stage.story(ACME).await);
    }
}

/// Whoever reads the end alone must see it.
#[tokio::test(start_paused = true)]
async fn a_key_that_nothing_tried_is_called_unproven_at_the_end() {
    for (probe, unproven) in [("none", true), ("a1b2c3/prod/ping", false)] {
        let stage = Stage::new().await;
        stage.credential(ACME, &watched().with("probe", probe)).await;
        let said = stage.command_as(OPERATOR, &["rotate", ACME]).await;
        let end = said.stdout.find("is current").map(|at| &said.stdout[at..]).expect("it says so at the end");
        assert_eq!(end.contains("unproven"), unproven, "{end}");
    }
    let stage = Stage::new().await;
    stage.credential(ACME, &watched().with("probe", "none")).await;
    let json = stage.command_as(OPERATOR, &["rotate", ACME, "--output", "json"]).await.json();
    assert_eq!(json["unproven"], true);
}
