//! Tags.

use super::*;

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_TagResource.html>.
#[tokio::test]
async fn tags_are_written_read_and_removed_by_arn() {
    let gateway = gateway();
    let (plan, key) = (gateway.plan().await, gateway.key("acme", VALUE).await);
    for arn in [
        format!("arn:aws:apigateway:eu-west-1::/apikeys/{key}"),
        format!("arn:aws:apigateway:eu-west-1::/usageplans/{plan}"),
    ] {
        let tag = gateway.client.tag_resource().resource_arn(&arn).tags("one", "1").tags("two:2", "a b");
        tag.send().await.unwrap();
        gateway.client.untag_resource().resource_arn(&arn).tag_keys("one").send().await.unwrap();
        let tags = gateway.client.get_tags().resource_arn(&arn).send().await.unwrap();
        assert_eq!(tags.tags().unwrap().len(), 1);
        assert_eq!(tags.tags().unwrap()["two:2"], "a b");
    }
    let unknown = gateway.client.get_tags().resource_arn("arn:aws:apigateway:eu-west-1::/apikeys/nosuch");
    assert!(unknown.send().await.unwrap_err().into_service_error().is_not_found_exception());
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-tagging-supported-resources.html>.
#[tokio::test]
async fn tags_that_begin_with_aws_are_aws_s_own() {
    let gateway = gateway();
    let key = gateway.key("acme", VALUE).await;
    let arn = format!("arn:aws:apigateway:eu-west-1::/apikeys/{key}");
    let tag = gateway.client.tag_resource().resource_arn(&arn).tags("aws:mine", "1");
    assert_eq!(refusal(tag.send().await), "BadRequestException");
    let create = gateway.client.create_api_key().value(OTHER).tags("aws:cloudformation:stack-name", "x");
    assert_eq!(refusal(create.send().await), "BadRequestException");

    assert!(gateway.aws.own_by_stack(&key, "orders", "TheirKey"));
    let owned = gateway.client.get_api_key().api_key(&key).send().await.unwrap();
    assert_eq!(owned.tags().unwrap()["aws:cloudformation:stack-name"], "orders");
    assert_eq!(owned.tags().unwrap()["aws:cloudformation:logical-id"], "TheirKey");
    let untag = gateway.client.untag_resource().resource_arn(&arn).tag_keys("aws:cloudformation:stack-name");
    assert_eq!(refusal(untag.send().await), "BadRequestException");
}
