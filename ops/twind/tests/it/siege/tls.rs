//! Strangers at the REST's TLS, which is what anybody beyond the machine meets first.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::others::Others;
use super::{STRANGERS_MAX, alone, attackers, stayed_small};
use crate::door::Door;
use crate::process::Twind;

/// How long the siege goes on once all were there.
const SIEGE: Duration = Duration::from_secs(6);

/// What a stranger does with its connection, until the node closes it.
async fn behave(number: usize, door: &Door) -> io::Result<()> {
    let mut stream = TcpStream::connect(door.addr).await?;
    let mut tls = door.tls();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello)?;
    match number % 8 {
        // Begins and does not go on.
        0..3 => stream.write_all(&hello[..hello.len() / 2]).await?,
        // Has the node work, and does not go on.
        3..5 => stream.write_all(&hello).await?,
        // The same, and leaves.
        5 => return stream.write_all(&hello).await,
        // Ends the handshake, and leaves or says nothing.
        number @ 6..8 => {
            stream.write_all(&hello).await?;
            let mut bytes = [0; 4096];
            while tls.is_handshaking() {
                let read = stream.read(&mut bytes).await?;
                if read == 0 {
                    return Ok(());
                }
                tls.read_tls(&mut &bytes[..read])?;
                tls.process_new_packets().map_err(io::Error::other)?;
            }
            let mut end = Vec::new();
            tls.write_tls(&mut end)?;
            stream.write_all(&end).await?;
            if number == 6 {
                return Ok(());
            }
        }
        _ => {}
    }
    // Whatever comes is not answered.
    while stream.read(&mut [0; 4096]).await? > 0 {}
    Ok(())
}

#[test]
fn thousands_of_tls_handshakes_that_are_begun_and_lead_to_nothing_hold_up_nobody() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start_beyond_loopback(dir.path());
    let others = Others::begin(&node);
    let (before, count) = (node.resident_bytes(), attackers(3_000));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let most = runtime.block_on(async {
        let tried = Arc::new(AtomicUsize::new(0));
        for number in 0..count {
            let (tried, door) = (tried.clone(), node.door.clone());
            tokio::spawn(async move {
                loop {
                    tried.fetch_add(1, Ordering::Relaxed);
                    let _ = behave(number, &door).await;
                    // Whoever was cut comes again; all of them together a thousand times a second.
                    tokio::time::sleep(Duration::from_secs(10)).await;
                }
            });
            if number % 64 == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let (mut most, begun) = (0, Instant::now());
        while begun.elapsed() < SIEGE {
            most = most.max(node.resident_bytes());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("{} tries", tried.load(Ordering::Relaxed));
        assert!(tried.load(Ordering::Relaxed) >= count);
        most
    });
    let (open, cut) = (node.metric("twinmesh_http_strangers"), node.metric("twinmesh_http_strangers_cut_total"));
    println!("{open} strangers are connected, {cut} were cut");
    others.went_on();
    assert!(open <= STRANGERS_MAX && cut > 0, "{open} {cut}");
    stayed_small(&node, before, most);
    drop(runtime);
    node.kill();
}
