//! What it costs to look at many credentials, or at one with a long history.
//!
//! `cargo test -p tests --test all bench::scale -- --ignored --nocapture` prints the whole table.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_secretsmanager::types::Tag;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use chrono::TimeDelta;
use local_aws::Function;
use rotator_cli::trouble::Outcome;
use serde_json::{Value, json};
use state::credential::{Credential, Stamp};
use state::hold::{Hold, HoldReason};
use state::ledger::{Change, Event};
use state::name::CredentialName;

use crate::harness::faults::{Faults, operation};
use crate::harness::functions::Idle;
use crate::harness::{ACME, Host, Stage, Terms, Which, say};

/// What something cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cost {
    /// Calls to any AWS service.
    calls: usize,
    /// DynamoDB's read request units, and write request units.
    reads: f64,
    writes: f64,
    /// Bytes of DynamoDB's answers.
    bytes: usize,
}

/// A way to AWS on which everything is counted. DynamoDB is asked what each call consumed.
#[derive(Clone, Debug)]
struct Meter {
    inner: SharedHttpConnector,
    cost: Arc<Mutex<Cost>>,
}

impl HttpConnector for Meter {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let meter = self.clone();
        HttpConnectorFuture::new(async move {
            let operation = operation(&request);
            let is_table = operation.starts_with("DynamoDB:");
            if is_table {
                let mut body: Value = serde_json::from_slice(request.body().bytes().expect("in memory")).expect("JSON");
                body["ReturnConsumedCapacity"] = "TOTAL".into();
                let body = body.to_string();
                request.headers_mut().insert("content-length", body.len().to_string());
                *request.body_mut() = SdkBody::from(body);
            }
            let answer = meter.inner.call(request).await?;
            meter.count(&operation, is_table, &answer);
            Ok(answer)
        })
    }
}

impl Meter {
    fn count(&self, operation: &str, is_table: bool, answer: &HttpResponse) {
        let mut cost = self.cost.lock().unwrap_or_else(PoisonError::into_inner);
        cost.calls += 1;
        if !is_table {
            return;
        }
        let body = answer.body().bytes().expect("in memory");
        cost.bytes += body.len();
        let answer: Value = serde_json::from_slice(body).expect("JSON");
        // A transaction has one for each table.
        let consumed = &answer["ConsumedCapacity"];
        let tables = consumed.as_array().map_or(std::slice::from_ref(consumed), Vec::as_slice);
        let units = |table: &Value| table["CapacityUnits"].as_f64().expect("DynamoDB says what it consumed");
        let consumed: f64 = tables.iter().map(units).sum();
        let is_read = ["Query", "Scan", "GetItem"].iter().any(|read| operation.ends_with(read));
        *(if is_read { &mut cost.reads } else { &mut cost.writes }) += consumed;
    }
}

/// Many credentials, each with the events of its life, and so many more from before its oldest key.
struct Fleet {
    stage: Stage,
    first: CredentialName,
}

impl Fleet {
    /// Copies of the records of one signing key that rotated so often, under other names, each with a secret of its own.
    async fn new(credentials: usize, rotations: usize, more_events: usize) -> Self {
        let stage = Stage::new().await;
        let terms = Terms::jwt();
        let arn = stage.signing(&terms).await;
        for _ in 0..rotations {
            stage.rotate(&arn).await;
            for _ in 0..4 {
                stage.pass(TimeDelta::days(15)).await;
            }
        }
        let life: Vec<Event> = {
            let told = stage.engine_unhurt().records.history(&CredentialName::parse(ACME).expect("a name")).await;
            told.expect("readable").into_iter().map(|told| told.event).collect()
        };
        let first = CredentialName::parse("fleet/00000").expect("a name");
        for number in 0..credentials {
            let name = CredentialName::parse(&format!("fleet/{number:05}")).expect("a name");
            copy(&stage, &terms, &name, &life, more_events).await;
        }
        Self { stage, first }
    }

    fn meter(&self) -> Meter {
        Meter { inner: self.stage.aws.connector(), cost: Arc::default() }
    }

    async fn command(&self, line: &[&str]) -> Cost {
        let meter = self.meter();
        let said = self.stage.command_over(SharedHttpConnector::new(meter.clone()), line).await;
        assert!([Outcome::Done, Outcome::Attention].contains(&said.outcome), "{line:?}: {}", said.stderr);
        meter.spent()
    }

    /// The function, in a process of its own that has seen nothing yet.
    async fn function(&mut self, which: Which, event: Value) -> Cost {
        let meter = self.meter();
        let faults = std::mem::replace(&mut self.stage.faults, Faults::new(SharedHttpConnector::new(meter.clone())));
        let mut host = Host::new(&self.stage, which);
        host.idle = Some(Idle::default());
        self.stage.faults = faults;
        let answer = host.invoke(event).await.expect("done");
        assert!(answer.get("statusCode").is_none_or(|status| status == 200), "{answer}");
        meter.spent()
    }

    /// What each of these costs.
    async fn costs(&mut self) -> [(&'static str, Cost); 6] {
        let first = self.first.as_str().to_owned();
        let fetch = json!({"httpMethod": "GET", "path": format!("/v1/jwks/{first}"), "headers": {}});
        [
            ("list", self.command(&["list"]).await),
            ("list --prefix, of one", self.command(&["list", "--prefix", &first]).await),
            ("show", self.command(&["show", &first]).await),
            ("history, whole", self.command(&["history", &first]).await),
            ("a key set", self.function(Which::Jwks, fetch).await),
            ("a tick of retirement, nothing due", self.function(Which::Retirement, tick()).await),
        ]
    }
}

impl Meter {
    fn spent(&self) -> Cost {
        *self.cost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tick() -> Value {
    json!({"detail-type": "Scheduled Event", "source": "aws.events"})
}

async fn copy(stage: &Stage, terms: &Terms, name: &CredentialName, life: &[Event], more_events: usize) {
    let tags = terms.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
    let made = stage.secrets_manager().create_secret().name(name.as_str()).secret_string("{}").set_tags(Some(tags));
    let arn = made.send().await.expect("a secret").arn.expect("an ARN");
    let records = &stage.engine_unhurt().records;
    let mut credential = Credential::empty(name.clone(), &arn);
    // What is long over.
    let more = (0..more_events).map(|number| Change::Held {
        generation: None,
        hold: Hold::new(HoldReason::Rejected, format!("its tags could not be used ({number})")),
    });
    let first = life.first().expect("events");
    for (change, event) in more.map(|more| (more, first)).chain(life.iter().map(|event| (event.change.clone(), event)))
    {
        let stamp = Stamp { at: event.at, until: event.at, actor: event.actor, note: None };
        let commit = credential.apply(change, &stamp).expect("it happened once");
        records.commit(&commit).await.expect("stored");
        credential = commit.credential;
    }
}

/// That nothing grows that should not: whoever scans, or asks once for each credential, is noticed.
#[tokio::test(start_paused = true)]
async fn a_look_costs_what_it_shows() {
    let few = Fleet::new(4, 3, 0).await.costs().await;
    let many = Fleet::new(40, 3, 0).await.costs().await;
    let long = Fleet::new(4, 3, 200).await.costs().await;
    for ((what, few), (many, long)) in few.into_iter().zip(many.into_iter().map(|it| it.1).zip(long.map(|it| it.1))) {
        let told = format!("{what}: {few:?}; ten times as many: {many:?}; a history of 200 events more: {long:?}");
        assert_eq!(
            (many.writes, long.writes, many.calls, long.calls),
            (few.writes, few.writes, few.calls, few.calls),
            "{told}"
        );
        if what != "list" {
            assert!((many.reads - few.reads).abs() < 1.0, "{told}");
        }
        if what != "history, whole" {
            assert!((long.reads - few.reads).abs() < 1.0, "{told}");
        }
        if what == "list" {
            assert!(many.reads <= 40.0 / 4.0 + 8.0, "{told}");
        }
    }
}

#[tokio::test(start_paused = true)]
#[ignore = "a benchmark: it takes minutes"]
async fn table() {
    say("| What | Credentials | Rotations, of each | Events more, of each | Calls | Read units | Write units | kB |");
    say("|---|---:|---:|---:|---:|---:|---:|---:|");
    let fleets =
        [(100, 0, 0), (1_000, 0, 0), (10_000, 0, 0), (1, 3, 0), (1, 3, 1_000), (1, 3, 10_000), (1, 3, 100_000)];
    for (credentials, rotations, more) in fleets {
        for (what, cost) in Fleet::new(credentials, rotations, more).await.costs().await {
            let Cost { calls, reads, writes, bytes } = cost;
            let of = format!("{credentials} | {rotations} | {more}");
            say(&format!("| {what} | {of} | {calls} | {reads:.1} | {writes:.1} | {} |", bytes / 1_000));
        }
    }
}
