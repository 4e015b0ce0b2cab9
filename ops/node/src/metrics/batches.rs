//! Batches of the REST.

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

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct BatchMetrics {
    items: Family<OutcomeLabels, Counter>,
    /// Of `items`; so that the usual item looks nothing up.
    ok: Counter,
    pub(crate) in_flight: Gauge,
    /// Items of all batches together that the node takes at once at the moment.
    pub(crate) window: Gauge,
    /// How often items had to wait for the node's budgets.
    pub(crate) stalls: Counter,
}

impl BatchMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let items = Family::<OutcomeLabels, Counter>::default();
        let ok = items.get_or_create_owned(&OutcomeLabels { outcome: OK });
        let (in_flight, window, stalls) = (Gauge::default(), Gauge::default(), Counter::default());
        registry.register("twinmesh_batch_update_items", "Items of batches answered, by outcome", items.clone());
        registry.register(
            "twinmesh_batch_update_items_in_flight",
            "Items taken and not yet answered",
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
        Self { items, ok, in_flight, window, stalls }
    }

    pub(crate) fn count_ok(&self, items: u64) {
        self.ok.inc_by(items);
    }

    /// `code` is one of the problems' stable codes, which are few.
    pub(crate) fn count_refused(&self, code: &'static str) {
        self.items.get_or_create(&OutcomeLabels { outcome: code }).inc();
    }
}
