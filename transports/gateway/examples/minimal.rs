//! A gateway in a page: `minimal HOST:PORT CREDENTIALS STATE_DIR TWIN [--once]`.
//!
//! Attaches one device, reports a price and prints `reported` once the node has committed it. Then prints `desired {json}` for
//! each change, tells the twin that the device took it over, and answers the method `blink`. Runs until Ctrl-C or SIGTERM;
//! with `--once` until the first change is acknowledged.

use anyhow::Context as _;
use twin_core::ids::TwinId;
use twin_core::json::to_compact;
use twin_gateway::{Credentials, Gateway, MethodAnswer, Options};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [node, credentials, state_dir, twin, once @ ..] = args.as_slice() else {
        anyhow::bail!("usage: minimal HOST:PORT CREDENTIALS STATE_DIR TWIN [--once]");
    };
    let once = once.iter().any(|arg| arg == "--once");
    let label = TwinId::new(twin)?;
    let credentials = Credentials::load(credentials).context("credentials")?;
    let gateway = Gateway::open(Options::new(node, credentials, state_dir))?;

    gateway.on_method("blink", |call| async move {
        eprintln!("{} blinks", call.twin);
        MethodAnswer::new(200, "blinked")
    });
    gateway.attach(&label)?;
    let desired = gateway.desired();

    // Durable here when `report` returns; committed there when the receipt is acked.
    let receipt = gateway.report(&label, &serde_json::json!({"price": 1.99, "currency": "EUR"})).await?;
    receipt.acked().await?;
    println!("reported");

    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        let change = tokio::select! {
            change = desired.recv() => change,
            _ = tokio::signal::ctrl_c() => None,
            _ = terminate.recv() => None,
        };
        let Some(change) = change else { break };
        println!("desired {}", to_compact(&change.desired));
        gateway.ack_desired(&change.twin, change.version).await?.acked().await?;
        if once {
            break;
        }
    }
    gateway.shutdown().await;
    Ok(())
}
