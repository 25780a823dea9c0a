//! API Gateway, line by line: API keys, usage plans, usage, tags, limits, and the data plane.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_apigateway::Client;
use aws_sdk_apigateway::error::ProvideErrorMetadata;
use aws_sdk_apigateway::primitives::Blob;
use aws_sdk_apigateway::types::{ApiKeysFormat, ApiStage, Op, PatchOperation};
use aws_sdk_apigateway::types::{QuotaPeriodType, QuotaSettings, ThrottleSettings};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use local_aws::{LocalAws, ManualClock, Method, RestApi};

use super::{Aws, Embedded, at, aws, refused, sdk_config, world};

mod api_keys;
mod data_plane;
mod functions;
mod key_file;
mod limits;
mod tags;
mod usage;
mod usage_plans;

const VALUE: &str = "abcdefghij0123456789ABCD";
const OTHER: &str = "ABCDEFGHIJ0123456789abcd";

/// An AWS with one API, two stages, and no control-plane limits unless a test turns them on.
struct Gateway {
    aws: Aws,
    clock: Embedded<Arc<ManualClock>>,
    client: Client,
    api: Embedded<String>,
}

fn gateway() -> Gateway {
    let (aws, clock) = world();
    let client = Client::new(&sdk_config(&aws));
    if aws::is_elsewhere() {
        return Gateway { aws, clock, client, api: Embedded::absent("an API with a data plane") };
    }
    let api = aws.create_rest_api(RestApi {
        id: None,
        name: "orders".into(),
        stages: vec!["prod".into(), "test".into()],
        methods: vec![
            Method::protected("/ping"),
            Method::open("/health"),
            Method { redirect_to: Some("https://example.com/".into()), ..Method::protected("/moved") },
        ],
    });
    Gateway { aws, clock, client, api: api.into() }
}

impl Gateway {
    /// An enabled key with that value. Answers its id.
    async fn key(&self, name: &str, value: &str) -> String {
        let created = self.client.create_api_key().name(name).value(value).enabled(true);
        id(created.send().await.expect("a key is created").id())
    }

    /// A plan for `prod`. Answers its id.
    async fn plan(&self) -> String {
        self.plan_with("prod", None, None).await
    }

    async fn plan_with(&self, stage: &str, quota: Option<QuotaSettings>, throttle: Option<ThrottleSettings>) -> String {
        let open = ApiStage::builder().api_id(&*self.api).stage(stage).build();
        let created = self.client.create_usage_plan().name("gold").api_stages(open);
        let created = created.set_quota(quota).set_throttle(throttle).send().await;
        id(created.expect("a plan is created").id())
    }

    async fn attach(&self, key: &str, plan: &str) {
        let attached = self.client.create_usage_plan_key().usage_plan_id(plan).key_id(key).key_type("API_KEY");
        attached.send().await.expect("a key is attached");
    }

    async fn enable(&self, key: &str, enabled: bool) {
        let changed = self.client.update_api_key().api_key(key).patch_operations(replace("/enabled", enabled));
        changed.send().await.expect("a key is changed");
    }

    /// The status of a protected method's answer.
    async fn ping(&self, key: &str) -> u16 {
        self.get("/prod/ping", Some(key)).await.0
    }

    /// Status, error type and body.
    async fn get(&self, path: &str, key: Option<&str>) -> (u16, Option<String>, serde_json::Value) {
        let url = format!("https://{}.execute-api.eu-west-1.amazonaws.com{path}", *self.api);
        let mut request = HttpRequest::get(url).expect("a URL");
        if let Some(key) = key {
            request.headers_mut().insert("x-api-key", key.to_owned());
        }
        let response = self.aws.connector().call(request).await.expect("an answer");
        let error = response.headers().get("x-amzn-errortype").map(str::to_owned);
        let body = response.body().bytes().expect("a body in memory");
        (response.status().as_u16(), error, serde_json::from_slice(body).expect("a JSON body"))
    }

    /// What `GetUsage` tells of one key today, `[used, remaining]`.
    async fn usage(&self, plan: &str, key: &str) -> Option<Vec<i64>> {
        let today = self.aws.now().date_naive().to_string();
        self.usage_of(plan, key, &today, &today).await.and_then(|days| days.last().cloned())
    }

    async fn usage_of(&self, plan: &str, key: &str, start: &str, end: &str) -> Option<Vec<Vec<i64>>> {
        let usage = self.client.get_usage().usage_plan_id(plan).key_id(key).start_date(start).end_date(end);
        usage.send().await.expect("usage is told").items()?.get(key).cloned()
    }

    async fn set_remaining(&self, plan: &str, key: &str, remaining: u32) {
        let set = self.client.update_usage().usage_plan_id(plan).key_id(key);
        set.patch_operations(replace("/remaining", remaining)).send().await.expect("usage is updated");
    }

    async fn import(&self, file: &str, fail_on_warnings: bool) -> Result<(Vec<String>, Vec<String>), String> {
        let imported = self.client.import_api_keys().format(ApiKeysFormat::Csv).fail_on_warnings(fail_on_warnings);
        match imported.body(Blob::new(file)).send().await {
            Ok(imported) => Ok((imported.ids().to_vec(), imported.warnings().to_vec())),
            Err(error) => Err(error.message().unwrap_or_default().to_owned()),
        }
    }
}

fn id(id: Option<&str>) -> String {
    id.expect("what is created has an id").to_owned()
}

fn replace(path: &str, value: impl ToString) -> PatchOperation {
    PatchOperation::builder().op(Op::Replace).path(path).value(value.to_string()).build()
}

fn quota(limit: i32, offset: i32, period: QuotaPeriodType) -> Option<QuotaSettings> {
    Some(QuotaSettings::builder().limit(limit).offset(offset).period(period).build())
}

/// The exception of a call that must fail.
fn refusal<T: Debug, E: ProvideErrorMetadata + Debug>(answer: Result<T, E>) -> String {
    refused(answer).0
}

const FORBIDDEN: (u16, Option<&str>) = (403, Some("ForbiddenException"));
