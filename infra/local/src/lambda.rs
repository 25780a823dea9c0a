//! Lambda's own API, as far as somebody looks at how a function is set up (REST, JSON).
//!
//! What it tells changes nothing about how the function is invoked: the timeout is not enforced, nor
//! are the policy and the concurrency. Of `Invoke` there is the dry run alone, which runs nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::core::{Context, Request, Response, ServiceError};
use crate::functions::{Functions, function_name};
use crate::iam;

/// How a function is set up. What [`LocalAws::register`](crate::LocalAws::register) makes known has
/// the default, and lets Secrets Manager invoke it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionShape {
    /// Seconds.
    pub timeout: u32,
    /// Megabytes.
    pub memory: u32,
    /// The environment variables.
    pub environment: BTreeMap<String, String>,
    /// The subnets of its VPC; empty if it is in none.
    pub subnets: Vec<String>,
    /// The security groups in its VPC.
    pub security_groups: Vec<String>,
    /// The ARN of its execution role. `None`: a role of this account with the function's name.
    pub role: Option<String>,
    /// `Active`, `Inactive`, `Pending` or `Failed`.
    pub state: String,
    /// Its resource policy.
    pub policy: FunctionPolicy,
    /// How many invocations are reserved for it, which is also the most that run at once.
    pub reserved_concurrency: Option<u32>,
}

/// A function's resource policy: who may invoke it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionPolicy {
    /// `secretsmanager.amazonaws.com` on behalf of this account (`aws:SourceAccount`).
    SecretsManager,
    /// This JSON.
    Json(String),
    /// It has none.
    None,
}

impl Default for FunctionShape {
    fn default() -> Self {
        Self {
            timeout: 300,
            memory: 256,
            environment: BTreeMap::new(),
            subnets: Vec::new(),
            security_groups: Vec::new(),
            role: None,
            state: "Active".to_owned(),
            policy: FunctionPolicy::SecretsManager,
            reserved_concurrency: None,
        }
    }
}

/// Answers one call, and says which operation it was.
pub(crate) fn handle(
    cx: &Context<'_>,
    functions: &Functions,
    request: &Request,
) -> (&'static str, Result<Response, ServiceError>) {
    let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let (operation, named): (_, &str) = match (&request.method, path.as_slice()) {
        (&Method::GET, ["2015-03-31", "functions", name, "configuration"]) => ("GetFunctionConfiguration", name),
        (&Method::GET, ["2015-03-31", "functions", name, "policy"]) => ("GetPolicy", name),
        (&Method::GET, ["2019-09-30", "functions", name, "concurrency"]) => ("GetFunctionConcurrency", name),
        (&Method::POST, ["2015-03-31", "functions", name, "invocations"]) => ("Invoke", name),
        _ => {
            let message = format!("the embedded AWS does not model {} {} of Lambda", request.method, request.path);
            return ("Unknown", Err(ServiceError::new(400, "UnknownOperationException", message)));
        }
    };
    (operation, answer(cx, functions, request, operation, named))
}

fn answer(
    cx: &Context<'_>,
    functions: &Functions,
    request: &Request,
    operation: &str,
    named: &str,
) -> Result<Response, ServiceError> {
    if let Some((unknown, _)) = request.query.first() {
        let message = format!("unknown parameter {unknown}: the embedded AWS models none of {operation}");
        return Err(ServiceError::new(400, "InvalidParameterValueException", message));
    }
    let name = function_name(named);
    if operation == "Invoke" {
        check_dry_run(cx, request, named)?;
    }
    let arn = format!("arn:aws:lambda:{}:{}:function:{name}", cx.region, cx.account);
    let elsewhere = named.starts_with("arn:") && !named.starts_with(&arn);
    let shape = functions.shape(name).filter(|_| !elsewhere);
    let shape = shape.ok_or_else(|| not_found(format!("Function not found: {arn}")))?;
    let body = match operation {
        "Invoke" => return Ok(Response { status: 204, headers: Vec::new(), body: Bytes::new() }),
        "GetFunctionConfiguration" => configuration(cx, name, &arn, &shape),
        "GetPolicy" => {
            let policy = policy(cx, name, &arn, &shape.policy);
            let policy = policy.ok_or_else(|| not_found("The resource you requested does not exist."))?;
            json!({ "Policy": policy })
        }
        _ => shape.reserved_concurrency.map_or(json!({}), |most| json!({ "ReservedConcurrentExecutions": most })),
    };
    Ok(Response::json(200, &body))
}

/// "DryRun – Validate parameter values and verify that the user or role has permission to invoke the function", says
/// the AWS documentation. Whether there is such a function is told only to whoever has it.
fn check_dry_run(cx: &Context<'_>, request: &Request, function: &str) -> Result<(), ServiceError> {
    const ACTION: &str = "lambda:InvokeFunction";
    if request.headers.get("x-amz-invocation-type").is_none_or(|kind| kind != "DryRun") {
        let message = "the embedded AWS models Invoke with the InvocationType DryRun only";
        return Err(ServiceError::new(400, "InvalidParameterValueException", message));
    }
    if !iam::is_allowed(cx, ACTION) {
        let (who, on) = (cx.caller(), function_name(function));
        let on = format!("arn:aws:lambda:{}:{}:function:{on}", cx.region, cx.account);
        let message = format!(
            "User: {who} is not authorized to perform: {ACTION} on resource: {on} because no identity-based policy \
             allows the {ACTION} action"
        );
        return Err(ServiceError::new(403, "AccessDeniedException", message));
    }
    Ok(())
}

fn configuration(cx: &Context<'_>, name: &str, arn: &str, shape: &FunctionShape) -> Value {
    let role = Functions::role_of(cx.account, name, shape);
    let vpc = if shape.subnets.is_empty() { "" } else { "vpc-local" };
    json!({
        "FunctionName": name,
        "FunctionArn": arn,
        "Runtime": "provided.al2023",
        "Handler": "bootstrap",
        "Role": role,
        "Timeout": shape.timeout,
        "MemorySize": shape.memory,
        "Version": "$LATEST",
        "PackageType": "Zip",
        "Architectures": ["arm64"],
        "State": shape.state,
        "LastUpdateStatus": "Successful",
        "Environment": { "Variables": shape.environment },
        "VpcConfig": { "SubnetIds": shape.subnets, "SecurityGroupIds": shape.security_groups, "VpcId": vpc },
    })
}

fn policy(cx: &Context<'_>, name: &str, arn: &str, policy: &FunctionPolicy) -> Option<String> {
    match policy {
        FunctionPolicy::None => None,
        FunctionPolicy::Json(policy) => Some(policy.clone()),
        FunctionPolicy::SecretsManager => {
            let statement = json!({
                "Sid": format!("{name}-secretsmanager"),
                "Effect": "Allow",
                "Principal": { "Service": "secretsmanager.amazonaws.com" },
                "Action": "lambda:InvokeFunction",
                "Resource": arn,
                "Condition": { "StringEquals": { "aws:SourceAccount": cx.account } },
            });
            Some(json!({ "Version": "2012-10-17", "Id": "default", "Statement": [statement] }).to_string())
        }
    }
}

fn not_found(message: impl Into<String>) -> ServiceError {
    ServiceError::new(404, "ResourceNotFoundException", message)
}
