//! Bulk work over the REST: batches, imports and exports.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// What an item that was carried out is counted as.
const OK: &str = "ok";

/// Items answered, of one kind of batch. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ItemCounts {
    items: Family<OutcomeLabels, Counter>,
    /// Of `items`; so that the usual item looks nothing up.
    ok: Counter,
}

impl ItemCounts {
    fn register(registry: &mut Registry, name: &str, help: &str) -> Self {
        let items = Family::<OutcomeLabels, Counter>::default();
        let ok = items.get_or_create_owned(&OutcomeLabels { outcome: OK });
        registry.register(name, help, items.clone());
        Self { items, ok }
    }

    pub(crate) fn count_ok(&self, items: u64) {
        self.ok.inc_by(items);
    }

    /// `code` is one of the problems' stable codes, which are few.
    pub(crate) fn count_refused(&self, code: &'static str) {
        self.items.get_or_create(&OutcomeLabels { outcome: code }).inc();
    }
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct BatchMetrics {
    pub(crate) updates: ItemCounts,
    pub(crate) gets: ItemCounts,
    pub(crate) imports: ItemCounts,
    pub(crate) in_flight: Gauge,
    /// Items of all batches together that the node takes at once at the moment.
    pub(crate) window: Gauge,
    /// How often items had to wait for the node's budgets.
    pub(crate) stalls: Counter,
    /// Exports under way.
    pub(crate) exports_open: Gauge,
    /// Twins that exports sent.
    pub(crate) exported: Counter,
}

impl BatchMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let mut items = |name, help| ItemCounts::register(registry, name, help);
        let updates = items("twinmesh_batch_update_items", "Items of batches of changes answered, by outcome");
        let gets = items("twinmesh_batch_get_items", "Items of batches of readings answered, by outcome");
        let imports = items("twinmesh_import_items", "Items of imports answered, by outcome");
        let (in_flight, window, stalls) = (Gauge::default(), Gauge::default(), Counter::default());
        let (exports_open, exported) = (Gauge::default(), Counter::default());
        registry.register(
            "twinmesh_batch_update_items_in_flight",
            "Items of batches of any kind taken and not yet answered",
            in_flight.clone(),
        );
        registry.register(
            "twinmesh_batch_update_window_items",
            "Items of all batches that may be under way in the core, by how quickly they are answered",
            window.clone(),
        );
        registry.register(
            "twinmesh_batch_update_stalls",
            "How often a batch stopped reading because a budget of the node was used up",
            stalls.clone(),
        );
        registry.register("twinmesh_exports_open", "Exports under way", exports_open.clone());
        registry.register("twinmesh_exported_twins", "Twins that exports sent", exported.clone());
        Self { updates, gets, imports, in_flight, window, stalls, exports_open, exported }
    }
}
