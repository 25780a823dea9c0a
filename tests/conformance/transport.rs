//! What is the same for all services, and the same AWS over a port.

use std::net::SocketAddr;
use std::path::PathBuf;

use aws_sdk_secretsmanager::Client;
use local_aws::{CallRecord, LocalAws, Method, RestApi};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Scripted, failure, refused, sdk_config, world};

const TOKEN: &str = "11111111-1111-1111-1111-111111111111";

/// The AWS over a port, for as long as the answer's second half lives.
pub(super) async fn listen(aws: &LocalAws) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut serving = JoinSet::new();
    serving.spawn(aws.serve(listener));
    (address, serving)
}

/// One request as bytes, one answer as text.
pub(super) async fn exchange(address: SocketAddr, host: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let length = body.len();
    let request = format!("{head}\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

fn target(target: &str) -> String {
    format!("POST / HTTP/1.1\r\nX-Amz-Target: {target}")
}

#[tokio::test]
async fn over_a_port_it_is_the_same_aws() {
    let (aws, _) = world();
    let (address, _serving) = listen(&aws).await;
    let head = target("secretsmanager.CreateSecret");
    let body = json!({"Name": "s", "SecretString": "one", "ClientRequestToken": TOKEN}).to_string();

    let answer = exchange(address, &address.to_string(), &head, &body).await;

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("x-amzn-requestid"), "{answer}");
    let read = Client::new(&sdk_config(&aws)).get_secret_value().secret_id("s").send().await.expect("read");
    assert_eq!(read.secret_string(), Some("one"));
}

#[tokio::test]
async fn over_a_port_only_loopback_hosts_are_answered() {
    let (aws, _) = world();
    let (address, _serving) = listen(&aws).await;
    let head = target("secretsmanager.ListSecrets");

    for host in ["localhost", "localhost:1234", "127.0.0.1", "[::1]:1234"] {
        let answer = exchange(address, host, &head, "{}").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
    }
    for host in ["example.com", "127.0.0.1.example.com", "localhost.example.com:80", ""] {
        let answer = exchange(address, host, &head, "{}").await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{host}: {answer}");
    }
    assert_eq!(aws.requests().len(), 4);
}

#[tokio::test]
async fn an_unknown_operation_parameter_or_service_is_refused_by_name() {
    let (aws, _) = world();
    let (address, _serving) = listen(&aws).await;
    let host = address.to_string();

    let unknown = exchange(address, &host, &target("secretsmanager.GetRandomPassword"), "{}").await;
    assert!(unknown.contains("UnknownOperationException") && unknown.contains("GetRandomPassword"), "{unknown}");
    let unknown = exchange(address, &host, &target("secretsmanager.ListSecrets"), r#"{"Colour": 1}"#).await;
    assert!(unknown.contains("ValidationException") && unknown.contains("unknown parameter `Colour`"), "{unknown}");
    let unknown = exchange(address, &host, &target("AmazonSSM.GetParameter"), "{}").await;
    assert!(unknown.starts_with("HTTP/1.1 404") && unknown.contains("UnknownOperationException"), "{unknown}");
    let malformed = exchange(address, &host, &target("secretsmanager.ListSecrets"), "{").await;
    assert!(malformed.contains("SerializationException"), "{malformed}");
}

#[tokio::test]
async fn a_client_of_another_region_is_told_so() {
    let (aws, _) = world();
    let elsewhere = sdk_config(&aws).into_builder().region(aws_config::Region::new("us-east-1")).build();

    let (code, message) = refused(Client::new(&elsewhere).list_secrets().send().await);

    assert_eq!(code, "UnrecognizedClientException");
    assert!(message.contains("eu-west-1"), "{message}");
}

#[tokio::test]
async fn get_caller_identity_tells_the_account() {
    let (aws, _) = world();
    let (address, _serving) = listen(&aws).await;
    let head = "POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Authorization: AWS4-HMAC-SHA256 Credential=AKIDLOCAL/20260302/us-east-1/sts/aws4_request, Signature=0";

    let answer = exchange(address, "localhost", head, "Action=GetCallerIdentity&Version=2011-06-15").await;

    assert!(answer.contains("<Account>123456789012</Account>"), "{answer}");
    let refused = exchange(address, "localhost", head, "Action=AssumeRole").await;
    assert!(refused.contains("InvalidAction"), "{refused}");
}

#[tokio::test]
async fn calls_are_recorded_by_service_operation_and_status() {
    let (aws, _) = world();
    let client = Client::new(&sdk_config(&aws));
    client.list_secrets().send().await.expect("listed");
    refused(client.get_secret_value().secret_id("absent").send().await);

    let told = |call: CallRecord| (call.service, call.operation, call.status);
    let calls: Vec<_> = aws.requests().into_iter().map(told).collect();
    let call = |operation: &str, status| ("secretsmanager", operation.to_owned(), status);
    assert_eq!(calls, [call("ListSecrets", 200), call("GetSecretValue", 400)]);
    aws.clear_requests();
    assert!(aws.requests().is_empty());
}

#[tokio::test]
async fn timers_invoke_their_function_every_period_and_catch_up_once() {
    let (aws, clock) = world();
    let function = Scripted::new(|_: Value| async { Ok(()) });
    aws.register("f", function.clone());
    aws.every(std::time::Duration::from_secs(60), "f", json!({"detail-type": "Scheduled Event"}));

    assert_eq!(aws.tick().await, 0);
    clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(aws.tick().await, 1);
    assert_eq!(aws.tick().await, 0);
    clock.advance(std::time::Duration::from_secs(600));
    assert_eq!(aws.tick().await, 1, "what was missed is not made up for");
    assert_eq!(function.calls(), vec![json!({"detail-type": "Scheduled Event"}); 2]);
}

#[tokio::test]
async fn run_does_what_is_due_when_it_is_due() {
    let (aws, clock) = world();
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    aws.register(
        "f",
        Scripted::new(move |_: Value| {
            let told = told.clone();
            async move { told.send(()).map_err(|_| failure()) }
        }),
    );
    let play = async {
        // Registered while it runs: it has to be woken.
        tokio::task::yield_now().await;
        aws.every(std::time::Duration::from_secs(60), "f", json!({}));
        for _ in 0..3 {
            tokio::task::yield_now().await;
            clock.advance(std::time::Duration::from_secs(60));
            heard.recv().await.expect("invoked");
        }
    };
    tokio::select! {
        () = aws.run() => {}
        () = play => {}
    }
}

#[tokio::test]
async fn functions_behind_an_endpoint_are_invoked_through_lambdas_api() {
    let (aws, _) = world();
    let client = Client::new(&sdk_config(&aws));
    let create = client.create_secret().name("s").client_request_token(TOKEN).secret_string("one");
    create.send().await.expect("created");

    // A function's error as Lambda answers it, as `cargo lambda watch` does, and a success.
    let body = r#"{"errorType":"Boom","errorMessage":"no"}"#;
    for (head, expected) in [
        ("HTTP/1.1 200 OK\r\nX-Amz-Function-Error: Unhandled", Some("Boom")),
        ("HTTP/1.1 500 Internal Server Error", Some("Boom")),
        ("HTTP/1.1 200 OK", None),
    ] {
        let endpoint = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", endpoint.local_addr().expect("bound"));
        aws.lambda_endpoint(url.parse().expect("a URL"));
        let answering = async move {
            let (mut stream, _) = endpoint.accept().await.expect("a caller");
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.expect("a request");
            let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.expect("answered");
            String::from_utf8_lossy(&request[..length]).into_owned()
        };

        let rotate = client.rotate_secret().secret_id("s").rotate_immediately(false);
        rotate.rotation_lambda_arn("rotation").send().await.expect("any function can be behind it");
        let (request, ()) = tokio::join!(answering, aws.settle());

        assert!(request.starts_with("POST /2015-03-31/functions/rotation/invocations HTTP/1.1"), "{request}");
        let error = aws.rotations().pop().and_then(|ended| ended.error);
        assert_eq!(error.map(|error| error.error_type).as_deref(), expected);
    }
}

#[tokio::test]
async fn with_a_state_directory_everything_survives_a_restart() {
    let dir = scratch("state");
    let build = || LocalAws::builder().state_dir(&dir).build().expect("built");
    {
        let aws = build();
        let client = Client::new(&sdk_config(&aws));
        let create = client.create_secret().name("s").client_request_token(TOKEN).secret_string("one");
        create.send().await.expect("created");
        let tables = aws_sdk_dynamodb::Client::new(&sdk_config(&aws));
        create_table(&tables).await;
    }

    let aws = build();

    let read = Client::new(&sdk_config(&aws)).get_secret_value().secret_id("s").send().await.expect("read");
    assert_eq!(read.secret_string(), Some("one"));
    let tables = aws_sdk_dynamodb::Client::new(&sdk_config(&aws)).list_tables().send().await.expect("listed");
    assert_eq!(tables.table_names(), ["table"]);
    std::fs::remove_dir_all(&dir).expect("removed");
}

#[tokio::test]
async fn a_state_file_from_before_functions_and_grants_is_still_read() {
    let dir = scratch("earlier");
    let build = || LocalAws::builder().state_dir(&dir).build();
    {
        let aws = build().expect("built");
        let methods = vec![Method::open("/health")];
        aws.create_rest_api(RestApi { id: Some("site".into()), name: "site".into(), stages: Vec::new(), methods });
        let keys = aws_sdk_kms::Client::new(&sdk_config(&aws));
        let create = keys.create_key().key_spec(aws_sdk_kms::types::KeySpec::Hmac256);
        create.key_usage(aws_sdk_kms::types::KeyUsageType::GenerateVerifyMac).send().await.expect("created");
    }
    let file = dir.join("aws.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&file).expect("saved")).expect("JSON");
    let without = |value: &mut Value, members: &[&str]| {
        let value = value.as_object_mut().expect("an object");
        members.iter().for_each(|member| drop(value.remove(*member).expect("a newer member")));
    };
    let services = &mut state["services"];
    without(&mut services["api_gateway"]["apis"]["site"]["methods"][0], &["function"]);
    let keys = services["kms"]["keys"].as_object_mut().expect("keys");
    keys.values_mut().for_each(|key| without(key, &["grants", "signed"]));
    std::fs::write(&file, state.to_string()).expect("written");

    let read = build();

    std::fs::remove_dir_all(&dir).expect("removed");
    assert_eq!(read.expect("read").inspect_kms_keys().len(), 1);
}

#[tokio::test]
async fn a_state_file_that_is_none_is_refused_and_kept() {
    let dir = scratch("broken");
    std::fs::create_dir_all(&dir).expect("created");
    std::fs::write(dir.join("aws.json"), "not this").expect("written");

    let built = LocalAws::builder().state_dir(&dir).build();

    assert!(built.is_err());
    assert_eq!(std::fs::read_to_string(dir.join("aws.json")).expect("still there"), "not this");
    std::fs::remove_dir_all(&dir).expect("removed");
}

async fn create_table(tables: &aws_sdk_dynamodb::Client) {
    use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
    let attribute = AttributeDefinition::builder().attribute_name("pk").attribute_type(ScalarAttributeType::S);
    let key = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash);
    let create = tables.create_table().table_name("table").billing_mode(BillingMode::PayPerRequest);
    let create = create.attribute_definitions(attribute.build().expect("complete"));
    create.key_schema(key.build().expect("complete")).send().await.expect("created");
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("local-aws-tests-{}-{name}", std::process::id()))
}
