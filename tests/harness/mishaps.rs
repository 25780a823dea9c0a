//! What happens to a credential behind the service's back.

use aws_sdk_apigateway::types::{Op, PatchOperation};
use aws_sdk_kms::types::{KeySpec, KeyUsageType, Tag};
use chrono::TimeDelta;
use local_aws::ApiKeyView;
use rotator::ports::Clock;
use serde_json::Value;
use state::decide::{AWSCURRENT, AWSPENDING};
use state::drift::LONGEST_RUN;

use super::{ACME, Stage, Terms};

/// The tag that says which credential a key was made for.
pub const CREDENTIAL_TAG: &str = "rotator:credential";
/// The tag that says which version.
pub const VERSION_TAG: &str = "rotator:version";

/// Another credential than the one that is about.
pub const GLOBEX: &str = "partner/globex";

impl Stage {
    /// A credential that has rotated once, beside one that nothing may touch. Its ARN.
    pub async fn two_rotated() -> (Self, String) {
        let stage = Self::new().await;
        let terms = Terms::default().with("max-live", "8");
        let other = stage.credential(GLOBEX, &terms).await.0;
        let arn = stage.credential(ACME, &terms).await.0;
        for arn in [&other, &arn] {
            stage.rotate(arn).await;
            assert_eq!(stage.aws.rotations().pop().expect("attempted").error, None);
        }
        (stage, arn)
    }

    /// The table as a version of the program left it that knew of no index of heads.
    pub async fn forget_heads(&self) {
        let (client, table) = (self.dynamodb(), &self.settings.table);
        let items = client.scan().table_name(table).send().await.expect("scanned").items.expect("items");
        for mut item in items {
            let [pk, sk] = ["pk", "sk"].map(|name| item.remove(name).expect("a key"));
            if pk.as_s().is_ok_and(|pk| pk == "HEADS") {
                let delete = client.delete_item().table_name(table).key("pk", pk).key("sk", sk);
                delete.send().await.expect("deleted");
            } else if item.contains_key("heads") {
                let update = client.update_item().table_name(table).key("pk", pk).key("sk", sk);
                update.update_expression("REMOVE heads, summary").send().await.expect("changed");
            }
        }
    }

    /// A rotation to which AWS denies that operation, named as in [`super::faults::Faults::calls`].
    pub async fn rotate_without(&self, arn: &str, operation: &str) {
        self.faults.deny(operation);
        self.rotate(arn).await;
        self.faults.allow(operation);
    }

    /// The version of the secret that has a label.
    pub async fn holder(&self, arn: &str, label: &str) -> Option<String> {
        let found = self.secrets_manager().describe_secret().secret_id(arn).send().await.expect("described");
        let versions = found.version_ids_to_stages.unwrap_or_default();
        versions.into_iter().find(|(_, labels)| labels.iter().any(|has| has == label)).map(|(version, _)| version)
    }

    /// The one that consumers read.
    pub async fn current(&self, arn: &str) -> String {
        self.holder(arn, AWSCURRENT).await.expect("some version is current")
    }

    /// The one that a rotation is about.
    pub async fn pending(&self, arn: &str) -> String {
        self.holder(arn, AWSPENDING).await.expect("some version is pending")
    }

    /// Somebody moves a label by hand, or takes it away.
    pub async fn move_label(&self, arn: &str, label: &str, to: Option<&str>) {
        let from = self.holder(arn, label).await;
        let moved = self.secrets_manager().update_secret_version_stage().secret_id(arn).version_stage(label);
        let moved = moved.set_remove_from_version_id(from).set_move_to_version_id(to.map(str::to_owned));
        moved.send().await.expect("moved");
    }

    /// The provider's id of a generation's key.
    pub async fn id_of(&self, generation: u32) -> String {
        self.load(ACME).await.versions[&generation].provider["id"].clone()
    }

    pub fn api_key(&self, id: &str) -> ApiKeyView {
        self.aws.inspect_api_keys().into_iter().find(|key| key.id == id).expect("it is there")
    }

    pub async fn set_enabled(&self, id: &str, enabled: bool) {
        let patch = PatchOperation::builder().op(Op::Replace).path("/enabled").value(enabled.to_string()).build();
        self.api_gateway().update_api_key().api_key(id).patch_operations(patch).send().await.expect("changed");
    }

    pub async fn delete_key(&self, id: &str) {
        self.api_gateway().delete_api_key().api_key(id).send().await.expect("deleted");
    }

    pub async fn attach(&self, key: &str, plan: &str) {
        let client = self.api_gateway();
        client.create_usage_plan_key().usage_plan_id(plan).key_id(key).key_type("API_KEY").send().await.expect("in");
    }

    pub async fn detach(&self, key: &str, plan: &str) {
        self.api_gateway().delete_usage_plan_key().usage_plan_id(plan).key_id(key).send().await.expect("out");
    }

    /// A rotation whose `CreateApiKey` got no answer and was carried out after whoever cleaned up had looked. Its
    /// generation, and the key's id.
    pub async fn rotate_and_leave_an_orphan(&self, arn: &str) -> (u32, String) {
        self.rotate_without(arn, "apigateway:POST /apikeys").await;
        self.move_label(arn, AWSPENDING, None).await;
        // It is held for the denied call, and looked at again after a quarter of an hour.
        for _ in 0..2 {
            self.pass(TimeDelta::minutes(20)).await;
        }
        let credential = self.load(ACME).await;
        let given_up = credential.versions.values().next_back().expect("a version");
        let token = given_up.token().expect("a token").as_str();
        let drafted = self.secrets_manager().get_secret_value().secret_id(arn).version_id(token).send().await;
        let drafted: Value =
            serde_json::from_str(drafted.expect("readable").secret_string().expect("text")).expect("JSON");
        let made = self.api_gateway().create_api_key().name(&given_up.provider["name"]).enabled(true);
        let made = made
            .value(drafted["apiKey"].as_str().expect("a key"))
            .tags(CREDENTIAL_TAG, ACME)
            .tags(VERSION_TAG, given_up.id.to_string());
        (given_up.generation, made.send().await.expect("made").id.expect("an id"))
    }

    /// A second KMS key for a version: the answer to the first `CreateKey` was lost. Its ARN.
    pub async fn leave_an_orphan_in_kms(&self, generation: u32) -> String {
        let version = self.load(ACME).await.versions[&generation].clone();
        let policy = self.kms_key(&version.provider["id"]).policy.expect("a policy");
        let tag = |key: &str, value: &str| Tag::builder().tag_key(key).tag_value(value).build().expect("a tag");
        let made = self.kms().create_key().key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify);
        let made = made.tags(tag(CREDENTIAL_TAG, ACME)).tags(tag(VERSION_TAG, &version.id.to_string())).policy(policy);
        made.send().await.expect("made").key_metadata.and_then(|key| key.arn).expect("an ARN")
    }

    /// A rotation that stopped half way, long ago, and `AWSCURRENT` on the version before, where there is one.
    pub async fn stuck(&self, terms: &Terms, signs: bool) {
        if signs {
            let arn = self.signing(terms).await;
            self.rotate_without(&arn, "secretsmanager:UpdateSecretVersionStage").await;
            Clock::sleep(&self.clock, LONGEST_RUN).await;
            return;
        }
        let arn = match terms.tags["rotator:kind"].as_str() {
            "api-gateway-key" => self.credential(ACME, terms).await.0,
            _ => self.secret(ACME, "{}", terms).await,
        };
        self.rotate(&arn).await;
        self.rotate_without(&arn, "apigateway:POST /usageplans/{plan}/keys").await;
        Clock::sleep(&self.clock, LONGEST_RUN).await;
        let first = self.load(ACME).await.versions[&1].carriers[0].clone();
        self.move_label(&arn, AWSCURRENT, Some(first.as_str())).await;
    }

    /// Of everything that a provider can show and that is this service's to put right, one.
    pub async fn drifted(&self, terms: &Terms, signs: bool) {
        if signs {
            self.signing(terms).await;
            self.leave_an_orphan_in_kms(2).await;
            return;
        }
        let (gold, silver) = (self.plan("gold", &["beta"], None).await, self.plan("silver", &["beta"], None).await);
        let (arn, first, _) = self.credential(ACME, terms).await;
        self.attach(&first, &gold).await;
        self.rotate(&arn).await;
        self.rotate_and_leave_an_orphan(&arn).await;
        self.pass(TimeDelta::hours(25)).await;
        for _ in 0..2 {
            self.rotate(&arn).await;
        }
        self.set_enabled(&first, true).await;
        self.delete_key(&self.id_of(2).await).await;
        let (late, current) = (self.id_of(4).await, self.id_of(5).await);
        self.detach(&late, &gold).await;
        self.detach(&current, &gold).await;
        self.attach(&current, &silver).await;
    }
}
