//! Who may do what: identity policies, evaluated as IAM does.
//!
//! A caller is known by the access key of its signature. Whoever has no role here may do everything, so that an AWS for
//! trying asks nobody to set up IAM first. Not modelled: resource policies, permissions boundaries, service control
//! policies, and sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use iam_rs::{
    Arn, Context, ContextValue, Decision, EvaluationError, IAMPolicy, IAMRequest, PolicyEvaluator, Principal,
    PrincipalId,
};
use serde_json::Value;

use crate::core::ServiceError;

mod asked;

pub(crate) use asked::{Scene, asked};

/// Keys of the request's context that may have many values.
const MANY: [&str; 3] = ["aws:TagKeys", "kms:GrantOperations", "secretsmanager:VersionStage"];

/// Keys whose value is true or false.
const TRUTHS: [&str; 3] =
    ["kms:BypassPolicyLockoutSafetyCheck", "secretsmanager:ModifyRotationRules", "secretsmanager:RotateImmediately"];

/// What a request asks of IAM. One request may ask for several things.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// As IAM names it, for instance `secretsmanager:GetSecretValue`.
    pub action: String,
    /// The ARN that it is about; `*` for actions that know no resource.
    pub resource: String,
    /// Condition keys and their values, for instance `aws:ResourceTag/team`.
    pub context: BTreeMap<String, Vec<String>>,
}

/// A role and the policies that are attached to it.
#[derive(Clone, Debug)]
pub struct Role {
    arn: String,
    evaluator: PolicyEvaluator,
}

/// A policy that can't be read, or not be evaluated.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is not in the form of a policy.
    #[error("a policy of {role} can't be read: {reason}")]
    Unreadable {
        /// The role's ARN.
        role: String,
        /// What is wrong with it.
        reason: String,
    },
    /// One of its patterns or conditions makes no sense.
    #[error("a policy of {role} can't be evaluated for {action}: {reason}")]
    Senseless {
        /// The role's ARN.
        role: String,
        /// What was asked.
        action: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Role {
    /// With those policies, each a document in IAM's JSON.
    ///
    /// # Errors
    ///
    /// A policy that is none.
    pub fn new(arn: impl Into<String>, policies: &[Value]) -> Result<Self, PolicyError> {
        let arn = arn.into();
        let read = |policy: &Value| serde_json::from_value::<IAMPolicy>(policy.clone());
        let policies = policies.iter().map(read).collect::<Result<Vec<_>, _>>();
        let policies =
            policies.map_err(|error| PolicyError::Unreadable { role: arn.clone(), reason: error.to_string() })?;
        Ok(Self { arn, evaluator: PolicyEvaluator::with_policies(policies) })
    }

    /// Its ARN.
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Whether its policies allow that.
    ///
    /// # Errors
    ///
    /// A policy that can't be evaluated.
    pub fn allows(&self, asked: &Asked) -> Result<bool, PolicyError> {
        let senseless = |reason: EvaluationError| PolicyError::Senseless {
            role: self.arn.clone(),
            action: asked.action.clone(),
            reason: reason.to_string(),
        };
        let resource = match Arn::parse(&asked.resource) {
            Ok(arn) => arn,
            // No resource: only `*` names it.
            Err(_) => Arn {
                partition: "aws".into(),
                service: "none".into(),
                region: String::new(),
                account_id: String::new(),
                resource: "*".into(),
            },
        };
        let context = asked.context.iter().filter_map(|(key, values)| {
            let value = if MANY.contains(&key.as_str()) {
                ContextValue::StringList(values.clone())
            } else if TRUTHS.contains(&key.as_str()) {
                ContextValue::Boolean(values.first()? == "true")
            } else {
                ContextValue::String(values.first()?.clone())
            };
            Some((key.clone(), value))
        });
        let principal = Principal::Aws(PrincipalId::String(self.arn.clone()));
        let context = Context::with_data(context.collect());
        let request = IAMRequest::new_with_context(principal, asked.action.clone(), resource, context);
        let decided = self.evaluator.evaluate(&request).map_err(senseless)?;
        Ok(decided.decision == Decision::Allow)
    }
}

/// Who calls with which access key.
#[derive(Clone, Default)]
pub(crate) struct Callers(BTreeMap<String, Arc<Role>>);

impl Callers {
    pub(crate) fn add(&mut self, access_key: String, role: Role) {
        self.0.insert(access_key, Arc::new(role));
    }

    pub(crate) fn role(&self, access_key: &str) -> Option<Arc<Role>> {
        self.0.get(access_key).cloned()
    }
}

/// The exception that AWS answers with.
pub(crate) fn denied(role: &Role, asked: &Asked) -> ServiceError {
    let Asked { action, resource, .. } = asked;
    let message = format!(
        "User: {} is not authorized to perform: {action} on resource: {resource} because no identity-based policy \
         allows the {action} action",
        role.arn
    );
    ServiceError::new(403, "AccessDeniedException", message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn role(statement: Value) -> Role {
        let policy = json!({"Version": "2012-10-17", "Statement": [statement]});
        Role::new("arn:aws:iam::123456789012:role/x", &[policy]).expect("a policy")
    }

    fn ask(action: &str, resource: &str, context: &[(&str, &str)]) -> Asked {
        let context = context.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect();
        Asked { action: action.into(), resource: resource.into(), context }
    }

    #[test]
    fn what_no_statement_allows_is_denied() {
        let role = role(json!({"Effect": "Allow", "Action": ["kms:Sign"],
            "Resource": "arn:aws:kms:eu-west-1:123456789012:key/*",
            "Condition": {"Null": {"aws:ResourceTag/rotator:credential": "false"}}}));
        let key = "arn:aws:kms:eu-west-1:123456789012:key/1";
        let tagged = [("aws:ResourceTag/rotator:credential", "partner/acme")];
        assert!(role.allows(&ask("kms:Sign", key, &tagged)).expect("evaluated"));
        for other in [
            ask("kms:Sign", key, &[]),
            ask("kms:Decrypt", key, &tagged),
            ask("kms:Sign", "arn:aws:kms:eu-west-1:123456789012:alias/1", &tagged),
            ask("kms:Sign", "*", &tagged),
        ] {
            assert!(!role.allows(&other).expect("evaluated"), "{other:?}");
        }
    }

    #[test]
    fn an_action_without_a_resource_is_allowed_on_everything_alone() {
        let all = role(json!({"Effect": "Allow", "Action": "kms:CreateKey", "Resource": "*"}));
        let keys = role(json!({"Effect": "Allow", "Action": "kms:CreateKey", "Resource": "arn:aws:kms:*:*:key/*"}));
        let asked = ask("kms:CreateKey", "*", &[]);
        assert!(all.allows(&asked).expect("evaluated") && !keys.allows(&asked).expect("evaluated"));
    }

    #[test]
    fn a_deny_is_the_last_word() {
        let policy = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "apigateway:GET", "Resource": "*"},
            {"Effect": "Deny", "Action": "apigateway:GET", "Resource": "arn:aws:apigateway:*::/apikeys*"}]});
        let role = Role::new("arn:aws:iam::123456789012:role/x", &[policy]).expect("a policy");
        let at = |path: &str| ask("apigateway:GET", &format!("arn:aws:apigateway:eu-west-1::{path}"), &[]);
        assert!(role.allows(&at("/usageplans/p1")).expect("evaluated"));
        assert!(!role.allows(&at("/apikeys/k1")).expect("evaluated"));
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let no_effect = json!({"Version": "2012-10-17", "Statement": [{"Action": "kms:Sign", "Resource": "*"}]});
        assert!(Role::new("arn:aws:iam::123456789012:role/x", &[no_effect]).is_err());
    }
}
