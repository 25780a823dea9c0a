//! API keys: create, read, change, delete, and import from a key file.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ApiGateway;
use super::call::{Call, bad_request, check_tags, conflict, empty, limit_exceeded, not_found};
use super::key_file::{KeyFile, KeyFileRow, is_key_value};
use crate::core::{Context, Response, ServiceError};

/// "API keys per account per Region", a fixed quota.
const MOST_KEYS: usize = 10_000;
/// The length of a value that API Gateway draws itself.
const DRAWN_VALUE: usize = 40;
const LONGEST_NAME: usize = 1024;
const LONGEST_DESCRIPTION: usize = 125_000;

/// One API key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ApiKey {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) value: String,
    pub(super) description: Option<String>,
    pub(super) customer_id: Option<String>,
    pub(super) enabled: bool,
    pub(super) created: DateTime<Utc>,
    /// The how manieth key it is of all that there ever were: keys are listed newest first.
    #[serde(default)]
    number: u64,
    pub(super) updated: DateTime<Utc>,
    pub(super) tags: BTreeMap<String, String>,
    /// Ids of the usage plans that it is in.
    pub(super) plans: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CreateApiKey {
    name: Option<String>,
    description: Option<String>,
    /// A key that is created without saying so is disabled.
    #[serde(default)]
    enabled: bool,
    value: Option<String>,
    customer_id: Option<String>,
    /// Deprecated: `false` makes the id the value.
    generate_distinct_id: Option<bool>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

impl ApiGateway {
    pub(super) fn create_api_key(&mut self, cx: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        let input: CreateApiKey = call.body()?;
        check_texts(input.name.as_deref(), input.description.as_deref())?;
        check_tags(&input.tags)?;
        let value = match input.value.filter(|value| !value.is_empty()) {
            Some(value) => checked_value(value)?,
            None => draw_value(cx),
        };
        let id = if input.generate_distinct_id == Some(false) { value.clone() } else { cx.short_id(10) };
        self.insert_key(cx, &id, value)?;
        let key = self.keys.get_mut(&id).ok_or_else(no_such_key)?;
        key.name = input.name.filter(|name| !name.is_empty());
        key.description = input.description;
        key.customer_id = input.customer_id;
        key.enabled = input.enabled;
        key.tags = input.tags;
        let answer = json_of(key, true);
        self.publish(cx, &id);
        Ok(Response::json(201, &answer))
    }

    pub(super) fn get_api_key(&mut self, _: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        let key = self.keys.get(call.path[1]).ok_or_else(no_such_key)?;
        Ok(Response::json(200, &json_of(key, call.flag("includeValue")?)))
    }

    /// Newest first. `nameQuery` is the beginning of a name, and letter case counts.
    pub(super) fn get_api_keys(&mut self, _: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        let include_values = call.flag("includeValues")?;
        let name = call.request.query("name");
        let customer_id = call.request.query("customerId");
        let matching = self.keys.values().filter(|key| {
            name.is_none_or(|prefix| key.name.as_deref().unwrap_or_default().starts_with(prefix))
                && customer_id.is_none_or(|id| key.customer_id.as_deref() == Some(id))
        });
        call.collection(newest_first(matching).map(|(place, key)| (place, json_of(key, include_values))))
    }

    pub(super) fn update_api_key(&mut self, cx: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        let id = call.path[1];
        let mut key = self.keys.get(id).ok_or_else(no_such_key)?.clone();
        for patch in call.patches()? {
            let text = || patch.value().map(str::to_owned);
            match (patch.op.as_str(), patch.path.as_str()) {
                ("replace", "/name") => key.name = Some(text()?),
                ("replace", "/description") => key.description = Some(text()?),
                ("replace", "/customerId") => key.customer_id = Some(text()?),
                ("replace", "/enabled") => key.enabled = patch.value()?.eq_ignore_ascii_case("true"),
                ("replace", _) => return Err(patch.wrong_path("/description, /enabled, /name, /customerId")),
                _ => return Err(patch.wrong_path("")),
            }
        }
        check_texts(key.name.as_deref(), key.description.as_deref())?;
        key.updated = cx.now;
        let mut answer = json_of(&key, false);
        answer["tags"] = json!(key.tags);
        self.keys.insert(id.to_owned(), key);
        self.publish(cx, id);
        Ok(Response::json(200, &answer))
    }

    pub(super) fn delete_api_key(&mut self, cx: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        let key = self.keys.remove(call.path[1]).ok_or_else(no_such_key)?;
        self.values.remove(&key.value);
        let from = cx.now + cx.settings.disabling.unwrap_or(cx.settings.propagation);
        self.edge.publish_state(&key.id, &key.value, None, cx.now, from);
        Ok(empty(202))
    }

    /// "The same API key can be imported multiple times, with the most recent version overwriting the
    /// previous one"; the same key means the same value. What the documentation leaves open: plans
    /// that the file does not list stay attached, and customer id and tags stay as they are.
    pub(super) fn import_api_keys(&mut self, cx: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        if call.request.query("format") != Some("csv") {
            return Err(bad_request("format must be csv"));
        }
        let all_or_nothing = call.flag("failonwarnings")?;
        let file = KeyFile::read(&call.request.body).map_err(|problem| bad_request(problem.to_string()))?;
        let before = all_or_nothing.then(|| (self.keys.clone(), self.values.clone()));
        let mut warnings: Vec<String> = file.problems.iter().map(ToString::to_string).collect();
        let mut ids = BTreeSet::new();
        for row in &file.rows {
            match self.import_row(cx, row) {
                Ok(id) => drop(ids.insert(id)),
                Err(error) => warnings.push(format!("line {}: {}", row.line, error.message)),
            }
        }
        if let (Some((keys, values)), Some(first)) = (before, warnings.first()) {
            (self.keys, self.values) = (keys, values);
            return Err(bad_request(format!("nothing was imported: {first}")));
        }
        for id in &ids {
            self.publish(cx, id);
        }
        Ok(Response::json(201, &json!({ "ids": ids, "warnings": warnings })))
    }

    fn import_row(&mut self, cx: &mut Context<'_>, row: &KeyFileRow) -> Result<String, ServiceError> {
        for plan in &row.usage_plan_ids {
            self.plan(plan)?;
        }
        let id = match self.values.get(&row.value) {
            Some(id) => id.clone(),
            None => {
                let id = cx.short_id(10);
                self.insert_key(cx, &id, row.value.clone())?;
                id
            }
        };
        let key = self.keys.get_mut(&id).ok_or_else(no_such_key)?;
        key.name = Some(row.name.clone());
        key.description = row.description.clone();
        key.enabled = row.enabled;
        key.updated = cx.now;
        for plan in &row.usage_plan_ids {
            if !self.keys[&id].plans.contains(plan) {
                self.attach(&id, plan)?;
            }
        }
        Ok(id)
    }

    /// A new key with that value and nothing else.
    fn insert_key(&mut self, cx: &Context<'_>, id: &str, value: String) -> Result<(), ServiceError> {
        if self.values.contains_key(&value) {
            return Err(conflict("API Key already exists"));
        }
        if self.keys.len() >= MOST_KEYS {
            return Err(limit_exceeded(format!("an account can have {MOST_KEYS} API keys in a Region")));
        }
        self.values.insert(value.clone(), id.to_owned());
        self.keys_made += 1;
        self.keys.insert(
            id.to_owned(),
            ApiKey {
                id: id.to_owned(),
                name: None,
                value,
                description: None,
                customer_id: None,
                enabled: false,
                created: cx.now,
                number: self.keys_made,
                updated: cx.now,
                tags: BTreeMap::new(),
                plans: BTreeSet::new(),
            },
        );
        Ok(())
    }

    /// Sends the data plane what is now true of a key.
    pub(super) fn publish(&mut self, cx: &Context<'_>, id: &str) {
        let Some(key) = self.keys.get(id) else { return };
        let settings = cx.settings;
        // A key that the data plane has never heard of is new, whether it is enabled or not.
        let turned = match key.enabled {
            true => settings.enabling,
            false => settings.disabling,
        };
        let turned = turned.filter(|_| self.edge.knows(id)).unwrap_or(settings.propagation);
        self.edge.publish_state(id, &key.value, Some(key.enabled), cx.now, cx.now + turned);
        self.edge.publish_plans(id, &key.value, key.plans.clone(), cx.now, cx.now + settings.propagation);
    }
}

pub(super) fn no_such_key() -> ServiceError {
    not_found("Invalid API Key identifier specified")
}

fn json_of(key: &ApiKey, include_value: bool) -> Value {
    let mut body = json!({
        "id": key.id,
        "enabled": key.enabled,
        "createdDate": key.created.timestamp(),
        "lastUpdatedDate": key.updated.timestamp(),
        "stageKeys": [],
    });
    let optional = [
        ("name", key.name.as_ref()),
        ("description", key.description.as_ref()),
        ("customerId", key.customer_id.as_ref()),
        ("value", include_value.then_some(&key.value)),
    ];
    for (member, value) in optional {
        if let Some(value) = value {
            body[member] = json!(value);
        }
    }
    if !key.tags.is_empty() {
        body["tags"] = json!(key.tags);
    }
    body
}

/// Keys, each with its place in a listing.
pub(super) fn newest_first<'k>(keys: impl Iterator<Item = &'k ApiKey>) -> impl Iterator<Item = (String, &'k ApiKey)> {
    let mut placed: Vec<_> = keys.map(|key| (format!("{:020}-{}", u64::MAX - key.number, key.id), key)).collect();
    placed.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    placed.into_iter()
}

fn check_texts(name: Option<&str>, description: Option<&str>) -> Result<(), ServiceError> {
    let is_too_long = |text: Option<&str>, most| text.is_some_and(|text| text.chars().count() > most);
    if is_too_long(name, LONGEST_NAME) {
        return Err(bad_request(format!("Invalid API Key name, can be at most {LONGEST_NAME} characters.")));
    }
    if is_too_long(description, LONGEST_DESCRIPTION) {
        return Err(bad_request("Invalid API Key description specified."));
    }
    Ok(())
}

/// "20 to 128 characters", "alphanumeric"; hyphens are taken too.
fn checked_value(value: String) -> Result<String, ServiceError> {
    if value.len() < 20 {
        return Err(bad_request("API Key value should be at least 20 characters"));
    }
    if value.len() > 128 {
        return Err(bad_request("API Key value exceeds maximum size of 128 characters"));
    }
    if !is_key_value(&value) {
        return Err(bad_request("API Key value should be alphanumeric"));
    }
    Ok(value)
}

fn draw_value(cx: &mut Context<'_>) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut bytes = [0; DRAWN_VALUE];
    (cx.entropy)(&mut bytes);
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 62)])).collect()
}
