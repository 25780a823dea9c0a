//! Simulated clients of an API: each calls it with a key from its secret, in its own way of reading it.

use async_trait::async_trait;
use chrono::TimeDelta;
use futures::future::join_all;
use state::Time;
use state::name::CredentialName;

use super::crowd::{Held, Net, Reader, Tally, Users};
use super::stage::line;
use crate::sample::PATH;

/// The clients with one API key: one reads its secret before every call, one every six hours whatever happens, and one
/// every twelve hours, and when it is refused: `AWSCURRENT` again, then `AWSPREVIOUS` once.
pub struct Clients {
    name: CredentialName,
    clients: Vec<Client>,
    tally: Tally,
}

/// How many clients an API key has.
pub const CLIENTS: usize = 3;

struct Client {
    reader: Reader,
    /// Whether it reads its secret when it is refused.
    falls_back: bool,
    /// Whether its last call was refused.
    shut_out: bool,
}

/// A call: which version's key it was made with, and whether it got through.
struct Call {
    version: Option<String>,
    through: bool,
}

impl Clients {
    /// The clients of that credential.
    pub fn of(name: &CredentialName) -> Box<Self> {
        let readers: [_; CLIENTS] = [
            Reader::prompt(),
            Reader::caching("late", TimeDelta::hours(6)),
            Reader::caching("fallback", TimeDelta::hours(12)),
        ];
        let client = |reader: Reader| Client { falls_back: reader.habit == "fallback", reader, shut_out: false };
        let clients = readers.map(client).into();
        Box::new(Self { name: name.clone(), clients, tally: Tally::default() })
    }
}

#[async_trait]
impl Users for Clients {
    fn name(&self) -> &CredentialName {
        &self.name
    }

    async fn work(&mut self, net: &Net, now: Time) -> Vec<String> {
        let Self { name, clients, tally } = self;
        let done = join_all(clients.iter_mut().map(|client| client.work(net, name, now))).await;
        let mut told = Vec::new();
        for (calls, said) in done {
            for call in calls {
                tally.count(call.through, call.version.as_deref(), now);
            }
            told.extend(said.map(|said| line("call", name, &said)));
        }
        told
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }
}

impl Client {
    /// Calls once, and again if it knows what to do about a refusal. Tells when it is refused for the first time, and
    /// when it gets through again.
    async fn work(&mut self, net: &Net, name: &CredentialName, now: Time) -> (Vec<Call>, Option<String>) {
        let mut calls = vec![call(net, self.reader.current(net, name, now).await).await];
        let was_shut_out = std::mem::replace(&mut self.shut_out, !calls[0].through);
        let said = |what: &str| Some(format!("client {}: {what}", self.reader.habit));
        let told = match (self.shut_out, was_shut_out) {
            (false, true) => said("has read the new key, gets through again"),
            (false, false) | (true, true) => None,
            (true, false) if !self.falls_back && self.reader.habit == "prompt" => said("403"),
            (true, false) if !self.falls_back => said("403, keeps the old key until it reads again"),
            (true, false) => {
                let mut told = said("403 with AWSCURRENT and AWSPREVIOUS");
                for label in ["AWSCURRENT", "AWSPREVIOUS"] {
                    self.reader.read(net, name, label, now).await;
                    let again = call(net, self.reader.held.as_ref()).await;
                    self.shut_out = !again.through;
                    calls.push(again);
                    if !self.shut_out {
                        told = Some(format!("client {}: 403, read {label}, got through", self.reader.habit));
                        break;
                    }
                }
                told
            }
        };
        (calls, told)
    }
}

async fn call(net: &Net, held: Option<&Held>) -> Call {
    let Some(held) = held else { return Call { version: None, through: false } };
    let url = format!("{}/{PATH}", held.text("/endpoint"));
    let answer = net.get(&url, &[("x-api-key", held.text("/apiKey"))]).await;
    Call { version: Some(held.version.clone()), through: answer.is_some_and(|answer| answer.status == 200) }
}
