//! The run of an audit.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::audit::SITE;
use crate::audit::gateway_process::GatewayProcess;
use crate::audit::verdict::Verdict;
use crate::audit::watch::Watch;
use crate::cli::{AuditArgs, Who};
use crate::measure::Spread;
use crate::node_process::{NodeProcess, NodeSpec};
use crate::scratch::Scratch;

/// After a restart acks must flow again within this. Generous: a debug build on a machine that compiles.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);
/// The outboxes must be empty this long after the last report.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);
/// How often journals are looked into.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// Longest pause from flowing acks to a kill, unless `--seconds` says otherwise.
const PAUSE_MS_MAX: u64 = 300;
/// The same with a planted bug: it shows in the moments after an ack.
const PAUSE_PLANTED_MS_MAX: u64 = 30;
/// Longest time that a victim stays dead.
const DEAD_MS_MAX: u64 = 100;
/// Share of kills that come before the last victim has recovered.
const HASTY: f64 = 0.2;

/// Runs an audit and prints what it found; `false`: something is violated.
pub(crate) fn run(args: &AuditArgs) -> anyhow::Result<bool> {
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("audit of {} kills, seed {seed}: --seed {seed} decides the same again", args.kills);
    let mut scratch = Scratch::new(args.dir.as_deref())?;
    let started = Instant::now();
    let outcome = Audit::begin(args, seed, &scratch).and_then(Audit::finish);
    let clean = match &outcome {
        Ok(verdict) => verdict.is_clean(),
        Err(_) => false,
    };
    if !clean && args.plant.is_none() {
        println!("files are kept in {}", scratch.keep().display());
    }
    let verdict = outcome?;
    println!("after {:.1} s\n{verdict}", started.elapsed().as_secs_f64());
    Ok(clean)
}

struct Audit<'a> {
    args: &'a AuditArgs,
    random: SmallRng,
    spec: NodeSpec,
    node: Option<NodeProcess>,
    gateways: Vec<GatewayProcess>,
    watch: Watch,
    bar: ProgressBar,
    recoveries_s: [Vec<f64>; 2],
}

impl<'a> Audit<'a> {
    fn begin(args: &'a AuditArgs, seed: u64, scratch: &Scratch) -> anyhow::Result<Self> {
        let mut spec = NodeSpec::new(None, scratch.path().join("node"));
        spec.plant = args.plant;
        let node = spec.start()?;
        let rest = spec.rest()?;
        rest.open_site(SITE)?;
        let mut gateways = Vec::new();
        for number in 0..args.gateways {
            let name = format!("gateway-{number}");
            let mut gateway = GatewayProcess::new(&rest, scratch.path(), &name, spec.quic.to_string(), args.devices)?;
            gateway.start()?;
            gateways.push(gateway);
        }
        let bar = ProgressBar::new(u64::from(args.kills));
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} kills, {msg} acks") {
            bar.set_style(style);
        }
        let random = SmallRng::seed_from_u64(seed);
        Ok(Self {
            args,
            random,
            watch: Watch::start(&rest),
            spec,
            node: Some(node),
            gateways,
            bar,
            recoveries_s: Default::default(),
        })
    }

    fn finish(mut self) -> anyhow::Result<Verdict> {
        self.acks_flow()?;
        for _ in 0..self.args.kills {
            self.pause()?;
            let killed_at = Instant::now();
            let node_too = self.kill()?;
            if !self.random.random_bool(HASTY) {
                self.acks_flow()?;
                self.recoveries_s[usize::from(node_too)].push(killed_at.elapsed().as_secs_f64());
            }
            self.bar.inc(1);
        }
        self.acks_flow()?;
        self.bar.finish_and_clear();
        self.verdict()
    }

    /// Waits until each gateway was acked something new: whatever was killed has recovered.
    fn acks_flow(&mut self) -> anyhow::Result<()> {
        self.catch_up()?;
        let before: Vec<u64> = self.gateways.iter().map(|gateway| gateway.journal.acks()).collect();
        let deadline = Instant::now() + PROGRESS_TIMEOUT;
        while self.gateways.iter().zip(&before).any(|(gateway, before)| gateway.journal.acks() <= *before) {
            if Instant::now() > deadline {
                bail!("no acks came on some gateway for {PROGRESS_TIMEOUT:?}; they had {before:?}");
            }
            std::thread::sleep(LOOK_INTERVAL);
            self.catch_up()?;
        }
        Ok(())
    }

    fn catch_up(&mut self) -> anyhow::Result<()> {
        if let Some(node) = &mut self.node
            && !node.runs()
        {
            return Err(anyhow!("the node ended by itself; see {}", self.spec.log.display()));
        }
        let mut acks = 0;
        for gateway in &mut self.gateways {
            gateway.check()?;
            gateway.journal.catch_up()?;
            acks += gateway.journal.acks();
        }
        self.bar.set_message(acks.to_string());
        Ok(())
    }

    fn pause(&mut self) -> anyhow::Result<()> {
        let longest_ms = match (self.args.seconds, self.args.plant) {
            (Some(seconds), _) => (seconds * 2000.0 / f64::from(self.args.kills)) as u64,
            (None, Some(_)) => PAUSE_PLANTED_MS_MAX,
            (None, None) => PAUSE_MS_MAX,
        };
        let until = Instant::now() + Duration::from_millis(self.random.random_range(0..=longest_ms));
        while Instant::now() < until {
            std::thread::sleep(LOOK_INTERVAL.min(until - Instant::now()));
            self.catch_up()?;
        }
        Ok(())
    }

    /// Kills somebody and starts it again on the same files and ports; `true`: the node was among them.
    fn kill(&mut self) -> anyhow::Result<bool> {
        let (node, gateway) = match self.args.who {
            Who::Node => (true, false),
            Who::Gateway => (false, true),
            Who::Both => [(true, false), (false, true), (true, true)][self.random.random_range(0..3)],
        };
        let victim = self.random.random_range(0..self.gateways.len());
        if node && let Some(node) = self.node.take() {
            node.kill()?;
        }
        if gateway {
            self.gateways[victim].kill()?;
        }
        std::thread::sleep(Duration::from_millis(self.random.random_range(0..=DEAD_MS_MAX)));
        if gateway {
            self.gateways[victim].start()?;
        }
        if node {
            self.node = Some(self.spec.start()?);
        }
        Ok(node)
    }

    /// Lets everything drain and counts.
    fn verdict(mut self) -> anyhow::Result<Verdict> {
        let [gateway_s, node_s] = std::mem::take(&mut self.recoveries_s);
        let recovery_s = [Spread::of(gateway_s), Spread::of(node_s)];
        let mut verdict = Verdict { kills: self.args.kills, recovery_s, ..Verdict::default() };
        for gateway in &mut self.gateways {
            gateway.begin_drain()?;
        }
        for gateway in &mut self.gateways {
            let drained = gateway.drained(DRAIN_TIMEOUT)?;
            verdict.numbers_lost += drained.numbers_lost;
            verdict.refused += drained.dead_letters.max(gateway.journal.refused());
        }
        // Read on the state that a last restart brings back: what was only in memory does not count.
        if let Some(node) = self.node.take() {
            node.kill()?;
        }
        let observed = self.watch.stop();
        self.node = Some(self.spec.start()?);
        let twins = self.spec.rest()?.reported(SITE)?;
        let end = twins.into_iter().map(|twin| (twin.device.clone(), twin)).collect();
        for gateway in &self.gateways {
            for (device, noted) in gateway.device_ids().zip(gateway.journal.devices()) {
                verdict.device(&device, *noted, std::collections::HashMap::get(&end, &device));
            }
        }
        verdict.observed(&observed, &end);
        Ok(verdict)
    }
}
