//! The scalar forms: what is a valid time, duration or base64 text, and how a Go server writes it back.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chrono::{DateTime, SecondsFormat, Utc};

/// Go's `base64.StdEncoding`: padded, and lenient about trailing bits.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// `metav1.Time`: RFC 3339 in whole seconds, UTC.
pub fn time(text: &str) -> Result<String, String> {
    Ok(parse_time(text, "2006-01-02T15:04:05Z07:00")?.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// A point in time, counted from the epoch, in either form; `None` where no calendar reaches.
pub fn print_time(seconds: i64, nanos: i64, micro: bool) -> Option<String> {
    let time = DateTime::from_timestamp(seconds, u32::try_from(nanos).ok()?)?;
    Some(time.to_rfc3339_opts(if micro { SecondsFormat::Micros } else { SecondsFormat::Secs }, true))
}

/// The zero of Go's times, which prints as null: the first second of the year 1, counted from the epoch.
pub const ZERO_TIME: (i64, u32) = (-62_135_596_800, 0);

/// The seconds since the epoch, and the nanoseconds, of a time in either form.
pub fn point_in_time(text: &str) -> Option<(i64, u32)> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some((time.timestamp(), time.timestamp_subsec_nanos()))
}

pub fn print_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Base64 in canonical form.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// `metav1.MicroTime`: the same with six decimals.
pub fn micro_time(text: &str) -> Result<String, String> {
    Ok(parse_time(text, "2006-01-02T15:04:05.000000Z07:00")?.to_rfc3339_opts(SecondsFormat::Micros, true))
}

fn parse_time(text: &str, layout: &str) -> Result<DateTime<Utc>, String> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) if text.as_bytes().get(10) == Some(&b'T') => Ok(time.with_timezone(&Utc)),
        Ok(_) | Err(_) => Err(time_error(text, layout)),
    }
}

/// Go names the first part of the layout that the text does not fit.
fn time_error(text: &str, layout: &str) -> String {
    const PARTS: [(&str, usize); 11] = [
        ("2006", 4),
        ("-", 1),
        ("01", 2),
        ("-", 1),
        ("02", 2),
        ("T", 1),
        ("15", 2),
        (":", 1),
        ("04", 2),
        (":", 1),
        ("05", 2),
    ];
    let mut at = 0;
    for (part, width) in PARTS {
        let fits = text.get(at..at + width).is_some_and(|found| {
            if part.as_bytes()[0].is_ascii_digit() { found.bytes().all(|b| b.is_ascii_digit()) } else { found == part }
        });
        if !fits {
            let rest = text.get(at..).unwrap_or("");
            return format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {part:?}");
        }
        at += width;
    }
    let rest = text.get(at..).unwrap_or("");
    format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as \"Z07:00\"")
}

/// Base64 as Go decodes it (line breaks are skipped) and encodes it again.
pub fn base64(text: &str) -> Result<String, String> {
    let clean: String;
    let text = if text.contains(['\n', '\r']) {
        clean = text.replace(['\n', '\r'], "");
        &clean
    } else {
        text
    };
    match BASE64.decode(text) {
        Ok(bytes) => Ok(BASE64.encode(bytes)),
        Err(error) => Err(format!("illegal base64 data at input byte {}", base64_offset(&error, text))),
    }
}

fn base64_offset(error: &base64::DecodeError, text: &str) -> usize {
    match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        // Go reports the start of the quantum that is incomplete.
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() / 4 * 4,
    }
}

/// Go's `time.Duration`: parsed from `1h2m3.5s`, printed as Go prints it.
pub fn duration(text: &str) -> Result<String, String> {
    let nanos = parse_duration(text).ok_or_else(|| format!("time: invalid duration {text:?}"))?;
    Ok(print_duration(nanos))
}

/// Nanoseconds of a duration as Go writes it: `1h2m3.5s`.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: f64 = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, tail) = rest.split_at(number);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += value.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    let total = if negative { -total } else { total };
    (total.abs() <= i64::MAX as f64).then_some(total.round() as i64)
}

pub fn print_duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let fraction = |value: u64, unit: u64, name: &str| {
        let text = format!("{}.{:09}", value / unit, u128::from(value % unit) * 1_000_000_000 / u128::from(unit));
        format!("{sign}{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match nanos {
        0..1_000 => format!("{sign}{nanos}ns"),
        1_000..1_000_000 => fraction(nanos, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(nanos, 1_000_000, "ms"),
        _ => {
            let seconds = nanos / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let text = format!("{}.{:09}", seconds % 60, nanos % 1_000_000_000);
            let text = text.trim_end_matches('0').trim_end_matches('.');
            match (hours, minutes) {
                (0, 0) => format!("{sign}{text}s"),
                (0, minutes) => format!("{sign}{minutes}m{text}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{text}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_whole_seconds_utc() {
        assert_eq!(time("2026-01-02T03:04:05.6+02:00").unwrap(), "2026-01-02T01:04:05Z");
        assert_eq!(micro_time("2026-01-02T03:04:05Z").unwrap(), "2026-01-02T03:04:05.000000Z");
        assert_eq!(
            time("yesterday").unwrap_err(),
            r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#
        );
        assert_eq!(
            time("2026-01-02 03:04:05Z").unwrap_err(),
            r#"parsing time "2026-01-02 03:04:05Z" as "2006-01-02T15:04:05Z07:00": cannot parse " 03:04:05Z" as "T""#
        );
    }

    #[test]
    fn base64_is_checked_and_normalised() {
        assert_eq!(base64("aGVs\nbG8=").unwrap(), "aGVsbG8=");
        assert_eq!(base64("a!==").unwrap_err(), "illegal base64 data at input byte 1");
        assert_eq!(base64("aGVsbG8").unwrap_err(), "illegal base64 data at input byte 4");
    }

    #[test]
    fn durations_print_as_go_prints_them() {
        for (text, printed) in
            [("90s", "1m30s"), ("1.5h", "1h30m0s"), ("0", "0s"), ("1500us", "1.5ms"), ("-2m", "-2m0s")]
        {
            assert_eq!(duration(text).unwrap(), printed);
        }
        assert!(duration("5 minutes").is_err());
        assert!(duration("").is_err());
    }
}
