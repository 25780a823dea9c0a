//! Logs as JSON lines, metrics in CloudWatch's embedded metric format; both on standard output, where Lambda reads.

use std::io;

use metrics_cloudwatch_embedded::{Builder, Collector};
use tracing_subscriber::EnvFilter;

/// Collects metrics until they are flushed.
#[derive(Clone, Copy)]
pub struct Telemetry(&'static Collector);

/// Starts logs and metrics for this process. `RUST_LOG` filters as usual; the default is `info`.
pub fn start(function: &'static str) -> Result<Telemetry, lambda_runtime::Error> {
    // The SDK's own debug events may show requests: they stay off whatever RUST_LOG says.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let silent =
        ["aws_smithy_runtime", "aws_smithy_runtime_api", "aws_sdk_secretsmanager", "aws_sdk_apigateway", "hyper"];
    let filter = silent.into_iter().try_fold(filter, |filter, target| {
        Ok::<_, lambda_runtime::Error>(filter.add_directive(format!("{target}=warn").parse()?))
    })?;
    tracing_subscriber::fmt().json().flatten_event(true).with_current_span(true).with_env_filter(filter).try_init()?;
    let collector = Builder::new().cloudwatch_namespace("Rotator").with_dimension("function", function).init()?;
    Ok(Telemetry(collector))
}

impl Telemetry {
    /// Writes what was counted since the last time.
    pub fn flush(self) {
        if let Err(error) = self.0.flush(io::stdout()) {
            tracing::warn!(%error, "metrics could not be written");
        }
    }
}
