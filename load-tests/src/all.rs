//! The subcommands `all` and `list`: runs the scenarios and shows what they found.

use anyhow::{Context as _, bail};

use crate::bench::Bench;
use crate::cli::{AllArgs, Size};
use crate::output::{print_table, render, write_json};
use crate::plan::Plan;
use crate::scenarios::{SCENARIOS, Scenario};

/// Prints what there is to measure.
pub(crate) fn list() {
    for scenario in SCENARIOS {
        let Scenario { name, about, .. } = scenario;
        let more = if scenario.is_quick() { "" } else { " (with --full, or by name)" };
        println!("{name}  {about}{more}");
    }
}

/// Measures, prints, writes; `false`: a scenario failed. A missed target is a figure, not a failure.
pub(crate) fn run(args: &AllArgs) -> anyhow::Result<bool> {
    let plan = match &args.size {
        Size { full: true, .. } => Plan::full(),
        Size { tiny: true, .. } => Plan::tiny(),
        Size { .. } => Plan::quick(),
    };
    let wanted = chosen(&args.only, args.size.full)?;
    let mut bench = Bench::new(plan, !args.no_peers, args.dir.as_deref())?;
    bench.writes_per_s = args.w1_per_s.map(f64::from);
    println!("{}\n{} run: {} repeats", bench.machine, bench.plan.name, bench.plan.repeats);
    let begun = std::time::Instant::now();
    let mut failed = Vec::new();
    for scenario in wanted {
        bench.enter(scenario.name);
        let before = bench.figures.len();
        if let Err(error) = (scenario.run)(&mut bench) {
            // The others still have something to say.
            failed.push(format!("{}: {error:#}", scenario.name));
        }
        // At once: whoever ends a long run has what it found so far.
        bench.show(|bench| print_table(&bench.figures[before..]));
    }
    bench.quiet();
    let noise = bench.noise();
    println!();
    bench.notes.iter().for_each(|note| println!("{note}"));
    for failure in &failed {
        println!("FAILED {failure}");
    }
    match noise.as_slice() {
        [] => println!("quiet enough to believe; {:.0} s", begun.elapsed().as_secs_f64()),
        reasons => {
            println!("TOO NOISY TO BELIEVE, {:.0} s:\n  {}", begun.elapsed().as_secs_f64(), reasons.join("\n  "));
        }
    }
    if let Some(file) = &args.json {
        bench.notes.extend(failed.iter().map(|failure| format!("FAILED {failure}")));
        write_json(file, &bench.machine, &noise, &bench.notes, &bench.figures)?;
    }
    if let Some(dir) = &args.svg_dir {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for plot in &bench.plots {
            let file = dir.join(plot.file).with_extension("svg");
            std::fs::write(&file, render(plot)).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(failed.is_empty())
}

/// The scenarios of these names; all that belong to such a run if none is named.
fn chosen(names: &[String], full: bool) -> anyhow::Result<Vec<&'static Scenario>> {
    for name in names {
        if !SCENARIOS.iter().any(|scenario| scenario.name.eq_ignore_ascii_case(name)) {
            let known: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
            bail!("there is no scenario {name:?}; there are {}", known.join(", "));
        }
    }
    let wanted = |scenario: &&Scenario| match names {
        [] => full || scenario.is_quick(),
        names => names.iter().any(|name| scenario.name.eq_ignore_ascii_case(name)),
    };
    Ok(SCENARIOS.iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_chosen_by_name_in_their_own_order() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let chosen_names: Vec<_> = chosen(&names(&["b1", "W1"]), false).unwrap().iter().map(|s| s.name).collect();
        assert_eq!(chosen_names, ["W1", "B1"]);
        assert_eq!(chosen(&[], true).unwrap().len(), SCENARIOS.len());
        assert!(chosen(&[], false).unwrap().iter().all(|scenario| scenario.is_quick()));
        assert_eq!(chosen(&names(&["E1"]), false).unwrap().len(), 1);
        assert!(chosen(&names(&["W1", "X9"]), false).is_err());
    }
}
