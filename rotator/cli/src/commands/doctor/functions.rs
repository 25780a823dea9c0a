//! The functions: their settings, and who may invoke the one that rotates.

use chrono::TimeDelta;
use rotator::aws::secrets::Particulars;
use rotator::doctor::permissions::Function;
use rotator::doctor::{Area, Check, Report, asked, refused};
use serde_json::Value;
use state::name::CredentialName;

use super::Doctor;
use crate::aws::lambda::FunctionView;

/// A step that is stopped earlier than this does not even get through a new key's first minute.
const TOO_SHORT: TimeDelta = TimeDelta::seconds(60);
/// A new key may take minutes until its stage knows it.
const SHORT: TimeDelta = TimeDelta::seconds(300);
/// Lower reserved concurrency makes rotations loop, says the AWS documentation.
const LEAST_CONCURRENCY: i32 = 10;

/// The functions that are there.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    functions: Vec<(Function, FunctionView)>,
}

impl Fleet {
    pub(super) fn get(&self, function: Function) -> Option<&FunctionView> {
        self.functions.iter().find(|(known, _)| *known == function).map(|(_, view)| view)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &(Function, FunctionView)> {
        self.functions.iter()
    }

    /// Whether the function that rotates has a network of its own.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.get(Function::Rotation).is_some_and(|rotation| rotation.in_vpc)
    }

    /// Whether the function that was looked at is the one that rotates a secret.
    pub(super) fn rotates(&self, name: &CredentialName, particulars: &Particulars) -> Option<Check> {
        let rotation = self.get(Function::Rotation)?;
        let arn = particulars.function_arn.as_ref()?;
        // With an alias or a version, it is the same function.
        (*arn != rotation.arn && !arn.starts_with(&format!("{}:", rotation.arn))).then(|| {
            let what = format!("{arn} rotates it, which is not the function that was looked at, {}", rotation.arn);
            let fix = format!(
                "if that is another service's: aws secretsmanager rotate-secret --secret-id {name} --no-rotate-immediately \
                 --rotation-lambda-arn {}; if it is right: `rotator doctor {name}` looks at that one",
                rotation.arn
            );
            Check::warning(Area::Function, what, fix)
        })
    }
}

impl Doctor<'_> {
    /// Finds the functions, and looks at their settings.
    pub(super) async fn fleet(&self, name: Option<&CredentialName>, report: &mut Report) -> Fleet {
        let mut fleet = Fleet::default();
        for function in Function::ALL {
            // Without a place to publish keys, nobody needs the function that does.
            if function == Function::Jwks && self.context.engine.config.jwks_url.is_none() {
                continue;
            }
            let id = match function {
                Function::Rotation => self.rotation(name).await,
                Function::Retirement => self.names.retirement.clone(),
                Function::Jwks => self.names.jwks.clone(),
            };
            if let Some(check) = self.elsewhere(function, &id) {
                report.add(check);
                continue;
            }
            let found = asked(&self.context.engine, async || Ok(self.lambda.get(&id).await?)).await;
            match found {
                Ok(Some(view)) => {
                    report.extend(settings(function, &view));
                    report.extend(self.same_place(function, &view));
                    if function == Function::Rotation {
                        report.extend(self.concurrency(&view).await);
                        report.add(self.invocable(&view, name).await);
                        report.extend(network(name, &view));
                    }
                    fleet.functions.push((function, view));
                }
                Ok(None) => {
                    let option = format!("--{}-function", function.word());
                    let fix = format!("deploy the stack, or name the function: {option} NAME");
                    report.add(Check::broken(Area::Function, format!("there is no function {id}"), fix));
                }
                Err(stopped) => report.add(refused(Area::Function, &format!("the function {id}"), &stopped)),
            }
        }
        fleet
    }

    /// The function that rotates: the one that was named, or the secret's own.
    async fn rotation(&self, name: Option<&CredentialName>) -> String {
        if let Some(named) = &self.names.rotation {
            return named.clone();
        }
        let engine = &self.context.engine;
        // A secret that can't be described has a line of its own.
        let own = match name {
            Some(name) => engine.secrets.particulars(name.as_str()).await.ok().and_then(|secret| secret.function_arn),
            None => None,
        };
        own.or_else(|| engine.config.function_arn.clone()).unwrap_or_else(|| Function::Rotation.word().into())
    }

    /// Whoever looks must look at what the functions work with.
    fn same_place(&self, function: Function, view: &FunctionView) -> Vec<Check> {
        let config = &self.context.engine.config;
        // An empty variable counts as not set.
        let theirs = |setting: &str| view.settings.get(setting).map(String::as_str).filter(|value| !value.is_empty());
        let table = Some(theirs("ROTATOR_TABLE").unwrap_or("rotator"));
        // What a function does not have, it does without.
        let ours = [
            ("ROTATOR_TABLE", table, Some(&config.table)),
            ("ROTATOR_FINGERPRINT_KEY", theirs("ROTATOR_FINGERPRINT_KEY"), config.fingerprint_key.as_ref()),
            ("ROTATOR_JWKS_URL", theirs("ROTATOR_JWKS_URL"), config.jwks_url.as_ref()),
            ("ROTATOR_KEY_PREFIX", theirs("ROTATOR_KEY_PREFIX"), Some(&config.key_prefix)),
        ];
        let differ = ours.into_iter().filter_map(|(setting, theirs, ours)| {
            let theirs = theirs?.trim_end_matches('/');
            let ours = ours.map_or("nothing", String::as_str);
            let what = format!("{} works with {setting} = {theirs}, and you with {ours}", function.word());
            (theirs != ours).then(|| Check::broken(Area::Function, what, format!("export {setting}={theirs}")))
        });
        differ.collect()
    }

    /// A function of another Region, which is not to be found in this one.
    fn elsewhere(&self, function: Function, id: &str) -> Option<Check> {
        let region = id.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(2))?;
        (region != self.scope.region).then(|| {
            let what = format!("{} is in Region {region}, and you look at {}", function.word(), self.scope.region);
            Check::broken(Area::Function, what, format!("export AWS_REGION={region}"))
        })
    }

    async fn concurrency(&self, view: &FunctionView) -> Option<Check> {
        let asked = asked(&self.context.engine, async || Ok(self.lambda.reserved_concurrency(&view.arn).await?));
        match asked.await {
            Ok(None) => None,
            Ok(Some(reserved)) if reserved >= LEAST_CONCURRENCY => None,
            Ok(Some(reserved)) => {
                let what = format!("rotation has a reserved concurrency of {reserved}: below 10, rotations loop");
                let fix = format!("aws lambda delete-function-concurrency --function-name {}", view.arn);
                Some(Check::broken(Area::Function, what, fix))
            }
            Err(stopped) => Some(refused(Area::Function, "the reserved concurrency of rotation", &stopped)),
        }
    }

    /// Whether Secrets Manager may invoke it, and only for this account.
    async fn invocable(&self, view: &FunctionView, name: Option<&CredentialName>) -> Check {
        // A secret that can't be described has a line of its own.
        let secret = match name {
            Some(name) => self.context.engine.secrets.particulars(name.as_str()).await.ok().map(|secret| secret.arn),
            None => None,
        };
        let asked = asked(&self.context.engine, async || Ok(self.lambda.policy(&view.arn).await?));
        let policy = match asked.await {
            Ok(policy) => policy.unwrap_or_default(),
            Err(stopped) => return refused(Area::Function, "who may invoke rotation", &stopped),
        };
        let account = &self.scope.account;
        let arn = &view.arn;
        let add = |statement: &str| {
            format!(
                "aws lambda add-permission --function-name {arn} --statement-id {statement} --action \
                 lambda:InvokeFunction --principal secretsmanager.amazonaws.com --source-account {account}"
            )
        };
        match invoked_by_secrets_manager(&policy, account, secret.as_deref()) {
            Caller::Ours => Check::ok(Area::Function, "Secrets Manager may invoke rotation for this account"),
            Caller::Anybodys(sid) => {
                let what =
                    "Secrets Manager may invoke rotation for any account: the permission has no aws:SourceAccount";
                let sid = sid.unwrap_or_else(|| "SID".into());
                let remove = format!("aws lambda remove-permission --function-name {arn} --statement-id {sid}");
                Check::warning(Area::Function, what, format!("{}, then: {remove}", add("secretsmanager-account")))
            }
            Caller::Nobodys => {
                Check::broken(Area::Function, "Secrets Manager may not invoke rotation", add("secretsmanager"))
            }
        }
    }
}

fn settings(function: Function, view: &FunctionView) -> Vec<Check> {
    let name = function.word();
    let seconds = view.timeout.num_seconds();
    let fix = format!(
        "aws lambda update-function-configuration --function-name {} --timeout {}",
        view.arn,
        SHORT.num_seconds()
    );
    let what = format!("{name} is stopped after {seconds} s");
    let timeout = match function {
        // It answers from one read.
        Function::Jwks => Check::ok(Area::Function, what),
        Function::Rotation | Function::Retirement if view.timeout < TOO_SHORT => {
            Check::broken(Area::Function, format!("{what}: nothing gets done in that"), fix)
        }
        Function::Rotation | Function::Retirement if view.timeout < SHORT => {
            let why = "a new key may take minutes to be known, so that one try is often not enough";
            Check::warning(Area::Function, format!("{what}: {why}"), fix)
        }
        Function::Rotation | Function::Retirement => Check::ok(Area::Function, what),
    };
    let ready = (!view.is_ready).then(|| {
        let fix =
            format!("aws lambda get-function-configuration --function-name {} --query StateReason says why", view.arn);
        Check::broken(Area::Function, format!("{name} can't be invoked"), fix)
    });
    ready.into_iter().chain([timeout]).collect()
}

/// What a person's machine can't see.
fn network(name: Option<&CredentialName>, view: &FunctionView) -> Option<Check> {
    view.in_vpc.then(|| {
        let name = name.map_or("NAME", CredentialName::as_str);
        let what = "rotation runs in a VPC: whether it reaches AWS and the probes' APIs can't be seen from here, and an \
                    execute-api endpoint with private DNS would make public APIs answer 403 there";
        let fix = format!(
            "let it try: aws secretsmanager rotate-secret --secret-id {name} --no-rotate-immediately, then read its log"
        );
        Check::warning(Area::Function, what, fix)
    })
}

/// For whom Secrets Manager may invoke a function.
#[derive(Debug, PartialEq, Eq)]
enum Caller {
    /// For this account, or for the secret in question.
    Ours,
    /// For whoever knows the function's ARN; the statement's id.
    Anybodys(Option<String>),
    /// For nobody here.
    Nobodys,
}

fn invoked_by_secrets_manager(policy: &str, account: &str, secret: Option<&str>) -> Caller {
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let statements: Vec<&Value> = match policy.get("Statement") {
        Some(Value::Array(many)) => many.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    let mut anybodys = None;
    for statement in statements {
        let services = texts(&statement["Principal"]["Service"]);
        let actions = texts(&statement["Action"]);
        let is_about = statement["Effect"] == "Allow"
            && services.contains(&"secretsmanager.amazonaws.com")
            && actions.iter().any(|action| ["lambda:InvokeFunction", "lambda:*", "*"].contains(action));
        if !is_about {
            continue;
        }
        let conditions: Vec<(String, Vec<&str>)> = statement["Condition"]
            .as_object()
            .into_iter()
            .flat_map(|operators| operators.values())
            .filter_map(Value::as_object)
            .flatten()
            .map(|(key, values)| (key.to_ascii_lowercase(), texts(values)))
            .collect();
        let named = |key: &str| conditions.iter().find(|(known, _)| known == key).map(|(_, values)| values);
        let is_accounts = named("aws:sourceaccount").map(|accounts| accounts.contains(&account));
        let is_secrets = named("aws:sourcearn").map(|patterns| {
            patterns.iter().any(|pattern| match secret {
                Some(secret) => names(pattern, secret),
                None => pattern.split(':').nth(4) == Some(account),
            })
        });
        let is_ours = match (is_accounts, is_secrets) {
            (Some(accounts), secrets) => Some(accounts && secrets.unwrap_or(true)),
            (None, secrets) => secrets,
        };
        match is_ours {
            Some(true) => return Caller::Ours,
            Some(false) => {}
            None => anybodys = Some(Caller::Anybodys(statement["Sid"].as_str().map(str::to_owned))),
        }
    }
    anybodys.unwrap_or(Caller::Nobodys)
}

/// Whether a pattern with `*` and `?` names that ARN, as far as its first wildcard tells.
fn names(pattern: &str, arn: &str) -> bool {
    pattern.split_once(['*', '?']).map_or(pattern == arn, |(beginning, _)| arn.starts_with(beginning))
}

/// One or many.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ACCOUNT: &str = "111122223333";

    fn caller_for(secret: Option<&str>, principal: &str, condition: Value) -> Caller {
        let statement = json!({"Sid": "x", "Effect": "Allow", "Principal": {"Service": principal},
            "Action": "lambda:InvokeFunction", "Resource": "*", "Condition": condition});
        invoked_by_secrets_manager(&json!({"Statement": [statement]}).to_string(), ACCOUNT, secret)
    }

    fn caller(principal: &str, condition: Value) -> Caller {
        caller_for(None, principal, condition)
    }

    #[test]
    fn a_permission_for_another_secret_is_none_for_this_one() {
        let (service, arn) = ("secretsmanager.amazonaws.com", |name: &str| {
            format!("arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:{name}")
        });
        let acme = arn("partner/acme-AbCdEf");
        for (pattern, expected) in
            [("*", Caller::Ours), ("partner/acme-??????", Caller::Ours), ("other-*", Caller::Nobodys)]
        {
            for account in [json!({}), json!({"aws:SourceAccount": ACCOUNT})] {
                let condition = json!({"ArnLike": {"aws:SourceArn": arn(pattern)}, "StringEquals": account});
                assert_eq!(caller_for(Some(&acme), service, condition), expected, "{pattern}");
            }
        }
    }

    #[test]
    fn secrets_manager_may_invoke_it_for_this_account_alone() {
        let ours = "secretsmanager.amazonaws.com";
        assert_eq!(caller(ours, json!({"StringEquals": {"AWS:SourceAccount": ACCOUNT}})), Caller::Ours);
        let secret = format!("arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:*");
        assert_eq!(caller(ours, json!({"ArnLike": {"aws:SourceArn": secret}})), Caller::Ours);
        assert_eq!(caller(ours, json!({"StringEquals": {"aws:SourceAccount": "999988887777"}})), Caller::Nobodys);
        assert_eq!(caller(ours, json!({})), Caller::Anybodys(Some("x".into())));
        assert_eq!(caller("events.amazonaws.com", json!({})), Caller::Nobodys);
        assert_eq!(invoked_by_secrets_manager("", ACCOUNT, None), Caller::Nobodys);
    }
}
