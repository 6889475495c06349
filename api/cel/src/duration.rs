//! Durations: as Go writes them, and as objects may write them besides.

use std::sync::LazyLock;

use regex::Regex;

/// Go's durations: `1h30m`, `-1.5s`; in nanoseconds.
pub fn duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 8] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|next: char| !(next.is_ascii_digit() || next == '.'))?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end =
            rest[end..].find(|next: char| next.is_ascii_digit() || next == '.').map_or(rest.len(), |at| end + at);
        let (_, factor) = UNITS.iter().find(|(unit, _)| *unit == &rest[end..unit_end])?;
        total += number * factor;
        rest = &rest[unit_end..];
    }
    let total = if negative { -total } else { total };
    (total.abs() < 9.2e18).then_some(total.round() as i64)
}

/// As Scala writes them as well: a number and a unit or its name, as in `10 ms`, `3 hours` and `2w`; in nanoseconds.
pub fn wide_duration(text: &str) -> Option<i64> {
    /// What a unit is called, and what its name begins with.
    const UNITS: [(&[&str], &str, i64); 8] = [
        (&["ns"], "nano", 1),
        (&["us", "µs"], "micro", 1_000),
        (&["ms"], "milli", 1_000_000),
        (&["s"], "sec", SECOND),
        (&["m"], "min", 60 * SECOND),
        (&["h", "hr"], "hour", 3_600 * SECOND),
        (&["d"], "day", 24 * 3_600 * SECOND),
        (&["w", "wk"], "week", 7 * 24 * 3_600 * SECOND),
    ];
    static PART: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(-\s?)?([0-9]+)\s*([A-Za-zµ]+)").expect("the pattern is sound"));
    if let Some(nanos) = duration(text) {
        return Some(nanos);
    }
    let mut total = None;
    for part in PART.captures_iter(text) {
        let number: i64 = part[2].parse().ok()?;
        let number = if part.get(1).is_some() { -number } else { number };
        let unit = part[3].to_lowercase();
        let known = |(names, begins, _): &&(&[&str], &str, i64)| names.contains(&&*unit) || unit.starts_with(begins);
        // What is called otherwise says nothing, as it does in Go.
        if let Some((_, _, factor)) = UNITS.iter().find(known) {
            total = Some(number.wrapping_mul(*factor).wrapping_add(total.unwrap_or_default()));
        }
    }
    total
}

const SECOND: i64 = 1_000_000_000;
