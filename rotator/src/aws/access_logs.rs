//! API Gateway's access logs in CloudWatch Logs: who used a key, when, and from where.
//!
//! An access log has the format that its owner gave it. What is read here is JSON with these members, each with API
//! Gateway's variable: `apiKeyId` (`$context.identity.apiKeyId`; never `$context.identity.apiKey`, which is the key
//! itself), `ip` (`$context.identity.sourceIp`), `userAgent` (`$context.identity.userAgent`), `httpMethod`
//! (`$context.httpMethod`), `path` (`$context.path`) and `status` (`$context.status`).

use aws_config::SdkConfig;
use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::types::{QueryStatus, ResultField};
use chrono::{NaiveDateTime, TimeDelta};
use state::Time;

use super::probe::AGENT;
use super::{Answer, failed};
use crate::failure::{CallFailed, Failure, Fault};
use crate::ports::Ports;

/// How many callers are named at the most.
const CALLERS: i32 = 20;
/// Between two looks at a query.
const POLL: TimeDelta = TimeDelta::seconds(1);
/// How often a query is looked at before it is given up: a log group of some gigabytes takes seconds.
const LOOKS: usize = 20;

/// CloudWatch Logs Insights.
#[derive(Clone, Debug)]
pub struct AccessLogs {
    client: Client,
    ports: Ports,
}

/// One way in which a key was used. Personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Address, user agent, method and path, as far as the log has them.
    pub what: String,
    /// How many requests.
    pub calls: u64,
    /// The last of them.
    pub last: Option<Time>,
}

impl AccessLogs {
    /// With the ordinary configuration.
    pub fn new(config: &SdkConfig, ports: Ports) -> Self {
        Self { client: Client::new(config), ports }
    }

    /// How many requests with that key there were and when the last of them was, refused ones included. `None` if the log
    /// tells of no key at all, or is not there: then it may be in another form, or another stage's.
    pub async fn use_of(
        &self,
        group: &str,
        key: &str,
        since: Time,
        until: Time,
    ) -> Result<Option<(u64, Option<Time>)>, Failure> {
        let query = format!("filter apiKeyId = \"{key}\" | stats count(*) as calls, max(@timestamp) as last");
        let rows = match self.query(group, &query, since, until).await {
            Err(Failure::Call(call)) if call.fault == Fault::NotFound => return Ok(None),
            rows => rows?,
        };
        let told = rows.first().map(|row| (calls(row), last(row))).filter(|(calls, _)| *calls > 0);
        if told.is_some() {
            return Ok(told);
        }
        let any = self.query(group, "filter ispresent(apiKeyId) | stats count(*) as calls", since, until).await?;
        Ok(any.first().is_some_and(|row| calls(row) > 0).then_some((0, None)))
    }

    /// Who they came from, the busiest first, and not our own probes.
    pub async fn callers(&self, group: &str, key: &str, since: Time, until: Time) -> Result<Vec<Caller>, Failure> {
        let query = format!(
            "filter apiKeyId = \"{key}\" and userAgent != \"{AGENT}\" | stats count(*) as calls, max(@timestamp) as last \
             by ip, userAgent, httpMethod, path | sort calls desc | limit {CALLERS}"
        );
        let rows = self.query(group, &query, since, until).await?;
        let what = |row: &[ResultField]| {
            let told = ["ip", "userAgent", "httpMethod", "path"].map(|name| field(row, name).unwrap_or("-"));
            told.join(" ")
        };
        Ok(rows.iter().map(|row| Caller { what: what(row), calls: calls(row), last: last(row) }).collect())
    }

    /// How many requests with that key were refused.
    pub async fn refusals(&self, group: &str, key: &str, since: Time, until: Time) -> Result<u64, Failure> {
        let query = format!("filter apiKeyId = \"{key}\" and status = \"403\" | stats count(*) as calls");
        let rows = self.query(group, &query, since, until).await?;
        Ok(rows.first().map_or(0, |row| calls(row)))
    }

    async fn query(
        &self,
        group: &str,
        query: &str,
        since: Time,
        until: Time,
    ) -> Result<Vec<Vec<ResultField>>, Failure> {
        let begun = self
            .client
            .start_query()
            .log_group_name(group)
            .start_time(since.timestamp())
            .end_time(until.timestamp())
            .query_string(query)
            .send()
            .await
            .map_err(|error| failed("logs:StartQuery", group, Answer::Open, error))?;
        let id = begun.query_id.unwrap_or_default();
        for _ in 0..LOOKS {
            let found = self.client.get_query_results().query_id(&id).send().await;
            let found = found.map_err(|error| failed("logs:GetQueryResults", group, Answer::Open, error))?;
            match found.status {
                Some(QueryStatus::Complete) => return Ok(found.results.unwrap_or_default()),
                Some(QueryStatus::Running | QueryStatus::Scheduled) => self.ports.clock.sleep(POLL).await,
                Some(_) | None => break,
            }
        }
        let fault = Fault::Unknown;
        Err(CallFailed { action: "logs:GetQueryResults", resource: group.to_owned(), fault, source: None }.into())
    }
}

fn field<'r>(row: &'r [ResultField], name: &str) -> Option<&'r str> {
    row.iter().find(|field| field.field() == Some(name)).and_then(ResultField::value)
}

fn calls(row: &[ResultField]) -> u64 {
    field(row, "calls").and_then(|calls| calls.parse().ok()).unwrap_or(0)
}

/// Insights writes times as `2026-03-02 10:30:00.000`, in UTC; an aggregate of one as milliseconds.
fn last(row: &[ResultField]) -> Option<Time> {
    let raw = field(row, "last")?;
    let written = NaiveDateTime::parse_from_str(raw, "%Y-%m-%d %H:%M:%S%.f").ok().map(|at| at.and_utc());
    written.or_else(|| Time::from_timestamp_millis(raw.parse().ok()?))
}
