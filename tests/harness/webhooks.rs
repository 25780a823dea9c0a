//! Those who send webhooks and those who receive them, each with a cache. A message is signed by aws-lc and verified by
//! `jsonwebtoken`'s HMAC.

use aws_lc_rs::hmac;
use aws_smithy_types::base64;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};

use super::{ACME, Stage};

/// What is sent: for each secret of the sender one signature.
#[derive(Clone, Debug)]
pub struct Message {
    content: String,
    signatures: Vec<String>,
}

/// Whoever has read the secret, to sign or to verify.
#[derive(Clone, Debug)]
pub struct Reader {
    name: String,
    cache: TimeDelta,
    held: Option<(DateTime<Utc>, Value)>,
}

impl Reader {
    /// One that reads the secret each time.
    pub fn prompt() -> Self {
        Self::of(ACME)
    }

    /// One that reads that credential's secret each time.
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), cache: TimeDelta::zero(), held: None }
    }

    /// One that goes on with what it read.
    pub fn caching(cache: TimeDelta) -> Self {
        Self { cache, ..Self::prompt() }
    }

    /// The secrets to use now: the first one to sign with, and during the overlap the other.
    async fn secrets(&mut self, stage: &Stage) -> Vec<Value> {
        let now = stage.clock.now();
        if self.held.as_ref().is_none_or(|(read, _)| *read + self.cache <= now) {
            self.held = Some((now, stage.document(&self.name).await));
        }
        let document = &self.held.as_ref().expect("just read").1;
        let until = document["until"].as_str().map(|until| until.parse::<DateTime<Utc>>().expect("RFC 3339"));
        let also = until.filter(|until| now < *until).map(|_| document["alsoSigning"].clone());
        [Some(document["signing"].clone()), also].into_iter().flatten().collect()
    }

    pub async fn send(&mut self, stage: &Stage) -> Message {
        let secrets = self.secrets(stage).await;
        let content = format!("msg_1.{}.{}", stage.clock.now().timestamp(), json!({ "type": "order.paid" }));
        let signatures = secrets.iter().map(|secret| sign(secret, &content)).collect();
        Message { content, signatures }
    }

    /// Accepts a message that any secret signed which is good now. After a refusal it reads the secret once more.
    pub async fn receive(&mut self, stage: &Stage, message: &Message) -> bool {
        let known = self.secrets(stage).await;
        if known.iter().any(|secret| verifies(secret, message)) {
            return true;
        }
        self.held = None;
        self.secrets(stage).await.iter().any(|secret| verifies(secret, message))
    }

    /// The same by one who does not read again.
    pub async fn accepts(&mut self, stage: &Stage, message: &Message) -> bool {
        self.secrets(stage).await.iter().any(|secret| verifies(secret, message))
    }
}

/// Its bytes, and the hash by which it signs and by which it is verified.
fn key(secret: &Value) -> (Vec<u8>, hmac::Algorithm, Algorithm) {
    let (signs, verifies) = match secret["alg"].as_str() {
        None | Some("HS256") => (hmac::HMAC_SHA256, Algorithm::HS256),
        Some("HS384") => (hmac::HMAC_SHA384, Algorithm::HS384),
        Some("HS512") => (hmac::HMAC_SHA512, Algorithm::HS512),
        Some(other) => panic!("{other} is no HMAC"),
    };
    let text = secret.as_str().map(|text| text.strip_prefix("whsec_").expect("its prefix").to_owned());
    let text = text.unwrap_or_else(|| standard(secret["k"].as_str().expect("k")));
    (base64::decode(text).expect("base64"), signs, verifies)
}

fn sign(secret: &Value, content: &str) -> String {
    let (bytes, hash, _) = key(secret);
    url(&base64::encode(hmac::sign(&hmac::Key::new(hash, &bytes), content.as_bytes())))
}

fn verifies(secret: &Value, message: &Message) -> bool {
    let (bytes, _, algorithm) = key(secret);
    let key = DecodingKey::from_secret(&bytes);
    let verified = |signature: &String| {
        jsonwebtoken::crypto::verify(signature, message.content.as_bytes(), &key, algorithm).expect("verified")
    };
    message.signatures.iter().any(verified)
}

/// Base64 for URLs, without padding, of the standard one; and back.
fn url(text: &str) -> String {
    text.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

fn standard(text: &str) -> String {
    let padding = "=".repeat((4 - text.len() % 4) % 4);
    text.replace('-', "+").replace('_', "/") + &padding
}

/// Senders and receivers at work.
#[derive(Clone, Debug)]
pub struct Post {
    pub senders: Vec<Reader>,
    pub receivers: Vec<Reader>,
}

impl Post {
    /// Prompt ones and ones that cache for an hour, of each.
    pub fn usual() -> Self {
        let both = vec![Reader::prompt(), Reader::caching(TimeDelta::hours(1))];
        Self { senders: both.clone(), receivers: both }
    }

    /// Every sender sends once, to every receiver; none reads the secret again when it refuses a message. The messages
    /// that were refused.
    pub async fn round(&mut self, stage: &Stage) -> Vec<Message> {
        let mut refused = Vec::new();
        for sender in &mut self.senders {
            let message = sender.send(stage).await;
            for receiver in &mut self.receivers {
                if !receiver.accepts(stage, &message).await {
                    refused.push(message.clone());
                }
            }
        }
        refused
    }

    /// Goes on for a while, with retirement's ticks, and expects that no message is refused.
    pub async fn goes_on(&mut self, stage: &Stage, time: TimeDelta, when: &str) {
        let end = stage.clock.now() + time;
        loop {
            let refused = self.round(stage).await.len();
            assert_eq!(refused, 0, "{when}, at {}\n{}", stage.clock.now(), stage.story(ACME).await);
            stage.assert_sound(ACME, when).await;
            if stage.clock.now() >= end {
                return;
            }
            stage.pass(TimeDelta::minutes(10)).await;
        }
    }
}
