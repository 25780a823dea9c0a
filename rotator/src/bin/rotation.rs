//! The rotation function's `bootstrap`.

use std::process::ExitCode;
use std::sync::Arc;

use rotator::functions::{Pace, rotation::Rotation, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    serve("rotation", Pace::Full, |engine| Box::new(Rotation::new(Arc::new(engine)))).await
}
