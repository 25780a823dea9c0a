//! Logs as JSON lines, metrics in CloudWatch's embedded metric format; both on standard output, where Lambda reads.

use std::io;

use metrics_cloudwatch_embedded::{Builder, Collector};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Collects metrics until they are flushed.
#[derive(Clone, Copy)]
pub struct Telemetry(&'static Collector);

/// Starts logs and metrics for this process.
pub fn start(function: &str) -> Result<Telemetry, lambda_runtime::Error> {
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_filter(filter("info"));
    tracing_subscriber::registry().with(lines).try_init()?;
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, "panicked: {}", panic.payload_as_str().unwrap_or("without a message"));
    }));
    let function = function.to_owned();
    let collector = Builder::new().cloudwatch_namespace("Rotator").with_dimension("function", function).init()?;
    Ok(Telemetry(collector))
}

/// What is logged: as `RUST_LOG` says, or by default from that level on; of other crates never more than warnings,
/// because what the SDK and the HTTP client tell of a request may hold a value.
pub fn filter<S: Subscriber + for<'a> LookupSpan<'a>>(default: &str) -> impl Filter<S> + use<S> {
    let wanted = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    wanted.and(filter_fn(may_be_logged))
}

fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    // Each failure is told by the function already, and as JSON.
    const SAID: &str = "lambda_runtime::layers::panic";
    const OURS: [&str; 7] = ["rotator", "rotator_cli", "rotation", "retirement", "jwks", "state", "local_aws"];
    let root = metadata.target().split("::").next().unwrap_or_default();
    metadata.target() != SAID && (OURS.contains(&root) || *metadata.level() <= Level::WARN)
}

impl Telemetry {
    /// Writes what was counted since the last time.
    pub fn flush(self) {
        if let Err(error) = self.0.flush(io::stdout()) {
            tracing::warn!(%error, "metrics could not be written");
        }
    }
}
