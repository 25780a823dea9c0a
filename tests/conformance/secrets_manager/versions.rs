//! Values, versions and labels.

use aws_sdk_secretsmanager::Client;
use std::time::Duration;

use local_aws::Settings;

use super::super::{refused, world};
use super::{FIRST, FOURTH, SECOND, THIRD, client, create, holder, value, without_token};

async fn put(client: &Client, token: &str, value: &str, stages: &[&str]) {
    let mut put = client.put_secret_value().secret_id("s").client_request_token(token).secret_string(value);
    for stage in stages {
        put = put.version_stages(*stage);
    }
    put.send().await.expect("put");
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>.
#[tokio::test]
async fn put_secret_value_without_version_stages_moves_awscurrent_and_awsprevious() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;

    put(&client, SECOND, "two", &[]).await;

    assert_eq!(value(&client, "s", "AWSCURRENT").await.as_deref(), Some("two"));
    assert_eq!(value(&client, "s", "AWSPREVIOUS").await.as_deref(), Some("one"));

    put(&client, THIRD, "three", &[]).await;

    assert_eq!(value(&client, "s", "AWSPREVIOUS").await.as_deref(), Some("two"), "one AWSPREVIOUS only");
    let unlabelled = client.get_secret_value().secret_id("s").version_id(FIRST).send().await;
    assert_eq!(unlabelled.expect("a version without a label is read by its id").secret_string(), Some("one"));
}

/// Source: LocalStack: TestSecretsManager::test_put_secret_value_with_version_stages, 2024-03-15.
#[tokio::test]
async fn put_secret_value_with_version_stages_moves_only_those() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;

    put(&client, SECOND, "two", &["AWSPENDING"]).await;

    assert_eq!(holder(&client, "s", "AWSCURRENT").await.as_deref(), Some(FIRST));
    assert_eq!(holder(&client, "s", "AWSPENDING").await.as_deref(), Some(SECOND));
    assert_eq!(holder(&client, "s", "AWSPREVIOUS").await, None);
}

/// As the recording has it, from the version that holds both, and as the page says, from a version that a rotation is
/// making.
///
/// Source: LocalStack: TestSecretsManager::test_update_secret_version_stages_current_pending, 2024-03-15.
/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieve-ct-entries.html>.
#[tokio::test]
async fn a_value_put_by_hand_that_becomes_current_takes_awspending_off_its_holder() {
    for current_too in [true, false] {
        for update in [true, false] {
            let (aws, _) = world();
            let client = client(&aws);
            create(&client, "s").await;
            put(&client, SECOND, "two", &["AWSPENDING"]).await;
            if current_too {
                let moved = client.update_secret_version_stage().secret_id("s").version_stage("AWSCURRENT");
                moved.move_to_version_id(SECOND).remove_from_version_id(FIRST).send().await.expect("moved");
            }

            if update {
                let update = client.update_secret().secret_id("s").client_request_token(THIRD).secret_string("three");
                update.send().await.expect("updated");
            } else {
                put(&client, THIRD, "three", &[]).await;
            }

            assert_eq!(holder(&client, "s", "AWSCURRENT").await.as_deref(), Some(THIRD));
            assert_eq!(holder(&client, "s", "AWSPENDING").await, None, "{current_too} {update}");
            assert_eq!(
                value(&client, "s", "AWSPREVIOUS").await.as_deref(),
                Some(if current_too { "two" } else { "one" })
            );
        }
    }
}

/// Assumed: AWS is recorded to take AWSPENDING off only where AWSCURRENT moves.
#[tokio::test]
async fn a_value_put_by_hand_under_another_label_leaves_awspending_where_it_is() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    put(&client, SECOND, "two", &["AWSPENDING"]).await;

    put(&client, THIRD, "three", &["BLUE"]).await;
    assert_eq!(holder(&client, "s", "AWSPENDING").await.as_deref(), Some(SECOND));
    put(&client, FOURTH, "four", &["AWSCURRENT", "AWSPENDING"]).await;
    assert_eq!(holder(&client, "s", "AWSPENDING").await.as_deref(), Some(FOURTH), "where it was asked for");
}

/// AWS does not say which of the two it does.
///
/// Embedded: a switch.
#[tokio::test]
async fn by_a_switch_moving_awscurrent_by_hand_takes_awspending_off_its_holder() {
    for abandons in [false, true] {
        let (aws, _) = world();
        aws.settings(|settings: &mut Settings| settings.moving_current_abandons = abandons);
        let client = client(&aws);
        create(&client, "s").await;
        put(&client, SECOND, "two", &[]).await;
        put(&client, THIRD, "three", &["AWSPENDING"]).await;

        let moved = client.update_secret_version_stage().secret_id("s").version_stage("AWSCURRENT");
        moved.move_to_version_id(FIRST).remove_from_version_id(SECOND).send().await.expect("moved");

        let pending = holder(&client, "s", "AWSPENDING").await;
        assert_eq!(pending.as_deref(), (!abandons).then_some(THIRD));
    }
}

/// Source: LocalStack: TestSecretsManager::test_no_client_request_token, 2023-05-12.
#[tokio::test]
async fn a_value_without_a_client_request_token_is_an_invalid_request_whether_the_secret_exists_or_not() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    let create = client.create_secret().name("new").secret_string("x").customize().mutate_request(without_token);
    let mut refusals = vec![refused(create.send().await)];
    for secret in ["s", "absent"] {
        let put = client.put_secret_value().secret_id(secret).secret_string("x");
        refusals.push(refused(put.customize().mutate_request(without_token).send().await));
        let update = client.update_secret().secret_id(secret).secret_string("x");
        refusals.push(refused(update.customize().mutate_request(without_token).send().await));
    }
    for (code, message) in refusals {
        assert_eq!(code, "InvalidRequestException");
        assert_eq!(message, "You must provide a ClientRequestToken value. We recommend a UUID-type value.");
    }
}

/// Source: LocalStack: TestSecretsManager::test_deprecated_secret_version_stage, 2024-03-29.
#[tokio::test]
async fn a_version_without_labels_is_told_without_that_member() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    put(&client, SECOND, "two", &[]).await;
    put(&client, THIRD, "three", &[]).await;

    let read = client.get_secret_value().secret_id("s").version_id(FIRST).send().await.expect("read");
    assert_eq!(read.version_stages, None);
    let listed = client.list_secret_version_ids().secret_id("s").include_deprecated(true).send().await.expect("listed");
    let first = listed.versions().iter().find(|version| version.version_id() == Some(FIRST)).expect("listed");
    assert_eq!(first.version_stages, None);
}

/// Source: moto: test_put_same_secret_value_with_same_token (aws_verified).
#[tokio::test]
async fn put_secret_value_with_the_same_token_and_the_same_value_does_nothing() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    put(&client, SECOND, "two", &[]).await;

    put(&client, FIRST, "one", &[]).await;

    assert_eq!(holder(&client, "s", "AWSCURRENT").await.as_deref(), Some(SECOND));
}

/// Source: moto: test_put_different_secret_value_with_same_token (aws_verified).
#[tokio::test]
async fn put_secret_value_with_the_same_token_and_another_value_is_refused() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;

    let again = client.put_secret_value().secret_id("s").client_request_token(FIRST).secret_string("other");
    let (code, message) = refused(again.send().await);

    assert_eq!(code, "ResourceExistsException");
    assert!(message.contains(FIRST), "{message}");
    assert_eq!(value(&client, "s", "AWSCURRENT").await.as_deref(), Some("one"));
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>.
#[tokio::test]
async fn the_first_version_of_a_secret_gets_awscurrent_whatever_was_asked() {
    let (aws, _) = world();
    let client = client(&aws);
    client.create_secret().name("s").send().await.expect("created without a value");
    let (code, _) = refused(client.get_secret_value().secret_id("s").send().await);
    assert_eq!(code, "ResourceNotFoundException");

    put(&client, FIRST, "one", &["BLUE"]).await;

    assert_eq!(holder(&client, "s", "AWSCURRENT").await.as_deref(), Some(FIRST));
    assert_eq!(holder(&client, "s", "BLUE").await.as_deref(), Some(FIRST));
}

/// Source: moto: test_update_secret_version_stage_dont_specify_current_stage (aws_verified).
#[tokio::test]
async fn a_label_moves_only_if_its_holder_is_named() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    put(&client, SECOND, "two", &["AWSPENDING"]).await;
    let to_second =
        || client.update_secret_version_stage().secret_id("s").version_stage("AWSCURRENT").move_to_version_id(SECOND);

    let (code, message) = refused(to_second().send().await);
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(
        message,
        format!(
            "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to \
             version {FIRST}, so you must explicitly reference that version in RemoveFromVersionId."
        )
    );
    let (code, _) = refused(to_second().remove_from_version_id(SECOND).send().await);
    assert_eq!(code, "InvalidParameterException");
    let (code, _) = refused(to_second().remove_from_version_id(THIRD).send().await);
    assert_eq!(code, "ResourceNotFoundException");
    assert_eq!(holder(&client, "s", "AWSCURRENT").await.as_deref(), Some(FIRST));

    to_second().remove_from_version_id(FIRST).send().await.expect("the holder is named");

    assert_eq!(holder(&client, "s", "AWSCURRENT").await.as_deref(), Some(SECOND));
}

/// Source: moto: test_update_secret_version_stage_manually (aws_verified).
#[tokio::test]
async fn moving_awscurrent_moves_awsprevious_along() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    put(&client, SECOND, "two", &["AWSPENDING"]).await;

    let moved = client.update_secret_version_stage().secret_id("s").version_stage("AWSCURRENT");
    moved.move_to_version_id(SECOND).remove_from_version_id(FIRST).send().await.expect("moved");

    assert_eq!(holder(&client, "s", "AWSPREVIOUS").await.as_deref(), Some(FIRST));
    assert_eq!(holder(&client, "s", "AWSPENDING").await.as_deref(), Some(SECOND), "stays where it is");
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html>.
#[tokio::test]
async fn a_label_is_taken_off_by_naming_its_holder_but_awscurrent_can_only_move() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    put(&client, SECOND, "two", &["AWSPENDING"]).await;
    let take = |label: &str, from: &str| {
        client.update_secret_version_stage().secret_id("s").version_stage(label).remove_from_version_id(from)
    };

    let (code, _) = refused(take("AWSCURRENT", FIRST).send().await);
    assert_eq!(code, "InvalidParameterException");
    let (code, _) = refused(take("AWSPENDING", FIRST).send().await);
    assert_eq!(code, "InvalidParameterException");
    take("AWSPENDING", SECOND).send().await.expect("taken off");

    assert_eq!(holder(&client, "s", "AWSPENDING").await, None);
}

/// Source: LocalStack: TestSecretsManager::test_get_secret_value_errors, 2024-04-11.
#[tokio::test]
async fn get_secret_value_refuses_a_stage_that_is_on_another_version_than_the_one_named() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    put(&client, SECOND, "two", &[]).await;

    let read = client.get_secret_value().secret_id("s").version_id(FIRST).version_stage("AWSCURRENT");
    assert_eq!(refused(read.send().await).0, "InvalidRequestException");
    let read = client.get_secret_value().secret_id("s").version_id(FIRST).version_stage("AWSPREVIOUS");
    assert_eq!(read.send().await.expect("read").secret_string(), Some("one"));
}

/// Source: LocalStack: TestSecretsManager::test_secret_version_not_found, 2024-06-13.
#[tokio::test]
async fn a_version_that_is_not_there_is_not_found_by_its_id() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;

    let (code, message) = refused(client.get_secret_value().secret_id("s").version_id(SECOND).send().await);

    assert_eq!(code, "ResourceNotFoundException");
    assert_eq!(message, format!("Secrets Manager can't find the specified secret value for VersionId: {SECOND}"));
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>.
#[tokio::test]
async fn a_value_is_at_most_65536_bytes_and_text_or_binary() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    let put =
        |value: String| client.put_secret_value().secret_id("s").client_request_token(SECOND).secret_string(value);

    assert_eq!(refused(put("x".repeat(65_537)).send().await).0, "InvalidParameterException");
    put("x".repeat(65_536)).send().await.expect("the longest value");

    let binary = aws_sdk_secretsmanager::primitives::Blob::new([0_u8, 255]);
    let put = client.put_secret_value().secret_id("s").client_request_token(THIRD).secret_binary(binary.clone());
    put.send().await.expect("a binary value");
    let read = client.get_secret_value().secret_id("s").send().await.expect("read");
    assert_eq!((read.secret_binary, read.secret_string), (Some(binary), None));
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>.
#[tokio::test]
async fn a_secret_has_at_most_20_labels() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    for label in 0..19 {
        let put = client.update_secret_version_stage().secret_id("s").version_stage(format!("label-{label}"));
        put.move_to_version_id(FIRST).send().await.expect("a label of its own");
    }

    let one_more = client.update_secret_version_stage().secret_id("s").version_stage("one-more");
    assert_eq!(refused(one_more.move_to_version_id(FIRST).send().await).0, "LimitExceededException");
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>.
#[tokio::test]
async fn unlabelled_versions_go_when_there_are_more_than_100_and_they_are_older_than_a_day() {
    let (aws, clock) = world();
    let client = client(&aws);
    create(&client, "s").await;
    let token = |number: usize| format!("{number:032}");
    clock.advance(Duration::from_secs(1));
    for number in 1..100 {
        put(&client, &token(number), "x", &[]).await;
    }

    let one_more = client.put_secret_value().secret_id("s").client_request_token(token(100)).secret_string("x");
    assert_eq!(refused(one_more.clone().send().await).0, "LimitExceededException", "all are young");
    clock.advance(Duration::from_secs(25 * 3600));
    one_more.send().await.expect("an old one made room");

    let versions = client.list_secret_version_ids().secret_id("s").include_deprecated(true).send().await;
    let versions = versions.expect("listed").versions.unwrap_or_default();
    assert_eq!(versions.len(), 100);
    assert!(versions.iter().all(|version| version.version_id() != Some(FIRST)), "the oldest went");
}

/// Source: LocalStack: TestSecretsManager::test_deprecated_secret_version_stage, 2024-03-29.
#[tokio::test]
async fn list_secret_version_ids_leaves_versions_without_labels_out_unless_asked() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    put(&client, SECOND, "two", &[]).await;
    put(&client, THIRD, "three", &[]).await;

    let labelled = client.list_secret_version_ids().secret_id("s").send().await.expect("listed");
    let all = client.list_secret_version_ids().secret_id("s").include_deprecated(true).send().await.expect("listed");

    assert_eq!(labelled.versions().len(), 2);
    assert_eq!(all.versions().len(), 3);
    let described = client.describe_secret().secret_id("s").send().await.expect("described");
    assert_eq!(described.version_ids_to_stages.map(|stages| stages.len()), Some(2));
}

/// Source: AWS: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecretVersionIds.html>.
#[tokio::test]
async fn list_secret_version_ids_pages_and_tells_labels_and_dates() {
    let (aws, _) = world();
    let client = client(&aws);
    create(&client, "s").await;
    put(&client, SECOND, "two", &["AWSPENDING"]).await;
    let list = || client.list_secret_version_ids().secret_id("s").include_deprecated(true).max_results(1);

    let first = list().send().await.expect("listed");
    let rest = list().next_token(first.next_token().expect("there is more")).send().await.expect("listed");

    let told = |version: &aws_sdk_secretsmanager::types::SecretVersionsListEntry| {
        assert_eq!(version.created_date().map(|at| at.secs()), Some(aws.now().timestamp()));
        (version.version_id().unwrap_or_default().to_owned(), version.version_stages().to_vec())
    };
    assert_eq!(told(&first.versions()[0]), (FIRST.to_owned(), vec!["AWSCURRENT".to_owned()]));
    assert_eq!(told(&rest.versions()[0]), (SECOND.to_owned(), vec!["AWSPENDING".to_owned()]));
    assert_eq!((first.versions().len(), rest.versions().len(), rest.next_token()), (1, 1, None));
    let wrong = list().next_token("nosuch").send().await;
    assert_eq!(refused(wrong).0, "InvalidNextTokenException");
}
