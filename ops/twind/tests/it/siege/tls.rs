//! Strangers at the REST's TLS, which is what anybody beyond the machine meets first.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::crowd::{Arrival, besieged_by};
use super::others::Others;
use super::watched::Watched;
use super::{STRANGERS_MAX, alone, attackers};
use crate::door::Door;
use crate::process::Twind;

/// What a stranger does with its connection, until the node closes it.
async fn behave(number: usize, door: Door, arrival: Arrival) -> io::Result<()> {
    let mut stream = TcpStream::connect(door.addr).await?;
    arrival.connected();
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
fn ten_thousand_tls_handshakes_that_are_begun_and_lead_to_nothing_hold_up_nobody() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start_beyond_loopback(dir.path());
    let others = Others::begin(&node);
    let mut watched = Watched::begin(&node);
    let door = node.door.clone();
    besieged_by(attackers("the REST's TLS", 1), &mut watched, move |number, arrival| {
        behave(number, door.clone(), arrival)
    });
    let (open, cut) = (node.metric("twinmesh_http_strangers"), node.metric("twinmesh_http_strangers_cut_total"));
    println!("{open} strangers are connected, {cut} were cut");
    others.went_on();
    assert!(open <= STRANGERS_MAX && cut > 0, "{open} {cut}");
    watched.stayed_in_its_bounds();
    node.kill();
}
