//! What all credentials share: who asks, the table, the number of keys.

use rotator::aws::records::INDEXES;
use rotator::doctor::{Area, Check, asked, refused};

use super::Doctor;

/// How many API keys an account may have in a Region; it can't be raised, says the AWS documentation.
const MOST_KEYS: usize = 10_000;

impl Doctor<'_> {
    pub(super) fn identity(&self) -> Check {
        Check::ok(Area::Identity, format!("{} in Region {}", self.who, self.scope.region))
    }

    /// Its keys and its indexes; that it can be read is seen later.
    pub(super) async fn table(&self) -> Vec<Check> {
        let (engine, table) = (&self.context.engine, &self.scope.table);
        let shape = match asked(engine, async || engine.records.shape().await).await {
            Ok(shape) => shape,
            Err(stopped) => return vec![refused(Area::Table, &format!("the table {table}"), &stopped)],
        };
        if shape.keys != ["pk", "sk"] {
            let what = format!("the table {table} has the keys {}, not pk and sk", shape.keys.join(", "));
            return vec![Check::broken(Area::Table, what, "set ROTATOR_TABLE to the name of the table of records")];
        }
        let mut checks = Vec::new();
        if !shape.is_active {
            let what = format!("the table {table} can't be used");
            let fix =
                format!("aws dynamodb describe-table --table-name {table} says in which state it is: wait for ACTIVE");
            checks.push(Check::broken(Area::Table, what, fix));
        }
        for (index, keys) in INDEXES {
            match shape.indexes.get(index) {
                Some((true, found)) if found == keys => {}
                Some((false, found)) if found == keys => {
                    let what = format!("the index {index} of the table {table} is still being built");
                    checks.push(Check::broken(Area::Table, what, "wait until DescribeTable calls it ACTIVE"));
                }
                Some((_, found)) => {
                    let what = format!("the index {index} of the table {table} has the keys {}", found.join(", "));
                    let fix = format!("delete it, then: {}", make_index(table, index, keys));
                    checks.push(Check::broken(Area::Table, what, fix));
                }
                None => {
                    let what = format!("the table {table} has no index {index}");
                    checks.push(Check::broken(Area::Table, what, make_index(table, index, keys)));
                }
            }
        }
        if checks.is_empty() {
            checks.push(Check::ok(Area::Table, format!("{table}, with its {} indexes", INDEXES.len())));
        }
        checks
    }

    pub(super) async fn quota(&self) -> Check {
        let engine = &self.context.engine;
        match asked(engine, async || Ok(engine.api_keys.list("").await?)).await {
            Ok(keys) => headroom(keys.len()),
            Err(stopped) => refused(Area::Quota, "the number of API keys", &stopped),
        }
    }
}

/// Each rotation needs one more key until the old one is destroyed.
fn headroom(used: usize) -> Check {
    let what = format!("{used} of the {MOST_KEYS} API keys of this account and Region are there");
    let fix = "delete keys that nobody uses (`rotator list` has those that are), shorten rotator:overlap and rotator:soak, \
               or move partners to another account: AWS does not raise this limit";
    if used * 100 >= MOST_KEYS * 99 {
        Check::broken(Area::Quota, what, fix)
    } else if used * 100 >= MOST_KEYS * 90 {
        Check::warning(Area::Quota, what, fix)
    } else {
        Check::ok(Area::Quota, what)
    }
}

fn make_index(table: &str, index: &str, keys: &[&str]) -> String {
    let attributes: Vec<String> = keys.iter().map(|key| format!("AttributeName={key},AttributeType=S")).collect();
    let schema: Vec<String> = keys
        .iter()
        .zip(["HASH", "RANGE"])
        .map(|(key, kind)| format!("{{\"AttributeName\": \"{key}\", \"KeyType\": \"{kind}\"}}"))
        .collect();
    // The timeline is read by itself; of the others, only whom they name.
    let projection = if index == "timeline" { "ALL" } else { "KEYS_ONLY" };
    format!(
        "aws dynamodb update-table --table-name {table} --attribute-definitions {} --global-secondary-index-updates \
         '[{{\"Create\": {{\"IndexName\": \"{index}\", \"KeySchema\": [{}], \"Projection\": {{\"ProjectionType\": \
         \"{projection}\"}}}}}}]'",
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
        let verdicts = [0, 8_999, 9_000, 9_899, 9_900, 10_000].map(|used| headroom(used).verdict);
        use Verdict::{Broken, Ok, Warning};
        assert_eq!(verdicts, [Ok, Ok, Warning, Warning, Broken, Broken]);
    }

    #[test]
    fn the_command_for_an_index_can_be_pasted() {
        insta::assert_snapshot!(make_index("rotator", "due", &["due", "dueAt"]));
    }
}
