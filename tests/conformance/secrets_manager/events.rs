//! The "Secret Label Updated" event on EventBridge's default bus.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use local_aws::{Function, LabelEvent, ManualClock, Settings};
use serde_json::{Value, json};

use super::super::{Aws, Embedded, Scripted, world};
use super::{FIRST, SECOND, client, create};

/// An AWS with a secret, and a way to see how many events a function got since.
async fn listening() -> (Aws, Embedded<Arc<ManualClock>>, Client, impl Fn() -> Vec<Value>) {
    let (aws, clock) = world();
    let client = client(&aws);
    create(&client, "s").await;
    let listener = Scripted::new(|_: Value| async { Ok(()) });
    aws.register("listener", listener.clone() as Arc<dyn Function>);
    aws.on_label_event("listener");
    (aws, clock, client, move || listener.calls())
}

async fn put(client: &Client, stage: &str) {
    let put = client.put_secret_value().secret_id("s").client_request_token(SECOND).secret_string("two");
    put.version_stages(stage).send().await.expect("put");
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/monitoring-eventbridge.html>.
#[tokio::test]
async fn a_label_that_moves_is_told_in_the_documented_shape() {
    let (aws, _, client, events) = listening().await;

    put(&client, "AWSCURRENT").await;
    assert!(events().is_empty(), "delivered by a tick");
    aws.settle().await;

    let arn = client.describe_secret().secret_id("s").send().await.expect("described").arn;
    let events = events();
    assert_eq!(events.len(), 1, "AWSPREVIOUS moved as well, and is not told");
    assert_eq!(
        events[0],
        json!({
            "version": "0",
            "id": events[0]["id"],
            "detail-type": "Secret Label Updated",
            "source": "aws.secretsmanager",
            "account": "123456789012",
            "time": "2026-03-02T10:30:00Z",
            "region": "eu-west-1",
            "resources": [arn],
            "detail": {"name": "s", "labelUpdated": "AWSCURRENT", "versionId": SECOND},
        })
    );
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/monitoring-eventbridge.html>.
#[tokio::test]
async fn awspending_is_not_told_and_an_own_label_is() {
    let (aws, _, client, events) = listening().await;

    put(&client, "AWSPENDING").await;
    aws.settle().await;
    assert!(events().is_empty());

    let label = client.update_secret_version_stage().secret_id("s").version_stage("BLUE").move_to_version_id(FIRST);
    label.send().await.expect("labelled");
    aws.settle().await;
    assert_eq!(events().len(), 1);
}

/// Embedded: a switch.
#[tokio::test]
async fn by_a_switch_the_event_is_late_twice_or_lost() {
    for (switch, soon, later) in [
        (LabelEvent::OnTime, 1, 1),
        (LabelEvent::Late(Duration::from_secs(60)), 0, 1),
        (LabelEvent::Twice, 2, 2),
        (LabelEvent::Never, 0, 0),
    ] {
        let (aws, clock, client, events) = listening().await;
        aws.settings(|settings: &mut Settings| settings.label_event = switch);

        put(&client, "AWSCURRENT").await;
        aws.settle().await;
        assert_eq!(events().len(), soon, "{switch:?}");
        clock.advance(Duration::from_secs(60));
        aws.settle().await;
        assert_eq!(events().len(), later, "{switch:?}");
    }
}

/// Embedded: a switch.
#[tokio::test]
async fn by_a_switch_the_event_is_there_before_the_call_is_answered() {
    let (aws, _, client, events) = listening().await;
    aws.settings(|settings: &mut Settings| settings.label_event = LabelEvent::Early);

    put(&client, "AWSCURRENT").await;

    assert_eq!(events().len(), 1, "without a tick");
    aws.settle().await;
    assert_eq!(events().len(), 1, "and once");
}
