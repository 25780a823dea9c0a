//! Who may do what: asked of IAM's policy simulator, and where the person may not ask, said so.

use std::collections::{BTreeMap, BTreeSet};

use rotator::doctor::permissions::{Function, Need, Subject, always, for_credential};
use rotator::doctor::{Area, Check, asked};
use rotator::failure::{CallFailed, Failure, Fault, Stopped, chain};
use state::name::CredentialName;

use super::Doctor;
use super::functions::Fleet;
use crate::aws::iam::{Answered, Simulated};
use crate::aws::lambda::FunctionView;

/// By which IAM knows whose value is encrypted.
const SECRET_OF_VALUE: &str = "kms:EncryptionContext:SecretARN";

/// How many resources IAM is asked about at once.
const AT_ONCE: usize = 50;

/// What IAM answered. Each question is asked once, however many credentials it is about: they share roles, kinds, and
/// most of the resources.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// By resource and action.
    told: BTreeMap<Circumstances, BTreeMap<String, BTreeMap<&'static str, Simulated>>>,
    /// Why there is no answer, by role. Nothing more is asked of it: the person may not, or IAM does not answer.
    untold: BTreeMap<String, String>,
}

/// Who does something, and the values of context keys: policies may be limited by these, and a simulation knows nothing
/// that it is not told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Circumstances {
    role: String,
    context: Vec<(&'static str, String)>,
}

/// Whether a need is met.
#[derive(Debug)]
struct Question {
    need: Need,
    /// What all credentials of a kind have in common.
    shared: Circumstances,
    /// The same, with what is the credential's own.
    own: Circumstances,
}

/// All that a function needs for something.
#[derive(Debug)]
struct Needs {
    function: Function,
    role: String,
    what_for: String,
    questions: Vec<Question>,
}

impl Answers {
    fn of(&self, circumstances: &Circumstances, need: &Need) -> Option<&Simulated> {
        self.told.get(circumstances)?.get(&need.resource)?.get(need.action)
    }

    /// Whether a policy asks for what differs from credential to credential.
    fn differ(&self, question: &Question) -> bool {
        let Some(told) = self.of(&question.shared, &question.need) else { return false };
        let shared = &question.shared.context;
        question.own.context.iter().any(|entry| !shared.contains(entry) && told.misses(entry.0))
    }

    /// The last word.
    fn to(&self, question: &Question) -> Option<Answered> {
        let own = self.of(&question.own, &question.need);
        own.or_else(|| self.of(&question.shared, &question.need)).map(Simulated::answered)
    }
}

impl Needs {
    fn new(function: Function, view: &FunctionView, what_for: String, needs: Vec<Need>) -> Self {
        let circumstances = Circumstances { role: view.role.clone(), context: Vec::new() };
        let ask = |need| Question { need, shared: circumstances.clone(), own: circumstances.clone() };
        Self { function, role: view.role.clone(), what_for, questions: needs.into_iter().map(ask).collect() }
    }

    /// A line for each that is not met; one for all, if all are.
    fn checks(&self, answers: &Answers) -> Vec<Check> {
        let Self { function, role, what_for, questions } = self;
        let name = function.word();
        let mut sorted: Vec<&Question> = questions.iter().collect();
        sorted.sort_by_key(|question| (&question.need.resource, &question.need.of_secret));
        let mut checks = Vec::new();
        for question in sorted {
            let Need { action, resource, of_secret } = &question.need;
            let answer = match (answers.to(question), answers.untold.get(role)) {
                (Some(answer), _) => answer,
                (None, Some(why)) => {
                    checks.push(unsimulated(&format!("what {name} may do{what_for}"), why));
                    return checks;
                }
                (None, None) => Answered::Depends(vec!["an answer that IAM did not give".into()]),
            };
            let on = match (resource.as_str(), of_secret) {
                ("*", _) => String::new(),
                (resource, None) => format!(" on {resource}"),
                (resource, Some(secret)) => format!(" on {resource} for {secret}"),
            };
            checks.extend(judged(name, role, action, &on, answer));
        }
        if checks.is_empty() && !questions.is_empty() {
            let what = format!("{name} may do all {} things that it needs{what_for}", questions.len());
            checks.push(Check::ok(Area::Permissions, what));
        }
        checks
    }
}

impl Doctor<'_> {
    /// What the functions need whichever credentials there are, and whether the person may have rotations begun.
    pub(super) async fn allowed_always(&self, fleet: &Fleet, answers: &mut Answers) -> Vec<Check> {
        let of = |(function, view): &(Function, FunctionView)| {
            Needs::new(*function, view, String::new(), always(*function, &self.scope))
        };
        let needs: Vec<Needs> = fleet.all().map(of).collect();
        self.ask(needs.iter(), answers).await;
        let mut checks: Vec<Check> = needs.iter().flat_map(|needs| needs.checks(answers)).collect();
        if let Some(rotation) = fleet.get(Function::Rotation) {
            checks.push(self.may_invoke(rotation).await);
        }
        checks
    }

    /// What the functions need for each of some credentials.
    pub(super) async fn allowed_for<'s>(
        &self,
        fleet: &Fleet,
        subjects: impl Iterator<Item = (&'s CredentialName, &'s Subject)>,
        answers: &mut Answers,
    ) -> Vec<Vec<Check>> {
        let of = |(name, subject)| fleet.all().map(|known| self.needs(known, name, subject)).collect();
        let needs: Vec<Vec<Needs>> = subjects.map(of).collect();
        self.ask(needs.iter().flatten(), answers).await;
        needs.iter().map(|needs| needs.iter().flat_map(|needs| needs.checks(answers)).collect()).collect()
    }

    fn needs(&self, known: &(Function, FunctionView), name: &CredentialName, subject: &Subject) -> Needs {
        let (function, view) = known;
        let kind = &subject.kind;
        let needs = for_credential(*function, &self.scope, subject);
        let mut needs = Needs::new(*function, view, format!(" for {kind}"), needs);
        for Question { need, shared, own } in &mut needs.questions {
            shared.context = vec![
                ("aws:ResourceTag/rotator:kind", kind.clone()),
                ("secretsmanager:ResourceTag/rotator:kind", kind.clone()),
                ("kms:ViaService", format!("secretsmanager.{}.amazonaws.com", self.scope.region)),
            ];
            shared.context.extend(need.of_secret.iter().map(|secret| (SECRET_OF_VALUE, secret.clone())));
            own.context = shared.context.clone();
            own.context.push(("aws:ResourceTag/rotator:credential", name.to_string()));
            own.context.push(("aws:RequestTag/rotator:credential", name.to_string()));
            if need.of_secret.is_none() {
                own.context.push((SECRET_OF_VALUE, subject.secret.clone()));
            }
        }
        needs
    }

    /// Asks first what all have in common; then, where IAM says that a policy asks for more, with what is each one's own.
    async fn ask(&self, needs: impl Iterator<Item = &Needs> + Clone, answers: &mut Answers) {
        let questions = needs.flat_map(|needs| &needs.questions);
        self.simulate(questions.clone().map(|question| (&question.shared, &question.need)), answers).await;
        let differ: Vec<&Question> = questions.filter(|question| answers.differ(question)).collect();
        self.simulate(differ.into_iter().map(|question| (&question.own, &question.need)), answers).await;
    }

    /// Asks what is not known yet, of many resources at once.
    async fn simulate<'n>(
        &self,
        questions: impl Iterator<Item = (&'n Circumstances, &'n Need)>,
        answers: &mut Answers,
    ) {
        let mut open: BTreeMap<(&Circumstances, &str), BTreeSet<&'static str>> = BTreeMap::new();
        for (circumstances, need) in questions.filter(|(circumstances, need)| answers.of(circumstances, need).is_none())
        {
            open.entry((circumstances, &need.resource)).or_default().insert(need.action);
        }
        // `*` is no resource among others: what is told of it stands elsewhere.
        let mut together: BTreeMap<(&Circumstances, Vec<&'static str>, bool), Vec<&str>> = BTreeMap::new();
        for ((circumstances, resource), actions) in open {
            let key = (circumstances, actions.into_iter().collect(), resource == "*");
            together.entry(key).or_default().push(resource);
        }
        for ((circumstances, actions, _), resources) in &together {
            let Circumstances { role, context } = circumstances;
            let context: Vec<(&str, &str)> = context.iter().map(|(key, value)| (*key, value.as_str())).collect();
            for resources in resources.chunks(AT_ONCE) {
                if answers.untold.contains_key(role) {
                    break;
                }
                let asked =
                    asked(&self.context.engine, async || Ok(self.iam.ask(role, actions, resources, &context).await?));
                match asked.await {
                    Ok(found) => {
                        let known = answers.told.entry((*circumstances).clone()).or_default();
                        found.into_iter().for_each(|(on, by_action)| known.entry(on).or_default().extend(by_action));
                    }
                    Err(stopped) => {
                        answers.untold.insert(role.clone(), told(&stopped));
                    }
                }
            }
        }
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
            let asked =
                asked(&self.context.engine, async || Ok(self.iam.ask(principal, &[action], &[resource], &[]).await?));
            let told = asked.await?;
            let answer = told.get(resource).and_then(|by_action| by_action.get(action));
            Ok(answer.map_or(Answered::NotAllowed, Simulated::answered))
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
fn unsimulated(about: &str, why: &str) -> Check {
    let what = format!("{about} could not be simulated: {why}; what else is told here was read with your permissions");
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
