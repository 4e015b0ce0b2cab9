//! Line plots as SVG, readable on white paper and by people who tell no red from green.

use std::fmt::Write as _;

use crate::output::{Axis, Plot};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 56.0;
/// The colours of Okabe and Ito, dark enough for white.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a5c00", "#000000"];
/// Points of a line up to which each is marked.
const MARKED_MAX: usize = 40;
/// Steps of a linear axis, about.
const STEPS: f64 = 5.0;

/// A number axis: where a value lies between 0 and 1, and which values get a label.
struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    fn of(axis: &Axis, values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = values
            .filter(|value| value.is_finite() && (!axis.log || *value > 0.0))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        if axis.log {
            low = 10_f64.powf(low.log10().floor());
            high = 10_f64.powf(high.log10().ceil());
            if high <= low {
                high = low * 10.0;
            }
        } else {
            // From zero, so that the eye compares what is there.
            low = low.min(0.0);
            let step = Self::step(low, high);
            high = ((high / step).ceil() * step).max(low + step);
        }
        Self { low, high, log: axis.log }
    }

    /// 1, 2 or 5 times a power of ten.
    fn step(low: f64, high: f64) -> f64 {
        let rough = ((high - low) / STEPS).max(f64::MIN_POSITIVE);
        let power = 10_f64.powf(rough.log10().floor());
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|step| *step >= rough).unwrap_or(rough)
    }

    fn at(&self, value: f64) -> Option<f64> {
        if !value.is_finite() || (self.log && value <= 0.0) {
            return None;
        }
        let scale = |value: f64| if self.log { value.log10() } else { value };
        Some((scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low)))
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let (low, high) = (self.low.log10().round() as i32, self.high.log10().round() as i32);
            (low..=high).map(|power| 10_f64.powi(power)).collect()
        } else {
            let step = Self::step(self.low, self.high);
            let count = ((self.high - self.low) / step).round() as u32;
            (0..=count).map(|at| self.low + f64::from(at) * step).collect()
        }
    }
}

/// Draws it.
pub(crate) fn render(plot: &Plot) -> String {
    let points = || plot.series.iter().flat_map(|series| series.points.iter());
    let x = Scale::of(&plot.x, points().map(|point| point.0));
    let y = Scale::of(&plot.y, points().map(|point| point.1));
    let (inner_width, inner_height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let to_x = |share: f64| LEFT + share * inner_width;
    let to_y = |share: f64| TOP + (1.0 - share) * inner_height;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12" fill="#222"><rect width="100%" height="100%" fill="#fff"/>"##
    );
    let mut text = |x: f64, y: f64, more: &str, words: &str| {
        let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" {more}>{}</text>"#, escape(words));
    };
    text(WIDTH / 2.0, 20.0, r#"text-anchor="middle" font-size="15""#, &plot.title);
    text(LEFT + inner_width / 2.0, HEIGHT - 12.0, r#"text-anchor="middle""#, &plot.x.label);
    let middle = TOP + inner_height / 2.0;
    text(18.0, middle, &format!(r#"text-anchor="middle" transform="rotate(-90 18 {middle:.1})""#), &plot.y.label);
    for tick in x.ticks() {
        let Some(share) = x.at(tick) else { continue };
        text(to_x(share), TOP + inner_height + 18.0, r#"text-anchor="middle""#, &short(tick));
    }
    for tick in y.ticks() {
        let Some(share) = y.at(tick) else { continue };
        text(LEFT - 8.0, to_y(share) + 4.0, r#"text-anchor="end""#, &short(tick));
    }
    for (at, series) in plot.series.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let more = format!(r#"fill="{colour}" font-weight="bold""#);
        text(LEFT + 8.0 + 160.0 * at as f64, TOP - 8.0, &more, &series.name);
    }
    let grid = |svg: &mut String, x1: f64, y1: f64, x2: f64, y2: f64| {
        let _ = writeln!(svg, r##"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="#ddd"/>"##);
    };
    for share in x.ticks().into_iter().filter_map(|tick| x.at(tick)) {
        grid(&mut svg, to_x(share), TOP, to_x(share), TOP + inner_height);
    }
    for share in y.ticks().into_iter().filter_map(|tick| y.at(tick)) {
        grid(&mut svg, LEFT, to_y(share), LEFT + inner_width, to_y(share));
    }
    for (at, series) in plot.series.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let places: Vec<(f64, f64)> =
            series.points.iter().filter_map(|(px, py)| Some((to_x(x.at(*px)?), to_y(y.at(*py)?)))).collect();
        let line: Vec<String> = places.iter().map(|(px, py)| format!("{px:.1},{py:.1}")).collect();
        let _ =
            writeln!(svg, r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#, line.join(" "));
        // Where they are close the line says it all.
        for (px, py) in places.into_iter().filter(|_| series.points.len() <= MARKED_MAX) {
            let _ = writeln!(svg, r#"<circle cx="{px:.1}" cy="{py:.1}" r="3.5" fill="{colour}"/>"#);
        }
    }
    svg + "</svg>\n"
}

/// 1500000 as 1.5M.
fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        value_abs if value_abs >= 1e6 => (value / 1e6, "M"),
        value_abs if value_abs >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.3}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Text as XML takes it.
fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, character| {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no way to write other control characters.
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Series;

    fn plot() -> Plot {
        Plot {
            file: "test",
            title: "p99 < 5 ms & more \u{1}".into(),
            x: Axis::log("updates/s"),
            y: Axis::linear("ms"),
            series: vec![Series::new("\"a\"", vec![(10.0, 1.0), (1000.0, 4.0), (0.0, 9.0)])],
        }
    }

    #[test]
    fn text_is_escaped() {
        let svg = render(&plot());
        assert!(svg.contains("p99 &lt; 5 ms &amp; more  "), "{svg}");
        assert!(svg.contains("&quot;a&quot;"), "{svg}");
        assert!(!svg.contains('\u{1}'));
    }

    #[test]
    fn every_point_lies_inside_and_zero_is_left_out_of_a_log_axis() {
        let svg = render(&plot());
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        for label in ["updates/s", ">ms<", ">100<", ">1k<"] {
            assert!(svg.contains(label), "{label} in {svg}");
        }
    }

    #[test]
    fn a_plot_without_points_is_still_a_plot() {
        let mut empty = plot();
        empty.series.clear();
        assert!(render(&empty).ends_with("</svg>\n"));
    }

    #[test]
    fn ticks_of_a_linear_axis_are_round() {
        let scale = Scale::of(&Axis::linear(""), [3.0, 47.0].into_iter());
        assert_eq!(
            scale.ticks().iter().map(|tick| short(*tick)).collect::<Vec<_>>(),
            ["0", "10", "20", "30", "40", "50"]
        );
    }
}
