//! IAM: what a role or a user would be allowed, without doing it.

use std::collections::{BTreeMap, BTreeSet};

use aws_config::SdkConfig;
use aws_sdk_iam::Client;
use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, EvaluationResult, PolicyEvaluationDecisionType};
use rotator::aws::{Answer, failed};
use rotator::failure::{CallFailed, Fault};

/// IAM's policy simulator.
#[derive(Clone, Debug)]
pub struct Simulator {
    client: Client,
    /// Where the calls are to be made that are asked about: many policies are limited to some Regions.
    region: String,
}

/// What IAM would say to an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Yes.
    Allowed,
    /// No statement allows it. A resource's own policy might, which a simulation for a role does not look at, says the
    /// AWS documentation.
    NotAllowed,
    /// A statement denies it.
    Denied,
    /// It depends on these context keys, which nobody gave: with them, another statement might allow it, or the one
    /// that denies it not apply.
    Depends(Vec<String>),
}

/// What IAM said of an action on a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    decision: PolicyEvaluationDecisionType,
    /// The context keys that IAM needed to evaluate the policies and did not get from the request.
    missing: BTreeSet<String>,
}

impl Simulated {
    /// Whether the policies ask for that context key, and nobody gave it: then the answer is not final.
    pub fn misses(&self, key: &str) -> bool {
        self.missing.iter().any(|missing| missing.eq_ignore_ascii_case(key))
    }

    /// What it comes to.
    pub fn answered(&self) -> Answered {
        if self.decision == PolicyEvaluationDecisionType::Allowed {
            Answered::Allowed
        } else if !self.missing.is_empty() {
            Answered::Depends(self.missing.iter().cloned().collect())
        } else if self.decision == PolicyEvaluationDecisionType::ExplicitDeny {
            Answered::Denied
        } else {
            Answered::NotAllowed
        }
    }
}

impl Simulator {
    /// With the ordinary configuration.
    pub fn new(config: &SdkConfig) -> Self {
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        Self { client: Client::new(config), region }
    }

    /// What `principal`, the ARN of a role or a user, would be answered to each of the actions on each of the resources:
    /// by resource, then by action. What IAM does not tell is absent. `context`: values of context keys.
    pub async fn ask<'a>(
        &self,
        principal: &str,
        actions: &[&'a str],
        resources: &[&str],
        context: &[(&str, &str)],
    ) -> Result<BTreeMap<String, BTreeMap<&'a str, Simulated>>, CallFailed> {
        let context: Vec<ContextEntry> = std::iter::once(&("aws:RequestedRegion", self.region.as_str()))
            .chain(context)
            .map(|(key, value)| {
                let entry = ContextEntry::builder().context_key_name(*key).context_key_values(*value);
                entry.context_key_type(ContextKeyTypeEnum::String).build()
            })
            .collect();
        let (mut results, mut marker) = (Vec::new(), None);
        loop {
            let page = self
                .client
                .simulate_principal_policy()
                .policy_source_arn(principal)
                .set_action_names(Some(actions.iter().map(|action| (*action).to_owned()).collect()))
                .set_resource_arns(Some(resources.iter().map(|resource| (*resource).to_owned()).collect()))
                .set_context_entries(Some(context.clone()))
                .set_marker(marker)
                .send()
                .await
                .map_err(|error| failed("iam:SimulatePrincipalPolicy", principal, Answer::Open, error))?;
            results.extend(page.evaluation_results.unwrap_or_default());
            marker = page.marker.filter(|_| page.is_truncated);
            if marker.is_none() {
                break;
            }
        }
        let mut told: BTreeMap<String, BTreeMap<&'a str, Simulated>> = BTreeMap::new();
        for action in actions {
            for result in results.iter().filter(|result| result.eval_action_name.eq_ignore_ascii_case(action)) {
                for (resource, simulated) in by_resource(result, resources) {
                    told.entry(resource).or_default().insert(action, simulated);
                }
            }
        }
        Ok(told)
    }

    /// The ARN of a role with its path, which the ARN of a session lacks; `None` when there is no such role.
    pub async fn role(&self, name: &str) -> Result<Option<String>, CallFailed> {
        match self.client.get_role().role_name(name).send().await {
            Ok(found) => Ok(found.role.map(|role| role.arn)),
            Err(error) => {
                let failed = failed("iam:GetRole", name, Answer::Open, error);
                if failed.fault == Fault::NotFound { Ok(None) } else { Err(failed) }
            }
        }
    }
}

/// The result of one action, taken apart. Of resources that are named, decision and missing keys stand beside each; of
/// others on top, says the AWS documentation. Where keys are told on top alone, each resource may be meant.
fn by_resource(result: &EvaluationResult, resources: &[&str]) -> Vec<(String, Simulated)> {
    let on_top = result.missing_context_values();
    let beside = result.resource_specific_results();
    let is_beside = beside.iter().any(|one| !one.missing_context_values().is_empty());
    let simulated = |decision: &PolicyEvaluationDecisionType, missing: &[String]| Simulated {
        decision: decision.clone(),
        missing: missing.iter().cloned().collect(),
    };
    match (beside, resources) {
        ([], [all]) => vec![((*all).to_owned(), simulated(&result.eval_decision, on_top))],
        ([], _) => {
            let resource = result.eval_resource_name.clone().unwrap_or_default();
            vec![(resource, simulated(&result.eval_decision, on_top))]
        }
        (beside, _) => beside
            .iter()
            .map(|one| {
                let missing = if is_beside { one.missing_context_values() } else { on_top };
                (one.eval_resource_name.clone(), simulated(&one.eval_resource_decision, missing))
            })
            .collect(),
    }
}
