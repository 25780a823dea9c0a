//! Who else writes: stacks that own what a rotation changes; and what the key in use looks like at its provider.

use rotator::aws::secrets::Particulars;
use rotator::aws::signing_keys::SigningKeys;
use rotator::doctor::permissions::Function;
use rotator::doctor::{Area, Check, asked, refused};
use rotator::failure::Failure;
use rotator::kinds::kms_signing_key::{MaySign, declared_signers, may_sign_by};
use state::credential::Version;
use state::drift::Owner;
use state::hold::HoldReason;
use state::policy::Policy;

use super::functions::Fleet;
use super::{Doctor, key_of};
use crate::output::{counted, listed};

/// Who is to sign with a KMS key.
pub(super) struct Signers {
    declared: Vec<String>,
    /// The accounts whose roles may be declared.
    accounts: Vec<String>,
    /// The roles of the functions, which sign to prove a key.
    ours: Vec<String>,
}

impl Doctor<'_> {
    /// Who is to sign, by a credential's wishes and by the setting of the function that makes its keys.
    pub(super) fn signers(&self, fleet: &Fleet, wishes: Option<&Policy>) -> Signers {
        let rotation = fleet.get(Function::Rotation);
        let theirs = rotation.and_then(|rotation| rotation.settings.get("ROTATOR_SIGNER_ACCOUNTS"));
        let others: Vec<String> = match theirs {
            Some(theirs) => theirs.split_whitespace().map(str::to_owned).collect(),
            None => self.context.engine.config.signer_accounts.clone(),
        };
        Signers {
            declared: wishes.map(declared_signers).unwrap_or_default(),
            accounts: std::iter::once(self.scope.account.clone()).chain(others).collect(),
            ours: fleet.all().map(|(_, function)| function.role.clone()).collect(),
        }
    }

    pub(super) async fn owned(
        &self,
        particulars: &Particulars,
        kind: &str,
        current: Option<&Version>,
        signers: &Signers,
    ) -> Vec<Check> {
        let mut checks = vec![secret(particulars)];
        let Some(key) = current.and_then(key_of) else { return checks };
        let engine = &self.context.engine;
        match kind {
            "api-gateway-key" => match asked(engine, async || self.api_key(key, current).await).await {
                Ok(found) => checks.extend(found),
                Err(stopped) => checks.push(refused(Area::Provider, &format!("the API key {key}"), &stopped)),
            },
            "kms-signing-key" => match asked(engine, async || self.kms_key(key, signers).await).await {
                Ok(found) => checks.extend(found),
                Err(stopped) => checks.push(refused(Area::Provider, &format!("the KMS key {key}"), &stopped)),
            },
            // The others have no provider.
            _ => {}
        }
        checks
    }

    async fn api_key(&self, id: &str, version: Option<&Version>) -> Result<Vec<Check>, Failure> {
        let engine = &self.context.engine;
        let Some(key) = engine.api_keys.get(id).await? else {
            let gone = HoldReason::KeyVanished;
            let fix = format!("{}; runbook.md has more under {gone}", gone.remedy());
            let what = format!("{gone}: the API key {id} that consumers read is not there");
            return Ok(vec![Check::broken(Area::Provider, what, fix)]);
        };
        let mut checks = Vec::new();
        if !key.enabled {
            let fix = if version.is_some_and(|version| version.compromised.is_some()) {
                "its key is compromised: leave it disabled, and run `rotator rotate NAME --emergency --reason TEXT`"
                    .into()
            } else {
                format!(
                    "find out who disabled it and why: its owner may be cut off on purpose, or a stranger may have the key; \
                     only if it was a mistake, `aws apigateway update-api-key --api-key {id} --patch-operations \
                     op=replace,path=/enabled,value=true`"
                )
            };
            let what = format!("the API key {id} that consumers read is disabled");
            checks.push(Check::broken(Area::Provider, what, fix));
        }
        if let Some(owner) = Owner::of(&key.tags) {
            let what = format!("{owner} owns the API key {id}: its next run would undo a rotation");
            checks.push(Check::broken(Area::Ownership, what, owner.way_out(id)));
        }
        for plan in engine.api_keys.plans_of(id).await? {
            if let Some(owner) = Owner::of(&plan.tags) {
                let what =
                    format!("{owner} owns the usage plan {}: if it replaces the plan, its keys are out", plan.id);
                let fix = "let it attach no keys to the plan (AWS::ApiGateway::UsagePlanKey, aws_api_gateway_usage_plan_key), \
                           and keep it from replacing the plan (DeletionPolicy and UpdateReplacePolicy: Retain; prevent_destroy)";
                checks.push(Check::warning(Area::Ownership, what, fix));
            }
        }
        Ok(checks)
    }

    /// Policy and grants go with the key: the next one gets the same.
    async fn kms_key(&self, key: &str, signers: &Signers) -> Result<Vec<Check>, Failure> {
        let keys = SigningKeys::new(self.context.aws(), self.context.engine.ports.clone());
        let grants = keys.grants(key).await?;
        let sign = grants.iter().filter(|grant| grant.lets_sign()).count();
        let told = format!(
            "{} on the key that signs, {sign} to sign: the next key gets the same",
            counted(grants.len(), "grant")
        );
        let mut checks = vec![signers.told(), Check::ok(Area::Provider, told)];
        let policy = keys.policy(key).await?.unwrap_or_default();
        let known = |who: &String| signers.declared.contains(who) || signers.ours.contains(who);
        for MaySign { who, by } in may_sign_by(&policy, &grants, &self.scope.account) {
            if known(&who) {
                continue;
            }
            let what = format!("{by} lets {who} sign with the key that signs, and rotator:signers does not name them");
            let fix = format!(
                "if they are to sign, name their role in rotator:signers; if not, take that out of the key {key} (aws kms \
                 put-key-policy, aws kms revoke-grant), or the next key gets it too"
            );
            checks.push(Check::warning(Area::Provider, what, fix));
        }
        // KMS shows the id of a principal that is gone in place of its ARN.
        for lost in grants.iter().filter(|grant| !is_principal(grant.grantee())) {
            let what = format!(
                "a grant on the key that signs is for {}, who is not there any more: KMS refuses to give the next key the same",
                lost.grantee()
            );
            let fix = format!("aws kms revoke-grant --key-id {key} --grant-id {}", lost.id());
            checks.push(Check::broken(Area::Provider, what, fix));
        }
        if let Some(owner) = Owner::of(&keys.tags(key).await?) {
            let what = format!("{owner} owns the KMS key that signs: its next run could disable or delete it");
            let fix = "take it out of what that tool declares and keep the key (DeletionPolicy: Retain; removed with destroy = \
                       false)";
            checks.push(Check::broken(Area::Ownership, what, fix));
        }
        Ok(checks)
    }
}

impl Signers {
    fn told(&self) -> Check {
        let declared = match self.declared.as_slice() {
            [] => "rotator:signers names nobody: whoever the key's policy, a grant or IAM lets may sign".to_owned(),
            named => format!("rotator:signers names who signs: {}", listed(named)),
        };
        let accounts = listed(&self.accounts);
        Check::ok(Area::Provider, format!("{declared}; it may name roles of {accounts} (ROTATOR_SIGNER_ACCOUNTS)"))
    }
}

fn is_principal(grantee: &str) -> bool {
    grantee.starts_with("arn:") || grantee.contains(".amazonaws.com")
}

/// Whoever declares a value writes it again.
fn secret(particulars: &Particulars) -> Check {
    let Some(owner) = Owner::of(&particulars.tags) else {
        let what = "no stack owns the secret, as far as its tags tell";
        return Check::ok(Area::Ownership, what);
    };
    let fix = match &owner {
        Owner::CloudFormation(_) => {
            "let its SecretString be a constant for good, '{}', with neither GenerateSecretString nor a reference in it, and \
             set RotateImmediatelyOnUpdate: false on its RotationSchedule"
        }
        Owner::Terraform => "lifecycle { ignore_changes = [secret_string] } on its aws_secretsmanager_secret_version",
    };
    let what = format!("{owner} owns the secret: if what it declares has another value, the key is written over");
    Check::warning(Area::Ownership, what, fix)
}
