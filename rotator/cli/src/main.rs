//! `rotator`: the operators' command line, with the demo and the embedded AWS.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use rotator::functions::telemetry::filter;
use rotator_cli::commands::{Cli, misread, run};
use rotator_cli::interrupt::{ctrl_c, until_interrupted};
use rotator_cli::output::{Log, Out};
use rotator_cli::trouble::{ErrorView, Outcome, Trouble};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    // A person is told what matters; the log is for who asks for it.
    let log = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Log::default).with_filter(filter("off"));
    tracing_subscriber::registry().with(log).init();

    let (mut stdin, mut stdout, mut stderr) = (io::BufReader::new(io::stdin()), io::stdout(), io::stderr());
    let mut out = Out::standard(cli.output, &mut stdin, &mut stdout, &mut stderr);
    let line: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let done = if cli.command.serves() {
        run(cli.command, &mut out).await
    } else {
        until_interrupted(&mut out, &line, async |out| run(cli.command, out).await, ctrl_c()).await
    };
    let outcome = match done {
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

/// Prints what clap has to say: help on standard output, or why it does not understand on standard error.
fn refuse(error: &clap::Error) -> ExitCode {
    let printed =
        if error.use_stderr() { write!(Log, "{}", misread(error, std::env::args_os())) } else { error.print() };
    let code = u8::try_from(error.exit_code()).unwrap_or(1);
    if printed.is_ok() { code.into() } else { Outcome::Failed.into() }
}
