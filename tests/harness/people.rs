//! Those who use the service and those who use what it looks after: callers of the API, and a person at the command line.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use chrono::TimeDelta;
use clap::Parser;
use rotator::ports::Clock;
use rotator_cli::commands::{self, Cli};
use rotator_cli::context::Context;
use rotator_cli::interrupt::until_interrupted;
use rotator_cli::output::Out;
use rotator_cli::trouble::{ErrorView, Outcome};
use serde_json::Value;

use super::faults::{Process, operation};
use super::{API, OPERATOR, PausedClock, Stage, ports, sdk_config, sdk_config_of};

/// Somebody who calls the API.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub address: &'static str,
    pub agent: &'static str,
}

/// A client that nobody remembers.
pub const LAGGARD: Caller = Caller { address: "203.0.113.7", agent: "billing/1.2" };
/// A client that reads the secret before each call.
pub const PROMPT: Caller = Caller { address: "198.51.100.9", agent: "shop/9" };

impl Caller {
    /// One request with that key: the status of the answer.
    pub async fn call(self, stage: &Stage, key: &str) -> u16 {
        let url = format!("https://{API}.execute-api.eu-west-1.amazonaws.com/prod/ping");
        let headers = [("x-api-key", key), ("x-forwarded-for", self.address), ("user-agent", self.agent)];
        stage.get(&url, &headers).await.status
    }
}

/// How a command ended, and what it printed.
#[derive(Clone, Debug)]
pub struct Said {
    pub outcome: Outcome,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

impl Stage {
    /// `rotator` with those arguments, to its end, of an operator.
    pub async fn command(&self, line: &[&str]) -> Said {
        self.command_over(self.aws.connector(), line).await
    }

    /// The same at a terminal, of somebody who answers each question with that.
    pub async fn command_answered(&self, answer: &str, line: &[&str]) -> Said {
        self.command_with(self.clock, OPERATOR, self.aws.connector(), Some(answer), line).await
    }

    /// The same over any way to AWS.
    pub async fn command_over(&self, connector: SharedHttpConnector, line: &[&str]) -> Said {
        self.command_of(OPERATOR, connector, line).await
    }

    /// The same until the process is killed, which stands for Ctrl-C.
    pub async fn command_until_killed(&self, process: &Process, line: &[&str]) -> Said {
        self.command_in(self.clock, OPERATOR, process.connector.clone(), None, line, process.killed()).await
    }

    /// The same, of somebody who signs with that access key, while AWS and retirement work on.
    pub async fn command_as(&self, access_key: &str, line: &[&str]) -> Said {
        let aws = async {
            loop {
                self.aws.settle().await;
                Clock::sleep(&self.clock, TimeDelta::milliseconds(500)).await;
            }
        };
        let retirement = async {
            loop {
                Clock::sleep(&self.clock, TimeDelta::minutes(1)).await;
                self.tick().await;
            }
        };
        tokio::select! {
            biased;
            said = self.command_of(access_key, self.aws.connector(), line) => said,
            () = aws => unreachable!("it never ends"),
            () = retirement => unreachable!("it never ends"),
        }
    }

    async fn command_of(&self, access_key: &str, connector: SharedHttpConnector, line: &[&str]) -> Said {
        self.command_by(self.clock, access_key, connector, line).await
    }

    /// The same, on a machine that has that clock.
    pub async fn command_by(
        &self,
        clock: PausedClock,
        access_key: &str,
        connector: SharedHttpConnector,
        line: &[&str],
    ) -> Said {
        self.command_with(clock, access_key, connector, None, line).await
    }

    async fn command_with(
        &self,
        clock: PausedClock,
        access_key: &str,
        connector: SharedHttpConnector,
        answer: Option<&str>,
        line: &[&str],
    ) -> Said {
        self.command_in(clock, access_key, connector, answer, line, std::future::pending()).await
    }

    async fn command_in(
        &self,
        clock: PausedClock,
        access_key: &str,
        connector: SharedHttpConnector,
        answer: Option<&str>,
        line: &[&str],
        interrupted: impl Future<Output = ()>,
    ) -> Said {
        let line: Vec<String> = ["rotator"].iter().chain(line).map(ToString::to_string).collect();
        let cli = Cli::try_parse_from(&line).expect("a command line");
        let ports = ports(clock, &self.chance, connector.clone());
        let context =
            Context::new(rotator::aws::plain(sdk_config_of(access_key, connector)), self.settings.clone(), ports);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut answers = answer.unwrap_or_default().as_bytes();
        let out = Out::plain(cli.output, &mut stdout, &mut stderr);
        let mut out = if answer.is_some() { out.answered(&mut answers) } else { out };
        let command = async |out: &mut Out<'_>| commands::run_in(&context, cli.command, out).await;
        let done = until_interrupted(&mut out, &line, command, interrupted).await;
        let outcome = match done {
            Ok(outcome) => outcome,
            Err(trouble) => {
                out.fail(&ErrorView::from(&trouble)).expect("printed");
                trouble.outcome()
            }
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Said { outcome, stdout: text(stdout), stderr: text(stderr) }
    }
}

/// A way to AWS on which, after every call, a client reads the current value and uses it.
#[derive(Clone)]
pub struct Watched(Arc<Shared>);

struct Shared {
    stage: Inner,
    /// Each call with the status that the client met after it.
    met: Mutex<Vec<(String, u16)>>,
}

struct Inner {
    connector: SharedHttpConnector,
    arn: String,
}

impl Watched {
    pub fn new(stage: &Stage, arn: &str) -> Self {
        let stage = Inner { connector: stage.aws.connector(), arn: arn.to_owned() };
        Self(Arc::new(Shared { stage, met: Mutex::default() }))
    }

    pub fn connector(&self) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }

    /// Each call so far, with the status that the client met after it.
    pub fn met(&self) -> Vec<(String, u16)> {
        self.0.met.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Inner {
    async fn read_and_call(&self) -> u16 {
        let client = aws_sdk_secretsmanager::Client::new(&sdk_config(self.connector.clone()));
        let read = client.get_secret_value().secret_id(&self.arn).send().await.expect("readable");
        let value: Value = serde_json::from_str(read.secret_string().expect("text")).expect("JSON");
        let url = format!("https://{API}.execute-api.eu-west-1.amazonaws.com/prod/ping");
        let mut request = HttpRequest::get(url).expect("a URL");
        request.headers_mut().insert("x-api-key", value["apiKey"].as_str().expect("a key").to_owned());
        self.connector.call(request).await.expect("an answer").status().as_u16()
    }
}

impl HttpConnector for Watched {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (shared, operation) = (self.0.clone(), operation(&request));
        HttpConnectorFuture::new(async move {
            let answer = shared.stage.connector.call(request).await;
            let met = shared.stage.read_and_call().await;
            shared.met.lock().unwrap_or_else(PoisonError::into_inner).push((operation, met));
            answer
        })
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched(..)")
    }
}
