//! The records in DynamoDB: one table, one partition per credential.
//!
//! | item | pk | sk | indexed by |
//! |---|---|---|---|
//! | head | `CRED#<name>` | `HEAD` | `heads` |
//! | version | `CRED#<name>` | `VER#<generation>` | `due`, `fingerprint` |
//! | event | `CRED#<name>` | `EVT#<seq>` | `timeline` |
//!
//! A commit is one transaction: the head under the condition that nobody else committed since it was read, the
//! versions that changed, and the event that tells why.
//!
//! Who lists credentials reads the index `heads`, which has a [`Summary`] of each. Heads that a version before schema 7
//! wrote are not in it: the daily comparison puts them there, and then the item `HEADS` says that none is left out. Until
//! then the table is read instead.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, IndexStatus, KeySchemaElement, KeyType,
    Projection, ProjectionType, Put, ScalarAttributeType, TableStatus, TransactWriteItem,
};
use chrono::SecondsFormat;
use futures::{StreamExt, TryStreamExt, stream};
use state::Time;
use state::credential::{Commit, Credential, Fingerprint, Head, SCHEMA, Version};
use state::hold::{Hold, HoldReason};
use state::ledger::{Event, Note};
use state::name::CredentialName;
use state::summary::Summary;

use super::{Answer, failed};
use crate::failure::{BadInput, CallFailed, Failure, Fault, chain};

/// How often a head is read again that changed meanwhile.
const TRIES: u32 = 3;
/// How many partitions the `due` index has.
pub const DUE_BUCKETS: u8 = 8;

/// How many partitions the `heads` index has.
const HEADS_SHARDS: u8 = 8;
/// How many of many calls are made at once.
const ABREAST: usize = 16;
/// The partition of the item that says that the index `heads` has every head.
const WHOLE: &str = "HEADS";

/// An index of the table.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// Its keys: the partition's, and perhaps one to sort by.
    pub keys: &'static [&'static str],
    /// What is in it beside its keys and the table's.
    pub beside: Beside,
}

/// What is in an index beside keys.
#[derive(Clone, Copy, Debug)]
pub enum Beside {
    /// Nothing: it says which, and the table has the rest.
    Nothing,
    /// That attribute.
    One(&'static str),
    /// All of the item.
    Everything,
}

/// The table's indexes.
pub const INDEXES: [Index; 4] = [
    Index { name: "due", keys: &["due", "dueAt"], beside: Beside::Nothing },
    Index { name: "fingerprint", keys: &["fingerprint"], beside: Beside::Nothing },
    Index { name: "heads", keys: &["heads", "pk"], beside: Beside::One("summary") },
    Index { name: "timeline", keys: &["day", "at"], beside: Beside::Everything },
];

type Item = HashMap<String, AttributeValue>;

/// The table.
#[derive(Debug)]
pub struct Records {
    client: Client,
    table: String,
}

/// What a table is like, without what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Why it can't be used: its status, for instance `CREATING`.
    pub unusable: Option<String>,
    /// Its keys: `pk` and `sk`, if it is one of ours.
    pub keys: Vec<String>,
    /// By name. Of ours, [`INDEXES`].
    pub indexes: BTreeMap<String, IndexShape>,
}

/// What an index is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexShape {
    /// Why it can't be used: its status, `CREATING` or `DELETING`.
    pub unusable: Option<String>,
    /// Its keys.
    pub keys: Vec<String>,
}

/// An event with what stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The chained event.
    pub event: Event,
    /// Who and why, unless it was erased or never said.
    pub note: Option<Note>,
}

impl Records {
    /// A table by name.
    pub fn new(config: &SdkConfig, table: &str) -> Self {
        Self { client: Client::new(config), table: table.to_owned() }
    }

    /// Everything recorded of a credential but its history, read consistently.
    pub async fn load(&self, name: &CredentialName) -> Result<Option<Credential>, Failure> {
        let (mut head, mut versions) = (None, BTreeMap::new());
        self.each(name, "HEAD", "VER~", |item| {
            let doc = text(item, "doc");
            if text(item, "sk") == "HEAD" {
                head = Some(read::<Head>(doc, "head", name)?);
            } else {
                let version: Version = read(doc, "version", name)?;
                versions.insert(version.generation, version);
            }
            Ok(())
        })
        .await?;
        Ok(head.map(|head| Credential { head, versions }))
    }

    /// A credential's history from its first event, read consistently.
    pub async fn history(&self, name: &CredentialName) -> Result<Vec<Told>, Failure> {
        self.history_from(name, 0).await
    }

    /// The same from the event of that number on.
    pub async fn history_from(&self, name: &CredentialName, seq: u64) -> Result<Vec<Told>, Failure> {
        let mut history = Vec::new();
        self.each(name, &event_key(seq), "EVT~", |item| {
            let note = item.get("note").and_then(|note| note.as_s().ok());
            history.push(Told {
                event: read(text(item, "doc"), "event", name)?,
                note: note.map(|note| read(note, "note", name)).transpose()?,
            });
            Ok(())
        })
        .await?;
        Ok(history)
    }

    /// The records as the history states them, from the oldest version on that may still have a key. It costs what the
    /// life of those versions weighs, however often the credential rotated before.
    ///
    /// # Errors
    ///
    /// [`HoldReason::RecordDiffers`] if the history does not hold together.
    pub async fn stated(&self, name: &CredentialName) -> Result<Option<Credential>, Failure> {
        for _ in 0..TRIES {
            let mut head = None;
            self.each(name, "HEAD", "HEAD", |item| {
                head = Some(read::<Head>(text(item, "doc"), "head", name)?);
                Ok(())
            })
            .await?;
            let Some(head) = head else { return Ok(None) };
            let events = self.events(name, &head).await?;
            // Somebody committed in between: then the head is another.
            if events.last().map_or(0, |event| event.seq) <= head.ledger.seq {
                return stated(&head, &events).map(Some);
            }
        }
        Err(Failure::NotYet(format!("the records of {name} change faster than they can be read")))
    }

    /// Sees that what is recorded of a version is what the history states.
    ///
    /// # Errors
    ///
    /// [`HoldReason::RecordDiffers`] if it is not.
    pub async fn see_stated(&self, credential: &Credential, generation: u32) -> Result<(), Failure> {
        let head = &credential.head;
        let mut events = self.events(&head.name, head).await?;
        events.retain(|event| event.seq <= head.ledger.seq);
        let stated = stated(head, &events)?;
        let about =
            |differ: &str| differs(format!("of generation {generation}, {differ} is not what the history states"));
        match (credential.versions.get(&generation), stated.versions.get(&generation)) {
            (Some(recorded), Some(stated)) => match recorded.differs_from(stated).as_slice() {
                [] => Ok(()),
                differ => Err(about(&differ.join(", "))),
            },
            (Some(_), None) | (None, _) => Err(about("everything")),
        }
    }

    /// In what the records differ from what the history states: per generation, `None` for the head. The whole history,
    /// or from the oldest version on that may still have a key.
    pub async fn differences(
        &self,
        credential: &Credential,
        is_whole: bool,
    ) -> Result<Vec<(Option<u32>, String)>, Failure> {
        let head = &credential.head;
        let floor = head.floor.filter(|_| !is_whole);
        let told = self.history_from(&head.name, floor.map_or(0, |floor| floor.seq)).await?;
        let events: Vec<Event> = told.into_iter().map(|told| told.event).collect();
        let until = events.partition_point(|event| event.seq <= head.ledger.seq);
        Ok(match Credential::stated(&head.name, &head.arn, floor, &events[..until], &head.ledger) {
            Err(unstated) => vec![(None, chain(&unstated))],
            Ok(stated) => {
                let differ = credential.differs_from(&stated).into_iter();
                differ.map(|(generation, facts)| (generation, facts.join(", "))).collect()
            }
        })
    }

    async fn events(&self, name: &CredentialName, head: &Head) -> Result<Vec<Event>, Failure> {
        let told = self.history_from(name, head.floor.map_or(0, |floor| floor.seq)).await?;
        Ok(told.into_iter().map(|told| told.event).collect())
    }

    /// Stores a commit, whole or not at all. A conflict: somebody else committed since it was decided.
    pub async fn commit(&self, commit: &Commit) -> Result<(), Failure> {
        let Commit { credential, expected, touched, event, note } = commit;
        let pk = partition(&credential.head.name);
        let mut head = Put::builder()
            .table_name(&self.table)
            .set_item(Some(self.item(&pk, "HEAD", &credential.head)))
            .item("revision", AttributeValue::N(credential.head.revision.to_string()))
            .item("heads", AttributeValue::S(shard(&credential.head.name)))
            .item("summary", AttributeValue::S(json(&credential.summary())));
        head = if *expected == 0 {
            head.condition_expression("attribute_not_exists(pk)")
        } else {
            head.condition_expression("revision = :expected")
                .expression_attribute_values(":expected", AttributeValue::N(expected.to_string()))
        };
        let mut puts = vec![head];
        if let Some(event) = event {
            let mut told = self.item(&pk, &event_key(event.seq), event);
            told.insert("day".into(), AttributeValue::S(day(event)));
            told.insert("at".into(), AttributeValue::S(sortable(event.at)));
            if let Some(note) = note {
                told.insert("note".into(), AttributeValue::S(json(note)));
            }
            let put = Put::builder().table_name(&self.table).set_item(Some(told));
            puts.push(put.condition_expression("attribute_not_exists(pk)"));
        }
        for version in touched.iter().filter_map(|generation| credential.versions.get(generation)) {
            let mut item = self.item(&pk, &format!("VER#{:06}", version.generation), version);
            if let Some(at) = version.due() {
                item.insert("due".into(), AttributeValue::S(format!("DUE#{}", version.id.as_bytes()[0] % DUE_BUCKETS)));
                item.insert("dueAt".into(), AttributeValue::S(sortable(at)));
            }
            if let Some(mac) = version.fingerprint.as_ref().and_then(Fingerprint::mac) {
                item.insert("fingerprint".into(), AttributeValue::S(format!("FP#{mac}")));
            }
            puts.push(Put::builder().table_name(&self.table).set_item(Some(item)));
        }
        let writes = puts
            .into_iter()
            .map(|put| Ok(TransactWriteItem::builder().put(put.build()?).build()))
            .collect::<Result<Vec<_>, aws_smithy_types::error::operation::BuildError>>()
            .expect("table and item are set above");
        let sent = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        sent.map(drop).map_err(|error| self.failed("dynamodb:TransactWriteItems", error))
    }

    /// Credentials with a version in that bucket that is due, oldest first, at most `limit`. A hint: the index may be
    /// behind, and the records decide.
    pub async fn due(&self, bucket: u8, now: Time, limit: i32) -> Result<Vec<CredentialName>, Failure> {
        let found = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("due")
            .key_condition_expression("due = :bucket AND dueAt <= :now")
            .expression_attribute_values(":bucket", AttributeValue::S(format!("DUE#{bucket}")))
            .expression_attribute_values(":now", AttributeValue::S(sortable(now)))
            .limit(limit)
            .send()
            .await
            .map_err(|error| self.failed("dynamodb:Query", error))?;
        Ok(named(found.items()))
    }

    /// Every credential that anything is recorded of and whose name begins with `prefix`, in a few words. It costs what
    /// the answer weighs, whatever their histories do. Read from an index, which may be a second behind.
    pub async fn heads(&self, prefix: &str) -> Result<BTreeMap<CredentialName, Summary>, Failure> {
        // Before the index is read: what is put there meanwhile is in one of both.
        let left_out = if self.is_whole().await? { Vec::new() } else { self.left_out().await? };
        let left_out = left_out.into_iter().filter(|name| name.as_str().starts_with(prefix)).map(|name| (name, None));
        let shards = stream::iter(0..HEADS_SHARDS).map(|shard| self.shard(shard, prefix)).buffered(ABREAST);
        let indexed = shards.try_concat().await?;
        let heads = stream::iter(left_out.chain(indexed)).map(async |(name, summary): (CredentialName, _)| {
            let summary = match summary {
                Some(summary) => Some(summary),
                None => self.load(&name).await?.map(|credential| credential.summary()),
            };
            Ok(summary.map(|summary| (name, summary)))
        });
        heads.buffered(ABREAST).try_filter_map(async |head| Ok(head)).try_collect().await
    }

    async fn shard(&self, shard: u8, prefix: &str) -> Result<Vec<(CredentialName, Option<Summary>)>, Failure> {
        let mut heads = Vec::new();
        let mut start = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .index_name("heads")
                .key_condition_expression("heads = :shard AND begins_with(pk, :prefix)")
                .expression_attribute_values(":shard", AttributeValue::S(format!("HEADS#{shard}")))
                .expression_attribute_values(":prefix", AttributeValue::S(format!("CRED#{prefix}")))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| self.failed("dynamodb:Query", error))?;
            for item in page.items() {
                let summary = serde_json::from_str(text(item, "summary")).ok();
                heads.extend(named(std::slice::from_ref(item)).into_iter().map(|name| (name, summary.clone())));
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(heads);
            }
        }
    }

    async fn is_whole(&self) -> Result<bool, Failure> {
        let found = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :whole")
            .expression_attribute_values(":whole", AttributeValue::S(WHOLE.into()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| self.failed("dynamodb:Query", error))?;
        Ok(!found.items().is_empty())
    }

    /// Puts the heads into the index that an earlier version of the program left out of it. It reads the whole table, once:
    /// what is written from now on is in the index.
    pub async fn index_heads(&self) -> Result<(), Failure> {
        if self.is_whole().await? {
            return Ok(());
        }
        let names = self.left_out().await?;
        let indexed = stream::iter(names).map(|name| self.index_head(name)).buffered(ABREAST);
        let indexed: Vec<bool> = indexed.try_collect().await?;
        if indexed.into_iter().all(|is_indexed| is_indexed) { self.say_whole().await } else { Ok(()) }
    }

    async fn say_whole(&self) -> Result<(), Failure> {
        let whole = self.item(WHOLE, WHOLE, &serde_json::json!({ "schema": SCHEMA }));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(whole)).send().await;
        put.map(drop).map_err(|error| self.failed("dynamodb:PutItem", error))
    }

    async fn index_head(&self, name: CredentialName) -> Result<bool, Failure> {
        let Some(mut credential) = self.load(&name).await? else { return Ok(true) };
        // A program that does not know of the index refuses the credential from now on.
        credential.head.schema = SCHEMA;
        let expected = credential.head.revision;
        let commit = Commit { credential, expected, touched: Vec::new(), event: None, note: None };
        match self.commit(&commit).await {
            Ok(()) => Ok(true),
            // Whoever committed meanwhile may be an earlier version: the next comparison sees.
            Err(Failure::Call(CallFailed { fault: Fault::Conflict, .. })) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn left_out(&self) -> Result<Vec<CredentialName>, Failure> {
        let mut names = Vec::new();
        let mut start = None;
        loop {
            let page = self
                .client
                .scan()
                .table_name(&self.table)
                .filter_expression("sk = :head AND attribute_not_exists(heads)")
                .expression_attribute_values(":head", AttributeValue::S("HEAD".into()))
                .projection_expression("pk")
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| self.failed("dynamodb:Scan", error))?;
            names.extend(named(page.items()));
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(names);
            }
        }
    }

    /// Credentials with a version of that fingerprint: whose key a value is. A hint: the index may be behind.
    pub async fn with_fingerprint(&self, mac: &str) -> Result<Vec<CredentialName>, Failure> {
        let found = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("fingerprint")
            .key_condition_expression("fingerprint = :fingerprint")
            .expression_attribute_values(":fingerprint", AttributeValue::S(format!("FP#{mac}")))
            .send()
            .await
            .map_err(|error| self.failed("dynamodb:Query", error))?;
        Ok(named(found.items()))
    }

    /// What the table is like. For people: the functions need not ask.
    pub async fn shape(&self) -> Result<Shape, Failure> {
        let found = self.client.describe_table().table_name(&self.table).send().await;
        let table = found.map_err(|error| self.failed("dynamodb:DescribeTable", error))?.table;
        let keys = |schema: &[KeySchemaElement]| schema.iter().map(|key| key.attribute_name().to_owned()).collect();
        let indexes = table.iter().flat_map(|table| table.global_secondary_indexes()).map(|index| {
            // Whoever imitates DynamoDB may leave it out.
            let status = index.index_status().filter(|is| ![IndexStatus::Active, IndexStatus::Updating].contains(is));
            let unusable = status.map(|status| status.as_str().to_owned());
            (index.index_name().unwrap_or_default().to_owned(), IndexShape { unusable, keys: keys(index.key_schema()) })
        });
        let usable = [TableStatus::Active, TableStatus::Updating];
        let status = table.as_ref().and_then(|t| t.table_status()).filter(|status| !usable.contains(status));
        Ok(Shape {
            unusable: status.map(|status| status.as_str().to_owned()),
            keys: table.as_ref().map(|table| keys(table.key_schema())).unwrap_or_default(),
            indexes: indexes.collect(),
        })
    }

    /// Creates the table as the stack would, and says that no earlier version wrote into it. For the embedded AWS and for
    /// tests; being there already is fine.
    pub async fn create_table(&self) -> Result<(), Failure> {
        let attribute = |name: &str| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()
        };
        let keys = |hash: &str, range: Option<&str>| {
            let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
            std::iter::once(key(hash, KeyType::Hash))
                .chain(range.map(|name| key(name, KeyType::Range)))
                .collect::<Result<Vec<_>, _>>()
        };
        let index = |index: &Index| {
            let projection = match index.beside {
                Beside::Nothing => Projection::builder().projection_type(ProjectionType::KeysOnly),
                Beside::One(attribute) => {
                    Projection::builder().projection_type(ProjectionType::Include).non_key_attributes(attribute)
                }
                Beside::Everything => Projection::builder().projection_type(ProjectionType::All),
            };
            GlobalSecondaryIndex::builder()
                .index_name(index.name)
                .set_key_schema(Some(keys(index.keys[0], index.keys.get(1).copied())?))
                .projection(projection.build())
                .build()
        };
        let shape = || -> Result<_, aws_smithy_types::error::operation::BuildError> {
            let of_indexes = INDEXES.iter().flat_map(|index| index.keys.iter().copied());
            let attributes: BTreeSet<&str> = ["pk", "sk"].into_iter().chain(of_indexes).collect();
            let attributes = attributes.into_iter().map(attribute).collect::<Result<Vec<_>, _>>()?;
            let indexes = INDEXES.iter().map(index).collect::<Result<Vec<_>, _>>()?;
            Ok((attributes, keys("pk", Some("sk"))?, indexes))
        };
        let (attributes, key, indexes) = shape().expect("every part of the shape is set above");
        let made = self
            .client
            .create_table()
            .table_name(&self.table)
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(attributes))
            .set_key_schema(Some(key))
            .set_global_secondary_indexes(Some(indexes))
            .send()
            .await;
        match made {
            Ok(_) => self.say_whole().await,
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_in_use_exception()) => Ok(()),
            Err(error) => Err(self.failed("dynamodb:CreateTable", error)),
        }
    }

    /// Looks at each item of a credential's in turn. No more than a page of them is held at once.
    async fn each(
        &self,
        name: &CredentialName,
        from: &str,
        to: &str,
        mut look: impl FnMut(&Item) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut start = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
                .expression_attribute_values(":pk", AttributeValue::S(partition(name)))
                .expression_attribute_values(":from", AttributeValue::S(from.to_owned()))
                .expression_attribute_values(":to", AttributeValue::S(to.to_owned()))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| self.failed("dynamodb:Query", error))?;
            page.items().iter().try_for_each(&mut look)?;
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(());
            }
        }
    }

    fn item<T: serde::Serialize>(&self, pk: &str, sk: &str, doc: &T) -> Item {
        HashMap::from([
            ("pk".to_owned(), AttributeValue::S(pk.to_owned())),
            ("sk".to_owned(), AttributeValue::S(sk.to_owned())),
            ("doc".to_owned(), AttributeValue::S(json(doc))),
        ])
    }

    fn failed<E>(
        &self,
        action: &'static str,
        error: aws_smithy_runtime_api::client::result::SdkError<
            E,
            aws_smithy_runtime_api::client::orchestrator::HttpResponse,
        >,
    ) -> Failure
    where
        E: aws_smithy_types::error::metadata::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let failed = failed(action, &self.table, Answer::Open, error);
        if failed.fault == Fault::NotFound { BadInput::NoTable(self.table.clone()).into() } else { failed.into() }
    }
}

/// The credentials of these items, each once.
fn named(items: &[Item]) -> Vec<CredentialName> {
    let mut names = Vec::new();
    for item in items {
        if let Some(name) = text(item, "pk").strip_prefix("CRED#").and_then(|name| CredentialName::parse(name).ok())
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

fn partition(name: &CredentialName) -> String {
    format!("CRED#{name}")
}

fn event_key(seq: u64) -> String {
    format!("EVT#{seq:012}")
}

fn stated(head: &Head, events: &[Event]) -> Result<Credential, Failure> {
    let stated = Credential::stated(&head.name, &head.arn, head.floor, events, &head.ledger);
    stated.map_err(|unstated| differs(chain(&unstated)))
}

fn differs(detail: String) -> Failure {
    Hold::new(HoldReason::RecordDiffers, detail).into()
}

/// The partition of the `timeline` index: a day, in four shards so that a fleet's rotation does not make one hot.
fn day(event: &Event) -> String {
    format!("DAY#{}#{}", event.at.format("%Y-%m-%d"), spread(&event.credential, 4))
}

/// The partition of the `heads` index.
fn shard(name: &CredentialName) -> String {
    format!("HEADS#{}", spread(name, HEADS_SHARDS))
}

fn spread(name: &CredentialName, shards: u8) -> u8 {
    name.as_str().bytes().fold(0_u8, u8::wrapping_add) % shards
}

/// Sorts as text as it sorts as time.
fn sortable(at: Time) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str)
}

fn json<T: serde::Serialize>(doc: &T) -> String {
    serde_json::to_string(doc).expect("records are made of strings, numbers and maps with string keys")
}

fn read<'a, T: serde::Deserialize<'a>>(doc: &'a str, what: &str, name: &CredentialName) -> Result<T, Failure> {
    /// What stored forms say of themselves; a note says nothing.
    #[derive(serde::Deserialize)]
    struct Form {
        #[serde(default)]
        schema: u32,
    }
    let unreadable = |why: String, source: Option<serde_json::Error>| {
        let resource = format!("the {what} of {name}, which this version of the program can't read{why}");
        let source = source.map(|source| Box::new(source) as Box<_>);
        Failure::from(CallFailed { action: "dynamodb:Query", resource, fault: Fault::Rejected, source })
    };
    // A newer form may have members that mean something: leaving them out would lose what they say.
    match serde_json::from_str::<Form>(doc) {
        Ok(form) if form.schema > SCHEMA => {
            let why = format!(": it is of schema {}, and schema {SCHEMA} is the newest that it knows", form.schema);
            Err(unreadable(why, None))
        }
        Ok(_) => serde_json::from_str(doc).map_err(|source| unreadable(String::new(), Some(source))),
        Err(source) => Err(unreadable(String::new(), Some(source))),
    }
}
