//! The way to a node's REST: plain on loopback, TLS elsewhere.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use twin_transports::tls::SERVER_NAME;

/// A connection.
pub trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

#[derive(Clone)]
pub struct Door {
    pub addr: SocketAddr,
    /// `None`: plain.
    tls: Option<Arc<ClientConfig>>,
}

impl Door {
    /// By what the node printed, and the certificate that gateways trust.
    pub fn of(url: &str, ca_pem: &str) -> Self {
        let Some(addr) = url.strip_prefix("https://") else {
            return Self { addr: url.strip_prefix("http://").unwrap().parse().unwrap(), tls: None };
        };
        let mut addr: SocketAddr = addr.parse().unwrap();
        // It listens everywhere.
        addr.set_ip([127, 0, 0, 1].into());
        let mut config = twin_transports::tls::client_config(ca_pem).unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { addr, tls: Some(Arc::new(config)) }
    }

    /// The client's side of TLS, before it said anything.
    pub fn tls(&self) -> ClientConnection {
        let config = self.tls.clone().expect("a node that listens beyond loopback");
        ClientConnection::new(config, ServerName::try_from(SERVER_NAME).unwrap()).unwrap()
    }

    /// Connects; no single wait is longer than this.
    pub fn connect(&self, timeout: Duration) -> io::Result<Box<dyn Duplex>> {
        let stream = TcpStream::connect_timeout(&self.addr, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        if self.tls.is_none() {
            return Ok(Box::new(stream));
        }
        Ok(Box::new(StreamOwned::new(self.tls(), stream)))
    }
}
