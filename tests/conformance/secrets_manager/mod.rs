//! Secrets Manager.

use aws_sdk_secretsmanager::Client;

use super::{Aws, sdk_config};

mod events;
mod rotation;
mod schedules;
mod secrets;
mod versions;

const FIRST: &str = "11111111-1111-1111-1111-111111111111";
const SECOND: &str = "22222222-2222-2222-2222-222222222222";
const THIRD: &str = "33333333-3333-3333-3333-333333333333";

fn client(aws: &Aws) -> Client {
    Client::new(&sdk_config(aws))
}

/// A secret named `name` whose current version is `FIRST` with the value "one". Answers its ARN.
async fn create(client: &Client, name: &str) -> String {
    let created = client.create_secret().name(name).client_request_token(FIRST).secret_string("one");
    created.send().await.expect("created").arn.expect("an ARN")
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
