//! Tables by ARN: dynoxide knows them by name alone, and tells ARNs of a Region and an account of its own.

use serde_json::{Map, Value};

use crate::world::Place;

const DYNOXIDE: &str = "arn:aws:dynamodb:dynoxide:000000000000:";

/// The tables that a request named by their ARNs: how its answer names them.
pub(super) struct Named(Vec<(String, String)>);

/// The request with the names of the tables that it names by their ARNs. One of another Region or account stays as it
/// is, which is no table's name.
pub(super) fn inward(place: &Place, body: &str) -> (String, Named) {
    let mut named = Named(Vec::new());
    let here = format!("{}table/", prefix(place));
    let parsed = if body.contains(&here) { serde_json::from_str(body).ok() } else { None };
    let Some(mut request): Option<Value> = parsed else { return (body.to_owned(), named) };
    let rename = |table: &mut Value| {
        if let Some(name) = table.as_str().and_then(|arn| arn.strip_prefix(&here)) {
            *table = name.into();
        }
    };
    if let Some(table) = request.get_mut("TableName") {
        rename(table);
    }
    let steps = request.get_mut("TransactItems").and_then(Value::as_array_mut).into_iter().flatten();
    for step in steps.filter_map(Value::as_object_mut).flat_map(|step| step.values_mut()) {
        if let Some(table) = step.get_mut("TableName") {
            rename(table);
        }
    }
    if let Some(tables) = request.get_mut("RequestItems").and_then(Value::as_object_mut) {
        for (arn, asked) in std::mem::take(tables) {
            let name = arn.strip_prefix(&here).unwrap_or(&arn).to_owned();
            tables.insert(name.clone(), asked);
            if name != arn {
                named.0.push((name, arn));
            }
        }
    }
    (request.to_string(), named)
}

/// An answer with ARNs of this Region and account, and with tables named as they were asked for.
pub(super) fn outward(place: &Place, named: &Named, body: &str) -> String {
    let body = body.replace(DYNOXIDE, &prefix(place));
    if named.0.is_empty() {
        return body;
    }
    let mut answer: Value = serde_json::from_str(&body).unwrap_or_default();
    let by_table = ["Responses", "UnprocessedKeys", "UnprocessedItems", "ItemCollectionMetrics"];
    for member in by_table {
        let Some(tables) = answer.get_mut(member).and_then(Value::as_object_mut) else { continue };
        let as_asked = |(name, told): (String, Value)| {
            let arn = named.0.iter().find(|(known, _)| *known == name).map(|(_, arn)| arn.clone());
            (arn.unwrap_or(name), told)
        };
        *tables = std::mem::take(tables).into_iter().map(as_asked).collect::<Map<_, _>>();
    }
    answer.to_string()
}

fn prefix(place: &Place) -> String {
    format!("arn:aws:dynamodb:{}:{}:", place.region, place.account)
}
