//! State across restarts: a directory of one process's own, and in it one JSON file beside DynamoDB's SQLite file.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::world::Stored;

const STATE: &str = "aws.json";
const TABLES: &str = "dynamodb.sqlite";
const LOCK: &str = "lock";
/// Keys and secret values are in here: nobody but the owner may look in, nor into a file.
const OWNERS_DIR: u32 = 0o700;
const OWNERS_FILE: u32 = 0o600;

/// A directory that holds the state of one AWS, and is this process's alone as long as this value lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Locked; the operating system lets go of it when the process ends, however it ends.
    _lock: File,
}

/// Why a directory can't hold an AWS's state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Two processes would overwrite each other's state.
    #[error("another process keeps its state in {0}")]
    InUse(PathBuf),
    /// Its mode lets others in. It is not changed here: it may be a directory that others need.
    #[error("others than its owner may look into {0} (its mode is {1:o}), and keys would be in it")]
    OpenToOthers(PathBuf, u32),
    /// It can't be created, read or written, or holds what was not written by this version.
    #[error("could not use the state directory {0}")]
    Unusable(PathBuf, #[source] io::Error),
}

impl StateDir {
    /// Creates the directory if it is not there, and locks it.
    ///
    /// # Errors
    ///
    /// If another process has it, others may look into it, or it can't be used at all.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let path = path.into();
        let unusable = |error| StateError::Unusable(path.clone(), error);
        DirBuilder::new().recursive(true).mode(OWNERS_DIR).create(&path).map_err(unusable)?;
        let mode = fs::metadata(&path).map_err(unusable)?.permissions().mode() & 0o777;
        if mode & !OWNERS_DIR != 0 {
            return Err(StateError::OpenToOthers(path, mode));
        }
        let lock = owners_file(&path.join(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse(path)),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of a file in it, or nothing if there is no such file.
    ///
    /// # Errors
    ///
    /// If it can't be read.
    pub fn read(&self, name: &str) -> io::Result<Option<String>> {
        match fs::read_to_string(self.path.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces a file in it as a whole: a crash leaves the old one or the new one.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let fresh = self.path.join(format!("{name}.new"));
        let mut file = owners_file(&fresh)?;
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&fresh, self.path.join(name))
    }

    /// What was saved last, or nothing if nothing was.
    pub(crate) fn load(&self) -> Result<Option<Stored>, StateError> {
        let unusable = |error| StateError::Unusable(self.path.clone(), error);
        let text = self.read(STATE).map_err(unusable)?;
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| unusable(error.into()))
    }

    pub(crate) fn save(&self, stored: &Stored) -> io::Result<()> {
        self.write(STATE, &serde_json::to_string(stored)?)
    }

    /// The file for DynamoDB's tables. It is made here, since SQLite would let others read what it makes; the files that
    /// SQLite puts beside it get the same mode.
    pub(crate) fn tables(&self) -> Result<PathBuf, StateError> {
        let file = self.path.join(TABLES);
        owners_file(&file).map_err(|error| StateError::Unusable(self.path.clone(), error))?;
        Ok(file)
    }
}

/// Opens a file for writing, and makes it if it is not there. An earlier version may have let others read it.
fn owners_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(OWNERS_FILE).open(path)?;
    file.set_permissions(Permissions::from_mode(OWNERS_FILE))?;
    Ok(file)
}
