//! A function timed out, and left `AWSPENDING` on a version without a value.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client as SecretsManager;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use chrono::TimeDelta;
use local_aws::FunctionError;
use rotator::mend::{look, mend};
use rotator::ports::Clock;
use serde_json::Value;
use state::decide::AWSPENDING;
use state::drift::{Finding, Scope};
use state::lifecycle::State;

use super::super::clients::Clients;
use super::super::stage::{Ear, SMALL, WHAT};
use super::super::{errand, start};
use super::{Scene, on_behalf};
use crate::embedded::{FUNCTION_TIMEOUT, ROTATION};
use crate::trouble::Trouble;

const WISHES: [(&str, &str); 3] = [("overlap", "P1D"), ("soak", "PT12H"), ("consumer-cache", "PT12H")];
/// What Secrets Manager says of a pending version that is in the way.
const IN_THE_WAY: &str = "A previous rotation isn't complete";

pub async fn play(scene: &mut Scene<'_, '_>) -> Result<(), Trouble> {
    let name = scene.open(&["acme-shop"], &WISHES).await?.remove(0);
    scene.stage.follow(Clients::of(&name));
    let embedded = scene.stage.embedded;
    let engine = embedded.engine();
    let client = SecretsManager::new(&embedded.config);
    let rotate = || async {
        let done = client.rotate_secret().secret_id(name.as_str()).send().await;
        done.map(drop).map_err(|error| error.message().or(error.code()).unwrap_or("there was no answer").to_owned())
    };

    scene.stage.until(start() + TimeDelta::hours(1)).await?;
    scene.stage.act("RotateSecret, and the rotation function times out")?;
    let hangs = Hangs { ear: scene.ear.clone(), clock: embedded.ports.clock.clone() };
    embedded.aws.register(ROTATION, Arc::new(hangs));
    embedded.aws.settings(|settings| settings.rotation_retries = 1);
    let begun = scene.stage.beside(rotate()).await?;
    scene.claim(begun.is_ok(), "RotateSecret began a rotation");
    // Until its first attempt has failed, and its second one; and as long as any function may run.
    for time in [SMALL, TimeDelta::minutes(2), TimeDelta::minutes(30)] {
        scene.pass(time).await?;
    }
    embedded.deploy();
    scene.tell("deploy", "the function can reach the table again: it works from now on")?;
    let again = scene.stage.beside(rotate()).await?.err().unwrap_or_default();
    scene.tell("aws", &format!("RotateSecret: {again}"))?;
    scene.claim(again.contains(IN_THE_WAY), format!("RotateSecret was refused: {again}"));

    scene.stage.act(&format!("rotator repair {name}"))?;
    let (before, keys) = (scene.load(&name).await?, embedded.aws.inspect_api_keys());
    let found = scene.stage.beside(look(engine, &name, Scope::Rotation, None, &errand(engine))).await?;
    let found = found.map_err(Trouble::stopped(format!("could not examine {name}")))?;
    scene.findings(&found.findings, Some(&found.credential))?;
    let words: Vec<&str> = found.findings.iter().map(Finding::word).collect();
    scene.claim(words == ["PendingEmpty"], format!("repair says what is wrong: {}", words.join(", ")));
    let unchanged = scene.load(&name).await? == before && embedded.aws.inspect_api_keys() == keys;
    scene.claim(unchanged, "the plan changed nothing");

    scene.stage.act(&format!("rotator repair {name} --yes"))?;
    let note = engine.note("the demo", "its function had timed out");
    let by_hand = on_behalf(errand(engine), &note);
    let (mut most, ear) = (10, scene.ear.clone());
    let mut tell = move |finding: &Finding| ear.say(format!("{:<WHAT$}puts right {}", "repair", finding.word()));
    let mended = scene.stage.beside(mend(engine, found, Scope::Rotation, &mut most, &by_hand, &mut tell)).await?;
    let mended = mended.map_err(Trouble::stopped(format!("could not repair {name}")))?;
    let is_free = engine.describe(name.as_str()).await.is_ok_and(|secret| secret.holder(AWSPENDING).is_none());
    scene.claim(
        mended.stopped.is_none() && mended.left.findings.is_empty() && is_free,
        "after it nothing is left, and AWSPENDING is on no version",
    );

    scene.stage.act("RotateSecret works again")?;
    let begun = scene.stage.beside(rotate()).await?;
    scene.claim(begun.is_ok(), "RotateSecret is not refused any more");
    scene.pass(SMALL).await?;
    let latest = scene.stage.now() + TimeDelta::hours(1);
    let is_done = scene.until(&name, latest, |credential| credential.head.current == Some(2)).await?;
    scene.claim(is_done, "the rotation came to its end: generation 2 is current");
    scene.pass(TimeDelta::hours(13)).await?;
    let old = scene.version(&name, 1).await?;
    let refused = scene.tally(&name).refused.len();
    scene.claim(
        refused == 0 && old.state == State::Deactivated,
        format!("nobody was refused at any time: {refused} calls"),
    );
    Ok(())
}

/// A rotation function that can't reach anything, until its time is over.
struct Hangs {
    ear: Ear,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl local_aws::Function for Hangs {
    async fn invoke(&self, payload: Value) -> Result<Value, FunctionError> {
        let watch = self.ear.watch();
        watch(ROTATION, &payload, None);
        self.clock.sleep(FUNCTION_TIMEOUT).await;
        let seconds = FUNCTION_TIMEOUT.num_seconds();
        let failed = Err(FunctionError {
            error_type: "Sandbox.Timedout".into(),
            error_message: format!("Task timed out after {seconds}.00 seconds"),
        });
        watch(ROTATION, &payload, Some(&failed));
        failed
    }
}
