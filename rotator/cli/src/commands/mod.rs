//! The commands, one file each.

pub mod adopt;
pub mod demo;
pub mod history;
pub mod jwks;
pub mod list;
pub mod local;
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
    History(history::Args),
    Jwks(jwks::Args),
}

/// Runs a command.
pub async fn run(command: Command, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    match command {
        Command::Demo(args) => demo::run(args, out).await,
        Command::Local(args) => local::run(args, out).await,
        Command::Adopt(args) => adopt::run(&Context::load().await?, args, out).await,
        Command::List(args) => list::run(&Context::load().await?, args, out).await,
        Command::Show(args) => show::run(&Context::load().await?, args, out).await,
        Command::Rotate(args) => rotate::run(&Context::load().await?, args, out).await,
        Command::History(args) => history::run(&Context::load().await?, args, out).await,
        Command::Jwks(args) => jwks::run(&Context::load().await?, args, out).await,
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
