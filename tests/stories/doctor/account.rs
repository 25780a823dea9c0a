//! What all credentials share: the table, retirement, the number of keys.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType,
};
use chrono::TimeDelta;
use rotator::doctor::{Area, Verdict};

use super::{assert_line, doctor, is_healthy, rotated, says};
use crate::harness::{ACME, Stage};

#[tokio::test(start_paused = true)]
async fn the_table() {
    use Area::Table;
    use Verdict::Broken;
    let (mut stage, _) = rotated().await;
    stage.settings.table = "nowhere".into();
    says(&stage, Table, Broken, "the table nowhere does not exist", "export ROTATOR_TABLE=").await;

    table(&stage, "theirs", ["id", "at"], None).await;
    stage.settings.table = "theirs".into();
    says(&stage, Table, Broken, "has the keys id, at, not pk and sk", "ROTATOR_TABLE").await;

    table(&stage, "bare", ["pk", "sk"], None).await;
    stage.settings.table = "bare".into();
    for index in ["due", "fingerprint", "heads", "timeline"] {
        let said = format!("the table bare has no index {index}");
        let fix = "aws dynamodb update-table --table-name bare --attribute-definitions AttributeName=".to_owned();
        let fix = if index == "fingerprint" { format!("{fix}fingerprint") } else { fix };
        says(&stage, Table, Broken, &said, &fix).await;
    }

    table(&stage, "older", ["pk", "sk"], Some(("due", "sk"))).await;
    stage.settings.table = "older".into();
    let said = "the index due of the table older has the keys sk";
    let gone = "aws dynamodb update-table --table-name older --global-secondary-index-updates \
                '[{\"Delete\": {\"IndexName\": \"due\"}}]'; once it is gone: aws dynamodb update-table";
    says(&stage, Table, Broken, said, gone).await;
}

#[tokio::test(start_paused = true)]
async fn a_table_or_an_index_that_is_not_there_yet_or_any_more() {
    use Area::Table;
    use Verdict::Broken;
    let (mut stage, _) = rotated().await;
    stage.settings.table = "next".into();
    stage.engine_unhurt().records.create_table().await.expect("a table");
    let table = async |stage: &Stage| {
        let view = doctor(stage, Some(ACME)).await;
        view.checks.into_iter().filter(|check| check.area == Table && check.verdict == Broken).collect::<Vec<_>>()
    };
    assert_eq!(table(&stage).await, []);
    for (status, fix) in [
        ("CREATING", "wait: aws dynamodb wait table-exists --table-name next"),
        ("DELETING", "aws dynamodb describe-table --table-name next says more; if it is about to be gone"),
    ] {
        assert!(stage.aws.set_table_status("next", status));
        let said = format!("the table next is {status}: it can't be read or written");
        says(&stage, Table, Broken, &said, fix).await;
        assert_eq!(table(&stage).await.len(), 1, "one line says it all");
    }
    // A change of its settings keeps nobody from using it.
    assert!(stage.aws.set_table_status("next", "UPDATING"));
    assert_eq!(table(&stage).await, []);
    assert!(stage.aws.set_table_status("next", "ACTIVE"));

    for index in ["due", "fingerprint", "heads", "timeline"] {
        assert!(stage.aws.set_index_status("next", index, "CREATING"));
        let said = format!("the index {index} of the table next is still being built");
        let fix = format!("Table.GlobalSecondaryIndexes[?IndexName=='{index}'].IndexStatus");
        says(&stage, Table, Broken, &said, &fix).await;
        assert!(stage.aws.set_index_status("next", index, "DELETING"));
        let said = format!("the index {index} of the table next is DELETING");
        let fix = "once it is gone: aws dynamodb update-table --table-name next --attribute-definitions ";
        says(&stage, Table, Broken, &said, fix).await;
        assert!(stage.aws.set_index_status("next", index, "UPDATING"));
        assert_eq!(table(&stage).await, []);
        assert!(stage.aws.set_index_status("next", index, "ACTIVE"));
    }
}

/// A table with those keys, and an index by that one.
async fn table(stage: &Stage, name: &str, keys: [&str; 2], index: Option<(&str, &str)>) {
    let client = stage.dynamodb();
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    let attribute = |name: &&str| {
        AttributeDefinition::builder().attribute_name(*name).attribute_type(ScalarAttributeType::S).build()
    };
    let attributes = keys.iter().map(attribute).collect::<Result<Vec<_>, _>>().expect("set");
    let index = index.map(|(name, by)| {
        let index = GlobalSecondaryIndex::builder().index_name(name).key_schema(key(by, KeyType::Hash).expect("set"));
        let projection = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
        vec![index.projection(projection).build().expect("set")]
    });
    client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(attributes))
        .set_global_secondary_indexes(index)
        .key_schema(key(keys[0], KeyType::Hash).expect("set"))
        .key_schema(key(keys[1], KeyType::Range).expect("set"))
        .send()
        .await
        .expect("made");
}

#[tokio::test(start_paused = true)]
async fn retirement_that_does_not_run() {
    let (stage, _) = rotated().await;
    // The old version is looked after as soon as there is a new one.
    stage.wait(TimeDelta::minutes(14)).await;
    is_healthy(&stage).await;
    stage.wait(TimeDelta::minutes(2)).await;
    let said = "retirement does not run: generation 1 of partner/acme is due since";
    says(&stage, Area::Retirement, Verdict::Broken, said, "Scheduled Event").await;
    // The same in the credential's own lines.
    let said = "retirement does not run: generation 1 is due since";
    says(&stage, Area::Retirement, Verdict::Broken, said, "Scheduled Event").await;
    let all = doctor(&stage, None).await;
    let said = "partner/acme: retirement does not run: generation 1 is due since";
    assert_line(&all, Area::Credential, Verdict::Broken, said, "`rotator doctor partner/acme` has 1 more");
    stage.tick().await;
    is_healthy(&stage).await;
}

#[tokio::test(start_paused = true)]
async fn headroom() {
    use Verdict::{Broken, Warning};
    let (stage, _) = rotated().await;
    let client = stage.api_gateway();
    let fix = "https://console.aws.amazon.com/servicequotas/home/services/apigateway/quotas";
    let mut there = 2;
    for (number, verdict) in [(8_001, Warning), (9_900, Broken)] {
        let mut file = String::from("name,key\n");
        for number in there..number {
            file.push_str(&format!("k{number},x{number:029}\n"));
        }
        there = number;
        let import = client.import_api_keys().format(aws_sdk_apigateway::types::ApiKeysFormat::Csv);
        import.body(aws_sdk_apigateway::primitives::Blob::new(file)).send().await.expect("imported");
        says(&stage, Area::Quota, verdict, &format!("{number} of the 10000 API keys"), fix).await;
    }
    // One is there already.
    for number in 1..241 {
        stage.plan(&format!("plan-{number}"), &[], None).await;
    }
    says(&stage, Area::Quota, Warning, "241 of the 300 usage plans", fix).await;
}
