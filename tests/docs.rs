//! What the documents say is what the code does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use clap::CommandFactory;
use rotator::adoption::{self, Selection};
use rotator_cli::commands::Cli;
use state::decide::AWSCURRENT;
use state::drift::Finding;
use state::hold::HoldReason;
use state::policy::{COMMON_TAGS, PUBLISHING_TAGS, Timetable, WATCHED_TAGS};

use crate::harness::{ACME, API, Stage, Terms};

/// Service and operation, as the documents write them.
type Called = (String, String);

#[tokio::test(start_paused = true)]
async fn a_rotation_makes_exactly_the_documented_calls() {
    let stage = Stage::new().await;
    let (_, value) = stage.key("acme").await;
    assert!(stage.gets_through(&value).await, "used, so that there is a quota to carry over");
    let arn = adopt(&stage).await;

    stage.faults.disarm();
    stage.rotate(&arn).await;
    let calls = stage.faults.calls();
    assert_ne!(stage.current_value(&arn).await, value, "it rotated");
    let evidence = &stage.load(ACME).await.versions[&2].evidence;
    // Used once above, and three times by the test of the configuration that comes with a schedule.
    assert_eq!(evidence.get(&format!("quota:{}", stage.plan)).map(String::as_str), Some("996"), "{evidence:?}");

    let mut counted: BTreeMap<Called, usize> = BTreeMap::new();
    for call in &calls {
        *counted.entry(in_words(call)).or_default() += 1;
    }
    let (probes, aws): (Vec<_>, Vec<_>) = counted.iter().partition(|((service, _), _)| service == "Probe");
    let sum = |rows: Vec<(&Called, &usize)>| rows.into_iter().map(|(_, count)| count).sum::<usize>();
    let totals = format!("{} calls to AWS and {} probes", sum(aws), sum(probes));

    let page = read("docs/calls.md");
    assert_eq!(documented(&page), counted, "in order: {calls:#?}");
    assert!(page.contains(&totals), "docs/calls.md should say: {totals}");
}

/// By service: how many calls.
type Counted = BTreeMap<String, usize>;

#[tokio::test(start_paused = true)]
async fn every_kind_makes_exactly_the_documented_number_of_calls() {
    let mut counted: Vec<(String, String, Counted)> = Vec::new();
    let mut note = |kind: &str, what: &str, calls: Vec<String>| {
        let mut by_service = Counted::new();
        for call in calls {
            *by_service.entry(in_words(&call).0).or_default() += 1;
        }
        counted.push((kind.to_owned(), what.to_owned(), by_service));
    };

    let stage = Stage::new().await;
    let (_, value) = stage.key("acme").await;
    assert!(stage.gets_through(&value).await, "used, so that there is a quota to carry over");
    let arn = adopt(&stage).await;
    stage.faults.disarm();
    stage.rotate(&arn).await;
    note("api-gateway-key", "a rotation", stage.faults.calls());
    let (look, rest) = retirement(&stage).await;
    note("api-gateway-key", "a look at its use", look.expect("its use was looked at"));
    note("api-gateway-key", "retirement", rest);

    for terms in [Terms::webhook(), Terms::kms().without("idle-before-suspend"), Terms::jwt()] {
        let stage = Stage::new().await;
        let kind = terms.tags["rotator:kind"].clone();
        let arn = stage.signing(&terms).await;
        let first = stage.load(ACME).await.head.current;
        stage.faults.disarm();
        stage.rotate(&arn).await;
        note(&kind, "a rotation", stage.faults.calls());
        assert_ne!(stage.load(ACME).await.head.current, first, "it rotated");
        stage.faults.disarm();
        stage.pass(TimeDelta::minutes(1)).await;
        let standbys = stage.load(ACME).await.head.standbys.len();
        if standbys > 0 {
            note(&kind, "making the next key", stage.faults.calls());
        }
        let (look, rest) = retirement(&stage).await;
        if let Some(look) = look {
            note(&kind, "a look at its use", look);
        }
        note(&kind, "retirement", rest);
    }

    let page = read("docs/calls.md");
    let services = ["Secrets Manager", "DynamoDB", "KMS", "API Gateway", "Probe"];
    let lines: Vec<String> = counted
        .into_iter()
        .map(|(kind, what, by_service)| {
            let figures = services.map(|service| by_service.get(service).copied().unwrap_or(0));
            let cells = figures.map(|figure| figure.to_string()).join(" | ");
            format!("| `{kind}` | {what} | {cells} | {} |", figures.iter().sum::<usize>())
        })
        .collect();
    let table = between(&page, "<!-- kinds:start -->", "<!-- kinds:end -->");
    let told: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(told, lines, "docs/calls.md should say:\n{}", lines.join("\n"));
}

/// From the rotation to the end of the soak, only the ticks that had something to do: the last of those that looked at
/// the old key's use and did nothing else, and all the others together.
async fn retirement(stage: &Stage) -> (Option<Vec<String>>, Vec<String>) {
    const LOOKS: [&str; 2] = ["apigateway:GET /usageplans/{plan}/usage", "TrentService:GetKeyLastUsage"];
    let (mut look, mut rest) = (None, Vec::new());
    for _ in 0..20 * 24 {
        stage.faults.disarm();
        stage.pass(TimeDelta::hours(1)).await;
        let tick = stage.faults.calls();
        let commits = tick.iter().filter(|call| *call == "DynamoDB:TransactWriteItems").count();
        if commits == 1 && tick.iter().any(|call| LOOKS.contains(&call.as_str())) {
            look = Some(tick);
        } else if tick.len() > IDLE_TICK {
            // An idle tick asks each bucket of the index, and that is all.
            rest.extend(tick);
        }
    }
    (look, rest)
}

/// The queries of a tick that finds nothing to do.
const IDLE_TICK: usize = 8;

async fn adopt(stage: &Stage) -> String {
    let terms = adoption::Terms {
        secret_prefix: "partner/".into(),
        tags: BTreeMap::from([("probe".to_owned(), format!("{API}/prod/ping"))]),
        schedule: Timetable::Together("rate(30 days)".into()),
        encrypted_by: None,
        function_arn: stage.settings.function_arn.clone().expect("registered"),
    };
    let (engine, errand) = (stage.engine_unhurt(), stage.errand());
    let items = adoption::plan(&engine, &Selection::All, &terms, &errand, &mut |_, _| {}).await.expect("planned");
    for item in &items {
        adoption::adopt(&engine, item, &terms, &errand, None).await.expect("adopted");
    }
    stage.aws.settle().await;
    let secret = engine.describe(ACME).await.expect("created");
    assert!(secret.holder(AWSCURRENT).is_some());
    secret.arn
}

/// A call as the harness names it, in AWS's own words.
fn in_words(call: &str) -> Called {
    let (service, operation) = call.split_once(':').expect("service:operation");
    let (service, operation) = match (service, operation) {
        ("secretsmanager", operation) => ("Secrets Manager", operation),
        ("DynamoDB", operation) => ("DynamoDB", operation),
        ("TrentService", operation) => ("KMS", operation),
        ("Logs", operation) => ("CloudWatch Logs", operation),
        ("probe", _) => ("Probe", "GET"),
        ("apigateway", "GET /apikeys") => ("API Gateway", "GetApiKeys"),
        ("apigateway", "POST /apikeys") => ("API Gateway", "CreateApiKey"),
        ("apigateway", "GET /apikeys/{key}") => ("API Gateway", "GetApiKey"),
        ("apigateway", "PATCH /apikeys/{key}") => ("API Gateway", "UpdateApiKey"),
        ("apigateway", "DELETE /apikeys/{key}") => ("API Gateway", "DeleteApiKey"),
        ("apigateway", "GET /usageplans") => ("API Gateway", "GetUsagePlans"),
        ("apigateway", "GET /usageplans/{plan}") => ("API Gateway", "GetUsagePlan"),
        ("apigateway", "POST /usageplans/{plan}/keys") => ("API Gateway", "CreateUsagePlanKey"),
        ("apigateway", "GET /usageplans/{plan}/usage") => ("API Gateway", "GetUsage"),
        ("apigateway", "PATCH /usageplans/{plan}/keys/{key}/usage") => ("API Gateway", "UpdateUsage"),
        (service, operation) => panic!("{service}:{operation} has no name in the documents yet"),
    };
    (service.to_owned(), operation.to_owned())
}

/// The rows `| service | operation | calls | .. |` between the marks.
fn documented(page: &str) -> BTreeMap<Called, usize> {
    let mut found = BTreeMap::new();
    for row in rows(between(page, "<!-- calls:start -->", "<!-- calls:end -->")) {
        let [service, operation, count, ..] = row.as_slice() else { panic!("a row is too short: {row:?}") };
        let count = count.parse().unwrap_or_else(|_| panic!("not a number in {row:?}"));
        let before = found.insert((service.clone(), operation.clone()), count);
        assert!(before.is_none(), "{operation} stands there twice");
    }
    found
}

#[test]
fn every_hold_has_its_heading_in_the_runbook_and_every_such_heading_is_a_hold() {
    let page = read("runbook.md");
    let holds = between(&page, "<!-- holds:start -->", "<!-- holds:end -->");
    let sections: BTreeMap<&str, &str> = holds.split("\n### ").skip(1).filter_map(|s| s.split_once('\n')).collect();
    let reasons: BTreeSet<&str> = HoldReason::ALL.iter().map(|reason| reason.word()).collect();
    assert_eq!(sections.keys().copied().collect::<BTreeSet<_>>(), reasons);
    for (reason, section) in sections {
        for part in ["**What you see.**", "**What to check.**", "**What to do.**", "**How to undo.**"] {
            assert!(section.contains(part), "{reason} lacks {part}");
        }
    }
}

#[test]
fn every_finding_is_told_in_the_runbook() {
    let page = read("runbook.md");
    let told = |word: &&str| page.contains(&format!("\n**{word}.** "));
    let untold: Vec<&str> = Finding::WORDS.into_iter().filter(|word| !told(word)).collect();
    assert!(untold.is_empty(), "{untold:?}");
}

#[test]
fn every_setting_that_is_read_is_in_the_readme_and_no_other() {
    let page = read("README.md");
    let documented = first_words(between(&page, "<!-- settings:start -->", "<!-- settings:end -->"));
    let source = read("rotator/src/config.rs");
    let read: BTreeSet<String> =
        source.split("read(\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect();
    assert_eq!(documented, read);
}

#[tokio::test(start_paused = true)]
async fn every_tag_that_means_something_is_in_the_readme_and_no_other() {
    let page = read("README.md");
    let documented = first_words(between(&page, "<!-- tags:start -->", "<!-- tags:end -->"));
    let engine = Stage::new().await.engine_unhurt();
    let own = engine.kinds().flat_map(|kind| kind.tags());
    let known =
        COMMON_TAGS.iter().chain(&PUBLISHING_TAGS).chain(&WATCHED_TAGS).chain(own).map(|tag| format!("rotator:{tag}"));
    assert_eq!(documented, known.collect());
}

#[test]
fn every_invariant_is_cited_with_the_function_that_checks_it() {
    let page = read("ARCHITECTURE.md");
    let source = read("state/src/invariants.rs");
    let mut functions = 0;
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let Some((number, _)) = line.strip_prefix("/// I").and_then(|rest| rest.split_once(':')) else { continue };
        let rest = lines.find_map(|line| line.strip_prefix("pub fn ")).expect("the function that checks it");
        let name = rest.split_once('(').map_or(rest, |(name, _)| name);
        let cited = page.lines().any(|line| line.contains(&format!("**I{number}**")) && line.contains(name));
        assert!(cited, "I{number}, checked by {name}, is not cited");
        functions += 1;
    }
    assert_eq!(functions, 9);
    assert!(page.lines().any(|line| line.contains("**I8**") && line.contains("tests/leaks.rs")), "I8 is not cited");
}

#[test]
fn the_readmes_test_command_is_the_one_that_is_run() {
    let page = read("README.md");
    let after = page.split_once("<!-- test-command -->\n```sh\n").expect("the mark and a fence").1;
    let command = after.split_once("\n```").expect("the end of the fence").0;
    assert_eq!(command.lines().count(), 1, "{command}");
    let checks = read(".ci/run");
    assert!(checks.contains("<!-- test-command -->") && checks.contains("README.md"), "it is taken from the README");
}

#[test]
fn the_commands_that_have_a_plan_are_the_ones_that_the_readme_names() {
    let page = read("README.md");
    let before = page.split_once(" have a plan:").expect("the sentence").0;
    let sentence = before.rsplit_once("\n\n").expect("a paragraph").1;
    let named = sentence.split('`').skip(1).step_by(2).filter_map(|words| words.split(' ').next());
    let commands = Cli::command();
    let has_plan = |command: &&clap::Command| command.get_arguments().any(|argument| argument.get_id() == "plan");
    let having = commands.get_subcommands().filter(has_plan).map(clap::Command::get_name);
    assert_eq!(named.collect::<BTreeSet<_>>(), having.collect::<BTreeSet<_>>());
}

#[test]
fn links_inside_the_documents_lead_somewhere() {
    let pages = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "runbook.md",
        "docs",
        "infra",
    ];
    let mut checked = 0;
    for page in pages.iter().flat_map(|page| markdown(&root().join(page))) {
        let text = fs::read_to_string(&page).expect("readable");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.contains("://")) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().expect("a folder").join(path) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            if !heading.is_empty() {
                let there = fs::read_to_string(&target).expect("readable");
                let known = there.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == heading);
                assert!(known, "{}: {link} leads to no heading", page.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked} links were found");
}

/// A heading's address within its page.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn markdown(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).expect("a folder").map(|entry| entry.expect("readable").path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The cells of a table's rows, without its head and without the marks of code and emphasis.
fn rows(table: &str) -> Vec<Vec<String>> {
    let lines = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| {
        line.trim_matches('|').split('|').map(|cell| cell.replace(['`', '*'], "").trim().to_owned()).collect()
    };
    lines.map(cells).collect()
}

fn first_words(table: &str) -> BTreeSet<String> {
    rows(table).into_iter().filter_map(|row| row.into_iter().next()).collect()
}

fn between<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
    let after = page.split_once(start).unwrap_or_else(|| panic!("{start} is missing")).1;
    after.split_once(end).unwrap_or_else(|| panic!("{end} is missing")).0
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}
