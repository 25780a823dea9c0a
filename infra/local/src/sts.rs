//! STS, as far as anybody here needs to know who they are.

use http::header::{AUTHORIZATION, CONTENT_TYPE};

use crate::core::{Context, Request, Response};

/// The query protocol: a form in, XML out. Only `GetCallerIdentity` is modelled.
pub(crate) fn handle(cx: &mut Context<'_>, request: &Request, form: &[(String, String)]) -> (String, Response) {
    let action =
        form.iter().find(|(key, _)| key == "Action").map_or_else(|| "Unknown".to_owned(), |(_, action)| action.clone());
    let request_id = cx.uuid();
    let (status, xml) = if action == "GetCallerIdentity" {
        let account = cx.account;
        let xml = format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <GetCallerIdentityResult><Arn>arn:aws:iam::{account}:user/local</Arn>\
             <UserId>{user}</UserId><Account>{account}</Account></GetCallerIdentityResult>\
             <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>\
             </GetCallerIdentityResponse>",
            user = access_key(request),
        );
        (200, xml)
    } else {
        let xml = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
             <Type>Sender</Type><Code>InvalidAction</Code>\
             <Message>the embedded AWS models only GetCallerIdentity</Message></Error>\
             <RequestId>{request_id}</RequestId></ErrorResponse>"
        );
        (400, xml)
    };
    let headers = vec![(CONTENT_TYPE, "text/xml".to_owned())];
    (action, Response { status, headers, body: xml.into() })
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
