//! The program, run with a token file of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub(crate) const TOKEN: &str = "a-token-that-appears-nowhere-else";

/// A folder with a token, to run `twinctl` in.
pub(crate) struct Operator {
    folder: TempDir,
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Operator {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("admin.token"), format!("{TOKEN}\n")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `twinctl --url URL --token-file admin.token ARGUMENTS...` in the folder, without standard input.
    pub(crate) fn run(&self, url: &str, arguments: &[&str]) -> Ran {
        let output = command(self.folder.path())
            .args(["--url", url, "--token-file", "admin.token"])
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let ran = Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) };
        assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN), "the token was shown: {ran:?}");
        ran
    }
}

/// The program, with nothing of the test's own environment that it would read.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinctl"));
    command.current_dir(folder).stdin(Stdio::null());
    for variable in [
        "TWINMESH_URL",
        "TWINMESH_TOKEN_FILE",
        "TWINMESH_CA",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_METADATA_ENDPOINT",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_SKIP_SIGNATURE",
    ] {
        command.env_remove(variable);
    }
    command
}
