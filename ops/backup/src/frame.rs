//! Frames.

use crate::ReadError;
use crate::limits::FILE_NAME_BYTES_MAX;

/// What a frame holds. The numbers are in files: never reused, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The [`Manifest`](crate::Manifest); the first.
    Manifest = 1,
    /// A file of the data directory.
    File = 2,
    /// Rows of a group follow.
    Group = 3,
    /// Rows.
    Rows = 4,
    /// What a group's rows cover.
    GroupEnd = 5,
    /// Why there is no more.
    Failed = 254,
    /// The end mark.
    End = 255,
}

impl Kind {
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Manifest, Self::File, Self::Group, Self::Rows, Self::GroupEnd, Self::Failed, Self::End]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// A frame between the manifest and the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A file of the data directory.
    File {
        /// Its name, without a directory.
        name: String,
        /// All of it.
        content: Vec<u8>,
    },
    /// Rows of this group follow.
    Group(u32),
    /// Rows.
    Rows {
        /// How many.
        count: u32,
        /// As the storage lays them.
        bytes: Vec<u8>,
    },
    /// What the group's rows cover.
    GroupEnd {
        /// Which group.
        group: u32,
        /// As the storage says it.
        covered: Vec<u8>,
    },
    /// Any of them, sealed: the reader has no key.
    Sealed {
        /// Bytes of it.
        bytes: usize,
    },
}

impl Frame {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::File { .. } => Kind::File,
            Self::Group(_) => Kind::Group,
            // Nobody writes what cannot be read; as rows it is refused when it is.
            Self::Rows { .. } | Self::Sealed { .. } => Kind::Rows,
            Self::GroupEnd { .. } => Kind::GroupEnd,
        }
    }

    /// What comes before the last part of the payload, and that part.
    pub(crate) fn parts(&self) -> (Vec<u8>, &[u8]) {
        match self {
            Self::File { name, content } => {
                let mut head = vec![name.len() as u8];
                head.extend_from_slice(name.as_bytes());
                (head, content)
            }
            Self::Group(group) => (group.to_be_bytes().to_vec(), &[]),
            Self::Rows { count, bytes } => (count.to_be_bytes().to_vec(), bytes),
            Self::GroupEnd { group, covered } => (group.to_be_bytes().to_vec(), covered),
            Self::Sealed { .. } => (Vec::new(), &[]),
        }
    }

    /// `None`: not one of these kinds.
    pub(crate) fn read(kind: Kind, mut payload: Vec<u8>) -> Result<Option<Self>, ReadError> {
        let short = || ReadError::Damaged("a frame is too short for what it should hold".to_owned());
        if kind == Kind::File {
            let length = usize::from(*payload.first().ok_or_else(short)?);
            let name = payload.get(1..=length).ok_or_else(short)?;
            let name = String::from_utf8(name.to_vec()).ok().filter(|name| is_plain(name));
            let name = name.ok_or_else(|| ReadError::Damaged("a file in it has no plain name".to_owned()))?;
            return Ok(Some(Self::File { name, content: payload.split_off(1 + length) }));
        }
        if !matches!(kind, Kind::Group | Kind::Rows | Kind::GroupEnd) {
            return Ok(None);
        }
        if payload.len() < 4 {
            return Err(short());
        }
        let rest = payload.split_off(4);
        let number = u32::from_be_bytes(payload.try_into().map_err(|_| short())?);
        Ok(Some(match kind {
            Kind::Rows => Self::Rows { count: number, bytes: rest },
            Kind::GroupEnd => Self::GroupEnd { group: number, covered: rest },
            _ => Self::Group(number),
        }))
    }
}

/// A name within a directory and of nothing else: what is restored cannot be written elsewhere.
fn is_plain(name: &str) -> bool {
    (1..=FILE_NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_out_of_the_directory() {
        for name in ["ca.key", "ca.pem", "a-b_c.1"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", ".", "..", ".hidden", "a/b", "../a", "a\\b", "a\0b", &"a".repeat(65)] {
            assert!(!is_plain(name), "{name:?}");
        }
    }
}
