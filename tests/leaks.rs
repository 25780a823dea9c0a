//! I8: no secret value outside Secrets Manager, the provider's own request, and its one Rust type.
//!
//! Marked values go through everything the service does, and through errors that quote them; then everything that it
//! said or stored is searched.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use chrono::TimeDelta;
use clap::Parser;
use local_aws::{Function, FunctionError};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use rotator::functions::{Handle, Invocation, retirement::Retirement, rotation::Rotation, telemetry};
use rotator::jose::{Algorithm, PrivateJwk};
use rotator::rotate::{Compromised, emergency};
use rotator::secret::SecretValue;
use rotator_cli::commands::{self, Cli};
use rotator_cli::context::Context;
use rotator_cli::output::Out;
use serde_json::{Value, json};
use state::decide::Step;
use state::ledger::Note;
use state::name::CredentialName;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use crate::harness::faults::operation;
use crate::harness::{ACME, Host, Stage, Terms, Which, document, sdk_config};

/// The kinds whose values have a private key in them.
const PRIVATE_KINDS: [(&str, &str); 4] =
    [("webhook-secret", ""), ("webhook-secret", "HS384"), ("jwt-signing-key", "ES256"), ("jwt-signing-key", "RS256")];

/// The value of the first key.
const MARKED: &str = "MARKEDvalue7Qm2Zx9Kd4Ws8";
const TOKEN: &str = "11111111-0000-4000-8000-000000000000";

/// Everything that was said or stored, and what must not be in it.
#[derive(Clone, Debug, Default)]
struct Ear(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    said: Vec<u8>,
    secrets: Vec<String>,
}

impl Ear {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, text: &str) {
        self.heard().said.extend_from_slice(text.as_bytes());
    }

    fn learn(&self, secret: &str) {
        let mut heard = self.heard();
        if !heard.secrets.iter().any(|known| known == secret) {
            heard.secrets.push(secret.to_owned());
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard().said).into_owned()
    }

    /// The secrets that were said, as they are or in base64, each with its surroundings.
    fn leaks(&self) -> Vec<String> {
        let text = self.text();
        let secrets = self.heard().secrets.clone();
        let forms = secrets.iter().flat_map(|secret| [secret.clone(), aws_smithy_types::base64::encode(secret)]);
        forms
            .filter_map(|form| {
                let at = text.find(&form)?;
                let shown: String = text[..at].chars().rev().take(300).collect();
                Some(format!("{form} after ...{}", shown.chars().rev().collect::<String>()))
            })
            .collect()
    }

    fn assert_silent(&self, what: &str) {
        let leaks = self.leaks();
        assert!(leaks.is_empty(), "{what}: {leaks:#?}");
    }
}

impl Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.heard().said.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Ear {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Names and labels of metrics, and nothing else is in one.
impl Recorder for Ear {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.say(&format!("metric {key}\n"));
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.say(&format!("metric {key}\n"));
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.say(&format!("metric {key}\n"));
        Histogram::noop()
    }
}

/// The rotation function, whose `RotationToken` is a secret too.
struct Listening {
    host: Host,
    ear: Ear,
}

#[async_trait]
impl Function for Listening {
    async fn invoke(&self, payload: Value) -> Result<Value, FunctionError> {
        self.ear.learn(payload["RotationToken"].as_str().expect("a rotation token"));
        let done = self.host.invoke(payload).await;
        self.ear.say(&format!("{done:?}\n"));
        done
    }
}

/// A stage whose first key has the marked value.
async fn marked_stage(ear: &Ear) -> (Stage, String) {
    let stage = Stage::new().await;
    stage.aws.register("rotation", Arc::new(Listening { host: Host::new(&stage, Which::Rotation), ear: ear.clone() }));
    ear.learn(MARKED);
    key(&stage, "acme", MARKED).await;
    let arn = stage.secret(ACME, &document(MARKED), &Terms::default()).await;
    (stage, arn)
}

async fn key(stage: &Stage, name: &str, value: &str) {
    let client = stage.api_gateway();
    let made = client.create_api_key().name(name).enabled(true).value(value).send().await.expect("a key");
    let attach = client.create_usage_plan_key().usage_plan_id(&stage.plan).key_type("API_KEY");
    attach.key_id(made.id.expect("an id")).send().await.expect("attached");
}

/// Every value that API Gateway knows now.
fn learn_keys(stage: &Stage, ear: &Ear) {
    for key in stage.aws.inspect_api_keys() {
        ear.learn(&key.value);
    }
}

async fn say_table(stage: &Stage, ear: &Ear) {
    let client = stage.dynamodb();
    let found = client.scan().table_name(&stage.settings.table).send().await.expect("a table");
    assert!(found.last_evaluated_key.is_none() && found.count > 0, "the whole table");
    ear.say(&format!("{:?}\n", found.items()));
}

fn listening<T>(ear: &Ear, default: &str, run: impl Future<Output = T>) -> T {
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(ear.clone());
    // The very filter of the functions and the command line.
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(telemetry::filter(default)));
    let _guard = tracing::subscriber::set_default(subscriber);
    in_paused_time(ear, run)
}

fn in_paused_time<T>(ear: &Ear, run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    metrics::with_local_recorder(ear, || runtime.expect("a runtime").block_on(run))
}

/// Every private part of a value, wherever it is: of a private key in any form, the text that is worth stealing.
fn learn_private(value: &Value, ear: &Ear) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str() {
                    Some(text) if ["d", "p", "q", "dp", "dq", "qi", "k"].contains(&name.as_str()) => ear.learn(text),
                    Some(text) => learn_whsec(text, ear),
                    None => learn_private(member, ear),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| learn_private(item, ear)),
        Value::String(text) => learn_whsec(text, ear),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn learn_whsec(text: &str, ear: &Ear) {
    if let Some(secret) = text.strip_prefix("whsec_") {
        ear.learn(secret);
    }
}

/// Every private part of every value that Secrets Manager holds now.
async fn learn_values(stage: &Stage, ear: &Ear) {
    let client = stage.secrets_manager();
    let listed = client.list_secrets().send().await.expect("listed");
    for name in listed.secret_list().iter().filter_map(|secret| secret.name()) {
        let versions = client.list_secret_version_ids().secret_id(name).include_deprecated(true).send().await;
        for version in versions.expect("listed").versions().iter().filter_map(|version| version.version_id()) {
            let read = client.get_secret_value().secret_id(name).version_id(version).send().await;
            let Ok(read) = read else { continue };
            let text = read.secret_string().expect("text");
            learn_private(&serde_json::from_str(text).expect("JSON"), ear);
        }
    }
}

/// The wishes for one of [`PRIVATE_KINDS`].
fn private_terms((kind, algorithm): (&str, &str)) -> Terms {
    let terms = Terms::of(kind);
    let terms = if kind == "webhook-secret" { terms.with("overlap", "P1D") } else { terms };
    if algorithm.is_empty() { terms } else { terms.with("algorithm", algorithm) }
}

/// The first key, a standby, a rotation, an emergency, retirement.
async fn a_whole_private_life(ear: &Ear, of: (&str, &str)) {
    let stage = Stage::new().await;
    stage.aws.register("rotation", Arc::new(Listening { host: Host::new(&stage, Which::Rotation), ear: ear.clone() }));
    let arn = stage.secret(ACME, "{}", &private_terms(of)).await;
    stage.rotate(&arn).await;
    stage.tick().await;
    learn_values(&stage, ear).await;
    stage.pass(TimeDelta::hours(25)).await;
    stage.rotate(&arn).await;
    assert!(stage.load(ACME).await.head.current == Some(2), "{}", ear.text());
    stage.tick().await;
    learn_values(&stage, ear).await;
    let name = CredentialName::parse(ACME).expect("a name");
    let note = Note { salt: "00".into(), who: "ada".into(), reason: "leaked".into() };
    let (engine, errand) = (stage.engine_unhurt(), stage.errand());
    let mut tell = |milestone| ear.say(&format!("{milestone} {milestone:?}\n"));
    let world = async {
        loop {
            stage.aws.settle().await;
            learn_values(&stage, ear).await;
            stage.tick().await;
            rotator::ports::Clock::sleep(&stage.clock, TimeDelta::seconds(10)).await;
        }
    };
    tokio::select! {
        biased;
        done = emergency(&engine, &name, &Compromised::All, &note, &errand, &mut tell) => {
            ear.say(&format!("{done:?}\n"));
            done.expect("the emergency");
        }
        () = world => unreachable!("it never ends"),
    }
    learn_values(&stage, ear).await;
    for _ in 0..2 {
        stage.pass(TimeDelta::hours(25)).await;
        learn_values(&stage, ear).await;
    }
    ear.say(&format!("{:?} {:?}\n", stage.load(ACME).await, stage.key_set(ACME).await));
    say_table(&stage, ear).await;
}

#[test]
fn nothing_that_is_logged_measured_stored_or_served_holds_a_private_key() {
    for of in PRIVATE_KINDS {
        let ear = Ear::default();
        listening(&ear, "trace", a_whole_private_life(&ear, of));
        let said = ear.text();
        for proof in ["committed", "step over", "tick over", "emergency ordered", "published"] {
            assert!(said.contains(proof), "{of:?}: {proof} was not heard: this test would prove nothing");
        }
        assert!(ear.heard().secrets.len() >= 6, "{of:?}: three keys and the tokens of their rotations");
        ear.assert_silent(&format!("a whole life of {of:?}"));
    }
}

/// A rotation, an emergency, retirement, everything at `trace`.
async fn a_whole_life(ear: &Ear) {
    let (stage, arn) = marked_stage(ear).await;
    stage.rotate(&arn).await;
    learn_keys(&stage, ear);
    assert!(stage.load(ACME).await.head.current == Some(2), "{}", ear.text());
    ear.say(&format!("{:?}\n", stage.command(&["rollback", ACME, "--reason", "it fails"]).await));
    assert!(stage.load(ACME).await.head.current == Some(1), "{}", ear.text());
    stage.rotate(&arn).await;
    learn_keys(&stage, ear);
    // Made again, with the value that is read for it.
    stage.delete_key(&stage.id_of(3).await).await;
    ear.say(&format!("{:?}\n", stage.command(&["reconcile", ACME, "--yes"]).await));
    assert!(stage.gets_through(&stage.current_value(&arn).await).await, "{}", ear.text());
    ear.say(&format!("{:?}\n", stage.command(&["retire", ACME, "--generation", "2", "--reason", "bad"]).await));
    let name = CredentialName::parse(ACME).expect("a name");
    let note = Note { salt: "00".into(), who: "ada".into(), reason: "leaked".into() };
    let (engine, errand) = (stage.engine_unhurt(), stage.errand());
    let mut tell = |milestone| ear.say(&format!("{milestone} {milestone:?}\n"));
    let world = async {
        loop {
            stage.aws.settle().await;
            stage.tick().await;
            rotator::ports::Clock::sleep(&stage.clock, TimeDelta::seconds(10)).await;
        }
    };
    tokio::select! {
        biased;
        done = emergency(&engine, &name, &Compromised::All, &note, &errand, &mut tell) => {
            ear.say(&format!("{done:?}\n"));
            done.expect("the emergency");
        }
        () = world => unreachable!("it never ends"),
    }
    learn_keys(&stage, ear);
    stage.pass(TimeDelta::hours(25)).await;
    stage.pass(TimeDelta::hours(25)).await;
    ear.say(&format!("{:?}\n", stage.load(ACME).await));
    say_table(&stage, ear).await;
}

#[test]
fn nothing_that_is_logged_measured_or_stored_holds_a_value() {
    let ear = Ear::default();
    listening(&ear, "trace", a_whole_life(&ear));
    let said = ear.text();
    let measured = ["metric Key(Steps", "metric Key(Transitions"];
    let told = ["committed", "step over", "tick over", "is current again", "KeyVanished", "emergency ordered"];
    for proof in measured.into_iter().chain(told) {
        assert!(said.contains(proof), "{proof} was not heard: this test would prove nothing");
    }
    assert!(ear.heard().secrets.len() >= 8, "four keys and a token for each step");
    ear.assert_silent("a whole life");
}

/// The proof that the test above can fail: without the filter, the SDK does tell.
#[test]
fn without_the_filter_values_would_be_logged() {
    let ear = Ear::default();
    let lines = tracing_subscriber::fmt::layer().json().with_writer(ear.clone());
    let everything = tracing_subscriber::filter::LevelFilter::TRACE;
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.with_filter(everything)));
    in_paused_time(&ear, a_whole_life(&ear));
    assert!(!ear.leaks().is_empty());
}

/// How an answer that quotes values is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Error(u16, &'static str),
    /// An answer that can't be read.
    Garbage,
}

const ANSWERS: [Answer; 8] = [
    Answer::Error(400, "ValidationException"),
    Answer::Error(400, "InvalidParameterException"),
    Answer::Error(400, "ResourceExistsException"),
    Answer::Error(403, "AccessDeniedException"),
    Answer::Error(409, "ConflictException"),
    Answer::Error(429, "TooManyRequestsException"),
    Answer::Error(500, "InternalServiceError"),
    Answer::Garbage,
];

/// Every call that carries a value, there or back.
const CARRIERS: [&str; 6] = [
    "secretsmanager:PutSecretValue",
    "secretsmanager:GetSecretValue",
    "TrentService:GenerateMac",
    "apigateway:POST /apikeys",
    "apigateway:GET /apikeys",
    "probe:GET /prod/ping",
];

/// An AWS that quotes every value it knows, and all of the request, in its answer to one operation.
#[derive(Debug)]
struct Hostile {
    inner: SharedHttpConnector,
    ear: Ear,
    operation: &'static str,
    answer: Answer,
    met: Arc<Mutex<usize>>,
}

impl HttpConnector for Hostile {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if operation(&request) != self.operation {
            return self.inner.call(request);
        }
        *self.met.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let body = request.body().bytes().map(|body| String::from_utf8_lossy(body).into_owned()).unwrap_or_default();
        let sent = serde_json::from_str::<Value>(&body).ok();
        let sent = sent.as_ref().and_then(|sent| sent["SecretString"].as_str());
        if let Some(sent) = sent.and_then(|sent| serde_json::from_str(sent).ok()) {
            learn_private(&sent, &self.ear);
        }
        // A value that was drawn just now is in the request, and nowhere else yet.
        for word in body.split(|c: char| !c.is_ascii_alphanumeric()) {
            if rotator::kinds::api_gateway_key::is_ours("krt1", word) {
                self.ear.learn(word);
            }
        }
        let quoted = format!("{} {body}", self.ear.heard().secrets.join(" "));
        HttpConnectorFuture::ready(Ok(answer(self.answer, self.operation.starts_with("probe:"), &quoted)))
    }
}

fn answer(answer: Answer, probe: bool, quoted: &str) -> HttpResponse {
    let (status, body) = match answer {
        Answer::Error(status, code) => {
            (status, json!({"__type": code, "message": quoted, "Message": quoted}).to_string())
        }
        // A probe's answer is not read: only its status and its headers tell.
        Answer::Garbage => (if probe { 502 } else { 200 }, format!("{{\"{quoted}")),
    };
    let mut response = HttpResponse::new(status.try_into().expect("a status"), SdkBody::from(body));
    let told = match answer {
        Answer::Error(_, code) => code.to_owned(),
        Answer::Garbage => quoted.split(' ').next().unwrap_or_default().to_owned(),
    };
    response.headers_mut().insert("x-amzn-errortype", told);
    response
}

#[test]
fn no_error_repeats_a_value_that_aws_quotes() {
    let mut met = 0;
    for operation in CARRIERS {
        for answer in ANSWERS {
            let ear = Ear::default();
            met += listening(&ear, "trace", hostile_rotation(&ear, operation, answer));
            ear.assert_silent(&format!("{operation} answers {answer:?}"));
        }
    }
    assert!(met >= CARRIERS.len() * ANSWERS.len(), "every answer was given: {met}");
}

/// The four steps, each once, against an AWS that quotes. How often it did.
async fn hostile_rotation(ear: &Ear, operation: &'static str, answer: Answer) -> usize {
    let (stage, arn) = marked_stage(ear).await;
    let client = stage.secrets_manager();
    client.rotate_secret().secret_id(&arn).client_request_token(TOKEN).send().await.expect("begun");
    let met = Arc::new(Mutex::new(0));
    for step in Step::ALL {
        let hostile = Hostile { inner: stage.aws.connector(), ear: ear.clone(), operation, answer, met: met.clone() };
        for connector in [SharedHttpConnector::new(hostile), stage.aws.connector()] {
            let function = Rotation::new(Arc::new(stage.engine_over(connector)));
            let payload = json!({"Step": step.word(), "SecretId": arn, "ClientRequestToken": TOKEN});
            let deadline = stage.clock.now() + TimeDelta::minutes(1);
            let done = function.handle(Invocation { payload, request_id: "test".into(), deadline }).await;
            if let Err(failed) = done {
                ear.say(&format!("{failed} {failed:?} {:?}\n", lambda_diagnostic(&failed)));
            }
            learn_keys(&stage, ear);
        }
    }
    say_table(&stage, ear).await;
    ear.say(&stage.story(ACME).await);
    *met.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What Lambda would be told.
fn lambda_diagnostic(failed: &rotator::functions::FunctionFailed) -> (&str, &str) {
    (&failed.error_type, &failed.message)
}

/// Every call that carries a private key, there or back.
const PRIVATE_CARRIERS: [&str; 5] = [
    "secretsmanager:PutSecretValue",
    "secretsmanager:GetSecretValue",
    "secretsmanager:CreateSecret",
    "TrentService:GenerateMac",
    "probe:GET /v1/jwks/partner/acme",
];

#[test]
fn no_error_repeats_a_private_key_that_aws_quotes() {
    for of in [PRIVATE_KINDS[0], PRIVATE_KINDS[2]] {
        let mut met = 0;
        for operation in PRIVATE_CARRIERS {
            for answer in ANSWERS {
                let ear = Ear::default();
                met += listening(&ear, "trace", hostile_private_rotation(&ear, of, operation, answer));
                ear.assert_silent(&format!("{of:?}: {operation} answers {answer:?}"));
            }
        }
        let least = if of.0 == "webhook-secret" { 3 } else { PRIVATE_CARRIERS.len() };
        assert!(met >= least * ANSWERS.len(), "{of:?}: every answer was given: {met}");
    }
}

/// The four steps and a tick of retirement for the first key and its successor, each once, against an AWS that quotes.
async fn hostile_private_rotation(ear: &Ear, of: (&str, &str), operation: &'static str, answer: Answer) -> usize {
    const NEXT: &str = "22222222-0000-4000-8000-000000000000";
    let stage = Stage::new().await;
    let arn = stage.secret(ACME, "{}", &private_terms(of)).await;
    let met = Arc::new(Mutex::new(0));
    for token in [TOKEN, NEXT] {
        let client = stage.secrets_manager();
        // Refused if the first one did not come to its end.
        let _ = client.rotate_secret().secret_id(&arn).client_request_token(token).send().await;
        let steps = Step::ALL.map(|step| json!({"Step": step.word(), "SecretId": arn, "ClientRequestToken": token}));
        let tick = json!({"detail-type": "Secret Label Updated", "detail": {"name": ACME}});
        for payload in steps.into_iter().chain([tick]) {
            let inner = stage.aws.connector();
            let hostile = Hostile { inner, ear: ear.clone(), operation, answer, met: met.clone() };
            for connector in [SharedHttpConnector::new(hostile), stage.aws.connector()] {
                let engine = Arc::new(stage.engine_over(connector));
                let function: Box<dyn Handle> = if payload.get("Step").is_some() {
                    Box::new(Rotation::new(engine))
                } else {
                    Box::new(Retirement::new(engine))
                };
                let deadline = stage.clock.now() + TimeDelta::minutes(1);
                let payload = payload.clone();
                let done = function.handle(Invocation { payload, request_id: "test".into(), deadline }).await;
                if let Err(failed) = done {
                    ear.say(&format!("{failed} {failed:?} {:?}\n", lambda_diagnostic(&failed)));
                }
                learn_values(&stage, ear).await;
            }
        }
        rotator::ports::Clock::sleep(&stage.clock, TimeDelta::hours(26)).await;
    }
    say_table(&stage, ear).await;
    ear.say(&stage.story(ACME).await);
    *met.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn no_debug_form_and_no_refusal_shows_a_private_key() {
    let ear = Ear::default();
    in_paused_time(&ear, async {
        ear.learn(MARKED);
        let stage = Stage::new().await;
        let engine = stage.engine_unhurt();
        for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256] {
            let key = PrivateJwk::generate(algorithm, 2_048).expect("a key");
            learn_private(&key.to_value(), &ear);
            ear.say(&format!("{key:?} {:?} {:?} {:?}\n", key.to_json(), key.secret(), key.public()));
            let mut broken = key.to_value();
            broken["x"] = "AAAA".into();
            broken["n"] = "AAAA".into();
            let broken = SecretValue::new(broken.to_string());
            let refused = PrivateJwk::parse(&broken).expect_err("not one key");
            ear.say(&format!("{refused} {refused:?}\n"));
        }
        // Values that no kind can use, each with the marked text where a key could be.
        for value in [
            json!(MARKED),
            json!({"signing": MARKED, "signer": MARKED}),
            json!({"signing": format!("whsec_{MARKED}"), "signer": {"d": MARKED}}),
            json!({"signing": {"kty": "oct", "k": MARKED}, "signer": {"kty": "EC", "crv": "P-256", "d": MARKED}}),
            json!({"signing": {"kty": "oct", "alg": "HS256", "kid": "a", "k": MARKED}, "signer": {"kty": MARKED}}),
            json!({"signing": [MARKED], "signer": [MARKED]}),
            json!({"signing": 7, "signer": {"kty": "OKP", "crv": "Ed25519", "x": MARKED, "d": MARKED}}),
            json!({"signing": {"kty": MARKED}, "signer": {"kty": "RSA", "n": MARKED, "e": "AQAB", "d": MARKED}}),
            json!({"signing": {"kty": "oct", "alg": MARKED}, "signer": {"kty": "EC", "kid": MARKED, "alg": MARKED}}),
        ] {
            for kind in ["webhook-secret", "jwt-signing-key", "kms-signing-key"] {
                let policy = policy(&engine, kind);
                let kind = engine.kind(kind).expect("a kind");
                let document = SecretValue::new(value.to_string());
                match kind.key(&document, &policy) {
                    Ok(key) => ear.say(&format!("{key:?}\n")),
                    Err(bad) => ear.say(&format!("{bad} {bad:?}\n")),
                }
                let carrier = state::name::Token::parse(TOKEN).expect("a token");
                let name = state::name::CredentialName::parse("partner/acme").expect("a name");
                let sight = rotator::kind::Sight {
                    name: &name,
                    carrier: &carrier,
                    policy: &policy,
                    current: None,
                    known: Some(&document),
                    is_ordered: false,
                };
                ear.say(&format!("{kind:?} {sight:?}\n"));
                if kind.name() != "kms-signing-key" {
                    ear.say(&format!("{:?}\n", kind.recognise(&document, &sight).await));
                }
            }
        }
    });
    assert!(
        ear.text().contains("SecretValue(..)") && ear.text().contains("PrivateJwk("),
        "this test would prove nothing"
    );
    ear.assert_silent("a Debug form or a refusal");
}

#[test]
fn no_debug_form_shows_a_value() {
    let ear = Ear::default();
    in_paused_time(&ear, async {
        let (stage, arn) = marked_stage(&ear).await;
        let value = SecretValue::new(MARKED);
        let held = SecretValue::new(document(MARKED));
        let tags = std::collections::BTreeMap::new();
        let token = state::name::Token::parse(TOKEN).expect("a token");
        let key = rotator::aws::api_keys::ApiKey::default();
        ear.say(&format!("{value:?} {held:?} {:?}", Some(&value)));
        ear.say(&format!("{:?}", rotator::aws::api_keys::NewKey { value: &value, key: &key }));
        let new = rotator::aws::secrets::NewSecret {
            name: "x",
            token: &token,
            description: "x",
            document: &held,
            encrypted_by: None,
            tags: &tags,
        };
        ear.say(&format!("{new:?}"));
        let errand = rotator::engine::Errand { rotation_token: Some(&value), ..stage.errand() };
        ear.say(&format!("{errand:?}"));
        let payload = json!({"Step": "createSecret", "SecretId": arn, "RotationToken": MARKED});
        let invocation = Invocation { payload, request_id: "test".into(), deadline: stage.clock.now() };
        ear.say(&format!("{invocation:?}"));
        let engine = stage.engine_unhurt();
        ear.say(&format!("{:?}", engine.secrets.value(&arn, &current(&stage, &arn).await).await));
        ear.say(&format!("{:?}", engine.api_keys.find("", &value).await));
        ear.say(&format!("{engine:?} {:?}", Rotation::new(stage.engine_unhurt())));
        ear.say(&format!("{:?}", engine.macs.fingerprint(&value).await));
        let kind = engine.kind("api-gateway-key").expect("a kind");
        let policy = policy(&engine, kind.name());
        ear.say(&format!("{:?}", kind.key(&held, &policy)));
        ear.say(&format!("{:?}", engine.describe(&arn).await));
        ear.say(&format!("{:?}", kind.key(&SecretValue::new(MARKED), &policy)));
        ear.say(&format!("{:?}", kind.key(&SecretValue::new(format!("{{\"apiKey\": [\"{MARKED}\"]}}")), &policy)));
    });
    assert!(ear.text().contains("SecretValue(..)"), "this test would prove nothing");
    ear.assert_silent("a Debug form");
}

fn policy(engine: &rotator::engine::Engine, kind: &str) -> state::policy::Policy {
    let tags = std::collections::BTreeMap::from([("rotator:kind".to_owned(), kind.to_owned())]);
    engine.wishes(&tags).expect("usable")
}

async fn current(stage: &Stage, arn: &str) -> state::name::Token {
    let secret = stage.engine_unhurt().describe(arn).await.expect("a secret");
    secret.holder(state::decide::AWSCURRENT).expect("a current version").clone()
}

#[test]
fn no_command_prints_a_value() {
    let ear = Ear::default();
    listening(&ear, "trace", async {
        let (stage, arn) = marked_stage(&ear).await;
        stage.rotate(&arn).await;
        key(&stage, "other", "MARKEDother7Qm2Zx9Kd4Ws8").await;
        learn_keys(&stage, &ear);
        // A function's other variables are nobody's business.
        let whisper =
            |shape: &mut local_aws::FunctionShape| drop(shape.environment.insert("OTHER".into(), MARKED.into()));
        assert!(stage.aws.configure_function("rotation", whisper));
        for format in ["table", "json"] {
            for line in [
                vec!["list"],
                vec!["doctor"],
                vec!["doctor", ACME],
                vec!["show", ACME],
                vec!["history", ACME],
                vec!["reconcile"],
                vec!["repair", ACME, "--yes"],
                vec!["adopt", "--all", "--secret-prefix", "partner/"],
                vec!["adopt", "--all", "--secret-prefix", "partner/", "--yes"],
                vec!["show", "partner/nobody"],
            ] {
                let arguments = ["rotator"].into_iter().chain(line).chain(["--output", format]);
                command(&stage, &ear, Cli::try_parse_from(arguments).expect("a command line")).await;
                stage.aws.settle().await;
            }
        }
        say_table(&stage, &ear).await;
    });
    let said = ear.text();
    assert!(said.contains("partner/other") && said.contains("partner/acme"), "the commands printed: {said}");
    ear.assert_silent("a command");
}

async fn command(stage: &Stage, ear: &Ear, cli: Cli) {
    let connector = stage.aws.connector();
    let config = rotator::aws::plain(sdk_config(connector.clone()));
    let context = Context::new(config, stage.settings.clone(), stage.ports(connector));
    let (mut stdout, mut stderr) = (ear.clone(), ear.clone());
    let mut out = Out::plain(cli.output, &mut stdout, &mut stderr);
    let done = commands::run_in(&context, cli.command, &mut out).await;
    if let Err(trouble) = &done {
        let view = rotator_cli::trouble::ErrorView::from(trouble);
        out.fail(&view).expect("printed");
        ear.say(&format!("{trouble} {trouble:?} {}\n", rotator::failure::chain(trouble)));
    }
}
