//! What a soak found: figures with their targets, curves, and the verdict.

use std::sync::atomic::AtomicU64;

use anyhow::Context as _;
use serde::Serialize;

use super::run::Outcome;
use super::samples::{Samples, What};
use super::scene::Tally;
use super::trend::Trend;
use crate::bench::Bench;
use crate::cli::SoakArgs;
use crate::machine::Machine;
use crate::output::{Axis, Figure, Plot, Series, Target, print_table, render};

/// What a curve may be off by.
const OFF_PERCENT_MAX: f64 = 10.0;
/// Open files may differ by as many: connections that come and go, at two moments.
const OPEN_FILES_OFF_MAX: f64 = 40.0;
/// Reports that must be acked, of those that were due.
const ACKED_SHARE_MIN: f64 = 0.95;
/// Points of a drawn curve.
const DRAWN_MAX: usize = 180;
const MB: f64 = 1e6;

#[derive(Serialize)]
struct Written<'a> {
    machine: &'a Machine,
    command: String,
    flat: bool,
    noise: &'a [String],
    unexpected: &'a [String],
    figures: &'a [Figure],
    curves: Vec<Curve>,
}

#[derive(Serialize)]
struct Curve {
    of: &'static str,
    trend: Option<Trend>,
    /// Seconds since the begin, and the value.
    points: Vec<(f64, f64)>,
}

/// Prints and writes it all; is everything as it must be?
pub(super) fn show(
    bench: &mut Bench,
    args: &SoakArgs,
    tally: &Tally,
    samples: &Samples,
    outcome: &Outcome,
) -> anyhow::Result<bool> {
    judged(bench, samples);
    done(bench, tally, outcome);
    let flat = bench.figures.iter().all(|figure| figure.reached != Some(false));
    print_table(&bench.figures);
    let told = tally.told();
    println!();
    for what in &told {
        println!("unexpected: {what}");
    }
    let noise = bench.noise();
    for noise in &noise {
        println!("noise: {noise}");
    }
    println!("{}, {} looks at the node", if flat { "FLAT" } else { "NOT FLAT" }, samples.len());
    if let Some(file) = &args.json {
        let curve =
            |what: What| Curve { of: what.name(), trend: samples.trend(what), points: samples.drawn(what, DRAWN_MAX) };
        let written = Written {
            machine: &bench.machine,
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            flat,
            noise: &noise,
            unexpected: &told,
            figures: &bench.figures,
            curves: What::ALL.map(curve).into(),
        };
        std::fs::write(file, serde_json::to_string_pretty(&written)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(dir) = &args.svg_dir {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for plot in plots(samples) {
            let file = dir.join(plot.file).with_extension("svg");
            std::fs::write(&file, render(&plot)).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(flat)
}

/// What must be flat, or bounded.
fn judged(bench: &mut Bench, samples: &Samples) {
    let mut put = |figure: Figure| bench.figures.push(figure);
    let early_and_late = |trend: &Trend, by: f64, unit: &str| {
        let Trend { early, late, rise, highest } = trend;
        format!(
            "median of the second sixth {:.1}{unit}, of the last {:.1}{unit}; a line rises by {:.1}{unit}; highest {:.1}{unit}",
            early / by,
            late / by,
            rise / by,
            highest / by
        )
    };
    for what in [What::Resident, What::Anonymous, What::StateFile, What::LogFile] {
        let trend = samples.trend(what);
        let off = trend.map(|trend| trend.off_share() * 100.0);
        let figure = Figure::new("soak", format!("{}, off by", what.name()), "%", off.into_iter().collect());
        let figure = figure.target(Target::AtMost(OFF_PERCENT_MAX));
        put(match &trend {
            Some(trend) => figure.note(early_and_late(trend, MB, " MB")),
            None => figure.note("too few looks"),
        });
    }
    if let Some(trend) = samples.trend(What::OpenFiles) {
        put(Figure::once("soak", "open files, off by", "", trend.off())
            .target(Target::AtMost(OPEN_FILES_OFF_MAX))
            .note(early_and_late(&trend, 1.0, "")));
    }
    for what in [What::Grains, What::Sessions, What::Connections, What::Observers] {
        if let Some(trend) = samples.trend(what) {
            let name = format!("{}, median of the last sixth", what.name());
            put(Figure::once("soak", name, "", trend.late).note(early_and_late(&trend, 1.0, "")));
        }
    }
    for what in [What::Directory, What::Dirty, What::Log, What::Admitted] {
        if let Some(trend) = samples.trend(what) {
            let name = format!("{}, median of the last sixth", what.name());
            put(Figure::once("soak", name, "MB", trend.late / MB).note(early_and_late(&trend, MB, " MB")));
        }
    }
}

/// What the clients did, and what must not have happened.
fn done(bench: &mut Bench, tally: &Tally, outcome: &Outcome) {
    let mut put = |figure: Figure| bench.figures.push(figure);
    let count = |count: &AtomicU64| Tally::get(count) as f64;
    let due = count(&tally.due).max(1.0);
    if let Some(capacity) = outcome.capacity_per_s {
        put(Figure::once("soak", "reports in a closed loop, before", "/s", capacity)
            .note("the same gateways with nobody else"));
    }
    put(Figure::once("soak", "reports due", "/s", outcome.rate_per_s));
    put(Figure::once("soak", "reports acked", "/s", count(&tally.acked) / outcome.lasted_s).note(format!(
        "{:.0} in all, {:.0} found no gateway with room",
        count(&tally.acked),
        count(&tally.skipped)
    )));
    put(Figure::once("soak", "reports acked / due", "x", count(&tally.acked) / due)
        .target(Target::AtLeast(ACKED_SHARE_MIN)));
    let acks = tally.acks.lock();
    put(Figure::once("soak", "ack p50", "ms", acks.ms(0.5)).note("from when it was due"));
    put(Figure::once("soak", "ack p99", "ms", acks.ms(0.99)));
    drop(acks);
    put(Figure::once("soak", "the node took", "cores", outcome.node_cores));
    put(Figure::once("soak", "the clients took", "cores", outcome.own_cores));
    for (name, value, note) in [
        ("reporting gateways came", count(&tally.visits), format!("{} new names", count(&tally.new_names))),
        (
            "gateways passed by",
            count(&tally.passed),
            format!("{} vanished; {} sessions in all", count(&tally.vanished), outcome.sessions),
        ),
        ("twins made", count(&tally.twins_made), format!("{} deleted", count(&tally.twins_deleted))),
        ("activations", outcome.activations, format!("{} passivations", outcome.passivations)),
        ("desired changes taken over", count(&tally.applied), String::new()),
        (
            "REST clients",
            count(&tally.clients),
            format!(
                "{} requests, {} of them refused; {} left in the middle of one",
                count(&tally.requests),
                count(&tally.refused),
                count(&tally.broken_off)
            ),
        ),
        ("event streams", count(&tally.streams), format!("{} events", count(&tally.events))),
        ("items of batches", count(&tally.items), String::new()),
    ] {
        let figure = Figure::once("soak", name, "", value);
        put(if note.is_empty() { figure } else { figure.note(note) });
    }
    put(Figure::once("soak", "unexpected answers", "", count(&tally.unexpected)).target(Target::AtMost(0.0)));
    put(Figure::once("soak", "sessions, connections and observers left behind", "", outcome.left_behind)
        .target(Target::AtMost(0.0)));
    put(Figure::once("soak", "resident when everybody has gone", "MB", outcome.resident_after / MB));
}

fn plots(samples: &Samples) -> [Plot; 2] {
    let series = |name: &str, what: What, by: f64| {
        let minutes = |point: (f64, f64)| (point.0 / 60.0, point.1 / by);
        Series::new(name, samples.drawn(what, DRAWN_MAX).into_iter().map(minutes).collect())
    };
    [
        Plot {
            file: "soak-memory",
            title: "A node at half of its capacity, clients coming and going".into(),
            x: Axis::linear("minutes"),
            y: Axis::linear("MB"),
            series: vec![
                series("resident", What::Resident, MB),
                series("state file", What::StateFile, MB),
                series("log file", What::LogFile, MB),
            ],
        },
        Plot {
            file: "soak-clients",
            title: "Who is there meanwhile".into(),
            x: Axis::linear("minutes"),
            y: Axis::log("at a time"),
            series: vec![
                series("active grains", What::Grains, 1.0),
                series("gateway sessions", What::Sessions, 1.0),
                series("observers", What::Observers, 1.0),
                series("open files", What::OpenFiles, 1.0),
            ],
        },
    ]
}
