//! A fuzzer's corpus as a test: its files, cut and damaged, go through the fuzzer's functions without the fuzzer, so that what was
//! found once is looked at in every run of the tests, on any toolchain.

mod damage;

use std::path::{Path, PathBuf};

use damage::Damage;

/// Takes any bytes, and panics where they show a fault.
pub type Body = fn(&[u8]);

/// How many times each file is damaged.
const DAMAGED: usize = 500;
/// Up to this length a file is cut.
const CUT_BYTES_MAX: usize = 256;

/// The corpora of a crate: a folder for each target, below `fuzz/corpus`.
#[derive(Clone, Debug)]
pub struct Corpus(PathBuf);

impl Corpus {
    /// That of the crate with this `CARGO_MANIFEST_DIR`.
    pub fn of(manifest_dir: &str) -> Self {
        Self(Path::new(manifest_dir).join("fuzz/corpus"))
    }

    /// Every file goes through its target as it is, cut at each of its first bytes, and damaged in the same ways in every run. Panics
    /// where a target does, and for a target without a corpus.
    pub fn pass(&self, targets: &[(&str, Body)]) {
        for (target, body) in targets {
            let folder = self.0.join(target);
            let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            let mut count = 0;
            for file in files {
                let path = file.and_then(|file| Ok((std::fs::read(file.path())?, file.path())));
                let (bytes, path) = path.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
                println!("{}", path.display());
                body(&bytes);
                (0..bytes.len().min(CUT_BYTES_MAX)).for_each(|length| body(&bytes[..length]));
                Damage::new().of(&bytes).take(DAMAGED).for_each(|bytes| body(&bytes));
                count += 1;
            }
            assert!(count > 0, "{target} has no corpus in {}", folder.display());
        }
    }

    /// Adds a file, or replaces it.
    pub fn write(&self, target: &str, name: &str, bytes: &[u8]) {
        let folder = self.0.join(target);
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join(name), bytes));
        written.unwrap_or_else(|error| panic!("{}/{name}: {error}", folder.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "found")]
    fn a_target_that_minds_a_damaged_byte_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let corpus = Corpus::of(dir.path().to_str().unwrap());
        corpus.write("bytes", "zeros", &[0; 8]);
        corpus.pass(&[("bytes", |bytes| assert!(!bytes.contains(&0xc1), "found"))]);
    }

    #[test]
    #[should_panic(expected = "no such target")]
    fn a_target_without_a_corpus_is_found_out() {
        Corpus::of("/nowhere").pass(&[("no such target", |_| ())]);
    }
}
