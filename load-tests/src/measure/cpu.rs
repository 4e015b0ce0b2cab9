//! Whose CPU time a stretch of a run took, and how much of the machine others used meanwhile.

use std::time::Instant;

use crate::measure::procfs::{cpu_s, machine_s};

/// Looks at the clocks of processes; [`CpuWatch::end`] tells what happened since.
#[derive(Debug)]
pub(crate) struct CpuWatch {
    at: Instant,
    pids: Vec<u32>,
    used_s: Vec<f64>,
    own_s: f64,
    busy_s: f64,
    stolen_s: f64,
}

/// CPU time of a stretch.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuUse {
    /// How long the stretch was, in seconds.
    pub(crate) lasted_s: f64,
    /// CPU seconds of each process that was watched, in order.
    pub(crate) pids_s: Vec<f64>,
    /// CPU seconds of this process: load generators and whatever runs within it.
    pub(crate) own_s: f64,
    /// Share of the machine that others used, the host's theft not included.
    pub(crate) others_share: f64,
    /// Share of the machine that its host withheld.
    pub(crate) stolen_share: f64,
}

impl CpuWatch {
    /// Begins to watch these processes and this one.
    pub(crate) fn begin(pids: &[u32]) -> anyhow::Result<Self> {
        let (busy_s, stolen_s) = machine_s()?;
        let used_s = pids.iter().map(|pid| cpu_s(*pid)).collect::<anyhow::Result<_>>()?;
        Ok(Self {
            at: Instant::now(),
            pids: pids.to_vec(),
            used_s,
            own_s: cpu_s(std::process::id())?,
            busy_s,
            stolen_s,
        })
    }

    /// What happened since it began.
    pub(crate) fn end(&self) -> anyhow::Result<CpuUse> {
        let now = Self::begin(&self.pids)?;
        let lasted_s = (now.at - self.at).as_secs_f64();
        let pids_s: Vec<f64> = now.used_s.iter().zip(&self.used_s).map(|(now, then)| now - then).collect();
        let own_s = now.own_s - self.own_s;
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let share = |seconds: f64| if lasted_s > 0.0 { (seconds / (lasted_s * cores)).max(0.0) } else { 0.0 };
        let stolen_s = now.stolen_s - self.stolen_s;
        let others_s = now.busy_s - self.busy_s - own_s - pids_s.iter().sum::<f64>();
        Ok(CpuUse { lasted_s, pids_s, own_s, others_share: share(others_s), stolen_share: share(stolen_s) })
    }
}
