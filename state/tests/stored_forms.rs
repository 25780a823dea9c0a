//! Every form that was ever stored can still be read, and the encoding that is hashed never changes silently.
//!
//! `samples/v<schema>/` holds one life of a credential as that schema's writer stored it: the head and the versions
//! after each commit, the events, the notes. A change of a stored form raises `SCHEMA`; the folder of the new one is
//! written by `UPDATE_SAMPLES=1 cargo test -p state --test stored_forms`, and no older one is ever touched.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use state::Time;
use state::credential::{Credential, Fingerprint, Head, Proof, Replaces, SCHEMA, Stamp, Version};
use state::hold::{Hold, HoldReason};
use state::ledger::{Abandonment, Actor, Change, Event, Link, Note, canonical, verify};
use state::name::{CredentialName, Token};
use state::policy::Policy;

/// The end of the first schema's sample chain. It may never change.
const V1_END: &str = "04cf4ecbb8510deaf19170eeac9035da618f2680781443024fc11bd23f3fb5cb";
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
        let last = heads.last().expect("a head after each commit");
        assert_eq!(heads.len(), events.len(), "{}", folder.display());
        verify(&last.name, &events, &last.ledger).expect("the chain of an older writer still holds");
        let hashes: Vec<&String> = events.iter().filter_map(|event| event.note.as_ref()).collect();
        assert_eq!(hashes, notes.iter().map(Note::hash).collect::<Vec<_>>().iter().collect::<Vec<_>>());
        assert!(versions.iter().all(|version| version.schema <= SCHEMA));
        read += 1;
    }
    assert_eq!(read, SCHEMA, "a folder for each schema");
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
fn the_hashes_of_the_first_schema_are_the_recorded_ones() {
    let folder = root().join("v1");
    let events: Vec<Event> = sample(&folder, "event");
    let name = events[0].credential.clone();
    let at = events.last().map(|event| event.at);
    let end = Link { seq: events.len() as u64, hash: V1_END.into(), at };
    verify(&name, &events, &end).expect("the recorded end");
    let notes: Vec<Note> = sample(&folder, "note");
    assert_eq!(notes[0].hash(), V1_NOTE);
}

#[test]
fn the_order_of_keys_in_a_stored_document_changes_no_hash() {
    let text = r#"{"b":1,"a":{"d":[{"z":null,"y":"\u00e9\n"}],"c":true}}"#;
    let value: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(canonical(&value), "{\"a\":{\"c\":true,\"d\":[{\"y\":\"é\\n\",\"z\":null}]},\"b\":1}");
}

#[test]
fn the_sample_life_knows_every_change() {
    let (_, _, events, _) = life();
    let mut words: Vec<&str> = events.iter().map(|event| event.change.word()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), 14, "{words:?}");
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

/// One life with every change in it: adopted, rotated, an emergency, an abandoned rotation, the end of the first key.
fn life() -> (Vec<Head>, Vec<Version>, Vec<Event>, Vec<Note>) {
    let name = CredentialName::parse("partner/acme").expect("a name");
    let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:partner/acme-Ab12Cd";
    let mut credential = Credential::empty(name, arn);
    let (mut heads, mut versions, mut events, mut notes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let start: Time = "2026-03-02T10:30:00.5Z".parse().expect("a moment");
    for (n, (actor, note, change)) in changes().into_iter().enumerate() {
        let at = start + TimeDelta::hours(i64::try_from(n).expect("few"));
        let stamp = Stamp { at, until: at + TimeDelta::minutes(5), actor, note };
        let commit = credential.apply(change, &stamp).expect("a legal life");
        credential = commit.credential;
        heads.push(credential.head.clone());
        versions.extend(commit.touched.iter().map(|generation| credential.versions[generation].clone()));
        events.push(commit.event);
        notes.extend(commit.note);
    }
    (heads, versions, events, notes)
}

fn changes() -> Vec<(Actor, Option<Note>, Change)> {
    let token = |n: u8| Token::parse(&format!("{n:08}-0000-4000-8000-000000000000")).expect("a token");
    let facts = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let fingerprint = Fingerprint { mac: "bWFj".into(), key: "arn:aws:kms:eu-west-1:123456789012:key/1".into() };
    let tags = facts(&[
        ("rotator:kind", "api-gateway-key"),
        ("rotator:probe", "a1b2c3/prod/ping"),
        ("rotator:overlap", "P1D"),
    ]);
    let policy = Policy::from_tags(&tags, &[("api-gateway-key", &["probe"])]).expect("a policy");
    let hold = Hold::new(HoldReason::PlanMissing, "there is no usage plan p1");
    let note = |reason: &str| Some(Note { salt: "5a17".into(), who: "ada".into(), reason: reason.into() });
    let drafting = |generation, n, from, carrier| Change::Drafting {
        generation,
        token: token(n),
        policy: policy.clone(),
        replaces: Replaces { generation: from, carrier },
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
        (rotation, None, drafting(2, 2, Some(1), Some(token(1)))),
        (
            rotation,
            None,
            Change::Drafted {
                generation: 2,
                provider: facts(&[("base", "acme"), ("name", "acme-00000002")]),
                fingerprint: Some(fingerprint),
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
        (retirement, None, Change::Suspending { generation: 1 }),
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
