//! Keys from a key file.

use super::*;

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-key-file-format.html>.
#[tokio::test]
async fn import_api_keys_creates_and_attaches_from_a_key_file() {
    let gateway = gateway();
    let (gold, test) = (gateway.plan().await, gateway.plan_with("test", None, None).await);
    let file = format!(
        "Enabled,NAME,key,Colour,UsageplanIds\ntrue,first,{VALUE},red,\"{gold},{test}\"\nFALSE,second,{OTHER},blue,'{gold},{test}'\n"
    );
    let (ids, warnings) = gateway.import(&file, true).await.unwrap();
    assert_eq!(ids.len(), 2);
    assert_eq!(warnings, [""; 0]);
    let mut keys = gateway.aws.inspect_api_keys();
    keys.sort_by_key(|key| key.name.clone());
    assert!(keys[0].enabled && !keys[1].enabled);
    assert!(keys.iter().all(|key| key.plans.len() == 2), "{keys:?}");
    assert_eq!(gateway.ping(VALUE).await, 200);
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-key-file-format.html>.
#[tokio::test]
async fn import_api_keys_overwrites_the_key_with_the_same_value() {
    let gateway = gateway();
    let plan = gateway.plan().await;
    let key = gateway.key("before", VALUE).await;
    gateway.attach(&key, &plan).await;
    let file = format!("name,key,description,enabled\nafter,{VALUE},imported,false\n");
    let (ids, _) = gateway.import(&file, true).await.unwrap();
    assert_eq!(ids, std::slice::from_ref(&key));
    let after = gateway.client.get_api_key().api_key(&key).send().await.unwrap();
    assert_eq!((after.name(), after.description(), after.enabled()), (Some("after"), Some("imported"), false));
    assert_eq!(gateway.aws.inspect_api_keys()[0].plans, [plan]);
}

/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/api/API_ImportApiKeys.html>.
#[tokio::test]
async fn import_with_failonwarnings_imports_all_or_nothing_and_says_where() {
    let gateway = gateway();
    let file = format!("name,key\ngood,{VALUE}\nbad,tooshort\n");
    let refused = gateway.import(&file, true).await.unwrap_err();
    assert!(refused.contains("line 3, column 2"), "{refused}");
    assert!(gateway.aws.inspect_api_keys().is_empty());

    let (ids, warnings) = gateway.import(&file, false).await.unwrap();
    assert_eq!((ids.len(), warnings.len()), (1, 1));
}

/// Assumed: AWS's page of the format limits a value's length and not its characters.
#[tokio::test]
async fn a_value_with_hyphens_is_taken_by_import_and_by_create() {
    let gateway = gateway();
    let (imported, created) = ("0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0", "1b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0");
    gateway.import(&format!("name,key\nacme,{imported}\n"), true).await.unwrap();
    gateway.key("globex", created).await;
    assert_eq!(gateway.aws.inspect_api_keys().len(), 2);
}

/// How AWS words its refusals is assumed.
///
/// Source: AWS: <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-key-file-format.html>.
#[tokio::test]
async fn import_refuses_a_file_without_its_header() {
    let gateway = gateway();
    let refused = gateway.import(&format!("title,key\nacme,{VALUE}\n"), false).await.unwrap_err();
    assert!(refused.contains("line 1"), "{refused}");
    assert!(gateway.import("", false).await.is_err());
    assert!(gateway.import(&format!("name,key\nacme,{VALUE},more\n"), true).await.is_err());
    let no_plan = format!("name,key,usageplanIds\nacme,{VALUE},nosuch\n");
    assert!(gateway.import(&no_plan, true).await.is_err());
}

/// Embedded: its reader of key files.
#[test]
fn a_key_file_tells_its_duplicates_by_line_and_never_a_value() {
    let file = format!("name,key\nfirst,{VALUE}\nother,{OTHER}\nagain,{VALUE}\n");
    let file = local_aws::KeyFile::read(file.as_bytes()).unwrap();
    let [duplicate] = file.duplicates().try_into().unwrap();
    assert_eq!(duplicate.to_string(), "line 4, column 2: the same key stands on line 2 already");
    assert!(!format!("{file:?}").contains(VALUE));
}
