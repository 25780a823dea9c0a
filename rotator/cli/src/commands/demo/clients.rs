//! Simulated clients of an API: each calls it with a key from its secret, in its own way of reading it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use chrono::TimeDelta;
use futures::future::join_all;
use state::Time;
use state::name::CredentialName;

use super::crowd::{Net, Reader, Tally, Users};
use super::stage::line;
use crate::sample::PATH;

/// The clients with one API key, all of them calling all the time.
pub struct Clients {
    name: CredentialName,
    clients: Vec<Client>,
    tally: Tally,
    word: Word,
}

/// How many clients an API key has by default.
pub const CLIENTS: usize = 3;

/// A word to whoever runs the clients: those that stick to what they have are put right once it is given.
#[derive(Clone, Default)]
pub struct Word(Arc<AtomicBool>);

struct Client {
    reader: Reader,
    /// Where its calls come from: its address and its program.
    from: [&'static str; 2],
    /// Whether it reads its secret when it is refused.
    falls_back: bool,
    /// What a key must begin with for it to take the key, while nobody has put that right.
    takes_only: Option<&'static str>,
    /// The version that it did not take.
    spurned: Option<String>,
    /// The version with which its last call was refused.
    shut_out: Option<String>,
}

/// A call: which version's key it was made with, and whether it got through.
struct Call {
    version: Option<String>,
    through: bool,
}

impl Clients {
    /// One client that reads its secret before every call, one that does every six hours whatever happens, and one that
    /// does every twelve hours, and when it is refused: `AWSCURRENT` again, then `AWSPREVIOUS` once.
    pub fn of(name: &CredentialName) -> Box<Self> {
        let fallback = Client::new(Reader::caching("fallback", TimeDelta::hours(12)));
        Self::with(name, [Client { falls_back: true, ..fallback }]).0
    }

    /// The first two of these.
    pub fn two(name: &CredentialName) -> Box<Self> {
        Self::with(name, []).0
    }

    /// With one that never reads its secret again until it is told to, and one that does only when it is refused.
    pub fn with_a_laggard(name: &CredentialName) -> (Box<Self>, Word) {
        let [laggard, batch] = ["laggard", "batch"].map(|habit| Client::new(Reader::caching(habit, FOREVER)));
        let laggard = Client { from: LAGGARD, ..laggard };
        let batch = Client { falls_back: true, from: ["198.51.100.4", "nightly-export/0.9"], ..batch };
        Self::with(name, [laggard, batch])
    }

    /// With one that takes no key but one that begins so, until it is put right.
    pub fn with_a_strict_one(name: &CredentialName, takes_only: &'static str) -> (Box<Self>, Word) {
        let strict = Client::new(Reader::caching("strict", TimeDelta::zero()));
        Self::with(name, [Client { takes_only: Some(takes_only), ..strict }])
    }

    fn with(name: &CredentialName, others: impl IntoIterator<Item = Client>) -> (Box<Self>, Word) {
        let mut clients =
            vec![Client::new(Reader::prompt()), Client::new(Reader::caching("late", TimeDelta::hours(6)))];
        clients.extend(others);
        let word = Word::default();
        (Box::new(Self { name: name.clone(), clients, tally: Tally::default(), word: word.clone() }), word)
    }
}

/// Where the calls of the laggard come from.
pub const LAGGARD: [&str; 2] = ["203.0.113.66", "acme-pos/1.4"];
/// Longer than any story.
const FOREVER: TimeDelta = TimeDelta::days(3_650);

impl Word {
    /// Gives it.
    pub fn give(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was given since the last call.
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

#[async_trait]
impl Users for Clients {
    fn name(&self) -> &CredentialName {
        &self.name
    }

    async fn work(&mut self, net: &Net, now: Time) -> Vec<String> {
        let Self { name, clients, tally, word } = self;
        if word.take() {
            clients.iter_mut().for_each(Client::put_right);
        }
        let done = join_all(clients.iter_mut().map(|client| client.work(net, name, now))).await;
        let mut told = Vec::new();
        for (calls, said) in done {
            for call in calls {
                tally.count(call.through, call.version.as_deref(), now);
            }
            told.extend(said.iter().map(|said| line("call", name, said)));
        }
        told
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn versions(&self) -> BTreeMap<&'static str, String> {
        let held = |client: &Client| Some((client.reader.habit, client.reader.held.as_ref()?.version.clone()));
        self.clients.iter().filter_map(held).collect()
    }
}

impl Client {
    fn new(reader: Reader) -> Self {
        let from = ["192.0.2.10", "partner-sdk/2.1"];
        Self { reader, from, falls_back: false, takes_only: None, spurned: None, shut_out: None }
    }

    /// Whoever runs it has heard what is wrong. The others are in order.
    fn put_right(&mut self) {
        if self.from == LAGGARD || self.takes_only.take().is_some() {
            self.reader.hurry();
        }
    }

    /// Calls once, and again if it knows what to do about a refusal. Tells when it is refused for the first time, and
    /// when it gets through again.
    async fn work(&mut self, net: &Net, name: &CredentialName, now: Time) -> (Vec<Call>, Vec<String>) {
        let mut told = Vec::new();
        told.extend(self.read(net, name, now).await);
        let mut calls = vec![self.call(net).await];
        let before = self.shut_out.take();
        let version = calls[0].version.clone();
        if !calls[0].through {
            self.shut_out = Some(version.clone().unwrap_or_default());
        }
        let said = |what: &str| Some(format!("client {}: {what}", self.reader.habit));
        told.extend(match (&self.shut_out, before) {
            (None, Some(before)) if version.as_ref() == Some(&before) => said("gets through again, with the same key"),
            (None, Some(_)) => said("has read the new key, gets through again"),
            (None, None) | (Some(_), Some(_)) => None,
            (Some(_), None) if !self.falls_back && self.reader.habit == "prompt" => said("403"),
            (Some(_), None) if !self.falls_back => said("403, keeps the old key until it reads again"),
            (Some(_), None) => {
                let mut told = said("403 with AWSCURRENT and AWSPREVIOUS");
                for label in ["AWSCURRENT", "AWSPREVIOUS"] {
                    self.reader.read(net, name, label, now).await;
                    let again = self.call(net).await;
                    self.shut_out = (!again.through).then(|| again.version.clone().unwrap_or_default());
                    calls.push(again);
                    if self.shut_out.is_none() {
                        told = Some(format!("client {}: 403, read {label}, got through", self.reader.habit));
                        break;
                    }
                }
                told
            }
        });
        (calls, told)
    }

    /// Reads its secret if it is time to. A key that it can't take leaves it with the one it has.
    async fn read(&mut self, net: &Net, name: &CredentialName, now: Time) -> Option<String> {
        let before = self.reader.held.clone();
        let held = self.reader.current(net, name, now).await?;
        let version = held.version.clone();
        if self.takes_only.is_none_or(|start| held.text("/apiKey").starts_with(start)) {
            return None;
        }
        self.reader.held = before;
        let is_news = self.spurned.replace(version.clone()) != Some(version);
        is_news.then(|| format!("client {}: can't take the new key, keeps the old one", self.reader.habit))
    }

    async fn call(&self, net: &Net) -> Call {
        let Some(held) = &self.reader.held else { return Call { version: None, through: false } };
        let url = format!("{}/{PATH}", held.text("/endpoint"));
        let [address, program] = self.from;
        let headers = [("x-api-key", held.text("/apiKey")), ("x-forwarded-for", address), ("user-agent", program)];
        let answer = net.get(&url, &headers).await;
        Call { version: Some(held.version.clone()), through: answer.is_some_and(|answer| answer.status == 200) }
    }
}
