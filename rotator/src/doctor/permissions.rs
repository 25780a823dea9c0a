//! What the functions' roles must allow: every call that they make, as IAM names it.
//!
//! One list, from which the command line asks IAM, and which tests compare with the calls of real rotations.

use crate::kinds::jwt_signing_key::STANDBY_PREFIX;

/// A function of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    /// What Secrets Manager invokes.
    Rotation,
    /// What runs every minute.
    Retirement,
    /// What serves key sets.
    Jwks,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rotation, Self::Retirement, Self::Jwks];

    /// Its name, unless a stack gave it another.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rotation => "rotation",
            Self::Retirement => "retirement",
            Self::Jwks => "jwks",
        }
    }
}

/// An action on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// As IAM names it, for instance `secretsmanager:GetSecretValue`.
    pub action: &'static str,
    /// An ARN, in which `*` stands for what is not known before; or `*` alone, for actions that know no resource.
    pub resource: String,
    /// Whose value a key encrypts, where that is not the credential's own secret: an ARN.
    pub of_secret: Option<String>,
}

/// Where the service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `aws`, `aws-cn`, `aws-us-gov`
    pub partition: String,
    /// The Region.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// The table's name.
    pub table: String,
    /// The ARN of the key for fingerprints, if there is one.
    pub fingerprint_key: Option<String>,
}

/// What of a credential permissions are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The secret's ARN.
    pub secret: String,
    /// The customer-managed key that encrypts it, as an ARN; `None` for AWS's own.
    pub encrypted_by: Option<String>,
    /// The credential's kind.
    pub kind: String,
    /// The ARNs of its KMS keys that are not destroyed.
    pub keys: Vec<String>,
    /// The log group of its API's access log, if the owner named one.
    pub access_log: Option<String>,
}

/// What Secrets Manager does with a key that encrypts a secret, in the name of whoever puts values and reads them.
const USE_OF_KEY: [&str; 2] = ["kms:Decrypt", "kms:GenerateDataKey"];

/// What a function needs whichever credentials there are.
pub fn always(function: Function, scope: &Scope) -> Vec<Need> {
    let Scope { partition, region, account, table, fingerprint_key } = scope;
    let table = format!("arn:{partition}:dynamodb:{region}:{account}:table/{table}");
    let mut needs = vec![need("dynamodb:Query", &table)];
    match function {
        Function::Jwks => return needs,
        // Whether another credential has the key already that it is to take over.
        Function::Rotation => needs.push(need("dynamodb:Query", format!("{table}/index/fingerprint"))),
        Function::Retirement => {
            needs.push(need("dynamodb:Query", format!("{table}/index/due")));
            // Once a day everything that is recorded is compared with the world.
            needs.push(need("dynamodb:Scan", &table));
        }
    }
    // What IAM asks for when a transaction puts items.
    needs.push(need("dynamodb:PutItem", &table));
    needs.extend(fingerprint_key.iter().map(|key| need("kms:GenerateMac", key)));
    needs
}

/// What a function needs for one credential. Retirement completes what a rotation began, so it needs all that the
/// rotation needs.
pub fn for_credential(function: Function, scope: &Scope, subject: &Subject) -> Vec<Need> {
    let retires = match function {
        Function::Jwks => return Vec::new(),
        Function::Rotation => false,
        Function::Retirement => true,
    };
    let Subject { secret, encrypted_by, kind, keys, access_log } = subject;
    let mut needs = Vec::new();
    let mut each = |actions: &[&'static str], resource: &str| {
        needs.extend(actions.iter().map(|action| need(action, resource)));
    };
    each(
        &[
            "secretsmanager:DescribeSecret",
            "secretsmanager:GetSecretValue",
            "secretsmanager:PutSecretValue",
            "secretsmanager:UpdateSecretVersionStage",
        ],
        secret,
    );
    if retires {
        each(&["secretsmanager:ListSecretVersionIds"], secret);
    }
    if let Some(key) = encrypted_by {
        each(&USE_OF_KEY, key);
    }
    let Scope { partition, region, account, .. } = scope;
    match kind.as_str() {
        "api-gateway-key" => {
            let at = |path: &str| format!("arn:{partition}:apigateway:{region}::{path}");
            each(&["apigateway:GET", "apigateway:POST"], &at("/apikeys"));
            // What creating a key with tags asks for as well: the tags of a key whose id nobody knows yet. And the mark on a
            // key that a rotation finds.
            let keys = at("/apikeys/").replace(':', "%3A").replace('/', "%2F");
            each(&["apigateway:PUT"], &at(&format!("/tags/{keys}*")));
            each(&["apigateway:GET"], &at("/apikeys/*"));
            each(&["apigateway:GET"], &at("/usageplans"));
            each(&["apigateway:GET"], &at("/usageplans/*"));
            each(&["apigateway:POST"], &at("/usageplans/*/keys"));
            each(&["apigateway:PATCH"], &at("/usageplans/*/keys/*/usage"));
            if retires {
                each(&["apigateway:PATCH", "apigateway:DELETE"], &at("/apikeys/*"));
                if let Some(group) = access_log {
                    each(&["logs:StartQuery"], &format!("arn:{partition}:logs:{region}:{account}:log-group:{group}:*"));
                    each(&["logs:GetQueryResults"], "*");
                }
            }
        }
        "kms-signing-key" => {
            each(&["kms:CreateKey", "kms:ListKeys"], "*");
            let all = format!("arn:{partition}:kms:{region}:{account}:key/*");
            each(&["kms:TagResource", "kms:ListResourceTags"], &all);
            for key in keys {
                each(
                    &[
                        "kms:DescribeKey",
                        "kms:GetPublicKey",
                        "kms:Sign",
                        "kms:GetKeyPolicy",
                        "kms:PutKeyPolicy",
                        "kms:ListGrants",
                        "kms:CreateGrant",
                    ],
                    key,
                );
                if retires {
                    each(&["kms:GetKeyLastUsage", "kms:EnableKey", "kms:DisableKey", "kms:ScheduleKeyDeletion"], key);
                }
            }
        }
        "jwt-signing-key" => {
            let rest = format!("arn:{partition}:secretsmanager:{region}:{account}:secret:{STANDBY_PREFIX}*");
            each(
                &["secretsmanager:CreateSecret", "secretsmanager:TagResource", "secretsmanager:GetSecretValue"],
                &rest,
            );
            if retires {
                each(&["secretsmanager:DeleteSecret"], &rest);
            }
            // A standby is encrypted as the credential's value is.
            let standbys = encrypted_by.iter().flat_map(|key| USE_OF_KEY.map(|action| need(action, key)));
            needs.extend(standbys.map(|need| Need { of_secret: Some(rest.clone()), ..need }));
        }
        // A webhook secret has no provider.
        _ => {}
    }
    needs
}

fn need(action: &'static str, resource: impl Into<String>) -> Need {
    Need { action, resource: resource.into(), of_secret: None }
}
