//! Simulated senders and receivers of webhooks, in the form of Standard Webhooks. A sender signs with aws-lc, a receiver
//! verifies with `jsonwebtoken`: no library checks its own work.

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use state::Time;
use state::name::CredentialName;

use super::crowd::{Held, Net, Reader, Tally, Users};
use super::stage::line;

/// Those who share one webhook secret: of senders and of receivers each one that reads it for every message, and one
/// that goes on with it for six hours.
pub struct Post {
    name: CredentialName,
    senders: Vec<Reader>,
    receivers: Vec<Reader>,
    tally: Tally,
    /// By which receiver a message was refused last, and with which version it was signed.
    told: Vec<(&'static str, String)>,
}

/// A webhook with the headers that Standard Webhooks wants.
struct Message {
    id: String,
    timestamp: i64,
    body: String,
    /// One signature for each secret, with a space between two.
    signatures: String,
}

/// How far a message's time may be from a receiver's clock: what the libraries of Standard Webhooks allow.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

impl Post {
    /// Senders and receivers with that secret.
    pub fn of(name: &CredentialName) -> Box<Self> {
        let both = || vec![Reader::prompt(), Reader::caching("caching", TimeDelta::hours(6))];
        let (senders, receivers) = (both(), both());
        Box::new(Self { name: name.clone(), senders, receivers, tally: Tally::default(), told: Vec::new() })
    }
}

#[async_trait]
impl Users for Post {
    fn name(&self) -> &CredentialName {
        &self.name
    }

    /// Every sender sends a message to every receiver.
    async fn work(&mut self, net: &Net, now: Time) -> Vec<String> {
        let Self { name, senders, receivers, tally, told } = self;
        let mut lines = Vec::new();
        for sender in senders {
            let who = sender.habit;
            let Some(held) = sender.current(net, name, now).await else {
                tally.count(false, None, now);
                continue;
            };
            let message = Message::signed(held, now);
            for receiver in receivers.iter_mut() {
                let accepted = receive(receiver, net, name, &message, now).await;
                let seen = (receiver.habit, held.version.clone());
                if !tally.count(accepted, Some(&held.version), now) && !told.contains(&seen) {
                    let how = format!("receiver {}: refuses sender {who}", receiver.habit);
                    lines.push(line("message", name, &how));
                    told.push(seen);
                }
            }
        }
        lines
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }
}

/// Whether a receiver accepts a message; if not, only after it has read the secret once more.
async fn receive(receiver: &mut Reader, net: &Net, name: &CredentialName, message: &Message, now: Time) -> bool {
    if receiver.current(net, name, now).await.is_some_and(|held| message.is_from(held, now)) {
        return true;
    }
    receiver.read(net, name, "AWSCURRENT", now).await;
    receiver.held.as_ref().is_some_and(|held| message.is_from(held, now))
}

impl Message {
    /// As a sender signs it: with every secret that its value names now.
    fn signed(held: &Held, now: Time) -> Self {
        let body = r#"{"type":"order.paid"}"#.to_owned();
        let mut message = Self {
            id: format!("msg_{}", now.timestamp()),
            timestamp: now.timestamp(),
            body,
            signatures: String::new(),
        };
        let content = message.content();
        let sign = |key: Vec<u8>| {
            let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), content.as_bytes());
            format!("v1,{}", STANDARD.encode(signature))
        };
        message.signatures = secrets(held, now).into_iter().map(sign).collect::<Vec<_>>().join(" ");
        message
    }

    /// As a receiver sees it: whether any secret that its value names now made any of the signatures.
    fn is_from(&self, held: &Held, now: Time) -> bool {
        let keys: Vec<DecodingKey> = secrets(held, now).iter().map(|key| DecodingKey::from_secret(key)).collect();
        let content = self.content();
        let is_signed = |signature: &str| {
            let Some(bytes) = signature.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok()) else {
                return false;
            };
            let signature = URL_SAFE_NO_PAD.encode(bytes);
            keys.iter().any(|key| {
                let verified = jsonwebtoken::crypto::verify(&signature, content.as_bytes(), key, Algorithm::HS256);
                verified.unwrap_or_default()
            })
        };
        let age = now.timestamp() - self.timestamp;
        age.abs() <= TOLERANCE.num_seconds() && self.signatures.split(' ').any(is_signed)
    }

    /// What is signed.
    fn content(&self) -> String {
        format!("{}.{}.{}", self.id, self.timestamp, self.body)
    }
}

/// The secrets of a value that are good now: the one to sign with, and the one before until its time is over.
fn secrets(held: &Held, now: Time) -> Vec<Vec<u8>> {
    let until = held.document.get("until").and_then(Value::as_str).and_then(|until| until.parse::<Time>().ok());
    let also = until.is_some_and(|until| now < until).then(|| held.text("/alsoSigning"));
    let named = [Some(held.text("/signing")), also].into_iter().flatten();
    named.filter_map(|text| STANDARD.decode(text.strip_prefix("whsec_")?).ok()).collect()
}
