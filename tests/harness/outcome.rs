//! What a run has come to, so that what follows from it is followed once.
//!
//! An outcome is everything on which depends what comes next: all that AWS would store, the records, those who watch
//! with what they cache, and what is still to be hurt. What is left of AWS's rates is no part of it: seconds fill them. It is written as text in which two runs that differ in nothing
//! else than in what was drawn at random and in when it was are the same. A moment is written as its distance from now in
//! whole seconds, and as its place among all moments, now included: nothing that is decided later asks for more than how
//! many seconds passed and what came before what, while a call that waits for its turn does so for some milliseconds that
//! are drawn. Beside them stands the day. A random text is written as a number, in the order in which they come, so that
//! what is the same text in two places stays the same.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::{Debug, Write};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::Stage;

/// Stands for a moment until its place among all is known. No text of ours has it.
const MOMENT: char = '\u{1}';
/// Shorter texts are not random, or not for long enough to be told from a word.
const SHORTEST: usize = 16;

/// The outcomes that were followed.
#[derive(Default)]
pub struct Followed(Mutex<HashSet<[u8; 32]>>);

impl Followed {
    /// Whether nobody has followed this outcome before; from now on somebody has.
    pub async fn is_new(&self, stage: &Stage, watch: &impl Debug) -> bool {
        let hash = digest(&SHA256, outcome(stage, watch).await.as_bytes());
        let hash = hash.as_ref().try_into().expect("32 bytes");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(hash)
    }

    /// How many were followed.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The outcome as text.
pub async fn outcome(stage: &Stage, watch: &impl Debug) -> String {
    let mut writer = Writer::new(stage.clock.now());
    writer.json(&stage.aws.inspect_state());
    for (key, item) in stage.records().await {
        writer.text(&key);
        writer.json(&item);
    }
    writer.text(&format!("{watch:?} {:?}", stage.faults.left()));
    writer.end()
}

impl Stage {
    /// Every credential's items by their keys; of an event only what happened. When it was and to which one it is chained
    /// was looked at before, and nothing that comes next looks again. Turns count for moments only.
    async fn records(&self) -> BTreeMap<String, Value> {
        let scanned = self.dynamodb().scan().table_name(&self.settings.table).send().await.expect("scanned");
        assert!(scanned.last_evaluated_key.is_none(), "more than one page");
        let text = |item: &HashMap<String, AttributeValue>, name: &str| item[name].as_s().expect("text").clone();
        let mut records = BTreeMap::new();
        for item in scanned.items().iter().filter(|item| text(item, "pk").starts_with("CRED#")) {
            let mut document: Value = serde_json::from_str(&text(item, "doc")).expect("JSON");
            if text(item, "sk").starts_with("EVT#") {
                let event = document.as_object_mut().expect("an object");
                event.retain(|member, _| !["at", "note", "previous", "hash"].contains(&member.as_str()));
            }
            records.insert(format!("{} {}", text(item, "pk"), text(item, "sk")), document);
        }
        records
    }
}

/// Writes states so that they can be compared.
struct Writer {
    now: DateTime<Utc>,
    numbers: BTreeMap<String, usize>,
    /// In milliseconds from now, in the order in which they come.
    moments: Vec<i64>,
    /// With a [`MOMENT`] for each of them.
    written: String,
}

impl Writer {
    fn new(now: DateTime<Utc>) -> Self {
        Self { now, numbers: BTreeMap::new(), moments: Vec::new(), written: format!("{} ", now.date_naive()) }
    }

    /// The text, once everything is written: only then is each moment's place known.
    fn end(self) -> String {
        let places: BTreeSet<i64> = self.moments.iter().copied().chain([0]).collect();
        let places: BTreeMap<i64, usize> = places.into_iter().zip(0..).collect();
        let mut moments = self.moments.iter();
        let mut text = String::with_capacity(self.written.len() * 2);
        for part in self.written.split_inclusive(MOMENT) {
            text.push_str(part);
            if part.ends_with(MOMENT) {
                let at = moments.next().expect("one for each");
                write!(text, "{}.{}", at.div_euclid(1_000), places[at]).expect("text");
            }
        }
        text
    }

    fn json(&mut self, value: &Value) {
        match value {
            Value::Object(members) => {
                self.written.push('{');
                for (name, member) in members {
                    self.text(name);
                    self.written.push(':');
                    self.json(member);
                }
                self.written.push('}');
            }
            Value::Array(items) => {
                self.written.push('[');
                items.iter().for_each(|item| self.json(item));
                self.written.push(']');
            }
            Value::String(text) if is_base64(text) => self.number(text),
            Value::String(text) => self.text(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => write!(self.written, "{value}").expect("text"),
        }
        self.written.push(' ');
    }

    /// Word by word.
    fn text(&mut self, text: &str) {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_-+".contains(letter);
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(length) = moment(rest) {
                let at: DateTime<Utc> = rest[..length].parse().expect("a moment");
                self.moments.push((at - self.now).num_milliseconds());
                self.written.push(MOMENT);
                rest = &rest[length..];
                continue;
            }
            let word = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
            if word == 0 {
                let next = rest.chars().next().map_or(0, char::len_utf8);
                self.written.push_str(&rest[..next]);
                rest = &rest[next..];
                continue;
            }
            self.word(&rest[..word]);
            rest = &rest[word..];
        }
        self.written.push('\n');
    }

    fn word(&mut self, word: &str) {
        let is_random = word.len() >= SHORTEST && word.bytes().any(|byte| byte.is_ascii_digit());
        if is_random {
            self.number(word);
        } else {
            self.written.push_str(word);
        }
    }

    fn number(&mut self, word: &str) {
        let next = self.numbers.len();
        let number = *self.numbers.entry(word.to_owned()).or_insert(next);
        write!(self.written, "#{number}").expect("text");
    }
}

/// Key material, which may hold slashes and so be several words.
fn is_base64(text: &str) -> bool {
    text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
}

/// How long the moment is with which a text begins, as `2026-03-02T10:30:00.5Z`, if it begins with one.
fn moment(text: &str) -> Option<usize> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    let fits = |(letter, shape): (&u8, &u8)| if *shape == b'0' { letter.is_ascii_digit() } else { letter == shape };
    if bytes.len() <= SHAPE.len() || !bytes.iter().zip(SHAPE).all(fits) {
        return None;
    }
    let end = SHAPE.len() + bytes[SHAPE.len()..].iter().position(|byte| *byte == b'Z')?;
    bytes[SHAPE.len()..end].iter().all(|byte| byte.is_ascii_digit() || *byte == b'.').then_some(end + 1)
}

/// A state with a key of that id, in that state, which is due so long after `now`.
fn written(now: &str, id: &str, enabled: bool, due: TimeDelta) -> String {
    let now: DateTime<Utc> = now.parse().expect("a moment");
    let mut writer = Writer::new(now);
    let due = (now + due).to_rfc3339_opts(SecondsFormat::Millis, true);
    writer.json(&json!({ "keys": { id: { "enabled": enabled, "due": due } }, "current": id }));
    writer.text(&format!("{id} at {due}"));
    writer.end()
}

#[test]
fn what_differs_only_in_when_it_was_and_in_what_was_drawn_is_the_same_outcome() {
    let one = written("2026-03-02T10:30:00Z", "a1b2c3d4e5f6a7b8c9d0", true, TimeDelta::hours(1));
    let other = written("2026-03-02T10:30:12.5Z", "00112233445566778899", true, TimeDelta::hours(1));
    assert_eq!(one, other);
}

/// Two moments so long before now, in milliseconds.
fn two_moments(one: i64, other: i64) -> String {
    let now: DateTime<Utc> = "2026-03-02T10:30:00Z".parse().expect("a moment");
    let mut writer = Writer::new(now);
    for before in [one, other] {
        let at = now - TimeDelta::milliseconds(before);
        writer.text(&at.to_rfc3339_opts(SecondsFormat::Millis, true));
    }
    writer.end()
}

#[test]
fn of_moments_within_a_second_only_their_order_counts() {
    assert_eq!(two_moments(1_300, 1_700), two_moments(1_001, 1_999));
    assert_ne!(two_moments(1_300, 1_700), two_moments(1_700, 1_300), "which came first");
    assert_ne!(two_moments(1_300, 1_700), two_moments(1_500, 1_500), "whether they are one");
    assert_ne!(two_moments(1_300, 1_700), two_moments(1_300, 2_700), "how long ago");
}

#[test]
fn what_differs_in_anything_else_is_another_outcome() {
    let (now, id, hour) = ("2026-03-02T10:30:00Z", "a1b2c3d4e5f6a7b8c9d0", TimeDelta::hours(1));
    let one = written(now, id, true, hour);
    assert_ne!(one, written(now, id, false, hour), "the state of the key");
    assert_ne!(one, written(now, id, true, hour + TimeDelta::seconds(1)), "when it is due");
    assert_ne!(one, written("2026-03-03T10:30:00Z", id, true, hour), "the day");
    assert_ne!(one, written(now, "acme", true, hour), "a name, which is not drawn");
    let mut two_keys = Writer::new(now.parse().expect("a moment"));
    two_keys.text("a1b2c3d4e5f6a7b8c9d0 00112233445566778899");
    let mut one_key = Writer::new(now.parse().expect("a moment"));
    one_key.text("a1b2c3d4e5f6a7b8c9d0 a1b2c3d4e5f6a7b8c9d0");
    assert_ne!(two_keys.end(), one_key.end(), "which of them it is");
}
