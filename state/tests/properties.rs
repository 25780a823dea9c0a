//! What holds of any credential, whatever happened to it and whatever is seen outside.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use proptest::prelude::*;
use state::Time;
use state::credential::{Credential, Fingerprint, Proof, Replaces, Stamp};
use state::decide::{
    AWSCURRENT, AWSPENDING, Action, CurrentValue, Decision, Goal, Observed, Secret, Step, StrayValue, decide,
};
use state::hold::{Hold, HoldReason};
use state::ledger::{Abandonment, Actor, Broken, Change, Event, Note, verify};
use state::name::{CredentialName, Token};
use state::policy::{BadPolicy, Policy, Schedule};

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
            assert_eq!(commit.event.seq, revision);
            assert_eq!(commit.credential.head.ledger.seq, revision);
            events.push(commit.event.clone());
            let head = &commit.credential.head;
            verify(&head.name, &events, &head.ledger).expect("a chain");
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
            let active = credential.versions.values().filter(|v| v.state == state::lifecycle::State::Active);
            let active: Vec<u32> = active.map(|version| version.generation).collect();
            assert_eq!(active, credential.head.current.into_iter().collect::<Vec<_>>());
        });
    }

    #[test]
    fn a_decision_never_panics_and_what_it_commits_can_be_applied(
        dice in lives(),
        step in 0..5_usize,
        whose in any::<u8>(),
        seen in seen(),
        later in 0..2_000_000_i64,
    ) {
        let (credential, now) = live(&dice, |_| {});
        let goal = match Step::ALL.get(step) {
            Some(step) => Goal::Step(*step, any_token(&credential, whose)),
            None => Goal::Retire,
        };
        let observed = seen.observed(&credential);
        let now = now + TimeDelta::seconds(later);
        let secret = observed.secret.clone();
        match decide(&goal, &credential, &observed, now) {
            Decision::Commit(change) => {
                credential.apply(change, &stamp(now, None)).expect("a decided change is a legal one");
            }
            Decision::Perform(Action::Suspend(generation) | Action::Destroy(generation)) => {
                let version = &credential.versions[&generation];
                let secret = secret.expect("nothing is refused without a look at the labels");
                for label in [AWSCURRENT, AWSPENDING] {
                    prop_assert!(!version.carriers.iter().any(|carrier| secret.has(carrier, label)), "I5: {}", label);
                }
                prop_assert!(version.phase.is_some(), "the intent comes first");
            }
            Decision::Perform(Action::Promote(generation)) => {
                let version = &credential.versions[&generation];
                prop_assert!(version.proof.is_some(), "I3: nothing becomes active before it is proved");
            }
            Decision::Hold(generation, hold) => {
                if let Some(generation) = generation {
                    prop_assert!(credential.versions.contains_key(&generation));
                }
                let held = credential.apply(Change::Held { generation, hold }, &stamp(now, None));
                prop_assert!(held.is_ok());
            }
            Decision::Look(_) | Decision::Perform(_) | Decision::WaitUntil(_) | Decision::Refuse(_) | Decision::Done => {}
        }
    }

    #[test]
    fn a_tampered_event_is_found_at_its_place(dice in lives(), which in any::<prop::sample::Index>(), how in 0..7_u8) {
        let mut events = Vec::new();
        let (credential, _) = live(&dice, |commit| events.push(commit.event.clone()));
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
        let (credential, _) = live(&dice, |commit| events.push(commit.event.clone()));
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
        let (credential, _) = live(&dice, |commit| events.push(commit.event.clone()));
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
        prop_assert_eq!(commit.event.note.as_ref(), Some(&note.hash()));
        let mut other = note;
        match how {
            0 => other.salt.push('0'),
            1 => other.who.push('x'),
            _ => other.reason.insert(0, 'x'),
        }
        prop_assert_ne!(commit.event.note, Some(other.hash()));
    }
}

/// One throw: which change, of which version, and some variety.
type Dice = (u8, u8, u32);

fn lives() -> impl Strategy<Value = Vec<Dice>> {
    prop::collection::vec((any::<u8>(), any::<u8>(), 1..200_000_u32), 0..40)
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

fn policy(variety: u32) -> Policy {
    let tags = [
        ("rotator:kind", "api-gateway-key".to_owned()),
        ("rotator:overlap", format!("P{}D", 1 + variety % 9)),
        ("rotator:soak", format!("PT{}H", 1 + variety % 50)),
        ("rotator:max-live", (2 + variety % 5).to_string()),
    ];
    let tags = tags.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Policy::from_tags(&tags, &[("api-gateway-key", &[])]).expect("consistent")
}

/// Applies whatever of it is legal, as time goes by.
fn live(dice: &[Dice], mut told: impl FnMut(&state::credential::Commit)) -> (Credential, Time) {
    let mut credential = empty();
    let mut now = Time::from_timestamp(1_800_000_000, 0).expect("a moment");
    for (n, (kind, whose, variety)) in dice.iter().enumerate() {
        now += TimeDelta::seconds(i64::from(*variety));
        let fresh = token(u32::try_from(n).expect("few"));
        let change = change(&credential, *kind, *whose, *variety, fresh);
        let note = (kind % 5 == 0).then(|| Note { salt: "00".into(), who: "ada".into(), reason: "é\n\"x".into() });
        if let Ok(commit) = credential.apply(change, &stamp(now, note)) {
            told(&commit);
            credential = commit.credential;
        }
    }
    (credential, now)
}

fn change(credential: &Credential, kind: u8, whose: u8, variety: u32, fresh: Token) -> Change {
    let known: Vec<u32> = credential.versions.keys().copied().collect();
    // Mostly one that is there, now and then one that is not.
    let generation = known.get(usize::from(whose) % (known.len() + 1)).copied().unwrap_or(u32::from(whose));
    let candidate = credential.head.candidate.unwrap_or(generation);
    let provider = BTreeMap::from([("id".to_owned(), format!("k{variety}"))]);
    match kind % 18 {
        0 if credential.head.current.is_none() => Change::Adopted {
            generation: credential.next_generation(),
            carrier: fresh,
            provider,
            policy: policy(variety),
            fingerprint: Some(Fingerprint { mac: "bWFj".into(), key: "k".into() }),
        },
        1 => Change::Ordered { token: credential.next_token("emergency"), compromised: credential.accepted() },
        2 => Change::Abandoned { generation: candidate, why: Abandonment::OtherToken },
        3 => Change::Carried { generation, carrier: fresh },
        4 => Change::Held { generation: None, hold: Hold::new(HoldReason::Denied, "x") },
        5 => Change::Held { generation: Some(generation), hold: Hold::new(HoldReason::LabelMoved, "y") },
        6 | 7 => Change::Suspending { generation },
        8 | 9 => Change::Suspended { generation, provider: BTreeMap::new() },
        10 => Change::Destroying { generation },
        11 => Change::Destroyed { generation },
        _ => match credential.candidate().and_then(|version| version.phase) {
            None => Change::Drafting {
                generation: credential.next_generation(),
                token: fresh,
                policy: policy(variety),
                replaces: Replaces {
                    generation: credential.head.current,
                    carrier: credential.current().and_then(|version| version.carriers.last().cloned()),
                },
            },
            Some(state::lifecycle::Phase::Drafting) => {
                Change::Drafted { generation: candidate, provider, fingerprint: None }
            }
            Some(state::lifecycle::Phase::Admitting) => {
                Change::Admitted { generation: candidate, provider, evidence: BTreeMap::new() }
            }
            Some(state::lifecycle::Phase::Proving) => Change::Proved { generation: candidate, proof: proof() },
            Some(_) => Change::Promoted { generation: candidate },
        },
    }
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
    flags: u16,
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
        any::<u16>(),
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
    fn observed(&self, credential: &Credential) -> Observed {
        let flag = |n: u16| self.flags & (1 << n) != 0;
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
            drafted: flag(1).then(|| (facts.clone(), None)),
            admitted: flag(2).then(|| (facts.clone(), BTreeMap::new())),
            proof: flag(3).then(proof),
            confirmed: flag(4),
            moved: flag(5),
            suspended: flag(6).then(|| (generation, facts.clone())),
            destroyed: flag(7).then_some(generation),
            preflighted: flag(8),
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
        let pending = credential.candidate().map(|version| version.carriers[0].clone()).filter(|_| by_the_book);
        for (holder, label, whose) in [(current, AWSCURRENT, self.holders.0), (pending, AWSPENDING, self.holders.1)] {
            let holder = holder.or_else(|| (whose % 4 > 0).then(|| any_token(credential, whose)));
            if let Some(holder) = holder {
                labels.entry(holder).or_default().insert(label.to_owned());
            }
        }
        Secret {
            arn: if replaced { format!("{ARN}x") } else { ARN.to_owned() },
            deleted,
            rotation_enabled,
            labels,
            wishes: if variety.is_multiple_of(16) { Err(BadPolicy::NoKind) } else { Ok(policy(variety.into())) },
            schedule: Schedule {
                expression: (variety.is_multiple_of(5)).then(|| format!("rate({} days)", variety)),
                after_days: None,
            },
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
