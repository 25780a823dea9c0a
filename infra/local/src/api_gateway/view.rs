//! What tests and demonstrations may see without making a call.

use std::collections::BTreeMap;
use std::fmt;

use super::ApiGateway;

/// An API key as it is now on the control plane. Its `Debug` leaves the value out.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyView {
    /// API Gateway's id of it.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The key itself.
    pub value: String,
    /// Whether callers can use it.
    pub enabled: bool,
    /// The ids of the usage plans that it is in, in order.
    pub plans: Vec<String>,
    /// Its description, if it has one.
    pub description: Option<String>,
    /// Its customer id, if it has one.
    pub customer_id: Option<String>,
    /// Its tags, AWS's own among them.
    pub tags: BTreeMap<String, String>,
}

impl fmt::Debug for ApiKeyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyView")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("enabled", &self.enabled)
            .field("plans", &self.plans)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

/// A usage plan as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsagePlanView {
    /// API Gateway's id of it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The stages that it opens, as (API id, stage).
    pub stages: Vec<(String, String)>,
    /// Requests a period, if it has a quota.
    pub quota: Option<u32>,
}

impl ApiGateway {
    /// Every key, in the order of ids.
    pub(crate) fn keys(&self) -> Vec<ApiKeyView> {
        let view = |key: &super::ApiKey| ApiKeyView {
            id: key.id.clone(),
            name: key.name.clone(),
            value: key.value.clone(),
            enabled: key.enabled,
            plans: key.plans.iter().cloned().collect(),
            description: key.description.clone(),
            customer_id: key.customer_id.clone(),
            tags: key.tags.clone(),
        };
        self.keys.values().map(view).collect()
    }

    /// Every usage plan, in the order of ids.
    pub(crate) fn plans(&self) -> Vec<UsagePlanView> {
        let view = |plan: &super::UsagePlan| UsagePlanView {
            id: plan.id.clone(),
            name: plan.name.clone(),
            stages: plan.stages.iter().map(|open| (open.api_id.clone(), open.stage.clone())).collect(),
            quota: plan.quota.as_ref().map(|quota| quota.limit),
        };
        self.plans.values().map(view).collect()
    }
}
