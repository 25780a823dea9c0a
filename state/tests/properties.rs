//! What holds of any credential, whatever happened to it and whatever is seen outside.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use proptest::prelude::*;
use state::Time;
use state::credential::{Credential, Drawn, Fingerprint, Proof, Replaces, Settlements, Stamp};
use state::decide::{
    AWSCURRENT, AWSPENDING, Action, CurrentValue, Decision, Drafted, Goal, Observed, Secret, Step, StrayValue, decide,
};
use state::evidence::{Ground, KeyUse, PlanUse, QuotaPeriod, Settlement, Sighting, Told, Usage};
use state::hold::{Hold, HoldReason};
use state::ledger::{Abandonment, Actor, Broken, Change, Event, Note, verify};
use state::lifecycle::{Phase, State};
use state::name::{CredentialName, Token};
use state::period::Period;
use state::policy::{BadPolicy, KindWishes, Policy, Schedule, Traces};
use state::rollback::can_come_back;

mod judge;

const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:partner/acme-Ab12Cd";

/// A fixed seed: a failure is the same failure for everybody.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 400,
        failure_persistence: None,
        rng_seed: prop::test_runner::RngSeed::Fixed(7),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_change_raises_revision_and_sequence_by_one_and_the_chain_holds(dice in lives()) {
        let (mut revision, mut events) = (0, Vec::new());
        live(&dice, |commit| {
            assert_eq!(commit.expected, revision);
            revision += 1;
            assert_eq!(commit.credential.head.revision, revision);
            events.extend(commit.event.clone());
            assert_eq!(commit.credential.head.ledger.seq, events.len() as u64);
            assert_eq!(events.last().map_or(0, |event| event.seq), events.len() as u64);
            let head = &commit.credential.head;
            verify(&head.name, &events, &head.ledger).expect("a chain");
        });
    }

    #[test]
    fn what_is_recorded_is_what_the_history_states(dice in lives()) {
        let mut events = Vec::new();
        live(&dice, |commit| {
            events.extend(commit.event.clone());
            let head = &commit.credential.head;
            let stated = Credential::stated(&head.name, &head.arn, None, &events, &head.ledger).expect("it holds");
            assert_eq!(commit.credential.differs_from(&stated), [], "after {:?}", events.last());
            let Some(floor) = head.floor else { return };
            let from = &events[floor.seq as usize - 1..];
            let stated = Credential::stated(&head.name, &head.arn, Some(floor), from, &head.ledger).expect("it holds");
            for (generation, version) in commit.credential.versions.range(floor.generation..) {
                let differ = version.differs_from(&stated.versions[generation]);
                assert_eq!(differ, [""; 0], "{generation} after {:?}", events.last());
            }
        });
    }

    #[test]
    fn a_change_touches_the_versions_that_it_says_and_no_others(dice in lives()) {
        let mut before = BTreeMap::new();
        live(&dice, |commit| {
            for (generation, version) in &commit.credential.versions {
                let changed = before.get(generation) != Some(version);
                assert!(!changed || commit.touched.contains(generation), "generation {generation} would not be stored");
            }
            before.clone_from(&commit.credential.versions);
        });
    }

    #[test]
    fn at_most_one_version_is_active_and_it_is_the_current_one(dice in lives()) {
        live(&dice, |commit| {
            let credential = &commit.credential;
            let active = credential.versions.values().filter(|v| v.state == State::Active);
            let active: Vec<u32> = active.map(|version| version.generation).collect();
            assert_eq!(active, credential.head.current.into_iter().collect::<Vec<_>>());
        });
    }

    #[test]
    fn the_key_set_and_the_standbys_are_what_the_records_say(dice in lives(), later in 0..2_000_000_i64) {
        let (credential, now) = live(&dice, |commit| judge::records(&commit.credential, commit.credential.head.ledger.at.expect("told")));
        judge::records(&credential, now + TimeDelta::seconds(later));
    }

    #[test]
    fn a_decision_never_panics_and_what_it_commits_can_be_applied(
        dice in lives(),
        whose in any::<u8>(),
        seen in prop::collection::vec(seen(), 1..10),
        later in prop::collection::vec(0..2_000_000_i64, 1..4),
    ) {
        let (credential, now) = live(&dice, |_| {});
        let token = any_token(&credential, whose);
        let steps = Step::ALL.map(|step| Goal::Step(step, token.clone()));
        let others = [Goal::Retire, Goal::Close, Goal::RollBack(any_generation(&credential, whose))];
        for goal in steps.iter().chain(&others) {
            for (seen, later) in seen.iter().flat_map(|seen| later.iter().map(move |later| (seen, later))) {
                let (observed, now) = (seen.observed(&credential), now + TimeDelta::seconds(*later));
                let decision = decide(goal, &credential, &observed, now);
                judge::decision(&credential, &observed, &decision, now);
                can_be_done(&credential, &observed, decision, now)?;
            }
        }
    }

    #[test]
    fn a_tampered_event_is_found_at_its_place(dice in lives(), which in any::<prop::sample::Index>(), how in 0..7_u8) {
        let mut events = Vec::new();
        let (credential, _) = live(&dice, |commit| events.extend(commit.event.clone()));
        prop_assume!(!events.is_empty());
        let at = which.index(events.len());
        let seq = events[at].seq;
        let head = &credential.head;
        let mut told = events.clone();
        tamper(&mut told[at], how);
        let broken = verify(&head.name, &told, &head.ledger).expect_err("changed");
        prop_assert_eq!(place(&broken), seq, "{}", broken);
    }

    #[test]
    fn a_missing_event_is_found_at_its_place(dice in lives(), which in any::<prop::sample::Index>()) {
        let mut events = Vec::new();
        let (credential, _) = live(&dice, |commit| events.extend(commit.event.clone()));
        prop_assume!(!events.is_empty());
        let at = which.index(events.len());
        let head = &credential.head;
        let removed = events.remove(at);
        let expected = match verify(&head.name, &events, &head.ledger).expect_err("one is missing") {
            Broken::Sequence { expected, .. } => expected,
            Broken::End { found, .. } => found + 1,
            broken @ (Broken::Previous { .. } | Broken::Hash { .. }) => panic!("{broken}"),
        };
        prop_assert_eq!(expected, removed.seq);
    }

    #[test]
    fn a_chain_fits_no_other_name(dice in lives()) {
        let mut events = Vec::new();
        let (credential, _) = live(&dice, |commit| events.extend(commit.event.clone()));
        prop_assume!(!events.is_empty());
        let other = CredentialName::parse("partner/other").expect("a name");
        prop_assert!(verify(&other, &events, &credential.head.ledger).is_err());
    }

    #[test]
    fn a_tampered_note_no_longer_fits_its_event(salt in "[0-9a-f]{8}", who in ".{0,20}", reason in ".{0,40}", how in 0..3_u8) {
        let note = Note { salt, who, reason };
        let now = Time::from_timestamp(1_800_000_000, 0).expect("a moment");
        let change = Change::Held { generation: None, hold: Hold::new(HoldReason::Denied, "x") };
        let commit = empty().apply(change, &stamp(now, Some(note.clone()))).expect("legal");
        prop_assert_eq!(commit.event.as_ref().and_then(|event| event.note.as_ref()), Some(&note.hash()));
        let mut other = note;
        match how {
            0 => other.salt.push('0'),
            1 => other.who.push('x'),
            _ => other.reason.insert(0, 'x'),
        }
        prop_assert_ne!(commit.event.and_then(|event| event.note), Some(other.hash()));
    }
}

fn can_be_done(
    credential: &Credential,
    observed: &Observed,
    decision: Decision,
    now: Time,
) -> Result<(), TestCaseError> {
    match decision {
        Decision::Perform(Action::Suspend(generation) | Action::Destroy(generation)) => {
            let version = &credential.versions[&generation];
            let secret = observed.secret.as_ref().expect("nothing is refused without a look at the labels");
            for label in [AWSCURRENT, AWSPENDING] {
                // A moment begins where no label is, and a label that comes later ends it no sooner.
                let has = |carrier: &Token| secret.has(carrier, label) && version.phase != Some(Phase::BrowningOut);
                prop_assert!(!version.carriers.iter().any(has), "I5: {}", label);
            }
        }
        Decision::Hold(generation, hold) => {
            if let Some(generation) = generation {
                prop_assert!(credential.versions.contains_key(&generation));
            }
            let held = credential.apply(Change::Held { generation, hold }, &stamp(now, None));
            prop_assert!(held.is_ok());
        }
        Decision::Look(_)
        | Decision::Perform(_)
        | Decision::Commit(_)
        | Decision::WaitUntil(_)
        | Decision::Refuse(_)
        | Decision::Done => {}
    }
    Ok(())
}

/// One throw: which change, of which version, and some variety.
type Dice = (u8, u8, u32);

/// Whether verifiers fetch the credential's keys, and what happens to it.
type Life = (bool, Vec<Dice>);

fn lives() -> impl Strategy<Value = Life> {
    (any::<bool>(), prop::collection::vec((any::<u8>(), any::<u8>(), 1..200_000_u32), 0..90))
}

fn empty() -> Credential {
    Credential::empty(CredentialName::parse("partner/acme").expect("a name"), ARN)
}

fn stamp(at: Time, note: Option<Note>) -> Stamp {
    Stamp { at, until: at + TimeDelta::minutes(5), actor: Actor::Rotation, note }
}

fn token(n: u32) -> Token {
    Token::parse(&format!("{n:08}-0000-4000-8000-000000000000")).expect("a token")
}

fn policy(publishes: bool, variety: u32) -> Policy {
    let mut tags = vec![
        ("kind", if publishes { "kms-signing-key" } else { "api-gateway-key" }.to_owned()),
        ("overlap", format!("P{}D", 1 + variety % 9)),
        ("soak", format!("PT{}H", 1 + variety % 50)),
        ("max-live", (2 + variety % 5).to_string()),
    ];
    let otherwise = |bit: u32| if variety & (1 << bit) == 0 { "hold" } else { "suspend" };
    tags.extend([
        ("idle-before-suspend", format!("PT{}M", [0, 10, 600][variety as usize % 3])),
        ("ceiling", format!("P{}D", variety % 30)),
        ("at-ceiling", otherwise(3).to_owned()),
        ("no-evidence", otherwise(4).to_owned()),
        ("if-deleted", otherwise(5).to_owned()),
        ("look-every", format!("PT{}M", 5 + variety % 90)),
    ]);
    if variety.is_multiple_of(2) {
        tags.push(("brownouts", "PT1M PT2M".to_owned()));
    }
    if publishes {
        tags.extend([
            ("standbys", (1 + variety % 2).to_string()),
            ("publish-lead", format!("PT{}H", 2 + variety % 40)),
            ("token-life", format!("PT{}M", 1 + variety % 90)),
            ("verifier-cache", format!("PT{}M", 1 + variety % 120)),
            ("slack", format!("PT{}S", 360 + variety % 900)),
        ]);
    }
    let tags = tags.into_iter().map(|(tag, value)| (format!("rotator:{tag}"), value)).collect();
    let kinds = [
        KindWishes {
            name: "api-gateway-key",
            tags: &[],
            publishes: false,
            disables: false,
            traces: Traces::UseAndAllowance,
        },
        KindWishes { name: "kms-signing-key", tags: &[], publishes: true, disables: true, traces: Traces::Use },
    ];
    Policy::from_tags(&tags, &kinds).expect("consistent")
}

/// Applies whatever of it is legal, as time goes by.
fn live((publishes, dice): &Life, mut told: impl FnMut(&state::credential::Commit)) -> (Credential, Time) {
    let mut credential = empty();
    let mut now = Time::from_timestamp(1_800_000_000, 0).expect("a moment");
    for (n, (kind, whose, variety)) in dice.iter().enumerate() {
        now += TimeDelta::seconds(i64::from(*variety));
        let fresh = token(u32::try_from(n).expect("few"));
        let change = change(&credential, *publishes, (*kind, *whose, *variety), fresh);
        let note = (kind % 5 == 0).then(|| Note { salt: "00".into(), who: "ada".into(), reason: "é\n\"x".into() });
        if let Ok(commit) = credential.apply(change, &stamp(now, note)) {
            told(&commit);
            credential = commit.credential;
        }
    }
    (credential, now)
}

fn change(credential: &Credential, publishes: bool, (kind, whose, variety): Dice, fresh: Token) -> Change {
    let known: Vec<u32> = credential.versions.keys().copied().collect();
    // Mostly one that is there, now and then one that is not.
    let generation = known.get(usize::from(whose) % (known.len() + 1)).copied().unwrap_or(u32::from(whose));
    let candidate = credential.head.candidate.unwrap_or(generation);
    let waiting = credential.head.standbys.first().copied();
    let provider = BTreeMap::from([("id".to_owned(), format!("k{variety}"))]);
    let minting = |generation| Change::Minting { generation, policy: policy(true, variety), drawn: None };
    match kind % 40 {
        0 if credential.head.current.is_none() => Change::Adopted {
            generation: credential.next_generation(),
            carrier: fresh,
            provider,
            policy: policy(publishes, variety),
            fingerprint: Some(Fingerprint::Made { mac: "bWFj".into(), key: "k".into() }),
        },
        1 => Change::Ordered { token: credential.next_token("emergency"), compromised: credential.accepted() },
        2 => Change::Abandoned { generation: candidate, why: Abandonment::OtherToken },
        3 => Change::Carried { generation, carrier: fresh },
        4 => Change::Held { generation: None, hold: Hold::new(HoldReason::Denied, "x") },
        5 => Change::Held { generation: Some(generation), hold: Hold::new(reason(variety), "y") },
        6 | 7 => Change::Suspending { generation, ground: ground(variety) },
        8 | 9 => Change::Suspended { generation, provider: BTreeMap::new() },
        10 => Change::Destroying { generation },
        11 => Change::Destroyed { generation },
        12 => {
            Change::Ordered { token: credential.next_token("emergency"), compromised: known_only(&known, generation) }
        }
        13 if publishes => Change::Returned { generation: candidate, why: Abandonment::LostPending },
        14 if publishes => Change::Disabling { generation, ground: None },
        15 if publishes => Change::Disabled { generation },
        16 if publishes => Change::Swept { generation, found: vec!["k0".into()] },
        24 | 25 => {
            Change::Witnessed { generation, usage: usage(credential, variety), settled: settled(credential, variety) }
        }
        26 => Change::BrowningOut { generation, until: moment(credential, variety) },
        27 => Change::BrownedOut { generation, refused: (variety % 2 == 0).then_some(7), ours: u64::from(variety % 5) },
        28 if variety % 4 == 0 => Change::Requested { token: fresh },
        28 => Change::Waived { generation },
        29 | 30 if credential.versions.get(&generation).is_some_and(|v| can_come_back(credential, v).is_ok()) => {
            Change::RollingBack { generation, replaces: replaces(credential) }
        }
        31 if variety % 2 == 0 => Change::Claimed { generation },
        31 => Change::Vanished { generation },
        32 | 33 => Change::Restored { generation, provider: if variety % 2 == 0 { BTreeMap::new() } else { provider } },
        34 => Change::Forsaken { generation, why: Abandonment::Expired },
        35 => Change::Refused {
            generation,
            after: (variety % 2 == 0).then_some(Period::seconds(u64::from(variety))),
            unproved: (variety % 2 == 1).then(|| "its value is gone".into()),
        },
        36 if variety % 8 == 0 => Change::Closed { generation: credential.head.current.unwrap_or(generation) },
        37 => Change::Disabling { generation, ground: ground(variety) },
        38 => Change::Recovered { generation, provider },
        39 => {
            Change::Mended { finding: "PlanAdded".into(), subject: "x".into(), generation: Some(generation), provider }
        }
        17 if publishes => minting(waiting.unwrap_or_else(|| credential.next_generation())),
        _ => match credential.candidate().and_then(|version| version.phase) {
            None if publishes => match waiting.map(|generation| (generation, credential.versions[&generation].phase)) {
                None => minting(credential.next_generation()),
                Some((generation, Some(Phase::Minting))) => {
                    Change::Minted { generation, provider, found: variety % 3 == 0 }
                }
                Some((generation, Some(_))) => Change::Published { generation, provider: BTreeMap::new() },
                // One in three makes way for another first, so that there are several.
                Some((_, None)) if variety % 3 == 0 => minting(credential.next_generation()),
                Some((generation, None)) => drafting(credential, generation, policy(true, variety), fresh),
            },
            None => drafting(credential, credential.next_generation(), policy(false, variety), fresh),
            Some(Phase::Drafting) => {
                let also = credential.head.current.filter(|_| variety % 2 == 0);
                Change::Drafted { generation: candidate, provider: BTreeMap::new(), fingerprint: None, also }
            }
            Some(Phase::Admitting) => Change::Admitted { generation: candidate, provider, evidence: BTreeMap::new() },
            Some(Phase::Proving) => Change::Proved { generation: candidate, proof: proof() },
            Some(_) => Change::Promoted { generation: candidate },
        },
    }
}

fn drafting(credential: &Credential, generation: u32, policy: Policy, token: Token) -> Change {
    Change::Drafting { generation, token, policy, replaces: replaces(credential), drawn: None, trigger: None }
}

fn replaces(credential: &Credential) -> Replaces {
    let carrier = credential.current().and_then(|version| version.carriers.last().cloned());
    Replaces { generation: credential.head.current, carrier }
}

fn ground(variety: u32) -> Option<Ground> {
    let grounds = [Ground::Ungated, Ground::Unused, Ground::NoEvidence, Ground::Ceiling, Ground::Waived];
    grounds.get(variety as usize % 6).copied()
}

/// Somewhere around the last event.
fn moment(credential: &Credential, variety: u32) -> Time {
    let at = credential.head.ledger.at.unwrap_or_else(|| Time::from_timestamp(1_800_000_000, 0).expect("a moment"));
    at + TimeDelta::seconds(i64::from(variety % 7200) - 3600)
}

fn usage(credential: &Credential, variety: u32) -> Usage {
    let looked = moment(credential, variety);
    Usage {
        source: "GetUsage".into(),
        looked,
        seen_until: looked - TimeDelta::hours(1),
        told: !variety.is_multiple_of(5),
        silent: variety % 7 == 1,
        used: (!variety.is_multiple_of(3)).then_some(u64::from(variety)),
        first: (!variety.is_multiple_of(3)).then_some(5),
        last_used: (!variety.is_multiple_of(4)).then(|| looked - TimeDelta::minutes(i64::from(variety % 4000))),
    }
}

fn settled(credential: &Credential, variety: u32) -> Settlements {
    if variety.is_multiple_of(2) {
        return Settlements::new();
    }
    let used = BTreeMap::from([(format!("k{}", variety % 3), i64::from(variety % 300))]);
    let (allowance, since) = (1000, moment(credential, variety).date_naive());
    let remaining = allowance - i64::from(variety % 300);
    Settlements::from([("p1".into(), Settlement { since, allowance, used, remaining, shown: variety % 4 == 1 })])
}

fn any_generation(credential: &Credential, whose: u8) -> u32 {
    let known = u32::try_from(credential.versions.len()).expect("few");
    u32::from(whose) % (known + 2)
}

fn reason(variety: u32) -> HoldReason {
    if variety.is_multiple_of(2) { HoldReason::LabelMoved } else { HoldReason::ReplicaBehind }
}

fn known_only(known: &[u32], generation: u32) -> Vec<u32> {
    known.iter().copied().filter(|known| *known == generation).collect()
}

fn proof() -> Proof {
    Proof { proven: vec!["a1b2c3/prod/ping".into()], unproven: Vec::new() }
}

fn any_token(credential: &Credential, whose: u8) -> Token {
    let carriers: Vec<&Token> = credential.versions.values().flat_map(|version| &version.carriers).collect();
    carriers.get(usize::from(whose) % (carriers.len() + 1)).map_or_else(|| token(99), |token| (*token).clone())
}

/// What a look outside might show, in terms that fit any credential.
#[derive(Clone, Debug)]
struct Seen {
    secret: Option<(bool, bool, bool, u8)>,
    holders: (u8, u8),
    known: Vec<u8>,
    current: u8,
    stray: u8,
    flags: u32,
    whose: u8,
}

fn seen() -> impl Strategy<Value = Seen> {
    (
        prop::option::weighted(
            0.9,
            (prop::bool::weighted(0.05), prop::bool::weighted(0.05), prop::bool::weighted(0.9), any::<u8>()),
        ),
        any::<(u8, u8)>(),
        prop::collection::vec(any::<u8>(), 0..5),
        0..5_u8,
        0..3_u8,
        any::<u32>(),
        any::<u8>(),
    )
        .prop_map(|(secret, holders, known, current, stray, flags, whose)| Seen {
            secret,
            holders,
            known,
            current,
            stray,
            flags,
            whose,
        })
}

impl Seen {
    /// Random figures of three keys in two plans.
    fn sighting(&self, credential: &Credential) -> Sighting {
        let seen_until = moment(credential, self.flags);
        let mut plans = BTreeMap::new();
        for (n, period) in [QuotaPeriod::Day, QuotaPeriod::Week, QuotaPeriod::Month].into_iter().enumerate() {
            let figure = |by: u32| i64::from(self.flags.rotate_left(by) % 600);
            let key = |by: u32| KeyUse { used: figure(by), left: figure(by + 5) };
            let told = (self.flags.rotate_right(7) % 4) as usize;
            let keys = (0..told).map(|key| format!("k{key}")).zip([key(3), key(9), key(17)]).collect();
            let untold = (told..3).map(|key| format!("k{key}")).collect();
            plans.insert(format!("p{n}"), PlanUse { period, keys, untold });
        }
        let told = match self.flags % 4 {
            0 => Told::Nothing,
            1 => Told::Last(None),
            2 => Told::Last(Some(seen_until - TimeDelta::minutes(i64::from(self.whose)))),
            _ => Told::Count(u64::from(self.flags), (self.whose > 99).then_some(seen_until)),
        };
        Sighting { source: "GetUsage".into(), seen_until, told, plans, callers: Vec::new() }
    }

    fn observed(&self, credential: &Credential) -> Observed {
        let flag = |n: u32| self.flags & (1 << n) != 0;
        let facts = BTreeMap::from([("id".to_owned(), "k1".to_owned())]);
        let generation = credential
            .versions
            .keys()
            .nth(usize::from(self.whose) % credential.versions.len().max(1))
            .copied()
            .unwrap_or(1);
        Observed {
            secret: self.secret.map(|(replaced, deleted, enabled, variety)| {
                self.secret(credential, replaced, deleted, enabled, variety)
            }),
            current: match self.current {
                0 => Some(CurrentValue::WithoutKey),
                1 => Some(CurrentValue::Unknown),
                2 => Some(CurrentValue::Key(facts.clone(), None)),
                3 => credential.current().map(|version| CurrentValue::Key(version.provider.clone(), None)),
                _ => None,
            },
            stray: match self.stray {
                0 => Some(StrayValue::Preflight),
                1 => Some(StrayValue::Other),
                _ => None,
            },
            checked: flag(0),
            drawn: flag(24).then(|| Drawn { id: uuid::Uuid::from_u128(u128::from(self.flags)), commitment: None }),
            minted: flag(10).then(|| (generation, facts.clone(), flag(11))),
            missing: flag(12).then_some(generation),
            equipped: flag(13).then(|| (generation, BTreeMap::new())),
            drafted: flag(1).then(|| Drafted {
                provider: facts.clone(),
                fingerprint: None,
                also: credential.head.current.filter(|_| flag(14)),
            }),
            admitted: flag(2).then(|| (facts.clone(), BTreeMap::new())),
            proof: flag(3).then(proof),
            confirmed: flag(4),
            // Nobody moves a label before that.
            moved: flag(5) && credential.candidate().is_some_and(|version| version.phase == Some(Phase::Promoting)),
            readable: flag(17).then_some(flag(18)),
            sighting: flag(22).then(|| (generation, self.sighting(credential))),
            settled: flag(23).then(|| settled(credential, self.flags)),
            restored: flag(19).then(|| (generation, facts.clone())),
            relit: flag(20).then_some((generation, None, 3)),
            refused: flag(21).then(|| (generation, Err("nobody can tell".to_owned()))),
            disabled: flag(15).then_some(generation),
            swept: flag(16).then(|| (generation, vec!["k0".to_owned()])),
            suspended: flag(6).then(|| (generation, facts.clone())),
            destroyed: flag(7).then_some(generation),
            preflighted: flag(8),
            inventory: None,
            moved_back: flag(17),
            unpended: flag(18).then(|| any_token(credential, self.whose)),
            stuck: BTreeSet::new(),
            ours: if flag(9) { BTreeSet::from([generation]) } else { BTreeSet::new() },
        }
    }

    fn secret(
        &self,
        credential: &Credential,
        replaced: bool,
        deleted: bool,
        rotation_enabled: bool,
        variety: u8,
    ) -> Secret {
        let mut labels: BTreeMap<Token, BTreeSet<String>> = BTreeMap::new();
        for known in &self.known {
            labels.entry(any_token(credential, *known)).or_default();
        }
        let by_the_book = !variety.is_multiple_of(3);
        let current = credential.current().and_then(|version| version.carriers.last().cloned()).filter(|_| by_the_book);
        let pending = credential.candidate().and_then(|version| version.token().cloned()).filter(|_| by_the_book);
        // An owner who has changed the kind is rare.
        let publishes = (credential.head.kind == "kms-signing-key") != variety.is_multiple_of(17);
        for (holder, label, whose) in [(current, AWSCURRENT, self.holders.0), (pending, AWSPENDING, self.holders.1)] {
            let holder = holder.or_else(|| (whose % 4 > 0).then(|| any_token(credential, whose)));
            if let Some(holder) = holder {
                labels.entry(holder).or_default().insert(label.to_owned());
            }
        }
        Secret {
            arn: if replaced { format!("{ARN}x") } else { ARN.to_owned() },
            deleted,
            gone: deleted && variety.is_multiple_of(2),
            rotation_enabled,
            labels,
            wishes: if variety.is_multiple_of(16) {
                Err(BadPolicy::NoKind)
            } else {
                Ok(policy(publishes, variety.into()))
            },
            schedule: Schedule {
                expression: (variety.is_multiple_of(5)).then(|| format!("rate({} days)", variety)),
                after_days: None,
            },
            created: None,
            last_rotated: None,
            replicas_behind: if variety.is_multiple_of(7) { vec!["eu-central-1".into()] } else { Vec::new() },
        }
    }
}

fn tamper(event: &mut Event, how: u8) {
    match how {
        0 => event.at += TimeDelta::milliseconds(1),
        1 => event.actor = if event.actor == Actor::Operator { Actor::Rotation } else { Actor::Operator },
        2 => event.note = Some(event.note.as_ref().map_or("00".into(), |note| format!("{note}0"))),
        3 => event.schema += 1,
        4 => event.previous.insert(0, '0'),
        5 => event.hash.insert(0, '0'),
        _ => event.change = Change::Destroyed { generation: 77 },
    }
}

fn place(broken: &Broken) -> u64 {
    match broken {
        Broken::Sequence { expected, .. } => *expected,
        Broken::Previous { seq, .. } | Broken::Hash { seq, .. } => *seq,
        Broken::End { found, .. } => *found,
    }
}
