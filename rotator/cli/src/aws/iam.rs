//! IAM: what a role or a user would be allowed, without doing it.

use std::collections::BTreeSet;

use aws_config::SdkConfig;
use aws_sdk_iam::Client;
use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, PolicyEvaluationDecisionType};
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

impl Simulator {
    /// With the ordinary configuration.
    pub fn new(config: &SdkConfig) -> Self {
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        Self { client: Client::new(config), region }
    }

    /// What `principal`, the ARN of a role or a user, would be answered to each of the actions on a resource, in that
    /// order. `context`: values of context keys.
    pub async fn ask(
        &self,
        principal: &str,
        actions: &[&str],
        resource: &str,
        context: &[(&str, &str)],
    ) -> Result<Vec<Answered>, CallFailed> {
        let context: Vec<ContextEntry> = std::iter::once(&("aws:RequestedRegion", self.region.as_str()))
            .chain(context)
            .map(|(key, value)| {
                let entry = ContextEntry::builder().context_key_name(*key).context_key_values(*value);
                entry.context_key_type(ContextKeyTypeEnum::String).build()
            })
            .collect();
        let (mut answers, mut marker) = (Vec::new(), None);
        loop {
            let page = self
                .client
                .simulate_principal_policy()
                .policy_source_arn(principal)
                .set_action_names(Some(actions.iter().map(|action| (*action).to_owned()).collect()))
                .resource_arns(resource)
                .set_context_entries(Some(context.clone()))
                .set_marker(marker)
                .send()
                .await
                .map_err(|error| failed("iam:SimulatePrincipalPolicy", principal, Answer::Open, error))?;
            answers.extend(page.evaluation_results.unwrap_or_default());
            marker = page.marker.filter(|_| page.is_truncated);
            if marker.is_none() {
                break;
            }
        }
        Ok(actions
            .iter()
            .map(|action| {
                let Some(found) = answers.iter().find(|answer| answer.eval_action_name.eq_ignore_ascii_case(action))
                else {
                    return Answered::Depends(vec!["an answer that IAM did not give".into()]);
                };
                // Of a resource that is named they stand beside it, of others on top, says the AWS documentation.
                let beside = found.resource_specific_results().iter().flat_map(|one| one.missing_context_values());
                let missing: BTreeSet<&String> = found.missing_context_values().iter().chain(beside).collect();
                if found.eval_decision == PolicyEvaluationDecisionType::Allowed {
                    Answered::Allowed
                } else if !missing.is_empty() {
                    Answered::Depends(missing.into_iter().cloned().collect())
                } else if found.eval_decision == PolicyEvaluationDecisionType::ExplicitDeny {
                    Answered::Denied
                } else {
                    Answered::NotAllowed
                }
            })
            .collect())
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
