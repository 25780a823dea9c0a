//! Rotation: what `RotateSecret` sets going, one attempt at a time.
//!
//! An attempt is the four steps in their order, run by whoever hosts this service:
//! [`SecretsManager::begin_attempt`] says what to invoke, [`SecretsManager::is_open`] before each
//! step whether to go on, [`SecretsManager::check_step`] after it whether it did its part, and
//! [`SecretsManager::end_attempt`] takes the result and arranges the next attempt.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::input;
use super::secret::{AWSCURRENT, AWSPENDING, Secret};
use super::{Effect, Invocable, SecretsManager, identity, invalid_parameter, invalid_request};
use crate::core::{Context, ServiceError};
use crate::functions::{FunctionError, function_name};
use crate::schedule::{self, Schedule};
use crate::settings::{PreflightValue, RetryToken};

const STEPS: &[&str] = &["createSecret", "setSecret", "testSecret", "finishSecret"];
const PREFLIGHT: &[&str] = &["testSecret"];

/// A secret's rotation: how it is configured and the one that is under way.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Rotation {
    pub(super) enabled: bool,
    pub(super) function: Option<String>,
    pub(super) rules: Option<Rules>,
    /// When the next window opens.
    pub(super) next: Option<DateTime<Utc>>,
    pub(super) last: Option<DateTime<Utc>>,
    open: Option<Open>,
}

/// `RotationRules`, as given.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Rules {
    #[serde(skip_serializing_if = "Option::is_none")]
    automatically_after_days: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule_expression: Option<String>,
}

/// A rotation that has begun and has neither succeeded nor been given up.
#[derive(Clone, Serialize, Deserialize)]
struct Open {
    token: String,
    /// Who held `AWSCURRENT` when it began.
    incumbent: Option<String>,
    /// Of the attempt that runs or comes next, from 1.
    attempt: u32,
    /// What the attempt's function may prove itself with. Sensitive.
    rotation_token: String,
    /// Only `testSecret`, on a version that is thrown away.
    preflight: bool,
    /// Somebody moved `AWSCURRENT` elsewhere meanwhile.
    abandoned: bool,
}

/// One attempt, to be run.
pub(crate) struct Attempt {
    /// Name or ARN.
    pub(crate) function: String,
    pub(crate) arn: String,
    pub(crate) token: String,
    pub(crate) rotation_token: String,
    pub(crate) number: u32,
    pub(crate) steps: &'static [&'static str],
}

/// How an attempt ended.
pub(crate) enum Ended {
    Succeeded,
    Failed,
    /// The rotation is no longer this attempt's to finish.
    Abandoned,
}

impl SecretsManager {
    pub(super) fn rotate_secret(
        &mut self,
        cx: &mut Context<'_>,
        input: input::RotateSecret,
    ) -> Result<Value, ServiceError> {
        let token = input::client_request_token(input.client_request_token, invalid_parameter)?;
        let schedule = input.rotation_rules.as_ref().map(|rules| rules.schedule(cx.now)).transpose()?;
        if let Some(function) = &input.rotation_lambda_arn {
            self.functions.check(function)?;
        }
        let immediately = input.rotate_immediately.unwrap_or(true);
        let secret = self.find(&input.secret_id)?;
        secret.check_not_deleted()?;
        if secret.rotation.function.is_none() && input.rotation_lambda_arn.is_none() {
            return Err(invalid_request("No Lambda rotation function ARN is associated with this secret."));
        }
        if cx.settings.rotation_rules_required && secret.rotation.rules.is_none() && input.rotation_rules.is_none() {
            return Err(invalid_request("RotationRules must say when this secret rotates."));
        }
        // The same call again: the rotation with this token has begun, or is done.
        if secret.holds(&token, AWSPENDING) || secret.holds(&token, AWSCURRENT) {
            let answer = identity(secret, Some(&token));
            let effect = secret.reattempt(cx);
            self.effects.extend(effect);
            return Ok(answer);
        }
        if secret.stuck_version().is_some() {
            let effect = secret.reattempt(cx);
            self.effects.extend(effect);
            return Err(invalid_request("A previous rotation isn't complete. That rotation will be reattempted."));
        }
        if secret.versions.contains_key(&token) {
            return Err(invalid_request(format!("A version {token} of this secret already exists.")));
        }

        let effect = secret.open(cx, token.clone(), !immediately)?;
        let rotation = &mut secret.rotation;
        rotation.enabled = true;
        if let Some(function) = input.rotation_lambda_arn {
            rotation.function = Some(function);
        }
        if let Some(rules) = input.rotation_rules {
            rotation.rules = Some(rules);
        }
        match schedule {
            Some((schedule, _)) => rotation.next = schedule.next_after(cx.now),
            None => rotation.reschedule(cx.now),
        }
        let answer = identity(secret, Some(&token));
        self.effects.push(effect);
        Ok(answer)
    }

    pub(super) fn cancel_rotate_secret(&mut self, input: input::SecretOnly) -> Result<Value, ServiceError> {
        let secret = self.find(&input.secret_id)?;
        secret.check_not_deleted()?;
        let open = secret.rotation.open.as_ref().map(|open| open.token.clone());
        secret.rotation.stop();
        Ok(identity(secret, open.as_deref()))
    }

    /// The earliest moment at which a schedule fires.
    pub(crate) fn next_scheduled(&self) -> Option<DateTime<Utc>> {
        self.secrets.values().filter_map(Secret::scheduled).min()
    }

    /// Begins the rotations whose windows are open; of a stuck secret, reattempts the old one.
    pub(crate) fn fire_schedules(&mut self, cx: &mut Context<'_>) {
        for secret in self.secrets.values_mut() {
            if secret.scheduled().is_none_or(|at| at > cx.now) {
                continue;
            }
            secret.rotation.reschedule(cx.now);
            if secret.stuck_version().is_some() {
                self.effects.extend(secret.reattempt(cx));
                continue;
            }
            let token = cx.uuid().to_string();
            match secret.open(cx, token, false) {
                Ok(effect) => self.effects.push(effect),
                Err(error) => tracing::warn!(secret = %secret.name, %error, "scheduled rotation could not begin"),
            }
        }
    }

    /// The attempt to run now, if the rotation is still to be carried on.
    pub(crate) fn begin_attempt(&mut self, cx: &mut Context<'_>, arn: &str, token: &str) -> Option<Attempt> {
        if !self.is_open(arn, token) {
            return None;
        }
        let rotation_token = cx.uuid().to_string();
        let secret = self.find(arn).ok()?;
        let function = secret.rotation.function.clone()?;
        let open = secret.rotation.open.as_mut()?;
        open.rotation_token.clone_from(&rotation_token);
        Some(Attempt {
            function,
            arn: arn.to_owned(),
            token: token.to_owned(),
            rotation_token,
            number: open.attempt,
            steps: if open.preflight { PREFLIGHT } else { STEPS },
        })
    }

    /// Whether this rotation is still under way: not cancelled, not abandoned, its label in place.
    pub(crate) fn is_open(&mut self, arn: &str, token: &str) -> bool {
        let Ok(secret) = self.find(arn) else { return false };
        let labelled = secret.holds(token, AWSPENDING) || secret.holds(token, AWSCURRENT);
        let rotation = &secret.rotation;
        let open = rotation.open.as_ref().is_some_and(|open| open.token == token && !open.abandoned);
        open && labelled && rotation.enabled && secret.deletion.is_none()
    }

    /// Whether a step that the function called a success left what it had to leave.
    pub(crate) fn check_step(&mut self, attempt: &Attempt, step: &str) -> Result<(), FunctionError> {
        let Ok(secret) = self.find(&attempt.arn) else { return Ok(()) };
        let empty = secret.versions.get(&attempt.token).is_none_or(|version| version.value.is_none());
        let message = if step == "createSecret" && empty {
            format!(
                "Pending secret version {} for Secret {} was not created by Lambda {}. Remove the AWSPENDING staging label and restart rotation.",
                attempt.token, attempt.arn, attempt.function
            )
        } else if step == "finishSecret" && !secret.holds(&attempt.token, AWSCURRENT) {
            format!("finishSecret did not move AWSCURRENT to version {}.", attempt.token)
        } else {
            return Ok(());
        };
        Err(FunctionError { error_type: "RotationFailed".into(), error_message: message })
    }

    /// Closes the rotation, or arranges for its next attempt.
    pub(crate) fn end_attempt(&mut self, cx: &mut Context<'_>, attempt: &Attempt, ended: &Ended) {
        let Ok(secret) = self.find(&attempt.arn) else { return };
        let effect = secret.end_attempt(cx, &attempt.token, ended);
        self.effects.extend(effect);
    }
}

impl Secret {
    /// What follows from labels having moved. Where `AWSCURRENT` went to neither the old nor the
    /// new version of a rotation under way, that one is abandoned; and of a secret that rotates, a new
    /// current value outside a rotation counts as one.
    pub(super) fn after_label_moves(&mut self, now: DateTime<Utc>, moved: &[String]) {
        let current = self.holder(AWSCURRENT).map(str::to_owned);
        if let Some(open) = &mut self.rotation.open
            && !open.preflight
            && current != open.incumbent
            && current.as_ref() != Some(&open.token)
        {
            open.abandoned = true;
        }
        let rotating = self.rotation.open.as_ref().is_some_and(|open| !open.abandoned);
        if self.rotation.enabled && !rotating && moved.iter().any(|label| label == AWSCURRENT) {
            self.rotation.last = Some(now);
            self.rotation.reschedule(now);
        }
    }

    fn scheduled(&self) -> Option<DateTime<Utc>> {
        let live = self.rotation.enabled && self.deletion.is_none();
        self.rotation.next.filter(|_| live)
    }

    /// Begins a rotation: the pending version exists before the function is first called.
    fn open(&mut self, cx: &mut Context<'_>, token: String, preflight: bool) -> Result<Effect, ServiceError> {
        let incumbent = self.holder(AWSCURRENT).map(str::to_owned);
        self.put_placeholder(cx.now, &token)?;
        if preflight
            && cx.settings.preflight_value == PreflightValue::Current
            && let Some(incumbent) = &incumbent
        {
            let value = self.versions.get(incumbent).and_then(|version| version.value.clone());
            if let Some(pending) = self.versions.get_mut(&token) {
                pending.value = value;
            }
        }
        self.rotation.open = Some(Open::new(token.clone(), incumbent, preflight));
        Ok(Effect::Rotate { arn: self.arn.clone(), token, due: cx.now })
    }

    /// Takes up a rotation that was given up while its version is still pending.
    fn reattempt(&mut self, cx: &mut Context<'_>) -> Option<Effect> {
        let token = self.stuck_version()?.to_owned();
        let under_way = self.rotation.open.as_ref().is_some_and(|open| !open.abandoned);
        if under_way || !self.rotation.enabled {
            return None;
        }
        let incumbent = self.holder(AWSCURRENT).map(str::to_owned);
        self.rotation.open = Some(Open::new(token.clone(), incumbent, false));
        Some(Effect::Rotate { arn: self.arn.clone(), token, due: cx.now })
    }

    fn end_attempt(&mut self, cx: &mut Context<'_>, token: &str, ended: &Ended) -> Option<Effect> {
        let open = self.rotation.open.take_if(|open| open.token == token)?;
        if open.preflight {
            self.forget_version(token);
            return None;
        }
        match ended {
            Ended::Succeeded => {
                self.rotation.last = Some(cx.now);
                self.rotation.reschedule(cx.now);
                None
            }
            Ended::Abandoned => None,
            Ended::Failed if open.attempt > cx.settings.rotation_retries => None,
            Ended::Failed => self.retry(cx, open),
        }
    }

    fn retry(&mut self, cx: &mut Context<'_>, failed: Open) -> Option<Effect> {
        let attempt = failed.attempt + 1;
        let open = match cx.settings.retry_token {
            RetryToken::Same => Open { attempt, ..failed },
            RetryToken::New => {
                let token = cx.uuid().to_string();
                let incumbent = self.holder(AWSCURRENT).map(str::to_owned);
                self.put_placeholder(cx.now, &token).ok()?;
                Open { attempt, ..Open::new(token, incumbent, false) }
            }
        };
        let token = open.token.clone();
        self.rotation.open = Some(open);
        let delay = TimeDelta::from_std(cx.settings.retry_delay).unwrap_or(TimeDelta::MAX);
        let due = cx.now.checked_add_signed(delay).unwrap_or(DateTime::<Utc>::MAX_UTC);
        Some(Effect::Rotate { arn: self.arn.clone(), token, due })
    }
}

impl Open {
    fn new(token: String, incumbent: Option<String>, preflight: bool) -> Self {
        let rotation_token = String::new();
        Self { token, incumbent, attempt: 1, rotation_token, preflight, abandoned: false }
    }
}

impl Rotation {
    /// No more rotations, and the one under way goes no further. Labels stay where they are.
    pub(super) fn stop(&mut self) {
        self.enabled = false;
        self.next = None;
        self.open = None;
    }

    /// When the next rotation is through at the latest: the end of its window.
    pub(super) fn next_by(&self) -> Option<DateTime<Utc>> {
        let opens = self.next?;
        let (schedule, window) = self.rules.as_ref()?.schedule(opens).ok()?;
        Some(opens + window.unwrap_or_else(|| schedule.window(opens)))
    }

    /// Whether this is the token that the running attempt was given.
    pub(super) fn check_token(&self, given: &str) -> Result<(), ServiceError> {
        match &self.open {
            Some(open) if open.rotation_token == given => Ok(()),
            Some(_) | None => Err(invalid_parameter("The RotationToken is not valid.")),
        }
    }

    fn reschedule(&mut self, now: DateTime<Utc>) {
        let schedule = self.rules.as_ref().and_then(|rules| rules.schedule(now).ok());
        self.next = schedule.and_then(|(schedule, _)| schedule.next_after(now));
    }
}

impl Rules {
    /// The schedule and the window's length, if given.
    fn schedule(&self, now: DateTime<Utc>) -> Result<(Schedule, Option<TimeDelta>), ServiceError> {
        let schedule = match (self.automatically_after_days, &self.schedule_expression) {
            (Some(_), Some(_)) | (None, None) => {
                return Err(invalid_parameter(
                    "RotationRules take either AutomaticallyAfterDays or ScheduleExpression.",
                ));
            }
            (Some(days), None) if (1..=1000).contains(&days) => Schedule::EveryDays(days),
            (Some(_), None) => {
                return Err(invalid_parameter("AutomaticallyAfterDays is 1 to 1000."));
            }
            (None, Some(expression)) => Schedule::parse(expression, now).map_err(invalid_parameter)?,
        };
        let window = self.duration.as_deref().map(schedule::parse_window).transpose();
        Ok((schedule, window.map_err(invalid_parameter)?))
    }
}

impl Invocable {
    fn check(&self, function: &str) -> Result<(), ServiceError> {
        match self {
            Self::Any => Ok(()),
            Self::These(names) if names.contains(function_name(function)) => Ok(()),
            Self::These(_) => Err(ServiceError::new(
                400,
                "AccessDeniedException",
                "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com.",
            )),
        }
    }
}
