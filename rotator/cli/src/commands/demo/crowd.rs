//! Those who use credentials while they rotate, all of them over TCP, each with the cache of a real one.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_kms::Client as Kms;
use aws_sdk_kms::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_secretsmanager::Client as SecretsManager;
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::byte_stream::ByteStream;
use chrono::TimeDelta;
use futures::future::join_all;
use local_aws::AccessKey;
use rotator::ports::Wire;
use serde_json::Value;
use state::Time;
use state::name::CredentialName;

/// Everybody.
pub struct Crowd {
    users: Vec<Box<dyn Users>>,
    net: Net,
}

/// Those who use one credential.
#[async_trait]
pub trait Users: Send {
    /// Which one.
    fn name(&self) -> &CredentialName;

    /// Everybody does once what they do all the time. Answers a line for whatever is worth telling.
    async fn work(&mut self, net: &Net, now: Time) -> Vec<String>;

    /// What they met so far.
    fn tally(&self) -> &Tally;

    /// By whom which version of the secret is used now, where it is worth knowing.
    fn versions(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::new()
    }
}

/// How many calls, messages or tokens were accepted, and which were not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were accepted.
    pub accepted: u64,
    /// Those that were not.
    pub refused: Vec<Refusal>,
}

/// Something that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The Secrets Manager version from which the key came that was used; empty if there was none.
    pub version: String,
    /// When.
    pub at: Time,
}

/// How everybody reaches the AWS and the APIs: over TCP.
pub struct Net {
    secrets: SecretsManager,
    /// For those who sign with a key in KMS.
    pub kms: Kms,
    connection: SharedHttpConnector,
}

/// A secret's value as somebody keeps it in memory. It has no `Debug`: most hold a key.
#[derive(Clone)]
pub struct Held {
    /// The value.
    pub document: Value,
    /// The Secrets Manager version that it is.
    pub version: String,
    read: Time,
}

/// Somebody who reads a secret and goes on with its value for a while.
pub struct Reader {
    /// How that is called.
    pub habit: &'static str,
    cache: TimeDelta,
    /// What was read.
    pub held: Option<Held>,
}

/// An answer over HTTP.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Crowd {
    /// A crowd that finds the AWS at that endpoint, and is let in with that key. Nobody is there yet.
    pub fn new(config: &SdkConfig, endpoint: &str, key: &AccessKey) -> Self {
        let wire = Wire::tls();
        let credentials = Credentials::new(&key.id, &key.secret, None, None, "demo");
        let config = config
            .to_builder()
            .endpoint_url(endpoint)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(wire.http_client())
            .build();
        let connection = SharedHttpConnector::new(wire.fresh());
        Self {
            users: Vec::new(),
            net: Net { secrets: SecretsManager::new(&config), kms: Kms::new(&config), connection },
        }
    }

    /// The users of one more credential.
    pub fn join(&mut self, users: Box<dyn Users>) {
        self.users.push(users);
    }

    /// Everybody works once. Answers what is worth telling.
    pub async fn work(&mut self, now: Time) -> Vec<String> {
        let Self { users, net } = self;
        join_all(users.iter_mut().map(|users| users.work(net, now))).await.concat()
    }

    /// By whom of a credential's users which version of the secret is used now.
    pub fn versions(&self, name: &CredentialName) -> BTreeMap<&'static str, String> {
        self.users.iter().find(|users| users.name() == name).map(|users| users.versions()).unwrap_or_default()
    }

    /// What the users of one credential met, together.
    pub fn tally(&self, name: &CredentialName) -> Tally {
        self.users.iter().find(|users| users.name() == name).map(|users| users.tally().clone()).unwrap_or_default()
    }
}

impl Tally {
    /// Counts one. Gives back whether it was accepted.
    pub fn count(&mut self, accepted: bool, held: Option<&str>, at: Time) -> bool {
        if accepted {
            self.accepted += 1;
        } else {
            self.refused.push(Refusal { version: held.unwrap_or_default().to_owned(), at });
        }
        accepted
    }
}

impl Reader {
    /// One who reads the secret before every use.
    pub fn prompt() -> Self {
        Self::caching("prompt", TimeDelta::zero())
    }

    /// One who goes on with what it read. For no longer than the credential's `rotator:consumer-cache`.
    pub fn caching(habit: &'static str, cache: TimeDelta) -> Self {
        Self { habit, cache, held: None }
    }

    /// From now on it reads the secret before every use.
    pub fn hurry(&mut self) {
        self.cache = TimeDelta::zero();
    }

    /// What it uses now: read again if it is time to. What can't be read leaves it with what it has.
    pub async fn current(&mut self, net: &Net, name: &CredentialName, now: Time) -> Option<&Held> {
        if self.held.as_ref().is_none_or(|held| held.read + self.cache <= now) {
            self.read(net, name, "AWSCURRENT", now).await;
        }
        self.held.as_ref()
    }

    /// Reads the version with that label.
    pub async fn read(&mut self, net: &Net, name: &CredentialName, label: &str, now: Time) {
        let request = net.secrets.get_secret_value().secret_id(name.as_str()).version_stage(label);
        let Ok(found) = request.send().await else { return };
        let document = found.secret_string().and_then(|text| serde_json::from_str(text).ok());
        if let (Some(document), Some(version)) = (document, found.version_id) {
            self.held = Some(Held { document, version, read: now });
        }
    }
}

impl Held {
    /// A text of the value; empty if it has none under that name.
    pub fn text(&self, pointer: &str) -> &str {
        self.document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Net {
    /// `GET`; `None` if there was no answer.
    pub async fn get(&self, url: &str, headers: &[(&'static str, &str)]) -> Option<Answer> {
        let mut request = HttpRequest::get(url).ok()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, (*value).to_owned());
        }
        let answer = self.connection.call(request).await.ok()?;
        let status = answer.status().as_u16();
        let headers = answer.headers().iter().map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        // A connection is used again only once its answer was read to the end.
        let body = ByteStream::new(answer.into_body()).collect().await.ok()?.to_vec();
        Some(Answer { status, headers, body })
    }
}
