//! Secrets Manager.

use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use serde_json::Value;

use super::{Aws, refused, sdk_config, world};

mod events;
mod rotation;
mod schedules;
mod secrets;
mod versions;

const FIRST: &str = "11111111-1111-1111-1111-111111111111";
const SECOND: &str = "22222222-2222-2222-2222-222222222222";
const THIRD: &str = "33333333-3333-3333-3333-333333333333";
const FOURTH: &str = "44444444-4444-4444-4444-444444444444";

fn client(aws: &Aws) -> Client {
    Client::new(&sdk_config(aws))
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>.
#[tokio::test]
async fn values_and_labels_are_changed_50_times_a_second_together() {
    let (aws, clock) = world();
    let client = client(&aws);
    aws.settings(|settings| settings.control_plane_limits = true);
    let arn = create(&client, "acme").await;
    let update = || client.update_secret().secret_id(&arn).description("d");
    let put = || client.put_secret_value().secret_id(&arn).secret_string("two");
    for _ in 0..25 {
        put().send().await.expect("put");
        update().send().await.expect("updated");
    }
    assert_eq!(refused(put().send().await).0, "ThrottlingException");
    client.get_secret_value().secret_id(&arn).send().await.expect("another rate");
    clock.advance(Duration::from_millis(20));
    update().send().await.expect("updated");
    assert_eq!(refused(put().send().await).0, "ThrottlingException");
}

/// A secret named `name` whose current version is `FIRST` with the value "one". Answers its ARN.
async fn create(client: &Client, name: &str) -> String {
    let created = client.create_secret().name(name).client_request_token(FIRST).secret_string("one");
    created.send().await.expect("created").arn.expect("an ARN")
}

/// The next call of this client without the token that the SDK adds to it.
fn without_token(request: &mut HttpRequest) {
    let mut body: Value = serde_json::from_slice(request.body().bytes().expect("in memory")).expect("JSON");
    body.as_object_mut().expect("an object").remove("ClientRequestToken");
    let body = body.to_string();
    request.headers_mut().insert("content-length", body.len().to_string());
    *request.body_mut() = SdkBody::from(body);
}

/// The body of a refusal, as it came.
fn body<E>(error: &SdkError<E, HttpResponse>) -> Value {
    let body = error.raw_response().expect("an answer").body().bytes().expect("in memory");
    serde_json::from_slice(body).expect("JSON")
}

/// The version that carries a label.
async fn holder(client: &Client, secret: &str, label: &str) -> Option<String> {
    let described = client.describe_secret().secret_id(secret).send().await.expect("described");
    let stages = described.version_ids_to_stages.unwrap_or_default();
    stages.into_iter().find(|(_, labels)| labels.iter().any(|on| on == label)).map(|(id, _)| id)
}

/// The value of the version that carries a label.
async fn value(client: &Client, secret: &str, label: &str) -> Option<String> {
    let read = client.get_secret_value().secret_id(secret).version_stage(label).send().await;
    read.ok().and_then(|read| read.secret_string)
}
