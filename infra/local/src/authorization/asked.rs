//! What a request asks of IAM, by the service authorization reference of the AWS documentation.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Asked, ByResource, PolicyError, Role};
use crate::core::{Context, Request};
use crate::query;
use crate::transport::Route;
use crate::world::Services;

/// Where a request is made, and by whom.
pub(crate) struct Scene<'a, 'w> {
    pub(crate) services: &'a Services,
    pub(crate) cx: &'a Context<'w>,
    pub(crate) role: &'a Role,
}

/// Everything that has to be allowed for that request to be carried out. Nothing for requests that need no permission:
/// the data plane's, and `sts:GetCallerIdentity`.
pub(crate) fn asked(scene: &Scene<'_, '_>, route: &Route, request: &Request) -> Result<Vec<Asked>, PolicyError> {
    let mut asked = scene.asked(route, request);
    for asked in &mut asked {
        asked.by_resource = scene.by_resource(asked)?;
    }
    Ok(asked)
}

impl Scene<'_, '_> {
    fn asked(&self, route: &Route, request: &Request) -> Vec<Asked> {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match route {
            Route::SecretsManager(operation) => self.secrets_manager(operation, &body),
            Route::Kms(operation) => self.kms(operation, &body),
            Route::DynamoDb(operation) => self.dynamodb(operation, &body),
            Route::Logs(operation) => self.logs(operation, &body),
            Route::ApiGateway => self.api_gateway(request, &body),
            Route::Lambda => self.lambda(request),
            Route::Iam(form) => {
                let source = query::value(form, "PolicySourceArn").or_else(|| query::value(form, "RoleName"));
                vec![ask(format!("iam:{}", query::action(form)), source.unwrap_or("*"))]
            }
            Route::Sts(_) | Route::ExecuteApi(_) | Route::Unknown => Vec::new(),
        }
    }

    /// What a KMS key's policy and grants say. No other resource has a policy here.
    fn by_resource(&self, asked: &Asked) -> Result<ByResource, PolicyError> {
        let Some(operation) = asked.action.strip_prefix("kms:") else { return Ok(ByResource::Delegates) };
        let Some(key) = self.services.kms.about(self.cx, &asked.resource) else { return Ok(ByResource::Delegates) };
        let by_policy = match &key.policy {
            Some(policy) => self.role.under(policy, asked)?,
            None => ByResource::Delegates,
        };
        let is_granted =
            key.granted.iter().any(|(who, operations)| who == self.role.arn() && operations.contains(operation));
        Ok(if is_granted { ByResource::Allows } else { by_policy })
    }

    fn secrets_manager(&self, operation: &str, body: &Value) -> Vec<Asked> {
        let action = |operation: &str| format!("secretsmanager:{operation}");
        let requested = request_tags(body);
        if operation == "CreateSecret" {
            let name = text(body, "Name");
            // Six characters that nobody knows yet.
            let arn = self.arn("secretsmanager", &format!("secret:{name}-??????"));
            let mut asked = vec![ask(action(operation), &arn).with("secretsmanager:Name", name).with_all(&requested)];
            if !requested.is_empty() {
                asked.push(ask(action("TagResource"), &arn).with_all(&requested));
            }
            if let Some(key) = body["KmsKeyId"].as_str() {
                asked.extend(self.by_secrets_manager(&["kms:GenerateDataKey", "kms:Decrypt"], key, &arn));
            }
            return asked;
        }
        let Some(id) = body["SecretId"].as_str() else { return vec![ask(action(operation), "*")] };
        let Some(secret) = self.services.secrets_manager.about(id) else {
            let arn = if id.starts_with("arn:") {
                id.to_owned()
            } else {
                self.arn("secretsmanager", &format!("secret:{id}"))
            };
            return vec![ask(action(operation), &arn)];
        };
        let mut first = ask(action(operation), &secret.arn).tagged(&secret.tags).with_all(&requested);
        for (tag, value) in &secret.tags {
            first = first.with(&format!("secretsmanager:ResourceTag/{tag}"), value);
        }
        if operation == "GetSecretValue" {
            let is_default = body["VersionId"].is_null() && body["VersionStage"].is_null();
            let stage = if is_default { Some("AWSCURRENT") } else { body["VersionStage"].as_str() };
            first = stage.into_iter().fold(first, |first, stage| first.with("secretsmanager:VersionStage", stage));
            let version = body["VersionId"].as_str();
            first = version.into_iter().fold(first, |first, version| first.with("secretsmanager:VersionId", version));
        }
        if operation == "RotateSecret" {
            let immediately = body["RotateImmediately"].as_bool().unwrap_or(true);
            first = first
                .with_truth("secretsmanager:ModifyRotationRules", !body["RotationRules"].is_null())
                .with_truth("secretsmanager:RotateImmediately", immediately);
            // Of the request, so a request that names no function has none.
            let function = body["RotationLambdaARN"].as_str();
            first = function.into_iter().fold(first, |first, arn| first.with("secretsmanager:RotationLambdaARN", arn));
        }
        let mut asked = vec![first];
        if let Some(key) = &secret.kms_key_id {
            let does: &[&'static str] = match operation {
                "GetSecretValue" => &["kms:Decrypt"],
                "PutSecretValue" | "UpdateSecret" => &["kms:GenerateDataKey", "kms:Decrypt"],
                _ => &[],
            };
            asked.extend(self.by_secrets_manager(does, key, &secret.arn));
        }
        // Whoever changes the key is asked whether the new one may be used.
        if let ("UpdateSecret", Some(key)) = (operation, body["KmsKeyId"].as_str()) {
            asked.extend(self.by_secrets_manager(&["kms:GenerateDataKey", "kms:Decrypt"], key, &secret.arn));
        }
        if operation == "RotateSecret" {
            // Its caller must be allowed to invoke the function.
            let function = body["RotationLambdaARN"].as_str().map(str::to_owned).or(secret.function);
            asked.extend(function.map(|function| ask("lambda:InvokeFunction", &function)));
        }
        asked
    }

    /// What Secrets Manager does with a key on the caller's behalf.
    fn by_secrets_manager(&self, actions: &[&'static str], key: &str, secret: &str) -> Vec<Asked> {
        let service = format!("secretsmanager.{}.amazonaws.com", self.cx.region);
        let each = |action: &&'static str| {
            self.on_key(action, key).with("kms:ViaService", &service).with("kms:EncryptionContext:SecretARN", secret)
        };
        actions.iter().map(each).collect()
    }

    fn kms(&self, operation: &str, body: &Value) -> Vec<Asked> {
        let action = format!("kms:{operation}");
        let requested = request_tags(body);
        match body["KeyId"].as_str() {
            // A key's own policy is asked, so that what is not there is told before anybody is denied anything.
            Some(key) if self.services.kms.about(self.cx, key).is_none() => Vec::new(),
            Some(key) => {
                let mut asked = self.on_key(&action, key).with_all(&requested);
                let said = [
                    ("GranteePrincipal", "kms:GranteePrincipal"),
                    ("SigningAlgorithm", "kms:SigningAlgorithm"),
                    ("MacAlgorithm", "kms:MacAlgorithm"),
                ];
                for (member, context) in said {
                    asked = body[member].as_str().into_iter().fold(asked, |asked, value| asked.with(context, value));
                }
                if operation == "PutKeyPolicy" {
                    asked = asked.with_bypass(body);
                }
                for operation in texts(&body["Operations"]) {
                    asked = asked.with("kms:GrantOperations", operation);
                }
                vec![asked]
            }
            None if operation == "CreateKey" => {
                let mut asked = ask(action, "*").with_all(&requested).with_bypass(body);
                for (member, context) in [("KeySpec", "kms:KeySpec"), ("KeyUsage", "kms:KeyUsage")] {
                    asked = body[member].as_str().into_iter().fold(asked, |asked, value| asked.with(context, value));
                }
                let tags = !requested.is_empty();
                // The key that will be: nobody knows its id yet.
                let key = self.arn("kms", "key/00000000-0000-0000-0000-000000000000");
                let tag = tags.then(|| ask("kms:TagResource", &key).with_all(&requested));
                [asked].into_iter().chain(tag).collect()
            }
            None => vec![ask(action, "*")],
        }
    }

    fn on_key(&self, action: &str, key: &str) -> Asked {
        match self.services.kms.about(self.cx, key) {
            Some(known) => ask(action, &known.arn)
                .tagged(&known.tags)
                .with("kms:KeySpec", &known.spec)
                .with("kms:KeyUsage", &known.usage),
            None if key.starts_with("arn:") => ask(action, key),
            None => ask(action, &self.arn("kms", &format!("key/{key}"))),
        }
    }

    fn dynamodb(&self, operation: &str, body: &Value) -> Vec<Asked> {
        let table = |name: &str| match name.starts_with("arn:") {
            true => name.to_owned(),
            false => self.arn("dynamodb", &format!("table/{name}")),
        };
        if operation == "TransactWriteItems" {
            // IAM asks for what is done with each item.
            let one = |item: &Value| {
                let kinds = [
                    ("Put", "PutItem"),
                    ("Update", "UpdateItem"),
                    ("Delete", "DeleteItem"),
                    ("ConditionCheck", "ConditionCheckItem"),
                ];
                let (member, action) = kinds.into_iter().find(|(member, _)| !item[member].is_null())?;
                Some(ask(format!("dynamodb:{action}"), &table(text(&item[member], "TableName"))))
            };
            let mut asked: Vec<Asked> =
                body["TransactItems"].as_array().into_iter().flatten().filter_map(one).collect();
            asked.sort();
            asked.dedup();
            return asked;
        }
        let table = table(text(body, "TableName"));
        let resource = match body["IndexName"].as_str() {
            Some(index) => format!("{table}/index/{index}"),
            None => table,
        };
        let asked = ask(format!("dynamodb:{operation}"), &resource);
        // The partition, of a table that names its key as this service's does.
        match body["Key"]["pk"]["S"].as_str() {
            Some(leading) => vec![asked.with("dynamodb:LeadingKeys", leading)],
            None => vec![asked],
        }
    }

    fn logs(&self, operation: &str, body: &Value) -> Vec<Asked> {
        let action = format!("logs:{operation}");
        match body["logGroupName"].as_str() {
            Some(group) => vec![ask(action, &self.arn("logs", &format!("log-group:{group}:*")))],
            None => vec![ask(action, "*")],
        }
    }

    /// An action is a method, and a resource is a path. What is created with tags needs `PUT` on the tags of something
    /// that has no id yet, as AWS's refusals quote it.
    fn api_gateway(&self, request: &Request, body: &Value) -> Vec<Asked> {
        // IAM sees the ARN of what is tagged as it stands in the URL, encoded.
        let encoded = |arn: &str| arn.replace(':', "%3A").replace('/', "%2F");
        let shown = match request.path.strip_prefix("/tags/") {
            Some(tagged) => format!("/tags/{}", encoded(tagged)),
            None => request.path.clone(),
        };
        let arn = format!("arn:aws:apigateway:{}::{shown}", self.cx.region);
        let requested: BTreeMap<String, Vec<String>> = tag_keys(
            body["tags"]
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))),
        );
        let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        let tags = self.services.api_gateway.tags_at(&path);
        let one = |method: &str| ask(format!("apigateway:{method}"), &arn).tagged(&tags).with_all(&requested);
        let is_tagged = request.method == http::Method::POST && !requested.is_empty();
        let tagging = || {
            let tagged = encoded(&format!("{arn}/"));
            ask("apigateway:PUT", &format!("arn:aws:apigateway:{}::/tags/{tagged}*", self.cx.region))
                .with_all(&requested)
        };
        [one(request.method.as_str())].into_iter().chain(is_tagged.then(tagging)).collect()
    }

    fn lambda(&self, request: &Request) -> Vec<Asked> {
        let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        let [_, "functions", name, what] = path.as_slice() else { return Vec::new() };
        let action = match *what {
            "configuration" => "lambda:GetFunctionConfiguration",
            "policy" => "lambda:GetPolicy",
            "concurrency" => "lambda:GetFunctionConcurrency",
            _ => "lambda:InvokeFunction",
        };
        let arn =
            if name.starts_with("arn:") { (*name).to_owned() } else { self.arn("lambda", &format!("function:{name}")) };
        vec![ask(action, &arn)]
    }

    fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.cx.region, self.cx.account)
    }
}

impl Asked {
    fn with(mut self, key: &str, value: &str) -> Self {
        self.context.entry(key.to_owned()).or_default().push(value.to_owned());
        self
    }

    fn with_truth(self, key: &str, value: bool) -> Self {
        self.with(key, if value { "true" } else { "false" })
    }

    /// Conditions see a parameter that is left out as its default (AWS KMS Developer Guide, "AWS KMS condition keys").
    fn with_bypass(self, body: &Value) -> Self {
        let bypass = body["BypassPolicyLockoutSafetyCheck"].as_bool().unwrap_or(false);
        self.with_truth("kms:BypassPolicyLockoutSafetyCheck", bypass)
    }

    fn with_all(mut self, context: &BTreeMap<String, Vec<String>>) -> Self {
        self.context.extend(context.clone());
        self
    }

    fn tagged(self, tags: &BTreeMap<String, String>) -> Self {
        tags.iter().fold(self, |asked, (tag, value)| asked.with(&format!("aws:ResourceTag/{tag}"), value))
    }
}

fn ask(action: impl Into<String>, resource: &str) -> Asked {
    Asked { action: action.into(), resource: resource.to_owned(), ..Asked::default() }
}

fn text<'v>(body: &'v Value, member: &str) -> &'v str {
    body[member].as_str().unwrap_or_default()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The tags that a request would put: Secrets Manager says `Key` and `Value`, KMS `TagKey` and `TagValue`.
fn request_tags(body: &Value) -> BTreeMap<String, Vec<String>> {
    let either =
        |tag: &'_ Value, one: &str, other: &str| tag[one].as_str().or_else(|| tag[other].as_str()).map(str::to_owned);
    let pairs: Vec<(String, String)> = body["Tags"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tag| Some((either(tag, "Key", "TagKey")?, either(tag, "Value", "TagValue")?)))
        .collect();
    tag_keys(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

fn tag_keys<'t>(tags: impl Iterator<Item = (&'t str, &'t str)>) -> BTreeMap<String, Vec<String>> {
    let mut context = BTreeMap::<String, Vec<String>>::new();
    for (tag, value) in tags {
        context.insert(format!("aws:RequestTag/{tag}"), vec![value.to_owned()]);
        context.entry("aws:TagKeys".into()).or_default().push(tag.to_owned());
    }
    context
}
