//! A gateway by hand: frames over quinn, so that it can also misbehave.

use std::time::Duration;

use quinn::{Connection, Endpoint, RecvStream, SendStream};
use tokio::time::timeout;
use twin_core::numbers::{Boot, OutboxId};
use twin_transports::auth::{Credentials, export, proof_input};
use twin_transports::codec::{Frame, FrameReader, FrameWriter};
use twin_transports::endpoint::{client_endpoint, connect};
use twin_transports::frames::session::{
    Challenge, Hello, Open, PROTOCOL_VERSION, Proof, Refused, StreamClass, Welcome,
};
use twin_transports::limits::FRAME_BYTES_MAX;

use crate::server::{TestServer, WAIT};

pub(crate) type Stream = (FrameReader<RecvStream>, FrameWriter<SendStream>);

pub(crate) struct Gateway {
    pub(crate) connection: Connection,
    pub(crate) reader: FrameReader<RecvStream>,
    pub(crate) writer: FrameWriter<SendStream>,
    _endpoint: Endpoint,
}

pub(crate) fn hello(credentials: &Credentials) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        site: credentials.site.clone(),
        name: credentials.name.clone(),
        product_key: credentials.product_key.clone(),
        nonce: [7; 16],
        outbox: OutboxId([1; 16]),
        boot: Boot::new(1),
        boot_nonce: [2; 16],
        agent: "test".into(),
        desired_many: false,
        credit: false,
        by_certificate: false,
    }
}

impl Gateway {
    /// Connects; says nothing yet.
    pub(crate) async fn connect(server: &TestServer, credentials: &Credentials) -> Self {
        let endpoint = client_endpoint(server.addr()).unwrap();
        let connection = connect(&endpoint, server.addr(), credentials).await.unwrap();
        let (send, recv) = connection.open_bi().await.unwrap();
        let reader = FrameReader::new(recv, FRAME_BYTES_MAX);
        let writer = FrameWriter::new(send, FRAME_BYTES_MAX);
        Self { connection, reader, writer, _endpoint: endpoint }
    }

    /// Says who it is, and gets the challenge.
    pub(crate) async fn challenged(&mut self, hello: &Hello) -> Challenge {
        self.writer.send(Open { class: StreamClass::Control }).await.unwrap();
        self.writer.send(hello.clone()).await.unwrap();
        match self.next().await {
            Frame::Challenge(challenge) => challenge,
            other => panic!("not a challenge: {other:?}"),
        }
    }

    /// The proof for this connection.
    pub(crate) fn proof(&self, credentials: &Credentials, hello: &Hello, challenge: &Challenge) -> Proof {
        let exporter = export(&self.connection).unwrap();
        Proof { signature: credentials.identity.sign(&proof_input(hello, challenge, &exporter)).unwrap() }
    }

    pub(crate) async fn handshake(&mut self, credentials: &Credentials, hello: &Hello) -> Frame {
        let challenge = self.challenged(hello).await;
        let proof = self.proof(credentials, hello, &challenge);
        self.writer.send(proof).await.unwrap();
        self.next().await
    }

    /// Connects and opens a session.
    pub(crate) async fn open(server: &TestServer, credentials: &Credentials) -> (Self, Welcome) {
        let mut gateway = Self::connect(server, credentials).await;
        match gateway.handshake(credentials, &hello(credentials)).await {
            Frame::Welcome(welcome) => (gateway, welcome),
            other => panic!("not welcome: {other:?}"),
        }
    }

    pub(crate) async fn stream(&self, class: StreamClass) -> Stream {
        let (send, recv) = self.connection.open_bi().await.unwrap();
        let mut writer = FrameWriter::new(send, FRAME_BYTES_MAX);
        writer.send(Open { class }).await.unwrap();
        (FrameReader::new(recv, FRAME_BYTES_MAX), writer)
    }

    pub(crate) async fn next(&mut self) -> Frame {
        next(&mut self.reader).await
    }

    /// The next frame, if one comes within a moment.
    pub(crate) async fn quiet(&mut self) {
        let frame = timeout(Duration::from_millis(100), self.reader.next()).await;
        assert!(frame.is_err(), "unexpected: {frame:?}");
    }

    /// The refusal, on the control stream, and then in the close.
    pub(crate) async fn refused(mut self) -> Refused {
        let refused = loop {
            match self.next().await {
                Frame::Refused(refused) => break refused,
                other => drop(other),
            }
        };
        drop(self.reader);
        drop(self.writer);
        assert_eq!(close_reason(&self.connection).await, refused.code);
        refused
    }
}

pub(crate) async fn next(reader: &mut FrameReader<RecvStream>) -> Frame {
    timeout(WAIT, reader.next()).await.expect("a frame in time").unwrap().expect("a frame before the end")
}

/// The reason of the node's close.
pub(crate) async fn close_reason(connection: &Connection) -> String {
    match timeout(WAIT, connection.closed()).await.expect("closed in time") {
        quinn::ConnectionError::ApplicationClosed(close) => String::from_utf8(close.reason.to_vec()).unwrap(),
        other => panic!("not closed by the node: {other:?}"),
    }
}
