//! The key of a node's values at rest: from a file, the environment, or a systemd credential.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use twin_node::StateKey;
use twin_small_file::read_small_text;

/// Where systemd puts credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// The name of ours there: `LoadCredential=state.key:...` or `LoadCredentialEncrypted=`.
const CREDENTIAL: &str = "state.key";
/// Longest file that is read; a key has 64 digits.
const FILE_BYTES_MAX: u64 = 4096;

/// Sealing what is on the disk.
#[derive(Debug, Args)]
pub(crate) struct StateKeyArgs {
    /// Seal twin values and the log on the disk, from the directory's first start on. Ids of twins, sites and gateways stay readable.
    /// The key: --state-key-file, or TWIND_STATE_KEY in the environment, or the systemd credential `state.key`
    #[arg(long)]
    pub(crate) encrypt_state: bool,
    /// File with the key: 64 hexadecimal digits, as `openssl rand -hex 32` prints; readable by its owner only
    #[arg(long, value_name = "FILE", env = "TWIND_STATE_KEY_FILE")]
    state_key_file: Option<PathBuf>,
    /// The key itself. Not as an option: other processes see those.
    #[arg(skip = std::env::var("TWIND_STATE_KEY").ok().map(Secret))]
    state_key: Option<Secret>,
}

#[derive(Clone)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl StateKeyArgs {
    /// The key to seal with; `None`: nothing is to be sealed.
    pub(crate) fn of_a_node(&self) -> anyhow::Result<Option<StateKey>> {
        if !self.encrypt_state {
            if let Some(file) = &self.state_key_file {
                bail!(
                    "--state-key-file {} means nothing without --encrypt-state: give both, or neither",
                    file.display()
                );
            }
            return Ok(None);
        }
        match self.found()? {
            Some(key) => Ok(Some(key)),
            None => Err(anyhow!(
                "--encrypt-state needs a key: --state-key-file FILE, TWIND_STATE_KEY in the environment, or the systemd credential \
                 {CREDENTIAL}; `openssl rand -hex 32` makes one. Keep a copy elsewhere: without it nothing can be read again"
            )),
        }
    }

    /// The key if there is one, whatever it is for.
    pub(crate) fn found(&self) -> anyhow::Result<Option<StateKey>> {
        if let Some(file) = &self.state_key_file {
            return read(file, true).map(Some);
        }
        if let Some(Secret(text)) = &self.state_key {
            return StateKey::from_text(text).map(Some).map_err(|why| anyhow!("TWIND_STATE_KEY: {why}"));
        }
        let Some(directory) = std::env::var_os(CREDENTIALS_DIRECTORY) else { return Ok(None) };
        let credential = Path::new(&directory).join(CREDENTIAL);
        // Nobody else reads there: systemd sees to it.
        if credential.exists() { read(&credential, false).map(Some) } else { Ok(None) }
    }
}

fn read(path: &Path, private: bool) -> anyhow::Result<StateKey> {
    let unreadable = || format!("cannot read the state key {}", path.display());
    let text = read_small_text(path, FILE_BYTES_MAX).with_context(unreadable)?;
    let mode = std::fs::metadata(path).with_context(unreadable)?.permissions().mode() & 0o777;
    if private && mode & 0o077 != 0 {
        let path = path.display();
        bail!(
            "the state key {path} has mode {mode:03o}, so others on this machine can read it: run `chmod 600 {path}`"
        );
    }
    StateKey::from_text(&text).map_err(|why| anyhow!("the state key {}: {why}", path.display()))
}
