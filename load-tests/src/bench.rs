//! What every scenario is given: the plan, a place for files, a runtime, and somewhere to put what it found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::Runtime;

use crate::document::Documents;
use crate::machine::Machine;
use crate::measure::CpuUse;
use crate::node_process::NodeSpec;
use crate::output::{Figure, Plot};
use crate::plan::Plan;
use crate::scratch::Scratch;
use crate::seeded::{SeededTwins, seed};

/// Others may use this share of the machine before figures are called noisy.
const OTHERS_SHARE_MAX: f64 = 0.05;
/// The host may withhold this share.
const STOLEN_SHARE_MAX: f64 = 0.02;

/// One run of the harness.
pub(crate) struct Bench {
    pub(crate) plan: Plan,
    pub(crate) runtime: Runtime,
    pub(crate) machine: Machine,
    /// Are peers wanted?
    pub(crate) peers: bool,
    /// What W1 measured in this run, or was said instead, for those who want half of it.
    pub(crate) writes_per_s: Option<f64>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) plots: Vec<Plot>,
    pub(crate) notes: Vec<String>,
    noise: Vec<String>,
    scratch: Scratch,
    bar: ProgressBar,
    scenario: &'static str,
    directories: u32,
    seeded: BTreeMap<u64, (NodeSpec, Arc<SeededTwins>)>,
}

impl Bench {
    pub(crate) fn new(plan: Plan, peers: bool, dir: Option<&Path>) -> anyhow::Result<Self> {
        let scratch = Scratch::new(dir)?;
        scratch.remove_on_signal()?;
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {prefix} {msg}") {
            bar.set_style(style);
        }
        Ok(Self {
            machine: Machine::look(scratch.path()),
            runtime: tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("load").build()?,
            plan,
            peers,
            writes_per_s: None,
            figures: Vec::new(),
            plots: Vec::new(),
            notes: Vec::new(),
            noise: Vec::new(),
            scratch,
            bar,
            scenario: "",
            directories: 0,
            seeded: BTreeMap::new(),
        })
    }

    /// A scenario begins.
    pub(crate) fn enter(&mut self, scenario: &'static str) {
        self.scenario = scenario;
        self.bar.set_prefix(scenario);
        self.bar.enable_steady_tick(std::time::Duration::from_millis(200));
    }

    /// For whoever waits at the terminal.
    pub(crate) fn doing(&self, what: impl Into<String>) {
        let what = what.into();
        if self.bar.is_hidden() {
            eprintln!("{:>7.1?} {} {what}", self.bar.elapsed(), self.scenario);
        }
        self.bar.set_message(what);
    }

    /// Prints something past the progress bar.
    pub(crate) fn show(&self, print: impl FnOnce(&Self)) {
        self.bar.suspend(|| print(self));
    }

    /// Nothing is under way any more.
    pub(crate) fn quiet(&self) {
        self.bar.finish_and_clear();
    }

    /// A directory that nobody else uses.
    pub(crate) fn directory(&mut self, name: &str) -> anyhow::Result<PathBuf> {
        self.directories += 1;
        let path = self.scratch.path().join(format!("{}-{name}", self.directories));
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// A node that has not been started, with a directory of its own.
    pub(crate) fn node(&mut self) -> anyhow::Result<NodeSpec> {
        Ok(NodeSpec::new(None, self.directory("node")?.join("data")))
    }

    /// A node that does not run and has this many registered twins in `site`. Made once in a run; whoever asks again gets the same
    /// directory with whatever happened in it since.
    pub(crate) fn seeded(&mut self, site: &str, twins: u64, documents: &Arc<Documents>) -> anyhow::Result<NodeSpec> {
        Ok(self.seeded_twins(site, twins, documents)?.0)
    }

    /// As [`Self::seeded`], with what it takes to report these twins.
    pub(crate) fn seeded_twins(
        &mut self,
        site: &str,
        twins: u64,
        documents: &Arc<Documents>,
    ) -> anyhow::Result<(NodeSpec, Arc<SeededTwins>)> {
        if let Some(seeded) = self.seeded.get(&twins) {
            return Ok(seeded.clone());
        }
        let mut spec = self.node()?;
        self.doing(format!("registering {twins} twins"));
        let twins_of = Arc::new(seed(&mut spec, site, twins, documents)?);
        let seeded = (spec, twins_of);
        self.seeded.insert(twins, seeded.clone());
        Ok(seeded)
    }

    /// Takes note of how much others disturbed a stretch that a figure rests on.
    pub(crate) fn saw(&mut self, used: &CpuUse) {
        for (share, bound, who) in [
            (used.others_share, OTHERS_SHARE_MAX, "others used"),
            (used.stolen_share, STOLEN_SHARE_MAX, "the host withheld"),
        ] {
            if share > bound {
                let lasted_s = used.lasted_s;
                let percent = share * 100.0;
                self.noise.push(format!("{}: {who} {percent:.0} % of the machine for {lasted_s:.1} s", self.scenario));
            }
        }
    }

    /// Why the figures should not be believed; empty: they may be.
    pub(crate) fn noise(&self) -> Vec<String> {
        let mut noise = Vec::new();
        if cfg!(debug_assertions) {
            noise.push("this is a debug build".to_owned());
        }
        noise.extend(self.noise.iter().cloned());
        for figure in self.figures.iter().filter(|figure| figure.target.is_some() && figure.spread.is_noisy()) {
            noise.push(format!("{}: {} differs between repeats: {}", figure.scenario, figure.name, figure.spread));
        }
        noise
    }
}
