//! What `rotator list` reads.

use serde_json::{Value, json};

use crate::harness::mishaps::GLOBEX;
use crate::harness::{ACME, Stage, Which};

/// What `rotator list` shows, and what it asks of the table.
async fn listed(stage: &Stage, options: &[&str]) -> (Vec<Value>, Vec<String>) {
    stage.aws.clear_requests();
    let shown = stage.command(&[&["list", "--output", "json"], options].concat()).await.json();
    let asked = stage.aws.requests().into_iter().flat_map(|call| call.asked).map(|asked| asked.action);
    let asked: Vec<String> = asked.filter(|action| action.starts_with("dynamodb:")).collect();
    assert!(!asked.is_empty());
    (shown["credentials"].as_array().expect("a list").clone(), asked)
}

#[tokio::test(start_paused = true)]
async fn a_list_is_read_from_the_index_and_shows_what_the_records_say() {
    let (stage, arn) = Stage::two_rotated().await;
    let (before, calls) = listed(&stage, &[]).await;
    let names: Vec<_> = before.iter().map(|row| row["name"].as_str().expect("a name")).collect();
    assert_eq!(names, [ACME, GLOBEX]);
    assert_eq!((before[0]["generation"].as_u64(), before[0]["versions"].as_u64()), (Some(2), Some(2)));
    assert!(!calls.contains(&"dynamodb:Scan".to_owned()), "{calls:?}");

    // What a later commit changes shows at once.
    stage.rotate(&arn).await;
    let (after, same) = listed(&stage, &[]).await;
    assert_eq!(after[0]["generation"], 3);
    assert_eq!(same, calls, "and costs nothing more");

    let (acme, fewer) = listed(&stage, &["--prefix", "partner/a"]).await;
    assert_eq!((acme, fewer), (vec![after[0].clone()], calls));
}

#[tokio::test(start_paused = true)]
async fn a_table_of_an_earlier_version_is_listed_and_then_indexed() {
    let (stage, arn) = Stage::two_rotated().await;
    let (indexed, calls) = listed(&stage, &[]).await;
    stage.forget_heads().await;

    let (shown, more) = listed(&stage, &[]).await;
    assert_eq!(shown, indexed);
    assert!(more.contains(&"dynamodb:Scan".to_owned()), "{more:?}");
    stage.rotate(&arn).await;
    let (shown, _) = listed(&stage, &[]).await;
    assert_eq!((shown.len(), &shown[0]["generation"]), (2, &json!(3)), "one is in the index, one is not");

    let event = json!({"detail-type": "Scheduled Event", "detail": {"task": "reconcile"}});
    stage.call(Which::Retirement, event).await.expect("compared");
    let (all, after) = listed(&stage, &[]).await;
    assert_eq!((all, after), (shown, calls));
    stage.assert_sound(ACME, "indexed").await;
    stage.assert_sound(GLOBEX, "indexed").await;
}
