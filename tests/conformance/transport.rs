//! What is the same for all services, and the same AWS over a port.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use local_aws::{AccessKey, CallRecord, LocalAws, Method, RestApi, StateDir, StateError};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Scripted, failure, refused, sdk_config, world};

const KEY: &str = "LOCALKEY";
const SECRET: &str = "of the one who may ask";
const TOKEN: &str = "11111111-1111-1111-1111-111111111111";

/// The AWS over a port, for as long as the answer's second half lives.
pub(super) async fn listen(aws: &LocalAws) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut serving = JoinSet::new();
    serving.spawn(aws.serve(listener, AccessKey { id: KEY.into(), secret: SECRET.into() }));
    (address, serving)
}

/// A client over that port, who signs with that key.
fn over(address: SocketAddr, aws: &LocalAws, id: &str, secret: &str) -> SdkConfig {
    let credentials = SharedCredentialsProvider::new(Credentials::new(id, secret, None, None, "tests"));
    let client = aws_smithy_http_client::Builder::new().build_http();
    let config = sdk_config(aws).into_builder().credentials_provider(credentials).http_client(client);
    config.endpoint_url(format!("http://{address}")).build()
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

/// Embedded: its port.
#[tokio::test]
async fn over_a_port_it_is_the_same_aws_for_whoever_has_its_key() {
    let (aws, _) = world();
    let (address, _serving) = listen(&aws).await;
    let config = over(address, &aws, KEY, SECRET);

    let create = Client::new(&config).create_secret().name("a/b@c").client_request_token(TOKEN).secret_string("one");
    create.send().await.expect("created");
    let gateway = aws_sdk_apigateway::Client::new(&config);
    let key = gateway.create_api_key().name("k").tags("team", "x").send().await.expect("created");
    let arn = format!("arn:aws:apigateway:eu-west-1::/apikeys/{}", key.id().expect("an id"));
    let tags = gateway.get_tags().resource_arn(arn).send().await.expect("a path with an ARN in it is signed, too");
    gateway.get_api_keys().name_query("a b+c&d=ä").limit(5).send().await.expect("and so is a query");
    let who = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await.expect("a form, too");

    let read = Client::new(&sdk_config(&aws)).get_secret_value().secret_id("a/b@c").send().await.expect("read");
    assert_eq!(read.secret_string(), Some("one"));
    assert_eq!((tags.tags().map(|tags| tags["team"].as_str()), who.account()), (Some("x"), Some("123456789012")));
}

/// Secrets Manager's answers are public; that the other services say the same in their protocols is assumed.
///
/// Source: Stack Overflow: <https://stackoverflow.com/questions/70367617>.
#[tokio::test]
async fn over_a_port_nobody_else_is_let_in_and_nothing_is_changed() {
    let (aws, _) = world();
    let (address, _serving) = listen(&aws).await;
    let signed_otherwise =
        [("AKIDOTHER", SECRET, "UnrecognizedClientException"), (KEY, "another", "InvalidSignatureException")];
    for (id, secret, code) in signed_otherwise {
        let config = over(address, &aws, id, secret);
        let create = Client::new(&config).create_secret().name("s").secret_string("one").client_request_token(TOKEN);
        assert_eq!(refused(create.send().await).0, code);
        let keys = aws_sdk_kms::Client::new(&config).create_key().send().await;
        assert_eq!(refused(keys).0, code);
        assert_eq!(refused(aws_sdk_dynamodb::Client::new(&config).list_tables().send().await).0, code);
        let made = aws_sdk_apigateway::Client::new(&config).create_api_key().name("k").send().await;
        let status = made.as_ref().expect_err("refused").raw_response().map(|answer| answer.status().as_u16());
        assert_eq!((status, refused(made).0.as_str()), (Some(403), code));
        let in_query =
            if code == "UnrecognizedClientException" { "InvalidClientTokenId" } else { "SignatureDoesNotMatch" };
        let who = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await;
        assert_eq!(refused(who).0, in_query);
    }
    let unsigned = exchange(address, "localhost", &target("secretsmanager.ListSecrets"), "{}").await;
    assert!(unsigned.starts_with("HTTP/1.1 400") && unsigned.contains("MissingAuthenticationToken"), "{unsigned}");
    let unsigned = exchange(address, "localhost", "GET /apikeys?includeValues=true HTTP/1.1", "").await;
    assert!(unsigned.starts_with("HTTP/1.1 403") && unsigned.contains("MissingAuthenticationToken"), "{unsigned}");

    assert!(aws.inspect_api_keys().is_empty() && aws.inspect_kms_keys().is_empty());
    let listed = Client::new(&sdk_config(&aws)).list_secrets().send().await.expect("listed");
    assert!(listed.secret_list().is_empty());
}

/// A page whose name was made to lead to this machine (DNS rebinding) is told nothing, nor is one of another site.
///
/// Embedded: its port.
#[tokio::test]
async fn over_a_port_only_own_names_are_answered_and_no_page_of_another_site_but_by_the_data_plane() {
    let (aws, _) = world();
    let methods = vec![Method::open("/ping")];
    aws.create_rest_api(RestApi { id: Some("a1".into()), name: "a".into(), stages: vec!["v1".into()], methods });
    let (address, _serving) = listen(&aws).await;
    let control = target("secretsmanager.ListSecrets");
    let ping = "GET /_aws/execute-api/a1/v1/ping HTTP/1.1";
    let from = |head: &str, origin: &str| format!("{head}\r\nOrigin: {origin}");

    for host in ["localhost", "localhost:1234", "127.0.0.1", "[::1]:1234"] {
        let answer = exchange(address, host, &control, "{}").await;
        assert!(answer.contains("MissingAuthenticationToken"), "{host}: {answer}");
        assert!(exchange(address, host, ping, "").await.starts_with("HTTP/1.1 200"), "{host}");
    }
    let own = "a1.execute-api.eu-west-1.amazonaws.com";
    assert!(exchange(address, own, "GET /v1/ping HTTP/1.1", "").await.starts_with("HTTP/1.1 200"));
    for host in ["example.com", "127.0.0.1.example.com", "a1.execute-api.example.com:80", ""] {
        for head in [control.as_str(), ping] {
            let answer = exchange(address, host, head, "{}").await;
            assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("Host"), "{host}: {answer}");
        }
    }
    let absolute = exchange(address, "localhost", "GET http://example.com/ HTTP/1.1", "").await;
    assert!(absolute.starts_with("HTTP/1.1 403") && absolute.contains("Host"), "{absolute}");

    let answer = exchange(address, "localhost", &from(&control, "http://localhost:3000"), "{}").await;
    assert!(answer.contains("MissingAuthenticationToken"), "{answer}");
    for origin in ["http://example.com", "null", "http://localhost.example.com"] {
        let answer = exchange(address, "localhost", &from(&control, origin), "{}").await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("Origin"), "{origin}: {answer}");
        assert!(exchange(address, "localhost", &from(ping, origin), "").await.starts_with("HTTP/1.1 200"), "{origin}");
    }
}

/// Embedded: what it does not model.
#[tokio::test]
async fn an_unknown_operation_parameter_or_service_is_refused_by_name() {
    let (aws, _) = world();
    let ask = async |target: &str, body: &str| {
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST").expect("a method");
        request.set_uri("http://localhost/").expect("a URL");
        request.headers_mut().insert("x-amz-target", target.to_owned());
        let answer = aws.connector().call(request).await.expect("answered");
        let body = answer.body().bytes().expect("a body in memory");
        (answer.status().as_u16(), String::from_utf8_lossy(body).into_owned())
    };

    let (_, unknown) = ask("secretsmanager.GetRandomPassword", "{}").await;
    assert!(unknown.contains("UnknownOperationException") && unknown.contains("GetRandomPassword"), "{unknown}");
    let (_, unknown) = ask("secretsmanager.ListSecrets", r#"{"Colour": 1}"#).await;
    assert!(unknown.contains("ValidationException") && unknown.contains("unknown parameter `Colour`"), "{unknown}");
    let (status, unknown) = ask("AmazonSSM.GetParameter", "{}").await;
    assert!(status == 404 && unknown.contains("does not model POST /"), "{unknown}");
    let (_, malformed) = ask("secretsmanager.ListSecrets", "{").await;
    assert!(malformed.contains("SerializationException"), "{malformed}");
}

/// Embedded: it is one Region.
#[tokio::test]
async fn a_client_of_another_region_is_told_so() {
    let (aws, _) = world();
    let elsewhere = sdk_config(&aws).into_builder().region(aws_config::Region::new("us-east-1")).build();

    let (code, message) = refused(Client::new(&elsewhere).list_secrets().send().await);

    assert_eq!(code, "UnrecognizedClientException");
    assert!(message.contains("eu-west-1"), "{message}");
}

/// Embedded: its account and its caller.
#[tokio::test]
async fn get_caller_identity_tells_the_account() {
    let (aws, _) = world();
    let client = aws_sdk_sts::Client::new(&sdk_config(&aws));
    let who = client.get_caller_identity().send().await.expect("told");
    assert_eq!((who.account(), who.arn()), (Some("123456789012"), Some("arn:aws:iam::123456789012:user/local")));
    let assume = client.assume_role().role_arn("arn:aws:iam::123456789012:role/r").role_session_name("s").send().await;
    assert_eq!(refused(assume).0, "InvalidAction");
}

/// Embedded: what it remembers.
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

/// Embedded: its timers.
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

/// Embedded: its timers.
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

/// Embedded: its functions can be elsewhere.
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

/// Embedded: its state directory.
#[tokio::test]
async fn with_a_state_directory_everything_survives_a_restart() {
    let dir = scratch("state");
    let build = || LocalAws::builder().state_dir(opened(&dir)).build().expect("built");
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

/// Embedded: its state directory.
#[tokio::test]
async fn a_state_file_from_before_functions_and_grants_is_still_read() {
    let dir = scratch("earlier");
    let build = || LocalAws::builder().state_dir(opened(&dir)).build();
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

/// Embedded: its state directory.
#[tokio::test]
async fn a_state_file_that_is_none_is_refused_and_kept() {
    let dir = scratch("broken");
    let state = opened(&dir);
    std::fs::write(dir.join("aws.json"), "not this").expect("written");

    let built = LocalAws::builder().state_dir(state).build();

    assert!(built.is_err());
    assert_eq!(std::fs::read_to_string(dir.join("aws.json")).expect("still there"), "not this");
    std::fs::remove_dir_all(&dir).expect("removed");
}

/// Embedded: its state directory.
#[tokio::test]
async fn a_state_directory_and_all_in_it_is_its_owners_alone() {
    let dir = scratch("modes").join("nested");
    let state = opened(&dir);
    state.write("clock", "now").expect("written");
    std::fs::write(dir.join("dynamodb.sqlite"), "").expect("written");
    std::fs::set_permissions(dir.join("dynamodb.sqlite"), Permissions::from_mode(0o644))
        .expect("as of an earlier version");
    let aws = LocalAws::builder().state_dir(state).build().expect("built");
    let client = Client::new(&sdk_config(&aws));
    client.create_secret().name("s").client_request_token(TOKEN).secret_string("one").send().await.expect("created");
    create_table(&aws_sdk_dynamodb::Client::new(&sdk_config(&aws))).await;

    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> = std::fs::read_dir(&dir).expect("read").map(|file| file.expect("a file").path()).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }

    drop((client, aws));
    std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).expect("opened to others");
    let refused = StateDir::open(&dir).expect_err("others may look in");
    assert!(matches!(refused, StateError::OpenToOthers(_, 0o755)), "{refused}");
    assert_eq!(mode(&dir), 0o755, "it may be a directory that others need");
    std::fs::remove_dir_all(scratch("modes")).expect("removed");
}

/// Embedded: its state directory.
#[tokio::test]
async fn a_state_directory_is_one_process_s_at_a_time() {
    let dir = scratch("shared");
    let first = LocalAws::builder().state_dir(opened(&dir)).build().expect("built");
    let second = StateDir::open(&dir).expect_err("taken");
    assert!(matches!(&second, StateError::InUse(path) if *path == dir), "{second}");
    drop(first);
    StateDir::open(&dir).expect("free again");
    std::fs::remove_dir_all(&dir).expect("removed");
}

pub(super) fn opened(dir: &Path) -> Arc<StateDir> {
    Arc::new(StateDir::open(dir).expect("a directory of one's own"))
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
