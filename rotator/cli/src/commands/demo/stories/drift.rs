//! Somebody changed keys by hand.

use aws_sdk_apigateway::Client as ApiGateway;
use aws_sdk_apigateway::error::ProvideErrorMetadata;
use aws_sdk_apigateway::types::{Op, PatchOperation};
use chrono::TimeDelta;
use rotator::engine::Engine;
use rotator::mend::{Overview, mend, overview};
use state::credential::Version;
use state::drift::{Finding, Scope};
use state::lifecycle::State;
use state::name::CredentialName;

use super::super::clients::Clients;
use super::super::stage::WHAT;
use super::super::{errand, start};
use super::{Scene, on_behalf};
use crate::output::counted;
use crate::trouble::Trouble;

const WISHES: [(&str, &str); 4] =
    [("overlap", "PT12H"), ("soak", "P2D"), ("consumer-cache", "PT6H"), ("idle-before-suspend", "PT3H")];
/// The key that nobody rotates.
const HANDMADE: &str = "somebodys-key";

pub async fn play(scene: &mut Scene<'_, '_>) -> Result<(), Trouble> {
    let names = scene.open(&["acme-shop", "bluth-homes", "contoso-trips"], &WISHES).await?;
    let [acme, bluth, contoso] = [0, 1, 2].map(|n| names[n].clone());
    names.iter().for_each(|name| scene.stage.follow(Clients::two(name)));
    scene.stage.until(start() + TimeDelta::hours(1)).await?;
    scene.stage.act("Two of them rotate, and their old keys are suspended after the overlap")?;
    for name in [&acme, &contoso] {
        scene.rotate(name).await?;
    }
    let is_refused = |version: &Version| version.state == State::Suspended && version.refused.is_some();
    let latest = start() + TimeDelta::days(3);
    for name in [&acme, &contoso] {
        scene.until(name, latest, |credential| credential.versions.get(&1).is_some_and(is_refused)).await?;
    }
    let before: usize = names.iter().map(|name| scene.tally(name).refused.len()).sum();
    scene.claim(before == 0, "until then nobody was refused");

    scene.stage.act("Somebody works on the console")?;
    let embedded = scene.stage.embedded;
    let client = ApiGateway::new(&embedded.config);
    let [suspended, detached, disabled] =
        [id(scene, &acme, 1).await?, id(scene, &contoso, 2).await?, id(scene, &bluth, 1).await?];
    let is_it = |key: &&local_aws::ApiKeyView| key.id == detached;
    let plan = embedded.aws.inspect_api_keys().iter().find(is_it).and_then(|key| key.plans.first().cloned());
    let plan = plan.unwrap_or_default();
    let by_hand = async {
        switch(&client, &disabled, false).await?;
        switch(&client, &suspended, true).await?;
        let done = client.delete_usage_plan_key().usage_plan_id(&plan).key_id(&detached).send().await;
        done.map_err(|error| refused(&error))?;
        let made =
            client.create_api_key().name(HANDMADE).enabled(true).send().await.map_err(|error| refused(&error))?;
        Ok::<_, Trouble>(made.id.unwrap_or_default())
    };
    let handmade = scene.stage.beside(by_hand).await??;
    scene.tell("console", &format!("{bluth}: its current key {disabled} is disabled"))?;
    scene.tell("", &format!("{contoso}: its current key {detached} is taken out of its usage plan"))?;
    scene.tell("", &format!("{acme}: its suspended key {suspended} is enabled"))?;
    scene.tell("", &format!("a key {handmade} is made that nobody rotates"))?;
    scene.pass(TimeDelta::minutes(30)).await?;

    scene.stage.act("rotator reconcile")?;
    let engine = embedded.engine();
    let (keys, seen) = (embedded.aws.inspect_api_keys(), all(scene, engine).await?);
    for one in &seen.examined {
        scene.findings(&one.findings, Some(&one.credential))?;
    }
    scene.findings(&seen.unowned, None)?;
    let is_found = |finding: Finding| seen.examined.iter().flat_map(|one| &one.findings).any(|found| *found == finding);
    let expected = [
        is_found(Finding::KeyEnabled { generation: 1, id: suspended.clone(), state: State::Suspended }),
        is_found(Finding::PlanLost { generation: 2, id: detached.clone(), plan: plan.clone() }),
        is_found(Finding::KeyDisabled { generation: 1, id: disabled.clone() }),
        is_handmade(&seen, &handmade),
    ];
    let found = count(&seen) + seen.unowned.len();
    scene.claim(expected == [true; 4] && found == 4, format!("reconcile found all four, and nothing else: {found}"));
    scene.claim(embedded.aws.inspect_api_keys() == keys, "the plan changed nothing");

    scene.stage.act("rotator reconcile --yes")?;
    let note = engine.note("the demo", "somebody had worked on the console");
    let mut cured = 0;
    for one in seen.examined.into_iter().filter(|one| !one.findings.is_empty()) {
        let (name, ear, mut most) = (one.name.clone(), scene.ear.clone(), 10);
        let mut tell =
            |finding: &Finding| ear.say(format!("{:<WHAT$}{name}: puts right {}", "reconcile", finding.word()));
        let by_hand = on_behalf(errand(engine), &note);
        let done = scene.stage.beside(mend(engine, one, Scope::All, &mut most, &by_hand, &mut tell)).await?;
        cured += done.map_err(Trouble::stopped(format!("could not reconcile {name}")))?.cured.len();
    }
    scene.claim(cured == 2, format!("two were put right, and the disabled key is a person's matter: {cured}"));
    scene.stage.beside(switch(&client, &disabled, true)).await??;
    scene.tell("console", &format!("{bluth}: its key was disabled by mistake, and is enabled again"))?;
    scene.pass(TimeDelta::minutes(2)).await?;
    let since = scene.stage.now();
    scene.pass(TimeDelta::hours(2)).await?;
    let is_late = |name: &CredentialName| scene.tally(name).refused.iter().any(|refusal| refusal.at > since);
    scene.claim(!names.iter().any(is_late), "two minutes later every client gets through, and goes on to");
    let keys = embedded.aws.inspect_api_keys();
    let enabled = |id: &str| keys.iter().any(|key| key.id == id && key.enabled);
    scene.claim(!enabled(&suspended), "the suspended key is refused again");
    let is_untouched = keys.iter().any(|key| key.id == handmade && key.enabled && key.tags.is_empty());
    scene.claim(is_untouched, "the key that is not this service's was left alone");

    scene.stage.act("rotator reconcile, once more")?;
    let left = all(scene, engine).await?;
    scene.findings(&left.unowned, None)?;
    scene.claim(
        count(&left) == 0 && left.unowned.len() == 1 && is_handmade(&left, &handmade),
        format!("a second run finds only what a person decides: {}", counted(left.unowned.len(), "key")),
    );
    Ok(())
}

async fn all(scene: &mut Scene<'_, '_>, engine: &Engine) -> Result<Overview, Trouble> {
    let seen = scene.stage.beside(overview(engine, &errand(engine), &mut |_, _| {})).await?;
    let seen = seen.map_err(Trouble::stopped("could not look at everything"))?;
    match seen.failed.into_iter().next() {
        None => Ok(Overview { failed: Vec::new(), ..seen }),
        Some((name, stopped)) => Err(Trouble::stopped(format!("could not examine {name}"))(stopped)),
    }
}

fn count(seen: &Overview) -> usize {
    seen.examined.iter().map(|one| one.findings.len()).sum()
}

fn is_handmade(seen: &Overview, handmade: &str) -> bool {
    seen.unowned.iter().any(|found| matches!(found, Finding::Unmanaged { id, owner: None, .. } if id == handmade))
}

async fn id(scene: &Scene<'_, '_>, name: &CredentialName, generation: u32) -> Result<String, Trouble> {
    Ok(scene.version(name, generation).await?.provider.remove("id").unwrap_or_default())
}

async fn switch(client: &ApiGateway, key: &str, enabled: bool) -> Result<(), Trouble> {
    let patch = PatchOperation::builder().op(Op::Replace).path("/enabled").value(enabled.to_string()).build();
    let done = client.update_api_key().api_key(key).patch_operations(patch).send().await;
    done.map(drop).map_err(|error| refused(&error))
}

fn refused(error: &impl ProvideErrorMetadata) -> Trouble {
    let said = error.message().or(error.code()).unwrap_or("there was no answer");
    Trouble::Other {
        what: format!("API Gateway refused what is done by hand: {said}"),
        next: "this is a defect of the demo: report it".into(),
        source: None,
    }
}
