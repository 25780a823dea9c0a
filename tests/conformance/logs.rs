//! Access logs, and Logs Insights queries over them.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::operation::get_query_results::GetQueryResultsOutput;
use aws_sdk_cloudwatchlogs::types::{QueryStatus, ResultField};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use local_aws::{ManualClock, Method, RestApi};
use serde_json::{Value, json};

use super::{Aws, Embedded, refused, sdk_config, world};

const GROUP: &str = "orders-access";
const VALUE: &str = "abcdefghij0123456789ABCD";
const LAGGARDS: &str = r#"filter apiKeyId = "KEY" and status = "200"
    | stats count(*) as calls, max(@timestamp) as last by ip, userAgent, httpMethod, path
    | sort calls desc | limit 20"#;

/// An API with an access log, and a key for it.
struct World {
    aws: Aws,
    clock: Embedded<Arc<ManualClock>>,
    logs: Client,
    key: String,
}

async fn logged() -> World {
    let (aws, clock) = world();
    let api = aws.create_rest_api(RestApi {
        id: Some("orders".into()),
        name: "orders".into(),
        stages: vec!["prod".into()],
        methods: vec![Method::protected("/ping"), Method::open("/health")],
    });
    assert!(aws.log_access(&api, GROUP));
    let config = sdk_config(&aws);
    let gateway = aws_sdk_apigateway::Client::new(&config);
    let stage = aws_sdk_apigateway::types::ApiStage::builder().api_id(&api).stage("prod").build();
    let plan = gateway.create_usage_plan().name("gold").api_stages(stage).send().await.expect("created");
    let key = gateway.create_api_key().value(VALUE).enabled(true).send().await.expect("created");
    let key = key.id().expect("an id").to_owned();
    let attach = gateway.create_usage_plan_key().usage_plan_id(plan.id().expect("an id")).key_id(&key);
    attach.key_type("API_KEY").send().await.expect("attached");
    World { logs: Client::new(&config), aws, clock, key }
}

impl World {
    async fn call(&self, path: &str, key: Option<&str>, from: &str, agent: &str) -> u16 {
        let url = format!("https://orders.execute-api.eu-west-1.amazonaws.com{path}");
        let mut request = HttpRequest::get(url).expect("a URL");
        for (name, value) in [("x-api-key", key), ("x-forwarded-for", Some(from)), ("user-agent", Some(agent))] {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.to_owned());
            }
        }
        self.aws.connector().call(request).await.expect("an answer").status().as_u16()
    }

    async fn start(&self, query: &str) -> String {
        let now = self.aws.now().timestamp();
        let start = self.logs.start_query().log_group_name(GROUP).start_time(now - 3600).end_time(now);
        start.query_string(query).send().await.expect("started").query_id.expect("an id")
    }

    async fn results(&self, id: &str) -> GetQueryResultsOutput {
        self.logs.get_query_results().query_id(id).send().await.expect("told")
    }

    /// The rows of a query that is complete at once, as `field=value`.
    async fn rows(&self, query: &str) -> Vec<Vec<String>> {
        let answer = self.results(&self.start(query).await).await;
        assert_eq!(answer.status(), Some(&QueryStatus::Complete));
        let shown = |field: &ResultField| {
            format!("{}={}", field.field().unwrap_or_default(), field.value().unwrap_or_default())
        };
        answer.results().iter().map(|row| row.iter().map(shown).collect()).collect()
    }
}

/// Embedded: an access log has the format that its owner gave it.
#[tokio::test]
async fn each_request_to_a_stage_is_one_line_without_the_key_s_value() {
    let world = logged().await;
    assert_eq!(world.call("/prod/ping", Some(VALUE), "203.0.113.7, 10.0.0.1", "curl/8 \"x\"").await, 200);
    assert_eq!(world.call("/prod/health", Some(VALUE), "not an address", "").await, 200);
    assert_eq!(world.call("/prod/ping", Some("madeup0123456789012345"), "203.0.113.7", "curl/8").await, 403);
    assert_eq!(world.call("/nosuch/ping", Some(VALUE), "203.0.113.7", "curl/8").await, 403);

    let lines = world.rows("fields @message").await;

    let told: Vec<Value> = lines
        .iter()
        .map(|row| serde_json::from_str(row[0].strip_prefix("@message=").expect("a message")).expect("JSON"))
        .collect();
    assert_eq!(told.len(), 3, "a stage that is not there has no log");
    assert_eq!(
        told[2],
        json!({
            "requestTime": "02/Mar/2026:10:30:00 +0000",
            "apiKeyId": world.key,
            "ip": "203.0.113.7",
            "userAgent": "curl/8 \"x\"",
            "httpMethod": "GET",
            "path": "/prod/ping",
            "status": "200",
        })
    );
    assert_eq!((&told[1]["apiKeyId"], &told[1]["ip"]), (&json!("-"), &json!("127.0.0.1")), "it asks for no key");
    assert_eq!((&told[0]["apiKeyId"], &told[0]["status"]), (&json!("-"), &json!("403")));
    assert!(!format!("{lines:?}").contains(VALUE));
}

/// Assumed: AWS tells of the id only that it is that of a request which requires a key.
#[tokio::test]
async fn a_disabled_key_is_still_named() {
    let world = logged().await;
    let gateway = aws_sdk_apigateway::Client::new(&sdk_config(&world.aws));
    let off = aws_sdk_apigateway::types::PatchOperation::builder().op(aws_sdk_apigateway::types::Op::Replace);
    let off =
        gateway.update_api_key().api_key(&world.key).patch_operations(off.path("/enabled").value("false").build());
    off.send().await.expect("disabled");
    assert_eq!(world.call("/prod/ping", Some(VALUE), "203.0.113.7", "curl/8").await, 403);
    assert_eq!(world.rows("fields apiKeyId, status").await, [[format!("apiKeyId={}", world.key), "status=403".into()]]);
}

/// Source: AWS: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html>.
#[tokio::test]
async fn a_query_names_who_uses_a_key_how_often_and_when_last() {
    let world = logged().await;
    for (times, from, agent) in [(1, "203.0.113.7", "curl/8"), (3, "198.51.100.9", "billing, nightly | v1")] {
        for _ in 0..times {
            world.clock.advance(Duration::from_millis(1500));
            assert_eq!(world.call("/prod/ping", Some(VALUE), from, agent).await, 200);
        }
    }
    world.call("/prod/ping", Some("madeup0123456789012345"), "192.0.2.1", "curl/8").await;

    let rows = world.rows(&LAGGARDS.replace("KEY", &world.key)).await;

    assert_eq!(
        rows,
        [
            [
                "ip=198.51.100.9",
                "userAgent=billing, nightly | v1",
                "httpMethod=GET",
                "path=/prod/ping",
                "calls=3",
                "last=2026-03-02 10:30:06.000"
            ],
            [
                "ip=203.0.113.7",
                "userAgent=curl/8",
                "httpMethod=GET",
                "path=/prod/ping",
                "calls=1",
                "last=2026-03-02 10:30:01.500"
            ],
        ]
    );
    assert_eq!(world.rows(&LAGGARDS.replace("KEY", "nosuchkey0")).await, [[""; 0]; 0]);
}

/// Assumed: AWS's pages have no example that compares a number with its digits as text.
#[tokio::test]
async fn conditions_compare_text_numbers_and_lists() {
    let world = logged().await;
    world.call("/prod/ping", Some(VALUE), "203.0.113.7", "one").await;
    world.call("/prod/ping", None, "203.0.113.8", "two").await;
    for (filter, agents) in [
        (r#"status = "403""#, vec!["two"]),
        ("status = 403", vec!["two"]),
        ("status != 403", vec!["one"]),
        ("`status` in [200, '403']", vec!["two", "one"]),
        (r#"ip in ["203.0.113.7"] and status = 403"#, vec![]),
        (r#"nosuch != "x""#, vec![]),
        (r#"status = "4e2""#, vec![]),
    ] {
        let expected: Vec<_> = agents.iter().map(|agent| vec![format!("userAgent={agent}")]).collect();
        assert_eq!(world.rows(&format!("filter {filter} | fields userAgent")).await, expected, "{filter}");
    }
    let rows = world.rows("stats count(*), min(status), max(status) by httpMethod").await;
    assert_eq!(rows, [["httpMethod=GET", "count(*)=2", "min(status)=200", "max(status)=403"]]);
    let rows = world.rows("sort status asc | limit 1 | fields status").await;
    assert_eq!(rows, [["status=200"]]);
}

/// Embedded: what it does not model.
#[tokio::test]
async fn what_is_not_modelled_of_the_language_is_a_malformed_query() {
    let world = logged().await;
    for query in [
        "",
        "parse @message '*' as x",
        "filter status like /4/",
        "filter status = 403 or status = 429",
        "filter status =",
        r#"filter status = "403"#,
        "stats avg(status)",
        "stats count(*) by bin(5m)",
        "limit 0",
        "fields status |",
    ] {
        let start = world.logs.start_query().log_group_name(GROUP).start_time(0).end_time(1).query_string(query);
        assert_eq!(refused(start.send().await).0, "MalformedQueryException", "{query}");
    }
}

/// Embedded: a switch.
#[tokio::test]
async fn by_a_switch_a_query_is_running_at_first_and_lines_come_late() {
    let world = logged().await;
    world.aws.settings(|settings| {
        settings.log_query_polls = 1;
        settings.log_lag = Duration::from_secs(60);
    });
    world.call("/prod/ping", Some(VALUE), "203.0.113.7", "curl/8").await;
    world.clock.advance(Duration::from_secs(59));
    for found in [0, 1] {
        let id = world.start("fields ip").await;
        let answer = world.results(&id).await;
        assert_eq!((answer.status(), answer.results().len()), (Some(&QueryStatus::Running), 0));
        let answer = world.results(&id).await;
        assert_eq!((answer.status(), answer.results().len()), (Some(&QueryStatus::Complete), found));
        assert_eq!(answer.statistics().map(|told| told.records_matched()), Some(f64::from(found as u32)));
        world.clock.advance(Duration::from_secs(1));
    }
}

/// Source: AWS: <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartQuery.html>.
#[tokio::test]
async fn a_query_covers_its_groups_and_both_ends_of_its_time() {
    let world = logged().await;
    world.call("/prod/ping", Some(VALUE), "203.0.113.7", "curl/8").await;
    let at = world.aws.now().timestamp();
    let arn = format!("arn:aws:logs:eu-west-1:123456789012:log-group:{GROUP}");
    for (start, end, found) in [(at, at, 1), (at + 1, at + 9, 0), (at - 9, at - 1, 0)] {
        let query = world.logs.start_query().log_group_identifiers(&arn).start_time(start).end_time(end);
        let started = query.query_string("fields ip").limit(10).send().await.expect("started");
        let answer = world.results(started.query_id().expect("an id")).await;
        assert_eq!(answer.results().len(), found, "{start} to {end}");
    }
}

/// Source: AWS: <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartQuery.html>.
#[tokio::test]
async fn unknown_groups_queries_and_operations_are_refused() {
    let world = logged().await;
    let start = world.logs.start_query().start_time(0).end_time(1).query_string("fields ip");
    let unknown = start.clone().log_group_name("nosuch").send().await;
    assert_eq!(refused(unknown).0, "ResourceNotFoundException");
    assert_eq!(refused(start.clone().send().await).0, "InvalidParameterException", "no group at all");
    let twice = start.log_group_name(GROUP).log_group_names(GROUP).send().await;
    assert_eq!(refused(twice).0, "InvalidParameterException");
    let unknown = world.logs.get_query_results().query_id("nosuch").send().await;
    assert_eq!(refused(unknown).0, "ResourceNotFoundException");
    let (code, message) = refused(world.logs.describe_log_groups().send().await);
    assert_eq!(code, "UnknownOperationException");
    assert!(message.contains("DescribeLogGroups"), "{message}");
    assert!(!world.aws.log_access("nosuch", GROUP));
}
