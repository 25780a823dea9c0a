//! IAM, as far as somebody asks what a principal may do.
//!
//! No policy is evaluated: `SimulatePrincipalPolicy` answers what
//! [`Settings::denied_actions`](crate::Settings::denied_actions) says, the same for every principal
//! and every resource. Which users and roles there are isn't known here.

use std::collections::BTreeMap;

use crate::core::{Context, Response, ServiceError};
use crate::query;

const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
/// The results of one page, if the caller does not say, and at most.
const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;

/// Answers one call. Only `SimulatePrincipalPolicy` is modelled.
pub(crate) fn handle(cx: &mut Context<'_>, form: &[(String, String)]) -> (String, Response) {
    let action = query::action(form).to_owned();
    let answer = if action == "SimulatePrincipalPolicy" {
        simulate(cx, form)
    } else {
        Err(ServiceError::new(400, "InvalidAction", "the embedded AWS models only SimulatePrincipalPolicy of IAM"))
    };
    let response = query::response(NAMESPACE, &action, cx.uuid(), answer);
    (action, response)
}

/// One result for each action and resource.
fn simulate(cx: &Context<'_>, form: &[(String, String)]) -> Result<String, ServiceError> {
    if !cx.settings.may_simulate {
        let message = format!(
            "User: arn:aws:iam::{}:user/local is not authorized to perform: iam:SimulatePrincipalPolicy",
            cx.account
        );
        return Err(ServiceError::new(403, "AccessDenied", message));
    }
    check_parameters(form)?;
    check_principal(cx, query::value(form, "PolicySourceArn").unwrap_or_default())?;
    let actions = members(form, "ActionNames.member.");
    if let Some(action) = actions.iter().find(|action| !action.contains(':')) {
        return Err(invalid(format!("ActionNames: {action} is not SERVICE:ACTION")));
    }
    if actions.is_empty() {
        return Err(invalid("ActionNames must not be empty"));
    }
    let mut resources = members(form, "ResourceArns.member.");
    if resources.is_empty() {
        resources.push("*");
    }

    let pairs: Vec<_> = actions.iter().flat_map(|action| resources.iter().map(move |arn| (action, arn))).collect();
    let number = |name: &str| match query::value(form, name) {
        None => Ok(None),
        Some(raw) => raw.parse().map(Some).map_err(|_| invalid(format!("{name}: {raw} is not valid"))),
    };
    let start = number("Marker")?.unwrap_or(0).min(pairs.len());
    let most = number("MaxItems")?.unwrap_or(DEFAULT_PAGE).clamp(1, LARGEST_PAGE);
    let end = (start + most).min(pairs.len());
    let results: String = pairs[start..end].iter().map(|(action, resource)| result(cx, action, resource)).collect();
    let more = if end < pairs.len() {
        format!("<IsTruncated>true</IsTruncated><Marker>{end}</Marker>")
    } else {
        "<IsTruncated>false</IsTruncated>".to_owned()
    };
    Ok(format!("<EvaluationResults>{results}</EvaluationResults>{more}"))
}

fn result(cx: &Context<'_>, action: &str, resource: &str) -> String {
    let denied = cx.settings.denied_actions.iter().any(|denied| denied.eq_ignore_ascii_case(action));
    format!(
        "<member><EvalActionName>{}</EvalActionName><EvalResourceName>{}</EvalResourceName>\
         <EvalDecision>{}</EvalDecision><MatchedStatements/><MissingContextValues/></member>",
        query::escaped(action),
        query::escaped(resource),
        if denied { "implicitDeny" } else { "allowed" },
    )
}

/// What is not here would change the answer, and is refused by its name. Context entries would
/// change it too, if policies were evaluated.
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

/// A user, group or role of this account. A session's ARN (`sts`, `assumed-role`) is none.
fn check_principal(cx: &Context<'_>, arn: &str) -> Result<(), ServiceError> {
    let entity = arn.strip_prefix("arn:aws:iam::").and_then(|rest| rest.split_once(':'));
    match entity {
        Some((account, entity)) if ["user/", "group/", "role/"].iter().any(|kind| entity.starts_with(kind)) => {
            if account == cx.account {
                return Ok(());
            }
            Err(ServiceError::new(404, "NoSuchEntity", format!("{arn} is not of this account")))
        }
        Some(_) | None => {
            Err(invalid(format!("Invalid Entity Arn: {arn} does not clearly define entity type and name.")))
        }
    }
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
