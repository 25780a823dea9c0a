//! Two keys of one customer share one allowance, as far as figures that are told late allow.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_apigateway::types::{ApiStage, Op, PatchOperation, QuotaPeriodType, QuotaSettings};
use chrono::{NaiveDate, TimeDelta};
use local_aws::Settings;
use rotator::ports::Clock;
use state::evidence::Settlement;
use state::ledger::Change;
use state::period::Period;

use super::watched;
use crate::harness::people::{LAGGARD, PROMPT};
use crate::harness::{ACME, API, Stage, Terms};

const HOUR: TimeDelta = TimeDelta::hours(1);
/// How late figures are told here.
const LAG: u64 = 600;

/// A stage whose usual plan allows that much in that period, and whose figures are late by [`LAG`] seconds.
async fn allowing(limit: i32, period: QuotaPeriodType, lag: u64) -> Stage {
    let settings = Settings { usage_lag: Duration::from_secs(lag), ..Settings::default() };
    let mut stage = Stage::with(settings).await;
    stage.settings.usage_lag = Period::seconds(lag);
    let quota = QuotaSettings::builder().limit(limit).period(period).build();
    let prod = ApiStage::builder().api_id(API).stage("prod").build();
    let made = stage.api_gateway().create_usage_plan().name("shared").quota(quota).api_stages(prod).send().await;
    stage.plan = made.expect("a plan").id.expect("an id");
    stage
}

/// Without probes: they use a customer's allowance up as well, and would only make the sums harder to read.
fn terms() -> Terms {
    watched().with("probe", "none").with("overlap", "P2D")
}

/// A rotated credential of which both keys are used: the ids and values of the old key and of the new one.
struct Pair {
    arn: String,
    ids: [String; 2],
    values: [String; 2],
}

impl Stage {
    async fn pair(&self, terms: &Terms, used_before: u32) -> Pair {
        let (arn, id, old) = self.credential(ACME, terms).await;
        for _ in 0..used_before {
            assert_eq!(PROMPT.call(self, &old).await, 200);
        }
        self.wait(TimeDelta::minutes(15)).await;
        self.rotate(&arn).await;
        self.assert_rotated();
        self.tick().await;
        let new = self.current_value(&arn).await;
        let other = self.load(ACME).await.versions[&2].provider["id"].clone();
        Pair { arn, ids: [id, other], values: [old, new] }
    }

    /// That many requests; how many of them got through.
    async fn spend(&self, key: &str, requests: u32) -> u32 {
        let mut through = 0;
        for _ in 0..requests {
            through += u32::from(PROMPT.call(self, key).await == 200);
        }
        through
    }

    async fn settlements(&self) -> Vec<Settlement> {
        let told = self.changes().await.into_iter();
        told.filter_map(|change| {
            let Change::Witnessed { settled, .. } = change else { return None };
            settled.into_values().next()
        })
        .collect()
    }
}

/// Both clients call for a while, at the same times; by day, how many of their requests got through.
async fn both_go_on(stage: &Stage, pair: &Pair, every: TimeDelta, time: TimeDelta) -> BTreeMap<NaiveDate, i64> {
    let mut through = BTreeMap::new();
    let end = stage.clock.now() + time;
    let mut tick = stage.clock.now();
    while stage.clock.now() < end {
        for (client, key) in [(LAGGARD, &pair.values[0]), (PROMPT, &pair.values[1])] {
            if client.call(stage, key).await == 200 {
                *through.entry(stage.clock.now().date_naive()).or_default() += 1;
            }
        }
        stage.wait(every).await;
        if stage.clock.now() >= tick {
            stage.tick().await;
            stage.assert_sound(ACME, "while both keys are used").await;
            tick = stage.clock.now() + TimeDelta::minutes(10);
        }
    }
    through
}

#[tokio::test(start_paused = true)]
async fn clients_with_both_keys_share_each_day_s_allowance() {
    let stage = allowing(200, QuotaPeriodType::Day, LAG).await;
    let pair = stage.pair(&terms(), 20).await;
    let carried = stage.load(ACME).await.versions[&2].evidence.get(&format!("quota:{}", stage.plan)).cloned();
    assert_eq!(carried.as_deref(), Some("180"), "carried over");
    // From 10:45 on Monday to 04:45 on Wednesday, one request a minute; each key alone could make 200 a day.
    let through = both_go_on(&stage, &pair, TimeDelta::minutes(2), HOUR * 42).await;
    let [monday, tuesday, wednesday] = [2, 3, 4].map(|day| {
        let day = NaiveDate::from_ymd_opt(2026, 3, day).expect("a day");
        through.get(&day).copied().unwrap_or(0)
    });
    // What can be spent until the next look, which becomes rarer with time, and until its figures are told and set.
    let unseen = |look: i64| look + 2 * i64::try_from(LAG).expect("small") / 60 + 10 + 2;
    assert!((180..=180 + unseen(60)).contains(&monday), "Monday: {monday}\n{}", stage.story(ACME).await);
    assert!((200..=200 + unseen(90)).contains(&tuesday), "Tuesday: {tuesday}\n{}", stage.story(ACME).await);
    assert!(wednesday >= 190, "a new day begins with the whole allowance: {wednesday}");
    // Close to the end of a day a figure might arrive in the next.
    for told in stage.told().await {
        if matches!(&told.event.change, Change::Witnessed { settled, .. } if !settled.is_empty()) {
            let tomorrow = (told.event.at + TimeDelta::seconds(LAG.cast_signed())).date_naive();
            assert_eq!(tomorrow, told.event.at.date_naive(), "settled at {}", told.event.at);
        }
    }
    let settled = stage.settlements().await;
    assert!(settled.len() >= 4 && settled.iter().all(|settled| settled.allowance == 200), "{settled:#?}");
    assert!(stage.command(&["history", ACME]).await.stdout.contains("of 200 left to all live keys"));
    let shown = stage.command(&["show", ACME]).await.stdout;
    assert!(shown.contains("of a quota at most what all live keys can spend in"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn clients_with_both_keys_share_a_month_s_allowance_through_its_end() {
    let stage = allowing(300, QuotaPeriodType::Month, LAG).await;
    // From the second to the thirtieth.
    Clock::sleep(&stage.clock, TimeDelta::days(28)).await;
    let pair = stage.pair(&terms(), 100).await;
    let through = both_go_on(&stage, &pair, TimeDelta::minutes(10), HOUR * 44).await;
    let april = NaiveDate::from_ymd_opt(2026, 4, 1).expect("a day");
    let before: i64 = through.range(..april).map(|(_, through)| through).sum();
    // Twelve an hour, a look every hour and later every hour and a half, and the figures' way there and back. On the last
    // day nothing is settled, because April may have begun: then each key has what was left to both.
    assert!((200..=200 + 12 * 24).contains(&before), "March: {before}\n{}", stage.story(ACME).await);
    let after: i64 = through.range(april..).map(|(_, through)| through).sum();
    assert!(after >= 12 * 6, "April begins with the whole allowance: {after}");
}

#[tokio::test(start_paused = true)]
async fn settling_again_writes_nothing() {
    let stage = allowing(300, QuotaPeriodType::Month, LAG).await;
    let pair = stage.pair(&terms(), 10).await;
    assert_eq!((stage.spend(&pair.values[0], 20).await, stage.spend(&pair.values[1], 30).await), (20, 30));
    stage.goes_on(HOUR * 3, HOUR, "settled").await;
    for id in &pair.ids {
        assert_eq!(stage.left(&stage.plan, id).await, Some(240), "{}", stage.story(ACME).await);
    }
    let before = stage.settlements().await;
    stage.faults.disarm();
    stage.goes_on(HOUR * 3, HOUR, "nobody uses anything").await;
    let calls = stage.faults.calls();
    assert!(calls.iter().any(|call| call == "apigateway:GET /usageplans/{plan}/usage"), "it looked: {calls:?}");
    assert!(!calls.iter().any(|call| call.starts_with("apigateway:PATCH")), "{calls:?}");
    assert_eq!(stage.settlements().await, before);
    assert!(before.last().is_some_and(|settled| settled.remaining == 240), "{before:?}");
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_gave_stays_given() {
    let stage = allowing(300, QuotaPeriodType::Month, 0).await;
    let pair = stage.pair(&terms(), 10).await;
    stage.spend(&pair.values[0], 20).await;
    stage.spend(&pair.values[1], 30).await;
    stage.goes_on(HOUR, HOUR, "settled").await;
    let grant = PatchOperation::builder().op(Op::Replace).path("/remaining").value("1240").build();
    let client = stage.api_gateway();
    let given = client.update_usage().usage_plan_id(&stage.plan).key_id(&pair.ids[1]).patch_operations(grant);
    given.send().await.expect("given");
    assert_eq!(stage.spend(&pair.values[1], 10).await, 10);
    stage.goes_on(HOUR * 2, HOUR, "after the raise").await;
    assert_eq!(stage.left(&stage.plan, &pair.ids[1]).await, Some(1230), "{}", stage.story(ACME).await);
    stage.spend(&pair.values[0], 5).await;
    stage.goes_on(HOUR * 2, HOUR, "and it is shared").await;
    assert_eq!(stage.left(&stage.plan, &pair.ids[1]).await, Some(1225));
    assert_eq!(stage.left(&stage.plan, &pair.ids[0]).await, Some(235), "nothing is raised but by an operator");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_told_lowers_nothing() {
    let stage = allowing(300, QuotaPeriodType::Month, 3 * 24 * 3_600).await;
    let pair = stage.pair(&terms(), 10).await;
    stage.faults.disarm();
    for _ in 0..20 {
        stage.spend(&pair.values[0], 3).await;
        stage.spend(&pair.values[1], 3).await;
        stage.pass(HOUR).await;
    }
    stage.assert_sound(ACME, "nothing is told").await;
    let calls = stage.faults.calls();
    assert!(calls.iter().any(|call| call == "apigateway:GET /usageplans/{plan}/usage"), "it looked: {calls:?}");
    assert!(!calls.iter().any(|call| call.starts_with("apigateway:PATCH")), "{calls:?}");
    assert_eq!(stage.settlements().await, []);
    assert!(!stage.load(ACME).await.versions[&1].usage.as_ref().expect("looked").told);
}

/// When a quota with an offset begins anew, nobody can say for certain: what was used is not counted into a period.
#[tokio::test(start_paused = true)]
async fn a_quota_that_begins_on_a_day_of_its_own_is_not_settled() {
    let stage = allowing(300, QuotaPeriodType::Month, 0).await;
    let offset = PatchOperation::builder().op(Op::Replace).path("/quota/offset").value("5").build();
    let plan = stage.api_gateway().update_usage_plan().usage_plan_id(&stage.plan).patch_operations(offset);
    plan.send().await.expect("changed");
    let pair = stage.pair(&terms(), 10).await;
    stage.faults.disarm();
    for _ in 0..6 {
        assert_eq!((stage.spend(&pair.values[0], 3).await, stage.spend(&pair.values[1], 3).await), (3, 3));
        stage.pass(HOUR).await;
    }
    let calls = stage.faults.calls();
    assert!(calls.iter().any(|call| call == "apigateway:GET /usageplans/{plan}/usage"), "it looked: {calls:?}");
    let lowered = calls.iter().filter(|call| call.starts_with("apigateway:PATCH")).count();
    assert_eq!(lowered, 0, "nobody's allowance is lowered on a guess");
    assert_eq!(stage.settlements().await, []);
    assert!(stage.load(ACME).await.versions[&1].usage.as_ref().expect("looked").told);
}

#[tokio::test(start_paused = true)]
async fn what_a_key_used_that_is_gone_stays_used() {
    let stage = allowing(100, QuotaPeriodType::Month, 0).await;
    let pair = stage.pair(&terms().with("overlap", "P1D"), 30).await;
    assert_eq!(stage.spend(&pair.values[1], 20).await, 20);
    stage.goes_on(HOUR * 26, HOUR, "the first overlap").await;
    assert!(!stage.api_key(&pair.ids[0]).enabled, "{}", stage.story(ACME).await);
    assert_eq!(stage.spend(&pair.values[1], 20).await, 20);

    stage.rotate(&pair.arn).await;
    stage.assert_rotated();
    let third = stage.load(ACME).await.versions[&3].provider["id"].clone();
    assert_eq!(stage.left(&stage.plan, &third).await, Some(30), "carried over");
    assert_eq!(stage.spend(&pair.values[1], 10).await, 10);
    stage.goes_on(HOUR * 2, HOUR, "the second overlap").await;
    assert_eq!(stage.left(&stage.plan, &third).await, Some(20), "{}", stage.story(ACME).await);
}
