//! Which AWS is asked: the embedded one, or another one.
//!
//! `CONFORMANCE_ENDPOINT` is the URL of another: an emulator's, one for all services. Of it, no test knows anything but
//! its answers. A test that needs the embedded AWS itself (its clock, its switches, its data plane, functions in this
//! process) ends there with [`SKIPPED`] as its message, as soon as it asks for it. `against.py` runs the suite so and
//! tells the three kinds apart.
//!
//! | Variable | |
//! |---|---|
//! | `CONFORMANCE_ENDPOINT` | a URL, or `aws` for AWS itself at its own endpoints |
//! | `CONFORMANCE_CA_FILE` | certificates in PEM that the endpoint's is signed by, besides the system's |
//! | `CONFORMANCE_ON_AWS` | `yes`, without which AWS itself is not asked: the tests make and delete secrets, keys and tables by names like `s` |
//! | `AWS_ACCESS_KEY_ID` and so on | whose account; made up where they are not set |
//! | `AWS_REGION` | `eu-west-1` unless set |
//!
//! What a test made in another AWS is deleted when it ends.

use std::env;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_secretsmanager::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use local_aws::LocalAws;
use serde_json::Value;

const ENDPOINT: &str = "CONFORMANCE_ENDPOINT";
const CA_FILE: &str = "CONFORMANCE_CA_FILE";
const ON_AWS: &str = "CONFORMANCE_ON_AWS";
const AWS: &str = "aws";
/// What the message begins with of a test that can't be run against another AWS.
pub const SKIPPED: &str = "SKIPPED";

/// Whether another AWS is asked than the embedded one.
pub fn is_elsewhere() -> bool {
    endpoint().is_some()
}

fn endpoint() -> Option<String> {
    env::var(ENDPOINT).ok().filter(|url| !url.is_empty())
}

/// The AWS that a test asks. Whatever is not an answer to a call is the embedded one's alone.
pub struct Aws {
    embedded: Embedded<LocalAws>,
    made: Arc<Made>,
}

/// Something that only the embedded AWS has, or what is missing elsewhere.
pub struct Embedded<T>(Result<T, &'static str>);

impl<T> Embedded<T> {
    pub fn absent(what: &'static str) -> Self {
        Self(Err(what))
    }
}

impl<T> From<T> for Embedded<T> {
    fn from(value: T) -> Self {
        Self(Ok(value))
    }
}

impl<T> Deref for Embedded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().unwrap_or_else(|what| panic!("{SKIPPED}: needs {what}"))
    }
}

impl Aws {
    pub fn elsewhere() -> Self {
        let what = "the embedded AWS itself: its clock, its switches, its inside or its functions";
        Self { embedded: Embedded::absent(what), made: Arc::default() }
    }

    /// For a test that would meet what others have made, or leave too much behind.
    pub fn must_be_empty(&self) {
        assert!(!is_elsewhere(), "{SKIPPED}: needs an account that holds nothing else");
    }
}

impl From<LocalAws> for Aws {
    fn from(aws: LocalAws) -> Self {
        Self { embedded: aws.into(), made: Arc::default() }
    }
}

impl Deref for Aws {
    type Target = LocalAws;

    fn deref(&self) -> &LocalAws {
        &self.embedded
    }
}

impl Drop for Made {
    /// A test ends, well or not, and with it the last client: what it made elsewhere goes. What it deleted itself is not
    /// there any more.
    fn drop(&mut self) {
        let made = std::mem::take(self.0.get_mut().unwrap_or_else(PoisonError::into_inner));
        if made.is_empty() {
            return;
        }
        // A runtime can't wait for another inside itself.
        let deleting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(delete(&made));
        });
        deleting.join().unwrap_or_default();
    }
}

/// Something that SDK clients can be configured for.
pub trait Reached {
    /// What an SDK client is made from. No call of the embedded AWS is tried twice; others may throttle.
    fn config(&self) -> SdkConfig;
}

pub fn sdk_config(aws: &impl Reached) -> SdkConfig {
    aws.config()
}

impl Reached for LocalAws {
    fn config(&self) -> SdkConfig {
        base(self.region().to_owned(), made_up(), self.http_client(), 1)
    }
}

impl Reached for Aws {
    fn config(&self) -> SdkConfig {
        let Some(endpoint) = endpoint() else { return self.embedded.config() };
        let (client, made) = (http_client(), Arc::clone(&self.made));
        let recording = http_client_fn(move |settings, components| {
            let inner = client.http_connector(settings, components);
            SharedHttpConnector::new(Recording { inner, made: Arc::clone(&made) })
        });
        config_of(&endpoint, recording)
    }
}

fn base(region: String, credentials: Credentials, client: SharedHttpClient, attempts: u32) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(client)
        .retry_config(RetryConfig::standard().with_max_attempts(attempts))
        .build()
}

fn made_up() -> Credentials {
    Credentials::new("AKIDLOCAL", "secret", None, None, "tests")
}

/// The configuration for another AWS.
///
/// # Panics
///
/// For AWS itself, unless `CONFORMANCE_ON_AWS` is `yes`.
fn config_of(endpoint: &str, client: SharedHttpClient) -> SdkConfig {
    let region = env::var("AWS_REGION").unwrap_or_else(|_| "eu-west-1".into());
    let credentials = match (env::var("AWS_ACCESS_KEY_ID"), env::var("AWS_SECRET_ACCESS_KEY")) {
        (Ok(id), Ok(secret)) => Credentials::new(id, secret, env::var("AWS_SESSION_TOKEN").ok(), None, "environment"),
        _ => made_up(),
    };
    let allowed = env::var(ON_AWS).is_ok_and(|said| said == "yes");
    assert!(
        allowed || !is_aws_itself(endpoint),
        "{endpoint} is AWS itself, in which these tests would make and delete resources. To let them, in an account that \
         holds nothing else, set {ON_AWS}=yes"
    );
    let config = base(region, credentials, client, 10);
    if endpoint == AWS { config } else { config.into_builder().endpoint_url(endpoint).build() }
}

/// By its host: AWS's own domains, also those of its endpoints in a VPC.
fn is_aws_itself(endpoint: &str) -> bool {
    let host = endpoint.parse::<http::Uri>().ok().and_then(|url| url.host().map(str::to_ascii_lowercase));
    let host = host.unwrap_or_default();
    let domains = ["amazonaws.com", "amazonaws.com.cn", "api.aws", "amazonaws.eu", "amazon.com"];
    endpoint == AWS
        || domains
            .iter()
            .any(|domain| host == *domain || host.strip_suffix(domain).is_some_and(|sub| sub.ends_with('.')))
}

fn http_client() -> SharedHttpClient {
    let mut trusted = TrustStore::default();
    if let Ok(file) = env::var(CA_FILE) {
        let read = std::fs::read(&file).unwrap_or_else(|error| panic!("{CA_FILE}={file} can't be read: {error}"));
        trusted = trusted.with_pem_certificate(read);
    }
    let tls = TlsContext::builder().with_trust_store(trusted).build().expect("usable certificates");
    let builder = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    builder.tls_context(tls).build_https()
}

/// What one test made elsewhere: what kind of thing, and what names it.
#[derive(Default)]
struct Made(Mutex<Vec<(Kind, String)>>);

#[derive(Clone, Copy)]
enum Kind {
    ApiKey,
    UsagePlan,
    KmsAlias,
    KmsKey,
    Secret,
    Table,
}

impl Made {
    fn note(&self, call: &str, asked: &Value, told: &Value) {
        let (kind, name) = match call {
            "POST /apikeys" if told["ids"].is_array() => (Kind::ApiKey, &told["ids"]),
            "CreateSecret" => (Kind::Secret, &told["ARN"]),
            "CreateKey" => (Kind::KmsKey, &told["KeyMetadata"]["KeyId"]),
            "CreateAlias" => (Kind::KmsAlias, &asked["AliasName"]),
            "CreateTable" => (Kind::Table, &asked["TableName"]),
            "POST /apikeys" => (Kind::ApiKey, &told["id"]),
            "POST /usageplans" => (Kind::UsagePlan, &told["id"]),
            _ => return,
        };
        let names = name.as_array().map_or(std::slice::from_ref(name), Vec::as_slice);
        let names = names.iter().filter_map(Value::as_str).map(|name| (kind, name.to_owned()));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
    }
}

/// Notes what calls through it make.
struct Recording {
    inner: SharedHttpConnector,
    made: Arc<Made>,
}

impl HttpConnector for Recording {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let path = request.uri().parse::<http::Uri>().map(|url| url.path().to_owned()).unwrap_or_default();
        let call = if operation.is_empty() { format!("{} {path}", request.method()) } else { operation };
        let asked = json(request.body().bytes().unwrap_or_default());
        let (answer, made) = (self.inner.call(request), Arc::clone(&self.made));
        HttpConnectorFuture::new(async move {
            let mut response = answer.await?;
            let body = ByteStream::new(response.take_body()).collect().await;
            let body = body.map_err(|error| ConnectorError::io(error.into()))?.into_bytes();
            if response.status().is_success() {
                made.note(&call, &asked, &json(&body));
            }
            *response.body_mut() = SdkBody::from(body);
            Ok(response)
        })
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recording")
    }
}

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

/// As far as they are still there; the newest first, since aliases are of keys.
async fn delete(made: &[(Kind, String)]) {
    let Some(endpoint) = endpoint() else { return };
    let config = config_of(&endpoint, http_client());
    let secrets = aws_sdk_secretsmanager::Client::new(&config);
    let gateway = aws_sdk_apigateway::Client::new(&config);
    let kms = aws_sdk_kms::Client::new(&config);
    let tables = aws_sdk_dynamodb::Client::new(&config);
    for (kind, name) in made.iter().rev() {
        match kind {
            Kind::Secret => {
                drop(secrets.delete_secret().secret_id(name).force_delete_without_recovery(true).send().await);
            }
            Kind::ApiKey => drop(gateway.delete_api_key().api_key(name).send().await),
            Kind::UsagePlan => drop(gateway.delete_usage_plan().usage_plan_id(name).send().await),
            Kind::KmsAlias => drop(kms.delete_alias().alias_name(name).send().await),
            Kind::KmsKey => drop(kms.schedule_key_deletion().key_id(name).pending_window_in_days(7).send().await),
            Kind::Table => drop(tables.delete_table().table_name(name).send().await),
        }
    }
}

/// Embedded: this suite's own guard.
#[test]
fn aws_itself_is_known_by_its_host() {
    for url in ["aws", "https://kms.eu-west-1.amazonaws.com", "https://vpce-1.kms.eu-west-1.vpce.AMAZONAWS.com:443/"] {
        assert!(is_aws_itself(url), "{url}");
    }
    for url in ["https://localhost:9297", "http://127.0.0.1:4566", "https://notamazonaws.com", "http://aws:4566"] {
        assert!(!is_aws_itself(url), "{url}");
    }
}
