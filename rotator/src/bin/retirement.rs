//! The retirement function's `bootstrap`.

use std::sync::Arc;

use rotator::functions::{Pace, retirement::Retirement, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve("retirement", Pace::Share, |engine| Box::new(Retirement::new(Arc::new(engine)))).await
}
