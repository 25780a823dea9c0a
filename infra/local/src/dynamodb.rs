//! DynamoDB: dynoxide's typed operations behind DynamoDB's JSON protocol.
//!
//! dynoxide as a library has no entry by operation name. Its requests deserialize with markers in
//! their error messages that say which exception DynamoDB would raise; none may reach a client.

mod arns;
mod status;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::core::Response;
use crate::snapshot::ScratchFile;
use crate::world::Place;
use status::Statuses;

/// The tables, in memory or in one SQLite file.
pub(crate) struct DynamoDb {
    tables: Database,
    /// What an index shows while `Settings::stale_index` is not zero.
    stale: Mutex<Option<StaleIndex>>,
    /// Of what is not `ACTIVE`.
    statuses: Mutex<Statuses>,
}

/// A second database that the same writes reach later: reads of an index go there.
struct StaleIndex {
    tables: Database,
    /// Oldest first, with the moment each was made.
    writes: VecDeque<(DateTime<Utc>, String, String)>,
}

impl DynamoDb {
    /// Opens the file, or a database in memory.
    ///
    /// # Errors
    ///
    /// What SQLite says of the file.
    pub(crate) fn open(file: Option<&Path>) -> Result<Self, DynoxideError> {
        let tables = match file {
            Some(file) => Database::new(&file.to_string_lossy())?,
            None => Database::memory()?,
        };
        Ok(Self { tables, stale: Mutex::new(None), statuses: Mutex::default() })
    }

    /// All tables as they are now.
    ///
    /// # Errors
    ///
    /// What SQLite says of the copy.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, DynoxideError> {
        Snapshot::of(&self.tables, self.lock_statuses().clone())
    }

    /// A database in memory that goes on from there.
    ///
    /// # Errors
    ///
    /// What SQLite says of the copy.
    pub(crate) fn resume(snapshot: &Snapshot) -> Result<Self, DynoxideError> {
        let statuses = Mutex::new(snapshot.statuses.clone());
        Ok(Self { tables: snapshot.restored()?, stale: Mutex::new(None), statuses })
    }

    /// Sets the status of a table, or of one of its indexes. False if there is none, or no such status.
    pub(crate) fn set_status(&self, table: &str, index: Option<&str>, status: &str) -> bool {
        let described = dispatch(&self.tables, "DescribeTable", &json!({ "TableName": table }).to_string());
        let described: Value = described.ok().and_then(|told| serde_json::from_str(&told).ok()).unwrap_or_default();
        self.lock_statuses().set(&described, table, index, status)
    }

    /// One operation. The body is DynamoDB's JSON, and so is the answer's.
    pub(crate) fn handle(
        &self,
        place: &Place,
        now: DateTime<Utc>,
        stale_index: Duration,
        operation: &str,
        body: &Bytes,
    ) -> Response {
        let Ok(body) = std::str::from_utf8(body) else {
            return refusal(&DynoxideError::SerializationException("not UTF-8".into()));
        };
        let (body, named) = arns::inward(place, body);
        let (status, told) = match self.answer(now, stale_index, operation, &body) {
            Ok(told) => (200, told),
            Err(DynoxideError::UnsupportedCapability(unknown)) => return not_modelled(&unknown),
            Err(error) => (error.status_code(), error.to_json()),
        };
        Response { status, headers: Vec::new(), body: arns::outward(place, &named, &told).into() }
    }

    fn answer(
        &self,
        now: DateTime<Utc>,
        stale_index: Duration,
        operation: &str,
        body: &str,
    ) -> Result<String, DynoxideError> {
        if operation == "TransactWriteItems" {
            check_transaction(body)?;
        }
        let statuses = self.lock_statuses().clone();
        statuses.check(operation, body)?;
        if operation == "DescribeTable" {
            return dispatch(&self.tables, operation, body).map(|told| statuses.shown(told));
        }
        if stale_index.is_zero() {
            *self.lock_stale() = None;
            return dispatch(&self.tables, operation, body);
        }
        // Held over the write as well: the copy must see all writes, in their order.
        let mut guard = self.lock_stale();
        let stale = match &mut *guard {
            Some(stale) => stale,
            empty => empty.insert(StaleIndex::copy_of(&self.tables)?),
        };
        if reads_index(operation, body) {
            let seen = TimeDelta::from_std(stale_index).unwrap_or(TimeDelta::MAX);
            stale.catch_up(now.checked_sub_signed(seen).unwrap_or(DateTime::<Utc>::MIN_UTC));
            return dispatch(&stale.tables, operation, body);
        }
        let answer = dispatch(&self.tables, operation, body)?;
        if writes(operation) {
            stale.writes.push_back((now, operation.to_owned(), body.to_owned()));
        }
        Ok(answer)
    }

    fn lock_statuses(&self) -> MutexGuard<'_, Statuses> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_stale(&self) -> MutexGuard<'_, Option<StaleIndex>> {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tables as they were at one moment.
pub(crate) struct Snapshot {
    file: ScratchFile,
    statuses: Statuses,
}

impl Snapshot {
    fn of(tables: &Database, statuses: Statuses) -> Result<Self, DynoxideError> {
        let file = ScratchFile::new();
        tables.vacuum_into(&file.path())?;
        Ok(Self { file, statuses })
    }

    fn restored(&self) -> Result<Database, DynoxideError> {
        let copy = Database::memory()?;
        copy.restore_from(&self.file.path())?;
        Ok(copy)
    }
}

impl StaleIndex {
    fn copy_of(tables: &Database) -> Result<Self, DynoxideError> {
        let tables = Snapshot::of(tables, Statuses::default())?.restored()?;
        Ok(Self { tables, writes: VecDeque::new() })
    }

    fn catch_up(&mut self, until: DateTime<Utc>) {
        while let Some((_, operation, body)) = self.writes.pop_front_if(|(at, ..)| *at <= until) {
            if let Err(error) = dispatch(&self.tables, &operation, &body) {
                tracing::warn!(%operation, %error, "a write that the table took failed on its stale copy");
            }
        }
    }
}

fn reads_index(operation: &str, body: &str) -> bool {
    matches!(operation, "Query" | "Scan")
        && serde_json::from_str::<Value>(body).is_ok_and(|body| !body["IndexName"].is_null())
}

fn writes(operation: &str) -> bool {
    matches!(
        operation,
        "CreateTable"
            | "DeleteTable"
            | "PutItem"
            | "UpdateItem"
            | "DeleteItem"
            | "BatchWriteItem"
            | "TransactWriteItems"
    )
}

fn dispatch(tables: &Database, operation: &str, body: &str) -> Result<String, DynoxideError> {
    match operation {
        "CreateTable" => call(body, |request| tables.create_table(request)),
        "DescribeTable" => call(body, |request| tables.describe_table(request)),
        "DeleteTable" => call(body, |request| tables.delete_table(request)),
        "ListTables" => call(body, |request| tables.list_tables(request)),
        "PutItem" => call(body, |request| tables.put_item(request)),
        "GetItem" => call(body, |request| tables.get_item(request)),
        "UpdateItem" => call(body, |request| tables.update_item(request)),
        "DeleteItem" => call(body, |request| tables.delete_item(request)),
        "Query" => call(body, |request| tables.query(request)),
        "Scan" => call(body, |request| tables.scan(request)),
        "BatchGetItem" => call(body, |request| tables.batch_get_item(request)),
        "BatchWriteItem" => call(body, |request| tables.batch_write_item(request)),
        "TransactWriteItems" => call(body, |request| tables.transact_write_items(request)),
        "TransactGetItems" => call(body, |request| tables.transact_get_items(request)),
        "UpdateTimeToLive" => call(body, |request| tables.update_time_to_live(request)),
        "DescribeTimeToLive" => call(body, |request| tables.describe_time_to_live(request)),
        "TagResource" => call(body, |request| tables.tag_resource(request)),
        "UntagResource" => call(body, |request| tables.untag_resource(request)),
        "ListTagsOfResource" => call(body, |request| tables.list_tags_of_resource(request)),
        unknown => Err(DynoxideError::UnsupportedCapability(unknown.to_owned())),
    }
}

fn call<Req: DeserializeOwned, Resp: Serialize>(
    body: &str,
    operation: impl FnOnce(Req) -> dynoxide::Result<Resp>,
) -> Result<String, DynoxideError> {
    let request = serde_json::from_str(body).map_err(|error| unreadable(&error))?;
    let response = operation(request)?;
    serde_json::to_string(&response).map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}

type Exception = fn(String) -> DynoxideError;

/// What dynoxide's readers put in front of a message, and what it stands for.
const MARKERS: [(&str, Exception); 5] = [
    ("SERIALIZATION_AS_READ:", DynoxideError::SerializationException),
    ("VALIDATION_AS_READ:", DynoxideError::ValidationException),
    ("SERIALIZATION:", DynoxideError::SerializationException),
    ("VALIDATION_REQUEST:", DynoxideError::ValidationException),
    ("VALIDATION:", DynoxideError::ValidationException),
];

/// The exception that a request which does not deserialize raises: its marker says which, and
/// where there is none, only a JSON type that does not fit is a `SerializationException`.
fn unreadable(error: &serde_json::Error) -> DynoxideError {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let bare = message.strip_suffix(place.as_str()).unwrap_or(&message);
    for (marker, exception) in MARKERS {
        if let Some(text) = bare.strip_prefix(marker) {
            return exception(text.to_owned());
        }
    }
    let missing = ["missing field", "unknown variant", "invalid type: null", "Supplied AttributeValue"];
    if missing.iter().any(|sign| bare.contains(sign)) {
        DynoxideError::ValidationException(bare.to_owned())
    } else {
        DynoxideError::SerializationException(bare.to_owned())
    }
}

/// What dynoxide lets pass in a transaction, although it refuses it in a single write.
fn check_transaction(body: &str) -> Result<(), DynoxideError> {
    // What can't be read is refused by whoever reads it.
    let request: Value = serde_json::from_str(body).unwrap_or_default();
    let steps = request["TransactItems"].as_array().into_iter().flatten();
    for step in steps.filter_map(Value::as_object).flat_map(|step| step.values()) {
        if step["ExpressionAttributeValues"].as_object().is_some_and(serde_json::Map::is_empty) {
            let message = "ExpressionAttributeValues must not be empty".to_owned();
            return Err(DynoxideError::ValidationException(message));
        }
    }
    Ok(())
}

fn not_modelled(operation: &str) -> Response {
    let body = json!({
        "__type": "com.amazon.coral.service#UnknownOperationException",
        "message": format!("the embedded AWS does not model DynamoDB's {operation}"),
    });
    Response::json(400, &body)
}

fn refusal(error: &DynoxideError) -> Response {
    Response { status: error.status_code(), headers: Vec::new(), body: error.to_json().into() }
}
