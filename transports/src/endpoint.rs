//! QUIC endpoints with our limits.
//!
//! The defaults of QUIC libraries are made for browsers and file transfers: 100 streams and megabytes of window per
//! connection. A gateway needs a handful of long-lived streams, so a node can hold ten thousand connections in little memory.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt};

use crate::auth::{ClientCertificate, Credentials};
use crate::limits::{
    CLIENT_INITIAL_RTT, CONNECTION_WINDOW_BYTES, DATAGRAM_BUFFER_BYTES, IDLE_TIMEOUT, INCOMING_CONNECTIONS_MAX,
    KEEP_ALIVE_INTERVAL, SEND_WINDOW_BYTES, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use crate::tls::{TlsError, client_config_as};

/// Why an endpoint or a connection could not be had.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The UDP socket.
    #[error("cannot bind UDP {addr}: {source}")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// What happened.
        source: std::io::Error,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The TLS configuration does not suit QUIC.
    #[error("the TLS configuration does not suit QUIC: {0}")]
    CipherSuite(#[from] NoInitialCipherSuite),
    /// The connection could not be begun.
    #[error("cannot connect to {addr}: {source}")]
    Connect {
        /// Where to.
        addr: SocketAddr,
        /// What happened.
        source: quinn::ConnectError,
    },
    /// The connection did not come to be.
    #[error("no connection to {addr}: {source}")]
    Connection {
        /// Where to.
        addr: SocketAddr,
        /// What happened.
        source: quinn::ConnectionError,
    },
}

/// The node's endpoint. Port 0 lets the system choose. `quic` is what outlives connections, see [`crate::reset`].
pub fn server_endpoint(
    addr: SocketAddr,
    tls: rustls::ServerConfig,
    quic: EndpointConfig,
) -> Result<Endpoint, EndpointError> {
    let crypto = QuicServerConfig::try_from(tls)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport(STREAMS_MAX)));
    config.max_incoming(INCOMING_CONNECTIONS_MAX);
    let bind = |source| EndpointError::Bind { addr, source };
    let socket = UdpSocket::bind(addr).map_err(bind)?;
    Endpoint::new(quic, Some(config), socket, Arc::new(TokioRuntime)).map_err(bind)
}

/// A gateway's endpoint, on a free port. One serves any number of connections, one after the other or at once.
pub fn client_endpoint(peer: SocketAddr) -> Result<Endpoint, EndpointError> {
    let addr = match peer {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    Endpoint::client(addr).map_err(|source| EndpointError::Bind { addr, source })
}

/// Connects, and verifies the node's certificate against the credentials' CA and server name. Nothing is said about who the
/// gateway is: that is the handshake's, on the control stream. A certificate, where there is one, is shown.
pub async fn connect(
    endpoint: &Endpoint,
    addr: SocketAddr,
    credentials: &Credentials,
) -> Result<Connection, EndpointError> {
    let config = quic_client_config_as(&credentials.ca, credentials.identity.certificate())?;
    let connecting = endpoint
        .connect_with(config, addr, &credentials.server_name)
        .map_err(|source| EndpointError::Connect { addr, source })?;
    connecting.await.map_err(|source| EndpointError::Connection { addr, source })
}

/// A gateway's side of QUIC, for those who connect by themselves.
pub fn quic_client_config(ca_pem: &str) -> Result<quinn::ClientConfig, EndpointError> {
    quic_client_config_as(ca_pem, None)
}

/// The same of a gateway that shows this certificate.
pub fn quic_client_config_as(
    ca_pem: &str,
    shown: Option<&ClientCertificate>,
) -> Result<quinn::ClientConfig, EndpointError> {
    let crypto = QuicClientConfig::try_from(client_config_as(ca_pem, shown)?)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    // The node opens no streams.
    let mut transport = transport(0);
    transport.initial_rtt(CLIENT_INITIAL_RTT);
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn transport(peer_streams_max: u32) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(peer_streams_max))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL));
    // A constant of seconds always fits QUIC's 62 bits of milliseconds.
    config.max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok());
    config
}
