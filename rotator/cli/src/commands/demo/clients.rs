//! Simulated clients: each calls the API with a key from its secret, over TCP, in its own way of reading it.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client as SecretsManager;
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::byte_stream::ByteStream;
use chrono::TimeDelta;
use futures::future::join_all;
use rotator::ports::Wire;
use rotator::secret::SecretValue;
use serde_json::Value;
use state::Time;
use state::name::CredentialName;

use super::stage::line;
use crate::sample::PATH;

/// How a client reads its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Before every call.
    Prompt,
    /// Every six hours, whatever happens.
    Late,
    /// Every twelve hours, and when it is refused: `AWSCURRENT` again, then `AWSPREVIOUS` once.
    Fallback,
}

impl Habit {
    const ALL: [Self; 3] = [Self::Prompt, Self::Late, Self::Fallback];

    fn word(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Late => "late",
            Self::Fallback => "fallback",
        }
    }

    /// For how long it goes on with what it read. Never longer than the credential's `rotator:consumer-cache`.
    fn cache(self) -> TimeDelta {
        match self {
            Self::Prompt => TimeDelta::zero(),
            Self::Late => TimeDelta::hours(6),
            Self::Fallback => TimeDelta::hours(12),
        }
    }
}

/// The clients of several credentials: one of each habit for each.
pub struct Crowd {
    clients: Vec<Client>,
    net: Net,
}

/// What the clients of one credential met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that were made, each one HTTP request.
    pub calls: u64,
    /// Those that were not answered with 200, by the id of the Secrets Manager version that the key came from.
    pub refused: BTreeMap<String, u64>,
}

struct Client {
    name: CredentialName,
    habit: Habit,
    held: Option<Held>,
    /// Whether its last call was refused.
    shut_out: bool,
    tally: Tally,
}

/// What a client keeps in memory.
struct Held {
    key: SecretValue,
    endpoint: String,
    version: String,
    read: Time,
}

struct Net {
    secrets: SecretsManager,
    connection: SharedHttpConnector,
}

impl Crowd {
    /// Clients that read their secrets with that configuration. Nobody calls yet.
    pub fn new(config: &SdkConfig) -> Self {
        let connection = SharedHttpConnector::new(Wire::tls().fresh());
        Self { clients: Vec::new(), net: Net { secrets: SecretsManager::new(config), connection } }
    }

    /// The clients of one more credential.
    pub fn join(&mut self, name: &CredentialName) {
        let client = |habit| Client { name: name.clone(), habit, held: None, shut_out: false, tally: Tally::default() };
        self.clients.extend(Habit::ALL.map(client));
    }

    /// Everybody calls once. Answers a line for each that is refused for the first time, or gets through again.
    pub async fn call(&mut self, now: Time) -> Vec<String> {
        let Self { clients, net } = self;
        let told = join_all(clients.iter_mut().map(|client| client.call(net, now))).await;
        told.into_iter().flatten().collect()
    }

    /// What the clients of one credential met, together.
    pub fn tally(&self, name: &CredentialName) -> Tally {
        let mut sum = Tally::default();
        for client in self.clients.iter().filter(|client| client.name == *name) {
            sum.calls += client.tally.calls;
            for (version, count) in &client.tally.refused {
                *sum.refused.entry(version.clone()).or_default() += count;
            }
        }
        sum
    }
}

impl Client {
    async fn call(&mut self, net: &Net, now: Time) -> Option<String> {
        if self.held.as_ref().is_none_or(|held| held.read + self.habit.cache() <= now) {
            self.read(net, "AWSCURRENT", now).await;
        }
        let through = self.got_through(net).await;
        let was_shut_out = std::mem::replace(&mut self.shut_out, !through);
        match (through, self.habit) {
            (true, _) => was_shut_out.then(|| self.said("has read the new key, gets through again")),
            (false, _) if was_shut_out => None,
            (false, Habit::Prompt) => Some(self.said("403")),
            (false, Habit::Late) => Some(self.said("403, keeps the old key until it reads again")),
            (false, Habit::Fallback) => {
                for label in ["AWSCURRENT", "AWSPREVIOUS"] {
                    self.read(net, label, now).await;
                    if self.got_through(net).await {
                        self.shut_out = false;
                        return Some(self.said(&format!("403, read {label}, got through")));
                    }
                }
                Some(self.said("403 with AWSCURRENT and AWSPREVIOUS"))
            }
        }
    }

    fn said(&self, what: &str) -> String {
        line("call", &self.name, &format!("client {}: {what}", self.habit.word()))
    }

    async fn got_through(&mut self, net: &Net) -> bool {
        self.tally.calls += 1;
        let Some(held) = &self.held else {
            *self.tally.refused.entry("none".into()).or_default() += 1;
            return false;
        };
        let through = net.get(held).await == Some(200);
        if !through {
            *self.tally.refused.entry(held.version.clone()).or_default() += 1;
        }
        through
    }

    /// What can't be read leaves the client with what it has.
    async fn read(&mut self, net: &Net, label: &str, now: Time) {
        let name = self.name.as_str();
        let Ok(found) = net.secrets.get_secret_value().secret_id(name).version_stage(label).send().await else {
            return;
        };
        let document: Value =
            found.secret_string().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let text = |field: &str| document[field].as_str().map(str::to_owned);
        if let (Some(key), Some(endpoint), Some(version)) = (text("apiKey"), text("endpoint"), found.version_id) {
            self.held = Some(Held { key: SecretValue::new(key), endpoint, version, read: now });
        }
    }
}

impl Net {
    async fn get(&self, held: &Held) -> Option<u16> {
        let mut request = HttpRequest::get(format!("{}/{PATH}", held.endpoint)).ok()?;
        request.headers_mut().insert("x-api-key", held.key.expose().to_owned());
        let response = self.connection.call(request).await.ok()?;
        let status = response.status().as_u16();
        // A connection is used again only once its answer was read to the end.
        ByteStream::new(response.into_body()).collect().await.ok()?;
        Some(status)
    }
}
