//! The same AWS over a port, for anything that speaks HTTP/1.

use std::convert::Infallible;
use std::future::Future;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http::header::HOST;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{text, without_port};
use crate::LocalAws;

/// DynamoDB's limit is the largest of all.
const MAX_BODY: usize = 16 * 1024 * 1024;

impl LocalAws {
    /// Answers over a port until the future is dropped, which closes every connection.
    ///
    /// Only requests whose `Host` is a loopback name or address are answered: a web page whose name
    /// was made to resolve to this machine gets nothing.
    pub fn serve(&self, listener: TcpListener) -> impl Future<Output = ()> + Send + use<> {
        let aws = self.clone();
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
                let aws = aws.clone();
                connections.spawn(async move {
                    let service = service_fn(|request| answer(&aws, request));
                    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    if let Err(error) = served {
                        tracing::debug!(%error, "a connection ended early");
                    }
                });
            }
        }
    }
}

async fn answer(aws: &LocalAws, request: http::Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let host = text(&parts.headers, HOST.as_str()).unwrap_or_default();
    if !is_loopback(without_port(host)) {
        return Ok(refusal(StatusCode::MISDIRECTED_REQUEST, "only loopback hosts are answered"));
    }
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE, "no body, or more than 16 MiB of it"));
    };
    let request = http::Request::from_parts(parts, body.to_bytes());
    Ok(aws.answer(request).await.map(Full::new))
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
        || host == "[::1]"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

fn refusal(status: StatusCode, message: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(message.as_bytes())));
    *response.status_mut() = status;
    response
}
