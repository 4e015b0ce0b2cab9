//! Who we are: hello, challenge, proof, welcome. Whoever has a certificate has proven itself by TLS, and is welcomed at once.

use quinn::{Connection, RecvStream, SendStream};
use twin_core::numbers::{Boot, OutboxId};
use twin_transports::auth::{Credentials, export, proof_input};
use twin_transports::codec::{Frame, FrameReader, FrameWriter};
use twin_transports::entropy::{Entropy, random_array};
use twin_transports::frames::session::{Hello, Open, PROTOCOL_VERSION, Proof, StreamClass, Welcome};
use twin_transports::limits::FRAME_BYTES_MAX;

use crate::session::end::End;

/// What identifies this run of the gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) outbox: OutboxId,
    pub(crate) boot: Boot,
    pub(crate) boot_nonce: [u8; 16],
}

/// The control stream of an open session.
pub(crate) struct Control {
    pub(crate) welcome: Welcome,
    pub(crate) writer: FrameWriter<SendStream>,
    pub(crate) reader: FrameReader<RecvStream>,
}

/// Opens the control stream and the session.
pub(crate) async fn handshake(
    connection: &Connection,
    credentials: &Credentials,
    run: Run,
    agent: &str,
    entropy: &dyn Entropy,
) -> Result<Control, End> {
    let (send, recv) = connection.open_bi().await?;
    let mut writer = FrameWriter::new(send, FRAME_BYTES_MAX);
    let mut reader = FrameReader::new(recv, FRAME_BYTES_MAX);
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        site: credentials.site.clone(),
        name: credentials.name.clone(),
        product_key: credentials.product_key.clone(),
        nonce: random_array(entropy).map_err(End::failed)?,
        outbox: run.outbox,
        boot: run.boot,
        boot_nonce: run.boot_nonce,
        agent: agent.to_owned(),
        desired_many: true,
        credit: true,
        by_certificate: credentials.identity.certificate().is_some(),
    };
    writer.put(&Open { class: StreamClass::Control }.into())?;
    writer.put(&hello.clone().into())?;
    writer.flush().await?;
    if !hello.by_certificate {
        let challenge = match next(&mut reader, connection).await? {
            Frame::Challenge(challenge) => challenge,
            other => return Err(unexpected("challenge", &other)),
        };
        let exporter = export(connection).map_err(End::failed)?;
        let signature = credentials.identity.sign(&proof_input(&hello, &challenge, &exporter)).unwrap_or_default();
        writer.send(Proof { signature }).await?;
    }
    match next(&mut reader, connection).await? {
        Frame::Welcome(welcome) => {
            let limit_bytes = (welcome.frame_bytes_max as usize).min(FRAME_BYTES_MAX);
            writer.set_limit(limit_bytes);
            Ok(Control { welcome, writer, reader })
        }
        other => Err(unexpected("welcome", &other)),
    }
}

/// The next frame; a refusal is an error.
async fn next(reader: &mut FrameReader<RecvStream>, connection: &Connection) -> Result<Frame, End> {
    match reader.next().await {
        Ok(Some(Frame::Refused(refused))) => Err(refused.into()),
        Ok(Some(frame)) => Ok(frame),
        // The close says why, if the frame did not come through.
        Ok(None) | Err(_) => Err(connection.closed().await.into()),
    }
}

fn unexpected(wanted: &str, frame: &Frame) -> End {
    End::Failed(format!("the node sent a {} where a {wanted} was due", frame.kind_name()))
}
