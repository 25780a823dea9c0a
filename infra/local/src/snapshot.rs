//! A moment of an AWS, from which any number of others go on.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::dynamodb::{self, DynamoDb};
use crate::world::{Place, World};
use crate::{BuildError, Inner, LocalAws};

/// Everything that an AWS was at one moment, but for the functions that were registered: those call back into the AWS
/// that they belong to, so each AWS that goes on from here is given its own. Nothing that happens to one of them is
/// seen by another, or by the AWS that this was taken from.
pub struct Snapshot {
    place: Place,
    world: World,
    tables: dynamodb::Snapshot,
}

impl LocalAws {
    /// This moment. A job that runs now is due again there, the calls that were answered are forgotten, and reads of an
    /// index are up to date from here on ([`Settings::stale_index`](crate::Settings::stale_index) counts anew).
    ///
    /// # Errors
    ///
    /// If the tables can't be copied.
    pub fn snapshot(&self) -> Result<Snapshot, BuildError> {
        let tables = self.dynamodb().snapshot().map_err(|error| BuildError::Tables(Box::new(error)))?;
        Ok(Snapshot { place: self.0.place.clone(), world: self.lock().copy(), tables })
    }
}

impl Snapshot {
    /// An AWS that goes on from this moment, in memory. Its clock should show the moment at which it was taken.
    ///
    /// # Errors
    ///
    /// If the tables can't be copied.
    pub fn resume(&self, clock: Arc<dyn Clock>) -> Result<LocalAws, BuildError> {
        let dynamodb = DynamoDb::resume(&self.tables).map_err(|error| BuildError::Tables(Box::new(error)))?;
        Ok(LocalAws(Arc::new(Inner {
            clock,
            place: self.place.clone(),
            dynamodb,
            state_dir: None,
            world: Mutex::new(self.world.copy()),
            woken: Notify::new(),
        })))
    }
}

/// A file of our own in the temporary directory, gone when it is dropped.
pub(crate) struct ScratchFile(PathBuf);

impl ScratchFile {
    /// Chooses a path that is unique in this process. SQLite creates the file.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("local-aws-{}-{number}.sqlite", std::process::id()));
        // A process of the same number may have been killed before it could remove its own.
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        // Best effort: it is in the temporary directory.
        let _ = std::fs::remove_file(&self.0);
    }
}
