//! Who may do what: asked of IAM's policy simulator, and where the person may not ask, said so.

use std::collections::BTreeMap;

use rotator::doctor::permissions::{Function, Need, Subject, always, for_credential};
use rotator::doctor::{Area, Check, asked};
use rotator::failure::{CallFailed, Failure, Fault, Stopped, chain};
use state::name::CredentialName;

use super::Doctor;
use super::functions::Fleet;
use crate::aws::iam::Answered;
use crate::aws::lambda::FunctionView;

/// By which IAM knows whose value is encrypted.
const SECRET_OF_VALUE: &str = "kms:EncryptionContext:SecretARN";

impl Doctor<'_> {
    /// What the functions need whichever credentials there are, and whether the person may have rotations begun.
    pub(super) async fn allowed_always(&self, fleet: &Fleet) -> Vec<Check> {
        let mut checks = Vec::new();
        for (function, view) in fleet.all() {
            let needs = always(*function, &self.scope);
            checks.extend(self.allowed(*function, view, &needs, &[], "").await);
        }
        if let Some(rotation) = fleet.get(Function::Rotation) {
            checks.push(self.may_invoke(rotation).await);
        }
        checks
    }

    /// What the functions need for one credential.
    pub(super) async fn allowed_for(&self, fleet: &Fleet, name: &CredentialName, subject: &Subject) -> Vec<Check> {
        // Policies may be limited by these, and a simulation knows nothing that it is not told.
        let context = [
            ("aws:ResourceTag/rotator:credential", name.as_str()),
            ("aws:RequestTag/rotator:credential", name.as_str()),
            ("aws:ResourceTag/rotator:kind", &subject.kind),
            ("secretsmanager:ResourceTag/rotator:kind", &subject.kind),
            (SECRET_OF_VALUE, &subject.secret),
            ("kms:ViaService", &format!("secretsmanager.{}.amazonaws.com", self.scope.region)),
        ];
        let mut checks = Vec::new();
        for (function, view) in fleet.all() {
            let needs = for_credential(*function, &self.scope, subject);
            checks.extend(self.allowed(*function, view, &needs, &context, &format!(" for {}", subject.kind)).await);
        }
        checks
    }

    async fn allowed(
        &self,
        function: Function,
        view: &FunctionView,
        needs: &[Need],
        context: &[(&str, &str)],
        what_for: &str,
    ) -> Vec<Check> {
        let (name, role) = (function.word(), &view.role);
        let mut by_resource: BTreeMap<(&str, Option<&str>), Vec<&'static str>> = BTreeMap::new();
        for need in needs {
            by_resource.entry((&need.resource, need.of_secret.as_deref())).or_default().push(need.action);
        }
        if by_resource.is_empty() {
            return Vec::new();
        }
        let mut checks = Vec::new();
        for ((resource, of_secret), actions) in by_resource {
            let others = context.iter().copied().filter(|(key, _)| of_secret.is_none() || *key != SECRET_OF_VALUE);
            let context: Vec<_> = others.chain(of_secret.map(|secret| (SECRET_OF_VALUE, secret))).collect();
            let asked =
                asked(&self.context.engine, async || Ok(self.iam.ask(role, &actions, resource, &context).await?));
            let answers = match asked.await {
                Ok(answers) => answers,
                Err(stopped) => {
                    checks.push(unsimulated(&format!("what {name} may do{what_for}"), &stopped));
                    return checks;
                }
            };
            let on = match (resource, of_secret) {
                ("*", _) => String::new(),
                (resource, None) => format!(" on {resource}"),
                (resource, Some(secret)) => format!(" on {resource} for {secret}"),
            };
            for (action, answer) in actions.into_iter().zip(answers) {
                checks.extend(judged(name, role, action, &on, answer));
            }
        }
        if checks.is_empty() {
            let count = needs.len();
            checks.push(Check::ok(
                Area::Permissions,
                format!("{name} may do all {count} things that it needs{what_for}"),
            ));
        }
        checks
    }

    /// Whoever calls `RotateSecret` must be allowed to invoke the function as well, says the AWS documentation.
    async fn may_invoke(&self, rotation: &FunctionView) -> Check {
        const ACTION: &str = "lambda:InvokeFunction";
        let you = &self.who;
        let allowed = |how: &str| Check::ok(Area::Permissions, format!("you may begin rotations: {ACTION}{how}"));
        if you.ends_with(":root") {
            return allowed(", as everything");
        }
        let denied = || {
            let what = format!("{you} may not {ACTION} on {}: RotateSecret is refused to them", rotation.arn);
            let fix = format!("allow {ACTION} on {} to whoever calls RotateSecret", rotation.arn);
            Check::broken(Area::Permissions, what, fix)
        };
        let simulated = match self.simulate_you(ACTION, &rotation.arn).await {
            Ok(Answered::Allowed) => return allowed(""),
            Ok(Answered::NotAllowed | Answered::Denied) => return denied(),
            Ok(Answered::Depends(on)) => format!("it depends on {}", on.join(", ")),
            Err(stopped) => told(&stopped),
        };
        // A call that runs nothing tells as well.
        match self.lambda.try_invoke(&rotation.arn).await {
            Ok(()) => allowed(" (tried without running it)"),
            Err(failed) if failed.fault == Fault::Denied => denied(),
            Err(_) => {
                let what = format!("whether you may {ACTION} could not be simulated: {simulated}");
                Check::warning(Area::Permissions, what, "let an administrator grant you iam:SimulatePrincipalPolicy")
            }
        }
    }

    async fn simulate_you(&self, action: &str, resource: &str) -> Result<Answered, Stopped> {
        let ask = async |principal: &str| {
            let answered =
                asked(&self.context.engine, async || Ok(self.iam.ask(principal, &[action], resource, &[]).await?));
            Ok(answered.await?.pop().unwrap_or(Answered::NotAllowed))
        };
        let Some((principal, role)) = role_of(&self.who) else { return ask(&self.who).await };
        match ask(&principal).await {
            // A session's ARN has no path in it.
            Err(Stopped::Failed(Failure::Call(CallFailed { fault: Fault::NotFound, .. }))) => {
                let found = asked(&self.context.engine, async || Ok(self.iam.role(role).await?)).await?;
                ask(&found.unwrap_or(principal)).await
            }
            other => other,
        }
    }
}

fn judged(name: &str, role: &str, action: &str, on: &str, answer: Answered) -> Option<Check> {
    let role = role.rsplit('/').next().unwrap_or(role);
    match answer {
        Answered::Allowed => None,
        Answered::NotAllowed => {
            let fix = format!(
                "allow {action}{on} in a policy of the role {role} (a policy of the resource itself is not looked at here)"
            );
            Some(Check::broken(Area::Permissions, format!("{name} may not {action}{on}"), fix))
        }
        Answered::Denied => {
            let what = format!("{name} may not {action}{on}: a statement denies it");
            let fix =
                format!("take the Deny out of the policies of the role {role}, its boundary or the organization's");
            Some(Check::broken(Area::Permissions, what, fix))
        }
        Answered::Depends(on_what) => {
            let what = format!("whether {name} may {action}{on} depends on {}", on_what.join(", "));
            let fix = format!("see that the condition in the policy of the role {role} is met when {name} runs");
            Some(Check::warning(Area::Permissions, what, fix))
        }
    }
}

/// Nobody could ask for the function's role; what the person may read proves nothing about it.
fn unsimulated(about: &str, stopped: &Stopped) -> Check {
    let what = format!(
        "{about} could not be simulated: {}; what else is told here was read with your permissions",
        told(stopped)
    );
    let fix = "let an administrator grant you iam:SimulatePrincipalPolicy, or let the function try: aws secretsmanager \
               rotate-secret --secret-id NAME --no-rotate-immediately, then read its log";
    Check::warning(Area::Permissions, what, fix)
}

fn told(stopped: &Stopped) -> String {
    match stopped {
        Stopped::Held(hold) => hold.detail.clone(),
        Stopped::Failed(failure) => chain(failure),
        Stopped::OutOfTime(Some(failure)) => chain(failure.as_ref()),
        Stopped::OutOfTime(None) | Stopped::Refused(_) | Stopped::Input(_) | Stopped::Illegal(_) => chain(stopped),
    }
}

/// The role behind a session, as an ARN without its path, and its name.
fn role_of(session: &str) -> Option<(String, &str)> {
    let (before, rest) = session.split_once(":assumed-role/")?;
    let role = rest.split('/').next()?;
    Some((format!("{}:role/{role}", before.replacen(":sts:", ":iam:", 1)), role))
}

#[cfg(test)]
mod tests {
    use rotator::doctor::Verdict;

    use super::*;

    #[test]
    fn a_session_is_simulated_as_its_role() {
        let session = "arn:aws:sts::111122223333:assumed-role/ops/ada";
        assert_eq!(role_of(session), Some(("arn:aws:iam::111122223333:role/ops".into(), "ops")));
        assert_eq!(role_of("arn:aws:iam::111122223333:user/ada"), None);
    }

    #[test]
    fn what_is_not_allowed_is_broken_and_what_depends_is_not() {
        let judge =
            |answer| judged("rotation", "arn:aws:iam::1:role/r", "kms:Sign", " on key", answer).map(|c| c.verdict);
        assert_eq!(judge(Answered::Allowed), None);
        assert_eq!(judge(Answered::NotAllowed), Some(Verdict::Broken));
        assert_eq!(judge(Answered::Denied), Some(Verdict::Broken));
        assert_eq!(judge(Answered::Depends(vec!["aws:x".into()])), Some(Verdict::Warning));
    }
}
