//! The rotation function's `bootstrap`.

use std::sync::Arc;

use rotator::functions::{Pace, rotation::Rotation, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve("rotation", Pace::Full, |engine| Box::new(Rotation::new(Arc::new(engine)))).await
}
