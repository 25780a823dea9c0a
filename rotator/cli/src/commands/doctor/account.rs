//! What all credentials share: who asks, the table, the number of keys.

use rotator::aws::api_keys::{ApiKey, Plan};
use rotator::aws::records::{Beside, INDEXES, Index, IndexShape};
use rotator::doctor::{Area, Check, asked, refused};
use rotator::failure::{BadInput, Failure, Fault, Stopped, chain};
use rotator::secret::SecretValue;

use super::Doctor;

/// How many API keys an account may have in a Region; it can't be raised, says the AWS documentation.
const MOST_KEYS: usize = 10_000;
/// How many usage plans, unless AWS has raised it for the account.
const MOST_PLANS: usize = 300;
/// More percent of a quota than that are told.
const NEARLY: usize = 80;
/// Where an account's quotas are.
const SERVICE_QUOTAS: &str =
    "Service Quotas has it: https://console.aws.amazon.com/servicequotas/home/services/apigateway/quotas";

/// What was seen of the table.
pub(super) struct Table {
    pub(super) checks: Vec<Check>,
    /// Whether records can be in it, as far as anybody could see.
    pub(super) holds_records: bool,
}

/// What API Gateway's lists tell.
#[derive(Default)]
pub(super) struct Provider {
    pub(super) checks: Vec<Check>,
    pub(super) keys: Vec<ApiKey>,
    /// `None` if they could not be listed: that there are none is something else.
    pub(super) plans: Option<Vec<Plan>>,
}

impl Doctor<'_> {
    pub(super) fn identity(&self) -> Check {
        Check::ok(Area::Identity, format!("{} in Region {}", self.who, self.scope.region))
    }

    /// Its status, its keys and its indexes; that it can be read is seen later.
    pub(super) async fn table(&self) -> Table {
        let (engine, table) = (&self.context.engine, &self.scope.table);
        let shape = match asked(engine, async || engine.records.shape().await).await {
            Ok(shape) => shape,
            Err(stopped) => {
                let holds_records = !matches!(stopped, Stopped::Input(BadInput::NoTable(_)));
                let checks = vec![refused(Area::Table, &format!("the table {table}"), &stopped)];
                return Table { checks, holds_records };
            }
        };
        let useless = |check| Table { checks: vec![check], holds_records: false };
        if shape.keys != ["pk", "sk"] {
            let what = format!("the table {table} has the keys {}, not pk and sk", shape.keys.join(", "));
            let fix = "set ROTATOR_TABLE to the name of the table of records";
            return useless(Check::broken(Area::Table, what, fix));
        }
        if let Some(status) = &shape.unusable {
            let what = format!("the table {table} is {status}: it can't be read or written");
            let fix = if status == "CREATING" {
                format!("wait: aws dynamodb wait table-exists --table-name {table}")
            } else {
                format!(
                    "aws dynamodb describe-table --table-name {table} says more; if it is about to be gone, deploy the \
                     stack again or restore a backup, and export ROTATOR_TABLE=NAME"
                )
            };
            return useless(Check::broken(Area::Table, what, fix));
        }
        let mut checks = Vec::new();
        for declared in &INDEXES {
            let Index { name: index, keys, .. } = declared;
            match shape.indexes.get(*index) {
                Some(IndexShape { unusable: None, keys: found }) if found == *keys => {}
                Some(IndexShape { unusable: Some(status), .. }) if status == "DELETING" => {
                    let what = format!("the index {index} of the table {table} is {status}");
                    let fix = format!("once it is gone: {}", make_index(table, declared));
                    checks.push(Check::broken(Area::Table, what, fix));
                }
                Some(IndexShape { unusable: Some(_), keys: found }) if found == *keys => {
                    let what = format!("the index {index} of the table {table} is still being built");
                    let fix = format!(
                        "wait until it is ACTIVE: aws dynamodb describe-table --table-name {table} --query \
                         \"Table.GlobalSecondaryIndexes[?IndexName=='{index}'].IndexStatus\""
                    );
                    checks.push(Check::broken(Area::Table, what, fix));
                }
                Some(IndexShape { keys: found, .. }) => {
                    let what = format!("the index {index} of the table {table} has the keys {}", found.join(", "));
                    let fix = format!("{}; once it is gone: {}", drop_index(table, index), make_index(table, declared));
                    checks.push(Check::broken(Area::Table, what, fix));
                }
                None => {
                    let what = format!("the table {table} has no index {index}");
                    checks.push(Check::broken(Area::Table, what, make_index(table, declared)));
                }
            }
        }
        if checks.is_empty() {
            checks.push(Check::ok(Area::Table, format!("{table}, with its {} indexes", INDEXES.len())));
        }
        Table { checks, holds_records: true }
    }

    /// Whether a MAC can be made with the key that is configured; nothing if there is none.
    pub(super) async fn fingerprints(&self) -> Option<Check> {
        let engine = &self.context.engine;
        let key = engine.config.fingerprint_key.as_ref()?;
        let nothing_secret = SecretValue::new("rotator doctor");
        match asked(engine, async || Ok(engine.macs.fingerprint(&nothing_secret).await?)).await {
            Ok(_) => Some(Check::ok(Area::Fingerprints, format!("{key} makes them"))),
            Err(Stopped::Failed(Failure::Call(failed)))
                if matches!(failed.fault, Fault::Rejected | Fault::NotFound) =>
            {
                let what = format!(
                    "new keys get no fingerprint, so nobody can tell whose a leaked one is: {}",
                    chain(&failed)
                );
                let fix = format!(
                    "aws kms enable-key --key-id {key}; if it is gone, give the stack another key for fingerprints"
                );
                Some(Check::broken(Area::Fingerprints, what, fix))
            }
            Err(stopped) => Some(refused(Area::Fingerprints, &format!("whether {key} makes fingerprints"), &stopped)),
        }
    }

    /// All API keys and usage plans, and what is left of their quotas. KMS keys and secrets are not counted: that would
    /// take a thousand calls and more.
    pub(super) async fn provider(&self) -> Provider {
        let engine = &self.context.engine;
        let mut provider = Provider::default();
        provider.checks.push(match asked(engine, async || Ok(engine.api_keys.list("").await?)).await {
            Ok(keys) => {
                provider.keys = keys;
                room_for_keys(provider.keys.len())
            }
            Err(stopped) => refused(Area::Quota, "the number of API keys", &stopped),
        });
        provider.checks.push(match asked(engine, async || Ok(engine.api_keys.plans().await?)).await {
            Ok(plans) => {
                let room = room_for_plans(plans.len());
                provider.plans = Some(plans);
                room
            }
            Err(stopped) => refused(Area::Quota, "the number of usage plans", &stopped),
        });
        provider
    }
}

/// Each rotation needs one more key until the old one is destroyed.
fn room_for_keys(used: usize) -> Check {
    let what = format!("{used} of the {MOST_KEYS} API keys of this account and Region are there");
    let fix = format!(
        "delete keys that nobody uses (`rotator list` has those that are), shorten rotator:overlap and rotator:soak, or \
         move partners to another account: AWS does not raise this limit. {SERVICE_QUOTAS}"
    );
    if used * 100 >= MOST_KEYS * 99 {
        Check::broken(Area::Quota, what, fix)
    } else if used * 100 > MOST_KEYS * NEARLY {
        Check::warning(Area::Quota, what, fix)
    } else {
        Check::ok(Area::Quota, what)
    }
}

/// No rotation makes a plan: without room for one, only new partners have to wait.
fn room_for_plans(used: usize) -> Check {
    let what = format!("{used} of the {MOST_PLANS} usage plans of this account and Region are there");
    if used * 100 > MOST_PLANS * NEARLY {
        let fix = format!(
            "ask AWS for more, or let partners share plans; if AWS gave you more, all is well. {SERVICE_QUOTAS}"
        );
        Check::warning(Area::Quota, what, fix)
    } else {
        Check::ok(Area::Quota, what)
    }
}

fn drop_index(table: &str, index: &str) -> String {
    format!(
        "aws dynamodb update-table --table-name {table} --global-secondary-index-updates \
         '[{{\"Delete\": {{\"IndexName\": \"{index}\"}}}}]'"
    )
}

fn make_index(table: &str, Index { name, keys, beside }: &Index) -> String {
    let attributes: Vec<String> = keys.iter().map(|key| format!("AttributeName={key},AttributeType=S")).collect();
    let schema: Vec<String> = keys
        .iter()
        .zip(["HASH", "RANGE"])
        .map(|(key, kind)| format!("{{\"AttributeName\": \"{key}\", \"KeyType\": \"{kind}\"}}"))
        .collect();
    let projection = match beside {
        Beside::Nothing => "\"KEYS_ONLY\"".to_owned(),
        Beside::One(attribute) => format!("\"INCLUDE\", \"NonKeyAttributes\": [\"{attribute}\"]"),
        Beside::Everything => "\"ALL\"".to_owned(),
    };
    format!(
        "aws dynamodb update-table --table-name {table} --attribute-definitions {} --global-secondary-index-updates \
         '[{{\"Create\": {{\"IndexName\": \"{name}\", \"KeySchema\": [{}], \"Projection\": {{\"ProjectionType\": \
         {projection}}}}}}}]'",
        attributes.join(" "),
        schema.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use rotator::doctor::Verdict;

    use super::*;

    #[test]
    fn little_headroom_is_told_in_time() {
        use Verdict::{Broken, Ok, Warning};
        let keys = [0, 8_000, 8_001, 9_899, 9_900, 10_000].map(|used| room_for_keys(used).verdict);
        assert_eq!(keys, [Ok, Ok, Warning, Warning, Broken, Broken]);
        let plans = [0, 240, 241, 300, 1_000].map(|used| room_for_plans(used).verdict);
        assert_eq!(plans, [Ok, Ok, Warning, Warning, Warning]);
    }

    #[test]
    fn the_commands_for_indexes_can_be_pasted() {
        let commands = INDEXES.iter().map(|index| make_index("rotator", index));
        insta::assert_snapshot!(commands.collect::<Vec<_>>().join("\n"));
    }
}
