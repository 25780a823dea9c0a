//! API Gateway's keys and usage plans.
//!
//! The control plane takes ten calls a second from everybody in the account together: see [`super::turns`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use aws_config::SdkConfig;
use aws_sdk_apigateway::Client;
use aws_sdk_apigateway::types::{Op, PatchOperation, QuotaPeriodType, UsagePlan};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use chrono::{Days, NaiveDate};
use state::Time;
use state::evidence::{KeyUse, QuotaPeriod};

use super::turns::Turns;
use super::{Answer, failed};
use crate::failure::{CallFailed, Fault};
use crate::patience::in_place;
use crate::ports::Ports;
use crate::secret::SecretValue;

/// API Gateway's control plane.
#[derive(Debug)]
pub struct ApiKeys {
    client: Client,
    ports: Ports,
    turns: Turns,
    remembered: OnceLock<Listing>,
}

/// All keys and plans, as their lists told.
#[derive(Debug, Default)]
pub struct Listing {
    /// By their ids.
    pub keys: BTreeMap<String, ApiKey>,
    /// By their ids.
    pub plans: BTreeMap<String, Plan>,
    /// The plans of each key that is in one, by the key's id.
    pub members: BTreeMap<String, Vec<Plan>>,
}

/// Of more keys than that, lists are read: of so many, each is asked for by itself.
pub const FEW: usize = 20;

/// What stands for an id that may be its key's value: of a key that was made with `generateDistinctId=false`, or in 2016.
/// AWS's own examples show ids of 40 characters; all others have ten.
pub const SECRET_ID: &str = "(an id that may be the key itself)";
/// API Gateway's ids are ten characters, its values at least twenty: an id that long is taken for a value.
const SHORTEST_VALUE: usize = 20;

/// What may be told of an id.
fn told(id: &str) -> &str {
    if id.len() >= SHORTEST_VALUE { SECRET_ID } else { id }
}

/// What became of a call about one key. An id that is the key's value stands in AWS's message, too.
fn failed_on_key<E>(action: &'static str, id: &str, answer: Answer<'_>, error: SdkError<E, HttpResponse>) -> CallFailed
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let answer = if told(id) == id { answer } else { Answer::Sealed };
    failed(action, &format!("/apikeys/{}", told(id)), answer, error)
}

/// A key, without its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiKey {
    /// API Gateway's id; [`SECRET_ID`] if nobody may see that.
    pub id: String,
    /// Its name; many keys may have the same.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// For the marketplace, and for whoever uses it otherwise.
    pub customer_id: Option<String>,
    /// Whether it is accepted.
    pub enabled: bool,
    /// When it was made, as API Gateway says.
    pub created: Option<Time>,
    /// All of them, `aws:` ones included.
    pub tags: BTreeMap<String, String>,
}

/// A usage plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// API Gateway's id.
    pub id: String,
    /// For people.
    pub name: String,
    /// `api/stage` of each stage that it lets into.
    pub stages: BTreeSet<String>,
    /// How many requests a key may make in each of the plan's periods, and how long those are.
    pub quota: Option<(i64, QuotaPeriod)>,
    /// Whether its period begins on a day of its own: the quota's `offset`. On which day and at which hour that is, AWS's
    /// documents do not say alike.
    pub is_offset: bool,
    /// The plan's own tags: `rotator:allow` among them says which credentials may join.
    pub tags: BTreeMap<String, String>,
}

/// A key that is to be.
#[derive(Debug)]
pub struct NewKey<'a> {
    /// The value that we chose.
    pub value: &'a SecretValue,
    /// Everything else.
    pub key: &'a ApiKey,
}

/// What keys used in a plan, day by day.
pub type Use = BTreeMap<String, BTreeMap<NaiveDate, KeyUse>>;

impl ApiKeys {
    /// With its turns among everybody who calls it.
    pub fn new(config: &SdkConfig, ports: Ports, turns: Turns) -> Self {
        Self { client: Client::new(config), ports, turns, remembered: OnceLock::new() }
    }

    /// Answers from these lists from now on, for a command that looks at many credentials and changes nothing. What is
    /// newer than they are is still asked for.
    pub fn remember(&self, listing: Listing) {
        self.remembered.get_or_init(|| listing);
    }

    /// A key by id; `None` when there is none.
    pub async fn get(&self, id: &str) -> Result<Option<ApiKey>, CallFailed> {
        if let Some(key) = self.remembered.get().and_then(|listing| listing.keys.get(id)) {
            return Ok(Some(key.clone()));
        }
        let found = self.through(|| async {
            let asked = self.client.get_api_key().api_key(id).include_value(false).send().await;
            asked.map_err(|error| failed_on_key("apigateway:GET", id, Answer::Open, error))
        });
        match found.await {
            Ok(found) => Ok(Some(ApiKey {
                id: told(&found.id.unwrap_or_default()).to_owned(),
                name: found.name.unwrap_or_default(),
                description: found.description,
                customer_id: found.customer_id,
                enabled: found.enabled,
                created: found.created_date.as_ref().and_then(moment),
                tags: found.tags.unwrap_or_default().into_iter().collect(),
            })),
            Err(failed) => none_if_missing(failed),
        }
    }

    /// A key's value; `None` when there is no such key. To tell one key from another: at
    /// adoption, where the answer to a creation was lost, and before a key is refused or deleted.
    pub async fn value(&self, id: &str) -> Result<Option<SecretValue>, CallFailed> {
        let found = self.through(|| async {
            let asked = self.client.get_api_key().api_key(id).include_value(true).send().await;
            asked.map_err(|error| failed_on_key("apigateway:GET", id, Answer::Veiled, error))
        });
        match found.await {
            Ok(found) => Ok(found.value.map(SecretValue::new)),
            Err(failed) => none_if_missing(failed),
        }
    }

    /// Creates a key with a value of our choice. A key with the same value is a conflict.
    pub async fn create(&self, new: &NewKey<'_>) -> Result<String, CallFailed> {
        let made = self.through(|| async {
            let asked = self.client.create_api_key().name(&new.key.name);
            let asked = asked
                .set_description(new.key.description.clone())
                .set_customer_id(new.key.customer_id.clone())
                .enabled(new.key.enabled)
                .value(new.value.expose())
                .set_tags(Some(new.key.tags.clone().into_iter().collect()));
            let made = asked.send().await;
            made.map_err(|error| failed("apigateway:POST", "/apikeys", Answer::Without(&[new.value]), error))
        });
        Ok(made.await?.id.unwrap_or_default())
    }

    /// All keys whose name begins so, without their values. An empty prefix: all keys.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ApiKey>, CallFailed> {
        Ok(self.pages(prefix, false).await?.into_iter().map(|(key, _)| key).collect())
    }

    /// The key with exactly that value, searched by value among those whose name begins so.
    pub async fn find(&self, prefix: &str, value: &SecretValue) -> Result<Option<ApiKey>, CallFailed> {
        let found = self.pages(prefix, true).await?;
        Ok(found
            .into_iter()
            .find(|(_, other)| other.as_ref().is_some_and(|other| other.same_as(value)))
            .map(|(key, _)| key))
    }

    async fn pages(&self, prefix: &str, values: bool) -> Result<Vec<(ApiKey, Option<SecretValue>)>, CallFailed> {
        let mut keys = Vec::new();
        let mut position = None;
        loop {
            let page = self.through(|| async {
                let query = (!prefix.is_empty()).then(|| prefix.to_owned());
                let asked = self.client.get_api_keys().set_name_query(query).include_values(values).limit(500);
                let page = asked.set_position(position.clone()).send().await;
                page.map_err(|error| {
                    let answer = if values { Answer::Veiled } else { Answer::Open };
                    failed("apigateway:GET", "/apikeys", answer, error)
                })
            });
            let page = page.await?;
            keys.extend(page.items.unwrap_or_default().into_iter().map(|key| {
                let value = key.value.map(SecretValue::new);
                let key = ApiKey {
                    id: told(&key.id.unwrap_or_default()).to_owned(),
                    name: key.name.unwrap_or_default(),
                    description: key.description,
                    customer_id: key.customer_id,
                    enabled: key.enabled,
                    created: key.created_date.as_ref().and_then(moment),
                    tags: key.tags.unwrap_or_default().into_iter().collect(),
                };
                (key, value)
            }));
            position = page.position;
            if position.is_none() {
                return Ok(keys);
            }
        }
    }

    /// Lets API Gateway accept a key, or refuse it. `false` when there is no such key.
    pub async fn set_enabled(&self, id: &str, enabled: bool) -> Result<bool, CallFailed> {
        let done = self.through(|| async {
            let patch = PatchOperation::builder().op(Op::Replace).path("/enabled").value(enabled.to_string()).build();
            let done = self.client.update_api_key().api_key(id).patch_operations(patch).send().await;
            done.map_err(|error| failed_on_key("apigateway:PATCH", id, Answer::Open, error))
        });
        match done.await {
            Ok(_) => Ok(true),
            Err(failed) => none_if_missing(failed).map(|found: Option<()>| found.is_some()),
        }
    }

    /// Sets one of a key's tags. Its ARN follows from that of a secret in the same Region.
    pub async fn mark(&self, id: &str, secret: &str, tag: &str, value: &str) -> Result<(), CallFailed> {
        let part = |n: usize| secret.split(':').nth(n).unwrap_or_default();
        let arn = format!("arn:{}:apigateway:{}::/apikeys/{id}", part(1), part(3));
        let tagged = self.through(|| async {
            let tagged = self.client.tag_resource().resource_arn(&arn).tags(tag, value).send().await;
            tagged.map_err(|error| failed_on_key("apigateway:PUT", id, Answer::Open, error))
        });
        tagged.await.map(drop)
    }

    /// Deletes a key; that it is gone already is fine.
    pub async fn delete(&self, id: &str) -> Result<(), CallFailed> {
        let deleted = self.through(|| async {
            let deleted = self.client.delete_api_key().api_key(id).send().await;
            deleted.map_err(|error| failed_on_key("apigateway:DELETE", id, Answer::Open, error))
        });
        match deleted.await {
            Ok(_) => Ok(()),
            Err(failed) => none_if_missing(failed).map(|_: Option<()>| ()),
        }
    }

    /// The plans that a key is in.
    pub async fn plans_of(&self, key: &str) -> Result<Vec<Plan>, CallFailed> {
        if let Some(listing) = self.remembered.get().filter(|listing| listing.keys.contains_key(key)) {
            return Ok(listing.members.get(key).cloned().unwrap_or_default());
        }
        self.plans_with(Some(key)).await
    }

    /// All plans.
    pub async fn plans(&self) -> Result<Vec<Plan>, CallFailed> {
        self.plans_with(None).await
    }

    /// The plans that a key is in, or all.
    async fn plans_with(&self, key: Option<&str>) -> Result<Vec<Plan>, CallFailed> {
        let mut plans = Vec::new();
        let mut position = None;
        loop {
            let page = self.through(|| async {
                let asked = self.client.get_usage_plans().set_key_id(key.map(str::to_owned)).limit(500);
                let page = asked.set_position(position.clone()).send().await;
                page.map_err(|error| failed("apigateway:GET", "/usageplans", Answer::Open, error))
            });
            let page = match page.await {
                Ok(page) => page,
                // A key that is gone is in no plan.
                Err(failed) if failed.fault == Fault::NotFound => return Ok(Vec::new()),
                Err(failed) => return Err(failed),
            };
            plans.extend(page.items.unwrap_or_default().into_iter().map(plan));
            position = page.position;
            if position.is_none() {
                return Ok(plans);
            }
        }
    }

    /// The keys of these plans, each with its plans, by the keys' ids: one call for each plan and 500 keys.
    pub async fn memberships(&self, plans: &[Plan]) -> Result<BTreeMap<String, Vec<Plan>>, CallFailed> {
        let mut members: BTreeMap<String, Vec<Plan>> = BTreeMap::new();
        for plan in plans {
            let mut position = None;
            loop {
                let page = self.through(|| async {
                    let asked = self.client.get_usage_plan_keys().usage_plan_id(&plan.id).limit(500);
                    let page = asked.set_position(position.clone()).send().await;
                    page.map_err(|error| {
                        failed("apigateway:GET", &format!("/usageplans/{}/keys", plan.id), Answer::Open, error)
                    })
                });
                let page = match page.await {
                    Ok(page) => page,
                    // Deleted since it was listed: nothing is in it.
                    Err(failed) if failed.fault == Fault::NotFound => break,
                    Err(failed) => return Err(failed),
                };
                for key in page.items.unwrap_or_default() {
                    members.entry(key.id.unwrap_or_default()).or_default().push(plan.clone());
                }
                position = page.position;
                if position.is_none() {
                    break;
                }
            }
        }
        Ok(members)
    }

    /// A plan by id; `None` when there is none.
    pub async fn plan(&self, id: &str) -> Result<Option<Plan>, CallFailed> {
        if let Some(plan) = self.remembered.get().and_then(|listing| listing.plans.get(id)) {
            return Ok(Some(plan.clone()));
        }
        let found = self.through(|| async {
            let found = self.client.get_usage_plan().usage_plan_id(id).send().await;
            found.map_err(|error| failed("apigateway:GET", &format!("/usageplans/{id}"), Answer::Open, error))
        });
        match found.await {
            Ok(found) => Ok(Some(plan(
                UsagePlan::builder()
                    .set_id(found.id)
                    .set_name(found.name)
                    .set_api_stages(found.api_stages)
                    .set_quota(found.quota)
                    .set_tags(found.tags)
                    .build(),
            ))),
            Err(failed) => none_if_missing(failed),
        }
    }

    /// Puts a key into a plan. That it is in it already, or in another with the same stage, is a conflict: it proves
    /// nothing, so read back.
    pub async fn attach(&self, key: &str, plan: &str) -> Result<(), CallFailed> {
        let attached = self.through(|| async {
            let asked = self.client.create_usage_plan_key().usage_plan_id(plan).key_id(key).key_type("API_KEY");
            let attached = asked.send().await;
            attached
                .map_err(|error| failed("apigateway:POST", &format!("/usageplans/{plan}/keys"), Answer::Open, error))
        });
        attached.await.map(drop)
    }

    /// What each key of a plan used from one day to another, both included; only that key's, if one is named. Keys of
    /// which nothing is told are absent: that is not zero.
    pub async fn usage(&self, plan: &str, key: Option<&str>, days: (NaiveDate, NaiveDate)) -> Result<Use, CallFailed> {
        let mut told = Use::new();
        let mut position = None;
        loop {
            let page = self.through(|| async {
                let asked = self.client.get_usage().usage_plan_id(plan).set_key_id(key.map(str::to_owned));
                let asked = asked.start_date(days.0.to_string()).end_date(days.1.to_string()).limit(500);
                let page = asked.set_position(position.clone()).send().await;
                page.map_err(|error| {
                    failed("apigateway:GET", &format!("/usageplans/{plan}/usage"), Answer::Veiled, error)
                })
            });
            let page = match page.await {
                Ok(page) => page,
                // Of a key, or a plan, that is gone nothing is told.
                Err(failed) if failed.fault == Fault::NotFound => return Ok(told),
                Err(failed) => return Err(failed),
            };
            for (id, figures) in page.items.unwrap_or_default() {
                // The documents disagree on whether the map goes by the key's id or by its value: a value tells itself
                // by its length, and must not be kept.
                let id = match key {
                    Some(key) => key.to_owned(),
                    None if id.len() < SHORTEST_VALUE => id,
                    None => String::new(),
                };
                let figures = figures.into_iter().zip(0..).filter_map(|(figures, day)| {
                    let (used, left) = (*figures.first()?, *figures.get(1)?);
                    Some((days.0 + Days::new(day), KeyUse { used, left }))
                });
                told.insert(id, figures.collect());
            }
            position = page.position;
            if position.is_none() {
                return Ok(told);
            }
        }
    }

    /// What is left of a key's quota in a plan in the period that `today` is in; `None` without data.
    pub async fn remaining(&self, plan: &str, key: &str, today: Time) -> Result<Option<i64>, CallFailed> {
        let day = today.format("%Y-%m-%d").to_string();
        let told = self.through(|| async {
            let asked = self.client.get_usage().usage_plan_id(plan).key_id(key);
            let told = asked.start_date(&day).end_date(&day).send().await;
            told.map_err(|error| failed("apigateway:GET", &format!("/usageplans/{plan}/usage"), Answer::Open, error))
        });
        let usage = match told.await {
            Ok(usage) => usage,
            // Of a key that is gone, nothing is known.
            Err(failed) if failed.fault == Fault::NotFound => return Ok(None),
            Err(failed) => return Err(failed),
        };
        // The documents disagree on whether the map goes by the key's id or by its value; only one key was asked for.
        let days = usage.items.unwrap_or_default().into_values().next();
        Ok(days.and_then(|days| days.last().and_then(|day| day.get(1)).copied()))
    }

    /// Sets what is left of a key's quota in a plan, for the present period.
    pub async fn set_remaining(&self, plan: &str, key: &str, remaining: i64) -> Result<(), CallFailed> {
        let done = self.through(|| async {
            let patch =
                PatchOperation::builder().op(Op::Replace).path("/remaining").value(remaining.to_string()).build();
            let done = self.client.update_usage().usage_plan_id(plan).key_id(key).patch_operations(patch).send().await;
            done.map_err(|error| {
                failed("apigateway:PATCH", &format!("/usageplans/{plan}/keys/{key}/usage"), Answer::Open, error)
            })
        });
        done.await.map(drop)
    }

    /// A call when it is its turn, until it gets through.
    async fn through<T, A>(&self, mut call: impl FnMut() -> A) -> Result<T, CallFailed>
    where
        A: Future<Output = Result<T, CallFailed>>,
    {
        in_place(&self.ports, || {
            let called = call();
            async {
                self.turns.wait().await;
                let answer = called.await;
                if answer.as_ref().is_err_and(|failed| matches!(failed.fault, Fault::Throttled(_))) {
                    self.turns.met_others();
                }
                answer
            }
        })
        .await
    }
}

fn none_if_missing<T>(failed: CallFailed) -> Result<Option<T>, CallFailed> {
    if failed.fault == Fault::NotFound { Ok(None) } else { Err(failed) }
}

fn moment(at: &aws_smithy_types::DateTime) -> Option<Time> {
    Time::from_timestamp_millis(at.to_millis().ok()?)
}

fn period(period: &QuotaPeriodType) -> Option<QuotaPeriod> {
    let known = [
        (QuotaPeriodType::Day, QuotaPeriod::Day),
        (QuotaPeriodType::Week, QuotaPeriod::Week),
        (QuotaPeriodType::Month, QuotaPeriod::Month),
    ];
    known.into_iter().find(|(theirs, _)| theirs == period).map(|(_, ours)| ours)
}

fn plan(found: UsagePlan) -> Plan {
    Plan {
        id: found.id.unwrap_or_default(),
        name: found.name.unwrap_or_default(),
        stages: found
            .api_stages
            .unwrap_or_default()
            .into_iter()
            .map(|stage| format!("{}/{}", stage.api_id.unwrap_or_default(), stage.stage.unwrap_or_default()))
            .collect(),
        is_offset: found.quota.as_ref().is_some_and(|quota| quota.offset != 0),
        quota: found.quota.and_then(|quota| Some((i64::from(quota.limit), period(quota.period()?)?))),
        tags: found.tags.unwrap_or_default().into_iter().collect(),
    }
}
