//! What the world provides and a test replaces: time, randomness, the wire.
//!
//! AWS itself needs no port: tests call the same adapters through the real SDK, against an embedded AWS behind the
//! [`Wire`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use chrono::TimeDelta;
use state::Time;
use uuid::Uuid;

/// Time, and waiting for it. Nothing here waits in any other way.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now.
    fn now(&self) -> Time;
    /// Returns when that much time has passed.
    async fn sleep(&self, time: TimeDelta);
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where time comes from")]
    fn now(&self) -> Time {
        chrono::Utc::now()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place where waiting happens")]
    async fn sleep(&self, time: TimeDelta) {
        tokio::time::sleep(time.to_std().unwrap_or_default()).await;
    }
}

/// Randomness for values that nobody may guess.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills the slice.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's random source.
#[derive(Clone, Copy, Debug)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // Without randomness no key may be drawn, and no call can repair a kernel that has none.
        getrandom::fill(bytes).expect("the operating system has a random source");
    }
}

/// How bytes reach AWS and the probed APIs: one TLS stack for both.
#[derive(Clone)]
pub struct Wire {
    connect: Arc<dyn Fn() -> SharedHttpConnector + Send + Sync>,
    shared: SharedHttpConnector,
}

impl Wire {
    /// TLS by rustls over aws-lc-rs, with the machine's trusted roots.
    pub fn tls() -> Self {
        Self::new(tls_connector)
    }

    /// Any other way, for instance to an AWS in this process. Called once for each new connection.
    pub fn new(connect: impl Fn() -> SharedHttpConnector + Send + Sync + 'static) -> Self {
        let shared = connect();
        Self { connect: Arc::new(connect), shared }
    }

    /// For the SDK: connections are kept and shared.
    pub fn http_client(&self) -> SharedHttpClient {
        let shared = self.shared.clone();
        http_client_fn(move |_, _| shared.clone())
    }

    /// For a probe: a connection of its own, so that no load balancer's memory of an earlier one can answer.
    pub fn fresh(&self) -> impl HttpConnector + use<> {
        (self.connect)()
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire(..)")
    }
}

/// A connector of its own over TLS. Plain HTTP works as well, for an endpoint on this machine.
pub fn tls_connector() -> SharedHttpConnector {
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(Duration::from_secs(3))
        .read_timeout(Duration::from_secs(20))
        .build();
    SharedHttpConnector::new(
        aws_smithy_http_client::Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .connector_settings(settings)
            .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
            .build(),
    )
}

/// Everything that is not AWS.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Bytes.
    pub wire: Wire,
}

impl Ports {
    /// A random id.
    pub fn id(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// The real world.
    pub fn real() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(OsEntropy), wire: Wire::tls() }
    }
}
