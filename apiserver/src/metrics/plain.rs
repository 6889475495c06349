//! Prometheus' older text format, made of OpenMetrics' text.

use std::collections::HashSet;

/// Counters are declared under the names of their series, types that the older format has no word for under its nearest; units and the end are
/// not told.
pub fn of(text: &str) -> String {
    let declared = |line: &str, word: &str| {
        let (name, rest) = line.strip_prefix(word)?.split_once(' ')?;
        Some((name.to_owned(), rest.to_owned()))
    };
    let types = text.lines().filter_map(|line| declared(line, "# TYPE "));
    let counters: HashSet<String> = types.filter(|(_, kind)| kind == "counter").map(|(name, _)| name).collect();
    let called = |name: String| if counters.contains(&name) { format!("{name}_total") } else { name };
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if let Some((name, help)) = declared(line, "# HELP ") {
            out.push_str(&format!("# HELP {} {help}\n", called(name)));
        } else if let Some((name, kind)) = declared(line, "# TYPE ") {
            let kind = match kind.as_str() {
                "unknown" => "untyped",
                "info" | "stateset" => "gauge",
                known => known,
            };
            out.push_str(&format!("# TYPE {} {kind}\n", called(name)));
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_declared_as_the_older_format_has_them() {
        let newer = "# HELP a_seconds How long.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\na_seconds_sum 0.5\n\
                     # HELP b Asked.\n# TYPE b counter\nb_total{x=\"# EOF\"} 1\n# HELP c Of what.\n# TYPE c info\nc_info{v=\"1\"} 1\n# EOF\n";
        let older = "# HELP a_seconds How long.\n# TYPE a_seconds histogram\na_seconds_sum 0.5\n\
                     # HELP b_total Asked.\n# TYPE b_total counter\nb_total{x=\"# EOF\"} 1\n# HELP c Of what.\n# TYPE c gauge\nc_info{v=\"1\"} 1\n";
        assert_eq!(of(newer), older);
    }
}
