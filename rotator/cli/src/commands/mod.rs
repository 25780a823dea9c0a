//! The commands, one file each.

pub mod adopt;
pub mod demo;
pub mod doctor;
pub mod findings;
pub mod history;
pub mod jwks;
pub mod list;
pub mod local;
pub mod reconcile;
pub mod repair;
pub mod retire;
pub mod rollback;
pub mod rotate;
pub mod show;

use clap::{Parser, Subcommand};

use crate::context::Context;
use crate::output::{Format, Out};
use crate::trouble::{Outcome, Trouble};

/// Rotate API keys, signing keys and webhook secrets without an outage, and see what was done
///
/// To try it, run `rotator demo`; it needs no AWS account. The other commands work on the account, Region and endpoint
/// of your ordinary AWS configuration. README.md lists the ROTATOR_* variables.
///
/// Exit codes: 0 done, 1 failed, 2 bad usage, 3 held or in need of attention.
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
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
