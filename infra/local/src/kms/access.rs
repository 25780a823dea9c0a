//! Who may use a key: its policy and its grants. Both are kept and told here, and count where a caller has a role.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::material::{KeySpec, KeyUsage};
use super::{Key, KeyState, Kms, Page, error, invalid, key_arn, page, pending_deletion, seconds};
use crate::core::{Context, ServiceError};

/// The one name that a key's policy has.
const POLICY_NAME: &str = "default";
/// Bytes of a policy.
const LONGEST_POLICY: usize = 32_768;

/// A grant on one key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    #[serde(flatten)]
    pub(super) terms: Terms,
    created: DateTime<Utc>,
}

/// What a grant grants, and to whom. The same terms under the same name are the same grant.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms {
    pub(super) name: Option<String>,
    pub(super) grantee: String,
    retiring: Option<String>,
    pub(super) operations: BTreeSet<String>,
    source_arn: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct GetKeyPolicy {
    key_id: String,
    policy_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct PutKeyPolicy {
    key_id: String,
    policy_name: Option<String>,
    policy: String,
    /// Taken and of no effect: who the caller is isn't known here.
    #[serde(rename = "BypassPolicyLockoutSafetyCheck")]
    _bypass: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateGrant {
    key_id: String,
    grantee_principal: String,
    retiring_principal: Option<String>,
    operations: BTreeSet<String>,
    constraints: Option<Constraints>,
    name: Option<String>,
}

/// The encryption context constraints are for symmetric encryption keys, which are not modelled.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Constraints {
    source_arn: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ListGrants {
    key_id: String,
    grant_id: Option<String>,
    grantee_principal: Option<String>,
    limit: Option<usize>,
    marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RevokeGrant {
    key_id: String,
    grant_id: String,
}

impl Key {
    /// To whom its grants allow which operations.
    pub(super) fn granted(&self) -> Vec<(String, BTreeSet<String>)> {
        self.grants.values().map(|Grant { terms, .. }| (terms.grantee.clone(), terms.operations.clone())).collect()
    }
}

impl Kms {
    /// In every state of the key.
    pub(super) fn get_key_policy(&self, cx: &Context<'_>, input: &GetKeyPolicy) -> Result<Value, ServiceError> {
        let key = self.key(cx, &input.key_id)?;
        check_policy_name(input.policy_name.as_deref())?;
        let policy = key.policy.clone().unwrap_or_else(|| default_policy(cx));
        Ok(json!({ "Policy": policy, "PolicyName": POLICY_NAME }))
    }

    /// In every state of the key.
    pub(super) fn put_key_policy(&mut self, cx: &Context<'_>, input: PutKeyPolicy) -> Result<Value, ServiceError> {
        self.key(cx, &input.key_id)?;
        check_policy_name(input.policy_name.as_deref())?;
        self.check_policy(&input.policy)?;
        self.key_mut(cx, &input.key_id)?.policy = Some(input.policy);
        Ok(json!({}))
    }

    /// Under a name it can be called again: the same terms answer the first one's id. Without one,
    /// every call is another grant. The token is a new one each time.
    pub(super) fn create_grant(&mut self, cx: &mut Context<'_>, input: CreateGrant) -> Result<Value, ServiceError> {
        let key = self.key(cx, &input.key_id)?;
        match key.state {
            KeyState::Enabled => {}
            KeyState::Disabled => return Err(super::disabled(cx, &key.id)),
            KeyState::PendingDeletion { .. } => return Err(pending_deletion(cx, &key.id)),
        }
        self.check_principal(&input.grantee_principal)?;
        input.retiring_principal.as_deref().map_or(Ok(()), |principal| self.check_principal(principal))?;
        check_operations(key.spec, &input.operations)?;
        input.name.as_deref().map_or(Ok(()), check_grant_name)?;
        let terms = Terms {
            name: input.name,
            grantee: input.grantee_principal,
            retiring: input.retiring_principal,
            operations: input.operations,
            source_arn: input.constraints.and_then(|constraints| constraints.source_arn),
        };

        let same = key.grants.iter().find(|(_, grant)| terms.name.is_some() && grant.terms == terms);
        let known = same.map(|(id, _)| id.clone());
        let key = key.id.clone();
        let id = known.unwrap_or_else(|| hex(&drawn::<32>(cx)));
        let answer = json!({ "GrantId": id, "GrantToken": STANDARD.encode(drawn::<96>(cx)) });
        let created = cx.now;
        self.key_mut(cx, &key)?.grants.entry(id).or_insert(Grant { terms, created });
        Ok(answer)
    }

    /// In every state of the key.
    pub(super) fn list_grants(&self, cx: &Context<'_>, input: ListGrants) -> Result<Value, ServiceError> {
        let key = self.key(cx, &input.key_id)?;
        let asked_for = |id: &str, grant: &Grant| {
            input.grant_id.as_deref().is_none_or(|asked| asked == id)
                && input.grantee_principal.as_ref().is_none_or(|asked| *asked == grant.terms.grantee)
        };
        let matching = key.grants.iter().filter(|(id, grant)| asked_for(id, grant));
        let entries = matching.map(|(id, grant)| (id.as_str(), entry(cx, key, id, grant)));
        let window = Page { key_id: None, limit: input.limit, marker: input.marker.clone() };
        page("Grants", entries, &window, (50, 100))
    }

    /// In every state of the key.
    pub(super) fn revoke_grant(&mut self, cx: &Context<'_>, input: &RevokeGrant) -> Result<Value, ServiceError> {
        match self.key_mut(cx, &input.key_id)?.grants.remove(&input.grant_id) {
            Some(_) => Ok(json!({})),
            None => Err(error("NotFoundException", format!("Grant ID {} not found", input.grant_id))),
        }
    }

    /// A user or role is deleted: where it was named its unique id stands from now on. Answers the id.
    pub(crate) fn forget_principal(&mut self, cx: &mut Context<'_>, arn: &str) -> String {
        let kind = if arn.contains(":user/") { "AIDA" } else { "AROA" };
        let id = format!("{kind}{}", cx.short_id(17).to_ascii_uppercase());
        for key in self.keys.values_mut() {
            key.policy = key.policy.take().map(|policy| policy.replace(&format!("\"{arn}\""), &format!("\"{id}\"")));
            let principals = key
                .grants
                .values_mut()
                .flat_map(|grant| std::iter::once(&mut grant.terms.grantee).chain(&mut grant.terms.retiring));
            principals.filter(|principal| *principal == arn).for_each(|principal| principal.clone_from(&id));
        }
        self.gone.insert(arn.to_owned(), id.clone());
        id
    }

    /// Its form, and that nobody is named who is known to be gone.
    pub(super) fn check_policy(&self, policy: &str) -> Result<(), ServiceError> {
        check_policy(policy)?;
        let is_named = |who: &str| policy.contains(&format!("\"{who}\""));
        if self.gone.iter().any(|(arn, id)| is_named(arn) || is_named(id)) {
            let message = "Policy contains a statement with one or more invalid principals.";
            return Err(error("MalformedPolicyDocumentException", message));
        }
        Ok(())
    }

    fn check_principal(&self, principal: &str) -> Result<(), ServiceError> {
        check_principal(principal)?;
        if self.gone.contains_key(principal) { Err(no_principal(principal)) } else { Ok(()) }
    }
}

/// Syntax, and what a statement of a key policy can't do without. A statement without `Action` or
/// `Resource` is taken, and of no effect, by the documentation.
fn check_policy(policy: &str) -> Result<(), ServiceError> {
    if policy.len() > LONGEST_POLICY {
        return Err(error("LimitExceededException", format!("a key policy has at most {LONGEST_POLICY} bytes")));
    }
    let malformed = |why: &str| Err(error("MalformedPolicyDocumentException", why));
    let Ok(Value::Object(policy)) = serde_json::from_str(policy) else {
        return malformed("the policy is not a JSON object");
    };
    let statements = match policy.get("Statement") {
        Some(Value::Array(statements)) if !statements.is_empty() => statements.as_slice(),
        Some(statement @ Value::Object(_)) => std::slice::from_ref(statement),
        Some(_) | None => return malformed("the policy has no Statement"),
    };
    for statement in statements {
        if !matches!(statement["Effect"].as_str(), Some("Allow" | "Deny")) {
            return malformed("a statement's Effect must be Allow or Deny");
        }
        if statement["Principal"].is_null() && statement["NotPrincipal"].is_null() {
            return malformed("a statement of a key policy needs a Principal");
        }
    }
    Ok(())
}

/// What a key has that was created without a policy: the account, and through it IAM, decides.
fn default_policy(cx: &Context<'_>) -> String {
    let policy = json!({
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [{
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": { "AWS": account_root(cx) },
            "Action": "kms:*",
            "Resource": "*",
        }],
    });
    format!("{policy:#}")
}

fn account_root(cx: &Context<'_>) -> String {
    format!("arn:aws:iam::{}:root", cx.account)
}

fn entry(cx: &Context<'_>, key: &Key, id: &str, Grant { terms, created }: &Grant) -> Value {
    let members = [
        ("KeyId", json!(key_arn(cx, &key.id))),
        ("GrantId", json!(id)),
        ("Name", json!(terms.name)),
        ("CreationDate", seconds(*created)),
        ("GranteePrincipal", json!(terms.grantee)),
        ("RetiringPrincipal", json!(terms.retiring)),
        ("IssuingAccount", json!(account_root(cx))),
        ("Operations", json!(terms.operations)),
        ("Constraints", terms.source_arn.as_ref().map_or(Value::Null, |arn| json!({ "SourceArn": arn }))),
    ];
    let told = members.into_iter().filter(|(_, value)| !value.is_null());
    json!(told.collect::<BTreeMap<_, _>>())
}

fn check_policy_name(name: Option<&str>) -> Result<(), ServiceError> {
    match name {
        None | Some(POLICY_NAME) => Ok(()),
        Some(_) => Err(error("NotFoundException", "No such policy exists")),
    }
}

/// The ARN of an account, a user, a role or a session. Whether there is such a one isn't known here,
/// unless it was deleted.
fn check_principal(principal: &str) -> Result<(), ServiceError> {
    let parts: Vec<&str> = principal.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", _, "iam" | "sts", "", account, resource]
            if account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()) && !resource.is_empty() =>
        {
            Ok(())
        }
        _ => Err(no_principal(principal)),
    }
}

fn no_principal(principal: &str) -> ServiceError {
    error("InvalidArnException", format!("ARN does not refer to a valid principal: {principal}"))
}

/// A grant permits only what its key can do.
fn check_operations(spec: KeySpec, operations: &BTreeSet<String>) -> Result<(), ServiceError> {
    let of_usage: &[&str] = match spec.usage() {
        KeyUsage::EncryptDecrypt => &["Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"],
        KeyUsage::SignVerify => &["Sign", "Verify", "GetPublicKey"],
        KeyUsage::GenerateVerifyMac => &["GenerateMac", "VerifyMac"],
    };
    let grantable = |operation: &str| {
        of_usage.contains(&operation) || ["DescribeKey", "CreateGrant", "RetireGrant"].contains(&operation)
    };
    match operations.iter().find(|operation| !grantable(operation)) {
        None if operations.is_empty() => Err(invalid("a grant needs Operations")),
        None => Ok(()),
        Some(operation) => {
            Err(invalid(format!("{operation} is not an operation of a grant on a key of spec {}", json!(spec))))
        }
    }
}

fn check_grant_name(name: &str) -> Result<(), ServiceError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":/_-".contains(c);
    if (1..=256).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(invalid(format!("invalid grant name {name:?}")))
}

fn drawn<const N: usize>(cx: &mut Context<'_>) -> [u8; N] {
    let mut bytes = [0; N];
    (cx.entropy)(&mut bytes);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
