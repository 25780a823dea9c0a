//! What a finding is called, what it says, and what is to be done about it.

use std::fmt;

use crate::Time;
use crate::credential::Credential;
use crate::decide::{AWSCURRENT, AWSPENDING};
use crate::lifecycle::State;
use crate::name::Token;

use super::{Finding, Holds, LONGEST_RUN, Owner, Scope};

/// What puts a finding right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// This service does, when it is told to: what it does.
    Service(String),
    /// A person does: what exactly.
    Person(String),
}

impl Remedy {
    /// What is to be done, whoever does it.
    pub fn text(&self) -> &str {
        match self {
            Self::Service(text) | Self::Person(text) => text,
        }
    }
}

impl Finding {
    /// Every name, in the order in which findings are dealt with.
    pub const WORDS: [&str; 29] = [
        "RecordDiffers",
        "SecretReplaced",
        "SecretDeleted",
        "RotationOff",
        "PromotionUntold",
        "NewCarrier",
        "ValueWiped",
        "ForeignValue",
        "LabelMoved",
        "PendingEmpty",
        "PendingForeign",
        "PendingStale",
        "HalfDone",
        "PendingLost",
        "CleanUpOpen",
        "KeyVanished",
        "KeyPendingDeletion",
        "KeyDisabled",
        "KeyEnabled",
        "PlanLost",
        "PlanReplaced",
        "PlanAdded",
        "Orphan",
        "Stranger",
        "StackOwned",
        "KidMissing",
        "KidExtra",
        "KeySetUnreachable",
        "Unmanaged",
    ];

    /// Its name, as in the code: the command line's word, the metric's, and the runbook's.
    pub fn word(&self) -> &'static str {
        match self {
            Self::SecretReplaced { .. } => "SecretReplaced",
            Self::SecretDeleted { .. } => "SecretDeleted",
            Self::RecordDiffers { .. } => "RecordDiffers",
            Self::RotationOff => "RotationOff",
            Self::PromotionUntold { .. } => "PromotionUntold",
            Self::NewCarrier { .. } => "NewCarrier",
            Self::ValueWiped { .. } => "ValueWiped",
            Self::ForeignValue { .. } => "ForeignValue",
            Self::LabelMoved { .. } => "LabelMoved",
            Self::PendingEmpty { .. } => "PendingEmpty",
            Self::PendingForeign { .. } => "PendingForeign",
            Self::PendingStale { .. } => "PendingStale",
            Self::HalfDone { .. } => "HalfDone",
            Self::PendingLost { .. } => "PendingLost",
            Self::CleanUpOpen { .. } => "CleanUpOpen",
            Self::KeyVanished { .. } => "KeyVanished",
            Self::KeyPendingDeletion { .. } => "KeyPendingDeletion",
            Self::KeyDisabled { .. } => "KeyDisabled",
            Self::KeyEnabled { .. } => "KeyEnabled",
            Self::PlanLost { .. } => "PlanLost",
            Self::PlanReplaced { .. } => "PlanReplaced",
            Self::PlanAdded { .. } => "PlanAdded",
            Self::Orphan { .. } => "Orphan",
            Self::Stranger { .. } => "Stranger",
            Self::StackOwned { .. } => "StackOwned",
            Self::KidMissing { .. } => "KidMissing",
            Self::KidExtra { .. } => "KidExtra",
            Self::KeySetUnreachable { .. } => "KeySetUnreachable",
            Self::Unmanaged { .. } => "Unmanaged",
        }
    }

    /// What it is about: with its name, what tells it from every other finding of the credential, however often one
    /// looks.
    pub fn subject(&self) -> String {
        let generation = |generation: &u32| format!("generation {generation}");
        match self {
            Self::SecretReplaced { found } => found.clone(),
            Self::SecretDeleted { .. } | Self::RotationOff => "the secret".into(),
            Self::RecordDiffers { generation: None, .. } => "the head".into(),
            Self::RecordDiffers { generation: Some(g), .. } => generation(g),
            Self::NewCarrier { carrier, .. }
            | Self::ValueWiped { carrier, .. }
            | Self::ForeignValue { carrier, .. } => {
                format!("version {carrier}")
            }
            Self::LabelMoved { .. } => AWSCURRENT.into(),
            Self::PendingEmpty { token, .. } | Self::PendingForeign { token, .. } => format!("version {token}"),
            Self::PromotionUntold { generation: g }
            | Self::PendingStale { generation: g, .. }
            | Self::HalfDone { generation: g, .. }
            | Self::PendingLost { generation: g, .. }
            | Self::CleanUpOpen { generation: g }
            | Self::KeyVanished { generation: g, .. } => generation(g),
            Self::KeyPendingDeletion { id, .. }
            | Self::KeyDisabled { id, .. }
            | Self::KeyEnabled { id, .. }
            | Self::Orphan { id, .. }
            | Self::Stranger { id, .. }
            | Self::StackOwned { id, .. }
            | Self::Unmanaged { id, .. } => format!("key {id}"),
            Self::PlanLost { id, plan, .. }
            | Self::PlanReplaced { id, plan, .. }
            | Self::PlanAdded { id, plan, .. } => format!("key {id}, plan {plan}"),
            Self::KidMissing { kid, .. } | Self::KidExtra { kid, .. } => format!("kid {kid}"),
            Self::KeySetUnreachable { .. } => "the key set".into(),
        }
    }

    /// Whether both are about the same, seen at different times.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.word() == other.word() && self.subject() == other.subject()
    }

    /// Whether it belongs to that scope.
    pub fn is_of(&self, scope: Scope) -> bool {
        match scope {
            Scope::All => true,
            Scope::Rotation => !self.needs_keys(),
        }
    }

    /// Whether the provider's keys have to be seen to find it.
    pub fn needs_keys(&self) -> bool {
        !matches!(
            self,
            Self::SecretReplaced { .. }
                | Self::SecretDeleted { .. }
                | Self::RecordDiffers { .. }
                | Self::RotationOff
                | Self::PromotionUntold { .. }
                | Self::NewCarrier { .. }
                | Self::ValueWiped { .. }
                | Self::ForeignValue { .. }
                | Self::LabelMoved { .. }
                | Self::PendingEmpty { .. }
                | Self::PendingForeign { .. }
                | Self::PendingStale { .. }
                | Self::HalfDone { .. }
                | Self::PendingLost { .. }
                | Self::CleanUpOpen { .. }
        )
    }

    /// Until when somebody may still be at work on it: nothing is torn from under them.
    pub fn waits_until(&self, now: Time) -> Option<Time> {
        let until = if let Self::PendingEmpty { since, .. } | Self::PendingForeign { since, .. } = self {
            since.map(|since| since + LONGEST_RUN)
        } else if let Self::HalfDone { until, .. } | Self::PendingLost { until, .. } = self {
            *until
        } else {
            None
        };
        until.filter(|until| *until > now)
    }

    /// What puts it right, and who does. `credential` is the one that it was found of; `None` for keys that belong to
    /// none.
    pub fn remedy(&self, credential: Option<&Credential>) -> Remedy {
        let service = |text: String| Remedy::Service(text);
        let person = |text: String| Remedy::Person(text);
        let name = credential.map_or("NAME", |credential| credential.head.name.as_str());
        let is_compromised = |generation: u32| {
            let version = credential.and_then(|credential| credential.versions.get(&generation));
            version.is_some_and(|version| version.compromised.is_some())
        };
        let publishes = |generation: u32| {
            let version = credential.and_then(|credential| credential.versions.get(&generation));
            version.is_some_and(|version| version.policy.publication.is_some())
        };
        match self {
            Self::SecretReplaced { .. } => {
                person("adopt the new secret under another name, or restore the old one".into())
            }
            Self::RecordDiffers { .. } => person(
                "find out who wrote into the table, and restore the record from a backup: until then its key is neither \
                 published nor refused"
                    .into(),
            ),
            Self::RotationOff => person(format!(
                "if that was a mistake, `aws secretsmanager rotate-secret --secret-id {name} --no-rotate-immediately`: its \
                 function and its schedule are those from before"
            )),
            Self::SecretDeleted { .. } => person(format!(
                "if that was a mistake, `aws secretsmanager restore-secret --secret-id {name}`, while it can be restored"
            )),
            Self::PromotionUntold { generation } => {
                service(format!("record that generation {generation} is current: its predecessor's overlap begins"))
            }
            Self::NewCarrier { generation, .. } => {
                service(format!("record the version as a carrier of generation {generation}"))
            }
            Self::ValueWiped { generation: g, .. } | Self::LabelMoved { generation: Some(g), .. }
                if is_compromised(*g) =>
            {
                person(format!(
                    "generation {g} is compromised, so nothing is moved back to it: run `rotator rotate {name} \
                     --emergency --reason TEXT`"
                ))
            }
            Self::ValueWiped { generation: g, back_to, .. } => {
                service(format!("move {AWSCURRENT} back to version {back_to}, which holds generation {g}"))
            }
            Self::LabelMoved { generation, instead, back_to: Some(back_to), .. } => {
                let hint = match (generation, instead) {
                    (Some(generation), Some(older)) => format!(
                        "which holds generation {generation}; if generation {older} is wanted, run `rotator rollback \
                         {name} --to {older} --reason TEXT` instead"
                    ),
                    (Some(generation), None) => format!("which holds generation {generation}"),
                    (None, _) => "where it was before the first rotation, which then goes on".into(),
                };
                service(format!("move {AWSCURRENT} back to version {back_to}, {hint}"))
            }
            Self::LabelMoved { back_to: None, .. } => person(format!(
                "put a value without a key, `aws secretsmanager put-secret-value --secret-id {name} --secret-string \
                 '{{}}'`, then run `rotator rotate {name}`"
            )),
            Self::ForeignValue { carrier, back_to, .. } => {
                person(format!("find out who put it; then `{}`", move_label(name, carrier, back_to)))
            }
            Self::PendingEmpty { .. } | Self::PendingForeign { .. } => {
                service(format!("take {AWSPENDING} off the version; its value, if any, stays readable by its id"))
            }
            Self::PendingStale { place, .. } if place.ends_with("suspending") => {
                service(format!("suspend its key, then take {AWSPENDING} off the version"))
            }
            Self::PendingStale { .. } => service(format!("take {AWSPENDING} off the version")),
            Self::HalfDone { generation, .. } if publishes(*generation) => service(format!(
                "give the rotation up: generation {generation} is a standby again; then take {AWSPENDING} off the version"
            )),
            Self::HalfDone { .. } => service(format!(
                "give the rotation up: suspend the key that it made, if any, then take {AWSPENDING} off the version"
            )),
            Self::PendingLost { .. } => service("give the rotation up: suspend the key that it made, if any".into()),
            Self::CleanUpOpen { .. } => service("suspend the key that it made, if any".into()),
            Self::KeyVanished { generation, .. } if publishes(*generation) => person(format!(
                "a KMS key can't be made again: run `rotator rotate {name} --emergency --compromised none --reason TEXT`"
            )),
            Self::KeyVanished { .. } => service(
                "create it again with the same value, from Secrets Manager, and in the same plans: its clients go on"
                    .into(),
            ),
            Self::KeyPendingDeletion { generation, id } => person(format!(
                "`aws kms cancel-key-deletion --key-id {id}`, then `aws kms enable-key --key-id {id}`; if it is not to be \
                 trusted, `rotator rotate {name} --emergency --compromised {generation} --reason TEXT`"
            )),
            Self::KeyDisabled { generation, id } => {
                let enable = if publishes(*generation) {
                    format!("aws kms enable-key --key-id {id}")
                } else {
                    format!(
                        "aws apigateway update-api-key --api-key {id} --patch-operations \
                         op=replace,path=/enabled,value=true"
                    )
                };
                person(format!(
                    "find out who disabled it and why, because its owner may be cut off on purpose; if it was a mistake, \
                     `{enable}`; if a stranger has it, `rotator rotate {name} --emergency --reason TEXT`"
                ))
            }
            Self::KeyEnabled { state: State::Destroyed, id, .. } => person(format!(
                "it was destroyed here and somebody brought it back: disable or delete key {id} by hand, once nobody \
                 needs it"
            )),
            Self::KeyEnabled { .. } => service("suspend it again".into()),
            Self::PlanLost { .. } => service("attach it again".into()),
            Self::PlanReplaced { plan, by: Some(by), .. } => service(format!(
                "take plan {by} into the record in place of {plan}, so that the next key gets it; if it was a mistake, move \
                 the key back instead"
            )),
            Self::PlanReplaced { plan, by: None, .. } => service(format!("take plan {plan} out of the record")),
            Self::PlanAdded { plan, .. } => {
                service(format!("take plan {plan} into the record, so that the next key gets it too"))
            }
            Self::Orphan { generation, .. } if publishes(*generation) => {
                service("disable it and schedule its deletion, in 30 days".into())
            }
            Self::Orphan { .. } => {
                service("record its id and suspend it; it soaks and is destroyed like any other".into())
            }
            Self::Stranger { .. } => person(
                "find out who made or tagged it: nothing here may touch it; without its tags rotator:credential and \
                 rotator:version it can be adopted"
                    .into(),
            ),
            Self::StackOwned { id, owner, .. } => person(owner.way_out(id)),
            Self::KidMissing { .. } | Self::KidExtra { .. } => person(format!(
                "see what answers at the key set's URL: it is not the function jwks over this table, or a cache in front \
                 of it is too old; `rotator jwks {name}` shows what should be there"
            )),
            Self::KeySetUnreachable { .. } => person(
                "see that the URL in ROTATOR_JWKS_URL answers: verifiers go on with what they have cached".into(),
            ),
            Self::Unmanaged { id, owner: Some(owner), .. } => {
                person(format!("{}; then `rotator adopt --id {id}`", owner.way_out(id)))
            }
            Self::Unmanaged { id, owner: None, .. } => person(format!("to have it rotated, `rotator adopt --id {id}`")),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecretReplaced { found } => write!(f, "the secret of that name is another one now: {found}"),
            Self::RecordDiffers { generation: Some(generation), what } => {
                write!(f, "what is recorded of generation {generation} is not what the history states: {what}")
            }
            Self::RecordDiffers { generation: None, what } => {
                write!(f, "what is recorded is not what the history states: {what}")
            }
            Self::RotationOff => f.write_str(
                "rotation is switched off: it does not rotate by itself, and nobody can begin a rotation of it",
            ),
            Self::SecretDeleted { live } => {
                write!(f, "the secret is deleted or scheduled to be, and the keys of generations {live:?} live")
            }
            Self::PromotionUntold { generation } => {
                write!(f, "{AWSCURRENT} has moved to generation {generation}, and the records don't say so")
            }
            Self::NewCarrier { generation, carrier } => {
                write!(f, "somebody put the key of generation {generation} again, as version {carrier}")
            }
            Self::ValueWiped { generation, carrier, .. } => write!(
                f,
                "version {carrier} is current and has no key: somebody, or a stack's update, wrote over generation \
                 {generation}"
            ),
            Self::ForeignValue { generation, carrier, .. } => {
                write!(f, "version {carrier} is current and holds another key than generation {generation}")
            }
            Self::LabelMoved { generation, instead, carrier, .. } => {
                match (instead, carrier) {
                    (Some(instead), Some(carrier)) => {
                        write!(f, "{AWSCURRENT} is on version {carrier}, with generation {instead}; ")?;
                    }
                    _ => write!(f, "{AWSCURRENT} is on no version; ")?,
                }
                match generation {
                    Some(generation) => write!(f, "generation {generation} should be current"),
                    None => f.write_str("no generation should be current yet"),
                }
            }
            Self::PendingEmpty { token, .. } => {
                write!(
                    f,
                    "{AWSPENDING} is on version {token}, which is empty: the rotation function did nothing with it"
                )
            }
            Self::PendingForeign { token, holds, .. } => {
                let what = match holds {
                    Holds::Nothing | Holds::NoKey => "has no key".to_owned(),
                    Holds::KeyOf(generation) => format!("holds the key of generation {generation}"),
                    Holds::Foreign => "holds a value that no rotation made".to_owned(),
                };
                write!(f, "{AWSPENDING} is on version {token}, which {what}")
            }
            Self::PendingStale { generation, token, place } => {
                write!(f, "{AWSPENDING} is on version {token}, but generation {generation} is {place}")
            }
            Self::HalfDone { generation, token, phase, .. } => {
                write!(f, "the rotation {} stopped half way: generation {generation} is {phase}", token.short())
            }
            Self::PendingLost { generation, .. } => write!(
                f,
                "the rotation that was making generation {generation} lost {AWSPENDING}: it will never come to its end"
            ),
            Self::CleanUpOpen { generation } => {
                write!(f, "generation {generation} was given up, and its key may still be accepted")
            }
            Self::KeyVanished { generation, id: Some(id) } => {
                write!(f, "key {id} of generation {generation} is gone, and nobody here deleted it")
            }
            Self::KeyVanished { generation, id: None } => {
                write!(f, "the key of generation {generation} is gone and has not been made again yet")
            }
            Self::KeyPendingDeletion { generation, id } => {
                write!(f, "key {id} of generation {generation} is scheduled for deletion, and not by this service")
            }
            Self::KeyDisabled { generation, id } => {
                write!(f, "key {id} of generation {generation} is disabled, and not by this service")
            }
            Self::KeyEnabled { generation, id, state } => {
                write!(f, "key {id} is enabled, but generation {generation} is {state}")
            }
            Self::PlanLost { generation, id, plan } => {
                write!(f, "key {id} of generation {generation} is no longer in plan {plan}")
            }
            Self::PlanReplaced { generation, id, plan, by: Some(by) } => {
                write!(f, "somebody moved key {id} of generation {generation} from plan {plan} to {by}")
            }
            Self::PlanReplaced { generation, id, plan, by: None } => {
                write!(f, "plan {plan}, which key {id} of generation {generation} was in, is deleted")
            }
            Self::PlanAdded { generation, id, plan } => {
                write!(f, "key {id} of generation {generation} is in plan {plan}, which no record knows of")
            }
            Self::Orphan { generation, id } => {
                write!(f, "key {id} was made for generation {generation}, whose record does not have it")
            }
            Self::Stranger { id, claims } => {
                write!(f, "key {id} says that it belongs to {claims}, and nothing shows that it was made for it")
            }
            Self::StackOwned { generation, id, owner } => {
                write!(f, "{owner} owns key {id} of generation {generation}: its next run may undo a rotation")
            }
            Self::KidMissing { generation, kid } => {
                write!(f, "the key set lacks {kid} of generation {generation}: verifiers refuse what it signs")
            }
            Self::KidExtra { kid, generation: Some(generation) } => {
                write!(f, "the key set still has {kid} of generation {generation}, which is not to be trusted any more")
            }
            Self::KidExtra { kid, generation: None } => write!(f, "the key set has {kid}, which no record knows"),
            Self::KeySetUnreachable { why } => write!(f, "the key set can't be fetched: {why}"),
            Self::Unmanaged { id, name, owner } => match owner {
                Some(owner) => write!(f, "nobody rotates key {id} ({name}), which {owner} owns"),
                None => write!(f, "nobody rotates key {id} ({name})"),
            },
        }
    }
}

impl Owner {
    /// How a key gets out of a tool's hands without being deleted, so that it can be rotated.
    pub fn way_out(&self, id: &str) -> String {
        match self {
            Self::CloudFormation(_) => {
                "set DeletionPolicy: Retain on it, remove it from the stack's template, then adopt \
                                        it; to declare the secret in a stack, import it: `aws cloudformation \
                                        create-change-set --change-set-type IMPORT` with ResourceType \
                                        AWS::SecretsManager::Secret and no SecretString"
                    .into()
            }
            Self::Terraform => format!(
                "let Terraform forget it: `removed {{ from = aws_api_gateway_api_key.NAME  lifecycle {{ destroy = false }} }}`; \
                 or, if {id} must stay in its state, `lifecycle {{ ignore_changes = [enabled, value, tags] }}`, and never \
                 destroy it there"
            ),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CloudFormation(stack) => write!(f, "the CloudFormation stack {stack}"),
            Self::Terraform => f.write_str("Terraform"),
        }
    }
}

fn move_label(name: &str, from: &Token, to: &Token) -> String {
    format!(
        "aws secretsmanager update-secret-version-stage --secret-id {name} --version-stage {AWSCURRENT} \
         --remove-from-version-id {from} --move-to-version-id {to}"
    )
}
