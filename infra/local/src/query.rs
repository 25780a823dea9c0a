//! The query protocol: a form in, XML out.

use http::header::CONTENT_TYPE;
use uuid::Uuid;

use crate::core::{Response, ServiceError};

/// The operation that a form asks for.
pub(crate) fn action(form: &[(String, String)]) -> &str {
    value(form, "Action").unwrap_or("Unknown")
}

/// The first value of that name.
pub(crate) fn value<'f>(form: &'f [(String, String)], name: &str) -> Option<&'f str> {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// An answer, or an error, in a service's namespace. `result` is what is inside of `ACTIONResult`.
pub(crate) fn response(
    namespace: &str,
    action: &str,
    request_id: Uuid,
    answer: Result<String, ServiceError>,
) -> Response {
    let (status, xml) = match answer {
        Ok(result) => (
            200,
            format!(
                "<{action}Response xmlns=\"{namespace}\"><{action}Result>{result}</{action}Result>\
                 <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
            ),
        ),
        Err(error) => (
            error.status,
            format!(
                "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>Sender</Type><Code>{code}</Code>\
                 <Message>{message}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
                code = error.code,
                message = escaped(&error.message),
            ),
        ),
    };
    Response { status, headers: vec![(CONTENT_TYPE, "text/xml".to_owned())], body: xml.into() }
}

/// Text as it may stand in XML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
