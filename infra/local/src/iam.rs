//! IAM, as far as somebody asks what a principal may do.
//!
//! No policy is evaluated: `SimulatePrincipalPolicy` answers what
//! [`Settings::simulated`](crate::Settings::simulated) and
//! [`Settings::denied_actions`](crate::Settings::denied_actions) say, the same for every resource. There
//! are the roles of the functions, those of [`Settings::roles`](crate::Settings::roles), and the caller.

use std::collections::BTreeMap;

use crate::core::{Context, Response, ServiceError};
use crate::functions::Functions;
use crate::query;
use crate::settings::{Decision, Simulated};

pub(crate) const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
/// The results of one page, if the caller does not say, and at most.
const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;

/// Answers one call. `functions`: the roles that there are, but for [`Settings::roles`](crate::Settings::roles).
pub(crate) fn handle(cx: &mut Context<'_>, functions: &Functions, form: &[(String, String)]) -> (String, Response) {
    let action = query::action(form).to_owned();
    let roles = Roles { cx: &*cx, functions };
    let answer = match action.as_str() {
        "GetRole" => get_role(&roles, form),
        "SimulatePrincipalPolicy" => simulate(&roles, form),
        _ => {
            let message = "the embedded AWS models only GetRole and SimulatePrincipalPolicy of IAM";
            Err(ServiceError::new(400, "InvalidAction", message))
        }
    };
    let response = query::response(NAMESPACE, &action, cx.uuid(), answer);
    (action, response)
}

/// Whether the caller may do that, where the call itself asks.
pub(crate) fn is_allowed(cx: &Context<'_>, action: &str) -> bool {
    let principal = match cx.caller().split_once(":assumed-role/") {
        Some((_, session)) => {
            let name = session.split('/').next().unwrap_or_default();
            let known = cx.settings.roles.iter().find(|arn| role_name(arn) == name);
            known.cloned().unwrap_or_else(|| format!("arn:aws:iam::{}:role/{name}", cx.account))
        }
        None => cx.caller(),
    };
    // Of a real call the context is known to IAM: nothing is missing.
    match rule(cx, &principal, action) {
        Some(Simulated { condition, .. }) if !condition.is_empty() => true,
        Some(_) => false,
        None => !is_denied(cx, action),
    }
}

/// The roles that there are.
struct Roles<'c, 'w> {
    cx: &'c Context<'w>,
    functions: &'c Functions,
}

impl Roles<'_, '_> {
    /// The ARN of the role of that name. Names are unique in an account, whatever their paths.
    fn named(&self, name: &str) -> Option<String> {
        let known = self.cx.settings.roles.iter().find(|arn| role_name(arn) == name).cloned();
        known.or_else(|| self.functions.role(self.cx.account, name))
    }
}

fn role_name(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

fn get_role(roles: &Roles<'_, '_>, form: &[(String, String)]) -> Result<String, ServiceError> {
    let known = ["Action", "Version", "RoleName"];
    if let Some((name, _)) = form.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        return Err(invalid(format!("unknown parameter {name}: the embedded AWS does not model it")));
    }
    let name = query::value(form, "RoleName").unwrap_or_default();
    let missing = || no_such_entity(format!("The role with name {name} cannot be found."));
    let arn = roles.named(name).ok_or_else(missing)?;
    let path = arn.split_once(":role").and_then(|(_, rest)| rest.strip_suffix(name)).unwrap_or("/");
    Ok(format!(
        "<Role><Path>{}</Path><RoleName>{}</RoleName><RoleId>AROA{:A>17}</RoleId><Arn>{}</Arn>\
         <CreateDate>2026-01-01T00:00:00Z</CreateDate></Role>",
        query::escaped(path),
        query::escaped(name),
        "LOCAL",
        query::escaped(&arn),
    ))
}

/// One result for each action, with one for each resource in it.
fn simulate(roles: &Roles<'_, '_>, form: &[(String, String)]) -> Result<String, ServiceError> {
    let cx = roles.cx;
    if !cx.settings.may_simulate {
        let message = format!("User: {} is not authorized to perform: iam:SimulatePrincipalPolicy", cx.caller());
        return Err(ServiceError::new(403, "AccessDenied", message));
    }
    check_parameters(form)?;
    let principal = query::value(form, "PolicySourceArn").unwrap_or_default();
    check_principal(roles, principal)?;
    let actions = members(form, "ActionNames.member.");
    if let Some(action) = actions.iter().find(|action| !action.contains(':')) {
        return Err(invalid(format!("ActionNames: {action} is not SERVICE:ACTION")));
    }
    if actions.is_empty() {
        return Err(invalid("ActionNames must not be empty"));
    }
    let resources = members(form, "ResourceArns.member.");
    let given: Vec<&str> = form
        .iter()
        .filter(|(name, _)| name.starts_with("ContextEntries.") && name.ends_with(".ContextKeyName"))
        .map(|(_, key)| key.as_str())
        .collect();

    let number = |name: &str| match query::value(form, name) {
        None => Ok(None),
        Some(raw) => raw.parse().map(Some).map_err(|_| invalid(format!("{name}: {raw} is not valid"))),
    };
    let start = number("Marker")?.unwrap_or(0).min(actions.len());
    let most = number("MaxItems")?.unwrap_or(DEFAULT_PAGE).clamp(1, LARGEST_PAGE);
    let end = (start + most).min(actions.len());
    let results = actions[start..end].iter().map(|action| result(cx, principal, action, &resources, &given));
    let results: String = results.collect();
    let more = if end < actions.len() {
        format!("<IsTruncated>true</IsTruncated><Marker>{end}</Marker>")
    } else {
        "<IsTruncated>false</IsTruncated>".to_owned()
    };
    Ok(format!("<EvaluationResults>{results}</EvaluationResults>{more}"))
}

/// Of an action on resources that are named, the context keys that are missing stand beside each resource and not on
/// top, says the AWS documentation. (It has come to say that what is on top sums up all resources; whoever reads both
/// places is right either way.)
fn result(cx: &Context<'_>, principal: &str, action: &str, resources: &[&str], given: &[&str]) -> String {
    let (decision, missing) = decide(cx, principal, action, given);
    let missing: String = missing.iter().map(|key| format!("<member>{}</member>", query::escaped(key))).collect();
    let named: Vec<&str> = resources.iter().copied().filter(|resource| *resource != "*").collect();
    let specific: String = named
        .iter()
        .map(|resource| {
            format!(
                "<member><EvalResourceName>{}</EvalResourceName><EvalResourceDecision>{decision}</EvalResourceDecision>\
                 <MatchedStatements/><MissingContextValues>{missing}</MissingContextValues></member>",
                query::escaped(resource),
            )
        })
        .collect();
    let on_top = if named.is_empty() { missing.as_str() } else { "" };
    format!(
        "<member><EvalActionName>{}</EvalActionName><EvalResourceName>{}</EvalResourceName>\
         <EvalDecision>{decision}</EvalDecision><MatchedStatements/>\
         <MissingContextValues>{on_top}</MissingContextValues>\
         <ResourceSpecificResults>{specific}</ResourceSpecificResults></member>",
        query::escaped(action),
        query::escaped(resources.first().unwrap_or(&"*")),
    )
}

/// The decision by AWS's name, and the context keys that it would have taken and nobody gave.
fn decide(cx: &Context<'_>, principal: &str, action: &str, given: &[&str]) -> (&'static str, Vec<String>) {
    let Some(rule) = rule(cx, principal, action) else {
        return (if is_denied(cx, action) { "implicitDeny" } else { "allowed" }, Vec::new());
    };
    let is_given = |key: &&String| given.iter().any(|name| name.eq_ignore_ascii_case(key));
    let missing: Vec<String> = rule.condition.iter().filter(|key| !is_given(key)).cloned().collect();
    if missing.is_empty() && !rule.condition.is_empty() {
        return ("allowed", missing);
    }
    match rule.decision {
        Decision::ImplicitDeny => ("implicitDeny", missing),
        Decision::ExplicitDeny => ("explicitDeny", missing),
    }
}

fn rule<'c>(cx: &'c Context<'_>, principal: &str, action: &str) -> Option<&'c Simulated> {
    cx.settings.simulated.iter().find(|rule| {
        rule.action.eq_ignore_ascii_case(action) && rule.principal.as_deref().is_none_or(|whose| whose == principal)
    })
}

fn is_denied(cx: &Context<'_>, action: &str) -> bool {
    cx.settings.denied_actions.iter().any(|denied| denied.eq_ignore_ascii_case(action))
}

/// What is not here would change the answer, and is refused by its name.
fn check_parameters(form: &[(String, String)]) -> Result<(), ServiceError> {
    let known = |name: &str| {
        ["Action", "Version", "PolicySourceArn", "CallerArn", "Marker", "MaxItems"].contains(&name)
            || ["ActionNames.", "ResourceArns.", "ContextEntries."].iter().any(|prefix| name.starts_with(prefix))
    };
    match form.iter().find(|(name, _)| !known(name)) {
        None => Ok(()),
        Some((name, _)) => Err(invalid(format!("unknown parameter {name}: the embedded AWS does not model it"))),
    }
}

/// A user or role that there is. A session's ARN (`sts`, `assumed-role`) is none; groups are not known here.
fn check_principal(roles: &Roles<'_, '_>, arn: &str) -> Result<(), ServiceError> {
    let entity = arn.strip_prefix("arn:aws:iam::").and_then(|rest| rest.split_once(':')).map(|(_, entity)| entity);
    let is_there = match entity {
        Some(entity) if entity.starts_with("role/") => roles.named(role_name(arn)).is_some_and(|role| role == arn),
        Some(entity) if entity.starts_with("user/") => roles.cx.caller() == arn,
        Some(entity) if entity.starts_with("group/") => false,
        Some(_) | None => {
            let message = format!("Invalid Entity Arn: {arn} does not clearly define entity type and name.");
            return Err(invalid(message));
        }
    };
    if is_there { Ok(()) } else { Err(no_such_entity(format!("{arn} cannot be found."))) }
}

/// The values of a list, in the order of their numbers.
fn members<'f>(form: &'f [(String, String)], prefix: &str) -> Vec<&'f str> {
    let numbered =
        |(name, value): &'f (String, String)| Some((name.strip_prefix(prefix)?.parse::<usize>().ok()?, value.as_str()));
    form.iter().filter_map(numbered).collect::<BTreeMap<_, _>>().into_values().collect()
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::new(400, "InvalidInput", message)
}

fn no_such_entity(message: impl Into<String>) -> ServiceError {
    ServiceError::new(404, "NoSuchEntity", message)
}
