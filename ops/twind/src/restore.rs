//! `twind restore`: a data directory of a backup.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Context as _;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use twin_node::restore::{RestoreOptions, restore};
use twin_node::token::TOKEN_FILE;

use crate::cli::RestoreArgs;

/// Restores, and says on one line what it was.
pub(crate) fn run(args: &RestoreArgs) -> anyhow::Result<()> {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let style = "restoring {bar:32} {pos}/{len} rows ({per_sec}, {eta} left)";
    bar.set_style(ProgressStyle::with_template(style).context("the progress bar")?);
    if args.state_key.encrypt_state {
        // Says what is missing.
        args.state_key.of_a_node()?;
    }
    let options = RestoreOptions {
        from: args.from.clone(),
        data_dir: args.data_dir.clone(),
        lineage: args.lineage,
        key: args.state_key.found()?,
        encrypt_state: args.state_key.encrypt_state,
    };
    let restored = restore(&options, |manifest, rows| {
        bar.set_length(manifest.rows_estimate.max(rows));
        bar.set_position(rows);
    });
    bar.finish_and_clear();
    let restored = restored?;
    let manifest = &restored.manifest;
    let line = serde_json::json!({
        "event": "restored",
        "dataDir": args.data_dir,
        "node": manifest.node,
        "takenAt": manifest.created_at,
        "lineage": restored.lineage,
        "rows": restored.rows,
        "keys": manifest.keys,
        "sealed": restored.sealed,
        "adminToken": args.data_dir.join(TOKEN_FILE),
    });
    writeln!(std::io::stdout(), "{line}").context("the result could not be written")?;
    if std::io::stderr().is_terminal() {
        let size = std::fs::metadata(&args.from).map_or(0, |file| file.len());
        eprintln!("{} of {} restored as lineage {}", HumanBytes(size), manifest.created_at, restored.lineage);
        eprintln!(
            "{} is the restored node's first token, in place of the backup's; other tokens, and gateways, are as they were when the backup was \
             taken: revoke again what was revoked since",
            args.data_dir.join(TOKEN_FILE).display()
        );
    }
    if !manifest.keys {
        eprintln!(
            "the backup has no keys: put the ca.pem and ca.key of its node into {} before the first start; if they are lost, start once with \
             --new-ca, which makes new ones, and every gateway then needs new credentials",
            args.data_dir.display()
        );
    }
    Ok(())
}
