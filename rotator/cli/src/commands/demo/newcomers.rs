//! Credentials that have no key when they come: their first rotation makes it.

use aws_sdk_secretsmanager::Client as SecretsManager;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use aws_sdk_secretsmanager::types::{RotationRulesType, Tag};
use rotator::key_sets::locate;
use state::name::CredentialName;

use super::WEEKLY;
use super::crowd::Users;
use super::stage::{SMALL, Stage, line};
use super::tokens::Tokens;
use super::webhooks::Post;
use crate::trouble::Trouble;

/// A credential and its owner's wishes.
pub struct Newcomer {
    name: &'static str,
    /// What is told of it, and of who uses it.
    what: [&'static str; 2],
    /// Who that is, given where its key set would be.
    users: fn(&CredentialName, &str) -> Box<dyn Users>,
    tags: &'static [(&'static str, &'static str)],
}

/// One of each kind whose keys this service makes.
///
/// Short periods, as for API keys; the overlap of those whose keys verifiers fetch is what these need: 1 h consumer
/// cache + 1 h token life + 2 h verifier cache + 15 min slack.
pub const NEWCOMERS: [Newcomer; 3] = [
    Newcomer {
        name: "webhooks/orders",
        what: ["webhook secret", "2 senders, 2 receivers (prompt, caching)"],
        users: |name, _| Post::of(name),
        tags: &[("kind", "webhook-secret"), ("overlap", "P1D"), ("soak", "PT12H"), ("consumer-cache", "PT6H")],
    },
    Newcomer {
        name: "tokens/customers",
        what: ["signing key in KMS, ES256", SIGNERS],
        users: |name, issuer| Tokens::of(name, issuer),
        tags: &[
            ("kind", "kms-signing-key"),
            ("algorithm", "ES256"),
            ("soak", "PT12H"),
            ("publish-lead", "PT6H"),
            ("token-life", "PT1H"),
            ("verifier-cache", "PT2H"),
        ],
    },
    Newcomer {
        name: "tokens/partners",
        what: ["signing key in Secrets Manager, EdDSA", SIGNERS],
        users: |name, issuer| Tokens::of(name, issuer),
        tags: &[
            ("kind", "jwt-signing-key"),
            ("algorithm", "EdDSA"),
            ("soak", "PT12H"),
            ("publish-lead", "PT6H"),
            ("token-life", "PT1H"),
            ("verifier-cache", "PT2H"),
        ],
    },
];

const SIGNERS: &str = "2 signers (prompt, caching), 3 verifiers";

impl Newcomer {
    /// Its name.
    pub fn name(&self) -> CredentialName {
        CredentialName::parse(self.name).expect("a name that Secrets Manager takes")
    }

    /// Creates the secret, lets its first rotation make its first key, and brings on those who use it.
    pub async fn begin(&self, stage: &mut Stage<'_, '_>) -> Result<CredentialName, Trouble> {
        let name = self.name();
        stage.quiet(true);
        let client = SecretsManager::new(&stage.embedded.config);
        let function = stage.embedded.settings.function_arn.clone().unwrap_or_default();
        stage.beside(self.create(&client, function)).await??;
        stage.until(stage.now() + SMALL).await?;
        stage.quiet(false);
        stage.tell(&line("first key", &name, self.what[0]))?;
        stage.tell(&line("", &name, self.what[1]))?;
        let base = stage.embedded.settings.jwks_url.as_deref().unwrap_or_default();
        stage.follow((self.users)(&name, &locate(base, &name)));
        Ok(name)
    }

    async fn create(&self, client: &SecretsManager, function: String) -> Result<(), Trouble> {
        let tag = |(tag, value): &(&str, &str)| Tag::builder().key(format!("rotator:{tag}")).value(*value).build();
        let tags = self.tags.iter().map(tag).collect();
        let made = client.create_secret().name(self.name).secret_string("{}").set_tags(Some(tags)).send().await;
        made.map_err(|error| self.refused(&error))?;
        let rules = RotationRulesType::builder().schedule_expression(WEEKLY).build();
        let begun = client.rotate_secret().secret_id(self.name).rotation_lambda_arn(function).rotation_rules(rules);
        begun.send().await.map_err(|error| self.refused(&error))?;
        Ok(())
    }

    fn refused(&self, error: &impl ProvideErrorMetadata) -> Trouble {
        Trouble::Other {
            what: format!(
                "the secret {} was refused: {}",
                self.name,
                error.message().or(error.code()).unwrap_or("there was no answer")
            ),
            next: "this is a defect of the demo: report it".into(),
            source: None,
        }
    }
}
