//! The retirement function's `bootstrap`.

use std::process::ExitCode;
use std::sync::Arc;

use rotator::functions::{Pace, retirement::Retirement, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    serve("retirement", Pace::Share, |engine| Box::new(Retirement::new(Arc::new(engine)))).await
}
