//! Aliases: names that move from key to key.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Kms, Page, alias_arn, error, invalid, no_such_alias, page, seconds};
use crate::core::{Context, ServiceError};

/// A name that points to a key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Alias {
    pub(super) target: String,
    created: DateTime<Utc>,
    updated: DateTime<Utc>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct NameAlias {
    alias_name: String,
    target_key_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteAlias {
    alias_name: String,
}

impl Kms {
    pub(super) fn create_alias(&mut self, cx: &Context<'_>, input: NameAlias) -> Result<Value, ServiceError> {
        check_alias_name(&input.alias_name)?;
        if self.aliases.contains_key(&input.alias_name) {
            let message = format!("An alias with the name {} already exists", alias_arn(cx, &input.alias_name));
            return Err(error("AlreadyExistsException", message));
        }
        let target = self.lasting(cx, &input.target_key_id)?.id.clone();
        let alias = Alias { target, created: cx.now, updated: cx.now };
        self.aliases.insert(input.alias_name, alias);
        Ok(json!({}))
    }

    /// Unconditional, but both keys must be of one type and usage.
    pub(super) fn update_alias(&mut self, cx: &Context<'_>, input: &NameAlias) -> Result<Value, ServiceError> {
        check_alias_prefix(&input.alias_name)?;
        let old = self.aliases.get(&input.alias_name).ok_or_else(|| no_such_alias(cx, &input.alias_name))?;
        let old = self.keys.get(&old.target).map(|key| key.spec.usage());
        let target = self.lasting(cx, &input.target_key_id)?;
        let (target, usage) = (target.id.clone(), target.spec.usage());
        if old.is_some_and(|old| old != usage) {
            return Err(invalid("the alias's current key and the new one must be of the same type and key usage"));
        }
        if let Some(alias) = self.aliases.get_mut(&input.alias_name) {
            alias.target = target;
            alias.updated = cx.now;
        }
        Ok(json!({}))
    }

    pub(super) fn delete_alias(&mut self, cx: &Context<'_>, input: &DeleteAlias) -> Result<Value, ServiceError> {
        check_alias_prefix(&input.alias_name)?;
        match self.aliases.remove(&input.alias_name) {
            Some(_) => Ok(json!({})),
            None => Err(no_such_alias(cx, &input.alias_name)),
        }
    }

    pub(super) fn list_aliases(&mut self, cx: &Context<'_>, input: &Page) -> Result<Value, ServiceError> {
        let of_key = match &input.key_id {
            Some(key) => Some(self.key(cx, key)?.id.clone()),
            None => None,
        };
        let matching = self.aliases.iter().filter(|(_, alias)| of_key.as_ref().is_none_or(|id| *id == alias.target));
        let aliases = matching.map(|(name, alias)| {
            let entry = json!({
                "AliasName": name,
                "AliasArn": alias_arn(cx, name),
                "TargetKeyId": alias.target,
                "CreationDate": seconds(alias.created),
                "LastUpdatedDate": seconds(alias.updated),
            });
            (name.as_str(), entry)
        });
        page("Aliases", aliases, input, (50, 100))
    }
}

/// `alias/` and then letters, digits, slashes, underscores and dashes, but not `alias/aws/`.
fn check_alias_name(name: &str) -> Result<(), ServiceError> {
    check_alias_prefix(name)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_-".contains(c);
    match name.strip_prefix("alias/") {
        Some(rest) if !rest.is_empty() && !rest.starts_with("aws/") && rest.chars().all(allowed) => Ok(()),
        Some(_) | None => Err(error("InvalidAliasNameException", format!("invalid alias name {name:?}"))),
    }
}

fn check_alias_prefix(name: &str) -> Result<(), ServiceError> {
    if name.starts_with("alias/") {
        return Ok(());
    }
    Err(invalid(
        "Alias must start with the prefix \"alias/\". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html",
    ))
}
