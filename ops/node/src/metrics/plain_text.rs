//! The text format of Prometheus, version 0.0.4, for whoever does not ask for OpenMetrics. The samples are the same in both;
//! what differs is said of them: here a counter's family has the name of its samples, and the end is not marked.

/// What OpenMetrics' counters are called after their family's name.
const COUNTER_SUFFIX: &str = "_total";

/// Rewrites OpenMetrics text. We use no exemplars, units or info metrics, which would be the other differences.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 32);
    // The help stands before the type, on which its name depends.
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map(|(_, said)| said);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = if kind == "counter" { COUNTER_SUFFIX } else { "" };
            let kind = if kind == "unknown" { "untyped" } else { kind };
            if let Some(said) = help.take() {
                out.extend(["# HELP ", name, suffix, " ", said, "\n"]);
            }
            out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            out.extend([line, "\n"]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_after_their_samples_and_the_end_is_not_marked() {
        let open = "# HELP a Of \\\\ all.\n# TYPE a counter\na_total{x=\"# HELP\"} 1\n# HELP b B.\n# TYPE b gauge\nb -2\n\
                    # TYPE c histogram\nc_sum 0.5\nc_count 1\nc_bucket{le=\"1.0\"} 1\nc_bucket{le=\"+Inf\"} 1\n# EOF\n";
        let plain = "# HELP a_total Of \\\\ all.\n# TYPE a_total counter\na_total{x=\"# HELP\"} 1\n# HELP b B.\n# TYPE b gauge\n\
                     b -2\n# TYPE c histogram\nc_sum 0.5\nc_count 1\nc_bucket{le=\"1.0\"} 1\nc_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(from_open_metrics(open), plain);
    }
}
