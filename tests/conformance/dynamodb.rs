//! DynamoDB, as far as a ledger needs it.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, IndexStatus, KeySchemaElement, KeyType,
    KeysAndAttributes, Projection, ProjectionType, Put, ScalarAttributeType, TableStatus, TransactWriteItem,
};
use local_aws::Settings;

use super::{Aws, refused, sdk_config, world};

const ARN: &str = "arn:aws:dynamodb:eu-west-1:123456789012:table/tab";

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("complete")
}

fn attribute(name: &str) -> AttributeDefinition {
    let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
    attribute.build().expect("complete")
}

/// A table "tab" with keys pk and sk, and the index "due" by the attribute of that name.
async fn table(aws: &Aws) -> Client {
    let client = Client::new(&sdk_config(aws));
    let index = GlobalSecondaryIndex::builder()
        .index_name("due")
        .key_schema(key("due", KeyType::Hash))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .expect("complete");
    let created = client
        .create_table()
        .table_name("tab")
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("pk"))
        .attribute_definitions(attribute("sk"))
        .attribute_definitions(attribute("due"))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .global_secondary_indexes(index)
        .send()
        .await;
    created.expect("created");
    client
}

fn put(sk: &str) -> Put {
    let put = Put::builder().table_name("tab").item("pk", text("a")).item("sk", text(sk));
    put.condition_expression("attribute_not_exists(pk)").build().expect("complete")
}

async fn due(client: &Client) -> usize {
    let query = client.query().table_name("tab").index_name("due").key_condition_expression("due = :due");
    let found = query.expression_attribute_values(":due", text("now")).send().await.expect("queried");
    found.items().len()
}

/// AWS takes a while to make a table; here it is there at once.
///
/// Source: AWS: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html>.
#[tokio::test]
async fn a_table_is_active_at_once_and_exists_once() {
    let (aws, _) = world();
    let client = table(&aws).await;

    let described = client.describe_table().table_name("tab").send().await.expect("described");
    let status = described.table.and_then(|table| table.table_status);
    assert_eq!(status, Some(TableStatus::Active));

    let again = client.create_table().table_name("tab").attribute_definitions(attribute("pk"));
    let again = again.key_schema(key("pk", KeyType::Hash)).billing_mode(BillingMode::PayPerRequest);
    assert_eq!(refused(again.send().await).0, "ResourceInUseException");
    let absent = client.get_item().table_name("absent").key("pk", text("a")).send().await;
    assert_eq!(refused(absent).0, "ResourceNotFoundException");
}

/// Source: AWS: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeTable.html>.
#[tokio::test]
async fn describe_table_tells_its_key_and_its_indexes() {
    let (aws, _) = world();
    let client = table(&aws).await;

    let table = client.describe_table().table_name("tab").send().await.expect("described").table.expect("a table");

    assert_eq!(table.key_schema(), [key("pk", KeyType::Hash), key("sk", KeyType::Range)]);
    let [index] = table.global_secondary_indexes() else { panic!("one index") };
    assert_eq!((index.index_name(), index.index_status()), (Some("due"), Some(&IndexStatus::Active)));
    assert_eq!(index.key_schema(), [key("due", KeyType::Hash)]);
    let projection = index.projection().and_then(|projection| projection.projection_type());
    assert_eq!(projection, Some(&ProjectionType::KeysOnly));
    assert_eq!(table.table_arn(), Some(ARN));
    assert_eq!(index.index_arn(), Some(&*format!("{ARN}/index/due")));
    assert_eq!(refused(client.describe_table().table_name("absent").send().await).0, "ResourceNotFoundException");
}

/// Source: AWS: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_PutItem.html>.
#[tokio::test]
async fn a_write_whose_condition_fails_changes_nothing() {
    let (aws, _) = world();
    let client = table(&aws).await;
    let put = |value: &str| {
        let put = client.put_item().table_name("tab").item("pk", text("a")).item("sk", text("1"));
        put.item("value", text(value)).condition_expression("attribute_not_exists(pk)")
    };
    put("first").send().await.expect("put");

    assert_eq!(refused(put("second").send().await).0, "ConditionalCheckFailedException");

    let read = client.get_item().table_name("tab").key("pk", text("a")).key("sk", text("1")).consistent_read(true);
    let item = read.send().await.expect("read").item.expect("there");
    assert_eq!(item["value"], text("first"));
}

/// Source: AWS: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>.
#[tokio::test]
async fn a_transaction_is_all_or_nothing_and_tells_which_item_failed() {
    let (aws, _) = world();
    let client = table(&aws).await;
    let transact = |sks: &[&str]| {
        let item = |sk: &&str| TransactWriteItem::builder().put(put(sk)).build();
        client.transact_write_items().set_transact_items(Some(sks.iter().map(item).collect())).send()
    };
    transact(&["1"]).await.expect("written");

    let error = transact(&["2", "1"]).await.expect_err("cancelled").into_service_error();

    assert!(error.is_transaction_canceled_exception(), "{error:?}");
    let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
        cancelled,
    ) = error
    else {
        return;
    };
    let codes: Vec<_> = cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code()).collect();
    assert_eq!(codes, ["None", "ConditionalCheckFailed"]);
    let query = client.query().table_name("tab").key_condition_expression("pk = :pk");
    let found = query.expression_attribute_values(":pk", text("a")).send().await.expect("queried");
    assert_eq!(found.count(), 1, "nothing of it was written");
}

/// Source: AWS: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>.
#[tokio::test]
async fn a_transaction_again_with_its_client_token_is_the_same_and_another_one_is_refused() {
    let (aws, _) = world();
    let client = table(&aws).await;
    let transact = |sk: &str| {
        let item = TransactWriteItem::builder().put(put(sk)).build();
        client.transact_write_items().transact_items(item).client_request_token("token").send()
    };
    transact("1").await.expect("written");

    transact("1").await.expect("its condition fails by now, but it is the same transaction");
    assert_eq!(refused(transact("2").await).0, "IdempotentParameterMismatchException");
}

/// Source: moto: test_transact_write_items__empty_expr_attr_values (aws_verified).
#[tokio::test]
async fn a_transaction_with_an_empty_map_of_values_is_refused() {
    let (aws, _) = world();
    let client = table(&aws).await;
    let item = Put::builder().table_name("tab").item("pk", text("a")).item("sk", text("1"));
    let item = item.condition_expression("attribute_not_exists(pk)").set_expression_attribute_values(Some([].into()));
    let item = item.build().expect("complete");
    let transact = client.transact_write_items().transact_items(TransactWriteItem::builder().put(item).build());
    let (code, message) = refused(transact.send().await);
    assert_eq!(code, "ValidationException");
    assert_eq!(message, "ExpressionAttributeValues must not be empty");
}

/// Source: AWS: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_GetItem.html>.
/// Source: AWS: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>.
#[tokio::test]
async fn a_table_is_named_by_its_arn_as_well() {
    let (aws, _) = world();
    let client = table(&aws).await;
    let keys = || [("pk".to_owned(), text("a")), ("sk".to_owned(), text("1"))].into_iter().collect();
    let item = || [("pk".to_owned(), text("a")), ("sk".to_owned(), text("1")), ("due".to_owned(), text("now"))];
    let item = || item().into_iter().collect();
    client.describe_table().table_name(ARN).send().await.expect("described");
    client.put_item().table_name(ARN).set_item(Some(item())).send().await.expect("put");
    let update = client.update_item().table_name(ARN).set_key(Some(keys())).update_expression("SET v = :v");
    update.expression_attribute_values(":v", text("x")).send().await.expect("updated");
    let read = client.get_item().table_name(ARN).set_key(Some(keys())).send().await.expect("read");
    assert_eq!(read.item.expect("there")["v"], text("x"));
    let query = client.query().table_name(ARN).index_name("due").key_condition_expression("due = :due");
    let found = query.expression_attribute_values(":due", text("now")).send().await.expect("queried");
    assert_eq!(found.count(), 1);
    assert_eq!(client.scan().table_name(ARN).send().await.expect("scanned").count(), 1);
    let asked = KeysAndAttributes::builder().keys(keys()).build().expect("complete");
    let batch = client.batch_get_item().request_items(ARN, asked).send().await.expect("read");
    assert_eq!(batch.responses().expect("told")[ARN].len(), 1, "by the name that was asked for");
    client.delete_item().table_name(ARN).set_key(Some(keys())).send().await.expect("deleted");
    let put = Put::builder().table_name(ARN).set_item(Some(item())).build().expect("complete");
    let transact = client.transact_write_items().transact_items(TransactWriteItem::builder().put(put).build());
    transact.send().await.expect("written");
    let elsewhere = ARN.replace("eu-west-1", "us-east-1");
    assert_eq!(refused(client.scan().table_name(elsewhere).send().await).0, "ValidationException");
    client.delete_table().table_name(ARN).send().await.expect("deleted");
}

/// Embedded: the words of the library under it.
#[tokio::test]
async fn requests_that_make_no_sense_raise_validation_exceptions_without_markers() {
    let (aws, _) = world();
    let client = table(&aws).await;

    let no_key = client.put_item().table_name("tab").item("pk", text("a")).send().await;
    let no_expression = client.query().table_name("tab").send().await;
    let no_table = client.get_item().table_name("t").key("pk", text("a")).send().await;
    for (code, message) in [refused(no_key), refused(no_expression), refused(no_table)] {
        assert_eq!(code, "ValidationException", "{message}");
        assert!(!message.contains("VALIDATION") && !message.contains(" at line "), "{message}");
    }
}

/// Embedded: what it does not model.
#[tokio::test]
async fn an_operation_that_is_not_modelled_is_refused() {
    let (aws, _) = world();
    let client = table(&aws).await;

    let (code, message) = refused(client.list_backups().send().await);

    assert_eq!(code, "UnknownOperationException");
    assert!(message.contains("ListBackups"), "{message}");
}

/// Embedded: a switch.
#[tokio::test]
async fn by_a_switch_an_index_is_behind_its_table() {
    let (aws, clock) = world();
    let client = table(&aws).await;
    aws.settings(|settings: &mut Settings| settings.stale_index = Duration::from_secs(30));
    let put = client.put_item().table_name("tab").item("pk", text("a")).item("sk", text("1")).item("due", text("now"));
    put.send().await.expect("put");

    assert_eq!(due(&client).await, 0);
    let read = client.get_item().table_name("tab").key("pk", text("a")).key("sk", text("1")).send().await;
    assert!(read.expect("read").item.is_some(), "the table itself is not");
    clock.advance(Duration::from_secs(29));
    assert_eq!(due(&client).await, 0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(due(&client).await, 1);

    let delete = client.delete_item().table_name("tab").key("pk", text("a")).key("sk", text("1"));
    delete.send().await.expect("deleted");
    assert_eq!(due(&client).await, 1, "deletions, too");
    aws.settings(|settings: &mut Settings| settings.stale_index = Duration::ZERO);
    assert_eq!(due(&client).await, 0);
}

/// Assumed: AWS lets a table that is being deleted answer for a while; whoever relies on that is not served here.
#[tokio::test]
async fn what_is_being_made_or_deleted_answers_no_reads_and_writes() {
    let (aws, _) = world();
    let client = table(&aws).await;
    let read = || client.get_item().table_name("tab").key("pk", text("a")).key("sk", text("1")).send();
    let transact = || {
        let item = TransactWriteItem::builder().put(put("1")).build();
        client.transact_write_items().transact_items(item).send()
    };
    assert!(!aws.set_table_status("absent", "CREATING") && !aws.set_table_status("tab", "BROKEN"));
    for (status, told) in [("CREATING", TableStatus::Creating), ("DELETING", TableStatus::Deleting)] {
        assert!(aws.set_table_status("tab", status));
        let table = client.describe_table().table_name("tab").send().await.expect("described").table;
        assert_eq!(table.and_then(|table| table.table_status), Some(told));
        assert_eq!(refused(read().await).0, "ResourceNotFoundException");
        assert_eq!(refused(transact().await).0, "ResourceNotFoundException");
    }
    assert!(aws.set_table_status("tab", "UPDATING"));
    assert_eq!(refused(client.delete_table().table_name("tab").send().await).0, "ResourceInUseException");
    read().await.expect("a table that is changed is used on");
    assert!(aws.set_table_status("tab", "ACTIVE"));
    transact().await.expect("written");

    assert!(!aws.set_index_status("tab", "absent", "CREATING"));
    let query = || client.query().table_name("tab").index_name("due").key_condition_expression("due = :due");
    let query = || query().expression_attribute_values(":due", text("now")).send();
    for (status, said) in [("CREATING", "backfilling"), ("DELETING", "does not have the specified index")] {
        assert!(aws.set_index_status("tab", "due", status));
        let table = client.describe_table().table_name("tab").send().await.expect("described").table.expect("a table");
        let index = &table.global_secondary_indexes()[0];
        assert_eq!(index.index_status().map(IndexStatus::as_str), Some(status));
        assert_eq!(index.backfilling(), (status == "CREATING").then_some(true));
        let (code, message) = refused(query().await);
        assert_eq!((code.as_str(), message.contains(said)), ("ValidationException", true), "{message}");
        read().await.expect("the table itself is there");
    }
    assert!(aws.set_index_status("tab", "due", "ACTIVE"));
    query().await.expect("queried");
}
