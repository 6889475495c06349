//! Signals by name, as images and pods name them. Pure.

use std::str::FromStr;

use nix::sys::signal::Signal;

/// `SIGTERM`, `TERM`, `15` or `SIGRTMIN+3` as a number.
pub fn number(name: &str) -> Option<i32> {
    const REAL_TIME_FIRST: i32 = 34;
    const LAST: i32 = 64;
    if let Ok(number) = name.parse::<i32>() {
        return (1..=LAST).contains(&number).then_some(number);
    }
    let upper = name.to_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    if let Some(offset) = full.strip_prefix("SIGRTMIN") {
        let offset: i32 = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
        return (0..=LAST - REAL_TIME_FIRST).contains(&offset).then_some(REAL_TIME_FIRST + offset);
    }
    Signal::from_str(&full).ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (name, expected) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMIN", Some(34)),
            ("0", None),
            ("SIGNOPE", None),
        ] {
            assert_eq!(number(name), expected, "{name}");
        }
    }
}
