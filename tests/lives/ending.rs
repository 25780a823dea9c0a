//! The end of a life: nothing is hurt any more, people put right whatever is found, and time passes. Then everything
//! must be as if nothing had happened.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use rotator::mend::look;
use state::credential::{Credential, Head, Version};
use state::drift::{Finding, Remedy, Scope};
use state::lifecycle::State;

use super::acts::{Deed, Line, Seen};
use super::beginning::Kind;
use super::judge::Broken;
use super::life::Life;

/// Longer than anybody needs who is asked to put something right: a command waits a quarter of an hour for whoever may
/// still be at work.
const PATIENCE: TimeDelta = TimeDelta::minutes(17);
/// How long people wait before they look again. What is held is looked at less and less often, once a day at the least.
const ROUNDS: [TimeDelta; 15] = {
    let (short, long, day) = (TimeDelta::minutes(20), TimeDelta::hours(3), TimeDelta::hours(25));
    [short, short, short, short, short, short, long, long, long, long, day, day, day, day, day]
};
/// How often an emergency is declared that does not come to its end.
const MOST_DECLARED: u32 = 3;
/// Longer than any overlap, soak and lead, each by itself.
const LONG: TimeDelta = TimeDelta::hours(26);
/// How often one more rotation is asked for.
const TRIES: usize = 6;
/// All of them one after the other, and the last search for what lost answers left.
const PASSES: usize = 6;

impl Life {
    pub async fn end(&mut self) -> Result<(), Broken> {
        self.trace.say("the end: nothing is hurt any more");
        self.stage.faults.disarm();
        self.denied.clear();
        self.firewall(false);
        self.see_strangers_off().await?;
        self.until_quiet().await?;
        // A standby must have been published for its lead.
        for _ in 0..2 {
            self.pass(LONG / 2).await;
            self.visit().await;
        }
        self.one_more_rotation().await?;
        self.until_retired().await?;
        self.nothing_is_left_over().await
    }

    /// A person takes away what strangers made. Nobody has touched it before, whatever it is called.
    async fn see_strangers_off(&mut self) -> Result<(), Broken> {
        for made in &self.strangers {
            if let Some(what) = self.stage.done_to(made).await {
                return Err(Broken { of: 0, what });
            }
        }
        self.stage.take_away(&self.strangers).await;
        Ok(())
    }

    /// People put right whatever is found, until nothing is found and nothing is under way.
    async fn until_quiet(&mut self) -> Result<(), Broken> {
        for round in ROUNDS {
            let mut is_quiet = self.judged().await?.iter().all(is_still);
            for of in 0..self.credentials.len() {
                is_quiet &= self.put_right(of).await?;
            }
            if is_quiet {
                for of in 0..self.credentials.len() {
                    self.end_excuse(of).await;
                }
                self.judged().await?;
                return Ok(());
            }
            self.pass(round).await;
            self.visit().await;
        }
        let seen = self.judged().await?;
        if let Some(of) = seen.iter().position(|seen| !is_still(seen)) {
            let found: Vec<&str> = self.found(of, Scope::All).await.iter().map(Finding::word).collect();
            let what = format!("{}: it never comes to rest; found: {found:?}", self.name(of));
            return Err(Broken { of, what });
        }
        Err(Broken { of: 0, what: "something is always found".into() })
    }

    /// What a person does about what is found of a credential. Whether there was nothing.
    async fn put_right(&mut self, of: usize) -> Result<bool, Broken> {
        let mut was_nothing = true;
        for (scope, line) in [(Scope::Rotation, Line::Repair), (Scope::All, Line::Reconcile)] {
            let found = self.found(of, scope).await;
            let Some(first) = found.first() else { continue };
            was_nothing = false;
            let words: Vec<&str> = found.iter().map(Finding::word).collect();
            self.trace.say(&format!("  found of {}: {words:?}", self.name(of)));
            let credential = self.credential(of).await;
            let remedy = |finding: &Finding| finding.remedy(credential.as_ref());
            let disabled = found.iter().find_map(|finding| {
                if let Finding::KeyDisabled { generation, .. } = finding { Some(*generation) } else { None }
            });
            if let Some(generation) = disabled {
                self.at_the_console(of, Deed::EnableKey(generation)).await;
            } else if found.iter().any(|finding| matches!(remedy(finding), Remedy::Service(_))) {
                self.follow(of, line).await;
            } else if remedy(first).text().contains("--emergency") {
                self.declare(of, first.word()).await?;
            } else if remedy(first).text().contains("put a value without a key") {
                self.at_the_console(of, Deed::WipeValue).await;
            } else {
                let what = format!("{}: a person is told what nobody did: {first}", self.name(of));
                return Err(Broken { of, what });
            }
        }
        // An emergency is its own command's to repeat, until its rotation has begun.
        let credential = self.credential(of).await;
        let waits = |head: &Head| head.candidate.is_none() && head.order.as_ref().is_some_and(|order| !order.promoted);
        if credential.is_some_and(|credential| waits(&credential.head)) {
            was_nothing = false;
            self.declare(of, "an order stands").await?;
        }
        Ok(was_nothing)
    }

    /// An emergency, by somebody who is told that it is the way on.
    async fn declare(&mut self, of: usize, why: &str) -> Result<(), Broken> {
        self.credentials[of].declared += 1;
        if self.credentials[of].declared > MOST_DECLARED {
            let what = format!("{}: no emergency comes to its end ({why})", self.name(of));
            return Err(Broken { of, what });
        }
        self.follow(of, Line::Emergency).await;
        Ok(())
    }

    async fn follow(&self, of: usize, line: Line) {
        let ended = self.command(of, &line, PATIENCE).await;
        self.trace.say(&format!("  {line:?} of {}: {ended:?}", self.name(of)));
        self.sleep(self.let_in_after()).await;
    }

    /// What somebody who looks now is shown.
    async fn found(&self, of: usize, scope: Scope) -> Vec<Finding> {
        let name = &self.credentials[of].name;
        let found = look(&self.observer, name, scope, None, &self.stage.errand()).await;
        found.expect("examined").findings
    }

    pub async fn credential(&self, of: usize) -> Option<Credential> {
        self.observer.records.load(&self.credentials[of].name).await.expect("readable")
    }

    /// Time passes until overlaps and soaks are over. What only waits for its last user, a person lets go.
    async fn until_retired(&mut self) -> Result<(), Broken> {
        for _ in 0..PASSES {
            let seen = self.judged().await?;
            if seen.iter().all(is_retired) {
                return Ok(());
            }
            for of in 0..self.credentials.len() {
                self.let_go(of).await;
            }
            for _ in 0..2 {
                self.pass(LONG / 2).await;
                self.visit().await;
            }
        }
        let seen = self.judged().await?;
        let left = seen.iter().position(|seen| !is_retired(seen));
        left.map_or(Ok(()), |of| Err(Broken { of, what: format!("{}: not retired", self.name(of)) }))
    }

    /// A person lets go what only waits for its last user.
    async fn let_go(&self, of: usize) {
        let credential = self.credential(of).await;
        for version in credential.iter().flat_map(|credential| credential.versions.values()) {
            if version.held.as_ref().is_some_and(|held| held.hold.reason.is_use()) && !version.waived {
                self.follow(of, Line::Retire(version.generation)).await;
            }
        }
    }

    async fn one_more_rotation(&mut self) -> Result<(), Broken> {
        self.trace.say("one more rotation of each");
        for of in 0..self.credentials.len() {
            let before = self.credential(of).await.and_then(|credential| credential.head.current);
            let is_over =
                |credential: &Credential| credential.head.candidate.is_none() && credential.head.current > before;
            let mut rotated = false;
            for _ in 0..TRIES {
                self.rotate(of).await;
                rotated = self.credential(of).await.as_ref().is_some_and(is_over);
                if rotated {
                    break;
                }
                // Secrets Manager tries again by itself. And there may be as many versions as its owner allows.
                self.let_go(of).await;
                for time in [TimeDelta::minutes(6), TimeDelta::minutes(15), LONG / 2] {
                    self.pass(time).await;
                    self.visit().await;
                }
                rotated = self.credential(of).await.as_ref().is_some_and(is_over);
                if rotated {
                    break;
                }
            }
            self.visit().await;
            self.judged().await?;
            if !rotated {
                let last = self.stage.aws.rotations().pop().and_then(|outcome| outcome.error);
                let what = format!("{}: no rotation goes through: {last:?}", self.name(of));
                return Err(Broken { of, what });
            }
        }
        Ok(())
    }

    /// Exactly the current keys are left, and their standbys; at the provider too.
    async fn nothing_is_left_over(&self) -> Result<(), Broken> {
        let mut known: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for of in 0..self.credentials.len() {
            let credential = self.credential(of).await.expect("recorded");
            let left: Vec<&Version> =
                credential.versions.values().filter(|version| version.state != State::Destroyed).collect();
            if let Some(unswept) = left.iter().find(|version| version.sweep_at.is_some()) {
                let what = format!("{}: generation {} is not swept", self.name(of), unswept.generation);
                return Err(Broken { of, what });
            }
            let mut take = |kind: &'static str, fact: &str| {
                known
                    .entry(kind)
                    .or_default()
                    .extend(left.iter().filter_map(|version| version.provider.get(fact).cloned()));
            };
            match self.credentials[of].kind {
                Kind::ApiKey => take("API keys", "id"),
                Kind::Kms => take("KMS keys", "id"),
                Kind::Jwt => take("standbys", "standby"),
                Kind::Webhook => {}
            }
        }
        let kms_keys = self.stage.aws.inspect_kms_keys().into_iter();
        let kms_keys = kms_keys.filter(|key| key.state != "PendingDeletion" && !key.spec.starts_with("HMAC"));
        let listed = self.stage.secrets_manager().list_secrets().send().await.expect("listed");
        let names = listed.secret_list().iter().filter_map(|secret| secret.name().map(str::to_owned));
        let there: [(&str, BTreeSet<String>); 3] = [
            ("API keys", self.stage.aws.inspect_api_keys().into_iter().map(|key| key.id).collect()),
            ("KMS keys", kms_keys.map(|key| key.arn).collect()),
            ("standbys", names.filter(|name| name.starts_with("rotator-standby/")).collect()),
        ];
        for (what, there) in there {
            let known = known.remove(what).unwrap_or_default();
            if there != known {
                let what = format!("{what}: there are {} and {} are known", there.len(), known.len());
                return Err(Broken { of: 0, what });
            }
        }
        Ok(())
    }
}

/// Whether nobody has anything to bring to its end. What soaks, and what waits for its last user, is not under way.
fn is_still(seen: &Seen) -> bool {
    seen.credential.as_ref().is_none_or(|credential| {
        let head = &credential.head;
        head.candidate.is_none()
            && head.order.is_none()
            && credential.versions.values().all(|version| version.phase.is_none())
    }) && !seen.is_pending()
}

/// Whether only the current version is left, and as many standbys as its owner wants.
fn is_retired(seen: &Seen) -> bool {
    let Some(credential) = &seen.credential else { return true };
    let Some(current) = credential.current() else { return true };
    let standbys = current.policy.publication.as_ref().map_or(0, |publication| publication.standbys);
    let mut states: Vec<State> =
        credential.versions.values().map(|version| version.state).filter(|state| *state != State::Destroyed).collect();
    states.sort_unstable();
    let wanted = (0..standbys).map(|_| State::PreActivation).chain([State::Active]);
    states == wanted.collect::<Vec<_>>() && credential.versions.values().all(|version| version.sweep_at.is_none())
}
