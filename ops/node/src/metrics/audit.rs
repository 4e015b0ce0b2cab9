//! Lines of the audit log, counted by whoever writes them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;

use crate::audit::{Audit, Kind, Watch};

struct Lines(Audit);

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

/// Shows the audit log and the security events.
pub(super) fn register(registry: &mut Registry, audit: Audit, watch: &Watch) {
    watch.register(registry);
    registry.register_collector(Box::new(Lines(audit)));
}

impl Collector for Lines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let name = "twinmesh_audit_lines";
        let mut family =
            encoder.encode_descriptor(name, "Lines of the audit log written, by kind", None, MetricType::Counter)?;
        for kind in Kind::ALL {
            let labels = [("kind", kind.as_str())];
            ConstCounter::new(self.0.written(kind)).encode(family.encode_family(&labels)?)?;
        }
        let lost = ConstCounter::new(self.0.lost_lines());
        let help = "Lines of the audit log that could not be written";
        lost.encode(encoder.encode_descriptor("twinmesh_audit_lost", help, None, MetricType::Counter)?)
    }
}
