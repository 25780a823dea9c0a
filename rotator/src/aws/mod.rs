//! The only place that knows AWS's SDK. Its types stop here; its errors become a [`Fault`] in one function.

pub mod access_logs;
pub mod api_keys;
pub mod macs;
pub mod probe;
pub mod records;
pub mod secrets;
pub mod signing_keys;
pub mod turns;

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::failure::{CallFailed, Fault};
use crate::ports::Wire;
use crate::secret::SecretValue;

/// The ordinary AWS configuration, with the SDK's own retries off: they repeat blindly, and a lost answer to
/// `CreateApiKey` would become two keys. Retrying is the engine's alone.
pub async fn load_config(wire: &Wire) -> SdkConfig {
    plain(aws_config::defaults(BehaviorVersion::latest()).http_client(wire.http_client()).load().await)
}

/// Any configuration, with the settings that the engine relies on.
pub fn plain(config: SdkConfig) -> SdkConfig {
    config
        .into_builder()
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(3))
                .operation_attempt_timeout(Duration::from_secs(10))
                .build(),
        )
        .build()
}

/// What AWS said, without the request: a message can be shown, a request can carry a value.
#[derive(Debug, thiserror::Error)]
#[error("{code}{}{message}", if message.is_empty() { "" } else { ": " })]
struct Said {
    code: String,
    message: String,
}

/// How much of AWS's answer may be repeated.
#[derive(Clone, Copy)]
pub enum Answer<'a> {
    /// All of it.
    Open,
    /// All of it, unless it quotes one of the values that the request carries.
    Without(&'a [&'a SecretValue]),
    /// Only the code: the answer carries a value, and the message might quote it. Of a denial its reason is told all the
    /// same.
    Veiled,
    /// Only the code, whatever it is: the resource's very name is a value.
    Sealed,
}

/// What became of a call that did not go well. `action` is the IAM action, `resource` what it was about; neither is
/// taken from the request.
pub fn failed<E>(
    action: &'static str,
    resource: &str,
    answer: Answer<'_>,
    error: SdkError<E, HttpResponse>,
) -> CallFailed
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let fault = fault(&error);
    let said = match &error {
        SdkError::ServiceError(service) => {
            let message = service.err().message().unwrap_or_default();
            let is_harmless = match answer {
                Answer::Open => true,
                Answer::Without(values) => !values.iter().any(|value| value.is_quoted_in(message)),
                Answer::Veiled => fault == Fault::Denied && is_reason(message),
                Answer::Sealed => false,
            };
            Said {
                code: service.err().code().unwrap_or("an error without a code").to_owned(),
                message: if is_harmless { message.to_owned() } else { String::new() },
            }
        }
        SdkError::TimeoutError(_) => Said { code: "no answer in time".into(), message: String::new() },
        SdkError::DispatchFailure(_) => {
            Said { code: "the service could not be reached".into(), message: String::new() }
        }
        SdkError::ResponseError(_) => Said { code: "the answer could not be read".into(), message: String::new() },
        SdkError::ConstructionFailure(_) => {
            Said { code: "the request could not be built".into(), message: String::new() }
        }
        _ => Said { code: "an error of an unknown kind".into(), message: String::new() },
    };
    CallFailed { action, resource: resource.to_owned(), fault, source: Some(Box::new(said)) }
}

/// Whether that is AWS's reason for a denial: it names who, what and on which resource, and why not.
fn is_reason(message: &str) -> bool {
    message.starts_with("User: arn:") && message.contains(" is not authorized to perform: ")
        || message == "Access to KMS is not allowed"
}

fn fault<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Fault {
    if matches!(error, SdkError::ConstructionFailure(_)) {
        return Fault::Rejected;
    }
    // A connection that was refused may be told apart from one that broke, but not safely.
    let SdkError::ServiceError(service) = error else { return Fault::Unknown };
    let status = service.raw().status().as_u16();
    let code = service.err().code().unwrap_or_default();
    match code {
        "ThrottlingException"
        | "Throttling"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "ProvisionedThroughputExceededException"
        | "TransactionInProgressException"
        | "ConcurrentModificationException" => Fault::Throttled(retry_after(service.raw())),
        // The account has as many as it may have, and waiting does not help; API Gateway tells it with 429, as
        // <https://github.com/hashicorp/terraform-provider-aws/issues/37605> shows. By its model it could say when to come
        // back: then it would be the rate.
        "LimitExceededException" => match retry_after(service.raw()) {
            None => Fault::Rejected,
            after @ Some(_) => Fault::Throttled(after),
        },
        "ConflictException"
        | "ResourceExistsException"
        | "ConditionalCheckFailedException"
        | "TransactionCanceledException"
        | "TransactionConflictException" => Fault::Conflict,
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedException" | "KMSAccessDeniedException" => {
            Fault::Denied
        }
        "ResourceNotFoundException" | "NotFoundException" => Fault::NotFound,
        // API Gateway answers these with 403, others with 400 or 401.
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "UnrecognizedClientException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => Fault::Unauthenticated,
        _ if status == 429 => Fault::Throttled(retry_after(service.raw())),
        _ if status >= 500 => Fault::Unknown,
        _ if status == 403 => Fault::Denied,
        _ if status == 404 => Fault::NotFound,
        _ => Fault::Rejected,
    }
}

fn retry_after(response: &HttpResponse) -> Option<Duration> {
    response.headers().get("retry-after")?.parse().ok().map(Duration::from_secs)
}
