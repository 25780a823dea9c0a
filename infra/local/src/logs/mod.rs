//! CloudWatch Logs: what API Gateway's access logs hold, and Logs Insights queries over it (JSON 1.1).
//!
//! Only API Gateway writes here. An account keeps the newest 20,000 events of a group, and a query's
//! results for seven days.

mod insights;

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::insights::{Query, Row};
use crate::core::{Context, ServiceError};
use crate::jobs::later;

const EVENTS_KEPT: usize = 20_000;
const RESULTS_KEPT: TimeDelta = TimeDelta::days(7);
/// Log groups in one query.
const MOST_GROUPS: usize = 50;

/// One account's CloudWatch Logs in one Region.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Logs {
    /// By name.
    groups: BTreeMap<String, VecDeque<Event>>,
    /// By query id.
    #[serde(skip)]
    answers: BTreeMap<String, Answer>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Event {
    at: DateTime<Utc>,
    message: String,
}

/// A query's results, which were found when it was started.
#[derive(Clone)]
struct Answer {
    started: DateTime<Utc>,
    /// How often somebody asked for it.
    asked: u32,
    rows: Vec<Row>,
    matched: usize,
    scanned: usize,
    bytes: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StartQuery {
    query_language: Option<String>,
    log_group_name: Option<String>,
    log_group_names: Option<Vec<String>>,
    log_group_identifiers: Option<Vec<String>>,
    /// Seconds since 1970, like the end: both of them belong to the range.
    start_time: i64,
    end_time: i64,
    query_string: String,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct GetQueryResults {
    query_id: String,
}

impl Logs {
    /// Answers one call.
    pub(crate) fn handle(
        &mut self,
        cx: &mut Context<'_>,
        operation: &str,
        input: &Value,
    ) -> Result<Value, ServiceError> {
        match operation {
            "StartQuery" => self.start_query(cx, parse(input)?),
            "GetQueryResults" => self.get_query_results(cx, &parse(input)?),
            _ => {
                let message = format!("the embedded AWS does not model {operation} of CloudWatch Logs");
                Err(error("UnknownOperationException", message))
            }
        }
    }

    pub(crate) fn create_group(&mut self, name: &str) {
        self.groups.entry(name.to_owned()).or_default();
    }

    pub(crate) fn put(&mut self, now: DateTime<Utc>, group: &str, message: String) {
        let events = self.groups.entry(group.to_owned()).or_default();
        if events.len() == EVENTS_KEPT {
            events.pop_front();
        }
        events.push_back(Event { at: now, message });
    }

    fn start_query(&mut self, cx: &mut Context<'_>, input: StartQuery) -> Result<Value, ServiceError> {
        if input.query_language.is_some_and(|language| language != "CWLI") {
            return Err(invalid("the embedded AWS models only the query language CWLI"));
        }
        if input.start_time > input.end_time {
            return Err(invalid("startTime is after endTime"));
        }
        let groups = match (input.log_group_name, input.log_group_names, input.log_group_identifiers) {
            (Some(name), None, None) => vec![name],
            (None, Some(names), None) | (None, None, Some(names)) if (1..=MOST_GROUPS).contains(&names.len()) => names,
            _ => return Err(invalid(format!("a query names its 1 to {MOST_GROUPS} log groups in exactly one way"))),
        };
        let query = Query::parse(&input.query_string).map_err(|why| error("MalformedQueryException", why))?;

        let lag = TimeDelta::from_std(cx.settings.log_lag).unwrap_or(TimeDelta::MAX);
        let asked = input.start_time..=input.end_time;
        let mut scanned = Vec::new();
        for group in &groups {
            let events = self.groups.get(group_name(cx, group)).ok_or_else(|| no_such_group(group))?;
            scanned.extend(events.iter().filter(|event| asked.contains(&event.at.timestamp())));
        }
        scanned.retain(|event| later(event.at, lag) <= cx.now);
        let bytes = scanned.iter().map(|event| event.message.len()).sum();
        let found = query.run(scanned.iter().map(|event| (event.at, event.message.as_str())), input.limit);
        let answer = Answer {
            started: cx.now,
            asked: 0,
            rows: found.rows,
            matched: found.matched,
            scanned: scanned.len(),
            bytes,
        };

        let id = cx.uuid().to_string();
        self.answers.retain(|_, answer| later(answer.started, RESULTS_KEPT) > cx.now);
        self.answers.insert(id.clone(), answer);
        Ok(json!({ "queryId": id }))
    }

    fn get_query_results(&mut self, cx: &Context<'_>, input: &GetQueryResults) -> Result<Value, ServiceError> {
        let answer = self
            .answers
            .get_mut(&input.query_id)
            .ok_or_else(|| error("ResourceNotFoundException", format!("Query {} does not exist", input.query_id)))?;
        answer.asked += 1;
        if answer.asked <= cx.settings.log_query_polls {
            let none = json!({ "recordsMatched": 0.0, "recordsScanned": 0.0, "bytesScanned": 0.0 });
            return Ok(json!({ "queryLanguage": "CWLI", "status": "Running", "results": [], "statistics": none }));
        }
        let row = |row: &Row| -> Value {
            row.iter().map(|(field, value)| json!({ "field": field, "value": value })).collect::<Vec<_>>().into()
        };
        Ok(json!({
            "queryLanguage": "CWLI",
            "status": "Complete",
            "results": answer.rows.iter().map(row).collect::<Vec<_>>(),
            "statistics": {
                "recordsMatched": answer.matched as f64,
                "recordsScanned": answer.scanned as f64,
                "bytesScanned": answer.bytes as f64,
            },
        }))
    }
}

/// The name in `arn:aws:logs:REGION:ACCOUNT:log-group:NAME`, or the name.
fn group_name<'a>(cx: &Context<'_>, group: &'a str) -> &'a str {
    group.strip_prefix(&format!("arn:aws:logs:{}:{}:log-group:", cx.region, cx.account)).unwrap_or(group)
}

fn parse<T: DeserializeOwned>(input: &Value) -> Result<T, ServiceError> {
    T::deserialize(input).map_err(|refused| invalid(format!("{refused}: the embedded AWS takes only what it models")))
}

fn no_such_group(group: &str) -> ServiceError {
    error("ResourceNotFoundException", format!("Log group '{group}' does not exist for account ID"))
}

fn invalid(message: impl Into<String>) -> ServiceError {
    error("InvalidParameterException", message)
}

fn error(code: &'static str, message: impl Into<String>) -> ServiceError {
    ServiceError::new(400, code, message)
}
