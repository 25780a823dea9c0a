//! Secrets Manager: the values, the labels, and the tags in which the owner's wishes are.

use std::collections::{BTreeMap, BTreeSet};

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::primitives::DateTime;
use aws_sdk_secretsmanager::types::{
    Filter, FilterNameStringType, RotationRulesType, SecretListEntry, StatusType, Tag,
};
use state::Time;
use state::decide::{AWSCURRENT, AWSPENDING, Secret};
use state::name::Token;
use state::policy::{BadPolicy, Policy, Schedule};

use super::{Answer, failed};
use crate::failure::{BadInput, CallFailed, Failure, Fault};
use crate::secret::SecretValue;

/// Secrets Manager.
#[derive(Clone, Debug)]
pub struct Secrets {
    client: Client,
}

/// What AWS calls the key that encrypts a secret whose owner named none.
pub const OWN_KEY: &str = "alias/aws/secretsmanager";

/// What a secret is to be, when it is created for an adopted key, or for a key that does not sign yet.
#[derive(Debug)]
pub struct NewSecret<'a> {
    /// Its name.
    pub name: &'a str,
    /// The id of its first version: derived, so that a repeated creation is the same creation.
    pub token: &'a Token,
    /// For people.
    pub description: &'a str,
    /// Its first value.
    pub document: &'a SecretValue,
    /// The key that encrypts it; `None` for AWS's own.
    pub encrypted_by: Option<&'a str>,
    /// The owner's wishes.
    pub tags: &'a BTreeMap<String, String>,
}

/// What of a secret is no business of a rotation, but of whoever asks why it does not work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Particulars {
    /// Its ARN.
    pub arn: String,
    /// The function that rotates it.
    pub function_arn: Option<String>,
    /// The key that encrypts it, by whichever name it was given; `None` for AWS's own.
    pub encrypted_by: Option<String>,
    /// All of its tags, `aws:` ones included.
    pub tags: BTreeMap<String, String>,
}

/// The secrets of this service, as their list tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// Their names, sorted.
    pub names: Vec<String>,
    /// How many of them hold an API key.
    pub api_keys: usize,
    /// How many API keys rotate by themselves at the same moments, by their `cron(..)`.
    pub together: BTreeMap<String, usize>,
}

impl Particulars {
    fn of(found: &DescribeSecretOutput) -> Self {
        Self {
            arn: found.arn().unwrap_or_default().to_owned(),
            function_arn: found.rotation_lambda_arn().map(str::to_owned),
            encrypted_by: found.kms_key_id().filter(|key| !key.ends_with(OWN_KEY)).map(str::to_owned),
            tags: tags(found),
        }
    }

    /// Whether it is encrypted by that key, an ARN; `None` for AWS's own. A secret tells its key by the name that it was
    /// given: an id is told from the ARN, an alias is not, and is another key until somebody says otherwise.
    pub fn is_encrypted_by(&self, key: Option<&str>) -> bool {
        match (self.encrypted_by.as_deref(), key) {
            (None, None) => true,
            (Some(found), Some(key)) => found == key || key.rsplit_once(":key/").is_some_and(|(_, id)| id == found),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl Secrets {
    /// With the ordinary configuration.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// Labels, wishes and schedule of a secret, by name or ARN, and its particulars.
    pub async fn describe(
        &self,
        id: &str,
        read_wishes: impl Fn(&BTreeMap<String, String>) -> Result<Policy, BadPolicy>,
    ) -> Result<(Secret, Particulars), Failure> {
        let found = match self.client.describe_secret().secret_id(id).send().await {
            Ok(found) => found,
            Err(error) => {
                let failed = failed("secretsmanager:DescribeSecret", id, Answer::Open, error);
                let is_missing = failed.fault == Fault::NotFound;
                return Err(if is_missing { BadInput::NoSecret(id.to_owned()).into() } else { failed.into() });
            }
        };
        let rules = found.rotation_rules();
        let particulars = Particulars::of(&found);
        let secret = Secret {
            arn: particulars.arn.clone(),
            deleted: found.deleted_date().is_some(),
            gone: false,
            rotation_enabled: found.rotation_enabled().unwrap_or(false),
            labels: labels(&found),
            wishes: read_wishes(&particulars.tags),
            schedule: Schedule {
                expression: rules.and_then(RotationRulesType::schedule_expression).map(str::to_owned),
                after_days: rules
                    .and_then(RotationRulesType::automatically_after_days)
                    .and_then(|days| u32::try_from(days).ok())
                    .filter(|days| *days > 0),
            },
            created: found.created_date().and_then(moment),
            last_rotated: found.last_rotated_date().and_then(moment),
            replicas_behind: found
                .replication_status()
                .iter()
                .filter(|replica| replica.status() != Some(&StatusType::InSync))
                .filter_map(|replica| replica.region().map(str::to_owned))
                .collect(),
        };
        Ok((secret, particulars))
    }

    /// Who rotates a secret, by which key it is encrypted, and all of its tags.
    pub async fn particulars(&self, id: &str) -> Result<Particulars, CallFailed> {
        let found = self.client.describe_secret().secret_id(id).send().await;
        let found = found.map_err(|error| failed("secretsmanager:DescribeSecret", id, Answer::Open, error))?;
        Ok(Particulars::of(&found))
    }

    /// The value of one version, `None` for the empty placeholder. Always by version id: a read by label alone may
    /// see an older label.
    pub async fn value(&self, id: &str, version: &Token) -> Result<Option<SecretValue>, Failure> {
        match self.client.get_secret_value().secret_id(id).version_id(version.as_str()).send().await {
            Ok(found) => match found.secret_string {
                Some(text) => Ok(Some(SecretValue::new(text))),
                None => Err(BadInput::Value("is binary: this service reads JSON text").into()),
            },
            Err(error) => {
                let failed = failed("secretsmanager:GetSecretValue", id, Answer::Veiled, error);
                if failed.fault == Fault::NotFound { Ok(None) } else { Err(failed.into()) }
            }
        }
    }

    /// When a version with a label was created; `None` when there is none of that id.
    pub async fn created(&self, id: &str, version: &Token) -> Result<Option<Time>, CallFailed> {
        let mut next = None;
        loop {
            let page = self
                .client
                .list_secret_version_ids()
                .secret_id(id)
                .max_results(100)
                .set_next_token(next)
                .send()
                .await
                .map_err(|error| failed("secretsmanager:ListSecretVersionIds", id, Answer::Open, error))?;
            let found = page.versions().iter().find(|found| found.version_id() == Some(version.as_str()));
            if let Some(found) = found {
                return Ok(found.created_date().and_then(moment));
            }
            next = page.next_token;
            if next.is_none() {
                return Ok(None);
            }
        }
    }

    /// Puts a value under a token, with `AWSPENDING` on it. A second value under the same token is a conflict: the
    /// first one wins for good.
    pub async fn put_pending(
        &self,
        id: &str,
        token: &Token,
        document: &SecretValue,
        rotation_token: Option<&SecretValue>,
    ) -> Result<(), CallFailed> {
        self.client
            .put_secret_value()
            .secret_id(id)
            .client_request_token(token.as_str())
            .secret_string(document.expose())
            .version_stages(AWSPENDING)
            .set_rotation_token(rotation_token.map(|token| token.expose().to_owned()))
            .send()
            .await
            .map(drop)
            .map_err(|error| {
                let values: Vec<&SecretValue> = std::iter::once(document).chain(rotation_token).collect();
                failed("secretsmanager:PutSecretValue", id, Answer::Without(&values), error)
            })
    }

    /// Moves `AWSCURRENT`, if it is still where `from` says: anything else is a conflict.
    pub async fn promote(&self, id: &str, from: Option<&Token>, to: &Token) -> Result<(), CallFailed> {
        self.move_label(id, AWSCURRENT, from, Some(to)).await
    }

    /// Moves `AWSCURRENT` back to where it belongs, if it is still where `from` says.
    pub async fn move_back(&self, id: &str, from: Option<&Token>, to: &Token) -> Result<(), CallFailed> {
        self.move_label(id, AWSCURRENT, from, Some(to)).await
    }

    /// Takes `AWSPENDING` off a version, if it is still there.
    pub async fn unpend(&self, id: &str, from: &Token) -> Result<(), CallFailed> {
        self.move_label(id, AWSPENDING, Some(from), None).await
    }

    async fn move_label(
        &self,
        id: &str,
        label: &str,
        from: Option<&Token>,
        to: Option<&Token>,
    ) -> Result<(), CallFailed> {
        self.client
            .update_secret_version_stage()
            .secret_id(id)
            .version_stage(label)
            .set_remove_from_version_id(from.map(|token| token.as_str().to_owned()))
            .set_move_to_version_id(to.map(|token| token.as_str().to_owned()))
            .send()
            .await
            .map(drop)
            .map_err(|error| {
                let mut failed = failed("secretsmanager:UpdateSecretVersionStage", id, Answer::Open, error);
                // The compare-and-swap failed: the label is not where we thought.
                if failed.fault == Fault::Rejected {
                    failed.fault = Fault::Conflict;
                }
                failed
            })
    }

    /// Creates a secret. The same name with the same token and value is no conflict.
    pub async fn create(&self, new: &NewSecret<'_>) -> Result<String, CallFailed> {
        let tags = new.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        self.client
            .create_secret()
            .name(new.name)
            .client_request_token(new.token.as_str())
            .description(new.description)
            .secret_string(new.document.expose())
            .set_kms_key_id(new.encrypted_by.map(str::to_owned))
            .set_tags(Some(tags.collect()))
            .send()
            .await
            .map(|made| made.arn.unwrap_or_default())
            .map_err(|error| failed("secretsmanager:CreateSecret", new.name, Answer::Without(&[new.document]), error))
    }

    /// Deletes a secret with all its versions at once, without a time in which it could be restored: for secrets that
    /// only this service reads. One that is gone is fine.
    pub async fn delete(&self, id: &str) -> Result<(), CallFailed> {
        match self.client.delete_secret().secret_id(id).force_delete_without_recovery(true).send().await {
            Ok(_) => Ok(()),
            Err(error) => {
                let failed = failed("secretsmanager:DeleteSecret", id, Answer::Open, error);
                if failed.fault == Fault::NotFound { Ok(()) } else { Err(failed) }
            }
        }
    }

    /// Adds or changes tags.
    pub async fn tag(&self, id: &str, tags: &BTreeMap<String, String>) -> Result<(), CallFailed> {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        self.client
            .tag_resource()
            .secret_id(id)
            .set_tags(Some(tags.collect()))
            .send()
            .await
            .map(drop)
            .map_err(|error| failed("secretsmanager:TagResource", id, Answer::Open, error))
    }

    /// Configures rotation, by schedule or on demand only, without starting one: Secrets Manager only tests the
    /// configuration. `RotationRules` need not be there, by AWS's model of 2026 and CloudFormation's documentation.
    pub async fn schedule(
        &self,
        id: &str,
        token: &Token,
        function: &str,
        expression: Option<&str>,
    ) -> Result<(), CallFailed> {
        let rules = expression.map(|expression| RotationRulesType::builder().schedule_expression(expression).build());
        self.client
            .rotate_secret()
            .secret_id(id)
            .client_request_token(token.as_str())
            .rotation_lambda_arn(function)
            .set_rotation_rules(rules)
            .rotate_immediately(false)
            .send()
            .await
            .map(drop)
            .map_err(|error| failed("secretsmanager:RotateSecret", id, Answer::Open, error))
    }

    /// Starts a rotation, under a token of ours if one is given. Returns the token it runs under.
    pub async fn rotate(&self, id: &str, token: Option<&Token>) -> Result<Option<Token>, CallFailed> {
        self.client
            .rotate_secret()
            .secret_id(id)
            .set_client_request_token(token.map(|token| token.as_str().to_owned()))
            .send()
            .await
            .map(|begun| begun.version_id().and_then(|id| Token::parse(id).ok()))
            .map_err(|error| failed("secretsmanager:RotateSecret", id, Answer::Open, error))
    }

    /// Names of all secrets that carry a kind of ours and begin with `prefix`. May lag by five minutes, as `ListSecrets`
    /// does.
    pub async fn managed(&self, prefix: &str) -> Result<Vec<String>, CallFailed> {
        Ok(self.roster(prefix).await?.names)
    }

    /// The same secrets, with what else their list tells.
    pub async fn roster(&self, prefix: &str) -> Result<Roster, CallFailed> {
        let mut roster = Roster::default();
        for secret in self.listed("rotator:kind", prefix).await? {
            if secret.tags().iter().any(|tag| tag.value() == Some("api-gateway-key")) {
                roster.api_keys += 1;
                let rules = secret.rotation_rules.filter(|_| secret.rotation_enabled == Some(true));
                let expression = rules.and_then(|rules| rules.schedule_expression);
                if let Some(expression) = expression.filter(|expression| expression.starts_with("cron(")) {
                    *roster.together.entry(expression).or_default() += 1;
                }
            }
            roster.names.extend(secret.name);
        }
        roster.names.sort_unstable();
        Ok(roster)
    }

    async fn listed(&self, tag: &str, prefix: &str) -> Result<Vec<SecretListEntry>, CallFailed> {
        let filter = |key, value| Filter::builder().key(key).values(value).build();
        let mut filters = vec![filter(FilterNameStringType::TagKey, tag)];
        if !prefix.is_empty() {
            filters.push(filter(FilterNameStringType::Name, prefix));
        }
        let mut listed = Vec::new();
        let mut next = None;
        loop {
            let page = self
                .client
                .list_secrets()
                .set_filters(Some(filters.clone()))
                .max_results(100)
                .set_next_token(next)
                .send()
                .await
                .map_err(|error| failed("secretsmanager:ListSecrets", "*", Answer::Open, error))?;
            listed.extend(page.secret_list.unwrap_or_default());
            next = page.next_token;
            if next.is_none() {
                return Ok(listed);
            }
        }
    }
}

fn moment(at: &DateTime) -> Option<Time> {
    at.to_millis().ok().and_then(Time::from_timestamp_millis)
}

fn tags(found: &DescribeSecretOutput) -> BTreeMap<String, String> {
    let tags = found.tags().iter();
    tags.filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))).collect()
}

fn labels(found: &DescribeSecretOutput) -> BTreeMap<Token, BTreeSet<String>> {
    found
        .version_ids_to_stages()
        .into_iter()
        .flatten()
        .filter_map(|(version, labels)| Some((Token::parse(version).ok()?, labels.iter().cloned().collect())))
        .collect()
}
