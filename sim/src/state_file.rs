//! A small file of the state folder, written whole or not at all, and durable when the call returns.

use std::io::{self, Write as _};
use std::path::Path;

use twin_small_file::read_small_file;

use crate::limits::STATE_FILE_BYTES_MAX;

/// Reads one.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    Ok(read_small_file(path, STATE_FILE_BYTES_MAX)?)
}

/// Writes `folder/name`.
pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let fresh = folder.join(format!(".{name}.new"));
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, folder.join(name))?;
    std::fs::File::open(folder)?.sync_all()
}
