//! A gateway's session by hand: frames over QUIC, without the SDK, its outbox and its threads.
//!
//! For whoever needs more sessions, or more twins in one, than a gateway in a store would have.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use twin_core::numbers::{Boot, OutboxId};
use twin_gateway::Credentials;
use twin_transports::auth::{export, proof_input};
use twin_transports::codec::{Frame, FrameReader, FrameWriter};
use twin_transports::endpoint::connect;
use twin_transports::frames::device::{Attach, AttachItem};
use twin_transports::frames::session::{Hello, Open, PROTOCOL_VERSION, Proof, StreamClass};
use twin_transports::limits::FRAME_BYTES_MAX;

/// Who a gateway says it is, besides its name: its outbox, and how often that was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) outbox: OutboxId,
    pub(crate) boot: Boot,
    pub(crate) boot_nonce: [u8; 16],
}

impl Run {
    /// One that nobody had before.
    pub(crate) fn random() -> Self {
        Self { outbox: OutboxId(rand::random()), boot: Boot::new(1), boot_nonce: rand::random() }
    }
}

/// An open session; over when dropped.
pub(crate) struct HandSession {
    pub(crate) connection: Connection,
    pub(crate) control: (FrameWriter<SendStream>, FrameReader<RecvStream>),
    requests: u64,
}

impl HandSession {
    /// Connects and says who it is.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        node: SocketAddr,
        credentials: &Credentials,
        run: Run,
        agent: String,
    ) -> anyhow::Result<Self> {
        let connection = connect(endpoint, node, credentials).await?;
        let (send, recv) = connection.open_bi().await?;
        let (mut writer, mut reader) =
            (FrameWriter::new(send, FRAME_BYTES_MAX), FrameReader::new(recv, FRAME_BYTES_MAX));
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            site: credentials.site.clone(),
            name: credentials.name.clone(),
            product_key: credentials.product_key.clone(),
            nonce: rand::random(),
            outbox: run.outbox,
            boot: run.boot,
            boot_nonce: run.boot_nonce,
            agent,
            desired_many: true,
            credit: false,
            by_certificate: false,
        };
        writer.put(&Open { class: StreamClass::Control }.into())?;
        writer.put(&hello.clone().into())?;
        writer.flush().await?;
        let challenge = match reader.next().await? {
            Some(Frame::Challenge(challenge)) => challenge,
            other => bail!("the node said {other:?} where a challenge was due"),
        };
        let exporter = export(&connection)?;
        let signature = credentials
            .identity
            .sign(&proof_input(&hello, &challenge, &exporter))
            .context("these credentials hold no secret")?;
        writer.send(Proof { signature }).await?;
        match reader.next().await? {
            Some(Frame::Welcome(_)) => {}
            other => bail!("the node said {other:?} where a welcome was due"),
        }
        Ok(Self { connection, control: (writer, reader), requests: 0 })
    }

    /// Attaches these devices; an error if one of them is refused.
    pub(crate) async fn attach(&mut self, items: Vec<AttachItem>) -> anyhow::Result<()> {
        self.requests += 1;
        let (writer, reader) = &mut self.control;
        writer.send(Attach { request: self.requests, items, urgent: false }).await?;
        loop {
            match reader.next().await?.context("the session ended")? {
                Frame::AttachResults(results) if results.request == self.requests => {
                    for result in results.results {
                        result.context("an attach was refused")?;
                    }
                    return Ok(());
                }
                // The delta of `desired`, and what else a gateway would listen to.
                _ => {}
            }
        }
    }

    /// A new state stream of the session.
    pub(crate) async fn state_stream(&self) -> anyhow::Result<(FrameWriter<SendStream>, FrameReader<RecvStream>)> {
        let (send, recv) = self.connection.open_bi().await?;
        let mut writer = FrameWriter::new(send, FRAME_BYTES_MAX);
        writer.send(Open { class: StreamClass::State }).await?;
        Ok((writer, FrameReader::new(recv, FRAME_BYTES_MAX)))
    }
}
