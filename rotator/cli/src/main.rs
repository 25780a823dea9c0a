//! `rotator`: the operators' command line, with the demo and the embedded AWS.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use rotator::functions::telemetry::filter;
use rotator_cli::commands::{Cli, run};
use rotator_cli::output::Out;
use rotator_cli::trouble::{ErrorView, Outcome, Trouble};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // A person is told what matters; the log is for who asks for it.
    let log = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_filter(filter("off"));
    tracing_subscriber::registry().with(log).init();

    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    let mut out = Out::standard(cli.output, &mut stdout, &mut stderr);
    let outcome = match run(cli.command, &mut out).await {
        Ok(outcome) => outcome,
        // Whoever read our output has read enough.
        Err(Trouble::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Outcome::Failed,
        Err(trouble) => {
            let outcome = trouble.outcome();
            out.fail(&ErrorView::from(&trouble)).map_or(Outcome::Failed, |()| outcome)
        }
    };
    outcome.into()
}
