//! The table on the terminal.

use std::fmt::Write as _;

use crate::output::Figure;

/// Prints figures, each with its target and its share, and the notes below the scenario they belong to.
pub(crate) fn print_table(figures: &[Figure]) {
    print!("{}", table(figures));
}

fn table(figures: &[Figure]) -> String {
    let name_width = figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0).max(20);
    let mut text = String::new();
    let mut scenario = "";
    for figure in figures {
        if figure.scenario != scenario {
            scenario = figure.scenario;
            let _ = writeln!(text, "\n{scenario:<4} {:<name_width$}  median (lowest .. highest)", "");
        }
        let target = match (figure.target, figure.reached) {
            (Some(target), Some(true)) => format!("{target}: reached"),
            (Some(target), _) => format!("{target}: MISSED"),
            _ => String::new(),
        };
        let share = figure.share.as_ref().map(|share| format!("{} of {}", share.spread, share.of)).unwrap_or_default();
        let value = format!("{} {}", value(figure), figure.unit);
        let line = format!("     {:<name_width$}  {value:<36}  {target:<20} {share}", figure.name);
        let _ = writeln!(text, "{}", line.trim_end());
        if let Some(note) = &figure.note {
            let _ = writeln!(text, "       ({note})");
        }
    }
    text
}

/// One repeat needs no spread.
fn value(figure: &Figure) -> String {
    let text = figure.spread.to_string();
    match figure.repeats.len() {
        0 => "not measured".to_owned(),
        1 => text.split(' ').next().unwrap_or_default().to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Target;

    #[test]
    fn a_line_says_value_unit_target_and_share() {
        let figure = Figure::new("W1", "updates", "/s", vec![50.0, 60.0])
            .target(Target::AtLeast(100.0))
            .share_of("redis", &[100.0, 100.0]);
        let text = table(&[figure]);
        for part in ["W1", "updates", "55.0 (50.0 .. 60.0) /s", ">= 100: MISSED", "0.55 (0.50 .. 0.60) of redis"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn what_was_measured_once_has_no_spread() {
        assert!(table(&[Figure::once("M1", "idle", "MB", 45.7)]).contains("45.7 MB"));
    }
}
