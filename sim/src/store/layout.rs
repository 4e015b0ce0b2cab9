//! Which devices a store has, and behind which gateway.

use twin_core::ids::TwinId;

use super::device::Kind;

/// A device and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its twin.
    pub id: TwinId,
    /// What it is.
    pub kind: Kind,
    /// Index of its gateway.
    pub gateway: usize,
}

/// The devices of a store: of each 20 there are 16 labels, 3 sensors and a screen. The same arguments give the same store, so that
/// a store which is started again on its data finds its twins.
pub fn layout(devices: usize, gateways: usize) -> Vec<Placed> {
    let mut counts = [0; 3];
    (0..devices)
        .map(|index| {
            let kind = match index % 20 {
                19 => Kind::Screen,
                5 | 11 | 17 => Kind::Sensor,
                _ => Kind::Label,
            };
            let count = &mut counts[kind as usize];
            *count += 1;
            let name = format!("{}-{count:04}", kind.name());
            let id = TwinId::new(&name).unwrap_or_else(|error| unreachable!("{name} is a twin id: {error}"));
            Placed { id, kind, gateway: index % gateways.max(1) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_each_device_once_and_loads_its_gateways_evenly() {
        let placed = layout(1000, 10);
        let ids: std::collections::HashSet<_> = placed.iter().map(|p| p.id.clone()).collect();
        assert_eq!(ids.len(), 1000);
        for gateway in 0..10 {
            assert_eq!(placed.iter().filter(|p| p.gateway == gateway).count(), 100);
        }
        let of = |kind| placed.iter().filter(|p| p.kind == kind).count();
        assert_eq!((of(Kind::Label), of(Kind::Sensor), of(Kind::Screen)), (800, 150, 50));
    }
}
