//! `rotator adopt --kind`

use std::collections::BTreeMap;

use rotator::adoption::Verdict;
use rotator::adoption::secrets::{Item, Terms, adopt, plan};
use rotator::failure::Stopped;
use serde::Serialize;
use state::name::CredentialName;
use state::policy::PREFIX;

use super::super::consent::{Consent, Plan, Unasked};
use super::OutlookView;
use crate::context::Context;
use crate::output::{Look, Out, Progress, View, dash, harmless, listed, short_id, table};
use crate::trouble::{ErrorBody, Outcome, Trouble};

/// The kinds that are adopted by their secrets' names.
pub(super) const KINDS: [&str; 4] = ["api-gateway-key", "webhook-secret", "kms-signing-key", "jwt-signing-key"];

/// Runs the command.
pub(super) async fn run(
    context: &Context,
    names: &[CredentialName],
    terms: &Terms,
    consent: Consent,
    reason: &str,
    out: &mut Out<'_>,
) -> Result<Outcome, Trouble> {
    out.wait_for("reading secrets and records");
    let items = plan(&context.engine, names, terms, &context.errand()).await;
    let items = items.map_err(Trouble::stopped("could not plan the adoption"))?;
    let publishes = context.engine.kind(&terms.kind).is_ok_and(|kind| kind.publishes());
    let key_set = |name: &CredentialName| context.engine.key_sets.location(name).ok().filter(|_| publishes);
    let mut view = SecretsView::planned(&items, &terms.kind, key_set);
    if let Some(outcome) = consent.ends(&view, out)? {
        return Ok(outcome);
    }
    let note = context.note(reason).await?;
    let todo: Vec<_> = items.iter().enumerate().filter(|(_, item)| item.verdict == Verdict::Adopt).collect();
    for (done, (place, item)) in todo.iter().enumerate() {
        out.progress(Progress::Done { what: "secrets adopted", done, of: todo.len() });
        let done = adopt(&context.engine, item, terms, &context.errand(), Some(&note)).await;
        let over = matches!(done, Err(Stopped::OutOfTime(_)));
        view.finish(*place, done.map_err(Trouble::stopped(format!("could not adopt {}", item.secret))));
        if over {
            break;
        }
    }
    view.applied = true;
    out.show(&view)?;
    Ok(view.outcome())
}

/// What `rotator adopt --kind` prints.
///
/// ```json
/// {"applied": false, "adopted": 0, "kind": "webhook-secret", "secrets": [{
///   "name": "hooks/acme", "exists": true, "key": {"id": "..."}, "keySet": null, "tags": {"rotator:kind": "webhook-secret"},
///   "schedule": "cron(0 8 1 * ? *)", "outlook": {"firstRotation": "...", "refusedFrom": "...", "refusedBy": "..."},
///   "verdict": "adopt", "why": null, "remedy": null,
///   "adopted": false, "error": null}]}
/// ```
///
/// `applied` is `false` for a plan. `key` is what the provider calls the current key, `null` when the first rotation
/// makes one; `keySet` is where verifiers fetch its keys, for kinds whose keys they fetch; `tags` are those that the secret gets; `schedule` is the one that it will have, or has. `outlook`, of a
/// key that is there: when it is replaced first, from when on it is refused if nobody uses it, and when at the latest (null:
/// never while it is used). `verdict` is
/// `adopt`, `managed` (it is already) or `refused`, then with `why` and `remedy`. `error` has `kind`, `message` and
/// `next`, as errors on standard error have.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretsView {
    applied: bool,
    adopted: usize,
    kind: String,
    secrets: Vec<Row>,
    #[serde(skip)]
    failed: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: CredentialName,
    exists: bool,
    key: Option<BTreeMap<String, String>>,
    key_set: Option<String>,
    tags: BTreeMap<String, String>,
    schedule: Option<String>,
    outlook: Option<OutlookView>,
    verdict: &'static str,
    why: Option<String>,
    remedy: Option<String>,
    adopted: bool,
    error: Option<ErrorBody>,
}

impl SecretsView {
    /// What would be done; the function says where verifiers fetch a credential's keys.
    pub fn planned(items: &[Item], kind: &str, key_set: impl Fn(&CredentialName) -> Option<String>) -> Self {
        let secrets = items.iter().map(|item| Row::planned(item, key_set(&item.secret))).collect();
        Self { applied: false, adopted: 0, kind: kind.to_owned(), secrets, failed: false }
    }

    fn finish(&mut self, place: usize, done: Result<(), Trouble>) {
        match done {
            Ok(()) => {
                self.adopted += 1;
                self.secrets[place].adopted = true;
            }
            Err(trouble) => {
                self.failed |= trouble.outcome() != Outcome::Attention;
                self.secrets[place].error = Some((&trouble).into());
            }
        }
    }
}

impl Plan for SecretsView {
    const UNASKED: Unasked = Unasked::IsShown;

    fn changes(&self) -> bool {
        self.secrets.iter().any(|row| row.word() == "adopt")
    }

    fn outcome(&self) -> Outcome {
        let refused = self.secrets.iter().any(|row| row.verdict == "refused" || row.error.is_some());
        if self.failed { Outcome::Failed } else { Outcome::attention_if(refused) }
    }
}

impl Row {
    fn planned(item: &Item, key_set: Option<String>) -> Self {
        let (verdict, why, remedy) = match &item.verdict {
            Verdict::Adopt => ("adopt", None, None),
            Verdict::Managed => ("managed", None, None),
            Verdict::Refused { why, remedy } => ("refused", Some(why.clone()), Some(remedy.clone())),
        };
        Self {
            name: item.secret.clone(),
            exists: item.exists,
            key: item.key.clone(),
            key_set,
            tags: item.tags.clone(),
            schedule: item.schedule.clone(),
            outlook: item.outlook.filter(|_| item.key.is_some()).map(OutlookView::from),
            verdict,
            why,
            remedy,
            adopted: false,
            error: None,
        }
    }

    fn word(&self) -> &'static str {
        match (self.adopted, &self.error) {
            (true, _) => "adopted",
            (false, Some(_)) => "failed",
            (false, None) => self.verdict,
        }
    }

    fn holds(&self) -> String {
        let key = self.key.as_ref().and_then(|key| key.get("id"));
        match (self.verdict, key) {
            (_, Some(id)) => short_id(id).to_owned(),
            ("refused", None) => dash(),
            (_, None) => "none yet".into(),
        }
    }
}

impl View for SecretsView {
    fn page(&self, look: &Look) -> String {
        let mut page = table(
            look,
            ["SECRET", "IS", "KEY", "NEW TAGS", "SCHEDULE", "RESULT"],
            self.secrets.iter().map(|row| {
                let tags = row.tags.iter().map(|(tag, value)| {
                    let tag = tag.strip_prefix(PREFIX).unwrap_or(tag);
                    format!("{tag}={value}")
                });
                [
                    row.name.to_string(),
                    if row.exists { "there" } else { "new" }.to_owned(),
                    row.holds(),
                    listed(tags),
                    row.schedule.clone().unwrap_or_else(|| "on demand".into()),
                    row.word().to_owned(),
                ]
            }),
        );
        page.push('\n');
        for row in &self.secrets {
            let trouble = row.error.as_ref().map(|error| (&error.message, error.next.as_ref()));
            let refusal = row.why.as_ref().map(|why| (why, row.remedy.as_ref()));
            let Some((why, next)) = trouble.or(refusal) else { continue };
            page.push_str(&format!("{}: {}\n", row.name, harmless(why)));
            if let Some(next) = next {
                page.push_str(&format!("  next: {}\n", harmless(next)));
            }
        }
        for row in self.secrets.iter().filter(|row| ["adopt", "adopted"].contains(&row.word())) {
            if let Some(outlook) = &row.outlook {
                page.push_str(&outlook.page(&format!("today's keys of {}", row.name), "a key"));
            }
        }
        let count = |word| self.secrets.iter().filter(|row| row.word() == word).count();
        let (refused, managed) = (count("refused"), count("managed"));
        if !self.applied {
            let next = if count("adopt") > 0 { ": --yes does it" } else { "" };
            let adopt = count("adopt");
            page.push_str(&format!(
                "to adopt {adopt}, already managed {managed}, refused {refused}; nothing was changed{next}\n"
            ));
            return page;
        }
        let (failed, left) = (count("failed"), count("adopt"));
        let left = if left > 0 { format!(", {left} not begun: run the same command again") } else { String::new() };
        page.push_str(&format!(
            "adopted {}, already managed {managed}, refused {refused}, failed {failed}{left}\n",
            self.adopted
        ));
        for row in self.secrets.iter().filter(|row| row.adopted) {
            let name = &row.name;
            if row.key.is_none() {
                page.push_str(&format!("{name} has no key yet: `rotator rotate {name}` makes the first one\n"));
            }
            if let Some(url) = &row.key_set {
                page.push_str(&format!("verifiers of {name} fetch its keys at {url}\n"));
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
    use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
    use rotator::engine::{Engine, Errand};
    use tokio::sync::Notify;

    use state::policy::Timetable;

    use super::*;
    use crate::embedded::{Embedded, Setup};

    fn items() -> Vec<Item> {
        let why = "its tag rotator:overlap says \"P3D\" already, not \"P7D\u{1b}\"".to_owned();
        let remedy = "leave the wish out, or change the tag on the secret yourself".to_owned();
        let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        [
            ("orders/new", false, None, Verdict::Adopt),
            ("orders/old", true, Some(arn), Verdict::Managed),
            ("orders/odd", true, None, Verdict::Refused { why, remedy }),
        ]
        .map(|(name, exists, key, verdict)| Item {
            secret: CredentialName::parse(name).unwrap(),
            exists,
            key: key.map(|id| BTreeMap::from([("id".to_owned(), id.to_owned())])),
            tags: [("rotator:kind", "kms-signing-key"), ("rotator:overlap", "P7D")]
                .into_iter()
                .filter(|_| !exists)
                .map(|(tag, value)| (tag.to_owned(), value.to_owned()))
                .collect(),
            policy: None,
            outlook: None,
            schedule: Some("cron(0 8 1 * ? *)".into()),
            verdict,
        })
        .to_vec()
    }

    fn planned() -> SecretsView {
        SecretsView::planned(&items(), "kms-signing-key", |name| Some(format!("https://keys.example/v1/jwks/{name}")))
    }

    fn applied() -> SecretsView {
        let mut view = planned();
        view.applied = true;
        view.finish(0, Ok(()));
        view
    }

    #[test]
    fn the_json() {
        insta::assert_snapshot!("applied", crate::output::json(&applied()));
    }

    #[test]
    fn the_page() {
        insta::assert_snapshot!("page_planned", planned().page(&Look::PLAIN));
        insta::assert_snapshot!("page_applied", applied().page(&Look::PLAIN));
    }

    #[tokio::test]
    async fn every_kind_is_known_to_the_engine() {
        let embedded = Embedded::start().await.unwrap();
        for kind in KINDS {
            assert!(embedded.engine().kind(kind).is_ok(), "{kind}");
        }
    }

    const VALUE: &str = r#"{"signing":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw","note":"kept"}"#;

    fn terms(embedded: &Embedded, kind: &str) -> Terms {
        Terms {
            kind: kind.into(),
            tags: [("soak".to_owned(), "P3D".to_owned())].into(),
            schedule: Timetable::Together("rate(30 days)".into()),
            encrypted_by: None,
            function_arn: embedded.settings.function_arn.clone().unwrap(),
        }
    }

    fn errand(engine: &Engine) -> Errand<'static> {
        let deadline = engine.ports.clock.now() + chrono::TimeDelta::minutes(5);
        Errand { actor: state::ledger::Actor::Operator, deadline, rotation_token: None, note: None }
    }

    async fn verdict(embedded: &Embedded, name: &str, terms: &Terms) -> Verdict {
        let (engine, name) = (embedded.engine(), CredentialName::parse(name).unwrap());
        plan(engine, &[name], terms, &errand(engine)).await.unwrap().remove(0).verdict
    }

    async fn put(embedded: &Embedded, name: &str, value: &str) {
        let secrets = aws_sdk_secretsmanager::Client::new(&embedded.config);
        let tag = |key, value| aws_sdk_secretsmanager::types::Tag::builder().key(key).value(value).build();
        let tags = [tag("team", "orders"), tag("rotator:overlap", "P2D")];
        secrets.create_secret().name(name).secret_string(value).set_tags(Some(tags.into())).send().await.unwrap();
    }

    /// Before or after each of its calls, a process ends; the next one comes to the same end as one that was left in
    /// peace.
    #[tokio::test]
    async fn an_adoption_that_was_cut_off_anywhere_is_finished_by_the_next() {
        for (name, kind) in [("hooks/there", "webhook-secret"), ("orders/new", "jwt-signing-key")] {
            let mut cuts = 0;
            loop {
                let cut = Cut::default();
                let line = cut.clone();
                let wrap = Arc::new(move |inner| SharedHttpConnector::new(Line { cut: line.clone(), inner }));
                let embedded = Setup { wrap: Some(wrap), ..Setup::default() }.start().await.unwrap();
                put(&embedded, "hooks/there", VALUE).await;
                let (engine, terms) = (embedded.engine(), terms(&embedded, kind));
                let names = [CredentialName::parse(name).unwrap()];
                let items = plan(engine, &names, &terms, &errand(engine)).await.unwrap();
                assert_eq!(items[0].verdict, Verdict::Adopt);
                cut.arm(cuts);
                let begun = errand(engine);
                let done = tokio::select! {
                    biased;
                    done = adopt(engine, &items[0], &terms, &begun, None) => Some(done),
                    () = cut.ended.notified() => None,
                };
                cut.arm(usize::MAX);
                let items = plan(engine, &names, &terms, &errand(engine)).await.unwrap();
                adopt(engine, &items[0], &terms, &errand(engine), None).await.unwrap();
                embedded.aws.settle().await;
                see_adopted(&embedded, name, &terms).await;
                match done {
                    Some(done) => break done.unwrap(),
                    None => cuts += 1,
                }
            }
            assert!(cuts >= 8, "only {cuts} places to cut {kind} off");
        }
    }

    async fn see_adopted(embedded: &Embedded, name: &str, terms: &Terms) {
        let engine = embedded.engine();
        assert_eq!(verdict(embedded, name, terms).await, Verdict::Managed);
        let secret = engine.describe(name).await.unwrap();
        assert!(secret.rotation_enabled);
        let wishes = secret.wishes.as_ref().unwrap();
        assert_eq!((wishes.kind.as_str(), wishes.soak.to_string()), (terms.kind.as_str(), "P3D".into()));
        let current = secret.holder(state::decide::AWSCURRENT).unwrap();
        let value = engine.secrets.value(name, current).await.unwrap().unwrap();
        let history = engine.records.history(&CredentialName::parse(name).unwrap()).await.unwrap();
        let told: Vec<&str> = history.iter().map(|told| told.event.change.word()).collect();
        if name == "hooks/there" {
            assert_eq!(value.expose(), VALUE, "an existing value is kept");
            assert_eq!(wishes.overlap.to_string(), "P2D", "and so are its tags");
            assert_eq!(told, ["adopted"]);
        } else {
            assert_eq!((value.expose(), told.len()), ("{}", 0), "nothing rotates yet");
        }
    }

    #[tokio::test]
    async fn what_can_not_be_rotated_is_refused_and_left_alone() {
        let embedded = Embedded::start().await.unwrap();
        let strange =
            r#"{"signer":{"keyArn":"arn:aws:kms:eu-west-1:111122223333:key/1","kid":"k","algorithm":"ES256"}}"#;
        put(&embedded, "orders/strange", strange).await;
        put(&embedded, "hooks/there", VALUE).await;
        let with = |kind: &str, tags: &[(&str, &str)], schedule: &str| Terms {
            tags: tags.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect(),
            schedule: Timetable::Together(schedule.into()),
            ..terms(&embedded, kind)
        };
        let monthly = "rate(30 days)";
        let crowd = [("overlap", "P30D"), ("max-live", "16")];
        let cases = [
            ("orders/strange", with("kms-signing-key", &[], monthly), "a key that no record knows"),
            ("hooks/there", with("jwt-signing-key", &[("overlap", "P9D")], monthly), "says \"P2D\" already"),
            ("x", with("jwt-signing-key", &[], "rate(12 hours)"), "rotator:publish-lead = P1D"),
            ("x", with("jwt-signing-key", &crowd, "rate(2 days)"), "more than the 10 that verifiers take"),
            ("x", with("kms-signing-key", &[("overlap", "PT1H")], monthly), "the PT4H15M for which verifiers need"),
            ("x", with("kms-signing-key", &[("algorithm", "HS256")], monthly), "rotator:algorithm"),
            ("x", with("webhook-secret", &[("standbys", "1")], monthly), "not a known tag"),
        ];
        for (name, terms, said) in cases {
            match verdict(&embedded, name, &terms).await {
                Verdict::Refused { why, remedy } => assert!(why.contains(said) && !remedy.is_empty(), "{name}: {why}"),
                other @ (Verdict::Adopt | Verdict::Managed) => panic!("{name}, {said}: {other:?}"),
            }
        }
        let there = embedded.engine().describe("hooks/there").await.unwrap();
        assert!(!there.rotation_enabled && there.wishes.is_err(), "a plan changes nothing");
    }

    #[tokio::test]
    async fn one_secret_value_is_adopted_once() {
        let embedded = Embedded::start().await.unwrap();
        put(&embedded, "hooks/there", VALUE).await;
        put(&embedded, "hooks/twin", VALUE).await;
        let (engine, terms) = (embedded.engine(), terms(&embedded, "webhook-secret"));
        let names = ["hooks/there", "hooks/twin"].map(|name| CredentialName::parse(name).unwrap());
        let items = plan(engine, &names, &terms, &errand(engine)).await.unwrap();
        adopt(engine, &items[0], &terms, &errand(engine), None).await.unwrap();
        let stopped = adopt(engine, &items[1], &terms, &errand(engine), None).await.unwrap_err();
        let said = rotator::failure::chain(&stopped);
        assert!(said.contains("under management already, as hooks/there"), "{said}");
    }

    /// Where a process ends: before a call is sent (even numbers), or after it was served (odd ones).
    #[derive(Clone, Debug)]
    struct Cut {
        at: Arc<AtomicUsize>,
        calls: Arc<AtomicUsize>,
        ended: Arc<Notify>,
    }

    impl Default for Cut {
        fn default() -> Self {
            Self { at: Arc::new(usize::MAX.into()), calls: Arc::default(), ended: Arc::default() }
        }
    }

    impl Cut {
        fn arm(&self, at: usize) {
            self.calls.store(0, Ordering::SeqCst);
            self.at.store(at, Ordering::SeqCst);
        }
    }

    #[derive(Debug)]
    struct Line {
        cut: Cut,
        inner: SharedHttpConnector,
    }

    impl HttpConnector for Line {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let number = self.cut.calls.fetch_add(1, Ordering::SeqCst);
            let at = self.cut.at.load(Ordering::SeqCst);
            let (ended, inner) = (self.cut.ended.clone(), self.inner.clone());
            if number != at / 2 {
                return inner.call(request);
            }
            HttpConnectorFuture::new(async move {
                if at % 2 == 1 {
                    let _ = inner.call(request).await;
                }
                ended.notify_one();
                std::future::pending().await
            })
        }
    }
}
