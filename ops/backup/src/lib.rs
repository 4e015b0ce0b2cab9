//! The file that a backup of a node is. Written by the node as a stream, checked by `twinctl` on its way to the disk and by `twind
//! restore`: one definition for all three.
//!
//! ```text
//! "TWINBKUP", version (4 bytes)
//! manifest   JSON: whose backup, of when, of which lineage
//! file       a small file of the data directory, as the CA's certificate and key
//! group      rows of this Raft group follow
//! rows         how many (4 bytes), then rows as the storage lays them
//! group end    what the rows cover
//! failed     instead of an end: why there is no more
//! end        how many frames came before (8 bytes), then SHA-256 of every byte before it
//! ```
//!
//! Of a node whose state is sealed the payloads are sealed as well, all but the manifest's (`cipher`).
//!
//! A frame is its kind (1 byte), the length of its payload (4) and the payload; numbers are big-endian. **A file without its end mark is
//! no backup**, and neither is one whose digest is another: [`Reader`] says which, and nothing is to be kept of either.
//!
//! The digest is against accidents. Whoever can change the file can also change the digest: keep backups where only operators write.

mod cipher;
mod frame;
pub mod limits;
mod manifest;
mod reader;
mod writer;

pub use cipher::KEY_BYTES;
pub use frame::{Frame, Kind};
pub use manifest::Manifest;
pub use reader::{ReadError, Reader};
pub use writer::Writer;

/// Media type of the stream.
pub const MEDIA_TYPE: &str = "application/vnd.twinmesh.backup";

/// Last part of the name of a backup's file.
pub const FILE_EXTENSION: &str = "twinbackup";

/// Format of the file. Raised with any change that an older release cannot read.
pub const FORMAT_VERSION: u32 = 1;

/// What a backup begins with.
const MAGIC: &[u8; 8] = b"TWINBKUP";
/// Bytes of a SHA-256.
const DIGEST_BYTES: usize = 32;
