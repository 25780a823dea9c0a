//! Who may do what: identity policies, evaluated as IAM does.
//!
//! A caller is known by the access key of its signature. Whoever has no role here may do everything, so that an AWS for
//! trying asks nobody to set up IAM first. The policies and grants of KMS keys count as well. Not modelled: other resource
//! policies, permissions boundaries, service control policies, and sessions.

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
const MANY: [&str; 4] = ["aws:TagKeys", "dynamodb:LeadingKeys", "kms:GrantOperations", "secretsmanager:VersionStage"];

/// Keys whose value is true or false.
const TRUTHS: [&str; 3] =
    ["kms:BypassPolicyLockoutSafetyCheck", "secretsmanager:ModifyRotationRules", "secretsmanager:RotateImmediately"];

/// What a request asks of IAM. One request may ask for several things.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// As IAM names it, for instance `secretsmanager:GetSecretValue`.
    pub action: String,
    /// The ARN that it is about; `*` for actions that know no resource.
    pub resource: String,
    /// Condition keys and their values, for instance `aws:ResourceTag/team`.
    pub context: BTreeMap<String, Vec<String>>,
    /// What the resource itself says of the caller.
    pub by_resource: ByResource,
}

/// What the policy and the grants of a resource say of a caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ByResource {
    /// The account decides, and so the caller's own policies.
    #[default]
    Delegates,
    /// It is allowed, unless the caller's own policies deny it.
    Allows,
    /// It is denied, or nobody allows it: the caller's own policies don't count.
    Refuses,
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

    /// Whether that is allowed, by its policies or by the resource.
    ///
    /// # Errors
    ///
    /// A policy that can't be evaluated.
    pub fn allows(&self, asked: &Asked) -> Result<bool, PolicyError> {
        let decision = self.decides(&self.evaluator, &self.arn, asked)?;
        Ok(match asked.by_resource {
            ByResource::Delegates => decision == Decision::Allow,
            ByResource::Allows => decision != Decision::Deny,
            ByResource::Refuses => false,
        })
    }

    /// What a resource's policy says of this role: of the role itself, or of its account.
    pub(crate) fn under(&self, policy: &str, asked: &Asked) -> Result<ByResource, PolicyError> {
        let unreadable = |error: serde_json::Error| PolicyError::Unreadable {
            role: asked.resource.clone(),
            reason: error.to_string(),
        };
        let policy: IAMPolicy = serde_json::from_str(policy).map_err(unreadable)?;
        let evaluator = PolicyEvaluator::with_policies(vec![policy]);
        let account = self.arn.split(':').nth(4).unwrap_or_default();
        let of_role = self.decides(&evaluator, &self.arn, asked)?;
        let of_account = self.decides(&evaluator, &format!("arn:aws:iam::{account}:root"), asked)?;
        Ok(match (of_role, of_account) {
            (Decision::Deny, _) => ByResource::Refuses,
            (Decision::Allow, _) => ByResource::Allows,
            (Decision::NotApplicable, Decision::Allow) => ByResource::Delegates,
            (Decision::NotApplicable, Decision::Deny | Decision::NotApplicable) => ByResource::Refuses,
        })
    }

    fn decides(&self, evaluator: &PolicyEvaluator, who: &str, asked: &Asked) -> Result<Decision, PolicyError> {
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
        let principal = Principal::Aws(PrincipalId::String(who.to_owned()));
        let context = Context::with_data(context.collect());
        let request = IAMRequest::new_with_context(principal, asked.action.clone(), resource, context);
        Ok(evaluator.evaluate(&request).map_err(senseless)?.decision)
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
    let who = match asked.by_resource {
        ByResource::Delegates | ByResource::Allows => "identity-based",
        ByResource::Refuses => "resource-based",
    };
    let message = format!(
        "User: {} is not authorized to perform: {action} on resource: {resource} because no {who} policy allows the \
         {action} action",
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
        Asked { action: action.into(), resource: resource.into(), context, ..Asked::default() }
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
    fn a_keys_policy_allows_denies_or_leaves_it_to_the_account() {
        let sign = json!({"Effect": "Allow", "Action": "kms:Sign", "Resource": "*"});
        let (able, unable) = (role(sign.clone()), role(json!({"Effect": "Allow", "Action": "a:b", "Resource": "*"})));
        let statement = |effect: &str, who: &str| {
            let mut statement = sign.clone();
            statement["Effect"] = effect.into();
            statement["Principal"] = json!({ "AWS": who });
            statement
        };
        let (root, own) = ("arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:role/x");
        let other = "arn:aws:iam::123456789012:role/y";
        for (statements, by_resource, is_able, is_unable) in [
            (vec![statement("Allow", root)], ByResource::Delegates, true, false),
            (vec![statement("Allow", root), statement("Allow", own)], ByResource::Allows, true, true),
            (vec![statement("Allow", own)], ByResource::Allows, true, true),
            (vec![statement("Allow", other)], ByResource::Refuses, false, false),
            (vec![statement("Allow", root), statement("Deny", own)], ByResource::Refuses, false, false),
        ] {
            let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
            let asked = ask("kms:Sign", "arn:aws:kms:eu-west-1:123456789012:key/1", &[]);
            assert_eq!(able.under(&policy, &asked).expect("evaluated"), by_resource, "{policy}");
            let asked = Asked { by_resource, ..asked };
            assert_eq!(able.allows(&asked).expect("evaluated"), is_able, "{policy}");
            assert_eq!(unable.allows(&asked).expect("evaluated"), is_unable, "{policy}");
        }
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let no_effect = json!({"Version": "2012-10-17", "Statement": [{"Action": "kms:Sign", "Resource": "*"}]});
        assert!(Role::new("arn:aws:iam::123456789012:role/x", &[no_effect]).is_err());
    }
}
