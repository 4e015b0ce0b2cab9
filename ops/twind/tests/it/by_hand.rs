//! A gateway by hand. What it sends are bytes, so that they can be kept and sent again, by itself or by others; and they need not be what
//! the protocol says.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use tokio::time::timeout;
use twin_core::ids::TwinId;
use twin_core::numbers::{AttachmentNo, Boot, OutboxId, Stay, Version};
use twin_core::refusal::Refusal;
use twin_transports::auth::{Credentials, export, proof_input};
use twin_transports::codec::{Frame, FrameReader, encode};
use twin_transports::endpoint::{client_endpoint, connect};
use twin_transports::frames::batch::BatchAck;
use twin_transports::frames::device::{Attach, AttachItem};
use twin_transports::frames::session::{Hello, Open, PROTOCOL_VERSION, Proof, Refused, StreamClass};
use twin_transports::limits::FRAME_BYTES_MAX;

use crate::process::Twind;

/// Longest wait for an answer.
const WAIT: Duration = Duration::from_secs(30);

/// As a frame goes over the wire.
pub fn bytes_of(frame: impl Into<Frame>) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&frame.into(), FRAME_BYTES_MAX, &mut out).unwrap();
    out.to_vec()
}

pub fn quic_addr(node: &Twind) -> SocketAddr {
    node.ready["quic"].as_str().unwrap().parse().unwrap()
}

/// A stream to the node and back.
pub struct Stream {
    send: SendStream,
    reader: FrameReader<RecvStream>,
}

impl Stream {
    pub async fn open(connection: &Connection) -> Self {
        let (send, recv) = connection.open_bi().await.unwrap();
        Self { send, reader: FrameReader::new(recv, FRAME_BYTES_MAX) }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.send.write_all(bytes).await.unwrap();
    }

    pub async fn next(&mut self) -> Frame {
        timeout(WAIT, self.reader.next()).await.expect("a frame in time").unwrap().expect("a frame before the end")
    }

    /// The next acknowledgement.
    pub async fn ack(&mut self) -> BatchAck {
        loop {
            match self.next().await {
                Frame::BatchAck(ack) => return ack,
                Frame::Credit(_) => {}
                other => panic!("not an ack: {other:?}"),
            }
        }
    }

    /// Why the session ends.
    pub async fn refused(&mut self) -> Refused {
        loop {
            if let Frame::Refused(refused) = self.next().await {
                return refused;
            }
        }
    }
}

/// A connection with its control stream.
pub struct ByHand {
    pub connection: Connection,
    pub control: Stream,
    _endpoint: Endpoint,
}

/// A first hello of this outbox.
pub fn hello(credentials: &Credentials, outbox: u8) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        site: credentials.site.clone(),
        name: credentials.name.clone(),
        product_key: credentials.product_key.clone(),
        nonce: [7; 16],
        outbox: OutboxId([outbox; 16]),
        boot: Boot::new(1),
        boot_nonce: [2; 16],
        agent: "by hand".into(),
        desired_many: false,
        credit: false,
        by_certificate: false,
    }
}

impl ByHand {
    /// Connects; says nothing yet.
    pub async fn connect(node: &Twind, credentials: &Credentials) -> Self {
        let addr = quic_addr(node);
        let endpoint = client_endpoint(addr).unwrap();
        let connection = connect(&endpoint, addr, credentials).await.unwrap();
        let control = Stream::open(&connection).await;
        Self { connection, control, _endpoint: endpoint }
    }

    /// Opens a session. Also: all that it sent for that.
    pub async fn open(node: &Twind, credentials: &Credentials, hello: &Hello) -> (Self, Vec<u8>) {
        let mut gateway = Self::connect(node, credentials).await;
        let mut sent = [bytes_of(Open { class: StreamClass::Control }), bytes_of(hello.clone())].concat();
        gateway.control.send(&sent).await;
        let Frame::Challenge(challenge) = gateway.control.next().await else { panic!("not a challenge") };
        let exporter = export(&gateway.connection).unwrap();
        let signature = credentials.identity.sign(&proof_input(hello, &challenge, &exporter)).unwrap();
        let proof = bytes_of(Proof { signature });
        gateway.control.send(&proof).await;
        assert!(matches!(gateway.control.next().await, Frame::Welcome(_)));
        sent.extend(proof);
        (gateway, sent)
    }

    pub async fn attach(&mut self, twin: &TwinId, stay: Stay, saw: u64) -> Result<AttachmentNo, Refusal> {
        let item = AttachItem { twin: twin.clone(), stay, saw: AttachmentNo::new(saw), knows: Version::new(0) };
        self.control.send(&bytes_of(Attach { request: 1, items: vec![item], urgent: false })).await;
        loop {
            if let Frame::AttachResults(mut answer) = self.control.next().await {
                return answer.results.remove(0);
            }
        }
    }

    /// Sends these bytes on a stream of its own.
    pub async fn stream_of(&self, bytes: &[u8]) -> Stream {
        let mut stream = Stream::open(&self.connection).await;
        stream.send(bytes).await;
        stream
    }
}
