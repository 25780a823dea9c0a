//! The SDK's HTTP client, without a network.

use std::fmt;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use crate::LocalAws;

/// Hands every request to this AWS, whatever host it names.
#[derive(Clone)]
pub(crate) struct LocalConnector {
    pub(crate) aws: LocalAws,
    /// What is called sets a scene.
    pub(crate) is_set_up: bool,
}

impl HttpConnector for LocalConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { aws, is_set_up } = self.clone();
        HttpConnectorFuture::new(async move {
            let mut request = incoming(&request)?;
            if is_set_up {
                request.extensions_mut().insert(SetUp);
            }
            // Whoever holds this value needs no key: it is the AWS itself.
            let response = aws.answer(request, None).await;
            outgoing(response)
        })
    }
}

/// Marks a request that sets a scene.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetUp;

impl fmt::Debug for LocalConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalConnector")
    }
}

fn incoming(request: &HttpRequest) -> Result<http::Request<Bytes>, ConnectorError> {
    let body = request.body().bytes().ok_or_else(|| unusable("a streaming body"))?;
    let mut builder = http::Request::builder().method(request.method()).uri(request.uri());
    for (name, value) in request.headers() {
        builder = builder.header(name, value);
    }
    builder.body(Bytes::copy_from_slice(body)).map_err(unusable)
}

fn outgoing(response: http::Response<Bytes>) -> Result<HttpResponse, ConnectorError> {
    let (parts, body) = response.into_parts();
    let status = parts.status.as_u16().try_into().map_err(unusable)?;
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    for (name, value) in &parts.headers {
        let value = value.to_str().map_err(unusable)?.to_owned();
        response.headers_mut().append(name.as_str().to_owned(), value);
    }
    Ok(response)
}

fn unusable(reason: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>) -> ConnectorError {
    ConnectorError::user(reason.into())
}
