//! `rotator local`: an AWS on this machine, with this service deployed, until Ctrl-C.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use local_aws::{AccessKey, Clock, ScaledClock, StateDir, StateError};
use rotator::ports::Entropy;
use serde::Serialize;
use state::Time;
use tokio::net::TcpListener;

use crate::embedded::{Embedded, REGION, Setup};
use crate::output::{Look, Out, View, harmless};
use crate::sample;
use crate::trouble::{Outcome, Trouble};

/// Keep an AWS running on this machine, with this service deployed in it
///
/// Prints what to export; then the `aws` command line, boto3 and `rotator` itself work against it. Scheduled rotations
/// fire, and retirement runs every minute. Only this machine can reach it, and only whoever has the access key that it
/// draws anew each time.
///
/// Ctrl-C ends it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Listen on this port of 127.0.0.1; 0 takes any that is free
    #[arg(long, default_value_t = 4566)]
    port: u16,
    /// Run its clock this many times as fast as real time: 1 to 600, which is ten minutes a second
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Invoke the functions `rotation`, `retirement` and `jwks` through Lambda's Invoke API at this URL, not the
    /// built-in ones
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    lambda_endpoint: Option<http::Uri>,
    /// Keep its state in this directory, which only its owner may look into and one process at a time may use; without it,
    /// everything is gone at the end
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Start with the API keys of this CSV file, in API Gateway's key-file format, instead of the sample's 25
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

/// What is printed once it answers. As JSON:
///
/// ```json
/// {
///   "environment": {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "AWS_REGION": "eu-west-1", "...": "..."},
///   "apiKeys": 25,
///   "usagePlans": 3,
///   "probes": ["partners01/beta/ping", "partners01/prod/ping"]
/// }
/// ```
///
/// `environment` holds every variable that a client, or `rotator` itself, needs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LocalView {
    /// What a client of it needs.
    environment: Environment,
    /// API keys that are there.
    api_keys: usize,
    /// Usage plans that are there.
    usage_plans: usize,
    /// Where a key can be tried, as `rotator adopt --probe` takes it.
    probes: Vec<String>,
    #[serde(skip)]
    notes: Vec<String>,
}

/// No `Debug`: it holds a secret, to be printed once.
#[derive(Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Environment {
    aws_endpoint_url: String,
    aws_access_key_id: String,
    aws_secret_access_key: String,
    aws_region: &'static str,
    aws_default_region: &'static str,
    rotator_table: String,
    rotator_fingerprint_key: String,
    rotator_execute_api: String,
    rotator_function_arn: String,
    rotator_jwks_url: String,
}

/// Runs it.
///
/// # Errors
///
/// If the arguments contradict each other, the port is taken, or the state or the key file can't be used.
pub async fn run(args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    if args.lambda_endpoint.is_some() && args.speed != 1.0 {
        return Err(Trouble::Usage {
            what: format!("--speed {} and --lambda-endpoint exclude each other", args.speed),
            next: "leave one of them out: the functions there run on real time, and there must be one clock only"
                .into(),
        });
    }
    let file = sample::read(args.keys.as_deref())?;
    let state = args.state.as_deref().map(state_dir).transpose()?;
    let listener = listen(args.port).await?;
    let address = listener.local_addr()?;
    let mut notes = Vec::new();
    if let Some(endpoint) = &args.lambda_endpoint {
        notes.push(format!("rotation, retirement and jwks are invoked at {endpoint}"));
    }
    if args.speed != 1.0 {
        notes.push(format!("its clock runs {} times as fast as real time", args.speed));
    }
    let embedded = Setup {
        clock: Arc::new(clock(args.speed, state.as_deref())),
        state: state.clone(),
        execute_api: Some(format!("http://{address}/_aws/execute-api/{{api}}")),
        lambda_endpoint: args.lambda_endpoint,
        ..Setup::default()
    }
    .start()
    .await
    .map_err(not_started)?;
    let aws = &embedded.aws;
    if aws.inspect_usage_plans().is_empty() && aws.inspect_api_keys().is_empty() {
        sample::load(aws, &embedded.config, file).await?;
    } else if args.keys.is_some() {
        notes.push("the key file was not loaded: the state has keys or plans already".into());
    }
    let key = access_key(&*embedded.ports.entropy);
    out.show(&LocalView::new(&embedded, format!("http://{address}"), &key, notes))?;

    let stopped = tokio::select! {
        stopped = told_to_stop() => stopped,
        () = aws.serve(listener, key) => Ok(()),
        () = aws.run() => Ok(()),
    };
    stopped?;
    if let Some(dir) = &state {
        dir.write(CLOCK, &aws.now().to_rfc3339())?;
    }
    Ok(Outcome::Done)
}

impl LocalView {
    fn new(embedded: &Embedded, url: String, key: &AccessKey, notes: Vec<String>) -> Self {
        let settings = &embedded.settings;
        Self {
            environment: Environment {
                aws_endpoint_url: url,
                aws_access_key_id: key.id.clone(),
                aws_secret_access_key: key.secret.clone(),
                aws_region: REGION,
                aws_default_region: REGION,
                rotator_table: settings.table.clone(),
                rotator_fingerprint_key: settings.fingerprint_key.clone().unwrap_or_default(),
                rotator_execute_api: settings.execute_api.clone(),
                rotator_function_arn: settings.function_arn.clone().unwrap_or_default(),
                rotator_jwks_url: settings.jwks_url.clone().unwrap_or_default(),
            },
            api_keys: embedded.aws.inspect_api_keys().len(),
            usage_plans: embedded.aws.inspect_usage_plans().len(),
            probes: sample::probes(&embedded.aws),
            notes,
        }
    }
}

impl View for LocalView {
    fn page(&self, _: &Look) -> String {
        let Environment {
            aws_endpoint_url,
            aws_access_key_id,
            aws_secret_access_key,
            aws_region,
            aws_default_region,
            rotator_table,
            rotator_fingerprint_key,
            rotator_execute_api,
            rotator_function_arn,
            rotator_jwks_url,
        } = &self.environment;
        let exports = [
            ("AWS_ENDPOINT_URL", aws_endpoint_url.as_str()),
            ("AWS_ACCESS_KEY_ID", aws_access_key_id),
            ("AWS_SECRET_ACCESS_KEY", aws_secret_access_key),
            ("AWS_REGION", aws_region),
            ("AWS_DEFAULT_REGION", aws_default_region),
            ("ROTATOR_TABLE", rotator_table),
            ("ROTATOR_FINGERPRINT_KEY", rotator_fingerprint_key),
            ("ROTATOR_EXECUTE_API", rotator_execute_api),
            ("ROTATOR_FUNCTION_ARN", rotator_function_arn),
            ("ROTATOR_JWKS_URL", rotator_jwks_url),
        ];
        // Braces mean something to a shell, and nothing else here does.
        let mut page: String = exports.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
        page.push_str(&format!("\n# API keys: {}, usage plans: {}", self.api_keys, self.usage_plans));
        page.push_str(&format!("\n# key sets are served at {rotator_jwks_url}/NAME"));
        for note in &self.notes {
            page.push_str(&format!("\n# {}", harmless(note)));
        }
        let probes: String = self.probes.iter().map(|probe| format!(" --probe {probe}")).collect();
        page.push_str("\n# paste the lines above into another terminal, then try:\n");
        page.push_str(&format!("#   rotator adopt --all{probes} --yes\n"));
        page.push_str(
            "#   rotator adopt --kind kms-signing-key orders/issuer --yes\n#   rotator rotate orders/issuer\n",
        );
        page.push_str("# Ctrl-C ends it\n");
        page
    }
}

/// Ctrl-C, or the signal that ends a process politely.
async fn told_to_stop() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// Goes on where it stopped, if that is later than now: a fast clock runs ahead, and time must not run back.
fn clock(speed: f64, state: Option<&StateDir>) -> ScaledClock {
    let now = ScaledClock::new(1.0).now();
    let stopped = state.and_then(|dir| dir.read(CLOCK).ok()?);
    let stopped = stopped.and_then(|text| text.trim().parse::<Time>().ok());
    ScaledClock::starting_at(stopped.map_or(now, |stopped| stopped.max(now)), speed)
}

async fn listen(port: u16) -> Result<TcpListener, Trouble> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| Trouble::Other {
        what: format!("could not listen on 127.0.0.1:{port}"),
        next: "take another port with --port, or any free one with --port 0".into(),
        source: Some(error.into()),
    })
}

/// A key for whoever may ask over the port. Its id says where it belongs, so that nobody takes it for one of AWS's.
pub(super) fn access_key(entropy: &dyn Entropy) -> AccessKey {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let drawn = |bytes: &mut [u8]| -> String {
        entropy.fill(bytes);
        bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
    };
    AccessKey { id: format!("LOCAL{}", drawn(&mut [0; 15])), secret: drawn(&mut [0; 40]) }
}

fn state_dir(path: &Path) -> Result<Arc<StateDir>, Trouble> {
    StateDir::open(path).map(Arc::new).map_err(|error| Trouble::Other {
        what: "could not start the embedded AWS".into(),
        next: match &error {
            StateError::InUse(_) => "end that process, or name another directory with --state".into(),
            StateError::OpenToOthers(dir, _) => format!(
                "if nobody else needs it, `chmod 700 {}`; otherwise name a directory that is not there yet with --state",
                dir.display()
            ),
            StateError::Unusable(..) => "name a directory that you may write to with --state".into(),
        },
        source: Some(error.into()),
    })
}

/// What to do when the embedded AWS does not start.
pub(super) fn not_started(error: crate::embedded::StartError) -> Trouble {
    Trouble::Other {
        what: "could not start the embedded AWS".into(),
        next: "name a directory that this version wrote, or a new one, with --state".into(),
        source: Some(error.into()),
    }
}

fn speed(raw: &str) -> Result<f64, String> {
    let speed = raw.parse().ok().filter(|speed: &f64| (1.0..=FASTEST).contains(speed));
    speed.ok_or_else(|| format!("write a number from 1 to {FASTEST}, for instance 60 for an hour a minute"))
}

fn endpoint(raw: &str) -> Result<http::Uri, String> {
    let url: http::Uri = raw.parse().map_err(|_| "write a URL, for instance http://127.0.0.1:9000".to_owned())?;
    match url.scheme_str() {
        Some("http") if url.host().is_some() => Ok(url),
        Some(_) | None => Err("write a URL that begins with http:// and a host: it is called without TLS".into()),
    }
}

/// Faster, functions run out of their time: docs/numbers.md has what was measured.
const FASTEST: f64 = 600.0;

/// The file in the state directory that holds the time at which it was stopped.
const CLOCK: &str = "clock";

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use chrono::TimeDelta;
    use clap::Parser;
    use rotator::ports::OsEntropy;

    use super::*;
    use crate::commands::Cli;

    #[tokio::test]
    async fn one_clock_only() {
        let cli = Cli::parse_from(["rotator", "local", "--speed", "60", "--lambda-endpoint", "http://127.0.0.1:9000"]);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut out = Out::plain(cli.output, &mut stdout, &mut stderr);
        let trouble = crate::commands::run(cli.command, &mut out).await.unwrap_err();
        assert_eq!(trouble.outcome(), Outcome::BadUsage);
        assert!(trouble.to_string().contains("--lambda-endpoint"), "{trouble}");
    }

    #[test]
    fn bad_numbers_and_addresses_are_bad_usage() {
        for bad in [["--speed", "0.5"], ["--speed", "fast"], ["--lambda-endpoint", "https://x"], ["--port", "65536"]] {
            let error = Cli::try_parse_from(["rotator", "local"].iter().chain(&bad)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }

    #[test]
    fn the_speeds_that_work_are_told_before_and_after_somebody_asks_for_another() {
        let told = format!("1 to {FASTEST}");
        let help = Cli::try_parse_from(["rotator", "local", "--help"]).unwrap_err().to_string();
        assert!(help.contains(&told), "{help}");
        for speed in ["0", "-1", "0.9", "NaN", "inf", &(FASTEST + 1.0).to_string()] {
            let refused = Cli::try_parse_from(["rotator", "local", &format!("--speed={speed}")]).unwrap_err();
            assert!(refused.to_string().contains(&told), "{refused}");
        }
        assert_eq!(speed(&FASTEST.to_string()), Ok(FASTEST));
    }

    #[tokio::test]
    async fn every_variable_is_printed() {
        let embedded = Setup::default().start().await.unwrap();
        let key = access_key(&*embedded.ports.entropy);
        let view = LocalView::new(&embedded, "http://127.0.0.1:1".into(), &key, vec!["a\u{1b}note".into()]);
        let page = view.page(&Look::PLAIN);
        let serde_json::Value::Object(variables) = serde_json::to_value(&view.environment).unwrap() else {
            panic!("the environment is an object")
        };
        for (name, value) in variables {
            let line = format!("export {name}='{}'\n", value.as_str().unwrap());
            assert!(page.contains(&line), "{line} is missing in {page}");
        }
        assert!(!page.contains('\u{1b}'), "{page}");
    }

    #[test]
    fn each_run_has_an_access_key_of_its_own_that_looks_like_one() {
        let (one, other) = (access_key(&OsEntropy), access_key(&OsEntropy));
        assert_ne!(one.id, other.id);
        assert_ne!(one.secret, other.secret);
        assert_eq!((one.id.len(), one.secret.len()), (20, 40));
        assert!((one.id + &one.secret).chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()));
    }

    #[tokio::test]
    async fn time_goes_on_where_it_stopped_and_never_runs_back() {
        let dir = scratch("clock");
        let state = state_dir(&dir).unwrap();
        let now = clock(1.0, Some(&state)).now();
        for (stopped, expected) in
            [(now + TimeDelta::days(9), now + TimeDelta::days(9)), (now - TimeDelta::days(9), now)]
        {
            state.write(CLOCK, &stopped.to_rfc3339()).unwrap();
            let shown = clock(1.0, Some(&state)).now();
            assert!(shown >= expected && shown < expected + TimeDelta::hours(1), "{shown}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_state_directory_that_can_not_be_had_is_named_with_what_to_do() {
        let dir = scratch("taken");
        let _first = state_dir(&dir).unwrap();
        let told = |dir: &Path| {
            let trouble = state_dir(dir).unwrap_err();
            (rotator::failure::chain(&trouble), trouble.next().unwrap())
        };
        let (taken, next) = told(&dir);
        assert!(taken.contains(&format!("another process keeps its state in {}", dir.display())), "{taken}");
        assert!(next.contains("end that process"), "{next}");

        std::fs::set_permissions(&dir, Permissions::from_mode(0o750)).unwrap();
        let (open, next) = told(&dir);
        assert!(open.contains(&format!("may look into {} (its mode is 750)", dir.display())), "{open}");
        assert!(next.contains(&format!("chmod 700 {}", dir.display())), "{next}");

        let (unusable, _) = told(Path::new("/dev/null/state"));
        assert!(unusable.contains("/dev/null/state"), "{unusable}");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("rotator-local-{}-{name}", std::process::id()))
    }
}
