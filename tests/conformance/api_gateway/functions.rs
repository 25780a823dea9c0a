//! Methods that hand requests to a function by Lambda proxy integration.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use local_aws::{Function, FunctionError};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::failure;
use super::super::transport::{exchange, listen};
use super::*;

/// A function that answers every event with the same, and remembers the events.
struct Site {
    answer: Result<Value, FunctionError>,
    events: Mutex<Vec<Value>>,
    /// Looked into while the function runs.
    aws: LocalAws,
}

impl Site {
    fn event(&self) -> Value {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop().expect("the function was invoked")
    }
}

#[async_trait]
impl Function for Site {
    async fn invoke(&self, event: Value) -> Result<Value, FunctionError> {
        // Would wait forever if the world were locked.
        self.aws.inspect_api_keys();
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        self.answer.clone()
    }
}

/// The API `site` with the stage `v1`, whose paths under `/jwks/` and whose `/about` are the function's.
fn site(answer: Result<Value, FunctionError>) -> (Aws, Arc<Site>) {
    let (aws, _) = world();
    aws.create_rest_api(RestApi {
        id: Some("site".into()),
        name: "site".into(),
        stages: vec!["v1".into()],
        methods: vec![
            Method::function("/jwks/{proxy+}", "site"),
            Method::function("/about", "site"),
            Method::open("/jwks/health"),
            Method { api_key_required: true, ..Method::function("/private", "site") },
        ],
    });
    let site = Arc::new(Site { answer, events: Mutex::default(), aws: aws.clone() });
    aws.register("site", site.clone());
    (aws, site)
}

fn ok() -> Result<Value, FunctionError> {
    Ok(json!({ "statusCode": 200, "headers": {}, "body": "{}" }))
}

/// One `GET`, without a port.
async fn get(aws: &LocalAws, path: &str) -> http::Response<String> {
    let url = format!("https://site.execute-api.eu-west-1.amazonaws.com{path}");
    let mut request = HttpRequest::get(url).expect("a URL");
    request.headers_mut().insert("if-none-match", "\"1\"");
    request.headers_mut().append("x-twice", "one");
    request.headers_mut().append("x-twice", "two");
    let response = aws.connector().call(request).await.expect("an answer");
    let mut answer = http::Response::builder().status(response.status().as_u16());
    for (name, value) in response.headers() {
        answer = answer.header(name, value);
    }
    let body = response.body().bytes().expect("a body in memory");
    answer.body(String::from_utf8_lossy(body).into_owned()).expect("a response")
}

fn header<'r>(response: &'r http::Response<String>, name: &str) -> Option<&'r str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// AWS passes the names of headers on as they came; here they are in lower case.
///
/// Source: LocalStack: test_lambda_aws_proxy_integration, 2024-08-02.
#[tokio::test]
async fn a_function_gets_the_event_of_a_rest_api_in_payload_format_1_0() {
    let (aws, site) = site(ok());
    get(&aws, "/v1/jwks/team/orders?a=1&a=two%20words").await;
    let mut event = site.event();
    let request_id = event["requestContext"]["requestId"].take();
    assert!(request_id.as_str().is_some_and(|id| !id.is_empty()));
    let domain = "site.execute-api.eu-west-1.amazonaws.com";
    assert_eq!(
        event,
        json!({
            "resource": "/jwks/{proxy+}",
            "path": "/jwks/team/orders",
            "httpMethod": "GET",
            "headers": { "host": domain, "if-none-match": "\"1\"", "x-twice": "two" },
            "multiValueHeaders": { "host": [domain], "if-none-match": ["\"1\""], "x-twice": ["one", "two"] },
            "queryStringParameters": { "a": "two words" },
            "multiValueQueryStringParameters": { "a": ["1", "two words"] },
            "pathParameters": { "proxy": "team/orders" },
            "stageVariables": null,
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "site",
                "domainName": domain,
                "domainPrefix": "site",
                "httpMethod": "GET",
                "identity": { "sourceIp": "127.0.0.1", "userAgent": null },
                "path": "/v1/jwks/team/orders",
                "protocol": "HTTP/1.1",
                "requestId": null,
                "requestTime": "02/Mar/2026:10:30:00 +0000",
                "requestTimeEpoch": aws.now().timestamp_millis(),
                "resourcePath": "/jwks/{proxy+}",
                "stage": "v1",
            },
            "body": null,
            "isBase64Encoded": false,
        })
    );

    get(&aws, "/v1/about").await;
    let event = site.event();
    assert_eq!((&event["resource"], &event["path"]), (&json!("/about"), &json!("/about")));
    assert!(event["pathParameters"].is_null() && event["queryStringParameters"].is_null(), "{event}");
}

/// Source: LocalStack: test_lambda_aws_proxy_integration, 2024-08-02.
#[tokio::test]
async fn the_path_and_its_parameters_reach_a_function_percent_encoded_as_they_came() {
    let (aws, site) = site(ok());
    get(&aws, "/v1/jwks/team%2Forders/%C3%A4%20b").await;
    let event = site.event();
    assert_eq!(event["path"], "/jwks/team%2Forders/%C3%A4%20b");
    assert_eq!(event["requestContext"]["path"], "/v1/jwks/team%2Forders/%C3%A4%20b");
    assert_eq!(event["pathParameters"]["proxy"], "team%2Forders/%C3%A4%20b");
}

/// A slash at the end reaches the function in the path alone.
///
/// Source: LocalStack: test_lambda_aws_proxy_integration, 2024-08-02.
#[tokio::test]
async fn a_greedy_variable_stands_for_something_and_an_exact_path_goes_before_it() {
    let (aws, site) = site(Ok(json!({ "statusCode": 201 })));
    assert_eq!(get(&aws, "/v1/jwks/a/b/c").await.status(), 201);
    assert_eq!(site.event()["pathParameters"]["proxy"], "a/b/c");
    assert_eq!(get(&aws, "/v1/jwks/a//b/").await.status(), 201);
    let event = site.event();
    assert_eq!((&event["path"], &event["pathParameters"]["proxy"]), (&json!("/jwks/a//b/"), &json!("a//b")));
    for path in ["/v1/jwks", "/v1/jwks/", "/v1/jwksx/a", "/v1/about/a"] {
        let answer = get(&aws, path).await;
        assert_eq!(header(&answer, "x-amzn-errortype"), Some("MissingAuthenticationTokenException"), "{path}");
    }
    assert_eq!(get(&aws, "/v1/jwks/health").await.status(), 200, "another method's");
    assert_eq!(get(&aws, "/v1/private").await.status(), 403, "a function's method may ask for a key");
    assert!(site.events.lock().unwrap().is_empty());
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html>.
#[tokio::test]
async fn a_functions_answer_becomes_the_http_answer() {
    let (aws, _) = site(Ok(json!({
        "statusCode": 200,
        "headers": { "ETag": "\"2\"", "Cache-Control": "max-age=300", "Content-Type": "application/jwk-set+json", "Age": 7 },
        "multiValueHeaders": { "Set-Cookie": ["a=1", "b=2"], "ETag": ["\"2\""] },
        "body": "{\"keys\":[]}",
        "isBase64Encoded": false,
    })));
    let answer = get(&aws, "/v1/jwks/orders").await;
    assert_eq!((answer.status().as_u16(), answer.body().as_str()), (200, "{\"keys\":[]}"));
    assert_eq!(header(&answer, "etag"), Some("\"2\""));
    assert_eq!(answer.headers().get_all("etag").iter().count(), 1, "told twice, sent once");
    assert_eq!(header(&answer, "cache-control"), Some("max-age=300"));
    assert_eq!(header(&answer, "content-type"), Some("application/jwk-set+json"));
    assert_eq!(header(&answer, "age"), Some("7"));
    assert_eq!(answer.headers().get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    let call = aws.requests().pop().unwrap();
    assert_eq!((call.service, &*call.operation, call.status), ("execute-api", "GET /v1/jwks/orders", 200));
}

/// Of a value that is told in both members the list's stands first.
///
/// Source: LocalStack: test_aws_proxy_response_payload_format_validation, 2024-11-15.
#[tokio::test]
async fn a_status_may_be_digits_or_missing_a_header_true_and_of_both_kinds_of_headers_the_lists_come_first() {
    for (given, status) in [
        (json!({ "statusCode": "201" }), 201),
        (json!({ "headers": { "x": "y" } }), 200),
        (json!({ "statusCode": 200, "headers": null }), 200),
    ] {
        let (aws, _) = site(Ok(given.clone()));
        let answer = get(&aws, "/v1/about").await;
        assert_eq!((answer.status().as_u16(), answer.body().as_str()), (status, ""), "{given}");
    }
    let (aws, _) = site(Ok(json!({
        "statusCode": 200,
        "headers": { "test-multi": "solo", "header-bool": true },
        "multiValueHeaders": { "tesT-Multi": ["multi"] },
    })));
    let answer = get(&aws, "/v1/about").await;
    assert_eq!(header(&answer, "header-bool"), Some("true"));
    assert_eq!(answer.headers().get_all("test-multi").iter().collect::<Vec<_>>(), ["multi", "solo"]);
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html>.
#[tokio::test]
async fn the_content_type_is_json_unless_a_function_says_otherwise_and_some_headers_are_remapped_or_dropped() {
    let headers = json!({ "Date": "yesterday", "WWW-Authenticate": "Bearer", "Content-Length": "99", "Via": "x" });
    let (aws, _) = site(Ok(json!({ "statusCode": 401, "headers": headers, "body": "no" })));
    let answer = get(&aws, "/v1/about").await;
    assert_eq!((answer.status().as_u16(), answer.body().as_str()), (401, "no"));
    assert_eq!(header(&answer, "content-type"), Some("application/json"));
    assert_eq!(header(&answer, "x-amzn-remapped-date"), Some("yesterday"));
    assert_eq!(header(&answer, "date"), Some("Mon, 02 Mar 2026 10:30:00 GMT"));
    assert_eq!(header(&answer, "x-amzn-remapped-www-authenticate"), Some("Bearer"));
    for gone in ["www-authenticate", "content-length", "via"] {
        assert_eq!(header(&answer, gone), None, "{gone}");
    }
}

/// Source: LocalStack: test_aws_proxy_response_payload_format_validation, 2024-11-15.
#[tokio::test]
async fn a_failed_function_and_a_malformed_answer_are_an_internal_server_error_502() {
    for answer in [
        Err(failure()),
        Ok(json!(null)),
        Ok(json!("hello")),
        Ok(json!({})),
        Ok(json!({ "statusCode": 99 })),
        Ok(json!({ "statusCode": "test" })),
        Ok(json!({ "statusCode": 200, "multiValueHeaders": { "x": "y" } })),
        Ok(json!({ "statusCode": 200, "body": { "not": "text" } })),
        Ok(json!({ "statusCode": 200, "headers": { "x": ["y"] } })),
        Ok(json!({ "statusCode": 200, "headers": { "a b": "c" } })),
        Ok(json!({ "statusCode": 200, "cookies": [] })),
    ] {
        let (aws, _) = site(answer.clone());
        let given = get(&aws, "/v1/about").await;
        assert_eq!(given.status(), 502, "{answer:?}");
        assert_eq!(header(&given, "x-amzn-errortype"), Some("InternalServerErrorException"), "{answer:?}");
        assert_eq!(given.body(), r#"{"message":"Internal server error"}"#, "{answer:?}");
    }
    let (aws, _) = site(ok());
    aws.create_rest_api(RestApi {
        id: Some("site".into()),
        name: "site".into(),
        stages: vec!["v1".into()],
        methods: vec![Method::function("/about", "nosuch")],
    });
    assert_eq!(get(&aws, "/v1/about").await.status(), 502, "there is no such function");
}

/// Source: LocalStack: test_aws_proxy_response_payload_format_validation, 2024-11-15.
#[tokio::test]
async fn without_binary_media_types_a_base64_body_reaches_the_client_as_it_is() {
    let (aws, _) = site(Ok(json!({ "statusCode": 200, "body": "aGVsbG8=", "isBase64Encoded": true })));
    assert_eq!(get(&aws, "/v1/about").await.body(), "aGVsbG8=");
}

/// Assumed: HTTP gives such an answer no content, whatever a function says.
#[tokio::test]
async fn a_304_has_no_content_in_process_and_over_a_port() {
    for body in [json!(null), json!(""), json!("left over")] {
        let headers = json!({ "ETag": "\"1\"", "Cache-Control": "max-age=300" });
        let (aws, _) = site(Ok(json!({ "statusCode": 304, "headers": headers, "body": body })));
        let answer = get(&aws, "/v1/jwks/orders").await;
        assert_eq!((answer.status().as_u16(), answer.body().as_str()), (304, ""));
        assert_eq!(header(&answer, "etag"), Some("\"1\""));

        let (address, _serving) = listen(&aws).await;
        let path = "GET /_aws/execute-api/site/v1/jwks/orders HTTP/1.1";
        let answer = exchange(address, &address.to_string(), path, "").await;
        let (head, rest) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 304") && head.contains("cache-control: max-age=300"), "{head}");
        assert!(rest.is_empty() && !head.contains("content-length: 9"), "{answer}");
    }
}

/// Embedded: the path is its own.
#[tokio::test]
async fn over_a_port_a_function_answers_by_host_and_by_path() {
    let (aws, site) = site(ok());
    let (address, _serving) = listen(&aws).await;
    for (host, path) in [
        ("site.execute-api.localhost:4566".to_owned(), "/v1/jwks/a%2Fb?x=1"),
        (address.to_string(), "/_aws/execute-api/site/v1/jwks/a%2Fb?x=1"),
    ] {
        let answer = exchange(address, &host, &format!("GET {path} HTTP/1.1\r\nIf-None-Match: \"1\""), "").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n{}"), "{answer}");
        let event = site.event();
        assert_eq!((&event["path"], &event["pathParameters"]["proxy"]), (&json!("/jwks/a%2Fb"), &json!("a%2Fb")));
        assert_eq!(
            (&event["requestContext"]["path"], &event["requestContext"]["stage"]),
            (&json!("/v1/jwks/a%2Fb"), &json!("v1"))
        );
        assert_eq!(event["headers"]["if-none-match"], "\"1\"");
        assert_eq!(event["headers"]["connection"], Value::Null, "a connection's own");
        assert_eq!(event["queryStringParameters"], json!({ "x": "1" }));
    }
}

/// Embedded: its functions can be elsewhere.
#[tokio::test]
async fn a_function_behind_an_endpoint_answers_too() {
    let (aws, site) = site(Err(failure()));
    let endpoint = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", endpoint.local_addr().expect("bound"));
    aws.lambda_endpoint(url.parse().expect("a URL"));
    let answering = async {
        let (mut stream, _) = endpoint.accept().await.expect("a caller");
        let mut request = vec![0; 8192];
        let length = stream.read(&mut request).await.expect("a request");
        let body = json!({ "statusCode": 202, "body": "from afar" }).to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.expect("answered");
        String::from_utf8_lossy(&request[..length]).into_owned()
    };
    let (answer, request) = tokio::join!(get(&aws, "/v1/about"), answering);
    assert_eq!((answer.status().as_u16(), answer.body().as_str()), (202, "from afar"));
    assert!(request.starts_with("POST /2015-03-31/functions/site/invocations HTTP/1.1"), "{request}");
    assert!(site.events.lock().unwrap().is_empty(), "not the registered one");
}
