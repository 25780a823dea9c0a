//! The commands, one file each.

pub mod adopt;
pub mod consent;
pub mod demo;
pub mod doctor;
pub mod findings;
pub mod history;
pub mod jwks;
pub mod list;
pub mod local;
pub mod plan;
pub mod reconcile;
pub mod repair;
pub mod retire;
pub mod rollback;
pub mod rotate;
pub mod show;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::context::Context;
use crate::output::{Format, Out, harmless, json, visible};
use crate::trouble::{ErrorView, Outcome, Trouble};

/// Rotate API keys, signing keys and webhook secrets without an outage, and see what was done
///
/// To try it, run `rotator demo`; it needs no AWS account. The other commands work on the account, Region and endpoint
/// of your ordinary AWS configuration. README.md lists the ROTATOR_* variables.
///
/// Exit codes: 0 done, 1 failed, 2 bad usage, 3 held or in need of attention, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "rotator", version, propagate_version = true)]
pub struct Cli {
    /// Print results in this format
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT", display_order = 100)]
    pub output: Format,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What there is to do.
#[expect(missing_docs, reason = "each command's help is the documentation of its arguments")]
#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(demo::Args),
    Local(local::Args),
    Adopt(adopt::Args),
    List(list::Args),
    Show(show::Args),
    Rotate(rotate::Args),
    Rollback(rollback::Args),
    Retire(retire::Args),
    Repair(repair::Args),
    Reconcile(reconcile::Args),
    History(history::Args),
    Jwks(jwks::Args),
    Doctor(doctor::Args),
}

impl Command {
    /// Whether it serves until somebody tells it to stop, for which it listens itself.
    pub fn serves(&self) -> bool {
        match self {
            Self::Local(_) => true,
            Self::Demo(_)
            | Self::Adopt(_)
            | Self::List(_)
            | Self::Show(_)
            | Self::Rotate(_)
            | Self::Rollback(_)
            | Self::Retire(_)
            | Self::Repair(_)
            | Self::Reconcile(_)
            | Self::History(_)
            | Self::Jwks(_)
            | Self::Doctor(_) => false,
        }
    }
}

/// What is printed on standard error about arguments that clap does not understand. It repeats them as they are, so it
/// is asked once more about arguments in which everything can be seen.
pub fn misread(error: &clap::Error, args: impl IntoIterator<Item = OsString>) -> String {
    let args: Vec<String> = args.into_iter().map(|arg| harmless(&arg.to_string_lossy())).collect();
    let said = Cli::try_parse_from(&args).err().filter(|again| again.kind() == error.kind());
    let said = visible(&said.as_ref().unwrap_or(error).render().to_string(), false);
    let asks_for_json = args.iter().any(|arg| arg == "--output=json")
        || args.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    if !asks_for_json {
        return said;
    }
    // Behind the first paragraph is the usage.
    let what = said.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let next = "`rotator --help` lists the commands, and `--help` behind a command its arguments";
    let trouble = Trouble::Usage { what: what.lines().map(str::trim).collect::<Vec<_>>().join(" "), next: next.into() };
    json(&ErrorView::from(&trouble))
}

/// Runs a command, over the ordinary AWS configuration where it needs one.
pub async fn run(command: Command, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    match command {
        Command::Demo(args) => demo::run(args, out).await,
        Command::Local(args) => local::run(args, out).await,
        command @ (Command::Adopt(_)
        | Command::List(_)
        | Command::Show(_)
        | Command::Rotate(_)
        | Command::Rollback(_)
        | Command::Retire(_)
        | Command::Repair(_)
        | Command::Reconcile(_)
        | Command::History(_)
        | Command::Jwks(_)
        | Command::Doctor(_)) => run_in(&Context::load().await?, command, out).await,
    }
}

/// Runs a command over any AWS.
pub async fn run_in(context: &Context, command: Command, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    match command {
        Command::Demo(args) => demo::run(args, out).await,
        Command::Local(args) => local::run(args, out).await,
        Command::Adopt(args) => adopt::run(context, args, out).await,
        Command::List(args) => list::run(context, args, out).await,
        Command::Show(args) => show::run(context, args, out).await,
        Command::Rotate(args) => rotate::run(context, args, out).await,
        Command::Rollback(args) => rollback::run(context, args, out).await,
        Command::Retire(args) => retire::run(context, args, out).await,
        Command::Repair(args) => repair::run(context, args, out).await,
        Command::Reconcile(args) => reconcile::run(context, args, out).await,
        Command::History(args) => history::run(context, args, out).await,
        Command::Jwks(args) => jwks::run(context, args, out).await,
        Command::Doctor(args) => doctor::run(context, args, out).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_that_are_not_understood_are_repeated_as_they_can_be_seen() {
        for evil in ["a\u{1b}[31m\u{9b}2J", "a\nerror: fine\r", "a\u{202e}b\u{e0041}", "a\u{ad}\u{3164}"] {
            for args in [
                &["rotator", evil][..],
                &["rotator", "list", evil],
                &["rotator", "list", "--output", evil],
                &["rotator", "local", "--port", evil],
                &["rotator", "local", "--lambda-endpoint", evil],
                &["rotator", "rotate", "a", "--emergency", "--reason", "x", "--compromised", evil],
                &["rotator", &format!("--{evil}")],
            ] {
                let error = Cli::try_parse_from(args).unwrap_err();
                let said = misread(&error, args.iter().map(Into::into));
                assert!(said.starts_with("error: ") && said.contains("a\\"), "{said:?}");
                assert!(said.lines().all(|line| line.chars().all(rotator::visible::is_visible)), "{said:?}");
                assert!(said.lines().all(|line| !line.starts_with("error: fine")), "{said:?}");
            }
        }
    }

    #[test]
    fn whoever_asks_for_json_is_told_in_json_what_is_not_understood() {
        for args in [
            &["rotator", "--output", "json", "lst\u{202e}"][..],
            &["rotator", "list", "--output=json", "--prefx\u{e0041}", "a"],
            &["rotator", "rotate", "--output", "json"],
        ] {
            let error = Cli::try_parse_from(args).unwrap_err();
            let said = misread(&error, args.iter().map(Into::into));
            let document: serde_json::Value = serde_json::from_str(&said).unwrap();
            assert_eq!(document["error"]["kind"], "Usage", "{said}");
            assert!(!document["error"]["message"].as_str().unwrap().starts_with("error"), "{said}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
