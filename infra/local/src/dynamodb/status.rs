//! Tables and indexes that are not `ACTIVE`.
//!
//! dynoxide makes everything at once. Here a test says that a table, or an index that somebody added
//! to it, is still being made, changed or deleted.

use std::collections::BTreeMap;

use dynoxide::DynoxideError;
use serde_json::{Value, json};

/// By the table's name, and the index's if it is an index.
#[derive(Clone, Default)]
pub(super) struct Statuses(BTreeMap<(String, Option<String>), Status>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Creating,
    Updating,
    Deleting,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
        }
    }
}

impl Statuses {
    /// `described`: what `DescribeTable` answers of the table, if there is one. False if what is to be
    /// set is not there, or is no status.
    pub(super) fn set(&mut self, described: &Value, table: &str, index: Option<&str>, status: &str) -> bool {
        let described = &described["Table"];
        let is_there = match index {
            None => described.is_object(),
            Some(index) => described["GlobalSecondaryIndexes"]
                .as_array()
                .is_some_and(|indexes| indexes.iter().any(|known| known["IndexName"] == index)),
        };
        let named = (table.to_owned(), index.map(str::to_owned));
        match [Status::Creating, Status::Updating, Status::Deleting].into_iter().find(|known| known.name() == status) {
            Some(found) if is_there => drop(self.0.insert(named, found)),
            None if is_there && status == "ACTIVE" => drop(self.0.remove(&named)),
            Some(_) | None => return false,
        }
        true
    }

    fn of(&self, table: &str, index: Option<&str>) -> Option<Status> {
        self.0.get(&(table.to_owned(), index.map(str::to_owned))).copied()
    }

    /// What DynamoDB refuses of a table or an index that is not there yet or any more.
    pub(super) fn check(&self, operation: &str, body: &str) -> Result<(), DynoxideError> {
        if self.0.is_empty() || operation == "DescribeTable" {
            return Ok(());
        }
        // What can't be read is refused by whoever reads it.
        let request: Value = serde_json::from_str(body).unwrap_or_default();
        for table in tables(&request) {
            match self.of(table, None) {
                Some(Status::Creating | Status::Updating) if operation == "DeleteTable" => {
                    let message = format!("Attempt to change a resource which is still in use: Table: {table}");
                    return Err(DynoxideError::ResourceInUseException(message));
                }
                Some(Status::Creating | Status::Deleting) => {
                    let message = "Requested resource not found".to_owned();
                    return Err(DynoxideError::ResourceNotFoundException(message));
                }
                Some(Status::Updating) | None => {}
            }
            let Some(index) = request["IndexName"].as_str() else { continue };
            let message = match self.of(table, Some(index)) {
                Some(Status::Creating) => format!("Cannot read from backfilling global secondary index: {index}"),
                Some(Status::Deleting) => format!("The table does not have the specified index: {index}"),
                Some(Status::Updating) | None => continue,
            };
            return Err(DynoxideError::ValidationException(message));
        }
        Ok(())
    }

    /// `DescribeTable`'s answer, with these statuses in it.
    pub(super) fn shown(&self, told: String) -> String {
        if self.0.is_empty() {
            return told;
        }
        let mut told: Value = serde_json::from_str(&told).unwrap_or_default();
        let table = told["Table"]["TableName"].as_str().unwrap_or_default().to_owned();
        if let Some(status) = self.of(&table, None) {
            told["Table"]["TableStatus"] = json!(status.name());
        }
        for index in told["Table"]["GlobalSecondaryIndexes"].as_array_mut().into_iter().flatten() {
            let name = index["IndexName"].as_str().unwrap_or_default().to_owned();
            if let Some(status) = self.of(&table, Some(&name)) {
                index["IndexStatus"] = json!(status.name());
                // Told of an index that was added to a table, and only while it is built.
                if status == Status::Creating {
                    index["Backfilling"] = json!(true);
                }
            }
        }
        told.to_string()
    }
}

/// The tables that a request is about.
fn tables(request: &Value) -> Vec<&str> {
    let own = request["TableName"].as_str();
    let batch = request["RequestItems"].as_object().into_iter().flat_map(|tables| tables.keys().map(String::as_str));
    let steps = request["TransactItems"].as_array().into_iter().flatten();
    let steps = steps.filter_map(Value::as_object).flat_map(|step| step.values());
    own.into_iter().chain(batch).chain(steps.filter_map(|step| step["TableName"].as_str())).collect()
}
