//! What a rotation, a rollback or a retirement would do to each version: shown before it is done.

use rotator::aws::records::Told;
use rotator::engine::Engine;
use rotator::failure::BadInput;
use rotator::rotate::Compromised;
use serde::Serialize;
use state::Time;
use state::credential::{Credential, Version};
use state::lifecycle::State;
use state::name::CredentialName;
use state::policy::{Otherwise, Policy};

use super::consent::{Plan, Unasked};
use super::show::retirement::UsageView;
use crate::output::{Look, View, harmless, moment, paragraph, short_id};
use crate::trouble::Outcome;

/// What `rotator rotate`, `rollback` and `retire` would do.
///
/// ```json
/// {"plan": "emergency", "name": "partner/acme", "versions": [
///   {"generation": null, "state": null, "key": null, "becomes": "current", "refusedFrom": null,
///    "what": ["..."], "bringsBack": null, "usage": null},
///   {"generation": 1, "state": "deactivated", "key": "k1", "becomes": "refused", "refusedFrom": "...",
///    "what": ["..."], "bringsBack": null, "usage": {"source": "GetUsage", "told": true, "requests": 412,
///      "lastUsed": "...", "looked": "...", "seenUntil": "...", "nextLook": "...", "callers": ["..."],
///      "callersErased": false}}]}
/// ```
///
/// `plan` is `rotation`, `emergency`, `rollback` or `retirement`. `versions` are those to which something happens;
/// `generation` is null of a key that is yet to be made. `becomes` is `current`, `deactivated` (accepted, for its overlap
/// at least) or `refused`; `refusedFrom` is null where that follows something else, or waits for the last user. `what`
/// says it in words. `bringsBack` is the command that undoes it, for as long as the key is there. `usage` is what is known
/// of a deactivated key's use, as `rotator show` has it.
#[derive(Debug, Serialize)]
pub struct PlanView {
    plan: Deed,
    name: CredentialName,
    versions: Vec<FateView>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    Rotation,
    Emergency,
    Rollback,
    Retirement,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Becomes {
    Current,
    Deactivated,
    Refused,
}

/// What becomes of one version.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FateView {
    generation: Option<u32>,
    state: Option<String>,
    key: Option<String>,
    becomes: Becomes,
    refused_from: Option<Time>,
    what: Vec<String>,
    brings_back: Option<String>,
    usage: Option<UsageView>,
}

impl PlanView {
    /// Of a rotation that a person starts; `compromised` in an emergency.
    pub fn rotation(credential: &Credential, compromised: Option<&Compromised>, now: Time) -> Result<Self, BadInput> {
        let refused = match compromised {
            Some(compromised) => compromised.of(credential)?,
            None => Vec::new(),
        };
        let mut versions = vec![incoming(credential, &refused)];
        for version in credential.versions.values().rev() {
            if refused.contains(&version.generation) {
                versions.push(compromised_fate(version, now));
            } else if version.state == State::Active {
                versions.push(superseded(version, &credential.head.name));
            }
        }
        let plan = if compromised.is_some() { Deed::Emergency } else { Deed::Rotation };
        // Its new version is current: whoever repeats the command only goes on following.
        let is_done = compromised.is_some() && credential.head.order.as_ref().is_some_and(|order| order.promoted);
        if is_done {
            versions.clear();
        }
        Ok(Self { plan, name: credential.head.name.clone(), versions })
    }

    /// Of a rollback to that generation.
    pub fn rollback(credential: &Credential, to: u32) -> Self {
        let what = |version: &Version| match version.state {
            State::Suspended => "accepted again, and current once a test has proved it",
            State::PreActivation | State::Active | State::Deactivated | State::Destroyed => {
                "current again once a test has proved it"
            }
        };
        let back = credential.versions.get(&to);
        let back = back.map(|version| FateView::new(version, Becomes::Current, None, [what(version).into()]));
        let name = &credential.head.name;
        let current = credential.current().map(|version| superseded(version, name));
        Self { plan: Deed::Rollback, name: name.clone(), versions: back.into_iter().chain(current).collect() }
    }

    /// Of letting that version go.
    pub fn retirement(credential: &Credential, version: &Version, now: Time) -> Self {
        let name = &credential.head.name;
        let end = version.refuse_at().map(|at| at.max(now));
        let signs = version.disable_at.is_some() && version.disabled.is_none();
        let (ends, soak) = (if signs { "signs nothing" } else { "refused" }, version.policy.soak);
        let mut what = vec![match end.filter(|at| *at > now) {
            Some(at) => format!("{ends} from {} on, the end of its overlap, whoever still uses it", moment(at)),
            None => format!("{ends} within a minute, whoever still uses it"),
        }];
        what.extend(version.policy.trusts_for().map(|time| format!("what it signed is accepted for {time} more")));
        what.push(match version.published {
            Some(_) => "until it leaves the key set it can be brought back".to_owned(),
            None => format!("{soak} after that it is deleted; until then it can be brought back"),
        });
        let fate = FateView::new(version, Becomes::Refused, end, what).brought_back(name);
        Self { plan: Deed::Retirement, name: name.clone(), versions: vec![fate] }
    }

    /// Adds who still uses the old keys, where an access log names them. A plan without names is better than none.
    pub async fn add_callers(&mut self, engine: &Engine) {
        let has_log = |fate: &FateView| fate.usage.as_ref().is_some_and(UsageView::has_log);
        if !self.versions.iter().any(has_log) {
            return;
        }
        if let Ok(history) = engine.records.history(&self.name).await {
            self.name_callers(&history);
        }
    }

    fn name_callers(&mut self, history: &[Told]) {
        for fate in &mut self.versions {
            if let Some((usage, generation)) = fate.usage.as_mut().zip(fate.generation) {
                usage.name_callers(generation, history);
            }
        }
    }
}

/// The version that becomes current.
fn incoming(credential: &Credential, refused: &[u32]) -> FateView {
    let mut what = Vec::new();
    if let Some(candidate) = credential.candidate() {
        let generation = candidate.generation;
        what.push(format!("generation {generation} is coming in already, and comes first to its end"));
    }
    let ready = credential.standbys().into_iter().find(|standby| !refused.contains(&standby.generation));
    if let Some(standby) = ready {
        let since = standby.published.map_or(String::new(), |at| format!(", published since {}", moment(at)));
        what.push(format!("current once a test has proved it{since}"));
        return FateView::new(standby, Becomes::Current, None, what);
    }
    what.push("made, and current once a test has proved it".to_owned());
    let becomes = Becomes::Current;
    FateView {
        generation: None,
        state: None,
        key: None,
        becomes,
        refused_from: None,
        what,
        brings_back: None,
        usage: None,
    }
}

/// The version that was current, and is deactivated like any other.
fn superseded(version: &Version, name: &CredentialName) -> FateView {
    let policy = &version.policy;
    let mut what = match policy.signs_for() {
        Some(signs) => {
            vec![format!("signs for {signs} more"), format!("what it signed is accepted for {}", policy.overlap)]
        }
        None => vec![format!("accepted for {} more", policy.overlap)],
    };
    what.push(afterwards(version));
    FateView::new(version, Becomes::Deactivated, None, what).brought_back(name)
}

/// What follows a key's overlap.
fn afterwards(version: &Version) -> String {
    let Policy { watch, publication, .. } = &version.policy;
    let end = match publication {
        Some(publication) if publication.disables => "disabled",
        Some(_) => "withdrawn from the key set",
        None => "refused",
    };
    match watch.as_ref().filter(|_| version.is_gated()) {
        None => format!("then {end}"),
        Some(watch) if watch.at_ceiling == Otherwise::Suspend => {
            format!("then {end} once it is unused, at the latest {} later", watch.ceiling)
        }
        Some(_) => format!("then {end} once it is unused"),
    }
}

/// A version that a stranger knows.
fn compromised_fate(version: &Version, now: Time) -> FateView {
    let (when, mut what) = match version.state {
        State::PreActivation => (None, vec!["never becomes current".to_owned()]),
        State::Active => (
            None,
            vec![
                "refused as soon as the new key is current".to_owned(),
                "whoever uses it fails until they read the new value".to_owned(),
            ],
        ),
        State::Deactivated => (Some(now), vec!["refused within a minute, whoever still uses it".to_owned()]),
        State::Suspended | State::Destroyed => (version.suspended, vec!["refused already".to_owned()]),
    };
    if let Some(publication) = version.policy.publication.as_ref().filter(|_| version.state.is_accepted()) {
        what.push("its tokens are refused too".to_owned());
        what.push(format!("a verifier that cached the key set may trust it for {} more", publication.verifier_cache));
    }
    what.push("nothing brings it back".to_owned());
    FateView::new(version, Becomes::Refused, when, what)
}

impl FateView {
    fn new(
        version: &Version,
        becomes: Becomes,
        refused_from: Option<Time>,
        what: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            generation: Some(version.generation),
            state: Some(version.place().to_string()),
            key: version.provider.get("id").map(|id| short_id(id).to_owned()),
            becomes,
            refused_from,
            what: what.into_iter().collect(),
            brings_back: None,
            usage: UsageView::of(version).filter(|_| version.state == State::Deactivated),
        }
    }

    fn brought_back(mut self, name: &CredentialName) -> Self {
        let generation = self.generation;
        self.brings_back = generation.map(|to| format!("rotator rollback {name} --to {to} --reason TEXT"));
        self
    }

    fn page(&self) -> String {
        let who = match (self.generation, &self.state) {
            (Some(generation), Some(state)) => {
                let key = self.key.as_ref().map_or(String::new(), |key| format!(", key {key}"));
                format!("generation {generation} ({state}{key})")
            }
            (_, _) => "a new key".to_owned(),
        };
        let mut page = paragraph(2, &format!("{who}: {}", self.what.join("; ")));
        if let Some(command) = &self.brings_back {
            // On one line, or nobody could paste it.
            page += &format!("    brings it back: {}\n", harmless(command));
        }
        if let Some(usage) = &self.usage {
            page += &paragraph(4, &format!("use: {}", usage.page()));
            for (label, user) in usage.users() {
                let label = if label.is_empty() { label.to_owned() } else { format!("{label}: ") };
                page += &paragraph(if label.is_empty() { 6 } else { 4 }, &format!("{label}{user}"));
            }
        }
        page
    }
}

impl Plan for PlanView {
    const UNASKED: Unasked = Unasked::IsDone;

    fn changes(&self) -> bool {
        !self.versions.is_empty()
    }

    fn outcome(&self) -> Outcome {
        Outcome::Done
    }
}

impl View for PlanView {
    fn page(&self, _: &Look) -> String {
        let name = &self.name;
        let what = match self.plan {
            Deed::Rotation => format!("{name}: a rotation"),
            Deed::Emergency => format!("{name}: an emergency rotation"),
            Deed::Rollback => format!("{name}: a rollback"),
            Deed::Retirement => format!("{name}: an old version is let go"),
        };
        if self.versions.is_empty() {
            return format!("{what}; nothing is left to be done\n");
        }
        self.versions.iter().fold(what + "\n", |page, fate| page + &fate.page())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimens::{self, at, day};

    fn emergency((credential, history): (Credential, Vec<Told>), compromised: &Compromised, now: Time) -> PlanView {
        let mut plan = PlanView::rotation(&credential, Some(compromised), now).unwrap();
        plan.name_callers(&history);
        plan
    }

    #[test]
    fn the_pages() {
        let (waiting, now) = (specimens::waiting().0, at(day(9)));
        let plans = [
            emergency(specimens::waiting(), &Compromised::All, now),
            emergency(specimens::waiting(), &Compromised::Generations(Vec::new()), now),
            emergency(specimens::signing_told(), &Compromised::Generations(vec![2, 3]), now),
            PlanView::rotation(&waiting, None, now).unwrap(),
            PlanView::rollback(&specimens::let_go().0, 1),
            PlanView::rollback(&specimens::rotated(), 1),
            PlanView::retirement(&waiting, &waiting.versions[&1], now),
            PlanView::retirement(&specimens::rotated(), &specimens::rotated().versions[&1], at(day(1))),
        ];
        let pages: Vec<String> = plans.iter().map(|plan| plan.page(&Look::PLAIN)).collect();
        insta::assert_snapshot!(pages.join("\n"));
        assert!(pages.iter().flat_map(|page| page.lines()).all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn the_json() {
        let plan = emergency(specimens::waiting(), &Compromised::All, at(day(9)));
        insta::assert_snapshot!(crate::output::json(&plan));
    }

    #[test]
    fn what_is_unknown_is_refused() {
        let unknown = Compromised::Generations(vec![7]);
        let refused = PlanView::rotation(&specimens::rotated(), Some(&unknown), at(day(1))).unwrap_err();
        assert!(refused.to_string().contains("no generation 7"), "{refused}");
    }
}
