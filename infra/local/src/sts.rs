//! STS, as far as anybody here needs to know who they are.

use http::header::AUTHORIZATION;

use crate::core::{Context, Request, Response, ServiceError};
use crate::query;

pub(crate) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Answers one call. Only `GetCallerIdentity` is modelled.
pub(crate) fn handle(cx: &mut Context<'_>, request: &Request, form: &[(String, String)]) -> (String, Response) {
    let action = query::action(form).to_owned();
    let answer = if action == "GetCallerIdentity" {
        let (arn, user) = (query::escaped(&cx.caller()), access_key(request));
        Ok(format!("<Arn>{arn}</Arn><UserId>{user}</UserId><Account>{}</Account>", cx.account))
    } else {
        Err(ServiceError::new(400, "InvalidAction", "the embedded AWS models only GetCallerIdentity"))
    };
    let response = query::response(NAMESPACE, &action, cx.uuid(), answer);
    (action, response)
}

/// The access key id of a signature, reduced to what an id may hold: it goes into XML.
fn access_key(request: &Request) -> String {
    request
        .headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once("Credential="))
        .and_then(|(_, scope)| scope.split('/').next())
        .unwrap_or("anonymous")
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect()
}
