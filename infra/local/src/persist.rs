//! State across restarts: one JSON file beside DynamoDB's SQLite file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::world::Stored;

/// The file, which holds secret values: only its owner may read it.
pub(crate) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { path: dir.join("aws.json") }
    }

    /// What was saved last, or nothing if nothing was.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or is not what `save` writes.
    pub(crate) fn load(&self) -> io::Result<Option<Stored>> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file as a whole: a crash leaves the old one or the new one.
    ///
    /// # Errors
    ///
    /// If the file can't be written.
    pub(crate) fn save(&self, stored: &Stored) -> io::Result<()> {
        let bytes = serde_json::to_vec(stored)?;
        let fresh = self.path.with_extension("json.new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&fresh)?.write_all(&bytes)?;
        fs::rename(&fresh, &self.path)
    }
}
