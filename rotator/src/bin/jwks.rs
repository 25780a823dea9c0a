//! The `bootstrap` of the function `jwks`.

use std::process::ExitCode;
use std::sync::Arc;

use rotator::functions::{Pace, jwks::Jwks, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    serve("jwks", Pace::Full, |engine| Box::new(Jwks::new(Arc::new(engine)))).await
}
