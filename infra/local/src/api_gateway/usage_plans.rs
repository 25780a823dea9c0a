//! Usage plans, the keys in them, and what those keys have used.

use std::collections::BTreeMap;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ApiGateway;
use super::api_keys::{ApiKey, newest_first, no_such_key};
use super::call::{Call, Patch, bad_request, check_tags, conflict, empty, limit_exceeded, not_found};
use super::usage::{Day, KeyUsage, Measure, Period, Quota};
use crate::core::{Context, Response, ServiceError};
use crate::token_bucket::TokenBucket;

/// "Usage plans per account per Region".
const MOST_PLANS: usize = 300;
/// "Usage plans per API key".
const MOST_PLANS_OF_A_KEY: usize = 10;
/// How many days one `GetUsage` may ask for. AWS does not publish its own figure.
const MOST_DAYS: i64 = 366;
/// What AWS removes from a plan, in its words. Of a product code and of a method's throttle nothing is modelled.
const REMOVED: &str = "/apiStages, /quota, /throttle, /productCode, \
                       /apiStages/<apidId:stageName>/throttle/<resourcePath>/<httpMethod>, \
                       /apiStages/<apidId:stageName>/throttle";
/// What of a plan can be replaced here.
const REPLACED: &str = "/name, /description, /throttle/rateLimit, /throttle/burstLimit, /quota/limit, /quota/offset, \
                        /quota/period";
/// AWS does not say what it makes of these.
const HALF_A_THROTTLE: &str = "the embedded AWS models a throttle with both its rateLimit and its burstLimit only";
const HALF_A_QUOTA: &str = "the embedded AWS models a quota with both its limit and its period only";

/// One usage plan.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct UsagePlan {
    pub(super) id: String,
    pub(super) name: String,
    description: Option<String>,
    pub(super) stages: Vec<ApiStage>,
    pub(super) throttle: Option<Throttle>,
    pub(super) quota: Option<Quota>,
    pub(super) tags: BTreeMap<String, String>,
    created: DateTime<Utc>,
    /// By key id. Outlives an attachment, so that detaching and attaching refills nothing.
    usage: BTreeMap<String, KeyUsage>,
    /// By key id.
    buckets: BTreeMap<String, TokenBucket>,
}

/// A stage that a plan opens to its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ApiStage {
    pub(super) api_id: String,
    pub(super) stage: String,
}

/// A plan's limit on the rate of each of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Throttle {
    burst_limit: u32,
    /// Requests a second.
    rate_limit: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CreateUsagePlan {
    name: String,
    description: Option<String>,
    #[serde(default)]
    api_stages: Vec<ApiStage>,
    throttle: Option<Throttle>,
    quota: Option<Quota>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CreateUsagePlanKey {
    key_id: String,
    key_type: String,
}

/// Why a plan turns a request away.
pub(super) enum Exhausted {
    Throttled,
    Quota,
}

impl UsagePlan {
    pub(super) fn opens(&self, api: &str, stage: &str) -> bool {
        self.stages.iter().any(|open| open.api_id == api && open.stage == stage)
    }

    /// Counts one request of a key, if its rate and its quota allow one more. A throttled request
    /// does not count.
    pub(super) fn admit(&mut self, cx: &Context<'_>, key: &str) -> Result<(), Exhausted> {
        if let Some(throttle) = self.throttle {
            let bucket = self
                .buckets
                .entry(key.to_owned())
                .or_insert_with(|| TokenBucket::full(throttle.rate_limit, f64::from(throttle.burst_limit), cx.now));
            if !bucket.try_take(cx.now) {
                return Err(Exhausted::Throttled);
            }
        }
        let (usage, measure) = self.usage_of(cx, key);
        if usage.admit(measure, cx.now) { Ok(()) } else { Err(Exhausted::Quota) }
    }

    fn usage_of(&mut self, cx: &Context<'_>, key: &str) -> (&mut KeyUsage, Measure<'_>) {
        let measure =
            Measure { quota: self.quota.as_ref(), began: self.created.date_naive(), lag: cx.settings.usage_lag };
        (self.usage.entry(key.to_owned()).or_default(), measure)
    }

    /// With those limits from now on. AWS does not say what becomes of what was used: here it counts against the new
    /// quota, and a new throttle begins with a full bucket.
    fn limit(&mut self, cx: &Context<'_>, limits: Limits) -> Result<(), ServiceError> {
        let Limits { rate, burst, quota, offset, period } = limits;
        let throttle = match (rate, burst) {
            (Some(rate_limit), Some(burst_limit)) => Some(Throttle { burst_limit, rate_limit }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(bad_request(HALF_A_THROTTLE)),
        };
        let quota = match (quota, period) {
            (Some(limit), Some(period)) => Some(Quota { limit, offset: offset.unwrap_or(0), period }),
            (None, None) if offset.is_none() => None,
            (None | Some(_), None) | (None, Some(_)) => return Err(bad_request(HALF_A_QUOTA)),
        };
        quota.as_ref().map_or(Ok(()), check_quota)?;
        if self.throttle != throttle {
            self.throttle = throttle;
            self.buckets.clear();
        }
        if self.quota != quota {
            self.quota = quota;
            let keys: Vec<String> = self.usage.keys().cloned().collect();
            for key in keys {
                let (usage, measure) = self.usage_of(cx, &key);
                usage.measure_anew(measure, cx.now);
            }
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let mut body = json!({ "id": self.id, "name": self.name, "apiStages": self.stages });
        if let Some(description) = &self.description {
            body["description"] = json!(description);
        }
        if let Some(throttle) = &self.throttle {
            body["throttle"] = json!(throttle);
        }
        if let Some(quota) = &self.quota {
            body["quota"] = json!(quota);
        }
        if !self.tags.is_empty() {
            body["tags"] = json!(self.tags);
        }
        body
    }
}

impl ApiGateway {
    pub(super) fn create_usage_plan(
        &mut self,
        cx: &mut Context<'_>,
        call: &Call<'_>,
    ) -> Result<Response, ServiceError> {
        let input: CreateUsagePlan = call.body()?;
        check_tags(&input.tags)?;
        if let Some(quota) = &input.quota {
            check_quota(quota)?;
        }
        input.api_stages.iter().try_for_each(|open| self.check_stage(open))?;
        if self.plans.len() >= MOST_PLANS {
            return Err(limit_exceeded(format!("an account can have {MOST_PLANS} usage plans in a Region")));
        }
        let plan = UsagePlan {
            id: cx.short_id(6),
            name: input.name,
            description: input.description,
            stages: input.api_stages,
            throttle: input.throttle,
            quota: input.quota,
            tags: input.tags,
            created: cx.now,
            usage: BTreeMap::new(),
            buckets: BTreeMap::new(),
        };
        let answer = plan.json();
        self.plans.insert(plan.id.clone(), plan);
        Ok(Response::json(201, &answer))
    }

    pub(super) fn get_usage_plan(&mut self, _: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        let plan = self.plan(call.path[1])?;
        let mut answer = plan.json();
        answer["tags"] = json!(plan.tags);
        Ok(Response::json(200, &answer))
    }

    pub(super) fn get_usage_plans(&mut self, _: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        let of_key = match call.request.query("keyId") {
            Some(key) => Some(&self.keys.get(key).ok_or_else(no_such_key)?.plans),
            None => None,
        };
        let matching = self.plans.values().filter(|plan| of_key.is_none_or(|plans| plans.contains(&plan.id)));
        call.collection(matching.map(|plan| (plan.id.as_str(), plan.json())))
    }

    /// All of the patch or nothing. Modelled are `/apiStages` to add and to remove, with `API:STAGE` as the value,
    /// `/quota` and `/throttle` to remove, and what [`REPLACED`] names.
    pub(super) fn update_usage_plan(
        &mut self,
        cx: &mut Context<'_>,
        call: &Call<'_>,
    ) -> Result<Response, ServiceError> {
        let mut plan = self.plan(call.path[1])?.clone();
        let mut limits = Limits::of(&plan);
        for patch in call.patches()? {
            match (patch.op.as_str(), patch.path.as_str()) {
                ("add", "/apiStages") => {
                    let open = api_stage(&patch)?;
                    self.check_stage(&open)?;
                    self.check_members(&plan, &open)?;
                    if !plan.stages.contains(&open) {
                        plan.stages.push(open);
                    }
                }
                ("remove", "/apiStages") => {
                    let closed = api_stage(&patch)?;
                    let place = plan.stages.iter().position(|open| *open == closed);
                    let ApiStage { api_id, stage } = &closed;
                    let gone = format!(
                        "Invalid API Stage {{api: {api_id}, stage: {stage}}} specified for usageplan {}",
                        plan.id
                    );
                    plan.stages.remove(place.ok_or_else(|| not_found(gone))?);
                }
                ("replace", "/name") => plan.name = patch.value()?.to_owned(),
                ("replace", "/description") => plan.description = Some(patch.value()?.to_owned()),
                ("replace", "/throttle/rateLimit") => limits.rate = Some(number(&patch)?),
                ("replace", "/throttle/burstLimit") => limits.burst = Some(number(&patch)?),
                ("replace", "/quota/limit") => limits.quota = Some(number(&patch)?),
                ("replace", "/quota/offset") => limits.offset = Some(number(&patch)?),
                ("replace", "/quota/period") => limits.period = Some(period(&patch)?),
                ("remove", "/throttle") => (limits.rate, limits.burst) = (None, None),
                ("remove", "/quota") => (limits.quota, limits.offset, limits.period) = (None, None, None),
                ("add", _) => return Err(patch.wrong_path("/apiStages")),
                ("remove", _) => return Err(patch.wrong_path(REMOVED)),
                ("replace", _) => return Err(patch.wrong_path(REPLACED)),
                _ => return Err(patch.wrong_path("")),
            }
        }
        plan.limit(cx, limits)?;
        let mut answer = plan.json();
        answer["tags"] = json!(plan.tags);
        self.plans.insert(plan.id.clone(), plan);
        Ok(Response::json(200, &answer))
    }

    /// Refused while the plan has stages: `UpdateUsagePlan` takes them off.
    pub(super) fn delete_usage_plan(
        &mut self,
        cx: &mut Context<'_>,
        call: &Call<'_>,
    ) -> Result<Response, ServiceError> {
        let id = call.path[1];
        if let Some(open) = self.plan(id)?.stages.first() {
            return Err(bad_request(format!(
                "Cannot delete Usage Plan {id} because there are API Stages associated with it, including {}:{}",
                open.api_id, open.stage
            )));
        }
        self.plans.remove(id);
        let members: Vec<String> = self.members(id).map(|key| key.id.clone()).collect();
        for key in members {
            self.detach(cx, &key, id);
        }
        Ok(empty(202))
    }

    pub(super) fn create_usage_plan_key(
        &mut self,
        cx: &mut Context<'_>,
        call: &Call<'_>,
    ) -> Result<Response, ServiceError> {
        let input: CreateUsagePlanKey = call.body()?;
        if input.key_type != "API_KEY" {
            return Err(bad_request(format!("keyType must be API_KEY, not {}", input.key_type)));
        }
        self.attach(&input.key_id, call.path[1])?;
        self.publish(cx, &input.key_id);
        let key = self.keys.get(&input.key_id).ok_or_else(no_such_key)?;
        Ok(Response::json(201, &member_json(key)))
    }

    pub(super) fn get_usage_plan_key(
        &mut self,
        _: &mut Context<'_>,
        call: &Call<'_>,
    ) -> Result<Response, ServiceError> {
        Ok(Response::json(200, &member_json(self.member(call)?)))
    }

    /// Newest first. Of a plan that does not exist: none.
    pub(super) fn get_usage_plan_keys(
        &mut self,
        _: &mut Context<'_>,
        call: &Call<'_>,
    ) -> Result<Response, ServiceError> {
        let prefix = call.request.query("name").unwrap_or_default();
        let named = |key: &&ApiKey| key.name.as_deref().unwrap_or_default().starts_with(prefix);
        let matching = newest_first(self.members(call.path[1]).filter(named));
        call.collection(matching.map(|(place, key)| (place, member_json(key))))
    }

    pub(super) fn delete_usage_plan_key(
        &mut self,
        cx: &mut Context<'_>,
        call: &Call<'_>,
    ) -> Result<Response, ServiceError> {
        let key = self.member(call)?.id.clone();
        self.detach(cx, &key, call.path[1]);
        Ok(empty(202))
    }

    /// Tells `[used, remaining]` for each day, by key id or by value (`Settings::usage_by_value`). A
    /// key without usage in the plan is left out, and everything where the plan has no quota, unless
    /// `Settings::usage_without_quota` says otherwise: `remaining` is 0 then.
    pub(super) fn get_usage(&mut self, cx: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        let (start, end) = (date(call, "startDate")?, date(call, "endDate")?);
        if start > end || (end - start).num_days() >= MOST_DAYS {
            return Err(bad_request(format!("{start} to {end} is not a period of 1 to {MOST_DAYS} days")));
        }
        let id = call.path[1];
        let members: Vec<String> = match call.request.query("keyId") {
            Some(key) => vec![self.keys.get(key).ok_or_else(no_such_key)?.id.clone()],
            None => self.members(id).map(|key| key.id.clone()).collect(),
        };
        let plan = self.plans.get_mut(id).ok_or_else(no_such_plan)?;
        let tells = plan.quota.is_some() || cx.settings.usage_without_quota;
        let mut used = Vec::new();
        for key in members.iter().filter(|_| tells) {
            let (usage, measure) = plan.usage_of(cx, key);
            // Days that have not come yet have no figures.
            if let Some(days) = usage.tell((start, end.min(cx.now.date_naive())), measure, cx.now) {
                used.push((key.as_str(), json_of_days(&days)));
            }
        }
        let mut page = call.page(used.into_iter())?;
        if cx.settings.usage_by_value {
            for (key, _) in &mut page.items {
                *key = &self.keys[*key].value;
            }
        }
        let mut body = usage_json(id, start, end, page.items);
        if let Some(next) = page.next {
            body["position"] = json!(next);
        }
        Ok(Response::json(200, &body))
    }

    /// Sets what is left of the current period; what was used stays as it is.
    pub(super) fn update_usage(&mut self, cx: &mut Context<'_>, call: &Call<'_>) -> Result<Response, ServiceError> {
        let key = self.member(call)?.id.clone();
        let plan = self.plans.get_mut(call.path[1]).ok_or_else(no_such_plan)?;
        if plan.quota.is_none() {
            return Err(bad_request(format!("Usage Plan {} has no quota", plan.id)));
        }
        let patches = call.patches()?;
        let [patch] = patches.as_slice() else {
            return Err(bad_request("exactly one patch operation is needed: replace /remaining"));
        };
        let remaining = match (patch.op.as_str(), patch.path.as_str()) {
            ("replace", "/remaining") => patch.value()?,
            ("replace", _) => return Err(patch.wrong_path("/remaining")),
            _ => return Err(patch.wrong_path("")),
        };
        let remaining: u32 = remaining
            .parse()
            .map_err(|_| bad_request(format!("/remaining must be a whole number, not {remaining}")))?;
        let today = cx.now.date_naive();
        let (usage, measure) = plan.usage_of(cx, &key);
        usage.grant(i64::from(remaining), measure, cx.now);
        let used =
            usage.tell((today, today), measure, cx.now).and_then(|days| days.last().map(|day| day.used)).unwrap_or(0);
        let day = Day { used, remaining: i64::from(remaining) };
        let named = if cx.settings.usage_by_value { &self.keys[&key].value } else { &key };
        let items = vec![(named.as_str(), json_of_days(&[day]))];
        Ok(Response::json(200, &usage_json(&plan.id, today, today, items)))
    }

    fn check_stage(&self, open: &ApiStage) -> Result<(), ServiceError> {
        let api = self.apis.get(&open.api_id);
        let is_there = api.is_some_and(|api| api.stages.contains(&open.stage));
        let gone = || not_found(format!("API Stage not found: {}:{}", open.api_id, open.stage));
        if is_there { Ok(()) } else { Err(gone()) }
    }

    /// No key of the plan may be in another one that opens the same stage.
    fn check_members(&self, plan: &UsagePlan, open: &ApiStage) -> Result<(), ServiceError> {
        for key in self.members(&plan.id) {
            let mut others = key.plans.iter().filter(|id| **id != plan.id).filter_map(|id| self.plans.get(id));
            if others.any(|other| other.stages.contains(open)) {
                return Err(same_stage(plan, key, open));
            }
        }
        Ok(())
    }

    pub(super) fn plan(&self, id: &str) -> Result<&UsagePlan, ServiceError> {
        self.plans.get(id).ok_or_else(no_such_plan)
    }

    /// Puts a key into a plan. The caller publishes it.
    pub(super) fn attach(&mut self, key: &str, plan: &str) -> Result<(), ServiceError> {
        let plan = self.plan(plan)?;
        let key = self.keys.get(key).ok_or_else(no_such_key)?;
        if key.plans.contains(&plan.id) {
            return Err(conflict(format!("API Key {} is already in Usage Plan {}", key.id, plan.id)));
        }
        let others = key.plans.iter().filter_map(|id| self.plans.get(id));
        for open in others.flat_map(|other| &other.stages) {
            if plan.stages.contains(open) {
                return Err(same_stage(plan, key, open));
            }
        }
        if key.plans.len() >= MOST_PLANS_OF_A_KEY {
            return Err(limit_exceeded(format!("API Key {} is in {MOST_PLANS_OF_A_KEY} usage plans already", key.id)));
        }
        let (key, plan) = (key.id.clone(), plan.id.clone());
        self.keys.get_mut(&key).ok_or_else(no_such_key)?.plans.insert(plan);
        Ok(())
    }

    fn detach(&mut self, cx: &Context<'_>, key: &str, plan: &str) {
        if let Some(key) = self.keys.get_mut(key) {
            key.plans.remove(plan);
        }
        self.publish(cx, key);
    }

    fn members(&self, plan: &str) -> impl Iterator<Item = &ApiKey> {
        self.keys.values().filter(move |key| key.plans.contains(plan))
    }

    /// The key of a path like `/usageplans/PLAN/keys/KEY`, if it is in the plan.
    fn member(&self, call: &Call<'_>) -> Result<&ApiKey, ServiceError> {
        let plan = &self.plan(call.path[1])?.id;
        let key = self.keys.get(call.path[3]).filter(|key| key.plans.contains(plan));
        key.ok_or_else(|| not_found("Invalid Usage Plan Key identifier specified"))
    }
}

/// What a patch makes of a plan's throttle and quota. Each has members that AWS's patches set one by one.
struct Limits {
    rate: Option<f64>,
    burst: Option<u32>,
    quota: Option<u32>,
    offset: Option<u32>,
    period: Option<Period>,
}

impl Limits {
    fn of(plan: &UsagePlan) -> Self {
        let (throttle, quota) = (plan.throttle.as_ref(), plan.quota.as_ref());
        Self {
            rate: throttle.map(|throttle| throttle.rate_limit),
            burst: throttle.map(|throttle| throttle.burst_limit),
            quota: quota.map(|quota| quota.limit),
            offset: quota.map(|quota| quota.offset),
            period: quota.map(|quota| quota.period),
        }
    }
}

fn same_stage(plan: &UsagePlan, key: &ApiKey, open: &ApiStage) -> ServiceError {
    conflict(format!(
        "Usage Plan {} cannot be added because API Key {} cannot reference multiple Usage Plans with the same API stage: \
         {}:{}",
        plan.id, key.id, open.api_id, open.stage
    ))
}

/// The value of a patch of `/apiStages`.
fn api_stage(patch: &Patch) -> Result<ApiStage, ServiceError> {
    let (api_id, stage) = patch
        .value
        .as_deref()
        .and_then(|value| value.split_once(':'))
        .ok_or_else(|| bad_request("Invalid API Stage specified"))?;
    Ok(ApiStage { api_id: api_id.to_owned(), stage: stage.to_owned() })
}

fn number<T: FromStr>(patch: &Patch) -> Result<T, ServiceError> {
    let value = patch.value()?;
    value.parse().map_err(|_| bad_request(format!("{} can't be {value}", patch.path)))
}

fn period(patch: &Patch) -> Result<Period, ServiceError> {
    let value = patch.value()?;
    serde_json::from_value(json!(value)).map_err(|_| bad_request(format!("{} can't be {value}", patch.path)))
}

fn no_such_plan() -> ServiceError {
    not_found("Invalid Usage Plan ID specified")
}

fn member_json(key: &ApiKey) -> Value {
    let mut body = json!({ "id": key.id, "type": "API_KEY", "value": key.value });
    if let Some(name) = &key.name {
        body["name"] = json!(name);
    }
    body
}

/// The documents call the map `items` and the wire `values`.
fn usage_json(plan: &str, start: NaiveDate, end: NaiveDate, items: Vec<(&str, Value)>) -> Value {
    let values: serde_json::Map<String, Value> = items.into_iter().map(|(key, days)| (key.to_owned(), days)).collect();
    json!({
        "usagePlanId": plan,
        "startDate": start.to_string(),
        "endDate": end.to_string(),
        "values": values,
    })
}

fn json_of_days(days: &[Day]) -> Value {
    days.iter().map(|day| json!([day.used, day.remaining])).collect()
}

fn date(call: &Call<'_>, name: &str) -> Result<NaiveDate, ServiceError> {
    let raw = call.request.query(name).ok_or_else(|| bad_request(format!("{name} is missing")))?;
    raw.parse().map_err(|_| bad_request(format!("{name} must be a date like 2016-01-31, not {raw}")))
}

/// The offsets that API Gateway takes for each period.
fn check_quota(quota: &Quota) -> Result<(), ServiceError> {
    let (most, period) = match quota.period {
        Period::Day => (0, "DAY"),
        Period::Week => (6, "WEEK"),
        Period::Month => (27, "MONTH"),
    };
    if quota.offset > most {
        return Err(bad_request(format!(
            "Usage Plan quota offset must be between 0 and {most} inclusive in the {period} period"
        )));
    }
    Ok(())
}
