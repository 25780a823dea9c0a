//! The same AWS over a port, for anything that speaks HTTP/1.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::door::{self, AccessKey};
use super::{api_of, host_of, percent_decoded};
use crate::LocalAws;

/// DynamoDB's limit is the largest of all.
const MAX_BODY: usize = 16 * 1024 * 1024;

impl LocalAws {
    /// Answers over a port until the future is dropped, which closes every connection.
    ///
    /// Every service asks for a signature with that key, as AWS does, and refuses a browser's request that comes from
    /// another origin than this machine. The data plane asks for neither, on AWS as here: it has its API keys, and key
    /// sets are public. Nobody is answered under a name that is not this AWS's own: a loopback name or address, or
    /// `API.execute-api.REGION.amazonaws.com`.
    pub fn serve(&self, listener: TcpListener, key: AccessKey) -> impl Future<Output = ()> + Send + use<> {
        let (aws, key) = (self.clone(), Arc::new(key));
        async move {
            let mut connections = JoinSet::new();
            loop {
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of file handles, most likely: a connection has to end first.
                        tracing::warn!(%error, "a connection could not be accepted");
                        connections.join_next().await;
                        continue;
                    }
                };
                while connections.try_join_next().is_some() {}
                let (aws, key) = (aws.clone(), Arc::clone(&key));
                connections.spawn(async move {
                    let service = service_fn(|request| answer(&aws, &key, request));
                    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    if let Err(error) = served {
                        tracing::debug!(%error, "a connection ended early");
                    }
                });
            }
        }
    }
}

async fn answer(
    aws: &LocalAws,
    key: &AccessKey,
    request: http::Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let host = host_of(&parts.uri, &parts.headers);
    if !door::is_own_name(&host, aws.region()) {
        return Ok(refusal(StatusCode::FORBIDDEN, OTHER_NAME));
    }
    let is_data_plane = api_of(&host, &percent_decoded(parts.uri.path(), false)).is_some();
    if !is_data_plane && door::is_foreign(&parts.headers) {
        return Ok(refusal(StatusCode::FORBIDDEN, OTHER_ORIGIN));
    }
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE, "no body, or more than 16 MiB of it"));
    };
    let body = body.to_bytes();
    let stranger = if is_data_plane { None } else { key.check(&parts, &body).err() };
    Ok(aws.answer(http::Request::from_parts(parts, body), stranger).await.map(Full::new))
}

fn refusal(status: StatusCode, message: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(message.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

const OTHER_NAME: &str = "the Host of this request is no name of the embedded AWS: ask 127.0.0.1, localhost or an API's \
                          own host name\n";
const OTHER_ORIGIN: &str = "the Origin of this request is another site: the embedded AWS answers pages of this machine \
                            only\n";
