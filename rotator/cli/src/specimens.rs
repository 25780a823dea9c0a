//! Credentials for the tests of views.

use std::collections::{BTreeMap, BTreeSet};

use rotator::aws::records::Told;
use state::Time;
use state::credential::Proof;
use state::credential::{Commit, Credential, Replaces, Stamp};
use state::decide::Secret;
use state::evidence::{Ground, Settlement, Usage};
use state::hold::{Hold, HoldReason};
use state::ledger::{Actor, Change, Note};
use state::name::{CredentialName, Token};
use state::policy::{KindWishes, Policy, Schedule, Traces};
use state::trigger::Trigger;

const API_GATEWAY_KEY: KindWishes<'_> = KindWishes {
    name: "api-gateway-key",
    tags: &["usage-plans", "probe"],
    publishes: false,
    disables: false,
    traces: Traces::UseAndAllowance,
};

const KMS_SIGNING_KEY: KindWishes<'_> = KindWishes {
    name: "kms-signing-key",
    tags: &["algorithm", "rsa-bits", "signers"],
    publishes: true,
    disables: true,
    traces: Traces::Use,
};

/// So many seconds after the samples' beginning.
pub fn at(seconds: i64) -> Time {
    Time::from_timestamp(1_795_000_000 + seconds, 0).unwrap()
}

/// One rotation done: generation 2 is current, 1 in its overlap.
pub fn rotated() -> Credential {
    story("partner/acme").0
}

/// A third version that does not go on, and whose hold quotes a hostile name.
pub fn held() -> Credential {
    let (credential, commits) = story("partner/globex");
    let policy = credential.versions[&2].policy.clone();
    let replaces = Replaces { generation: Some(2), carrier: Some(token(2)) };
    let hold = Hold::new(HoldReason::PlanConflict, "plans p1 and \u{1b}[31mp2 both want a1b2c3/prod");
    let changes = [
        Change::Drafting { generation: 3, token: token(3), policy, replaces, drawn: None, trigger: None },
        Change::Drafted { generation: 3, provider: names("globex"), fingerprint: None, also: None },
        Change::Held { generation: Some(3), hold },
    ];
    go_on((credential, commits), changes.map(|change| (80_000, Actor::Rotation, None, change))).0
}

/// Signing keys: generation 1 leaked and is withdrawn, 2 signs in its place and was found after a lost answer, 3 stands
/// by, and 4 is being made.
pub fn signing() -> Credential {
    signing_story().0
}

/// The same with its history.
pub fn signing_told() -> (Credential, Vec<Told>) {
    told_of(signing_story())
}

/// A credential with its history, as the table has it.
pub fn told() -> (Credential, Vec<Told>) {
    told_of(story("partner/acme"))
}

/// A version that waits for its last user: settled twice, browned out twice, and named by an access log.
pub fn waiting() -> (Credential, Vec<Told>) {
    told_of(waiting_story())
}

/// The same, let go by a person: suspended, with nobody to see that it is refused.
pub fn let_go() -> (Credential, Vec<Told>) {
    told_of(let_go_story())
}

/// The same, on its way back.
pub fn coming_back() -> (Credential, Vec<Told>) {
    let replaces = Replaces { generation: Some(2), carrier: Some(token(2)) };
    let rolling = Change::RollingBack { generation: 1, replaces };
    told_of(go_on(let_go_story(), [(day(9), Actor::Operator, Some(note("globex lost its new key")), rolling)]))
}

/// In the middle of its first brownout.
pub fn browning_out() -> Credential {
    let until = at(day(4) + 600);
    let change = Change::BrowningOut { generation: 1, until };
    go_on(watched_story(), [(day(4), Actor::Retirement, None, change)]).0
}

/// The secret that goes with a credential.
pub fn secret(credential: &Credential) -> Secret {
    let mut labels: BTreeMap<Token, BTreeSet<String>> = BTreeMap::new();
    for (generation, label) in [(1, "AWSPREVIOUS"), (2, "AWSCURRENT"), (3, "AWSPENDING")] {
        if credential.versions.get(&generation).is_some_and(|version| !version.carriers.is_empty()) {
            labels.entry(token(generation)).or_default().insert(label.into());
        }
    }
    Secret {
        arn: credential.head.arn.clone(),
        deleted: false,
        gone: false,
        rotation_enabled: true,
        labels,
        wishes: Ok(credential.versions[&1].policy.clone()),
        schedule: Schedule { expression: Some("cron(0 8 1 * ? *)".into()), after_days: None },
        created: None,
        last_rotated: None,
        replicas_behind: Vec::new(),
    }
}

fn story(name: &str) -> (Credential, Vec<Commit>) {
    story_with(name, &[])
}

/// One rotation done, and its first look at the old key's use.
fn watched_story() -> (Credential, Vec<Commit>) {
    let wishes = [("brownouts", "PT10M PT30M"), ("access-log", "/apis/partners")];
    go_on(story_with("partner/acme", &wishes), [(day(1), Actor::Retirement, None, witnessed(100, 12, day(1)))])
}

fn waiting_story() -> (Credential, Vec<Commit>) {
    let retirement = Actor::Retirement;
    let callers = "203.0.113.7 \u{1b}[1mpartner/2.1 GET /prod/ping (412 requests, last 2026-11-26 10:00 UTC)\n\
                   198.51.100.4 curl/8.5 GET /prod/ping (1 request, last 2026-11-20 02:00 UTC)";
    let named = Note { who: callers.into(), reason: "still uses generation 1".into(), ..note("") };
    let browning_out = |from: i64, lasts| Change::BrowningOut { generation: 1, until: at(from + lasts) };
    let browned_out = |refused| Change::BrownedOut { generation: 1, refused: Some(refused), ours: 2 };
    let hold = Hold::new(HoldReason::StillInUse, "generation 1 is used for 412 requests, says GetUsage");
    go_on(
        watched_story(),
        [
            (day(3), retirement, None, browning_out(day(3), 600)),
            (day(3) + 600, retirement, None, browned_out(3)),
            (day(5), retirement, None, browning_out(day(5), 1_800)),
            (day(5) + 1_800, retirement, None, browned_out(11)),
            (day(8), retirement, Some(named), witnessed(512, 700, day(8))),
            (day(8), retirement, None, Change::Held { generation: Some(1), hold }),
        ],
    )
}

fn let_go_story() -> (Credential, Vec<Commit>) {
    let retirement = Actor::Retirement;
    let suspended = Change::Suspended { generation: 1, provider: BTreeMap::new() };
    let unproved = Some("no probe can show it".to_owned());
    go_on(
        waiting_story(),
        [
            (day(8) + 60, Actor::Operator, Some(note("they were told three times")), Change::Waived { generation: 1 }),
            (day(8) + 120, retirement, None, Change::Suspending { generation: 1, ground: Some(Ground::Waived) }),
            (day(8) + 121, retirement, None, suspended),
            (day(8) + 122, retirement, None, Change::Refused { generation: 1, after: None, unproved }),
        ],
    )
}

fn witnessed(used: u64, others: i64, seconds: i64) -> Change {
    let usage = Usage {
        source: "GetUsage".into(),
        looked: at(seconds),
        seen_until: at(seconds - 3_600),
        told: true,
        silent: false,
        used: Some(used),
        first: Some(100),
        last_used: Some(at(seconds - 7_200)),
    };
    let all = BTreeMap::from([("k1".to_owned(), i64::try_from(used).unwrap()), ("k2".to_owned(), others)]);
    let remaining = 5_000 - all.values().sum::<i64>();
    let since = "2026-11-01".parse().unwrap();
    let settlement = Settlement { since, allowance: 5_000, used: all, remaining, shown: true };
    Change::Witnessed { generation: 1, usage, settled: BTreeMap::from([("p1".to_owned(), settlement)]) }
}

fn go_on(
    (mut credential, mut commits): (Credential, Vec<Commit>),
    changes: impl IntoIterator<Item = (i64, Actor, Option<Note>, Change)>,
) -> (Credential, Vec<Commit>) {
    for (seconds, actor, note, change) in changes {
        let commit = credential.apply(change, &stamp(seconds, actor, note)).unwrap();
        credential = commit.credential.clone();
        commits.push(commit);
    }
    (credential, commits)
}

fn told_of((credential, commits): (Credential, Vec<Commit>)) -> (Credential, Vec<Told>) {
    (
        credential,
        commits.into_iter().filter_map(|commit| Some(Told { event: commit.event?, note: commit.note })).collect(),
    )
}

/// So many days after the samples' rotation, in seconds after their beginning.
pub const fn day(days: i64) -> i64 {
    3_608 + days * 86_400
}

fn note(reason: &str) -> Note {
    Note { salt: "5a17".into(), who: "arn:aws:sts::111122223333:assumed-role/ops/ada".into(), reason: reason.into() }
}

fn story_with(name: &str, wishes: &[(&str, &str)]) -> (Credential, Vec<Commit>) {
    let arn = format!("arn:aws:secretsmanager:eu-west-1:111122223333:secret:{name}-AbCdEf");
    let credential = Credential::empty(CredentialName::parse(name).unwrap(), &arn);
    let tags = [("kind", "api-gateway-key")].iter().chain(wishes);
    let tags = tags.map(|(tag, value)| (format!("rotator:{tag}"), (*value).to_owned())).collect();
    let policy = Policy::from_tags(&tags, &[API_GATEWAY_KEY]).unwrap();
    let base = name.rsplit('/').next().unwrap();
    let note = note("first of the \u{1b}[1mbatch");
    let evidence = BTreeMap::from([("quota p1".to_owned(), "871 left".to_owned())]);
    let proof = Proof { proven: vec!["a1b2c3/prod/ping".into()], unproven: vec!["a1b2c3/beta".into()] };
    let replaces = Replaces { generation: Some(1), carrier: Some(token(1)) };
    let trigger = Some(Trigger::Schedule { since: at(3_200) });
    let changes = [
        (
            0,
            Actor::Operator,
            Some(note),
            Change::Adopted {
                generation: 1,
                carrier: token(1),
                provider: key(base, "k1"),
                policy: policy.clone(),
                fingerprint: None,
            },
        ),
        (
            3_600,
            Actor::Rotation,
            None,
            Change::Drafting { generation: 2, token: token(2), policy, replaces, drawn: None, trigger },
        ),
        (
            3_601,
            Actor::Rotation,
            None,
            Change::Drafted { generation: 2, provider: names(base), fingerprint: None, also: None },
        ),
        (3_603, Actor::Rotation, None, Change::Admitted { generation: 2, provider: key(base, "k2"), evidence }),
        (3_607, Actor::Rotation, None, Change::Proved { generation: 2, proof }),
        (3_608, Actor::Rotation, None, Change::Promoted { generation: 2 }),
    ];
    go_on((credential, Vec::new()), changes)
}

fn signing_story() -> (Credential, Vec<Commit>) {
    let name = "orders/issuer";
    let tags = [
        ("kind", "kms-signing-key"),
        ("standbys", "2"),
        ("algorithm", "ES256"),
        ("signers", "arn:aws:iam::444455556666:role/issuer"),
    ];
    let tags = tags.map(|(tag, value)| (format!("rotator:{tag}"), value.to_owned())).into();
    let policy = Policy::from_tags(&tags, &[KMS_SIGNING_KEY]).unwrap();
    let id =
        |generation: u32| format!("arn:aws:kms:eu-west-1:111122223333:key/{generation:08}-12ab-34cd-56ef-1234567890ab");
    let made = |generation| BTreeMap::from([("id".to_owned(), id(generation))]);
    let published = |generation: u32| {
        let kid = format!("{generation:08}NzbLsXh8uDCcd6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        // The key of RFC 7517, A.1.
        let jwk = format!(
            r#"{{"kty":"EC","kid":"{kid}","use":"sig","alg":"ES256","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}}"#
        );
        let told = [("kid", kid), ("alg", "ES256".to_owned()), ("jwk", jwk)];
        told.map(|(name, value)| (name.to_owned(), value)).into()
    };
    let minting = |generation| Change::Minting { generation, policy: policy.clone(), drawn: None };
    let minted = |generation, found| Change::Minted { generation, provider: made(generation), found };
    let publish = |generation| Change::Published { generation, provider: published(generation) };
    let rotation = |generation: u32| {
        let proof = Proof { proven: vec![format!("https://keys.example/v1/jwks/{name}")], unproven: Vec::new() };
        let before = (generation > 1).then(|| generation - 1);
        let replaces = Replaces { generation: before, carrier: before.map(token) };
        let (provider, evidence) = (BTreeMap::new(), BTreeMap::from([("grants".to_owned(), "1".to_owned())]));
        [
            Change::Drafting {
                generation,
                token: token(generation),
                policy: policy.clone(),
                replaces,
                drawn: None,
                trigger: Some(if generation == 2 { Trigger::Emergency } else { Trigger::Elsewhere }),
            },
            Change::Drafted { generation, provider: BTreeMap::new(), fingerprint: None, also: None },
            Change::Admitted { generation, provider, evidence },
            Change::Proved { generation, proof },
            Change::Promoted { generation },
        ]
    };
    let leaked = note("its issuer was broken into");
    let ordered = Change::Ordered { token: token(2), compromised: vec![1] };
    let rotator = Actor::Rotation;
    let retirement = Actor::Retirement;
    let mut changes = vec![(0, rotator, minting(1)), (1, rotator, minted(1, false)), (2, rotator, publish(1))];
    changes.extend((3..).zip(rotation(1)).map(|(at, change)| (at, rotator, change)));
    changes.extend([(60, retirement, minting(2)), (960, retirement, minted(2, true)), (961, retirement, publish(2))]);
    changes.push((80_000, Actor::Operator, ordered));
    changes.extend((80_001..).zip(rotation(2)).map(|(at, change)| (at, rotator, change)));
    changes.extend(
        [
            Change::Disabling { generation: 1, ground: Some(Ground::Compromised) },
            Change::Disabled { generation: 1 },
            Change::Suspending { generation: 1, ground: Some(Ground::Compromised) },
            Change::Suspended { generation: 1, provider: BTreeMap::new() },
            minting(3),
            minted(3, false),
            publish(3),
            Change::Swept { generation: 2, found: vec![id(9)] },
            minting(4),
        ]
        .into_iter()
        .zip(80_010..)
        .map(|(change, at)| (at, retirement, change)),
    );
    let arn = format!("arn:aws:secretsmanager:eu-west-1:111122223333:secret:{name}-AbCdEf");
    let credential = Credential::empty(CredentialName::parse(name).unwrap(), &arn);
    let noted = |(seconds, actor, change)| (seconds, actor, (actor == Actor::Operator).then(|| leaked.clone()), change);
    go_on((credential, Vec::new()), changes.into_iter().map(noted))
}

fn stamp(seconds: i64, actor: Actor, note: Option<Note>) -> Stamp {
    Stamp { at: at(seconds), until: at(seconds + 300), actor, note }
}

fn token(generation: u32) -> Token {
    Token::parse(&format!("{generation:08}-0000-4000-8000-000000000000")).unwrap()
}

fn names(base: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("base".to_owned(), base.to_owned()), ("name".to_owned(), format!("{base}-00000002"))])
}

fn key(base: &str, id: &str) -> BTreeMap<String, String> {
    let mut provider = names(base);
    provider.insert("id".into(), id.into());
    provider
}
