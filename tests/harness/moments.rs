//! A moment of a stage, from which it is played to its end any number of times.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use chrono::{DateTime, Utc};
use local_aws::{Function, FunctionError, LocalAws, Method, RestApi, Snapshot};
use rotator::config::Config;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::chance::Chance;
use super::faults::Faults;
use super::functions::{Host, Idle, Which};
use super::template::Person;
use super::{API, KEY_SETS, OPERATOR, Observer, PausedClock, Stage, sdk_config};

/// A stage as it was at one moment: AWS with all that is in it, the records, the clock. Processes are not part of it:
/// whoever goes on from here starts new ones.
pub struct Moment {
    at: DateTime<Utc>,
    aws: Snapshot,
    chance: Chance,
    settings: Config,
    plan: String,
}

impl Moment {
    /// A stage that goes on from there, in the runtime of whoever calls.
    pub fn stage(&self) -> Stage {
        self.stage_with(self.chance.fork())
    }

    /// The same, where the service goes on to draw from there.
    pub fn stage_with(&self, chance: Chance) -> Stage {
        let clock = PausedClock::showing(self.at);
        let aws = self.aws.resume(Arc::new(clock)).expect("in memory");
        Stage::on(aws, clock, chance, self.settings.clone(), self.plan.clone())
    }
}

impl Stage {
    /// This moment. Nothing may run while it is taken.
    pub fn moment(&self) -> Moment {
        let aws = self.aws.snapshot().expect("copied");
        Moment {
            at: self.clock.now(),
            aws,
            chance: self.chance.fork(),
            settings: self.settings.clone(),
            plan: self.plan.clone(),
        }
    }

    fn on(aws: LocalAws, clock: PausedClock, chance: Chance, settings: Config, plan: String) -> Self {
        let faults = Faults::new(aws.connector());
        let observer = Observer::new(aws.set_up_connector());
        let mut stage = Self { aws, clock, chance, faults, settings, plan, observer, idle: Idle::default() };
        let function = stage.aws.register("rotation", Arc::new(Host::new(&stage, Which::Rotation)));
        stage.settings.function_arn = Some(function);
        stage.aws.register("retirement", Arc::new(Host::new(&stage, Which::Retirement)));
        stage.aws.register("jwks", Arc::new(Host::new(&stage, Which::Jwks)));
        stage
    }
}

/// A stage with nothing but the API, its plan and the records' table. It is made once for all tests.
pub async fn empty() -> &'static Moment {
    static EMPTY: OnceCell<Moment> = OnceCell::const_new();
    EMPTY.get_or_init(make).await
}

async fn make() -> Moment {
    let clock = PausedClock::showing("2026-03-02T10:30:00Z".parse().expect("a moment"));
    let aws = LocalAws::builder().clock(Arc::new(clock)).seed(7).build().expect("in memory");
    let kms = aws_sdk_kms::Client::new(&sdk_config(aws.connector()));
    let key = kms.create_key().key_spec(KeySpec::Hmac256).key_usage(KeyUsageType::GenerateVerifyMac).send().await;
    let key = key.expect("a key").key_metadata.and_then(|metadata| metadata.arn).expect("an ARN");
    aws.create_rest_api(RestApi {
        id: Some(API.into()),
        name: "partners".into(),
        stages: vec!["prod".into(), "beta".into()],
        methods: vec![Method::protected("/ping"), Method::open("/open")],
    });
    // Every test is one of the stack's roles, too, and one of its operators' policies.
    for which in Which::ALL {
        aws.assume(which.access_key(), which.role(&key));
    }
    aws.assume(OPERATOR, Person::Operator.role(&key));
    aws.create_rest_api(RestApi {
        id: Some(KEY_SETS.into()),
        name: "key sets".into(),
        stages: vec!["v1".into()],
        methods: vec![Method::function("/jwks/{proxy+}", "jwks")],
    });
    let jwks_url = Some(format!("https://{KEY_SETS}.execute-api.eu-west-1.amazonaws.com/v1/jwks"));
    let key_roles = [Which::Rotation, Which::Retirement].map(Which::role_arn).into();
    let settings = Config { fingerprint_key: Some(key), jwks_url, key_roles, ..Config::default() };
    let mut stage = Stage::on(aws, clock, Chance::seeded(7), settings, String::new());
    stage.engine_unhurt().records.create_table().await.expect("a table");
    stage.plan = stage.plan("bronze", &["prod"], Some(1_000)).await;
    stage.moment()
}

/// The functions call the AWS that holds them: thousands of stages would never be freed.
impl Drop for Stage {
    fn drop(&mut self) {
        for name in ["rotation", "retirement", "jwks"] {
            self.aws.register(name, Arc::new(Nobody));
        }
    }
}

struct Nobody;

#[async_trait]
impl Function for Nobody {
    async fn invoke(&self, _: Value) -> Result<Value, FunctionError> {
        Err(FunctionError { error_type: "Nobody".into(), error_message: "the stage is gone".into() })
    }
}
