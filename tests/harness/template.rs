//! The stack's own roles, read out of its templates.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use local_aws::Role;
use saphyr::{LoadableYamlNode, ScalarOwned, YamlOwned};
use serde_json::{Map, Value};

use super::Which;

/// What Lambda does in a function's name, and the function never does.
const LAMBDAS_OWN: [&str; 1] = ["lambda"];

const TABLE: &str = "arn:aws:dynamodb:eu-west-1:123456789012:table/rotator";

/// A template, with what its parameters and resources stand for.
pub struct Template {
    root: YamlOwned,
    values: BTreeMap<String, String>,
}

impl Template {
    /// `values`: what a `Ref` or `GetAtt` is, for instance `TableArn` or `Queue.Arn`.
    pub fn parse(text: &str, values: &[(&str, &str)]) -> Self {
        let root = YamlOwned::load_from_str(text).expect("YAML").into_iter().next().expect("a document");
        let pseudo = [
            ("AWS::Partition", "aws"),
            ("AWS::Region", "eu-west-1"),
            ("AWS::AccountId", "123456789012"),
            ("AWS::URLSuffix", "amazonaws.com"),
        ];
        let values = pseudo.iter().chain(values).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { root, values: values.collect() }
    }

    /// The policies with which a role's function calls: its own, and those that are attached to it.
    pub fn policies(&self, role: &str) -> Vec<Value> {
        let mut found = Vec::new();
        for (name, resource) in self.resources() {
            let Some(properties) = resource.as_mapping_get("Properties") else { continue };
            match (name.as_str(), resource.as_mapping_get("Type").and_then(YamlOwned::as_str)) {
                (Some(name), Some("AWS::IAM::Role")) if name == role => {
                    let own = properties.as_mapping_get("Policies").and_then(YamlOwned::as_sequence);
                    found.extend(own.into_iter().flatten().map(|policy| self.resolved(policy)));
                }
                (_, Some("AWS::IAM::Policy")) => {
                    let policy = self.resolved(properties);
                    let is_its = policy["Roles"].as_array().into_iter().flatten().any(|one| one == role);
                    found.extend(is_its.then_some(policy));
                }
                _ => {}
            }
        }
        found.retain(|policy| !LAMBDAS_OWN.contains(&policy["PolicyName"].as_str().unwrap_or_default()));
        assert!(!found.is_empty(), "{role} has no policies");
        found.into_iter().map(|mut policy| policy["PolicyDocument"].take()).collect()
    }

    /// What a managed policy of that name allows and denies.
    pub fn managed_policy(&self, policy: &str) -> Value {
        let is_it = |(name, _): &(&YamlOwned, &YamlOwned)| name.as_str() == Some(policy);
        let (_, resource) = self.resources().find(is_it).unwrap_or_else(|| panic!("there is no {policy}"));
        let properties = resource.as_mapping_get("Properties").expect("properties");
        self.resolved(properties.as_mapping_get("PolicyDocument").expect("a document"))
    }

    fn resources(&self) -> impl Iterator<Item = (&YamlOwned, &YamlOwned)> {
        self.root.as_mapping_get("Resources").and_then(YamlOwned::as_mapping).expect("resources").iter()
    }

    fn resolved(&self, node: &YamlOwned) -> Value {
        match node {
            YamlOwned::Value(scalar) => match scalar {
                ScalarOwned::Null => Value::Null,
                ScalarOwned::Boolean(value) => Value::Bool(*value),
                ScalarOwned::Integer(value) => Value::from(*value),
                ScalarOwned::FloatingPoint(value) => Value::from(value.into_inner()),
                ScalarOwned::String(value) => Value::String(value.clone()),
            },
            YamlOwned::Sequence(items) => items.iter().map(|item| self.resolved(item)).collect(),
            YamlOwned::Mapping(members) => {
                let member = |(key, value): (&YamlOwned, &YamlOwned)| {
                    (key.as_str().expect("keys are text").to_owned(), self.resolved(value))
                };
                Value::Object(members.iter().map(member).collect::<Map<_, _>>())
            }
            // Everything that there can be is there.
            YamlOwned::Tagged(tag, inner) if tag.suffix == "If" => {
                self.resolved(&inner.as_sequence().expect("a condition and two values")[1])
            }
            YamlOwned::Tagged(tag, inner) => {
                let text = inner.as_str().unwrap_or_else(|| panic!("!{} of something that is no text", tag.suffix));
                match tag.suffix.as_str() {
                    "Ref" | "GetAtt" => Value::String(self.value(text)),
                    "Sub" => Value::String(self.substituted(text)),
                    other => panic!("!{other} is not understood here"),
                }
            }
            YamlOwned::Representation(..) | YamlOwned::Alias(_) | YamlOwned::BadValue => {
                panic!("{node:?} is not understood here")
            }
        }
    }

    /// What is not known is another resource of the template: its name stands for it.
    fn value(&self, name: &str) -> String {
        self.values.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    fn substituted(&self, text: &str) -> String {
        let mut parts = text.split("${");
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').expect("a variable ends");
            whole += &self.value(name);
            whole += rest;
        }
        whole
    }
}

/// The text of one of the stack's templates.
fn template(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn remembered(arn: String, fingerprint_key: &str, policies: impl FnOnce() -> Vec<Value>) -> Role {
    static READ: Mutex<BTreeMap<(String, String), Role>> = Mutex::new(BTreeMap::new());
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || Role::new(arn.clone(), &policies()).expect("policies that IAM can read");
    read.entry((arn.clone(), fingerprint_key.to_owned())).or_insert_with(make).clone()
}

/// Those at the command line who have a policy of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Person {
    Operator,
    Auditor,
    EmergencyResponder,
}

impl Person {
    pub const ALL: [Self; 3] = [Self::Operator, Self::Auditor, Self::EmergencyResponder];

    /// Their role. Thousands of stages ask for the same ones.
    pub fn role(self, fingerprint_key: &str) -> Role {
        let arn = format!("arn:aws:iam::123456789012:role/{self:?}");
        remembered(arn, fingerprint_key, || self.policies(fingerprint_key))
    }

    /// Their policies, as the stack deploys them.
    pub fn policies(self, fingerprint_key: &str) -> Vec<Value> {
        self.policies_in(&Self::template(), fingerprint_key)
    }

    /// The template that has them.
    pub fn template() -> String {
        template("policies/people.yaml")
    }

    /// Their policies in a template.
    pub fn policies_in(self, template: &str, fingerprint_key: &str) -> Vec<Value> {
        let function = |name: &str| format!("arn:aws:lambda:eu-west-1:123456789012:function:{name}");
        let role = |name: &str| format!("arn:aws:iam::123456789012:role/{name}");
        let values = [
            ("TableArn", TABLE.to_owned()),
            ("FingerprintKeyArn", fingerprint_key.to_owned()),
            ("RotationFunctionArn", function("rotation")),
            ("RotationRoleArn", role("rotation")),
            ("RetirementFunctionArn", function("retirement")),
            ("RetirementRoleArn", role("retirement")),
            ("JwksFunctionArn", function("jwks")),
            ("JwksRoleArn", role("jwks")),
            ("SecretPrefix", String::new()),
        ];
        let values: Vec<_> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let template = Template::parse(template, &values);
        let names: &[&str] = match self {
            Self::Operator => &["Operator", "OperatorAdopts", "OperatorSigns"],
            Self::Auditor => &["Auditor"],
            Self::EmergencyResponder => &["EmergencyResponder"],
        };
        names.iter().map(|name| template.managed_policy(name)).collect()
    }
}

/// What whoever uses a credential may do, whose secret is encrypted by that key: `Consumer`, or `ConsumerByVersion`.
pub fn consumers_policy(name: &str, secret: &str, key: &str) -> Value {
    let values = [("SecretArn", secret), ("KeyArn", key)];
    Template::parse(&template("policies/consumer.yaml"), &values).managed_policy(name)
}

impl Which {
    /// All functions.
    pub const ALL: [Self; 3] = [Self::Rotation, Self::Retirement, Self::Jwks];

    /// With which access key it signs on a stage.
    pub fn access_key(self) -> &'static str {
        match self {
            Self::Rotation => "AKIDROTATION",
            Self::Retirement => "AKIDRETIREMENT",
            Self::Jwks => "AKIDJWKS",
        }
    }

    /// The ARN of its role.
    pub fn role_arn(self) -> String {
        // As the embedded AWS has it that registers the function.
        format!("arn:aws:iam::123456789012:role/{}", format!("{self:?}").to_lowercase())
    }

    /// Where the stack declares its role.
    fn declared(self) -> (&'static str, &'static str) {
        match self {
            Self::Rotation => ("functions.yaml", "RotationRole"),
            Self::Retirement => ("functions.yaml", "RetirementRole"),
            Self::Jwks => ("edge.yaml", "JwksRole"),
        }
    }

    /// The text of that template.
    pub fn template(self) -> String {
        template(self.declared().0)
    }

    /// Its role's policies in a template, of a stack whose secrets' names begin so.
    pub fn policies_in(self, template: &str, fingerprint_key: &str, secret_prefix: &str) -> Vec<Value> {
        let values = [
            ("TableArn", TABLE),
            ("FingerprintKeyArn", fingerprint_key),
            ("SecretPrefix", secret_prefix),
            ("AccessLogPrefix", "/apis/"),
        ];
        Template::parse(template, &values).policies(self.declared().1)
    }

    /// Its role's policies, as the stack deploys them.
    pub fn policies(self, fingerprint_key: &str) -> Vec<Value> {
        self.policies_in(&self.template(), fingerprint_key, "")
    }

    /// Its role. Thousands of stages ask for the same ones.
    pub fn role(self, fingerprint_key: &str) -> Role {
        remembered(self.role_arn(), fingerprint_key, || self.policies(fingerprint_key))
    }
}
