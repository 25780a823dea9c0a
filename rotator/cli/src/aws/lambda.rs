//! Lambda: how a function is set up, and who may invoke it.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::types::{InvocationType, State};
use chrono::TimeDelta;
use rotator::aws::{Answer, failed};
use rotator::failure::{CallFailed, Fault};

/// Lambda's control plane.
#[derive(Clone, Debug)]
pub struct Functions {
    client: Client,
}

/// How a function is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionView {
    /// Its ARN, without a version.
    pub arn: String,
    /// The ARN of the role that it runs as.
    pub role: String,
    /// After how long it is stopped.
    pub timeout: TimeDelta,
    /// Whether its network is a VPC's.
    pub in_vpc: bool,
    /// Whether it can be invoked; inactive ones can, a little later.
    pub is_ready: bool,
    /// Its settings of ours: variables that begin with `ROTATOR_`, and no others.
    pub settings: BTreeMap<String, String>,
}

impl Functions {
    /// With the ordinary configuration.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// A function by name or ARN; `None` when there is none.
    pub async fn get(&self, function: &str) -> Result<Option<FunctionView>, CallFailed> {
        let found = match self.client.get_function_configuration().function_name(function).send().await {
            Ok(found) => found,
            Err(error) => {
                // Its variables are in the answer, and may be anything.
                return none_if_missing(failed("lambda:GetFunctionConfiguration", function, Answer::Veiled, error));
            }
        };
        let variables = found.environment.and_then(|environment| environment.variables).unwrap_or_default();
        Ok(Some(FunctionView {
            arn: found.function_arn.unwrap_or_default(),
            role: found.role.unwrap_or_default(),
            // Lambda's own default.
            timeout: TimeDelta::seconds(found.timeout.unwrap_or(3).into()),
            in_vpc: found.vpc_config.and_then(|vpc| vpc.vpc_id).is_some_and(|id| !id.is_empty()),
            is_ready: !matches!(found.state, Some(State::Failed | State::Pending)),
            settings: variables.into_iter().filter(|(name, _)| name.starts_with("ROTATOR_")).collect(),
        }))
    }

    /// A function's resource policy, as JSON; `None` when it has none.
    pub async fn policy(&self, function: &str) -> Result<Option<String>, CallFailed> {
        match self.client.get_policy().function_name(function).send().await {
            Ok(found) => Ok(found.policy),
            Err(error) => none_if_missing(failed("lambda:GetPolicy", function, Answer::Open, error)),
        }
    }

    /// How many invocations at once are reserved for a function; `None`: it shares the account's.
    pub async fn reserved_concurrency(&self, function: &str) -> Result<Option<i32>, CallFailed> {
        match self.client.get_function_concurrency().function_name(function).send().await {
            Ok(found) => Ok(found.reserved_concurrent_executions),
            Err(error) => none_if_missing(failed("lambda:GetFunctionConcurrency", function, Answer::Open, error)),
        }
    }

    /// Asks whether the person may invoke a function, without invoking it.
    pub async fn try_invoke(&self, function: &str) -> Result<(), CallFailed> {
        let asked = self.client.invoke().function_name(function).invocation_type(InvocationType::DryRun).send().await;
        asked.map(drop).map_err(|error| failed("lambda:InvokeFunction", function, Answer::Open, error))
    }
}

fn none_if_missing<T>(failed: CallFailed) -> Result<Option<T>, CallFailed> {
    if failed.fault == Fault::NotFound { Ok(None) } else { Err(failed) }
}
