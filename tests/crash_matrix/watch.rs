//! Those who depend on a credential, and what comes after a scenario: AWS goes on, and old keys are retired.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use state::lifecycle::State;

use super::Of;
use crate::harness::signing::{Signer, Traffic, Verifier};
use crate::harness::webhooks::{Post, Reader};
use crate::harness::{ACME, Stage};

/// Longer than any healthy run takes in paused time.
const DEADLINE: TimeDelta = TimeDelta::hours(6);

/// Those who depend on a credential, cold and with warm caches.
#[derive(Clone, Debug)]
pub struct Watch {
    of: Of,
    /// What a stranger knew is refused at once, and what takes its place may be new to those who cache.
    pub is_emergency: bool,
    tokens: Traffic,
    messages: Post,
}

impl Watch {
    pub fn new(of: Of) -> Self {
        let mut tokens = Traffic::usual();
        tokens.verifiers = vec![Verifier::authorizer()];
        Self { of, is_emergency: false, tokens, messages: Post::usual() }
    }

    /// Nobody meets an outage.
    pub async fn see(&mut self, stage: &Stage, what: &str) {
        let document = stage.document(ACME).await;
        let is_made = ["apiKey", "signing", "signer"].iter().any(|member| document.get(member).is_some());
        if !is_made {
            return;
        }
        let well = match (self.of, self.is_emergency) {
            (Of::ApiKey, _) => stage.gets_through(document["apiKey"].as_str().expect("a key")).await,
            (Of::Webhook, false) => self.messages.round(stage).await.is_empty(),
            (Of::Webhook, true) => Reader::prompt().receive(stage, &Reader::prompt().send(stage).await).await,
            (Of::Kms | Of::Jwt, false) => {
                let warm = self.tokens.round(stage).await;
                // The oldest are those that a withdrawal would meet first; many are only slow.
                self.tokens.live.truncate(4);
                let mut cold = Traffic { verifiers: vec![Verifier::authorizer()], ..self.tokens.clone() };
                warm.is_empty() && cold.show(stage).await.is_empty()
            }
            (Of::Kms | Of::Jwt, true) => match Signer::prompt().sign(stage, ACME).await {
                Ok(token) => Verifier::authorizer().accepts(stage, ACME, &token).await,
                // The compromised key, until there is another.
                Err(_) => stage.load(ACME).await.head.order.is_some(),
            },
        };
        if !well {
            panic!("{what}: an outage\n{}", stage.story(ACME).await);
        }
    }
}

/// AWS and the clock go on until nothing is under way any more.
pub async fn go_on(stage: &Stage, name: &str, rotations: u32, watch: &mut Watch, what: &str) {
    let begun = stage.clock.now();
    loop {
        stage.aws.settle().await;
        stage.assert_sound(name, what).await;
        watch.see(stage, what).await;
        let credential = stage.recorded(name).await;
        let open = credential.as_ref().is_some_and(|c| c.head.candidate.is_some() || c.head.order.is_some());
        let rotated = credential.as_ref().and_then(|c| c.head.current).is_some_and(|current| current > rotations);
        let standby = !watch.of.publishes() || credential.is_some_and(|c| !c.standbys().is_empty());
        if rotated && standby && !open {
            return;
        }
        if !open && !rotated {
            // It ended before it was begun: the next scheduled rotation comes along, and AWS reattempts the pending one.
            let _ = stage.secrets_manager().rotate_secret().secret_id(name).send().await;
        }
        if stage.clock.now() >= begun + DEADLINE {
            panic!("{what}: no end\n{}", stage.story(name).await);
        }
        stage.pass(TimeDelta::minutes(6)).await;
    }
}

/// After every overlap, soak and sweep, exactly the current key is left, and its standby.
pub async fn retire(stage: &Stage, watch: &mut Watch, what: &str) {
    for _ in 0..3 {
        stage.pass(TimeDelta::hours(25)).await;
        // What the tick began may be waiting for the next one; that it is found by the index was seen just now.
        stage.tend(ACME).await;
        stage.assert_sound(ACME, what).await;
    }
    // By now every cache is another one.
    watch.is_emergency = false;
    watch.see(stage, what).await;
    let credential = stage.load(ACME).await;
    let left: Vec<_> = credential.versions.values().filter(|version| version.state != State::Destroyed).collect();
    let mut states: Vec<State> = left.iter().map(|version| version.state).collect();
    states.sort_unstable();
    let standby = [State::PreActivation].into_iter().filter(|_| watch.of.publishes());
    let expected: Vec<State> = standby.chain([State::Active]).collect();
    let known = |fact: &str| -> BTreeSet<String> {
        left.iter().filter_map(|version| version.provider.get(fact).cloned()).collect()
    };
    let api_keys = stage.aws.inspect_api_keys().into_iter().map(|key| key.id);
    let kms_keys = stage.aws.inspect_kms_keys().into_iter().filter(|key| key.state != "PendingDeletion");
    let kms_keys = kms_keys.filter(|key| !key.spec.starts_with("HMAC")).map(|key| key.arn);
    let found: BTreeSet<String> = match watch.of {
        Of::ApiKey => api_keys.collect(),
        Of::Kms => kms_keys.collect(),
        Of::Webhook | Of::Jwt => known("id"),
    };
    let listed = stage.secrets_manager().list_secrets().send().await.expect("listed");
    let names = listed.secret_list().iter().filter_map(|secret| secret.name().map(str::to_owned));
    let resting: BTreeSet<String> = names.filter(|name| name.starts_with("rotator-standby/")).collect();
    let wrong = [
        (states != expected, "not exactly the current key is left, and its standby"),
        (left.iter().any(|version| version.sweep_at.is_some()), "not swept"),
        (found != known("id"), "an orphan"),
        (resting != known("standby"), "a private key that rests where nobody knows it"),
    ];
    if let Some((_, wrong)) = wrong.into_iter().find(|(is_so, _)| *is_so) {
        panic!("{what}: {wrong}: {states:?} {found:?} {resting:?}\n{}", stage.story(ACME).await);
    }
}
