//! Connections that have not shown a token yet.
//!
//! Anybody can open a connection, and may send nothing, half of a TLS handshake, or a byte now and then. **Invariant:** at most
//! [`STRANGERS_MAX`] such connections are open; past it the newest is let in and the oldest is closed, so that whoever has a token, and
//! shows it at once, is served however many others wait. What is known by a token is never closed by this.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::rt::net::TcpStream;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use socket2::{SockRef, Socket};

use super::entered::Entered;
use crate::limits::STRANGERS_MAX;

/// All of them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strangers(Arc<Table>);

#[derive(Debug, Default)]
struct Table {
    by_age: Mutex<ByAge>,
    open: Gauge,
    cut: Counter,
}

#[derive(Debug, Default)]
struct ByAge {
    next: u64,
    /// A second handle of each one's socket, for closing it from here.
    sockets: BTreeMap<u64, Socket>,
}

/// A connection's place among the strangers; lives as long as the connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Stranger(Arc<Place>);

#[derive(Debug)]
struct Place {
    number: u64,
    all: Strangers,
    /// It is not in the table any more: asked with each request, and the table is everybody's.
    is_known: AtomicBool,
}

impl Strangers {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let strangers = Self::default();
        let (open, cut) = (strangers.0.open.clone(), strangers.0.cut.clone());
        registry.register("twinmesh_http_strangers", "Open connections of the REST that showed no token yet", open);
        registry.register("twinmesh_http_strangers_cut", "Connections closed because too many showed no token", cut);
        strangers
    }

    /// Called with each new connection, before anything is read of it.
    pub(crate) fn enter(&self, stream: TcpStream) -> Entered {
        let stranger = self.take(&SockRef::from(&stream));
        Entered::new(stream, stranger)
    }

    fn take(&self, socket: &SockRef<'_>) -> Option<Stranger> {
        // The process has no descriptor left: this one goes, for it could not be closed later.
        let Ok(second) = socket.try_clone() else {
            cut(socket);
            self.0.cut.inc();
            return None;
        };
        let mut by_age = self.0.by_age.lock();
        while by_age.sockets.len() >= STRANGERS_MAX {
            if let Some((_, oldest)) = by_age.sockets.pop_first() {
                cut(&oldest);
                self.0.cut.inc();
            }
        }
        let number = by_age.next;
        by_age.next += 1;
        by_age.sockets.insert(number, second);
        self.0.open.set(count(by_age.sockets.len()));
        let place = Place { number, all: self.clone(), is_known: AtomicBool::new(false) };
        Some(Stranger(Arc::new(place)))
    }
}

fn count(open: usize) -> i64 {
    i64::try_from(open).unwrap_or(i64::MAX)
}

/// Its own side reads the end, and closes it.
fn cut(socket: &Socket) {
    // Fails if the other side was faster.
    let _ = socket.shutdown(Shutdown::Both);
}

impl Stranger {
    /// It showed a token that holds.
    pub(crate) fn known(&self) {
        if self.0.is_known.swap(true, Ordering::Relaxed) {
            return;
        }
        self.0.leave();
    }
}

impl Place {
    fn leave(&self) {
        let mut by_age = self.all.0.by_age.lock();
        if by_age.sockets.remove(&self.number).is_some() {
            self.all.0.open.set(count(by_age.sockets.len()));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_oldest_stranger_goes_and_whoever_is_known_stays() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let strangers = Strangers::default();
        let mut places = Vec::new();
        for _ in 0..STRANGERS_MAX + 2 {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let place = strangers.take(&SockRef::from(&accepted)).unwrap();
            if places.is_empty() {
                place.known();
            }
            places.push((client, accepted, place));
        }
        assert_eq!((strangers.0.open.get(), strangers.0.cut.get()), (count(STRANGERS_MAX), 1));
        // The first is known, the second was the oldest stranger, the third is not.
        assert_eq!(places[1].0.read(&mut [0]).unwrap(), 0);
        for at in [0, 2] {
            places[at].0.set_nonblocking(true).unwrap();
            assert_eq!(places[at].0.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        }
        drop(places);
        assert_eq!(strangers.0.open.get(), 0);
    }
}
