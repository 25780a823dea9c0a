//! Keys that were there before this service are taken under management.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_secretsmanager::types::Tag;
use chrono::TimeDelta;
use rotator::adoption::{self, Item, Selection, Verdict};
use rotator::failure::chain;
use rotator::mend::look;
use rotator::rotate::{Milestone, on_demand};
use rotator_cli::trouble::Outcome;
use serde_json::Value;
use state::concern::Concerns;
use state::drift::{Finding, Scope};
use state::lifecycle::State;
use state::name::{CredentialName, Token};
use state::policy::{Schedule, Timetable};

use crate::harness::faults::{Fault, When};
use crate::harness::{ACME, API, Stage, Terms};

/// What a person would say.
pub fn terms(stage: &Stage) -> adoption::Terms {
    let tags = [("probe", format!("{API}/prod/ping")), ("overlap", "P1D".into()), ("soak", "P1D".into())];
    adoption::Terms {
        secret_prefix: "partner/".into(),
        tags: tags.into_iter().map(|(tag, value)| (tag.to_owned(), value)).collect(),
        schedule: Timetable::Together("rate(30 days)".into()),
        encrypted_by: None,
        function_arn: stage.settings.function_arn.clone().expect("registered"),
    }
}

/// `rotator adopt`, without `--yes`.
async fn plan(stage: &Stage, selection: &Selection) -> Vec<Item> {
    let (engine, terms, errand) = (stage.engine_unhurt(), terms(stage), stage.errand());
    match adoption::plan(&engine, selection, &terms, &errand, &mut |_, _| {}).await {
        Ok(items) => items,
        Err(stopped) => panic!("{}", chain(&stopped)),
    }
}

/// What was planned, done.
async fn apply(stage: &Stage, items: &[Item]) {
    let (engine, terms, errand) = (stage.engine_unhurt(), terms(stage), stage.errand());
    for item in items {
        if let Err(stopped) = adoption::adopt(&engine, item, &terms, &errand, None).await {
            panic!("{}: {}", item.secret, chain(&stopped));
        }
    }
    stage.aws.settle().await;
}

/// `rotator adopt --yes`
pub async fn take(stage: &Stage, selection: &Selection) -> Vec<Item> {
    let items = plan(stage, selection).await;
    apply(stage, &items).await;
    items
}

fn secrets(items: &[Item]) -> Vec<&str> {
    let mut names: Vec<_> = items.iter().map(|item| item.secret.as_str()).collect();
    names.sort_unstable();
    names
}

#[tokio::test(start_paused = true)]
async fn a_key_is_taken_under_management_without_being_touched() {
    let stage = Stage::new().await;
    let (id, value) = stage.key("acme").await;
    let before = stage.world().await;
    let items = plan(&stage, &Selection::Id(id.clone())).await;
    assert_eq!(stage.world().await, before, "a plan changes nothing");
    let [item] = items.as_slice() else { panic!("{items:?}") };
    assert_eq!((item.secret.as_str(), &item.verdict, &item.plans), (ACME, &Verdict::Adopt, &vec![stage.plan.clone()]));

    apply(&stage, &items).await;
    let after = stage.world().await;
    let key = stage.api_key(&id);
    assert_eq!(
        key.tags,
        BTreeMap::from([("rotator:credential".to_owned(), ACME.to_owned())]),
        "by which others know it"
    );
    assert_eq!((after.keys.len(), key.enabled, &key.plans), (before.keys.len(), true, &vec![stage.plan.clone()]));
    assert_eq!(stage.current_value(ACME).await, value);
    assert_eq!((stage.last().step.as_str(), stage.last().error), ("testSecret", None), "tested, not rotated");
    let described = stage.secrets_manager().describe_secret().secret_id(ACME).send().await.expect("described");
    assert_eq!(described.rotation_enabled(), Some(true));
    let tags: Vec<_> = described.tags().iter().filter_map(|tag| Some((tag.key()?, tag.value()?))).collect();
    for tag in [("rotator:kind", "api-gateway-key"), ("rotator:overlap", "P1D"), ("rotator:probe", "a1b2c3/prod/ping")]
    {
        assert!(tags.contains(&tag), "{tags:?}");
    }
    let credential = stage.load(ACME).await;
    assert_eq!((credential.head.current, credential.versions[&1].provider["id"].as_str()), (Some(1), id.as_str()));
    assert!(credential.versions[&1].fingerprint.is_some());
    stage.assert_sound(ACME, "adopted").await;
    stage.pass(chrono::TimeDelta::days(1)).await;
    stage.aws.settle().await;
    assert_eq!(stage.current_value(ACME).await, value, "nothing rotates before its schedule says so");

    stage.rotate(ACME).await;
    stage.assert_rotated();
    assert!(stage.gets_through(&value).await && stage.gets_through(&stage.current_value(ACME).await).await);
    stage.assert_sound(ACME, "rotated").await;
}

#[tokio::test(start_paused = true)]
async fn all_keys_or_those_with_a_prefix_or_one() {
    let stage = Stage::new().await;
    let (_, _) = stage.key("shop-web").await;
    let (_, _) = stage.key("shop-app").await;
    let (other, _) = stage.key("globex").await;
    assert_eq!(
        secrets(&plan(&stage, &Selection::Prefix("shop-".into())).await),
        ["partner/shop-app", "partner/shop-web"]
    );
    assert_eq!(secrets(&plan(&stage, &Selection::Id(other)).await), ["partner/globex"]);
    assert!(plan(&stage, &Selection::Id("n0such".into())).await.is_empty());
    let all = take(&stage, &Selection::All).await;
    assert_eq!(secrets(&all), ["partner/globex", "partner/shop-app", "partner/shop-web"]);
    for item in &all {
        stage.assert_sound(item.secret.as_str(), "adopted").await;
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_made_unique_by_the_id() {
    let stage = Stage::new().await;
    let (first, _) = stage.key("acme").await;
    let (second, _) = stage.key("acme").await;
    let items = take(&stage, &Selection::All).await;
    let mut ids = [first, second];
    ids.sort_unstable();
    let [first, second] = ids;
    assert_eq!(secrets(&items), [ACME, &format!("{ACME}-{second}")]);
    for (name, id) in [(ACME.to_owned(), &first), (format!("{ACME}-{second}"), &second)] {
        assert_eq!(&stage.load(&name).await.versions[&1].provider["id"], id);
    }
    // One that comes later, too.
    let (third, _) = stage.key("acme").await;
    let items = plan(&stage, &Selection::Id(third.clone())).await;
    assert_eq!(secrets(&items), [format!("{ACME}-{third}")]);
}

#[tokio::test(start_paused = true)]
async fn doing_it_twice_is_harmless() {
    let stage = Stage::new().await;
    stage.key("acme").await;
    stage.key("acme").await;
    let first = take(&stage, &Selection::All).await;
    let before = stage.world().await;
    // The same plan once more, as after a crash.
    apply(&stage, &first).await;
    assert_eq!(stage.world().await, before);
    let again = take(&stage, &Selection::All).await;
    assert!(again.iter().all(|item| item.verdict == Verdict::Managed), "{again:?}");
    assert_eq!(secrets(&again), secrets(&first));
    assert_eq!(stage.world().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_a_stack_owns_is_refused_with_the_way_on() {
    let stage = Stage::new().await;
    let (id, _) = stage.key("acme").await;
    assert!(stage.aws.own_by_stack(&id, "shop", "PartnerKey"));
    let (disabled, _) = stage.key("old").await;
    stage.engine_unhurt().api_keys.set_enabled(&disabled, false).await.expect("disabled");
    let before = stage.world().await;
    let items = take(&stage, &Selection::All).await;
    assert_eq!(stage.world().await, before);
    for (id, says, next) in
        [(id, "the CloudFormation stack shop owns it", "DeletionPolicy: Retain"), (disabled, "disabled", "enable it")]
    {
        let item = items.iter().find(|item| item.key.id == id).expect("planned");
        let Verdict::Refused { why, remedy } = &item.verdict else { panic!("{item:?}") };
        assert!(why.contains(says) && remedy.contains(next), "{why}: {remedy}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_a_rotation_made_are_shown_under_their_own_credential() {
    let stage = Stage::new().await;
    stage.key("acme").await;
    take(&stage, &Selection::All).await;
    stage.rotate(ACME).await;
    // And one whose rotation is not over yet.
    stage.faults.deny("apigateway:POST /usageplans/{plan}/keys");
    stage.rotate(ACME).await;
    stage.faults.allow("apigateway:POST /usageplans/{plan}/keys");
    assert!(!stage.load(ACME).await.versions[&3].provider.contains_key("id"), "made, and not yet recorded");

    let before = stage.world().await;
    let items = take(&stage, &Selection::All).await;
    assert_eq!(items.len(), 3);
    for item in &items {
        assert_eq!((item.secret.as_str(), &item.verdict), (ACME, &Verdict::Managed), "{}", item.key.name);
    }
    assert_eq!(stage.world().await, before);
    assert_eq!(stage.load(ACME).await.versions[&2].state, State::Active);
}

#[tokio::test(start_paused = true)]
async fn a_tag_alone_proves_nothing() {
    let stage = Stage::new().await;
    let (id, _) = stage.key("acme").await;
    let arn = format!("arn:aws:apigateway:eu-west-1::/apikeys/{id}");
    stage.api_gateway().tag_resource().resource_arn(arn).tags("rotator:credential", ACME).send().await.expect("tagged");
    let items = take(&stage, &Selection::All).await;
    let Verdict::Refused { why, remedy } = &items[0].verdict else { panic!("{items:?}") };
    assert!(why.contains("rotator:credential") && why.contains(ACME), "{why}");
    assert!(remedy.contains("without its tags"), "{remedy}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_kept_for_the_keys_that_are_in_its_stage() {
    let stage = Stage::new().await;
    let beta = stage.plan("silver", &["beta"], None).await;
    let (id, _) = stage.key("acme").await;
    stage.detach(&id, &stage.plan).await;
    stage.attach(&id, &beta).await;
    stage.key("globex").await;
    let items = take(&stage, &Selection::All).await;
    let acme = items.iter().find(|item| item.key.id == id).expect("planned");
    assert_eq!(acme.tags["rotator:probe"], "none");
    stage.rotate(ACME).await;
    stage.assert_rotated();
    assert!(stage.load(ACME).await.versions[&2].is_unproven(), "shown as such for good");
}

#[tokio::test(start_paused = true)]
async fn a_rotation_right_after_an_adoption_waits_for_the_test_of_the_configuration() {
    let stage = Stage::new().await;
    stage.key("acme").await;
    let items = plan(&stage, &Selection::All).await;
    let (engine, terms, errand) = (stage.engine_unhurt(), terms(&stage), stage.errand());
    adoption::adopt(&engine, &items[0], &terms, &errand, None).await.expect("adopted");
    // Secrets Manager has not called the function yet: its throw-away version still holds AWSPENDING.
    let mut told = Vec::new();
    let mut tell = |milestone| told.push(milestone);
    let rotated = tokio::select! {
        biased;
        rotated = on_demand(&engine, &items[0].secret, &errand, &mut tell) => rotated,
        () = stage.aws.run() => unreachable!("it never ends"),
    };
    assert_eq!(rotated.map_err(|stopped| chain(&stopped)).expect("rotated").generation, 2);
    assert!(matches!(told[0], Milestone::Pending { .. }), "{told:?}");
    stage.assert_sound(ACME, "rotated right after its adoption").await;
}

#[tokio::test(start_paused = true)]
async fn a_key_under_management_is_not_adopted_again_under_another_name() {
    let stage = Stage::new().await;
    stage.key("acme").await;
    take(&stage, &Selection::All).await;
    let before = stage.world().await;
    let engine = stage.engine_unhurt();
    let terms = adoption::Terms { secret_prefix: "partner/other-".into(), ..terms(&stage) };
    let items =
        adoption::plan(&engine, &Selection::All, &terms, &stage.errand(), &mut |_, _| {}).await.expect("a plan");
    assert_eq!((items[0].secret.as_str(), &items[0].verdict), (ACME, &Verdict::Managed), "by its tag");
    adoption::adopt(&engine, &items[0], &terms, &stage.errand(), None).await.expect("nothing to do");
    assert_eq!(stage.world().await, before, "nothing was changed");
}

/// The secret that adoption would make, made first: with other tags, with another value beside the key, under another
/// encryption key. Its version carries the very token that adoption derives.
async fn made_first(stage: &Stage, id: &str, value: &str, tags: &[(&str, &str)], key: Option<String>) {
    let token = Token::derived(&format!("adopt api key {id}"));
    let made = stage.secrets_manager().create_secret().name(ACME).client_request_token(token.as_str());
    let tags = tags.iter().map(|(tag, value)| Tag::builder().key(*tag).value(*value).build()).collect();
    made.secret_string(value).set_tags(Some(tags)).set_kms_key_id(key).send().await.expect("made");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_somebody_made_first_is_adopted_only_if_it_is_the_same_in_everything() {
    const TAGS: [(&str, &str); 5] = [
        ("rotator:kind", "api-gateway-key"),
        ("rotator:at-ceiling", "hold"),
        ("rotator:overlap", "P1D"),
        ("rotator:soak", "P1D"),
        ("rotator:probe", "a1b2c3/prod/ping"),
    ];
    let theirs = [
        ("rotator:kind", "api-gateway-key"),
        ("rotator:at-ceiling", "hold"),
        ("rotator:overlap", "PT0S"),
        ("rotator:probe", "none"),
    ];
    let ours = |value: &str, endpoint: &str| {
        format!(r#"{{"apiKey":"{value}","endpoint":"https://{endpoint}/prod","provider":"api-gateway"}}"#)
    };
    let host = format!("{API}.execute-api.eu-west-1.amazonaws.com");
    for (endpoint, tags, encrypted, said) in [
        ("mallory.example", &TAGS[..], false, "the value"),
        (host.as_str(), &theirs[..], false, "the tag rotator:overlap, the tag rotator:probe, the tag rotator:soak"),
        (host.as_str(), &TAGS[..], true, "the encryption key"),
    ] {
        let stage = Stage::new().await;
        let (id, value) = stage.key("acme").await;
        let key = match encrypted {
            true => Some(stage.encryption_key().await),
            false => None,
        };
        made_first(&stage, &id, &ours(&value, endpoint), tags, key).await;
        let (engine, terms, errand) = (stage.engine_unhurt(), terms(&stage), stage.errand());
        let items = plan(&stage, &Selection::Id(id)).await;
        let before = stage.world().await;
        let refused = adoption::adopt(&engine, &items[0], &terms, &errand, None).await.expect_err("a stranger's");
        assert!(chain(&refused).contains(said), "{}", chain(&refused));
        assert!(!chain(&refused).contains(&value));
        assert_eq!(stage.world().await, before, "nothing is recorded of it, and nothing is scheduled");
    }
    // With a key that is asked for, it is that one that must be there: not AWS's own, and not another.
    for found in [None, Some("another")] {
        let stage = Stage::new().await;
        let (id, value) = stage.key("acme").await;
        let asked = stage.encryption_key().await;
        let found = if found.is_some() { Some(stage.encryption_key().await) } else { None };
        made_first(&stage, &id, &ours(&value, &host), &TAGS, found.clone()).await;
        let terms = adoption::Terms { encrypted_by: Some(asked), ..terms(&stage) };
        let (engine, errand) = (stage.engine_unhurt(), stage.errand());
        let items = plan(&stage, &Selection::Id(id)).await;
        let refused = adoption::adopt(&engine, &items[0], &terms, &errand, None).await.expect_err("a stranger's");
        let said = format!("the encryption key {}", found.as_deref().unwrap_or("alias/aws/secretsmanager"));
        assert!(chain(&refused).contains(&said), "{}", chain(&refused));
    }
    // Left from a try that did not come to its end.
    for encrypted in [false, true] {
        let stage = Stage::new().await;
        let (id, value) = stage.key("acme").await;
        let key = if encrypted { Some(stage.encryption_key().await) } else { None };
        made_first(&stage, &id, &ours(&value, &host), &TAGS, key.clone()).await;
        let terms = adoption::Terms { encrypted_by: key, ..terms(&stage) };
        let items = plan(&stage, &Selection::Id(id)).await;
        let adopted = adoption::adopt(&stage.engine_unhurt(), &items[0], &terms, &stage.errand(), None).await;
        adopted.unwrap_or_else(|stopped| panic!("{}", chain(&stopped)));
        stage.aws.settle().await;
        stage.rotate(ACME).await;
        stage.assert_rotated();
    }
}

#[tokio::test(start_paused = true)]
async fn the_secrets_of_adopted_keys_are_encrypted_by_the_key_that_is_asked_for() {
    let stage = Stage::new().await;
    let (id, value) = stage.key("acme").await;
    let (mine, other) = (stage.encryption_key().await, stage.encryption_key().await);
    let adopt = ["adopt", "--id", &id, "--secret-prefix", "partner/", "--yes", "--encryption-key"];
    let said = stage.command(&[&adopt[..], &[&mine]].concat()).await;
    assert_eq!(said.outcome, Outcome::Done, "{said:?}");
    stage.aws.settle().await;
    assert_eq!(stage.encrypted_by(ACME).await.as_ref(), Some(&mine));
    assert_eq!(stage.current_value(ACME).await, value);
    stage.rotate(ACME).await;
    stage.assert_rotated();
    stage.assert_sound(ACME, "rotated under the owner's key").await;

    let new = ["adopt", "--kind", "webhook-secret", "hooks/orders", "--yes", "--encryption-key"];
    let said = stage.command(&[&new[..], &[&mine]].concat()).await;
    assert_eq!(said.outcome, Outcome::Done, "{said:?}");
    assert_eq!(stage.encrypted_by("hooks/orders").await.as_ref(), Some(&mine));
    // One that is there keeps its own, and whoever asks for another hears of it.
    for (line, said) in [(&mine, "already managed 1"), (&other, mine.as_str())] {
        let again = stage.command(&[&new[..], &[line]].concat()).await;
        assert!(again.stdout.contains(said), "{again:?}");
        assert_eq!(stage.encrypted_by("hooks/orders").await.as_ref(), Some(&mine));
    }
}

/// A record stands for work that is done: what does not rotate by itself is not under management.
#[tokio::test(start_paused = true)]
async fn adoption_goes_on_where_rotation_was_not_switched_on_or_is_off_again() {
    let stage = Stage::new().await;
    let (id, _) = stage.key("acme").await;
    // A wrong function ARN is the commonest first mistake.
    let (engine, errand) = (stage.engine_unhurt(), stage.errand());
    let wrong = adoption::Terms {
        function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:rotatoin".into(),
        ..terms(&stage)
    };
    let items = plan(&stage, &Selection::Id(id.clone())).await;
    adoption::adopt(&engine, &items[0], &wrong, &errand, None).await.expect_err("there is no such function");
    for how in ["never switched on", "switched off"] {
        let found = look(&engine, &CredentialName::parse(ACME).expect("a name"), Scope::All, None, &errand).await;
        let found: Vec<&str> = found.expect("examined").findings.iter().map(Finding::word).collect();
        assert_eq!(found, ["RotationOff"], "{how}");
        let items = take(&stage, &Selection::Id(id.clone())).await;
        assert_eq!(items[0].verdict, Verdict::Adopt, "{how}: it goes on");
        assert_eq!(plan(&stage, &Selection::Id(id.clone())).await[0].verdict, Verdict::Managed, "{how}");
        stage.rotate(ACME).await;
        stage.assert_rotated();
        stage.secrets_manager().cancel_rotate_secret().secret_id(ACME).send().await.expect("cancelled");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_id_may_be_its_value_is_refused_and_never_shown() {
    let stage = Stage::new().await;
    let made = stage.api_gateway().create_api_key().name("old").value("keyOf2016keyOf2016keyOf2016").enabled(true);
    let value = made.generate_distinct_id(false).send().await.expect("made").id.expect("an id");
    assert_eq!(value, "keyOf2016keyOf2016keyOf2016");
    let items = plan(&stage, &Selection::All).await;
    assert!(matches!(&items[0].verdict, Verdict::Refused { why, .. } if why.contains("may be one")), "{items:?}");
    assert!(!format!("{items:?}").contains(&value), "{items:?}");
    let said = stage.command(&["adopt", "--all"]).await;
    assert!(!format!("{said:?}").contains(&value), "{said:?}");
    let said = stage.command(&["reconcile"]).await;
    assert!(!format!("{said:?}").contains(&value), "{said:?}");
    // In a secret that was declared by its tags, the first rotation meets it.
    let arn = stage.secret(ACME, &crate::harness::document(&value), &crate::harness::Terms::default()).await;
    stage.rotate(&arn).await;
    let failure = stage.failure();
    assert_eq!(failure.error_type, "Held.Rejected");
    assert!(!failure.error_message.contains(&value), "{}", failure.error_message);
    assert!(!stage.story(ACME).await.contains(&value));
}

/// Another stack has other records: it knows the key by its tag alone.
#[tokio::test(start_paused = true)]
async fn a_key_that_a_rotation_takes_under_management_is_marked() {
    const MARK: &str = "apigateway:PUT /tags/arn%3Aaws%3Aapigateway%3Aeu-west-1%3A%3A%2Fapikeys%2F{key}";
    let tagged = |stage: &Stage, id: &str| stage.api_key(id).tags.get("rotator:credential").cloned();
    let stage = Stage::new().await;
    let (arn, id, _) = stage.credential(ACME, &Terms::default()).await;
    assert_eq!(tagged(&stage, &id), None, "a test of the configuration leaves no trace");
    // Its first try dies before the record is written.
    stage.faults.deny("DynamoDB:TransactWriteItems");
    stage.rotate(&arn).await;
    assert_eq!((tagged(&stage, &id).as_deref(), stage.recorded(ACME).await), (Some(ACME), None));
    stage.faults.allow("DynamoDB:TransactWriteItems");
    stage.again(&arn).await;
    stage.assert_rotated();
    stage.faults.disarm();
    stage.rotate(&arn).await;
    assert!(!stage.faults.calls().contains(&MARK.to_owned()), "once");

    // It helps others: where it is denied, nothing waits for it.
    let stage = Stage::new().await;
    let (arn, id, old) = stage.credential(ACME, &Terms::default()).await;
    stage.faults.deny(MARK);
    stage.rotate(&arn).await;
    stage.assert_rotated();
    assert!(stage.faults.calls().contains(&MARK.to_owned()));
    assert_eq!(tagged(&stage, &id), None);
    assert_ne!(stage.current_value(&arn).await, old);
    stage.assert_sound(ACME, "rotated").await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fits_no_key_is_refused() {
    let stage = Stage::new().await;
    stage.key("acme").await;
    let mut terms = terms(&stage);
    terms.tags.insert("probe".into(), format!("{API}/prdo/ping"));
    let refused =
        adoption::plan(&stage.engine_unhurt(), &Selection::All, &terms, &stage.errand(), &mut |_, _| {}).await;
    let said = chain(&refused.expect_err("it fits nothing"));
    assert!(said.contains("prdo") && said.contains("unproven"), "{said}");
}

/// Its users were there before any ceiling, and nobody has told them of one.
#[tokio::test(start_paused = true)]
async fn an_adopted_key_that_is_still_used_is_not_refused_by_a_ceiling_that_nobody_chose() {
    let probe = format!("{API}/prod/ping");
    for (chosen, held) in [(None, true), (Some("at-ceiling=suspend"), false), (Some("ceiling=P1D"), false)] {
        let stage = Stage::new().await;
        let (id, value) = stage.key("acme").await;
        let mut line = vec!["adopt", "--id", &id, "--secret-prefix", "partner/", "--probe", &probe, "--yes"];
        line.extend(["--tag", "overlap=P1D", "--tag", "idle-before-suspend=P1D", "--schedule", "rate(90 days)"]);
        line.extend(chosen.iter().flat_map(|tag| ["--tag", *tag]));
        let said = stage.command(&line).await;
        assert_eq!(said.outcome, Outcome::Done, "{said:?}");
        assert_eq!(said.stdout.contains("waits for a person's word"), held, "{}", said.stdout);
        stage.aws.settle().await;
        assert_eq!(stage.tag(ACME, "at-ceiling").await.as_deref() == Some("hold"), held);
        stage.rotate(ACME).await;
        // Every day until the default ceiling is over.
        for _ in 0..34 {
            stage.gets_through(&value).await;
            stage.pass(TimeDelta::days(1)).await;
        }
        assert_eq!(stage.state_of(1).await == State::Deactivated, held, "{chosen:?}: {}", stage.story(ACME).await);
    }
}

/// A key is as old as its provider says, whoever has looked after it since.
#[tokio::test(start_paused = true)]
async fn the_age_of_an_adopted_key_counts_from_when_it_was_made() {
    let stage = Stage::new().await;
    stage.key("acme").await;
    stage.wait(TimeDelta::days(340)).await;
    take(&stage, &Selection::All).await;
    let concerns = Concerns::of(&stage.load(ACME).await, &Schedule::default(), stage.clock.now());
    assert!(concerns.near_max_age, "its rotator:max-age is nearly over");
    stage.rotate(ACME).await;
    stage.assert_rotated();
    for _ in 0..2 {
        stage.pass(TimeDelta::hours(25)).await;
    }
    let concerns = Concerns::of(&stage.load(ACME).await, &Schedule::default(), stage.clock.now());
    assert!(!concerns.near_max_age, "its successor is new");
}

#[tokio::test(start_paused = true)]
async fn the_plan_says_when_todays_key_is_replaced_and_refused() {
    let stage = Stage::new().await;
    let (id, _) = stage.key("acme").await;
    let line = ["adopt", "--id", &id, "--secret-prefix", "partner/", "--tag", "overlap=P1D"];
    let json = stage.command(&[&line[..], &["--output", "json"]].concat()).await.json();
    let outlook = &json["keys"][0]["outlook"];
    assert!(outlook["firstRotation"].is_string() && outlook["refusedFrom"].is_string(), "{json}");
    assert_eq!((&outlook["refusedBy"], &json["keys"][0]["tags"]["rotator:at-ceiling"]), (&Value::Null, &"hold".into()));
    let page = stage.command(&line).await.stdout;
    for said in ["first rotation: ", "today's keys will be refused from ", "waits for a person's word"] {
        assert!(page.contains(said), "{said:?} is not in {page}");
    }
    let ceiling = [&line[..], &["--tag", "at-ceiling=suspend"]].concat();
    assert!(stage.command(&ceiling).await.stdout.contains("at the latest at "));
}

#[tokio::test(start_paused = true)]
async fn a_key_can_be_adopted_without_a_schedule() {
    let stage = Stage::new().await;
    let (id, value) = stage.key("acme").await;
    let line = ["adopt", "--id", &id, "--secret-prefix", "partner/", "--schedule", "none"];
    let said = stage.command(&line).await;
    assert!(said.stdout.contains("no schedule: no key is replaced before somebody runs"), "{}", said.stdout);
    let adopting = [&line[..], &["--yes"]].concat();
    // AWS may want a schedule: then that is said, and adopting with one goes on.
    stage.aws.settings(|settings| settings.rotation_rules_required = true);
    let said = stage.command(&adopting).await;
    assert_eq!(said.outcome, Outcome::Failed, "{said:?}");
    assert!(said.stdout.contains("RotationRules"), "{}", said.stdout);
    stage.aws.settings(|settings| settings.rotation_rules_required = false);
    assert_eq!(stage.command(&adopting).await.outcome, Outcome::Done);
    stage.aws.settle().await;
    let described = stage.secrets_manager().describe_secret().secret_id(ACME).send().await.expect("described");
    assert_eq!((described.rotation_enabled(), described.rotation_rules()), (Some(true), None));
    assert!(stage.command(&["show", ACME]).await.stdout.contains("on demand"));
    stage.pass(TimeDelta::days(100)).await;
    stage.aws.settle().await;
    assert_eq!(stage.current_value(ACME).await, value, "nothing rotates by itself");
    stage.rotate(ACME).await;
    stage.assert_rotated();
    stage.assert_sound(ACME, "rotated on demand").await;
}

/// A hundred that are taken over together don't rotate together, unless somebody wants that; then doctor tells.
#[tokio::test(start_paused = true)]
async fn whatever_is_adopted_together_rotates_at_moments_of_its_own() {
    let stage = Stage::new().await;
    for number in 0..101 {
        stage.key(&format!("customer-{number}")).await;
    }
    let line = ["adopt", "--prefix", "customer-", "--secret-prefix", "partner/", "--output", "json"];
    let planned = stage.command(&line).await.json();
    assert_eq!(planned["schedule"], "spread");
    let keys = planned["keys"].as_array().expect("keys").clone();
    let moments: BTreeSet<&str> = keys.iter().filter_map(|key| key["schedule"].as_str()).collect();
    assert!(keys.len() == 101 && moments.len() > 80, "{moments:?}");
    let page = stage.command(&line[..5]).await.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains("each key on a day and at an hour of its own"), "{page}");

    let together = "cron(0 8 1 * ? *)";
    let line = ["adopt", "--prefix", "customer-", "--secret-prefix", "partner/", "--schedule", together, "--yes"];
    let said = stage.command(&line).await;
    assert_eq!(said.outcome, Outcome::Done);
    // It takes longer than ten seconds, and without a terminal that is said on lines.
    let told: Vec<&str> = said.stderr.lines().collect();
    let is_progress = |line: &&str| line.contains(" of 101 keys adopted, ") && line.ends_with(" left");
    assert!(!told.is_empty() && told.iter().all(is_progress), "{told:?}");
    let said = stage.command(&["doctor"]).await.stdout;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("101 API keys rotate at one moment, cron(0 8 1 * ? *)"), "{said}");
    let described = stage.secrets_manager().describe_secret().secret_id("partner/customer-7").send().await;
    let rules = described.expect("described").rotation_rules.expect("rules");
    assert_eq!(rules.schedule_expression(), Some(together));
}

/// A stage with so many keys.
async fn with_keys(many: usize) -> Stage {
    let stage = Stage::new().await;
    for number in 0..many {
        stage.key(&format!("customer-{number}")).await;
    }
    stage
}

/// Ctrl-C at any call of the third key's adoption, then the same command again.
#[tokio::test(start_paused = true)]
async fn an_adoption_that_was_interrupted_goes_on_where_it_was() {
    const KEYS: usize = 5;
    const LINE: [&str; 5] = ["adopt", "--all", "--secret-prefix", "partner/", "--yes"];
    let count = |calls: &[String], what: &str| calls.iter().filter(|call| call.as_str() == what).count();
    let calls = async |stage: &Stage| {
        stage.faults.disarm();
        let said = stage.command_over(stage.faults.process().connector, &LINE).await;
        assert_eq!(said.outcome, Outcome::Done, "{said:?}");
        // Turns at API Gateway record nothing.
        stage.faults.calls().into_iter().filter(|call| call != "DynamoDB:UpdateItem").collect::<Vec<_>>()
    };
    let stage = with_keys(KEYS).await;
    stage.faults.disarm();
    stage.command_over(stage.faults.process().connector, &LINE).await;
    let whole = stage.faults.calls();
    let mut creations = (0..whole.len()).filter(|at| whole[*at] == "secretsmanager:CreateSecret");
    let (third, fourth) = (creations.nth(2).expect("the third"), creations.next().expect("the fourth"));
    let once_more = calls(&stage).await;
    assert!(once_more.len() <= 3 * KEYS + 3, "one look at each is enough: {once_more:?}");

    for at in third..fourth {
        let stage = with_keys(KEYS).await;
        stage.faults.arm(When::Once(at), Fault::KilledAfter);
        let said = stage.command_until_killed(&stage.faults.process(), &LINE).await;
        assert_eq!(said.outcome.code(), 130, "{at}: {said:?}");
        let told = said.stderr.split_once(" of 5 keys adopted").and_then(|(before, _)| before.chars().last());
        let done = told.and_then(|digit| digit.to_digit(10)).expect("it says how far it came") as usize;
        assert!([2, 3].contains(&done), "{at}: {said:?}");
        let again = "what is done stays done; to go on: rotator adopt --all --secret-prefix partner/ --yes";
        assert!(said.stderr.contains(again), "{said:?}");

        let rest = calls(&stage).await;
        for what in ["secretsmanager:CreateSecret", "secretsmanager:RotateSecret", "apigateway:GET /apikeys/{key}"] {
            assert!((KEYS - 3..=KEYS - done).contains(&count(&rest, what)), "{at}: {what} in {rest:#?}");
        }
        stage.aws.settle().await;
        let keys = stage.aws.inspect_api_keys().len();
        assert_eq!((keys, stage.world().await.secrets.len()), (KEYS, KEYS), "none twice");
        for number in 0..KEYS {
            let name = format!("partner/customer-{number}");
            stage.assert_sound(&name, "adopted").await;
            let history = stage.engine_unhurt().records.history(&CredentialName::parse(&name).expect("a name")).await;
            let adopted = history.expect("readable").into_iter().filter(|told| told.event.change.word() == "adopted");
            assert_eq!(adopted.count(), 1, "{name}");
        }
    }
}
