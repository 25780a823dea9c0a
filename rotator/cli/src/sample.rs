//! Something to rotate: a REST API, usage plans and API keys, from a file in API Gateway's own key-file format.

use std::collections::BTreeSet;
use std::path::Path;

use aws_config::SdkConfig;
use aws_sdk_apigateway::Client;
use aws_sdk_apigateway::error::ProvideErrorMetadata;
use aws_sdk_apigateway::primitives::Blob;
use aws_sdk_apigateway::types::{ApiKeysFormat, ApiStage, QuotaPeriodType, QuotaSettings};
use local_aws::{KeyFile, LocalAws, Method, RestApi};

use crate::trouble::Trouble;

/// The sample: 25 keys on three usage plans.
pub const KEYS: &str = include_str!("../sample/api-keys.csv");
/// The id of the sample's REST API.
pub const API: &str = "partners01";
/// What its stages answer to whoever has a key.
pub const PATH: &str = "ping";

/// How many of a key file's problems are told.
const MOST_TOLD: usize = 20;

/// A usage plan of the sample.
struct SamplePlan {
    name: &'static str,
    stages: &'static [&'static str],
    quota: (i32, QuotaPeriodType),
}

const PLANS: [SamplePlan; 3] = [
    SamplePlan { name: "bronze", stages: &["beta"], quota: (1_000, QuotaPeriodType::Day) },
    SamplePlan { name: "silver", stages: &["prod"], quota: (100_000, QuotaPeriodType::Week) },
    SamplePlan { name: "gold", stages: &["prod", "beta"], quota: (5_000_000, QuotaPeriodType::Month) },
];

/// What was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// API keys.
    pub keys: usize,
    /// Usage plans.
    pub plans: usize,
}

/// Reads a key file and says what is wrong with it, several lines at once; `None` reads the sample.
///
/// # Errors
///
/// If the file can't be read, or with the line and the column of what is wrong in it, up to twenty problems.
pub fn read(path: Option<&Path>) -> Result<KeyFile, Trouble> {
    let Some(path) = path else { return parse("the sample", KEYS.as_bytes()) };
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Trouble::Other {
        what: format!("could not read {shown}"),
        next: "name a file in API Gateway's key-file format with --keys".into(),
        source: Some(error.into()),
    })?;
    parse(&shown, &bytes)
}

/// Sets up the API and the plans that the file names, and imports its keys.
///
/// The file names plans as it likes: each is made, since ids are API Gateway's to give. `bronze`, `silver` and `gold`
/// are the sample's; any other gets a stage of its own and no quota.
///
/// # Errors
///
/// If this AWS refuses any of it.
pub async fn load(aws: &LocalAws, config: &SdkConfig, mut file: KeyFile) -> Result<Loaded, Trouble> {
    let named: BTreeSet<String> = file.rows.iter().flat_map(|row| row.usage_plan_ids.iter().cloned()).collect();
    let strange: Vec<&String> = named.iter().filter(|name| PLANS.iter().all(|plan| plan.name != *name)).collect();
    let own_stage = |name: &String| strange.iter().position(|other| *other == name).map(|n| format!("plan{}", n + 1));
    aws.create_rest_api(RestApi {
        id: Some(API.into()),
        name: "partners".into(),
        stages: ["prod".to_owned(), "beta".to_owned()]
            .into_iter()
            .chain(strange.iter().copied().filter_map(own_stage))
            .collect(),
        methods: vec![Method::protected(format!("/{PATH}")), Method::open("/health")],
    });

    // The control plane's limits are for what comes later: nobody waits here who could be told to.
    let mut limits = false;
    aws.settings(|settings| limits = std::mem::replace(&mut settings.control_plane_limits, false));
    let client = Client::new(config);
    for name in &named {
        let known = PLANS.iter().find(|plan| plan.name == name);
        let quota = known.map(|plan| QuotaSettings::builder().limit(plan.quota.0).period(plan.quota.1.clone()).build());
        let stages: Vec<String> = match known {
            Some(plan) => plan.stages.iter().map(ToString::to_string).collect(),
            None => own_stage(name).into_iter().collect(),
        };
        let stages = stages.into_iter().map(|stage| ApiStage::builder().api_id(API).stage(stage).build());
        let made = client
            .create_usage_plan()
            .name(name)
            .set_api_stages(Some(stages.collect()))
            .set_quota(quota)
            .send()
            .await
            .map_err(|error| refused(format!("the usage plan {name} was refused"), &error))?;
        let id = made.id.unwrap_or_default();
        for row in &mut file.rows {
            row.usage_plan_ids.iter_mut().filter(|plan| *plan == name).for_each(|plan| plan.clone_from(&id));
        }
    }
    client
        .import_api_keys()
        .format(ApiKeysFormat::Csv)
        .fail_on_warnings(true)
        .body(Blob::new(write(&file)))
        .send()
        .await
        .map_err(|error| refused("the keys were refused".into(), &error))?;
    aws.settings(|settings| settings.control_plane_limits = limits);
    Ok(Loaded { keys: file.rows.len(), plans: named.len() })
}

/// One for each stage that any plan opens, as `rotator:probe` and `rotator adopt --probe` take them.
pub fn probes(aws: &LocalAws) -> Vec<String> {
    let stages = aws.inspect_usage_plans().into_iter().flat_map(|plan| plan.stages);
    let probes: BTreeSet<String> = stages.map(|(api, stage)| format!("{api}/{stage}/{PATH}")).collect();
    probes.into_iter().collect()
}

fn parse(shown: &str, bytes: &[u8]) -> Result<KeyFile, Trouble> {
    let bad = |problems: &[local_aws::KeyFileProblem]| Trouble::Usage {
        what: format!("{shown} can't be used: {}{}", told(problems), unsaid(problems.len())),
        next: "correct the file: it is UTF-8, comma-separated, with the header Name,Key and, if you like, \
               Description,Enabled,UsagePlanIds"
            .into(),
    };
    let file = KeyFile::read(bytes).map_err(|problem| bad(&[problem]))?;
    let mut problems = file.problems.clone();
    problems.extend(file.duplicates());
    problems.sort_by_key(|problem| problem.line);
    if !problems.is_empty() {
        return Err(bad(&problems));
    }
    if file.rows.is_empty() {
        return Err(Trouble::Usage { what: format!("{shown} has no keys"), next: "add a line for each key".into() });
    }
    Ok(file)
}

/// The first problems of a file; a file that is wrong throughout has thousands.
fn told(problems: &[local_aws::KeyFileProblem]) -> String {
    problems.iter().take(MOST_TOLD).map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn unsaid(problems: usize) -> String {
    match problems.saturating_sub(MOST_TOLD) {
        0 => String::new(),
        more => format!("; and {more} more"),
    }
}

/// The file again, now with the ids of plans.
fn write(file: &KeyFile) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let rows = file.rows.iter().map(|row| {
        let enabled = row.enabled.to_string();
        [
            row.name.clone(),
            row.value.clone(),
            row.description.clone().unwrap_or_default(),
            enabled,
            row.usage_plan_ids.join(","),
        ]
    });
    let header = ["Name", "Key", "Description", "Enabled", "UsagePlanIds"].map(str::to_owned);
    for record in std::iter::once(header).chain(rows) {
        writer.write_record(record).expect("a Vec takes every record of five fields");
    }
    writer.into_inner().expect("flushing to a Vec never fails")
}

/// Only what API Gateway says: the request has values in it.
fn refused(what: String, error: &impl ProvideErrorMetadata) -> Trouble {
    Trouble::Other {
        what: format!("{what}: {}", error.message().or(error.code()).unwrap_or("there was no answer")),
        next: "correct the key file: API Gateway's own rules apply".into(),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_has_25_keys_on_three_plans() {
        let file = read(None).unwrap();
        assert_eq!(file.rows.len(), 25);
        assert!(file.rows.iter().all(|row| row.value.starts_with("sample") && row.enabled));
        let plans: BTreeSet<&str> = file.rows.iter().flat_map(|row| &row.usage_plan_ids).map(String::as_str).collect();
        assert_eq!(plans, PLANS.iter().map(|plan| plan.name).collect());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_column() {
        let said = |text: &str| parse("mine.csv", text.as_bytes()).unwrap_err().to_string();
        let key = "abcdefghij0123456789";
        assert!(said("Nom,Key\n").contains("line 1"), "{}", said("Nom,Key\n"));
        let short = said(&format!("Name,Key\na,{key}\nb,tooshort\n"));
        assert!(short.contains("line 3, column 2") && !short.contains("tooshort"), "{short}");
        let twice = said(&format!("Name,Key\na,{key}\nb,{key}\n"));
        assert!(twice.contains("line 3") && twice.contains("line 2") && !twice.contains(key), "{twice}");
    }

    #[test]
    fn a_file_written_again_reads_the_same() {
        let file = read(None).unwrap();
        assert_eq!(KeyFile::read(&write(&file)).unwrap(), file);
    }
}
