//! `rotator show`

pub(super) mod retirement;

use std::collections::BTreeMap;

use rotator::aws::records::Told;
use rotator::failure::chain;
use rotator::kinds::kms_signing_key::{SIGNERS_TAG, declared_signers};
use serde::Serialize;
use state::Time;
use state::credential::{Credential, Order, Proof, Version};
use state::decide::Secret;
use state::hold::Held;
use state::lifecycle::{Phase, State};
use state::name::{CredentialName, Token};
use state::period::Period;
use state::policy::{Policy, Publication, Watch};
use state::rollback::LASTS;

use self::retirement::{ExposureView, RetirementView, needs_history, paragraph};
use crate::context::Context;
use crate::output::{Look, Out, View, dash, harmless, listed, moment, short_id, table};
use crate::trouble::{Outcome, Trouble};

/// How much of a `kid` is shown in the table, in characters: enough to tell keys apart.
const KID_SHOWN: usize = 12;

/// Show a credential: its labels, its versions, what is due, what holds
///
/// Of a version that waits for its last user it tells how much it is used, when last, and by whom where the API keeps an
/// access log.
///
/// Exits with 3 if it is held, has an emergency open, or its tags can't be used.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The credential: its secret's name
    pub name: String,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    let name = CredentialName::parse(&args.name)?;
    out.wait_for("reading the records");
    let records = context.records(&name).await?;
    // By ARN where one is pinned: another secret may have taken the name.
    let id = records.as_ref().map_or(name.as_str(), |credential| &credential.head.arn);
    let secret = context.secret(id).await?;
    if records.is_none() && secret.is_none() {
        return Err(Trouble::NoCredential(name));
    }
    let lag = context.engine.config.usage_lag;
    let mut view = ShowView::new(&name, records.as_ref(), secret.as_ref(), lag, context.now());
    if let Some(records) = records.as_ref().filter(|records| needs_history(records)) {
        out.wait_for("reading the history");
        let about = format!("could not read the history of {name}");
        // What was before the oldest version that may still have a key explains nothing of today.
        let from = records.head.floor.map_or(0, |floor| floor.seq);
        let history = context.read(about, async || context.engine.records.history_from(&name, from).await).await?;
        view.add_history(&history);
    }
    let kind = view.kind.as_ref().and_then(|kind| context.engine.kind(kind).ok());
    if kind.is_some_and(|kind| kind.publishes()) {
        view.key_set = context.engine.key_sets.location(&name).ok();
    }
    if kind.is_some_and(|kind| kind.tags().contains(&SIGNERS_TAG)) {
        let wishes = secret.as_ref().and_then(|secret| secret.wishes.as_ref().ok());
        let frozen = records.as_ref().and_then(Credential::current).map(|version| &version.policy);
        view.add_signers(wishes.or(frozen), &context.engine.config.signer_accounts);
    }
    out.show(&view)?;
    Ok(Outcome::attention_if(view.needs_attention()))
}

/// What `rotator show` prints.
///
/// ```json
/// {"asOf": "...", "name": "partner/acme", "arn": "arn:aws:...", "kind": "api-gateway-key", "keySet": null,
///  "signers": null, "revision": 9, "current": 2, "candidate": null, "held": null,
///  "closed": null, "rollback": {"generation": 1, "since": "...", "givenUpAt": "..."},
///  "emergency": {"token": "...", "at": "...", "compromised": [1], "promoted": true},
///  "secret": {"deleted": false, "rotationEnabled": true, "schedule": "cron(0 8 1 * ? *)", "replicasBehind": [],
///             "labels": {"AWSCURRENT": "TOKEN"}, "wishes": {"overlap": "P7D", "max-live": "4"}, "unusable": null},
///  "versions": [{"generation": 2, "id": "UUID", "state": "active", "phase": null, "standby": false,
///    "carriers": ["TOKEN"], "labels": ["AWSCURRENT"], "provider": {"id": "..."}, "evidence": {}, "also": null,
///    "created": "...", "published": null, "activated": "...", "standbyDue": null, "deactivated": null,
///    "disableAt": null, "disabled": null, "suspendAt": null, "suspended": null, "destroyAt": null, "destroyed": null,
///    "sweepAt": null, "due": null, "proof": {"proven": ["api/stage/path"], "unproven": []}, "compromised": null,
///    "trustedUntil": null, "strangeUntil": null,
///    "retirement": {
///      "gate": {"open": false, "ground": null, "reason": "StillInUse", "idleBeforeSuspend": "P2D", "ceiling": "...",
///               "atCeiling": "suspend"},
///      "usage": {"source": "GetUsage", "told": true, "requests": 412, "lastUsed": "...", "looked": "...",
///                "seenUntil": "...", "nextLook": "...", "callers": ["203.0.113.7 app/1.0 GET /prod/ping (412 requests,
///                last 2026-11-21 11:00 UTC)"], "callersErased": false},
///      "settled": {"PLAN": {"since": "2026-11-01", "allowance": 5000, "used": {"KEY": 412}, "remaining": 88,
///                  "shown": true}},
///      "overspend": {"betweenLooks": "PT1H", "usageLag": "PT1H"},
///      "brownouts": {"done": 1, "of": 2, "until": null, "next": {"at": "...", "lasts": "PT30M"}}},
///    "exposure": {"ordered": "...", "after": "PT4S", "over": true, "unproved": null},
///    "held": {"reason": "PlanConflict", "detail": "...", "remedy": "...", "since": "...", "lookAgain": "..."}}]}
/// ```
///
/// `secret` is `null` when the secret is gone; `unusable` says why its tags can't be used, `wishes` is `null` then;
/// `due` is when retirement looks at the version next. The newest version comes first. `closed`: since when the secret is
/// known to be gone for good; `rollback`: the version that is being brought back, and when that is given up.
///
/// `signers`, of KMS keys: `{"declared": ["arn:aws:iam::..."], "accounts": ["111122223333"]}`: the roles that the tag
/// `rotator:signers` names, and the accounts whose roles it may name: the secret's own, and those of this machine's
/// ROTATOR_SIGNER_ACCOUNTS. Who else may sign, `rotator doctor` tells.
///
/// `retirement`, of deactivated versions: `gate`: whether its key may be refused once its overlap is over, and on which
/// `ground`, or for which `reason` not; `ceiling`: when it is no longer waited for its last user. `usage`: what is known
/// of its use: `requests` since it was deactivated (null where they are not counted); what was used before `seenUntil`
/// would have been told; `callers`: who used it, told while it is held as StillInUse or NoEvidence, by the newest look
/// (personal data: `callersErased` if they were). `settled`: per usage plan, what was left to all live keys when they
/// were settled last. `overspend`: what all live keys together may use beyond a plan's quota is what they can spend in
/// both of these times. `brownouts`: null if its owner wants none.
///
/// `exposure`, of suspended and destroyed versions: `after`: how long it took from the order to the first refusal that
/// was seen; null while none was seen (`over`: and none will be looked for; `unproved` says why, of suspended ones).
///
/// Of keys that verifiers fetch: `keySet`: where, if ROTATOR_JWKS_URL says so; `standby`: published, and waiting for a
/// rotation; `published`: since when verifiers can know it; `standbyDue`: since when the current version lacks a standby; `disableAt`, `disabled`: when it signs
/// nothing any more; `sweepAt`: when the provider is searched for keys that lost answers left; `trustedUntil`, of a
/// compromised or withdrawn version: the last moment at which a cache may still trust it; `strangeUntil`: until when
/// verifiers that fetched the key set before it was in it may refuse what it signs. `also`: the version whose key the
/// value holds as well.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShowView {
    as_of: Time,
    name: CredentialName,
    arn: Option<String>,
    kind: Option<String>,
    /// Where verifiers fetch its keys.
    key_set: Option<String>,
    signers: Option<SignersView>,
    revision: u64,
    current: Option<u32>,
    candidate: Option<u32>,
    held: Option<HeldView>,
    closed: Option<Time>,
    rollback: Option<RollbackView>,
    emergency: Option<Order>,
    secret: Option<SecretView>,
    versions: Vec<VersionView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SecretView {
    deleted: bool,
    rotation_enabled: bool,
    schedule: Option<String>,
    replicas_behind: Vec<String>,
    labels: BTreeMap<String, Token>,
    wishes: Option<BTreeMap<String, String>>,
    unusable: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionView {
    generation: u32,
    id: String,
    state: &'static str,
    phase: Option<&'static str>,
    standby: bool,
    carriers: Vec<Token>,
    labels: Vec<String>,
    provider: BTreeMap<String, String>,
    evidence: BTreeMap<String, String>,
    also: Option<u32>,
    created: Time,
    published: Option<Time>,
    activated: Option<Time>,
    standby_due: Option<Time>,
    deactivated: Option<Time>,
    disable_at: Option<Time>,
    disabled: Option<Time>,
    suspend_at: Option<Time>,
    suspended: Option<Time>,
    destroy_at: Option<Time>,
    destroyed: Option<Time>,
    sweep_at: Option<Time>,
    due: Option<Time>,
    proof: Option<Proof>,
    compromised: Option<Time>,
    trusted_until: Option<Time>,
    strange_until: Option<Time>,
    retirement: Option<RetirementView>,
    exposure: Option<ExposureView>,
    held: Option<HeldView>,
    #[serde(skip)]
    next: String,
    /// Whether there was a key before it, which verifiers know.
    #[serde(skip)]
    succeeds: bool,
}

/// Who is to sign with a KMS key, and whose roles may.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SignersView {
    declared: Vec<String>,
    accounts: Vec<String>,
}

/// A rollback that is under way.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RollbackView {
    generation: u32,
    since: Option<Time>,
    given_up_at: Option<Time>,
}

/// A hold, with what to do about it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HeldView {
    reason: &'static str,
    detail: String,
    remedy: &'static str,
    since: Time,
    look_again: Time,
    /// Whether it is the use of the key that holds.
    #[serde(skip)]
    is_use: bool,
}

impl ShowView {
    /// Of what is recorded and what the secret says; at least one of them is there.
    ///
    /// `lag` is how long AWS may take to tell of a key's use: the setting `ROTATOR_USAGE_LAG`.
    pub fn new(
        name: &CredentialName,
        records: Option<&Credential>,
        secret: Option<&Secret>,
        lag: Period,
        as_of: Time,
    ) -> Self {
        let head = records.map(|credential| &credential.head);
        let versions = records.iter().flat_map(|credential| {
            let versions = credential.versions.values().rev();
            versions.map(|version| VersionView::new(version, credential, secret, lag, as_of))
        });
        let candidate = records.and_then(Credential::candidate).filter(|version| version.is_coming_back());
        Self {
            as_of,
            name: name.clone(),
            arn: head.map(|head| head.arn.clone()).or_else(|| secret.map(|secret| secret.arn.clone())),
            kind: head.map(|head| head.kind.clone()).filter(|kind| !kind.is_empty()).or_else(|| {
                let wishes = secret?.wishes.as_ref().ok()?;
                Some(wishes.kind.clone())
            }),
            key_set: None,
            signers: None,
            revision: head.map_or(0, |head| head.revision),
            current: head.and_then(|head| head.current),
            candidate: head.and_then(|head| head.candidate),
            held: head.and_then(|head| head.held.as_ref()).map(HeldView::from),
            closed: head.and_then(|head| head.closed),
            rollback: candidate.map(|version| RollbackView {
                generation: version.generation,
                since: version.ordered,
                given_up_at: version.ordered.map(|ordered| ordered + LASTS),
            }),
            emergency: head.and_then(|head| head.order.clone()),
            secret: secret.map(SecretView::from),
            versions: versions.collect(),
        }
    }

    /// Adds who is to sign, by the wishes in force, and of which accounts roles may be named besides the secret's own.
    pub fn add_signers(&mut self, wishes: Option<&Policy>, others: &[String]) {
        let own = self.arn.iter().filter_map(|arn| arn.split(':').nth(4)).map(str::to_owned);
        let declared = wishes.map(declared_signers).unwrap_or_default();
        self.signers = Some(SignersView { declared, accounts: own.chain(others.iter().cloned()).collect() });
    }

    /// Adds what only the history tells: who still uses a key, and why a refusal is not proved.
    pub fn add_history(&mut self, history: &[Told]) {
        for version in &mut self.versions {
            let in_use = version.held.as_ref().is_some_and(|held| held.is_use);
            if let Some(retirement) = version.retirement.as_mut().filter(|_| in_use) {
                retirement.name_callers(version.generation, history);
            }
            if let Some(exposure) = version.exposure.as_mut().filter(|_| version.state == State::Suspended.word()) {
                exposure.explain(version.generation, history);
            }
        }
    }

    fn needs_attention(&self) -> bool {
        self.held.is_some()
            || self.emergency.is_some()
            || self.closed.is_none()
                && self.secret.as_ref().is_none_or(|secret| secret.deleted || secret.unusable.is_some())
            || self.versions.iter().any(|version| version.held.is_some())
    }
}

impl From<&Secret> for SecretView {
    fn from(secret: &Secret) -> Self {
        let days = secret.schedule.after_days.map(|days| format!("rate({days} days)"));
        let labels = secret.labels.iter().flat_map(|(token, labels)| labels.iter().map(move |label| (label, token)));
        let wishes = secret.wishes.as_ref();
        Self {
            deleted: secret.deleted,
            rotation_enabled: secret.rotation_enabled,
            schedule: secret.schedule.expression.clone().or(days),
            replicas_behind: secret.replicas_behind.clone(),
            labels: labels.map(|(label, token)| (label.clone(), token.clone())).collect(),
            wishes: wishes.ok().map(as_tags),
            unusable: wishes.err().map(|bad| chain(bad)),
        }
    }
}

/// The wishes in force, under the names of their tags, without `rotator:`.
fn as_tags(policy: &Policy) -> BTreeMap<String, String> {
    let Policy {
        kind,
        overlap,
        soak,
        consumer_cache,
        idle_before_suspend,
        max_age,
        max_live,
        publication,
        watch,
        if_deleted,
        wishes,
    } = policy;
    let common = [
        ("kind", kind.clone()),
        ("overlap", overlap.to_string()),
        ("soak", soak.to_string()),
        ("consumer-cache", consumer_cache.to_string()),
        ("idle-before-suspend", idle_before_suspend.to_string()),
        ("max-age", max_age.to_string()),
        ("max-live", max_live.to_string()),
        ("if-deleted", if_deleted.to_string()),
    ];
    let common = common.map(|(tag, value)| (tag.to_owned(), value));
    let published = publication.as_ref().map(|publication| {
        let Publication { standbys, lead, token_life, verifier_cache, slack, disables: _ } = publication;
        [
            ("standbys", standbys.to_string()),
            ("publish-lead", lead.to_string()),
            ("token-life", token_life.to_string()),
            ("verifier-cache", verifier_cache.to_string()),
            ("slack", slack.to_string()),
        ]
        .map(|(tag, value)| (tag.to_owned(), value))
    });
    let watched = watch.iter().flat_map(|watch| {
        let Watch { ceiling, at_ceiling, no_evidence, look_every, settles: _, brownouts, access_log } = watch;
        let listed = brownouts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let always = [
            ("ceiling", ceiling.to_string()),
            ("at-ceiling", at_ceiling.to_string()),
            ("no-evidence", no_evidence.to_string()),
            ("look-every", look_every.to_string()),
        ];
        let brownouts = (!listed.is_empty()).then_some(("brownouts", listed));
        let log = access_log.clone().map(|group| ("access-log", group));
        always.into_iter().chain(brownouts).chain(log).map(|(tag, value)| (tag.to_owned(), value))
    });
    common.into_iter().chain(published.into_iter().flatten()).chain(watched).chain(wishes.clone()).collect()
}

impl VersionView {
    fn new(version: &Version, credential: &Credential, secret: Option<&Secret>, lag: Period, as_of: Time) -> Self {
        let labels = version.carriers.iter().filter_map(|carrier| secret?.labels.get(carrier)).flatten();
        let wishes = secret.and_then(|secret| secret.wishes.as_ref().ok()).unwrap_or(&version.policy);
        let is_withdrawn = version.compromised.is_some() || version.suspended.is_some();
        Self {
            generation: version.generation,
            id: version.id.to_string(),
            state: version.state.word(),
            phase: version.phase.map(|phase| phase.word()),
            standby: version.is_standby(),
            carriers: version.carriers.clone(),
            labels: labels.cloned().collect(),
            provider: version.provider.clone(),
            evidence: version.evidence.clone(),
            also: version.also,
            created: version.created,
            published: version.published,
            activated: version.activated,
            standby_due: version.standby_due,
            deactivated: version.deactivated,
            disable_at: version.disable_at,
            disabled: version.disabled,
            suspend_at: version.suspend_at,
            suspended: version.suspended,
            destroy_at: version.destroy_at,
            destroyed: version.destroyed,
            sweep_at: version.sweep_at,
            due: version.due(),
            proof: version.proof.clone(),
            compromised: version.compromised,
            trusted_until: version.trusted_until().filter(|_| is_withdrawn),
            strange_until: version.strange_until(),
            retirement: RetirementView::of(version, credential, lag, as_of),
            exposure: ExposureView::of(version),
            held: version.held.as_ref().map(HeldView::from),
            next: next(version, credential, wishes, as_of),
            succeeds: version.replaces.as_ref().is_some_and(|replaces| replaces.generation.is_some()),
        }
    }

    /// Since when it is in its state.
    fn since(&self) -> Time {
        let standby = self.published.filter(|_| self.standby);
        let latest = [self.destroyed, self.suspended, self.deactivated, self.activated, standby];
        latest.into_iter().flatten().next().unwrap_or(self.created)
    }

    fn state(&self) -> String {
        let phase = self.phase.map(|phase| format!("/{phase}")).unwrap_or_default();
        let marks = [
            (self.standby, ", standby"),
            (self.state == State::Deactivated.word() && self.disabled.is_some(), ", disabled"),
            (self.compromised.is_some(), ", compromised"),
        ];
        let marks: String = marks.into_iter().filter_map(|(is_so, mark)| is_so.then_some(mark)).collect();
        format!("{}{phase}{marks}", self.state)
    }

    /// The provider's id, and the beginning of the name that tokens carry.
    fn key(&self) -> String {
        let id = self.provider.get("id").map(|id| short_id(id));
        let kid = self.provider.get("kid").map(|kid| match kid.char_indices().nth(KID_SHOWN) {
            Some((end, _)) => format!("kid {}..", &kid[..end]),
            None => format!("kid {kid}"),
        });
        // A key that has no name but its thumbprint.
        let id = id.filter(|id| self.provider.get("kid").is_none_or(|kid| kid != id));
        listed(id.map(str::to_owned).into_iter().chain(kid))
    }

    /// A key set's URL, which stands above, is cut to two words.
    fn proof(&self, key_set: Option<&str>) -> String {
        let listed = |places: &[String]| {
            listed(places.iter().map(|place| if Some(place.as_str()) == key_set { "its key set" } else { place }))
        };
        match &self.proof {
            None => dash(),
            Some(proof) if proof.proven.is_empty() => "unproven".into(),
            Some(proof) if proof.unproven.is_empty() => format!("proven: {}", listed(&proof.proven)),
            Some(proof) => format!("proven: {}; unproven: {}", listed(&proof.proven), listed(&proof.unproven)),
        }
    }

    /// What the page tells below the table: whether anybody saw that its key is refused.
    fn exposed(&self) -> Option<String> {
        let said = self.exposure.as_ref()?.page(self.state == State::Destroyed.word())?;
        Some(format!("generation {}: {said}", self.generation))
    }

    /// What caches do to a key that is gone, or new.
    fn caches(&self, as_of: Time) -> Option<String> {
        let generation = self.generation;
        if let Some(until) = self.trusted_until.filter(|_| self.compromised.is_some()) {
            let over = if until <= as_of { " (over)" } else { "" };
            let until = moment(until);
            return Some(format!(
                "the last moment at which a cache may still trust generation {generation}: {until}{over}"
            ));
        }
        let until = self.strange_until.filter(|until| self.succeeds && *until > as_of)?;
        Some(format!(
            "generation {generation} became current soon after it was published: verifiers that don't fetch the key set \
             again on an unknown kid may refuse its tokens until {}",
            moment(until)
        ))
    }
}

/// What time does to a version next, and when. For a standby, what it waits for: the lead is the one wished by now.
fn next(version: &Version, credential: &Credential, wishes: &Policy, as_of: Time) -> String {
    let Some(due) = version.due() else {
        let lead = wishes.publication.as_ref().map(|publication| publication.lead);
        let ready = version.published.filter(|_| version.is_standby()).zip(lead);
        return ready
            .map_or_else(dash, |(published, lead)| format!("may sign from {}", moment(published + lead.delta())));
    };
    let refuse = if version.published.is_some() { "withdraw" } else { "suspend" };
    let (what, at) = match (version.state, version.phase) {
        _ if version.sweep_at == Some(due) => ("search for lost keys", due),
        (State::PreActivation, None) => (refuse, due),
        (State::Active, None) => ("make a standby", due),
        (State::Deactivated, None) => way_out(version, credential, refuse, due, as_of),
        (State::Deactivated, Some(Phase::BrowningOut)) => ("bring back", due),
        (State::Suspended, None) if version.refused.is_none() => ("see it refused", due),
        (State::Suspended, None) => ("destroy", due),
        (State::PreActivation | State::Active | State::Deactivated | State::Suspended, Some(_))
        | (State::Destroyed, _) => ("look again", due),
    };
    format!("{what} {}", moment(at))
}

/// The next station of a deactivated version. Looks at its use change nothing by themselves: they are told only once
/// it waits for nothing else.
fn way_out(
    version: &Version,
    credential: &Credential,
    refuse: &'static str,
    due: Time,
    as_of: Time,
) -> (&'static str, Time) {
    let disables = version.disabled.is_none()
        && version.disable_at.is_some_and(|disable| version.suspend_at.is_none_or(|suspend| disable < suspend));
    let Some(end) = version.refuse_at() else { return ("look again", due) };
    if end <= as_of && version.gate(as_of).is_err() {
        return ("look again", due);
    }
    let end = (if disables { "disable" } else { refuse }, end);
    let brownout = version.next_brownout(credential.slowest_refusal()).map(|(at, _)| ("brown out", at));
    let (what, at) = brownout.into_iter().chain([end]).min_by_key(|(_, at)| *at).unwrap_or(end);
    let held = version.held.as_ref().filter(|held| !held.hold.reason.is_use());
    (what, held.map_or(at, |held| at.max(held.look_again)))
}

impl From<&Held> for HeldView {
    fn from(held: &Held) -> Self {
        Self {
            reason: held.hold.reason.word(),
            detail: held.hold.detail.clone(),
            remedy: held.hold.reason.remedy(),
            since: held.since,
            look_again: held.look_again,
            is_use: held.hold.reason.is_use(),
        }
    }
}

impl View for ShowView {
    fn page(&self, look: &Look) -> String {
        let mut facts = vec![
            ["name", self.name.as_str()].map(str::to_owned),
            ["kind".to_owned(), self.kind.clone().unwrap_or_else(dash)],
            ["secret".to_owned(), self.arn.clone().unwrap_or_else(dash)],
        ];
        if let Some(url) = &self.key_set {
            facts.push(["key set".into(), url.clone()]);
        }
        if let Some(SignersView { declared, accounts }) = &self.signers {
            let named = if declared.is_empty() { "none named".into() } else { listed(declared) };
            facts.push(["signers".into(), format!("{named}; roles of {} may be", listed(accounts))]);
        }
        match &self.secret {
            None => facts.push(["".into(), "the secret is gone".into()]),
            Some(secret) => {
                if secret.deleted {
                    facts.push(["".into(), "the secret is deleted, or will be".into()]);
                }
                let rotates = match (&secret.schedule, secret.rotation_enabled) {
                    (_, false) => "never: rotation is not enabled".into(),
                    (None, true) => "on demand".into(),
                    (Some(schedule), true) => schedule.clone(),
                };
                facts.push(["rotates".into(), rotates]);
                let labels = secret.labels.iter().map(|(label, token)| format!("{label} = {}", token.short()));
                facts.push(["labels".into(), listed(labels)]);
                if !secret.replicas_behind.is_empty() {
                    facts.push(["behind".into(), format!("replicas in {}", listed(&secret.replicas_behind))]);
                }
                if let Some(why) = &secret.unusable {
                    facts.push(["tags".into(), why.clone()]);
                }
            }
        }
        if let Some(at) = self.closed {
            facts.push(["closed".into(), format!("since {}: nothing replaces its last key", moment(at))]);
        }
        if let Some(RollbackView { generation, since, given_up_at }) = &self.rollback {
            let since = since.map_or(String::new(), |at| format!(" since {}", moment(at)));
            let until = given_up_at.map_or(String::new(), |at| format!("; given up at {}", moment(at)));
            facts.push(["rollback".into(), format!("generation {generation} is being brought back{since}{until}")]);
        }
        if let Some(order) = &self.emergency {
            let compromised = listed(&order.compromised);
            let done = if order.promoted { "its new key is current" } else { "its new key is not current yet" };
            let said = format!("open since {}, compromised: {compromised}; {done}", moment(order.at));
            facts.push(["emergency".into(), said]);
        }
        let mut page = facts.into_iter().fold(String::new(), |page, [name, fact]| {
            page + format!("{name:<10} {}", harmless(&fact)).trim_end() + "\n"
        });
        if self.versions.is_empty() {
            page.push_str(
                "\nnothing is recorded yet: its first rotation takes over the key in its value, or makes\none; `rotator rotate` starts it\n",
            );
        } else {
            page.push('\n');
            page.push_str(&table(
                look,
                ["GENERATION", "STATE", "SINCE", "NEXT", "KEY", "CARRIERS", "LABELS", "PROOF"],
                self.versions.iter().map(|version| {
                    [
                        version.generation.to_string(),
                        version.state(),
                        moment(version.since()),
                        version.next.clone(),
                        version.key(),
                        listed(version.carriers.iter().map(Token::short)),
                        listed(&version.labels),
                        version.proof(self.key_set.as_deref()),
                    ]
                }),
            ));
        }
        for version in &self.versions {
            let facts = version.retirement.as_ref().map(RetirementView::facts).unwrap_or_default();
            if !facts.is_empty() {
                page.push_str(&paragraph(
                    &format!("generation {}, since it was deactivated", version.generation),
                    &facts,
                ));
            }
        }
        let exposed = self.versions.iter().filter_map(VersionView::exposed);
        let caches = self.versions.iter().filter_map(|version| version.caches(self.as_of));
        let mut told = exposed.chain(caches).peekable();
        if told.peek().is_some() {
            page.push('\n');
        }
        told.for_each(|line| page.push_str(&(harmless(&line) + "\n")));
        let of_versions = self.versions.iter().map(|v| (format!("generation {}", v.generation), v.held.as_ref()));
        for (what, held) in std::iter::once(("the credential".to_owned(), self.held.as_ref())).chain(of_versions) {
            let Some(held) = held else { continue };
            page.push_str(&format!(
                "\n{what} is held since {}: {}: {}\n  next: {}; runbook.md has more under {}\n",
                moment(held.since),
                held.reason,
                harmless(&held.detail),
                held.remedy,
                held.reason,
            ));
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimens;

    const LAG: Period = Period::hours(1);

    fn views() -> [ShowView; 2] {
        [specimens::rotated(), specimens::held()].map(|credential| {
            let secret = specimens::secret(&credential);
            ShowView::new(&credential.head.name, Some(&credential), Some(&secret), LAG, specimens::at(90_000))
        })
    }

    #[test]
    fn the_json() {
        let [rotated, held] = views();
        insta::assert_snapshot!("rotated", crate::output::json(&rotated));
        insta::assert_snapshot!("held", crate::output::json(&held));
    }

    #[test]
    fn the_page() {
        let [rotated, held] = views();
        insta::assert_snapshot!("page_rotated", rotated.page(&Look::PLAIN));
        insta::assert_snapshot!("page_held", held.page(&Look::PLAIN));
    }

    #[test]
    fn of_signing_keys_it_says_what_is_due_and_what_caches_do() {
        let credential = specimens::signing();
        let secret = specimens::secret(&credential);
        let mut view =
            ShowView::new(&credential.head.name, Some(&credential), Some(&secret), LAG, specimens::at(90_000));
        view.key_set = Some("https://keys.example/v1/jwks/orders/issuer".into());
        view.add_signers(Some(&credential.versions[&2].policy), &["444455556666".to_owned()]);
        insta::assert_snapshot!("signing", crate::output::json(&view));
        insta::assert_snapshot!("page_signing", view.page(&Look::PLAIN));
    }

    #[test]
    fn a_hold_and_a_lost_secret_need_attention() {
        let [rotated, held] = views();
        assert!(!rotated.needs_attention() && held.needs_attention());
        let credential = specimens::rotated();
        let lost = ShowView::new(&credential.head.name, Some(&credential), None, LAG, specimens::at(90_000));
        assert!(lost.needs_attention());
        assert!(lost.page(&Look::PLAIN).contains("the secret is gone"));
    }

    #[test]
    fn who_is_waited_for_is_told_with_what_it_may_cost() {
        let (credential, told) = specimens::waiting();
        let secret = specimens::secret(&credential);
        let as_of = specimens::at(specimens::day(8) + 30);
        let view = |told: &[Told]| {
            let mut view = ShowView::new(&credential.head.name, Some(&credential), Some(&secret), LAG, as_of);
            view.add_history(told);
            view
        };
        assert!(needs_history(&credential) && !needs_history(&specimens::rotated()));
        insta::assert_snapshot!("waiting", crate::output::json(&view(&told)));
        insta::assert_snapshot!("page_waiting", view(&told).page(&Look::PLAIN));
        let erased: Vec<Told> = told.into_iter().map(|told| Told { note: None, ..told }).collect();
        assert!(view(&erased).page(&Look::PLAIN).contains("users      their names were erased"));
    }

    #[test]
    fn what_was_let_go_says_whether_it_is_seen_refused_and_a_rollback_shows() {
        let mut pages = String::new();
        for (credential, told) in [specimens::let_go(), specimens::coming_back()] {
            let secret = specimens::secret(&credential);
            let as_of = specimens::at(specimens::day(9) + 60);
            let mut view = ShowView::new(&credential.head.name, Some(&credential), Some(&secret), LAG, as_of);
            view.add_history(&told);
            pages.push_str(&view.page(&Look::PLAIN));
            pages.push('\n');
        }
        insta::assert_snapshot!("page_let_go_and_coming_back", pages);
    }

    #[test]
    fn a_brownout_shows_until_when_it_is_refused() {
        let credential = specimens::browning_out();
        let secret = specimens::secret(&credential);
        let as_of = specimens::at(specimens::day(4) + 60);
        let view = ShowView::new(&credential.head.name, Some(&credential), Some(&secret), LAG, as_of);
        let page = view.page(&Look::PLAIN);
        assert!(page.contains("deactivated/browning-out") && page.contains("bring back 2026-11-22"), "{page}");
        assert!(page.contains("brownouts  0 of 2 over; one is on: refused until 2026-11-22"), "{page}");
    }
}
