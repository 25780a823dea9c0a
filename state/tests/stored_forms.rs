//! Every form that was ever stored can still be read, and the encoding that is hashed never changes silently.
//!
//! `samples/v<schema>/` holds lives of credentials as that schema's writer stored them: the head and the versions after
//! each commit, the events, the notes. A change of a stored form raises `SCHEMA`; the folder of the new one is
//! written by `UPDATE_SAMPLES=1 cargo test -p state --test stored_forms`, and no older one is ever touched.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use state::Time;
use state::credential::{Commitment, Credential, Drawn, Fingerprint, Head, Proof, Replaces, SCHEMA, Stamp, Version};
use state::evidence::{Ground, Settlement, Usage};
use state::hold::{Hold, HoldReason};
use state::ledger::{Abandonment, Actor, Change, Event, Link, Note, canonical, verify};
use state::name::{CredentialName, Token};
use state::period::Period;
use state::policy::{KindWishes, Policy, Traces};
use state::trigger::Trigger;
use uuid::Uuid;

/// The ends of the sample chains of each schema. None of them may ever change.
const ENDS: [(&str, &str, &str); 18] = [
    ("v1", "partner/acme", "04cf4ecbb8510deaf19170eeac9035da618f2680781443024fc11bd23f3fb5cb"),
    ("v2", "partner/acme", "afb8770cff48a0e7d83793b0e64dc07dfaca1584024494d0ade72468ea51ebba"),
    ("v2", "issuer/acme", "6edfe557c5b4d1460777cbd54f16e58b3f2e5c5c64d081885476a279f126392a"),
    ("v3", "partner/acme", "4d0c7571b3b0fae862bbe7614de366a34ef2f120c977c065fffac3554ac7a2f3"),
    ("v3", "issuer/acme", "d56413273b8234af968bcd4319acec026b588cbeddff8180700af7b6ad910d67"),
    ("v3", "partner/watched", "a506aa92dfd9a9cfb5de684e0aa37ba0f9835f7f799a9e112190682c1d654a5d"),
    ("v4", "partner/acme", "484edf12c60a6450af16adf1d35475659e4fcb1b63eba17a2735df794372f9fc"),
    ("v4", "issuer/acme", "e16e1b36acfda3b057adbd408a7a01f637b975615766916f6f881a736b687a01"),
    ("v4", "partner/watched", "42a786878d11d9de38e66ab1527e7ca0a814cc9533ddb348e28629a3b222d29a"),
    ("v5", "partner/acme", "3299533c51606b0ff48171996f40dbda6545ffbc9ca6ac80a0aacbf58f064ec6"),
    ("v5", "issuer/acme", "a76bcc0a5fce15401876bd69f3f3d48764542af2c9570971cad97a1ef6275b88"),
    ("v5", "partner/watched", "7585f7abd8d44289b9019f5c6e1e740b5abaf8d7d5f04fe0b11012d73b5f9867"),
    ("v6", "partner/acme", "da97c1e18068f3a520702be6142019a299f1f142d8047f12e0c361a80a363610"),
    ("v6", "issuer/acme", "025025f1352362516e177d62eab0a228c0d7027521fa50128eb4f1b4a1cf5c55"),
    ("v6", "partner/watched", "511314df65177c63741bb5436dfbb5464f398329c3a99fefb5258d3fae573383"),
    ("v7", "partner/acme", "350f6dfb9019b3f0e334790c96207f5f9e92c05d06fe40f21f07492340b30f5e"),
    ("v7", "issuer/acme", "ca633770f929cd25eb4c71234d2cad0a526704921f506d1fb7450ce19da934af"),
    ("v7", "partner/watched", "8286172a5547f942f37dd10885db2e69bfdf5658cf1f8f466671c36ec688cbbd"),
];
/// The first schema's note, as its event holds it.
const V1_NOTE: &str = "799f7ac53e534f497eb5c55fc3c2bfc4ff10a23a6f7243cf7ad8491f10430ba9";

#[test]
fn every_older_form_reads_into_todays_types() {
    let mut read = 0;
    for folder in folders() {
        let heads: Vec<Head> = sample(&folder, "head");
        let versions: Vec<Version> = sample(&folder, "version");
        let events: Vec<Event> = sample(&folder, "event");
        let notes: Vec<Note> = sample(&folder, "note");
        assert_eq!(heads.len(), events.len(), "{}", folder.display());
        for (name, events) in chains(&events) {
            let last = heads.iter().rfind(|head| head.name == name).expect("a head after each commit");
            verify(&name, &events, &last.ledger).expect("the chain of an older writer still holds");
        }
        let hashes: Vec<&String> = events.iter().filter_map(|event| event.note.as_ref()).collect();
        assert_eq!(hashes, notes.iter().map(Note::hash).collect::<Vec<_>>().iter().collect::<Vec<_>>());
        assert!(versions.iter().all(|version| version.schema <= SCHEMA));
        read += 1;
    }
    assert_eq!(read, SCHEMA, "a folder for each schema");
}

/// Whoever upgrades finds no record that somebody else seems to have written.
#[test]
fn what_older_writers_recorded_is_what_their_history_states() {
    for folder in folders() {
        let heads: Vec<Head> = sample(&folder, "head");
        let events: Vec<Event> = sample(&folder, "event");
        let mut lives: Vec<BTreeMap<u32, Version>> = Vec::new();
        for version in sample::<Version>(&folder, "version") {
            // The lives stand one after the other, each of another kind than the one before.
            let is_of = |life: &&mut BTreeMap<u32, Version>| life[&1].policy.kind == version.policy.kind;
            match lives.last_mut().filter(is_of) {
                Some(life) => _ = life.insert(version.generation, version),
                None => lives.push(BTreeMap::from([(version.generation, version)])),
            }
        }
        for head in heads.iter().filter(|head| heads.iter().rfind(|last| last.name == head.name) == Some(head)) {
            let of_it: Vec<Event> = events.iter().filter(|event| event.credential == head.name).cloned().collect();
            let stated = Credential::stated(&head.name, &head.arn, None, &of_it, &head.ledger).expect("it holds");
            let is_its = |life: &&BTreeMap<u32, Version>| life.keys().eq(stated.versions.keys());
            let differ = lives.iter().filter(is_its).map(|versions| {
                let recorded = Credential { head: head.clone(), versions: versions.clone() };
                recorded.differs_from(&stated)
            });
            let least = differ.min_by_key(Vec::len).expect("its versions are there");
            assert_eq!(least, [], "{} {}", folder.display(), head.name);
        }
    }
}

#[test]
fn todays_writer_stores_what_the_sample_of_its_schema_shows() {
    let (heads, versions, events, notes) = life();
    let folder = root().join(format!("v{SCHEMA}"));
    if std::env::var_os("UPDATE_SAMPLES").is_some() && !folder.join("head.json").exists() {
        fs::create_dir_all(&folder).expect("a folder");
        write(&folder, "head", &heads);
        write(&folder, "version", &versions);
        write(&folder, "event", &events);
        write(&folder, "note", &notes);
    }
    unchanged(&folder, "head", &heads);
    unchanged(&folder, "version", &versions);
    unchanged(&folder, "event", &events);
    unchanged(&folder, "note", &notes);
}

#[test]
fn what_todays_writer_stores_reads_back_as_it_was() {
    let (heads, versions, events, notes) = life();
    reads_back(&heads);
    reads_back(&versions);
    reads_back(&events);
    reads_back(&notes);
}

#[test]
fn the_hashes_of_every_schema_are_the_recorded_ones() {
    let mut recorded = Vec::new();
    for folder in folders() {
        let events: Vec<Event> = sample(&folder, "event");
        for (name, events) in chains(&events) {
            let schema = folder.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            let known = ENDS.iter().find(|(of, whose, _)| *of == schema && *whose == name.as_str());
            let (_, _, hash) = known.unwrap_or_else(|| panic!("no end is recorded for {schema} {name}"));
            let end = Link { seq: events.len() as u64, hash: (*hash).into(), at: events.last().map(|event| event.at) };
            verify(&name, &events, &end)
                .unwrap_or_else(|error| panic!("{schema} {name}: {error}: {:?}", events.last()));
            recorded.push((schema, name));
        }
    }
    assert_eq!(recorded.len(), ENDS.len(), "{recorded:?}");
    let notes: Vec<Note> = sample(&root().join("v1"), "note");
    assert_eq!(notes[0].hash(), V1_NOTE);
}

#[test]
fn the_order_of_keys_in_a_stored_document_changes_no_hash() {
    let text = r#"{"b":1,"a":{"d":[{"z":null,"y":"\u00e9\n"}],"c":true}}"#;
    let value: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(canonical(&value), "{\"a\":{\"c\":true,\"d\":[{\"y\":\"é\\n\",\"z\":null}]},\"b\":1}");
}

#[test]
fn the_sample_lives_know_every_change() {
    let (_, _, events, _) = life();
    let mut words: Vec<&str> = events.iter().map(|event| event.change.word()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), 35, "{words:?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples")
}

fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(root()).expect("samples").map(|entry| entry.expect("a folder").path()).collect();
    folders.sort();
    folders
}

fn sample<T: DeserializeOwned>(folder: &Path, form: &str) -> Vec<T> {
    let path = folder.join(format!("{form}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write<T: Serialize>(folder: &Path, form: &str, documents: &[T]) {
    let lines: Vec<String> = documents.iter().map(|document| serde_json::to_string(document).expect("JSON")).collect();
    fs::write(folder.join(format!("{form}.json")), format!("[\n{}\n]\n", lines.join(",\n"))).expect("written");
}

fn unchanged<T: Serialize>(folder: &Path, form: &str, documents: &[T]) {
    let stored: Vec<Value> = sample(folder, form);
    assert_eq!(stored.len(), documents.len(), "{form}");
    for (n, (stored, document)) in stored.iter().zip(documents).enumerate() {
        let today = serde_json::to_value(document).expect("JSON");
        assert_eq!(&today, stored, "{form} {n}: a stored form changed, so SCHEMA must rise");
    }
}

fn reads_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(documents: &[T]) {
    for document in documents {
        let text = serde_json::to_string(document).expect("JSON");
        assert_eq!(&serde_json::from_str::<T>(&text).expect("readable"), document);
    }
}

/// Each credential's events, in the order of the sample.
fn chains(events: &[Event]) -> Vec<(CredentialName, Vec<Event>)> {
    let mut chains: Vec<(CredentialName, Vec<Event>)> = Vec::new();
    for event in events {
        match chains.iter_mut().find(|(name, _)| *name == event.credential) {
            Some((_, chain)) => chain.push(event.clone()),
            None => chains.push((event.credential.clone(), vec![event.clone()])),
        }
    }
    chains
}

type Life = (Vec<Head>, Vec<Version>, Vec<Event>, Vec<Note>);
type Told = (Actor, Option<Note>, Change);

const KINDS: [KindWishes<'static>; 2] = [
    KindWishes {
        name: "api-gateway-key",
        tags: &["probe"],
        publishes: false,
        disables: false,
        traces: Traces::UseAndAllowance,
    },
    KindWishes { name: "kms-signing-key", tags: &["algorithm"], publishes: true, disables: true, traces: Traces::Use },
];

/// Three lives with every change in them. An API key's: adopted, rotated, an emergency, an abandoned rotation, the end of
/// the first key. A signing key's: made, published, returned, disabled, swept. A watched API key's: browned out, rolled
/// back to and back from, repaired, let go, closed.
fn life() -> Life {
    let mut life = Life::default();
    let lives = [
        ("partner/acme", api_key_changes()),
        ("issuer/acme", signing_key_changes()),
        ("partner/watched", watched_key_changes()),
    ];
    for (name, changes) in lives {
        let arn = format!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:{name}-Ab12Cd");
        let mut credential = Credential::empty(CredentialName::parse(name).expect("a name"), &arn);
        let start: Time = "2026-03-02T10:30:00.5Z".parse().expect("a moment");
        for (n, (actor, note, change)) in changes.into_iter().enumerate() {
            let at = start + TimeDelta::hours(i64::try_from(n).expect("few"));
            let stamp = Stamp { at, until: at + TimeDelta::minutes(5), actor, note };
            let commit = credential.apply(change, &stamp).expect("a legal life");
            credential = commit.credential;
            life.0.push(credential.head.clone());
            life.1.extend(commit.touched.iter().map(|generation| credential.versions[generation].clone()));
            life.2.extend(commit.event);
            life.3.extend(commit.note);
        }
    }
    life
}

fn token(n: u8) -> Token {
    Token::parse(&format!("{n:08}-0000-4000-8000-000000000000")).expect("a token")
}

fn drawn(n: u8) -> Drawn {
    let commitment = Commitment(format!("commitment {n}"));
    Drawn { id: Uuid::from_u128(u128::from(n)), commitment: Some(commitment) }
}

/// What began the rotations of the first life: an order's is the one with its token.
fn began(n: u8) -> Trigger {
    match n {
        2 => Trigger::Request,
        5 => Trigger::Emergency,
        _ => Trigger::Elsewhere,
    }
}

fn facts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn note(reason: &str) -> Option<Note> {
    Some(Note { salt: "5a17".into(), who: "ada".into(), reason: reason.into() })
}

fn api_key_changes() -> Vec<Told> {
    let fingerprint = Fingerprint::Made { mac: "bWFj".into(), key: "arn:aws:kms:eu-west-1:123456789012:key/1".into() };
    let tags = facts(&[
        ("rotator:kind", "api-gateway-key"),
        ("rotator:probe", "a1b2c3/prod/ping"),
        ("rotator:overlap", "P1D"),
    ]);
    let policy = Policy::from_tags(&tags, &KINDS).expect("a policy");
    let hold = Hold::new(HoldReason::PlanMissing, "there is no usage plan p1");
    let drafting = |generation, n, from, carrier| Change::Drafting {
        generation,
        token: token(n),
        policy: policy.clone(),
        replaces: Replaces { generation: from, carrier },
        drawn: Some(drawn(n)),
        trigger: Some(began(n)),
    };
    let (rotation, retirement, operator) = (Actor::Rotation, Actor::Retirement, Actor::Operator);
    vec![
        (
            operator,
            note("taken under management"),
            Change::Adopted {
                generation: 1,
                carrier: token(1),
                provider: facts(&[("id", "k1"), ("base", "acme"), ("name", "acme")]),
                policy: policy.clone(),
                fingerprint: Some(fingerprint.clone()),
            },
        ),
        (rotation, None, Change::Held { generation: None, hold: hold.clone() }),
        (operator, note("the yearly rotation"), Change::Requested { token: token(2) }),
        (rotation, None, drafting(2, 2, Some(1), Some(token(1)))),
        (
            rotation,
            None,
            Change::Drafted {
                generation: 2,
                provider: facts(&[("base", "acme"), ("name", "acme-00000002")]),
                fingerprint: Some(fingerprint),
                also: Some(1),
            },
        ),
        (rotation, None, Change::Held { generation: Some(2), hold }),
        (
            rotation,
            None,
            Change::Admitted {
                generation: 2,
                provider: facts(&[("id", "k2"), ("plans", "p1")]),
                evidence: facts(&[("quota:p1", "990")]),
            },
        ),
        (
            rotation,
            None,
            Change::Proved {
                generation: 2,
                proof: Proof { proven: vec!["a1b2c3/prod/ping".into()], unproven: vec!["a1b2c3/beta".into()] },
            },
        ),
        (rotation, None, Change::Carried { generation: 1, carrier: token(3) }),
        (rotation, None, Change::Promoted { generation: 2 }),
        (operator, note("found in a public repository"), Change::Ordered { token: token(5), compromised: vec![1, 2] }),
        (rotation, None, drafting(3, 4, Some(2), Some(token(2)))),
        (operator, None, Change::Abandoned { generation: 3, why: Abandonment::Fenced }),
        (retirement, None, Change::Suspending { generation: 1, ground: Some(Ground::Compromised) }),
        (retirement, None, Change::Suspended { generation: 1, provider: BTreeMap::new() }),
        (retirement, None, Change::Suspended { generation: 3, provider: facts(&[("id", "k3")]) }),
        (rotation, None, drafting(4, 5, None, None)),
        (rotation, None, Change::Abandoned { generation: 4, why: Abandonment::LostPending }),
        (rotation, None, drafting(5, 6, None, None)),
        (rotation, None, Change::Abandoned { generation: 5, why: Abandonment::OtherToken }),
        (retirement, None, Change::Destroying { generation: 1 }),
        (retirement, None, Change::Destroyed { generation: 1 }),
    ]
}

fn watched_key_changes() -> Vec<Told> {
    let tags = facts(&[
        ("rotator:kind", "api-gateway-key"),
        ("rotator:ceiling", "P3D"),
        ("rotator:at-ceiling", "hold"),
        ("rotator:no-evidence", "suspend"),
        ("rotator:look-every", "PT30M"),
        ("rotator:brownouts", "PT2M PT10M"),
        ("rotator:access-log", "/apis/partners"),
        ("rotator:if-deleted", "suspend"),
    ]);
    let policy = Policy::from_tags(&tags, &KINDS).expect("a policy");
    let at = |raw: &str| -> Time { raw.parse().expect("a moment") };
    let usage = |told, used, last_used| Usage {
        source: "GetUsage".into(),
        looked: at("2026-03-02T15:30:00Z"),
        seen_until: at("2026-03-02T14:30:00Z"),
        told,
        silent: false,
        used,
        first: used.map(|used| used - 4),
        last_used,
    };
    let settlement = Settlement {
        since: "2026-03-01".parse().expect("a day"),
        allowance: 1000,
        used: BTreeMap::from([("k1".to_owned(), 30), ("k2".to_owned(), 20)]),
        remaining: 950,
        shown: true,
    };
    let used = usage(true, Some(34), Some(at("2026-03-02T14:00:00Z")));
    let silent = Usage { silent: true, ..used.clone() };
    let settled = BTreeMap::from([("p1".to_owned(), settlement)]);
    let proof = || Proof { proven: vec!["a1b2c3/prod/ping".into()], unproven: Vec::new() };
    let rolling_back = |generation, from, carrier| Change::RollingBack {
        generation,
        replaces: Replaces { generation: Some(from), carrier: Some(token(carrier)) },
    };
    let refused = |generation, seconds: Option<u64>| Change::Refused {
        generation,
        after: seconds.map(Period::seconds),
        unproved: seconds.is_none().then(|| "its value is gone from Secrets Manager".into()),
    };
    let suspending = |generation, ground| Change::Suspending { generation, ground: Some(ground) };
    let suspended = |generation| Change::Suspended { generation, provider: BTreeMap::new() };
    let restored = |generation, provider: &[(&str, &str)]| Change::Restored { generation, provider: facts(provider) };
    let by = |actor| move |change| (actor, None, change);
    let (rotation, retirement, operator) = (by(Actor::Rotation), by(Actor::Retirement), by(Actor::Operator));
    let mut told = vec![
        operator(Change::Adopted {
            generation: 1,
            carrier: token(1),
            provider: facts(&[("id", "k1"), ("plans", "p1")]),
            policy: policy.clone(),
            fingerprint: None,
        }),
        rotation(Change::Drafting {
            generation: 2,
            token: token(2),
            policy: policy.clone(),
            replaces: Replaces { generation: Some(1), carrier: Some(token(1)) },
            drawn: Some(drawn(2)),
            trigger: Some(Trigger::Elsewhere),
        }),
        rotation(Change::Drafted { generation: 2, provider: facts(&[]), fingerprint: None, also: None }),
        rotation(Change::Admitted { generation: 2, provider: facts(&[("id", "k2")]), evidence: facts(&[]) }),
        rotation(Change::Proved { generation: 2, proof: proof() }),
        rotation(Change::Promoted { generation: 2 }),
    ];
    let witnessed = Change::Witnessed { generation: 1, usage: used, settled };
    told.push((Actor::Retirement, note("still uses generation 1"), witnessed));
    told.extend(
        [
            Change::Witnessed { generation: 1, usage: silent, settled: BTreeMap::new() },
            Change::Witnessed { generation: 1, usage: usage(false, None, None), settled: BTreeMap::new() },
            Change::BrowningOut { generation: 1, until: at("2026-03-02T18:32:00.5Z") },
            Change::BrownedOut { generation: 1, refused: Some(12), ours: 3 },
            Change::BrowningOut { generation: 1, until: at("2026-03-02T20:40:00.5Z") },
            Change::BrownedOut { generation: 1, refused: None, ours: 0 },
            Change::Held { generation: Some(1), hold: Hold::new(HoldReason::StillInUse, "generation 1 is used") },
        ]
        .map(retirement),
    );
    // Back to the first, and then forth again, which fails.
    told.push((Actor::Operator, note("the second one is throttled"), rolling_back(1, 2, 2)));
    told.extend([restored(1, &[("id", "k1")]), Change::Proved { generation: 1, proof: proof() }].map(operator));
    told.extend([Change::Promoted { generation: 1 }, suspending(2, Ground::Ceiling), suspended(2)].map(retirement));
    told.extend([refused(2, Some(61)), Change::Vanished { generation: 2 }].map(retirement));
    told.push(operator(Change::Claimed { generation: 2 }));
    told.push((Actor::Operator, note("it was innocent"), rolling_back(2, 1, 1)));
    told.push(retirement(Change::Forsaken { generation: 2, why: Abandonment::Expired }));
    told.extend([suspended(2), refused(2, None)].map(retirement));
    told.push(operator(rolling_back(2, 1, 1)));
    told.extend(
        [restored(2, &[("id", "k2b")]), Change::Forsaken { generation: 2, why: Abandonment::Tainted }].map(rotation),
    );
    let drafting = |generation, n| Change::Drafting {
        generation,
        token: token(n),
        policy: policy.clone(),
        replaces: Replaces { generation: Some(1), carrier: Some(token(1)) },
        drawn: Some(drawn(n)),
        trigger: None,
    };
    let recovered = Change::Recovered { generation: 3, provider: facts(&[("id", "k3")]) };
    let repaired = Change::Abandoned { generation: 3, why: Abandonment::Repaired };
    told.extend([rotation(drafting(3, 3)), operator(repaired), retirement(suspended(3)), operator(recovered)]);
    let mended = |generation, provider| Change::Mended {
        finding: "PlanAdded".into(),
        subject: "usage plan p2".into(),
        generation,
        provider: facts(provider),
    };
    told.extend([mended(Some(1), &[("plans", "p1 p2")]), mended(None, &[])].map(operator));
    told.push(retirement(Change::Closed { generation: 1 }));
    told.push((Actor::Operator, note("its last user knows"), Change::Waived { generation: 1 }));
    told.extend([suspending(1, Ground::Waived), suspended(1), suspending(2, Ground::Ceiling)].map(retirement));
    told
}

fn signing_key_changes() -> Vec<Told> {
    let tags = facts(&[("rotator:kind", "kms-signing-key"), ("rotator:algorithm", "ES256"), ("rotator:standbys", "2")]);
    let policy = Policy::from_tags(&tags, &KINDS).expect("a policy");
    let minting = |generation| Change::Minting { generation, policy: policy.clone(), drawn: Some(drawn(100)) };
    let minted = |generation, found| Change::Minted {
        generation,
        provider: facts(&[("id", &format!("key-{generation}"))]),
        found,
    };
    let published =
        |generation| Change::Published { generation, provider: facts(&[("kid", &format!("kid-{generation}"))]) };
    let drafting = |generation, n: u8| Change::Drafting {
        generation,
        token: token(n),
        policy: policy.clone(),
        replaces: Replaces { generation: (generation > 1).then_some(1), carrier: Some(token(n - 1)) },
        drawn: Some(drawn(100)),
        trigger: Some(Trigger::Schedule { since: "2026-03-02T08:00:00Z".parse().expect("a moment") }),
    };
    let drafted = |generation| Change::Drafted { generation, provider: BTreeMap::new(), fingerprint: None, also: None };
    let admitted = |generation| Change::Admitted { generation, provider: BTreeMap::new(), evidence: BTreeMap::new() };
    let proved = |generation| Change::Proved {
        generation,
        proof: Proof { proven: vec!["a challenge against the key set".into()], unproven: Vec::new() },
    };
    let hold = Hold::new(HoldReason::ReplicaBehind, "the replica in eu-central-1 has not received the new value");
    let by = |actor| move |change| (actor, None, change);
    let (rotation, retirement) = (by(Actor::Rotation), by(Actor::Retirement));
    let mut told: Vec<Told> = Vec::new();
    told.extend([minting(1), minting(1), minted(1, true), published(1)].map(rotation));
    told.extend([drafting(1, 1), drafted(1), admitted(1), proved(1), Change::Promoted { generation: 1 }].map(rotation));
    told.extend([minting(2), minted(2, false), published(2)].map(retirement));
    told.extend([drafting(2, 2), Change::Returned { generation: 2, why: Abandonment::OtherToken }].map(rotation));
    told.extend([drafting(2, 3), drafted(2), admitted(2), proved(2), Change::Promoted { generation: 2 }].map(rotation));
    told.extend(
        [
            Change::Held { generation: Some(1), hold },
            Change::Disabling { generation: 1, ground: Some(Ground::Unused) },
            Change::Disabled { generation: 1 },
            Change::Suspending { generation: 1, ground: Some(Ground::Unused) },
            Change::Suspended { generation: 1, provider: BTreeMap::new() },
            Change::Swept { generation: 1, found: vec!["key-1b".into()] },
        ]
        .map(retirement),
    );
    told.extend([3, 4, 5].into_iter().flat_map(|n| [minting(n), minted(n, false), published(n)]).map(retirement));
    let ordered = Change::Ordered { token: token(5), compromised: vec![2, 3, 4] };
    told.push((Actor::Operator, note("found in a log"), ordered));
    told.push(retirement(Change::Abandoned { generation: 3, why: Abandonment::Compromised }));
    told.push(rotation(drafting(4, 4)));
    told.push(rotation(Change::Abandoned { generation: 4, why: Abandonment::Tainted }));
    told.push(retirement(Change::Abandoned { generation: 5, why: Abandonment::Surplus }));
    told
}
