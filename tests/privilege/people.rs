//! The policies of people: each suffices for what its bearer does at the command line, and for nothing else.

use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use rotator_cli::trouble::Outcome;

use super::*;
use crate::harness::people::Said;
use crate::harness::template::consumers_policy;

/// Somebody's way into a stage.
struct Somebody<'a> {
    stage: &'a Stage,
    person: Person,
}

const ACCESS_KEY: &str = "AKIDSOMEBODY";
const WHO: &str = "arn:aws:iam::123456789012:role/somebody";

impl<'a> Somebody<'a> {
    fn of(stage: &'a Stage, person: Person) -> Self {
        Self::with(stage, person, &[])
    }

    /// With other policies beside those of the stack.
    fn with(stage: &'a Stage, person: Person, others: &[Value]) -> Self {
        let key = stage.settings.fingerprint_key.clone().expect("a key");
        let policies = [person.policies(&key), others.to_vec()].concat();
        stage.aws.assume(ACCESS_KEY, Role::new(WHO, &policies).expect("policies"));
        Self { stage, person }
    }

    async fn says(&self, line: &[&str]) -> Said {
        self.stage.command_as(ACCESS_KEY, line).await
    }

    /// Says something that works.
    async fn does(&self, line: &[&str]) {
        self.ends(Outcome::Done, line).await;
    }

    /// Says something that is plan only, or finds what somebody should look at.
    async fn sees(&self, line: &[&str]) {
        self.ends(Outcome::Attention, line).await;
    }

    async fn ends(&self, outcome: Outcome, line: &[&str]) {
        let said = self.says(line).await;
        let refused = self.refused();
        assert!(refused.is_empty(), "{:?} {line:?}: may not {refused:#?}", self.person);
        assert!(said.outcome == outcome, "{:?} {line:?}: {said:#?}", self.person);
    }

    /// Says something that their policies do not allow.
    async fn may_not(&self, line: &[&str]) {
        let said = self.says(line).await;
        assert!(said.outcome != Outcome::Done, "{:?} {line:?}: {said:#?}", self.person);
        assert!(said.stderr.contains("Denied"), "{:?} {line:?}: {said:#?}", self.person);
    }

    /// Everything that they asked for.
    fn asked(&self) -> BTreeSet<Asked> {
        let theirs = self.stage.aws.requests().into_iter().filter(|call| call.caller.as_deref() == Some(WHO));
        theirs.flat_map(|call| call.asked).collect()
    }

    /// What of it is not allowed.
    fn refused(&self) -> BTreeSet<Asked> {
        let role = role(&self.person.policies(self.stage.settings.fingerprint_key.as_deref().expect("a key")));
        let is_refused = |asked: &Asked| !role.allows(asked).expect("evaluated");
        // Whose own rights doctor asks about is nobody's to write into a policy for many: it tries the call instead.
        let is_about_them = |asked: &Asked| asked.resource.starts_with("arn:aws:iam::123456789012:user/");
        self.asked().into_iter().filter(|asked| is_refused(asked) && !is_about_them(asked)).collect()
    }

    fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&sdk_config_of(ACCESS_KEY, self.stage.aws.connector()))
    }

    fn api_gateway(&self) -> aws_sdk_apigateway::Client {
        aws_sdk_apigateway::Client::new(&sdk_config_of(ACCESS_KEY, self.stage.aws.connector()))
    }
}

const KINDS: [fn() -> Terms; 4] = [Terms::default, Terms::webhook, Terms::kms, Terms::jwt];

fn signs(terms: &Terms) -> bool {
    terms.tags["rotator:kind"].contains("signing")
}

/// A credential with an old version in its overlap, whose value is under a key of its owner's.
async fn rotated(terms: &Terms) -> Stage {
    let stage = Stage::new().await;
    let arn = credential(&stage, terms).await;
    for _ in 0..2 {
        stage.rotate(&arn).await;
        stage.tick().await;
        stage.pass(HOUR * 25).await;
    }
    stage.rotate(&arn).await;
    stage.tick().await;
    stage
}

async fn reads(somebody: &Somebody<'_>, terms: &Terms) {
    somebody.does(&["list"]).await;
    somebody.stage.forget_heads().await;
    somebody.does(&["list"]).await;
    somebody.does(&["show", ACME]).await;
    somebody.does(&["history", ACME]).await;
    if signs(terms) {
        somebody.does(&["jwks", ACME]).await;
    }
}

/// What an operator does, on credentials of every kind.
async fn operates(terms: &Terms) -> BTreeSet<Asked> {
    let stage = rotated(terms).await;
    let operator = Somebody::of(&stage, Person::Operator);
    reads(&operator, terms).await;
    operator.says(&["doctor"]).await;
    operator.does(&["doctor", ACME]).await;
    operator.does(&["rollback", ACME, "--reason", "the new one is refused"]).await;
    // A signing key's standby wants to be known before it signs.
    stage.pass(HOUR * 25).await;
    operator.does(&["rotate", ACME]).await;
    let mut asked = operator.asked();

    let stuck = Stage::new().await;
    stuck.stuck(&terms.clone().with("max-live", "8"), signs(terms)).await;
    let operator = Somebody::of(&stuck, Person::Operator);
    operator.sees(&["repair", ACME]).await;
    operator.does(&["repair", ACME, "--yes"]).await;
    asked.extend(operator.asked());
    asked
}

/// What only API keys ask for.
async fn adopts_and_lets_go() -> BTreeSet<Asked> {
    let stage = Stage::new().await;
    stage.key("billing").await;
    let operator = Somebody::of(&stage, Person::Operator);
    let key = stage.encryption_key().await;
    operator.does(&["adopt", "--prefix", "billing", "--encryption-key", &key, "--yes"]).await;
    let (arn, _, old) = stage.credential(ACME, &Terms::default().with("idle-before-suspend", "P1D")).await;
    stage.rotate(&arn).await;
    stage.tick().await;
    LAGGARD.call(&stage, &old).await;
    operator.does(&["retire", ACME, "--generation", "1", "--reason", "they were told"]).await;
    stage.exhaust().await;
    operator.does(&["rotate", ACME]).await;
    operator.asked()
}

/// What is asked for where signers have roles of their own, a value was put by hand, or a secret is declared already.
async fn operates_on_what_is_rare() -> BTreeSet<Asked> {
    let signing = Stage::new().await;
    signing.signing(&Terms::kms().with("signers", SIGNER)).await;
    let operator = Somebody::of(&signing, Person::Operator);
    operator.does(&["doctor", ACME]).await;
    let mut asked = operator.asked();

    let by_hand = rotated(&Terms::default()).await;
    let put = by_hand.secrets_manager().put_secret_value().secret_id(ACME).secret_string("{}");
    put.version_stages("AWSPENDING").send().await.expect("put");
    let operator = Somebody::of(&by_hand, Person::Operator);
    operator.sees(&["repair", ACME]).await;
    operator.does(&["repair", ACME, "--yes"]).await;
    asked.extend(operator.asked());

    // Its key signs nothing any more, and verifiers still accept what it signed.
    let signed = Stage::new().await;
    let arn = signed.signing(&Terms::kms()).await;
    signed.rotate(&arn).await;
    signed.pass(HOUR * 2).await;
    assert!(signed.load(ACME).await.versions[&1].disabled.is_some(), "{}", signed.story(ACME).await);
    let operator = Somebody::of(&signed, Person::Operator);
    operator.does(&["rollback", ACME, "--reason", "signers were refused"]).await;
    asked.extend(operator.asked());

    let declared = Stage::new().await;
    let terms = Terms { schedule: None, ..Terms::webhook() };
    declared.secret("hooks/orders", "{}", &terms).await;
    let operator = Somebody::of(&declared, Person::Operator);
    operator.does(&["adopt", "--kind", "webhook-secret", "hooks/orders", "--tag", "max-live=4", "--yes"]).await;
    asked.extend(operator.asked());
    asked
}

/// The cure of everything that a provider can show.
async fn reconciles(terms: &Terms) -> BTreeSet<Asked> {
    let stage = Stage::new().await;
    stage.drifted(&terms.clone().with("max-live", "8"), signs(terms)).await;
    let operator = Somebody::of(&stage, Person::Operator);
    operator.sees(&["reconcile"]).await;
    operator.does(&["reconcile", "--yes"]).await;
    operator.asked()
}

async fn responds(terms: &Terms) -> BTreeSet<Asked> {
    let emergency = ["rotate", ACME, "--emergency", "--reason", "it was in a public repository"];
    let stage = rotated(terms).await;
    let responder = Somebody::of(&stage, Person::EmergencyResponder);
    reads(&responder, terms).await;
    stage.pass(HOUR * 25).await;
    responder.does(&["rotate", ACME]).await;
    responder.does(&emergency).await;
    let mut asked = responder.asked();
    if terms.tags == Terms::default().tags {
        // It fences off a rotation that comes to no end.
        let stage = rotated(terms).await;
        stage.faults.deny("apigateway:POST /apikeys");
        stage.rotate(&stage.load(ACME).await.head.arn).await;
        let responder = Somebody::of(&stage, Person::EmergencyResponder);
        responder.says(&emergency).await;
        stage.faults.allow("apigateway:POST /apikeys");
        responder.does(&emergency).await;
        asked.extend(responder.asked());
    }
    asked
}

async fn audits(terms: &Terms) -> BTreeSet<Asked> {
    let stage = rotated(terms).await;
    let auditor = Somebody::of(&stage, Person::Auditor);
    reads(&auditor, terms).await;
    auditor.asked()
}

async fn all_that_asks(person: Person) -> BTreeSet<Asked> {
    let mut asked = BTreeSet::new();
    for terms in KINDS.map(|terms| terms()) {
        asked.extend(match person {
            Person::Operator => operates(&terms).await,
            Person::Auditor => audits(&terms).await,
            Person::EmergencyResponder => responds(&terms).await,
        });
    }
    if person == Person::Operator {
        asked.extend(adopts_and_lets_go().await);
        asked.extend(operates_on_what_is_rare().await);
        for terms in [Terms::default(), Terms::kms()] {
            asked.extend(reconciles(&terms).await);
        }
    }
    asked
}

/// What only denies can't be missed by anybody.
fn allows(policies: &[Value]) -> Vec<Value> {
    let allowing = |policy: &Value| {
        let statements = policy["Statement"].as_array().expect("statements").iter();
        let kept: Vec<&Value> = statements.filter(|statement| statement["Effect"] == "Allow").collect();
        json!({"Version": "2012-10-17", "Statement": kept})
    };
    policies.iter().map(allowing).collect()
}

#[tokio::test(start_paused = true)]
async fn each_may_do_their_work_and_nothing_else() {
    let key = fingerprint_key().await;
    for person in Person::ALL {
        let policies = allows(&person.policies(&key));
        let mut asked = all_that_asks(person).await;
        let role = role(&policies);
        asked.retain(|asked| role.allows(asked).expect("evaluated"));
        let too_many = superfluous(&policies, &asked);
        assert!(too_many.is_empty(), "{person:?} never needs {too_many:#?}");
        assert_noticed(&Person::template(), |template| allows(&person.policies_in(template, &key)), &asked);
    }
}

/// Whoever changes something, by the policy that does not go so far.
#[tokio::test(start_paused = true)]
async fn what_is_not_theirs_to_do_is_refused_and_changes_nothing() {
    let everything = json!({"Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["secretsmanager:*", "apigateway:*", "kms:*"], "Resource": "*"}]});
    let stage = rotated(&Terms::default()).await;
    stage.key("billing").await;
    let before = stage.world().await;
    let changes: [&[&str]; 5] = [
        &["adopt", "--prefix", "billing", "--yes"],
        &["retire", ACME, "--generation", "3", "--reason", "x"],
        &["rollback", ACME, "--reason", "x"],
        &["rotate", ACME],
        &["rotate", ACME, "--emergency", "--reason", "x"],
    ];
    let auditor = Somebody::of(&stage, Person::Auditor);
    for line in changes {
        auditor.may_not(line).await;
    }
    let responder = Somebody::of(&stage, Person::EmergencyResponder);
    responder.may_not(changes[0]).await;
    assert_eq!(stage.world().await, before);
    // Who may write records may write that they are not let go on; labels and keys stay as they are.
    let (current, key) = (stage.current(ACME).await, stage.id_of(3).await);
    responder.may_not(changes[2]).await;
    assert_eq!(stage.current(ACME).await, current);
    let key = stage.api_gateway().get_api_key().api_key(key).send().await.expect("there");
    assert!(key.enabled, "it is in its overlap");

    // No value, whatever else they are given.
    let (id, plan) = (stage.id_of(4).await, stage.plan.clone());
    let auditor = Somebody::with(&stage, Person::Auditor, &[everything]);
    let read = auditor.secrets_manager().get_secret_value().secret_id(ACME).send().await;
    assert_eq!(read.expect_err("a value").code(), Some("AccessDeniedException"));
    for with_value in [false, true] {
        let read = auditor.api_gateway().get_api_key().api_key(&id).include_value(with_value).send().await;
        assert_eq!(read.expect_err("a key").code(), Some("AccessDeniedException"));
        let read = auditor.api_gateway().get_api_keys().include_values(with_value).send().await;
        assert_eq!(read.expect_err("keys").code(), Some("AccessDeniedException"));
    }
    let read = auditor.api_gateway().get_usage_plan_keys().usage_plan_id(&plan).send().await;
    assert_eq!(read.expect_err("keys of a plan").code(), Some("AccessDeniedException"));
    let read = auditor.api_gateway().get_usage_plan_key().usage_plan_id(&plan).key_id(&id).send().await;
    assert_eq!(read.expect_err("a key of a plan").code(), Some("AccessDeniedException"));
    // Nor anybody one that is not looked after here.
    stage.secrets_manager().create_secret().name("payroll").secret_string("{}").send().await.expect("made");
    for person in [Person::Operator, Person::EmergencyResponder] {
        let read = Somebody::of(&stage, person).secrets_manager().get_secret_value().secret_id("payroll").send().await;
        assert_eq!(read.expect_err("a value").code(), Some("AccessDeniedException"), "{person:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_reads_the_key_in_use_and_the_one_before_it() {
    let stage = Stage::new().await;
    let arn = credential(&stage, &Terms::default()).await;
    stage.rotate(&arn).await;
    let owner = stage.secrets_manager();
    let secret = owner.describe_secret().secret_id(&arn).send().await.expect("described");
    let key = secret.kms_key_id.expect("a key of its owner's");
    let key = stage.kms().describe_key().key_id(key).send().await.expect("described").key_metadata;
    let key = key.and_then(|key| key.arn).expect("an ARN");
    let pending = owner.put_secret_value().secret_id(&arn).secret_string("{}").version_stages("AWSPENDING");
    let pending = pending.send().await.expect("put").version_id.expect("an id");
    let current = stage.load(ACME).await.current().expect("a current one").carriers[0].to_string();

    stage.aws.assume(ACCESS_KEY, Role::new(WHO, &[consumers_policy("Consumer", &arn, &key)]).expect("a policy"));
    let consumer = aws_sdk_secretsmanager::Client::new(&sdk_config_of(ACCESS_KEY, stage.aws.connector()));
    let read = |label: Option<&str>, version: Option<&str>| {
        let asked = consumer.get_secret_value().secret_id(&arn);
        let asked = asked.set_version_stage(label.map(Into::into)).set_version_id(version.map(Into::into));
        async { asked.send().await.map(|read| read.version_id).map_err(|error| error.code().map(str::to_owned)) }
    };
    assert_eq!(read(None, None).await, Ok(Some(current.clone())));
    assert_eq!(read(Some("AWSCURRENT"), None).await, Ok(Some(current.clone())));
    assert!(read(Some("AWSPREVIOUS"), None).await.is_ok());
    let denied = Err(Some("AccessDeniedException".to_owned()));
    assert_eq!(read(Some("AWSPENDING"), None).await, denied);
    assert_eq!(read(None, Some(&pending)).await, denied);
    assert_eq!(read(None, Some(&current)).await, denied, "a version by its id may be one that is refused");

    assert!(consumer.describe_secret().secret_id(&arn).send().await.is_err());

    let policies = [consumers_policy("Consumer", &arn, &key)];
    let theirs =
        stage.aws.requests().into_iter().filter(|call| call.caller.as_deref() == Some(WHO) && call.status == 200);
    let asked: BTreeSet<Asked> = theirs.flat_map(|call| call.asked).collect();
    // AWS does not say whether IAM is told a label when a consumer names none.
    let mut unlabelled: Vec<Asked> =
        asked.iter().filter(|asked| asked.action.ends_with("GetSecretValue")).cloned().collect();
    for one in &mut unlabelled {
        one.context.remove("secretsmanager:VersionStage");
    }
    let asked = asked.into_iter().chain(unlabelled).collect();
    assert_eq!(refused(&policies, &asked), Vec::<&Asked>::new());
    assert_eq!(superfluous(&policies, &asked), [""; 0]);

    // A library of AWS's looks the label up, and asks for that version by its id.
    let policies = ["Consumer", "ConsumerByVersion"].map(|name| consumers_policy(name, &arn, &key));
    stage.aws.assume(ACCESS_KEY, Role::new(WHO, &policies).expect("policies"));
    consumer.describe_secret().secret_id(&arn).send().await.expect("described");
    assert_eq!(read(None, Some(&current)).await, Ok(Some(current.clone())));
    assert_eq!(read(Some("AWSPENDING"), None).await, denied);
    let written = consumer.put_secret_value().secret_id(&arn).secret_string("{}").send().await;
    assert_eq!(written.expect_err("written").code(), Some("AccessDeniedException"));
}
