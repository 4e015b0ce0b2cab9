//! Places for connections that have not authenticated yet.
//!
//! **Invariant:** no source has more than three quarters of them, so that one host that opens connections and says nothing, or too
//! little, keeps no gateway elsewhere from getting in. A source is an address that was shown to be its own once half of the places
//! are taken (QUIC's retry); of IPv6 it is a /64, which one host usually has all of.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The places. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// One place, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    source: IpAddr,
    places: Places,
}

impl Places {
    pub(super) fn new(max: usize) -> Self {
        Self(Arc::new(Inner { max, taken: Mutex::default() }))
    }

    /// Half are taken: whoever cannot receive at its source address is not let in.
    pub(super) fn are_crowded(&self) -> bool {
        self.0.taken.lock().all > self.0.max / 2
    }

    /// A place for a connection from there, if there is one.
    pub(super) fn take(&self, from: IpAddr) -> Option<Place> {
        let source = source(from);
        let mut taken = self.0.taken.lock();
        let has = taken.by_source.get(&source).copied().unwrap_or(0);
        let share_max = (self.0.max / 4 * 3).max(1);
        if taken.all >= self.0.max || has >= share_max {
            return None;
        }
        taken.all += 1;
        taken.by_source.insert(source, has + 1);
        Some(Place { source, places: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.taken.lock();
        taken.all -= 1;
        if let Some(has) = taken.by_source.get_mut(&self.source) {
            *has -= 1;
            if *has == 0 {
                taken.by_source.remove(&self.source);
            }
        }
    }
}

fn source(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn no_source_takes_all() {
        let places = Places::new(8);
        let of_one: Vec<Place> = std::iter::from_fn(|| places.take(ip("10.0.0.1"))).collect();
        assert_eq!(of_one.len(), 6);
        assert!(places.are_crowded());
        let of_others = [places.take(ip("10.0.0.2")).unwrap(), places.take(ip("10.0.0.3")).unwrap()];
        assert!(places.take(ip("10.0.0.4")).is_none(), "all are taken");
        drop(of_one);
        assert!(!places.are_crowded() && places.take(ip("10.0.0.1")).is_some());
        drop(of_others);
        assert_eq!(places.0.taken.lock().by_source.len(), 0);
    }

    #[test]
    fn a_source_is_an_address_or_a_64() {
        assert_eq!(source(ip("2001:db8:1:2:3:4:5:6")), source(ip("2001:db8:1:2::1")));
        assert_ne!(source(ip("2001:db8:1:2::1")), source(ip("2001:db8:1:3::1")));
        assert_eq!(source(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
    }
}
